"""History visibility, by table."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from homeserver.protocol.visibility import (
    INVITED,
    JOINED,
    SHARED,
    WORLD_READABLE,
    history_visibility,
    may_see,
    may_see_event,
    sees_all_while_joined,
    server_may_see,
    server_may_see_event,
    state_after,
)

ME = "@me:here"


@dataclass
class Ev:
    type: str = "m.room.message"
    state_key: str | None = None
    content: dict[str, Any] = field(default_factory=dict)


def member(membership: Any, user_id: str = ME) -> Ev:
    return Ev("m.room.member", user_id, {"membership": membership})


def change(visibility: str) -> Ev:
    return Ev("m.room.history_visibility", "", {"history_visibility": visibility})


@pytest.mark.parametrize(
    ("content", "visibility"),
    [
        (None, SHARED),
        ({}, SHARED),
        ({"history_visibility": "joined"}, JOINED),
        ({"history_visibility": "world_readable"}, WORLD_READABLE),
        ({"history_visibility": "everybody"}, SHARED),
        ({"history_visibility": ["joined"]}, SHARED),
        ({"history_visibility": None}, SHARED),
    ],
)
def test_the_setting(content: dict[str, Any] | None, visibility: str) -> None:
    assert history_visibility(content) == visibility


@pytest.mark.parametrize("joined_later", [False, True])
@pytest.mark.parametrize("membership", [None, "invite", "join", "leave", "ban", "knock"])
@pytest.mark.parametrize("visibility", [WORLD_READABLE, SHARED, INVITED, JOINED])
def test_the_five_rules(visibility: str, membership: str | None, joined_later: bool) -> None:
    allowed = (
        visibility == WORLD_READABLE
        or membership == "join"
        or (visibility == SHARED and joined_later)
        or (visibility == INVITED and membership == "invite" and joined_later)
    )
    assert may_see(visibility, membership, joined_later=joined_later) is allowed
    seen = may_see_event(Ev(), ME, visibility, membership, joined_later=joined_later)
    assert seen is allowed


@pytest.mark.parametrize(
    ("event", "visibility", "membership", "seen"),
    [
        (member("join"), JOINED, None, True),
        (member("leave"), JOINED, "join", True),
        (member("ban"), JOINED, "join", True),
        (member("ban"), JOINED, "leave", False),
        (member("invite"), JOINED, None, False),
        (member(7), JOINED, None, False),
        (member("join", "@other:here"), JOINED, None, False),
        (change(WORLD_READABLE), JOINED, None, True),
        (change(JOINED), WORLD_READABLE, None, True),
        (change(JOINED), INVITED, None, False),
        (Ev("m.room.history_visibility", "x", {"history_visibility": WORLD_READABLE}), JOINED, None, False),
        (Ev("m.room.history_visibility", None, {"history_visibility": WORLD_READABLE}), JOINED, None, False),
    ],
)
def test_before_or_after(event: Ev, visibility: str, membership: str | None, seen: bool) -> None:
    assert may_see_event(event, ME, visibility, membership, joined_later=False) is seen


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize(
    ("event", "visibility", "membership"),
    [
        (member("invite"), INVITED, None),
        (member("leave"), INVITED, "invite"),
        (change(INVITED), JOINED, "invite"),
        (change(JOINED), INVITED, "invite"),
    ],
)
def test_the_invited_see_once_they_have_joined(
    event: Ev, visibility: str, membership: str | None, accepted: bool
) -> None:
    assert may_see_event(event, ME, visibility, membership, joined_later=accepted) is accepted


def test_a_change_to_shared_opens_itself_to_those_who_join_later() -> None:
    assert may_see_event(change(SHARED), ME, JOINED, None, joined_later=True)
    assert not may_see_event(change(SHARED), ME, JOINED, None, joined_later=False)


def test_walking_a_timeline() -> None:
    state: tuple[str, str | None] = (SHARED, None)
    seen = []
    for event in [Ev(), change(JOINED), Ev(), member("join"), Ev(), member("leave"), Ev()]:
        seen.append(may_see_event(event, ME, *state, joined_later=False))
        state = state_after(event, ME, *state)
    assert seen == [False, False, False, True, True, True, False]
    assert state == (JOINED, "leave")


def test_shortcut() -> None:
    assert sees_all_while_joined([SHARED, WORLD_READABLE])
    assert not sees_all_while_joined([SHARED, INVITED])


def test_servers() -> None:
    assert server_may_see(SHARED, [])
    assert server_may_see(JOINED, ["leave", "join"])
    assert not server_may_see(JOINED, ["invite"])
    assert server_may_see(INVITED, ["invite"])
    assert not server_may_see(INVITED, [None, "leave"])
    assert server_may_see_event(change(SHARED), JOINED, [])
    assert server_may_see_event(change(JOINED), SHARED, [])
    assert not server_may_see_event(Ev(), JOINED, [])
