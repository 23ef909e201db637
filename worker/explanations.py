"""What an exception of the training process means to the user of the job."""

from __future__ import annotations

import errno
import sys

from realm_core.base_models import BaseModelUnavailable
from realm_core.preparation import NotIdentifiable
from worker.failures import LESS_MEMORY, Failure


class InvalidTrainingFile(Exception):
    """The data cannot be trained on; the message is for the user."""


def explain(error: Exception) -> Failure:
    """The code and the sentence for what ended a training process."""
    match error:
        case InvalidTrainingFile():
            return Failure("invalid_training_file", str(error))
        case NotIdentifiable():
            return Failure("not_identifiable", str(error))
        case BaseModelUnavailable():
            return Failure("base_model_not_allowed", str(error))
    if _is_divergence(error):
        return Failure("diverged", str(error))
    if _is_out_of_memory(error):
        return Failure("out_of_memory", f"Training ran out of memory. {LESS_MEMORY}")
    if _is_out_of_space(error):
        return Failure("storage_full", "The disk or the artifact store is full. Free some space and start a new job.")
    sentence = f"The training process failed with {type(error).__name__}; the job's log has the details."
    return Failure("internal_error", sentence)


# torch, and what needs it, is never imported for this alone: aggregation runs without.


def _is_divergence(error: Exception) -> bool:
    training = sys.modules.get("realm_core.training")
    return training is not None and isinstance(error, training.Diverged)


def _is_out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")
    return isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))


def _is_out_of_space(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left on device" in str(error)  # safetensors and torch wrap the system's error
