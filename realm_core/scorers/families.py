"""Which scorer fits a pretrained model."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from realm_core.base_models import BaseModelUnavailable
from realm_core.scorers.causal import CausalScorer
from realm_core.scorers.encoder import EncoderScorer
from realm_core.scorers.scorer import Scorer
from realm_core.scorers.seq2seq import Seq2SeqScorer

_CAUSAL = frozenset(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
SCORERS: dict[str, type[Scorer]] = {scorer.family: scorer for scorer in (EncoderScorer, Seq2SeqScorer, CausalScorer)}


def load_scorer(base: Path | str, max_length: int) -> Scorer:
    """The scorer of a pretrained model, by what its config.json says. Raises BaseModelUnavailable."""
    try:
        config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    except (OSError, ValueError) as error:
        name = base.name if isinstance(base, Path) else base
        raise BaseModelUnavailable(
            f"The base model {name!r} cannot be loaded: it has no config.json of an architecture that transformers "
            "knows without code of the model's own, or the hub cannot be reached."
        ) from error
    if config.is_encoder_decoder:
        return Seq2SeqScorer.from_pretrained(base, max_length)
    if _CAUSAL.intersection(config.architectures or ()):
        return CausalScorer.from_pretrained(base, max_length)
    return EncoderScorer.from_pretrained(base, max_length)
