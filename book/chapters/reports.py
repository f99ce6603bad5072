"""What others report of the rotation against STE, and which setting of this book each report is nearest to.

A report is placed by what is known of how its codes move, start and are looked up. What it leaves open is not guessed:
it is compared in every update and from every start that this book runs. Images, networks and further losses are those
of this book, so a sign that agrees is no proof.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from book.chapters.hypotheses import higher, lower, within
from book.chapters.recommend import SHARE, Entry, known
from book.chapters.settings import COLUMNS, EMA, HOME, REVIVAL
from book.ledger.evidence.paper import TABLES
from rotvq.analysis.stats import Paired
from rotvq.analysis.study import Runs, Study
from rotvq.analysis.wording import ratio_text
from rotvq.runs.grids import CHAPTERS, PAIR, Block, Fields

#: the grids that reports are compared with, beside that of chapter 10
BLOCKS = [
    block for name in ("11_initialisation", "15_codebook", "16_rivals") for block in CHAPTERS[name].blocks.values()
]
METRICS = {"test_mse": "", "test_usage": "usage, ", "test_quantisation_error": "absolute quantisation error, "}
AGREES, DISAGREES, DEPENDS, OPEN, ABSENT = "agrees", "disagrees", "depends", "not settled", "not run"
WORDS = (AGREES, DISAGREES, DEPENDS, OPEN, ABSENT)
RULES = {"lower": lower, "higher": higher, "same": within(SHARE)}  # of the ratio rotation / STE
NOT_GIVEN = "not given"
SLOW, FAST = "EMA 0.99, counts from 1", "EMA 0.8, counts from 0"
UPDATES = {"gradient": {}, SLOW: EMA[SLOW], FAST: EMA[FAST]}  # where a report does not say how its codes move
KNOWN = {  # the other ways in which codes move or are looked up, with a cell here
    "gradient, revival": REVIVAL,
    "normalised": {"lookup": "normalised"},
    "SimVQ": {"quantizer": "simvq"},
    "each its own": {},  # the arms say it
}
OWN_START = {"its own start": {"init": "normal"}}  # of SimVQ


@dataclass(frozen=True)
class Report:
    """One comparison that was reported.

    Args:
        name: of the row.
        source: who reports it, in MyST.
        says: what is said, in a few words.
        setting: what is known of how its codes move and start, or, without a cell, what this book has not run.
        said: of the ratio rotation / STE: a key of `RULES`.
        metric: the one here that is nearest to the reported one.
        update: how the codes move: a key of `UPDATES` or `KNOWN`, `NOT_GIVEN`, or None: there is no cell of it here.
        start: how they start: a key of `COLUMNS` or `OWN_START`, or `NOT_GIVEN`.
        arms: the two that are compared, where the estimator is not all that differs.
        read: "source", or "summary" where only what others write about it was read.
    """

    name: str
    source: str
    says: str
    setting: str
    said: str = ""
    metric: str = "test_mse"
    update: str | None = None
    start: str = NOT_GIVEN
    arms: Mapping[str, Fields] = field(default_factory=lambda: PAIR)
    read: str = "source"

    def __str__(self) -> str:
        return f"**{self.name}**, {self.source}: {self.says}"

    def cells(self) -> dict[str, Fields]:
        """The settings here that it may have been run in, by name; none where this book has no cell."""
        if self.update is None:
            return {}
        updates = UPDATES if self.update == NOT_GIVEN else {self.update: (UPDATES | KNOWN)[self.update]}
        starts = COLUMNS if self.start == NOT_GIVEN else {self.start: (COLUMNS | OWN_START)[self.start]}
        both = itertools.product(updates.items(), starts.items())
        return {f"{update}, {start}": moves | codes for (update, moves), (start, codes) in both}


@dataclass(frozen=True)
class Placed:
    """A report, and the comparison in each of its cells."""

    report: Report
    entries: Mapping[str, Entry]

    @property
    def fits(self) -> dict[str, str]:
        """Of every cell that was run: agrees, disagrees or not settled."""
        return {cell: fit(self.report.said, one.pair) for cell, one in self.entries.items() if one.pair}

    @property
    def word(self) -> str:
        """One word for all cells where it is the same in each; else 'depends'; 'not run' where none was."""
        words = set(self.fits.values()) or {ABSENT}
        return words.pop() if len(words) == 1 else DEPENDS

    @property
    def verdict(self) -> str:
        """The word, and on what it depends: 'depends on the start'."""
        report = self.report
        left = [what for what in ("update", "start") if getattr(report, what) == NOT_GIVEN]
        return f"{DEPENDS} on {' and '.join(f'the {what}' for what in left)}" if self.word == DEPENDS else self.word

    @property
    def here(self) -> str:
        """What came out here: the ratio of one cell, of each of three starts, or how many of more cells say what.

        Empty where nothing was run.
        """
        run, what = {cell: one.pair for cell, one in self.entries.items() if one.pair}, METRICS[self.report.metric]
        if not run:
            return ""
        if len(run) == 1:
            ((cell, pair),) = run.items()
            return f"{what}{cell}: {ratio_text(pair)}"
        if len(run) <= len(COLUMNS):
            return what + "; ".join(f"{cell.rpartition(', ')[2]}: {ratio_text(pair)}" for cell, pair in run.items())
        said, means = [*self.fits.values()], [pair.mean for pair in run.values()]
        numbers = ", ".join(f"{word} in {said.count(word)}" for word in (AGREES, DISAGREES, OPEN) if word in said)
        return f"{what}{len(run)} settings, {min(means):.2g} to {max(means):.2g}: {numbers}"


def fit(said: str, pair: Paired) -> str:
    """Whether a ratio bears out what is said of it; not settled where its interval, or a run that diverged, leaves it.

    >>> from rotvq.analysis.stats import ratio
    >>> [fit(said, ratio([0.5, 0.52, 0.54], [1.0, 1.0, 1.0])) for said in ("lower", "higher", "same")]
    ['agrees', 'disagrees', 'disagrees']
    """
    return {True: AGREES, False: DISAGREES, None: OPEN}[RULES[said](pair)]


def place(runs: Runs, report: Report) -> Placed:
    """Compare a report in each of its cells: on fresh seeds once they are as many as those that explore."""
    cells = report.cells()
    reference, compared = report.arms
    seeds = sorted({config.seed for config in runs.planned})
    block = Block(report.arms, cells, seeds)
    if not cells or not set(runs.planned).intersection(runs.expand(block)):
        return Placed(report, {cell: Entry(None) for cell in cells})
    study = Study(runs, block)
    return Placed(report, {cell: known(study, cell, report.metric, arm=compared, against=reference) for cell in cells})


def place_all(runs: Runs) -> list[Placed]:
    """Every report for which this book has a cell, over the runs of chapter 10 and of `BLOCKS` alone.

    So a page that loads more chapters, which may have fresh seeds of the same cells, says the same.
    """
    wanted = {config for block in (*CHAPTERS[HOME].blocks.values(), *BLOCKS) for config in runs.expand(block)}
    kept = Runs([c for c in runs.planned if c in wanted], runs.records, runs.published, runs.expand)
    return [place(kept, report) for report in REPORTS if report.update is not None]


def counts(placed: Iterable[Placed]) -> dict[str, int]:
    """How many reports there are, how many are placed, and how many of these say what; for the text of a page."""
    words = [one.word for one in placed]
    found = {word: words.count(word) for word in WORDS}
    return {"all": len(REPORTS), "placed": len(words), "left": len(REPORTS) - len(words)} | found


def opposed(placed: Iterable[Placed]) -> list[str]:
    """The settings in which errors are reported both to rise and to fall under the rotation."""
    said: dict[str, set[str]] = {}
    for one in placed:
        if len(one.entries) == 1 and one.report.metric == "test_mse":
            said.setdefault(*one.entries, set()).add(one.report.said)
    return [cell for cell, words in said.items() if {"lower", "higher"} <= words]


def compared(placed: Iterable[Placed]) -> str:
    """The table of what was placed, by what came out, in MyST; last, whose figures were read in summaries."""
    order = sorted(placed, key=lambda one: WORDS.index(one.word))
    rows = [(f"{one.report}. *{one.report.setting}*", f"**{one.verdict}**. {one.here}".strip()) for one in order]
    second_hand = dict.fromkeys(report.source for report in REPORTS if report.read == "summary")
    note = f"Read in what others write of it, not in the paper: the figures of {', '.join(second_hand)}."
    return f"{_table(('report, and *its setting*', 'fit, and rotation / STE here'), (55, 45), rows)}\n\n{note}"


def left_out() -> str:
    """The table of the reports for which this book has no cell, in MyST."""
    left = [report for report in REPORTS if report.update is None]
    rows = [(str(report), report.setting) for report in left]
    return _table(("report", "what no grid here has"), (65, 35), rows)


def _table(head: Sequence[str], widths: Sequence[int], rows: Iterable[Sequence[str]]) -> str:
    lines = ["* - " + "\n  - ".join(row) for row in (head, *rows)]
    sizes = " ".join(map(str, widths))
    return "\n".join(["```{list-table}", ":header-rows: 1", f":widths: {sizes}", "", *lines, "```"])


def _losses(*names: str) -> str:
    """The paper's validation losses in some settings, the first in words."""
    (ste, rotation), *others = ([row[2] for row in TABLES[name]] for name in names)
    more = "".join(f"; {a:.3f}, {b:.3f}" for a, b in others)
    return f"validation loss {ste:.3f} under STE, {rotation:.3f} under the rotation{more}"


