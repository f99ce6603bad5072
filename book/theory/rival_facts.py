"""One checkable fact of each rival's source, as a function: the page "All estimators" runs them, and so do the tests.

A fact takes what makes the quantiser, an entry of :data:`.METHODS`, and returns what it measured, what
the source says, and by how much the two may differ. Its docstring states it. Where numbers are drawn, the tolerance
is five standard errors of what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from rotvq.quantizers.lookup import unit
from rotvq.quantizers.registry import METHODS

FACTS: dict[str, Callable] = {}


def fact(name: str) -> Callable:
    """Register a function as the fact of a rival."""

    def register(function: Callable) -> Callable:
        FACTS[name] = function
        return function

    return register


def holds(name: str, make: Callable | None = None) -> bool:
    """Does the fact of ``name`` hold for what ``make`` makes, by default the rival itself?

    >>> holds("fsq"), holds("fsq", QUANTIZERS["vq"])
    (True, False)
    """
    found, stated, tolerance = (torch.as_tensor(x).double() for x in FACTS[name](make or METHODS[name]))
    return bool(((found - stated).abs() <= tolerance).all())


def _normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _felt(quantizer, z: Tensor, g: Tensor, **more) -> tuple[Tensor, Tensor]:
    """z_q, and the gradient in z when the decoder sends g."""
    z = z.clone().requires_grad_()
    out = quantizer(z, **more)
    ((out.z_q * g).sum() + (out.loss if more else 0.0)).backward()
    return out.z_q.detach(), z.grad


@fact("vq")
def nearest_code(make):
    "The value is the nearest code, and the loss is (beta + gamma) times the mean square of the error."
    vq, z = make(4, 12, init=_normal(12, 4, seed=1).float()), _normal(50, 4, seed=2).float()
    out, nearest = vq(z), vq.codes[(z[:, None] - vq.codes).square().sum(-1).argmin(1)]
    loss = (vq.beta + vq.gamma) * (z - nearest).square().mean()
    return torch.cat([out.z_q.flatten(), out.loss[None]]).detach(), torch.cat([nearest.flatten(), loss[None]]), 1e-5


@fact("simvq")
def one_latent_moves_all(make):
    "A gradient step on one latent moves every code, since all pass through one map."
    vq = make(4, 12, init=_normal(12, 4, seed=1).float())
    before = vq.codes.detach().clone()
    vq(_normal(1, 4, seed=2).float()).loss.backward()
    with torch.no_grad():
        for parameter in vq.parameters():
            parameter -= 0.1 * (0 if parameter.grad is None else parameter.grad)
    return (vq.codes != before).any(1).float().mean(), 1.0, 0.0


@fact("dynamic")
def a_quarter_at_twice_the_distance(make):
    "Of two latents with one code, the nearer keeps its gradient; one twice as far keeps a quarter."
    z, g = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.ones(2, 2)
    return _felt(make(2, 1, init=torch.zeros(1, 2)), z, g)[1], torch.tensor([[1.0, 1.0], [0.25, 0.25]]), 1e-6


@fact("nsvq")
def only_the_length_of_the_error(make):
    "The error keeps its length and points anywhere: its mean cosine with q - z is 0."
    z, codes = _normal(4000, 5, seed=1), _normal(1, 5, seed=2)
    away, gap = make(5, 1, init=codes).double()(z).z_q.detach() - z, codes - z
    length = (away.norm(dim=1) / gap.norm(dim=1)).sub(1).abs().max()
    cosine = (unit(away) * unit(gap)).sum(1).mean()  # of variance 1/d
    return torch.stack([length, cosine]), torch.zeros(2), torch.tensor([1e-6, 5 / math.sqrt(4000 * 5)])


@fact("diveq")
def misses_the_code_by_its_noise(make):
    "z_q lies as far from z as q does, and misses q by s sqrt(d - 1) in the root mean square, s = 1e-3."
    z, codes = 10 * _normal(4000, 5, seed=1), _normal(1, 5, seed=2)
    z_q = make(5, 1, init=codes).double()(z).z_q.detach()
    length = ((z_q - z).norm(dim=1) / (codes - z).norm(dim=1)).sub(1).abs().max()
    missed = (z_q - codes).square().sum(1).mean() / (1e-6 * 4)  # chi-square with 4 degrees: variance 2/4
    return torch.stack([length, missed]), torch.tensor([0.0, 1.0]), torch.tensor([1e-6, 5 * math.sqrt(0.5 / 4000)])


@fact("diveq_detach")
def splits_the_gradient(make):
    "The part of g along q - z goes to the code, the rest to the encoder."
    z, codes, g = _normal(9, 5, seed=1), _normal(1, 5, seed=2), _normal(9, 5, seed=3)
    vq = make(5, 1, init=codes).double()
    _, felt = _felt(vq, z, g)
    w = unit(codes - z)
    along = (w * g).sum(1, keepdim=True) * w
    to_code = torch.zeros_like(codes) if vq.codebook.weight.grad is None else vq.codebook.weight.grad
    return torch.cat([felt, to_code]), torch.cat([g - along, along.sum(0, keepdim=True)]), 1e-6


@fact("sf_diveq")
def projects_onto_the_curve(make):
    "With two codes, evaluation projects onto the segment between them."
    vq = make(2, 2, init=torch.tensor([[0.0, 0.0], [2.0, 0.0]])).eval()
    points = torch.tensor([[0.5, 3.0], [-1.0, 1.0], [1.7, -2.0], [9.0, 0.0]])
    return vq(points).z_q.detach(), torch.tensor([[0.5, 0.0], [0.0, 0.0], [1.7, 0.0], [2.0, 0.0]]), 1e-6


def _binary(make) -> tuple[Tensor, Tensor]:
    """40,000 first answers of a quantiser with the codes 0 and 1, at temperature 1, and the log odds of code 1."""
    vq = make(1, 2, init=torch.tensor([[0.0], [1.0]])).double()
    with torch.no_grad():
        vq.logits.weight.copy_(torch.tensor([[0.0], [1.0]]))
        vq.logits.bias.zero_()
    return vq(torch.full((40_000, 1), 0.7, dtype=torch.float64)).z_q.detach(), torch.tensor(0.7).double()


@fact("gumbel")
def drawn_by_the_softmax(make):
    "A code is drawn with the probability that the softmax gives it: the Gumbel-max law."
    z_q, logit = _binary(make)
    share, want = z_q.mean(), logit.sigmoid()
    whole = (z_q - z_q.round()).abs().max()  # a code, not a mixture
    error = (want * (1 - want) / 40_000).sqrt()
    return torch.stack([whole, share]), torch.stack([0 * want, want]), torch.stack([1e-12 + 0 * error, 5 * error])


@fact("gumbel_soft")
def logistic_mixture(make):
    "Of two codes at temperature 1, the log odds of the mixture are logistic: their mean the logit, variance pi^2/3."
    z_q, logit = _binary(make)
    drawn = z_q.logit()
    variance = math.pi**2 / 3
    fourth = variance**2 * 4.2  # of a logistic
    error = torch.tensor([math.sqrt(variance / 40_000), math.sqrt((fourth - variance**2) / 40_000)])
    return torch.stack([drawn.mean(), drawn.var()]), torch.stack([logit, 0 * logit + variance]), 5 * error


@fact("fsq")
def sizes_of_the_table(make):
    "For K = 2^8, 2^10, 2^12, 2^14, 2^16 the grids have 240, 1000, 4375, 15360 and 64000 points: table 1."
    found = [make(4, 2**bits).codebook_size for bits in (8, 10, 12, 14, 16)]
    return torch.tensor(found), torch.tensor([240, 1000, 4375, 15360, 64000]), 0


def _bowl(z: Tensor) -> Tensor:
    """A quadratic loss whose slope at z is ``z A`` with A = [[2, 1], [1, 3]]."""
    return (z @ z.new_tensor([[2.0, 1.0], [1.0, 3.0]]) * z).sum() / 2


def _slope_at_z(make) -> tuple[Tensor, Tensor, float]:
    codes, z = _normal(3, 2, seed=1), _normal(7, 2, seed=2)
    vq = make(2, 3, init=codes, beta=0.0, gamma=0.0).double()
    x = z.clone().requires_grad_()
    more = {"objective": _bowl} if hasattr(vq, "correction") else {}
    out = vq(x, **more)
    (_bowl(out.z_q) + out.loss).backward()
    return x.grad, z @ z.new_tensor([[2.0, 1.0], [1.0, 3.0]]), 1e-6


@fact("exact")
def slope_at_z(make):
    "The encoder hears the gradient of the loss at z itself, not at q."
    return _slope_at_z(make)


@fact("hessian")
def slope_to_second_order(make):
    "On a quadratic loss the corrected gradient is the gradient at z."
    return _slope_at_z(make)
