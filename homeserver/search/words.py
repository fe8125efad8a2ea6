"""Texts as words, the same for what is searched and for what is searched in, on every engine.

https://spec.matrix.org/v1.19/client-server-api/#server-side-search

The database's own parsers differ from each other and know a few languages; here a word is a run of letters
and digits, without case and accents. Scripts that put no blanks between words are cut into characters. The
subtle idea is the phrase: what was written without a blank in between ("foo-bar", "example.org", a Chinese
word) is searched for as words that follow one another, and so are words in quotation marks. A search finds
longer words too: "martian" finds "martians", which serves where a stemmer for the language would.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST_WORDS = 4000
MOST_TERMS = 20
MOST_LETTERS = 64
SHORTEST_PREFIX = 3
_ACCENTS = 200  # combining classes from here on are marks above and below letters

# Han, kana, Thai, Lao, Myanmar, Khmer
_ALONE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Vowel signs belong to the words of Indian scripts, and are no letters to Python.
_MARKS = "".join(
    chr(code) for code in range(0x300, 0x12000) if unicodedata.category(chr(code)).startswith("M")
)
_WORD = re.compile(f"[{_ALONE}]|(?:(?![{_ALONE}])[^\\W_]|[{_MARKS}])+")
_ASCII_WORD = re.compile("[a-z0-9]+")
_PIECE = re.compile(r'"([^"]*)"|(\S+)')


@dataclass(frozen=True, slots=True)
class Term:
    """Words that follow one another; if `prefix`, the last one may be longer than given."""

    words: tuple[str, ...]
    prefix: bool


def normalise(text: str) -> str:
    """Without case and accents."""
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFKC", "".join(c for c in apart if unicodedata.combining(c) < _ACCENTS))


def words(text: str) -> list[str]:
    """The words of a text in their order, as far as they are searched in."""
    text = normalise(text)
    found = (_ASCII_WORD if text.isascii() else _WORD).findall(text)
    return [word[:MOST_LETTERS] for word in found[:MOST_WORDS]]


def terms(text: str) -> list[Term]:
    """What a search looks for: each of these must be there."""
    found: dict[Term, None] = {}
    for quoted, piece in _PIECE.findall(text):
        cut = words(quoted or piece)[:MOST_TERMS]
        if cut:
            prefix = not quoted and len(cut[-1]) >= SHORTEST_PREFIX
            found[Term(tuple(cut), prefix)] = None
    return list(found)[:MOST_TERMS]


class Ranking:
    """How much of a text is what was searched for: higher is closer. Words that are longer count half."""

    def __init__(self, wanted: Sequence[Term]) -> None:
        exact = sorted({word for term in wanted for word in term.words})
        begun = sorted({term.words[-1] for term in wanted if term.prefix}, key=len, reverse=True)
        whole = f"({'|'.join(exact)})(?![^ ])" if exact else "(?!)"
        # One pass of the regular expression over the text: a search ranks a thousand of them.
        self._found = re.compile(f"(?<![^ ])(?:{whole}" + (f"|(?:{'|'.join(begun)}))" if begun else ")"))

    def of(self, words: str) -> float:
        """Of words with a blank between."""
        found = self._found.findall(words)
        score = len(found) - found.count("") / 2
        return round(score / (words.count(" ") + 6), 6)


def highlights(wanted: Sequence[Term], texts: Iterable[Sequence[str]]) -> list[str]:
    """The words of these texts by which they were found."""
    exact = {word for term in wanted for word in term.words}
    prefixes = tuple(term.words[-1] for term in wanted if term.prefix)
    found = {
        word for text in texts for word in text if word in exact or (prefixes and word.startswith(prefixes))
    }
    return sorted(found)
