"""What a step and a run cost: what the pages on cost and scale show, as lines of text.

    python -m book.bench step      steps of quantisers, as multiples of the first arm that could be run
    python -m book.bench run       training loops, as multiples of ours
    python -m book.bench sizing    what the paper's Table 1 would take on a number of H100 cards (an estimate)
    python -m book.bench gpu       all that a card can tell, in some minutes, see book/bench/gpu.py

A case that has a record is read; the others are measured, and their records written.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from book.bench import gpu, paper_runs, run, sizing, step
from book.bench.timing import ratio
from rotvq.runs.grids import PROFILES, stores_folder


def print_steps(profile: str, device: str, dtype: str, folder: Path, again: list[str]) -> None:
    for case in step.cases(profile, device, dtype):
        if case.kind in again:
            (folder / f"{case.id}.json").unlink(missing_ok=True)
        result = step.record(case, folder, *step.ROUNDS[profile])["result"]
        print(f"{case.kind}, n = {case.n}, d = {case.d}, k = {case.k}, threads = {case.threads}")
        first, *others = result["seconds"]
        print(f"    {first:<16} {1e3 * statistics.median(result['seconds'][first]):.2f} ms")
        for arm in others:
            print(f"    {arm:<16} {ratio(result['seconds'], arm, first)}")
        for arm, reason in result["absent"].items():
            print(f"    {arm:<16} {reason}")


def print_loops(profile: str, device: str, folder: Path) -> None:
    case = run.loop_case(profile, device)
    times = run.record(case, folder)["result"]["seconds"]
    print(f"a step of ours: {1e3 * statistics.median(times['rotvq']) / case.block:.2f} ms")
    for loop in times:
        print(f"    {loop:<16} {ratio(times, loop, 'rotvq')}")


def print_sizes(cards: int) -> None:
    configs = paper_runs.table_1()
    for network in paper_runs.NETWORKS:
        config = configs[network, "Euclid"]
        size = sizing.size(config)
        memory = sum(size.memory(paper_runs.BATCH // cards).values())
        hours = config.steps * paper_runs.BATCH * size.bound / cards / 3600
        print(f"{network}: {(size.encoder + size.decoder) / 1e6:.1f} million parameters,", end=" ")
        print(f"{memory / 1e9:.0f} GB on each of {cards} cards, at least {hours:.1f} hours")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m book.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("step", "run"):
        command = commands.add_parser(name)
        command.add_argument("--profile", choices=PROFILES, default="standard")
        command.add_argument("--device", default="cpu")
        command.add_argument("--records", type=Path, help="folder of the records (default: that of the page)")
    commands.choices["step"].add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    again = "kinds of cases to measure although they have a record"
    commands.choices["step"].add_argument("--again", nargs="+", choices=step.ARMS, default=[], help=again)
    card = commands.add_parser("gpu")
    card.add_argument("--out", type=Path, required=True, help="folder of the records and of report.md")
    card.add_argument("--minutes", type=float, default=8.0, help="after which nothing new begins")
    card.add_argument("--profile", choices=PROFILES, default="standard")
    card.add_argument("--device", default="cuda")
    commands.add_parser("sizing").add_argument("--cards", type=int, default=8)
    args = parser.parse_args(argv)
    if args.command == "step":
        print_steps(args.profile, args.device, args.dtype, args.records or stores_folder() / "20_cost", args.again)
    elif args.command == "run":
        print_loops(args.profile, args.device, args.records or stores_folder() / "23_scale")
    elif args.command == "gpu":
        try:
            print(gpu.measure_all(args.out, args.minutes, args.profile, args.device).read_text("utf-8"))
        except ValueError as error:
            parser.error(str(error))
    else:
        print_sizes(args.cards)
    return 0


if __name__ == "__main__":
    sys.exit(main())
