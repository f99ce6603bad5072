"""The ledger as a page: its rows in HTML, to be searched and filtered by ``assets/claims.js``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from html import escape

from book.ledger.claims import Outcome
from book.ledger.grammar import Call
from book.ledger.mentions import Mention
from book.statements import Finding
from rotvq.page.html import Html, tag

LANGUAGES = {"article": "zh", "paper": "en", "book": "en"}
#: what a row without a quotation says of its source, by how its place begins
UNQUOTED = {
    "Code, ": "No sentence of the paper: what its released code does (commit 9910492).",
    "Our reading of ": "No sentence of the paper: what we read in its tables.",
}
GREEK = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "delta": "δ",
    "Delta": "Δ",
    "epsilon": "ε",
    "eta": "η",
    "theta": "θ",
    "kappa": "κ",
    "lambda": "λ",
    "mu": "μ",
    "pi": "π",
    "rho": "ρ",
    "sigma": "σ",
    "tau": "τ",
    "phi": "φ",
}
SIGNS = {"<=": "≤", ">=": "≥", "!=": "≠", "->": "→"}
FORMULA = re.compile(
    r"(?P<row>\b[ABP]-\d{3}\b)"
    r"|(?P<greek>(?<![\w.])(?:" + "|".join(GREEK) + r")(?![A-Za-z0-9=-]))"
    r"|(?P<sign><=|>=|!=|->)"
    r"|(?<=[\w)}|\]'])(?P<where>[_^])(?P<index>\{[^}]*\}|\([^)]*\)|-?(?:[A-Za-z]+|\d+))(?![\w=])"
)


def rows_as_html(
    outcomes: Sequence[Outcome], pages: Mapping[str, str], mentions: Mapping[str, Sequence[Mention]] | None = None
) -> Html:
    """The rows, each a ``details`` with its id as anchor.

    Args:
        outcomes: The rows with what their evidence found.
        pages: The address of each chapter's page by its number.
        mentions: Where the chapters mention each row (:func:`book.ledger.mentions.find_mentions`).
    """
    known = {outcome.claim.id for outcome in outcomes}
    rows = [_row(outcome, known, pages, (mentions or {}).get(outcome.claim.id, ())) for outcome in outcomes]
    return tag("div", Html("\n".join(rows)), class_="rv-claims")


def typeset(words: str, known: Set[str] = frozenset()) -> Html:
    """Words of a row with their formulas typeset, and links to the rows that they name, of those that are known.

    >>> print(typeset("G^T g = lambda_W |W|^2, see A-031.", {"A-031"}))
    G<sup>T</sup> g = λ<sub>W</sub> |W|<sup>2</sup>, see <a href="#A-031">A-031</a>.
    """
    parts, end = [], 0
    for found in FORMULA.finditer(words):
        parts += [escape(words[end : found.start()]), _typeset_one(found, known)]
        end = found.end()
    return Html("".join([*parts, escape(words[end:])]))


def _typeset_one(found: re.Match, known: Set[str]) -> Html:
    """What a match of :data:`FORMULA` becomes."""
    if name := found["row"]:
        return tag("a", name, href=f"#{name}") if name in known else Html(name)
    if word := found["greek"]:
        return Html(GREEK[word])
    if sign := found["sign"]:
        return Html(SIGNS[sign])
    index = found["index"].strip("{}")
    return tag("sub" if found["where"] == "_" else "sup", GREEK.get(index, index))


def quoted(words: str) -> Html:
    """A quotation as HTML; its formulas, between dollars, are typeset where the page is rendered."""
    parts = enumerate(words.split("$"))
    return Html("".join(tag("span", part, class_="tex") if place % 2 else escape(part) for place, part in parts))


def _row(outcome: Outcome, known: Set[str], pages: Mapping[str, str], mentions: Sequence[Mention]) -> Html:
    claim = outcome.claim
    filters = {f"data_{name}": getattr(claim, name) for name in ("verdict", "source", "kind", "chapter")}
    said = " ".join((claim.claim, outcome.reason, outcome.corrected))
    filters["data_words"] = " ".join(word for word in GREEK if word in said) or None  # for the search
    parts = [
        tag("summary", claim.id, " ", tag("b", claim.verdict), " ", typeset(claim.claim)),
        tag("blockquote", quoted(claim.quote), lang=LANGUAGES[claim.source]) if claim.quote else _unquoted(claim.place),
        tag("p", typeset(outcome.reason, known)),
        tag("p", tag("b", "What holds."), " ", typeset(outcome.corrected, known)) if claim.corrected else "",
        tag("p", Html(" | ".join(_details(outcome, pages, mentions))), class_="claim-more"),
    ]
    return tag("details", *parts, class_="claim", id=claim.id, **filters)


def _unquoted(place: str) -> Html:
    """That nothing is quoted, and why; empty for a theorem of the book."""
    return Html("".join(tag("p", tag("em", words)) for begins, words in UNQUOTED.items() if place.startswith(begins)))


def _details(outcome: Outcome, pages: Mapping[str, str], mentions: Sequence[Mention]) -> list[Html]:
    """Where the row comes from, its kind, where the book treats it, and what its evidence found."""
    claim = outcome.claim
    chapter = f"chapter {claim.chapter}"
    links = [tag("a", f"chapter {one.chapter}, {one.title}", href=one.address) for one in mentions]
    if not links and claim.chapter in pages:
        links = [tag("a", chapter, href=pages[claim.chapter])]
    details = [
        tag("span", "; ".join([f"{claim.source}, {claim.place}", *claim.also])),
        tag("span", claim.kind),
        tag("a", f"link to {claim.id}", href=f"#{claim.id}"),
        tag("span", Html("; ".join(links)) or chapter),
    ]
    details += map(_part, claim.calls, outcome.findings)
    if claim.awaits:
        details.append(tag("span", f"awaits experiment {', '.join(claim.awaits)}"))
    return details


def _part(call: Call, finding: Finding | None) -> Html:
    """A statement, whether it holds, and what was measured."""
    if finding is None:
        return tag("span", tag("code", str(call)), ": no record yet")
    holds = {True: "holds", False: "does not hold", None: "open"}[finding.claim]
    numbers = finding.in_words()
    return tag("span", tag("code", str(call)), f": {holds}; {numbers}" if numbers else f": {holds}")
