"""A Sphinx extension: for each notebook a page that shows all its code, to which the notebook's page links at its end.

On the page itself stands the code that carries an idea. The rest, plumbing and plots, is one click away.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from sphinx.application import Sphinx
from sphinx.highlighting import PygmentsBridge

from book.press.numbering import chapters

HEADING = re.compile(r"^#{2,} (.*)$", re.M)


def code_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, str], str]]:
    """The pages `code/NN_name`: for each its address, its title and body, and the template of all pages."""
    for page, number in sorted(chapters(app.env).items()):
        source = Path(app.env.doc2path(page))
        address = f"code/{source.stem}"
        title = f"Code of chapter {number}"
        chapter = html.escape(app.env.titles[page].astext())
        introduction = (
            f"<h1>{title}</h1>\n<p>All cells of <code>notebooks/{source.stem}.py</code>, without its text. Back to"
            f' <a class="reference internal" href="{app.builder.get_relative_uri(address, page)}">{chapter}</a>.</p>\n'
        )
        body = introduction + "\n".join(_cells(nbformat.read(source, 4), app.builder.highlighter))
        yield address, {"title": title, "body": body}, "page.html"


def _cells(notebook: nbformat.NotebookNode, highlighter: PygmentsBridge) -> Iterator[str]:
    """The code of a notebook as HTML, under the headings of the sections in which it stands."""
    heading = None
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            headings = HEADING.findall(cell.source)
            heading = headings[-1] if headings else heading
        elif cell.cell_type == "code" and cell.id != "setup":
            if heading:
                yield f"<h2>{html.escape(_plain(heading))}</h2>"
                heading = None
            code = highlighter.highlight_block(cell.source, "python")
            yield f'<div class="highlight-python notranslate">{code}</div>'


def _plain(heading: str) -> str:
    """A heading without the marks of MyST: `At $r_0$` is `At r_0`."""
    return re.sub(r"[$`*]|\\(?=\w)", "", heading)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("html-collect-pages", code_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
