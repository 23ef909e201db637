"""What prompts are about: the few directions in which they differ most, for expertise that depends on the prompt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_TOPICS = 16  # more directions than a few hundred labels of one annotator can tell apart


def topics(embeddings: NDArray[np.float32], largest: int = MAX_TOPICS) -> NDArray[np.float32]:
    """z (N, D) of unit length: the first principal components of embeddings (N, E), each scaled to variance 1.

    Without the scaling the first component would be nearly all of z.
    """
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    variance, directions = np.linalg.eigh(centred.T @ centred / max(len(centred), 1))
    kept = [one for one in range(len(variance) - 1, -1, -1) if variance[one] > 1e-9 * variance[-1]][:largest]
    scaled = centred @ directions[:, kept] / np.sqrt(np.maximum(variance[kept], 1e-12))
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(scaled / np.maximum(length, 1e-9), dtype=np.float32)
