"""Rule 1: the create event."""

from homeserver.protocol import ids
from homeserver.protocol.auth_rules.errors import AuthError
from homeserver.protocol.events import Event
from homeserver.protocol.room_versions import ROOM_VERSIONS


def check_create(event: Event) -> None:
    version = event.version
    content = event.content
    if event.prev_events:
        raise AuthError("A create event has no previous events.")
    if version.room_id_is_create_id:
        if "room_id" in event.pdu:
            raise AuthError("A create event of this room version has no room_id.")
    elif event.room_id.partition(":")[2] != ids.domain_of(event.sender):
        raise AuthError("The room ID is not of the creator's server.")
    if "room_version" in content:
        room_version = content["room_version"]
        if not isinstance(room_version, str) or room_version not in ROOM_VERSIONS:
            raise AuthError("The room version is not known.")
    if not version.creator_is_sender and "creator" not in content:
        raise AuthError("The create event names no creator.")
    if version.creators_outrank_all and "additional_creators" in content:
        additional = content["additional_creators"]
        if not isinstance(additional, list) or not all(
            isinstance(user, str) and ids.is_valid_user_id(user) for user in additional
        ):
            raise AuthError("additional_creators is not a list of user IDs.")
