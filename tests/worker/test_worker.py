"""The Celery worker and its training processes, as they are in production."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from app.artifacts import get_artifacts
from app.database import model_queries
from app.database.session import transaction
from app.database.tables import AnnotatorReport, ItemReport
from app.queue import get_redis, ring
from tests.conftest import ProjectKeys, Services
from tests.jobs import cancel, events_of, messages_of, queue_job, reload, wait_for
from tests.worker.conftest import Start
from tests.worker.crowds import ACCURACY
from tests.worker.workers import (
    Worker,
    assert_whole,
    gone,
    running_worker,
    training,
    wait_until_finished,
    wait_until_training,
)

pytestmark = pytest.mark.usefixtures("quick_settings")


@pytest.fixture(scope="module")
def worker(quick_settings: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One for all tests here."""
    with running_worker(tmp_path_factory.mktemp("worker") / "log") as worker:
        yield worker


def test_a_job_without_a_model(worker: Worker, start: Start) -> None:
    job = wait_until_finished(start())
    assert job.status == "succeeded", job.log_tail
    assert (job.attempt, job.fine_tuned_model, job.progress["percent"]) == (1, None, 100.0)
    assert job.summary is not None
    assert job.summary["n_items"] == 60
    with transaction() as session:
        accuracies = dict(
            session.execute(
                select(AnnotatorReport.annotator, AnnotatorReport.accuracy)
                .where(AnnotatorReport.job_key == job.key, AnnotatorReport.task == -1)
                .order_by(AnnotatorReport.annotator)
            ).all()
        )
        items = session.execute(select(ItemReport.item).where(ItemReport.job_key == job.key)).scalars().all()
    ada, _, eve = accuracies.values()
    assert len(accuracies) == len(ACCURACY)
    assert ada is not None
    assert eve is not None
    assert ada > eve + 0.2
    assert sorted(items) == list(range(60))
    assert_whole(job)


@pytest.mark.slow  # the end-to-end tests do it too
def test_a_job_with_a_model(worker: Worker, start: Start) -> None:
    job = wait_until_finished(start(**training(n_epochs=1, cross_fit_folds=0)), 60)
    assert job.status == "succeeded", job.log_tail
    assert job.fine_tuned_model is not None
    with transaction() as session:
        row = model_queries.find_model(session, job.project_id, job.fine_tuned_model)
    assert row is not None
    model = row[0]
    assert get_artifacts().manifest(model.artifact) == model.manifest
    assert "model.safetensors" in model.manifest
    assert model.tasks == [{"name": "default", "answers": ["no", "yes"]}]
    assert job.resolved is not None
    assert job.resolved["batch_size"]["why"]
    assert any(event.type == "metrics" for event in events_of(job))
    assert_whole(job)

    child = wait_until_finished(start(**training(n_epochs=1, cross_fit_folds=2) | {"model": model.id}), 60)
    assert child.status == "succeeded", child.log_tail
    with transaction() as session:
        query = select(AnnotatorReport.accuracy_method).where(AnnotatorReport.job_key == child.key)
        assert set(session.execute(query).scalars()) == {"cross_fitted"}  # by minilm, not by the parent
    assert not any("in_sample" in message for message in messages_of(child))


def test_cancelling_frees_the_machine(worker: Worker, start: Start) -> None:
    job = start(**training())
    wait_until_training(job)
    process = worker.training_of(job)
    assert process is not None
    asked = time.monotonic()
    cancel(job)
    row = wait_until_finished(job, 10)
    assert (row.status, row.error_code) == ("cancelled", "cancelled_by_user")
    assert gone(process)
    assert time.monotonic() - asked < 10
    assert_whole(job)


def test_a_killed_training_process_is_started_again(worker: Worker, start: Start) -> None:
    job = start()
    wait_for(lambda: worker.training_of(job)).kill()
    row = wait_until_finished(job)
    assert (row.status, row.attempt, row.lost_attempts) == ("succeeded", 2, 1)
    assert "Something outside the service killed the training process. The job is queued again." in messages_of(job)
    assert_whole(job)


def test_a_job_that_always_dies_fails_and_others_go_on(worker: Worker, start: Start) -> None:
    poison, healthy = start(), start()
    for attempt in (1, 2, 3):
        wait_for(lambda attempt=attempt: reload(poison).attempt == attempt)
        wait_for(lambda: worker.training_of(poison)).kill()
        wait_for(lambda attempt=attempt: reload(poison).lost_attempts == attempt)
    row = reload(poison)
    assert (row.status, row.error_code) == ("failed", "worker_lost")
    assert wait_until_finished(healthy).status == "succeeded"
    assert_whole(poison)


def test_a_message_that_comes_three_times_to_two_workers_runs_the_job_once(
    worker: Worker, start: Start, tmp_path: Path
) -> None:
    with running_worker(tmp_path / "log"):
        job = start()
        ring(job.id)
        ring(job.id)
        wait_until_finished(job)
        wait_for(lambda: get_redis().llen("realm") == 0)
        ring(job.id)
        wait_for(lambda: get_redis().llen("realm") == 0)
    row = reload(job)
    assert (row.status, row.attempt) == ("succeeded", 1)
    assert messages_of(job).count("Attempt 1 started") == 1
    assert_whole(job)


def test_a_bad_dataset_fails_with_a_reason(worker: Worker, project: ProjectKeys) -> None:
    job = queue_job(project.id)  # as when its dataset was deleted
    ring(job.id)
    row = wait_until_finished(job)
    assert (row.status, row.error_code) == ("failed", "invalid_training_file")
    assert row.error_message == "The dataset was deleted before the job could read it."
    assert row.log_tail is not None
    assert "Traceback" in row.log_tail


def test_torch_is_not_imported_where_nothing_trains(services: Services) -> None:
    code = "import sys, worker.celery_app, worker.reconcile; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0
