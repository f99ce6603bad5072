"""The command line: an option for each field, refusals in one sentence, dry runs that train nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from forks import start

from rotvq import __main__ as cli
from rotvq.runs import engines, grids, rehearsal, scheduler
from rotvq.runs.grids import CHAPTERS, CONFIRM, EXPLORE, FEW, FRESH, PROFILES, Block, Chapter, vary
from rotvq.runs.records import Records, write_record
from rotvq.training.config import FIELDS, Config
from rotvq.training.train import Run

NAME = "10_ste_vs_rotation"


def fake(config: Config, *, device="cpu", threads=1, progress=False, resume=None, code="") -> dict:
    curve = {"stops": [], "trace": [], "first": [1.0]}
    return {"final": {"test_mse": config.gamma + config.seed, "diverged_at": None}, "curve": curve}


@pytest.fixture
def call(capsys, monkeypatch):
    """Run a command with a training that takes no time; its status, output and errors."""
    monkeypatch.setattr(cli, "train", fake)
    monkeypatch.setattr(rehearsal, "_first_step", lambda *_: None)
    monkeypatch.setattr(scheduler.run, "__kwdefaults__", {**scheduler.run.__kwdefaults__, "fn": fake})

    def run(*words):
        try:
            status = cli.main([str(word) for word in words])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def test_every_field_is_an_option(call):
    values = {
        "data": "cifar10",
        "model": "conv",
        "norm": "batch",
        "dim": 8,
        "codebook_size": 16,
        "lookup": "cosine",
        "estimator": "clipped",
        "clip": [0.5, 2.0],
        "mix": 0.5,
        "warmup": 3,
        "centre": "codebook",
        "init": "kmeans",
        "init_scale": 0.1,
        "init_latents": 100,
        "pretrain_steps": 5,
        "update": "gradient",
        "decay": 0.9,
        "initial_count": 1.0,
        "revival": "count",
        "revival_at": 3.0,
        "project_to": 6,
        "temperature": 0.5,
        "beta": 2.0,
        "gamma": 0.1,
        "convention": "token",
        "optimizer": "sgd",
        "lr": 0.01,
        "code_lr": 0.5,
        "schedule": "cosine",
        "weight_decay": 0.001,
        "batch": 4,
        "steps": 7,
        "quantizer": "vq",
        "latent_scale": 2.0,
        "centre_offset": 0.0,
        "gamma_rule": "over_r",
        "gain": "learned",
        "seed": 3,
    }
    assert list(values) == list(FIELDS)
    words = []
    for name, value in values.items():
        words += ["--" + name.replace("_", "-"), *map(str, value if isinstance(value, list) else [value])]
    status, out, err = call("train", *words, "--dry-run")
    shown, cost = out.splitlines()
    assert (status, err) == (0, "") and json.loads(shown) == {"id": Config(**values).id, **values}
    assert cost.startswith("1 of 1 runs missing: about ")


def test_train_prints_and_records_once(call, tmp_path):
    words = ("train", "--gamma", 0.5, "--seed", 2)
    assert json.loads(call(*words)[1])["test_mse"] == 2.5
    assert json.loads(call(*words, "--records", tmp_path)[1])["test_mse"] == 2.5
    store, config = Records(tmp_path), Config(gamma=0.5, seed=2)
    store.restamp(config, seen=True)
    assert call(*words, "--records", tmp_path)[0] == 0
    assert store.get(config)["provenance"]["seen"] and store.all() == [config]
    assert call(*words, "--records", tmp_path, "--dry-run")[1].splitlines()[1].startswith("0 of 1 runs missing")


@pytest.mark.parametrize(
    "words",
    [
        ("--gain", "learned"),
        ("--gamma-rule", "over_r"),
        ("--centre-offset", 1.0),
        ("--estimator", "mean_scale"),
        ("--quantizer", "dynamic"),
    ],
)
def test_what_each_rank_would_see_otherwise_is_refused(call, monkeypatch, words):
    assert call("train", *words)[0] == 0
    monkeypatch.setattr(cli.distributed, "world", lambda: (0, 2))
    status, out, err = call("train", *words)
    assert status == 2 and out == "" and "train it in one process" in err
    assert call("train")[0] == 0  # what reduces over ranks is shared


REFUSED = [
    (["train", "--estimator", "magic"], "unknown estimator 'magic': one of ste, rotation"),
    (["train", "--codebook-size", "0"], "codebook_size is 0: it must be at least 1"),
    (["train", "--gamma", "-1"], "gamma is -1.0: it must be at least 0"),
    (["train", "--gamma", "nan"], "gamma is nan: it must be a finite number"),
    (["train", "--clip", "2", "1"], "0 <= lo <= hi"),
    (["train", "--device", "cuda:99"], "device 'cuda:99' is not there: one of cpu"),
    (["train", "--data", "mnist"], "fashion-mnist"),
    (["train", "--device", "meta"], "device 'meta' is not there: one of cpu"),
    (["train", "--device", "cpu:3"], "device is 'cpu:3': the CPU has no number"),
    (["grid", NAME, "--device", "cpu:0"], "device is 'cpu:0': the CPU has no number"),
    (["grid", NAME, "--device", "meta", "--status"], "device 'meta' is not there: one of cpu"),
    (["train", "--gamma", "1", "--gamma", "2"], "--gamma is given twice"),
    (["train", "--code-lr", "1", "--code_lr=2"], "--code-lr is given twice"),
    (["train", "--data="], "an option has an empty value"),
    (["train", "--estimator", ""], "an option has an empty value"),
    (["train", "--decay", "0.5"], "decay would do nothing"),
    (["grid", NAME, "--status", "--engine", "processes:1000000000"], "1000000000 workers, and at most"),
    (["grid", NAME, "--engine", "shard:0/2:processes:1000000000"], "1000000000 workers, and at most"),
    (["grid", NAME, "--dry-run", "--engine", "processes:1000000000"], "1000000000 workers, and at most"),
    (["grid", "99_nothing"], f"unknown chapter '99_nothing': one of {NAME}"),
    (["grid", NAME, "--profile", "huge"], "unknown profile 'huge': one of smoke, standard, full"),
    (["grid", NAME, "--steps", "10"], "a grid is the whole plan of a chapter and has no --steps; for a smaller"),
    (["grid", NAME, "--seeds=2", "--data", "photographs"], "has no --seeds, --data; for a smaller"),
    (["grid", NAME, "--code-lr", "3"], "papermill notebooks/"),
    (["grid", NAME, "--engine", "threads"], "unknown engine 'threads': serial, processes:N"),
    (["grid", NAME, "--device", "cuda:99"], "device 'cuda:99' is not there"),
    (["grid", NAME, "--profile", "full"], "over the cap of 2 (--over)"),
    (["verify", "--sample", "0"], "sample is 0: it must be at least 1"),
    (["verify"], "there is no record in"),
    (["verify", "--restamp"], "there is no record in"),
    (["verify", "--sample", "2", "--reference", "before"], "--sample and --reference exclude each other"),
    (["verify", "--sample", "2", "--restamp"], "--sample and --restamp exclude each other"),
    (["verify", "--engine", "processes:2"], "digests train nothing"),
    (["verify", "--device", "cuda"], "digests train nothing"),
    (["verify", "--restamp", "--engine", "shard:0/2"], "engine is 'shard:0/2': verify decides over whole stores"),
    (["verify", "--sample", "1", "--engine", "shard:0/2:processes:2"], "verify decides over whole stores"),
    (["grid", NAME, "--dry-run", "--status"], "--dry-run and --status exclude each other"),
    (["grid", NAME, "--dry-run", "--sbatch", "2"], "--dry-run and --sbatch exclude each other"),
    (["grid", NAME, "--status", "--sbatch", "2"], "--status and --sbatch exclude each other"),
    (["grid", NAME, "--status", "--sbatch", "2", "--dry-run"], "--dry-run and --status and --sbatch exclude"),
    (["grid", NAME, "--over", "--status"], "--over and --status exclude each other"),
    (["grid", NAME, "--over", "--dry-run"], "--over and --dry-run exclude each other"),
    (["grid", NAME, "--sbatch", "0"], "sbatch is 0: it must be from 1 to 132, the runs of this grid"),
    (["grid", NAME, "--sbatch", "-1"], "sbatch is -1: it must be from 1"),
    (["grid", NAME, "--sbatch", "133"], "sbatch is 133: it must be from 1 to 132"),
    (["grid", NAME, "--sbatch", "2", "--engine", "shard:0/2"], "leave out --engine shard"),
    (["grid", NAME, "--sbatch", "2", "--engine", "shard:0/2:processes:2"], "leave out --engine shard"),
    (["grid", NAME, "--sbatch", "2", "--engine", "threads"], "unknown engine 'threads'"),
    (["grid", NAME, "--sbatch", "2", "--engine", "processes:0"], "unknown engine 'processes:0'"),
    (["grid", NAME, "--sbatch", "2", "--device", "cuda:1"], "device is 'cuda:1': a job sees its own GPU as cuda"),
    (["grid", NAME, "--status", "--engine", "shard:2/2"], "unknown engine 'shard:2/2'"),
    (["grid", NAME, "--status", "--engine", "processes:-1"], "unknown engine 'processes:-1'"),
    (["grid", NAME, "--engine", "shard:0/2:shard:0/2"], "unknown engine 'shard:0/2:shard:0/2'"),
    (["grid", NAME, "--engine", "ray:-1"], "GPUS from 0"),
    (["grid", NAME, "--engine", "ray:nan"], "GPUS from 0"),
    (["grid", NAME, "--engine", "ray:inf"], "GPUS from 0"),
    (["train", "--estimator", "absent.py:Brake"], "estimator 'absent.py:Brake' cannot be imported"),
    (["train", "--data", "imagefolder:absent"], "imagefolder:absent is not there: looked for"),
]


@pytest.mark.parametrize("words, said", REFUSED, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_refused_before_training_with_status_2(call, tmp_path, words, said):
    status, out, err = call(*words, "--records", tmp_path)
    assert status == 2 and out == "" and said in err and err.startswith("error: ") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--records", "~/mine"], ["--records=~/mine"]])
def test_a_folder_at_home_is_found_also_where_the_shell_does_not(call, tmp_path, monkeypatch, words):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert call("train", *words)[0] == 0 and [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("words", [["train", "--seed", "x"], ["train", "--estimater", "ste"], ["nothing"], []])
def test_what_is_no_option_is_refused(call, words):
    assert call(*words)[0] == 2


def test_grid_trains_what_is_missing(call, tmp_path):
    words = ("grid", NAME, "--profile", "smoke", "--records", tmp_path)
    status, out, err = call(*words, "--dry-run")
    assert status == 0 and "\n14 of 14 runs missing: about " in out and "The cap is 2 core-hours." in out
    assert json.loads(out.splitlines()[0])["estimator"] == ["ste", "rotation"] and list(tmp_path.iterdir()) == []
    assert "0 of 14 runs done, 14 missing, 0 of them failed" in call(*words, "--status")[1]
    assert call(*words, "--engine", "shard:0/4")[0] == 0
    assert "4 of 14 runs done (4 verified), 10 missing" in call(*words, "--status")[1]
    status, out, err = call("grid", "10", *words[2:])
    assert (status, err) == (0, "") and "14 of 14 runs done (14 verified), 0 missing" in out
    assert call(*words, "--dry-run")[1].splitlines()[1].startswith("0 of 14 runs missing: about 0.0 minutes")


def test_a_failed_run_is_reported(call, tmp_path, monkeypatch, caplog):
    def failing(config, **options):
        if config.seed == 1:
            raise ArithmeticError("too much")
        return fake(config)

    monkeypatch.setattr(scheduler.run, "__kwdefaults__", {**scheduler.run.__kwdefaults__, "fn": failing})
    words = ("grid", NAME, "--profile", "smoke", "--records", tmp_path)
    status, out, err = call(*words)
    assert status == 1 and caplog.text.count("failed: ArithmeticError: too much") == 7
    assert "7 of 14 runs done (7 verified), 7 missing, 7 of them failed" in out
    assert "7 of them failed" in call(*words, "--status")[1]


def test_sbatch_script_covers_the_grid(call, tmp_path):
    words = ["grid", NAME, "--profile", "full", "--records", tmp_path, "--device", "cpu", "--engine", "processes:4"]
    status, script, _ = call(*words, "--over", "--sbatch", 16)
    assert status == 0 and script.startswith("#!/bin/bash\n#SBATCH")
    assert "--array=0-15\n" in script and "--cpus-per-task=4\n" in script and "gpus" not in script
    assert "--over" in script and "--profile full" in script and str(tmp_path) in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    name = script.split('--engine "')[1].split('"')[0].replace("$SLURM_ARRAY_TASK_ID", "15")
    assert name == "shard:15/16:processes:4"
    with engines.find_engine(name) as engine:
        assert engine.workers == 4
    status, script, _ = call("grid", NAME, "--device", "cuda", "--sbatch", 2)  # where it is printed needs no GPU
    assert status == 0 and "--gpus-per-task=1\n" in script and "--device cuda" in script


def test_verify(call, tmp_path):
    folder = tmp_path / NAME
    call("grid", NAME, "--profile", "smoke", "--records", folder)
    write_record(tmp_path / "30_residual_codec" / "a.json", {"schema": "system-1", "result": {"error": 1.0}})
    status, out, _ = call("verify", "--sample", 2, "--records", tmp_path)
    assert status == 0 and out.count(": identical\n") == 2
    assert out.endswith("records: 14 verified\nverified: 14 as trained\n")
    store = Records(folder)
    for config in store.all():
        store.restamp(config, digest="older")
    status, out, _ = call("verify", "--sample", 1, "--records", folder)
    assert status == 0 and "records: 14 unverified" in out
    status, out, _ = call("verify", "--records", tmp_path)
    assert (status, out) == (
        0,
        "15 digests checked, 1 of other kinds or not in a chapter's folder\nrecords: 14 unverified\n",
    )
    status, out, _ = call("verify", "--restamp", "--records", tmp_path)
    assert status == 0 and out.count(": identical\n") == 4
    assert out.endswith("records: 14 verified\nverified: 14 identical\n")
    config = store.all()[0]
    store.put(config, {**fake(config), "final": {"test_mse": 77.0}}, {**store.get(config)["provenance"]})
    status, out, _ = call("verify", "--sample", 14, "--records", tmp_path)
    assert status == 1 and out.count("test_mse was 77.0") == 1


def test_verify_alone_checks_every_digest_and_trains_nothing(call, tmp_path, monkeypatch):
    folder = tmp_path / NAME
    call("grid", NAME, "--profile", "smoke", "--records", folder)
    monkeypatch.setattr(cli.scheduler, "run", None)
    write_record(tmp_path / "20_cost" / "a.json", {"schema": "cost-1", "result": {"seconds": 1.0}})
    words = ("verify", "--records", tmp_path)
    assert call(*words) == (
        0,
        "15 digests checked, 1 of other kinds or not in a chapter's folder\n"
        "records: 14 verified\nverified: 14 as trained\n",
        "",
    )
    altered = [*sorted(folder.glob("*.json"))[:2], tmp_path / "20_cost" / "a.json"]
    for path in altered:
        path.write_text(path.read_text().replace("1.0", "1.5"))
    (tmp_path / NAME / "0123456789abcdef.json").write_text("{}")
    status, out, _ = call(*words)
    assert status == 1 and out.endswith("4 of 16 records do not check\n")
    assert all(f"{path} has been altered" in out for path in altered)
    status, out, err = call("verify", "--sample", 1, "--records", tmp_path)
    assert status == 2 and str(tmp_path / NAME) in err


@pytest.mark.parametrize(
    "words, interrupt",
    [
        (["grid", NAME, "--profile", "smoke"], KeyboardInterrupt),
        (["grid", NAME, "--profile", "smoke"], cli.Terminated),
        (["train", "--steps", "1"], KeyboardInterrupt),
        (["verify", "--sample", "1"], KeyboardInterrupt),
        (["verify", "--restamp"], cli.Terminated),
    ],
)
def test_an_interrupt_says_what_is_kept(call, tmp_path, monkeypatch, words, interrupt):
    def stopped(*_, **__):
        raise interrupt

    store = Records(tmp_path)
    store.put(Config(), fake(Config()), {"digest": "older"})
    monkeypatch.setattr(cli.scheduler, "run", stopped)
    status, _, err = call(*words, "--records", tmp_path)
    assert status == {KeyboardInterrupt: 130, cli.Terminated: 143}[interrupt]
    kept = {
        "grid": "what has ended is recorded; the same command trains the rest",
        "train": "nothing had been trained that is not recorded",
        "verify": "what was decided is in the records; the same command decides the rest",
    }[words[0]]
    assert err == f"interrupted: {'no record was changed' if '--sample' in words else kept}\n"


@pytest.fixture
def heard():
    """SIGINT is heard, which a shell's background ignores, and SIGHUP, which nohup ignores."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_run_that_is_stopped_goes_on_from_its_resume_point(number, heard, tmp_path, monkeypatch, capsys):
    """A real run, of which the signal comes within a step; it ends as the run that was not stopped."""
    words = ["train", "--data", "fashion-mnist-mini", "--steps", "3", "--codebook-size", "8", "--records"]
    assert cli.main([*words, str(tmp_path / "whole")]) == 0
    whole, step = capsys.readouterr().out, Run.train_step

    def stopped(run):
        step(run)
        if run.step == 2:
            signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(rehearsal, "rehearse", lambda *_: None)
        patch.setattr(Run, "train_step", stopped)
        assert cli.main([*words, str(tmp_path / "mine")]) == (130 if number == signal.SIGINT else 143)
    (resume,) = (tmp_path / "mine").iterdir()
    assert capsys.readouterr().err == f"interrupted: {resume} is kept, and the same command goes on from there\n"
    assert cli.main([*words, str(tmp_path / "mine")]) == 0 and capsys.readouterr().out == whole


