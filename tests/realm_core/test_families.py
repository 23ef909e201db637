"""Whole jobs with every family of models, with adapters, and with options of the prompts' own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from realm_core import checkpoint
from realm_core.annotations import Annotations, Task
from realm_core.channels import OneCoinChannel
from realm_core.checkpoint import FineTuned, load_model, save_model
from realm_core.config import Hyperparameters, TrainingConfig, resolve
from realm_core.predictor import InvalidInput, PredictInput, Predictor
from realm_core.preparation import NotIdentifiable
from realm_core.run import Outcome, run
from realm_core.scorers.families import load_scorer
from realm_core.scorers.scorer import Scorer
from realm_core.training import FitEvents, fit
from tests.realm_core.test_run import Recorder
from tests.realm_core.tiny_language_models import save_tiny_gpt2, save_tiny_llama, save_tiny_qwen2, save_tiny_t5
from tests.realm_core.tiny_models import ANSWERS, make_crowd

SAVE: dict[str, Callable[[Path], Path]] = {
    "t5": save_tiny_t5,
    "gpt2": save_tiny_gpt2,
    "llama": save_tiny_llama,
    "qwen2": save_tiny_qwen2,
}


@pytest.fixture(scope="module")
def folders(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {"bert": tiny_bert} | {name: save(root / name) for name, save in SAVE.items()}


def with_options(annotations: Annotations, truth: np.ndarray, seed: int = 0) -> Annotations:
    """The same crowd, each prompt with 2 to 4 options of its own in an order of its own, the right one among them.

    A wrong label that is not among them becomes the first option.
    """
    rng = np.random.default_rng(seed)
    options, numbers = [], []
    for answer in truth:
        others = rng.permutation([k for k in range(4) if k != answer])[: rng.integers(1, 4)]
        own = rng.permutation([answer, *others])
        options.append(tuple(ANSWERS[k] for k in own))
        numbers.append({int(k): place for place, k in enumerate(own)})
    label = [numbers[item].get(int(k), 0) for item, k in zip(annotations.item, annotations.label, strict=True)]
    return replace(
        annotations, tasks=(Task("topic", ()),), options=tuple(options), label=np.array(label, dtype=np.int32)
    )


def job(annotations: Annotations, base: Path, work: Path, *, method: str = "realm", **asked: Any) -> Outcome:
    values = {"learning_rate": 3e-3, "answer_learning_rate": 3e-2, "n_epochs": 10, "max_length": 32, **asked}
    config = TrainingConfig(
        method=method,  # type: ignore[arg-type]
        hyperparameters=Hyperparameters(**values),
        seed=1,
        threads=1,
    )
    return run(annotations, config, base=base, work=work, observer=Recorder())


def agreement(predictor: Predictor, annotations: Annotations, truth: np.ndarray) -> float:
    """How often the likeliest answer is the truth (names)."""
    assert annotations.prompts is not None
    options = annotations.options or (None,) * annotations.n_items
    inputs = [PredictInput(prompt, options=own) for prompt, own in zip(annotations.prompts, options, strict=True)]
    said = [one.answers[int(one.probabilities.argmax())] for one in predictor.predict(inputs)]
    return float(np.mean([answer == ANSWERS[k] for answer, k in zip(said, truth, strict=True)]))


@pytest.mark.parametrize(("family", "rate"), [("t5", 5e-3), ("llama", 3e-3)])
def test_a_language_model_learns_the_truth_from_a_crowd(
    family: str, rate: float, folders: dict[str, Path], tmp_path: Path
) -> None:
    annotations, truth = make_crowd((0.9, 0.8, 0.3), n_items=400)
    outcome = job(annotations, folders[family], tmp_path, learning_rate=rate, batch_size=16)
    assert outcome.model is not None
    assert agreement(Predictor.load(outcome.model), annotations, truth) > 0.97
    rows = {row.annotator: row for row in outcome.report.annotators if row.task is None}
    for annotator, accuracy in enumerate((0.9, 0.8, 0.3)):
        assert rows[annotator].model_accuracy == pytest.approx(accuracy, abs=0.08)


def started(folder: Path, annotations: Annotations) -> Scorer:
    scorer = load_scorer(folder, 32)
    scorer.start_answers(annotations.tasks)
    return scorer


def fit_some_steps(scorer: Scorer, annotations: Annotations, work: Path, **options: Any) -> list[float]:
    """The training losses of 24 steps."""
    plan, _ = resolve(
        TrainingConfig(
            hyperparameters=Hyperparameters(
                learning_rate=5e-3,
                max_steps=24,
                evaluations=3,
                held_out_fraction=0,
                lora_rank=4 * bool(scorer._adapted),
            )
        ),
        n_prompts=annotations.n_items,
        n_tasks=1,
        on_gpu=False,
        family=scorer.family,
    )
    losses: list[float] = []
    folders: list[Path] = options.pop("checkpoints", [])
    events = FitEvents(
        progress=lambda step, total, done: None,
        metrics=lambda step, values: losses.append(values["train_loss"]) if "train_loss" in values else None,
        checkpoint=lambda folder, step, metrics: folders.append(folder),
    )
    fit(scorer, make_channel(annotations), annotations, plan, seed=1, work=work, events=events, **options)
    return losses


def make_channel(annotations: Annotations) -> OneCoinChannel:
    n = annotations.n_annotators
    return OneCoinChannel(torch.full((n, 1), 0.8), torch.full((n, 1), 96.0), torch.tensor([4.0]))


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "t5", "bert"])
@pytest.mark.parametrize("lora_rank", [0, 4])
def test_every_family_trains_saves_and_answers_the_same_after_loading(
    family: str, lora_rank: int, folders: dict[str, Path], tmp_path: Path
) -> None:
    annotations, _ = make_crowd((0.95, 0.9), n_items=96)
    scorer = started(folders[family], annotations)
    before = {name: weight.clone() for name, weight in scorer.model.state_dict().items()}
    if lora_rank:
        torch.manual_seed(0)
        scorer.add_adapters(lora_rank)
        assert all("lora" in name for name, weight in scorer.model.named_parameters() if weight.requires_grad)
    losses = fit_some_steps(scorer, annotations, tmp_path)
    assert np.mean(losses[-6:]) < np.mean(losses[:6])
    model = FineTuned(scorer.eval(), make_channel(annotations), annotations.tasks, annotations.annotators)
    inputs = [PredictInput(prompt) for prompt in (annotations.prompts or ())[:20]]
    trained = [one.probabilities for one in Predictor(model).predict(inputs)]
    folder = save_model(tmp_path / "model", model, {})
    loaded = [one.probabilities for one in Predictor.load(folder).predict(inputs)]
    np.testing.assert_allclose(loaded, trained, atol=1e-5)
    assert not list(folder.glob("adapter*"))
    after = load_model(folder).scorer.model.state_dict()
    assert set(after) == set(before)  # a plain folder of its family
    assert any(not torch.equal(after[name], weight) for name, weight in before.items())


def test_a_saved_model_is_what_transformers_reads(folders: dict[str, Path], tmp_path: Path) -> None:
    annotations, _ = make_crowd((0.9, 0.8), n_items=32)
    for family, auto in (("t5", AutoModelForSeq2SeqLM), ("gpt2", AutoModelForCausalLM)):
        scorer = started(folders[family], annotations)
        model = FineTuned(scorer, make_channel(annotations), annotations.tasks, annotations.annotators)
        folder = save_model(tmp_path / family, model, {})
        _, loading = auto.from_pretrained(folder, output_loading_info=True)
        assert not loading["missing_keys"]
        assert not loading["unexpected_keys"]
        assert AutoConfig.from_pretrained(folder).model_type == family


def test_adapters_go_on_from_a_checkpoint_bit_for_bit(folders: dict[str, Path], tmp_path: Path) -> None:
    annotations, _ = make_crowd((0.9, 0.8), n_items=64)

    def adapted() -> Scorer:
        scorer = started(folders["t5"], annotations)
        scorer.add_adapters(4)
        return scorer

    written: list[Path] = []
    unbroken, again = adapted(), adapted()
    fit_some_steps(unbroken, annotations, tmp_path, checkpoints=written, checkpoint_seconds=0.0)
    fit_some_steps(again, annotations, tmp_path / "again", resume_from=written[9])
    weights = checkpoint.weights_of(again, torch.nn.Module())
    for name, tensor in checkpoint.weights_of(unbroken, torch.nn.Module()).items():
        assert torch.equal(tensor, weights[name]), name


@pytest.mark.parametrize("family", ["t5", "gpt2", "llama", "bert"])
def test_activations_computed_again_give_the_same_gradients(family: str, folders: dict[str, Path]) -> None:
    annotations, _ = make_crowd((0.9, 0.8), n_items=8)
    gradients = []
    for again in (False, True):
        scorer = started(folders[family], annotations).train()
        if again:
            scorer.save_memory()
        scorer(scorer.collate(scorer.encode_items(annotations)))[:, 0].sum().backward()
        gradients.append({name: p.grad for name, p in scorer.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize("method", ["realm", "supervised"])
def test_prompts_with_options_of_their_own_from_data_to_answers(
    method: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    crowd, truth = make_crowd((0.95, 0.9, 0.6), n_items=400)
    annotations = with_options(crowd, truth)
    outcome = job(annotations, folders["bert"], tmp_path, method=method, n_epochs=15)
    assert outcome.model is not None
    predictor = Predictor.load(outcome.model)
    assert agreement(predictor, annotations, truth) > 0.9
    labels = [annotations.answers_of(item)[label] for item, label in enumerate(outcome.report.items.label)]
    assert np.mean([label == ANSWERS[k] for label, k in zip(labels, truth, strict=True)]) > 0.9
    a, b = predictor.predict(
        [PredictInput("my invoice is it", options=own) for own in (("praise", "billing"), ("billing", "praise", "x"))]
    )
    assert a.answers == ("praise", "billing")
    assert (len(a.probabilities), len(b.probabilities)) == (2, 3)
    assert b.probabilities.sum() == pytest.approx(1, abs=1e-5)
    if method == "realm":
        assert predictor.as_annotator(a, "annotator 0", None).sum() == pytest.approx(1, abs=1e-5)


def test_a_language_model_reads_options_too(folders: dict[str, Path], tmp_path: Path) -> None:
    crowd, truth = make_crowd((0.9, 0.8), n_items=48)
    annotations = with_options(crowd, truth)
    outcome = job(annotations, folders["t5"], tmp_path, n_epochs=1, lora_rank=2, gradient_checkpointing=True)
    assert outcome.model is not None
    (prediction,) = Predictor.load(outcome.model).predict([PredictInput("it", options=("billing", "praise", "x"))])
    assert len(prediction.probabilities) == 3


def test_own_options_beside_a_task_s_answers_and_single_options(folders: dict[str, Path], tmp_path: Path) -> None:
    crowd, truth = make_crowd((0.9, 0.8, 0.7), n_items=120)
    options = tuple(
        (ANSWERS if item % 3 == 0 else None) if item % 10 else (ANSWERS[truth[item]],) for item in range(120)
    )
    label = np.where(crowd.item % 10 == 0, 0, crowd.label).astype(np.int32)
    outcome = job(replace(crowd, options=options, label=label), folders["bert"], tmp_path, n_epochs=2)
    np.testing.assert_allclose(outcome.report.items.probability[::10], 1)
    np.testing.assert_allclose(outcome.report.items.posterior.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("options", "asked", "message"),
    [
        ((None, ("a", "b")), {}, "Item '0' has no options, and its task 'topic' has no answers either"),
        ((("a",), ("b",)), {}, "one possible answer only"),
        ((("a", "b"), ("b", "c")), {"channel": "confusion"}, "`confusion` needs the same answers .* use `one_coin`"),
    ],
)
def test_what_cannot_be_learned_from_options_is_refused(
    options: Any, asked: dict[str, Any], message: str, tmp_path: Path
) -> None:
    crowd, _ = make_crowd((0.9,), n_items=2)
    annotations = replace(crowd, tasks=(Task("topic", ()),), options=options, label=np.zeros(2, dtype=np.int32))
    with pytest.raises(NotIdentifiable, match=message):
        job(annotations, tmp_path, tmp_path, **asked)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (PredictInput("x", "own"), "Task 'own' has no answers of its own: send the prompt's `options`"),
        (PredictInput("x", "own", ()), "at least one text"),
        (PredictInput("x", "own", ("a", " ")), "none of them empty"),
        (PredictInput("x", "own", ("a", "a")), "names the same text twice"),
        (PredictInput("x", "topic", ("a", "b")), "takes no options"),
        (PredictInput("x", "own", tuple(f"{'very ' * 40}{number}" for number in range(9))), "the model reads 256"),
    ],
)
def test_options_that_cannot_be_answered(item: PredictInput, message: str, folders: dict[str, Path]) -> None:
    scorer = load_scorer(folders["gpt2"], 32)
    tasks = (Task("topic", ANSWERS), Task("own", ()))
    scorer.start_answers(tasks)
    channel = OneCoinChannel(torch.full((1, 2), 0.8), torch.ones(1, 2), torch.tensor([4.0, 2.0]))
    with pytest.raises(InvalidInput, match=message):
        Predictor(FineTuned(scorer, channel, tasks, ("ann",))).encode(item)
