"""A room to write rules' tests with: events in any version, with the auth events a server would select."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from homeserver.protocol import ids, signing
from homeserver.protocol.auth_rules import auth_keys
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signing import SigningKey, VerifyKey

ALICE, BOB, CAROL, DAVE = "@alice:a.org", "@bob:b.org", "@carol:c.org", "@dave:a.org"
ALL_VERSIONS = list(ROOM_VERSIONS)


def versions(low: int, high: int = 12) -> list[str]:
    return [str(number) for number in range(low, high + 1)]


def key_of(server: str) -> SigningKey:
    return SigningKey("1", sha256(server.encode()).digest())


def keys_of(*servers: str) -> dict[str, dict[str, VerifyKey]]:
    return {server: {key_of(server).key_id: key_of(server).verify_key} for server in servers}


class Room:
    """Every event ever made is in `events`; `state` follows the events that `send` makes."""

    def __init__(self, version: str, creator: str = ALICE, **content: Any) -> None:
        self.version = ROOM_VERSIONS[version]
        self.creator = creator
        self.events: dict[str, Event] = {}
        self.state: dict[StateKey, Event] = {}
        self.last: list[str] = []
        self.clock = 1_000
        self.room_id: str | None = None
        if not self.version.room_id_is_create_id:
            self.room_id = "!room:" + ids.domain_of(creator)
        if not self.version.creator_is_sender:
            content.setdefault("creator", creator)
        self.create = self.send(creator, "m.room.create", {"room_version": version, **content}, "")
        self.room_id = self.create.room_id

    def make(
        self,
        sender: str,
        type: str,
        content: dict[str, Any],
        state_key: str | None = None,
        *,
        state: Mapping[StateKey, Event] | None = None,
        prev: Iterable[str] | None = None,
        auth: Iterable[str] | None = None,
        ts: int | None = None,
        redacts: str | None = None,
    ) -> Event:
        """An event on `state` (the room's own unless given), which does not change."""
        state = self.state if state is None else state
        prev = list(self.last if prev is None else prev)
        if auth is None:
            keys = auth_keys(self.version, type, sender, state_key, content)
            auth = [state[key].event_id for key in keys if key in state]
        self.clock += 1
        event = Event.build(
            self.version,
            room_id=self.room_id,
            sender=sender,
            type=type,
            content=content,
            state_key=state_key,
            prev_events=prev,
            auth_events=list(auth),
            depth=1 + max((self.events[event_id].depth for event_id in prev), default=0),
            origin_server_ts=self.clock if ts is None else ts,
            server_name=ids.domain_of(sender),
            signing_key=key_of(ids.domain_of(sender)),
            redacts=redacts,
        )
        authoriser = content.get("join_authorised_via_users_server")
        if isinstance(authoriser, str) and ":" in authoriser:
            server = ids.domain_of(authoriser)
            event = signing.sign_event(event, server, key_of(server))
        self.events[event.event_id] = event
        return event

    def send(
        self, sender: str, type: str, content: dict[str, Any], state_key: str | None = None, **more: Any
    ) -> Event:
        """An event at the end of the room, taken into its state unchecked."""
        event = self.make(sender, type, content, state_key, **more)
        if event.key is not None:
            self.state[event.key] = event
        self.last = [event.event_id]
        return event

    def member(self, user: str, membership: str = "join", by: str | None = None, **content: Any) -> Event:
        return self.send(by or user, "m.room.member", {"membership": membership, **content}, user)

    def power(self, by: str | None = None, **content: Any) -> Event:
        return self.send(by or self.creator, "m.room.power_levels", content, "")

    def join_rule(self, rule: str) -> Event:
        return self.send(self.creator, "m.room.join_rules", {"join_rule": rule}, "")

    def levels(self, **users: int) -> dict[str, int]:
        """A `users` table with the creator on top, where the version wants the creator listed."""
        names = {"alice": ALICE, "bob": BOB, "carol": CAROL, "dave": DAVE}
        table = {names[name]: level for name, level in users.items()}
        return table if self.version.creators_outrank_all else {self.creator: 100, **table}

    def fetch(self, event_ids: Iterable[str]) -> dict[str, Event]:
        return {event_id: self.events[event_id] for event_id in event_ids if event_id in self.events}


def id_state(state: Mapping[StateKey, Event]) -> dict[StateKey, str]:
    return {key: event.event_id for key, event in state.items()}


def standard_room(version: str, join_rule: str = "public") -> Room:
    """Alice's room with power levels and a join rule; nobody else is in it."""
    room = Room(version)
    room.member(ALICE)
    room.power(users=room.levels())
    room.join_rule(join_rule)
    return room
