"""Webhooks and what they are told."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, LargeBinary, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, Timestamp, creation_time


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
    created_at: Mapped[datetime] = creation_time()


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
    created_at: Mapped[datetime] = creation_time()
    __table_args__ = (
        Index("ix_webhook_messages_webhook_id_created_at_id", "webhook_id", "created_at", "id"),
        Index("ix_webhook_messages_due", "next_attempt_at", postgresql_where=text("status = 'pending'")),
    )
