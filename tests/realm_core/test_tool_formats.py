"""Exports of labelling tools, in the shapes that those tools write, are read as they are."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from realm_core.annotations import Annotations
from realm_core.formats import BadData, ReadingOptions, read_annotations
from realm_core.formats.faults import Faults
from realm_core.formats.files import open_path
from realm_core.formats.json_lines import JsonRows, parse_json


def said(annotations: Annotations) -> set[tuple[str, str, str, str, str]]:
    """(task, item id, prompt, annotator, label) of each label."""
    prompts = annotations.prompts or ("",) * annotations.n_items
    return {
        (
            annotations.tasks[annotations.item_task[item]].name,
            annotations.item_ids[item],
            prompts[item],
            annotations.annotators[annotator],
            annotations.answers_of(item)[label],
        )
        for item, annotator, label in zip(annotations.item, annotations.annotator, annotations.label, strict=True)
    }


def written(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def lines(records: list[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def note_of(path: Path) -> str | None:
    return open_path(path, ReadingOptions(), Faults("abort")).plan.note


CROWD_KIT = "task,worker,label\nt1,w1,cat\nt1,w2,dog\nt2,w1,dog\n"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_crowd_kit(tmp_path: Path, name: str) -> None:
    frame = pl.read_csv(io.StringIO(CROWD_KIT))
    text = {"a.csv": CROWD_KIT, "a.tsv": CROWD_KIT.replace(",", "\t"), "a.jsonl": frame.write_ndjson()}
    path = written(tmp_path, name, text.get(name, ""))
    if name == "a.parquet":
        frame.write_parquet(path)
    assert said(read_annotations(path)) == {
        ("default", "t1", "", "w1", "cat"),
        ("default", "t1", "", "w2", "dog"),
        ("default", "t2", "", "w1", "dog"),
    }
    assert note_of(path) == "Read as a table of Crowd-Kit: worker is the annotator, task the item_id."


def test_label_studio_csv(tmp_path: Path) -> None:
    header = "annotation_id,annotator,created_at,id,lead_time,sentiment,text,updated_at\n"
    row = '7,1,2024-05-03T09:30:00.123456Z,3,4.2,{},"Great, thanks",2024-05-03T09:30:00.123456Z\n'
    path = written(tmp_path, "a.csv", header + row.format("Positive") + row.replace("7,1,", "8,2,").format("Neutral"))
    annotations = read_annotations(path)
    assert said(annotations) == {
        ("default", "3", "Great, thanks", "1", "Positive"),
        ("default", "3", "Great, thanks", "2", "Neutral"),
    }
    assert annotations.created_at is not None
    assert annotations.created_at[0] == pytest.approx(1714728600.123456)
    assert "the label is in 'sentiment'" in (note_of(path) or "")


def annotation(who: Any, choice: str, **rest: Any) -> dict[str, Any]:
    value = {"choices": [choice]}
    result = [{"id": "x", "from_name": "sentiment", "to_name": "text", "type": "choices", "value": value}]
    return {
        "id": 101,
        "completed_by": who,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2024-05-03T09:30:00.000000Z",
        "lead_time": 4.25,
        "result": result,
        **rest,
    }


LABEL_STUDIO = [
    {
        "id": 1,
        "data": {"text": "Great!"},
        "annotations": [
            annotation(1, "Positive"),
            annotation({"id": 2, "email": "bo@example.org", "first_name": ""}, "Negative"),
            annotation(3, "Positive", ground_truth=True),
            annotation(4, "Negative", was_cancelled=True),
            annotation(5, "", result=[]),
        ],
        "predictions": [],
        "meta": {},
    },
    {"id": 2, "data": {"text": "Meh."}, "annotations": [annotation(1, "Negative")], "predictions": []},
]


def test_label_studio_json(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", lines(LABEL_STUDIO))
    annotations = read_annotations(path)
    assert said(annotations) == {
        ("sentiment", "1", "Great!", "1", "Positive"),
        ("sentiment", "1", "Great!", "bo@example.org", "Negative"),
        ("sentiment", "1", "Great!", "3", "Positive"),
        ("sentiment", "2", "Meh.", "1", "Negative"),
    }
    assert annotations.gold is not None
    assert annotations.gold.tolist() == [annotations.tasks[0].answers.index("Positive"), -1]
    parsed = parse_json(json.dumps(LABEL_STUDIO))
    rows = JsonRows(parsed, ReadingOptions(), Faults("abort"))
    (frame,) = rows.frames()
    assert set(frame["duration_ms"]) == {"4250"}
    assert frame["row"].to_list() == [1, 1, 1, 2]
    assert "JSON export of Label Studio" in (rows.plan.note or "")


ARGILLA_NESTED = [
    {
        "id": "r1",
        "fields": {"text": "Great!"},
        "metadata": {},
        "suggestions": {},
        "responses": {
            "label": [{"value": "pos", "user_id": "u-1"}, {"value": "neg", "user_id": "u-2"}],
            "tone": [{"value": "warm", "user_id": "u-1"}],
        },
        "vectors": {},
        "status": "completed",
        "_server_id": "5f0c",
    }
]
ARGILLA_FLAT = [
    {
        "id": "r1",
        "status": "completed",
        "_server_id": "5f0c",
        "text": "Great!",
        "label.responses": ["pos", "neg", "neg"],
        "label.responses.users": ["u-1", "u-2", "u-3"],
        "label.responses.status": ["submitted", "submitted", "draft"],
        "label.suggestion": None,
        "tone.responses": ["warm"],
        "tone.responses.users": ["u-1"],
        "tone.responses.status": ["submitted"],
    }
]


@pytest.mark.parametrize("records", [ARGILLA_NESTED, ARGILLA_FLAT], ids=["nested", "flat"])
def test_argilla(tmp_path: Path, records: list[Any]) -> None:
    path = written(tmp_path, "a.jsonl", lines(records))
    assert said(read_annotations(path)) == {
        ("label", "r1", "Great!", "u-1", "pos"),
        ("label", "r1", "Great!", "u-2", "neg"),
        ("tone", "r1", "Great!", "u-1", "warm"),
    }
    assert "Argilla" in (note_of(path) or "")


def test_argilla_as_parquet(tmp_path: Path) -> None:
    """What `records.to_datasets().to_parquet()` writes: lists in cells, also of records that nobody answered."""
    nobody = {key: None if isinstance(value, list) else value for key, value in ARGILLA_FLAT[0].items()}
    path = tmp_path / "a.parquet"
    records = [*ARGILLA_FLAT, nobody | {"id": "r2"}]
    schema = {"label.suggestion": pl.String(), "tone.responses": pl.List(pl.String)}
    pl.DataFrame(records, schema_overrides=schema).write_parquet(path)
    assert said(read_annotations(path)) == {
        ("label", "r1", "Great!", "u-1", "pos"),
        ("label", "r1", "Great!", "u-2", "neg"),
        ("tone", "r1", "Great!", "u-1", "warm"),
    }
    assert "Argilla" in (note_of(path) or "")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(BadData, match="damaged or cut short"):
        read_annotations(path)


def test_doccano(tmp_path: Path) -> None:
    old = [
        {
            "id": 1,
            "text": "Great!",
            "annotations": [{"label": 2, "user": 1}, {"label": 3, "user": 2}],
            "meta": {},
            "annotation_approver": None,
        }
    ]
    assert said(read_annotations(written(tmp_path, "old.jsonl", lines(old)))) == {
        ("default", "1", "Great!", "1", "2"),
        ("default", "1", "Great!", "2", "3"),
    }
    new = [
        {"id": 1, "text": "Great!", "label": ["pos"], "Comments": [], "annotator": "ada"},
        {"id": 2, "text": "Meh.", "label": [], "Comments": [], "annotator": "ada"},
    ]
    assert said(read_annotations(written(tmp_path, "new.jsonl", lines(new)))) == {
        ("default", "1", "Great!", "ada", "pos")
    }
    nobody = written(tmp_path, "nobody.jsonl", lines([{"id": 1, "text": "Great!", "label": ["pos"], "Comments": []}]))
    with pytest.raises(BadData, match="does not say in it who that is"):
        read_annotations(nobody)


def prodigy(who: str, **rest: Any) -> dict[str, Any]:
    return {
        "text": "Great!",
        "_input_hash": -123,
        "_task_hash": 77,
        "_view_id": "choice",
        "answer": "accept",
        "_timestamp": 1700000000,
        "_annotator_id": f"news-{who}",
        "_session_id": f"news-{who}",
        **rest,
    }


def test_prodigy_choices(tmp_path: Path) -> None:
    options = [{"id": "POS", "text": "positive"}, {"id": "NEG", "text": "negative"}]
    answers = [
        prodigy("ada", options=options, accept=["POS"], config={"choice_style": "single"}),
        prodigy("bob", options=options, accept=["NEG"]),
        prodigy("cem", options=options, accept=[], answer="ignore"),
    ]
    path = written(tmp_path, "a.jsonl", lines(answers))
    assert said(read_annotations(path)) == {
        ("default", "-123", "Great!", "news-ada", "POS"),
        ("default", "-123", "Great!", "news-bob", "NEG"),
    }
    assert "Prodigy" in (note_of(path) or "")


def test_prodigy_yes_or_no(tmp_path: Path) -> None:
    answers = [prodigy("ada", label="SPORT"), prodigy("bob", label="SPORT", answer="reject")]
    assert said(read_annotations(written(tmp_path, "a.jsonl", lines(answers)))) == {
        ("SPORT", "-123", "Great!", "news-ada", "accept"),
        ("SPORT", "-123", "Great!", "news-bob", "reject"),
    }


WIDE = {"A0001": [1.0, None, 0.0], "A0002": [1.0, 2.0, None], "A0003": [None, 2.0, 1.0]}
WIDE_SAID = {
    ("1", "A0001", "1"),
    ("1", "A0002", "1"),
    ("2", "A0002", "2"),
    ("2", "A0003", "2"),
    ("3", "A0001", "0"),
    ("3", "A0003", "1"),
}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("item", [None, "text", "", "id"])
def test_cleanlab(tmp_path: Path, suffix: str, item: str | None) -> None:
    columns = {} if item is None else {item: ["1", "2", "3"]}
    frame = pl.DataFrame(columns | WIDE)
    path = tmp_path / f"a.{suffix}"
    frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
    found = {(prompt or id_, who, label) for _, id_, prompt, who, label in said(read_annotations(path))}
    first = 1 if suffix == "parquet" else 2  # the number of the first row, which names an item without other ids
    renamed = {(str(int(id_) + first - 1), who, label) for id_, who, label in WIDE_SAID}
    assert found == (renamed if item is None else WIDE_SAID)
    assert "3 annotators ('A0001' to 'A0003')" in (note_of(path) or "")


def test_hugging_face_class_labels_have_their_names(tmp_path: Path) -> None:
    features = {
        "prompt": {"dtype": "string", "_type": "Value"},
        "annotator": {"dtype": "string", "_type": "Value"},
        "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
    }
    frame = pl.DataFrame({"prompt": ["a", "b"], "annotator": ["x", "y"], "label": np.array([1, 0])})
    path = tmp_path / "train-00000-of-00001.parquet"
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    frame.write_parquet(path, metadata=metadata)
    assert {row[2:] for row in said(read_annotations(path))} == {("a", "x", "pos"), ("b", "y", "neg")}
    frame.with_columns(label=pl.Series([1, 7])).write_parquet(path, metadata=metadata)
    with pytest.raises(BadData, match="The label is empty"):
        read_annotations(path)
    frame.write_parquet(path, metadata={"huggingface": '{"info": [' + "[" * 5000})
    assert {row[4] for row in said(read_annotations(path))} == {"0", "1"}


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        ({**LABEL_STUDIO[1], "data": {"a": "x", "b": "y"}}, "one text only"),
        ({**LABEL_STUDIO[1], "annotations": [7]}, "'annotations' must be a list of objects"),
        (
            {
                **LABEL_STUDIO[1],
                "annotations": [
                    annotation(1, "", result=[{"from_name": "s", "value": {"choices": ["a", "b"]}}]),
                ],
            },
            "2 choices were made",
        ),
        ({**LABEL_STUDIO[1], "annotations": [annotation(1, "a", lead_time="soon")]}, "number of seconds"),
        ({**ARGILLA_NESTED[0], "responses": {"label": [{"value": ["a", "b"], "user_id": "u"}]}}, "one label or rating"),
        ({**ARGILLA_FLAT[0], "label.responses.users": ["u-1"]}, "one user and one status"),
        (prodigy("ada", spans=[]), "not spans"),
        ({"id": 1, "text": "x", "label": [[0, 3, "PER"]]}, "not spans"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, record: dict[str, Any], detail: str) -> None:
    path = written(tmp_path, "a.jsonl", lines([record]))
    with pytest.raises(BadData, match=detail) as refused:
        read_annotations(path)
    assert [(fault.row, fault.code) for fault in refused.value.faults] == [(1, "unreadable_record")]


def test_a_mapping_is_believed(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", CROWD_KIT)
    mapping = {"worker": "annotator", "task": "prompt"}
    assert read_annotations(path, mapping=mapping).prompts == ("t1", "t2")


@pytest.mark.parametrize(
    "header", ["text,rater,answer", "prompt,label1", "prompt,A1,B2", "prompt,A1,A2,note", "text,worker,label"]
)
def test_other_tables_are_not_taken_for_a_tools(tmp_path: Path, header: str) -> None:
    path = written(tmp_path, "a.csv", f"{header}\n" + ",".join("x" * len(header.split(","))) + "\n")
    with pytest.raises(BadData, match="There is no column 'annotator'"):
        read_annotations(path)
