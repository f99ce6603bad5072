r"""Laws of the chapter "What an estimator conserves": similarity motions, and what training then conserves.

Setting, as in the chapter: latents z = E xi + b, codes q_k, each latent with its nearest code q; the decoder sees z_q
through W z_q + b_W, and any loss behind it. Means are over the latents, e = q - z, g = dL_rec/dz_q for one latent, and
u = G^T g is what the encoder receives. A motion is a velocity field

.. math:: X(x) = A\,(x - \mu) + v, \qquad A = \alpha I + \Omega,\quad \Omega^\top = -\Omega .
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from book.algebra import apply, dot, identity, jacobian, nearest, norm, projector, pull_back, spectral_norm, unit
from book.statements import AtMost, law
from book.theory.inputs import GENERIC
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.quantizers.updates import ema_codes

CHAPTER = 24
CARRIERS = ("rotation", "reflection")  #: the members with G(z - mu) = q - mu
SMALL = (1, 2, 3, 8)


def inner(x: Tensor, y: Tensor) -> Tensor:
    """The sum of products of two arrays of one shape."""
    return (x.double() * y.double()).sum()


def mean_product(x: Tensor, y: Tensor) -> Tensor:
    """``E<x, y>`` over the latents (n, d)."""
    return inner(x, y) / len(x)


# motions


class Motion(NamedTuple):
    """The velocity field ``X(x) = A (x - centre) + v``."""

    A: Tensor
    v: Tensor
    centre: Tensor

    def at(self, x: Tensor) -> Tensor:
        """The velocities (n, d) at points (n, d)."""
        return apply(self.A, x - self.centre) + self.v

    def carry(self, x: Tensor, time: float) -> Tensor:
        """The points (n, d) after they have moved for a time."""
        d = len(self.v)
        affine = torch.zeros(d + 1, d + 1, dtype=torch.float64)
        affine[:d, :d], affine[:d, d] = self.A, self.v - self.A @ self.centre
        map_ = torch.linalg.matrix_exp(time * affine)
        return apply(map_[:d, :d], x) + map_[:d, d]


def antisymmetric(draw: Callable, d: int) -> Tensor:
    """A random antisymmetric matrix."""
    M = draw(d, d).double()
    return M - M.T


def motions(draw: Callable, d: int, centre: Tensor) -> dict[str, Motion]:
    """A random translation, dilation and turn about ``centre``, and a motion that is all three."""
    none, still = torch.zeros(d, d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
    grow, turn = draw().double() * torch.eye(d, dtype=torch.float64), antisymmetric(draw, d)
    v = draw(d).double()
    centre = centre.double()
    return {
        "translation": Motion(none, v, centre),
        "dilation": Motion(grow, still, centre),
        "turn": Motion(turn, still, centre),
        "all three": Motion(grow + turn, v, centre),
    }


# a network whose gradients are autograd's, so that no law has its hypothesis built in


class Velocities(NamedTuple):
    """How the weights move: minus their gradients."""

    E: Tensor
    b: Tensor
    codes: Tensor
    W: Tensor
    b_W: Tensor


class Network:
    """An encoder's last layer, a codebook, a decoder's first layer and a loss in which all latents meet.

    The total is ``L_rec + beta E|q - sg z|^2 + gamma E|z - sg q|^2`` and the decays
    ``decay_E |(E, b)|^2 + decay_W |(W, b_W)|^2 + decay_C |C|^2``.
    """

    def __init__(self, draw: Callable, n: int, d: int, codes: int = 7, decayed: bool = True):
        def random(*shape: int) -> Tensor:
            return draw(*shape).double()

        self.h = random(n, d + 2)
        self.weights = [random(d, d + 2), random(d), random(codes, d), random(5, d), random(5)]
        self.mix, self.V, self.y = random(n, n) / n**0.5, random(5, 4), random(n, 4)
        self.beta, self.gamma, *decays = (float(x) for x in random(5).exp())
        self.decay_E, self.decay_W, self.decay_C = decays if decayed else (0.0, 0.0, 0.0)

    def latents(self) -> Tensor:
        E, b, *_ = self.weights
        return self.h @ E.T + b

    def codes_of(self, z: Tensor) -> Tensor:
        """The indices of the nearest codes."""
        return nearest(z, self.weights[2])

    def reconstruction_loss(self, z_q: Tensor, W: Tensor | None = None, b_W: Tensor | None = None) -> Tensor:
        """Any loss that sees z_q through ``W z_q + b_W``."""
        W, b_W = self.weights[3] if W is None else W, self.weights[4] if b_W is None else b_W
        return ((self.mix @ torch.tanh(z_q @ W.T + b_W) @ self.V - self.y) ** 2).mean()

    def run(self, member: str, centre: Tensor | None = None, indices: Tensor | None = None) -> Velocities:
        """Look the codes up, unless ``indices`` says which, and differentiate the total through the estimator.

        Leaves behind ``z, q``, and ``g`` and ``u = G^T g`` per latent.
        """
        E, b, codes, W, b_W = weights = [w.clone().requires_grad_() for w in self.weights]
        z = self.h @ E.T + b
        q = codes[self.codes_of(z) if indices is None else indices]
        z_q = ESTIMATORS[member](z, q, centre=centre)
        loss = self.reconstruction_loss(z_q, W, b_W)
        g, u = torch.autograd.grad(loss, (z_q, z), retain_graph=True)
        n = len(z)
        codebook = self.beta * (q - z.detach()).square().sum() / n
        commitment = self.gamma * (z - q.detach()).square().sum() / n
        decay = self.decay_E * (inner(E, E) + inner(b, b)) + self.decay_W * (inner(W, W) + inner(b_W, b_W))
        total = loss + codebook + commitment + decay + self.decay_C * inner(codes, codes)
        self.z, self.q, self.g, self.u = z.detach(), q.detach(), n * g, n * u
        return Velocities(*(-slope for slope in torch.autograd.grad(total, weights)))

    @property
    def e(self) -> Tensor:
        return self.q - self.z

    @property
    def error(self) -> Tensor:
        """``E|z - q|^2``."""
        return mean_product(self.e, self.e)

    @property
    def size(self) -> Tensor:
        """What rounding is measured against: the size of the terms that cancel."""
        lengths = (norm(self.z) + norm(self.q)) * (norm(self.g) + norm(self.u) + self.gamma * norm(self.e))
        squares = sum(inner(w, w) for w in self.weights) * (self.decay_E + self.decay_W + self.decay_C)
        return lengths.mean() + squares + (self.beta + 1 / self.beta) * (1 + self.gamma) * self.error


def reported_derivative(net: Network, member: str, motion: Motion, mu: Tensor | None = None) -> Tensor:
    """What an estimator reports along a motion of the latents, from the gradients of the weights that make it.

    Latents move with X when (E, b) moves with (A E, A (b - centre) + v).
    """
    E, b = (w.clone().requires_grad_() for w in net.weights[:2])
    z = net.h @ E.T + b
    q = net.weights[2][net.codes_of(z)]
    slope_E, slope_b = torch.autograd.grad(net.reconstruction_loss(ESTIMATORS[member](z, q, centre=mu)), (E, b))
    E, b = net.weights[:2]
    return inner(slope_E, motion.A @ E) + inner(slope_b, motion.at(b))


def true_derivative_along(net: Network, motion: Motion, step: float = 1e-5) -> Tensor:
    """The derivative of L_rec when latents and codes move together and every code is looked up anew."""

    def loss_after(time: float) -> Tensor:
        z, codes = motion.carry(net.latents(), time), motion.carry(net.weights[2], time)
        return net.reconstruction_loss(codes[nearest(z, codes)])

    return (loss_after(step) - loss_after(-step)) / (2 * step)


# motions that keep the assignments


@law(CHAPTER, kinds=GENERIC)
def similarities_keep_assignments(draw, n, d, mu):
    "Any similarity x -> s U x + v, reached by a motion X, leaves each latent with its code."
    z, codes = draw(n, d).double(), draw(9, d).double()
    before = nearest(z, codes)
    return {
        name: (nearest(motion.carry(z, 0.7), motion.carry(codes, 0.7)).double(), before.double(), 1.0)
        for name, motion in motions(draw, d, mu).items()
    }


@law(CHAPTER, kinds=GENERIC, dims=(2, 3, 8, 64), roundings=3000)
def only_similarities_do(draw, d, t, mu):
    """A field A(x - mu) + v with A other than alpha I + Omega makes some latent change its code.

    Then B = exp(t A) has |B x| < |B y| for some |x| = |y|, and a latent with the codes x and c y beside it, c < 1
    near 1, changes its code. With A = alpha I + Omega all |B x|/|x| are equal.
    """
    similar, v = draw().double() * torch.eye(d) + antisymmetric(draw, d) / d**0.5, draw(d).double()
    fields = {"any A": draw(d, d).double() / d**0.5, "nearly similar": similar + 1e-3 * draw(d, d).double()}
    z, found = draw(1, d).double(), {}
    for name, A in fields.items():
        stretch, y, x = stretches(A, t)
        codes = z + torch.stack([x, (1 + stretch[-1] / stretch[0]) / 2 * y])
        field = Motion(A, v, mu.double())
        moved = nearest(field.carry(z, t), field.carry(codes, t))
        found[f"{name}, before"] = (nearest(z, codes).double(), torch.ones(1), 1.0)
        found[f"{name}, after"] = (moved.double(), torch.zeros(1), 1.0)
    stretch, *_ = stretches(similar, t)
    return found | {"similar": (stretch, stretch[0])}


def stretches(A: Tensor, time: float) -> tuple[Tensor, Tensor, Tensor]:
    """By how much exp(time A) stretches its main directions (d,), and the most and the least stretched of them."""
    _, stretch, directions = torch.linalg.svd(torch.linalg.matrix_exp(time * A))
    return stretch, directions[0], directions[-1]


# the true derivative along a motion, and what an estimator reports


@law(CHAPTER, kinds=GENERIC, dims=SMALL, tolerance=1e-6)
def true_derivative(draw, n, d, mu):
    "When latents and codes move with X, L_rec, looked up anew, has the derivative E<g, X(q)>."
    net = Network(draw, n, d)
    net.run("ste")
    return {
        name: (true_derivative_along(net, motion), mean_product(net.g, motion.at(net.q)), net.size)
        for name, motion in motions(draw, d, mu).items()
    }


@law(CHAPTER, kinds=GENERIC, dims=SMALL, roundings=3000)
def reported_error(member, draw, n, d, mu):
    "An estimator reports E<g, G X(z)>, so it errs by E<g, G X(z) - X(q)>."
    net = Network(draw, n, d)
    net.run(member, mu.double())
    G = jacobian(member, net.z, net.q, centre=mu.double())
    found = {}
    for name, motion in motions(draw, d, draw(d)).items():
        truth = mean_product(net.g, motion.at(net.q))
        error = mean_product(net.g, apply(G, motion.at(net.z)) - motion.at(net.q))
        size = (norm(net.g) * (norm(apply(G, motion.at(net.z))) + norm(motion.at(net.q)))).mean()
        found[name] = (reported_derivative(net, member, motion, mu.double()) - truth, error, size)
    return found


def error_along(net: Network, member: str, motion: Motion, mu: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What an estimator errs by along a motion, and the size of what it is a difference of."""
    truth = mean_product(net.g, motion.at(net.q))
    reported = reported_derivative(net, member, motion, mu)
    reach = norm(motion.at(net.z)) * norm(net.u) + norm(motion.at(net.q)) * norm(net.g)
    return reported - truth, reach.mean()


