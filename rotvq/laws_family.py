r"""Laws of chapter 2: one equation, ``z_q = sg[G] z + sg[q - G z]``, and its family."""

from __future__ import annotations

import torch
from torch import Tensor

from rotvq.estimators import ESTIMATORS
from rotvq.laws import apply, law, norm, outer, reflection, rotation, unit


def definition(name: str, z: Tensor, q: Tensor) -> Tensor:
    """``G`` (n, d, d) of a member of the family, written out from its definition."""
    eye = torch.eye(z.shape[-1], dtype=torch.float64)
    r = (norm(q) / norm(z)).unsqueeze(-1)
    R, H, P = rotation(z, q), reflection(z, q), eye - outer(unit(z), unit(z))
    return {
        "ste": eye, "rotation": r * R, "rotation_only": R, "scale_only": r * eye, "clipped": r.clamp(0.5, 2) * R,
        "interpolated": 0.5 * eye + 0.5 * r * R, "reflection": r * H, "radial_free": r * R @ P,
        "radial_free_scale": r * P, "mean_rotation": r.mean() * R, "mean_scale": r.mean() * eye,
        "constant": 0.5 * eye, "zero": 0 * eye,
    }[name].expand(*z.shape, -1)  # fmt: skip


def gradients(z_q: Tensor, *wrt: Tensor, g: Tensor) -> list[Tensor]:
    """What arrives at each of ``wrt`` when g arrives at z_q; 0 where there is no path."""
    found = torch.autograd.grad(z_q, wrt, g, allow_unused=True)
    return [torch.zeros_like(x) if y is None else y for x, y in zip(wrt, found)]


@law(chapter=2, roundings=0)
def value(z, q, member):
    "The value of every member is q, bit for bit."
    return ESTIMATORS[member](z, q), q


def conditioning(name: str, z: Tensor, q: Tensor) -> Tensor:
    """How far G moves, over |G|, when z/|z| moves by one rounding: R is singular at b = -a, H at b = a."""
    gap = {"rotation": unit(z) + unit(q), "reflection": unit(z) - unit(q)}.get(ESTIMATORS[name].turn)
    return 1 if gap is None else 2 / norm(gap).clamp_min(1e-9)


@law(chapter=2)
def transpose(z, q, g, member):
    "Backpropagation through a member gives G^T g, the transpose of its G."
    z = z.clone().requires_grad_()
    (found,) = gradients(ESTIMATORS[member](z, q), z, g=g)
    z = z.detach()
    size = (norm(q) / norm(z)).clamp_min(1)
    size = size.max() if ESTIMATORS[member].pooled else size
    return found, apply(definition(member, z, q).mT, g), size * norm(g) * conditioning(member, z, q)
