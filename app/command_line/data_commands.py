"""`realm upload` and `realm predict`: texts in, answers out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.client import Json, RealmClient
from app.client.datasets import media_type
from app.command_line.connection import DEFAULT_DATA_DIR, DataDir, Url, connect
from app.command_line.output import console, messages, print_document, say, show_warning, table_of_rows
from app.command_line.progress import upload_bar
from app.command_line.tables import answer_table

_INPUTS_PER_REQUEST = 256
_LEFT_OUT = {
    "identical_repeats": "Rows that the same annotator's later row says again",
    "conflicting_repeats": "Rows that the same annotator's later row contradicts, which counts",
    "ignored": "Rows with a label that is to be ignored",
    "rejected": "Bad rows, left out",
}
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


class OnError(StrEnum):
    """What to do with bad rows."""

    abort = "abort"
    skip = "skip"


def register(application: typer.Typer) -> None:
    for command in (upload, predict):
        application.command(rich_help_panel="Data, jobs and models")(command)


def upload(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The labels.")],
    name: Annotated[str | None, typer.Option(help="Name of the dataset; the file's by default.")] = None,
    mapping: Annotated[
        str | None, typer.Option(help='Your names of columns, and ours: {"worker_id": "annotator"}.')
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help='The answers, or what each means: {"spam": "unwanted advertising", "ham": "…"}.')
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="`abort` keeps nothing, `skip` keeps the good rows.")
    ] = OnError.abort,
    as_json: AsJson = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Upload labels: CSV, TSV, JSONL, JSON or Parquet, plain or .gz, with the columns prompt, annotator and label.

    `realm upload labels.csv --mapping '{"worker_id": "annotator"}' --labels '{"yes": "it is spam", "no": "it is not"}'`
    """
    try:
        media_type(file)
        settings = {"mapping": _parsed("--mapping", mapping), "labels": _parsed("--labels", labels)}
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with connect(url, data_dir) as client, upload_bar(file) as sent:
        dataset = client.datasets.upload(file, name=name, on_error=on_error.value, on_sent=sent, **settings)
    if as_json:
        print_document(dataset)
    else:
        _show_dataset(dataset)


def _parsed(option: str, value: str | None) -> Any:
    try:
        return None if value is None else json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"{option} is not JSON: {error}") from error


def _show_dataset(dataset: Json) -> None:
    """What was kept, and what to do next."""
    console.print(dataset["id"])
    counts = dataset["counts"]
    say(f"Kept: labels {counts['labels']:,}, annotators {counts['annotators']:,}, items {counts['items']:,}.")
    for name, what in _LEFT_OUT.items():
        if counts[name]:
            say(f"{what}: {counts[name]:,}.")
    if dataset["errors"]:
        messages.print(table_of_rows(dataset["errors"]))
    for warning in dataset["warnings"]:
        show_warning(warning["detail"])
    method = "" if dataset["has_text"] else " --method aggregation"
    say(f"Next: realm train {dataset['id']}{method} --wait")


def predict(
    model: Annotated[str, typer.Argument(help="The model's id: ft:…")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="The texts to answer.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="A text per line, or with .jsonl one {prompt, task, options} per line; - is stdin."),
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Only the most probable labels.")] = None,
    annotator: Annotated[str | None, typer.Option(help="Answer what this annotator would have said.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Ask a fine-tuned model.

    `realm predict ft:minilm:default:model:1a2b3c4d "Where is my parcel?"`
    """
    if bool(texts) == (file is not None):
        raise typer.BadParameter("Give either texts or --file.")
    inputs: list[Any] = list(texts or []) if file is None else list(_inputs(file))
    with connect(url, data_dir) as client:
        answers = _answers(client, model, inputs, top_k, annotator)
    if as_json:
        print_document(answers)
    else:
        console.print(answer_table(inputs, answers))
    n_failed = sum(isinstance(answer, dict) for answer in answers)
    if n_failed:
        say(f"{n_failed} of {len(answers)} inputs could not be answered.")
        raise typer.Exit(1)


def _inputs(file: Path) -> Iterator[Any]:
    stream = sys.stdin if str(file) == "-" else file.open(encoding="utf-8")
    with stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield _input(line.rstrip("\r\n"), number) if file.suffix == ".jsonl" else line.rstrip("\r\n")


def _input(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"line {number} is not JSON: {error}") from error


def _answers(client: RealmClient, model: str, inputs: list[Any], top_k: int | None, annotator: str | None) -> list[Any]:
    answers: list[Any] = []
    for start in range(0, len(inputs), _INPUTS_PER_REQUEST):
        part = inputs[start : start + _INPUTS_PER_REQUEST]
        answers += client.predict(model, part, top_k=top_k, annotator=annotator)
        if len(inputs) > _INPUTS_PER_REQUEST:
            messages.print(f"{len(answers)} of {len(inputs)} answered", soft_wrap=True)
    return answers