@law(CHAPTER, kinds=GENERIC, dims=SMALL, roundings=3000)
def exact_for_translations(member, draw, n, d, mu):
    "Along a translation v an estimator errs by <E[G^T g - g], v>: STE by nothing, any other by its mean change of g."
    net = Network(draw, n, d)
    net.run(member, mu.double())
    translation = motions(draw, d, mu)["translation"]
    error, size = error_along(net, member, translation, mu.double())
    mean_change = torch.zeros(d) if member == "ste" else (net.u - net.g).mean(0)
    return error, inner(mean_change, translation.v), size


@law(CHAPTER, kinds=GENERIC, dims=SMALL, members=CARRIERS, roundings=3000)
def exact_for_dilations(member, draw, n, d, mu):
    """With G(z - mu) = q - mu an estimator is exact along dilations about mu.

    Along those about another point it errs as along the translation from there to mu, times their rate.
    """
    net, other = Network(draw, n, d), draw(d)
    net.run(member, mu.double())
    about_mu, elsewhere = (motions(draw, d, point)["dilation"] for point in (mu, other))
    error, size = error_along(net, member, about_mu, mu.double())
    error_there, size_there = error_along(net, member, elsewhere, mu.double())
    stated = inner((net.u - net.g).mean(0), elsewhere.A @ (mu.double() - other.double()))
    return {"about mu": (error, torch.zeros(()), size), "elsewhere": (error_there, stated, size_there)}


