r"""Ablations: arms that no user needs and that tell explanations apart. Each is a field of Config.

- `latent_scale`: z and codes are scaled together: r, theta and the cells stay, lengths change
- `centre_offset`: the estimator turns about another point: r and theta change, codes, cells and losses stay
- `gamma_rule`: "over_r" weighs commitment by gamma / mean(r): the straight-through estimator with the ratio of
  reconstruction to commitment gradient that a mean scale r gives
- `gain`: "learned" multiplies G by the number that best predicts the slopes of the loss (`learned_gain`)
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rotvq.quantizers.base import Details
from rotvq.quantizers.estimators import Estimator
from rotvq.quantizers.learned_gain import LearnedGain

VQ_ONLY = ("centre_offset", "gamma_rule", "gain")  # fields that change the VectorQuantizer and no other method
GAMMA_RULES = ("constant", "over_r")
GAINS = ("none", "learned")
GAIN_PERIOD = 5  # steps from one observation of a learned gain to the next
SMOOTHING = 0.5  # its sigma, in root mean squares of a coordinate of z - q


class ShiftedCentre(nn.Module):
    """``estimator`` about a point off the origin, on the diagonal, ``offset`` root-mean-square norms of z away."""

    def __init__(self, estimator: Estimator, offset: float):
        super().__init__()
        self.estimator, self.offset = estimator, offset

    def forward(self, z: Tensor, q: Tensor) -> Tensor:
        """z_q from latents z and their codes q, all (..., dim)."""
        coordinate = z.detach().square().mean().sqrt()  # (c, ..., c) has norm c sqrt(dim), as z has on average
        centre = (self.offset * coordinate).expand(z.shape[-1])
        return self.estimator(z, q, centre=centre)


@torch.no_grad()
def scale_latent_space(model: nn.Module, factor: float) -> None:
    """Multiply the encoder's output by ``factor``, and divide what the decoder receives by it, in their weights."""
    encoder, decoder = model.ends
    for parameter in encoder:
        parameter.mul_(factor)
    for parameter in decoder:
        parameter.div_(factor)


def loss_with_gamma_over_r(quantizer: nn.Module, details: Details) -> Tensor:
    """The codebook and the commitment loss of a batch, the latter with weight gamma / mean(r)."""
    gamma = quantizer.gamma / details.r.mean()
    return quantizer.beta * details.codebook_loss + gamma * details.commitment_loss


class GainLearner:
    """Keeps the gain of a VectorQuantizer at what LearnedGain finds along directions that ``seed`` draws."""

    def __init__(self, quantizer: nn.Module, seed: int):
        self.quantizer, self.seed = quantizer, seed
        self.learned: LearnedGain | None = None  # until the first batch, which says how much to smooth

    @torch.no_grad()
    def observe(self, objective: Callable[[Tensor], Tensor], details: Details, at_z_q: Tensor, step: int) -> None:
        """Take in the batch of a step; ``objective`` gives the loss of any z_q, ``at_z_q`` is its gradient there."""
        z, q = details.z.detach(), details.q.detach()
        if self.learned is None:
            error = (z - q).square().mean().sqrt()
            self.learned = LearnedGain((SMOOTHING * error).item() or 1.0).to(z.device)
        draw = torch.Generator().manual_seed((self.seed + step) % 2**32)
        directions = torch.randn(1, *z.shape, generator=draw).to(z)

        def loss(points: Tensor) -> Tensor:
            latents = points[0].reshape(-1, z.shape[-1])
            indices = self.quantizer.assign(latents, self.quantizer.codes).view(z.shape[:-1])
            return objective(self.quantizer.decode(indices)).reshape(1)

        self.learned.observe(loss, z, self.quantizer.estimator.pull_back(z, q, at_z_q), directions)
        self.quantizer.gain.fill_(self.learned())

    def state_dict(self) -> dict:
        """What has been learned; empty before the first batch."""
        return {"sigma": self.learned.sigma, "seen": self.learned.seen} if self.learned else {}

    def load_state_dict(self, state: dict) -> None:
        if state:
            self.learned = LearnedGain(state["sigma"]).to(state["seen"].device)
            self.learned.seen.copy_(state["seen"])
