"""Asking others for keys: they speak for their own users only, and only in the shape clients rely on."""

from typing import Any

from federation.user_keys import UserKeys
from homeserver.devices.remote import ask_all
from homeserver.errors import RemoteError
from tests.federation.case import FederationCase
from tests.federation.remote import answer

MALFORMED: list[Any] = [None, 1, "x", [], [{}], {"keys": 1}, {"keys": {"a": 1}}]


def device(user_id: str, device_id: str = "D", **changes: Any) -> dict[str, Any]:
    return {
        "user_id": user_id, "device_id": device_id, "algorithms": ["m.olm"],
        "keys": {f"ed25519:{device_id}": "k"}, "signatures": {user_id: {f"ed25519:{device_id}": "s"}},
        **changes,
    }


def master(user_id: str, **changes: Any) -> dict[str, Any]:
    return {"user_id": user_id, "usage": ["master"], "keys": {"ed25519:m": "m"}, **changes}


class Keys(FederationCase):
    def setUp(self) -> None:
        super().setUp()
        self.content: Any = {}
        self.remote = self.make_remote(lambda asked: answer(self.content))
        self.keys = UserKeys(self.make_here().client)
        self.ann, self.eve = f"@ann:{self.remote.name}", f"@eve:{self.remote.name}"

    async def query(self, *devices: str) -> Any:
        return await self.keys.query(self.remote.name, {self.ann: list(devices)}, 5000)

    async def claim(self) -> Any:
        return await self.keys.claim(self.remote.name, {self.ann: {"D": "signed_curve25519"}}, 5000)

    async def test_good_keys(self) -> None:
        unsigned = {"device_display_name": "Phone"}
        self.content = {
            "device_keys": {self.ann: {"D": device(self.ann, unsigned=unsigned, more=[1])}},
            "master_keys": {self.ann: master(self.ann)},
            "self_signing_keys": {self.ann: master(self.ann, signatures={self.ann: {"ed25519:m": "s"}})},
        }
        assert await self.query() == self.content
        (asked,) = self.remote.asked
        assert (asked.method, asked.uri) == ("POST", "/_matrix/federation/v1/user/keys/query")
        assert asked.json == {"device_keys": {self.ann: []}}

    async def test_users_and_devices_that_were_not_asked_for(self) -> None:
        others = [self.eve, "@ann:other.test", "@alice:here.test"]
        self.content = {
            "device_keys": {each: {"D": device(each)} for each in others}
            | {self.ann: {"D": device(self.ann), "E": device(self.ann, "E"), "F": device(self.eve, "F")}},
            "master_keys": {each: master(each) for each in others} | {self.ann: master(self.eve)},
            "self_signing_keys": {each: master(each) for each in others},
            "user_signing_keys": {self.ann: master(self.ann)},
        }
        found = await self.query("D", "F")
        assert found == {
            "device_keys": {self.ann: {"D": device(self.ann)}}, "master_keys": {}, "self_signing_keys": {},
        }
        asked_wrongly = await self.keys.query(self.remote.name, {"@ann:other.test": []}, 5000)
        assert not any(asked_wrongly.values())

    async def test_malformed_keys(self) -> None:
        for wrong in MALFORMED:
            self.content = {"device_keys": wrong, "master_keys": wrong, "self_signing_keys": wrong}
            assert not any((await self.query()).values()), wrong
            self.content = {field: {self.ann: wrong} for field in self.content}
            found = await self.query()
            assert found["device_keys"] in ({}, {self.ann: {}}) and not found["master_keys"], wrong
            changes = [{field: wrong} for field in ("keys", "signatures", "unsigned", "algorithms")]
            # Some of these are of the right shape for one of the fields.
            for changed in changes:
                self.content = {"device_keys": {self.ann: {"D": device(self.ann, **changed)}}}
                (devices,) = (await self.query())["device_keys"].values()
                fine = "algorithms" in changed and isinstance(wrong, list)
                fine |= "unsigned" in changed and isinstance(wrong, dict)
                assert bool(devices) is fine, changed
        self.content = {"master_keys": {self.ann: master(self.ann, signatures={"a": 1})}}
        assert not (await self.query())["master_keys"]

    async def test_claiming(self) -> None:
        key = {"key": "k", "signatures": {}}
        self.content = {"one_time_keys": {self.ann: {"D": {"signed_curve25519:AAAA": key}}}}
        assert await self.claim() == self.content
        (asked,) = self.remote.asked
        assert (asked.method, asked.uri) == ("POST", "/_matrix/federation/v1/user/keys/claim")
        assert asked.json == {"one_time_keys": {self.ann: {"D": "signed_curve25519"}}}

    async def test_claimed_keys_that_were_not_asked_for(self) -> None:
        good = {"signed_curve25519:A": {"key": "k"}}
        self.content = {
            "one_time_keys": {
                self.ann: {
                    "D": {"other:A": {}, "signed_curve25519:": {}, **good, "signed_curve25519:B": {}},
                    "E": good,
                },
                self.eve: {"D": good},
                "@alice:here.test": {"D": good},
            }
        }
        assert await self.claim() == {"one_time_keys": {self.ann: {"D": good}}}
        for wrong in MALFORMED:
            for content in (wrong, {self.ann: wrong}, {self.ann: {"D": wrong}}):
                self.content = {"one_time_keys": content}
                assert not any((await self.claim())["one_time_keys"].values())

    async def test_answers_nobody_could_write_again(self) -> None:
        deep = b"[" * 300 + b"]" * 300
        self.content = b'{"device_keys": {"%b": {"D": %b}}}' % (self.ann.encode(), deep)
        await self.assert_raises(RemoteError, self.query())

    async def test_failing_servers_cost_the_others_nothing(self) -> None:
        slow = self.make_remote(lambda asked: None)
        strict = self.make_here(whitelist=[self.remote.name, slow.name])
        keys = UserKeys(strict.client)
        self.content = {"device_keys": {self.ann: {"D": device(self.ann)}}}
        users = {name: {f"@ann:{name}": list[str]()} for name in (self.remote.name, slow.name, "banned.test")}
        answers, failures = await ask_all(users, lambda server, wanted: keys.query(server, wanted, 700))
        assert set(answers) == {self.remote.name}
        assert set(failures) == {slow.name, "banned.test"}
        # Naming a server in a request is no way to make us stop asking it.
        slow.reply = lambda asked: answer({})
        assert not any((await keys.query(slow.name, users[slow.name], 5000)).values())
