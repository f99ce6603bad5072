"""Seconds and bytes of one call, turns between several, and ratios within a turn.

On a CPU with one thread the time is the processor time of the process, which leaves out what other work took away; with
more threads it is time on the wall; on a GPU, time between device events. Memory is the peak of what torch's allocator
hands out during a call, above what was held before; on a CPU it is read from the memory events of torch's profiler.
What was measured goes to a file, whole or absent, with where it comes from.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import torch

from rotvq.runs import provenance
from rotvq.runs.records import Records

MOST = 41  # turns


def seconds(call: Callable, device: str = "cpu", threads: int = 1) -> float:
    """How long one call takes."""
    if torch.device(device).type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3
    clock = time.process_time if threads == 1 else time.perf_counter
    start = clock()
    call()
    return clock() - start


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The profiler reports its starts and stops on the file descriptor of standard error: not here."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def peak_bytes(call: Callable, device: str = "cpu") -> int:
    """The most that one call holds at a time, above what was held before; its outputs count."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with _quiet(), torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        call()
    todo, changes = list(profile.profiler.kineto_results.experimental_event_tree()), []
    while todo:
        event = todo.pop()
        todo.extend(event.children)
        if event.name == "[memory]":
            changes.append((event.start_time_ns, event.typed[1].alloc_size))
    held = peak = 0
    for _, change in sorted(changes, key=lambda change: change[0]):
        held += change
        peak = max(peak, held)
    return peak


def interleave(calls: Mapping[str, Callable], clock: Callable[[Callable], float], rounds: int, budget: float):
    """``{name: [seconds, ...]}``: the calls take turns, each time with another one first.

    At least ``rounds`` turns; more while they stay within ``budget`` seconds; at most :data:`MOST` or ``rounds``.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    names, start, done = list(calls), time.perf_counter(), 0
    while done < rounds or (done < MOST and time.perf_counter() - start < budget):
        first = done % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(clock(calls[name]))
        done += 1
    return times


class Ratio(NamedTuple):
    """The median over the turns, and the quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(times: Mapping[str, Sequence[float]], arm: str, base: str) -> Ratio:
    """Time of ``arm`` over that of ``base``, turn by turn."""
    values = [a / b for a, b in zip(times[arm], times[base], strict=True)]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Ratio(median, low, high)


def keep_memory() -> None:
    """Have the C library keep what this process frees: else a step may ask the system for all its pages again, or not,
    as the heap happens to lie. Does nothing where the C library is not glibc.
    """
    if hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, the most that it takes
        library.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def stamp(began: float, load: float, device: str = "cpu", threads: int = 1) -> dict:
    """Where what was measured since ``began`` comes from, and how busy the machine was then and is now."""
    return {
        **provenance.code(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": provenance.kind(device),
        "threads": threads,
        "cores": os.cpu_count(),
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],
        "seconds": round(time.perf_counter() - began, 2),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def read_or_measure(folder: Path, schema: str, id: str, make: Callable[[], dict]) -> dict:
    """The record called ``id``, made and written where there is none."""
    path = folder / f"{id}.json"
    if not path.exists():
        Records(folder)._write(path, make())
    found = json.loads(path.read_text("utf-8"))
    if (found["schema"], found["id"]) != (schema, id):
        raise ValueError(f"{path.name} in {folder.name} is not that record: delete it or restore it")
    return found
