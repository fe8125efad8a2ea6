"""What a query shows of our own users' keys, kept in memory as the JSON it is answered with.

https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery

Every change of what a query shows, whoever makes it, is announced on the stream of device lists: that is
how clients learn to ask again, and so it is enough to forget a user whose list changed. What was read
while any list changed is not kept, for it may be from before the change.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import orjson

from homeserver.devices import opaque
from storage import cross_signing, device_keys
from storage.cross_signing import UserSignature
from storage.database import Change, Database, Transaction

MOST_BYTES = 64 * 1024 * 1024
_ENTRY_BYTES = 500

T = TypeVar("T")


class UserKeys(NamedTuple):
    """`devices`: device → its keys with `unsigned`. `cross_signing`: usage → key."""

    devices: dict[str, orjson.Fragment]
    cross_signing: dict[str, orjson.Fragment]


class LocalKeys:
    """`most`: bytes of keys, and again of signatures, that are kept."""

    def __init__(self, db: Database, most: int = MOST_BYTES) -> None:
        self._db = db
        self._keys: _Kept[UserKeys] = _Kept(most)
        self._made: _Kept[Sequence[UserSignature]] = _Kept(most)
        db.follow(self._follow)

    async def of(self, user_ids: Collection[str]) -> dict[str, UserKeys]:
        """Of each of them, whether it exists or not."""
        found, missing = self._keys.look_up(user_ids)
        if missing:
            found |= await self._read(self._keys, _read_keys, missing)
        return found

    async def signatures_by(self, signer: str) -> Sequence[UserSignature]:
        """What our user says about others' master keys."""
        found, missing = self._made.look_up([signer])
        if missing:
            found = await self._read(self._made, _read_signatures, missing)
        return found[signer]

    async def _read(
        self,
        kept: "_Kept[T]",
        read: "Callable[[Transaction, Sequence[str]], dict[str, tuple[T, int]]]",
        missing: Sequence[str],
    ) -> dict[str, T]:
        before = kept.changes
        found = await self._db.read(read, missing)
        if kept.changes == before:
            kept.add(found)
        return {user_id: value for user_id, (value, _) in found.items()}

    def _follow(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.stream == "device_list":
                self._keys.forget(change.users)
                self._made.forget(change.users)


class _Kept(Generic[T]):
    """Values by user, as many as fit; the least lately used go first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._size = 0
        self.changes = 0

    def look_up(self, user_ids: Collection[str]) -> tuple[dict[str, T], list[str]]:
        """What is known, and who is not."""
        found: dict[str, T] = {}
        missing = []
        for user_id in user_ids:
            value = self._values.get(user_id)
            if value is None:
                missing.append(user_id)
            else:
                self._values.move_to_end(user_id)
                found[user_id] = value[0]
        return found, missing

    def add(self, values: Mapping[str, tuple[T, int]]) -> None:
        """With the size of each."""
        self._drop(values)
        for user_id, (value, size) in values.items():
            self._values[user_id] = (value, size + _ENTRY_BYTES)
            self._size += size + _ENTRY_BYTES
        while self._size > self._most:
            self._drop([next(iter(self._values))])

    def forget(self, user_ids: Collection[str]) -> None:
        self.changes += 1
        self._drop(user_ids)

    def _drop(self, user_ids: Collection[str]) -> None:
        for user_id in user_ids:
            dropped = self._values.pop(user_id, None)
            if dropped is not None:
                self._size -= dropped[1]


def _read_keys(tx: Transaction, user_ids: Sequence[str]) -> dict[str, tuple[UserKeys, int]]:
    found = {user_id: UserKeys({}, {}) for user_id in user_ids}
    sizes = dict.fromkeys(user_ids, 0)
    for user_id, device_id, keys, display_name in device_keys.identity_keys_of(tx, user_ids):
        unsigned = {} if display_name is None else {"device_display_name": display_name}
        found[user_id].devices[device_id] = opaque.with_field(keys, "unsigned", unsigned)
        sizes[user_id] += len(keys) + _ENTRY_BYTES
    for key in cross_signing.keys_of(tx, user_ids):
        found[key.user_id].cross_signing[key.usage] = opaque.fragment(key.keys)
        sizes[key.user_id] += len(key.keys) + _ENTRY_BYTES
    return {user_id: (value, sizes[user_id]) for user_id, value in found.items()}


def _read_signatures(
    tx: Transaction, signers: Sequence[str]
) -> dict[str, tuple[Sequence[UserSignature], int]]:
    made = {signer: cross_signing.signatures_by(tx, signer) for signer in signers}
    return {signer: (each, len(each) * _ENTRY_BYTES) for signer, each in made.items()}
