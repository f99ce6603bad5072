"""CONTRIBUTING: each recipe is carried out, block by block, in a copy of the repository; its last command proves it.

The first line of a block says where its text goes; blocks for the shell are run. ``NN`` and ``NNN`` are free numbers.
One copy takes all recipes, one after another, and one call of pytest selects what their last commands select, because
collecting all tests takes longer than running those few. In a second copy each recipe lacks a step, and each proof has
to fail.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
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


PROOF = ".venv/bin/python -m pytest -k "


def proof(title: str) -> str:
    """What the one command in which a recipe ends selects: words with ``and`` and ``or`` between them."""
    (command,) = steps(title)[-1].text.splitlines()
    assert command.startswith(PROOF)
    (expression,) = shlex.split(command.removeprefix(PROOF))
    return expression


def of(title: str, lines: list[str]) -> list[str]:
    """Those lines of pytest's output that name a test of this recipe's proof."""
    parts = [part.split(" and ") for part in proof(title).split(" or ")]
    return [line for line in lines if any(all(word in line for word in words) for words in parts)]


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


def carried_out(repository: Path, folder: Path, left_out: Mapping[str, str]) -> Path:
    """A copy in which each recipe was carried out, but for the one step that has its word of ``left_out``."""
    shutil.copytree(repository, folder, symlinks=True)
    code = "from importlib.util import find_spec; print(*(find_spec(name).origin for name in ('rotvq', 'book')))"
    imported = run(folder, f".venv/bin/python -c {shlex.quote(code)}").stdout.split()
    assert imported == [str(folder / name / "__init__.py") for name in ("rotvq", "book")]
    for title in RECIPES:
        taken = steps(title)[:-1]
        if title in left_out:
            (missing,) = [step for step in taken if left_out[title] in step.text]
            taken.remove(missing)
        for step in taken:
            carry_out(folder, step)
    return folder


def proved(folder: Path, *files: str) -> subprocess.CompletedProcess:
    """The proofs of all recipes, in these files of tests or in all."""
    selected = " or ".join(f"({proof(title)})" for title in RECIPES)
    return run(folder, f"{PROOF}{shlex.quote(selected)} -rpf {' '.join(files)}", check=False)


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


@pytest.fixture(scope="module")
def whole(repository, tmp_path_factory) -> Path:
    """A copy in which all recipes were carried out."""
    return carried_out(repository, tmp_path_factory.mktemp("whole") / "copy", {})


@pytest.fixture(scope="module")
def passed(whole) -> list[str]:
    """A line for each test that passes there; none fails."""
    ran = proved(whole)
    assert ran.returncode == 0, ran.stdout[-4000:]
    return [line for line in ran.stdout.splitlines() if line.startswith("PASSED ")]


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_ends_in_its_proof(title, passed):
    assert len(of(title, passed)) >= 3


def test_what_recipes_write_is_as_ruff_wants_it(whole):
    written = sorted({step.path for title in RECIPES for step in steps(title) if step.path.endswith(".py")})
    run(whole, f".venv/bin/python -m ruff check {' '.join(written)}")
    run(whole, f".venv/bin/python -m ruff format --check {' '.join(written)}")


LEFT_OUT = {  # recipe -> a word of the step that is left out, and the test that then fails
    "Add an estimator": ("@article", "quantizers/test_estimators.py::test_registry_says_what_a_page_needs"),
    "Add a rival": ("@fact", "quantizers/test_methods.py::test_a_fact_holds_for_its_rival_and_not_for_another"),
    "Add a chapter": ("git", "book/test_protocol.py::test_hypotheses_were_committed_before_the_records_they_judge"),
    "Add a row of the ledger": (
        "<claim:",
        "book/test_ledger.py::test_every_row_of_mathematics_is_named_in_its_chapter",
    ),
}


@pytest.fixture(scope="module")
def failed(repository, tmp_path_factory) -> list[str]:
    """A line for each test that fails where every recipe lacks a step, in the files in which a proof should fail."""
    missing = {title: word for title, (word, _) in LEFT_OUT.items()}
    folder = carried_out(repository, tmp_path_factory.mktemp("left_out") / "copy", missing)
    ran = proved(folder, *sorted({f"tests/{test.partition('::')[0]}" for _, test in LEFT_OUT.values()}))
    assert ran.returncode == 1, ran.stdout[-4000:]
    return [line for line in ran.stdout.splitlines() if line.startswith("FAILED ")]


@pytest.mark.parametrize("title", RECIPES)
def test_without_one_of_its_steps_the_proof_fails(title, failed):
    """Of the proof only the file is run in which it fails."""
    test = LEFT_OUT[title][1]
    assert [line for line in of(title, failed) if line.startswith(f"FAILED tests/{test}[")], failed


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


def test_the_rest_follows_from_the_row_of_an_estimator(whole):
    """The law of all members, the style of figures, the page of all estimators; and no record has changed its code."""
    (row,) = [step.text for step in steps("Add an estimator") if step.place == "last in ESTIMATORS"]
    name = re.search(r'"(\w+)"', row)[1]
    assert name not in ESTIMATORS
    code = f"MPLBACKEND=agg PYTHONPATH=$PYTHONPATH:tests .venv/bin/python -c {shlex.quote(SEEN_FROM_THE_COPY)} {name}"
    seen = json.loads(run(whole, code).stdout.splitlines()[-1])
    assert seen["members"] == [*ESTIMATORS, name]
    color, linestyle, marker = seen["arms"].pop(name)
    assert contrast(color, "#ffffff") >= 3 and contrast(color, "#121212") >= 3
    assert all(color != arm[0] and [linestyle, marker] != arm[1:] for arm in seen["arms"].values())
    assert seen["arms"].keys() == ESTIMATORS.keys()
    assert re.search(rf"^\| `{name}` \| .*doe2026brake", seen["tables"][0], re.M)
    today = {c.id: code_path.digest(c) for chapter in CHAPTERS.values() for c in chapter.configs()}
    assert {run_id: seen["digests"][run_id] for run_id in today} == today and len(set(today.values())) > 10


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
