"""Asking other servers about rooms: history, state, and the handshakes of joining, leaving and inviting.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events

Nothing that comes back is believed: no more events than were asked for, each inspected, an event asked for
by its ID must have that ID. Of our own event, which a server gives back signed, only the signatures are
taken. What a user does is tried even with a server that did not answer before; what happens by itself is not.
"""

from collections.abc import Collection, Sequence
from typing import Any, TypeVar

import msgspec
from twisted.internet.defer import Deferred, gatherResults

from federation import answers
from federation.client import Backoff, Content, FederationClient, Limits, Query, path_of
from federation.errors import BadAnswer, NotFederated, Refused, Unreachable
from federation.handshakes import create_event_of, server_names, stripped_events, with_their_signatures
from federation.inspection import Inspector
from homeserver.errors import RemoteError
from homeserver.protocol import canonical_json
from homeserver.protocol.events import MAX_EVENT_BYTES, Event, StateKey
from homeserver.protocol.ids import domain_of
from homeserver.protocol.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.rooms.remote import RemoteJoin, Template

A = TypeVar("A")
V1, V2 = "/_matrix/federation/v1/", "/_matrix/federation/v2/"

MEGABYTE = 1024 * 1024
BY_ITSELF = Limits(seconds=60.0, max_body=16 * MEGABYTE, backoff=Backoff.HEED)
ONE_EVENT = Limits(seconds=15.0, max_body=MEGABYTE, backoff=Backoff.HEED)
STATE = Limits(seconds=300.0, max_body=100 * MEGABYTE, backoff=Backoff.HEED)
STATE_IDS = Limits(seconds=60.0, max_body=32 * MEGABYTE, backoff=Backoff.HEED)
BY_A_USER = Limits(seconds=20.0, max_body=MEGABYTE, backoff=Backoff.IGNORE)
JOIN = Limits(seconds=300.0, max_body=100 * MEGABYTE, backoff=Backoff.IGNORE)
EVENTS_SECONDS = 60.0
EVENTS_AT_ONCE = 5
MAX_EVENTS_ASKED = 100

ALL_VERSIONS = list(ROOM_VERSIONS)


