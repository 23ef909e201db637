"""Which answer a label means: of a task, declared or found, or of the prompt's own options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from realm_core.formats import BadData, DeclaredAnswers
from tests.realm_core.reading import GOOD, labels_of, only_fault, read_bytes, read_text, refused


def test_label_outside_the_declared_answers() -> None:
    fault = only_fault(GOOD + "p2,bob,maybe\n", labels=["yes", "no"])
    assert (fault.row, fault.column, fault.code) == (5, "label", "unknown_label")
    assert fault.detail == "'maybe' is none of the labels 'yes', 'no'."


def test_declared_answers_keep_their_order_and_descriptions(tmp_path: Path) -> None:
    annotations = read_text(tmp_path, GOOD, labels={"yes": "it is", "no": "it is not", "other": ""})
    assert annotations.tasks[0].answers == ("yes", "no", "other")
    assert annotations.tasks[0].descriptions == ("it is", "it is not", "other")


def test_found_answers_are_sorted_numbers_by_size(tmp_path: Path) -> None:
    rows = "".join(f"p{label},ann,{label}\n" for label in ("10", "9", "b", "-1", "a"))
    annotations = read_text(tmp_path, "prompt,annotator,label\n" + rows)
    assert annotations.tasks[0].answers == ("-1", "9", "10", "a", "b")
    assert labels_of(annotations) == ["10", "9", "b", "-1", "a"]


def test_tasks_have_answers_of_their_own(tmp_path: Path) -> None:
    text = "prompt,annotator,label,task\np,ann,yes,a\np,ann,red,b\nq,ann,no,a\nq,ann,x,\n"
    annotations = read_text(tmp_path, text, labels={"b": ["red", "blue"]})
    assert {task.name: task.answers for task in annotations.tasks} == {
        "a": ("no", "yes"),
        "b": ("red", "blue"),
        "default": ("x",),
    }
    assert annotations.n_items == 4
    assert labels_of(annotations) == ["yes", "red", "no", "x"]
    assert only_fault(text + "q,ann,green,b\n", labels={"b": ["red", "blue"]}).row == 6


@pytest.mark.parametrize(
    "labels", [[], ["a"], ["a", "a"], ["a", 1], "a", {"a": 1, "b": 2}, {}, {"t": ["a"]}, ["a", " "], ["a", "b\0"]]
)
def test_labels_that_cannot_be_declared(labels: Any) -> None:
    with pytest.raises(BadData) as caught:
        DeclaredAnswers.parse(labels)
    assert caught.value.code == "invalid_labels"


def test_too_many_labels() -> None:
    rows = "".join(f"p{n},ann,label {n}\n" for n in range(50))
    error = refused("prompt,annotator,label\n" + rows, limits={"max_answers": 49})
    assert error.code == "too_many_labels"


def test_ignored_labels_are_no_labels() -> None:
    table, _ = read_bytes(GOOD + "p9,eve,unsure\np1,ann,unsure\n", ignore_labels=["unsure"])
    assert (table.counts.ignored, table.counts.labels, table.counts.items, table.annotators) == (
        2,
        3,
        2,
        ("ann", "bob"),
    )


@pytest.mark.parametrize(("label", "number"), [("green", 1), ("B", 1), ("b", 1), ("1", 1), ("A", 2), ("2", 2)])
def test_a_label_means_an_option_by_text_then_letter_then_index(tmp_path: Path, label: str, number: int) -> None:
    row = {"prompt": "p", "annotator": "ann", "options": ["red", "green", "A"], "label": label}
    annotations = read_text(tmp_path, json.dumps(row) + "\n", "rows.jsonl")
    assert annotations.label.tolist() == [number]
    assert annotations.options == (("red", "green", "A"),)
    assert annotations.tasks[0].answers == ()


@pytest.mark.parametrize("label", ["D", "3", "blue", "-1", "9" * 5000])
def test_a_label_that_is_none_of_the_options(label: str) -> None:
    row = {"prompt": "p", "annotator": "ann", "options": ["red", "green", "A"], "label": label}
    assert only_fault(json.dumps(row), "jsonl").code == "unknown_label"


@pytest.mark.parametrize(
    "options",
    ["red", '"red"', '["red"]', "[]", '["red", ""]', '["red", "red"]', '["a", ["b"]]', '["a", null]', "[[", "{}"],
)
def test_options_that_are_no_list_of_texts(options: str) -> None:
    quoted = options.replace('"', '""')
    fault = only_fault(f'prompt,annotator,label,options\np,ann,red,"{quoted}"\n')
    assert (fault.row, fault.column, fault.code) == (2, "options", "invalid_options")


def test_options_are_part_of_the_item(tmp_path: Path) -> None:
    rows = ['p,ann,a,"[""a"", ""b""]"', 'p,bob,1,"[""a"",""b""]"', 'p,ann,a,"[""a"",""c""]"', "p,ann,a,"]
    annotations = read_text(tmp_path, "\n".join(["prompt,annotator,label,options", *rows]))
    assert annotations.item.tolist() == [0, 0, 1, 2]
    assert annotations.options == (("a", "b"), ("a", "c"), None)
    assert annotations.answer_counts.tolist() == [2, 2, 1]
