"""What the synthetic server answers while it is honest: the specification's operations over made-up rooms.

https://spec.matrix.org/v1.19/server-server-api/
"""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from homeserver.protocol import signing
from homeserver.protocol.events import Event, InvalidEvent
from homeserver.protocol.hashing import signed_bytes
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.protocol.signing import SignatureError, VerifyKey
from tests.federation.synthetic_http import Answer, Asked
from tests.federation.synthetic_room import MEMBER, SyntheticRoom

if TYPE_CHECKING:
    from tests.federation.synthetic import Synthetic

Json = dict[str, Any]
STRIPPED = (
    "m.room.create", "m.room.join_rules", "m.room.name", "m.room.avatar", "m.room.topic",
    "m.room.canonical_alias", "m.room.encryption",
)
GAP_ROUNDS = 40


class NotFound(Exception):
    pass


class Answers:
    def __init__(self, server: "Synthetic") -> None:
        self._server = server

    def answer(self, asked: Asked) -> Answer:
        handler = getattr(self, f"_{asked.operation}", None) if asked.operation else None
        if handler is None:
            return Answer({"errcode": "M_UNRECOGNIZED", "error": asked.uri}, 404)
        try:
            if asked.operation == "send":  # asks others meanwhile
                return self._send(asked)
            with self._server.lock:
                result = handler(asked)
        except (NotFound, KeyError) as error:
            return Answer({"errcode": "M_NOT_FOUND", "error": str(error)}, 404)
        return result if isinstance(result, Answer) else Answer(result)

    # Keys and queries

    def _server_keys(self, _asked: Asked) -> Json:
        server = self._server
        until = server.valid_until
        document = {
            "server_name": server.name,
            "verify_keys": {server.key.key_id: {"key": server.key.verify_key.encode()}},
            "old_verify_keys": server.old_keys,
            "valid_until_ts": int(time.time() * 1000) + 86_400_000 if until is None else until,
        }
        return server.sign(document)

    def _notary(self, asked: Asked) -> Json:
        wanted = [asked.args[0]] if asked.args else asked.json["server_keys"]
        found = []
        for name in wanted:
            if name == self._server.name:
                found.append(self._server_keys(asked))
            else:
                document = self._server.http.get(f"https://{name}/_matrix/key/v2/server").json()
                found.append(self._server.sign(document))
        return {"server_keys": found}

    def _version(self, _asked: Asked) -> Json:
        return {"server": {"name": "Synthetic", "version": "1"}}

    def _profile(self, asked: Asked) -> Json:
        profile = self._server.profiles[asked.first("user_id")]
        field = asked.first("field")
        return {field: profile[field]} if field else profile

    def _directory(self, asked: Asked) -> Json:
        return {"room_id": self._server.aliases[asked.first("room_alias")], "servers": [self._server.name]}

    def _public_rooms(self, _asked: Asked) -> Json:
        return {"chunk": [], "total_room_count_estimate": 0}

    def _user_devices(self, asked: Asked) -> Json:
        return self._server.devices.get(
            asked.args[0], {"user_id": asked.args[0], "stream_id": 1, "devices": []}
        )

    def _keys_query(self, asked: Asked) -> Json:
        devices = {
            user: {each["device_id"]: each["keys"] for each in self._server.devices[user]["devices"]}
            for user in asked.json["device_keys"]
            if user in self._server.devices
        }
        return {"device_keys": devices}

    def _keys_claim(self, asked: Asked) -> Json:
        claimed: Json = {}
        for user, devices in asked.json["one_time_keys"].items():
            for device in devices:
                keys = self._server.one_time_keys.get(user, {}).get(device, {})
                if keys:
                    key_id = next(iter(keys))
                    claimed.setdefault(user, {})[device] = {key_id: keys.pop(key_id)}
        return {"one_time_keys": claimed}

    def _policy_sign(self, asked: Asked) -> Json:
        """It recommends everything."""
        pdu = asked.json
        versions = [room.version for room in self._server.rooms.values() if room.room_id == pdu["room_id"]]
        signature = self._server.policy_key.sign(signed_bytes(pdu, versions[0]))
        return {self._server.name: {self._server.policy_key.key_id: signature}}

    def _timestamp_to_event(self, asked: Asked) -> Json:
        ts, backwards = int(asked.first("ts")), asked.first("dir") == "b"
        there = {
            each.origin_server_ts: each
            for each in self._room(asked).events.values()
            if (each.origin_server_ts <= ts if backwards else each.origin_server_ts >= ts)
        }
        if not there:
            raise NotFound("no such event")
        at = max(there) if backwards else min(there)
        return {"event_id": there[at].event_id, "origin_server_ts": at}

    # Membership

    def _make_join(self, asked: Asked) -> Any:
        room = self._room(asked)
        if room.version.id not in asked.query.get("ver", ["1"]):
            return Answer(
                {"errcode": "M_INCOMPATIBLE_ROOM_VERSION", "error": "", "room_version": room.version.id}, 400
            )
        content = {"membership": "join"}
        rules = room.events[room.state["m.room.join_rules", ""]].content
        if rules.get("join_rule") in room.version.restricted_join_rules:
            content["join_authorised_via_users_server"] = room.creator
        return self._template(room, asked.args[1], content)

    def _make_leave(self, asked: Asked) -> Any:
        return self._template(self._room(asked), asked.args[1], {"membership": "leave"})

    def _make_knock(self, asked: Asked) -> Any:
        return self._template(self._room(asked), asked.args[1], {"membership": "knock"})

    def _template(self, room: SyntheticRoom, user_id: str, content: Json) -> Json:
        event = room.make(MEMBER, content, user_id, sender=user_id, ts=int(time.time() * 1000))
        left_out = ("hashes", "signatures", "event_id")
        pdu = {name: value for name, value in event.pdu.items() if name not in left_out}
        pdu["origin"] = self._server.name
        return {"room_version": room.version.id, "event": pdu}

    def _send_join(self, asked: Asked) -> Json:
        room, join, before = self._accept(asked)
        state = room.events_of(before)
        answer: Json = {"members_omitted": False, "origin": self._server.name, "event": join.pdu}
        if asked.first("omit_members") == "true":
            servers = room.servers(before)
            named = any((kind, "") in before for kind in ("m.room.name", "m.room.canonical_alias"))
            heroes = set() if named else {*room.joined(before)[:5]}
            state = [each for each in state if each.type != MEMBER or each.state_key in heroes]
            answer |= {"members_omitted": True, "servers_in_room": servers}
        chain = room.auth_chain([join.event_id, *(each.event_id for each in state)])
        given = {each.event_id for each in state}
        if answer["members_omitted"]:
            chain = [each for each in chain if each.event_id not in given]
        return answer | {"state": _pdus(state), "auth_chain": _pdus(chain)}

    def _send_join_v1(self, asked: Asked) -> Any:
        return [200, self._send_join(asked)]

    def _send_leave(self, asked: Asked) -> Json:
        self._accept(asked)
        return {}

    def _send_leave_v1(self, asked: Asked) -> Any:
        return [200, self._send_leave(asked)]

    def _send_knock(self, asked: Asked) -> Json:
        room, _, before = self._accept(asked)
        return {"knock_room_state": stripped(room, before)}

    def _accept(self, asked: Asked) -> tuple[SyntheticRoom, Event, Any]:
        room = self._room(asked)
        event = self._verified(room, asked.json)
        before = room.state_of(event.prev_events)
        room.add(event)
        self._server.received[event.event_id] = event
        return room, event, before

    def _invite(self, asked: Asked) -> Json:
        request = asked.json
        version = ROOM_VERSIONS[request["room_version"]]
        event = Event.parse(request["event"], version)
        self._server.invites[asked.args[0]] = request
        return {"event": signing.sign_event(event, self._server.name, self._server.key).pdu}

    def _invite_v1(self, asked: Asked) -> Any:
        event = Event.parse(asked.json, ROOM_VERSIONS["1"])
        self._server.invites[asked.args[0]] = asked.json
        signed = signing.sign_event(event, self._server.name, self._server.key)
        return [200, {"event": signed.pdu}]

    # Events

    def _state(self, asked: Asked) -> Json:
        room, event = self._room(asked), asked.first("event_id")
        state = room.events_of(room.state_of(room.events[event].prev_events))
        chain = room.auth_chain([each.event_id for each in state])
        return {"pdus": _pdus(state), "auth_chain": _pdus(chain)}

    def _state_ids(self, asked: Asked) -> Json:
        room, event = self._room(asked), asked.first("event_id")
        state = list(room.state_of(room.events[event].prev_events).values())
        return {"pdu_ids": state, "auth_chain_ids": [each.event_id for each in room.auth_chain(state)]}

    def _event(self, asked: Asked) -> Json:
        for room in self._server.rooms.values():
            if asked.args[0] in room.events:
                return self._transaction([room.events[asked.args[0]]])
        raise NotFound(asked.args[0])

    def _event_auth(self, asked: Asked) -> Json:
        return {"auth_chain": _pdus(self._room(asked).auth_chain([asked.args[1]]))}

    def _backfill(self, asked: Asked) -> Json:
        limit = min(int(asked.first("limit")), 100)
        return self._transaction(self._room(asked).before(asked.query["v"], limit, including=True))

    def _get_missing_events(self, asked: Asked) -> Json:
        wanted = asked.json
        found = self._room(asked).before(
            wanted["latest_events"], min(wanted.get("limit", 10), 100), earliest=wanted["earliest_events"]
        )
        deep = [each for each in found if each.depth >= wanted.get("min_depth", 0)]
        return {"events": _pdus(reversed(deep))}

    def _transaction(self, events: Iterable[Event]) -> Json:
        return {"origin": self._server.name, "origin_server_ts": 1_700_000_000_000, "pdus": _pdus(events)}

    def _send(self, asked: Asked) -> Answer:
        transaction = asked.json
        results: dict[str, Json] = {}
        for pdu in transaction.get("pdus", []):
            try:
                event = self._take(asked.origin, pdu)
                results[event.event_id] = {}
            except (NotFound, InvalidEvent, SignatureError, KeyError) as error:
                self._server.dropped.append((pdu, repr(error)))
        with self._server.lock:
            self._server.transactions.append(transaction)
            self._server.edus += transaction.get("edus", [])
        return Answer({"pdus": results})

    def _take(self, origin: str, pdu: Json) -> Event:
        room = self._server.rooms.get(pdu["room_id"])
        if room is None:
            raise NotFound(pdu["room_id"])
        event = self._verified(room, pdu)
        gap = [event]
        for _ in range(GAP_ROUNDS):
            known = {*room.events, *room.state_after, *(each.event_id for each in gap)}
            oldest = [each for each in gap if not known.issuperset(each.prev_events)]
            if not oldest:
                break
            body = {
                "latest_events": [each.event_id for each in oldest], "limit": 50, "min_depth": 0,
                "earliest_events": room.extremities,
            }
            path = f"/_matrix/federation/v1/get_missing_events/{room.room_id}"
            answer = self._server.ask(origin, "POST", path, body).json()
            older = [self._verified(room, each) for each in answer["events"]]
            older = [each for each in older if each.event_id not in known]
            if not older:
                break
            gap = older + gap
        with self._server.lock:
            for each in sorted(gap, key=lambda one: one.depth):
                room.add(each)
                self._server.received.setdefault(each.event_id, each)
        return event

    def _verified(self, room: SyntheticRoom, pdu: Json) -> Event:
        event = Event.parse(pdu, room.version)
        own = self._server.key
        keys: dict[str, dict[str, VerifyKey]] = {self._server.name: {own.key_id: own.verify_key}}
        for server in signing.required_signers(event):
            for key_id in signing.signatures_of(event.pdu, server):
                if server != self._server.name:
                    keys.setdefault(server, {})[key_id] = self._server.key_of(server, key_id)
        if event.content.get("join_authorised_via_users_server", "").endswith(f":{self._server.name}"):
            event = signing.sign_event(event, self._server.name, own)
        return signing.check_hash_and_signatures(event, keys)

    def _room(self, asked: Asked) -> SyntheticRoom:
        room = self._server.rooms.get(asked.args[0])
        if room is None:
            raise NotFound(asked.args[0])
        return room


def stripped(room: SyntheticRoom, state: Any) -> list[Json]:
    """What strangers are shown of it: whole events in the newest version, as old servers do in others."""
    shown = [each.pdu for each in room.events_of(state) if each.type in STRIPPED]
    if room.version.room_id_is_create_id:
        return shown
    return [{name: each[name] for name in ("type", "state_key", "sender", "content")} for each in shown]


def _pdus(events: Iterable[Event]) -> list[Json]:
    return [each.pdu for each in events]
