"""What was claimed about convergence, and runs that decide it."""

from __future__ import annotations

import cmath
import math
from functools import lru_cache

import torch

from book.algebra import norm, normal, polar, pull_back, vector
from book.ledger.evidence.collapse import sufficient_conditions
from book.ledger.evidence.pull_back import gain_of_the_pull_back
from book.ledger.evidence.rotation import alternative_formula, rotation_formula, rotation_properties, smallest_rotation
from book.ledger.evidence.samples import lookup
from book.statements import Finding, evidence
from rotvq.quantizers.estimators import ESTIMATORS

LARGE = 1.9  # eta h of a step that is almost too large


CODES = (-1.0, 1.0)  # on the line, of the loss q^2/2


@evidence
def ste_rate():
    """Codes -1 and 1, loss q^2 / 2: STE hovers at the boundary, the mean squared gradient stays 1, the bound is eta.

    The mean squared gradient of z^2 / 2, the loss without quantiser, has a bound with the largest squared error in it.
    """
    eta, T, start = 0.01, 2000, 0.3
    gain = float(pull_back("ste", vector(start), vector(1.0), vector(1.0)))
    z, squares, plain, largest_error = start, 0.0, 0.0, 0.0
    for _ in range(T):
        q = min(CODES, key=lambda code: abs(z - code))
        squares, plain, largest_error = squares + q * q / T, plain + z * z / T, max(largest_error, (q - z) ** 2)
        z -= eta * gain * q  # the slope of q^2/2 is q
    bound = 2 * (0.5 - 0.5) / (eta * T) + eta * 1.0
    return Finding.of(
        squares <= bound,
        abs(z) <= eta and plain <= start**2 / (eta * T) + largest_error,
        mean_squared_gradient=squares,
        bound=bound,
        mean_squared_gradient_without_quantiser=plain,
    )


SLOPE = 1j  # of the loss at the one code of the orbit, as a complex number


@lru_cache(maxsize=1)
def _orbit(eta=1e-3, steps=8000):
    """One code q = 1 and a constant gradient; in the plane the pull-back is g conj(q / z), complex numbers."""
    check = pull_back("rotation", polar(40), polar(0), vector(SLOPE.real, SLOPE.imag))
    z, squares, turned, ratios = 1 + 0j, 0.0, 0.0, []
    for _ in range(steps):
        u = SLOPE * (1 / z).conjugate()
        squares, new = squares + abs(u) ** 2 / steps, z - eta * u
        turned, z = turned + cmath.phase(new / z), new
        ratios.append(1 / abs(z))
    expected = SLOPE * (1 / cmath.exp(1j * math.radians(40))).conjugate()
    matches = abs(complex(*check.tolist()) - expected) < 1e-12
    return squares, min(ratios), max(ratios), turned, matches


@evidence
def rotation_rate():
    """q = (1, 0), g = (0, 1): r stays at 1 to a percent, z circles the origin, the gradient never shrinks."""
    eta, steps = 1e-3, 8000
    squares, low, high, turned, matches = _orbit(eta, steps)
    bound = 0.0 / (eta * steps * low**2) + eta * high**2  # there is one code, so the loss is constant: L_0 = L*
    return Finding.of(
        squares <= bound,
        matches and low > 0.98 and high < 1.02 and abs(turned) > 6.28,
        mean_squared_gradient=squares,
        bound=bound,
        smallest_r=low,
        largest_r=high,
        radians_turned=abs(turned),
    )


@evidence
def no_proof():
    """The convergence theorems offered for STE and rotation both fail on examples of one or two codes."""
    ste, rotation = ste_rate(), rotation_rate()
    return Finding.of(
        not ste.claim and not rotation.claim,
        STE=ste.numbers["mean_squared_gradient"],
        bound_for_STE=ste.numbers["bound"],
        rotation=rotation.numbers["mean_squared_gradient"],
        bound_for_rotation=rotation.numbers["bound"],
    )


@evidence
def rate_at_ratio_one():
    """At r = 1 a step of the rotation may raise a smooth loss at first order where STE's lowers it."""
    z, q = polar(0), polar(120)
    goal = 1.5 * polar(60)  # of the loss |x - goal|^2 / 2
    change = {name: -float(pull_back(name, z, q, q - goal) @ (z - goal)) for name in ("rotation", "ste")}
    return Finding.of(
        change["rotation"] <= change["ste"] + 1e-12,
        None,
        first_order_change_of_loss_rotation=change["rotation"],
        first_order_change_of_loss_STE=change["ste"],
    )


