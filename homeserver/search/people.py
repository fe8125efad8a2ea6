"""The user directory: people one may see, found by the beginnings of the words of their names and IDs.

https://spec.matrix.org/v1.19/client-server-api/#user-directory

It follows the stream like the index of texts: memberships for people of other servers and for what rooms
are open, the streams "account" and "profile" for our own. Those two are not kept by position, so our own
people are gone through once after each start, and what was missed by a crash is mended.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from homeserver.clock import Clock
from homeserver.protocol.ids import server_of
from homeserver.search.trailing import Trailing
from homeserver.search.words import words
from storage import user_directory as store
from storage.database import Change, Database
from storage.transaction import Transaction
from storage.user_directory import Changes, Person

STEP = 2000
AT_ONCE = 100
NEAR = 2000
MOST_RESULTS = 50
MOST_EXAMINED = 1000
MOST_WORDS = 10


class Answer(NamedTuple):
    people: list[Person]
    limited: bool


class UserDirectory:
    """`search_all_users`: our own people are found by everybody here, not only by those who met them."""

    def __init__(self, db: Database, clock: Clock, server_name: str, *, search_all_users: bool) -> None:
        self._db = db
        self._server_name = server_name
        self._search_all_users = search_all_users
        self._trailing = Trailing(clock, self._catch_up)
        self._position = 0
        self._checked = ""  # our own people up to this one
        self._all_checked = False
        self._changed: set[str] = set()

    async def start(self) -> None:
        self._position = await self._db.read(store.progress)
        self._trailing.start()

    async def stop(self) -> None:
        await self._trailing.stop()

    def follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream in ("account", "profile"):
                self._changed.add(change.data)
            elif change.stream != "event":
                continue
            self._trailing.wake()

    async def find(self, reader: str, term: str, limit: int) -> Answer:
        """Those who fit best come first."""
        if self._all_checked and self._db.position - self._position <= NEAR:
            await self._trailing.now()
        exact = term.casefold() if term.startswith("@") else None
        wanted = words(term[1:].partition(":")[0] if exact else term)[:MOST_WORDS]
        if not wanted:
            return Answer([], False)
        found = await self._db.read(
            store.find, reader, wanted, self._search_all_users, MOST_EXAMINED
        )
        if exact is not None:
            found = [person for person in found if person.user_id.casefold().startswith(exact)]
        found.sort(key=lambda person: _order(person, wanted))
        most = min(limit, MOST_RESULTS)
        return Answer(found[:most], len(found) > most)

    async def _catch_up(self) -> None:
        while self._trailing.running and not self._all_checked:
            some = await self._db.read(store.local_users, self._checked, AT_ONCE)
            await self._refresh_some(some)
            self._checked = some[-1] if some else self._checked
            self._all_checked = len(some) < AT_ONCE
        while self._trailing.running and self._changed:
            changed, self._changed = self._changed, set()
            await self._refresh(changed)
        while self._trailing.running and self._position < self._db.position:
            upto = min(self._db.position, self._position + STEP)
            news = await self._db.read(store.changes, self._position, upto)
            for rooms in _batches(sorted(self._rooms(news))):
                await self._db.write(store.judge_rooms, rooms)
            await self._refresh({user_id for user_id, _, _ in news.members})
            if news.members or news.rooms:
                await self._db.write(store.save_progress, upto)
            self._position = upto

    def _rooms(self, news: Changes) -> set[str]:
        """Rooms that changed, and those that our own people came into: they may be new here."""
        return news.rooms | {
            room_id
            for user_id, room_id, membership in news.members
            if membership == "join" and server_of(user_id) == self._server_name
        }

    async def _refresh(self, user_ids: Iterable[str]) -> None:
        for some in _batches(sorted(user_ids)):
            await self._refresh_some(some)

    async def _refresh_some(self, user_ids: Sequence[str]) -> None:
        """Writes only where something differs: most changes of memberships are no news of the people."""
        stale = await self._db.read(_stale, user_ids, self._server_name)
        if stale:
            await self._db.write(_put_all, stale)


def _batches(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))


def _stale(
    tx: Transaction, user_ids: Sequence[str], server_name: str
) -> list[tuple[str, Person | None]]:
    """Those of whom the directory says something else than is known."""
    found = []
    for user_id in user_ids:
        local = server_of(user_id) == server_name
        person = store.local_person(tx, user_id) if local else store.remote_person(tx, user_id)
        person = _storable(person) if person is not None else None
        if person != store.known(tx, user_id):
            found.append((user_id, person))
    return found


def _storable(person: Person) -> Person:
    """Without NULs, which a profile may hold (it is stored as JSON) and PostgreSQL's texts may not."""
    name, avatar = person.display_name, person.avatar_url
    return person._replace(
        display_name=name.replace("\0", "") if name else name,
        avatar_url=avatar.replace("\0", "") if avatar else avatar,
    )


def _put_all(tx: Transaction, people: Sequence[tuple[str, Person | None]]) -> None:
    for user_id, person in people:
        if person is None:
            store.remove(tx, user_id)
        else:
            store.put(tx, person, _words_of(person))


def _words_of(person: Person) -> set[str]:
    localpart = person.user_id[1:].partition(":")[0]
    return {*words(localpart), *words(person.display_name or "")[:MOST_WORDS]}


def _order(person: Person, wanted: Sequence[str]) -> tuple[int, int, bool, str, str]:
    """Whole words before beginnings, names before IDs, and those with a name first."""
    name = words(person.display_name or "")
    whole = {*name, *words(person.user_id[1:].partition(":")[0])}.intersection(wanted)
    begins = sum(any(word.startswith(each) for word in name) for each in wanted)
    return -len(whole), -begins, person.display_name is None, " ".join(name), person.user_id
