"""The pages of a report as HTML: agreement, comparison, what-if, decisions, pseudonyms, the report on paper."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.dashboard.browser import HTML, Browser, annotator_page, text_of, token_on
from tests.conftest import ProjectKeys, Services, make_project
from tests.finished_jobs import SCRIPT_NAME, crowd_rows, finish_job, upload


class Reports:
    """Two finished jobs on one dataset, and a browser of an editor and of a viewer."""

    def __init__(self, client: TestClient, project: ProjectKeys) -> None:
        self.client = client
        self.project = project
        dataset = upload(client, crowd_rows(), "news")
        self.job = finish_job(project.id, dataset, suffix="first")
        self.other = finish_job(project.id, dataset, with_model=False, suffix="second")
        self.browser = Browser(client, project.editor_key)

    def api(self, path: str, **query: Any) -> Any:
        key = {"Authorization": f"Bearer {self.project.admin_key}"}
        answer = self.client.get(f"/v1/fine_tuning/jobs/{self.job.id}/{path}", params=query, headers=key)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, path: str, page: str, **fields: str) -> int:
        """The status of a form that is sent with the session's token."""
        token = token_on(page)
        form = {"csrf_token": token} | fields
        return self.client.post(path, data=form, headers=HTML, follow_redirects=False).status_code


@pytest.fixture(scope="module")
def reports(services: Services) -> Iterator[Reports]:
    from app.main import create_app

    project = make_project()
    headers = {"Authorization": f"Bearer {project.admin_key}"}
    with TestClient(create_app(), base_url="http://localhost", headers=headers) as client:
        yield Reports(client, project)


def test_the_overview_says_where_to_look_first(reports: Reports) -> None:
    text = text_of(reports.browser.open(f"/jobs/{reports.job.id}"))
    assert "Where to look first" in text
    assert "How sure the cleaned labels are" in text
    assert re.search(r"Majority vote \d+\.\d\s% \d+–\d+\s% worse", text)
    assert "Do its probabilities come true? By your gold" in text
    assert "Plain fine-tuning here is" in text


def test_the_agreement_page_has_the_figures_of_the_api(reports: Reports) -> None:
    page = reports.browser.open(f"/jobs/{reports.job.id}/agreement")
    text = text_of(page)
    pairs = reports.api("agreement/pairs", limit=50)["data"]
    assert page.count('data-label="In common"') == len(pairs)
    shown = re.findall(r'data-label="In common">(\d+)<', page)
    assert shown == [str(pair["shared"]) for pair in pairs]
    assert "Nobody stands out." in text
    confused = reports.api("agreement")["confused_answers"]
    assert page.count('data-label="They say"') == len(confused)
    assert "<script>alert" not in page


def test_pairs_of_one_annotator_are_found_by_name(reports: Reports) -> None:
    page = reports.browser.open(f"/jobs/{reports.job.id}/agreement", name="swap")
    pairs = page.partition('id="pairs"')[2]
    assert pairs.count("<bdi>swap sam</bdi>") == pairs.count('data-label="In common"') == 7
    assert "No annotator has" in text_of(reports.browser.open(f"/jobs/{reports.job.id}/agreement", name="nobody"))


def test_two_jobs_are_compared(reports: Reports) -> None:
    choose = reports.browser.open(f"/jobs/{reports.job.id}/compare")
    assert f'<option value="{reports.other.id}"' in choose
    page = reports.browser.open(f"/jobs/{reports.job.id}/compare", **{"with": reports.other.id})
    found = reports.api("compare", **{"with": reports.other.id})
    text = text_of(page)
    assert f"{found['items']['n_same']} of {found['items']['n_common']} prompts have the same cleaned label" in text
    assert page.count('data-label="This job"') >= len(found["annotators"]["moved"])
    reports.browser.open(f"/jobs/{reports.job.id}/compare", 422, **{"with": reports.job.id})


def test_what_if_leaves_out_who_is_ticked(reports: Reports) -> None:
    choose = reports.browser.open(f"/jobs/{reports.job.id}/what_if")
    boxes = {
        html.unescape(name): id_
        for id_, name in re.findall(r'name="without" value="(ann_\d+)"\s*> <span><bdi>(.*?)</bdi>', choose)
    }
    assert len(boxes) == 9
    text = text_of(reports.browser.open(f"/jobs/{reports.job.id}/what_if", without=boxes[SCRIPT_NAME]))
    n = len(crowd_rows())
    left = sum(row["annotator"] != SCRIPT_NAME for row in crowd_rows())
    assert f"Labels {n:,} {left:,}" in text
    assert "cleaned labels would be others" in text
    assert "nothing is stored" in text