@evidence
def constant_ratio(which):
    """With r constant, descent on a quadratic contracts by 1 - eta r h: unstable above eta = 2 / (r h).

    Below eta = 1/h a small r is slower; near 2/h it is faster.
    """

    def steps(r, eta=0.1, h=1.0):
        x, q, n = 1.0, vector(float(r)), 0
        gain = float(pull_back("rotation", vector(1.0), q, vector(1.0)))
        while 1e-6 < abs(x) < 1e6 and n < 10_000:
            x, n = x - eta * gain * h * x, n + 1
        return n if abs(x) <= 1e-6 else math.inf

    slower, diverges = steps(0.5) > steps(1.0), steps(1.0) < math.inf == steps(25.0)
    claim, fix = {
        "slow or unstable": (slower and diverges and steps(0.5, LARGE) > steps(1.0, LARGE), slower and diverges),
        "can be unstable": (diverges, None),
    }[which]
    return Finding.of(
        claim,
        fix,
        steps_at_r_1=steps(1.0),
        steps_at_r_0_5=steps(0.5),
        steps_at_r_25=steps(25.0),
        steps_at_r_1_and_a_large_rate=steps(1.0, LARGE),
        steps_at_r_0_5_and_a_large_rate=steps(0.5, LARGE),
    )


@evidence
def mean_ratio_one():
    """Not needed: r = 0.5 throughout converges. Nor enough: with r = 1 at every step the latent circles for ever."""
    orbit, half = rotation_rate(), constant_ratio("can be unstable")
    steps = half.numbers["steps_at_r_0_5"]
    return Finding.of(
        steps > 1000,
        steps < 1000 and orbit.fix,
        gradient_at_ratio_1=orbit.numbers["mean_squared_gradient"],
        steps_at_r_0_5=steps,
    )


COMMITMENT = 0.25  # gamma of the gradient whose length is measured


@evidence
def effective_rate(which):
    """r scales the reconstruction part of the SGD step only; commitment and Adam do not follow."""
    z, q, g = vector(1.0, 0), vector(0.2, 0.1), vector(0.5, 1)
    r = float(norm(q) / norm(z))
    part = float(norm(ESTIMATORS["scale_only"].pull_back(z, q, g)) / norm(g))
    pull = 2 * COMMITMENT * (z - q)
    whole = norm(pull_back("rotation", z, q, g) + pull) / norm(g + pull)
    other = float(norm(pull_back("rotation", vector(0.5, 0), q, g)) / norm(g))
    claim, fix = {
        "all of it": (abs(whole - r) < 1e-9, abs(part - r) < 1e-12),
        "differs between samples": (abs(other - part) > 0.1, None),
    }[which]
    return Finding.of(claim, fix, r=r, gain_of_the_reconstruction_part=part, gain_of_the_whole_gradient=whole)


@evidence
def varying_ratio():
    """r drawn from {0.1, 1.9}, variance 0.81, or from a hundred times that: descent on a quadratic still converges.

    The step is eta h = 0.1, or a hundredth of it.
    """
    ends = {}
    for size in (1, 100):
        x, draws = 1.0, [0.1 * size, 1.9 * size]
        gains = [float(pull_back("rotation", vector(1.0), vector(r), vector(1.0))) for r in draws]
        for u in normal(2000, seed=3):
            x *= 1 - 0.1 / size * gains[int(u > 0)]
        ends[(draws[1] - draws[0]) ** 2 / 4] = abs(x)
    (small, end), (large, other) = ends.items()
    return Finding.of(
        min(ends.values()) > 1e-3,
        max(ends.values()) < 1e-6,
        variance_of_r=small,
        distance_after_2000_steps=end,
        larger_variance=large,
        distance_then=other,
    )


@evidence
def lipschitz():
    """A loss of q jumps where q does: codes -1, 1 and L(q) = q have slope 2 / (2 delta) across the boundary."""
    delta, codes = 1e-6, vector(-1.0, 1.0)
    left, right = lookup(vector(-delta, delta)[:, None], codes[:, None])
    slope = float(right - left) / (2 * delta)
    return Finding.of(slope < 1e3, None, difference_quotient_across_the_boundary=slope)


@evidence
def bounded_norms():
    """Under a constant gradient latent and code leave every ball; decay holds them, but near 0 the gain is 1e6."""

    def end(decay):
        z, q = vector(1.0, 0), vector(1.0, 0)
        for _ in range(2_000):  # the free latent runs away at the speed 0.8: to 17 in this time
            u = pull_back("ste", z, q, vector(-1.0, 0)) + 0.5 * (z - q) + decay * z
            z, q = z - 0.01 * u, q - 0.02 * (q - z)
        return norm(z)

    free, held = end(0.0), end(1.0)
    gain = norm(pull_back("rotation", vector(1e-6, 0), vector(1.0, 0), vector(0, 1.0)))
    return Finding.of(
        free < 10, held < 10 and abs(gain - 1e6) < 1, length_without_decay=free, with_decay=held, gain_near_0=gain
    )


def ema_decay(t):
    """The decay of the EMA at step t: constant, as it is used."""
    return 0.99


