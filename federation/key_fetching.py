"""Getting key statements: from the server itself, and from notaries for those that do not answer.

https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys

Anybody can make us look for the keys of a server by naming it, so asking is rare: once at a time for each
server, not again within a minute, and only so many servers at once.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import islice
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.logger import Logger

from federation import key_documents
from federation.client import Backoff, FederationClient, Limits, as_object
from federation.errors import NotFederated, Unreachable
from federation.key_documents import KeyDocument
from federation.shared import Expiring, SingleFlight
from homeserver.clock import Clock
from homeserver.errors import RemoteError
from homeserver.protocol.signing import SignatureError, VerifyKey, signatures_of, verify_json
from storage import server_keys
from storage.database import Database
from storage.server_keys import StoredKey

log = Logger()

# Enough for a web site that does not answer, before the server that does.
LIMITS = Limits(seconds=25.0, max_body=256 * 1024, backoff=Backoff.IGNORE)
NOTARY_LIMITS = Limits(seconds=30.0, max_body=4 * 1024 * 1024, backoff=Backoff.HEED)
AT_ONCE = 32
MAX_WAITING = 200
BATCH_MS = 60_000
NOTARY_BATCH = 50
ASKED_SERVERS = 20_000
AGAIN_MS = 60_000
AFTER_FAILURE_MS = 600_000

Wanted = Mapping[str, Mapping[str, int]]
"""Server → key ID → until when (ms) the key should be valid."""


class Notary(NamedTuple):
    """`keys` by key ID; where none are configured, TLS vouches for the notary."""

    server_name: str
    keys: Mapping[str, VerifyKey]


class Lane(Enum):
    """For whom a server is asked; none of them keeps the others waiting."""

    REQUEST = "request"
    EVENTS = "events"
    OTHERS = "others"


class KeyFetcher:
    def __init__(
        self, db: Database, clock: Clock, client: FederationClient, notaries: Sequence[Notary]
    ) -> None:
        self._db = db
        self._clock = clock
        self._client = client
        self.notaries = notaries
        self._flights: SingleFlight[str, list[StoredKey]] = SingleFlight()
        self._turns = {lane: DeferredSemaphore(AT_ONCE) for lane in Lane}
        self._asked: Expiring[str, int] = Expiring(ASKED_SERVERS)
        self._failed: Expiring[str, int] = Expiring(ASKED_SERVERS)

    async def from_origin(self, server_name: str, lane: Lane) -> list[StoredKey]:
        """All keys known after asking. If it was asked only just now, that answer counts, even if none."""
        if self._flights.has(server_name):
            return await self._flights.run(server_name, lambda: self._ask_origin(server_name))
        # A request shows that its origin is there; otherwise a server that failed may wait longer.
        remembered = self._asked if lane is Lane.REQUEST else self._failed
        now = self._clock.now_ms()
        if self._asked.get(server_name, now) or remembered.get(server_name, now):
            stored = await self._db.read(server_keys.keys_of, [server_name])
            if server_name in stored:
                return stored[server_name]
            raise Unreachable(f"{server_name} was asked for its keys only just now.")
        turns = self._turns[lane]
        if len(turns.waiting) >= MAX_WAITING:
            raise Unreachable("Too many servers are being asked for their keys.")
        await turns.acquire()
        try:
            return await self._flights.run(server_name, lambda: self._ask_origin(server_name))
        finally:
            turns.release()

    async def from_origins(self, server_names: Sequence[str]) -> dict[str, list[StoredKey]]:
        """Of those that answer, and whose turn comes in time."""
        found: dict[str, list[StoredKey]] = {}
        left = iter(server_names)
        end = self._clock.now_ms() + BATCH_MS

        async def work() -> None:
            for server_name in left:
                if self._clock.now_ms() > end:
                    return
                try:
                    found[server_name] = await self.from_origin(server_name, Lane.EVENTS)
                except (RemoteError, NotFederated) as error:
                    log.debug("no keys of {server}: {error}", server=server_name, error=error)

        workers = min(AT_ONCE, len(server_names))
        await gatherResults([Deferred.fromCoroutine(work()) for _ in range(workers)], consumeErrors=True)
        return found

    async def from_notary(self, notary: Notary, wanted: Wanted) -> dict[str, list[StoredKey]]:
        """Of the servers that this notary knows and that are not itself."""
        found: dict[str, list[StoredKey]] = {}
        servers = iter([server for server in wanted if server != notary.server_name])
        while batch := list(islice(servers, NOTARY_BATCH)):
            for document in await self._ask_notary(notary, {server: wanted[server] for server in batch}):
                found[document.server_name] = await self._store(document, from_origin=False)
        return found

    async def _ask_origin(self, server_name: str) -> list[StoredKey]:
        now = self._clock.now_ms()
        self._asked.put(server_name, 1, now + AGAIN_MS)
        self._failed.put(server_name, 1, now + AFTER_FAILURE_MS)
        body = await self._client.ask(
            "GET", server_name, "/_matrix/key/v2/server", limits=LIMITS, signed=False
        )
        content = as_object(server_name, body)
        document = key_documents.check(content, server_name, self._clock.now_ms())
        self._failed.forget(server_name)
        return await self._store(document, from_origin=True)

    async def _ask_notary(self, notary: Notary, wanted: Wanted) -> list[KeyDocument]:
        criteria = {
            server: {key_id: {"minimum_valid_until_ts": at} for key_id, at in keys.items()}
            for server, keys in wanted.items()
        }
        try:
            answer = await self._client.post(
                notary.server_name, "/_matrix/key/v2/query", {"server_keys": criteria}, limits=NOTARY_LIMITS
            )
        except (RemoteError, NotFederated) as error:
            log.info("the notary {notary} failed: {error}", notary=notary.server_name, error=error)
            return []
        documents = []
        given = answer.get("server_keys")
        for content in (given if isinstance(given, list) else [])[: 4 * NOTARY_BATCH]:
            server = content.get("server_name") if isinstance(content, dict) else None
            if not isinstance(server, str) or server not in wanted:
                continue
            try:
                _check_notary(content, notary)
                documents.append(key_documents.check(content, server, self._clock.now_ms()))
            except (RemoteError, SignatureError) as error:
                log.info("the notary {notary} is wrong: {error}", notary=notary.server_name, error=error)
        return documents

    async def _store(self, document: KeyDocument, *, from_origin: bool) -> list[StoredKey]:
        def store(tx: Any) -> list[StoredKey]:
            return server_keys.store(
                tx, document.server_name, document.keys, document.stored, from_origin=from_origin
            )

        return await self._db.write(store)


def _check_notary(content: Mapping[str, Any], notary: Notary) -> None:
    if not notary.keys:
        return
    signatures = signatures_of(content, notary.server_name)
    signed_with = [key for key_id, key in notary.keys.items() if key_id in signatures]
    if not signed_with:
        raise SignatureError(f"{notary.server_name} did not sign.")
    for key in signed_with:
        verify_json(content, notary.server_name, key)
