"""The doorbell: it rings after the commit, and nobody falls over when it is broken."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from fastapi.testclient import TestClient
from sqlalchemy import text

from app import queue
from app.database.session import transaction
from app.settings import get_settings
from tests.conftest import Services, forget_settings


@pytest.fixture
def rung(services: Services) -> Iterator[redis.Redis]:
    """Redis with an empty queue."""
    queue.get_redis().delete("realm")
    yield queue.get_redis()
    queue.get_redis().delete("realm")


@pytest.fixture
def broken_broker(services: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings that name a Redis which is not there."""
    monkeypatch.setenv("REALM_REDIS_URL", "redis://127.0.0.1:1/0")
    for cached in (get_settings, queue.get_celery, queue.get_redis):
        cached.cache_clear()
    yield
    monkeypatch.undo()
    forget_settings()


def messages(client: redis.Redis) -> list[dict[str, Any]]:
    raw: Any = client.lrange("realm", 0, -1)
    return [json.loads(message) for message in raw]


def test_a_message_carries_the_jobs_id_and_never_goes_stale(rung: redis.Redis) -> None:
    assert queue.ring("ftjob-1")
    (message,) = messages(rung)
    assert message["headers"]["task"] == "realm.run_job"
    assert message["headers"]["argsrepr"] == "['ftjob-1']"
    assert message["headers"]["expires"] is None


def test_a_broken_broker_is_no_error(broken_broker: None) -> None:
    began = time.monotonic()
    assert queue.ring("ftjob-1") is False
    assert time.monotonic() - began < 3
    with pytest.raises(redis.RedisError):
        queue.live_workers()


def test_it_rings_after_the_commit(rung: redis.Redis) -> None:
    with transaction() as session:
        session.execute(text("SELECT 1"))
        queue.ring_after_commit(session, "ftjob-1")
        queue.ring_after_commit(session, "ftjob-2")
        assert messages(rung) == []
    assert len(messages(rung)) == 2


def test_it_does_not_ring_after_a_rollback(rung: redis.Redis) -> None:
    def work() -> None:
        with transaction() as session:
            queue.ring_after_commit(session, "ftjob-1")
            session.execute(text("SELECT 1"))
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        work()
    assert messages(rung) == []


def test_a_savepoint_is_no_commit(rung: redis.Redis) -> None:
    with transaction() as session:
        queue.ring_after_commit(session, "ftjob-1")
        with session.begin_nested():
            session.execute(text("SELECT 1"))
        assert messages(rung) == []
    assert len(messages(rung)) == 1


def test_a_commit_stands_when_the_broker_is_away(broken_broker: None) -> None:
    with transaction() as session:
        session.execute(text("CREATE TEMPORARY TABLE stands (x int)"))
        queue.ring_after_commit(session, "ftjob-1")


def test_live_workers(services: Services) -> None:
    queue.announce_worker("worker-1", {"host": "here"}, seconds=60)
    queue.announce_worker("worker-2", {"host": "there"}, seconds=1)
    assert {id_: facts["host"] for id_, facts in queue.live_workers().items()} == {
        "worker-1": "here",
        "worker-2": "there",
    }
    queue.withdraw_worker("worker-1")
    queue.withdraw_worker("worker-1")
    time.sleep(1.1)
    assert queue.live_workers() == {}


@pytest.mark.parametrize(
    ("url", "spelled"),
    [
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock"),
        ("redis://:secret@redis:6379/0", "redis://:secret@redis:6379/0"),
        ("rediss://redis/1", "rediss://redis/1"),
    ],
)
def test_how_celery_spells_a_redis_url(url: str, spelled: str) -> None:
    assert queue.broker_url(url) == spelled


def test_ready_means_database_broker_and_a_worker(client: TestClient, services: Services) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"database": "ok", "broker": "ok", "worker": "none is alive"}
    assert answer.headers["Retry-After"] == "2"
    queue.announce_worker("worker-1", {}, seconds=60)
    try:
        assert client.get("/readyz").json() == {
            "status": "ok",
            "checks": {"database": "ok", "broker": "ok", "worker": "ok"},
        }
    finally:
        queue.withdraw_worker("worker-1")


def test_not_ready_without_broker_but_alive(client: TestClient, broken_broker: None) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"database": "ok", "broker": "out of reach", "worker": "unknown"}
    assert client.get("/livez").json() == {"status": "ok"}


def test_not_ready_without_database_but_alive(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALM_DATABASE_URL", "postgresql+psycopg://realm@127.0.0.1:1/realm")
    forget_settings()
    try:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"]["database"] == "out of reach"
        assert client.get("/livez").status_code == 200
        refused = client.get("/v1/api_keys")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert refused.headers["Retry-After"] == "5"
    finally:
        monkeypatch.undo()
        forget_settings()
