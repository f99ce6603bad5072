"""What a step of a quantiser costs, against other quantisers and against a floor, cell by cell.

A cell is a size and the arms measured at it; its record is one file, whole or absent, so a killed benchmark goes on
where it stopped. The arms of a cell take turns in one process, and what is compared are ratios within a turn: what
slows the machine for a while slows both sides. A time is that of forward and backward together, see
:mod:`book.bench.timing`.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from book.bench.timing import interleave, keep_memory, peak_bytes, read_or_measure, seconds, stamp
from rotvq.quantizers.estimators import rotate, straight_through
from rotvq.quantizers.lookup import nearest
from rotvq.quantizers.vector import VectorQuantizer
from rotvq.training.models import VQVAE

SCHEMA = "cost-1"
LIMIT = 4e9  # bytes: an arm predicted to need more is not run
TOKENS = 49  # latents of an image in a training step


@dataclass(frozen=True)
class StepCase:
    """kind: "step" (lookup, estimator and losses on n latents), "estimator" (alone, its codes looked up before) or
    "training" (a step of Adam on the book's network, n latents in the batch). d: dimension. k: codes. arms: keys of
    :data:`ARMS`; the first that could be run is what the others are compared with.
    """

    kind: str
    n: int
    d: int
    k: int
    arms: tuple[str, ...]
    threads: int = 1
    device: str = "cpu"
    dtype: str = "float32"

    @property
    def id(self) -> str:
        return hashlib.sha256(json.dumps([SCHEMA, asdict(self)], sort_keys=True).encode()).hexdigest()[:16]


def peers():
    """The modules of the floor and of the other quantisers, which need packages of the extra `test`."""
    from book.bench.peers import floor, quantizers

    return floor, quantizers


# arms: each makes, from a cell and its tensors, a function without arguments that does the work once


def _ours(compiled: bool = False, **options) -> Callable:
    return _module(lambda codes: VectorQuantizer(codes.shape[1], len(codes), init=codes, **options), compiled)


def _other(name: str, *arguments) -> Callable:
    return _module(lambda codes: getattr(peers()[1], name)(codes, *arguments))


def _module(build: Callable[[Tensor], torch.nn.Module], compiled: bool = False) -> Callable:
    def make(cell: StepCase, z: Tensor, g: Tensor, codes: Tensor) -> Callable:
        if cell.kind == "training":
            return _training(cell, build(codes.cpu()).to(z.device), z)
        quantizer = build(codes.cpu()).to(z.device)
        call = torch.compile(quantizer, fullgraph=True, dynamic=False) if compiled else quantizer

        def step():
            latents = z.detach().requires_grad_()
            quantizer.zero_grad(set_to_none=True)
            z_q, indices, loss = call(latents)
            torch.autograd.backward([z_q, loss], [g.to(z_q.dtype), None])
            return z_q, indices, latents.grad

        return step

    return make


def _training(cell: StepCase, quantizer: torch.nn.Module, images: Tensor) -> Callable:
    model = VQVAE(1, quantizer).to(images.device)
    optimizer, dtype = torch.optim.Adam(model.parameters(), 1e-3), getattr(torch, cell.dtype)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
            x, quantized = model(images)
        ((x.float() - images).square().mean() + quantized.loss).backward()
        optimizer.step()

    return step


def _alone(find: Callable[[], Callable], compiled: bool = False) -> Callable:
    def make(cell: StepCase, z: Tensor, g: Tensor, q: Tensor) -> Callable:
        function = torch.compile(find(), fullgraph=True, dynamic=False) if compiled else find()

        def step():
            latents = z.detach().requires_grad_()
            z_q = function(latents, q)
            z_q.backward(g)
            return z_q, None, latents.grad

        return step

    return make


def _floor(cell: StepCase, z: Tensor, g: Tensor, codes: Tensor) -> Callable | None:
    floor, _ = peers()
    fits = cell.device == "cpu" and cell.dtype == "float32" and floor.kernel() is not None
    return (lambda: floor.floor(codes, z, g, cell.threads)) if fits else None


ARMS: Mapping[str, Mapping[str, Callable]] = {
    "step": {
        "floor": _floor,
        "product": lambda cell, z, g, codes: lambda: peers()[0].product(codes, z),
        "convolution": lambda cell, z, g, codes: lambda: peers()[0].convolution(codes, z),
        "lookup": lambda cell, z, g, codes: lambda: nearest(z, codes),
        "rotvq": _ours(),
        "rotvq_compiled": _ours(compiled=True),
        "rotvq_ema": _ours(update="ema"),
        "library": _other("Library"),
        "library_ste": _other("Library", False),
        "paper": _other("Paper"),
        "matrix": _other("Matrix"),
        "taming": _other("Taming"),
    },
    "estimator": {
        "textbook": _alone(lambda: peers()[1].textbook),
        "ste": _alone(lambda: straight_through),
        "rotvq": _alone(lambda: rotate),
        "rotvq_compiled": _alone(lambda: rotate, compiled=True),
        "library": _alone(lambda: peers()[1].rotate_to),
        "paper": _alone(lambda: peers()[1].paper),
        "matrix": _alone(lambda: peers()[1].matrix),
    },
    "training": {
        "ste": _ours(estimator="ste"),
        "rotvq": _ours(),
        "bare": _other("bare"),
        "library_ste": _other("Library", False),
        "library": _other("Library"),
    },
}
PARTS = ("floor", "product", "convolution", "lookup")  # of a step, each with what comes before it
OWN = (*PARTS, "rotvq", "rotvq_compiled", "rotvq_ema")  # bounded memory
STEP = (*PARTS, "rotvq", "rotvq_ema", "library", "library_ste", "paper", "matrix", "taming")
ALONE = ("textbook", "ste", "rotvq", "library", "paper", "matrix")


def cells(profile: str = "standard", device: str = "cpu", dtype: str = "float32") -> list[StepCase]:
    """What the page on cost shows, first what decides most: the sizes that goals are about, then training steps.

    "smoke" has a few small cells of each sort; "full" has the cells of "standard".
    """
    where, compiled = {"device": device, "dtype": dtype}, ("rotvq_compiled",)
    if profile == "smoke":
        goals, sizes, alone, trained, pairs = [], [(256, 4, 64), (256, 8, 64)], [4, 8], [4, 8], [(256, 8, 64)]
        numbers, images = 2**10, 2
    else:
        goals = [(16384, d, k) for k in (8192, 512) for d in (256, 32, 8)]
        sizes = [(n, 32, k) for n in (4096, 65536) for k in (512, 8192)] + [(16384, 3, k) for k in (512, 8192)]
        sizes += [(16384, d, 65536) for d in (3, 8, 32, 256)]
        alone, trained = [32, 64, 128, 256, 512, 1024, 2048, 4096], [32, 256, 1024]
        pairs, numbers, images = [(16384, 8, 8192), (16384, 32, 8192), (16384, 256, 512)], 2**22, 32
    found = [StepCase("step", *size, STEP + compiled, **where) for size in goals]
    found += [StepCase("training", images * TOKENS, d, 512, tuple(ARMS["training"]), **where) for d in trained]
    for d in alone:
        found.append(StepCase("estimator", numbers // d, d, 1, ALONE + compiled * (d in (32, 256, 1024)), **where))
    found += [StepCase("step", *size, STEP, **where) for size in sizes]
    if profile != "smoke":
        found.append(StepCase("step", 65536, 8, 65536, ("floor", "rotvq"), **where))
    if device == "cpu":
        found += [StepCase("step", *size, ("floor", "product", "rotvq", "taming"), 2, **where) for size in pairs]
    return found


def _tensors(cell: StepCase, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """z, g and the codes (or, for an estimator alone, q), of unit variance; for a training step z is the images."""
    source = torch.Generator().manual_seed(0)
    dtype = torch.float32 if cell.kind == "training" else getattr(torch, cell.dtype)  # there: autocast
    shapes = {"step": (n, cell.d), "estimator": (n, cell.d), "training": (n // TOKENS, 1, 28, 28)}
    z, g = (torch.randn(shapes[cell.kind], generator=source).to(cell.device, dtype) for _ in range(2))
    codes = torch.randn(n if cell.kind == "estimator" else cell.k, cell.d, generator=source)
    return z, g, codes.to(cell.device, dtype)


def predicted_bytes(cell: StepCase, arm: str) -> float:
    """The peak at n latents, a constant plus so much a latent, from two batches that outweigh copies of the codes."""
    few = min(cell.n // 2, max(64, 2 * cell.d)) if cell.kind == "step" else max(1, min(64, 8192 // cell.d))
    low, high = (peak_bytes(ARMS[cell.kind][arm](cell, *_tensors(cell, n)), cell.device) for n in (few, 2 * few))
    return low + (high - low) / few * (cell.n - few)


def measure(cell: StepCase, rounds: int = 5, budget: float = 10.0) -> dict:
    """The record of a cell: peaks, and turns as :func:`book.bench.timing.interleave` has it.

    Training steps, whose times differ by percents, have three times the budget.
    """
    began, load, threads = time.perf_counter(), os.getloadavg()[0], torch.get_num_threads()
    torch.set_num_threads(cell.threads)
    torch.compiler.reset()
    tensors, steps, absent = _tensors(cell, cell.n), {}, {}
    for arm in cell.arms:
        other = cell.kind == "estimator" or cell.kind == "step" and arm not in OWN
        if other and (need := predicted_bytes(cell, arm)) > LIMIT:
            absent[arm] = f"does not fit: {need / 1e9:.1f} GB"
        elif (step := ARMS[cell.kind][arm](cell, *tensors)) is None:
            absent[arm] = "no compiler"
        else:
            step()
            steps[arm] = step
    result = {
        "seconds": interleave(
            steps,
            lambda step: seconds(step, cell.device, cell.threads),
            rounds,
            budget * (3 if cell.kind == "training" else 1),
        ),
        "bytes": {arm: peak_bytes(step, cell.device) for arm, step in steps.items()},
        "absent": absent,
    }
    torch.set_num_threads(threads)
    made = stamp(began, load, cell.device, cell.threads)
    return {"schema": SCHEMA, "id": cell.id, "config": asdict(cell), "result": result, "provenance": made}


def run(
    cells: Iterable[StepCase], folder: Path, rounds: int = 5, budget: float = 10.0
) -> Iterator[tuple[StepCase, dict]]:
    """Each cell with its record: read where there is one, else measured and written.

    Training steps run in a process of their own that keeps its memory: see :func:`book.bench.timing.keep_memory`.
    """

    def make(cell: StepCase) -> dict:
        if cell.kind != "training":
            return measure(cell, rounds, budget)
        with ProcessPoolExecutor(1, get_context("spawn"), keep_memory) as pool:
            return pool.submit(measure, cell, rounds, budget).result()

    for cell in cells:
        yield cell, read_or_measure(folder, SCHEMA, cell.id, partial(make, cell))
