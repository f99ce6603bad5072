"""Random numbers and writes to state that are the same in eager and in compiled code: torch does not look into them."""

import torch
from torch import Tensor


def seed_of(generator: torch.Generator | None) -> int:
    """The seed that ``generator`` was given; 0 without one."""
    return 0 if generator is None else generator.initial_seed()


@torch.library.custom_op("rotvq::uniform", mutates_args=())
def uniform(like: Tensor, seed: int, call: Tensor) -> Tensor:
    """Numbers of [0, 1), float32, in the shape of ``like``, from the seed and the 0-d integer ``call`` alone."""
    source = torch.Generator().manual_seed((seed * 1_000_003 + int(call)) % 2**32)
    return torch.rand(like.shape, generator=source).to(like.device)


@uniform.register_fake
def _(like, seed, call):
    return torch.empty_like(like, dtype=torch.float32)


@torch.library.custom_op("rotvq::copy_of", mutates_args=())
def _copy_of(value: Tensor) -> Tensor:
    return value.clone()


_copy_of.register_fake(torch.empty_like)


def write(state: Tensor, value: Tensor) -> None:
    """``state`` becomes ``value``, in place."""
    # A compiled backward pass may recompute what it needs of the forward pass from state that has been written since
    # (torch 2.13 does, and is wrong by one step). It cannot recompute an operator of ours, so the value is kept.
    state.copy_(_copy_of(value) if torch.compiler.is_compiling() else value)
