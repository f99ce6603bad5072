"""The matrix R: its formulas, what it is, and how it is computed."""

from __future__ import annotations

import math

import torch

from book.algebra import (
    angle,
    close,
    gradient_map,
    identity,
    largest,
    mirror,
    norm,
    normal,
    outer,
    polar,
    rotation,
    unit,
    vector,
)
from book.ledger.evidence.samples import pairs
from book.statements import Finding, evidence

PLANE = torch.eye(2, dtype=torch.float64)


def textbook(z, q):
    """``I + 2 b a^T - (a + b)(a + b)^T / (1 + cos(theta))``, the formula of the article, for one pair."""
    a, b = unit(z), unit(q)
    return identity(z) + 2 * outer(b, a) - outer(a + b, a + b) / (1 + a @ b)


def alternative(z, q):
    """``I + (b - a) a^T + b (b - a)^T``, which the derivation calls equivalent, for one pair."""
    a, b = unit(z), unit(q)
    return identity(z) + outer(b - a, a) + outer(b, b - a)


@evidence
def rotation_formula():
    """R a = b, R^T R = I and det R = 1 for the formula with 1 + cos(theta), away from antiparallel vectors."""
    moves = orthogonal = determinant = 0.0
    for z, q in pairs(2, 3, 8, 64):
        R = textbook(z, q)
        moves = largest(moves, norm(R @ unit(z) - unit(q)))
        orthogonal = largest(orthogonal, (R.T @ R - identity(z)).abs().max())
        determinant = largest(determinant, abs(torch.linalg.det(R) - 1))
    return Finding.of(
        largest(moves, orthogonal, determinant) < 1e-10,
        error_of_Ra=moves,
        error_of_RtR=orthogonal,
        error_of_the_determinant=determinant,
    )


@evidence
def limit_at_half_turn():
    """At theta = pi the formula divides 0 by 0 and the limit depends on the direction of approach."""
    a, limits = vector(1.0, 0, 0), []
    for u in (vector(0, 1.0, 0), vector(0, 0, 1.0)):
        t = math.pi - 1e-6
        limits.append(textbook(a, math.cos(t) * a + math.sin(t) * u))
    exact = textbook(a, -a)
    gap = (limits[0] - limits[1]).abs().max()
    return Finding.of(not exact.isfinite().all() and gap > 1, largest_gap_between_two_limits=gap)


@evidence
def two_forms():
    """(a + b)(a + b)^T / (1 + cos) equals 2 m m^T with m the unit bisector, since |a + b|^2 = 2 (1 + cos)."""
    worst = 0.0
    for z, q in pairs(2, 3, 8, 64):
        a, b = unit(z), unit(q)
        m = unit(a + b)
        with_bisector = identity(a) + 2 * outer(b, a) - 2 * outer(m, m)
        worst = largest(worst, (textbook(z, q) - with_bisector).abs().max())
    return Finding.of(worst < 1e-10, largest_difference=worst)


@evidence
def alternative_formula():
    """I + (b - a) a^T + b (b - a)^T at 60 degrees: not orthogonal, and a goes to cos(theta) b."""
    a, b = polar(0), polar(60)
    A = alternative(a, b)
    image, defect = A @ a, (A.T @ A - PLANE).abs().max()
    eigenvalues = torch.linalg.eigvalsh(A)
    orthogonal = defect < 1e-12 and norm(image - b) < 1e-12
    return Finding.of(
        orthogonal,
        close(image, 0.5 * b) and (A - A.T).abs().max() < 1e-15,
        image_length=norm(image),
        defect_of_AtA=defect,
        determinant=torch.linalg.det(A),
        smallest_eigenvalue=eigenvalues[0],
        largest_eigenvalue=eigenvalues[-1],
    )


@evidence
def two_formulas_agree():
    """The alternative formula and the rotation agree only at theta = 0."""
    gaps = {t: float((alternative(polar(0), polar(t)) - rotation(polar(0), polar(t))).abs().max()) for t in (0, 10, 60)}
    return Finding.of(
        max(gaps.values()) < 1e-12,
        gaps[0] < 1e-12,
        gap_at_0=gaps[0],
        gap_at_10_degrees=gaps[10],
        gap_at_60_degrees=gaps[60],
    )


@evidence
def rotation_as_reflections():
    """R = H_m H_a = H_b H_m: orthogonality in one line, no Sherman-Morrison."""
    worst = 0.0
    for z, q in pairs(2, 3, 8, 64):
        a, b = unit(z), unit(q)
        Ha, Hb, Hm = (mirror(u) for u in (a, b, unit(a + b)))
        R = rotation(z, q)
        worst = largest(worst, (R - Hm @ Ha).abs().max(), (R - Hb @ Hm).abs().max())
    return Finding.of(worst > 1e-10, worst < 1e-10, largest_difference=worst)


@evidence
def householder_product():
    """(I - 2 b b^T)(I - 2 c c^T) with c the bisector is the rotation from a to b; so is I - 2 c c^T + 2 b a^T."""
    return Finding.of(rotation_as_reflections().fix, **rotation_as_reflections().numbers)


