"""The authorisation rules: may this event stand, given this state?

https://spec.matrix.org/v1.19/server-server-api/#authorisation-rules
https://spec.matrix.org/v1.19/rooms/ (each version's list; the numbers in comments are version 12's)

`check` runs on every send, so its common path, a member sending a message, is a few dictionary look-ups.
It asks the state map only for the keys that `auth_keys` names, so a whole room's state and an event's
few auth events serve equally. Rules about the auth events themselves are `check_auth_events`; rules about
signatures from other servers are `signing.verify_signatures`.
"""

from collections.abc import Mapping

from homeserver.protocol import ids
from homeserver.protocol.auth_rules.creation import check_create
from homeserver.protocol.auth_rules.errors import AuthError, Malformed
from homeserver.protocol.auth_rules.membership import check_member
from homeserver.protocol.auth_rules.power_levels_change import check_power_levels
from homeserver.protocol.auth_rules.selection import auth_keys, check_auth_events
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.power_levels import PowerLevels

__all__ = ["AuthError", "Malformed", "auth_keys", "check", "check_auth_events"]

_CREATE: StateKey = ("m.room.create", "")
_POWER_LEVELS: StateKey = ("m.room.power_levels", "")


def check(event: Event, state: Mapping[StateKey, Event]) -> None:
    """Raise AuthError unless the rules allow `event` in `state`.

    `state` always holds the create event, also where that is nobody's auth event.
    """
    version = event.version
    kind = event.type
    state_key = event.state_key
    if kind == "m.room.create":
        return check_create(event)
    create = state.get(_CREATE)
    if create is None:
        raise AuthError("There is no create event.")
    if create.room_id != event.room_id or create.rejected:
        raise AuthError("The event is not in this create event's room.")

    sender = event.sender
    if create.content.get("m.federate") is False and ids.domain_of(sender) != ids.domain_of(create.sender):
        raise AuthError("The room is not federated.")

    if version.aliases_by_domain and kind == "m.room.aliases":
        if state_key is None or state_key != ids.domain_of(sender):
            raise AuthError("Aliases are set by their own server.")
        return None

    if kind == "m.room.member":
        return check_member(event, create, state)

    member = state.get(("m.room.member", sender))
    if member is None or member.content.get("membership") != "join":
        raise AuthError(f"{sender} is not in the room.")

    power_levels = state.get(_POWER_LEVELS)
    levels = PowerLevels.of(version, create, power_levels)
    power = levels.user(sender)

    if kind == "m.room.third_party_invite":
        if power < levels.invite:
            raise AuthError(f"{sender} has power {power}; inviting needs {levels.invite}.")
        return None

    needed = levels.event(kind, state_key is not None)
    if power < needed:
        raise AuthError(f"{sender} has power {power}; {kind} needs {needed}.")

    if state_key is not None and state_key[:1] == "@" and state_key != sender:
        raise AuthError("State keyed by a user is set by that user.")

    if kind == "m.room.power_levels":
        # With another state key it changes no levels, but must be well-formed all the same.
        return check_power_levels(event, power_levels if state_key == "" else None, levels)

    if (
        version.redaction_by_auth_rules
        and kind == "m.room.redaction"
        and power < levels.redact
        and not _same_domain(event.redacts, event.event_id)
    ):
        raise AuthError(f"{sender} has power {power}; redacting needs {levels.redact}.")
    return None


def _same_domain(redacts: str | None, event_id: str) -> bool:
    return redacts is not None and ":" in redacts and ids.domain_of(redacts) == ids.domain_of(event_id)
