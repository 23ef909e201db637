"""The pages about datasets as HTML, used as a browser without scripts uses them."""

from __future__ import annotations

import html
import re

from fastapi.testclient import TestClient

from tests.app.dashboard.browser import HTML, Browser, text_of, token_on
from tests.conftest import ProjectKeys
from tests.finished_jobs import crowd_rows, upload
from tests.jobs import queue_job

CSV = "who,answer,text\n" + "".join(
    f"{name},{'yes' if (n + shift) % 3 else 'no'},Is number {n} to be kept?\n"
    for shift, name in enumerate(("ana", "bo", "<b>cy</b>"))
    for n in range(40)
)
MAPPING = {"column_annotator": "who", "column_label": "answer", "column_prompt": "text"}


def send(client: TestClient, page: str, path: str, status: int, csv: str = CSV, **fields: str) -> str:
    """Send a form with a file and the token that stands on the page."""
    token = token_on(page)
    form = {"csrf_token": token, "name": "kept", "on_error": "abort", "labels": "", "ignore_labels": "", **fields}
    answer = client.post(path, files={"file": ("kept.csv", csv, "text/csv")}, data=form, headers=HTML)
    assert answer.status_code == status, answer.text
    return answer.text


def dataset_path(page: str) -> str:
    found = re.search(r'action="(/datasets/ds_[0-9a-f]+)/delete"', page)
    assert found is not None
    return found[1]


def test_an_empty_project_leads_to_the_upload(browser: Browser) -> None:
    page = browser.open("/datasets")
    assert "No dataset yet" in page
    assert 'href="/datasets/new"' in page
    assert '<form id="upload" method="post" action="/datasets" enctype="multipart/form-data"' in browser.open(
        "/datasets/new"
    )


def test_a_file_is_uploaded_without_scripts_and_shown(browser: Browser, client: TestClient) -> None:
    page = send(client, browser.open("/datasets/new"), "/datasets", 200, **MAPPING)
    text = text_of(page)
    assert "By 3 annotators on 40 prompts" in text
    assert re.search(r"α −?0\.\d\d −?0\.\d\d to −?0\.\d\d", text)
    assert "Nothing stands in the way" in text
    assert re.search(r"yes \d+ \d+\s%", text)
    assert "3 40 100" in text  # labels per prompt
    assert "Train on it" in text
    assert "<b>cy" not in page


def test_what_is_wrong_is_shown_with_its_row(browser: Browser, client: TestClient) -> None:
    page = send(client, browser.open("/datasets/new"), "/datasets", 422, CSV + ",yes,Nobody?\n", **MAPPING)
    assert re.search(r"122 annotator .*annotator", text_of(page))
    assert "Nothing was kept" in page
    assert "No dataset yet" in browser.open("/datasets")


def test_bad_rows_that_are_left_out_are_listed(browser: Browser, client: TestClient) -> None:
    fields = MAPPING | {"on_error": "skip"}
    page = text_of(send(client, browser.open("/datasets/new"), "/datasets", 200, CSV + ",yes,Nobody?\n", **fields))
    assert "120 labels kept" in page
    assert "1 row was left out" in page


def test_a_wrong_column_is_named(browser: Browser, client: TestClient) -> None:
    page = text_of(send(client, browser.open("/datasets/new"), "/datasets", 422))
    assert "There is no column 'annotator'. Columns found: 'who', 'answer', 'text'" in page


def test_uploading_needs_the_token_and_an_editor(browser: Browser, client: TestClient, project: ProjectKeys) -> None:
    form = {"file": ("kept.csv", CSV, "text/csv")}
    assert client.post("/datasets", files=form, data={"csrf_token": "guessed"}, headers=HTML).status_code == 403
    assert client.post("/datasets", files=form, headers=HTML).status_code == 403
    viewer = Browser(client, project.viewer_key)
    assert "may read only" in viewer.open("/datasets/new")
    assert "No dataset yet" in viewer.open("/datasets")


def test_rows_are_appended_as_a_version_and_the_old_one_stays(browser: Browser, client: TestClient) -> None:
    first = send(client, browser.open("/datasets/new"), "/datasets", 200, **MAPPING)
    path = dataset_path(first)
    more = "annotator,label,prompt\ndee,yes,Is number 1 to be kept?\n"
    second = send(client, first, f"{path}/annotations", 200, more, name="", labels="")
    assert "By 4 annotators on 40 prompts" in text_of(second)
    assert f"/v1{path}/versions/1/diff/2" in second
    old = browser.open(path, version=1)
    assert "By 3 annotators" in text_of(old)
    assert "Version 1 of 2" in text_of(old)
    assert "Not found" in browser.open(path, 404, version=7)


def test_what_cannot_be_learned_is_said(browser: Browser, client: TestClient, project: ProjectKeys) -> None:
    csv = "annotator,label,prompt\nana,yes,sky\nbo,no,sea\n"
    page = text_of(send(client, browser.open("/datasets/new"), "/datasets", 200, csv))
    assert "Every prompt has one label" in page


