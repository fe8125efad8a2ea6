"""`rc_*` options arrive in the buckets that endpoints name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from homeserver.app.config import Config, parse
from homeserver.app.rate_limits import rate_limits
from homeserver.clock import Timer
from homeserver.errors import LimitExceeded
from homeserver.http.rate_limit import DEFAULT_RATES, Rate, RateLimiter


class StoppedClock:
    def now_ms(self) -> int:
        return 1_000_000

    def call_later(self, seconds: float, call: Callable[..., Any], *args: Any) -> Timer:
        raise AssertionError("nothing is timed here")


def test_options_become_buckets() -> None:
    config = parse("server_name: a\nrc_message: {per_second: 3, burst_count: 4}", Path()).config
    assert rate_limits(config).named["message"] == Rate(per_second=3, burst=4)


def test_defaults_are_those_of_the_limiter() -> None:
    named = rate_limits(Config(server_name="a")).named
    assert {name: named[name] for name in DEFAULT_RATES} == DEFAULT_RATES


def test_a_tier_widens_or_lifts_limits() -> None:
    text = """
server_name: a
rc_message: {per_second: 0, burst_count: 1}
rate_limit_tiers:
- {users: ["@busy*:a"], factor: 2}
- {addresses: [192.0.2.0/24], factor: 0}
"""
    limiter = RateLimiter(StoppedClock(), rate_limits(parse(text, Path()).config))

    def allowed(key: str) -> int:
        for count in range(5):
            try:
                limiter.check("message", key)
            except LimitExceeded:
                return count
        return 5

    assert [allowed(key) for key in ("@anyone:a", "@busybody:a", "192.0.2.9")] == [1, 2, 5]


def test_no_refill_means_no_refill() -> None:
    config = parse("server_name: a\nrc_message: {per_second: 0, burst_count: 1}", Path()).config
    limiter = RateLimiter(StoppedClock(), rate_limits(config))
    limiter.check("message", "@a:a")
    with pytest.raises(LimitExceeded) as caught:
        limiter.check("message", "@a:a")
    assert caught.value.retry_after_ms > 86_400_000
