"""Any table of texts, written in any format by somebody else's writer, reads as the same annotations."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm_core.annotations import Annotations
from realm_core.formats import Limits, TooLarge, read_annotations
from realm_core.formats.delimited import DelimitedFile
from realm_core.formats.faults import Faults
from realm_core.formats.files import open_stream
from realm_core.formats.json_lines import JsonLinesFile
from realm_core.formats.reading_options import ReadingOptions

Rows = list[dict[str, str]]

# Letters that mean something to a parser of one of the formats come often.
LETTERS = st.one_of(
    st.sampled_from("\",\t\n\r\\'{}[]: aé😀\u2028\ufeff"),
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
)
TEXTS = st.text(LETTERS, min_size=1, max_size=12).filter(lambda text: text.strip() != "")
NAMES = st.sampled_from(["ann", "b,ob", 'c"y', "dé", "1", " e"])


@st.composite
def tables(draw: st.DrawFn) -> Rows:
    """Rows of one crowd: prompts, annotators and labels repeat."""
    prompts = draw(st.lists(TEXTS, min_size=1, max_size=5, unique=True))
    labels = draw(st.lists(TEXTS, min_size=1, max_size=3, unique=True))
    row = st.tuples(st.sampled_from(prompts), NAMES, st.sampled_from(labels))
    rows = draw(st.lists(row, min_size=1, max_size=20))
    return [{"prompt": prompt, "annotator": annotator, "label": label} for prompt, annotator, label in rows]


def as_csv(rows: Rows, *, separator: str = ",", quoting: Any = csv.QUOTE_MINIMAL, newline: str = "\r\n") -> bytes:
    """As the csv module writes it; with LF it needs all quoted, since it does not quote a carriage return then."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=newline)
    writer.writerow(rows[0])
    writer.writerows(row.values() for row in rows)
    return text.getvalue().encode()


def as_jsonl(rows: Rows, *, ascii_only: bool = False) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows).encode()


def as_parquet(rows: Rows) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(rows).write_parquet(file)
    return file.getvalue()


WRITERS: dict[str, tuple[str, Callable[[Rows], bytes]]] = {
    "csv": ("csv", as_csv),
    "csv, all quoted, LF": ("csv", lambda rows: as_csv(rows, quoting=csv.QUOTE_ALL, newline="\n")),
    "csv with a byte order mark": ("csv", lambda rows: b"\xef\xbb\xbf" + as_csv(rows)),
    "csv by polars": ("csv", lambda rows: pl.DataFrame(rows).write_csv().encode()),
    "csv without the last newline": ("csv", lambda rows: as_csv(rows).removesuffix(b"\r\n")),
    "tsv": ("tsv", lambda rows: as_csv(rows, separator="\t")),
    "jsonl": ("jsonl", as_jsonl),
    "jsonl, ascii": ("jsonl", lambda rows: as_jsonl(rows, ascii_only=True)),
    "parquet": ("parquet", as_parquet),
}


def expected(rows: Rows) -> set[tuple[str, str, str]]:
    last = {(row["prompt"], row["annotator"]): row["label"] for row in rows}
    return {(prompt, annotator, label) for (prompt, annotator), label in last.items()}


def said(annotations: Annotations) -> set[tuple[str, str, str]]:
    assert annotations.prompts is not None
    labels = zip(annotations.item, annotations.annotator, annotations.label, strict=True)
    return {
        (annotations.prompts[item], annotations.annotators[annotator], annotations.answers_of(item)[label])
        for item, annotator, label in labels
    }


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@settings(max_examples=25)
@given(rows=tables(), block_bytes=st.sampled_from([200, 1000, 8 * 1024**2]))
def test_reads_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, name: str, compressed: bool, rows: Rows, block_bytes: int
) -> None:
    suffix, write = WRITERS[name]
    if compressed and suffix == "parquet":
        return  # Parquet compresses by itself
    path = tmp_path_factory.getbasetemp() / f"rows.{suffix}{'.gz' if compressed else ''}"
    data = write(rows)
    path.write_bytes(gzip.compress(data) if compressed else data)
    annotations = read_annotations(path, limits=Limits(block_bytes=block_bytes))
    assert said(annotations) == expected(rows)
    assert annotations.n_items == len({row["prompt"] for row in rows})
    assert annotations.n_annotators == len({row["annotator"] for row in rows})
    pairs = annotations.item.astype(np.int64) * annotations.n_annotators + annotations.annotator
    assert (np.diff(pairs) > 0).all()


