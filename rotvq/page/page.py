"""`Page`: what a notebook calls to check its parameters, to load its runs, and to say and show what they give."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from rotvq.analysis.stats import Paired
from rotvq.analysis.study import Runs, Study
from rotvq.analysis.wording import NO_VERDICT, ratio_sentence, seed_ranges, slug
from rotvq.page import parameters
from rotvq.page.figures import Figure, Line, glue, style, used
from rotvq.runs import rehearsal, scheduler
from rotvq.runs.grids import CHAPTERS, FRESH, FULL, Block, Chapter, store
from rotvq.runs.records import Records
from rotvq.training.config import Config

# parameters that choose and train the runs
LOADED = ("profile", "records", "engine", "device", "cap", "steps", "seeds", "data", "gamma")
CAP = 0.25  # core-hours that the runs of a page without a chapter may take


class Page:
    """One notebook as a page of the book.

    The second code cell of a notebook makes it, which checks the parameters, takes the style of the book's figures and
    one thread, on which a page gives the same numbers on every machine::

        page = Page("12_gamma", globals())

    Args:
        name: The notebook's name; of an experiment also that of its chapter in :data:`.CHAPTERS`.
        values: ``globals()`` of the notebook, with nothing assigned yet but its parameters.
        allowed: What a parameter may be where it is not what :data:`.parameters.RULES` says.

    Raises:
        ValueError: A parameter is unknown or has a value that it cannot have.
    """

    runs: Runs  # from `load` on
    blocks: dict[str, Block]  # of the page's chapter, as :meth:`change` leaves them

    def __init__(self, name: str, values: Mapping[str, Any], **allowed: Any):
        parameters.check(values, **allowed)
        self.name, self.parameters = name, {name: values[name] for name in values.get("__annotations__", {})}
        self.smoke = self.parameters.get("profile") == "smoke"
        self.blocks = dict(CHAPTERS[name].blocks) if name in CHAPTERS else {}
        plt.rcParams.update(style())
        torch.set_num_threads(1)
        pd.set_option("display.max_colwidth", None)  # tables show their cells whole

    def load(self, chapter: str = "", *, also: Sequence[Block] = (), **changes: Any) -> Runs:
        """The runs of the page's own chapter, or of another, by :func:`load_or_train` with the page's parameters.

        What they are and cost is glued: see :func:`cost`.
        """
        chosen = {parameter: self.parameters[parameter] for parameter in LOADED if parameter in self.parameters}
        blocks = CHAPTERS[chapter].blocks if chapter else self.blocks
        lists = {name.removesuffix("s"): value for name, value in self.parameters.items() if isinstance(value, list)}
        self.runs = load_or_train(chapter or self.name, blocks=blocks, also=also, given=lists, **chosen | changes)
        self.runs.smoke = self.smoke
        self.say("", cost(self.runs))
        return self.runs

    def study(self, *blocks: str | Block) -> Study:
        """The runs of the page that have the arms and cells of some blocks, those of its own chapter by name."""
        return Study(self.runs, *(self.block(block) if isinstance(block, str) else block for block in blocks))

    def block(self, name: str, **changes: Any) -> Block:
        """A block of the page's chapter, with other arms, cells, seeds or base."""
        return replace(self.blocks[name], **changes)

    def change(self, *names: str, **changes: Any) -> None:
        """Give these blocks of the page's chapter, or all of them, other arms, cells, seeds or base, before `load`."""
        for name in names or self.blocks:
            self.blocks[name] = self.block(name, **changes)

    def drop(self, *names: str) -> None:
        """Leave these blocks of the page's chapter out, before `load`."""
        for name in names:
            del self.blocks[name]

    def say(self, name: str, value: Any) -> None:
        """Glue a value under a name for the text, or each value of a mapping under ``name-slug`` of its key.

        A comparison is said as by :func:`.ratio_sentence`, None as 'not run', anything else as it is.

        Raises:
            ValueError: Two values would have one name.
        """
        values = value if isinstance(value, Mapping) else {"": value}
        names = {key: "-".join(filter(None, (name, slug(key)))) for key in values}
        if len(set(names.values())) < len(names):
            raise ValueError(f"two of these have one name: {', '.join(sorted(names.values()))}")
        for key, one in values.items():
            glue(names[key], ratio_sentence(one) if one is None or isinstance(one, Paired) else one)

    def show(self, name: str, figure: Figure | plt.Figure | Sequence[plt.Figure], alt: str = "") -> None:
        """Glue a figure; of one that matplotlib drew ``alt`` says what it shows."""
        glue(name, figure if isinstance(figure, Figure) else Figure(figure, alt))

    def holds(self, sentences: Callable[[], Iterator[tuple]]) -> None:
        """Hold sentences of the text to what they rest on, where the page shows the published grid.

        It decorates a function that yields each sentence with one condition or more. The function is called at once;
        on any other grid, of which the text does not speak, it is not called::

            @page.holds
            def the_sign():
                yield "From uniform codes the rotation wins, from k-means it loses.", lower(uniform), higher(fitted)

        Raises:
            AssertionError: Names every sentence of which a condition is not true.
            ValueError: A sentence has no condition, or one that is no truth value, such as a list, which always holds.
        """
        if not self.runs.published:
            return
        wrong = []
        for sentence, *conditions in sentences():
            if not conditions or not all(isinstance(one, bool | np.bool_ | None) for one in conditions):
                raise ValueError(f"this needs conditions that are true, false or None (open): {sentence}")
            if not all(conditions):
                wrong.append(sentence)
        if wrong:
            raise AssertionError("the records say otherwise: " + " | ".join(wrong))

    def hypotheses(self, rows: Mapping[str, tuple[str | None, str]]) -> pd.DataFrame:
        """The table of a page's hypotheses, from what was measured of each (None: nothing) and what became of it.

        A smoke run decides none.
        """
        rows = {name: (measured, NO_VERDICT if self.smoke else word) for name, (measured, word) in rows.items()}
        return pd.DataFrame.from_dict(rows, "index", columns=["measured", "outcome"]).fillna("")


