"""Numbers and times as people read them."""

from __future__ import annotations

import pytest

from app.dashboard import formatting


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0, "0\u00a0%"), (0.944, "94\u00a0%"), (0.999, "100\u00a0%"), (1, "100\u00a0%")]
)
def test_percent(value: float | None, text: str) -> None:
    assert formatting.percent(value) == text


def test_an_interval() -> None:
    assert formatting.percent_range(0.861, 0.939) == "86–94\u00a0%"
    assert formatting.percent_range(None, None) == ""


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (-0.214, "−0.21"), (0.5, "0.50"), (-0.001, "0.00")])
def test_figures_below_zero_have_a_minus_sign(value: float | None, text: str) -> None:
    assert formatting.signed(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.2, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (3600, "1 h 0 min"), (90_061, "25 h 1 min")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert formatting.duration(seconds) == text


def test_a_moment_is_a_time_element() -> None:
    assert formatting.moment(0) == '<time datetime="1970-01-01T00:00:00+00:00">1970-01-01 00:00 UTC</time>'
    assert formatting.moment(None) == "–"


def test_code_in_descriptions_and_nothing_else_becomes_html() -> None:
    assert formatting.with_code("`a<b` & <i>") == "<code>a&lt;b</code> &amp; &lt;i&gt;"
