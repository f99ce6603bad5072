"""Reductions over the ranks of a process group; without one, this process holds everything.

A group is a ``torch.distributed.ProcessGroup``, "world" (all ranks, where torch.distributed is initialised), or None:
this process alone.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed

WORLD = "world"
Group = Any  # torch.distributed.ProcessGroup, which is not there in every build of torch, "world" or None


def process_group(group: Group) -> Any:
    """The ``ProcessGroup`` of a group; None where this process is alone."""
    if group != WORLD:
        return group
    return distributed.group.WORLD if distributed.is_available() and distributed.is_initialized() else None


def group_of_call(given: Group) -> Group:
    """The group whose ranks share a call: the one given, else that of the DistributedDataParallel that is calling."""
    if given is not None or not distributed.is_available() or not distributed.is_initialized():
        return given
    calling = torch.nn.parallel.DistributedDataParallel._active_ddp_module
    return None if calling is None else calling.process_group


def world(group: Group = WORLD) -> tuple[int, int]:
    """This process's rank in the group and the number of ranks."""
    members = process_group(group)
    return (0, 1) if members is None else (distributed.get_rank(members), distributed.get_world_size(members))


def sum_over_ranks(x: Tensor, group: Group = WORLD) -> Tensor:
    """``x`` summed over ranks, in place."""
    if world(group)[1] > 1:
        distributed.all_reduce(x, group=process_group(group))
    return x


def mean_over_ranks(x: Tensor) -> Tensor:
    """The mean of ``x`` over all ranks."""
    return sum_over_ranks(x.detach().clone()) / world()[1]


def sum_before_rank(count: Tensor, group: Group = WORLD) -> tuple[Tensor, Tensor]:
    """Of a 0-d count that each rank has: its sum over the ranks before this one, and over all."""
    rank, size = world(group)
    if size == 1:
        return torch.zeros_like(count), count
    counts = count.new_zeros(size)
    counts[rank] = count
    sum_over_ranks(counts, group)
    return counts[:rank].sum(), counts.sum()


def broadcast(x: Tensor, group: Group = WORLD) -> Tensor:
    """``x`` as the first rank has it, in place."""
    if world(group)[1] > 1:
        members = process_group(group)
        distributed.broadcast(x, distributed.get_global_rank(members, 0), group=members)
    return x


def gather_objects(value: Any, group: Group = WORLD) -> list:
    """What each rank has, in rank order."""
    parts = [value] * world(group)[1]
    if len(parts) > 1:
        distributed.all_gather_object(parts, value, group=process_group(group))
    return parts


def gather_rows(x: Tensor, group: Group = WORLD) -> Tensor:
    """The rows of every rank, in rank order; ranks may hold different numbers of rows."""
    if world(group)[1] == 1:
        return x
    return torch.cat(gather_objects(x.cpu(), group)).to(x.device)


def is_sharded(parameter: Tensor) -> bool:
    """Whether FSDP2 gathers this parameter for the forward pass alone, so that a write to it is lost."""
    if world()[1] == 1:
        return False
    from torch.distributed._composable_state import _module_state_mapping  # torch has no public way to ask

    states = [reference() for reference in _module_state_mapping.values()]
    groups = [group for state in states for group in getattr(state, "_fsdp_param_groups", ())]
    return any(parameter is getattr(owner, "_unsharded_param", None) for group in groups for owner in group.fsdp_params)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Give every parameter the mean of its gradients over all ranks, in one message."""
    if world()[1] == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    means = mean_over_ranks(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, mean in zip(gradients, means.split([gradient.numel() for gradient in gradients])):
        gradient.copy_(mean.view_as(gradient))


@contextmanager
def join_process_group(device: str) -> Iterator[str]:
    """Join the ranks that ``torchrun`` started and give this rank's device; started otherwise, one rank is all."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield device
        return
    cuda = device.startswith("cuda")
    if cuda:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield device
    finally:
        distributed.destroy_process_group()
