r"""Laws of chapter 25: the push that the rotation adds to every latent, and what comes of it.

With e = q - z, g = dL_rec/dz_q and G = rR about a centre mu, the rotation adds (G^T - I) g to what STE passes on. For a
decoder of curvature h, g = h e + g_bar with the gradient g_bar without quantiser. Where codes are the means of their
latents and g_bar is the same in a cell and short, the mean of what is added is about

.. math:: h\, \mathbb E\Big[|e|^2 \frac{z - \mu}{|z - \mu|^2}\Big],

the same push for all latents where they lie far from the centre. A step of descent takes the opposite: inwards. The
module has the laws, a small simulation of the race between latents and codes, and the same measured in a network.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from book.algebra import angle, dot, nearest, norm, pull_back, unit
from book.statements import AtMost, law
from book.theory.conserved import CARRIERS, SMALL, Network, mean_product
from book.theory.inputs import GENERIC
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.training import images
from rotvq.training.config import Config
from rotvq.training.train import Run

CHAPTER = 25
PLANE_AND_MORE = (2, 3, 8, 64)


def added(member: str, z: Tensor, q: Tensor, g: Tensor, centre: Tensor | None = None) -> Tensor:
    """``(G^T - I) g``: what an estimator adds to STE's gradient, (n, d)."""
    return pull_back(member, z, q, g, centre=centre) - g


def leading_push(z: Tensor, q: Tensor, curvature: float | Tensor, centre: Tensor | float = 0.0) -> Tensor:
    r"""The leading order of E[(G^T - I) g] about a centre, ``h E[|q - z|^2 (z - centre)/|z - centre|^2]``, shape (d,).

    Args:
        z: Latents (n, d).
        q: Their codes (n, d).
        curvature: h, the second derivative of the loss of one latent, on average along q - z.
        centre: The point about which the estimator turns and scales, (d,) or 0.

    >>> leading_push(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.8, 0.6]]), curvature=1.0)
    tensor([0.4000, 0.0000], dtype=torch.float64)
    """
    away = z.double() - centre
    return (curvature * dot(q - z, q - z) * away / dot(away, away)).mean(0)


# one latent


@law(CHAPTER)
def push_of_own_error(z, q):
    "(G^T - I) e = |e|^2 z/|z|^2 for e = q - z, exactly: of the error's own gradient the rotation makes a push along z."
    z, q = z.double(), q.double()
    e = q - z
    return added("rotation", z, q, e), dot(e, e) * z / dot(z, z), (1 + norm(q) / norm(z)) * norm(e)


@law(CHAPTER, members=CARRIERS)
def radial_push(z, q, g, member):
    "<(G^T - I) g, z> = <g, e> for every G with G z = q: its part along z is the price of the balance law."
    z, q, g = z.double(), q.double(), g.double()
    return dot(added(member, z, q, g), z), dot(g, q - z), norm(g) * (norm(z) + norm(q))


@law(CHAPTER, dims=PLANE_AND_MORE)
def shares_of_turn_and_gain(z, q):
    """Along z the turn adds (1 - c)(|q| + |z|) to e, the gain (r - 1)(r c - 1)|z|, both together |e|^2/|z|.

    c = cos(theta). The turn's part is never negative; the gain's is, where r lies between 1 and 1/c.
    """
    z, q = z.double(), q.double()
    a, e, r, theta = unit(z), q - z, norm(q) / norm(z), angle(z, q)
    c, one_minus_c = theta.cos(), 2 * (theta / 2).sin() ** 2
    scale = (1 + r) * norm(e)
    return {
        "turn": (dot(added("rotation_only", z, q, e), a), one_minus_c * (norm(q) + norm(z)), scale),
        "gain": (dot(added("scale_only", z, q, e), a), (r - 1) * (r * c - 1) * norm(z), scale),
        "both": (dot(added("rotation", z, q, e), a), dot(e, e) / norm(z), scale),
    }


