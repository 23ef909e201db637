"""Columns: what they are called, and what times, numbers and the types of Parquet become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from realm_core.formats import BadData, ReadingOptions, read_annotations
from realm_core.formats.faults import Faults
from realm_core.formats.files import open_stream
from tests.realm_core.reading import GOOD, only_fault, read_bytes, read_text, refused


def test_mapping() -> None:
    data = GOOD.replace("annotator", "worker").replace("prompt", "text") + "p1,ann,no\n"
    table, _ = read_bytes(data, mapping={"worker": "annotator", "text": "prompt"})
    assert table.counts.conflicting_repeats == 1


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"worker": "annotator"}, "'worker' that is not there"),
        ({"annotator": "worker"}, "'worker' is none of ours"),
        ({"annotator": "label", "label": "label"}, "two columns the name 'label'"),
    ],
)
def test_mapping_that_does_not_fit(mapping: dict[str, str], message: str) -> None:
    assert message in refused(GOOD, mapping=mapping).detail


def test_columns_without_use_are_named() -> None:
    options = ReadingOptions()
    file = open_stream([b"prompt,x,annotator,label,y\np,1,a,b,2\n"], "csv", options, Faults("abort"))
    assert file.plan.unused == ("x", "y")


@pytest.mark.parametrize(
    "text",
    [
        "1767225600",
        "1767225600.0",
        "2026-01-01",
        "2026-01-01T00:00:00Z",
        "2026-01-01 00:00:00",
        "2026-01-01T02:00:00+02:00",
        "20260101T000000Z",
    ],
)
def test_times(tmp_path: Path, text: str) -> None:
    annotations = read_text(tmp_path, f"prompt,annotator,label,created_at\np,ann,yes,{text}\nq,ann,no,\n")
    assert annotations.created_at is not None
    assert annotations.created_at[0] == 1767225600
    assert np.isnan(annotations.created_at[1])


BAD_VALUES = [
    ("created_at", "yesterday"),
    ("created_at", "1767225600000"),
    ("created_at", "-1"),
    ("created_at", "nan"),
    ("duration_ms", "1s"),
    ("duration_ms", "-1"),
    ("duration_ms", "1e99"),
    ("cost", "free"),
    ("cost", "inf"),
]


@pytest.mark.parametrize(("column", "value"), BAD_VALUES)
def test_a_value_that_is_none(column: str, value: str) -> None:
    fault = only_fault(f"prompt,annotator,label,{column}\np,ann,yes,\nq,ann,no,{value}\n")
    assert (fault.row, fault.column, fault.code) == (3, column, f"invalid_{column}")


def test_types_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    frame = pl.DataFrame(
        {
            "item_id": [1, 2, 2],
            "annotator": pl.Series(["a", "b", "a"], dtype=pl.Categorical),
            "label": [1.0, 2.0, 0.5],
            "options": [None, None, None],
            "created_at": pl.Series([0, None, 1_500_000], dtype=pl.Datetime("us")),
            "unused": [{"x": 1}] * 3,
        }
    )
    frame.write_parquet(path)
    annotations = read_annotations(path)
    assert annotations.tasks[0].answers == ("0.5", "1", "2")
    assert annotations.item_ids == ("1", "2")
    np.testing.assert_array_equal(annotations.created_at, [0.0, 1.5, np.nan])
    frame.with_columns(label=pl.Series([["a"]] * 3)).write_parquet(path)
    with pytest.raises(BadData, match="Column 'label' is of type List"):
        read_annotations(path)
