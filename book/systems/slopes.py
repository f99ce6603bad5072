r"""What a small step of a latent does to the loss, and least squares of it by what an estimator may know.

With codes fixed, the loss of a latent z is piecewise constant. Its mean over a ball of radius :math:`\rho` is not:

.. math:: F(z) = E_v\,L(Q(z + \rho v)), \qquad
          \nabla F(z) = \frac{d}{\rho}\,E_u\,L(Q(z + \rho u))\,u, \qquad v \in \text{ball}, u \in \text{sphere}

(Flaxman, Kalai and McMahan 2005, lemma 2.1). :func:`slopes` estimates the gradient by differences along random
orthonormal frames, which is without bias, and exact where L(Q(z)) is linear. An estimator answers with
:math:`G^\top g` instead. :class:`Fit` finds the coefficients, by bins of the angle and of r, with which some
:func:`columns` come nearest to the slopes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rotvq import ESTIMATORS
from rotvq.quantizers.geometry import directions, dot, geometry

ANGLES = (10.0, 20.0, 30.0, 45.0)  # degrees between bins
RATIOS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 0.8, 1.25)  # r between bins
BINS = (len(ANGLES) + 1) * (len(RATIOS) + 1)
SHARE = 0.02  # the weight with which every bin counts the vectors of all bins
PAIR = ("g", "R g")
PLANE = ("a a", "a b", "b a", "b b")
FITS = {"pair": PAIR, "linear": PAIR + PLANE, "neighbour": (*PAIR, *PLANE, "face")}  #: columns of what is fitted


def frames(groups: int, dim: int, count: int, noise: torch.Generator) -> Tensor:
    """Random orthonormal directions, ``count`` of each group, (groups, count, dim)."""
    square, upper = torch.linalg.qr(torch.randn(groups, dim, dim, generator=noise))
    signs = upper.diagonal(dim1=-2, dim2=-1).sign()  # so that every rotation is as likely as any other
    return (square * signs[:, None]).transpose(-1, -2)[:, :count]


def moved(z: Tensor, codes: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of z ahead and behind along some directions, two tensors of indices (G, n, m).

    Args:
        z: latents in groups, (G, n, d).
        codes: (K, d).
        step: directions times the radius, (G, m, d), one set for each group.
    """
    here = codes.square().sum(-1) / 2 - z @ codes.T  # of |z - c|^2 / 2, what hangs on c
    there = (step @ codes.T)[:, None]
    return (here[:, :, None] - there).argmin(-1), (here[:, :, None] + there).argmin(-1)


def slopes(z: Tensor, codes: Tensor, g: Tensor, radius: float | Tensor, frame: Tensor) -> Tensor:
    """The gradient of the smoothed loss, with the decoder taken as linear around the code, (G, n, d).

    Args:
        z: latents in groups, (G, n, d).
        codes: (K, d).
        g: gradients at their codes, (G, n, d).
        radius: of the ball.
        frame: orthonormal directions of each group, (G, m, d); fewer than d of them give a noisier answer.
    """
    ahead, behind = moved(z, codes, radius * frame)
    change = g @ codes.T  # of the loss, up to what is the same for all codes: (G, n, K)
    difference = (change.gather(-1, ahead.flatten(2)) - change.gather(-1, behind.flatten(2))) / (2 * radius)
    return difference @ frame * (z.shape[-1] / frame.shape[1])


def decoder_slopes(
    loss: Callable[[Tensor], Tensor], z: Tensor, places: Tensor, codes: Tensor, radius: float | Tensor, frame: Tensor
) -> Tensor:
    """The same of one latent of each image, with the decoder as it is, (B, d).

    Args:
        loss: of codes (m, B, n, d), one of each image, (m, B).
        z: all latents, (B, n, d).
        places: which latent of each image moves, (B,).
        codes: (K, d).
        radius: of the ball.
        frame: orthonormal directions, (B, d, d).
    """
    rows = torch.arange(len(z), device=z.device)
    still = codes[moved(z, codes, torch.zeros_like(frame[:, :1]))[0].squeeze(-1)]
    losses = []
    for side in moved(z[rows, places][:, None], codes, radius * frame):
        tried = side.squeeze(1).T  # a direction a row: (d, B)
        put = still.expand(len(tried), *still.shape).clone()
        put[:, rows, places] = codes[tried]
        losses.append(torch.cat([loss(some) for some in put.split(8)]))
    ahead, behind = losses
    return torch.einsum("mb,bmd->bd", (ahead - behind) / (2 * radius), frame)


