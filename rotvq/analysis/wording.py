"""Metrics and comparisons in words: a ratio for a table, and for a sentence."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Any

from rotvq.analysis.stats import Paired

NO_VERDICT = "smoke run: no verdict"
TITLES = {
    "mse": "MSE",
    "psnr": "PSNR, dB",
    "quantisation_error": "|z − q|²",
    "relative_error": "|z − q|² / Var z",
    "z_variance": "Var z",
    "z_squared": "E|z|²",
    "z_norm": "|z|",
    "q_norm": "|q|",
    "r": "|q| / |z|",
    "theta_deg": "angle, degrees",
    "reconstruction": "reconstruction loss",
    "gradient_ratio": "reconstruction / commitment gradient",
}


def title(metric: str) -> str:
    """A metric in words: 'test_mse' is 'test MSE'; usage and perplexity without a split are those of one batch."""
    split, _, rest = metric.partition("_")
    if split in ("test", "validation"):
        return f"{split} {TITLES.get(rest, rest.replace('_', ' '))}"
    return TITLES.get(metric, metric.replace("_", " ")) + " of a batch" * (metric in ("usage", "perplexity"))


def slug(label: Any) -> str:
    """A label, or an arm, a cell and a value, as part of a glued name.

    >>> slug(("rotation", "k-means × 0.01")), slug(("uniform 1/K", 5.0)), slug((1e-6, 1e6))
    ('rotation-k-means-0.01', 'uniform-1-k-5', '1e-06-1e06')
    """
    parts = label if isinstance(label, tuple) else (label,)
    text = " ".join(f"{part:g}".replace("+", "") if isinstance(part, float) else str(part) for part in parts)
    return re.sub(r"[^\w.]+", "-", text.lower()).strip("-")


def seed_ranges(seeds: Iterable[int]) -> str:
    """Seeds in words: '0–4, 100–109'."""
    found = sorted(set(seeds))
    groups = [list(g) for _, g in itertools.groupby(found, key=lambda s: s - found.index(s))]
    return ", ".join(f"{g[0]}–{g[-1]}" if len(g) > 1 else f"{g[0]}" for g in groups)


def coverage(shown: int, planned: int) -> str:
    """'all 60 planned runs', 'none of 60 planned runs', or '40 of 60 planned runs; the others were not run'."""
    if shown in (0, planned):
        return f"{'all' if shown else 'none of'} {planned} planned runs"
    return f"{shown} of {planned} planned runs; the others were not run"


def ratio_text(pair: Paired | None) -> str:
    """A ratio with its interval, for a table: '0.56 (0.53 to 0.59)'; empty where there is none."""
    if not pair or not pair.n:
        return ""
    return f"{pair.mean:.3g}" + (f" ({pair.low:.3g} to {pair.high:.3g})" if pair.n > 1 else "")


def ratio_with_n(pair: Paired | None) -> str:
    """The same with its n, and the pairs that diverged: '0.56 (0.53 to 0.59), n = 5'."""
    if pair is None:
        return ""
    lost = f", {pair.diverged} diverged" if pair.diverged else ""
    return f"{ratio_text(pair)}, n = {pair.n}{lost}".removeprefix(", ")


def separated(pair: Paired) -> str:
    """'lower', 'higher', or 'not separated' where the interval of a ratio contains 1."""
    if pair.high < 1:
        return "lower"
    return "higher" if pair.low > 1 else "not separated"


def includes_one(pair: Paired) -> bool:
    """Whether the interval of a ratio contains 1."""
    return separated(pair) == "not separated"


def ratio_sentence(pair: Paired | None) -> str:
    """A ratio in a sentence: '−3.2 % (95 % CI −5.0 to −1.3, n = 5)'; from 2 on '8.3 times (95 % CI 7 to 10, ...)'."""
    if pair is None:
        return "not run"
    lost = f", {pair.diverged} diverged" if pair.diverged else ""
    if not pair.n:
        return f"no pair finished (n = 0{lost})"
    numbers = [pair.mean, pair.low, pair.high]
    if pair.mean < 2:
        change, low, high = (f"{100 * (x - 1):+.1f}".replace("-", "−") for x in numbers)
        change += " %"
    else:
        change, low, high = (f"{x:.2g}" if x < 10 else f"{x:,.0f}" for x in numbers)
        change += " times"
    interval = f"{100 * pair.level:.0f} % CI {low} to {high}, " if pair.n > 1 else ""
    return f"{change} ({interval}n = {pair.n}{lost})"
