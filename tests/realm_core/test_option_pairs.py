"""Options scored as pairs with their prompt: a slow loop, what no cosine can learn, and what keeps the choice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from realm_core import checkpoint
from realm_core.annotations import Annotations, Task
from realm_core.config import Hyperparameters, TrainingConfig
from realm_core.predictor import PredictInput, Predictor
from realm_core.preparation import prepare
from realm_core.run import run
from realm_core.scorers.encoder import EncoderScorer
from realm_core.scorers.families import load_scorer
from realm_core.training import FitEvents, fit
from tests.realm_core.test_run import Recorder
from tests.realm_core.tiny_models import CUES, make_crowd

CYCLE = CUES[:3]


def who_comes_next(n_items: int = 150) -> tuple[Annotations, np.ndarray]:
    """Each prompt is one of three words, its options the two others, right the one that follows in a circle.

    cos(a, b) > cos(a, c), cos(b, c) > cos(b, a) and cos(c, a) > cos(c, b) cannot all hold, since cosines are symmetric.
    """
    crowd, _ = make_crowd((0.95, 0.9, 0.7), n_items, n_classes=2)
    rng = np.random.default_rng(0)
    word = rng.integers(0, 3, n_items)
    truth = rng.integers(0, 2, n_items).astype(np.int32)  # where among the options the next word stands
    following, other = (word + 1) % 3, (word + 2) % 3
    first = np.where(truth == 0, following, other)
    second = np.where(truth == 0, other, following)
    right = rng.random(crowd.n_labels) < np.array([0.95, 0.9, 0.7])[crowd.annotator]
    annotations = replace(
        crowd,
        tasks=(Task("next", ()),),
        prompts=tuple(CYCLE[k] for k in word),
        options=tuple((CYCLE[a], CYCLE[b]) for a, b in zip(first, second, strict=True)),
        label=np.where(right, truth[crowd.item], 1 - truth[crowd.item]).astype(np.int32),
    )
    return annotations, truth


def config_of(**asked: Any) -> TrainingConfig:
    values = {"learning_rate": 3e-3, "answer_learning_rate": 3e-2, "n_epochs": 20, "held_out_fraction": 0, **asked}
    return TrainingConfig(hyperparameters=Hyperparameters(**values), seed=1, threads=1)


def share_right(predictor: Predictor, annotations: Annotations, truth: np.ndarray) -> float:
    inputs = zip(annotations.prompts or (), annotations.options or (), strict=True)
    said = predictor.predict([PredictInput(prompt, options=own) for prompt, own in inputs])
    return float(np.mean([one.probabilities.argmax() == y for one, y in zip(said, truth, strict=True)]))


def pair_scorer(folder: Path, max_length: int = 32) -> EncoderScorer:
    """One whose vector v is random."""
    scorer = load_scorer(folder, max_length)
    assert isinstance(scorer, EncoderScorer)
    scorer.start_answers((Task("next", ()),))
    scorer.score_pairs()
    assert scorer.pair_vector is not None
    torch.manual_seed(0)
    torch.nn.init.normal_(scorer.pair_vector)
    return scorer.eval()


def test_scores_equal_those_of_each_pair_read_alone(tiny_bert: Path) -> None:
    scorer = pair_scorer(tiny_bert)
    prompts = ["my invoice is it", "thanks", "the parcel was broken"]
    options = [("billing", "praise"), ("delivery", "defect", "praise"), ("a", "the")]
    encoded = scorer.encode(prompts, [0] * 3, options)
    _, log_p = scorer.embed_and_answer(scorer.collate(encoded))
    assert scorer.pair_vector is not None
    for row, (prompt, own) in enumerate(zip(prompts, options, strict=True)):
        scores = []
        for option in own:
            one = scorer.tokenizer(f"{prompt} {option}", return_tensors="pt")
            z = scorer.model(**one).last_hidden_state[0].mean(0)
            scores.append(((z / z.norm()) @ scorer.pair_vector).item())
        expected = torch.log_softmax(torch.tensor(scores), 0)
        torch.testing.assert_close(log_p[row, : len(own)], expected, atol=1e-5, rtol=0)
        assert torch.isinf(log_p[row, len(own) :]).all()


def test_a_long_prompt_loses_its_start_and_no_option_is_cut(tiny_bert: Path) -> None:
    scorer = pair_scorer(tiny_bert, max_length=8)
    (short, long, just) = scorer.encode(
        ["it is", "very " * 20, "it is so a the my"], [0] * 3, [("billing", "praise")] * 3
    )
    assert not short.truncated
    assert long.truncated
    assert just.truncated  # six words fit, but not with an option
    assert long.option_ids is not None
    billing, praise = scorer.tokens_of(["billing", "praise"])
    assert [ids[-2:-1] for ids in long.option_ids] == [billing, praise]  # the last one is [SEP]
    assert {len(ids) for ids in long.option_ids} == {8}


@pytest.mark.parametrize(("way", "least", "most"), [("pair", 0.99, 1.0), ("cosine", 0.0, 0.9)])
def test_pairs_learn_what_no_cosine_can(way: str, least: float, most: float, tiny_bert: Path, tmp_path: Path) -> None:
    annotations, truth = who_comes_next()
    config = config_of(option_scoring=way, preset="paper")  # nobody is below chance: the words of a random model lie
    outcome = run(annotations, config, base=tiny_bert, work=tmp_path, observer=Recorder())
    assert outcome.model is not None
    assert least <= share_right(Predictor.load(outcome.model), annotations, truth) <= most


def test_a_model_that_continues_goes_on_scoring_pairs(tiny_bert: Path, tmp_path: Path) -> None:
    annotations, _ = who_comes_next(30)
    first = run(
        annotations, config_of(option_scoring="pair", max_steps=3), base=tiny_bert, work=tmp_path, observer=Recorder()
    )
    assert first.model is not None
    start = prepare(load_scorer(first.model, 32), annotations, config_of(), first.model)
    assert start.plan.option_scoring == "pair"
    assert start.words.startswith("The answers go on")


def test_training_goes_on_from_a_checkpoint_bit_for_bit(tiny_bert: Path, tmp_path: Path) -> None:
    annotations, _ = who_comes_next(40)
    written: list[Path] = []

    def trained(name: str, resume_from: Path | None) -> dict[str, torch.Tensor]:
        scorer = load_scorer(tiny_bert, 32)
        start = prepare(scorer, annotations, config_of(option_scoring="pair", max_steps=8), tiny_bert)
        keep = FitEvents(lambda *_: None, lambda *_: None, lambda folder, *_: written.append(folder))
        fit(
            scorer,
            start.channel,
            start.annotations,
            start.plan,
            seed=1,
            work=tmp_path / name,
            events=keep,
            resume_from=resume_from,
            checkpoint_seconds=0.0,
        )
        return checkpoint.weights_of(scorer, start.channel)

    whole = trained("whole", None)
    again = trained("again", written[3])
    assert whole["scorer.pair_vector"].abs().sum() > 0
    for name, tensor in whole.items():
        assert torch.equal(tensor, again[name]), name
