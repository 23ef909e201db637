"""Projects: who makes them, who sees them, and that nothing of them stays.

Admins of the default project run the service: they make projects, each with its first admin key, see all of them and
delete them, but cannot read their data. Everybody else sees the one project that their key belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.access import service as access
from app.access.service import DEFAULT_PROJECT, Principal
from app.artifacts import get_artifacts
from app.database import project_queries
from app.database.base import new_id
from app.database.lock_waits import DataBusy
from app.database.tables import Project
from app.dependencies import Page
from app.errors import Conflict, NotFound


def create_project(session: Session, principal: Principal, name: str) -> tuple[Project, str]:
    """A new project and the secret of its first admin key. Raises Forbidden, Conflict."""
    principal.require_service_admin()
    try:
        with session.begin_nested():
            project = project_queries.add_project(session, new_id("proj_"), name)
    except IntegrityError:
        raise Conflict(f"There is a project {name!r} already.", code="project_exists", param="name") from None
    _, secret = access.create_key(session, project.id, name="first key", role="admin")
    return project, secret


def find_project(session: Session, principal: Principal, project_id: str) -> Project:
    """A project that the caller may see. Raises NotFound."""
    sees_it = principal.runs_service or project_id == principal.project_id
    project = project_queries.find_project(session, project_id) if sees_it else None
    if project is None:
        raise NotFound(f"There is no project {project_id!r}.", param="project_id")
    return project


def list_projects(session: Session, principal: Principal, page: Page) -> list[Project]:
    """A page of the projects that the caller may see, one more than its limit when there are more. Raises NotFound."""
    return project_queries.list_projects(
        session,
        only=None if principal.runs_service else principal.project_id,
        after=None if page.after is None else find_project(session, principal, page.after),
        limit=page.limit,
        descending=page.descending,
    )


def delete_project(session: Session, principal: Principal, project_id: str) -> None:
    """Remove a project and all that belongs to it: keys, data, jobs, reports, models. Raises RealmError."""
    project = find_project(session, principal, project_id)
    principal.require_service_admin()
    if project.name == DEFAULT_PROJECT:
        raise Conflict("The default project stays: its admins run the service.", code="default_project")
    try:
        project_queries.lock_for_deletion(session, project)
        if project_queries.has_unfinished_jobs(session, project):
            raise Conflict("A job of this project is not finished; cancel it or wait.", code="project_in_use")
        artifacts = project_queries.artifacts_of(session, project)
        project_queries.delete_project(session, project)
    except DataBusy:
        raise Conflict(
            "The project's data is being read or changed just now; try again.", code="project_busy"
        ) from None
    event.listen(session, "after_commit", lambda _: _delete_artifacts(artifacts), once=True)


def _delete_artifacts(prefixes: Sequence[str]) -> None:
    for prefix in prefixes:
        get_artifacts().delete(prefix)
