"""Sync and pagination tokens: opaque to clients, positions to us.

A stream token `s<position>_<ephemeral>` is a point between commits; a room token `t<depth>_<position>` is
a point between two events of a room in topological order. A sliding sync's
`p<position>_<ephemeral>_<connection>_<version>` is a stream token that also says what was sent. `/messages`
takes them all.
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


@dataclass(frozen=True, slots=True)
class SlidingToken:
    """Where a connection of sliding sync stands, and the version of what it was sent."""

    stream: StreamToken
    connection: int
    version: int

    def __str__(self) -> str:
        return f"p{self.stream.position}_{self.stream.ephemeral}_{self.connection}_{self.version}"

    @classmethod
    def parse(cls, text: str) -> "SlidingToken":
        if not text.startswith("p"):
            raise InvalidParam("This is not a position of sliding sync.")
        position, ephemeral, connection, version = _numbers(text, 4)
        return cls(StreamToken(position, ephemeral), connection, version)


def parse_any(text: str) -> StreamToken | RoomToken:
    if text.startswith("p"):
        return SlidingToken.parse(text).stream
    return StreamToken.parse(text) if text.startswith("s") else RoomToken.parse(text)


def _split(text: str) -> tuple[str, int, int]:
    first, second = _numbers(text, 2)
    return text[:1], first, second


def _numbers(text: str, count: int) -> list[int]:
    try:
        numbers = [int(each) for each in text[1:].split("_")] if len(text) <= 22 * count else []
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(-(2**63) <= number < 2**63 for number in numbers):
        raise InvalidParam("The token is not one of this server's.")
    return numbers
