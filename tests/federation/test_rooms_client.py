"""Asking about rooms, over real TLS, a remote that tells the truth and one that does not."""

from typing import Any

import orjson

from federation import answers, rooms_client
from federation.errors import BackedOff, BadAnswer, Refused, Unreachable
from homeserver.protocol.events import Event, build
from homeserver.protocol.signing import SigningKey, sign_event
from homeserver.rooms.remote import RemoteRooms, Template
from tests.federation.case import FederationCase, Here
from tests.federation.remote import Asked, Remote, answer
from tests.federation.rooms import RoomRemote, always
from tests.homeserver.sync.fakes import START_MS

UNKNOWN = answer({"errcode": "M_UNRECOGNIZED"}, 404)


def pdus(*events: Event) -> list[dict[str, Any]]:
    return [event.pdu for event in events]


def ids(events: list[Event]) -> list[str]:
    return [event.event_id for event in events]


class RoomsCase(FederationCase):
    def setUp(self) -> None:
        super().setUp()
        self.start()

    def start(self, version: str = "10") -> None:
        self.here: list[Here] = []
        self.me = self.make_here("here.test")
        self.remote = RoomRemote(self, version)
        self.rooms: RemoteRooms = self.me.rooms
        self.where = (self.remote.name, self.remote.room_id)
        self.room = (*self.where, self.remote.version)

    def ours(self, membership: str, **content: Any) -> Event:
        """A member event that a user here made from a template."""
        return build(
            self.remote.version, room_id=self.remote.room_id, sender="@me:here.test", type="m.room.member",
            content={"membership": membership, **content}, state_key="@me:here.test",
            prev_events=[self.remote.create.event_id], auth_events=[self.remote.create.event_id], depth=2,
            origin_server_ts=START_MS, server_name="here.test", signing_key=self.me.key,
        )  # fmt: skip


