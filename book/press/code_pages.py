"""A Sphinx extension: for each notebook a page that shows all its code, to which the notebook's page links at its end.

On the page itself stands the code that carries an idea. The rest, plumbing and plots, is one click away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from sphinx.application import Sphinx
from sphinx.highlighting import PygmentsBridge

from book.press.numbering import chapters
from book.press.pair import SETUP_CELL
from rotvq.page.html import Html, tag

HEADING = re.compile(r"^#{2,} (.*)$", re.M)


def code_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, str], str]]:
    """The pages `code/NN_name`: for each its address, its title and body, and the template of all pages."""
    for page, number in sorted(chapters(app.env).items()):
        source = Path(app.env.doc2path(page))
        address = f"code/{source.stem}"
        title = f"Code of chapter {number}"
        back = tag("a", app.env.titles[page].astext(), href=app.builder.get_relative_uri(address, page))
        script = tag("code", f"notebooks/{source.stem}.py")
        introduction = tag("p", "All cells of ", script, ", without its text. Back to ", back, ".")
        cells = _cells(nbformat.read(source, 4), app.builder.highlighter)
        body = "\n".join([tag("h1", title), introduction, *cells])
        yield address, {"title": title, "body": body}, "page.html"


def _cells(notebook: nbformat.NotebookNode, highlighter: PygmentsBridge) -> Iterator[Html]:
    """The code of a notebook, under the headings of the sections in which it stands."""
    heading = None
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            headings = HEADING.findall(cell.source)
            heading = headings[-1] if headings else heading
        elif cell.cell_type == "code" and cell.id != SETUP_CELL:
            if heading:
                yield tag("h2", _plain(heading))
                heading = None
            code = Html(highlighter.highlight_block(cell.source, "python"))
            yield tag("div", code, class_="highlight-python notranslate")


def _plain(heading: str) -> str:
    """A heading without the marks of MyST: `At $r_0$` is `At r_0`."""
    return re.sub(r"[$`*]|\\(?=\w)", "", heading)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("html-collect-pages", code_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
