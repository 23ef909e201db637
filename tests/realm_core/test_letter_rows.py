"""Rows of an output layer that are learned apart from it: the steps of a whole layer, without its weight."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from realm_core import checkpoint
from realm_core.annotations import Annotations, Task
from realm_core.channels import OneCoinChannel
from realm_core.checkpoint import FineTuned, load_model, save_model
from realm_core.config import Plan
from realm_core.scorers.families import load_scorer
from realm_core.scorers.language_model import LanguageModelScorer
from realm_core.training import make_optimizer
from tests.realm_core.test_training import fit_quietly, make_channel, make_plan
from tests.realm_core.tiny_language_models import (
    many_answers,
    save_tiny_gpt2,
    save_tiny_llama,
    save_tiny_qwen2,
    save_tiny_t5,
)
from tests.realm_core.tiny_models import make_crowd

SAVE = {"t5": save_tiny_t5, "llama": save_tiny_llama, "gpt2": save_tiny_gpt2, "qwen2": save_tiny_qwen2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: save(root / name) for name, save in SAVE.items()}


def started(folder: Path, annotations: Annotations) -> LanguageModelScorer:
    scorer = load_scorer(folder, 32)
    assert isinstance(scorer, LanguageModelScorer)
    scorer.start_answers(annotations.tasks)
    return scorer


def learned_numbers(scorer: LanguageModelScorer, annotations: Annotations, plan: Plan) -> int:
    groups = make_optimizer(scorer, make_channel(annotations), plan).param_groups
    return sum(parameter.numel() for group in groups for parameter in group["params"])


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_they_take_the_steps_of_the_whole_layer_and_leave_its_other_rows_alone(
    family: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    annotations, _ = make_crowd((0.95, 0.9), n_items=64)
    plan = make_plan(annotations, learning_rate=5e-3, weight_decay=0.1, max_steps=16, batch_size=16)
    apart, slow = started(folders[family], annotations), started(folders[family], annotations)
    before = apart.model.get_output_embeddings().weight.detach().clone()
    apart.learn_rows(4)
    sizes = [learned_numbers(scorer, annotations, plan) for scorer in (slow, apart)]
    assert sizes[0] - sizes[1] == before.numel() - 4 * before.shape[1]
    for scorer in (apart, slow):
        fit_quietly(scorer, make_channel(annotations), annotations, plan, tmp_path)  # type: ignore[arg-type]
    letters = apart._letter_ids(4)
    apart.become_plain()
    assert apart.letter_rows is None
    weights, expected = apart.state_dict(), slow.state_dict()
    assert weights.keys() == expected.keys()
    head = next(name for name in weights if name.endswith("lm_head.weight"))
    for name, weight in expected.items():
        if name != head:
            torch.testing.assert_close(weights[name], weight, atol=1e-5, rtol=1e-4, msg=name)
    torch.testing.assert_close(weights[head][letters], expected[head][letters], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(weights[head][letters], before[letters], atol=1e-3)
    others = [row for row in range(len(before)) if row not in letters]
    assert torch.equal(weights[head][others], before[others])


def test_a_checkpoint_and_a_saved_model_have_them(folders: dict[str, Path], tmp_path: Path) -> None:
    annotations, _ = make_crowd((0.95, 0.9), n_items=32)
    scorer = started(folders["t5"], annotations)
    scorer.learn_rows(4)
    channel = OneCoinChannel(torch.full((2, 1), 0.8), torch.full((2, 1), 32.0), torch.tensor([4.0]))
    plan = make_plan(annotations, max_steps=4, batch_size=16)
    fit_quietly(scorer, channel, annotations, plan, tmp_path)  # type: ignore[arg-type]
    kept = checkpoint.weights_of(scorer, channel)
    again = started(folders["t5"], annotations)
    again.learn_rows(4)
    checkpoint.restore_weights(again, channel, kept)
    inputs = scorer.collate(scorer.encode_items(annotations))
    with torch.inference_mode():
        expected = scorer.eval()(inputs)
        torch.testing.assert_close(again.eval()(inputs), expected)
        save_model(tmp_path / "model", FineTuned(scorer, channel, annotations.tasks, annotations.annotators), {})
        loaded = load_model(tmp_path / "model").scorer
        torch.testing.assert_close(loaded(inputs), expected, atol=1e-5, rtol=0)
    assert "letter_rows" not in loaded.state_dict()


@pytest.mark.parametrize(("family", "n_answers"), [("gpt2", 4), ("qwen2", 4), ("t5", 30)])
def test_all_is_learned_where_rows_are_inputs_too_or_answers_are_strings(
    family: str, n_answers: int, folders: dict[str, Path]
) -> None:
    scorer = load_scorer(folders[family], 32)
    assert isinstance(scorer, LanguageModelScorer)
    scorer.start_answers((Task("many", many_answers(n_answers)),))
    scorer.learn_rows(n_answers)
    assert scorer.letter_rows is None
    assert all(parameter.requires_grad for parameter in scorer.model.parameters())
