"""What is a word, and what a search looks for."""

import pytest

from homeserver.search.words import MOST_TERMS, MOST_WORDS, Ranking, Term, highlights, terms, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", ["hello", "world"]),
        ("Čaj straße ΣΊΣΥΦΟΣ", ["caj", "strasse", "σισυφοσ"]),
        ("foo_bar-baz@example.org", ["foo", "bar", "baz", "example", "org"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("東京へ go", ["東", "京", "へ", "go"]),
        ("한국어 문서", ["한국어", "문서"]),
        ("Ａ１ ﬁne", ["a1", "fine"]),
        ("👋 …", []),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_long_texts_are_bounded() -> None:
    assert len(words("a " * 30_000)) == MOST_WORDS
    assert [len(word) for word in words("é" * 5000)] == [64]
    assert len(terms(" ".join(map(str, range(1000))))) == MOST_TERMS
    assert len(terms("-".join(map(str, range(1000))))[0].words) == MOST_TERMS


def test_what_is_written_together_is_a_phrase() -> None:
    assert terms("Foo-bar go go") == [Term(("foo", "bar"), True), Term(("go",), False)]
    assert terms('"in the house" cat') == [Term(("in", "the", "house"), False), Term(("cat",), True)]
    assert terms('" ! ') == []
    assert terms("天气") == [Term(("天", "气"), False)]


def test_rank_and_highlights() -> None:
    wanted = terms("apple pie")
    rank = Ranking(wanted).of
    assert rank("apple pie") > rank("apples pie") > rank("pie" + " x" * 9) > rank("pi magpie") == 0
    assert Ranking([]).of("apple") == 0
    assert highlights(wanted, [["apples", "pied", "pear"], ["apple"]]) == ["apple", "apples", "pied"]