@pytest.mark.parametrize("where", ["made", "called"])
def test_a_part_that_ends_the_process_is_refused_in_a_sentence(call, tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    lines = ["import sys, torch", "class E(torch.nn.Module):"]
    lines += ["    def __init__(self): sys.exit()" if where == "made" else "    def forward(self, z, q): sys.exit(0)"]
    Path(f"{where}.py").write_text("\n".join(lines))
    status, out, err = call("train", "--estimator", f"{where}.py:E", "--records", "mine")
    assert (status, out) == (2, "") and err.startswith("error: a part of your own ended the process, by SystemExit(")
    assert not Path("mine").exists()


@pytest.mark.parametrize("seed", [2**32, 2**64, 10**20])
def test_a_seed_that_no_notebook_takes_is_refused(call, seed):
    status, out, err = call("train", "--steps", 1, "--seed", seed)
    assert (status, out) == (2, "") and f"seed is {seed}: it must be from 0 to 4294967295" in err
    assert call("train", "--steps", 1, "--seed", 2**32 - 1)[0] == 0


@pytest.mark.parametrize("place", ["gpu/cost/a", "gpu/training/deeper/b", "c"])
def test_verify_finds_a_record_wherever_it_lies(call, tmp_path, place):
    call("grid", NAME, "--profile", "smoke", "--records", tmp_path / NAME)
    path = tmp_path / f"{place}.json"
    write_record(path, {"schema": "gpu-1", "id": path.stem, "result": {"seconds": 1.0}})
    status, out, _ = call("verify", "--records", tmp_path)
    assert status == 0 and out.startswith("15 digests checked, 1 of other kinds or not in a chapter's folder\n")
    path.write_text(path.read_text().replace("1.0", "1.5"))
    status, out, _ = call("verify", "--records", tmp_path)
    assert status == 1 and f"{path} has been altered" in out


@pytest.mark.parametrize("words", [["train", "--steps", "1"], ["grid", NAME, "--status"], ["verify"], ["compare", "x"]])
@pytest.mark.parametrize("empty", [["--records", ""], ["--records="]], ids=str)
def test_an_empty_store_is_not_the_working_directory(call, tmp_path, monkeypatch, words, empty):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(*words, *empty)
    assert (status, out, err) == (2, "", "error: an option has an empty value: leave it out\n")
    assert list(tmp_path.iterdir()) == []


CANNOT = {
    "a size that the model changes": ((60, 15, 16), {}, "model 'conv' gives 1 x 12 x 16 for data of 1 x 15 x 16"),
    "vectors": ((60, 8), {}, "the data are vectors, which model 'mlp' takes"),
    "a strip": ((60, 1, 16, 1), {}, "model 'conv' does not take 32 x 1 x 1 x 16 a batch"),
    "one vector a batch": (
        (60, 8),
        {"model": "mlp", "norm": "batch", "batch": 1},
        "does not take 1 x 8 x 1 x 1 a batch",
    ),
    "few latents": ((60, 8), {"model": "mlp", "init": "kmeans"}, "gives 48 latents, and init 'kmeans' needs 512"),
    "few images": ((30, 16, 16), {}, "batch is 32: the training split has 24 images"),
    "many codes": ((60, 16, 16), {"codebook-size": 10**12}, "takes 476,837 GiB"),
}


@pytest.mark.parametrize("shape, options, words", CANNOT.values(), ids=CANNOT)
def test_train_refuses_what_cannot_be_trained_before_it_begins(capsys, tmp_path, monkeypatch, shape, options, words):
    monkeypatch.chdir(tmp_path)
    np.save("own.npy", np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    given = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    monkeypatch.setattr(cli, "train", None)
    assert cli.main(["train", "--data", "arrays:own.npy", *given, "--records", "store"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: a run with data arrays:own.npy#") and words in err
    assert err.count("\n") == 1 and list(Path("store").iterdir()) == []


NO_STORE = {
    "a file": lambda folder: (folder / "file").write_text("") * 0 or folder / "file",
    "below a file": lambda folder: (folder / "file").write_text("") * 0 or folder / "file" / "store",
    "below no folder": lambda folder: Path("/proc/self/store"),
    "a name too long": lambda folder: folder / ("x" * 300),
}


TRAINED = ["train", "--steps", "1"], ["grid", NAME, "--profile", "smoke"], ["grid", NAME, "--sbatch", "2"]


@pytest.mark.parametrize("words", TRAINED, ids=lambda words: " ".join(words[::2]))
@pytest.mark.parametrize("place", NO_STORE)
def test_a_store_that_cannot_be_written_is_refused_before_training(call, tmp_path, monkeypatch, words, place):
    def trained(*_, **__):
        raise AssertionError("it was trained")

    monkeypatch.setattr(cli, "train", trained)
    monkeypatch.setattr(scheduler.run, "__kwdefaults__", {**scheduler.run.__kwdefaults__, "fn": trained})
    store = NO_STORE[place](tmp_path)
    status, out, err = call(*words, "--records", store)
    assert (status, out, err.count("\n")) == (2, "", 1) and str(store) in err
    assert any(words in err for words in ("cannot be written to", "are kept in a folder, which", "File name too long"))
    if place == "a file":
        for others in (["verify"], ["grid", NAME, "--status"], ["verify", "--restamp"]):
            assert call(*others, "--records", store)[0] == 2


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("ROTVQ_DATA", "/nowhere/at/all", "ROTVQ_DATA is '/nowhere/at/all', which is no folder"),
        ("ROTVQ_DATA", __file__, "which is no folder"),
        ("ROTVQ_DATA", "~/no such folder", "ROTVQ_DATA is '~/no such folder', which is no folder"),
        (
            "ROTVQ_DATAS",
            "/tmp",
            "unknown environment variable ROTVQ_DATAS: the folder of the data is named by ROTVQ_DATA",
        ),
        ("ROTVQ_RECORDS", "/tmp", "unknown environment variable ROTVQ_RECORDS"),
        ("ROTVQ_DEVICE", "", "unknown environment variable ROTVQ_DEVICE"),
        (
            "rotvq_data",
            "/tmp",
            "unknown environment variable rotvq_data: the folder of the data is named by ROTVQ_DATA",
        ),
        ("ROTVQ_DATA", "", "ROTVQ_DATA is empty: name a folder, or unset it"),
        ("ROTVQ_DTA", "/tmp", "unknown environment variable ROTVQ_DTA"),
        ("ROTVQDATA", "/tmp", "unknown environment variable ROTVQDATA"),
    ],
)
@pytest.mark.parametrize(
    "command", [["train", "--steps", "1"], ["grid", NAME, "--status"], ["verify"]], ids=lambda w: w[0]
)
def test_an_environment_that_points_nowhere_is_named(call, monkeypatch, name, value, words, command):
    monkeypatch.delenv("ROTVQ_DATA", raising=False)
    monkeypatch.setenv(name, value)
    status, out, err = call(*command)
    assert (status, out, err.count("\n")) == (2, "", 1) and words in err


RANKS = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture
def ranks(monkeypatch):
    """The environment of one of two processes that torchrun started."""
    for name, value in RANKS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "name, value",
    [
        *(("WORLD_SIZE", value) for value in ("x", "", "0", "-1", "1.5", " 2", "²")),
        *(("RANK", value) for value in ("2", "-1", "x", None)),
        *(("LOCAL_RANK", None), ("MASTER_PORT", "x"), ("MASTER_PORT", None), ("MASTER_ADDR", None)),
    ],
)
def test_an_environment_that_torchrun_does_not_make_is_refused(call, ranks, monkeypatch, name, value):
    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    status, out, err = call("train")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.endswith("let torchrun --nproc-per-node N -m rotvq train set them, or unset WORLD_SIZE\n")
    assert name == "MASTER_ADDR" or f"{name} is {value or ''!r}" in err


@pytest.mark.parametrize("words", [["grid", NAME, "--status"], ["verify"], ["compare", "x"]])
def test_what_runs_in_one_process_is_refused_under_torchrun(call, ranks, words):
    assert call(*words) == (2, "", f"error: {words[0]} runs in one process: leave out torchrun, which is for train\n")


@pytest.mark.parametrize("ignored", [True, False])
def test_nohup_is_left_in_force(call, monkeypatch, ignored):
    found = []
    monkeypatch.setattr(cli, "train", lambda *_, **__: found.append(signal.getsignal(signal.SIGHUP)) or fake(Config()))
    usual = signal.SIG_IGN if ignored else signal.SIG_DFL
    before = signal.signal(signal.SIGHUP, usual)
    try:
        assert call("train")[0] == 0
    finally:
        assert signal.signal(signal.SIGHUP, before) == usual
    assert found == [usual if ignored else cli._hang_up]


@pytest.mark.parametrize("device, refused", [("cuda:1", True), ("cuda:0", True), ("cpu", False)])
def test_torchrun_gives_each_process_its_device(call, ranks, monkeypatch, device, refused):
    monkeypatch.setattr(cli, "find_device", lambda name: name)
    monkeypatch.setattr(cli.distributed, "join_process_group", nullcontext)
    status, _, err = call("train", "--device", device)
    assert (status, "under torchrun each process takes its own" in err) == ((2, True) if refused else (0, False))


def test_status_and_dry_run_are_of_the_part_that_the_engine_would_train(call, tmp_path):
    words = ("grid", NAME, "--profile", "smoke", "--records", tmp_path, "--engine", "shard:0/4")
    assert "0 of 4 runs done, 4 missing" in call(*words, "--status")[1]
    assert "4 of 4 runs missing" in call(*words, "--dry-run")[1]
    call(*words)
    assert "4 of 4 runs done" in call(*words, "--status")[1]


@pytest.mark.parametrize("name", ["with space", "with 'quote", 'with "two', "$HOME `x`", "é"])
def test_a_script_names_any_folder(call, tmp_path, name):
    script = call("grid", NAME, "--records", tmp_path / name, "--sbatch", 2)[1]
    said = subprocess.run(
        ["bash"], input=script.replace("srun python", "printf '%s\\n'"), text=True, capture_output=True
    )
    assert str(tmp_path / name) in said.stdout.splitlines(), said


STOPPED = """
import signal, sys, tempfile
from rotvq import __main__ as m
from rotvq.runs import scheduler
sys.path.insert(0, {tests!r})
from test_cli import slow
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.stderr, tempfile.tempdir = open({errors!r}, "w"), None
m.train = slow
scheduler.run.__kwdefaults__["fn"] = slow
sys.exit(m.main({words!r}))
"""
GRID, VERIFY = ("grid", NAME, "--profile", "smoke"), ("verify", "--sample", "14")
ONE, TWO = (("--engine", f"processes:{workers}") for workers in (1, 2))


def slow(config: Config, *, folder=None, **_) -> dict:
    Path(os.environ["CALLS"], f"{config.id}.{os.getpid()}").touch()
    time.sleep(0.3 if config.seed == 0 else 60)
    return fake(config)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    "number, words",
    [
        (signal.SIGTERM, (*GRID, *TWO)),
        (signal.SIGHUP, (*GRID, *ONE)),
        (signal.SIGINT, (*GRID, *ONE)),
        (signal.SIGINT, GRID),
        (signal.SIGTERM, (*VERIFY, *ONE)),
    ],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else " ".join(value),
)
def test_a_command_that_is_stopped_leaves_no_process_and_no_folder(call, tmp_path, number, words):
    """Each signal while workers train, and each command: `main` has the same handlers for all of them."""
    store, calls, temporary, errors = (tmp_path / name for name in ("store", "calls", "tmp", "errors"))
    for folder in (store, calls, temporary):
        folder.mkdir()
    errors.touch()
    if words[0] == "verify":
        call(*GRID, "--records", store)
    before = set(store.iterdir())
    words = [*words, "--records", str(store)]
    code = STOPPED.format(tests=str(Path(__file__).parent), errors=str(errors), words=words)
    driver = start(code, PYTHONPATH=os.pathsep.join(sys.path), CALLS=str(calls), TMPDIR=str(temporary))
    end = time.monotonic() + 240
    workers = 2 if "processes:2" in words else 1
    while len({path.suffix for path in calls.iterdir()}) < workers:
        assert driver.is_alive() and time.monotonic() < end, errors.read_text()
        time.sleep(0.05)
    os.kill(driver.pid, number)
    driver.join(60)
    err = errors.read_text()
    assert driver.exitcode == (130 if number == signal.SIGINT else 143)
    assert err.splitlines()[-1].startswith("interrupted: ") and "Traceback" not in err
    pids = {int(path.suffix[1:]) for path in calls.iterdir()}
    while any(map(alive, pids)):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert not [path for path in temporary.iterdir() if not path.name.startswith("torchinductor")]
    left = set(store.iterdir()) - before
    assert all(path.suffix == ".json" for path in left) and (words[0] == "grid" or not left)


