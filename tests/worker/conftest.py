"""Jobs that a worker can run, under settings that make waiting short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.database.tables import Job
from app.queue import get_redis, ring
from app.settings import get_settings
from tests.conftest import ProjectKeys, Services
from tests.jobs import finish_all_jobs, queue_job
from tests.worker.crowds import upload_crowd

Start = Callable[..., Job]


@pytest.fixture(scope="module")
def quick_settings(services: Services) -> Iterator[None]:
    """Short leases and little patience, for this process and the workers that it starts; an empty queue."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REALM_LEASE_SECONDS", "2")
        patch.setenv("REALM_CANCEL_GRACE_SECONDS", "1")
        patch.setenv("REALM_TORCH_THREADS", "1")
        patch.setenv("REALM_CHECKPOINT_SECONDS", "1")
        get_settings.cache_clear()
        finish_all_jobs()
        get_redis().delete("realm")
        yield
    get_settings.cache_clear()


@pytest.fixture
def start(client: TestClient, project: ProjectKeys) -> Start:
    """Starts a job on a small crowd; it aggregates unless `values` say something else."""
    dataset_id = upload_crowd(client)

    def start(**values: Any) -> Job:
        job = queue_job(project.id, dataset_id=dataset_id, **values)
        assert ring(job.id)
        return job

    return start
