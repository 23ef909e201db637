"""Reading text as a file of annotations, in tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from realm_core.annotations import Annotations
from realm_core.formats import BadData, DeclaredAnswers, Fault, Limits, ReadingOptions, read_annotations
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
