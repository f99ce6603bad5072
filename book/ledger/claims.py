"""The rows of the ledger: every claim of the article, of the paper and of this book, its verdict, and its evidence.

They stand in ``book/claims.yml``; :func:`load` reads them and :func:`check` compares a verdict with what its evidence
finds. ``python -m book.ledger`` does so for all of them.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import yaml

from book.all_statements import all_statements
from book.ledger.grammar import Call, parse_evidence
from book.statements import Finding, Law, Statement, all_hold
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.runs import grids
from rotvq.training.files import CHECKOUT

LEDGER = CHECKOUT / "book" / "claims.yml"

#: verdict -> what its evidence has to find of the claim as it stands
EXPECTED = {
    "true": True,
    "supported": True,
    "true with a fix": False,
    "false": False,
    "contradicted": False,
    "ill-posed": None,
    "undecided": None,
}
VERDICTS = (*EXPECTED, "not testable")
STAND = ("true", "supported")  # a claim that holds as it stands
PARTS = {"true": True, "false": False, "open": None}
KINDS = (
    "definition",
    "theorem",
    "proof",
    "explanation",
    "numeric",
    "cost",
    "recommendation",
    "bibliographic",
    "empirical",
    "conjecture",
    "target",
)
#: the sections of the article's own text, before the derivation
AUTHOR = ("Introduction", "Recap", "STE", "Rotation", "Experiments", "Thoughts", "Summary of the article")
LEAST_DRAWS = 8  #: of inputs, on which a law is tried
#: a number of the evidence in a sentence of a row: {{gap}}, {{gap:.2f}}, {{3.ratio:.2f}} of the third statement
NUMBER = re.compile(r"\{\{(?:(?P<place>\d+)\.)?(?P<name>\w+)(?::(?P<format>[^{}]*))?\}\}")
SOURCES = {"A": "article", "P": "paper", "B": "book"}


@cache
def chapters() -> tuple[str, ...]:
    """The numbers of all chapters, '00', '01', ...: of their notebooks."""
    return tuple(sorted(path.name[:2] for path in (CHECKOUT / "notebooks").glob("[0-9][0-9]_*.py")))


@cache
def experiments() -> tuple[str, ...]:
    """The numbers of the chapters that train runs, '10', ...: of their grids."""
    return tuple(name[:2] for name in grids.CHAPTERS)


@dataclass(frozen=True)
class Claim:
    """A row of the ledger.

    Attributes:
        id: ``A-001`` of the article, ``P-001`` of the paper, ``B-001`` of this book.
        place: Where the source says it: a section, a number, in the book the title of a theorem.
        claim: What it says, in our words.
        kind: One of :data:`KINDS`.
        verdict: One of :data:`VERDICTS`.
        reason: Why, in a sentence or as a counterexample; what is measured stands in it as :data:`NUMBER` says.
        chapter: The number of the chapter that treats it.
        corrected: The statement that holds, where the claim does not.
        quote: What it says in its own words, in short: Chinese for the article, English for the paper. Empty where it
            is about the paper's code or our reading of its tables; the place begins so.
        evidence: Statements, as :mod:`book.ledger.grammar` says; the claim is that all of them hold.
        parts: What each statement gives, where there are several: ``true``, ``false`` or ``open``. All are true where
            the claim is; otherwise the row says which are.
        awaits: The numbers of experiments whose records are to decide more.
        also: Further places that say so.
    """

    id: str
    place: str
    claim: str
    kind: str
    verdict: str
    reason: str
    chapter: str
    corrected: str = ""
    quote: str = ""
    evidence: str = ""
    parts: tuple[str, ...] = ()
    awaits: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Who says so: article, paper or book."""
        return SOURCES[self.id[0]]

    @property
    def by_the_author(self) -> bool:
        """Whether the article's own text says it, and not only the derivation that is appended to it."""
        return self.source == "article" and self.place.partition(",")[0] in AUTHOR

    @property
    def calls(self) -> list[Call]:
        """The statements that are its evidence; ValueError where they are not written as the grammar says."""
        try:
            return parse_evidence(self.evidence)
        except ValueError as error:
            raise ValueError(f"{self.id}: {error}") from None

    @property
    def expected(self) -> list[bool | None]:
        """What each statement has to find of its part of the claim."""
        if self.parts:
            return [PARTS.get(part) for part in self.parts]
        return [EXPECTED.get(self.verdict)] * len(self.calls)

    @property
    def on_records(self) -> bool:
        """Whether runs settle it: its evidence reads records."""
        return any(all_statements()[call.name].reads_records for call in self.calls)

    @property
    def _names_no_further_statement(self) -> bool:
        """Whether the numbers in its sentences are of statements that it has."""
        named = [int(one["place"] or 1) for one in NUMBER.finditer(f"{self.reason} {self.corrected}")]
        return max(named, default=0) <= len(self.calls)

    def validate(self) -> None:
        """Raise ValueError where the row breaks a rule of the ledger."""
        known = all_statements()
        rules = [
            (re.fullmatch(r"[APB]-\d{3}", self.id), "its id is not like A-001, P-001 or B-001"),
            (self.kind in KINDS, f"kind {self.kind!r} is none of {', '.join(KINDS)}"),
            (self.verdict in VERDICTS, f"verdict {self.verdict!r} is none of {', '.join(VERDICTS)}"),
            (self.chapter in chapters(), f"there is no chapter {self.chapter!r}"),
            (set(self.awaits) <= set(experiments()), f"it awaits {self.awaits}: not all of them are experiments"),
            (self.corrected or self.verdict != "true with a fix", "'true with a fix' needs the corrected statement"),
            (all(call.name in known for call in self.calls), f"evidence {self.evidence!r}: there is no such statement"),
            (
                self.evidence or self.verdict in ("undecided", "not testable"),
                "without evidence it is 'undecided' or 'not testable'",
            ),
            (self.verdict != "not testable" or not self.evidence, "it is 'not testable' and has evidence"),
            (set(self.parts) <= set(PARTS), f"parts {self.parts}: each is one of {', '.join(PARTS)}"),
            (self._names_no_further_statement, "it has a number of a statement that its evidence does not have"),
            (len(self.parts) in (0, len(self.calls)), "it says of some of its statements only what they give"),
            (
                self.parts or len(self.calls) < 2 or EXPECTED.get(self.verdict) is True,
                "several statements, and not all true: its parts are missing",
            ),
            (
                not self.parts or all_hold(self.expected) is EXPECTED.get(self.verdict),
                "its parts do not give its verdict",
            ),
        ]
        for holds, complaint in rules:
            if not holds:
                raise ValueError(f"{self.id}: {complaint}")


