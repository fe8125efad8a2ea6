"""Rooms that exist nowhere but in a test: a whole event graph, signed by one server, made by the thousand.

https://spec.matrix.org/v1.19/server-server-api/#pdus

Every event has its state, as a persistent map shared with its neighbours, so a room may have five thousand
members and any number of forks. Nothing is checked: what a room holds is for the test to say. The same seed,
server name and calls give the same events.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import immutables

from homeserver.protocol import ids, signing
from homeserver.protocol.auth_rules import auth_keys
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.hashing import base64, content_hash, reference_hash, signed_bytes
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.protocol.signing import SigningKey
from homeserver.protocol.state_resolution import resolve

Json = dict[str, Any]
State = immutables.Map[StateKey, str]

EPOCH = 1_700_000_000_000
MEMBER, POWER_LEVELS, JOIN_RULES = "m.room.member", "m.room.power_levels", "m.room.join_rules"


class SyntheticRoom:
    """The graph as its server sees it; `extremities` are what the next event follows."""

    def __init__(self, version: str, server_name: str, key: SigningKey, creator: str = "owner") -> None:
        self.version = ROOM_VERSIONS[version]
        self.server_name = server_name
        self.key = key
        self.creator = f"@{creator}:{server_name}"
        self.room_id = ""
        self.events: dict[str, Event] = {}
        self.state_after: dict[str, State] = {}
        self.extremities: list[str] = []
        self.ts = EPOCH

    # Making rooms

    @classmethod
    def create(
        cls,
        version: str,
        server_name: str,
        key: SigningKey,
        localpart: str = "room",
        *,
        creator: str = "owner",
        join_rule: Json | str = "public",
        members: int = 0,
        power: Json | None = None,
        **content: Any,
    ) -> "SyntheticRoom":
        """A public room with its owner and `members` more: @member0 and so on."""
        room = cls(version, server_name, key, creator)
        if not room.version.room_id_is_create_id:
            room.room_id = f"!{localpart}:{server_name}"
        else:
            content.setdefault("org.example.localpart", localpart)  # the room ID is a hash of it
        if not room.version.creator_is_sender:
            content.setdefault("creator", room.creator)
        created = room.send("m.room.create", {"room_version": version, **content}, "")
        room.room_id = created.room_id
        room.join(room.creator)
        users = {} if room.version.creators_outrank_all else {room.creator: 100}
        room.send(POWER_LEVELS, {"users": users, **(power or {})}, "")
        rule = {"join_rule": join_rule} if isinstance(join_rule, str) else join_rule
        room.send(JOIN_RULES, rule, "")
        room.send("m.room.history_visibility", {"history_visibility": "shared"}, "")
        for number in range(members):
            room.join(f"@member{number}:{server_name}")
        return room

    def join(self, user_id: str, **content: Any) -> Event:
        localpart = user_id[1:].partition(":")[0]
        content = {"membership": "join", "displayname": localpart, **content}
        return self.send(MEMBER, content, user_id, sender=user_id)

    def say(self, text: str, sender: str | None = None, **more: Any) -> Event:
        return self.send("m.room.message", {"msgtype": "m.text", "body": text}, sender=sender, **more)

    def chat(self, count: int, start: int = 0) -> list[Event]:
        """So many messages by the members in turn."""
        members = [user for user in self.joined() if ids.domain_of(user) == self.server_name]
        return [self.say(f"message {n}", members[n % len(members)]) for n in range(start, start + count)]

    def fork(self, branches: int, entries: int, type: str = "org.example.entry") -> list[str]:
        """So many branches from here, each setting the same state keys to its own values; their tips, which
        become the extremities."""
        root, tips = list(self.extremities), []
        for branch in range(branches):
            self.extremities = list(root)
            for number in range(entries):
                self.send(type, {"branch": branch, "number": number}, f"key{number}")
            tips += self.extremities
        self.extremities = tips
        return tips

    # Events

    def make(
        self,
        type: str,
        content: Json,
        state_key: str | None = None,
        *,
        sender: str | None = None,
        prev: Iterable[str] | None = None,
        auth: Iterable[str] | None = None,
        depth: int | None = None,
        ts: int | None = None,
        redacts: str | None = None,
        key: SigningKey | None = None,
        server_name: str | None = None,
    ) -> Event:
        """An event that the room does not have yet."""
        sender = sender or self.creator
        prev = list(self.extremities if prev is None else prev)
        if auth is None:
            state = self.state_of(prev)
            auth = self.auth_of(state, type, sender, state_key, content)
        auth = list(auth)
        if depth is None:
            depth = 1 + max((self.events[each].depth for each in prev if each in self.events), default=0)
        if ts is None:
            self.ts += 1
            ts = self.ts
        event = Event.build(
            self.version,
            room_id=self.room_id or None,
            sender=sender,
            type=type,
            content=content,
            state_key=state_key,
            prev_events=prev,
            auth_events=auth,
            depth=depth,
            origin_server_ts=ts,
            server_name=server_name or self.server_name,
            signing_key=key or self.key,
            redacts=redacts,
            reference_hashes=None if self.version.hashed_event_ids else self._hashes({*prev, *auth}),
        )
        authoriser = content.get("join_authorised_via_users_server")
        if isinstance(authoriser, str) and ids.domain_of(authoriser) == self.server_name:
            event = signing.sign_event(event, self.server_name, self.key)
        return event

    def send(self, type: str, content: Json, state_key: str | None = None, **more: Any) -> Event:
        """An event, and the room has it."""
        return self.add(self.make(type, content, state_key, **more))

    def add(self, event: Event) -> Event:
        """Takes an event whose previous events are here, whoever made it."""
        if event.event_id in self.events:
            return event
        state = self.state_of(event.prev_events)
        self.events[event.event_id] = event
        if event.key is not None:
            state = state.set(event.key, event.event_id)
        self.state_after[event.event_id] = state
        self.extremities = [each for each in self.extremities if each not in event.prev_events]
        self.extremities.append(event.event_id)
        return event

    def adopt(self, state: Iterable[Event], auth_chain: Iterable[Event], join: Event) -> None:
        """The room as another server described it to us when we joined."""
        before: State = immutables.Map()
        for event in auth_chain:
            self.events[event.event_id] = event
        for event in state:
            self.events[event.event_id] = event
            assert event.key is not None
            before = before.set(event.key, event.event_id)
        for each in join.prev_events:
            self.state_after[each] = before
        self.add(join)

    # State

    @property
    def state(self) -> State:
        """The current state."""
        return self.state_of(self.extremities)

    def state_of(self, event_ids: Sequence[str]) -> State:
        """The state after these events."""
        states = [self.state_after[each] for each in event_ids if each in self.state_after]
        if not states:
            return immutables.Map()
        if all(each == states[0] for each in states[1:]):
            return states[0]
        return immutables.Map(resolve(self.version, states, self.fetch))

    def auth_of(
        self, state: Mapping[StateKey, str], type: str, sender: str, state_key: str | None, content: Json
    ) -> list[str]:
        keys = auth_keys(self.version, type, sender, state_key, content)
        return [state[key] for key in keys if key in state]

    def events_of(self, state: Mapping[StateKey, str]) -> list[Event]:
        return [self.events[state[key]] for key in sorted(state)]

    def joined(self, state: Mapping[StateKey, str] | None = None) -> list[str]:
        # In order: a persistent map's own order changes from run to run.
        return sorted(
            key for (type, key), event_id in (self.state if state is None else state).items()
            if type == MEMBER and self.events[event_id].membership == "join"
        )

    def servers(self, state: Mapping[StateKey, str] | None = None) -> list[str]:
        return list(dict.fromkeys(ids.domain_of(user) for user in self.joined(state)))

    def auth_chain(self, event_ids: Iterable[str]) -> list[Event]:
        """Everything these events stand on, themselves left out unless another stands on them."""
        seen: dict[str, Event] = {}
        waiting = [auth for each in event_ids for auth in self.events[each].auth_events]
        while waiting:
            each = waiting.pop()
            if each not in seen and each in self.events:
                seen[each] = self.events[each]
                waiting += self.events[each].auth_events
        return list(seen.values())

    def fetch(self, event_ids: Iterable[str]) -> dict[str, Event]:
        return {each: self.events[each] for each in event_ids if each in self.events}

    def before(
        self, latest: Iterable[str], limit: int, *, earliest: Iterable[str] = (), including: bool = False
    ) -> list[Event]:
        """A breadth-first walk back, nearest first."""
        seen = set(earliest)
        found: list[Event] = []
        level = list(latest)
        if not including:
            seen.update(level)
            level = [prev for each in level if each in self.events for prev in self.events[each].prev_events]
        while level and len(found) < limit:
            deeper: list[str] = []
            for each in level:
                if each not in seen and each in self.events and len(found) < limit:
                    seen.add(each)
                    found.append(self.events[each])
                    deeper += self.events[each].prev_events
            level = deeper
        return found

    def _hashes(self, event_ids: Iterable[str]) -> dict[str, str]:
        return {
            each: base64(reference_hash(self.events[each].pdu, self.version))
            for each in event_ids
            if each in self.events
        }


def forge(event: Event, server_name: str, key: SigningKey, **changes: Any) -> Json:
    """The PDU with these fields changed (None: taken away), properly hashed and signed all the same."""
    pdu = {name: value for name, value in {**event.pdu, **changes}.items() if value is not None}
    pdu.pop("signatures", None)
    return sign_pdu(pdu, event.version, server_name, key)


def sign_pdu(pdu: Json, version: RoomVersion, server_name: str, key: SigningKey) -> Json:
    """Hashed and signed, whatever it is; only the sender's good manners decide what is in it."""
    pdu = {**pdu, "hashes": {"sha256": base64(content_hash(pdu, version))}}
    signature = key.sign(signed_bytes(pdu, version))
    signatures = {**pdu.get("signatures", {}), server_name: {key.key_id: signature}}
    return {**pdu, "signatures": signatures}
