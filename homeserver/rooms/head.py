"""What a room's next event is built on: state, extremities, depth, and the derived values.

A `Head` is never changed. A `Draft` starts from one, builds events on top, each checked against the
authorisation rules, and ends with the head after them; dropping a draft undoes it. So a request that fails
half-way, or a room whose creation breaks a rule, leaves nothing behind.

https://spec.matrix.org/v1.19/server-server-api/#authorization-rules
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from immutables import Map

from homeserver.errors import BadJson, Forbidden, TooLarge
from homeserver.protocol import auth_rules, hashing
from homeserver.protocol.events import Event, EventTooLarge, InvalidEvent
from homeserver.protocol.ids import is_valid_server_name, server_of
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
NO_SERVERS: "Map[str, int]" = Map()
MOST_PREVIOUS = 10
"""How many extremities a new event joins; any others stay until the next."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this server is when it makes events."""

    server_name: str
    signing_key: SigningKey


@dataclass(frozen=True, slots=True)
class Head:
    """`joined` and `invited` count members, `servers` the joined ones of each server."""

    state: RoomState
    extremities: tuple[str, ...]
    depth: int
    create: Event | None
    power: PowerLevels | None
    joined: int
    invited: int
    servers: "Map[str, int]" = NO_SERVERS

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


    def with_member(self, user_id: str, before: str | None, after: str | None) -> "Head":
        """With the counts after one membership changed."""
        if before == after:
            return self
        servers = self.servers
        joined = (after == "join") - (before == "join")
        if joined:
            server = server_of(user_id)
            count = servers.get(server, 0) + joined
            servers = servers.set(server, count) if count > 0 else servers.delete(server)
        invited = (after == "invite") - (before == "invite")
        return replace(self, joined=self.joined + joined, invited=self.invited + invited, servers=servers)


BEFORE_CREATION = Head(EMPTY, (), 0, None, None, 0, 0)


MemberCounts = tuple[int, int, "Map[str, int]"]


