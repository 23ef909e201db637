"""The pages as HTML: what they say in each state, and that hostile text stays text."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, update

from app.dashboard import job_values
from app.database import attempt_queries
from app.database.attempt_queries import Claim, News, Progress
from app.database.job_queries import NewEvent
from app.database.session import transaction
from app.database.tables import Job
from tests.conftest import ProjectKeys, Services, make_project
from tests.finished_jobs import (
    FORMULA_NAME,
    HOSTILE_PROMPT,
    SCRIPT_NAME,
    FinishedJob,
    crowd_rows,
    finish_job,
    upload,
)
from tests.jobs import queue_job, reload

HTML = {"Accept": "text/html"}


class Browser:
    """A logged-in browser without scripts."""

    def __init__(self, client: TestClient, key: str) -> None:
        self._client, self.key = client, key
        client.headers.pop("Authorization", None)
        answer = client.post("/login", data={"key": key}, follow_redirects=False)
        assert answer.status_code == 303

    def open(self, path: str, status: int = 200, **query: Any) -> str:
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


def text_of(page: str) -> str:
    """What a reader sees, in one line."""
    without_scripts = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", without_scripts)))


@pytest.fixture
def browser(client: TestClient, project: ProjectKeys) -> Browser:
    return Browser(client, project.admin_key)


@pytest.fixture(scope="module")
def finished(services: Services) -> Iterator[tuple[Browser, FinishedJob]]:
    from app.main import create_app

    project = make_project()
    headers = {"Authorization": f"Bearer {project.admin_key}"}
    with TestClient(create_app(), base_url="http://localhost", headers=headers) as client:
        job = finish_job(project.id, upload(client, crowd_rows(), "news & <b>views</b>"), suffix="first")
        yield Browser(client, project.editor_key), job


def running_job(project: ProjectKeys, **values: Any) -> tuple[Job, Claim]:
    job = queue_job(project.id, **values)
    with transaction() as session:
        claim = attempt_queries.claim_job(session, job.id, "a worker", 60)
        assert claim is not None
    return job, claim


def set_job(job: Job, **values: Any) -> None:
    with transaction() as session:
        session.execute(update(Job).where(Job.key == job.key).values(**values))


def test_strangers_get_the_login_form(client: TestClient, project: ProjectKeys) -> None:
    del client.headers["Authorization"]
    for path in ("/", "/jobs/ftjob-1", "/docs"):
        answer = client.get(path, headers=HTML)
        assert answer.status_code == 401
        assert '<form method="post" action="/login">' in answer.text
        assert f'name="next" value="{path}"' in answer.text
    client.cookies.set("realm_session", "wrong")
    assert client.get("/", headers=HTML).status_code == 401


def test_an_empty_project_says_what_to_do(browser: Browser) -> None:
    page = text_of(browser.open("/"))
    assert "Nothing here yet" in page
    assert "realm upload labels.csv" in page
    assert "realm train ds_… --wait" in page


def test_a_dataset_without_jobs_says_how_to_train_on_it(
    browser: Browser, client: TestClient, project: ProjectKeys
) -> None:
    client.headers["Authorization"] = f"Bearer {project.admin_key}"
    dataset = upload(client, crowd_rows()[:20], "first labels")
    page = text_of(browser.open("/"))
    assert "No job yet" in page
    assert f"realm train {dataset} --wait" in page
    assert "first labels" in page


def test_the_first_page_lists_jobs_page_by_page(browser: Browser, project: ProjectKeys) -> None:
    jobs = [queue_job(project.id, suffix=f"job-{n}") for n in range(22)]
    first = browser.open("/")
    assert f'href="/jobs/{jobs[-1].id}"' in first
    assert f'href="/jobs/{jobs[1].id}"' not in first
    (after,) = re.findall(r'href="/\?after=([^"]+)"', first)
    second = browser.open("/", after=after)
    assert f'href="/jobs/{jobs[1].id}"' in second
    assert f'href="/jobs/{jobs[-1].id}"' not in second


def test_a_waiting_job_says_what_it_waits_for(browser: Browser, project: ProjectKeys) -> None:
    job = queue_job(project.id)
    page = text_of(browser.open(f"/jobs/{job.id}"))
    assert "Waiting for a worker" in page
    assert "No worker is running, so nothing will start" in page
    assert "realm worker" in page
    assert "The job is queued" in page


def test_a_running_job_shows_how_far_it_is(browser: Browser, project: ProjectKeys) -> None:
    job, claim = running_job(project)
    with transaction() as session:
        news = News(progress=Progress("training", 30, 120, 32.4, 90.0), events=(NewEvent("A sign of life"),))
        attempt_queries.record(session, claim, news)
    page = browser.open(f"/jobs/{job.id}")
    assert '<progress max="100" value="32.4"' in page
    assert "Training" in text_of(page)
    assert "30 of 120" in page
    assert re.search(r"Time left, about\s+1 min (2\d|3[01]) s", text_of(page))
    assert "A sign of life" in page
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page


def test_cancel_ends_a_queued_job(browser: Browser, project: ProjectKeys) -> None:
    job = queue_job(project.id)
    page = browser.press(browser.open(f"/jobs/{job.id}"), f"/jobs/{job.id}/cancel")
    assert "The job was cancelled" in page
    assert reload(job).status == "cancelled"


def test_cancel_of_a_running_job_waits_for_its_end(browser: Browser, project: ProjectKeys) -> None:
    job, claim = running_job(project)
    page = browser.press(browser.open(f"/jobs/{job.id}"), f"/jobs/{job.id}/cancel")
    assert "Cancelling" in text_of(page)
    assert "Yes, cancel it" not in page
    with transaction() as session:
        attempt_queries.finish_cancelled(session, claim)
    assert "The job was cancelled" in browser.open(f"/jobs/{job.id}")


def test_cancel_needs_the_token_of_the_session(browser: Browser, client: TestClient, project: ProjectKeys) -> None:
    job = queue_job(project.id)
    answer = client.post(f"/jobs/{job.id}/cancel", data={"csrf_token": "guessed"}, headers=HTML)
    assert answer.status_code == 403
    assert reload(job).status == "queued"


def test_a_viewer_has_no_cancel_button_and_may_not_use_it(client: TestClient, project: ProjectKeys) -> None:
    job = queue_job(project.id)
    page = Browser(client, project.viewer_key).open(f"/jobs/{job.id}")
    assert "Yes, cancel it" not in page
    (token,) = set(re.findall(r'name="csrf_token" value="([^"]+)"', page))
    answer = client.post(f"/jobs/{job.id}/cancel", data={"csrf_token": token}, headers=HTML)
    assert answer.status_code == 403
    assert reload(job).status == "queued"


def test_cancelling_what_has_ended_says_so_on_a_page(
    browser: Browser, project: ProjectKeys, client: TestClient
) -> None:
    job = queue_job(project.id)
    (token,) = set(re.findall(r'name="csrf_token" value="([^"]+)"', browser.open(f"/jobs/{job.id}")))
    set_job(job, status="failed", finished_at=func.now())
    answer = client.post(f"/jobs/{job.id}/cancel", data={"csrf_token": token}, headers=HTML)
    assert answer.status_code == 409
    assert "already failed" in text_of(answer.text)


def test_a_failed_job_says_why_and_how_to_start_again(browser: Browser, project: ProjectKeys) -> None:
    job, claim = running_job(project)
    with transaction() as session:
        attempt_queries.fail(session, claim, "out_of_memory", "Out of memory: set a smaller <batch_size>.")
    page = browser.open(f"/jobs/{job.id}")
    assert "The job failed" in page
    assert "Out of memory: set a smaller &lt;batch_size&gt;." in page
    assert "out_of_memory" in page
    assert f"/v1/fine_tuning/jobs/{job.id}/log" in page


def test_unknown_jobs_and_those_of_others_are_not_found(
    browser: Browser, finished: tuple[Browser, FinishedJob]
) -> None:
    for id_ in (finished[1].id, "ftjob-nope", "<script>"):
        page = browser.open(f"/jobs/{id_}", 404)
        assert "Not found" in page
        assert "<script>" not in page.replace("<script src", "")


def test_a_wrong_query_is_a_page_that_says_what(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    assert "sort" in text_of(browser.open(f"/jobs/{job.id}", 422, sort="height"))
    assert "There is no task" in text_of(browser.open(f"/jobs/{job.id}", 422, task="nope"))
    assert "Not found" in browser.open(f"/jobs/{job.id}", 404, after="ann_999999999")


def table_of(page: str) -> list[str]:
    """The annotators' names in the order of the table."""
    return [
        html.unescape(name)
        for name in re.findall(r'<tr id="ann_\d+">\s*<th scope="row"><a [^>]*><bdi>(.*?)</bdi>', page)
    ]


