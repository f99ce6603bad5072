"""Check the laws of the theory on random inputs: ``python -m book.theory``, or some of them, by name or by chapter.

Prints a line a law, with its largest error and the error allowed. Ends with status 1 where one fails. With ``--mutate``
it prints instead a mutation that turns each law (:mod:`book.ledger.mutation`), and ends with status 1 where none does.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import torch

from book.all_statements import all_statements
from book.statements import Law


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m book.theory", description="Check the laws of the theory chapters.")
    parser.add_argument("laws", nargs="*", help="names of laws or numbers of chapters; all without")
    parser.add_argument("--seeds", type=int, default=3, help="draws of each dimension and kind of input (default: 3)")
    parser.add_argument("--mutate", action="store_true", help="break what each law is about: does it turn?")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # small matrices: more threads only wait for each other
    laws = sorted((one for one in all_statements().values() if isinstance(one, Law)), key=lambda one: one.chapter)
    known = {name for one in laws for name in (one.name, str(one.chapter))}
    unknown = sorted(set(args.laws) - known)
    if unknown:
        chapters = ", ".join(sorted({str(one.chapter) for one in laws}, key=int))
        parser.error(f"no law and no chapter with laws: {', '.join(unknown)}; chapters are {chapters}")
    if args.seeds < 1:
        parser.error("--seeds must be at least 1")
    chosen = [one for one in laws if not args.laws or {one.name, str(one.chapter)} & set(args.laws)]
    say = _mutation if args.mutate else _error
    start, well = time.perf_counter(), 0
    for one in chosen:
        good, words = say(one, args.seeds)
        well += good
        print(f"chapter {one.chapter:>2}  {one.name:<30}  {words}", flush=True)
    done = "turn" if args.mutate else "hold"
    print(f"{well} of {len(chosen)} laws {done}; {time.perf_counter() - start:.0f} s")
    return 0 if well == len(chosen) else 1


def _error(one: Law, seeds: int) -> tuple[bool, str]:
    """Whether a law holds, and its largest error."""
    finding = one.check(seeds=range(seeds))
    words = f"error {finding.numbers['largest_error']:.0e}, allowed {finding.numbers['allowed']:.0e}"
    return (True, words) if finding.claim else (False, f"FAILS  {finding.in_words()}")


def _mutation(one: Law, seeds: int) -> tuple[bool, str]:
    """Whether a mutation turns a law, and which."""
    from book.ledger import mutation  # it imports all evidence, which checking a law does not need
    from book.ledger.grammar import Call
    from rotvq.runs.grids import stores_folder

    turn = mutation.confirm(Call(one.name, ()), True, stores_folder())
    return turn.turns, turn.claim or "STAYS"


if __name__ == "__main__":
    sys.exit(main())
