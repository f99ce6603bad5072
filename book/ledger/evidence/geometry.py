"""Symmetries, the place of the origin, obtuse angles, the reflection, and parallel transport."""

from __future__ import annotations

import math

import torch

from book.algebra import (
    angle_in_degrees,
    gradient_map,
    identity,
    nearest,
    norm,
    normal,
    outer,
    polar,
    pull_back,
    reflection,
    rotation,
    unit,
    vector,
)
from book.ledger.evidence.gradient_field import gradients_of_two_images
from book.ledger.evidence.quantisation import by_cosine
from book.ledger.evidence.samples import distance_to_identity
from book.statements import Finding, evidence


@evidence
def origin(which):
    """Nearest codes move with a translation, G does not; far from the origin G tends to I."""
    codes, z, v = normal(7, 3, seed=1), normal(200, 3, seed=2), vector(3.0, -1, 2)
    moved = bool((nearest(z + v, codes + v) == nearest(z, codes)).all())
    p, q = vector(1.0, 0.2), vector(0.7, 0.8)
    change = (gradient_map(p + 3, q + 3) - gradient_map(p, q)).abs().max()
    far = [distance_to_identity(p + t, q + t) for t in (0.0, 10.0, 1000.0)]
    R, off = rotation(vector(1.0, 0.2, 0), vector(0.7, 0.8, 0)), vector(0, 0, 3.0)
    differs = norm(R @ (vector(1.0, 0.2, 0) + off) - (R @ vector(1.0, 0.2, 0) + off)) > 1e-9
    claim, fix = {
        "lookup is translation equivariant": (moved, None),
        "trick depends on the origin": (moved and change > 0.1, None),
        "R(z + v) against R(z) + v": (differs, change > 0.1),
        "becomes STE": (far[0] > far[1] > far[2] and far[2] < 1e-3, None),
    }[which]
    return Finding.of(
        claim,
        fix,
        change_of_G_under_a_shift=change,
        distance_from_I_at_0=far[0],
        distance_from_I_at_10=far[1],
        distance_from_I_at_1000=far[2],
    )


@evidence
def cosine_lookup():
    """Cosine lookup shares R's symmetries: it ignores |z| and depends on the origin. Lookup by distance has neither."""
    codes, z = normal(7, 3, seed=1), normal(500, 3, seed=2)
    scaled, shifted = (
        [(pick(*moved) != pick(z, codes)).double().mean() for pick in (by_cosine, nearest)]
        for moved in ((5 * z, codes), (z + 2, codes + 2))
    )
    R, (p, q) = rotation(z[:1], codes[:1]), (z[:1], codes[:1])
    turned = (rotation(5 * p, q) - R).abs().max() < 1e-12 < (rotation(p + 2, q + 2) - R).abs().max()
    return Finding.of(
        turned and scaled[0] == 0 < shifted[0] and scaled[1] > 0 == shifted[1],
        share_of_indices_changed_by_a_shift=shifted[0],
        share_changed_by_a_factor_in_lookup_by_distance=scaled[1],
    )


def step(z, q, g, eta=0.1):
    """Where a latent is after a step of descent with the rotation."""
    return z - eta * pull_back("rotation", z, q, g)


@evidence
def push_pull(which):
    """Two latents beside q, moved by -eta G^T g: who separates, who closes up."""
    q = vector(2.0, 0, 0)
    sides = {"tangential": vector(0, 0.2, 0), "radial": vector(0.2, 0, 0)}
    change = {}
    for sense, g in (("towards the origin", vector(1.0, 0, 0)), ("outward", vector(-1.0, 0, 0))):
        for name, h in sides.items():
            moved = [step(q + s * h, q, g) for s in (1, -1)]
            change[name, sense] = float(norm(moved[0] - moved[1]) / norm(2 * h) - 1)
    a, b, c, d = (change[n, s] for s in ("towards the origin", "outward") for n in ("tangential", "radial"))
    claim, fix = {
        "gradient along q pushes apart": (a > 0, a < 0 < b and d < 0 < c),
        "gradient against q pulls together": (c < 0, a < 0 < b and d < 0 < c),
    }[which]
    return Finding.of(
        claim,
        fix,
        tangential_for_g_along_q=a,
        radial_for_g_along_q=b,
        tangential_for_g_against_q=c,
        radial_for_g_against_q=d,
    )


