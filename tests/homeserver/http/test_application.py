"""From declared endpoints to answers: routing, decoding, authentication, limits, errors."""

from typing import Annotated, Any

import pytest
from twisted.logger import LogLevel, globalLogPublisher

from homeserver.errors import Forbidden, MissingParam
from homeserver.http.endpoint import (
    ADMIN,
    OPTIONAL,
    USER,
    Body,
    HttpRequest,
    Query,
    Request,
    Requester,
    Response,
)
from homeserver.http.rate_limit import Rate, RateLimits, Tier
from tests.homeserver.http.wire import Wire, endpoint

V3 = "/_matrix/client/v3"


class SetTyping(Request, kw_only=True):
    room_id: str
    user_id: str
    typing: bool
    timeout: int = 30_000


class Search(Request, kw_only=True):
    since: Annotated[str | None, Query("from")] = None
    limit: int = 10
    via: list[str] = []
    full: bool = False


class Content(Request, kw_only=True):
    room_id: str
    type: str
    key: str = ""
    delay: Annotated[int | None, Query("org.example.delay")] = None
    content: Annotated[dict[str, Any], Body]


class Needed(Request, kw_only=True):
    token: Annotated[str, Query()]
    name: str


async def set_typing(server: Any, me: Requester, req: SetTyping) -> dict[str, Any]:
    return {"room": req.room_id, "user": req.user_id, "typing": req.typing, "timeout": req.timeout}


def search(server: Any, req: Search) -> dict[str, Any]:
    return {"since": req.since, "limit": req.limit, "via": req.via, "full": req.full}


def put_content(server: Any, req: Content) -> dict[str, Any]:
    return {"type": req.type, "key": req.key, "delay": req.delay, "content": req.content}


def whoami(server: Any, me: Requester | None) -> dict[str, Any]:
    return {"user_id": me.user_id if me else None}


def needed(server: Any, req: Needed) -> None:
    return None


def broken(server: Any) -> None:
    raise ZeroDivisionError("a bug")


def forbidden(server: Any) -> None:
    raise Forbidden("No.", extra_field=1)


def teapot(server: Any) -> Response:
    return Response(418, b"short", {"Content-Type": "text/plain", "X-Pot": "tea"})


@pytest.fixture
def wire() -> Wire:
    limits = RateLimits(
        named={"typing": Rate(1, 2)}, tiers=(Tier(("@bot*:x",), (), 2), Tier((), ("10.0.0.0/8",), 0))
    )
    wire = Wire(
        endpoint("PUT", V3 + "/rooms/{room_id}/typing/{user_id}", set_typing, auth=USER, rate="typing"),
        endpoint("GET", V3 + "/search", search),
        endpoint(
            "PUT", V3 + "/rooms/{room_id}/state/{type}/{key}", put_content,
            aliases=[V3 + "/rooms/{room_id}/state/{type}"],
        ),
        endpoint("GET", V3 + "/rooms/{room_id}/state/literal", whoami, auth=OPTIONAL),
        endpoint("GET", "/me", whoami, auth=USER, guests=True),
        endpoint("PUT", "/me", whoami, auth=USER, writes=True),
        endpoint("POST", "/me", whoami, auth=USER, locked=True),
        endpoint("GET", "/admin", whoami, auth=ADMIN),
        endpoint("GET", "/limited", whoami, auth=OPTIONAL, rate="typing", guests=True),
        endpoint("POST", "/needed", needed, missing=MissingParam),
        endpoint("GET", "/broken", broken),
        endpoint("GET", "/forbidden", forbidden),
        endpoint("GET", "/teapot", teapot),
        limits=limits,
    )
    wire.tokens.add("alice", "@alice:x")
    wire.tokens.add("bot", "@bot1:x")
    wire.tokens.add("guest", "@guest:x", is_guest=True)
    wire.tokens.add("admin", "@admin:x", is_admin=True)
    wire.tokens.add("locked", "@locked:x", locked=True)
    wire.tokens.add("suspended", "@suspended:x", suspended=True)
    return wire


def call(wire: Wire, method: str, path: str, body: bytes | None = None, token: str | None = None) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = wire.request(method, path, body, **headers)
    return answer.json if answer.status == 200 else (answer.status, answer.json["errcode"])


def test_path_and_body(wire: Wire) -> None:
    path = V3 + "/rooms/%21a%2Fb%3Ax/typing/@alice:x"
    expected = {"room": "!a/b:x", "user": "@alice:x", "typing": True, "timeout": 30_000}
    assert call(wire, "PUT", path, b'{"typing": true, "room_id": "!other", "more": 1}', "alice") == expected


