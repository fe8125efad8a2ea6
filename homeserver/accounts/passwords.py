"""Passwords: the rules for new ones, hashing and checking.

Hashing is meant to be slow (scrypt, 16 MiB and some 50 ms of a core), so it runs in a small pool of
threads (`run`): as many hashes at once as there are threads, and the reactor goes on.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from homeserver.accounts.settings import PasswordPolicy
from homeserver.errors import InvalidParam, WeakPassword

MAX_LENGTH = 512
LOG_N, R, P = 14, 8, 1
_MAX_MEMORY = 64 * 1024 * 1024

Run = Callable[..., Awaitable[Any]]
"""Runs a blocking function with its arguments somewhere else."""


class Passwords:
    def __init__(self, run: Run, policy: PasswordPolicy, *, log_n: int = LOG_N) -> None:
        self._run = run
        self._policy = policy
        self._log_n = log_n

    async def hash(self, password: str) -> str:
        encoded: str = await self._run(encode, password, self._log_n)
        return encoded

    async def matches(self, password: str, encoded: str | None) -> bool:
        """With no hash to check against it takes as long and fails: who exists cannot be told by time."""
        if encoded is None or len(password) > MAX_LENGTH:
            await self._run(encode, "", self._log_n)
            return False
        matched: bool = await self._run(check, password, encoded)
        return matched

    def require_acceptable(self, password: str) -> None:
        if not password or len(password) > MAX_LENGTH:
            raise InvalidParam(f"A password has between 1 and {MAX_LENGTH} characters.")
        policy = self._policy
        if not policy.enabled:
            return
        if len(password) < policy.minimum_length:
            raise WeakPassword(f"The password must have at least {policy.minimum_length} characters.")
        for required, fits, what in (
            (policy.require_digit, str.isdigit, "a digit"),
            (policy.require_lowercase, str.islower, "a small letter"),
            (policy.require_uppercase, str.isupper, "a capital letter"),
            (policy.require_symbol, _is_symbol, "a character that is no letter or digit"),
        ):
            if required and not any(map(fits, password)):
                raise WeakPassword(f"The password must contain {what}.")


def encode(password: str, log_n: int) -> str:
    """`scrypt$<log2 n>$<r>$<p>$<salt>$<hash>`: what a later check needs, even if the costs change."""
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, log_n, R, P)
    return f"scrypt${log_n}${R}${P}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def check(password: str, encoded: str) -> bool:
    _, log_n, r, p, salt, digest = encoded.split("$")
    candidate = _scrypt(password, base64.b64decode(salt), int(log_n), int(r), int(p))
    return hmac.compare_digest(candidate, base64.b64decode(digest))


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=salt, n=1 << log_n, r=r, p=p, maxmem=_MAX_MEMORY,
        dklen=32,
    )


def _is_symbol(character: str) -> bool:
    return not character.isalnum()
