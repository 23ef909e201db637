"""How pages write numbers, times and votes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from markupsafe import Markup, escape

from app.reports.schemas import Vote

NO_VALUE = "–"


def percent(fraction: float | None, digits: int = 0) -> str:
    return NO_VALUE if fraction is None else f"{100 * fraction:.{digits}f}\u00a0%"


def percent_range(low: float | None, high: float | None) -> str:
    """An interval: 86–94 %."""
    return "" if low is None or high is None else f"{100 * low:.0f}–{100 * high:.0f}\u00a0%"


def typical(log_likelihood: float) -> float:
    """The geometric mean of probabilities, of the mean of their logarithms."""
    return math.exp(log_likelihood)


def ratio(log_ratio: float, low: float, high: float) -> str:
    """A ratio of probabilities, of its logarithm, with its interval: 0.57 times (0.53–0.62)."""
    return f"{math.exp(log_ratio):.2f} times ({math.exp(low):.2f}–{math.exp(high):.2f})"


def signed(value: float | None) -> str:
    """A figure that may be below 0, with a real minus sign."""
    return NO_VALUE if value is None else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def count(number: int | None) -> str:
    return NO_VALUE if number is None else f"{number:,}"


def counted(number: int, what: str) -> str:
    """A count with its noun: 1 label, 2,000 labels."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def moment(unix: int | None) -> str | Markup:
    """A time in UTC, which page.js turns into the reader's own zone."""
    if unix is None:
        return NO_VALUE
    at = datetime.fromtimestamp(unix, UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(at.isoformat(), at.strftime("%Y-%m-%d %H:%M"))


def duration(seconds: float | None) -> str:
    """A length of time in its two largest units: 3 min 20 s."""
    if seconds is None:
        return NO_VALUE
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def vote_counts(votes: Sequence[Vote]) -> list[tuple[str, int]]:
    """Labels with how many gave them, the most frequent first."""
    return Counter(vote.label for vote in votes).most_common()


def with_code(text: str) -> Markup:
    """A description whose `code` stands between backticks."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  (escaped)


FILTERS = {
    "percent": percent,
    "percent_range": percent_range,
    "typical": typical,
    "ratio": ratio,
    "signed": signed,
    "count": count,
    "counted": counted,
    "moment": moment,
    "duration": duration,
    "vote_counts": vote_counts,
    "with_code": with_code,
}
