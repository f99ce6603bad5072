"""The book's own statements: its laws, and what they say of the solvable model."""

from __future__ import annotations

import math

import numpy as np

from book.theory import collapse as model
from book.theory import laws

from .base import evidence, found
from .collapse import CELLS, MU, RHO, collapses, threshold


@evidence
def law(*names):
    """Laws of the book on all their dimensions and pairs: none has an error above the one allowed."""
    holds, worst = True, 0.0
    for one in (laws.every()[name] for name in names):
        error = max(max(one.errors(d, kind=kind).values()) for d in one.dims for kind in one.kinds)
        holds, worst = holds and error <= one.allowed(), max(worst, error)
    return found(holds, laws=len(names), largest_error=worst)


@evidence
def stationary_balance():
    """gamma E|z - q|^2 = mu |W|^2 under the rotation, and half of E<g, q - z> more under STE, where the model rests."""
    gaps = {}
    for name in ("rotation", "ste"):
        s, t, w = model.fixed_point(name, CELLS, gamma := 0.5 * threshold("rotation"), MU)
        error = s * s - 2 * RHO * s * t + RHO * t * t
        radial = 2 * w * (w * t * RHO * t - w * t * RHO * s - RHO * t + s)  # E<g, q - z> with g = 2 w (w t c - x)
        gaps[name] = gamma * error - MU * w * w - (radial / 2 if name == "ste" else 0)
    return found(max(map(abs, gaps.values())) < 1e-12, gap_rotation=gaps["rotation"], gap_STE=gaps["ste"])


@evidence
def error_or_decoder():
    """Without decay, centroid codes (large beta): the integral of the error is half the growth of |W|^2 - |E|^2."""
    beta, gamma, times = 1e3, 1.0, np.linspace(0, 40, 40_001)
    s, t, w = model.flow("rotation", (1.0, 1.0, 1.0), times, CELLS, gamma=gamma, beta=beta)
    error = s * s - 2 * RHO * s * t + RHO * t * t
    integral = float(np.trapezoid(error, times))
    growth = float(w[-1] ** 2 - s[-1] ** 2 - w[0] ** 2 + s[0] ** 2) / (4 * gamma)
    return found(
        abs(integral / growth - 1) < 0.01 and w[-1] > 2 * w[0] and error[-1] < error[0] / 10,
        integral=integral,
        growth=growth,
        decoder_grew_by=w[-1] / w[0],
        error_fell_to=error[-1] / error[0],
    )


@evidence
def frozen_decoder():
    """s = w / (w^2 rho + gamma (1 - rho)) under STE, rho times that under the rotation; only STE can pass 1/w."""
    worst, sides = 0.0, []
    for w, gamma in ((1.0, 0.5), (1.0, 2.0), (0.5, 0.1), (2.0, 3.0)):
        ends = {
            name: model.flow(name, (1.0, 0.3, w), [200.0], CELLS, gamma=gamma, frozen=True)[0, -1]
            for name in ("ste", "rotation")
        }
        formula = w / (w * w * RHO + gamma * (1 - RHO))
        worst = max(worst, abs(ends["ste"] / formula - 1), abs(ends["rotation"] / (RHO * formula) - 1))
        sides.append((ends["ste"] > 1 / w) == (gamma < w * w) and ends["rotation"] < 1 / w)
    return found(worst < 1e-5 and all(sides), largest_relative_error=worst)


@evidence
def fourth_root():
    """Without decay s falls as (8 gamma (1 - rho) T)^(-1/4) under the rotation; STE stays at gamma^(-1/2)."""
    gamma, times = 2.0, np.geomspace(1e-2, 1e5, 50)
    path = model.flow("rotation", (1.0, 1.0, 1.0), times, CELLS, gamma=gamma, beta=1e3)
    law_, rests = (8 * gamma * (1 - RHO) * times[-1]) ** -0.25, []
    for r0 in (0.01, 1.0):
        rests.append(model.flow("ste", (1.0, r0, 1.0), times, CELLS, gamma=gamma)[0, -1])
    return found(
        abs(path[0, -1] / law_ - 1) < 1e-3 and max(abs(s * math.sqrt(gamma) - 1) for s in rests) < 1e-6,
        s_over_the_formula=path[0, -1] / law_,
        product_w_s=path[0, -1] * path[2, -1],
        s_under_STE=rests[0],
    )


@evidence
def window():
    """Three percent inside its ends the window has a collapse under the rotation and none under STE; outside not so."""
    ends = {
        f: (
            collapses(gamma=f * threshold("rotation"), time=3e3),
            collapses(estimator="ste", gamma=f * threshold("rotation"), time=3e3),
        )
        for f in (0.97, 1.03, 0.97 / RHO, 1.03 / RHO)
    }
    wanted = [(False, False), (True, False), (True, False), (True, True)]
    return found(
        list(ends.values()) == wanted,
        lower_end=threshold("rotation"),
        upper_end=threshold("ste"),
        quotient=threshold("ste") / threshold("rotation"),
    )


@evidence
def dip():
    """The least s on the way: sqrt(w rho (r0 + beta/gamma) / gamma) under the rotation, min(1, w/gamma) under STE."""
    small, gamma = 1e-4, 3.0
    times = np.concatenate([[0.0], np.geomspace(1e-3, 30 / small, 600)])
    weights = {"gamma": gamma, "beta": small, "frozen": True}
    least = {n: model.flow(n, (1.0, small, 1.0), times, CELLS, **weights)[0].min() for n in ("rotation", "ste")}
    estimate = math.sqrt(RHO * (small + small / gamma) / gamma)
    near = abs(least["rotation"] / estimate - 1) < 0.02 and abs(least["ste"] * gamma - 1) < 0.01
    return found(near, least_s_rotation=least["rotation"], estimate=estimate, least_s_STE=least["ste"])
