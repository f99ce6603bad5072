"""The pull-back G^T g: its angles, norms and inner products."""

from __future__ import annotations

import math

import torch

from book.algebra import (
    angle,
    angle_in_degrees,
    gradient_map,
    jacobian,
    largest,
    norm,
    normal,
    polar,
    pull_back,
    vector,
)
from book.ledger.evidence.samples import triples
from book.statements import Finding, evidence
from rotvq.quantizers.estimators import CLIPS, ESTIMATORS, estimator


@evidence
def gradient_angle(where):
    """Angle(G^T g, g) is theta in the plane and less in general: sin(phi/2) = sin(theta/2) |Pg|/|g|."""
    d = {"plane": 2, "any": 8}[where]
    gaps, law = [], 0.0
    for z, q, g in triples(d):
        P = torch.linalg.qr(torch.stack([z, q], 1))[0]
        phi, theta = angle(pull_back("rotation", z, q, g), g), angle(z, q)
        share = norm(P.T @ g) / norm(g)
        law = largest(law, abs((phi / 2).sin() - (theta / 2).sin() * share))
        gaps.append(math.degrees(abs(phi - theta)))
    z, q, g = vector(1.0, 0, 0), vector(0.5, 0.75**0.5, 0), vector(0, 0, 1.0)
    orthogonal = angle_in_degrees(pull_back("rotation", z, q, g), g)
    random = normal(20_000, 64, seed=9)
    z, q = torch.eye(64, dtype=z.dtype)[0], torch.cat([q[:2], torch.zeros(62, dtype=z.dtype)])
    mean = angle_in_degrees(pull_back("rotation", z.expand_as(random), q.expand_as(random), random), random).mean()
    claim = largest(*gaps) < 1e-6 and (d == 2 or orthogonal > 1)
    return Finding.of(
        claim,
        law < 1e-8,
        largest_gap_in_degrees=largest(*gaps),
        error_of_the_sine_law=law,
        angle_for_theta_60_and_g_off_the_plane=orthogonal,
        mean_for_theta_60_in_d_64=mean,
    )


@evidence
def proof_of_gradient_angle():
    """The proof takes R^T to turn every vector by theta; in d = 8 it fixes 6 directions."""
    z, q = normal(2, 8, seed=4).unbind()
    fixed = int((torch.linalg.svdvals(gradient_map(z, q) * norm(z) / norm(q) - torch.eye(8)) < 1e-10).sum())
    return Finding.of(fixed == 0, fixed == 6, directions_fixed_in_d_8=fixed)


@evidence
def gain_of_the_pull_back(which):
    """|G^T g| / |g| = |q| / |z|: the inverse of the ratio by which z and q themselves change from q to z."""
    forward = inverse = 0.0
    for z, q, g in triples(2, 8, 64):
        ratio, r = norm(pull_back("rotation", z, q, g)) / norm(g), norm(q) / norm(z)
        forward, inverse = largest(forward, abs(ratio - r)), largest(inverse, abs(ratio - 1 / r))
    claim, fix = {"q over z": (forward < 1e-10, None), "z over q": (inverse < 1e-10, forward < 1e-10)}[which]
    return Finding.of(claim, fix, error_with_q_over_z=forward, error_with_z_over_q=inverse)


@evidence
def inner_products():
    """<G^T g, z> = <g, q>, hence angle_in_degrees(G^T g, z) = angle_in_degrees(g, q), in every dimension."""
    inner = turned = 0.0
    for z, q, g in triples(2, 8, 64):
        u = pull_back("rotation", z, q, g)
        inner = largest(inner, abs(u @ z - g @ q))
        turned = largest(turned, abs(angle_in_degrees(u, z) - angle_in_degrees(g, q)))
    return Finding.of(inner < 1e-10 and turned < 1e-6, error_of_inner_product=inner, error_of_angle_in_degrees=turned)


