"""Rate limits: named token buckets, one per user, or per address where nobody is logged in.

https://spec.matrix.org/v1.19/client-server-api/#rate-limiting

A bucket is one number: the time at which it will be full again (the generic cell rate algorithm).
"Now" never has to be subtracted from every bucket, and a bucket whose time has passed equals one that
was never made, so forgetting full buckets changes nothing.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate

from homeserver.accounts.requester import Requester
from homeserver.clock import Clock
from homeserver.errors import LimitExceeded

_SWEEP_ABOVE = 10_000
_UNLIMITED = 0.0


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` requests at once, `per_second` sustained."""

    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class Tier:
    """Users (globs) and addresses (networks) whose limits are multiplied by `factor`; 0 lifts them."""

    users: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    factor: float = _UNLIMITED


# The buckets that endpoints and handlers name. "login_account" and "login_failed" are kept by account.
DEFAULT_RATES: Mapping[str, Rate] = {
    "message": Rate(per_second=10, burst=100),
    "join": Rate(per_second=1, burst=50),
    "invite": Rate(per_second=1, burst=50),
    "create_room": Rate(per_second=1, burst=30),
    "registration": Rate(per_second=0.5, burst=20),
    "registration_token_validity": Rate(per_second=0.1, burst=5),
    "login": Rate(per_second=0.5, burst=30),
    "login_account": Rate(per_second=0.2, burst=20),
    "login_failed": Rate(per_second=0.2, burst=10),
    "report": Rate(per_second=0.2, burst=20),
    "rendezvous_create": Rate(per_second=0.1, burst=10),
    "rendezvous": Rate(per_second=10, burst=100),
    "search": Rate(per_second=10, burst=100),
    "onbind": Rate(per_second=1, burst=20),
    "login_token": Rate(per_second=1 / 60, burst=3),
}


@dataclass(frozen=True, slots=True)
class RateLimits:
    """`named` rates, `default` for names without one, `guests`: the factor for guests; then the tiers, of
    which the first that fits counts."""

    named: Mapping[str, Rate] = field(default_factory=lambda: DEFAULT_RATES)
    default: Rate = Rate(per_second=50, burst=500)
    guests: float = 0.2
    tiers: tuple[Tier, ...] = ()
    enabled: bool = True


class RateLimiter:
    def __init__(self, clock: Clock, limits: RateLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._tiers = [
            (
                [re.compile(translate(user)) for user in tier.users],
                [ipaddress.ip_network(address, strict=False) for address in tier.addresses],
                tier.factor,
            )
            for tier in limits.tiers
        ]
        self._factors: dict[str, float] = {}
        self._overrides: dict[str, float] = {}
        self._full_at: dict[tuple[str, str], float] = {}
        self._sweep_at = _SWEEP_ABOVE

    def override(self, user_id: str, factor: float | None) -> None:
        """Sets one user's factor, whatever the tiers say; 0 lifts the limits, None goes back to the tiers."""
        if factor is None:
            self._overrides.pop(user_id, None)
        else:
            self._overrides[user_id] = factor

    def check_request(self, name: str, requester: Requester | None, address: str) -> None:
        if requester is None:
            self.check(name, address)
        elif not requester.is_admin and (not self._tiers or self._factor(address) != _UNLIMITED):
            factor = self._limits.guests if requester.is_guest else 1.0
            self._take(name, requester.user_id, factor * self._factor(requester.user_id), spend=True)

    def check(self, name: str, key: str, *, spend: bool = True) -> None:
        """Refuses if the bucket of `key`, a user ID or an address, is empty; `spend` takes one from it."""
        self._take(name, key, self._factor(key), spend=spend)

    def spend(self, name: str, key: str) -> None:
        """Takes one without refusing: for what is known to be costly only once it is done."""
        try:
            self.check(name, key)
        except LimitExceeded:
            return

    def _take(self, name: str, key: str, factor: float, *, spend: bool) -> None:
        if factor == _UNLIMITED or not self._limits.enabled:
            return
        rate = self._limits.named.get(name, self._limits.default)
        now = self._clock.now_ms()
        interval = 1000 / (rate.per_second * factor) if rate.per_second else 86_400_000.0
        full_at = max(self._full_at.get((name, key), 0), now) + interval
        excess = full_at - now - max(rate.burst * factor, 1) * interval
        if excess > 0:
            raise LimitExceeded(max(1, int(excess + 0.999)))
        if spend:
            self._full_at[name, key] = full_at
            if len(self._full_at) > self._sweep_at:
                self._sweep(now)

    def _factor(self, key: str) -> float:
        if key in self._overrides:
            return self._overrides[key]
        if not self._tiers:
            return 1.0
        factor = self._factors.get(key)
        if factor is None:
            if len(self._factors) > _SWEEP_ABOVE:
                self._factors.clear()
            factor = self._factors[key] = self._tier_factor(key)
        return factor

    def _tier_factor(self, key: str) -> float:
        address = None if key.startswith("@") else _address(key)
        for users, networks, factor in self._tiers:
            if address is None:
                if any(pattern.match(key) for pattern in users):
                    return factor
            elif any(address in network for network in networks):
                return factor
        return 1.0

    def _sweep(self, now: int) -> None:
        self._full_at = {bucket: full_at for bucket, full_at in self._full_at.items() if full_at > now}
        self._sweep_at = max(_SWEEP_ABOVE, 2 * len(self._full_at))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
