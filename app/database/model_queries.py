"""Fine-tuned models. Every read names the project: another project's model is not there."""

from __future__ import annotations

import re
import secrets
from typing import Any

from sqlalchemy import Row, Text, bindparam, cast, delete, func, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.orm import Session

from app.database.keyset_pages import page_by_date
from app.database.tables import UNFINISHED, Annotator, FineTunedModel, Job, ModelAlias, Project

MODEL_ID = re.compile(r"ft(:[A-Za-z0-9._-]+){4}")
ALIAS = re.compile(r"[A-Za-z0-9._-]{1,64}")
ModelRow = Row[FineTunedModel, str | None, str | None, int | None, list[str]]  # job id, dataset id, version, aliases


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


_ALIASES = (
    select(func.coalesce(func.array_agg(aggregate_order_by(ModelAlias.name, ModelAlias.name)), cast([], ARRAY(Text))))
    .where(ModelAlias.model_id == FineTunedModel.id)
    .correlate(FineTunedModel)
    .scalar_subquery()
)
_SELECT_MODELS = (
    select(FineTunedModel, Job.id, Job.dataset_id, Job.dataset_version, _ALIASES)
    .join(Job, Job.key == FineTunedModel.job_key, isouter=True)
    .where(FineTunedModel.project_id == bindparam("project_id"))
)
_MODEL_OF_ALIAS = (
    select(ModelAlias.model_id)
    .where(ModelAlias.project_id == bindparam("project_id"), ModelAlias.name == bindparam("model_id"))
    .scalar_subquery()
)
_FIND_MODEL = _SELECT_MODELS.where(FineTunedModel.id == bindparam("model_id"))
_FIND_ALIAS = _SELECT_MODELS.where(FineTunedModel.id == _MODEL_OF_ALIAS)


def find_model(session: Session, project_id: str, model_id: str) -> ModelRow | None:
    """A model by its id or an alias of it; None too for what can be neither."""
    if ALIAS.fullmatch(model_id):
        return session.execute(_FIND_ALIAS, {"project_id": project_id, "model_id": model_id}).one_or_none()
    if not MODEL_ID.fullmatch(model_id):
        return None
    return session.execute(_FIND_MODEL, {"project_id": project_id, "model_id": model_id}).one_or_none()


_FIND_FILES = select(FineTunedModel.artifact, FineTunedModel.manifest).where(
    FineTunedModel.project_id == bindparam("project_id")
)
_FILES_OF_MODEL = _FIND_FILES.where(FineTunedModel.id == bindparam("model_id"))
_FILES_OF_ALIAS = _FIND_FILES.where(FineTunedModel.id == _MODEL_OF_ALIAS)


def find_files(session: Session, project_id: str, model_id: str) -> Row[str, dict[str, Any]] | None:
    """The artifact and the manifest of a model, by its id or an alias of it, and no more: every predict asks this."""
    is_alias = ALIAS.fullmatch(model_id)
    if not is_alias and not MODEL_ID.fullmatch(model_id):
        return None
    query = _FILES_OF_ALIAS if is_alias else _FILES_OF_MODEL
    return session.execute(query, {"project_id": project_id, "model_id": model_id}).one_or_none()


def list_models(
    session: Session, project_id: str, *, after: FineTunedModel | None, limit: int, descending: bool
) -> list[ModelRow]:
    """A page of a project's models by (created_at, id), one more than `limit` when there are more."""
    query = _SELECT_MODELS
    query = page_by_date(query, FineTunedModel, after=after, limit=limit, descending=descending)
    return list(session.execute(query, {"project_id": project_id}).all())


def lock_model(session: Session, model: FineTunedModel, *, for_deletion: bool) -> bool:
    """Keep a model as it is until the transaction ends; False when it is gone already."""
    query = select(FineTunedModel.id).where(FineTunedModel.id == model.id)
    locked = query.with_for_update() if for_deletion else query.with_for_update(read=True, key_share=True)
    return session.execute(locked).first() is not None


def set_alias(session: Session, project_id: str, name: str, model_id: str) -> None:
    """Let a name stand for a model, and no longer for the one that it stood for."""
    new = postgresql.insert(ModelAlias).values(project_id=project_id, name=name, model_id=model_id)
    session.execute(new.on_conflict_do_update(index_elements=["project_id", "name"], set_={"model_id": model_id}))


def delete_alias(session: Session, project_id: str, name: str, model_id: str) -> bool:
    """Whether there was such a name of the model."""
    of_model = (ModelAlias.project_id == project_id, ModelAlias.name == name, ModelAlias.model_id == model_id)
    return session.execute(delete(ModelAlias).where(*of_model).returning(ModelAlias.name)).first() is not None


def delete_model(session: Session, model_id: str) -> None:
    session.execute(delete(FineTunedModel).where(FineTunedModel.id == model_id))


def unfinished_jobs_from(session: Session, project_id: str, model_id: str) -> list[str]:
    """Ids of the jobs that are to continue from a model and still need its files."""
    query = select(Job.id).where(Job.project_id == project_id, Job.model == model_id, Job.status.in_(UNFINISHED))
    return list(session.execute(query).scalars())


def find_annotator(session: Session, project_id: str, name: str) -> int | None:
    """The key of a project's annotator."""
    query = select(Annotator.id).where(Annotator.name == name, Annotator.project_id == project_id)
    return session.execute(query).scalar_one_or_none()