def _changes(tables: str) -> str:
    """By how much the rotation changes the paper's validation loss, in the settings of some of its tables."""
    found = [100 * (rotation[2] / ste[2] - 1) for name, (ste, rotation) in TABLES.items() if name[0] in tables]
    return f"validation loss {max(found):+.0f} to {min(found):+.0f} %, {len(found)} settings".replace("-", "−")


def _library(kind: str, number: int) -> str:
    return (
        f"[vector-quantize-pytorch, #{number}](https://github.com/lucidrains/vector-quantize-pytorch/{kind}/{number})"
    )


PAPER, DIVEQ = "{cite}`fifty2025rotation`", "{cite}`vali2026diveq`"
RESIDUAL = "a residual quantiser ({doc}`30_residual_codec` asks)"
REPORTS = [
    Report(
        "The paper, VQ-VAE, $d = 32$",
        f"Table 1 of {PAPER}",
        _losses("1 Euclid 1024"),
        "EMA 0.8, counts from 0, short codes {cite}`fifty2024code`",
        "higher",
        update=FAST,
        start="uniform 1/K",
    ),
    Report("The paper, VQ-VAE, $d = 3$", f"Table 1 of {PAPER}", _losses("1 Euclid 8192"), "EMA 0.8 with $d = 3$"),
    Report(
        "The paper, VQ-VAE, cosine",
        f"Table 1 of {PAPER}",
        _losses("1 cosine 1024", "1 cosine 8192"),
        "EMA with a cosine codebook",
    ),
    Report(
        "The paper, VQGANs",
        f"Tables 2, 3 of {PAPER}",
        _changes("23"),
        "gradient, uniform $1/K$; perceptual and adversarial loss",
        "lower",
        update="gradient",
        start="uniform 1/K",
    ),
    Report(
        "The paper, transformers",
        f"Tables 4, 5 of {PAPER}",
        _changes("45"),
        "gradient, latents and codes normalised",
        "lower",
        update="normalised",
        start="uniform 1/K",
    ),
    Report(
        "The article",
        "{cite}`su2024rotation`",
        "reconstruction loss rises, codebook loss falls",
        "gradient, codes much shorter than latents",
        "higher",
        update="gradient",
        start="uniform 1/K",
    ),
    Report(
        "The library's example",
        _library("pull", 164),
        "usage from some 25 % to 100 %",
        "EMA 0.8, short codes; usage of a batch",
        "higher",
        "test_usage",
        update=FAST,
        start="uniform 1/K",
    ),
    Report(
        "A user of the library",
        _library("issues", 167),
        "much worse, image compression",
        "rotation with EMA 0.8, STE with EMA 0.99; start not given",
        "higher",
        update="each its own",
        arms={"STE": PAIR["STE"] | EMA[SLOW], "rotation": PAIR["rotation"] | EMA[FAST]},
    ),
    Report(
        "A user of SimVQ",
        _library("issues", 177),
        "a large commitment loss",
        "SimVQ, a two-layer map",
        "higher",
        "test_quantisation_error",
        update="SimVQ",
        start="its own start",
    ),
    Report("A user of the library", _library("issues", 170), "no difference, few codes in use", f"AdamW; {RESIDUAL}"),
    Report(
        "A user of the library",
        _library("issues", 205),
        "40 to 90 % of the codes die, close to none if replaced",
        RESIDUAL,
    ),
    Report(
        "A user of the library", _library("issues", 223), "diverges, STE does not", "codes are sampled, not the nearest"
    ),
    Report(
        "DiVeQ, VQGAN",
        DIVEQ,
        "CelebA-HQ, 9 bits: FID 5.57 under STE, 7.55 under the rotation",
        "gradient, uniform in $(0, 1/K)$, unused codes replaced",
        "higher",
        update="gradient, revival",
        start="uniform 1/K",
        read="summary",
    ),
    Report(
        "DiVeQ, VQ-VAE",
        DIVEQ,
        "AFHQ, 11 bits: PSNR 20.0 dB under STE, 21.5 dB under the rotation; LPIPS worse",
        "gradient, uniform in $(0, 1/K)$, unused codes replaced",
        "lower",
        update="gradient, revival",
        start="uniform 1/K",
        read="summary",
    ),
    Report(
        "GigaTok",
        "{cite}`xiong2025gigatok`",
        "used in all tokenizers, its effect limited",
        "gradient, latents and codes normalised, uniform",
        "same",
        update="normalised",
        start="uniform 1/K",
    ),
    Report(
        "vqrotate, first run",
        "{cite}`develepo2026vqrotate`",
        "speech: usage 20.0 % under STE, 32.9 % under the rotation",
        "512 codes; update and start not given",
        "higher",
        "test_usage",
        update=NOT_GIVEN,
    ),
    Report(
        "vqrotate, second run",
        "{cite}`develepo2026vqrotate`",
        "MSE 13.9 under STE, 15.3 under the rotation; usage equal",
        "512 codes; update and start not given",
        "higher",
        update=NOT_GIVEN,
    ),
    Report(
        "MeshLex, SimVQ",
        "{cite}`pthahnix2026meshlex`",
        "usage from 99.5 % to 2.2 % in 7 epochs, under STE it stays",
        "SimVQ on patches of meshes",
        "lower",
        "test_usage",
        update="SimVQ",
        start="its own start",
    ),
    Report(
        "StableVQ",
        "{cite}`tang2026stablevq`",
        "rFID 3.64 against 2.79 of its dynamic STE; plain STE not in the table",
        "all codes moved by one projection, unused ones given targets",
        read="summary",
    ),
    Report(
        "Drifting VQ-VAE",
        "{cite}`tesvaraj2026drifting`",
        "CIFAR-10, three seeds: PSNR 24.0 dB under STE, 23.2 dB under the rotation",
        "codes that repel each other, on the sphere",
    ),
    Report(
        "Spotlight-TTS",
        "{cite}`kim2025spotlight`",
        "speech: without the rotation 13.2 in place of 12.6 % word errors, pitch error 9.4 in place of 8.3",
        RESIDUAL,
        read="summary",
    ),
    Report(
        "AdaSID, its baselines",
        "{cite}`pan2026adasid`",
        "items of a shop: recall at 5 0.0197 under STE, 0.0221 under the rotation",
        RESIDUAL,
        read="summary",
    ),
]
