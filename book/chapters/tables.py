"""The tables of the pages of experiments, from a :class:`.Study`: its plan, its comparisons and verdicts, its means.

:mod:`rotvq.analysis.study` says what ``metrics``, ``against`` and, in ``where``, ``at`` and ``fresh`` mean. A run
without a record is left out of every table but the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from rotvq.analysis import stats
from rotvq.analysis.stats import Paired
from rotvq.analysis.study import Key, Study, of_phase, reference
from rotvq.analysis.wording import NO_VERDICT, ratio_text, ratio_with_n, seed_ranges, title
from rotvq.training.config import Config

ALPHA = 0.05  # of the primary comparisons of a page together


def plan(study: Study) -> pd.DataFrame:
    """What was planned: a row an arm and a cell, the fields that it sets, the seeds, the runs with a record."""
    parts = {("arm", arm): (fields, 0) for arm, fields in study.arms.items()}
    parts |= {("cell", cell): (fields, 1) for cell, fields in study.cells.items() if cell}
    shown, rows = set(study.runs.shown), {}
    for (part, label), (fields, place) in parts.items():
        configs = {config for key, found in study.planned.items() if key[place] == label for config in found}
        done = len(configs & shown)
        sets = [f"{name} {_in_runs(name, value, configs)}" for name, value in fields.items()]
        rows[part, label] = {
            "sets": ", ".join(sets) or "nothing",
            "seeds": seed_ranges(config.seed for config in configs),
            "runs": f"{done} of {len(configs)}" if done < len(configs) else str(done),
        }
    return pd.DataFrame.from_dict(rows, "index")


def _in_runs(name: str, value: object, configs: Iterable[Config]) -> object:
    """The value of a field in these runs, which the smoke profile or a parameter may have replaced."""
    found = {getattr(config, name) for config in configs}
    return value if not found or value in found else " and ".join(sorted(map(str, found)))


def comparisons(study: Study, *, against: str | Key) -> pd.DataFrame:
    """A row a comparison: both means of test MSE, and its ratio on seeds that explore and on those that confirm."""
    phases = {fresh: study.pairs(against=against, fresh=fresh) for fresh in (False, True)}
    keys = [key for key in study.members if any(pairs.get(key) for pairs in phases.values())]
    arm_name = keys[0][0] if len({arm for arm, _ in keys}) == 1 else "arm"
    names = against if isinstance(against, str) else ", ".join(against), arm_name
    rows = []
    for key in keys:
        first = next(fresh for fresh, pairs in phases.items() if pairs.get(key))
        means = [study.mean(*one, "test_mse", fresh=first) for one in (reference(against, key[1]), key)]
        ratios = {
            f"ratio, seeds {seed_ranges(study.seeds(fresh))}": ratio_with_n(pairs.get(key))
            for fresh, pairs in phases.items()
            if any(pairs.values())
        }
        rows.append(dict(zip(names, (f"{mean:.4g}" for mean in means))) | ratios)
    return pd.DataFrame(rows, index=row_labels(keys))


def verdicts(study: Study, expected: Mapping[Key, str], *, against: str | Key) -> pd.DataFrame:
    """The primary comparisons of test MSE, ``expected`` to be 'lower' or 'higher': what came out, and the verdict.

    On the seeds that confirm, or on the others where none are planned. Holm's correction counts all that were
    named. One that lacks planned pairs has no p-value: stopping early is no part of the plan. See :func:`verdict`.
    """
    every = [config for configs in study.planned.values() for config in configs]
    fresh = bool(of_phase(every, True))
    ratio = f"ratio, seeds {seed_ranges(config.seed for config in of_phase(every, fresh))}"
    rows, whole = {}, {}
    for key, direction in expected.items():
        pair = study.pair(*key, against=against, fresh=fresh)
        both = [study.planned.get(one, []) for one in (key, reference(against, key[1]))]
        planned = len(set.intersection(*({config.seed for config in of_phase(part, fresh)} for part in both)))
        done = pair.n + pair.diverged if pair else 0
        whole[key] = pair if done == planned else None
        words = f"{done} of {planned} pairs run" if done else "not run"
        rows[key] = {"expected": direction, ratio: ratio_with_n(pair), "p": "", "Holm p": "", "verdict": words}
    adjusted = stats.holm([pair.p if pair else 1.0 for pair in whole.values()])
    for (key, pair), p in zip(whole.items(), adjusted):
        if pair:
            words = NO_VERDICT if study.runs.smoke else verdict(pair, expected[key], p)
            rows[key] |= {"p": f"{pair.p:.3g}", "Holm p": f"{p:.3g}", "verdict": words}
    return pd.DataFrame(list(rows.values()), index=row_labels(list(expected)))


def ratios(study: Study, metrics: Sequence[str], *, against: str | Key, **where: Any) -> pd.DataFrame:
    """A row a comparison, a column a metric: the ratios with their intervals, all of them descriptive."""
    found = {title(metric): study.pairs(metric, against=against, **where) for metric in metrics}
    keys = [key for key in study.members if any(pairs.get(key) for pairs in found.values())]
    columns = {name: [ratio_text(pairs.get(key)) for key in keys] for name, pairs in found.items()}
    return pd.DataFrame(columns, row_labels(keys))


def levels(study: Study, metrics: Sequence[str], arms: Sequence[str] | None = None, **where: Any) -> pd.DataFrame:
    """A row an arm and cell, a column a metric: means over the seeds."""
    keys = [key for key in study.members if key[0] in (arms or key) and len(study.values(*key, metrics[0], **where))]
    columns = {title(metric): [f"{study.mean(*key, metric, **where):.3g}" for key in keys] for metric in metrics}
    return pd.DataFrame(columns, row_labels(keys))


def row_labels(keys: Sequence[Key]) -> list:
    """What tells the rows of a table apart, from the arm and the cell of each: cells, arms, or both as two columns."""
    arms, cells = (list(labels) for labels in zip(*keys)) if keys else ([], [])
    if len(set(arms)) <= 1 and cells != [""]:
        return cells
    return arms if len(set(cells)) == 1 else [cells, arms]


def verdict(pair: Paired | None, expected: str, p: float) -> str:
    """'as expected' or 'the opposite'; 'not settled' where Holm's p is not below `ALPHA`; 'not run'."""
    if expected not in ("lower", "higher"):
        raise ValueError(f"expected is {expected!r}: it must be lower or higher")
    if pair is None:
        return "not run"
    if p >= ALPHA:
        return "not settled"
    came_lower = pair.signs.wins > pair.signs.losses if pair.diverged else pair.mean < 1
    return "as expected" if came_lower == (expected == "lower") else "the opposite"
