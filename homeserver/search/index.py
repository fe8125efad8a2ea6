"""Keeping the index of texts: it follows the stream, some way behind, from one durable position to the next.

https://spec.matrix.org/v1.19/client-server-api/#server-side-search

Sending a message costs nothing here: what came in is put into the index a moment later, many at a time. A
search first takes in what is new, so it finds what was sent before it. A database from before there was an
index is read from its beginning in the background, and searches find what was reached. History that is
fetched from other servers grows downwards, below zero, and has a position of its own.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from homeserver.clock import Clock
from homeserver.protocol import canonical_json
from homeserver.protocol.relations import REPLACE, has_rel_type
from homeserver.search.trailing import Trailing
from homeserver.search.words import words
from storage import search as store
from storage.database import Change, Database
from storage.search import MESSAGE, NAME, REDACTION, TOPIC, Source, Text
from storage.transaction import Transaction

AT_ONCE = 250
NEAR = 2000
"""A search waits for the index if it is no further behind than this many positions."""
OVERLAP = 200
"""Pieces of history may be committed in another order than they were numbered in: so many are read again."""


class SearchIndex:
    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._trailing = Trailing(clock, self._catch_up)
        self._position = 0
        self._lowest = 0

    async def start(self) -> None:
        """Goes on where it stopped."""
        self._position, self._lowest = await self._db.read(store.progress)
        self._trailing.start()

    async def stop(self) -> None:
        await self._trailing.stop()

    def follow(self, changes: Sequence[Change]) -> None:
        if any(change.stream == "event" for change in changes):
            self._trailing.wake()

    async def take_in(self) -> None:
        """Has at hand what was committed before, unless that is much."""
        if self._trailing.running and self._db.position - self._position <= NEAR:
            await self._trailing.now()

    async def _catch_up(self) -> None:
        await self._read_on()
        await self._read_past()

    async def _read_on(self) -> None:
        while self._trailing.running and self._position < (upto := self._db.position):
            sources, texts = await self._db.read(_read_on, self._position, upto)
            position = sources[-1].position if len(sources) == AT_ONCE else upto
            if texts or sources:
                await self._db.write(_write, store.LIVE, position, sources, texts)
            self._position = position

    async def _read_past(self) -> None:
        lowest = await self._db.read(store.lowest_position)
        if lowest >= self._lowest:
            return
        below = min(self._lowest + OVERLAP, 0)
        while self._trailing.running:
            sources, texts = await self._db.read(_read_past, below)
            below = sources[-1].position if len(sources) == AT_ONCE else lowest
            await self._db.write(_write, store.PAST, below, sources, texts)
            self._lowest = below
            if below == lowest:
                break


def _read_on(tx: Transaction, above: int, upto: int) -> tuple[list[Source], list[Text]]:
    sources = store.sources(tx, above, upto, AT_ONCE)
    return sources, _texts(sources)


def _read_past(tx: Transaction, below: int) -> tuple[list[Source], list[Text]]:
    sources = store.past_sources(tx, below, AT_ONCE)
    return sources, _texts(sources)


def _write(
    tx: Transaction, name: str, position: int, sources: Sequence[Source], texts: Sequence[Text]
) -> None:
    store.put(tx, texts)
    redacted = [target for source in sources if (target := _redacts(source)) is not None]
    if redacted:
        store.remove_redacted(tx, redacted)
    store.save_progress(tx, name, position)


def _texts(sources: Sequence[Source]) -> list[Text]:
    found = []
    for source in sources:
        if source.redacted or source.type == REDACTION:
            continue
        cut = [word for text in texts_of(source.type, _content(source)) for word in words(text)]
        if cut:
            found.append(Text(source.position, source.room, source.type, " ".join(cut)))
    return found


def texts_of(type: str, content: dict[str, Any]) -> list[str]:
    """The texts of an event that are searched in. An edit's are what it puts in place."""
    if type == MESSAGE:
        new = content.get("m.new_content")
        if isinstance(new, dict) and has_rel_type(content, REPLACE):
            content = new
        found = [content.get("body")]
    elif type == NAME:
        found = [content.get("name")]
    elif type == TOPIC:
        found = [content.get("topic")]
        rich = content.get("m.topic")
        representations = rich.get("m.text") if isinstance(rich, dict) else None
        for each in representations if isinstance(representations, list) else ():
            if isinstance(each, dict) and each.get("mimetype", "text/plain") == "text/plain":
                found.append(each.get("body"))
    else:
        found = []
    texts = [text for text in found if isinstance(text, str)]
    return list(dict.fromkeys(texts))


def _content(source: Source) -> dict[str, Any]:
    content = _pdu(source.json).get("content")
    return content if isinstance(content, dict) else {}


def _pdu(json: bytes) -> dict[str, Any]:
    try:
        pdu: dict[str, Any] = orjson.loads(json)
    except orjson.JSONDecodeError:  # old rooms hold numbers of any size
        pdu = canonical_json.decode_lax(json)
    return pdu


def _redacts(source: Source) -> str | None:
    """What a redaction is of; it stands in another place since room version 11."""
    if source.type != REDACTION:
        return None
    for holder in (_content(source), _pdu(source.json)):
        if isinstance(target := holder.get("redacts"), str):
            return target
    return None