def test_r0_and_the_token_in_the_query(wire: Wire) -> None:
    path = "/_matrix/client/r0/rooms/!a/typing/@alice:x?access_token=alice"
    assert call(wire, "PUT", path, b'{"typing": false}')["typing"] is False


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "M_NOT_JSON"),
        (b"{", "M_NOT_JSON"),
        (b'{"typing": true', "M_NOT_JSON"),
        (b"\xff", "M_NOT_JSON"),
        (b'{"typing": NaN}', "M_NOT_JSON"),
        (b'{"typing": "\\ud800"}', "M_NOT_JSON"),
        (b"[" * 100_000, "M_NOT_JSON"),
        (b"[]", "M_BAD_JSON"),
        (b"null", "M_BAD_JSON"),
        (b"{}", "M_BAD_JSON"),
        (b'{"typing": 1}', "M_BAD_JSON"),
        (b'{"typing": "true"}', "M_BAD_JSON"),
        (b'{"typing": true, "timeout": "1"}', "M_BAD_JSON"),
        (b'{"typing": true, "timeout": 1.5}', "M_BAD_JSON"),
        (b'{"typing": true, "timeout": null}', "M_BAD_JSON"),
    ],
)
def test_wrong_bodies(wire: Wire, body: bytes, expected: str) -> None:
    assert call(wire, "PUT", V3 + "/rooms/!a/typing/@alice:x", body, "alice") == (400, expected)


def test_query(wire: Wire) -> None:
    path = V3 + "/search?from=a%20b+c&limit=3&via=one&via=two&full=true&unknown=1&"
    assert call(wire, "GET", path) == {"since": "a b c", "limit": 3, "via": ["one", "two"], "full": True}
    assert call(wire, "GET", V3 + "/search") == {"since": None, "limit": 10, "via": [], "full": False}


@pytest.mark.parametrize(
    "query", ["limit=x", "limit=", "limit=1.5", "full=maybe", "from=%ff", "from=a%00b", "%00=1"]
)
def test_wrong_queries(wire: Wire, query: str) -> None:
    assert call(wire, "GET", V3 + "/search?" + query) == (400, "M_INVALID_PARAM")


def test_missing_parameters(wire: Wire) -> None:
    assert call(wire, "POST", "/needed", b'{"name": "x"}') == (400, "M_MISSING_PARAM")
    assert call(wire, "POST", "/needed?token=x", b"{}") == (400, "M_MISSING_PARAM")
    assert call(wire, "POST", "/needed?token=x", b'{"name": "x"}') == {}
    # The query's field cannot come from the body.
    assert call(wire, "POST", "/needed", b'{"name": "x", "token": "x"}') == (400, "M_MISSING_PARAM")
    assert call(wire, "POST", "/needed?token=x", b'{"name": "a\\u0000b"}') == (400, "M_BAD_JSON")


def test_a_whole_body_an_optional_segment_and_an_empty_one(wire: Wire) -> None:
    body = b'{"type": "t", "room_id": 7}'
    expected = {"type": "m.x", "key": "", "delay": None, "content": {"type": "t", "room_id": 7}}
    assert call(wire, "PUT", V3 + "/rooms/!a/state/m.x", body) == expected
    assert call(wire, "PUT", V3 + "/rooms/!a/state/m.x/", body) == expected
    path = V3 + "/rooms/!a/state/m.x/a%2Fb%C3%A9?org.example.delay=5"
    assert call(wire, "PUT", path, body) == expected | {"key": "a/bé", "delay": 5}
    assert call(wire, "PUT", V3 + "/rooms/!a/state/m.x", b"[]") == (400, "M_BAD_JSON")


@pytest.mark.parametrize("segment", ["%ff", "a%00b", "%C3"])
def test_paths_that_are_no_text(wire: Wire, segment: str) -> None:
    assert call(wire, "PUT", V3 + f"/rooms/!a/state/{segment}", b"{}") == (400, "M_INVALID_PARAM")


def test_a_literal_wins_over_a_parameter_and_does_not_hide_it(wire: Wire) -> None:
    assert call(wire, "GET", V3 + "/rooms/!a/state/literal") == {"user_id": None}
    assert call(wire, "GET", V3 + "/rooms/!a/state/other") == (405, "M_UNRECOGNIZED")
    assert call(wire, "PUT", V3 + "/rooms/!a/state/literal/key", b"{}")["key"] == "key"


def test_authentication(wire: Wire) -> None:
    for _ in range(2):  # looked up, then remembered
        assert call(wire, "GET", "/me", token="alice") == {"user_id": "@alice:x"}
    assert wire.tokens.looked_up == ["alice"]
    assert call(wire, "GET", "/me") == (401, "M_MISSING_TOKEN")
    assert call(wire, "GET", "/me", token="wrong") == (401, "M_UNKNOWN_TOKEN")
    assert wire.request("GET", "/me", Authorization="Basic YTpi").json["errcode"] == "M_MISSING_TOKEN"
    assert call(wire, "GET", V3 + "/rooms/!a/state/literal", token="alice") == {"user_id": "@alice:x"}
    assert call(wire, "GET", V3 + "/rooms/!a/state/literal", token="wrong") == (401, "M_UNKNOWN_TOKEN")


