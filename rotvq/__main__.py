"""Train runs, fill the grid of a chapter, verify and compare records: ``python -m rotvq COMMAND --help``."""

import ast
import io
import json
import logging
import math
import os
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro

from rotvq.analysis import compare
from rotvq.quantizers import distributed
from rotvq.quantizers.estimators import Estimator
from rotvq.runs import code_path, engines, grids, rehearsal, scheduler, verify
from rotvq.runs.records import RecordError, Records, read_any
from rotvq.training import files, own
from rotvq.training.ablations import VQ_ONLY
from rotvq.training.config import FIELDS, SCHEMA, Config
from rotvq.training.train import find_device, train

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
        self._check_seed_and_device()
        store = Records(self.records) if self.records else None
        if self.dry_run:
            print(_as_json([config]), _cost([config], store, 1), sep="\n")
            return 0
        if store:
            store.prepare()
        with distributed.join_process_group(self.device) as device:
            rank, ranks = distributed.world()
            if ranks > 1 and (field := _needs_whole_batch(config)):
                raise ValueError(f"{field} looks at a whole batch, which ranks do not share: train it in one process")
            resume, record = self._resume(), store.get(config) if store else None
            if not record:
                rehearsal.rehearse([config], device)
            shown = {"progress": rank == 0 and sys.stderr.isatty()}
            fn = partial(train, resume=resume, code=code_path.digest(config), **shown)
            if store and rank == 0:  # the other ranks train with it, and leave the record to it
                for _, record in scheduler.run([config], store, device=device, progress=False, fn=fn):
                    if isinstance(record, scheduler.Failure):
                        raise record.error
                resume.unlink(missing_ok=True)
            result = record["result"] if record else fn(config, device=device)
            if rank == 0:
                print(json.dumps(result["final"], indent=1))
        return 0

    def _check_seed_and_device(self) -> None:
        least, most = grids.SEED
        if not least <= self.config.seed <= most:
            raise ValueError(f"seed is {self.config.seed}: it must be from {least} to {most}")
        _check_device(self.device)
        if _ranks() > 1 and self.device not in ("cpu", "cuda"):
            raise ValueError(f"device is {self.device!r}: under torchrun each process takes its own, of cpu or cuda")

    def _resume(self) -> Path | None:
        return self.records / f"{self.config.id}.resume" if self.records else None

    def kept(self) -> str:
        """What is left of a run that was interrupted."""
        resume = self._resume()
        if resume is None:
            return "nothing is kept; with --records FOLDER the same command would go on from where it was"
        if not resume.exists():
            return "nothing had been trained that is not recorded"
        return f"{resume} is kept, and the same command goes on from there"


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
    sbatch: int | None = None  # print a script for `sbatch` that runs the grid as an array of so many jobs

    def run(self) -> int:
        _refuse_together(self, ("dry_run", "status", "sbatch"), ("over", "status"), ("over", "dry_run"))
        name = grids.find_chapter(self.chapter)
        configs, cap = grids.CHAPTERS[name].configs(self.profile), grids.CHAPTERS[name].cap
        engine = engines.find_engine(self.engine)
        if "ray" not in self.engine and self.sbatch is None:  # those run elsewhere
            _check_device(self.device)
        store = grids.store(name, self.records)
        if self.sbatch is not None:
            self._check_sbatch(len(configs))
            store.prepare()
            print(self._script(name, store.folder, scheduler.estimate(store.missing(configs), store)))
        elif self.status or self.dry_run:
            with engine as entered:
                part, workers = entered.choose(configs), entered.workers
            if self.status:
                print(_status(part, store))
            elif part:
                print(_as_json(part), _cost(part, store, workers), f"The cap is {cap:g} core-hours.", sep="\n")
        else:
            cap = math.inf if self.over else cap
            outcomes = dict(scheduler.run(configs, store, engine, device=self.device, cap=cap))
            print(_status(configs, store))
            return 1 if any(isinstance(outcome, scheduler.Failure) for outcome in outcomes.values()) else 0
        return 0

    def kept(self) -> str:
        """What is left of a grid that was interrupted."""
        return "what has ended is recorded; the same command trains the rest"

    def _check_sbatch(self, runs: int) -> None:
        if not 1 <= self.sbatch <= runs:
            raise ValueError(f"sbatch is {self.sbatch}: it must be from 1 to {runs}, the runs of this grid")
        if self.engine.startswith("shard"):
            raise ValueError("sbatch makes the shards: leave out --engine shard, or name what each job runs in")
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"device is {self.device!r}: a job sees its own GPU as cuda")

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
            f"srun python -m rotvq grid {name} --profile {self.profile} --device {self.device} "
            f"--records {shlex.quote(str(folder))} {'--over ' * self.over}"
            f'--engine "shard:$SLURM_ARRAY_TASK_ID/{self.sbatch}{inner}"',
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Verify:
    """Check the digest of every record, or train recorded runs again and compare; exit with 1 where something differs.

    Alone it trains nothing. With --restamp every record made by other code than today's is decided: one run of each
    code path is trained, and the records of that path are restamped with the rule if it agrees, else marked stale.
    """

    sample: int | None = None  # train so many records again, drawn at random, compare, and mark none
    restamp: bool = False  # train one run of each code path that has changed, and mark the records of that path
    records: Path | None = None  # folder of a chapter's records or of all chapters', if not the book's own
    engine: str = "serial"  # serial, processes:N, ray:GPUS
    device: str = "cpu"  # where runs are trained
    reference: Path | None = None  # folder of runs that the code before made here, compared in place of the records

    def run(self) -> int:
        _refuse_together(self, ("sample", "reference"), ("sample", "restamp"))
        if self.sample is not None and self.sample < 1:
            raise ValueError(f"sample is {self.sample}: it must be at least 1")
        if self.engine.startswith("shard"):
            raise ValueError(f"engine is {self.engine!r}: verify decides over whole stores")
        folder = self.records or grids.stores_folder()
        if self.sample is None and not self.restamp and not self.reference:
            if (self.engine, self.device) != ("serial", "cpu"):
                raise ValueError("engine and device are for --sample, --restamp and --reference: digests train nothing")
            return self._check_digests(folder)
        stores = _stores(folder)
        if self.sample is None:
            reference = Records(self.reference) if self.reference else None
            if reference and not reference.all():
                raise ValueError(f"there is no record in {self.reference}")
            for store in stores:
                store.prepare()
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

    def _check_digests(self, folder: Path) -> int:
        faults, others = [], 0
        paths = sorted(folder.rglob("*.json"))
        for path in paths:
            try:
                is_run, in_store = read_any(path).get("schema") == SCHEMA, len(path.relative_to(folder).parts) <= 2
                others += not (is_run and in_store)
            except RecordError as error:
                faults.append(str(error))
        if faults:
            print(*faults, f"{len(faults)} of {len(paths)} records do not check", sep="\n")
            return 1
        stores = _stores(folder, least=0 if others else 1)
        print(f"{len(paths)} digests checked, {others} of other kinds or not in a chapter's folder")
        print(verify.summary(stores))
        return 0

    def kept(self) -> str:
        """What is left of a verification that was interrupted."""
        if self.restamp or self.reference:
            return "what was decided is in the records; the same command decides the rest"
        return "no record was changed"


