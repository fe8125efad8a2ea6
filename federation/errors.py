"""How asking another server can fail.

https://spec.matrix.org/v1.19/server-server-api/

The difference that matters to callers: `Refused` is an answer (this server will say the same again, ask
another one or tell the user), everything else is the absence of one (try again later).
"""

from homeserver.errors import BadGateway, Forbidden, MatrixError, NotFound, RemoteError, RemoteRefused


class Unreachable(RemoteError):
    """No answer: no such name, no connection, a wrong certificate, or out of time."""


class BackedOff(Unreachable):
    """Not even asked: it failed before, and its next turn has not come. `retry_at` in milliseconds."""

    def __init__(self, server_name: str, retry_at: int) -> None:
        super().__init__(f"{server_name} did not answer before; it is not asked again yet.")
        self.retry_at = retry_at


class BadAnswer(RemoteError):
    """It answered, but not what it should: no HTTP, no JSON, too much of it, the wrong shape."""


class Refused(RemoteRefused):
    """It answered with an error status."""


class NotFederated(Forbidden):
    """The configuration keeps us from speaking with this server."""

    def __init__(self, server_name: str) -> None:
        super().__init__(f"This server does not federate with {server_name}.")


def for_client(error: RemoteError, what: str) -> MatrixError:
    """The client's answer where `what` was asked of another server: its "no" is passed on, in our words."""
    if isinstance(error, Refused) and error.status == 404:
        return NotFound(f"{what} not found.")
    if isinstance(error, Refused) and error.status == 403:
        return Forbidden(f"{what}: {error.server_name} does not tell.")
    return BadGateway(f"{what}: the server that knows it did not answer well.")
