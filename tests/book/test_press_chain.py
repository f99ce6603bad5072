"""The chain from script to page, in a small project of its own: what is made again when, and what is refused."""

import contextlib
import json
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from book.press import build, execute, page_provenance, pair, paths
from rotvq.page.parameters import BANNER
from rotvq.runs.records import RecordError, write_record

SCRIPT = """\
# %% [markdown]
# # A page
#
# It says {glue:text}`twice`.

# %% tags=["parameters"]
n: int = 2

# %% tags=["hide-input"]
from rotvq import nearest
from rotvq.page import parameters

parameters.check(globals(), n=(0, 10))

# %%
from book.report import double
from rotvq.page.figures import glue, used

glue("twice", double(n))
used(["ABC"])
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A checkout with one notebook, one record, a little data, the module, and two files of the book's own code."""
    for name in ("notebooks", "data/records/10_chapter", "book"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "notebooks" / "00_page.py").write_text(SCRIPT)
    for name in ("rotvq", "book/press"):
        shutil.copytree(ROOT / name, tmp_path / name)  # with what is compiled
    (tmp_path / "book" / "__init__.py").write_text("")
    (tmp_path / "book" / "theory").mkdir()
    (tmp_path / "book" / "theory" / "law.py").write_text("x = 1\n")
    (tmp_path / "book" / "report.py").write_text("import book.theory.law\nfrom book.arithmetic import double\n")
    (tmp_path / "book" / "arithmetic.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "book" / "other.py").write_text("")
    for name in ("_config.yml", "environment.yml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "data" / "registry.txt").write_text("pixels")
    write_record(tmp_path / "data" / "records" / "10_chapter" / "ABC.json", record("ABC"))
    for name, value in vars(paths).items():
        if isinstance(value, type(ROOT)):
            monkeypatch.setattr(paths, name, tmp_path / value.relative_to(ROOT))
    forget()
    yield tmp_path
    forget()


@pytest.fixture
def papermill(monkeypatch):
    """Papermill, but quick: nothing is computed, and the outputs are those that the page's calls would leave."""

    async def copy(source, target, parameters):
        notebook = json.loads(source.read_text())
        if "1 / 0" in "".join(line for cell in notebook["cells"] for line in cell["source"]):
            return 1, "ZeroDivisionError: division by zero"
        said = {"application/vnd.rotvq.records+json": ["ABC"]}
        notebook["cells"][-1]["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": said}]
        target.write_text(json.dumps(notebook))
        return 0, ""

    @contextlib.asynccontextmanager
    async def quick():
        yield copy

    monkeypatch.setitem(execute.PAPERMILL, sys.platform, quick)


def forget():
    """What is read once in a process is read again."""
    page_provenance.committed_records.cache_clear()


def record(name, **provenance):
    made = {
        "digest": "d",
        "commit": "0123456789",
        "dirty": None,
        "torch": "2",
        "device": "CPU",
        "threads": 1,
        "seconds": 36.0,
        "time": "2026-01-02T03:04:05",
    }
    return {"schema": 1, "id": name, "config": {"estimator": "ste", "seed": 3}, "provenance": {**made, **provenance}}


def executed(project, capsys) -> bool:
    """Run the chain's second step; whether it executed the notebook."""
    forget()
    capsys.readouterr()
    pair.write_notebooks()
    execute.run()
    return "unchanged" not in capsys.readouterr().out


def page(project) -> dict:
    return json.loads((project / "book" / "notebooks" / "00_page.ipynb").read_text())


def test_a_notebook_is_stable_and_holds_the_script(project):
    pair.write_notebooks()
    notebook = project / "notebooks" / "00_page.ipynb"
    first = notebook.read_bytes()
    pair.check_notebooks()
    notebook.write_text(notebook.read_text().replace("double(n)", "double(3)"))
    with pytest.raises(SystemExit, match="00_page.ipynb"):
        pair.check_notebooks()
    pair.write_notebooks()
    assert notebook.read_bytes() == first


def test_a_notebook_without_its_script_is_refused(project):
    (project / "notebooks" / "99_other.ipynb").write_text("{}")
    with pytest.raises(SystemExit, match="99_other"):
        pair.write_notebooks()


UNRELATED = {
    "README.md": "unrelated",
    "rotvq/__main__.py": "no page depends on the command line",
    "rotvq/analysis/study.py": "this page does not import it",
    "book/other.py": "neither does it this",
    "book/arithmetic.py": "def double(x):\n    # a comment\n\n    return 2 * x  # and another\n",
    "data/registry.txt": "other pixels: what it imports does not read them",
    "data/records/10_chapter/OTHER.json": "{}",
}
INPUTS = {
    "notebooks/00_page.py": SCRIPT + "\n1 + 1\n",
    "rotvq/page/figures.py": (ROOT / "rotvq" / "page" / "figures.py").read_text() + "\nx = 2\n",
    "rotvq/quantizers/lookup.py": "x = 2  # rotvq itself imports it, and the page takes a name from rotvq\n",
    "book/report.py": "from book.arithmetic import double\n\nx = 2\n",
    "book/theory/law.py": "x = 1  # a page shows the source of a law\n",
    "book/arithmetic.py": "def double(x):\n    return x + x\n",
    "rotvq/page/html.py": '"""A docstring, which a page may show."""\n'
    + (ROOT / "rotvq" / "page" / "html.py").read_text().partition("\n")[2],
    "data/records/10_chapter/ABC.json": json.dumps({"id": "ABC"}),
}


def test_a_page_is_made_again_when_its_inputs_changed_and_only_then(project, papermill, capsys):
    assert executed(project, capsys)
    assert not executed(project, capsys)
    for path, text in UNRELATED.items():
        (project / path).write_text(text)
        assert not executed(project, capsys), path
    (project / "data" / "records" / "10_chapter" / "OTHER.json").unlink()
    for path, text in INPUTS.items():
        before = (project / path).read_text()
        (project / path).write_text(text)
        assert inputs_changed(project), path
        (project / path).write_text(before)
        assert not inputs_changed(project), path
    (project / "book" / "arithmetic.py").write_text(INPUTS["book/arithmetic.py"])
    assert executed(project, capsys)
    assert not executed(project, capsys)


def inputs_changed(project) -> bool:
    forget()
    page = project / "book" / "notebooks" / "00_page.ipynb"
    return not execute.is_current(page, project / "notebooks" / "00_page.py", {})


def by_command(monkeypatch):
    """As where a process may not be forked: papermill's own command, and the kernel that it starts."""
    monkeypatch.delitem(execute.PAPERMILL, sys.platform)
    execute.run(parameters={"n": 4})


def by_forks(monkeypatch):
    """In a process of its own, which imports rotvq and book from the project."""
    command = [sys.executable, "-m", "book.press", "run", "--parameters", '{"n": 4}']
    subprocess.run(command, cwd=paths.ROOT, env=paths.environment(), check=True)


@pytest.mark.parametrize("run", [by_command] + [by_forks] * (sys.platform in execute.PAPERMILL))
def test_a_page_says_how_it_was_made(run, project, monkeypatch):
    """By papermill itself."""
    pair.write_notebooks()
    run(monkeypatch)
    made = page(project)["metadata"]["rotvq"]
    assert made["parameters"] == {"n": 4} and made["records"] == ["ABC"]
    last = "".join(page(project)["cells"][-1]["source"])
    for words in (
        "`notebooks/00_page.py`",
        "`n = 4`",
        "1 of 1 from `data/records/10_chapter`",
        "0.01 hours",
        "1 unverified",
        "torch ",
        " cores",
        " s to execute",
    ):
        assert words in last, words
    outputs = [out for cell in page(project)["cells"] for out in cell.get("outputs", [])]
    assert len(outputs) == 2, "only the glued value stays; what the page was told about itself is in its end"
    assert f"{BANNER}: n = 4." in "".join(outputs[0]["data"]["text/html"]), "and what a reader is told first"
    assert list(outputs[1]["data"].items()) == [("application/papermill.record/text/plain", "8")]
    tags = [tag for cell in page(project)["cells"] for tag in cell["metadata"].get("tags", [])]
    assert "hide-input" not in tags and "remove-input" in tags, "hidden code leaves no trace in the page"
    assert last.count('href="../code/00_page.html">Code of this page</a>') == 1


def test_a_commit_is_named_without_executing_again(project, papermill, capsys):
    assert executed(project, capsys) and "no commit" in "".join(page(project)["cells"][-1]["source"])
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(project)]
    for command in (["init", "-q"], ["add", "notebooks"], ["commit", "-qm", "page"]):
        subprocess.run([*git, *command], check=True)
    assert not executed(project, capsys)
    assert "commit " in (last := "".join(page(project)["cells"][-1]["source"])) and "with changes" not in last


