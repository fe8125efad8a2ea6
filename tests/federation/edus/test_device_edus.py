"""Messages to devices, and device lists that are kept: what a local user's client gets to hear."""

from typing import Any

import pytest

from tests.federation.company import DEVICE, Company, changed, device
from tests.federation.synthetic_http import Answer
from tests.harness import Client, Json, ok, room_path
from tests.waiting import until


def keys_of(alice: Client, user_id: str) -> Any:
    answer = ok(alice.post("/keys/query", {"device_keys": {user_id: []}}))
    return answer["device_keys"].get(user_id), answer["failures"]


def serve(between: Company, user_id: str, stream_id: int, *devices: Json, **more: Any) -> None:
    """What the remote answers from now on, whichever way it is asked."""
    between.remote.devices[user_id] = {
        "user_id": user_id, "stream_id": stream_id,
        "devices": [{"device_id": each["device_id"], "keys": each} for each in devices], **more,
    }  # fmt: skip


def test_messages_to_devices(between: Company) -> None:
    alice = between.hearth.register("alice")
    zoe = f"@zoe:{between.remote.name}"

    def send(message_id: str, sender: str = zoe) -> None:
        between.edu("m.direct_to_device", sender=sender, type="m.test", message_id=message_id,
                    messages={alice.user_id: {alice.device_id: {"id": message_id}}})  # fmt: skip

    send("one")
    send("one")
    send("forged", "@zoe:other.test")
    send("two")
    events = alice.sync()["to_device"]["events"]
    assert [event["content"]["id"] for event in events] == ["one", "two"]
    assert {event["sender"] for event in events} == {zoe}


def test_lists_are_kept_and_follow_updates(between: Company) -> None:
    alice, room = between.shared_room(creator="chain")
    owner = room.creator
    serve(between, owner, 10, device(owner))
    assert keys_of(alice, owner)[0][DEVICE]["keys"] == device(owner)["keys"]
    times = between.remote.times_asked("keys_query")
    assert set(keys_of(alice, owner)[0]) == {DEVICE}
    assert between.remote.times_asked("keys_query") == times, "a good list asks nobody"

    # The answer had no stream_id: the first update is a gap, and the list is fetched once.
    serve(between, owner, 11, device(owner), device(owner, "TABLET"))
    between.edu("m.device_list_update", user_id=owner, device_id="TABLET", stream_id=11, prev_id=[10],
                keys=device(owner, "TABLET"))  # fmt: skip
    changed(alice, owner)
    until(lambda: between.remote.times_asked("user_devices") == 1)
    until(lambda: set(keys_of(alice, owner)[0]) == {DEVICE, "TABLET"})

    # From there on the chain goes on by itself.
    def fetched_again() -> bool:
        before = between.remote.times_asked("keys_query")
        keys_of(alice, owner)
        return between.remote.times_asked("keys_query") == before

    until(fetched_again)
    alice.sync()
    fetches = between.remote.times_asked("user_devices")
    between.edu("m.device_list_update", user_id=owner, device_id=DEVICE, stream_id=12, prev_id=[11],
                deleted=True)  # fmt: skip
    changed(alice, owner)
    new = device(owner, "TABLET", "new")
    between.edu("m.device_list_update", user_id=owner, device_id="TABLET", stream_id=14, prev_id=[12],
                keys=new, device_display_name="Slate")  # fmt: skip
    changed(alice, owner)
    found, _ = keys_of(alice, owner)
    assert found == {"TABLET": {**new, "unsigned": {"device_display_name": "Slate"}}}
    assert between.remote.times_asked("user_devices") == fetches


@pytest.mark.parametrize("who", ["the owner leaves", "alice is kicked"])
def test_they_shared_nothing_for_a_while_and_it_is_heard_late(between: Company, who: str) -> None:
    """In another room they met again before: of what changed in between no update tells."""
    alice, room = between.shared_room(creator=who.replace(" ", ""))
    owner = room.creator
    serve(between, owner, 10, device(owner))
    assert keys_of(alice, owner)[0].keys() == {DEVICE}
    other = between.remote.make_room(creator=who.replace(" ", ""))
    ok(alice.post(f"/join/{other.room_id}", {}, server_name=between.remote.name))
    ok(alice.get(f"{room_path(other.room_id)}/joined_members"))
    alice.sync()
    serve(between, owner, 12, device(owner), device(owner, "TABLET"))
    gone = owner if who == "the owner leaves" else alice.user_id
    between.send(room.send("m.room.member", {"membership": "leave"}, gone))
    changed(alice, owner)
    assert keys_of(alice, owner)[0].keys() == {DEVICE, "TABLET"}


def test_cross_signing_keys(between: Company) -> None:
    alice, room = between.shared_room(creator="signer")
    owner = room.creator
    serve(between, owner, 1, device(owner))
    keys_of(alice, owner)
    public = "A" * 43
    master = {"user_id": owner, "usage": ["master"], "keys": {f"ed25519:{public}": public}}
    for edu_type in ("m.signing_key_update", "org.matrix.signing_key_update"):
        between.edu(edu_type, user_id=owner, master_key=master)
    changed(alice, owner)
    answer = ok(alice.post("/keys/query", {"device_keys": {owner: []}}))
    assert answer["master_keys"] == {owner: master}
    times = between.remote.times_asked("keys_query")
    signed = {**master, "signatures": {alice.user_id: {"ed25519:x": "x"}}}
    failures = ok(alice.post("/keys/signatures/upload", {owner: {public: signed}}))["failures"]
    assert failures[owner][public]["errcode"] == "M_INVALID_SIGNATURE"
    assert between.remote.times_asked("keys_query") == times, "the list that is kept has the key"
    forged = {"user_id": alice.user_id, "usage": ["master"], "keys": {"ed25519:m": "m"}}
    between.edu("m.signing_key_update", user_id=alice.user_id, master_key=forged)
    assert not ok(alice.post("/keys/query", {"device_keys": {alice.user_id: []}}))["master_keys"]


def test_who_asked_in_vain_hears_when_the_server_is_back(between: Company) -> None:
    alice, room = between.shared_room(creator="vain")
    owner = room.creator
    serve(between, owner, 1, device(owner))
    between.remote.instead("keys_query", lambda asked, honest: Answer(status=500))
    between.remote.instead("user_devices", lambda asked, honest: Answer(status=500))
    _, failures = keys_of(alice, owner)
    assert list(failures) == [between.remote.name]
    between.remote.behave()
    between.hearth.restart()
    changed(alice, owner)
    assert set(keys_of(alice, owner)[0]) == {DEVICE}
