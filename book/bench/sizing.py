"""What a training needs before it is started: memory, arithmetic, and a bound on its time.

These are estimates, counted on torch's meta device, where a tensor has a shape and no contents.
:func:`against_allocator` compares the memory with a measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from book.bench.records import read_or_measure
from book.bench.timing import peak_bytes
from rotvq.training.config import Config
from rotvq.training.models import MODELS

SCHEMA = "peak-1"
FLOAT_BYTES = 4
STATES = {"weights": 1, "gradients": 1, "Adam": 2}  # float32 numbers held for each parameter


@dataclass(frozen=True)
class Card:
    """An accelerator by its data sheet.

    Convolutions of float32 tensors run in TF32 unless torch is told otherwise, all other products in float32.

    Args:
        tf32: operations a second in TF32.
        float32: operations a second in float32.
        bandwidth: bytes a second from memory.
        memory: bytes.
    """

    tf32: float
    float32: float
    bandwidth: float
    memory: float


H100 = Card(tf32=495e12, float32=67e12, bandwidth=3.35e12, memory=80e9)  # SXM, dense


@dataclass(frozen=True)
class Size:
    """What a training step needs.

    Args:
        encoder, decoder: numbers of parameters.
        codes: numbers in the codebook.
        latents: (h, w, d) of an image.
        kept: bytes held from forward to backward, per image.
        flops: operations of a step, per image.
        moved: bytes that the kernels of a step read and write, per image.
        bound: seconds of a step, per image, if each kernel ran at the card's rate for operations or for bytes,
            whichever is slower.
    """

    encoder: int
    decoder: int
    codes: int
    latents: tuple[int, int, int]
    kept: float
    flops: float
    moved: float
    bound: float

    def memory(self, images: int) -> dict[str, float]:
        """Bytes on one card that takes so many images of each batch."""
        parameters = FLOAT_BYTES * (self.encoder + self.decoder)
        states = {name: numbers * parameters for name, numbers in STATES.items()}
        return {**states, "activations": self.kept * images}


class Work(TorchDispatchMode):
    """Adds up operations, bytes and seconds of the kernels that run within it; views cost nothing."""

    def __init__(self, card: Card):
        super().__init__()
        self.card, self.flops, self.moved, self.bound = card, 0.0, 0.0, 0.0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.is_view:
            return out
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
        moved = sum({id(t): t.numel() * t.element_size() for t in tensors}.values())
        count = flop_registry.get(func._overloadpacket)
        flops = count(*args, **(kwargs or {}), out_val=out) if count else 0
        rate = self.card.tf32 if "convolution" in func.__name__ else self.card.float32
        self.flops += flops
        self.moved += moved
        self.bound += max(flops / rate, moved / self.card.bandwidth)
        return out


def kept_bytes(step: Callable, weights: Sequence[Tensor]) -> int:
    """Bytes that the graph of ``step()`` keeps for the backward pass, weights left out."""
    held: dict[int, Tensor] = {}
    of_weights = {w.untyped_storage()._cdata for w in weights}

    def note(t: Tensor) -> Tensor:
        held[t.untyped_storage()._cdata] = t
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        graph = step()  # alive, so that no storage is used twice
    del graph
    return sum(t.untyped_storage().nbytes() for storage, t in held.items() if storage not in of_weights)


def size(config: Config, channels: int = 3, side: int = 256, images: int = 4, card: Card = H100, **options) -> Size:
    """Count what a training step of ``config`` needs.

    The quantiser is left out of memory and bytes; of its operations, those of the lookup are counted.

    Args:
        config: the run.
        channels: of an image.
        side: of an image, in pixels; it is square.
        images: the batch that is counted.
        card: whose rates bound the time.
        **options: of the model.
    """
    with torch.device("meta"):
        model, x = autoencoder(config, channels, **options), torch.empty(images, channels, side, side)
    kept = kept_bytes(lambda: loss(model, x), list(model.parameters()))
    with Work(card) as work:
        loss(model, x).backward()
    height, width, dim = model.encode(x[:1]).shape[1:]
    lookup = 2 * height * width * config.dim * config.codebook_size
    return Size(
        encoder=sum(p.numel() for p in model.encoder.parameters()),
        decoder=sum(p.numel() for p in model.decoder.parameters()),
        codes=config.codebook_size * config.dim,
        latents=(height, width, dim),
        kept=kept / images,
        flops=work.flops / images + lookup,
        moved=work.moved / images,
        bound=work.bound / images + lookup / card.float32,
    )


class _NoQuantizer(nn.Module):
    """All that a network asks of its quantiser."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim


def autoencoder(config: Config, channels: int = 3, **options) -> nn.Module:
    """Encoder and decoder of ``config``, on the current device, without a quantiser."""
    return MODELS[config.model](channels, _NoQuantizer(config.dim), norm=config.norm, **options)


def loss(model: nn.Module, x: Tensor) -> Tensor:
    """What is counted: forward through both, and the squared error."""
    return (model.decode(model.encode(x)) - x).square().mean()


def against_allocator(config: Config, side: int = 64, images: int = 2, **options) -> dict[str, float]:
    """``predicted``, bytes that the graph of one step keeps, and ``peak``, the CPU allocator's in that step."""
    predicted = images * size(config, 3, side, images, **options).kept
    model, x = autoencoder(config, 3, **options), torch.rand(images, 3, side, side)
    return {"predicted": predicted, "peak": peak_bytes(lambda: loss(model, x).backward())}


def record(config: Config, folder: Path, **options) -> dict:
    """The record of :func:`against_allocator`: read, or measured (a minute for a large network) and written."""
    shape = {"model": config.model, "norm": config.norm, "dim": config.dim, **options}
    return read_or_measure(folder, SCHEMA, shape, lambda: against_allocator(config, **options))
