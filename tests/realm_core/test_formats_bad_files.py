"""Files that cannot be read at all: empty, cut short, damaged, too large; each says what to do."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from realm_core.formats import BadData, Limits, TooLarge, read_annotations
from realm_core.formats.compression import plain_bytes
from realm_core.formats.files import StreamFormat
from tests.realm_core.reading import GOOD, read_bytes, read_text, refused


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"  \n\n", gzip.compress(b"")], ids=["nothing", "a line", "blank lines", "gzip of nothing"]
)
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


def test_rows_are_limited() -> None:
    assert refused(GOOD * 1 + "p9,ann,yes\n", limits={"max_rows": 3}).code == "too_many_rows"
