"""Pages in Chinese: which English page each translates, and whether that has changed since.

A page of `book/zh/` begins with its original and, of each section that it translates, a digest of the prose::

    original: notebooks/45_guide
    translated:
      Which estimator for my model?: 3f2a90c1d4e7
    left_out:
    - A sceptic's list

What the original says in sections that are left out may change, and the page stays as it is. A section that changed, is
new or is gone makes the translation stale: a test fails, and the built page says so. Someone then looks at the
translation, and `python -m book.press stamp guide` writes the digests anew.

Code, and numbers that are glued, are no prose: a translation takes them from the original while it is built.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from book.press import paths

FOLDER = "zh"  # in book/
LANGUAGE = "zh-Hans"
FRONT = re.compile(r"---\n(.*?)^---\n", re.S | re.M)
FENCED = re.compile(r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)$", re.S | re.M)
HEADING = re.compile(r"^#{1,6} (.+)$", re.M)
LABEL = re.compile(r"^\([\w-]+\)=$", re.M)
GLUED = re.compile(r"\{glue:text\}`[^`]*`")


@dataclass
class Translation:
    """A page in another language.

    Attributes:
        file: of the page.
        original: The page that it translates, such as `notebooks/45_guide`.
        translated: The digest of each section as it was when it was translated, by its heading.
        left_out: The headings of the sections that it does not translate.
    """

    file: Path
    original: str
    translated: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def page(self) -> str:
        """The page, from the root of the site, without ".html"."""
        return f"{FOLDER}/{self.file.stem}"


def translations(root: Path | None = None) -> list[Translation]:
    """All pages that translate another.

    Args:
        root: of the checkout; that of this one if None.
    """
    files = sorted(((root or paths.ROOT) / "book" / FOLDER).glob("*.md"))
    return [Translation(file, **front_matter(file)) for file in files]


def front_matter(file: Path) -> dict:
    """What stands in YAML at the head of a page.

    Raises:
        SystemExit: if nothing does.
    """
    found = FRONT.match(file.read_text("utf-8"))
    if not found:
        sys.exit(f"{file.name} does not say what it translates: see the head of book/press/translations.py")
    return yaml.safe_load(found[1])


def prose(text: str) -> dict[str, str]:
    """The prose of a page by its headings, each line break a space and each glued number a #.

    >>> prose("# A\\n\\nOne\\nline of {glue:text}`b`.\\n\\n(c)=\\n## C\\n")
    {'A': 'One line of #.', 'C': ''}
    """
    codes: list[str] = []

    def put_aside(code: re.Match) -> str:  # a comment in code is no heading
        codes.append(code[0])
        return f"\0{len(codes) - 1}\0"

    _, *parts = HEADING.split(LABEL.sub("", FENCED.sub(put_aside, text)))
    sections: dict[str, str] = {}
    for heading, said in zip(parts[::2], parts[1::2]):
        whole = re.sub(r"\0(\d+)\0", lambda place: codes[int(place[1])], said)
        words = " ".join(GLUED.sub("#", whole).split())
        sections[heading] = f"{sections.get(heading, '')} {words}".strip()
    return sections


def read_original(page: str, root: Path | None = None) -> str:
    """The text of an English page in MyST: a file of it, or the text cells of a percent script.

    Args:
        page: such as `index` or `notebooks/45_guide`.
        root: of the checkout; that of this one if None.
    """
    root = root or paths.ROOT
    file = root / "book" / f"{page}.md"
    if file.exists():
        return file.read_text("utf-8")
    import jupytext

    cells = jupytext.read(root / f"{page}.py").cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def digests(page: str, root: Path | None = None) -> dict[str, str]:
    """A digest of each section of an English page, by its heading."""
    sections = prose(read_original(page, root))
    return {heading: hashlib.sha256(said.encode()).hexdigest()[:12] for heading, said in sections.items()}


def changes(of: Translation, root: Path | None = None) -> list[str]:
    """The sections of the original that are not what was translated, in its order; none if the translation holds."""
    now = digests(of.original, root)
    new = [heading for heading in now if heading not in of.translated and heading not in of.left_out]
    other = [heading for heading, digest in of.translated.items() if now.get(heading) != digest]
    gone = [heading for heading in of.left_out if heading not in now]
    order = list(now)
    return sorted({*new, *other, *gone}, key=lambda heading: order.index(heading) if heading in now else len(order))


def stamp(names: Iterable[str], root: Path | None = None) -> None:
    """Say that somebody has looked at these translations: write the digests of their originals as they are now.

    Args:
        names: of the pages, such as `guide`.
        root: of the checkout; that of this one if None.

    Raises:
        SystemExit: if there is no such page.
    """
    found = {one.file.stem: one for one in translations(root)}
    if unknown := set(names) - set(found):
        sys.exit(f"no translation {', '.join(sorted(unknown))}: there are {', '.join(found)}")
    for name in names:
        one = found[name]
        changed = changes(one, root)
        now = digests(one.original, root)
        one.left_out = [heading for heading in one.left_out if heading in now]
        one.translated = {heading: digest for heading, digest in now.items() if heading not in one.left_out}
        _write(one)
        print(f"stamp: {name}: {', '.join(changed) or 'nothing had changed'}")


def _write(one: Translation) -> None:
    """Write the head of a page anew."""
    head = {"original": one.original, "translated": one.translated}
    head |= {"left_out": one.left_out} if one.left_out else {}
    written = yaml.safe_dump(head, allow_unicode=True, sort_keys=False, width=1000)
    body = FRONT.sub("", one.file.read_text("utf-8"), count=1)
    one.file.write_text(f"---\n{written}---\n{body}", "utf-8")
