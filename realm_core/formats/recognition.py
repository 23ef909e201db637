"""Tells the exports of labelling tools by their columns or keys."""

from __future__ import annotations

from collections.abc import Sequence

from realm_core.formats import argilla, cleanlab, crowd_kit, doccano, label_studio, prodigy
from realm_core.formats.columns import ColumnPlan, plan_columns
from realm_core.formats.reading_options import ReadingOptions
from realm_core.formats.recognised import Recognised, Record

_OF_COLUMNS = (crowd_kit.recognise_columns, label_studio.recognise_columns, cleanlab.recognise_columns)
_OF_RECORDS = (
    label_studio.recognise_record,
    argilla.recognise_record,
    prodigy.recognise_record,
    doccano.recognise_record,
)


def recognise_record(first: Record, options: ReadingOptions) -> Recognised | None:
    """The tool that wrote an object, unless the user says how it is to be read."""
    if options.mapping:
        return None
    found = next((tool for recognise in _OF_RECORDS if (tool := recognise(first))), None)
    return found or _recognise_columns([name for name in first if name != ""], wide=False)


def _recognise_columns(found: Sequence[str], *, wide: bool) -> Recognised | None:
    tools = (tool for recognise in _OF_COLUMNS if (tool := recognise(found)))
    return next((tool for tool in tools if wide or not tool.wide), None)


def plan_table(found: Sequence[str], options: ReadingOptions) -> ColumnPlan:
    """Our columns among those of a table, which may be a tool's. Raises BadData."""
    tool = None if options.mapping else _recognise_columns(found, wide=True)
    if tool is None:
        return plan_columns(found, options.mapping)
    if not tool.wide:
        return plan_columns(found, tool.mapping, note=tool.note)
    items = {ours: theirs for theirs, ours in tool.mapping.items()}
    return ColumnPlan(items | {name: name for name in tool.wide}, (), tool.note, tool.wide)
