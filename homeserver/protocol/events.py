"""Events: the federation form (a PDU) with its ID, and the three ways to get one.

https://spec.matrix.org/v1.19/server-server-api/#pdus

`Event.parse` takes a PDU from the network and trusts nothing; `Event.load` takes our own stored bytes and
trusts everything; `Event.build` makes, hashes and signs a new one. An event is never changed: `pdu` and
`content` are shared, and whoever needs a variant asks `with_pdu`. Only `rejected`, which storage
knows, and `derived`, a cache for what other modules compute from an event, are set later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from homeserver.protocol import canonical_json, hashing, ids
from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.redaction import redact
from homeserver.protocol.room_versions import RoomVersion
from homeserver.protocol.signing import SigningKey

StateKey = tuple[str, str]
"""(type, state_key)"""

MEMBERSHIPS = frozenset({"join", "invite", "leave", "ban", "knock"})
MAX_EVENT_BYTES = 65_536
MAX_KEY_LENGTH = 255
MAX_PREV_EVENTS = 20
MAX_AUTH_EVENTS = 10
_MAX_TIMESTAMP = 2**63 - 1


class InvalidEvent(Exception):
    """Not an event of its room version: a remote's is dropped, a client's is M_BAD_JSON."""


class EventTooLarge(InvalidEvent):
    """`field` (None: the whole event) has `size`, more than `limit`: M_TOO_LARGE to a client."""

    def __init__(self, field: str | None, size: int, limit: int) -> None:
        super().__init__(f"The {field or 'event'} is too large: {size}, at most {limit}.")
        self.field = field
        self.size = size
        self.limit = limit


class Event:
    __slots__ = (
        "auth_events",
        "content",
        "depth",
        "derived",
        "event_id",
        "json",
        "origin_server_ts",
        "pdu",
        "prev_events",
        "redacts",
        "rejected",
        "room_id",
        "sender",
        "state_key",
        "type",
        "version",
    )

    version: RoomVersion
    event_id: str
    room_id: str
    type: str
    sender: str
    state_key: str | None
    content: dict[str, Any]
    depth: int
    origin_server_ts: int
    prev_events: tuple[str, ...]
    auth_events: tuple[str, ...]
    redacts: str | None
    pdu: dict[str, Any]
    """The federation form; before room version 3 with `event_id`, never with `unsigned`."""
    json: bytes
    """`pdu` in canonical JSON."""
    rejected: bool
    """Failed the authorisation rules; such an event authorises nothing."""
    derived: Any

    def __init__(
        self, version: RoomVersion, event_id: str, pdu: dict[str, Any], json: bytes, rejected: bool = False
    ) -> None:
        """From parts known to be right; elsewhere use `parse`, `load` or `build`."""
        self.version = version
        self.event_id = event_id
        room_id = pdu.get("room_id")
        self.room_id = "!" + event_id[1:] if room_id is None else room_id
        self.type = kind = pdu["type"]
        self.sender = pdu["sender"]
        self.state_key = pdu.get("state_key")
        self.content = content = pdu["content"]
        self.depth = pdu["depth"]
        self.origin_server_ts = pdu["origin_server_ts"]
        if version.hashed_event_ids:
            self.prev_events = tuple(pdu["prev_events"])
            self.auth_events = tuple(pdu["auth_events"])
        else:
            self.prev_events = tuple([pair[0] for pair in pdu["prev_events"]])
            self.auth_events = tuple([pair[0] for pair in pdu["auth_events"]])
        self.redacts = None
        if kind == "m.room.redaction":
            redacts = content.get("redacts") if version.redacts_in_content else pdu.get("redacts")
            if isinstance(redacts, str) and ids.is_valid_event_id(redacts):
                self.redacts = redacts
        self.pdu = pdu
        self.json = json
        self.rejected = rejected
        self.derived = None

    @property
    def is_state(self) -> bool:
        return self.state_key is not None

    @property
    def key(self) -> StateKey | None:
        return None if self.state_key is None else (self.type, self.state_key)

    @property
    def membership(self) -> str | None:
        """Of a member event, else None; also where it is none of the five, which no rule allows."""
        if self.type != "m.room.member" or self.state_key is None:
            return None
        membership = self.content.get("membership")
        return membership if isinstance(membership, str) and membership in MEMBERSHIPS else None

    def with_pdu(self, pdu: dict[str, Any]) -> Event:
        """The same event (the ID is kept) with another body: redacted, or with further signatures."""
        return Event(self.version, self.event_id, pdu, hashing.encode(pdu, self.version), self.rejected)

    def __repr__(self) -> str:
        key = "" if self.state_key is None else f" {self.state_key!r}"
        return f"<Event {self.event_id} {self.type}{key} by {self.sender} v{self.version.id}>"

    @classmethod
    def load(cls, json: bytes, event_id: str, version: RoomVersion, rejected: bool = False) -> Event:
        """From our own storage: nothing is checked, nothing hashed."""
        pdu = orjson.loads(json) if version.strict_json else canonical_json.decode_lax(json)
        return cls(version, event_id, pdu, json, rejected)

    @classmethod
    def parse(cls, pdu: dict[str, Any], version: RoomVersion, *, unlimited: bool = False) -> Event:
        """From another server: shape and sizes are checked and the ID computed.

        Hashes and signatures are not verified (`signing.check_hash_and_signatures`). `unsigned` is
        dropped; read it from `pdu` first where a remote's word is wanted, as with an invite.
        `unlimited`: any number of prev_events and auth_events, as events of old history may have.
        """
        if not isinstance(pdu, dict):
            raise InvalidEvent("An event is a JSON object.")
        if "unsigned" in pdu:
            pdu = {key: value for key, value in pdu.items() if key != "unsigned"}
        try:
            (canonical_json.validate_strict if version.strict_json else canonical_json.validate_lax)(pdu)
            _check_shape(pdu, version, unlimited)
            json = hashing.encode(pdu, version)
            event_id = hashing.event_id(pdu, version) if version.hashed_event_ids else pdu["event_id"]
        except NotCanonical as error:
            raise InvalidEvent(str(error)) from None
        event = cls(version, event_id, pdu, json)
        _check_sizes(event, version.strict_byte_limits)
        return event

    @classmethod
    def build(
        cls,
        version: RoomVersion,
        *,
        room_id: str | None,
        sender: str,
        type: str,
        content: dict[str, Any],
        state_key: str | None,
        prev_events: Sequence[str],
        auth_events: Sequence[str],
        depth: int,
        origin_server_ts: int,
        server_name: str,
        signing_key: SigningKey,
        redacts: str | None = None,
        reference_hashes: Mapping[str, str] | None = None,
    ) -> Event:
        """A new event of ours, hashed and signed. The caller must not change `content` afterwards.

        `room_id` is None for the create event of a room version whose room IDs come from it.
        `reference_hashes` (event ID → base64) fills the pairs of room versions 1 and 2, where known.
        """
        if redacts is not None and version.redacts_in_content:
            content = {**content, "redacts": redacts}
        pdu: dict[str, Any] = {
            "auth_events": list(auth_events),
            "content": content,
            "depth": min(depth, version.max_depth),
            "origin_server_ts": origin_server_ts,
            "prev_events": list(prev_events),
            "sender": sender,
            "type": type,
        }
        if room_id is not None:
            pdu["room_id"] = room_id
        if state_key is not None:
            pdu["state_key"] = state_key
        if redacts is not None and not version.redacts_in_content:
            pdu["redacts"] = redacts
        try:
            canonical_json.validate_strict(content)
            if not version.hashed_event_ids:
                _pair_with_hashes(pdu, reference_hashes or {})
                pdu["event_id"] = _new_event_id(pdu, server_name)
            digest = sha256(canonical_json.encode(pdu)).digest()
            pdu["hashes"] = {"sha256": hashing.base64(digest)}
            # Nothing that is left out of the signed bytes is in the PDU yet.
            signed = canonical_json.encode(redact(pdu, version))
            pdu["signatures"] = {server_name: {signing_key.key_id: signing_key.sign(signed)}}
            json = canonical_json.encode(pdu)
        except NotCanonical as error:
            raise InvalidEvent(str(error)) from None
        if version.hashed_event_ids:
            event_id = hashing.event_id_of_digest(sha256(signed).digest(), version)
        else:
            event_id = pdu["event_id"]
        event = cls(version, event_id, pdu, json)
        _check_sizes(event, in_bytes=True)
        _check_names(pdu)
        return event


parse = Event.parse
load = Event.load
build = Event.build


def _check_sizes(event: Event, in_bytes: bool) -> None:
    if len(event.json) > MAX_EVENT_BYTES:
        raise EventTooLarge(None, len(event.json), MAX_EVENT_BYTES)
    for field in ("type", "state_key", "sender", "room_id", "event_id"):
        value = getattr(event, field)
        if value is None or (len(value) <= MAX_KEY_LENGTH and (not in_bytes or value.isascii())):
            continue
        size = len(value.encode()) if in_bytes else len(value)
        if size > MAX_KEY_LENGTH:
            raise EventTooLarge(field, size, MAX_KEY_LENGTH)


def _check_names(pdu: dict[str, Any]) -> None:
    # PostgreSQL's TEXT holds no NUL, so no server that uses it has ever stored such an event.
    if "\0" in pdu["type"] or "\0" in pdu.get("state_key", ""):
        raise InvalidEvent("A type or state_key holds NUL.")


def _check_shape(pdu: dict[str, Any], version: RoomVersion, unlimited: bool) -> None:
    for field in ("type", "sender"):
        if not isinstance(pdu.get(field), str):
            raise InvalidEvent(f"`{field}` is not a string.")
    if "state_key" in pdu and not isinstance(pdu["state_key"], str):
        raise InvalidEvent("`state_key` is not a string.")
    _check_names(pdu)
    for field in ("content", "hashes", "signatures"):
        if not isinstance(pdu.get(field), dict):
            raise InvalidEvent(f"`{field}` is not an object.")
    sender = pdu["sender"]
    localpart, colon, domain = sender.partition(":")
    if sender[:1] != "@" or not colon or "\0" in localpart or not ids.is_valid_server_name(domain):
        raise InvalidEvent("`sender` is not a user ID.")
    _check_integer(pdu, "depth", 0, version.max_depth)
    _check_integer(pdu, "origin_server_ts", -_MAX_TIMESTAMP, _MAX_TIMESTAMP)
    _check_room_id(pdu, version)
    # As many as fit into an event are no limit.
    _check_references(pdu, version, "prev_events", MAX_EVENT_BYTES if unlimited else MAX_PREV_EVENTS)
    _check_references(pdu, version, "auth_events", MAX_EVENT_BYTES if unlimited else MAX_AUTH_EVENTS)
    if not version.hashed_event_ids:
        event_id = pdu.get("event_id")
        if not isinstance(event_id, str) or event_id[:1] != "$" or "\0" in event_id:
            raise InvalidEvent("`event_id` is not an event ID.")
        if not ids.is_valid_server_name(event_id.partition(":")[2]):
            raise InvalidEvent("`event_id` has no domain.")


def _check_integer(pdu: dict[str, Any], field: str, low: int, high: int) -> None:
    value = pdu.get(field)
    if type(value) is not int or not low <= value <= high:
        raise InvalidEvent(f"`{field}` is not an integer in range.")


def _check_room_id(pdu: dict[str, Any], version: RoomVersion) -> None:
    room_id = pdu.get("room_id")
    if version.room_id_is_create_id:
        if pdu["type"] == "m.room.create":
            if "room_id" in pdu:
                raise InvalidEvent("A create event of this room version has no `room_id`.")
        elif not isinstance(room_id, str) or room_id[:1] != "!" or not ids.is_hash(room_id[1:]):
            raise InvalidEvent("`room_id` is not the ID of a create event.")
    elif not isinstance(room_id, str) or room_id[:1] != "!" or "\0" in room_id:
        raise InvalidEvent("`room_id` is not a room ID.")


def _check_references(pdu: dict[str, Any], version: RoomVersion, field: str, limit: int) -> None:
    references = pdu.get(field)
    if not isinstance(references, list) or len(references) > limit:
        raise InvalidEvent(f"`{field}` is not a list of at most {limit} events.")
    for reference in references:
        event_id = reference
        if not version.hashed_event_ids:
            event_id = reference[0] if isinstance(reference, list) and reference else None
        if not isinstance(event_id, str) or not ids.is_valid_event_id(event_id):
            raise InvalidEvent(f"`{field}` holds something else than event IDs.")


def _pair_with_hashes(pdu: dict[str, Any], reference_hashes: Mapping[str, str]) -> None:
    for field in ("prev_events", "auth_events"):
        pdu[field] = [
            [event_id, {"sha256": reference_hashes[event_id]} if event_id in reference_hashes else {}]
            for event_id in pdu[field]
        ]


def _new_event_id(pdu: dict[str, Any], server_name: str) -> str:
    # Room versions 1 and 2 leave the opaque part to us; a hash needs no source of randomness.
    digest = sha256(canonical_json.encode(pdu)).digest()
    return f"${hashing.base64_url(digest[:18])}:{server_name}"
