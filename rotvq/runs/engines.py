"""Where runs run: context managers that give an `Engine`. The results of a config are the same in all of them."""

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from rotvq.runs import provenance
from rotvq.training import files
from rotvq.training.config import Config


class WorkerDied(RuntimeError):
    """The process that held a run ended before the run did. Other runs go on."""


@dataclass(frozen=True)
class Engine:
    """What an engine gives while it is entered."""

    submit: Callable[..., Future]  #: called as ``submit(fn, *args)``
    workers: int  #: how many runs go on at once
    queue: float = math.inf  #: how many may be submitted before the first of them has ended
    choose: Callable[[Sequence[Config]], list[Config]] = list  #: the part of a grid that is this engine's


@contextmanager
def serial() -> Iterator[Engine]:
    """Run in this process, one after the other: ``submit`` returns when the run has ended."""

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
    """Run in ``n`` spawned processes, kept alive from run to run; several may share one GPU.

    Each is a pool of its own: a worker that dies takes its run with it and no other. Every worker holds one end of a
    pipe and ends when the other end, the leash, closes: on an error or Ctrl-C here, or when this process dies.
    """
    if n > (most := 8 * (os.cpu_count() or 1)):
        raise ValueError(f"engine is 'processes:{n}': {n} workers, and at most {most} are useful here")
    spawn = multiprocessing.get_context("spawn")
    end, leash = spawn.Pipe(duplex=False)
    own, pools = threading.local(), []

    def run(fn: Callable, *args: Any) -> Any:
        if getattr(own, "pool", None) is None:
            own.pool = ProcessPoolExecutor(1, spawn, _start_worker, (end,))
            pools.append(own.pool)
        try:
            return own.pool.submit(fn, *args).result()
        except BrokenProcessPool:
            own.pool = None
            raise WorkerDied("the worker process died") from None

    with end, leash, ThreadPoolExecutor(n) as threads:
        try:
            yield Engine(partial(threads.submit, run), workers=n)
        except BaseException:
            leash.close()
            raise
        finally:
            threads.shutdown(cancel_futures=True)
            for pool in pools:
                pool.shutdown()


def _start_worker(leash: Connection) -> None:
    """In a new worker: end when the leash is cut, leave Ctrl-C to the driver, read the code that runs need."""

    def watch() -> None:
        leash.poll(None)
        with files.WRITING:  # a record, whole
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
    import rotvq.training.train  # noqa: F401

    provenance.code()


@contextmanager
def ray(gpus: float = 0.25, cpus: float = 1) -> Iterator[Engine]:
    """Run as Ray tasks of ``gpus`` GPUs and ``cpus`` CPUs each, here or in the cluster that RAY_ADDRESS names.

    Raises ValueError where Ray is not installed (the extra rotvq[ray]) or has no room for one task.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray as cluster
    except ImportError:
        raise ValueError("the package ray is not there: pip install 'rotvq[ray]'") from None
    joined = cluster.is_initialized()
    if not joined:
        address = os.environ.get("RAY_ADDRESS")
        local = {} if address else {"include_dashboard": False}
        try:
            cluster.init(log_to_driver=False, logging_level="error", **local)
        except (ConnectionError, ValueError) as error:
            raise ValueError(f"RAY_ADDRESS is {address!r}, where Ray cannot be joined ({error})") from None

    def submit(fn: Callable, *args: Any) -> Future:
        future: Future = Future()

        def hand_on(task: Future) -> None:
            try:
                future.set_result(task.result())
            except cluster.exceptions.RayTaskError as error:  # fn raised; all else is Ray's
                future.set_exception(error.cause)
            except Exception as error:
                future.set_exception(WorkerDied(str(error)))

        task = cluster.remote(fn).options(num_gpus=gpus, num_cpus=cpus, max_retries=0)
        task.remote(*args).future().add_done_callback(hand_on)
        return future

    try:
        have = {"GPU": 0.0, "CPU": 0.0, **cluster.cluster_resources()}
        rooms = [have[name] / need for name, need in (("GPU", gpus), ("CPU", cpus)) if need]
        workers = int(min(rooms, default=0))
        if workers == 0:
            has = f"{have['GPU']:g} GPU and {have['CPU']:g} CPU"
            raise ValueError(f"a run asks for {gpus:g} GPU and {cpus:g} CPU, Ray has {has} (ray:0 asks for no GPU)")
        yield Engine(submit, workers)
    finally:
        if not joined:
            cluster.shutdown()


@contextmanager
def shard(i: int, of: int, inner: AbstractContextManager[Engine] | None = None) -> Iterator[Engine]:
    """Run the i-th of ``of`` equal parts of a grid, by the ids of its configs and from 0, in ``inner`` or `serial`."""

    def choose(configs: Sequence[Config]) -> list[Config]:
        part = set(sorted({config.id for config in configs})[i::of])
        return [config for config in configs if config.id in part]

    with inner or serial() as engine:
        yield replace(engine, choose=choose)


def find_engine(name: str) -> AbstractContextManager[Engine]:
    """The engine called serial, processes:N, ray:GPUS, shard:I/OF or shard:I/OF:ENGINE."""
    kind, _, rest = name.partition(":")
    with suppress(ValueError):
        if name == "serial":
            return serial()
        if kind == "processes" and (n := int(rest)) >= 1:
            return processes(n)
        if kind == "ray" and 0 <= (gpus := float(rest or 0.25)) < math.inf:
            return ray(gpus)
        if kind == "shard":
            part, _, inner = rest.partition(":")
            i, of = map(int, part.split("/"))
            if 0 <= i < of and not inner.startswith("shard"):
                return shard(i, of, find_engine(inner or "serial"))
    allowed = "serial, processes:N, ray:GPUS, shard:I/OF or shard:I/OF:ENGINE"
    raise ValueError(f"unknown engine {name!r}: {allowed}, with N from 1, GPUS from 0 and I from 0 to OF - 1")
