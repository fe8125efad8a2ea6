"""History visibility over HTTP: each pair of settings × each history of a reader × each endpoint.

https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility

What every answer must be comes from `visibility_oracle`, which was written from the specification without
sight of the server. When the two disagree, the specification is to be read again: the oracle is not to be
bent to what the server does.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.harness import ENGINES, HearthServer, Json, ok
from tests.scenarios.visibility_answers import Asked, Wrong, newest, wrong_sync
from tests.scenarios.visibility_oracle import EITHER, NO, YES, Verdict
from tests.scenarios.visibility_stories import AROUND, MIDDLE, Room, Story, together

V1 = "/_matrix/client/v1"
PROBED = ("root", "parent", "old edit", "new root", "reply to new root", "last")


@pytest.fixture(scope="module", params=ENGINES)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Everything has happened; nothing here changes a room any more."""
    database = request.getfixturevalue("postgres_server") if request.param == "postgres" else None
    directory: Path = tmp_path_factory.mktemp("visibility")
    with HearthServer(request.param, directory, database, {"allow_guest_access": True}) as server:
        yield Story(server)
        errors = server.internal_errors()
        assert not errors, f"The server logged an internal error:\n{errors}"


def compare(story: Story, check: Callable[[Asked], Wrong]) -> None:
    """Checks every reader in every room, and fails with all that is wrong."""

    def one(case: tuple[Room, str]) -> list[str]:
        room, name = case
        return [f"{room} | {name}: {wrong}" for wrong in check(Asked(story, room, name))]

    found = [wrong for some in together(one, story.cases()) for wrong in some]
    assert not found, f"{len(found)} disagreements:\n" + "\n".join(found[:: len(found) // 40 + 1])


def test_the_story_was_as_told(story: Story) -> None:
    for room in story.rooms:
        ids = [event["event_id"] for event in room.events]
        assert set(room.named.values()) <= set(ids)
        assert len(ids) == len(set(ids)) == room.stages[-1]
        assert room.events[0]["type"] == "m.room.create"
    # Without these the comparison would be about nothing.
    readings = [story.reading(room, name) for room, name in story.cases()]
    verdicts = [reading.may_see(event_id) for reading in readings for event_id in reading.index]
    assert verdicts.count(YES) > 5000 < verdicts.count(NO)


@pytest.mark.parametrize("direction", ["b", "f"])
def test_messages(story: Story, direction: str) -> None:
    def check(asked: Asked) -> Wrong:
        reading = asked.reading
        response, events = asked.pages(dir=direction)
        yield from asked.wrong(response, reading.may_ask("messages"), "messages")
        if response.status_code == 200:
            yield from asked.wrong_list(events, reading.lists, reading.index)
            order = [reading.index[event["event_id"]] for event in events]
            if order != sorted(order, reverse=direction == "b"):
                yield "in another order"

    compare(story, check)


def test_event(story: Story) -> None:
    def check(asked: Asked) -> Wrong:
        reading = asked.reading
        for event_id in probes(asked):
            response = asked.get(f"event/{quote(event_id)}")
            verdict = reading.may_see(event_id)
            wrong = list(asked.wrong(response, verdict, "event"))
            if response.status_code == 200:
                wrong += asked.wrong_event(response.json())
            for what in wrong:
                yield f"{asked.told(event_id)}: {what}"

    compare(story, check)


def test_context(story: Story) -> None:
    def check(asked: Asked) -> Wrong:
        reading = asked.reading
        for event_id in (asked.room.named["parent"], asked.room.named["reply to new root"]):
            response = asked.get(f"context/{quote(event_id)}", limit=200)
            wrong = list(asked.wrong(response, reading.may_see(event_id), "context"))
            if response.status_code == 200:
                body = response.json()
                around = body["events_before"] + body["events_after"]
                wrong += asked.wrong_event(body["event"])
                wrong += asked.wrong_list(around, reading.lists, set(reading.index) - {event_id})
                last = reading.index[(body["events_after"] or [body["event"]])[-1]["event_id"]]
                state = {event["event_id"] for event in body["state"]}
                if not reading.is_state_at(last, state):
                    yield f"{asked.told(event_id)}: not the state at {last}"
            for what in wrong:
                yield f"{asked.told(event_id)}: {what}"

    compare(story, check)


def test_relations(story: Story) -> None:
    def check(asked: Asked) -> Wrong:
        reading = asked.reading
        for name in ("root", "parent"):
            event_id = asked.room.named[name]
            response = asked.get(f"relations/{quote(event_id)}", V1, limit=50)
            verdict = NO if reading.guest else reading.may_see(event_id)
            wrong = list(asked.wrong(response, verdict, "relations"))
            if response.status_code == 200:
                wrong += asked.wrong_list(response.json()["chunk"], reading.lists, reading.children(event_id))
            for what in wrong:
                yield f"{name}: {what}"

    compare(story, check)


def test_threads(story: Story) -> None:
    def check(asked: Asked) -> Wrong:
        reading = asked.reading
        response = asked.get("threads", V1, limit=50)
        yield from asked.wrong(response, reading.may_ask("threads"), "threads")
        if response.status_code == 200:

            def verdict(event_id: str) -> Verdict:
                replies = [reading.lists(child) for child in reading.children(event_id, "m.thread")]
                root = reading.lists(event_id)
                # A root none of whose replies may be seen is no thread to this reader, or is one: silence.
                return min(root, max(replies)) if max(replies) else min(root, EITHER)

            roots = [asked.room.named["root"], asked.room.named["new root"]]
            yield from asked.wrong_list(response.json()["chunk"], verdict, roots)

    compare(story, check)


def test_state(story: Story) -> None:
    def check(asked: Asked) -> Wrong:
        reading = asked.reading
        response = asked.get("state")
        yield from asked.wrong(response, reading.may_ask("state"), "state")
        if response.status_code == 200:
            ids = [event["event_id"] for event in response.json()]
            if not reading.is_state(ids):
                yield f"not the state: {[asked.told(event_id) for event_id in ids]}"

    compare(story, check)


def test_state_event(story: Story) -> None:
    def check(asked: Asked) -> Wrong:
        reading = asked.reading
        response = asked.get("state/m.room.topic", format="event")
        verdict = reading.may_ask("state_event")
        no_topic = response.status_code == 404 and verdict is not NO  # there was none when they left
        if not no_topic:
            yield from asked.wrong(response, verdict, "state_event")
        if no_topic or response.status_code == 200:
            given = [] if no_topic else [response.json()["event_id"]]
            if not reading.is_state(given, "m.room.topic"):
                yield f"not the topic: {[asked.told(event_id) for event_id in given]}"

    compare(story, check)


def test_members(story: Story) -> None:
    def check(asked: Asked) -> Wrong:
        reading = asked.reading
        response = asked.get("members")
        yield from asked.wrong(response, reading.may_ask("members"), "members")
        if response.status_code == 200:
            ids = [event["event_id"] for event in response.json()["chunk"]]
            if not reading.is_state(ids, "m.room.member"):
                yield f"not the members: {[asked.told(event_id) for event_id in ids]}"

    compare(story, check)


def test_members_at_a_token(story: Story) -> None:
    """The members at that point, or when the reader left if that was before."""

    def check(asked: Asked) -> Wrong:
        reading = asked.reading
        response = asked.get("members", at=asked.room.token)
        verdict = reading.may_ask("members")
        if reading.arrival >= asked.room.stages[MIDDLE]:
            verdict = min(verdict, EITHER)  # whether of a time before they joined, is not said
        yield from asked.wrong(response, verdict, "members")
        if response.status_code == 200:
            ids = {event["event_id"] for event in response.json()["chunk"]}
            if not reading.is_member_list_at(asked.room.stages[MIDDLE] - 1, ids):
                yield f"not the members then: {[asked.told(event_id) for event_id in ids]}"

    compare(story, check)


def test_joined_members(story: Story) -> None:
    def check(asked: Asked) -> Wrong:
        reading = asked.reading
        response = asked.get("joined_members")
        yield from asked.wrong(response, reading.may_ask("joined_members"), "joined_members")
        if response.status_code == 200:
            memberships = {
                event["state_key"]: event["content"]["membership"]
                for event in asked.room.events
                if event["type"] == "m.room.member"
            }
            joined = {user for user, membership in memberships.items() if membership == "join"}
            if set(response.json()["joined"]) != joined:
                yield "not who is joined"

    compare(story, check)


def test_initial_sync_of_a_room(story: Story) -> None:
    def check(asked: Asked) -> Wrong:
        reading = asked.reading
        response = asked.get("initialSync")
        yield from asked.wrong(response, reading.may_ask("initialSync"), "initialSync")
        if response.status_code != 200:
            return
        body = response.json()
        if body.get("membership", reading.membership) != reading.membership:
            yield f"membership {body['membership']}"
        ids = [event["event_id"] for event in body.get("state", [])]
        if not reading.is_state(ids):
            yield f"not the state: {[asked.told(event_id) for event_id in ids]}"
        chunk = body["messages"]["chunk"]
        yield from asked.wrong_list(chunk, reading.lists, newest(reading, chunk), bundled=False)

    compare(story, check)


def test_timestamp_to_event(story: Story) -> None:
    """Of visibility the text says nothing but that events "could be" such that a client cannot render."""

    def check(asked: Asked) -> Wrong:
        reading = asked.reading
        for direction, ts in (("f", 0), ("b", 2**52)):
            response = asked.get("timestamp_to_event", V1, dir=direction, ts=ts)
            verdict = reading.may_ask("timestamp_to_event")
            if reading.membership != "join":
                verdict = min(verdict, EITHER)
            yield from asked.wrong(response, verdict, "timestamp_to_event")
            if response.status_code == 200 and reading.lists(response.json()["event_id"]) is NO:
                yield f"{direction}: shows {asked.told(response.json()['event_id'])}"

    compare(story, check)


def test_search(story: Story) -> None:
    found: dict[str, dict[str, list[Json]]] = {}
    context: dict[str, list[Json]] = {}
    wrong = []
    for name, reader in story.readers.items():
        found[name] = {room.room_id: [] for room in story.rooms}
        criteria = {
            "search_term": "haystack",
            "filter": {"rooms": [room.room_id for room in story.rooms], "limit": 100},
            "event_context": {"before_limit": 2, "after_limit": 2},
            "order_by": "recent",
        }
        query: Json = {}
        while True:
            response = reader.post("/search", {"search_categories": {"room_events": criteria}}, **query)
            if name.startswith("guest"):
                if response.status_code != 403:
                    wrong.append(f"{name}: {response.status_code} for a guest")
                break
            answer = ok(response)["search_categories"]["room_events"]
            for result in answer.get("results", []):
                event = result["result"]
                around = result.get("context", {})
                found[name][event["room_id"]].append(event)
                nearby = around.get("events_before", []) + around.get("events_after", [])
                context.setdefault(f"{name} {event['room_id']}", []).extend(nearby)
            if "next_batch" not in answer:
                break
            query = {"next_batch": answer["next_batch"]}
    assert not wrong

    def check(asked: Asked) -> Wrong:
        reading = asked.reading
        if reading.guest:
            return
        # Whether an edit is found by itself, and what it edits by its old words, is not said.
        unsaid = {event_id for name, event_id in asked.room.named.items() if "edit" in name}
        if any(reading.lists(event_id) for event_id in unsaid):
            unsaid.add(asked.room.named["parent"])
        expected = set(asked.room.named.values()) - unsaid - {asked.room.named.get("change")}
        yield from asked.wrong_list(found[asked.name][asked.room.room_id], reading.finds, expected)
        for event in context.get(f"{asked.name} {asked.room.room_id}", []):
            for what in asked.wrong_list([event], reading.lists, [], bundled=False):
                yield f"context: {what}"

    compare(story, check)


def test_sync_after_each_stage(story: Story) -> None:
    """An initial sync before anything happened to the readers, and then one after every stage."""

    def check(asked: Asked) -> Wrong:
        for stage, answer in enumerate(story.syncs[asked.name]):
            asked.reading = story.reading(asked.room, asked.name, stage)
            since = asked.room.stages[stage - 1] if stage else 0
            for what in wrong_sync(asked, answer, since):
                yield f"stage {stage}: {what}"

    compare(story, check)


def test_initial_sync(story: Story) -> None:
    answers = {name: ok(reader.get("/sync", filter=AROUND)) for name, reader in story.readers.items()}
    compare(story, lambda asked: wrong_sync(asked, answers[asked.name], 0))


def test_initial_sync_without_rooms_left(story: Story) -> None:
    """And with a short timeline, before which /messages goes on."""
    brief = json.dumps({"room": {"timeline": {"limit": 4}}})
    answers = {
        name: ok(reader.get("/sync", filter=brief, use_state_after="true"))
        for name, reader in story.readers.items()
    }

    def check(asked: Asked) -> Wrong:
        reading = asked.reading
        section = reading.section(0)[0]
        for name, rooms in answers[asked.name].get("rooms", {}).items():
            if asked.room.room_id in rooms and (name != section or name == "leave"):
                yield f"is in {name}"
        if section != "join":
            return
        part = answers[asked.name]["rooms"]["join"].get(asked.room.room_id, {})
        state = {event["event_id"] for event in part["state_after"]["events"]}
        if not reading.is_state(state):
            yield "state_after is not the state"
        events = part["timeline"]["events"][::-1]
        if "prev_batch" in part["timeline"]:
            events += asked.pages(dir="b", **{"from": part["timeline"]["prev_batch"]})[1]
        yield from asked.wrong_list(events, reading.syncs, reading.index)

    compare(story, check)


def test_events_for_those_who_peek(story: Story) -> None:
    def check(asked: Asked) -> Wrong:
        if asked.name not in asked.room.peeked:
            return
        query = {"from": asked.room.peeked[asked.name], "room_id": asked.room.room_id, "timeout": 0}
        response = asked.client.get("/events", **query)
        if response.status_code == 200:
            chunk = response.json()["chunk"]
            yield from asked.wrong_list(chunk, asked.reading.lists, [], bundled=False)
            if not chunk and asked.reading.world_readable_now:
                yield "nothing new"
        elif asked.reading.world_readable_now or response.status_code not in (403, 404):
            yield f"{response.status_code} {response.text[:80]}"

    compare(story, check)


def probes(asked: Asked) -> list[str]:
    """What is asked for one by one: a message of each stretch, the change of the setting, one's own."""
    reading, named = asked.reading, asked.room.named
    stretches = {reading.stretch(named[name]): named[name] for name in PROBED}
    own = [reading.events[i]["event_id"] for i in reading.own]
    return [*stretches.values(), *filter(None, [named.get("change")]), *own]
