"""Log lines carry the ids that lead from a request to its job and its attempts, and no secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.conftest import Services

SETUP = """
import structlog
from app.observability import configure_logging

configure_logging()
log = structlog.get_logger("test")
"""


def lines_of(code: str) -> list[dict[str, Any]]:
    """What a process of its own logs: logging is set up once in each."""
    ended = subprocess.run(
        [sys.executable, "-c", SETUP + code], env=dict(os.environ), capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in ended.stderr.splitlines()]


def test_a_traceback_shows_no_values() -> None:
    """Neither ours nor that of a library."""
    lines = lines_of("""
import logging

def ask(api_key):
    raise ValueError("refused")

for logger in (log, logging.getLogger("library")):
    try:
        ask("realm_" + "secret")
    except ValueError:
        logger.exception("it failed")
""")
    assert [line["event"] for line in lines] == ["it failed", "it failed"]
    for line in lines:
        assert line["exception"].endswith("ValueError: refused")
        assert "in ask" in line["exception"]
        assert "realm_secret" not in json.dumps(line)


def test_the_writer_s_lines_name_job_and_attempt(services: Services) -> None:
    (line,) = lines_of("""
from sqlalchemy.exc import OperationalError
from app.database.attempt_queries import Claim
from worker import recorder

class Away(Exception):
    sqlstate = None

recorder.SECONDS_BETWEEN_WRITES = 0
writer = recorder.Recorder("ftjob-1", Claim(1, 2))

def fail():
    writer._stop.set()
    raise OperationalError("x", {}, Away("away"))

with structlog.contextvars.bound_contextvars(job="ftjob-1", attempt=2):
    writer = recorder.Recorder("ftjob-1", Claim(1, 2))
    writer._write = fail
    writer._writer.start()
    writer._writer.join()
""")
    assert (line["job"], line["attempt"]) == ("ftjob-1", 2)
    assert line["event"] == "not recorded yet, the database is away"


def test_a_request_s_line_names_the_job_that_it_made(services: Services) -> None:
    lines = lines_of("""
from fastapi.testclient import TestClient
from app.main import create_app
from tests.conftest import make_project

project = make_project()
with TestClient(create_app(), base_url="http://localhost") as client:
    client.headers = {"Authorization": f"Bearer {project.admin_key}", "X-Request-Id": "request-7"}
    rows = [{"prompt": "sky", "annotator": name, "label": "blue"} for name in ("ana", "bo")]
    dataset = client.post("/v1/datasets", json={"annotations": rows}).json()["id"]
    client.post("/v1/fine_tuning/jobs", json={"dataset": dataset, "method": {"type": "aggregation"}})
""")
    created = next(line for line in lines if line["event"] == "job created")
    assert created["request_id"] == "request-7"
    assert created["job"].startswith("ftjob-")
