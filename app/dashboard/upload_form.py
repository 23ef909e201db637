"""A file that a browser sends by a plain form, for readers without scripts."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import FormData

from realm_core.formats.columns import COLUMNS

COLUMN_FIELD = "column_"  # + our column: the name that it has in the file


def upload_parameters(form: FormData) -> dict[str, Any]:
    """How to read the file, as the parts of the API's own form; what was left empty says nothing."""
    texts = {name: value.strip() for name, value in form.multi_items() if isinstance(value, str) and value.strip()}
    mapping = {texts[COLUMN_FIELD + ours]: ours for ours in COLUMNS if COLUMN_FIELD + ours in texts}
    given: dict[str, Any] = {name: texts[name] for name in ("name", "on_error") if name in texts}
    if any(theirs != ours for theirs, ours in mapping.items()):
        given["mapping"] = mapping
    for name in ("labels", "ignore_labels"):
        if name in texts:
            given[name] = [line.strip() for line in texts[name].splitlines() if line.strip()]
    return given
