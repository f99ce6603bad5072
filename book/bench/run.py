"""How many runs a core trains in an hour: the book's standard small run, with each speed-up taken away or added.

The arms are training loops on the same network, batches and seeds; they differ in one field of :class:`Loop`. They take
turns in one process, a block of steps each, and what is compared are ratios within a turn.
A record says how busy the machine was.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from book.bench.step import peers
from book.bench.timing import interleave, read_or_measure, seconds, stamp
from rotvq.quantizers.vector import VectorQuantizer
from rotvq.runs import engines
from rotvq.training import images
from rotvq.training.config import Config
from rotvq.training.models import VQVAE
from rotvq.training.seeds import generator
from rotvq.training.start import batches
from rotvq.training.train import train

SCHEMA = "throughput-1"


@dataclass(frozen=True)
class Loop:
    """A way to train. quantizer: "rotvq", or a class of book/bench/peers/quantizers.py that makes one from codes.

    in_memory: batches are indexed from one uint8 tensor; else a DataLoader collates normalised float images.
    channels_last: layout of images and weights. fused: Adam in one kernel. compiled: `torch.compile` of the model.
    """

    quantizer: str = "rotvq"
    in_memory: bool = True
    channels_last: bool = True
    fused: bool = True
    compiled: bool = False
    dtype: str = "float32"


PLAIN = {"in_memory": False, "channels_last": False, "fused": False}
LOOPS = {
    "rotvq": Loop(),
    "library": Loop("Library", **PLAIN),  # vector-quantize-pytorch as it comes
    "library_gradient": Loop("Learned", **PLAIN),  # its codes moved as ours are
    "library_here": Loop("Library"),
    "plain": Loop(**PLAIN),
    "loader": Loop(in_memory=False),
    "contiguous": Loop(channels_last=False),
    "unfused": Loop(fused=False),
    "compiled": Loop(compiled=True),
    "bfloat16": Loop(dtype="bfloat16"),
}


@dataclass(frozen=True)
class LoopCase:
    """loops: keys of :data:`LOOPS`. block: steps of a turn. shared: (runs, threads of each) that go on at once."""

    loops: tuple[str, ...] = tuple(LOOPS)
    block: int = 100
    data: str = "fashion-mnist"
    dim: int = 32
    codebook_size: int = 512
    batch: int = 32
    steps: int = 2000
    device: str = "cpu"
    shared: tuple[tuple[int, int], ...] = ((1, 1), (2, 1), (1, 2))

    @property
    def id(self) -> str:
        return hashlib.sha256(json.dumps([SCHEMA, asdict(self)], sort_keys=True).encode()).hexdigest()[:16]

    @property
    def config(self) -> Config:
        """The run: everything else is the default."""
        names = ("data", "dim", "codebook_size", "batch", "steps")
        return Config(**{name: getattr(self, name) for name in names})


def loop_case(profile: str = "standard", device: str = "cpu") -> LoopCase:
    """What the page on scale shows; "smoke" takes a few steps of each loop that needs no compiler."""
    gpu = torch.device(device).type != "cpu"
    shared = tuple((runs, 1) for runs in (1, 2, 4, 8, 16)) if gpu else LoopCase.shared
    if profile == "smoke":
        loops = tuple(name for name, loop in LOOPS.items() if not loop.compiled)
        return LoopCase(loops, 2, "fashion-mnist-mini", 8, 16, 4, 4, device, shared[:2])
    return LoopCase(device=device, shared=shared)


def start(loop: Loop, case: LoopCase) -> Callable[[], Tensor]:
    """The function that takes a training step and returns its loss. With ``Loop()`` the steps are `train`'s."""
    config, device = case.config, torch.device(case.device)
    data = images.load(config.data, config.seed)
    codes = torch.Generator().manual_seed(generator(config.seed, "codebook").initial_seed())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(config.seed, "weights").initial_seed())
        quantizer = VectorQuantizer(config.dim, config.codebook_size, generator=codes, check=False)
        if loop.quantizer != "rotvq":
            quantizer = getattr(peers()[1], loop.quantizer)(quantizer.codes.detach().clone())
        model = VQVAE(data.train.shape[1], quantizer).to(device)
    layout = torch.channels_last if loop.channels_last else torch.contiguous_format
    model.to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), config.lr, fused=loop.fused or None)
    call = torch.compile(model, dynamic=False) if loop.compiled else model
    batch = _batches(loop, config, data, device, layout)
    dtype = getattr(torch, loop.dtype)

    def step() -> Tensor:
        x = next(batch)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            y, quantized = call(x)
        loss = (y.float() - x).square().mean() + quantized.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _batches(loop: Loop, config: Config, data: images.Images, device, layout) -> Iterator[Tensor]:
    order = generator(config.seed, "order")
    if loop.in_memory:
        train = data.train.to(device)
        for chosen in batches(len(train), config.batch, order):
            yield data.normalise(train[chosen.to(device)]).contiguous(memory_format=layout)
    loader = DataLoader(TensorDataset(data.normalise(data.train)), config.batch, shuffle=True, drop_last=True)
    while True:
        for (x,) in loader:
            yield x.to(device, memory_format=layout)