def test_a_notebook_that_fails_does_not_reach_the_book(project, papermill, capsys):
    (project / "notebooks" / "00_page.py").write_text(SCRIPT + "\n1 / 0\n")
    pair.write_notebooks()
    with pytest.raises(SystemExit, match="00_page"):
        execute.run()
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert not list((project / "book" / "notebooks").iterdir())


@pytest.mark.parametrize("call, word", [({"names": ["77"]}, "77"), ({"parameters": {"m": 1}}, "m")])
def test_unknown_names_are_refused(project, call, word):
    pair.write_notebooks()
    with pytest.raises(SystemExit, match=word):
        execute.run(**call)


def test_pages_of_removed_notebooks_are_removed(project, papermill, capsys):
    executed(project, capsys)
    shutil.move(project / "notebooks" / "00_page.py", project / "notebooks" / "01_page.py")
    (project / "notebooks" / "00_page.ipynb").unlink()
    executed(project, capsys)
    assert [p.name for p in (project / "book" / "notebooks").iterdir()] == ["01_page.ipynb"]


def test_a_page_that_was_not_executed_stops_the_build_at_once(project, papermill, capsys, monkeypatch):
    monkeypatch.setattr(build, "_jupyter_book", lambda *_: pytest.fail("it was rendered"))
    executed(project, capsys)
    for name in ("03_new", "04_new"):
        (project / "notebooks" / f"{name}.py").write_text(SCRIPT)
    pair.write_notebooks()
    with pytest.raises(SystemExit, match="not executed yet: 03_new, 04_new.*book.press run.*build --only NAME"):
        build.build()
    with pytest.raises(SystemExit, match="not executed yet: 04_new"):
        build.build(only="04")


