"""Arms compared cell by cell, paired by seed: the numbers behind a page of an experiment.

An *arm* is what is compared (an estimator, a commitment weight, a rival), a *cell* the conditions it is compared under
(a start of the codebook, a size), as in a :class:`.Block` of a chapter. Seeds below `FRESH` explore, the others
confirm; no interval holds both. A run without a record is left out of every number, and `Runs.coverage` says how many
are.

Methods share some arguments. ``metric``: ``test_`` and ``validation_`` metrics are those of the final record or of a
stop, ``seconds`` those of the run, others those of the trace of batches. ``at``: the step; None is the last one.
``fresh``: of the seeds that confirm. ``against``: the reference, an arm in the same cell, or (arm, cell) for all.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from rotvq.analysis import stats
from rotvq.analysis.stats import Paired
from rotvq.analysis.wording import coverage
from rotvq.runs.grids import FRESH, Block
from rotvq.runs.records import Records
from rotvq.training.config import FIELDS, Config

EMPTY = ["id", "seed", "step", "steps", "seconds", "status", "diverged_at"]  # columns, where no run has a record
Key = tuple[str, str]  # the names of an arm and of a cell


class Runs:
    """The runs that a page plans, and those of them that have a record: `shown`.

    Args:
        planned: The runs.
        records: Where their records are.
        published: Whether they are the grid that the sentences of the page are about.
        expand: The Configs of a Block under the page's profile and parameters.
    """

    smoke = False  # whether they are so short that they decide nothing

    def __init__(
        self,
        planned: Iterable[Config],
        records: Records,
        published: bool = False,
        expand: Callable[[Block], list[Config]] = Block.configs,
    ):
        self.planned, self.records, self.published = list(dict.fromkeys(planned)), records, published
        self.shown = [config for config in self.planned if records.path(config).exists()]
        self.expand = expand

    @property
    def coverage(self) -> str:
        """How much of the plan is shown, in words."""
        return coverage(len(self.shown), len(self.planned))

    @cached_property
    def final(self) -> pd.DataFrame:
        """A row a run: what its record ends with."""
        return self._frame(self.records.load)

    @cached_property
    def stops(self) -> pd.DataFrame:
        """A row a run and step at which it was evaluated."""
        return self._frame(self.records.stops)

    @cached_property
    def trace(self) -> pd.DataFrame:
        """A row a run and traced batch."""
        return self._frame(self.records.trace)

    def _frame(self, load: Callable[[list[Config]], pd.DataFrame]) -> pd.DataFrame:
        frame = load(self.shown) if self.shown else pd.DataFrame()
        return frame if len(frame) else pd.DataFrame(columns=EMPTY)  # no run, or none that was evaluated


class Study:
    """Every arm in every cell of some blocks, over the planned runs of a page, whatever their seeds.

    A block may be the chapter's own or any other: what it names and nobody planned is absent. `planned` and `members`
    have the runs of each arm and cell, all or those with a record.

    Raises:
        ValueError: Nothing of it was planned, or two runs of one seed would stand in one place.
    """

    def __init__(self, runs: Runs, *blocks: Block):
        self.runs = runs
        self.arms = {arm: fields for block in blocks for arm, fields in block.arms.items()}
        self.cells = {cell: {**block.base, **fields} for block in blocks for cell, fields in block.cells.items()}
        self.planned: dict[Key, list[Config]] = {}
        planned, seeds = set(runs.planned), sorted({config.seed for config in runs.planned})
        for block in blocks:
            for (cell, conditions), (arm, changes) in itertools.product(block.cells.items(), block.arms.items()):
                one = Block({arm: changes}, {cell: conditions}, seeds, block.base)
                found = {*self.planned.get((arm, cell), []), *planned.intersection(runs.expand(one))}
                self.planned[arm, cell] = _by_seed(arm, cell, found)
        if not any(self.planned.values()):
            raise ValueError(f"no planned run has these arms and cells: {', '.join((*self.arms, *self.cells))}")
        shown = set(runs.shown)
        members = {key: [config for config in configs if config in shown] for key, configs in self.planned.items()}
        self.members = {key: configs for key, configs in members.items() if configs}

    @property
    def coverage(self) -> str:
        """How much of the study is shown, in words."""
        return coverage(*(len({c for found in part.values() for c in found}) for part in (self.members, self.planned)))

    @property
    def last(self) -> int:
        """The last step that is planned."""
        return max(config.steps for configs in self.planned.values() for config in configs)

    @property
    def steps(self) -> list[int]:
        """Every stop at which a run of the study was evaluated; the last step where none was, since all diverged."""
        ids = {config.id for found in self.members.values() for config in found}
        return sorted({int(step) for step in self.runs.stops[self.runs.stops.id.isin(ids)].step}) or [self.last]

    def seeds(self, fresh: bool = False) -> list[int]:
        """The seeds that explore, or those that confirm."""
        return sorted({config.seed for key in self.members for config in self._members(key, fresh)})

    def values(self, arm: str, cell: str, metric: str, *, at: int | None = None, fresh: bool = False) -> pd.Series:
        """A metric by seed, NaN where the run diverged before."""
        found = self._members((arm, cell), fresh)
        of_run = at is None and (metric == "seconds" or _evaluated(metric))
        frame = self.runs.final if of_run else self._over_training(metric)
        frame = frame[frame.id.isin({config.id for config in found})]
        if not of_run:
            frame = frame[frame.step == (frame.step.max() if at is None else at)]
        by_id = _column(frame, metric)
        return pd.Series({config.seed: by_id.get(config.id, np.nan) for config in found}, name=metric, dtype=float)

    def mean(self, arm: str, cell: str, metric: str, **where: Any) -> float:
        """The mean over the seeds whose run did not diverge."""
        return float(self.values(arm, cell, metric, **where).mean())

    def curve(self, arm: str, cell: str, metric: str) -> pd.DataFrame:
        """A metric over training, of the seeds that explore: a row a seed, a column a step, NaN after a divergence."""
        frame = self._over_training(metric)
        frame = frame[frame.id.isin({config.id for config in self._members((arm, cell))})]
        return frame.pivot(index="seed", columns="step", values=metric) if len(frame) else pd.DataFrame()

    def pair(
        self,
        arm: str,
        cell: str,
        metric: str = "test_mse",
        *,
        against: str | Key,
        at: int | None = None,
        fresh: bool = False,
    ) -> Paired | None:
        """The ratio arm / against over the seeds that both have, by :func:`.stats.ratio`; None where there are none."""
        a, b = (self.values(*key, metric, at=at, fresh=fresh) for key in ((arm, cell), reference(against, cell)))
        seeds = a.index.intersection(b.index)
        return stats.ratio(a[seeds].tolist(), b[seeds].tolist()) if len(seeds) else None

    def pairs(
        self, metric: str = "test_mse", *, against: str | Key, at: int | None = None, fresh: bool = False
    ) -> dict[Key, Paired | None]:
        """`pair` of every arm in every cell where it is planned, by (arm, cell)."""
        planned = [key for key, found in self.planned.items() if of_phase(found, fresh)]
        keys = [key for key in planned if against not in (key, key[0])]
        return {key: self.pair(*key, metric, against=against, at=at, fresh=fresh) for key in keys}

    def best(
        self, metric: str = "test_mse", cells: Iterable[str] | None = None, *, fresh: bool = False
    ) -> dict[str, tuple[float, str]]:
        """Of each arm its lowest mean and that cell, best arm first. A cell in which a run diverged is left out.

        Only ``cells`` are compared, or all where that is None.
        """
        chosen = list(self.cells if cells is None else cells)
        found = {key: self.values(*key, metric, fresh=fresh) for key in self.members if key[1] in chosen}
        means = [(float(v.mean()), arm, cell) for (arm, cell), v in found.items() if len(v) and v.notna().all()]
        lowest: dict[str, tuple[float, str]] = {}
        for mean, arm, cell in sorted(means):
            lowest.setdefault(arm, (mean, cell))
        return lowest

    def _members(self, key: Key, fresh: bool = False) -> list[Config]:
        return of_phase(self.members.get(key, []), fresh)

    def _over_training(self, metric: str) -> pd.DataFrame:
        return self.runs.stops if _evaluated(metric) else self.runs.trace


def of_phase(configs: Iterable[Config], fresh: bool) -> list[Config]:
    """Those whose seeds confirm, or explore."""
    return [config for config in configs if (config.seed >= FRESH) == fresh]


def _evaluated(metric: str) -> bool:
    return metric.startswith(("test_", "validation_"))


def reference(against: str | Key, cell: str) -> Key:
    """What an arm in this cell is compared with."""
    return (against, cell) if isinstance(against, str) else against


def _by_seed(arm: str, cell: str, configs: Iterable[Config]) -> list[Config]:
    """In the order of their seeds. ValueError where two runs have one seed."""
    by_seed: dict[int, Config] = {}
    for config in configs:
        if (other := by_seed.setdefault(config.seed, config)) is not config:
            differ = [name for name in FIELDS if getattr(config, name) != getattr(other, name)]
            raise ValueError(f"{arm}, {cell}: two runs of seed {config.seed}, which differ in {', '.join(differ)}")
    return [by_seed[seed] for seed in sorted(by_seed)]


def _column(frame: pd.DataFrame, metric: str) -> dict[str, float]:
    """A metric by run. ValueError where runs that did not diverge lack it."""
    if metric not in frame and ("diverged_at" not in frame or frame.diverged_at.isna().any()) and len(frame):
        raise ValueError(f"unknown metric {metric!r}: one of {', '.join(frame.columns)}")
    return frame.set_index("id")[metric].to_dict() if metric in frame else {}
