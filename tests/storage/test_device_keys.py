"""One-time keys are given out once, oldest first; fallback keys stay."""

import threading
from typing import Any

import pytest

from storage import device_keys, devices
from storage.device_keys import OneTimeKey, Wanted

ALICE = "@alice:hearth.test"
CURVE = "signed_curve25519"


@pytest.fixture(autouse=True)
def one_at_a_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is taken ahead, except where that is tested."""
    if "ahead" not in request.node.name:
        monkeypatch.setattr(device_keys, "AHEAD", 0)


def key(key_id: str, content: bytes = b'"x"') -> OneTimeKey:
    return OneTimeKey(CURVE, key_id, content)


def wanted(device_id: str = "PHONE") -> Wanted:
    return Wanted(ALICE, device_id, CURVE)


def add(db: Any, *keys: OneTimeKey, device_id: str = "PHONE") -> OneTimeKey | None:
    refused: OneTimeKey | None = db.write(device_keys.add_one_time_keys, ALICE, device_id, keys)
    return refused


def claim(db: Any, *wants: Wanted) -> dict[Wanted, OneTimeKey]:
    [claimed] = db.write(device_keys.claim, [wants])
    return {want: keys[0] for want, keys in claimed.items()}


def counts(db: Any, device_id: str = "PHONE") -> dict[str, int]:
    counted: dict[str, int] = db.read(device_keys.one_time_key_counts, ALICE, device_id)
    return counted


def test_oldest_upload_goes_first(db: Any) -> None:
    add(db, key("ZZZ"))
    add(db, key("AAA"), key("BBB"))
    claimed = [claim(db, wanted())[wanted()].key_id for _ in range(3)]
    assert claimed == ["ZZZ", "AAA", "BBB"]
    assert claim(db, wanted()) == {}
    assert counts(db) == {}


def test_counts_are_by_algorithm_and_device(db: Any) -> None:
    add(db, key("A"), key("B"), OneTimeKey("curve25519", "A", b'"y"'))
    add(db, key("A"), device_id="TABLET")
    assert counts(db) == {CURVE: 2, "curve25519": 1}
    assert counts(db, "TABLET") == {CURVE: 1}
    assert counts(db, "NONE") == {}


def test_uploading_the_same_key_again_is_fine(db: Any) -> None:
    assert add(db, key("A", b'"1"')) is None
    assert add(db, key("A", b'"1"'), key("B", b'"2"')) is None
    assert counts(db) == {CURVE: 2}


def test_another_key_under_a_known_id_is_refused_whole(db: Any) -> None:
    add(db, key("A", b'"1"'))
    refused = add(db, key("B", b'"2"'), key("A", b'"other"'))
    assert refused is not None and refused.key_id == "A"
    assert counts(db) == {CURVE: 1}
    assert claim(db, wanted())[wanted()].key == b'"1"'


def test_a_claimed_key_does_not_come_back_by_a_repeated_upload(db: Any) -> None:
    add(db, key("A", b'"1"'))
    claim(db, wanted())
    assert add(db, key("A", b'"1"'), key("B", b'"2"')) is None
    assert counts(db) == {CURVE: 1}
    assert claim(db, wanted())[wanted()].key_id == "B"


def test_another_key_may_have_the_id_of_a_claimed_one(db: Any) -> None:
    add(db, key("A", b'"1"'))
    claim(db, wanted())
    assert add(db, key("A", b'"2"')) is None
    assert claim(db, wanted())[wanted()] == key("A", b'"2"')


def test_only_what_was_claimed_last_is_kept(db: Any) -> None:
    for upload in range(8):
        add(db, *(key(f"{upload} {number}") for number in range(50)))
        for _ in range(49):
            claim(db, wanted())
    assert counts(db) == {CURVE: 8}
    rows = db.read(lambda tx: tx.value("SELECT count(*) FROM one_time_key"))
    assert rows <= device_keys.CLAIMED_KEPT + 50
    # As many as come at once are kept however many they are.
    many = [key(f"many {number:04}") for number in range(400)]
    add(db, *many)
    for _ in range(300):
        claim(db, wanted())
    before = counts(db)
    add(db, *many)
    assert counts(db) == before


def test_claims_of_many_in_one_commit(db: Any) -> None:
    add(db, *(key(f"K{number}") for number in range(3)))
    db.write(device_keys.replace_fallback_keys, ALICE, "PHONE", [key("F", b'"f"')])
    claims = db.write(device_keys.claim, [[wanted(), wanted("NONE")], [wanted()], [], [wanted()], [wanted()]])
    assert [[key.key_id for keys in claimed.values() for key in keys] for claimed in claims] == [
        ["K0"], ["K1"], [], ["K2"], ["F"]
    ]  # fmt: skip


def test_keys_are_taken_ahead_but_never_more_than_half(db: Any) -> None:
    add(db, *(key(f"K{number:02}") for number in range(30)))
    got: list[list[str]] = []
    while counts(db):
        claims = db.write(device_keys.claim, [[wanted()], [wanted()]] if not got else [[wanted()]])
        got += [[key.key_id for key in keys] for claimed in claims for keys in claimed.values()]
    assert [len(each) for each in got] == [1, 9, 9, 6, 3, 1, 1]
    assert [name for each in got for name in each] == [f"K{number:02}" for number in range(30)]


def test_many_claims_at_once(db: Any) -> None:
    device_ids = [f"D{number}" for number in range(450)]
    for device_id in device_ids[:-1]:
        add(db, key("A"), key("B"), device_id=device_id)
    claimed = claim(db, *map(wanted, device_ids), *map(wanted, device_ids))
    assert {want.device_id for want in claimed} == set(device_ids[:-1])
    assert counts(db, "D0") == counts(db, "D448") == {CURVE: 1}


def test_concurrent_claims_get_different_keys(db: Any) -> None:
    add(db, *(key(f"K{number:02}") for number in range(20)))
    got: list[str] = []

    def claimer() -> None:
        for _ in range(5):
            got.append(claim(db, wanted())[wanted()].key_id)

    threads = [threading.Thread(target=claimer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [f"K{number:02}" for number in range(20)]


def test_fallback_key_is_used_when_the_others_are_gone_and_stays(db: Any) -> None:
    add(db, key("A"))
    db.write(device_keys.replace_fallback_keys, ALICE, "PHONE", [key("F", b'"f"')])
    assert claim(db, wanted())[wanted()].key_id == "A"
    assert db.read(device_keys.unused_fallback_algorithms, ALICE, "PHONE") == [CURVE]
    assert claim(db, wanted())[wanted()] == key("F", b'"f"')
    assert claim(db, wanted())[wanted()] == key("F", b'"f"')
    assert db.read(device_keys.unused_fallback_algorithms, ALICE, "PHONE") == []


def test_a_new_fallback_key_is_unused_the_same_one_stays_used(db: Any) -> None:
    db.write(device_keys.replace_fallback_keys, ALICE, "PHONE", [key("F", b'"f"')])
    claim(db, wanted())
    db.write(device_keys.replace_fallback_keys, ALICE, "PHONE", [key("F", b'"f"')])
    assert db.read(device_keys.unused_fallback_algorithms, ALICE, "PHONE") == []
    db.write(device_keys.replace_fallback_keys, ALICE, "PHONE", [key("G", b'"g"')])
    assert db.read(device_keys.unused_fallback_algorithms, ALICE, "PHONE") == [CURVE]
    assert claim(db, wanted())[wanted()].key_id == "G"


def test_identity_keys_come_with_the_display_name_and_only_for_devices_that_exist(db: Any) -> None:
    db.write(devices.ensure, ALICE, "PHONE", "Alice's phone", 1)
    db.write(device_keys.put_identity_keys, ALICE, "PHONE", b'{"a":1}')
    db.write(device_keys.put_identity_keys, ALICE, "PHONE", b'{"a":2}')
    db.write(device_keys.put_identity_keys, ALICE, "GONE", b'{"a":3}')
    assert db.read(device_keys.identity_keys_of, [ALICE]) == [(ALICE, "PHONE", b'{"a":2}', "Alice's phone")]
    assert db.read(device_keys.identity_keys, ALICE, "PHONE") == b'{"a":2}'


def test_forgetting_a_device_forgets_all_its_keys(db: Any) -> None:
    for device_id in ("PHONE", "TABLET"):
        add(db, key("A"), key("B"), device_id=device_id)
        db.write(device_keys.put_identity_keys, ALICE, device_id, b"{}")
        db.write(device_keys.replace_fallback_keys, ALICE, device_id, [key("F")])
    claim(db, wanted())
    assert db.write(device_keys.forget_devices, ALICE, ["PHONE", "UNKNOWN"]) == ["PHONE"]
    assert counts(db) == {} and counts(db, "TABLET") == {CURVE: 2}
    assert claim(db, wanted()) == {}
    assert db.read(device_keys.identity_keys, ALICE, "PHONE") is None
