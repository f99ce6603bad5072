"""Many runs: which have no record yet, what they will cost, and training them in an engine.

Whatever kills a grid costs the runs in flight; calling again trains the rest.
"""

import logging
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from math import inf
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from rotvq.runs import engines, provenance
from rotvq.runs.engines import Engine, WorkerDied
from rotvq.runs.records import Records
from rotvq.training.config import Config
from rotvq.training.train import find_device, train

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
    try:
        result = fn(config, device=device, threads=1)
    except SystemExit as stop:  # the run fails, and no other
        raise ValueError(f"a part of your own ended the process, by {stop!r}") from stop
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
