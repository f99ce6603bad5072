"""Exact and Hessian gradients: quantisers that look at the loss (Fifty et al. 2025, section 5)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rotvq.quantizers.base import Details, Quantized, Quantizer


def exact(z: Tensor, z_q: Tensor, objective: Callable[[Tensor], Tensor], weight: float = 1e-6) -> Tensor:
    """Add ``weight * L(z)``, its gradient in z multiplied by 1/weight: dL/dz at z itself, decoders hardly moved.

    >>> z = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> exact(z, torch.zeros(2), lambda z: z.square().sum()).backward()
    >>> z.grad
    tensor([2., 4.])
    """
    carrier = z.detach() + (z - z.detach()) / weight
    return weight * objective(carrier)


def hessian(z: Tensor, z_q: Tensor, objective: Callable[[Tensor], Tensor]) -> Tensor:
    """Add 0, with gradient ``H (z - q)`` in z: with g from the straight-through estimator, dL/dz to second order.

    >>> z = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> hessian(z, torch.zeros(2), lambda z: (z**3).sum() + z.square().sum()).backward()    # H = 2 at q = 0
    >>> z.grad
    tensor([2., 4.])
    """
    with torch.enable_grad():
        q = z_q.detach().requires_grad_()
        (g,) = torch.autograd.grad(objective(q), q, create_graph=True)
        (bend,) = torch.autograd.grad(g, q, (z - q).detach()) if g.requires_grad else (torch.zeros_like(q),)
    return ((z - z.detach()) * bend).sum()


class SecondPass(nn.Module):
    """A quantiser that in training also looks at the loss: Fifty et al. 2025, section 5, "exact" and "Hessian".

    ``objective`` maps latents, shaped as the input, to the reconstruction loss that is being minimised; every training
    call needs it. A decoder with batch statistics sees both passes. "Hessian" differentiates inside the call, which
    ``torch.compile`` does not take; everything else here compiles without a graph break.

    >>> quantizer = SecondPass(VectorQuantizer(dim=2, codebook_size=4, estimator="zero"), exact)
    >>> z_q, indices, loss = quantizer(torch.ones(3, 2), objective=lambda z: z.square().mean())
    """

    def __init__(self, quantizer: Quantizer, correction: Callable[[Tensor, Tensor, Callable], Tensor]):
        super().__init__()
        self.quantizer, self.correction = quantizer, correction

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        details: bool = False,
        objective: Callable[[Tensor], Tensor] | None = None,
    ) -> Quantized | Details:
        out = self.quantizer(x, mask, details)
        if not self.training:
            return out
        if objective is None:
            raise ValueError("in training this quantiser needs the objective: module(x, objective=latents -> loss)")
        return out._replace(loss=out.loss + self.correction(x, out.z_q, objective))

    def encode(self, x: Tensor) -> Tensor:
        return self.quantizer.encode(x)

    def decode(self, indices: Tensor) -> Tensor:
        return self.quantizer.decode(indices)

    def __getattr__(self, name: str):
        """dim, codebook, gamma and the like are those of the quantiser inside."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("quantizer"), name)
