"""Synapse's rules as a process: JSON lines in, JSON lines out. Runs in an environment that has Synapse.

One question is a room: its events, authorisations to judge and state sets to resolve. The answers are what
Synapse's own functions say. Only this process imports Synapse; it shares nothing with Hearth.

    {"version", "events": [pdu], "checks": [[event number, [state event numbers]]],
     "resolves": [[[state event numbers]]]}
    → {"ids": [event ID], "redacted": [pdu], "checks": [null or reason],
       "resolves": [[state event numbers]]}, or {"error": traceback}
"""

import json
import sys
import traceback
from collections.abc import Collection, Coroutine
from typing import Any

from synapse import event_auth
from synapse.api.errors import AuthError, SynapseError
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.events import EventBase, make_event_from_dict
from synapse.events.utils import prune_event
from synapse.state import v1, v2
from synapse.storage.databases.main.event_federation import StateDifference


class Store:
    """The events of one question, as Synapse's rules ask a database for them."""

    def __init__(self, events: dict[str, EventBase]) -> None:
        self._events = events

    async def get_events(self, event_ids: Collection[str], **_: Any) -> dict[str, EventBase]:
        return {event_id: self._events[event_id] for event_id in event_ids if event_id in self._events}

    async def get_auth_chain_difference(
        self,
        room_id: str,
        state_sets: list[set[str]],
        conflicted_state: set[str] | None,
        additional_backwards_reachable_conflicted_events: set[str] | None,
    ) -> StateDifference:
        chains = [self._reachable(state_set) for state_set in state_sets]
        difference = set[str]().union(*chains).difference(chains[0].intersection(*chains))
        if conflicted_state is None:
            return StateDifference(auth_difference=difference, conflicted_subgraph=None)
        # Unlike a database, everything is at hand: ask of each event whether it lies between two.
        subgraph = {
            event_id
            for event_id in self._reachable(conflicted_state)
            if self._reachable({event_id}) & conflicted_state
        }
        return StateDifference(auth_difference=difference, conflicted_subgraph=subgraph)

    def _reachable(self, event_ids: set[str]) -> set[str]:
        seen = set(event_ids)
        queue = list(seen)
        while queue:
            for auth_id in self._events[queue.pop()].auth_event_ids():
                if auth_id not in seen:
                    seen.add(auth_id)
                    queue.append(auth_id)
        return seen


class NoClock:
    async def sleep(self, duration: Any) -> None:
        """Nothing else runs here."""


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Synapse's coroutines never really wait here."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("A coroutine waited.")


def without_unsigned(pdu: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in pdu.items() if key != "unsigned"}


def answer(question: dict[str, Any]) -> dict[str, Any]:
    version = KNOWN_ROOM_VERSIONS[question["version"]]
    events = [make_event_from_dict(pdu, version) for pdu in question["events"]]
    by_id = {event.event_id: event for event in events}
    numbers = {event.event_id: number for number, event in enumerate(events)}
    store = Store(by_id)

    def check(number: int, state: list[int]) -> str | None:
        event = events[number]
        try:
            event_auth.validate_event_for_room_version(event)
            run(event_auth.check_state_independent_auth_rules(store, event))
            event_auth.check_state_dependent_auth_rules(event, [events[n] for n in state])
        except (AuthError, SynapseError) as error:
            return str(error.msg)
        return None

    def resolve(state_sets: list[list[int]]) -> list[int]:
        maps = [{(e.type, e.state_key): e.event_id for e in (events[n] for n in s)} for s in state_sets]
        room_id = events[0].room_id
        if question["version"] == "1":
            result = run(v1.resolve_events_with_store(room_id, version, maps, None, store.get_events))
        else:
            result = run(v2.resolve_events_with_store(NoClock(), room_id, version, maps, None, store))
        return sorted(numbers[event_id] for event_id in result.values())

    return {
        "ids": [event.event_id for event in events],
        "redacted": [without_unsigned(prune_event(event).get_pdu_json()) for event in events],
        "checks": [check(number, state) for number, state in question["checks"]],
        "resolves": [resolve(state_sets) for state_sets in question["resolves"]],
    }


def main() -> None:
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception:
            reply = {"error": traceback.format_exc()}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
