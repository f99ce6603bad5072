"""Bibliographic claims, against the bibliography of the book."""

from __future__ import annotations

import re
from functools import cache

import yaml

from book.statements import Finding, evidence
from rotvq.training.files import CHECKOUT

REFERENCES = CHECKOUT / "book" / "references.bib"
LEDGER = CHECKOUT / "book" / "claims.yml"


@cache
def bibliography() -> dict[str, dict[str, str]]:
    """Fields of every entry of references.bib, by key."""
    out = {}
    for key, body in re.findall(r"@\w+\{([^,]+),(.*?)\n\}", REFERENCES.read_text(encoding="utf-8"), re.S):
        fields = re.findall(r"(\w+)\s*=\s*(?:\{(.*?)\}|(\d+))\s*(?:,\s*\n|,?\s*$)", body + "\n", re.S)
        out[key] = {name.lower(): " ".join((braced or bare).split()) for name, braced, bare in fields}
    return out


@evidence
def cited(key, author, year, real=""):
    """First author and year as the bibliography has them. The correction: the ``real`` year."""
    entry = bibliography()[key]
    first = entry["author"].split(" and ")[0].split(",")[0].strip("{}")
    return Finding.of(
        (first, entry["year"]) == (author, year),
        entry["year"] == real if real else None,
        first_author=first,
        year=entry["year"],
    )


@evidence
def titled(key, title, real=""):
    """The title as the bibliography has it, braces aside. The correction: the ``real`` title."""
    found = bibliography()[key]["title"].replace("{", "").replace("}", "")
    return Finding.of(found == title, found == real if real else None, title=found)


@evidence
def earlier(first, second):
    """One work is older than another."""
    a, b = (int(bibliography()[k]["year"]) for k in (first, second))
    return Finding.of(a > b, a <= b, year_of_the_older=a, year_of_the_later=b)


@evidence
def about(key, claimed, real):
    """A word that the title would have if it were about what is claimed, and one that it has."""
    title = bibliography()[key]["title"]
    return Finding.of(claimed.lower() in title.lower(), real.lower() in title.lower(), title=title)


def quotes(place: str) -> str:
    """What the ledger quotes from a section of the paper, in small letters."""
    rows = yaml.load(LEDGER.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    return " ".join(
        row.get("quote", "") for row in rows if row["id"][0] == "P" and row["place"].startswith(place)
    ).lower()


@evidence
def explains_by_pushing_alone():
    """The paper's 4.3, as the rows on it quote it, has no points pulled together.

    The correction: it has points pushed into unused cells by one direction of the gradient, and pulled together by the
    other.
    """
    text = quotes("4.3")
    pushed = "pushed into the voronoi regions of previously unused codebook vectors" in text
    pulled = "the distance among points within the same voronoi region decreases" in text
    return Finding.of(pushed and not pulled, pushed and pulled, speaks_of_pushing=pushed, speaks_of_pulling=pulled)