class History(RoomsCase):
    async def test_missing_events(self) -> None:
        first, second = self.remote.event(content={"n": 1}), self.remote.event(content={"n": 2})
        self.remote.replies["get_missing_events"] = always({"events": pdus(first, second)})
        ask = self.rooms.missing_events
        found = await ask(*self.room, earliest=["$a"], latest=["$b"], limit=10, min_depth=3)
        assert ids(found) == ids([first, second])
        (asked,) = self.remote.asked("get_missing_events")
        assert asked.json == {
            "earliest_events": ["$a"], "latest_events": ["$b"], "limit": 10, "min_depth": 3,
        }  # fmt: skip
        assert ids(await ask(*self.room, earliest=[], latest=["$b"], limit=1)) == [first.event_id]

    async def test_backfill(self) -> None:
        event = self.remote.event(prev_events=["$" + "a" * 43] * 30)
        strange = self.remote.event(room_id="!other:room.test")
        self.remote.replies["backfill"] = always({"pdus": pdus(event, strange, event)})
        assert ids(await self.rooms.backfill(*self.room, ["$a", "$b"], 100)) == [event.event_id]
        (asked,) = self.remote.asked("backfill")
        assert asked.uri.endswith("?v=%24a&v=%24b&limit=100")
        assert await self.rooms.backfill(*self.room, ["$a"], 0) == []

    async def test_state(self) -> None:
        name = self.remote.event("m.room.name", {"name": "n"}, "")
        other_name = self.remote.event("m.room.name", {"name": "m"}, "")
        message = self.remote.event("m.room.message", {"body": "b"})
        given = {"pdus": pdus(name, message, other_name), "auth_chain": pdus(self.remote.create, name)}
        self.remote.replies["state"] = always(given)
        state, auth_chain = await self.rooms.state(*self.room, "$e")
        assert (ids(state), ids(auth_chain)) == ([name.event_id], [self.remote.create.event_id])

    async def test_state_ids(self) -> None:
        self.remote.replies["state_ids"] = always({"pdu_ids": ["$a", "$a"], "auth_chain_ids": ["$b"]})
        assert await self.rooms.state_ids(*self.where, "$e") == (["$a"], ["$b"])
        wrong: Any
        odd = [{"pdu_ids": [each], "auth_chain_ids": []} for each in ("$\0", "a", "$" + "x" * 300, 1)]
        for wrong in ({"pdu_ids": ["$a"]}, *odd, {}, []):
            self.remote.replies["state_ids"] = always(wrong)
            await self.assert_raises(BadAnswer, self.rooms.state_ids(*self.where, "$e"))

    async def test_event_auth(self) -> None:
        self.remote.replies["event_auth"] = always({"auth_chain": pdus(self.remote.create)})
        assert ids(await self.rooms.event_auth(*self.room, "$e")) == [self.remote.create.event_id]

    async def test_events_one_by_one(self) -> None:
        events = [self.remote.event(content={"n": n}) for n in range(12)]
        known = {event.event_id: event for event in events[:10]}

        def reply(asked: Asked) -> Any:
            event_id = asked.uri.rpartition("/")[2].replace("%24", "$")
            if event_id not in known:
                return answer({"errcode": "M_NOT_FOUND"}, 404)
            return {"origin": "x", "pdus": pdus(known[event_id])}

        self.remote.replies["event"] = reply
        wanted = [event.event_id for event in (*events, events[0])]
        found = await self.rooms.events(*self.room, wanted)
        assert set(found) == set(known) and all(found[each].event_id == each for each in found)
        assert len(self.remote.asked("event")) == 12

    async def test_another_event_than_the_one_asked_for(self) -> None:
        wanted, other = self.remote.event(content={"n": 1}), self.remote.event(content={"n": 2})
        self.remote.replies["event"] = always({"pdus": pdus(other, wanted)})
        assert await self.rooms.events(*self.room, [wanted.event_id]) == {}

    async def test_a_server_that_stops_answering_is_asked_no_more(self) -> None:
        await self.assert_raises(
            Unreachable, self.rooms.events("localhost:1", self.remote.room_id, self.remote.version, ["$a"])
        )
        event = self.remote.event()
        good = {"pdus": pdus(event)}
        self.remote.replies["event"] = lambda asked: Remote.CLOSE if asked.uri.endswith("%24b") else good
        found = await self.rooms.events(*self.room, [event.event_id, "$b"])
        assert list(found) == [event.event_id]

    async def test_a_backed_off_server_is_not_asked_but_joins_are_tried(self) -> None:
        await self.me.destinations.failed(self.remote.name)
        await self.assert_raises(BackedOff, self.rooms.backfill(*self.room, ["$a"], 1))
        await self.assert_raises(Refused, self.rooms.make_join(*self.where, "@me:here.test"))

    async def test_refusals_and_nonsense(self) -> None:
        self.remote.replies["backfill"] = always(answer({"errcode": "M_FORBIDDEN"}, 403))
        error = await self.assert_raises(Refused, self.rooms.backfill(*self.room, ["$a"], 1))
        assert (error.status, error.errcode) == (403, "M_FORBIDDEN")
        for wrong in (b"[", b"{}", b'{"pdus":{}}', b'{"pdus":[' + b"[" * 5000, b"\xff", b'{"pdus":"\xff"}'):
            self.remote.replies["backfill"] = always(answer(wrong))
            await self.assert_raises(BadAnswer, self.rooms.backfill(*self.room, ["$a"], 1))

    async def test_bodies_that_are_too_large(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
        self.remote.replies["backfill"] = always(head % (3 * 1024 * 1024))
        await self.assert_raises(BadAnswer, self.rooms.backfill(*self.room, ["$a"], 1))
        self.remote.replies["state"] = always(head % (101 * 1024 * 1024))
        await self.assert_raises(BadAnswer, self.rooms.state(*self.room, "$e"))

    async def test_a_large_body_of_nothing(self) -> None:
        many = b'{"pdus":[' + b",".join([b"1"] * answers.UNSUSPICIOUS_SIZE) + b'],"auth_chain":[]}'
        self.remote.replies["state"] = always(answer(many))
        error = await self.assert_raises(BadAnswer, self.rooms.state(*self.room, "$e"))
        assert "suspicious" in str(error)

    async def test_servers_we_do_not_speak_with(self) -> None:
        here = self.make_here("choosy.test", whitelist=[])
        await self.assert_raises(Unreachable, here.rooms.state_ids(*self.where, "$e"))


class Joining(RoomsCase):
    def template(self) -> Template:
        return Template(self.remote.version, {}, self.remote.name)

    def answered(self, **more: Any) -> dict[str, Any]:
        name = self.remote.event("m.room.name", {"name": "n"}, "")
        return {"state": pdus(self.remote.create, name), "auth_chain": pdus(self.remote.create), **more}

    async def test_make_join(self) -> None:
        event = {"type": "m.room.member", "depth": 3}
        self.remote.replies["make_join"] = always({"room_version": "10", "event": event})
        template = await self.rooms.make_join(*self.where, "@me:here.test")
        assert template == Template(self.remote.version, event, self.remote.name)
        (asked,) = self.remote.asked("make_join")
        assert "/make_join/%21r%3Aroom.test/%40me%3Ahere.test?ver=1&ver=2&" in asked.uri
        assert "ver=12" in asked.uri

    async def test_templates_of_servers_without_versions(self) -> None:
        body = orjson.dumps({"event": {"depth": 0}}).replace(b"0", b"9" * 30)
        self.remote.replies["make_leave"] = always(answer(body))
        template = await self.rooms.make_leave(*self.where, "@me:here.test")
        assert (template.version.id, template.pdu) == ("1", {"depth": int("9" * 30)})
        assert "?" not in self.remote.asked("make_leave")[0].uri

    async def test_templates_that_are_none(self) -> None:
        wrong: Any
        for wrong in ({}, {"event": []}, {"event": None}):
            self.remote.replies["make_knock"] = always(wrong)
            await self.assert_raises(BadAnswer, self.rooms.make_knock(*self.where, "@me:here.test"))

    async def test_a_template_of_a_version_we_lack(self) -> None:
        self.remote.replies["make_join"] = always({"event": {}, "room_version": "x"})
        error = await self.assert_raises(Refused, self.rooms.make_join(*self.where, "@me:here.test"))
        assert (error.errcode, error.body) == ("M_UNSUPPORTED_ROOM_VERSION", {"room_version": "x"})

    async def test_send_join(self) -> None:
        more = {"members_omitted": True, "servers_in_room": ["a.test", "not a server", 5, "a.test"]}
        self.remote.replies["v2/send_join"] = always(self.answered(**more))
        event = self.ours("join")
        join = await self.rooms.send_join(self.template(), event)
        assert (join.event, join.partial) == (event, True)
        assert join.servers == ["a.test", self.remote.name]
        assert [each.type for each in join.state] == ["m.room.create", "m.room.name"]
        assert join.auth_chain == []
        (asked,) = self.remote.asked("v2/send_join")
        assert asked.uri.endswith("?omit_members=true") and asked.json == event.pdu

    async def test_the_first_api_of_old_servers(self) -> None:
        self.remote.replies["v1/send_join"] = always([200, self.answered()])
        join = await self.rooms.send_join(self.template(), self.ours("join"))
        assert (len(join.state), join.partial, join.servers) == (2, False, [self.remote.name])

    async def test_a_refusal_is_no_reason_to_ask_again(self) -> None:
        self.remote.replies["v2/send_join"] = always(answer({"errcode": "M_FORBIDDEN"}, 403))
        await self.assert_raises(Refused, self.rooms.send_join(self.template(), self.ours("join")))
        assert len(self.remote.asked("v1/send_join")) == 0

    async def test_a_room_without_its_create_event_or_of_another_version(self) -> None:
        other = self.remote.event("m.room.create", {"room_version": "9"}, "")
        for create in (None, other):
            events = pdus(create) if create is not None else []
            self.remote.replies["v2/send_join"] = always({"state": events, "auth_chain": events})
            await self.assert_raises(BadAnswer, self.rooms.send_join(self.template(), self.ours("join")))

    async def test_a_vouched_join_comes_back_signed(self) -> None:
        event = self.ours("join", join_authorised_via_users_server=self.remote.user)
        signed = sign_event(event, self.remote.name, self.remote.key)
        self.remote.replies["v2/send_join"] = always(self.answered(event=signed.pdu))
        join = await self.rooms.send_join(self.template(), event)
        assert join.event.pdu == signed.pdu
        forged = sign_event(event, self.remote.name, SigningKey.generate("k1"))
        for wrong in (self.answered(), self.answered(event=event.pdu), self.answered(event=forged.pdu)):
            self.remote.replies["v2/send_join"] = always(wrong)
            await self.assert_raises(BadAnswer, self.rooms.send_join(self.template(), event))

    async def test_only_the_signatures_of_what_comes_back_are_taken(self) -> None:
        event = self.ours("join")
        changed = {**event.pdu, "content": {"membership": "ban"}, "depth": 7, "unsigned": {"a": 1}}
        self.remote.replies["v2/send_join"] = always(self.answered(event=changed))
        assert (await self.rooms.send_join(self.template(), event)).event.pdu == event.pdu

    async def test_send_leave(self) -> None:
        self.remote.replies["v1/send_leave"] = always([200, {}])
        await self.rooms.send_leave(self.remote.name, self.ours("leave"))
        self.remote.replies = {"v2/send_leave": always({})}
        await self.rooms.send_leave(self.remote.name, self.ours("leave"))

    async def test_send_knock(self) -> None:
        name = self.remote.event("m.room.name", {"name": "n"}, "")
        nonsense = [5, {}, {**name.pdu, "content": []}, {**name.pdu, "sender": 1}]
        body = b'{"knock_room_state":[%s,%s]}' % (
            b",".join(orjson.dumps(each) for each in (name.pdu, *nonsense)),
            b'{"type":"a","state_key":"","sender":"@a:b","content":' + b'{"a":' * 300 + b"1" + b"}" * 301,
        )
        self.remote.replies["send_knock"] = always(answer(body))
        assert await self.rooms.send_knock(self.remote.name, self.ours("knock")) == [
            {"type": "m.room.name", "state_key": "", "sender": self.remote.user, "content": {"name": "n"}}
        ]
        self.remote.replies["send_knock"] = always({})
        assert await self.rooms.send_knock(self.remote.name, self.ours("knock")) == []


class Inviting(RoomsCase):
    def invitation(self) -> Event:
        return build(
            self.remote.version, room_id=self.remote.room_id, sender="@me:here.test", type="m.room.member",
            content={"membership": "invite"}, state_key=self.remote.user, prev_events=[], auth_events=[],
            depth=2, origin_server_ts=START_MS, server_name="here.test", signing_key=self.me.key,
        )  # fmt: skip

    async def test_the_second_api(self) -> None:
        event = self.invitation()
        signed = sign_event(event, self.remote.name, self.remote.key)
        self.remote.replies["v2/invite"] = always({"event": {**signed.pdu, "content": {"lie": 1}}})
        state = [{"type": "m.room.create"}]
        found = await self.rooms.invite(self.remote.name, event, self.remote.version, state)
        assert found.pdu == signed.pdu
        (asked,) = self.remote.asked("v2/invite")
        assert asked.json == {"room_version": "10", "event": event.pdu, "invite_room_state": state}

    async def test_the_first_api_is_for_the_first_versions(self) -> None:
        ask = self.rooms.invite
        self.remote.replies["v1/invite"] = always(UNKNOWN)
        await self.assert_raises(
            Refused, ask(self.remote.name, self.invitation(), self.remote.version, [])
        )
        assert not self.remote.asked("v1/invite")
        self.start("1")
        event = self.invitation()
        signed = sign_event(event, self.remote.name, self.remote.key)
        self.remote.replies["v1/invite"] = always([200, {"event": signed.pdu}])
        found = await self.rooms.invite(self.remote.name, event, self.remote.version, [{"type": "x"}])
        assert found.pdu == signed.pdu
        (asked,) = self.remote.asked("v1/invite")
        assert asked.json == {**event.pdu, "unsigned": {"invite_room_state": [{"type": "x"}]}}

    async def test_an_invite_must_come_back_signed(self) -> None:
        event = self.invitation()
        forged = sign_event(event, self.remote.name, SigningKey.generate("k1"))
        for given in (event, forged):
            self.remote.replies["v2/invite"] = always({"event": given.pdu})
            await self.assert_raises(
                BadAnswer, self.rooms.invite(self.remote.name, event, self.remote.version, [])
            )

    async def test_exchanging_a_third_party_invite(self) -> None:
        self.remote.replies["exchange_third_party_invite"] = always({})
        await self.rooms.exchange_third_party_invite(*self.where, {"type": "m.room.member"})
        (asked,) = self.remote.asked("exchange_third_party_invite")
        assert asked.json == {"type": "m.room.member"}

    async def test_limits_are_those_that_were_meant(self) -> None:
        assert rooms_client.STATE.max_body == rooms_client.JOIN.max_body == 100 * 1024 * 1024
