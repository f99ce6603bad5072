"""Bias against the gradient of the expected loss when the latents are dithered."""

from __future__ import annotations

import math

import torch

from book.algebra import largest, nearest, norm, normal, pull_back, vector
from book.ledger.evidence.samples import lookup, quantised
from book.statements import Finding, evidence

GRID = 20_001


def lattice(z):
    """The code of a latent: the nearest integer."""
    return z.round()


def _dithered(m: float):
    """Latents m + e, e uniform on one cell of the lattice of integers (a fine midpoint rule), and their codes."""
    z = m + (torch.arange(GRID, dtype=torch.float64) + 0.5) / GRID - 0.5
    return z, lattice(z)


def target(m: float, h: float, y: float, linear: float) -> float:
    """The gradient of the expected loss: the slope of the chord between the codes beside m."""
    return h * (math.floor(m) + 0.5 - y) + linear


def _estimates(m: float, h: float, y: float, linear: float = 0.0):
    """True gradient of E L, STE and rotation for L(q) = h (q - y)^2 / 2 + linear q, in d = 1."""

    def slope(q):
        return h * (q - y) + linear

    z, q = (x[:, None] for x in _dithered(m))
    ste, rotation = (float(pull_back(name, z, q, slope(q)).mean()) for name in ("ste", "rotation"))
    return target(m, h, y, linear), ste, rotation


@evidence
def true_gradient():
    """VQ has derivative 0 almost everywhere, so E[grad L(VQ(z))] is 0 as written; the gradient of E L is not."""
    true, _, _ = _estimates(3.2, 1.0, 0.0)
    z, q = _dithered(3.2)
    pointwise = ((lattice(z + 1e-9).square() - q.square()) / 2 / 1e-9).mean()
    step = 1e-4
    values = []
    for m in (3.2 + step, 3.2 - step):
        p = m - math.floor(m)
        values.append((1 - p) * 3.0**2 / 2 + p * 4.0**2 / 2)
    return Finding.of(
        pointwise.abs() > 1e-6,
        pointwise.abs() < 1e-12 and abs((values[0] - values[1]) / (2 * step) - true) < 1e-6,
        pointwise=pointwise,
        gradient_of_the_expected_loss=true,
    )


@evidence
def ste_bias(which):
    """Under uniform dither STE's bias is h (p - 1/2): 0 for linear loss, 0 on average, h/2 at worst."""
    biases = []
    for p in (0.05, 0.2, 0.5, 0.8, 0.95):
        true, ste, _ = _estimates(3 + p, 1.0, 0.7)
        biases.append((ste - true, p - 0.5))
    law = max(abs(b - x) for b, x in biases)
    true, ste, _ = _estimates(3.2, 0.0, 0.0, linear=1.0)
    linear, mean, worst = abs(ste - true), abs(sum(b for b, _ in biases)), max(abs(b) for b, _ in biases)
    spread = _estimates(3.1, 1.0, 0.7)[0] - _estimates(3.9, 1.0, 0.7)[0]
    claim, fix = {
        "always biased": (linear > 1e-9, linear < 1e-12 and law < 1e-3),
        "can be large": (worst > 0.4, None),
        "comes from VQ(z) not z": (linear > 1e-9, law < 1e-3),
        # the true gradient itself is the same for all m between two codes
        "comes from constancy in a cell": (abs(spread) > 1e-9, law < 1e-3),
    }[which]
    return Finding.of(claim, fix, bias_for_linear_loss=linear, largest_bias_for_curvature_1=worst, mean_bias=mean)


@evidence
def rotation_bias():
    """Rotation is biased even for a linear loss: E[q/z] = 1.00081 at m = 3.2 against STE's exact 1.

    Not so by symmetry: codes -1 and 1, latents that are as often z as -z, and an even loss make both means 0.
    """
    true, ste, rot = _estimates(3.2, 0.0, 0.0, linear=1.0)
    law = 3 * math.log(3.5 / 2.7) + 4 * math.log(3.7 / 3.5)
    z, codes = normal(500, 1, seed=1), vector(-1.0, 1.0)[:, None]
    z = torch.cat([z, -z])
    q = codes[nearest(z, codes)]
    even = float(pull_back("rotation", z, q, q).mean())  # L(q) = q^2/2 is the same at both codes: the target is 0
    return Finding.of(
        abs(even) > 1e-9,
        abs(rot - true) > 1e-4 and abs(rot - law) < 1e-5,
        true=true,
        rotation=rot,
        closed_form=law,
        STE=ste,
        bias_by_symmetry=even,
    )


