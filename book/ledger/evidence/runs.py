"""Claims that rest on records of runs: the comparison is computed anew from whatever records there are.

A comparison names a metric, two arms and a cell, ``lower(test_mse, rotation / ste, init=uniform)``. Settings are
``field=value``, joined by `` + ``; a bare name is an estimator. Every field that neither arm nor cell names stays at
its default of :class:`.Config`, but for the seed, by which runs are paired. A record is looked for in the folder of
every chapter.

What is compared is the ratio of the two arms with its 95 percent t interval, on the seeds that confirm (from 100 on)
where there are 10 pairs of them, else on those that explore where there are 5. A claim is settled where the interval
says so. It is open with fewer pairs, where the interval holds 1, and where a run diverged.
"""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path

from rotvq.analysis.stats import Paired, ratio
from rotvq.analysis.wording import close as within
from rotvq.analysis.wording import seed_ranges, separated
from rotvq.runs.records import Records, status
from rotvq.training.config import Config

from .base import Finding, evidence, found

PHASES = ((range(100, 200), 10), (range(100), 5))  # seeds, and how many pairs settle a claim: confirm, explore
KINDS = {field.name: field.type for field in fields(Config)}


@evidence
def lower(metric, arms, *where, records: Path):
    """Of arms a / b, a has the lower metric; with alternatives `` | `` in the cell, in at least one of the cells."""
    return _settle(metric, arms, where, records, lambda pair: {"lower": True, "higher": False}.get(separated(pair)))


@evidence
def higher(metric, arms, *where, records: Path):
    """Of arms a / b, a has the higher metric; with alternatives `` | `` in the cell, in at least one of the cells."""
    return _settle(metric, arms, where, records, lambda pair: {"higher": True, "lower": False}.get(separated(pair)))


@evidence
def close(metric, arms, share, *where, records: Path):
    """The ratio of arms a / b lies within ``share`` of 1, up or down by that factor; false where it lies outside."""
    bound = float(share)
    return _settle(metric, arms, where, records, lambda pair: {"yes": True, "no": False}.get(within(pair, bound)))


def _settle(metric, arms, where, records, judge) -> Finding | None:
    """A claim about at least one of the cells. Its intervals are wider where there are several (Bonferroni)."""
    at = next((int(part.removeprefix("at=")) for part in where if part.startswith("at=")), None)
    choices = [part.split(" | ") for part in where if not part.startswith("at=")]
    cells = [" + ".join(parts) for parts in itertools.product(*choices)]
    level = 1 - 0.05 / len(cells)
    pairs = {cell: _pair(metric, *arms.split(" / "), cell, at, records, level) for cell in cells}
    pairs = {cell: pair for cell, pair in pairs.items() if pair}
    if not pairs:
        return None
    said = {cell: judge(pair) if enough and not pair.diverged else None for cell, (pair, enough, _) in pairs.items()}
    claim = True if True in said.values() else False if [*said.values()] == [False] * len(cells) else None
    shown = next((cell for cell, one in said.items() if one == claim), next(iter(pairs)))
    pair, _, seeds = pairs[shown]
    extra = {"cells": len(cells), "cell": shown} if len(cells) > 1 else {}
    return found(
        claim,
        None,
        **extra,
        ratio=pair.mean,
        low=pair.low,
        high=pair.high,
        pairs=pair.n,
        seeds=seed_ranges(seeds),
        diverged=pair.diverged,
    )


def _pair(metric, a, b, cell, at, records, level) -> tuple[Paired, bool, list[int]] | None:
    """The ratio a / b in a cell, whether it has pairs enough, and their seeds; None where there is no pair."""
    first, *others = sorted(path for path in records.glob("*") if path.is_dir()) or [records]
    store, arms = Records(first, neighbours=others), [_config(cell, arm) for arm in (a, b)]
    phases = []
    for seeds, least in PHASES:
        values = {}
        for seed in seeds:
            both = [_value(store, replace(arm, seed=seed), metric, at) for arm in arms]
            if () not in both:
                values[seed] = both
        if values:
            phases.append((ratio(*zip(*values.values(), strict=True), level=level), len(values) >= least, [*values]))
    return next((one for one in phases if one[1]), phases[-1] if phases else None)


def _value(store: Records, config: Config, metric: str, at: int | None):
    """A metric of a run, at its last stop or at step ``at``; None where it diverged before, () without a record."""
    path = store.path(config)
    if not path.exists() or not (rows := _rows(path.parent, config, path.stat().st_mtime_ns)):
        return ()
    final, stops = rows
    row = final if at is None else next((stop for stop in stops if stop["step"] == at), {})
    if metric not in row and final.get("diverged_at") is None:
        raise ValueError(f"record {config.id} has no {metric!r}" + (f" at step {at}" if at is not None else ""))
    return row.get(metric)


@lru_cache(maxsize=4096)
def _rows(folder: Path, config: Config, _changed: int) -> tuple[dict, list[dict]] | None:
    """The final row and the stops of a record; None for one that today's code does not reproduce."""
    record = Records(folder).get(config)
    result = record["result"]
    return None if status(record) == "stale" else (result["final"], result.get("curve", {}).get("stops", []))


def _config(cell: str, arm: str) -> Config:
    """Settings of a cell, then those of an arm."""
    settings = {}
    for setting in filter(None, f"{cell} + {arm}".split(" + ")):
        name, equals, value = setting.partition("=")
        name, value = (name, value) if equals else ("estimator", name)
        settings[name] = _read(KINDS.get(name, "str"), value)
    return Config.from_dict(settings).check()


def _read(kind: str, text: str):
    """``0.5..2`` as a pair, ``none`` as None where a field may be None, numbers as numbers."""
    if kind.endswith("None") and text == "none":
        return None
    if kind.startswith("tuple"):
        return tuple(map(float, text.split("..")))
    return text if kind == "str" else float(text)
