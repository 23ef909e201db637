"""Uploading over HTTP: what every kind of body becomes."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from app.database.session import transaction
from realm_core.formats import read_annotations
from tests.app.datasets.uploading import CSV, KINDS, body, created, loaded, upload
from tests.conftest import ProjectKeys

REAL_CROWDS = os.environ.get("REALM_BENCH_DATA")  # before the tests' settings take its place


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_body_says_the_same(
    client: TestClient, project: ProjectKeys, tmp_path: Path, kind: str, compressed: bool
) -> None:
    data = gzip.compress(body(kind)) if compressed else body(kind)
    made = created(upload(client, data, KINDS[kind], name="crowd"))
    assert made["counts"]["labels"] == 3
    path = tmp_path / "crowd.csv"
    path.write_text(CSV)
    here, there = read_annotations(path), loaded(project, made["id"])
    assert there.prompts == here.prompts == ('a, "b"\nc', "d\te\\.")
    assert there.tasks == here.tasks
    np.testing.assert_array_equal(there.label, here.label)
    np.testing.assert_array_equal(there.item, here.item)


def test_the_hash_is_that_of_what_is_said(client: TestClient) -> None:
    hashes = {created(upload(client, body(kind), KINDS[kind]))["sha256"] for kind in KINDS}
    assert len(hashes) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_forms(client: TestClient, kind: str) -> None:
    parts = {"name": "crowd", "labels": '{"yes": "it is", "no": "it is not"}'}
    made = created(client.post("/v1/datasets", files={"file": (f"rows.{kind}", body(kind))}, data=parts))
    assert made["name"] == "crowd"
    assert made["tasks"] == [
        {
            "name": "default",
            "declared": True,
            "answers": [{"name": "yes", "description": "it is"}, {"name": "no", "description": "it is not"}],
        }
    ]


def test_what_an_upload_is_answered_with(client: TestClient) -> None:
    rows = CSV + "x,ann,no\nx,ann,no\nx,ann,yes\ny,bob,unsure\nz,,no\n"
    made = created(upload(client, rows, name=" crowd ", on_error="skip", ignore_labels='["unsure"]'))
    assert made | {"id": "", "created_at": 0, "sha256": ""} == {
        "id": "",
        "object": "dataset",
        "name": "crowd",
        "created_at": 0,
        "version": 1,
        "sha256": "",
        "has_text": True,
        "counts": {
            "rows": 8,
            "labels": 4,
            "items": 3,
            "annotators": 2,
            "identical_repeats": 0,
            "conflicting_repeats": 2,
            "ignored": 1,
            "rejected": 1,
            "added": 4,
            "superseded": 0,
        },
        "tasks": [
            {
                "name": "default",
                "declared": False,
                "answers": [{"name": "no", "description": "no"}, {"name": "yes", "description": "yes"}],
            }
        ],
        "recognised": None,
        "warnings": [],
        "errors": [{"row": 9, "column": "annotator", "code": "empty_annotator", "detail": "The annotator is empty."}],
    }
    assert made["id"].startswith("ds_")
    assert len(made["sha256"]) == 64


def test_all_that_is_known_of_a_label_comes_back(client: TestClient, project: ProjectKeys) -> None:
    header = "item_id,prompt,annotator,label,task,options,gold,created_at,duration_ms,cost\n"
    rows = [
        'i1,p,ann,B,qa,"[""red"",""blue""]",red,2026-01-01T00:00:00.25Z,1500,0.5',
        "i2,q,ann,yes,yn,,,,,",
        "i3,r,bob,no,yn,,yes,,7,",
        "i3,r,ann,no,yn,,,1767225600,,0.25",
    ]
    made = created(upload(client, header + "\n".join(rows)))
    annotations = loaded(project, made["id"])
    assert annotations.options == (("red", "blue"), None, None)
    assert annotations.gold is not None
    assert annotations.gold.tolist() == [0, -1, 1]
    np.testing.assert_array_equal(annotations.created_at, [1767225600.25, np.nan, 1767225600, np.nan])
    export = client.get(f"/v1/datasets/{made['id']}/annotations")
    assert export.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in export.headers["Content-Disposition"]
    again = created(upload(client, export.content))
    assert again["sha256"] == made["sha256"]


def test_the_export_is_safe_for_spreadsheets(client: TestClient) -> None:
    made = created(upload(client, "prompt,annotator,label\n=1+1,@ann,-1\n+cmd|x,\tbob,+yes\n"))
    rows = client.get(f"/v1/datasets/{made['id']}/annotations").text.splitlines()[1:]
    assert "'=1+1" in rows[0]
    assert "'@ann,-1," in rows[0]
    assert "'+cmd|x" in rows[1]
    assert "'\tbob,'+yes" in rows[1]


def test_data_without_text_keeps_its_ids(client: TestClient, project: ProjectKeys) -> None:
    made = created(upload(client, "item_id,annotator,label\n1,ann,yes\n2,ann,no\n"))
    assert made["has_text"] is False
    assert loaded(project, made["id"]).prompts is None
    assert loaded(project, made["id"]).item_ids == ("1", "2")


def test_hostile_text_is_only_text(client: TestClient, project: ProjectKeys) -> None:
    prompts = ["\\N", "\\.", "a\n\\.\nb", "'; DROP TABLE items; --", "<script>", "\\t\\", "\u2028x", "a\rb\r", '"\\"']
    rows = [{"prompt": prompt, "annotator": prompt, "label": prompt} for prompt in prompts]
    made = created(client.post("/v1/datasets", json={"annotations": rows}))
    annotations = loaded(project, made["id"])
    assert annotations.prompts == tuple(prompts)
    assert sorted(annotations.tasks[0].answers) == sorted(prompts)


def test_annotators_are_one_per_project(client: TestClient, project: ProjectKeys) -> None:
    for _ in range(2):
        created(upload(client, CSV))
    with transaction() as session:
        query = text("SELECT name FROM annotators WHERE project_id = :id ORDER BY name")
        assert session.execute(query, {"id": project.id}).scalars().all() == ["ann", "bob"]


def test_one_annotator_is_accepted_with_a_warning(client: TestClient) -> None:
    made = created(upload(client, "prompt,annotator,label\np,ann,yes\nq,ann,no\n"))
    assert [warning["code"] for warning in made["warnings"]] == ["one_annotator"]


def test_a_viewer_uploads_nothing(client: TestClient, project: ProjectKeys) -> None:
    client.headers["Authorization"] = f"Bearer {project.viewer_key}"
    assert upload(client, CSV).status_code == 403


REAL_SETS = [
    ("crowd/snow_rte", 800, 164, 8000),
    ("crowd/amazon_isbook", 1000, 263, 4907),
    ("crowd_notext/dog", 807, 109, 8070),
]


@pytest.mark.skipif(REAL_CROWDS is None, reason="REALM_BENCH_DATA names the folder of real crowds")
@pytest.mark.parametrize(("name", "items", "annotators", "labels"), REAL_SETS)
def test_real_crowds(client: TestClient, name: str, items: int, annotators: int, labels: int) -> None:
    assert REAL_CROWDS is not None
    data = (Path(REAL_CROWDS) / f"{name}.csv.gz").read_bytes()
    counts = created(upload(client, data))["counts"]
    assert (counts["items"], counts["annotators"], counts["labels"]) == (items, annotators, labels)


def test_the_indexes_of_an_upload_are_those_of_the_whole_table(client: TestClient) -> None:
    """Postgres would else have built them anew, against live rows, when the dataset became a part of it."""
    created(upload(client, CSV.encode(), "text/csv"))
    built = "SELECT count(*) FROM pg_index WHERE indrelid = (:table)::regclass"
    with transaction() as session:
        key = session.execute(text("SELECT max(key) FROM datasets")).scalar_one()
        for table in ("items", "annotations"):
            parent, part = (
                session.execute(text(built), {"table": name}).scalar_one() for name in (table, f"{table}_{key}")
            )
            assert part == parent, table
