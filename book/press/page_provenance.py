"""How a page was made, in words: its source, parameters, runs, software, machine and time."""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from rotvq.runs import provenance
from rotvq.runs.records import status
from rotvq.training.config import Config
from rotvq.training.files import CHECKOUT

ROOT = CHECKOUT
RECORDS = ROOT / "data" / "records"


@functools.cache
def store() -> dict[str, Path]:
    """Every committed record by its id."""
    return {p.stem: p for p in sorted(RECORDS.glob("*/*.json"))}


def machine() -> str:
    """The processor, and the graphics card if there is one, in words; never the name of the host."""
    cards = ["cuda"] * torch.cuda.is_available()
    return ", ".join([provenance.kind("cpu"), f"{os.cpu_count()} cores", *map(provenance.kind, cards)])


def commit(paths: Iterable[Path]) -> str:
    """The last commit of these files or folders, and whether they differ from it."""
    names = [str(p.relative_to(ROOT)) for p in paths]
    git = functools.partial(subprocess.run, cwd=ROOT, capture_output=True, text=True)
    try:
        last = git(["git", "log", "-1", "--format=%h of %cs", "--", *names]).stdout.strip()
        dirty = git(["git", "status", "--porcelain", "--", *names]).stdout.strip()
    except OSError:
        last = dirty = ""
    return (f"commit {last}" if last else "no commit") + (", with changes since" if dirty and last else "")


def page(script: Path, made: Mapping) -> str:
    """The end of an executed notebook, in MyST, from what `notebooks.run` noted about it."""
    rows = {
        "Source": f"`notebooks/{script.name}`, {commit([script])}",
        "Parameters": ", ".join(f"`{k} = {v!r}`" for k, v in made["parameters"].items()) or "none",
        "Runs": _runs(made["records"]),
        "Software": ", ".join(f"{name} {version}" for name, version in made["software"].items()),
        "Machine": made["machine"],
        "Time": f"{made['seconds']:.0f} s to execute this page",
    }
    body = "\n".join(f"{name}\n: {text}\n" for name, text in rows.items())
    return f"````{{dropdown}} How this page was made\n{body}````"


def _runs(ids: list[str]) -> str:
    """Where the records of a page lie, their commit, what they cost, and whether today's code would make them."""
    files = [store()[i] for i in ids if i in store()]
    if not files:
        return f"{len(ids)}, trained while the page was executed" if ids else "none"
    folders = sorted({p.parent for p in files})
    names = ", ".join(f"`{p.relative_to(ROOT)}`" for p in folders)
    return f"{len(files)} of {len(ids)} from {names}, {commit(folders)}; {_summary(map(_read, files))}"


def _read(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


def _summary(records: Iterable[Mapping]) -> str:
    records = list(records)
    made = [r["provenance"] for r in records]
    states = collections.Counter(map(status, records))
    return "; ".join(
        [
            f"{sum(p['seconds'] for p in made) / 3600:.2f} hours of training",
            "on "
            + ", ".join(sorted({f"{p['device']} ({p['threads']} thread{'s' * (p['threads'] > 1)})" for p in made})),
            "with torch " + ", ".join(sorted({p["torch"] for p in made})),
            ", ".join(f"{n} {state}" for state, n in sorted(states.items())),
        ]
    )


def stale(ids: Iterable[str]) -> list[str]:
    """Those of the committed records that today's code is known not to reproduce."""
    return [i for i in ids if i in store() and status(_read(store()[i])) == "stale"]


def every_record() -> str:
    """All committed records in MyST: a section for each chapter, and in it a line for each run."""
    sections = []
    for folder in sorted({p.parent for p in store().values()}):
        records = [_read(p) for p in store().values() if p.parent == folder]
        lines = "\n".join(f"| {' | '.join(_row(r))} |" for r in records)
        sections.append(
            f"### {folder.name}\n\n{len(records)} runs, {commit([folder])}; {_summary(records)}.\n\n"
            "````{dropdown} Every run\n| run | what differs from the default | code | seconds | made |\n"
            f"|---|---|---|--:|---|\n{lines}\n````\n"
        )
    return "\n".join(sections) or "No run is committed yet.\n"


def _row(record: Mapping) -> list[str]:
    default, made = dataclasses.asdict(Config()), record["provenance"]
    changed = {k: v for k, v in record["config"].items() if v != default.get(k)}
    code = f"`{(made['commit'] or 'none')[:7]}`" + " and changes" * bool(made["dirty"]) + f", {status(record)}"
    fields = ", ".join(f"{k} {v}" for k, v in changed.items()) or "nothing"
    return [f"`{record['id'][:8]}`", fields.replace("_", "\\_"), code, f"{made['seconds']:.0f}", made["time"][:10]]
