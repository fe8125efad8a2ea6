"""What this server can do for this user.

https://spec.matrix.org/v1.19/client-server-api/#capabilities-negotiation
"""

from typing import Any

from homeserver.http.endpoint import USER, Requester, get
from homeserver.protocol.room_versions import ROOM_VERSIONS
from homeserver.rooms import delayed_events
from homeserver.server import Server

MODERATION = {"suspend": True, "lock": True}


@get("/_matrix/client/v3/capabilities", auth=USER, guests=True)
def capabilities(server: Server, me: Requester) -> dict[str, Any]:
    settings = server.accounts.settings
    moderation = {}
    if me.is_admin:
        moderation = dict.fromkeys(("m.account_moderation", "uk.timedout.msc4323"), MODERATION)
    return {
        "capabilities": {
            **moderation,
            "m.room_versions": {
                "default": server.config.default_room_version,
                "available": dict.fromkeys(ROOM_VERSIONS, "stable"),
            },
            "m.change_password": {"enabled": settings.password_login and not me.is_guest},
            "m.get_login_token": {"enabled": settings.login_via_existing_session and not me.is_guest},
            "m.profile_fields": {"enabled": True},
            "m.set_displayname": {"enabled": True},
            "m.set_avatar_url": {"enabled": True},
            "m.3pid_changes": {"enabled": False},
            "org.matrix.msc4140.delayed_events": delayed_events.capability(server.config.max_event_delay_ms),
            "m.forget_forced_upon_leave": {"enabled": server.config.forget_rooms_on_leave},
        }
    }
