"""Where a job's files lie in the artifact store, and which of them are still needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import structlog

from app.artifacts import ArtifactDamaged, get_artifacts
from app.database import attempt_queries
from app.database.attempt_queries import Claim
from app.database.session import transaction
from app.database.tables import JobCheckpoint

log = structlog.get_logger(__name__)

KEPT_CHECKPOINTS = 2
FREED_PER_PASS = 100


def model_prefix(job_id: str, attempt: int) -> str:
    """Every attempt has a place of its own, so that one that lost its lease cannot harm the one after it."""
    return f"models/{job_id}-{attempt}"


def checkpoint_prefix(job_id: str, attempt: int, step: int) -> str:
    return f"jobs/{job_id}/checkpoints/{step}-{attempt}"


def fetch_newest_checkpoint(job_key: int, folder: Path) -> tuple[JobCheckpoint, Path] | None:
    """The newest whole checkpoint of a job, copied to `folder`; damaged ones are passed over."""
    with transaction() as session:
        checkpoints = attempt_queries.stored_checkpoints(session, job_key)
    for checkpoint in checkpoints:
        try:
            return checkpoint, get_artifacts().fetch_folder(checkpoint.artifact, folder)
        except ArtifactDamaged as error:
            log.warning("damaged checkpoint", checkpoint=checkpoint.id, error=str(error))
    return None


def drop_old_checkpoints(job_key: int) -> None:
    """Let go of the files of all but the newest checkpoints of a running job."""
    with transaction() as session:
        checkpoints = attempt_queries.stored_checkpoints(session, job_key)
    _free(checkpoints[KEPT_CHECKPOINTS:])


def drop_checkpoints_of_finished_jobs() -> None:
    """Let go of the files that no attempt will resume from any more."""
    with transaction() as session:
        checkpoints = attempt_queries.checkpoints_of_finished_jobs(session, FREED_PER_PASS)
    _free(checkpoints)


def drop_leavings(job_id: str, claim: Claim) -> None:
    """Remove what an attempt that did not succeed stored of its model, and checkpoints that it could not record."""
    with transaction() as session:
        recorded = {checkpoint.artifact for checkpoint in attempt_queries.stored_checkpoints(session, claim.job_key)}
    folder = f"jobs/{job_id}/checkpoints"
    try:
        own = [f"{folder}/{name}" for name in get_artifacts().names(folder) if name.endswith(f"-{claim.attempt}")]
        for prefix in (model_prefix(job_id, claim.attempt), *(prefix for prefix in own if prefix not in recorded)):
            get_artifacts().delete(prefix)
    except OSError as error:
        log.warning("cannot remove unfinished files", job=job_id, attempt=claim.attempt, error=str(error))


def _free(checkpoints: Sequence[JobCheckpoint]) -> None:
    """Files first: a row whose files are half gone is found again."""
    for checkpoint in checkpoints:
        get_artifacts().delete(checkpoint.artifact)
    with transaction() as session:
        attempt_queries.mark_files_gone(session, [checkpoint.id for checkpoint in checkpoints])
