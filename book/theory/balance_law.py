"""Laws of chapter 5: the balance law.

They draw small networks of their own and ask nothing of the pairs (z, q), so they run on one kind of pair.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from book.algebra import apply, dot, jacobian, norm, pull_back
from book.statements import AtMost, law
from book.theory.inputs import GENERIC
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.quantizers.lookup import nearest


def total(x: Tensor, y: Tensor) -> Tensor:
    """The sum of the products of all entries: ``<x, y>`` of parameters, and its sum over latents."""
    return (x.double() * y.double()).sum()


class Network:
    """A linear map (E, b), a quantiser, a linear map W and a layer after it; the loss is a sum of squares.

    z = E h + b for random h, and q is the nearest of nine random codes. Its gradients are computed at once: ``dE``,
    ``db`` and ``dW`` of the parameters, and ``g`` of what the decoder sees.

    Args:
        member: The estimator.
        draw: Gives normal numbers of a shape.
        n: The number of latents.
        d: Their dimension.
        normalised: Whether z is divided by its length.
    """

    def __init__(self, member: str, draw: Callable[..., Tensor], n: int, d: int, normalised: bool = False):
        h, codes = draw(n, d + 2), draw(9, d)
        self.V, self.y, self.c = draw(4, 5), draw(n, 4), draw(5)
        self.E, self.b, self.W = (draw(*shape).requires_grad_() for shape in ((d, d + 2), (d,), (5, d)))
        self.z = h @ self.E.T + self.b
        if normalised:
            self.z = self.z / self.z.norm(dim=-1, keepdim=True)
        self.q = codes[nearest(self.z, codes)]
        z_q = ESTIMATORS[member](self.z, self.q)
        self.dE, self.db, self.dW, self.g = torch.autograd.grad(
            self.loss(self.W, z_q), [self.E, self.b, self.W, z_q], retain_graph=True
        )

    def loss(self, W: Tensor, z_q: Tensor) -> Tensor:
        """The loss where the decoder begins with W and sees z_q."""
        return (torch.tanh(z_q @ W.T + self.c) @ self.V.T - self.y).square().sum()

    @property
    def encoder(self) -> Tensor:
        """<(E, b), dL>."""
        return total(self.E, self.dE) + total(self.b, self.db)

    @property
    def decoder(self) -> Tensor:
        """<W, dL>."""
        return total(self.W, self.dW)

    @property
    def size(self) -> Tensor:
        """What rounding is measured against."""
        return (norm(self.g) * (norm(self.z) + norm(self.q)) * (1 + norm(self.q) / norm(self.z))).sum()


@law(chapter=5, kinds=GENERIC, roundings=3000, dims=(1, 2, 3, 8))
def balance(member, draw, n, d):
    "The balance law: <(E, b), dL> - <W, dL> = E<g, Gz - q>, which is 0 wherever Gz = q."
    net = Network(member, draw, n, d)
    Gz = apply(jacobian(member, net.z.detach(), net.q), net.z)
    return net.encoder - net.decoder, total(net.g, Gz - net.q), net.size


@law(chapter=5, kinds=GENERIC, roundings=3000)
def scaling_derivative(draw, n, d):
    "The rotation's <(E, b), dL> is the exact derivative of L when latents and codes grow together."
    net = Network("rotation", draw, n, d)
    grow = torch.ones((), dtype=net.q.dtype, requires_grad=True)
    (exact,) = torch.autograd.grad(net.loss(net.W, grow * net.q), grow)
    return net.encoder, exact, net.size


@law(chapter=5, kinds=GENERIC, roundings=3000)
def scaling_symmetry(draw, n, d, t):
    "(E, b, codes, W) -> (s E, s b, s codes, W/s) leaves the loss and the rotation's g <-> G^T g alone."
    net = Network("rotation", draw, n, d)
    z, q, g = net.z.detach(), net.q, net.g
    return {
        "loss": (net.loss(net.W / t, t * q), net.loss(net.W, q)),
        "G": (pull_back("rotation", t * z, t * q, g), pull_back("rotation", z, q, g)),
    }


@law(chapter=5, kinds=GENERIC, roundings=3000)
def one_step(draw, n, d, t):
    "A step of SGD: |E+|^2 - |W+|^2 = |E|^2 - |W|^2 - 2 eta E<g, Gz - q> + eta^2 (|dE|^2 - |dW|^2), with b in E."
    net, eta = Network("ste", draw, n, d), 1e-3 * t
    old = total(net.E, net.E) + total(net.b, net.b) - total(net.W, net.W)
    new = [p.double() - eta * dp.double() for p, dp in ((net.E, net.dE), (net.b, net.db), (net.W, net.dW))]
    squares = total(net.dE, net.dE) + total(net.db, net.db) - total(net.dW, net.dW)
    right = old - 2 * eta * total(net.g, net.z - net.q) + eta**2 * squares
    return total(new[0], new[0]) + total(new[1], new[1]) - total(new[2], new[2]), right, old.abs() + eta * net.size


@law(chapter=5, kinds=GENERIC)
def cost_of_quantising(draw, n, d):
    "For a loss convex in z_q: E<g, q - z> >= L(q) - L(z). STE's radial push is at least what quantising costs."
    A, y, z, e = draw(3, d).double(), draw(n, 3).double(), draw(n, d).double(), draw(n, d).double()
    loss = lambda v: (v @ A.T - y).square().sum(-1, keepdim=True)  # noqa: E731
    q = z + e
    return AtMost(loss(q) - loss(z), dot(2 * (q @ A.T - y) @ A, e), 1 + loss(q) + loss(z))


@law(chapter=5, kinds=GENERIC, roundings=3000, dims=(1, 2, 3, 8))
def normalised_latents(member, draw, n, d):
    "Where z is normalised after (E, b), <(E, b), dL> = 0 for every estimator and for the commitment loss too."
    net = Network(member, draw, n, d, normalised=True)
    commitment = (net.z - net.q).square().sum()
    dE, db = torch.autograd.grad(commitment, [net.E, net.b])
    zero = torch.zeros((), dtype=torch.float64)
    return {
        "loss": (net.encoder, zero, net.size * (norm(net.E).sum() + norm(net.b)).sum()),
        "commitment": (total(net.E, dE) + total(net.b, db), zero, 10 * n),
    }


@law(chapter=5, kinds=GENERIC)
def centroids(draw, n, d):
    "Where each code is the mean of its latents, E<z, z - q> = E|z - q|^2."
    z, k = draw(n, d).double(), torch.arange(n) % 4
    q = torch.stack([z[k == i].mean(0) for i in range(4)])[k]
    return total(z, z - q), total(z - q, z - q)
