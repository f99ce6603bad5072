"""The runs of a system: which cases a chapter asks for, their records, and training what has none.

A case is a frozen dataclass with a ``seed``; two arms with one seed share weights, data and order. Its record is
``data/records/<chapter>/<id>.json``; whatever kills a grid costs the runs in flight, and calling again trains the rest.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from book.systems.speech import SHIPPED
from rotvq.analysis.stats import Paired, ratio
from rotvq.runs import engines, provenance
from rotvq.runs.grids import stores_folder
from rotvq.runs.records import REMEDY, RecordError, Records, read_record, write_record
from rotvq.runs.verify import difference, leaves
from rotvq.training import files, own
from rotvq.training.train import find_device

SCHEMA = "system-1"
#: the module of each chapter, which defines ``EXPERIMENT``
CHAPTERS: dict[str, str] = {
    "30_residual_codec": "book.systems.codec",
    "31_vqgan": "book.systems.vqgan",
    "32_transformer_keys": "book.systems.transformer",
    "33_weights": "book.systems.weights",
    "34_discrete_actions": "book.systems.bandit",
    "35_symbols": "book.systems.symbols",
    "36_learned_transform": "book.systems.transform",
    "37_sequences": "book.systems.sequences",
    "time_32": "book.systems.attention_cost",
    "control_34": "book.systems.control",
}
COUNTED = ("book.systems", "rotvq.quantizers", "rotvq.training")  #: what a record of a system depends on
TOLERANCE = 0.05  # relative, of a number that is made again on another kind of machine
CAP = 1.0  # core-hours that missing runs may take where nothing else is said
LENGTHS = ("steps", "prior_steps")  #: fields of a case to which its time is about proportional
FEW, EXPLORE, CONFIRM = range(3), range(5), range(100, 110)  # seeds, as in the experiment chapters


@dataclass(frozen=True)
class Experiment:
    """What a chapter asks of a system.

    Args:
        chapter: its name, and that of the folder of its records.
        train: a case to its result, a dictionary for JSON; deterministic on a given machine. Where ``takes_device`` is
            true, of a case and the name of a device.
        blocks: cases by the name of the block, those that decide most first.
        smoke: fields that make a case take a second or less.
        seconds: about how long a case takes on one core.
        takes_device: whether ``train`` can work elsewhere than on the CPU.
    """

    chapter: str
    train: Callable[..., dict]
    blocks: Mapping[str, Sequence[Any]]
    smoke: Mapping[str, Any]
    seconds: float
    takes_device: bool = False

    def result(self, case: Any, device: str = "cpu") -> dict:
        """The result of training a case there. Random numbers are drawn on the CPU, so that they are the same."""
        return self.train(case, device) if self.takes_device else self.train(case)

    def check_device(self, device: str) -> None:
        """ValueError where the device is not there, or where cases are trained on the CPU alone."""
        if device != "cpu" and not self.takes_device:
            raise ValueError(f"device is {device!r}: {self.chapter} is trained on the CPU alone")
        find_device(device)

    def cases(self, profile: str = "standard", *blocks: str, **changes: Any) -> list[Any]:
        """The cases of some blocks, or of all, each once; "smoke": small, one seed; ``changes`` replace fields."""
        chosen = dict.fromkeys(case for name in blocks or self.blocks for case in self.blocks[name])
        if profile == "smoke":
            chosen = dict.fromkeys(replace(case, **{"seed": 0, **self.smoke}) for case in chosen)
        return list(dict.fromkeys(replace(case, **changes) for case in chosen))

    def hours(self, cases: Iterable[Any]) -> float:
        """About how many core-hours these cases take: more where they have more steps than their class says."""
        return sum(self.seconds * _length(case) for case in cases) / 3600


def _length(case: Any) -> float:
    """How long a case is, 1 for as many steps as its class says; more of one kind of steps is as much more."""
    return max((getattr(case, name) / getattr(type(case), name) for name in LENGTHS if hasattr(case, name)), default=1)


def crossed(case: Any, *factors: Mapping[str, Mapping[str, Any]], seeds: Sequence[int] = FEW) -> list[Any]:
    """``case`` with every combination of the fields of some factors, each a name to fields, and with every seed."""
    cases = [case]
    for factor in factors:
        cases = [replace(one, **fields) for one in cases for fields in factor.values()]
    return [replace(one, seed=seed) for seed in seeds for one in cases]


def case_id(case: Any) -> str:
    """The name of the record: 16 hex digits of the sha256 of the case's class and the fields that are not default.

    Where a field names data of one's own, their content counts as well: other data make another run.
    """
    kind = f"{type(case).__module__.rpartition('.')[2]}.{type(case).__name__}"  # two systems may have equal fields
    changed = {name: value for name, value in asdict(case).items() if value != getattr(type(case), name, None)}
    text = json.dumps([SCHEMA, kind, changed | own_data(case)], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def own_data(case: Any) -> dict[str, str]:
    """The fields of a case that name data of one's own, each with 16 digits of the sha256 of what lies there now."""
    found = {}
    source, data = (getattr(case, name, "") for name in ("source", "data"))
    if source not in ("", *SHIPPED) and Path(source).is_dir():
        inside = [path for path in Path(source).rglob("*") if path.is_file()]
        found["source"] = f"{source}#{files.digest(Path(source), inside)}"
    if own.is_own("data", data):
        found["data"] = own.pin("data", data)
    return found


