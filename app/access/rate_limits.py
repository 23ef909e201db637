"""How much a key may ask and a project may send, counted in Redis.

Without Redis nothing is refused: it is better to serve too much for a while than nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import redis
import structlog
from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter

from app.access.service import Principal
from app.errors import TooManyRequests
from app.queue import connection_url
from app.settings import get_settings

log = structlog.get_logger(__name__)

_SECONDS_UNTIL_RETRY = 5.0
T = TypeVar("T")


@dataclass(frozen=True)
class Allowance:
    """What a key may ask in a window, and what is left of it."""

    limit: int
    window_seconds: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers has them."""
        return {
            "RateLimit-Policy": f'"requests";q={self.limit};w={self.window_seconds}',
            "RateLimit": f'"requests";r={self.remaining};t={self.reset_seconds}',
        }


class Counters:
    """Counts in Redis; while that is away, says so in the log once and asks it again every few seconds."""

    def __init__(self, redis_url: str) -> None:
        pool = redis.ConnectionPool.from_url(redis_url, socket_timeout=0.5, socket_connect_timeout=0.5)
        self._limiter = FixedWindowRateLimiter(
            RedisStorage("redis://", connection_pool=pool, key_prefix="realm:limits")
        )
        self._away_until = 0.0

    def hit(self, item: RateLimitItem, who: str, cost: int = 1) -> bool:
        """Count; False when it is more than is allowed."""
        return self._or_without_redis(lambda: self._limiter.hit(item, who, cost=cost), True)

    def allowance(self, item: RateLimitItem, who: str) -> Allowance | None:
        """What is left; None while nobody counts."""
        stats = self._or_without_redis(lambda: self._limiter.get_window_stats(item, who), None)
        if stats is None:
            return None
        reset = max(1, round(stats.reset_time - time.time()))
        return Allowance(item.amount, item.get_expiry(), max(0, stats.remaining), reset)

    def _or_without_redis(self, ask: Callable[[], T], answer: T) -> T:
        if time.monotonic() < self._away_until:
            return answer
        try:
            found = ask()
        except redis.RedisError as error:
            if self._away_until == 0.0:
                log.warning("Redis is away: nothing is limited", error=str(error))
            self._away_until = time.monotonic() + _SECONDS_UNTIL_RETRY
            return answer
        self._away_until = 0.0
        return found


@lru_cache
def get_counters() -> Counters:
    return Counters(connection_url())


def requests_are_counted() -> bool:
    return get_settings().requests_per_minute > 0


def count_request(principal: Principal) -> Allowance | None:
    """Count a request of a key; None when requests are not limited. Raises TooManyRequests."""
    limit = get_settings().requests_per_minute
    if limit == 0:
        return None
    item, counters = RateLimitItemPerMinute(limit, namespace="requests"), get_counters()
    allowed = counters.hit(item, principal.key_id)
    allowance = counters.allowance(item, principal.key_id)
    if not allowed and allowance is not None:
        detail = f"This key may ask {limit} times a minute; try again in {allowance.reset_seconds} s."
        raise TooManyRequests(
            detail, code="rate_limited", headers=allowance.headers() | {"Retry-After": str(allowance.reset_seconds)}
        )
    return allowance


def check_upload(principal: Principal, n_bytes: int) -> None:
    """Raises TooManyRequests when a project has sent as much as it may in a day, or would with `n_bytes` more."""
    limit = get_settings().upload_bytes_per_day
    left = get_counters().allowance(_bytes_per_day(limit), principal.project_id) if limit else None
    if left is not None and left.remaining < max(1, n_bytes):
        detail = f"This project may send {limit:,} bytes a day, of which {left.remaining:,} are left."
        raise TooManyRequests(detail, code="upload_quota", headers={"Retry-After": str(left.reset_seconds)})


def count_upload(principal: Principal, n_bytes: int) -> None:
    """Count what a project has sent."""
    limit = get_settings().upload_bytes_per_day
    if limit and n_bytes:
        get_counters().hit(_bytes_per_day(limit), principal.project_id, cost=n_bytes)


def _bytes_per_day(limit: int) -> RateLimitItem:
    return RateLimitItemPerDay(limit, namespace="bytes")
