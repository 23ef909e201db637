"""Printing: results on stdout, all else on stderr. Texts of users are shown as text, never obeyed."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from app.client import RequestFailed

_OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # by terminals
_MOST_ERRORS = 20

_WIDTH_OF_FILES = 160

console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)
messages = Console(stderr=True, highlight=False)


def print_document(document: Any) -> None:
    """The one JSON document of --json, on one line."""
    print(json.dumps(document, ensure_ascii=False), flush=True)


def harmless(text: str, width: int | None = None) -> Text:
    """Somebody's text on one line, cut to `width`."""
    line = _OBEYED.sub(" ", text).replace("\n", " ")
    return Text(line if width is None or len(line) <= width else line[: width - 1] + "…")


def fail(message: str) -> None:
    """Say what went wrong."""
    messages.print(f"[bold red]Error:[/] {escape(_OBEYED.sub(' ', message))}", soft_wrap=True)


def say(message: str) -> None:
    """Say something that is not the result; rich markup is obeyed."""
    messages.print(message, soft_wrap=True)


def show_warning(message: str) -> None:
    """Something that does not keep us from going on."""
    messages.print(Text.assemble(("Warning: ", "yellow"), harmless(message)), soft_wrap=True)


def show_refusal(error: RequestFailed) -> None:
    """A refused request with the rows at fault."""
    fail(error.detail)
    rows = [item for item in error.errors if item.get("row") is not None]
    if rows:
        messages.print(table_of_rows(rows[:_MOST_ERRORS]))
    if len(rows) > _MOST_ERRORS:
        say(f"… and {len(rows) - _MOST_ERRORS} more.")


def table_of_rows(items: list[dict[str, Any]]) -> Table:
    """Faults of an upload, row by row."""
    table = Table("row", "column", "what is wrong", box=None, padding=(0, 2), header_style="bold")
    for item in items:
        table.add_row(str(item["row"]), harmless(item.get("column") or ""), harmless(item["detail"]))
    return table
