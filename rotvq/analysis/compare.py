"""Two sets of recorded runs: what differs in their Configs and in what they gave, paired where seeds meet.

Runs that differ in their seed alone are an *arm*. Each arm of the second set is compared with the arm of the first set
from which it differs in the fewest fields, or with all of these where there are several.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from rotvq.analysis import stats
from rotvq.analysis.wording import ratio_with_n, seed_ranges, title
from rotvq.runs.records import Records
from rotvq.training.config import FIELDS, Config

METRICS = ("test_mse", "test_perplexity", "test_usage")  # shown where nothing else is asked for
NAMED = ("estimator", "init")  # said of every arm, also where they are at their default
MADE = ("digest", "torch", "device", "threads", "data")  # of a provenance, what may explain another result

Arm = dict[int, dict]  # the records of an arm by seed


class Comparison(NamedTuple):
    """Two arms, each with the Config of seed 0 and its records by seed."""

    before: tuple[Config, Arm]
    after: tuple[Config, Arm]

    @property
    def differs(self) -> dict[str, tuple[Any, Any]]:
        """The fields of Config that differ, with both values."""
        return _differences(self.before[0], self.after[0])

    @property
    def seeds(self) -> list[int]:
        """Those that both arms have."""
        return sorted(self.before[1].keys() & self.after[1].keys())

    def pairs(self, metric: str) -> tuple[list, list]:
        """A final metric, or ``seconds``, of both arms at `seeds`; None where a run diverged."""
        return tuple([_value(arm[seed], metric) for seed in self.seeds] for _, arm in (self.before, self.after))

    def heading(self, known: Collection[str] = ()) -> str:
        """What differs between the two, and what both set, but for what is known of all."""
        changes = (f"{name} {one} → {other}" for name, (one, other) in self.differs.items())
        shared = _in_fields(self.after[0], {*self.differs, *known})
        return f"{', '.join(changes) or 'the same config'}" + f" (both: {shared})" * bool(shared)

    def lines(self, metrics: Iterable[str]) -> Iterator[str]:
        """The comparison in words."""
        yield self.heading()
        alone = [seed_ranges(arm.keys() - set(self.seeds)) or "none" for _, arm in (self.before, self.after)]
        equal = sum(self.before[1][seed]["result"] == self.after[1][seed]["result"] for seed in self.seeds)
        count = "1 pair" if len(self.seeds) == 1 else f"{len(self.seeds)} pairs"
        paired = f"{count}, {equal} of them identical" if self.seeds else "no seed is in both"
        yield f"  seeds: {paired}; only before: {alone[0]}, only after: {alone[1]}"
        made = [
            {key: {record["provenance"].get(key) for record in arm.values()} for key in MADE}
            for _, arm in (self.before, self.after)
        ]
        asked = MADE[bool(self.differs) :]  # other fields take another code path
        if others := [key for key in asked if made[0][key] != made[1][key]]:
            yield f"  made with another {', '.join(others)}"
        for metric in metrics if self.seeds else ():
            yield f"  {title(metric)}: {_in_words(*self.pairs(metric))}"


def report(
    before: Sequence[tuple[Records, Config]], after: Sequence[tuple[Records, Config]], metrics: Sequence[str]
) -> Iterator[str]:
    """Every comparison in words, the arms that one set alone has, and, of several comparisons, one table."""
    comparisons = compare(before, after)
    for one in comparisons:
        yield from one.lines(metrics)
    met = {one.before[0] for one in comparisons}
    alone = [("before", *item) for item in _arms(before).items() if item[0] not in met]
    if any(not one.differs for one in comparisons):
        alone += [("after", *one.after) for one in comparisons if one.differs]
    for side, config, arm in alone:
        yield f"only {side}: {_in_fields(config)}; seeds {seed_ranges(arm)}"
    if len(comparisons) > 1:
        known = _common(comparisons)
        rows = [["", "pairs", *map(title, metrics)]]
        rows += [
            [one.heading(known), str(len(one.seeds)), *(_ratio(*one.pairs(name)) for name in metrics)]
            for one in comparisons
        ]
        widths = [max(map(len, column)) for column in zip(*rows)]
        yield ""
        if known:
            yield f"all: {_listed(known)}"
        yield from ("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def compare(before: Iterable[tuple[Records, Config]], after: Iterable[tuple[Records, Config]]) -> list[Comparison]:
    """The comparisons of two sets of runs; each run is its store and its Config, and has a record there."""
    first, second = _arms(before), _arms(after)
    found = []
    for config, arm in second.items():
        distance = {one: len(_differences(one, config)) for one in first}
        nearest = [one for one in first if distance[one] == min(distance.values())]
        found += [Comparison((one, first[one]), (config, arm)) for one in nearest]
    return found


def _arms(places: Iterable[tuple[Records, Config]]) -> dict[Config, Arm]:
    arms: dict[Config, Arm] = defaultdict(dict)
    for records, config in places:
        arms[replace(config, seed=0)][config.seed] = records.get(config)
    return dict(sorted(arms.items(), key=lambda item: str(item[0].changed)))


def split(records: Records, against: dict[str, Any]) -> tuple[list[Config], list[Config]]:
    """The runs of one store whose fields are those of ``against``, and the others; ValueError if either is none.

    Without fields, a store with two arms is split into these, the one that was recorded first before the other.
    """
    configs = records.all()
    arms = {replace(config, seed=0): records.get(config)["provenance"].get("time", "") for config in configs[::-1]}
    if not against and len(arms) == 2:
        against = min(arms, key=arms.get).as_dict() | {"seed": None}
    values = {name: dict.fromkeys(getattr(config, name) for config in configs) for name in FIELDS if name != "seed"}
    wanted = {name: getattr(Config.from_dict({name: value}), name) for name, value in against.items() if name in values}
    chosen = [all(getattr(config, name) == value for name, value in wanted.items()) for config in configs]
    if len(arms) == 1:
        raise ValueError(
            f"{records.folder} holds one arm, which its seeds repeat: name a second folder to compare with"
        )
    if not wanted or len(set(chosen)) < 2:
        varied = "; ".join(f"{name}: {', '.join(map(str, found))}" for name, found in values.items() if len(found) > 1)
        have = f"{'all' if any(chosen) else 'none'} with {_listed(wanted)}, " * bool(wanted)
        raise ValueError(
            f"{len(arms)} arms in {records.folder}, {have}name the one to compare with, as in --against estimator=ste; "
            f"these fields vary: {varied or 'none'}"
        )
    return tuple([config for config, is_chosen in zip(configs, chosen) if is_chosen is side] for side in (True, False))


def _differences(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    return {
        name: (getattr(one, name), getattr(other, name))
        for name in FIELDS
        if name != "seed" and getattr(one, name) != getattr(other, name)
    }


def _common(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The fields that a heading names, and that have one value in all these comparisons, in both arms."""
    configs = [config for one in comparisons for config, _ in (one.before, one.after)]
    named = dict.fromkeys((*NAMED, *(name for config in configs for name in config.changed)))
    values = {name: {getattr(config, name) for config in configs} for name in named if name != "seed"}
    return {name: next(iter(found)) for name, found in values.items() if len(found) == 1}


