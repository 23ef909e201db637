"""How much a key may ask and a project may send; and that nothing is refused when nobody can count."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient
from limits import RateLimitItemPerMinute
from structlog.testing import capture_logs

from app.access import rate_limits
from app.access.rate_limits import Counters
from app.settings import get_settings
from tests.conftest import ProjectKeys, Services
from tests.jobs import queue_job

CSV = "annotator,label,prompt\nana,yes,sky\nbo,no,sky\n"


def allow(monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(get_settings(), name, value)


def send(client: TestClient, body: str = CSV) -> int:
    status: int = client.post("/v1/datasets", content=body, headers={"Content-Type": "text/csv"}).status_code
    return status


def test_every_answer_says_what_is_left(client: TestClient, project: ProjectKeys) -> None:
    first, second = client.get("/v1/datasets"), client.get("/v1/datasets/ds_unknown")
    assert first.headers["RateLimit-Policy"] == '"requests";q=6000;w=60'
    left = [re.fullmatch(r'"requests";r=(\d+);t=(\d+)', answer.headers["RateLimit"]) for answer in (first, second)]
    assert [int(match[1]) for match in left if match] == [5999, 5998]
    assert all(1 <= int(match[2]) <= 60 for match in left if match)
    assert "RateLimit" not in client.get("/livez").headers


def test_too_many_requests(client: TestClient, project: ProjectKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, requests_per_minute=2)
    assert [client.get("/v1/datasets").status_code for _ in range(3)] == [200, 200, 429]
    answer = client.get("/v1/datasets")
    assert answer.json()["code"] == "rate_limited"
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert answer.headers["RateLimit"].startswith('"requests";r=0;')
    other = {"Authorization": f"Bearer {project.editor_key}"}
    assert client.get("/v1/datasets", headers=other).status_code == 200
    assert client.get("/v1/datasets", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_limits_can_be_switched_off(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, requests_per_minute=0, upload_bytes_per_day=0, max_unfinished_jobs=0)
    answer = client.get("/v1/datasets")
    assert (answer.status_code, "RateLimit" in answer.headers) == (200, False)
    assert send(client) == 201


def test_bytes_of_a_day(client: TestClient, project: ProjectKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, upload_bytes_per_day=2 * len(CSV))
    assert send(client, CSV + "cy,no,sea\n" * 100) == 429  # it says beforehand that it is too large
    assert [send(client), send(client, "annotator,label\n"), send(client)] == [201, 422, 429]
    streamed = client.post("/v1/datasets", content=iter([CSV.encode()]), headers={"Content-Type": "text/csv"})
    assert streamed.status_code == 201  # something was left, and nobody knew how much would come
    answer = client.post("/v1/api_keys", json={})
    assert (answer.status_code, answer.json()["code"]) == (429, "upload_quota")
    assert int(answer.headers["Retry-After"]) > 80_000
    assert client.get("/v1/datasets").status_code == 200


def test_unfinished_jobs_of_a_project(
    client: TestClient, project: ProjectKeys, other_project: ProjectKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, max_unfinished_jobs=2)
    send(client)
    body = {"dataset": client.get("/v1/datasets").json()["first_id"], "method": {"type": "aggregation"}}
    queue_job(other_project.id)
    jobs = [client.post("/v1/fine_tuning/jobs", json=body) for _ in range(3)]
    assert [job.status_code for job in jobs] == [201, 201, 429]
    assert jobs[2].json()["code"] == "job_quota"
    client.post(f"/v1/fine_tuning/jobs/{jobs[0].json()['id']}/cancel")
    assert client.post("/v1/fine_tuning/jobs", json=body).status_code == 201


def test_without_redis_all_pass_and_the_log_says_so_once(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Counters("redis://127.0.0.1:1")
    monkeypatch.setattr(rate_limits, "get_counters", lambda: away)
    monkeypatch.setattr(rate_limits, "_SECONDS_UNTIL_RETRY", 0.0)
    with capture_logs() as logs:
        for _ in range(3):
            answer = client.get("/v1/datasets")
            assert (answer.status_code, "RateLimit" in answer.headers) == (200, False)
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == [
        "Redis is away: nothing is limited"
    ]


def test_when_redis_is_away_it_is_not_asked_at_every_request(services: Services) -> None:
    counters = Counters("redis://127.0.0.1:1")
    item = RateLimitItemPerMinute(1)
    assert counters.hit(item, "somebody")
    counters._limiter = Counters(services.redis_url)._limiter  # it is back, but who knows
    assert all(counters.hit(item, "somebody") for _ in range(3))
    counters._away_until = 1.0
    assert [counters.hit(item, "somebody") for _ in range(2)] == [True, False]
