r"""Laws of chapter 4: the field ``z -> G^T g`` that the encoder feels, inside a cell and across its faces."""

from __future__ import annotations

import torch
from torch import Tensor

from book.algebra import (
    angle,
    apply,
    dot,
    frobenius_norm,
    identity,
    jacobian,
    norm,
    outer,
    projector,
    pull_back,
    side,
    spectral_norm,
    unit,
)
from book.statements import AtMost, law
from book.theory.inputs import GENERIC
from book.theory.one_equation import conditioning
from book.theory.rotation import FROM_TWO

NOT_LOPSIDED = ("generic", "close", "opposite", "parallel")


def derivative(z: Tensor, q: Tensor, g: Tensor, step: float = 1e-5) -> Tensor:
    """The Jacobian (n, d, d) of ``z -> G^T g`` for fixed q and g, by central differences in steps of step |z|."""
    h = step * norm(z)
    axes = torch.eye(z.shape[-1], dtype=z.dtype)
    columns = [pull_back("rotation", z + h * e, q, g) - pull_back("rotation", z - h * e, q, g) for e in axes]
    return torch.stack(columns, -1) / (2 * h.unsqueeze(-1))


# how far from straight-through


@law(chapter=4)
def distance(z, q):
    "|G - I|_2 = |q - z|/|z|: the distance from the straight-through estimator is the relative quantisation error."
    r = norm(q) / norm(z)
    return spectral_norm(jacobian("rotation", z, q) - identity(z)), norm(q - z) / norm(z), 1 + r


@law(chapter=4, dims=FROM_TWO)
def distance_frobenius(z, q):
    "|G - I|_F^2 = 2 |q - z|^2/|z|^2 + (d - 2)(r - 1)^2."
    r, d = norm(q) / norm(z), z.shape[-1]
    left = frobenius_norm(jacobian("rotation", z, q) - identity(z)) ** 2
    return left, 2 * (norm(q - z) / norm(z)) ** 2 + (d - 2) * (r - 1) ** 2, d * (1 + r) ** 2


@law(chapter=4)
def change(z, q, g):
    "|G^T g - g| <= |g| |q - z|/|z|."
    r = norm(q) / norm(z)
    return AtMost(norm(pull_back("rotation", z, q, g) - g), norm(g) * norm(q - z) / norm(z), norm(g) * (1 + r))


def sine_limit(z: Tensor, q: Tensor) -> Tensor:
    """``|q - z|/max(|z|, |q|)``, shape (n, 1)."""
    return norm(q - z) / torch.maximum(norm(z), norm(q))


@law(chapter=4)
def sine_bound(z, q):
    """sin(theta) <= |q - z|/max(|z|, |q|), without a condition.

    It is attained where z - q is orthogonal to z or to q.
    """
    z, q = z.double(), q.double()
    on_z, on_q = dot(q, unit(z)) * unit(z), dot(z, unit(q)) * unit(q)  # the feet of the perpendiculars
    return {
        "every pair": AtMost(angle(z, q).sin(), sine_limit(z, q), 1.0),
        "foot on z": (angle(on_z, q).sin(), sine_limit(on_z, q), 1.0),
        "foot on q": (angle(z, on_q).sin(), sine_limit(z, on_q), 1.0),
    }


@law(chapter=4, dims=FROM_TWO)
def expansion(z, q):
    """G = (<z,q> I + q z^T - z q^T)/|z|^2 + r (1 - cos theta) P', exactly, P' the projector off span(z, q).

    The last factor is the part that is not linear in q: r (1 - cos theta) <= |q - z|^2/(2 |z|^2).
    """
    r, rest, c = norm(q) / norm(z), identity(z) - projector(z, q), angle(z, q).cos()
    linear = (dot(z, q).unsqueeze(-1) * identity(z) + outer(q, z) - outer(z, q)) / norm(z).unsqueeze(-1) ** 2
    bend = (r * (1 - c)).unsqueeze(-1)
    return {
        "G": (jacobian("rotation", z, q), linear + bend * rest, (r * conditioning("rotation", z, q)).unsqueeze(-1)),
        "bound": AtMost(r * (1 - c), dot(q - z, q - z) / (2 * dot(z, z)), 1 + r),
    }


# inside a cell


@law(chapter=4, dims=(2,), kinds=NOT_LOPSIDED)
def complex_quotient(z, q, g):
    "In the plane, with vectors as complex numbers, G^T g = g conj(q/z)."
    zc, qc, gc = (torch.view_as_complex(x.double().contiguous()) for x in (z, q, g))
    return pull_back("rotation", z, q, g), torch.view_as_real(gc * (qc / zc).conj()), norm(g) * norm(q) / norm(z)


@law(chapter=4, dims=(2,), kinds=NOT_LOPSIDED)
def difference(z, q, g, draw):
    "In the plane |F(z) - F(z')| = |g| |q| |z - z'|/(|z| |z'|) for two points of a cell."
    other = z + draw(*z.shape) * norm(z).to(z.dtype)
    left = norm(pull_back("rotation", z, q, g).double() - pull_back("rotation", other, q, g).double())
    lengths = norm(g) * norm(q)
    return left, lengths * norm(z - other) / norm(z) / norm(other), lengths * (1 / norm(z) + 1 / norm(other))