@law(CHAPTER, kinds=GENERIC, dims=(2,), members=("rotation",), roundings=3000)
def exact_for_turns_of_the_plane(member, draw, n, d, mu):
    "In the plane the rotation about mu is exact along turns about mu: complex numbers commute."
    net = Network(draw, n, d)
    net.run(member, mu.double())
    error, size = error_along(net, member, motions(draw, d, mu)["turn"], mu.double())
    return error, torch.zeros(()), size


@law(CHAPTER, kinds=GENERIC, dims=(2, 3, 8), roundings=3000)
def error_along_turns(draw, n, d, mu):
    """Along turns STE errs by -E<g, Omega e>, the rotation by E<Pi g, Omega(r (z - mu) - (q - mu))>.

    Pi is the projector off span(z - mu, q - mu): nothing in the plane, and most of the space in many dimensions.
    """
    net, mu = Network(draw, n, d), mu.double()
    turn = motions(draw, d, mu)["turn"]
    net.run("ste", mu)
    ste, size_of_ste = error_along(net, "ste", turn, mu)
    net.run("rotation", mu)
    rotation, size = error_along(net, "rotation", turn, mu)
    z, q = net.z - mu, net.q - mu
    off_plane = apply(identity(z) - projector(z, q), net.g)
    return {
        "STE": (ste, -mean_product(net.g, apply(turn.A, net.e)), size_of_ste),
        "rotation": (rotation, mean_product(off_plane, apply(turn.A, norm(q) / norm(z) * z - q)), size),
    }