def test_who_may_do_what(wire: Wire) -> None:
    assert call(wire, "GET", "/me", token="guest") == {"user_id": "@guest:x"}
    assert call(wire, "PUT", "/me", b"{}", token="guest") == (403, "M_GUEST_ACCESS_FORBIDDEN")
    assert call(wire, "GET", "/me", token="suspended") == {"user_id": "@suspended:x"}
    assert call(wire, "PUT", "/me", b"{}", token="suspended") == (403, "M_USER_SUSPENDED")
    answer = wire.request("GET", "/me", Authorization="Bearer locked")
    assert (answer.status, answer.json["errcode"], answer.json["soft_logout"]) == (401, "M_USER_LOCKED", True)
    assert call(wire, "POST", "/me", b"{}", token="locked") == {"user_id": "@locked:x"}
    assert call(wire, "GET", "/admin", token="admin") == {"user_id": "@admin:x"}
    assert call(wire, "GET", "/admin", token="alice") == (403, "M_FORBIDDEN")


def test_an_expired_token(wire: Wire) -> None:
    wire.tokens.add("short", "@alice:x", expires_at=wire.clock.now_ms() + 1000)
    assert call(wire, "GET", "/me", token="short") == {"user_id": "@alice:x"}
    wire.clock.advance(1)
    answer = wire.request("GET", "/me", Authorization="Bearer short")
    assert (answer.json["errcode"], answer.json["soft_logout"]) == ("M_UNKNOWN_TOKEN", True)


def allowed(wire: Wire, token: str | None, attempts: int) -> int:
    return sum("user_id" in call(wire, "GET", "/limited", token=token) for _ in range(attempts))


def test_limits_by_user_and_by_address(wire: Wire) -> None:
    assert allowed(wire, "alice", 4) == 2
    assert allowed(wire, "bot", 6) == 4
    assert allowed(wire, "guest", 3) == 1
    assert allowed(wire, "admin", 5) == 5
    assert allowed(wire, None, 4) == 2
    answer = wire.request("GET", "/limited", Authorization="Bearer alice")
    assert (answer.status, answer.json["retry_after_ms"], answer.headers["Retry-After"]) == (429, 1000, "1")
    wire.clock.advance(1)
    assert allowed(wire, "alice", 4) == 1
    wire.application.limiter.override("@alice:x", 0)
    assert allowed(wire, "alice", 4) == 4
    wire.application.limiter.override("@alice:x", None)
    assert allowed(wire, "alice", 1) == 0


def test_addresses_without_limit(wire: Wire) -> None:
    limiter = wire.application.limiter
    for _ in range(5):
        limiter.check_request("typing", None, "10.1.2.3")
        limiter.check_request("typing", Requester("@carol:x", None), "10.1.2.3")


def test_errors_and_other_answers(wire: Wire) -> None:
    assert wire.request("GET", "/forbidden").json == {
        "errcode": "M_FORBIDDEN", "error": "No.", "extra_field": 1
    }
    answer = wire.request("GET", "/teapot")
    assert (answer.status, answer.body, answer.headers["X-Pot"]) == (418, b"short", "tea")
    assert answer.headers["Content-Type"] == "text/plain"


def test_bugs_are_logged_and_tell_the_client_nothing(wire: Wire) -> None:
    events: list[Any] = []
    observer: Any = events.append
    globalLogPublisher.addObserver(observer)
    try:
        answer = wire.request("GET", "/broken?access_token=secret")
    finally:
        globalLogPublisher.removeObserver(observer)
    assert (answer.status, answer.json["errcode"]) == (500, "M_UNKNOWN")
    assert b"bug" not in answer.body
    (event,) = [event for event in events if event["log_level"] is LogLevel.critical]
    assert event["log_failure"].type is ZeroDivisionError
    assert "secret" not in str(event["path"])


def test_declarations_that_cannot_work_are_refused() -> None:
    def no_field(server: Any, req: Search) -> None: ...

    def nothing_to_give(server: Any, number: int) -> None: ...

    with pytest.raises(TypeError):
        endpoint("GET", "/{name}", no_field)
    with pytest.raises(TypeError):
        endpoint("GET", "/", nothing_to_give)
    with pytest.raises(ValueError, match="twice"):
        Wire(endpoint("GET", "/a", broken), endpoint("GET", "/a", broken))


def test_raw_bodies() -> None:
    def upload(server: Any, http: HttpRequest) -> dict[str, Any]:
        return {"size": len(http.body), "type": http.headers[b"content-type"].decode()}

    wire = Wire(endpoint("POST", "/upload", upload, raw=True, max_body=10_000_000))
    answer = wire.request("POST", "/upload", b"\x00" * 5_000_000, Content_Type="image/png")
    assert answer.json == {"size": 5_000_000, "type": "image/png"}
