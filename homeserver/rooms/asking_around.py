"""Asking one server after another until one helps, and what the user is told if none does.

https://spec.matrix.org/v1.19/server-server-api/#restricted-rooms

A server that does not answer, does not know the room or cannot judge the request says nothing about the
next one. A server that forbids it speaks for the room, but may know less of it than others: a few of those
are asked, no more. The user is told the most telling refusal.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from twisted.logger import Logger

from homeserver.clock import Clock
from homeserver.errors import BadGateway, Forbidden, MatrixError, NotFound, RemoteError, RemoteRefused
from homeserver.protocol.ids import is_valid_server_name

log = Logger()
T = TypeVar("T")

MOST_SERVERS = 20
MOST_FORBIDDING = 3
MOST_MS = 120_000
"""After this no further server is asked; each answer has a time limit of its own."""

# Not "you may not" but "ask somebody else".
CANNOT_TELL = ("M_UNABLE_TO_AUTHORISE_JOIN", "M_UNABLE_TO_GRANT_JOIN")
# What a client may read as the other server wrote it; other codes would speak of its account here.
PASSED_ON = ("M_INCOMPATIBLE_ROOM_VERSION", "M_UNSUPPORTED_ROOM_VERSION", "M_INVITE_BLOCKED", "M_TOO_LARGE")


def candidates(names: Iterable[str], own: str, allowed: Callable[[str], bool]) -> list[str]:
    """Each server once, in order; not ourselves, nor whom we do not speak with."""
    unique = dict.fromkeys(name for name in names if is_valid_server_name(name) and name != own)
    return [name for name in unique if allowed(name)][:MOST_SERVERS]


async def ask_around(
    clock: Clock,
    servers: Sequence[str],
    attempt: Callable[[str], Awaitable[T]],
    what: str,
    most_ms: int = MOST_MS,
) -> T:
    """The first success. Raises a MatrixError for the user if there is none; `attempt` raises RemoteError."""
    failures: list[RemoteError] = []
    deadline = clock.now_ms() + most_ms
    for server in servers:
        try:
            return await attempt(server)
        except RemoteError as error:
            log.info("{what} through {server}: {reason}", what=what, server=server, reason=str(error))
            failures.append(error)
        if sum(map(_forbids, failures)) >= MOST_FORBIDDING or clock.now_ms() > deadline:
            break
    raise _most_telling(failures, what)


def passed_on(error: RemoteError, what: str) -> MatrixError:
    """What the user is told if the one server that could help did not."""
    if isinstance(error, RemoteRefused):
        if error.errcode in PASSED_ON and 400 <= error.status < 500:
            extra = {"room_version": version} if (version := _room_version(error)) is not None else {}
            return MatrixError(error.message, errcode=error.errcode, status=error.status, **extra)
        if _forbids(error):
            return Forbidden(error.message or f"{what}: {error.server_name} forbids it.")
        if error.errcode == "M_NOT_FOUND":
            return NotFound(error.message or f"{what}: {error.server_name} knows nothing of it.")
    return BadGateway(f"{what}: the server that has a say in it did not answer well.")


def _most_telling(failures: Sequence[RemoteError], what: str) -> MatrixError:
    refusals = [error for error in failures if isinstance(error, RemoteRefused)]
    for error in refusals:
        if error.errcode in PASSED_ON:
            return passed_on(error, what)
    for error in refusals:
        if _forbids(error):
            return passed_on(error, what)
    if any(error.errcode in CANNOT_TELL for error in refusals):
        return Forbidden(f"{what}: no server that was asked can allow it.")
    if len(refusals) == len(failures) and all(error.status == 404 for error in refusals):
        return NotFound(f"{what}: no server that was asked knows the room.")
    return BadGateway(f"{what}: no server that was asked answered well.")


def _forbids(error: RemoteError) -> bool:
    return isinstance(error, RemoteRefused) and error.status == 403


def _room_version(error: RemoteRefused) -> str | None:
    version = error.body.get("room_version")
    return version if isinstance(version, str) else None
