"""The keys of other servers: which of them count for a request, and which for an event.

https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys
https://spec.matrix.org/v1.19/rooms/v5/#signing-key-validity-period

A request needs a key that its server signs with now. An event needs one that was valid at its
`origin_server_ts` (room version 5 and later) or one that was ever published (before), old keys included.
A key that is known but whose statement ended before that moment is asked for again: it may still be good.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from federation.errors import NotFederated, Unreachable
from federation.key_documents import OwnKeys
from federation.key_fetching import KeyFetcher, Lane
from homeserver.clock import Clock
from homeserver.errors import RemoteError
from homeserver.protocol.events import Event
from homeserver.protocol.signing import VerifyKey, required_signers, signatures_of
from storage import server_keys
from storage.database import Database
from storage.server_keys import StoredKey

Keys = Mapping[str, Mapping[str, VerifyKey]]
"""Server → key ID → key."""
Wanted = dict[str, dict[str, int]]
"""Server → key ID → the last moment at which the key must have been valid."""

REMEMBERED_SERVERS = 10_000
MAX_SIGNATURES = 8
# With this many servers to ask, one question to a notary is better than one to each.
MANY_SERVERS = 8


class Known(NamedTuple):
    key: VerifyKey
    old: bool
    valid_until: int


class Keyring:
    def __init__(self, db: Database, clock: Clock, own: OwnKeys, fetcher: KeyFetcher) -> None:
        self._db = db
        self._clock = clock
        self._fetcher = fetcher
        self._own_name = own.server_name
        self._own = _known(own.stored())
        self._known: dict[str, dict[str, Known]] = {}

    async def for_request(self, origin: str, key_id: str) -> VerifyKey:
        """The key if the server signs requests with it now; raises RemoteError if that cannot be found."""
        now = self._clock.now_ms()
        keys = (await self._load([origin]))[origin]
        if not _signs_requests(keys.get(key_id), now):
            if origin != self._own_name:
                keys = await self._refresh(origin, key_id, now)
            if not _signs_requests(keys.get(key_id), now):
                raise Unreachable(f"{origin} has no key {key_id[:100]!r} that is valid now.")
        return keys[key_id].key

    async def for_events(self, events: Sequence[Event]) -> list[Keys]:
        """For each event what `verify_signatures` takes: the keys that count for it.

        Keys that cannot be found are left out. Everything missing is asked for at once.
        """
        wanted: Wanted = {}
        for event in events:
            want(wanted, event)
        known = await self.find(wanted)
        return [keys_for(event, known) for event in events]

    async def find(self, wanted: Wanted) -> dict[str, dict[str, Known]]:
        """What can be found of the keys that `want` collected."""
        known = await self._load(wanted)
        missing = self._missing(wanted, known)
        many = len(missing) > MANY_SERVERS
        ways = [self._ask_notaries, self._ask_origins] if many else [self._ask_origins, self._ask_notaries]
        for ask in ways:
            if missing:
                known.update(await ask(missing, known))
                missing = self._missing(missing, known)
        return known

    async def _ask_origins(
        self, missing: Mapping[str, Mapping[str, int]], known: Mapping[str, dict[str, Known]]
    ) -> dict[str, dict[str, Known]]:
        found = await self._fetcher.from_origins(list(missing))
        return {server: self._remember(server, keys) for server, keys in found.items()}

    async def _ask_notaries(
        self, missing: Mapping[str, Mapping[str, int]], known: Mapping[str, dict[str, Known]]
    ) -> dict[str, dict[str, Known]]:
        found: dict[str, dict[str, Known]] = {}
        for notary in self._fetcher.notaries:
            if not missing:
                break
            for server, keys in (await self._fetcher.from_notary(notary, missing)).items():
                found[server] = self._remember(server, keys)
            missing = self._missing(missing, {**known, **found})
        return found

    async def _refresh(self, origin: str, key_id: str, now: int) -> dict[str, Known]:
        """For a request: the origin itself, and the notaries if it does not answer."""
        try:
            return self._remember(origin, await self._fetcher.from_origin(origin, Lane.REQUEST))
        except NotFederated:
            raise
        except RemoteError as error:
            wanted = {origin: {key_id: now}}
            found = await self._ask_notaries(wanted, {origin: {}})
            if origin not in found:
                raise Unreachable(f"The keys of {origin} cannot be found: {error}") from error
            return found[origin]

    def _missing(
        self, wanted: Mapping[str, Mapping[str, int]], known: Mapping[str, Mapping[str, Known]]
    ) -> Wanted:
        missing: Wanted = {}
        for server, keys in wanted.items():
            lacking = {
                key_id: at for key_id, at in keys.items() if _may_be_better(known[server].get(key_id), at)
            }
            if lacking and server != self._own_name:
                missing[server] = lacking
        return missing

    async def _load(self, servers: Iterable[str]) -> dict[str, dict[str, Known]]:
        """What is known without asking anybody."""
        result: dict[str, dict[str, Known]] = {}
        unread: list[str] = []
        for server in servers:
            keys = self._own if server == self._own_name else self._known.get(server)
            if keys is None:
                unread.append(server)
            else:
                result[server] = keys
        if unread:
            stored = await self._db.read(server_keys.keys_of, unread)
            for server in unread:
                result[server] = self._known.get(server) or self._remember(server, stored.get(server, []))
        return result

    def _remember(self, server: str, stored: Sequence[StoredKey]) -> dict[str, Known]:
        keys = _known(stored)
        self._known.pop(server, None)
        if keys:
            if len(self._known) >= REMEMBERED_SERVERS:
                del self._known[next(iter(self._known))]
            self._known[server] = keys
        return keys


def want(wanted: Wanted, event: Event) -> None:
    """Adds the keys this event may be checked with."""
    for server, key_id, at in _needs(event):
        of_server = wanted.setdefault(server, {})
        of_server[key_id] = max(of_server.get(key_id, 0), at)


def keys_for(event: Event, known: Mapping[str, Mapping[str, Known]]) -> Keys:
    """Those of the known keys that count for the event."""
    keys: dict[str, dict[str, VerifyKey]] = {}
    for server, key_id, at in _needs(event):
        found = known[server].get(key_id)
        if found is not None and at <= found.valid_until:
            keys.setdefault(server, {})[key_id] = found.key
    return keys


def _needs(event: Event) -> Iterable[tuple[str, str, int]]:
    """Server, key ID, and until when the key must have been valid; 0: whenever."""
    at = event.origin_server_ts if event.version.enforce_key_validity else 0
    for server in required_signers(event):
        for key_id in sorted(signatures_of(event.pdu, server))[:MAX_SIGNATURES]:
            yield server, key_id, at


def _signs_requests(known: Known | None, now: int) -> bool:
    return known is not None and not known.old and known.valid_until >= now


def _may_be_better(known: Known | None, at: int) -> bool:
    """Whether asking may turn up a key that counts; an old key's end is final."""
    return known is None or (at > known.valid_until and not known.old)


def _known(stored: Iterable[StoredKey]) -> dict[str, Known]:
    return {
        each.key_id: Known(VerifyKey.decode(each.key_id, each.public), each.old, each.valid_until)
        for each in stored
    }
