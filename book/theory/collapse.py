r"""Chapter 6, when the latents vanish: a model of a VQ-VAE that is small enough to solve, and its laws.

Data x in R^d with E xx^T = I, a linear encoder and decoder, and a codebook c_1, ..., c_K of centroids of their own
cells that a group of symmetries permutes (:func:`line`, :func:`circle`). Gradient flow of

.. math:: E|x - Wq|^2 + \beta|q - \mathrm{sg}\,z|^2 + \gamma|z - \mathrm{sg}\,q|^2 + \mu|W|^2 + \nu|E|^2

then stays among z = s x, q = t c(x), W = w I, and with u = t/s and rho = E|c|^2/d it is

.. math::
    s' &= 2w\,(A(u) - wt\,B(u)) - 2\gamma(s - \rho t) - 2\nu s \\
    t' &= 2\beta(s - t), \qquad w' = 2\rho t(1 - wt) - 2\mu w .

The estimator enters through A(u) = E<x, Gx>/d and B(u) = E<c, Gx>/d alone, with G = G(x, uc). A state is (s, t, w),
a row for each and any further shape; beta is the rate of the codes, which for plain gradient codes of share p_k is
p_k beta. The model ends where s reaches 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from book.algebra import dot, norm, pull_back
from book.statements import AtMost, law
from book.theory.inputs import GENERIC
from rotvq.quantizers.estimators import ESTIMATORS, Estimator, estimator
from rotvq.quantizers.lookup import nearest


class Cells(NamedTuple):
    """The averages that the model keeps of the data and the cells, over d = E|x|^2; all lie in (0, 1].

    Attributes:
        rho: E|c|^2 = E<x, c>.
        kappa: E|x|<x, b> with b = c/|c|.
        sigma: E|x||c|.
        tau: E<x, c>|c|/|x|.
    """

    rho: float
    kappa: float
    sigma: float
    tau: float

    @classmethod
    def of(cls, x: Tensor, c: Tensor) -> Cells:
        """The averages over data x (N, d) whose centroids are c (N, d)."""
        norm_x, norm_c, inner = norm(x), norm(c), dot(x, c)
        averaged = [norm_c**2, norm_x * inner / norm_c, norm_x * norm_c, inner * norm_c / norm_x]
        return cls(*(float(values.mean()) / x.shape[-1] for values in averaged))


#: (A(u), B(u)) of an estimator in closed form, from the averages and u
PUSH: dict[str, Callable] = {
    "ste": lambda k, u: (1.0 + 0 * u, k.rho + 0 * u),
    "rotation": lambda k, u: (k.rho * u, k.rho * u),
    "reflection": lambda k, u: (k.rho * u, k.rho * u),
    "rotation_only": lambda k, u: (k.kappa + 0 * u, k.sigma + 0 * u),
    "scale_only": lambda k, u: (k.sigma * u, k.tau * u),
    "radial_free": lambda k, u: (0 * u, 0 * u),
    "radial_free_scale": lambda k, u: (0 * u, 0 * u),
    "interpolated": lambda k, u: (0.5 + 0.5 * k.rho * u, 0.5 * k.rho * (1 + u)),
    "zero": lambda k, u: (0 * u, 0 * u),
}


def push(name: str | Estimator, x: Tensor, c: Tensor, u: float = 1.0) -> tuple[float, float]:
    """(A(u), B(u)) of any estimator, averaged over data x (N, d) with centroids c (N, d).

    A(1) is the kappa_G of the threshold.
    """
    pulled = [estimator(name).pull_back(x, u * c, y) for y in (x, c)]  # <y, Gx> = <G^T y, x>
    A, B = (float(dot(y, x).mean()) / x.shape[-1] for y in pulled)
    return A, B


def rates(name: str, state, cells: Cells, gamma, mu=0.0, beta=1.0, nu=0.0, frozen: bool = False) -> np.ndarray:
    """The velocities (s', t', w') of the flow.

    Args:
        name: An estimator in :data:`PUSH`.
        state: (s, t, w), each a number or an array.
        cells: The averages.
        gamma: The commitment weight.
        mu: The decay of the decoder.
        beta: The rate of the codes.
        nu: The decay of the encoder.
        frozen: Whether the decoder stays as it is.

    Returns:
        An array with a row for each of the three.
    """
    s, t, w = state
    A, B = PUSH[name](cells, t / s)
    ds = 2 * w * (A - w * t * B) - 2 * gamma * (s - cells.rho * t) - 2 * nu * s
    dw = 0 * w if frozen else 2 * cells.rho * t * (1 - w * t) - 2 * mu * w
    return np.array([ds, 2 * beta * (s - t) + 0 * ds, dw + 0 * ds])


def threshold(kappa: float, rho: float, mu: float, nu: float = 0.0) -> float:
    """The commitment weight gamma* above which every trajectory ends at 0 and below which none does."""
    return (rho * kappa / mu - nu) / (1 - rho)


def fixed_point(name: str, cells: Cells, gamma: float, mu: float = 0.0, nu: float = 0.0) -> np.ndarray | None:
    """The one state s = t > 0, w > 0 where nothing moves, shape (3,), or None where there is none.

    With y = ws it is the root of (1 - y)(A - yB) = C with A, B taken at u = 1 and C = mu(gamma(1 - rho) + nu)/rho.
    The arguments are those of :func:`rates`.
    """
    A, B = PUSH[name](cells, 1.0)
    pull = gamma * (1 - cells.rho) + nu
    C = mu * pull / cells.rho
    if A <= C or A == 0:
        return None
    y = 2 * (A - C) / (A + B + math.sqrt((A - B) ** 2 + 4 * B * C))  # the smaller root, without cancellation
    if pull * y == 0 or A - y * B <= 0:
        return None
    k = pull / (A - y * B)  # w/s
    s = math.sqrt(y / k)
    return np.array([s, s, k * s])


def flow(name: str, start, times, cells: Cells, **weights) -> np.ndarray:
    """The states at some times, integrated in logarithms, so that a decay to 0 keeps its relative accuracy.

    Args:
        name: An estimator in :data:`PUSH`.
        start: The state (s, t, w) at time 0.
        times: Increasing times.
        cells: The averages.
        weights: gamma, and the other arguments of :func:`rates`.

    Returns:
        An array (3, len(times)); nan once s has fallen to 0, taken as t/s > 1e4.
    """
    from scipy.integrate import solve_ivp

    def log_rates(_, logs):
        state = np.exp(logs)
        if logs[1] - logs[0] > math.log(1e4):  # the model ends here: stand still
            return 0 * logs
        return rates(name, state, cells, **weights) / state

    solution = solve_ivp(log_rates, (0, times[-1]), np.log(start), "LSODA", times, rtol=1e-9, atol=1e-9)
    states = np.exp(solution.y)
    return np.where(states[1] > 0.99e4 * states[0], np.nan, states)


# data and cells with the symmetry that the model asks for


def line(n: int = 20) -> tuple[Tensor, Tensor]:
    """Standard normal numbers, as n quantiles of variance 1, and the centroids of the half lines: (n, 1), (2, 1)."""
    x = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)[:, None]
    x = x / x.square().mean().sqrt()
    return x, torch.tensor([[1.0], [-1.0]], dtype=torch.float64) * x.abs().mean()


def circle(codes: int = 8, n: int = 4, angles: int = 2) -> tuple[Tensor, Tensor]:
    """The normal law of the plane, as n radii times ``angles`` directions a code, and the centroids of equal sectors.

    Shapes (n * angles * codes, 2) and (codes, 2).
    """
    radii = (-2 * torch.log1p(-(torch.arange(n, dtype=torch.float64) + 0.5) / n)).sqrt()
    radii = radii * (2 / radii.square().mean()).sqrt()

    def directions(count: int) -> Tensor:
        return torch.polar(torch.ones(count).double(), (torch.arange(count).double() + 0.5) / count * 2 * math.pi)

    x = (radii[:, None] * directions(angles * codes)).flatten()
    width = math.pi / codes
    cosine = math.sin(width) / (angles * math.sin(width / angles))  # its mean over the directions of one sector
    return torch.view_as_real(x), torch.view_as_real(directions(codes) * radii.mean() * cosine)


def descend(
    name: str,
    x: Tensor,
    codes: Tensor,
    start,
    steps: int,
    lr: float,
    *,
    gamma: float,
    mu: float = 0.0,
    beta: float = 1.0,
    nu: float = 0.0,
    optimizer: str = "sgd",
) -> np.ndarray:
    """Train the network that is modelled, in matrices, by autograd, and look the codes up anew in each step.

    The codebook loss is weighted by K beta, so that a code of share 1/K moves at the rate beta.

    Args:
        name: An estimator.
        x: Data (N, d).
        codes: The codes (K, d) of which the first ones are t times.
        start: The first state (s, t, w).
        steps: The number of steps.
        lr: The learning rate.
        gamma: The commitment weight.
        mu: The decay of the decoder.
        beta: The rate of the codes.
        nu: The decay of the encoder.
        optimizer: "sgd", "adam" (the penalties are part of the loss) or "adamw" (mu decays the decoder apart from the
            gradient).

    Returns:
        The states (3, steps + 1): s and w are mean diagonal entries, t the mean length of a code over its first one.
    """
    s, t, w = start
    eye = torch.eye(x.shape[-1], dtype=x.dtype)
    E, C, W = (p.clone().requires_grad_() for p in (s * eye, t * codes, w * eye))
    if optimizer == "adamw":
        groups = [{"params": [E, C], "weight_decay": 0.0}, {"params": [W], "weight_decay": 2 * mu}]
        optim, mu = torch.optim.AdamW(groups, lr=lr), 0.0
    else:
        optim = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]([E, C, W], lr=lr)
    states = []
    for _ in range(steps + 1):
        length = (C.norm(dim=1) / codes.norm(dim=1)).mean()
        states.append([E.diagonal().mean().item(), length.item(), W.diagonal().mean().item()])
        z = x @ E.T
        q = C[nearest(z, C)]
        z_q = ESTIMATORS[name](z, q)
        loss = (x - z_q @ W.T).square().sum(-1) + gamma * (z - q.detach()).square().sum(-1)
        loss = (loss + len(codes) * beta * (q - z.detach()).square().sum(-1)).mean()
        optim.zero_grad()
        (loss + nu * E.square().sum() + mu * W.square().sum()).backward()
        optim.step()
    return np.array(states).T


# laws of chapter 6: they draw cells of their own, so they run on one kind of pair

COMPARED = ("ste", "rotation", "rotation_only", "scale_only")


def cells_of(t: float) -> Cells:
    """Some averages that cells could have: rho from t, the others between rho and 1."""
    return Cells(t, (1 + t) / 2, t**0.75, t)


@law(chapter=6, kinds=GENERIC, dims=(1, 2), members=tuple(PUSH), tolerance=1e-12)
def model_is_closed(member, d, t):
    "In the symmetric model E[G^T g x^T] is a multiple of I: -2w(A(u) - wt B(u)) I. So E stays s I."
    x, codes = line() if d == 1 else circle(5)
    c, s, w = codes[nearest(x, codes)], 0.7, 1.3
    felt = pull_back(member, s * x, t * c, 2 * w * (w * t * c - x))
    A, B = PUSH[member](Cells.of(x, c), t / s)
    return felt.T @ x / len(x), -2 * w * (A - w * t * B) * torch.eye(d, dtype=torch.float64), 1.0


@law(chapter=6, kinds=GENERIC, dims=(1,), members=COMPARED, tolerance=1e-10)
def stationary_state(member, t, draw):
    "Below the threshold there is a positive stationary state, and it is where the formula says; above, there is none."
    cells, mu = cells_of(t), float(draw(1).exp())
    edge = threshold(PUSH[member](cells, 1.0)[0], cells.rho, mu)
    state = fixed_point(member, cells, 0.8 * edge, mu)
    moves = rates(member, state, cells, 0.8 * edge, mu)
    beyond = fixed_point(member, cells, 1.01 * edge, mu)
    zero = torch.zeros(3, dtype=torch.float64)
    return {"rates": (torch.from_numpy(moves), zero, 1 + edge), "beyond": (0.0 if beyond is None else 1.0, 0.0, 1.0)}


@law(chapter=6, kinds=GENERIC, dims=(1,), members=COMPARED, tolerance=0.0)
def comparison(member, t, draw):
    "On either side of the threshold the linear part F of the flow has a v > 0 with F(v) < 0, or with F(v) > 0."
    cells, mu, beta = cells_of(t), *draw(2).exp().tolist()
    edge, out = threshold(PUSH[member](cells, 1.0)[0], cells.rho, mu), {}
    for side, sign in (("above", 1), ("below", -1)):
        v = np.array([1.0, 1 + sign * 1e-3, (1 + sign * 2e-3) * cells.rho / mu])
        F = rates(member, 1e-9 * v, cells, (1 + sign * 0.05) * edge, mu, beta) / 1e-9
        out[side] = AtMost(torch.from_numpy(sign * F), torch.zeros(3), 1.0)
    return out


@law(chapter=6, kinds=GENERIC, dims=(1,), tolerance=1e-10)
def no_way_back(t, draw):
    "No decay: with a = gamma(2 - rho)/beta, (s^2 + a t^2 - w^2)' = -4 gamma((s - t)^2 + (1 - rho)t^2) under rotation."
    cells, (s, u, w, gamma, beta) = cells_of(t), draw(5).exp().tolist()
    ds, dt, dw = rates("rotation", (s, u, w), cells, gamma, 0.0, beta)
    left = 2 * (s * ds + gamma * (2 - t) / beta * u * dt - w * dw)
    right = -4 * gamma * ((s - u) ** 2 + (1 - t) * u**2)
    return *torch.tensor([left, right], dtype=torch.float64), abs(s * ds) + abs(w * dw) + gamma * (s + u) ** 2


@law(chapter=6, kinds=GENERIC, dims=(1,), tolerance=1e-10)
def loss_descent(t, draw):
    "With centroid codes (t = s) the rotation's flow is -grad of rho(1 - ws)^2 + gamma(1 - rho)s^2 + mu w^2, the loss."
    cells, (s, w, gamma, mu) = cells_of(t), draw(4).exp()
    v = torch.stack([s, w]).requires_grad_()
    loss = t * (1 - v[0] * v[1]) ** 2 + gamma * (1 - t) * v[0] ** 2 + mu * v[1] ** 2
    (grad,) = torch.autograd.grad(loss, v)
    velocity = rates("rotation", (float(s), float(s), float(w)), cells, float(gamma), float(mu))
    return torch.from_numpy(velocity[[0, 2]]), -grad


@law(chapter=6, kinds=GENERIC, dims=(1,), members=("ste", "rotation"), tolerance=1e-9)
def stable(member, t, draw):
    "At the positive stationary state every eigenvalue of the linearised flow has a negative real part."
    cells, (mu, beta) = cells_of(t), draw(2).exp().tolist()
    edge = threshold(PUSH[member](cells, 1.0)[0], cells.rho, mu)
    state = fixed_point(member, cells, 0.7 * edge, mu)
    h = 1e-5 * state[:, None] * np.eye(3)
    move = lambda x: rates(member, x, cells, 0.7 * edge, mu, beta)  # noqa: E731
    J = (move(state[:, None] + h) - move(state[:, None] - h)) / (2 * h.sum(0))
    return AtMost(torch.tensor(np.linalg.eigvals(J).real), torch.zeros(3), 1.0)
