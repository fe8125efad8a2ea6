"""`rc_*` options arrive in the buckets that endpoints name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from homeserver.app.config import Config, parse
from homeserver.app.rate_limits import assign_tiers, rate_limits
from homeserver.clock import Timer
from homeserver.errors import LimitExceeded
from homeserver.http.rate_limit import DEFAULT_TIER, Rate, RateLimiter


class StoppedClock:
    def now_ms(self) -> int:
        return 1_000_000

    def call_later(self, seconds: float, call: Callable[..., Any], *args: Any) -> Timer:
        raise AssertionError("nothing is timed here")


def test_options_become_buckets() -> None:
    config = parse("server_name: a\nrc_message: {per_second: 3, burst_count: 4}", Path()).config
    assert rate_limits(config).tiers["default"].named["message"] == Rate(per_second=3, burst=4)


def test_defaults_are_those_of_the_limiter() -> None:
    named = rate_limits(Config(server_name="a")).tiers["default"].named
    assert {name: named[name] for name in DEFAULT_TIER.named} == DEFAULT_TIER.named


def test_guests_get_a_share() -> None:
    tiers = rate_limits(Config(server_name="a")).tiers
    for name, rate in tiers["default"].named.items():
        assert tiers["guest"].named[name].per_second < rate.per_second


def test_a_tier_widens_or_lifts_limits() -> None:
    text = """
server_name: a
rc_message: {per_second: 0, burst_count: 2}
rate_limit_tiers:
- {users: ["@busy:a"], factor: 2}
- {users: ["@bot:a"], factor: 0}
"""
    config = parse(text, Path()).config
    limiter = RateLimiter(StoppedClock(), rate_limits(config))
    assign_tiers(config, limiter)
    limiter.check("message", "@anyone:a")
    limiter.check("message", "@anyone:a")
    with pytest.raises(LimitExceeded):
        limiter.check("message", "@anyone:a")
    assert limiter._overrides["@bot:a"] is None
    busy = limiter._overrides["@busy:a"]
    assert busy is not None and busy.named["message"].burst == 4
