"""Publishing signatures: on one's own devices and master key, and on the master keys of others.

https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload

A signature is checked before it is kept, outside the writer: it costs 0.1 ms, and a request may hold many.
The writer only makes sure that the keys are still those that were checked. Keys of other servers' users are
found as a client would find them, mostly in the lists that are kept.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from homeserver.devices import opaque
from homeserver.devices.cross_signing import InvalidSignature, single_public_key
from homeserver.devices.device_lists import JoinedRooms
from homeserver.devices.keys import DeviceKeys
from homeserver.devices.remote import by_server
from homeserver.devices.signatures import is_signed_by
from homeserver.errors import InvalidParam, MatrixError, NotFound
from homeserver.protocol.canonical_json import NotCanonical, encode
from storage import cross_signing, device_keys, device_lists
from storage.cross_signing import CrossSigningKey, UserSignature
from storage.database import Database
from storage.transaction import Transaction

MAX_SIGNED = 1000
Signed = Mapping[str, Any]


class _Held(NamedTuple):
    """What the server knows before it looks at the signatures."""

    devices: dict[str, dict[str, Any]]
    own: dict[str, CrossSigningKey]
    masters: dict[str, dict[str, Any]]


@dataclass(slots=True)
class _Checked:
    """What may be stored: for each device or for the own master key, the object and its new signatures."""

    devices: dict[str, tuple[dict[str, Any], dict[str, str]]] = field(default_factory=dict)
    master: tuple[dict[str, Any], dict[str, str]] | None = None
    others: list[UserSignature] = field(default_factory=list)


class SignatureUpload:
    def __init__(
        self, db: Database, server_name: str, joined_rooms: JoinedRooms, keys: DeviceKeys
    ) -> None:
        self._db = db
        self._server_name = server_name
        self._joined_rooms = joined_rooms
        self._keys = keys

    async def upload(
        self, user_id: str, signed: Mapping[str, Mapping[str, Signed]]
    ) -> dict[str, dict[str, dict[str, Any]]]:
        """`signed`: user → key ID → object. Returns the failures in the same shape; the rest is stored."""
        if sum(len(objects) for objects in signed.values()) > MAX_SIGNED:
            raise InvalidParam(f"More than {MAX_SIGNED} signed objects at once.")
        servers = by_server(signed)
        local = list(servers.pop(self._server_name, {}))
        held = await self._db.read(_find, user_id, local)
        held.masters.update(await self._remote_masters(user_id, servers.values()))
        checked = _Checked()
        failures: dict[str, dict[str, dict[str, Any]]] = {}
        for target, objects in signed.items():
            for key_id, each in objects.items():
                try:
                    _check(user_id, target, key_id, each, held, checked)
                except MatrixError as error:
                    failures.setdefault(target, {})[key_id] = error.body()
        if checked.devices or checked.master or checked.others:
            await self._db.write(self._store, user_id, checked)
        return failures

    async def _remote_masters(
        self, viewer: str, users: Iterable[Mapping[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        wanted: dict[str, list[str]] = {user_id: [] for each in users for user_id in each}
        if not wanted:
            return {}
        return dict(orjson.loads(await self._keys.query(viewer, wanted))["master_keys"])

    def _store(self, tx: Transaction, user_id: str, checked: _Checked) -> None:
        changed = []
        for device_id, (signed, signatures) in checked.devices.items():
            merged = _merged(device_keys.identity_keys(tx, user_id, device_id), user_id, signed, signatures)
            if merged is not None:
                device_keys.put_identity_keys(tx, user_id, device_id, merged)
                changed.append(device_id)
        if checked.master is not None:
            master = _usages(cross_signing.keys_of(tx, [user_id]), user_id).get("master")
            merged = _merged(master.keys, user_id, *checked.master) if master is not None else None
            if master is not None and merged is not None:
                cross_signing.put_keys(tx, [master._replace(keys=merged)])
                changed.append(device_lists.CROSS_SIGNING)
        if changed:
            device_lists.record(tx, user_id, changed, self._joined_rooms(tx, user_id))
        if checked.others:
            cross_signing.put_signatures(tx, checked.others)
            device_lists.record_for(tx, user_id, {made.target_user_id for made in checked.others})


def _find(tx: Transaction, user_id: str, targets: list[str]) -> _Held:
    keys = cross_signing.keys_of(tx, {user_id, *targets})
    return _Held(
        devices={
            device_id: orjson.loads(data)
            for _, device_id, data, _ in device_keys.identity_keys_of(tx, [user_id])
        },
        own=_usages(keys, user_id),
        masters={key.user_id: orjson.loads(key.keys) for key in keys if key.usage == "master"},
    )


def _usages(keys: list[CrossSigningKey], user_id: str) -> dict[str, CrossSigningKey]:
    return {key.usage: key for key in keys if key.user_id == user_id}


def _check(
    user_id: str, target: str, key_id: str, signed: Signed, held: _Held, checked: _Checked
) -> None:
    """Raises what is wrong with it, or adds it to `checked`."""
    if target == user_id and key_id in held.devices:
        self_signing = held.own.get("self_signing")
        signers = {f"ed25519:{self_signing.public_key}": self_signing.public_key} if self_signing else {}
        signatures = _new_signatures(user_id, signed, held.devices[key_id], signers)
        checked.devices[key_id] = (dict(signed), signatures)
        return
    master = held.masters.get(target)
    if master is None or single_public_key(master) != key_id:
        raise NotFound("There is no such key.")
    if target == user_id:
        signers = {
            f"ed25519:{device_id}": key
            for device_id, device in held.devices.items()
            if (key := device["keys"].get(f"ed25519:{device_id}")) is not None
        }
        checked.master = (dict(signed), _new_signatures(user_id, signed, master, signers))
        return
    user_signing = held.own.get("user_signing")
    signers = {f"ed25519:{user_signing.public_key}": user_signing.public_key} if user_signing else {}
    for signer_key_id, signature in _new_signatures(user_id, signed, master, signers).items():
        checked.others.append(UserSignature(user_id, signer_key_id, target, key_id, signature))


def _new_signatures(
    user_id: str, signed: Signed, held: Mapping[str, Any], signers: Mapping[str, str]
) -> dict[str, str]:
    """The user's good signatures that the held object lacks. `signers`: key ID → public key."""
    if not _is_same(signed, held):
        raise InvalidSignature("The signed object is not the key that the server holds.")
    signatures = signed.get("signatures")
    made = signatures.get(user_id) if isinstance(signatures, dict) else None
    if not isinstance(made, dict) or not made:
        raise InvalidSignature("There is no signature of yours.")
    known = held.get("signatures", {}).get(user_id, {})
    new = {}
    for key_id, signature in made.items():
        if isinstance(signature, str) and known.get(key_id) == signature:
            continue
        if key_id not in signers or not is_signed_by(signed, user_id, key_id, signers[key_id]):
            raise InvalidSignature(f"The signature of {key_id} is not valid.")
        new[key_id] = signature
    return new


def _is_same(signed: Signed, held: Mapping[str, Any]) -> bool:
    try:
        return encode(opaque.without(signed, "signatures", "unsigned")) == encode(
            opaque.without(held, "signatures", "unsigned")
        )
    except NotCanonical:
        return False


def _merged(
    held_data: bytes | None, user_id: str, signed: Signed, signatures: dict[str, str]
) -> bytes | None:
    """The held object with the signatures added; None if it changed meanwhile, or has them."""
    if held_data is None:
        return None
    held = orjson.loads(held_data)
    if not _is_same(signed, held):
        return None
    merged = opaque.to_bytes(opaque.merge_signatures(held, {user_id: signatures}))
    return merged if merged != held_data else None
