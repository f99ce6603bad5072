"""HTML in one place: an element with its children, escaped unless they are elements themselves."""

from __future__ import annotations

import html

VOID = ("br", "hr", "img")  # elements without children and without an end tag


class Html(str):
    """Markup: :func:`tag` puts it in as it is, any other text is escaped."""


def tag(name: str, *children: str, **attributes: object) -> Html:
    """The element ``<name>`` around its children.

    Args:
        name: Of the element.
        children: Text, which is escaped, or :class:`Html`, which is not.
        attributes: ``class_`` is written class, ``data_kind`` data-kind; one that is None is left out.

    >>> tag("p", "a < b", tag("br"), tag("b", "c"), class_="note")
    '<p class="note">a &lt; b<br><b>c</b></p>'
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    written = "".join(f' {key}="{html.escape(str(value))}"' for key, value in given.items())
    inside = "".join(child if isinstance(child, Html) else html.escape(child) for child in children)
    return Html(f"<{name}{written}>" + ("" if name in VOID else f"{inside}</{name}>"))
