"""Two processes train one job together, on CPUs: the report is that of one, and a cancel ends both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.settings import get_settings
from benchmarks.faults.small_model import save_small_model
from tests.jobs import cancel, messages_of, wait_for
from tests.worker.conftest import Start
from tests.worker.crowds import crowd_rows
from tests.worker.test_resume import report_of
from tests.worker.workers import (
    Worker,
    assert_whole,
    command_of,
    gone,
    running_worker,
    training,
    wait_until_finished,
    wait_until_training,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # each process imports torch


@pytest.fixture(autouse=True)
def _small_model(quick_settings: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    save_small_model(tmp_path / "models" / "small", {word for row in crowd_rows(60) for word in row["prompt"].split()})
    monkeypatch.setenv("REALM_MODELS_DIR", str(tmp_path / "models"))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker that trains each job in two processes."""
    monkeypatch.setenv("REALM_PROCESSES_PER_JOB", "2")
    with running_worker(tmp_path / "two.log") as worker:
        yield worker


def processes_of(worker: Worker) -> list[psutil.Process]:
    """Those that train; what started them is not one of them."""
    children = psutil.Process(worker.process.pid).children(recursive=True)
    return [process for process in children if "worker.training_process" in command_of(process)]


def test_two_train_as_one(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = training(n_epochs=4, batch_size=8, evaluations=4, cross_fit_folds=0) | {"model": "small", "seed": 3}
    with running_worker(tmp_path / "one.log"):
        alone = wait_until_finished(start(**settings), 240)
    monkeypatch.setenv("REALM_PROCESSES_PER_JOB", "2")
    with running_worker(tmp_path / "two.log") as worker:
        job = start(**settings)
        wait_for(lambda: len(processes_of(worker)) == 2, 60)
        together = wait_until_finished(job, 240)
        assert (alone.status, together.status) == ("succeeded", "succeeded"), together.log_tail
        assert together.fine_tuned_model
        for of_one, of_two in zip(report_of(alone), report_of(together), strict=True):
            assert of_two == pytest.approx(of_one, abs=1e-2)
        assert sum(message == "Attempt 1 started" for message in messages_of(job)) == 1
        assert_whole(together)


def test_a_cancel_ends_both(two: Worker, start: Start) -> None:
    job = start(**training(batch_size=8) | {"model": "small"})
    wait_until_training(job)
    team = processes_of(two)
    assert len(team) == 2
    cancel(job)
    assert wait_until_finished(job, 20).status == "cancelled"
    assert all(gone(process) for process in team)


def test_a_killed_helper_is_named_and_the_job_tried_again(two: Worker, start: Start) -> None:
    job = start(**training(batch_size=8, n_epochs=4, cross_fit_folds=0) | {"model": "small"})
    wait_for(lambda: len(processes_of(two)) == 2, 60)
    next(process for process in processes_of(two) if process.environ().get("RANK") == "1").kill()
    ended = wait_until_finished(job, 240)
    assert (ended.status, ended.lost_attempts) == ("succeeded", 1), ended.log_tail
    assert any("Something outside the service killed" in message for message in messages_of(job))
    assert_whole(ended)
