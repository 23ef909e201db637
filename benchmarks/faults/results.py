"""What the faults came to, kept trial by trial, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TRIED_CODE = ("app", "worker", "realm_core", "migrations", "benchmarks/faults")


@dataclass
class Row:
    """What one fault came to; `seconds` until what each trial hit went on."""

    fault: str
    tried: int = 0
    lost: int = 0
    doubled: int = 0
    seconds: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.violations)

    def summary(self) -> dict[str, Any]:
        """The row as --json prints it."""
        median, worst = (statistics.median(self.seconds), max(self.seconds)) if self.seconds else (None, None)
        return asdict(self) | {"recovery_s": median, "worst_recovery_s": worst}


class Results:
    """One file per fault in a folder. Results of other code than this are not gone on with."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.code = code_digest()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def row(self, fault: str) -> Row:
        """What is known of a fault; nothing, when the code has changed since."""
        if self._folder is None or not (file := self._folder / f"{fault}.json").exists():
            return Row(fault)
        kept = json.loads(file.read_text())
        return Row(**kept["row"]) if kept["code"] == self.code else Row(fault)

    def keep(self, row: Row) -> None:
        if self._folder is not None:
            document = {"code": self.code, "row": asdict(row)}
            (self._folder / f"{row.fault}.json").write_text(json.dumps(document, indent=1))

    def write_table(self, rows: Iterable[Row], meanings: Mapping[str, str]) -> str:
        """The Markdown table, also in the folder as faults.md."""
        table = markdown(rows, meanings)
        if self._folder is not None:
            (self._folder / "faults.md").write_text(table)
        return table


def code_digest() -> str:
    """Of all that takes part: two runs with the same digest tried the same code."""
    files = sorted(path for part in TRIED_CODE for path in (ROOT / part).rglob("*.py"))
    lines = [f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def markdown(rows: Iterable[Row], meanings: Mapping[str, str]) -> str:
    lines = [
        "| fault | tried | lost | doubled | rules broken | recovery s (median, worst) |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        recovery = f"{statistics.median(row.seconds):.1f}, {max(row.seconds):.1f}" if row.seconds else "—"
        lines.append(
            f"| {meanings[row.fault]} `{row.fault}` | {row.tried} | {row.lost} | {row.doubled} "
            f"| {len(row.violations)} | {recovery} |"
        )
    return "\n".join(lines + [f"\n{violation}" for row in rows for violation in row.violations]) + "\n"
