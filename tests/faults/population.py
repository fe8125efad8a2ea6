"""Who sends generated requests, the rooms they have, and bodies that only real keys and real events can make.

A population lasts some thousand requests: by then its rooms are upgraded, its people banned or locked, and a
new one goes deeper. Who may be logged out, deactivated or locked is the victim, replaced again and again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.faults.generator import Generator, Json
from tests.faults.hostile import Scene
from tests.faults.mutations import TYPES, Mutator
from tests.harness import PASSWORD, Client, ok, room_path
from tests.homeserver.devices.people import Device, Identity
from tests.scenarios.visibility_oracle import SETTINGS

VERSIONS = ["1", "3", "6", "9", "10", "11", "12"]
# Of endpoints that end a session, a device or an account; whoever asks may be gone afterwards.
DESTRUCTIVE = ("/logout", "/deactivate", "/delete_devices", "/devices/", "/account/password", "/login")
ADMINISTRATIVE = ("/admin/", "/_synapse/admin/")
EVENT_TYPES = [*TYPES, "m.room.encrypted", "m.space.parent", "m.call.invite", "m.room.pinned_events"]
# What there always is, by the name that requests give it.
WORDS = {
    "event_type": EVENT_TYPES, "rel_type": ["m.thread", "m.replace", "m.annotation", "m.reference"],
    "algorithm": ["signed_curve25519", "m.megolm_backup.v1.curve25519-aes-sha2"],
    "receipt_type": ["m.read", "m.read.private", "m.fully_read"], "field": ["displayname"],
    "key_name": ["displayname", "avatar_url", "m.tz", "org.example.x"], "scope": ["global"],
    "kind": ["override", "underride", "sender", "room", "content"], "tag": ["m.favourite", "u.x"],
    "/pushrules/ rule_id": ["mine", ".m.rule.master"], "dir": ["b", "f"], "conn_id": ["a", "b"],
    "room_version": VERSIONS, "new_version": VERSIONS, "ver": VERSIONS, "txn_id": ["t1", "t2", "t3"],
    "membership": ["join", "invite", "leave", "ban", "knock"], "action": ["cancel", "restart", "send"],
    "preset": ["private_chat", "public_chat", "trusted_private_chat"], "visibility": ["public", "private"],
    "/account_data/ event_type": ["m.direct", "org.example.x", "m.ignored_user_list"], "updated": ["1", "2"],
    "set_presence": ["online", "unavailable"], "presence": ["online", "offline"], "session_id": ["s1", "s2"],
    "search_term": ["needle", "related", "vict"], "filter": ['{"room":{"timeline":{"limit":3}}}', "0", "1"],
    "stage": ["m.login.dummy", "m.login.recaptcha"],
}  # fmt: skip


@dataclass
class Person:
    client: Client
    device: Device
    identity: Identity

    @classmethod
    def of(cls, client: Client) -> "Person":
        return cls(client, Device(client.user_id, client.device_id), Identity(client.user_id))


class Population:
    def __init__(self, scene: Scene, generator: Generator) -> None:
        self.scene, self.generator, self.chance = scene, generator, generator.chance
        self.mutator = Mutator(scene.remote, self.chance.randbytes(8))
        hearth = scene.hearth
        self.people = [Person.of(hearth.register(name)) for name in ("alice", "bob", "carol")]
        self.admin = Person.of(hearth.register_admin())
        self.guest = hearth.client()
        self.guest.adopt(ok(self.guest.post("/register", {}, kind="guest")))
        gone = hearth.login(self.people[0].client.user_id)
        ok(gone.post("/logout"))
        self.dead_tokens = [gone.access_token, "nonsense", "syt_YQ_x_0", "é", "a" * 3000, ""]
        self.asking = self.victim = self.new_victim()
        """Who sends the request that is being made."""
        self.rooms: list[str] = []
        self.events: dict[str, str] = {}
        """By their room; only the last of each."""
        self.aliases: list[str] = []
        for number in range(4):
            self.add_room(number)
        self.visited = scene.remote.join(scene.name, self.rooms[0])
        generator.contents = self.contents()
        self.tell()

    def new_victim(self) -> Person:
        self.victim = Person.of(self.scene.hearth.register("victim"))
        return self.victim

    def add_room(self, number: int) -> None:
        alice, bob, carol = (each.client for each in self.people)
        alias = f"room{self.chance.getrandbits(40):x}"
        options: Json = {
            "preset": "public_chat", "room_alias_name": alias, "visibility": "public",
            "room_version": "12" if number == 0 else self.chance.choice(VERSIONS),
            "creation_content": {"type": "m.space"} if number == 1 else {},
            "initial_state": [{"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}],
        }  # fmt: skip
        room_id = alice.create_room(**options)
        self.rooms.append(room_id)
        self.aliases.append(f"#{alias}:{self.scene.name}")
        for each in (bob, self.guest):
            each.join(room_id)
        alice.invite(room_id, carol.user_id)
        root = bob.send(room_id, "needle in a thread")
        for relation in ("m.thread", "m.reference", "m.annotation", "m.replace"):
            related: Json = {"rel_type": relation, "event_id": root, "key": "👍"}
            content: Json = {"msgtype": "m.text", "body": "related", "m.relates_to": related}
            if relation == "m.replace":
                content["m.new_content"] = {"msgtype": "m.text", "body": "needle anew"}
            kind = "m.reaction" if relation == "m.annotation" else "m.room.message"
            bob.send(room_id, content, kind)
        self.events[room_id] = root
        alice.send_state(self.rooms[min(1, number)], "m.space.child", {"via": [self.scene.name]}, room_id)
        bob.put(f"{room_path(room_id)}/redact/{quote(bob.send(room_id, 'regretted'), safe='')}/r{number}")

    def tell(self) -> None:
        """The generator learns who and what exists."""
        clients = [each.client for each in [*self.people, self.admin, self.victim]]
        visitors = [f"@visitor:{self.scene.remote.name}", f"@nobody:{self.scene.remote.name}"]
        self.generator.known.own = WORDS | {
            "user_id": [each.user_id for each in clients] + visitors,
            "device_id": [each.device_id for each in clients],
            "room_id": [*self.rooms * 3, *list(self.scene.remote.rooms)[-2:], "!nowhere:elsewhere.example"],
            "event_id": [*self.events.values(), *list(self.visited.events)[-5:], "$nothing"],
            "alias": [*self.aliases, *list(self.scene.remote.aliases)[-3:], "#nowhere:elsewhere.example"],
            "server_name": [self.scene.name, self.scene.remote.name, "elsewhere.example"],
            "state_key": ["", clients[0].user_id, self.rooms[0]],
            "thread_id": ["main", *self.events.values()],
            "token": [each.client.sync(since=None)["next_batch"] for each in self.people],
        }  # fmt: skip

    # Who asks

    def asker(self, path: str) -> tuple[Person | None, str]:
        """Somebody, and the token to send, which may be anybody's or nobody's."""
        luck = self.chance.random()
        if luck < 0.06:
            return None, self.chance.choice(self.dead_tokens)
        if luck < 0.12:
            return None, self.guest.access_token
        if any(part in path for part in ADMINISTRATIVE) and luck < 0.9:
            return self.admin, self.admin.client.access_token
        if any(part in path for part in DESTRUCTIVE):
            return self.victim, self.victim.client.access_token
        person = self.chance.choice([self.people[0], *self.people])  # alice has made the rooms
        return person, person.client.access_token

    def heal(self) -> None:
        """Those who were locked out are replaced."""
        for number, person in enumerate(self.people):
            if person.client.get("/account/whoami").status_code != 200:
                client = self.scene.hearth.register(f"again{number}")
                self.people[number] = Person.of(client)
                for room_id in self.rooms:
                    client.post(f"/join/{quote(room_id, safe='')}")
        if self.admin.client.get("/account/whoami").status_code != 200:
            self.admin = Person.of(self.scene.hearth.register_admin())
        if self.guest.get("/account/whoami").status_code != 200:
            self.guest.adopt(ok(self.guest.post("/register", {}, kind="guest")))
        self.tell()

    # What they say

    def contents(self) -> dict[str, Callable[[], Any]]:
        chance, known = self.chance, self.generator.known
        return {
            "auth": lambda: {
                "type": chance.choice(["m.login.password", "m.login.password", "m.login.dummy"]),
                "identifier": {"type": "m.id.user", "user": self.asking.client.user_id},
                "password": PASSWORD, **({"session": known.pick("session")} if chance.random() < 0.2 else {}),
            },
            "password": lambda: PASSWORD, "new_password": lambda: PASSWORD,
            "identifier": lambda: {"type": "m.id.user", "user": known.pick("user_id")},
            "timeout": lambda: chance.choice([0, 0, 1, 20]), "timeout_ms": lambda: chance.choice([0, 20]),
            "username": lambda: f"made{chance.getrandbits(40):x}",
            "limit": lambda: chance.choice([0, 1, 2, 5, 100, 10**6]),
            "ranges": lambda: [[0, chance.choice([0, 5, 99])]],
            "required_state": lambda: [
                [chance.choice([*EVENT_TYPES, "*"]), chance.choice(["", "*", "$ME", "$LAZY"])]
            ],
            "power_level_content_override": lambda: self.event("m.room.power_levels"),
            "key": lambda: chance.choice(["👍", "content.body"]),
            "delay": lambda: chance.choice([1, 50, 60_000]),
            "org.matrix.msc4140.delay": lambda: chance.choice([1, 5000]),
        }  # fmt: skip

    def body(self, path: str, values: dict[str, str]) -> Any:
        """What a schema cannot say; None where it can."""
        chance, pick, device = self.chance, self.generator.known.pick, self.asking.device
        if path.endswith("/keys/upload"):
            one_time = {f"signed_curve25519:{chance.randrange(99)}": device.keys() | {"key": "x"}}
            return {"device_keys": device.keys(), "one_time_keys": one_time, "fallback_keys": one_time}
        if path.endswith("/dehydrated_device"):
            dry = Device(device.user_id, f"DRY{chance.randrange(5)}")
            data = {"algorithm": "org.matrix.msc3814.v2", "device_pickle": "x"}
            return {"device_id": dry.device_id, "device_data": data, "device_keys": dry.keys()}
        if path.endswith("/device_signing/upload"):
            keys = {f"{usage}_key": key for usage, key in self.asking.identity.keys().items()}
            return {**keys, "auth": self.contents()["auth"]()}
        if path.endswith("/login"):
            device_id = chance.choice(["A", "B"])
            return {**self.contents()["auth"](), "refresh_token": True, "device_id": device_id}
        if path.endswith(("/invite", "/kick", "/ban", "/unban")):
            return {"user_id": pick("user_id"), "reason": "because"}
        if "key_name" in values:
            return {values["key_name"]: chance.choice(["x", "mxc://localhost/x"])}
        if "/delayed_event/" in path:
            return {"delay_ms": chance.choice([1, 5000]), "content": self.event(values["event_type"])}
        if "event_type" in values and "/rooms/" in path and "account_data" not in path:
            return self.event(values["event_type"])
        if path.startswith("/_matrix/federation/"):
            return self.from_afar(path, values)
        return None

    def event(self, kind: str) -> Json:
        chance, pick = self.chance, self.generator.known.pick
        user = pick("user_id") or ""
        relation = {"rel_type": pick("rel_type"), "event_id": pick("event_id"), "key": "👍"}
        contents: dict[str, Json] = {
            "m.room.member": {"membership": pick("membership"), "displayname": "X", "reason": "y"},
            "m.room.power_levels": {
                "users": {each.client.user_id: 100 for each in self.people} | {user: 50},
                "users_default": chance.choice([0, 100]),
                "events": {pick("event_type"): 50}, "ban": 50, "notifications": {"room": 20},
            },
            "m.room.join_rules": {
                "join_rule": chance.choice(["public", "invite", "knock", "restricted", "knock_restricted"]),
                "allow": [{"type": "m.room_membership", "room_id": pick("room_id")}],
            },
            "m.room.history_visibility": {"history_visibility": chance.choice(SETTINGS)},
            "m.room.canonical_alias": {"alias": pick("alias"), "alt_aliases": [pick("alias")]},
            "m.room.server_acl": {"allow": ["*"], "deny": ["*.evil.example"], "allow_ip_literals": True},
            "m.room.redaction": {"redacts": pick("event_id")},
            "m.space.child": {"via": [self.scene.name], "order": "a", "suggested": True},
            "m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2"},
            "m.room.tombstone": {"body": "x", "replacement_room": pick("room_id")},
            "m.room.guest_access": {"guest_access": "can_join"},
            "m.room.third_party_invite": {
                "display_name": "x", "key_validity_url": "https://x/y", "public_key": "a",
            },
            "m.reaction": {"m.relates_to": relation},
        }  # fmt: skip
        text = {
            "msgtype": "m.text", "body": "needle", "m.mentions": {"user_ids": [user], "room": True},
            "m.relates_to": chance.choice([relation, {"m.in_reply_to": {"event_id": pick("event_id")}}]),
            "m.new_content": {"msgtype": "m.text", "body": "other"},
        }  # fmt: skip
        return contents.get(kind, text)

    def from_afar(self, path: str, values: dict[str, str]) -> Any:
        """Events that the remote signed, whether the rules allow them or not."""
        remote, room = self.scene.remote, self.visited
        guest = f"guest{self.chance.randrange(50)}"
        user = f"@{self.chance.choice(['visitor', guest])}:{remote.name}"
        verbs = {"send_join": "join", "send_leave": "leave", "send_knock": "knock"}
        for part, membership in verbs.items():
            if f"/{part}/" in path:
                event = room.make("m.room.member", {"membership": membership}, user, sender=user)
                values |= {"room_id": room.room_id, "event_id": event.event_id}
                return event.pdu
        if "/invite/" in path:
            theirs = remote.rooms[self.chance.choice(list(remote.rooms))]
            invited = self.generator.known.pick("user_id") or user
            event = theirs.make("m.room.member", {"membership": "invite"}, invited, sender=theirs.creator)
            values |= {"room_id": theirs.room_id, "event_id": event.event_id}
            return {"event": event.pdu, "room_version": theirs.version.id, "invite_room_state": []}
        if "/send/" in path:
            pdus = [self.mutator.mutate(room, self.mutator.valid(room, [user])) for _ in range(2)]
            return {"origin": remote.name, "origin_server_ts": 1, "pdus": pdus, "edus": [self.edu(user)]}
        return None

    def edu(self, user: str) -> Json:
        pick, chance = self.generator.known.pick, self.chance
        read = {"data": {"ts": 1, "thread_id": "main"}, "event_ids": [pick("event_id")]}
        local, room_id = pick("user_id") or "", self.visited.room_id
        contents: dict[str, Any] = {
            "m.typing": {"room_id": room_id, "user_id": user, "typing": True},
            "m.receipt": {room_id: {"m.read": {user: read}}},
            "m.presence": {"push": [{"user_id": user, "presence": "online", "last_active_ago": 5}]},
            "m.device_list_update": {
                "user_id": user, "device_id": "D", "stream_id": chance.randrange(9), "prev_id": [1],
            },
            "m.signing_key_update": {"user_id": user, "master_key": self.asking.identity.key("master")},
            "m.direct_to_device": {
                "sender": user, "type": "m.x", "message_id": f"m{chance.randrange(9)}",
                "messages": {local: {"*": {"x": 1}}},
            },
        }  # fmt: skip
        kind = chance.choice(list(contents))
        return {"edu_type": kind, "content": contents[kind]}
