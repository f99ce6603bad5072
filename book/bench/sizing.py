"""What a training needs before it is started: memory, arithmetic, and a bound on its time. Estimates, no measurements.

Everything is counted on torch's meta device, where a tensor has a shape and no contents.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from book.bench.timing import peak_bytes, read_or_measure, stamp
from rotvq.training.config import Config
from rotvq.training.models import MODELS

SCHEMA = "peak-1"
FLOAT = 4  # bytes
STATES = {"weights": 1, "gradients": 1, "Adam": 2}  # float32 numbers held for each parameter


@dataclass(frozen=True)
class Card:
    """An accelerator by its data sheet: operations a second, bytes a second from memory, bytes of memory.

    Convolutions of float32 tensors run in TF32 unless torch is told otherwise, all other products in float32.
    """

    tf32: float
    float32: float
    bandwidth: float
    memory: float


H100 = Card(tf32=495e12, float32=67e12, bandwidth=3.35e12, memory=80e9)  # SXM, dense


@dataclass(frozen=True)
class Size:
    """encoder, decoder, codes: numbers. latents: (h, w, d). kept: bytes held from forward to backward, per image.

    flops, moved: operations, and bytes that every kernel reads and writes, of one training step per image. bound:
    seconds of that step per image if each kernel ran at the card's rate for operations or for bytes, whichever is
    slower.
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
        parameters = FLOAT * (self.encoder + self.decoder)
        return {name: count * parameters for name, count in STATES.items()} | {"activations": self.kept * images}


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
        self.flops, self.moved = self.flops + flops, self.moved + moved
        rate = self.card.tf32 if "convolution" in func.__name__ else self.card.float32
        self.bound += max(flops / rate, moved / self.card.bandwidth)
        return out


def kept_bytes(step: Callable, weights: Sequence[Tensor]) -> int:
    """Bytes that the graph of ``step()`` keeps for the backward pass, weights left out."""
    held, owned = {}, {w.untyped_storage()._cdata for w in weights}

    def pack(t: Tensor) -> Tensor:
        held[t.untyped_storage()._cdata] = t
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        graph = step()  # alive, so that no storage is used twice
    del graph
    return sum(t.untyped_storage().nbytes() for key, t in held.items() if key not in owned)


def size(config: Config, channels: int = 3, side: int = 256, images: int = 4, card: Card = H100, **options) -> Size:
    """Count what a training step of ``config`` takes for a batch of ``images``; ``options`` go to the model.

    The quantiser is left out of memory and bytes; its share of the operations, that of the lookup, is counted.
    """
    with torch.device("meta"):
        model, x = autoencoder(config, channels, **options), torch.empty(images, channels, side, side)
    kept = kept_bytes(lambda: loss(model, x), list(model.parameters()))
    with Work(card) as work:
        loss(model, x).backward()
    latents = tuple(model.encode(x[:1]).shape[1:])
    lookup = 2 * latents[0] * latents[1] * config.dim * config.codebook_size
    counts = [sum(p.numel() for p in part.parameters()) for part in (model.encoder, model.decoder)]
    return Size(
        *counts,
        config.codebook_size * config.dim,
        latents,
        kept / images,
        work.flops / images + lookup,
        work.moved / images,
        work.bound / images + lookup / card.float32,
    )


class _Shape(nn.Module):
    """All that a network asks of its quantiser."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim


def autoencoder(config: Config, channels: int = 3, **options) -> nn.Module:
    """Encoder and decoder of ``config``, on the current device, around no quantiser."""
    return MODELS[config.model](channels, _Shape(config.dim), norm=config.norm, **options)


def loss(model: nn.Module, x: Tensor) -> Tensor:
    """What is counted: forward through both, and the squared error."""
    return (model.decode(model.encode(x)) - x).square().mean()


def against_allocator(config: Config, side: int = 64, images: int = 2, **options) -> tuple[float, int]:
    """Bytes that the graph of one step is predicted to keep, and the peak that the CPU's allocator has in that step."""
    predicted = images * size(config, 3, side, images, **options).kept
    model, x = autoencoder(config, 3, **options), torch.rand(images, 3, side, side)
    return predicted, peak_bytes(lambda: loss(model, x).backward())


def peak(config: Config, folder: Path, **options) -> dict:
    """The record of :func:`against_allocator`, which takes a minute for a large network: read, or measured."""
    shape = {"model": config.model, "norm": config.norm, "dim": config.dim, **options}
    name = hashlib.sha256(json.dumps([SCHEMA, shape], sort_keys=True).encode()).hexdigest()[:16]

    def make() -> dict:
        began, load = time.perf_counter(), os.getloadavg()[0]
        result = dict(zip(("predicted", "peak"), against_allocator(config, **options)))
        return {"schema": SCHEMA, "id": name, "config": shape, "result": result, "provenance": stamp(began, load)}

    return read_or_measure(folder, SCHEMA, name, make)


# The paper's Table 1, from its text and its released code: github.com/cfifty/rotation_trick, commit 9910492

IMAGENET = 1_281_167  # training images
EPOCH = 10_000 * 16  # images after which src/train_utils/train_loop.py ends an "epoch", up to two batches
BATCH = 256
COMMON = {
    "data": "imagefolder:imagenet",
    "update": "ema",
    "decay": 0.8,
    "initial_count": 0.0,
    "gamma": 1.0,
    "optimizer": "adamw",
    "batch": BATCH,
}
NETWORKS = {
    "f = 16": {"model": "residual_f16", "dim": 32, "codebook_size": 1024, "steps": 25 * EPOCH // BATCH},
    "f = 4": {"model": "residual_f4", "dim": 3, "codebook_size": 8192, "steps": 20 * EPOCH // BATCH},
}
LOOKUPS = {
    "Euclid": {"lookup": "euclidean", "lr": 5e-5, "weight_decay": 0.0},
    "cosine": {"lookup": "cosine", "lr": 1e-4, "weight_decay": 1e-4},
}


def table_1(estimator: str = "rotation", seed: int = 0) -> dict[tuple[str, str], Config]:
    """(network, lookup) -> the nearest Config.

    Codes start uniform within sqrt(6 / (K d)), as Kaiming's rule has it for a K x d matrix. A LayerNorm stands before
    the cosine lookup at d = 32, and only there.
    """
    found = {}
    for network, shape in NETWORKS.items():
        scale = math.sqrt(6 * shape["codebook_size"] / shape["dim"])  # of U(-1/K, 1/K)
        for lookup, rates in LOOKUPS.items():
            norm = "latent" if lookup == "cosine" and shape["dim"] == 32 else "none"
            options = {**COMMON, **shape, **rates, "norm": norm, "init_scale": round(scale, 3)}
            found[network, lookup] = Config(**options, estimator=estimator, seed=seed)
    return found


def command(config: Config, processes: int, device: str = "cuda", records: str = "records") -> str:
    """The command line that trains one run on several cards of one machine."""
    changed = {f.name: getattr(config, f.name) for f in fields(config) if getattr(config, f.name) != f.default}
    options = changed | {"device": device, "records": records}
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())
    return f"torchrun --standalone --nproc-per-node={processes} -m rotvq train {flags}"
