import pytest

from homeserver.protocol import ids


@pytest.mark.parametrize(
    "name",
    [
        "matrix.org",
        "matrix.org:8888",
        "1.2.3.4",
        "1.2.3.4:1234",
        "[1234:5678::abcd]",
        "[1234:5678::abcd]:5678",
        "localhost",
        "MATRIX.org",
    ],
)
def test_server_names(name: str) -> None:
    assert ids.is_valid_server_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a.org:", "a.org:123456", "[::1", "[zz::1]", "[1:2]", "a/b", "é.org", "a.org\n", "a_b"],
)
def test_wrong_server_names(name: str) -> None:
    assert not ids.is_valid_server_name(name)


def test_user_ids_of_old_are_accepted() -> None:
    assert ids.is_valid_user_id("@alice:a.org")
    assert ids.is_valid_user_id("@Al ice/é:a.org:8448")
    assert ids.is_valid_user_id("@:a.org")
    assert not ids.is_valid_user_id("@a\0b:a.org")
    assert not ids.is_valid_user_id("alice:a.org")
    assert not ids.is_valid_user_id("@alice")
    assert not ids.is_valid_user_id("@alice:")
    assert not ids.is_valid_user_id("@\ud800:a.org")
    assert not ids.is_valid_user_id("")


def test_the_limit_counts_bytes() -> None:
    assert ids.is_valid_user_id("@" + "a" * 248 + ":a.org")
    assert not ids.is_valid_user_id("@" + "a" * 249 + ":a.org")
    assert not ids.is_valid_user_id("@" + "é" * 125 + ":a.org")


def test_new_localparts() -> None:
    assert ids.is_valid_localpart("a.b_c=d-e/f+0")
    for wrong in ("", "A", "a b", "é", "a:b", "a\n"):
        assert not ids.is_valid_localpart(wrong)


def test_rooms_aliases_and_events() -> None:
    assert ids.is_valid_room_id("!a:b.org")
    assert ids.is_valid_room_id("!" + "a" * 43)
    assert not ids.is_valid_room_id("!" + "a" * 42)
    assert not ids.is_valid_room_id("#a:b.org")
    assert ids.is_valid_alias("#a b:b.org")
    assert not ids.is_valid_alias("#a")
    assert ids.is_valid_event_id("$a/b+c")
    assert ids.is_valid_event_id("$a:b.org")
    assert not ids.is_valid_event_id("$")
    assert not ids.is_valid_event_id("$" + "a" * 255)


def test_parts() -> None:
    assert ids.domain_of("@a:b.org:8448") == "b.org:8448"
    assert ids.localpart_of("@a:b.org:8448") == "a"
    with pytest.raises(ValueError):
        ids.domain_of("!" + "a" * 43)
