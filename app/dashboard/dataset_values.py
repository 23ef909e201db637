"""What the pages about datasets show."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app.access.service import Principal
from app.dashboard.permissions import may
from app.database.tables import Dataset
from app.datasets import service as datasets
from app.dependencies import Page
from app.fine_tuning import answers
from app.fine_tuning import service as fine_tuning
from app.fine_tuning.estimates import estimate_job
from app.fine_tuning.schemas import EstimateAnswer, JobRequest, Method
from app.inference import service as models
from app.settings import get_settings

DATASETS_PER_PAGE = 50
VERSIONS_SHOWN = 50
JOBS_SHOWN = 100
ANSWERS_SHOWN = 50


def list_values(session: Session, principal: Principal, after: str | None) -> dict[str, Any]:
    """Everything that the template of the list reads."""
    page = Page(after=after, limit=DATASETS_PER_PAGE, order="desc")
    found = datasets.list_datasets(session, principal.project_id, page)
    return {"datasets": found, "after": after}


def dataset_values(session: Session, principal: Principal, dataset: Dataset, number: int | None) -> dict[str, Any]:
    """Everything that the template of one dataset reads. Raises NotFound."""
    version = datasets.get_version(session, dataset, number)
    newest = datasets.get_version(session, dataset, None).number
    return {
        "dataset": datasets.dataset_object(session, dataset),
        "version": datasets.version_object(dataset, version),
        "newest": newest,
        "statistics": datasets.statistics(session, dataset, version),
        "versions": datasets.list_versions(session, dataset, Page(after=None, limit=VERSIONS_SHOWN, order="desc")),
        "jobs": _jobs_on(session, principal, dataset),
        "estimate": _estimate(session, principal, dataset, version.number) if may(principal, "editor") else None,
        "models": _models(session, principal),
        "answers_shown": ANSWERS_SHOWN,
    }


def _estimate(session: Session, principal: Principal, dataset: Dataset, number: int) -> EstimateAnswer:
    """What a job with the form's defaults would take."""
    method = Method(type="realm" if dataset.has_text else "aggregation")
    model = get_settings().base_model_names()[0] if dataset.has_text else None
    request = JobRequest(dataset=f"{dataset.id}@{number}", method=method, model=model)
    return estimate_job(session, principal.project_id, request)


def _jobs_on(session: Session, principal: Principal, dataset: Dataset) -> list[Any]:
    """The jobs of this dataset among the project's newest."""
    page = Page(after=None, limit=JOBS_SHOWN, order="desc")
    jobs = fine_tuning.list_jobs(session, principal.project_id, page, None)
    return answers.job_answers(session, [job for job in jobs if job.dataset_id == dataset.id])


def _models(session: Session, principal: Principal) -> list[str]:
    """What a job may start from: base models, then the project's newest own ones."""
    page = Page(after=None, limit=20, order="desc")
    own = models.list_models(session, principal.project_id, page)[: page.limit]
    return [*get_settings().base_model_names(), *(row[0].id for row in own)]