@evidence
def kept_relations():
    """The angle with g is not kept in general; the inner product with z and the ratio r are."""
    turned, kept = gradient_angle("any"), inner_products()
    return Finding.of(
        turned.claim, kept.claim and gain_of_the_pull_back("q over z").claim, **turned.numbers, **kept.numbers
    )


@evidence
def metric():
    """G^T G = r^2 I: symmetric, positive where q is not 0, and other for other lengths; it forgets the turn."""
    worst = skew = 0.0
    for z, q, _ in triples(2, 8):
        G, r2 = gradient_map(z, q), (norm(q) / norm(z)) ** 2
        worst = largest(worst, (G.T @ G / r2 - torch.eye(len(z))).abs().max())
        skew = largest(skew, (G - G.T).abs().max())
    narrow, wide = (gradient_map(polar(0), polar(t, 2.0)) for t in (20, 80))
    gap = (narrow.T @ narrow - wide.T @ wide).abs().max()
    longer = gradient_map(polar(0), polar(20, 3.0))
    change = (longer.T @ longer - narrow.T @ narrow).abs().max()
    return Finding.of(
        worst < 1e-10 and change > 1,
        None,
        largest_skew_part_of_G=skew,
        largest_relative_error_of_r2_I=worst,
        change_for_a_longer_code=change,
        gap_between_20_and_80_degrees=gap,
    )


@evidence
def singular_values():
    """All singular values of R are 1 and those of G are r: the scale is what is added to STE's size."""
    z, q = normal(2, 8, seed=1).unbind()
    s = torch.linalg.svdvals(gradient_map(z, q))
    r = norm(q) / norm(z)
    return Finding.of((s - r).abs().max() < 1e-12, r=r, smallest=s.min(), largest=s.max())


@evidence
def variants(which):
    """R alone keeps the norm; the mixture leads straight from STE to the trick; the clip bounds the gain."""
    kept = ends = line = 0.0
    gains, clipped = [], estimator("clipped", clip=(0.5, 1.5))
    for z, q, g in triples(2, 8):
        z = z * 20 ** normal(1, seed=int(1e6 * abs(z[0])))
        kept = largest(kept, abs(norm(pull_back("rotation_only", z, q, g)) / norm(g) - 1))
        mixed = ESTIMATORS["rotation"].pull_back
        ends = largest(ends, norm(mixed(z, q, g, mix=0.0) - g), norm(mixed(z, q, g, mix=1.0) - mixed(z, q, g)))
        for mix in (0.25, 0.5, 0.75):
            line = largest(line, norm(mixed(z, q, g, mix=mix) - (1 - mix) * g - mix * pull_back("rotation", z, q, g)))
        gains.append(float(norm(clipped.pull_back(z, q, g)) / norm(g)))
    bounded = min(gains) >= 0.5 - 1e-12 and max(gains) <= 1.5 + 1e-12
    return Finding.of(
        {"norm": kept < 1e-12, "ends": ends < 1e-12, "line": max(ends, line) < 1e-12, "clip": bounded}[which],
        error_of_norm_for_R=kept,
        error_at_the_ends=ends,
        distance_from_a_straight_line=line,
        smallest_gain=min(gains),
        largest_gain=max(gains),
    )


@evidence
def clip_setting(name):
    """A clip of the article's by its name: the gain stays within its bounds, and is r between them."""
    low, high = CLIPS[name]
    clipped, (z, q, g) = estimator("clipped", clip=(low, high)), normal(3, 8, seed=2).unbind()
    ratios = (low / 2, (low * high) ** 0.5, 2 * high)
    gains = [float(norm(clipped.pull_back(z, r * norm(z) / norm(q) * q, g)) / norm(g)) for r in ratios]
    wanted = (low, ratios[1], high)
    error = max(abs(gain - want) for gain, want in zip(gains, wanted))
    return Finding.of(error < 1e-12, least_gain=gains[0], gain_between=gains[1], largest_gain=gains[2])


