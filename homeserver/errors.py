"""The errors services raise and clients read.

Three kinds, never mixed: the client is wrong (`MatrixError` and its subclasses, rendered as the
specification's standard error response), a remote server lied or failed (`RemoteError`), and our own
bugs (anything else: answered 500 `M_UNKNOWN` and logged with a traceback).

https://spec.matrix.org/v1.19/client-server-api/#standard-error-response
"""

from typing import Any


class MatrixError(Exception):
    """An answer with a status and an error code; `extra` are further fields of the JSON body."""

    status = 400
    errcode = "M_UNKNOWN"

    def __init__(
        self, message: str, *, errcode: str | None = None, status: int | None = None, **extra: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.errcode = errcode or type(self).errcode
        self.status = status or type(self).status
        self.extra = extra

    def body(self) -> dict[str, Any]:
        return {"errcode": self.errcode, "error": self.message, **self.extra}


class Forbidden(MatrixError):
    status, errcode = 403, "M_FORBIDDEN"


class GuestAccessForbidden(Forbidden):
    errcode = "M_GUEST_ACCESS_FORBIDDEN"


class InviteBlocked(Forbidden):
    errcode = "M_INVITE_BLOCKED"


class CannotLeaveServerNoticeRoom(Forbidden):
    errcode = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"


class NotFound(MatrixError):
    status, errcode = 404, "M_NOT_FOUND"


class Unrecognized(MatrixError):
    status, errcode = 404, "M_UNRECOGNIZED"


class NotJson(MatrixError):
    errcode = "M_NOT_JSON"


class BadJson(MatrixError):
    errcode = "M_BAD_JSON"


class InvalidParam(MatrixError):
    errcode = "M_INVALID_PARAM"


class MissingParam(MatrixError):
    errcode = "M_MISSING_PARAM"


class BadState(MatrixError):
    errcode = "M_BAD_STATE"


class UnsupportedRoomVersion(MatrixError):
    errcode = "M_UNSUPPORTED_ROOM_VERSION"


class IncompatibleRoomVersion(MatrixError):
    """One server lacks the version of the other's room."""

    errcode = "M_INCOMPATIBLE_ROOM_VERSION"

    def __init__(self, room_version: str) -> None:
        super().__init__(f"Room version {room_version} is not supported.", room_version=room_version)


class UnableToAuthoriseJoin(MatrixError):
    errcode = "M_UNABLE_TO_AUTHORISE_JOIN"


class UnableToGrantJoin(MatrixError):
    errcode = "M_UNABLE_TO_GRANT_JOIN"


class InvalidRoomState(MatrixError):
    errcode = "M_INVALID_ROOM_STATE"


class RoomInUse(MatrixError):
    errcode = "M_ROOM_IN_USE"


class UserInUse(MatrixError):
    errcode = "M_USER_IN_USE"


class DuplicateAnnotation(MatrixError):
    errcode = "M_DUPLICATE_ANNOTATION"


class InvalidUsername(MatrixError):
    errcode = "M_INVALID_USERNAME"


class WeakPassword(MatrixError):
    errcode = "M_WEAK_PASSWORD"


class TooLarge(MatrixError):
    status, errcode = 413, "M_TOO_LARGE"


class MissingToken(MatrixError):
    status, errcode = 401, "M_MISSING_TOKEN"


class UnknownToken(MatrixError):
    """`soft_logout=True` keeps the client's keys; only then may it be set."""

    status, errcode = 401, "M_UNKNOWN_TOKEN"

    def __init__(self, message: str = "Unrecognised access token.", *, soft_logout: bool = False) -> None:
        super().__init__(message, soft_logout=soft_logout)


class LimitExceeded(MatrixError):
    status, errcode = 429, "M_LIMIT_EXCEEDED"

    def __init__(self, retry_after_ms: int, message: str = "Too many requests.") -> None:
        super().__init__(message, retry_after_ms=retry_after_ms)
        self.retry_after_ms = retry_after_ms


class BadGateway(MatrixError):
    """What a client reads when its request needed another server, which failed."""

    status = 502


class RemoteError(Exception):
    """A remote server failed, was unreachable or broke the rules; never the client's fault."""


class RemoteRefused(RemoteError):
    """It answered with an error status; `errcode` and `message` are its own words (or M_UNKNOWN)."""

    def __init__(
        self, server_name: str, status: int, errcode: str, message: str, body: dict[str, Any]
    ) -> None:
        super().__init__(f"{server_name} answered {status} {errcode}: {message}")
        self.server_name = server_name
        self.status = status
        self.errcode = errcode
        self.message = message
        self.body = body