@law(CHAPTER, dims=PLANE_AND_MORE)
def gain_past_one(z, q):
    "Along z rR adds |z| (r - 1)(r - cos(theta)) more to e than R alone: less where cos(theta) < r < 1, else not less."
    z, q = z.double(), q.double()
    a, e, r, c = unit(z), q - z, norm(q) / norm(z), angle(z, q).cos()
    alone, gained = (dot(added(member, z, q, e), a) for member in ("rotation_only", "rotation"))
    return gained - alone, norm(z) * (r - 1) * (r - c), (1 + r) * norm(e)


def isotropic_errors(draw, d: int, length: float, frames: int = 8) -> Tensor:
    """Vectors whose mean is 0 and whose outer products average to a multiple of I: frames and their mirror images."""
    rows = torch.linalg.qr(draw(frames, d, d).double())[0].reshape(-1, d)
    return length * torch.cat([rows, -rows])


@law(CHAPTER, kinds=GENERIC, dims=PLANE_AND_MORE, tolerance=1e-4)
def isotropic_shares(draw, d):
    "Short isotropic e, g = h e: the turn gives the share (d-1)/d of the push h D z/|z|^2, the gain 1/d."
    z, h = draw(1, d).double(), float(draw(1).double().exp())
    e = isotropic_errors(draw, d, 1e-3 * float(norm(z)))
    z = z.expand_as(e)
    push = h * float(dot(e, e).mean()) * unit(z)[:1] / norm(z)[:1]
    parts = {member: added(member, z, z + e, h * e).mean(0, keepdim=True) for member in ("rotation_only", "scale_only")}
    return {
        "turn": (parts["rotation_only"], (d - 1) / d * push, norm(push)),
        "gain": (parts["scale_only"], push / d, norm(push)),
    }


def without_quantiser(g_bar: Tensor, e: Tensor, h: float) -> Tensor:
    """The gradient without quantiser of the latents of some cells: g_bar of its cell, the same for all its latents."""
    return g_bar.expand_as(e)


def centred(e: Tensor) -> Tensor:
    """Errors (cells, latents, d) whose mean is 0 in each cell: codes are centroids."""
    return e - e.mean(1, keepdim=True)


@law(CHAPTER, kinds=GENERIC, dims=PLANE_AND_MORE)
def drift_of_cells(draw, d, mu):
    """For centroid codes E[(G^T - I) g] about mu is the push h E[|e|^2 x/|x|^2], x = z - mu, and a bounded remainder.

    Here g = g_bar + h e, with g_bar the same in each cell. The remainder is a vector no longer than
    E[|g_bar| |e|^2 (1/(|x| |y|) + 1/(2 |x|^2))], y = q - mu. Errors may have any size.
    """
    y, mu, h, found = draw(4, 1, d).double(), mu.double(), float(draw(1).double().exp()), {}
    g_bar = 0.1 * h * norm(y) * unit(draw(4, 1, d).double())
    for name, size in (("short errors", 0.02), ("long errors", 2.0)):
        e = centred(size * norm(y) * draw(4, 6, d).double() / d**0.5)
        arrives = without_quantiser(g_bar, e, h) + h * e
        x, from_centre, e, g, plain = (v.expand_as(e).reshape(-1, d) for v in (y - e, y, e, arrives, arrives - h * e))
        z, codes = x + mu, from_centre + mu
        gap = added("rotation", z, codes, g, mu).mean(0) - leading_push(z, codes, h, mu)
        left_out = norm(plain) * dot(e, e) * (1 / (norm(x) * norm(from_centre)) + 1 / (2 * dot(x, x)))
        scale = h * norm(e).mean() * (1 + norm(from_centre) / norm(x)).max() * (1 + norm(mu) / norm(x)).max()
        found[name] = AtMost(norm(gap), left_out.mean(), scale)
    return found


