"""How often the 95 % intervals of annotator accuracy hold what they promise: simulated crowds and real ones with gold.

    python -m benchmarks.coverage [--data FOLDER] [--sets a,b] [--seeds 40] [--no-real] [--json]

Simulated, the true accuracy is known: `coverage` is the share of intervals that contain it. On a real crowd nobody
knows it. The share right by gold of k in n labels is a sample: of an annotator who is right .95 of the time, five
labels with gold are mostly all right, and no interval holds 1. So two numbers:

- `of_gold_share`: how many intervals contain k/n. It mixes the interval's error with that of the sample;
- `of_rate`: the expected share of intervals that contain the rate, given k and n: the mean of P(low ≤ a ≤ high | k, n)
  with a ~ Beta(α, β), and α and β those that make all k of the set likeliest. An interval as wide as 0 to 1 has 1;
  `below` and `above` say on which side of the interval the rate else lies.

Few labels with gold say little: where n is small `of_rate` leans on the Beta, and that is why `gold_per_annotator`
stands beside it. Gold itself is taken to be right.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln
from scipy.stats import beta

from benchmarks.crowd_data import annotations_of, crowd_sets, data_folder
from benchmarks.crowd_scores import LEAST_LABELS, gold_accuracy
from realm_core.annotations import Annotations, FloatArray, Task
from realm_core.reliability import Estimate, build_report
from realm_core.simulation import simulate

N_ITEMS = 300
BETA_BOUNDS = (-4.0, 7.0)  # of log α and log β


@dataclass(frozen=True)
class Crowd:
    """A simulated crowd: accuracies spread evenly between .5 and .95, everybody labels every item or some of them."""

    name: str
    n_annotators: int
    n_answers: int
    per_item: int


SIMULATED = (
    Crowd("10 annotators, 3 answers, 3 labels", 10, 3, 3),
    Crowd("20 annotators, 2 answers, 4 labels", 20, 2, 4),
    Crowd("6 annotators, 4 answers, all labels", 6, 4, 6),
)


@dataclass(frozen=True)
class SimulatedCoverage:
    """Share of the intervals that contain the true accuracy."""

    name: str
    intervals: int
    coverage: float
    width: float


@dataclass(frozen=True)
class RealCoverage:
    """The intervals of one real set; see the top of the file."""

    name: str
    intervals: int
    gold_per_annotator: float
    of_gold_share: float
    of_rate: float
    below: float
    above: float
    bias: float
    width: float


def main() -> None:
    options = _options()
    simulated = [simulated_coverage(crowd, range(options.seeds)) for crowd in SIMULATED]
    real = [] if options.no_real else _real(options)
    document = {"simulated": [asdict(one) for one in simulated], "real": [asdict(one) for one in real]}
    print(json.dumps(document) if options.json else _markdown(simulated) + "\n" + _markdown(real))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="the data folder; REALM_BENCH_DATA by default")
    parser.add_argument("--sets", help="names, with commas; all by default")
    parser.add_argument("--seeds", type=int, default=40, help="simulated crowds of each kind; %(default)s by default")
    parser.add_argument("--no-real", action="store_true", help="simulated crowds only")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args()


def _real(options: argparse.Namespace) -> list[RealCoverage]:
    sets = crowd_sets(data_folder(options.data), options.sets.split(",") if options.sets else None)
    found = [real_coverage(crowd.name, annotations_of(crowd)) for crowd in sets]
    return [one for one in found if one is not None]


def simulated_coverage(crowd: Crowd, seeds: range) -> SimulatedCoverage:
    """Intervals against the accuracies that the labels were drawn with."""
    covered, widths = [], []
    for seed in seeds:
        annotations, accuracy = _simulated(crowd, seed)
        for annotator, interval in _intervals(annotations).items():
            covered.append(interval.low <= accuracy[annotator] <= interval.high)
            widths.append(interval.high - interval.low)
    return SimulatedCoverage(crowd.name, len(covered), float(np.mean(covered)), float(np.mean(widths)))


def _simulated(crowd: Crowd, seed: int) -> tuple[Annotations, FloatArray]:
    rng = np.random.default_rng(seed)
    accuracy = rng.uniform(0.5, 0.95, crowd.n_annotators)
    truth = rng.integers(0, crowd.n_answers, N_ITEMS).astype(np.int32)
    labels = simulate(truth, np.full(N_ITEMS, crowd.n_answers, dtype=np.int32), accuracy=accuracy, seed=seed)
    annotations = Annotations(
        tasks=(Task("simulated", tuple(str(answer) for answer in range(crowd.n_answers))),),
        annotators=tuple(str(annotator) for annotator in range(crowd.n_annotators)),
        item_ids=tuple(str(item) for item in range(N_ITEMS)),
        item_task=np.zeros(N_ITEMS, dtype=np.int32),
        item=labels.item,
        annotator=labels.annotator,
        label=labels.label,
    )
    rank = rng.random((N_ITEMS, crowd.n_annotators)).argsort(axis=1).argsort(axis=1)
    return annotations.select_labels(rank[annotations.item, annotations.annotator] < crowd.per_item), accuracy


def _intervals(annotations: Annotations) -> dict[int, Estimate]:
    """What the report says of each annotator, from labels alone."""
    report = build_report(annotations, None, cross_fitted=False, trained_accuracy=None)
    return {row.annotator: row.accuracy for row in report.annotators if row.task is None and row.accuracy is not None}


def real_coverage(name: str, annotations: Annotations) -> RealCoverage | None:
    """Intervals against gold; None where no annotator has an interval and enough labels with gold."""
    share, n = gold_accuracy(annotations)
    intervals = {r: interval for r, interval in _intervals(annotations).items() if n[r] >= LEAST_LABELS}
    if not intervals:
        return None
    annotators = list(intervals)
    share, count = share[annotators], n[annotators].astype(np.float64)
    value, low, high = np.array([(one.value, one.low, one.high) for one in intervals.values()]).T
    below, above = outside(low, high, share * count, count)
    return RealCoverage(
        name=name,
        intervals=len(intervals),
        gold_per_annotator=float(np.median(count)),
        of_gold_share=float(np.mean((low <= share) & (share <= high))),
        of_rate=float(1 - below - above),
        below=below,
        above=above,
        bias=float(np.mean(value - share)),
        width=float(np.mean(high - low)),
    )


def outside(low: FloatArray, high: FloatArray, right: FloatArray, n: FloatArray) -> tuple[float, float]:
    """Mean probability that the rate lies below and above the interval, given so many right of n."""
    a, b = beta_of_rates(right, n)
    posterior = beta(right + a, n - right + b)
    return float(posterior.cdf(low).mean()), float(posterior.sf(high).mean())


def beta_of_rates(right: FloatArray, n: FloatArray) -> tuple[float, float]:
    """α and β of the Beta distribution of the rates under which these counts are likeliest."""

    def loss(logs: FloatArray) -> float:
        a, b = np.exp(logs)
        return -float(np.sum(betaln(right + a, n - right + b) - betaln(a, b)))

    found = minimize(loss, np.array([1.0, 0.0]), bounds=[BETA_BOUNDS] * 2)
    a, b = np.exp(found.x)
    return float(a), float(b)


def _markdown(rows: Sequence[SimulatedCoverage] | Sequence[RealCoverage]) -> str:
    if not rows:
        return ""
    heading = list(asdict(rows[0]))
    cells = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in asdict(row).values()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heading, ["---"] * len(heading), *cells)) + "\n"


if __name__ == "__main__":
    main()
