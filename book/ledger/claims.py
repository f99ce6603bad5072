"""The ledger: every claim of the article, of the paper and of this book, its verdict, and the evidence that settles it.

The rows stand in ``book/claims.yml``. ``python -m book.ledger`` runs their evidence, prints a line a row, lists what
awaits an experiment, and ends with status 1 where a verdict and its evidence disagree.
"""

from __future__ import annotations

import argparse
import html
import inspect
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import torch
import yaml

from book.ledger.evidence import EVIDENCE, Finding
from book.ledger.links import Place
from rotvq.runs.grids import stores_folder
from rotvq.training.files import CHECKOUT

LEDGER = CHECKOUT / "book" / "claims.yml"

# what an evidence function has to find for a verdict: whether the claim holds as it stands, and the correction
FOUND = {
    "true": (True,),
    "supported": (True,),
    "true with a fix": (False,),
    "false": (False,),
    "contradicted": (False,),
    "ill-posed": (None,),
    "undecided": (None,),
}
VERDICTS = (*FOUND, "not testable")
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
SOURCES = {"A": "article", "P": "paper", "B": "book"}
CHAPTERS = tuple(f"{n:02d}" for n in (*range(1, 9), *range(10, 21)))
CALL = re.compile(r"(\w+)(?:\((.*)\))?")
BOTH = re.compile(r"(?<=\)) and ")  # two calls, each of which has to hold


@dataclass(frozen=True)
class Claim:
    """A row. ``reason``: why, in a sentence or as a counterexample. ``corrected``: the statement that holds.

    ``evidence``: the name of an evidence function, with what it is called with in brackets; several joined by "and" all
    have to hold. ``awaits``: the experiments whose records are to decide more. ``also``: further places that say so.
    """

    id: str
    place: str
    claim: str
    kind: str
    verdict: str
    reason: str
    chapter: str
    corrected: str = ""
    evidence: str = ""
    awaits: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        return SOURCES[self.id[0]]

    @property
    def calls(self) -> list[tuple[str, tuple[str, ...]]]:
        """Each function and its arguments; ValueError where the evidence is not written so."""
        matches = [CALL.fullmatch(part) for part in BOTH.split(self.evidence) if part]
        if None in matches:
            raise ValueError(f"{self.id}: evidence is a name or name(argument, ...), not {self.evidence!r}")
        return [(m[1], tuple(re.split(r",\s*", m[2])) if m[2] else ()) for m in matches]

    @property
    def on_records(self) -> bool:
        """Whether runs settle the row: its evidence reads records."""
        return any(reads_records(name) for name, _ in self.calls)

    def check(self) -> None:
        """ValueError where the row breaks a rule of the ledger."""
        rules = [
            (re.fullmatch(r"[APB]-\d{3}", self.id), "its id is not like A-001, P-001 or B-001"),
            (self.kind in KINDS, f"kind {self.kind!r} is none of {', '.join(KINDS)}"),
            (self.verdict in VERDICTS, f"verdict {self.verdict!r} is none of {', '.join(VERDICTS)}"),
            (self.chapter in CHAPTERS, f"there is no chapter {self.chapter!r}"),
            (set(self.awaits) <= set(CHAPTERS[8:]), f"it awaits {self.awaits}: not all of them are experiments"),
            (self.corrected or self.verdict != "true with a fix", "'true with a fix' needs the corrected statement"),
            (all(name in EVIDENCE for name, _ in self.calls), f"there is no evidence function {self.evidence!r}"),
            (
                self.evidence or self.awaits or self.verdict == "not testable",
                "it has no evidence, awaits no experiment and is not 'not testable'",
            ),
            (self.evidence or self.verdict in ("undecided", "not testable"), "without evidence it is 'undecided'"),
        ]
        for holds, complaint in rules:
            if not holds:
                raise ValueError(f"{self.id}: {complaint}")


@cache
def load(path: Path = LEDGER) -> tuple[Claim, ...]:
    """The rows in their order, each checked; ValueError names the row and what is wrong with it."""
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is not here: the ledger is checked in a checkout of the book")
    rows = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # every scalar stays a string
    known, out = {f.name for f in fields(Claim)}, []
    for row in rows:
        if unknown := set(row) - known:
            raise ValueError(f"{row.get('id')}: unknown {', '.join(sorted(unknown))}")
        claim = Claim(**{k: tuple(v) if isinstance(v, list) else " ".join(v.split()) for k, v in row.items()})
        claim.check()
        out.append(claim)
    ids = [claim.id for claim in out]
    for source in SOURCES:
        mine = [i for i in ids if i[0] == source]
        if mine != [f"{source}-{n:03d}" for n in range(1, len(mine) + 1)]:
            raise ValueError(f"the ids of {source} do not count 001, 002, ... in order")
    return tuple(out)


@dataclass(frozen=True)
class Outcome:
    """What running a row gave. ``status``: agrees, disagrees, awaits or untestable."""

    claim: Claim
    status: str
    finding: Finding | None
    seconds: float


def judge(claim: Claim, records: Path) -> Outcome:
    """Run the evidence of a row and compare it with the verdict."""
    start = time.perf_counter()
    finding = combine([_call(name, arguments, records) for name, arguments in claim.calls])
    if finding is None:
        status = "untestable" if claim.verdict == "not testable" else "awaits"
    else:
        ok = finding.claim in FOUND[claim.verdict] and finding.fix is not False
        ok = ok and not (claim.verdict == "true with a fix" and finding.fix is None)
        status = "agrees" if ok else "disagrees"
    return Outcome(claim, status, finding, time.perf_counter() - start)


def _call(name: str, arguments: Sequence[str], records: Path) -> Finding | None:
    return EVIDENCE[name](*arguments, **({"records": records} if reads_records(name) else {}))