@law(CHAPTER, kinds=GENERIC, dims=PLANE_AND_MORE, tolerance=1e-4)
def centroid_cells(draw, d):
    """In a cell whose code is the centroid the rotation adds a mean push of the order D = E|e|^2 to g = h e + g_bar.

    With z = q - e and isotropic e the mean of (G^T - I) g is (D/|q|^2) (h q - (d-2)/d of g_bar's part along q
    - (d-2)/(2d) of that across), to leading order in D.
    """
    q, g_bar, h = draw(1, d).double(), draw(1, d).double(), float(draw(1).double().exp())
    e = isotropic_errors(draw, d, 1e-3 * float(norm(q)))
    D = float(dot(e, e).mean())
    every = q.expand_as(e)
    radial = dot(g_bar, unit(q)) * unit(q)
    found = added("rotation", every - e, every, h * e + g_bar).mean(0, keepdim=True)
    stated = D / norm(q) ** 2 * (h * q - (d - 2) / d * radial - (d - 2) / (2 * d) * (g_bar - radial))
    return found, stated, D / norm(q) ** 2 * (h * norm(q) + norm(g_bar))


# many latents


@law(CHAPTER, kinds=GENERIC, dims=SMALL)
def push_is_a_potential(draw, n, d, mu):
    "The leading push about mu is minus the gradient, in mu, of h E[|e|^2 ln|z - mu|]."
    z, e, h = draw(n, d).double(), draw(n, d).double(), float(draw(1).double().exp())
    centre = mu.double().requires_grad_()
    potential = (h * dot(e, e) * norm(z - centre).log()).mean()
    (slope,) = torch.autograd.grad(potential, centre)
    return leading_push(z, z + e, h, centre.detach()), -slope, h * (dot(e, e) / norm(z - centre.detach())).mean()


@law(CHAPTER, kinds=GENERIC, dims=SMALL, roundings=3000)
def alike_for_all(draw, n, d, mu):
    """Pushes differ little far from the centre: those of two latents by |z - w|/(|z - mu| |w - mu|) for h |e|^2 = 1.

    The directions of their errors do not matter. The difference is the share |z - w|/|w - mu| of the push of z. For h
    and |e| of any size pushes are h |e|^2 times as large.
    """
    mu, h = mu.double(), float(draw(1).double().exp())
    (z, e), (w, f) = draw(2, 2, n, d).double()
    pushes = {
        "z": push_of_error(z, e, mu),
        "w": push_of_error(w, f, mu),
        "long": added("rotation", z, z + e, h * e, mu),
    }
    x, y = norm(z - mu), norm(w - mu)
    gap, rounding = norm(pushes["z"] - pushes["w"]), (1 + x / norm(e)) / x + (1 + y / norm(f)) / y
    return {
        "gap": (gap, norm(z - w) / (x * y), rounding),
        "share": (gap / norm(pushes["z"]), norm(z - w) / y, rounding * x),
        "size": (pushes["long"], h * dot(e, e) * pushes["z"], h * norm(e) * (1 + norm(e) / x)),
    }


def push_of_error(z: Tensor, e: Tensor, centre: Tensor) -> Tensor:
    """What the rotation about the centre adds to the gradient of the error e, g = e, over |e|^2, (n, d)."""
    return added("rotation", z, z + e, e, centre) / dot(e, e)


@law(CHAPTER, kinds=GENERIC, dims=SMALL)
def cancels_about_the_middle(draw, n, d, mu):
    "About the middle of a cloud that is symmetric, errors too, the pushes of the latents cancel."
    x, e, h = draw(n, d).double(), draw(n, d).double(), float(draw(1).double().exp())
    z = torch.cat([mu.double() + x, mu.double() - x])
    push = leading_push(z, z + torch.cat([e, e]), h, mu.double())
    return push, torch.zeros(d), h * (dot(e, e) / norm(x)).mean()


@law(CHAPTER, kinds=GENERIC, dims=SMALL, roundings=3000)
def lag_at_balance(member, draw, n, d, mu):
    "Where b is at rest, E[q - z] = E[G^T g]/(2 gamma): latents that share a push stand behind their codes."
    net = Network(draw, n, d, decayed=False)
    b_velocity = net.run(member, mu.double()).b
    lag = net.e.mean(0)
    scale = (norm(net.u).mean() + net.gamma * norm(net.e).mean()) / net.gamma
    return lag - b_velocity / (2 * net.gamma), net.u.mean(0) / (2 * net.gamma), scale