@law(CHAPTER, dims=(3, 8, 64), kinds=("generic", "lopsided"))
def inexact_from_three_dimensions_on(z, q, draw):
    "With u a unit vector off span(z, q), g = u and Omega = u a^T - a u^T the rotation errs by |q| (1 - cos theta)."
    z, q = z.double(), q.double()
    a, w = unit(z), draw(*z.shape).double()
    u = unit(w - apply(projector(z, q), w))
    turned = lambda x: u * dot(a, x) - a * dot(u, x)  # noqa: E731
    error = dot(pull_back("rotation", z, q, u), turned(z)) - dot(u, turned(q))
    return error, norm(q) * (1 - dot(a, unit(q))), norm(q)


# no estimator is exact for all


@law(CHAPTER, dims=SMALL)
def trade_off(z, q, g, draw, t, mu):
    """|G - I| |z - mu| + |G(z - mu) - (q - mu)| >= |q - z| for every matrix G; the mixes (1-t) I + t G_mu attain it.

    For |g| = 1 the first term bounds the error along a translation by |z - mu|, the second that along dilations about
    mu at the rate 1.
    """
    z, q, mu, g = z.double(), q.double(), mu.double(), unit(g)
    G = jacobian("rotation", z, q, centre=mu)
    mixed = (1 - t) * identity(z) + t * G
    size_of_G = spectral_norm(G - identity(z)).unsqueeze(-1)
    every = {
        "any": draw(*G.shape).double() * 10 ** draw(len(z), 1, 1).double(),
        "near a mix": mixed + 0.3 * draw(*G.shape).double() * size_of_G,
        "very near": mixed + 1e-6 * draw(*G.shape).double() * size_of_G,
    }
    shift = unit(draw(*z.shape)) * norm(z - mu)

    def both(matrix: Tensor) -> Tensor:
        off_translations = spectral_norm(matrix - identity(z)) * norm(z - mu)
        return off_translations + norm(apply(matrix, z - mu) - (q - mu))

    scale = norm(q - mu) + norm(z - mu)
    found = {"mixes": (both(mixed), norm(q - z), scale)}
    for name, matrix in every.items():
        along_shift = dot(g, apply(matrix - identity(z), shift)).abs()
        along_dilation = dot(g, apply(matrix, z - mu) - (q - mu)).abs()
        size = scale * (1 + spectral_norm(matrix))
        found[name] = AtMost(norm(q - z), both(matrix), size)
        found[f"{name}: shift"] = AtMost(along_shift, spectral_norm(matrix - identity(z)) * norm(z - mu), size)
        found[f"{name}: dilation"] = AtMost(along_dilation, norm(apply(matrix, z - mu) - (q - mu)), size)
    return found


@law(CHAPTER, dims=SMALL)
def least_change(z, q, draw):
    "Of all G with G z = q none is nearer to I than the rotation, and I + e z^T/|z|^2: |G - I| >= |q - z|/|z|."
    z, q = z.double(), q.double()
    e, inverse = q - z, z / dot(z, z)
    least = identity(z) + e.unsqueeze(-1) * inverse.unsqueeze(-2)
    off_z = identity(z) - unit(z).unsqueeze(-1) * unit(z).unsqueeze(-2)
    other = least + draw(*least.shape).double() @ off_z  # any matrix that takes z to q
    distance, scale = norm(e) / norm(z), 1 + norm(q) / norm(z)
    return {
        "any": AtMost(distance, spectral_norm(other - identity(z)), scale + spectral_norm(other)),
        "rotation": (spectral_norm(jacobian("rotation", z, q) - identity(z)), distance, scale),
        "one direction": (spectral_norm(least - identity(z)), distance, scale),
        "takes z to q": (apply(other, z), q, norm(q) + norm(z) * (1 + spectral_norm(other))),
    }


def moves_of(x: Tensor) -> Tensor:
    """``A x`` for a basis of all A = alpha I + Omega, shape (motions, n, d)."""
    d = x.shape[-1]
    generators = [torch.eye(d, dtype=torch.float64)]
    for i, j in itertools.combinations(range(d), 2):
        plane = torch.zeros(d, d, dtype=torch.float64)
        plane[i, j], plane[j, i] = 1.0, -1.0
        generators.append(plane)
    return torch.stack([x @ A.T for A in generators])


def exact_on_a_batch(z: Tensor, q: Tensor, g: Tensor) -> Tensor:
    """The gradients (n, d) nearest to g that are exact along every motion: ``g + A (z - mean z)``.

    A = alpha I + Omega solves E<A(z - mean z), X(z)> = E<g, X(e)> for all motions X.
    """
    moves, errors = moves_of(z - z.mean(0)), moves_of(q - z)
    asked = torch.stack([inner(g, error) for error in errors])
    gram = torch.einsum("inx,jnx->ij", moves, moves)
    shares = torch.linalg.lstsq(gram, asked[:, None], driver="gelsd").solution[:, 0]  # some answer where there is none
    return g + torch.einsum("i,inx->nx", shares, moves)


