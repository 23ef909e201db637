"""One attempt at a job: claim it, train it in a child process, watch, and record how it ended.

The child has its own process group, so that a cancel ends all of it and frees the GPU, and a crash or an out-of-memory
kill cannot take the worker along. The child records success itself, in one transaction with its results; every other
end is recorded here. Nothing here imports torch.
"""

from __future__ import annotations

import math
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.database import attempt_queries
from app.database.attempt_queries import Claim, LeaseLost
from app.database.session import transaction
from app.queue import ring_after_commit
from app.settings import Settings, get_settings
from worker import failures
from worker.child import Child
from worker.failures import Failure
from worker.job_artifacts import drop_leavings
from worker.memory import oom_kills
from worker.outages import database_is_away, outlast
from worker.training_team import TRAINING_PROCESS
from worker.work_folders import FAILURE_FILE, open_work_folder

log = structlog.get_logger(__name__)

TRAINING_TEAM = (sys.executable, "-m", "worker.training_team")
POLL_SECONDS = 0.5
HEARTBEATS_PER_LEASE = 4
SLOWEST_HEARTBEAT = 1.0  # a cancel is seen with the heartbeat


class Cause(Enum):
    """What ended the watch over a child."""

    EXITED = "exited"
    CANCELLED = "cancelled"
    DRAINING = "draining"
    OVERDUE = "overdue"
    NOT_OURS = "the job is over or another's"


@dataclass(frozen=True)
class End:
    """How an attempt ended; `crash` is set for a child that exited without success or explanation."""

    cause: Cause
    failure: Failure | None = None
    crash: Failure | None = None


def supervise(
    job_id: str,
    worker_id: str,
    *,
    gpu: str | None = None,
    draining: Callable[[], bool] = lambda: False,
    command: Sequence[str] | None = None,
) -> None:
    """Run one attempt at a job, if it waits. Returns when the child has gone and its end is recorded.

    `command` gets the job's id and the attempt as arguments; by default it trains, in as many processes as the settings
    say. `gpu` is its CUDA_VISIBLE_DEVICES.
    """
    settings = get_settings()
    command = command or _training(settings.processes_per_job)
    claim = outlast(lambda: _claim(job_id, worker_id, settings.lease_seconds), patience=settings.lease_seconds)
    if claim is None:
        log.info("the job is not waiting", job=job_id)
        return
    with structlog.contextvars.bound_contextvars(job=job_id, attempt=claim.attempt):
        log.info("attempt started", worker=worker_id, gpu=gpu)
        folder = open_work_folder(job_id, claim.attempt)
        child = Child([*command, job_id, str(claim.attempt)], _environment(settings, gpu))
        try:
            end = _watch(child, claim, folder, draining, settings)
        finally:
            child.end(settings.cancel_grace_seconds)
        log.info("attempt ended", cause=end.cause.value, failure=end.failure, crash=end.crash)
        _record(job_id, claim, end, child.log_tail(), patience=settings.lease_seconds if draining() else math.inf)
        shutil.rmtree(folder, ignore_errors=True)


def _training(processes: int) -> Sequence[str]:
    return TRAINING_PROCESS if processes == 1 else (*TRAINING_TEAM, str(processes))


def _claim(job_id: str, worker_id: str, lease_seconds: float) -> Claim | None:
    with transaction() as session:
        return attempt_queries.claim_job(session, job_id, worker_id, lease_seconds)


def _environment(settings: Settings, gpu: str | None) -> dict[str, str]:
    """Caps that must stand before numpy and torch are imported: an idle thread sleeps, so that the API can answer."""
    threads = str(settings.torch_threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
    caps = dict.fromkeys(names, threads) | {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    return caps if gpu is None else caps | {"CUDA_VISIBLE_DEVICES": gpu}


def _watch(child: Child, claim: Claim, folder: Path, draining: Callable[[], bool], settings: Settings) -> End:
    """Hold the lease until the child exits or must be ended."""
    kills_before = oom_kills()
    deadline = time.monotonic() + settings.job_timeout_seconds
    pause = min(SLOWEST_HEARTBEAT, settings.lease_seconds / HEARTBEATS_PER_LEASE)
    next_beat = 0.0
    while (returncode := child.wait(min(POLL_SECONDS, pause))) is None:
        if draining():
            return End(Cause.DRAINING)
        if time.monotonic() > deadline:
            return End(Cause.OVERDUE, failures.overdue(settings.job_timeout_seconds))
        if time.monotonic() >= next_beat:
            next_beat = time.monotonic() + pause
            cause = _beat(claim, settings.lease_seconds)
            if cause is not None:
                return End(cause)
    if returncode == 0:
        return End(Cause.EXITED)
    failure = Failure.read(folder / FAILURE_FILE)
    killed_for_memory = returncode == -signal.SIGKILL and oom_kills() > kills_before
    return End(Cause.EXITED, failure, None if failure else failures.crash(returncode, out_of_memory=killed_for_memory))


def _beat(claim: Claim, lease_seconds: float) -> Cause | None:
    """Renew the lease; what it tells about the child's right to go on. A database that is away changes nothing."""
    try:
        with transaction() as session:
            cancel = attempt_queries.heartbeat(session, claim, lease_seconds)
    except LeaseLost:
        return Cause.NOT_OURS
    except DBAPIError as error:
        if not database_is_away(error):
            raise
        log.warning("no heartbeat, the database is away", error=str(error.orig))
        return None
    return Cause.CANCELLED if cancel else None


def _record(job_id: str, claim: Claim, end: End, log_tail: str, patience: float) -> None:
    """Write how the attempt ended, as soon as the database can be reached."""

    def write() -> bool:
        with transaction() as session:
            attempt_queries.keep_log_tail(session, claim, log_tail)
            try:
                _transition(session, job_id, claim, end)
            except LeaseLost:
                return False
            return True

    if outlast(write, patience):
        outlast(lambda: drop_leavings(job_id, claim), patience)


def _transition(session: Session, job_id: str, claim: Claim, end: End) -> None:
    """The next state of a job that did not succeed. Raises LeaseLost when it did, or was taken away."""
    if end.cause is Cause.CANCELLED:
        attempt_queries.finish_cancelled(session, claim)
    elif end.cause is Cause.DRAINING:
        attempt_queries.hand_back(session, claim)
    elif end.failure is not None:
        attempt_queries.fail(session, claim, end.failure.code, end.failure.message)
    else:
        crash = end.crash or failures.crash(0, out_of_memory=False)
        max_attempts = get_settings().max_attempts
        if attempt_queries.lose_attempt(session, claim, max_attempts, crash.code, crash.message):
            ring_after_commit(session, job_id)
