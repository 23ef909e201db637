"""Channels: how an annotator turns the truth into a label, π_r(l | y). From few parameters to many."""

from __future__ import annotations

from realm_core.channels.cells import OneCoinChannel, PerTaskChannel, ReadPrompts, ScalarChannel, SigmoidChannel
from realm_core.channels.confusion import ConfusionChannel
from realm_core.channels.likelihoods import mixture_log_likelihood, one_coin_log_likelihood
from realm_core.channels.perfect import PerfectChannel
from realm_core.channels.prompt import PromptChannel

Channel = SigmoidChannel | PerfectChannel
CHANNELS: dict[str, type[SigmoidChannel]] = {
    channel.name: channel for channel in (ScalarChannel, PerTaskChannel, OneCoinChannel, ConfusionChannel)
}  # those that need no more than counts to start from; a PromptChannel needs embeddings

__all__ = [
    "CHANNELS",
    "Channel",
    "ConfusionChannel",
    "OneCoinChannel",
    "PerTaskChannel",
    "PerfectChannel",
    "PromptChannel",
    "ReadPrompts",
    "ScalarChannel",
    "SigmoidChannel",
    "mixture_log_likelihood",
    "one_coin_log_likelihood",
]
