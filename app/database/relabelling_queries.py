"""The report of a finished job: what labels cost, and who is surest of being right."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from app.database.tables import ALL_TASKS, Annotator, AnnotatorReport


def mean_cost(session: Session, job_key: int) -> float | None:
    """What a label of this crowd cost, on average; None where nobody's cost is known."""
    known = AnnotatorReport.mean_cost.is_not(None)
    query = select(func.sum(AnnotatorReport.mean_cost * AnnotatorReport.n) / func.sum(AnnotatorReport.n)).where(
        AnnotatorReport.job_key == job_key, AnnotatorReport.task == ALL_TASKS, known
    )
    return session.execute(query).scalar_one()


def surest_annotators(session: Session, job_key: int, limit: int) -> Sequence[Row[AnnotatorReport, str]]:
    """Annotators without a flag, those whose accuracy is the highest at the low end of its interval first."""
    query = (
        select(AnnotatorReport, Annotator.name)
        .join(Annotator, Annotator.id == AnnotatorReport.annotator)
        .where(
            AnnotatorReport.job_key == job_key,
            AnnotatorReport.task == ALL_TASKS,
            AnnotatorReport.accuracy_low.is_not(None),
            func.cardinality(AnnotatorReport.flags) == 0,
        )
        .order_by(AnnotatorReport.accuracy_low.desc(), AnnotatorReport.annotator)
        .limit(limit)
    )
    return session.execute(query).all()
