"""Which state a client wants of a room, and what more of it another wish brings.

https://github.com/matrix-org/matrix-spec-proposals/pull/4186 (RequiredStateRequest)

Wishes are never merged: a room that matches several lists is given what any of them asks for. The one
subtle point is lazy loading: it takes members out of what wildcards match, unless another wish wants all
of them.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

MEMBER = "m.room.member"
StateKey = tuple[str, str]
Pattern = tuple[str | None, str | None]
"""(type, state key); None matches all."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One `required_state` of a request."""

    include: frozenset[Pattern] = frozenset()
    exclude: frozenset[Pattern] = frozenset()
    lazy: bool = False

    def matches(self, key: StateKey) -> bool:
        if not _any(self.include, key, self.lazy and key[0] == MEMBER):
            return False
        return not self.exclude or not _any(self.exclude, key, False)

    @property
    def wants_all_members(self) -> bool:
        return not self.lazy and any(
            type in (MEMBER, None) and state_key is None for type, state_key in self.include
        )

    def as_json(self) -> list[Any]:
        return [sorted(self.include, key=str), sorted(self.exclude, key=str), self.lazy]

    @classmethod
    def from_json(cls, value: Any) -> "Wish":
        include, exclude, lazy = value
        return cls(
            frozenset((type, state_key) for type, state_key in include),
            frozenset((type, state_key) for type, state_key in exclude),
            lazy,
        )


def _any(patterns: Collection[Pattern], key: StateKey, named_only: bool) -> bool:
    """Whether one of the patterns matches; with `named_only` none that leaves the state key open."""
    type, state_key = key
    if key in patterns or (None, state_key) in patterns:
        return True
    return not named_only and ((type, None) in patterns or (None, None) in patterns)


@dataclass(frozen=True, slots=True)
class Required:
    """What all the lists and subscriptions that match a room ask for together."""

    wishes: frozenset[Wish]

    def matches(self, key: StateKey) -> bool:
        return any(wish.matches(key) for wish in self.wishes)

    @property
    def lazy(self) -> bool:
        """Whether members are told as the timeline needs them."""
        return any(wish.lazy for wish in self.wishes) and not any(
            wish.wants_all_members for wish in self.wishes
        )

    def of(self, keys: Mapping[StateKey, Any], known: "Required | None" = None) -> list[StateKey]:
        """Which of the keys are wanted, and were not by the `known` wish."""
        if known == self:
            return []
        return [
            key
            for key in self._candidates(keys)
            if self.matches(key) and (known is None or not known.matches(key))
        ]

    def _candidates(self, keys: Mapping[StateKey, Any]) -> Iterable[StateKey]:
        named: set[StateKey] = set()
        for wish in self.wishes:
            for type, state_key in wish.include:
                if type is None or state_key is None:
                    return list(keys)
                named.add((type, state_key))
        return [key for key in named if key in keys]

    def as_json(self) -> list[Any]:
        return sorted((wish.as_json() for wish in self.wishes), key=str)

    @classmethod
    def from_json(cls, value: Any) -> "Required":
        return cls(frozenset(Wish.from_json(each) for each in value))

    @property
    def name(self) -> str:
        """A short name for exactly this wish."""
        return hashlib.sha256(orjson.dumps(self.as_json())).hexdigest()[:16]
