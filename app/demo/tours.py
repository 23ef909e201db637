"""What `realm demo` shows, step by step, through the API alone."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape

from app.client import Json, RealmClient
from app.command_line.job_commands import exit_unless_succeeded
from app.command_line.output import console
from app.command_line.progress import follow_job, upload_bar
from app.command_line.tables import answer_table, reasons, report_view
from app.demo.comparison import comparison, crowd_table, n_covered
from app.demo.crowd import annotate, majority_accuracy, true_accuracy, write_labels
from app.demo.phrases import LABELS
from app.demo.sample import Sample, new_messages, training_messages
from realm_core.annotations import IntArray

N_MESSAGES, _N_NEW = 640, 200
SEED = 1
_PREDICT_AT_ONCE = 100
_TRY = (
    "You took the money for the lamp three times, please send two of them back.",
    "The postman rang, left, and now the box is in a town I have never heard of.",
    "The zip burst on the first day.",
    "What a wonderful present, my mother cried with joy.",
    "I love the colour, but the motor is dead.",
)


def tour_of_sample(client: RealmClient) -> Json:
    """Messages of our own, a simulated crowd, and the truth beside everything that the service finds out."""
    messages = training_messages(N_MESSAGES, SEED)
    labels = annotate(messages, SEED)
    _heading(f"{N_MESSAGES} messages to a shop: {', '.join(LABELS)}? {len(labels.label):,} labels by simulated people")
    console.print(crowd_table())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "messages.csv"
        write_labels(file, messages, labels)
        dataset = _upload(client, file, LABELS)
    job = _train(client, dataset, "realm")
    _compare_annotators(client, job, true_accuracy(messages, labels))
    _compare_labels(client, job, messages, majority_accuracy(messages, labels))
    _compare_models(client, job, _train(client, dataset, "supervised"))
    _predict(client, job, _TRY)
    return job


def tour_of_file(client: RealmClient, file: Path) -> Json:
    """Somebody's labels: the same without a truth to compare with."""
    dataset = _upload(client, file, None)
    job = _train(client, dataset, "realm" if dataset["has_text"] else "aggregation")
    _heading("How reliable everybody is")
    console.print(report_view(job, list(client.reports.annotators(job["id"]))))
    if job["fine_tuned_model"]:
        page = client.request("GET", f"/v1/fine_tuning/jobs/{job['id']}/items", params={"limit": 5}).json()
        _predict(client, job, [{"prompt": item["prompt"], "task": item["task"]} for item in page["data"]])
    return job


def _heading(text: str) -> None:
    console.print(f"\n[bold underline]{escape(text)}[/]\n")


def _upload(client: RealmClient, file: Path, labels: dict[str, str] | None) -> Json:
    with upload_bar(file) as sent:
        return client.datasets.upload(file, labels=labels, on_sent=sent)


def _train(client: RealmClient, dataset: Json, method: Literal["realm", "supervised", "aggregation"]) -> Json:
    """A job that succeeded; ends the demo with its exit code otherwise."""
    what = {
        "realm": "One job: fine-tune a model and find out who is reliable",
        "supervised": "For comparison: plain fine-tuning on the same labels",
        "aggregation": "One job: find out who is reliable (there is no text to fine-tune on)",
    }
    _heading(what[method])
    started = client.fine_tuning.jobs.create(dataset=dataset["id"], method=method, seed=SEED, suffix="demo")
    job = follow_job(client, started["id"])
    exit_unless_succeeded(job)
    return job


def _compare_annotators(client: RealmClient, job: Json, truth: dict[str, float]) -> None:
    rows = list(client.reports.annotators(job["id"]))
    _heading("The report beside the truth, which the service was not told")
    console.print(comparison(rows, truth))
    console.print(f"\n{n_covered(rows, truth)} of {len(rows)} intervals hold the truth.")
    console.print(*reasons(rows), sep="\n")


def _compare_labels(client: RealmClient, job: Json, messages: Sample, by_majority: float) -> None:
    truth = dict(zip(messages.prompts, messages.truth, strict=True))
    names = list(LABELS)
    found = [names.index(item["label"]) == truth[item["prompt"]] for item in client.reports.items(job["id"])]
    _heading("The most probable true label of each message")
    console.print(f"right by majority vote  {by_majority:.1%}\nright in the report     {sum(found) / len(found):.1%}")


def _compare_models(client: RealmClient, realm: Json, supervised: Json) -> None:
    new = new_messages(_N_NEW, SEED)
    scores = [_model_accuracy(client, job["fine_tuned_model"], new.prompts, new.truth) for job in (supervised, realm)]
    _heading(f"The models on {_N_NEW} new messages, in words that no training message has")
    console.print(f"right after plain fine-tuning on the noisy labels  {scores[0]:.1%}")
    console.print(f"right after this job                               {scores[1]:.1%}")


def _model_accuracy(client: RealmClient, model: str, prompts: Sequence[str], truth: IntArray) -> float:
    names, n_right = list(LABELS), 0
    for start in range(0, len(prompts), _PREDICT_AT_ONCE):
        answers = client.predict(model, prompts[start : start + _PREDICT_AT_ONCE], top_k=1)
        right = truth[start : start + _PREDICT_AT_ONCE]
        n_right += sum(answer[0]["label"] == names[y] for answer, y in zip(answers, right, strict=True))
    return n_right / len(prompts)


def _predict(client: RealmClient, job: Json, inputs: Sequence[Any]) -> None:
    _heading(f"Asking the model, {job['fine_tuned_model']}")
    console.print(answer_table(inputs, client.predict(job["fine_tuned_model"], inputs)))
