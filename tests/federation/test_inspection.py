"""Events that pass, and everything that is wrong with those that do not."""

import time
from typing import Any

import msgspec
import orjson
from twisted.internet.defer import Deferred, gatherResults

from federation import inspection
from federation.inspection import CHUNK, Inspector
from federation.keyring import Known
from homeserver.protocol.events import MAX_AUTH_EVENTS, MAX_PREV_EVENTS, Event
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signing import SigningKey
from tests.federation.case import FederationCase
from tests.federation.remote import the_reactor
from tests.federation.rooms import RoomRemote


def raw(event: Event | dict[str, Any], **more: Any) -> msgspec.Raw:
    pdu = event.pdu if isinstance(event, Event) else event
    return msgspec.Raw(orjson.dumps({**pdu, **more}))


class Reading(FederationCase):
    async def test_what_passes_keeps_its_order_and_loses_unsigned(self) -> None:
        here, remote = self.make_here(), RoomRemote(self)
        events = [remote.event(content={"n": n}) for n in range(2 * CHUNK + 1)]
        given = [raw(event, unsigned={"age": 1}) for event in events]
        found = await here.inspector.read(given, remote.version, remote.room_id)
        assert [event.event_id for event in found] == [event.event_id for event in events]
        assert found[0].pdu == events[0].pdu
        assert len(remote.remote.asked) == 1  # for its keys, once

    async def test_what_is_dropped(self) -> None:
        here, remote, other = self.make_here(), RoomRemote(self), RoomRemote(self)
        good = remote.event()
        forged = remote.event(content={"n": 1}, signing_key=SigningKey.generate("k1"))
        wrong: dict[str, Any] = {
            "not JSON's object": msgspec.Raw(b"[1]"),
            "a number too deep": msgspec.Raw(b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"),
            "another room": raw(remote.event(room_id="!other:room.test")),
            "no signature": raw({**good.pdu, "signatures": {}}),
            "another's signature": raw({**good.pdu, "signatures": other.event().pdu["signatures"]}),
            "another's words": raw({**good.pdu, "depth": 2}),
            "a forged signature": raw(forged),
            "a wrong key ID": raw(remote.event(signing_key=SigningKey.generate("k2"))),
            "no type": raw({name: value for name, value in good.pdu.items() if name != "type"}),
            "a float": raw({**good.pdu, "content": {"n": 1.5}}),
            "too large": raw({**good.pdu, "content": {"n": "x" * 65_536}}),
            "far too large": raw(good, unsigned={"n": "x" * inspection.MAX_SENT_BYTES}),
            "too many auth_events": raw({**good.pdu, "auth_events": ["$a"] * (MAX_AUTH_EVENTS + 1)}),
        }
        for what, pdu in wrong.items():
            found = await here.inspector.read([pdu, raw(good)], remote.version, remote.room_id)
            assert [event.event_id for event in found] == [good.event_id], what

    async def test_a_wrong_hash_redacts(self) -> None:
        here, remote = self.make_here(), RoomRemote(self)
        event = remote.event("m.room.message", {"body": "true"})
        changed = raw({**event.pdu, "content": {"body": "false"}})
        (found,) = await here.inspector.read([changed], remote.version, remote.room_id)
        assert (found.event_id, found.content) == (event.event_id, {})

    async def test_old_history_may_have_any_number_of_references(self) -> None:
        here, remote = self.make_here(), RoomRemote(self)
        event = remote.event(prev_events=["$" + "a" * 43] * (MAX_PREV_EVENTS + 1))
        read = here.inspector.read
        assert await read([raw(event)], remote.version, remote.room_id) == []
        (found,) = await read([raw(event)], remote.version, remote.room_id, unlimited=True)
        assert found.event_id == event.event_id

    async def test_numbers_of_old_rooms(self) -> None:
        here, remote = self.make_here(), RoomRemote(self, "5")
        event = remote.event(content={"n": 1})
        pdu = orjson.dumps(event.pdu).replace(b'"n":1', b'"n":1' + b"0" * 30)
        (found,) = await here.inspector.read([msgspec.Raw(pdu)], remote.version, remote.room_id)
        assert found.content == {}  # its hash is not that of the number, but it was read

    async def test_a_create_event_is_in_the_room_it_makes(self) -> None:
        here, remote = self.make_here(), RoomRemote(self, "12")
        event = remote.event("m.room.name", {"name": "n"}, "")
        found = await here.inspector.read([raw(remote.create), raw(event)], remote.version, remote.room_id)
        assert [each.event_id for each in found] == [remote.create.event_id, event.event_id]

    async def test_parsed_ones(self) -> None:
        here, remote = self.make_here(), RoomRemote(self)
        good, forged = remote.event(), remote.event(signing_key=SigningKey.generate("k1"))
        assert await here.inspector.verify([forged, good]) == [good]
        assert await here.inspector.verify([]) == []

    async def test_a_signature_that_is_not_needed(self) -> None:
        here, remote, other = self.make_here(), RoomRemote(self), RoomRemote(self)
        event = remote.event()
        assert await here.inspector.is_signed_by(event, remote.name)
        assert not await here.inspector.is_signed_by(event, other.name)
        theirs = {**event.pdu["signatures"], other.name: event.pdu["signatures"][remote.name]}
        forged = event.with_pdu({**event.pdu, "signatures": theirs})
        assert not await here.inspector.is_signed_by(forged, other.name)


class ManyKeys:
    """A keyring that knows the keys of every server."""

    def __init__(self, key: SigningKey) -> None:
        self._known = Known(key.verify_key, False, 2**60)

    async def find(self, wanted: Any) -> Any:
        return {server: dict.fromkeys(keys, self._known) for server, keys in wanted.items()}


class Speed(FederationCase):
    async def test_a_large_batch_leaves_room_for_a_small_one(self) -> None:
        remote = RoomRemote(self)
        keyring: Any = ManyKeys(remote.key)
        inspector = Inspector(the_reactor, keyring)
        events = [raw(remote.event(content={"n": n})) for n in range(2_000)]
        ended: list[tuple[int, float]] = []

        async def timed(given: list[msgspec.Raw]) -> None:
            found = await inspector.read(given, ROOM_VERSIONS["10"], remote.room_id)
            assert len(found) == len(given)
            ended.append((len(given), time.perf_counter()))

        batches = [events, events[:1]]
        start = time.perf_counter()
        await gatherResults([Deferred.fromCoroutine(timed(batch)) for batch in batches])
        (first, at), (second, end) = ended
        assert (first, second) == (1, 2_000)
        assert at - start < (end - start) / 2
