"""Statistics against SciPy, brute force, simulation, and the facts on which the protocol rests."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from rotvq.analysis import stats

A = [0.031, 0.028, 0.030, 0.027, 0.033]
B = [0.034, 0.033, 0.030, 0.031, 0.035]


def test_paired_is_scipys_paired_t_interval():
    found = stats.paired(A, B)
    oracle = scipy_stats.ttest_rel(A, B).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high), rel=1e-12)
    assert found.n == 5 and found.diverged == 0 and found.mean == pytest.approx(-0.0028, rel=1e-12)
    assert found.differences == pytest.approx([-0.003, -0.005, 0, -0.004, -0.002])


def test_a_known_interval():
    # 1, 2, 3: mean 2, s = 1, t(0.975, 2 degrees of freedom) = 4.302653 from a table.
    found = stats.mean_interval([1, 2, 3])
    assert (found.mean, found.high - 2, 2 - found.low) == pytest.approx((2, 4.302653 / math.sqrt(3), 4.302653 / 3**0.5))
    assert stats.mean_interval([1, 2, 3], level=0.5).high < found.high


def test_equal_differences_have_an_interval_of_no_width():
    found = stats.paired([1.0, 2.0, 3.0], [0.5, 1.5, 2.5])
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5) and found.p == 0.25


@pytest.mark.parametrize("values, n", [([], 0), ([3.0], 1), ([3.0, None], 1), ([None, math.nan, math.inf], 0)])
def test_fewer_than_two_values_bound_nothing(values, n):
    found = stats.mean_interval(values)
    assert (found.n, found.low, found.high, found.diverged) == (n, -math.inf, math.inf, len(values) - n)
    assert found.mean == 3 if n else math.isnan(found.mean)
    assert stats.paired(values, [1.0] * len(values)).p == min(1, 2 / 2 ** len(values))  # each a loss


def test_ratio_is_the_t_interval_of_logarithms():
    found, logs = stats.ratio(A, B), stats.paired(np.log(A), np.log(B))
    assert (found.mean, found.low, found.high) == pytest.approx(tuple(np.exp([logs.mean, logs.low, logs.high])))
    assert found.differences == pytest.approx(np.divide(A, B)) and found.p == logs.p
    assert stats.ratio([2.0, 4.0], [1.0, 2.0]).mean == pytest.approx(2)
    inverse = stats.ratio(B, A)
    assert (1 / inverse.high, 1 / inverse.low) == pytest.approx((found.low, found.high))


def test_ratio_of_one_pair_and_of_diverged_pairs():
    one = stats.ratio([2.0], [1.0])
    assert (one.mean, one.low, one.high) == (pytest.approx(2), 0, math.inf)
    some = stats.ratio([2.0, None, 8.0], [1.0, 1.0, 4.0])
    assert (some.n, some.diverged, some.mean) == (2, 1, pytest.approx(2))
    none = stats.ratio([None], [1.0])
    assert (none.low, none.high, none.p) == (0, math.inf, 1) and math.isnan(none.mean)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: stats.paired([1.0, 2.0], [1.0]), "2 against 1"),
        (lambda: stats.sign_test([1.0], []), "1 against 0"),
        (lambda: stats.ratio([1.0, 0.0], [1.0, 1.0]), "positive values, not 0.0"),
        (lambda: stats.ratio([1.0], [-2.0]), "positive values, not -2.0"),
        (lambda: stats.paired(A, B, level=95), r"level is 95: it must be in \(0, 1\)"),
        (lambda: stats.holm([0.1, 1.2]), "p-values lie in"),
        (lambda: stats.holm([0.1, math.nan]), "p-values lie in"),
    ],
)
def test_a_bad_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- exact tests ---------------------------------------------------------------------------------------------------


def brute_force(d):
    sums = [sum(sign * x for sign, x in zip(signs, d)) for signs in itertools.product([-1, 1], repeat=len(d))]
    return sum(abs(s) >= abs(sum(d)) - 1e-9 for s in sums) / len(sums)


DIFFERENCES = {
    "mixed": [0.3, -0.1, 0.7, 0.2, -0.4, 0.9, 0.1],
    "ties among the sums": [0.1, 0.2, 0.3, -0.3, 0.1, 0.1],
    "zeros": [0.0, 0.0, 0.0],
    "one sign": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
    "scales": [1e-9, -1.0, 1e6],
    "small": [3e-6, -1e-6, 2e-6, 5e-6],
}


@pytest.mark.parametrize("d", DIFFERENCES.values(), ids=DIFFERENCES)
def test_sign_flip_is_brute_force_and_scipys_permutation_test(d):
    scale = max(map(abs, d)) or 1
    assert stats.sign_flip(d) == brute_force([x / scale for x in d])
    oracle = scipy_stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert stats.sign_flip(d) == pytest.approx(oracle.pvalue, rel=1e-12)
    assert stats.sign_flip(d) == stats.sign_flip([-x for x in d])


def test_sign_flip_beyond_twenty_is_random_but_fixed_and_agrees_with_the_exact_one(monkeypatch):
    d = np.random.default_rng(1).normal(0.3, 1, 16)
    exact = stats.sign_flip(d)
    monkeypatch.setattr(stats, "EXACT", 15)
    random = stats.sign_flip(d)
    # Binomial standard error of a share of 99,999 draws; four of them.
    assert random == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / stats.FLIPS))
    assert stats.sign_flip(d) == random != exact
    assert stats.sign_flip(np.ones(30)) == 1 / (1 + stats.FLIPS)  # never 0


def test_sign_flip_at_twenty_is_exact():
    assert stats.sign_flip(np.arange(1, 21)) == 2 / 2**20


@pytest.mark.parametrize(
    "a, b, wins, losses, ties, diverged, p",
    [
        ([1, 1, 1, 1], [2, 2, 2, 2], 4, 0, 0, (0, 0), 2 / 16),
        ([1, 3, 1, 1, 1], [2, 2, 2, 2, 1], 3, 1, 1, (0, 0), 10 / 16),
        ([1, None, 1, 1], [2, 2, math.inf, None], 3, 1, 0, (1, 2), 10 / 16),
        ([None, math.nan], [math.inf, None], 0, 0, 2, (2, 2), 1),
        ([None] * 6, [1] * 6, 0, 6, 0, (6, 0), 2 / 64),
        ([], [], 0, 0, 0, (0, 0), 1),
    ],
)
def test_sign_test_counts_a_diverged_run_as_worst(a, b, wins, losses, ties, diverged, p):
    found = stats.sign_test(a, b)
    assert (found.wins, found.losses, found.ties, found.diverged) == (wins, losses, ties, diverged)
    assert found.p == pytest.approx(p, rel=1e-12)


def test_the_interval_leaves_diverged_pairs_out_and_says_so():
    found = stats.paired([1.0, None, 3.0, 5.0], [0.5, 1.0, math.nan, 3.0])
    assert (found.n, found.diverged, found.differences) == (2, 2, (0.5, 2.0))
    assert found.mean == 1.25 and math.isfinite(found.low)


@pytest.mark.parametrize("compare", [stats.paired, stats.ratio])
def test_a_diverged_pair_counts_in_the_p_value_as_worst(compare):
    """The finite pairs alone favour a; with the diverged runs of a it wins as often as it loses."""
    a, b = [1.0, 1.0, 1.0, None, None, None], [2.0] * 6
    found = compare(a, b)
    assert found.signs == stats.sign_test(a, b) and found.p == found.signs.p == 1
    assert compare(a[:3], b[:3]).p == 0.25


# --- Holm ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "p, adjusted",
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.2], [0.2]),
        ([0.5, 0.6, 0.9], [1, 1, 1]),
        ([0.01, 0.011], [0.02, 0.02]),
        ([], []),
    ],
)
def test_holm_of_known_values(p, adjusted):
    assert stats.holm(p) == pytest.approx(adjusted)


def test_holm_is_the_step_down_procedure():
    """Rejected at alpha: go through the sorted p-values until the first with p > alpha / (m - k)."""
    draw = np.random.default_rng(0)
    for _ in range(200):
        p = draw.beta(0.3, 3, draw.integers(1, 8))
        rejected = set()
        for k, i in enumerate(np.argsort(p)):
            if p[i] > 0.05 / (len(p) - k):
                break
            rejected.add(i)
        assert {i for i, q in enumerate(stats.holm(p)) if q <= 0.05} == rejected


# --- what the protocol rests on ------------------------------------------------------------------------------------


def test_five_pairs_cannot_reach_005_and_six_can():
    smallest = {n: stats.paired(list(range(1, n + 1)), [0] * n).p for n in (5, 6, 10)}
    assert smallest == {5: 2 / 32, 6: 2 / 64, 10: 2 / 1024}
    assert smallest[5] > 0.05 > smallest[6]
    assert stats.sign_test([0] * 5, [1] * 5).p > 0.05


def test_ten_pairs_survive_holm_over_25_comparisons_and_not_over_26():
    best = stats.paired(list(range(1, 11)), [0] * 10).p
    assert min(stats.holm([best] * 25)) < 0.05 < min(stats.holm([best] * 26))


@pytest.mark.parametrize("n", [5, 10])
def test_the_t_interval_covers_95_percent(n):
    draw = np.random.default_rng(0)
    runs = 2_000
    covered = 0
    for a, b in zip(draw.normal(1.3, 1, (runs, n)), draw.normal(1, 1, (runs, n))):
        interval = stats.mean_interval(a - b)
        covered += interval.low < 0.3 < interval.high
    # Standard error of a share of 0.95 among 2,000: 0.0049. Three of them.
    assert covered / runs == pytest.approx(0.95, abs=0.015)


def test_a_percentile_bootstrap_of_five_covers_far_less():
    """Why there is none here: it covers about 83 %."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(1_000, 5))
    means = x[np.arange(1_000)[:, None, None], draw.integers(0, 5, (1_000, 500, 5))].mean(-1)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    assert ((low < 0) & (0 < high)).mean() == pytest.approx(0.83, abs=0.04)


def test_sign_flip_keeps_its_level_under_heavy_tails():
    """p <= 0.1 in at most 10 % of samples that are symmetric about 0; here Cauchy."""
    draw = np.random.default_rng(0)
    share = np.mean([stats.sign_flip(d) <= 0.1 for d in draw.standard_cauchy((2_000, 8))])
    # An exact test: the level is floor(0.1 * 256) / 256 = 0.098; three standard errors of 0.0067.
    assert share == pytest.approx(0.098, abs=0.02)
