"""What every page of a finished job's report says of its job."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app.database.tables import Job
from app.datasets import service as datasets
from app.reports.service import FinishedJob


def about(session: Session, finished: FinishedJob, *, pseudonyms: bool) -> dict[str, Any]:
    """The job's id and name, and whether annotators go by pseudonym."""
    job = finished.job
    return {"job_id": job.id, "job_name": job_name(session, job), "pseudonyms": pseudonyms}


def job_name(session: Session, job: Job) -> str:
    """What pages call a job: the name that it was given, else its dataset's, else its id."""
    if job.suffix or job.dataset_id is None:
        return job.suffix or job.id
    return datasets.get_dataset(session, job.project_id, job.dataset_id).name