@law(CHAPTER, kinds=GENERIC, dims=SMALL, members=CARRIERS)
def lag_alone_adds_nothing(member, draw, n, d):
    """Slide all latents by s with codes and assignments kept: <g, e> changes by -<E g, s> on average.

    So E<g, e> stays where b_W is at rest, which makes E g = 0: it grows because latents change to codes that fit worse.
    """
    z, q, s = draw(n, d).double(), draw(n, d).double(), draw(d).double()
    g = draw(n, d).double()
    g = g - g.mean(0)  # what the stationary b_W says
    before, after = (mean_product(added(member, at, q, g), at) for at in (z, z + s))
    return after, before, (norm(g) * (norm(z) + norm(z + s) + norm(q))).mean()


# a model of the race: the lag l of a cloud at distance m, with E<g, e> = h (D + k l)


def balanced_lag(distance: float, push: float, growth: float, gamma: float) -> float | None:
    """The lag at which commitment holds the cloud, ``push/(2 gamma distance - growth)``; None where it cannot.

    A cloud at this distance from the centre is pushed inwards by ``(push + growth * lag)/distance``, where ``push`` is
    ``h D`` and ``growth`` says by how much E<g, e> grows with the lag. Commitment pulls back by ``2 gamma lag``.

    >>> balanced_lag(4.0, push=1.0, growth=2.0, gamma=0.5), balanced_lag(4.0, push=1.0, growth=4.0, gamma=0.5)
    (0.5, None)
    """
    margin = 2 * gamma * distance - growth
    return push / margin if margin > 0 else None


@law(CHAPTER, kinds=GENERIC, dims=(1,), roundings=3000)
def held_or_lost(draw, n):
    """The lag's rate (push + growth l)/m - 2 gamma l has a rest point l > 0 exactly if m > growth/(2 gamma).

    It is stable. Nearer to the centre the lag grows without bound.
    """
    found = {}
    for i, row in enumerate(draw(n, 4).double().exp().tolist()):
        distance, push, growth, gamma = row
        rate = lambda lag: (push + growth * lag) / distance - 2 * gamma * lag  # noqa: B023, E731
        lag = balanced_lag(distance, push, growth, gamma)
        if lag is None:
            least = min(rate(10.0**k) for k in range(-6, 7))
            found[f"{i} lost"] = AtMost(torch.zeros(()), torch.tensor(least), 1.0)
        else:
            scale = push / distance + 2 * gamma * lag
            found[f"{i} at rest"] = (torch.tensor(rate(lag)), torch.zeros(()), scale)
            found[f"{i} from above"] = AtMost(rate(1.01 * lag), -0.005 * push / distance, scale)
            found[f"{i} from below"] = AtMost(0.005 * push / distance, rate(0.99 * lag), scale)
    return found


# a simulation of the race


@dataclass(frozen=True)
class Race:
    """A run of :func:`race`; everything is a series with one entry a step, the first before any step.

    Attributes:
        latent: The mean latent (steps + 1, d).
        code: The mean of the codes in use (steps + 1, d).
        usage: The share of codes in use.
        push: ``-<E[(G^T - I) g], a>`` with a the direction of the mean latent from the centre: below 0, inwards.
        latents: The latents at the end (n, d).
        codes: The codes at the end (K, d).
    """

    latent: Tensor
    code: Tensor
    usage: Tensor
    push: Tensor
    latents: Tensor
    codes: Tensor