@dataclass(frozen=True)
class Compare:
    """What differs between two stores, or between the arms of one: in configs and in results, paired by seed."""

    records: tyro.conf.Positional[Path]  # folder of records: what is compared with
    other: tyro.conf.Positional[Path | None] = None  # folder of records that are compared with these
    # of one folder: fields of the runs that the others are compared with, such as estimator=ste gamma=0.25
    against: tuple[str, ...] = ()
    metrics: tuple[str, ...] = compare.METRICS  # of the end of a run

    def run(self) -> int:
        if self.other and self.against:
            raise ValueError("against chooses among the runs of one folder: leave it out, or the second folder")
        if len({*self.metrics}) < max(1, len(self.metrics)):
            said = "is empty" if not self.metrics else "has one twice"
            raise ValueError(f"metrics {said}: leave it out, or name one such as {', '.join(compare.METRICS)}")
        if self.other and self.other.resolve() == self.records.resolve():
            raise ValueError(f"both folders are {self.other}: name another, or one alone to compare its arms")
        stores = [Records(folder) for folder in (self.records, self.other or self.records)]
        for store in stores:
            if not store.all():
                raise ValueError(f"there is no record in {store.folder}")
        sides = [store.all() for store in stores]
        if self.other is None:
            named = list(map(_field_and_value, self.against))
            if len(dict(named)) < len(named):
                raise ValueError("against names a field twice")
            sides = compare.split(stores[0], dict(named))
        places = [[(store, config) for config in side] for store, side in zip(stores, sides)]
        print("\n".join(compare.report(*places, self.metrics)))
        return 0

    def kept(self) -> str:
        """What is left of a comparison that was interrupted."""
        return "no record was changed"


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: everything is left in order, as after Ctrl-C."""


def _terminate(*_) -> None:
    raise Terminated


def _hang_up(*_) -> None:
    signal.raise_signal(signal.SIGTERM)  # which a run holds back until it has written its resume point


def _field_and_value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    fields = [field for field in FIELDS if field != "seed"]
    if not equals or name not in fields:
        raise ValueError(f"against {text!r}: it takes FIELD=VALUE with a field of {', '.join(fields)}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _ranks() -> int:
    """How many processes torchrun started; ValueError where the environment is none that it makes."""
    given = {name: os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT")}
    if given["WORLD_SIZE"] == "1" or "WORLD_SIZE" not in os.environ:
        return 1
    wrong = [name for name, value in given.items() if not (value.isascii() and value.isdecimal())]
    if wrong or not int(given["RANK"]) < int(given["WORLD_SIZE"]) or "MASTER_ADDR" not in os.environ:
        said = ", ".join(f"{name} is {value!r}" for name, value in given.items())
        raise ValueError(f"{said}: let torchrun --nproc-per-node N -m rotvq train set them, or unset WORLD_SIZE")
    return int(given["WORLD_SIZE"])


def _check_device(name: str) -> None:
    """ValueError where a device is not there; torch would take cpu:3 for the CPU."""
    find_device(name)
    if name.startswith("cpu:"):
        raise ValueError(f"device is {name!r}: the CPU has no number")


def _refuse_together(command: Any, *groups: Sequence[str]) -> None:
    """ValueError where two options of a group are given, of which each would leave the other without effect."""
    defaults = {field.name: field.default for field in fields(command)}
    for group in groups:
        given = [f"--{name.replace('_', '-')}" for name in group if getattr(command, name) != defaults[name]]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other: leave out one")


def _stores(folder: Path, least: int = 1) -> list[Records]:
    """The stores in a folder that hold runs, which is one itself or holds one a chapter."""
    stores = [Records(path) for path in (folder, *sorted(folder.glob("*"))) if path.is_dir() and _holds_runs(path)]
    if len(stores) < least:
        raise ValueError(f"there is no record in {folder}")
    return stores


def _holds_runs(folder: Path) -> bool:
    """Whether the records in a folder are of runs: others hold times, or what was trained outside this module."""
    first = next(iter(sorted(folder.glob("*.json"))), None)
    return first is not None and read_any(first).get("schema") == SCHEMA


def _needs_whole_batch(config: Config) -> str | None:
    """What of a run looks at all latents of a batch without a reduction over ranks: another run on each of them."""
    if ablations := [name for name in VQ_ONLY if name in config.changed]:
        return ablations[0]
    member = own.estimator(config.estimator)
    if isinstance(member, Estimator) and member.pooled:
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
    argv = [_at_home(word) for word in (sys.argv[1:] if argv is None else argv)]
    logging.basicConfig(format="%(message)s")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file, of which the locale may have no arrow
        sys.stdout.reconfigure(errors="backslashreplace")
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, _terminate)}
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # by nohup
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, _hang_up)
    command = None
    try:
        files.check_environment()
        _check_words(argv)
        if argv and argv[0] in MOVED:
            raise ValueError(f"rotvq {argv[0]} is now {MOVED[argv[0]]}, in a checkout of the book")
        _refuse_fields_of_a_grid(argv)
        command = tyro.extras.subcommand_cli_from_dict(
            {"train": Train, "grid": Grid, "verify": Verify, "compare": Compare},
            prog="rotvq",
            description=__doc__,
            args=argv,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
        if not isinstance(command, Train) and _ranks() > 1:
            raise ValueError(f"{argv[0]} runs in one process: leave out torchrun, which is for train")
        return command.run()
    except (ValueError, LookupError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SystemExit as stop:
        if command is None:  # tyro has said why
            raise
        print(f"error: a part of your own ended the process, by {stop!r}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"interrupted: {command.kept() if command else 'nothing was begun'}", file=sys.stderr)
        return 143 if isinstance(stop, Terminated) else 130
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _refuse_fields_of_a_grid(argv: Sequence[str]) -> None:
    """ValueError where a grid is given fields of its runs, which the notebook of the chapter alone takes."""
    options = [word.partition("=")[0] for word in argv if word.startswith("--")]
    names = {name for field in FIELDS for name in (field, f"{field}s")}
    own = [word for word in options if word.removeprefix("--").replace("-", "_") in names]
    if argv[:1] == ["grid"] and own:
        given = "{steps: 100, seeds: 2, engine: 'processes:2', records: mine}"
        raise ValueError(
            f"a grid is the whole plan of a chapter and has no {', '.join(own)}; for a smaller one run its notebook, "
            f'as in papermill notebooks/12_gamma.ipynb out.ipynb -y "{given}", and 29_your_experiment for other arms'
        )


def _at_home(word: str) -> str:
    """A word with the home folder in place of ~, which a shell leaves alone behind =."""
    option, equals, value = word.rpartition("=")
    return option + equals + os.path.expanduser(value) if not option or option.startswith("--") else word


def _check_words(argv: Sequence[str]) -> None:
    """ValueError where an option has an empty value, or comes twice, of which the last would win."""
    options = Counter(word.partition("=")[0].replace("_", "-") for word in argv if word.startswith("--"))
    if "" in argv or any(word.startswith("--") and word.endswith("=") for word in argv):
        raise ValueError("an option has an empty value: leave it out")
    if twice := [name for name, count in options.items() if count > 1]:
        raise ValueError(f"{twice[0]} is given twice: once, with all its values")


if __name__ == "__main__":
    sys.exit(main())
