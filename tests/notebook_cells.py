"""The cells of a notebook as its script gives them, and its check cell called with other values."""

import ast
import functools
import json

from book.press import pair

SCRIPTS = {script.stem: script for script in pair.scripts()}


@functools.cache
def cells_of(name: str) -> list[dict]:
    return json.loads(pair.notebook_text(SCRIPTS[name]))["cells"]


def code_of(name: str) -> list[dict]:
    """The code cells of the script: the first one of the notebook is for those who open it alone."""
    return [cell for cell in cells_of(name) if cell["cell_type"] == "code" and cell["id"] != pair.SETUP_CELL]


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def parameters_of(name: str) -> list[str]:
    code = next(cell for cell in cells_of(name) if "parameters" in tags(cell))
    return [node.target.id for node in ast.parse("".join(code["source"])).body if isinstance(node, ast.AnnAssign)]


def check_cell(name: str, wrong: dict) -> dict:
    """Run the parameters cell and the check cell, with these values between them; returns what is assigned then."""
    parameters, check = code_of(name)[:2]
    values = {}
    exec("".join(parameters["source"]), values)
    values |= wrong | {"__annotations__": values["__annotations__"]}
    exec("".join(check["source"]), values)
    return values
