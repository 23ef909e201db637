"""Fine-tuned models. Every read names the project: another project's model is not there."""

from __future__ import annotations

import re
import secrets
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select
from sqlalchemy.orm import Session

from app.database.tables import UNFINISHED, Annotator, FineTunedModel, Job, Project

MODEL_ID = re.compile(r"ft(:[A-Za-z0-9._-]+){4}")
ModelRow = Row[FineTunedModel, str | None, str | None, int | None]  # model, job id, dataset id and version


def add_model(
    session: Session,
    *,
    job_key: int,
    base: str,
    artifact: str,
    manifest: dict[str, Any],
    tasks: list[dict[str, Any]],
) -> str:
    """Add the model that a job made and give it its id, ft:base:project:suffix:id.

    `base` is the base model that all fine-tuning started from, `manifest` what the artifact store answered when it took
    the files, `tasks` a list of {"name": …, "answers": […]}.
    """
    project_id, project_name, suffix = session.execute(
        select(Project.id, Project.name, Job.suffix).join(Job, Job.project_id == Project.id).where(Job.key == job_key)
    ).one()
    id_ = _new_model_id(base, project_name, suffix)
    session.execute(
        insert(FineTunedModel).values(
            id=id_,
            project_id=project_id,
            job_key=job_key,
            base=base,
            artifact=artifact,
            manifest=manifest,
            tasks=tasks,
        )
    )
    return id_


def _new_model_id(base: str, project_name: str, suffix: str | None) -> str:
    names = (base.rsplit("/", 1)[-1], project_name, suffix or "model")
    return ":".join(["ft", *(_id_part(name) for name in names), secrets.token_hex(4)])


def _id_part(name: str) -> str:
    """The name in the letters that an id may have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:64].strip("-") or "unnamed"


_SELECT_MODELS = (
    select(FineTunedModel, Job.id, Job.dataset_id, Job.dataset_version)
    .join(Job, Job.key == FineTunedModel.job_key, isouter=True)
    .where(FineTunedModel.project_id == bindparam("project_id"))
)
_FIND_MODEL = _SELECT_MODELS.where(FineTunedModel.id == bindparam("model_id"))  # built once: every predict asks this


def find_model(session: Session, project_id: str, model_id: str) -> ModelRow | None:
    return session.execute(_FIND_MODEL, {"project_id": project_id, "model_id": model_id}).one_or_none()


def list_models(
    session: Session, project_id: str, *, after: FineTunedModel | None, limit: int, descending: bool
) -> list[ModelRow]:
    """A page of a project's models by (created_at, id), one more than `limit` when there are more."""
    query = _SELECT_MODELS
    if after is not None:
        here = func.row(FineTunedModel.created_at, FineTunedModel.id)
        mark = func.row(after.created_at, after.id)
        query = query.where(here < mark if descending else here > mark)
    columns = (FineTunedModel.created_at, FineTunedModel.id)
    order = [column.desc() for column in columns] if descending else list(columns)
    return list(session.execute(query.order_by(*order).limit(limit + 1), {"project_id": project_id}).all())


def delete_model(session: Session, model_id: str) -> None:
    session.execute(delete(FineTunedModel).where(FineTunedModel.id == model_id))


def unfinished_jobs_from(session: Session, project_id: str, model_id: str) -> list[str]:
    """Ids of the jobs that are to continue from a model and still need its files."""
    query = select(Job.id).where(Job.project_id == project_id, Job.model == model_id, Job.status.in_(UNFINISHED))
    return list(session.execute(query).scalars())


def find_annotator_name(session: Session, project_id: str, annotator: int) -> str | None:
    query = select(Annotator.name).where(Annotator.id == annotator, Annotator.project_id == project_id)
    return session.execute(query).scalar_one_or_none()