@pytest.mark.parametrize("status", [0, 1])
def test_one_page_is_rendered_alone(project, papermill, capsys, monkeypatch, status):
    calls = []
    monkeypatch.setattr(build, "_jupyter_book", lambda *words: calls.append(words) or (status, "why"))
    executed(project, capsys)
    (project / "notebooks" / "03_new.py").write_text(SCRIPT)
    with contextlib.nullcontext() if status == 0 else pytest.raises(SystemExit, match="why"):
        build.build(only="00")
        assert "_build/only/_build/html/notebooks/00_page.html" in capsys.readouterr().out
    contents = calls[0][calls[0].index("--toc") + 1]
    assert "notebooks/00_page" in contents.read_text() and "-W" not in calls[0]


def test_stale_records_stop_the_build(project, papermill, capsys, monkeypatch):
    monkeypatch.setattr(build, "_render", lambda: (1, ""))
    executed(project, capsys)
    path = project / "data" / "records" / "10_chapter" / "ABC.json"
    write_record(path, record("ABC", stale=True))
    forget()
    with pytest.raises(SystemExit, match="00_page shows 1 stale records, such as ABC"):
        build.build()
    with pytest.raises(SystemExit) as rendering_failed:
        build.build(allow_stale=True)
    assert rendering_failed.value.code == 1


def test_a_record_that_was_altered_stops_the_build(project, papermill, capsys):
    executed(project, capsys)
    path = project / "data" / "records" / "10_chapter" / "ABC.json"
    path.write_text(path.read_text().replace("36.0", "35.0"))
    forget()
    for use in (page_provenance.every_record, lambda: page_provenance.stale(["ABC"])):
        with pytest.raises(RecordError, match=f"{path} has been altered"):
            use()


def test_a_measurement_is_neither_verified_nor_stale(project):
    times = {**record("ABC"), "schema": "cost-1", "config": {"kind": "step"}}
    write_record(project / "data" / "records" / "10_chapter" / "ABC.json", times)
    assert page_provenance.stale(["ABC"]) == [] and "1 measured" in page_provenance.every_record()


def test_every_record_is_listed(project):
    text = page_provenance.every_record()
    assert "### 10_chapter" in text and "1 runs" in text
    (line,) = re.findall(r"<tr>(<td>.*?)</tr>", text, re.S)
    cells = ["ABC", "estimator ste, seed 3", "0123456, unverified", "36", "2026-01-02"]
    assert re.sub(r"<[^>]*>", "", line).splitlines() == cells
