"""The chain from script to page, in a small project of its own: what is made again when, and what is refused."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

from book.press import build, execute, page_provenance

SCRIPT = """\
# %% [markdown]
# # A page
#
# It says {glue:text}`twice`.

# %% tags=["parameters"]
n: int = 2

# %% tags=["hide-input"]
from rotvq import parameters

parameters.check(globals(), n=(0, 10))

# %%
from rotvq.figures import glue, used

glue("twice", 2 * n)
used(["ABC"])
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A checkout with one notebook, one record, a little data and the module's sources."""
    for name in ("notebooks", "rotvq", "data/records/10_chapter", "book"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "notebooks" / "00_page.py").write_text(SCRIPT)
    (tmp_path / "rotvq" / "module.py").write_text("x = 1\n")
    (tmp_path / "data" / "images").write_text("pixels")
    for name in ("_config.yml", "environment.yml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "data" / "records" / "10_chapter" / "ABC.json").write_text(json.dumps(record("ABC")))
    for module in (build, page_provenance, execute):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(execute, "SCRIPTS", tmp_path / "notebooks")
    for module in (build, execute):
        monkeypatch.setattr(module, "PAGES", tmp_path / "book" / "notebooks")
    for module in (page_provenance, execute):
        monkeypatch.setattr(module, "RECORDS", tmp_path / "data" / "records")
    monkeypatch.setattr(build, "HTML", tmp_path / "_build" / "html")
    monkeypatch.setattr(build, "GENERATED", tmp_path / "book" / "generated")
    forget()
    yield tmp_path
    forget()


@pytest.fixture
def papermill(monkeypatch):
    """Papermill, but quick: nothing is computed, and the outputs are those that the page's calls would leave."""

    def execute(source, target, parameters):
        notebook = json.loads(source.read_text())
        if "1 / 0" in "".join(line for cell in notebook["cells"] for line in cell["source"]):
            raise RuntimeError("ZeroDivisionError: division by zero")
        said = {"application/vnd.rotvq.records+json": ["ABC"]}
        notebook["cells"][-1]["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": said}]
        target.write_text(json.dumps(notebook))

    monkeypatch.setattr(execute, "papermill", execute)


def forget():
    """What is read once in a process is read again."""
    execute._common.cache_clear()
    page_provenance.store.cache_clear()


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
    return {"id": name, "config": {"estimator": "ste", "seed": 3}, "provenance": {**made, **provenance}}


def executed(project, capsys) -> bool:
    """Run the chain's second step; whether it executed the notebook."""
    forget()
    capsys.readouterr()
    execute.pair()
    execute.run()
    return "unchanged" not in capsys.readouterr().out


def page(project) -> dict:
    return json.loads((project / "book" / "notebooks" / "00_page.ipynb").read_text())


def test_pair_is_stable_and_holds_the_script(project):
    execute.pair()
    pair = project / "notebooks" / "00_page.ipynb"
    first = pair.read_bytes()
    execute.pair(check=True)
    pair.write_text(pair.read_text().replace("2 * n", "3 * n"))
    with pytest.raises(SystemExit, match="00_page.ipynb"):
        execute.pair(check=True)
    execute.pair()
    assert pair.read_bytes() == first


def test_a_notebook_without_its_script_is_refused(project):
    (project / "notebooks" / "99_other.ipynb").write_text("{}")
    with pytest.raises(SystemExit, match="99_other"):
        execute.pair()


def test_a_page_is_made_again_when_what_it_follows_from_changed_and_only_then(project, papermill, capsys):
    assert executed(project, capsys)
    assert not executed(project, capsys)
    (project / "README.md").write_text("unrelated")
    (project / "rotvq" / "__main__.py").write_text("no page follows from the command line")
    (project / "data" / "records" / "10_chapter" / "OTHER.json").write_text("{}")
    assert not executed(project, capsys)
    changes = {
        "notebooks/00_page.py": SCRIPT + "\n1 + 1\n",
        "rotvq/module.py": "x = 2\n",
        "data/images": "other pixels",
        "data/records/10_chapter/ABC.json": json.dumps(record("ABC", seconds=37.0)),
    }
    for path, text in changes.items():
        (project / path).write_text(text)
        assert executed(project, capsys), path
        assert not executed(project, capsys), path


