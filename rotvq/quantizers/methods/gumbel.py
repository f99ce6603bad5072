"""Gumbel-softmax: a code drawn, and differentiated by its relaxation (Jang et al. 2017)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rotvq.quantizers.base import Assigned, linear
from rotvq.quantizers.losses import weighted_losses
from rotvq.quantizers.methods.noise import RandomQuantizer
from rotvq.quantizers.options import refuse_out_of_range


class GumbelSoftmax(RandomQuantizer):
    r"""A code drawn from ``softmax(W z + b)``, made differentiable by the Gumbel-softmax.

    :math:`y = \mathrm{softmax}((W z + b + g) / \tau)` with :math:`g_k = -\log(-\log u_k)`: Jang et al., ICLR 2017
    (arXiv 1611.01144), eq. 2, in the form of VQGAN's GumbelQuantize. The loss is ``kl_weight KL(softmax(W z + b) |
    uniform)``; tau falls from 1 to 1/16 over ``anneal`` training calls, as a cosine. Needs the whole N x K matrix. The
    value is the code of the largest y, the gradient that of ``sum_k y_k e_k``, which with ``hard=False`` is the value
    too; in evaluation, the likeliest code. Options: those of :class:`.Quantizer`, and init, init_scale and generator.

    >>> gumbel = GumbelSoftmax(dim=2, codebook_size=4)
    >>> z_q, indices, loss = gumbel(torch.ones(3, 2))
    >>> torch.equal(z_q, gumbel.codes[indices]), gumbel.temperature
    (True, tensor(1.0000))
    """

    def __init__(
        self, dim: int, codebook_size: int, *, hard: bool = True, kl_weight: float = 5e-4, anneal: int = 2000, **options
    ):
        refuse_out_of_range(kl_weight=kl_weight, anneal=anneal)
        super().__init__(dim, codebook_size, **options)
        self.hard, self.kl_weight, self.anneal = hard, kl_weight, anneal
        self.logits = nn.Linear(self.code_dim, codebook_size)

    @property
    def temperature(self) -> Tensor:
        """tau of the next training call, 0-d."""
        return self._temperature(self.noise.calls)

    def _temperature(self, call: Tensor) -> Tensor:
        share = (call / self.anneal).clamp_max(1) if self.anneal else torch.ones((), device=call.device)
        return 1 / 16 + (1 - 1 / 16) * (1 + torch.cos(math.pi * share)) / 2

    def quantise(self, z: Tensor, mask: Tensor | None) -> Assigned:
        self.start_codes(z, mask)
        codes, logits = self.codes_in_use, self._logits(z)
        y = self._sample(logits) if self.training else logits
        indices = y.argmax(-1)
        z_q = q = F.embedding(indices, codes)
        if self.training and self.hard:
            mixture = y.to(codes.dtype) @ codes.detach()
            z_q = q + (mixture - mixture.detach())
        elif self.training:
            z_q = y.to(codes.dtype) @ codes
        loss_sum = weighted_losses(z, q, self.beta, self.gamma, mask)
        return Assigned(z_q, q, indices, loss_sum, self._divergence_loss(logits, mask))

    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        return self._logits(z).argmax(-1)

    def _logits(self, z: Tensor) -> Tensor:
        """``W z + b``, (..., K), at least float32."""
        logits = linear(self.logits, z)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _sample(self, logits: Tensor) -> Tensor:
        """y, (..., K), with fresh noise."""
        call = self.noise.begin_call()
        tau = self._temperature(call)
        gumbel = -(-self.noise.uniform(logits, call).log()).log()
        return ((logits + gumbel) / tau).softmax(-1)

    def _divergence_loss(self, logits: Tensor, mask: Tensor | None) -> Tensor:
        """``kl_weight KL(softmax(logits) | uniform)``, the mean over the tokens that count."""
        log_share = logits.log_softmax(-1)
        divergence = (log_share.exp() * (log_share + math.log(self.codebook_size))).sum(-1)
        if mask is None:
            return self.kl_weight * divergence.sum() / max(divergence.numel(), 1)
        return self.kl_weight * (divergence * mask).sum() / mask.sum().clamp_min(1)
