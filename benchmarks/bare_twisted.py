"""The limit: Twisted's own web server answering the same requests, doing none of the work.

It gives out tokens and room IDs, answers a send with a made-up event ID, and wakes the syncs that wait.
Nothing is checked, signed or stored, so its figures are what an HTTP server alone would reach here.
"""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import orjson
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

numbers = itertools.count(1)
waiting: list[Request] = []
LISTED: dict[str, Any] = {f"!room{n}:localhost": {} for n in range(20)}


class Everything(Resource):
    isLeaf = True

    def render(self, request: Request) -> bytes | int:
        request.setHeader(b"Content-Type", b"application/json")  # type: ignore[no-untyped-call]
        path: bytes = request.path
        if request.method == b"GET":
            if path.endswith(b"/sync"):
                return sync(request)
            return b'{"nonce": "n", "versions": []}'
        assert request.content is not None
        body = orjson.loads(request.content.read() or b"{}")
        if b"/send/" in path:
            event_id = f"$event{next(numbers)}"
            wake({"type": "m.room.message", "event_id": event_id, "content": body})
            answer: dict[str, Any] = {"event_id": event_id}
        elif path.endswith(b"/sync"):
            answer = {"pos": str(next(numbers)), "lists": {"all_rooms": {"count": 500}}, "rooms": LISTED}
        elif path.endswith(b"/register"):
            answer = {"access_token": "t", "user_id": f"@{body['username']}:localhost", "device_id": "D"}
        else:
            answer = {"room_id": f"!room{next(numbers)}:localhost"}
        return orjson.dumps(answer)


def sync(request: Request) -> bytes | int:
    if request.args.get(b"timeout", [b"0"])[0] == b"0":
        return orjson.dumps({"next_batch": str(next(numbers))})
    waiting.append(request)
    request.notifyFinish().addErrback(forget, request)
    return NOT_DONE_YET


def forget(_gone: Failure, request: Request) -> None:
    if request in waiting:
        waiting.remove(request)


def wake(event: dict[str, object]) -> None:
    if not waiting:
        return
    room = {"!room:localhost": {"timeline": {"events": [event]}}}
    answer = orjson.dumps({"next_batch": str(next(numbers)), "rooms": {"join": room}})
    sleepers = waiting.copy()
    waiting.clear()
    for request in sleepers:
        request.write(answer)  # type: ignore[no-untyped-call]
        request.finish()  # type: ignore[no-untyped-call]


def main(reactor: Any) -> Deferred[None]:
    port = json.loads(Path(sys.argv[-1]).read_text())["listeners"][0]["port"]
    site = Site(Everything(), timeout=None)  # type: ignore[no-untyped-call]
    reactor.listenTCP(port, site, backlog=1000, interface="127.0.0.1")
    return Deferred()  # until a signal comes


if __name__ == "__main__":
    react(main)
