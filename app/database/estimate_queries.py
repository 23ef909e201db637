"""What an estimate of a job reads: a sample of the texts, and how fast earlier jobs were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Float, Integer, Row, cast, func, literal, select
from sqlalchemy.orm import Session

from app.database.tables import Dataset, DatasetTask, DatasetVersion, Item, Job

SAMPLED_ITEMS = 2000
REMEMBERED_JOBS = 5
BYTES_PER_TOKEN = 4.0  # of UTF-8; English under MiniLM's tokenizer has 4.5
SPECIAL_TOKENS = 2


@dataclass(frozen=True)
class TextFacts:
    """A dataset version as an estimate sees it; tokens are of one prompt, cut to the longest that is read."""

    n_tasks: int
    most_answers: int
    has_options: bool
    mean_tokens: float
    longest_tokens: float
    truncated_share: float


def text_facts(session: Session, dataset_key: int, version: int, max_length: int) -> TextFacts:
    """Counts over the tasks and over the first items of a version."""
    tokens = func.octet_length(Item.prompt) / literal(BYTES_PER_TOKEN, Float) + SPECIAL_TOKENS
    sample = (
        select(tokens.label("tokens"), Item.options.is_not(None).label("own"))
        .where(Item.dataset_key == dataset_key, Item.added_in <= version)
        .limit(SAMPLED_ITEMS)
        .subquery()
    )
    read = func.least(sample.c.tokens, max_length)
    row = session.execute(
        select(
            func.avg(read), func.max(read), func.avg(_one_if(sample.c.tokens > max_length)), func.bool_or(sample.c.own)
        )
    ).one()
    of_version = (DatasetTask.dataset_key == dataset_key, DatasetTask.added_in <= version)
    n_answers = func.max(func.jsonb_array_length(DatasetTask.answers))
    n_tasks, most_answers = session.execute(select(func.count(), n_answers).where(*of_version)).one()
    mean, longest, truncated, has_options = row
    return TextFacts(
        n_tasks, most_answers or 0, bool(has_options), float(mean or 0), float(longest or 0), float(truncated or 0)
    )


def _one_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return cast(condition, Integer)


def jobs_with_a_pace(session: Session, model: str, method_type: str) -> list[Row[Job, int, DatasetVersion]]:
    """The newest jobs of a model, of all projects, that succeeded at the first attempt: job, dataset key, version.

    Only how fast they were leaves this installation's other projects.
    """
    query = (
        select(Job, Dataset.key, DatasetVersion)
        .join(Dataset, Dataset.id == Job.dataset_id)
        .join(
            DatasetVersion,
            (DatasetVersion.dataset_key == Dataset.key) & (DatasetVersion.number == Job.dataset_version),
        )
        .where(
            Job.model == model,
            Job.method["type"].astext == method_type,
            Job.status == "succeeded",
            Job.attempt == 1,
            Job.progress.has_key("pace"),
        )
        .order_by(Job.finished_at.desc())
    )
    rows: list[Any] = list(session.execute(query.limit(REMEMBERED_JOBS)).all())
    return rows
