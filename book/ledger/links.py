"""Where the pages name rows of the ledger: ``<claim:A-031>`` in a theorem, a caption, a sentence or a comment.

A page is read as blocks: a fenced directive is one, so is a paragraph and so is a cell of code. A block's anchor is its
own label, or the theorem or heading above it, so that a row of the ledger can link back to the place that names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

NAMED = re.compile(r"claim:([A-Z]-\d{3})")
FENCE = re.compile(r"(`{3,})\{([\w:]+)\}\s*(.*)")
LABEL = re.compile(r":(?:label|name): (\S+)")
HEADING = re.compile(r"(?:\((\S+)\)=\n)?#+ (.*)")


@dataclass(frozen=True)
class Passage:
    """A part of a page. ``kind``: a directive's name, ``text`` or ``code``. ``title``: of what ``anchor`` marks."""

    kind: str
    anchor: str
    title: str
    text: str

    @property
    def claims(self) -> tuple[str, ...]:
        """The rows that it names, in order."""
        return tuple(dict.fromkeys(NAMED.findall(self.text)))

    @property
    def states(self) -> bool:
        """Whether it is a theorem, a definition or the like: a block of sphinx-proof other than a proof."""
        return self.kind.startswith("prf:") and self.kind != "prf:proof"


def passages(source: str) -> Iterator[Passage]:
    """The blocks of a notebook in the percent format, in order."""
    anchor = title = ""
    for cell in re.split(r"(?m)^# %%", source)[1:]:
        head, _, body = cell.partition("\n")
        if "[markdown]" not in head:
            yield Passage("code", anchor, title, body)
            continue
        lines = [re.sub("^# ?", "", line) for line in body.splitlines()]
        while lines:
            kind, name, part = _next(lines)
            text = "\n".join(part)
            label = LABEL.search(text)
            if heading := HEADING.match(text):
                title = heading[2]
                anchor = heading[1] or re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")
            elif kind.startswith("prf:") and label:
                anchor, title = label[1], name
            own = label and "figure" in kind  # what comes after a figure is not about its anchor
            yield Passage(kind, label[1], f"figure: {title}", text) if own else Passage(kind, anchor, title, text)


def _next(lines: list[str]) -> tuple[str, str, list[str]]:
    """Take one block off ``lines``: its kind, its title and its lines."""
    while lines and not lines[0].strip():
        lines.pop(0)
    fence = FENCE.match(lines[0]) if lines else None
    end = (lambda line: line.strip() == fence[1]) if fence else (lambda line: not line.strip())
    size = next((i for i, line in enumerate(lines[1:], 2) if end(line)), len(lines))
    part, lines[:size] = lines[:size] or [""], []
    return (fence[2], fence[3] if "prf" in fence[2] else "", part) if fence else ("text", "", part)


class Place(NamedTuple):
    """Where a chapter names a row. ``address``: page and anchor. ``title``: of the theorem or section at the anchor."""

    chapter: str
    address: str
    title: str


def places(pages: dict[str, str], notebooks: Path) -> dict[str, list[Place]]:
    """The places of each row that is named. ``pages``: addresses of the chapters; ``notebooks``: their sources."""
    found: dict[str, list[Place]] = {}
    for number, address in pages.items():
        for source in notebooks.glob(f"{number}_*.py"):
            for block in passages(source.read_text("utf-8")):
                for row in block.claims:
                    place = Place(number, f"{address}#{block.anchor}", block.title)
                    if place not in found.setdefault(row, []):
                        found[row].append(place)
    return found
