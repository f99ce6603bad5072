"""Laws of chapter 7: the bias of an estimator.

They draw lattices and losses of their own and ask nothing of the pairs (z, q), so they run on one kind of pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from book.algebra import dot, nearest, norm, pull_back, unit
from book.statements import AtMost, law
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


def mean_bias_of_ste(loss: Callable[[Tensor], Tensor], start: float, spacing: float) -> Tensor:
    """The mean over m in (start, start + 1) * spacing of E g - F'(m), g = L' at the code of m + dither.

    The codes are all multiples of ``spacing``, looked up; ``start`` is a multiple of 1/2.
    """
    points = 400
    dither = (torch.arange(points, dtype=torch.float64) + 0.5) / points - 0.5
    m = start + torch.arange(points + 1, dtype=torch.float64) / points  # so no z is on a face
    q = (((m[:, None] + dither).round()) * spacing).requires_grad_()
    value = loss(q)
    (g,) = torch.autograd.grad(value.sum(), q)
    weights = torch.ones_like(m)
    weights[0] = weights[-1] = (
        0.5  # the trapezoidal rule: E g and E L are linear in m from one multiple of 1/2 to the next
    )
    slope = (value[-1].mean() - value[0].mean()) / spacing
    return (weights @ g.mean(1) / points - slope).detach()


@law(chapter=7, kinds=GENERIC, dims=(1,), tolerance=0.02)
def average_over_a_cell(draw):
    """STE's bias on a lattice, averaged over m: D^2 L'''/12 between two codes, -D^2 L'''/24 over a cell, to O(D^4).

    For a quadratic loss both are 0.
    """
    a, b, c, phase = draw(4).double().tolist()
    k, D = round(3 * a), 0.05
    at = {"between codes": (k, 1 / 12), "over a cell": (k - 0.5, -1 / 24)}
    found = {}
    for where, (start, factor) in at.items():
        middle = torch.tensor((start + 0.5) * D).double()
        smooth = lambda q: torch.sin(2 * q + phase) + b * q**2  # noqa: E731
        third = -8 * torch.cos(2 * middle + phase)
        square = lambda q: c * (q - b) ** 2 + a * q  # noqa: E731
        found[where] = (mean_bias_of_ste(smooth, start, D) / D**2, factor * third, 8 * abs(factor))
        found[f"{where}, quadratic"] = (mean_bias_of_ste(square, start, D) / D**2, torch.tensor(0.0), 1.0)
    return found


def errors_around(draw: Callable, d: int, length: float) -> Tensor:
    """Isotropic errors: the axes of some frames and their mirror images, (16 d, d)."""
    axes = torch.linalg.qr(draw(8, d, d).double())[0].reshape(-1, d)
    return length * torch.cat([axes, -axes])


@law(chapter=7, kinds=GENERIC, dims=(2, 3, 8, 64), tolerance=0.02)
def inward_bias(d, draw):
    """For L = h|q - y|^2/2 the rotation adds a mean push to STE, of the order of the errors' mean square D.

    To O(D^2), with f the gradient without quantiser and P f its part across z, the push is
    hD z/|z|^2 + (d-2)/(2d) D/|z|^2 P f at one z with isotropic e. Over the cell of a centroid q it is
    D/|q|^2 (hq - (d-2)/d f_along - (d-2)/(2d) f_across) where y follows z, and the same with h = 0 where y is one for
    the cell. Always (G^T - I) he = h |e|^2 z/|z|^2. Where y is one for the cell nothing is added along z. Where y
    follows z and d > 2, an f along q longer than d/(d-2) h|q| turns the push outwards.
    """
    x, f, h = 0.5 * draw(1, d).double(), draw(1, d).double(), float(draw(1).double().exp())
    x = x + unit(x)
    e = errors_around(draw, d, 1e-3 * float(norm(x)))
    D, every = float(dot(e, e).mean()), x.expand_as(e)
    across = f - unit(x) * dot(unit(x), f)

    def added(z, q, g):
        """E[G^T g] - E[g], the pairs of rows taken together."""
        return (pull_back("rotation", z, q, g) - g).mean(0, keepdim=True)

    fixed = added(every, every + e, f + h * e)
    follows = added(every - e, every, f + h * e)
    one_target = added(every - e, every, f.expand_as(e))
    turned = -(d - 2) / d * (f - across) - (d - 2) / (2 * d) * across
    own, raw = draw(1, d).double(), draw(1, d).double()  # of any size and direction
    push = h * dot(raw, raw) * own / dot(own, own)
    scale = D / norm(x) ** 2 * (norm(f) + h * norm(x))
    found = {
        "one y, along x": (dot(pull_back("rotation", every - e, every, f.expand_as(e)) - f, every - e).mean(), 0.0, D)
    }
    if d > 2:
        long = 2 * d / (d - 2) * h * x
        found["a long f"] = AtMost(dot(added(every - e, every, long + h * e), x), torch.tensor(-0.5 * h * D), h * D)
    return found | {
        "one z": (fixed, D / norm(x) ** 2 * (h * x + (d - 2) / (2 * d) * across), scale),
        "a cell, y follows z": (follows, D / norm(x) ** 2 * (h * x + turned), scale),
        "a cell, one y": (one_target, D / norm(x) ** 2 * turned, scale),
        "exact": (added(own, own + raw, h * raw), push, norm(push) * 1e-8),
    }


@law(chapter=7, kinds=GENERIC, dims=(2, 3, 8, 64), tolerance=0.02)
def radial_bias(d, draw):
    """Over the cell of a centroid q STE is off by -hD along z, and the rotation by 0 or by -hD.

    The rotation is off by 0 where y follows z, and by -hD where the cell has one y. What they are off from is the
    gradient without quantiser f, to leading order.
    """
    q, f, h = draw(1, d).double(), draw(1, d).double(), float(draw(1).double().exp())
    e = errors_around(draw, d, 1e-3 * float(norm(q)))
    D, codes = float(dot(e, e).mean()), q.expand_as(e)
    z, found = codes - e, {}
    targets = {"y follows z": z - f / h, "one y": (q - f / h).expand_as(e)}
    stated = {"ste": (-h * D, -h * D), "rotation": (0.0, -h * D)}
    for member, values in stated.items():
        for (where, y), value in zip(targets.items(), values):
            wanted, g = h * (z - y), h * (codes - y)
            along = dot(pull_back(member, z, codes, g) - wanted, z).mean()
            found[f"{member}, {where}"] = (along, value, h * D)
    return found


def over_dither(value: Callable[[Tensor], Tensor], m: Tensor, codes: Tensor, size: float) -> Tensor:
    """E[value(z, q)] for z = m + size * xi, xi normal along the line that joins two codes (2, d), q looked up.

    Gauss-Legendre quadrature on either side of the face. What the noise does across the line changes no code.
    """
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(120))
    n = unit(codes[1:] - codes[:1])[0]
    face, total = float((codes.mean(0) - m) @ n) / size, 0.0
    for low, high in ((min(-9.0, face - 1), face), (face, max(9.0, face + 1))):
        xi = low + (high - low) / 2 * (1 + nodes)
        density = weights * (high - low) / 2 * torch.exp(-(xi**2) / 2) / math.sqrt(2 * math.pi)
        z = m + size * xi[:, None] * n
        total = total + (density[:, None] * value(z, codes[nearest(z, codes)])).sum(0)
    return total


@law(chapter=7, kinds=GENERIC, tolerance=1e-6)
def two_codes(draw, d, t):
    """For two codes, normal dither and a quadratic L, grad E[L] = (gap phi(tau/sigma)/sigma) n <n, (g1 + g2)/2>.

    There STE has (1 - Phi) g1 + Phi g2. For a linear loss STE passes on all of g, of which only the part along n is
    real.
    """
    codes, y, noise, slope = draw(2, d).double(), draw(1, d).double(), draw(d).double(), draw(1, d).double()
    m, A = codes.mean(0) + t * noise, draw(d, d).double() / d**0.5
    gap, n = norm(codes[1] - codes[0]), unit(codes[1] - codes[0])
    tau = float((m - codes.mean(0)) @ n)
    density, share = math.exp(-((tau / t) ** 2) / 2) / math.sqrt(2 * math.pi), 0.5 * math.erfc(-tau / t / math.sqrt(2))
    gradients = {"quadratic": lambda q: (q - y) @ A.T @ A, "linear": lambda q: slope.expand_as(q)}
    losses = {
        "quadratic": lambda z, q: ((q - y) @ A.T).square().sum(-1, keepdim=True) / 2,
        "linear": lambda z, q: q @ slope.T,
    }
    v, h, found = unit(draw(d).double()), 1e-4, {}
    for name, g in gradients.items():
        g1, g2 = g(codes)
        size = (1 + gap / t) * (norm(g1) + norm(g2)) * (1 + 1 / t**2)
        ahead, behind = (over_dither(losses[name], m + sign * h * v, codes, t) for sign in (1, -1))
        stated = gap * density / t * n * (n @ (g1 + g2) / 2)
        ste = over_dither(lambda z, q: pull_back("ste", z, q, g(q)), m, codes, t)  # noqa: B023
        found[f"{name}: truth"] = ((ahead - behind) / (2 * h), (stated @ v)[None], size)
        found[f"{name}: STE"] = (ste, (1 - share) * g1 + share * g2, size)
    return found
