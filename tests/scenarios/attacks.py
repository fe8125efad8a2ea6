"""Wrong requests to any endpoint, made from its declaration.

An attack says what the answer must be. Two kinds: `strict` ones are wrong in a way that the declaration
alone decides (no token, broken JSON, a number where a text belongs); `wild` ones are merely unusual (a NUL,
2^64, an identifier from elsewhere), so the endpoint may take or refuse them, but must not stumble.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import quote

import msgspec
import orjson

from homeserver.http.endpoint import ADMIN, OPEN, OPTIONAL, Endpoint
from tests.harness import Client

Outcome = tuple[int, str]

MISSING_TOKEN: Outcome = (401, "M_MISSING_TOKEN")
UNKNOWN_TOKEN: Outcome = (401, "M_UNKNOWN_TOKEN")
NOT_JSON: Outcome = (400, "M_NOT_JSON")
BAD_JSON: Outcome = (400, "M_BAD_JSON")
INVALID_PARAM: Outcome = (400, "M_INVALID_PARAM")
MISSING_PARAM: Outcome = (400, "M_MISSING_PARAM")
TOO_LARGE: Outcome = (413, "M_TOO_LARGE")
# The first answer of user-interactive authentication: flows, and no error code.
INTERACTIVE: Outcome = (401, "")

# Tried in turn: the first that fits a type is its sample, those that do not fit are wrong for it.
VALUES: list[Any] = [
    "text", 7, True, {}, [], 1.5, None, {"x": "y"}, {"x": 7}, {"x": {"y": 7}},
    {"x": {"y": {"z": 7}}}, ["y"], [7], [[]],
]  # fmt: skip
QUERY_TEXTS = ["text", "7", "true", "1.5", "", "-1", "99999999999999999999"]


@dataclass
class Attack:
    name: str
    path: str
    body: bytes = b""
    token: str | None = None
    """None: that of whoever attacks. Empty: none at all."""
    expected: set[Outcome] = field(default_factory=set)
    """Empty: anything but a stumble."""


@dataclass
class Place:
    """What fills the parameters of paths: things that exist and belong to one person."""

    person: Client
    room_id: str
    event_id: str
    alias: str
    serial: int = 0

    def value(self, parameter: str) -> str:
        self.serial += 1
        known = {
            "room_id": self.room_id,
            "room_id_or_alias": self.room_id,
            "room": self.room_id,
            "user_id": self.person.user_id,
            "event_id": self.event_id,
            "parent_id": self.event_id,
            "root": self.event_id,
            "device_id": self.person.device_id,
            "room_alias": self.alias,
            "alias": self.alias,
            "event_type": "m.room.message",
            "receipt_type": "m.read",
            "key_name": "displayname",
            "field": "displayname",
            "scope": "global",
            "kind": "room",
        }
        return known.get(parameter, f"x{self.serial}")


def path_of(endpoint: Endpoint, place: Place, **other: str) -> str:
    """The endpoint's path with the place's things in it; `other` are encoded segments to put in instead."""
    values = {name: quote(place.value(name), safe="") for name in endpoint.path_fields}
    return fill(endpoint.paths[0], values | other)


def fill(path: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value)
    return path


def with_query(endpoint: Endpoint, path: str, **other: str) -> str:
    """The path with samples for those query parameters that are required, and `other` ones."""
    required = {name: sample_text(kind) for name, kind, is_required in queries(endpoint) if is_required}
    pairs = (required | other).items()
    return (
        path + "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs) if pairs else path
    )


def strict(endpoint: Endpoint, place: Place) -> Iterator[Attack]:
    """All as somebody who may otherwise use the endpoint, on things that exist."""
    path = with_query(endpoint, path_of(endpoint, place))
    body = orjson.dumps(sample_body(endpoint))
    if endpoint.auth is not OPEN:
        if endpoint.auth is not OPTIONAL:
            yield Attack("no token", path, body, "", {MISSING_TOKEN})
        for token in ("nonsense", "syt_bm9ib2R5_x_0", "%00", "a" * 5000):
            yield Attack(f"token {token[:8]}", path, body, token, {UNKNOWN_TOKEN})
    if endpoint.auth is ADMIN:
        yield Attack("not an administrator", path, body, None, {(403, "M_FORBIDDEN")})
        return
    if endpoint.reads_body and not endpoint.raw:
        yield from _bodies(endpoint, path)
    yield from _queries(endpoint, place)


def _bodies(endpoint: Endpoint, path: str) -> Iterator[Attack]:
    for name, broken in {
        "cut off": b'{"a": ',
        "no JSON": b"a=b&c=d",
        "not UTF-8": b'{"a": "\xff\xfe"}',
        "lone surrogate": b'{"a": "\\ud800"}',
        "not a number": b'{"a": NaN}',
        "two values": b"{} {}",
        "only spaces": b"  ",
        "abyss": b'{"a":' * 100_000,
    }.items():
        yield Attack(name, path, broken, None, {NOT_JSON})
    for other in (b"[]", b'"text"', b"7", b"null", b"true"):
        yield Attack(f"body {other.decode()}", path, other, None, {BAD_JSON})
    fields = body_fields(endpoint)
    if endpoint.body_required:
        yield Attack("no body", path, b"", None, {NOT_JSON})
    if any(each.required for each in fields):
        yield Attack("nothing in it", path, b"{}", None, {(400, endpoint.missing.errcode)})
    for each in fields:
        if each.required:
            rest = sample_body(endpoint)
            del rest[each.encode_name]
            yield Attack(
                f"without {each.encode_name}",
                path,
                orjson.dumps(rest),
                None,
                {(400, endpoint.missing.errcode)},
            )
        for value in VALUES:
            if not fits(value, each.type):
                wrong = sample_body(endpoint) | {each.encode_name: value}
                yield Attack(f"{each.encode_name}={value!r}", path, orjson.dumps(wrong), None, {BAD_JSON})


def _queries(endpoint: Endpoint, place: Place) -> Iterator[Attack]:
    body = orjson.dumps(sample_body(endpoint)) if endpoint.reads_body else b""
    path = path_of(endpoint, place)
    for name, kind, required in queries(endpoint):
        if required:
            others = [other for other in queries(endpoint) if other[2] and other[0] != name]
            rest = "&".join(f"{other}={sample_text(kind)}" for other, kind, _ in others)
            yield Attack(f"without ?{name}", f"{path}?{rest}", body, None, {MISSING_PARAM})
        for text in QUERY_TEXTS:
            if not fits_query(text, kind):
                wrong = with_query(endpoint, path, **{name: text})
                yield Attack(f"?{name}={text}", wrong, body, None, {INVALID_PARAM})


NASTY_SEGMENTS = {
    "NUL": "%00",
    "not UTF-8": "%FF%FE",
    "surrogate": "%ED%A0%80",
    "broken escape": "%zz",
    "slashes": "..%2F..%2Fetc",
    "long": "a" * 2000,
    "room ID": "!nowhere:elsewhere.example",
    "user ID": "@nobody:elsewhere.example",
    "event ID": "$nothing",
    "alias": "%23nowhere:elsewhere.example",
    "emoji": "%F0%9F%94%A5",
    "negative": "-1",
    "huge": str(2**64),
}
NASTY_VALUES: list[Any] = [
    "", "\0", "x\0y", "\u202e", "a" * 70_000, "!nowhere:elsewhere.example", "@nobody:elsewhere.example", "@:",
    "#", "$", -1, 0, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 1e308, 1.5, None, True, [], [""], ["\0"],
    ["x"] * 1000, {}, {"": ""}, {"\0": "\0"}, {"@nobody:elsewhere.example": {"*": {"\0": "\0"}}},
]  # fmt: skip
NASTY_QUERIES = [
    *QUERY_TEXTS,
    "\0",
    "{",
    "{}",
    "[]",
    "s",
    "t1-2_3",
    "a" * 3000,
    "🔥",
    str(2**63),
    "-99999999999",
]


def wild(endpoint: Endpoint, place: Place) -> Iterator[Attack]:
    """All as somebody on his own things, so that requests get past the first checks."""
    body = orjson.dumps(sample_body(endpoint)) if endpoint.reads_body else b""
    for name in endpoint.path_fields:
        for what, segment in NASTY_SEGMENTS.items():
            path = with_query(endpoint, path_of(endpoint, place, **{name: segment}))
            yield Attack(f"{{{name}}} {what}", path, body)
    for name, _, _ in queries(endpoint):
        for text in NASTY_QUERIES if name != "timeout" else QUERY_TEXTS[:-1]:  # we won't wait for that long
            yield Attack(
                f"?{name}={text[:20]}", with_query(endpoint, path_of(endpoint, place), **{name: text}), body
            )
    if endpoint.raw or not endpoint.reads_body:
        return
    for wrong in _nasty_bodies(endpoint):
        yield Attack(f"body {wrong[:60]!r}", with_query(endpoint, path_of(endpoint, place)), wrong)


def _nasty_bodies(endpoint: Endpoint) -> Iterator[bytes]:
    for each in body_fields(endpoint):
        for value in NASTY_VALUES:
            if fits(value, each.type):
                yield orjson.dumps(sample_body(endpoint) | {each.encode_name: value})
    yield b'{"x":' * 900 + b"1" + b"}" * 900
    if endpoint.body_field is not None:
        for value in NASTY_VALUES:
            for key in ("x", "body", "membership", "displayname", "users", "alias", "m.relates_to", "\0"):
                yield orjson.dumps({key: value})


def foreign(endpoint: Endpoint, own: Place, other: Place) -> Iterator[tuple[str, Attack]]:
    """For each path parameter that names a thing: one's own things, but in this place somebody else's."""
    body = orjson.dumps(sample_body(endpoint)) if endpoint.reads_body else b""
    for name in endpoint.path_fields:
        theirs = other.value(name)
        if theirs == own.value(name) or theirs.startswith("x"):
            continue
        path = with_query(endpoint, path_of(endpoint, own, **{name: quote(theirs, safe="")}))
        yield name, Attack(f"somebody else's {name}", path, body)


# Types


def body_fields(endpoint: Endpoint) -> list[Any]:
    """The fields that the body must or may have; none if the whole body is free-form."""
    if endpoint.request_type is None or not endpoint.reads_body or endpoint.body_field is not None:
        return []
    elsewhere = {*endpoint.path_fields, *(query.field for query in endpoint.query_fields)}
    return [each for each in msgspec.structs.fields(endpoint.request_type) if each.name not in elsewhere]


def queries(endpoint: Endpoint) -> list[tuple[str, Any, bool]]:
    """Name on the wire, type, whether it is required."""
    if endpoint.request_type is None:
        return []
    fields = {each.name: each for each in msgspec.structs.fields(endpoint.request_type)}
    return [(query.name, query.type, fields[query.field].required) for query in endpoint.query_fields]


def sample_body(endpoint: Endpoint) -> dict[str, Any]:
    return {each.encode_name: sample(each.type) for each in body_fields(endpoint) if each.required}


def sample(kind: Any) -> Any:
    for value in VALUES:
        if value is not None and fits(value, kind):
            return value
    kind = plain(kind)
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {each.encode_name: sample(each.type) for each in msgspec.structs.fields(kind) if each.required}
    return next(sample(option) for option in get_args(kind) if option is not type(None))


def sample_text(kind: Any) -> str:
    return next((text for text in QUERY_TEXTS if fits_query(text, kind)), "") or str(sample(kind))


def fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, plain(kind))
    except msgspec.ValidationError:
        return False
    return True


def fits_query(text: str, kind: Any) -> bool:
    for value in (text, [text]):
        try:
            msgspec.convert(value, plain(kind), strict=False)
        except msgspec.ValidationError:
            continue
        return True
    return False


def plain(kind: Any) -> Any:
    """Without our own marks, which msgspec does not know."""
    if get_origin(kind) is Annotated:
        inner, *marks = get_args(kind)
        known = [mark for mark in marks if isinstance(mark, msgspec.Meta)]
        return Annotated[inner, *known] if known else inner
    return kind


def names(endpoints: Iterable[Endpoint]) -> list[str]:
    return [
        f"{endpoint.method} {endpoint.paths[0].removeprefix('/_matrix/client')}" for endpoint in endpoints
    ]
