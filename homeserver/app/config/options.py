"""Every option of homeserver.yaml: name, type, default, meaning. The one place where they are described.

`homeserver.yaml.example` and the checks of a file are made from this class (see declare.py). Names and
meanings are Synapse's wherever the meaning is the same, so a file written for Synapse mostly just works.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from homeserver.app.config.declare import Bytes, Milliseconds, option
from homeserver.app.config.sections import (
    Database,
    FederationRateLimits,
    InviteRateLimits,
    JoinRateLimits,
    LimitRemoteRooms,
    Listener,
    LoginRateLimits,
    LoginViaExistingSession,
    MatrixRtc,
    PasswordConfig,
    Presence,
    RateLimit,
    RateLimitTier,
    Rendezvous,
    ServerNotices,
    TrustedKeyServer,
    UiAuth,
    UserDirectory,
)

SERVER_NAME = r"^([A-Za-z0-9.-]{1,230}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$"
ROOM_VERSIONS = [str(number) for number in range(1, 13)]

# Private, local, documentation, benchmark and multicast networks.
DENIED_ADDRESSES = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::1/128",
    "2001:db8::/32",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)

OLD_SIGNING_KEYS = {
    "propertyNames": {"pattern": "^ed25519:[A-Za-z0-9_]+$", "expected": "key IDs such as ed25519:a_old"},
    "additionalProperties": {
        "type": "object",
        "properties": {
            "key": {"type": "string", "pattern": "^[A-Za-z0-9+/]{43}=?$", "expected": "a key in base64"},
            "expired_ts": {"type": "integer", "minimum": 0, "expected": "milliseconds since 1970"},
        },
        "required": ["key", "expired_ts"],
        "expected": "a mapping with key and expired_ts",
    },
}


SUPPORT = {
    "properties": {
        "contacts": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "role": {"type": "string", "expected": "m.role.admin or m.role.security"},
                    "matrix_id": {"type": "string", "pattern": "^@", "expected": "a user ID"},
                    "email_address": {"type": "string", "expected": "an e-mail address"},
                },
                "required": ["role"],
                "anyOf": [{"required": ["matrix_id"]}, {"required": ["email_address"]}],
                "expected": "a role with a matrix_id, an email_address or both",
            },
            "expected": "a list of contacts",
        },
        "support_page": {"type": "string", "pattern": "^https?://", "expected": "a URL"},
    },
}


@dataclass(frozen=True, kw_only=True)
class Config:
    server_name: str = option(
        doc="The domain in the IDs of users and rooms (@alice:example.org). It can never be changed: "
        "everything stored and every other server knows this one by it.",
        heading="Server",
        limits={"pattern": SERVER_NAME},
        expected="a host name such as example.org, with a port only if it is part of the IDs",
    )
    public_baseurl: str | None = option(
        None,
        "The URL that clients reach this server at, if it is not https://<server_name>/.",
        limits={"pattern": "^https?://"},
        expected="a URL that starts with https:// (or http://)",
        example="https://matrix.example.org/",
    )
    serve_server_wellknown: bool = option(
        False,
        "Answer /.well-known/matrix/server, so that other servers find this one on port 443. Only of use "
        "where https://<server_name>/ itself leads here.",
    )
    extra_well_known_client_content: Mapping[str, Any] = option(
        {}, "More keys for /.well-known/matrix/client.", example={"org.example.support": "mailto:help"}
    )
    well_known_support: Mapping[str, Any] = option(
        {},
        "What /.well-known/matrix/support says: whom people and other administrators may turn to.",
        limits=SUPPORT,
        example={
            "contacts": [{"role": "m.role.admin", "matrix_id": "@admin:example.org"}],
            "support_page": "https://example.org/help",
        },
    )
    policy_server_public_keys: Mapping[str, Any] = option(
        {},
        "The keys of the policy server that has this server's name, for /.well-known/matrix/policy_server: "
        "algorithm and key in base64.",
        limits={"additionalProperties": {"type": "string", "expected": "a key in base64"}},
        example={"ed25519": "6yhHGKhCiXTSEN2ksjV7kX_N6rBQZ3Xb-M7LlC6NS-s"},
    )
    listeners: tuple[Listener, ...] = option(
        (Listener(port=8008),),
        "Where to listen. TLS is usually left to a reverse proxy (then x_forwarded: true).",
    )
    max_upload_size: Bytes = option(50 * 1024**2, "The largest file somebody may upload.", planned=True)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = option(
        "INFO", "How much to log. The log goes to standard error; let the service manager keep it."
    )

    tls_certificate_path: Path | None = option(
        None,
        "PEM file with the certificate and its chain, for listeners with tls: true.",
        heading="TLS",
        example="/etc/hearth/tls/fullchain.pem",
    )
    tls_private_key_path: Path | None = option(
        None, "PEM file with the key of that certificate.", example="/etc/hearth/tls/privkey.pem"
    )

    database: Database = option(
        Database(),
        "SQLite needs nothing and carries a small community; PostgreSQL is for production.",
        heading="Database",
    )
    event_cache_size: int = option(10_000, "How many events are kept in memory.", limits={"minimum": 100})

    signing_key_path: Path = option(
        Path("homeserver.signing.key"),
        "The key this server signs events with, made by `hearth init`. Keep a copy of it.",
        heading="Keys",
    )
    trusted_key_servers: tuple[TrustedKeyServer, ...] = option(
        (TrustedKeyServer(server_name="matrix.org"),),
        "Servers that are asked for the keys of servers that do not answer any more.",
    )

    old_signing_keys: Mapping[str, Any] = option(
        {},
        "Keys this server signed events with before, so that those can still be checked: ID, the public key "
        "in base64, and when it was last used (milliseconds since 1970).",
        limits=OLD_SIGNING_KEYS,
        example={
            "ed25519:a_old": {
                "key": "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw",
                "expired_ts": 1576767829750,
            }
        },
    )
    key_refresh_interval: Milliseconds = option(
        86_400_000, "How long other servers may keep our keys before they ask again; at most 7d."
    )

    enable_registration: bool = option(
        False,
        "Whether anybody may make an account. Protect an open server with registration_requires_token. "
        "Accounts can always be made with `hearth register-user`.",
        heading="Accounts",
    )
    registration_requires_token: bool = option(
        False, "Whether making an account takes a token that an administrator gave out."
    )
    registration_shared_secret: str | None = option(
        None,
        "Whoever knows it can make accounts, also administrators, with registration closed. "
        "`hearth register-user` uses it.",
        limits={"minLength": 1},
        example="a long random text",
    )
    registration_shared_secret_path: Path | None = option(
        None, "The same, in a file of its own.", example="/etc/hearth/registration_secret"
    )
    allow_guest_access: bool = option(False, "Whether people may look around without an account.")
    password_config: PasswordConfig = option(PasswordConfig(), "Passwords.")
    session_lifetime: Milliseconds | None = option(
        None, "After this time people have to log in again, whatever they do.", example="26w"
    )
    refreshable_access_token_lifetime: Milliseconds = option(
        300_000, "How long an access token is good for, of clients that can refresh it."
    )
    refresh_token_lifetime: Milliseconds | None = option(
        None, "How long a refresh token is good for if it is not used.", example="24h"
    )
    nonrefreshable_access_token_lifetime: Milliseconds | None = option(
        None, "How long an access token is good for, of clients that cannot.", example="24h"
    )
    login_via_existing_session: LoginViaExistingSession = option(
        LoginViaExistingSession(), "Signing in a new device with a code from a device that is signed in."
    )
    rendezvous: Rendezvous = option(
        Rendezvous(),
        "Signing in a new device with a QR code: the two devices meet on this server to exchange a few "
        "encrypted messages. Nothing of it is stored.",
    )
    ui_auth: UiAuth = option(UiAuth(), "Asking for the password again before delicate requests.")

    default_room_version: str = option(
        "12", "The version of new rooms.", heading="Rooms", limits={"enum": ROOM_VERSIONS}
    )
    encryption_enabled_by_default_for_room_type: Literal["off", "invite", "all"] = option(
        "off",
        "Which new rooms are encrypted even if the client did not ask: none, private ones, all.",
    )
    allow_public_rooms_without_auth: bool = option(
        False, "Whether the room directory can be read without an account."
    )
    allow_public_rooms_over_federation: bool = option(
        False, "Whether other servers can read the room directory."
    )
    require_auth_for_profile_requests: bool = option(
        False, "Whether display names and pictures are shown to people with an account only."
    )
    forget_rooms_on_leave: bool = option(
        False, "Whether rooms are forgotten as soon as they are left, so that nobody has to do both."
    )
    max_event_delay_duration: Milliseconds | None = option(
        86_400_000,
        "How far ahead people may schedule events; null if not at all. Calls need it: clients schedule that "
        "somebody hung up, in case they cannot say so themselves.",
        example="24h",
    )
    enable_search: bool = option(
        True, "Whether people can search the messages of their rooms. It costs an index of all that was said."
    )
    server_notices: ServerNotices | None = option(
        None,
        "What you have to tell people, in a room for each of them: see POST "
        "/_synapse/admin/v1/send_server_notice.",
        example={
            "system_mxid_localpart": "notices",
            "system_mxid_display_name": "Server Notices",
            "room_name": "Server Notices",
        },
    )
    user_directory: UserDirectory = option(UserDirectory(), "Finding people by name.")
    limit_remote_rooms: LimitRemoteRooms = option(
        LimitRemoteRooms(), "Keeping small servers out of rooms too big for them.", planned=True
    )
    presence: Presence = option(Presence(), "Who is online.")

    turn_uris: tuple[str, ...] = option(
        (),
        "TURN servers, which help calls through firewalls.",
        heading="Calls",
        example=["turn:turn.example.org?transport=udp", "turn:turn.example.org?transport=tcp"],
    )
    turn_shared_secret: str | None = option(
        None,
        "The secret shared with them, from which everybody gets credentials of their own.",
        limits={"minLength": 1},
        example="a long random text",
    )
    turn_shared_secret_path: Path | None = option(
        None, "The same, in a file of its own.", example="/etc/hearth/turn_secret"
    )
    turn_username: str | None = option(None, "One name for everybody, where there is no secret.", example="u")
    turn_password: str | None = option(None, "Its password.", example="p")
    turn_user_lifetime: Milliseconds = option(3_600_000, "How long credentials are good for.")
    turn_allow_guests: bool = option(True, "Whether guests get credentials.")
    matrix_rtc: MatrixRtc = option(MatrixRtc(), "Services for group calls.")

    rc_message: RateLimit = option(
        RateLimit(per_second=10, burst_count=100),
        "Limits are leaky buckets, and more generous by default than Synapse's. This one: sending events, "
        "for each user.",
        heading="Rate limits",
    )
    rc_registration: RateLimit = option(
        RateLimit(per_second=0.5, burst_count=20), "Making accounts, for each address."
    )
    rc_registration_token_validity: RateLimit = option(
        RateLimit(per_second=0.1, burst_count=5), "Asking whether a token is valid, for each address."
    )
    rc_login: LoginRateLimits = option(LoginRateLimits(), "Logging in.")
    rc_joins: JoinRateLimits = option(JoinRateLimits(), "Joining rooms, for each user.")
    rc_invites: InviteRateLimits = option(InviteRateLimits(), "Inviting people.")
    rc_room_creation: RateLimit = option(
        RateLimit(per_second=1, burst_count=30), "Making rooms, for each user."
    )
    rc_reports: RateLimit = option(
        RateLimit(per_second=0.2, burst_count=20), "Reporting events, rooms and people, for each user."
    )
    rc_rendezvous: RateLimit = option(
        RateLimit(per_second=0.1, burst_count=10),
        "Beginning to sign in a device with a QR code, for each user or address.",
    )
    rc_federation: FederationRateLimits = option(
        FederationRateLimits(), "Requests of other servers, for each server."
    )
    rate_limit_tiers: tuple[RateLimitTier, ...] = option(
        (),
        "Who has limits of their own: bots, say. The first tier that fits counts. Administrators have none.",
        example=[{"users": ["@bot-*:example.org"], "factor": 10}, {"addresses": ["192.0.2.7"], "factor": 0}],
    )

    federation_domain_whitelist: tuple[str, ...] | None = option(
        None,
        "If given, the only servers this one speaks with.",
        heading="Federation",
        example=["example.com"],
    )
    federation_custom_ca_list: tuple[Path, ...] = option(
        (),
        "PEM files of certificate authorities to trust instead of those of the system.",
        example=["/etc/hearth/tls/our-ca.pem"],
    )
    federation_verify_certificates: bool = option(
        True,
        "Whether the certificates of other servers are checked. Only a test may say false.",
    )
    ip_range_blacklist: tuple[str, ...] = option(
        DENIED_ADDRESSES,
        "Addresses this server never connects to because somebody else names them: networks that mean "
        "something else here than to the rest of the world.",
    )
    ip_range_whitelist: tuple[str, ...] = option(
        (), "Exceptions from ip_range_blacklist.", example=["192.168.1.0/24"]
    )

    media_store_path: Path = option(
        Path("media_store"), "Where uploaded files are kept.", heading="Media", planned=True
    )

    app_service_config_files: tuple[Path, ...] = option(
        (),
        "Registrations of bridges and bots.",
        heading="Application services",
        example=["/etc/hearth/irc-bridge.yaml"],
        planned=True,
    )
