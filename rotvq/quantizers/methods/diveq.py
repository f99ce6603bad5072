"""DiVeQ: noise towards the code (Vali et al. 2026)."""

from torch import Tensor

from rotvq.quantizers.methods.noise import ErrorSubstitution


class DiVeQ(ErrorSubstitution):
    """``z_q = z + |q - z| sg[v/|v|]`` with ``v = q - z + s n`` and n ~ N(0, I): an error towards the code, but for s.

    Vali, Bäckström and Solin, "DiVeQ: Differentiable Vector Quantization Using the Reparameterization Trick", ICLR 2026
    (arXiv 2509.26469). s is the ``deviation``; for s = 0, their DiVeQ-detach, the value is q and, with w the direction
    from z to q, ``dL/dz = (I - w w^T) g`` and ``dL/dq = w w^T g``.

    >>> import torch
    >>> z, q = torch.zeros(1, 2, requires_grad=True), torch.tensor([[2.0, 0.0]])
    >>> torch.autograd.grad(DiVeQ(deviation=0.0)(z, q).sum(), z)                # g = (1, 1), w = (1, 0)
    (tensor([[0., 1.]]),)
    """

    def __init__(self, seed: int = 0, deviation: float = 1e-3):
        super().__init__(seed)
        self.deviation = deviation

    def direction(self, error: Tensor) -> Tensor:
        return error + self.deviation * self.noise.normal(error) if self.deviation else error
