"""The keys of other servers, fetched over real TLS from servers that are honest, absent, late, or liars."""

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from federation.errors import NotFederated, Unreachable
from federation.key_fetching import AFTER_FAILURE_MS, AGAIN_MS, Notary
from homeserver.errors import RemoteError
from homeserver.protocol.events import Event, build
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signing import SigningKey, sign_json, verify_json, verify_signatures
from tests.federation.case import DAY_MS, FederationCase, Here
from tests.federation.remote import Asked, Remote, answer
from tests.homeserver.sync.fakes import START_MS

HOUR_MS = 3_600_000


class Owner:
    """A remote that publishes keys; the port of its listener is part of its name."""

    def __init__(self, case: FederationCase) -> None:
        self.key = SigningKey.generate("k1")
        self.old: dict[str, Any] = {}
        self.valid_until = START_MS + DAY_MS
        self.sign_with = [self.key]
        self.remote = case.make_remote(lambda asked: answer(self.statement()))
        self.name = self.remote.name

    def statement(self) -> dict[str, Any]:
        content: dict[str, Any] = {
            "server_name": self.name,
            "verify_keys": {self.key.key_id: {"key": self.key.verify_key.encode()}},
            "old_verify_keys": self.old,
            "valid_until_ts": self.valid_until,
        }
        for key in self.sign_with:
            content = sign_json(content, self.name, key)
        return content

    def rotate(self, expired_ts: int) -> None:
        self.old[self.key.key_id] = {"key": self.key.verify_key.encode(), "expired_ts": expired_ts}
        self.key = SigningKey.generate("k2")
        self.sign_with = [self.key]

    def event(self, version: str = "10", at: int = START_MS, key: SigningKey | None = None) -> Event:
        return build(
            ROOM_VERSIONS[version], room_id="!r:a.test", sender=f"@u:{self.name}", type="m.x", content={},
            state_key=None, prev_events=[], auth_events=[], depth=1, origin_server_ts=at,
            server_name=self.name, signing_key=key or self.key,
        )


class Requests(FederationCase):
    async def test_a_key_is_fetched_once_and_survives_a_restart(self) -> None:
        here, owner = self.make_here(), Owner(self)
        ask = here.keyring.for_request
        asking = [Deferred.fromCoroutine(ask(owner.name, "ed25519:k1")) for _ in range(9)]
        assert set(await gatherResults(asking)) == {owner.key.verify_key}
        here.keyring._known.clear()
        assert await here.keyring.for_request(owner.name, "ed25519:k1") == owner.key.verify_key
        assert [asked.uri for asked in owner.remote.asked] == ["/_matrix/key/v2/server"]

    async def test_a_key_past_its_time_is_fetched_again(self) -> None:
        here, owner = self.make_here(), Owner(self)
        await here.keyring.for_request(owner.name, "ed25519:k1")
        self.clock.advance(DAY_MS / 1000 + 1)
        await self.assert_raises(Unreachable, here.keyring.for_request(owner.name, "ed25519:k1"))
        owner.valid_until += 2 * DAY_MS
        self.clock.advance(AGAIN_MS / 1000 + 1)
        assert await here.keyring.for_request(owner.name, "ed25519:k1") == owner.key.verify_key

    async def test_old_keys_sign_no_requests(self) -> None:
        here, owner = self.make_here(), Owner(self)
        owner.rotate(START_MS + HOUR_MS)
        await self.assert_raises(Unreachable, here.keyring.for_request(owner.name, "ed25519:k1"))
        await here.keyring.for_request(owner.name, "ed25519:k2")

    async def test_unknown_keys_do_not_make_us_ask_again_and_again(self) -> None:
        here, owner = self.make_here(), Owner(self)
        for number in range(20):
            await self.assert_raises(Unreachable, here.keyring.for_request(owner.name, f"ed25519:x{number}"))
        assert len(owner.remote.asked) == 1

    async def test_lies_are_not_believed(self) -> None:
        here, owner = self.make_here(), Owner(self)
        owner.sign_with = [SigningKey.generate("k1")]
        await self.assert_raises(RemoteError, here.keyring.for_request(owner.name, "ed25519:k1"))
        victim = Owner(self)
        self.clock.advance(AGAIN_MS / 1000 + 1)
        owner.remote.reply = lambda asked: answer(victim.statement())
        await self.assert_raises(RemoteError, here.keyring.for_request(owner.name, "ed25519:k1"))
        assert await here.db.read(lambda tx: tx.value("SELECT count(*) FROM server_key")) == 0

    async def test_servers_off_the_whitelist_are_not_asked(self) -> None:
        owner = Owner(self)
        here = self.make_here(whitelist=["friend.test"])
        await self.assert_raises(NotFederated, here.keyring.for_request(owner.name, "ed25519:k1"))
        assert owner.remote.asked == []


