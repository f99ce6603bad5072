"""What an experiment page calls: its runs, its numbers for the text, what it cost, a look at images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch

from rotvq.analysis.stats import Paired
from rotvq.analysis.study import FRESH, Runs
from rotvq.analysis.wording import ratio_sentence, seed_ranges
from rotvq.page.figures import Figure, glue, used
from rotvq.runs import scheduler
from rotvq.runs.grids import CHAPTERS, Block, Chapter, store
from rotvq.training import images
from rotvq.training.config import Config
from rotvq.training.train import fit


def load_or_train(
    chapter: str,
    profile: str = "standard",
    *,
    records: str = "",
    engine: str = "",
    device: str = "cpu",
    steps: int | None = None,
    seeds: int | None = None,
    also: Sequence[Block] = (),
    **changes: Any,
) -> Runs:
    """The runs of a chapter's grid; what has no record is trained.

    ``changes`` that are not None replace axes of the grid. steps: of every run. seeds: so many, from 0, and no others.
    also: blocks of other chapters with which the page compares.

    The page as it is published is made from records: where the runs are part of the standard grid, the store is the
    committed one and holds any record, of this chapter or another, and no engine is named, nothing is trained, and
    `Runs.coverage` says how much there is. Everything else trains what is missing, and RuntimeError names the first
    run that failed. The page names the runs that it shows.
    """
    chosen = {name: value for name, value in changes.items() if value is not None}
    whole = Chapter(0, {**CHAPTERS[chapter].blocks, **{f"also {i}": block for i, block in enumerate(also)}})

    def configs(of: Chapter, **changes) -> list[Config]:
        found = of.configs(profile, **changes, **({} if seeds is None else {"seed": list(range(seeds))}))
        return found if steps is None else list(dict.fromkeys(replace(config, steps=steps) for config in found))

    def expand(block: Block) -> list[Config]:
        own = {name for fields in (*block.arms.values(), *block.cells.values()) for name in fields}
        return configs(Chapter(0, {"": block}), **{name: value for name, value in chosen.items() if name not in own})

    planned = configs(whole, **chosen)
    standard, kept = set(whole.configs()), store(chapter, records or None)
    filled = any(any(folder.glob("*.json")) for folder in (kept.folder, *kept.neighbours))
    if records or engine or not filled or not set(planned) <= standard:
        for config, outcome in scheduler.run(planned, kept, engine or "serial", device=device):
            if isinstance(outcome, scheduler.Failure):
                raise RuntimeError(f"run {config.id} failed: {outcome}")
    runs = Runs(planned, kept, set(planned) == standard, expand)
    used(runs.shown)
    pd.set_option("display.max_colwidth", None)  # the tables of a page show their cells whole
    return runs


def slug(name: str | tuple[str, ...]) -> str:
    """A label, or an arm and a cell, as part of a glued name.

    >>> slug(("rotation", "k-means × 0.01")), slug("uniform 1/K")
    ('rotation-k-means-0.01', 'uniform-1-k')
    """
    text = name if isinstance(name, str) else " ".join(name)
    return re.sub(r"[^\w.]+", "-", text.lower()).strip("-")


def glue_all(prefix: str, values: Mapping[Any, Any]) -> None:
    """Glue every value as ``prefix-slug``: a comparison as its `phrase`, None as 'not run', others as they are.

    ValueError where two names would be one.
    """
    names = {key: "-".join(filter(None, (prefix, slug(key)))) for key in values}
    if len(set(names.values())) < len(names):
        raise ValueError(f"two of these have one name: {', '.join(sorted(names.values()))}")
    for key, value in values.items():
        glue(names[key], ratio_sentence(value) if value is None or isinstance(value, Paired) else value)


def glue_cost(runs: Runs) -> None:
    """Glue what the shown runs are and cost: coverage, runs, explored, confirmed, core-hours, seconds-per-run, status,
    diverged, steps."""
    final = runs.final
    seeds = final.seed.unique().tolist()
    glue_all(
        "",
        {
            "coverage": runs.coverage,
            "runs": len(final),
            "explored": seed_ranges(seed for seed in seeds if seed < FRESH),
            "confirmed": seed_ranges(seed for seed in seeds if seed >= FRESH) or "none",
            "core-hours": final.seconds.sum() / 3600,
            "seconds-per-run": final.seconds.mean(),
            "status": ", ".join(f"{count} {status}" for status, count in final.status.value_counts().items()),
            "diverged": int(final.diverged_at.notna().sum()),
            "steps": " and ".join(f"{steps:,}" for steps in sorted(final.steps.unique())),
        },
    )


def show_reconstructions(
    arms: Mapping[str, Mapping[str, Any]],
    *,
    steps: int,
    device: str = "cpu",
    source: str = "fashion-mnist-mini",
    **base: Any,
) -> Figure:
    """Train each arm now, on the image set ``source``, and show eight test images with what comes back of them."""
    data = images.load(source)
    sample = data.test[torch.linspace(0, len(data.test) - 1, 8).long()]
    rows = {"test images": sample.float() / 255}
    for label, fields in arms.items():
        config = Config(**{"data": data.name, "init_latents": 2048, "steps": steps, **base, **fields})
        model, result = fit(config, device=device)
        error = result["final"].get("test_mse")
        with torch.no_grad():
            seen = model.eval()(data.normalise(sample).to(device))[0].cpu()
        rows[f"{label}, " + (f"test MSE {error:.4f}" if error else "diverged")] = data.denormalise(seen).clamp(0, 1)
    figs = []
    for name, row in rows.items():
        fig, ax = plt.subplots(figsize=(4.6, 0.85))
        ax.imshow(torch.cat(list(row), 2).permute(1, 2, 0).numpy(), vmin=0, vmax=1)
        ax.set_title(name)
        ax.axis("off")
        figs.append(fig)
    return Figure(figs, alt=f"Eight test images and what comes back after {steps} steps with {', '.join(arms)}.")
