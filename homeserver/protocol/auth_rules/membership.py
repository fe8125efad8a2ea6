"""Rule 5: m.room.member, by the membership it sets."""

from collections.abc import Callable, Mapping

from homeserver.protocol import ids
from homeserver.protocol.auth_rules.errors import AuthError
from homeserver.protocol.auth_rules.third_party import check_third_party_invite
from homeserver.protocol.events import Event, StateKey
from homeserver.protocol.power_levels import PowerLevels, creators_of
from homeserver.protocol.signing import signatures_of

State = Mapping[StateKey, Event]


def check_member(event: Event, create: Event, state: State) -> None:
    if event.state_key is None:
        raise AuthError("A member event is a state event.")
    membership = event.content.get("membership")
    rule = _RULES.get(membership) if isinstance(membership, str) else None
    if rule is None:
        raise AuthError("The membership is missing or not known.")
    if event.version.restricted_join_rules and "join_authorised_via_users_server" in event.content:
        authoriser = event.content["join_authorised_via_users_server"]
        if not isinstance(authoriser, str) or not ids.is_valid_user_id(authoriser):
            raise AuthError("The authorising user is not a user ID.")
        if not signatures_of(event.pdu, ids.domain_of(authoriser)):
            raise AuthError("The authorising user's server did not sign the event.")
    rule(event, event.state_key, create, state)


def _join(event: Event, target: str, create: Event, state: State) -> None:
    if event.prev_events == (create.event_id,) and _is_creator(target, create):
        return
    if event.sender != target:
        raise AuthError("Nobody can be joined by another.")
    current = _membership(target, state)
    if current == "ban":
        raise AuthError(f"{target} is banned.")
    join_rule = _join_rule(state)
    if join_rule == "public":
        return
    version = event.version
    if join_rule in version.invite_join_rules and current in ("invite", "join"):
        return
    if join_rule in version.restricted_join_rules:
        authoriser = event.content.get("join_authorised_via_users_server")
        if not isinstance(authoriser, str) or _membership(authoriser, state) != "join":
            raise AuthError("No member of the room authorises this join.")
        levels = _levels(event, create, state)
        if levels.user(authoriser) < levels.invite:
            raise AuthError(f"{authoriser} may not invite, so cannot authorise a join.")
        return
    raise AuthError(f"{target} is not invited, and the join rule is {join_rule}.")


def _invite(event: Event, target: str, create: Event, state: State) -> None:
    if "third_party_invite" in event.content:
        check_third_party_invite(event, target, _membership(target, state), state)
        return
    _require_joined(event.sender, state)
    current = _membership(target, state)
    if current in ("join", "ban"):
        raise AuthError(f"{target} cannot be invited: the membership is {current}.")
    levels = _levels(event, create, state)
    if levels.user(event.sender) < levels.invite:
        raise AuthError(f"{event.sender} may not invite.")


def _leave(event: Event, target: str, create: Event, state: State) -> None:
    current = _membership(target, state)
    if event.sender == target:
        # Nobody's membership is "knock" before room version 7, whose rules never allow it.
        if current not in ("invite", "join", "knock"):
            raise AuthError(f"{target} is not in the room.")
        return
    _require_joined(event.sender, state)
    levels = _levels(event, create, state)
    power = levels.user(event.sender)
    if current == "ban" and power < levels.ban:
        raise AuthError(f"{event.sender} may not unban.")
    if power < levels.kick or power <= levels.user(target):
        raise AuthError(f"{event.sender} may not remove {target}.")


def _ban(event: Event, target: str, create: Event, state: State) -> None:
    _require_joined(event.sender, state)
    levels = _levels(event, create, state)
    power = levels.user(event.sender)
    if power < levels.ban or power <= levels.user(target):
        raise AuthError(f"{event.sender} may not ban {target}.")


def _knock(event: Event, target: str, create: Event, state: State) -> None:
    # Before room version 7 no join rule admits a knock.
    if _join_rule(state) not in event.version.knock_join_rules:
        raise AuthError("The join rule does not allow knocking.")
    if event.sender != target:
        raise AuthError("Nobody can knock for another.")
    current = _membership(target, state)
    if current in ("ban", "invite", "join"):
        raise AuthError(f"{target} cannot knock: the membership is {current}.")


_RULES: dict[str, Callable[[Event, str, Event, State], None]] = {
    "join": _join,
    "invite": _invite,
    "leave": _leave,
    "ban": _ban,
    "knock": _knock,
}


def _is_creator(user_id: str, create: Event) -> bool:
    """`additional_creators` join like anyone else: only the one who made the room starts it."""
    if create.version.creator_is_sender:
        return user_id == create.sender
    return user_id in creators_of(create)


def _membership(user_id: str, state: State) -> str:
    member = state.get(("m.room.member", user_id))
    membership = None if member is None else member.content.get("membership")
    return membership if isinstance(membership, str) else "leave"


def _require_joined(user_id: str, state: State) -> None:
    if _membership(user_id, state) != "join":
        raise AuthError(f"{user_id} is not in the room.")


def _join_rule(state: State) -> str:
    join_rules = state.get(("m.room.join_rules", ""))
    rule = None if join_rules is None else join_rules.content.get("join_rule", "invite")
    return rule if isinstance(rule, str) else "invite"


def _levels(event: Event, create: Event, state: State) -> PowerLevels:
    return PowerLevels.of(event.version, create, state.get(("m.room.power_levels", "")))