def cost(runs: Runs) -> dict[str, Any]:
    """What the shown runs are and cost, by the names under which a page glues it; ``cost`` says all of it."""
    final, seeds = runs.final, runs.final.seed.unique().tolist()
    states = ", ".join(f"{count} {status}" for status, count in final.status.value_counts().items())
    lost = int(final.diverged_at.notna().sum())
    standing = f"of the records, {states}; an unverified one was made before the code last changed"
    if set(final.status) == {"verified"}:
        standing = "all records are verified"
    said = {
        "coverage": runs.coverage,
        "runs": len(final),
        "explored": seed_ranges(seed for seed in seeds if seed < FRESH),
        "confirmed": seed_ranges(seed for seed in seeds if seed >= FRESH) or "none",
        "core-hours": final.seconds.sum() / 3600,
        "seconds-per-run": final.seconds.mean(),
        "standing": f"{lost or 'No'} run{'s' * (lost > 1)} diverged; {standing}.",
        "diverged": lost,
        "steps": " and ".join(f"{steps:,}" for steps in sorted(final.steps.unique())),
        "full": f"The full profile, ten seeds and {FULL['steps']:,} steps at batch {FULL['batch']} on a GPU, is the "
        "same notebook with profile: full; it has not been run.",
    }
    words = f"{runs.coverage}: {said['core-hours']:.2f} core-hours of one CPU thread each"
    words += (
        f", {said['seconds-per-run']:.0f} seconds of processor time a run, an upper bound where the machine did other"
    )
    return said | {"cost": f"{words} work meanwhile. {said['standing']}" if len(final) else f"{runs.coverage}."}


