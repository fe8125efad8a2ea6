"""Our rules and Synapse's agree: on event IDs, redactions, who may do what, and how forks resolve.

Hypothesis writes a room's history: users on three servers join, talk, invite, kick, ban, knock and fight
over power, on forks that now and then merge. Every event is judged on the state before it and, for more
refusals, on the state of other forks; every merge is resolved by both. As a server may be told any state,
so are states of unrelated moments, doctored with events from elsewhere.

Synapse runs in an environment of its own: HEARTH_SYNAPSE_PYTHON names its interpreter, by default the one
`make peers` installs.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeserver.protocol import auth_rules
from homeserver.protocol.auth_rules import AuthError
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.redaction import redact
from homeserver.protocol.state_resolution import resolve
from tests.homeserver.protocol.room import ALICE, BOB, CAROL, DAVE, Room, id_state
from tests.homeserver.protocol.test_state_resolution import CASES

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("HEARTH_SYNAPSE_PYTHON", ROOT / ".cache/synapse/bin/python"))
VERSIONS = ["1", "2", "6", "9", "10", "11", "12"]
USERS = [ALICE, BOB, CAROL, DAVE]

State = dict[StateKey, Event]
Case = Callable[[str], tuple[Room, State, State]]


class Oracle:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [PYTHON, Path(__file__).with_name("synapse_oracle.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "The oracle ended; its traceback is on stderr."
        answer: dict[str, Any] = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    if not PYTHON.exists():
        pytest.skip(f"No Synapse at {PYTHON}: run `make peers` or set HEARTH_SYNAPSE_PYTHON.")
    oracle = Oracle()
    yield oracle
    oracle.close()


def is_allowed(room: Room, event: Event, state: State) -> bool:
    try:
        auth_rules.check_auth_events(event, room.fetch(event.auth_events).values())
        auth_rules.check(event, state)
    except AuthError:
        return False
    return True


@dataclass
class History:
    """A room as hypothesis writes it: the branches' tips, and the questions it raises."""

    room: Room
    after: dict[str, State] = field(default_factory=dict)
    tips: list[str] = field(default_factory=list)
    checks: list[tuple[Event, State, bool]] = field(default_factory=list)
    resolves: list[tuple[list[State], dict[StateKey, str]]] = field(default_factory=list)

    def resolved(self, states: list[State]) -> dict[StateKey, str]:
        ids = resolve(self.room.version, [id_state(state) for state in states], self.room.fetch)
        self.resolves.append((states, ids))
        return ids

    def merged(self, tips: list[str]) -> State:
        states = [self.after[tip] for tip in tips]
        if len(states) == 1:
            return states[0]
        return {key: self.room.events[event_id] for key, event_id in self.resolved(states).items()}

    def doctored(self, tip: int, foreign: list[int]) -> State:
        """The state at some moment, with some events of other moments put in."""
        state = dict(self.after[self.tips[tip % len(self.tips)]])
        accepted = [self.room.events[event_id] for event_id in self.tips[1:]]
        for number in foreign:
            event = accepted[number % len(accepted)]
            if event.key is not None:
                state[event.key] = event
        return state

    def judge(self, event: Event, state: State) -> bool:
        allowed = is_allowed(self.room, event, state)
        self.checks.append((event, state, allowed))
        return allowed

    def extend(self, tips: list[str], ts: int, sender: str, type: str, content: Any, key: str | None) -> None:
        before = self.merged(tips)
        event = self.room.make(sender, type, content, key, state=before, prev=tips, ts=ts)
        for tip in self.tips:
            if tip not in tips:
                self.judge(event, self.after[tip])
        if not self.judge(event, before):
            return
        self.after[event.event_id] = before if event.key is None else {**before, event.key: event}
        self.tips.append(event.event_id)

    def question(self) -> tuple[dict[str, Any], list[Event]]:
        events = list(self.room.events.values())
        number = {event.event_id: n for n, event in enumerate(events)}

        def numbers(state: State) -> list[int]:
            return [number[event.event_id] for event in state.values()]

        question = {
            "version": self.room.version.id,
            "events": [event.pdu for event in events],
            "checks": [[number[event.event_id], numbers(state)] for event, state, _ in self.checks],
            "resolves": [[numbers(state) for state in states] for states, _ in self.resolves],
        }
        return question, events


LEVELS = st.sampled_from([0, 0, 10, 50, 50, 60, 99, 100])
# No booleans: the specification counts them as no integers, Python, and so Synapse, as 0 and 1.
ODD_LEVELS = st.sampled_from([0, 50, 100, "50", " +10 ", "-1"])
# Those with power act more often than those without, else most of a history is refusals.
SENDERS = st.sampled_from([ALICE, ALICE, ALICE, BOB, BOB, CAROL, DAVE])
CREATORS = "the creators"  # stands in `users` for those who must, or from version 12 must not, be listed
KEYS = ["users_default", "events_default", "state_default", "ban", "kick", "invite", "redact"]
EVENTS = ["m.room.topic", "m.room.power_levels", "m.room.join_rules", "m.room.message"]
JOIN_RULES = ["public", "public", "invite", "knock", "restricted", "knock_restricted", "private"]
STATE_TYPES = ["m.room.topic", "m.room.name", "m.room.aliases", "m.room.history_visibility"]


@st.composite
def members(draw: st.DrawFn) -> tuple[str, str, Any, str]:
    membership = draw(st.sampled_from(["join", "join", "join", "invite", "leave", "leave", "ban", "knock"]))
    sender = draw(SENDERS)
    own = membership in ("join", "knock") or draw(st.integers(0, 4)) == 0
    target = sender if own else draw(st.sampled_from(USERS))
    content = {"membership": membership}
    if membership == "join" and draw(st.integers(0, 3)) == 0:
        content["join_authorised_via_users_server"] = draw(st.sampled_from(USERS))
    return sender, "m.room.member", content, target


