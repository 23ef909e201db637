"""Faults of the processes that train, and of their disks and clocks."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from app.client import RequestFailed
from benchmarks.faults.clock import ten_minutes_ahead
from benchmarks.faults.stage import Stage, Trial, wait_for

SUCCEEDED = ("succeeded",)
FULL = "filler"


def training_killed(stage: Stage) -> Trial:
    """kill -9 of a training process."""
    job = stage.under_way()
    process = wait_for(lambda: stage.training_of(job) or stage.has_ended(job))
    killed = time.monotonic()
    if isinstance(process, psutil.Process):
        process.kill()
    return Trial(until_another_attempt(stage, job, killed), {job: SUCCEEDED})


def worker_killed(stage: Stage) -> Trial:
    """kill -9 of a worker."""
    job = stage.under_way()
    killed = time.monotonic()
    stage.kill("worker")
    return Trial(until_another_attempt(stage, job, killed), {job: SUCCEEDED})


def until_another_attempt(stage: Stage, job: str, since: float) -> float:
    """Seconds until a job is worked on again, or has ended."""
    attempt = stage.attempt_of(job)

    wait_for(lambda: stage.attempt_of(job) > attempt or stage.has_ended(job))
    return time.monotonic() - since


def checkpoint_cut(stage: Stage) -> Trial:
    """The newest checkpoint loses its second half, and its training is killed: an older one must do."""
    job = stage.start("training")
    folder = stage.artifacts / "jobs" / job / "checkpoints"
    wait_for(lambda: list(folder.glob("*/manifest.json")) or stage.has_ended(job))
    time.sleep(stage.random.uniform(0, 1))
    cut = time.monotonic()
    newest = max(folder.glob("*/training.safetensors"), key=lambda path: path.stat().st_mtime, default=None)
    process = stage.training_of(job)
    if process is not None:
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            process.kill()
            if newest is not None:
                os.truncate(newest, newest.stat().st_size // 2)
    return Trial(until_another_attempt(stage, job, cut), {job: SUCCEEDED})


def disk_full(stage: Stage) -> Trial:
    """The artifact store fills up while checkpoints are written; once there is room, the next job succeeds."""
    job = stage.under_way()
    _fill(stage.artifacts / FULL)
    end = stage.end_of(job)
    (stage.artifacts / FULL).unlink()
    freed = time.monotonic()
    right = end["status"] == "succeeded" or end["error"]["code"] == "storage_full"
    next_job = stage.start("training")
    stage.end_of(next_job)
    return Trial(time.monotonic() - freed, {next_job: SUCCEEDED}, lost=0 if right else 1)


def _fill(file: Path) -> None:
    with suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(b"\0" * 65536)


def fast_clock(stage: Stage) -> Trial:
    """A second worker, whose clock is ten minutes ahead, works beside the first, which is killed."""
    with stage.another_worker(*ten_minutes_ahead(stage.folder)):
        began = time.monotonic()
        jobs = [stage.start() for _ in range(3)]
        stage.random_moment()
        stage.kill("worker")
        for job in jobs:
            stage.end_of(job)
        return Trial(time.monotonic() - began, dict.fromkeys(jobs, SUCCEEDED))


def cancel_races_with_success(stage: Stage) -> Trial:
    """A cancel arrives when the job is about to succeed: what the answer promised is what happens."""
    undisturbed, job = stage.start(), stage.start()
    wait_for(lambda: stage.attempt_of(undisturbed))
    began = time.monotonic()
    stage.end_of(undisturbed)
    usual = time.monotonic() - began
    wait_for(lambda: stage.attempt_of(job))
    time.sleep(stage.random.uniform(0.7, 1.1) * usual)
    asked = time.monotonic()
    try:
        stage.client.fine_tuning.jobs.cancel(job)
        promised = "cancelled"
    except RequestFailed as refusal:
        if refusal.code != "job_finished":
            raise
        promised = "succeeded"
    stage.end_of(job)
    return Trial(time.monotonic() - asked, {job: (promised,)})


def poison(stage: Stage) -> Trial:
    """A job whose training crashes every time fails with a reason, and others go on."""
    poisoned = stage.start()
    began = time.monotonic()
    with _crashing(stage, poisoned):
        healthy = stage.start()
        end = stage.end_of(poisoned)
    right = end["status"] == "failed" and end["error"]["code"] == "internal_error" and end["attempt"] == 3
    stage.end_of(healthy)
    return Trial(time.monotonic() - began, {poisoned: ("failed",), healthy: SUCCEEDED}, lost=0 if right else 1)


@contextmanager
def _crashing(stage: Stage, job: str) -> Iterator[None]:
    """Every training process of a job has a segmentation fault."""
    over = threading.Event()

    def crash() -> None:
        while not over.wait(0.1):
            process = stage.training_of(job)
            if process is not None:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGSEGV)

    thread = threading.Thread(target=crash)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