def test_a_job_is_started_with_what_was_asked(browser: Browser, client: TestClient) -> None:
    page = send(client, browser.open("/datasets/new"), "/datasets", 200, **MAPPING)
    path = dataset_path(page)
    token = token_on(page)
    form = {
        "csrf_token": token,
        "version": "1",
        "method": "realm",
        "model": "minilm",
        "suffix": "first-try",
        "n_epochs": "2",
        "time_budget_minutes": "",
        "channel": "",
        "seed": "7",
    }
    started = client.post(f"{path}/jobs", data=form, headers=HTML)
    assert started.status_code == 200
    assert "Waiting for a worker" in text_of(started.text)
    client.headers["Authorization"] = "Bearer " + browser.key
    (job,) = client.get("/v1/fine_tuning/jobs").json()["data"]
    assert job["method"]["realm"]["hyperparameters"] == {"n_epochs": 2}
    assert (job["suffix"], job["seed"], job["dataset"]["version"]) == ("first-try", 7, 1)
    assert "first-try" in browser.open(path)
    del client.headers["Authorization"]
    refused = client.post(f"{path}/jobs", data=form | {"suffix": "no spaces"}, headers=HTML)
    assert refused.status_code == 422
    assert "suffix" in text_of(refused.text)


def test_a_dataset_is_deleted_unless_a_job_needs_it(browser: Browser, client: TestClient, project: ProjectKeys) -> None:
    page = send(client, browser.open("/datasets/new"), "/datasets", 200, **MAPPING)
    path = dataset_path(page)
    assert "No dataset yet" in browser.press(page, f"{path}/delete")
    path = dataset_path(send(client, browser.open("/datasets/new"), "/datasets", 200, **MAPPING))
    queue_job(project.id, dataset_id=path.removeprefix("/datasets/"))
    busy = browser.open(path)
    token = token_on(busy)
    answer = client.post(f"{path}/delete", data={"csrf_token": token}, headers=HTML)
    assert answer.status_code == 409
    assert "A job on this dataset is not finished" in text_of(answer.text)


def test_a_dataset_is_renamed(browser: Browser, client: TestClient, project: ProjectKeys) -> None:
    page = send(client, browser.open("/datasets/new"), "/datasets", 200, **MAPPING)
    path = dataset_path(page)
    token = token_on(page)

    def rename(name: str) -> tuple[int, str]:
        answer = client.post(f"{path}/rename", data={"csrf_token": token, "name": name}, headers=HTML)
        return answer.status_code, answer.text

    status, page = rename("spring <b>&</b> summer")
    assert status == 200
    assert "<h1><bdi>spring &lt;b&gt;&amp;&lt;/b&gt; summer</bdi></h1>" in page
    assert "spring <b>" in html.unescape(browser.open("/datasets"))
    for name in ("", "   ", "x" * 201):
        status, page = rename(name)
        assert (status, "name" in text_of(page)) == (422, True), name
    assert "spring" in browser.open(path)
    assert "Rename this dataset" not in Browser(client, project.viewer_key).open(path)


def test_downloads_follow_the_switch_to_pseudonyms(browser: Browser, client: TestClient) -> None:
    page = send(client, browser.open("/datasets/new"), "/datasets", 200, **MAPPING)
    more = "annotator,label,prompt\nana,yes,Is number 0 to be kept?\nbo,no,Is number 99 to be kept?\n"
    page = send(client, page, f"{dataset_path(page)}/annotations", 200, more, name="", labels="")
    path = dataset_path(page)

    def downloads(page: str) -> list[str]:
        addresses = re.findall(rf'href="(/v1{path}/[^"]+)" download', page)
        assert len(addresses) == 5  # two versions as two kinds of file, and what changed between them
        return [client.get(html.unescape(address)).text for address in addresses]

    assert "by their names" in page
    assert all(re.search(r"\bana\b", text) for text in downloads(page))
    page = browser.press(page, "/pseudonyms")
    assert "by pseudonym, such as ann_7" in page
    for text in downloads(page):
        assert re.search(r"\b(ana|bo)\b", text) is None
        assert re.search(r"\bann_\d+\b", text)
    assert all("ana" in text for text in downloads(browser.press(page, "/pseudonyms")))


def test_the_switch_leads_nowhere_else(browser: Browser, client: TestClient) -> None:
    token = token_on(browser.open("/datasets"))
    for back in ("https://evil.example", "//evil.example", "/jobs/../x", "/login", "javascript:alert(1)"):
        answer = client.post("/pseudonyms", data={"csrf_token": token, "back": back}, headers=HTML)
        assert answer.status_code == 422, back


def test_pages_of_others_are_not_found(browser: Browser, client: TestClient, project: ProjectKeys) -> None:
    from tests.conftest import make_project

    client.headers["Authorization"] = f"Bearer {project.admin_key}"
    dataset = upload(client, crowd_rows()[:50], "mine")
    other = Browser(client, make_project().admin_key)
    assert "Not found" in other.open(f"/datasets/{dataset}", 404)
    assert "mine" not in html.unescape(other.open("/datasets"))
