"""Which state an event needs for its authorisation: the selection, and rules 2 and 3 that check one.

https://spec.matrix.org/v1.19/server-server-api/#auth-events-selection
"""

from collections.abc import Iterable
from typing import Any

from homeserver.protocol.auth_rules.errors import AuthError
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.room_versions import RoomVersion

_RULED_BY_JOIN_RULES = frozenset({"join", "invite", "knock"})


def auth_keys(
    version: RoomVersion, type: str, sender: str, state_key: str | None, content: dict[str, Any]
) -> list[StateKey]:
    """The keys of the state events to select as auth events, without repetition."""
    if type == "m.room.create":
        return []
    keys: list[StateKey] = [("m.room.power_levels", ""), ("m.room.member", sender)]
    if not version.room_id_is_create_id:
        keys.append(("m.room.create", ""))
    if type == "m.room.member" and state_key is not None:
        membership = content.get("membership")
        if state_key != sender:
            keys.append(("m.room.member", state_key))
        if isinstance(membership, str) and membership in _RULED_BY_JOIN_RULES:
            keys.append(("m.room.join_rules", ""))
        if membership == "invite":
            token = _third_party_token(content)
            if token is not None:
                keys.append(("m.room.third_party_invite", token))
        if membership == "join" and version.restricted_join_rules:
            authoriser = content.get("join_authorised_via_users_server")
            if isinstance(authoriser, str) and ("m.room.member", authoriser) not in keys:
                keys.append(("m.room.member", authoriser))
    return keys


def check_auth_events(event: Event, auth_events: Iterable[Event]) -> None:
    """Rules 2 and 3: raise AuthError unless these are auth events `event` may have."""
    version = event.version
    if event.type == "m.room.create":
        return
    allowed = set(auth_keys(version, event.type, event.sender, event.state_key, event.content))
    seen: set[StateKey] = set()
    for auth_event in auth_events:
        key = auth_event.key
        if key is None or key not in allowed:
            raise AuthError(f"{auth_event.event_id} is not among the auth events this event selects.")
        if key in seen:
            raise AuthError(f"There are two auth events for {key}.")
        if auth_event.rejected:
            raise AuthError(f"The auth event {auth_event.event_id} was rejected.")
        if auth_event.room_id != event.room_id:
            raise AuthError(f"The auth event {auth_event.event_id} is of another room.")
        seen.add(key)
    if not version.room_id_is_create_id and ("m.room.create", "") not in seen:
        raise AuthError("There is no create event among the auth events.")


def _third_party_token(content: dict[str, Any]) -> str | None:
    invite = content.get("third_party_invite")
    signed = invite.get("signed") if isinstance(invite, dict) else None
    token = signed.get("token") if isinstance(signed, dict) else None
    return token if isinstance(token, str) else None
