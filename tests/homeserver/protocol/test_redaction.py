"""What a redaction keeps, by room version."""

from typing import Any

import pytest

from homeserver.protocol.redaction import redact, redact_event
from homeserver.protocol.room_versions import ROOM_VERSIONS
from tests.homeserver.protocol.room import ALICE, ALL_VERSIONS, Room, versions

PDU = {
    "event_id": "$x",
    "room_id": "!r:a.org",
    "sender": ALICE,
    "state_key": "",
    "hashes": {},
    "signatures": {},
    "depth": 1,
    "prev_events": [],
    "prev_state": [],
    "auth_events": [],
    "origin": "a.org",
    "origin_server_ts": 1,
    "membership": "join",
    "unsigned": {"age": 1},
    "redacts": "$y",
    "extra": 1,
}
FULL: dict[str, dict[str, Any]] = {
    "m.room.member": {
        "membership": "join",
        "displayname": "A",
        "join_authorised_via_users_server": ALICE,
        "third_party_invite": {"display_name": "x", "signed": {"token": "t"}},
    },
    "m.room.create": {"creator": ALICE, "m.federate": False, "room_version": "1"},
    "m.room.join_rules": {"join_rule": "public", "allow": [], "x": 1},
    "m.room.power_levels": {
        "ban": 1,
        "events": {"a": 1},
        "events_default": 1,
        "invite": 1,
        "kick": 1,
        "notifications": {"room": 1},
        "redact": 1,
        "state_default": 1,
        "users": {ALICE: 1},
        "users_default": 1,
    },
    "m.room.aliases": {"aliases": [], "x": 1},
    "m.room.history_visibility": {"history_visibility": "joined", "x": 1},
    "m.room.redaction": {"redacts": "$y", "reason": "x"},
    "m.room.message": {"body": "x"},
}


def kept(version: str, kind: str) -> set[str]:
    return set(redact({**PDU, "type": kind, "content": FULL[kind]}, ROOM_VERSIONS[version])["content"])


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_content(version: str) -> None:
    number = int(version)
    member = {"membership"}
    if number >= 9:
        member |= {"join_authorised_via_users_server"}
    if number >= 11:
        member |= {"third_party_invite"}
    levels = set(FULL["m.room.power_levels"]) - {"notifications"}
    assert kept(version, "m.room.member") == member
    assert kept(version, "m.room.create") == (set(FULL["m.room.create"]) if number >= 11 else {"creator"})
    assert kept(version, "m.room.join_rules") == ({"join_rule", "allow"} if number >= 8 else {"join_rule"})
    assert kept(version, "m.room.power_levels") == (levels if number >= 11 else levels - {"invite"})
    assert kept(version, "m.room.aliases") == ({"aliases"} if number <= 5 else set())
    assert kept(version, "m.room.history_visibility") == {"history_visibility"}
    assert kept(version, "m.room.redaction") == ({"redacts"} if number >= 11 else set())
    assert kept(version, "m.room.message") == set()


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_top_level(version: str) -> None:
    redacted = redact({**PDU, "type": "m.room.message", "content": {}}, ROOM_VERSIONS[version])
    gone = {"unsigned", "redacts", "extra"}
    if int(version) >= 11:
        gone |= {"origin", "membership", "prev_state"}
    assert set(PDU) | {"type", "content"} == set(redacted) | gone


@pytest.mark.parametrize("version", versions(11))
def test_only_signed_stays_of_a_third_party_invite(version: str) -> None:
    pdu = {**PDU, "type": "m.room.member", "content": FULL["m.room.member"]}
    assert redact(pdu, ROOM_VERSIONS[version])["content"]["third_party_invite"] == {"signed": {"token": "t"}}
    odd = {**pdu, "content": {"membership": "invite", "third_party_invite": "x"}}
    assert redact(odd, ROOM_VERSIONS[version])["content"] == {"membership": "invite"}


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_redacting_keeps_the_id_and_leaves_the_event_alone(version: str) -> None:
    room = Room(version)
    event = room.member(ALICE, displayname="Alice")
    redacted = redact_event(event)
    assert redacted.event_id == event.event_id
    assert redacted.membership == "join"
    assert "displayname" not in redacted.content
    assert event.content["displayname"] == "Alice"
    assert redact_event(redacted).json == redacted.json