@evidence
def product_of_reflections_turns_twice():
    """Reflecting across a-perp, then across b-perp, turns by twice the angle from a to b in their plane."""
    worst = 0.0
    for z, q in pairs(3, 8):
        a, b = unit(z), unit(q)
        b = unit(a + 0.3 * b)  # an angle below 90 degrees, so that its double is below 180
        twice = 2 * (a @ b) * b - a  # a turned to b and as far again
        worst = largest(worst, (mirror(b) @ mirror(a) - rotation(a, twice)).abs().max())
    return Finding.of(worst < 1e-8, largest_difference=worst)


@evidence
def rotation_properties(which):
    """Orthogonality, preserved norms, determinant 1."""
    worst = 0.0
    for z, q in pairs(2, 3, 8, 64):
        R, v = rotation(z, q), normal(len(z), seed=99)
        worst = largest(
            worst,
            {
                "orthogonal": max((R.T @ R - identity(z)).abs().max(), (R @ R.T - identity(z)).abs().max()),
                "norm": abs(norm(R @ v) / norm(v) - 1),
                "determinant": abs(torch.linalg.det(R) - 1),
            }[which],
        )
    return Finding.of(worst < 1e-10, largest_error=worst)


@evidence
def smallest_rotation():
    """R has the least spectral and Frobenius norm of R - I; in spectral norm others tie from d = 4 on."""
    theta = 60.0
    z, q = vector(1.0, 0, 0, 0), vector(0.5, math.sqrt(0.75), 0, 0)
    R, eye = rotation(z, q), torch.eye(4, dtype=torch.float64)
    c, s = math.cos(math.radians(45)), math.sin(math.radians(45))
    other = R @ torch.block_diag(PLANE, torch.tensor([[c, -s], [s, c]], dtype=torch.float64))
    gap = torch.linalg.matrix_norm(other - eye, 2) - torch.linalg.matrix_norm(R - eye, 2)
    smaller = 0
    for seed in range(200):  # random rotations that take z to q: R after a random rotation about z
        Q = torch.linalg.qr(normal(3, 3, seed=seed))[0]
        Q = Q * torch.sign(torch.linalg.det(Q))
        smaller += (
            float(torch.linalg.matrix_norm(R @ torch.block_diag(torch.ones(1, 1), Q) - eye))
            < math.sqrt(8) * math.sin(math.radians(theta / 2)) - 1e-12
        )
    plane = 2 * math.sin(math.radians(theta / 2))  # |U - I| is at least |U a - a| for every U with U a = b
    least = abs(torch.linalg.matrix_norm(R - eye, 2) - plane) < 1e-12
    return Finding.of(
        least and smaller == 0,
        spectral_norm_gap=gap,
        distance_of_the_tie=torch.linalg.matrix_norm(other - R),
        smaller_in_Frobenius_norm=smaller,
    )


@evidence
def rotation_not_unique():
    """From d = 3 on, many rotations take z to q; 'the' rotation needs the word smallest."""
    z, q = vector(1.0, 0, 0), vector(0, 1.0, 0)
    R = rotation(z, q)
    other = R @ torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
    both = norm(other @ z - q) < 1e-12 and abs(torch.linalg.det(other) - 1) < 1e-12
    return Finding.of(not both, smallest_rotation().claim, distance_between_the_two=torch.linalg.matrix_norm(other - R))


@evidence
def frobenius_distance():
    """|R - I|_F = 2 sqrt(2) sin(theta/2), in every dimension."""
    worst = 0.0
    for z, q in pairs(2, 3, 8, 64):
        size = torch.linalg.matrix_norm(rotation(z, q) - identity(z))
        worst = largest(worst, abs(size - math.sqrt(8) * (angle(z, q) / 2).sin()))
    return Finding.of(worst < 1e-10, largest_error=worst)


@evidence
def forward_value():
    """G z = q."""
    worst = largest(*(norm(gradient_map(z, q) @ z - q) / norm(q) for z, q in pairs(2, 3, 8, 64)))
    return Finding.of(worst < 1e-12, largest_relative_error=worst)


@evidence
def unit_vectors():
    """z/|z| and q/|q| have length 1, and <a, b> lies in [-1, 1]."""
    cosines = [float(unit(z) @ unit(q)) for z, q in pairs(2, 8, 64)]
    length = largest(*(abs(norm(unit(z)) - 1) for z, _ in pairs(2, 8, 64)))
    return Finding.of(
        max(map(abs, cosines)) <= 1 and length < 1e-14, largest_cosine=max(cosines), smallest=min(cosines)
    )


@evidence
def scaled_rotations():
    """The paper's family G = c R does not contain I for theta > 0; the general G contains I and c R."""
    R = rotation(polar(0), polar(60))
    distance = min(float(torch.linalg.matrix_norm(c * R - PLANE)) for c in torch.linspace(0, 2, 2001).tolist())
    return Finding.of(distance < 1e-3, distance > 0.5, smallest_distance_of_c_R_from_I_at_60_degrees=distance)
