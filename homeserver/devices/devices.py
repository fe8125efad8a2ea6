"""The devices people are signed in with: listing, naming, seeing, deleting them.

https://spec.matrix.org/v1.19/client-server-api/#device-management

That a device was seen is noted in memory with every request and written at most once a minute; lists
merge both. What else hangs on a device (its keys, its messages) goes in the same transaction as the
device, through `on_delete`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from homeserver.accounts.requester import Requester
from homeserver.accounts.token_cache import TokenCache
from homeserver.clock import Clock
from homeserver.errors import NotFound, TooLarge
from storage import devices, tokens
from storage.database import Database
from storage.devices import Device, Seen
from storage.transaction import Transaction

log = Logger()

OnDelete = Callable[[Transaction, str, Sequence[str]], None]
OnRename = Callable[[Transaction, str, str], None]

FLUSH_SECONDS = 60
NOTICE_MS = 5_000
MAX_NAME_LENGTH = 100


class Devices:
    def __init__(self, db: Database, clock: Clock, cache: TokenCache) -> None:
        self._db = db
        self._clock = clock
        self._cache = cache
        self._seen: dict[tuple[str, str], Seen] = {}
        self._flushing: Any = None
        # Called inside the transaction with (tx, user_id, device_ids) or (tx, user_id, device_id).
        self.on_delete: list[OnDelete] = []
        self.on_rename: list[OnRename] = []

    async def of_user(self, user_id: str) -> list[Device]:
        return [self._as_seen(user_id, device) for device in await self._db.read(devices.of_user, user_id)]

    async def get(self, user_id: str, device_id: str) -> Device:
        device = await self._db.read(devices.get, user_id, device_id)
        if device is None:
            raise NotFound("There is no such device.")
        return self._as_seen(user_id, device)

    async def rename(self, user_id: str, device_id: str, display_name: str) -> None:
        if len(display_name) > MAX_NAME_LENGTH:
            raise TooLarge(f"The name of a device has at most {MAX_NAME_LENGTH} characters.", status=400)
        if not await self._db.write(self._rename, user_id, device_id, display_name):
            raise NotFound("There is no such device.")

    async def delete(self, user_id: str, device_ids: Sequence[str]) -> None:
        """Ends their sessions, too. Devices that are not there are no error."""
        if device_ids:
            await self._db.write(self.delete_in, user_id, device_ids)
            self.forget(user_id)

    async def delete_all(self, user_id: str, *, keep: Requester | None = None) -> None:
        """All devices and tokens of the user, but those of `keep`."""
        await self._db.write(self.delete_all_in, user_id, keep)
        self.forget(user_id)

    def delete_in(self, tx: Transaction, user_id: str, device_ids: Sequence[str]) -> None:
        """Within a transaction of the caller, who calls `forget` once it is committed."""
        known = {device.device_id for device in devices.of_user(tx, user_id)}
        tokens.delete_of_devices(tx, user_id, device_ids)
        gone = [device_id for device_id in dict.fromkeys(device_ids) if device_id in known]
        if gone:
            devices.delete(tx, user_id, gone)
            for hook in self.on_delete:
                hook(tx, user_id, gone)

    def delete_all_in(self, tx: Transaction, user_id: str, keep: Requester | None = None) -> None:
        kept, kept_token = (keep.device_id, keep.token_id) if keep is not None else (None, None)
        self.delete_in(
            tx, user_id,
            [each.device_id for each in devices.of_user(tx, user_id) if each.device_id != kept],
        )
        tokens.delete_of_user(tx, user_id, kept_token)

    def forget(self, user_id: str) -> None:
        self._cache.drop_user(user_id)

    # Seeing

    def seen(self, requester: Requester, now: int) -> None:
        """Called with every authenticated request."""
        device_id = requester.device_id
        if device_id is None:
            return
        key = requester.user_id, device_id
        last = self._seen.get(key)
        if last is None or now - last.ts > NOTICE_MS:
            self._seen[key] = Seen(*key, now, requester.address, requester.user_agent)
            if self._flushing is None:
                self._flushing = self._clock.call_later(FLUSH_SECONDS, self._flush)

    async def connections(self, user_id: str) -> list[Seen]:
        """Where each device of the user that was ever used was last used from."""
        known = {each.device_id: each for each in await self._db.read(devices.last_seen, user_id)}
        known.update((device_id, seen) for (whose, device_id), seen in self._seen.items() if whose == user_id)
        return list(known.values())

    async def flush(self) -> None:
        """Writes what was seen since the last time; also called when the server stops."""
        seen, self._seen = self._seen, {}
        if seen:
            await self._db.write(devices.write_seen, list(seen.values()))

    def _flush(self) -> None:
        self._flushing = None
        Deferred.fromCoroutine(self.flush()).addErrback(
            lambda failure: log.failure("when devices were last seen could not be written", failure)
        )

    def _as_seen(self, user_id: str, device: Device) -> Device:
        seen = self._seen.get((user_id, device.device_id))
        return device if seen is None else device._replace(last_seen_ts=seen.ts, last_seen_ip=seen.ip)

    def _rename(self, tx: Transaction, user_id: str, device_id: str, display_name: str) -> bool:
        renamed = devices.rename(tx, user_id, device_id, display_name)
        if renamed:
            for hook in self.on_rename:
                hook(tx, user_id, device_id)
        return renamed