def count_members(state: RoomState) -> MemberCounts:
    """How many are joined and invited, and how many of each server are joined."""
    joined = invited = 0
    servers: dict[str, int] = {}
    for (_, state_key), entry in state.entries.items():
        if entry.membership == "join":
            joined += 1
            server = server_of(state_key)
            servers[server] = servers.get(server, 0) + 1
        elif entry.membership == "invite":
            invited += 1
    return joined, invited, Map(servers)


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

    `redacts`: the event whose redaction takes effect with this one. `changed`: other memberships that state
    resolution changed with it. `previous_servers`: the head's servers before the event. `outgoing`: this
    server tells those servers of it, and the server `also`. `after_gap`: what it stands on is not all here,
    or came when somebody read there.
    """

    stored: StoredEvent
    head: Head
    membership: Membership | None
    push: Sequence[Any] = ()
    redacts: str | None = None
    changed: Sequence[Membership] = ()
    previous_servers: "Map[str, int]" = NO_SERVERS
    outgoing: bool = False
    also: str | None = None
    after_gap: bool = False


@dataclass(frozen=True, slots=True)
class OutOfBand:
    """The same for an invite, a knock or their end in a room this server is not in: there is no head."""

    stored: StoredEvent
    membership: Membership


@dataclass(frozen=True, slots=True)
class StateCompleted:
    """The same when the members of a room that was joined with part of its state have come."""

    room_id: str
    memberships: Sequence[Membership]


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
    states: dict[str, RoomState] = field(default_factory=dict)
    """The state after each event that was built."""

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
        self.states[event.event_id] = after
        membership = self._membership(event, replaced) if event.type == MEMBER and key is not None else None
        previous = head
        self.head = self._advanced(event, after, replaced)
        if redacted is not None:
            self.head = self._without(redacted)
        stored.notify, stored.thread, push = self.outcomes(event, self.head)
        self.appends.append(self._append(stored, previous, new_snapshot, membership, redacted, push))
        return stored

    def _append(
        self,
        stored: StoredEvent,
        previous: Head,
        new_snapshot: NewSnapshot | None,
        membership: Membership | None,
        redacted: Event | None,
        push: Sequence[Any],
    ) -> Append:
        head = self.head
        own = self.identity.server_name
        outgoing = is_shared(previous.servers, own) or is_shared(head.servers, own)
        also = also_told(stored.event, membership, previous, own)
        come, gone = servers_changed(previous.servers, head.servers, own)
        return Append(
            stored=stored,
            room_id=stored.event.room_id,
            version=self.version.id,
            snapshot=head.state.snapshot,
            depth=head.depth,
            extremities=head.extremities,
            new_snapshots=(new_snapshot,) if new_snapshot is not None else (),
            memberships=(membership,) if membership is not None else (),
            users=local_users((membership,), own) if membership is not None else (),
            redacts=(redacted.event_id, redact_event(redacted).json) if redacted is not None else None,
            push=push,
            announced=Committed(
                stored,
                head,
                membership,
                push,
                redacted.event_id if redacted is not None else None,
                previous_servers=previous.servers,
                outgoing=outgoing,
                also=also,
            ),
            outgoing=outgoing,
            also=also,
            servers_in=come,
            servers_out=gone,
        )

    def event(self, event_id: str) -> Event | None:
        stored = self.built.get(event_id)
        return stored.event if stored is not None else self.lookup(event_id)

    def state_event(self, key: StateKey) -> Event | None:
        entry = self.head.state.entries.get(key)
        return self.event(entry.event_id) if entry is not None else None

    def _build(self, proposal: Proposal) -> Event:
        head = self.head
        previous = head.extremities[-MOST_PREVIOUS:]
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
                prev_events=previous,
                auth_events=auth_ids,
                depth=head.depth + 1,
                origin_server_ts=proposal.ts if proposal.ts is not None else self.now_ms,
                server_name=self.identity.server_name,
                signing_key=self.identity.signing_key,
                redacts=proposal.redacts,
                reference_hashes=self._reference_hashes([*previous, *auth_ids]),
            )
        except EventTooLarge as error:
            raise TooLarge(str(error)) from None
        except InvalidEvent as error:
            raise BadJson(str(error)) from None
        try:
            auth_rules.check(event, auth_state)
        except auth_rules.Malformed as error:
            raise BadJson(str(error)) from None
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
        extremities = (*head.extremities[:-MOST_PREVIOUS], event.event_id)
        advanced = replace(
            head, state=after, extremities=extremities, depth=event.depth, create=create, power=power
        )
        if event.type == MEMBER and key is not None:
            was = replaced.membership if replaced is not None else None
            advanced = advanced.with_member(key[1], was, event.membership)
        return advanced

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
        return membership_row(event, replaced.membership if replaced is not None else None, self.state_event)


def membership_row(
    event: Event, previous: str | None, state_event: Callable[[StateKey], Event | None]
) -> Membership:
    """The row a member event makes. `state_event` finds what an invited or knocking user is shown."""
    invite_state = None
    if event.membership in ("invite", "knock"):
        shown = [*STRIPPED_KEYS, (MEMBER, event.sender)]
        invite_state = stripped_state([*map(state_event, shown), event])
    return Membership(
        user_id=event.state_key or "",
        room_id=event.room_id,
        membership=event.membership or "leave",
        previous=previous,
        event_id=event.event_id,
        sender=event.sender,
        position=0,
        invite_state=invite_state,
    )


def is_shared(servers: "Map[str, int]", own: str) -> bool:
    """Whether servers besides `own` are among these."""
    return len(servers) > (own in servers)


def servers_changed(
    before: "Map[str, int]", after: "Map[str, int]", own: str
) -> tuple[Collection[str], Collection[str]]:
    """The other servers that came, and those that went."""
    if before is after or (len(before) <= 1 and len(after) <= 1 and own in before and own in after):
        return (), ()
    come = [server for server in after if server not in before and server != own]
    gone = [server for server in before if server not in after and server != own]
    return come, gone


def also_told(event: Event, membership: Membership | None, previous: Head, own: str) -> str | None:
    """The server of a user whose invite or knock ends: it is in the room no more than the user is."""
    if membership is None or membership.previous not in ("invite", "knock"):
        return None
    server = server_of(membership.user_id)
    ends = event.membership in ("leave", "ban") and server != own and server not in previous.servers
    if ends and is_valid_server_name(server):
        return server
    return None


def local_users(memberships: Iterable[Membership], own: str) -> tuple[str, ...]:
    """Whose syncs are to wake."""
    return tuple([row.user_id for row in memberships if server_of(row.user_id) == own])
