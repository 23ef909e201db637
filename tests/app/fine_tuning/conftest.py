"""A dataset to train on, and jobs that are started over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.database.tables import Dataset
from tests.app.fine_tuning.jobs_over_http import JOBS, add_dataset
from tests.conftest import ProjectKeys


@pytest.fixture
def dataset(project: ProjectKeys) -> Dataset:
    return add_dataset(project)


@pytest.fixture
def create(client: TestClient, dataset: Dataset) -> Callable[..., dict[str, Any]]:
    """Starts a job by the API."""

    def create(**body: Any) -> dict[str, Any]:
        response = client.post(JOBS, json={"dataset": dataset.id, "model": "minilm"} | body)
        assert response.status_code == 201, response.text
        job: dict[str, Any] = response.json()
        return job

    return create
