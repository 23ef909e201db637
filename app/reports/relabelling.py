"""What to label again, how much of it, and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from app.database import relabelling_queries, report_crowd_queries
from app.reports.relabelling_schemas import Coverage, CoveragePoint, CoverageQuery, Relabelling, Reviewer
from app.reports.service import FinishedJob
from realm_core.crowd_figures import N_FINE_BINS

POINTS = 20
REVIEWERS = 5


class Bin(NamedTuple):
    """Items whose labels are about equally probable: `total` is the sum of their probabilities."""

    low: float
    high: float
    n: int
    total: float


def get_coverage(session: Session, finished: FinishedJob, query: CoverageQuery) -> Coverage:
    """The coverage–accuracy curve, and what it takes to reach a target. Counted in bins of a thousandth."""
    return get_coverages(session, finished, [query])[0]


def get_coverages(session: Session, finished: FinishedJob, queries: Sequence[CoverageQuery]) -> list[Coverage]:
    """The same for several targets, counted once."""
    stored = report_crowd_queries.load_figures(session, finished.job.key)["fine_certainty"]
    bins = [Bin(k / N_FINE_BINS, (k + 1) / N_FINE_BINS, n, total) for k, n, total in stored]
    cost = relabelling_queries.mean_cost(session, finished.job.key)
    return [_coverage(finished.job.id, bins, cost, query) for query in queries]


def _coverage(job_id: str, bins: Sequence[Bin], cost: float | None, query: CoverageQuery) -> Coverage:
    n_items = sum(one.n for one in bins)
    total = sum(one.total for one in bins)
    found = _relabelling(bins, n_items * query.target - total, query.relabelled_accuracy)
    return Coverage(
        job_id=job_id,
        n_items=n_items,
        expected_accuracy=total / max(n_items, 1),
        target=query.target,
        relabel=None if found is None else _priced(*found, cost),
        curve=_curve(bins, n_items),
    )


def _priced(n_items: int, threshold: float, cost: float | None) -> Relabelling:
    return Relabelling(n_items=n_items, threshold=threshold, cost=None if cost is None else round(cost * n_items, 2))


def _relabelling(bins: Sequence[Bin], lacking: float, accuracy: float) -> tuple[int, float] | None:
    """How many of the least certain items to label again until the sum of probabilities has grown by `lacking`.

    Within a bin all items count with its mean, which is off by less than a thousandth each. None when nothing helps.
    """
    n, threshold = 0, 0.0
    for one in bins:
        if lacking <= 0:
            break
        gain = accuracy - one.total / one.n
        if gain <= 0:
            return None
        taken = min(one.n, -int(-lacking // gain))  # rounded up
        n, lacking, threshold = n + taken, lacking - taken * gain, one.high
    return (n, threshold) if lacking <= 1e-9 else None


def _curve(bins: Sequence[Bin], n_items: int) -> list[CoveragePoint]:
    """A point for each twentieth of the items, all of them first."""
    points: list[CoveragePoint] = []
    n, total = 0, 0.0
    marks = [round(n_items * part / POINTS) for part in range(1, POINTS + 1)]
    for one in reversed(bins):
        mean = one.total / one.n
        while len(points) < POINTS and marks[len(points)] <= n + one.n:
            kept = marks[len(points)]
            accuracy = (total + (kept - n) * mean) / kept if kept else mean
            points.append(
                CoveragePoint(coverage=kept / n_items, n_items=kept, accuracy=min(accuracy, 1.0), threshold=one.low)
            )
        n, total = n + one.n, total + one.total
    return points[::-1]


def list_reviewers(session: Session, finished: FinishedJob, *, but_not: Sequence[str] = ()) -> list[Reviewer]:
    """Who should label again: of those without a flag whose accuracy is surest, the first few."""
    rows = relabelling_queries.surest_annotators(session, finished.job.key, REVIEWERS + len(but_not))
    found = [
        Reviewer(
            id=f"ann_{row.annotator}",
            annotator=name,
            n=row.n,
            accuracy=row.accuracy or 0.0,
            low=row.accuracy_low or 0.0,
            high=row.accuracy_high or 0.0,
            mean_cost=row.mean_cost,
        )
        for row, name in rows
    ]
    return [one for one in found if one.id not in but_not][:REVIEWERS]
