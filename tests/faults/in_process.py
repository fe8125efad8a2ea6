"""A whole Hearth inside the test's own process: the real object graph and endpoints, with no sockets to it.

Requests go straight to the application, so a hundred thousand of them take minutes. What it asks other
servers does go over the network.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.threadpool import ThreadPool
from twisted.trial import unittest

import homeserver.admin
import homeserver.client  # noqa: F401  (declares the endpoints)
from federation.request_signing import authorize
from homeserver.app.config.load import load
from homeserver.app.db import engine_of
from homeserver.app.wiring import build
from homeserver.http.application import Application
from homeserver.http.endpoint import ROUTES
from homeserver.http.rate_limit import RateLimits
from homeserver.protocol.signing import read_signing_keys
from storage import migrations
from tests.federation.authority import Authority
from tests.federation.processes import federate
from tests.federation.synthetic import Synthetic
from tests.processes import Hearth

Json = dict[str, Any]

the_reactor: Any = reactor


class InProcess(unittest.TestCase):
    """`self.remote` and this server know each other's keys."""

    timeout = 7200

    def setUp(self) -> Any:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        authority = Authority(self.directory)
        files = Hearth(self.directory / "hearth")  # its files; it is never started
        self.name = federate(files, authority)
        config = load(files.config_path).config
        engine = engine_of(config)
        migrations.upgrade(engine)
        self.pool = ThreadPool(0, 2)
        self.pool.start()
        self.key = read_signing_keys(config.signing_key_path.read_text())[0]
        self.server = build(config, engine, self.key, reactor, self.pool)
        self.server.db.start()
        self.application = Application(self.server, ROUTES, RateLimits())
        self.remote = Synthetic(authority)
        self.remote.trust(self.name, self.key.verify_key)
        self.tokens: dict[str, str] = {}
        return Deferred.fromCoroutine(self.server.push_rules.load())

    def tearDown(self) -> Any:
        self.remote.close()
        self.pool.stop()

        async def stop() -> None:
            await self.server.devices.flush()
            await self.server.federation.http.close()
            await self.server.presence.stop()
            self.server.typing.stop_all()
            await maybeDeferred(self.server.db.stop)

        def forget_timers(result: Any) -> Any:
            # A process would end here.
            for timer in the_reactor.getDelayedCalls():
                timer.cancel()
            return result

        return Deferred.fromCoroutine(stop()).addBoth(forget_timers)

    async def call(
        self, method: str, path: str, body: bytes = b"", query: Json | None = None, **headers: str
    ) -> tuple[int, Any]:
        request = self.application.new_request("127.0.0.1")
        request.method, request.path, request.body = method, path, body
        request.query = urlencode(query or {})
        request.headers = {name.encode(): value.encode() for name, value in headers.items()}
        self.application.route(request)
        rendered = await self.application.respond(request)
        return rendered.status, json.loads(rendered.body or b"null")

    async def ask(self, user_id: str, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """A client's request, which must succeed."""
        content = b"" if body is None else orjson.dumps(body)
        headers = {"authorization": f"Bearer {self.tokens[user_id]}"} if user_id else {}
        status, answer = await self.call(method, f"/_matrix/client/v3{path}", content, query, **headers)
        assert status == 200, (method, path, status, answer)
        return answer

    async def register(self, name: str) -> str:
        body = {"username": name, "password": "correct horse battery", "auth": {"type": "m.login.dummy"}}
        answer = await self.ask("", "POST", "/register", body)
        user_id: str = answer["user_id"]
        self.tokens[user_id] = answer["access_token"]
        return user_id

    async def transaction(self, txn: str, body: bytes, canonical: bytes | None = None) -> tuple[int, Any]:
        """From the remote; `canonical` is what it signs if `body` is not canonical itself."""
        uri = f"/_matrix/federation/v1/send/{txn}"
        signed = body if canonical is None else canonical
        header = authorize("PUT", uri, self.remote.name, self.name, signed, self.remote.key)
        return await self.call("PUT", uri, body, authorization=header)
