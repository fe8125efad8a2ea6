"""Asking other servers for their users' keys: the port that federation implements.

https://spec.matrix.org/v1.19/server-server-api/#end-to-end-encryption

What a remote answers is as trustworthy as the remote: `answers_about` keeps what it may speak of.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, gatherResults

from homeserver.errors import InvalidParam, RemoteError
from homeserver.protocol.ids import domain_of, is_valid_user_id

T = TypeVar("T")
Failures = dict[str, dict[str, Any]]
MAX_WAIT_MS = 20_000


class RemoteKeys(Protocol):
    """Each raises RemoteError when the server does not answer in time, or not well."""

    async def query(
        self, server: str, device_keys: Mapping[str, list[str]], timeout_ms: int
    ) -> Mapping[str, Any]:
        """`device_keys`, `master_keys` and `self_signing_keys` of the server's users."""
        ...

    async def claim(
        self, server: str, one_time_keys: Mapping[str, Mapping[str, str]], timeout_ms: int
    ) -> Mapping[str, Any]:
        """`one_time_keys`, one for each device where there is one."""
        ...


class NoRemotes:
    """A server that does not federate: every remote is a failure."""

    async def query(
        self, server: str, device_keys: Mapping[str, list[str]], timeout_ms: int
    ) -> Mapping[str, Any]:
        raise RemoteError("This server does not federate.")

    async def claim(
        self, server: str, one_time_keys: Mapping[str, Mapping[str, str]], timeout_ms: int
    ) -> Mapping[str, Any]:
        raise RemoteError("This server does not federate.")


def by_server(users: Mapping[str, T]) -> dict[str, dict[str, T]]:
    """What was asked about users, by the server to be asked. Refuses what is no user ID."""
    servers: dict[str, dict[str, T]] = {}
    for user_id, wanted in users.items():
        if not is_valid_user_id(user_id):
            raise InvalidParam(f"{user_id!r} is not a user ID.")
        servers.setdefault(domain_of(user_id), {})[user_id] = wanted
    return servers


async def ask_all(
    servers: Mapping[str, T], ask: Callable[[str, T], Awaitable[Mapping[str, Any]]]
) -> tuple[dict[str, Mapping[str, Any]], Failures]:
    """Asks all servers at once; those that fail cost the others nothing."""
    answers: dict[str, Mapping[str, Any]] = {}
    failures: Failures = {}

    async def ask_one(server: str, wanted: T) -> None:
        try:
            answers[server] = await ask(server, wanted)
        except RemoteError as error:
            failures[server] = {"status": 503, "errcode": "M_UNKNOWN", "error": str(error)}

    await gatherResults(
        [Deferred.fromCoroutine(ask_one(server, wanted)) for server, wanted in servers.items()],
        consumeErrors=True,
    )
    return answers, failures


def answers_about(answer: Mapping[str, Any], field: str, users: Collection[str]) -> dict[str, dict[str, Any]]:
    """What a remote said about the users it was asked about; the rest, and what is no object, is dropped."""
    given = answer.get(field)
    about = given.items() if isinstance(given, dict) else ()
    return {user_id: each for user_id, each in about if user_id in users and isinstance(each, dict)}
