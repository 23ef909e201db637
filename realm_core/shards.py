"""A model of which every process of a team holds a part: fully sharded data parallelism (FSDP).

Weights, gradients and the optimiser's moments are cut into as many parts as there are processes. A layer is put
together just before it is used and taken apart after. The numbers are those of one process; only the memory is less.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import Parameter

if TYPE_CHECKING:
    from realm_core.scorers.scorer import Scorer


def shard(scorer: Scorer, device: torch.device, *, first: bool) -> Scorer:
    """A copy of the first process's scorer that trains in parts, one on the device of each process.

    The scorer itself rests in the first process's main memory until the weights that were learned are put back, and is
    emptied in the others. What is learned beside the pretrained model (a few vectors and a scale) stays whole.
    """
    from torch.distributed import get_world_size
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    scorer.cpu()
    for parameter in scorer.parameters():
        parameter.data.copy_(_as_first_says(parameter.data.to(device)))
    learner = copy.deepcopy(scorer)
    if not first:
        scorer.to("meta")
    apart = learner.answer_parameters()
    for parameter in apart:
        parameter.data = parameter.data.to(device)
        parameter.register_post_accumulate_grad_hook(_average_gradient)  # type: ignore[no-untyped-call]
    mesh = init_device_mesh(device.type, (get_world_size(),))
    layers = set(getattr(learner.model, "_no_split_modules", None) or ())
    for module in list(learner.model.modules()):
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh)
    fully_shard(learner, mesh=mesh, ignored_params=set(apart))
    return learner


def whole(tensor: Tensor) -> Tensor:
    """All parts of a tensor together; every process has to ask for it."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def part_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, cut as `like` is."""
    mesh = getattr(like, "device_mesh", None)
    if mesh is None or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(tensor.to(like.device), mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def clip_gradients(parameters: Iterable[Parameter], largest: float) -> None:
    """Scale all gradients down together, to a norm of at most `largest`; some may be in parts, others whole."""
    learning = [parameter for parameter in parameters if parameter.grad is not None]
    in_parts = [parameter for parameter in learning if hasattr(parameter, "full_tensor")]
    kinds = [in_parts, [parameter for parameter in learning if not hasattr(parameter, "full_tensor")]]
    norms = [
        whole(torch.nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None])) for kind in kinds if kind
    ]
    total = torch.linalg.vector_norm(torch.stack(norms))
    for kind in filter(None, kinds):
        torch.nn.utils.clip_grads_with_norm_(kind, largest, total)


def _as_first_says(tensor: Tensor) -> Tensor:
    torch.distributed.broadcast(tensor, 0)
    return tensor


def _average_gradient(parameter: Tensor) -> None:
    """Do for a whole parameter what sharding does for the others. Averaged twice is averaged."""
    if parameter.grad is not None:
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= torch.distributed.get_world_size()
