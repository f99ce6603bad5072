"""Train recorded runs again and compare.

Where processor, version of torch and number of threads are those of the record, the result must be *identical*, bit for
bit. Elsewhere floating-point sums are taken in another order, and training amplifies that. The result must then agree
*within tolerance*: the first 20 losses to 1e-4 (relative), and each final metric within the spread of that arm's seeds
(or within 1 % where the seeds agree better than that).

After a change of the code, one run of each code path speaks for all records of that path (`recheck_unverified`). Their
provenance then holds ``settled``: the id of that run, and by which of the two rules it agreed.
"""

import math
import random
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from rotvq.runs import code_path, scheduler
from rotvq.runs.engines import Engine
from rotvq.runs.records import Records, status
from rotvq.training.config import Config

MACHINE = {"device": "processor", "torch": "version of torch", "threads": "number of threads"}  # provenance -> words
FIRST = 1e-4  # relative, for the first losses
LEAST = 0.01  # relative, for final metrics on which the seeds of an arm agree

Place = tuple[Records, Config]  # a record: its store and its config


class Verdict(NamedTuple):
    """rule: 'identical', or 'within tolerance on another ...'. differences: what broke that rule; none if it held."""

    config: Config
    rule: str
    differences: list[str]


def retrain(
    places: Iterable[Place], engine: str | AbstractContextManager[Engine] = "serial", **options: Any
) -> Iterator[tuple[Records, Verdict]]:
    """Train recorded runs again and compare each with its record. ``options`` go to `rotvq.runs.scheduler.run`."""
    stores = {config: records for records, config in places}
    with tempfile.TemporaryDirectory() as folder:
        for config, outcome in scheduler.run(stores, Records(folder), engine, **options) if stores else ():
            records = stores[config]
            if isinstance(outcome, scheduler.Failure):
                yield records, Verdict(config, "identical", [str(outcome)])
            else:
                yield records, compare(records.get(config), outcome, spread(config, records))


def compare(old: dict, new: dict, spread: dict[str, float]) -> Verdict:
    """Compare two records of one Config, by the rule for their machines. spread: see the function of that name."""
    config = Config.from_dict(old["config"])
    others = [words for key, words in MACHINE.items() if old["provenance"][key] != new["provenance"][key]]
    if others:
        rule = f"within tolerance on another {' and '.join(others)}"
        return Verdict(config, rule, [*_first_losses_apart(old, new), *_finals_apart(old, new, spread)])
    before, after = _leaves(old["result"]), _leaves(new["result"])
    names = [name for name in before | after if before.get(name) != after.get(name)]
    return Verdict(config, "identical", [_difference(name, before.get(name), after.get(name)) for name in names])


def _first_losses_apart(old: dict, new: dict) -> Iterator[str]:
    losses = zip(old["result"]["curve"]["first"], new["result"]["curve"]["first"])
    for step, (before, after) in enumerate(losses, 1):
        if not math.isclose(before, after, rel_tol=FIRST):
            yield _difference(f"first loss {step}", before, after)


def _finals_apart(old: dict, new: dict, spread: dict[str, float]) -> Iterator[str]:
    for name, before in old["result"]["final"].items():
        after = new["result"]["final"].get(name)
        if name == "diverged_at" or before is None or after is None:
            close = (before is None) == (after is None)
        else:
            close = abs(before - after) <= max(spread.get(name, 0.0), LEAST * abs(before))
        if not close:
            yield _difference(f"final {name}", before, after)


def spread(config: Config, records: Records) -> dict[str, float]:
    """Final metric -> highest minus lowest over the recorded seeds of the arm of ``config``."""
    values: dict[str, list[float]] = {}
    for member in records.all():
        if {**member.as_dict(), "seed": 0} == {**config.as_dict(), "seed": 0}:
            for name, value in records.get(member)["result"]["final"].items():
                values.setdefault(name, []).extend([] if value is None else [value])
    return {name: max(found) - min(found) for name, found in values.items() if found}


def path_key(config: Config) -> tuple:
    """What decides which statements a run executes: the names in its Config, and which optional parts are on."""
    names = tuple(value for value in config.as_dict().values() if isinstance(value, str))
    amounts = (config.clip, config.mix, config.warmup, config.pretrain_steps, config.weight_decay, config.centre_offset)
    return (*names, *map(bool, amounts), config.latent_scale != 1)


def recheck_unverified(
    stores: Iterable[Records], engine: str | AbstractContextManager[Engine] = "serial", **options: Any
) -> Iterator[tuple[Records, Verdict]]:
    """Decide every unverified record: per code path retrain the cheapest, then restamp that path or mark it stale."""
    paths: dict[tuple, list[Place]] = {}
    for records in stores:
        for config in records.all():
            if records.status(config) == "unverified":
                paths.setdefault(path_key(config), []).append((records, config))
    cheapest = [min(path, key=lambda place: scheduler.cost_in_steps(place[1])) for path in paths.values()]
    for origin, verdict in retrain(cheapest, engine, **options):
        trained = verdict.config.id
        for records, config in paths[path_key(verdict.config)]:
            if verdict.differences:
                records.restamp(config, stale=f"{trained}: {verdict.differences[0]}")
            else:
                settled = f"{trained}: {verdict.rule}"
                records.restamp(config, digest=code_path.digest(config), settled=settled)
        yield origin, verdict


def sample(stores: Iterable[Records], n: int) -> list[Place]:
    """``n`` records that are not stale, drawn at random; the draw changes with the code and not from call to call."""
    places = [(records, config) for records in stores for config in records.all()]
    places = [(records, config) for records, config in places if records.status(config) != "stale"]
    return random.Random(code_path.digest(Config())).sample(places, min(n, len(places)))


def summary(stores: Iterable[Records]) -> str:
    """How many records have each status, and by which rule those were settled that are verified."""
    found = [records.get(config) for records in stores for config in records.all()]
    settled = [record["provenance"].get("settled", ": as trained") for record in found if status(record) == "verified"]
    counts = {"records": Counter(map(status, found)), "verified": Counter(text.partition(": ")[2] for text in settled)}
    return "\n".join(f"{name}: {_listed(counter)}" for name, counter in counts.items() if counter)


def _listed(counter: Counter) -> str:
    return ", ".join(f"{count} {what}" for what, count in counter.items())


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Every number of a result by its place."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in _leaves(item, f"{name} {key}".strip()).items()}
    if isinstance(value, list):
        return {k: v for i, item in enumerate(value) for k, v in _leaves(item, f"{name} {i}").items()}
    return {name: value}


def _difference(name: str, before: Any, after: Any) -> str:
    return f"{name} was {before} and is {after}"