@evidence
def small_codes():
    """With |q| a hundredth of |z| the reconstruction gradient is a hundredth of STE's, the commitment is not."""
    z, g = normal(2, 16, seed=1).unbind()
    q = 0.01 * norm(z) / norm(g) * g
    part = norm(pull_back("rotation", z, q, g)) / norm(g)
    pull = 2 * 0.25 * norm(z - q)
    return Finding.of(
        abs(part - 0.01) < 1e-12 and pull > 10 * part * norm(g),
        gain=part,
        commitment_over_reconstruction_gradient=pull / (part * norm(g)),
        the_same_under_STE=pull / norm(g),
    )


@evidence
def commitment_dominates():
    """Commitment over reconstruction is 2 gamma |z - q| / (r |g|): it is large for small r, and small for large g."""
    gamma, (z, g) = 0.25, normal(2, 16, seed=1).unbind()
    q = 0.01 * norm(z) / norm(g) * g
    pull, r = 2 * gamma * norm(z - q), norm(q) / norm(z)
    ratios = [float(pull / norm(pull_back("rotation", z, q, c * g))) for c in (1, 100)]
    gap = largest(*(ratio / (pull / (r * c * norm(g))) - 1 for ratio, c in zip(ratios, (1, 100), strict=True)))
    return Finding.of(
        min(ratios) > 1,
        abs(gap) < 1e-12 and ratios[0] > 10,
        commitment_over_reconstruction_gradient=ratios[0],
        where_g_is_100_times_as_long=ratios[1],
    )


RHO = 0.9  # |q| / |z| of codes that are shorter than their latents


@evidence
def commitment_shrinks():
    """With |q| < |z| a step of the commitment loss shrinks |z|: <z, z - q> >= |z| (|z| - |q|) > 0."""
    most, slack = -math.inf, math.inf
    for z, q, _ in triples(2, 8):
        q, free = RHO * norm(z) / norm(q) * q, z.clone().requires_grad_()
        (grad,) = torch.autograd.grad((free - q).square().sum(), free)
        most = largest(most, norm(z - 1e-3 * grad) / norm(z))
        slack = min(slack, float(z @ grad / 2 - norm(z) * (norm(z) - norm(q))))
    return Finding.of(most < 1 and slack > -1e-12, largest_length_after_a_step=most, least_slack_of_the_bound=slack)


ADAM_EPSILON = 1e-12  # small beside every gradient, as it is meant to be


@evidence
def learning_rate_example(which):
    """r = 0.1 and r = 5 change the reconstruction gradient by 50; Adam divides a constant factor out."""
    g = vector(0.7, -0.2)
    small = norm(pull_back("rotation", vector(10.0, 0), vector(1.0, 0), g)) / norm(g)
    large = norm(pull_back("rotation", vector(1.0, 0), vector(5.0, 0), g)) / norm(g)

    def adam_step(gain):  # the first step of Adam: m / (sqrt(v) + epsilon) with m and v bias-corrected
        return norm(gain * g / ((gain * g).square().sqrt() + ADAM_EPSILON))

    adam = adam_step(large) / adam_step(small)
    claim, fix = {
        "r = 0.1": (abs(small - 0.1) < 1e-12, None),
        "r = 5": (abs(large - 5) < 1e-12, None),
        "factor 50": (abs(adam - 50) < 1, abs(large / small - 50) < 1e-9 and abs(adam - 1) < 1e-6),
    }[which]
    return Finding.of(
        claim,
        fix,
        gain_at_r_0_1=small,
        gain_at_r_5=large,
        ratio_under_SGD=large / small,
        ratio_of_first_Adam_steps=adam,
    )


