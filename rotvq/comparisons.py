"""Arms compared cell by cell, paired by seed: the tables and sentences of the experiment pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from rotvq import stats
from rotvq.stats import Paired

Cells = Mapping[str, Mapping[str, Any]]  # label -> the fields of Config that pick the cell's runs


def runs(frame: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows whose fields have these values, in order of their seeds."""
    for name, value in where.items():
        frame = frame[frame[name] == value]
    return frame.sort_values("seed")


def ratio(frame: pd.DataFrame, metric: str, arm: Mapping, against: Mapping, **where: Any) -> Paired:
    """Geometric mean of metric(arm) / metric(against) over the seeds that both have; see :func:`rotvq.stats.ratio`."""
    a, b = (runs(frame, **where, **fields).set_index("seed")[metric] for fields in (arm, against))
    seeds = a.index.intersection(b.index)
    return stats.ratio(a[seeds].tolist(), b[seeds].tolist())


def table(frame: pd.DataFrame, metric: str, cells: Cells, arm: Mapping, against: Mapping) -> pd.DataFrame:
    """A row a cell: the mean of both, the ratio with its interval, the exact p, and Holm's p over these rows."""
    pairs = {label: ratio(frame, metric, arm, against, **where) for label, where in cells.items()}
    adjusted = stats.holm([pair.p for pair in pairs.values()])
    rows = {}
    for (label, pair), holm in zip(pairs.items(), adjusted, strict=True):
        means = [f"{runs(frame, **cells[label], **fields)[metric].mean():.5f}" for fields in (against, arm)]
        rows[label] = [*means, times(pair), pair.n, f"{pair.p:.3f}", f"{holm:.3f}"]
    return pd.DataFrame.from_dict(rows, "index", columns=["against", "arm", "ratio (95 % CI)", "n", "p", "Holm p"])


def times(pair: Paired) -> str:
    """A ratio with its interval, for a table: '0.56 (0.53 to 0.59)'."""
    return f"{pair.mean:.3g} ({pair.low:.3g} to {pair.high:.3g})"


def separated(pair: Paired) -> str:
    """'lower', 'higher', or 'not separated' where the interval of a ratio contains 1."""
    return "lower" if pair.high < 1 else "higher" if pair.low > 1 else "not separated"


def phrase(pair: Paired) -> str:
    """A ratio as a change with its interval: '-3.2 % (95 % CI -5.0 to -1.3, n = 5)', with a true minus sign."""
    change, low, high = (f"{100 * (x - 1):+.1f}".replace("-", "−") for x in (pair.mean, pair.low, pair.high))
    return f"{change} % ({pair.level:.0%} CI {low} to {high}, n = {pair.n})".replace("95%", "95 %")
