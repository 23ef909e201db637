"""Browsers: one-time links, the login form, cookies and the CSRF token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from app.access import service
from app.access.service import digest_of
from app.database.session import transaction
from app.database.tables import BrowserSession, LoginLink
from app.main import create_app
from tests.conftest import ProjectKeys

HTML = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def browser(project: ProjectKeys) -> Iterator[TestClient]:
    """A client without a key that keeps cookies and follows no redirects."""
    with TestClient(create_app(), base_url="http://localhost", follow_redirects=False) as client:
        yield client


def link_for(key: str) -> str:
    with transaction() as session:
        link = service.create_login_link(session, key, "http://localhost")
    assert link is not None
    return link


def csrf_token(browser: TestClient) -> str:
    with transaction() as session:
        row = session.execute(
            select(BrowserSession).where(BrowserSession.digest == digest_of(browser.cookies["realm_session"]))
        ).scalar_one()
        return row.csrf_token


def log_in(browser: TestClient, key: str) -> str:
    """Log in by the form; the session's CSRF token."""
    assert browser.post("/login", data={"key": key}).status_code == 303
    return csrf_token(browser)


def test_a_link_logs_in_once(browser: TestClient, project: ProjectKeys) -> None:
    link = link_for(project.viewer_key)
    answer = browser.get(link)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert browser.get("/v1/fine_tuning/jobs").status_code == 200
    browser.cookies.clear()
    again = browser.get(link)
    assert again.status_code == 401
    assert "used or is too old" in again.text
    assert "realm_session" not in again.cookies


def test_a_link_grows_old(browser: TestClient, project: ProjectKeys) -> None:
    link = link_for(project.viewer_key)
    with transaction() as session:
        session.execute(update(LoginLink).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert browser.get(link).status_code == 401


def test_no_link_for_a_dead_key(project: ProjectKeys) -> None:
    with transaction() as session:
        assert service.create_login_link(session, "realm_unknown", "http://localhost") is None


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(browser: TestClient, project: ProjectKeys) -> None:
    cookie = browser.post("/login", data={"key": f" {project.viewer_key}\n"}).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    with TestClient(create_app(), base_url="https://localhost", follow_redirects=False) as secure:
        assert "Secure" in secure.post("/login", data={"key": project.viewer_key}).headers["Set-Cookie"]


def test_the_login_form(browser: TestClient) -> None:
    page = browser.get("/jobs/ftjob-1?tab=items", headers=HTML)
    assert page.status_code == 401
    assert 'action="/login"' in page.text
    assert 'value="/jobs/ftjob-1?tab=items"' in page.text
    nonce = re.search(r'<style nonce="([^"]+)">', page.text)
    assert nonce is not None
    assert f"'nonce-{nonce[1]}'" in page.headers["Content-Security-Policy"]
    refused = browser.post("/login", data={"key": "realm_wrong"}, headers=HTML)
    assert refused.status_code == 401
    assert "unknown, expired or revoked" in refused.text
    assert browser.get("/v1/fine_tuning/jobs", headers=HTML).headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("asked", "led_to"),
    [
        ("/jobs/ftjob-1", "/jobs/ftjob-1"),
        ("https://evil.example", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/%09/evil.example"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_login_leads_back_but_never_away(browser: TestClient, project: ProjectKeys, asked: str, led_to: str) -> None:
    answer = browser.post("/login", data={"key": project.viewer_key, "next": asked})
    assert (answer.status_code, answer.headers["Location"]) == (303, led_to)


def test_what_is_asked_for_stays_text_in_the_form(browser: TestClient) -> None:
    page = browser.get('/metrics?"><script>alert(1)</script>', headers=HTML)
    assert page.status_code == 401
    assert "<script>" not in page.text


def test_changes_need_the_csrf_token(browser: TestClient, project: ProjectKeys) -> None:
    token = log_in(browser, project.admin_key)
    for shown in (None, b"wrong", b"", "ü".encode()):
        headers = {} if shown is None else {b"X-CSRF-Token": shown}
        answer = browser.post("/v1/api_keys", json={}, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf")
    assert browser.post("/v1/api_keys", json={}, headers={"X-CSRF-Token": token}).status_code == 201
    assert browser.post("/logout", data={"csrf_token": "wrong"}).status_code == 403
    assert browser.post("/logout", data={"csrf_token": token}).status_code == 303


def test_another_sessions_token_does_not_do(browser: TestClient, project: ProjectKeys) -> None:
    first = log_in(browser, project.admin_key)
    assert log_in(browser, project.admin_key) != first
    assert browser.post("/v1/api_keys", json={}, headers={"X-CSRF-Token": first}).status_code == 403


def test_logout_ends_the_session(browser: TestClient, project: ProjectKeys) -> None:
    token = log_in(browser, project.viewer_key)
    stolen = browser.cookies["realm_session"]
    answer = browser.post("/logout", data={"csrf_token": token})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    browser.cookies.set("realm_session", stolen)
    assert browser.get("/v1/fine_tuning/jobs").status_code == 401


def test_a_session_ends_with_its_key_and_with_its_time(browser: TestClient, project: ProjectKeys) -> None:
    log_in(browser, project.viewer_key)
    with transaction() as session:
        mine = BrowserSession.digest == digest_of(browser.cookies["realm_session"])
        session.execute(update(BrowserSession).where(mine).values(expires_at=datetime.now(UTC)))
    assert browser.get("/v1/fine_tuning/jobs").status_code == 401

    log_in(browser, project.viewer_key)
    assert browser.get("/v1/fine_tuning/jobs").status_code == 200
    with transaction() as session:
        principal = service.principal_of_key(session, project.viewer_key)
        assert principal is not None
        service.revoke_key(session, principal, principal.key_id)
    assert browser.get("/v1/fine_tuning/jobs").status_code == 401


def test_a_session_may_do_what_its_key_may(browser: TestClient, project: ProjectKeys) -> None:
    token = log_in(browser, project.viewer_key)
    answer = browser.post("/v1/fine_tuning/jobs", json={}, headers={"X-CSRF-Token": token})
    assert (answer.status_code, answer.json()["code"]) == (403, "role_required")


def test_a_viewer_can_log_out(browser: TestClient, project: ProjectKeys) -> None:
    token = log_in(browser, project.viewer_key)
    assert browser.post("/logout", data={"csrf_token": token}).status_code == 303