def faces(z: Tensor, q: Tensor, g: Tensor, codes: Tensor, radius: float | Tensor) -> Tensor:
    r"""The gradient of the smoothed loss if q and the second nearest code were the only codes, (N, d).

    .. math:: \delta\,f(\tau)\,n \langle n, g\rangle, \qquad
              f(\tau) = \frac{(1 - \tau^2/\rho^2)_+^{(d-1)/2}}{\rho\,B(\frac12, \frac{d+1}2)}

    n is the unit vector from q to that code, delta their distance, tau that of z from the face between them, and f the
    density of a coordinate of the ball. This is chapter 7's proposition on a face, for another noise.
    """
    d = z.shape[-1]
    second = codes[(codes.square().sum(-1) / 2 - z @ codes.T).topk(2, largest=False).indices[..., 1]]
    gap = (second - q).norm(dim=-1, keepdim=True).clamp_min(1e-12)
    normal = (second - q) / gap
    tau = dot(normal, (q + second) / 2 - z)
    beta = math.exp(math.lgamma(0.5) + math.lgamma((d + 1) / 2) - math.lgamma(d / 2 + 1))
    density = (1 - (tau / radius).square()).clamp_min(0) ** ((d - 1) / 2) / (radius * beta)
    return gap * density * normal * dot(normal, g)


def columns(names: Sequence[str], z: Tensor, q: Tensor, g: Tensor, face: Tensor | None = None) -> Tensor:
    """What a fit combines, (N, k, d).

    ``a b`` stands for :math:`a \\langle b, g\\rangle` with unit vectors a of z and b of q. A transform of g that is
    linear, and turns along when z and q are turned, is a combination of ``g`` and the four of :data:`PLANE`, whose
    coefficients depend on the lengths and the angle of z and q alone (d of 3 and more). At one angle ``R g`` is one.
    """
    a, b, _ = directions(z, q)
    along = {"a": (a, dot(a, g)), "b": (b, dot(b, g))}
    made = {f"{x} {y}": along[x][0] * along[y][1] for x in along for y in along}
    made |= {"g": g, "R g": ESTIMATORS["rotation_only"].pull_back(z, q, g), "face": face}
    return torch.stack([made[name] for name in names], -2)


def bins(z: Tensor, q: Tensor) -> Tensor:
    """The bin of each pair, int64 (N,): that of the angle times the number of those of r, plus that of r."""
    r, angle = geometry(z, q)
    row = torch.bucketize(angle.rad2deg(), angle.new_tensor(ANGLES))
    return row * (len(RATIOS) + 1) + torch.bucketize(r, r.new_tensor(RATIOS))


class Fit:
    """Least squares of slopes by some columns, with coefficients of their own in every bin.

    Args:
        names: of the :func:`columns`.
        decay: of the sums from one observation to the next; 1 sums everything.
        share: weight with which each bin counts the vectors of all bins, so that an empty one takes their answer.
        device: of the sums, and of what is observed.
    """

    def __init__(self, names: Sequence[str], decay: float = 1.0, share: float = SHARE, device: str = "cpu"):
        self.names, self.decay, self.share = tuple(names), decay, share
        k = len(self.names)
        self.gram, self.right = (torch.zeros(BINS, *shape, device=device).double() for shape in ((k, k), (k,)))
        self.coefficients = torch.zeros(BINS, k, device=device)

    def observe(self, given: Tensor, slope: Tensor, bin_of: Tensor) -> None:
        """Take in columns (N, k, d), slopes (N, d) and bins (N,), and solve."""
        given, slope = given.double(), slope.double()
        self.gram.mul_(self.decay).index_add_(0, bin_of, given @ given.transpose(-1, -2))
        self.right.mul_(self.decay).index_add_(0, bin_of, (given @ slope[..., None]).squeeze(-1))
        self.coefficients = solve(self.gram, self.right, self.share).float()

    def __call__(self, given: Tensor, bin_of: Tensor) -> Tensor:
        """The prediction, (N, d)."""
        return torch.einsum("nk,nkd->nd", self.coefficients[bin_of], given)


