r"""Laws of chapter 3: the rotation R from a = z/|z| to b = q/|q|, and what G = rR keeps and what it does not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from book.algebra import (
    angle,
    apply,
    dot,
    frobenius_norm,
    identity,
    jacobian,
    mirror,
    norm,
    outer,
    projector,
    pull_back,
    reflection,
    rotation,
    spectral_norm,
    unit,
)
from book.statements import AtMost, law
from book.theory.one_equation import conditioning

FROM_TWO = (2, 3, 8, 64)  # dimensions: on a line there is no plane of z and q


def magnified(z: Tensor, q: Tensor) -> Tensor:
    """How far R magnifies rounding, which grows near antiparallel vectors: ``2/|a + b|``, shape (n, 1)."""
    return conditioning("rotation", z, q)


# what R is


@law(chapter=3)
def two_reflections(z, q):
    "R = H_m H_a = H_b H_m, with m the unit bisector of a and b."
    a, b = unit(z), unit(q)
    R, m, scale = rotation(z, q), unit(a + b), magnified(z, q).unsqueeze(-1)
    if z.shape[-1] == 1:  # on the line b = -a has no bisector, and R = H_a
        m = torch.where(norm(a + b) == 0, 0.0, m)
    return {"H_m H_a": (R, mirror(m) @ mirror(a), scale), "H_b H_m": (R, mirror(b) @ mirror(m), scale)}


@law(chapter=3)
def orthogonal(z, q):
    "R^T R = I, R a = b, R^T b = a and R b = 2 cos(theta) b - a."
    R, a, b = jacobian("rotation_only", z, q), unit(z), unit(q)
    return {
        "R^T R": (R.mT @ R, identity(z)),
        "R a": (apply(R, a), b, 1.0),
        "R^T b": (apply(R.mT, b), a, 1.0),
        "R b": (apply(R, b), 2 * dot(a, b) * b - a, 1.0),
    }


@law(chapter=3, dims=FROM_TWO)
def spectrum(z, q, g):
    "det R = 1, tr R = d - 2 + 2 cos(theta), and R w = w for every w orthogonal to z and q."
    R, a, b, d = jacobian("rotation_only", z, q), unit(z), unit(q), z.shape[-1]
    w = g - apply(projector(z, q), g)
    return {
        "det": (torch.linalg.det(R), torch.ones(len(z)), d),
        "trace": (R.diagonal(0, -2, -1).sum(-1), d - 2 + 2 * dot(a, b).squeeze(-1), d),
        "fixed": (apply(R, w), w, norm(g) * magnified(z, q)),
    }


@law(chapter=3, dims=FROM_TWO, kinds=("generic", "close", "parallel", "lopsided"))
def textbook_form(z, q):
    "R = I + Omega + Omega^2/(1 + cos(theta)), Omega = ba^T - ab^T, and R = I + 2ba^T - (a+b)(a+b)^T/(1 + cos(theta))."
    a, b = unit(z), unit(q)
    Omega, c = outer(b, a) - outer(a, b), dot(a, b).unsqueeze(-1)
    R, scale = rotation(z, q), magnified(z, q).unsqueeze(-1) ** 2
    return {
        "Omega": (R, identity(z) + Omega + Omega @ Omega / (1 + c), scale),
        "2ba^T": (R, identity(z) + 2 * outer(b, a) - outer(a + b, a + b) / (1 + c), scale),
    }


@law(chapter=3, dims=FROM_TWO, kinds=("generic", "close", "parallel", "lopsided"))
def five_inner_products(z, q, g):
    "R^T g = g + (2<b,g> - s) a - s b with s = <a + b, g>/(1 + cos(theta)): norms and three products are enough."
    a, b = unit(z), unit(q)
    s = dot(a + b, g) / (1 + dot(a, b))
    return apply(rotation(z, q).mT, g), g + (2 * dot(b, g) - s) * a - s * b, norm(g) * magnified(z, q) ** 2


def as_printed(a: Tensor, b: Tensor) -> Tensor:
    """The article's formula for R, ``I + (b-a)a^T + b(b-a)^T``."""
    return identity(a) + outer(b - a, a) + outer(b, b - a)


@law(chapter=3, dims=FROM_TWO)
def article_form(z, q):
    """M = I + (b-a)a^T + b(b-a)^T is I - aa^T + bb^T: it takes a to cos(theta) b, and det M = cos(theta)^2.

    It is symmetric with the eigenvalues 1 - sin(theta), 1 ... 1, 1 + sin(theta), so it is no rotation unless b = a or
    b = -a: |M^T M - I| = sin(theta)^2 + 2 sin(theta).
    """
    a, b, theta = unit(z), unit(q), angle(z, q)
    M = as_printed(a, b)
    ones = torch.ones(len(z), z.shape[-1] - 2)
    eigenvalues = torch.cat([1 - theta.sin(), ones, 1 + theta.sin()], -1)
    return {
        "projectors": (M, identity(z) - outer(a, a) + outer(b, b)),
        "M a": (apply(M, a), theta.cos() * b, 1.0),
        "det": (torch.linalg.det(M), theta.cos().squeeze(-1) ** 2, z.shape[-1]),
        "symmetric": (M, M.mT),
        "eigenvalues": (torch.linalg.eigvalsh(M), eigenvalues),
        "no rotation": (spectral_norm(M.mT @ M - identity(z)), theta.sin() ** 2 + 2 * theta.sin(), 4.0),
    }


