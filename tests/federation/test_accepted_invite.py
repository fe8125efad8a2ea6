"""Whoever accepts an invite from another server is shown the whole room, in every way of asking."""

from pathlib import Path

import pytest

from tests.faults.hostile import scene
from tests.harness import Json, joined, ok

EVERYTHING = {"m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility"}


@pytest.mark.parametrize("version", ["6", "11", "12"])
def test_the_state_of_a_room_one_was_invited_to(tmp_path: Path, version: str) -> None:
    with scene(tmp_path) as here:
        room = here.remote.make_room(version, members=2)
        room.send("m.room.join_rules", {"join_rule": "invite"}, "")
        alice = here.hearth.register("alice")
        alice.sync()
        here.remote.invite(here.name, room, alice.user_id)
        alice.sync_until(lambda sync: room.room_id in sync["rooms"].get("invite", {}))
        ok(alice.post(f"/rooms/{room.room_id}/join", {}))
        # Members may come later than the room; a client that loads all of them gets it whole.
        news = alice.sync_until(lambda sync: joined(sync, room.room_id))
        afresh = joined(here.hearth.login(alice.user_id).sync(), room.room_id)
        for part in (news, afresh):
            state: list[Json] = part["state"]["events"]
            assert {each["type"] for each in state} >= EVERYTHING
            told = [each for each in (*state, *part["timeline"]["events"]) if each["type"] == "m.room.member"]
            assert {each["state_key"] for each in told} == {*room.joined()}
            assert part["summary"]["m.joined_member_count"] == 4
        alice.leave(room.room_id)
        left = here.hearth.login(alice.user_id).sync(filter='{"room": {"include_leave": true}}')
        gone: Json = left["rooms"]["leave"][room.room_id]
        assert {each["type"] for each in gone["state"]["events"]} >= EVERYTHING
        assert not here.hearth.internal_errors()
