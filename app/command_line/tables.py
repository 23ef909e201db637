"""Reports, jobs and answers as tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.client import Json
from app.command_line.output import harmless

_MOST_REASONS = 20
_SCALE = 24
_BAR = 20
_LONGEST_PROMPT = 300
_SECONDS_PER_MINUTE = 60


def annotator_table(rows: Sequence[Json]) -> Table:
    """The report: one line per annotator, with the interval drawn from 0 to 1."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("annotator", "labels", "accuracy", "95 % interval", "0" + " " * (_SCALE - 2) + "1", "agreement"):
        table.add_column(heading, justify="right" if heading in ("labels", "accuracy", "agreement") else "left")
    table.add_column("flags")
    for row in rows:
        accuracy = row["accuracy"]
        table.add_row(
            harmless(row["annotator"], 40),
            f"{row['n']:,}",
            fraction(accuracy["value"]),
            interval(accuracy),
            _drawn(accuracy),
            fraction(row["agreement"]),
            flags(row["flags"]),
        )
    return table


def report_view(job: Json, rows: Sequence[Json]) -> RenderableType:
    """The report of a job with what is needed to read it."""
    return Group(
        annotator_table(rows), Text(), *reasons(rows), Text(), *(Text(line) for line in _reading_aid(job, rows))
    )


def reasons(rows: Sequence[Json]) -> list[Text]:
    """Why people are flagged; to have given few labels needs no words."""
    flagged = [row for row in rows if set(row["flags"]) - {"too_few_labels"}]
    lines = [
        Text.assemble(harmless(row["annotator"], 40), ": ", harmless(" ".join(row["reasons"])))
        for row in flagged[:_MOST_REASONS]
    ]
    if len(flagged) > _MOST_REASONS:
        lines.append(Text(f"… and {len(flagged) - _MOST_REASONS} more with flags."))
    return lines


def _reading_aid(job: Json, rows: Sequence[Json]) -> list[str]:
    summary = job["summary"] or {}
    in_sample = any(row["accuracy"]["method"] == "in_sample" for row in rows)
    lines = [str(note) for note in summary.get("notes", [])]
    if in_sample:
        lines.append("The intervals are in-sample, not cross-fitted: they may be too narrow.")
    lines.append("Never decide about a person on a wide interval, nor on these figures alone: look at the labels.")
    return lines


