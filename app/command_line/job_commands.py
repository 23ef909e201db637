"""`realm train`, `jobs`, `watch`, `cancel` and `report`."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.markup import escape

from app.client import Json, RealmClient
from app.command_line.connection import DEFAULT_DATA_DIR, DataDir, Url, connect
from app.command_line.data_commands import AsJson
from app.command_line.output import console, fail, print_document, say, show_warning
from app.command_line.progress import follow_job
from app.command_line.tables import estimate_view, job_table, report_view

JOB_DID_NOT_SUCCEED, INTERRUPTED = 3, 130

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id: ftjob-…")]


class Method(StrEnum):
    """How to train."""

    realm = "realm"
    supervised = "supervised"
    aggregation = "aggregation"


class Format(StrEnum):
    """How a report is printed."""

    table = "table"
    csv = "csv"
    json = "json"


def register(application: typer.Typer) -> None:
    for command in (train, jobs, watch, cancel, report):
        application.command(rich_help_panel="Data, jobs and models")(command)


def train(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="ds_… (its newest version), ds_…@3, or file-…")],
    model: Annotated[str, typer.Option(help="The base model.")] = "minilm",
    method: Annotated[
        Method,
        typer.Option(
            help="`realm` learns model and reliability together, `supervised` is plain fine-tuning on all labels, "
            "`aggregation` needs no text and makes no model."
        ),
    ] = Method.realm,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="K=V", help="A hyperparameter; may be given several times.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed and data give the same result.")] = None,
    suffix: Annotated[str | None, typer.Option(help="A part of the model's name.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the job has finished and print its report.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Start nothing: say what the job would take and could not learn.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Start a job that fine-tunes a model and writes the reliability report.

    `realm train ds_0123 --wait`

    `realm train ds_0123 --set n_epochs=5 --set learning_rate=2e-5 --seed 1 --suffix tickets`

    `realm train ds_0123 --set n_epochs=5 --estimate`
    """
    wanted: Json = {
        "training_file" if dataset.startswith("file-") else "dataset": dataset,
        "model": model,
        "method": method.value,
        "hyperparameters": dict(_setting(text) for text in settings or []),
        "seed": seed,
        "suffix": suffix,
    }
    with connect(url, data_dir) as client:
        if estimate:
            _show_estimate(client.fine_tuning.jobs.estimate(**wanted), as_json)
            return
        job = client.fine_tuning.jobs.create(**wanted)
        if wait:
            say(f"The job is {job['id']}.")
            _watch(client, job["id"], as_json)
        elif as_json:
            print_document(job)
        else:
            console.print(job["id"])
            say(f"`realm watch {job['id']}` shows how it goes on.")


def _show_estimate(found: Json, as_json: bool) -> None:
    if as_json:
        print_document(found)
        return
    console.print(estimate_view(found))
    for warning in found["warnings"]:
        show_warning(warning["detail"])


def _setting(text: str) -> tuple[str, Any]:
    """K=V with the value as JSON, or else as it stands: n_epochs=5, channel=one_coin."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"--set takes NAME=VALUE, not {text!r}.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def watch(job: JobId, as_json: AsJson = False, url: Url = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Show how a job goes on, then its report."""
    with connect(url, data_dir) as client:
        _watch(client, job, as_json)


def _watch(client: RealmClient, job_id: str, as_json: bool) -> None:
    try:
        job = follow_job(client, job_id)
    except KeyboardInterrupt:
        say(f"\nThe job goes on. `realm watch {job_id}` shows it again, `realm cancel {job_id}` ends it.")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print_document(job)
    exit_unless_succeeded(job)
    if not as_json:
        console.print(report_view(job, list(client.reports.annotators(job_id))))
        _say_what_next(job)


def exit_unless_succeeded(job: Json) -> None:
    """Say why a job did not succeed and end with the exit code for it."""
    if job["status"] != "succeeded":
        error = job["error"]
        fail(f"The job {job['status']}" + (f" ({error['code']}): {error['message']}" if error else "."))
        raise typer.Exit(JOB_DID_NOT_SUCCEED)


def _say_what_next(job: Json) -> None:
    if job["fine_tuned_model"]:
        say(f'\nThe model is {escape(job["fine_tuned_model"])}. Ask it: realm predict {job["fine_tuned_model"]} "…"')


def jobs(
    limit: Annotated[int, typer.Option(min=1, help="Show the newest.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """List the jobs, newest first."""
    with connect(url, data_dir) as client:
        found = [job for job, _ in zip(client.fine_tuning.jobs.list(limit=min(limit, 100)), range(limit), strict=False)]
    if as_json:
        print_document(found)
    else:
        console.print(job_table(found))


def cancel(job: JobId, as_json: AsJson = False, url: Url = None, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """End a job. A running one ends within seconds, and its report is not written."""
    with connect(url, data_dir) as client:
        cancelled = client.fine_tuning.jobs.cancel(job)
    if as_json:
        print_document(cancelled)
    else:
        say(f"{escape(job)} is cancelled." if cancelled["status"] == "cancelled" else f"{escape(job)} is being ended.")


def report(
    job: JobId,
    format_: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.table,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Print how reliable each annotator is, those to look at first.

    `realm report ftjob-0123 --format csv > annotators.csv`
    """
    with connect(url, data_dir) as client:
        if format_ is Format.csv:
            console.file.write(client.reports.export(job, "annotators", "csv").decode())
            return
        found, rows = client.fine_tuning.jobs.retrieve(job), list(client.reports.annotators(job))
    if format_ is Format.json:
        print_document({"job": job, "summary": found["summary"], "annotators": rows})
    else:
        console.print(report_view(found, rows))
