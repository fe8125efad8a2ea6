"""Configuration: homeserver.yaml, typed. `load(path).config.rc_message.per_second`.

options.py and sections.py describe every option; declare.py says how they become schema and values;
load.py reads a file; example.py writes one. Components are handed values, not the whole Config.
"""

from homeserver.app.config.load import ConfigError, Loaded, Problem, load, parse
from homeserver.app.config.options import Config
from homeserver.app.config.sections import (
    Database,
    InviteRateLimits,
    JoinRateLimits,
    Listener,
    LoginRateLimits,
    LoginViaExistingSession,
    PasswordConfig,
    PasswordPolicy,
    RateLimit,
    RateLimitTier,
)

__all__ = [
    "Config",
    "ConfigError",
    "Database",
    "InviteRateLimits",
    "JoinRateLimits",
    "Listener",
    "Loaded",
    "LoginRateLimits",
    "LoginViaExistingSession",
    "PasswordConfig",
    "PasswordPolicy",
    "Problem",
    "RateLimit",
    "RateLimitTier",
    "load",
    "parse",
]