def flattened(z: Tensor, dimensions: int) -> Tensor:
    """Latents whose differences span this many dimensions: the others are set to their mean."""
    return torch.cat([z[:, :dimensions], z[:, dimensions:].mean(0).expand(len(z), -1)], -1)


FEWEST = -1  #: the differences of the latents of :func:`a_batch_can` span d - 1 dimensions, and no fewer would do


@law(CHAPTER, kinds=GENERIC, dims=SMALL, roundings=30_000)
def a_batch_can(draw, n, d, mu):
    """What no G of one pair can do one correction shared by the batch does: g + (alpha I + Omega)(z - mean z).

    It is exact along translations, dilations and turns, if the latents less their mean span d - 1 dimensions at least
    and are not all 0. Then it is the only one of this form, and of all that are exact the nearest to g. So is, but for
    turns, G_mu about the mean latent with the mean of g put back.
    """
    net = Network(draw, n, d)
    net.run("ste")
    z, q, g = net.z, net.q, net.g
    centre = z.mean(0)
    turned = pull_back("rotation", z, q, g, centre=centre)
    answers = {"all": (z, exact_on_a_batch(z, q, g)), "no turns": (z, turned + (g - turned).mean(0))}
    if d + FEWEST > 0:  # on the line the differences would be all 0
        flat = flattened(z, d + FEWEST)
        answers["all, flat"] = flat, exact_on_a_batch(flat, q, g)
    found = {}
    for (label, (at, felt)), (name, motion) in itertools.product(answers.items(), motions(draw, d, mu).items()):
        if label != "no turns" or name in ("translation", "dilation"):
            reach = (norm(felt) * norm(motion.at(at)) + norm(g) * norm(motion.at(q))).mean()
            found[f"{label}, {name}"] = (mean_product(felt, motion.at(at)), mean_product(g, motion.at(q)), reach)
    del answers["no turns"]
    for label, (at, felt) in answers.items():
        moves = moves_of(at - at.mean(0))
        sizes = torch.linalg.eigvalsh(torch.einsum("inx,jnx->ij", moves, moves))
        found[f"{label}, the only one"] = AtMost(1e-9 * sizes[-1], sizes[0], sizes[-1])
        fixed = torch.cat([moves, identity(at).unsqueeze(1).expand(-1, n, -1)]).flatten(1).T  # every motion of latents
        other = draw(n, d).double().flatten()[:, None]
        other = (other - fixed @ torch.linalg.lstsq(fixed, other, driver="gelsd").solution).view(n, d)
        found[f"{label}, nearest"] = (
            mean_product(felt + other - g, felt + other - g),
            mean_product(felt - g, felt - g) + mean_product(other, other),
            mean_product(felt - g, felt - g) + mean_product(other, other),
        )
    return found


# what training conserves


def code_weight(net: Network) -> float:
    """The weight with which the codes enter the conserved quantities."""
    return net.gamma / net.beta


def conserved_rate(net: Network, v: Velocities) -> Tensor:
    """``E'E^T + b'b^T + (gamma/beta) C'^T C - W^T W'`` (d, d): half the rate of what is conserved, before symmetry."""
    E, b, codes, W, _ = net.weights
    return v.E @ E.T + torch.outer(v.b, b) + code_weight(net) * v.codes.T @ codes - W.T @ v.W


def decay_rate(net: Network) -> Tensor:
    """What the decays add to :func:`conserved_rate`."""
    E, b, codes, W, _ = net.weights
    encoder, decoder = E @ E.T + torch.outer(b, b), W.T @ W
    return 2 * net.decay_W * decoder - 2 * net.decay_E * encoder - 2 * net.decay_C * code_weight(net) * codes.T @ codes


def mean_outer(x: Tensor, y: Tensor) -> Tensor:
    """``E[x y^T]``."""
    return x.T @ y / len(x)


def stated_rate(net: Network) -> Tensor:
    """``E[g q^T - u z^T] - 2 gamma E[e e^T]`` and the decays, of the last run: what the matrix law says of the rate."""
    torques = mean_outer(net.g, net.q) - mean_outer(net.u, net.z)
    return torques - 2 * net.gamma * mean_outer(net.e, net.e) + decay_rate(net)


@law(CHAPTER, kinds=GENERIC, dims=SMALL, roundings=3000)
def matrix_law(member, draw, n, d, mu):
    """E'E^T + b'b^T + (gamma/beta) C'^T C - W^T W' = E[g q^T - u z^T] - 2 gamma E[e e^T] + D in gradient flow.

    D are the decays. Codes move by their gradient, no matter where they are.
    """
    net = Network(draw, n, d)
    rate = conserved_rate(net, net.run(member, mu.double()))
    return rate, stated_rate(net), net.size


