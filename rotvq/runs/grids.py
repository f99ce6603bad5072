"""The runs of each experiment chapter: what its notebook and ``python -m rotvq grid`` both ask for.

A chapter is some blocks. A block crosses *arms*, what is compared, with *cells*, the conditions, and with seeds.
Chapters that ask for the same run share it: a record is looked for in the folder of every chapter.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from rotvq.quantizers.estimators import CLIPS
from rotvq.runs.records import Records
from rotvq.runs.settings import SETTINGS
from rotvq.training.config import Config
from rotvq.training.files import folders

# Seeds of the protocol: those from FRESH on confirm, are trained after all choices, and mix with no others.
FRESH = 100
EXPLORE, FEW, CONFIRM = range(5), range(3), range(FRESH, FRESH + 10)
MORE = range(3, 5)  # what FEW lacks of EXPLORE
SEED = (0, 2**32 - 1)  # the least and the most that a command or a notebook takes

PROFILES = ("smoke", "standard", "full")
FULL = {"steps": 30_000, "batch": 128, "seed": list(range(10))}
SMOKE = {"data": "fashion-mnist-mini", "batch": 8, "steps": 10, "seed": [0, 1]}
SMOKE_LIMITS = {"codebook_size": 64, "init_latents": 512, "warmup": 5, "pretrain_steps": 5}
SMOKE_LIMITS_OF_ALL = {"codebook_size": 64, "init_latents": 512}  # which by default are more

Fields = Mapping[str, Any]  # of Config; the value is a list where a field takes several values


def expand(*parts: Fields, **common: Any) -> list[Config]:
    """Every combination of the values of some fields, the last field varying fastest; each Config once, and checked.

    Args:
        parts: fields of which combinations are formed apart, and listed one after the other.
        common: fields of every part that does not set them. A list, range or array is several values, a tuple is one.

    >>> [(c.init_scale, c.seed) for c in expand({"init_scale": [0.1, 0.3]}, {"init": "normal"}, seed=[0, 1])]
    [(0.1, 0), (0.1, 1), (0.3, 0), (0.3, 1), (1.0, 0), (1.0, 1)]
    """
    wholes = [part | {name: value for name, value in common.items() if name not in part} for part in parts or ({},)]
    configs = [Config.from_dict(fields).check() for whole in wholes for fields in _combinations(whole)]
    return list(dict.fromkeys(configs))


def _combinations(fields: Fields) -> list[Fields]:
    lists = [list(v) if isinstance(v, (list, range, np.ndarray)) else [v] for v in fields.values()]
    return [dict(zip(fields, values)) for values in itertools.product(*lists)]


def _limited(fields: Fields, given: Fields) -> Fields:
    """Fields within `SMOKE_LIMITS`, but for the values that a reader has given; so many codes need as many latents."""
    limits = {name: limit for name, limit in SMOKE_LIMITS.items() if fields.get(name) not in given.get(name, ())}
    limited = {name: min(value, limits[name]) if name in limits else value for name, value in fields.items()}
    size = limited.get("codebook_size", 0)
    return limited | ({"init_latents": size} if size > SMOKE_LIMITS["init_latents"] else {})


@dataclass(frozen=True)
class Block:
    """Arms crossed with cells and with seeds. An arm's fields go before its cell's, and those before ``base``."""

    arms: Mapping[str, Fields]
    cells: Mapping[str, Fields]
    seeds: Sequence[int] = EXPLORE
    base: Fields = field(default_factory=dict)

    def configs(self, **changes: Any) -> list[Config]:
        """Every run, arms varying fastest; ``changes`` replace fields in all of them."""
        parts = [{**self.base, **cell, **arm, **changes} for cell in self.cells.values() for arm in self.arms.values()]
        return expand(*parts, seed=list(self.seeds))

    def smoke(self, given: Fields, whole: bool, **changes: Any) -> list[Config]:
        """Every arm in the first cell and the first arm in every cell, with `SMOKE` and `SMOKE_LIMITS`.

        given: values of a reader by field, which stay. whole: every arm in every cell, for a block that holds these.
        """
        arms, cells = ({name: _limited(fields, given) for name, fields in of.items()} for of in (self.arms, self.cells))
        (arm, *_), (cell, *_) = arms, cells
        small = replace(self, arms=arms, cells=cells, base=SMOKE_LIMITS_OF_ALL | _limited(self.base, given))
        thin = replace(small, cells={cell: cells[cell]}), replace(small, arms={arm: arms[arm]})
        return [config for part in ([small] if whole else thin) for config in part.configs(**{**SMOKE, **changes})]


@dataclass(frozen=True)
class Chapter:
    """The blocks of a chapter by name. cap: core-hours that its standard grid may take."""

    cap: float
    blocks: Mapping[str, Block]

    def configs(
        self,
        profile: str = "standard",
        given: Fields = MappingProxyType({}),
        whole: Collection[str] = (),
        **changes: Any,
    ) -> list[Config]:
        """The grid of the chapter; ``changes`` replace fields. ValueError for what is unknown or refused.

        Args:
            profile: "standard"; "smoke", every arm and every cell once, in seconds; or "full", ten seeds, 30,000 steps.
            given: values of a reader by field, which "smoke" leaves as they are.
            whole: names of the blocks that hold these, of which "smoke" leaves out no combination.
            changes: of all runs.
        """
        if profile not in PROFILES:
            raise ValueError(f"unknown profile {profile!r}: one of {', '.join(PROFILES)}")
        changes = {**FULL, **changes} if profile == "full" else changes
        grids = [
            block.smoke(given, name in whole, **changes) if profile == "smoke" else block.configs(**changes)
            for name, block in self.blocks.items()
        ]
        return list(dict.fromkeys(itertools.chain(*grids)))


def vary(arms: Mapping[str, Fields], label: str, **fields: Any) -> dict[str, Fields]:
    """Arms, or cells, with more fields, of which a list makes an arm for each of its values.

    label: the new name, a format of the old name and of the values in the order of ``fields``.

    >>> vary({"STE": {"estimator": "ste"}}, "{}, rate {:g}", lr=[0.1, 0.3])
    {'STE, rate 0.1': {'estimator': 'ste', 'lr': 0.1}, 'STE, rate 0.3': {'estimator': 'ste', 'lr': 0.3}}
    """
    choices = _combinations(fields)
    return {label.format(k, *choice.values()): {**arm, **choice} for choice in choices for k, arm in arms.items()}


STE, ROTATION = {"estimator": "ste"}, {"estimator": "rotation"}
PAIR = {"STE": STE, "rotation": ROTATION}

UNIFORM = {"uniform 1/K": {"init": "uniform"}}
KMEANS = {"k-means": {"init": "kmeans"}}
WARM = {"k-means after warm-up": {"init": "kmeans", "pretrain_steps": 500}}
MAIN = UNIFORM | KMEANS  # the two starts at which everything is compared


def kmeans(*scales: float) -> dict[str, Fields]:
    """Cells that start from k-means with the codes scaled."""
    return vary(KMEANS, "{} × {:g}", init_scale=list(scales))


LADDER = {
    "r I": {"estimator": "scale_only"},
    "R": {"estimator": "rotation_only"},
    "mean(r) I": {"estimator": "mean_scale"},
    "mean(r) R": {"estimator": "mean_rotation"},
    "STE, γ / mean(r)": {"estimator": "ste", "gamma_rule": "over_r"},
    "clip(r) R": {"estimator": "clipped"},
    "P r R": {"estimator": "radial_free"},
    "r P": {"estimator": "radial_free_scale"},
    "half STE, half rotation": {"estimator": "interpolated"},
    "r H": {"estimator": "reflection"},
    "zero": {"estimator": "zero"},
}
EMA = {"update": "ema"}
FAST_EMA = EMA | {"decay": 0.8, "initial_count": 0.0}
REVIVED_EMA = EMA | {"revival": "unused"}
BASELINE = EMA | {"decay": 0.9, "initial_count": 0.0, "revival": "unused"}  # of three decays, by validation error
UPDATES = {"gradient": {}, "EMA 0.8": FAST_EMA, "EMA, revival": REVIVED_EMA}
REMEDY = vary(PAIR, "{}, EMA, revival", **EMA, revival="unused")

ABOUT_MEAN = {"centre": "codebook"}
DYNAMIC = {"dynamic STE": {"quantizer": "dynamic"}}
FAMILY = {  # the frontier beside STE; with EMA a method without codebook loss has nothing to add
    "rotation": ROTATION,
    "r I": {"estimator": "scale_only"},
    "R": {"estimator": "rotation_only"},
    "r P": {"estimator": "radial_free_scale"},
    "clip(r) R": {"estimator": "clipped"},
    "half STE, half rotation": {"estimator": "interpolated"},
    "about the mean code": ROTATION | ABOUT_MEAN,
    "fading about the mean code": {"estimator": "fading"} | ABOUT_MEAN,
    **DYNAMIC,
    "learned gain": STE | {"gain": "learned"},
}
STRONG = {
    "STE, EMA, revival": STE | REVIVED_EMA,
    "STE, EMA 0.9, revival": STE | BASELINE,
    "STE, codes × 30, revival": STE | {"code_lr": 30.0, "revival": "unused"},
}
OTHERS = {  # methods of their own, which have no EMA
    **vary({"NSVQ": {"quantizer": "nsvq"}, "DiVeQ": {"quantizer": "diveq"}}, "{}, revival", revival="unused"),
    **vary({"STE": STE}, "SimVQ, {}", quantizer="simvq", init="normal"),
}
CANDIDATES = {  # for an estimator that is never worse
    "about the mean code": ROTATION | ABOUT_MEAN,
    "fading about the mean code": {"estimator": "fading"} | ABOUT_MEAN,
    "fading by length about the mean code": {"estimator": "fading_length"} | ABOUT_MEAN,
    "capped about the mean code": {"estimator": "capped"} | ABOUT_MEAN,
    "min(r, 1) about the mean code": {"estimator": "no_gain"} | ABOUT_MEAN,
    "mean(r) about the mean code": {"estimator": "mean_rotation"} | ABOUT_MEAN,
    "half about the mean code": {"estimator": "interpolated"} | ABOUT_MEAN,
    "fading by length": {"estimator": "fading_length"},
}
ABOUT, FADING = ({name: CANDIDATES[name]} for name in ("about the mean code", "fading about the mean code"))
OWN_GAMMA = {"fading by length about the mean code": 0.05}  # on the strong baseline; the others keep 0.25
NEAREST = DYNAMIC | {name: fields for name, fields in CANDIDATES.items() if "by length" in name}

RECOVERY = {  # how soon codes come into use from a start that does not fit
    **PAIR,
    **DYNAMIC,
    "Region VQ": STE | {"quantizer": "region"},
    "STE, codes × 10": STE | {"code_lr": 10.0},
    "Region VQ, codes × 10": STE | {"quantizer": "region", "code_lr": 10.0},
    "StableVQ, codes × 10": {"quantizer": "stablevq", "code_lr": 10.0},
}

# fmt: off
CHAPTERS = {
    "10_ste_vs_rotation": Chapter(2.0, {
        "explore": Block(PAIR, UNIFORM | kmeans(0.01, 0.1) | KMEANS | kmeans(10) | WARM),
        "confirm": Block(PAIR, MAIN | WARM, CONFIRM),
        "long": Block(PAIR, MAIN, FEW, {"steps": 8000}),
    }),
    "11_initialisation": Chapter(1.5, {
        "norms": Block(PAIR, UNIFORM | {"normal": {"init": "normal"}} | kmeans(0.01, 0.1, 0.3) | KMEANS
                       | kmeans(3, 10) | WARM),
        "revival": Block(vary(PAIR, "{}, revival", revival="unused"), MAIN | kmeans(10) | WARM),
        "centre": Block(vary({"rotation": ROTATION}, "{} about {:g}", centre_offset=[1.0, 3.0, 10.0]),
                        UNIFORM | kmeans(10), FEW),
        "centre, two more seeds": Block({"rotation about 10": ROTATION | {"centre_offset": 10.0}}, UNIFORM, MORE),
        "scale": Block(PAIR, vary(KMEANS, "{}, z and codes × {:g}", latent_scale=[0.1, 10.0]), FEW),
    }),
    "12_gamma": Chapter(2.5, {
        "gamma": Block(vary(PAIR, "{}, γ = {:g}", gamma=[0.01, 0.05, 0.25, 1.0, 5.0]), MAIN, FEW),
        "wider": Block(vary(PAIR, "{}, γ = {:g}", gamma=[0.002, 25.0, 125.0]), MAIN, FEW),
        # each arm at the γ that validation chose on seeds 0 to 2 from the eight above
        "confirm uniform": Block({"STE, γ = 5": STE | {"gamma": 5.0}, "rotation, γ = 0.05": ROTATION | {"gamma": 0.05}},
                                 UNIFORM, CONFIRM),
        "confirm k-means": Block({"STE, γ = 5": STE | {"gamma": 5.0},
                                  "rotation, γ = 0.002": ROTATION | {"gamma": 0.002}}, KMEANS, CONFIRM),
        "rate": Block(vary(PAIR, "{}, rate {:g}", lr=[1e-4, 3e-4, 1e-3, 3e-3, 1e-2]), MAIN),
        "sgd": Block(vary(PAIR, "{}, SGD {:g}", lr=[0.1, 0.3, 1.0], optimizer="sgd"), MAIN, FEW),
    }),
    "13_which_part": Chapter(2.5, {
        "ladder": Block(PAIR | LADDER, MAIN),
        "warm": Block(PAIR | {k: LADDER[k] for k in ("r I", "R", "mean(r) I", "STE, γ / mean(r)", "clip(r) R")}, WARM),
        "clamped": Block(vary(PAIR, "{}, |z| fixed", norm="latent"), MAIN),
        "confirm": Block(PAIR | {k: LADDER[k] for k in ("r I", "R", "STE, γ / mean(r)")}, MAIN, CONFIRM),
    }),
    "14_mixtures": Chapter(1.5, {
        "clips": Block({f"clip {name}": {"estimator": "clipped"} | ({} if name == "medium" else {"clip": bounds})
                        for name, bounds in CLIPS.items()}, MAIN),
        "mixes": Block(vary({"t": {"estimator": "interpolated"}}, "{} = {:g}", mix=[0.25, 0.5, 0.75]), MAIN, FEW),
        "warm-up": Block(vary({"warm-up": ROTATION}, "{} {}", warmup=[500, 1000]), MAIN | WARM, FEW),
        "centres": Block({"about the mean code": ROTATION | {"centre": "codebook"},
                          "about the mean latent": ROTATION | {"centre": "latents"}}, MAIN, FEW),
        "learned": Block(vary(PAIR, "{}, learned gain", gain="learned"), MAIN, FEW),
        "cosine": Block(vary(PAIR | {"R": LADDER["R"]}, "{}, cosine", lookup="cosine"), MAIN, FEW),
        "two more seeds": Block({"t = 0.75": {"estimator": "interpolated", "mix": 0.75}}, MAIN, MORE),
        "two more seeds, warm-up 500": Block({"warm-up 500": ROTATION | {"warmup": 500}}, KMEANS, MORE),
        "two more seeds, warm-up 1000": Block({"warm-up 1000": ROTATION | {"warmup": 1000}}, KMEANS | WARM, MORE),
    }),
    "15_codebook": Chapter(1.5, {
        "ema": Block(vary(PAIR, "{}, EMA {:g} from {:g}", decay=0.99, initial_count=[1.0, 0.0], **EMA)
                     | vary(PAIR, "{}, EMA {:g} from {:g}", decay=0.8, initial_count=0.0, **EMA), MAIN | WARM),
        "sizes": Block(PAIR, vary(MAIN, "{}, K = {}, d = {}", codebook_size=[64, 2048], dim=32)
                       | vary(MAIN, "{}, K = {}, d = {}", codebook_size=512, dim=8), FEW),
        "normalised": Block(vary(PAIR, "{}, normalised", lookup="normalised"), MAIN, FEW),
    }),
    "16_rivals": Chapter(2.0, {
        "rivals": Block({
            **vary(PAIR, "SimVQ, {}", quantizer="simvq", init="normal"),
            "FSQ": {"quantizer": "fsq", "init": "uniform"},  # it has no codes to start: one run for both cells
            "Gumbel-softmax": {"quantizer": "gumbel"},
            "NSVQ": {"quantizer": "nsvq"},
            "DiVeQ": {"quantizer": "diveq"},
            "SF-DiVeQ": {"quantizer": "sf_diveq"},
            "dynamic STE": {"quantizer": "dynamic"},
            "exact": {"quantizer": "exact"},
            "Hessian": {"quantizer": "hessian"},
        } | REMEDY, MAIN),
        "confirm": Block(REMEDY, MAIN, CONFIRM),
    }),
    "17_balance_law": Chapter(0.8, {
        "decay": Block(vary(PAIR, "{}, decay {:g}", weight_decay=[0.0, 1e-4, 1e-3]),
                       {"k-means, EMA": {"init": "kmeans", **EMA}}, FEW, {"steps": 4000}),
    }),
    "18_photographs": Chapter(1.2, {
        "explore": Block(PAIR, MAIN | WARM, EXPLORE, {"data": "photographs"}),
        "confirm": Block(PAIR, MAIN, CONFIRM, {"data": "photographs"}),
    }),
    "28_code_speed": Chapter(13.5, {
        "speed": Block(vary(PAIR, "{}, codes × {:g}", code_lr=[1.0, 3.0, 10.0, 30.0]), MAIN | WARM),
        "end, gradient": Block(PAIR, MAIN | WARM, FEW, {"steps": 32_000}),
        "end, EMA": Block(vary(PAIR, "{}, EMA, revival", **REVIVED_EMA) | vary(PAIR, "{}, EMA 0.8", **FAST_EMA),
                          MAIN | WARM, FEW, {"steps": 32_000}),
        "decay": Block(vary(PAIR, "{}, cosine", schedule="cosine"), MAIN, FEW, {"steps": 32_000}),
        "confirm": Block(vary(PAIR, "{}, codes × {:g}", code_lr=[10.0]), MAIN | WARM, CONFIRM),
        "confirm end": Block(PAIR, UNIFORM, CONFIRM, {"steps": 32_000}),
        "end, fading": Block(FADING, MAIN, FEW, {"steps": 32_000}),
        "confirm end, EMA": Block(vary(PAIR, "{}, EMA, revival", **REVIVED_EMA), KMEANS, CONFIRM, {"steps": 32_000}),
        "confirm end, fading": Block(FADING, UNIFORM, CONFIRM, {"steps": 32_000}),
        "confirm decay": Block(vary(PAIR, "{}, cosine", schedule="cosine"), UNIFORM, CONFIRM, {"steps": 32_000}),
    }),
    "38_what_people_run": Chapter(1.0, {
        "settings": Block({name: setting.fields for name, setting in SETTINGS.items()}, {"as published": {}}, CONFIRM),
    }),
    "39_frontier": Chapter(5.0, {
        "frontier": Block(vary({"STE": STE} | FAMILY, "{}, EMA 0.9, revival", **BASELINE), MAIN | WARM, FEW),
        "baselines": Block(STRONG | {"STE, EMA 0.8, revival": STE | BASELINE | {"decay": 0.8}}, MAIN | WARM, FEW),
        "confirm": Block(STRONG | vary({"rotation": ROTATION}, "{}, EMA 0.9, revival", **BASELINE), MAIN, CONFIRM),
        "confirm, photographs": Block(STRONG, KMEANS, CONFIRM, {"data": "photographs"}),
        "others": Block(OTHERS, MAIN | WARM, FEW),
        "never worse": Block(PAIR | CANDIDATES, UNIFORM | kmeans(0.01) | KMEANS | kmeans(3, 10) | WARM, FEW),
        "confirm, never worse": Block(PAIR | FADING, MAIN | kmeans(10) | WARM, CONFIRM),
        "confirm, about the mean code": Block(vary(ABOUT, "{}, EMA 0.9, revival", **BASELINE), MAIN, CONFIRM),
        "confirm, dynamic STE": Block(vary(DYNAMIC, "{}, EMA 0.9, revival", **BASELINE), MAIN, CONFIRM),
        "confirm, dynamic STE, photographs": Block(vary(DYNAMIC, "{}, EMA 0.9, revival", **BASELINE), KMEANS, CONFIRM,
                                                   {"data": "photographs"}),
        "never worse, EMA": Block(vary(CANDIDATES, "{}, EMA 0.9, revival", **BASELINE), MAIN | WARM, FEW),
        # STE, and the three arms with the lowest validation error over the three starts
        "tuned": Block(vary({"STE": STE} | NEAREST, "{}, EMA 0.9, revival", **BASELINE),
                       vary(KMEANS, "{}, γ = {:g}, rate {:g}", gamma=[0.05, 0.25, 1.0, 5.0], lr=[1e-3, 3e-3, 1e-2]),
                       FEW),
        # each at the setting that validation chose from the twelve
        "confirm, tuned": Block({f"{arm}, at its own": fields | {"gamma": OWN_GAMMA.get(arm, 0.25)}
                                 for arm, fields in ({"STE": STE} | NEAREST).items()},
                                KMEANS, CONFIRM, BASELINE | {"lr": 3e-3}),
        "photographs": Block(vary({"STE": STE} | FAMILY, "{}, EMA 0.9, revival", **BASELINE), MAIN, FEW,
                             {"data": "photographs"}),
        "never worse, photographs": Block(PAIR | CANDIDATES, MAIN | WARM, FEW, {"data": "photographs"}),
        "family, EMA 0.8": Block(vary({"STE": STE} | FAMILY, "{}, EMA 0.8", **FAST_EMA), MAIN | WARM, FEW),
        "photographs, warm": Block(vary({"STE": STE} | FAMILY, "{}, EMA 0.9, revival", **BASELINE), WARM, FEW,
                                   {"data": "photographs"}),
        "others, photographs": Block(OTHERS, MAIN | WARM, FEW, {"data": "photographs"}),
    }),
    "41_collapse": Chapter(0.8, {
        "remedies": Block({
            "rotation": ROTATION,
            "rotation, codes × 10": ROTATION | {"code_lr": 10.0},
            **vary({"rotation": ROTATION}, "{}, γ = {:g}", gamma=[0.05, 1.0, 5.0]),
            "rotation, ramp": ROTATION | {"schedule": "ramp"},
            "rotation, EMA 0.8": ROTATION | FAST_EMA,
            "rotation about the mean code": ROTATION | ABOUT_MEAN,
            "R": {"estimator": "rotation_only"},
            "STE": STE,
        }, WARM, CONFIRM),
    }),
    "42_wider": Chapter(3.0, {
        "GroupNorm": Block(PAIR, vary(MAIN | WARM, "{}, GroupNorm", norm="group"), FEW),
        "residual": Block(PAIR, vary(MAIN | WARM, "{}, residual net", model="residual"), FEW),
        "three": Block(PAIR, vary(MAIN, "{}, d = {}", dim=[3]), FEW),
        "many": Block(PAIR, vary(MAIN, "{}, K = {}", codebook_size=[8192], init_latents=32_768), FEW),
        "many, as long as 512": Block(PAIR, vary(UNIFORM, "{}, K = 8192, codes × 16", codebook_size=[8192],
                                                 init_scale=[16.0], init_latents=32_768), FEW),
        "normalised": Block(vary(PAIR, "{}, normalised", lookup="normalised"), vary(KMEANS, "{}, d = {}", dim=[8, 32]),
                            CONFIRM),
        "normalised, EMA": Block(vary(PAIR, "{}, normalised, EMA 0.8", lookup="normalised", **FAST_EMA),
                                 vary(KMEANS, "{}, d = {}", dim=[8, 32]), CONFIRM),
        "γ": Block(vary({"STE": STE}, "{}, γ = {:g}", gamma=[0.05, 1.0, 5.0]), WARM, FEW),
        "recovery": Block(RECOVERY,
                          vary({"normal": {"init": "normal"}}, "{} × {:g}", init_scale=[0.01, 0.1, 1.0, 10.0]), FEW),
    }),
}
# fmt: on


def find_chapter(name: str) -> str:
    """The full name of the chapter called ``name``, or the only one whose name starts so, such as 10."""
    found = [name] if name in CHAPTERS else [full for full in CHAPTERS if name and full.startswith(name)]
    if len(found) != 1:
        raise ValueError(f"unknown chapter {name!r}: one of {', '.join(CHAPTERS)}")
    return found[0]


def store(name: str, folder: str | Path | None = None) -> Records:
    """The records of a chapter: in ``folder``, else in records/<name> of the data folder and in those of the others."""
    if folder:
        return Records(folder)
    return Records(stores_folder() / name, neighbours=[stores_folder() / other for other in CHAPTERS if other != name])


def stores_folder() -> Path:
    """``records`` in the first data folder that has it, else in the first data folder."""
    found = [folder / "records" for folder in folders()]
    return next((folder for folder in found if folder.is_dir()), found[0])
