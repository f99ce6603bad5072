"""CONTRIBUTING: each recipe is carried out, block by block, in a copy of the repository; its last command proves it.

The first line of a block says where its text goes; blocks for the shell are run. ``NN`` and ``NNN`` are free numbers.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT
from samples import contrast

from book.ledger import claims
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.runs import code_path
from rotvq.runs.grids import CHAPTERS

SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M | re.S))
RECIPES = [title for title in SECTIONS if title.startswith("Add ")]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
HEADER = re.compile(r'(?:#|%|\.\.) (\S+), (a new file|at the end|last in (\w+)|below "(.*)")\n')
FREE = {
    "NNN": f"{1 + sum(claim.source == 'book' for claim in claims.load()):03}",
    "NN": next(number for number in map(str, range(30, 100)) if number not in claims.chapters()),
}


class Step(NamedTuple):
    """A block of a recipe: text and where it goes, or lines for the shell."""

    path: str
    place: str
    text: str


def steps(title: str) -> list[Step]:
    """The blocks of a recipe. The last one is the proof."""
    text = SECTIONS[title]
    for placeholder, number in FREE.items():
        text = text.replace(placeholder, number)
    found = []
    for kind, block in BLOCK.findall(text):
        header = HEADER.match(block)
        assert (header is None) == (kind == "sh"), f"a block does not say where it goes: {block}"
        found.append(Step(header[1], header[2], block[header.end() :]) if header else Step("", "", block))
    return found


def proof(title: str) -> str:
    """The one command in which a recipe ends."""
    (command,) = steps(title)[-1].text.splitlines()
    assert command.startswith(".venv/bin/python -m pytest -k ")
    return command


# a copy


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """What git tracks or would add, as it is now, committed once. It shares the images, and has no records.

    Beside its modules lies what was compiled of them here, which holds for a file of the same size and time.
    """
    folder = tmp_path_factory.mktemp("repository")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", ":!data/records"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for path in map(Path, listed):
        if (ROOT / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".gz":
                (folder / path).symlink_to(ROOT / path)
            else:
                shutil.copy2(ROOT / path, folder / path)
            if path.suffix == ".py":
                for compiled in (ROOT / path.parent).glob(f"__pycache__/{path.stem}.*.pyc"):
                    (folder / path.parent / "__pycache__").mkdir(exist_ok=True)
                    shutil.copy2(compiled, folder / path.parent / "__pycache__")
    run(folder, "git init -q && git add . && git commit -q -m 'As it is'")
    return folder


@pytest.fixture
def copy(repository, tmp_path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(repository, folder, symlinks=True)
    code = "from importlib.util import find_spec; print(*(find_spec(name).origin for name in ('rotvq', 'book')))"
    imported = run(folder, f".venv/bin/python -c {shlex.quote(code)}").stdout.split()
    assert imported == [str(folder / name / "__init__.py") for name in ("rotvq", "book")]
    return folder


def environment(folder: Path) -> dict[str, str]:
    """That of a contributor: the copy is imported, and git knows who commits."""
    settings = ("PYTEST", "GIT_", "ROTVQ", "PYTHONPATH")
    own = {name: value for name, value in os.environ.items() if not name.startswith(settings) and name != "CI"}
    who = {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    git = who | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return own | git | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def run(folder: Path, line: str, check: bool = True) -> subprocess.CompletedProcess:
    """A line of the shell, in a copy."""
    line = line.replace(".venv/bin/python", shlex.quote(sys.executable))
    ran = subprocess.run(line, shell=True, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert not check or ran.returncode == 0, f"{line}\n{ran.stdout[-4000:]}\n{ran.stderr[-4000:]}"
    return ran


def carry_out(folder: Path, step: Step) -> None:
    """Put the text of a step in its place, or run its lines."""
    if not step.path:
        for line in step.text.splitlines():
            run(folder, line)
        return
    path = folder / step.path
    lines = path.read_text("utf-8").splitlines(keepends=True) if step.place != "a new file" else []
    lines.insert(position(lines, step.place), step.text)
    path.write_text("".join(lines), "utf-8")


def position(lines: list[str], place: str) -> int:
    """The number of the line before which text goes: see `HEADER`."""
    _, name, above = re.fullmatch(r'(a new file|at the end|last in (\w+)|below "(.*)")', place).groups()
    if name:
        (start,) = [number for number, line in enumerate(lines) if re.match(rf"{name}\b.*{{$", line)]
        return next(number for number in range(start, len(lines)) if lines[number].startswith("}"))
    if above:
        (number,) = [number for number, line in enumerate(lines) if line.strip() == above]
        return number + 1
    return len(lines)


# the recipes


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_ends_in_its_proof(title, copy):
    for step in steps(title)[:-1]:
        carry_out(copy, step)
    written = sorted({step.path for step in steps(title) if step.path.endswith(".py")})
    run(copy, f".venv/bin/python -m ruff check {' '.join(written)}")
    run(copy, f".venv/bin/python -m ruff format --check {' '.join(written)}")
    proved = run(copy, proof(title)).stdout
    assert int(re.search(r"(\d+) passed", proved)[1]) >= 3
    FOLLOWS.get(title, lambda folder: None)(copy)


LEFT_OUT = {  # recipe -> a word of the step that is left out, and the test that then fails
    "Add an estimator": ("@article", "quantizers/test_estimators.py::test_registry_says_what_a_page_needs"),
    "Add a rival": ("@fact", "quantizers/test_methods.py::test_a_fact_holds_for_its_rival_and_not_for_another"),
    "Add a chapter": ("git", "book/test_protocol.py::test_hypotheses_were_committed_before_the_records_they_judge"),
    "Add a row of the ledger": (
        "<claim:",
        "book/test_ledger.py::test_every_row_of_mathematics_is_named_in_its_chapter",
    ),
}


@pytest.mark.parametrize("title", RECIPES)
def test_without_one_of_its_steps_the_proof_fails(title, copy):
    """Of the proof only the file is run in which it fails."""
    word, test = LEFT_OUT[title]
    (left_out,) = [step for step in steps(title)[:-1] if word in step.text]
    for step in steps(title)[:-1]:
        if step != left_out:
            carry_out(copy, step)
    file = test.partition("::")[0]
    ran = run(copy, f"{proof(title)} tests/{file}", check=False)
    assert ran.returncode == 1 and f"FAILED tests/{test}[" in ran.stdout, ran.stdout[-4000:]


# what follows from the one row of an estimator

SEEN_FROM_THE_COPY = """
import dataclasses, json, sys
import IPython.display

