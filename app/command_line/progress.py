"""Progress on stderr: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TransferSpeedColumn

from app.client import Json, RealmClient
from app.command_line.output import messages, show_warning

_PERCENT_BETWEEN_LINES = 20


@contextmanager
def upload_bar(file: Path) -> Iterator[Callable[[int], None]]:
    """A bar of bytes; what it yields is to be told of every piece that was sent."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=messages, disable=not messages.is_terminal) as progress:
        sending = progress.add_task(f"Uploading {escape(file.name)}", total=file.stat().st_size)

        def sent(n_bytes: int) -> None:
            progress.advance(sending, n_bytes)
            if progress.tasks[0].finished:
                progress.update(sending, description="Reading and storing")

        yield sent


def follow_job(client: RealmClient, job_id: str) -> Json:
    """Show how a job goes on until it has finished; the finished job."""
    with _view() as view:
        for news in client.fine_tuning.jobs.follow(job_id):
            if news.kind == "event":
                _pass_on(news.object)
            else:
                view(news.object)
                job = news.object
    return job


def _pass_on(event: Json) -> None:
    if event["level"] in ("warn", "error"):
        show_warning(event["message"])


@contextmanager
def _view() -> Iterator[Callable[[Json], None]]:
    if messages.is_terminal:
        with _bar() as view:
            yield view
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[Callable[[Json], None]]:
    columns = (
        TextColumn("{task.description:<32}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=messages) as progress:
        whole = progress.add_task("", total=100, left="")

        def view(job: Json) -> None:
            state = job["progress"] or {}
            done = 100 if job["status"] == "succeeded" else state.get("percent")
            progress.update(whole, completed=done, description=_phase(job), left=_time_left(state.get("eta_at")))

        yield view


def _lines() -> Callable[[Json], None]:
    last: Any = None

    def view(job: Json) -> None:
        nonlocal last
        percent = (job["progress"] or {}).get("percent", 0.0)
        now = (job["status"], (job["progress"] or {}).get("phase"), percent // _PERCENT_BETWEEN_LINES)
        if now != last:
            messages.print(_phase(job) + (f", {percent:.0f} %" if job["status"] == "running" else ""), soft_wrap=True)
        last = now

    return view


def _phase(job: Json) -> str:
    """Where a job is, in words."""
    state = job["progress"]
    if job["status"] != "running" or state is None:
        place = job["queue_position"]
        return f"queued, number {place} in the line" if place else str(job["status"]).replace("_", " ")
    phase = str(state["phase"]).replace("_", "-")
    return f"{phase}, step {state['step']} of {state['total_steps']}" if state["total_steps"] > 1 else phase


def _time_left(eta_at: float | None) -> str:
    if eta_at is None:
        return ""
    seconds = max(0, round(eta_at - time.time()))
    return f"{seconds // 60}:{seconds % 60:02d} left"