@evidence
def ste_moves_all_alike():
    """Under STE two latents of a cell, of two images, are moved by the same vector, so their distance does not change.

    The correction: for one g at the code.
    """
    q, z = vector(2.0, 0), [vector(2.1, 0.2), vector(1.8, -0.1)]

    def change(*gradients):
        moved = [p - 0.1 * pull_back("ste", p, q, g) for p, g in zip(z, gradients, strict=True)]
        return abs(norm(moved[0] - moved[1]) - norm(z[0] - z[1]))

    one, other = gradients_of_two_images()
    apart, together = change(one, other), change(one, one)
    return Finding.of(
        apart < 1e-12, together < 1e-12 < apart, change_of_distance=apart, change_for_one_gradient=together
    )


SHORT = 0.05  # the size of latents that are near 0


@evidence
def obtuse_angles(which):
    """Beyond 90 degrees <G^T g, g> < 0 for g in the plane; it takes an error |q - z| >= max(|z|, |q|)."""
    z, q = polar(0), polar(110)
    inner = pull_back("rotation", z, q, q) @ q
    needed = min(
        float(norm(p - c) / torch.maximum(norm(p), norm(c)))
        for p, c in (normal(2, 4, seed=s) for s in range(400))
        if angle_in_degrees(p, c) >= 90
    )
    z3, q3, off = vector(1.0, 0, 0), vector(*polar(110).tolist(), 0), vector(0, 0, 1.0)
    kept = pull_back("rotation", z3, q3, off) @ off
    short = SHORT * normal(200, 4, seed=5)
    codes = normal(16, 4, seed=6)
    obtuse = float((angle_in_degrees(short, codes[nearest(short, codes)]) > 90).double().mean())
    claim, fix = {
        "points away": (inner < 0 and kept < 0, inner < 0 < kept),
        "small norms": (needed >= 1 and obtuse > 0, None),
    }[which]
    return Finding.of(
        claim,
        fix,
        inner_product_in_the_plane=inner,
        inner_product_off_the_plane=kept,
        smallest_relative_error_at_90_degrees_or_more=needed,
        share_of_obtuse_angles_of_short_latents=obtuse,
    )


@evidence
def radial_motion():
    """The change of |z|^2 under the update is -2 eta <g, q>: a gain r > 1 scales it up outward or inward alike."""
    z, q = polar(0, 0.1), polar(30)
    moves = [float(-(pull_back("rotation", z, q, s * q) @ z)) for s in (1, -1)]
    return Finding.of(
        min(moves) > 0,
        min(moves) < 0 < max(moves),
        radial_motion_for_g_along_q=moves[0],
        radial_motion_for_g_against_q=moves[1],
    )


@evidence
def reflection_against_rotation(which):
    """The reflection agrees with the rotation on q and flips one direction only: that of z - q."""
    d = 8
    z, q = normal(2, d, seed=3)
    parallel = norm(pull_back("reflection", z, q, q) - pull_back("rotation", z, q, q)) / norm(q)
    flipped = int((torch.linalg.svdvals(reflection(z, q) - rotation(z, q).T) > 1e-9).sum())
    claim, fix = {
        "same on q": (parallel < 1e-12, None),
        "reverses the orthogonal part": (flipped == d - 1, flipped == 1),
    }[which]
    return Finding.of(
        claim, fix, difference_on_q=parallel, directions_orthogonal_to_q=d - 1, directions_reversed=flipped
    )


@evidence
def close_pairs():
    """e near q: exact gradients tend to the one at q for a smooth loss; the rotation's need not, near the origin."""
    q = vector(0, 1e-3)
    z = vector(1e-3, 0)
    g = vector(1.0, 0.2)
    rotated = angle_in_degrees(pull_back("rotation", z, q, g), g)
    H = torch.diag(vector(2.0, -3))  # an indefinite Hessian
    exact = angle_in_degrees(g + H @ (z - q), g)
    return Finding.of(
        rotated < exact,
        exact < 1 < rotated,
        angle_of_the_exact_gradient=exact,
        angle_of_the_rotated=rotated,
        error=norm(z - q),
    )


