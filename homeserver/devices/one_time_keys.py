"""One-time and fallback keys: what a client uploads, and claiming them.

https://spec.matrix.org/v1.19/client-server-api/#one-time-and-fallback-keys

Names are `<algorithm>:<key_id>`; the keys themselves (a string or an object) are opaque. Claiming takes a
key away in the same transaction that finds it, so two claims never get the same one; and takes a few more
with it (`spare_keys`), so that most claims write nothing.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from homeserver.devices import opaque
from homeserver.devices.remote import MAX_WAIT_MS, NoRemotes, RemoteKeys, answers_about, ask_all, by_server
from homeserver.devices.spare_keys import SpareKeys
from homeserver.errors import BadJson, InvalidParam
from storage import device_keys
from storage.database import Database
from storage.device_keys import OneTimeKey, Wanted

MAX_KEY_BYTES = 16_384
MAX_NAME = 255
# A device holds fifty or a hundred one-time keys; more than this in one upload is no client's need.
MAX_KEYS = 2000
# A claim for a large room is cut in pieces, so that other writes come in between.
CLAIMS_AT_ONCE = 200


def parse(keys: Mapping[str, Any]) -> list[OneTimeKey]:
    """The keys of an upload."""
    if len(keys) > MAX_KEYS:
        raise InvalidParam(f"More than {MAX_KEYS} keys at once.")
    return [_parse_one(name, key) for name, key in keys.items()]


def parse_fallback(keys: Mapping[str, Any]) -> list[OneTimeKey]:
    """At most one for each algorithm is kept: the last."""
    return list({key.algorithm: key for key in parse(keys)}.values())


class OneTimeKeys:
    def __init__(self, db: Database, server_name: str, remote: RemoteKeys | None = None) -> None:
        self._db = db
        self._server_name = server_name
        self.spare = SpareKeys()
        db.follow(self.spare.follow)
        self.remote: RemoteKeys = remote or NoRemotes()

    async def claim(self, wanted: Mapping[str, Mapping[str, str]], timeout_ms: int = 10_000) -> bytes:
        """`wanted`: user → device → algorithm. The JSON of the answer."""
        servers = by_server(wanted)
        keys: dict[str, dict[str, Any]] = await self.claim_local(servers.pop(self._server_name, {}))
        timeout_ms = max(0, min(timeout_ms, MAX_WAIT_MS))
        answers, failures = await ask_all(
            servers, lambda server, users: self.remote.claim(server, users, timeout_ms)
        )
        for server, answer in answers.items():
            for user_id, devices in answers_about(answer, "one_time_keys", servers[server]).items():
                keys[user_id] = {
                    device_id: key for device_id, key in devices.items() if device_id in wanted[user_id]
                }
        return orjson.dumps({"one_time_keys": keys, "failures": failures})

    async def claim_local(self, wanted: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Any]]:
        """user → device → {"<algorithm>:<key_id>": key} for our users; devices without keys are missing."""
        each = [
            Wanted(user_id, device_id, algorithm)
            for user_id, devices in wanted.items()
            for device_id, algorithm in devices.items()
            if "\0" not in device_id and "\0" not in algorithm
        ]
        keys: dict[str, dict[str, Any]] = {}

        def give(want: Wanted, key: OneTimeKey) -> None:
            named = {f"{key.algorithm}:{key.key_id}": opaque.fragment(key.key)}
            keys.setdefault(want.user_id, {})[want.device_id] = named

        missing = []
        for want in each:
            key = self.spare.take(want)
            if key is None:
                missing.append(want)
            else:
                give(want, key)
        for start in range(0, len(missing), CLAIMS_AT_ONCE):
            forgotten = self.spare.forgotten
            some = missing[start : start + CLAIMS_AT_ONCE]
            claimed = await self._db.write_together(device_keys.claim, some)
            for want, (key, *ahead) in claimed.items():
                give(want, key)
                if ahead and self.spare.forgotten == forgotten:
                    self.spare.put(want, ahead)
            for want in some:
                # None was left, but meanwhile another claim has taken the last ones ahead.
                if want not in claimed and (spare := self.spare.take(want)) is not None:
                    give(want, spare)
        return keys


def _parse_one(name: str, key: Any) -> OneTimeKey:
    algorithm, colon, key_id = name.partition(":")
    if not (algorithm and colon and key_id) or "\0" in name or len(name) > MAX_NAME:
        raise InvalidParam(f"{name[:MAX_NAME]!r} is not of the form <algorithm>:<key_id>.")
    if not isinstance(key, str | dict):
        raise BadJson("A key must be a string or an object.")
    data = opaque.to_bytes(key)
    if len(data) > MAX_KEY_BYTES:
        raise InvalidParam("A one-time key is too large.")
    return OneTimeKey(algorithm, key_id, data)