def store(experiment: Experiment, folder: str | Path = "") -> Path:
    """The folder of a chapter's records."""
    return Path(folder).expanduser() if folder else stores_folder() / experiment.chapter


def record(experiment: Experiment, case: Any, folder: str | Path = "") -> dict | None:
    """The record of a case; None where there is none. RecordError where it has been altered, or is that of another.

    A field that the class got after the record was made is at its default there, as in its id.
    """
    path = store(experiment, folder) / f"{case_id(case)}.json"
    if not path.exists():
        return None
    found = read_record(path)
    config = json.loads(json.dumps(asdict(case)))
    defaults = {name: value for name, value in config.items() if value == getattr(type(case), name, None)}
    if (found.get("id"), defaults | found.get("config", {})) != (path.stem, config):
        raise RecordError(f"{path} is the record of another run, {found.get('id')}: {REMEDY}")
    return found | {"config": config}


@cache
def code_digest(experiment_module: str) -> str:
    """The digest, 16 hex digits, of the code of a chapter's system and of what it imports from `COUNTED`.

    Comments and docstrings do not count.
    """
    waiting, read = [experiment_module], {}
    while waiting:
        name = waiting.pop()
        if name.startswith(COUNTED) and name not in (*read, __name__):
            tree = ast.parse(inspect.getsource(importlib.import_module(name)))
            waiting += sorted({module for node in ast.walk(tree) for module in _imported(node)})
            read[name] = ast.dump(_without_docstrings(tree))
    return hashlib.sha256("\n".join(read[name] for name in sorted(read)).encode()).hexdigest()[:16]


def _imported(node: ast.AST) -> Iterator[str]:
    """The modules that an import statement takes something from."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        yield node.module
        source = importlib.import_module(node.module) if node.module.startswith(("book", "rotvq")) else None
        values = (getattr(source, alias.name, None) for alias in node.names)
        yield from (getattr(value, "__module__", getattr(value, "__name__", None)) or "" for value in values)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
    return tree


def is_verified(experiment: Experiment, found: dict) -> bool:
    """Whether a record was made, or made again, by the code as it is."""
    return found["provenance"]["digest"] == code_digest(experiment.train.__module__)


def differences(found: dict, again: dict, device: str = "cpu") -> list[str]:
    """What is not the same in a record and in the result of training its case again, on a device.

    On a CPU of the same kind every number must be the same. On another one, with another torch, or on a GPU, where sums
    have no fixed order, numbers may differ by `TOLERANCE`, relative.
    """
    made = found["provenance"]
    exact = device == "cpu" and all(made[name] == value for name, value in machine(device).items())
    before, after = leaves(found["result"]), leaves(again)
    return [
        difference(name, before.get(name), after.get(name))
        for name in before | after
        if not _same(before.get(name), after.get(name), exact)
    ]


def _same(before: Any, after: Any, exact: bool) -> bool:
    numbers = all(isinstance(value, float) for value in (before, after))
    return math.isclose(before, after, rel_tol=TOLERANCE) if numbers and not exact else before == after


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the last bits of a result depend on beside the code."""
    return {
        "torch": torch.__version__,
        "device": provenance.kind(device),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": 1,
    }


