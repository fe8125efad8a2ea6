"""Vouching for the keys of other servers.

https://spec.matrix.org/v1.19/server-server-api/#querying-keys-through-another-server

What is handed on is the origin's own statement with our signature beside the origin's. It is fetched anew
when half its life is over, or when it lacks what is asked for; if the origin does not answer, the last one
is still good for checking old events.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from twisted.internet.defer import Deferred, gatherResults

from federation.errors import NotFederated
from federation.key_documents import OwnKeys
from federation.key_fetching import KeyFetcher, Lane
from federation.whitelist import Whitelist
from homeserver.clock import Clock
from homeserver.errors import RemoteError
from homeserver.protocol.ids import is_valid_server_name
from storage import server_keys
from storage.database import Database
from storage.server_keys import StoredDocument


class NotaryService:
    def __init__(
        self, db: Database, clock: Clock, own: OwnKeys, fetcher: KeyFetcher, whitelist: Whitelist
    ) -> None:
        self._db = db
        self._clock = clock
        self._own = own
        self._fetcher = fetcher
        self._whitelist = whitelist

    async def answer(self, wanted: Mapping[str, Mapping[str, int | None]]) -> list[dict[str, Any]]:
        """Server → key ID → until when (ms) it should be valid, None for now. "" stands for any key."""
        asked = [
            Deferred.fromCoroutine(self._document(server, keys))
            for server, keys in wanted.items()
            if is_valid_server_name(server) and self._whitelist.allows(server)
        ]
        found = await gatherResults(asked, consumeErrors=True)
        return [document for document in found if document is not None]

    async def _document(self, server: str, keys: Mapping[str, int | None]) -> dict[str, Any] | None:
        if server == self._own.server_name:
            return self._own.document()
        stored = await self._db.read(server_keys.document_of, server)
        if stored is None or self._is_stale(stored, keys):
            try:
                await self._fetcher.from_origin(server, Lane.OTHERS)
            except (RemoteError, NotFederated):
                pass  # the last statement, if there is one, is what a notary is for
            else:
                stored = await self._db.read(server_keys.document_of, server)
        if stored is None:
            return None
        return self._own.countersign(orjson.loads(stored.json))

    def _is_stale(self, stored: StoredDocument, keys: Mapping[str, int | None]) -> bool:
        now = self._clock.now_ms()
        if now > (stored.fetched_at + stored.valid_until) // 2:
            return True
        document = orjson.loads(stored.json)
        named = {*document["verify_keys"], *(document.get("old_verify_keys") or ())}
        for key_id, until in keys.items():
            if stored.valid_until < (now if until is None else until) or (key_id and key_id not in named):
                return True
        return False