@cache
def load(path: Path = LEDGER) -> tuple[Claim, ...]:
    """The rows in their order.

    Raises:
        FileNotFoundError: There is no ledger, for instance outside a checkout.
        ValueError: A row breaks a rule; the message names both.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is not here: the ledger is checked in a checkout of the book")
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # every scalar stays a string; in C where yaml has it
    rows = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    claims = tuple(_claim(row) for row in rows)
    ids = [claim.id for claim in claims]
    for source in SOURCES:
        own = [name for name in ids if name[0] == source]
        if own != sorted(set(own)):
            raise ValueError(f"the ids of {source} do not stand once each and in order")
    return claims


def require_verdict(verdict: str, *ids: str) -> None:
    """Hold a page to the verdict of these rows, on which something rests that it says.

    Raises:
        AssertionError: One of them has another verdict: what the page says is no longer so.
        ValueError: There is no such row.
    """
    rows = {claim.id: claim for claim in load()}
    if missing := [name for name in ids if name not in rows]:
        raise ValueError(f"the ledger has no row {', '.join(missing)}")
    other = [f"{name} is {rows[name].verdict}" for name in ids if rows[name].verdict != verdict]
    assert not other, f"the page says {verdict}: {'; '.join(other)}"


def _claim(row: dict[str, str | list[str]]) -> Claim:
    """A row as it is read, checked."""
    if unknown := set(row) - {field.name for field in fields(Claim)}:
        raise ValueError(f"{row.get('id')}: unknown {', '.join(sorted(unknown))}")
    values = {name: tuple(value) if isinstance(value, list) else " ".join(value.split()) for name, value in row.items()}
    claim = Claim(**values)
    claim.validate()
    return claim


@dataclass(frozen=True)
class Outcome:
    """What checking a row gave.

    Attributes:
        claim: The row.
        status: ``agrees``, ``disagrees``, ``awaits`` (records), ``open`` (no run is made or planned) or ``untestable``.
        findings: What each statement of its evidence found; None for one that awaits records.
        seconds: How long it took.
    """

    claim: Claim
    status: str
    findings: tuple[Finding | None, ...]
    seconds: float

    @property
    def reason(self) -> str:
        """Its reason, with the numbers of the evidence."""
        return fill(self.claim.reason, self.findings)

    @property
    def corrected(self) -> str:
        """The statement that holds, with the numbers of the evidence."""
        return fill(self.claim.corrected, self.findings)

    @property
    def finding(self) -> Finding | None:
        """What its evidence found together; None where it has none, or where that awaits records."""
        return join(self.findings)


def fill(sentence: str, findings: Sequence[Finding | None]) -> str:
    """A sentence of a row with the numbers of its evidence; "..." where that awaits records.

    >>> fill("It is {{ratio:.1f}} times as high, {{2.codes}} codes.", [Finding(True, numbers={"ratio": 2.04}), None])
    'It is 2.0 times as high, ... codes.'

    Raises:
        KeyError: The statement does not find such a number.
    """

    def number(match: re.Match) -> str:
        finding = findings[int(match["place"] or 1) - 1]
        return format(finding.numbers[match["name"]], match["format"] or "") if finding else "..."

    return NUMBER.sub(number, sentence)


def check(claim: Claim, records: Path, known: dict[Call, Finding | None] | None = None) -> Outcome:
    """Run the evidence of a row and compare it with the verdict.

    Args:
        claim: The row.
        records: The folder of the records of all chapters.
        known: What statements found before; they are not run again, and others are added.
    """
    start = time.perf_counter()
    known = {} if known is None else known
    for call in claim.calls:
        if call not in known:
            statement = all_statements()[call.name]
            options = {"records": records} if statement.reads_records else draws(statement)
            known[call] = statement.check(*call.words, **options)
    findings = tuple(known[call] for call in claim.calls)
    return Outcome(claim, _status(claim, findings), findings, time.perf_counter() - start)


def draws(statement: Statement) -> dict[str, Sequence[int]]:
    """What the ledger tries a law on: enough seeds for :data:`LEAST_DRAWS`.

    A law of every estimator is tried with each of them, so in its lowest and in its highest dimension only; in the
    highest alone where it names no more than two, as one does that takes long.
    """
    if not isinstance(statement, Law):
        return {}
    if "member" in statement.arguments and len(statement.members) == len(ESTIMATORS):
        return {"dims": statement.dims[-1:] if len(statement.dims) < 3 else (statement.dims[0], statement.dims[-1])}
    return {"seeds": range(math.ceil(LEAST_DRAWS / (len(statement.dims) * len(statement.kinds))))}


def check_all(claims: Sequence[Claim], records: Path) -> Iterator[Outcome]:
    """The outcome of every row, one after the other; a statement that several rows name is run once."""
    known = {}
    for claim in claims:
        yield check(claim, records, known)


def _status(claim: Claim, findings: Sequence[Finding | None]) -> str:
    """Whether a verdict and what its evidence found agree, part by part."""
    finding = join(findings)
    if finding is None:
        if claim.verdict == "not testable":
            return "untestable"
        return "awaits" if claim.evidence or claim.awaits else "open"
    as_expected = [one.claim for one in findings if one] == claim.expected
    fix_stands = finding.fix is True if claim.verdict == "true with a fix" else finding.fix is not False
    return "agrees" if as_expected and fix_stands else "disagrees"


def join(findings: Sequence[Finding | None]) -> Finding | None:
    """What several pieces of evidence find together: all have to hold. None where there is none, or one awaits records.

    >>> join([Finding(True, numbers={"error": 0.5}), Finding(None, numbers={"error": 0.25})])
    Finding(claim=None, fix=None, numbers={'1_error': 0.5, '2_error': 0.25})
    """
    if not findings or None in findings:
        return None
    if len(findings) == 1:
        return findings[0]
    numbers = {f"{i}_{name}": value for i, one in enumerate(findings, 1) for name, value in one.numbers.items()}
    return Finding(all_hold([one.claim for one in findings]), all_hold([one.fix for one in findings]), numbers)
