"""Stages of reading that work at the same time, each a block ahead of the next."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import polars as pl


def one_ahead(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same frames, each made by a thread of its own while the one before it is in use."""
    with ThreadPoolExecutor(1, "read-ahead") as thread:
        following = thread.submit(next, frames, None)
        while (frame := following.result()) is not None:
            following = thread.submit(next, frames, None)
            yield frame
