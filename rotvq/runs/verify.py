"""Train recorded runs again and compare.

Where processor, version of torch and number of threads are those of the record, the result must be identical, bit for
bit. Elsewhere floating-point sums are taken in another order and training amplifies that, so the first 20 losses must
agree to 1e-4 (relative), and each final metric must be within the spread of that arm's seeds (or within 1 % where the
seeds agree better than that).

After a change of the code, one run of each code path speaks for all records of that path: `settle`.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

from rotvq.runs import code_path, scheduler
from rotvq.runs.engines import Engine
from rotvq.runs.records import Records
from rotvq.training.config import Config

SAME = ("device", "torch", "threads")
FIRST = 1e-4  # relative, for the first losses
LEAST = 0.01  # relative, for final metrics on which the seeds of an arm agree


class Verdict(NamedTuple):
    """rule: 'identical' or 'within tolerance', whichever applied. differences: what broke it, none if it held."""

    config: Config
    rule: str
    differences: list[str]


Found = tuple[Records, Config]  # a record: its store and its config


def retrain(
    found: Iterable[Found], engine: str | AbstractContextManager[Engine] = "serial", **options
) -> Iterator[tuple[Records, Verdict]]:
    """Train recorded runs anew and compare each with its record. ``options`` go to `rotvq.runs.scheduler.run`."""
    stores = {config: records for records, config in found}
    with tempfile.TemporaryDirectory() as folder:
        for config, outcome in scheduler.run(stores, Records(folder), engine, **options) if stores else ():
            records = stores[config]
            if isinstance(outcome, scheduler.Failure):
                yield records, Verdict(config, "identical", [str(outcome)])
            else:
                yield records, compare(records.get(config), outcome, spread(config, records))


def compare(old: dict, new: dict, spread: dict[str, float]) -> Verdict:
    """Two records of one Config by the rule that applies to their machines."""
    config = Config.from_dict(old["config"])
    if all(old["provenance"][key] == new["provenance"][key] for key in SAME):
        before, after = _leaves(old["result"]), _leaves(new["result"])
        pairs = {name: (before.get(name), after.get(name)) for name in (before | after)}
        return Verdict(config, "identical", [_said(name, a, b) for name, (a, b) in pairs.items() if a != b])
    found = [
        _said(f"first loss {step}", a, b)
        for step, (a, b) in enumerate(zip(old["result"]["curve"]["first"], new["result"]["curve"]["first"]), 1)
        if not math.isclose(a, b, rel_tol=FIRST)
    ]
    finals = {name: (value, new["result"]["final"].get(name)) for name, value in old["result"]["final"].items()}
    for name, (a, b) in finals.items():
        if name == "diverged_at" or a is None or b is None:
            close = (a is None) == (b is None)
        else:
            close = abs(a - b) <= max(spread.get(name, 0.0), LEAST * abs(a))
        found += [] if close else [_said(f"final {name}", a, b)]
    return Verdict(config, "within tolerance", found)


def spread(config: Config, records: Records) -> dict[str, float]:
    """Final metric -> highest minus lowest over the recorded seeds of the arm of ``config``."""
    arm = [c for c in records.all() if {**c.as_dict(), "seed": 0} == {**config.as_dict(), "seed": 0}]
    values: dict[str, list[float]] = {}
    for member in arm:
        for name, value in records.get(member)["result"]["final"].items():
            values.setdefault(name, []).extend([] if value is None else [value])
    return {name: max(found) - min(found) for name, found in values.items() if found}


def path_key(config: Config) -> tuple:
    """What decides which statements a run executes: names, and whether an optional part is on."""
    names = tuple(value for value in config.as_dict().values() if isinstance(value, str))
    optional = (
        config.clip,
        config.mix,
        config.warmup,
        config.pretrain_steps,
        config.weight_decay,
        config.centre_offset,
        config.latent_scale != 1,
    )
    return (*names, *map(bool, optional))


def recheck_unverified(
    stores: Iterable[Records], engine: str | AbstractContextManager[Engine] = "serial", **options
) -> Iterator[tuple[Records, Verdict]]:
    """Decide every unverified record: per code path retrain the cheapest, then restamp that path or mark it stale."""
    paths: dict[tuple, list[Found]] = {}
    for records in stores:
        for config in records.all():
            if records.status(config) == "unverified":
                paths.setdefault(path_key(config), []).append((records, config))
    cheapest = [min(path, key=lambda found: scheduler.cost_in_steps(found[1])) for path in paths.values()]
    for origin, verdict in retrain(cheapest, engine, **options):
        for records, config in paths[path_key(verdict.config)]:
            if verdict.differences:
                records.restamp(config, stale=f"{verdict.config.id}: {verdict.differences[0]}")
            else:
                records.restamp(config, digest=code_path.digest(config), settled=verdict.config.id)
        yield origin, verdict


def sample(stores: Iterable[Records], n: int) -> list[Found]:
    """``n`` records that are not stale, drawn at random; the draw changes with the code and not from call to call."""
    found = [(records, config) for records in stores for config in records.all()]
    found = [(records, config) for records, config in found if records.status(config) != "stale"]
    return random.Random(code_path.digest(Config())).sample(found, min(n, len(found)))


def _leaves(value, name: str = "") -> dict:
    """Every number of a result by its place."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in _leaves(item, f"{name} {key}".strip()).items()}
    if isinstance(value, list):
        return {k: v for i, item in enumerate(value) for k, v in _leaves(item, f"{name} {i}").items()}
    return {name: value}


def _said(name: str, before, after) -> str:
    return f"{name} was {before} and is {after}"
