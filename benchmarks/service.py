"""Real crowds with gold through the whole service: upload, job, report and predict, all by REST.

    python -m benchmarks.service --data FOLDER [--sets snow_rte,amazon_isbook] [--json] [--out DIR]

For each set:

- `spearman`: rank correlation of the report's accuracy with the gold accuracy, over annotators with 5 or more labels;
- `posterior_accuracy`: how often the report's most probable label is gold; beside it `majority_vote`, a tie counting as
  its expected value, and `cross_fitted_accuracy`, the model alone in the report, which did not see the labels of the
  item;
- `model_accuracy`: a second job on 80 % of the prompts fine-tunes a model, which predict then asks the other 20 %.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from app.client import Json, RealmClient
from app.running_service import running_service
from benchmarks.crowd_data import CrowdSet, crowd_sets, data_folder

DEFAULT_SETS = "snow_rte,amazon_isbook"
LEAST_LABELS = 5
HELD_OUT = 0.2
_INPUTS_PER_REQUEST = 100

Method = Literal["realm", "aggregation"]
Ranking = list[tuple[float, float]]  # of each annotator with enough labels: accuracy in the report, and by gold


@dataclass(frozen=True)
class Score:
    """What one set came to; None where a set without text, or --no-held-out, leaves nothing to measure."""

    name: str
    spearman: float
    posterior_accuracy: float
    model_accuracy: float | None
    cross_fitted_accuracy: float | None
    majority_vote: float
    n_items: int
    n_annotators: int
    n_labels: int
    n_ranked: int
    n_held_out: int
    seconds: float


def main() -> None:
    options = _options()
    sets = crowd_sets(data_folder(options.data), options.sets.split(","))
    with _client(options.url) as client:
        results = [score_set(client, crowd, options.seed, options.held_out) for crowd in sets]
    scores = [score for score, _ in results]
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "service.md").write_text(_markdown(scores))
        _draw(results, options.out / "service.png")
    print(json.dumps({"sets": [asdict(score) for score in scores]}) if options.json else _markdown(scores))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="the data folder; REALM_BENCH_DATA by default")
    parser.add_argument("--sets", default=DEFAULT_SETS, help="names, with commas; %(default)s by default")
    parser.add_argument("--url", help="a service that runs, with REALM_API_KEY; by default one is started")
    parser.add_argument("--seed", type=int, default=0, help="of the shuffling, the split and the jobs")
    parser.add_argument(
        "--held-out", action=argparse.BooleanOptionalAction, default=True, help="measure model_accuracy"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--out", type=Path, help="write Markdown and PNG to this folder")
    return parser.parse_args()


@contextmanager
def _client(url: str | None) -> Iterator[RealmClient]:
    if url is not None:
        with RealmClient(url, os.environ["REALM_API_KEY"]) as client:
            yield client
        return
    with (
        tempfile.TemporaryDirectory(prefix="realm-bench-") as folder,
        running_service(Path(folder) / "data") as service,
        RealmClient(service.url, service.api_key) as client,
    ):
        yield client


def score_set(client: RealmClient, crowd: CrowdSet, seed: int, held_out: bool) -> tuple[Score, Ranking]:
    """Put one set through the service: its score, and the annotators' accuracies that it rests on."""
    started = time.monotonic()
    labels = crowd.labels.unique(["item_id", "annotator"], keep="last", maintain_order=True)
    gold = crowd.gold
    job = _run_job(client, crowd.name, labels, "realm" if crowd.has_text else "aggregation", seed)
    items = list(client.reports.items(job["id"]))
    ranking = _ranking(labels, gold, client.reports.annotators(job["id"]))
    cross_fitted = _cross_fitted_accuracy(client, job["id"], items, gold) if crowd.has_text else None
    model_accuracy, n_held_out = None, 0
    if crowd.has_text and held_out:
        model_accuracy, n_held_out = _held_out_accuracy(client, crowd.name, labels, gold, seed)
    score = Score(
        name=crowd.name,
        spearman=_spearman(ranking),
        posterior_accuracy=_mean(item["label"] == gold[item["item_id"]] for item in items if item["item_id"] in gold),
        model_accuracy=model_accuracy,
        cross_fitted_accuracy=cross_fitted,
        majority_vote=_majority_vote(labels, gold),
        n_items=labels["item_id"].n_unique(),
        n_annotators=labels["annotator"].n_unique(),
        n_labels=len(labels),
        n_ranked=len(ranking),
        n_held_out=n_held_out,
        seconds=round(time.monotonic() - started, 1),
    )
    return score, ranking


