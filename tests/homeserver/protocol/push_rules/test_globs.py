import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.push_rules.globs import needed_word, tokens, whole, words

_ALPHABET = "abA_ .-*?é\n"


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("lunc?*", "Lunch plans", True),
        ("lunc?*", "LUNCH", True),
        ("lunc?*", " lunch", False),
        ("lunc?*", "lunc", False),
        ("m.notice", "mxnotice", False),
        ("*", "", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("*:evil.example", "@a:EVIL.example", True),
        ("", "", True),
        ("", "x", False),
        ("a*", "a\nb", True),
        ("a?b", "a\nb", True),
        ("a*a", "a", False),
        ("\\?", "\\x", True),
    ],
)
def test_whole(pattern: str, text: str, matches: bool) -> None:
    assert whole(pattern)(text) is matches


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("ex*ple", "An example event.", True),
        ("ex*ple", "exple", True),
        ("ex*ple", "An exciting triple-whammy", True),
        ("cake", "Cake!", True),
        ("cake", "cakes", False),
        ("cake", "pan_cake", False),
        ("cake", "piece-of-cake-please", True),
        ("c++", "I like C++ a lot", True),
        ("foo bar", "(Foo Bar)", True),
        ("*cake", "pancake", True),
        ("cake*", "pancake", False),
        ("c?ke", "a coke", True),
        ("c?ke", "a coked", False),
        ("a*b*c", "xa a b c", True),
        ("a*b", "a bc b", True),
        ("naïve", "so naïve!", True),
        ("cake", "", False),
    ],
)
def test_words(pattern: str, text: str, matches: bool) -> None:
    assert words(pattern)(text) is matches


def _regex(pattern: str) -> str:
    return "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern.lower())


@given(st.text(_ALPHABET, max_size=8), st.text(_ALPHABET, max_size=12))
def test_like_the_plain_translation(pattern: str, text: str) -> None:
    """The atomic groups lose no match that backtracking would find."""
    plain = re.compile(rf"\A{_regex(pattern)}\Z", re.DOTALL)
    assert whole(pattern)(text) is (plain.match(text.lower()) is not None)
    bounded = re.compile(rf"(?<![a-z0-9_]){_regex(pattern)}(?![a-z0-9_])", re.DOTALL)
    assert words(pattern)(text) is (bounded.search(text.lower()) is not None)


@given(st.text(_ALPHABET, max_size=6), st.text(_ALPHABET, max_size=12))
def test_needed_words_are_needed(pattern: str, text: str) -> None:
    word = needed_word(pattern)
    if word is not None and words(pattern)(text):
        assert word in tokens(text)


def test_no_pattern_takes_for_ever() -> None:
    text = "ab" * 30_000
    start = time.perf_counter()
    for pattern in ("a*" * 40 + "x", "*a" * 40 + "x", "?" * 40 + "x", "b*" * 200 + "\n"):
        assert not words(pattern)(text)
        assert not whole(pattern)(text)
    assert time.perf_counter() - start < 2
