"""A hash of what a dataset version says, whatever the order of the rows that it was read from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realm_core.annotations import IntArray
from realm_core.formats.answers import KnownTask

_ITEMS_AT_ONCE = 2**17
Columns = Sequence[NDArray[Any] | None]


def hash_of(
    tasks: Sequence[KnownTask],
    annotators: Sequence[str],
    item: IntArray,
    annotator: IntArray,
    of_items: Columns,
    of_labels: Columns,
) -> str:
    """SHA-256 of tasks and annotators by name, items by key, and labels by item and annotator in that order.

    `item` and `annotator` (L,) are sorted by item; `of_items` are columns of the items (N,), the first of them their
    keys (N, 2), and `of_labels` columns of the labels (L,).
    """
    keys = of_items[0]
    assert keys is not None
    by_key = np.lexsort((keys[:, 1], keys[:, 0]))
    by_name = np.array(sorted(range(len(annotators)), key=annotators.__getitem__), np.int64)
    rank = np.empty(len(by_name), np.int32)
    rank[by_name] = np.arange(len(by_name), dtype=np.int32)
    answers = sorted([task.name, task.declared, list(task.answers.items())] for task in tasks)
    names = [annotators[number] for number in by_name]
    found = hashlib.sha256(json.dumps([answers, names], ensure_ascii=False).encode())
    for values in of_items:
        _update(found, values, by_key)
    first_row = np.searchsorted(item, np.arange(len(by_key) + 1, dtype=item.dtype))
    per_item = np.diff(first_row)
    for start in range(0, len(by_key), _ITEMS_AT_ONCE):
        items = by_key[start : start + _ITEMS_AT_ONCE]
        position, rows = _rows_of(per_item[items], first_row[items])
        order = np.lexsort((rank[annotator[rows]], position))
        rows = rows[order]
        _update(found, position, order)
        _update(found, rank[annotator[rows]], slice(None))
        for values in of_labels:
            _update(found, values, rows)
    return found.hexdigest()


def _rows_of(counts: NDArray[np.int64], first_rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of some items, `counts` of each from `first_rows` on, and the position of each row's item among them."""
    position = np.repeat(np.arange(len(counts)), counts)
    begins = np.cumsum(counts) - counts
    return position, np.arange(len(position)) + (first_rows - begins)[position]


def _update(found: hashlib._Hash, values: NDArray[Any] | None, order: NDArray[np.int64] | slice) -> None:
    found.update(b"\0" if values is None else b"\1")
    if values is not None:
        found.update(np.ascontiguousarray(values[order]).data)
