"""Reductions over the ranks of torch.distributed; without it, one rank holds everything."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed


def world() -> tuple[int, int]:
    """This process's rank and the number of ranks."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def sum_over_ranks(x: Tensor) -> Tensor:
    """``x`` summed over ranks, in place."""
    if world()[1] > 1:
        distributed.all_reduce(x)
    return x


def mean_over_ranks(x: Tensor) -> Tensor:
    """The mean of ``x`` over ranks."""
    return sum_over_ranks(x.detach().clone()) / world()[1]


def sum_before_rank(count: Tensor) -> tuple[Tensor, Tensor]:
    """Of a 0-d count that each rank has: its sum over the ranks before this one, and over all."""
    rank, size = world()
    if size == 1:
        return torch.zeros_like(count), count
    counts = count.new_zeros(size)
    counts[rank] = count
    sum_over_ranks(counts)
    return counts[:rank].sum(), counts.sum()


def broadcast(x: Tensor) -> Tensor:
    """``x`` as rank 0 has it, in place."""
    if world()[1] > 1:
        distributed.broadcast(x, 0)
    return x


def gather_objects(value: Any) -> list:
    """What each rank has, in rank order."""
    parts = [value] * world()[1]
    if len(parts) > 1:
        distributed.all_gather_object(parts, value)
    return parts


def gather_rows(x: Tensor) -> Tensor:
    """The rows of every rank, in rank order, on the CPU; ranks may hold different numbers of rows."""
    return torch.cat(gather_objects(x.cpu()))


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Give every parameter the mean of its gradients over ranks, in one message."""
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
