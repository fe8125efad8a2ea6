"""What another server is shown of a room's history: rooms with members here and there."""

from collections.abc import Sequence

from federation.visibility import ServerSight
from homeserver.protocol.redaction import redact_event
from storage.events import StoredEvent
from tests.homeserver.rooms.house import ALICE, House

DAVE, ERIN = "@dave:there", "@erin:there"


def stored_of(house: House, event_ids: Sequence[str]) -> list[StoredEvent]:
    found = house.run(house.events.many(event_ids))
    return [found[event_id] for event_id in event_ids]


def seen(house: House, room_id: str, event_ids: Sequence[str], server_name: str = "there") -> list[bool]:
    """Whether the server gets each event whole."""
    room = house.run(house.rooms.get(room_id))
    events = stored_of(house, event_ids)
    served = house.db.read(lambda tx: ServerSight(tx, room.nid, server_name).served(events))
    visible = house.db.read(lambda tx: ServerSight(tx, room.nid, server_name).visible(events))
    whole = [json == stored.event.json for json, stored in zip(served, events, strict=True)]
    redacted = [redact_event(stored.event).json for stored in events]
    full = [stored.event.json for stored in events]
    assert served == [full[n] if whole[n] else redacted[n] for n in range(len(events))]
    assert [stored in visible for stored in events] == whole
    return whole


def test_shared_history_is_open(house: House) -> None:
    room_id = house.room()
    before = house.say(room_id, "before they came")
    house.join(room_id, DAVE)
    assert seen(house, room_id, [before, house.say(room_id, "since")]) == [True, True]


def test_members_only(house: House) -> None:
    room_id = house.room()
    setting = house.set_visibility(room_id, "joined")
    said = [setting, house.say(room_id, "1")]
    house.join(room_id, DAVE)
    said += [house.say(room_id, "2")]
    house.leave(room_id, DAVE)
    said += [house.say(room_id, "3")]
    house.join(room_id, ERIN)
    said += [house.say(room_id, "4"), house.say(room_id, "5", sender=ERIN)]
    # The setting itself was made in a room that was shared.
    assert seen(house, room_id, said) == [True, False, True, False, True, True]
    assert seen(house, room_id, said, "elsewhere") == [True, False, False, False, False, False]
    assert seen(house, room_id, said, "here") == [True] * 6, "its own users were there all along"


def test_invited(house: House) -> None:
    room_id = house.room()
    house.set_visibility(room_id, "invited")
    said = [house.say(room_id, "before")]
    house.run(house.rooms.set_state(room_id, ALICE, "m.room.member", DAVE, {"membership": "ban"}))
    said += [house.say(room_id, "banned")]
    house.run(house.rooms.set_state(room_id, ALICE, "m.room.member", DAVE, {"membership": "leave"}))
    house.join(room_id, DAVE)
    said += [house.say(room_id, "joined")]
    assert seen(house, room_id, said) == [False, False, True]


def test_their_own_memberships_and_changes_of_the_setting(house: House) -> None:
    room_id = house.room()
    house.set_visibility(room_id, "joined")
    house.join(room_id, DAVE)
    room = house.run(house.rooms.get(room_id))
    join = room.head.event_id("m.room.member", DAVE) or ""
    house.leave(room_id, DAVE)
    leave = house.run(house.rooms.get(room_id)).head.event_id("m.room.member", DAVE) or ""
    opened = house.set_visibility(room_id, "world_readable")
    closed = house.set_visibility(room_id, "joined")
    after = house.say(room_id, "after")
    house.join(room_id, ERIN)
    assert seen(house, room_id, [join, leave, opened, closed, after]) == [True, True, True, True, False]


def test_another_servers_name_that_ends_alike(house: House) -> None:
    room_id = house.room()
    house.set_visibility(room_id, "joined")
    house.join(room_id, "@frank:not.there", "@gina:there:80")
    assert seen(house, room_id, [house.say(room_id, "x")]) == [False]
