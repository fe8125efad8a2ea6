"""A device that encrypts: a client of the specification's text, with no faults but those of its server.

https://spec.matrix.org/v1.19/client-server-api/#end-to-end-encryption

It follows `/sync` for members, device lists and keys, asks for lists that changed, claims a key of every
device that it has no session with, and gives the room's key to all devices of all members before it speaks.
A request that gets no answer is made again with the same transaction ID until there is one.
"""

import itertools
import json
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
from vodozemac import GroupSession, SessionKey

from tests.faults.marathon.olm import ONE_TIME, Olm, Peer, peer
from tests.harness import PASSWORD, Client, Json, room_path
from tests.processes import ServerProcess

FILTER = json.dumps({"room": {"timeline": {"limit": 10}}})
KEYS, FEW_KEYS = 50, 25
MESSAGES_A_SESSION = 20
PATIENCE = 120.0


@dataclass
class Group:
    """The session this device speaks with in a room, and who can read it."""

    session: GroupSession = field(default_factory=GroupSession)
    shared: set[Peer] = field(default_factory=set)
    said: int = 0


@dataclass(frozen=True)
class Said:
    event_id: str
    text: str
    shared: frozenset[str]
    """Device IDs."""


class Post:
    """Messages from device to device that their server has taken: message ID → device ID."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self.taken: dict[str, str] = {}
        self.copies: dict[str, int] = {}
        """How often one may come, if more than once."""

    def new_id(self) -> str:
        return f"post{next(self._numbers)}"

    def add(self, taken: dict[str, str], copies: int) -> None:
        with self._lock:
            self.taken |= taken
            if copies > 1:
                self.copies |= dict.fromkeys(taken, copies)


class Device:
    def __init__(self, server: ServerProcess, user: str, device_id: str, post: Post, *, new: bool) -> None:
        self.server = server
        self.client = Client(server.url)
        self.trusted = server.name == "hearth"
        """It answers as the specification says; others may answer 500 when they are stopped."""
        if not self.trusted:
            self.client.http.event_hooks = {}  # is not ours to judge
        self.post = post
        self.device_id = device_id
        self.asked: set[int] = set()
        """The processes of the server that may have heard the last request."""
        if new:
            body: Json = {"username": user, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
            self.expect("post", "/register", {**body, "device_id": device_id, "inhibit_login": True})
        identifier = {"type": "m.id.user", "user": user}
        login = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        self.client.adopt(self.expect("post", "/login", {**login, "device_id": device_id}))
        self.user_id = self.client.user_id
        self.olm = Olm(self.user_id, device_id)
        self.members: dict[str, set[str]] = {}
        self.lists: dict[str, dict[str, Peer]] = {}
        self.dirty: set[str] = set()
        self.doubtful: set[str] = set()
        """Rooms whose members must be asked for."""
        self.groups: dict[str, Group] = {}
        self.read: dict[str, str] = {}
        """Event ID → text."""
        self.unread: dict[str, tuple[str, Json]] = {}
        self.seen: set[str] = set()
        """Event IDs."""
        self.got: Counter[str] = Counter()
        self.syncs: deque[str] = deque(maxlen=60)
        """What the last ones brought, for whoever looks for an error."""
        self.complaints: list[str] = []
        self.refusal = ""
        """Why nothing could be said."""
        self._numbers = itertools.count(1)
        self.sync()  # before anybody can write to it: a first sync is told the last messages only
        self.expect("post", "/keys/upload", {"device_keys": self.olm.device_keys()})

    def ask(self, verb: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE
        self.asked = set()
        while True:
            pid = self.server.pid
            try:
                if verb == "get":
                    answer = self.client.get(path, **query)
                else:
                    answer = getattr(self.client, verb)(path, body, **query)
            except httpx.TransportError as error:
                if not isinstance(error, httpx.ConnectError):
                    self.asked.add(pid)
                assert time.monotonic() < deadline, f"{path} is not answered"
                time.sleep(0.1)
                continue
            self.asked.add(pid)
            if self.trusted or answer.status_code not in (500, 503) or time.monotonic() > deadline:
                return answer
            time.sleep(0.1)

    def expect(self, verb: str, path: str, body: Any = None, **query: Any) -> Json:
        answer = self.ask(verb, path, body, **query)
        assert answer.status_code == 200, f"{self.client.user_id} {verb} {path}: {answer.text}"
        return dict(answer.json())

    # following

    def sync(self, timeout: int = 0) -> None:
        query: Json = {"filter": FILTER, "timeout": timeout}
        since = self.client.since
        answer = self.expect("get", "/sync", **query, **({"since": since} if since else {}))
        self.client.since = answer["next_batch"]
        self.syncs.append(f"{since} to {self.client.since}")
        for event in answer.get("to_device", {}).get("events", []):
            self._take_post(event)
        lists = answer.get("device_lists", {})
        self.dirty |= set(lists.get("changed", []))
        for user_id in lists.get("left", []):
            self.lists.pop(user_id, None)
            self.dirty.discard(user_id)
        rooms = answer.get("rooms", {})
        for room_id, part in rooms.get("leave", {}).items():
            self.members.pop(room_id, None)
            self.groups.pop(room_id, None)
            self._take_events(room_id, part.get("timeline", {}).get("events", []))
        for room_id, part in rooms.get("join", {}).items():
            self._joined(room_id, part, since)
        count = answer.get("device_one_time_keys_count", {}).get(ONE_TIME, 0)
        if count < FEW_KEYS:
            self.expect("post", "/keys/upload", {"one_time_keys": self.olm.one_time_keys(KEYS - count)})

    def _joined(self, room_id: str, part: Json, since: str | None) -> None:
        members = self.members.setdefault(room_id, set())
        timeline = part.get("timeline", {})
        news = [event["event_id"][:6] for event in timeline.get("events", [])]
        self.syncs.append(f"  {room_id[:6]} {timeline.get('limited')} {timeline.get('prev_batch')} {news}")
        for event in (*part.get("state", {}).get("events", []), *timeline.get("events", [])):
            if event["type"] == "m.room.member":
                here = event["content"].get("membership") == "join"
                (members.add if here else members.discard)(event["state_key"])
        if not self.trusted:
            # Synapse's /sync does not tell all state where a room forked; that is not what is tested.
            self.doubtful.add(room_id)
        if since is not None and timeline.get("limited"):
            # Also of a room just joined again: another device of the same user may have joined long ago.
            self._fill_gap(room_id, timeline["prev_batch"])
        self._take_events(room_id, timeline.get("events", []))

    def look(self) -> None:
        """Asks for what a server does not tell by itself."""
        for room_id in self.doubtful & self.members.keys():
            answer = self.ask("get", f"{room_path(room_id)}/joined_members")
            if answer.status_code == 200:
                self.members[room_id] = set(answer.json()["joined"])
        self.doubtful.clear()

    def _fill_gap(self, room_id: str, start: str | None) -> None:
        """Pages back to what it knows: what closes a gap came last, but it does not stand there."""
        while start is not None:
            query = {"dir": "b", "limit": 200, "from": start}
            answer = self.ask("get", f"{room_path(room_id)}/messages", **query)
            if answer.status_code == 403:
                return  # left meanwhile
            assert answer.status_code == 200, answer.text
            page = answer.json()
            self.syncs.append(f"    from {start}: {[event['event_id'][:6] for event in page['chunk']]}")
            news = {event["event_id"] for event in page["chunk"]} - self.seen
            self._take_events(room_id, page["chunk"])
            start = page.get("end") if news and page.get("end") != start else None

    def scroll_back(self, room_id: str, wanted: set[str]) -> None:
        """Pages back from the room's end until it has seen these events, or there is no more."""
        query: Json = {"dir": "b", "limit": 200}
        while not wanted <= self.seen:
            answer = self.ask("get", f"{room_path(room_id)}/messages", **query)
            if answer.status_code != 200:
                return
            self._take_events(room_id, answer.json()["chunk"])
            if (end := answer.json().get("end")) is None or end == query.get("from"):
                return
            query["from"] = end

    def _take_post(self, event: Json) -> None:
        content = event["content"]
        message_id = content["org.matrix.msgid"]
        self.got[message_id] += 1
        if self.got[message_id] > 1:
            return  # can be decrypted once
        try:
            payload = self.olm.decrypt(content)
            assert (payload["sender"], payload["recipient"]) == (event["sender"], self.user_id)
        except Exception as error:
            self.complaints.append(f"{self} cannot read {message_id}: {error!r}")
            return
        key = payload["content"]
        self.olm.add_group(key["room_id"], key["session_id"], SessionKey(key["session_key"]))
        for event_id, (room_id, unread) in list(self.unread.items()):
            if unread["session_id"] == key["session_id"]:
                self._read(event_id, room_id, unread)

    def _take_events(self, room_id: str, events: list[Json]) -> None:
        self.seen.update(event["event_id"] for event in events)
        for event in events:
            if event["type"] == "m.room.encrypted" and event["event_id"] not in self.read:
                self._read(event["event_id"], room_id, event["content"])

    def _read(self, event_id: str, room_id: str, content: Json) -> None:
        plain = self.olm.read(room_id, content)
        if plain is None:
            self.unread[event_id] = room_id, content
            return
        self.unread.pop(event_id, None)
        self.read[event_id] = plain["content"]["body"]

    # speaking

    def refresh(self) -> None:
        """Asks for the lists of all it shares rooms with that changed, or are not known."""
        wanted = {user_id for members in self.members.values() for user_id in members}
        stale = {user_id for user_id in wanted if user_id in self.dirty or user_id not in self.lists}
        if not stale:
            return
        answer = self.expect("post", "/keys/query", {"device_keys": {user_id: [] for user_id in stale}})
        failed = set(answer["failures"])
        for user_id in stale:
            if user_id.partition(":")[2] in failed or user_id not in answer["device_keys"]:
                continue
            found = answer["device_keys"][user_id]
            self.lists[user_id] = {name: peer(user_id, name, keys) for name, keys in found.items()}
            self.dirty.discard(user_id)

    def peers(self, room_id: str) -> set[Peer]:
        """All other devices in a room that it knows."""
        return {
            each
            for user_id in self.members.get(room_id, ())
            for each in self.lists.get(user_id, {}).values()
            if each.device_id != self.device_id
        }

    def meet(self, peers: set[Peer]) -> set[Peer]:
        """Those that it has a session with; it claims keys for the others."""
        strangers = {each for each in peers if not self.olm.knows(each)}
        if strangers:
            wanted: dict[str, dict[str, str]] = {}
            for each in strangers:
                wanted.setdefault(each.user_id, {})[each.device_id] = ONE_TIME
            answer = self.expect("post", "/keys/claim", {"one_time_keys": wanted})["one_time_keys"]
            for each in strangers:
                claimed = answer.get(each.user_id, {}).get(each.device_id)
                if claimed:
                    self.olm.begin(each, claimed)
        return {each for each in peers if self.olm.knows(each)}

    def say(self, room_id: str, texts: list[str]) -> list[Said]:
        """What could be said: nothing if it is not in the room."""
        self.sync()
        self.look()
        said: list[Said] = []
        if self.user_id not in self.members.get(room_id, ()):
            self.refusal = f"no member among {self.members.get(room_id)} after {list(self.syncs)[-9:]}"
            return said
        self.refresh()
        readers = self.meet(self.peers(room_id))
        group = self.groups.get(room_id)
        if group is None or group.said >= MESSAGES_A_SESSION or group.shared - readers:
            group = self.groups[room_id] = Group()
            self.olm.add_group(room_id, group.session.session_id, group.session.session_key)
        self._share(room_id, group, readers - group.shared)
        shared = frozenset(each.device_id for each in group.shared)
        for text in texts:
            message = {"msgtype": "m.text", "body": text}
            payload = {"type": "m.room.message", "room_id": room_id, "content": message}
            content = self.olm.say(group.session, payload)
            group.said += 1
            answer = self.ask("put", f"{room_path(room_id)}/send/m.room.encrypted/{self._txn()}", content)
            if answer.status_code == 403:
                self.refusal = answer.text
                return said
            assert answer.status_code == 200, answer.text
            said.append(Said(answer.json()["event_id"], text, shared))
        return said

    def _share(self, room_id: str, group: Group, readers: set[Peer]) -> None:
        messages: dict[str, dict[str, Json]] = {}
        taken = {}
        for each in readers:
            key = {
                "algorithm": "m.megolm.v1.aes-sha2", "room_id": room_id,
                "session_id": group.session.session_id, "session_key": group.session.session_key.to_base64(),
            }  # fmt: skip
            payload = {
                "type": "m.room_key", "content": key, "sender": self.user_id, "recipient": each.user_id,
            }
            message_id = self.post.new_id()
            taken[message_id] = each.device_id
            content = self.olm.encrypt(each, payload)
            messages.setdefault(each.user_id, {})[each.device_id] = {
                **content, "org.matrix.msgid": message_id,
            }  # fmt: skip
        if messages:
            self.expect("put", f"/sendToDevice/m.room.encrypted/{self._txn()}", {"messages": messages})
            # Synapse's transaction IDs of /sendToDevice are in memory: the same PUT, made again after a stop
            # or a kill, was seen to deliver once more, where it did not without, nor ever to Hearth. So each
            # process of it that may have heard a request may have delivered it.
            self.post.add(taken, 1 if self.trusted else len(self.asked))
        group.shared |= readers

    def poke(self, room_id: str) -> None:
        """Something in the clear, so that the servers talk to each other."""
        body = {"msgtype": "m.text", "body": "poke"}
        self.ask("put", f"{room_path(room_id)}/send/m.room.message/{self._txn()}", body)

    def log_out(self) -> None:
        answer = self.ask("post", "/logout")
        assert answer.status_code in (200, 401), answer.text  # 401: the first answer was lost
        self.client.http.close()

    def join(self, room_id: str, via: str) -> bool:
        path = f"/join/{quote(room_id, safe='')}"
        return self.ask("post", path, {}, via=via, server_name=via).status_code == 200

    def _txn(self) -> str:
        return f"{self.device_id}.{next(self._numbers)}"

    def __repr__(self) -> str:
        return f"{self.user_id} {self.device_id}"
