"""What is reported: two ways to do the same work, measured in turns, and the ratio of their medians."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

Measure = Callable[[], float]
Formula = Literal["ours / reference", "reference / ours", "ours"]


@dataclass(frozen=True)
class Goal:
    """What is divided by what, and how large or small that should be."""

    limit: float
    formula: Formula = "ours / reference"
    at_least: bool = False

    def ratio(self, ours: float, reference: float) -> float:
        if self.formula == "ours":
            return ours
        return ours / reference if self.formula == "ours / reference" else reference / ours

    def met_by(self, ratio: float) -> bool:
        return ratio >= self.limit if self.at_least else ratio <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


def at_most(limit: float) -> Goal:
    """So many times what the reference takes, or less."""
    return Goal(limit)


def faster_by(limit: float) -> Goal:
    """The reference takes so many times as long, or longer."""
    return Goal(limit, "reference / ours", at_least=True)


def more_by(limit: float) -> Goal:
    """So many times the reference's throughput, or more."""
    return Goal(limit, at_least=True)


def below(limit: float) -> Goal:
    """A figure that needs no reference."""
    return Goal(limit, "ours")


@dataclass(frozen=True)
class Ratio:
    """A row of the table. `ours` and `reference` are medians in `unit`; `note` says what else was seen."""

    row: int
    name: str
    goal: Goal
    ours: float
    reference: float | None
    unit: str
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.goal.ratio(self.ours, 1.0 if self.reference is None else self.reference)

    def as_dict(self) -> dict[str, Any]:
        facts = {**asdict(self), "ratio": self.ratio, "goal": str(self.goal), "met": self.goal.met_by(self.ratio)}
        return facts | {"formula": self.goal.formula}


def in_turns(ours: Measure, reference: Measure, rounds: int) -> tuple[float, float]:
    """Medians of what both measure, ours first, then the reference, then ours again: drift hits both."""
    pairs = [(ours(), reference()) for _ in range(rounds)]
    return median(a for a, _ in pairs), median(b for _, b in pairs)


def markdown(ratios: Sequence[Ratio]) -> str:
    """The table, one line a ratio."""
    lines = ["| # | work | ours | reference | ratio | goal | met | |", "|---|---|---|---|---|---|---|---|"]
    for one in ratios:
        reference = "–" if one.reference is None else f"{_figure(one.reference)} {one.unit}"
        met = "yes" if one.goal.met_by(one.ratio) else "**no**"
        ours = f"{_figure(one.ours)} {one.unit}"
        ratio = _figure(one.ratio)
        lines.append(f"| {one.row} | {one.name} | {ours} | {reference} | {ratio} | {one.goal} | {met} | {one.note} |")
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