def load_or_train(
    chapter: str,
    profile: str = "standard",
    *,
    blocks: Mapping[str, Block] | None = None,
    also: Sequence[Block] = (),
    given: Mapping[str, Sequence] = MappingProxyType({}),
    records: str = "",
    engine: str = "",
    device: str = "cpu",
    cap: float | None = None,
    steps: int | None = None,
    seeds: int | None = None,
    **changes: Any,
) -> Runs:
    """The runs of a chapter's grid; what has no record is trained.

    The page as it is published is made from records: where the runs are part of the standard grid, the store is the
    committed one and holds any record, of this chapter or another, and no engine is named, nothing is trained, and
    `Runs.coverage` says how much there is. Everything else trains what is missing, and says so while it does. The page
    names the runs that it shows.

    Args:
        chapter: The name of the grid.
        profile: How large it is: see :meth:`.Chapter.configs`.
        blocks: In place of those of the chapter, from which its sentences then do not follow.
        also: Blocks of other chapters with which the page compares.
        given: Lists of the reader by field; a smoke run has every combination of them, with their values as they are.
        records: Folder of the records; empty: the committed ones.
        engine: Where runs are trained; empty: one after the other in this process.
        device: On what they are trained.
        cap: Core-hours that what is missing may take; None: as the chapter says.
        steps: Of every run; None: as the profile says.
        seeds: So many, from 0, and no others; None: as the profile says.
        changes: Replace axes of the grid, those that are neither None nor empty.

    Raises:
        ValueError: What is missing would take more than the cap; nothing has been trained then.
        RuntimeError: Names the first run that failed.
    """
    chosen = {name: value for name, value in changes.items() if value not in (None, "")}
    chosen |= {} if seeds is None else {"seed": list(range(seeds))}
    own, others = CHAPTERS.get(chapter, Chapter(CAP, {})), {f"also {i}": block for i, block in enumerate(also)}
    blocks = own.blocks if blocks is None else blocks
    as_published = repr(dict(blocks)) == repr(dict(own.blocks))  # in this order, too: the first arm is the reference
    whole = Chapter(own.cap, {**blocks, **others})

    def configs(of: Chapter, fields: Mapping[str, Any], asked: Collection[str] = ()) -> list[Config]:
        found = of.configs(profile, given, asked, **fields)
        return found if steps is None else list(dict.fromkeys(replace(config, steps=steps) for config in found))

    def expand(block: Block) -> list[Config]:
        own = {name for fields in (*block.arms.values(), *block.cells.values()) for name in fields}
        return configs(Chapter(0, {"": block}), {name: chosen[name] for name in chosen if name not in own})

    asked = [name for name, block in blocks.items() if repr(block) != repr(own.blocks.get(name))]
    planned, standard = configs(whole, chosen, asked), set(Chapter(0, {**own.blocks, **others}).configs())
    kept = store(chapter, Path(records).expanduser() if records else None)
    filled = any(any(folder.glob("*.json")) for folder in (kept.folder, *kept.neighbours))
    if records or engine or not filled or not set(planned) <= standard:
        tried = [] if as_published and "data" not in chosen else planned
        _train(planned, kept, engine or "serial", device, whole.cap if cap is None else cap, tried)
    runs = Runs(planned, kept, as_published and set(planned) == standard, expand)
    used(runs.shown)
    return runs


def _train(
    planned: Sequence[Config], kept: Records, engine: str, device: str, cap: float, tried: Sequence[Config]
) -> None:
    """Train what has no record, unless it costs more than the cap; a line of the page says how far it is.

    Of ``tried``, which nobody has trained before, a step of each kind is rehearsed.
    """
    missing = kept.missing(planned)
    if not missing:
        return
    hours = scheduler.estimate(missing, kept) / 3600
    what = f"{len(missing)} of {len(planned)} runs have no record in {kept.folder} and take about {duration(hours)}"
    if hours > cap:
        allow = f"cap: {math.ceil(10 * hours) / 10:g}"
        raise ValueError(f"{what}, over the cap of {cap:g} core-hours. {allow} in the parameters trains them")
    line, new = Line(f"{what} of one core, of a cap of {duration(cap)}."), set(tried)
    rehearsal.rehearse([config for config in missing if config in new], "cpu" if "ray" in engine else device)
    start = time.monotonic()
    for done, (config, outcome) in enumerate(scheduler.run(planned, kept, engine, device=device), start=1):
        if isinstance(outcome, scheduler.Failure):
            raise RuntimeError(f"run {config.id} failed: {outcome}")
        left = (time.monotonic() - start) / done * (len(missing) - done) / 3600
        line.say(f"{what}. {done} trained" + f", about {duration(left)} left" * (left > 0) + ".")


def duration(hours: float) -> str:
    """In words: '40 seconds', '12 minutes', '3.4 hours'."""
    if hours < 1 / 30:
        return f"{3600 * hours:.0f} seconds"
    return f"{60 * hours:.0f} minutes" if hours < 2 else f"{hours:,.1f} hours"
