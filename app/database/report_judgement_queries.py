"""The report of a finished job: reading one annotator's labels, each with the probability that it is right."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Integer, Row, Select, and_, cast, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import REAL
from sqlalchemy.orm import Session, defer

from app.database.report_item_queries import Source
from app.database.tables import Annotation, Item, ItemReport

JudgedLabels = Sequence[Row[ItemReport, Item, int, datetime | None, float]]
Periods = Sequence[Row[datetime, datetime, int, float]]


def _probability() -> ColumnElement[float]:
    """That the label which was given is the true one; zeros after the last other are not stored."""
    stored: ColumnElement[float] = ItemReport.posterior[Annotation.label + 1]
    return func.coalesce(stored, cast(0.0, REAL))


def _of(source: Source, annotator: int) -> Select[ItemReport, Item, int, datetime | None, float]:
    """The annotator's labels in the pinned version, with the report's and the dataset's row of their items."""
    return (
        select(ItemReport, Item, Annotation.label, Annotation.created_at, _probability().label("probability"))
        .join(Item, and_(Item.dataset_key == source.dataset_key, Item.item == ItemReport.item))
        .join(Annotation, and_(Annotation.dataset_key == source.dataset_key, Annotation.item == ItemReport.item))
        .where(
            ItemReport.job_key == source.job_key,
            Annotation.annotator == annotator,
            Annotation.live_in(source.version),
        )
    )


def list_judged_labels(
    session: Session,
    source: Source,
    annotator: int,
    *,
    task: int | None,
    given: int | None,
    probable: int | None,
    after: int | None,
    limit: int,
) -> JudgedLabels | None:
    """A page of labels, the least probable first, one more than `limit` when there are more.

    `given` and `probable` are numbers of answers. None when `after` is not an item that the annotator has labelled.
    """
    query = _of(source, annotator).options(defer(ItemReport.posterior), defer(ItemReport.model_posterior))
    for column, wanted in ((Item.task, task), (Annotation.label, given), (ItemReport.label, probable)):
        if wanted is not None:
            query = query.where(column == wanted)
    if after is not None:
        marked = _of(source, annotator).with_only_columns(_probability()).where(ItemReport.item == after)
        mark = session.execute(marked).scalar_one_or_none()
        if mark is None:
            return None
        query = query.where(tuple_(_probability(), ItemReport.item) > tuple_(cast(mark, REAL), literal(after)))
    return session.execute(query.order_by(_probability(), ItemReport.item).limit(limit + 1)).all()


def count_dated(session: Session, source: Source, annotator: int) -> int:
    """How many of an annotator's labels say when they were given."""
    dated = _of(source, annotator).where(Annotation.created_at.is_not(None))
    return session.execute(dated.with_only_columns(func.count())).scalar_one()


def periods(session: Session, source: Source, annotator: int, n_periods: int) -> Periods:
    """The dated labels in order of time, in parts of equal size: first and last moment, n, mean probability."""
    part = func.ntile(literal(n_periods, Integer)).over(order_by=(Annotation.created_at, ItemReport.item))
    dated = (
        _of(source, annotator)
        .where(Annotation.created_at.is_not(None))
        .with_only_columns(part.label("part"), Annotation.created_at, _probability().label("probability"))
        .subquery()
    )
    query = (
        select(
            func.min(dated.c.created_at).label("start"),
            func.max(dated.c.created_at).label("end"),
            func.count().label("n"),
            func.avg(dated.c.probability).label("probability"),
        )
        .group_by(dated.c.part)
        .order_by(dated.c.part)
    )
    return session.execute(query).all()
