"""The parts of a service that runs, and its database, broker and store in reach of this process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from app.artifacts import get_artifacts
from app.database.session import get_engine
from app.queue import get_celery, get_redis
from app.settings import get_settings


def part_of_service(data_dir: Path, name: str) -> psutil.Process:
    """postgres, redis, api, worker or reconcile of the service that has its data there."""
    return psutil.Process(int(json.loads((data_dir / "processes.json").read_text())[name]["pid"]))


def settings_of(process: psutil.Process) -> dict[str, str]:
    """The variables of the environment that configure a part of a service."""
    return {name: value for name, value in process.environ().items() if name.startswith("REALM_")}


@contextmanager
def in_reach(settings: Mapping[str, str]) -> Iterator[None]:
    """Read and write what these settings name, then again what was configured before."""
    before = dict(os.environ)
    _configure({**before, **settings})
    try:
        yield
    finally:
        _configure(before)


def _configure(environment: Mapping[str, str]) -> None:
    if get_engine.cache_info().currsize:
        get_engine().dispose()
    if get_redis.cache_info().currsize:
        get_redis().close()
    os.environ.clear()
    os.environ.update(environment)
    for cached in (get_settings, get_engine, get_celery, get_redis, get_artifacts):
        cached.cache_clear()
