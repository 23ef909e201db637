"""Faults of the API, Redis and Postgres, and of the messages between them."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx

from app.queue import get_redis, ring
from benchmarks.faults.processes import SUCCEEDED, until_another_attempt
from benchmarks.faults.stage import Stage, Trial, crowd, wait_for

MANY = 100
_UPLOAD_ITEMS = 30_000
_PIECES = 40


def api_killed_in_upload(stage: Stage) -> Trial:
    """kill -9 of the API at a random byte of an upload: the data set is whole or absent, never between."""
    name = f"upload-{time.monotonic_ns()}"
    lines = [json.dumps(row) for row in crowd(_UPLOAD_ITEMS)]
    killed_at: list[float] = []
    step, fatal = len(lines) // _PIECES, stage.random.randrange(_PIECES + 4)  # the last while rows are being stored

    def kill() -> None:
        killed_at.append(time.monotonic())
        stage.kill("api")

    def pieces() -> Iterator[bytes]:
        for number in range(_PIECES):
            if number == fatal:
                threading.Thread(target=kill).start()
            yield ("\n".join(lines[number * step : (number + 1) * step]) + "\n").encode()
            time.sleep(0.01)
        if fatal >= _PIECES:
            threading.Timer(0.2 * (fatal - _PIECES), kill).start()

    accepted = _post(stage, f"/v1/datasets?name={name}", content=pieces(), kind="application/x-ndjson")
    wait_for(lambda: killed_at)
    recovery = _until_ready(stage, killed_at[0])
    found = stage.sql("SELECT id FROM datasets WHERE name = :name", name=name)
    return Trial(recovery, lost=int(accepted and not found), doubled=max(0, len(found) - 1))


def api_killed_in_post(stage: Stage) -> Trial:
    """kill -9 of the API while it makes a job, asked again with the same Idempotency-Key: there is one, and it runs."""
    began = time.monotonic()
    undisturbed = stage.start()
    usual = time.monotonic() - began
    before = {job for (job,) in stage.sql("SELECT id FROM jobs")}
    body = json.dumps({"dataset": stage.dataset, "method": {"type": "aggregation"}}).encode()
    headers = {"Idempotency-Key": f"once-{time.monotonic_ns()}"}
    killed_at: list[float] = []

    def kill() -> None:
        killed_at.append(time.monotonic())
        stage.kill("api")

    threading.Timer(stage.random.uniform(0, 1.5 * usual), kill).start()
    accepted = _post(stage, "/v1/fine_tuning/jobs", content=body, kind="application/json", headers=headers)
    wait_for(lambda: killed_at)
    recovery = _until_ready(stage, killed_at[0])
    made = _new_jobs(stage, before)
    _post(stage, "/v1/fine_tuning/jobs", content=body, kind="application/json", headers=headers)
    made_at_last = _new_jobs(stage, before)
    lost = int(accepted and not made) + int(not made_at_last)
    doubled = max(0, len(made_at_last) - 1)
    return Trial(recovery, dict.fromkeys([undisturbed, *made_at_last], SUCCEEDED), lost=lost, doubled=doubled)


def _new_jobs(stage: Stage, before: set[object]) -> list[str]:
    return [str(job) for (job,) in stage.sql("SELECT id FROM jobs") if job not in before]


def _post(
    stage: Stage, path: str, *, content: bytes | Iterator[bytes], kind: str, headers: Mapping[str, str] | None = None
) -> bool:
    """Whether the service said that it accepted."""
    headers = {"Authorization": f"Bearer {stage.api_key}", "Content-Type": kind, **(headers or {})}
    try:
        return httpx.post(stage.url + path, content=content, headers=headers, timeout=60, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _until_ready(stage: Stage, since: float) -> float:
    wait_for(stage.is_ready)
    return time.monotonic() - since


def _with_jobs(stage: Stage, fault: Callable[[], object]) -> Trial:
    """A fault while one job trains and others wait; over when the service is ready and the worker renews leases."""
    training = stage.under_way()
    jobs = [training, stage.start(), stage.start()]
    began = time.monotonic()
    fault()
    wait_for(stage.is_ready)
    lease = _lease_of(stage, training)
    wait_for(lambda: _lease_of(stage, training) != lease or stage.has_ended(training))
    recovery = time.monotonic() - began
    return Trial(recovery, dict.fromkeys([*jobs, stage.start()], SUCCEEDED))


def _lease_of(stage: Stage, job: str) -> object:
    """Which attempt has a job, and until when."""
    return stage.sql("SELECT attempt, lease_until FROM jobs WHERE id = :id", id=job)[0]


def redis_killed(stage: Stage) -> Trial:
    """kill -9 of Redis, which comes back empty."""
    return _with_jobs(stage, lambda: stage.kill("redis"))


def redis_flushed(stage: Stage) -> Trial:
    """FLUSHALL: every message is gone."""
    jobs = [stage.start() for _ in range(3)]
    stage.random_moment()
    get_redis().flushall()
    flushed = time.monotonic()
    for job in jobs:
        stage.end_of(job)
    return Trial(time.monotonic() - flushed, dict.fromkeys(jobs, SUCCEEDED))


def postgres_restarted(stage: Stage) -> Trial:
    """Postgres stops, in order or by kill -9, and comes back."""
    how = stage.random.choice((signal.SIGINT, signal.SIGKILL))
    return _with_jobs(stage, lambda: stage.kill("postgres", how))


def postgres_connections_ended(stage: Stage) -> Trial:
    """Every connection to Postgres is terminated, those of API, worker and training among them."""
    return _with_jobs(stage, lambda: _end_connections(stage))


def _end_connections(stage: Stage) -> None:
    others = "FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"
    ended = {pid for pid, done in stage.sql(f"SELECT pid, pg_terminate_backend(pid) {others}") if done}
    if not ended:
        raise RuntimeError("there was no connection to end")
    wait_for(lambda: not ended & {pid for (pid,) in stage.sql(f"SELECT pid {others}")})


def message_thrice(stage: Stage) -> Trial:
    """The same message three times, to two workers."""
    with stage.another_worker():
        job = stage.start()
        began = time.monotonic()
        for _ in range(2):
            time.sleep(stage.random.uniform(0, 0.2))
            ring(job)
        end = stage.end_of(job)
        wait_for(lambda: get_redis().llen("realm") == 0)
    return Trial(time.monotonic() - began, {job: SUCCEEDED}, doubled=int(end["attempt"] != 1))


def two_reconcilers(stage: Stage) -> Trial:
    """Two reconcilers find the same lost job, and bring it back once."""
    with stage.another("worker.reconcile"), stage.another("worker.reconcile"):
        job = stage.under_way()
        killed = time.monotonic()
        stage.kill("worker")
        recovery = until_another_attempt(stage, job, killed)
        end = stage.end_of(job)
    lost = stage.sql("SELECT lost_attempts FROM jobs WHERE id = :id", id=job)[0][0]
    return Trial(recovery, {job: SUCCEEDED}, doubled=int(end["attempt"] != 1 + int(str(lost))))


def hundred_jobs(stage: Stage) -> Trial:
    """A hundred jobs at once for one worker."""
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: stage.start(), range(MANY)))
    for job in jobs:
        stage.end_of(job, 1200)
    return Trial(time.monotonic() - began, dict.fromkeys(jobs, SUCCEEDED))
