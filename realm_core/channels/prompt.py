"""Expertise that depends on the prompt (paper, Eq. 5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from realm_core.channels.cells import PRIOR_STRENGTH, ReadPrompts, ScalarChannel
from realm_core.channels.likelihoods import mixture_log_likelihood

DENSE_ANNOTATORS = 512  # up to so many, one matrix product for all annotators and prompts is faster than a gather
SKILL_DEVIATION = 2.0  # prior standard deviation of ⟨z, u_r⟩: from σ(−2) = .12 to σ(2) = .88 around an even chance
READER_PENALTY = 1e-3  # of the reader's weights, in shares of the mean variance of an embedding's coordinates


class PromptChannel(ScalarChannel):
    """Eq. 5: knows the answer with probability w = σ(b_r + ⟨z(x), u_r⟩), else guesses uniformly.

    `logit` (R, 1) holds the biases b_r; `skill` (R, D) the vectors u_r, zero at first, so that training starts from the
    scalar channel. With one-hot z this is `per_task`, with z = 1 `scalar`.

    z(x) is what the *pretrained* model makes of the prompt (`realm_core.topics`), fixed while training. Fine-tuning
    keeps of a prompt what tells its answer and drops what it is about; and with a z that learns, the model would hide
    the annotators' noise in it. The fine-tuned model's embeddings e of new prompts are turned into z by `reader`
    (E + 1, D), z = (e, 1)·reader at unit length, fitted once training is over.

    Learned by gradient: EM has no closed form for u. `met` (R, T) is the mean accuracy over the prompts that each
    annotator labelled, once `settle` has been told of them.
    """

    name = "prompt"
    skill: nn.Parameter
    reader: Tensor
    met: Tensor

    def __init__(
        self,
        probability: Tensor,
        label_count: Tensor,
        n_answers: Tensor,
        pooling: float = PRIOR_STRENGTH,
        *,
        z_size: int,
        embedding_size: int,
    ) -> None:
        super().__init__(probability, label_count, n_answers, pooling)
        self.skill = nn.Parameter(torch.zeros(len(probability), z_size))
        self.register_buffer("reader", torch.zeros(embedding_size + 1, z_size))
        self.register_buffer("met", super().accuracy())

    def weight_logit(self, annotator: Tensor, prompts: ReadPrompts) -> Tensor:
        """b_r + ⟨z(x), u_r⟩ of each label; no gradient reaches z. (M,) -> (M,)

        Few annotators: one product of all of them with all prompts, read where there is a label. Many: only the pairs
        that have one, since most of the product would be thrown away.
        """
        z = prompts.z.detach()
        if len(self.skill) <= DENSE_ANNOTATORS:
            known = (z @ self.skill.T)[prompts.prompt, annotator]
        else:
            known = (z[prompts.prompt] * self.skill[annotator]).sum(1)
        return self.logit[annotator, 0] + known

    def log_likelihood(
        self, annotator: Tensor, label: Tensor, task: int, n_answers: Tensor, prompts: ReadPrompts | None = None
    ) -> Tensor:
        if prompts is None:
            raise ValueError("the channel `prompt` has to be told what the prompts are")
        return mixture_log_likelihood(self.weight_logit(annotator, prompts), label, n_answers)

    def learning_rates(self, rate: float) -> list[tuple[nn.Parameter, float]]:
        """AdamW moves every one of D coordinates by its rate; the product with a unit vector then moves by √D of it."""
        return [(self.logit, rate), (self.skill, rate / math.sqrt(self.skill.shape[1]))]

    def log_prior(self) -> Tensor:
        """The scalar channel's, and u_r ~ N(0, SKILL_DEVIATION²)."""
        return super().log_prior() - (self.skill**2).sum() / (2 * SKILL_DEVIATION**2)

    def accuracy(self) -> Tensor:
        return self.met

    @torch.no_grad()
    def settle(self, annotator: Tensor, task: Tensor, n_answers: Tensor, prompts: ReadPrompts) -> None:
        """Average the accuracy w + (1 − w)/K over the labels of each (annotator, task). All (L,)

        A cell without labels keeps the accuracy of the bias alone.
        """
        w = torch.sigmoid(self.weight_logit(annotator, prompts))
        cell = annotator * self.met.shape[1] + task
        zeros = torch.zeros(self.met.numel(), device=w.device)
        total = zeros.index_add(0, cell, w + (1 - w) / n_answers)
        count = zeros.index_add(0, cell, torch.ones_like(w))
        mean = (total / count.clamp(min=1.0)).view_as(self.met)
        self.met.copy_(torch.where(count.view_as(self.met) > 0, mean, super().accuracy()))

    @torch.no_grad()
    def fit_reader(self, embedding: Tensor, z: Tensor) -> None:
        """Learn by ridge regression what z the prompts of these embeddings have. embedding (N, E), z (N, D)."""
        embedding, z = embedding.double(), z.double()
        mean = embedding.mean(0)
        centred = embedding - mean
        squares = centred.T @ centred
        penalty = READER_PENALTY * squares.diagonal().mean().clamp(min=1e-12)
        weights = torch.linalg.solve(squares + penalty * torch.eye(len(squares), device=z.device), centred.T @ z)
        self.reader.copy_(torch.cat([weights, (z.mean(0) - mean @ weights)[None]]))

    def read(self, embedding: Tensor) -> Tensor:
        """z of new prompts, from the fine-tuned model's embeddings. (B, E) -> (B, D)"""
        return nn.functional.normalize(embedding.float() @ self.reader[:-1] + self.reader[-1], dim=1)
