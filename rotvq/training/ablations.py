r"""Controls: arms that no user needs and that tell explanations apart.

=================  ====================================================================================================
`latent_scale`     z and codes are scaled together: r, theta and the cells stay, lengths change
`centre_offset`    the estimator turns about another point: r and theta change, codes, cells and losses stay
`gamma_rule`       "over_r" weighs commitment by gamma / mean(r): the straight-through estimator with the ratio of
                   reconstruction to commitment gradient that a mean scale r gives
`gain`             "learned" multiplies G by the number that best predicts the slopes of the loss (`learned_gain`)
=================  ====================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rotvq.quantizers.base import Details
from rotvq.quantizers.estimators import Estimator
from rotvq.quantizers.learned_gain import LearnedGain

GAMMA_RULES = ("constant", "over_r")
GAINS = ("none", "learned")
OBSERVE = 5  # steps from one observation of a learned gain to the next
SMOOTHING = 0.5  # its smoothing, in root mean squares of a coordinate of z - q


class OffCentre(nn.Module):
    """``estimator`` about the point ``offset`` root-mean-square norms of z away, along the diagonal (1, ..., 1).

    >>> z, q = torch.tensor([[3.0, 4.0]], requires_grad=True), torch.tensor([[0.0, 2.0]])
    >>> from rotvq import ESTIMATORS
    >>> torch.autograd.grad(Moved(ESTIMATORS["rotation"], 1e6)(z, q).sum(), z)[0].round(decimals=3)
    tensor([[1., 1.]])
    """

    def __init__(self, estimator: Estimator, offset: float):
        super().__init__()
        self.estimator, self.offset = estimator, offset

    def forward(self, z: Tensor, q: Tensor) -> Tensor:
        rms = z.detach().square().mean().sqrt()  # of a coordinate: the diagonal of norm |z| has it d times
        return self.estimator(z, q, centre=(self.offset * rms).expand(z.shape[-1]))


@torch.no_grad()
def scale_latents(model: nn.Module, factor: float) -> None:
    """Multiply the encoder's output by ``factor``, and divide what the decoder receives by it."""
    encoder, decoder = model.ends
    for parameter in encoder:
        parameter.mul_(factor)
    for parameter in decoder:
        parameter.div_(factor)


def weighted_loss(quantizer: nn.Module, details: Details) -> Tensor:
    """The two losses with commitment weighed by gamma over the mean r of the batch."""
    gamma = quantizer.gamma / details.r.mean()
    return quantizer.beta * details.codebook_loss + gamma * details.commitment_loss


class GainFit:
    """Keeps the gain of a VectorQuantizer at what `LearnedGain` finds, from two passes each few steps."""

    def __init__(self, quantizer: nn.Module, seed: int):
        self.quantizer, self.seed, self.gain = quantizer, seed, None

    @torch.no_grad()
    def observe(self, objective: Callable[[Tensor], Tensor], details: Details, at_q: Tensor, call: int) -> None:
        """objective: z_q -> reconstruction loss. at_q: its gradient at z_q. call: the number of the step."""
        z, q = details.z.detach(), details.q.detach()
        if self.gain is None:
            self.gain = LearnedGain((SMOOTHING * (z - q).square().mean().sqrt()).item() or 1.0).to(z.device)
        draw = torch.Generator().manual_seed((self.seed + call) % 2**32)
        directions = torch.randn(1, *z.shape, generator=draw).to(z)

        def loss(points: Tensor) -> Tensor:
            indices = self.quantizer.assign(points[0].reshape(-1, z.shape[-1]), self.quantizer.codes)
            return objective(self.quantizer.decode(indices.view(z.shape[:-1]))).reshape(1)

        self.gain.observe(loss, z, self.quantizer.estimator.pull_back(z, q, at_q), directions)
        self.quantizer.gain.fill_(self.gain())

    def state(self) -> dict | None:
        return None if self.gain is None else {"sigma": self.gain.sigma, "seen": self.gain.seen}

    def restore(self, state: dict | None) -> None:
        self.gain = state and LearnedGain(state["sigma"]).to(state["seen"].device)
        if state:
            self.gain.seen.copy_(state["seen"])