def race(
    z: Tensor,
    codes: Tensor,
    *,
    member: str = "rotation",
    about: str = "origin",
    follow: float = 0.0,
    curvature: float = 1.0,
    gamma: float = 0.1,
    rate: float = 0.05,
    steps: int = 400,
) -> Race:
    """Latents that move as one, b' = -E[G^T g] - 2 gamma E[z - q], and codes that follow the means of their latents.

    The decoder is frozen but for its bias: a latent's loss is ``h |z_q - y|^2/2`` with y where the latent was, so the
    gradient without quantiser is 0 at the start, and E g = 0 throughout.

    Args:
        z: Latents (n, d), float64.
        codes: Codes (K, d), float64.
        member: An estimator.
        about: "origin", "codes" or "latents": what it turns about, 0, the mean of all codes or of all latents.
        follow: The rate at which a code in use approaches the mean of its latents.
        curvature: h.
        gamma: The commitment weight.
        rate: The size of a step.
        steps: How many.
    """
    wanted, series = z, []
    for step in range(steps + 1):
        index = nearest(z, codes)
        q = codes[index]
        g = curvature * (q - wanted)
        g = g - g.mean(0)
        centre = {"origin": torch.zeros_like(codes[0]), "codes": codes.mean(0), "latents": z.mean(0)}[about]
        felt = pull_back(member, z, q, g, centre=centre)
        counts = torch.bincount(index, minlength=len(codes)).double()[:, None]
        used = counts > 0
        usage, outward = used.double().mean(), unit(z.mean(0) - centre)
        series.append((z.mean(0), codes[used[:, 0]].mean(0), usage, -(felt - g).mean(0) @ outward))
        if step == steps:
            break
        z = z - rate * (felt + 2 * gamma * (z - q)).mean(0)
        means = torch.zeros_like(codes).index_add(0, index, z) / counts.clamp_min(1)
        codes = torch.where(used, codes + rate * follow * (means - codes), codes)
    return Race(*(torch.stack(column) for column in zip(*series)), z, codes)


# about the mean latent


@law(CHAPTER, kinds=GENERIC, dims=PLANE_AND_MORE, roundings=3000)
def mean_latent_runs_away(draw, n, d):
    """About the mean latent, with x = z - mean z and m = mean z - q, <G^T g, m> = <g, |m|^2 x - 2 <m, x> m>/|x|^2.

    One code, g = g_0 - h x with one g_0, x symmetric and isotropic: -h (d-2)/d m is the part of E[G^T g] along m, and
    all of it where g_0 = 0. Several codes: along the mean of m it is E<G^T g, m>, but for E[|g| |m| |q - mean q|/|x|].
    """
    z, q, g = draw(3, max(n, 3), d).double()
    centre = z.mean(0)
    x, m, felt = z - centre, centre - q, pull_back("rotation", z, q, g, centre=centre)
    stated = dot(g, dot(m, m) * x - 2 * dot(m, x) * m) / dot(x, x)
    off_the_mean = norm(g) * norm(m) * norm(q - q.mean(0)) / norm(x)
    scale = norm(g) * norm(m) * (norm(m) + norm(m.mean(0))) / norm(x)
    cloud, far, g_0 = isotropic_errors(draw, d, 1.0), 3 * draw(1, d).double(), draw(1, d).double()
    h, codes = float(draw(1).double().exp()), torch.zeros_like(cloud)
    pushed, alone = (
        pull_back("rotation", far + cloud, codes, same - h * cloud, centre=far[0]).mean(0, keepdim=True)
        for same in (g_0, 0 * g_0)
    )
    rate, size = -h * (d - 2) / d, norm(far) * (h + norm(g_0))
    gap = (dot(felt, m.mean(0)).mean() - stated.mean()).abs()
    return {
        "pairs": (dot(felt, m), stated, scale),
        "one code": (dot(pushed, far), rate * dot(far, far), norm(far) * size),
        "nothing common": (alone, rate * far, size),
        "several codes": AtMost(gap, off_the_mean.mean(), scale.mean()),
    }


# the same in a network


def warmed_up(seed: int, pretrain_steps: int = 500, **changes: Any) -> tuple[nn.Module, images.Images]:
    """The book's network after a warm-up without quantiser, its codes just placed by k-means, and its data.

    Args:
        seed: Of the run.
        pretrain_steps: The length of the warm-up.
        changes: Further fields of the Config.
    """
    config = Config(estimator="rotation", init="kmeans", pretrain_steps=pretrain_steps, steps=0, seed=seed, **changes)
    run = Run.from_config(config)  # not fit, which also evaluates two splits
    while run.step < 0:
        run.pretrain_step()
    run.start_codes()
    return run.model.eval(), run.data


