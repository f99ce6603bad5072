"""Work on a few rows at a time, so that intermediates stay in the processor's cache."""

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
    """Blocks of the same rows of tensors (..., any) or (...), views where these are contiguous; None stays None."""
    if is_one_block(first):
        yield first, *others
        return
    size, axis = max(1, BLOCK // first.shape[-1]), first.ndim - 1
    flat = (None if x is None else x.reshape(-1, *x.shape[axis:]) for x in (first, *others))
    yield from zip(*(repeat(None) if x is None else x.split(size) for x in flat))


def map_rows(function: Callable[..., Tensor], first: Tensor, *others: Tensor | None) -> Tensor:
    """``function(first, *others)`` of a function that takes each row by itself, in the shape and dtype of ``first``."""
    if is_one_block(first):
        return function(first, *others).to(first.dtype)
    out = first.new_empty(first.shape)
    for out_rows, *rows in blocks(out, first, *others):
        out_rows.copy_(function(*rows))
    return out
