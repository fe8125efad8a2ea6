"""Glob patterns of push rules, compiled to predicates on strings.

https://spec.matrix.org/v1.19/appendices/#glob-style-matching

Users write the patterns and strangers write the text, so matching must not explode: each piece between two
stars is found leftmost and never tried again (an atomic group). That loses no match, since a star takes
whatever follows, and the time stays linear in the text for each piece. Both sides are compared in lower
case.
"""

import re
from collections.abc import Callable
from functools import lru_cache

Predicate = Callable[[str], bool]

_STARS = re.compile(r"\*+")
_WORD = re.compile(r"[a-z0-9_]+")
_NOT_AFTER_WORD = "(?<![a-z0-9_])"
_NOT_BEFORE_WORD = "(?![a-z0-9_])"


@lru_cache(maxsize=4096)
def whole(pattern: str) -> Predicate:
    """Matches texts that the pattern covers from start to end."""
    pattern = pattern.lower()
    if "*" not in pattern and "?" not in pattern:
        return lambda text: text.lower() == pattern
    if not pattern.strip("*"):
        return lambda text: True
    first, *middle = (_piece(piece) for piece in _STARS.split(pattern))
    if not middle:
        return _found(re.compile(rf"\A{first}\Z", re.DOTALL).match)
    *middle, last = middle
    inner = "".join(f"(?>.*?{piece})" for piece in middle)
    return _found(re.compile(rf"\A{first}{inner}.*{last}\Z", re.DOTALL).match)


@lru_cache(maxsize=4096)
def words(pattern: str) -> Predicate:
    """Matches texts of which some part, beginning and ending at word boundaries, fits the pattern."""
    pattern = pattern.lower()
    first, *middle = (_piece(piece) for piece in _STARS.split(pattern))
    if not middle:
        found = _found(re.compile(f"{_NOT_AFTER_WORD}{first}{_NOT_BEFORE_WORD}", re.DOTALL).search)
        if "?" in pattern:
            return found
        return lambda text: pattern in text.lower() and found(text)
    *middle, last = middle
    inner = "".join(f"(?>.*?{piece})" for piece in middle)
    start = rf"\A(?>.*?{_NOT_AFTER_WORD}{first})"
    return _found(re.compile(f"{start}{inner}.*?{last}{_NOT_BEFORE_WORD}", re.DOTALL).match)


def tokens(text: str) -> list[str]:
    """The words of a text, as `words` sees them."""
    return _WORD.findall(text.lower())


def needed_word(pattern: str) -> str | None:
    """A word that every text matched by `words(pattern)` contains; None where there is no such word."""
    if "*" in pattern or "?" in pattern:
        return None
    found = tokens(pattern)
    return max(found, key=len) if found else None


def is_literal(pattern: str) -> bool:
    return "*" not in pattern and "?" not in pattern


def _piece(piece: str) -> str:
    return re.escape(piece).replace(r"\?", ".")


def _found(match: Callable[[str], re.Match[str] | None]) -> Predicate:
    return lambda text: match(text.lower()) is not None
