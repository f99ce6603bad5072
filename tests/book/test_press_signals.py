"""A signal to `make book`: every process ends, papermill, its kernel and what a page started; no file stays behind."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from conftest import ROOT

from book.press import processes

SCRIPT = """\
# %%
import pathlib
import subprocess
import tempfile

tempfile.mkdtemp()
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
pathlib.Path("{folder}", "in a cell").touch()
child.wait()
"""
ENVIRONMENT = pathlib.Path(sys.executable).parents[1]
MARK = "TEST_OF_SIGNALS"  # every process that the test starts has it
MAKE = ["make", "-s", "-o", f"{ENVIRONMENT}/installed", f"VENV={ENVIRONMENT}", "book"]
PRESS = [sys.executable, "-m", "book.press"]
CASES = [  # the command, what it says or makes at the moment of the signal, and the signal
    (MAKE, "in a cell", signal.SIGTERM),
    (MAKE, "in a cell", signal.SIGINT),
    (MAKE, "in a cell", signal.SIGHUP),
    (MAKE, "run: 00_page ...", signal.SIGTERM),
    ([*PRESS, "run"], "pair: 1 written", signal.SIGTERM),
    ([*PRESS, "run"], "run: 00_page ...", signal.SIGHUP),
    ([*PRESS, "build"], "build: rendering", signal.SIGTERM),
    ([*PRESS, "build"], "build: rendering", signal.SIGINT),
]


@pytest.fixture
def project(tmp_path):
    """A checkout with one notebook, whose cell never ends; its temporary files and its HOME lie in it."""
    for name in ("notebooks", "book/notebooks", "book/generated", "tmp", "home"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("rotvq", "book/press"):
        shutil.copytree(ROOT / name, tmp_path / name)  # with what is compiled
    for name in ("Makefile", "_config.yml", "environment.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "book" / "__init__.py").touch()
    (tmp_path / "book" / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    (tmp_path / "book" / "index.md").write_text("# A book\n")
    (tmp_path / "notebooks" / "00_page.py").write_text(SCRIPT.format(folder=tmp_path))
    yield tmp_path
    for process in marked(tmp_path):
        process.kill()


def marked(folder) -> list[psutil.Process]:
    """The processes that were started with this folder as their mark, other than those that have ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found += [process] if process.environ().get(MARK) == str(folder) else []
    return found


def wait_for(moment: str, folder: pathlib.Path) -> None:
    """Until the command has said it, or a file of this name is there."""
    end = time.monotonic() + 60
    while moment not in (folder / "said").read_text() and not (folder / moment).exists():
        assert time.monotonic() < end, (folder / "said").read_text()
        time.sleep(0.02)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_nohup_is_left_in_force(handler):
    async def heard():
        return signal.getsignal(signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, handler)
    try:
        assert (processes.complete(heard()) == signal.SIG_IGN) == (handler == signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("command, moment, number", CASES)
def test_all_end_and_nothing_stays(command, moment, number, project):
    """TERM goes to the command alone; INT and HUP to its group, as a terminal sends them."""
    own = {MARK: str(project), "TMPDIR": str(project / "tmp"), "HOME": str(project / "home")}
    if "build" in command:  # which refuses to render before every notebook is executed
        page = {"cells": [], "metadata": {"rotvq": {"records": []}}, "nbformat": 4, "nbformat_minor": 5}
        (project / "book" / "notebooks" / "00_page.ipynb").write_text(json.dumps(page))
    with open(project / "said", "w") as said:
        options = {"cwd": project, "env": os.environ | own, "stdout": said, "stderr": said, "start_new_session": True}
        started = subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL), **options)
    wait_for(moment, project)
    if number == signal.SIGTERM:
        started.send_signal(number)
    else:
        os.killpg(started.pid, number)
    assert started.wait(20) != 0
    assert marked(project) == []
    kept = "torchinductor_"  # the cache of torch
    assert [path for path in (project / "tmp").iterdir() if not path.name.startswith(kept)] == []
    assert not list((project / "home").rglob("kernel-*.json"))
    assert not (project / "_build" / "rendered").exists()
    assert "FAILED" not in (project / "said").read_text(), "no notebook failed"
