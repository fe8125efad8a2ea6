"""Lazily loaded members: told once, told again when changed, lost or forgotten."""

from homeserver.sync.lazy_members import MEMBERS_REMEMBERED, LazyMembers

ROOM = "!r:here"


def test_a_member_is_told_once() -> None:
    lazy = LazyMembers()
    assert lazy.unsent("@a:here", "D", ROOM, [("@b:here", "$1"), ("@c:here", "$2")], 1) == [
        ("@b:here", "$1"),
        ("@c:here", "$2"),
    ]
    assert lazy.unsent("@a:here", "D", ROOM, [("@b:here", "$1")], 5) == []


def test_a_new_member_event_is_told() -> None:
    lazy = LazyMembers()
    lazy.unsent("@a:here", "D", ROOM, [("@b:here", "$1")], 1)
    assert lazy.unsent("@a:here", "D", ROOM, [("@b:here", "$2")], 5) == [("@b:here", "$2")]


def test_an_answer_asked_for_again_is_whole_again() -> None:
    lazy = LazyMembers()
    lazy.unsent("@a:here", "D", ROOM, [("@b:here", "$1")], 5)
    assert lazy.unsent("@a:here", "D", ROOM, [("@b:here", "$1")], 5) == [("@b:here", "$1")]
    assert lazy.unsent("@a:here", "D", ROOM, [("@b:here", "$1")], 3) == [("@b:here", "$1")]
    assert lazy.unsent("@a:here", "D", ROOM, [("@b:here", "$1")], 6) == []


def test_rooms_and_devices_are_told_apart() -> None:
    lazy = LazyMembers()
    lazy.unsent("@a:here", "D", ROOM, [("@b:here", "$1")], 1)
    assert lazy.unsent("@a:here", "E", ROOM, [("@b:here", "$1")], 5)
    assert lazy.unsent("@a:here", "D", "!s:here", [("@b:here", "$1")], 5)


def test_a_device_that_starts_afresh_is_told_everything() -> None:
    lazy = LazyMembers()
    lazy.unsent("@a:here", "D", ROOM, [("@b:here", "$1")], 1)
    lazy.forget("@a:here", "D")
    assert lazy.unsent("@a:here", "D", ROOM, [("@b:here", "$1")], 5)


def test_memory_is_bounded() -> None:
    lazy = LazyMembers(devices=3)
    for n in range(10):
        lazy.unsent("@a:here", f"D{n}", ROOM, [("@b:here", "$1")], 1)
    assert len(lazy._sent) == 3
    assert lazy.unsent("@a:here", "D0", ROOM, [("@b:here", "$1")], 5)
    many = [(f"@u{n}:here", "$1") for n in range(MEMBERS_REMEMBERED + 10)]
    lazy.unsent("@a:here", "D9", ROOM, many, 1)
    assert lazy.unsent("@a:here", "D9", ROOM, [many[-1]], 5) == []
    assert lazy.unsent("@a:here", "D9", ROOM, [many[0]], 5) == [many[0]]