class Events(FederationCase):
    async def counts(self, here: Here, *events: Event) -> list[bool]:
        verdicts = []
        for event, keys in zip(events, await here.keyring.for_events(events), strict=True):
            try:
                verify_signatures(event, keys)
            except Exception:
                verdicts.append(False)
            else:
                verdicts.append(True)
        return verdicts

    async def test_validity_counts_from_room_version_5(self) -> None:
        here, owner = self.make_here(), Owner(self)
        late = START_MS + 3 * DAY_MS
        events = [owner.event("10"), owner.event("10", at=late), owner.event("4", at=late)]
        assert await self.counts(here, *events) == [True, False, True]
        assert len(owner.remote.asked) == 1
        owner.valid_until = late
        self.clock.advance(AGAIN_MS / 1000 + 1)
        assert await self.counts(here, *events) == [True, True, True]

    async def test_old_keys_check_what_they_signed(self) -> None:
        here, owner = self.make_here(), Owner(self)
        first = owner.key
        owner.rotate(START_MS - HOUR_MS)
        events = [
            owner.event("10", START_MS - 2 * HOUR_MS, first),
            owner.event("10", START_MS, first),
            owner.event("4", START_MS, first),
            owner.event("10", START_MS),
        ]
        assert await self.counts(here, *events) == [True, False, True, True]
        assert await self.counts(here, *events) == [True, False, True, True]
        assert len(owner.remote.asked) == 1

    async def test_our_own_events(self) -> None:
        here = self.make_here()
        event = build(
            ROOM_VERSIONS["11"], room_id="!r:a.test", sender=f"@u:{here.name}", type="m.x", content={},
            state_key=None, prev_events=[], auth_events=[], depth=1, origin_server_ts=START_MS + 9 * DAY_MS,
            server_name=here.name, signing_key=here.key,
        )
        assert await self.counts(here, event) == [True]

    async def test_several_servers_at_once_one_of_them_gone(self) -> None:
        here, owners = self.make_here(), [Owner(self) for _ in range(3)]
        await owners[1].remote.close()
        events = [owner.event() for owner in owners]
        assert await self.counts(here, *events) == [True, False, True]
        # The one that is gone is not asked about every event.
        self.clock.advance(AGAIN_MS / 1000 + 1)
        before = here.fetcher._failed.get(owners[1].name, self.clock.now_ms())
        assert before is not None
        self.clock.advance(AFTER_FAILURE_MS / 1000)
        assert here.fetcher._failed.get(owners[1].name, self.clock.now_ms()) is None