def test_a_decision_is_noted_with_its_evidence_and_shown(reports: Reports) -> None:
    path, page = annotator_page(reports.browser, reports.job, "swap sam")
    assert "Nothing has been decided yet." in page
    note = "talked to <b>Sam</b>"
    assert reports.send(f"{path}/decisions", page, action="retrain", note=note) == 303
    page = reports.browser.open(path)
    assert "talked to &lt;b&gt;Sam&lt;/b&gt;" in page
    assert re.search(r"Retrain .* with the key editor .* At that moment: accuracy \d+\s% .* Gives “", text_of(page))
    table = reports.browser.open(f"/jobs/{reports.job.id}", name="swap")
    assert 'data-label="Decided">Retrain<' in table


def test_a_decision_needs_the_token_and_an_action(reports: Reports) -> None:
    path, page = annotator_page(reports.browser, reports.job, "chen")
    answer = reports.client.post(f"{path}/decisions", data={"action": "drop", "csrf_token": "x"}, headers=HTML)
    assert answer.status_code == 403
    assert reports.send(f"{path}/decisions", page, action="fire") == 422
    assert "Nothing has been decided yet." in reports.browser.open(path)


def test_pseudonyms_hide_every_name(reports: Reports) -> None:
    page = reports.browser.open(f"/jobs/{reports.job.id}")
    assert reports.send("/pseudonyms", page, back=f"/jobs/{reports.job.id}", pseudonyms="true") == 303
    path, _ = re.search(rf"(/jobs/{reports.job.id}/annotators/(ann_\d+))", page).groups()  # type: ignore[union-attr]
    try:
        compared = f"/compare?with={reports.other.id}"
        for address in ("", "/prompts", "/prompts/item_0", "/agreement", "/what_if", compared):
            shown = reports.browser.open(f"/jobs/{reports.job.id}{address}")
            for name in ("boris", "chen wei", "swap sam"):
                assert name not in shown, address
            for download in re.findall(r'href="(/v1/[^"]+/(?:items|annotators)\.csv[^"]*)"', shown):
                assert "boris" not in reports.client.get(html.unescape(download)).text
        names, ids = (list_of(reports, name=name) for name in ("boris", path.rpartition("/")[2]))
        assert (names, ids) == ([], [path.rpartition("/")[2]])
        by_pseudonym = list_of(reports, sort="name")
        assert by_pseudonym == sorted(by_pseudonym, key=lambda id_: int(id_.removeprefix("ann_")))
        assert "boris" not in reports.browser.open(f"/v1/fine_tuning/jobs/{reports.job.id}/report.html")
        assert path.rpartition("/")[2] in text_of(reports.browser.open(path))
    finally:
        assert reports.send("/pseudonyms", page, back=f"/jobs/{reports.job.id}") == 303
    assert "boris" in reports.browser.open(f"/jobs/{reports.job.id}")


def list_of(reports: Reports, **query: str) -> list[str]:
    """The ids of the table of annotators."""
    page = reports.browser.open(f"/jobs/{reports.job.id}", **query)
    return re.findall(r'<tr id="(ann_\d+)">', page)


def test_the_report_on_paper_has_everybody(reports: Reports) -> None:
    page = reports.browser.open(f"/v1/fine_tuning/jobs/{reports.job.id}/report.html")
    text = text_of(page)
    for row in reports.api("annotators")["data"]:
        assert " ".join(row["annotator"].split()) in text
    assert "Label these again first" in text
    assert "<script>alert" not in page


def test_a_viewer_reads_all_and_decides_nothing(reports: Reports) -> None:
    with TestClient(reports.client.app, base_url="http://localhost") as client:
        viewer = Browser(client, reports.project.viewer_key)
        path, page = annotator_page(viewer, reports.job, "ada")
        assert "Note it" not in page
        token = token_on(page)
        form = {"csrf_token": token, "action": "drop"}
        assert client.post(f"{path}/decisions", data=form, headers=HTML).status_code == 403
        for address in ("/agreement", "/compare", "/what_if"):
            viewer.open(f"/jobs/{reports.job.id}{address}")


def test_jobs_of_others_have_no_report_pages(reports: Reports, client: TestClient, project: ProjectKeys) -> None:
    stranger = Browser(client, project.admin_key)
    for address in ("/agreement", "/compare", "/what_if"):
        stranger.open(f"/jobs/{reports.job.id}{address}", 404)
    stranger.open(f"/v1/fine_tuning/jobs/{reports.job.id}/report.html", 404)
