"""OpenID tokens: by one, a user shows to a third party (a widget, a call service) who they are.

https://spec.matrix.org/v1.19/client-server-api/#openid

Such a token opens nothing here: it is good for one question, whose it is.
"""

import secrets
from typing import Any

from homeserver.accounts.tokens import digest
from homeserver.clock import Clock
from homeserver.errors import UnknownToken
from storage import openid_tokens as store
from storage.database import Database

LIFETIME_SECONDS = 3600


class OpenIdTokens:
    def __init__(self, db: Database, clock: Clock, server_name: str) -> None:
        self._db = db
        self._clock = clock
        self._server_name = server_name

    async def request(self, user_id: str) -> dict[str, Any]:
        """A new token, as the client passes it on."""
        token = "hto_" + secrets.token_urlsafe(32)
        now = self._clock.now_ms()
        await self._db.write(store.add, digest(token), user_id, now + LIFETIME_SECONDS * 1000, now)
        return {
            "access_token": token,
            "token_type": "Bearer",
            "matrix_server_name": self._server_name,
            "expires_in": LIFETIME_SECONDS,
        }

    async def owner(self, token: str) -> str:
        """Whose token it is; UnknownToken if nobody's (any more)."""
        user_id = await self._db.read(store.owner, digest(token), self._clock.now_ms())
        if user_id is None:
            raise UnknownToken("The OpenID token is unknown or has expired.")
        return user_id

    async def forget(self, user_id: str, erased: bool) -> None:
        """Nobody will use this account again."""
        await self._db.write(store.forget_user, user_id)
