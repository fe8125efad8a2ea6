"""The order of a space's children, and what is no child."""

from typing import Any

from homeserver.rooms.summary import Child, in_order

ALICE = "@alice:here"


def child(name: str, ts: int = 1, **content: Any) -> Child:
    found = Child.of(f"!{name}:here", {"via": ["here"], **content}, ALICE, ts)
    assert found is not None
    return found


def order(*children: Child) -> str:
    return "".join(each.room_id[1] for each in in_order(children))


def test_the_example_of_the_specification() -> None:
    children = [
        child("b", 1640341000000, order=" "), child("a", 1640141000000, order="aaaa"),
        child("c", 1640841000000, order="first"), child("e", 1640641000000), child("d", 1640741000000),
    ]
    assert order(*children) == order(*reversed(children)) == "baced"


def test_ties_and_orders_that_are_none() -> None:
    assert order(child("b", 2, order="x"), child("c", 1, order="x"), child("a", 2, order="x")) == "cab"
    invalid = [child(name, ts, order=value) for name, ts, value in (
        ("a", 5, "é"), ("b", 4, "x" * 51), ("c", 3, 7), ("d", 2, "\x1f"), ("e", 1, None)
    )]
    assert order(*invalid, child("z", 9, order="~" * 50)) == "zedcba"


def test_what_is_no_child() -> None:
    via = {"via": ["here"]}
    for room_id, content, sender, ts in (
        ("!a:here", {}, ALICE, 1), ("!a:here", {"via": "here"}, ALICE, 1), ("a", via, ALICE, 1),
        (None, via, ALICE, 1), ("!a:here", [], ALICE, 1), ("!a:here", via, None, 1),
        ("!a:here", via, ALICE, 1.5),
    ):
        assert Child.of(room_id, content, sender, ts) is None
    assert child("a", via=["here", 7, "no server", "here", "there"]).via == ("here", "there")
