"""Annotators who give the same answer whatever they are asked.

Two of them agree with each other always, more than honest annotators do. Truth inference with one accuracy per
annotator then ends where all prompts have that answer, and a confusion matrix that starts from there stays. So they
are left out where training starts from; a confusion matrix learns them later, as it learns all else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from realm_core.annotations import Annotations
from realm_core.flags import POOL_SHARE, SAME_SHARE

LEAST_LABELS = 10  # an honest annotator of two answers gives so many equal ones once in five hundred times


def constant_cells(annotations: Annotations) -> NDArray[np.bool_]:
    """Who gives one answer to at least 95 % of a task's prompts, where the crowd gives it to under 80 %. (R, T)"""
    task = annotations.item_task[annotations.item]
    shape = (annotations.n_annotators, len(annotations.tasks), int(annotations.answer_counts.max(initial=1)))
    counts = np.zeros(shape)
    np.add.at(counts, (annotations.annotator, task, annotations.label), 1.0)
    n, most = counts.sum(axis=2), counts.argmax(axis=2)
    of_crowd = counts.sum(axis=0) / np.maximum(counts.sum(axis=(0, 2))[:, None], 1)
    same = counts.max(axis=2) >= SAME_SHARE * n
    rare = np.take_along_axis(of_crowd, most.T, axis=1).T < POOL_SHARE
    return np.asarray((n >= LEAST_LABELS) & same & rare)


def without_constant(annotations: Annotations) -> Annotations:
    """The labels of everybody else; all labels where nothing else is left."""
    constant = constant_cells(annotations)[annotations.annotator, annotations.item_task[annotations.item]]
    return annotations if constant.all() else annotations.select_labels(~constant)
