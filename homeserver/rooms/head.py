"""What a room's next event is built on: state, extremities, depth, and the derived values.

A `Head` is never changed. A `Draft` starts from one, builds events on top, each checked against the
authorisation rules, and ends with the head after them; dropping a draft undoes it. So a request that fails
half-way, or a room whose creation breaks a rule, leaves nothing behind.

https://spec.matrix.org/v1.19/server-server-api/#authorization-rules
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from homeserver.errors import BadJson, Forbidden, TooLarge
from homeserver.protocol import auth_rules, hashing
from homeserver.protocol.events import Event, EventTooLarge, InvalidEvent
from homeserver.protocol.power_levels import PowerLevels
from homeserver.protocol.redaction import redact_event
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.signing import SigningKey
from homeserver.rooms.state import EMPTY, NewSnapshot, RoomState, StateEntry, StateKey
from homeserver.rooms.stripped_state import STRIPPED_KEYS, stripped_state
from storage.database import Identifiers
from storage.events import StoredEvent
from storage.memberships import Membership
from storage.rooms import Append

CREATE: StateKey = ("m.room.create", "")
POWER_LEVELS: StateKey = ("m.room.power_levels", "")
MEMBER = "m.room.member"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this server is when it makes events."""

    server_name: str
    signing_key: SigningKey


@dataclass(frozen=True, slots=True)
class Head:
    """`joined` and `invited` count members; `position` is the last event's place in the stream."""

    state: RoomState
    extremities: tuple[str, ...]
    depth: int
    create: Event | None
    power: PowerLevels | None
    joined: int
    invited: int

    def membership(self, user_id: str) -> str | None:
        entry = self.state.entries.get((MEMBER, user_id))
        return entry.membership if entry is not None else None

    def event_id(self, type: str, state_key: str = "") -> str | None:
        entry = self.state.entries.get((type, state_key))
        return entry.event_id if entry is not None else None

    @property
    def levels(self) -> PowerLevels:
        """The power levels of a room that has been created."""
        if self.power is None:
            raise ValueError("the room has no create event")
        return self.power


BEFORE_CREATION = Head(EMPTY, (), 0, None, None, 0, 0)


def count_members(state: RoomState) -> tuple[int, int]:
    """How many are joined and invited."""
    memberships = [entry.membership for entry in state.entries.values()]
    return memberships.count("join"), memberships.count("invite")


@dataclass(frozen=True, slots=True)
class Proposal:
    """An event somebody wants in a room."""

    type: str
    sender: str
    content: dict[str, Any]
    state_key: str | None = None
    redacts: str | None = None
    device_id: str | None = None
    txn_id: str | None = None
    ts: int | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """What followers of the stream "event" get: the event, the room's head after it, its membership row.

    `redacts`: the event whose redaction takes effect with this one.
    """

    stored: StoredEvent
    head: Head
    membership: Membership | None
    push: Sequence[Any] = ()
    redacts: str | None = None


def needed_keys(version: RoomVersion, proposal: Proposal) -> list[StateKey]:
    """The state whose events must be at hand to add this proposal."""
    keys = auth_rules.auth_keys(version, proposal.type, proposal.sender, proposal.state_key, proposal.content)
    if version.room_id_is_create_id:
        keys = [CREATE, *keys]
    if proposal.type == MEMBER and proposal.content.get("membership") in ("invite", "knock"):
        keys = [*keys, *STRIPPED_KEYS, (MEMBER, proposal.sender)]
    if proposal.state_key is not None:
        keys = [*keys, (proposal.type, proposal.state_key)]
    return keys


Outcomes = Callable[[Event, Head], tuple[int, str | None, Sequence[Any]]]
"""The push rules' word on an event: (base, thread root, exceptional rows)."""