def plot_of(page: str) -> dict[str, Any]:
    """The data of the plot."""
    data = re.search(r'<script type="application/json" id="annotators-data">(.*?)</script>', page)
    assert data is not None
    plot: dict[str, Any] = json.loads(data[1])
    return plot


def test_the_report_names_the_bad_annotators_in_words(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    page = browser.open(f"/jobs/{job.id}")
    assert set(table_of(page)[:3]) == {SCRIPT_NAME, "swap sam", "always al"}
    assert table_of(page)[-1] == "newbie"
    text = text_of(page)
    assert "3 of 9 annotators" in text
    assert "Answers “business” 100 % of the time, whatever the prompt." in text
    assert re.search(r"Gives “(business|science)” where “(business|science)” is probably right", text)
    assert "Worse than chance" in text
    assert "1 has too few labels to tell" in text
    assert "Majority vote" in text
    assert "Dawid–Skene" in text


def test_the_plot_has_the_same_figures_as_the_table(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    page = browser.open(f"/jobs/{job.id}")
    plot = plot_of(page)
    assert plot["chance"] == pytest.approx(1 / 3)
    assert {row["name"] for row in plot["rows"]} == set(table_of(page)) - {"newbie"}
    values = [row["value"] for row in plot["rows"]]
    assert values == sorted(values)
    assert {row["name"]: row["tone"] for row in plot["rows"] if row["tone"] != "plain"} == {
        SCRIPT_NAME: "bad",
        "swap sam": "look",
        "always al": "look",
    }


def test_nothing_is_red_but_what_is_surely_worse_than_chance(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    for row in plot_of(browser.open(f"/jobs/{job.id}"))["rows"]:
        assert (row["tone"] == "bad") <= (row["high"] < 1 / 3)


def annotator_page(browser: Browser, job: FinishedJob, name: str) -> tuple[str, str]:
    """The address and the page that a name in the job's table leads to."""
    listed = browser.open(f"/jobs/{job.id}", name=name)
    found = re.search(rf'<th scope="row"><a href="(/jobs/{job.id}/annotators/ann_\d+)"><bdi>', listed)
    assert found is not None
    return found[1], browser.open(found[1])


def test_an_annotator_has_a_page_that_says_what_is_wrong(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    _, page = annotator_page(browser, job, "swap sam")
    text = text_of(page)
    assert re.search(r"Swaps answers Gives “(business|science)” where “(business|science)” is probably right", text)
    assert re.search(r"95 % interval, from 1\d\d labels; guessing gives 33", text)
    assert re.search(r"science \d+ \d+\s% \d+\s%", text)  # labels, their share, everybody's
    assert f'href="/jobs/{job.id}#annotators"' in page
    assert "Over time" not in text  # nobody knows when


def test_a_cell_of_the_confusion_leads_to_its_prompts(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    path, page = annotator_page(browser, job, "swap sam")
    cells = [html.unescape(address) for address in re.findall(rf'href="({path}\?[^"]*)#labels"', page)]
    assert len([cell for cell in cells if "after" not in cell]) == 9
    (cell,) = (one for one in cells if "label=science&probable_label=business" in one)
    text = text_of(browser.open(cell))
    assert "Said science where business is most probable" in text
    assert "Headline" in text
    assert "From the most damaging of all" in text


def test_the_labels_of_an_annotator_are_paged(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    address, page = annotator_page(browser, job, "chen")
    n = 0
    while address:
        page = browser.open(address)
        n += page.count('data-label="That they are right"')
        following = re.search(r'<a class="button" href="([^"#]+)#labels">Next 20</a>', page)
        address = html.unescape(following[1]) if following else ""
    assert n == sum(row["annotator"] == "chen wei" for row in crowd_rows())


def test_an_annotators_page_keeps_hostile_text_as_text_and_says_when_there_is_none(
    finished: tuple[Browser, FinishedJob],
) -> None:
    browser, job = finished
    path, page = annotator_page(browser, job, "<script>")
    assert "<script>alert" not in page
    assert html.unescape(page).count(SCRIPT_NAME) == 2  # title and heading
    for address in re.findall(r'(?:src|href|action)="([^"]*)"', page):
        assert address.startswith(("/", "#", "data:,")), address
    assert "There is no annotator" in text_of(browser.open(f"/jobs/{job.id}/annotators/ann_999999999", 404))
    assert "has no answer" in text_of(browser.open(path, 422, task="default", label="cooking"))


def test_hostile_text_stays_text(finished: tuple[Browser, FinishedJob]) -> None:
    browser, job = finished
    for page in (browser.open(f"/jobs/{job.id}"), browser.open(f"/jobs/{job.id}", name="<script>"), browser.open("/")):
        assert "<script>" not in page
        assert "<b>views" not in page
        assert "<img" not in page
        assert "{{" not in page
    page = browser.open(f"/jobs/{job.id}", sort="name")
    assert html.escape(SCRIPT_NAME, quote=False).replace("'", "&#39;") in page
    assert FORMULA_NAME in html.unescape(page)


def test_hostile_prompts_stay_text(finished: tuple[Browser, FinishedJob], monkeypatch: pytest.MonkeyPatch) -> None:
    browser, job = finished
    monkeypatch.setattr(job_values, "ITEMS_SHOWN", 240)
    page = browser.open(f"/jobs/{job.id}")
    assert HOSTILE_PROMPT in html.unescape(page)
    assert "<img" not in page


def test_annotators_are_found_sorted_and_paged(
    finished: tuple[Browser, FinishedJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, job = finished
    monkeypatch.setattr("app.dashboard.job_routes.ROWS_PER_PAGE", 4)
    seen, address = [], f"/jobs/{job.id}?sort=n"
    while address:
        page = browser.open(address)
        seen += table_of(page)
        following = re.search(r'<a class="button" href="([^"#]+)#annotators">Next 4</a>', page)
        address = html.unescape(following[1]) if following else ""
    assert len(seen) == 9
    assert seen[0] == "newbie"
    assert 'aria-sort="ascending"' in page
    assert table_of(browser.open(f"/jobs/{job.id}", name="CHEN", task="")) == ["chen wei"]
    assert "No annotator has “nobody” in their name" in text_of(browser.open(f"/jobs/{job.id}", name="nobody"))


def test_the_plot_of_many_says_that_it_is_a_part(
    finished: tuple[Browser, FinishedJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, job = finished
    monkeypatch.setattr(job_values, "MARKS_IN_PLOT", 4)
    page = browser.open(f"/jobs/{job.id}")
    assert {row["name"] for row in plot_of(page)["rows"]} == set(table_of(page)[:4])
    assert "Drawn are the 4 whom the table’s own order puts first" in text_of(page)
    assert len(table_of(page)) == 9


def test_the_report_outlives_its_dataset(browser: Browser, client: TestClient, project: ProjectKeys) -> None:
    client.headers["Authorization"] = f"Bearer {project.admin_key}"
    job = finish_job(project.id, upload(client, crowd_rows()[:400]), with_model=False)
    assert client.delete(f"/v1/datasets/{job.dataset_id}").status_code in (200, 204)
    del client.headers["Authorization"]
    page = text_of(browser.open(f"/jobs/{job.id}"))
    assert "Its dataset was deleted" in page
    assert "The dataset was deleted, and its prompts and labels with it." in page
    assert "always al" in page
    _, of_al = annotator_page(browser, job, "always al")
    assert "The dataset was deleted, and its prompts and labels with it." in of_al
    assert "Answers “business”" in text_of(of_al)
    assert "deleted" in text_of(browser.open("/"))
    assert "They come from the labels alone, without a model." in page


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
    (token,) = set(re.findall(r'name="csrf_token" value="([^"]+)"', page))
    answer = client.post("/logout", data={"csrf_token": token}, headers=HTML)
    assert "API key" in answer.text
    assert client.get("/", headers=HTML).status_code == 401
