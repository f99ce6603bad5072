"""A grid trains what is missing, the same in every engine, and loses no more than the runs in flight."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import forks
import pytest

from rotvq.runs import engines, scheduler
from rotvq.runs.records import Records
from rotvq.runs.scheduler import Failure, run
from rotvq.training.config import Config
from rotvq.training.train import train

CONFIGS = [Config(data="fashion-mnist-mini", seed=seed, steps=2, dim=4, codebook_size=8) for seed in range(6)]


def fake(config: Config, *, device: str, threads: int, folder: str = "", seconds: float = 0.0) -> dict:
    """A run that takes no time. It leaves a line for each call: its seed and its process."""
    if folder:
        with open(Path(folder) / "calls", "a") as file:
            file.write(f"{config.seed} {os.getpid()}\n")
    time.sleep(seconds)
    curve = {"stops": [{"step": 0, "test_mse": 1.0}], "trace": [], "first": [1 / (config.seed + 1)]}
    return {"final": {"test_mse": 1 / (config.seed + 3), "diverged_at": None}, "curve": curve}


def killing(config: Config, *, folder: str, always: int, once: int, **options) -> dict:
    """Kill the worker: at every call with seed ``always``, and at the first call with seed ``once``."""
    first = Path(folder) / f"first{config.seed}"
    if config.seed == always or (config.seed == once and not first.exists()):
        first.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return fake(config, folder=folder, **options)


def raising(config: Config, **options) -> dict:
    if config.seed == 2:
        raise ArithmeticError("seed 2 is too much")
    return fake(config, **options)


def calls(folder: Path) -> list[tuple[int, int]]:
    text = (folder / "calls").read_text() if (folder / "calls").exists() else ""
    return [(int(seed), int(pid)) for seed, pid in (line.split() for line in text.splitlines())]


def results(store: Records, configs=CONFIGS) -> dict:
    return {config.id: store.get(config)["result"] for config in configs}


def wait_until(condition, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """A zombie is dead: nobody may be there to reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def store(tmp_path):
    return Records(tmp_path / "records")


@pytest.fixture
def quick_workers(monkeypatch):
    """Workers that are forked with their imports, where what counts is what the engine makes of their end."""
    monkeypatch.setattr(engines.multiprocessing, "get_context", lambda kind: forks.CONTEXT)


def test_serial_yields_as_runs_end_and_reads_the_rest(store, tmp_path, capsys):
    fn = partial(fake, folder=str(tmp_path))
    steps = run(CONFIGS[:3], store, fn=fn)
    config, record = next(steps)
    assert config == CONFIGS[0] and record == store.get(config) and len(calls(tmp_path)) == 1
    steps.close()
    assert [config for config, _ in run([*CONFIGS, CONFIGS[0]], store, fn=fn)] == CONFIGS[1:]
    assert list(run(CONFIGS, store, fn=fn)) == []
    assert [seed for seed, _ in calls(tmp_path)] == list(range(6))
    assert capsys.readouterr() == ("", "")  # no bar where nobody looks


def test_every_engine_gives_the_same(store, tmp_path):
    """The real training, at its smallest."""
    configs = CONFIGS[:1]
    other = Records(tmp_path / "other")
    assert all(not isinstance(r, Failure) for _, r in run(configs, store, fn=train))
    assert all(not isinstance(r, Failure) for _, r in run(configs, other, "processes:2", fn=train))
    assert results(store, configs) == results(other, configs)
    one, two = (s.get(configs[0])["provenance"] for s in (store, other))
    assert all(one[k] == two[k] for k in ("digest", "torch", "numpy", "device", "threads", "data"))


def test_a_dead_worker_costs_only_a_run_that_always_kills(store, tmp_path, quick_workers):
    fn = partial(killing, folder=str(tmp_path), always=1, once=3)
    outcomes = dict(run(CONFIGS, store, "processes:2", fn=fn))
    assert list(map(type, (outcomes.pop(CONFIGS[1]), *outcomes.values()))) == [Failure] + [dict] * 5
    assert store.missing(CONFIGS) == [CONFIGS[1]]
    assert "WorkerDied" in json.loads(store.failure(CONFIGS[1]).read_text())["error"]
    assert len({pid for _, pid in calls(tmp_path)}) <= 5  # 2 workers, and one more for each of 3 deaths
    assert [c for c, _ in run(CONFIGS, store, fn=fake)] == [CONFIGS[1]] and not store.failure(CONFIGS[1]).exists()


def test_an_error_in_a_run_is_its_failure(store, caplog):
    outcomes = dict(run(CONFIGS, store, fn=raising))
    assert str(outcomes[CONFIGS[2]]) == "ArithmeticError: seed 2 is too much"
    assert "seed 2 is too much" in caplog.text and store.missing(CONFIGS) == [CONFIGS[2]]


def ending(config, **options):
    return sys.exit(5) if config.seed == 2 else fake(config, **options)


