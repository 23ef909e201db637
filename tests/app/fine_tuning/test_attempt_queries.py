"""The life of a job: transitions, fences and event numbers, against Postgres."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from app.database import attempt_queries, job_queries
from app.database.attempt_queries import Claim, LeaseLost, NewCheckpoint, News, Progress
from app.database.job_queries import NewEvent
from app.database.session import transaction
from app.database.tables import Job
from tests.conftest import ProjectKeys
from tests.jobs import cancel, events_of, expire_lease, finish_all_jobs, messages_of, queue_job, reload

LEASE = 30.0
NO_GRACE = 0.0


@pytest.fixture
def job(project: ProjectKeys) -> Job:
    return queue_job(project.id)


def take(job: Job, worker: str = "worker-1") -> Claim:
    with transaction() as session:
        claim = attempt_queries.claim_job(session, job.id, worker, LEASE)
    assert claim is not None
    return claim


def test_a_claim_starts_the_first_attempt(job: Job) -> None:
    claim = take(job)
    row = reload(job)
    assert (row.status, row.attempt, row.worker_id) == ("running", 1, "worker-1")
    assert row.lease_until is not None
    assert row.started_at is not None
    assert claim == Claim(job.key, 1)
    assert messages_of(job) == ["The job is queued", "Attempt 1 started"]


def test_of_many_claims_at_once_one_wins(job: Job) -> None:
    start = threading.Barrier(8)

    def claim(number: int) -> Claim | None:
        with transaction() as session:
            session.execute(text("SELECT 1"))
            start.wait()
            return attempt_queries.claim_job(session, job.id, f"worker-{number}", LEASE)

    with ThreadPoolExecutor(8) as pool:
        claims = [claim for claim in pool.map(claim, range(8)) if claim is not None]
    assert claims == [Claim(job.key, 1)]
    assert messages_of(job).count("Attempt 1 started") == 1


def test_a_finished_or_cancelled_job_is_not_claimed(job: Job, project: ProjectKeys) -> None:
    cancel(job)
    with transaction() as session:
        assert attempt_queries.claim_job(session, job.id, "worker-1", LEASE) is None
    row = reload(job)
    assert (row.status, row.error_code) == ("cancelled", "cancelled_by_user")
    assert row.finished_at is not None


WRITES: dict[str, Callable[..., object]] = {
    "heartbeat": lambda session, claim: attempt_queries.heartbeat(session, claim, LEASE),
    "record": lambda session, claim: attempt_queries.record(
        session, claim, News((NewEvent("x"),), (NewCheckpoint("c", 1, {}, "a"),), Progress("training", 1, 2, 50, 1.0))
    ),
    "succeed": lambda session, claim: attempt_queries.succeed(session, claim, None),
    "fail": lambda session, claim: attempt_queries.fail(session, claim, "internal_error", "broken"),
    "finish_cancelled": lambda session, claim: attempt_queries.finish_cancelled(session, claim),
    "hand_back": lambda session, claim: attempt_queries.hand_back(session, claim),
    "lose_attempt": lambda session, claim: attempt_queries.lose_attempt(session, claim, 3, "worker_lost", "gone"),
}


@pytest.mark.parametrize("write", WRITES)
def test_an_old_attempt_can_write_nothing(job: Job, write: str) -> None:
    old = take(job)
    with transaction() as session:
        attempt_queries.hand_back(session, old)
    take(job, "worker-2")
    before, events = vars(reload(job)), messages_of(job)
    with pytest.raises(LeaseLost), transaction() as session:
        WRITES[write](session, old)
    after = vars(reload(job))
    assert {k: v for k, v in after.items() if k[0] != "_"} == {k: v for k, v in before.items() if k[0] != "_"}
    assert messages_of(job) == events


def test_the_log_of_an_old_attempt_does_not_replace_that_of_a_newer(job: Job) -> None:
    old = take(job)
    with transaction() as session:
        attempt_queries.hand_back(session, old)
    with transaction() as session:
        attempt_queries.keep_log_tail(session, take(job), "new\x00")
        attempt_queries.keep_log_tail(session, old, "old")
    assert reload(job).log_tail == "new"


def test_handing_back_does_not_count_as_lost(job: Job) -> None:
    for attempt in range(1, 6):
        claim = take(job)
        assert claim.attempt == attempt
        with transaction() as session:
            attempt_queries.hand_back(session, claim)
    row = reload(job)
    assert (row.status, row.attempt, row.lost_attempts, row.lease_until) == ("queued", 5, 0, None)


def test_lost_attempts_end_in_failure_with_a_reason(job: Job) -> None:
    for left in (True, True, False):
        with transaction() as session:
            claim = take(job)
            again = attempt_queries.lose_attempt(session, claim, 3, "worker_lost", "The worker stopped answering.")
        assert again is left
    row = reload(job)
    assert (row.status, row.error_code, row.lost_attempts) == ("failed", "worker_lost", 3)
    assert row.error_message == "The worker stopped answering. This was attempt 3 of 3; none is left."
    assert row.finished_at is not None
    assert messages_of(job).count("The worker stopped answering. The job is queued again.") == 2


def test_events_are_numbered_without_gaps_by_many_writers(job: Job) -> None:
    claim = take(job)
    start = threading.Barrier(6)

    def write(number: int) -> None:
        start.wait()
        for i in range(10):
            news = News((NewEvent(f"{number} {i}a"), NewEvent(f"{number} {i}b")))
            with transaction() as session:
                attempt_queries.record(session, claim, news)
            with transaction() as session:
                attempt_queries.record(session, claim, news)
                session.rollback()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    events = events_of(job)
    assert [event.number for event in events] == list(range(1, 123))
    assert len({event.message for event in events}) == 122
    by_writer = [event.message for event in events if event.message.startswith("3 ")]
    assert by_writer == [f"3 {i}{part}" for i in range(10) for part in "ab"]


def test_progress_says_when_it_ends_by_the_clock_of_the_database(job: Job) -> None:
    claim = take(job)
    with transaction() as session:
        attempt_queries.record(session, claim, News(progress=Progress("training", 10, 40, 25.0, 90.0)))
        now = session.execute(text("SELECT extract(epoch FROM now())::int")).scalar_one()
    progress = reload(job).progress
    assert progress.pop("eta_at") == pytest.approx(now + 90, abs=1)
    assert progress == {"phase": "training", "step": 10, "total_steps": 40, "percent": 25.0, "pace": {}}
    with transaction() as session:
        attempt_queries.record(session, claim, News(progress=Progress("reading", 0, 1, 0.0, None)))
    assert reload(job).progress["eta_at"] is None


def test_success_completes_the_progress(job: Job) -> None:
    claim = take(job)
    with transaction() as session:
        attempt_queries.record(session, claim, News(progress=Progress("saving", 1, 1, 97.0, 3.0)))
        attempt_queries.succeed(session, claim, "ft:minilm:p:model:1")
    row = reload(job)
    assert (row.status, row.fine_tuned_model, row.lease_until) == ("succeeded", "ft:minilm:p:model:1", None)
    assert (row.progress["percent"], row.progress["eta_at"]) == (100.0, None)
    assert messages_of(job)[-1] == "The job succeeded"


@pytest.mark.parametrize("cancel_first", [True, False])
def test_of_cancel_and_success_the_first_wins(job: Job, project: ProjectKeys, cancel_first: bool) -> None:
    claim = take(job)
    if cancel_first:
        cancel(job)
        with transaction() as session:
            assert attempt_queries.heartbeat(session, claim, LEASE)
        with pytest.raises(LeaseLost), transaction() as session:
            attempt_queries.succeed(session, claim, None)
        with transaction() as session:
            attempt_queries.finish_cancelled(session, claim)
        assert reload(job).status == "cancelled"
    else:
        with transaction() as session:
            attempt_queries.succeed(session, claim, None)
        cancel_of_finished = reload(job)
        assert cancel_of_finished.finished_at is not None


def test_asking_twice_to_cancel_tells_once(job: Job, project: ProjectKeys) -> None:
    take(job)
    cancel(job)
    cancel(job)
    assert messages_of(job).count("The user asked to cancel") == 1
    assert reload(job).status == "running"


def lost_keys() -> list[Claim]:
    with transaction() as session:
        return [lost.claim for lost in attempt_queries.lost_attempts(session, NO_GRACE)]


def test_only_an_expired_lease_is_lost(job: Job) -> None:
    claim = take(job)
    assert claim not in lost_keys()
    expire_lease(job)
    assert claim in lost_keys()
    with transaction() as session:
        attempt_queries.heartbeat(session, claim, LEASE)
    assert claim not in lost_keys()


def test_no_lease_is_lost_while_the_database_has_just_come_back(job: Job) -> None:
    claim = take(job)
    expire_lease(job)
    with transaction() as session:
        assert attempt_queries.lost_attempts(session, lease_seconds=3600.0) == []
    assert claim in lost_keys()


def test_what_one_reconciler_holds_another_passes_over(job: Job) -> None:
    claim = take(job)
    expire_lease(job)
    with transaction() as first:
        assert claim in [lost.claim for lost in attempt_queries.lost_attempts(first, NO_GRACE)]
        assert claim not in lost_keys()


def test_queued_jobs_are_rung_for_once_in_a_while_oldest_first(project: ProjectKeys) -> None:
    finish_all_jobs()
    first, second, third = (queue_job(project.id) for _ in range(3))
    with transaction() as session:
        assert attempt_queries.jobs_to_ring(session, 0) == [first.id, second.id, third.id]
    with transaction() as session:
        assert attempt_queries.jobs_to_ring(session, 0) == []
        session.execute(
            text("UPDATE jobs SET notified_at = notified_at - interval '1 h' WHERE key = :key"), {"key": second.key}
        )
    claim = take(third)
    with transaction() as session:
        attempt_queries.hand_back(session, claim)
    with transaction() as session:
        assert attempt_queries.jobs_to_ring(session, 0) == [second.id, third.id]


def test_the_position_in_the_queue_counts_all_projects(project: ProjectKeys, other_project: ProjectKeys) -> None:
    finish_all_jobs()
    theirs, ours = queue_job(other_project.id), queue_job(project.id)
    running = queue_job(project.id)
    take(running)
    with transaction() as session:
        assert job_queries.queue_positions(session, [ours, reload(running)]) == {ours.key: 2}
    take(theirs)
    with transaction() as session:
        assert job_queries.queue_positions(session, [ours]) == {ours.key: 1}


def test_checkpoints_are_listed_newest_first_until_their_files_go(job: Job) -> None:
    claim = take(job)
    checkpoints = tuple(NewCheckpoint(f"{job.id}-{step}", step, {"loss": step / 10}, f"at/{step}") for step in (5, 10))
    with transaction() as session:
        attempt_queries.record(session, claim, News(checkpoints=checkpoints))
    with transaction() as session:
        assert [row.step for row in attempt_queries.stored_checkpoints(session, job.key)] == [10, 5]
        assert job.key not in {row.job_key for row in attempt_queries.checkpoints_of_finished_jobs(session, 1000)}
        attempt_queries.mark_files_gone(session, [f"{job.id}-10"])
    with transaction() as session:
        assert [row.step for row in attempt_queries.stored_checkpoints(session, job.key)] == [5]
        attempt_queries.succeed(session, claim, None)
    with transaction() as session:
        assert f"{job.id}-5" in {row.id for row in attempt_queries.checkpoints_of_finished_jobs(session, 1000)}
