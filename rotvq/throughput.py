"""How many runs a core trains in an hour: the book's standard small run, with each speed-up taken away or added.

The arms are training loops on the same network, batches and seeds; they differ in one field of :class:`Loop`. They take
turns in one process, a block of steps each, and what is compared are ratios within a turn (see :mod:`rotvq.timing`).
A record says how busy the machine was.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from rotvq import engines, images, provenance
from rotvq.benchmark import peers
from rotvq.config import Config, generator
from rotvq.models import VQVAE
from rotvq.quantizer import VectorQuantizer
from rotvq.records import Records
from rotvq.start import batches
from rotvq.timing import seconds, turns
from rotvq.train import train

SCHEMA = "throughput-1"


@dataclass(frozen=True)
class Loop:
    """A way to train. quantizer: "rotvq", or a class of tests/peers/quantizers.py that makes one from codes.

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
class Cell:
    """loops: keys of :data:`LOOPS`. block: steps of a turn. run: the Config whose run is timed as a whole, or none."""

    loops: tuple[str, ...] = tuple(LOOPS)
    block: int = 100
    data: str = "fashion-mnist"
    dim: int = 32
    codebook_size: int = 512
    batch: int = 32
    steps: int = 2000
    device: str = "cpu"

    @property
    def id(self) -> str:
        return hashlib.sha256(json.dumps([SCHEMA, asdict(self)], sort_keys=True).encode()).hexdigest()[:16]

    @property
    def config(self) -> Config:
        """The run: everything else is the default."""
        names = ("data", "dim", "codebook_size", "batch", "steps")
        return Config(**{name: getattr(self, name) for name in names})


def cell(profile: str = "standard", device: str = "cpu") -> Cell:
    """What the page on scale shows; "smoke" has two loops of a few steps."""
    if profile == "smoke":
        return Cell(("rotvq", "plain"), 2, "fashion-mnist-mini", 8, 16, 4, 4, device)
    return Cell(device=device)


def start(loop: Loop, cell: Cell) -> Callable[[], Tensor]:
    """The function that takes a training step and returns its loss. With ``Loop()`` the steps are `train`'s."""
    config, device = cell.config, torch.device(cell.device)
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
            step()

    return block


def on_the_wall(cell: Cell, threads: int) -> float:
    """Seconds a step takes in this process on so many threads, by the clock on the wall, after a block to warm up."""
    torch.set_num_threads(threads)
    block = _block(start(LOOPS["rotvq"], cell), cell.block)
    block()
    return (_wall(block) + _wall(block)) / (2 * cell.block)


def together(cell: Cell, rounds: int) -> dict[str, list[float]]:
    """Seconds on the wall in which two cores train one step: each core one of its own, or both one of a single run."""
    found: dict[str, list[float]] = {"two runs": [], "two threads": []}
    with engines.processes(2) as engine:
        for _ in range(rounds):
            both = [engine.submit(on_the_wall, cell, 1) for _ in range(2)]
            found["two runs"].append(max(future.result() for future in both) / 2)
            found["two threads"].append(engine.submit(on_the_wall, cell, 2).result())
    return found


def measure(cell: Cell, rounds: int = 9, budget: float = 120.0) -> dict:
    """The record of a cell.

    result: ``seconds``, of a block, turn by turn for each loop; ``first``, of its first block, compilation without a
    cache in it; ``run``, processor seconds of whole runs with their evaluations; ``together``, see :func:`together`.
    """
    began, load, threads = time.perf_counter(), os.getloadavg(), torch.get_num_threads()
    torch.set_num_threads(1)
    torch.compiler.reset()
    blocks = {name: _block(start(LOOPS[name], cell), cell.block) for name in cell.loops}
    with torch.compiler.config.patch(force_disable_caches=True):
        first = {name: _wall(block) for name, block in blocks.items()}
    times = turns(blocks, lambda block: seconds(block, cell.device), rounds, budget)
    result = {
        "seconds": times,
        "first": first,
        "run": [seconds(lambda: train(cell.config, device=cell.device), cell.device) for _ in range(3)],
        "together": together(cell, min(rounds, 7)) if cell.device == "cpu" else {},
    }
    torch.set_num_threads(threads)
    made = {
        **provenance.code(), "python": platform.python_version(), "torch": torch.__version__,
        "device": provenance.kind(cell.device), "threads": 1, "cores": os.cpu_count(),
        "load": [round(load[0], 2), round(os.getloadavg()[0], 2)], "seconds": round(time.perf_counter() - began, 2),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    return {"schema": SCHEMA, "id": cell.id, "config": asdict(cell), "result": result, "provenance": made}


def _wall(call: Callable) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def record(cell: Cell, folder: Path, rounds: int = 9, budget: float = 120.0) -> dict:
    """The record of a cell: read where there is one, else measured and written."""
    path = folder / f"{cell.id}.json"
    if not path.exists():
        Records(folder)._write(path, measure(cell, rounds, budget))
    found = json.loads(path.read_text("utf-8"))
    if (found["schema"], found["id"]) != (SCHEMA, cell.id):
        raise ValueError(f"{path.name} in {folder.name} is not the record of {cell}: delete it or restore it")
    return found
