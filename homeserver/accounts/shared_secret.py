"""Making accounts with a secret shared with the operator, whether registration is open or not.

The protocol is Synapse's: the maker fetches a nonce, and proves to know the secret with an HMAC over the
nonce and the account; each nonce is good once, for a minute.
"""

import hashlib
import hmac
import secrets

from homeserver.clock import Clock
from homeserver.errors import Forbidden, InvalidParam

NONCE_MS = 60_000


class SharedSecret:
    def __init__(self, clock: Clock, secret: str | None) -> None:
        self._clock = clock
        self._secret = secret
        self._nonces: dict[str, int] = {}

    def nonce(self) -> str:
        self._require_enabled()
        now = self._clock.now_ms()
        self._nonces = {nonce: end for nonce, end in self._nonces.items() if end > now}
        nonce = secrets.token_hex(32)
        self._nonces[nonce] = now + NONCE_MS
        return nonce

    def require_proof(
        self, nonce: str, username: str, password: str, admin: bool, user_type: str | None, mac: str
    ) -> None:
        self._require_enabled()
        if self._nonces.pop(nonce, 0) <= self._clock.now_ms():
            raise InvalidParam("The nonce is not known.")
        assert self._secret is not None
        expected = compute_mac(self._secret, nonce, username, password, admin, user_type)
        if not hmac.compare_digest(expected.encode(), mac.encode()):
            raise Forbidden("The HMAC is not right.")

    def _require_enabled(self) -> None:
        if self._secret is None:
            raise InvalidParam("Registration with a shared secret is not enabled.")


def compute_mac(
    secret: str, nonce: str, username: str, password: str, admin: bool, user_type: str | None = None
) -> str:
    parts = [nonce, username, password, "admin" if admin else "notadmin"]
    if user_type is not None:
        parts.append(user_type)
    return hmac.new(secret.encode(), "\0".join(parts).encode(), hashlib.sha1).hexdigest()
