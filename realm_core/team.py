"""Several processes that train one model, each on its share of every batch.

`accelerate launch` (or torchrun) starts the same program once per device; without it a program trains alone. Whatever
the number, a step is the same: the gradients, the statistics of EM and the losses of all shares are added up. Each
process holds the whole model (DDP), or a part of it (FSDP, `realm_core.shards`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from realm_core.scorers.scorer import Scorer

T = TypeVar("T")
PATIENCE = timedelta(hours=12)  # for the first process, which prepares what the others wait for


class Team:
    """The processes of one job, of which this is number `rank` of `size`.

    `in_parts`: each holds a part of the model.
    """

    def __init__(self, accelerator: Any | None = None, *, in_parts: bool = False) -> None:
        self._accelerator = accelerator
        self.in_parts = in_parts and accelerator is not None
        self.rank: int = 0 if accelerator is None else accelerator.process_index
        self.size: int = 1 if accelerator is None else accelerator.num_processes

    @classmethod
    def join(cls, *, in_parts: bool = False) -> Team:
        """The team that this process was started in, by the variables that launchers set."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

        unused = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
        waiting = InitProcessGroupKwargs(timeout=PATIENCE)
        return cls(
            Accelerator(
                cpu=not torch.cuda.is_available(),
                mixed_precision="no",  # scorers choose it themselves: never fp16
                kwargs_handlers=[unused, waiting],
            ),
            in_parts=in_parts,
        )

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that tells, reports and saves."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        if self._accelerator is not None:
            return torch.device(self._accelerator.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def wrap(self, scorer: Scorer) -> tuple[nn.Module, Scorer]:
        """The scorer as it is called in training, which averages gradients, and the one whose weights learn.

        Both start everywhere from the first process's weights. In parts they are a copy of the scorer.
        """
        if self._accelerator is None:
            return scorer, scorer
        if self.in_parts:
            from realm_core.shards import shard

            learner = shard(scorer, self.device, first=self.is_first)
            return learner, learner
        return self._accelerator.prepare_model(scorer), scorer

    @property
    def keeps_weights(self) -> bool:
        """Whether this process keeps copies of all weights: of a model in parts, one process's are enough."""
        return self.is_first or not self.in_parts

    def bring_back(self, scorer: Scorer) -> None:
        """Put the scorer of the first process back on its device, once training is over."""
        if self.in_parts and self.is_first:
            scorer.to(self.device)

    def share(self, items: NDArray[Any]) -> NDArray[Any]:
        """This process's part of a batch; may be empty."""
        return items[self.rank :: self.size]

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self._accelerator is None:
            return values
        added: Tensor = self._accelerator.reduce(values, reduction="sum")
        return added

    def average_gradients(self, module: nn.Module) -> None:
        """Do for the gradients of another module what `wrap` does for a scorer's."""
        if self._accelerator is None:
            return
        for parameter in module.parameters():
            mine = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = self.total(mine) / self.size

    def as_first_says(self, value: T) -> T:
        """The first process's value, in all of them."""
        return self.made_by_first(lambda: value)

    def made_by_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, given to all; the others wait."""
        if self._accelerator is None:
            return make()
        from accelerate.utils import broadcast_object_list

        made = [make() if self.is_first else None]
        broadcast_object_list(made)
        value: Any = made[0]
        return value  # type: ignore[no-any-return]


ALONE = Team()
