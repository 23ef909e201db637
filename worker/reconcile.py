"""`python -m worker.reconcile`: bring back the jobs that a lost worker or a flushed Redis left behind; send webhooks.

Safe to run several at once: each row is locked by the one that deals with it.
"""

from __future__ import annotations

import signal
import threading

import structlog
from sqlalchemy.exc import DBAPIError

from app.database import attempt_queries
from app.database.session import transaction
from app.observability import configure_logging
from app.queue import ring, unread_messages
from app.settings import Settings, get_settings
from worker import failures
from worker.deliveries import deliver_until
from worker.job_artifacts import drop_checkpoints_of_finished_jobs, drop_leavings
from worker.outages import database_is_away

log = structlog.get_logger(__name__)

PASSES_PER_LEASE = 6


def reconcile(settings: Settings) -> None:
    """One pass: end or requeue what lost its lease, ring for what nobody was told of, let go of old files."""
    for lost in _settle_lost_attempts(settings):
        drop_leavings(lost.job_id, lost.claim)
    with transaction() as session:
        waiting = attempt_queries.jobs_to_ring(session, unread_messages())
        if not all(ring(job_id) for job_id in waiting):
            session.rollback()  # the next pass tries again
    drop_checkpoints_of_finished_jobs()


def _settle_lost_attempts(settings: Settings) -> list[attempt_queries.LostAttempt]:
    failure = failures.worker_lost()
    with transaction() as session:
        lost_attempts = attempt_queries.lost_attempts(session, settings.lease_seconds)
        for lost in lost_attempts:
            log.warning("lease lost", job=lost.job_id, attempt=lost.claim.attempt)
            attempt_queries.lose_attempt(session, lost.claim, settings.max_attempts, failure.code, failure.message)
    return lost_attempts


def main() -> None:
    """Reconcile several times per lease until told to stop."""
    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settings = get_settings()
    threading.Thread(target=deliver_until, args=(stop, settings), name="deliveries", daemon=True).start()
    while not stop.is_set():
        stop.wait(_pass_and_pause(settings))


def _pass_and_pause(settings: Settings) -> float:
    """One pass, whatever it meets; seconds until the next."""
    try:
        reconcile(settings)
    except DBAPIError as error:
        if not database_is_away(error):
            log.exception("a pass failed")
        # Workers could not renew their leases either: give them a full lease to do so before judging them.
        log.warning("the database is away", error=str(error.orig))
        return settings.lease_seconds
    except Exception:
        log.exception("a pass failed")
    return settings.lease_seconds / PASSES_PER_LEASE


if __name__ == "__main__":
    main()
