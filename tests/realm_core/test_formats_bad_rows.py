"""Bad rows: each fault says what and where, all are listed, and the good ones may be kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.realm_core.reading import GOOD, only_fault, read_bytes, read_text, refused

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
