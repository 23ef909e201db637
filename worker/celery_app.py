"""The Celery worker: hears the doorbell, supervises jobs, says that it lives.

The main process listens and announces; each process of its pool supervises one job at a time (supervisor.py), whose
training is a process of its own. None of them imports torch or touches a GPU.
"""

from __future__ import annotations

import mmap
import os
import socket
import threading
from typing import Any

import redis
import structlog
from billiard import current_process
from celery.signals import setup_logging, worker_ready, worker_shutdown, worker_shutting_down

from app.observability import configure_logging
from app.queue import RUN_JOB, announce_worker, get_celery, withdraw_worker
from app.settings import get_settings
from worker.gpus import slots_of, visible_gpus
from worker.supervisor import supervise

log = structlog.get_logger(__name__)

ANNOUNCE_SECONDS = 5.0
WORKER_ID = f"{socket.gethostname()}-{os.getpid()}"  # of the main process, where this module is imported first

_draining = mmap.mmap(-1, 1)  # a byte that the main process and its pool share
_gone = threading.Event()


def _slots() -> tuple[str, ...]:
    """The GPUs of each slot; none on a machine without."""
    return slots_of(visible_gpus(), get_settings().processes_per_job)


celery_app = get_celery()
celery_app.conf.update(
    worker_concurrency=len(_slots()) or get_settings().worker_slots,
    # Messages stay in Redis, where other workers can take them, until a slot is free.
    worker_disable_prefetch=True,
    worker_enable_prefetch_count_reduction=False,
    worker_redirect_stdouts=False,
)


@celery_app.task(name=RUN_JOB)  # type: ignore[untyped-decorator]
def run_job(job_id: str) -> None:
    """Run a job, if it still waits; safe to be called twice, at once or late."""
    if _is_draining():
        return
    slot = current_process().index
    gpus = _slots()
    supervise(job_id, f"{WORKER_ID}/{slot}", gpu=gpus[slot] if gpus else None, draining=_is_draining)


def _is_draining() -> bool:
    return _draining[0] != 0


@setup_logging.connect  # type: ignore[untyped-decorator]
def _log_as_the_rest_of_the_service(**_: Any) -> None:
    configure_logging()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _start_announcing(**_: Any) -> None:
    threading.Thread(target=_announce, name="announce", daemon=True).start()


def _announce() -> None:
    while not _gone.is_set():
        facts = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slots": celery_app.conf.worker_concurrency,
            "gpus": visible_gpus(),
            "draining": _is_draining(),
        }
        try:
            announce_worker(WORKER_ID, facts, seconds=int(3 * ANNOUNCE_SECONDS))
        except redis.RedisError as error:
            log.warning("cannot announce this worker", error=str(error))
        _gone.wait(ANNOUNCE_SECONDS)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _drain(**_: Any) -> None:
    _draining[0] = 1


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _withdraw(**_: Any) -> None:
    _gone.set()
    try:
        withdraw_worker(WORKER_ID)
    except redis.RedisError as error:
        log.warning("cannot withdraw this worker", error=str(error))
