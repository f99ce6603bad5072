"""The ledger as a page: its rows in HTML, to be searched and filtered by ``assets/claims.js``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from book.ledger.claims import Outcome
from book.ledger.grammar import Call
from book.ledger.mentions import Mention
from book.statements import Finding
from rotvq.page.html import Html, tag

LANGUAGES = {"article": "zh", "paper": "en", "book": "en"}


def rows_as_html(
    outcomes: Sequence[Outcome], pages: Mapping[str, str], mentions: Mapping[str, Sequence[Mention]] | None = None
) -> Html:
    """The rows, each a ``details`` with its id as anchor.

    Args:
        outcomes: The rows with what their evidence found.
        pages: The address of each chapter's page by its number.
        mentions: Where the chapters mention each row (:func:`book.ledger.mentions.find_mentions`).
    """
    rows = [_row(outcome, pages, (mentions or {}).get(outcome.claim.id, ())) for outcome in outcomes]
    return tag("div", Html("\n".join(rows)), class_="rv-claims")


def _row(outcome: Outcome, pages: Mapping[str, str], mentions: Sequence[Mention]) -> Html:
    claim = outcome.claim
    filters = {f"data_{name}": getattr(claim, name) for name in ("verdict", "source", "kind", "chapter")}
    parts = [
        tag("summary", claim.id, " ", tag("b", claim.verdict), " ", claim.claim),
        tag("blockquote", claim.quote, lang=LANGUAGES[claim.source]) if claim.quote else "",
        tag("p", claim.reason),
        tag("p", tag("b", "What holds."), " ", claim.corrected) if claim.corrected else "",
        tag("p", Html(" | ".join(_details(outcome, pages, mentions))), class_="claim-more"),
    ]
    return tag("details", *parts, class_="claim", id=claim.id, **filters)


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
