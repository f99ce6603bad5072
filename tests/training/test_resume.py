"""A run that is killed goes on where it was; a run that several processes share is the run of one."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch

from rotvq.training import train as training
from rotvq.training.config import Config
from rotvq.training.train import Run, fit

TINY = {"data": "fashion-mnist-mini", "codebook_size": 16, "dim": 8, "batch": 8, "init_latents": 256, "steps": 6}
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
m.main({arguments!r})
"""


def run_ranks(*arguments, die_at=-1):
    """Two ranks under torchrun; each is killed before the step after ``die_at``."""
    code = DIES.format(
        save=0.05 if die_at > 0 else training.SAVE_SECONDS, die_at=die_at, arguments=["train", *arguments]
    )
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--no-python"]
    return subprocess.run(
        [sys.executable, *torchrun, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )


def flags(**fields):
    return [part for name, value in fields.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def test_a_killed_command_goes_on(tmp_path):
    """SIGKILL at some moment after the first resume point; the record that follows is that of an undisturbed run."""
    fields = TINY | {"steps": 600, "batch": 32}
    arguments = ["train", *flags(**fields), "--records", str(tmp_path)]
    imports = "from rotvq import __main__; from rotvq.training import train"
    code = f"{imports}; train.SAVE_SECONDS = 0.05; __main__.main({arguments!r})"
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    end = time.monotonic() + 120
    while not list(tmp_path.glob("*.resume")):
        assert process.poll() is None and time.monotonic() < end, process.stderr.read()
        time.sleep(0.02)
    process.kill()
    process.wait()
    process.stderr.close()
    assert not list(tmp_path.glob("*.json"))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (record,) = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert not list(tmp_path.glob("*.resume"))
    assert record["result"]["final"] == fit(Config(**fields))[1]["final"]


def record(folder):
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())["result"]


def test_two_processes_share_a_run(tmp_path):
    """torchrun with two processes gives the run of one, up to the order of sums, and one record."""
    fields = TINY | {"init": "kmeans", "update": "ema", "initial_count": 0.0, "norm": "group", "pretrain_steps": 2}
    done = run_ranks(*flags(**fields), "--records", str(tmp_path))
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
    assert run_ranks(*flags(**fields), "--records", str(whole)).returncode == 0
    assert run_ranks(*flags(**fields), "--records", str(cut), die_at=50).returncode != 0
    assert [path.suffix for path in cut.iterdir()] == [".resume"]
    done = run_ranks(*flags(**fields), "--records", str(cut))
    assert done.returncode == 0, done.stderr
    assert record(cut) == record(whole)


def test_what_ranks_cannot_share_is_refused(monkeypatch):
    monkeypatch.setattr(training.distributed, "world", lambda: (0, 3))
    with pytest.raises(ValueError, match="batch is 8: 3 ranks cannot share it equally"):
        Run.from_config(Config(**TINY))
    monkeypatch.setattr(training.distributed, "world", lambda: (0, 2))
    with pytest.raises(ValueError, match="norm 'batch'"):
        Run.from_config(Config(**TINY, norm="batch"))