def test_a_page_says_how_it_was_made(project):
    """By papermill itself."""
    execute.pair()
    execute.run(parameters={"n": 4})
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
    assert len(outputs) == 1, "only the glued value stays; what the page was told about itself is in its end"


def test_a_commit_is_named_without_executing_again(project, papermill, capsys):
    assert executed(project, capsys) and "no commit" in "".join(page(project)["cells"][-1]["source"])
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(project)]
    for command in (["init", "-q"], ["add", "notebooks"], ["commit", "-qm", "page"]):
        subprocess.run([*git, *command], check=True)
    assert not executed(project, capsys)
    assert "commit " in (last := "".join(page(project)["cells"][-1]["source"])) and "with changes" not in last


def test_a_notebook_that_fails_does_not_reach_the_book(project, papermill, capsys):
    (project / "notebooks" / "00_page.py").write_text(SCRIPT + "\n1 / 0\n")
    execute.pair()
    with pytest.raises(SystemExit, match="00_page"):
        execute.run()
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert not list((project / "book" / "notebooks").iterdir())


@pytest.mark.parametrize("call, word", [({"names": ["77"]}, "77"), ({"parameters": {"m": 1}}, "m")])
def test_unknown_names_are_refused(project, call, word):
    execute.pair()
    with pytest.raises(SystemExit, match=word):
        execute.run(**call)


def test_pages_of_removed_notebooks_are_removed(project, papermill, capsys):
    executed(project, capsys)
    shutil.move(project / "notebooks" / "00_page.py", project / "notebooks" / "01_page.py")
    (project / "notebooks" / "00_page.ipynb").unlink()
    executed(project, capsys)
    assert [p.name for p in (project / "book" / "notebooks").iterdir()] == ["01_page.ipynb"]


def test_stale_records_stop_the_build(project, papermill, capsys, monkeypatch):
    monkeypatch.setattr(build.subprocess, "call", lambda *_, **__: 1)
    executed(project, capsys)
    path = project / "data" / "records" / "10_chapter" / "ABC.json"
    path.write_text(json.dumps(record("ABC", stale=True)))
    forget()
    with pytest.raises(SystemExit, match="00_page shows 1 stale records, such as ABC"):
        build.build()
    with pytest.raises(SystemExit) as rendering_failed:
        build.build(allow_stale=True)
    assert rendering_failed.value.code == 1


def test_every_record_is_listed(project):
    text = page_provenance.every_record()
    assert "### 10_chapter" in text and "1 runs" in text and "| `ABC` | estimator ste, seed 3 | `0123456`" in text


def test_buttons_only_where_they_lead_somewhere():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    empty = {**config, "repository": {**config["repository"], "url": ""}}
    filled = {**config, "repository": {**config["repository"], "url": "https://github.com/owner/rotvq"}}
    assert build.with_buttons(empty) == empty
    assert {"binderhub_url", "colab_url"} <= set(build.with_buttons(filled)["launch_buttons"])


@pytest.mark.parametrize("url", ["", "https://github.com/owner/rotvq"])
def test_launch_buttons_open_the_notebook_of_the_repository(url, tmp_path):
    """A small book under the real settings, rendered with and without the address of a repository."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["repository"]["url"] = url
    del config["sphinx"]["config"]["html_static_path"]
    (tmp_path / "book" / "notebooks").mkdir(parents=True)
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(build.with_buttons(config)))
    (tmp_path / "book" / "_toc.yml").write_text("{format: jb-book, root: notebooks/00_page}")
    (tmp_path / "book" / "references.bib").write_text("")
    script = tmp_path / "00_page.py"
    script.write_text("# %% [markdown]\n# # A page\n\n# %%\n1 + 1\n")
    (tmp_path / "book" / "notebooks" / "00_page.ipynb").write_text(execute.paired(script))
    program = pathlib.Path(sys.executable).with_name("jupyter-book")
    ran = subprocess.run([program, "build", "book", "-q"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    html = (tmp_path / "_build" / "html" / "notebooks" / "00_page.html").read_text()
    opened = "https://colab.research.google.com/github/owner/rotvq/blob/main/notebooks/00_page.ipynb"
    assert (opened in html) == bool(url)
    assert ("mybinder.org" in html) == bool(url)
