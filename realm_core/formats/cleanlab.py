"""cleanlab's wide table: a row for each item and a column for each annotator, empty where they gave no label."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from realm_core.formats.columns import ROW
from realm_core.formats.recognised import Recognised

_ITEM_COLUMNS = {"": "item_id", "id": "item_id", "item_id": "item_id", "text": "prompt", "prompt": "prompt"}
_NUMBERED = re.compile(r"(.*?)\d+")


def recognise_columns(found: Sequence[str]) -> Recognised | None:
    """All columns beside those of the item are numbered and otherwise called alike: A0001, A0002, … or 0, 1, 2, …"""
    numbered = [match for name in found if (match := _NUMBERED.fullmatch(name))]
    others = [name for name in found if not _NUMBERED.fullmatch(name)]
    if len(numbered) < 2 or len({match[1] for match in numbered}) > 1:
        return None
    ours = [_ITEM_COLUMNS.get(name) for name in others]
    if None in ours or len(set(ours)) < len(ours):
        return None
    annotators = tuple(match[0] for match in numbered)
    note = (
        f"Read as a wide table of cleanlab: a column for each of {len(annotators)} annotators ({annotators[0]!r} to "
        f"{annotators[-1]!r}), a row for each item; empty cells are no labels."
    )
    return Recognised(note, mapping={name: _ITEM_COLUMNS[name] for name in others}, wide=annotators)


def as_rows(frame: pl.DataFrame, annotators: Sequence[str]) -> pl.DataFrame:
    """A wide block as a row for each label; without other ids, items are known by the number of their row."""
    if "item_id" not in frame.columns and "prompt" not in frame.columns:
        frame = frame.with_columns(pl.col(ROW).cast(pl.String).alias("item_id"))
    index = [name for name in frame.columns if name not in annotators]
    long = frame.unpivot(annotators, index=index, variable_name="annotator", value_name="label")
    # A column of whole numbers with gaps is one of floats to pandas, which writes 1 as 1.0.
    label = pl.col("label").str.replace(r"^(-?\d+)\.0$", "${1}")
    return long.drop_nulls("label").with_columns(label).sort(ROW, maintain_order=True)
