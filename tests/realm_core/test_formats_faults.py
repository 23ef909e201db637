"""Bad data: each fault says what, where and what to do; and what is read of good data next to it."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from realm_core.annotations import Annotations
from realm_core.formats import BadData, DeclaredAnswers, Fault, Limits, ReadingOptions, TooLarge, read_annotations
from realm_core.formats.compression import plain_bytes
from realm_core.formats.faults import Faults
from realm_core.formats.files import StreamFormat, open_stream
from realm_core.formats.reader import AnnotationReader
from realm_core.formats.table import AnnotationTable

GOOD = "prompt,annotator,label\np1,ann,yes\np1,bob,no\np2,ann,no\n"


def read_bytes(
    data: bytes | str | Iterable[bytes],
    kind: StreamFormat = "csv",
    *,
    labels: Any = None,
    block_bytes: int = 8 * 1024**2,
    limits: dict[str, int] | None = None,
    **options: Any,
) -> tuple[AnnotationTable, tuple[Fault, ...]]:
    chunks = [data.encode()] if isinstance(data, str) else [data] if isinstance(data, bytes) else data
    chosen = ReadingOptions(
        labels=DeclaredAnswers.parse(labels), limits=Limits(**{"block_bytes": block_bytes, **(limits or {})}), **options
    )
    faults = Faults(chosen.on_error)
    reader = AnnotationReader(open_stream(chunks, kind, chosen, faults), chosen, faults)
    for _ in reader.blocks():
        pass
    return reader.finish(), faults.listed


def refused(data: bytes | str | Iterable[bytes], kind: StreamFormat = "csv", **options: Any) -> BadData:
    with pytest.raises(BadData) as caught:
        read_bytes(data, kind, **options)
    return caught.value


def only_fault(data: bytes | str, kind: StreamFormat = "csv", **options: Any) -> Fault:
    (fault,) = refused(data, kind, **options).faults
    return fault


def read_text(tmp_path: Path, text: str, name: str = "rows.csv", **options: Any) -> Annotations:
    path = tmp_path / name
    path.write_text(text)
    return read_annotations(path, **options)


def labels_of(annotations: Annotations) -> list[str]:
    pairs = zip(annotations.item, annotations.label, strict=True)
    return [annotations.answers_of(item)[label] for item, label in pairs]


# Files


@pytest.mark.parametrize("data", [b"", b"\n", b"  \n\n", gzip.compress(b"")])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_empty_file(data: bytes, kind: StreamFormat) -> None:
    assert refused(data, kind).code == "empty_file"


def test_header_alone() -> None:
    assert str(refused("prompt,annotator,label\n")) == "There is no row below the header."


def test_missing_column_names_those_found() -> None:
    error = refused("text,annotator,label\np1,ann,yes\n")
    assert error.code == "missing_column"
    assert "no column 'prompt'" in error.detail
    assert "Columns found: 'text', 'annotator', 'label'" in error.detail


def test_missing_column_in_jsonl() -> None:
    error = refused('{"prompt": "p", "worker": "ann", "label": null}\n', "jsonl")
    assert "no column 'annotator'" in error.detail
    assert "'prompt', 'worker'" in error.detail


def test_another_separator_is_suspected() -> None:
    assert "separated by another character" in refused("prompt;annotator;label\np;a;yes\n").detail


def test_a_column_that_stands_twice() -> None:
    assert refused("prompt,label,annotator,label\np,yes,ann,no\n").code == "duplicate_column"


def test_too_many_columns() -> None:
    assert refused(",".join(map(str, range(1001))) + "\n").code == "too_many_columns"


def test_utf16_is_named() -> None:
    assert "UTF-16" in refused(GOOD.encode("utf-16")).detail


def test_lines_that_end_in_carriage_returns_alone() -> None:
    assert refused(GOOD.replace("\n", "\r")).code == "line_endings"


@pytest.mark.parametrize("keep", [1, 5, 20, 60])
def test_truncated_gzip(keep: int) -> None:
    whole = gzip.compress(GOOD.encode() * 1)
    assert len(whole) > 60
    error = refused(whole[:keep] if keep > 1 else whole[:-1])
    assert error.code == "truncated_gzip"
    assert "cut short" in error.detail


def test_damaged_gzip() -> None:
    whole = bytearray(gzip.compress(GOOD.encode()))
    whole[-6] ^= 0xFF  # its checksum
    assert refused(bytes(whole)).code == "invalid_gzip"


def test_gzip_of_several_members_and_padding() -> None:
    head, tail = GOOD[:30].encode(), GOOD[30:].encode()
    table, _ = read_bytes(gzip.compress(head) + gzip.compress(tail) + bytes(100))
    assert table.counts.labels == 3


def test_gzip_bomb() -> None:
    """Refused when it has grown to far more than it was, long before the limit of its size."""
    piece = gzip.compress(bytes(1024**2))
    sizes = map(len, plain_bytes(iter([piece] * 10_000), Limits()))
    grown: list[int] = []
    with pytest.raises(TooLarge, match="more than 200 times its size"):
        grown.extend(sizes)
    assert sum(grown) <= 64 * 1024**2


def test_uncompressed_size_is_limited() -> None:
    error = refused(gzip.compress(GOOD.encode() * 100), limits={"max_bytes": 1000})
    assert isinstance(error, TooLarge)
    assert "1,000 bytes uncompressed" in error.detail


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_line_without_end_is_refused_early(kind: StreamFormat) -> None:
    """After one block, so memory stays flat however much would come."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield GOOD.encode() if kind == "csv" else b'{"prompt": "p", "annotator": "a", "label": "l"}\n'
        while True:
            sent += 1
            yield b"x" * 1024**2

    error = refused(endless(), kind)
    assert isinstance(error, TooLarge)
    assert error.faults[0].row == (5 if kind == "csv" else 2)
    assert sent <= 20


