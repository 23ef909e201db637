"""Rows 6 to 8: steps of training in CPU seconds, by our own step and batches, on one thread."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

from benchmarks.speed.ratio import Ratio, at_most, faster_by, in_turns, more_by
from benchmarks.speed.size import Size
from benchmarks.speed.t5 import FullVocabulary, random_flan_t5
from benchmarks.speed.texts import prompts
from realm_core.annotations import Annotations, Task
from realm_core.base_models import locate
from realm_core.batching import Batch, PromptBatches
from realm_core.channels import Channel, OneCoinChannel, PerfectChannel
from realm_core.config import Plan, TrainingConfig, resolve
from realm_core.scorers.encoder import EncoderScorer
from realm_core.scorers.scorer import Scorer
from realm_core.training import make_optimizer, train_step

ANSWERS = ("business", "politics", "science", "sport", "weather")
BATCH = 32
LONGEST = 64  # tokens
_N_PROMPTS = BATCH * 50
_N_ANNOTATORS = 10


def rows(wanted: set[int], size: Size) -> Iterator[Ratio]:
    """Rows 6 to 8."""
    if not wanted & {6, 7, 8}:
        return
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # a batch that is learned by heart has gradients next to nothing, which are slow
    if 6 in wanted:
        yield against_trainer(size)
    if 7 in wanted:
        yield against_supervised(size)
    if 8 in wanted:
        yield against_full_vocabulary(size)


def labelled(n: int, per_item: int) -> Annotations:
    """Prompts of natural lengths with `per_item` labels each."""
    rng = np.random.default_rng(0)
    first = rng.integers(_N_ANNOTATORS, size=n)
    return Annotations(
        tasks=(Task("default", ANSWERS),),
        annotators=tuple(f"ann_{number}" for number in range(_N_ANNOTATORS)),
        item_ids=tuple(map(str, range(n))),
        item_task=np.zeros(n, np.int32),
        item=np.repeat(np.arange(n, dtype=np.int32), per_item),
        annotator=((first[:, None] + np.arange(per_item)) % _N_ANNOTATORS).ravel().astype(np.int32),
        label=rng.integers(len(ANSWERS), size=n * per_item, dtype=np.int32),
        prompts=tuple(prompts(n)),
    )


class Steps:
    """Steps of a scorer and a channel on batches of the crowd, in the order in which a job takes them."""

    def __init__(self, scorer: Scorer, channel: Channel, crowd: Annotations, likelihood: str) -> None:
        self.scorer, self.channel = scorer.train(), channel
        hyperparameters = {"likelihood": likelihood, "batch_size": BATCH, "max_steps": 1000}
        config = TrainingConfig.model_validate({"hyperparameters": hyperparameters})
        self.plan: Plan = resolve(config, n_prompts=crowd.n_items, n_tasks=1, on_gpu=False, family=scorer.family)[0]
        self.batches = PromptBatches(crowd, scorer.encode_items(crowd), scorer.collate)
        self._optimizer = make_optimizer(scorer, channel, self.plan)
        self._order = self.batches.endless(np.arange(crowd.n_items), BATCH, seed=0)

    def seconds(self, batch: Batch) -> float:
        """CPU seconds of one step on a batch."""
        started = time.process_time()
        train_step(self.scorer, self.channel, self._optimizer, [batch], self.plan)
        return time.process_time() - started

    def labels_per_second(self, steps: int) -> float:
        """Labels learned from per CPU second, cutting the batches included."""
        labels, started = 0, time.process_time()
        for _ in range(steps):
            batch = self.batches.batch(next(self._order))
            train_step(self.scorer, self.channel, self._optimizer, [batch], self.plan)
            labels += len(batch.label)
        return labels / (time.process_time() - started)


def minilm() -> EncoderScorer:
    scorer = EncoderScorer.from_pretrained(locate("minilm"), LONGEST)
    scorer.start_answers([Task("default", ANSWERS)])
    return scorer


def one_coin() -> OneCoinChannel:
    cells = torch.ones(_N_ANNOTATORS, 1)
    return OneCoinChannel(0.8 * cells, 100.0 * cells, torch.tensor([float(len(ANSWERS))]))


class RowPerTriple:
    """Hugging Face's Trainer, which sees a prompt once for each of its labels."""

    def __init__(self, crowd: Annotations, folder: Path) -> None:
        base = locate("minilm")
        tokenizer = AutoTokenizer.from_pretrained(base)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(ANSWERS))
        texts = tokenizer(list(crowd.prompts or ()), truncation=True, max_length=LONGEST)
        triples = [
            {"input_ids": texts["input_ids"][item], "attention_mask": texts["attention_mask"][item], "labels": label}
            for item, label in zip(crowd.item.tolist(), crowd.label.tolist(), strict=True)
        ]
        self._make = lambda steps: Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=str(folder),
                per_device_train_batch_size=BATCH,
                max_steps=steps,
                use_cpu=True,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=triples,
            processing_class=tokenizer,  # pads each batch to its longest
        )

    def labels_per_second(self, steps: int) -> float:
        trainer = self._make(steps)  # type: ignore[no-untyped-call]
        started = time.process_time()
        trainer.train()
        return BATCH * steps / (time.process_time() - started)


