"""One JSON file per setting and method, with a run for each seed: what was done is not done again."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.paper.settings import Method, Setting
from benchmarks.paper.training_runs import Conditions, Run


class ResultFiles:
    """A folder of results that were all made under the same conditions. Raises SystemExit where they differ."""

    def __init__(self, folder: Path, conditions: Conditions) -> None:
        self._folder = folder / "cells"
        self._folder.mkdir(parents=True, exist_ok=True)
        recorded = folder / "conditions.json"
        if not recorded.is_file():
            recorded.write_text(json.dumps(asdict(conditions), indent=1) + "\n")
        elif json.loads(recorded.read_text()) != asdict(conditions):
            raise SystemExit(f"{folder!s} has results of other conditions, see {recorded!s}: name another --out.")

    def runs(self, setting: Setting, method: Method) -> dict[int, dict[str, Any]]:
        """What is known so far, by seed."""
        file = self._file(setting, method)
        if not file.is_file():
            return {}
        return {int(seed): run for seed, run in json.loads(file.read_text())["runs"].items()}

    def has(self, setting: Setting, method: Method, seed: int) -> bool:
        run = self.runs(setting, method).get(seed)
        return run is not None and bool(run["curve"] or not setting.curve)

    def add(self, setting: Setting, method: Method, seed: int, run: Run) -> None:
        """Keep a run; the file is replaced at once, never half-written."""
        runs = self.runs(setting, method) | {seed: asdict(run)}
        file = self._file(setting, method)
        partial = file.with_suffix(f".{os.getpid()}.part")
        document = {"setting": asdict(setting.of(method)), "method": method, "runs": dict(sorted(runs.items()))}
        partial.write_text(json.dumps(document) + "\n")
        os.replace(partial, file)

    def _file(self, setting: Setting, method: Method) -> Path:
        return self._folder / f"{setting.of(method).name}-{method}.json"
