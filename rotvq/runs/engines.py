"""Where runs run. An engine is a context manager that gives ``submit(fn, *args) -> concurrent.futures.Future``.

=====================  ===============================================================================================
serial()               here, one after the other
processes(n)           n processes of this machine, kept alive from run to run; several may share one GPU
ray(gpus, cpus)        Ray tasks, each with that share of this machine, or of the cluster that RAY_ADDRESS names
shard(i, of, inner)    the i-th of ``of`` equal parts of a grid, counted from 0, in another engine: for job arrays
=====================  ===============================================================================================

Every engine gives the same results for the same configs. A run that kills its worker fails alone, with `WorkerDied`.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from rotvq.training.config import Config


class WorkerDied(RuntimeError):
    """The process that held a run ended before the run did."""


@dataclass(frozen=True)
class Engine:
    """What an engine gives while it is entered. choose: the part of a grid that is this engine's."""

    submit: Callable[..., Future]
    workers: int  # runs that go on at once
    queue: float = math.inf  # runs that may be handed over before the first of them has ended
    choose: Callable[[Sequence[Config]], list[Config]] = list


@contextmanager
def serial() -> Iterator[Engine]:
    """``submit`` returns when the run has ended."""

    def submit(fn: Callable, *args: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(fn(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    yield Engine(submit, workers=1, queue=1)


@contextmanager
def processes(n: int) -> Iterator[Engine]:
    """``n`` spawned workers, each a pool of its own: a worker that dies takes its run with it and no other.

    Every worker holds one end of a pipe, the leash. When the other end closes it ends, in the middle of a run if need
    be: on an error or Ctrl-C here, and when this process dies in whatever way.
    """
    if n < 1:
        raise ValueError(f"{n} workers: at least 1 is needed")
    spawn, own, pools = multiprocessing.get_context("spawn"), threading.local(), []
    end, leash = spawn.Pipe(duplex=False)

    def run(fn: Callable, *args: Any) -> Any:
        if getattr(own, "pool", None) is None:
            own.pool = ProcessPoolExecutor(1, spawn, _hold, (end,))
            pools.append(own.pool)
        try:
            return own.pool.submit(fn, *args).result()
        except BrokenProcessPool:
            own.pool = None
            raise WorkerDied("the worker process died") from None

    slots = ThreadPoolExecutor(n)
    try:
        yield Engine(lambda fn, *args: slots.submit(run, fn, *args), workers=n)
    except BaseException:
        leash.close()
        raise
    finally:
        slots.shutdown(cancel_futures=True)
        for pool in pools:
            pool.shutdown()
        leash.close()
        end.close()


def _hold(leash) -> None:
    """In a new worker: end when the leash is cut, leave Ctrl-C to the driver, import what runs need."""

    def watch() -> None:
        leash.poll(None)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
    import rotvq.training.train  # noqa: F401
    from rotvq.runs.provenance import code

    code()


@contextmanager
def ray(gpus: float = 0.25, cpus: float = 1) -> Iterator[Engine]:
    """Ray Core tasks of ``gpus`` GPUs and ``cpus`` CPUs each; no dashboard, no usage statistics. Needs rotvq[ray]."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray as cluster
    except ImportError:
        raise ValueError("the package ray is not there: pip install 'rotvq[ray]'") from None
    found = cluster.is_initialized()
    if not found:
        local = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
        cluster.init(log_to_driver=False, logging_level="error", **local)

    def submit(fn: Callable, *args: Any) -> Future:
        task = cluster.remote(fn).options(num_gpus=gpus, num_cpus=cpus, max_retries=0)
        future: Future = Future()

        def ended(inner: Future) -> None:
            error = inner.exception()
            if error is None:
                future.set_result(inner.result())
            elif isinstance(error, cluster.exceptions.RayTaskError):  # fn raised; all else is Ray's
                future.set_exception(error.cause)
            else:
                future.set_exception(WorkerDied(str(error)))

        task.remote(*args).future().add_done_callback(ended)
        return future

    try:
        have = cluster.cluster_resources()
        shares = [have.get(name, 0) / need for name, need in (("GPU", gpus), ("CPU", cpus)) if need]
        if not (workers := int(min(shares, default=0))):
            has = f"{have.get('GPU', 0):g} GPU and {have.get('CPU', 0):g} CPU"
            raise ValueError(f"a run asks for {gpus:g} GPU and {cpus:g} CPU, Ray has {has} (ray:0 asks for no GPU)")
        yield Engine(submit, workers)
    finally:
        if not found:
            cluster.shutdown()


@contextmanager
def shard(i: int, of: int, inner: AbstractContextManager[Engine] | None = None) -> Iterator[Engine]:
    """Part ``i`` of ``of``, in ``inner`` or `serial`. Parts are disjoint, equal in size and a matter of ids alone."""
    if not 0 <= i < of:
        raise ValueError(f"shard {i} of {of}: the first number must be from 0 to {of - 1}")

    def choose(configs: Sequence[Config]) -> list[Config]:
        part = set(sorted({config.id for config in configs})[i::of])
        return [config for config in configs if config.id in part]

    with inner or serial() as engine:
        yield replace(engine, choose=choose)


NAMES = "serial, processes:N, ray:GPUS, shard:I/OF or shard:I/OF:ENGINE"


def engine(name: str) -> AbstractContextManager[Engine]:
    """The engine that :data:`NAMES` describe, as the command line and the notebooks name it."""
    kind, _, rest = name.partition(":")
    try:
        if kind == "serial" and not rest:
            return serial()
        if kind == "processes":
            return processes(int(rest))
        if kind == "ray":
            return ray(float(rest)) if rest else ray()
        if kind == "shard":
            part, _, inner = rest.partition(":")
            i, of = map(int, part.split("/"))
            return shard(i, of, engine(inner or "serial"))
    except ValueError:
        pass
    raise ValueError(f"unknown engine {name!r}: {NAMES}")
