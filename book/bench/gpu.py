r"""Everything that a card can tell of this book, in one call: ``python -m book.bench gpu --out DIR --minutes 8``.

It needs a checkout, its packages and no network. It works through parts, the most telling first: the card itself,
device tests of every quantiser, the cost of a step beside the card's own limits, small runs that share the card, and
runs of the full profile of chapters 10, 13 and 16. What has a record in DIR is not done again, so a second call goes on
where the first one stopped. The last thing it writes is ``DIR/report.md``.
"""

from __future__ import annotations

import copy
import itertools
import logging
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from book.bench import run, step
from book.bench.gpu_report import markdown
from book.bench.records import read_or_measure, record_id
from book.bench.timing import seconds
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.quantizers.registry import METHODS
from rotvq.quantizers.residual import WIRINGS, ResidualVectorQuantizer
from rotvq.quantizers.vector import VectorQuantizer
from rotvq.runs import code_path, engines, scheduler
from rotvq.runs.grids import CHAPTERS
from rotvq.runs.records import Records
from rotvq.training.config import Config
from rotvq.training.train import find_device, train

SCHEMA = "gpu-1"
DIM, CODES = 8, 256  # of the device tests
logger = logging.getLogger(__name__)

# Device tests: a quantiser on the device against the same one on the CPU in float64


class Mode(NamedTuple):
    """How a quantiser is run on the device, and how far it may be from float64 on a CPU."""

    tolerance: float  #: of z_q, the loss and the gradient, each over the largest entry
    agreement: float = 1.0  #: the least share of equal indices
    dtype: torch.dtype = torch.float32
    autocast: bool = False
    compiled: bool = False
    captured: bool = False  #: forward alone, in evaluation mode, replayed from a CUDA graph
    tf32: bool = False  #: the user allows it in matrix products


MODES = {
    "float32": Mode(1e-3),
    "bfloat16": Mode(5e-2, 0.95, torch.bfloat16),
    "autocast": Mode(5e-2, 0.9, autocast=True),
    "TF32": Mode(1e-3, tf32=True),
    "CUDA graph": Mode(1e-3, captured=True),
    "compiled": Mode(1e-3, compiled=True),
}


def subjects() -> dict[str, Callable[..., nn.Module]]:
    """What is tested, by name: functions of dim and codebook_size."""
    found: dict[str, Callable[..., nn.Module]] = dict(METHODS)
    found |= {f"estimator {name}": partial(VectorQuantizer, estimator=name) for name in ESTIMATORS}
    found |= {f"residual, {name}": partial(ResidualVectorQuantizer, levels=3, wiring=name) for name in WIRINGS}
    found["EMA, revival"] = partial(VectorQuantizer, update="ema", revival="unused")
    found["cosine"] = partial(VectorQuantizer, lookup="cosine")
    found["normalised"] = partial(VectorQuantizer, lookup="normalised")
    found["projected"] = partial(VectorQuantizer, project_to=4)
    return found


def _call(quantizer: Callable, module: nn.Module, x: Tensor, g: Tensor) -> dict[str, Tensor]:
    """What the second of two training calls gives, so after codes have moved, and the gradient that it sends back."""
    more = {"objective": lambda z: z.sin().sum()} if getattr(module, "second_pass", None) else {}
    for latents in (x, x.flip(0) / 2):
        latents = latents.detach().requires_grad_()
        z_q, indices, loss = quantizer(latents, **more)
        torch.autograd.backward([z_q, loss][: 1 + loss.requires_grad], [g.to(z_q), None][: 1 + loss.requires_grad])
    return {"z_q": z_q, "indices": indices, "loss": loss, "gradient": latents.grad}