def _run_job(client: RealmClient, name: str, labels: pl.DataFrame, method: Method, seed: int) -> Json:
    """Upload the rows in random order and run a job on them with everything left at its default."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.csv"
        labels.sample(fraction=1, shuffle=True, seed=seed).write_csv(file)
        dataset = client.datasets.upload(file)
    job = client.fine_tuning.jobs.create(dataset=dataset["id"], method=method, seed=seed)
    for news in client.fine_tuning.jobs.follow(job["id"]):
        if news.kind == "job":
            job = news.object
            progress = job["progress"] or {}
            _tell(f"{name}: {job['status']} {progress.get('phase', '')} {progress.get('percent', 0):.0f} %")
    if job["status"] != "succeeded":
        raise SystemExit(f"{name}: the job {job['status']}: {job['error']}")
    return job


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _ranking(labels: pl.DataFrame, gold: dict[str, str], rows: Iterator[Json]) -> Ranking:
    known = labels.filter(pl.col("item_id").is_in(list(gold)))
    right = known.with_columns(right=pl.col("label") == pl.col("item_id").replace_strict(gold, return_dtype=pl.String))
    truth = dict(right.group_by("annotator").agg(pl.col("right").mean()).iter_rows())
    return [
        (row["accuracy"]["value"], truth[row["annotator"]])
        for row in rows
        if row["n"] >= LEAST_LABELS and row["annotator"] in truth and row["accuracy"]["value"] is not None
    ]


def _spearman(ranking: Ranking) -> float:
    reported, by_gold = np.array(ranking).T
    return float(spearmanr(reported, by_gold).statistic)


def _majority_vote(labels: pl.DataFrame, gold: dict[str, str]) -> float:
    """How often the majority is right, a tie counting as its expected value."""
    votes = labels.group_by("item_id", "label").len()
    most = votes.filter(pl.col("len") == pl.col("len").max().over("item_id"))
    share = most.with_columns(share=1 / pl.len().over("item_id"))
    return float(sum(share for item, label, _, share in share.iter_rows() if gold.get(item) == label)) / len(gold)


def _cross_fitted_accuracy(client: RealmClient, job: str, items: Sequence[Json], gold: dict[str, str]) -> float:
    """How often the model alone is right in the report; its probabilities are of models that did not see the item."""
    return _mean(_model_label(client, job, item) == gold[item["item_id"]] for item in items if item["item_id"] in gold)


def _model_label(client: RealmClient, job: str, item: Json) -> str:
    if item["model_probability"] > 0.5:
        return str(item["label"])
    answers = client.reports.item(job, item["id"])["answers"]
    return str(max(answers, key=lambda answer: answer["model_probability"])["answer"])


def _held_out_accuracy(
    client: RealmClient, name: str, labels: pl.DataFrame, gold: dict[str, str], seed: int
) -> tuple[float, int]:
    """Fine-tune on 80 % of the prompts and ask the model the others: how often it is right, and on how many."""
    prompts = labels.select("item_id", "prompt").unique("item_id", maintain_order=True)
    texts = prompts["prompt"].unique(maintain_order=True).to_numpy()
    unseen = set(np.random.default_rng(seed).permutation(texts)[: round(HELD_OUT * len(texts))])
    job = _run_job(client, f"{name} (80 %)", labels.filter(~pl.col("prompt").is_in(list(unseen))), "realm", seed)
    asked = [(prompt, gold[item]) for item, prompt in prompts.iter_rows() if prompt in unseen and item in gold]
    found: list[str] = []
    for start in range(0, len(asked), _INPUTS_PER_REQUEST):
        part = [prompt for prompt, _ in asked[start : start + _INPUTS_PER_REQUEST]]
        answers = client.predict(job["fine_tuned_model"], part, top_k=1, truncation="right")
        found += [answer[0]["label"] for answer in answers]
    return _mean(label == right for label, (_, right) in zip(found, asked, strict=True)), len(asked)


def _mean(values: Iterator[bool]) -> float:
    return float(np.mean(list(values)))


def _markdown(scores: Sequence[Score]) -> str:
    heading = (
        "| set | items | annotators | labels | Spearman | posterior | majority | model, unseen prompts | seconds |"
    )
    rows = [
        f"| {s.name} | {s.n_items} | {s.n_annotators} | {s.n_labels} | {s.spearman:.3f} ({s.n_ranked}) | "
        f"{s.posterior_accuracy:.4f} | {s.majority_vote:.4f} | {_or_dash(s.model_accuracy)} ({s.n_held_out}); "
        f"cross-fitted {_or_dash(s.cross_fitted_accuracy)} | {s.seconds:.0f} |"
        for s in scores
    ]
    return "\n".join([heading, "|---" * heading.count("| ") + "|", *rows]) + "\n"


def _draw(results: Sequence[tuple[Score, Ranking]], file: Path) -> None:
    """Each annotator as a point: accuracy by gold, and in the report."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(results), 4), layout="constrained")
    for axes, (score, ranking) in zip(figure.subplots(1, len(results), squeeze=False)[0], results, strict=True):
        reported, by_gold = np.array(ranking).T
        axes.plot([0, 1], [0, 1], color="0.8", zorder=0)
        axes.scatter(by_gold, reported, s=12, alpha=0.6)
        axes.set(title=f"{score.name}: Spearman {score.spearman:.2f}", xlabel="right by gold", ylabel="in the report")
    figure.savefig(file, dpi=150)


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    main()
