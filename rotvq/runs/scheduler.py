"""Many runs: which are missing, what they will cost, and training them in an engine.

A run is finished when its record is in the store. Whatever kills a grid costs the runs in flight; calling again trains
the rest.
"""

from __future__ import annotations

import logging
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from math import inf
from typing import NamedTuple

from rotvq.runs import engines, provenance
from rotvq.runs.engines import Engine, WorkerDied
from rotvq.runs.records import Records
from rotvq.training import config as configuration
from rotvq.training.config import Config
from rotvq.training.train import train

STEP = 0.010  # seconds a step at batch 32 on one core of a server, where no record tells
STOP = 100  # an evaluation of the test split costs as much as so many steps; of the validation split, half
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
    fn=train,
) -> Iterator[tuple[Config, dict | Failure]]:
    """Train those of ``configs`` that have no record; yield each with its record, or its `Failure`, as it ends.

    A run whose worker died is tried once more. cap: core-hours above which nothing is started. Everything is checked
    before anything runs: a bad config, engine or device, or a cost above the cap, raises ValueError.

    >>> import tempfile
    >>> runs = configuration.grid(data="fashion-mnist-mini", codebook_size=16, steps=3, seed=[0, 1])
    >>> records = Records(tempfile.mkdtemp())
    >>> [(config.seed, record["result"]["final"]["step"]) for config, record in run(runs, records)]
    [(0, 3), (1, 3)]
    >>> list(run(runs, records))                        # what has a record is not trained again
    []
    """
    provenance.code()
    configs = [config.check() for config in dict.fromkeys(configs)]
    engine = engines.engine(engine) if isinstance(engine, str) else engine
    with engine as entered:
        missing = records.missing(configs)
        if (hours := estimate(missing, records) / 3600) > cap:
            raise ValueError(f"{len(missing)} runs would take {hours:.1f} core-hours, over the cap of {cap:g} (--over)")
        missing = [config for config in entered.choose(configs) if config in set(missing)]
        if device != "cpu" and missing:
            entered.submit(configuration.find_device, device).result()  # tried where the runs will run
        yield from _run(missing, records, entered, device, progress, fn)


def _run(missing: list[Config], records: Records, engine: Engine, device: str, progress: bool, fn):
    from tqdm import tqdm

    pending: dict[Future, Config] = {}
    again: set[Config] = set()
    todo = missing[::-1]
    with tqdm(total=len(todo), unit="run", disable=not (progress and sys.stderr.isatty())) as bar:
        while todo or pending:
            while todo and len(pending) < engine.queue:
                config = todo.pop()
                pending[engine.submit(_work, fn, config, device)] = config
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                config = pending.pop(future)
                try:
                    outcome = records.put(config, *future.result())
                except Exception as error:
                    if isinstance(error, WorkerDied) and config not in again:
                        again.add(config)
                        todo.append(config)
                        continue
                    outcome = Failure(error)
                    records.fail(config, str(outcome))
                    logger.warning("run %s failed: %s", config.id, outcome)
                bar.update()
                yield config, outcome


def _work(fn, config: Config, device: str) -> tuple[dict, dict]:
    """In a worker: one run on one thread, and where it came from.

    On a CPU its ``seconds`` are processor time, which other work on the machine hardly changes; elsewhere they are wall
    time, which ``wall_seconds`` are everywhere.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    start, wall = clock(), time.perf_counter()
    result = fn(config, device=device, threads=1)
    spent = {"seconds": clock() - start, "wall_seconds": time.perf_counter() - wall}
    return result, provenance.describe(config, device=device, threads=1, **spent)


def cost_in_steps(config: Config) -> float:
    """What a run costs, in steps at batch 32: a step costs 0.4 + 0.6 batch/32, a stop an evaluation."""
    stops = 1.5 + (config.steps // 500).bit_length()
    return (config.pretrain_steps + config.steps) * (0.4 + 0.6 * config.batch / 32) + STOP * stops


def estimate(configs: Iterable[Config], records: Records | None = None) -> float:
    """Seconds that the runs would take on one core: the median rate of records of the same shape, else `STEP`."""
    rates: dict[tuple, list[float]] = {}
    for config in records.all() if records else []:
        seconds = records.get(config)["provenance"].get("seconds")
        if seconds:
            rates.setdefault(_shape(config), []).append(seconds / cost_in_steps(config))
    medians = {shape: statistics.median(values) for shape, values in rates.items()}
    return sum(cost_in_steps(config) * medians.get(_shape(config), STEP) for config in configs)


def _shape(config: Config) -> tuple:
    return config.data, config.model, config.norm, config.dim, config.codebook_size, config.lookup
