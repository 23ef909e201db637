"""The doorbell: Celery over Redis. It carries job ids and nothing else; Postgres knows what there is to do.

A message may be lost, late or doubled. Workers therefore claim the job row before they act, and the reconciler rings
again for jobs that nobody came for.
"""

from __future__ import annotations

import json
import logging
from functools import lru_cache
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy import event
from sqlalchemy.orm import Session

from app.settings import get_settings

RUN_JOB = "realm.run_job"
WORKER_KEY = "realm:worker:"
QUEUE = "realm"

log = logging.getLogger(__name__)


def broker_url(redis_url: str) -> str:
    """A Redis URL as Celery spells it."""
    return redis_url.replace("unix://", "redis+socket://", 1)


def connection_url() -> str:
    """Where Redis is."""
    url = get_settings().redis_url
    if url is None:
        raise RuntimeError("REALM_REDIS_URL is not set; `realm up` sets it for its own processes")
    return url


@lru_cache
def get_celery() -> Celery:
    """The Celery application of this process; the API only sends with it, workers register their tasks on it."""
    celery = Celery("realm", broker=broker_url(connection_url()))
    celery.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_default_queue=QUEUE,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "max_retries": 1,  # who starts a job does not wait for a broker that is away: the reconciler rings later
            "interval_start": 0.1,
        },
        worker_hijack_root_logger=False,
    )
    return celery


@lru_cache
def get_redis() -> redis.Redis:
    """A client for the keys by which workers show that they live."""
    return redis.Redis.from_url(connection_url(), socket_timeout=2, socket_connect_timeout=2, decode_responses=True)


def ring(job_id: str) -> bool:
    """Tell the workers of a queued job. False when the broker cannot be reached; the reconciler tries again."""
    try:
        # It never expires: workers would judge that by clocks of their own, and one that is fast would hear nothing.
        get_celery().send_task(RUN_JOB, args=[job_id], retry=False)
    except (OperationalError, redis.RedisError) as error:
        log.warning("broker unreachable, job %s waits for the reconciler: %s", job_id, error)
        return False
    return True


def unread_messages() -> int:
    """How many messages no worker has taken yet; 0 when the broker cannot be reached."""
    try:
        return int(get_redis().llen(QUEUE))
    except redis.RedisError:
        return 0


def ring_after_commit(session: Session, job_id: str) -> None:
    """Ring once the session's transaction has committed, so that no worker looks for a row that is not there yet."""

    def send(session: Session) -> None:
        if not session.in_nested_transaction():  # SQLAlchemy tells of the end of savepoints too
            ring(job_id)

    event.listen(session, "after_commit", send)


def announce_worker(worker_id: str, facts: dict[str, Any], seconds: int) -> None:
    """Show for `seconds` that a worker lives."""
    get_redis().set(WORKER_KEY + worker_id, json.dumps(facts | {"announced_for": seconds}), ex=seconds)


def withdraw_worker(worker_id: str) -> None:
    """Show at once that a worker has gone."""
    get_redis().delete(WORKER_KEY + worker_id)


def live_workers() -> dict[str, dict[str, Any]]:
    """The workers that announced themselves lately, by id. Raises redis.RedisError when Redis is out of reach.

    `silent_seconds` says how long ago each did, by Redis's clock.
    """
    client = get_redis()
    keys = list(client.scan_iter(match=WORKER_KEY + "*", count=100))
    with client.pipeline(transaction=False) as both:
        for key in keys:
            both.get(key)
            both.pttl(key)
        found = iter(both.execute())
    workers: dict[str, dict[str, Any]] = {}
    for key, value, milliseconds_left in zip(keys, found, found, strict=True):
        if value is not None:  # else it has gone since
            facts = json.loads(value)
            silent = facts["announced_for"] - milliseconds_left / 1000
            workers[key.removeprefix(WORKER_KEY)] = facts | {"silent_seconds": round(max(0.0, silent), 1)}
    return workers
