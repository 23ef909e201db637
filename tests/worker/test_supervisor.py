"""One attempt at a job, with real processes of a few lines in the place of training."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from app.artifacts import get_artifacts
from app.database import attempt_queries
from app.database.attempt_queries import Claim
from app.database.session import transaction
from app.database.tables import Job
from app.settings import get_settings
from tests.conftest import ProjectKeys
from tests.jobs import cancel, messages_of, queue_job, reload, wait_for
from tests.worker.workers import gone
from worker import supervisor
from worker.job_artifacts import model_prefix
from worker.work_folders import work_folder

SLEEP = "import time; time.sleep(60)"
# Tells its process id and that of a process it started in the file that it is given, then works for a minute.
WITH_GRANDCHILD = """
import os, pathlib, subprocess, sys, time
grandchild = subprocess.Popen(["sleep", "60"])
part = pathlib.Path(sys.argv[1] + ".part")
part.write_text(f"{os.getpid()} {grandchild.pid}")
part.rename(sys.argv[1])
"""
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"


@pytest.fixture
def job(project: ProjectKeys) -> Job:
    return queue_job(project.id)


@pytest.fixture(autouse=True)
def _quick_settings(services: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REALM_CANCEL_GRACE_SECONDS", "0.5")
    monkeypatch.setenv("REALM_LEASE_SECONDS", "2")
    monkeypatch.setenv("REALM_MAX_ATTEMPTS", "2")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def python(*code: str, arguments: Sequence[str] = ()) -> list[str]:
    """A command like the training process: it is called with the job's id and the attempt at the end."""
    return [sys.executable, "-c", "\n".join(code), *arguments]


class Running:
    """A supervisor at work in a thread."""

    def __init__(self, job: Job, command: Sequence[str], pool: ThreadPoolExecutor) -> None:
        self.draining = threading.Event()
        self._done: Future[None] = pool.submit(
            supervisor.supervise, job.id, "worker-1", draining=self.draining.is_set, command=command
        )

    def wait(self) -> None:
        self._done.result(timeout=15)


Supervise = Callable[[Job, Sequence[str]], Running]


@pytest.fixture
def supervise() -> Iterator[Supervise]:
    with ThreadPoolExecutor(4) as pool:
        yield lambda job, command: Running(job, command, pool)


def processes_in(path: Path) -> list[psutil.Process]:
    wait_for(path.exists)
    return [psutil.Process(int(pid)) for pid in path.read_text().split()]


@pytest.mark.parametrize("manners", ["polite", "deaf"])
def test_cancel_ends_the_whole_process_group(job: Job, supervise: Supervise, tmp_path: Path, manners: str) -> None:
    code = [DEAF] if manners == "deaf" else []
    running = supervise(job, python(*code, WITH_GRANDCHILD, SLEEP, arguments=[str(tmp_path / "pids")]))
    processes = processes_in(tmp_path / "pids")
    assert not any(gone(process) for process in processes)
    cancel(job)
    running.wait()
    wait_for(lambda: all(gone(process) for process in processes), 1)
    row = reload(job)
    assert (row.status, row.error_code) == ("cancelled", "cancelled_by_user")
    assert messages_of(job)[-2:] == ["The user asked to cancel", "Cancelled by the user"]


def test_a_killed_child_is_tried_again_and_then_fails(job: Job, supervise: Supervise) -> None:
    suicide = python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    supervise(job, suicide).wait()
    row = reload(job)
    assert (row.status, row.lost_attempts, row.attempt) == ("queued", 1, 1)
    supervise(job, suicide).wait()
    row = reload(job)
    assert (row.status, row.error_code, row.attempt) == ("failed", "worker_lost", 2)
    assert row.error_message is not None
    assert "outside the service killed the training process" in row.error_message


