"""What a step of a quantiser costs, beside other quantisers and a floor.

A case is a size and the arms measured at it. Its record is one file, whole or absent, so a benchmark that was killed
goes on where it stopped. The arms of a case take turns in one process, and what is compared are ratios within a turn:
what slows the machine for a while slows both sides. A time is that of forward and backward together, see
:mod:`book.bench.timing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from book.bench.peers import floor, quantizers
from book.bench.records import read_or_measure, record_id
from book.bench.timing import interleave, keep_memory, peak_bytes, seconds, torch_threads
from rotvq.quantizers.estimators import rotate, straight_through
from rotvq.quantizers.lookup import ENGINES, HAS_FAISS, nearest
from rotvq.quantizers.vector import VectorQuantizer
from rotvq.training.models import VQVAE

SCHEMA = "cost-1"
MEMORY_LIMIT = 4e9  # bytes on a CPU: an arm predicted to need more is not run; on a GPU, half of its memory
LATENTS_PER_IMAGE = 49  # in a training step


@dataclass(frozen=True)
class StepCase:
    """A size, and the arms measured at it.

    Args:
        kind: "step" (lookup, estimator and losses), "lookup" (alone, by each engine, beside whole steps), "estimator"
            (alone, its codes looked up before) or "training" (a step of Adam on the book's network).
        n: number of latents.
        d: their dimension.
        k: number of codes.
        arms: keys of :data:`ARMS`; the first that could be run is what the others are compared with.
        threads: of torch.
        device: of the tensors.
        dtype: of the tensors; in a training step, of autocast.
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
        """The name of its record."""
        return record_id(SCHEMA, asdict(self))


def inputs(case: StepCase, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """z, g and the codes (for an estimator alone: q) of unit variance; for a training step z is the images."""
    source = torch.Generator().manual_seed(0)
    autocast = case.kind == "training"
    dtype = torch.float32 if autocast else getattr(torch, case.dtype)
    shape = (n // LATENTS_PER_IMAGE, 1, 28, 28) if case.kind == "training" else (n, case.d)
    z, g = (torch.randn(shape, generator=source).to(case.device, dtype) for _ in range(2))
    rows = n if case.kind == "estimator" else case.k
    codes = torch.randn(rows, case.d, generator=source)
    return z, g, codes.to(case.device, dtype)


# Arms. Each makes, from a case and its inputs, a function without arguments that does the work once; or says why it
# cannot.

Arm = Callable[[StepCase, Tensor, Tensor, Tensor], Callable | str]


def _quantizer(build: Callable[[Tensor], nn.Module], compiled: bool = False) -> Arm:
    """The arm of a quantiser that ``build`` makes from the codes."""

    def make(case: StepCase, z: Tensor, g: Tensor, codes: Tensor) -> Callable:
        quantizer = build(codes.cpu()).to(z.device)
        if case.kind == "training":
            return _training_step(case, quantizer, images=z)
        call = torch.compile(quantizer, fullgraph=True, dynamic=False) if compiled else quantizer

        def step():
            latents = z.detach().requires_grad_()
            quantizer.zero_grad(set_to_none=True)
            z_q, indices, loss = call(latents)
            torch.autograd.backward([z_q, loss], [g.to(z_q.dtype), None])
            return z_q, indices, latents.grad

        return step

    return make


def _training_step(case: StepCase, quantizer: nn.Module, images: Tensor) -> Callable:
    model = VQVAE(1, quantizer).to(images.device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    dtype = getattr(torch, case.dtype)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
            x, quantized = model(images)
        ((x.float() - images).square().mean() + quantized.loss).backward()
        optimizer.step()

    return step


def _rotvq(compiled: bool = False, **options) -> Arm:
    """The arm of our quantiser with these options."""
    return _quantizer(lambda codes: VectorQuantizer(codes.shape[1], len(codes), init=codes, **options), compiled)


def _estimator(function: Callable[[Tensor, Tensor], Tensor], compiled: bool = False) -> Arm:
    """The arm of an estimator alone, ``function(z, q)``."""

    def make(case: StepCase, z: Tensor, g: Tensor, q: Tensor) -> Callable:
        call = torch.compile(function, fullgraph=True, dynamic=False) if compiled else function

        def step():
            latents = z.detach().requires_grad_()
            z_q = call(latents, q)
            z_q.backward(g)
            return z_q, None, latents.grad

        return step

    return make


def _floor(case: StepCase, z: Tensor, g: Tensor, codes: Tensor) -> Callable | str:
    if case.device != "cpu" or case.dtype != "float32":
        return "of float32 on a CPU only"
    if floor.kernel() is None:
        return "no compiler"
    return partial(floor.floor, codes, z, g, case.threads)


def _product(case: StepCase, z: Tensor, g: Tensor, codes: Tensor) -> Callable:
    return partial(floor.product, codes, z)


def _convolution(case: StepCase, z: Tensor, g: Tensor, codes: Tensor) -> Callable:
    return partial(floor.convolution, codes, z)


def _lookup(case: StepCase, z: Tensor, g: Tensor, codes: Tensor) -> Callable:
    return partial(nearest, z, codes)


def _library(arm: Arm) -> Arm:
    """An arm of vector-quantize-pytorch, where that is installed."""
    return arm if quantizers.VectorQuantize else lambda *_: "not installed"


def _engine(name: str) -> Arm:
    """The lookup alone by an engine."""

    def make(case: StepCase, z: Tensor, g: Tensor, codes: Tensor) -> Callable | str:
        if name == "faiss" and not HAS_FAISS:
            return "not installed"
        return partial(nearest, z, codes, engine=name)

    return make


def _step_with_faiss(case: StepCase, z: Tensor, g: Tensor, codes: Tensor) -> Callable | str:
    return _rotvq(engine="faiss")(case, z, g, codes) if HAS_FAISS else "not installed"


ARMS: Mapping[str, Mapping[str, Arm]] = {
    "step": {
        "floor": _floor,
        "product": _product,
        "convolution": _convolution,
        "lookup": _lookup,
        "rotvq": _rotvq(),
        "rotvq_compiled": _rotvq(compiled=True),
        "rotvq_ema": _rotvq(update="ema"),
        "library": _library(_quantizer(quantizers.Library)),
        "library_ste": _library(_quantizer(partial(quantizers.Library, rotation=False))),
        "paper": _quantizer(quantizers.Paper),
        "matrix": _quantizer(quantizers.Matrix),
        "taming": _quantizer(quantizers.Taming),
    },
    "lookup": {
        "floor": _floor,
        **{name: _engine(name) for name in ENGINES},
        "step": _rotvq(engine="tiles"),
        "step_faiss": _step_with_faiss,
    },
    "estimator": {
        "textbook": _estimator(quantizers.textbook),
        "ste": _estimator(straight_through),
        "rotvq": _estimator(rotate),
        "rotvq_compiled": _estimator(rotate, compiled=True),
        "library": _library(_estimator(quantizers.rotate_to)),
        "paper": _estimator(quantizers.paper),
        "matrix": _estimator(quantizers.matrix),
    },
    "training": {
        "ste": _rotvq(estimator="ste"),
        "rotvq": _rotvq(),
        "bare": _quantizer(quantizers.bare),
        "library_ste": _library(_quantizer(partial(quantizers.Library, rotation=False))),
        "library": _library(_quantizer(quantizers.Library)),
    },
}
PARTS = ("floor", "product", "convolution", "lookup")  # of a step, each with what comes before it
BOUNDED_MEMORY = (*PARTS, "rotvq", "rotvq_compiled", "rotvq_ema")
STEP_ARMS = (*PARTS, "rotvq", "rotvq_ema", "library", "library_ste", "paper", "matrix", "taming")
ESTIMATOR_ARMS = ("textbook", "ste", "rotvq", "library", "paper", "matrix")


# Cases


class Sizes(NamedTuple):
    """What a profile measures. A size of a step is (n, d, k)."""

    goals: list[tuple[int, int, int]]  # steps, also compiled: the sizes that goals are about
    training: list[int]  # dimensions of a training step
    images: int  # in its batch
    estimator: list[int]  # dimensions of an estimator alone
    numbers: int  # n * d there
    steps: list[tuple[int, int, int]]
    largest: list[tuple[int, int, int]]  # steps, the floor and ours only
    two_threads: list[tuple[int, int, int]]  # steps
    lookups: list[tuple[int, int, int]]  # by each engine


SMOKE = Sizes(
    goals=[],
    training=[4, 8],
    images=2,
    estimator=[4, 8],
    numbers=2**10,
    steps=[(256, 4, 64), (256, 8, 64)],
    largest=[],
    two_threads=[(256, 8, 64)],
    lookups=[(256, 8, 64)],
)
STANDARD = Sizes(
    goals=[(16384, d, k) for k in (8192, 512) for d in (256, 32, 8)],
    training=[32, 256, 1024],
    images=32,
    estimator=[32, 64, 128, 256, 512, 1024, 2048, 4096],
    numbers=2**22,
    steps=[
        *((n, 32, k) for n in (4096, 65536) for k in (512, 8192)),
        *((16384, 3, k) for k in (512, 8192)),
        *((16384, d, 65536) for d in (3, 8, 32, 256)),
    ],
    largest=[(65536, 8, 65536)],
    two_threads=[(16384, 8, 8192), (16384, 32, 8192), (16384, 256, 512)],
    lookups=[(16384, d, k) for k in (64, 512, 8192) for d in (2, 3, 4, 8, 16, 32, 64)],
)
COMPILED_DIMS = (32, 256, 1024)  # where the estimator alone is also compiled


def cases(profile: str = "standard", device: str = "cpu", dtype: str = "float32") -> list[StepCase]:
    """The cases of the page on cost, those that goals are about first.

    "smoke" has a few small cases of each kind; "full" has those of "standard", and more rounds.
    """
    sizes = SMOKE if profile == "smoke" else STANDARD
    case = partial(StepCase, device=device, dtype=dtype)
    compiled = ("rotvq_compiled",)
    found = [case("step", *size, STEP_ARMS + compiled) for size in sizes.goals]
    for d in sizes.training:
        found.append(case("training", sizes.images * LATENTS_PER_IMAGE, d, 512, tuple(ARMS["training"])))
    for d in sizes.estimator:
        arms = ESTIMATOR_ARMS + compiled if d in COMPILED_DIMS else ESTIMATOR_ARMS
        found.append(case("estimator", sizes.numbers // d, d, 1, arms))
    found += [case("step", *size, STEP_ARMS) for size in sizes.steps]
    found += [case("step", *size, ("floor", "rotvq")) for size in sizes.largest]
    if device == "cpu":
        found += [case("step", *size, ("floor", "product", "rotvq", "taming"), 2) for size in sizes.two_threads]
    found += [case("lookup", *size, tuple(ARMS["lookup"])) for size in sizes.lookups]
    return found


# Measuring

ROUNDS = {"smoke": (3, 0.0), "standard": (5, 10.0), "full": (20, 40.0)}  # rounds and seconds, by profile


def predicted_bytes(case: StepCase, arm: str) -> float:
    """The peak memory of ``arm``, from the line through the peaks at two short batches."""
    if case.kind == "step":
        short = min(case.n // 2, max(64, 2 * case.d))  # latents that outweigh copies of the codes
    else:
        short = max(1, min(64, 8192 // case.d))
    make = ARMS[case.kind][arm]
    low, high = (peak_bytes(make(case, *inputs(case, n)), case.device) for n in (short, 2 * short))
    bytes_per_latent = (high - low) / short
    return low + bytes_per_latent * (case.n - short)


def _may_not_fit(case: StepCase, arm: str) -> bool:
    return case.kind == "estimator" or (case.kind == "step" and arm not in BOUNDED_MEMORY)


def _memory_limit(device: str) -> float:
    on_gpu = torch.device(device).type == "cuda"
    return torch.cuda.get_device_properties(device).total_memory / 2 if on_gpu else MEMORY_LIMIT


def measure(case: StepCase, rounds: int = 5, budget: float = 10.0) -> dict:
    """Time and memory of every arm of a case.

    Args:
        case: what to measure.
        rounds: the least number of turns, as in :func:`book.bench.timing.interleave`.
        budget: seconds for the turns; training steps, whose times differ by percents, have three times as many.

    Returns:
        ``seconds``, a list for each arm; ``bytes``, the peak of what torch hands out to each; ``absent``, why an arm
        was not run; of a lookup also ``differ``, how many indices of an engine are not those of "tiles".
    """
    torch.compiler.reset()
    steps, absent = {}, {}
    tensors = inputs(case, case.n)
    with torch_threads(case.threads):
        for arm in case.arms:
            step = ARMS[case.kind][arm](case, *tensors)
            if isinstance(step, str):
                absent[arm] = step
                continue
            needed = predicted_bytes(case, arm) if _may_not_fit(case, arm) else 0
            if needed > _memory_limit(case.device):
                absent[arm] = f"does not fit: {needed / 1e9:.1f} GB"
                continue
            step()
            steps[arm] = step
        clock = partial(seconds, device=case.device, threads=case.threads)
        times = interleave(steps, clock, rounds, 3 * budget if case.kind == "training" else budget)
        peaks = {arm: peak_bytes(step, case.device) for arm, step in steps.items()}
        found = {"seconds": times, "bytes": peaks, "absent": absent}
        if case.kind == "lookup":
            indices = {name: steps[name]() for name in ENGINES if name in steps}
            found["differ"] = {name: int((indices["tiles"] != own).sum()) for name, own in indices.items()}
    return found


def _measure_apart(*arguments) -> dict:
    """:func:`measure` in a process of its own that keeps its memory, see :func:`book.bench.timing.keep_memory`."""
    with ProcessPoolExecutor(1, get_context("spawn"), keep_memory) as pool:
        return pool.submit(measure, *arguments).result()


def record(case: StepCase, folder: Path, rounds: int = 5, budget: float = 10.0) -> dict:
    """The record of a case, whose result is that of :func:`measure`: read, or measured and written."""

    def make() -> dict:
        if case.kind == "training":
            return _measure_apart(case, rounds, budget)
        return measure(case, rounds, budget)

    return read_or_measure(folder, SCHEMA, asdict(case), make, case.device, case.threads)
