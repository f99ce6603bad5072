"""One fact of each rival's source (chapter 21): the page "All estimators" runs them, and so do the tests.

Where numbers are drawn, the tolerance is five standard errors of what is measured.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from book.algebra import dot, nearest, norm, normal, unit
from book.statements import STATEMENTS, Fact, fact
from rotvq.quantizers.registry import METHODS


def facts() -> dict[str, Fact]:
    """The fact of each rival, by the rival's name.

    >>> fsq = facts()["fsq"]
    >>> fsq.check().claim, fsq.check(make=METHODS["vq"]).claim
    (True, False)
    """
    every = [statement for statement in STATEMENTS.values() if isinstance(statement, Fact)]
    return {one.rival: one for one in sorted(every, key=lambda one: list(METHODS).index(one.rival))}


def _received(quantizer, z: Tensor, g: Tensor) -> Tensor:
    """What z receives when the decoder sends g."""
    z = z.clone().requires_grad_()
    (quantizer(z).z_q * g).sum().backward()
    return z.grad


@fact("vq")
def takes_the_nearest_code(make):
    "The value is the nearest code, and the loss is (beta + gamma) times the mean square of the error."
    vq, z = make(4, 12, init=normal(12, 4, seed=1).float()), normal(50, 4, seed=2).float()
    out, q = vq(z), vq.codes[nearest(z, vq.codes)]
    loss = (vq.beta + vq.gamma) * (z - q).square().mean()
    return torch.cat([out.z_q.flatten(), out.loss[None]]).detach(), torch.cat([q.flatten(), loss[None]]), 1e-5


@fact("simvq")
def one_latent_moves_all(make):
    "A gradient step on one latent moves every code, since all pass through one map."
    vq = make(4, 12, init=normal(12, 4, seed=1).float())
    before = vq.codes.detach().clone()
    vq(normal(1, 4, seed=2).float()).loss.backward()
    with torch.no_grad():
        for parameter in vq.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    share_of_moved_codes = (vq.codes != before).any(1).float().mean()
    return share_of_moved_codes, 1.0, 0.0


@fact("dynamic")
def a_quarter_at_twice_the_distance(make):
    "Of two latents with one code, the nearer keeps its gradient; one twice as far keeps a quarter."
    z, g = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.ones(2, 2)
    vq = make(2, 1, init=torch.zeros(1, 2))
    return _received(vq, z, g), torch.tensor([[1.0, 1.0], [0.25, 0.25]]), 1e-6


@fact("region")
def unused_codes_follow_their_neighbours(make):
    "Codes that no latent chose are pulled towards the latents of the nearest code in use."
    vq = make(2, 3, init=torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 1.0]]))
    vq(torch.tensor([[0.0, 0.0], [0.2, 0.0]])).loss.backward()
    mean = torch.tensor([0.1, 0.0])
    return vq.codebook.weight.grad, 2 * (vq.codes.detach() - mean) / 6, 1e-6


@fact("stablevq")
def quarter_and_neighbours(make):
    "A latent twice as far as another keeps a quarter of the gradient, and codes that no latent chose have a loss."
    z, g = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.ones(2, 2)
    vq = make(2, 2, init=torch.tensor([[0.0, 0.0], [40.0, 0.0]]), gamma=0.0)
    pull = vq(z).loss.detach()  # the mean latent is (0.5, 1): errors of (0.5, 1) and of (39.5, 1)
    wanted = torch.tensor((0.25 + 1 + 39.5**2 + 1) / 4)
    received = _received(vq, z, g).flatten()
    return torch.cat([received, pull[None]]), torch.cat([torch.tensor([1.0, 1.0, 0.25, 0.25]), wanted[None]]), 1e-4


@fact("nsvq")
def only_the_length_of_the_error(make):
    "The error keeps its length and points anywhere: its mean cosine with q - z is 0."
    z, codes = normal(4000, 5, seed=1), normal(1, 5, seed=2)
    away, gap = make(5, 1, init=codes).double()(z).z_q.detach() - z, codes - z
    length = (norm(away) / norm(gap) - 1).abs().max()
    cosine = dot(unit(away), unit(gap)).mean()  # of variance 1/d
    return torch.stack([length, cosine]), torch.zeros(2), torch.tensor([1e-6, 5 / math.sqrt(4000 * 5)])


@fact("diveq")
def misses_the_code_by_its_noise(make):
    "z_q lies as far from z as q does, and misses q by s sqrt(d - 1) in the root mean square, s = 1e-3."
    z, codes = 10 * normal(4000, 5, seed=1), normal(1, 5, seed=2)
    z_q = make(5, 1, init=codes).double()(z).z_q.detach()
    length = (norm(z_q - z) / norm(codes - z) - 1).abs().max()
    missed = (norm(z_q - codes) ** 2).mean() / (1e-6 * 4)  # chi-square with 4 degrees: variance 2/4
    return torch.stack([length, missed]), torch.tensor([0.0, 1.0]), torch.tensor([1e-6, 5 * math.sqrt(0.5 / 4000)])


@fact("diveq_detach")
def splits_the_gradient(make):
    "The part of g along q - z goes to the code, the rest to the encoder."
    z, codes, g = normal(9, 5, seed=1), normal(1, 5, seed=2), normal(9, 5, seed=3)
    vq = make(5, 1, init=codes).double()
    to_encoder, to_code = _received(vq, z, g), vq.codebook.weight.grad
    if to_code is None:
        to_code = torch.zeros_like(codes)
    direction = unit(codes - z)
    along = dot(direction, g) * direction
    return torch.cat([to_encoder, to_code]), torch.cat([g - along, along.sum(0, keepdim=True)]), 1e-6


@fact("sf_diveq")
def projects_onto_the_curve(make):
    "With two codes, evaluation projects onto the segment between them."
    vq = make(2, 2, init=torch.tensor([[0.0, 0.0], [2.0, 0.0]])).eval()
    points = torch.tensor([[0.5, 3.0], [-1.0, 1.0], [1.7, -2.0], [9.0, 0.0]])
    return vq(points).z_q.detach(), torch.tensor([[0.5, 0.0], [0.0, 0.0], [1.7, 0.0], [2.0, 0.0]]), 1e-6


DRAWS = 40_000


def _binary(make) -> tuple[Tensor, Tensor]:
    """First answers of a quantiser with the codes 0 and 1, at temperature 1, and the log odds of code 1."""
    vq = make(1, 2, init=torch.tensor([[0.0], [1.0]])).double()
    with torch.no_grad():
        vq.logits.weight.copy_(torch.tensor([[0.0], [1.0]]))
        vq.logits.bias.zero_()
    z = torch.full((DRAWS, 1), 0.7, dtype=torch.float64)
    return vq(z).z_q.detach(), torch.tensor(0.7).double()


@fact("gumbel")
def drawn_by_the_softmax(make):
    "A code is drawn with the probability that the softmax gives it: the Gumbel-max law."
    z_q, log_odds = _binary(make)
    probability = log_odds.sigmoid()
    from_a_code = (z_q - z_q.round()).abs().max()  # 0: a code, not a mixture
    standard_error = (probability * (1 - probability) / DRAWS).sqrt()
    measured, stated = torch.stack([from_a_code, z_q.mean()]), torch.stack([0 * probability, probability])
    return measured, stated, torch.stack([0 * standard_error + 1e-12, 5 * standard_error])


@fact("gumbel_soft")
def logistic_mixture(make):
    "Of two codes at temperature 1, the log odds of the mixture are logistic: their mean the logit, variance pi^2/3."
    z_q, log_odds = _binary(make)
    drawn = z_q.logit()
    variance = math.pi**2 / 3
    fourth_moment = 4.2 * variance**2  # of a logistic
    standard_errors = [math.sqrt(variance / DRAWS), math.sqrt((fourth_moment - variance**2) / DRAWS)]
    measured, stated = torch.stack([drawn.mean(), drawn.var()]), torch.tensor([float(log_odds), variance])
    return measured, stated, 5 * torch.tensor(standard_errors)


@fact("fsq")
def sizes_of_the_table(make):
    "For K = 2^8, 2^10, 2^12, 2^14, 2^16 the grids have 240, 1000, 4375, 15360 and 64000 points: table 1."
    sizes = [make(4, 2**bits).codebook_size for bits in (8, 10, 12, 14, 16)]
    return torch.tensor(sizes), torch.tensor([240, 1000, 4375, 15360, 64000]), 0


@fact("lfq")
def the_number_of_the_signs(make):
    "The index is the number whose binary digits say which latents are positive, and the code is their signs."
    number = torch.arange(8)
    signs = 2.0 * (number[:, None] >> torch.arange(3) & 1) - 1
    out = make(3, 8)(0.7 * signs)
    return torch.cat([out.z_q, out.indices[:, None]], 1).detach(), torch.cat([signs, number[:, None]], 1), 0.0


@fact("bsq")
def farthest_on_an_axis(make):
    "The squared error of a unit vector is at most 2 - 2/sqrt(L), L = log2 K, which a vector along an axis has."
    axes = torch.cat([torch.eye(3), -torch.eye(3)])
    squared_error = (make(3, 8)(axes).z_q.detach() - axes).square().sum(1)
    return squared_error, torch.full((6,), 2 - 2 / math.sqrt(3)), 1e-6


SLOPE = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)


def _quadratic(z: Tensor) -> Tensor:
    """A loss whose gradient at z is ``z SLOPE``."""
    return (z @ SLOPE * z).sum() / 2


def _gradient_at_z(make) -> tuple[Tensor, Tensor, float]:
    """What the encoder receives under a quadratic loss, and the gradient of that loss at z itself."""
    codes, z = normal(3, 2, seed=1), normal(7, 2, seed=2).requires_grad_()
    vq = make(2, 3, init=codes, beta=0.0, gamma=0.0).double()
    out = vq(z, objective=_quadratic) if make.second_pass else vq(z)
    (_quadratic(out.z_q) + out.loss).backward()
    return z.grad, z.detach() @ SLOPE, 1e-6


@fact("exact")
def slope_at_z(make):
    "The encoder gets the gradient of the loss at z itself, not at q."
    return _gradient_at_z(make)


@fact("hessian")
def slope_to_second_order(make):
    "On a quadratic loss the corrected gradient is the gradient at z."
    return _gradient_at_z(make)
