import json
from typing import Any

import canonicaljson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol import canonical_json
from homeserver.protocol.canonical_json import NotCanonical

MAX = 2**53 - 1


def values(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    text = st.text(max_size=12)
    return st.recursive(
        st.none() | st.booleans() | text | leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=5),
        max_leaves=20,
    )


STRICT = values(st.integers(-MAX, MAX))
LAX = values(st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False))


@given(STRICT)
def test_encode_agrees_with_canonicaljson(value: Any) -> None:
    canonical_json.validate_strict(value)
    assert canonical_json.encode(value) == canonicaljson.encode_canonical_json(value)
    assert canonical_json.encode_lax(value) == canonicaljson.encode_canonical_json(value)


@given(LAX)
def test_lax_agrees_with_canonicaljson_and_survives_a_round_trip(value: Any) -> None:
    encoded = canonical_json.encode_lax(value)
    assert encoded == canonicaljson.encode_canonical_json(value)
    assert canonical_json.encode_lax(canonical_json.decode_lax(encoded)) == encoded


@given(LAX)
def test_decode_lax_is_json(value: Any) -> None:
    text = json.dumps(value).encode()
    assert canonical_json.decode_lax(text) == json.loads(text)


SPECIFICATION = [
    ("{}", "{}"),
    ('{"one": 1, "two": "Two"}', '{"one":1,"two":"Two"}'),
    ('{"b": "2", "a": "1"}', '{"a":"1","b":"2"}'),
    ('{"a": "日本語"}', '{"a":"日本語"}'),
    ('{"本": 2, "日": 1}', '{"日":1,"本":2}'),
    ('{"a": "\\u65E5"}', '{"a":"日"}'),
    ('{"a": null}', '{"a":null}'),
    ('{"a": -0}', '{"a":0}'),
    (
        '{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {"display_name": "John Doe",'
        '"three_pids": [{"medium": "email", "address": "john.doe@example.org"},'
        '{"medium": "msisdn", "address": "123456789"}]}}}',
        '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":'
        '[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},'
        '"success":true}}',
    ),
]


@pytest.mark.parametrize(("text", "expected"), SPECIFICATION)
def test_the_specifications_examples(text: str, expected: str) -> None:
    assert canonical_json.encode(canonical_json.decode_lax(text.encode())) == expected.encode()


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1.0},
        {"a": [{"b": 1e10}]},
        {"a": MAX + 1},
        {"a": -MAX - 1},
        {"a": (1, 2)},
        {"a": b"x"},
        {"a": {1, 2}},
        1.5,
    ],
)
def test_strict_refuses(value: Any) -> None:
    with pytest.raises(NotCanonical):
        canonical_json.validate_strict(value)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_nesting_is_bounded() -> None:
    canonical_json.validate_strict(nested(canonical_json.MAX_NESTING))
    canonical_json.validate_lax(nested(canonical_json.MAX_NESTING))
    for too_deep in (canonical_json.MAX_NESTING + 1, 100_000):
        with pytest.raises(NotCanonical):
            canonical_json.validate_strict(nested(too_deep))
        with pytest.raises(NotCanonical):
            canonical_json.validate_lax(nested(too_deep))


@pytest.mark.parametrize("value", [{"a": "\ud800"}, {"\ud800": 1}, {1: 2}, {"a": object()}])
def test_what_is_no_json_has_no_encoding(value: Any) -> None:
    with pytest.raises(NotCanonical):
        canonical_json.encode(value)
    with pytest.raises(NotCanonical):
        canonical_json.encode_lax({**value, "float": 1.5})


@pytest.mark.parametrize("text", [b"NaN", b"[1.5, Infinity]", b"[12345678901234567890, -Infinity]", b"{"])
def test_decode_lax_refuses_what_is_no_json(text: bytes) -> None:
    with pytest.raises(ValueError):
        canonical_json.decode_lax(text)
