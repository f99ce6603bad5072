"""Shrinking latents in the model of :mod:`book.theory.collapse`: a normal variable, two codes, z = s x, q = t c.

``collapses`` says that they shrink, z and q to 0; low usage of the codes is another thing.
"""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np

from book.algebra import largest, norm, normal, pull_back, vector
from book.statements import Finding, evidence
from book.theory import collapse as model

RHO = 2 / math.pi  # E|c|^2 / E|x|^2 for two codes
CELLS = model.Cells(rho=RHO, rho_R=1.0, rho_r=RHO, rho_rr=RHO)
DECAY_W = 0.45
FREE = (3.0, 1.0)  # a free latent and its free code
CLIP = (0.5, 1.5)  # the bounds on r that Theorem 8.2 proposes
LAYERS = 2  # of the decoder in which the start decides


def threshold(estimator: str, decay_W: float = DECAY_W) -> float:
    """The commitment weight above which the norms vanish."""
    return model.threshold(RHO if estimator == "rotation" else 1.0, RHO, decay_W)


@cache
def run(estimator="rotation", gamma=1.0, beta=1.0, r0=1.0, decay_W=DECAY_W, decay_E=0.0, time=1e5) -> np.ndarray:
    """States (s, t, w) from s = 1, |q|/|z| = r0 (so t = r0 / sqrt(rho)), w = 1; 0 where the norms have vanished."""
    times = np.concatenate([[0.0], np.geomspace(1e-2, time, 400)])
    with np.errstate(invalid="ignore"):  # the solver may look past the end of the model, at s = t = 0
        states = model.flow(
            estimator,
            (1.0, r0 / math.sqrt(RHO), 1.0),
            times,
            CELLS,
            gamma=gamma,
            decay_W=decay_W,
            beta=beta,
            decay_E=decay_E,
        )
    return np.nan_to_num(states)


def collapses(**kw) -> bool:
    return bool(run(**kw)[0, -1] < 1e-9)


def losses(s, t, w):
    """Reconstruction loss E|x - w q|^2 and E|q - z|^2."""
    return 1 - 2 * RHO * w * t + RHO * (w * t) ** 2, s * s - 2 * RHO * s * t + RHO * t * t


def thresholds_hold() -> bool:
    """Three percent below and above the formula's threshold, rotation and STE do what it says."""
    return all(
        collapses(estimator=e, gamma=f * threshold(e), time=3e3) == (f > 1)
        for e in ("rotation", "ste")
        for f in (0.97, 1.03)
    )


@evidence
def sufficient_conditions():
    """gamma = 2, beta = 1000, r0 = 0.01 meets all three conditions and recovers; gamma = 3, beta = 0.02 ends at 0."""
    meets = collapses(gamma=2.0, beta=1000.0, r0=0.01)
    breaks = collapses(gamma=3.0, beta=0.02, r0=0.01)  # here gamma < 1/beta
    at_one = collapses(gamma=3.0, beta=0.02, r0=1.0)  # here r0 = 1 as well
    return Finding.of(
        meets,
        not meets and breaks and at_one and thresholds_hold(),
        threshold=threshold("rotation"),
        final_s_where_conditions_hold=run(gamma=2.0, beta=1000.0, r0=0.01)[0, -1],
        final_s_where_they_fail=run(gamma=3.0, beta=0.02, r0=1.0)[0, -1],
    )


@evidence
def gamma_below_one_over_beta():
    """The remedy gamma < 1/beta: gamma = 3, beta = 0.02 obeys it and s ends at 0; gamma = 2, beta = 1000 does not."""
    f = sufficient_conditions()
    return Finding.of(not f.fix, f.fix, **f.numbers)


