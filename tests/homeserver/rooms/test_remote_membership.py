"""Getting into rooms of other servers: whom it takes, what is signed, and what the user hears if it fails."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from homeserver.errors import BadGateway, Forbidden, MatrixError, NotFound, RemoteError
from homeserver.protocol.events import Event, build
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signing import signatures_of
from homeserver.rooms import asking_around
from homeserver.rooms.incoming import Incoming
from homeserver.rooms.out_of_band import OutOfBandMembership
from homeserver.rooms.remote import NoRooms
from homeserver.rooms.remote_membership import RemoteMembership
from tests.homeserver.rooms.elsewhere import ROOM, Arrived, Elsewhere, Resident, refused
from tests.homeserver.rooms.house import ALICE, BOB, CAROL, House

ZOE = "@zoe:there"


class World:
    """A house on a street: `there` is a server in ROOM unless a test says otherwise."""

    def __init__(self, house: House, **servers: Resident) -> None:
        self.house = house
        self.street = Elsewhere(**servers)
        self.arrived = Arrived()
        self.shunned: set[str] = set()
        street: Any = self.street
        self.membership = RemoteMembership(
            house.registry, street, self.arrived, lambda server: server not in self.shunned
        )
        house.rooms._elsewhere = self.membership

    def join(self, room_id: str = ROOM, user_id: str = ALICE, **options: Any) -> Event:
        assert self.house.run(self.house.rooms.join(room_id, user_id, **options)) == room_id
        return self.arrived.joins[-1].event

    def fails(self, kind: type[MatrixError], verb: Callable[..., Any], *args: Any, **options: Any) -> Any:
        with pytest.raises(kind) as raised:
            self.house.run(verb(*args, **options))
        return raised.value

    def invited(self, user_id: str = ALICE, sender: str = ZOE, membership: str = "invite") -> Event:
        """An invite (or knock) of a room this server is not in, as it would have come."""
        event = build(
            ROOM_VERSIONS["10"], room_id=ROOM, sender=sender, type="m.room.member",
            content={"membership": membership}, state_key=user_id, prev_events=["$x"], auth_events=["$y"],
            depth=5, origin_server_ts=1, server_name="there", signing_key=Resident().key,
        )  # fmt: skip
        shown = [{"type": "m.room.create", "state_key": "", "sender": "@founder:third", "content": {}}]
        self.house.run(OutOfBandMembership(self.house.registry).add(event, event.version, shown))
        return event

    @property
    def asked(self) -> list[tuple[str, str]]:
        return self.street.asked


@pytest.mark.parametrize("version", ["1", "3", "10", "11"])
def test_joining_makes_our_event_of_the_template(house: House, version: str) -> None:
    world = World(house, there=Resident(version))
    event = world.join(reason="curious", content={"x": 1, "membership": "ban"})
    assert world.asked == [("make_join", "there"), ("send_join", "there")]
    assert (event.type, event.sender, event.state_key, event.room_id) == (
        "m.room.member", ALICE, ALICE, ROOM,
    )  # fmt: skip
    assert event.content == {"membership": "join", "displayname": "alice", "reason": "curious", "x": 1}
    assert event.depth == 4
    assert event.prev_events == event.auth_events == (("$create:there",) if version == "1" else ("$create",))
    assert "unknown" not in event.pdu and "origin" not in event.pdu
    assert signatures_of(event.pdu, "here")
    if version == "1":
        assert event.pdu["prev_events"] == [["$create:there", {"sha256": "hash"}]]
        assert event.event_id.endswith(":here")


def test_servers_are_asked_in_turn(house: House) -> None:
    lost = Resident(make_join=refused(404, "M_NOT_FOUND"))
    cannot = Resident(make_join=refused(400, "M_UNABLE_TO_AUTHORISE_JOIN"))
    broken = Resident(send_join=RemoteError("out of time"))
    world = World(house, lost=lost, cannot=cannot, broken=broken, there=Resident())
    world.join(via=["lost", "here", "no server", "cannot", "lost", "away", "broken"])
    assert [server for what, server in world.asked if what == "make_join"] == [
        "lost", "cannot", "away", "broken", "there",
    ]  # fmt: skip


def test_the_inviter_s_server_is_asked_without_being_named(house: House) -> None:
    world = World(house, friend=Resident())
    world.invited(sender="@zoe:friend")
    world.join()
    assert world.asked == [("make_join", "friend"), ("send_join", "friend")]


def test_a_room_that_was_left_is_remembered(house: House) -> None:
    world = World(house, there=Resident())
    room_id = restricted_room_of_zoe(house, admits_from=house.room())
    house.leave(room_id, BOB)
    world.join(room_id, BOB)
    assert world.asked == [("make_join", "there"), ("send_join", "there")]


def test_no_more_than_some_servers_are_asked(house: House) -> None:
    world = World(house)
    world.fails(BadGateway, house.rooms.join, ROOM, ALICE, via=[f"s{n}" for n in range(100)])
    assert len(world.asked) == asking_around.MOST_SERVERS


def test_nobody_is_asked_when_the_time_is_over(house: House) -> None:
    world = World(house)
    now = iter(range(0, 10_000_000, asking_around.MOST_MS // 2 + 1))
    clock: Any = house.registry.clock
    clock.now_ms = lambda: next(now)
    world.fails(BadGateway, house.rooms.join, ROOM, ALICE, via=[f"s{n}" for n in range(10)])
    assert len(world.asked) == 2


@pytest.mark.parametrize(
    ("says", "kind", "status", "errcode"),
    [
        ({"a": refused(404, "M_NOT_FOUND"), "b": refused(404, "M_NOT_FOUND")}, NotFound, 404, "M_NOT_FOUND"),
        ({"a": refused(404, "M_NOT_FOUND"), "b": RemoteError("gone")}, BadGateway, 502, "M_UNKNOWN"),
        ({"a": RemoteError("gone"), "b": refused(403, "M_FORBIDDEN")}, Forbidden, 403, "M_FORBIDDEN"),
        ({"a": refused(403, "M_UNKNOWN_TOKEN")}, Forbidden, 403, "M_FORBIDDEN"),
        ({"a": refused(400, "M_INVALID_PARAM")}, BadGateway, 502, "M_UNKNOWN"),
        ({"a": refused(400, "M_UNABLE_TO_GRANT_JOIN")}, Forbidden, 403, "M_FORBIDDEN"),
        (
            {"a": refused(400, "M_INCOMPATIBLE_ROOM_VERSION", room_version="x")},
            MatrixError, 400, "M_INCOMPATIBLE_ROOM_VERSION",
        ),
        ({}, NotFound, 404, "M_NOT_FOUND"),
    ],
)  # fmt: skip
def test_what_the_user_hears(
    house: House, says: dict[str, RemoteError], kind: type[MatrixError], status: int, errcode: str
) -> None:
    servers = {name: Resident(make_join=error) for name, error in says.items()}
    world = World(house, **servers)
    world.shunned = {"there"}
    error = world.fails(kind, house.rooms.join, ROOM, ALICE, via=list(says))
    assert (error.status, error.errcode) == (status, errcode)
    assert not world.arrived.joins


def test_a_few_that_forbid_it_are_enough(house: House) -> None:
    world = World(house, **{f"s{n}": Resident(make_join=refused(403, "M_FORBIDDEN")) for n in range(9)})
    world.fails(Forbidden, house.rooms.join, ROOM, ALICE, via=list(world.street.servers))
    assert len(world.asked) == asking_around.MOST_FORBIDDING


@pytest.mark.parametrize(
    "changes",
    [
        {"room_id": "!other:there"},
        {"type": "m.room.power_levels"},
        {"sender": BOB},
        {"state_key": BOB},
        {"state_key": None},
        {"content": {"membership": "leave"}},
        {"content": []},
        {"depth": "4"},
        {"depth": -1},
        {"depth": True},
        {"prev_events": "$create"},
        {"prev_events": [["$create", {}]]},
        {"prev_events": ["$create"] * 21},
        {"auth_events": [5]},
        {"auth_events": ["create"]},
        {"content": {"membership": "join", "join_authorised_via_users_server": "@u:elsewhere"}},
        {"content": {"membership": "join", "join_authorised_via_users_server": 5}},
    ],
)
def test_templates_that_are_not_signed(house: House, changes: dict[str, Any]) -> None:
    world = World(house, there=Resident())
    world.street.servers["there"].changes = changes
    world.fails(BadGateway, house.rooms.join, ROOM, ALICE)
    assert world.asked == [("make_join", "there")]


def test_a_voucher_of_the_server_asked(house: House) -> None:
    world = World(house, there=Resident())
    voucher = {"join_authorised_via_users_server": ZOE}
    world.street.servers["there"].changes = {"content": {"membership": "join", "evil": 1, **voucher}}
    assert world.join().content == {"membership": "join", "displayname": "alice", **voucher}


def test_servers_we_do_not_speak_with_are_not_asked(house: House) -> None:
    world = World(house, there=Resident())
    world.shunned = {"there"}
    world.fails(NotFound, house.rooms.join, ROOM, ALICE)
    world.fails(Forbidden, house.rooms.invite, house.room(), ALICE, ZOE)
    assert world.asked == []


def test_guests_stay_at_home(house: House) -> None:
    world = World(house, there=Resident())
    error = world.fails(Forbidden, house.rooms.join, ROOM, ALICE, guest=True)
    assert error.errcode == "M_GUEST_ACCESS_FORBIDDEN"


def test_two_joins_take_turns(house: House) -> None:
    """The second finds the room as the first left it: here, as nobody put it together, still unknown."""
    world = World(house, there=Resident())
    hold: Deferred[None] = Deferred()
    reached: Deferred[None] = Deferred()
    original = world.street.make_join

    async def slow(server: str, room_id: str, user_id: str) -> Any:
        template = await original(server, room_id, user_id)
        if user_id == ALICE:
            reached.callback(None)
            await hold
        return template

    world.street.make_join = slow  # type: ignore[method-assign]
    joins = [Deferred.fromCoroutine(house.rooms.join(ROOM, user_id)) for user_id in (ALICE, BOB)]
    house.db._wait(reached)
    house.room(creator=CAROL)  # time passes
    assert world.asked == [("make_join", "there")]
    hold.callback(None)
    for join in joins:
        house.db._wait(join)
    assert [join.event.sender for join in world.arrived.joins] == [ALICE, BOB]


def test_knocking(house: House) -> None:
    world = World(house, lost=Resident(make_knock=refused(404, "M_NOT_FOUND")), there=Resident())
    house.run(house.rooms.knock(ROOM, ALICE, "please", ["lost"]))
    ((event, version, shown),) = world.arrived.out
    assert event.content == {"membership": "knock", "displayname": "alice", "reason": "please"}
    assert (version.id, shown) == ("10", [{"type": "m.room.name"}])
    world.street.servers["there"].says["make_knock"] = refused(403, "M_FORBIDDEN", "Closed.")
    assert world.fails(Forbidden, house.rooms.knock, ROOM, BOB).message == "Closed."


def test_declining_an_invite(house: House) -> None:
    world = World(house, there=Resident())
    world.invited()
    house.run(house.rooms.leave(ROOM, ALICE, "no"))
    ((event, _, shown),) = world.arrived.out
    assert (event.content, event.depth, shown) == ({"membership": "leave", "reason": "no"}, 4, [])
    assert world.asked == [("make_leave", "there"), ("send_leave", "there")]


@pytest.mark.parametrize("membership", ["invite", "knock"])
def test_leaving_when_nobody_answers_or_lets_go(house: House, membership: str) -> None:
    world = World(house, third=Resident(make_leave=refused(403, "M_FORBIDDEN")))
    invite = world.invited(membership=membership, sender=ZOE if membership == "invite" else ALICE)
    house.run(house.rooms.leave(ROOM, ALICE))
    ((event, version, _),) = world.arrived.out
    assert event.content == {"membership": "leave"}
    assert event.prev_events == event.auth_events == (invite.event_id,)
    assert version is invite.version
    servers = {server for _, server in world.asked}
    assert servers == {"there", "third"}  # of the inviter or room ID, and of the founder, who was shown


def test_a_leave_that_nobody_heard_is_told_until_somebody_does(house: House) -> None:
    world = World(house, third=Resident(make_leave=refused(403, "M_FORBIDDEN")))

    def leave() -> None:
        world.invited()
        house.run(house.rooms.leave(ROOM, ALICE, "no"))
        event, version, _ = world.arrived.out[-1]
        house.run(OutOfBandMembership(house.registry).add(event, version, []))

    def tried_again() -> list[tuple[str, str]]:
        """By a server that starts."""
        again = World(house, **world.street.servers)
        house.run(again.membership.unheard._try_all())
        return again.asked

    leave()
    assert tried_again() == [("make_leave", "there")]  # who refused it has heard of it
    world.street.servers["there"] = Resident()
    assert tried_again() == [("make_leave", "there"), ("send_leave", "there")]
    assert tried_again() == []
    del world.street.servers["there"]
    leave()
    world.invited()
    assert tried_again() == []  # they ask again, so they are there, and the answer is another one


def test_leaving_what_one_is_not_in(house: House) -> None:
    world = World(house, there=Resident())
    world.fails(NotFound, house.rooms.leave, ROOM, ALICE)
    assert world.asked == []


def test_inviting_from_elsewhere(house: House) -> None:
    world = World(house, there=Resident())
    room_id = house.room(name="n")
    house.run(house.rooms.invite(room_id, ALICE, ZOE, "come"))
    (event,) = world.arrived.accepted
    assert event.content == {"membership": "invite", "reason": "come"}
    assert signatures_of(event.pdu, "here") and signatures_of(event.pdu, "there")
    shown = {(each["type"], each["state_key"]) for each in world.street.invite_state}
    assert {("m.room.create", ""), ("m.room.name", ""), ("m.room.member", ALICE)} <= shown
    assert all("hashes" in each for each in world.street.invite_state)  # whole events
    # Nothing was added here before the other server had agreed.
    assert house.run(house.rooms.get(room_id)).membership(ZOE) is None


def test_an_invite_that_may_not_be_is_shown_to_nobody(house: House) -> None:
    world = World(house, there=Resident())
    room_id = house.room(BOB)
    world.fails(Forbidden, house.rooms.invite, room_id, BOB, ZOE)
    closed = house.room(creation_content={"m.federate": False})
    world.fails(Forbidden, house.rooms.invite, closed, ALICE, ZOE)
    assert world.asked == []


@pytest.mark.parametrize(
    ("says", "status", "errcode"),
    [
        (refused(403, "M_FORBIDDEN"), 403, "M_FORBIDDEN"),
        (refused(403, "M_INVITE_BLOCKED"), 403, "M_INVITE_BLOCKED"),
        (refused(400, "M_INCOMPATIBLE_ROOM_VERSION"), 400, "M_INCOMPATIBLE_ROOM_VERSION"),
        (refused(404, "M_NOT_FOUND"), 404, "M_NOT_FOUND"),
        (refused(400, "M_MISSING_PARAM"), 502, "M_UNKNOWN"),
        (refused(500, "M_FORBIDDEN"), 502, "M_UNKNOWN"),
        (refused(401, "M_UNKNOWN_TOKEN"), 502, "M_UNKNOWN"),
        (RemoteError("gone"), 502, "M_UNKNOWN"),
    ],
)
def test_invites_that_are_refused(house: House, says: RemoteError, status: int, errcode: str) -> None:
    world = World(house, there=Resident(invite=says))
    error = world.fails(MatrixError, house.rooms.invite, house.room(), ALICE, ZOE)
    assert (error.status, error.errcode) == (status, errcode)
    assert not world.arrived.accepted


def test_inviting_by_setting_state(house: House) -> None:
    world = World(house, there=Resident())
    content = {"membership": "invite", "x": 1}
    event_id = house.run(house.rooms.set_state(house.room(), ALICE, "m.room.member", ZOE, content))
    (event,) = world.arrived.accepted
    assert (event.event_id, event.content) == (event_id, content)


def test_a_new_room_with_people_from_elsewhere(house: House) -> None:
    world = World(house, there=Resident())
    room_id = house.room(preset="private_chat", invite=[BOB, ZOE, "@lost:away"], is_direct=True)
    (event,) = world.arrived.accepted
    assert event.content == {"membership": "invite", "is_direct": True}
    assert house.run(house.rooms.get(room_id)).membership(BOB) == "invite"


def test_a_new_room_that_nobody_could_be_invited_to(house: House) -> None:
    World(house, there=Resident(invite=refused(403, "M_FORBIDDEN")))
    with pytest.raises(Forbidden):
        house.room(preset="private_chat", invite=[ZOE])
    with pytest.raises(Forbidden):
        house.room(invite=[ZOE], creation_content={"m.federate": False})


def test_a_restricted_room_nobody_here_can_vouch_for(house: House) -> None:
    """Carol may join, but Bob, the only one of this server in the room, may not invite; Zoe may."""
    world = World(house, there=Resident())
    room_id = restricted_room_of_zoe(house, admits_from=house.room(CAROL))
    voucher = {"join_authorised_via_users_server": ZOE}
    world.street.servers["there"].changes = {"content": {"membership": "join", **voucher}}
    event = world.join(room_id, CAROL)
    assert event.content == {"membership": "join", "displayname": "carol", **voucher}
    # Somebody who meets no condition is not helped by others.
    world.fails(Forbidden, house.rooms.join, room_id, "@dave:here")
    assert world.asked == [("make_join", "there"), ("send_join", "there")]


def restricted_room_of_zoe(house: House, admits_from: str) -> str:
    levels = {"users": {ALICE: 100, ZOE: 100}, "invite": 50}
    room_id = house.room(BOB, room_version="10", power_level_content_override=levels)
    head = house.run(house.rooms.get(room_id)).head
    keys = ("m.room.create", "m.room.power_levels", "m.room.join_rules")
    event = build(
        ROOM_VERSIONS["10"], room_id=room_id, sender=ZOE, type="m.room.member",
        content={"membership": "join"}, state_key=ZOE, prev_events=head.extremities,
        auth_events=[event_id for key in keys if (event_id := head.event_id(key)) is not None],
        depth=head.depth + 1, origin_server_ts=1, server_name="there", signing_key=Resident().key,
    )  # fmt: skip
    house.run(Incoming(house.registry, NoRooms(), "here").accept(room_id, event))
    allow = [{"type": "m.room_membership", "room_id": admits_from}]
    house.set_state(room_id, "m.room.join_rules", {"join_rule": "restricted", "allow": allow})
    house.leave(room_id, ALICE)
    return room_id


def test_claiming_a_third_party_invite(house: House) -> None:
    world = World(house, there=Resident())
    signed = {"mxid": ALICE, "token": "t", "signatures": {"id.test": {"ed25519:0": "s"}}}
    house.run(house.rooms.exchange_third_party_invite(ROOM, ZOE, signed))
    assert world.street.exchanged == [
        (
            "there",
            ROOM,
            {
                "type": "m.room.member", "room_id": ROOM, "sender": ZOE, "state_key": ALICE,
                "content": {
                    "membership": "invite", "third_party_invite": {"display_name": "", "signed": signed},
                },
            },
        )
    ]  # fmt: skip
