"""The report of a finished job: reading annotators' rows. Tasks are numbers; ALL_TASKS is the row over all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Float, Row, Select, Text, case, cast, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.database.tables import ALL_TASKS, Annotator, AnnotatorReport

HARMFUL_FLAGS = ["below_chance", "guesser", "always_same", "swaps", "drift"]
AnnotatorRows = Sequence[Row[AnnotatorReport, str]]


def _harmful() -> ColumnElement[bool]:
    harmful: ColumnElement[bool] = AnnotatorReport.flags.overlap(cast(HARMFUL_FLAGS, ARRAY(Text)))
    return harmful


def _concern() -> ColumnElement[float]:
    """Flagged annotators first, each group by lower accuracy; who has too few labels to tell comes last."""
    rank = case((_harmful(), literal(0.0, Float)), (AnnotatorReport.accuracy.is_(None), literal(4.0, Float)), else_=2.0)
    return rank + func.coalesce(AnnotatorReport.accuracy, literal(1.0, Float))


def _sort_key(sort: str) -> tuple[ColumnElement[Any], bool]:
    """The expression to sort by, never null, and whether the largest comes first."""
    if sort == "concern":
        return _concern(), False
    descending = sort.startswith("-")
    unknown = literal(-2.0 if descending else 2.0, Float)  # comes last
    columns: dict[str, ColumnElement[Any]] = {
        "name": Annotator.name.expression,
        "n": AnnotatorReport.n.expression,
        "accuracy": func.coalesce(AnnotatorReport.accuracy, unknown),
        "expertise": func.coalesce(AnnotatorReport.expertise, unknown),
        "agreement": func.coalesce(AnnotatorReport.agreement, unknown),
        "median_seconds": func.coalesce(AnnotatorReport.median_seconds, _nowhere(descending)),
        "cost_per_correct": func.coalesce(
            AnnotatorReport.mean_cost / func.nullif(AnnotatorReport.accuracy, 0.0), _nowhere(descending)
        ),
    }
    return columns[sort.removeprefix("-")], descending


def _nowhere(descending: bool) -> ColumnElement[float]:
    """Beyond every pace and cost, so that who has none comes last."""
    return literal(-1e300 if descending else 1e300, Float)


def _select_rows(job_key: int, task: int) -> Select[AnnotatorReport, str]:
    return (
        select(AnnotatorReport, Annotator.name)
        .join(Annotator, Annotator.id == AnnotatorReport.annotator)
        .where(AnnotatorReport.job_key == job_key, AnnotatorReport.task == task)
    )


def list_annotators(
    session: Session,
    job_key: int,
    *,
    task: int = ALL_TASKS,
    name_contains: str | None = None,
    sort: str,
    after: int | None,
    limit: int,
) -> AnnotatorRows | None:
    """A page of rows with the annotators' names, one more than `limit` when there are more.

    None when `after` is not an annotator of this report.
    """
    key, descending = _sort_key(sort)
    query = _select_rows(job_key, task)
    if name_contains is not None:
        query = query.where(Annotator.name.icontains(name_contains, autoescape=True))
    if after is not None:
        mark = session.execute(
            _select_rows(job_key, task).with_only_columns(key).where(AnnotatorReport.annotator == after)
        ).one_or_none()
        if mark is None:
            return None
        here, there = tuple_(key, AnnotatorReport.annotator), tuple_(cast(mark[0], key.type), literal(after))
        query = query.where(here < there if descending else here > there)
    order = [key, AnnotatorReport.annotator]
    query = query.order_by(*(column.desc() if descending else column for column in order))
    return session.execute(query.limit(limit + 1)).all()


def annotator_rows(session: Session, job_key: int, annotator: int) -> AnnotatorRows:
    """All rows of one annotator: over all tasks first, then task by task."""
    query = (
        select(AnnotatorReport, Annotator.name)
        .join(Annotator, Annotator.id == AnnotatorReport.annotator)
        .where(AnnotatorReport.job_key == job_key, AnnotatorReport.annotator == annotator)
        .order_by(AnnotatorReport.task)
    )
    return session.execute(query).all()


def expertise_by_task(
    session: Session, job_key: int, annotators: Sequence[int]
) -> Sequence[Row[int, int, float | None]]:
    """(annotator, task, expertise) of some annotators, task by task."""
    query = select(AnnotatorReport.annotator, AnnotatorReport.task, AnnotatorReport.expertise).where(
        AnnotatorReport.job_key == job_key,
        AnnotatorReport.task != ALL_TASKS,
        AnnotatorReport.annotator.in_(annotators),
    )
    return session.execute(query).all()


def names_of(session: Session, job_key: int, annotators: Sequence[int]) -> dict[int, str]:
    """The names of annotators of a report, by their keys."""
    query = (
        select(Annotator.id, Annotator.name)
        .join(AnnotatorReport, AnnotatorReport.annotator == Annotator.id)
        .where(
            AnnotatorReport.job_key == job_key,
            AnnotatorReport.task == ALL_TASKS,
            Annotator.id.in_(annotators),
        )
    )
    return dict(session.execute(query).all())


def count_by_flag(session: Session, job_key: int) -> dict[str, int]:
    """How many annotators carry each flag, over all tasks."""
    flag = func.unnest(AnnotatorReport.flags).label("flag")
    rows = select(flag).where(AnnotatorReport.job_key == job_key, AnnotatorReport.task == ALL_TASKS).subquery()
    counts = select(rows.c.flag, func.count()).group_by(rows.c.flag)
    return dict(session.execute(counts).all())


def count_flagged(session: Session, job_key: int) -> int:
    """How many annotators carry a flag that says more than that they have too few labels."""
    over_all = (AnnotatorReport.job_key == job_key, AnnotatorReport.task == ALL_TASKS)
    return session.execute(select(func.count()).where(*over_all, _harmful())).scalar_one()