class RoomsClient:
    """The port RemoteRooms."""

    def __init__(self, client: FederationClient, inspector: Inspector) -> None:
        self._client = client
        self._inspector = inspector

    # History and state

    async def missing_events(
        self,
        server: str,
        room_id: str,
        version: RoomVersion,
        *,
        earliest: Collection[str],
        latest: Collection[str],
        limit: int,
        min_depth: int = 0,
    ) -> list[Event]:
        content = {
            "earliest_events": list(earliest),
            "latest_events": list(latest),
            "limit": limit,
            "min_depth": min_depth,
        }
        path = path_of(V1 + "get_missing_events", room_id)
        body = await self._ask("POST", server, path, content, limits=_for_events(limit))
        given = answers.read(server, body, answers.MissingEvents)
        return _unique(await self._inspector.read(given.events[:limit], version, room_id))

    async def backfill(
        self, server: str, room_id: str, version: RoomVersion, event_ids: Collection[str], limit: int
    ) -> list[Event]:
        path = path_of(V1 + "backfill", room_id)
        query: Query = {"v": list(event_ids), "limit": limit}
        body = await self._ask("GET", server, path, query=query, limits=_for_events(limit))
        given = answers.read(server, body, answers.Transaction)
        pdus = given.pdus[:limit]
        return _unique(await self._inspector.read(pdus, version, room_id, unlimited=True))

    async def state_ids(self, server: str, room_id: str, event_id: str) -> tuple[list[str], list[str]]:
        path, query = path_of(V1 + "state_ids", room_id), {"event_id": event_id}
        body = await self._ask("GET", server, path, query=query, limits=STATE_IDS)
        given = answers.read(server, body, answers.StateIds)
        return list(dict.fromkeys(given.pdu_ids)), list(dict.fromkeys(given.auth_chain_ids))

    async def state(
        self, server: str, room_id: str, version: RoomVersion, event_id: str
    ) -> tuple[list[Event], list[Event]]:
        path, query = path_of(V1 + "state", room_id), {"event_id": event_id}
        body = await self._ask("GET", server, path, query=query, limits=STATE)
        given = answers.read(server, body, answers.State)
        return await self._read_state(given.pdus, given.auth_chain, version, room_id)

    async def events(
        self, server: str, room_id: str, version: RoomVersion, event_ids: Collection[str]
    ) -> dict[str, Event]:
        todo = list(dict.fromkeys(event_ids))[:MAX_EVENTS_ASKED]
        found: dict[str, msgspec.Raw] = {}
        try:
            await self._client.within(EVENTS_SECONDS, self._each_event(server, todo, found))
        except RemoteError:
            if not found:
                raise
        events = await self._inspector.read(list(found.values()), version, room_id)
        return {event.event_id: event for event in events if event.event_id in found}

    async def event_auth(
        self, server: str, room_id: str, version: RoomVersion, event_id: str
    ) -> list[Event]:
        path = path_of(V1 + "event_auth", room_id, event_id)
        body = await self._ask("GET", server, path, limits=BY_ITSELF)
        given = answers.read(server, body, answers.AuthChain)
        return _unique(await self._inspector.read(given.auth_chain, version, room_id))

    async def timestamp_to_event(
        self, server: str, room_id: str, ts: int, *, backwards: bool
    ) -> tuple[str, int]:
        path = path_of(V1 + "timestamp_to_event", room_id)
        query: Query = {"ts": ts, "dir": "b" if backwards else "f"}
        body = await self._ask("GET", server, path, query=query, limits=ONE_EVENT)
        given = answers.read(server, body, answers.EventAt)
        return given.event_id, given.origin_server_ts

    async def verify(self, events: Sequence[Event]) -> list[Event]:
        return await self._inspector.verify(events)

    # Handshakes

    async def make_join(self, server: str, room_id: str, user_id: str) -> Template:
        return await self._make(server, "make_join", room_id, user_id, {"ver": ALL_VERSIONS})

    async def make_leave(self, server: str, room_id: str, user_id: str) -> Template:
        return await self._make(server, "make_leave", room_id, user_id, None)

    async def make_knock(self, server: str, room_id: str, user_id: str) -> Template:
        return await self._make(server, "make_knock", room_id, user_id, {"ver": ALL_VERSIONS})

    async def send_join(self, template: Template, event: Event) -> RemoteJoin:
        server, version = template.server, template.version
        query = {"omit_members": "true"}
        given = await self._send(server, "send_join", event, JOIN, answers.SendJoin, query)
        signed = await self._signed_join(server, event, given.event)
        state, auth_chain = await self._read_state(given.state, given.auth_chain, version, event.room_id)
        if create_event_of([*state, *auth_chain], version) is None:
            raise BadAnswer(f"{server} answered a room without its create event.")
        return RemoteJoin(
            event=signed,
            state=state,
            auth_chain=auth_chain,
            partial=given.members_omitted is True,
            servers=list(dict.fromkeys([*server_names(given.servers_in_room), server])),
            server=server,
        )

    async def send_leave(self, server: str, event: Event) -> None:
        await self._send(server, "send_leave", event, BY_A_USER, dict)

    async def send_knock(self, server: str, event: Event) -> list[dict[str, Any]]:
        path = path_of(V1 + "send_knock", event.room_id, event.event_id)
        body = await self._ask("PUT", server, path, event.json, limits=BY_A_USER)
        return stripped_events(answers.read(server, body, answers.Knocked).knock_room_state)

    async def invite(
        self, server: str, event: Event, version: RoomVersion, invite_state: Sequence[dict[str, Any]]
    ) -> Event:
        path = path_of("invite", event.room_id, event.event_id)
        content: Content = {
            "room_version": version.id,
            "event": event.pdu,
            "invite_room_state": list(invite_state),
        }
        try:
            body = await self._ask("PUT", server, V2 + path, content, limits=BY_A_USER)
            given = answers.read(server, body, answers.Invited)
        except Refused as error:
            # The first API cannot tell the version, so it is only for rooms that had no other.
            if version.hashed_event_ids or not _is_unknown_path(error):
                raise
            content = {**event.pdu, "unsigned": {"invite_room_state": list(invite_state)}}
            body = await self._ask("PUT", server, V1 + path, content, limits=BY_A_USER)
            given = answers.read_v1(server, body, answers.Invited)
        signed = with_their_signatures(event, given.event, {server})
        if not await self._inspector.is_signed_by(signed, server):
            raise BadAnswer(f"{server} took the invite but did not sign it.")
        return signed

    async def exchange_third_party_invite(self, server: str, room_id: str, invite: dict[str, Any]) -> None:
        path = path_of(V1 + "exchange_third_party_invite", room_id)
        body = await self._ask("PUT", server, path, invite, limits=BY_A_USER)
        answers.read(server, body, dict)

    # How it is done

    async def _ask(
        self,
        method: str,
        server: str,
        path: str,
        content: Content | None = None,
        *,
        query: Query | None = None,
        limits: Limits,
    ) -> bytes | bytearray:
        try:
            return await self._client.ask(method, server, path, query, content, limits)
        except NotFederated as error:
            # To who asks around in a room, a server we do not speak with is one that does not answer.
            raise Unreachable(str(error)) from error

    async def _make(
        self, server: str, what: str, room_id: str, user_id: str, query: Query | None
    ) -> Template:
        path = path_of(V1 + what, room_id, user_id)
        body = await self._ask("GET", server, path, query=query, limits=BY_A_USER)
        given = answers.read(server, body, answers.Made)
        # Servers that name none are as old as the first version.
        version = ROOM_VERSIONS.get("1" if given.room_version is None else given.room_version)
        if version is None:
            # It did not heed what we can do, or this would be its own answer.
            unknown = {"room_version": given.room_version}
            message = f"Room version {given.room_version} is not supported."
            raise Refused(server, 400, "M_UNSUPPORTED_ROOM_VERSION", message, unknown)
        pdu = _decoded(server, given.event)
        if pdu is None:
            raise BadAnswer(f"{server} proposes no event.")
        return Template(version, pdu, server)

    async def _send(
        self,
        server: str,
        what: str,
        event: Event,
        limits: Limits,
        shape: type[A],
        query: Query | None = None,
    ) -> A:
        """By the second version of the API or, where a server does not know it, by the first."""
        path = path_of(what, event.room_id, event.event_id)
        try:
            body = await self._ask("PUT", server, V2 + path, event.json, query=query, limits=limits)
            return answers.read(server, body, shape)
        except Refused as error:
            if not _is_unknown_path(error):
                raise
        body = await self._ask("PUT", server, V1 + path, event.json, limits=limits)
        return answers.read_v1(server, body, shape)

    async def _signed_join(self, server: str, event: Event, given: msgspec.Raw) -> Event:
        """Our event as it is sent to others: with the voucher's signature, if the join needs one."""
        authoriser = event.content.get("join_authorised_via_users_server")
        pdu = _decoded(server, given) if len(memoryview(given)) else None
        if pdu is None:
            if authoriser is None:
                return event
            raise BadAnswer(f"{server} vouches for a join but does not sign it.")
        signers = {server} | ({domain_of(authoriser)} if isinstance(authoriser, str) else set())
        verified = await self._inspector.verify([with_their_signatures(event, pdu, signers)])
        if not verified:
            raise BadAnswer(f"{server} answered our join without a signature that it needs.")
        return verified[0]

    async def _read_state(
        self, state: answers.Raws, auth_chain: answers.Raws, version: RoomVersion, room_id: str
    ) -> tuple[list[Event], list[Event]]:
        """Each event once: what is in the state is left out of the chain, as newer servers do."""
        in_state: dict[StateKey, Event] = {}
        for event in await self._inspector.read(state, version, room_id):
            if event.key is not None:
                in_state.setdefault(event.key, event)
        seen = {event.event_id for event in in_state.values()}
        in_chain = _unique(await self._inspector.read(auth_chain, version, room_id))
        return list(in_state.values()), [event for event in in_chain if event.event_id not in seen]

    async def _each_event(
        self, server: str, event_ids: Sequence[str], found: dict[str, msgspec.Raw]
    ) -> None:
        """Adds what the server gives for each, and stops where it does not answer."""
        failures: list[RemoteError] = []
        todo = iter(event_ids)

        async def lane() -> None:
            for event_id in todo:
                if failures:
                    return
                path = path_of(V1 + "event", event_id)
                try:
                    body = await self._ask("GET", server, path, limits=ONE_EVENT)
                    pdus = answers.read(server, body, answers.Transaction).pdus
                except (Refused, BadAnswer):
                    continue  # of this event it knows nothing
                except RemoteError as error:
                    failures.append(error)
                    return
                if pdus:
                    found[event_id] = pdus[0]

        lanes = min(EVENTS_AT_ONCE, len(event_ids))
        await gatherResults([Deferred.fromCoroutine(lane()) for _ in range(lanes)], consumeErrors=True)
        if failures:
            raise failures[0]


def _decoded(server: str, given: msgspec.Raw) -> dict[str, Any] | None:
    """A single event; None for null."""
    try:
        pdu = canonical_json.decode_lax(bytes(given))
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"{server} answered an event that is no JSON.") from error
    if pdu is not None and not isinstance(pdu, dict):
        raise BadAnswer(f"{server} answered an event that is no object.")
    return pdu


def _for_events(limit: int) -> Limits:
    """Escapes and `unsigned` may double an event."""
    size = min(2 * limit * MAX_EVENT_BYTES + MEGABYTE, BY_ITSELF.max_body)
    return Limits(BY_ITSELF.seconds, size, BY_ITSELF.backoff)


def _unique(events: Sequence[Event]) -> list[Event]:
    """Each once, where it came first."""
    unique: dict[str, Event] = {}
    for event in events:
        unique.setdefault(event.event_id, event)
    return list(unique.values())


def _is_unknown_path(error: Refused) -> bool:
    """A 404 in words of no Matrix server comes from a proxy or a server older than the error code."""
    if error.errcode == "M_UNRECOGNIZED":
        return error.status in (400, 404, 405)
    return error.status == 404 and not error.body
