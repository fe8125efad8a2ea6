"""The requester as endpoints import it; it lives with the accounts, which know it without HTTP."""

from homeserver.accounts.requester import Requester

__all__ = ["Requester"]
