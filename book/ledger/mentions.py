"""Where the pages mention rows of the ledger: ``<claim:A-031>`` in a theorem, a caption, a sentence or a comment.

A page is read as blocks: a fenced directive is one, so is a paragraph, and so is a cell of code. The anchor of a block
is its own label, or else the theorem or heading above it; a row of the ledger links to the anchors that mention it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MENTION = re.compile(r"claim:([A-Z]-\d{3})")
FENCE = re.compile(r"(`{3,})\{([\w:]+)\}\s*(.*)")
LABEL = re.compile(r":(?:label|name): (\S+)")
HEADING = re.compile(r"(?:\((\S+)\)=\n)?#+ (.*)")


@dataclass(frozen=True)
class PageBlock:
    """A part of a page.

    Attributes:
        kind: The name of a directive such as ``prf:theorem``, ``text`` or ``code``.
        anchor: Where a link to it leads.
        title: The title of what the anchor marks.
        text: Its lines.
    """

    kind: str
    anchor: str
    title: str
    text: str

    @property
    def claims(self) -> tuple[str, ...]:
        """The ids of the rows that it mentions, in order."""
        return tuple(dict.fromkeys(MENTION.findall(self.text)))

    @property
    def is_theorem(self) -> bool:
        """Whether it is a theorem, a definition or the like: a block of sphinx-proof other than a proof."""
        return self.kind.startswith("prf:") and self.kind != "prf:proof"


class _Part(NamedTuple):
    """Some lines of a cell that belong together, and the title of the directive where they are one."""

    kind: str
    title: str
    text: str


def page_blocks(source: str) -> Iterator[PageBlock]:
    """The blocks of a notebook in the percent format, in order."""
    anchor = title = ""
    for cell in re.split(r"(?m)^# %%", source)[1:]:
        head, _, body = cell.partition("\n")
        if "[markdown]" not in head:
            yield PageBlock("code", anchor, title, body)
            continue
        for part in _parts([re.sub("^# ?", "", line) for line in body.splitlines()]):
            label, heading = LABEL.search(part.text), HEADING.match(part.text)
            if label and "figure" in part.kind:  # what comes after a figure is not about its anchor
                yield PageBlock(part.kind, label[1], f"figure: {title}", part.text)
                continue
            if heading:
                title = heading[2]
                anchor = heading[1] or re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")
            elif label and part.kind.startswith("prf:"):
                anchor, title = label[1], part.title
            yield PageBlock(part.kind, anchor, title, part.text)


def _parts(lines: list[str]) -> Iterator[_Part]:
    """A cell of Markdown, cut at the ends of directives and at blank lines."""
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        fence = FENCE.match(lines[start])
        closing = fence[1] if fence else ""
        end = start + 1
        while end < len(lines) and lines[end].strip() != closing:
            end += 1
        text = "\n".join(lines[start : end + 1])
        if fence:
            yield _Part(fence[2], fence[3] if fence[2].startswith("prf:") else "", text)
        else:
            yield _Part("text", "", text)
        start = end + 1


class Mention(NamedTuple):
    """Where a chapter mentions a row.

    Attributes:
        chapter: Its number.
        address: Page and anchor.
        title: Of the theorem or section at the anchor.
    """

    chapter: str
    address: str
    title: str


def chapter_pages(contents: str) -> dict[str, str]:
    """The page of each chapter by its number, for links from a page in ``notebooks``.

    Args:
        contents: The text of ``_toc.yml``.
    """
    pages = {}
    for file in map(Path, re.findall(r"file: (\S+)", contents)):
        if re.match(r"\d\d_", file.name):
            inside = file.parent.name == "notebooks"
            pages[file.name[:2]] = f"{file.name}.html" if inside else f"../{file}.html"
    return pages


def find_mentions(pages: Mapping[str, str], notebooks: Path) -> dict[str, list[Mention]]:
    """The mentions of each row that is mentioned.

    Args:
        pages: The address of each chapter's page by its number.
        notebooks: The folder of their sources.
    """
    mentions: dict[str, list[Mention]] = {}
    for number, address in pages.items():
        for source in notebooks.glob(f"{number}_*.py"):
            for block in page_blocks(source.read_text("utf-8")):
                mention = Mention(number, f"{address}#{block.anchor}", block.title)
                for row in block.claims:
                    if mention not in mentions.setdefault(row, []):
                        mentions[row].append(mention)
    return mentions
