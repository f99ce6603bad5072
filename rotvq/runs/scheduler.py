"""Many runs: which have no record yet, what they will cost, and training them in an engine.

Whatever kills a grid costs the runs in flight; calling again trains the rest.
"""

import logging
import math
import os
import statistics
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from dataclasses import replace
from math import inf
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from rotvq.quantizers.codebook import FROM_LATENTS
from rotvq.runs import engines, provenance
from rotvq.runs.engines import Engine, WorkerDied
from rotvq.runs.records import Records
from rotvq.training.config import Config
from rotvq.training.train import Run, find_device, train

STEP = 0.010  # seconds a step at batch 32 on one core of a server, where no record tells
EVALUATION = 100  # steps that cost as much as an evaluation of the test split; of the validation split, half
SIZE = attrgetter("data", "model", "norm", "dim", "codebook_size", "lookup")  # what sets the cost of a step
logger = logging.getLogger(__name__)


class Failure(NamedTuple):
    """Why a run has no record: the error that it raised, or `WorkerDied`."""

    error: BaseException

    def __str__(self) -> str:
        return f"{type(self.error).__name__}: {self.error}"


def run(
    configs: Iterable[Config],
    records: Records,
    engine: str | AbstractContextManager[Engine] = "serial",
    *,
    device: str = "cpu",
    cap: float = inf,
    progress: bool = True,
    fn: Callable[..., dict] = train,
) -> Iterator[tuple[Config, dict | Failure]]:
    """Train those of ``configs`` that have no record; a run whose worker died is tried once more.

    Args:
        configs: the runs.
        records: the store of their records.
        engine: where they run: an engine or its name, see `rotvq.runs.engines.find_engine`.
        device: the device of each.
        cap: core-hours above which nothing is started.
        progress: whether to show a bar in a terminal.
        fn: what trains one run.

    Yields:
        Each run with its record or its `Failure`, as it ends.

    Raises:
        ValueError: a config, engine, device or store is refused, or the cost is above the cap; nothing has run then.

    >>> import tempfile
    >>> runs = [Config(data="fashion-mnist-mini", codebook_size=16, steps=3, seed=seed) for seed in (0, 1)]
    >>> records = Records(tempfile.mkdtemp())
    >>> [(config.seed, record["result"]["final"]["step"]) for config, record in run(runs, records)]
    [(0, 3), (1, 3)]
    >>> list(run(runs, records))                        # what has a record is not trained again
    []
    """
    provenance.code()  # so that the records tell the code that this process has read
    configs = [config.check() for config in dict.fromkeys(configs)]
    with engines.find_engine(engine) if isinstance(engine, str) else engine as entered:
        missing = records.missing(configs)
        hours = estimate(missing, records) / 3600
        if hours > cap:
            raise ValueError(f"{len(missing)} runs would take {hours:.1f} core-hours, over the cap of {cap:g} (--over)")
        chosen = records.missing(entered.choose(configs))
        if chosen:
            records.prepare()
        if device != "cpu" and chosen:
            entered.submit(find_device, device).result()  # tried where the runs will run
        with tqdm(total=len(chosen), unit="run", disable=not (progress and sys.stderr.isatty())) as bar:
            for config, outcome in _outcomes(chosen, records, entered, device, fn):
                bar.update()
                yield config, outcome


def _outcomes(configs: list[Config], records: Records, engine: Engine, device: str, fn: Callable[..., dict]):
    waiting = configs[::-1]
    running: dict[Future, Config] = {}
    retried: set[Config] = set()
    while waiting or running:
        while waiting and len(running) < engine.queue:
            config = waiting.pop()
            running[engine.submit(_work, fn, config, device, records.folder.absolute())] = config
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            config = running.pop(future)
            died = isinstance(future.exception(), WorkerDied)
            written = records.get(config)
            if died and not written and config not in retried:
                retried.add(config)
                waiting.append(config)
                continue
            try:
                outcome = written or records.put(config, *future.result())
            except Exception as error:
                outcome = Failure(error)
                records.fail(config, str(outcome))
                logger.warning("run %s failed: %s", config.id, outcome)
            yield config, outcome


