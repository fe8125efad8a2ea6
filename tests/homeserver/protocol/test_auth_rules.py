"""The authorisation rules: a row is a situation, and the versions in which it is allowed.

Each situation makes a room and returns the event to judge; `check` judges it against the room's state,
and its auth events as the specification selects them.
"""

from collections.abc import Callable
from typing import Any

import pytest

from homeserver.protocol import auth_rules, signing
from homeserver.protocol.auth_rules import AuthError
from homeserver.protocol.events import Event
from tests.homeserver.protocol.room import (
    ALICE,
    ALL_VERSIONS,
    BOB,
    CAROL,
    DAVE,
    Room,
    key_of,
    standard_room,
    versions,
)

Situation = Callable[[str], tuple[Room, Event]]
SITUATIONS: list[tuple[Situation, list[str]]] = []


def allowed_in(*wanted: str) -> Callable[[Situation], Situation]:
    def register(situation: Situation) -> Situation:
        SITUATIONS.append((situation, list(wanted)))
        return situation

    return register


always = allowed_in(*ALL_VERSIONS)
never = allowed_in()


def is_allowed(room: Room, event: Event) -> bool:
    try:
        auth_rules.check_auth_events(event, [room.events[auth_id] for auth_id in event.auth_events])
        auth_rules.check(event, room.state)
    except AuthError:
        return False
    return True


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "situation" in metafunc.fixturenames:
        rows = [(s, v, v in wanted) for s, wanted in SITUATIONS for v in ALL_VERSIONS]
        names = [f"{s.__name__}-{v}" for s, v, _ in rows]
        metafunc.parametrize(("situation", "version", "expected"), rows, ids=names)


def test_situation(situation: Situation, version: str, expected: bool) -> None:
    room, event = situation(version)
    assert is_allowed(room, event) is expected


# The create event


def created(version: str, **changes: Any) -> tuple[Room, Event]:
    room = Room(version, **changes)
    return room, room.create


@always
def create(version: str) -> tuple[Room, Event]:
    return created(version)


@never
def create_with_previous_events(version: str) -> tuple[Room, Event]:
    room = Room(version)
    if version == "12":
        room.room_id = None
    return room, room.make(ALICE, "m.room.create", dict(room.create.content), "")


@never
def create_of_an_unknown_version(version: str) -> tuple[Room, Event]:
    return created(version, room_version="unknown")


@never
def create_of_an_odd_version(version: str) -> tuple[Room, Event]:
    return created(version, room_version=[1])


@allowed_in("12")
def create_for_another_servers_room(version: str) -> tuple[Room, Event]:
    room = Room(version)
    room.room_id = None if version == "12" else "!room:b.org"
    return room, room.make(ALICE, "m.room.create", dict(room.create.content), "", prev=[])


@allowed_in(*versions(11))
def create_without_a_creator(version: str) -> tuple[Room, Event]:
    room = Room(version)
    content = {key: value for key, value in room.create.content.items() if key != "creator"}
    if version == "12":
        room.room_id = None
    return room, room.make(ALICE, "m.room.create", content, "", prev=[])


@allowed_in(*versions(1, 11))
def create_with_wrong_additional_creators(version: str) -> tuple[Room, Event]:
    return created(version, additional_creators=[BOB, "carol"])


@allowed_in(*versions(1, 11))
def create_with_odd_additional_creators(version: str) -> tuple[Room, Event]:
    return created(version, additional_creators={BOB: 1})


@always
def create_with_additional_creators(version: str) -> tuple[Room, Event]:
    return created(version, additional_creators=[BOB, CAROL])


# Federation off, other rooms

UNFEDERATED: dict[str, Any] = {"m.federate": False}


@never
def join_from_elsewhere_without_federation(version: str) -> tuple[Room, Event]:
    room = Room(version, **UNFEDERATED)
    room.member(ALICE)
    room.join_rule("public")
    return room, room.make(BOB, "m.room.member", {"membership": "join"}, BOB)


