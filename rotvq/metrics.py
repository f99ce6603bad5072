"""Metrics: what a model does to images, and what its quantiser does to latents.

Notation: x pixels in [0, 1], y their reconstruction, z a latent and q its code, both in R^d, r = |q|/|z|, theta the
angle between z and q. A token is one latent; means are over tokens.

==================  ================================================================================================
mse                 mean of (y - x)^2 over images, channels and pixels, on the scale [0, 1], without clamping y
psnr                10 log10(1 / mse) in dB, from the mean error, not a mean over images
quantisation_error  mean |z - q|^2, summed over the d coordinates
relative_error      quantisation_error / z_variance
z_variance          total variance of z: the variance over tokens, summed over coordinates
z_squared           mean |z|^2
z_norm, q_norm      mean |z|, mean |q|
r, theta_deg        mean r; mean theta in degrees. Where z or q is 0: r and theta as in `estimators.geometry`
usage               share of the codes that some token chose, among the first `usage_tokens` tokens
perplexity          exp of the entropy of the codes' shares, among the same tokens
usage_tokens        USAGE_TOKENS, or all tokens where there are fewer
==================  ================================================================================================

Sums are taken in float64, batch by batch in a fixed order. No number is infinite for finite input: a variance or an
error below the smallest normal float32 number counts as that number where it is divided by.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rotvq.images import Images
from rotvq.quantizer import Details, VectorQuantizer

USAGE_TOKENS = 49_000  # 1,000 images of 7 x 7 tokens, 766 of 8 x 8
TINY = torch.finfo(torch.float32).tiny


class Tokens:
    """Running sums over tokens: `add` the `Details` of each batch, then read the `summary`."""

    def __init__(self, codebook_size: int):
        self.count = 0
        self.sums: dict[str, float] = {}
        self.mean: Tensor | float = 0.0  # of z, (d,)
        self.scatter: Tensor | float = 0.0  # sum of squared deviations from it, (d,)
        self.chosen = torch.zeros(codebook_size, dtype=torch.int64)

    def add(self, details: Details) -> None:
        """Take in one batch. Its tokens count in the order in which they lie in memory."""
        z, q = (x.detach().flatten(0, -2).double() for x in (details.z, details.q))
        room = USAGE_TOKENS - int(self.chosen.sum())
        self.chosen += torch.bincount(details.indices.flatten()[:room].cpu(), minlength=len(self.chosen))
        sums = {
            "quantisation_error": (z - q).square().sum(),
            "z_squared": z.square().sum(),
            "z_norm": z.norm(dim=-1).sum(),
            "q_norm": q.norm(dim=-1).sum(),
            "r": details.r.double().sum(),
            "theta_deg": details.theta.double().rad2deg().sum(),
        }
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.item()
        # Chan, Golub and LeVeque's merging of means and scatters, which does not cancel as E z^2 - (E z)^2 does.
        mean, total = z.mean(0), self.count + len(z)
        shift = mean - self.mean
        self.scatter = self.scatter + (z - mean).square().sum(0) + shift.square() * (self.count * len(z) / total)
        self.mean = self.mean + shift * (len(z) / total)
        self.count = total

    def summary(self) -> dict[str, float]:
        """All that is said of latents in the table above."""
        means = {name: value / self.count for name, value in self.sums.items()}
        variance = self.scatter.sum().item() / self.count
        share = self.chosen.double() / self.chosen.sum()
        return means | {
            "z_variance": variance,
            "relative_error": means["quantisation_error"] / max(variance, TINY),
            "usage": (self.chosen > 0).double().mean().item(),
            "perplexity": torch.special.entr(share).sum().exp().item(),
            "usage_tokens": int(self.chosen.sum()),
        }


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, data: Images, batch: int = 500) -> dict[str, float]:
    """Every metric of the table, for uint8 `images` (N, C, H, W) of the set `data`, in evaluation mode.

    The model has `encode`, `decode` and `quantizer`; it is left in the mode in which it was found.
    """
    device = next(model.parameters()).device
    tokens, squares = Tokens(model.quantizer.codebook_size), 0.0
    training = model.training
    model.eval()
    try:
        for pixels in images.split(batch):
            pixels = pixels.to(device)
            details = model.quantizer(model.encode(data.normalise(pixels)), details=True)
            error = data.denormalise(model.decode(details.z_q)) - pixels.float() / 255
            squares += error.square().sum(dtype=torch.float64).item()
            tokens.add(details)
    finally:
        model.train(training)
    mse = squares / images.numel()
    return {"mse": mse, "psnr": -10 * math.log10(max(mse, TINY))} | tokens.summary()


def batch_statistics(details: Details, codebook_size: int) -> dict[str, float]:
    """The token metrics of one batch alone; usage and perplexity are those of the batch."""
    tokens = Tokens(codebook_size)
    tokens.add(details)
    return tokens.summary()


def gradient_norms(reconstruction: Tensor, commitment: Tensor) -> dict[str, float]:
    """Norms, over the whole batch, of the two gradients that reach z, and the ratio of the first to the second."""
    pulls = [gradient.double().norm().item() for gradient in (reconstruction, commitment)]
    return {
        "reconstruction_gradient": pulls[0],
        "commitment_gradient": pulls[1],
        "gradient_ratio": pulls[0] / max(pulls[1], TINY),
    }


def trace(quantizer: VectorQuantizer, details: Details, reconstruction: Tensor, z: Tensor) -> dict[str, float]:
    """Statistics of one training batch: `batch_statistics` and the `gradient_norms` at the encoder's output z.

    `reconstruction` is the reconstruction loss; gamma is part of the commitment gradient. The graph is kept.
    """
    losses = reconstruction, quantizer.gamma * details.commitment_loss
    gradients = [torch.autograd.grad(loss, z, retain_graph=True, materialize_grads=True)[0] for loss in losses]
    return batch_statistics(details, quantizer.codebook_size) | gradient_norms(*gradients)
