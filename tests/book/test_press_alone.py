"""A notebook opened alone: its first cell has the one line that makes it run, and the line does what it says.

The line is run as it stands, with the address of this checkout, by a Python that has the packages of the experiments
and nothing of this repository. It fetches what is committed, so the notebook is taken from there, too.
"""

import ast
import functools
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib
from importlib import metadata

import nbformat
import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from book.press import pair
from book.press.dependencies import modules_used_by
from rotvq.page.figures import USED

SCRIPTS = {script.stem: script for script in pair.scripts()}
# Nothing may come from a registry: what pip would fetch is there.
PIP = {"PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
WHERE = "import book, rotvq; print(rotvq.__file__, book.__path__[0])"


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> pathlib.Path:
    """A Python of its own, with all that is installed here but the checkout."""
    venv = tmp_path_factory.mktemp("stranger") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    installed = pathlib.Path(importlib.util.find_spec("torch").origin).parents[1]
    (site / "installed.pth").write_text(f"{installed}\n")  # the .pth files in there are not read
    return venv / "bin" / "python"


def committed(name: str) -> nbformat.NotebookNode:
    text = subprocess.run(["git", "show", f"HEAD:notebooks/{name}.ipynb"], cwd=ROOT, capture_output=True, check=True)
    return nbformat.reads(text.stdout.decode(), 4)


def opened_alone(python, folder, cells) -> list[list[dict]]:
    """The outputs of code cells, run in a folder with nothing else in it."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    (folder / "alone.ipynb").write_text(nbformat.writes(notebook))
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ROTVQ", "JUPYTER"))}
    environment = own | PIP | {"HOME": str(folder), "OMP_NUM_THREADS": "1"}
    command = [python, "-m", "papermill", "alone.ipynb", "out.ipynb", "--kernel", "python3", "--no-progress-bar"]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [cell["outputs"] for cell in json.loads((folder / "out.ipynb").read_text())["cells"]]


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_first_cell_says_the_line(name):
    first = nbformat.reads(pair.notebook_text(SCRIPTS[name]), 4).cells[0]
    address = pair.repository() or pair.PLACEHOLDER
    assert first.cell_type == "code" and f"# {pair.setup_line(address)}" in first.source.splitlines()
    assert all(line.startswith("# ") for line in first.source.splitlines()), "where rotvq is at hand it does nothing"


def test_the_address_is_the_one_of_the_settings(monkeypatch):
    address = "https://github.com/owner/rotvq"
    monkeypatch.setattr(pair, "repository", lambda: address)
    first = nbformat.reads(pair.notebook_text(SCRIPTS["00_quickstart"]), 4).cells[0].source
    assert address in first and pair.PLACEHOLDER not in first
    monkeypatch.setattr(pair, "repository", lambda: "")
    first = nbformat.reads(pair.notebook_text(SCRIPTS["00_quickstart"]), 4).cells[0].source
    assert f"{pair.PLACEHOLDER} stands for the address" in first


def test_a_stranger_has_neither_module_before_the_line(python, tmp_path):
    found = "import importlib.util; print([name for name in ('rotvq', 'book') if importlib.util.find_spec(name)])"
    ran = subprocess.run([python, "-c", found], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


PRESENT = {"IPython", "PIL", "requests"}  # a kernel has the first; the others come with matplotlib and pooch
PROVIDERS = metadata.packages_distributions()
CHOSEN = {"ray", "faiss", "onnxruntime"}  # engines that a reader may ask for, of runs and of the lookup; shown if there


@functools.cache
def imported_packages(path: pathlib.Path) -> set[str]:
    """The first part of each name in a file's imports, wherever they stand."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_line_installs_what_the_page_imports(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert "rotvq[notebooks]" in pair.SETUP_LINE and "rotvq[experiments]" in extras["notebooks"]
    lines = project["dependencies"] + extras["experiments"] + extras["notebooks"]
    wanted = {canonicalize_name(Requirement(line).name) for line in lines}
    files = [SCRIPTS[name], *modules_used_by(SCRIPTS[name]).values()]
    packages = set().union(*map(imported_packages, files)) - set(sys.stdlib_module_names) - {"rotvq", "book"}
    missing = {package for package in packages if not wanted & set(map(canonicalize_name, PROVIDERS[package]))}
    assert missing <= PRESENT | CHOSEN


def test_the_line_makes_a_notebook_run(python, tmp_path):
    """The first code cells of a page that imports `book` and reads records."""
    cells = [cell for cell in committed("10_ste_vs_rotation").cells if cell.cell_type == "code"]
    code = [cell.source for cell in cells if cell.id != pair.SETUP_CELL][:6]
    assert re.search(r"^from book\.", "\n".join(code), re.M)
    outputs = opened_alone(python, tmp_path, [pair.setup_line(str(ROOT)), *code, WHERE])
    fetched = str(tmp_path / "rotvq")
    imported = "".join(outputs[-1][0]["text"])
    assert imported.split() == [f"{fetched}/rotvq/__init__.py", f"{fetched}/book"]
    (installed,) = python.parents[1].glob("lib/python*/site-packages/rotvq.pth")
    assert installed.read_text().strip() == fetched, "pip did not install it"
    assert any(USED in output.get("data", {}) for cell in outputs for output in cell), "no record was read"