@always
def join_from_here_without_federation(version: str) -> tuple[Room, Event]:
    room = Room(version, **UNFEDERATED)
    room.member(ALICE)
    room.join_rule("public")
    return room, room.make(DAVE, "m.room.member", {"membership": "join"}, DAVE)


@never
def event_of_another_room(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    room.room_id = "!" + "x" * 43 if version == "12" else "!other:a.org"
    return room, room.make(ALICE, "m.room.message", {})


# Aliases


def aliases(version: str, user: str, state_key: str | None) -> tuple[Room, Event]:
    room = standard_room(version)
    return room, room.make(user, "m.room.aliases", {"aliases": []}, state_key)


@allowed_in(*versions(1, 5))
def aliases_by_a_stranger_for_the_own_domain(version: str) -> tuple[Room, Event]:
    return aliases(version, BOB, "b.org")


@allowed_in(*versions(6))
def aliases_for_another_domain(version: str) -> tuple[Room, Event]:
    return aliases(version, ALICE, "b.org")


@allowed_in(*versions(6))
def aliases_without_a_state_key(version: str) -> tuple[Room, Event]:
    return aliases(version, ALICE, None)


# Joining


def joining(
    version: str, rule: str, *before: str, user: str = BOB, by: str | None = None, **content: Any
) -> tuple[Room, Event]:
    room = standard_room(version)
    for membership in before:
        room.member(user, membership, by=ALICE if membership in ("invite", "ban") else None)
    room.join_rule(rule)
    return room, room.make(by or user, "m.room.member", {"membership": "join", **content}, user)


@always
def creators_first_join(version: str) -> tuple[Room, Event]:
    room = Room(version)
    return room, room.make(ALICE, "m.room.member", {"membership": "join"}, ALICE)


@never
def anothers_first_join(version: str) -> tuple[Room, Event]:
    room = Room(version)
    return room, room.make(BOB, "m.room.member", {"membership": "join"}, BOB)


@never
def additional_creators_first_join(version: str) -> tuple[Room, Event]:
    room = Room(version, additional_creators=[BOB])
    return room, room.make(BOB, "m.room.member", {"membership": "join"}, BOB)


@never
def creators_join_that_is_not_the_first(version: str) -> tuple[Room, Event]:
    room = Room(version)
    room.send(ALICE, "x", {})
    return room, room.make(ALICE, "m.room.member", {"membership": "join"}, ALICE)


@always
def join_public(version: str) -> tuple[Room, Event]:
    return joining(version, "public")


@never
def join_public_for_another(version: str) -> tuple[Room, Event]:
    return joining(version, "public", by=ALICE)


@never
def join_public_when_banned(version: str) -> tuple[Room, Event]:
    return joining(version, "public", "join", "ban")


@never
def join_uninvited(version: str) -> tuple[Room, Event]:
    return joining(version, "invite")


@never
def join_after_leaving(version: str) -> tuple[Room, Event]:
    return joining(version, "invite", "invite", "join", "leave")


@always
def join_invited(version: str) -> tuple[Room, Event]:
    return joining(version, "invite", "invite")


@always
def join_again_to_change_the_name(version: str) -> tuple[Room, Event]:
    return joining(version, "invite", "invite", "join")


@never
def join_private(version: str) -> tuple[Room, Event]:
    return joining(version, "private", "invite")


@never
def join_under_an_odd_rule(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    room.send(ALICE, "m.room.join_rules", {"join_rule": ["public"]}, "")
    return room, room.make(BOB, "m.room.member", {"membership": "join"}, BOB)


@always
def join_invited_without_join_rules(version: str) -> tuple[Room, Event]:
    room = Room(version)
    room.member(ALICE)
    room.member(BOB, "invite", by=ALICE)
    return room, room.make(BOB, "m.room.member", {"membership": "join"}, BOB)


@allowed_in(*versions(7))
def join_invited_where_one_knocks(version: str) -> tuple[Room, Event]:
    return joining(version, "knock", "invite")


@never
def join_by_knocking_alone(version: str) -> tuple[Room, Event]:
    return joining(version, "knock", "knock")


@allowed_in(*versions(8))
def join_invited_where_restricted(version: str) -> tuple[Room, Event]:
    return joining(version, "restricted", "invite")


@allowed_in(*versions(10))
def join_invited_where_knock_restricted(version: str) -> tuple[Room, Event]:
    return joining(version, "knock_restricted", "invite")


@allowed_in(*versions(8))
def join_authorised(version: str) -> tuple[Room, Event]:
    return joining(version, "restricted", join_authorised_via_users_server=ALICE)


@allowed_in(*versions(10))
def join_authorised_where_one_knocks(version: str) -> tuple[Room, Event]:
    return joining(version, "knock_restricted", join_authorised_via_users_server=ALICE)


@never
def join_restricted_unauthorised(version: str) -> tuple[Room, Event]:
    return joining(version, "restricted")


@never
def join_authorised_by_a_stranger(version: str) -> tuple[Room, Event]:
    return joining(version, "restricted", join_authorised_via_users_server=CAROL)


@never
def join_authorised_by_no_user(version: str) -> tuple[Room, Event]:
    return joining(version, "restricted", join_authorised_via_users_server=[ALICE])


@never
def join_authorised_by_one_who_may_not_invite(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    room.member(CAROL)
    room.power(users=room.levels(carol=9), invite=10)
    room.join_rule("restricted")
    content = {"membership": "join", "join_authorised_via_users_server": CAROL}
    return room, room.make(BOB, "m.room.member", content, BOB)


@never
def join_authorised_but_banned(version: str) -> tuple[Room, Event]:
    return joining(version, "restricted", "ban", join_authorised_via_users_server=ALICE)


@allowed_in(*versions(1, 7))
def join_public_with_an_authorisation_nobody_signed(version: str) -> tuple[Room, Event]:
    room, event = joining(version, "public", join_authorised_via_users_server=ALICE)
    pdu = {**event.pdu, "signatures": {"b.org": event.pdu["signatures"]["b.org"]}}
    return room, event.with_pdu(pdu)


# Inviting


def inviting(version: str, *before: str, by: str = ALICE, **levels: Any) -> tuple[Room, Event]:
    room = standard_room(version)
    if by != ALICE:
        room.member(by)
    for membership in before:
        room.member(BOB, membership, by=ALICE if membership == "ban" else None)
    if levels:
        room.power(users=room.levels(), **levels)
    return room, room.make(by, "m.room.member", {"membership": "invite"}, BOB)


@always
def invite(version: str) -> tuple[Room, Event]:
    return inviting(version)


@always
def invite_by_anyone(version: str) -> tuple[Room, Event]:
    return inviting(version, by=CAROL)


@never
def invite_without_the_power(version: str) -> tuple[Room, Event]:
    return inviting(version, by=CAROL, invite=1)


@never
def invite_a_member(version: str) -> tuple[Room, Event]:
    return inviting(version, "join")


@never
def invite_the_banned(version: str) -> tuple[Room, Event]:
    return inviting(version, "ban")


@always
def invite_after_a_leave(version: str) -> tuple[Room, Event]:
    return inviting(version, "join", "leave")


@never
def invite_by_a_stranger(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    return room, room.make(CAROL, "m.room.member", {"membership": "invite"}, BOB)


# Third-party invites


def third_party(
    version: str,
    *,
    key: str = "id.org",
    mxid: Any = BOB,
    by: str = ALICE,
    before: str | None = None,
    listed: bool = False,
    **changes: Any,
) -> tuple[Room, Event]:
    room = standard_room(version)
    public = key_of("id.org").verify_key.encode()
    keys: dict[str, Any] = {"public_key": public}
    if listed:
        keys = {"public_key": "AAAA", "public_keys": [5, {"public_key": 5}, {"public_key": public}]}
    room.send(ALICE, "m.room.third_party_invite", {"display_name": "b", **keys}, "token")
    if before:
        room.member(BOB, before, by=ALICE)
    signed = signing.sign_json({"mxid": mxid, "token": "token", **changes}, "id.org", key_of(key))
    content = {"membership": "invite", "third_party_invite": {"display_name": "b", "signed": signed}}
    return room, room.make(by, "m.room.member", content, BOB)


@always
def third_party_invite_redeemed(version: str) -> tuple[Room, Event]:
    return third_party(version)


@always
def third_party_invite_with_the_key_among_others(version: str) -> tuple[Room, Event]:
    return third_party(version, listed=True)


@never
def third_party_invite_signed_by_another(version: str) -> tuple[Room, Event]:
    return third_party(version, key="evil.org")


@never
def third_party_invite_for_another(version: str) -> tuple[Room, Event]:
    return third_party(version, mxid=CAROL)


@never
def third_party_invite_by_another(version: str) -> tuple[Room, Event]:
    return third_party(version, by=CAROL)


@never
def third_party_invite_with_an_unknown_token(version: str) -> tuple[Room, Event]:
    return third_party(version, token="other")


@never
def third_party_invite_with_an_odd_token(version: str) -> tuple[Room, Event]:
    return third_party(version, token=["token"])


@never
def third_party_invite_of_the_banned(version: str) -> tuple[Room, Event]:
    return third_party(version, before="ban")


@never
def third_party_invite_unsigned(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    content = {"membership": "invite", "third_party_invite": {}}
    return room, room.make(ALICE, "m.room.member", content, BOB)


@never
def third_party_invite_offered_without_power(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    room.member(BOB)
    room.power(users=room.levels(), invite=1)
    return room, room.make(BOB, "m.room.third_party_invite", {}, "token")


@always
def third_party_invite_offered(version: str) -> tuple[Room, Event]:
    # Whatever `events` and `state_default` say: only the invite level counts.
    room = standard_room(version)
    room.member(BOB)
    return room, room.make(BOB, "m.room.third_party_invite", {}, "token")


# Leaving, kicking, banning, unbanning


def removing(
    version: str, membership: str, *before: str, by: str = CAROL, level: int = 50, target: int = 0
) -> tuple[Room, Event]:
    room = standard_room(version)
    room.member(CAROL)
    room.power(users=room.levels(carol=level, bob=target), kick=30, ban=40)
    for step in before:
        room.member(BOB, step, by=ALICE if step in ("invite", "ban") else None)
    return room, room.make(by, "m.room.member", {"membership": membership}, BOB)


@always
def leave(version: str) -> tuple[Room, Event]:
    return removing(version, "leave", "join", by=BOB)


@always
def decline_an_invite(version: str) -> tuple[Room, Event]:
    return removing(version, "leave", "invite", by=BOB)


@never
def leave_without_being_there(version: str) -> tuple[Room, Event]:
    return removing(version, "leave", by=BOB)


@never
def leave_twice(version: str) -> tuple[Room, Event]:
    return removing(version, "leave", "join", "leave", by=BOB)


@never
def leave_when_banned(version: str) -> tuple[Room, Event]:
    return removing(version, "leave", "ban", by=BOB)


@always
def kick(version: str) -> tuple[Room, Event]:
    return removing(version, "leave", "join")


@never
def kick_without_the_power(version: str) -> tuple[Room, Event]:
    return removing(version, "leave", "join", level=29)


@never
def kick_an_equal(version: str) -> tuple[Room, Event]:
    return removing(version, "leave", "join", target=50)


@never
def kick_by_a_stranger(version: str) -> tuple[Room, Event]:
    return removing(version, "leave", "join", by=DAVE)


@always
def unban(version: str) -> tuple[Room, Event]:
    return removing(version, "leave", "ban")


@never
def unban_with_the_kick_level_only(version: str) -> tuple[Room, Event]:
    return removing(version, "leave", "ban", level=35)


@always
def ban(version: str) -> tuple[Room, Event]:
    return removing(version, "ban", "join")


@always
def ban_a_stranger(version: str) -> tuple[Room, Event]:
    return removing(version, "ban")


@never
def ban_without_the_power(version: str) -> tuple[Room, Event]:
    return removing(version, "ban", "join", level=39)


@never
def ban_an_equal(version: str) -> tuple[Room, Event]:
    return removing(version, "ban", "join", target=50)


@never
def ban_by_a_stranger(version: str) -> tuple[Room, Event]:
    return removing(version, "ban", by=DAVE)


@never
def kick_the_creator(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    room.member(CAROL)
    room.power(users=room.levels(carol=100))
    return room, room.make(CAROL, "m.room.member", {"membership": "leave"}, ALICE)


@allowed_in(*versions(1, 11))
def kick_a_lowly_creator(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    room.member(CAROL)
    room.power(users={CAROL: 100})
    return room, room.make(CAROL, "m.room.member", {"membership": "leave"}, ALICE)


# Knocking


def knocking(version: str, rule: str, *before: str, by: str = BOB) -> tuple[Room, Event]:
    room = standard_room(version, rule)
    for membership in before:
        room.member(BOB, membership, by=ALICE if membership in ("invite", "ban") else None)
    return room, room.make(by, "m.room.member", {"membership": "knock"}, BOB)


@allowed_in(*versions(7))
def knock(version: str) -> tuple[Room, Event]:
    return knocking(version, "knock")


@allowed_in(*versions(10))
def knock_where_restricted_too(version: str) -> tuple[Room, Event]:
    return knocking(version, "knock_restricted")


@allowed_in(*versions(7))
def knock_again(version: str) -> tuple[Room, Event]:
    return knocking(version, "knock", "knock")


@never
def knock_where_only_restricted(version: str) -> tuple[Room, Event]:
    return knocking(version, "restricted")


@never
def knock_where_public(version: str) -> tuple[Room, Event]:
    return knocking(version, "public")


@never
def knock_when_invited(version: str) -> tuple[Room, Event]:
    return knocking(version, "knock", "invite")


@never
def knock_when_joined(version: str) -> tuple[Room, Event]:
    return knocking(version, "knock", "join")


@never
def knock_when_banned(version: str) -> tuple[Room, Event]:
    return knocking(version, "knock", "ban")


@never
def knock_for_another(version: str) -> tuple[Room, Event]:
    return knocking(version, "knock", by=ALICE)


@allowed_in(*versions(7))
def take_a_knock_back(version: str) -> tuple[Room, Event]:
    room, event = knocking(version, "knock")
    if version in versions(7):
        room.member(BOB, "knock")
    return room, room.make(BOB, "m.room.member", {"membership": "leave"}, BOB)


# Odd member events


@never
def unknown_membership(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    return room, room.make(BOB, "m.room.member", {"membership": "lurk"}, BOB)


@never
def odd_membership(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    return room, room.make(BOB, "m.room.member", {"membership": ["join"]}, BOB)


@never
def no_membership(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    return room, room.make(BOB, "m.room.member", {}, BOB)


@never
def member_without_a_state_key(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    return room, room.make(ALICE, "m.room.member", {"membership": "join"})


# Sending


def sending(
    version: str, type: str, state_key: str | None = None, level: int = 0, **levels: Any
) -> tuple[Room, Event]:
    room = standard_room(version)
    room.member(BOB)
    room.power(users=room.levels(bob=level), **levels)
    return room, room.make(BOB, type, {}, state_key)


@always
def message(version: str) -> tuple[Room, Event]:
    return sending(version, "m.room.message")


@never
def message_by_a_stranger(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    return room, room.make(BOB, "m.room.message", {})


@never
def message_by_an_invited(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    room.member(BOB, "invite", by=ALICE)
    return room, room.make(BOB, "m.room.message", {})


@never
def message_below_events_default(version: str) -> tuple[Room, Event]:
    return sending(version, "m.room.message", events_default=1)


@never
def message_below_its_types_level(version: str) -> tuple[Room, Event]:
    return sending(version, "m.room.message", level=9, events={"m.room.message": 10})


@never
def state_below_the_default(version: str) -> tuple[Room, Event]:
    return sending(version, "m.room.topic", "", level=49)


@always
def state_at_the_default(version: str) -> tuple[Room, Event]:
    return sending(version, "m.room.topic", "", level=50)


@always
def state_at_its_types_level(version: str) -> tuple[Room, Event]:
    return sending(version, "m.room.topic", "", events={"m.room.topic": 0})


@always
def state_keyed_by_oneself(version: str) -> tuple[Room, Event]:
    return sending(version, "x", BOB, level=50)


@never
def state_keyed_by_another(version: str) -> tuple[Room, Event]:
    return sending(version, "x", ALICE, level=50)


@always
def creator_without_power_levels(version: str) -> tuple[Room, Event]:
    room = Room(version)
    room.member(ALICE)
    return room, room.make(ALICE, "m.room.topic", {}, "")


@never
def anyone_without_power_levels(version: str) -> tuple[Room, Event]:
    room = Room(version)
    room.member(ALICE)
    room.join_rule("public")
    room.member(BOB)
    return room, room.make(BOB, "m.room.topic", {}, "")


@allowed_in("12")
def additional_creator_sends_state(version: str) -> tuple[Room, Event]:
    room = Room(version, additional_creators=[BOB])
    room.member(ALICE)
    room.join_rule("public")
    room.member(BOB)
    room.power(users=room.levels(), state_default=1000)
    return room, room.make(BOB, "m.room.topic", {}, "")


# Power levels


def powering(
    version: str, before: dict[str, Any], after: dict[str, Any], **levels: int
) -> tuple[Room, Event]:
    """Bob, at 50 unless `levels` says otherwise, changes `before` into `after`."""
    room = standard_room(version)
    room.member(BOB)
    users = room.levels(**{"bob": 50, **levels})
    room.power(**{"users": users, **before})
    return room, room.make(BOB, "m.room.power_levels", {"users": users, **after}, "")


@always
def unchanged(version: str) -> tuple[Room, Event]:
    return powering(version, {"ban": 100}, {"ban": 100})


@always
def raise_a_level_to_ones_own(version: str) -> tuple[Room, Event]:
    return powering(version, {}, {"ban": 50, "events": {"x": 50}, "users_default": 50})


@never
def raise_a_level_above_ones_own(version: str) -> tuple[Room, Event]:
    return powering(version, {}, {"ban": 51})


@never
def raise_the_default_above_ones_own(version: str) -> tuple[Room, Event]:
    return powering(version, {}, {"users_default": 51})


@never
def lower_a_level_above_ones_own(version: str) -> tuple[Room, Event]:
    return powering(version, {"invite": 51}, {"invite": 0})


@never
def remove_a_level_above_ones_own(version: str) -> tuple[Room, Event]:
    return powering(version, {"redact": 51}, {})


@never
def raise_a_type_above_ones_own(version: str) -> tuple[Room, Event]:
    return powering(version, {}, {"events": {"x": 51}})


@never
def remove_a_type_above_ones_own(version: str) -> tuple[Room, Event]:
    return powering(version, {"events": {"x": 51}}, {})


@allowed_in(*versions(1, 5))
def raise_a_notification_above_ones_own(version: str) -> tuple[Room, Event]:
    return powering(version, {}, {"notifications": {"room": 51}})


@allowed_in(*versions(1, 5))
def remove_a_notification_above_ones_own(version: str) -> tuple[Room, Event]:
    return powering(version, {"notifications": {"room": 51}}, {})


def granting(version: str, carol_before: int | None, carol_after: int | None) -> tuple[Room, Event]:
    room = standard_room(version)
    room.member(BOB)
    users = room.levels(bob=50)
    room.power(users=users if carol_before is None else {**users, CAROL: carol_before})
    after = users if carol_after is None else {**users, CAROL: carol_after}
    return room, room.make(BOB, "m.room.power_levels", {"users": after}, "")


@always
def grant_ones_own(version: str) -> tuple[Room, Event]:
    return granting(version, None, 50)


@never
def grant_more(version: str) -> tuple[Room, Event]:
    return granting(version, 10, 51)


@always
def demote_a_lower_one(version: str) -> tuple[Room, Event]:
    return granting(version, 49, 0)


@never
def demote_an_equal(version: str) -> tuple[Room, Event]:
    return granting(version, 50, 0)


@never
def remove_a_higher_one(version: str) -> tuple[Room, Event]:
    return granting(version, 60, None)


@always
def keep_a_higher_one(version: str) -> tuple[Room, Event]:
    return granting(version, 60, 60)


@always
def demote_oneself(version: str) -> tuple[Room, Event]:
    room, _ = powering(version, {}, {})
    return room, room.make(BOB, "m.room.power_levels", {"users": room.levels(bob=10)}, "")


@never
def promote_oneself(version: str) -> tuple[Room, Event]:
    room, _ = powering(version, {}, {})
    return room, room.make(BOB, "m.room.power_levels", {"users": room.levels(bob=51)}, "")


@never
def power_levels_below_the_state_default(version: str) -> tuple[Room, Event]:
    return powering(version, {}, {}, bob=49)


def malformed(version: str, **content: Any) -> tuple[Room, Event]:
    room = Room(version)
    room.member(ALICE)
    return room, room.make(ALICE, "m.room.power_levels", {"users": {BOB: 5}, **content}, "")


@always
def first_power_levels(version: str) -> tuple[Room, Event]:
    return malformed(version)


@never
def users_is_a_list(version: str) -> tuple[Room, Event]:
    return malformed(version, users=[])


@never
def user_with_no_number(version: str) -> tuple[Room, Event]:
    return malformed(version, users={BOB: "high"})


@never
def user_with_null(version: str) -> tuple[Room, Event]:
    return malformed(version, users={BOB: None})


@never
def user_that_is_none(version: str) -> tuple[Room, Event]:
    return malformed(version, users={"bob": 5})


@allowed_in(*versions(1, 9))
def user_with_a_string(version: str) -> tuple[Room, Event]:
    return malformed(version, users={BOB: " 5 "})


@allowed_in(*versions(1, 9))
def level_as_a_string(version: str) -> tuple[Room, Event]:
    return malformed(version, ban="50")


@allowed_in(*versions(1, 9))
def level_as_a_boolean(version: str) -> tuple[Room, Event]:
    return malformed(version, kick=True)


@allowed_in(*versions(1, 9))
def type_with_a_string(version: str) -> tuple[Room, Event]:
    return malformed(version, events={"x": "50"})


@allowed_in(*versions(1, 9))
def events_is_a_list(version: str) -> tuple[Room, Event]:
    return malformed(version, events=[])


@allowed_in(*versions(1, 9))
def notifications_is_a_list(version: str) -> tuple[Room, Event]:
    return malformed(version, notifications=[])


@never
def malformed_with_another_state_key(version: str) -> tuple[Room, Event]:
    room = Room(version)
    room.member(ALICE)
    return room, room.make(ALICE, "m.room.power_levels", {"users": []}, "x")


@allowed_in(*versions(1, 11))
def creator_among_the_users(version: str) -> tuple[Room, Event]:
    return malformed(version, users={ALICE: 100})


@allowed_in(*versions(1, 11))
def additional_creator_among_the_users(version: str) -> tuple[Room, Event]:
    room = Room(version, additional_creators=[BOB])
    room.member(ALICE)
    return room, room.make(ALICE, "m.room.power_levels", {"users": {BOB: 100}}, "")


@allowed_in("12")
def creator_grants_anything(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    content = {"users": {**room.levels(), BOB: 2**53 - 1}, "ban": 2**53 - 1}
    return room, room.make(ALICE, "m.room.power_levels", content, "")


# Redactions


def redacting(version: str, target: str, level: int) -> tuple[Room, Event]:
    room = standard_room(version)
    room.member(BOB)
    room.power(users=room.levels(bob=level))
    return room, room.make(BOB, "m.room.redaction", {}, redacts=target)


@always
def redact_ones_own_servers(version: str) -> tuple[Room, Event]:
    return redacting(version, "$x:b.org", 0)


@allowed_in(*versions(3))
def redact_anothers_without_power(version: str) -> tuple[Room, Event]:
    return redacting(version, "$x:a.org", 49)


@always
def redact_anothers_with_power(version: str) -> tuple[Room, Event]:
    return redacting(version, "$x:a.org", 50)


@allowed_in(*versions(3))
def redact_nothing(version: str) -> tuple[Room, Event]:
    room = standard_room(version)
    room.member(BOB)
    return room, room.make(BOB, "m.room.redaction", {})


# The auth events themselves


def with_auth(version: str, change: Callable[[Room, list[Event]], list[Event]]) -> bool:
    room = standard_room(version)
    keys = auth_rules.auth_keys(room.version, "m.room.message", ALICE, None, {})
    selected = change(room, [room.state[key] for key in keys])
    event = room.make(ALICE, "m.room.message", {}, auth=[event.event_id for event in selected])
    return is_allowed(room, event)


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_auth_events(version: str) -> None:
    v12 = version == "12"
    assert with_auth(version, lambda room, auth: auth)
    assert not with_auth(version, lambda room, auth: [*auth, auth[0]])
    assert not with_auth(version, lambda room, auth: [*auth, room.state["m.room.join_rules", ""]])
    assert with_auth(version, lambda room, auth: [e for e in auth if e.type != "m.room.create"]) is v12
    assert with_auth(version, lambda room, auth: [*auth, room.create]) is False
    message = with_auth(version, lambda room, auth: [*auth, room.send(ALICE, "x", {})])
    assert message is False


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_rejected_auth_events_authorise_nothing(version: str) -> None:
    room = standard_room(version)
    event = room.make(ALICE, "m.room.message", {})
    room.state["m.room.member", ALICE].rejected = True
    assert not is_allowed(room, event)


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_a_rejected_create_event_authorises_nothing(version: str) -> None:
    room = standard_room(version)
    event = room.make(ALICE, "m.room.message", {})
    room.create.rejected = True
    assert not is_allowed(room, event)
    with pytest.raises(AuthError):
        auth_rules.check(event, {})


@pytest.mark.parametrize("version", ["9", "12"])
def test_auth_keys(version: str) -> None:
    v = standard_room(version).version
    base = {("m.room.power_levels", ""), ("m.room.member", ALICE)}
    if version != "12":
        base |= {("m.room.create", "")}

    def keys(type: str, state_key: str | None, **content: Any) -> set[tuple[str, str]]:
        listed = auth_rules.auth_keys(v, type, ALICE, state_key, content)
        assert len(listed) == len(set(listed))
        return set(listed) - base

    rules, bob = ("m.room.join_rules", ""), ("m.room.member", BOB)
    assert auth_rules.auth_keys(v, "m.room.create", ALICE, "", {}) == []
    assert keys("m.room.message", None) == set()
    assert keys("m.room.topic", "") == set()
    assert keys("m.room.member", ALICE, membership="join") == {rules}
    assert keys("m.room.member", ALICE, membership="knock") == {rules}
    assert keys("m.room.member", ALICE, membership="leave") == set()
    assert keys("m.room.member", BOB, membership="invite") == {rules, bob}
    assert keys("m.room.member", BOB, membership="ban") == {bob}
    assert keys("m.room.member", BOB, membership=["ban"]) == {bob}
    token = {"signed": {"token": "t"}}
    invite = keys("m.room.member", BOB, membership="invite", third_party_invite=token)
    assert invite == {rules, bob, ("m.room.third_party_invite", "t")}
    joined = keys("m.room.member", ALICE, membership="join", join_authorised_via_users_server=BOB)
    assert joined == {rules, bob}
    assert keys("m.room.member", ALICE, membership="join", join_authorised_via_users_server=ALICE) == {rules}
