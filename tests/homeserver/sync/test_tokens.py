"""Tokens are what their text says, and nothing else is a token."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.errors import InvalidParam
from homeserver.sync.tokens import RoomToken, StreamToken, parse_any

numbers = st.integers(-(2**63), 2**63 - 1)


@given(numbers, numbers)
def test_tokens_survive_their_text(first: int, second: int) -> None:
    stream, room = StreamToken(first, second), RoomToken(first, second)
    if len(str(stream)) <= 44:
        assert StreamToken.parse(str(stream)) == parse_any(str(stream)) == stream
        assert RoomToken.parse(str(room)) == parse_any(str(room)) == room


@pytest.mark.parametrize(
    "text",
    [
        *("", "s", "s1", "1_2", "s1_2_3", "sx_1", "s1_", "t1_2", "s_", "s1.5_0", "s1_2\n3"),
        *("s99999999999999999999_0", "s1_99999999999999999999", "s" + "1" * 50 + "_0"),
    ],
)
def test_nonsense_is_no_stream_token(text: str) -> None:
    with pytest.raises(InvalidParam):
        StreamToken.parse(text)


@pytest.mark.parametrize("text", ["", "t", "s1_2", "t1", "x1_2", "t1_2_3"])
def test_nonsense_is_no_room_token(text: str) -> None:
    with pytest.raises(InvalidParam):
        RoomToken.parse(text)


@given(st.text(max_size=60))
def test_any_text_is_a_token_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidParam):
        parse_any(text)
