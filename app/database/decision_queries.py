"""What people decided of annotators, upon a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from app.database.keyset_pages import page_by_date
from app.database.tables import Decision


def add_decision(session: Session, **values: Any) -> Decision:
    return session.execute(insert(Decision).values(**values).returning(Decision)).scalar_one()


def latest_actions(session: Session, job_key: int, annotators: Sequence[int]) -> dict[int, str]:
    """What was last decided of each of these upon a report."""
    query = (
        select(Decision.annotator, Decision.action)
        .where(Decision.job_key == job_key, Decision.annotator.in_(annotators))
        .order_by(Decision.annotator, Decision.created_at.desc(), Decision.id.desc())
        .ext(distinct_on(Decision.annotator))
    )
    return dict(session.execute(query).all())


def find_decision(session: Session, job_key: int, annotator: int, decision_id: str) -> Decision | None:
    of_both = (Decision.job_key == job_key, Decision.annotator == annotator)
    return session.execute(select(Decision).where(Decision.id == decision_id, *of_both)).scalar_one_or_none()


def list_decisions(
    session: Session, job_key: int, annotator: int, *, after: Decision | None, limit: int, descending: bool
) -> list[Decision]:
    """A page of what was decided of an annotator by (created_at, id), one more than `limit` when there are more."""
    query = select(Decision).where(Decision.job_key == job_key, Decision.annotator == annotator)
    query = page_by_date(query, Decision, after=after, limit=limit, descending=descending)
    return list(session.execute(query).scalars())
