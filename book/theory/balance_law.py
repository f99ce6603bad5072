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


def on_the_sphere(z: Tensor) -> Tensor:
    """Latents divided by their lengths."""
    return z / z.norm(dim=-1, keepdim=True)


class Network:
    """A linear map (E, b), a quantiser, a linear map W and a layer after it; the loss is a sum of squares.

    z = E h + b for random h, and q is the nearest of nine random ``codes``. Its gradients are computed at once: ``dE``,
    ``db`` and ``dW`` of the parameters, and ``g`` of what the decoder sees, ``z_q``.

    Args:
        member: The estimator.
        draw: Gives normal numbers of a shape.
        n: The number of latents.
        d: Their dimension.
        normalised: Whether z is divided by its length.
    """

    def __init__(self, member: str, draw: Callable[..., Tensor], n: int, d: int, normalised: bool = False):
        self.h, self.codes = draw(n, d + 2), draw(9, d)
        self.V, self.y, self.c = draw(4, 5), draw(n, 4), draw(5)
        self.E, self.b, self.W = (draw(*shape).requires_grad_() for shape in ((d, d + 2), (d,), (5, d)))
        self.z = self.h @ self.E.T + self.b
        if normalised:
            self.z = on_the_sphere(self.z)
        self.q = self.codes[nearest(self.z, self.codes)]
        self.z_q = ESTIMATORS[member](self.z, self.q)
        self.dE, self.db, self.dW, self.g = torch.autograd.grad(
            self.loss(self.W, self.z_q), [self.E, self.b, self.W, self.z_q], retain_graph=True
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
    "The balance law: <(E, b), dL> = E<g, Gz> and <W, dL> = E<g, q>, so they are equal wherever Gz = q."
    net = Network(member, draw, n, d)
    Gz = apply(jacobian(member, net.z.detach(), net.q), net.z)
    return {
        "encoder": (net.encoder, total(net.g, Gz), net.size),
        "decoder": (net.decoder, total(net.g, net.q), net.size),
    }


# how an encoder may end: z from what goes in before it and the weights in which it has degree one


def dense(x: Tensor, E: Tensor, b: Tensor) -> Tensor:
    """``E x + b``."""
    return x @ E.T + b


def rectified(x: Tensor, E: Tensor, b: Tensor) -> Tensor:
    """``max(E x + b, 0)``: a ReLU after the last layer."""
    return dense(x, E, b).relu()


def convolved(x: Tensor, E: Tensor, b: Tensor) -> Tensor:
    """A convolution along the latents, with a kernel of three."""
    kernels = torch.stack([E, 0.5 * E, -E], -1)
    return torch.nn.functional.conv1d(x.T[None], kernels, b, padding=1)[0].T


def gained(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """``gain * y + bias``, y the first d coordinates of x with mean 0 and variance 1 over all of them."""
    y = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)
    return y[:, : len(bias)] * gain[:, 0] + bias


ENDINGS = {"dense": dense, "ReLU": rectified, "convolution": convolved, "gain and bias": gained}


def along_itself(weights: list[Tensor], slopes: list[Tensor]) -> Tensor:
    """``<p, dL>`` over all weights p: the bias is one of them."""
    return sum(total(p, dp) for p, dp in zip(weights, slopes))


@law(chapter=5, kinds=GENERIC, roundings=3000, dims=(1, 2, 3, 8))
def endings(member, draw, n, d):
    "<p, dL> = E<g, Gz> for all weights p in which z has degree one: a layer and its bias, also before a ReLU; a gain."
    found = {}
    for name, ending in ENDINGS.items():
        x, codes, y = draw(n, d + 2).double(), draw(9, d).double(), draw(n, d).double()
        p = [draw(d, d + 2).double().requires_grad_(), draw(d).double().requires_grad_()]
        z = ending(x, *p)
        q = codes[nearest(z, codes)]
        z_q = ESTIMATORS[member](z, q)
        loss = (torch.sin(z_q) - y).square().sum()
        *slopes, g = torch.autograd.grad(loss, [*p, z_q])
        Gz = apply(jacobian(member, z.detach(), q), z)
        scale = (norm(g) * (norm(Gz) + norm(z) + norm(q))).sum()
        found[name] = (along_itself(p, slopes), total(g, Gz), scale)
    return found


@law(chapter=5, kinds=GENERIC, roundings=3000, members=("rotation", "reflection", "ste"))
def scaling_derivative(member, draw, n, d):
    "When latents and codes grow together L has the derivative <(E, b), dL> if Gz = q; STE reports E<g, z - q> more."
    net = Network(member, draw, n, d)
    grow = torch.ones((), dtype=net.q.dtype, requires_grad=True)
    codes = grow * net.codes
    q = codes[nearest((grow * net.z).detach(), codes.detach())]  # looked up anew: the assignments stay
    (exact,) = torch.autograd.grad(net.loss(net.W, q), grow)
    error = total(net.g, net.z - net.q) if member == "ste" else 0.0
    return net.encoder - exact, error, net.size


@law(chapter=5, kinds=GENERIC, roundings=3000)
def scaling_symmetry(draw, n, d, t):
    """(E, b, codes, W) -> (s E, s b, s codes, W/s) leaves assignments, loss, G and E|z - q|^2/E|z|^2 alone.

    E|z - q|^2 is multiplied by s^2.
    """
    net, s = Network("rotation", draw, n, d), 3 * t
    E, b, codes, W, h, g = (x.detach().double() for x in (net.E, net.b, net.codes, net.W, net.h, net.g))

    def seen(E, b, codes, W):
        z = h @ E.T + b
        k = nearest(z, codes)
        q = codes[k]
        loss = (torch.tanh(q @ W.T + net.c) @ net.V.T.double() - net.y).square().sum()
        error = total(z - q, z - q)
        return k.double(), loss, pull_back("rotation", z, q, g), error, error / total(z, z), norm(q) / norm(z)

    before, after = seen(E, b, codes, W), seen(s * E, s * b, s * codes, W / s)
    return {
        "assignments": (after[0], before[0], 1.0),
        "loss": (after[1], before[1]),
        "G": (after[2], before[2], norm(g) * (1 + before[5])),
        "error": (after[3], s**2 * before[3]),
        "relative error": (after[4], before[4]),
    }


@law(chapter=5, kinds=GENERIC, roundings=3000, dims=(1, 2, 3, 8))
def one_step(member, draw, n, d, t):
    """A step of SGD changes (|(E, b)|^2 - |W|^2)/2 by eta times its rate, and by eta^2 (|dE|^2 + |db|^2 - |dW|^2)/2.

    The rate is E<g, q - Gz> - 2 gamma E<z, z - q> - 2 lambda_E |(E, b)|^2 + 2 lambda_W |W|^2.
    """
    net, eta = Network(member, draw, n, d), 1e-3 * t
    gamma, decay_E, decay_W = draw(3).double().exp().tolist()
    weights = [net.E, net.b, net.W]
    commitment = gamma * (net.z - net.q).square().sum()
    decay = decay_E * (net.E.square().sum() + net.b.square().sum()) + decay_W * net.W.square().sum()
    slopes = torch.autograd.grad(net.loss(net.W, net.z_q) + commitment + decay, weights)
    size_of = lambda p: (total(p[0], p[0]) + total(p[1], p[1]) - total(p[2], p[2])) / 2  # noqa: E731
    after = size_of([p.double() - eta * dp.double() for p, dp in zip(weights, slopes)])
    Gz = apply(jacobian(member, net.z.detach(), net.q), net.z)
    z, q = net.z.detach(), net.q
    decays = 2 * decay_W * total(net.W, net.W) - 2 * decay_E * (total(net.E, net.E) + total(net.b, net.b))
    rate = total(net.g, q - Gz) - 2 * gamma * total(z, z - q) + decays
    squares = size_of([dp.double() for dp in slopes])
    sizes = sum(total(p, p) for p in weights) * (1 + eta * (decay_E + decay_W))
    scale = sizes + eta * net.size + eta**2 * squares.abs()
    return after - size_of(weights), eta * rate + eta**2 * squares, scale + eta * gamma * total(z.abs(), (z - q).abs())


@law(chapter=5, kinds=GENERIC, roundings=3000, dims=(2, 3, 8))
def shared_weights(draw, n, d):
    """Under the radial-free member |(E, b)| feels nothing, yet latents change their lengths, as they share weights.

    With u = G^T g, (sum |z|^2)' = -2 sum_ij <z_i, u_j>(<h_i, h_j> + 1).
    """
    net = Network("radial_free", draw, max(n, 3), d)
    z, h = net.z.detach().double(), net.h.double()
    moved = -(h @ net.dE.double().T + net.db.double())
    u = pull_back("radial_free", net.z.detach(), net.q, net.g).double()
    rate = 2 * total(z, moved)
    kernel = h @ h.T + 1
    scale = net.size * kernel.abs().sum(1).max()
    return {
        "(E, b)": (net.encoder, torch.zeros(()), net.size),
        "latents": (rate, -2 * total(kernel @ u, z), scale),
        "not at rest": AtMost(torch.tensor(1e-9).double(), rate.abs() / scale, 1.0),
    }


def losses_of(A: Tensor, y: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """Convex losses of v (n, d) through the linear map A, with targets y."""
    seen = {
        "squares": lambda x: x.square().sum(-1, keepdim=True),
        "absolute values": lambda x: x.abs().sum(-1, keepdim=True),
        "cross entropy": lambda x: x.logsumexp(-1, keepdim=True) - x[:, :1],
        "fourth powers": lambda x: x.pow(4).sum(-1, keepdim=True),
    }
    return {name: lambda v, of=of: of(v @ A.T - y) for name, of in seen.items()}


@law(chapter=5, kinds=GENERIC)
def cost_of_quantising(draw, n, d):
    "For a loss convex in z_q: E<g, q - z> >= L(q) - L(z). STE's radial push is at least what quantising costs."
    A, y, z, e = draw(3, d).double(), draw(n, 3).double(), draw(n, d).double(), draw(n, d).double()
    found = {}
    for name, loss in losses_of(A, y).items():
        q = (z + e).requires_grad_()
        (g,) = torch.autograd.grad(loss(q).sum(), q)
        at_q, at_z = loss(q.detach()), loss(z)
        found[name] = AtMost(at_q - at_z, dot(g, e), 1 + at_q.abs() + at_z.abs() + norm(g) * norm(e))
    return found


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


# a normalisation after the decoder's first layer


def batch_normalised(y: Tensor) -> Tensor:
    """Mean 0 and variance 1 of each coordinate over the latents."""
    return (y - y.mean(0)) / y.std(0)


def layer_normalised(y: Tensor) -> Tensor:
    """Mean 0 and variance 1 of each latent over its coordinates."""
    return (y - y.mean(-1, keepdim=True)) / y.std(-1, keepdim=True)


@law(chapter=5, kinds=GENERIC, roundings=30_000, dims=(2, 3, 8), members=("rotation", "reflection"))
def normalised_decoder(member, draw, n, d):
    """A normalisation after W z_q + b_W makes <W, dL> = E<g, q> = 0, and under the rotation <(E, b), dL> = 0, too.

    A batch normalisation does so for every b_W, a layer normalisation for b_W = 0 only.
    """
    n, found = max(n, 4), {}
    for name, norm_of, with_bias, is_zero in (
        ("batch", batch_normalised, True, True),
        ("layer", layer_normalised, False, True),
        ("layer with b_W", layer_normalised, True, False),
    ):
        h, codes, V, y = draw(n, d + 2).double(), draw(9, d).double(), draw(5, 4).double(), draw(n, 4).double()
        E, b, W, bias = (draw(*shape).double().requires_grad_() for shape in ((d, d + 2), (d,), (5, d), (5,)))
        z = h @ E.T + b
        q = codes[nearest(z, codes)] + 0.1 * z.detach()  # no two alike: a batch of equal rows has no variance
        z_q = ESTIMATORS[member](z, q)
        loss = (torch.tanh(norm_of(z_q @ W.T + with_bias * bias)) @ V - y).square().sum()
        dE, db, dW, g = torch.autograd.grad(loss, [E, b, W, z_q])
        scale = (norm(g) * (norm(z) + norm(q)) * (1 + norm(q) / norm(z))).sum() + (norm(W) * norm(dW)).sum()
        both = {"decoder": total(W, dW), "encoder": total(E, dE) + total(b, db)}
        for side, value in both.items():
            if is_zero:
                found[f"{name}, {side}"] = (value, torch.zeros(()), scale)
            else:
                found[f"{name}, {side}"] = AtMost(torch.tensor(1e-9).double(), value.abs() / scale, 1.0)
    return found


def cell_means(z: Tensor, k: Tensor) -> Tensor:
    """The mean of the latents (n, d) of each cell, at each of its latents (n, d); k (n,) numbers the cells."""
    return torch.stack([z[k == k[i]].mean(0) for i in range(len(z))])


@law(chapter=5, kinds=GENERIC)
def centroids(draw, n, d, t):
    """Where each code is the mean of its latents, E<z, z - q> = E|z - q|^2: commitment shrinks (E, b).

    With codes further out than their latents, q = (1 + t) z, it is negative, and commitment lengthens it.
    """
    z, k = draw(n, d).double(), torch.arange(n) % 4
    q, outside = cell_means(z, k), (1 + t) * z
    return {
        "centroids": (total(z, z - q), total(z - q, z - q)),
        "codes further out": AtMost(total(z, z - outside), -t * total(z, z)),
    }
