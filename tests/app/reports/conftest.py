"""A finished job of a crowd with hostile names, made once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import ProjectKeys, Services, make_project
from tests.finished_jobs import FinishedJob, crowd_rows, finish_job, upload


@dataclass(frozen=True)
class ReportApi:
    """The report calls of one job."""

    client: TestClient
    project: ProjectKeys
    job: FinishedJob

    def get(self, path: str, status: int = 200, **query: Any) -> Any:
        """The JSON of a call under the job's path."""
        answer = self.client.get(f"/v1/fine_tuning/jobs/{self.job.id}/{path}", params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    def all_rows(self, path: str, limit: int = 100, **query: Any) -> list[Any]:
        """Every row of a list, page by page."""
        rows: list[Any] = []
        more, after = True, dict[str, str]()
        while more:
            page = self.get(path, 200, limit=limit, **query, **after)
            rows += page["data"]
            more, after = page["has_more"], {"after": page["last_id"]}
        return rows


@pytest.fixture(scope="package")
def report(services: Services) -> Iterator[ReportApi]:
    from app.main import create_app

    project = make_project()
    headers = {"Authorization": f"Bearer {project.admin_key}"}
    with TestClient(create_app(), base_url="http://localhost", headers=headers) as client:
        job = finish_job(project.id, upload(client, crowd_rows()))
        yield ReportApi(client, project, job)