@pytest.mark.parametrize("engine", ["serial", "processes:1"])
def test_a_run_that_ends_its_process_fails_alone(store, engine, quick_workers):
    outcomes = dict(run(CONFIGS, store, engine, fn=ending))
    assert str(outcomes[CONFIGS[2]]) == "ValueError: a part of your own ended the process, by SystemExit(5)"
    assert len(outcomes) == len(CONFIGS) and store.missing(CONFIGS) == [CONFIGS[2]]


def test_a_result_that_is_no_json_is_a_failure(store):
    ((_, outcome),) = run(CONFIGS[:1], store, fn=lambda config, **_: {"final": {"x": float("nan")}})
    assert isinstance(outcome, Failure) and store.missing(CONFIGS[:1])


def test_leaving_early_ends_the_workers(store, tmp_path, quick_workers):
    steps = run(CONFIGS, store, "processes:1", fn=partial(fake, folder=str(tmp_path), seconds=0.2))
    next(steps)
    (pid,) = {pid for _, pid in calls(tmp_path)}
    assert alive(pid)
    steps.close()
    wait_until(lambda: not alive(pid))
    assert 1 <= 6 - len(store.missing(CONFIGS)) < 6


DRIVER = """
import signal, sys
from functools import partial
sys.path.insert(0, {tests!r})
from test_scheduler import CONFIGS, fake
from rotvq.runs.scheduler import run
from rotvq.runs.records import Records

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in a shell's background
for _ in run(CONFIGS, Records({store!r}), "processes:2", fn=partial(fake, folder={folder!r}, seconds={seconds})):
    pass
"""
FORKED = """
import forks
from rotvq.runs import engines
engines.multiprocessing.get_context = lambda kind: forks.CONTEXT
"""


def driver(store: Records, folder: Path, seconds: float, first: str = ""):
    """Start a process that trains CONFIGS with two workers, each run in so many seconds."""
    tests, paths = str(Path(__file__).parent), os.pathsep.join(sys.path)
    code = DRIVER.format(tests=tests, store=str(store.folder), folder=str(folder), seconds=seconds)
    return forks.start(first + code, PYTHONPATH=paths)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_driver_loses_at_most_the_runs_in_flight(store, tmp_path, how):
    process = driver(store, tmp_path, 0.8)
    wait_until(lambda: any(store.folder.glob("*.json")))
    os.kill(process.pid, how)
    process.join()
    workers = {pid for _, pid in calls(tmp_path)}
    assert len(workers) == 2
    wait_until(lambda: not any(map(alive, workers)))
    left = store.missing(CONFIGS)  # reads every record: none is torn
    assert 0 < len(left) < 6
    assert len(calls(tmp_path)) - (6 - len(left)) <= 2  # began, and left no record
    assert [config for config, _ in run(CONFIGS, store, fn=fake)] == left
    whole = Records(tmp_path / "whole")
    assert len(list(run(CONFIGS, whole, fn=fake))) == 6 and results(store) == results(whole)


@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.0])
def test_a_worker_records_its_run_before_it_reports(store, tmp_path, seconds):
    """The driver sleeps while its workers end, as on a machine that is busy, and never wakes."""
    process = driver(store, tmp_path, seconds, FORKED)
    wait_until(lambda: len(calls(tmp_path)) >= 2)
    os.kill(process.pid, signal.SIGSTOP)
    began = len(calls(tmp_path))
    wait_until(lambda: len(list(store.folder.glob("*.json"))) >= began)  # while the driver cannot do anything
    process.kill()
    process.join()
    workers = {pid for _, pid in calls(tmp_path)}
    wait_until(lambda: not any(map(alive, workers)))
    assert len(store.missing(CONFIGS)) <= 6 - began and not list(store.folder.glob(".*.tmp"))


def test_what_a_worker_recorded_before_it_died_is_not_trained_again(store, tmp_path, monkeypatch):
    fn = partial(fake, folder=str(tmp_path))
    outcomes = dict(run(CONFIGS[:3], store, dying(after=1)(), fn=fn))
    assert outcomes == {config: store.get(config) for config in CONFIGS[:3]} and len(calls(tmp_path)) == 3


def dying(after: int):
    """An engine in which a worker dies after so many runs, when it has recorded the last and before it reports it."""

    @contextmanager
    def engine():
        ended = []

        def submit(fn, *args):
            future = Future()
            result = fn(*args)
            ended.append(args)
            if len(ended) == after:
                future.set_exception(engines.WorkerDied("the worker process died"))
            else:
                future.set_result(result)
            return future

        yield engines.Engine(submit, workers=1, queue=1)

    return engine


def test_a_worker_without_the_store_leaves_the_record_to_the_driver(store, monkeypatch):
    @contextmanager
    def elsewhere():
        def submit(fn, *args):
            future = Future()
            future.set_result(fn(*args[:-1], args[-1] / "not here"))
            return future

        yield engines.Engine(submit, workers=1, queue=1)

    outcomes = dict(run(CONFIGS[:2], store, elsewhere(), fn=fake))
    assert outcomes == {config: store.get(config) for config in CONFIGS[:2]}
    assert sorted(path.suffix for path in store.folder.iterdir()) == [".json"] * 2


