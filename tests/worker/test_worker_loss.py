"""A worker is killed, and another is told to stop: their jobs go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.queue import live_workers
from app.settings import get_settings
from tests.jobs import messages_of, reload, wait_for
from tests.worker.conftest import Start
from tests.worker.workers import assert_whole, gone, running_worker, training, wait_until_finished
from worker.reconcile import reconcile

pytestmark = pytest.mark.usefixtures("quick_settings")


def test_the_jobs_of_lost_and_leaving_workers_go_on_with_others(start: Start, tmp_path: Path) -> None:
    with running_worker(tmp_path / "lost.log") as lost:
        job = start()
        process = wait_for(lambda: lost.training_of(job))
        lost.process.kill()
        lost.process.wait()
        wait_for(lambda: gone(process), 5)  # it does not outlive its worker
        assert reload(job).status == "running"

    with running_worker(tmp_path / "leaving.log") as leaving:
        wait_for(lambda: reconcile(get_settings()) or reload(job).lost_attempts == 1, 10)
        row = wait_until_finished(job)
        assert (row.status, row.attempt, row.lost_attempts) == ("succeeded", 2, 1)
        assert_whole(job)

        long = start(**training())
        process = wait_for(lambda: leaving.training_of(long))
        leaving.stop()
        assert gone(process)
    row = reload(long)
    assert (row.status, row.attempt, row.lost_attempts, row.worker_id) == ("queued", 1, 0, None)
    assert messages_of(long)[-1] == "The worker shuts down; the job goes on with another"
    assert all(facts["pid"] != leaving.process.pid for facts in live_workers().values())
    assert_whole(long)
