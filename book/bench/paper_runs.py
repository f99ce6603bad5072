"""The trainings of the paper's Table 1 as Configs, and the command that trains one on several cards.

From the paper's text and its released code: github.com/cfifty/rotation_trick, commit 9910492.
"""

from __future__ import annotations

import math
from dataclasses import fields

from rotvq.training.config import Config

IMAGENET = 1_281_167  # training images
EPOCH = 10_000 * 16  # images after which src/train_utils/train_loop.py ends an "epoch", up to two batches
BATCH = 256
COMMON = {
    "data": "imagefolder:imagenet",
    "update": "ema",
    "decay": 0.8,
    "initial_count": 0.0,
    "gamma": 1.0,
    "optimizer": "adamw",
    "batch": BATCH,
}
NETWORKS = {
    "f = 16": {"model": "residual_f16", "dim": 32, "codebook_size": 1024, "steps": 25 * EPOCH // BATCH},
    "f = 4": {"model": "residual_f4", "dim": 3, "codebook_size": 8192, "steps": 20 * EPOCH // BATCH},
}
LOOKUPS = {
    "Euclid": {"lookup": "euclidean", "lr": 5e-5, "weight_decay": 0.0},
    "cosine": {"lookup": "cosine", "lr": 1e-4, "weight_decay": 1e-4},
}


def table_1(estimator: str = "rotation", seed: int = 0) -> dict[tuple[str, str], Config]:
    """The nearest Config to each training of Table 1, by the names of its network and its lookup.

    Codes start uniform within sqrt(6 / (K d)), as Kaiming's rule has it for a K x d matrix. A LayerNorm stands before
    the cosine lookup at d = 32, and only there.

    >>> table_1()["f = 4", "Euclid"].codebook_size
    8192
    """
    configs = {}
    for network, shape in NETWORKS.items():
        init_scale = math.sqrt(6 * shape["codebook_size"] / shape["dim"])  # of U(-1/K, 1/K)
        for lookup, rates in LOOKUPS.items():
            norm = "latent" if lookup == "cosine" and shape["dim"] == 32 else "none"
            options = {**COMMON, **shape, **rates, "norm": norm, "init_scale": round(init_scale, 3)}
            configs[network, lookup] = Config(**options, estimator=estimator, seed=seed)
    return configs


def command(config: Config, processes: int, device: str = "cuda", records: str = "records") -> str:
    """The command line that trains one run on ``processes`` cards of one machine.

    >>> command(Config(seed=3), processes=8)
    'torchrun --standalone --nproc-per-node=8 -m rotvq train --seed 3 --device cuda --records records'
    """
    changed = {f.name: getattr(config, f.name) for f in fields(config) if getattr(config, f.name) != f.default}
    options = changed | {"device": device, "records": records}
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())
    return f"torchrun --standalone --nproc-per-node={processes} -m rotvq train {flags}"