def _work(fn: Callable[..., dict], config: Config, device: str, store: Path) -> tuple[dict, dict]:
    """In a worker: the result of one run on one thread, and its provenance, recorded at once if the store is here."""
    clock = time.process_time if device == "cpu" else time.perf_counter  # other work hardly changes processor time
    start, wall = clock(), time.perf_counter()
    result = fn(config, device=device, threads=1)
    spent = {"seconds": clock() - start, "wall_seconds": time.perf_counter() - wall}
    made = provenance.describe(config, device=device, threads=1, **spent)
    if store.is_dir():  # a worker may be on a machine without it; then who submitted the run records it
        Records(store).put(config, result, made)
    return result, made


def cost_in_steps(config: Config) -> float:
    """What a run costs, in steps at batch 32: a step costs 0.4 + 0.6 batch/32, and evaluations come on top."""
    evaluations = 1.5 + (config.steps // 500).bit_length()
    return (config.pretrain_steps + config.steps) * (0.4 + 0.6 * config.batch / 32) + EVALUATION * evaluations


def estimate(configs: Iterable[Config], records: Records | None = None) -> float:
    """Seconds that runs would take on one core: by the median rate of records of runs of that size, else by `STEP`."""
    rates: dict[tuple, list[float]] = defaultdict(list)
    for config in records.all() if records else []:
        if seconds := records.get(config)["provenance"].get("seconds"):
            rates[SIZE(config)].append(seconds / cost_in_steps(config))
    medians = {size: statistics.median(values) for size, values in rates.items()}
    return sum(cost_in_steps(config) * medians.get(SIZE(config), STEP) for config in configs)


def rehearse(configs: Iterable[Config], device: str = "cpu") -> None:
    """Take one step of each kind of run, so that what cannot be trained is refused before anything is trained.

    Runs that differ in their seeds alone are one kind.

    Raises:
        ValueError: Names the fields of a run that fails, and why it does.
    """
    for config in {replace(config, seed=0): config for config in configs}.values():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the run itself will say it
                _first_step(config, device)
        except Exception as error:  # whatever it is: the sentence says which run and why
            said = ", ".join(f"{name} {value}" for name, value in config.changed.items())
            reason, *_ = str(error).splitlines() or [repr(error)]
            raise ValueError(f"a run with {said or 'the defaults'} cannot be trained: {reason}") from error


def _first_step(config: Config, device: str) -> None:
    size, dim = config.codebook_size, config.project_to or config.dim
    needed, have = 16 * size * dim, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > have:  # codes, their gradient and two moments
        said = f"{needed / 2**30:,.0f} GiB, and this machine has {have / 2**30:,.0f}"
        raise ValueError(f"a codebook_size of {size} in {dim} dimensions takes {said}")
    few = {"steps": 2, "pretrain_steps": min(config.pretrain_steps, 1), "init_latents": min(config.init_latents, size)}
    run = Run.from_config(replace(config, **few), device)
    x = run.next_batch()
    if x.shape[2:] == (1, 1) and config.model == "conv":
        raise ValueError("the data are vectors, which model 'mlp' takes: --model mlp, or in common of notebook 29")
    shape = " x ".join(map(str, x.shape[1:]))
    try:
        z = run.model.encode(x)
        seen = " x ".join(map(str, run.model.decode(z).shape[1:]))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"model {config.model!r} does not take {len(x)} x {shape} a batch ({error})") from error
    if seen != shape:
        raise ValueError(f"model {config.model!r} gives {seen} for data of {shape}: take another size")
    latents = len(run.pixels) * math.prod(z.shape[1:-1])
    if config.init in FROM_LATENTS and latents < size:
        raise ValueError(f"the training split gives {latents} latents, and init {config.init!r} needs {size}")
    if run.step < 0:
        run.pretrain_step()
    run.start_codes()
    run.train_step()
