"""What rounding alone does: runs of the rotation before a faster pull-back changed how it rounds, and after."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from statistics import median

import pandas as pd

from rotvq.analysis import stats
from rotvq.analysis.stats import Paired
from rotvq.analysis.study import Runs, Study
from rotvq.analysis.wording import separated
from rotvq.runs.grids import FRESH, stores_folder
from rotvq.training.config import Config


def test_mse_before() -> pd.Series:
    """Test MSE by the id of a run, before that change; empty where the file is not there."""
    path = stores_folder().parent / "rounding.csv"
    if not path.exists():
        return pd.Series(dtype=float)
    return pd.read_csv(path, comment="#", index_col="id").test_mse


def before_rounding_changed(study: Study, cell: str) -> Paired | None:
    """Test MSE, rotation / STE, on the fresh seeds of a cell, with the runs of the rotation as they were before."""
    before, ste = test_mse_before(), study.values("STE", cell, "test_mse", fresh=True)
    found = {c.seed: before[c.id] for c in study.members.get(("rotation", cell), []) if c.id in before}
    seeds = [seed for seed in found if seed in ste.index]
    return stats.ratio([found[seed] for seed in seeds], ste[seeds].tolist()) if seeds else None


def rounded(runs: Runs) -> dict[str, object]:
    """How the shown runs differ from what they were before, and what that does to ratios over five seeds or more.

    Returns:
        runs: How many can be compared. change, seeds: The median change of a run's test MSE, and the median difference
        of two seeds of one arm. pairs, moved, turned: How many ratios to STE there are, by how much they moved in the
        median, and how many changed what their interval says.
    """
    before, now = test_mse_before(), runs.final.set_index("id").test_mse.dropna()
    common = before.index.intersection(now.index)
    found = [c for c in runs.shown if c.id in common and c.quantizer != "hessian"]  # that one changed in more than this
    if not found:
        return dict.fromkeys(("runs", "change", "seeds", "pairs", "moved", "turned"), "not compared")
    arms: dict[Config, list[Config]] = {}
    for config in found:
        arms.setdefault(replace(config, seed=0), []).append(config)
    twins = [two for arm in arms.values() for two in itertools.combinations(arm, 2)]
    ratios = [two for arm in arms.values() for fresh in (False, True) if (two := _ratios(arm, fresh, before, now))]
    return {
        "runs": len(found),
        "change": _percent([math.log(now[c.id] / before[c.id]) for c in found]),
        "seeds": _percent([math.log(now[a.id] / now[b.id]) for a, b in twins]),
        "pairs": len(ratios),
        "moved": _percent([math.log(new.mean / old.mean) for old, new in ratios]),
        "turned": sum(separated(old) != separated(new) for old, new in ratios),
    }


def _ratios(arm: list[Config], fresh: bool, before: pd.Series, now: pd.Series) -> list[Paired]:
    """The ratio of an arm to STE before and now, on the seeds that explore or those that confirm; none below five."""
    both = [(c.id, replace(c, estimator="ste").id) for c in arm if (c.seed >= FRESH) == fresh]
    both = [(rotation, ste) for rotation, ste in both if ste in now.index]
    if len(both) < 5:
        return []
    return [stats.ratio([mse[a] for a, _ in both], [now[b] for _, b in both]) for mse in (before, now)]


def _percent(logs: list[float]) -> str:
    """The median size of changes that are given as logarithms."""
    return f"{100 * (math.exp(median(map(abs, logs))) - 1):.1f} %"
