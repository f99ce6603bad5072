"""The grids of the experiment chapters: what their notebooks and ``python -m rotvq grid`` both ask for.

A chapter is a union of cells (initialisation, codebook, ...) crossed with its axes (estimator, seed, ...). A profile
changes some axes, or the cells; so may whoever asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rotvq.config import Config, grid
from rotvq.records import Records
from rotvq.sources import folders

PROFILES = ("smoke", "standard", "full")


@dataclass(frozen=True)
class Chapter:
    """cap: core-hours its standard grid may take. smoke, full: what these profiles change, "cells" among it."""

    cap: float
    cells: Sequence[Mapping[str, Any]]
    axes: Mapping[str, Any]
    smoke: Mapping[str, Any] = field(default_factory=dict)
    full: Mapping[str, Any] = field(default_factory=lambda: {"seed": range(10), "steps": 30_000, "batch": 128})

    def configs(self, profile: str = "standard", **changes: Any) -> list[Config]:
        """The grid of a profile; ``changes`` replace axes, or the cells. ValueError for what does not exist."""
        if profile not in PROFILES:
            raise ValueError(f"unknown profile {profile!r}: one of {', '.join(PROFILES)}")
        own = {"smoke": self.smoke, "standard": {}, "full": self.full}[profile]
        axes = {"cells": self.cells, **self.axes, **own, **changes}
        return grid(*axes.pop("cells"), **axes)


SMOKE = {"data": "fashion-mnist-mini", "codebook_size": 64, "init_latents": 1024, "seed": [0, 1], "steps": 20}

CHAPTERS = {
    "10_ste_vs_rotation": Chapter(
        cap=2.0,
        cells=[
            {"init": "uniform"},
            {"init": "kmeans", "init_scale": [0.01, 0.1, 1.0, 10.0]},
            {"init": "kmeans", "pretrain_steps": 500},
        ],
        axes={"estimator": ["ste", "rotation"], "seed": range(5), "steps": 2000},
        smoke={**SMOKE, "cells": [{"init": "uniform"}, {"init": "kmeans"}]},
    ),
}


def find(name: str) -> str:
    """The full name of the chapter called ``name``, or whose name alone starts so; ValueError lists them."""
    found = [full for full in CHAPTERS if full == name] or [full for full in CHAPTERS if name and full.startswith(name)]
    if len(found) != 1:
        raise ValueError(f"unknown chapter {name!r}: one of {', '.join(CHAPTERS)}")
    return found[0]


def store(name: str, folder: str | Path | None = None) -> Records:
    """The records of a chapter: those in ``folder``, else in records/<name> of the data folder."""
    return Records(folder or stores_folder() / name)


def stores_folder() -> Path:
    """``records`` in the first data folder that has it, else in the first data folder."""
    found = [folder / "records" for folder in folders()]
    return next((folder for folder in found if folder.is_dir()), found[0])