@evidence
def jacobian_is_a_rotation():
    """STE's Jacobian is I. The trick's is r R: orthogonal up to the factor r^2, and a rotation at r = 1 only."""
    orthogonal = scaled = ste = 0.0
    for z, q, _ in triples(2, 8):
        G, r2 = jacobian("rotation", z, q), (norm(q) / norm(z)) ** 2
        orthogonal = largest(orthogonal, (G.T @ G - torch.eye(len(z))).abs().max())
        scaled = largest(scaled, (G.T @ G / r2 - torch.eye(len(z))).abs().max())
        ste = largest(ste, (jacobian("ste", z, q) - torch.eye(len(z))).abs().max())
    return Finding.of(
        ste == 0 and orthogonal < 1e-10,
        ste == 0 and scaled < 1e-10,
        gap_of_STE_from_I=ste,
        defect_of_JtJ=orthogonal,
        defect_of_JtJ_over_r2=scaled,
    )


@evidence
def scale_plays_no_part():
    """R^T g is the same whatever the lengths of z and q; r R^T g is not."""
    gaps = {"rotation_only": 0.0, "rotation": 0.0}
    for z, q, g in triples(2, 8):
        for name in gaps:
            gaps[name] = largest(gaps[name], norm(pull_back(name, 7 * z, 0.2 * q, g) - pull_back(name, z, q, g)))
    return Finding.of(gaps["rotation_only"] < 1e-12 < gaps["rotation"], R=gaps["rotation_only"], r_R=gaps["rotation"])


@evidence
def rests_on_direction():
    """R depends on directions alone; the trick's factor is the ratio of two lengths."""
    f = scale_plays_no_part()
    return Finding.of(f.numbers["r_R"] < 1e-12, f.claim, **f.numbers)


@evidence
def angle_encodes_lengths():
    """Keeping the angle between q and its gradient lets lengths into the gradient: not so, as R alone keeps it.

    The correction: R and r R both keep it, and what r R hands back depends on the lengths.
    """
    f, turned = scale_plays_no_part(), 0.0
    for z, q, g in triples(2, 8):
        for name in ("rotation_only", "rotation"):
            gap = angle_in_degrees(pull_back(name, z, q, g), z) - angle_in_degrees(g, q)
            turned = largest(turned, abs(gap))
    return Finding.of(
        turned < 1e-6 and f.numbers["R"] > 1e-6, turned < 1e-6 and f.claim, change_of_the_angle=turned, **f.numbers
    )


@evidence
def clip_bounds_the_gradient():
    """A clip bounds the factor, not the gradient: g may be as long or as short as the decoder makes it."""
    z, q, g = normal(3, 8, seed=2).unbind()
    clipped = estimator("clipped", clip=(0.5, 1.5))
    sizes, ratios = (1e-6, 1e6), (0.01, 1.0, 100.0)
    lengths = [float(norm(clipped.pull_back(z, q, size * g)) / norm(g)) for size in sizes]
    gains = [float(norm(clipped.pull_back(z, r * norm(z) / norm(q) * q, g)) / norm(g)) for r in ratios]
    return Finding.of(
        0.1 < min(lengths) and max(lengths) < 10,
        0.5 <= min(gains) + 1e-12 and max(gains) <= 1.5 + 1e-12,
        shortest_gradient=min(lengths),
        longest_gradient=max(lengths),
        gain_at_r_0_01=gains[0],
        gain_at_r_100=gains[-1],
    )


@evidence
def flat_metrics():
    """STE's G^T G is the identity, whose metric is flat."""
    worst = 0.0
    for z, q, _ in triples(2, 8):
        G = jacobian("ste", z, q)
        worst = largest(worst, (G.mT @ G - torch.eye(len(z))).abs().max())
    return Finding.of(worst < 1e-12, largest_error=worst)


@evidence
def ste_translates():
    """STE hands over the vector g itself, at another place; what is translated by what is not said."""
    worst = largest(*(norm(pull_back("ste", z, q, g) - g) for z, q, g in triples(2, 8)))
    return Finding.of(None, worst == 0, largest_difference=worst)
