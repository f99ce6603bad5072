r"""The words in which statements are written: products, lengths, angles and maps of vectors.

Vectors are rows, shape (..., d). A number per vector keeps its axis, shape (..., 1), so that ``norm(q) / norm(z) * g``
reads as it does on paper. Matrices have shape (..., d, d). Everything is computed in float64: where an estimator is
tested in another precision, only the estimator runs in it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rotvq.quantizers.estimators import ESTIMATORS

# numbers and vectors


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64 from a generator of their own."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def vector(*entries: float) -> Tensor:
    """The float64 vector of these entries."""
    return torch.tensor(entries, dtype=torch.float64)


def polar(degrees: float, length: float = 1.0) -> Tensor:
    """The vector of the plane at an angle to the first axis."""
    return length * vector(math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))


# products, lengths and angles


def dot(x: Tensor, y: Tensor) -> Tensor:
    """The inner products ``<x, y>``, shape (..., 1)."""
    return (x.double() * y.double()).sum(-1, keepdim=True)


def norm(x: Tensor) -> Tensor:
    """The lengths ``|x|``, shape (..., 1)."""
    return torch.linalg.vector_norm(x.double(), 2, -1, keepdim=True)


def unit(x: Tensor) -> Tensor:
    """``x/|x|``, and 0 for 0."""
    return x.double() / norm(x).clamp_min(torch.finfo(torch.float64).tiny)


def angle(x: Tensor, y: Tensor) -> Tensor:
    """The angle between x and y in radians, accurate at 0 and at pi, where the arc cosine is not; shape (..., 1)."""
    return 2 * torch.atan2(norm(unit(x) - unit(y)), norm(unit(x) + unit(y)))


def angle_in_degrees(x: Tensor, y: Tensor) -> Tensor:
    """:func:`angle` in degrees."""
    return torch.rad2deg(angle(x, y))


# matrices


def identity(x: Tensor) -> Tensor:
    """The identity matrix of the space of x, shape (d, d)."""
    return torch.eye(x.shape[-1], dtype=torch.float64)


def outer(x: Tensor, y: Tensor) -> Tensor:
    """``x y^T``, shape (..., d, d)."""
    return x.double().unsqueeze(-1) * y.double().unsqueeze(-2)


def apply(matrix: Tensor, x: Tensor) -> Tensor:
    """The matrix times each vector, shape (..., d)."""
    return (matrix @ x.double().unsqueeze(-1)).squeeze(-1)


def spectral_norm(matrix: Tensor) -> Tensor:
    """The largest singular value, shape (..., 1)."""
    return torch.linalg.matrix_norm(matrix, 2).unsqueeze(-1)


def frobenius_norm(matrix: Tensor) -> Tensor:
    """The root of the sum of the squared entries, shape (..., 1)."""
    return torch.linalg.matrix_norm(matrix).unsqueeze(-1)


def mirror(u: Tensor) -> Tensor:
    """The reflection ``I - 2uu^T`` in the plane orthogonal to a unit vector u."""
    return identity(u) - 2 * outer(u, u)


def side(z: Tensor, q: Tensor) -> Tensor:
    """The unit vector of span(z, q) that is orthogonal to z, on the side of q; 0 where z and q are parallel."""
    a, b = unit(z), unit(q)
    u = b - dot(a, b) * a
    return unit(u - dot(a, u) * a)  # a second time: the first leaves a rounding error along a


def projector(z: Tensor, q: Tensor) -> Tensor:
    """The orthogonal projector on span(z, q)."""
    a, u = unit(z), side(z, q)
    return outer(a, a) + outer(u, u)


# the estimators, by their definitions and as the package computes them


def rotation(z: Tensor, q: Tensor) -> Tensor:
    r"""The rotation R from z/\|z\| to q/\|q\|, by its definition and not by the package's formula.

    In span(z, q) it is the turn by theta from z to q, elsewhere the identity. With a = z/\|z\| and u = side(z, q)

    .. math:: R = I + \sin\theta\,(u a^\top - a u^\top) + (\cos\theta - 1)(a a^\top + u u^\top).
    """
    a, u, theta = unit(z), side(z, q), angle(z, q).unsqueeze(-1)
    turn = outer(u, a) - outer(a, u)
    return identity(z) + theta.sin() * turn + (theta.cos() - 1) * (outer(a, a) + outer(u, u))


def reflection(z: Tensor, q: Tensor) -> Tensor:
    """The reflection H that exchanges z/|z| and q/|q|."""
    return mirror(unit(unit(z) - unit(q)))


def gradient_map(z: Tensor, q: Tensor) -> Tensor:
    """The dense ``G = |q|/|z| R`` of the rotation trick, by its definition."""
    return (norm(q) / norm(z)).unsqueeze(-1) * rotation(z, q)


def pull_back(name: str, z: Tensor, q: Tensor, g: Tensor, **options) -> Tensor:
    """``G^T g`` of the estimator of this name as the package computes it, in g's dtype; options as there."""
    return ESTIMATORS[name].pull_back(z, q, g, **options)


def jacobian(name: str, z: Tensor, q: Tensor, **options) -> Tensor:
    """``G`` as the package computes it: row i is ``G^T e_i``."""
    axes = torch.eye(z.shape[-1], dtype=z.dtype)
    return torch.stack([pull_back(name, z, q, e.expand_as(z), **options) for e in axes], -2).double()


# codes


def distances(z: Tensor, codes: Tensor) -> Tensor:
    """All ``|z - e_k|``: from latents (..., d) and codes (K, d) to (..., K)."""
    return norm(z.unsqueeze(-2) - codes).squeeze(-1)


def nearest(z: Tensor, codes: Tensor) -> Tensor:
    """Indices (...) of the nearest codes, written out as the definition says."""
    return (z.unsqueeze(-2) - codes).square().sum(-1).argmin(-1)


def largest(*numbers: float | Tensor) -> float:
    """The largest of some numbers, and nan where one is nan; Python's max may lose it."""
    return float(torch.stack([torch.as_tensor(number).double().reshape(()) for number in numbers]).max())


def close(x: Tensor, y: Tensor, tolerance: float = 1e-10) -> bool:
    """Whether x is y up to ``tolerance`` times the largest entry; the default is some 1e5 roundings of float64."""
    return bool((x - y).abs().max() <= tolerance * max(1.0, float(y.abs().max())))
