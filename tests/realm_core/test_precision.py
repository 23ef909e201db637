"""bfloat16 by autocast: the same answers but for its rounding, and everything that learns stays float32."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from realm_core.annotations import Annotations
from realm_core.channels import OneCoinChannel
from realm_core.config import Hyperparameters, Precision, TrainingConfig, resolve
from realm_core.run import run
from realm_core.scorers.families import load_scorer
from realm_core.scorers.scorer import Scorer
from tests.realm_core.test_run import Recorder
from tests.realm_core.test_training import fit_quietly, make_plan
from tests.realm_core.tiny_language_models import save_tiny_gpt2, save_tiny_t5
from tests.realm_core.tiny_models import make_crowd, save_tiny_bert

SAVE = {"bert": save_tiny_bert, "t5": save_tiny_t5, "gpt2": save_tiny_gpt2}


@pytest.fixture(scope="module", params=SAVE)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SAVE[request.param](tmp_path_factory.mktemp("models") / request.param)


def started(base: Path, annotations: Annotations, precision: Precision) -> Scorer:
    scorer = load_scorer(base, 32)
    scorer.start_answers(annotations.tasks)
    scorer.compute_in(precision)
    return scorer


@torch.inference_mode()
def probabilities(scorer: Scorer, annotations: Annotations) -> torch.Tensor:
    return scorer.eval()(scorer.collate(scorer.encode_items(annotations))).exp()


def test_it_trains_and_answers_as_in_float32_but_for_rounding(base: Path, tmp_path: Path) -> None:
    annotations, truth = make_crowd((0.95, 0.9), n_items=96)
    plan = make_plan(annotations, max_steps=40, batch_size=16, held_out_fraction=0)
    said = {}

    def of_truth(p: torch.Tensor) -> float:
        return float(p[torch.arange(96), torch.from_numpy(truth).long()].mean())

    before = of_truth(probabilities(started(base, annotations, "float32"), annotations))
    for precision in ("float32", "bfloat16"):
        scorer = started(base, annotations, precision)  # type: ignore[arg-type]
        n = annotations.n_annotators
        channel = OneCoinChannel(torch.full((n, 1), 0.8), torch.full((n, 1), 96.0), torch.tensor([4.0]))
        fit_quietly(scorer, channel, annotations, plan, tmp_path)  # type: ignore[arg-type]
        assert {weight.dtype for weight in scorer.parameters()} == {torch.float32}
        said[precision] = probabilities(scorer, annotations)
        other = started(base, annotations, "float32" if precision == "bfloat16" else "bfloat16")
        other.load_state_dict(scorer.state_dict())
        difference = (probabilities(other, annotations) - said[precision]).abs().max()
        assert 0 < difference < 0.02
        assert of_truth(said[precision]) > before + 0.02
    assert (said["float32"] - said["bfloat16"]).abs().mean() < 0.02


def test_a_job_computes_in_what_it_is_asked_to(tiny_bert: Path, tmp_path: Path) -> None:
    annotations, _ = make_crowd((0.9, 0.8), n_items=30)
    asked = Hyperparameters(max_steps=2, precision="bfloat16")
    config = TrainingConfig(hyperparameters=asked, seed=1, threads=1)
    seen: list[torch.dtype] = []
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, _, out: seen.append(out.dtype) if type(module) is torch.nn.Linear else None
    )
    try:
        outcome = run(annotations, config, base=tiny_bert, work=tmp_path, observer=Recorder())
    finally:
        hook.remove()
    assert torch.bfloat16 in seen
    assert outcome.model is not None
    assert json.loads((outcome.model / "realm.json").read_text())["plan"]["precision"] == "bfloat16"


@pytest.mark.parametrize(("on_gpu", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_bfloat16_on_a_gpu_only(on_gpu: bool, precision: str) -> None:
    plan, reasons = resolve(TrainingConfig(), n_prompts=10, n_tasks=1, on_gpu=on_gpu)
    assert plan.precision == reasons["precision"]["value"] == precision
    asked = TrainingConfig(hyperparameters=Hyperparameters(precision="float32"))
    assert resolve(asked, n_prompts=10, n_tasks=1, on_gpu=on_gpu)[0].precision == "float32"


def test_there_is_no_float16() -> None:
    with pytest.raises(ValidationError):
        Hyperparameters.model_validate({"precision": "float16"})