def solve(gram: Tensor, right: Tensor, share: float = SHARE) -> Tensor:
    """The coefficients of every bin, (bins, k), from sums of products; those of least norm where several are best."""
    gram, right = gram + share * gram.sum(0), right + share * right.sum(0)
    return (torch.linalg.pinv(gram, rtol=1e-6, hermitian=True) @ right[..., None]).squeeze(-1)


class Network(nn.Module):
    """A fitted linear transform and a correction by a small network, which need not be linear in g.

    The network sees log r, the angle, and the angles of g with z and with q. It answers with coefficients of
    ``g``, ``|g| a`` and ``|g| b``, so it turns along when z, q and g are turned. It starts at no correction.
    """

    def __init__(self, seed: int, hidden: int = 32, rate: float = 1e-2, rounds: int = 5, device: str = "cpu"):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, 3))
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)
        self.layers.to(device)
        self.rounds, self.size = rounds, 1.0
        self.optimizer = torch.optim.Adam(self.layers.parameters(), lr=rate)

    def forward(self, linear: Tensor, z: Tensor, q: Tensor, g: Tensor) -> Tensor:
        """The prediction, (N, d), from that of the linear fit."""
        a, b, r = directions(z, q)
        size = g.norm(dim=-1, keepdim=True)
        unit = g / size.clamp_min(1e-30)
        angle = geometry(z, q)[1][..., None]
        seen = torch.cat([r.clamp(1e-3, 1e3).log(), angle, dot(a, unit), dot(b, unit)], -1)
        weights = self.size * self.layers(seen)
        parts = torch.stack([g, size * a, size * b], -2)
        return linear + (weights[..., None] * parts).sum(-2)

    @torch.enable_grad()
    def observe(self, linear: Tensor, z: Tensor, q: Tensor, g: Tensor, slope: Tensor) -> None:
        """A few steps of Adam towards some slopes (N, d)."""
        self.size = (slope.square().sum() / g.square().sum()).sqrt().item()
        for _ in range(self.rounds):
            error = (self(linear, z, q, g) - slope).square().sum() / slope.square().sum().clamp_min(1e-30)
            self.optimizer.zero_grad()
            error.backward()
            self.optimizer.step()


@dataclass(frozen=True)
class Score:
    """How near predictions p are to slopes s that are known twice, with independent noise.

    Args:
        cosine: of all p and all s, taken as two long vectors. The size of s is that of the product of its two
            estimates, from which the noise has gone.
        size: the ratio of their lengths, |p| / |s|.
    """

    cosine: float
    size: float

    @property
    def error(self) -> float:
        """``|p - s|^2 / |s|^2``; the best factor on p makes it ``1 - cosine^2``."""
        return 1 - 2 * self.cosine * self.size + self.size**2


def score(predicted: Tensor, once: Tensor, again: Tensor) -> Score | None:
    """Of predictions and two estimates of the slopes, (N, d); None where the slopes are not told from 0."""
    square, own = (once * again).sum().item(), predicted.square().sum().item()
    if square <= 0 or own <= 0:
        return None
    product = (predicted * (once + again)).sum().item() / 2
    return Score(product / math.sqrt(own * square), math.sqrt(own / square))


def cosine_of_fit(coefficients: Tensor, sums: Mapping[str, Any]) -> float:
    """The cosine of given coefficients of the pair, (bins, 2), on the summed products of other latents."""
    gram, right = torch.tensor(sums["gram"]).double(), torch.tensor(sums["right"]).double()
    product = (coefficients * right).sum()
    own = torch.einsum("bi,bij,bj->", coefficients, gram, coefficients)
    return (product / (own * sum(sums["square"])).sqrt()).item()