@law(chapter=4, dims=(2,), kinds=NOT_LOPSIDED, tolerance=1e-6)
def plane_field(z, q, g):
    "In the plane the field has neither divergence nor curl."
    J, scale = derivative(z, q, g), (norm(g) * norm(q) / norm(z) ** 2).squeeze(-1)
    return {
        "divergence": (J[:, 0, 0] + J[:, 1, 1], torch.zeros(()), scale),
        "curl": (J[:, 1, 0] - J[:, 0, 1], torch.zeros(()), scale),
    }


@law(chapter=4, dims=(3, 8, 64), kinds=GENERIC, tolerance=1e-5)
def breaks_opposite_the_code(q, draw, t):
    """From d = 3 on the field breaks on the ray opposite to q.

    Come to -s q along u or along w, orthogonal to q and to each other, and g = |q| u arrives as -u |q|/s or as u |q|/s.
    Near 0, where s is small, the field has no bound.
    """
    q, s = q.double(), t**4
    u, w = draw(2, *q.shape).double()
    u = unit(u - dot(u, unit(q)) * unit(q))
    w = unit(w - dot(w, unit(q)) * unit(q) - dot(w, u) * u)
    gap, g = 1e-7 * norm(q), norm(q) * u
    along_u, along_w = (pull_back("rotation", -s * q + s * gap * side_, q, g) for side_ in (u, w))
    return {"along u": (along_u, -g / s, norm(g) / s), "along w": (along_w, g / s, norm(g) / s)}


@law(chapter=4, kinds=("generic",), tolerance=1e-6)
def derivative_at_code(q, g):
    "At z = q, J = (<g,b>(P - bb^T) - g'b^T - bg'^T)/|q|, P = I - bb^T, g' = P g: symmetric, of trace (d-2)<g,b>/|q|."
    b, s = unit(q), dot(g, unit(q))
    across, bb = g - s * b, outer(b, b)
    J, size = derivative(q, q, g), norm(q).unsqueeze(-1)
    right = (s.unsqueeze(-1) * (identity(q) - 2 * bb) - outer(across, b) - outer(b, across)) / size
    scale = (norm(g) / norm(q)).unsqueeze(-1)
    trace = J.diagonal(0, -2, -1).sum(-1, keepdim=True)
    return {"J": (J, right, scale), "trace": (trace, (q.shape[-1] - 2) * s / norm(q), q.shape[-1] * norm(g) / norm(q))}


@law(chapter=4, dims=FROM_TWO, kinds=("generic",), tolerance=1e-6)
def divergence_and_curl(z, q, g):
    """div F = (d-2) <F, m>/(|z| cos(theta/2)), and J - J^T = r tan(theta/2)/|z| (pu^T - up^T).

    p is the part of g off span(z, q), and u the unit vector of that plane orthogonal to z, on the side of q. Central
    differences are inaccurate near a half turn, where J grows as 1/cos(theta/2)^2.
    """
    a, b, half, r = unit(z), unit(q), angle(z, q) / 2, norm(q) / norm(z)
    p, u = g - apply(projector(z, q), g), side(z, q)
    J, size = derivative(z, q, g), norm(g) * r / norm(z) / half.cos() ** 3
    along = dot(pull_back("rotation", z, q, g), unit(a + b)) / norm(z) / half.cos()
    curl = (r * half.tan() / norm(z)).unsqueeze(-1) * (outer(p, u) - outer(u, p))
    return {
        "divergence": (J.diagonal(0, -2, -1).sum(-1, keepdim=True), (z.shape[-1] - 2) * along, z.shape[-1] * size),
        "curl": (J - J.mT, curl, size.unsqueeze(-1)),
    }


@law(chapter=4, kinds=NOT_LOPSIDED, tolerance=1e-6)
def homogeneous(z, q, g, t):
    "F(t z) = F(z)/t for t > 0: along a ray the direction stays and the length falls as 1/|z|."
    felt = pull_back("rotation", z, q, g)
    return {
        "nearer": (pull_back("rotation", t * z, q, g), felt / t),
        "further": (pull_back("rotation", z / t**4, q, g), felt * t**4),
    }


@law(chapter=4)
def outward_push(z, q):
    "<G^T e, e> = r cos(theta) |e|^2 for e = z - q, and r cos(theta) < 1 where <z, z - q> > 0."
    z, q = z.double(), q.double()
    e, r, c = z - q, norm(q) / norm(z), angle(z, q).cos()
    push, outer_side = dot(pull_back("rotation", z, q, e), e), dot(z, e) > 1e-9 * dot(z, z)
    return {
        "push": (push, r * c * dot(e, e), r * dot(e, e) * conditioning("rotation", z, q)),
        "outer side": AtMost(r * c * outer_side, torch.ones(()), 1.0),
    }


# across a face, and about another centre


@law(chapter=4, dims=(2,))
def jump(z, q, g, draw):
    "In the plane the field jumps by |g| |q - q'|/|z| where the code changes from q to q' under a linear loss."
    other = draw(*q.shape)
    left = norm(pull_back("rotation", z, q, g).double() - pull_back("rotation", z, other, g).double())
    return left, norm(g) * norm(q - other) / norm(z), norm(g) * (norm(q) + norm(other)) / norm(z)
