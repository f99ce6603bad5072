"""Papermill in forks gives what its command gives: outputs, failures, and what libraries find out about a kernel."""

import ast
import asyncio
import pathlib
import sys
import tempfile

import nbformat
import pytest

from book.press import execute, warm
from book.press.pair import KERNEL

CELLS = {
    "given": "n",
    "value": "n = 2\nn",
    "pandas": "import pandas as pd\npd.DataFrame({i: [0.5] * 2 for i in range(30)})",
    "figure": "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    "streams": "import sys\nprint('one')\nprint('two', file=sys.stderr)",
    "program": "import subprocess\nsubprocess.run(['echo', 'three'])\n!echo four",
    "imports": "import builtins, sys\n[name for name in ('rotvq', 'book', 'pytest') if name in vars(builtins)]",
    "folders": "import os, tempfile\nos.getcwd(), os.getcwd() == tempfile.gettempdir()",
    "written": "import pathlib\npathlib.Path('mine').mkdir()\npathlib.Path('cats').is_dir()",
    "threads": "import torch\ntorch.get_num_threads()",
    "workers": "import concurrent.futures as f, multiprocessing as m\n"
    "with f.ProcessPoolExecutor(1, m.get_context('spawn')) as p:\n    print(p.submit(abs, -5).result())",
    "main": "import sys\nsys.modules['__main__'].n, __name__",
    "error": "1 / 0",
    "after": "print('not reached')",
}
WAYS = (warm.papermill, execute.by_command)
pytestmark = pytest.mark.skipif(sys.platform not in execute.PAPERMILL, reason="here papermill is called by its command")


def write_notebook(folder: pathlib.Path, cells) -> pathlib.Path:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELLS[name], id=name) for name in cells])
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    path = folder / "in.ipynb"
    path.write_text(nbformat.writes(notebook))
    return path


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    """The tests run in a folder of their own, as a reader may."""
    monkeypatch.chdir(tmp_path)


def run(folder: pathlib.Path, cells, way, times: int = 1) -> list[tuple[int, str, dict]]:
    """The exit status, the log, and the outputs of each cell, of runs at the same time."""
    notebook = write_notebook(folder, cells)

    async def run_one(papermill):
        with tempfile.TemporaryDirectory() as temporary:
            out = pathlib.Path(temporary, "out.ipynb")
            status, log = await papermill(notebook, out, {"n": 3})
            cells = nbformat.read(out, 4).cells
            return status, log, {cell.id: cell.outputs for cell in cells if cell.id in CELLS}

    async def run_all():
        async with way() as papermill:
            return await asyncio.gather(*[run_one(papermill) for _ in range(times)])

    return asyncio.run(run_all())


def test_outputs_and_failures_are_those_of_the_command(tmp_path):
    (forked,), (commanded,) = (run(tmp_path, [name for name in CELLS if name != "written"], way) for way in WAYS)
    assert forked[2] == commanded[2]
    assert forked[2]["given"][0]["data"]["text/plain"] == "3" and forked[2]["after"] == []
    assert forked[0] == commanded[0] == 1
    last = [log.strip().splitlines()[-1] for log in (forked[1], commanded[1])]
    assert last[0] == last[1] == "ZeroDivisionError: division by zero"


def test_pages_do_not_see_each_other(tmp_path):
    for status, _, outputs in run(tmp_path, ["given", "value"], warm.papermill, times=3):
        assert status == 0
        assert [outputs[cell][0]["data"]["text/plain"] for cell in ("given", "value")] == ["3", "2"]


@pytest.mark.parametrize("way", WAYS)
def test_a_relative_name_is_of_the_folder_of_the_call(way, tmp_path):
    (tmp_path / "cats").mkdir()
    ((status, _, outputs),) = run(tmp_path, ["folders", "written"], way)
    assert status == 0
    assert ast.literal_eval(outputs["folders"][0]["data"]["text/plain"]) == (str(tmp_path), False)
    assert outputs["written"][0]["data"]["text/plain"] == "True"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cats", "in.ipynb", "mine"]  # and nothing else is left


DEATHS = {  # what dies, and a word of what is said
    "os._exit(3)": "DeadKernelError",
    "os.kill(os.getppid(), 9)": "",
}


@pytest.mark.parametrize("code", DEATHS)
def test_a_process_that_dies_is_a_failure(code, tmp_path, monkeypatch):
    monkeypatch.setitem(CELLS, "value", f"import os\n{code}")
    ((status, log, _),) = run(tmp_path, ["value", "after"], warm.papermill)
    assert status != 0 and DEATHS[code] in log


def test_a_page_whose_kernel_is_never_launched_is_a_failure(tmp_path):
    async def run_one():
        async with warm.papermill() as papermill:
            return await asyncio.wait_for(papermill(tmp_path / "none.ipynb", tmp_path / "out.ipynb", {}), 60)

    status, log = asyncio.run(run_one())
    assert status != 0 and "FileNotFoundError" in log


def test_a_server_that_dies_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(warm.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="has ended"):
        run(tmp_path, ["value"], warm.papermill)
