"""``python -m book.systems run 30``: train what a chapter has no record of; ``verify 30``: check what it has.

``verify`` alone checks that no record was altered, and says how many the code as it is has made. With ``--sample 3`` it
trains three again and compares; with ``--restamp``, if all agree, the others of the chapter count as verified, too.
What is refused before any training is said in a sentence, with status 2.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections import Counter
from collections.abc import Sequence

from tqdm import tqdm

from book.systems import runs
from rotvq.runs import engines
from rotvq.training.files import check_environment

#: what one of the commands takes and the other does not
OPTIONS = {"run": ("engine", "cap", "dry_run"), "verify": ("sample", "restamp")}


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m book.systems", description=__doc__, allow_abbrev=False)
    parser.add_argument("command", choices=("run", "verify"))
    parser.add_argument("chapter", help="name, or how it starts")
    parser.add_argument("--block", action="append", default=[], help="only this block; may be given again")
    parser.add_argument("--profile", choices=("standard", "smoke"), default="standard")
    parser.add_argument("--engine", default="serial", help="of run: serial, processes:N or ray:GPUS")
    parser.add_argument("--device", default="cpu", help="where cases are trained: cpu, cuda, cuda:1, ...")
    parser.add_argument("--cap", type=float, default=runs.CAP, help="of run: core-hours that missing runs may take")
    parser.add_argument("--records", default="", help="folder of the records; by default that of the book")
    parser.add_argument("--sample", type=int, default=0, help="of verify: how many records are made again")
    parser.add_argument("--restamp", action="store_true", help="of verify: let the sample decide all records")
    parser.add_argument("--dry-run", action="store_true", help="of run: print what is missing and what it would cost")
    given = parser.parse_args(words)
    try:
        check_environment()
        _refuse_twice_or_empty(words)
        _refuse_options_of_the_other(parser, given)
        engines.find_engine(given.engine)
        experiment = runs.find(given.chapter)
        if unknown := [name for name in given.block if name not in experiment.blocks]:
            raise ValueError(f"unknown block {unknown[0]!r}: one of {', '.join(map(repr, experiment.blocks))}")
        cases = experiment.cases(given.profile, *given.block)
        return (_run if given.command == "run" else _verify)(experiment, cases, given)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("interrupted: what has ended is recorded, and the same command trains the rest", file=sys.stderr)
        return 130


def _refuse_twice_or_empty(words: Sequence[str]) -> None:
    """ValueError for an option that comes twice, of which the last would win, or that has an empty value."""
    options = Counter(word.partition("=")[0] for word in words if word.startswith("--"))
    if twice := [name for name, count in options.items() if count > 1 and name != "--block"]:
        raise ValueError(f"{twice[0]} is given twice: once, with its value")
    if "" in words or any(word.startswith("--") and word.endswith("=") for word in words):
        raise ValueError("an option has an empty value: leave it out")


def _refuse_options_of_the_other(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """ValueError for an option that the command would leave without effect, and for a sample that is none."""
    of_others = OPTIONS["verify" if given.command == "run" else "run"]
    if idle := [name for name in of_others if getattr(given, name) != parser.get_default(name)]:
        raise ValueError(f"{given.command} has no --{idle[0].replace('_', '-')}")
    if given.sample < 0 or (given.restamp and not given.sample):
        raise ValueError(f"sample is {given.sample}: it must be at least {int(given.restamp)}")
    if given.command == "verify" and given.device != parser.get_default("device") and not given.sample:
        raise ValueError("device is for --sample: nothing else is trained")
    if not given.cap >= 0:
        raise ValueError(f"cap is {given.cap:g}: it must be at least 0")


def _run(experiment: runs.Experiment, cases: list, given: argparse.Namespace) -> int:
    missing = [case for case in cases if runs.record(experiment, case, given.records) is None]
    hours = experiment.hours(missing)
    print(f"{len(missing)} of {len(cases)} runs missing: about {hours:.2f} core-hours.")
    if given.dry_run:
        return 0
    if hours > given.cap:
        raise ValueError(f"that is over the cap of {given.cap:g} core-hours: --cap {math.ceil(10 * hours) / 10:g}")
    failed = 0
    with tqdm(total=len(missing), unit="run", disable=not sys.stderr.isatty()) as bar:
        for case, outcome in runs.run(experiment, missing, given.engine, given.records, given.device):
            bar.update()
            if isinstance(outcome, Exception):
                failed += 1
                print(f"{case}: {type(outcome).__name__}: {outcome}", file=sys.stderr)
    return int(failed > 0)


def _verify(experiment: runs.Experiment, cases: list, given: argparse.Namespace) -> int:
    if given.sample:
        experiment.check_device(given.device)
    made = {case: found for case in cases if (found := runs.record(experiment, case, given.records))}
    if not made:
        raise ValueError(f"there is no record of these runs in {runs.store(experiment, given.records)}")
    differing = []
    for case in random.Random(0).sample(list(made), min(given.sample, len(made))):
        found = runs.differences(made[case], experiment.result(case, given.device), given.device)
        differing += found
        print(f"{made[case]['id']} {found[0] if found else 'agrees'}: {case}")
    if given.restamp and given.sample and not differing:
        for case, found in made.items():
            if not runs.is_verified(experiment, found):
                runs.restamp(experiment, case, given.records, f"{given.sample} of its chapter trained again")
                made[case] = runs.record(experiment, case, given.records)
    verified = sum(runs.is_verified(experiment, found) for found in made.values())
    print(f"{len(made)} of {len(cases)} runs have a record: {verified} verified, {len(made) - verified} unverified")
    return int(bool(differing))


if __name__ == "__main__":
    raise SystemExit(main())
