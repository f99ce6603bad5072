"""A Sphinx extension: in place of its parameters cell a page has one folded line, "Run this page".

Unfolded it says how to execute the notebook with other values: the command to copy, what it takes, and each parameter
with its type, its default and its meaning, read from the cell itself.
"""

from __future__ import annotations

import ast
import io
import math
import shlex
import shutil
import tokenize
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.highlighting import PygmentsBridge
from sphinx.writers.html5 import HTML5Translator

from book.press import page_provenance
from book.press.execute import provenance
from rotvq.page import parameters as checks
from rotvq.page.html import Html, tag

DECLARED = "tag_parameters"  # classes that MyST-NB gives to cells with tags
INJECTED = "tag_injected-parameters"
DOWNLOADS = "_downloads"
# What a parameter means where its notebook has no comment on it.
MEANINGS = {
    "arms": "what is compared: fields of Config by name; the others are compared with the first",
    "codebook_size": "number of codes",
    "data": "an image set",
    "device": "where tensors are: cpu, cuda, cuda:1, mps or xpu",
    "dims": "dimensions that are tried",
    "samples": "random draws",
    "seed": "of the random draws",
    "steps": "of training",
}


class Parameter(NamedTuple):
    """A parameter of a notebook."""

    name: str
    kind: str
    default: object
    meaning: str


class RunBox(nodes.General, nodes.Element):
    """The box in a document, as HTML. The search does not read it, or each page would be found by "papermill"."""


