"""Cross-signing: a user's three keys, and what they sign.

https://spec.matrix.org/v1.19/client-server-api/#cross-signing

Replacing keys needs the user's password again, the first upload does not. Which of the two it is, is
decided in the transaction that stores them, so two first uploads at once cannot replace each other.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson

from homeserver.devices import opaque
from homeserver.devices.device_lists import JoinedRooms
from homeserver.devices.signatures import is_public_key, is_signed_by
from homeserver.errors import BadJson, Forbidden, InvalidParam, MatrixError, MissingParam
from storage import cross_signing, device_lists, to_device
from storage.cross_signing import CrossSigningKey
from storage.database import Database
from storage.transaction import Transaction

Usage = Literal["master", "self_signing", "user_signing"]
MAX_KEY_BYTES = 16_384


class InvalidSignature(MatrixError):
    errcode = "M_INVALID_SIGNATURE"


class CrossSigning:
    def __init__(self, db: Database, joined_rooms: JoinedRooms) -> None:
        self._db = db
        self._joined_rooms = joined_rooms

    async def upload(
        self, user_id: str, keys: Mapping[Usage, Mapping[str, Any] | None], *, authorised: bool
    ) -> bool:
        """False, and nothing done, when keys would be replaced and the user has not `authorised` that."""
        given = [_parse(user_id, usage, key) for usage, key in keys.items() if key is not None]
        if not given:
            raise MissingParam("No key was given.")
        master = next((key for key in given if key.usage == "master"), None)
        if master is None:
            held = await self._db.read(cross_signing.keys_of, [user_id])
            master = next((key for key in held if key.usage == "master"), None)
            if master is None:
                raise MissingParam("There is no master key.")
        for key in given:
            if key.usage != "master":
                _check_signed_by_master(key, master)
        outcome = await self._db.write(self._store, user_id, given, master.public_key, authorised)
        if isinstance(outcome, MatrixError):
            raise outcome
        return outcome

    def _store(
        self,
        tx: Transaction,
        user_id: str,
        given: Sequence[CrossSigningKey],
        master: str,
        authorised: bool,
    ) -> bool | MatrixError:
        held = {key.usage: key for key in cross_signing.keys_of(tx, [user_id])}
        new = [key for key in given if _public_key(held.get(key.usage)) != key.public_key]
        if "master" in held and new and not authorised:
            return False
        if not any(key.usage == "master" for key in given) and _public_key(held.get("master")) != master:
            return InvalidSignature("The master key changed meanwhile.")
        device_ids = {device_id for _, device_id in to_device.known_devices(tx, [user_id])}
        if any(key.public_key in device_ids for key in new):
            return Forbidden("A key is the ID of one of your devices.")
        stored = [_with_held_signatures(key, held.get(key.usage)) for key in given]
        changed = [key for key in stored if key != held.get(key.usage)]
        if changed:
            cross_signing.put_keys(tx, changed)
            replaced = [f"ed25519:{held[key.usage].public_key}" for key in new if key.usage in held]
            cross_signing.forget_signatures_by(tx, user_id, replaced)
            rooms = self._joined_rooms(tx, user_id)
            device_lists.record(tx, user_id, [device_lists.CROSS_SIGNING], rooms)
        return True


def _parse(user_id: str, usage: str, key: Mapping[str, Any]) -> CrossSigningKey:
    if key.get("user_id") != user_id:
        raise InvalidParam("The key's user_id must be yours.")
    usages = key.get("usage")
    if not isinstance(usages, list) or usage not in usages:
        raise InvalidParam(f"The key must be for {usage}.")
    public_key = single_public_key(key)
    if public_key is None:
        raise InvalidParam("keys must hold one ed25519 key, named by the key itself.")
    signatures = key.get("signatures", {})
    if not isinstance(signatures, dict) or not all(
        isinstance(by_key, dict) and all(isinstance(each, str) for each in by_key.values())
        for by_key in signatures.values()
    ):
        raise BadJson("signatures must be an object of objects of strings.")
    data = opaque.to_bytes(opaque.without(key, "unsigned"))
    if len(data) > MAX_KEY_BYTES:
        raise InvalidParam("The key is too large.")
    return CrossSigningKey(user_id, usage, public_key, data)


def single_public_key(key: Mapping[str, Any]) -> str | None:
    """The public key of a cross-signing key's JSON, which must hold exactly one."""
    keys = key.get("keys")
    if not isinstance(keys, dict) or len(keys) != 1:
        return None
    [(name, public_key)] = keys.items()
    if not isinstance(public_key, str) or name != f"ed25519:{public_key}":
        return None
    return public_key if is_public_key(public_key) else None


def _check_signed_by_master(key: CrossSigningKey, master: CrossSigningKey) -> None:
    key_id = f"ed25519:{master.public_key}"
    if not is_signed_by(orjson.loads(key.keys), key.user_id, key_id, master.public_key):
        raise InvalidSignature(f"The {key.usage} key is not signed by the master key.")


def _public_key(key: CrossSigningKey | None) -> str | None:
    return key.public_key if key is not None else None


def _with_held_signatures(key: CrossSigningKey, held: CrossSigningKey | None) -> CrossSigningKey:
    """The same key uploaded again keeps the signatures it got meanwhile."""
    if held is None or held.public_key != key.public_key:
        return key
    new = orjson.loads(key.keys)
    merged = opaque.merge_signatures(orjson.loads(held.keys), new.get("signatures", {}))
    merged = {**new, "signatures": merged["signatures"]} if merged["signatures"] else new
    return key._replace(keys=opaque.to_bytes(merged))
