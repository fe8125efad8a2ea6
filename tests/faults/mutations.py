"""Valid events turned into almost valid ones, as the bytes decide that it is given.

A mutant is signed again or not: what is badly signed is dropped early, what is well signed and wrong goes all
the way through the rules.
"""

import copy
import random
from collections.abc import Callable
from typing import Any

from homeserver.protocol.canonical_json import NotCanonical
from homeserver.protocol.events import Event, InvalidEvent
from tests.federation.synthetic import Synthetic
from tests.federation.synthetic_room import SyntheticRoom, sign_pdu

Json = dict[str, Any]

STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**40, 0.5,
    -0.0, 1e308, "", "0", "100", "\0", "a\0b", "x" * 256, "é" * 200, "\ud7ff", "\U0010ffff", "x" * 70_000, [],
    {},
    [[]], [{}], [None], {"": None}, {"a": {"b": {"c": []}}}, ["$x"], [["$x", {}]], "$", "!", "@", "#", ":",
    "@a:b", "$a:b", "!a:b", "@:", "@é:b", "@a:b:99999", "@A B:c", "join", "leave", "ban", "invite", "knock",
    "m.room.member", "m.room.create", "m.room.power_levels", "public", "restricted",
]
TYPES = [
    "m.room.create", "m.room.member", "m.room.power_levels", "m.room.join_rules", "m.room.redaction",
    "m.room.message", "m.room.topic", "m.room.name", "m.room.aliases", "m.room.canonical_alias",
    "m.room.third_party_invite", "m.room.history_visibility", "m.room.guest_access", "m.room.server_acl",
    "m.room.encryption", "m.room.tombstone", "m.space.child", "m.reaction", "org.example.odd",
]
MEMBERSHIPS = ["join", "leave", "ban", "invite", "knock", "dance", None, 5]


class Tape(random.Random):
    """Chance that takes its decisions from these bytes, as long as there are any left."""

    def __init__(self, tape: bytes) -> None:
        super().__init__(tape)
        self._pieces = iter([tape[at : at + 8] for at in range(0, len(tape), 8)])

    def random(self) -> float:
        piece = next(self._pieces, None)
        return super().random() if piece is None else (int.from_bytes(piece) >> 11) / 2**53


