"""Reductions over the ranks of a process group; without one, this process holds everything.

A group is a ``torch.distributed.ProcessGroup``, "world" (all ranks, where torch.distributed is initialised), or None:
this process alone.
"""

import os
import warnings
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


class Shared:
    """A group as an attribute of a module: a copy has the same, a file "world" for all ranks and otherwise none."""

    def __init__(self, group: Group):
        self.group = group

    def __deepcopy__(self, memo: dict) -> "Shared":
        return self

    def __reduce__(self) -> tuple:
        if self.group not in (None, WORLD) and self.group is not process_group(WORLD):
            warnings.warn("a file cannot hold a ProcessGroup: set process_group again after loading", stacklevel=2)
            return Shared, (None,)
        return Shared, (None if self.group is None else WORLD,)


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


def _fsdp_states() -> list:
    """The states of FSDP2's modules, for which torch has no public way to ask."""
    if process_group(WORLD) is None:
        return []
    from torch.distributed._composable_state import _module_state_mapping as references

    return [state for state in (reference() for reference in references.values()) if hasattr(state, "_state_ctx")]


def is_fsdp_calling() -> bool:
    """Whether the forward pass of a module of FSDP2 is running."""
    return any(state._state_ctx.iter_forward_root is not None for state in _fsdp_states())


is_fsdp_calling._dynamo_marked_constant = True  # as torch.compiler.assume_constant_result, which imports the compiler


def is_sharded(x: Tensor) -> bool:
    """Whether x is a parameter that FSDP2 gathers for the forward pass alone, so that a write to it is lost."""
    if torch.compiler.is_compiling():  # a compiler does not show which parameters those are
        return isinstance(x, torch.nn.Parameter) and is_fsdp_calling()
    groups = [group for state in _fsdp_states() for group in getattr(state, "_fsdp_param_groups", ())]
    return any(x is getattr(owner, "_unsharded_param", None) for group in groups for owner in group.fsdp_params)


def refuse_lost_writes(codes: Tensor, group: Group) -> None:
    """Raise RuntimeError where FSDP2 would lose what is written to the codes, or each rank would write its own."""
    if is_sharded(codes):
        raise RuntimeError(
            "a start from latents, or a revival, of codes that FSDP shards would be lost: use update='ema', or "
            "revival='none', and start before fully_shard, by a training call of all ranks with process_group='world'"
        )
    if group is None and world()[1] > 1 and is_fsdp_calling():
        raise RuntimeError(
            "process_group is None: under FSDP each rank's codes would go their own way; give it 'world'"
        )


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
