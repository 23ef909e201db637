"""A browser without scripts, and what a reader sees of a page."""

from __future__ import annotations

import html
import re
from typing import Any

from fastapi.testclient import TestClient

from tests.finished_jobs import FinishedJob

HTML = {"Accept": "text/html"}


class Browser:
    """A logged-in browser without scripts."""

    def __init__(self, client: TestClient, key: str) -> None:
        self._client, self.key = client, key
        client.headers.pop("Authorization", None)
        answer = client.post("/login", data={"key": key}, follow_redirects=False)
        assert answer.status_code == 303

    def open(self, path: str, status: int = 200, /, **query: Any) -> str:
        answer = self._client.get(path, params=query or None, headers=HTML)
        assert answer.status_code == status, answer.text
        assert answer.headers["Content-Type"].startswith("text/html")
        return answer.text

    def press(self, page: str, action: str) -> str:
        """Send the form of a page that leads to `action`; answers the page that it leads to."""
        form = re.search(rf'<form method="post" action="{action}">(.*?)</form>', page, re.DOTALL)
        assert form is not None
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form[1]))
        answer = self._client.post(action, data=fields, headers=HTML)
        assert answer.status_code == 200, answer.text
        return answer.text


def token_on(page: str) -> str:
    """The session's token, which all forms of a page carry."""
    (token,) = set(re.findall(r'name="csrf_token" value="([^"]+)"', page))
    return str(token)


def text_of(page: str) -> str:
    """What a reader sees, in one line."""
    without_scripts = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", without_scripts)))


def annotator_page(browser: Browser, job: FinishedJob, name: str) -> tuple[str, str]:
    """The address and the page that a name in the job's table leads to."""
    listed = browser.open(f"/jobs/{job.id}", name=name)
    found = re.search(rf'<th scope="row"><a href="(/jobs/{job.id}/annotators/ann_\d+)"><bdi>', listed)
    assert found is not None
    return found[1], browser.open(found[1])
