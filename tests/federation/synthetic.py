"""A whole homeserver that is not one: it owns rooms made up for a test, serves them, and lies when told to.

https://spec.matrix.org/v1.19/server-server-api/

    with Synthetic(authority) as remote:
        room = remote.make_room("11", members=5_000)
        …                                     # somebody joins it
        event = room.say("hello")
        remote.send(their_server_name, [event])
        remote.instead("state_ids", lambda asked, honest: Answer(status=404))

It runs in threads beside the test, with real TLS, real keys and real signatures. `asked` is everything it
was asked, `received` the events it was sent, `edus` the ephemeral ones. What it says when it is honest stands
in `synthetic_answers`.
"""

import ssl
import threading
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import count
from typing import Any, Self
from urllib.parse import quote, urlencode

import httpx
import orjson

from federation import request_signing
from homeserver.protocol import canonical_json
from homeserver.protocol.events import Event
from homeserver.protocol.ids import domain_of
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signing import SigningKey, VerifyKey, sign_json
from tests.federation.authority import Authority
from tests.federation.synthetic_answers import Answers, stripped
from tests.federation.synthetic_http import Answer, Asked, Hook, HttpsServer, Reply, Route
from tests.federation.synthetic_room import SyntheticRoom, sign_pdu
from tests.waiting import until

Json = dict[str, Any]
Pdu = Event | Mapping[str, Any] | bytes

V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"
NEVER = 2**53 - 1
DAY_MS = 86_400_000

ROUTES = [
    Route("server_keys", "GET", "/_matrix/key/v2/server"),
    Route("server_keys", "GET", "/_matrix/key/v2/server/{key}"),
    Route("notary", "GET", "/_matrix/key/v2/query/{server}"),
    Route("notary", "POST", "/_matrix/key/v2/query"),
    Route("version", "GET", f"{V1}/version"),
    Route("send", "PUT", f"{V1}/send/{{txn}}"),
    Route("make_join", "GET", f"{V1}/make_join/{{room}}/{{user}}"),
    Route("send_join", "PUT", f"{V2}/send_join/{{room}}/{{event}}"),
    Route("send_join_v1", "PUT", f"{V1}/send_join/{{room}}/{{event}}"),
    Route("make_leave", "GET", f"{V1}/make_leave/{{room}}/{{user}}"),
    Route("send_leave", "PUT", f"{V2}/send_leave/{{room}}/{{event}}"),
    Route("send_leave_v1", "PUT", f"{V1}/send_leave/{{room}}/{{event}}"),
    Route("make_knock", "GET", f"{V1}/make_knock/{{room}}/{{user}}"),
    Route("send_knock", "PUT", f"{V1}/send_knock/{{room}}/{{event}}"),
    Route("invite", "PUT", f"{V2}/invite/{{room}}/{{event}}"),
    Route("invite_v1", "PUT", f"{V1}/invite/{{room}}/{{event}}"),
    Route("state", "GET", f"{V1}/state/{{room}}"),
    Route("state_ids", "GET", f"{V1}/state_ids/{{room}}"),
    Route("event", "GET", f"{V1}/event/{{event}}"),
    Route("event_auth", "GET", f"{V1}/event_auth/{{room}}/{{event}}"),
    Route("backfill", "GET", f"{V1}/backfill/{{room}}"),
    Route("get_missing_events", "POST", f"{V1}/get_missing_events/{{room}}"),
    Route("timestamp_to_event", "GET", f"{V1}/timestamp_to_event/{{room}}"),
    Route("hierarchy", "GET", f"{V1}/hierarchy/{{room}}"),
    Route("profile", "GET", f"{V1}/query/profile"),
    Route("directory", "GET", f"{V1}/query/directory"),
    Route("public_rooms", "GET", f"{V1}/publicRooms"),
    Route("public_rooms", "POST", f"{V1}/publicRooms"),
    Route("user_devices", "GET", f"{V1}/user/devices/{{user}}"),
    Route("keys_query", "POST", f"{V1}/user/keys/query"),
    Route("policy_sign", "POST", "/_matrix/policy/v1/sign"),
    Route("keys_claim", "POST", f"{V1}/user/keys/claim"),
]
UNSIGNED = frozenset({"server_keys", "notary", "version", ""})


