"""Who is asking: the account, device and token behind an authenticated request.

https://spec.matrix.org/v1.19/client-server-api/#using-access-tokens

One object lives as long as its token stays cached and is shared by every request made with it from
the same address, so nothing about a single request may be stored on it.
"""

from dataclasses import dataclass

from homeserver.errors import Forbidden, MatrixError


@dataclass(slots=True, frozen=True)
class Requester:
    user_id: str
    # None for tokens without a device (application services, puppets made by administrators).
    device_id: str | None
    is_guest: bool = False
    is_admin: bool = False
    # The row of the access token; 0 where no stored token is behind the request.
    token_id: int = 0
    address: str = ""
    user_agent: str = ""
    # May read, leave and take back what they said themselves.
    is_suspended: bool = False


class UserSuspended(Forbidden):
    """The account is suspended: its user may read, and leave rooms."""

    errcode = "M_USER_SUSPENDED"

    def __init__(self) -> None:
        super().__init__("You cannot perform this action while suspended.")


class UserLocked(MatrixError):
    """The account is locked: clients keep their session, and may only log out."""

    status, errcode = 401, "M_USER_LOCKED"

    def __init__(self) -> None:
        super().__init__("This account has been locked.", soft_logout=True)
