"""One transaction: what is in it, and its bytes.

https://spec.matrix.org/v1.19/server-server-api/#transactions

The JSON of events and EDUs is canonical already, so the body is their bytes joined: an event that goes to a
thousand servers is encoded once.
"""

import hashlib
from dataclasses import dataclass, field

from storage.receipts import Receipt

MOST_PDUS = 50
MOST_EDUS = 100
MOST_EDU_BYTES = 1_000_000

ReceiptKey = tuple[str, str, str | None]
"""Room, user, thread."""


def key_of(receipt: Receipt) -> ReceiptKey:
    return receipt.room_id, receipt.user_id, receipt.thread_id


@dataclass(slots=True)
class Batch:
    """`events`: how many the queue may forget once it is delivered, `devices` likewise; the rest by name."""

    pdus: list[bytes] = field(default_factory=list)
    edus: list[bytes] = field(default_factory=list)
    events: int = 0
    devices: int = 0
    to_device: list[str] = field(default_factory=list)
    receipts: dict[ReceiptKey, Receipt] = field(default_factory=dict)
    left: int = MOST_EDU_BYTES

    @property
    def size(self) -> int:
        return len(self.pdus) + len(self.edus)

    def add_edu(self, edu: bytes, most: int) -> bool:
        """False, and not added, where `most` EDUs are in it or they have become too much."""
        if len(self.edus) >= most or len(edu) > self.left:
            return False
        self.edus.append(edu)
        self.left -= len(edu)
        return True

    def body(self, origin: str, now_ms: int) -> bytes:
        return b'{"edus":[%b],"origin":"%b","origin_server_ts":%d,"pdus":[%b]}' % (
            b",".join(self.edus),
            origin.encode(),
            now_ms,
            b",".join(self.pdus),
        )

    def digest(self) -> bytes:
        """The same for the same contents, so that a transaction that is tried again keeps its ID."""
        digest = hashlib.sha256()
        for each in (*self.edus, b"", *self.pdus):
            digest.update(b"%d:" % len(each))
            digest.update(each)
        return digest.digest()
