"""An identity server for tests: who has which address, and the invites it keeps for the others.

https://spec.matrix.org/v1.19/identity-service-api/
"""

import base64
import hashlib
from types import TracebackType
from typing import Any, Self

from homeserver.protocol.signing import SigningKey, sign_json
from tests.federation.authority import Authority
from tests.federation.synthetic_http import Answer, Asked, HttpsServer, Reply, Route

V2 = "/_matrix/identity/v2"
TOKEN = "lent"
ROUTES = [
    Route("hash_details", "GET", f"{V2}/hash_details"),
    Route("lookup", "POST", f"{V2}/lookup"),
    Route("store_invite", "POST", f"{V2}/store-invite"),
    Route("is_valid", "GET", f"{V2}/pubkey/isvalid"),
]
UNAUTHORIZED = Answer({"errcode": "M_UNAUTHORIZED", "error": "unknown token"}, 401)


class IdentityServer:
    """`worse`: what it answers instead, by operation. `rotations`: how often the pepper changes midway."""

    def __init__(self, authority: Authority) -> None:
        self.key = SigningKey.generate("0")
        self.bound: dict[tuple[str, str], str] = {}
        self.stored: list[dict[str, Any]] = []
        self.worse: dict[str, Any] = {}
        self.asked: list[str] = []
        self.peppers = 0
        self.rotations = 0
        self.key_counts = True
        self._server = HttpsServer(
            "127.0.0.1", authority.issue("localhost", "127.0.0.1"), ROUTES, self._answer
        )
        self.name = f"localhost:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()

    def signed(self, user_id: str, token: str) -> dict[str, Any]:
        """That the invite with this token is for this user."""
        return sign_json({"mxid": user_id, "token": token}, self.name, self.key)

    @property
    def pepper(self) -> str:
        return f"pepper{self.peppers}"

    def _answer(self, asked: Asked) -> Reply:
        self.asked.append(asked.operation)
        if asked.operation in self.worse:
            return Answer(*self.worse[asked.operation])
        if asked.operation == "is_valid":
            return Answer({"valid": self.key_counts and asked.first("public_key") == self._public_key})
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return UNAUTHORIZED
        if asked.operation == "hash_details":
            answer = {"lookup_pepper": self.pepper, "algorithms": ["none", "sha256"]}
            if self.rotations:
                self.rotations -= 1
                self.peppers += 1
            return Answer(answer)
        body = asked.json
        if asked.operation == "lookup":
            if body["pepper"] != self.pepper:
                return Answer({"errcode": "M_INVALID_PEPPER", "error": "rotated"}, 400)
            known = {self._hash(*who): user_id for who, user_id in self.bound.items()}
            return Answer({"mappings": {each: known[each] for each in body["addresses"] if each in known}})
        self.stored.append(body)
        url = f"https://{self.name}{V2}/pubkey/isvalid"
        keys = [{"public_key": self._public_key, "key_validity_url": url}]
        return Answer({"token": f"token{len(self.stored)}", "display_name": "b...", "public_keys": keys})

    @property
    def _public_key(self) -> str:
        return self.key.verify_key.encode()

    def _hash(self, medium: str, address: str) -> str:
        digest = hashlib.sha256(f"{address} {medium} {self.pepper}".encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