@law(CHAPTER, kinds=GENERIC, dims=SMALL, members=(*CARRIERS, "ste"), roundings=3000)
def scale_law(member, draw, n, d):
    """Half the rate of |(E, b)|^2 + (gamma/beta) sum |q_k|^2 - |W|^2 is -2 gamma E|z - q|^2 and the decays.

    STE adds E<g, q - z>. The codes may stand anywhere.
    """
    net = Network(draw, n, d)
    rate = conserved_rate(net, net.run(member)).trace()
    extra = mean_product(net.g, net.e) if member == "ste" else 0.0
    return rate, extra - 2 * net.gamma * net.error + decay_rate(net).trace(), net.size


@law(CHAPTER, kinds=GENERIC, dims=SMALL, roundings=3000)
def momentum_law(member, draw, n, d, mu):
    "beta b' + gamma sum q_k' = -beta E[G^T g] and the decays, and W^T b_W' = -E g and its decay."
    net = Network(draw, n, d)
    v = net.run(member, mu.double())
    _, b, codes, W, b_W = net.weights
    left = net.beta * v.b + net.beta * code_weight(net) * v.codes.sum(0)
    decays = 2 * net.beta * net.decay_E * b + 2 * net.gamma * net.decay_C * codes.sum(0)
    scale = (1 + net.beta) * (1 + net.gamma) * (norm(net.u) + norm(net.e)).mean() + norm(decays)
    return {
        "latents": (left, -net.beta * net.u.mean(0) - decays, scale),
        "decoder": (W.T @ v.b_W, -net.g.mean(0) - 2 * net.decay_W * W.T @ b_W, net.size),
    }


@law(CHAPTER, kinds=GENERIC, dims=(2,), roundings=3000)
def turning_law(draw, n, d):
    "In the plane the rotation keeps E'E^T + b'b^T + (gamma/beta) C'^T C - W^T W' symmetric: it adds no torque."
    net = Network(draw, n, d)
    rate = conserved_rate(net, net.run("rotation"))
    return rate, rate.T, net.size


@law(CHAPTER, kinds=GENERIC, dims=SMALL, roundings=3000)
def centre_drops_out(draw, n, d, mu):
    "E<g, q - G_mu z> = <E[g - G_mu^T g], mu>: it is 0 where E g = 0 and E[G_mu^T g] = 0, whatever the centre."
    net, mu = Network(draw, n, d), mu.double()
    net.run("rotation", mu)
    balance = mean_product(net.g, net.q) - mean_product(net.u, net.z)
    return balance, inner((net.g - net.u).mean(0), mu), net.size * (1 + norm(mu))


@law(CHAPTER, kinds=GENERIC, dims=SMALL, members=CARRIERS, roundings=3000)
def balance_about_a_centre(member, draw, n, d, mu):
    "With G(z - mu) = q - mu: <(E, b - mu), dL_rec> = E<g, q - mu> = <W, dL_rec/dW> - <W mu, dL_rec/db_W>."
    net, mu = Network(draw, n, d), mu.double()
    E, b, codes, W, b_W = (w.clone().requires_grad_() for w in net.weights)
    z = net.h @ E.T + b
    q = codes[net.codes_of(z)]
    z_q = ESTIMATORS[member](z, q, centre=mu)
    loss = net.reconstruction_loss(z_q, W, b_W)
    g, u, *slopes = torch.autograd.grad(loss, (z_q, z, E, b, W, b_W))
    encoder = inner(E, slopes[0]) + inner(b - mu, slopes[1])
    decoder = inner(W, slopes[2]) - inner(W @ mu, slopes[3])
    size = (norm(u) * (norm(z) + norm(mu)) + norm(g) * (norm(q) + norm(mu))).sum()
    return {"encoder": (encoder, inner(g, q - mu), size), "decoder": (decoder, inner(g, q - mu), size)}


def quantity(net: Network, weights: Sequence[Tensor]) -> Tensor:
    """``Q = (|(E, b)|^2 + (gamma/beta) sum |q_k|^2 - |W|^2)/2`` of these weights."""
    E, b, codes, W, _ = weights
    return (inner(E, E) + inner(b, b) + code_weight(net) * inner(codes, codes) - inner(W, W)) / 2


def momentum(net: Network) -> Tensor:
    """``beta b + gamma sum q_k``, shape (d,)."""
    _, b, codes, _, _ = net.weights
    return net.beta * b + net.gamma * codes.sum(0)


@dataclass
class Descent:
    """What gradient descent did, an entry a step; the first of ``quantity`` and ``momentum`` is before it.

    Attributes:
        quantity: :func:`quantity`.
        momentum: :func:`momentum`.
        paid: ``2 gamma rate E|z - q|^2``, summed so far.
        pushed: ``beta rate E[G^T g]``, summed so far.
        squares: What a step of this size adds to Q beside its rate, summed so far: it is of second order in the rate.
        reconstruction: The loss before each step.
    """

    quantity: list[Tensor]
    momentum: list[Tensor]
    paid: list[Tensor]
    pushed: list[Tensor]
    squares: list[Tensor]
    reconstruction: list[Tensor]


