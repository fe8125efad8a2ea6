"""The state of a room at one moment: a persistent map, and the chain of snapshots that stores it.

Versions of a state share structure, so holding many of them is cheap, and a reader may keep one while the
room moves on. Each state event makes a new snapshot: a delta on its parent. Chains are kept short as a
log-structured merge tree does it: a new delta takes in those before it that are not larger than itself, so
layers shrink geometrically towards the tip. A room of n state events has at most log2(n) layers, and each
entry is written again at most log2(n) times.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from immutables import Map

from storage.snapshots import Layer, StateEntry, merged, pack

__all__ = ["EMPTY", "Entries", "NewSnapshot", "RoomState", "StateEntry", "StateKey"]

StateKey = tuple[str, str]
Entries = Mapping[StateKey, StateEntry]


class NewSnapshot(NamedTuple):
    """A snapshot that is still to be written."""

    snapshot: int
    parent: int | None
    delta: bytes


class RoomState:
    """`entries` by (type, state_key); `snapshot` is the number it is stored under, None when empty."""

    __slots__ = ("_layers", "entries")

    def __init__(self, entries: "Map[StateKey, StateEntry]", layers: tuple[Layer, ...]) -> None:
        self.entries = entries
        self._layers = layers

    @property
    def snapshot(self) -> int | None:
        return self._layers[-1].snapshot if self._layers else None

    @classmethod
    def from_layers(cls, layers: Sequence[Layer]) -> "RoomState":
        """As `storage.snapshots.layers` reads it."""
        return cls(Map(merged(layers)), tuple(layers))

    def with_event(self, key: StateKey, entry: StateEntry, number: int) -> tuple["RoomState", NewSnapshot]:
        """The state after one more event, stored as snapshot `number`."""
        return self._with_delta(self.entries.set(key, entry), {key: entry}, number)

    def changed_to(self, target: Entries, number: int) -> tuple["RoomState", NewSnapshot | None]:
        """The state `target` (of a resolution), stored as its difference from this one."""
        delta: dict[StateKey, StateEntry | None] = {
            key: entry for key, entry in target.items() if self.entries.get(key) != entry
        }
        delta.update((key, None) for key in self.entries if key not in target)
        return self.changed_by(delta, number)

    def changed_by(
        self, delta: Mapping[StateKey, StateEntry | None], number: int
    ) -> tuple["RoomState", NewSnapshot | None]:
        """The state with these entries; None for those that are taken away."""
        if not delta:
            return self, None
        entries = self.entries.mutate()
        for key, entry in delta.items():
            if entry is None:
                del entries[key]
            else:
                entries[key] = entry
        return self._with_delta(entries.finish(), dict(delta), number)

    def changes_since(self, was: "RoomState") -> dict[StateKey, StateEntry | None]:
        """What is other than in that state; None for what is gone.

        The layers that both have say the same of both, so only the others are looked through.
        """
        shared = {layer.snapshot for layer in self._layers} & {layer.snapshot for layer in was._layers}
        apart = [layer for layer in (*self._layers, *was._layers) if layer.snapshot not in shared]
        keys = {key for layer in apart for key in layer.entries}
        now, before = self.entries, was.entries
        return {key: now.get(key) for key in keys if now.get(key) != before.get(key)}

    def _with_delta(
        self, entries: "Map[StateKey, StateEntry]", delta: dict[StateKey, StateEntry | None], number: int
    ) -> tuple["RoomState", NewSnapshot]:
        layers = list(self._layers)
        while layers and len(layers[-1].entries) <= len(delta):
            delta = {**layers.pop().entries, **delta}
        if not layers:
            delta = {key: entry for key, entry in delta.items() if entry is not None}
        parent = layers[-1].snapshot if layers else None
        delta, numbers = _numbered(delta, layers)
        layers.append(Layer(number, delta))
        return RoomState(entries, tuple(layers)), NewSnapshot(number, parent, pack(numbers))


def _numbered(
    delta: dict[StateKey, StateEntry | None], below: Sequence[Layer]
) -> tuple[dict[StateKey, StateEntry | None], list[int]]:
    """The delta with its packed form; a removal of what no layer below has is left out."""
    kept: dict[StateKey, StateEntry | None] = {}
    numbers = []
    for key, entry in delta.items():
        number = entry.nid if entry is not None else -_replaced(below, key)
        if number:
            kept[key] = entry
            numbers.append(number)
    return kept, numbers


def _replaced(layers: Sequence[Layer], key: StateKey) -> int:
    """The event that a removal takes away, as the layers below know it. 0: none of them has it."""
    for layer in reversed(layers):
        entry = layer.entries.get(key)
        if entry is not None:
            return entry.nid
    return 0


EMPTY = RoomState(Map(), ())