def restamp(experiment: Experiment, case: Any, folder: str | Path, settled: str) -> None:
    """Say of a record that the code as it is makes it, too, and how that is known."""
    found = record(experiment, case, folder)
    stamp = {"digest": code_digest(experiment.train.__module__), "settled": settled}
    write_record(store(experiment, folder) / f"{found['id']}.json", found | {"provenance": found["provenance"] | stamp})


def _work(experiment: Experiment, case: Any, folder: Path, device: str) -> dict:
    torch.set_num_threads(1)
    clock = time.process_time if device == "cpu" else time.perf_counter  # other work hardly changes processor time
    name, data = case_id(case), own_data(case)  # as they are when the run begins
    start, wall = clock(), time.perf_counter()
    result = experiment.result(case, device)
    made = {
        **provenance.commit(),
        "digest": code_digest(experiment.train.__module__),
        **machine(device),
        "seconds": round(clock() - start, 2),
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **({"data": data} if data else {}),
    }
    found = {"schema": SCHEMA, "id": name, "config": asdict(case), "result": result, "provenance": made}
    write_record(folder / f"{name}.json", found)
    return found


def run(
    experiment: Experiment,
    cases: Iterable[Any],
    engine: str = "serial",
    folder: str | Path = "",
    device: str = "cpu",
) -> Iterator[tuple[Any, dict | Exception]]:
    """Train the cases that have no record; yields each with its record, or with what it raised, as it ends.

    Raises:
        ValueError: The engine or the device is refused, or the store cannot be written; nothing has been trained then.
    """
    if engine.startswith("shard"):
        raise ValueError(f"engine is {engine!r}: a system takes serial, processes:N or ray:GPUS")
    place = store(experiment, folder).absolute()
    missing = [case for case in dict.fromkeys(cases) if record(experiment, case, place) is None]
    with engines.find_engine(engine) as entered:
        if missing:
            if device != "cpu":
                entered.submit(experiment.check_device, device).result()  # tried where the runs will run
            Records(place).prepare()
        if entered.queue == 1:  # in this process: one by one
            for case in missing:
                future = entered.submit(_work, experiment, case, place, device)
                yield case, future.exception() or future.result()
            return
        futures = {entered.submit(_work, experiment, case, place, device): case for case in missing}
        for future in as_completed(futures):
            yield futures[future], future.exception() or future.result()


def table(experiment: Experiment, cases: Iterable[Any], folder: str | Path = "") -> pd.DataFrame:
    """A row a case that has a record: its fields, then its result."""
    found = [read for case in dict.fromkeys(cases) if (read := record(experiment, case, folder))]
    return pd.DataFrame([{**read["config"], **read["result"]} for read in found])


def pair(rows: pd.DataFrame, metric: str, arm: Mapping[str, Any], against: Mapping[str, Any]) -> Paired | None:
    """The ratio of a metric, arm / against, over the seeds that both have; None where there are none."""

    def by_seed(fields: Mapping[str, Any]) -> pd.Series:
        chosen = rows[(rows[list(fields)] == pd.Series(fields)).all(axis=1)]
        return chosen.set_index("seed")[metric]

    both = pd.concat([by_seed(arm), by_seed(against)], axis=1, join="inner") if len(rows) else rows
    return ratio(both.iloc[:, 0].tolist(), both.iloc[:, 1].tolist()) if len(both) else None


def find(name: str) -> Experiment:
    """The experiment of the chapter called ``name``, or of the only one whose name starts so, such as 30."""
    found = [full for full in CHAPTERS if name and full.startswith(name)]
    if len(found) != 1:
        raise ValueError(f"unknown chapter {name!r}: one of {', '.join(CHAPTERS)}")
    return importlib.import_module(CHAPTERS[found[0]]).EXPERIMENT