def descend(net: Network, member: str, steps: int, rate: float) -> Descent:
    """Train a network without decay by gradient descent, every code looked up anew at each step."""
    run = Descent([quantity(net, net.weights)], [momentum(net)], [], [], [], [])
    paid, pushed, squares = 0.0, 0.0, 0.0
    for _ in range(steps):
        velocities = net.run(member)
        paid = paid + 2 * net.gamma * rate * net.error
        pushed = pushed + net.beta * rate * net.u.mean(0)
        squares = squares + rate**2 * quantity(net, velocities)
        net.weights = [w + rate * velocity for w, velocity in zip(net.weights, velocities)]
        run.quantity.append(quantity(net, net.weights))
        run.momentum.append(momentum(net))
        run.paid.append(paid)
        run.pushed.append(pushed)
        run.squares.append(squares)
        run.reconstruction.append(net.reconstruction_loss(net.q))
    return run


@law(CHAPTER, kinds=GENERIC, dims=SMALL, members=CARRIERS, roundings=30_000)
def error_is_paid_for(member, draw, n, d):
    """Q = (|(E, b)|^2 + (gamma/beta) sum |q_k|^2 - |W|^2)/2 pays for the error in every run of gradient descent.

    Without decay Q falls by 2 gamma eta sum_t E|z - q|^2, up to the eta^2 of the steps. Codes change on the way.
    """
    net = Network(draw, n, d, decayed=False)
    run = descend(net, member, steps=15, rate=0.02)
    parts = [inner(w, w) for w in net.weights]
    scale = sum(parts) * (1 + code_weight(net)) + run.quantity[0].abs() + run.paid[-1] + run.squares[-1].abs()
    return run.quantity[-1] - run.quantity[0], run.squares[-1] - run.paid[-1], scale


@law(CHAPTER, kinds=GENERIC, dims=SMALL, members=("rotation", "ste", "zero"), roundings=30_000)
def momentum_in_training(member, draw, n, d):
    "Over a run of gradient descent without decay beta b + gamma sum q_k changes by -beta eta sum_t E[G^T g], exactly."
    net = Network(draw, n, d, decayed=False)
    run = descend(net, member, steps=5, rate=0.02)
    scale = net.beta * (1 + norm(net.weights[1])) + net.gamma * (1 + norm(net.weights[2]).sum()) + norm(run.pushed[-1])
    return run.momentum[-1] - run.momentum[0], -run.pushed[-1], scale


# what else moves weights


@law(CHAPTER, kinds=GENERIC, dims=SMALL, members=CARRIERS, roundings=3000)
def ema_law(member, draw, n, d, t):
    """Where codes move by EMA at the rate omega, their term in the balance is (2 gamma/omega) sum c_k |q_k|^2.

    With running shares c_k of the shares n_k, half the rate of |(E, b)|^2 + (2 gamma/omega) sum c_k |q_k|^2 - |W|^2 is
    -2 gamma E|z - q|^2 + gamma sum (n_k - c_k) |q_k|^2.
    """
    net, omega = Network(draw, n, d, decayed=False), t
    v = net.run(member)
    E, b, codes, W, _ = net.weights
    chosen = torch.nn.functional.one_hot(net.codes_of(net.z), len(codes)).double()
    shares, running = chosen.mean(0), draw(len(codes)).double().exp()
    code_velocity = ema_codes(codes, running, shares, chosen.T @ net.z / n, 1 - omega) - codes  # it is linear in omega
    weights, weight_velocity = running[:, None], omega * (shares - running)[:, None]
    kinetic = inner(weights * code_velocity, codes) + inner(weight_velocity * codes, codes) / 2
    left = inner(v.E, E) + inner(v.b, b) + 2 * net.gamma / omega * kinetic - inner(v.W, W)
    lag = inner(weight_velocity * codes, codes) / omega
    scale = net.size + net.gamma * inner((weights + shares[:, None]) * (code_velocity.abs() + codes.abs()), codes.abs())
    return left, -2 * net.gamma * net.error + net.gamma * lag, scale


@law(CHAPTER, kinds=GENERIC, dims=SMALL, roundings=3000)
def frozen_adam(member, draw, n, d, mu):
    """With p' = -grad/M, M > 0 fixed numbers, as Adam's with its second moments frozen, both laws hold with M in them.

    They are about <E, M E'> + <b, M b'> + (gamma/beta) <C, M C'> - <W, M W'>, and beta M b' + gamma sum M q_k'.
    """
    net = Network(draw, n, d, decayed=False)
    v = net.run(member, mu.double())
    M = [draw(*w.shape).double().exp() for w in net.weights]
    moved = [velocity / m for velocity, m in zip(v, M)]
    E, b, codes, W = (inner(w, m * velocity) for w, m, velocity in list(zip(net.weights, M, moved))[:4])
    scale_rate = E + b + code_weight(net) * codes - W
    momentum = net.beta * M[1] * moved[1] + net.gamma * (M[2] * moved[2]).sum(0)
    right = mean_product(net.g, net.q) - mean_product(net.u, net.z) - 2 * net.gamma * net.error
    size = (1 + net.beta) * (1 + net.gamma) * (norm(net.u) + norm(net.e)).mean()
    return {"scale": (scale_rate, right, net.size), "momentum": (momentum, -net.beta * net.u.mean(0), size)}


