"""What executing notebooks would train, and what that takes: said before anything is trained.

A page finds its missing runs, and estimates them, in the cell that loads them. So its cells are executed here up to
there, in this process, with the values that they are to have.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import nbformat

from book.press.execute import parameter_names
from book.press.pair import scripts
from rotvq.page import figures

NOTHING = "nothing is trained"


class Found(BaseException):
    """A page has come so far that it trains, or that it has its runs."""


def say(names: Iterable[str], parameters: Mapping[str, Any]) -> None:
    """Print, for each of the notebooks, what executing it with these values of its parameters would train.

    Raises:
        SystemExit: A notebook refuses its values, or what is missing costs more than its cap.
    """
    for script in scripts(names):
        known = parameter_names(script)
        print(f"plan: {script.stem}: {plan(script, {k: v for k, v in parameters.items() if k in known})}", flush=True)


def plan(script: Path, parameters: Mapping[str, Any]) -> str:
    """The runs that a notebook would train, in words."""
    cells = [cell for cell in nbformat.read(script.with_suffix(".ipynb"), 4).cells if cell.cell_type == "code"]
    if not {"engine", "cap"} <= parameter_names(script):
        return f"{NOTHING} but on the page itself"
    first = next(i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    values: dict[str, Any] = {"__name__": "__main__"}
    try:
        with mock.patch.object(figures, "display", _display), contextlib.redirect_stdout(io.StringIO()):
            for number, cell in enumerate(cells[first:]):
                exec(compile(cell.source, script.name, "exec", dont_inherit=True), values)
                values.update({} if number else parameters)
    except Found as found:
        return str(found)
    except ValueError as error:
        raise SystemExit(f"{script.stem}: {error}") from None
    return NOTHING


def _display(data: Mapping[str, Any], display_id: bool = False, **_: Any) -> NoReturn | None:
    """What a page shows first of its runs: a line that says what it trains, or which it has read."""
    if display_id:
        raise Found(data["text/plain"])
    if figures.USED in data:
        raise Found(f"{NOTHING}, {len(data[figures.USED])} runs are read")
