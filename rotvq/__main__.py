"""Train runs, fill the grid of a chapter, verify records: ``python -m rotvq COMMAND --help``."""

import json
import logging
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from rotvq.quantizers import distributed
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.runs import engines, grids, scheduler, verify
from rotvq.runs.records import Records
from rotvq.training.ablations import VQ_ONLY
from rotvq.training.config import FIELDS, Config
from rotvq.training.files import DataError
from rotvq.training.train import find_device, train

TIMES = ("20_cost", "23_scale")  # chapters whose records hold times, which no training can give again
MOVED = {"book": "python -m book.press", "claims": "python -m book.ledger"}  # earlier commands, and what they are now


@dataclass(frozen=True)
class Train:
    """Train one run and print its final metrics. Under torchrun its processes share every batch."""

    config: Annotated[Config, tyro.conf.arg(name="")]  # what is trained
    device: str = "cpu"  # where: cpu, cuda, cuda:1, ...
    # folder that holds the record of each run; a run with a record is not trained again, one that was killed goes on
    # from its resume point
    records: Path | None = None
    dry_run: bool = False  # print the resolved config and what it would cost, no more

    def run(self) -> int:
        config = self.config.check()
        find_device(self.device)
        store = Records(self.records) if self.records else None
        if self.dry_run:
            print(_as_json([config]), _cost([config], store, 1), sep="\n")
            return 0
        with distributed.join_process_group(self.device) as own:
            rank, ranks = distributed.world()
            if ranks > 1 and (field := _needs_whole_batch(config)):
                raise ValueError(f"{field} looks at a whole batch, which ranks do not share: train it in one process")
            resume = store.folder / f"{config.id}.resume" if store else None
            fn = partial(train, progress=rank == 0 and sys.stderr.isatty(), resume=resume)
            record = store.get(config) if store else None
            if store and rank == 0:  # the other ranks train with it, and leave the record to it
                for _, record in scheduler.run([config], store, device=own, progress=False, fn=fn):
                    if isinstance(record, scheduler.Failure):
                        raise record.error
                resume.unlink(missing_ok=True)
            result = record["result"] if record else fn(config, device=own)
            if rank == 0:
                print(json.dumps(result["final"], indent=1))
        return 0


