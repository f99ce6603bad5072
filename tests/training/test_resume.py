"""A run that is killed goes on where it was; a run that several processes share is the run of one."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from few_images import FEW
from forks import run_in_ranks, start

from rotvq import __main__ as cli
from rotvq.runs import code_path
from rotvq.training import train as training
from rotvq.training.config import Config
from rotvq.training.models import VQVAE
from rotvq.training.train import Run, fit

TINY = {"data": FEW, "codebook_size": 16, "dim": 8, "batch": 8, "init_latents": 256, "steps": 6}
CASES = {
    "plain": {},
    "all that remembers": {"init": "kmeans", "update": "ema", "revival": "unused", "pretrain_steps": 3, "warmup": 4},
    "noise": {"quantizer": "diveq"},
    "a learned gain": {"gain": "learned", "estimator": "rotation", "steps": 12},
}


class Killed(Exception):
    pass


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(fields, after, tmp_path, monkeypatch):
    config, path = Config(**TINY | fields), tmp_path / "run.resume"
    model, result = fit(config)
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)  # after every step
    taken, descend = [], Run.descend

    def until(self, loss):
        if len(taken) == after:
            raise Killed
        taken.append(self.step)
        descend(self, loss)

    monkeypatch.setattr(Run, "descend", until)
    with pytest.raises(Killed):
        fit(config, resume=path)
    monkeypatch.setattr(Run, "descend", descend)
    again, resumed = fit(config, resume=path)
    assert resumed == result
    for (name, a), b in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    with pytest.raises(ValueError, match="is the resume point of run"):
        fit(Config(**TINY, seed=1), resume=path)


def interrupted(folder: Path, monkeypatch, code: str) -> Path:
    """The resume point of a run that ends after three of six steps."""
    path, taken, descend = folder / "run.resume", [], Run.descend

    def until(self, loss):
        if len(taken) == 3:
            raise Killed
        taken.append(self.step)
        descend(self, loss)

    with monkeypatch.context() as patch:
        patch.setattr(training, "SAVE_SECONDS", -1.0)
        patch.setattr(Run, "descend", until)
        with pytest.raises(Killed):
            fit(Config(**TINY), resume=path, code=code)
    return path


OTHERS = {
    "code": ("b", torch.__version__),
    "torch": ("a", "2.0.0"),
    "both": ("b", "2.0.0"),
    "none": ("", torch.__version__),
}


@pytest.mark.parametrize("code, version", OTHERS.values(), ids=OTHERS)
def test_a_resume_point_of_other_code_is_refused(tmp_path, monkeypatch, code, version):
    path = interrupted(tmp_path, monkeypatch, "a")
    kept = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", version)
        with pytest.raises(ValueError, match="run.resume was left by other code or another torch: delete it to start"):
            fit(Config(**TINY), resume=path, code=code)
    assert path.read_bytes() == kept
    assert fit(Config(**TINY), resume=path, code="a")[1] == fit(Config(**TINY))[1]


DAMAGE = {
    "empty": lambda content: b"",
    "cut": lambda content: content[:-500],
    "cut in the middle": lambda content: content[: len(content) // 2],
    "a letter": lambda content: b"e",
    "words": lambda content: b"these are words",
    "another pickle": lambda content: pickle.dumps([1, 2]),
    "another archive": lambda content: saved([1, 2]),
    "an archive without an id": lambda content: saved({"model": {}}),
}


def saved(content) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_resume_point_that_is_not_whole_is_named(tmp_path, monkeypatch, damage):
    path = interrupted(tmp_path, monkeypatch, "a")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="run.resume is no whole resume point .*: delete it to start the run anew"):
        fit(Config(**TINY), resume=path, code="a")


@pytest.fixture
def ctrl_c():
    """It acts, also where the tests run in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


INTERRUPTS = {"Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM}


@pytest.mark.parametrize("number", INTERRUPTS.values(), ids=INTERRUPTS)
@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
@pytest.mark.parametrize("at", ["encode", "descend"])
def test_an_interrupt_inside_a_step_leaves_a_resume_point_at_its_end(fields, number, at, tmp_path, monkeypatch, ctrl_c):
    config, path = Config(**TINY | fields), tmp_path / "run.resume"
    whole = fit(config)[1]
    taken, real = [], {"encode": VQVAE.encode, "descend": Run.descend}[at]

    def until(self, *inputs):
        taken.append(None)
        if len(taken) == 4:
            signal.raise_signal(number)
        return real(self, *inputs)

    def terminate(*_):
        raise Killed

    monkeypatch.setattr({"encode": VQVAE, "descend": Run}[at], at, until)
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else Killed):
            fit(config, resume=path)
        assert signal.getsignal(signal.SIGTERM) is terminate
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()
    state = torch.load(path, weights_only=True)
    assert state["id"] == config.id and state["noted"]["step"] < config.steps
    assert fit(config, resume=path)[1] == whole


