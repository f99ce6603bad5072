"""Metrics and comparisons in words: a ratio for a table, for a sentence, and its verdict."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rotvq.analysis.stats import Paired, paired

ALPHA = 0.05  # of the primary comparisons of a page together
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


def row_labels(keys: Sequence[tuple[str, str]]) -> list:
    """What tells the rows of a table apart, from the arm and the cell of each: cells, arms, or both as two columns."""
    arms, cells = (list(labels) for labels in zip(*keys)) if keys else ([], [])
    if len(set(arms)) <= 1 and cells != [""]:
        return cells
    return arms if len(set(cells)) == 1 else [cells, arms]


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


Rule = Callable[[Any], bool | None]  # says of a comparison whether something is true, false or open (None)


def above(bound: float) -> Rule:
    """Whether a comparison is above ``bound``; open where its interval contains that, or a pair diverged."""
    return _settled(lambda pair: pair.low > bound, lambda pair: pair.high < bound)


def below(bound: float) -> Rule:
    """Whether a comparison is below ``bound``; open where its interval contains that, or a pair diverged."""
    return _settled(lambda pair: pair.high < bound, lambda pair: pair.low > bound)


def within(share: float) -> Rule:
    """Whether a ratio is within ``share`` of 1, up or down by that factor; open as above.

    >>> from rotvq.analysis.stats import ratio
    >>> [within(0.1)(ratio([x, x + 0.01, x + 0.02], [1.0, 1.0, 1.0])) for x in (1.0, 1.5, 1.08)]
    [True, False, None]
    """
    least, most = 1 / (1 + share), 1 + share
    return _settled(
        lambda pair: least <= pair.low and pair.high <= most, lambda pair: pair.high < least or most < pair.low
    )


def _settled(true: Callable[[Paired], bool], false: Callable[[Paired], bool]) -> Rule:
    def judged(pair: Paired) -> bool | None:
        if pair.diverged:
            return None
        if true(pair):
            return True
        return False if false(pair) else None

    return judged


lower, higher = below(1), above(1)  # of a ratio


def nearer(two: tuple[Paired, Paired]) -> bool | None:
    """Whether the first of two ratios over the same seeds is nearer to 1 than the second, in its logarithm.

    None where the interval of the difference contains 0, or where a pair diverged.
    """
    if two[0].n != two[1].n or any(pair.diverged for pair in two):
        return None
    found = paired(*([abs(math.log(x)) for x in pair.differences] for pair in two))
    return None if found.low <= 0 <= found.high else found.high < 0


def outcome(parts: Iterable, holds: Rule = bool) -> str:
    """What became of a hypothesis: 'held', 'held in part', 'wrong', 'not settled' or 'not run'.

    Args:
        parts: Of what it speaks; a part that is None was not run.
        holds: Says of a part whether the hypothesis is true, false or open (None).

    >>> [outcome(parts) for parts in ([True, True], [True, False], [False], [True, None], [])]
    ['held', 'held in part', 'wrong', 'not run', 'not run']
    >>> outcome([1.5, 0.5], {1.5: True, 0.5: None}.get)
    'not settled'
    """
    parts = list(parts)
    if not parts or any(part is None for part in parts):
        return "not run"
    said = [holds(part) for part in parts]
    if all(said):
        return "held"
    if False in said:
        return "held in part" if True in said else "wrong"
    return "not settled"


def judge(pairs: Paired | None | Mapping[str, Paired | None], holds: Rule) -> tuple[str, str]:
    """A row of the table of hypotheses: what was measured, of one ratio or of several by name, and its `outcome`."""
    if not isinstance(pairs, Mapping):
        return ratio_with_n(pairs), outcome([pairs], holds)
    return listed(pairs), outcome(pairs.values(), holds)


def listed(pairs: Mapping[str, Paired | None]) -> str:
    """Ratios by name: 'exact 1.9 (1.7 to 2.1); Hessian 2.1 (1.8 to 2.4)'. What was not run is left out."""
    return "; ".join(f"{name} {ratio_text(pair)}" for name, pair in pairs.items() if pair)


def verdict(pair: Paired | None, expected: str, p: float) -> str:
    """'as expected' or 'the opposite'; 'not settled' where Holm's p is not below `ALPHA`; 'not run'."""
    if expected not in ("lower", "higher"):
        raise ValueError(f"expected is {expected!r}: it must be lower or higher")
    if pair is None:
        return "not run"
    if p >= ALPHA:
        return "not settled"
    came_lower = pair.signs.wins > pair.signs.losses if pair.diverged else pair.mean < 1
    return "as expected" if came_lower == (expected == "lower") else "the opposite"


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