@evidence
def online_kmeans():
    """A constant EMA decay leaves the codes wandering; running means reach 1/t; poor starts stay poor."""
    sigma2, T = 1.0, 60_000
    e, ema = 0.0, 0.0
    for i, x in enumerate(normal(T, seed=4).tolist()):
        decay = ema_decay(i)
        e = decay * e + (1 - decay) * x
        ema += e * e * (i >= T // 2) / (T // 2)
    law = (1 - decay) / (1 + decay) * sigma2
    running = [float(normal(400, t, seed=5).mean(1).square().mean()) * t for t in (100, 1000)]
    data = vector(-1.0, 1, 9, 11, 19, 21)  # three groups of two, three codes
    poor = vector(-1.0, 1, 15)
    for _ in range(50):
        k = (data[:, None] - poor).abs().argmin(1)
        poor = torch.stack([data[k == i].mean() for i in range(3)])
    stuck = (data - poor[(data[:, None] - poor).abs().argmin(1)]).square().mean()
    return Finding.of(
        ema < 1e-3,
        abs(ema / law - 1) < 0.2 and abs(running[0] - 1) < 0.2 and abs(running[1] - 1) < 0.2 and stuck > 5,
        ema_squared_error=ema,
        predicted=law,
        t_times_error_of_running_mean=running[1],
        error_of_a_poor_fixed_point=stuck,
        error_of_the_best=1.0,
    )


def latents_mean(t):
    """The mean of the latents at step t of 2000: it drifts from 0 to 1."""
    return t / 2000


@evidence
def minibatch_kmeans():
    """Latents whose mean drifts from 0 to 1: running means of all of them lag behind, the EMA follows."""
    running = ema = 0.0
    for t in range(1, 2001):
        x = latents_mean(t)
        running, ema = running + (x - running) / t, 0.99 * ema + 0.01 * x
    return Finding.of(
        abs(running - ema) < 0.01,
        abs(ema - 1) < 0.06 and abs(running - 0.5) < 0.01,
        mean_of_the_latents_now=latents_mean(2000),
        running_mean=running,
        ema=ema,
    )


def _himmelblau(name, K, starts=20, points=128, steps=100):
    """Distortion and objective after the updates of all starts at once: step 1e-3, EMA 0.8, codes from the points."""
    z = 10 * torch.rand(starts, points, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 5
    codes = z[:, :K].clone()
    counts, sums = torch.ones(starts, K, dtype=z.dtype), codes.clone()

    def quantise():
        """The index of the nearest code, the code, and the two terms of which the objective is the sum of squares."""
        k = torch.cdist(z, codes).argmin(-1)
        q = codes.gather(1, k[..., None].expand(-1, -1, 2))
        x, y = q[..., :1], q[..., 1:]
        return k, q, x * x + y - 11, x + y * y - 7

    for _ in range(steps):
        k, q, u, v = quantise()
        x, y = q[..., :1], q[..., 1:]
        g = torch.cat([4 * x * u + 2 * v, 2 * u + 4 * y * v], -1)
        z = z - 1e-3 * pull_back(name, z, q, g)
        counts = 0.8 * counts + 0.2 * torch.zeros_like(counts).scatter_add_(1, k, torch.ones_like(z[..., 0]))
        sums = 0.8 * sums + 0.2 * torch.zeros_like(sums).scatter_add_(1, k[..., None].expand(-1, -1, 2), z)
        codes = sums / counts[..., None]
    _, q, u, v = quantise()
    return (z - q).square().sum(-1).mean(1), (u * u + v * v).mean((1, 2))


@evidence
def himmelblau():
    """Himmelblau's function as the paper describes it, 20 starts each with 4, 16 and 64 codes: who ends lower."""
    numbers = {}
    for K in (4, 16, 64):
        ste, rotation = (_himmelblau(name, K) for name in ("ste", "rotation"))
        numbers[f"lower_distortion_in_20_K_{K}"] = int((rotation[0] < ste[0]).sum())
        numbers[f"lower_objective_in_20_K_{K}"] = int((rotation[1] < ste[1]).sum())
    return Finding.of(min(numbers.values()) >= 15, 0 < min(numbers.values()) <= max(numbers.values()) < 20, **numbers)


@evidence
def theory_is_solid():
    """The derivation's theorems on convergence and collapse, and its second formula for R, hold."""
    told = {
        "convergence_under_STE": ste_rate(),
        "convergence_under_rotation": rotation_rate(),
        "condition_for_collapse": sufficient_conditions(),
        "formula_for_R": alternative_formula(),
    }
    holds = [rotation_formula(), gain_of_the_pull_back("q over z"), smallest_rotation()]
    holds += map(rotation_properties, ("orthogonal", "norm", "determinant"))
    return Finding.of(
        any(one.claim for one in told.values()),
        all(one.claim for one in holds),
        **{name: "holds" if one.claim else "fails" for name, one in told.items()},
    )
