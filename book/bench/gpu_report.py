"""What the records of ``python -m book.bench gpu`` say, as one text in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from book.bench.timing import ratio
from rotvq.runs.records import read_record
from rotvq.training.config import Config

NOT_RUN = "not run"
DEFAULTS = Config().as_dict()
ORDER = ("subject", "mode", "kind", "dtype", "k", "n", "d", "shared", "seed", "quantizer", "init", "estimator")
MARKS = {True: "passed", False: "**failed**", None: "–"}


def read(folder: Path, part: str) -> list[dict]:
    """The records of a part, alike ones together."""
    found = [read_record(path) for path in (folder / part).glob("*.json")]
    return sorted(found, key=lambda record: [str(record["config"].get(name, "")).rjust(9) for name in ORDER])


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown.

    >>> print(table(["a", "b"], [[1, "x"]]))
    | a | b |
    |---|---|
    | 1 | x |
    """
    lines = [head, ["---"] * len(head), *rows]
    text = ["| " + " | ".join(map(str, line)) + " |" for line in lines]
    text[1] = text[1].replace(" ", "")
    return "\n".join(text)


def least_seconds(case: dict, limits: dict) -> float:
    """The roofline of a step: its product in float32, or reading z, g and the codes and writing z_q and a gradient."""
    width = torch.finfo(getattr(torch, case["dtype"])).bits // 8
    moved = width * (4 * case["n"] + case["k"]) * case["d"]
    return max(2 * case["n"] * case["d"] * case["k"] / limits["float32"], moved / limits["bytes"])


def _card(folder: Path) -> str:
    records = read(folder, "card")
    if not records:
        return NOT_RUN
    made, limits = records[-1]["provenance"], records[-1]["result"]
    rates = ", ".join(f"{limits[name] / 1e12:.2f} TFLOP/s in {name}" for name in ("float32", "bfloat16"))
    return (
        f"{made['device']}, {limits['memory'] / 1e9:.0f} GB; torch {made['torch']}; commit {made['commit']}"
        f"{', with changes' if made['dirty'] else ''}; {made['time']}. Copies move {limits['bytes'] / 1e9:,.0f} GB/s "
        f"(read and write), products do {rates}."
    )


def _tests(folder: Path) -> str:
    records = read(folder, "tests")
    if not records:
        return NOT_RUN
    found = {(record["config"]["subject"], record["config"]["mode"]): record["result"] for record in records}
    modes, names = (list(dict.fromkeys(key[i] for key in found)) for i in (1, 0))
    rows = [
        [name, *(MARKS[found[name, m]["passed"]] if (name, m) in found else NOT_RUN for m in modes)] for name in names
    ]
    passed = [result["passed"] for result in found.values()]
    summary = f"{passed.count(True)} passed, {passed.count(False)} failed, {passed.count(None)} need a GPU."
    failures = [f"- {n}, {m}: {result['why']}" for (n, m), result in found.items() if result["passed"] is False]
    return "\n\n".join([summary, table(["quantiser", *modes], rows), "\n".join(failures)]).strip()


def _costs(folder: Path) -> str:
    records, limits = read(folder, "cost"), [record["result"] for record in read(folder, "card")]
    if not records:
        return NOT_RUN
    rows = []
    for record in records:
        case, times = record["config"], record["result"]["seconds"]
        base = "rotvq" if "rotvq" in times else next(iter(times))
        middle = statistics.median(times[base])
        share = least_seconds(case, limits[-1]) / middle if limits and case["kind"] == "step" else None
        others = ", ".join(f"{arm} {ratio(times, arm, base)}" for arm in times if arm != base)
        size = f"{case['kind']}, {case['n']:,} × {case['d']}, K = {case['k']:,}, {case['dtype']}"
        others += "".join(f", {arm}: {why}" for arm, why in record["result"]["absent"].items())
        rows.append([size, f"{base} {1e3 * middle:.3f}", "" if share is None else f"{share:.0%}", others])
    return table(["case", "ms", "of the roofline", "others, times that"], rows)


def _sharing(folder: Path) -> str:
    rows = [
        [way, f"{1e3 * times[0]:.2f}", f"{3600 / times[0] / record['config']['steps']:,.0f}"]
        for record in read(folder, "sharing")
        for way, times in record["result"].items()
    ]
    return table(["runs × threads", "ms a step of any of them", "runs an hour"], rows) if rows else NOT_RUN


def _training(folder: Path) -> str:
    records = read(folder, "training")
    rows = []
    for record in records:
        config, final = record["config"], record["result"]["final"]
        changed = {name: value for name, value in config.items() if value != DEFAULTS[name]}
        what = ", ".join(f"{name} {changed[name]}" for name in changed if name not in ("steps", "batch", "seed"))
        metric = f"{final['test_mse']:.5f}" if "test_mse" in final else f"diverged at {final['diverged_at']}"
        sizes = [config.get(name, "") for name in ("steps", "batch", "seed")]
        rows.append([what, *sizes, metric, f"{record['provenance']['wall_seconds']:.0f}"])
    head = ["changed from the defaults", "steps", "batch", "seed", "test MSE", "seconds"]
    return table(head, rows) if rows else NOT_RUN


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
