"""The report of a finished job: reading annotators' rows. Tasks are numbers; ALL_TASKS is the row over all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Float, Row, Select, Text, cast, func, literal, select, text
from sqlalchemy.orm import Session

from app.database.keyset_pages import page_by_key
from app.database.tables import ALL_TASKS, HARMFUL_FLAGS, Annotator, AnnotatorReport, Job

AnnotatorRows = Sequence[Row[AnnotatorReport, str]]


def _sort_key(sort: str, *, pseudonyms: bool) -> tuple[ColumnElement[Any], bool]:
    """The expression to sort by, never null, and whether the largest comes first."""
    if sort == "concern":
        return AnnotatorReport.concern.expression, False
    descending = sort.startswith("-")
    unknown = literal(-2.0 if descending else 2.0, Float)  # comes last
    columns: dict[str, ColumnElement[Any]] = {
        "name": AnnotatorReport.annotator.expression if pseudonyms else Annotator.name.expression,
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
    pseudonyms: bool = False,
    after: int | None,
    limit: int,
) -> AnnotatorRows | None:
    """A page of rows with the annotators' names, one more than `limit` when there are more.

    With `pseudonyms`, search and order go by them, and tell nothing of the names.
    None when `after` is not an annotator of this report.
    """
    key, descending = _sort_key(sort, pseudonyms=pseudonyms)
    query = _select_rows(job_key, task)
    if name_contains is not None:
        shown = literal("ann_") + cast(AnnotatorReport.annotator, Text) if pseudonyms else Annotator.name
        query = query.where(shown.icontains(name_contains, autoescape=True))
    mark = None
    if after is not None:
        there = _select_rows(job_key, task).with_only_columns(key).where(AnnotatorReport.annotator == after)
        mark = session.execute(there.add_columns(AnnotatorReport.annotator)).one_or_none()
        if mark is None:
            return None
    query = page_by_key(query, (key, AnnotatorReport.annotator), after=mark, limit=limit, descending=descending)
    return session.execute(query).all()


def jobs_about(session: Session, project_id: str, annotator: int, limit: int) -> Sequence[Job]:
    """The newest jobs whose reports have this annotator."""
    query = (
        select(Job)
        .join(AnnotatorReport, AnnotatorReport.job_key == Job.key)
        .where(Job.project_id == project_id, AnnotatorReport.annotator == annotator, AnnotatorReport.task == ALL_TASKS)
        .order_by(Job.created_at.desc(), Job.id.desc())
    )
    return session.execute(query.limit(limit)).scalars().all()


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


def count_flags(session: Session, job_key: int) -> tuple[int, dict[str, int]]:
    """How many annotators carry a harmful flag, and how many each flag, over all tasks."""
    query = (
        select(AnnotatorReport.flags, func.count())
        .where(AnnotatorReport.job_key == job_key, AnnotatorReport.task == ALL_TASKS, text("flags <> '{}'"))
        .group_by(AnnotatorReport.flags)
    )
    n_harmful, of_flag = 0, Counter[str]()
    for flags, n in session.execute(query):
        n_harmful += n if set(flags) & set(HARMFUL_FLAGS) else 0
        of_flag.update(dict.fromkeys(flags, n))
    return n_harmful, dict(of_flag)
