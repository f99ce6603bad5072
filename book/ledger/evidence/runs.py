"""Claims that rest on records of runs: two arms are compared anew from whatever records there are.

:mod:`book.ledger.grammar` says how a row writes a comparison. What is compared is the ratio of the two arms, paired by
seed, with its 95 percent t interval: on the seeds that confirm where there are enough pairs of them, else on those
that explore. A claim is settled where the interval says so. It is open with fewer pairs, where the interval holds 1,
and where a run diverged. A record is looked for in the folder of every chapter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile
from pathlib import Path

from book.chapters import hypotheses
from book.ledger.grammar import Comparison, parse_comparison
from book.statements import Finding, all_hold, any_holds, evidence
from rotvq.analysis import wording
from rotvq.analysis.stats import Paired, ratio
from rotvq.runs.grids import CHAPTERS, CONFIRM, EXPLORE, FRESH
from rotvq.runs.records import Records, status
from rotvq.training.config import Config

# the seeds of each phase, and how many pairs of them settle a claim
PHASES = ((range(FRESH, 2 * FRESH), len(CONFIRM)), (range(FRESH), len(EXPLORE)))


@evidence
def lower(metric, arms, *conditions, records: Path):
    """Of the arms a / b, a has the lower metric, in at least one of the cells."""
    return _settle(parse_comparison(metric, arms, conditions), hypotheses.lower, records)


@evidence
def higher(metric, arms, *conditions, records: Path):
    """Of the arms a / b, a has the higher metric, in at least one of the cells."""
    return _settle(parse_comparison(metric, arms, conditions), hypotheses.higher, records)


@evidence
def close(metric, arms, share, *conditions, records: Path):
    """The ratio of the arms a / b is within ``share`` of 1, up or down by that factor, in at least one of the cells."""
    return _settle(parse_comparison(metric, arms, conditions), hypotheses.within(float(share)), records)


@evidence
def between(metric, arms, low, high, *conditions, records: Path):
    """The ratio of the arms a / b lies between ``low`` and ``high``, in at least one of the cells."""
    least, most = hypotheses.above(float(low)), hypotheses.below(float(high))
    comparison = parse_comparison(metric, arms, conditions)
    return _settle(comparison, lambda pair: all_hold([least(pair), most(pair)]), records)


LENGTHENS = "rotation"  # the arm whose codes outgrow their latents


@evidence
def ends_with_longer_codes(times, *, records: Path):
    """Of the runs of chapter 10 under the rotation after a warm-up, does one end with a mean |q|/|z| of so much?"""
    chapter = CHAPTERS["10_ste_vs_rotation"].blocks
    configs = {config for block in ("explore", "confirm") for config in chapter[block].configs()}
    warmed = [config for config in configs if config.pretrain_steps and config.estimator == LENGTHENS]
    metric = Comparison("test_r", (), (), None)
    found = _found(_folders(records))
    ratios = [_length_ratio(row) for config in warmed if (row := _row(found, config, metric))]
    if not ratios:
        return None
    reached = sum(ratio >= float(times) for ratio in ratios)
    return Finding.of(reached > 0, runs=len(ratios), reached=reached, largest=max(ratios))


def _length_ratio(row: dict) -> float:
    """The mean |q|/|z| at the end of a run, on test images."""
    return row["test_r"]


def _folders(records: Path) -> tuple[tuple[Path, int], ...]:
    """The folders of records, with the times of their last change."""
    folders = sorted(path for path in records.glob("*") if path.is_dir()) or [records]
    return tuple((folder, folder.stat().st_mtime_ns) for folder in folders)


@dataclass(frozen=True)
class _Measured:
    """The ratio of two arms in a cell, the seeds of its pairs, and whether they are enough to settle a claim."""

    pair: Paired
    seeds: list[int]
    enough: bool

    def says(self, rule: hypotheses.Rule) -> bool | None:
        """Whether the ratio is as the rule says; None where that is open."""
        return rule(self.pair) if self.enough else None


def _settle(comparison: Comparison, rule: hypotheses.Rule, records: Path) -> Finding | None:
    """Whether a ratio is as the rule says in at least one of the cells; None where no cell has a pair of records.

    The intervals are wider where there are several cells (Bonferroni).
    """
    level = 1 - 0.05 / len(comparison.cells)
    measured = {cell: _measure(comparison, cell, records, level) for cell in comparison.cells}
    run = {cell: one for cell, one in measured.items() if one}
    if not run:
        return None
    said = {cell: one.says(rule) if one else None for cell, one in measured.items()}
    claim = any_holds(list(said.values()))
    deciding = [cell for cell in run if said[cell] is claim] or list(run)
    shown, pair = run[deciding[0]], run[deciding[0]].pair
    which = {"cells": len(said), "cell": deciding[0]} if len(said) > 1 else {}
    return Finding.of(
        claim,
        **which,
        ratio=pair.mean,
        low=pair.low,
        high=pair.high,
        pairs=pair.n,
        seeds=wording.seed_ranges(shown.seeds),
        diverged=pair.diverged,
    )


def _measure(comparison: Comparison, cell: str, records: Path, level: float) -> _Measured | None:
    """The ratio of the arms on the first phase that has pairs enough, else on the last that has any; None without."""
    found = _found(_folders(records))
    arms, latest = comparison.configs(cell), None
    for seeds, least in PHASES:
        values = {}
        for seed in seeds:
            each = (_row(found, replace(arm, seed=seed), comparison) for arm in arms)
            rows = list(takewhile(lambda row: row is not None, each))  # most seeds have no run of the first arm
            if len(rows) == len(arms):
                values[seed] = [row.get(comparison.metric) for row in rows]
        if values:
            pair = ratio(*zip(*values.values(), strict=True), level=level)
            latest = _Measured(pair, list(values), len(values) >= least)
            if latest.enough:
                break
    return latest


@lru_cache(maxsize=4)
def _found(folders: tuple[tuple[Path, int], ...]) -> dict[str, Path]:
    """Where the record of each id is, from folders with the times of their last change."""
    return {path.stem: path for folder, _ in reversed(folders) for path in folder.glob("*.json")}


def _row(found: dict[str, Path], config: Config, comparison: Comparison) -> dict | None:
    """The row of a run that is compared; empty where the run diverged before it, None where there is no such run.

    Args:
        found: Where the record of each id is.
        config: The run.
        comparison: What is compared, and when.

    Raises:
        ValueError: The record has no such metric or stop.
    """
    path = found.get(config.id)
    rows = _rows(path.parent, config, path.stat().st_mtime_ns) if path else None
    if rows is None:
        return None
    final, stops = rows
    row = final
    if comparison.at is not None:
        row = next((stop for stop in stops if stop["step"] == comparison.at), {})
    if comparison.metric not in row and final.get("diverged_at") is None:
        when = "" if comparison.at is None else f" at step {comparison.at}"
        raise ValueError(f"record {config.id} has no {comparison.metric!r}{when}")
    return row


@lru_cache(maxsize=4096)
def _rows(folder: Path, config: Config, _changed: int) -> tuple[dict, list[dict]] | None:
    """The final row and the stops of a record; None for one that today's code does not reproduce."""
    record = Records(folder).get(config)
    if status(record) == "stale":
        return None
    result = record["result"]
    return result["final"], result.get("curve", {}).get("stops", [])
