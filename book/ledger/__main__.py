"""Recheck the ledger of claims: run the evidence of every row and compare it with the verdict.

Prints a line a row, the rows that rest on records, what awaits an experiment, and the counts. Ends with status 1 where
a verdict and its evidence disagree. ``python -m book.ledger --help`` lists the options.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from book.ledger import claims
from book.ledger.claims import Outcome
from rotvq.runs.grids import stores_folder


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m book.ledger", description="Recheck the ledger of claims.")
    parser.add_argument("ids", nargs="*", help="rows to check, or beginnings of their ids; all without")
    parser.add_argument("--records", type=Path, help="folder with the records of every chapter")
    parser.add_argument("--quiet", action="store_true", help="print only rows that disagree, and the counts")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # small matrices: more threads only wait for each other
    chosen = [claim for claim in claims.load() if not args.ids or claim.id.startswith(tuple(args.ids))]
    if not chosen:
        parser.error(f"no row begins with {', '.join(args.ids)}")
    start, outcomes = time.perf_counter(), []
    for outcome in claims.check_all(chosen, args.records or stores_folder()):
        outcomes.append(outcome)
        if not args.quiet or outcome.status == "disagrees":
            print(_line(outcome))
    _print_what_rests_on_runs(outcomes)
    counts = Counter(outcome.status for outcome in outcomes)
    by_status = "; ".join(f"{counts[status]} {status}" for status in ("agrees", "disagrees", "awaits", "untestable"))
    print(f"{by_status}; {len(outcomes)} rows in {time.perf_counter() - start:.0f} s")
    return 1 if counts["disagrees"] else 0


def _line(outcome: Outcome) -> str:
    """A row, its status, its verdict, its evidence and what that found."""
    claim = outcome.claim
    detail = outcome.finding.in_words() if outcome.finding else ""
    if not detail and claim.awaits:
        detail = f"experiment {', '.join(claim.awaits)}"
    return f"{claim.id}  {outcome.status:<10}  {claim.verdict:<15}  {claim.evidence or '-'}  {detail}".rstrip()


def _print_what_rests_on_runs(outcomes: Sequence[Outcome]) -> None:
    """The rows that records settle, and the rows that each experiment is to decide."""
    settled = [outcome.claim.id for outcome in outcomes if outcome.finding and outcome.claim.on_records]
    if settled:
        print(f"rest on records: {', '.join(settled)}")
    waiting = [outcome.claim for outcome in outcomes if outcome.claim.awaits]
    for number in sorted({number for claim in waiting for number in claim.awaits}):
        print(f"awaits experiment {number}: {', '.join(claim.id for claim in waiting if number in claim.awaits)}")


if __name__ == "__main__":
    sys.exit(main())
