"""Exact and Hessian gradients: terms of the loss that look at the objective again (Fifty et al. 2025, section 5).

``VectorQuantizer(dim, codebook_size, "zero", second_pass=exact)`` adds :func:`exact` to its loss in training; it is
called as ``quantizer(x, objective=L)`` with L from latents, shaped as x, to the reconstruction loss. A decoder with
batch statistics sees both passes. :func:`hessian` differentiates inside the call, which ``torch.compile`` refuses.
"""

import torch
from torch import Tensor

from rotvq.quantizers.base import Objective


def exact(x: Tensor, z_q: Tensor, objective: Objective, weight: float = 1e-6) -> Tensor:
    """``weight * L(x)`` with its gradient in x over weight, the paper's lambda: dL/dz at z, and decoders hardly move.

    >>> z = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> torch.autograd.grad(exact(z, torch.zeros(2), lambda z: z.square().sum()), z)
    (tensor([2., 4.]),)
    """
    carrier = x.detach() + (x - x.detach()) / weight
    return weight * objective(carrier)


def hessian(x: Tensor, z_q: Tensor, objective: Objective) -> Tensor:
    """0 with gradient ``H (z - q)``, H the Hessian of L at q: with g from STE, dL/dz to second order.

    >>> z = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> torch.autograd.grad(hessian(z, torch.zeros(2), lambda z: (z**3 + z**2).sum()), z)    # H = 2 at q = 0
    (tensor([2., 4.]),)
    """
    with torch.enable_grad():
        q = z_q.detach().requires_grad_()
        (g,) = torch.autograd.grad(objective(q), q, create_graph=True)
        curvature = torch.zeros_like(q)
        if g.requires_grad:  # else the objective is linear
            (curvature,) = torch.autograd.grad(g, q, (x - q).detach())
    return ((x - x.detach()) * curvature).sum()
