"""What the queues of all destinations have in common."""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import DeferredSemaphore

from federation.client import FederationClient
from federation.destinations import Destinations
from homeserver.clock import Clock
from storage.database import Database


@dataclass(slots=True)
class Shared:
    """`position`: up to where the stream was handed out to the queues. `slots` are for unproven servers."""

    server_name: str
    db: Database
    clock: Clock
    client: FederationClient
    destinations: Destinations
    slots: DeferredSemaphore
    position: Callable[[], int]
    new_txn_id: Callable[[], str]
