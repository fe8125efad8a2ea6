"""Whatever bytes come, asking ends with an answer or a RemoteError, never with our own bug."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import task
from twisted.internet.testing import StringTransport

from federation.connection import Connection, Reply
from homeserver.errors import RemoteError

PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 101 Switching\r\n",
        b"HTTP/1.0 204 No\r\n", b"Content-Length: 3\r\n", b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
        b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"ffffffffff\r\n",
        b"x" * 5000, b"a:b\r\n" * 150, b"\0", b"{}",
    ]
)


@settings(max_examples=300)
@given(st.lists(PIECES | st.binary(max_size=20), max_size=12), st.booleans())
def test_any_bytes(pieces: list[bytes], silent: bool) -> None:
    clock = task.Clock()
    idle: list[Connection] = []
    gone: list[Connection] = []
    connection: Any = Connection(clock, idle.append, gone.append)
    make_transport: Any = StringTransport  # untyped in Twisted
    transport = make_transport()
    connection.makeConnection(transport)
    outcome: list[Any] = []
    connection.ask(b"GET / HTTP/1.1\r\n\r\n", max_body=4000, silence=5).addBoth(outcome.append)
    for piece in pieces:
        if not transport.disconnecting:
            connection.dataReceived(piece)
    if silent:
        clock.advance(6)
    connection.connectionLost()
    (result,) = outcome
    assert isinstance(result, Reply) or isinstance(result.value, RemoteError), result
    if isinstance(result, Reply):
        assert len(result.body) <= 4000 and result.status >= 200
    assert gone == [connection] and clock.getDelayedCalls() == []
