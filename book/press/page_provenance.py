"""How a page was made, in words: its source, parameters, runs, software, machine and time."""

from __future__ import annotations

import collections
import dataclasses
import functools
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from book.press import paths
from rotvq.page.html import Html, tag
from rotvq.runs import provenance, records
from rotvq.training.config import SCHEMA, Config

OF_SYSTEMS = "system-1"  # the schema of `book.systems.runs`


@functools.cache
def committed_records() -> dict[str, Path]:
    """The file of every record that ships with the book, by its id. The folder is read once in a process."""
    return {path.stem: path for path in sorted(paths.RECORDS.glob("*/*.json"))}


def read(path: Path) -> dict:
    """A committed record without its result, and its ``status``; RecordError where it has been altered."""
    return _read(path, path.stat().st_mtime_ns)


@functools.cache
def _read(path: Path, modified: int) -> dict:
    """The same, read once while the file is not modified."""
    record = records.read_record(path)
    return {name: value for name, value in record.items() if name != "result"} | {"status": _status(record)}


def _status(record: Mapping) -> str:
    """Whether today's code would make a record: as of runs, or 'measured' of times, which nothing can make again."""
    if record["schema"] == SCHEMA:
        return records.status(record)
    if record["schema"] == OF_SYSTEMS:
        from book.systems.runs import is_verified

        return "verified" if is_verified(_system(record)[0], record) else "unverified"
    return "measured"


def _system(record: Mapping):
    """The experiment of a committed record of `book.systems`, and the fields of a case that changes none."""
    return _system_of(committed_records()[record["id"]].parent.name, frozenset(record["config"]))


@functools.cache
def _system_of(folder: str, fields: frozenset[str]):
    """The same for the folder and the fields of a record: two experiments may share a folder, but no fields."""
    from book.systems import runs as systems  # a book without systems has no such records

    of_folder = [one for one in map(systems.find, systems.CHAPTERS) if one.chapter == folder]
    defaults = [dataclasses.asdict(type(one.cases()[0])()) for one in of_folder]
    return next((one, default) for one, default in zip(of_folder, defaults) if default.keys() == fields)


def _default(record: Mapping) -> dict:
    """The fields of a run of which nothing is changed."""
    return _system(record)[1] if record["schema"] == OF_SYSTEMS else dataclasses.asdict(Config())


def stale(ids: Iterable[str]) -> list[str]:
    """Those of these records that today's code is known not to reproduce."""
    committed = committed_records()
    return [name for name in ids if name in committed and read(committed[name])["status"] == "stale"]


def machine() -> str:
    """The processor, and the graphics card if there is one, in words; never the name of the host."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    processor, *cards = map(provenance.kind, devices)
    return ", ".join([processor, f"{os.cpu_count()} cores", *cards])


def commit(files: Iterable[Path]) -> str:
    """The last commit of these files or folders, and whether they differ from it."""
    names = [str(path.relative_to(paths.ROOT)) for path in files]
    git = functools.partial(subprocess.run, cwd=paths.ROOT, capture_output=True, text=True)
    try:
        last = git(["git", "log", "-1", "--format=%h of %cs", "--", *names]).stdout.strip()
        changes = git(["git", "status", "--porcelain", "--", *names]).stdout.strip()
    except OSError:  # there is no git here
        last = changes = ""
    if not last:
        return "no commit"
    return f"commit {last}, with changes since" if changes else f"commit {last}"


def last_cell(script: Path, made: Mapping) -> str:
    """The end of a page in MyST: a link to its code, and how it was made.

    Args:
        script: of the page.
        made: what `execute.provenance` says about the page.
    """
    rows = {
        "Source": f"`notebooks/{script.name}`, {commit([script])}",
        "Parameters": ", ".join(f"`{name} = {value!r}`" for name, value in made["parameters"].items()) or "none",
        "Runs": _runs(made["records"]),
        "Software": ", ".join(f"{name} {version}" for name, version in made["software"].items()),
        "Machine": made["machine"],
        "Time": f"{made['seconds']:.0f} s to execute this page",
    }
    body = "\n".join(f"{name}\n: {text}\n" for name, text in rows.items())
    link = tag("a", "Code of this page", href=f"../code/{script.stem}.html")
    return f"{link}\n\n````{{dropdown}} How this page was made\n{body}````"


def _runs(ids: list[str]) -> str:
    """Where the records of a page lie, their commit, what they cost, and whether today's code would make them."""
    if not ids:
        return "none"
    committed = committed_records()
    files = [committed[name] for name in ids if name in committed]
    if not files:
        return f"{len(ids)}, trained while the page was executed"
    folders = sorted({path.parent for path in files})
    names = ", ".join(f"`{folder.relative_to(paths.ROOT)}`" for folder in folders)
    return f"{len(files)} of {len(ids)} from {names}, {commit(folders)}; {_summary(map(read, files))}"


def _summary(found: Iterable[Mapping]) -> str:
    """What records cost, where they were made, with which torch, and how many have which status."""
    found = list(found)
    made = [record["provenance"] for record in found]
    hours = sum(one["seconds"] for one in made) / 3600
    devices = sorted({_device(one) for one in made})
    versions = sorted({one["torch"] for one in made})
    states = collections.Counter(record["status"] for record in found)
    return "; ".join(
        [
            f"{hours:.2f} hours of training",
            f"on {', '.join(devices)}",
            f"with torch {', '.join(versions)}",
            ", ".join(f"{count} {state}" for state, count in sorted(states.items())),
        ]
    )


def _device(made: Mapping) -> str:
    threads = "1 thread" if made["threads"] == 1 else f"{made['threads']} threads"
    return f"{made['device']} ({threads})"


def every_record() -> str:
    """All committed records in MyST: a section for each chapter, and in it a line for each run.

    The lines are HTML: they are thousands, and Sphinx would take as long for them as for all other pages together.
    """
    committed = committed_records().values()
    sections = []
    for folder in sorted({path.parent for path in committed}):
        found = [read(path) for path in committed if path.parent == folder]
        sections.append(
            f"### {folder.name}\n\n{len(found)} runs, {commit([folder])}; {_summary(found)}.\n\n"
            f"````{{dropdown}} Every run\n```{{raw}} html\n{_table(found)}\n```\n````\n"
        )
    return "\n".join(sections) or "No run is committed yet.\n"


def _table(found: Iterable[Mapping]) -> Html:
    """A line for each record: its id, its fields that are not the default, its code, its cost and its day."""
    head = [tag("th", name) for name in ("run", "what differs from the default", "code", "seconds", "made")]
    lines = [tag("tr", Html("\n".join(_row(record)))) for record in found]  # for the search, which drops the tags
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *lines), class_="table")
    return tag("div", table, class_="pst-scrollable-table-container")


def _row(record: Mapping) -> list[Html]:
    default, made = _default(record), record["provenance"]
    changed = {name: value for name, value in record["config"].items() if value != default.get(name)}
    fields = ", ".join(f"{name} {value}" for name, value in changed.items()) or "nothing"
    dirty = " and changes" if made["dirty"] else ""
    return [
        tag("td", tag("code", record["id"][:8], class_="literal")),
        tag("td", fields),
        tag("td", tag("code", (made["commit"] or "none")[:7], class_="literal"), f"{dirty}, {record['status']}"),
        tag("td", f"{made['seconds']:.0f}", class_="text-right"),
        tag("td", made.get("time", "")[:10]),
    ]
