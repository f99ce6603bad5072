"""What to read before a chapter: said in one place, checked against the chapters, and written as part of a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from book.press import paths
from rotvq.page.html import Html, tag

# What each chapter builds on, directly. Theory names the chapters whose statements its own statements and proofs use.
THEORY = {
    1: [],
    2: [1],
    3: [2],
    4: [3],
    46: [4],
    5: [3],
    6: [5],
    7: [4, 5],
    8: [4],
    9: [4, 5],
    24: [4, 5],
    25: [24],
    26: [8, 24],
}
OTHERS = {
    0: [],
    10: [0],
    11: [10],
    12: [10],
    13: [3, 10],
    14: [10],
    15: [10],
    16: [10],
    17: [5, 10],
    18: [10],
    19: [0],
    20: [0],
    21: [2],
    22: [0],
    23: [0],
    27: [22],
    28: [15, 25],
    29: [10],
    30: [9, 10],
    31: [10],
    32: [0],
    33: [0],
    34: [7],
    35: [7],
    36: [7, 10],
    37: [10, 31],
    38: [10],
    39: [16, 26],
    40: [],
    41: [10, 25],
    42: [10],
    43: [2],
    44: [10],
    45: [0],
}
NEEDS: dict[int, list[int]] = THEORY | OTHERS
STATEMENT = re.compile(r"^(?P<fence>`{3,})\{(?:prf:\w+|dropdown)\}.*?^(?P=fence)$", re.S | re.M)
LABEL = re.compile(r":label: ([\w-]+)|\$\$ \(([\w-]+)\)")
REFERENCE = re.compile(r"\{(?:prf:ref|eq)\}`([\w-]+)`")
APART, RADIUS = 62, 19  # pixels between the chapters of a drawing, and of the circle of one


def before(chapter: int, needs: Mapping[int, list[int]] = NEEDS) -> list[int]:
    """All chapters to read before one, in order."""
    found: set[int] = set()
    for one in needs[chapter]:
        found |= {one, *before(one, needs)}
    return sorted(found)


def uses(texts: Mapping[int, str]) -> dict[int, set[int]]:
    """The earlier chapters whose statements and equations each chapter uses in its own statements and proofs.

    Args:
        texts: The text of each chapter in MyST by its number.
    """
    at = {one or other: chapter for chapter, text in texts.items() for one, other in LABEL.findall(text)}
    found = {}
    for chapter, text in texts.items():
        statements = "\n".join(statement[0] for statement in STATEMENT.finditer(text))
        used = {at.get(label, chapter) for label in REFERENCE.findall(statements)}
        found[chapter] = {one for one in used if one < chapter}
    return found


def places(needs: Mapping[int, list[int]]) -> dict[int, tuple[float, float]]:
    """Where each chapter stands in a drawing: below all that it needs, beside those of the same depth."""
    depth: dict[int, int] = {}
    for chapter in sorted(needs):
        depth[chapter] = 1 + max((depth[one] for one in needs[chapter]), default=-1)
    rows = [[chapter for chapter in depth if depth[chapter] == row] for row in range(1 + max(depth.values()))]
    widest = max(map(len, rows))
    found: dict[int, tuple[float, float]] = {}
    for row, chapters in enumerate(rows):
        above = {one: [found[need][0] for need in needs[one]] for one in chapters}
        chapters.sort(key=lambda one: (sum(above[one]) / len(above[one]) if above[one] else 0, one))
        for column, chapter in enumerate(chapters):
            found[chapter] = ((column + (widest - len(chapters) + 1) / 2) * APART, (row + 0.5) * APART)
    return found


def drawing(pages: Mapping[int, str], needs: Mapping[int, list[int]] = THEORY) -> Html:
    """The chapters of the book as circles that link to them, each below those that it needs; nothing without any."""
    needs = {chapter: [one for one in ones if one in pages] for chapter, ones in needs.items() if chapter in pages}
    if not needs:
        return Html("")
    at = places(needs)
    lines = [
        tag("line", x1=at[one][0], y1=at[one][1] + RADIUS, x2=at[chapter][0], y2=at[chapter][1] - RADIUS)
        for chapter in sorted(needs)
        for one in needs[chapter]
    ]
    circles = [
        tag(
            "a",
            tag("circle", cx=x, cy=y, r=RADIUS),
            tag("text", str(chapter), x=x, y=y + 5),
            href=f"notebooks/{pages[chapter]}.html",
            aria_label=f"chapter {chapter}",
        )
        for chapter, (x, y) in sorted(at.items())
    ]
    width, height = (max(place[axis] for place in at.values()) + APART / 2 for axis in (0, 1))
    named = "Chapters of theory, each below those that it builds on"
    size = f"0 0 {width:g} {height:g}"
    return tag("svg", *lines, *circles, role="group", aria_label=named, viewBox=size, class_="rv-map", width=width)


def chapters(contents: Path = paths.ROOT / "book" / "_toc.yml") -> dict[int, str]:
    """The chapters in the table of contents, as the names of their files by number."""
    return {int(name[:2]): name for name in re.findall(r"file: notebooks/(\d\d_\w+)", contents.read_text("utf-8"))}


def chapter_map() -> str:
    """The map in MyST: a drawing of the theory, and a table in which chapters that need the same ones share a row."""
    pages = chapters()
    rows: dict[tuple[int, ...], list[int]] = {}
    for chapter in sorted(NEEDS.keys() & pages):
        rows.setdefault(tuple(NEEDS[chapter]), []).append(chapter)
    lines = ["```{raw} html", drawing(pages), "```", "", "| to read | first read |", "|---|---|"]
    for first, ones in rows.items():
        titles = ", ".join(f"{one}\u00a0{{doc}}`notebooks/{pages[one]}`" for one in ones)
        links = ", ".join(f"{{doc}}`{one} <notebooks/{pages[one]}>`" for one in first)
        lines.append(f"| {titles} | {links or '–'} |")
    return "\n".join(lines) + "\n"
