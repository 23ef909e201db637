"""The report beside the truth, which only a simulation knows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from app.client import Json
from app.command_line.tables import flags, fraction, interval
from app.demo.crowd import CROWD, Character


def crowd_table() -> Table:
    """Who the simulated annotators are."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for who in CROWD:
        table.add_row(Text(who.name, style="bold"), who.what)
    return table


def comparison(rows: Sequence[Json], truth: dict[str, float]) -> Table:
    """One line per annotator: what they are, how often they are right, and whether the report found out."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("annotator", "what they are", "truly right", "report says", "95 % interval", "flags", "verdict"):
        table.add_column(heading, justify="right" if heading in ("truly right", "report says") else "left")
    found = {row["annotator"]: row for row in rows}
    for who in CROWD:
        row = found[who.name]
        table.add_row(
            Text(who.name, style="bold"),
            who.what,
            fraction(truth[who.name]),
            fraction(row["accuracy"]["value"]),
            interval(row["accuracy"]),
            flags(row["flags"]),
            Text("right", style="green") if verdict(who, row) else Text("wrong", style="red"),
        )
    return table


def verdict(who: Character, row: Json) -> bool:
    """Whether the report calls an annotator what they are: the right flag raised, or none for a good one."""
    return not row["flags"] if who.flag is None else who.flag in row["flags"]


def n_covered(rows: Sequence[Json], truth: dict[str, float]) -> int:
    """How many intervals hold the truth."""
    known = [(row["accuracy"], truth[row["annotator"]]) for row in rows]
    return sum(accuracy["low"] <= true <= accuracy["high"] for accuracy, true in known if accuracy["low"] is not None)
