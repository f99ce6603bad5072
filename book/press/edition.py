"""Which edition of the book this is: its version, the commit of its sources and its day; how to cite a page of it."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from typing import NamedTuple

import yaml

import rotvq
from book.press import page_provenance, paths

SOURCES = [paths.ROOT / name for name in ("book", "notebooks", "rotvq", "data", "_config.yml")]


class Edition(NamedTuple):
    """Version of the book, the last commit of its sources in words, and when that was made."""

    version: str
    commit: str
    time: datetime


def edition() -> Edition:
    """The edition in this checkout. Its time is SOURCE_DATE_EPOCH, else that of the commit, else the year 1980."""
    return Edition(rotvq.__version__, page_provenance.commit(SOURCES), datetime.fromtimestamp(_seconds(), UTC))


def _seconds() -> int:
    names = [str(path.relative_to(paths.ROOT)) for path in SOURCES]
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    try:
        command = ["git", "log", "-1", "--format=%ct", "--", *names]
        found = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True).stdout.strip()
    except OSError:  # there is no git here
        found = ""
    return int(found or datetime(1980, 1, 1, tzinfo=UTC).timestamp())


def file_name(this: Edition) -> str:
    """The name of the book as one file, without its ending."""
    return f"rotvq-{this.version}"


class Cited(NamedTuple):
    """A page to cite: the name of its file, its title and that of the book; its address on the web, empty if none."""

    key: str
    title: str
    book: str
    address: str


def authors() -> str:
    """The authors in `CITATION.cff`, as BibTeX has them; braces keep the name of a group whole."""
    listed = yaml.safe_load((paths.ROOT / "CITATION.cff").read_text("utf-8"))["authors"]
    return " and ".join(map(_author, listed))


def _author(listed: dict[str, str]) -> str:
    if "name" in listed:
        return f"{{{listed['name']}}}"
    return f"{listed['family-names']}, {listed['given-names']}"


def bibtex(cited: Cited, this: Edition) -> str:
    """The entry for a page in BibTeX; for the first page, that of the book."""
    whole = cited.title == cited.book
    fields = {
        "author": authors(),
        "title": cited.title,
        "booktitle": "" if whole else cited.book,
        "year": f"{this.time.year}",
        "note": f"Version {this.version}, {this.commit}",
        "url": cited.address,
    }
    lines = [f"  {name} = {{{text}}}," for name, text in fields.items() if text]
    kind, key = ("misc", "rotvq") if whole else ("incollection", f"rotvq-{cited.key}")
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])
