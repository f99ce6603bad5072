"""Work on a few rows at a time, so that intermediates stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat

import torch
from torch import Tensor

BLOCK = 1 << 17  # numbers at a time


def is_one_block(x: Tensor) -> bool:
    """Whether to take all rows at once: they are few, or on another device, or autograd or a compiler records them."""
    recorded = torch.is_grad_enabled() or torch.compiler.is_compiling()
    return recorded or x.device.type != "cpu" or x.numel() <= BLOCK


def blocks(first: Tensor, *others: Tensor | None) -> Iterator[tuple[Tensor | None, ...]]:
    """Split tensors (..., any) into blocks of the same rows.

    Args:
        first: decides how many rows make a block.
        others: tensors with as many rows as ``first``, or None.

    Yields:
        A block of each, (rows, any), views where the tensors are contiguous; None for None.
    """
    if is_one_block(first):
        yield first, *others
        return
    size = max(1, BLOCK // first.shape[-1])
    yield from zip(*(repeat(None) if x is None else x.reshape(-1, x.shape[-1]).split(size) for x in (first, *others)))


def map_rows(function: Callable[..., Tensor], first: Tensor, *others: Tensor | None) -> Tensor:
    """``function(first, *others)`` of a function that takes each row by itself, in the shape and dtype of ``first``."""
    if is_one_block(first):
        return function(first, *others).to(first.dtype)
    out = first.new_empty(first.shape)
    for out_rows, *rows in blocks(out, first, *others):
        out_rows.copy_(function(*rows))
    return out
