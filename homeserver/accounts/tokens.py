"""Access and refresh tokens: giving them out, refreshing, recognising, taking them back.

https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens

A refresh gives out a new pair that *replaces* the old one, and the old one ends only when either new
token is first seen: a client that never got the answer just refreshes again. That first sight is always a
miss of the cache, so recognising a token from memory never has to look for something to replace.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from homeserver.accounts.requester import Requester
from homeserver.accounts.settings import AccountSettings
from homeserver.accounts.token_cache import Identity, TokenCache
from homeserver.clock import Clock
from homeserver.errors import Forbidden, UnknownToken
from storage import cross_signing, devices, tokens
from storage.database import Database
from storage.tokens import KnownToken, NewToken, Refreshable
from storage.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Session:
    """A pair of tokens just made: what the client gets, and (`row`) what is stored of it."""

    access_token: str
    refresh_token: str | None
    expires_in_ms: int | None
    row: NewToken

    @property
    def device_id(self) -> str | None:
        return self.row.device_id

    def response(self) -> dict[str, Any]:
        """The fields a client gets, under the specification's names."""
        body: dict[str, Any] = {"access_token": self.access_token}
        if self.device_id is not None:
            body["device_id"] = self.device_id
        if self.refresh_token is not None:
            body["refresh_token"] = self.refresh_token
        if self.expires_in_ms is not None:
            body["expires_in_ms"] = self.expires_in_ms
        return body


class Tokens:
    def __init__(self, db: Database, clock: Clock, cache: TokenCache, settings: AccountSettings) -> None:
        self._db = db
        self._clock = clock
        self._cache = cache
        self._settings = settings

    # Recognising

    def cached(self, token: str) -> Identity | None:
        return self._cache.get(token)

    async def find(self, token: str) -> Identity:
        """Reads the token's row and remembers it; raises M_UNKNOWN_TOKEN."""
        version = self._cache.version
        known = await self._db.read(tokens.find, digest(token))
        if known is None:
            raise UnknownToken
        if known.expires_ts is not None and known.expires_ts <= self._clock.now_ms():
            raise UnknownToken("The access token has expired.", soft_logout=True)
        if known.replaces is not None:
            if not await self._db.write(tokens.confirm, known.token_id, known.replaces):
                raise UnknownToken
            self._cache.drop_id(known.user_id, known.replaces)
        identity = _identity(known)
        if self._cache.version == version:
            self._cache.put(token, identity)
        return identity

    # Giving out

    def prepare(self, user_id: str, device_id: str | None, *, refreshable: bool = False) -> Session:
        """A new session, to be stored with `store_session` in the caller's transaction."""
        now = self._clock.now_ms()
        lifetime = self._settings.session_lifetime
        session_end = None if lifetime is None else now + lifetime
        return self._new(user_id, device_id or new_device_id(), refreshable, session_end, None)

    async def refresh(self, refresh_token: str) -> Session:
        known = await self._db.read(tokens.find_refresh, digest(refresh_token))
        if known is None:
            raise UnknownToken("Unrecognised refresh token.")
        now = self._clock.now_ms()
        for end in (known.refresh_expires_ts, known.session_expires_ts):
            if end is not None and end <= now:
                raise UnknownToken("The refresh token has expired.", soft_logout=True)
        session = self._new(known.user_id, known.device_id, True, known.session_expires_ts, known.token_id)
        if not await self._db.write(_store_refreshed, known, digest(refresh_token), session.row):
            raise UnknownToken("Unrecognised refresh token.")
        if known.replaces is not None:
            self._cache.drop_id(known.user_id, known.replaces)
        return session

    async def create_login_token(self, user_id: str) -> tuple[str, int]:
        """A token for one login, and its lifetime."""
        token = "hlt_" + secrets.token_urlsafe(32)
        now, lifetime = self._clock.now_ms(), self._settings.login_token_timeout
        await self._db.write(tokens.add_login_token, digest(token), user_id, now + lifetime, now)
        return token, lifetime

    async def use_login_token(self, token: str) -> str:
        user_id = await self._db.write(tokens.use_login_token, digest(token), self._clock.now_ms())
        if user_id is None:
            raise Forbidden("The login token is not valid (any more).")
        return user_id

    # Taking back: the rows go in the caller's transaction, the memory of them here

    def forget_user(self, user_id: str) -> None:
        """The next request with any of the user's tokens reads the database again."""
        self._cache.drop_user(user_id)

    def _new(
        self, user_id: str, device_id: str | None, refreshable: bool, session_end: int | None,
        replaces: int | None,
    ) -> Session:
        settings, now = self._settings, self._clock.now_ms()
        lifetime = (
            settings.refreshable_access_token_lifetime if refreshable
            else settings.nonrefreshable_access_token_lifetime
        )
        if session_end is not None:
            lifetime = min(session_end - now, lifetime or session_end - now)
        access_token = "hth_" + secrets.token_urlsafe(32)
        refresh_token = "htr_" + secrets.token_urlsafe(32) if refreshable else None
        refresh_lifetime = settings.refresh_token_lifetime
        row = NewToken(
            token_id=secrets.randbits(62) or 1,
            hash=digest(access_token),
            user_id=user_id,
            device_id=device_id,
            created_ts=now,
            expires_ts=None if lifetime is None else now + lifetime,
            refresh_hash=None if refresh_token is None else digest(refresh_token),
            refresh_expires_ts=None if refresh_lifetime is None else now + refresh_lifetime,
            session_expires_ts=session_end,
            replaces=replaces,
        )
        return Session(access_token, refresh_token, lifetime, row)


def store_session(tx: Transaction, session: Session, display_name: str | None) -> None:
    """A login: the device (made if it is not there) keeps no other token than this one."""
    row = session.row
    if any(key.public_key == row.device_id for key in cross_signing.keys_of(tx, [row.user_id])):
        raise Forbidden("The device ID is that of a cross-signing key.")
    if row.device_id is not None and not devices.ensure(
        tx, row.user_id, row.device_id, display_name, row.created_ts
    ):
        tokens.delete_of_devices(tx, row.user_id, [row.device_id])
    tokens.add(tx, row)


def _store_refreshed(tx: Transaction, old: Refreshable, refresh_hash: bytes, new: NewToken) -> bool:
    if tokens.find_refresh(tx, refresh_hash) is None:
        return False
    if old.replaces is not None and not tokens.confirm(tx, old.token_id, old.replaces):
        return False
    tokens.delete_unused_successors(tx, old.token_id)
    tokens.add(tx, new)
    return True


def _identity(known: KnownToken) -> Identity:
    requester = Requester(
        known.user_id, known.device_id, bool(known.is_guest), bool(known.is_admin), known.token_id
    )
    return Identity(
        requester, expires_at=known.expires_ts, locked=bool(known.locked), suspended=bool(known.suspended)
    )


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def new_device_id() -> str:
    return "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(10))
