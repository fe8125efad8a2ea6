"""Places where two devices meet that do not know each other yet: one of them signs the other in by QR code.

MSC4108 and MSC4388, https://github.com/matrix-org/matrix-spec-proposals/pull/4388

A session is one text of at most 4 KiB that whoever knows its ID may read and replace. Each write names the
version it replaces, so neither device overwrites what it has not seen. The devices do not trust this server
and encrypt what they say; all it must do is forget: sessions live in memory, for a few minutes, and when
there are too many, the oldest goes.
"""

import secrets
from dataclasses import dataclass

from homeserver.clock import Clock
from homeserver.errors import NotFound, TooLarge

MAX_BYTES = 4096
LIFETIME_MS = 300_000
# 12 MB at most. An address may make a session every ten seconds, see the bucket "rendezvous_create".
MAX_SESSIONS = 3000


@dataclass(slots=True)
class Session:
    """`version` is another with every write. Times in milliseconds since 1970."""

    id: str
    data: str
    version: str
    modified: int
    expires: int


class ConcurrentWrite(Exception):
    """The version to be replaced is not the one that is there, which is `session`."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.version)
        self.session = session


class Rendezvous:
    """`protocol` of each method keeps apart the sessions of the two proposals."""

    def __init__(self, clock: Clock, *, enabled: bool, most: int = MAX_SESSIONS) -> None:
        self._clock = clock
        self.enabled = enabled
        self._most = most
        # In the order of their making, which is that of their expiry.
        self._sessions: dict[tuple[str, str], Session] = {}

    def create(self, protocol: str, data: str) -> Session:
        _check_size(data)
        now = self._clock.now_ms()
        self._forget_expired(now)
        if len(self._sessions) >= self._most:
            del self._sessions[next(iter(self._sessions))]
        session = Session(secrets.token_urlsafe(18), data, _new_version(), now, now + LIFETIME_MS)
        self._sessions[protocol, session.id] = session
        return session

    def get(self, protocol: str, session_id: str) -> Session:
        self._forget_expired(self._clock.now_ms())
        session = self._sessions.get((protocol, session_id))
        if session is None:
            raise NotFound("There is no such session, or not any more.")
        return session

    def replace(self, protocol: str, session_id: str, data: str, version: str) -> Session:
        session = self.get(protocol, session_id)
        _check_size(data)
        if version != session.version:
            raise ConcurrentWrite(session)
        session.data, session.version, session.modified = data, _new_version(), self._clock.now_ms()
        return session

    def delete(self, protocol: str, session_id: str) -> None:
        self.get(protocol, session_id)
        del self._sessions[protocol, session_id]

    def _forget_expired(self, now: int) -> None:
        while self._sessions:
            oldest = next(iter(self._sessions))
            if self._sessions[oldest].expires > now:
                return
            del self._sessions[oldest]

    def remaining_ms(self, session: Session) -> int:
        return max(0, session.expires - self._clock.now_ms())


def _check_size(data: str) -> None:
    if len(data.encode()) > MAX_BYTES:
        raise TooLarge(f"A payload has at most {MAX_BYTES} bytes.")


def _new_version() -> str:
    return secrets.token_urlsafe(12)