def _block(step: Callable, steps: int) -> Callable[[], None]:
    def block() -> None:
        for _ in range(steps):
            loss = step()
        loss.item()  # a GPU has done its work when its result is here

    return block


def on_the_wall(case: LoopCase, threads: int, at: float = 0.0) -> float:
    """Seconds a step takes in this process, by the clock on the wall: two blocks, begun at ``at`` or once warm."""
    torch.set_num_threads(threads)
    block = _block(start(LOOPS["rotvq"], case), case.block)
    block()
    time.sleep(max(0.0, at - time.time()))
    return (_wall(block) + _wall(block)) / (2 * case.block)


def together(case: LoopCase, rounds: int) -> dict[str, list[float]]:
    """Seconds on the wall for one step, round by round, for each way of :attr:`Cell.shared`: "runs x threads".

    The runs of a round begin at the same moment in processes of their own; k of them take k steps at a time.
    """
    found: dict[str, list[float]] = {f"{runs} x {threads}": [] for runs, threads in case.shared}
    with engines.processes(max(runs for runs, _ in case.shared)) as engine:
        warm = 0.0
        for turn in range(rounds + 1):
            for runs, threads in case.shared:
                began = time.time()
                futures = [engine.submit(on_the_wall, case, threads, began + warm) for _ in range(runs)]
                slowest = max(future.result() for future in futures)
                if turn:
                    found[f"{runs} x {threads}"].append(slowest / runs)
                else:  # processes start, and show how long they take to warm up
                    warm = max(warm, time.time() - began)
    return found


def measure(case: LoopCase, rounds: int = 9, budget: float = 120.0) -> dict:
    """The record of a cell.

    result: ``seconds``, of a block, turn by turn for each loop; ``first``, of its first block, compilation without a
    cache in it; ``run``, processor seconds of whole runs with their evaluations; ``together``, see :func:`together`.
    """
    began, load, threads = time.perf_counter(), os.getloadavg(), torch.get_num_threads()
    torch.set_num_threads(1)
    torch.compiler.reset()
    blocks = {name: _block(start(LOOPS[name], case), case.block) for name in case.loops}
    with torch.compiler.config.patch(force_disable_caches=True):
        first = {name: _wall(block) for name, block in blocks.items()}
    times = interleave(blocks, lambda block: seconds(block, case.device), rounds, budget)
    result = {
        "seconds": times,
        "first": first,
        "run": [seconds(lambda: train(case.config, device=case.device), case.device) for _ in range(3)],
        "together": together(case, min(rounds, 7)),
    }
    torch.set_num_threads(threads)
    return {
        "schema": SCHEMA,
        "id": case.id,
        "config": asdict(case),
        "result": result,
        "provenance": stamp(began, load[0], case.device),
    }


def _wall(call: Callable) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def record(case: LoopCase, folder: Path, rounds: int = 9, budget: float = 120.0) -> dict:
    """The record of a cell: read where there is one, else measured and written."""
    return read_or_measure(folder, SCHEMA, case.id, lambda: measure(case, rounds, budget))
