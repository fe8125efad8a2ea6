"""Dehydrated devices: a device kept on the server, encrypted, so that messages reach a user who has no other.

MSC3814, https://github.com/matrix-org/matrix-spec-proposals/pull/3814

A dehydrated device is a row among the user's devices like any other, so that keys, claims and to-device
messages need to know nothing of it. What is different: it comes with its keys in one request, it has no
access token, a new one takes its place, and its messages stay until it is deleted, however often they are
read; rehydrating that breaks off can thus begin again on another device.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from homeserver.clock import Clock
from homeserver.devices import opaque
from homeserver.devices.devices import MAX_NAME_LENGTH, Devices
from homeserver.devices.keys import DeviceKeys, Upload, parse_upload
from homeserver.errors import Forbidden, InvalidParam, MissingParam, NotFound
from storage import dehydrated_devices, devices, to_device
from storage.database import Database
from storage.dehydrated_devices import Dehydrated
from storage.transaction import Transaction

MAX_DATA_BYTES = 65_536
MAX_ID_LENGTH = 255
# To-device messages in one answer.
LIMIT = 100


class Batch(NamedTuple):
    messages: list[bytes]
    next_batch: str
    limited: bool  # there may be more

    def json(self, next_batch: str | None) -> bytes:
        answer: dict[str, Any] = {"events": [opaque.fragment(message) for message in self.messages]}
        if next_batch is not None:
            answer["next_batch"] = next_batch
        return orjson.dumps(answer)


class DehydratedDevices:
    def __init__(self, db: Database, clock: Clock, all_devices: Devices, keys: DeviceKeys) -> None:
        self._db = db
        self._clock = clock
        self._devices = all_devices
        self._keys = keys
        all_devices.on_delete.append(dehydrated_devices.forget_devices)

    async def put(
        self,
        user_id: str,
        device_id: str,
        data: Mapping[str, Any],
        *,
        display_name: str | None,
        keys: Mapping[str, Any],
        one_time: Mapping[str, Any],
        fallback: Mapping[str, Any],
    ) -> None:
        """Takes the place of the one before. The same one again (an answer was lost) keeps its messages."""
        if not device_id or len(device_id) > MAX_ID_LENGTH:
            raise InvalidParam(f"A device ID has 1 to {MAX_ID_LENGTH} characters.")
        if display_name is not None and len(display_name) > MAX_NAME_LENGTH:
            raise InvalidParam(f"The name of a device has at most {MAX_NAME_LENGTH} characters.")
        if not isinstance(data.get("algorithm"), str):
            raise InvalidParam("device_data must name its algorithm.")
        if not keys:
            raise MissingParam("A dehydrated device comes with its device_keys.")
        stored = opaque.to_bytes(data)
        if len(stored) > MAX_DATA_BYTES:
            raise InvalidParam("device_data is too large.")
        upload = parse_upload(user_id, device_id, keys, one_time, fallback)
        device = Dehydrated(device_id, stored)
        await self._db.write(self._replace, user_id, device, display_name, upload, self._clock.now_ms())
        self._devices.forget(user_id)

    async def get(self, user_id: str) -> bytes:
        """The JSON of the device as it was put, without its keys."""
        held = await self._db.read(dehydrated_devices.get, user_id)
        if held is None:
            raise NotFound("There is no dehydrated device.")
        return orjson.dumps({"device_id": held.device_id, "device_data": opaque.fragment(held.data)})

    async def delete(self, user_id: str) -> str:
        """The ID of what is gone, with all its keys and messages."""
        device_id = await self._db.write(self._delete, user_id)
        if device_id is None:
            raise NotFound("There is no dehydrated device.")
        self._devices.forget(user_id)
        return device_id

    async def events(self, user_id: str, device_id: str, since: str | None) -> Batch:
        """A batch of to-device messages. `since`: `next_batch` of the batch before."""
        after = 0 if since is None else _position(since)
        found = await self._db.read(_messages, user_id, device_id, after)
        if found is None:
            raise Forbidden("That is not your dehydrated device.")
        upto = found[-1][0] if found else after
        return Batch([message for _, message in found], str(upto), len(found) == LIMIT)

    def _replace(
        self, tx: Transaction, user_id: str, device: Dehydrated, display_name: str | None, upload: Upload,
        now: int,
    ) -> None:
        """Refuses by raising, which undoes what went before."""
        held = dehydrated_devices.get(tx, user_id)
        if held is None or held.device_id != device.device_id:
            if held is not None:
                self._devices.delete_in(tx, user_id, [held.device_id])
            if not devices.ensure(tx, user_id, device.device_id, display_name, now):
                raise InvalidParam("The device_id is that of a device that is signed in.")
        refused = self._keys.store_in(tx, user_id, device.device_id, upload)
        if refused is not None:
            raise refused
        dehydrated_devices.put(tx, user_id, *device)

    def _delete(self, tx: Transaction, user_id: str) -> str | None:
        held = dehydrated_devices.get(tx, user_id)
        if held is None:
            return None
        self._devices.delete_in(tx, user_id, [held.device_id])
        return held.device_id


def _messages(tx: Transaction, user_id: str, device_id: str, after: int) -> list[tuple[int, bytes]] | None:
    held = dehydrated_devices.get(tx, user_id)
    if held is None or held.device_id != device_id:
        return None
    return to_device.messages_after(tx, user_id, device_id, after, LIMIT)


def _position(token: str) -> int:
    if not (token.isascii() and token.isdigit() and len(token) <= 18):
        raise InvalidParam("next_batch is not a token of this server.")
    return int(token)
