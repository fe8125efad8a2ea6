"""From the `rc_*` options to the buckets of `homeserver.http.rate_limit`.

Buckets without an option of their own keep the limits declared there.
"""

from homeserver.app.config import Config, RateLimit
from homeserver.http.rate_limit import DEFAULT_TIER, UNLIMITED, Rate, RateLimiter, RateLimits, Tier

# Guests are strangers: they get a share of what people with an account may do.
GUEST_SHARE = 0.1


def rate_limits(config: Config) -> RateLimits:
    default = _default_tier(config)
    return RateLimits({"default": default, "guest": _scaled(default, GUEST_SHARE)})


def assign_tiers(config: Config, limiter: RateLimiter) -> None:
    """`rate_limit_tiers`: users with limits of their own."""
    default = limiter.tier("default")
    for tier in config.rate_limit_tiers:
        for user_id in tier.users:
            limiter.override(user_id, _scaled(default, tier.factor) if tier.factor else UNLIMITED)


def _default_tier(config: Config) -> Tier:
    given = {
        "message": config.rc_message,
        "registration": config.rc_registration,
        "login": config.rc_login.address,
        "login_account": config.rc_login.account,
        "login_failed": config.rc_login.failed_attempts,
        "join": config.rc_joins.local,
        "join_remote": config.rc_joins.remote,
        "invite": config.rc_invites.per_issuer,
        "invite_room": config.rc_invites.per_room,
        "invite_user": config.rc_invites.per_user,
        "create_room": config.rc_room_creation,
    }
    return Tier({**DEFAULT_TIER.named, **{name: _rate(limit) for name, limit in given.items()}})


def _rate(limit: RateLimit) -> Rate:
    """A bucket that never refills (per_second: 0) is one that takes a year."""
    return Rate(max(limit.per_second, 1 / 31_536_000), limit.burst_count)


def _scaled(tier: Tier, factor: float) -> Tier:
    return Tier(
        {name: _times(rate, factor) for name, rate in tier.named.items()}, _times(tier.default, factor)
    )


def _times(rate: Rate, factor: float) -> Rate:
    return Rate(rate.per_second * factor, max(1, round(rate.burst * factor)))
