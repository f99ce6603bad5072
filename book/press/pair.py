"""Pair: write the notebook of each percent script, without outputs and equal byte by byte for equal scripts.

A notebook begins with one cell that its script does not have: the line that makes it run where nothing is installed,
as in Colab. It is a comment, so that it does nothing where rotvq is at hand. The page does not show it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat
import yaml

from book.press import paths

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}  # a name that every venv has
SETUP_CELL = "setup"  # the id of the first cell
SETUP = """\
# Opened alone, as in Colab? Take the "# " off the next line and run this cell first.{remark}
# {line}"""
SETUP_LINE = (
    'import os, sys; os.system(f"git clone -q {address} rotvq'
    ' && {{sys.executable}} -m pip install -q -e rotvq[notebooks]"); sys.path.insert(0, "rotvq")'
)
PLACEHOLDER = "REPOSITORY"  # stands for the address until _config.yml has it


def scripts(names: Iterable[str] = ()) -> list[Path]:
    """The percent scripts of the book, in the order of their numbers.

    Args:
        names: of those wanted, such as `10_ste_vs_rotation` or just `10`; all if there are none.

    Raises:
        SystemExit: if there is no script, or none of one of these names.
    """
    names = set(names)
    every = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.py"))
    if not every:
        sys.exit("no notebooks: the book is built in a checkout, with rotvq installed by `make`")
    unknown = names - {script.stem for script in every} - {script.stem[:2] for script in every}
    if unknown:
        there = ", ".join(script.stem for script in every)
        sys.exit(f"no notebook {', '.join(sorted(unknown))}: there are {there}")
    return [script for script in every if not names or {script.stem, script.stem[:2]} & names]


def repository() -> str:
    """The address of the repository, the one setting of _config.yml that names it; empty until it is known."""
    return yaml.safe_load(paths.SETTINGS.read_text("utf-8"))["repository"]["url"]


def setup_line(address: str) -> str:
    """The line that makes a notebook run alone: it fetches the repository and installs what the pages import.

    The package that pip installs holds `rotvq` only. The pages also import `book` and read the data, so the line puts
    the whole checkout on the path.

    Args:
        address: of a git repository, such as `https://github.com/OWNER/rotvq` or a folder.
    """
    return SETUP_LINE.format(address=address)


def notebook_text(script: Path) -> str:
    """The notebook of a script as text. Cell ids are numbers, so that equal scripts give equal bytes."""
    import jupytext

    notebook = jupytext.read(script)
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
    address = repository()
    remark = "" if address else f"\n# {PLACEHOLDER} stands for the address of this book's repository."
    setup = SETUP.format(remark=remark, line=setup_line(address or PLACEHOLDER))
    notebook.cells.insert(0, nbformat.v4.new_code_cell(setup, id=SETUP_CELL, metadata={"tags": ["remove-cell"]}))
    return nbformat.writes(notebook) + "\n"


def write_notebooks() -> None:
    """Write the notebook of every script, where it changed."""
    _refuse_orphans()
    changed = _differing()
    for script in changed:
        script.with_suffix(".ipynb").write_text(notebook_text(script), "utf-8")
    print(f"pair: {len(changed)} written, {len(scripts())} in all")


def check_notebooks() -> None:
    """Exit with the names of the notebooks that are not what their script says."""
    _refuse_orphans()
    if differing := _differing():
        names = ", ".join(f"{script.stem}.ipynb" for script in differing)
        sys.exit(f"not what the script says, run `make notebooks`: {names}")
    print("pair: all agree")


def _differing() -> list[Path]:
    """The scripts whose notebook is missing or says something else."""
    return [script for script in scripts() if _read(script.with_suffix(".ipynb")) != notebook_text(script)]


def _read(path: Path) -> str | None:
    return path.read_text("utf-8") if path.exists() else None


def _refuse_orphans() -> None:
    named = {script.stem for script in scripts()}
    if orphans := sorted(p.stem for p in paths.NOTEBOOKS.glob("*.ipynb") if p.stem not in named):
        sys.exit(f"notebooks without a script: {', '.join(orphans)}")
