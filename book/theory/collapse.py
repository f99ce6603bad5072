r"""Chapter 6, when the latents vanish: a model of a VQ-VAE that is small enough to solve, and its laws.

Data x in R^d with E xx^T = I, a linear encoder and decoder, and a codebook c_1, ..., c_K of centroids of their own
cells that a group of symmetries permutes (:func:`line`, :func:`circle`). Gradient flow of

.. math:: E|x - Wq|^2 + \beta|q - \mathrm{sg}\,z|^2 + \gamma|z - \mathrm{sg}\,q|^2 + \lambda_W|W|^2 + \lambda_E|E|^2

then stays among z = s x, q = t c(x), W = w I, and with u = t/s and rho = E|c|^2/d it is

.. math::
    s' &= 2w\,(A(u) - wt\,B(u)) - 2\gamma(s - \rho t) - 2\lambda_E s \\
    t' &= 2\beta(s - t), \qquad w' = 2\rho t(1 - wt) - 2\lambda_W w .

The estimator enters through A(u) = E<x, Gx>/d and B(u) = E<c, Gx>/d alone, with G = G(x, uc). A state is (s, t, w),
a row for each and any further shape; beta is the rate of the codes, which for plain gradient codes of share p_k is
p_k beta. The model ends where s reaches 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from book.algebra import dot, norm
from book.statements import AtMost, law
from book.theory.inputs import GENERIC
from rotvq.quantizers.estimators import ESTIMATORS, Estimator, estimator
from rotvq.quantizers.lookup import nearest


class Cells(NamedTuple):
    """The averages that the model keeps of the data and the cells, over d = E|x|^2; all lie in (0, 1].

    Attributes:
        rho: E|c|^2 = E<x, c>.
        rho_R: E|x|<x, b> with b = c/|c|.
        rho_r: E|x||c|.
        rho_rr: E<x, c>|c|/|x|.
    """

    rho: float
    rho_R: float
    rho_r: float
    rho_rr: float

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
    "rotation_only": lambda k, u: (k.rho_R + 0 * u, k.rho_r + 0 * u),
    "scale_only": lambda k, u: (k.rho_r * u, k.rho_rr * u),
    "radial_free": lambda k, u: (0 * u, 0 * u),
    "radial_free_scale": lambda k, u: (0 * u, 0 * u),
    "interpolated": lambda k, u: (0.5 + 0.5 * k.rho * u, 0.5 * k.rho * (1 + u)),
    "zero": lambda k, u: (0 * u, 0 * u),
}


def push(name: str | Estimator, x: Tensor, c: Tensor, u: float = 1.0) -> tuple[float, float]:
    """(A(u), B(u)) of any estimator, averaged over data x (N, d) with centroids c (N, d).

    A(1) is what the threshold has of the estimator.
    """
    pulled = [estimator(name).pull_back(x, u * c, y) for y in (x, c)]  # <y, Gx> = <G^T y, x>
    A, B = (float(dot(y, x).mean()) / x.shape[-1] for y in pulled)
    return A, B


def rates(
    name: str | Callable, state, cells: Cells, gamma, decay_W=0.0, beta=1.0, decay_E=0.0, frozen: bool = False
) -> np.ndarray:
    """The velocities (s', t', w') of the flow.

    Args:
        name: An estimator in :data:`PUSH`, or (A, B) as a function of the averages and u.
        state: (s, t, w), each a number or an array.
        cells: The averages.
        gamma: The commitment weight.
        decay_W: lambda_W, the decay of the decoder.
        beta: The rate of the codes.
        decay_E: lambda_E, the decay of the encoder.
        frozen: Whether the decoder stays as it is.

    Returns:
        An array with a row for each of the three.
    """
    s, t, w = state
    A, B = (PUSH[name] if isinstance(name, str) else name)(cells, t / s)
    ds = 2 * w * (A - w * t * B) - 2 * gamma * (s - cells.rho * t) - 2 * decay_E * s
    dw = 0 * w if frozen else 2 * cells.rho * t * (1 - w * t) - 2 * decay_W * w
    return np.array([ds, 2 * beta * (s - t) + 0 * ds, dw + 0 * ds])


def threshold(A: float, rho: float, decay_W: float, decay_E: float = 0.0) -> float:
    """The commitment weight gamma* above which every trajectory ends at 0 and below which none does; A is A(1)."""
    return (rho * A / decay_W - decay_E) / (1 - rho)


def fixed_point(
    name: str | Callable, cells: Cells, gamma: float, decay_W: float = 0.0, decay_E: float = 0.0
) -> np.ndarray | None:
    """The one state s = t > 0, w > 0 where nothing moves, shape (3,), or None where there is none.

    With y = ws it is the root of (1 - y)(A - yB) = C with A, B taken at u = 1 and

        C = lambda_W (gamma (1 - rho) + lambda_E)/rho.

    The arguments are those of :func:`rates`.
    """
    A, B = (PUSH[name] if isinstance(name, str) else name)(cells, 1.0)
    pull = gamma * (1 - cells.rho) + decay_E
    C = decay_W * pull / cells.rho
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
    decay_W: float = 0.0,
    beta: float = 1.0,
    decay_E: float = 0.0,
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
        decay_W: lambda_W, the decay of the decoder.
        beta: The rate of the codes.
        decay_E: lambda_E, the decay of the encoder.
        optimizer: "sgd", "adam" (decays in the loss) or "adamw" (the decoder decays apart from the gradient).

    Returns:
        The states (3, steps + 1): s and w are mean diagonal entries, t the mean length of a code over its first one.
    """
    s, t, w = start
    eye = torch.eye(x.shape[-1], dtype=x.dtype)
    E, C, W = (p.clone().requires_grad_() for p in (s * eye, t * codes, w * eye))
    if optimizer == "adamw":
        groups = [{"params": [E, C], "weight_decay": 0.0}, {"params": [W], "weight_decay": 2 * decay_W}]
        optim, decay_W = torch.optim.AdamW(groups, lr=lr), 0.0
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
        (loss + decay_E * E.square().sum() + decay_W * W.square().sum()).backward()
        optim.step()
    return np.array(states).T


# laws of chapter 6: they draw cells of their own, so they run on one kind of pair

COMPARED = ("ste", "rotation", "rotation_only", "scale_only")
WHERE = {"far below": 0.05, "below": 0.8, "just below": 0.99, "at": 1.0, "above": 1.2}  #: shares of the threshold


def cells_of(t: float) -> Cells:
    """Some averages that cells could have: rho from t, the others between rho and 1."""
    return Cells(t, (1 + t) / 2, t**0.75, t)


@law(chapter=6, kinds=GENERIC, dims=(1, 2), members=tuple(PUSH), tolerance=1e-11)
def model_is_closed(member, d, t, draw):
    """From E = s I, q_k = t c_k, W = w I every gradient keeps the form, and the three velocities are the model's.

    The network's gradients are autograd's, of the whole loss, with every latent looked up.
    """
    x, start = line() if d == 1 else circle(5)
    s, w, gamma, beta, decay_W, decay_E = draw(6).double().exp().tolist()
    eye = torch.eye(d, dtype=torch.float64)
    E, C, W = (p.clone().requires_grad_() for p in (s * eye, t * start, w * eye))
    z = x @ E.T
    q = C[nearest(z.detach(), C.detach())]
    loss = (x - ESTIMATORS[member](z, q) @ W.T).square().sum(-1) + gamma * (z - q.detach()).square().sum(-1)
    loss = (loss + len(start) * beta * (q - z.detach()).square().sum(-1)).mean()
    slopes = torch.autograd.grad(loss + decay_E * E.square().sum() + decay_W * W.square().sum(), [E, C, W])
    ds, dt, dw = rates(member, (s, t, w), Cells.of(x, start[nearest(x, start)]), gamma, decay_W, beta, decay_E)
    size = sum(float(slope.abs().max()) for slope in slopes) + (1 + w) ** 2 * (1 + gamma + beta + decay_W + decay_E)
    return {
        "E": (-slopes[0], ds * eye, size),
        "codes": (-slopes[1], dt * start, size),
        "W": (-slopes[2], dw * eye, size),
    }


def two_vectors(push: Callable, cells: Cells, decay_W: float, sign: int, delta: float = 1e-3) -> np.ndarray:
    """v of the proof of the threshold theorem, above (sign 1) and below (-1)."""
    return np.array([1.0, 1 + sign * delta, (1 + sign * 2 * delta) * cells.rho / decay_W])


def some_pushes(draw: Callable) -> dict[str, Callable]:
    """(A, B) of u, A >= 0 continuous and nondecreasing, 0 <= B <= C A: those of the table, a clip, and others."""
    a, b, C, low, high = draw(5).double().exp().tolist()

    def clipped(k, u):
        A = k.rho_R * np.clip(u * k.rho / k.rho_R, 0.5, 1.5)
        return A, A * k.rho_r

    def bent(k, u):
        A = a + b * np.clip(u, low, low + high)
        return A, C * A * u / (1 + u)

    return {name: PUSH[name] for name in (*COMPARED, "interpolated", "zero")} | {"clipped": clipped, "bent": bent}


@law(chapter=6, kinds=GENERIC, dims=(1,), tolerance=1e-10)
def stationary_state(t, draw):
    """Below the threshold there is exactly one positive stationary state, where the formula says.

    At the threshold and above there is none. A >= 0 is continuous and nondecreasing, and 0 <= B <= C A.
    """
    cells, decay_W = cells_of(t), float(draw(1).exp())
    # all candidates: t = s, and for each y = ws the w/s that lets w rest; s' must vanish, too
    ends = np.geomspace(1e-8, 0.5, 1000)
    y = np.concatenate([ends, 1 - ends[-2::-1]])
    k = cells.rho * (1 - y) / decay_W
    s = np.sqrt(y / k)
    found = {}
    for name, push in some_pushes(draw).items():
        edge = threshold(float(push(cells, 1.0)[0]), cells.rho, decay_W)
        if edge == 0:  # no gamma > 0 is below
            continue
        for where, factor in WHERE.items():
            signs = np.sign(rates(push, (s, s, k * s), cells, factor * edge, decay_W)[0])
            found[f"{name}, {where}"] = (float((signs[1:] != signs[:-1]).sum()), float(factor < 1), 1.0)
            state = fixed_point(push, cells, factor * edge, decay_W) if factor < 1 else None
            found[f"{name}, {where}: found"] = (float(state is not None), float(factor < 1), 1.0)
            if state is not None:
                moves = rates(push, state, cells, factor * edge, decay_W)
                size = 1 + edge * state[0] + state[2] * (1 + state[2] * state[1])
                found[f"{name}, {where}: rates"] = (torch.from_numpy(moves), torch.zeros(3), float(size))
    return found


@law(chapter=6, kinds=GENERIC, dims=(1,), tolerance=1e-9)
def comparison(t, draw):
    """Above the threshold max_i x_i/v_i decays at a fixed rate from every positive state.

    Below it min_i x_i/v_i grows at a fixed rate from every state with small wt. A >= 0 is continuous and nondecreasing,
    and 0 <= B <= C A.
    """
    cells, decay_W, beta = cells_of(t), *draw(2).double().exp().tolist()
    states = (3 * draw(3, 200).double()).exp().numpy()
    out = {}
    for name, push in some_pushes(draw).items():
        A = float(push(cells, 1.0)[0])
        for side, sign in (("above", 1), ("below", -1)):
            gamma = (1 + sign * 0.05) * threshold(A, cells.rho, decay_W) + (sign > 0) * 0.01
            if gamma <= 0:  # no threshold to be below
                continue
            v = two_vectors(push, cells, decay_W, sign)
            linear = rates(push, 1e-9 * v, cells, gamma, decay_W, beta) / (1e-9 * v)
            rate = 0.5 * float(np.min(-sign * linear))  # epsilon of the proof, less what wt > 0 takes from it
            x = states if sign > 0 else states * np.sqrt(1e-6 / (states[1] * states[2]).clip(1e-6))
            i = (sign * x / v[:, None]).argmax(0)
            velocity = np.take_along_axis(rates(push, x, cells, gamma, decay_W, beta) / x, i[None], 0)
            out[f"{name}, {side}: v"] = AtMost(torch.tensor(0.0), torch.tensor(rate), 1.0)
            out[f"{name}, {side}: rate"] = AtMost(
                torch.from_numpy(sign * velocity), torch.tensor(-rate), 1 + gamma + beta + decay_W
            )
    return out


def jumping(height: float) -> Callable:
    """(A, B) with A = 0 up to u = 1 and ``height`` beyond it, and B = 0."""
    return lambda cells, u: (height * (u > 1), 0 * u)


@law(chapter=6, kinds=GENERIC, dims=(1,), tolerance=1e-9)
def continuity_is_needed(t, draw):
    """An A that jumps at u = 1 has A(1) = 0, so lambda_W gamma (1 - rho) > A(1) rho; and yet s, t and w stay positive.

    Where s falls below t, A lifts it again.
    """
    cells, push, weights = cells_of(t), jumping(0.7 + 0.3 * min(1, abs(float(draw(1))))), {"gamma": 0.3, "decay_W": 0.2}
    s = 0.3
    start = state = np.array([s, 1.2 * s, t * s / (weights["decay_W"] + t * s * s)])
    for _ in range(5000):
        state = state + 0.02 * rates(push, state, cells, **weights)
    return AtMost(torch.from_numpy(start / 10), torch.from_numpy(state), 1.0)


@law(chapter=6, kinds=GENERIC, dims=(1,), tolerance=1e-10)
def no_way_back(t, draw):
    """No decay: (s^2 + gamma rho/beta t^2 - w^2)' = -4 gamma((s - rho t)^2 + rho(1 - rho)t^2) under the rotation.

    That is -4 gamma E|z - q|^2/d.
    """
    cells, (s, u, w, gamma, beta) = cells_of(t), draw(5).exp().tolist()
    ds, dt, dw = rates("rotation", (s, u, w), cells, gamma, 0.0, beta)
    left = 2 * (s * ds + gamma * t / beta * u * dt - w * dw)
    right = -4 * gamma * ((s - t * u) ** 2 + t * (1 - t) * u**2)
    return *torch.tensor([left, right], dtype=torch.float64), abs(s * ds) + abs(w * dw) + gamma * (s + u) ** 2


def whole_loss(s, w, rho: float, gamma: float, decay_W: float):
    """``rho (1 - ws)^2 + gamma (1 - rho) s^2 + lambda_W w^2``."""
    return rho * (1 - w * s) ** 2 + gamma * (1 - rho) * s**2 + decay_W * w**2


@law(chapter=6, kinds=GENERIC, dims=(1,), tolerance=1e-10)
def loss_descent(t, draw):
    """With centroid codes (t = s) the rotation's flow is -grad of rho(1 - ws)^2 + gamma(1 - rho)s^2 + lambda_W w^2.

    Below the threshold that is least, over s, w >= 0, at the positive stationary state, at it and above at zero; and
    from every start s, w > 0 the flow ends there.
    """
    cells, (s, w, gamma, decay_W) = cells_of(t), draw(4).double().exp()
    v = torch.stack([s, w]).requires_grad_()
    (grad,) = torch.autograd.grad(whole_loss(*v, t, gamma, decay_W), v)
    velocity = rates("rotation", (float(s), float(s), float(w)), cells, float(gamma), float(decay_W))
    found = {"flow": (torch.from_numpy(velocity[[0, 2]]), -grad)}
    edge = threshold(t, t, float(decay_W))
    starts = draw(4, 2).double().exp().numpy()
    for where, factor in WHERE.items():
        state = fixed_point("rotation", cells, factor * edge, float(decay_W)) if factor < 1 else None
        rest = np.zeros(2) if state is None else state[[0, 2]]
        least = whole_loss(*rest, t, factor * edge, float(decay_W))
        anywhere = whole_loss(*draw(2, 200).double().exp(), t, factor * edge, float(decay_W))
        found[f"{where}, least"] = AtMost(least, anywhere, 1.0)
        if abs(factor - 1) > 0.1:  # nearer to the threshold it takes long
            ends = np.stack([settled(start, t, factor * edge, float(decay_W)) for start in starts])
            found[f"{where}, ends"] = AtMost(abs(ends - rest).max(), 1e-5 * (1 + rest.max()), 1.0)
    return found


def settled(start: np.ndarray, rho: float, gamma: float, decay_W: float, time: float = 1e5) -> np.ndarray:
    """Where (s, w) is after a long time on the gradient flow of :func:`whole_loss`."""
    from scipy.integrate import solve_ivp

    def downhill(_, state):
        s, w = state
        left_over = 2 * rho * (1 - w * s)
        return [w * left_over - 2 * gamma * (1 - rho) * s, s * left_over - 2 * decay_W * w]

    return solve_ivp(downhill, (0, time), start, "LSODA", rtol=1e-8, atol=1e-10).y[:, -1]


@law(chapter=6, kinds=GENERIC, dims=(1,), members=("ste", "rotation"), tolerance=1e-9)
def stable(member, t, draw):
    """At the positive stationary state every eigenvalue of the linearised flow has a negative real part.

    This holds for every gamma below the threshold. Under STE it holds without decay, too, at s = t = gamma^(-1/2),
    w = gamma^(1/2).
    """
    cells, (decay_W, beta, free) = cells_of(t), draw(3).exp().tolist()
    edge = threshold(PUSH[member](cells, 1.0)[0], cells.rho, decay_W)
    shares = {f"{share} of the threshold": share * edge for share in (0.01, 0.3, 0.7, 0.99)}
    cases = {name: (gamma, decay_W, fixed_point(member, cells, gamma, decay_W)) for name, gamma in shares.items()}
    if member == "ste":
        cases["no decay"] = (free, 0.0, np.array([free**-0.5, free**-0.5, free**0.5]))
    found = {}
    for name, (gamma, decay, state) in cases.items():
        h = 1e-5 * state[:, None] * np.eye(3)
        move = lambda x: rates(member, x, cells, gamma, decay, beta)  # noqa: B023, E731
        J = (move(state[:, None] + h) - move(state[:, None] - h)) / (2 * h.sum(0))
        found[name] = AtMost(torch.tensor(np.linalg.eigvals(J).real), torch.zeros(3), 1.0)
        found[f"{name}, rests"] = (torch.from_numpy(move(state)), torch.zeros(3), 1 + gamma + decay + free)
    return found


# what K codes leave of the data, however they are placed


def falls_with(codes: float, d: int) -> float:
    """``K^(-2/d)``: how the error of the best K codes falls."""
    return codes ** (-2 / d)


def least_error(codes: float, d: int, density: float) -> float:
    """``d/(d + 2) (v_d K p)^(-2/d)``, v_d the volume of the unit ball: K codes leave as much of a density <= p."""
    ball = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
    return d / (d + 2) * falls_with(ball * codes * density, d)


class OnTheLine(NamedTuple):
    """What codes on the line leave: E(x - q)^2, and the shares p_k of their cells."""

    error: float
    shares: Tensor

    @property
    def perplexity(self) -> float:
        """``prod p_k^(-p_k)``."""
        return float((-torch.special.xlogy(self.shares, self.shares).sum()).exp())


def faces(codes: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """The lower and the upper ends of the cells of codes on the line, in [low, high]; codes (K,) in order."""
    between = ((codes[1:] + codes[:-1]) / 2).clamp(low, high)
    ends = codes.new_tensor([low, high])
    return torch.cat([ends[:1], between]), torch.cat([between, ends[1:]])


def of_normal(codes: Tensor) -> OnTheLine:
    """What codes (K,) in order leave of the normal law, by its moments over each cell."""
    density = lambda x: torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    low, high = faces(codes, -30.0, 30.0)  # beyond is less than a rounding
    shares = torch.special.ndtr(high) - torch.special.ndtr(low)
    first = density(low) - density(high)
    second = shares - high * density(high) + low * density(low)
    return OnTheLine(float((second - 2 * codes * first + codes**2 * shares).sum()), shares)


def of_uniform(codes: Tensor, side: float = 1.0) -> OnTheLine:
    """What codes (K,) in order leave of the uniform law on [0, side]."""
    low, high = faces(codes, 0.0, side)
    return OnTheLine(float(((high - codes) ** 3 - (low - codes) ** 3).sum()) / (3 * side), (high - low) / side)


@cache
def best_for_normal(count: int) -> Tensor:
    """Codes on the line that are the centroids of their cells, for the normal law (Lloyd and Max)."""
    density = lambda x: torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    codes = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)
    for _ in range(200):
        low, high = faces(codes, -30.0, 30.0)
        codes = (density(low) - density(high)) / (torch.special.ndtr(high) - torch.special.ndtr(low))
    return codes


def products(axes: list[OnTheLine]) -> tuple[float, float, float]:
    """Error, perplexity and number of the codes that have on each axis one of the line's, the data independent."""
    return (
        sum(one.error for one in axes),
        math.prod(one.perplexity for one in axes),
        math.prod(len(one.shares) for one in axes),
    )


def fitted(x: Tensor, count: int) -> Tensor:
    """Some steps of k-means from the first ``count`` of the data (N, d)."""
    codes = x[:count].clone()
    for _ in range(10):
        index = nearest(x, codes)
        sums = torch.zeros_like(codes).index_add(0, index, x)
        counts = torch.bincount(index, minlength=count)[:, None]
        codes = torch.where(counts > 0, sums / counts.clamp_min(1), codes)
    return codes


def left_of(x: Tensor, codes: Tensor) -> tuple[float, float]:
    """The error of codes over fresh data x (N, d), four standard errors added, and the perplexity."""
    index = nearest(x, codes)
    squares = (x - codes[index]).square().sum(-1)
    shares = torch.bincount(index, minlength=len(codes)).double() / len(x)
    slack = 4 * float(squares.std()) / len(x) ** 0.5
    return float(squares.mean()) + slack, OnTheLine(0.0, shares).perplexity


SOME_CODES = (1, 2, 3, 4, 7)  # on each axis
SAMPLED = 8  # dimensions up to which codes without an order are fitted to samples


@law(chapter=6, kinds=GENERIC, dims=(1, 2, 3, 8, 64), tolerance=1e-9)
def share_of_normal_data(d, draw):
    """K codes leave at least the share K_p^(-2/d) of the variance of normal data.

    Here K_p = prod p_k^(-p_k) <= K, with p_k the shares of their cells. One code at 0 leaves all of the variance. The
    codes are random ones and fitted ones, on axes and without order.
    """
    counts = [SOME_CODES[int(10 * abs(x)) % len(SOME_CODES)] for x in draw(d).tolist()]
    scale = float(draw(1).exp())
    cases = {
        "at random": products([of_normal((scale * draw(k).double()).sort().values) for k in counts]),
        "fitted": products([of_normal(best_for_normal(k)) for k in counts]),
        "fitted, 7 an axis": products(d * [of_normal(best_for_normal(7))]),
    }
    if d <= SAMPLED:
        x = draw(2, 2000, d).double()
        cases |= {f"{k} sampled": (*left_of(x[1], fitted(x[0], k)), k) for k in (2, 16)}
    found = {"one code": (products(d * [of_normal(torch.zeros(1).double())])[0] / d, falls_with(1, d), 1.0)}
    for name, (error, perplexity, codes) in cases.items():
        found[name] = AtMost(falls_with(perplexity, d), error / d, 1.0)
        found[f"{name}, K"] = AtMost(falls_with(codes, d), falls_with(perplexity, d), 1.0)
    return found


@law(chapter=6, kinds=GENERIC, dims=(1, 2, 3, 8, 64), tolerance=1e-9)
def error_of_k_codes(d, draw, t):
    """Of data with a density <= p K codes leave at least d/(d + 2) (v_d K p)^(-2/d), v_d the volume of the unit ball.

    On the cube of side 1 the grid of K = m^d codes leaves d/12 K^(-2/d), on the line no codes leave less. Of any data
    in a cube of side a the largest grid of at most K codes leaves at most d a^2 K^(-2/d).
    """
    counts = [SOME_CODES[int(10 * abs(x)) % len(SOME_CODES)] for x in draw(d).tolist()]
    sides = draw(d).double().exp()
    box, peak = 1 / float(sides.prod()), (2 * math.pi) ** (-d / 2)
    boxed = [of_uniform((a * draw(k).double().sigmoid()).sort().values, float(a)) for a, k in zip(sides, counts)]
    cases = {
        "box, at random": (box, products(boxed)),
        "normal, at random": (peak, products([of_normal(draw(k).double().sort().values) for k in counts])),
        "normal, fitted": (peak, products([of_normal(best_for_normal(k)) for k in counts])),
    }
    if d <= SAMPLED:
        x = torch.special.ndtr(draw(2, 2000, d).double())  # uniform on the cube
        cases |= {f"cube, {k} sampled": (1.0, (*left_of(x[1], fitted(x[0], k)), k)) for k in (2, 16)}
    found = {}
    for name, (density, (error, _, codes)) in cases.items():
        least = least_error(codes, d, density)
        found[name] = AtMost(least, error, least)
    for m in (1, 2, 5):
        error = products(d * [of_uniform((torch.arange(m).double() + 0.5) / m)])[0]
        found[f"grid of {m}"] = (error, d / 12 * falls_with(m**d, d))
        if d == 1:
            found[f"best of {m}"] = (error, least_error(m, 1, 1.0))
    a, m = float(sides[0]), 1 + int(5 * t)
    codes = (m + 0.99) ** d  # the largest m^d below it is the grid
    x = a * draw(200, d).double().sigmoid() ** (1 / t)  # crowded in a corner
    grid = ((x * m / a).floor().clamp(0, m - 1) + 0.5) * a / m
    at_most = d * a**2 * falls_with(codes, d)
    corner = d * (a / (2 * m)) ** 2  # data that sit where a grid is worst
    found["any data"] = AtMost((x - grid).square().sum(-1).mean(), at_most, at_most)
    found["worst data"] = AtMost(corner, at_most, at_most)
    return found
