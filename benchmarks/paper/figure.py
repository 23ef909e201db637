"""The learning curves: test accuracy by training step, mean and standard deviation over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.paper.result_files import ResultFiles
from benchmarks.paper.settings import METHODS, NOISES, Setting


def draw(settings: Sequence[Setting], results: ResultFiles, seeds: Sequence[int], title: str, target: Path) -> bool:
    """One panel per set (rows) and noise (columns) into a PNG. False, and no file, where there are no curves yet."""
    curves = {(s.datasets, s.noise): _curves(s, results, seeds) for s in settings}
    if not any(curves.values()):
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sets = list(dict.fromkeys(setting.datasets for setting in settings))
    figure, axes = pyplot.subplots(len(sets), len(NOISES), figsize=(11, 3.2 * len(sets)), squeeze=False, sharey="row")
    for row, datasets in enumerate(sets):
        for column, noise in enumerate(NOISES):
            axis = axes[row][column]
            for method, (steps, values) in curves.get((datasets, noise), {}).items():
                mean, spread = values.mean(axis=0), values.std(axis=0)
                axis.plot(steps, mean, label=method, color=f"C{METHODS.index(method)}")
                axis.fill_between(steps, mean - spread, mean + spread, alpha=0.15, lw=0)
            axis.set_title(f"{'+'.join(datasets)}, {noise}")
            axis.set_xlabel("step")
            axis.grid(alpha=0.3)
        axes[row][0].set_ylabel("test accuracy")
    axes[0][-1].legend(fontsize="small")
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(target, dpi=80)
    pyplot.close(figure)
    return True


def _curves(
    setting: Setting, results: ResultFiles, seeds: Sequence[int]
) -> dict[str, tuple[list[int], np.ndarray[tuple[int, int], np.dtype[np.float64]]]]:
    """Steps and accuracies (seeds, steps) of each method."""
    found = {}
    for method in setting.methods:
        runs = results.runs(setting, method)
        curves = [runs[seed]["curve"] for seed in seeds if seed in runs and runs[seed]["curve"]]
        if curves:
            found[str(method)] = ([step for step, _ in curves[0]], np.array([[a for _, a in one] for one in curves]))
    return found
