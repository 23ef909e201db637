"""What holds for all pages: who gets in and out, what they load, and the page that describes the API."""

from __future__ import annotations

import re

from fastapi.testclient import TestClient

from tests.app.dashboard.browser import HTML, Browser, text_of, token_on
from tests.conftest import ProjectKeys
from tests.finished_jobs import FinishedJob


def test_strangers_get_the_login_form(client: TestClient, project: ProjectKeys) -> None:
    del client.headers["Authorization"]
    for path in ("/", "/jobs/ftjob-1", "/docs"):
        answer = client.get(path, headers=HTML)
        assert answer.status_code == 401
        assert '<form method="post" action="/login">' in answer.text
        assert f'name="next" value="{path}"' in answer.text
    client.cookies.set("realm_session", "wrong")
    assert client.get("/", headers=HTML).status_code == 401


def test_unknown_jobs_and_those_of_others_are_not_found(
    browser: Browser, finished: tuple[Browser, FinishedJob]
) -> None:
    for id_ in (finished[1].id, "ftjob-nope", "<script>"):
        page = browser.open(f"/jobs/{id_}", 404)
        assert "Not found" in page
        assert "<script>" not in page.replace("<script src", "")


def test_pages_use_nothing_from_elsewhere(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    for path in ("/", f"/jobs/{job.id}", "/docs"):
        page = browser.open(path)
        for address in re.findall(r'(?:src|href|action)="([^"]*)"', page):
            assert address.startswith(("/", "#", "data:,")), address
        assert not re.search(r"\son\w+=", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))


def test_files_are_kept_by_browsers_until_they_change(client: TestClient) -> None:
    del client.headers["Authorization"]
    for name in ("style.css", "plots.js", "plotly.min.js"):
        answer = client.get(f"/static/{name}")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"]
    assert client.get("/static/../pages.py").status_code == 404


def test_the_api_page_has_every_call(browser: Browser, client: TestClient) -> None:
    page = browser.open("/docs")
    for path, item in client.get("/openapi.json").json()["paths"].items():
        for method in item:
            assert f"<code>{method.upper()} {path}</code>" in page
    assert "by the expected" not in page
    assert "flagged first, then by lower accuracy" in text_of(page)


def test_logging_out_ends_the_session(browser: Browser, client: TestClient) -> None:
    page = browser.open("/")
    token = token_on(page)
    answer = client.post("/logout", data={"csrf_token": token}, headers=HTML)
    assert "API key" in answer.text
    assert client.get("/", headers=HTML).status_code == 401
