"""What an operator decides about accounts; the wiring fills it in from homeserver.yaml.

Names and meanings are those of the options. Times are in milliseconds, None means for ever.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class PasswordPolicy:
    enabled: bool = False
    minimum_length: int = 0
    require_digit: bool = False
    require_symbol: bool = False
    require_lowercase: bool = False
    require_uppercase: bool = False


@dataclass(frozen=True, kw_only=True)
class AccountSettings:
    enable_registration: bool = False
    registration_requires_token: bool = False
    registration_shared_secret: str | None = None
    allow_guest_access: bool = False
    password_login: bool = True
    password_policy: PasswordPolicy = field(default_factory=PasswordPolicy)
    session_lifetime: int | None = None
    refreshable_access_token_lifetime: int = 300_000
    refresh_token_lifetime: int | None = None
    nonrefreshable_access_token_lifetime: int | None = None
    login_via_existing_session: bool = True
    login_token_asks_again: bool = True
    login_token_timeout: int = 120_000
    # For how long an interactive authentication counts for further requests; 0: for one request.
    ui_auth_session_timeout: int = 0