@dataclass(frozen=True)
class Pairs:
    """Latents, codes and gradients of a batch; a row is a latent. Gradients are scaled so that means add up.

    Attributes:
        z: Latents (n, d), float64.
        q: Their codes.
        g: dL_rec/dz_q at q.
        g_at_z: The same where the decoder sees z: the gradient without quantiser.
    """

    z: Tensor
    q: Tensor
    g: Tensor
    g_at_z: Tensor

    @property
    def curvature(self) -> float:
        """``E<g(q) - g(z), q - z>/E|q - z|^2``: the decoder's second derivative along the quantisation error."""
        e = self.q - self.z
        return float(mean_product(self.g - self.g_at_z, e) / mean_product(e, e))


def pairs_of(model: nn.Module, data: images.Images, count: int = 192, start: int = 0) -> Pairs:
    """The :class:`Pairs` of ``count`` training images from the one of number ``start`` on."""
    x = data.normalise(data.train[start : start + count])
    with torch.no_grad():
        z = model.encode(x)
        q = model.quantizer.codes[model.quantizer.encode(z)]

    def slope(z_q: Tensor) -> Tensor:
        z_q = z_q.detach().requires_grad_()
        loss = (model.decode(z_q) - x).square().mean()
        return torch.autograd.grad(loss, z_q)[0]

    rows = [part.detach().flatten(0, -2).double() for part in (z, q, slope(q), slope(z))]
    n = len(rows[0])
    return Pairs(rows[0], rows[1], n * rows[2], n * rows[3])


@dataclass(frozen=True)
class FirstStep:
    """What the rotation adds to STE's mean gradient before the first step, along the mean latent, per mean \\|g\\|.

    Attributes:
        measured: ``E[(G^T - I) g]``.
        predicted: :func:`leading_push` with the decoder's measured curvature.
        turn: What R alone adds.
        gain: What r alone adds.
        ste: ``E g`` itself.
        about_codes: ``E[(G^T - I) g]`` about the mean code.
        curvature: h.
        distortion: ``D = E|q - z|^2``.
        distance: The length of the mean latent.
        left_over: ``E<gbar, e>`` as a share of ``hD``, gbar the gradient without quantiser: 0 where h explains all.
        spread: The standard deviation of ``|e|^2`` over its mean.
        alike: The share of latents that the rotation alone pushes inwards.
    """

    measured: float
    predicted: float
    turn: float
    gain: float
    ste: float
    about_codes: float
    curvature: float
    distortion: float
    distance: float
    left_over: float
    spread: float
    alike: float

    @property
    def relative_error(self) -> float:
        """Of the prediction."""
        return self.predicted / self.measured - 1


def first_step(model: nn.Module, data: images.Images, count: int = 192, start: int = 0) -> FirstStep:
    """Measure the push in a network, and predict it. Both see the same latents, codes and decoder.

    Args:
        model: A network from :func:`warmed_up`.
        data: Its data.
        count: The number of training images.
        start: The number of the first of them.
    """
    pairs = pairs_of(model, data, count, start)
    z, q, g = pairs.z, pairs.q, pairs.g
    outward, size = unit(z.mean(0)), norm(g).mean()
    mean_code = model.quantizer.codes.detach().double().mean(0)

    def along(vectors: Tensor) -> float:
        return float(vectors @ outward / size)

    parts = {member: along(added(member, z, q, g).mean(0)) for member in ("rotation", "rotation_only", "scale_only")}
    squares, distortion = dot(q - z, q - z), float(mean_product(q - z, q - z))
    return FirstStep(
        measured=parts["rotation"],
        predicted=along(leading_push(z, q, pairs.curvature)),
        turn=parts["rotation_only"],
        gain=parts["scale_only"],
        ste=along(g.mean(0)),
        about_codes=along(added("rotation", z, q, g, mean_code).mean(0)),
        curvature=pairs.curvature,
        distortion=distortion,
        distance=float(norm(z.mean(0))),
        left_over=float(mean_product(g, q - z)) / (pairs.curvature * distortion) - 1,
        spread=float(squares.std() / squares.mean()),
        alike=float((added("rotation", z, q, g) @ outward > 0).double().mean()),
    )


