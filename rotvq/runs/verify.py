"""Train recorded runs again and compare.

Where processor, its instructions, version of torch and number of threads are those of the record, the result must be
*identical*, bit for bit. Elsewhere floating-point sums are taken in another order, and training amplifies that. The
result must then agree *within tolerance*: the first 20 losses to 1e-4 (relative), and each final metric within the
spread of that arm's seeds (or within 1 % where the seeds agree better than that). Records without the instructions are
held to the tolerance.
"""

import math
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple

from rotvq.runs import code_path, scheduler
from rotvq.runs.engines import Engine
from rotvq.runs.records import Records, status
from rotvq.training.config import Config

MACHINE = {
    "device": "processor",
    "torch": "version of torch",
    "threads": "number of threads",
    "instructions": "set of instructions",
}  # provenance -> words
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
    others = [words for key, words in MACHINE.items() if old["provenance"].get(key) != new["provenance"].get(key)]
    if others:
        rule = f"within tolerance on another {' and '.join(others)}"
        return Verdict(config, rule, list(_apart(old["result"], new["result"], spread)))
    before, after = leaves(old["result"]), leaves(new["result"])
    names = [name for name in before | after if before.get(name) != after.get(name)]
    return Verdict(config, "identical", [difference(name, before.get(name), after.get(name)) for name in names])


def _apart(old: dict, new: dict, spread: dict[str, float]) -> Iterator[str]:
    """What of two results is further apart than the tolerance."""
    for step, (before, after) in enumerate(zip(old["curve"]["first"], new["curve"]["first"]), 1):
        if not math.isclose(before, after, rel_tol=FIRST):
            yield difference(f"first loss {step}", before, after)
    for name, before in old["final"].items():
        after = new["final"].get(name)
        if name == "diverged_at" or before is None or after is None:
            close = (before is None) == (after is None)
        else:
            close = abs(before - after) <= max(spread.get(name, 0.0), LEAST * abs(before))
        if not close:
            yield difference(f"final {name}", before, after)


def spread(config: Config, records: Records) -> dict[str, float]:
    """Final metric -> highest minus lowest over the recorded seeds of the arm of ``config``."""
    values: dict[str, list[float]] = defaultdict(list)
    for member in records.all():
        if replace(member, seed=config.seed) == config:
            for name, value in records.get(member)["result"]["final"].items():
                values[name] += [] if value is None else [value]
    return {name: max(found) - min(found) for name, found in values.items() if found}


def path_key(config: Config) -> tuple:
    """What decides which statements a run executes: the names in its Config, and which optional parts are on."""
    names = tuple(value for value in config.as_dict().values() if isinstance(value, str))
    amounts = (config.clip, config.mix, config.warmup, config.pretrain_steps, config.weight_decay, config.centre_offset)
    amounts += (config.revival_at, config.project_to, config.temperature)
    return (*names, *map(bool, amounts), config.latent_scale != 1, config.code_lr != 1)


def recheck_unverified(
    stores: Iterable[Records],
    engine: str | AbstractContextManager[Engine] = "serial",
    reference: Records | None = None,
    **options: Any,
) -> Iterator[tuple[Records, Verdict]]:
    """Decide every unverified record: per code path retrain the cheapest, then restamp that path or mark it stale.

    Provenance then holds ``settled`` or ``stale``: the id of the run that was trained, and its rule or a difference.
    ``reference`` holds short runs that the code before made on this machine. Where given, one of each path is retrained
    and compared in place of the records, whose own machine may be another. It decides the records with its own digest,
    which that code made or verified; the others stay undecided. ValueError if it was made on another machine.
    """
    paths: dict[tuple, list[Place]] = defaultdict(list)
    for records, config in _places(stores, "unverified"):
        paths[path_key(config)].append((records, config))
    chosen = [min(path, key=lambda place: scheduler.cost_in_steps(place[1])) for path in paths.values()]
    if reference is not None:
        chosen = [(reference, config) for config in reference.all() if path_key(config) in paths]
    for origin, verdict in retrain(chosen, engine, **options):
        decided, rule = paths[path_key(verdict.config)], verdict.rule
        if reference is not None:
            made = reference.get(verdict.config)["provenance"]
            if rule != "identical":
                raise ValueError(f"the reference was not made here: it could agree only {rule}")
            rule = f"{rule} to {(made['commit'] or 'no commit')[:7]} on one machine, {verdict.config.steps} steps"
            decided = [(s, c) for s, c in decided if s.get(c)["provenance"].get("digest") == made["digest"]]
        for records, config in decided:
            if verdict.differences:
                records.restamp(config, stale=f"{verdict.config.id}: {verdict.differences[0]}")
            else:
                records.restamp(config, digest=code_path.digest(config), settled=f"{verdict.config.id}: {rule}")
        yield origin, verdict


def _places(stores: Iterable[Records], *statuses: str) -> list[Place]:
    return [(records, config) for records in stores for config in records.all() if records.status(config) in statuses]


def sample(stores: Iterable[Records], n: int) -> list[Place]:
    """``n`` records that are not stale, drawn at random; the draw changes with the code and not from call to call."""
    places = _places(stores, "verified", "unverified")
    return random.Random(code_path.digest(Config())).sample(places, min(n, len(places)))


def summary(stores: Iterable[Records]) -> str:
    """How many records have each status, and by which rule those were settled that are verified."""
    found = [records.get(config) for records in stores for config in records.all()]
    settled = [record["provenance"].get("settled", ": as trained") for record in found if status(record) == "verified"]
    counts = {"records": Counter(map(status, found)), "verified": Counter(text.partition(": ")[2] for text in settled)}
    listed = {name: ", ".join(f"{n} {what}" for what, n in counter.items()) for name, counter in counts.items()}
    return "\n".join(f"{name}: {text}" for name, text in listed.items() if text)


def leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Every number of a result by its place."""
    if not isinstance(value, dict | list):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {k: v for key, item in items for k, v in leaves(item, f"{name} {key}".strip()).items()}


def difference(name: str, before: Any, after: Any) -> str:
    return f"{name} was {before} and is {after}"