def read_by_csv_module(data: bytes) -> list[list[str]]:
    """What the csv module reads. It would take a carriage return that stands alone for the end of a line."""
    text = re.sub("\r(?!\n)", "R", data.decode())
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@settings(max_examples=500)
@given(
    text=st.lists(st.sampled_from(['"', '""', ",", "\n", "\r\n", "\r", "a", "é", "\t", " "]), max_size=100).map(
        "".join
    ),
    block_bytes=st.sampled_from([60, 100, 8 * 1024**2]),
)
def test_any_text_reads_as_the_csv_module_reads_it(text: str, block_bytes: int) -> None:
    """Of rows of three cells, however they are quoted, and whatever stands between them."""
    data = f"prompt,annotator,label\n{text}\n".encode()
    try:
        rows = read_by_csv_module(data)[1:]
    except csv.Error:
        return  # which row is at fault is tested with the faults
    faults = Faults("skip")
    options = ReadingOptions(limits=Limits(block_bytes=block_bytes), on_error="skip")
    file = open_stream(iter([data]), "csv", options, faults)
    try:
        cells = [row for frame in file.frames() for row in frame.select("prompt", "annotator", "label").rows()]
    except TooLarge:
        return  # a record longer than a block
    read = [[re.sub("\r(?!\n)", "R", cell or "") for cell in row] for row in cells]
    assert read == [row for row in rows if len(row) == 3]
    assert faults.rejected == sum(1 for row in rows if len(row) not in (0, 3))


@given(rows=tables())
def test_small_blocks_are_whole_records(rows: Rows) -> None:
    """Blocks of a few records each give the same rows with the same numbers as one block."""
    data = as_csv(rows)
    options = ReadingOptions(limits=Limits(block_bytes=256))
    small = list(DelimitedFile(_bytes_one_by_one(data), ",", options, Faults("abort")).frames())
    whole = list(DelimitedFile([data], ",", ReadingOptions(), Faults("abort")).frames())
    assert len(whole) == 1
    assert pl.concat(small).fill_null("").rows() == whole[0].fill_null("").rows()
    assert whole[0]["row"].to_list() == list(range(2, len(rows) + 2))


def _bytes_one_by_one(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


def test_well_formed_csv_is_not_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quotes, separators and newlines inside cells, and CRLF, do not need the slow reader."""
    monkeypatch.setattr(DelimitedFile, "_read_exactly", None)
    data = b'prompt,annotator,label\r\n"a, ""b""\n\nc",r,yes\r\n"",r,"no"\r\n'
    (frame,) = DelimitedFile([data], ",", ReadingOptions(), Faults("abort")).frames()
    assert frame.select("prompt", "annotator", "label").rows() == [('a, "b"\n\nc', "r", "yes"), ("", "r", "no")]


JSON_VALUES = st.one_of(
    TEXTS,
    st.text(LETTERS, max_size=3),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.one_of(TEXTS, st.integers(0, 9)), max_size=2),
    st.just({"a": 1}),
)


@settings(max_examples=300)
@given(
    objects=st.lists(
        st.fixed_dictionaries({"prompt": JSON_VALUES, "annotator": JSON_VALUES}, optional={"options": JSON_VALUES}),
        min_size=1,
        max_size=4,
    ),
    ascii_only=st.booleans(),
)
def test_polars_and_json_read_the_same_lines(objects: list[dict[str, Any]], ascii_only: bool) -> None:
    data = b'{"prompt": "p", "annotator": "a", "label": "l"}\n' + as_jsonl(objects, ascii_only=ascii_only)
    assert _frames_and_faults(data) == _frames_and_faults(data, exactly=True)


def _frames_and_faults(data: bytes, *, exactly: bool = False) -> tuple[list[Any], Any]:
    faults = Faults("skip")
    with pytest.MonkeyPatch.context() as patch:
        if exactly:
            patch.setattr(JsonLinesFile, "_read_fast", lambda *_: None)
        frames = JsonLinesFile([data], ReadingOptions(on_error="skip"), faults).frames()
        return [frame.to_dicts() for frame in frames], faults.listed
