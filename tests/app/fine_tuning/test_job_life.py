"""The life of a job under any order of calls by its user, its workers (also late ones) and the reconciler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.orm import Session

from app.database import attempt_queries
from app.database.attempt_queries import Claim, LeaseLost, News
from app.database.job_queries import NewEvent
from app.database.session import transaction
from app.database.tables import Job
from app.errors import Conflict
from tests.conftest import ProjectKeys, make_project
from tests.jobs import cancel, events_of, expire_lease, queue_job, reload

MAX_ATTEMPTS = 3
ENDS = ("succeeded", "failed", "cancelled")


@dataclass
class Expected:
    """What the job must be."""

    status: str = "queued"
    attempt: int = 0
    lost: int = 0
    cancelling: bool = False
    events: int = 1
    claims: list[Claim] = field(default_factory=list)

    @property
    def owner(self) -> Claim | None:
        return self.claims[-1] if self.status == "running" else None


class JobLife(RuleBasedStateMachine):
    project: ProjectKeys

    @initialize()
    def create(self) -> None:
        self.job: Job = queue_job(self.project.id)
        self.expected = Expected()

    @rule()
    def claim(self) -> None:
        with transaction() as session:
            claim = attempt_queries.claim_job(session, self.job.id, "worker", 60)
        assert (claim is not None) == (self.expected.status == "queued")
        if claim is not None:
            self.expected.status, self.expected.attempt = "running", self.expected.attempt + 1
            self.expected.events += 1
            self.expected.claims.append(claim)
            assert claim.attempt == self.expected.attempt

    def write(self, which: int, action: Callable[[Session, Claim], object], allowed: bool = True) -> bool:
        """A write of one of the attempts there were; whether it may be done, and was."""
        claim = self.expected.claims[which % len(self.expected.claims)]
        try:
            with transaction() as session:
                action(session, claim)
        except LeaseLost:
            assert claim != self.expected.owner or not allowed
            return False
        assert claim == self.expected.owner
        assert allowed
        return True

    @precondition(lambda self: self.expected.claims)
    @rule(which=st.integers(0, 9), n_events=st.integers(0, 3))
    def tell(self, which: int, n_events: int) -> None:
        news = News(events=(NewEvent("news"),) * n_events)
        if self.write(which, lambda session, claim: attempt_queries.record(session, claim, news)):
            self.expected.events += n_events

    @precondition(lambda self: self.expected.claims)
    @rule(which=st.integers(0, 9))
    def succeed(self, which: int) -> None:
        done = self.write(
            which,
            lambda session, claim: attempt_queries.succeed(session, claim, None),
            allowed=not self.expected.cancelling,
        )
        if done:
            self.becomes("succeeded")

    @precondition(lambda self: self.expected.claims)
    @rule(which=st.integers(0, 9))
    def fail(self, which: int) -> None:
        if self.write(which, lambda session, claim: attempt_queries.fail(session, claim, "diverged", "It diverged.")):
            self.becomes("failed")

    @precondition(lambda self: self.expected.claims)
    @rule(which=st.integers(0, 9))
    def hand_back(self, which: int) -> None:
        if self.write(which, attempt_queries.hand_back):
            self.becomes("cancelled" if self.expected.cancelling else "queued")

    @precondition(lambda self: self.expected.status == "running")
    @rule()
    def lose_worker(self) -> None:
        """The lease runs out and the reconciler comes by."""
        expire_lease(self.job)
        with transaction() as session:
            (lost,) = [lost for lost in attempt_queries.lost_attempts(session, 0) if lost.job_id == self.job.id]
            again = attempt_queries.lose_attempt(session, lost.claim, MAX_ATTEMPTS, "worker_lost", "Lost.")
        if self.expected.cancelling:
            assert not again
            self.becomes("cancelled")
            return
        self.expected.lost += 1
        assert again == (self.expected.lost < MAX_ATTEMPTS)
        self.becomes("queued" if again else "failed")

    @rule()
    def ask_to_cancel(self) -> None:
        if self.expected.status in ENDS:
            with pytest.raises(Conflict):
                cancel(self.job)
            return
        cancel(self.job)
        if self.expected.cancelling:
            return
        self.expected.cancelling = True
        self.becomes("cancelled" if self.expected.status == "queued" else "running")

    @precondition(lambda self: self.expected.status == "running" and self.expected.cancelling)
    @rule()
    def obey(self) -> None:
        """The worker sees the request with its heartbeat."""
        claim = self.expected.claims[-1]
        with transaction() as session:
            assert attempt_queries.heartbeat(session, claim, 60)
            attempt_queries.finish_cancelled(session, claim)
        self.becomes("cancelled")

    def becomes(self, status: str) -> None:
        """A change that one event tells of."""
        self.expected.status = status
        self.expected.events += 1

    @invariant()
    def is_as_expected(self) -> None:
        if not hasattr(self, "job"):
            return
        row, events = reload(self.job), events_of(self.job)
        expected = self.expected
        assert (row.status, row.attempt, row.lost_attempts) == (expected.status, expected.attempt, expected.lost)
        assert [event.number for event in events] == list(range(1, expected.events + 1))
        assert row.last_event == expected.events
        assert (row.lease_until is not None) == (row.status == "running")
        assert (row.finished_at is not None) == (row.status in ENDS)
        assert (row.error_code is not None) == (row.status in ("failed", "cancelled"))


@pytest.fixture
def project_of_all_examples(services: object) -> None:
    JobLife.project = make_project()


def test_every_order_of_calls(project_of_all_examples: None) -> None:
    run_state_machine_as_test(JobLife, settings=settings(max_examples=15, stateful_step_count=25))
