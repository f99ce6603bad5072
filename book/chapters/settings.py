"""The settings that the chapters compare the rotation and STE in, by the names of the synthesis page."""

from __future__ import annotations

from collections.abc import Sequence

from rotvq.analysis.stats import Paired
from rotvq.analysis.study import Runs, Study
from rotvq.page import Page
from rotvq.runs.grids import BASELINE, CHAPTERS, MAIN, PAIR, WARM, Block, kmeans

HOME = "10_ste_vs_rotation"
SWEEPS = {  # what chapter 12 varies: its field, the values, what is set beside it
    "γ": ("gamma", (0.002, 0.01, 0.05, 0.25, 1.0, 5.0, 25.0, 125.0), {}),
    "rate": ("lr", (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), {}),
    "SGD rate": ("lr", (0.1, 0.3, 1.0), {"optimizer": "sgd"}),
}
PLAIN = "gradient, Adam"
REVIVAL = {"revival": "unused"}
EMA = {
    f"EMA {decay:g}, counts from {count:g}": {"update": "ema", "decay": decay, "initial_count": count}
    for decay, count in ((0.99, 1.0), (0.99, 0.0), (0.8, 0.0))
}
SETTINGS = {  # what else is set: the fields, the chapter that ran them
    PLAIN: ({}, HOME),
    "revival of unused codes": (REVIVAL, "11_initialisation"),
    **{name: (fields, "15_codebook") for name, fields in EMA.items()},
    "EMA and revival": ({"update": "ema"} | REVIVAL, "16_rivals"),
    "EMA 0.9 and revival": (BASELINE, "39_frontier"),
    **{f"codes × {rate:g}": ({"code_lr": rate}, "28_code_speed") for rate in (3.0, 10.0, 30.0)},
    "normalised latents and codes": ({"lookup": "normalised"}, "15_codebook"),
    "cosine lookup": ({"lookup": "cosine"}, "14_mixtures"),
    "|z| fixed by a LayerNorm": ({"norm": "latent"}, "13_which_part"),
    "K = 64": ({"codebook_size": 64}, "15_codebook"),
    "K = 2048": ({"codebook_size": 2048}, "15_codebook"),
    "d = 8": ({"dim": 8}, "15_codebook"),
    "8,000 steps": ({"steps": 8000}, HOME),
    "EMA, weight decay 0.001, 4,000 steps": ({"update": "ema", "weight_decay": 1e-3, "steps": 4000}, "17_balance_law"),
    "colour photographs": ({"data": "photographs"}, "18_photographs"),
}
COLUMNS = MAIN | WARM  # the starts that SETTINGS are crossed with
STARTS = {  # how the codes start: the fields, the chapter
    **{name: (fields, HOME) for name, fields in (COLUMNS | kmeans(0.01, 0.1, 10)).items()},
    **{
        name: (fields, "11_initialisation")
        for name, fields in ({"normal": {"init": "normal"}} | kmeans(0.3, 3)).items()
    },
    "k-means × 10, revival": (kmeans(10)["k-means × 10"] | REVIVAL, "11_initialisation"),
    "SimVQ, its own start": ({"quantizer": "simvq", "init": "normal"}, "16_rivals"),
}
SCALED = CHAPTERS["11_initialisation"].blocks["scale"].cells
CELLS = {
    **{name: fields for name, (fields, _) in STARTS.items()},
    **SCALED,
    **{f"{what}, {start}": COLUMNS[start] | fields for what, (fields, _) in SETTINGS.items() for start in COLUMNS},
}


def sweep(page: Page, name: str, start: str, values: Sequence[float] = (), *, run: bool = True) -> Study:
    """STE and the rotation at each value of a sweep, called "name = value", on the seeds at which all were planned.

    There may be other ``values`` than those of `SWEEPS`. Of one that the page does not ``run`` nothing is shown.
    """
    field, usual, beside = SWEEPS[name]
    values = values or usual
    block = Block(PAIR, {f"{name} = {x:g}": {field: x} for x in values}, base=MAIN[start] | beside)
    if not run:
        left_out = Runs(page.runs.expand(block), page.runs.records, expand=page.runs.expand)
        left_out.shown = []
        return Study(left_out, block)
    planned = [{config.seed for config in found} for found in page.study(block).planned.values() if found]
    kept = [config for config in page.runs.planned if config.seed in set.intersection(*planned)]
    return Study(Runs(kept, page.runs.records, page.runs.published, page.runs.expand), block)


def whole(study: Study) -> list[str]:
    """The cells in which every arm was planned, and every planned run has a record."""
    done = {key for key, found in study.planned.items() if found and study.members.get(key) == found}
    return [cell for cell in study.cells if all((arm, cell) in done for arm in study.arms)]


def choice(study: Study, by: str = "validation_mse") -> dict[str, str]:
    """Of each arm the cell with its lowest mean, of those run whole; none where these are fewer than three."""
    cells = whole(study)
    best = study.best(by, cells) if len(cells) > 2 else {}
    return {arm: best[arm][1] for arm in study.arms if arm in best}


def at_own(study: Study, by: str = "validation_mse") -> Paired | None:
    """Test MSE, rotation / STE, each in the cell of its `choice`; None where one of them has none."""
    cells = choice(study, by)
    if len(cells) < len(PAIR):
        return None
    return study.pair("rotation", cells["rotation"], against=("STE", cells["STE"]))
