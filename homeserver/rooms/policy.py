"""A room's policy server: who has it sign, what it refuses, and what becomes of that.

https://spec.matrix.org/v1.19/server-server-api/#policy-servers

A room that has no `m.room.policy` pays one look-up in a map. In one that has, an event of ours is built,
shown to the policy server and sent if it comes back signed; one from elsewhere whose signature is missing or
wrong is shown too, and soft-failed if it stays so. The policy event itself needs no signature: a room can
always rid itself of a policy server that is gone.

A policy server that does not answer is not asked again for a moment, so that of the events that wait in
a room only one waits for it in vain.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from homeserver.clock import Clock
from homeserver.errors import BadGateway, LimitExceeded, MatrixError, RemoteError, RemoteRefused, TooLarge
from homeserver.protocol.events import MAX_EVENT_BYTES, Event, StateKey
from homeserver.protocol.hashing import signed_bytes
from homeserver.protocol.signing import VerifyKey, signatures_of
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.head import Head
from storage.events import StoredEvent

POLICY: StateKey = ("m.room.policy", "")
KEY_ID = "ed25519:policy_server"
SILENCE_MS = 5_000
ASKED_AT_ONCE = 5
BATCH_MS = 20_000
MOST_RETRY_MS = 3_600_000
# A client takes some codes for its own affair (its token, its account), which is not for others to say.
PASSED_ON = frozenset({"M_BAD_JSON", "M_FORBIDDEN", "M_NOT_FOUND", "M_NOT_JSON", "M_UNRECOGNIZED"})

log = Logger()


class PolicyServers(Protocol):
    """Asking them: the port, which `federation.policy_servers` implements."""

    async def sign(self, server: str, event: Event) -> Any:
        """What it answers, unchecked: signatures by server and key ID. Raises RemoteError in bounded time."""


class NoPolicyServers:
    """The port of a server that does not federate."""

    async def sign(self, server: str, event: Event) -> Any:
        raise RemoteError("This server does not federate.")


class RoomInMemory(Protocol):
    tip: Head
    pending: dict[str, StoredEvent]


@dataclass(frozen=True, slots=True)
class PolicyServer:
    """`key` is None where the room names one that is none: then nothing is ever signed rightly."""

    via: str
    key: VerifyKey | None

    def has_signed(self, event: Event) -> bool:
        signature = signatures_of(event.pdu, self.via).get(KEY_ID)
        if signature is None or self.key is None:
            return False
        return self.key.verifies(signed_bytes(event.pdu, event.version), signature)


@dataclass(slots=True)
class Judged:
    """Events from elsewhere, by ID: those that were signed now, and the errors for those that were not."""

    signed: dict[str, Event] = field(default_factory=dict)
    refused: dict[str, MatrixError] = field(default_factory=dict)


class Policy:
    def __init__(self, events: EventStore, clock: Clock, servers: PolicyServers) -> None:
        self._events = events
        self._clock = clock
        self._servers = servers
        self._silent: dict[str, int] = {}
        """Those that did not answer, and until when they are not asked."""

    async def server_of(self, room: RoomInMemory) -> PolicyServer | None:
        """By the room's current state; None where it uses none."""
        event_id = room.tip.event_id(*POLICY)
        if event_id is None:
            return None
        stored = room.pending.get(event_id) or await self._events.get(event_id)
        found = _policy_server(stored.event.content) if stored is not None else None
        return found if found is not None and found.via in room.tip.servers else None

    async def endorsed(self, room: RoomInMemory, event: Event) -> Event:
        """The event as it may be sent: with the signature that it needs. Raises what the client is told."""
        if is_exempt(event):
            return event
        server = await self.server_of(room)
        return event if server is None else await self._signed(server, event)

    async def judge(self, room: RoomInMemory, events: Sequence[Event]) -> Judged:
        """What the room's policy server says to these events from elsewhere."""
        judged = Judged()
        server = await self.server_of(room)
        if server is None:
            return judged
        deadline = self._clock.now_ms() + BATCH_MS
        todo = iter([event for event in events if not is_exempt(event)])

        async def lane() -> None:
            for event in todo:
                try:
                    if not server.has_signed(event) and self._clock.now_ms() >= deadline:
                        raise _no_answer(server.via)
                    judged.signed[event.event_id] = await self._signed(server, event)
                except MatrixError as error:
                    log.info("{event} is not recommended: {reason}", event=event, reason=error.message)
                    judged.refused[event.event_id] = error

        lanes = [Deferred.fromCoroutine(lane()) for _ in range(min(ASKED_AT_ONCE, len(events)))]
        await gatherResults(lanes, consumeErrors=True)
        return judged

    async def _signed(self, server: PolicyServer, event: Event) -> Event:
        if server.has_signed(event):
            return event
        if self._silent.get(server.via, 0) > self._clock.now_ms():
            raise _no_answer(server.via)
        try:
            given = await self._servers.sign(server.via, event)
        except RemoteRefused as error:
            if error.status not in (400, 403, 404, 429):
                self._fell_silent(server.via)
            raise _for_client(error) from error
        except RemoteError as error:
            self._fell_silent(server.via)
            raise _no_answer(server.via) from error
        self._silent.pop(server.via, None)
        signature = signatures_of({"signatures": given}, server.via).get(KEY_ID, "")
        signatures = event.pdu["signatures"]
        of_server = signatures.get(server.via)
        of_server = of_server if isinstance(of_server, dict) else {}
        signatures = {**signatures, server.via: {**of_server, KEY_ID: signature}}
        # The signature does not cover the others, so the event is looked at as it will be.
        signed = event.with_pdu({**event.pdu, "signatures": signatures}) if len(signature) <= 100 else event
        if not server.has_signed(signed):
            raise BadGateway(f"The room's policy server {server.via} did not sign with the room's key.")
        if len(signed.json) > MAX_EVENT_BYTES:
            raise TooLarge("The event is too large with the signature of the room's policy server.")
        return signed

    def _fell_silent(self, server: str) -> None:
        now = self._clock.now_ms()
        self._silent = {each: until for each, until in self._silent.items() if until > now}
        self._silent[server] = now + SILENCE_MS


def is_exempt(event: Event) -> bool:
    return event.key == POLICY


def _policy_server(content: dict[str, Any]) -> PolicyServer | None:
    via, keys = content.get("via"), content.get("public_keys")
    key = keys.get("ed25519") if isinstance(keys, dict) else None
    if not isinstance(via, str) or not isinstance(key, str):
        return None
    try:
        return PolicyServer(via, VerifyKey.decode(KEY_ID, key))
    except ValueError:
        return PolicyServer(via, None)


def _no_answer(server: str) -> MatrixError:
    return BadGateway(f"The room's policy server {server} does not answer.")


def _for_client(error: RemoteRefused) -> MatrixError:
    """Its refusal in its own words, as far as they concern the event."""
    message = error.message or "The room's policy server refuses the event."
    if error.status == 429:
        wait = error.body.get("retry_after_ms")
        wait = wait if isinstance(wait, int) else SILENCE_MS
        return LimitExceeded(min(max(wait, 0), MOST_RETRY_MS), message)
    if error.status not in (400, 403, 404):
        return _no_answer(error.server_name)
    errcode = error.errcode if error.errcode in PASSED_ON else "M_FORBIDDEN"
    return MatrixError(message, errcode=errcode, status=error.status)
