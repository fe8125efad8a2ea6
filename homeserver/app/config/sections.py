"""The nested sections of homeserver.yaml, as frozen values.

Names and meanings are Synapse's wherever the meaning is the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from homeserver.app.config.declare import Milliseconds, option


@dataclass(frozen=True, kw_only=True)
class Resource:
    """What a listener serves."""

    names: tuple[str, ...] = option(("client",), "client, federation, media, metrics, admin, health")
    compress: bool = option(False, "accepted for compatibility; answers are not compressed")


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A socket that answers HTTP."""

    port: int = option(doc="TCP port", limits={"minimum": 0, "maximum": 65535})
    bind_addresses: tuple[str, ...] = option(
        ("127.0.0.1",), "addresses to listen on; 0.0.0.0 and '::' mean every address"
    )
    type: Literal["http", "metrics"] = option("http", "http, or metrics for a Prometheus endpoint alone")
    tls: bool = option(False, "serve HTTPS with tls_certificate_path and tls_private_key_path")
    x_forwarded: bool = option(
        False, "believe X-Forwarded-For; only behind a reverse proxy, which must set it"
    )
    resources: tuple[Resource, ...] = option((Resource(),), "what is served here")


@dataclass(frozen=True, kw_only=True)
class Database:
    """Which database, and how to reach it."""

    name: Literal["sqlite3", "psycopg2"] = option("sqlite3", "sqlite3, or psycopg2 for PostgreSQL")
    args: Mapping[str, Any] = option(
        {},
        "sqlite3: `database`, the file. psycopg2: user, password, dbname, host, port and whatever else "
        "libpq takes; cp_min and cp_max bound the connections",
    )


@dataclass(frozen=True, kw_only=True)
class MatrixRtc:
    transports: tuple[Mapping[str, Any], ...] = option(
        (),
        "what clients are told, each with its `type`; for LiveKit: type: livekit and livekit_service_url",
        limits={
            "items": {
                "type": "object",
                "properties": {"type": {"type": "string", "expected": "the kind of transport"}},
                "required": ["type"],
                "expected": "a mapping with a type",
            }
        },
    )


@dataclass(frozen=True, kw_only=True)
class RateLimit:
    """A leaky bucket: `burst_count` at once, refilled at `per_second`."""

    per_second: float = option(1.0, "how many a second in the long run", limits={"minimum": 0})
    burst_count: int = option(10, "how many at once", limits={"minimum": 0})


@dataclass(frozen=True, kw_only=True)
class LoginRateLimits:
    address: RateLimit = option(RateLimit(per_second=0.5, burst_count=30), "for each client address")
    account: RateLimit = option(RateLimit(per_second=0.2, burst_count=20), "for each account")
    failed_attempts: RateLimit = option(
        RateLimit(per_second=0.2, burst_count=10), "for each account, failures only"
    )


@dataclass(frozen=True, kw_only=True)
class JoinRateLimits:
    local: RateLimit = option(RateLimit(per_second=1, burst_count=50), "rooms this server is in already")
    remote: RateLimit = option(RateLimit(per_second=0.05, burst_count=10), "rooms it has yet to join")


@dataclass(frozen=True, kw_only=True)
class InviteRateLimits:
    per_room: RateLimit = option(RateLimit(per_second=1, burst_count=50), "into one room")
    per_user: RateLimit = option(RateLimit(per_second=0.1, burst_count=20), "to one user")
    per_issuer: RateLimit = option(RateLimit(per_second=1, burst_count=50), "from one user")


@dataclass(frozen=True, kw_only=True)
class FederationRateLimits:
    window_size: Milliseconds = option(1000, "the time in which requests are counted")
    sleep_limit: int = option(500, "how many in that time are answered at once", limits={"minimum": 0})
    sleep_delay: Milliseconds = option(500, "how long each further one waits")
    reject_limit: int = option(100, "how many may wait; more are refused", limits={"minimum": 1})
    concurrent: int = option(50, "how many are worked on at the same time", limits={"minimum": 1})


@dataclass(frozen=True, kw_only=True)
class RateLimitTier:
    """Users or addresses for whom every limit is wider, narrower, or lifted."""

    users: tuple[str, ...] = option((), "user IDs; * stands for any text")
    addresses: tuple[str, ...] = option((), "addresses or networks, such as 192.0.2.0/24")
    factor: float = option(doc="limits are multiplied by this; 0 lifts them", limits={"minimum": 0})


@dataclass(frozen=True, kw_only=True)
class PasswordPolicy:
    enabled: bool = option(False, "whether the rules below are enforced")
    minimum_length: int = option(0, "fewest characters", limits={"minimum": 0, "maximum": 512})
    require_digit: bool = option(False, "at least one digit")
    require_symbol: bool = option(False, "at least one character that is no letter or digit")
    require_lowercase: bool = option(False, "at least one small letter")
    require_uppercase: bool = option(False, "at least one capital letter")


@dataclass(frozen=True, kw_only=True)
class PasswordConfig:
    enabled: bool = option(True, "whether people log in with passwords at all")
    policy: PasswordPolicy = option(PasswordPolicy(), "what a new password must look like")


@dataclass(frozen=True, kw_only=True)
class LoginViaExistingSession:
    enabled: bool = option(False, "serve POST /login/get_token")
    require_ui_auth: bool = option(True, "ask for the password again before giving a token")
    token_timeout: Milliseconds = option(300_000, "how long such a token is good for")


@dataclass(frozen=True, kw_only=True)
class UiAuth:
    session_timeout: Milliseconds = option(
        0, "for how long an authentication counts for further requests; 0: for one request"
    )


@dataclass(frozen=True, kw_only=True)
class Rendezvous:
    enabled: bool = option(True, "whether devices may meet here")


@dataclass(frozen=True, kw_only=True)
class Presence:
    enabled: bool = option(True, "whether people see who is online")


@dataclass(frozen=True, kw_only=True)
class ServerNotices:
    system_mxid_localpart: str = option(
        doc="the local part of the user who says it; an account for the server alone",
        limits={"pattern": "^[a-z0-9._=/+-]{1,100}$", "expected": "the local part of a user ID"},
    )
    system_mxid_display_name: str | None = option(None, "that user's display name")
    system_mxid_avatar_url: str | None = option(None, "that user's picture, an mxc:// URI")
    room_name: str | None = option("Server Notices", "what the room is called")
    room_avatar_url: str | None = option(None, "the room's picture, an mxc:// URI")
    room_topic: str | None = option(None, "the room's topic")
    auto_join: bool = option(False, "whether people are in the room at once, instead of being invited")


@dataclass(frozen=True, kw_only=True)
class UserDirectory:
    enabled: bool = option(True, "whether people can be searched by name")
    search_all_users: bool = option(
        False,
        "whether everybody here finds everybody who has an account here, not only people they share a room "
        "with or who are in rooms that anybody may join or read",
    )


@dataclass(frozen=True, kw_only=True)
class LimitRemoteRooms:
    enabled: bool = option(False, "whether joins into big remote rooms are refused")
    complexity: float = option(1.0, "state events divided by 500", limits={"minimum": 0})
    complexity_error: str = option(
        "Your homeserver is unable to join rooms this large or complex. Please speak to your server "
        "administrator, or upgrade your instance to join this room.",
        "what the user is told",
    )
    admins_can_join: bool = option(False, "whether administrators may join all the same")


@dataclass(frozen=True, kw_only=True)
class TrustedKeyServer:
    server_name: str = option(doc="the notary")
    verify_keys: Mapping[str, str] = option({}, "its keys, ID to base64; without them TLS vouches for it")
