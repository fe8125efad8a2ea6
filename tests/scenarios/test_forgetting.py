"""Rooms that were left go out of sight. https://spec.matrix.org/v1.19/client-server-api/#leaving-rooms"""

import json
from pathlib import Path

from tests.harness import HearthServer, ok, refused, room_path


def test_rooms_may_be_forgotten_with_the_leave(tmp_path: Path) -> None:
    """https://spec.matrix.org/v1.19/client-server-api/#mforget_forced_upon_leave-capability"""
    with HearthServer("sqlite", tmp_path, settings={"forget_rooms_on_leave": True}) as server:
        alice, bob = server.register("alice"), server.register("bob")
        capabilities = ok(bob.get("/capabilities"))["capabilities"]
        assert capabilities["m.forget_forced_upon_leave"] == {"enabled": True}
        room_id = alice.create_room(preset="public_chat")
        archived = json.dumps({"room": {"include_leave": True}})
        for verb in ("leave", "kick", "ban"):
            bob.join(room_id)
            bob.sync()
            if verb == "leave":
                bob.leave(room_id)
            else:
                ok(alice.post(f"{room_path(room_id)}/{verb}", {"user_id": bob.user_id}))
            assert room_id in bob.sync()["rooms"]["leave"], "that it was left is told all the same"
            assert room_id not in bob.sync(since=None, filter=archived).get("rooms", {}).get("leave", {})
            refused(bob.get(f"{room_path(room_id)}/messages", dir="b"), 403, "M_FORBIDDEN")
        ok(alice.post(f"{room_path(room_id)}/unban", {"user_id": bob.user_id}))
        server.restart()
        refused(bob.get(f"{room_path(room_id)}/messages", dir="b"), 403, "M_FORBIDDEN")
        bob.join(room_id)
        ok(bob.get(f"{room_path(room_id)}/messages", dir="b"))
        assert not server.internal_errors()


def test_another_device_hears_of_a_room_that_was_forgotten(server: HearthServer) -> None:
    alice, bob = server.register("alice"), server.register("bob")
    room_id = alice.create_room(preset="public_chat")
    bob.join(room_id)
    phone = server.login(bob.user_id)
    phone.sync()
    bob.leave(room_id)
    ok(bob.post(f"{room_path(room_id)}/forget"))
    assert room_id in phone.sync()["rooms"]["leave"]
    assert room_id not in phone.sync().get("rooms", {}).get("leave", {})
