"""User-interactive authentication: proving again who one is, in stages, before delicate requests.

https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api

A session is bound to one operation (`Operation`: who, method, path and body), so a password typed for one
purpose never pays for another. A stage that is sent without a session, or with one that is no longer
known, is judged all the same, in a session of its own: one request is enough for a client that knows the
flow, and a restart of the server costs nobody a failed attempt.
"""

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from homeserver.accounts.accounts import Accounts, user_of_identifier
from homeserver.accounts.registration_tokens import RegistrationTokens
from homeserver.clock import Clock
from homeserver.errors import BadJson, Forbidden, MatrixError, MissingParam

DUMMY = "m.login.dummy"
PASSWORD = "m.login.password"
REGISTRATION_TOKEN = "m.login.registration_token"

Flows = Sequence[Sequence[str]]
PASSWORD_FLOW: Flows = ((PASSWORD,),)

LIFETIME_MS = 24 * 3_600_000
MAX_SESSIONS = 100_000


class Operation(NamedTuple):
    """What is to be allowed. `body` is a digest of the request without its `auth`."""

    user_id: str | None
    method: str
    path: str
    body: bytes


@dataclass(slots=True)
class Session:
    id: str
    operation: Operation
    created_ts: int
    # Completed stages in order, with what each one proved: the user ID, the registration token.
    completed: dict[str, str] = field(default_factory=dict)


Stage = Callable[[dict[str, Any], Operation], Awaitable[str]]
"""Judges the `auth` object of a stage: returns what it proves, or raises the MatrixError to show."""


class SomebodyElse(Forbidden):
    """No further attempt helps: whoever this is, the request is not theirs."""


class InteractiveAuth(MatrixError):
    """401 with the flows; `because` says what was wrong with the attempt, if there was one."""

    def __init__(self, flows: Flows, session: Session, because: MatrixError | None) -> None:
        super().__init__(because.message if because else "", status=401)
        self.failed = because is not None
        self._fields: dict[str, Any] = because.body() if because else {}
        self._fields |= {
            "flows": [{"stages": list(stages)} for stages in flows],
            "params": {},
            "session": session.id,
        }
        if session.completed:
            self._fields["completed"] = list(session.completed)

    def body(self) -> dict[str, Any]:
        return self._fields


class Uia:
    def __init__(
        self, clock: Clock, accounts: Accounts, registration_tokens: RegistrationTokens, *, reuse_ms: int = 0
    ) -> None:
        self._clock = clock
        self._accounts = accounts
        self._registration_tokens = registration_tokens
        self._reuse_ms = reuse_ms
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        # When an access token last passed, for `reuse_ms`.
        self._passed: dict[int, int] = {}
        self.stages: dict[str, Stage] = {
            DUMMY: _dummy, PASSWORD: self._password, REGISTRATION_TOKEN: self._registration_token
        }

    async def require(
        self, operation: Operation, auth: Any, flows: Flows = PASSWORD_FLOW, *, token_id: int = 0
    ) -> Session:
        """Returns once a flow is complete; until then raises what the client must be told.

        `token_id`: the access token of the request, whose recent success may count again; 0 where it
        must be proved afresh.
        """
        if auth is not None and not isinstance(auth, dict):
            raise BadJson("The field 'auth' is not an object.")
        if auth is None and token_id and self._passed_lately(token_id):
            return Session("", operation, self._clock.now_ms())
        session = self._session(operation, auth)
        if auth is None:
            raise InteractiveAuth(flows, session, None)
        because = await self._attempt(session, auth, flows)
        if any(list(flow) == list(session.completed) for flow in flows):
            self._sessions.pop(session.id, None)
            if token_id and self._reuse_ms:
                self._passed[token_id] = self._clock.now_ms()
            return session
        raise InteractiveAuth(flows, session, because)

    def find(self, session_id: str) -> Session | None:
        return self._sessions.get(session_id)

    async def complete(self, session: Session, auth: dict[str, Any]) -> None:
        """A stage passed outside of the request itself: on the fallback page."""
        stage = auth["type"]
        session.completed[stage] = await self.stages[stage](auth, session.operation)

    async def _attempt(self, session: Session, auth: dict[str, Any], flows: Flows) -> MatrixError | None:
        stage = auth.get("type")
        if stage is None or (isinstance(stage, str) and stage in session.completed):
            return None
        so_far = [*session.completed, stage]
        if not isinstance(stage, str) or not any(list(flow)[: len(so_far)] == so_far for flow in flows):
            return MatrixError("This stage is not the next one of any flow.", errcode="M_UNRECOGNIZED")
        try:
            session.completed[stage] = await self.stages[stage](auth, session.operation)
        except MatrixError as error:
            if error.status == 429 or isinstance(error, SomebodyElse):
                raise
            return error
        return None

    async def _password(self, auth: dict[str, Any], operation: Operation) -> str:
        password = auth.get("password")
        if not isinstance(password, str):
            raise MissingParam("The password is missing.")
        account = await self._accounts.check_password(user_of_identifier(auth), password)
        if operation.user_id not in (None, account.user_id):
            raise SomebodyElse("The password is that of another user.")
        return account.user_id

    async def _registration_token(self, auth: dict[str, Any], operation: Operation) -> str:
        token = auth.get("token")
        if not isinstance(token, str):
            raise MissingParam("The registration token is missing.")
        if "\0" in token or not await self._registration_tokens.is_valid(token):
            raise MatrixError("The registration token is not valid.", status=401, errcode="M_UNAUTHORIZED")
        return token

    def _session(self, operation: Operation, auth: dict[str, Any] | None) -> Session:
        self._forget_old()
        session = self._sessions.get(str(auth.get("session"))) if auth else None
        if session is None:
            session = Session(secrets.token_urlsafe(18), operation, self._clock.now_ms())
            self._sessions[session.id] = session
        elif session.operation != operation:
            raise Forbidden("The request is not the one that this authentication session was begun for.")
        return session

    def _passed_lately(self, token_id: int) -> bool:
        since = self._passed.get(token_id)
        if since is not None and self._clock.now_ms() - since <= self._reuse_ms:
            return True
        self._passed.pop(token_id, None)
        return False

    def _forget_old(self) -> None:
        oldest = self._clock.now_ms() - LIFETIME_MS
        while self._sessions:
            first = next(iter(self._sessions.values()))
            if first.created_ts > oldest and len(self._sessions) < MAX_SESSIONS:
                return
            del self._sessions[first.id]


async def _dummy(auth: dict[str, Any], operation: Operation) -> str:
    return ""
