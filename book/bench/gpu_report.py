"""What the records of ``python -m book.bench gpu`` say: as values, for the pages, and as one text in Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from book.bench.timing import Ratio, ratio
from rotvq.runs.records import read_record
from rotvq.training.config import Config

NOT_RUN = "not run"
DEFAULTS = Config().as_dict()
ORDER = ("subject", "mode", "kind", "dtype", "k", "n", "d", "shared", "seed", "quantizer", "init", "estimator")
KINDS, DTYPES = ("step", "training", "estimator"), ("float32", "bfloat16")
MARKS = {True: "passed", False: "**failed**", None: "–"}


def read(folder: Path, part: str) -> list[dict]:
    """The records of a part, alike ones together."""
    found = [read_record(path) for path in (folder / part).glob("*.json")]
    return sorted(found, key=lambda record: [str(record["config"].get(name, "")).rjust(9) for name in ORDER])


class Table(NamedTuple):
    """A table, in Markdown as a string.

    >>> print(Table(["a", "b"], [[1, "x"]]))
    | a | b |
    |---|---|
    | 1 | x |
    """

    head: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __str__(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        text = ["| " + " | ".join(map(str, line)) + " |" for line in lines]
        text[1] = text[1].replace(" ", "")
        return "\n".join(text)


def short(n: int) -> str:
    """A size in few characters.

    >>> short(512), short(16384)
    ('512', '16k')
    """
    return f"{n // 1024}k" if n >= 4096 else str(n)


def device_tests(folder: Path) -> dict[tuple[str, str], dict]:
    """What became of each device test, by quantiser and mode."""
    found = read(folder, "tests")
    return {(record["config"]["subject"], record["config"]["mode"]): record["result"] for record in found}


def sharing(folder: Path) -> dict[int, float]:
    """Seconds in which any of the runs that share the card takes a step, by how many they are."""
    found = read(folder, "sharing")
    return {
        runs: statistics.median(record["result"][f"{runs} x {threads}"])
        for record in found
        for runs, threads in record["config"]["shared"]
    }


class Cost(NamedTuple):
    """What one size costs: `ratios` are times over that of rotvq, `absent` says why an arm was not run."""

    kind: str
    dtype: str
    k: int
    n: int
    d: int
    ms: float  #: of rotvq
    share: float | None  #: the least that a step can take on this card, over what rotvq takes
    ratios: Mapping[str, Ratio]
    absent: Mapping[str, str]

    @property
    def size(self) -> str:
        """K/N/d, of an estimator or a training step d alone."""
        return "/".join(map(short, (self.k, self.n))) + f"/{self.d}" if self.kind == "step" else str(self.d)


def least_seconds(case: dict, limits: dict) -> float:
    """The roofline of a step: its product in float32, or reading z, g and the codes and writing z_q and a gradient."""
    width = torch.finfo(getattr(torch, case["dtype"])).bits // 8
    moved = width * (4 * case["n"] + case["k"]) * case["d"]
    return max(2 * case["n"] * case["d"] * case["k"] / limits["float32"], moved / limits["bytes"])


def costs(folder: Path) -> list[Cost]:
    """Every size, from small to large. A record of its own has the compiled arm, over the eager one beside it."""
    limits = [record["result"] for record in read(folder, "card")]
    found: dict[tuple, Cost] = {}
    records = read(folder, "cost")
    for record in sorted(records, key=lambda record: "rotvq_compiled" not in record["config"]["arms"]):
        case, result = record["config"], record["result"]
        times = result["seconds"]
        if "rotvq" not in times:
            continue
        key = tuple(case[name] for name in Cost._fields[:5])
        before = found.get(key)
        middle = statistics.median(times["rotvq"])
        share = least_seconds(case, limits[-1]) / middle if limits and case["kind"] == "step" else None
        ratios = {arm: ratio(times, arm, "rotvq") for arm in times if arm != "rotvq"}
        found[key] = Cost(
            *key,
            1e3 * middle,
            share,
            (before.ratios if before else {}) | ratios,
            (before.absent if before else {}) | result["absent"],
        )
    return sorted(found.values(), key=_place)


def _place(cost: Cost) -> tuple:
    """Steps first, float32 first; then by size, of an estimator, whose n falls with d, by d."""
    kind, dtype = KINDS.index(cost.kind), DTYPES.index(cost.dtype)
    return kind, dtype, cost.k, 0 if cost.kind == "estimator" else cost.n, cost.d


def cost_table(found: Iterable[Cost], arms: Sequence[str], cell: Callable[[Ratio], str]) -> Table:
    """A row for each size: rotvq in ms, its share of the roofline, and a cell for the ratio of each other arm."""
    found = list(found)
    of_steps = any(cost.share is not None for cost in found)
    head = ["K/N/d" if found and found[0].kind == "step" else "d", "rotvq, ms", *["of the roofline"] * of_steps, *arms]
    rows = [
        [
            cost.size,
            f"{cost.ms:.2f}",
            *[f"{cost.share:.0%}" for _ in range(of_steps)],
            *(cell(cost.ratios[arm]) if arm in cost.ratios else "" for arm in arms),
        ]
        for cost in found
    ]
    return Table(head, rows)


def not_measured(found: Iterable[Cost]) -> list[str]:
    """Which arms were not run at how many sizes, and why."""
    counts: dict[str, list[str]] = {}
    for cost in found:
        for arm, why in cost.absent.items():
            reason, _, detail = why.partition(": ")
            counts.setdefault(f"{arm}: {reason}", []).append(detail)
    return [
        f"{what}, at {len(details)} sizes" + f" ({', '.join(details)})" * any(details)
        for what, details in counts.items()
    ]


def changed(config: Mapping, *leaving_out: str) -> str:
    """The fields of a run that are not the default, but for some."""
    fields = {name: value for name, value in config.items() if value != DEFAULTS[name] and name not in leaving_out}
    return ", ".join(f"{name} {value}" for name, value in fields.items()) or "the defaults"


class Pair(NamedTuple):
    """Two runs that differ in the estimator alone, by their test MSE (nan: diverged)."""

    what: str
    seed: int
    ste: float
    rotation: float


def pairs(folder: Path) -> list[Pair]:
    """The runs with STE that have one with the rotation beside them."""
    by_rest: dict[tuple, dict] = {}
    for record in read(folder, "training"):
        config = record["config"]
        rest = (changed(config, "estimator", "steps", "batch", "seed"), config["seed"])
        by_rest.setdefault(rest, {})[config["estimator"]] = record["result"]["final"].get("test_mse", math.nan)
    return [
        Pair(*rest, mse["ste"], mse["rotation"]) for rest, mse in by_rest.items() if {"ste", "rotation"} <= set(mse)
    ]


# As one text


def _card(folder: Path) -> str:
    records = read(folder, "card")
    if not records:
        return NOT_RUN
    made, limits = records[-1]["provenance"], records[-1]["result"]
    rates = ", ".join(f"{limits[name] / 1e12:.2f} TFLOP/s in {name}" for name in DTYPES)
    commit = (made["commit"] or "none")[:7] + ", with changes" * bool(made["dirty"])
    return (
        f"{made['device']}, {limits['memory'] / 1e9:.0f} GB; torch {made['torch']}; commit {commit}; {made['time']}. "
        f"Copies move {limits['bytes'] / 1e9:,.0f} GB/s (read and write), products do {rates}."
    )


def _tests(folder: Path) -> str:
    found = device_tests(folder)
    if not found:
        return NOT_RUN
    modes, names = (list(dict.fromkeys(key[i] for key in found)) for i in (1, 0))
    rows = [
        [name, *(MARKS[found[name, m]["passed"]] if (name, m) in found else NOT_RUN for m in modes)] for name in names
    ]
    passed = [result["passed"] for result in found.values()]
    summary = f"{passed.count(True)} passed, {passed.count(False)} failed, {passed.count(None)} need a GPU."
    failures = [f"- {n}, {m}: {result['why']}" for (n, m), result in found.items() if result["passed"] is False]
    return "\n\n".join([summary, str(Table(["quantiser", *modes], rows)), "\n".join(failures)]).strip()


def _costs(folder: Path) -> str:
    found = costs(folder)
    parts = []
    for kind, dtype in dict.fromkeys((cost.kind, cost.dtype) for cost in found):
        these = [cost for cost in found if (cost.kind, cost.dtype) == (kind, dtype)]
        arms = list(dict.fromkeys(arm for cost in these for arm in cost.ratios))
        parts += [f"**{kind}, {dtype}**, times that of rotvq", str(cost_table(these, arms, str))]
        parts += [f"Not run: {'; '.join(notes)}."] if (notes := not_measured(these)) else []
    return "\n\n".join(parts) or NOT_RUN


def _sharing(folder: Path) -> str:
    found = sharing(folder)
    rows = [[runs, f"{1e3 * seconds:.2f}", f"{found[min(found)] / seconds:.2f}"] for runs, seconds in found.items()]
    return str(Table(["runs", "ms for a step of any of them", "times the fewest"], rows)) if rows else NOT_RUN


def _training(folder: Path) -> str:
    rows = []
    for record in read(folder, "training"):
        config, final = record["config"], record["result"]["final"]
        metric = f"{final['test_mse']:.5f}" if "test_mse" in final else f"diverged at {final['diverged_at']}"
        sizes = [config.get(name, "") for name in ("steps", "batch", "seed")]
        seconds = f"{record['provenance']['wall_seconds']:.0f}"
        rows.append([changed(config, "steps", "batch", "seed"), *sizes, metric, seconds])
    head = ["changed from the defaults", "steps", "batch", "seed", "test MSE", "seconds"]
    return str(Table(head, rows)) if rows else NOT_RUN


PARTS = {
    "The card": _card,
    "Device tests": _tests,
    "Cost of a step": _costs,
    "Runs that share the card": _sharing,
    "Runs of the full profile": _training,
}


def markdown(folder: Path, left_out: Sequence[str] = ()) -> str:
    """The report of the records in a folder; a part without records is said to be not run."""
    parts = [f"## {title}\n\n{of(folder)}" for title, of in PARTS.items()]
    left = "\n".join(f"- {line}" for line in left_out) or "Nothing: all records are there."
    return "\n\n".join(["# On a GPU", *parts, f"## Left out\n\n{left}"]) + "\n"