# R is the smallest


def fixing(a: Tensor, turn: Tensor) -> Tensor:
    """A rotation that leaves a where it is and turns the rest by ``turn`` (n, d-1, d-1)."""
    start = torch.cat([a.unsqueeze(-1), torch.eye(a.shape[-1], dtype=a.dtype).expand(len(a), -1, -1)[..., 1:]], -1)
    basis = torch.linalg.qr(start).Q
    block = torch.eye(a.shape[-1], dtype=a.dtype).repeat(len(a), 1, 1)
    block[:, 1:, 1:] = turn
    return basis @ block @ basis.mT


@law(chapter=3, dims=FROM_TWO)
def smallest(z, q, draw):
    """Every rotation Q with Q a = b has |Q - I|_2 >= 2 sin(theta/2), which R attains.

    It also has |Q - I|_F^2 >= 8 sin^2(theta/2) + cos^2(theta/2) |Q - R|_F^2: in the Frobenius norm R is alone for
    theta < pi.
    """
    a, s = unit(z), (angle(z, q) / 2).sin()
    X = draw(len(z), z.shape[-1] - 1, z.shape[-1] - 1).double() * 10 ** draw(len(z), 1, 1).double()
    R = rotation(z, q)
    Q = R @ fixing(a, torch.linalg.matrix_exp((X - X.mT).clamp(-3, 3)))
    far, mine, scale = Q - identity(z), R - identity(z), magnified(z, q)
    return {
        "Q a": (apply(Q, a), unit(q), 1.0),
        "spectral of R": (spectral_norm(mine), 2 * s, scale),
        "Frobenius of R": (frobenius_norm(mine), 8**0.5 * s, scale),
        "spectral": AtMost(2 * s, spectral_norm(far), scale),
        "Frobenius": AtMost(
            8 * s**2 + (1 - s**2) * frobenius_norm(Q - R) ** 2, frobenius_norm(far) ** 2, z.shape[-1] * scale
        ),
    }


@law(chapter=3, dims=(4, 8, 64))
def not_unique(z, q, draw, t):
    "From d = 4 on, R times a turn by t theta in the complement of S has the same |. - I|_2, and a larger |. - I|_F."
    theta = angle(z, q)
    v, w = (unit(x - apply(projector(z, q), x)) for x in draw(2, *z.shape).double())
    w = unit(w - dot(v, w) * v)
    turned = (t * theta).unsqueeze(-1)
    extra = turned.sin() * (outer(w, v) - outer(v, w)) + (turned.cos() - 1) * (outer(v, v) + outer(w, w))
    Q, s, scale = rotation(z, q) @ (identity(z) + extra), (theta / 2).sin(), magnified(z, q)
    both = 8 * s**2 + 8 * (t * theta / 2).sin() ** 2
    return {
        "Q a": (apply(Q, unit(z)), unit(q), scale),
        "spectral": (spectral_norm(Q - identity(z)), 2 * s, scale),
        "Frobenius": (frobenius_norm(Q - identity(z)) ** 2, both, 16 * scale),
    }


@law(chapter=3, dims=FROM_TWO, kinds=("generic", "lopsided", "opposite"))
def mirror_is_nearer(z, q):
    """The reflection H takes a to b, too, and |H - I|_F = |H - I|_2 = 2.

    Past 90 degrees |R - I|_F is larger; |R - I|_2 never is.
    """
    H, theta = reflection(z, q), angle(z, q)
    mine = frobenius_norm(rotation(z, q) - identity(z))
    past, before = theta > math.pi / 2, theta < math.pi / 2
    return {
        "H a": (apply(H, unit(z)), unit(q), conditioning("reflection", z, q)),
        "Frobenius": (frobenius_norm(H - identity(z)), torch.tensor(2.0)),
        "spectral": (spectral_norm(H - identity(z)), torch.tensor(2.0)),
        "spectral of R": AtMost(spectral_norm(rotation(z, q) - identity(z)), torch.tensor(2.0), 1.0),
        "past 90": AtMost((2 - mine) * past, torch.zeros(()), 1.0),
        "before 90": AtMost((mine - 2) * before, torch.zeros(()), 1.0),
    }


# what G = rR keeps

CARRIERS = ("rotation", "reflection")


@law(chapter=3, members=CARRIERS)
def carries(z, q, member):
    "G z = q."
    return apply(jacobian(member, z, q), z), q, norm(q)


