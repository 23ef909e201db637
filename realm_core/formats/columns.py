"""Which columns of a file are ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from realm_core.formats.faults import BadData

COLUMNS = (
    "annotator",
    "label",
    "prompt",
    "item_id",
    "task",
    "options",
    "gold",
    "created_at",
    "duration_ms",
    "cost",
)
ROW = "row"  # the number of a row in its file, carried beside the columns


@dataclass(frozen=True)
class ColumnPlan:
    """Our columns by where they stand in the file, and the file's columns that have no use here.

    `note` says which tool's export the file was taken for; `wide` are the columns that hold one annotator each.
    """

    sources: Mapping[str, str]
    unused: tuple[str, ...]
    note: str | None = None
    wide: tuple[str, ...] = ()


def _check_mapping(mapping: Mapping[str, str]) -> None:
    """Raises BadData for a mapping that cannot fit any file."""
    for theirs, ours in mapping.items():
        if ours not in COLUMNS:
            raise BadData(
                "invalid_mapping",
                f'mapping goes from your columns to ours, such as {{"worker": "annotator"}}; {ours!r} is none of ours: '
                f"{', '.join(COLUMNS)}.",
            )
        if list(mapping.values()).count(ours) > 1:
            raise BadData("invalid_mapping", f"mapping gives two columns the name {ours!r}; {theirs!r} is one of them.")


def plan_columns(found: Sequence[str], mapping: Mapping[str, str], *, note: str | None = None) -> ColumnPlan:
    """Find our columns among those of a file. Raises BadData that says which were found."""
    _check_mapping(mapping)
    absent = [theirs for theirs in mapping if theirs not in found]
    if absent:
        raise BadData("missing_column", f"mapping names a column {absent[0]!r} that is not there. {_found(found)}")
    sources = {name: name for name in COLUMNS if name in found and name not in mapping}
    sources |= {ours: theirs for theirs, ours in mapping.items()}
    for needed in ("annotator", "label"):
        if needed not in sources:
            raise BadData("missing_column", f"There is no column {needed!r}. {_found(found)}")
    if "prompt" not in sources and "item_id" not in sources:
        raise BadData(
            "missing_column", f"There is no column 'prompt', nor 'item_id' for data without text. {_found(found)}"
        )
    twice = [theirs for theirs in sources.values() if list(found).count(theirs) > 1]
    if twice:
        raise BadData("duplicate_column", f"There are two columns {twice[0]!r}; rename one.")
    return ColumnPlan(sources, tuple(name for name in found if name not in sources.values()), note)


def _found(found: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:60]) for name in found[:30]) + (", …" if len(found) > 30 else "")
    if len(found) == 1 and any(separator in found[0] for separator in ";\t,"):
        return f"The only column found is {shown}: is the file separated by another character than its type says?"
    return f'Columns found: {shown}. Rename yours with mapping, such as {{"worker": "annotator"}}.'
