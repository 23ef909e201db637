"""Scorers of every family: exact against the whole model, indifferent to padding, permuted like their options."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from realm_core.annotations import Task
from realm_core.base_models import BaseModelUnavailable
from realm_core.scorers.answer_tokens import AnswerTokens, count_single, letters, tokens_after
from realm_core.scorers.encoder import EncoderScorer
from realm_core.scorers.families import load_scorer
from realm_core.scorers.inputs import UnreadableInput
from realm_core.scorers.scorer import Scorer
from tests.realm_core.tiny_language_models import (
    byte_tokenizer,
    llama_tokenizer,
    many_answers,
    save_tiny_gpt2,
    save_tiny_llama,
    save_tiny_qwen2,
    save_tiny_t5,
    unigram_tokenizer,
)
from tests.realm_core.tiny_models import ANSWERS, save_tiny_bert

SAVE: dict[str, Callable[[Path], Path]] = {
    "bert": save_tiny_bert,
    "t5": save_tiny_t5,
    "t5-tied": lambda folder: save_tiny_t5(folder, tied=True),
    "gpt2": save_tiny_gpt2,
    "llama": save_tiny_llama,
    "qwen2": save_tiny_qwen2,
}
FAMILY = {
    "bert": "encoder", "t5": "seq2seq", "t5-tied": "seq2seq", "gpt2": "causal", "llama": "causal", "qwen2": "causal",
}  # fmt: skip
LANGUAGE_MODELS = [name for name in SAVE if name != "bert"]
TASKS = (Task("topic", ANSWERS), Task("own", ()), Task("many", many_answers(30)))
PROMPTS = ("my invoice is it", "broken", "the parcel was very very very broken again today and thanks", "so it is")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: save(root / name) for name, save in SAVE.items()}


def started(folder: Path, max_length: int = 32) -> Scorer:
    scorer = load_scorer(folder, max_length)
    scorer.start_answers(TASKS)
    return scorer.eval()


def log_p(scorer: Scorer, prompts: tuple[str, ...], task: int = 0, options: Any = None) -> torch.Tensor:
    encoded = scorer.encode(prompts, [task] * len(prompts), options or [None] * len(prompts))
    with torch.inference_mode():
        return scorer(scorer.collate(encoded))


@pytest.mark.parametrize("name", SAVE)
def test_the_family_is_read_from_the_model_s_config(name: str, folders: dict[str, Path]) -> None:
    assert load_scorer(folders[name], 32).family == FAMILY[name]


@pytest.mark.parametrize("name", SAVE)
def test_padding_and_neighbours_change_no_answer(name: str, folders: dict[str, Path]) -> None:
    scorer = started(folders[name])
    together = log_p(scorer, PROMPTS)
    torch.testing.assert_close(together.exp().sum(1), torch.ones(len(PROMPTS)))
    for prompt, row in zip(PROMPTS, together, strict=True):
        torch.testing.assert_close(log_p(scorer, (prompt,))[0], row, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_k_rows_are_the_whole_vocabulary_renormalised(name: str, folders: dict[str, Path]) -> None:
    scorer = started(folders[name])
    encoded = scorer.encode(PROMPTS, [0] * 4, [None] * 4)
    assert not encoded[0].whole_answers
    ids = [tokens[0] for tokens in scorer.answer_tokens.of(4)]  # type: ignore[union-attr, operator]
    for one, row in zip(encoded, log_p(scorer, PROMPTS), strict=True):
        full = next_token_logits(folders[name], one.token_ids)
        expected = full.softmax(0)[ids] / full.softmax(0)[ids].sum()
        torch.testing.assert_close(row.exp(), expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def next_token_logits(folder: Path, token_ids: list[int], written: tuple[int, ...] = ()) -> torch.Tensor:
    """What transformers itself says of the token after `written`."""
    if "t5" in folder.name:
        model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
        return model(
            input_ids=torch.tensor([token_ids]), decoder_input_ids=torch.tensor([[0, *written]])
        ).logits[0, -1]  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    return model(input_ids=torch.tensor([[*token_ids, *written]])).logits[0, -1]


@pytest.mark.parametrize("name", ["t5-tied", "gpt2"])
def test_answers_of_several_tokens_are_scored_as_strings(name: str, folders: dict[str, Path]) -> None:
    scorer = started(folders[name], 20)
    (encoded,) = scorer.encode(PROMPTS[:1], [2], [None])
    assert encoded.whole_answers
    together = log_p(scorer, PROMPTS, task=2)[0]
    assert together.exp().sum() == pytest.approx(1, abs=1e-5)
    tokens = scorer.answer_tokens.of(30)  # type: ignore[union-attr, operator]
    end = scorer.tokenizer.eos_token_id
    assert len(tokens[27]) > 1
    scores = {}
    for number in (0, 27):
        scores[number], written = 0.0, ()
        for token in (*tokens[number], end):
            scores[number] += float(next_token_logits(folders[name], encoded.token_ids, written).log_softmax(0)[token])
            written += (token,)
    assert float(together[0] - together[27]) == pytest.approx(scores[0] - scores[27], abs=1e-4)


@pytest.mark.parametrize("name", SAVE)
def test_prompts_with_different_numbers_of_options_share_a_batch(name: str, folders: dict[str, Path]) -> None:
    scorer = started(folders[name])
    options = [("billing", "praise"), ("delivery",), ("defect", "praise", "billing"), ("a", "the")]
    together = log_p(scorer, PROMPTS, 1, options)
    assert together.shape == (4, 3)
    for row, prompt, own in zip(together, PROMPTS, options, strict=True):
        alone = log_p(scorer, (prompt,), 1, [own])[0]
        torch.testing.assert_close(row[: len(own)], alone, atol=1e-5, rtol=0)
        assert torch.isneginf(row[len(own) :]).all()
    assert together[1, 0].item() == pytest.approx(0, abs=1e-6)


def test_an_encoder_s_answers_are_permuted_like_its_options(folders: dict[str, Path]) -> None:
    scorer = started(folders["bert"])
    forward = log_p(scorer, PROMPTS, 1, [ANSWERS] * 4)
    backward = log_p(scorer, PROMPTS, 1, [ANSWERS[::-1]] * 4)
    torch.testing.assert_close(forward, backward.flip(1))
    assert forward.std(dim=1).min() > 0


def test_an_encoder_s_scores_are_cosines_and_a_scale_sharpens_them(folders: dict[str, Path]) -> None:
    scorer = started(folders["bert"])
    encoded = scorer.encode(PROMPTS, [0, 1, 0, 1], [None, ANSWERS, None, ANSWERS])
    embeddings, cosines = scorer.read(encoded)
    answers = started(folders["bert"]).answers[0].detach().numpy()  # type: ignore[index, union-attr]
    np.testing.assert_allclose(cosines, embeddings @ answers.T, atol=1e-5)
    scorer.start_at(20.0)
    for task, options in ((0, None), (1, [ANSWERS] * 4)):
        expected = torch.log_softmax(torch.from_numpy(20 * embeddings @ answers.T), 1)
        torch.testing.assert_close(log_p(scorer, PROMPTS, task, options), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_long_prompts_are_cut_and_their_answers_never(name: str, folders: dict[str, Path]) -> None:
    scorer = started(folders[name], 16)
    short, long = scorer.encode(["it is", "it is " * 500], [0, 0], [None, None])
    assert (short.truncated, long.truncated) == (False, True)
    assert long.n_tokens > 500
    assert len(long.token_ids) - len(short.token_ids) == 16 - short.n_tokens
    tail = len(short.token_ids) - short.n_tokens - len(scorer.special_tokens[0])
    assert long.token_ids[-tail:] == short.token_ids[-tail:]


def test_answers_that_leave_no_room_for_a_prompt_are_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(UnreadableInput, match="the model reads 256 in all"):
        started(folders["gpt2"]).encode(["it"], [1], [tuple(f"{'very ' * 40}{i}" for i in range(9))])


def test_the_first_id_of_lower_case_letters_is_the_same_for_all_in_t5() -> None:
    tokenizer = unigram_tokenizer()
    lower = tokens_after(tokenizer, "", ["a", "b", "c", "d"])
    assert lower is not None
    assert len({tokens[0] for tokens in lower}) == 1  # the trap: a softmax over these is uniform for ever
    assert count_single(lower) == 0
    upper = AnswerTokens.find(tokenizer, "", ("{}",))
    assert upper.n_single == 26
    assert len({tokens[0] for tokens in upper.of(26)}) == 26


@pytest.mark.parametrize("make", [byte_tokenizer, llama_tokenizer])
def test_causal_letters_are_written_with_their_leading_space(make: Callable[[], Any]) -> None:
    tokenizer = make()
    found = AnswerTokens.find(tokenizer, "\nAnswer:", (" {}", "{}"))
    assert (found.form, found.n_single) == (" {}", 26)
    assert tokenizer.convert_ids_to_tokens([tokens[0] for tokens in found.of(2)]) in (["ĠA", "ĠB"], ["▁A", "▁B"])


def test_answers_that_a_tokenizer_cannot_tell_apart_are_refused(folders: dict[str, Path]) -> None:
    tokenizer = load_scorer(folders["bert"], 32).tokenizer  # knows no letters: each is [UNK]
    found = AnswerTokens.find(tokenizer, "", ("{}",))
    assert found.n_single == 1
    with pytest.raises(BaseModelUnavailable, match="cannot tell 2 answers apart"):
        found.of(2)


def test_letters_go_on_after_z() -> None:
    assert [letters(number) for number in (0, 25, 26, 27, 51, 52, 701, 702)] == [
        "A", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA",
    ]  # fmt: skip


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path / "pickled")
    torch.save(EncoderScorer.from_pretrained(folder, 32).model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BaseModelUnavailable, match=r"'pickled' cannot be loaded: it needs .* safetensors"):
        load_scorer(folder, 32)


@pytest.mark.parametrize("model_type", ["bert", "evil"])
def test_code_of_the_model_s_own_never_runs(tmp_path: Path, model_type: str) -> None:
    folder = save_tiny_bert(tmp_path / "evil")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: ...\n")
    evil = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
    for file in ("config.json", "tokenizer_config.json"):
        values = json.loads((folder / file).read_text()) | {"auto_map": evil}
        if file == "config.json":
            values["model_type"] = model_type
        (folder / file).write_text(json.dumps(values))
    if model_type == "evil":
        with pytest.raises(BaseModelUnavailable, match="transformers knows without code of the model's own"):
            load_scorer(folder, 32)
    else:
        load_scorer(folder, 32)
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_incomplete_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = save_tiny_bert(tmp_path / "half")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(BaseModelUnavailable, match="incomplete"):
        load_scorer(folder, 32)


@pytest.mark.parametrize("name", SAVE)
@pytest.mark.parametrize("own_options", [False, True])
def test_in_bf16_logits_are_fp32_and_about_the_same(name: str, own_options: bool, folders: dict[str, Path]) -> None:
    scorer = started(folders[name])
    options = [("billing", "praise"), ("delivery",), ANSWERS, ANSWERS] if own_options else [None] * 4
    inputs = scorer.collate(scorer.encode(PROMPTS, [int(own_options)] * 4, options))
    with torch.inference_mode():
        _, exact = scorer.embed_and_score(inputs)
        with torch.autocast("cpu", torch.bfloat16):
            embedding, logits = scorer.embed_and_score(inputs)
    assert embedding.dtype == logits.dtype == torch.float32
    assert not torch.equal(logits, exact)
    torch.testing.assert_close(logits, exact, atol=0.05, rtol=0.05)
