"""Every page in Chromium, full of what attackers upload: text stays text, nothing runs, nothing breaks the layout."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import BrowserContext, Page, expect
from starlette.routing import BaseRoute

from app.main import create_app
from realm_core.annotations import Task
from tests.app.test_security_walk import all_routes
from tests.app.world import add_model
from tests.conftest import ProjectKeys, Services, make_project
from tests.end_to_end.browsing import Visit, chromium, log_in, needs_chromium, serving
from tests.finished_jobs import finish_job, upload

pytestmark = needs_chromium

SCRIPT = "<script>window.pwned = 1</script>"
HOSTILE = (
    SCRIPT,
    '"><img src=x onerror="window.pwned=1"><a href="https://evil.example">x</a>',
    "</title></textarea></option></script><svg onload=window.pwned=1>",
    '=HYPERLINK("https://evil.example","x")',
    "\u202egnp.exe\u2066\u2069\ufeff\u200d",
    "javascript:window.pwned=1//{{7*7}}${7*7}<%=7*7%>",
    "w" * 700,
    "\u0301" * 60 + "Z͑ͫ̓ͪ̂ͫ",
)
# What a page would hold if one of them had become more than text: a mark, elements, scripts.
MADE = """() => [
    window.pwned !== undefined,
    document.querySelectorAll('[onerror], [onload], img[src="x"], [href^="javascript"]').length,
    [...document.links].filter((one) => one.hostname === "evil.example").length,
    [...document.scripts].filter((one) => !one.type.includes("json") && one.textContent.includes("pwned")).length,
]"""
UNMADE = [False, 0, 0, 0]
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def hostile_rows() -> list[dict[str, Any]]:
    """Everybody labels every prompt, mostly right; every text of a row is hostile."""
    labels = HOSTILE[:4]
    return [
        {
            "item_id": f"{item} {HOSTILE[item % 8]}",
            "prompt": f"{HOSTILE[(item + 1) % 8]} {item}",
            "annotator": name,
            "label": labels[(item + (rank if (item * 7 + rank * 5) % 11 == 0 else 0)) % 4],
            "gold": labels[item % 4],
            "task": SCRIPT,
            "created_at": 1_700_000_000 + 86_400 * item,
        }
        for item in range(48)
        for rank, name in enumerate(HOSTILE)
    ]


@dataclass(frozen=True)
class HostileSite:
    url: str
    project: ProjectKeys
    ids: dict[str, str]


@pytest.fixture(scope="module")
def site(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileSite]:
    application, project = create_app(), make_project()
    headers = {"Authorization": f"Bearer {project.admin_key}"}
    with TestClient(application, base_url="http://localhost", headers=headers) as client:
        dataset_id = upload(client, hostile_rows(), HOSTILE[1])
        job_id = finish_job(project.id, dataset_id, metadata=dict(zip("abc", HOSTILE, strict=False))).id
        report = f"/v1/fine_tuning/jobs/{job_id}"
        annotator_id = client.get(f"{report}/annotators").json()["data"][0]["id"]
        decision = {"action": "retrain", "note": HOSTILE[1] + HOSTILE[6]}
        client.post(f"{report}/annotators/{annotator_id}/decisions", json=decision).raise_for_status()
        client.post("/v1/api_keys", json={"name": HOSTILE[0]}).raise_for_status()
        ids = {
            "dataset_id": dataset_id,
            "job_id": job_id,
            "annotator_id": annotator_id,
            "item_id": client.get(f"{report}/items").json()["data"][0]["id"],
            "model_id": add_model(job_id, tmp_path_factory.mktemp("model"), Task(SCRIPT, HOSTILE)),
        }
    with serving(application) as url:
        yield HostileSite(url, project, ids)


@pytest.fixture(scope="module")
def context(site: HostileSite) -> Iterator[BrowserContext]:
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 360, "height": 800})
        log_in(context, site.url, site.project.admin_key)
        yield context


def pages(site: HostileSite) -> Iterator[str]:
    """Each page that the application has, being what answers a browser with HTML."""
    headers = {"Authorization": f"Bearer {site.project.admin_key}", "Accept": "text/html"}
    with httpx.Client(base_url=site.url, headers=headers, timeout=30) as client:
        for path in sorted({path for path, route in all_routes(create_app()) if _is_read(route, path)}):
            url = path.format(**{"alias": "x", "key_id": "x"} | _defaults(path) | site.ids)
            answer = client.get(url)
            if answer.headers.get("Content-Type", "").startswith("text/html"):
                assert answer.is_success, url
                yield url


def _is_read(route: BaseRoute, path: str) -> bool:
    return "GET" in (getattr(route, "methods", None) or ()) and not path.endswith("/content")


def _defaults(path: str) -> dict[str, str]:
    names = [part[1:-1] for part in path.replace(".", "/").split("/") if part.startswith("{")]
    return dict.fromkeys(names, "1")


def test_on_every_page_text_stays_text(site: HostileSite, context: BrowserContext) -> None:
    shown, wide = 0, []
    visit = Visit(context, site.url)
    found = list(pages(site))
    assert len(found) >= 14, found
    for path in found:
        for width in (1280, 360):  # plots follow a change of size late, so each page is opened at both
            visit.page.set_viewport_size({"width": width, "height": 800})
            page = visit.open(path)
            settle(page)
            if (by := page.evaluate(TOO_WIDE)) > 0:
                wide.append((path, width, by))
        assert page.evaluate(MADE) == UNMADE, path
        shown += SCRIPT in page.locator("body").inner_text()
    assert shown >= 8, "or hostile texts are not on the pages at all"
    assert wide == []
    assert visit.complaints == []


def settle(page: Page) -> None:
    """Wait for plots, which are drawn after the page."""
    page.wait_for_function("[...document.querySelectorAll('.plot')].every((one) => one.querySelector('.main-svg'))")


def test_an_answer_to_a_hostile_text_is_text(site: HostileSite, context: BrowserContext) -> None:
    visit = Visit(context, site.url)
    page = visit.open(f"/models/{site.ids['model_id']}")
    for text in HOSTILE:
        page.locator("textarea[name=prompt]").fill(text)
        page.get_by_role("button", name="Ask").click()
        expect(page.get_by_role("heading", name="The answer")).to_be_visible()
        assert page.evaluate(MADE) == UNMADE
        assert page.evaluate(TOO_WIDE) <= 0
    assert visit.complaints == []


def test_a_hostile_file_is_text_before_it_is_uploaded(site: HostileSite, context: BrowserContext) -> None:
    visit = Visit(context, site.url)
    page = visit.open("/datasets/new")
    quoted = ['"' + text.replace('"', '""') + '"' for text in HOSTILE]
    csv = "\n".join([",".join(quoted), *[",".join(quoted[row:] + quoted[:row]) for row in range(8)]])
    name = SCRIPT.replace("/", "") + ".csv"
    page.get_by_label("The file").set_input_files({"name": name, "mimeType": "text/csv", "buffer": csv.encode()})
    expect(page.get_by_role("cell", name=SCRIPT).first).to_be_visible()
    assert page.evaluate(MADE) == UNMADE
    assert page.evaluate(TOO_WIDE) <= 0
    assert visit.complaints == []


@pytest.mark.parametrize("column", ["prompt", "annotator", "label", "task", "item_id"])
def test_what_no_page_could_show_is_refused(client: TestClient, column: str) -> None:
    row = {"prompt": "p", "annotator": "a", "label": "l", "task": "t", "item_id": "i"}
    body = {"name": secrets.token_hex(4), "annotations": [row | {column: "a\0b"}]}
    answer = client.post("/v1/datasets", json=body)
    assert answer.status_code == 422
    assert client.get("/v1/datasets").json()["data"] == []
    assert column in answer.text


def test_a_name_with_a_nul_is_refused(client: TestClient) -> None:
    rows = [{"prompt": "p", "annotator": "a", "label": "l"}]
    assert client.post("/v1/datasets", json={"name": "a\0b", "annotations": rows}).status_code == 422
    assert client.post("/v1/api_keys", json={"name": "a\0b"}).status_code == 422
