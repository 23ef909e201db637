"""What a training process tells reaches the job's row in order, once, and only while the job is its own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.artifacts import get_artifacts
from app.database import attempt_queries
from app.database.attempt_queries import Claim, LeaseLost
from app.database.session import get_engine, transaction
from app.database.tables import Job
from app.settings import get_settings
from tests.conftest import ProjectKeys
from tests.jobs import events_of, messages_of, queue_job, reload, wait_for
from worker.job_artifacts import checkpoint_prefix, fetch_newest_checkpoint
from worker.pace import Pace
from worker.recorder import Recorder


@pytest.fixture
def job(project: ProjectKeys) -> Job:
    return queue_job(project.id)


@pytest.fixture
def claim(job: Job) -> Claim:
    with transaction() as session:
        claim = attempt_queries.claim_job(session, job.id, "worker-1", 60)
    assert claim is not None
    return claim


def test_news_are_written_while_the_run_goes_on(job: Job, claim: Claim) -> None:
    with Recorder(job.id, claim) as recorder:
        recorder.resolved({"batch_size": {"value": 32, "why": "fits"}})
        recorder.progress("training", 0, 10, 0.1)
        recorder.event("a warning", level="warn", data={"n": 1})
        recorder.metrics(3, {"train_loss": 0.5})
        wait_for(lambda: messages_of(job)[-1] == "Step 3")
        row = reload(job)
        assert row.resolved == {"batch_size": {"value": 32, "why": "fits"}}
        pace = {"training": {"seconds": 0.0, "steps": 0}}
        shown = {"phase": "training", "step": 0, "total_steps": 10, "percent": 10.0, "eta_at": None, "pace": pace}
        assert row.progress == shown
        time.sleep(0.1)
        recorder.progress("training", 5, 10, 0.4)
        wait_for(lambda: reload(job).progress["step"] == 5)
        assert time.time() < reload(job).progress["eta_at"] + 1 < time.time() + 10
    warning, metrics = events_of(job)[-2:]
    assert (warning.level, warning.data) == ("warn", {"n": 1})
    assert (metrics.type, metrics.data) == ("metrics", {"step": 3, "train_loss": 0.5})


def test_the_rest_is_written_with_the_end_of_the_job(job: Job, claim: Claim) -> None:
    with Recorder(job.id, claim) as recorder:
        recorder.event("one")
    with transaction() as session:
        recorder.write_rest(session)
        attempt_queries.succeed(session, claim, None)
    assert messages_of(job)[-2:] == ["one", "The job succeeded"]


def test_a_run_whose_job_is_another_s_ends_at_its_next_word(job: Job, claim: Claim) -> None:
    with Recorder(job.id, claim) as recorder:
        with transaction() as session:
            attempt_queries.hand_back(session, claim)
        recorder.event("lost")

        def refused() -> bool:
            try:
                recorder.progress("training", 1, 2, 0.5)
            except LeaseLost:
                return True
            return False

        wait_for(refused)
    assert "lost" not in messages_of(job)


def test_a_database_that_is_away_gets_everything_later(job: Job, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    def point_at(url: str) -> None:
        monkeypatch.setenv("REALM_DATABASE_URL", url)
        get_settings.cache_clear()
        get_engine.cache_clear()

    here = get_settings().database_url
    assert here is not None
    with Recorder(job.id, claim) as recorder:
        recorder.event("before")
        wait_for(lambda: messages_of(job)[-1] == "before")
        get_engine().dispose()
        point_at("postgresql+psycopg://nobody@127.0.0.1:1/nowhere")
        for number in range(3):
            recorder.event(f"away {number}")
            recorder.progress("training", number, 3, number / 3)
            time.sleep(0.6)
        point_at(here)
        recorder.event("back")
        wait_for(lambda: messages_of(job)[-1] == "back")
    assert messages_of(job)[-5:] == ["before", "away 0", "away 1", "away 2", "back"]
    assert reload(job).progress["step"] == 2


def test_the_newest_checkpoints_are_kept_and_a_damaged_one_is_passed_over(
    job: Job, claim: Claim, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    with Recorder(job.id, claim) as recorder:
        for step in (10, 20, 30):
            (folder / "state.safetensors").write_text(f"state at {step}")
            recorder.checkpoint(folder, step, {"train_loss": 1 / step})
        wait_for(lambda: get_artifacts().manifest(checkpoint_prefix(job.id, 1, 10)) is None)
    assert messages_of(job)[-1] == "Checkpoint at step 30"
    with transaction() as session:
        assert [row.step for row in attempt_queries.stored_checkpoints(session, job.key)] == [30, 20]

    found = fetch_newest_checkpoint(job.key, tmp_path / "resume")
    assert found is not None
    assert (found[0].step, (found[1] / "state.safetensors").read_text()) == (30, "state at 30")

    path = get_settings().data_dir / "artifacts" / checkpoint_prefix(job.id, 1, 30) / "state.safetensors"
    path.write_text("state a")
    found = fetch_newest_checkpoint(job.key, tmp_path / "resume")
    assert found is not None
    assert (found[0].step, (found[1] / "state.safetensors").read_text()) == (20, "state at 20")


def test_the_pace_is_that_of_this_attempt() -> None:
    clock = iter([10.0, 12.0, 13.5, 15.0])
    pace = Pace(lambda: next(clock))
    assert pace.at("reading", 0) == {"reading": {"seconds": 0.0, "steps": 0}}
    pace.at("training", 40)  # an earlier attempt made the first forty
    assert pace.at("training", 43)["training"] == {"seconds": 1.5, "steps": 3}
    assert pace.at("saving", 0) == {
        "reading": {"seconds": 2.0, "steps": 0},
        "training": {"seconds": 3.0, "steps": 3},
        "saving": {"seconds": 0.0, "steps": 0},
    }