def deep(r0: float, estimator="rotation", gamma=0.3, decay_W=0.2, beta=0.05, time=1000.0) -> tuple[float, float, float]:
    """The last (s, t, w) with a decoder of LAYERS equal layers, w = a^LAYERS, each with the decay lambda_W.

    From s = a = 1 and |q|/|z| = r0, in logarithms; it stands still where t/s > 1e4, past the end of the model.
    """
    from scipy.integrate import solve_ivp

    def log_rates(_, logs):
        s, t, a = np.exp(logs)
        w = a**LAYERS
        if t > 1e4 * s:
            return 0 * logs
        ds, dt, _ = model.rates(estimator, (s, t, w), CELLS, gamma=gamma, beta=beta, frozen=True)
        da = 2 * RHO * t * (1 - w * t) * w / a - 2 * decay_W * a
        return np.array([ds / s, dt / t, da / a])

    start = np.log([1.0, r0 / math.sqrt(RHO), 1.0])
    s, t, a = np.exp(solve_ivp(log_rates, (0, time), start, "LSODA", rtol=1e-9, atol=1e-9).y[:, -1])
    return s, t, a**LAYERS


@evidence
def short_start_can_collapse():
    """With a decoder of two layers the rotation ends at 0 from r0 = 0.001 and not from r0 = 1; STE from neither."""
    ends = {(name, r0): deep(r0, name)[0] for name in ("rotation", "ste") for r0 in (1e-3, 1.0)}
    return Finding.of(
        ends["rotation", 1e-3] < 1e-9 < 0.1 < min(ends["rotation", 1.0], ends["ste", 1e-3], ends["ste", 1.0]),
        end_from_r0_0_001=ends["rotation", 1e-3],
        end_from_r0_1=ends["rotation", 1.0],
        STE_from_r0_0_001=ends["ste", 1e-3],
        STE_from_r0_1=ends["ste", 1.0],
    )


@evidence
def short_start_explains():
    """There short codes give the rotation a higher reconstruction loss and a lower |q - z|^2 than codes that match.

    And than STE: that is the author's explanation, from the start to the losses.
    """
    short, *others = (losses(*deep(r0, name)) for name, r0 in (("rotation", 1e-3), ("rotation", 1.0), ("ste", 1e-3)))
    return Finding.of(
        all(short[0] > 1.1 * one[0] and short[1] < 0.9 * one[1] for one in others),
        reconstruction_from_r0_0_001=short[0],
        from_r0_1=others[0][0],
        under_STE=others[1][0],
        codebook_loss_from_r0_0_001=short[1],
        codebook_loss_from_r0_1=others[0][1],
        codebook_loss_under_STE=others[1][1],
    )


def initial_ratio() -> Finding:
    """With one layer, whether the latents shrink to 0 does not depend on r0, on either side of the threshold."""
    ends = {(f, r0): collapses(gamma=f * threshold("rotation"), r0=r0) for f in (0.8, 1.25) for r0 in (1e-3, 0.1, 1.0)}
    unmoved = all(len({v for k, v in ends.items() if k[0] == f}) == 1 for f in (0.8, 1.25))
    return Finding.of(
        not unmoved,
        unmoved and ends[1.25, 1.0],
        collapse_at_0_8_of_threshold=int(ends[0.8, 1e-3]),
        collapse_at_1_25_of_threshold=int(ends[1.25, 1.0]),
    )


@evidence
def matched_start():
    """k-means codes put r0 near 1; above the threshold the latents shrink to 0 from there as from anywhere."""
    f = initial_ratio()
    return Finding.of(not f.fix, f.fix, **f.numbers)


@evidence
def norm_penalty():
    """A decay lambda_E of the encoder lowers the threshold; a constraint that fixes the norm stops the shrinking."""
    gamma = 0.9 * threshold("rotation")
    without, with_penalty = collapses(gamma=gamma), collapses(gamma=gamma, decay_E=0.2)
    lowered = threshold("rotation") - 0.2 / (1 - RHO)
    sides = [collapses(gamma=f * lowered, decay_E=0.2, time=3e3) for f in (0.97, 1.03)]
    t = w = 0.01
    for _ in range(2_000):  # s = 1 is held, far above the threshold
        _, dt, dw = model.rates("rotation", (1.0, t, w), CELLS, gamma=3 * threshold("rotation"), decay_W=DECAY_W)
        t, w = t + 0.05 * dt, w + 0.05 * dw
    return Finding.of(
        not with_penalty,
        with_penalty and not without and min(t, w) > 0.1 and sides == [False, True],
        code_length_with_a_fixed_norm=t,
        gamma=gamma,
        threshold=threshold("rotation"),
        threshold_with_penalty=lowered,
        final_s_with_penalty=run(gamma=gamma, decay_E=0.2)[0, -1],
    )


