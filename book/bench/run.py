"""How many runs a core trains in an hour: the book's standard small run, with each speed-up taken away or added.

The arms are training loops on the same network, batches and seeds; they differ in the fields of :class:`Loop`. They
take turns in one process, a block of steps each, and what is compared are ratios within a turn. A record says how busy
the machine was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from book.bench.peers import quantizers
from book.bench.records import read_or_measure, record_id
from book.bench.timing import interleave, seconds, torch_threads, wall_seconds
from rotvq.quantizers.vector import VectorQuantizer
from rotvq.runs import engines
from rotvq.training import images
from rotvq.training.config import Config
from rotvq.training.models import VQVAE
from rotvq.training.seeds import generator
from rotvq.training.train import train

SCHEMA = "throughput-1"


@dataclass(frozen=True)
class Loop:
    """A way to train.

    Args:
        quantizer: "rotvq", or a class of :mod:`book.bench.peers.quantizers` that makes one from codes.
        in_memory: batches are indexed from one uint8 tensor; else a DataLoader collates normalised float images.
        channels_last: the layout of images and weights.
        fused: Adam in one kernel.
        compiled: ``torch.compile`` of the model.
        dtype: of autocast.
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
    """A run, and the loops that are timed on it.

    Args:
        loops: keys of :data:`LOOPS`.
        block: steps of a turn.
        data, dim, codebook_size, batch, steps: fields of the run's :class:`.Config`.
        device: where it trains.
        shared: pairs (runs, threads of each) that train at the same time.
    """

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
        """The name of its record."""
        return record_id(SCHEMA, asdict(self))

    @property
    def config(self) -> Config:
        """The run: everything else is the default."""
        return Config(
            data=self.data, dim=self.dim, codebook_size=self.codebook_size, batch=self.batch, steps=self.steps
        )


def loop_case(profile: str = "standard", device: str = "cpu") -> LoopCase:
    """The case of the page on scale; "smoke" takes a few steps of each loop that needs no compiler."""
    on_gpu = torch.device(device).type != "cpu"
    shared = tuple((runs, 1) for runs in (1, 2, 4, 8, 16)) if on_gpu else LoopCase.shared
    if profile != "smoke":
        return LoopCase(device=device, shared=shared)
    return LoopCase(
        loops=tuple(name for name, loop in LOOPS.items() if not loop.compiled),
        block=2,
        data="fashion-mnist-mini",
        dim=8,
        codebook_size=16,
        batch=4,
        steps=4,
        device=device,
        shared=shared[:2],
    )


def make_step(loop: Loop, case: LoopCase) -> Callable[[], Tensor]:
    """The function that takes a training step and returns its loss. With ``Loop()`` the steps are those of `train`."""
    config, device = case.config, torch.device(case.device)
    layout = torch.channels_last if loop.channels_last else torch.contiguous_format
    dtype = getattr(torch, loop.dtype)
    data = images.load(config.data, config.seed)
    model = _model(loop, config, channels=data.train.shape[1]).to(device).to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), config.lr, fused=loop.fused or None)
    call = torch.compile(model, dynamic=False) if loop.compiled else model
    batch = image_batches(loop, config, data, device)

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


def _model(loop: Loop, config: Config, channels: int) -> VQVAE:
    """The network that `train` makes, with the quantiser of ``loop``: same weights, same codes."""
    codes = torch.Generator().manual_seed(generator(config.seed, "codebook").initial_seed())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(config.seed, "weights").initial_seed())
        quantizer = VectorQuantizer(config.dim, config.codebook_size, generator=codes, check=False)
        if loop.quantizer != "rotvq":
            quantizer = getattr(quantizers, loop.quantizer)(quantizer.codes.detach().clone())
        return VQVAE(channels, quantizer)


def image_batches(loop: Loop, config: Config, data: images.Images, device: torch.device) -> Iterator[Tensor]:
    """Batches of normalised training images without end, epoch after epoch."""
    layout = torch.channels_last if loop.channels_last else torch.contiguous_format
    if loop.in_memory:
        train_images = data.train.to(device)
        for chosen in images.batches(len(train_images), config.batch, generator(config.seed, "order")):
            yield data.normalise(train_images[chosen.to(device)]).contiguous(memory_format=layout)
    loader = DataLoader(TensorDataset(data.normalise(data.train)), config.batch, shuffle=True, drop_last=True)
    while True:
        for (x,) in loader:
            yield x.to(device, memory_format=layout)


def _block(step: Callable[[], Tensor], steps: int) -> Callable[[], None]:
    """The function that takes so many steps."""

    def block() -> None:
        for _ in range(steps):
            loss = step()
        loss.item()  # a GPU has done its work when its result is here

    return block


def wall_seconds_per_step(case: LoopCase, threads: int, start_at: float = 0.0) -> float:
    """Seconds a step of our loop takes in this process, by the clock on the wall.

    Args:
        case: the run.
        threads: of torch.
        start_at: seconds since the epoch at which the clock starts, or once a first block is done if that is later.
    """
    with torch_threads(threads):
        block = _block(make_step(LOOPS["rotvq"], case), case.block)
        block()
        time.sleep(max(0.0, start_at - time.time()))
        return (wall_seconds(block) + wall_seconds(block)) / (2 * case.block)


def together(case: LoopCase, rounds: int) -> dict[str, list[float]]:
    """Seconds on the wall for one step, round by round, for each pair of ``case.shared``: "runs x threads".

    The runs of a round begin at the same moment in processes of their own; k of them take k steps at a time.
    """
    found: dict[str, list[float]] = {f"{runs} x {threads}": [] for runs, threads in case.shared}
    with engines.processes(max(runs for runs, _ in case.shared)) as engine:
        warm_up = 0.0  # seconds
        for turn in range(rounds + 1):
            for runs, threads in case.shared:
                began = time.time()
                futures = [engine.submit(wall_seconds_per_step, case, threads, began + warm_up) for _ in range(runs)]
                slowest = max(future.result() for future in futures)
                if turn == 0:  # processes start, and show how long they take to warm up
                    warm_up = max(warm_up, time.time() - began)
                else:
                    found[f"{runs} x {threads}"].append(slowest / runs)
    return found


def measure(case: LoopCase, rounds: int = 9, budget: float = 120.0) -> dict:
    """Time every loop of a case, whole runs, and runs side by side.

    Args:
        case: what to measure.
        rounds: the least number of turns, as in :func:`book.bench.timing.interleave`.
        budget: seconds for the turns.

    Returns:
        ``seconds``, of a block, turn by turn for each loop; ``first``, of its first block, compilation without a cache
        in it; ``run``, of whole runs with their evaluations; ``together``, see :func:`together`.
    """
    torch.compiler.reset()
    clock = partial(seconds, device=case.device)
    with torch_threads(1):
        blocks = {name: _block(make_step(LOOPS[name], case), case.block) for name in case.loops}
        with torch.compiler.config.patch(force_disable_caches=True):
            first = {name: wall_seconds(block) for name, block in blocks.items()}
        return {
            "seconds": interleave(blocks, clock, rounds, budget),
            "first": first,
            "run": [clock(lambda: train(case.config, device=case.device)) for _ in range(3)],
            "together": together(case, min(rounds, 7)),
        }


def record(case: LoopCase, folder: Path, rounds: int = 9, budget: float = 120.0) -> dict:
    """The record of a case, whose result is that of :func:`measure`: read, or measured and written."""
    return read_or_measure(folder, SCHEMA, asdict(case), lambda: measure(case, rounds, budget), case.device)
