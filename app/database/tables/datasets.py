"""Datasets, their versions and tasks, and the files that name a version."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, creation_time


class Dataset(Base):
    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(Text, primary_key=True)  # ds_…
    key: Mapped[int] = mapped_column(Integer, Identity(), unique=True)  # names the partitions
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    has_text: Mapped[bool]
    created_at: Mapped[datetime] = creation_time()
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
    created_at: Mapped[datetime] = creation_time()


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
    created_at: Mapped[datetime] = creation_time()
    __table_args__ = (Index("ix_files_project_id_created_at_id", "project_id", "created_at", "id"),)
