"""`hearth register-user` against a server that checks the signature as the real one must."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from homeserver.app.config import Config, Listener
from homeserver.app.register_user import base_url, register_user


class FakeServer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200, {"nonce": "one time"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = "admin" if body["admin"] else "notadmin"
        signed = "\0".join(("one time", body["username"], body["password"], kind)).encode()
        if hmac.new(b"hush", signed, hashlib.sha1).hexdigest() != body["mac"]:
            self._answer(403, {"errcode": "M_FORBIDDEN", "error": "HMAC incorrect"})
        else:
            self._answer(200, {"user_id": f"@{body['username']}:a"})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def config() -> Iterator[Config]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeServer)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    listener = Listener(port=server.server_address[1])
    yield Config(server_name="a", registration_shared_secret="hush", listeners=(listener,))
    server.shutdown()
    server.server_close()


def test_makes_users_and_administrators(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert register_user(config, "alice", "pässword", admin=False, url=None) == 0
    assert register_user(config, "root", "pässword", admin=True, url=None) == 0
    assert capsys.readouterr().out.splitlines() == [
        "@alice:a is there.",
        "@root:a is there, an administrator.",
    ]


def test_asks_for_what_is_missing(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["secret", "secret", "secret", "typo"])
    monkeypatch.setattr("builtins.input", lambda prompt: "alice")
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    assert register_user(config, None, None, admin=False, url=None) == 0
    assert register_user(config, None, None, admin=False, url=None) == 1


def test_says_why_it_failed(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = replace(config, registration_shared_secret="other")
    assert register_user(wrong, "alice", "x", admin=False, url=None) == 1
    assert "HMAC incorrect" in capsys.readouterr().err
    assert register_user(config, "alice", "x", admin=False, url="http://127.0.0.1:1") == 1
    assert "hearth run" in capsys.readouterr().err
    none = replace(config, registration_shared_secret=None)
    assert register_user(none, "alice", "x", admin=False, url=None) == 1
    assert "registration_shared_secret" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("listener", "url"),
    [
        (Listener(port=8008), "http://127.0.0.1:8008"),
        (Listener(port=80, bind_addresses=("0.0.0.0",)), "http://127.0.0.1:80"),
        (Listener(port=8448, bind_addresses=("::",), tls=True), "https://[::1]:8448"),
        (Listener(port=9000, type="metrics"), "https://a"),
    ],
)
def test_where_the_server_answers(listener: Listener, url: str) -> None:
    assert base_url(Config(server_name="a", listeners=(listener,))) == url
