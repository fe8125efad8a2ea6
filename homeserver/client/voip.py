"""What calls need of the server: credentials for TURN, and where the services for group calls are.

https://spec.matrix.org/v1.19/client-server-api/#voice-over-ip
MSC4143, https://github.com/matrix-org/matrix-spec-proposals/pull/4143
"""

import hashlib
import hmac
from base64 import b64encode
from typing import Any

from homeserver.http.endpoint import USER, get
from homeserver.http.requester import Requester
from homeserver.server import Server


@get("/_matrix/client/v3/voip/turnServer", auth=USER, rate="voip", guests=True)
def get_turn_server(server: Server, me: Requester) -> dict[str, Any]:
    """Nothing where there is no TURN server for this user: clients read that as "do without"."""
    turn = server.config.turn
    if not turn.uris or (me.is_guest and not turn.allow_guests):
        return {}
    if turn.shared_secret is not None:
        # The TURN server knows the secret and so believes the name, which says when it ends.
        expires = (server.clock.now_ms() + turn.user_lifetime_ms) // 1000
        username = f"{expires}:{me.user_id}"
        mac = hmac.new(turn.shared_secret.encode(), username.encode(), hashlib.sha1).digest()
        password = b64encode(mac).decode()
    elif turn.username is not None and turn.password is not None:
        username, password = turn.username, turn.password
    else:
        return {}
    return {
        "username": username,
        "password": password,
        "uris": list(turn.uris),
        "ttl": turn.user_lifetime_ms // 1000,
    }


@get("/_matrix/client/unstable/org.matrix.msc4143/rtc/transports", auth=USER, rate="voip", guests=True)
def get_rtc_transports(server: Server) -> dict[str, Any]:
    return {"rtc_transports": list(server.config.rtc_transports)}
