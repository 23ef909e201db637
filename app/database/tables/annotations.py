"""What was labelled, by whom, and how.

`items` and `annotations` are partitioned by dataset: an upload fills and indexes a table of its own and attaches it,
and deleting a dataset drops it. Items are numbered 0, 1, 2, … within their dataset, which is what lets arrays be
indexed with them.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, ForeignKey, Identity, Integer, SmallInteger, Text, UniqueConstraint, and_, or_
from sqlalchemy.dialects.postgresql import JSONB, REAL, UUID
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, Timestamp, creation_time


class Item(Base):
    """Something that was labelled. `key` is a 128-bit hash of (task, item_id) or of (task, prompt, options)."""

    __tablename__ = "items"
    dataset_key: Mapped[int] = mapped_column(Integer, primary_key=True)
    item: Mapped[int] = mapped_column(Integer, primary_key=True)
    task: Mapped[int] = mapped_column(SmallInteger)
    key: Mapped[str] = mapped_column(UUID(as_uuid=False))
    item_id: Mapped[str | None] = mapped_column(Text)
    prompt: Mapped[str | None] = mapped_column(Text)
    options: Mapped[list[str] | None] = mapped_column(JSONB)
    gold: Mapped[int | None] = mapped_column(SmallInteger)
    added_in: Mapped[int]
    __table_args__ = (
        UniqueConstraint("dataset_key", "key"),
        {"postgresql_partition_by": "LIST (dataset_key)"},
    )


class Annotator(Base):
    """Somebody who labels, one per project; `id` is shown as ann_…"""

    __tablename__ = "annotators"
    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = creation_time()
    __table_args__ = (UniqueConstraint("project_id", "name"),)


class Annotation(Base):
    """One label of one annotator on one item; at most one row per (item, annotator) is live in a version."""

    __tablename__ = "annotations"
    dataset_key: Mapped[int] = mapped_column(Integer, primary_key=True)
    item: Mapped[int] = mapped_column(Integer, primary_key=True)
    annotator: Mapped[int] = mapped_column(Integer, primary_key=True, index=True)
    added_in: Mapped[int] = mapped_column(Integer, primary_key=True)
    superseded_in: Mapped[int | None] = mapped_column(Integer)
    label: Mapped[int] = mapped_column(SmallInteger)
    duration_ms: Mapped[int | None] = mapped_column(Integer)
    cost: Mapped[float | None] = mapped_column(REAL)
    created_at: Mapped[datetime | None] = mapped_column(Timestamp)
    __table_args__ = ({"postgresql_partition_by": "LIST (dataset_key)"},)

    @classmethod
    def live_in(cls, version: int) -> ColumnElement[bool]:
        """The labels of a version: added by then, and not superseded by then."""
        return and_(cls.added_in <= version, or_(cls.superseded_in.is_(None), cls.superseded_in > version))
