"""Rows 1 to 3: uploads over HTTP until they are committed, against psql's COPY of the same file; and appends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.speed.crowd import Crowd, make_crowd
from benchmarks.speed.live_service import LiveService, growth_during, live_service
from benchmarks.speed.ratio import Goal, Ratio, at_most, below, in_turns
from benchmarks.speed.size import Size

_N_ANNOTATORS = 200
_LARGE = {"REALM_MAX_UPLOAD_BYTES": str(16 * 1024**3)}


def rows(wanted: set[int], size: Size) -> Iterator[Ratio]:
    """Rows 1 to 3, in one service."""
    if not wanted & {1, 2, 3}:
        return
    with live_service(_LARGE) as service, TemporaryDirectory(prefix="realm-speed-") as folder:
        uploads = Uploads(service, Path(folder), size)
        if 1 in wanted:
            yield from uploads.one_million()
        if 2 in wanted:
            yield uploads.ten_million()
        if 3 in wanted:
            yield uploads.append()
    if 2 in wanted:
        yield from memory(size)


def memory(size: Size) -> Iterator[Ratio]:
    """Row 2: what a fresh API process grows by, when each prompt is labelled so often and twice as often."""
    n, grown = size.many_annotations, []
    for times in (1, 2):
        with live_service(_LARGE) as service, TemporaryDirectory(prefix="realm-speed-") as folder:
            crowd = make_crowd(n // size.per_item, size.per_item * times, _N_ANNOTATORS)
            csv = crowd.write(Path(folder) / "labels.csv")
            del crowd
            grown.append(growth_during(service.process("api"), partial(service.client.datasets.upload, csv))[1])
    yield Ratio(2, f"growth of the API's process during {n:,} rows", below(500), grown[0], None, "MB")
    more = f"and during {n:,} rows more, of the same prompts"
    yield Ratio(2, more, below(100), grown[1] - grown[0], None, "MB", f"{grown[1]:.0f} MB in all")


class Uploads:
    """Files are written before they are measured, and datasets deleted after it, so that all start alike."""

    def __init__(self, service: LiveService, folder: Path, size: Size) -> None:
        self._service, self._folder, self._size = service, folder, size

    def one_million(self) -> Iterator[Ratio]:
        """Row 1: CSV against COPY, then JSON lines and Parquet against CSV."""
        n = self._size.annotations
        crowd = self._crowd(n)
        csv = crowd.write(self._folder / "labels.csv")
        yield self._against_copy(1, csv, n, at_most(2.0))
        for kind in ("jsonl", "parquet"):
            other = crowd.write(self._folder / f"labels.{kind}")
            times = in_turns(partial(self._upload, other), lambda: self._upload(csv), self._size.rounds)
            yield Ratio(1, f"upload {n:,} rows as {kind}, against CSV", at_most(1.0), *times, "s")
            other.unlink()
        csv.unlink()

    def ten_million(self) -> Ratio:
        """Row 2."""
        n = self._size.many_annotations
        csv = self._crowd(n).write(self._folder / "labels.csv")
        try:
            return self._against_copy(2, csv, n, at_most(2.3))
        finally:
            csv.unlink()

    def append(self) -> Ratio:
        """Row 3: as many new rows to a large dataset and to one that hardly has any."""
        n, added = self._size.many_annotations, self._size.appended
        large = self._made(self._crowd(n))
        small = self._made(self._crowd(self._size.per_item))
        new = make_crowd(added // self._size.per_item, self._size.per_item, _N_ANNOTATORS, seed=7)
        body = new.write(self._folder / "new.csv").read_bytes()
        self._append(large, body), self._append(small, body)  # what they know by now, both know
        times = in_turns(
            lambda: self._append(large, _other(body)), lambda: self._append(small, _other(body)), 2 * self._size.rounds
        )
        return Ratio(3, f"append {added:,} rows to {n:,}, against to an empty dataset", at_most(1.5), *times, "s")

    def _crowd(self, n_labels: int) -> Crowd:
        return make_crowd(n_labels // self._size.per_item, self._size.per_item, _N_ANNOTATORS)

    def _against_copy(self, row: int, csv: Path, n: int, goal: Goal) -> Ratio:
        times = in_turns(lambda: self._upload(csv), lambda: self._copy(csv), self._size.rounds)
        size = csv.stat().st_size / 1e6
        return Ratio(row, f"upload {n:,} rows as CSV ({size:,.0f} MB), against COPY by psql", goal, *times, "s")

    def _upload(self, file: Path) -> float:
        started = time.perf_counter()
        dataset = self._service.client.datasets.upload(file)
        seconds = time.perf_counter() - started
        self._delete(dataset["id"])
        return seconds

    def _copy(self, file: Path) -> float:
        self._service.psql("CREATE TABLE copied (prompt text, annotator text, label text)")
        started = time.perf_counter()
        self._service.psql(f"\\copy copied FROM '{file}' (FORMAT csv, HEADER)")
        seconds = time.perf_counter() - started
        self._service.psql("DROP TABLE copied")
        return seconds

    def _made(self, crowd: Crowd) -> str:
        file = crowd.write(self._folder / "made.csv")
        return str(self._service.client.datasets.upload(file)["id"])

    def _append(self, dataset: str, body: bytes) -> float:
        path, headers = f"/v1/datasets/{dataset}/annotations", {"Content-Type": "text/csv"}
        started = time.perf_counter()
        self._service.client.request("POST", path, content=body, headers=headers)
        return time.perf_counter() - started

    def _delete(self, dataset: str) -> None:
        self._service.client.request("DELETE", f"/v1/datasets/{dataset}")


_turn = iter(range(1, 1_000_000))


def _other(body: bytes) -> bytes:
    """The same rows with other prompts."""
    return body.replace("№".encode(), f"№ {next(_turn)} –".encode())
