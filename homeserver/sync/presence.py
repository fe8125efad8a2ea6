"""Who is online: kept in memory, derived from syncs, activity and what the user chose.

https://spec.matrix.org/v1.19/client-server-api/#presence

The subtle idea: nothing sets the published state. Facts are noted (a device synced, the user acted, the
user chose to be invisible), `_derive` computes the state from facts and time, and one timer a user fires
when time alone would change the answer. News is collected for a moment and announced together: four
hundred people coming online wake a room's waiting syncs a few times, not four hundred.

Of users of other servers the fact is what their server said last, for as long as it may be believed.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from homeserver.clock import Clock, Timer
from homeserver.errors import BadJson
from storage import presence as store
from storage.database import Database

ONLINE, UNAVAILABLE, OFFLINE = STATES = ("online", "unavailable", "offline")

OFFLINE_AFTER_MS = 30_000
"""Without a sync this long, a device is gone."""
IDLE_AFTER_MS = 5 * 60_000
CURRENTLY_ACTIVE_MS = 60_000
GATHER_SECONDS = 0.5
"""How long news waits for more news."""
SAVE_SECONDS = 15.0
MAX_STATUS_BYTES = 2048
REMOTE_BELIEVED_MS = 35 * 60_000
"""Servers repeat at least every half hour who of theirs is online; who is not named any more has gone."""
REMEMBERED_REMOTES = 20_000

_UNKNOWN_DEVICE = ""
_API = "\0presence"
"""Stands for a client that set its presence without syncing."""

log = Logger()


class Positions(Protocol):
    def next(self, rooms: Sequence[str] = (), users: Sequence[str] = ()) -> int: ...


@dataclass(frozen=True, slots=True)
class PresenceState:
    user_id: str
    state: str = OFFLINE
    status_msg: str | None = None
    currently_active: bool = False
    last_active_ts: int = 0
    position: int = 0
    """Ephemeral position of the change that led here; 0 before it is announced."""
    profile: Mapping[str, Any] | None = None
    """Display name and avatar, once they have changed."""

    def content(self, now_ms: int) -> dict[str, Any]:
        """The content of an `m.presence` event, and the answer of `GET /presence/{userId}/status`."""
        content: dict[str, Any] = {"presence": self.state}
        if self.last_active_ts:
            content["last_active_ago"] = max(0, now_ms - self.last_active_ts)
        if self.status_msg is not None:
            content["status_msg"] = self.status_msg
        if self.state == ONLINE:
            content["currently_active"] = self.currently_active
        return content

    def event(self, now_ms: int) -> dict[str, Any]:
        content = {**self.content(now_ms), **(self.profile or {})}
        return {"type": "m.presence", "sender": self.user_id, "content": content}


@dataclass(frozen=True, slots=True)
class RemotePresence:
    """What another server says of its user. `believed_until` in milliseconds."""

    state: str
    status_msg: str | None
    currently_active: bool
    last_active_ts: int
    believed_until: int


@dataclass(slots=True)
class _Facts:
    """What is known of one user. `devices`: ID -> (the presence it asked for, when it counts as gone)."""

    published: PresenceState
    remote: RemotePresence | None = None
    devices: dict[str, tuple[str, int]] = field(default_factory=dict)
    chosen: str | None = None
    status_msg: str | None = None
    last_active_ts: int = 0
    profile: Mapping[str, Any] | None = None
    timer: Timer | None = None
    timer_at: int = 0
    remembered: bool = False
    """Whether what was saved before a restart has been read back."""


class Presence:
    def __init__(
        self,
        db: Database,
        clock: Clock,
        ephemeral: Positions,
        *,
        joined_rooms: Callable[[str], Awaitable[Collection[str]]],
        enabled: bool = True,
    ) -> None:
        self.enabled = enabled
        self._db = db
        self._clock = clock
        self._ephemeral = ephemeral
        self._joined_rooms = joined_rooms
        self._facts: dict[str, _Facts] = {}
        self._remotes: OrderedDict[str, None] = OrderedDict()
        # In the order of their positions, so that what is new stands at the end.
        self._announced: OrderedDict[str, PresenceState] = OrderedDict()
        self._news: set[str] = set()
        self._gathering: Timer | None = None
        self._announcing: Deferred[None] | None = None
        self._unsaved: set[str] = set()
        self._saving: Timer | None = None
        # Called with what is new once the syncs have been woken for it.
        self.on_news: list[Callable[[Sequence[PresenceState]], None]] = []

    def seen(
        self, user_id: str, set_presence: str | None = None, device_id: str | None = None, wait_ms: int = 0
    ) -> None:
        """A device syncs, and may wait `wait_ms` for the answer. `set_presence` is sync's parameter."""
        asked = set_presence or ONLINE
        if not self.enabled or asked == OFFLINE:
            return
        now = self._clock.now_ms()
        facts = self._known(user_id)
        device = device_id or _UNKNOWN_DEVICE
        before = facts.devices.get(device)
        if before is None or before[1] <= now:
            facts.chosen = None  # a new session: what was chosen in the last one is history
            before = None
        if asked == ONLINE and (before is None or before[0] != ONLINE):
            facts.last_active_ts = now  # polling is no activity, but coming back is
        facts.devices[device] = (asked, now + wait_ms + OFFLINE_AFTER_MS)
        self._update(user_id, facts, now)

    def active(self, user_id: str) -> None:
        """The user did something: sent a message, a receipt, a state event."""
        facts = self._facts.get(user_id)
        if facts is None or not self.enabled:
            return
        now = self._clock.now_ms()
        facts.last_active_ts = now
        if facts.chosen == UNAVAILABLE:
            facts.chosen = None
        self._update(user_id, facts, now)

    def set(self, user_id: str, state: str, status_msg: str | None = None) -> None:
        """The user chose a state. Being invisible or idle lasts until they act or come back."""
        if state not in STATES:
            raise BadJson(f"presence must be one of {', '.join(STATES)}.")
        if status_msg is not None and len(status_msg.encode()) > MAX_STATUS_BYTES:
            raise BadJson("status_msg is too long.")
        if not self.enabled:
            return
        now = self._clock.now_ms()
        facts = self._known(user_id)
        facts.status_msg, facts.remembered = status_msg, True
        facts.chosen = None if state == ONLINE else state
        if state == ONLINE:
            facts.last_active_ts = now
        if state != OFFLINE:
            facts.devices[_API] = (state, now + OFFLINE_AFTER_MS)
        self._update(user_id, facts, now)

    def receive(
        self,
        user_id: str,
        state: str,
        status_msg: str | None = None,
        last_active_ago: int | None = None,
        currently_active: bool = False,
    ) -> None:
        """Another server says how its user is."""
        if not self.enabled:
            return
        now = self._clock.now_ms()
        facts = self._known(user_id)
        facts.remembered = True  # of other servers' users nothing is saved
        last_active_ts = facts.remote.last_active_ts if facts.remote is not None else 0
        if last_active_ago is not None:
            last_active_ts = now - min(max(0, last_active_ago), now)
        if status_msg is not None and len(status_msg.encode()) > MAX_STATUS_BYTES:
            status_msg = None
        facts.remote = RemotePresence(
            state, status_msg, currently_active, last_active_ts, now + REMOTE_BELIEVED_MS
        )
        self._remotes[user_id] = None
        self._remotes.move_to_end(user_id)
        self._update(user_id, facts, now)
        if len(self._remotes) > REMEMBERED_REMOTES:
            self._forget_remote(next(iter(self._remotes)))

    def show_profile(self, user_id: str, profile: Mapping[str, Any]) -> None:
        """A display name or avatar changed: those who see the user's presence see it there too."""
        facts = self._facts.get(user_id)
        if facts is None or not self.enabled:
            return
        facts.profile = {key: profile[key] for key in ("displayname", "avatar_url") if key in profile}
        self._update(user_id, facts, self._clock.now_ms())

    def get(self, user_id: str) -> PresenceState | None:
        """As it is now; None for users not seen since the start (see `lookup`)."""
        facts = self._facts.get(user_id)
        return None if facts is None else self._derive(user_id, facts, self._clock.now_ms())

    async def lookup(self, user_id: str) -> PresenceState:
        """As it is now; of users not seen since the start, what was saved of them."""
        facts = self._facts.get(user_id)
        if facts is not None and facts.remembered:
            return self._derive(user_id, facts, self._clock.now_ms())
        saved = await self._db.read(store.last_presence, [user_id])
        if facts is not None or not saved:
            return self.get(user_id) or PresenceState(user_id)
        return PresenceState(user_id, status_msg=saved[0].status_msg, last_active_ts=saved[0].last_active_ts)

    async def may_see(self, reader: str, user_id: str) -> bool:
        """Presence is for oneself and for those who share a room."""
        if reader == user_id:
            return True
        return not set(await self._joined_rooms(reader)).isdisjoint(await self._joined_rooms(user_id))

    def changes(self, since: int, among: Collection[str]) -> list[PresenceState]:
        """What was announced after the ephemeral position `since`; from 0 on, who is not offline."""
        found: list[PresenceState] = []
        for user_id in reversed(self._announced):
            state = self._announced[user_id]
            if state.position <= since:
                break
            if (since or state.state != OFFLINE) and user_id in among:
                found.append(state)
        found.reverse()
        return found

    async def stop(self) -> None:
        """Ends the timers and saves what is unsaved, for a server that shuts down."""
        self.enabled = False
        for facts in self._facts.values():
            if facts.timer is not None and facts.timer.active():
                facts.timer.cancel()
        for timer in (self._gathering, self._saving):
            if timer is not None and timer.active():
                timer.cancel()
        if self._announcing is not None:
            await self._announcing
        await self._save()

    def _known(self, user_id: str) -> _Facts:
        facts = self._facts.get(user_id)
        if facts is None:
            facts = self._facts[user_id] = _Facts(PresenceState(user_id))
        return facts

    def _forget_remote(self, user_id: str) -> None:
        facts = self._facts.pop(user_id)
        if facts.timer is not None and facts.timer.active():
            facts.timer.cancel()
        del self._remotes[user_id]
        self._announced.pop(user_id, None)
        self._news.discard(user_id)

    def _derive(self, user_id: str, facts: _Facts, now: int) -> PresenceState:
        if (said := facts.remote) is not None:
            here = said.believed_until > now
            return PresenceState(
                user_id,
                said.state if here else OFFLINE,
                said.status_msg,
                here and said.state == ONLINE and said.currently_active,
                said.last_active_ts,
                facts.published.position,
            )
        asked = {state for state, gone_at in facts.devices.values() if gone_at > now}
        state = UNAVAILABLE if asked else OFFLINE
        if ONLINE in asked and facts.chosen is None and now - facts.last_active_ts < IDLE_AFTER_MS:
            state = ONLINE
        if facts.chosen == OFFLINE:
            state = OFFLINE
        active = state == ONLINE and now - facts.last_active_ts < CURRENTLY_ACTIVE_MS
        return PresenceState(
            user_id,
            state,
            facts.status_msg,
            active,
            facts.last_active_ts,
            facts.published.position,
            facts.profile,
        )

    def _update(self, user_id: str, facts: _Facts, now: int) -> None:
        new, old = self._derive(user_id, facts, now), facts.published
        seen_by_others = (new.state, new.status_msg, new.currently_active, new.profile)
        if seen_by_others != (old.state, old.status_msg, old.currently_active, old.profile):
            self._news.add(user_id)
            if self._gathering is None:
                self._gathering = self._clock.call_later(GATHER_SECONDS, self._gathered)
        facts.published = new
        self._set_timer(user_id, facts, now)

    def _set_timer(self, user_id: str, facts: _Facts, now: int) -> None:
        """Wakes up when time alone may change the state; too early is harmless, and spares new timers."""
        moments = [gone_at for _, gone_at in facts.devices.values()]
        if facts.remote is not None:
            moments = [facts.remote.believed_until]
        else:
            moments += [facts.last_active_ts + CURRENTLY_ACTIVE_MS, facts.last_active_ts + IDLE_AFTER_MS]
        coming = [moment for moment in moments if moment > now]
        if not coming or facts.published.state == OFFLINE:
            return
        at = min(coming)
        if facts.timer is not None and facts.timer.active():
            if facts.timer_at <= at:
                return
            facts.timer.cancel()
        facts.timer_at = at
        facts.timer = self._clock.call_later((at - now) / 1000, self._time_passed, user_id)

    def _time_passed(self, user_id: str) -> None:
        facts, now = self._facts[user_id], self._clock.now_ms()
        facts.timer = None
        facts.devices = {device: seen for device, seen in facts.devices.items() if seen[1] > now}
        self._update(user_id, facts, now)

    def _gathered(self) -> None:
        self._gathering = None
        news, self._news = self._news, set()
        self._announcing = Deferred.fromCoroutine(self._announce(news))
        self._announcing.addErrback(lambda failure: log.failure("Announcing presence failed", failure))

    async def _announce(self, user_ids: Collection[str]) -> None:
        await self._remember([user_id for user_id in user_ids if not self._facts[user_id].remembered])
        rooms: set[str] = set()
        for user_id in user_ids:
            rooms.update(await self._joined_rooms(user_id))
        user_ids = [user_id for user_id in user_ids if user_id in self._facts]
        position = self._ephemeral.next()
        now = self._clock.now_ms()
        for user_id in user_ids:
            facts = self._facts[user_id]
            facts.published = replace(self._derive(user_id, facts, now), position=position)
            self._announced[user_id] = facts.published
            self._announced.move_to_end(user_id)
        # Those who wait read as soon as they are woken, so this comes when all is in place.
        self._ephemeral.next(rooms=tuple(rooms), users=tuple(user_ids))
        for listener in self.on_news:
            listener([self._announced[user_id] for user_id in user_ids])
        self._unsaved.update(user_id for user_id in user_ids if self._facts[user_id].remote is None)
        if self._unsaved and self._saving is None and self.enabled:
            self._saving = self._clock.call_later(SAVE_SECONDS, self._save_soon)

    async def _remember(self, user_ids: Collection[str]) -> None:
        saved = await self._db.read(store.last_presence, user_ids) if user_ids else []
        for user_id in user_ids:
            self._facts[user_id].remembered = True
        for user_id, status_msg, last_active_ts in saved:
            facts = self._facts[user_id]
            facts.status_msg = facts.status_msg if facts.status_msg is not None else status_msg
            facts.last_active_ts = max(facts.last_active_ts, last_active_ts)

    def _save_soon(self) -> None:
        self._saving = None
        saved = Deferred.fromCoroutine(self._save())
        saved.addErrback(lambda failure: log.failure("Saving presence failed", failure))

    async def _save(self) -> None:
        users, self._unsaved = self._unsaved, set()
        rows = [
            store.LastPresence(user_id, facts.status_msg, facts.last_active_ts)
            for user_id in users
            if (facts := self._facts[user_id]).remembered
        ]
        if rows:
            await self._db.write(store.save_presence, rows)
