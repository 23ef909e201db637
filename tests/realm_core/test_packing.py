"""Packed texts get the hidden states that they have alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertModel, T5Config, T5EncoderModel

from realm_core.annotations import Task
from realm_core.predictor import PredictInput, Predictor
from realm_core.scorers.inputs import EncodedPrompt, by_size
from realm_core.scorers.packing import Packed, can_pack, lay_out
from tests.realm_core.tiny_models import ANSWERS, CUES, FILLERS, save_tiny_bert, save_tiny_model

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return BertModel.from_pretrained(save_tiny_bert(tmp_path_factory.mktemp("bert"))).eval()


@given(lengths)
def test_texts_lie_side_by_side(lengths: list[int]) -> None:
    starts, n_rows, width = lay_out(lengths)
    places = [range(start, start + length) for start, length in zip(starts, lengths, strict=True)]
    taken = [place for text in places for place in text]
    assert len(set(taken)) == sum(lengths)
    assert all(text.start // width == text[-1] // width for text in places)  # none runs over the end of its row
    assert max(taken) < n_rows * width
    assert n_rows * width <= 2 * sum(lengths) + width  # of first fit, two rows in a row are more than half full


@settings(max_examples=25)
@given(lengths, st.integers(0, 2**31))
def test_each_text_gets_what_it_gets_alone(bert: Any, lengths: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(4, 20, mask.shape, generator=generator) * mask
    with torch.inference_mode():
        packed = Packed(bert)(input_ids=ids, attention_mask=mask).last_hidden_state
        for row, length in enumerate(lengths):
            one = ids[row : row + 1, :length]
            alone = bert(input_ids=one, attention_mask=torch.ones_like(one)).last_hidden_state[0]
            torch.testing.assert_close(packed[row, :length], alone, atol=1e-5, rtol=1e-5)
            assert not packed[row, length:].any()


def test_a_predictor_packs_and_answers_as_one_by_one(tmp_path: Path) -> None:
    predictor = Predictor.load(save_tiny_model(tmp_path, Task("topic", ANSWERS), ("ada",)))
    assert not predictor.pads
    texts = [" ".join((CUES[n % 4], *FILLERS[: n % 15])) for n in range(40)]
    together = predictor.predict([PredictInput(text) for text in texts], batch_tokens=100)
    for text, prediction in zip(texts, together, strict=True):
        (alone,) = predictor.predict([PredictInput(text)])
        assert prediction.probabilities == pytest.approx(alone.probabilities, abs=1e-6)


def test_only_encoders_that_are_known_to_take_it_are_packed(bert: Any) -> None:
    assert can_pack(bert)
    t5 = T5EncoderModel(T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    assert not can_pack(t5)


@given(lengths, st.integers(1, 200))
def test_without_padding_the_budget_counts_tokens(lengths: list[int], budget: int) -> None:
    prompts = [EncodedPrompt(0, 2, [1] * length, length, truncated=False) for length in lengths]
    batches = by_size(prompts, budget, padded=False)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch, following in zip(batches, [*batches[1:], []], strict=True):
        tokens = sum(lengths[row] for row in batch)
        assert len(batch) == 1 or tokens <= budget
        assert not following or tokens + lengths[following[0]] > budget