@dataclass(frozen=True)
class Curves:
    """Push and commitment against how far all latents have slid towards the centre, with the codes where they were.

    Attributes:
        slid: The distances.
        push: ``<E[(G^T - I) g], a>``, a the direction of the mean latent: what drives them on.
        commitment: ``2 gamma <E[q - z], a>``: what holds them.
        usage: The share of codes in use.
    """

    slid: list[float]
    push: list[float]
    commitment: list[float]
    usage: list[float]


@torch.no_grad()
def push_and_commitment(
    model: nn.Module, data: images.Images, slid: Sequence[float], about: str = "origin", count: int = 128
) -> Curves:
    """The :class:`Curves` of a network. The mean of g is taken out, as the decoder's bias does.

    Args:
        model: A network from :func:`warmed_up`.
        data: Its data.
        slid: Distances.
        about: "origin" or "codes".
        count: The number of training images.
    """
    x = data.normalise(data.train[:count])
    z_there, codes = model.encode(x), model.quantizer.codes.detach()
    outward = unit(z_there.flatten(0, -2).mean(0)).float()
    centre = codes.mean(0) if about == "codes" else None
    gamma = model.quantizer.gamma / codes.shape[1]  # of losses that are means over coordinates
    curves = Curves(list(slid), [], [], [])
    for distance in slid:
        z = z_there - distance * outward
        index = model.quantizer.encode(z)
        with torch.enable_grad():
            z_q = codes[index].requires_grad_()
            (g,) = torch.autograd.grad((model.decode(z_q) - x).square().mean(), z_q)
        z, q, g = (part.detach().flatten(0, -2) for part in (z, z_q, g))
        g = len(z) * (g - g.mean(0))
        curves.push.append(float(added("rotation", z, q, g, centre).mean(0) @ outward))
        curves.commitment.append(float(2 * gamma * (q - z).mean(0) @ outward))
        curves.usage.append(len(index.unique()) / len(codes))
    return curves


def slide(
    model: nn.Module,
    data: images.Images,
    member: str,
    about: str = "origin",
    *,
    gamma: float | None = None,
    steps: int = 100,
    every: int = 5,
) -> list[dict[str, float]]:
    """Train a copy of a warmed-up network on, with Adam, and say where latents and codes are.

    Args:
        model: A network from :func:`warmed_up`.
        data: Its data.
        member: The estimator.
        about: "origin" or "codebook", as of :class:`rotvq.VectorQuantizer`.
        gamma: The commitment weight, None for the network's own.
        steps: The number of steps.
        every: Steps from one row to the next.

    Returns:
        Rows with ``step``, ``latent`` and ``code``, the components of the mean latent and of the mean code along the
        first mean latent, and ``usage``, of the batch.
    """
    model = copy.deepcopy(model).train()
    quantizer = model.quantizer
    quantizer.estimator, quantizer.centre = ESTIMATORS[member], about
    quantizer.gamma = quantizer.gamma if gamma is None else gamma
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    generator, order = torch.Generator().manual_seed(0), []
    while len(order) <= steps:
        order += torch.randperm(len(data.train), generator=generator).split(32)
    rows, outward = [], None
    for step, chosen in enumerate(order[: steps + 1]):
        x = data.normalise(data.train[chosen]).contiguous(memory_format=torch.channels_last)
        is_row = step % every == 0
        out = quantizer(model.encode(x), details=is_row)
        if is_row:
            latent = out.z.detach().flatten(0, -2).mean(0)
            outward = unit(latent).float() if outward is None else outward
            code = quantizer.codes.detach().mean(0)
            rows.append({"step": step, "latent": float(latent @ outward), "code": float(code @ outward)})
            rows[-1]["usage"] = float(out.usage)
        optimizer.zero_grad()
        ((model.decode(out.z_q) - x).square().mean() + out.loss).backward()
        optimizer.step()
    return rows
