"""Tokens that let people make an account: checking them, and giving them out.

https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration

A use is counted when the account is made, in the same transaction; passing the stage of a registration
only looks.
"""

import re
import secrets
from dataclasses import replace

from homeserver.clock import Clock
from homeserver.errors import InvalidParam, NotFound
from storage import accounts
from storage.accounts import RegistrationToken
from storage.database import Database

_GRAMMAR = re.compile(r"[A-Za-z0-9._~-]{1,64}\Z")
_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

MOST = 2**53 - 1


class RegistrationTokens:
    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def is_valid(self, token: str) -> bool:
        known = await self._db.read(accounts.registration_token, token)
        return known is not None and self._is_good(known)

    async def all(self, valid: bool | None = None) -> list[RegistrationToken]:
        every = await self._db.read(accounts.registration_tokens)
        return [each for each in every if valid is None or self._is_good(each) == valid]

    async def get(self, token: str) -> RegistrationToken:
        known = await self._db.read(accounts.registration_token, token)
        if known is None:
            raise NotFound("There is no such registration token.")
        return known

    async def create(
        self, token: str | None, uses_allowed: int | None, expiry_ts: int | None, length: int = 16
    ) -> RegistrationToken:
        if token is None:
            if not 1 <= length <= 64:
                raise InvalidParam("The length is between 1 and 64.")
            token = "".join(secrets.choice(_ALPHABET) for _ in range(length))
        elif not _GRAMMAR.match(token):
            raise InvalidParam("A token consists of up to 64 letters, digits and . _ ~ -")
        new = self._checked(RegistrationToken(token, uses_allowed, 0, expiry_ts))
        if not await self._db.write(accounts.add_registration_token, new):
            raise InvalidParam("There is a token of this name.")
        return new

    async def update(self, token: str, uses_allowed: int | None, expiry_ts: int | None) -> RegistrationToken:
        known = await self.get(token)
        changed = self._checked(replace(known, uses_allowed=uses_allowed, expiry_ts=expiry_ts))
        await self._db.write(accounts.update_registration_token, token, uses_allowed, expiry_ts)
        return changed

    async def delete(self, token: str) -> None:
        if not await self._db.write(accounts.delete_registration_token, token):
            raise NotFound("There is no such registration token.")

    def _checked(self, token: RegistrationToken) -> RegistrationToken:
        if token.uses_allowed is not None and not 0 <= token.uses_allowed <= MOST:
            raise InvalidParam(f"uses_allowed must be an integer from 0 to {MOST}, or null.")
        if token.expiry_ts is not None and not self._clock.now_ms() <= token.expiry_ts <= MOST:
            raise InvalidParam("expiry_time must be in the future, and not for ever.")
        return token

    def _is_good(self, token: RegistrationToken) -> bool:
        if token.expiry_ts is not None and token.expiry_ts <= self._clock.now_ms():
            return False
        return token.uses_allowed is None or token.completed < token.uses_allowed