@pytest.mark.parametrize("cut", [3, 100, -1, -10])
def test_truncated_parquet(tmp_path: Path, cut: int) -> None:
    file = io.BytesIO()
    pl.read_csv(io.BytesIO(GOOD.encode())).write_parquet(file)
    path = tmp_path / "rows.parquet"
    path.write_bytes(file.getvalue()[:cut])
    with pytest.raises(BadData, match="damaged or cut short") as caught:
        read_annotations(path)
    assert caught.value.code == "invalid_parquet"


def test_damaged_parquet_pages(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pl.DataFrame({"prompt": ["p"] * 500, "annotator": map(str, range(500)), "label": ["a"] * 500}).write_parquet(path)
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(data)
    with pytest.raises(BadData, match="damaged or cut short"):
        read_annotations(path)


def test_empty_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"")
    with pytest.raises(BadData, match="empty"):
        read_annotations(path)


def test_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"must end in one of \.csv"):
        read_text(tmp_path, GOOD, "rows.xlsx")


# Rows

BAD_ROWS = {
    "empty label": ("p,ann,", "label", "empty_label"),
    "blank label": ("p,ann,  ", "label", "empty_label"),
    "empty annotator": ("p,,yes", "annotator", "empty_annotator"),
    "empty prompt": (",ann,yes", "prompt", "empty_prompt"),
    "too few cells": ("p,ann", None, "wrong_number_of_cells"),
    "too many cells": ("p,ann,yes,no", None, "wrong_number_of_cells"),
    "text after a quote": ('"p"p,ann,yes', None, "invalid_quoting"),
    "NUL": ("p\0q,ann,yes", "prompt", "nul_character"),
    "too long": ("p" * 1001 + ",ann,yes", "prompt", "too_long"),
    "a name that is too long": ("p," + "é" * 501 + ",yes", "annotator", "too_long"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
@pytest.mark.parametrize("block_bytes", [2000, 8 * 1024**2], ids=["small blocks", "one block"])
def test_bad_row(case: str, block_bytes: int) -> None:
    """The right row is named, wherever it stands, and nothing else is."""
    line, column, code = BAD_ROWS[case]
    before = "".join(f'"q{number},\n""x""",ann,yes\n' for number in range(300))
    data = f"prompt,annotator,label\n{before}{line}\nz,ann,no\n"
    fault = only_fault(data, block_bytes=block_bytes, limits={"max_field_bytes": 1000})
    assert (fault.row, fault.column, fault.code) == (302, column, code)


@pytest.mark.parametrize("case", BAD_ROWS)
def test_skipping_a_bad_row_keeps_the_others(case: str) -> None:
    line, _, code = BAD_ROWS[case]
    table, faults = read_bytes(f"{GOOD}{line}\n" + "p2,bob,no\n", on_error="skip", limits={"max_field_bytes": 1000})
    assert [fault.code for fault in faults] == [code]
    assert (table.counts.labels, table.counts.rejected, table.counts.rows) == (4, 1, 5)


def test_invalid_utf8_names_row_and_column() -> None:
    fault = only_fault(GOOD.encode() + b"p3,b\xffb,no\n")
    assert (fault.row, fault.column, fault.code) == (5, "annotator", "invalid_utf8")


def test_invalid_utf8_in_the_header() -> None:
    assert refused(b"pr\xffompt,annotator,label\n").code == "invalid_utf8"


def test_a_quote_that_is_never_closed() -> None:
    fault = only_fault(GOOD + 'p3,"ann,yes\np4,bob,no\n')
    assert (fault.row, fault.code) == (5, "unclosed_quote")


def test_a_quote_inside_an_unquoted_cell_is_text() -> None:
    table, _ = read_bytes('prompt,annotator,label\n5" disk,ann,yes\nthe "best",ann,no\n"q, r",ann,no\n')
    assert table.counts.items == 3


def test_blank_lines_count_as_rows_but_are_none() -> None:
    assert read_bytes(GOOD.replace("\n", "\n\n"))[0].counts.labels == 3
    assert only_fault(GOOD.replace("\n", "\r\n\r\n") + "p3,ann,\r\n").row == 9


def test_every_fault_is_listed_and_the_first_is_told() -> None:
    error = refused("prompt,annotator,label\np,,yes\np,ann,\n,,\n")
    assert [(fault.row, fault.column) for fault in error.faults] == [
        (2, "annotator"),
        (3, "label"),
        (4, "annotator"),
        (4, "label"),
        (4, "prompt"),
    ]
    assert str(error) == "Row 2 is bad: The annotator is empty. 2 more rows are bad. Nothing was kept."


def test_reading_stops_after_a_hundred_faults() -> None:
    sent = 0

    def rows() -> Iterator[bytes]:
        nonlocal sent
        yield b"prompt,annotator,label\n"
        for _ in range(1000):
            sent += 1
            yield b"p,ann,\n" * 1000

    error = refused(rows(), block_bytes=10_000)
    assert len(error.faults) == 100
    assert "stopped after 100 faults" in error.detail
    assert sent < 10


def test_skipping_lists_a_hundred_faults_and_counts_all() -> None:
    table, faults = read_bytes(GOOD + "p,ann,\n" * 1000, on_error="skip")
    assert (len(faults), table.counts.rejected, table.counts.labels) == (100, 1000, 3)


def test_skipping_every_row_leaves_nothing_to_keep() -> None:
    error = refused("prompt,annotator,label\np,ann,\n", on_error="skip")
    assert str(error) == "No row is left: 1 are bad and 0 have ignored labels."
    assert len(error.faults) == 1


# JSONL

BAD_LINES = {
    "not JSON": ('{"prompt": "p"', "invalid_json"),
    "not an object": ("[1]", "not_an_object"),
    "NaN": ('{"prompt": "p", "annotator": "a", "label": NaN}', "invalid_json"),
    "too large a number": ('{"prompt": "p", "annotator": "a", "label": 1e999}', "invalid_json"),
    "too long a number": ('{"prompt": "p", "annotator": "a", "label": ' + "9" * 5000 + "}", "invalid_json"),
    "a list": ('{"prompt": ["p"], "annotator": "a", "label": "l"}', "not_text"),
    "an object": ('{"prompt": "p", "annotator": {"name": "a"}, "label": "l"}', "not_text"),
    "half a surrogate pair": ('{"prompt": "\\ud83d", "annotator": "a", "label": "l"}', "invalid_unicode"),
    "NUL": ('{"prompt": "\\u0000", "annotator": "a", "label": "l"}', "nul_character"),
    "no label": ('{"prompt": "p", "annotator": "a"}', "empty_label"),
    "deep": ('{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}", "invalid_json"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_line(case: str) -> None:
    line, code = BAD_LINES[case]
    good = '{"prompt": "p", "annotator": "a", "label": 1}\n'
    fault = only_fault(f"{good}\n{good}{line}\n{good}", "jsonl")
    assert (fault.row, fault.code) == (4, code)


def test_invalid_utf8_in_jsonl() -> None:
    fault = only_fault(b'{"prompt": "p", "annotator": "a", "label": "l"}\n{"prompt": "\xff"}\n', "jsonl")
    assert (fault.row, fault.code) == (2, "invalid_utf8")


def test_numbers_are_texts(tmp_path: Path) -> None:
    rows = "".join(f'{{"prompt": "p{n}", "annotator": {n}, "label": {n}}}\n' for n in ("1", "2.0", "2", "0.50", "true"))
    annotations = read_text(tmp_path, rows, "rows.jsonl")
    assert annotations.tasks[0].answers == ("0.5", "1", "2", "true")
    assert annotations.annotators == ("1", "2", "0.5", "true")


# Labels


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


# Options of a prompt


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


# Items and repeats


def test_one_annotator_is_enough() -> None:
    assert read_bytes("prompt,annotator,label\np,ann,yes\nq,ann,no\n")[0].annotators == ("ann",)


def test_the_last_of_repeated_rows_counts() -> None:
    repeats = "p1,ann,no\np1,ann,yes\np1,ann,no\np2,ann,no\n"
    table, _ = read_bytes(GOOD + repeats)
    assert table.item.tolist() == [0, 0, 1]
    assert [list(table.tasks[0].answers)[label] for label in table.label] == ["no", "no", "no"]
    assert (table.counts.conflicting_repeats, table.counts.identical_repeats) == (2, 2)
    assert (table.counts.rows, table.counts.labels) == (7, 3)


@pytest.mark.parametrize("block_bytes", [60, 8 * 1024**2], ids=["small blocks", "one block"])
def test_one_item_id_with_two_texts_names_both_rows(block_bytes: int) -> None:
    data = "item_id,prompt,annotator,label\n7,a text,ann,yes\n8,other,bob,no\n7,another text,bob,no\n"
    fault = only_fault(data, block_bytes=block_bytes)
    assert (fault.row, fault.column, fault.code) == (4, "prompt", "item_with_two_texts")
    assert "'7'" in fault.detail
    assert "row 2" in fault.detail


def test_the_same_text_may_have_several_item_ids(tmp_path: Path) -> None:
    annotations = read_text(tmp_path, "item_id,prompt,annotator,label\n1,p,ann,yes\n2,p,ann,no\n,p,ann,no\n")
    assert annotations.item_ids == ("1", "2", "item_2")
    assert annotations.prompts == ("p", "p", "p")


def test_data_without_text(tmp_path: Path) -> None:
    annotations = read_text(tmp_path, "item_id,annotator,label\na,ann,yes\nb,ann,no\na,bob,yes\n")
    assert annotations.prompts is None
    assert annotations.item_ids == ("a", "b")
    assert only_fault("item_id,annotator,label\n,ann,yes\n").code == "empty_item_id"


def test_gold_of_any_row_counts_for_the_item(tmp_path: Path) -> None:
    text = "prompt,annotator,label,gold\np,ann,yes,\nq,ann,no,no\np,bob,no,maybe\nr,ann,no,\n"
    annotations = read_text(tmp_path, text)
    assert annotations.tasks[0].answers == ("maybe", "no", "yes")
    assert annotations.gold is not None
    assert annotations.gold.tolist() == [0, 1, -1]


def test_two_gold_labels_of_one_item() -> None:
    fault = only_fault("prompt,annotator,label,gold\np,ann,yes,no\np,bob,yes,yes\n")
    assert (fault.row, fault.column, fault.code) == (3, "gold", "two_gold_labels")
    assert only_fault("prompt,annotator,label,gold\np,ann,yes,x\n", labels=["yes", "no"]).code == "unknown_gold"


# Times and numbers


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


def test_a_dictionary_in_parquet_may_not_stand_for_too_much_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    n = 2_000
    pl.DataFrame(
        {"prompt": ["x" * 100_000] * n, "annotator": map(str, range(n)), "label": ["a", "b"] * (n // 2)}
    ).write_parquet(path)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(TooLarge, match="uncompressed"):
        read_annotations(path, limits=Limits(max_bytes=100_000_000))
    with pytest.raises(TooLarge, match="2,000 rows"):
        read_annotations(path, limits=Limits(max_rows=1999))


# The hash


def test_the_hash_does_not_depend_on_the_order_of_rows() -> None:
    header, *rows = (
        "item_id,prompt,annotator,label,task,gold\n1,p,ann,yes,t,no\n1,p,bob,no,t,\n2,q,ann,x,u,\n3,q,bob,y,u,y\n".splitlines()
    )
    hashes = {
        read_bytes("\n".join([header, *order]) + "\n")[0].sha256
        for order in (rows, rows[::-1], [rows[2], rows[0], rows[3], rows[1]])
    }
    assert len(hashes) == 1


CHANGES = [
    ("1,p,bob", "1,p,eve"),
    ("bob,no", "bob,yes"),
    ("1,p", "1,pp"),
    ("t,no", "t,yes"),
    ("3,q", "4,q"),
    (",u,", ",v,"),
]


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_the_hash_depends_on_all_that_the_data_say(before: str, after: str) -> None:
    data = "item_id,prompt,annotator,label,task,gold\n1,p,ann,yes,t,no\n1,p,bob,no,t,\n2,q,ann,x,u,\n3,q,bob,y,u,y\n"
    assert read_bytes(data)[0].sha256 != read_bytes(data.replace(before, after))[0].sha256


def test_annotators_are_limited() -> None:
    rows = "".join(f"p,{n},yes\n" for n in range(101))
    assert refused("prompt,annotator,label\n" + rows, limits={"max_annotators": 100}).code == "too_many_annotators"


def test_rows_are_limited() -> None:
    assert refused(GOOD * 1 + "p9,ann,yes\n", limits={"max_rows": 3}).code == "too_many_rows"
