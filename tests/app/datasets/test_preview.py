"""What a file is guessed to hold before it is uploaded."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.datasets.guessing import guess_columns
from tests.conftest import ProjectKeys

TEXTS = [f"A rather long headline number {number} about something" for number in range(40)]


def guessed(columns: list[str], rows: list[list[str]]) -> dict[str, str]:
    return {guess.ours: guess.theirs for guess in guess_columns(columns, rows)}


def test_columns_are_known_by_their_usual_names() -> None:
    columns = ["Worker ID", "Text", "sentiment", "timestamp", "gold_label", "id"]
    assert guessed(columns, []) == {
        "annotator": "Worker ID",
        "prompt": "Text",
        "label": "sentiment",
        "created_at": "timestamp",
        "gold": "gold_label",
        "item_id": "id",
    }


def test_our_own_names_win() -> None:
    assert guessed(["worker", "annotator", "label", "answer", "prompt", "text"], []) == {
        "annotator": "annotator",
        "label": "label",
        "prompt": "prompt",
    }


def test_unknown_names_are_guessed_by_what_stands_in_them() -> None:
    rows = [["p" + str(row % 5), ("ja", "nein")[row % 2], text] for row, text in enumerate(TEXTS)]
    assert guessed(["wer", "was", "satz"], rows) == {"annotator": "wer", "label": "was", "prompt": "satz"}


def test_every_guess_says_why() -> None:
    rows = [["p" + str(row % 5), ("ja", "nein")[row % 2], text] for row, text in enumerate(TEXTS)]
    why = {guess.ours: guess.why for guess in guess_columns(["user", "was", "satz"], rows)}
    assert why["annotator"] == "“user” is a usual name for it."
    assert why["label"] == "It has only 2 different values."
    assert why["prompt"].startswith("It has the longest texts")


def preview(client: TestClient, body: bytes, kind: str = "text/csv", status: int = 200, **query: Any) -> dict[str, Any]:
    answer = client.post("/v1/datasets/preview", content=body, headers={"Content-Type": kind}, params=query)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_preview_has_columns_rows_and_what_is_missing(client: TestClient) -> None:
    found = preview(client, b'text,who,note\n"a, b",ana,x\n')
    assert found["columns"] == ["text", "who", "note"]
    assert found["rows"] == [["a, b", "ana", "x"]]
    assert {one["ours"]: one["theirs"] for one in found["guesses"]} == {"prompt": "text", "annotator": "who"}
    assert found["missing"] == ["label"]


def test_the_last_row_of_a_part_may_be_cut_and_is_left_out(client: TestClient) -> None:
    part = "annotator,label,prompt\nana,yes,sky\nbo,no,“se".encode()[:-1]
    assert preview(client, part, complete=False)["rows"] == [["ana", "yes", "sky"]]
    packed = gzip.compress(b"annotator,label,prompt\n" + b"".join(b"ana,yes,sky%d\n" % n for n in range(999)))
    assert preview(client, packed[: len(packed) // 2])["rows"][0] == ["ana", "yes", "sky0"]
    assert preview(client, packed)["rows"][-1] == ["ana", "yes", "sky7"]


def test_lines_of_json_are_looked_at_too(client: TestClient) -> None:
    lines = "\n".join(json.dumps({"text": "sky", "rater": name, "label": None}) for name in "ab").encode()
    found = preview(client, lines, "application/x-ndjson")
    assert found["rows"] == [["sky", "a", ""], ["sky", "b", ""]]


def test_exports_of_tools_are_recognised(client: TestClient) -> None:
    found = preview(client, b"task,worker,label\n1,a,x\n")
    assert "crowd-kit" in found["recognised"].lower()
    assert found["guesses"] == found["missing"] == []


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", "text/csv", 422, "empty_file"),
        (b"{", "application/x-ndjson", 422, "invalid_json"),
        (b"[1]", "application/x-ndjson", 422, "invalid_json"),
        (b"\x1f\x8bnonsense..", "text/csv", 422, "invalid_gzip"),
        (b"PAR1", "application/vnd.apache.parquet", 415, "unsupported_media_type"),
    ],
)
def test_what_cannot_be_looked_at_says_why(client: TestClient, body: bytes, kind: str, status: int, code: str) -> None:
    assert preview(client, body, kind, status)["code"] == code


def test_a_viewer_may_look(client: TestClient, project: ProjectKeys) -> None:
    client.headers["Authorization"] = f"Bearer {project.viewer_key}"
    preview(client, b"annotator,label,prompt\nana,yes,sky\n")
