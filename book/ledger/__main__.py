"""Recheck the ledger of claims: run the evidence of every row and compare it with the verdict.

Prints a line a row, the rows that rest on records, what awaits an experiment, and the counts. Ends with status 1 where
a verdict and its evidence disagree. With ``--mutate`` what the evidence is about is broken instead, row by row
(:mod:`book.ledger.mutation`): it prints which mutation turned each statement and ends with status 1 where one stays.
``python -m book.ledger --help`` lists the options.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from book.ledger import claims
from book.ledger.claims import Claim, Outcome
from rotvq.runs.grids import stores_folder

if TYPE_CHECKING:
    from book.ledger.mutation import Turn


STATUSES = ("agrees", "disagrees", "awaits", "open", "untestable")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m book.ledger", description="Recheck the ledger of claims.")
    parser.add_argument("ids", nargs="*", help="rows to check, or beginnings of their ids; all without")
    parser.add_argument("--records", type=Path, help="folder with the records of every chapter")
    parser.add_argument("--quiet", action="store_true", help="print only rows that disagree (or stay), and the counts")
    parser.add_argument("--mutate", action="store_true", help="break what the evidence is about: does it turn?")
    parser.add_argument("--note", action="store_true", help="with --mutate: keep what turned what")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # small matrices: more threads only wait for each other
    chosen = [claim for claim in claims.load() if not args.ids or claim.id.startswith(tuple(args.ids))]
    if not chosen:
        parser.error(f"no row begins with {', '.join(args.ids)}")
    if args.mutate:
        return _mutate(chosen, args.records or stores_folder(), args.quiet, args.note)
    start, outcomes = time.perf_counter(), []
    for outcome in claims.check_all(chosen, args.records or stores_folder()):
        outcomes.append(outcome)
        if not args.quiet or outcome.status == "disagrees":
            print(_line(outcome))
    _print_what_rests_on_runs(outcomes)
    counts = Counter(outcome.status for outcome in outcomes)
    by_status = "; ".join(f"{counts[status]} {status}" for status in STATUSES)
    print(f"{by_status}; {len(outcomes)} rows in {time.perf_counter() - start:.0f} s")
    return 1 if counts["disagrees"] else 0


def _mutate(chosen: Sequence[Claim], records: Path, quiet: bool, note: bool) -> int:
    """Break what the evidence of each row is about, and print which mutation turned which statement of it."""
    from book.ledger import mutation  # it imports all evidence, which checking a few rows does not need

    start, turns, rows, turned = time.perf_counter(), {}, 0, 0
    for claim in chosen:
        for call, expected in zip(claim.calls, claim.expected, strict=True):
            if str(call) not in turns:
                turns[str(call)] = mutation.confirm(call, expected, records)
        mine = {str(call): turns[str(call)] for call in claim.calls}
        if not mine:
            continue
        all_turn = all(turn.turns for turn in mine.values())
        rows, turned = rows + 1, turned + all_turn
        if note:
            mutation.write_notes({**mutation.notes(), **turns})
        if not quiet or not all_turn:
            by = "; ".join(f"{call}: {_by(turn)}" for call, turn in mine.items())
            print(f"{claim.id}  {'turns' if all_turn else 'STAYS'}  {by}", flush=True)
    seconds = time.perf_counter() - start
    share = turned / max(rows, 1)
    print(f"{turned} of {rows} rows with evidence turn, {share:.1%}; {len(turns)} statements, {seconds:.0f} s")
    return 0 if turned == rows else 1


def _by(turn: Turn) -> str:
    """Which mutations turned a statement."""
    claim = turn.claim or "nothing turns the claim"
    if turn.fix is None or turn.fix == turn.claim:
        return claim
    return f"{claim}, correction: {turn.fix or 'nothing turns it'}"


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