@law(chapter=3, members=CARRIERS)
def product(z, q, g, member):
    "<G^T g, z> = <g, q>: what the gradient does along z is what it does along q."
    return dot(pull_back(member, z, q, g), z), dot(g, q), norm(g) * norm(q)


@law(chapter=3, members=CARRIERS)
def norm_ratio(z, q, g, member):
    "|G^T g| = r |g| with r = |q|/|z|, in every dimension."
    return norm(pull_back(member, z, q, g)), norm(q) / norm(z) * norm(g)


@law(chapter=3, members=CARRIERS)
def angle_kept(z, q, g, member):
    "angle(G^T g, z) = angle(g, q)."
    return angle(pull_back(member, z, q, g), z), angle(g, q), 1.0


@law(chapter=3, members=CARRIERS)
def conformal(z, q, g, h, member):
    "<G^T g, G^T h> = r^2 <g, h>: the pull-back metric is r^2 I, a scale and nothing else."
    r = norm(q) / norm(z)
    left = dot(pull_back(member, z, q, g), pull_back(member, z, q, h))
    return left, r**2 * dot(g, h), r**2 * norm(g) * norm(h)


@law(chapter=3)
def equivariant(z, q, g, U):
    "Turning z, q and g by an orthogonal U turns G^T g by U."
    z, q, g, U = (x.double() for x in (z, q, g, U))
    scale = norm(q) / norm(z) * norm(g) * magnified(z, q)
    return pull_back("rotation", z @ U.mT, q @ U.mT, g @ U.mT), pull_back("rotation", z, q, g) @ U.mT, scale


# what it does not keep


@law(chapter=3)
def half_angle(z, q, g):
    "The angle phi between G^T g and g obeys sin(phi/2) = sin(theta/2) |Pg|/|g|, P the projector on span(z, q)."
    phi, theta = angle(pull_back("rotation", z, q, g), g), angle(z, q)
    return (phi / 2).sin(), (theta / 2).sin() * norm(apply(projector(z, q), g)) / norm(g), magnified(z, q)


@law(chapter=3, dims=FROM_TWO)
def mean_cosine(z, q, U):
    "Over the d axes of any orthonormal frame the mean of cos(phi) is (d - 2 + 2 cos(theta))/d."
    turned = [pull_back("rotation", z, q, u.expand_as(z)) for u in U.mT]
    cosines = torch.stack([dot(v, u) / norm(v) / norm(u) for v, u in zip(turned, U.mT)])
    d = z.shape[-1]
    return cosines.mean(0), (d - 2 + 2 * angle(z, q).cos()) / d, 1.0


# the ends of the range


@law(chapter=3, dims=FROM_TWO, tolerance=1e-5)
def half_turn_limit(z, draw, t):
    """As b goes to -a along the direction u, R goes to I - 2aa^T - 2uu^T.

    For d > 2 that depends on u, so there is no limit. In the plane it is -I.
    """
    a, gap, d = unit(z), 1e-6, z.shape[-1]
    u, other = (unit(x - dot(a, x) * a) for x in draw(2, *z.shape).double())
    ends = {"u": u, "another u": other}
    R = {name: jacobian("rotation_only", z, -math.cos(gap) * a + math.sin(gap) * v) for name, v in ends.items()}
    found = {name: (R[name], identity(z) - 2 * outer(a, a) - 2 * outer(v, v)) for name, v in ends.items()}
    if d == 2:
        return found | {"the plane": (R["u"], -identity(z))}
    apart = 2 * (1 - dot(u, other) ** 2).sqrt()  # |2uu^T - 2vv^T|
    return found | {"no limit": (spectral_norm(R["u"] - R["another u"]), apart, 2.0)}


@law(chapter=3, roundings=0)
def zero_vectors(z, q, g):
    "At z = 0 the package takes G = I, and at q = 0 it takes G = 0."
    return {"z = 0": (pull_back("rotation", 0 * z, q, g), g), "q = 0": (pull_back("rotation", z, 0 * q, g), 0 * g)}


@law(chapter=3, dims=FROM_TWO)
def composes_in_the_plane(z, q, draw):
    """In the plane the rotation from z to q followed by the one from q to w is the one from z to w.

    For d > 2 it is not where z, q and w are independent: the two differ by a rotation that leaves w.
    """
    w = draw(*z.shape)
    scale = (magnified(z, q) + magnified(q, w) + magnified(z, w)).unsqueeze(-1)
    if z.shape[-1] == 2:
        return rotation(q, w) @ rotation(z, q), rotation(z, w), scale
    q = draw(*z.shape)  # in no plane with z and w
    twice, once = rotation(q, w) @ rotation(z, q), rotation(z, w)
    scale = (magnified(z, q) + magnified(q, w) + magnified(z, w)).unsqueeze(-1)
    b = unit(w)
    return {
        "about w": (apply(twice @ once.mT, b), b, scale.squeeze(-1)),
        "differ": AtMost(1e-3, frobenius_norm(twice - once).max(), 1.0),
    }
