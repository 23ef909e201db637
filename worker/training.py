"""One attempt at a job, in its training process.

Reads the dataset version, runs realm_core, and commits model, report and success in one transaction. A reason to fail
that is known goes into failure.json, which the supervisor records; any other end is a crash.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.artifacts import ArtifactDamaged, Manifest, get_artifacts
from app.database import attempt_queries, model_queries, report_queries
from app.database.annotation_queries import LoadedAnnotations, load_annotations
from app.database.attempt_queries import Claim, LeaseLost
from app.database.session import transaction
from app.database.tables import Dataset, FineTunedModel, Job
from app.observability import configure_logging
from app.settings import get_settings
from realm_core import run
from realm_core.base_models import BaseModelUnavailable, locate
from realm_core.config import TrainingConfig
from realm_core.model_folder import UnsafeModel, refuse_unsafe
from worker.explanations import InvalidTrainingFile, explain
from worker.job_artifacts import fetch_newest_checkpoint, model_prefix
from worker.outages import outlast
from worker.recorder import Recorder
from worker.work_folders import FAILURE_FILE, work_folder

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Work:
    """A job and the data that it trains on."""

    job: Job
    claim: Claim
    loaded: LoadedAnnotations
    parent: FineTunedModel | None  # the fine-tuned model that the job continues from


def run_attempt(job_id: str, attempt: int) -> int:
    """Train; the exit code is 0 when success is committed or the job is no longer this attempt's."""
    configure_logging()
    structlog.contextvars.bind_contextvars(job=job_id, attempt=attempt)
    folder = work_folder(job_id, attempt)
    try:
        train(job_id, attempt, folder)
    except LeaseLost:
        log.warning("the job is no longer this attempt's")
    except Exception as error:
        failure = explain(error)
        log.exception("attempt failed", code=failure.code)
        failure.write(folder / FAILURE_FILE)
        return 1
    return 0


def train(job_id: str, attempt: int, folder: Path) -> None:
    """The whole attempt. Raises LeaseLost, or what `explain` explains."""
    work = outlast(lambda: _read(job_id, attempt))
    config = TrainingConfig(
        method=work.job.method["type"],
        hyperparameters=work.job.method["hyperparameters"],
        seed=work.job.seed,
        threads=get_settings().torch_threads,
        checkpoint_seconds=get_settings().checkpoint_seconds,
        in_parts=get_settings().model_in_parts,
    )
    rank = int(os.environ.get("RANK", "0"))
    if rank > 0:
        _help(work, config, folder / f"process-{rank}")
        return
    base = None if config.method == "aggregation" else _base(work, folder)
    with Recorder(job_id, work.claim) as recorder:
        outcome = run.run(
            work.loaded.annotations,
            config,
            base=base,
            work=folder,
            observer=recorder,
            pretrained=_pretrained(work),
            resume_from=_resume_from(work, recorder, folder),
        )
        stored = None
        if outcome.model is not None:
            stored = get_artifacts().put_folder(model_prefix(job_id, attempt), outcome.model)
    outlast(lambda: _commit(work, recorder, outcome, stored))


def _help(work: Work, config: TrainingConfig, folder: Path) -> None:
    """Train beside the first process of a team, which alone tells, stores and commits."""
    if config.method == "aggregation":
        return  # there is nothing to share
    folder.mkdir()
    found = outlast(lambda: fetch_newest_checkpoint(work.job.key, folder / "resume"))
    run.assist(
        work.loaded.annotations,
        config,
        base=_base(work, folder),
        work=folder,
        resume_from=None if found is None else found[1],
    )


def _read(job_id: str, attempt: int) -> Work:
    with transaction() as session:
        job = session.execute(select(Job).where(Job.id == job_id)).scalar_one()
        key = session.execute(select(Dataset.key).where(Dataset.id == job.dataset_id)).scalar_one_or_none()
        if key is None:
            raise InvalidTrainingFile("The dataset was deleted before the job could read it.")
        loaded = load_annotations(session, key, job.dataset_version)
        return Work(job, Claim(job.key, attempt), loaded, _parent(session, job))


def _parent(session: Session, job: Job) -> FineTunedModel | None:
    """The model that a job continues from; it is there, since models that unfinished jobs need are not deleted."""
    if not model_queries.MODEL_ID.fullmatch(job.model):
        return None
    found = model_queries.find_model(session, job.project_id, job.model)
    if found is None:
        raise BaseModelUnavailable(f"The model {job.model} was deleted.")
    return found[0]


def _base(work: Work, folder: Path) -> Path | str:
    """The model to start from. Raises BaseModelUnavailable."""
    if work.parent is None:
        return locate(work.job.model, get_settings().models_dir)
    try:
        return refuse_unsafe(get_artifacts().fetch_folder(work.parent.artifact, folder / "parent"))
    except (ArtifactDamaged, UnsafeModel) as error:
        log.error("model damaged", model=work.parent.id, error=str(error))
        detail = f"The files of {work.parent.id} are missing or damaged; start from another model."
        raise BaseModelUnavailable(detail) from error


def _pretrained(work: Work) -> Path | str | None:
    """What the model to start from was once fine-tuned from; None where it is not fine-tuned, or that is gone."""
    if work.parent is None:
        return None
    try:
        return locate(work.parent.base, get_settings().models_dir)
    except BaseModelUnavailable:
        return None


def _resume_from(work: Work, recorder: Recorder, folder: Path) -> Path | None:
    """The newest whole checkpoint of earlier attempts."""
    found = outlast(lambda: fetch_newest_checkpoint(work.job.key, folder / "resume"))
    if found is None:
        return None
    checkpoint, path = found
    recorder.event(f"Going on from the checkpoint at step {checkpoint.step}", data={"step": checkpoint.step})
    return path


def _commit(work: Work, recorder: Recorder, outcome: run.Outcome, manifest: Manifest | None) -> None:
    """Report, model and success, all or nothing. Raises LeaseLost."""
    with transaction() as session:
        model_id = _add_model(session, work, manifest) if manifest is not None else None
        report_queries.write_report(session, work.job.key, outcome.report, work.loaded.annotator_ids)
        recorder.write_rest(session)
        attempt_queries.succeed(session, work.claim, model_id)


def _add_model(session: Session, work: Work, manifest: Manifest) -> str:
    return model_queries.add_model(
        session,
        job_key=work.job.key,
        base=work.job.model if work.parent is None else work.parent.base,
        artifact=model_prefix(work.job.id, work.claim.attempt),
        manifest=manifest,
        tasks=[{"name": task.name, "answers": list(task.answers)} for task in work.loaded.annotations.tasks],
    )
