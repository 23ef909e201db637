"""What is kept of requests that change something."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, SmallInteger, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, Timestamp, creation_time


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
    created_at: Mapped[datetime] = creation_time()
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
