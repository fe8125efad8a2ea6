"""What is no event: typing, receipts, presence, messages to devices, device lists, cross-signing keys."""

from typing import Any

import orjson

from federation.sending import edus
from homeserver.devices.cross_signing import CrossSigning
from homeserver.devices.keys import DeviceKeys
from homeserver.devices.to_device import ToDevice
from homeserver.protocol.canonical_json import encode
from homeserver.sync.presence import PresenceState
from storage import device_lists, devices, receipts
from storage.cross_signing import CrossSigningKey
from storage.device_lists import joined_rooms
from storage.outgoing import DeviceDetails, DeviceNews
from storage.receipts import Receipt
from tests.federation.sending import ALICE, House, Inbox, SendingCase
from tests.homeserver.devices.people import Device, Identity

BOB = "@bob:here.test"
UPDATE = "m.device_list_update"


class Passing(SendingCase):
    async def test_typing(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        room = await house.room(inbox.name)
        house.sender.typing(room, f"@zoe:{inbox.name}", True)
        house.sender.typing(room, BOB, False)
        for _ in range(3):
            house.sender.typing(room, ALICE, True)
            await self.until(lambda: inbox.edus("m.typing"))
        await self.passes(31)
        house.sender.typing(room, ALICE, True)
        await self.until(lambda: len(inbox.edus("m.typing")) > 1)
        house.sender.typing(room, ALICE, False)
        await self.until(lambda: len(inbox.edus("m.typing")) > 2)
        assert inbox.edus("m.typing") == [
            {"room_id": room, "user_id": ALICE, "typing": typing} for typing in (True, True, False)
        ]
        assert house.sender._typing_told == {}

    async def test_presence_is_gathered_and_the_last_word_counts(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        await house.room(inbox.name)
        await self.until(lambda: not house.sender.status())
        now = self.clock.now_ms()
        for state in ("online", "unavailable", "online"):
            house.sender.presence([PresenceState(ALICE, state, "hm", last_active_ts=now), PresenceState(BOB)])
        house.sender.presence([PresenceState(f"@zoe:{inbox.name}", "online")])
        await self.until(lambda: inbox.edus("m.presence"))
        (content,) = inbox.edus("m.presence")
        alice, bob = content["push"]
        assert 0 <= alice.pop("last_active_ago") < 5000
        assert alice == {
            "user_id": ALICE, "presence": "online", "status_msg": "hm", "currently_active": False
        }  # fmt: skip
        assert bob == {"user_id": BOB, "presence": "offline", "last_active_ago": 0}

    async def test_those_who_stay_online_are_told_again(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        await house.room(inbox.name)
        for user, state in ((ALICE, "online"), (BOB, "unavailable")):
            house.online[user] = PresenceState(user, state)
        house.sender.presence(list(house.online.values()))
        await self.until(lambda: inbox.edus("m.presence"))
        house.online[BOB] = PresenceState(BOB)
        house.sender.presence([house.online[BOB]])
        await self.until(lambda: len(inbox.edus("m.presence")) == 2)
        for minutes in (10, 15):
            assert len(inbox.edus("m.presence")) == 2, minutes
            for _ in range(minutes):
                await self.passes(60)
        await self.until(lambda: len(inbox.edus("m.presence")) == 3)
        [again] = inbox.edus("m.presence")[-1]["push"]
        assert (again["user_id"], again["presence"]) == (ALICE, "online")

    async def test_receipts_are_batched_and_never_private(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        one, two = await house.room(inbox.name), await house.room(inbox.name)
        await self.until(lambda: not house.sender.status())
        await self._read(house, one, ALICE, "$old")
        await self._read(house, one, ALICE, "$new")
        await self._read(house, one, ALICE, "$in-thread", thread="$root")
        await self._read(house, one, BOB, "$secret", kind="m.read.private")
        await self._read(house, one, f"@zoe:{inbox.name}", "$theirs")
        await self._read(house, two, BOB, "$other", thread="main")
        await self.until(lambda: inbox.edus("m.receipt"))
        ts = self.clock.now_ms()
        first, second = inbox.edus("m.receipt")
        assert first == {
            one: {"m.read": {ALICE: _read_up_to("$new", first[one]["m.read"][ALICE]["data"]["ts"])}},
            two: {"m.read": {BOB: _read_up_to("$other", first[two]["m.read"][BOB]["data"]["ts"], "main")}},
        }
        assert second[one]["m.read"][ALICE]["event_ids"] == ["$in-thread"]
        assert second[one]["m.read"][ALICE]["data"]["thread_id"] == "$root"
        assert ts - 10_000 < first[one]["m.read"][ALICE]["data"]["ts"] <= ts
        await self.until(lambda: not house.sender.status())

    async def test_after_an_outage_receipts_are_told_and_typing_is_not(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        room = await house.room(inbox.name)
        await self.until(lambda: not house.sender.status())
        inbox.away = True
        await self._read(house, room, ALICE, "$first")
        await self.until(lambda: inbox.tried > 1)
        await self.rest(5)
        await self._read(house, room, ALICE, "$second")
        await self._read(house, room, BOB, "$bobs")
        house.sender.typing(room, ALICE, True)
        house.sender.presence([PresenceState(ALICE, "online")])
        await self.rest(5)
        inbox.away = False
        await house.restart()
        await self.until(lambda: inbox.edus("m.receipt"), step=1)
        (content,) = inbox.edus("m.receipt")
        readers = content[room]["m.read"]
        assert {user: each["event_ids"] for user, each in readers.items()} == {
            ALICE: ["$second"], BOB: ["$bobs"]
        }  # fmt: skip
        assert inbox.edus("m.typing") == inbox.edus("m.presence") == []

    async def test_rooms_that_are_not_in_memory(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        room = await house.room(inbox.name)
        await self.until(lambda: not house.sender.status())
        house.in_memory = False
        await self._read(house, room, ALICE, "$event")
        house.sender.presence([PresenceState(ALICE, "online")])
        await self.until(lambda: inbox.edus("m.receipt") and inbox.edus("m.presence"))

    async def test_presence_of_those_who_meet(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        house.online |= {ALICE: PresenceState(ALICE, "online"), BOB: PresenceState(BOB)}
        room = await house.room(inbox.name)
        await self.until(lambda: inbox.edus("m.presence"))
        house.online[BOB] = PresenceState(BOB, "unavailable")
        await house.member(room, BOB)
        await self.until(lambda: len(inbox.edus("m.presence")) == 2)
        users = [[push["user_id"] for push in each["push"]] for each in inbox.edus("m.presence")]
        assert users == [[ALICE], [BOB]]

    async def _read(
        self,
        house: House,
        room: str,
        user: str,
        event: str,
        *,
        kind: str = "m.read",
        thread: str | None = None,
    ) -> None:
        now = self.clock.now_ms()
        await house.here.db.write(receipts.add_receipt, room, user, kind, thread, event, None, now)


def _read_up_to(event: str, ts: int, thread: str | None = None) -> dict[str, Any]:
    data = {"ts": ts} if thread is None else {"ts": ts, "thread_id": thread}
    return {"event_ids": [event], "data": data}


class ToDevices(SendingCase):
    async def test_messages_survive_outages_and_come_once_in_order(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        service = ToDevice(
            house.here.db, self.clock, "here.test", federates=house.here.whitelist.allows
        )
        zoe = f"@zoe:{inbox.name}"

        async def send(n: int) -> None:
            content = {"n": n, "half": 0.5, "text": "ü" * 100}
            await service.send(ALICE, "PHONE", "m.test", {zoe: {"TABLET": content}}, str(n))

        await send(0)
        await self.until(lambda: inbox.edus("m.direct_to_device"))
        inbox.away = True
        for n in range(1, 130):
            await send(n)
        await self.until(lambda: inbox.tried > 1)
        inbox.away = False
        await house.restart()
        await self.until(lambda: len(inbox.edus("m.direct_to_device")) >= 130, step=1)
        found = inbox.edus("m.direct_to_device")
        assert [each["messages"][zoe]["TABLET"]["n"] for each in found] == list(range(130))
        assert len({each["message_id"] for each in found}) == 130
        assert {(each["sender"], each["type"]) for each in found} == {(ALICE, "m.test")}
        await self.until(lambda: not house.sender.status())
        assert await house.here.db.read(_outbox_size) == 0

    async def test_large_messages_are_spread_over_transactions(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        service = ToDevice(house.here.db, self.clock, "here.test", federates=lambda server: True)
        zoe = f"@zoe:{inbox.name}"
        messages = {zoe: {f"D{n}": {"text": "x" * 50_000} for n in range(45)}}
        await service.send(ALICE, "PHONE", "m.test", messages, "1")
        await self.until(lambda: len(inbox.edus("m.direct_to_device")) >= 45)
        assert len(inbox.edus("m.direct_to_device")) == 45
        assert max(inbox.sizes) < 1_100_000

    async def test_a_message_that_is_never_taken_blocks_nothing(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        inbox.refuse = lambda sent: 413 if "poison" in str(sent) else None
        service = ToDevice(house.here.db, self.clock, "here.test", federates=lambda server: True)
        for text in ("good", "poison", "better"):
            messages = {f"@zoe:{inbox.name}": {"*": {"text": text}}}
            await service.send(ALICE, "PHONE", "m.test", messages, text)
        await self.until(lambda: len(inbox.edus("m.direct_to_device")) == 2)
        await self.until(lambda: not house.sender.status())

    async def test_what_nobody_takes_is_given_up_in_the_end(self) -> None:
        house, inbox = await self.make_house(), Inbox(self)
        inbox.away = True
        service = ToDevice(house.here.db, self.clock, "here.test", federates=lambda server: True)
        for n in range(2):
            await service.send(ALICE, "PHONE", "m.test", {f"@zoe:{inbox.name}": {"*": {"n": n}}}, str(n))
            await self.passes(20 * 24 * 3600)
        await self.until(lambda: inbox.tried > 1, step=3600)
        await house.sender._save()
        assert await house.here.db.read(_outbox_size) == 1
        inbox.away = False
        await self.until(lambda: not house.sender.status(), step=3600)
        assert [each["messages"][f"@zoe:{inbox.name}"]["*"]["n"]
                for each in inbox.edus("m.direct_to_device")] == [1]


def _outbox_size(tx: Any) -> int:
    size: int = tx.value("SELECT count(*) FROM outbox_to_device")
    return size


class Keys(SendingCase):
    async def _people(self) -> tuple[House, Inbox, DeviceKeys]:
        house, inbox = await self.make_house(), Inbox(self)
        await house.room(inbox.name)
        await self.until(lambda: not house.sender.status())
        return house, inbox, DeviceKeys(house.here.db, "here.test", joined_rooms)

    async def _device(self, house: House, keys: DeviceKeys, name: str, user: str = ALICE) -> Device:
        device = Device(user, name)
        await house.here.db.write(devices.ensure, user, name, f"{name} of {user}", 1)
        await keys.upload(user, name, keys=device.keys())
        return device

    async def test_each_change_names_the_one_before(self) -> None:
        house, inbox, keys = await self._people()
        phone = await self._device(house, keys, "PHONE")
        await self._device(house, keys, "TABLET")
        await self.until(lambda: len(inbox.edus(UPDATE)) == 2)
        await house.here.db.write(keys.renamed, ALICE, "PHONE")
        await house.here.db.write(keys.forget_devices, ALICE, ["TABLET", "PHONE"])
        await self.until(lambda: len(inbox.edus(UPDATE)) == 5)
        updates = inbox.edus(UPDATE)
        first = updates[0]
        assert first["keys"] == phone.keys()
        assert (first["user_id"], first["device_id"], first["prev_id"]) == (ALICE, "PHONE", [])
        assert first["device_display_name"] == f"PHONE of {ALICE}"
        for before, after in zip(updates, updates[1:], strict=False):
            assert after["prev_id"] == [before["stream_id"]]
            assert after["stream_id"] > before["stream_id"]
        assert [each.get("deleted") for each in updates[3:]] == [True, True]
        assert {each["device_id"] for each in updates[3:]} == {"TABLET", "PHONE"}
        assert (await keys.device_list(ALICE)).stream_id == updates[-1]["stream_id"]

    async def test_changes_of_an_outage(self) -> None:
        house, inbox, keys = await self._people()
        await self._device(house, keys, "PHONE")
        await self.until(lambda: inbox.edus(UPDATE))
        inbox.away = True
        for n in range(15):
            await self._device(house, keys, f"D{n}")
        await self._device(house, keys, "BOBS", BOB)
        await self.until(lambda: inbox.tried > 2)
        inbox.away = False
        await house.restart()
        await self.until(lambda: len(inbox.edus(UPDATE)) > 1, step=1)
        await self.rest()
        first, last = inbox.edus(UPDATE)
        # It missed what is before the last one, and will see that.
        assert last["device_id"] == "D14" and last["prev_id"] != [first["stream_id"]]

    async def test_those_who_meet_are_told(self) -> None:
        house, inbox, keys = await self._people()
        await self._device(house, keys, "BOBS", BOB)
        await self.rest()
        assert inbox.edus(UPDATE) == []
        await house.member(next(iter(house.rooms)), BOB)
        await self.until(lambda: inbox.edus(UPDATE))
        other = Inbox(self)
        await house.member(next(iter(house.rooms)), f"@yan:{other.name}")
        await self.until(lambda: other.edus(UPDATE))
        for told in (inbox.edus(UPDATE), other.edus(UPDATE)):
            assert [each["device_id"] for each in told] == ["BOBS"]
        await house.room(inbox.name)
        await self.rest()
        assert len(inbox.edus(UPDATE)) == 1

    async def test_cross_signing_keys_have_two_names(self) -> None:
        house, inbox, _ = await self._people()
        identity = Identity(ALICE)
        signing = CrossSigning(house.here.db, joined_rooms)
        await signing.upload(ALICE, identity.keys(), authorised=True)
        await self.until(lambda: inbox.edus("m.signing_key_update"))
        expected = {
            "user_id": ALICE,
            "master_key": identity.key("master"),
            "self_signing_key": identity.key("self_signing"),
        }
        for name in ("m.signing_key_update", "org.matrix.signing_key_update"):
            assert inbox.edus(name) == [expected]

    async def test_a_change_in_rooms_that_are_not_in_memory_survives_a_crash(self) -> None:
        house, inbox, keys = await self._people()
        house.in_memory = False
        inbox.away = True
        await self._device(house, keys, "PHONE")
        inbox.away = False
        await house.restart(crash=True)
        await self.until(lambda: inbox.edus(UPDATE), step=1)

    async def test_changes_nobody_else_sees_are_not_told(self) -> None:
        house, inbox, _ = await self._people()
        await house.here.db.write(device_lists.record_for, ALICE, [BOB])
        await self.rest()
        assert inbox.tried == 0


class Sizes(SendingCase):
    def test_lists_are_cut(self) -> None:
        states = [PresenceState(f"@{'ü' * 100}{n}:here.test", "online", "ü" * 1000) for n in range(500)]
        made = list(edus.presence(states, 0))
        assert [state for _, some in made for state in some] == states
        given = [
            Receipt(f"!{n % 7}:x.test", f"@{n}:x.test", "m.read", "$" + "t" * 250, "$" + "e" * 250, n, n)
            for n in range(2000)
        ]
        receipts_made = list(edus.receipts(given))
        assert sum(len(some) for _, some in receipts_made) == 2000
        for each, _ in (*made, *receipts_made):
            assert len(each) < 65_536
            assert encode(orjson.loads(each)) == each

    def test_what_cannot_fit_is_left_out(self) -> None:
        details = DeviceDetails(DeviceNews(5, ALICE, "PHONE"), encode({"a": "x" * 65_000}), "Phone", 4)
        assert edus.device_list_update(details) is None
        key = CrossSigningKey(ALICE, "master", "", encode({"a": "x" * 65_000}))
        assert edus.signing_key_updates(ALICE, [key]) == []

    def test_all_is_canonical(self) -> None:
        details = DeviceDetails(DeviceNews(5, ALICE, "PHONE"), encode({"b": 1, "a": 2}), "Phone", 4)
        key = CrossSigningKey(ALICE, "master", "", encode({"b": 1, "a": 2}))
        made = [
            edus.typing("!r:here.test", ALICE, True),
            edus.device_list_update(details),
            *edus.signing_key_updates(ALICE, [key]),
        ]
        for each in made:
            assert each is not None and encode(orjson.loads(each)) == each