def fraction(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def interval(estimate: Json) -> str:
    return "–" if estimate["low"] is None else f"[{estimate['low']:.2f}, {estimate['high']:.2f}]"


def flags(names: Sequence[str]) -> Text:
    return Text(", ".join(names), style="dim" if list(names) == ["too_few_labels"] else "yellow")


def _drawn(estimate: Json) -> Text:
    """An interval on a scale from 0 to 1."""
    if estimate["value"] is None:
        return Text("·" * _SCALE, style="dim")
    low, value, high = (round(estimate[name] * (_SCALE - 1)) for name in ("low", "value", "high"))
    cells = ["─" if low <= at <= high else "·" for at in range(_SCALE)]
    cells[value] = "●"
    return Text("".join(cells))


def job_table(jobs: Sequence[Json]) -> Table:
    """Jobs, one per line."""
    table = _plain_table("job", "status", "method", "dataset", "made", "model")
    for job in jobs:
        percent = f" {job['progress']['percent']:.0f} %" if job["status"] == "running" and job["progress"] else ""
        table.add_row(
            job["id"],
            job["status"] + percent,
            job["method"]["type"],
            f"{job['dataset']['id'] or 'deleted'}@{job['dataset']['version']}",
            when(job["created_at"]),
            job["fine_tuned_model"] or "",
        )
    return table


def estimate_view(estimate: Json) -> RenderableType:
    """What a job would take, and what every auto becomes."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    seconds, memory = estimate["seconds"], estimate["memory_bytes"]
    table.add_row("time", f"{duration(seconds['low'])} to {duration(seconds['high'])}" if seconds else "not known")
    table.add_row("", Text(estimate["based_on"], style="dim"))
    if estimate["steps"] is not None:
        table.add_row("steps", f"{estimate['steps']:,}")
        table.add_row("tokens", f"about {estimate['tokens']:,}")
    if memory is not None:
        table.add_row("memory", f"at most about {memory / 2**30:.1f} GiB")
    for name, choice in estimate["resolved"].items():
        table.add_row(name, f"{choice['value']}  ({choice['why']})")
    return table


def duration(seconds: float) -> str:
    """In the unit that fits: 40 s, 12 min, 3.5 h."""
    if seconds < _SECONDS_PER_MINUTE:
        return f"{seconds:.0f} s"
    minutes = seconds / _SECONDS_PER_MINUTE
    return f"{minutes:.0f} min" if minutes < _SECONDS_PER_MINUTE else f"{minutes / 60:.1f} h"


def worker_view(found: Json) -> RenderableType:
    """Workers with their jobs, jobs whose worker is silent, and the queue."""
    table = _plain_table("worker", "heartbeat", "runs", "attempt", "for", "lease")
    for worker in found["workers"]:
        slots = _counted(worker["gpus"], "GPU") if worker["gpus"] else _counted(worker["slots"], "slot")
        name = f"{worker['id']} ({'draining' if worker['draining'] else slots})"
        _add_running(table, name, f"{worker['heartbeat_seconds']:.0f} s ago", worker["running"])
    if found["running_elsewhere"]:
        _add_running(table, "(no sign of life)", "", found["running_elsewhere"])
    queue = found["queue"]
    waiting = "Nothing waits."
    if queue["length"]:
        waiting = (
            f"In the queue: {_counted(queue['length'], 'job')}, the first for {duration(queue['oldest_seconds'])}."
        )
    alive = "No worker is alive." if not found["workers"] else f"Alive: {_counted(len(found['workers']), 'worker')}."
    broker = "" if found["broker"] == "ok" else " Redis is out of reach, so workers cannot be seen."
    return Group(table, Text(), Text(f"{alive}{broker} {waiting}"))


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _add_running(table: Table, name: str, heartbeat: str, running: Sequence[Json]) -> None:
    if not running:
        table.add_row(name, heartbeat, "nothing")
    for job in running:
        lease = f"{job['lease_seconds']:.0f} s left" if job["lease_seconds"] > 0 else "lost"
        what = job["job"] or "a job of another project"
        table.add_row(name, heartbeat, what, str(job["attempt"]), duration(job["running_seconds"]), lease)


def key_table(keys: Sequence[Json]) -> Table:
    """API keys without their secrets."""
    table = _plain_table("id", "name", "role", "opens", "made", "last used", "ends", "revoked")
    for key in keys:
        times = (when(key[name]) for name in ("created_at", "last_used_at", "expires_at", "revoked_at"))
        opens = ", ".join(key["scopes"] or ["everything"])
        table.add_row(key["id"], harmless(key["name"], 40), key["role"], opens, *times)
    return table


def _plain_table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=heading in ("id", "job", "model"))
    return table


def when(unix: int | None) -> str:
    return "" if unix is None else datetime.fromtimestamp(unix, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def answer_table(inputs: Sequence[Any], answers: Sequence[Any]) -> Table:
    """What a model answered, with a bar per label."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(max_width=60)
    for one, answer in zip(inputs, answers, strict=True):
        table.add_row(harmless(one if isinstance(one, str) else one["prompt"], _LONGEST_PROMPT), _scores(answer))
    return table


def _scores(answer: Any) -> Text:
    if isinstance(answer, dict):
        return Text.assemble(("error ", "bold red"), harmless(answer["error"]["message"]))
    width = max(len(one["label"]) for one in answer)
    lines = [
        Text.assemble(harmless(one["label"].ljust(width), 30), f" {one['score']:.2f} ", _bar(one["score"]))
        for one in answer
    ]
    return Text("\n").join(lines)


def _bar(score: float) -> tuple[str, str]:
    return "█" * round(score * _BAR), "green"