@evidence
def clip_barely_helps():
    """Clipping r to [0.5, 1.5] moves the threshold by E[clip(r) x^2] / rho, about 4 percent (d = 1, two codes)."""
    x = np.linspace(1e-9, 12, 2_000_001)
    p = np.sqrt(2 / math.pi) * np.exp(-x * x / 2)
    A = np.trapezoid(np.clip(math.sqrt(RHO) / x, *CLIP) * x * x * p, x)
    gain = A / RHO - 1
    return Finding.of(gain > 0.5, gain < 0.1, threshold_raised_by=gain)


@evidence
def smaller_gamma_helps():
    """With decay a gamma below the threshold keeps s from 0; without decay no gamma keeps s from falling."""
    high, low = (collapses(gamma=f * threshold("rotation"), r0=0.01) for f in (1.25, 0.5))
    end = run(gamma=0.5 * threshold("rotation"), r0=0.01)[0, -1]
    early, late = (run(gamma=0.01, decay_W=0.0, time=time)[0, -1] for time in (1e4, 1e6))
    return Finding.of(
        late > 0.9 * early,
        high and not low,
        final_s_at_half_the_threshold=end,
        without_decay_at_time_1e4=early,
        without_decay_at_time_1e6=late,
    )


@evidence
def gamma_and_the_ratio():
    """A large gamma brings a latent that is free to its code's length; in the model the ratio is rho at every gamma."""
    ratios = []
    for gamma in (0.3, 1.0):
        s, t, _ = run(gamma=gamma)[:, -1]
        ratios.append(math.sqrt(RHO) * t / s)
    free = [free_ratio(gamma) for gamma in (0.1, 50.0)]
    return Finding.of(
        abs(ratios[0] - 1) < 0.02,
        abs(ratios[0] - ratios[1]) < 1e-3 and ratios[0] < 0.9 and abs(free[0] - 1) > 0.1 and abs(free[1] - 1) < 0.02,
        rms_ratio_at_gamma_0_3=ratios[0],
        rms_ratio_at_gamma_1=ratios[1],
        ratio_of_a_free_latent_at_gamma_0_1=free[0],
        ratio_of_a_free_latent_at_gamma_50=free[1],
    )


def free_ratio(gamma: float) -> float:
    """|q|/|z| where a free latent comes to rest between the rotation's pull towards a target and its code q."""
    q, target = vector(1.0, 0), vector(1.2, 0.2)
    z = q.clone()
    for _ in range(500):
        z = z - 0.4 / (1 + 2 * gamma) * (pull_back("rotation", z, q, q - target) + 2 * gamma * (z - q))
    return float(norm(q) / norm(z))


def scattered(n):
    """Data (n,) on one side of 0, no two of them alike."""
    return normal(n, seed=1).abs().numpy()


@evidence
def auxiliary_terms_alone():
    """Free z and q keep beta z + gamma q and meet at its weighted mean; a linear encoder without bias goes to 0."""
    beta, gamma, (z, q) = 0.5, 2.0, FREE
    goal = (beta * z + gamma * q) / (beta + gamma)
    for _ in range(20_000):
        z, q = z - 0.01 * 2 * gamma * (z - q), q - 0.01 * 2 * beta * (q - z)
    x, s, code = scattered(500), 1.0, 0.9
    for _ in range(10_000):  # codes +-code, encoder z = s x: d/ds and d/dcode of the two terms
        e = np.abs(x) * s - code
        s, code = s - 0.01 * 2 * gamma * np.mean(e * np.abs(x)), code + 0.01 * 2 * beta * np.mean(e)
    return Finding.of(
        abs(z) < 1e-3,
        abs(z - goal) < 1e-9 and abs(s) < 1e-3 and abs(code) < 1e-3,
        free_embeddings_meet_at=z,
        predicted=goal,
        linear_encoder_scale=s,
    )