def read_parameters(source: str) -> list[Parameter]:
    """The parameters that a cell declares, as in ``steps: Optional[int] = None  # of each run``.

    Args:
        source: of the cell: annotated names, whose defaults are literals, with comments on the same line.
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    return [_parameter(node, comments) for node in ast.parse(source).body if isinstance(node, ast.AnnAssign)]


def _parameter(node: ast.AnnAssign, comments: Mapping[int, str]) -> Parameter:
    lines = range(node.lineno, node.end_lineno + 1)
    meaning = " ".join(comments[line] for line in lines if line in comments)
    name = node.target.id
    return Parameter(
        name=name,
        kind=ast.unparse(node.annotation),
        default=ast.literal_eval(node.value),
        meaning=meaning or MEANINGS.get(name, ""),
    )


def read_allowed(source: str) -> dict[str, Any]:
    """What a notebook itself says its parameters may be, as far as it is a literal: `Page(..., steps=(20, 100))`."""
    found = {}
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    for call in calls:
        if getattr(call.func, "id", "") == "Page" or getattr(call.func, "attr", "") == "check":
            for given in call.keywords:
                try:
                    found[given.arg] = ast.literal_eval(given.value)
                except ValueError:
                    found[given.arg] = None  # a rule that is no list and no range
    return found


def range_in_words(rule: Any) -> str:
    """What a parameter may be, by one of :data:`rotvq.page.parameters.RULES`; empty where only code can tell.

    >>> range_in_words((1, 100_000)), range_in_words((0, None)), range_in_words(("smoke", "full"))
    ('1 to 100,000', 'at least 0', 'smoke, full')
    >>> range_in_words(checks.Entries((0, 1), most=16))
    '0 to 1; 1 to 16 of them'
    """
    if isinstance(rule, checks.Entries):
        return "; ".join(filter(None, (range_in_words(rule.each), f"{rule.least} to {rule.most} of them")))
    if rule is None or callable(rule):
        return ""
    if not isinstance(rule, tuple) or len(rule) != 2 or any(isinstance(end, str) for end in rule):
        return ", ".join(map(str, rule))
    low, high = (None if end is None else f"{end:,.10g}" for end in rule)
    if low and high:
        return f"{low} to {high}"
    if low:
        return f"at least {low}"
    return f"at most {high}" if high else ""


def command(stem: str, values: Mapping[str, object]) -> str:
    """The line for a shell that executes a notebook with these values.

    >>> command("03_rotation", {"degrees": 60.0})
    ".venv/bin/papermill notebooks/03_rotation.ipynb out.ipynb -y '{degrees: 60.0}'"
    """
    given = yaml.safe_dump(dict(values), default_flow_style=True, sort_keys=False, width=math.inf).strip()
    return f".venv/bin/papermill notebooks/{stem}.ipynb out.ipynb -y {shlex.quote(given)}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    >>> duration(3.2), duration(200), duration(9000)
    ('3 s', '3 min', '2.5 hours')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def cost(made: Mapping, trains: bool) -> str:
    """What it takes to execute a page, in a few sentences.

    Args:
        made: what `execute.provenance` says about the page.
        trains: whether the notebook trains runs that have no record.
    """
    sentence = f"Executing this page took {duration(made['seconds'])} on {made['machine']}."
    committed = page_provenance.committed_records()
    shipped = [committed[name] for name in made["records"] if name in committed]
    if not shipped:
        return sentence
    spent = sum(page_provenance.read(path)["provenance"]["seconds"] for path in shipped)
    sentence += f" It read {len(shipped)} records that ship with the book and took {duration(spent)} to make."
    return f"{sentence} Where a value asks for other runs, they are trained." if trains else sentence


def box(
    stem: str,
    parameters: Sequence[Parameter],
    made: Mapping,
    highlighter: PygmentsBridge,
    allowed: Mapping[str, Any] | None = None,
) -> Html:
    """The box of a page.

    Args:
        stem: of the notebook, such as 03_rotation.
        parameters: that it declares.
        made: what `execute.provenance` says about the page.
        highlighter: of the builder.
        allowed: what the notebook itself says they may be.
    """
    rules = checks.RULES | dict(allowed or {})
    here = {parameter.name: made["parameters"].get(parameter.name, parameter.default) for parameter in parameters}
    changed = {parameter.name: here[parameter.name] for parameter in parameters if _is_changed(parameter, here)}
    line = Html(highlighter.highlight_block(command(stem, changed or _example(parameters)), "sh"))
    count = "1 parameter" if len(parameters) == 1 else f"{len(parameters)} parameters"
    brief = tag("span", f"{count}, {duration(made['seconds'])}", class_="rv-run-brief")
    notebook = tag("a", "Download the notebook", href=f"../{DOWNLOADS}/{stem}.ipynb", download=f"{stem}.ipynb")
    setup = tag("a", "set up", href="../reproduce.html")
    usage = tag(
        "p", "In a checkout that is ", setup, ". Other values go between the braces. ", notebook, ", without outputs."
    )
    header = tag(
        "tr", *(tag("th", title, scope="col") for title in ("Parameter", "Type", "Default", "Range", "Meaning"))
    )
    rows = [_row(parameter, here, range_in_words(rules.get(parameter.name))) for parameter in parameters]
    table = tag("table", tag("thead", header), tag("tbody", *rows), class_="table")
    return tag(
        "details",
        tag("summary", "Run this page", brief),
        tag("div", line, class_="highlight-sh notranslate"),
        usage,
        tag("p", cost(made, trains="engine" in here)),
        tag("div", table, class_="pst-scrollable-table-container"),
        class_="rv-run",
    )


def _is_changed(parameter: Parameter, here: Mapping[str, object]) -> bool:
    return here[parameter.name] != parameter.default


def _example(parameters: Sequence[Parameter]) -> dict[str, object]:
    """Values to replace: a run of seconds, kept apart; else the default of the first parameter that is short."""
    if {"profile", "records"} <= {parameter.name for parameter in parameters}:
        return {"profile": "smoke", "records": "my_runs"}
    short = (parameter for parameter in parameters if not isinstance(parameter.default, list | dict))
    chosen = next(short, parameters[0])
    return {chosen.name: chosen.default}


def _row(parameter: Parameter, here: Mapping[str, object], within: str) -> Html:
    """The row of a parameter; a value of this page that is not the default stands beside it."""
    default = [tag("code", repr(parameter.default))]
    if _is_changed(parameter, here):
        default += [" (on this page ", tag("code", repr(here[parameter.name])), ")"]
    return tag(
        "tr",
        tag("th", tag("code", parameter.name), scope="row"),
        tag("td", tag("code", parameter.kind)),
        tag("td", *default),
        tag("td", within),
        tag("td", parameter.meaning),
    )


def put_boxes(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put the box of a page in the place of its parameters cell, and take out what papermill injected."""
    script = Path(app.env.doc2path(page))
    for cell in _cells(doctree, INJECTED):
        cell.parent.remove(cell)
    for cell in _cells(doctree, DECLARED):
        source = next(cell.findall(nodes.literal_block)).astext()
        parameters = read_parameters(source)
        notebook = Path(app.srcdir).parent / "notebooks" / script.name
        allowed = read_allowed(notebook.with_suffix(".py").read_text("utf-8"))
        made = provenance(script)
        cell.replace_self(RunBox(html=box(script.stem, parameters, made, app.builder.highlighter, allowed)))
        downloads = Path(app.outdir, DOWNLOADS)
        downloads.mkdir(exist_ok=True)
        shutil.copy(notebook, downloads)


def _cells(doctree: nodes.document, name: str) -> list[nodes.container]:
    return [node for node in doctree.findall(nodes.container) if name in node["classes"]]


def _write(translator: HTML5Translator, node: RunBox) -> None:
    translator.body.append(node["html"])
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.add_node(RunBox, html=(_write, None))
    app.connect("doctree-resolved", put_boxes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
