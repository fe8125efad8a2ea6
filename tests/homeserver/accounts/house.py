"""The services of accounts on a database under test, and requests to their endpoints without a socket."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import orjson
from twisted.internet.defer import succeed

import homeserver.admin
import homeserver.client  # noqa: F401  (both declare their endpoints)
from homeserver.accounts.accounts import Accounts
from homeserver.accounts.deactivation import Deactivation
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.registration_tokens import RegistrationTokens
from homeserver.accounts.settings import AccountSettings
from homeserver.accounts.shared_secret import SharedSecret
from homeserver.accounts.token_cache import TokenCache
from homeserver.accounts.tokens import Session, Tokens
from homeserver.accounts.uia import Uia
from homeserver.devices.devices import Devices
from homeserver.http.application import Application
from homeserver.http.endpoint import ROUTES, Endpoint
from homeserver.http.rate_limit import RateLimits
from homeserver.server import PublicFacts
from tests.homeserver.sync.fakes import FakeClock, run
from tests.storage.conftest import SynchronousDatabase

ALICE = "@alice:example.org"
BOB = "@bob:example.org"
PASSWORD = "wonderland"

OPEN_SETTINGS = AccountSettings(
    enable_registration=True, allow_guest_access=True, registration_shared_secret="shared"
)


def run_here(function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
    return succeed(function(*arguments))


class House:
    """Restart it by making another one on the same database."""

    def __init__(
        self,
        db: SynchronousDatabase,
        settings: AccountSettings = OPEN_SETTINGS,
        *,
        clock: FakeClock | None = None,
        limits: RateLimits | None = None,
        config: dict[str, Any] | None = None,
        routes: list[Endpoint] | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.db = db
        database = db.database
        cache = TokenCache()
        self.devices = Devices(database, self.clock, cache)
        self.tokens = Tokens(database, self.clock, cache, settings)
        passwords = Passwords(run_here, settings.password_policy, log_n=4)
        self.accounts = Accounts(
            database, self.clock, "example.org", settings, passwords, self.tokens, self.devices
        )
        self.deactivation = Deactivation(database, self.accounts, self.tokens, self.devices)
        self.registration_tokens = RegistrationTokens(database, self.clock)
        self.uia = Uia(
            self.clock, self.accounts, self.registration_tokens, reuse_ms=settings.ui_auth_session_timeout
        )
        self.shared_secret = SharedSecret(self.clock, settings.registration_shared_secret)
        server: Any = SimpleNamespace(
            rendezvous=SimpleNamespace(enabled=False),
            config=PublicFacts("example.org", "12", **(config or {})), clock=self.clock, db=database,
            accounts=self.accounts, tokens=self.tokens, devices=self.devices, uia=self.uia,
            deactivation=self.deactivation, registration_tokens=self.registration_tokens,
            shared_secret=self.shared_secret,
        )
        self.application = Application(
            server, ROUTES if routes is None else routes, limits or RateLimits(enabled=False)
        )

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        address: str = "192.0.2.1",
    ) -> tuple[int, Any]:
        """The status and the decoded body; `path` is below /_matrix/client/v3 unless it is whole."""
        if not path.startswith(("/_", "/.")):
            path = "/_matrix/client/v3" + path
        request = self.application.new_request(address)
        request.method = method
        request.path, _, request.query = path.partition("?")
        if token is not None:
            request.headers[b"authorization"] = b"Bearer " + token.encode()
        if body is not None:
            request.body = body if isinstance(body, bytes) else orjson.dumps(body)
        self.application.route(request)
        rendered = run(self.application.respond(request))
        is_json = b"application/json" in rendered.head
        return rendered.status, orjson.loads(rendered.body) if is_json else rendered.body

    def register(
        self, name: str = "alice", *, is_admin: bool = False, device_id: str | None = None
    ) -> Session:
        _, session = run(
            self.accounts.register(name, PASSWORD, is_admin=is_admin, session=(device_id, None, False))
        )
        assert session is not None
        return session


def password_stage(user: str = ALICE, password: str = PASSWORD, **more: Any) -> dict[str, Any]:
    identifier = {"type": "m.id.user", "user": user}
    return {"type": "m.login.password", "identifier": identifier, "password": password, **more}
