"""Laws of chapter 7: the bias of an estimator.

They draw lattices and losses of their own and ask nothing of the pairs (z, q), so they run on one kind of pair.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from book.algebra import dot, norm, pull_back, unit
from book.statements import law
from book.theory.inputs import GENERIC


def lattice_mean(name: str, m: Tensor, y: Tensor, spacing: float) -> Tensor:
    """E[G^T g] in d = 1 for z = m + dither, q the nearest multiple of ``spacing``, and the loss (q - y)^2/2.

    The dither is uniform on one spacing, so z meets two codes. The integral is taken by Gauss-Legendre quadrature, on
    either side of the face between them.

    Args:
        name: The estimator.
        m: The means of z, shape (n,).
        y: The targets, shape (n,).
        spacing: The distance of two codes.

    Returns:
        One mean per entry of m.
    """
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(40))
    k = torch.floor(m / spacing)  # the codes are k and k + 1 times the spacing
    edges = torch.stack([m - spacing / 2, (k + 0.5) * spacing, m + spacing / 2])
    mean = torch.zeros_like(m)
    for i in range(2):
        half = (edges[i + 1] - edges[i])[..., None] / 2
        z, q = edges[i][..., None] + half * (1 + nodes), ((k + i) * spacing)[..., None].expand(-1, 40)
        g = q - y[..., None]
        pulled = pull_back(name, z[..., None], q[..., None], g[..., None]).squeeze(-1)
        mean = mean + (pulled * weights * half).sum(-1) / spacing
    return mean


@law(chapter=7, kinds=GENERIC, dims=(1,), tolerance=1e-10)
def lattice_bias(draw, t, n):
    "Uniform dither on a lattice, L = (q - y)^2/2: STE gives m - y; the truth is the slope of a chord, (k + 1/2)D - y."
    m, y, D = draw(n).double().abs() + 2, draw(n).double(), 0.5 + t
    k = torch.floor(m / D)
    loss = lambda q: (q - y).square() / 2  # noqa: E731
    chord = (loss((k + 1) * D) - loss(k * D)) / D
    log = lambda upper, lower: torch.log(upper / lower)  # noqa: E731
    q0, q1, face = k * D, (k + 1) * D, (k + 0.5) * D
    turned = (q0 * (q0 - y) * log(face, m - D / 2) + q1 * (q1 - y) * log(m + D / 2, face)) / D
    return {
        "truth": (chord, face - y),
        "STE": (lattice_mean("ste", m, y, D), m - y),
        "bias of STE": (m - y - chord, D * (m / D - k - 0.5), 1.0),
        "rotation": (lattice_mean("rotation", m, y, D), turned),
    }


@law(chapter=7, kinds=GENERIC, dims=(2, 3, 8, 64), tolerance=0.02)
def inward_bias(d, draw):
    "Isotropic error e: the rotation's mean is g + hD z/|z|^2 + (d-2)/(2d) D/|z|^2 P g for L = h|q - y|^2/2, to O(D)."
    z, y, h, size = 1 + 0.5 * draw(1, d).double(), draw(1, d).double(), 1.7, 1e-3
    pairs = torch.linalg.qr(draw(8, d, d).double())[0].reshape(-1, d)
    e = size * norm(z) * torch.cat([pairs, -pairs])  # orthonormal frames and their mirror images
    q, g = z + e, h * (z - y)
    felt = pull_back("rotation", z.expand_as(q), q, h * (q - y)).mean(0, keepdim=True) - g
    D = (size * norm(z)) ** 2
    P = g - unit(z) * dot(unit(z), g)
    return felt, h * D * z / norm(z) ** 2 + (d - 2) / (2 * d) * D / norm(z) ** 2 * P, size**2 * (norm(g) + h * norm(z))


@law(chapter=7, kinds=GENERIC, tolerance=1e-7)
def two_codes(draw, d, t):
    "Two codes, normal dither: grad E[L] = (gap phi(tau/sigma)/sigma) n <n, (g1 + g2)/2> for a quadratic L."
    q1, q2, y, noise = draw(4, d).double()
    m = (q1 + q2) / 2 + t * noise
    A = draw(d, d).double()
    g1, g2 = (A.T @ A @ (q - y) for q in (q1, q2))
    loss = [(A @ (q - y)).square().sum() / 2 for q in (q1, q2)]
    gap = (q2 - q1).norm()
    n = (q2 - q1) / gap
    point = m.clone().requires_grad_()
    share = torch.special.ndtr(((point - (q1 + q2) / 2) @ n) / t)
    (exact,) = torch.autograd.grad((1 - share) * loss[0] + share * loss[1], point)
    tau = (m - (q1 + q2) / 2) @ n
    density = torch.exp(-((tau / t) ** 2) / 2) / math.sqrt(2 * math.pi)
    return exact, gap * density / t * n * (n @ (g1 + g2) / 2), gap / t * (g1 + g2).norm()
