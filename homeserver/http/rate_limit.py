"""Rate limits: named token buckets, one per user, or per address where nobody is logged in.

https://spec.matrix.org/v1.19/client-server-api/#rate-limiting

A bucket is one number: the time at which it will be full again (the generic cell rate algorithm).
"Now" never has to be subtracted from every bucket, and a bucket whose time has passed equals one that
was never made, so forgetting full buckets changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from homeserver.accounts.requester import Requester
from homeserver.clock import Clock
from homeserver.errors import LimitExceeded


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` requests at once, `per_second` sustained."""

    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates of a class of users: by name, and `default` for the names it does not list."""

    named: Mapping[str, Rate] = field(default_factory=dict)
    default: Rate = Rate(per_second=100, burst=500)


DEFAULT_TIER = Tier({
    "message": Rate(per_second=10, burst=100),
    "join": Rate(per_second=1, burst=50),
    "invite": Rate(per_second=1, burst=50),
    "create_room": Rate(per_second=1, burst=30),
    "registration": Rate(per_second=0.5, burst=20),
    "login": Rate(per_second=0.5, burst=30),
    "login_account": Rate(per_second=0.2, burst=20),
    "login_failed": Rate(per_second=0.2, burst=10),
    "login_token": Rate(per_second=1 / 60, burst=3),
    "uia": Rate(per_second=1, burst=30),
})
GUEST_TIER = Tier({**DEFAULT_TIER.named, "message": Rate(per_second=1, burst=10)}, Rate(10, 50))


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Tiers by name: `default` for everyone, `guest` for guests; others are assigned with `override`."""

    tiers: Mapping[str, Tier] = field(
        default_factory=lambda: {"default": DEFAULT_TIER, "guest": GUEST_TIER}
    )
    enabled: bool = True


UNLIMITED = None
_SWEEP_ABOVE = 10_000


class RateLimiter:
    def __init__(self, clock: Clock, limits: RateLimits) -> None:
        self._clock = clock
        self._enabled = limits.enabled
        self._tiers = dict(limits.tiers)
        self._default = self._tiers.get("default", DEFAULT_TIER)
        self._guest = self._tiers.get("guest", self._default)
        self._overrides: dict[str, Tier | None] = {}
        self._full_at: dict[tuple[str, str], float] = {}
        self._sweep_at = _SWEEP_ABOVE

    def override(self, user_id: str, tier: Tier | None) -> None:
        """Gives one user another tier; None (UNLIMITED) lifts every limit."""
        self._overrides[user_id] = tier

    def restore(self, user_id: str) -> None:
        self._overrides.pop(user_id, None)

    def tier(self, name: str) -> Tier:
        return self._tiers[name]

    def check_request(self, name: str, requester: Requester | None, address: str) -> None:
        if not self._enabled:
            return
        if requester is None:
            self._take(name, address, self._default)
        elif not requester.is_admin:
            tier: Tier | None = self._guest if requester.is_guest else self._default
            if self._overrides:
                tier = self._overrides.get(requester.user_id, tier)
            if tier is not None:
                self._take(name, requester.user_id, tier)

    def check(self, name: str, key: str) -> None:
        """A limit of the handler's own choosing: failed logins by account, say."""
        if self._enabled:
            self._take(name, key, self._default)

    def _take(self, name: str, key: str, tier: Tier) -> None:
        rate = tier.named.get(name, tier.default)
        now = self._clock.now_ms()
        interval = 1000 / rate.per_second
        bucket = (name, key)
        full_at = self._full_at.get(bucket, 0)
        if full_at < now:
            full_at = now
        excess = full_at + interval - now - rate.burst * interval
        if excess > 0:
            raise LimitExceeded(max(1, int(excess + 0.999)))
        self._full_at[bucket] = full_at + interval
        if len(self._full_at) > self._sweep_at:
            self._sweep(now)

    def _sweep(self, now: int) -> None:
        self._full_at = {bucket: full_at for bucket, full_at in self._full_at.items() if full_at > now}
        self._sweep_at = max(_SWEEP_ABOVE, 2 * len(self._full_at))
