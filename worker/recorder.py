"""What a training process tells the database while it works, without ever waiting for it."""

from __future__ import annotations

import threading
import time
from contextvars import copy_context
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.artifacts import get_artifacts
from app.database import attempt_queries
from app.database.attempt_queries import Claim, NewCheckpoint, News, Progress
from app.database.base import new_id
from app.database.job_queries import NewEvent
from app.database.session import transaction
from worker.job_artifacts import checkpoint_prefix, drop_old_checkpoints
from worker.outages import database_is_away
from worker.pace import Pace

log = structlog.get_logger(__name__)

SECONDS_BETWEEN_WRITES = 0.5


class Recorder:
    """An observer of a run (realm_core.run.Observer) whose news a thread writes down, fenced by the claim.

    What the database cannot take now is kept and written when it is back. Once the job is another's, every call
    raises LeaseLost, which ends the run.
    """

    def __init__(self, job_id: str, claim: Claim) -> None:
        self._job_id = job_id
        self._claim = claim
        self._news = News()
        self._lock = threading.Lock()  # over the news, never held while writing
        self._started: tuple[float, float] | None = None  # when, and at which fraction
        self._pace = Pace()
        self._error: Exception | None = None
        self._stop = threading.Event()
        with_ids = copy_context()  # so that the thread's log lines name job and attempt too
        self._writer = threading.Thread(
            target=with_ids.run, args=(self._write_until_stopped,), name="recorder", daemon=True
        )

    def __enter__(self) -> Recorder:
        self._writer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._writer.join()

    def resolved(self, values: dict[str, dict[str, Any]]) -> None:
        self._tell(News(resolved=values))

    def progress(self, phase: str, step: int, total_steps: int, fraction: float) -> None:
        percent = round(100 * min(fraction, 1.0), 1)
        pace = self._pace.at(phase, step)
        self._tell(News(progress=Progress(phase, step, total_steps, percent, self._seconds_left(fraction), pace)))

    def _seconds_left(self, fraction: float) -> float | None:
        """By the pace since the first progress, which after a resume is not at zero."""
        now = time.monotonic()
        if self._started is None:
            self._started = (now, fraction)
        since, start = self._started
        return (now - since) * (1 - fraction) / (fraction - start) if fraction > start else None

    def event(self, message: str, *, level: str = "info", data: dict[str, Any] | None = None) -> None:
        self._tell(News(events=(NewEvent(message, level=level, data=data),)))

    def metrics(self, step: int, values: dict[str, Any]) -> None:
        self._tell(News(events=(NewEvent(f"Step {step}", type="metrics", data={"step": step, **values}),)))

    def checkpoint(self, folder: Path, step: int, metrics: dict[str, Any]) -> None:
        """Store a checkpoint at once, since its folder may change; it counts once its row is written."""
        artifact = checkpoint_prefix(self._job_id, self._claim.attempt, step)
        get_artifacts().put_folder(artifact, folder)
        id_ = new_id("ftckpt_")
        event = NewEvent(f"Checkpoint at step {step}", data={"step": step, "checkpoint": id_})
        self._tell(News(events=(event,), checkpoints=(NewCheckpoint(id_, step, metrics, artifact),)))

    def _tell(self, news: News) -> None:
        with self._lock:
            self._news = self._news.then(news)
        if self._error is not None:
            raise self._error

    def _write_until_stopped(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_WRITES):
            try:
                self._write()
            except Exception as error:
                if isinstance(error, DBAPIError) and database_is_away(error):
                    log.warning("not recorded yet, the database is away", error=str(error.orig))
                    continue
                self._error = error
                return

    def _write(self) -> None:
        with self._lock:
            news, self._news = self._news, News()
        if news == News():
            return
        try:
            with transaction() as session:
                attempt_queries.record(session, self._claim, news)
        except DBAPIError:
            with self._lock:
                self._news = news.then(self._news)
            raise
        if news.checkpoints:
            drop_old_checkpoints(self._claim.job_key)

    def write_rest(self, session: Session) -> None:
        """What is still to be told, in the transaction that ends the job; only once the writer has stopped."""
        attempt_queries.record(session, self._claim, self._news)
