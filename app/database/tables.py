"""The tables. Postgres is the only truth about data, jobs and results.

`items` and `annotations` are partitioned by dataset: an upload fills and indexes a table of its own and attaches it,
and deleting a dataset drops it. Items are numbered 0, 1, 2, … within their dataset, which is what lets arrays be
indexed with them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL, UUID
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base

JOB_STATUSES = ("validating_files", "queued", "running", "succeeded", "failed", "cancelled")
UNFINISHED = ("validating_files", "queued", "running")
HARMFUL_FLAGS = ("below_chance", "guesser", "always_same", "swaps", "drift")
ALL_TASKS = -1  # the `task` of an annotator's report row over all tasks

Timestamp = DateTime(timezone=True)


def _created_at() -> Mapped[datetime]:
    return mapped_column(Timestamp, server_default=func.now())


class Project(Base):
    """A tenant. Every row that belongs to somebody carries its project."""

    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # proj_…
    name: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime] = _created_at()


class ApiKey(Base):
    """A key, of which only the SHA-256 digest is kept."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # key_…
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(Text)
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    role: Mapped[str] = mapped_column(Text)  # viewer, editor, admin
    scopes: Mapped[list[str] | None] = mapped_column(ARRAY(Text))  # parts of the API that it opens; null: all
    created_at: Mapped[datetime] = _created_at()
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)


class LoginLink(Base):
    """A link that opens one browser session, once."""

    __tablename__ = "login_links"
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    api_key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    expires_at: Mapped[datetime] = mapped_column(Timestamp)


class BrowserSession(Base):
    """A logged-in browser; it may do what its key may."""

    __tablename__ = "browser_sessions"
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    api_key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    csrf_token: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = _created_at()
    expires_at: Mapped[datetime] = mapped_column(Timestamp)


class AuditEvent(Base):
    """Who did what: written in the transaction of the change that it tells of."""

    __tablename__ = "audit_events"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # audit_…
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    key_id: Mapped[str] = mapped_column(Text)
    key_name: Mapped[str] = mapped_column(Text)  # as it was then
    action: Mapped[str] = mapped_column(Text)  # create_dataset, cancel_job, …: what the API's document calls it
    target: Mapped[str | None] = mapped_column(Text)  # id of what was made or changed
    request_id: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = _created_at()
    __table_args__ = (Index("ix_audit_events_project_id_created_at_id", "project_id", "created_at", "id"),)


class StoredAnswer(Base):
    """The answer to a request with an Idempotency-Key, written in the transaction of what the request made."""

    __tablename__ = "stored_answers"
    api_key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(Text, primary_key=True)
    request: Mapped[str] = mapped_column(Text)  # method, path and query
    body_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int] = mapped_column(SmallInteger)
    answer: Mapped[bytes] = mapped_column(LargeBinary)  # JSON, without secrets
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now(), index=True)


class Webhook(Base):
    """An address that is told how jobs end. Its secret signs each message, so it is kept as it is."""

    __tablename__ = "webhooks"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # wh_…
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    url: Mapped[str] = mapped_column(Text)
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    description: Mapped[str] = mapped_column(Text)
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    old_secret: Mapped[bytes | None] = mapped_column(LargeBinary)  # signs too until `old_secret_until`
    old_secret_until: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = _created_at()


class WebhookMessage(Base):
    """A message to a webhook, written in the transaction of what it tells of, and how its deliveries went."""

    __tablename__ = "webhook_messages"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # msg_…, by which receivers tell repeats
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)  # exactly what is signed and sent
    status: Mapped[str] = mapped_column(Text, server_default=text("'pending'"))  # pending, delivered, failed
    attempt: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    attempts: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    next_attempt_at: Mapped[datetime | None] = mapped_column(Timestamp, server_default=func.now())
    created_at: Mapped[datetime] = _created_at()
    __table_args__ = (
        Index("ix_webhook_messages_webhook_id_created_at_id", "webhook_id", "created_at", "id"),
        Index("ix_webhook_messages_due", "next_attempt_at", postgresql_where=text("status = 'pending'")),
    )


class Dataset(Base):
    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # ds_…
    key: Mapped[int] = mapped_column(Integer, Identity(), unique=True)  # names the partitions
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    has_text: Mapped[bool]
    created_at: Mapped[datetime] = _created_at()
    __table_args__ = (Index("ix_datasets_project_id_created_at_id", "project_id", "created_at", "id"),)


