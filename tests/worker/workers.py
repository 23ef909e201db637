"""Workers as processes of their own, for tests."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from app.database.tables import Job
from app.queue import live_workers
from tests.jobs import events_of, reload, wait_for


class Worker:
    """A worker process of its own."""

    def __init__(self, log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen([sys.executable, "-m", "worker"], stdout=output, stderr=output)

    @property
    def announced(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return any(facts["pid"] == self.process.pid for facts in live_workers().values())

    def training_of(self, job: Job) -> psutil.Process | None:
        """The process that trains a job here."""
        processes = psutil.Process(self.process.pid).children(recursive=True)
        return next((process for process in processes if job.id in command_of(process)), None)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.log.read_text()


def command_of(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def gone(process: psutil.Process) -> bool:
    """Whether it has ended, even if nobody has taken note of it yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def running_worker(log: Path) -> Iterator[Worker]:
    worker = Worker(log)
    try:
        wait_for(lambda: worker.announced, 30)
        yield worker
        if worker.process.poll() is None:
            worker.stop()
    finally:
        worker.process.kill()
        worker.process.wait()


def training(**hyperparameters: Any) -> dict[str, Any]:
    """Values of a job that fine-tunes for long, unless it is told to be short."""
    method = {"type": "realm", "hyperparameters": {"n_epochs": 100, "patience": 1000} | hyperparameters}
    return {"model": "minilm", "method": method}


def wait_until_finished(job: Job, seconds: float = 30) -> Job:
    row: Job = wait_for(lambda: (row := reload(job)).finished_at and row, seconds)
    return row


def wait_until_training(job: Job) -> None:
    def trains() -> bool:
        row = reload(job)
        assert row.finished_at is None, row.log_tail
        return bool(row.progress.get("phase") == "training")

    wait_for(trains, 120)


def assert_whole(job: Job) -> None:
    """Events have no gaps, and an end has its time and its reason."""
    row, events = reload(job), events_of(job)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert row.last_event == len(events)
    assert (row.status == "running") == (row.lease_until is not None)
    assert (row.error_code is not None) == (row.status in ("failed", "cancelled"))
