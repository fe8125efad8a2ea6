"""From the `rc_*` options to the buckets of `homeserver.http.rate_limit`.

Buckets without an option of their own keep the limits declared there.
"""

from homeserver.app.config import Config, RateLimit
from homeserver.http.rate_limit import DEFAULT_RATES, Rate, RateLimits, Tier


def rate_limits(config: Config) -> RateLimits:
    given = {
        "message": config.rc_message,
        "registration": config.rc_registration,
        "registration_token_validity": config.rc_registration_token_validity,
        "login": config.rc_login.address,
        "login_account": config.rc_login.account,
        "login_failed": config.rc_login.failed_attempts,
        "join": config.rc_joins.local,
        "join_remote": config.rc_joins.remote,
        "invite": config.rc_invites.per_issuer,
        "invite_room": config.rc_invites.per_room,
        "invite_user": config.rc_invites.per_user,
        "create_room": config.rc_room_creation,
        "report": config.rc_reports,
        "rendezvous_create": config.rc_rendezvous,
    }
    named = {**DEFAULT_RATES, **{name: _rate(limit) for name, limit in given.items()}}
    tiers = tuple(Tier(tier.users, tier.addresses, tier.factor) for tier in config.rate_limit_tiers)
    return RateLimits(named=named, tiers=tiers)


def _rate(limit: RateLimit) -> Rate:
    """A bucket that never refills (`per_second: 0`) is one that takes a year for each drop."""
    return Rate(limit.per_second or 1 / 31_536_000, limit.burst_count)
