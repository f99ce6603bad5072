"""README: its example gives the output it shows, and each of its commands is run or held to what runs it."""

import contextlib
import importlib
import io
import os
import re
import shlex
import subprocess

import pytest
import yaml
from conftest import ROOT

TEXT = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^ *```(\w*)\n(.*?)^ *```", TEXT, re.S | re.M)
COMMANDS = [line.split("#")[0].strip() for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
MAKE = [c for c in COMMANDS if c.startswith("make ")]
PAPERMILL = [c for c in COMMANDS if c.startswith(".venv/bin/papermill ")]
ROTVQ = [c for c in COMMANDS if c.startswith(".venv/bin/python -m rotvq ")]
PRESS = [c for c in COMMANDS if c.startswith(".venv/bin/python -m book.press ")]
LEDGER = [c for c in COMMANDS if c.startswith(".venv/bin/python -m book.ledger ")]


def test_every_command_is_tested_below():
    kinds = (MAKE, PAPERMILL, ROTVQ, PRESS, LEDGER)
    assert all(kinds) and set(COMMANDS) == {command for kind in kinds for command in kind}


def test_examples():
    """Each runs by itself, and what they print is what is shown."""
    start, question = (text for kind, text in BLOCKS if kind == "python")
    (shown,) = (text for kind, text in BLOCKS if kind == "text")
    values = {}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(start, values)
        exec(question, {})
    assert out.getvalue() == shown
    assert len(start.splitlines()) <= 5 and len(question.splitlines()) <= 12
    vq, z_q, indices = (values[name] for name in ("vq", "z_q", "indices"))
    assert z_q.equal(vq.codes[indices]) and vq.codebook.ready


def test_make_commands_are_what_continuous_integration_runs():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if line.startswith("make ")] == MAKE == ["make book", "make test"]


@pytest.mark.parametrize("target", ["book", "test"])
def test_make_targets_exist(target):
    dry = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert dry.returncode == 0 and "python -m book.press all" in dry.stdout


def test_make_refuses_an_old_python(tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho rotvq needs Python 3.11 or newer >&2\nexit 1\n")
    old.chmod(0o755)
    command = ["make", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}", "setup"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert made.returncode and "3.11" in made.stderr and not (tmp_path / "venv").exists()


def called(command: str, capsys) -> str:
    """What ``python -m MODULE WORDS`` prints, by the function that it calls; it ends with status 0."""
    _, option, module, *words = shlex.split(command)
    assert option == "-m"
    status = importlib.import_module(f"{module}.__main__").main(words)
    out, err = capsys.readouterr()
    assert status == 0, err
    return out


@pytest.mark.parametrize("command", ROTVQ)
def test_rotvq_commands(command, tmp_path, monkeypatch, capsys):
    """As they stand, in another directory; without training, and on a device that is here."""
    words = shlex.split(command)
    if "cuda" in words:
        import torch

        if not torch.cuda.is_available():
            words = ["cpu" if word == "cuda" else word for word in words]
    words += [] if "--status" in words else ["--dry-run"]
    monkeypatch.chdir(tmp_path)
    assert called(shlex.join(words), capsys).strip() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", PAPERMILL)
def test_papermill_commands(command, tmp_path):
    """The notebook is there and knows the parameters, with those types. test_press_execute.py runs papermill on it."""
    from notebook_cells import check_cell

    words = shlex.split(command)
    notebook, given = words[1], yaml.safe_load(words[words.index("-y") + 1])
    assert (ROOT / notebook).is_file()
    check_cell(os.path.basename(notebook).removesuffix(".ipynb"), given)


@pytest.mark.parametrize("command", PRESS)
def test_press_commands(command):
    """Each is one that `make book` is made of: the steps of `all`, for a chapter that is there."""
    from book.press.__main__ import parser
    from book.press.pair import scripts

    args = parser().parse_args(shlex.split(command)[3:])
    assert args.step in ("run", "build")
    assert scripts(getattr(args, "names", ()))


@pytest.mark.parametrize("command", LEDGER)
def test_ledger_commands(command, capsys):
    assert "1 agrees" in called(command, capsys)


def test_the_tree_is_the_tree():
    """Every folder and file of the list, those of a room within their room, and every room and folder of code."""
    (tree,) = (text for kind, text in BLOCKS if not kind)
    top, listed = "", set()
    for indent, path in re.findall(r"^( *)(\S+)", tree, re.M):
        top = top if indent else path
        if not indent or path.endswith("/"):
            listed.add(f"{top}{path}" if indent else path)
    assert all((ROOT / path).exists() for path in listed), listed
    code = {f"{p.parent.relative_to(ROOT)}/" for room in ("rotvq", "book") for p in ROOT.glob(f"{room}/*/__init__.py")}
    assert code <= listed