class DatasetVersion(Base):
    """An immutable state of a dataset: the rows with added_in <= number that no later row had superseded by then."""

    __tablename__ = "dataset_versions"
    dataset_key: Mapped[int] = mapped_column(ForeignKey("datasets.key", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    sha256: Mapped[str] = mapped_column(Text)
    n_labels: Mapped[int] = mapped_column(BigInteger)
    n_items: Mapped[int] = mapped_column(Integer)
    n_annotators: Mapped[int] = mapped_column(Integer)
    # What the upload that made this version held: rows, identical and conflicting repeats, ignored, rejected.
    counts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    warnings: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    statistics: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  # of all its rows; null until somebody asks
    created_at: Mapped[datetime] = _created_at()


class DatasetSums(Base):
    """What the statistics of a dataset's newest version are made of, so that an append counts its own rows alone."""

    __tablename__ = "dataset_sums"
    dataset_key: Mapped[int] = mapped_column(ForeignKey("datasets.key", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int]
    sums: Mapped[bytes] = mapped_column(LargeBinary)  # app.datasets.statistics.CrowdSums


class DatasetTask(Base):
    """A task of a dataset; `answers` is a list of {name, description, added_in} in label order."""

    __tablename__ = "dataset_tasks"
    dataset_key: Mapped[int] = mapped_column(ForeignKey("datasets.key", ondelete="CASCADE"), primary_key=True)
    task: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    answers: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    declared: Mapped[bool]
    added_in: Mapped[int]
    __table_args__ = (UniqueConstraint("dataset_key", "name"),)


class File(Base):
    """OpenAI's name for an upload: a dataset's version under a file id, for ever."""

    __tablename__ = "files"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # file-…
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    dataset_version: Mapped[int]
    filename: Mapped[str] = mapped_column(Text)
    purpose: Mapped[str] = mapped_column(Text)
    n_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = _created_at()
    __table_args__ = (Index("ix_files_project_id_created_at_id", "project_id", "created_at", "id"),)


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
    created_at: Mapped[datetime] = _created_at()
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


class Job(Base):
    """A fine-tuning job. Workers write to it only with the attempt that they claimed (a fence)."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # ftjob-…
    key: Mapped[int] = mapped_column(Integer, Identity(), unique=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id", ondelete="SET NULL"), index=True)
    dataset_version: Mapped[int]
    model: Mapped[str] = mapped_column(Text)
    method: Mapped[dict[str, Any]] = mapped_column(JSONB)  # as asked for
    resolved: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  # what "auto" became: {name: {value, why}}
    seed: Mapped[int]
    suffix: Mapped[str | None] = mapped_column(Text)
    job_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default=text("'{}'"))
    status: Mapped[str] = mapped_column(Text)
    progress: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    attempt: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    lost_attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # ended by a crash or a lost worker
    notified_at: Mapped[datetime | None] = mapped_column(Timestamp)  # when the queue was last told of it
    last_event: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    worker_id: Mapped[str | None] = mapped_column(Text)
    lease_until: Mapped[datetime | None] = mapped_column(Timestamp)
    cancel_requested_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = _created_at()
    queued_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    error_code: Mapped[str | None] = mapped_column(Text)
    error_message: Mapped[str | None] = mapped_column(Text)
    log_tail: Mapped[str | None] = mapped_column(Text)
    fine_tuned_model: Mapped[str | None] = mapped_column(Text)
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  # the report's overview
    __table_args__ = (
        CheckConstraint("status IN ('" + "','".join(JOB_STATUSES) + "')", name="status"),
        CheckConstraint("(finished_at IS NOT NULL) = (status IN ('succeeded','failed','cancelled'))", name="finished"),
        CheckConstraint("(status = 'running') = (lease_until IS NOT NULL)", name="lease"),
        Index("ix_jobs_project_id_created_at_id", "project_id", "created_at", "id"),
        Index("ix_jobs_waiting", "queued_at", postgresql_where=text("status IN ('queued','running')")),
    )


class JobEvent(Base):
    """What happened to a job, numbered 1, 2, 3, … without gaps."""

    __tablename__ = "job_events"
    job_key: Mapped[int] = mapped_column(ForeignKey("jobs.key", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.clock_timestamp())
    level: Mapped[str] = mapped_column(Text)  # info, warn, error
    type: Mapped[str] = mapped_column(Text)  # message, metrics
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class JobCheckpoint(Base):
    __tablename__ = "job_checkpoints"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # ftckpt_…
    job_key: Mapped[int] = mapped_column(ForeignKey("jobs.key", ondelete="CASCADE"), index=True)
    step: Mapped[int]
    metrics: Mapped[dict[str, Any]] = mapped_column(JSONB)
    artifact: Mapped[str] = mapped_column(Text)  # prefix in the artifact store
    created_at: Mapped[datetime] = _created_at()


class FineTunedModel(Base):
    """A model that a job made; its files lie in the artifact store under `artifact`, hashes in `manifest`."""

    __tablename__ = "models"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # ft:base:project:suffix:id
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    job_key: Mapped[int | None] = mapped_column(ForeignKey("jobs.key", ondelete="SET NULL"))
    base: Mapped[str] = mapped_column(Text)
    artifact: Mapped[str] = mapped_column(Text)
    manifest: Mapped[dict[str, Any]] = mapped_column(JSONB)  # file name -> {sha256, bytes}
    tasks: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)  # [{name, answers}]
    created_at: Mapped[datetime] = _created_at()


class ModelAlias(Base):
    """A name that stands for a model wherever a model's id does, unique in its project."""

    __tablename__ = "model_aliases"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = _created_at()


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
    created_at: Mapped[datetime] = _created_at()
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
