"""Models that jobs made, and the names that stand for them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, creation_time


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
    created_at: Mapped[datetime] = creation_time()


class ModelAlias(Base):
    """A name that stands for a model wherever a model's id does, unique in its project."""

    __tablename__ = "model_aliases"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = creation_time()
