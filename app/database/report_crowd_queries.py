"""The report of a finished job: reading what is about everybody, and about pairs of annotators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from app.database.tables import ALL_TASKS, Annotator, AnnotatorPair, AnnotatorReport, ReportFigures

PairRows = Sequence[Row[AnnotatorPair, str, str]]
First, Second = aliased(Annotator), aliased(Annotator)


def load_figures(session: Session, job_key: int) -> dict[str, Any]:
    figures: dict[str, Any] = session.execute(
        select(ReportFigures.figures).where(ReportFigures.job_key == job_key)
    ).scalar_one()
    return figures


def _select_pairs(job_key: int) -> Select[AnnotatorPair, str, str]:
    return (
        select(AnnotatorPair, First.name, Second.name)
        .join(First, First.id == AnnotatorPair.first)
        .join(Second, Second.id == AnnotatorPair.second)
        .where(AnnotatorPair.job_key == job_key)
    )


def list_pairs(
    session: Session,
    job_key: int,
    *,
    annotator: int | None,
    suspicious: bool | None,
    after: tuple[int, int] | None,
    limit: int,
) -> PairRows | None:
    """A page of pairs with both names, those who share the most first, one more than `limit` when there are more.

    None when `after` is not a pair of this report.
    """
    query = _select_pairs(job_key)
    if annotator is not None:
        query = query.where(or_(AnnotatorPair.first == annotator, AnnotatorPair.second == annotator))
    if suspicious is not None:
        query = query.where(AnnotatorPair.suspicious == suspicious)
    if after is not None:
        mark = session.get(AnnotatorPair, (job_key, *after))
        if mark is None:
            return None
        here = tuple_(-AnnotatorPair.shared, AnnotatorPair.first, AnnotatorPair.second)
        query = query.where(here > tuple_(-mark.shared, mark.first, mark.second))
    order = (AnnotatorPair.shared.desc(), AnnotatorPair.first, AnnotatorPair.second)
    return session.execute(query.order_by(*order).limit(limit + 1)).all()


def busiest(session: Session, job_key: int, limit: int) -> Sequence[Row[int, str]]:
    """Keys and names of those with the most labels."""
    query = (
        select(AnnotatorReport.annotator, Annotator.name)
        .join(Annotator, Annotator.id == AnnotatorReport.annotator)
        .where(AnnotatorReport.job_key == job_key, AnnotatorReport.task == ALL_TASKS)
        .order_by(AnnotatorReport.n.desc(), AnnotatorReport.annotator)
    )
    return session.execute(query.limit(limit)).all()


def pairs_among(session: Session, job_key: int, annotators: Sequence[int]) -> Sequence[AnnotatorPair]:
    """The pairs of which both are among these."""
    query = select(AnnotatorPair).where(
        AnnotatorPair.job_key == job_key, AnnotatorPair.first.in_(annotators), AnnotatorPair.second.in_(annotators)
    )
    return session.execute(query).scalars().all()
