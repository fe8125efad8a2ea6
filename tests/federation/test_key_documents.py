"""What a server says of its keys: believed only if it signed it, and for a week at most."""

from typing import Any

import pytest

from federation.errors import BadAnswer
from federation.key_documents import MAX_VALIDITY_MS, OldKey, OwnKeys, check
from homeserver.protocol.signing import SigningKey, sign_json, verify_json
from tests.homeserver.sync.fakes import START_MS, FakeClock

DAY_MS = 24 * 3_600_000
KEY = SigningKey.generate("now")
OLD = SigningKey.generate("old")
OTHER = SigningKey.generate("other")
MANY = {"key": OLD.verify_key.encode(), "expired_ts": 1}


def statement(*, sign_with: tuple[SigningKey, ...] = (KEY,), **changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "server_name": "a.test",
        "verify_keys": {KEY.key_id: {"key": KEY.verify_key.encode()}},
        "old_verify_keys": {OLD.key_id: {"key": OLD.verify_key.encode(), "expired_ts": 1000}},
        "valid_until_ts": START_MS + DAY_MS,
    } | changes
    for key in sign_with:
        content = sign_json(content, "a.test", key)
    return content


def test_a_good_one() -> None:
    document = check(statement(), "a.test", START_MS)
    assert [(key.key_id, key.old, key.valid_until) for key in document.keys] == [
        (KEY.key_id, False, START_MS + DAY_MS),
        (OLD.key_id, True, 1000),
    ]
    assert document.stored.valid_until == START_MS + DAY_MS


def test_nothing_is_valid_for_more_than_a_week() -> None:
    document = check(statement(valid_until_ts=START_MS + 100 * DAY_MS), "a.test", START_MS)
    assert document.keys[0].valid_until == START_MS + MAX_VALIDITY_MS


def test_an_old_key_ended_in_the_past() -> None:
    future = {OLD.key_id: {"key": OLD.verify_key.encode(), "expired_ts": START_MS + DAY_MS}}
    document = check(statement(old_verify_keys=future), "a.test", START_MS)
    assert document.keys[1].valid_until == START_MS


def test_unknown_algorithms_are_left_out() -> None:
    others = {"pqc:1": {"key": "AAAA"}, "ed25519:bad": {"key": "!"}}
    keys = {KEY.key_id: {"key": KEY.verify_key.encode()}, **others}
    assert len(check(statement(verify_keys=keys), "a.test", START_MS).keys) == 2


@pytest.mark.parametrize(
    "content",
    [
        statement(sign_with=()),
        statement(sign_with=(OTHER,)),
        statement(sign_with=(OLD,)),
        statement() | {"valid_until_ts": START_MS + 2 * DAY_MS},
        statement() | {"verify_keys": {KEY.key_id: {"key": OTHER.verify_key.encode()}}},
        statement(server_name="b.test"),
        statement(verify_keys={}),
        statement(verify_keys=[]),
        statement(verify_keys={KEY.key_id: {"key": 5}}),
        statement(valid_until_ts="tomorrow"),
        statement(valid_until_ts=True),
        statement(valid_until_ts=-1),
        statement(old_verify_keys={f"ed25519:{n}": MANY for n in range(200)}),
        statement(extra="x" * 100_000),
        {"signatures": 5},
        [],
        None,
    ],
)
def test_lies(content: Any) -> None:
    with pytest.raises(BadAnswer):
        check(content, "a.test", START_MS)


def test_our_own_statement_is_good_and_renewed_in_time() -> None:
    clock = FakeClock()
    old = OldKey(OLD.verify_key, 1000)
    own = OwnKeys("a.test", [KEY, OTHER], [old], clock, DAY_MS)
    first = own.document()
    document = check(first, "a.test", clock.now_ms())
    assert {key.key_id for key in document.keys if key.old} == {OLD.key_id}
    assert {key.key_id for key in document.keys if not key.old} == {KEY.key_id, OTHER.key_id}
    clock.advance(11 * 3600)
    assert own.document() is first
    clock.advance(2 * 3600)
    assert own.document()["valid_until_ts"] == clock.now_ms() + DAY_MS
    # Nobody is given keys that end within the hour.
    short = OwnKeys("a.test", [KEY], [], clock, 1000)
    assert short.document()["valid_until_ts"] >= clock.now_ms() + 3_600_000


def test_a_notary_adds_its_signature() -> None:
    own = OwnKeys("notary.test", [OTHER], [], FakeClock(), DAY_MS)
    signed = own.countersign(statement())
    verify_json(signed, "a.test", KEY.verify_key)
    verify_json(signed, "notary.test", OTHER.verify_key)
