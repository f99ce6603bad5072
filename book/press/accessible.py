"""A Sphinx extension: mends what keeps readers with a screen reader from finding their way.

A head of a column without words is a plain cell, the names of an index stand in the row of the others, an entry of a
bibliography is an item of its list. `templates/layout.html` makes the sidebar a landmark.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx

EMPTY_HEAD = re.compile(r"<th((?: [^<>]*)?)>(?:<p></p>|&nbsp;)?</th>")
HEADS = re.compile(r"<thead>.*?</thead>", re.S)
ROW = re.compile(r"<tr[^<>]*>.*?</tr>\s*", re.S)
CELL = re.compile(r"<t[hd][^<>]*>(.*?)</t[hd]>", re.S)
SIDEBAR = '<div id="pst-primary-sidebar" '


def without_empty_heads(body: str) -> str:
    """A page where a head of a table without words, as in the corner of a table of pandas, is a cell.

    >>> without_empty_heads('<tr><th>&nbsp;</th><th class="head"><p></p></th><th>error</th></tr>')
    '<tr><td></td><td class="head"></td><th>error</th></tr>'
    """
    return EMPTY_HEAD.sub(r"<td\1></td>", body)


def with_one_row_of_heads(body: str) -> str:
    """A page where the name of an index, for which pandas opens a row that is empty else, stands above its column.

    >>> heads = "<thead><tr><th></th><th>error</th></tr><tr><th>level</th><th></th></tr></thead>"
    >>> with_one_row_of_heads(heads)
    '<thead><tr><th>level</th><th>error</th></tr></thead>'
    """
    return HEADS.sub(lambda heads: _in_one_row(heads[0]), body)


def _in_one_row(heads: str) -> str:
    *_, above, last = ["", "", *ROW.findall(heads)]
    cells = [cell.strip().replace("&nbsp;", "") for cell in CELL.findall(last)]
    names = [name for name in cells if name]
    room = [cell.strip().replace("&nbsp;", "") for cell in CELL.findall(above)[: len(names)]]
    if not names or cells[: len(names)] != names or len(names) == len(cells) or any(room):
        return heads
    words = iter(names)
    named = CELL.sub(lambda cell: f"<th>{next(words)}</th>", above, count=len(names))
    return heads.replace(above, named).replace(last, "")


def with_list_items(body: str) -> str:
    """A page where an entry of a bibliography, which stands in a list, is an item: its own role is deprecated.

    >>> with_list_items('<div role="list"><div class="citation" role="doc-biblioentry">')
    '<div role="list"><div class="citation" role="listitem">'
    """
    return body.replace('role="doc-biblioentry"', 'role="listitem"')


def with_landmark(content: str) -> str:
    """The content of a page where the sidebar, with the name of the book and its search, is a landmark.

    Raises:
        ValueError: if there is no sidebar, as after a change of the theme.
    """
    if SIDEBAR not in content:
        raise ValueError("the theme's sidebar has another name: see templates/layout.html")
    return content.replace(SIDEBAR, f'{SIDEBAR}role="region" aria-label="Book" ')


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""

    def mend(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
        body = without_empty_heads(with_one_row_of_heads(context.get("body", "")))
        context["body"] = with_list_items(body)

    def teach(app: Sphinx) -> None:
        app.builder.templates.environment.filters["with_landmark"] = with_landmark

    app.connect("builder-inited", teach)
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