# latents on faces


def on_a_face(net: Network, draw: Callable) -> list[Tensor]:
    """Put two latents on the face between the two codes that lie closest; the assignments (n,) that are then possible.

    No other code is as near to the middle of the closest pair.
    """
    E, b, codes, *_ = net.weights
    gaps = torch.cdist(codes, codes) + 1e9 * torch.eye(len(codes), dtype=torch.float64)
    i, j = divmod(int(gaps.argmin()), len(codes))
    normal = unit(codes[j] - codes[i])
    for row in range(2):
        along = draw(codes.shape[1]).double()
        along = along - dot(along, normal) * normal
        point = (codes[i] + codes[j]) / 2 + 0.1 * gaps[i, j] * along / (1 + norm(along))
        net.h[row] = torch.linalg.pinv(E) @ (point - b)
    settled = net.codes_of(net.latents())
    choices = []
    for pair in itertools.product((i, j), repeat=2):
        indices = settled.clone()
        indices[:2] = torch.tensor(pair)
        choices.append(indices)
    return choices


@law(CHAPTER, kinds=GENERIC, dims=SMALL, roundings=30_000)
def faces_change_nothing(member, draw, n, d):
    """Latents on a face move by a mean of the velocities of all assignments possible there (Filippov).

    The matrix law and the momentum law hold for every such mean, with the same mean on the right. The scale law of an
    estimator with G z = q keeps its one E|z - q|^2: a latent on a face is equally far from both codes.
    """
    net = Network(draw, max(n, 2), d)
    choices = on_a_face(net, draw)
    weights = draw(len(choices)).double().exp()
    weights = weights / weights.sum()
    velocities, errors, stated, pushes, size = [], [], [], [], 0.0
    for indices in choices:
        velocities.append(net.run(member, indices=indices))
        errors.append(net.error)
        stated.append(stated_rate(net))
        pushes.append(torch.cat([net.u.mean(0), net.g.mean(0)]))
        size = size + net.size
    mean = Velocities(*(sum(weight * v for weight, v in zip(weights, each)) for each in zip(*velocities)))
    rate, (_, b, codes, W, b_W) = conserved_rate(net, mean), net.weights
    expected = -2 * net.gamma * errors[0] + decay_rate(net).trace()
    u, g = sum(weight * push for weight, push in zip(weights, pushes)).chunk(2)
    moved = net.beta * mean.b + net.beta * code_weight(net) * mean.codes.sum(0)
    decays = 2 * net.beta * net.decay_E * b + 2 * net.gamma * net.decay_C * codes.sum(0)
    reach = (1 + net.beta) * (1 + size) + norm(decays)
    found = {"scale law": (rate.trace(), expected, size)} if member in CARRIERS else {}
    return found | {
        "matrix law": (rate, sum(weight * one for weight, one in zip(weights, stated)), size),
        "momentum, latents": (moved, -net.beta * u - decays, reach),
        "momentum, decoder": (W.T @ mean.b_W, -g - 2 * net.decay_W * W.T @ b_W, reach),
        "one error": (torch.stack(errors), errors[0], 1 + errors[0]),
    }


# the same in a network of the book


def rates_in(model: nn.Module, x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Both sides of the scale law and of the momentum law in a VQ-VAE, from the gradients that autograd finds.

    Args:
        model: A :class:`rotvq.training.models.VQVAE` whose codes move by their gradient.
        x: Images.

    Returns:
        Left and right side by the name of the law: numbers for "scale", vectors (d,) for "momentum".
    """
    quantizer = model.quantizer
    z = model.encode(x)
    out = quantizer(z, details=True)
    loss = (model.decode(out.z_q) - x).square().mean()
    (E, b), (W,) = model.ends
    codes = quantizer.codebook.weight
    g, u = torch.autograd.grad(loss, (out.z_q, z), retain_graph=True)
    slopes = torch.autograd.grad(loss + out.loss, (E, b, codes, W))
    z, q, g, u = (part.detach().flatten(0, -2) for part in (z, out.q, g, u))
    g, u, e = len(z) * g, len(z) * u, q - z
    beta, gamma = quantizer.beta / z.shape[1], quantizer.gamma / z.shape[1]  # the losses are means over coordinates
    rate_of = [-inner(p, slope) for p, slope in zip((E, b, codes, W), slopes)]
    scale = rate_of[0] + rate_of[1] + gamma / beta * rate_of[2] - rate_of[3]
    right = mean_product(g, q) - mean_product(u, z) - 2 * gamma * mean_product(e, e)
    left = -beta * slopes[1] - gamma * slopes[2].sum(0)
    return {"scale": (scale.detach(), right), "momentum": (left, -beta * u.mean(0))}