shown = []
IPython.display.display = lambda *objects, **_: shown.extend(objects)

from book.all_statements import all_statements
from notebook_cells import code_of
from rotvq.page.figures import ARMS
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.runs import code_path
from rotvq.runs.grids import CHAPTERS

law = all_statements()["transpose"]
dataclasses.replace(law, members=(sys.argv[1],)).require()
page = {}
for cell in code_of("21_estimators"):
    exec("".join(cell["source"]), page)
print(json.dumps({
    "members": law.members,
    "arms": {name: [arm.color, str(arm.linestyle), arm.marker] for name, arm in ARMS.items()},
    "tables": [one.data for one in shown if isinstance(one, IPython.display.Markdown)],
    "digests": {c.id: code_path.digest(c) for chapter in CHAPTERS.values() for c in chapter.configs()},
}))
"""


def the_rest_follows(folder: Path) -> None:
    """The law of all members, the style of figures, the page of all estimators; and no record has changed its code."""
    (row,) = [step.text for step in steps("Add an estimator") if step.place == "last in ESTIMATORS"]
    name = re.search(r'"(\w+)"', row)[1]
    assert name not in ESTIMATORS
    code = f"MPLBACKEND=agg PYTHONPATH=$PYTHONPATH:tests .venv/bin/python -c {shlex.quote(SEEN_FROM_THE_COPY)} {name}"
    seen = json.loads(run(folder, code).stdout.splitlines()[-1])
    assert seen["members"] == [*ESTIMATORS, name]
    color, linestyle, marker = seen["arms"].pop(name)
    assert contrast(color, "#ffffff") >= 3 and contrast(color, "#121212") >= 3
    assert all(color != arm[0] and [linestyle, marker] != arm[1:] for arm in seen["arms"].values())
    assert seen["arms"].keys() == ESTIMATORS.keys()
    assert re.search(rf"^\| `{name}` \| .*doe2026brake", seen["tables"][0], re.M)
    today = {c.id: code_path.digest(c) for chapter in CHAPTERS.values() for c in chapter.configs()}
    assert seen["digests"] == today and len(set(today.values())) > 10


FOLLOWS = {"Add an estimator": the_rest_follows}


# the rest of the text


def test_there_are_four_recipes_each_under_a_page():
    assert list(LEFT_OUT) == RECIPES
    assert all(len(SECTIONS[title].splitlines()) <= 90 for title in RECIPES)


def test_the_map_has_every_room_and_the_contract():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = project["tool"]["importlinter"]["contracts"]
    rooms = [layer.removeprefix("rotvq.") for layer in contract["layers"] if layer not in ("book", "rotvq.__main__")]
    text = SECTIONS["A map of the house"]
    assert f"\n{' > '.join(rooms)}\n" in text
    code = {f"{p.parent.relative_to(ROOT)}/" for top in ("rotvq", "book") for p in ROOT.glob(f"{top}/*/__init__.py")}
    assert set(re.findall(r"^\| `(\S+)` \|", text, re.M)) == code


def test_other_commands_are_what_make_runs_or_are_there():
    other_text = "".join(text for title, text in SECTIONS.items() if title not in RECIPES)
    commands = {line for kind, block in BLOCK.findall(other_text) if kind == "sh" for line in block.splitlines()}
    dry = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    one_file = ".venv/bin/python -m pytest tests/quantizers/test_estimators.py"
    verify = ".venv/bin/python -m rotvq verify --restamp"
    assert commands - set(dry.splitlines()) == {"make test", one_file, verify}
    assert (ROOT / one_file.split()[-1]).is_file()
    assert subprocess.run([sys.executable, *verify.split()[1:], "--help"], capture_output=True).returncode == 0
