"""The grids of the experiment chapters: what their notebooks and ``python -m rotvq grid`` both ask for.

A chapter is some blocks. A block crosses *arms*, what is compared, with *cells*, the conditions, and with seeds: each
arm and cell is a name and the fields of :class:`.Config` that it sets. Arms and cells that several chapters share are
the same runs: a record is looked for in the folder of every chapter.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rotvq.quantizers.estimators import CLIPS
from rotvq.runs.records import Records
from rotvq.training.config import Config
from rotvq.training.files import folders

PROFILES = ("smoke", "standard", "full")
SMOKE = {"data": "fashion-mnist-mini", "init_latents": 2048, "steps": 10}
FULL = {"steps": 30_000, "batch": 128}

Fields = Mapping[str, Any]
EXPLORE, FEW, CONFIRM = range(5), range(3), range(100, 110)  # seeds; see the protocol


def expand(*cells: Mapping[str, Any], **axes: Any) -> list[Config]:
    """The product of axes, last axis fastest; each axis is one value or a list (or range, or array) of values.

    A tuple is one value, so that ``clip=(0.5, 2.0)`` is one range. With ``cells``, mappings of axes, the grid is the
    union over cells of the product of each cell with ``axes``; an axis of a cell replaces the common one. Every Config
    is checked; one that appears twice is kept once, at its first place.

    >>> [(c.init_scale, c.seed) for c in grid({"init_scale": [0.1, 1.0]}, {"init": "normal"}, seed=[0, 1])]
    [(0.1, 0), (0.1, 1), (1.0, 0), (1.0, 1), (1.0, 0), (1.0, 1)]
    """
    configs: dict[Config, None] = {}
    for cell in cells or ({},):
        merged = {**cell, **{name: value for name, value in axes.items() if name not in cell}}
        lists = [list(v) if isinstance(v, (list, range, np.ndarray)) else [v] for v in merged.values()]
        for values in itertools.product(*lists):
            configs[Config.from_dict(dict(zip(merged, values, strict=True))).check()] = None
    return list(configs)


@dataclass(frozen=True)
class Block:
    """arms, cells: name -> fields; an arm's fields go before its cell's, and these before ``base``."""

    arms: Mapping[str, Fields]
    cells: Mapping[str, Fields]
    seeds: Sequence[int] = EXPLORE
    base: Fields = field(default_factory=dict)

    def configs(self, **changes: Any) -> list[Config]:
        """Every run, arms fastest; ``changes`` replace fields in all of them (a list makes an axis)."""
        cells = [{**self.base, **cell, **arm, **changes} for cell in self.cells.values() for arm in self.arms.values()]
        return expand(*cells, **({} if "seed" in changes else {"seed": list(self.seeds)}))


@dataclass(frozen=True)
class Chapter:
    """cap: core-hours that its standard grid may take."""

    cap: float
    blocks: Mapping[str, Block]

    def configs(self, profile: str = "standard", **changes: Any) -> list[Config]:
        """The grid of a profile; ``changes`` replace fields. ValueError for what does not exist.

        smoke: every arm and every cell once, in seconds. full: ten seeds at 30,000 steps of 128 images.
        """
        if profile not in PROFILES:
            raise ValueError(f"unknown profile {profile!r}: one of {', '.join(PROFILES)}")
        if profile == "standard":
            found = [config for block in self.blocks.values() for config in block.configs(**changes)]
        elif profile == "full":
            fields = {**FULL, "seed": list(range(10)), **changes}
            found = [config for block in self.blocks.values() for config in block.configs(**fields)]
        else:
            found = [config for block in self.blocks.values() for config in _smoke(block, changes)]
        return list(dict.fromkeys(found))


def _smoke(block: Block, changes: Fields) -> list[Config]:
    """Every arm in the first cell, and the first arm in every cell; small codebooks, ten steps, two seeds."""
    arms, cells = list(block.arms.items()), list(block.cells.items())
    parts = [Block(dict(arms), dict(cells[:1]), base=block.base), Block(dict(arms[:1]), dict(cells), base=block.base)]
    small = {**SMOKE, "seed": [0, 1], **changes}
    found = [config for part in parts for config in part.configs(**small)]
    fields = [config.as_dict() for config in found]
    return [Config.from_dict(f | {"codebook_size": min(f["codebook_size"], 64), "warmup": min(f["warmup"], 5),
                                  "pretrain_steps": min(f["pretrain_steps"], 5)}).check() for f in fields]  # fmt: skip


STE, ROTATION = {"estimator": "ste"}, {"estimator": "rotation"}
PAIR = {"STE": STE, "rotation": ROTATION}

UNIFORM = {"uniform 1/K": {"init": "uniform"}}
KMEANS = {"k-means": {"init": "kmeans"}}
WARM = {"k-means after warm-up": {"init": "kmeans", "pretrain_steps": 500}}
MAIN = UNIFORM | KMEANS  # the two starts at which everything is compared


def kmeans(*scales: float) -> dict[str, Fields]:
    return {f"k-means × {scale:g}": {"init": "kmeans", "init_scale": scale} for scale in scales}


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
REMEDY = {f"{name}, EMA, revival": {**arm, **EMA, "revival": "unused"} for name, arm in PAIR.items()}


def gammas(*values: float) -> dict[str, Fields]:
    return {f"{name}, γ = {g:g}": {**arm, "gamma": g} for g in values for name, arm in PAIR.items()}


CHAPTERS = {
    "10_ste_vs_rotation": Chapter(2.0, {
        "explore": Block(PAIR, UNIFORM | kmeans(0.01, 0.1) | KMEANS | kmeans(10) | WARM),
        "confirm": Block(PAIR, MAIN | WARM, CONFIRM),
        "long": Block(PAIR, MAIN, FEW, {"steps": 8000}),
    }),
    "11_initialisation": Chapter(1.0, {
        "norms": Block(PAIR, UNIFORM | {"normal": {"init": "normal"}} | kmeans(0.01, 0.1, 0.3) | KMEANS
                       | kmeans(3, 10) | WARM),
        "revival": Block({f"{name}, revival": {**arm, "revival": "unused"} for name, arm in PAIR.items()},
                         MAIN | kmeans(10) | WARM),
        "centre": Block({f"rotation about {o:g}": {**ROTATION, "centre_offset": o} for o in (1.0, 3.0, 10.0)},
                        UNIFORM | kmeans(10), FEW),
        "scale": Block(PAIR, {f"k-means, z and codes × {s:g}": {"init": "kmeans", "latent_scale": s}
                              for s in (0.1, 10.0)}, FEW),
    }),
    "12_gamma": Chapter(1.5, {
        "gamma": Block(gammas(0.01, 0.05, 0.25, 1.0, 5.0), MAIN, FEW),
        "wider": Block(gammas(0.002, 25.0, 125.0), MAIN, FEW),
        # each arm at the γ that validation chose on seeds 0 to 2 from the eight above
        "confirm uniform": Block({"STE, γ = 5": STE | {"gamma": 5.0}, "rotation, γ = 0.05": ROTATION | {"gamma": 0.05}},
                                 UNIFORM, CONFIRM),
        "confirm k-means": Block({"STE, γ = 5": STE | {"gamma": 5.0},
                                  "rotation, γ = 0.002": ROTATION | {"gamma": 0.002}}, KMEANS, CONFIRM),
        "rate": Block({f"{name}, rate {lr:g}": {**arm, "lr": lr} for lr in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
                       for name, arm in PAIR.items()}, MAIN),
        "sgd": Block({f"{name}, SGD {lr:g}": {**arm, "optimizer": "sgd", "lr": lr} for lr in (0.1, 0.3, 1.0)
                      for name, arm in PAIR.items()}, MAIN, FEW),
    }),
    "13_which_part": Chapter(1.2, {
        "ladder": Block(PAIR | LADDER, MAIN),
        "warm": Block(PAIR | {k: LADDER[k] for k in ("r I", "R", "mean(r) I", "STE, γ / mean(r)", "clip(r) R")}, WARM),
        "clamped": Block({f"{name}, |z| fixed": {**arm, "norm": "latent"} for name, arm in PAIR.items()}, MAIN),
        "confirm": Block(PAIR | {k: LADDER[k] for k in ("r I", "R", "STE, γ / mean(r)")}, MAIN, CONFIRM),
    }),
    "14_mixtures": Chapter(0.8, {
        "clips": Block({f"clip {name}": {"estimator": "clipped"} | ({} if name == "medium" else {"clip": bounds})
                        for name, bounds in CLIPS.items()}, MAIN),
        "mixes": Block({f"t = {t:g}": {"estimator": "interpolated", "mix": t} for t in (0.25, 0.5, 0.75)}, MAIN, FEW),
        "warm-up": Block({f"warm-up {n}": {**ROTATION, "warmup": n} for n in (500, 1000)}, MAIN | WARM, FEW),
        "centres": Block({f"about the mean {what}": {**ROTATION, "centre": centre} for what, centre in
                          (("code", "codebook"), ("latent", "latents"))}, MAIN, FEW),
        "learned": Block({f"{name}, learned gain": {**arm, "gain": "learned"} for name, arm in PAIR.items()},
                         MAIN, FEW),
        "cosine": Block({f"{name}, cosine": {**arm, "lookup": "cosine"} for name, arm in
                         (PAIR | {"R": LADDER["R"]}).items()}, MAIN, FEW),
    }),
    "15_codebook": Chapter(1.0, {
        "ema": Block({f"{name}, EMA {decay:g} from {count:g}": {**arm, **EMA, "decay": decay, "initial_count": count}
                      for decay, count in ((0.99, 1.0), (0.99, 0.0), (0.8, 0.0)) for name, arm in PAIR.items()},
                     MAIN | WARM),
        "sizes": Block(PAIR, {f"{name}, K = {k}, d = {d}": {**start, "codebook_size": k, "dim": d}
                              for k, d in ((64, 32), (2048, 32), (512, 8)) for name, start in MAIN.items()}, FEW),
        "normalised": Block({f"{name}, normalised": {**arm, "lookup": "normalised"} for name, arm in PAIR.items()},
                            MAIN, FEW),
    }),
    "16_rivals": Chapter(0.7, {
        "rivals": Block({
            "SimVQ, STE": {**STE, "quantizer": "simvq", "init": "normal"},
            "SimVQ, rotation": {**ROTATION, "quantizer": "simvq", "init": "normal"},
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
        "decay": Block({f"{name}, decay {wd:g}": {**arm, "weight_decay": wd} for wd in (0.0, 1e-4, 1e-3)
                        for name, arm in PAIR.items()},
                       {"k-means, EMA": {"init": "kmeans", **EMA}}, FEW, {"steps": 4000}),
    }),
    "18_photographs": Chapter(0.7, {
        "explore": Block(PAIR, MAIN | WARM, EXPLORE, {"data": "photographs"}),
        "confirm": Block(PAIR, MAIN, CONFIRM, {"data": "photographs"}),
    }),
}  # fmt: skip


def find(name: str) -> str:
    """The full name of the chapter called ``name``, or whose name alone starts so; ValueError lists them."""
    found = [full for full in CHAPTERS if full == name] or [full for full in CHAPTERS if name and full.startswith(name)]
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
