"""Projects, the tenants of the service, and what goes with them when they end."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, text
from sqlalchemy.orm import Session

from app.database.keyset_pages import page_by_date
from app.database.lock_waits import or_busy, wait_shortly
from app.database.tables import UNFINISHED, Dataset, FineTunedModel, Job, Project


def add_project(session: Session, id_: str, name: str) -> Project:
    return session.execute(insert(Project).values(id=id_, name=name).returning(Project)).scalar_one()


def find_project(session: Session, project_id: str) -> Project | None:
    return session.get(Project, project_id)


def find_project_by_name(session: Session, name: str) -> Project | None:
    return session.execute(select(Project).where(Project.name == name)).scalar_one_or_none()


def list_projects(
    session: Session, *, only: str | None, after: Project | None, limit: int, descending: bool
) -> list[Project]:
    """A page of all projects, or of the one named `only`, one more than `limit` when there are more."""
    query = select(Project)
    if only is not None:
        query = query.where(Project.id == only)
    query = page_by_date(query, Project, after=after, limit=limit, descending=descending)
    return list(session.execute(query).scalars())


def has_unfinished_jobs(session: Session, project: Project) -> bool:
    query = select(Job.key).where(Job.project_id == project.id, Job.status.in_(UNFINISHED)).limit(1)
    return session.execute(query).first() is not None


def lock_for_deletion(session: Session, project: Project) -> None:
    """Keep others from adding to a project until this transaction ends. Raises DataBusy."""
    wait_shortly(session)
    with or_busy():
        session.execute(select(Project.id).where(Project.id == project.id).with_for_update())


def artifacts_of(session: Session, project: Project) -> list[str]:
    """Where in the artifact store the project's models and checkpoints lie."""
    models = session.execute(select(FineTunedModel.artifact).where(FineTunedModel.project_id == project.id)).scalars()
    jobs = session.execute(select(Job.id).where(Job.project_id == project.id)).scalars()
    return [*models, *(f"jobs/{job_id}" for job_id in jobs)]


def delete_project(session: Session, project: Project) -> None:
    """Remove a project with every row that belongs to it. Raises DataBusy while others read its data."""
    keys = list(session.execute(select(Dataset.key).where(Dataset.project_id == project.id)).scalars())
    session.execute(delete(Project).where(Project.id == project.id))
    for key in keys:
        with or_busy():
            session.execute(text(f"DROP TABLE items_{key}, annotations_{key}"))
