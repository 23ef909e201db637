"""Reads a file of annotations block by block into integer arrays.

reader = AnnotationReader(file, options, faults)
for new_items in reader.blocks():  # the texts pass through; nothing of them stays in memory
    ...
table = reader.finish()
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from realm_core.annotations import UNKNOWN, IntArray
from realm_core.formats.answers import AnswerBook, KnownTask
from realm_core.formats.cells import clean
from realm_core.formats.columns import ColumnPlan
from realm_core.formats.faults import BadData, Fault, Faults, TooLarge
from realm_core.formats.hash_table import Column
from realm_core.formats.items import ItemBook
from realm_core.formats.read_ahead import one_ahead
from realm_core.formats.reading_options import ReadingOptions
from realm_core.formats.table import AnnotationTable, LabelRows, assemble


class AnnotationFile(Protocol):
    """A file whose columns are known and whose rows come in blocks."""

    plan: ColumnPlan

    def frames(self) -> Iterator[pl.DataFrame]: ...


class AnnotationReader:
    """Numbers items, annotators, tasks and labels. `known` are the tasks that a dataset has already."""

    def __init__(
        self, file: AnnotationFile, options: ReadingOptions, faults: Faults, known: Sequence[KnownTask] = ()
    ) -> None:
        self._file = file
        self._options = options
        self._faults = faults
        self._answers = AnswerBook(options.labels, options.limits, known)
        self._items = ItemBook()
        self._annotators: dict[str, int] = {}
        self._gold = Column(np.int16)
        self._rows = LabelRows()
        self._n_ignored = 0
        self.has_text = "prompt" in file.plan.sources

    def blocks(self) -> Iterator[pl.DataFrame]:
        """The items that each block brings: item, task_number, key, item_id, prompt, options. Raises BadData."""
        for frame in one_ahead(self._clean_frames()):
            new_items = self._number(self._without_unknown(frame))
            if self._rows.size + self._n_ignored > self._options.limits.max_rows:
                raise TooLarge("too_many_rows", f"There are more than {self._options.limits.max_rows:,} rows.")
            yield new_items
        self._faults.raise_if_any()

    def _clean_frames(self) -> Iterator[pl.DataFrame]:
        for frame in self._file.frames():
            yield clean(frame, has_text=self.has_text, limits=self._options.limits, faults=self._faults)

    def _without_unknown(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows whose labels count, and can be answers."""
        if self._options.ignore_labels:
            kept = frame.filter(~pl.col("label").is_in(list(self._options.ignore_labels)))
            self._n_ignored += frame.height - kept.height
            frame = kept
        for column in ("label", "gold"):
            if column in frame.columns:
                frame = self._answers.without_unknown(frame, column, self._faults)
        return frame

    def _number(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Keep the block as numbers; its new items are returned."""
        frame = frame.with_columns(pl.Series("task_number", self._answers.task_numbers(frame)))
        frame, new_items = self._items.number(frame, self._faults)
        self._gold.extend(np.full(new_items.height, UNKNOWN, np.int16))
        if "gold" in frame.columns:
            frame = self._keep_gold(frame)
        self._rows.add(
            item=frame["item"].to_numpy(),
            annotator=self._annotator_numbers(frame["annotator"]),
            label=self._answers.numbers(frame, "label"),
            values=frame.select(name for name in ("created_at", "duration_ms", "cost") if name in frame.columns),
        )
        return new_items

    def _keep_gold(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Note the gold of the items, less the rows that contradict what an earlier row said."""
        gold = self._answers.numbers(frame, "gold")
        items = frame["item"].to_numpy()
        given = np.flatnonzero(gold != UNKNOWN)
        first = given[np.unique(items[given], return_index=True)[1]]
        unset = first[self._gold.values[items[first]] == UNKNOWN]
        self._gold.values[items[unset]] = gold[unset]
        contradicts = pl.Series((gold != UNKNOWN) & (self._gold.values[items] != gold))
        bad = frame.filter(contradicts)["row"].to_list()
        if not bad:
            return frame
        detail = "The gold label differs from the one that an earlier row gives for the same item."
        self._faults.add((Fault(row, "gold", "two_gold_labels", detail) for row in bad), len(bad))
        return frame.filter(~contradicts)

    def _annotator_numbers(self, names: pl.Series) -> IntArray:
        distinct = names.unique(maintain_order=True).to_frame()
        numbers = [self._annotators.setdefault(name, len(self._annotators)) for name in distinct.to_series()]
        if len(self._annotators) > self._options.limits.max_annotators:
            detail = f"There are more than {self._options.limits.max_annotators:,} annotators: is it the right column?"
            raise TooLarge("too_many_annotators", detail)
        distinct = distinct.with_columns(pl.Series("number", numbers, pl.Int32))
        return names.to_frame().join(distinct, on=names.name, how="left", maintain_order="left")["number"].to_numpy()

    @property
    def first_rows(self) -> NDArray[np.uint32]:
        """The row in which each item was first seen. (N,)"""
        return self._items.first_rows

    def finish(self) -> AnnotationTable:
        """What was read, once the blocks are through; of repeated (item, annotator) the last row. Raises BadData."""
        if not self._rows.size:
            raise BadData("no_rows", self._why_empty(), self._faults.listed)
        return assemble(
            self._rows,
            self._items,
            self._answers,
            annotators=tuple(self._annotators),
            gold=self._gold.values,
            n_ignored=self._n_ignored,
            n_rejected=self._faults.rejected,
        )

    def _why_empty(self) -> str:
        if self._faults.rejected or self._n_ignored:
            return f"No row is left: {self._faults.rejected:,} are bad and {self._n_ignored:,} have ignored labels."
        return "There is no row below the header."
