"""The push rules interface, from the request line to the database and back."""

from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from homeserver.accounts.requester import Requester
from homeserver.client import pushrules as pushrules
from homeserver.errors import MatrixError
from homeserver.http.decode import decode_request
from homeserver.http.endpoint import ROUTES
from homeserver.http.request import HttpRequest
from homeserver.http.router import Router
from homeserver.push.rules import PushRules
from tests.homeserver.push.world import World
from tests.storage.conftest import SynchronousDatabase, db, engine

__all__ = ["db", "engine"]

ALICE = "@alice:here"
PATH = "/_matrix/client/v3/pushrules"
LOUD = ["notify", {"set_tweak": "highlight"}]


class Caller:
    """Alice, asking."""

    def __init__(self, db: SynchronousDatabase) -> None:
        self.world = World(db)
        self.server: Any = SimpleNamespace(push_rules=self.world.rules)
        self.router = Router(route for route in ROUTES if "pushrules" in route.paths[0])

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        path, _, query = path.partition("?")
        nobody: Any = None
        request = HttpRequest(1, "127.0.0.1", nobody)
        request.method, request.path, request.query = method, path, query
        request.body = b"" if body is None else orjson.dumps(body)
        endpoint, request.path_args = self.router.find(method, path)
        assert endpoint.request_type is not None
        typed = decode_request(endpoint, endpoint.request_type, request)
        me: Requester = SimpleNamespace(user_id=ALICE)  # type: ignore[assignment]
        return self.world.run(endpoint.handler(self.server, me, typed))

    def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        with pytest.raises(MatrixError) as caught:
            self(method, path, body)
        return caught.value.status, caught.value.errcode

    def order(self, kind: str) -> list[str]:
        rules = self("GET", f"{PATH}/global/")[kind]
        return [rule["rule_id"] for rule in rules if not rule["default"]]


@pytest.fixture
def call(db: SynchronousDatabase) -> Caller:
    return Caller(db)


def test_reading(call: Caller) -> None:
    everything = call("GET", f"{PATH}/")
    assert everything == call("GET", PATH)
    assert everything["global"] == call("GET", f"{PATH}/global/") == call("GET", f"{PATH}/global")
    assert call("GET", "/_matrix/client/r0/pushrules/") == everything
    rule = call("GET", f"{PATH}/global/override/.m.rule.is_user_mention")
    assert rule["conditions"][0]["value"] == ALICE
    assert rule in everything["global"]["override"]
    assert call("GET", f"{PATH}/global/override/.m.rule.master/enabled") == {"enabled": False}
    assert call("GET", f"{PATH}/global/underride/.m.rule.message/actions") == {"actions": ["notify"]}


def test_a_rule_comes_changes_and_goes(call: Caller) -> None:
    room = f"{PATH}/global/room/{quote('!room:here', safe='')}"
    call("PUT", room, {"actions": ["dont_notify"]})
    rule = {"rule_id": "!room:here", "default": False, "enabled": True, "actions": []}
    assert call("GET", room) == rule
    call("PUT", f"{room}/enabled", {"enabled": False})
    call("PUT", f"{room}/actions", {"actions": LOUD})
    assert call("GET", room) == {**rule, "enabled": False, "actions": LOUD}
    assert call("GET", f"{room}/enabled") == {"enabled": False}
    call("DELETE", room)
    assert call.refused("GET", room) == (404, "M_NOT_FOUND")
    assert call.refused("DELETE", room) == (404, "M_NOT_FOUND")
    call("PUT", room, {"actions": []})
    assert call("GET", room) == rule


def test_each_kind_keeps_what_is_its_own(call: Caller) -> None:
    condition = {"kind": "room_member_count", "is": "<=10"}
    body = {"actions": LOUD, "conditions": [condition], "pattern": "cake"}
    kept: dict[str, dict[str, Any]] = {
        "override": {"conditions": [condition]},
        "underride": {"conditions": [condition]},
        "content": {"pattern": "cake"},
        "room": {},
        "sender": {},
    }
    for kind, own in kept.items():
        call("PUT", f"{PATH}/global/{kind}/mine", body)
        shown = {"rule_id": "mine", "default": False, "enabled": True, "actions": LOUD, **own}
        assert call("GET", f"{PATH}/global/{kind}/mine") == shown
    call("PUT", f"{PATH}/global/override/always", {"actions": []})
    assert call("GET", f"{PATH}/global/override/always")["conditions"] == []


