"""The labels of a version, as statistics count them."""

from __future__ import annotations

import numpy as np
from sqlalchemy.orm import Session

from app.database import annotation_queries
from app.database.tables import Dataset
from app.datasets.statistics import CrowdLabels


def crowd_labels(session: Session, dataset: Dataset, version: int) -> CrowdLabels:
    items = annotation_queries.load_item_shapes(session, dataset.key, version)
    labels = annotation_queries.load_labels(session, dataset.key, version)
    ids, annotator = np.unique(labels.annotator, return_inverse=True)
    names = annotation_queries.annotator_names(session, ids.tolist())
    return CrowdLabels(
        tasks=[(task.name, task.answers) for task in annotation_queries.load_tasks(session, dataset.key, version)],
        annotators=[names[id_] for id_ in ids.tolist()],
        item_task=items.task,
        item_has_options=items.has_options,
        item=labels.item,
        annotator=annotator,
        label=labels.label,
    )