def test_a_kill_while_the_kernel_counts_one_for_memory_is_out_of_memory(
    job: Job, supervise: Supervise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALM_MAX_ATTEMPTS", "1")
    get_settings.cache_clear()
    counts = iter([3, 4])
    monkeypatch.setattr(supervisor, "oom_kills", lambda: next(counts))
    supervise(job, python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")).wait()
    row = reload(job)
    assert (row.status, row.error_code) == ("failed", "out_of_memory")
    assert row.error_message is not None
    assert "smaller batch_size" in row.error_message


def test_a_crash_is_named_and_its_last_output_kept(job: Job, supervise: Supervise) -> None:
    noisy = python("import sys", "print('x' * 40_000, flush=True)", "print('the last words')", "sys.exit(7)")
    supervise(job, noisy).wait()
    supervise(job, noisy).wait()
    row = reload(job)
    assert (row.status, row.error_code) == ("failed", "internal_error")
    assert row.error_message is not None
    assert "exit code 7" in row.error_message
    assert row.log_tail == "the last words\n"


def test_a_reason_that_the_child_knows_fails_the_job_at_once(job: Job, supervise: Supervise) -> None:
    knowing = python(
        "import sys",
        "from worker.failures import Failure",
        "from worker.work_folders import FAILURE_FILE, work_folder",
        "folder = work_folder(sys.argv[1], int(sys.argv[2]))",
        "Failure('diverged', 'Use a smaller learning_rate.').write(folder / FAILURE_FILE)",
        "sys.exit(1)",
    )
    supervise(job, knowing).wait()
    row = reload(job)
    assert (row.status, row.error_code, row.error_message) == ("failed", "diverged", "Use a smaller learning_rate.")
    assert not work_folder(job.id, 1).exists()


def store_model(job: Job, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights")
    get_artifacts().put_folder(model_prefix(job.id, 1), folder)


def test_success_is_the_child_s_to_record(job: Job, supervise: Supervise, tmp_path: Path) -> None:
    succeeding = python(
        "import sys",
        "from app.database import attempt_queries",
        "from app.database.session import transaction",
        "print('all well')",
        "with transaction() as session:",
        f"    attempt_queries.succeed(session, attempt_queries.Claim({job.key}, int(sys.argv[2])), None)",
    )
    store_model(job, tmp_path)
    supervise(job, succeeding).wait()
    row = reload(job)
    assert (row.status, row.log_tail) == ("succeeded", "all well\n")
    assert get_artifacts().manifest(model_prefix(job.id, 1)) is not None


def test_an_attempt_without_success_leaves_no_model(job: Job, supervise: Supervise, tmp_path: Path) -> None:
    store_model(job, tmp_path)
    supervise(job, python("raise SystemExit(1)")).wait()
    assert get_artifacts().names(model_prefix(job.id, 1)) == []


def test_the_deadline_of_an_attempt(job: Job, supervise: Supervise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALM_JOB_TIMEOUT_SECONDS", "0.9")
    get_settings.cache_clear()
    supervise(job, python(SLEEP)).wait()
    row = reload(job)
    assert (row.status, row.error_code) == ("failed", "timeout")
    assert row.error_message is not None
    assert "time_budget_seconds" in row.error_message


def test_draining_hands_the_job_back(job: Job, supervise: Supervise, tmp_path: Path) -> None:
    running = supervise(job, python(WITH_GRANDCHILD, SLEEP, arguments=[str(tmp_path / "pids")]))
    processes = processes_in(tmp_path / "pids")
    running.draining.set()
    running.wait()
    row = reload(job)
    assert (row.status, row.lost_attempts, row.worker_id) == ("queued", 0, None)
    assert all(gone(process) for process in processes)


def test_a_child_whose_job_is_another_s_is_ended(job: Job, supervise: Supervise, tmp_path: Path) -> None:
    running = supervise(job, python(WITH_GRANDCHILD, SLEEP, arguments=[str(tmp_path / "pids")]))
    processes = processes_in(tmp_path / "pids")
    with transaction() as session:
        attempt_queries.lose_attempt(session, Claim(job.key, 1), 9, "worker_lost", "The worker stopped answering.")
    with transaction() as session:
        attempt_queries.claim_job(session, job.id, "worker-2", 60)
    running.wait()
    assert all(gone(process) for process in processes)
    row = reload(job)
    assert (row.status, row.attempt, row.worker_id) == ("running", 2, "worker-2")


def test_the_lease_is_renewed(job: Job, supervise: Supervise) -> None:
    running = supervise(job, python("import time; time.sleep(3)"))
    time.sleep(2.5)  # longer than a lease
    assert Claim(job.key, 1) not in lost_claims()
    running.wait()


def lost_claims() -> list[Claim]:
    with transaction() as session:
        return [lost.claim for lost in attempt_queries.lost_attempts(session, lease_seconds=0)]


def test_terminated_connections_change_nothing(job: Job, supervise: Supervise) -> None:
    running = supervise(job, python(SLEEP))
    wait_for(lambda: reload(job).status == "running")
    for _ in range(2):
        with transaction() as session:
            ours = "datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
            session.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}"))
        time.sleep(0.7)
    assert Claim(job.key, 1) not in lost_claims()
    running.draining.set()
    running.wait()
    assert (reload(job).status, reload(job).lost_attempts) == ("queued", 0)


def test_leftovers_of_killed_workers_are_swept(job: Job, supervise: Supervise) -> None:
    left = work_folder("ftjob-ended", 3)
    left.mkdir(parents=True)
    supervise(job, python("pass")).wait()
    assert not left.exists()


def test_a_job_that_does_not_wait_is_left_alone(job: Job, supervise: Supervise) -> None:
    cancel(job)
    supervise(job, python("raise SystemExit('never')")).wait()
    assert reload(job).attempt == 0