class Mutator:
    def __init__(self, remote: Synthetic, tape: bytes) -> None:
        self.remote = remote
        self.chance = Tape(tape)
        self.mutations: list[Callable[[SyntheticRoom, Json], None]] = [
            self.replace, self.replace_deep, self.delete, self.swap, self.swap, self.reference,
            self.reference, self.retype, self.hash, self.signature,
        ]

    def valid(self, room: SyntheticRoom, people: list[str]) -> Event:
        """An event that the rules may or may not allow; the room takes it only if it is tame."""
        chance = self.chance
        sender = chance.choice([room.creator, *people])
        kind = chance.choice(TYPES[1:])
        content: Json = {"msgtype": "m.text", "body": f"text {chance.random()}"}
        state_key = None if kind in ("m.room.message", "m.reaction", "m.room.redaction") else ""
        redacts = None
        if kind == "m.room.member":
            state_key = chance.choice([sender, *people])
            content = {"membership": chance.choice(MEMBERSHIPS[:5])}
        elif kind == "m.room.power_levels":
            content = {"users": {room.creator: 100, chance.choice(people): chance.choice([0, 50, 100])}}
        elif kind == "m.room.join_rules":
            content = {"join_rule": chance.choice(["public", "invite", "knock", "restricted"])}
        elif kind == "m.room.redaction":
            redacts = chance.choice(list(room.events))
        return room.make(kind, content, state_key, sender=sender, redacts=redacts)

    def mutate(self, room: SyntheticRoom, event: Event) -> Json:
        pdu = copy.deepcopy(event.pdu)
        for _ in range(self.chance.choice([1, 1, 1, 2, 3])):
            self.chance.choice(self.mutations)(room, pdu)
        if self.chance.random() < 0.7:
            try:
                kept = pdu.get("hashes")
                unsigned = {**pdu, "signatures": {}}
                pdu = sign_pdu(unsigned, room.version, self.remote.name, self.remote.key)
                if self.chance.random() < 0.1 and kept is not None:
                    pdu["hashes"] = kept
            except (NotCanonical, InvalidEvent, TypeError, KeyError, AttributeError, RecursionError):
                pass  # cannot be signed: goes as it is
        return pdu

    def value(self) -> Any:
        return copy.deepcopy(self.chance.choice(STRANGE))

    # Each changes one thing of the PDU it is given.

    def replace(self, room: SyntheticRoom, pdu: Json) -> None:
        pdu[self.chance.choice([*pdu, "unsigned", "origin", "redacts", "state_key", "age"])] = self.value()

    def replace_deep(self, room: SyntheticRoom, pdu: Json) -> None:
        place: Any = pdu
        for _ in range(self.chance.randrange(1, 5)):
            inner = [each for each in (place.values() if isinstance(place, dict) else place)
                     if isinstance(each, (dict, list)) and each]
            if not inner:
                break
            place = self.chance.choice(inner)
        if isinstance(place, dict):
            place[self.chance.choice([*place, "x"])] = self.value()
        else:
            place[self.chance.randrange(len(place))] = self.value()

    def delete(self, room: SyntheticRoom, pdu: Json) -> None:
        if pdu:
            del pdu[self.chance.choice(list(pdu))]

    def swap(self, room: SyntheticRoom, pdu: Json) -> None:
        """A value that would be right elsewhere."""
        others = [*self.remote.rooms.values()]
        other = self.chance.choice(others)
        field = self.chance.choice(["room_id", "sender", "state_key", "content", "origin_server_ts", "depth"])
        event = other.events[self.chance.choice(list(other.events))]
        if field in event.pdu:
            pdu[field] = copy.deepcopy(event.pdu[field])

    def reference(self, room: SyntheticRoom, pdu: Json) -> None:
        """Predecessors or authorities that are unknown, foreign, doubled, too many, or none."""
        field = self.chance.choice(["prev_events", "auth_events"])
        known = list(room.events)
        unknown = f"${self.chance.randrange(2**50):043x}"
        foreign = self.chance.choice(list(self.chance.choice(list(self.remote.rooms.values())).events))
        some, many = (self.chance.sample(known, min(len(known), count)) for count in (3, 25))
        choices: list[list[Any]] = [
            [], [unknown], [foreign], some, many, [known[0]] * 2, [known[-1], unknown], known[:10],
            [pdu.get("event_id")],
        ]
        ids = self.chance.choice(choices)
        pdu[field] = ids if room.version.hashed_event_ids else [[each, {}] for each in ids]

    def retype(self, room: SyntheticRoom, pdu: Json) -> None:
        pdu["type"] = self.chance.choice(TYPES)
        if self.chance.random() < 0.5:
            pdu["state_key"] = self.chance.choice(["", pdu.get("sender"), "x"])
        if self.chance.random() < 0.5 and isinstance(pdu.get("content"), dict):
            pdu["content"]["membership"] = self.chance.choice(MEMBERSHIPS)

    def hash(self, room: SyntheticRoom, pdu: Json) -> None:
        pdu["hashes"] = self.chance.choice([{}, {"sha256": self.value()}, {"sha256": "AAAA"}, self.value()])

    def signature(self, room: SyntheticRoom, pdu: Json) -> None:
        name, key = self.remote.name, self.remote.key.key_id
        pdu["signatures"] = self.chance.choice([
            {}, {name: {}}, {name: {key: self.value()}}, {name: self.value()}, self.value(),
            {f"other{n}.example": {"ed25519:x": "AAAA"} for n in range(5)},
        ])
