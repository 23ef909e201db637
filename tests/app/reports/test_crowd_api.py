"""The whole crowd over HTTP: pairs, agreement on each answer, and the comparison with other methods."""

from __future__ import annotations

from itertools import combinations

from tests.app.reports.conftest import ReportApi
from tests.finished_jobs import N_ITEMS, SCRIPT_NAME, crowd_rows


def test_pairs_are_those_who_labelled_the_same_prompts(report: ReportApi) -> None:
    said: dict[str, dict[str, str]] = {}
    for row in crowd_rows():
        said.setdefault(row["annotator"], {})[row["item_id"]] = row["label"]
    found = {frozenset((one["first"], one["second"])): one for one in report.all_rows("agreement/pairs", limit=7)}
    for first, second in combinations(said, 2):
        shared = said[first].keys() & said[second].keys()
        pair = found.pop(frozenset((first, second)), None)
        if len(shared) < 10:
            assert pair is None
            continue
        assert pair is not None
        assert pair["shared"] == len(shared)
        assert pair["agreement"] == sum(said[first][i] == said[second][i] for i in shared) / len(shared)
        assert pair["agreement_low"] <= pair["agreement"] <= pair["agreement_high"]
        assert not pair["suspicious"]  # nobody copies here
    assert found == {}


def test_pairs_come_in_order_and_of_one_annotator(report: ReportApi) -> None:
    shared = [one["shared"] for one in report.all_rows("agreement/pairs", limit=3)]
    assert shared == sorted(shared, reverse=True)
    one = report.get("agreement/pairs")["data"][0]["first_id"]
    mine = report.all_rows("agreement/pairs", annotator=one)
    assert len(mine) == 7
    assert all(one in (pair["first_id"], pair["second_id"]) for pair in mine)
    assert report.get("agreement/pairs", suspicious=True)["data"] == []
    hidden = report.get("agreement/pairs", pseudonyms=True)["data"][0]
    assert (hidden["first"], hidden["second"]) == (hidden["first_id"], hidden["second_id"])


def test_unknown_pairs_and_annotators(report: ReportApi) -> None:
    for query in ({"after": "pair_999999998_999999999"}, {"after": "pair_x"}, {"annotator": "bob"}):
        report.get("agreement/pairs", 404, **query)


def test_agreement_has_the_figures_of_everybody(report: ReportApi) -> None:
    agreement = report.get("agreement")
    assert agreement["krippendorff_alpha_low"] < agreement["krippendorff_alpha"] < agreement["krippendorff_alpha_high"]
    assert sum(one["n_items"] for one in agreement["certainty"]) == N_ITEMS
    assert {one["answer"] for one in agreement["answers"]} == {"business", "science", "sports"}
    methods = {one["method"]: one for one in agreement["comparison"]}
    assert methods["majority_vote"]["difference_high"] < 0
    worst = agreement["confused_answers"][0]
    assert {worst["answer"], worst["probable_answer"]} <= {"business", "science", "sports"}
    assert not worst["everybody"]  # three people do it
    assert agreement["gold_calibration"]


def test_what_if_leaves_out_the_worst(report: ReportApi) -> None:
    worst = [row["id"] for row in report.all_rows("annotators") if row["annotator"] in (SCRIPT_NAME, "always al")]
    path = f"/v1/fine_tuning/jobs/{report.job.id}/what_if"
    viewer = {"Authorization": f"Bearer {report.project.viewer_key}"}
    answer = report.client.post(path, json={"without": worst}, headers=viewer)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    overview = report.get("agreement")
    left_out = sum(row["annotator"] in (SCRIPT_NAME, "always al") for row in crowd_rows())
    assert found["before"]["n_labels"] - found["after"]["n_labels"] == left_out
    assert abs(found["before"]["expected_accuracy"] - overview["expected_accuracy"]) < 0.001  # the stored report's
    assert found["before"]["agreement"] == overview["agreement"] < found["after"]["agreement"]
    assert found["n_changed"] >= len(found["changed"])
    assert all(one["label"] != one["other_label"] for one in found["changed"])
    assert worst[0] not in {one["id"] for one in found["annotators"]}


def test_what_if_refuses_nobody_and_everybody(report: ReportApi) -> None:
    path = f"/v1/fine_tuning/jobs/{report.job.id}/what_if"
    everybody = [row["id"] for row in report.all_rows("annotators")]
    for without, status in (([], 422), (everybody, 409), (["ann_999999999"], 404), (["x"], 404)):
        assert report.client.post(path, json={"without": without}).status_code == status, without