@evidence
def transport():
    """Path-independent transport would compose, R_uw = R_vw R_uv: true in the plane, false in d = 3.

    In the plane the whole trick is the transport of g in the flat metric |dz|^2/|z|^2: g conj(z) stays constant.
    """
    u, v, w = torch.eye(3, dtype=torch.float64)
    gap = torch.linalg.matrix_norm(rotation(v, w) @ rotation(u, v) - rotation(u, w))
    plane = torch.linalg.matrix_norm(
        rotation(polar(40), polar(80)) @ rotation(polar(0), polar(40)) - rotation(polar(0), polar(80))
    )
    z, q, g = polar(20, 0.7), polar(75, 1.6), polar(-30)
    products = [
        complex(*x.tolist()) * complex(*y.tolist()).conjugate()
        for x, y in ((pull_back("rotation", z, q, g), z), (g, q))
    ]
    constant = abs(products[0] - products[1])
    return Finding.of(
        gap < 1e-9,
        plane < 1e-12 and gap > 1 and constant < 1e-12,
        gap_in_d_3=gap,
        gap_in_d_2=plane,
        change_of_g_times_conj_z_in_d_2=constant,
    )


def as_printed(z, q):
    """The formula of A.7: q and e at their own lengths, and r along their sum."""
    r = unit(z + q)
    return norm(q) / norm(z) * (identity(z) - 2 * outer(r, r) + 2 * outer(q, z))


@evidence
def printed_rotation():
    """|q|/|e| [I - 2 r r^T + 2 q e^T] with unnormalised q, e and r along e + q does not take e to q."""
    z, q = vector(2.0, 0), vector(1.5, 1.5)
    printed, right = norm(as_printed(z, q) @ z - q), norm(gradient_map(z, q) @ z - q)
    return Finding.of(printed < 1e-9, right < 1e-12, error_as_printed=printed, error_normalised=right)


POINTS = ((1.0, 0.8), (0.6, -0.5))  # the polar angle and the azimuth of two points


def frame(polar_angle, azimuth):
    """The frame of normalised hyperspherical coordinates in three dimensions, its vectors as columns."""
    c, s, C, S = (f(x) for x in (polar_angle, azimuth) for f in (math.cos, math.sin))
    return torch.tensor([[c, -s, 0], [s * C, c * C, -S], [s * S, c * S, C]], dtype=torch.float64)


@evidence
def hyperspherical_frame():
    """The frame of normalised hyperspherical coordinates turns by R in the plane, by another rotation in d = 3."""
    J, K = (frame(*point) for point in POINTS)
    from_pole = (J - rotation(vector(1.0, 0, 0), J[:, 0])).abs().max()
    between = (K @ J.T - rotation(J[:, 0], K[:, 0])).abs().max()
    plane = max(
        float((torch.stack([polar(t), polar(t + 90)], 1) - rotation(polar(0), polar(t))).abs().max()) for t in (20, 100)
    )
    return Finding.of(
        max(from_pole, between) < 1e-9,
        plane < 1e-12,
        gap_from_the_pole_in_d_3=from_pole,
        gap_between_two_points_in_d_3=between,
        gap_in_d_2=plane,
    )


@evidence
def hyperspherical_frame_turns():
    """From point to point the frame turns by a rotation: K J^T is orthogonal, of determinant 1, and not I."""
    J, K = (frame(*point) for point in POINTS)
    turn = K @ J.T
    defect = (turn.T @ turn - torch.eye(3)).abs().max()
    return Finding.of(
        defect < 1e-12 and abs(torch.linalg.det(turn) - 1) < 1e-12 and (turn - torch.eye(3)).abs().max() > 0.1,
        defect_of_orthogonality=defect,
        determinant=torch.linalg.det(turn),
    )
