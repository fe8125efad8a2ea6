"""Requests to any endpoint, made from JSON schemas by chance but reproducibly: mostly right, partly wrong.

What is wrong is wrong in a place or two, for a request that is wrong all over goes no deeper than the first
check. The right values are those that exist: `Known` remembers what answers said of rooms, events, tokens.

A schema is the specification's (`tests/spec/requests.json`) or that of the endpoint's own declaration.
"""

import copy
import json
import random
import re
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import msgspec

from homeserver.http.endpoint import Endpoint
from tests.faults.mutations import STRANGE
from tests.scenarios.attacks import body_fields, plain
from tests.spec.support import anonymous

Json = dict[str, Any]
Schema = dict[str, Any]

ODD: list[Any] = [
    *STRANGE, "\ud800", "a\udfff", float("nan"), float("inf"), -float("inf"), 1e400, "%00", "../../x",
    json.loads("[" * 300 + "]" * 300),
    "\u202e", "🔥" * 100, {"\0": "\0"}, {"\ud800": 1}, [None] * 100, "m.direct", "null", "-1", "1e9", "*",
]  # fmt: skip
# What a name means, if it is not the name of what is known itself.
MEANINGS = {
    "room_id": "room_id_or_alias room rooms not_rooms from_room to_room new_room",
    "event_id": "parent_id root redacts up_to_event_id m.fully_read m.read m.read.private latest_events"
    " earliest_events v",
    "user_id": "user users invite sender senders not_senders target_user_id", "alias": "room_alias",
    "token": "from to since at next_batch prev_batch start end", "device_id": "devices",
    "server_name": "via server origin", "event_type": "type types not_types",
}  # fmt: skip
ALIASES = {alias: name for name, aliases in MEANINGS.items() for alias in aliases.split()}
KEYS = ["body", "msgtype", "x", "m.relates_to", "event_id", "room_id", "user_id", "membership", "type"]
SIGILS = {"!": "room_id", "$": "event_id", "@": "user_id", "#": "alias"}
# What answers tell that requests ask for, by the name it has there …
REMEMBERED = {
    "next_batch": "token", "prev_batch": "token", "start": "token", "end": "token", "pos": "pos",
    "device_id": "device_id", "session": "session", "refresh_token": "refresh_token", "delay_id": "delay_id",
    "filter_id": "filter_id", "sequence_token": "sequence_token", "access_token": "openid_token",
}  # fmt: skip
# … and what is called alike elsewhere and means something else, by a part of the path.
FAMILIES = {
    "/room_keys/": {"version": "version"}, "/registration_tokens": {"token": "token"},
    "/event_reports": {"id": "report_id"}, "/room_reports": {"id": "report_id"},
    "/user_reports": {"id": "report_id"},
    "/dehydrated_device": {"device_id": "device_id", "next_batch": "next_batch"},
    "msc4388/rendezvous": {"id": "session_id"}, "msc4108/rendezvous": {"url": "session_id"},
    "/pushrules/": {},
    "/account_data/": {}, "/profile/": {}, "/openid/": {"access_token": "access_token"},
}  # fmt: skip
FORMATS = {
    "mx-user-id": "user_id", "mx-room-id": "room_id", "mx-event-id": "event_id", "mx-room-alias": "alias",
    "mx-server-name": "server_name",
}  # fmt: skip