def test_an_interrupt_without_a_resume_point_acts_at_once(monkeypatch, ctrl_c):
    def interrupted(*_):
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it went on")

    monkeypatch.setattr(Run, "descend", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(Config(**TINY))


def test_a_second_interrupt_acts_at_once(tmp_path, monkeypatch, ctrl_c):
    def interrupted(*_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it went on")

    monkeypatch.setattr(Run, "descend", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(Config(**TINY), resume=tmp_path / "run.resume")
    assert not list(tmp_path.iterdir()) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


COMMAND = """
import os, signal, sys, rotvq.training.train as t, rotvq.__main__ as m
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.stderr = open({errors!r}, "w")
train_step = t.Run.train_step
def until(self):
    {at_each_step}
    train_step(self)
t.Run.train_step = until
sys.exit(m.main({arguments!r}))
"""


def command(folder: Path, fields: dict, at_each_step: str) -> tuple[str, list[str]]:
    """The code of a process that trains a run into ``folder``, and does this before each step; and its arguments."""
    arguments = ["train", *flags(**fields), "--records", str(folder / "store")]
    return COMMAND.format(errors=str(folder / "errors"), at_each_step=at_each_step, arguments=arguments), arguments


@pytest.mark.parametrize("number", INTERRUPTS.values(), ids=INTERRUPTS)
def test_an_interrupted_command_says_what_it_keeps_and_goes_on(tmp_path, number, capsys):
    fields, store = TINY | {"steps": 100}, tmp_path / "store"
    code, arguments = command(tmp_path, fields, f"if self.step == 50: os.kill(os.getpid(), {int(number)})")
    process = start(code)
    process.join(300)
    (resume,) = store.iterdir()
    assert torch.load(resume, weights_only=True)["made"] == [code_path.digest(Config(**fields)), torch.__version__]
    assert process.exitcode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    said = (tmp_path / "errors").read_text().splitlines()[-1]
    assert said == f"interrupted: {resume} is kept, and the same command goes on from there"
    assert cli.main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == fit(Config(**fields))[1]["final"] == record(store)["final"]


def test_a_run_that_had_diverged_stays_so(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)
    config, path = Config(**TINY | {"steps": 500, "optimizer": "sgd", "lr": 1e12}), tmp_path / "run.resume"
    _, result = fit(config, resume=path)
    assert result["final"]["diverged_at"] is not None and path.exists()
    assert fit(config, resume=path)[1] == result


DIES = """
import os, rotvq.training.train as t, rotvq.__main__ as m
t.SAVE_SECONDS, die_at, train_step = {save}, {die_at}, t.Run.train_step
def until(self):
    if self.step == die_at:
        os.kill(os.getpid(), 9)
    train_step(self)
t.Run.train_step = until
if status := m.main({arguments!r}):
    raise SystemExit(status)
"""


def rank(*arguments, die_at=-1) -> str:
    """The code of a rank, which is killed before the step after ``die_at``."""
    save = 0.05 if die_at > 0 else training.SAVE_SECONDS
    return DIES.format(save=save, die_at=die_at, arguments=["train", *arguments])


def torchrun(code: str) -> subprocess.CompletedProcess:
    """Two ranks, from the command to the record."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--no-python"]
    return subprocess.run(
        [sys.executable, *launcher, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )


def flags(**fields):
    return [part for name, value in fields.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def test_a_killed_command_goes_on(tmp_path):
    """SIGKILL at some moment after the first resume point; the record that follows is that of an undisturbed run."""
    fields, store = TINY | {"steps": 300}, tmp_path / "store"
    (tmp_path / "errors").touch()
    code, arguments = command(tmp_path, fields, "t.SAVE_SECONDS = 0.05")
    process = start(code)
    end = time.monotonic() + 120
    while not list(store.glob("*.resume")):
        assert process.is_alive() and time.monotonic() < end, (tmp_path / "errors").read_text()
        time.sleep(0.02)
    process.kill()
    process.join()
    assert not list(store.glob("*.json"))
    assert cli.main(arguments) == 0
    assert not list(store.glob("*.resume"))
    assert record(store)["final"] == fit(Config(**fields))[1]["final"]


def record(folder):
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())["result"]


def test_two_processes_share_a_run(tmp_path):
    """torchrun with two processes gives the run of one, up to the order of sums, and one record."""
    fields = TINY | {"init": "kmeans", "update": "ema", "initial_count": 0.0, "norm": "group", "pretrain_steps": 2}
    done = torchrun(rank(*flags(**fields), "--records", str(tmp_path)))
    assert done.returncode == 0, done.stderr
    shared, alone = record(tmp_path), fit(Config(**fields))[1]
    torch.testing.assert_close(shared["curve"]["first"], alone["curve"]["first"], rtol=1e-4, atol=0)
    for name, value in alone["final"].items():
        if value is not None:
            assert shared["final"][name] == pytest.approx(value, rel=0.01), name
    assert json.loads(done.stdout[done.stdout.index("{") :])["test_mse"] == shared["final"]["test_mse"]


def test_two_killed_processes_go_on_together(tmp_path):
    """Killed in the middle and called again, two ranks end as two undisturbed ranks do, bit for bit."""
    fields = TINY | {"steps": 60, "init": "kmeans", "revival": "unused"}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run_in_ranks(rank(*flags(**fields), "--records", str(whole))) == [0, 0]
    assert run_in_ranks(rank(*flags(**fields), "--records", str(cut), die_at=50)) == [-signal.SIGKILL] * 2
    assert [path.suffix for path in cut.iterdir()] == [".resume"]
    assert run_in_ranks(rank(*flags(**fields), "--records", str(cut))) == [0, 0]
    assert record(cut) == record(whole)


def test_what_ranks_cannot_share_is_refused(monkeypatch):
    monkeypatch.setattr(training.distributed, "world", lambda: (0, 3))
    with pytest.raises(ValueError, match="batch is 8: 3 ranks cannot share it equally"):
        Run.from_config(Config(**TINY))
    monkeypatch.setattr(training.distributed, "world", lambda: (0, 2))
    with pytest.raises(ValueError, match="norm 'batch'"):
        Run.from_config(Config(**TINY, norm="batch"))
