"""Claims that rest on the records of the systems, chapters 30 to 37: two arms are compared anew.

A row writes ``lower_in(33, error, rotation / ste, bits=2)``: the chapter, the metric, the arms, and what both have that
is not at its default. A bare name is an estimator. The comparison is that of :mod:`book.ledger.evidence.runs`, on the
same seeds, and as many pairs settle it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from book.chapters import hypotheses
from book.ledger.evidence import runs
from book.statements import Finding, evidence
from book.systems.runs import Experiment, find, record
from rotvq.analysis import wording


@evidence
def lower_in(chapter, metric, arms, *common, records: Path):
    """Of the arms a / b of a chapter's system, a has the lower metric."""
    return _compared(chapter, metric, arms, common, hypotheses.lower, records)


@evidence
def higher_in(chapter, metric, arms, *common, records: Path):
    """Of the arms a / b of a chapter's system, a has the higher metric."""
    return _compared(chapter, metric, arms, common, hypotheses.higher, records)


@evidence
def close_in(chapter, metric, arms, share, *common, records: Path):
    """The ratio of the arms a / b of a chapter's system is within ``share`` of 1, up or down by that factor."""
    return _compared(chapter, metric, arms, common, hypotheses.within(float(share)), records)


def _missed(result: Mapping[str, Any]) -> float:
    """The share of the starts that did not find their formula, over all targets."""
    return 1 - statistics.fmean(target["found"] for target in result["targets"].values())


METRICS: dict[str, Callable[[Mapping[str, Any]], float]] = {"missed": _missed}  # that are no entry of a result


def _compared(
    chapter: str, metric: str, arms: str, common: Sequence[str], rule: hypotheses.Rule, records: Path
) -> Finding | None:
    """Whether the ratio of two arms is as the rule says; None where no pair of them has records."""
    experiment = find(chapter)
    cases = [case_of(experiment, [*common, *arm.split(" + ")]) for arm in arms.split(" / ")]
    measure = METRICS.get(metric, lambda result: result[metric])
    latest = None
    for seeds, least in runs.PHASES:
        pairs = {}
        for seed in seeds:
            found = [record(experiment, replace(case, seed=seed), records / experiment.chapter) for case in cases]
            if None not in found:
                pairs[seed] = [measure(one["result"]) for one in found]
        if pairs:
            latest = pairs, len(pairs) >= least
            if len(pairs) >= least:
                break
    if latest is None:
        return None
    pairs, enough = latest
    pair = runs.ratio(*zip(*pairs.values(), strict=True))
    return Finding.of(
        rule(pair) if enough else None,
        ratio=pair.mean,
        low=pair.low,
        high=pair.high,
        pairs=pair.n,
        seeds=wording.seed_ranges(list(pairs)),
    )


def case_of(experiment: Experiment, settings: Sequence[str]) -> Any:
    """The case of a system that settings describe; a later setting goes before an earlier one.

    Raises:
        ValueError: There is no such field.
    """
    default, values = type(experiment.cases()[0])(), {}
    for setting in settings:
        name, value = setting.split("=") if "=" in setting else ("estimator", setting)
        if not hasattr(default, name):
            raise ValueError(f"{experiment.chapter} has no field {name!r}")
        values[name] = type(getattr(default, name))(value)
    return replace(default, **values)
