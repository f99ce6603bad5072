r"""Laws of chapters 5 and 6: the balance law, and the solvable model of collapse.

They draw small networks of their own and ask nothing of the pairs (z, q), so they run on one kind of pair.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from book.theory import collapse
from book.theory.laws import AtMost, apply, dot, jacobian, law, norm, pull_back
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.quantizers.lookup import nearest

ONE = ("generic",)


def total(x: Tensor, y: Tensor) -> Tensor:
    return (x.double() * y.double()).sum()


# 5  the balance law


class Network:
    """A linear map (E, b), a quantiser, a linear map W and anything after it; a sum of squares is the loss."""

    def __init__(self, member: str, draw, n: int, d: int, normalised: bool = False):
        self.h, codes, V, y, c = draw(n, d + 2), draw(9, d), draw(4, 5), draw(n, 4), draw(5)
        self.E, self.b, self.W = (draw(*shape).requires_grad_() for shape in ((d, d + 2), (d,), (5, d)))
        self.z = self.h @ self.E.T + self.b
        self.z = self.z / self.z.norm(dim=-1, keepdim=True) if normalised else self.z
        self.q = codes[nearest(self.z, codes)]
        z_q = ESTIMATORS[member](self.z, self.q)
        self.tail = lambda W, z_q: (torch.tanh(z_q @ W.T + c) @ V.T - y).square().sum()
        self.loss = self.tail(self.W, z_q)
        wanted = [self.E, self.b, self.W, z_q]
        self.dE, self.db, self.dW, self.g = torch.autograd.grad(self.loss, wanted, retain_graph=True)

    @property
    def encoder(self) -> Tensor:
        "<(E, b), dL>"
        return total(self.E, self.dE) + total(self.b, self.db)

    @property
    def decoder(self) -> Tensor:
        "<W, dL>"
        return total(self.W, self.dW)

    @property
    def size(self) -> Tensor:
        "What rounding is measured against."
        return (norm(self.g) * (norm(self.z) + norm(self.q)) * (1 + norm(self.q) / norm(self.z))).sum()


@law(chapter=5, kinds=ONE, roundings=3000, dims=(1, 2, 3, 8))
def balance(member, draw, n, d):
    "The balance law: <(E, b), dL> - <W, dL> = E<g, Gz - q>, which is 0 wherever Gz = q."
    net = Network(member, draw, n, d)
    Gz = apply(jacobian(member, net.z.detach(), net.q), net.z)
    return net.encoder - net.decoder, total(net.g, Gz - net.q), net.size


@law(chapter=5, kinds=ONE, roundings=3000)
def scaling_derivative(draw, n, d):
    "The rotation's <(E, b), dL> is the exact derivative of L when latents and codes grow together."
    net = Network("rotation", draw, n, d)
    grow = torch.ones((), dtype=net.q.dtype, requires_grad=True)
    (exact,) = torch.autograd.grad(net.tail(net.W, grow * net.q), grow)
    return net.encoder, exact, net.size


@law(chapter=5, kinds=ONE, roundings=3000)
def scaling_symmetry(draw, n, d, t):
    "(E, b, codes, W) -> (s E, s b, s codes, W/s) leaves the loss and the rotation's g <-> G^T g alone."
    net = Network("rotation", draw, n, d)
    z, q, g = net.z.detach(), net.q, net.g
    return {
        "loss": (net.tail(net.W / t, t * q), net.tail(net.W, q)),
        "G": (pull_back("rotation", t * z, t * q, g), pull_back("rotation", z, q, g)),
    }


@law(chapter=5, kinds=ONE, roundings=3000)
def one_step(draw, n, d, t):
    "A step of SGD: |E+|^2 - |W+|^2 = |E|^2 - |W|^2 - 2 eta E<g, Gz - q> + eta^2 (|dE|^2 - |dW|^2), with b in E."
    net, eta = Network("ste", draw, n, d), 1e-3 * t
    old = total(net.E, net.E) + total(net.b, net.b) - total(net.W, net.W)
    new = [p.double() - eta * dp.double() for p, dp in ((net.E, net.dE), (net.b, net.db), (net.W, net.dW))]
    squares = total(net.dE, net.dE) + total(net.db, net.db) - total(net.dW, net.dW)
    right = old - 2 * eta * total(net.g, net.z - net.q) + eta**2 * squares
    return total(new[0], new[0]) + total(new[1], new[1]) - total(new[2], new[2]), right, old.abs() + eta * net.size


@law(chapter=5, kinds=ONE)
def cost_of_quantising(draw, n, d):
    "For a loss convex in z_q: E<g, q - z> >= L(q) - L(z). STE's radial push is at least what quantising costs."
    A, y, z, e = draw(3, d).double(), draw(n, 3).double(), draw(n, d).double(), draw(n, d).double()
    loss = lambda v: (v @ A.T - y).square().sum(-1, keepdim=True)  # noqa: E731
    q = z + e
    return AtMost(loss(q) - loss(z), dot(2 * (q @ A.T - y) @ A, e), 1 + loss(q) + loss(z))


@law(chapter=5, kinds=ONE, roundings=3000, dims=(1, 2, 3, 8))
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


@law(chapter=5, kinds=ONE)
def centroids(draw, n, d):
    "Where each code is the mean of its latents, E<z, z - q> = E|z - q|^2."
    z, k = draw(n, d).double(), torch.arange(n) % 4
    q = torch.stack([z[k == i].mean(0) for i in range(4)])[k]
    return total(z, z - q), total(z - q, z - q)


# 6  the solvable model


def cells_of(t: float) -> collapse.Cells:
    """Some averages that cells could have: rho from t, the others between rho and 1."""
    return collapse.Cells(t, (1 + t) / 2, t**0.75, t)


@law(chapter=6, kinds=ONE, dims=(1, 2), members=tuple(collapse.PUSH), tolerance=1e-12)
def model_is_closed(member, d, t):
    "In the symmetric model E[G^T g x^T] is a multiple of I: -2w(A(u) - wt B(u)) I. So E stays s I."
    x, codes = collapse.line() if d == 1 else collapse.circle(5)
    c, s, w = codes[nearest(x, codes)], 0.7, 1.3
    felt = pull_back(member, s * x, t * c, 2 * w * (w * t * c - x))
    A, B = collapse.PUSH[member](collapse.Cells.of(x, c), t / s)
    return felt.T @ x / len(x), -2 * w * (A - w * t * B) * torch.eye(d, dtype=torch.float64), 1.0


@law(chapter=6, kinds=ONE, dims=(1,), members=("ste", "rotation", "rotation_only", "scale_only"), tolerance=1e-10)
def fixed_point(member, t, draw):
    "Below the threshold there is a positive stationary state, and it is where the formula says; above, there is none."
    cells, mu = cells_of(t), float(draw(1).exp())
    edge = collapse.threshold(collapse.PUSH[member](cells, 1.0)[0], cells.rho, mu)
    state = collapse.fixed_point(member, cells, 0.8 * edge, mu)
    moves = collapse.rates(member, state, cells, 0.8 * edge, mu)
    beyond = collapse.fixed_point(member, cells, 1.01 * edge, mu)
    zero = torch.zeros(3, dtype=torch.float64)
    return {"rates": (torch.from_numpy(moves), zero, 1 + edge), "beyond": (0.0 if beyond is None else 1.0, 0.0, 1.0)}


@law(chapter=6, kinds=ONE, dims=(1,), members=("ste", "rotation", "rotation_only", "scale_only"), tolerance=0.0)
def comparison(member, t, draw):
    "On either side of the threshold the linear part F of the flow has a v > 0 with F(v) < 0, or with F(v) > 0."
    cells, mu, beta = cells_of(t), *draw(2).exp().tolist()
    edge, out = collapse.threshold(collapse.PUSH[member](cells, 1.0)[0], cells.rho, mu), {}
    for side, sign in (("above", 1), ("below", -1)):
        v = np.array([1.0, 1 + sign * 1e-3, (1 + sign * 2e-3) * cells.rho / mu])
        F = collapse.rates(member, 1e-9 * v, cells, (1 + sign * 0.05) * edge, mu, beta) / 1e-9
        out[side] = AtMost(torch.from_numpy(sign * F), torch.zeros(3), 1.0)
    return out


@law(chapter=6, kinds=ONE, dims=(1,), tolerance=1e-10)
def no_way_back(t, draw):
    "No decay: with a = gamma(2 - rho)/beta, (s^2 + a t^2 - w^2)' = -4 gamma((s - t)^2 + (1 - rho)t^2) under rotation."
    cells, (s, u, w, gamma, beta) = cells_of(t), draw(5).exp().tolist()
    ds, dt, dw = collapse.rates("rotation", (s, u, w), cells, gamma, 0.0, beta)
    left = 2 * (s * ds + gamma * (2 - t) / beta * u * dt - w * dw)
    right = -4 * gamma * ((s - u) ** 2 + (1 - t) * u**2)
    return *torch.tensor([left, right], dtype=torch.float64), abs(s * ds) + abs(w * dw) + gamma * (s + u) ** 2


@law(chapter=6, kinds=ONE, dims=(1,), tolerance=1e-10)
def loss_descent(t, draw):
    "With centroid codes (t = s) the rotation's flow is -grad of rho(1 - ws)^2 + gamma(1 - rho)s^2 + mu w^2, the loss."
    cells, (s, w, gamma, mu) = cells_of(t), draw(4).exp()
    v = torch.stack([s, w]).requires_grad_()
    loss = t * (1 - v[0] * v[1]) ** 2 + gamma * (1 - t) * v[0] ** 2 + mu * v[1] ** 2
    (grad,) = torch.autograd.grad(loss, v)
    found = collapse.rates("rotation", (float(s), float(s), float(w)), cells, float(gamma), float(mu))
    return torch.from_numpy(found[[0, 2]]), -grad


@law(chapter=6, kinds=ONE, dims=(1,), members=("ste", "rotation"), tolerance=1e-9)
def stable(member, t, draw):
    "At the positive stationary state every eigenvalue of the linearised flow has a negative real part."
    cells, (mu, beta) = cells_of(t), draw(2).exp().tolist()
    edge = collapse.threshold(collapse.PUSH[member](cells, 1.0)[0], cells.rho, mu)
    state = collapse.fixed_point(member, cells, 0.7 * edge, mu)
    h = 1e-5 * state[:, None] * np.eye(3)
    move = lambda x: collapse.rates(member, x, cells, 0.7 * edge, mu, beta)  # noqa: E731
    J = (move(state[:, None] + h) - move(state[:, None] - h)) / (2 * h.sum(0))
    return AtMost(torch.tensor(np.linalg.eigvals(J).real), torch.zeros(3), 1.0)
