"""Making our member event from the template that a resident server proposes.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms

Only where the event stands in the room is taken from the template (previous and authorising events, depth)
and who vouches for a restricted join. All else is ours: a server could propose anything for us to sign.
"""

from collections.abc import Mapping
from typing import Any

from homeserver.errors import BadJson, RemoteError, TooLarge
from homeserver.protocol.events import (
    MAX_AUTH_EVENTS,
    MAX_PREV_EVENTS,
    Event,
    EventTooLarge,
    InvalidEvent,
)
from homeserver.protocol.ids import domain_of, is_valid_event_id, is_valid_user_id
from homeserver.rooms.head import MEMBER, Identity
from homeserver.rooms.remote import Template

VOUCHER = "join_authorised_via_users_server"


def event_from(
    template: Template,
    identity: Identity,
    *,
    room_id: str,
    user_id: str,
    content: Mapping[str, Any],
    now_ms: int,
) -> Event:
    """The event, signed. `content` has the membership. Raises RemoteError where the template is wrong."""
    version, pdu = template.version, template.pdu
    proposed = pdu.get("content")
    if (
        not isinstance(proposed, dict)
        or (pdu.get("type"), pdu.get("room_id")) != (MEMBER, room_id)
        or (pdu.get("sender"), pdu.get("state_key")) != (user_id, user_id)
        or proposed.get("membership") != content["membership"]
    ):
        raise RemoteError(f"{template.server} proposes another event than was asked for.")
    depth = pdu.get("depth")
    if type(depth) is not int or depth < 0:
        raise RemoteError(f"{template.server} proposes an event without a depth.")
    previous, hashes = _references(template, "prev_events", MAX_PREV_EVENTS)
    authorising, more_hashes = _references(template, "auth_events", MAX_AUTH_EVENTS)
    ours = {**content, **_vouched(template, proposed)}
    try:
        return Event.build(
            version,
            room_id=room_id,
            sender=user_id,
            type=MEMBER,
            content=ours,
            state_key=user_id,
            prev_events=previous,
            auth_events=authorising,
            depth=depth,
            origin_server_ts=now_ms,
            server_name=identity.server_name,
            signing_key=identity.signing_key,
            reference_hashes=hashes | more_hashes,
        )
    except EventTooLarge as error:
        raise TooLarge(str(error)) from None
    except InvalidEvent as error:
        raise BadJson(str(error)) from None


def _vouched(template: Template, proposed: Mapping[str, Any]) -> dict[str, Any]:
    """The voucher is of the very server that is to sign for it."""
    if VOUCHER not in proposed or not template.version.restricted_join_rules:
        return {}
    voucher = proposed[VOUCHER]
    if not isinstance(voucher, str) or not is_valid_user_id(voucher) or domain_of(voucher) != template.server:
        raise RemoteError(f"{template.server} proposes somebody else to vouch for the join.")
    return {VOUCHER: voucher}


def _references(template: Template, field: str, limit: int) -> tuple[list[str], dict[str, str]]:
    """The events named, and of the pairs of room versions 1 and 2 the hashes."""
    given = template.pdu.get(field)
    if not isinstance(given, list) or len(given) > limit:
        raise RemoteError(f"{template.server} proposes an event without {field}.")
    event_ids: list[str] = []
    hashes: dict[str, str] = {}
    for each in given:
        event_id, named = each, None
        if not template.version.hashed_event_ids:
            event_id, named = each if isinstance(each, list) and len(each) == 2 else (None, None)
        if not isinstance(event_id, str) or not is_valid_event_id(event_id):
            raise RemoteError(f"{template.server} proposes an event whose {field} are none.")
        event_ids.append(event_id)
        if isinstance(named, dict) and isinstance(named.get("sha256"), str):
            hashes[event_id] = named["sha256"]
    return event_ids, hashes
