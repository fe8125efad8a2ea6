"""The changes of device lists and the receipts that wait for one server.

https://spec.matrix.org/v1.19/server-server-api/#device-management

Both are found again in the database by position, so they outlive outages without being kept for each server.
"""

from collections import deque
from collections.abc import Sequence
from itertools import islice

from federation.sending import edus
from federation.sending.batch import MOST_EDUS, Batch, ReceiptKey, key_of
from federation.sending.shared import Shared
from storage import cross_signing, outgoing
from storage.database import Transaction
from storage.device_lists import CROSS_SIGNING
from storage.outgoing import DeviceDetails, DeviceNews
from storage.receipts import Receipt

MOST_RECEIPTS = 2000
DEVICES_A_TIME = 40
RECEIPTS_A_TIME = 500


class WaitingOthers:
    """Delivered up to `_since` if any wait, read up to `_upto`; `_behind`: the database may have more."""

    __slots__ = (
        "_behind", "_devices", "_name", "_receipts", "_receipts_behind", "_shared", "_since", "_upto",
    )  # fmt: skip

    def __init__(self, name: str, shared: Shared) -> None:
        self._name = name
        self._shared = shared
        self._behind = False
        self._receipts_behind = False
        self._since: int | None = None
        self._upto = 0
        self._devices: deque[DeviceNews] = deque()
        self._receipts: dict[ReceiptKey, Receipt] = {}

    def __bool__(self) -> bool:
        return bool(self._behind or self._devices or self._receipts)

    @property
    def delivered_upto(self) -> int | None:
        """None if nothing waits."""
        return self._since

    def devices_changed(self, position: int) -> None:
        self._behind = True
        self._from(position)

    def add_receipt(self, receipt: Receipt, *, keep: bool) -> None:
        """Without `keep`, it is left to the database."""
        self._from(receipt.position)
        if not keep or len(self._receipts) >= MOST_RECEIPTS:
            self._behind = self._receipts_behind = True
        else:
            self._receipts.pop(key_of(receipt), None)
            self._receipts[key_of(receipt)] = receipt

    def restart_at(self, position: int) -> None:
        self._since = None
        self._forget_after(position)

    def forget(self) -> None:
        self._forget_after(self._shared.position())

    def _forget_after(self, position: int) -> None:
        self._from(position + 1)
        self._behind = self._receipts_behind = True
        self._upto = 0
        self._devices.clear()
        self._receipts.clear()

    def _from(self, position: int) -> None:
        before = position - 1
        if self._since is None or before < self._since:
            self._since = before

    def delivered(self, batch: Batch) -> None:
        for _ in range(batch.devices):
            self._devices.popleft()
        for key, receipt in batch.receipts.items():
            if self._receipts.get(key) is receipt:
                del self._receipts[key]
        if not self._devices:
            since = [receipt.position - 1 for receipt in self._receipts.values()]
            if self._behind:
                since.append(max(self._since or 0, self._upto))
            self._since = min(since, default=None)

    async def add_devices(self, batch: Batch, most: int) -> None:
        if self._behind and not self._devices:
            await self._read()
        some = list(islice(self._devices, min(DEVICES_A_TIME, (most - len(batch.edus) + 1) // 2)))
        for details, keys in await self._shared.db.read(_details, some) if some else ():
            news = details.news
            if news.device_id == CROSS_SIGNING:
                made = edus.signing_key_updates(news.user_id, keys)
            else:
                update = edus.device_list_update(details)
                made = [update] if update is not None else []
            if sum(map(len, made)) > batch.left:
                break
            for each in made:
                batch.add_edu(each, MOST_EDUS)
            batch.devices += 1

    def add_receipts(self, batch: Batch, most: int) -> None:
        for made, receipts in edus.receipts(list(islice(self._receipts.values(), RECEIPTS_A_TIME))):
            if not batch.add_edu(made, most):
                break
            batch.receipts.update({key_of(each): each for each in receipts})

    async def _read(self) -> None:
        shared, since, upto = self._shared, self._since, self._shared.position()
        self._behind = False  # what comes while this is read says so again
        if since is None or since >= upto:
            return
        where = (self._name, shared.server_name, since, upto)
        self._devices.extend(await shared.db.read(outgoing.device_news, *where))
        self._upto = upto
        if self._receipts_behind:
            self._receipts_behind = False
            for receipt in await shared.db.read(outgoing.receipts_for, *where, MOST_RECEIPTS):
                self._receipts.setdefault(key_of(receipt), receipt)


def _details(
    tx: Transaction, news: Sequence[DeviceNews]
) -> list[tuple[DeviceDetails, list[cross_signing.CrossSigningKey]]]:
    signing = {each.user_id for each in news if each.device_id == CROSS_SIGNING}
    keys = cross_signing.keys_of(tx, signing) if signing else []
    return [
        (each, [key for key in keys if key.user_id == each.news.user_id])
        for each in outgoing.device_details(tx, news)
    ]