@pytest.mark.parametrize(
    "words, now", [(["book", "run", "--help"], "python -m book.press"), (["claims"], "python -m book.ledger")]
)
def test_commands_that_moved_are_named(call, words, now):
    status, out, err = call(*words)
    assert (status, out) == (2, "") and now in err and err.startswith("error: ") and err.count("\n") == 1
    module = now.split()[-1]
    assert importlib.util.find_spec(f"{module}.__main__")


def test_the_console_command_is_this_module():
    scripts = tomllib.loads((Path(cli.__file__).parents[1] / "pyproject.toml").read_text())["project"]["scripts"]
    assert pkgutil.resolve_name(scripts["rotvq"]) is cli.main


def test_the_real_command_trains(tmp_path):
    """In a process of its own, as a user would; the smallest real run, then a refusal without a traceback."""
    command = [sys.executable, "-m", "rotvq", "train", "--records", tmp_path, "--estimator", "rotation"]
    small = ["--gamma", "0.25", "--steps", "1", "--seed", "0", "--init", "kmeans", "--device", "cpu", "--dim", "4"]
    small += ["--codebook-size", "8", "--data", "fashion-mnist-mini"]
    done = subprocess.run([*command, *small], capture_output=True, text=True)
    assert done.returncode == 0 and 0 < json.loads(done.stdout)["test_mse"] < 1, done.stderr
    (config,) = Records(tmp_path).all()
    assert config == Config(data="fashion-mnist-mini", steps=1, init="kmeans", dim=4, codebook_size=8)
    done = subprocess.run([*command, "--init", "magic"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: unknown init 'magic': one of uniform, normal")


@pytest.mark.parametrize("name", CHAPTERS)
@pytest.mark.parametrize("profile", PROFILES)
def test_chapters_have_every_profile(name, profile):
    configs = CHAPTERS[name].configs(profile)
    assert len(configs) == len({c.id for c in configs}) > 0
    seeds = {c.seed for c in configs}
    assert seeds >= {0, 1} or (profile == "standard" and seeds == set(range(100, 110)))  # all to confirm


def test_chapter_10_is_the_protocols():
    explore, confirm, long = (CHAPTERS[NAME].blocks[name].configs() for name in ("explore", "confirm", "long"))
    assert len(explore) == 2 * 6 * 5 and {c.steps for c in explore + confirm} == {2000}
    cells = {(c.init, c.init_scale, c.pretrain_steps) for c in explore}
    assert cells == {("uniform", 1.0, 0), ("kmeans", 1.0, 500), *(("kmeans", s, 0) for s in (0.01, 0.1, 1.0, 10.0))}
    assert {c.seed for c in confirm} == set(range(100, 110)) and {c.steps for c in long} == {8000}


def test_seeds_are_the_protocols():
    assert (list(EXPLORE), list(FEW), FRESH, list(CONFIRM)) == ([0, 1, 2, 3, 4], [0, 1, 2], 100, [*range(100, 110)])
    seeds = {c.seed for chapter in CHAPTERS.values() for c in chapter.configs()}
    assert seeds == {*EXPLORE, *CONFIRM}


def test_vary_names_arms_by_the_values_in_order():
    arms = vary({"a": {"estimator": "ste"}, "b": {}}, "{}: {} and {:g}", dim=[2, 4], lr=0.5, clip=(0.5, 2.0))
    assert list(arms) == ["a: 2 and 0.5", "b: 2 and 0.5", "a: 4 and 0.5", "b: 4 and 0.5"]
    assert arms["b: 4 and 0.5"] == {"dim": 4, "lr": 0.5, "clip": (0.5, 2.0)}


def test_a_chapter_is_blocks_of_arms_and_cells():
    arms, cells = {"a": {"gamma": 0.1}, "b": {"estimator": "ste"}}, {"x": {}, "y": {"gamma": 1.0}}
    chapter = Chapter(1, {"one": Block(arms, cells, range(2), {"steps": 9})})
    runs = [(c.estimator, c.gamma, c.seed) for c in chapter.configs()]  # an arm's fields go before its cell's
    assert runs == [(e, g, s) for e, g in (("rotation", 0.1), ("ste", 0.25), ("ste", 1.0)) for s in (0, 1)]
    assert {c.seed for c in chapter.configs(seed=[7])} == {7}
    assert {c.batch for c in chapter.configs("full", steps=5)} == {128}
    assert {(c.data, c.steps) for c in chapter.configs("smoke")} == {("fashion-mnist-mini", 10)}
    with pytest.raises(ValueError, match="unknown profile 'quick'"):
        chapter.configs("quick")


def test_one_label_is_one_set_of_fields_within_a_chapter():
    for chapter in CHAPTERS.values():
        seen = {}
        for block in chapter.blocks.values():
            for label, fields in (*block.arms.items(), *block.cells.items()):
                assert seen.setdefault(label, fields) == fields, label


def test_a_record_is_shared_between_chapters(tmp_path, monkeypatch):
    monkeypatch.setenv("ROTVQ_DATA", str(tmp_path))
    (tmp_path / "records").mkdir()
    shared = Config(init="kmeans")
    assert all(shared in CHAPTERS[name].configs() for name in (NAME, "13_which_part"))
    grids.store(NAME).put(shared, fake(shared), {})
    assert grids.store("13_which_part").get(shared) and not grids.store("13_which_part").missing([shared])
    assert grids.store("13_which_part").path(Config(seed=9)).parent.name == "13_which_part"


def test_stores_are_found_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ROTVQ_DATA", str(tmp_path))
    (tmp_path / "records").mkdir()
    assert grids.store(NAME).folder == tmp_path / "records" / NAME
    assert grids.store(NAME, tmp_path / "x").folder == tmp_path / "x"