@st.composite
def power_levels(draw: st.DrawFn) -> tuple[str, str, Any, str]:
    levels = ODD_LEVELS if draw(st.integers(0, 9)) == 0 else LEVELS
    content: dict[str, Any] = draw(st.dictionaries(st.sampled_from(KEYS), levels, max_size=2))
    content["users"] = draw(st.dictionaries(st.sampled_from(USERS), levels, max_size=4))
    if draw(st.integers(0, 3)):
        content["users"][CREATORS] = 100
    content["events"] = draw(st.dictionaries(st.sampled_from(EVENTS), levels, max_size=2))
    if draw(st.booleans()):
        content["notifications"] = {"room": draw(levels)}
    return draw(SENDERS), "m.room.power_levels", content, ""


@st.composite
def join_rules(draw: st.DrawFn) -> tuple[str, str, Any, str]:
    content = {"join_rule": draw(st.sampled_from(JOIN_RULES))}
    return draw(SENDERS), "m.room.join_rules", content, ""


@st.composite
def other_state(draw: st.DrawFn) -> tuple[str, str, Any, str]:
    state_key = draw(st.sampled_from(["", "", "a.org", "b.org", ALICE]))
    content = {"value": draw(st.integers(0, 9))}
    return draw(SENDERS), draw(st.sampled_from(STATE_TYPES)), content, state_key


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, str, Any, None]:
    kind = draw(st.sampled_from(["m.room.message", "m.room.third_party_invite"]))
    return draw(SENDERS), kind, {"body": "x"}, None


STEPS = st.lists(
    st.tuples(
        st.one_of(members(), members(), power_levels(), join_rules(), other_state(), messages()),
        st.integers(0, 12),  # how many tips back the event stands; small numbers mostly extend
        st.integers(0, 12),  # the same for a second previous event, if it is below 4
        st.integers(1_000, 1_050),
    ),
    min_size=5,
    max_size=30,
)

DOCTORED = st.lists(
    st.lists(st.tuples(st.integers(0, 30), st.lists(st.integers(0, 30), max_size=3)), min_size=2, max_size=3),
    max_size=6,
)


def written(version: str, steps: list[Any], additional_creators: list[str]) -> History:
    """Alice's public room, where Bob has power, and then what hypothesis wants."""
    content: dict[str, Any] = {"additional_creators": additional_creators} if additional_creators else {}
    room = Room(version, **content)
    history = History(room)
    history.judge(room.create, {})
    history.after[room.create.event_id] = dict(room.state)
    history.tips.append(room.create.event_id)
    levels = room.levels(bob=50)
    for user in additional_creators:
        if room.version.creators_outrank_all:
            levels.pop(user, None)
    beginning: list[tuple[str, str, Any, str]] = [
        (ALICE, "m.room.member", {"membership": "join"}, ALICE),
        (ALICE, "m.room.power_levels", {"users": levels}, ""),
        (ALICE, "m.room.join_rules", {"join_rule": "public"}, ""),
        (BOB, "m.room.member", {"membership": "join"}, BOB),
        (CAROL, "m.room.member", {"membership": "join"}, CAROL),
    ]
    for step in beginning:
        history.extend(history.tips[-1:], 1_000, *step)
    creators = {ALICE, *additional_creators}
    for (sender, kind, body, key), back, second, ts in steps:
        if CREATORS in body.get("users", ()):
            listed = {user: level for user, level in body["users"].items() if user != CREATORS}
            if room.version.creators_outrank_all:
                listed = {user: level for user, level in listed.items() if user not in creators}
            else:
                listed.setdefault(ALICE, 100)
            body = {**body, "users": listed}
        tips = [history.tips[-1 - max(0, back - 6) % len(history.tips)]]
        if second < 4:
            other = history.tips[-1 - (second + 1) % len(history.tips)]
            tips += [other] if other not in tips else []
        history.extend(tips, ts, sender, kind, body, key)
    return history


@pytest.mark.parametrize("version", VERSIONS)
@settings(
    max_examples=int(os.environ.get("HEARTH_ORACLE_EXAMPLES", "60")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    steps=STEPS,
    doctored=DOCTORED,
    additional_creators=st.lists(st.sampled_from([BOB, CAROL]), max_size=2, unique=True),
)
def test_synapse_agrees(
    oracle: Oracle,
    version: str,
    steps: list[Any],
    doctored: list[list[tuple[int, list[int]]]],
    additional_creators: list[str],
) -> None:
    history = written(version, steps, additional_creators)
    for mixture in doctored:
        history.resolved([history.doctored(tip, foreign) for tip, foreign in mixture])
    compare(oracle, history)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_synapse_agrees_on_known_cases(oracle: Oracle, version: str, case: Case) -> None:
    room, *states = case(version)
    history = History(room)
    history.resolved(states)
    compare(oracle, history)


def compare(oracle: Oracle, history: History) -> None:
    question, events = history.question()
    answer = oracle.ask(question)
    assert answer["ids"] == [event.event_id for event in events]
    assert answer["redacted"] == [redact(event.pdu, event.version) for event in events]
    for (event, state, allowed), reason in zip(history.checks, answer["checks"], strict=True):
        assert allowed == (reason is None), f"{event} {event.content} on {list(state.values())}: {reason}"
    for (states, ids), theirs in zip(history.resolves, answer["resolves"], strict=True):
        assert sorted(ids.values()) == sorted(events[n].event_id for n in theirs), states