@evidence
def authors_symptom():
    """Equilibria of STE and rotation at one gamma: higher reconstruction loss, lower |q - z|^2 under rotation."""
    gamma = 0.8 * threshold("rotation", decay_W=0.5)
    ste, rot = (losses(*run(estimator=e, gamma=gamma, decay_W=0.5)[:, -1]) for e in ("ste", "rotation"))
    return Finding.of(
        rot[0] > ste[0] and rot[1] < ste[1],
        gamma=gamma,
        reconstruction_STE=ste[0],
        reconstruction_rotation=rot[0],
        codebook_loss_STE=ste[1],
        codebook_loss_rotation=rot[1],
    )


@evidence
def retune_gamma():
    """Between the two thresholds s stays above 0 under STE and not under the rotation: gamma has to be retuned."""
    gamma = math.sqrt(threshold("rotation") * threshold("ste"))
    ste, rot = collapses(estimator="ste", gamma=gamma), collapses(gamma=gamma)
    return Finding.of(
        rot and not ste, gamma=gamma, threshold_rotation=threshold("rotation"), threshold_STE=threshold("ste")
    )


# the book's own theorems about the model


def two_codes_of(rho: float) -> model.Cells:
    """The averages of a symmetric variable with two codes that leave 1 - rho of its variance."""
    return model.Cells(rho=rho, rho_R=1.0, rho_r=rho, rho_rr=rho)


@evidence
def stationary_balance():
    """At rest gamma E|z - q|^2 = lambda_W |W|^2 - lambda_E |E|^2 under the rotation; STE has E<g, q - z>/2 more."""
    gaps, settings = (
        {"rotation": [], "ste": []},
        itertools.product((0.3, RHO, 0.9), (0.2, 1.0), (0.0, 0.05), (0.3, 0.9)),
    )
    for rho, decay_W, decay_E, share in settings:
        gamma = share * model.threshold(rho, rho, decay_W, decay_E)
        for name, found in gaps.items():
            s, t, w = model.fixed_point(name, two_codes_of(rho), gamma, decay_W, decay_E)
            error = s * s - 2 * rho * s * t + rho * t * t
            radial = 2 * w * (w * t * rho * t - w * t * rho * s - rho * t + s)  # E<g, q - z> with g = 2 w (w t c - x)
            more = radial / 2 if name == "ste" else 0.0
            found.append(abs(gamma * error - decay_W * w * w + decay_E * s * s - more))
    return Finding.of(
        max(gaps["rotation"] + gaps["ste"]) < 1e-12,
        states=len(gaps["ste"]),
        largest_gap_rotation=max(gaps["rotation"]),
        largest_gap_STE=max(gaps["ste"]),
    )


