"""What the first page shows."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app.access.service import Principal
from app.datasets import service as datasets
from app.dependencies import Page, PageOf
from app.fine_tuning import answers
from app.fine_tuning import service as fine_tuning
from app.fine_tuning.schemas import JobAnswer

JOBS_PER_PAGE = 20
DATASETS_SHOWN = 20


def home_values(session: Session, principal: Principal, after: str | None) -> dict[str, Any]:
    """Everything that the template reads."""
    page = Page(after=after, limit=JOBS_PER_PAGE, order="desc")
    jobs = fine_tuning.list_jobs(session, principal.project_id, page, None)
    shown = PageOf[JobAnswer].of(answers.job_answers(session, jobs), JOBS_PER_PAGE)
    return {
        "jobs": shown,
        "datasets": datasets.list_datasets(
            session, principal.project_id, Page(after=None, limit=DATASETS_SHOWN, order="desc")
        ),
        "names": {
            id_: datasets.get_dataset(session, principal.project_id, id_).name
            for id_ in {job.dataset.id for job in shown.data if job.dataset.id is not None}
        },
        "after": after,
    }