def _captured(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What a forward call in evaluation mode gives when it is replayed with another input than it was captured with."""
    module, given = module.eval(), torch.zeros_like(x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.no_grad(), torch.cuda.stream(stream):
        for _ in range(3):
            module(given)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        z_q, indices, loss = module(given)
    given.copy_(x)
    graph.replay()
    return {"z_q": z_q, "indices": indices, "loss": loss}


def device_test(subject: str, mode: str, device: str, tokens: int = 512) -> dict:
    """How far a quantiser on the device is from itself on the CPU in float64.

    Returns:
        ``passed``, and ``why``: the largest relative difference, the share of equal indices, or what was raised.
    """
    how, on_cpu = MODES[mode], torch.device(device).type == "cpu"
    if how.captured and on_cpu:
        return {"passed": None, "why": "on a GPU only"}
    torch.manual_seed(0)
    x, g = (torch.randn(4, tokens // 4, DIM).to(how.dtype) for _ in range(2))
    module = subjects()[subject](DIM, CODES, check=False).to(how.dtype)
    exact = copy.deepcopy(module).double().train(not how.captured)
    try:
        module = module.to(device)
        if how.captured:
            with torch.no_grad():
                want = exact(x.double())._asdict()
            got = _captured(module, x.to(device))
        else:
            torch.compiler.reset()
            backend = "aot_eager" if on_cpu else "inductor"
            quantizer = torch.compile(module, fullgraph=True, backend=backend) if how.compiled else module
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=how.autocast), _tf32(how.tf32):
                got = _call(quantizer, module, x.to(device), g.to(device))
            want = _call(exact, exact, x.double(), g.double())
    except Exception as error:  # whatever a device does not take is a result
        return {"passed": False, "why": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    same = (got["indices"].cpu() == want["indices"]).reshape(*x.shape[:-1], -1).all(-1)
    share = same.double().mean().item()
    worst = max(_difference(got[name], want[name], same) for name in got if name != "indices") if share else math.inf
    return {
        "passed": worst <= how.tolerance and share >= how.agreement,
        "why": f"off by {worst:.1e}, {share:.2%} of indices equal",
    }


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _difference(got: Tensor, want: Tensor, same: Tensor) -> float:
    """The largest difference over the largest entry, of a scalar or of tokens with the same index."""
    got, want = got.detach().cpu().double(), want.detach()
    if got.ndim:
        got, want = got[same], want[same]
    return ((got - want).abs().max() / want.abs().max().clamp_min(1e-30)).item()


# The card and its limits


def card_limits(device: str, megabytes: int) -> dict:
    """What the card can do: bytes read and written, and operations of products, in a second; the best of five."""
    numbers = torch.empty(megabytes << 18, device=device)
    target = torch.empty_like(numbers)
    side = int((megabytes << 16) ** 0.5)
    found = {"bytes": 2 * numbers.nbytes / min(seconds(lambda: target.copy_(numbers), device) for _ in range(5))}
    for name in ("float32", "bfloat16"):
        square = torch.randn(side, side, device=device).to(getattr(torch, name))
        square @ square
        found[name] = 2 * side**3 / min(seconds(lambda x=square: x @ x, device) for _ in range(5))
    return {**found, "memory": torch.cuda.get_device_properties(device).total_memory if device != "cpu" else 0}


# Runs of the full profile

SLICE = ("10_ste_vs_rotation", "13_which_part", "16_rivals")
LEAST_SECONDS = 20.0  # for which it is worth to start processes
STEPS = (30_000, 10_000, 3_000, 1_000)  # the most of these that fit; the first is the full profile


def slice_configs(profile: str, steps: int) -> list[Config]:
    """Runs of the three chapters in turn, seed by seed; the first are those of which most is expected."""
    grids = []
    for chapter in SLICE:
        found = CHAPTERS[chapter].configs("smoke" if profile == "smoke" else "full")
        grids.append(sorted((replace(config, steps=steps) for config in found), key=lambda config: config.seed))
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*grids))
    return list(dict.fromkeys(config for config in in_turn if config is not None))


def _train_resumably(config: Config, folder: str, **options) -> dict:
    point = Path(folder) / f"{config.id}.resume"
    result = train(config, resume=point, code=code_path.digest(config), **options)
    point.unlink(missing_ok=True)
    return result


def _train_slice(configs: list[Config], folder: Path, workers: int, device: str) -> None:
    """In a process of its own, which may be ended at any time: a run then goes on from its resume point."""
    folder.mkdir(parents=True, exist_ok=True)
    fn = partial(_train_resumably, folder=str(folder))
    for _ in scheduler.run(configs, Records(folder), engines.processes(workers), device=device, progress=False, fn=fn):
        pass


def in_processes(function: Callable, calls: Sequence[tuple], budget: float) -> None:
    """Make each call in a process of its own, all at once; what runs after ``budget`` seconds is ended."""
    spawn = multiprocessing.get_context("spawn")
    started = [spawn.Process(target=function, args=arguments) for arguments in calls]
    for process in started:
        process.start()
    deadline = time.monotonic() + max(0.0, budget)
    for process in started:
        process.join(max(0.0, deadline - time.monotonic()))
        process.terminate()
        process.join()


# What is done, in order


@dataclass(frozen=True)
class Task:
    """One measurement, which has one record: what it is, how it is made, and about how long that takes on a GPU."""

    part: str
    config: dict
    measure: Callable[[], dict]
    seconds: float

    def path(self, folder: Path) -> Path:
        """Where its record is, or will be."""
        return folder / self.part / f"{record_id(SCHEMA, self.config)}.json"


def tests(modes: Sequence[str], names: Sequence[str], device: str, expected: float) -> Iterator[Task]:
    """The device tests."""
    for mode, name in itertools.product(modes, names):
        config = {"subject": name, "mode": mode, "device": torch.device(device).type}
        yield Task("tests", config, partial(device_test, name, mode, device), expected)


def costs(profile: str, device: str, compiled: bool) -> Iterator[Task]:
    """The cases of the page on cost, goals first, in float32 and bfloat16; the compiled arm in cases of its own."""
    for dtype in ("float32", "bfloat16"):
        for case in step.cases(profile, device, dtype):
            if case.kind == "lookup":
                continue
            plain = tuple(arm for arm in case.arms if arm != "rotvq_compiled")
            arms = (plain[0], "rotvq", "rotvq_compiled") if compiled else plain
            if compiled and plain == case.arms:
                continue
            case = replace(case, arms=arms)
            rounds, budget = (2, 0.0) if profile == "smoke" else (5, 0.5)
            yield Task("cost", asdict(case), partial(step.measure, case, rounds, budget), 30.0 if compiled else 4.0)


def sharing(profile: str, device: str) -> Iterator[Task]:
    """Small runs that share the card."""
    for runs in (1, 2) if profile == "smoke" else (1, 4, 16):
        case = replace(run.loop_case(profile, device), loops=(), shared=((runs, 1),))
        yield Task("sharing", asdict(case), partial(run.together, case, 1), 30.0 + 2 * runs)


LOOKED_UP = ("vq", "EMA, revival", "cosine", "normalised", "residual, graph")  # no other matrix product
COMPILING = 8  # processes that compile at a time


class Plan(NamedTuple):
    """What comes before the runs of the full profile, and what after them."""

    first: list[Task]  #: in this process
    captured: list[Task]  #: in another, since a failure may leave the card unusable for it
    compiled: list[Task]  #: in several
    last: list[Task]


def plan(profile: str, device: str) -> Plan:
    """All but the runs of the full profile, the most telling first."""
    names = list(subjects())
    if profile == "smoke":
        names = [name for name in names if not name.startswith("estimator ") or name == "estimator ste"]
    quick = [name for name, mode in MODES.items() if not (mode.compiled or mode.captured or mode.tf32)]
    config = {"megabytes": 16 if profile == "smoke" else 1024, "device": torch.device(device).type}
    card = Task("card", config, partial(card_limits, device, config["megabytes"]), 5.0)
    first = [card, *tests(quick, names, device, 1.0), *tests(["TF32"], LOOKED_UP, device, 1.0)]
    first += [*costs(profile, device, compiled=False), *sharing(profile, device)]
    return Plan(
        first,
        captured=list(tests(["CUDA graph"], names, device, 1.0)),
        compiled=list(tests(["compiled"], names, device, 20.0)),
        last=list(costs(profile, device, compiled=True)),
    )


def _work_through(todo: list[Task], folder: Path, device: str, deadline: float) -> dict[Path, str]:
    """Make the records that are missing while there is time; why others could not be made, by the path of each."""
    failed = {}
    for task in todo:
        path = task.path(folder)
        if path.exists() or time.monotonic() + task.seconds > deadline:
            continue
        try:
            read_or_measure(path.parent, SCHEMA, task.config, task.measure, device)
        except Exception as error:
            failed[path] = f"{type(error).__name__}: {error}"
            logger.warning("%s %s: %s", task.part, task.config, failed[path])
    return failed


def _steps_that_fit(folder: Path, todo: list[Task], budget: float, workers: int) -> int:
    """By how long a step took where runs shared the card; where that is not known, the fewest."""
    rates = [
        found["result"][f"{runs} x 1"][0]
        for task in todo
        if task.part == "sharing" and task.path(folder).exists()
        for found in [read_or_measure(folder / "sharing", SCHEMA, task.config, dict)]
        for runs, _ in found["config"]["shared"]
    ]
    per_step = min(rates, default=1.0) * workers * 3  # a batch of 128 where those had 32, and evaluations
    return next((steps for steps in STEPS if steps * per_step < budget), STEPS[-1])


def measure_all(folder: Path, minutes: float, profile: str = "standard", device: str = "cuda") -> Path:
    """Work through all parts until the time is over, and write the report.

    Args:
        folder: of the records and the report.
        minutes: after which nothing new begins. Something that has begun may end a little later.
        profile: "smoke": tiny sizes, for a test on a CPU; "standard" and "full": what a card is asked.
        device: "cuda", or "cpu" to try it.

    Returns:
        The path of the report.

    Raises:
        ValueError: the device is not there.
    """
    find_device(device)
    deadline = time.monotonic() + 60 * minutes
    todo = plan(profile, device)
    failed = _work_through(todo.first, folder, device, deadline)
    for tasks, workers in ((todo.captured, 1), (todo.compiled, 2 if profile == "smoke" else COMPILING)):
        missing = [task for task in tasks if not task.path(folder).exists()]
        shares = [(missing[i::workers], folder, device, deadline) for i in range(min(workers, len(missing)))]
        in_processes(_work_through, shares, budget=deadline - time.monotonic())

    workers, share = (2, 0.9) if profile == "smoke" else (8, 0.7)
    budget = share * (deadline - time.monotonic())
    steps = 3 if profile == "smoke" else _steps_that_fit(folder, todo.first, budget, workers)
    configs = slice_configs(profile, steps)[: workers if profile == "smoke" else None]
    runs = Records(folder / "training")
    if budget > LEAST_SECONDS and runs.missing(configs):
        in_processes(_train_slice, [(configs, folder / "training", workers, device)], budget=budget)
    failed |= _work_through(todo.last, folder, device, deadline)

    left = [task for part in todo for task in part if not task.path(folder).exists()]
    notes = [f"{task.part}: {task.config}: {failed.get(task.path(folder), 'not done')}" for task in left]
    untrained = len(runs.missing(configs))
    notes += [f"training: {untrained} of {len(configs)} runs of {steps:,} steps"] if untrained else []
    report = folder / "report.md"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(markdown(folder, notes), "utf-8")
    return report
