"""Seconds and bytes of one call; several calls in turn, and ratios within a turn.

On a CPU with one thread the time is the processor time of the process, which leaves out what other work took away; with
more threads it is time on the wall; on a GPU, time between device events. Memory is the peak of what torch's allocator
hands out during a call, above what was held before; on a CPU it is read from the memory events of torch's profiler.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

MAX_ROUNDS = 41


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Sets the number of torch's threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def wall_seconds(call: Callable) -> float:
    """How long one call takes, by the clock on the wall."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def seconds(call: Callable, device: str = "cpu", threads: int = 1) -> float:
    """How long one call takes, by the clock that suits the device and the number of threads (see above)."""
    if torch.device(device).type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3
    if threads > 1:
        return wall_seconds(call)
    start = time.process_time()
    call()
    return time.process_time() - start


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
    with _silent_stderr(), torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        call()
    held = peak = 0
    for change in _memory_changes(profile):
        held += change
        peak = max(peak, held)
    return peak


def _memory_changes(profile: torch.profiler.profile) -> list[int]:
    """Bytes allocated (or freed, as negative numbers), in the order of time."""
    changes = []
    pending = list(profile.profiler.kineto_results.experimental_event_tree())
    while pending:
        event = pending.pop()
        pending.extend(event.children)
        if event.name == "[memory]":
            changes.append((event.start_time_ns, event.typed[1].alloc_size))
    changes.sort(key=lambda change: change[0])
    return [size for _, size in changes]


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drops what is written to the file descriptor of standard error, where the profiler reports starts and stops."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def interleave(
    calls: Mapping[str, Callable], clock: Callable[[Callable], float], rounds: int, budget: float
) -> dict[str, list[float]]:
    """The calls take turns; in each round another one is first.

    Args:
        calls: the functions to measure, by name.
        clock: calls such a function and returns its seconds.
        rounds: the least number of rounds.
        budget: more rounds follow while fewer seconds than this have passed, up to :data:`MAX_ROUNDS`.

    Returns:
        For each name its seconds, round by round.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    names, start, done = list(calls), time.perf_counter(), 0
    while done < rounds or (done < MAX_ROUNDS and time.perf_counter() - start < budget):
        first = done % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(clock(calls[name]))
        done += 1
    return times


class Ratio(NamedTuple):
    """The median over the rounds, and the quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(times: Mapping[str, Sequence[float]], arm: str, base: str) -> Ratio:
    """Time of ``arm`` over that of ``base``, round by round.

    >>> print(ratio({"slow": [2.0, 6.0, 4.0], "fast": [1.0, 2.0, 2.0]}, "slow", "fast"))
    2.00 (2.00–2.50)
    """
    values = [a / b for a, b in zip(times[arm], times[base], strict=True)]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Ratio(median, low, high)


def keep_memory() -> None:
    """Have the C library keep what this process frees.

    Otherwise a step may ask the system for all its pages again, or not, as the heap happens to lie. Does nothing where
    the C library is not glibc.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, the most that it takes
        library.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
