"""Sync and pagination tokens: opaque to clients, positions to us.

A stream token `s<position>_<ephemeral>` is a point between commits; a room token `t<depth>_<position>` is
a point between two events of a room in topological order. `/messages` takes both.
"""

from dataclasses import dataclass

from homeserver.errors import InvalidParam


@dataclass(frozen=True, slots=True)
class StreamToken:
    """`position` in the stream of commits, `ephemeral` in typing and presence."""

    position: int
    ephemeral: int = 0

    def __str__(self) -> str:
        return f"s{self.position}_{self.ephemeral}"

    @classmethod
    def parse(cls, text: str) -> "StreamToken":
        kind, first, second = _split(text)
        if kind != "s":
            raise InvalidParam("This is not a sync token.")
        return cls(first, second)


@dataclass(frozen=True, slots=True, order=True)
class RoomToken:
    """After the event at (depth, position); before the next one."""

    depth: int
    position: int

    def __str__(self) -> str:
        return f"t{self.depth}_{self.position}"

    @classmethod
    def parse(cls, text: str) -> "RoomToken":
        kind, first, second = _split(text)
        if kind != "t":
            raise InvalidParam("This is not a pagination token.")
        return cls(first, second)


def parse_any(text: str) -> StreamToken | RoomToken:
    return StreamToken.parse(text) if text.startswith("s") else RoomToken.parse(text)


def _split(text: str) -> tuple[str, int, int]:
    try:
        first, second = text[1:].split("_")
        numbers = int(first), int(second)
    except ValueError:
        raise InvalidParam("The token is not one of this server's.") from None
    if not all(-(2**63) <= number < 2**63 for number in numbers) or len(text) > 44:
        raise InvalidParam("The token is not one of this server's.")
    return text[:1], *numbers
