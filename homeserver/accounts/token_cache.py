"""Access tokens already looked up: the reason an authenticated request reads no database.

Bounded, least recently used out first. A user index beside it makes logging out, locking or suspending
an account take effect on the very next request. `version` counts what was dropped: a look-up that was
under way meanwhile may have read the state before, and must not be remembered.
"""

from collections import OrderedDict

from homeserver.accounts.requester import Requester


class Identity:
    """What one access token proves, and what the account behind it may do."""

    __slots__ = ("_requester", "expires_at", "locked", "suspended")

    def __init__(
        self, requester: Requester, *, expires_at: int | None = None, locked: bool = False,
        suspended: bool = False,
    ) -> None:
        self._requester = requester
        self.expires_at = expires_at
        self.locked = locked
        self.suspended = suspended

    @property
    def user_id(self) -> str:
        return self._requester.user_id

    @property
    def token_id(self) -> int:
        return self._requester.token_id

    def requester(self, address: str, user_agent: str) -> Requester:
        """Shared between requests for as long as they come from the same place."""
        known = self._requester
        if known.address == address and known.user_agent == user_agent:
            return known
        self._requester = Requester(known.user_id, known.device_id, known.is_guest, known.is_admin,
                                    known.token_id, address, user_agent, self.suspended)
        return self._requester


class TokenCache:
    def __init__(self, size: int = 50_000) -> None:
        self.version = 0
        self._size = size
        self._identities: OrderedDict[str, Identity] = OrderedDict()
        self._by_user: dict[str, set[str]] = {}

    def get(self, token: str) -> Identity | None:
        identity = self._identities.get(token)
        if identity is not None:
            self._identities.move_to_end(token)
        return identity

    def put(self, token: str, identity: Identity) -> None:
        self._identities[token] = identity
        self._by_user.setdefault(identity.user_id, set()).add(token)
        if len(self._identities) > self._size:
            self._remove(next(iter(self._identities)))

    def drop_user(self, user_id: str) -> None:
        self.version += 1
        for token in tuple(self._by_user.get(user_id, ())):
            self._remove(token)

    def drop_id(self, user_id: str, token_id: int) -> None:
        self.version += 1
        for token in tuple(self._by_user.get(user_id, ())):
            if self._identities[token].token_id == token_id:
                self._remove(token)

    def _remove(self, token: str) -> None:
        user_id = self._identities.pop(token).user_id
        tokens = self._by_user[user_id]
        tokens.discard(token)
        if not tokens:
            del self._by_user[user_id]