def reads_records(name: str) -> bool:
    """Whether the evidence function of this name asks for the folder of records."""
    return "records" in inspect.signature(EVIDENCE[name]).parameters


def combine(findings: Sequence[Finding | None]) -> Finding | None:
    """What several pieces of evidence find together: all have to hold. None where there is none, or one awaits."""
    if not findings or None in findings:
        return None
    if len(findings) == 1:
        return findings[0]
    claim, fix = (
        False if False in parts else None if None in parts else True
        for parts in ([f.claim for f in findings], [f.fix for f in findings])
    )
    return Finding(claim, fix, {f"{i}_{k}": v for i, f in enumerate(findings, 1) for k, v in f.numbers.items()})


def run(claims: Sequence[Claim] | None = None, records: Path | None = None) -> Iterator[Outcome]:
    """The outcome of every row, one after the other."""
    for claim in load() if claims is None else claims:
        yield judge(claim, records or stores_folder())


def numbers(finding: Finding | None, limit: int | None = None) -> str:
    """The numbers of a finding in words: ``rms ratio 0.798, ...``."""
    items = list(finding.numbers.items())[:limit] if finding else []
    return "; ".join(f"{words(k)} {f'{v:.4g}' if isinstance(v, float) else v}" for k, v in items)


def words(name: str) -> str:
    """``gain_at_r_0_1`` as ``gain at r 0.1``, ``pi_minus_1e_3`` as ``pi minus 1e-3``."""
    return re.sub(r"(?<=_\de)_(?=\d)", "-", re.sub(r"(?<=_\d)_(?=\d)", ".", name)).replace("_", " ")


def pages(contents: str) -> dict[str, str]:
    """The page of each chapter by its number, for links from a page in ``notebooks``; ``contents`` of _toc.yml."""
    files = [Path(f) for f in re.findall(r"file: (\S+)", contents)]
    numbered = [f for f in files if re.match(r"\d\d_", f.name)]
    return {f.name[:2]: f"{f.name if f.parent.name == 'notebooks' else Path('..', f)}.html" for f in numbered}


def listing(outcomes: Sequence[Outcome], links: dict[str, str], places: Mapping[str, Sequence[Place]] = {}) -> str:
    """The rows as HTML, each a ``details`` with its id as anchor.

    ``links`` lead to the chapters' pages, ``places`` to where in them a row is named (:mod:`book.ledger.links`).
    """
    return "\n".join(_row(outcome, links, places.get(outcome.claim.id, ())) for outcome in outcomes)


def _row(outcome: Outcome, links: dict[str, str], places: Sequence[Place]) -> str:
    c, text = outcome.claim, html.escape
    named = [f'<a href="{address}">chapter {number}, {text(title)}</a>' for number, address, title in places]
    page = f'<a href="{links[c.chapter]}">chapter {c.chapter}</a>' if c.chapter in links else f"chapter {c.chapter}"
    more = [text("; ".join([f"{c.source}, {c.place}", *c.also])), c.kind, "; ".join(named) or page]
    if c.evidence:
        more.append(f"<code>{text(c.evidence)}</code>: {text(numbers(outcome.finding)) or 'no record yet'}")
    if c.awaits:
        more.append(f"awaits experiment {', '.join(c.awaits)}")
    data = " ".join(f'data-{k}="{getattr(c, k)}"' for k in ("verdict", "source", "kind", "chapter"))
    parts = [
        f'<details class="claim" id="{c.id}" {data}>',
        f'<summary><a href="#{c.id}">{c.id}</a> <b>{c.verdict}</b> {text(c.claim)}</summary>',
        f"<p>{text(c.reason)}</p>",
        f"<p><b>What holds.</b> {text(c.corrected)}</p>" if c.corrected else "",
        f'<p class="claim-more">{" | ".join(more)}</p></details>',
    ]
    return "".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m book.ledger``: status 1 where a verdict and its evidence disagree."""
    parser = argparse.ArgumentParser(prog="python -m book.ledger", description="Recheck the ledger of claims.")
    parser.add_argument("ids", nargs="*", help="rows to check, or beginnings of their ids; all without")
    parser.add_argument("--records", type=Path, help="folder with the records of every chapter")
    parser.add_argument("--quiet", action="store_true", help="print only rows that disagree, and the counts")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # small matrices: more threads only wait for each other
    claims = [c for c in load() if not args.ids or c.id.startswith(tuple(args.ids))]
    if not claims:
        parser.error(f"no row begins with {', '.join(args.ids)}")
    outcomes, start = [], time.perf_counter()
    for outcome in run(claims, args.records):
        outcomes.append(outcome)
        if not args.quiet or outcome.status == "disagrees":
            c = outcome.claim
            detail = numbers(outcome.finding) or f"experiment {', '.join(c.awaits)}" * bool(c.awaits)
            print(f"{c.id}  {outcome.status:<10}  {c.verdict:<15}  {c.evidence or '-'}  {detail}".rstrip())
    if rest := [o.claim.id for o in outcomes if o.finding and o.claim.on_records]:
        print(f"rest on records: {', '.join(rest)}")
    waiting = [o.claim for o in outcomes if o.claim.awaits]
    for number in sorted({n for c in waiting for n in c.awaits}):
        print(f"awaits experiment {number}: {', '.join(c.id for c in waiting if number in c.awaits)}")
    counts = Counter(o.status for o in outcomes)
    print("; ".join(f"{counts[s]} {s}" for s in ("agrees", "disagrees", "awaits", "untestable")), end="; ")
    print(f"{len(outcomes)} rows in {time.perf_counter() - start:.0f} s")
    return int(counts["disagrees"] > 0)
