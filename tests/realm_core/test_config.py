"""What "auto" becomes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from realm_core.config import Hyperparameters, TrainingConfig, resolve


def test_auto_is_resolved_with_a_reason_and_what_was_given_is_kept() -> None:
    asked = Hyperparameters(batch_size=16, learning_rate=5e-5)
    plan, reasons = resolve(TrainingConfig(hyperparameters=asked), n_prompts=1000, n_tasks=1, on_gpu=False)
    assert (plan.batch_size, plan.learning_rate) == (16, 5e-5)
    assert plan.total_steps == 3 * 63
    assert reasons["max_steps"] == {"value": 189, "why": "3 epochs"}
    assert {"batch_size", "learning_rate"}.isdisjoint(reasons)


def test_the_paper_s_preset() -> None:
    one_task, _ = resolve(
        TrainingConfig(hyperparameters=Hyperparameters(preset="paper")), n_prompts=10, n_tasks=1, on_gpu=False
    )
    three_tasks, _ = resolve(
        TrainingConfig(hyperparameters=Hyperparameters(preset="paper")), n_prompts=10, n_tasks=3, on_gpu=False
    )
    assert (one_task.channel, one_task.likelihood, one_task.expertise_update) == ("scalar", "marginal", "gradient")
    assert three_tasks.channel == "per_task"


def test_supervised_training_takes_each_label_by_itself() -> None:
    config = TrainingConfig(method="supervised", hyperparameters=Hyperparameters(likelihood="joint"))
    plan, reasons = resolve(config, n_prompts=10, n_tasks=1, on_gpu=False)
    assert plan.likelihood == reasons["likelihood"]["value"] == "marginal"


@pytest.mark.parametrize(("steps", "rate"), [(50, 0.1), (1000, 0.02), (100_000, 0.01)])
def test_the_expertise_can_cross_its_scale_within_the_run(steps: int, rate: float) -> None:
    plan, _ = resolve(
        TrainingConfig(hyperparameters=Hyperparameters(max_steps=steps)), n_prompts=10, n_tasks=1, on_gpu=False
    )
    assert plan.expertise_learning_rate == pytest.approx(rate)


def test_typing_errors_are_refused() -> None:
    with pytest.raises(ValidationError, match="learning_rte"):
        Hyperparameters.model_validate({"learning_rte": 1e-4})
    with pytest.raises(ValidationError):
        Hyperparameters.model_validate({"learning_rate": -1})


@pytest.mark.parametrize(
    ("family", "lora_rank", "rate"),
    [("encoder", 0, 1e-4), ("seq2seq", 0, 3e-4), ("causal", 0, 2e-5), ("causal", 8, 2e-4)],
)
def test_each_family_learns_at_its_own_rate(family: str, lora_rank: int, rate: float) -> None:
    config = TrainingConfig(hyperparameters=Hyperparameters(lora_rank=lora_rank))
    plan, reasons = resolve(config, n_prompts=10, n_tasks=1, on_gpu=False, family=family)
    assert plan.learning_rate == reasons["learning_rate"]["value"] == rate
    assert reasons["learning_rate"]["why"]


def test_everything_that_is_auto_by_default_may_be_called_so() -> None:
    auto = {name: "auto" for name, field in Hyperparameters.model_fields.items() if field.default == "auto"}
    assert len(auto) > 5
    assert Hyperparameters.model_validate(auto) == Hyperparameters()