def test_places(call: Caller) -> None:
    for name in ("a", "b", "c"):
        call("PUT", f"{PATH}/global/content/{name}", {"actions": [], "pattern": name})
    assert call.order("content") == ["c", "b", "a"]
    call("PUT", f"{PATH}/global/content/d?before=a", {"actions": [], "pattern": "d"})
    call("PUT", f"{PATH}/global/content/e?after=c", {"actions": [], "pattern": "e"})
    assert call.order("content") == ["c", "e", "b", "d", "a"]
    call("PUT", f"{PATH}/global/content/c?before=a&after=e", {"actions": [], "pattern": "c"})
    assert call.order("content") == ["e", "b", "d", "c", "a"]
    for anchor in ("before=nobody", "after=.m.rule.contains_user_name"):
        body = {"actions": [], "pattern": "x"}
        assert call.refused("PUT", f"{PATH}/global/content/x?{anchor}", body) == (400, "M_UNKNOWN")


def test_defaults_can_be_changed_but_not_deleted(call: Caller) -> None:
    rule = f"{PATH}/global/underride/.m.rule.message"
    call("PUT", f"{rule}/actions", {"actions": LOUD})
    call("PUT", f"{rule}/enabled", {"enabled": False})
    shown = call("GET", rule)
    assert (shown["actions"], shown["enabled"], shown["default"]) == (LOUD, False, True)
    assert call.refused("DELETE", rule) == (404, "M_NOT_FOUND")
    assert call.refused("PUT", rule, {"actions": []}) == (400, "M_INVALID_PARAM")


REFUSED: list[tuple[str, Any, tuple[int, str]]] = [
    ("override/.mine", {"actions": []}, (400, "M_INVALID_PARAM")),
    ("override/a%2Fb", {"actions": []}, (400, "M_INVALID_PARAM")),
    ("override/a%5Cb", {"actions": []}, (400, "M_INVALID_PARAM")),
    ("override/", {"actions": []}, (400, "M_INVALID_PARAM")),
    ("nonsense/a", {"actions": []}, (400, "M_INVALID_PARAM")),
    ("override/a", {}, (400, "M_BAD_JSON")),
    ("override/a", {"actions": "notify"}, (400, "M_BAD_JSON")),
    ("override/a", {"actions": [1]}, (400, "M_BAD_JSON")),
    ("override/a", {"actions": ["shout"]}, (400, "M_BAD_JSON")),
    ("override/a", {"actions": [{"tweak": 1}]}, (400, "M_BAD_JSON")),
    ("override/a", {"actions": [], "conditions": {}}, (400, "M_BAD_JSON")),
    ("override/a", {"actions": [], "conditions": ["x"]}, (400, "M_BAD_JSON")),
    ("override/a", {"actions": [], "conditions": [{}]}, (400, "M_BAD_JSON")),
    ("content/a", {"actions": []}, (400, "M_BAD_JSON")),
    ("content/a", {"actions": [], "pattern": 1}, (400, "M_BAD_JSON")),
    ("override/a/enabled", {"enabled": True}, (404, "M_NOT_FOUND")),
    ("override/a/enabled", {"enabled": "yes"}, (400, "M_BAD_JSON")),
    ("override/a/actions", {"actions": []}, (404, "M_NOT_FOUND")),
    ("override/.m.rule.message/enabled", {"enabled": True}, (404, "M_NOT_FOUND")),
    ("nonsense/a/enabled", {"enabled": True}, (400, "M_INVALID_PARAM")),
]


def test_what_is_refused(call: Caller) -> None:
    for path, body, answer in REFUSED:
        assert call.refused("PUT", f"{PATH}/global/{path}", body) == answer, (path, body)
    rules: PushRules = call.server.push_rules
    assert rules.version(ALICE) is None


def test_what_is_not_there(call: Caller) -> None:
    for path in ("override/a", "override/a/enabled", "content/.m.rule.message/actions"):
        assert call.refused("GET", f"{PATH}/global/{path}") == (404, "M_NOT_FOUND")
    assert call.refused("GET", f"{PATH}/device/") == (404, "M_UNRECOGNIZED")
