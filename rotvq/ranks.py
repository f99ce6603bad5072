"""Reductions over the ranks of torch.distributed; without it, one rank holds everything."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def world() -> tuple[int, int]:
    """This process's rank and the number of ranks."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def total(x: Tensor) -> Tensor:
    """``x`` summed over ranks, in place."""
    if world()[1] > 1:
        distributed.all_reduce(x)
    return x


def before(count: Tensor) -> tuple[Tensor, Tensor]:
    """Of a 0-d count that each rank has: its sum over the ranks before this one, and over all."""
    rank, size = world()
    if size == 1:
        return torch.zeros_like(count), count
    counts = count.new_zeros(size)
    counts[rank] = count
    total(counts)
    return counts[:rank].sum(), counts.sum()


def gather(x: Tensor) -> Tensor:
    """The rows of every rank, in rank order, on the CPU; ranks may hold different numbers of rows."""
    size = world()[1]
    if size == 1:
        return x.cpu()
    parts = [None] * size
    distributed.all_gather_object(parts, x.cpu())
    return torch.cat(parts)


def broadcast(x: Tensor) -> Tensor:
    """``x`` as rank 0 has it, in place."""
    if world()[1] > 1:
        distributed.broadcast(x, 0)
    return x