def against_trainer(size: Size) -> Ratio:
    """Row 6."""
    crowd = labelled(_N_PROMPTS, size.per_item)
    ours = Steps(minilm(), PerfectChannel(), crowd, "marginal")
    with TemporaryDirectory(prefix="realm-speed-") as folder:
        theirs = RowPerTriple(crowd, Path(folder))
        ours.labels_per_second(2), theirs.labels_per_second(2)
        rates = in_turns(
            lambda: ours.labels_per_second(size.steps), lambda: theirs.labels_per_second(size.steps), size.rounds
        )
    note = f"loss per label grouped and row per row differ by {_loss_difference(crowd):.1e}"
    return Ratio(6, "training, labels per CPU second, against Trainer's", more_by(8), *rates, "/s", note)


@torch.no_grad()
def _loss_difference(crowd: Annotations) -> float:
    """Between the mean loss of a batch with its labels grouped, and of a row for each label."""
    scorer = minilm().eval()
    few = crowd.select_items(np.arange(BATCH))
    batches = PromptBatches(few, scorer.encode_items(few), scorer.collate)
    grouped = batches.batch(np.arange(BATCH))
    of_label = scorer(grouped.inputs)[grouped.prompt, grouped.label]
    encoded = scorer.encode_items(few)
    one_by_one = [
        scorer(scorer.collate([encoded[item]]))[0, label] for item, label in zip(few.item, few.label, strict=True)
    ]
    return abs(float(of_label.mean() - torch.stack(one_by_one).mean()))


def against_supervised(size: Size) -> Ratio:
    """Row 7: the same batches, each by one and by the other."""
    crowd = labelled(_N_PROMPTS, size.per_item)
    realm = Steps(minilm(), one_coin(), crowd, "joint")
    supervised = Steps(minilm(), PerfectChannel(), crowd, "marginal")
    items = list(realm.batches.sorted_by_size(np.arange(crowd.n_items), BATCH))
    batches = [realm.batches.batch(items[number % len(items)]) for number in range(0, 3 * size.steps * size.rounds, 3)]
    realm.seconds(batches[0]), supervised.seconds(batches[0])
    times = _total(realm, supervised, batches)
    return Ratio(7, "a REALM step, against a supervised one", at_most(1.02), *times, "s of CPU")


def _total(first: Steps, second: Steps, batches: Sequence[Batch]) -> tuple[float, float]:
    """CPU seconds of each on all batches, in turns batch by batch."""
    pairs = [(first.seconds(batch), second.seconds(batch)) for batch in batches]
    return sum(a for a, _ in pairs), sum(b for _, b in pairs)


def against_full_vocabulary(size: Size) -> Ratio:
    """Row 8."""
    scorer, whole = random_flan_t5(LONGEST), FullVocabulary(random_flan_t5(LONGEST))
    for one in (scorer, whole):
        one.start_answers([Task("default", ANSWERS)])
    scorer.learn_rows(len(ANSWERS))
    crowd = labelled(4 * BATCH, 1)
    ours = Steps(scorer, PerfectChannel(), crowd, "marginal")
    batch = ours.batches.batch(np.arange(BATCH))
    difference = _probability_difference(scorer, whole, batch)
    theirs = Steps(whole, PerfectChannel(), crowd, "marginal")
    ours.seconds(batch), theirs.seconds(batch)
    n = max(1, size.steps // 4)
    times = in_turns(
        lambda: sum(ours.seconds(batch) for _ in range(n)),
        lambda: sum(theirs.seconds(batch) for _ in range(n)),
        size.rounds,
    )
    note = f"probabilities renormalised over the answers differ by {difference:.0e}"
    return Ratio(
        8, "a Flan-T5-small step with the answers' rows, against all rows", faster_by(1.3), *times, "s of CPU", note
    )


@torch.no_grad()
def _probability_difference(scorer: Scorer, whole: Scorer, batch: Batch) -> float:
    """Between the softmax over the answers and that over the vocabulary, renormalised over the answers."""
    return float((scorer(batch.inputs).exp() - torch.softmax(whole(batch.inputs), dim=1)).abs().max())