@pytest.mark.parametrize("place", ["file", "file/store", "/proc/self/store"])
def test_a_store_that_cannot_be_written_is_refused_before_anything_runs(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="records cannot be written to|records are kept in a folder"):
        list(run(CONFIGS, Records(tmp_path / place), fn=partial(fake, folder=str(tmp_path))))
    assert calls(tmp_path) == []


RAY = """
import sys
from functools import partial

import ray
from test_scheduler import CONFIGS, killing
from rotvq.runs.scheduler import run
from rotvq.runs.records import Records

ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")  # one cluster, which each call joins
fn = partial(killing, folder=sys.argv[2], always=-1, once=3)
print([type(outcome).__name__ for _, outcome in run(CONFIGS[1:], Records(sys.argv[1]), "ray:0", fn=fn)])
print([type(outcome).__name__ for _, outcome in run(CONFIGS[:1], Records(sys.argv[1]), "ray:0")])
try:
    next(run(CONFIGS, Records(sys.argv[1]), "ray:8", fn=fn))
except ValueError as error:
    print(error)
"""


def test_ray_gives_the_same_and_survives_a_dead_worker(store, tmp_path):
    """In a process of its own: Ray leaves threads and warnings behind. test_own.py lets a call start a cluster."""
    pytest.importorskip("ray")
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", RAY, store.folder, tmp_path]
    done = subprocess.run(command, env=paths, capture_output=True, text=True, timeout=400)
    lines = [line for line in done.stdout.splitlines() if "raylet" not in line]
    assert lines[:2] == [str(["dict"] * 5), str(["dict"])], done.stderr
    assert lines[2].startswith("a run asks for 8 GPU and 1 CPU, Ray has ")
    assert sum(seed == 3 for seed, _ in calls(tmp_path)) == 1 and (tmp_path / "first3").exists()
    other = Records(tmp_path / "other")
    list(run(CONFIGS[:1], other))
    list(run(CONFIGS[1:], other, fn=fake))
    assert results(store) == results(other)


@pytest.mark.parametrize("of", [1, 4, 7])
def test_shards_are_disjoint_equal_and_whole(of):
    configs = [Config(seed=seed) for seed in range(22)]
    parts = []
    for i in range(of):
        with engines.shard(i, of) as engine:
            parts.append(engine.choose(configs))
            assert set(engine.choose(configs[::-1])) == set(parts[-1])
    assert sorted((c for part in parts for c in part), key=lambda c: c.seed) == configs
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shards_fill_one_store(store, tmp_path):
    for i in range(3):
        list(run(CONFIGS, store, f"shard:{i}/3", fn=partial(fake, folder=str(tmp_path))))
        assert len(calls(tmp_path)) == 2 * (i + 1)
    assert store.missing(CONFIGS) == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        "threads",
        "serial:2",
        "processes",
        "processes:0",
        "processes:x",
        "ray:x",
        "shard:1",
        "shard:3/3",
        "shard:-1/2",
    ],
)
def test_unknown_engines_are_refused_before_training(store, name):
    with pytest.raises(ValueError, match="serial|worker|shard|GPU"):
        list(run(CONFIGS, store, name, fn=fake))
    assert store.all() == []


def test_everything_is_checked_before_anything_runs(store):
    for configs, options, words in [
        ([*CONFIGS, Config(gamma=-1)], {}, "gamma is -1.0"),
        (CONFIGS, {"device": "cuda:99"}, "device 'cuda:99' is not there"),
        (CONFIGS, {"cap": 1e-6}, "6 runs would take .* core-hours, over the cap of 1e-06"),
    ]:
        with pytest.raises(ValueError, match=words):
            list(run(configs, store, fn=fake, **options))
    assert store.all() == [] and not list(store.folder.glob("*.failed"))


def test_estimate_is_the_protocols_figure_until_records_tell(store):
    long = [Config(steps=30_000, seed=s) for s in range(2)]
    assert scheduler.estimate(long) == pytest.approx(2 * 30_000 * 0.010, rel=0.05)  # stops add 3 %
    assert scheduler.estimate([Config(steps=30_000, batch=128)]) == pytest.approx(30_000 * 0.028, rel=0.05)
    for seed, seconds in enumerate((5.0, 6.0, 100.0)):
        store.put(Config(seed=seed), fake(Config(), device="cpu", threads=1), {"seconds": seconds})
    assert scheduler.estimate([Config(seed=3), Config(seed=4)], store) == pytest.approx(12.0)  # the median rate
    assert scheduler.estimate([Config(dim=4)], store) == scheduler.estimate([Config(dim=4)])  # another shape
    assert scheduler.estimate([], store) == 0