@dataclass(slots=True)
class Draft:
    """Events on top of a head, not yet written. `lookup` finds the events of its state by ID."""

    head: Head
    room_nid: int
    room_id: str | None
    version: RoomVersion
    identity: Identity
    ids: Identifiers
    now_ms: int
    lookup: Callable[[str], Event | None]
    outcomes: Outcomes
    appends: list[Append] = field(default_factory=list)
    built: dict[str, StoredEvent] = field(default_factory=dict)

    def add(self, proposal: Proposal, redacted: Event | None = None) -> StoredEvent:
        """Builds, signs and checks one event. `redacted`: the target, if this redaction is to take effect.

        Raises Forbidden, BadJson or TooLarge; then the draft is as it was.
        """
        head = self.head
        event = self._build(proposal)
        key = event.key
        before = head.state
        replaced = before.entries.get(key) if key is not None else None
        nid = self.ids.event()
        entry = StateEntry(nid, event.event_id, event.membership)
        after, new_snapshot = before, None
        if key is not None:
            after, new_snapshot = before.with_event(key, entry, self.ids.snapshot())
        stored = StoredEvent(
            event,
            nid,
            self.room_nid,
            None,
            before.snapshot,
            after.snapshot,
            replaces=replaced.event_id if replaced is not None else None,
            device_id=proposal.device_id,
            txn_id=proposal.txn_id,
            childless=True,  # its ID is known to nobody yet
        )
        if proposal.device_id is None or proposal.txn_id is None:
            stored.device_id = stored.txn_id = None
        self.room_id = event.room_id
        self.built[event.event_id] = stored
        membership = self._membership(event, replaced) if event.type == MEMBER and key is not None else None
        self.head = self._advanced(event, after, replaced)
        if redacted is not None:
            self.head = self._without(redacted)
        stored.notify, stored.thread, push = self.outcomes(event, self.head)
        self.appends.append(self._append(stored, new_snapshot, membership, redacted, push))
        return stored

    def _append(
        self,
        stored: StoredEvent,
        new_snapshot: NewSnapshot | None,
        membership: Membership | None,
        redacted: Event | None,
        push: Sequence[Any],
    ) -> Append:
        head = self.head
        return Append(
            stored=stored,
            room_id=stored.event.room_id,
            version=self.version.id,
            snapshot=head.state.snapshot,
            depth=head.depth,
            extremities=head.extremities,
            new_snapshot=new_snapshot,
            membership=membership,
            redacts=(redacted.event_id, redact_event(redacted).json) if redacted is not None else None,
            push=push,
            announced=Committed(
                stored, head, membership, push, redacted.event_id if redacted is not None else None
            ),
        )

    def event(self, event_id: str) -> Event | None:
        stored = self.built.get(event_id)
        return stored.event if stored is not None else self.lookup(event_id)

    def state_event(self, key: StateKey) -> Event | None:
        entry = self.head.state.entries.get(key)
        return self.event(entry.event_id) if entry is not None else None

    def _build(self, proposal: Proposal) -> Event:
        head = self.head
        keys = auth_rules.auth_keys(
            self.version, proposal.type, proposal.sender, proposal.state_key, proposal.content
        )
        auth_state: dict[StateKey, Event] = {}
        auth_ids = []
        for key in keys:
            event = self.state_event(key)
            if event is not None:
                auth_state[key] = event
                auth_ids.append(event.event_id)
        if head.create is not None:
            auth_state[CREATE] = head.create
        try:
            event = Event.build(
                self.version,
                room_id=self.room_id,
                sender=proposal.sender,
                type=proposal.type,
                content=proposal.content,
                state_key=proposal.state_key,
                prev_events=head.extremities,
                auth_events=auth_ids,
                depth=head.depth + 1,
                origin_server_ts=proposal.ts if proposal.ts is not None else self.now_ms,
                server_name=self.identity.server_name,
                signing_key=self.identity.signing_key,
                redacts=proposal.redacts,
                reference_hashes=self._reference_hashes([*head.extremities, *auth_ids]),
            )
        except EventTooLarge as error:
            raise TooLarge(str(error)) from None
        except InvalidEvent as error:
            raise BadJson(str(error)) from None
        try:
            auth_rules.check(event, auth_state)
        except auth_rules.AuthError as error:
            raise Forbidden(str(error)) from None
        return event

    def _reference_hashes(self, event_ids: Sequence[str]) -> Mapping[str, str] | None:
        if self.version.hashed_event_ids:
            return None
        known = {event_id: self.event(event_id) for event_id in event_ids}
        return {
            event_id: hashing.base64(hashing.reference_hash(event.pdu, self.version))
            for event_id, event in known.items()
            if event is not None
        }

    def _advanced(self, event: Event, after: RoomState, replaced: StateEntry | None) -> Head:
        """The head after this event."""
        head = self.head
        key = event.key
        create = event if key == CREATE else head.create
        power = head.power
        if create is not None and key in (CREATE, POWER_LEVELS):
            power = PowerLevels.of(self.version, create, event if key == POWER_LEVELS else None)
        joined, invited = head.joined, head.invited
        if event.type == MEMBER and key is not None:
            was = replaced.membership if replaced is not None else None
            joined += (event.membership == "join") - (was == "join")
            invited += (event.membership == "invite") - (was == "invite")
        return Head(after, (event.event_id,), event.depth, create, power, joined, invited)

    def _without(self, redacted: Event) -> Head:
        """The head when the room's create event or power levels say no more than their redacted form."""
        head = self.head
        power_id, create = head.event_id(*POWER_LEVELS), head.create
        if create is None or redacted.event_id not in (power_id, create.event_id):
            return head
        power = self.state_event(POWER_LEVELS)
        if redacted.event_id == power_id:
            power = redact_event(redacted)
        else:
            create = redact_event(redacted)
        return replace(head, create=create, power=PowerLevels.of(self.version, create, power))

    def _membership(self, event: Event, replaced: StateEntry | None) -> Membership:
        invite_state = None
        if event.membership in ("invite", "knock"):
            invite_state = stripped_state(
                [
                    *(self.state_event(key) for key in STRIPPED_KEYS),
                    self.state_event((MEMBER, event.sender)),
                    event,
                ]
            )
        return Membership(
            user_id=event.state_key or "",
            room_id=event.room_id,
            membership=event.membership or "leave",
            previous=replaced.membership if replaced is not None else None,
            event_id=event.event_id,
            sender=event.sender,
            position=0,
            invite_state=invite_state,
        )
