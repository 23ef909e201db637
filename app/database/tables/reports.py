"""What a job found out: of annotators, of pairs of them, of items; and what people decided upon it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Computed, Double, ForeignKey, Index, Integer, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, creation_time

HARMFUL_FLAGS = ("below_chance", "guesser", "always_same", "swaps", "drift")
ALL_TASKS = -1  # the `task` of an annotator's report row over all tasks


class AnnotatorReport(Base):
    """A report row: one annotator on one task, or on all (`task` = ALL_TASKS)."""

    __tablename__ = "annotator_reports"
    job_key: Mapped[int] = mapped_column(ForeignKey("jobs.key", ondelete="CASCADE"), primary_key=True)
    annotator: Mapped[int] = mapped_column(
        ForeignKey("annotators.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    task: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    n: Mapped[int]
    accuracy: Mapped[float | None]
    accuracy_low: Mapped[float | None]
    accuracy_high: Mapped[float | None]
    accuracy_method: Mapped[str | None] = mapped_column(Text)  # cross_fitted, in_sample
    model_accuracy: Mapped[float | None]
    expertise: Mapped[float | None]
    expertise_low: Mapped[float | None]
    expertise_high: Mapped[float | None]
    agreement: Mapped[float | None]
    median_seconds: Mapped[float | None]  # per label; over all tasks only, as the cost
    mean_cost: Mapped[float | None]
    flags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    # Whom to look at first: who carries a harmful flag below 2, then the others, then who has too few labels to tell;
    # within each of them by accuracy.
    concern: Mapped[float] = mapped_column(
        Double,
        Computed(
            "CASE WHEN flags && ARRAY['" + "', '".join(HARMFUL_FLAGS) + "'] THEN 0"
            " WHEN accuracy IS NULL THEN 4 ELSE 2 END + coalesce(accuracy, 1)",
            persisted=True,
        ),
    )
    # {"confusion": K×K expected counts by true answer or null, "label_counts": [...], "drift": {...} or null, …}
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB)
    __table_args__ = (
        Index("ix_annotator_reports_concern", "job_key", "task", "concern", "annotator"),
        Index("ix_annotator_reports_flagged", "job_key", "task", postgresql_where=text("flags <> '{}'")),
    )


class AnnotatorPair(Base):
    """Two annotators who labelled at least ten items in common, `first` < `second`."""

    __tablename__ = "annotator_pairs"
    job_key: Mapped[int] = mapped_column(ForeignKey("jobs.key", ondelete="CASCADE"), primary_key=True)
    first: Mapped[int] = mapped_column(ForeignKey("annotators.id", ondelete="CASCADE"), primary_key=True, index=True)
    second: Mapped[int] = mapped_column(ForeignKey("annotators.id", ondelete="CASCADE"), primary_key=True, index=True)
    shared: Mapped[int]
    equal: Mapped[int]  # of them
    same_mistakes: Mapped[float] = mapped_column(REAL)
    expected_mistakes: Mapped[float] = mapped_column(REAL)
    suspicious: Mapped[bool]  # more of the same mistakes than chance explains


class ReportFigures(Base):
    """The charts of a report that are about everybody, as realm_core.crowd_figures and left_out make them."""

    __tablename__ = "report_figures"
    job_key: Mapped[int] = mapped_column(ForeignKey("jobs.key", ondelete="CASCADE"), primary_key=True)
    figures: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Decision(Base):
    """What somebody decided of an annotator upon a report, with the figures of that moment."""

    __tablename__ = "decisions"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # dec_…
    job_key: Mapped[int] = mapped_column(ForeignKey("jobs.key", ondelete="CASCADE"))
    annotator: Mapped[int] = mapped_column(ForeignKey("annotators.id", ondelete="CASCADE"), index=True)
    action: Mapped[str] = mapped_column(Text)  # keep, retrain, pause, drop
    note: Mapped[str] = mapped_column(Text)
    evidence: Mapped[dict[str, Any]] = mapped_column(JSONB)
    key_id: Mapped[str] = mapped_column(Text)
    key_name: Mapped[str] = mapped_column(Text)  # as it was then
    created_at: Mapped[datetime] = creation_time()
    __table_args__ = (
        Index("ix_decisions_job_key_annotator_created_at_id", "job_key", "annotator", "created_at", "id"),
    )


class ItemReport(Base):
    """The most probable true label of one item."""

    __tablename__ = "item_reports"
    job_key: Mapped[int] = mapped_column(ForeignKey("jobs.key", ondelete="CASCADE"), primary_key=True)
    item: Mapped[int] = mapped_column(Integer, primary_key=True)
    label: Mapped[int] = mapped_column(SmallInteger)
    probability: Mapped[float] = mapped_column(REAL)
    model_probability: Mapped[float | None] = mapped_column(REAL)  # of `label`, by the model that did not see the item
    relabel_gain: Mapped[float] = mapped_column(REAL)
    posterior: Mapped[list[float]] = mapped_column(ARRAY(REAL))  # K_i
    model_posterior: Mapped[list[float] | None] = mapped_column(ARRAY(REAL))  # K_i
    __table_args__ = (
        Index("ix_item_reports_job_key_relabel_gain", "job_key", text("relabel_gain DESC"), "item"),
        Index("ix_item_reports_job_key_probability", "job_key", "probability", "item"),
    )
