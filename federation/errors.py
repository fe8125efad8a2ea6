"""How asking another server can fail.

https://spec.matrix.org/v1.19/server-server-api/

The difference that matters to callers: `Refused` is an answer (this server will say the same again, ask
another one or tell the user), everything else is the absence of one (try again later).
"""

from typing import Any

from homeserver.errors import Forbidden, RemoteError


class Unreachable(RemoteError):
    """No answer: no such name, no connection, a wrong certificate, or out of time."""


class BackedOff(Unreachable):
    """Not even asked: it failed before, and its next turn has not come. `retry_at` in milliseconds."""

    def __init__(self, server_name: str, retry_at: int) -> None:
        super().__init__(f"{server_name} did not answer before; it is not asked again yet.")
        self.retry_at = retry_at


class BadAnswer(RemoteError):
    """It answered, but not what it should: no HTTP, no JSON, too much of it, the wrong shape."""


class Refused(RemoteError):
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


class NotFederated(Forbidden):
    """The configuration keeps us from speaking with this server."""

    def __init__(self, server_name: str) -> None:
        super().__init__(f"This server does not federate with {server_name}.")
