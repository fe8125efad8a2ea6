"""What services are told of the configuration, in their own words: none of them knows its sections."""

from homeserver.accounts.settings import AccountSettings, PasswordPolicy
from homeserver.app.config import Config
from homeserver.app.config.sections import ServerNotices
from homeserver.rooms.server_notices import Look
from homeserver.server import PublicFacts, Turn


def account_settings(config: Config) -> AccountSettings:
    policy = config.password_config.policy
    return AccountSettings(
        enable_registration=config.enable_registration,
        registration_requires_token=config.registration_requires_token,
        registration_shared_secret=config.registration_shared_secret,
        allow_guest_access=config.allow_guest_access,
        password_login=config.password_config.enabled,
        password_policy=PasswordPolicy(
            enabled=policy.enabled,
            minimum_length=policy.minimum_length,
            require_digit=policy.require_digit,
            require_symbol=policy.require_symbol,
            require_lowercase=policy.require_lowercase,
            require_uppercase=policy.require_uppercase,
        ),
        session_lifetime=config.session_lifetime,
        refreshable_access_token_lifetime=config.refreshable_access_token_lifetime,
        refresh_token_lifetime=config.refresh_token_lifetime,
        nonrefreshable_access_token_lifetime=config.nonrefreshable_access_token_lifetime,
        login_via_existing_session=config.login_via_existing_session.enabled,
        login_token_asks_again=config.login_via_existing_session.require_ui_auth,
        login_token_timeout=config.login_via_existing_session.token_timeout,
        ui_auth_session_timeout=config.ui_auth.session_timeout,
    )


def look_of_notices(notices: ServerNotices) -> Look:
    return Look(
        display_name=notices.system_mxid_display_name,
        avatar_url=notices.system_mxid_avatar_url,
        room_name=notices.room_name,
        room_avatar_url=notices.room_avatar_url,
        room_topic=notices.room_topic,
    )


def public_facts(config: Config) -> PublicFacts:
    return PublicFacts(
        server_name=config.server_name,
        default_room_version=config.default_room_version,
        public_baseurl=config.public_baseurl,
        extra_well_known_client_content=config.extra_well_known_client_content,
        allow_public_rooms_without_auth=config.allow_public_rooms_without_auth,
        require_auth_for_profile_requests=config.require_auth_for_profile_requests,
        forget_rooms_on_leave=config.forget_rooms_on_leave,
        max_event_delay_ms=config.max_event_delay_duration,
        well_known_support=config.well_known_support,
        policy_server_public_keys=config.policy_server_public_keys,
        turn=Turn(
            uris=config.turn_uris,
            shared_secret=config.turn_shared_secret,
            username=config.turn_username,
            password=config.turn_password,
            user_lifetime_ms=config.turn_user_lifetime,
            allow_guests=config.turn_allow_guests,
        ),
        rtc_transports=config.matrix_rtc.transports,
    )