class Notaries(FederationCase):
    def make_notary(self) -> tuple[Here, int]:
        """The notary, and where it listens: its name is only what it signs with."""
        notary = self.make_here("notary")
        return notary, self.serve(notary)

    async def trusting(self, reply: Any, *keys: SigningKey) -> tuple[Here, Remote]:
        remote = self.make_remote(reply)
        notary = Notary(remote.name, {key.key_id: key.verify_key for key in keys})
        return self.make_here(notaries=[notary]), remote

    async def test_a_notary_keeps_the_signature_of_the_origin(self) -> None:
        notary, port = self.make_notary()
        here, owner = self.make_here(), Owner(self)
        for path in (f"/_matrix/key/v2/query/{owner.name}", f"/_matrix/key/v2/query/{owner.name}/ed25519:k1"):
            found = await here.client.get(f"localhost:{port}", path)
            (document,) = found["server_keys"]
            verify_json(document, owner.name, owner.key.verify_key)
            verify_json(document, notary.name, notary.key.verify_key)
        wanted: dict[str, Any] = {owner.name: {"ed25519:k1": {}}, notary.name: {}}
        wanted |= {"localhost:1": {}, "no name": {}}
        found = await here.client.post(
            f"localhost:{port}", "/_matrix/key/v2/query", {"server_keys": wanted}
        )
        assert [each["server_name"] for each in found["server_keys"]] == [owner.name, notary.name]
        assert len(owner.remote.asked) == 1

    async def test_it_asks_again_when_what_it_has_will_not_do(self) -> None:
        notary, _ = self.make_notary()
        owner = Owner(self)

        async def asked(**wanted: Any) -> int:
            criteria = {owner.name: {"": None} | {key.replace("_", ":"): at for key, at in wanted.items()}}
            found = await notary.federation.notary.answer(criteria)
            assert found[0]["server_name"] == owner.name
            return len(owner.remote.asked)

        assert await asked() == 1
        self.clock.advance(2 * HOUR_MS / 1000)
        assert await asked() == 1
        assert await asked(ed25519_k1=START_MS + 2 * DAY_MS) == 2
        assert await asked(ed25519_k1=START_MS + 2 * DAY_MS) == 2
        self.clock.advance(AGAIN_MS / 1000 + 1)
        assert await asked(ed25519_other=None) == 3
        self.clock.advance(12 * HOUR_MS / 1000)
        assert await asked() == 4
        await owner.remote.close()
        self.clock.advance(30 * HOUR_MS / 1000)
        assert await asked() == 4  # the last one is still of use for old events

    async def test_too_many_at_once_are_refused(self) -> None:
        _, port = self.make_notary()
        here = self.make_here()
        wanted: dict[str, Any] = {"server_keys": {f"s{number}.test": {} for number in range(101)}}
        error = await self.assert_raises(
            RemoteError, here.client.post(f"localhost:{port}", "/_matrix/key/v2/query", wanted)
        )
        assert error.status == 400

    async def test_a_notary_helps_when_the_origin_is_gone(self) -> None:
        owner, signer = Owner(self), SigningKey.generate("n")
        await owner.remote.close()
        gone = [Owner(self) for _ in range(2)]
        for each in gone:
            await each.remote.close()

        def reply(asked: Asked) -> bytes:
            documents = [sign_json(each.statement(), remote.name, signer) for each in (owner, *gone)]
            return answer({"server_keys": [5, {}, *documents]})

        here, remote = await self.trusting(reply, signer)
        assert await here.keyring.for_request(owner.name, "ed25519:k1") == owner.key.verify_key
        # What was not asked for is not taken.
        assert await here.db.read(lambda tx: tx.value("SELECT count(*) FROM server_key")) == 1
        events = [each.event() for each in gone]
        for event, keys in zip(events, await here.keyring.for_events(events), strict=True):
            verify_signatures(event, keys)
        assert len(remote.asked) == 2
        criteria = remote.asked[1].json["server_keys"]
        assert criteria == {each.name: {"ed25519:k1": {"minimum_valid_until_ts": START_MS}} for each in gone}

    async def test_a_notary_cannot_lie(self) -> None:
        owner, signer, forger = Owner(self), SigningKey.generate("n"), SigningKey.generate("k1")
        await owner.remote.close()
        honest = owner.statement()
        forged = sign_json(
            {**honest, "signatures": {}, "verify_keys": {"ed25519:k1": {"key": forger.verify_key.encode()}}},
            owner.name,
            owner.key,
        )
        for lie in (forged, {**honest, "signatures": {}}, {**honest, "valid_until_ts": START_MS + 1}):
            here, remote = await self.trusting(lambda asked: None, signer)
            signed = answer({"server_keys": [sign_json(lie, remote.name, signer)]})
            remote.reply = lambda asked, signed=signed: signed  # type: ignore[misc]
            await self.assert_raises(Unreachable, here.keyring.for_request(owner.name, "ed25519:k1"))
            assert len(remote.asked) == 1

    async def test_somebody_else_is_no_notary(self) -> None:
        owner, signer = Owner(self), SigningKey.generate("n")
        await owner.remote.close()
        here, _ = await self.trusting(lambda asked: answer({"server_keys": [owner.statement()]}), signer)
        await self.assert_raises(Unreachable, here.keyring.for_request(owner.name, "ed25519:k1"))

    async def test_with_many_servers_the_notary_is_asked_first(self) -> None:
        owners, signer = [Owner(self) for _ in range(9)], SigningKey.generate("n")

        def reply(asked: Asked) -> bytes:
            documents = [sign_json(each.statement(), remote.name, signer) for each in owners[1:]]
            return answer({"server_keys": documents})

        here, remote = await self.trusting(reply, signer)
        events = [each.event() for each in owners]
        for event, keys in zip(events, await here.keyring.for_events(events), strict=True):
            verify_signatures(event, keys)
        assert [len(each.remote.asked) for each in owners] == [1] + [0] * 8