class Synthetic:
    """`host` must lead to this machine; different ones make different servers for server ACLs."""

    def __init__(self, authority: Authority, host: str = "localhost", seed: int = 0) -> None:
        address = host if host.startswith("127.") else "127.0.0.1"
        self._https = HttpsServer(address, authority.issue(host), ROUTES, self._answer)
        self.port: int = self._https.server_address[1]
        self.name = f"{host}:{self.port}"
        self.key = SigningKey("a_synthetic", sha256(f"synthetic {seed}".encode()).digest())
        self.policy_key = SigningKey("policy_server", sha256(f"policy {seed}".encode()).digest())
        self.old_keys: dict[str, Json] = {}
        self.valid_until: int | None = None
        """What the keys' document says; a day from now unless given."""
        self.rooms: dict[str, SyntheticRoom] = {}
        self.aliases: dict[str, str] = {}
        self.profiles: dict[str, Json] = {}
        self.devices: dict[str, Json] = {}
        """User → what /user/devices answers."""
        self.one_time_keys: dict[str, dict[str, dict[str, Json]]] = {}
        self.asked: list[Asked] = []
        self.transactions: list[Json] = []
        self.received: dict[str, Event] = {}
        self.dropped: list[Any] = []
        """PDUs that we were sent and that no good server takes."""
        self.edus: list[Json] = []
        self.invites: dict[str, Json] = {}
        """Room ID → the request that invited a user of ours."""
        self.lock = threading.RLock()
        self._honest = Answers(self)
        self._instead: dict[str, Hook] = {}
        self._keys: dict[tuple[str, str], VerifyKey] = {}
        self._transactions = count(1)
        self._context = ssl.create_default_context(cafile=str(authority.path))
        self.http = httpx.Client(verify=self._context, timeout=60)

    def close(self) -> None:
        self._https.close()
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def hang_up(self) -> None:
        """Ends all connections to others; the next request opens a new one."""
        self.http.close()
        self.http = httpx.Client(verify=self._context, timeout=60)

    # Rooms and behaviour

    def make_room(self, version: str = "12", localpart: str | None = None, **options: Any) -> SyntheticRoom:
        localpart = localpart or f"room{len(self.rooms)}"
        room = SyntheticRoom.create(version, self.name, self.key, localpart, **options)
        self.rooms[room.room_id] = room
        self.aliases[f"#{localpart}:{self.name}"] = room.room_id
        return room

    def instead(self, operation: str, hook: Hook) -> None:
        """From now on `hook` answers this operation; `honest()` in it gives the true answer."""
        self._instead[operation] = hook

    def behave(self) -> None:
        self._instead.clear()

    @property
    def connections(self) -> int:
        return self._https.connections

    def times_asked(self, operation: str) -> int:
        return sum(each.operation == operation for each in self.asked)

    def wait_for(self, event_id: str, seconds: float = 20) -> Event:
        """An event that somebody sends us."""
        until(lambda: event_id in self.received, seconds, f"{event_id} arrives")
        return self.received[event_id]

    @property
    def policy(self) -> Json:
        """The content of an `m.room.policy` that makes this server a room's policy server."""
        return {"via": self.name, "public_keys": {"ed25519": self.policy_key.verify_key.encode()}}

    # Answering

    def _answer(self, asked: Asked) -> Reply:
        origin = ""
        if asked.operation not in UNSIGNED:
            origin = self._origin(asked)
            if not origin:
                return Answer({"errcode": "M_UNAUTHORIZED", "error": "Not signed, or wrongly"}, 401)
        asked = Asked(**{**asked.__dict__, "origin": origin})
        self.asked.append(asked)
        hook = self._instead.get(asked.operation)
        if hook is not None:
            return hook(asked, lambda: self._honest.answer(asked))
        return self._honest.answer(asked)

    def _origin(self, asked: Asked) -> str:
        given = request_signing.parse(asked.headers.get("authorization", ""))
        if given is None or given.destination not in (None, self.name):
            return ""
        content = canonical_json.encode_lax(canonical_json.decode_lax(asked.body)) if asked.body else None
        signed = request_signing.signed_bytes(asked.method, asked.uri, given.origin, self.name, content)
        try:
            key = self.key_of(given.origin, given.key_id)
        except (httpx.HTTPError, KeyError):
            return ""
        return given.origin if key.verifies(signed, given.signature) else ""

    def trust(self, server: str, key: VerifyKey) -> None:
        """Its key, without asking for it."""
        self._keys[server, key.key_id] = key

    def key_of(self, server: str, key_id: str) -> VerifyKey:
        if (server, key_id) not in self._keys:
            document = self.http.get(f"https://{server}/_matrix/key/v2/server").json()
            for each, key in document["verify_keys"].items():
                self._keys[server, each] = VerifyKey.decode(each, key["key"])
        return self._keys[server, key_id]

    def sign(self, document: Json) -> Json:
        return sign_json(document, self.name, self.key)

    # Asking

    def ask(
        self, destination: str, method: str, path: str, body: Any = None, key: SigningKey | None = None,
        **query: Any,
    ) -> httpx.Response:
        """`body` may be canonical JSON already."""
        uri = path + (f"?{urlencode(query, doseq=True, quote_via=quote)}" if query else "")
        content = body if body is None or isinstance(body, bytes) else canonical_json.encode_lax(body)
        header = request_signing.authorize(method, uri, self.name, destination, content, key or self.key)
        headers = {"Authorization": header, "Content-Type": "application/json"}
        return self.http.request(method, f"https://{destination}{uri}", content=content, headers=headers)

    def get(self, destination: str, path: str, **query: Any) -> Json:
        return good(self.ask(destination, "GET", path, **query))

    def transaction(self, pdus: Iterable[Pdu], edus: Sequence[Json] = ()) -> bytes:
        """In canonical JSON, from the events' own bytes: thousands are sent for the price of copying."""
        pieces = [
            each.json if isinstance(each, Event) else each if isinstance(each, bytes)
            else canonical_json.encode_lax(dict(each))
            for each in pdus
        ]
        return b'{"edus":%b,"origin":%b,"origin_server_ts":1700000000000,"pdus":[%b]}' % (
            canonical_json.encode_lax(list(edus)), orjson.dumps(self.name), b",".join(pieces),
        )

    def send(
        self, destination: str, pdus: Iterable[Pdu] = (), edus: Sequence[Json] = (), txn: str | None = None
    ) -> dict[str, Json]:
        """The result for each event. Fifty events and a hundred EDUs a transaction, as the rules say."""
        waiting, results, edus = list(pdus), dict[str, Json](), list(edus)
        while waiting or edus:
            some, waiting = waiting[:50], waiting[50:]
            few, edus = edus[:100], edus[100:]
            results |= good(self.put_transaction(destination, self.transaction(some, few), txn))["pdus"]
        return results

    def put_transaction(self, destination: str, body: bytes, txn: str | None = None) -> httpx.Response:
        txn = txn or f"{id(self):x}.{next(self._transactions)}"
        return self.ask(destination, "PUT", f"{V1}/send/{quote(txn, safe='')}", body)

    # Membership in other people's rooms

    def join(
        self, destination: str, room_id: str, localpart: str = "visitor", *, omit_members: bool = False
    ) -> SyntheticRoom:
        """One of our users joins a room that `destination` is in."""
        user_id = f"@{localpart}:{self.name}"
        room, join = self._member(destination, "make_join", room_id, user_id)
        path = f"{V2}/send_join/{quote(room_id, safe='')}/{quote(join.event_id, safe='')}"
        query: Json = {"omit_members": "true"} if omit_members else {}
        answer = good(self.ask(destination, "PUT", path, join.pdu, **query))
        if "event" in answer:
            join = join.with_pdu(answer["event"])
        state = [Event.parse(pdu, room.version) for pdu in answer["state"]]
        chain = [Event.parse(pdu, room.version) for pdu in answer["auth_chain"]]
        room.adopt(state, chain, join)
        self.rooms[room_id] = room
        return room

    def leave(self, destination: str, room_id: str, localpart: str = "visitor") -> Event:
        _, leave = self._member(destination, "make_leave", room_id, f"@{localpart}:{self.name}")
        path = f"{V2}/send_leave/{quote(room_id, safe='')}/{quote(leave.event_id, safe='')}"
        good(self.ask(destination, "PUT", path, leave.pdu))
        return leave

    def knock(self, destination: str, room_id: str, localpart: str = "visitor") -> Json:
        _, knock = self._member(destination, "make_knock", room_id, f"@{localpart}:{self.name}")
        path = f"{V1}/send_knock/{quote(room_id, safe='')}/{quote(knock.event_id, safe='')}"
        return good(self.ask(destination, "PUT", path, knock.pdu))

    def _member(
        self, destination: str, operation: str, room_id: str, user_id: str
    ) -> tuple[SyntheticRoom, Event]:
        """A room, empty still, and the signed event that the destination's template asks for."""
        query: Json = {} if operation == "make_leave" else {"ver": list(ROOM_VERSIONS)}
        path = f"{V1}/{operation}/{quote(room_id, safe='')}/{quote(user_id, safe='')}"
        made = good(self.ask(destination, "GET", path, **query))
        template = made["event"]
        room = SyntheticRoom(made.get("room_version", "1"), self.name, self.key)
        room.room_id = room_id
        assert (template["type"], template["sender"], template["state_key"]) == (
            "m.room.member", user_id, user_id,
        )
        pdu = {
            "type": "m.room.member", "sender": user_id, "state_key": user_id, "room_id": room_id,
            "content": template["content"], "depth": template["depth"], "origin": self.name,
            "origin_server_ts": template["origin_server_ts"],
            "prev_events": template["prev_events"], "auth_events": template["auth_events"],
        }
        if not room.version.hashed_event_ids:
            pdu["event_id"] = f"${next(self._transactions)}joined:{self.name}"
        return room, Event.parse(sign_pdu(pdu, room.version, self.name, self.key), room.version)

    def broadcast(self, room: SyntheticRoom, events: Iterable[Event]) -> None:
        """To every other server in the room."""
        events = list(events)
        for server in room.servers():
            if server != self.name:
                self.send(server, events)

    def invite(self, destination: str, room: SyntheticRoom, user_id: str) -> Event:
        """Asks the user's server to take an invite into one of our rooms."""
        event = room.make("m.room.member", {"membership": "invite"}, user_id)
        state = stripped(room, room.state)
        path = f"{V2}/invite/{quote(room.room_id, safe='')}/{quote(event.event_id, safe='')}"
        body = {"event": event.pdu, "invite_room_state": state, "room_version": room.version.id}
        signed = good(self.ask(destination, "PUT", path, body))["event"]
        assert domain_of(user_id) in signed["signatures"], signed
        return room.add(event.with_pdu(signed))


def good(response: httpx.Response) -> Json:
    assert response.status_code == 200, f"{response.request.method} {response.url}: {response.text[:2000]}"
    body: Json = response.json()
    return body


def refuse(status: int, errcode: str, error: str = "", **more: Any) -> Answer:
    return Answer({"errcode": errcode, "error": error or errcode, **more}, status)