@dataclass(frozen=True)
class Grid:
    """Train what a chapter's grid lacks. Stop it at any moment; calling it again trains the rest."""

    chapter: tyro.conf.Positional[str]  # name of a chapter, or its number
    profile: str = "standard"  # smoke, standard or full
    engine: str = "serial"  # serial, processes:N, ray:GPUS, shard:I/OF or shard:I/OF:ENGINE
    device: str = "cpu"  # where runs are trained: cpu, cuda, cuda:1, ...
    records: Path | None = None  # folder of the records, if not the chapter's own
    dry_run: bool = False  # print the configs and what is missing would cost, no more
    status: bool = False  # print how many runs are done, missing and failed, and the seconds left, no more
    over: bool = False  # start even if the cost is above the chapter's cap
    sbatch: int = 0  # print a script for `sbatch` that runs the grid as an array of so many jobs, no more

    def run(self) -> int:
        name = grids.find_chapter(self.chapter)
        configs, cap = grids.CHAPTERS[name].configs(self.profile), grids.CHAPTERS[name].cap
        if "ray" not in self.engine and not self.sbatch:  # those run elsewhere
            find_device(self.device)
        store = grids.store(name, self.records)
        if self.sbatch:
            print(self._script(name, store.folder, scheduler.estimate(store.missing(configs), store)))
        elif self.status:
            print(_status(configs, store))
        elif self.dry_run:
            with engines.find_engine(self.engine) as entered:
                part = entered.choose(configs)
                print(_as_json(part), _cost(part, store, entered.workers), f"The cap is {cap:g} core-hours.", sep="\n")
        else:
            cap = math.inf if self.over else cap
            outcomes = dict(scheduler.run(configs, store, self.engine, device=self.device, cap=cap))
            print(_status(configs, store))
            return 1 if any(isinstance(outcome, scheduler.Failure) for outcome in outcomes.values()) else 0
        return 0

    def _script(self, name: str, folder: Path, seconds: float) -> str:
        """A job array of which each job trains one shard; twice the estimated time, in whole hours, is its limit."""
        cores = int(self.engine.partition(":")[2]) if self.engine.startswith("processes") else 1
        inner = "" if self.engine == "serial" else f":{self.engine}"
        lines = [
            "#!/bin/bash",
            f"#SBATCH --job-name=rotvq-{name}",
            f"#SBATCH --array=0-{self.sbatch - 1}",
            f"#SBATCH --cpus-per-task={cores}",
            *["#SBATCH --gpus-per-task=1"] * self.device.startswith("cuda"),
            f"#SBATCH --time={math.ceil(2 * seconds / 3600 / self.sbatch / cores) or 1}:00:00",
            "#SBATCH --output=%x-%a.log",
            f'srun python -m rotvq grid {name} --profile {self.profile} --device {self.device} --records "{folder}" '
            f'{"--over " * self.over}--engine "shard:$SLURM_ARRAY_TASK_ID/{self.sbatch}{inner}"',
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Verify:
    """Train recorded runs again and compare, by the rule that each line names; exit with 1 where one differs.

    Without --sample every record made by other code than today's is decided: one run of each code path is trained, and
    the records of that path are restamped with the rule if it agrees, else marked stale.
    """

    sample: int | None = None  # compare so many records, drawn at random, and mark none
    records: Path | None = None  # folder of a chapter's records or of all chapters', if not the book's own
    engine: str = "serial"  # serial, processes:N, ray:GPUS
    device: str = "cpu"  # where runs are trained
    reference: Path | None = None  # folder of runs that the code before made here, compared in place of the records

    def run(self) -> int:
        if self.sample is not None and self.sample < 1:
            raise ValueError(f"sample is {self.sample}: it must be at least 1")
        if self.sample is not None and self.reference:
            raise ValueError("a sample is compared with the records themselves: leave out --sample or --reference")
        folder = self.records or grids.stores_folder()
        trained = sorted(path for path in folder.glob("*") if path.is_dir() and path.name not in TIMES)
        stores = [store for store in map(Records, [folder, *trained]) if store.all()]
        if not stores:
            raise ValueError(f"there is no record in {folder}")
        if self.sample is None:
            reference = Records(self.reference) if self.reference else None
            verdicts = verify.recheck_unverified(stores, self.engine, reference, device=self.device)
        else:
            verdicts = verify.retrain(verify.sample(stores, self.sample), self.engine, device=self.device)
        status = 0
        for store, (config, rule, differences) in verdicts:
            status = 1 if differences else status
            verdict = "; ".join(differences[:3]) or rule
            print(f"{store.folder.name} {config.id} {config.estimator} seed {config.seed}: {verdict}", flush=True)
        print(verify.summary(stores))
        return status


def _needs_whole_batch(config: Config) -> str | None:
    """What of a run looks at all latents of a batch without a reduction over ranks: another run on each of them."""
    if ablations := [name for name in VQ_ONLY if name in config.changed]:
        return ablations[0]
    if ESTIMATORS[config.estimator].pooled:
        return f"estimator {config.estimator!r}"
    return f"quantizer {config.quantizer!r}" if config.quantizer == "dynamic" else None


def _as_json(configs: Sequence[Config]) -> str:
    """The one config, or all in one: a field that varies shows its values."""
    columns = {name: list(dict.fromkeys(getattr(config, name) for config in configs)) for name in FIELDS}
    fields = {name: values[0] if len(values) == 1 else values for name, values in columns.items()}
    return json.dumps({"id": configs[0].id, **fields} if len(configs) == 1 else fields)


def _cost(configs: Sequence[Config], store: Records | None, workers: int) -> str:
    missing = store.missing(configs) if store else configs
    seconds = scheduler.estimate(missing, store)
    minutes = seconds / 60 / max(1, min(workers, len(missing)))
    cost = f"about {minutes:.1f} minutes on {workers} worker{'s' * (workers != 1)}, {seconds / 3600:.2f} core-hours."
    return f"{len(missing)} of {len(configs)} runs missing: {cost}"


def _status(configs: Sequence[Config], store: Records) -> str:
    states = Counter(map(store.status, configs))
    missing = store.missing(configs)
    kinds = ", ".join(f"{count} {state}" for state, count in states.items() if state != "missing")
    failed = sum(store.failure(config).exists() for config in missing)
    done = f"{len(configs) - len(missing)} of {len(configs)} runs done" + (f" ({kinds})" if kinds else "")
    left = f"about {scheduler.estimate(missing, store):.0f} core-seconds left"
    return f"{store.folder.name}: {done}, {len(missing)} missing, {failed} of them failed, {left}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. What is refused before any training is said in a sentence, without a traceback: status 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(format="%(message)s")
    try:
        if argv and argv[0] in MOVED:
            raise ValueError(f"rotvq {argv[0]} is now {MOVED[argv[0]]}, in a checkout of the book")
        command = tyro.extras.subcommand_cli_from_dict(
            {"train": Train, "grid": Grid, "verify": Verify},
            prog="python -m rotvq",
            description=__doc__,
            args=argv,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
        return command.run()
    except (ValueError, LookupError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: what has ended is recorded; the same command trains the rest", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