@evidence
def error_or_decoder():
    """Without decay, centroid codes (large beta): the integral of the error is half the growth of |W|^2 - |E|^2."""
    beta, times = 1e3, np.linspace(0, 40, 20_001)
    gaps, growths, falls = [], [], []
    for gamma, start in itertools.product((0.3, 1.0, 3.0), ((1.0, 1.0, 1.0), (0.3, 0.3, 0.5))):
        s, t, w = model.flow("rotation", start, times, CELLS, gamma=gamma, beta=beta)
        error = s * s - 2 * RHO * s * t + RHO * t * t
        growth = float(w[-1] ** 2 - s[-1] ** 2 - w[0] ** 2 + s[0] ** 2) / (4 * gamma)
        gaps.append(abs(float(np.trapezoid(error, times)) / growth - 1))
        growths.append(w[-1] / w[0])
        falls.append(error[-1] / error.max())
    return Finding.of(
        max(gaps) < 0.01 and min(growths) > 1.5 and max(falls) < 0.5,
        runs=len(gaps),
        largest_relative_gap=max(gaps),
        decoder_grew_at_least_by=min(growths),
        error_fell_at_least_to=max(falls),
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
        worst = largest(worst, abs(ends["ste"] / formula - 1), abs(ends["rotation"] / (RHO * formula) - 1))
        sides.append((ends["ste"] > 1 / w) == (gamma < w * w) and ends["rotation"] < 1 / w)
    return Finding.of(worst < 1e-5 and all(sides), largest_relative_error=worst)


def centroid_flow(gamma: float, start, times) -> np.ndarray:
    """(s, w) at some times under the rotation, without decay, where codes are centroids at all times: t = s."""
    from scipy.integrate import solve_ivp

    def log_rates(_, logs):
        s, w = np.exp(logs)
        ds, _, dw = model.rates("rotation", (s, s, w), CELLS, gamma=gamma)
        return np.array([ds / s, dw / w])

    return np.exp(solve_ivp(log_rates, (0, times[-1]), np.log(start), "LSODA", times, rtol=1e-9, atol=1e-9).y)


@evidence
def fourth_root():
    """Without decay s falls as (8 gamma (1 - rho) T)^(-1/4) under the rotation and ws goes to 1; STE has gamma^(-1/2).

    For codes that are centroids, from several starts, and for codes of the rates beta = 0.1 to 1000. From T = 1e4 to
    1e6 the quotient of s and the formula, and ws, come five times nearer to 1.
    """
    times, starts, betas = np.array([1e4, 1e6]), ((1.0, 1.0), (0.1, 3.0), (3.0, 0.1)), (0.1, 1.0, 10.0, 1e3)
    centroids, finite, rests = [], [], []
    for gamma in (0.5, 2.0):
        formula = (8 * gamma * (1 - RHO) * times) ** -0.25
        for start in starts:
            s, w = centroid_flow(gamma, start, times)
            centroids += [s / formula, w * s]
        for beta in betas:
            s, _, w = model.flow("rotation", (1.0, 1.0, 1.0), times, CELLS, gamma=gamma, beta=beta)
            finite += [s / formula, w * s]
            for r0 in (0.01, 1.0):
                end = model.flow("ste", (1.0, r0, 1.0), [1e3], CELLS, gamma=gamma, beta=beta)
                rests.append(abs(end[0, -1] * math.sqrt(gamma) - 1))
    early, late = np.abs(np.array(centroids + finite) - 1).T
    return Finding.of(
        (late < 1e-3).all() and (late < early / 5).all() and max(rests) < 1e-6,
        gap_of_centroid_codes=late[: len(centroids)].max(),
        gap_of_codes_with_a_rate=late[len(centroids) :].max(),
        gap_under_STE=max(rests),
    )


@evidence
def window():
    """Three percent inside its ends s falls to 0 under the rotation and not under STE; outside not so."""
    wanted = {0.97: (False, False), 1.03: (True, False), 0.97 / RHO: (True, False), 1.03 / RHO: (True, True)}
    as_wanted = [
        collapses(estimator=name, gamma=share * threshold("rotation", decay), decay_W=decay, time=3e3) == falls
        for decay in (0.2, DECAY_W, 1.0)
        for share, ends in wanted.items()
        for name, falls in zip(("rotation", "ste"), ends, strict=True)
    ]
    return Finding.of(
        all(as_wanted),
        runs=len(as_wanted),
        lower_end=threshold("rotation"),
        upper_end=threshold("ste"),
        quotient=threshold("ste") / threshold("rotation"),
    )


@evidence
def dip():
    """The least s on the way: sqrt(w rho (r0 + beta/gamma) / gamma) under the rotation, min(1, w/gamma) under STE."""
    small, gaps = 1e-4, {"rotation": [], "ste": []}
    times = np.concatenate([[0.0], np.geomspace(1e-3, 30 / small, 600)])
    for w, gamma in ((1.0, 3.0), (0.5, 1.0), (2.0, 5.0)):
        estimates = {"rotation": math.sqrt(w * RHO * (small + small / gamma) / gamma), "ste": min(1.0, w / gamma)}
        for name, estimate in estimates.items():
            s, _, _ = model.flow(name, (1.0, small, w), times, CELLS, gamma=gamma, beta=small, frozen=True)
            gaps[name].append(abs(s.min() / estimate - 1))
    largest_gaps = {f"largest_gap_{name}": max(found) for name, found in gaps.items()}
    return Finding.of(max(gaps["rotation"]) < 0.02 and max(gaps["ste"]) < 0.01, runs=6, **largest_gaps)
