from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from homeserver.http.context import request_id
from homeserver.http.endpoint import ClientInfo, HttpRequest
from homeserver.http.server import HEAD_SECONDS, IDLE_SECONDS, LINGER_SECONDS, MAX_HEAD, STALL_SECONDS
from tests.homeserver.http.wire import Wire, endpoint

GET = b"GET /now HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Polls:
    """A handler that waits until it is told."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[str]] = []
        self.cancelled = 0

    async def __call__(self, server: Any, http: HttpRequest) -> dict[str, Any]:
        waiting: Deferred[str] = Deferred()
        self.waiting.append(waiting)
        try:
            return {"said": await waiting, "id": request_id.get()}
        except CancelledError:
            self.cancelled += 1
            raise


def now(server: Any, client: ClientInfo) -> dict[str, Any]:
    return {"address": client.address, "agent": client.user_agent}


def echo(server: Any, http: HttpRequest) -> bytes:
    return http.body


@pytest.fixture
def polls() -> Polls:
    return Polls()


@pytest.fixture
def wire(polls: Polls) -> Wire:
    async def poll(server: Any, http: HttpRequest) -> dict[str, Any]:
        return await polls(server, http)

    return Wire(
        endpoint("GET", "/now", now),
        endpoint("GET", "/poll", poll, cancel_on_disconnect=True),
        endpoint("POST", "/poll", poll),
        endpoint("PUT", "/echo", echo, raw=True, max_body=1000),
    )


def poll(path: str = "/poll", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\n\r\n".encode()


def test_an_answer(wire: Wire) -> None:
    answer = wire.request("GET", "/now", User_Agent="test")
    assert (answer.status, answer.json) == (200, {"address": "192.0.2.1", "agent": "test"})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert not wire.transport.disconnecting


def test_byte_by_byte(wire: Wire) -> None:
    data = b"PUT /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
    for byte in data[:-1]:
        assert wire.send(bytes([byte])) == []
    (answer,) = wire.send(data[-1:])
    assert answer.body == b"{}"


def test_one_write_per_answer(wire: Wire) -> None:
    wire.connection.dataReceived(GET)
    assert len(wire.transport.writes) == 1


def test_pipelined_requests_are_answered_in_order(wire: Wire, polls: Polls) -> None:
    assert wire.send(poll() + GET + poll() + GET) == []
    polls.waiting[0].callback("first")
    first, second = wire.answers()
    assert (first.json["said"], second.status) == ("first", 200)
    polls.waiting[1].callback("second")
    third, fourth = wire.answers()
    assert third.json["said"] == "second"
    assert "address" in fourth.json


def test_many_waiting_requests_stop_the_reading(wire: Wire, polls: Polls) -> None:
    wire.send(poll() + GET * 40)
    assert not wire.transport.reading
    polls.waiting[0].callback("")
    assert len(wire.answers()) == 41
    assert wire.transport.reading


def test_a_client_that_does_not_read_gets_no_more_answers(wire: Wire) -> None:
    wire.connection.pauseProducing()
    assert wire.send(GET) == []
    wire.connection.resumeProducing()
    assert len(wire.answers()) == 1


def test_chunked_bodies(wire: Wire) -> None:
    head = b"PUT /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    (answer,) = wire.send(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert answer.body == b"abcde"


def test_expect_100_continue(wire: Wire, polls: Polls) -> None:
    head = b"PUT /echo HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    wire.send(poll())
    wire.connection.dataReceived(head)
    assert wire.transport.value() == b""
    polls.waiting[0].callback("")
    assert wire.transport.value().endswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    wire.transport.writes.clear()
    assert wire.send(b"{}")[0].body == b"{}"


def test_expect_is_not_encouraged_for_what_is_too_large(wire: Wire) -> None:
    head = b"PUT /echo HTTP/1.1\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n"
    (answer,) = wire.send(head)
    assert answer.status == 413


def test_an_offer_to_upgrade_is_ignored(wire: Wire) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    answers = wire.send(
        b"GET /now HTTP/1.1\r\n" + offer + b"\r\n"
        b"PUT /echo HTTP/1.1\r\nContent-Length: 3\r\n" + offer + b"\r\nabc" + GET
    )
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert answers[1].body == b"abc"
    (answer,) = wire.send(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n")
    assert answer.status == 405


def test_head(wire: Wire) -> None:
    wire.connection.dataReceived(b"HEAD /now HTTP/1.1\r\n\r\n")
    data = wire.transport.value()
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 34\r\n" in data
    assert data.endswith(b"\r\n\r\n")


def test_options_everywhere(wire: Wire) -> None:
    for path in ("/now", "/poll", "/no/such/path"):
        answer = wire.request("OPTIONS", path)
        assert answer.status == 200
        assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("path", ["/nothing", "/now/", "//now"])
def test_unknown_paths(wire: Wire, path: str) -> None:
    answer = wire.request("GET", path)
    assert (answer.status, answer.json["errcode"]) == (404, "M_UNRECOGNIZED")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_wrong_method(wire: Wire) -> None:
    answer = wire.request("DELETE", "/now")
    assert (answer.status, answer.json["errcode"]) == (405, "M_UNRECOGNIZED")


def test_too_large_a_body_is_refused_unread(wire: Wire) -> None:
    (answer,) = wire.send(b"PUT /echo HTTP/1.1\r\nContent-Length: 1001\r\n\r\n")
    assert (answer.status, answer.json["errcode"]) == (413, "M_TOO_LARGE")
    assert answer.headers["Connection"] == "close"
    assert wire.send(b"x" * 1001 + GET) == []
    assert not wire.transport.disconnecting
    wire.reactor.advance(LINGER_SECONDS)
    assert wire.transport.disconnecting


def test_too_large_a_chunked_body(wire: Wire) -> None:
    head = b"PUT /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert wire.send(head + b"3e8\r\n" + b"x" * 1000 + b"\r\n") == []
    (answer,) = wire.send(b"1\r\nx\r\n")
    assert answer.status == 413


def test_too_large_a_head(wire: Wire) -> None:
    (answer,) = wire.send(b"GET /now HTTP/1.1\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n")
    assert answer.status == 431
    wire.connection, wire.transport = wire.connect()
    wire.send(b"GET /now HTTP/1.1\r\nX: ")
    sent = 0
    while not (answers := wire.send(b"x" * 10_000)):
        sent += 10_000
        assert sent < 200_000
    assert answers[0].status == 431


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02", b"GET /now HTTP/9.x\r\n\r\n", b"hello\r\n\r\n"])
def test_what_is_not_http(wire: Wire, data: bytes) -> None:
    (answer,) = wire.send(data)
    assert (answer.status, answer.json["errcode"]) == (400, "M_UNKNOWN")


def test_an_error_waits_for_the_answers_before_it(wire: Wire, polls: Polls) -> None:
    assert wire.send(poll() + b"PUT /echo HTTP/1.1\r\nContent-Length: 1001\r\n\r\n") == []
    polls.waiting[0].callback("first")
    first, second = wire.answers()
    assert (first.json["said"], second.status) == ("first", 413)


def test_connection_close(wire: Wire) -> None:
    (answer,) = wire.send(b"GET /now HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.headers["Connection"] == "close"
    assert wire.transport.disconnecting
    wire.connection, wire.transport = wire.connect()
    wire.send(b"GET /now HTTP/1.0\r\n\r\n")
    assert wire.transport.disconnecting


def test_a_client_that_leaves_cancels_a_long_poll_and_nothing_else(wire: Wire, polls: Polls) -> None:
    wire.send(poll())
    wire.disconnect()
    assert polls.cancelled == 1
    wire.connection, wire.transport = wire.connect()
    wire.send(poll(method="POST"))
    wire.disconnect()
    polls.waiting[1].callback("done all the same")
    assert polls.cancelled == 1
    assert wire.transport.value() == b""


def test_the_request_s_identity_is_there_after_waiting_and_gone_outside(wire: Wire, polls: Polls) -> None:
    other, transport = wire.connect()
    wire.send(poll())
    other.dataReceived(poll())
    assert request_id.get() is None
    polls.waiting[0].callback("")
    first = wire.answers()[0].json["id"]
    wire.transport = transport
    polls.waiting[1].callback("")
    assert wire.answers()[0].json["id"] == first + 1


def test_x_forwarded_for_is_believed_only_behind_a_proxy() -> None:
    for x_forwarded, expected in ((True, "192.0.2.9"), (False, "192.0.2.1")):
        wire = Wire(endpoint("GET", "/now", now), x_forwarded=x_forwarded)
        answer = wire.request("GET", "/now", X_Forwarded_For="203.0.113.1, 192.0.2.9")
        assert answer.json["address"] == expected


def test_slow_and_idle_clients_are_dropped(wire: Wire, polls: Polls) -> None:
    for data, seconds in (
        (b"", IDLE_SECONDS),
        (GET, IDLE_SECONDS),
        (b"GET /now", HEAD_SECONDS),
        (b"PUT /echo HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", STALL_SECONDS),
    ):
        wire.connection, wire.transport = wire.connect()
        wire.connection.dataReceived(data)
        wire.reactor.advance(seconds)
        wire.factory.sweep()
        assert not wire.transport.disconnecting, data
        wire.reactor.advance(6)
        wire.factory.sweep()
        assert wire.transport.disconnecting, data


def test_a_head_that_trickles_in_is_dropped_too(wire: Wire) -> None:
    wire.connection.dataReceived(b"GET /now HTTP/1.1\r\nX: ")
    for _ in range(10):
        wire.reactor.advance(HEAD_SECONDS / 9)
        wire.connection.dataReceived(b"x")
    wire.factory.sweep()
    assert wire.transport.disconnecting


def test_a_long_poll_is_not_idle(wire: Wire, polls: Polls) -> None:
    wire.send(poll())
    wire.reactor.advance(IDLE_SECONDS * 2)
    wire.factory.sweep()
    assert not wire.transport.disconnecting