def _in_fields(config: Config, but: Collection[str] = ()) -> str:
    """An arm in words: the fields of `NAMED`, and those that are not at their default."""
    fields = {name: getattr(config, name) for name in NAMED} | config.changed
    return _listed({name: value for name, value in fields.items() if name not in but})


def _listed(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in fields.items())


def _value(record: dict, metric: str) -> float | None:
    values = {**record["result"]["final"], **{k: v for k, v in record["provenance"].items() if k == "seconds"}}
    if metric not in values and (metric == "seconds" or values.get("diverged_at") is None):
        raise ValueError(f"unknown metric {metric!r}: one of {', '.join(values)}")
    return values.get(metric)


def _in_words(before: list, after: list) -> str:
    """Both means, and the ratio after / before with its interval; where a value is not positive the difference."""
    means = " → ".join(f"{np.mean([v for v in arm if v is not None] or [np.nan]):.4g}" for arm in (before, after))
    return f"{means}, {_ratio(before, after)}"


def _ratio(before: list, after: list) -> str:
    if not before:
        return ""
    if all(value is None or value > 0 for value in (*before, *after)):
        return f"ratio {ratio_with_n(stats.ratio(after, before))}"
    pair = stats.paired(after, before)
    interval = f" ({pair.low:.3g} to {pair.high:.3g})" if pair.n > 1 else ""
    return f"difference {pair.mean:.3g}{interval}, n = {pair.n}"
