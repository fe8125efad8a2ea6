"""Room states: whatever is done to one, it is the dict it should be, of few layers, and it reads back."""

import math
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeserver.rooms.state import EMPTY, NewSnapshot, RoomState, StateEntry, StateKey
from storage import snapshots
from storage.transaction import Transaction
from tests.storage.conftest import SynchronousDatabase

KEYS: list[StateKey] = [("m.room.name", ""), *(("m.room.member", f"@u{n}:here") for n in range(12))]
keys = st.sampled_from(KEYS)
# A step sets one key, or moves to another state: these keys anew, those as they are, the rest away.
steps = st.lists(
    st.one_of(keys, st.tuples(st.frozensets(keys, max_size=8), st.frozensets(keys))), min_size=1, max_size=40
)


class Numbers:
    """Makes events and snapshots, and keeps what would be written."""

    def __init__(self) -> None:
        self.events: list[tuple[int, StateKey, StateEntry]] = []
        self.snapshots: list[NewSnapshot] = []

    def entry(self, key: StateKey) -> StateEntry:
        number = len(self.events) + 1
        entry = StateEntry(number, f"${number}", "join" if key[0] == "m.room.member" else None)
        self.events.append((number, key, entry))
        return entry

    def next(self) -> int:
        return len(self.snapshots) + 1


def play(script: list[Any], numbers: Numbers) -> list[tuple[RoomState, dict[StateKey, StateEntry]]]:
    """Every state on the way, beside the plain dict it stands for."""
    state, model = EMPTY, dict[StateKey, StateEntry]()
    found = []
    for step in script:
        if isinstance(step[0], str):
            entry = numbers.entry(step)
            state, new = state.with_event(step, entry, numbers.next())
            model = {**model, step: entry}
            numbers.snapshots.append(new)
        else:
            changed, kept = step
            model = {key: entry for key, entry in model.items() if key in kept}
            model.update((key, numbers.entry(key)) for key in changed)
            state, maybe = state.changed_to(model, numbers.next())
            if maybe is not None:
                numbers.snapshots.append(maybe)
        found.append((state, model))
    return found


@given(steps)
def test_a_state_is_the_dict_it_stands_for(script: list[Any]) -> None:
    for state, model in play(script, Numbers()):
        assert dict(state.entries) == model


@given(steps)
def test_layers_shrink_towards_the_tip(script: list[Any]) -> None:
    for state, _ in play(script, Numbers()):
        sizes = [len(layer.entries) for layer in state._layers]
        assert all(below > above for below, above in zip(sizes, sizes[1:], strict=False))


@given(steps)
def test_the_layers_in_memory_are_those_that_are_written(script: list[Any]) -> None:
    numbers = Numbers()
    played = play(script, numbers)
    written = {new.snapshot: new for new in numbers.snapshots}
    for state, _ in played:
        parent = None
        for layer in state._layers:
            new = written[layer.snapshot]
            assert new.parent == parent
            assert len(snapshots.unpack(new.delta)) == len(layer.entries)
            parent = layer.snapshot


@given(steps, steps)
def test_what_two_states_have_else(script: list[Any], other: list[Any]) -> None:
    numbers = Numbers()
    states = [state for state, _ in play(script, numbers)] or [EMPTY]
    # Another branch from somewhere in the middle.
    branch = states[len(states) // 2]
    for step in other:
        if isinstance(step[0], str):
            branch, new = branch.with_event(step, numbers.entry(step), numbers.next())
            numbers.snapshots.append(new)
            states.append(branch)
    for one in states:
        for two in states:
            changes = {key: entry for key, entry in two.entries.items() if one.entries.get(key) != entry}
            gone = dict.fromkeys(key for key in one.entries if key not in two.entries)
            assert two.changes_since(one) == {**changes, **gone}


def test_a_room_of_many_members_has_few_layers() -> None:
    state, written = EMPTY, 0
    for number in range(1, 3001):
        key = ("m.room.member", f"@u{number}:here")
        state, new = state.with_event(key, StateEntry(number, f"${number}", "join"), number)
        written += len(new.delta) // 8
        assert len(state._layers) <= math.log2(number) + 1
    assert written <= 3000 * (math.log2(3000) + 1)
    for number in range(3001, 4001):  # the same key again and again
        state, new = state.with_event(("m.room.topic", ""), StateEntry(number, f"${number}", None), number)
        assert len(state._layers) <= math.log2(3000) + 2
    assert len(state.entries) == 3001


def test_the_same_state_is_no_new_snapshot() -> None:
    entry = StateEntry(1, "$1", None)
    state, _ = EMPTY.with_event(("a", ""), entry, 1)
    same, new = state.changed_to({("a", ""): entry}, 2)
    assert same is state
    assert new is None


def test_everything_taken_away_is_a_state_too() -> None:
    entry = StateEntry(1, "$1", None)
    state, _ = EMPTY.with_event(("a", ""), entry, 1)
    empty, new = state.changed_to({}, 2)
    assert dict(empty.entries) == {}
    assert new is not None
    assert (new.parent, new.delta) == (None, b"")
    assert empty.snapshot == 2


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=steps)
def test_every_state_reads_back(db: SynchronousDatabase, script: list[Any]) -> None:
    numbers = Numbers()
    played = play(script, numbers)

    def write(tx: Transaction) -> None:
        tx.execute("DELETE FROM event")
        tx.execute("DELETE FROM snapshot")
        columns = ("nid", "event_id", "room", "depth", "ts", "type", "state_key", "sender", "membership",
                   "status", "notify", "json")  # fmt: skip
        tx.insert(
            "event",
            columns,
            [
                (nid, entry.event_id, 1, 1, 1, *key, "@a:here", entry.membership, 0, 0, b"{}")
                for nid, key, entry in numbers.events
            ],
        )
        for new in numbers.snapshots:
            snapshots.add(tx, new.snapshot, 1, new.parent, new.delta)

    db.write(write)

    def read(tx: Transaction) -> list[tuple[Any, RoomState]]:
        return [
            (snapshots.read(tx, state.snapshot), RoomState.from_layers(snapshots.layers(tx, state.snapshot)))
            for state, _ in played
            if state.snapshot is not None
        ]

    expected = [(state, model) for state, model in played if state.snapshot is not None]
    for (state, model), (flat, again) in zip(expected, db.read(read), strict=True):
        assert flat == model
        assert dict(again.entries) == model
        assert again._layers == state._layers
