"""Files of every tool, damaged at random: read or refused with a reason, and nothing of them stays in memory."""

from __future__ import annotations

import gc
import gzip
import io
import random
from pathlib import Path

import polars as pl
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm_core.formats import BadData, Limits, TooLarge, read_annotations
from tests.realm_core.test_tool_formats import (
    ARGILLA_FLAT,
    ARGILLA_NESTED,
    CROWD_KIT,
    LABEL_STUDIO,
    WIDE,
    lines,
    prodigy,
)

OWN = [
    {"prompt": "p, 1", "annotator": "ann", "label": "yes", "task": "a", "options": ["yes", "no"], "gold": "yes"},
    {"prompt": "p2", "annotator": "bob", "label": "no", "created_at": "2024-05-03T09:30:00Z", "cost": 0.5},
]
DOCCANO = [{"id": 1, "text": "Great!", "label": ["pos"], "Comments": [], "annotator": "ada"}]


def parquet(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()


FILES: dict[str, bytes] = {
    "own.csv": b'prompt,annotator,label,options\n"p, ""1""",ann,yes,"[""yes"", ""no""]"\np2,bob,no,\n',
    "own.tsv": b"prompt\tannotator\tlabel\np1\tann\tyes\np2\tbob\tno\n",
    "own.jsonl": lines(OWN).encode(),
    "own.csv.gz": gzip.compress(CROWD_KIT.encode()),
    "crowd_kit.csv": CROWD_KIT.encode(),
    "crowd_kit.parquet": parquet(pl.read_csv(io.StringIO(CROWD_KIT))),
    "label_studio.jsonl": lines(LABEL_STUDIO).encode(),
    "argilla_nested.jsonl": lines(ARGILLA_NESTED).encode(),
    "argilla_flat.jsonl": lines(ARGILLA_FLAT).encode(),
    "doccano.jsonl": lines(DOCCANO).encode(),
    "prodigy.jsonl": lines([prodigy("ada", label="SPORT"), prodigy("bob", label="SPORT", answer="reject")]).encode(),
    "cleanlab.csv": pl.DataFrame(WIDE).write_csv().encode(),
}
# Bytes that mean something to a parser, some that are no text, and numbers out of reach.
PIECES = [b'"', b"'", b",", b"\n", b"\r", b"\t", b"\\", b"{", b"}", b"[", b"]", b":", b"\0", b"\xff", b"\xc3", b"null"]
PIECES += [b"1e999", b"-1", b"9" * 400, b"[" * 300, b'{"a":' * 100, b"\\ud800", "\u202e".encode(), b"NaN", b"true"]
SMALL = Limits(block_bytes=1000)


def damaged(data: bytes, choose: random.Random) -> bytes:
    """Up to four times something else in the place of up to eight bytes."""
    for _ in range(choose.randint(1, 4)):
        at = choose.randint(0, len(data))
        data = data[:at] + choose.choice([b"", *PIECES]) + data[at + choose.randint(0, 8) :]
    return data


def read_or_refuse(path: Path, data: bytes) -> bool:
    path.write_bytes(data)
    try:
        read_annotations(path, limits=SMALL)
    except (BadData, TooLarge):
        return False
    return True


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_damaged_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, name: str, seed: int) -> None:
    read_or_refuse(tmp_path_factory.getbasetemp() / name, damaged(FILES[name], random.Random(seed)))


@pytest.mark.parametrize("name", FILES)
def test_whole_files_are_read(tmp_path: Path, name: str) -> None:
    assert read_or_refuse(tmp_path / name, FILES[name])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memory_stays_flat(tmp_path: Path) -> None:
    """However many files come, the process does not grow: 2 kB for each damaged one would be 24 MB."""
    choose = random.Random(0)

    def read_many(times: int) -> float:
        for _ in range(times):
            for name, data in FILES.items():
                read_or_refuse(tmp_path / name, damaged(data, choose))
        gc.collect()
        return float(psutil.Process().memory_info().rss / 1024**2)

    before = read_many(200)
    assert read_many(1000) - before < 24
