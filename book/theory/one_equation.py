r"""Laws of chapter 2: one equation, ``z_q = sg[G] z + sg[q - G z]``, and its family."""

from __future__ import annotations

import torch
from torch import Tensor

from book.algebra import apply, dot, identity, norm, outer, pull_back, reflection, rotation, unit
from book.statements import law
from rotvq.quantizers.estimators import ESTIMATORS


def definition(name: str, z: Tensor, q: Tensor) -> Tensor:
    r"""The dense ``G`` of a member, put together from the definitions of its parts and not from the package's formulas.

    .. math:: G = (1-t)\,I + t\,\mathrm{clip}(r)\,T P, \qquad T \in \{I, R, H\},\ P \in \{I,\ I - aa^\top\}

    where a fade makes t smaller where codes fit.

    Args:
        name: A member of the family; the fields of its row say which T, clip, P and t, and whether r is pooled.
        z: Latents (n, d).
        q: Their codes (n, d).

    Returns:
        One matrix per pair, float64, (n, d, d).
    """
    member, eye, a = ESTIMATORS[name], identity(z), unit(z)
    turns = {"identity": lambda: eye, "rotation": lambda: rotation(z, q), "reflection": lambda: reflection(z, q)}
    r = norm(q) / norm(z)
    scale = (r.mean() if member.pooled else r).clamp(*member.clip)
    projection = eye if member.radial else eye - outer(a, a)
    G = scale[..., None] * turns[member.turn]() @ projection
    t = member.mix * faded(member.fade, z, q)[..., None]
    return ((1 - t) * eye + t * G).expand(*z.shape, -1)


def faded(name: str, z: Tensor, q: Tensor) -> Tensor:
    """The factor on t of a fade, from its definition: (n, 1) or (1, 1)."""
    r, error = norm(q) / norm(z), norm(z - q)
    spread = (z - z.mean(0)).square().sum().sqrt()
    factors = {
        "none": lambda: torch.ones(1, 1, dtype=z.dtype),
        "length": lambda: (1 - r).clamp(min=0),
        "error": lambda: (error.square().sum().sqrt() / spread).clamp(max=1).view(1, 1),
        "cap": lambda: (norm(z) / (2 * error)).clamp(max=1),
    }
    return factors[name]()


def gradients(z_q: Tensor, *wrt: Tensor, g: Tensor) -> list[Tensor]:
    """What arrives at each of ``wrt`` when g arrives at z_q; 0 where there is no path."""
    received = torch.autograd.grad(z_q, wrt, g, allow_unused=True)
    return [torch.zeros_like(x) if y is None else y for x, y in zip(wrt, received)]


@law(chapter=2, roundings=0)
def value(z, q, member):
    "The value of every member is q, bit for bit."
    return ESTIMATORS[member](z, q), q


def conditioning(name: str, z: Tensor, q: Tensor) -> Tensor:
    """How far G moves, over |G|, when z/|z| moves by one rounding: R is singular at b = -a, H at b = a.

    On a line z/|z| is a sign, and nothing moves.
    """
    gap = {"rotation": unit(z) + unit(q), "reflection": unit(z) - unit(q)}.get(ESTIMATORS[name].turn)
    if gap is None or z.shape[-1] == 1:
        return torch.ones_like(norm(z))
    return 2 / norm(gap).clamp_min(1e-15)


@law(chapter=2)
def transpose(z, q, g, member):
    "Backpropagation through a member gives G^T g, the transpose of its G."
    z = z.clone().requires_grad_()
    (received,) = gradients(ESTIMATORS[member](z, q), z, g=g)
    z = z.detach()
    size = (norm(q) / norm(z)).clamp_min(1)
    size = size.max() if ESTIMATORS[member].pooled else size
    return received, apply(definition(member, z, q).mT, g), size * norm(g) * conditioning(member, z, q)


@law(chapter=2, roundings=0)
def codes_untouched(z, q, g, member):
    "No gradient reaches q through a member: all that a code learns, it learns from the codebook loss."
    q = q.clone().requires_grad_()
    (received,) = gradients(ESTIMATORS[member](z.requires_grad_(), q), q, g=g)
    return received, torch.zeros_like(q)


def stopped(G: Tensor) -> Tensor:
    """sg[G]."""
    return G.detach()


@law(chapter=2, roundings=0)
def constants_inside(z, q, g, t):
    "A parameter inside sg[G], here a scale s and a mix t, has the gradient 0: it cannot be learned this way."
    z, s, t = z.double().requires_grad_(), torch.ones((), requires_grad=True), torch.tensor(t, requires_grad=True)
    G = (1 - t) * torch.eye(z.shape[-1]) + t * s * rotation(z, q)
    z_q = apply(stopped(G), z) + (q - apply(G, z)).detach()
    return torch.stack(gradients(z_q, s, t, g=g.double())), torch.zeros(2)


@law(chapter=2, dims=(2, 3, 8, 64), kinds=("generic", "lopsided"))
def stop_gradient_matters(z, q, g):
    "Without sg on G the product G(z) z is q for every z: nothing reaches z, and all of g goes to the code."
    z, q = (x.double().requires_grad_() for x in (z, q))
    to_z, to_q = gradients((norm(q) / norm(z)) * apply(rotation(z, q), z), z, q, g=g.double())
    return {"to z": (to_z, 0 * z, norm(g) * norm(q) / norm(z) * 10), "to q": (to_q, g, norm(g) * 10)}


@law(chapter=2)
def inverse_is_not_transpose(z, q, g):
    "G (G^T g) = r^2 g: solving g = G x for x, in place of x = G^T g, is wrong by the factor r^2."
    pulled = pull_back("rotation", z, q, g)
    r = norm(q) / norm(z)
    return apply(r.unsqueeze(-1) * rotation(z, q), pulled), r**2 * g, r**2 * norm(g) * conditioning("rotation", z, q)


@law(chapter=2)
def mixture(z, q, g, t, member):
    "The mix t of a member with the straight-through estimator pulls back to (1-t) g + t G^T g."
    whole = pull_back(member, z, q, g, mix=1.0)
    return pull_back(member, z, q, g, mix=t), (1 - t) * g + t * whole, (1 + norm(q) / norm(z)) * norm(g)


@law(chapter=2)
def released_code(z, q, g):
    "sg[|q| R] applied to an undetached z/|z| pulls back to r P R^T g with P = I - aa^T: the radial part is lost."
    z = z.double().requires_grad_()
    z_q = norm(q) * apply(rotation(z, q).detach(), z / norm(z))
    (received,) = gradients(z_q, z, g=g.double())
    ours = pull_back("radial_free", z, q.double(), g.double())
    return received, ours, (norm(q) / norm(z) * norm(g) * conditioning("rotation", z, q)).detach()


@law(chapter=2, members=("radial_free", "radial_free_scale"))
def radial_free(z, q, g, member):
    "For a radial-free member <G^T g, z> = 0: the loss cannot move the norm of z."
    return dot(pull_back(member, z, q, g), unit(z)), torch.zeros(()), norm(q) / norm(z) * norm(g)
