"""Cleaned labels in the shapes that other tools read back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import polars as pl

from app.reports.schemas import FileFormat, LabelShape

FlatRow = dict[str, Any]
_TEXT, _NUMBER = pl.String(), pl.Float64()
_ANY: tuple[FileFormat, ...] = ("csv", "json", "parquet")


class Shape(NamedTuple):
    """The columns of a tool's file, how one of our rows becomes one of its, and the kinds of file that it can be."""

    columns: dict[str, pl.DataType]
    row: Callable[[FlatRow], FlatRow]
    formats: tuple[FileFormat, ...] = _ANY


def _item(row: FlatRow) -> str:
    return str(row["id"] if row["item_id"] is None else row["item_id"])


def _crowd_kit(row: FlatRow) -> FlatRow:
    return {"task": _item(row), "label": row["label"]}


def _label_studio(row: FlatRow) -> FlatRow:
    """A task with a prediction, which Label Studio shows to be accepted or corrected."""
    result = {
        "from_name": row["task"],
        "to_name": "text",
        "type": "choices",
        "value": {"choices": [row["label"]]},
    }
    prediction = {"model_version": "realm", "score": row["probability"], "result": [result]}
    return {"data": {"text": row["prompt"], "item_id": _item(row)}, "predictions": [prediction]}


def _argilla(row: FlatRow) -> FlatRow:
    return {
        "id": _item(row),
        "text": row["prompt"],
        "label.suggestion": row["label"],
        "label.suggestion.score": row["probability"],
        "label.suggestion.agent": "realm",
        "task": row["task"],
    }


def _doccano(row: FlatRow) -> FlatRow:
    return {"text": row["prompt"], "label": [row["label"]], "item_id": _item(row), "task": row["task"]}


def _prodigy(row: FlatRow) -> FlatRow:
    about = {"item_id": _item(row), "task": row["task"], "probability": row["probability"]}
    return {"text": row["prompt"], "label": row["label"], "answer": "accept", "meta": about}


def _cleanlab(row: FlatRow) -> FlatRow:
    return {
        "id": _item(row),
        "text": row["prompt"],
        "consensus_label": row["label"],
        "consensus_quality_score": row["probability"],
        "task": row["task"],
    }


def _hugging_face(row: FlatRow) -> FlatRow:
    return {"id": _item(row), "text": row["prompt"], "label": row["label"], "task": row["task"]}


def _texts(*names: str) -> dict[str, pl.DataType]:
    return dict.fromkeys(names, _TEXT)


SHAPES: dict[LabelShape, Shape] = {
    "crowd-kit": Shape(_texts("task", "label"), _crowd_kit),
    "label-studio": Shape(_texts("data", "predictions"), _label_studio, ("json",)),
    "argilla": Shape(
        _texts("id", "text", "label.suggestion")
        | {"label.suggestion.score": _NUMBER}
        | _texts("label.suggestion.agent", "task"),
        _argilla,
    ),
    "doccano": Shape(_texts("text", "label", "item_id", "task"), _doccano, ("json",)),
    "prodigy": Shape(_texts("text", "label", "answer", "meta"), _prodigy, ("json",)),
    "cleanlab": Shape(
        _texts("id", "text", "consensus_label") | {"consensus_quality_score": _NUMBER} | _texts("task"), _cleanlab
    ),
    "hugging-face": Shape(_texts("id", "text", "label", "task"), _hugging_face),
}
