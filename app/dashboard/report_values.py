"""What every page of a finished job's report says of its job."""

from __future__ import annotations

from typing import Any

from app.reports.service import FinishedJob


def about(finished: FinishedJob, *, pseudonyms: bool) -> dict[str, Any]:
    """The job's id and name, and whether annotators go by pseudonym."""
    return {"job_id": finished.job.id, "job_name": finished.job.suffix or finished.job.id, "pseudonyms": pseudonyms}
