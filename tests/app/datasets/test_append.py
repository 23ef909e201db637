"""Versions: appending rows, what changed, and that nothing that was there before does."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app.database import annotation_queries, sums_queries
from app.database.annotation_queries import load_annotations
from app.database.session import transaction
from app.database.tables import Dataset
from app.datasets.service import get_dataset
from app.datasets.version_labels import count_version, describe
from tests.conftest import ProjectKeys

FIRST = [
    {"prompt": "hot", "annotator": "ann", "label": "up"},
    {"prompt": "hot", "annotator": "bob", "label": "up"},
    {"prompt": "cold", "annotator": "ann", "label": "down"},
]
SECOND = [
    {"prompt": "hot", "annotator": "ann", "label": "up"},  # the same again
    {"prompt": "hot", "annotator": "bob", "label": "across"},  # another label, and a new one
    {"prompt": "cold", "annotator": "cem", "label": "down"},
    {"prompt": "warm", "annotator": "cem", "label": "up"},
]
Rows = list[dict[str, Any]]


def make(client: TestClient, rows: Rows = FIRST, **settings: Any) -> str:
    answer = client.post("/v1/datasets", json={"name": "crowd", "annotations": rows, **settings})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def append(client: TestClient, dataset: str, rows: Rows, **settings: Any) -> Any:
    return client.post(f"/v1/datasets/{dataset}/annotations", json={"annotations": rows, **settings})


def appended(client: TestClient, dataset: str, rows: Rows, **settings: Any) -> dict[str, Any]:
    answer = append(client, dataset, rows, **settings)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def labels_of(client: TestClient, dataset: str, version: int) -> set[tuple[str, str, str]]:
    answer = client.get(f"/v1/datasets/{dataset}/annotations", params={"version": version})
    return {(row["prompt"], row["annotator"], row["label"]) for row in csv.DictReader(answer.text.splitlines())}


def said(rows: Rows) -> set[tuple[str, str, str]]:
    return {(row["prompt"], row["annotator"], row["label"]) for row in rows}


def test_an_append_makes_the_next_version_and_leaves_the_first(client: TestClient) -> None:
    dataset = make(client)
    first = client.get(f"/v1/datasets/{dataset}").json()
    second = appended(client, dataset, SECOND)
    assert (second["version"], second["errors"]) == (2, [])
    assert second["counts"] == {
        "rows": 4,
        "added": 3,
        "superseded": 1,
        "labels": 5,
        "items": 3,
        "annotators": 3,
        "identical_repeats": 1,
        "conflicting_repeats": 0,
        "ignored": 0,
        "rejected": 0,
    }
    assert [answer["name"] for answer in second["tasks"][0]["answers"]] == ["down", "up", "across"]
    assert labels_of(client, dataset, 1) == said(FIRST)
    assert labels_of(client, dataset, 2) == said(FIRST) - {("hot", "bob", "up")} | said(SECOND)
    versions = client.get(f"/v1/datasets/{dataset}/versions").json()["data"]
    assert [version["number"] for version in versions] == [2, 1]
    assert versions[1]["sha256"] == first["sha256"] != second["sha256"]
    assert versions[1]["counts"] == first["counts"]


def test_statistics_and_warnings_are_those_of_each_version(client: TestClient) -> None:
    dataset = make(client, [{"prompt": str(n), "annotator": "ab"[n % 2], "label": "yn"[n % 2]} for n in range(4)])
    first = client.get(f"/v1/datasets/{dataset}").json()
    assert [warning["code"] for warning in first["warnings"]] == ["one_label_per_prompt"]
    second = appended(client, dataset, [{"prompt": str(n), "annotator": "c", "label": "y"} for n in range(4)])
    assert second["warnings"] == []
    shown = [client.get(f"/v1/datasets/{dataset}/statistics", params={"version": n}).json() for n in (1, 2)]
    assert [one["labels_per_item"]["mean"] for one in shown] == [1, 2]
    assert [one["annotators"] for one in shown] == [2, 3]
    assert shown[1]["agreement"] == 0.5


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "prompt": st.sampled_from("abcdef"),
            "annotator": st.sampled_from(("ann", "bob", "cem", "dan")),
            "label": st.sampled_from(("up", "down", "across")),
            "task": st.sampled_from(("default", "tone", "topic")),
        }
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=ROWS, later=st.lists(ROWS, min_size=1, max_size=3))
def test_an_append_counts_what_a_recount_would(
    client: TestClient, project: ProjectKeys, first: Rows, later: list[Rows]
) -> None:
    """Repeats, contradictions, new prompts, tasks, answers and annotators."""
    dataset_id = make(client, first)
    for rows in later:
        version = appended(client, dataset_id, rows)["version"]
        shown = client.get(f"/v1/datasets/{dataset_id}/statistics").json()
        with transaction() as session:
            dataset = get_dataset(session, project.id, dataset_id)
            recount = describe(session, dataset, version, count_version(session, dataset, version))
        assert {name: shown[name] for name in recount} == recount


def test_an_append_does_not_read_what_it_does_not_touch(
    client: TestClient, project: ProjectKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_id = make(client)
    read_all: list[int] = []

    def load_labels(session: Session, dataset_key: int, version: int) -> annotation_queries.Labels:
        read_all.append(version)
        return original(session, dataset_key, version)

    original = annotation_queries.load_labels
    monkeypatch.setattr(annotation_queries, "load_labels", load_labels)
    appended(client, dataset_id, SECOND)
    assert read_all == []
    with transaction() as session:
        sums_queries.forget_sums(session, [get_dataset(session, project.id, dataset_id).key])
    appended(client, dataset_id, SECOND)
    appended(client, dataset_id, SECOND)
    assert read_all == [3]


def test_the_arrays_of_each_version_are_what_it_says(client: TestClient, project: ProjectKeys) -> None:
    dataset_id = make(client)
    appended(client, dataset_id, SECOND)
    with transaction() as session:
        dataset: Dataset = get_dataset(session, project.id, dataset_id)
        first, second = (load_annotations(session, dataset.key, version).annotations for version in (1, 2))
    assert (first.prompts, second.prompts) == (("hot", "cold"), ("hot", "cold", "warm"))
    assert (first.tasks[0].answers, second.tasks[0].answers) == (("down", "up"), ("down", "up", "across"))
    assert (first.n_labels, second.n_labels) == (3, 5)


def test_what_changed_between_two_versions(client: TestClient) -> None:
    dataset = make(client)
    appended(client, dataset, SECOND)
    appended(client, dataset, [{"prompt": "hot", "annotator": "bob", "label": "up"}])
    url = f"/v1/datasets/{dataset}/versions"
    diff = client.get(f"{url}/1/diff/2").json()
    assert diff["object"] == "dataset.diff"
    assert (diff["older"], diff["newer"]) == (f"{dataset}@1", f"{dataset}@2")
    assert diff["counts"] == {"items": 1, "added": 3, "superseded": 1}
    changes = {(row["change"], row["prompt"], row["annotator"], row["label"]) for row in diff["data"]}
    assert changes == {
        ("superseded", "hot", "bob", "up"),
        ("added", "hot", "bob", "across"),
        ("added", "cold", "cem", "down"),
        ("added", "warm", "cem", "up"),
    }
    assert client.get(f"{url}/2/diff/3").json()["counts"] == {"items": 0, "added": 1, "superseded": 1}
    whole = client.get(f"{url}/1/diff/3").json()
    assert len(whole["data"]) == whole["counts"]["added"] + whole["counts"]["superseded"] == 4
    same = client.get(f"{url}/2/diff/2").json()
    assert (same["counts"], same["data"]) == ({"items": 0, "added": 0, "superseded": 0}, [])
    backwards = client.get(f"{url}/2/diff/1")
    assert (backwards.status_code, backwards.json()["code"]) == (422, "versions_reversed")
    assert client.get(f"{url}/1/diff/9").status_code == 404


def test_a_file_and_a_job_stay_with_their_version(client: TestClient) -> None:
    data = "".join(json.dumps(row) + "\n" for row in FIRST).encode()
    file = client.post("/v1/files", files={"file": ("a.jsonl", data)}, data={"purpose": "fine-tune"}).json()
    dataset = file["dataset"].removesuffix("@1")
    appended(client, dataset, SECOND)
    content = client.get(f"/v1/files/{file['id']}/content").text
    assert said([json.loads(line) for line in content.splitlines()]) == said(FIRST)
    answer = client.delete(f"/v1/files/{file['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "file_in_use")


def test_items_are_known_by_their_id_and_keep_their_text(client: TestClient) -> None:
    known = {"item_id": "1", "prompt": "hot", "annotator": "ann", "label": "up"}
    dataset = make(client, [known])
    other = {**known, "prompt": "changed", "annotator": "bob"}
    answer = append(client, dataset, [{**known, "annotator": "cem"}, other])
    assert answer.status_code == 422
    dataset_only = append(client, dataset, [{**known, "item_id": "2"}, other])
    assert (dataset_only.status_code, dataset_only.json()["errors"]) == (
        422,
        [
            {
                "row": 2,
                "column": "prompt",
                "code": "item_with_two_texts",
                "detail": "The dataset has this item_id with another prompt or other options.",
            }
        ],
    )
    assert client.get(f"/v1/datasets/{dataset}").json()["version"] == 1
    kept = appended(client, dataset, [{**known, "item_id": "2"}, other], on_error="skip")
    assert (kept["counts"]["added"], kept["counts"]["rejected"], kept["counts"]["items"]) == (1, 1, 2)
    assert [fault["row"] for fault in kept["errors"]] == [2]


def test_gold_comes_with_new_items_and_never_changes(client: TestClient, project: ProjectKeys) -> None:
    row = {"prompt": "hot", "annotator": "ann", "label": "up", "gold": "up"}
    dataset_id = make(client, [row, {"prompt": "cold", "annotator": "ann", "label": "down"}])
    appended(client, dataset_id, [{**row, "annotator": "bob"}, {**row, "prompt": "warm", "gold": "down"}])
    for wrong in ({**row, "gold": "down"}, {**row, "prompt": "cold"}):
        answer = append(client, dataset_id, [wrong])
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "gold_of_known_item")
    with transaction() as session:
        loaded = load_annotations(session, get_dataset(session, project.id, dataset_id).key, 2)
    assert loaded.annotations.gold is not None
    assert loaded.annotations.gold.tolist() == [1, -1, 0]


def test_declared_labels_take_no_others_and_new_tasks_may_come(client: TestClient) -> None:
    dataset = make(client, FIRST, labels=["up", "down"])
    answer = append(client, dataset, SECOND)
    assert (answer.status_code, answer.json()["errors"][0]["row"]) == (422, 2)
    made = appended(client, dataset, [{"prompt": "hot", "task": "mood", "annotator": "ann", "label": "calm"}])
    assert [(task["name"], task["declared"]) for task in made["tasks"]] == [("default", True), ("mood", False)]


def test_texts_come_to_datasets_with_texts_only(client: TestClient) -> None:
    with_text = make(client)
    without = make(client, [{"item_id": "1", "annotator": "ann", "label": "up"}])
    answer = append(client, with_text, [{"item_id": "1", "annotator": "ann", "label": "up"}])
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "This dataset has prompts; every row must have its prompt.",
    )
    assert append(client, without, FIRST).status_code == 422
    assert appended(client, without, [{"item_id": "2", "annotator": "ann", "label": "up"}])["counts"]["items"] == 2


def test_options_of_a_prompt_are_part_of_it(client: TestClient) -> None:
    row = {"prompt": "which?", "options": ["red", "green"], "annotator": "ann", "label": "red"}
    dataset = make(client, [row])
    made = appended(client, dataset, [{**row, "annotator": "bob", "label": "B"}, {**row, "options": ["red", "blue"]}])
    assert (made["counts"]["items"], made["counts"]["added"]) == (2, 2)
    assert ("which?", "bob", "green") in labels_of(client, dataset, 2)


def test_csv_forms_and_mapping_are_read_as_uploads_are(client: TestClient) -> None:
    dataset = make(client)
    answer = client.post(
        f"/v1/datasets/{dataset}/annotations",
        params={"mapping": '{"who": "annotator"}'},
        content=b"prompt,who,label,note\nhot,dan,up,x\n",
        headers={"Content-Type": "text/csv"},
    )
    assert (answer.status_code, answer.json()["version"]) == (201, 2)
    assert [warning["code"] for warning in answer.json()["warnings"]][-1] == "unused_columns"
    form = client.post(
        f"/v1/datasets/{dataset}/annotations",
        files={"file": ("a.csv", b"prompt,annotator,label\nhot,eve,up\n")},
        data={"on_error": "skip"},
    )
    assert (form.status_code, form.json()["counts"]["labels"]) == (201, 5)


@pytest.mark.parametrize("settings", [{"labels": ["a", "b"]}, {"name": "other"}])
def test_an_append_neither_renames_nor_declares(client: TestClient, settings: dict[str, Any]) -> None:
    assert append(client, make(client), SECOND, **settings).status_code == 422


def test_another_projects_dataset_is_like_one_that_never_was(client: TestClient, other_project: ProjectKeys) -> None:
    dataset = make(client)
    client.headers["Authorization"] = f"Bearer {other_project.admin_key}"
    for id_ in (dataset, "ds_0"):
        assert append(client, id_, SECOND).json()["detail"] == f"There is no dataset {id_!r}."
        assert client.get(f"/v1/datasets/{id_}/versions/1/diff/1").status_code == 404


def test_a_viewer_appends_nothing(client: TestClient, project: ProjectKeys) -> None:
    dataset = make(client)
    client.headers["Authorization"] = f"Bearer {project.viewer_key}"
    assert append(client, dataset, SECOND).status_code == 403
    assert client.get(f"/v1/datasets/{dataset}/versions/1/diff/1").status_code == 200
