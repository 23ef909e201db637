"""Scratch space of an attempt on this machine: a checkpoint fetched, the model before it is stored."""

from __future__ import annotations

import shutil
from pathlib import Path

from app.database import attempt_queries
from app.database.session import transaction
from app.settings import get_settings

FAILURE_FILE = "failure.json"


def work_folder(job_id: str, attempt: int) -> Path:
    return _all_work() / f"{job_id}-{attempt}"


def open_work_folder(job_id: str, attempt: int) -> Path:
    """An empty folder for an attempt; those of attempts that are over are removed."""
    _sweep()
    folder = work_folder(job_id, attempt)
    folder.mkdir(parents=True)
    return folder


def _all_work() -> Path:
    return get_settings().data_dir.absolute() / "work"


def _sweep() -> None:
    """Remove what workers left that were killed. Folders are listed first: each is younger than its claim."""
    folders = list(_all_work().glob("*-*"))
    with transaction() as session:
        running = {f"{job_id}-{attempt}" for job_id, attempt in attempt_queries.running_attempts(session)}
    for folder in folders:
        if folder.name not in running:
            shutil.rmtree(folder, ignore_errors=True)
