"""Statistics of a few paired runs: intervals, exact tests, and Holm's correction.

Two arms are compared seed by seed. The interval is Student's t on the differences; the tests are exact. There is no
bootstrap: at n = 5 a percentile interval that claims 95 % covers 83 %. With n pairs no exact two-sided test gives
less than p = 2 / 2^n, so five pairs cannot reach 0.05, and ten cannot survive Holm's correction over more than 25
comparisons.

A run that diverged is None, NaN or infinite. Differences and intervals leave its pair out and say how many were left
out. `sign_test` counts it as the worst outcome there is; a comparison with such a pair has the p-value of that test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

EXACT = 20  # pairs up to which all 2^n sign flips are enumerated
FLIPS = 99_999  # random ones beyond

Values = Sequence[float | None]


@dataclass(frozen=True)
class Interval:
    """Mean of n finite values with a t interval; `diverged` values were left out.

    >>> mean_interval([1.0, 2.0, 3.0, None])
    Interval(n=3, mean=2.0, low=-0.48..., high=4.48..., level=0.95, diverged=1)
    """

    n: int
    mean: float
    low: float
    high: float
    level: float
    diverged: int


@dataclass(frozen=True)
class Paired:
    """Comparison of n finite pairs; `diverged` pairs, in which a run of either arm diverged, were left out.

    `paired` reports differences a - b, `ratio` ratios a / b, then `mean` is the geometric mean. `differences` holds one
    value a pair on the same scale as `mean`, `low` and `high`. `p` is exact and two-sided: that of the sign-flip test,
    or, where a pair diverged, of the sign test in `signs`, the only one that can rank a diverged run.
    """

    n: int
    mean: float
    low: float
    high: float
    p: float
    differences: tuple[float, ...]
    level: float
    diverged: int
    signs: Signs


@dataclass(frozen=True)
class Signs:
    """Pairs in which a was lower (`wins`), higher (`losses`) or equal (`ties`), and the exact binomial p-value.

    `diverged` counts the diverged runs of (a, b).
    """

    wins: int
    losses: int
    ties: int
    p: float
    diverged: tuple[int, int]


def mean_interval(values: Values, level: float = 0.95) -> Interval:
    r"""Mean and t interval :math:`\bar x \pm t_{n-1}\, s / \sqrt n`; -inf to inf for fewer than two values.

    Raises:
        ValueError: level is not in (0, 1).

    >>> mean_interval([4.0]).high
    inf
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: it must be in (0, 1)")
    every = _array(values)
    x = every[np.isfinite(every)]
    n = len(x)
    mean = float(x.mean()) if n else math.nan
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * x.std(ddof=1) / math.sqrt(n)) if n > 1 else math.inf
    low, high = (mean - half, mean + half) if n else (-math.inf, math.inf)
    return Interval(n, mean, low, high, level, len(every) - n)


def paired(a: Values, b: Values, level: float = 0.95) -> Paired:
    """Compare a with b by the differences a - b: mean, t interval, sign-flip p. Negative where a is lower.

    >>> found = paired([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    >>> found.mean, found.p
    (-2.0, 0.25)
    """
    return _compare(*_pairs(a, b), level)


def ratio(a: Values, b: Values, level: float = 0.95) -> Paired:
    """Compare a with b by the ratios a / b: everything is computed on log a - log b, then exponentiated.

    Raises:
        ValueError: A finite value is not positive.

    >>> round(ratio([1.0, 4.0], [2.0, 2.0]).mean, 6)    # of 1/2 and 2
    1.0
    """
    x, y = _pairs(a, b)
    for value in np.concatenate([x, y]):
        if value <= 0:
            raise ValueError(f"a ratio needs positive values, not {value}")
    logs = _compare(np.log(x), np.log(y), level)
    low, high = _exp(logs.low), _exp(logs.high)
    ratios = tuple(math.exp(d) for d in logs.differences)
    return replace(logs, mean=math.exp(logs.mean), low=low, high=high, differences=ratios)


def sign_test(a: Values, b: Values) -> Signs:
    """Exact two-sided binomial test of whether a is lower than b as often as higher. Lower is better.

    A diverged run is higher than every finite one and equal to another diverged one. Ties carry no sign: they are
    counted and left out.

    >>> sign_test([1.0, 1.0, None], [2.0, 1.0, 3.0])
    Signs(wins=1, losses=1, ties=1, p=1.0, diverged=(1, 0))
    """
    return _signs(*_pairs(a, b))


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p-value of the mean difference under the hypothesis that every sign is as likely as its opposite.

    The share of all 2^n choices of signs whose sum is at least as far from 0 as the one observed. Beyond 20 differences
    that of 99,999 random choices from a fixed generator, the observed one counted in.

    >>> sign_flip([1.0, 2.0, 3.0, 4.0, 5.0])            # 2 of 32 choices: the least that five pairs can give
    0.0625
    """
    d = np.asarray(differences, dtype=np.float64)
    threshold = abs(d.sum()) - 1e-12 * np.abs(d).sum()  # equal sums in another order differ by rounding
    if len(d) <= EXACT:
        sums = np.zeros(1)
        for step in d:
            sums = np.concatenate([sums + step, sums - step])
        return float((np.abs(sums) >= threshold).mean())
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (FLIPS, len(d)))
    return (1 + int((np.abs(signs @ d) >= threshold).sum())) / (1 + FLIPS)


def holm(pvalues: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: reject those below alpha, and all m errors together stay below it.

    The k-th smallest (k = 0, 1, ...) is multiplied by m - k, then raised to the largest before it and capped at 1.

    >>> holm([0.25, 0.01, 0.5])
    [0.5, 0.03, 0.5]
    """
    p = np.asarray(pvalues, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values lie in [0, 1], not {list(pvalues)}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted.tolist()


def _compare(x: np.ndarray, y: np.ndarray, level: float) -> Paired:
    finite = np.isfinite(x) & np.isfinite(y)
    d = x[finite] - y[finite]
    i, diverged, signs = mean_interval(d.tolist(), level), int((~finite).sum()), _signs(x, y)
    p = signs.p if diverged else sign_flip(d)
    return Paired(i.n, i.mean, i.low, i.high, p, tuple(d.tolist()), level, diverged, signs)


def _signs(x: np.ndarray, y: np.ndarray) -> Signs:
    wins, losses = int((x < y).sum()), int((x > y).sum())
    p = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    return Signs(wins, losses, len(x) - wins - losses, float(p), (int(np.isinf(x).sum()), int(np.isinf(y).sum())))


def _pairs(a: Values, b: Values) -> tuple[np.ndarray, np.ndarray]:
    if len(a) != len(b):
        raise ValueError(f"runs are paired by seed: {len(a)} against {len(b)} values")
    return _array(a), _array(b)


def _array(values: Values) -> np.ndarray:
    """float64, with inf for every run that diverged."""
    return np.array([math.inf if v is None or not math.isfinite(v) else float(v) for v in values], dtype=np.float64)


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else math.inf  # the largest float is exp(709.78)
