"""What the check of answers lets pass and what it does not."""

from typing import Any

import httpx
import pytest

from tests.spec.responses import check, find


def answer(method: str, path: str, status: int, body: Any, **headers: str) -> httpx.Response:
    request = httpx.Request(method, f"http://localhost{path}", headers={"Authorization": "Bearer x"})
    cors = {"Access-Control-Allow-Origin": "*"}
    return httpx.Response(status, json=body, headers=cors | headers, request=request)


EVENT = {"type": "m.a", "sender": "@a:b", "content": {}, "event_id": "$a", "origin_server_ts": 1}
EVENT_PATH = "/_matrix/client/v3/rooms/!a/event/$a"


def test_operations_are_found_by_their_paths() -> None:
    assert find("GET", "/_matrix/client/r0/sync") == "GET /_matrix/client/v3/sync"
    assert find("GET", "/_matrix/client/v3/pushrules/global/") == "GET /_matrix/client/v3/pushrules/global/"
    state = "GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}"
    for path in ("m.room.name", "m.room.name/", "m.room.member/%40a%3Ab"):
        assert find("GET", f"/_matrix/client/v3/rooms/!a/state/{path}") == state
    assert find("PUT", "/_matrix/client/v3/sync") is None


def test_what_is_right_passes() -> None:
    check(answer("GET", EVENT_PATH, 200, EVENT | {"room_id": "!a"}))
    check(answer("GET", EVENT_PATH, 404, {"errcode": "M_NOT_FOUND", "error": "No such event."}))
    check(answer("GET", "/_synapse/admin/v1/anything", 200, []))
    flows = {"flows": [{"stages": ["m.login.password"]}], "params": {}, "session": "a"}
    check(answer("DELETE", "/_matrix/client/v3/devices/A", 401, flows))


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        (EVENT_PATH, 200, EVENT),
        (EVENT_PATH, 200, EVENT | {"room_id": "a"}),
        (EVENT_PATH, 204, EVENT | {"room_id": "!a"}),
        (EVENT_PATH, 404, {"errcode": "M_NOT_FOUND"}),
        (EVENT_PATH, 401, {"flows": []}),
        ("/_matrix/client/v3/nothing", 404, {"error": "No."}),
        ("/_matrix/client/v3/sync", 200, {"next_batch": 1}),
    ],
)
def test_what_is_wrong_fails(path: str, status: int, body: Any) -> None:
    with pytest.raises(AssertionError):
        check(answer("GET", path, status, body))


def test_every_answer_is_for_every_web_page() -> None:
    with pytest.raises(AssertionError, match="CORS"):
        check(httpx.Response(200, json={}, request=httpx.Request("GET", "http://x/_matrix/client/versions")))
