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
r, theta_deg        mean r; mean theta in degrees. Where z or q is 0: r and theta as in `turns.geometry`
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

from rotvq.quantizers.base import Details
from rotvq.quantizers.distributed import gather_objects, mean_over_ranks, sum_over_ranks, world
from rotvq.quantizers.updates import batch_statistics as statistics
from rotvq.training.images import Images

USAGE_TOKENS = 49_000  # 1,000 images of 7 x 7 tokens, 766 of 8 x 8
TINY = torch.finfo(torch.float32).tiny


class Tokens:
    """Running sums over tokens: `add` the `Details` of each batch, then read the `summary`, which is over all ranks."""

    def __init__(self, codebook_size: int):
        self.count = 0
        self.sums: dict[str, float] = {}
        self.mean: Tensor | float = 0.0  # of z, (d,)
        self.scatter: Tensor | float = 0.0  # sum of squared deviations from it, (d,)
        self.chosen = torch.zeros(codebook_size, dtype=torch.int64)

    def add(self, details: Details) -> None:
        """Take in one batch. Its tokens count in the order in which they lie in memory."""
        z, q = (x.detach().flatten(0, -2).double() for x in (details.z, details.q))
        room = USAGE_TOKENS // world()[1] - int(self.chosen.sum())
        batch = Tokens(len(self.chosen))
        batch.chosen += torch.bincount(details.indices.flatten()[:room].cpu(), minlength=len(self.chosen))
        sums = {
            "quantisation_error": (z - q).square().sum(),
            "z_squared": z.square().sum(),
            "z_norm": z.norm(dim=-1).sum(),
            "q_norm": q.norm(dim=-1).sum(),
            "r": details.r.double().sum(),
            "theta_deg": details.theta.double().rad2deg().sum(),
        }
        batch.sums = {name: value.item() for name, value in sums.items()}
        batch.count, batch.mean = len(z), z.mean(0).cpu()
        batch.scatter = (z - z.mean(0)).square().sum(0).cpu()
        self.merge(batch)

    def merge(self, other: Tokens) -> None:
        """Take in what another has seen.

        Means and scatters merge as in Chan, Golub and LeVeque, which does not cancel as E z^2 - (E z)^2 does.
        """
        self.chosen += other.chosen
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in other.sums.items()}
        shift, sum_over_ranks = other.mean - self.mean, self.count + other.count
        self.scatter = self.scatter + other.scatter + shift.square() * (self.count * other.count / sum_over_ranks)
        self.mean = self.mean + shift * (other.count / sum_over_ranks)
        self.count = sum_over_ranks

    def summary(self) -> dict[str, float]:
        """All that is said of latents in the table above."""
        if world()[1] > 1:
            whole = Tokens(len(self.chosen))
            for part in gather_objects(self):
                whole.merge(part)
            return whole._summary()
        return self._summary()

    def _summary(self) -> dict[str, float]:
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

    Each rank evaluates its share of the images and returns the metrics of all.
    The model has `encode`, `decode` and `quantizer`; it is left in the mode in which it was found.
    """
    device = next(model.parameters()).device
    tokens, squares = Tokens(model.quantizer.codebook_size), torch.zeros((), dtype=torch.float64, device=device)
    rank, size = world()
    training = model.training
    model.eval()
    try:
        for pixels in images.tensor_split(size)[rank].split(batch):
            pixels = pixels.to(device)
            details = model.quantizer(model.encode(data.normalise(pixels)), details=True)
            error = data.denormalise(model.decode(details.z_q)) - pixels.float() / 255
            squares += error.square().sum(dtype=torch.float64)
            tokens.add(details)
    finally:
        model.train(training)
    mse = sum_over_ranks(squares).item() / images.numel()
    return {"mse": mse, "psnr": -10 * math.log10(max(mse, TINY))} | tokens.summary()


def batch_statistics(details: Details, codebook_size: int) -> dict[str, float]:
    """The token metrics of one batch alone; usage and perplexity are those of the batch."""
    tokens = Tokens(codebook_size)
    tokens.add(details)
    return tokens.summary()


def gradient_norms(reconstruction: Tensor, commitment: Tensor) -> dict[str, float]:
    """Norms, over the whole batch, of the two gradients that reach z, and the ratio of the first to the second."""
    pulls = [
        mean_over_ranks(gradient.double().square().sum()).sqrt().item() for gradient in (reconstruction, commitment)
    ]
    return {
        "reconstruction_gradient": pulls[0] / math.sqrt(world()[1]),
        "commitment_gradient": pulls[1] / math.sqrt(world()[1]),
        "gradient_ratio": pulls[0] / max(pulls[1], TINY),
    }


def within_cells(gradient: Tensor, indices: Tensor, codebook_size: int) -> float:
    """The share of E|gradient|^2 that is variance among the latents of one code: 0 where a cell has one gradient."""
    counts, sums = statistics(gradient.detach().double().flatten(0, -2), indices.flatten(), codebook_size)
    between = (sums.square().sum(1) / counts.clamp_min(1)).sum()
    return 1 - (between / sum_over_ranks(gradient.double().square().sum()).clamp_min(TINY)).item()


def trace(model: nn.Module, details: Details, reconstruction: Tensor, z: Tensor) -> dict[str, float]:
    """Statistics of one training batch: `batch_statistics`, `gradient_norms` at the encoder's output z, and three more.

    within_share: `within_cells` of the reconstruction gradient at z. z_product and q_product: the sums of
    ``<dL_rec/dz, z>`` and ``<dL_rec/dz_q, q>``, which the balance law compares; encoder_squared and decoder_squared:
    the squared norms of the linear maps beside the quantiser. `reconstruction` is the reconstruction loss; gamma is
    part of the commitment gradient. The graph is kept.
    """
    quantizer = model.quantizer
    at_z, at_q = torch.autograd.grad(
        reconstruction, (z, details.z_q), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    (commitment,) = torch.autograd.grad(
        quantizer.gamma * details.commitment_loss, z, retain_graph=True, materialize_grads=True
    )
    products = {"z_product": at_z * z, "q_product": at_q * details.q.view_as(at_q)}
    first, last = model.ends
    norms = {"encoder_squared": first, "decoder_squared": last}
    return {
        **batch_statistics(details, quantizer.codebook_size),
        **gradient_norms(at_z, commitment),
        "within_share": within_cells(at_z, details.indices, quantizer.codebook_size),
        **{name: mean_over_ranks(product.double().sum()).item() for name, product in products.items()},
        **{name: sum(w.detach().double().square().sum().item() for w in maps) for name, maps in norms.items()},
    }