class Known:
    """Values that exist, by what they are; `own` are those of the people who ask."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.own: dict[str, list[str]] = {}
        self._heard: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=100))

    def pick(self, what: str, family: str = "") -> str | None:
        if family and (found := self.pick(f"{family} {what}")):
            return found
        own, heard = self.own.get(what), self._heard.get(what)
        if own and (not heard or self.chance.random() < 0.7):
            return self.chance.choice(own)
        return self.chance.choice(heard) if heard else None

    def hear(self, path: str, answer: Any, budget: int = 500) -> None:
        """Remembers what an answer names."""
        family = family_of(path)
        called = {name: f"{family} {what}" for name, what in FAMILIES.get(family, {}).items()}
        names = {**REMEMBERED, **called}
        waiting = [("", answer)]
        while waiting and budget:
            budget -= 1
            name, value = waiting.pop()
            if isinstance(value, dict):
                waiting += value.items()
                for key in list(value)[:5]:
                    self._remember(SIGILS.get(key[:1]), key)
            elif isinstance(value, list):
                waiting += [(name, each) for each in value[:20]]
            elif isinstance(value, (str, int)):
                value = str(value).rpartition("/rendezvous/")[2]
                self._remember(names.get(name) or SIGILS.get(value[:1]), value)

    def _remember(self, what: str | None, value: str) -> None:
        if what and 0 < len(value) < 256 and value.isprintable():
            self._heard[what].append(value)


def family_of(path: str) -> str:
    return next((part for part in FAMILIES if part in path), "")


class Generator:
    def __init__(self, seed: int, contents: dict[str, Callable[[], Any]], definitions: Schema) -> None:
        self.chance = random.Random(seed)
        self.known = Known(self.chance)
        self.contents = contents
        """What makes a value for a property of this name, whatever its schema says."""
        self.definitions = definitions
        self.family = ""
        """Of the request that is being made; see `FAMILIES`."""

    def happens(self, probability: float) -> bool:
        return self.chance.random() < probability

    # A value for a schema. `name` is what it is called where it stands, which says more than its type.

    def value(self, schema: Any, name: str = "", depth: int = 0) -> Any:
        if not isinstance(schema, dict) or depth > 12:
            return self.anything(depth)
        if name in self.contents and self.happens(0.9):
            return self.contents[name]()
        schema = self.resolved(schema)
        if options := schema.get("oneOf") or schema.get("anyOf"):
            return self.value(self.chance.choice(options), name, depth)
        if "const" in schema or "enum" in schema:
            return self.chance.choice(schema.get("enum") or [schema.get("const")])
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = self.chance.choice(kind)
        match kind:
            case "object":
                return self.object(schema, depth)
            case "array":
                items = schema.get("items") or schema.get("prefixItems", [{}])[0]
                return [self.value(items, name,
                depth + 1) for _ in range(self.chance.choice([0, 1, 1, 2, 3]))]
            case "string":
                return self.text(schema, name)
            case "integer":
                return self.chance.choice([0, 1, 2, 5, 10, 50, 100, 1000, 1_700_000_000_000])
            case "number":
                return self.chance.choice([0, 0.5, 1, 1e3])
            case "boolean":
                return self.happens(0.5)
            case "null":
                return None
        return self.anything(depth)

    def resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema or "allOf" in schema:
            rest = {key: each for key, each in schema.items() if key not in ("$ref", "allOf")}
            parts = [*schema.get("allOf", ())]
            if "$ref" in schema:
                parts.append(self.definitions[schema["$ref"].rpartition("/")[2]])
            for part in parts:
                part = self.resolved(part)
                properties = {**part.get("properties", {}), **rest.get("properties", {})}
                required = [*part.get("required", ()), *rest.get("required", ())]
                rest = {**part, **rest}
                if properties:
                    rest["properties"] = properties
                if required:
                    rest["required"] = required
            schema = rest
        return schema

    def object(self, schema: Schema, depth: int) -> Json:
        required, made = set(schema.get("required", ())), Json()
        often = 0.6 if depth == 0 else 0.4 if depth < 4 else 0.15
        for name, inner in schema.get("properties", {}).items():
            if name in required or self.happens(often):
                made[name] = self.value(inner, name, depth + 1)
        others = [schema["additionalProperties"]] if schema.get("additionalProperties") else []
        others += schema.get("patternProperties", {}).values()
        for inner in others:
            for _ in range(self.chance.choice([0, 1, 1, 2])):
                made[self.key(inner)] = self.value(inner, "", depth + 1)
        return made if made or schema.get("properties") or others else self.anything(depth, only_object=True)

    def key(self, schema: Any) -> str:
        kind = FORMATS.get(schema.get("x-pattern-format", "")) if isinstance(schema, dict) else None
        kind = kind or self.chance.choice(["user_id", "device_id", "room_id", "event_type", "algorithm", "x"])
        return self.known.pick(kind) or "x"

    def text(self, schema: Schema, name: str) -> str:
        what = ALIASES.get(name, name)
        what = FORMATS.get(schema.get("format", ""), what)
        known = self.known.pick(what, self.family) if self.happens(0.9) else None
        return known if known is not None else self.chance.choice(["x", "text", "7", "", "a b", "é"])

    def anything(self, depth: int = 0, only_object: bool = False) -> Any:
        if only_object or (depth < 4 and self.happens(0.4)):
            made = Json()
            for key in self.chance.sample(KEYS, self.chance.randrange(4)):
                known = self.happens(0.7)
                made[key] = self.text({}, key) if known else self.anything(depth + 1)
            return made
        return self.odd() if self.happens(0.8) else self.chance.choice([1, 2, "text"])

    def odd(self) -> Any:
        return copy.deepcopy(self.chance.choice(ODD))

    # Wrong in a place or two

    def spoil(self, value: Any) -> Any:
        """The same with something wrong in it."""
        if not isinstance(value, dict) or self.happens(0.1):
            return self.odd()
        place: Any = value
        while inner := [each for each in _inside(place) if isinstance(each, (dict, list)) and each]:
            if self.happens(0.4):
                break
            place = self.chance.choice(inner)
        if isinstance(place, list):
            if place:
                place[self.chance.randrange(len(place))] = self.odd()
            return value
        keys = [*place, "x"]
        if self.happens(0.2) and place:
            del place[self.chance.choice(list(place))]
        elif self.happens(0.1):
            place[self.chance.choice(["", "\0", "a" * 300, "\ud800"])] = self.odd()
        else:
            place[self.chance.choice(keys)] = self.odd()
        return value

    def segment(self, name: str, schema: Any) -> str:
        """For a path: never empty, for that would be another path."""
        if self.happens(0.08):
            return self.odd_text() or "x"
        return str(self.value(schema, name)) or "x"

    def odd_text(self) -> str:
        odd = self.odd()
        text = odd if isinstance(odd, str) else json.dumps(odd)
        return text.encode(errors="replace").decode()[:3000]

    def bytes_of(self, body: Any) -> bytes:
        """With everything that JSON libraries differ about."""
        text = json.dumps(body, ensure_ascii=self.happens(0.5)).encode(errors="surrogatepass")
        if self.happens(0.02):
            cut = self.chance.randrange(len(text) + 1)
            text = text[:cut] + self.chance.choice([b"", b"\xff", b"}", b"[" * 5000])
        return text


def _inside(value: Any) -> list[Any]:
    return list(value.values() if isinstance(value, dict) else value)


class Shape:
    """What an endpoint takes, as JSON schemas: in its path, in its query, and as its body."""

    def __init__(self, endpoint: Endpoint, specified: Json) -> None:
        self.endpoint = endpoint
        self.template = endpoint.paths[0]
        mine = {f"{endpoint.method} {anonymous(path)}" for path in endpoint.paths}
        name = next((name for name in specified if anonymous(name) in mine), "")
        spec = specified.get(name)
        declared = _declared(endpoint)
        self.path: dict[str, Any] = {field: {"type": "string"} for field in endpoint.path_fields}
        if spec is not None:
            called = re.findall(r"\{(\w+)\}", name)
            self.path = {field: spec["path"][other] for field, other in zip(self.path, called, strict=True)}
        self.query = {**declared["query"], **(spec or declared)["query"]}
        self.required = set((spec or declared)["required"])
        self.bodies = [each["body"] for each in (spec, declared) if each and "body" in each]


def _declared(endpoint: Endpoint) -> Json:
    kind = endpoint.request_type
    fields = {field.name: field for field in msgspec.structs.fields(kind)} if kind else {}
    query = {each.name: _schema(each.type) for each in endpoint.query_fields}
    required = [each.name for each in endpoint.query_fields if fields[each.field].required]
    made: Json = {"query": query, "required": required}
    if endpoint.reads_body and not endpoint.raw:
        each = body_fields(endpoint)
        made["body"] = {
            "type": "object",
            "properties": {field.encode_name: _schema(field.type) for field in each},
            "required": [field.encode_name for field in each if field.required],
        }
    return made


def _schema(kind: Any) -> Schema:
    """With its definitions put where they are referred to; one that refers to itself ends in anything."""
    made = msgspec.json.schema(plain(kind))
    definitions = made.pop("$defs", {})

    def inlined(schema: Any, depth: int) -> Any:
        if isinstance(schema, list):
            return [inlined(each, depth) for each in schema]
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            return inlined(definitions[schema["$ref"].rpartition("/")[2]], depth + 1) if depth < 6 else {}
        return {key: inlined(value, depth) for key, value in schema.items()}

    resolved: Schema = inlined(made, 0)
    return resolved

