"""Gumbel-softmax: a code drawn, and differentiated by its relaxation (Jang et al. 2017)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rotvq.quantizers.base import Assigned, Quantizer
from rotvq.quantizers.codebook import Codebook
from rotvq.quantizers.methods.noise import Noise


class GumbelSoftmax(Quantizer):
    r"""A code drawn from ``softmax(W z + b)``, made differentiable by the Gumbel-softmax.

    Jang et al., ICLR 2017 (arXiv 1611.01144), in the form of VQGAN's GumbelQuantize: with Gumbel noise n and
    ``y = softmax((Wz + b + n) / tau)`` the value is the code of the largest y and the gradient that of ``y``
    (``hard``), or value and gradient are those of the mixture ``sum_k y_k e_k``. The loss is
    ``kl_weight KL(softmax(Wz + b) | uniform)``; tau falls from 1 to 1/16 over ``anneal`` training calls, as a cosine.
    Needs the whole N x K matrix. Evaluation takes the likeliest code.

    >>> gumbel = Gumbel(dim=2, codebook_size=4)
    >>> z_q, indices, loss = gumbel(torch.ones(3, 2))
    >>> torch.equal(z_q, gumbel.codes[indices]), gumbel.temperature
    (True, tensor(1.0000))
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        hard: bool = True,
        kl_weight: float = 5e-4,
        anneal: int = 2000,
        init="uniform",
        init_scale: float = 1.0,
        generator=None,
        **shape,
    ):
        super().__init__(dim, codebook_size, **shape)
        self.hard, self.kl_weight, self.anneal = hard, kl_weight, anneal
        self.logits = nn.Linear(dim, codebook_size)
        self.codebook = Codebook(codebook_size, dim, init, init_scale, generator=generator)
        self.noise = Noise(0 if generator is None else generator.initial_seed())

    @property
    def codes(self) -> Tensor:
        return self.codebook.codes

    @property
    def temperature(self) -> Tensor:
        share = (self.noise.calls / self.anneal).clamp_max(1) if self.anneal else torch.ones(())
        return 1 / 16 + (1 - 1 / 16) * (1 + torch.cos(math.pi * share)) / 2

    def quantise(self, z: Tensor, keep: Tensor | None) -> Assigned:
        if self.training and not self.codebook.ready:
            self.codebook.start(z.detach().reshape(-1, self.dim) if keep is None else z.detach()[keep])
        codes, logits = self.codes, self.logits(z)
        share = logits.log_softmax(-1)
        divergence = (share.exp() * (share + math.log(self.codebook_size))).sum(-1)
        kept = divergence.numel() if keep is None else keep.sum().clamp_min(1)
        loss = self.kl_weight * (divergence if keep is None else divergence * keep).sum() / max(kept, 1)
        if not self.training:
            q = F.embedding(indices := logits.argmax(-1), codes)
            return Assigned(q, q, indices, loss)
        tau = self.temperature
        y = ((logits - (-self.noise.uniform(logits).log()).log()) / tau).softmax(-1)
        q = F.embedding(indices := y.argmax(-1), codes)
        if not self.hard:
            return Assigned(y.to(codes.dtype) @ codes, q, indices, loss)
        soft = y.to(codes.dtype) @ codes.detach()
        return Assigned(q + (soft - soft.detach()), q, indices, loss)

    def assign(self, z: Tensor, codes: Tensor) -> Tensor:
        return self.logits(z).argmax(-1)
