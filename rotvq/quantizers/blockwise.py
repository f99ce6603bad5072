"""Some rows at a time: on a CPU what lies between two passes over them then stays in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat

import torch
from torch import Tensor

BLOCK = 1 << 17  # numbers at a time


def recorded() -> bool:
    """Whether a graph is recorded: then nothing is written in place."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling()


def scaled(fresh: Tensor, factor: Tensor) -> Tensor:
    """``fresh * factor`` of a tensor that nobody else holds, in its memory."""
    if recorded():
        return fresh * factor
    try:
        return fresh.mul_(factor)
    except RuntimeError:  # several factors at once, under vmap
        return fresh * factor


def is_one_block(x: Tensor) -> bool:
    """Whether to take all rows at once: few, on another device, or while a graph is recorded."""
    return recorded() or x.device.type != "cpu" or x.numel() <= BLOCK


def blocks(first: Tensor, *others: Tensor | None) -> Iterator[tuple[Tensor | None, ...]]:
    """The rows of tensors (..., any), the same of each; None stays None."""
    if is_one_block(first):
        yield first, *others
        return
    size = max(1, BLOCK // first.shape[-1])
    yield from zip(*(repeat(None) if x is None else x.reshape(-1, x.shape[-1]).split(size) for x in (first, *others)))


def map_rows(function: Callable[..., Tensor], first: Tensor, *others: Tensor | None) -> Tensor:
    """``function(first, *others)``, which takes each row by itself; shape and dtype are those of ``first``."""
    if is_one_block(first):
        return function(first, *others).to(first.dtype)
    out = first.new_empty(first.shape)
    for rows, *rest in blocks(out, first, *others):
        rows.copy_(function(*rest))
    return out
