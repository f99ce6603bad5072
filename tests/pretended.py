"""A pretended device, for machines without one: tensors there hold tensors of the CPU, and say that they are elsewhere.

The CPU computes what is computed there. As on a GPU an operation raises where tensors of the CPU and of the device
meet, and where a generator of the CPU draws there; allowed are copies, single numbers, and indices of the CPU. Whether
a GPU has every operation, and how it rounds, this does not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("mps", 0)  # a kind that torch knows, and does not start where it is named
INDEX, COPY, COPY_TO = torch.ops.aten.index.Tensor, torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default


class There(Tensor):
    """A tensor on the device, whose numbers are in ``inner``."""

    device, is_meta = DEVICE, False
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor):
        kept = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        return Tensor._make_wrapper_subclass(cls, inner.size(), device="meta", **kept)

    def __init__(self, inner: Tensor):
        self.inner = inner

    def new_tensor(self, data: Any, **options) -> Tensor:
        return torch.tensor(data, dtype=options.get("dtype", self.dtype)).to(DEVICE)

    def tolist(self) -> list:
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return computed(operation, args, kwargs or {})


def computed(operation: Callable, args: tuple, kwargs: dict) -> Any:
    """What an operation gives, there if a tensor of it is there or it is asked for there."""
    leaves = tree_leaves((args, kwargs))
    there = {id(leaf.inner): leaf for leaf in leaves if isinstance(leaf, There)}
    here = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, There) and leaf.ndim]
    may_meet = operation in (COPY, COPY_TO) or (operation is INDEX and isinstance(args[0], There))
    if there and here and not may_meet:
        raise RuntimeError(f"{operation}: tensors of the CPU, {[tuple(one.shape) for one in here]}, and of the device")
    goes = bool(there)
    if kwargs.get("device") is not None:
        goes = torch.device(kwargs["device"]).type in (DEVICE.type, "meta")
        kwargs = kwargs | {"device": torch.device("cpu")}
    elif operation is COPY:
        goes = isinstance(args[0], There)
    if goes and any(isinstance(leaf, torch.Generator) for leaf in leaves):
        raise RuntimeError(f"{operation}: a generator of the CPU, and tensors of the device")
    args, kwargs = tree_map(lambda leaf: leaf.inner if isinstance(leaf, There) else leaf, (args, kwargs))
    found = operation(*args, **kwargs)
    if not goes:
        return found
    return tree_map(lambda one: put(one, there) if isinstance(one, Tensor) else one, found)


def put(inner: Tensor, known: dict[int, There]) -> There:
    """The tensor of the device with these numbers: one that is known by their id where an operation gave it back."""
    return known[id(inner)] if id(inner) in known else There(inner)


class Pretended(TorchDispatchMode):
    """Where it is entered :data:`DEVICE` can be named."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return computed(operation, args, kwargs or {})


@contextmanager
def pretended() -> Iterator[str]:
    """The name of a device that is there; every optimiser must work on it."""

    def check(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        left = [p for group in optimizer.param_groups for p in group["params"] if not isinstance(p, There)]
        assert not left, f"{len(left)} parameters of an optimiser are on the CPU"

    hook, made_here = register_optimizer_step_pre_hook(check), torch.tensor

    def tensor(data: Any, *, device: str | torch.device | None = None, **options) -> Tensor:
        values = tree_map(lambda one: one.item() if isinstance(one, There) else one, data)
        return made_here(values, **options).to(device)  # torch's own passes the mode by

    try:
        with Pretended(), patch("torch.tensor", tensor):
            yield str(DEVICE)
    finally:
        hook.remove()


def same_attention():
    """One way to compute attention, there and here."""
    return sdpa_kernel(SDPBackend.MATH)
