"""DiVeQ: noise towards the code (Vali et al. 2026)."""

from __future__ import annotations

from torch import Tensor

from rotvq.quantizers.methods.nsvq import NSVQ


class DiVeQ(NSVQ):
    """DiVeQ: ``z + |q - z| sg[v/|v|]`` with ``v = q - z + s n`` and n ~ N(0, I): the same, towards the code.

    Vali et al., ICLR 2026 (arXiv 2509.26469); s is ``deviation``. For s = 0 (their DiVeQ-detach) the value is q and,
    with w the direction from z to q, ``dL/dz = (I - w w^T) g`` and ``dL/dq = w w^T g``.

    >>> z, q = torch.zeros(1, 2, requires_grad=True), torch.tensor([[2.0, 0.0]])
    >>> Directional(deviation=0.0)(z, q).sum().backward()                       # g = (1, 1), w = (1, 0)
    >>> z.grad
    tensor([[0., 1.]])
    """

    def __init__(self, seed: int = 0, deviation: float = 1e-3):
        super().__init__(seed)
        self.deviation = deviation

    def direction(self, gap: Tensor) -> Tensor:
        return gap + self.deviation * self.normal(gap) if self.deviation else gap