def _against_the_derivative() -> tuple[dict[str, float], float]:
    """E|G^T g - J g| of G = 0 and of STE, J the derivative of the lookup, and E|g|."""
    codes, z, q = quantised()
    step = 1e-6 * normal(*z.shape, seed=3)
    changes = norm(lookup(z + step, codes) - lookup(z, codes)) / norm(step)
    derivative = changes.median()  # of the lookup along a random direction, as almost everywhere
    g = normal(*z.shape, seed=4)
    bias = {name: norm(pull_back(name, z, q, g) - derivative * g).mean() for name in ("zero", "ste")}
    return {name: float(value) for name, value in bias.items()}, float(norm(g).mean())


@evidence
def bias_definition():
    """Definition 2.3 compares with the derivative 0: STE's bias is E|g|, and G = 0 has none."""
    bias, size = _against_the_derivative()
    return Finding.of(
        abs(bias["ste"] - size) < 1e-2 and bias["zero"] < 1e-2,
        bias_of_STE=bias["ste"],
        mean_length_of_g=size,
        bias_of_G_0=bias["zero"],
    )


@evidence
def what_is_approximated():
    """Measured against the true pointwise derivative G = 0, which trains nothing, is nearer than STE."""
    bias, _ = _against_the_derivative()
    return Finding.of(
        bias["ste"] < bias["zero"],
        bias["zero"] < 1e-2 < bias["ste"],
        distance_of_G_0=bias["zero"],
        distance_of_STE=bias["ste"],
    )


@evidence
def close_to_ste():
    """|G^T g - g| <= |g| |q - z| / |z|: small quantisation error must be read relative to |z|."""
    worst = 0.0
    for d in (2, 8):
        for seed in range(50):
            z, q, g = normal(3, d, seed=seed)
            worst = largest(worst, norm(pull_back("rotation", z, q, g) - g) * norm(z) / (norm(g) * norm(q - z)))
    z, q, g = vector(1e-3, 0), vector(0, 1e-3), vector(1.0, 0)
    return Finding.of(
        norm(pull_back("rotation", z, q, g) - g) < 0.1,
        worst <= 1 + 1e-12,
        largest_share_of_the_bound=worst,
        error_of_a_close_pair=norm(q - z),
        difference_from_STE=norm(pull_back("rotation", z, q, g) - g),
    )


SHORT = 1e-3  # the length of codes that are far shorter than their latents


@evidence
def norm_bias(which):
    """E| |q|/|z| - 1 | is the mean relative change of the gradient's length; at most 1 for short codes.

    It is infinite in d = 1 if z may be near 0.
    """
    z = normal(200_000, 4, seed=1).norm(dim=1)
    short = (SHORT / z - 1).abs().mean()
    cut = [float((1.0 / normal(2_000_000, seed=2).abs().clamp_min(c)).mean()) for c in (1e-2, 1e-4)]
    z, q, g = normal(3, 1000, 4, seed=3)
    changes = (norm(pull_back("rotation", z, q, g)) / norm(pull_back("ste", z, q, g)) - 1).abs()
    gap = (changes - (norm(q) / norm(z) - 1).abs()).abs().max()
    claim, fix = {
        "change of length": (gap < 1e-9, None),
        "very large for short codes": (short > 1, 0.9 < short < 1),
    }[which]
    return Finding.of(
        claim,
        fix,
        largest_gap_to_the_change_of_length=gap,
        bias_at_codes_a_thousandth=short,
        mean_of_1_over_z_cut_at_1e_2=cut[0],
        cut_at_1e_4=cut[1],
    )


@evidence
def unreasonable_gradient():
    """For a linear loss under dither STE's gradient is exact, at the boundary as elsewhere."""
    f = ste_bias("always biased")
    return Finding.of(None, f.fix, **f.numbers)
