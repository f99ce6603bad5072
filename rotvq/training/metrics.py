"""Metrics: what a model does to images, and what its quantiser does to latents.

Notation: x pixels in [0, 1], y their reconstruction, z a latent and q its code, both in R^d, ``r = |q|/|z|``, theta
the angle between z and q. A token is one latent; means are over tokens.

==================  ================================================================================================
mse                 mean of (y - x)^2 over images, channels and pixels, on the scale [0, 1], without clamping y
psnr                10 log10(1 / mse) in dB, from the mean error, not a mean over images
quantisation_error  mean ``|z - q|^2``, summed over the d coordinates
relative_error      quantisation_error / z_variance
z_variance          total variance of z: the variance over tokens, summed over coordinates
z_squared           mean ``|z|^2``
z_norm, q_norm      mean ``|z|``, mean ``|q|``
r, theta_deg        mean r; mean theta in degrees. Where z or q is 0: as in `rotvq.quantizers.geometry`
usage               share of the codes that some token chose, among the first `usage_tokens` tokens
perplexity          exp of the entropy of the codes' shares, among the same tokens
usage_tokens        USAGE_TOKENS, or all tokens where there are fewer
==================  ================================================================================================

Sums are taken in float64, batch by batch in a fixed order. A variance or an error that divides is at least `TINY`.
"""

import math
from typing import Self

import torch
from torch import Tensor, nn

from rotvq.quantizers.base import Details
from rotvq.quantizers.distributed import gather_objects, mean_over_ranks, sum_over_ranks, world
from rotvq.quantizers.updates import counts_per_code, sums_per_code
from rotvq.training.images import Images

USAGE_TOKENS = 49_000  # 1,000 images of 7 x 7 tokens, 766 of 8 x 8
TINY = torch.finfo(torch.float32).tiny


class TokenSums:
    """Running sums over tokens: :meth:`add` the Details of each batch, then read :meth:`metrics`."""

    def __init__(self, codebook_size: int):
        self.count = 0
        self.sums: dict[str, float] = {}
        self.mean: Tensor | float = 0.0  # of z, (d,)
        self.scatter: Tensor | float = 0.0  # sum of squared deviations from it, (d,)
        self.code_counts = torch.zeros(codebook_size, dtype=torch.int64)  # of the first tokens

    def add(self, details: Details) -> None:
        """Take in one batch. Its tokens count in the order in which they lie in memory."""
        z, q = (x.detach().flatten(0, -2).double() for x in (details.z, details.q))
        left_to_count = USAGE_TOKENS // world()[1] - int(self.code_counts.sum())
        counted = details.indices.flatten()[:left_to_count].cpu()
        batch = TokenSums(len(self.code_counts))
        batch.code_counts += torch.bincount(counted, minlength=len(self.code_counts))
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

    def merge(self, other: Self) -> None:
        """Take in what another has seen. Chan, Golub and LeVeque's formula does not cancel as E z^2 - (E z)^2 does."""
        count = self.count + other.count
        shift = other.mean - self.mean
        self.scatter = self.scatter + other.scatter + shift.square() * (self.count * other.count / count)
        self.mean = self.mean + shift * (other.count / count)
        self.count = count
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in other.sums.items()}
        self.code_counts += other.code_counts

    def over_ranks(self) -> Self:
        """The sums over the tokens of every rank."""
        total = TokenSums(len(self.code_counts))
        for part in gather_objects(self):
            total.merge(part)
        return total

    def metrics(self) -> dict[str, float]:
        """All that the table above says of latents, for the tokens that these sums have seen."""
        means = {name: value / self.count for name, value in self.sums.items()}
        variance = self.scatter.sum().item() / self.count
        share = self.code_counts.double() / self.code_counts.sum()
        return means | {
            "z_variance": variance,
            "relative_error": means["quantisation_error"] / max(variance, TINY),
            "usage": (self.code_counts > 0).double().mean().item(),
            "perplexity": torch.special.entr(share).sum().exp().item(),
            "usage_tokens": int(self.code_counts.sum()),
        }


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor, data: Images, batch: int = 500) -> dict[str, float]:
    """Every metric of the table, in evaluation mode. Each rank evaluates a share and returns the metrics of all.

    Args:
        model: has ``encode``, ``decode`` and ``quantizer``; it is left in the mode in which it was found.
        images: uint8 (N, C, H, W).
        data: the set that they belong to, for its mean and std.
        batch: images at a time.
    """
    device = next(model.parameters()).device
    rank, ranks = world()
    tokens = TokenSums(model.quantizer.codebook_size)
    squares = torch.zeros((), dtype=torch.float64, device=device)
    training = model.training
    model.eval()
    try:
        for part in images.tensor_split(ranks)[rank].split(batch):
            pixels = part.to(device)
            details = model.quantizer(model.encode(data.normalise(pixels)), details=True)
            error = data.denormalise(model.decode(details.z_q)) - pixels.float() / 255
            squares += error.square().sum(dtype=torch.float64)
            tokens.add(details)
    finally:
        model.train(training)
    mse = sum_over_ranks(squares).item() / images.numel()
    return {"mse": mse, "psnr": -10 * math.log10(max(mse, TINY)), **tokens.over_ranks().metrics()}


def gradient_norms(reconstruction: Tensor, commitment: Tensor) -> dict[str, float]:
    """Norms of the two gradients that reach z, (..., d), over the whole batch; the ratio of the first to the second."""
    squares = [mean_over_ranks(gradient.double().square().sum()) for gradient in (reconstruction, commitment)]
    first, second = (square.sqrt().item() for square in squares)
    share = math.sqrt(world()[1])  # of a mean over ranks, each rank has the gradients times their number
    return {
        "reconstruction_gradient": first / share,
        "commitment_gradient": second / share,
        "gradient_ratio": first / max(second, TINY),
    }


def within_cell_share(gradient: Tensor, indices: Tensor, codebook_size: int) -> float:
    """The share of E|gradient|^2 that is variance among the latents of one code: 0 where a cell has one gradient."""
    rows = gradient.detach().double().flatten(0, -2)
    chosen = indices.flatten()
    counts = counts_per_code(chosen, codebook_size, rows.dtype)
    sums = sums_per_code(rows, chosen, codebook_size)
    between_cells = (sums.square().sum(1) / counts.clamp_min(1)).sum()
    total = sum_over_ranks(gradient.double().square().sum())
    return 1 - (between_cells / total.clamp_min(TINY)).item()


def trace_row(model: nn.Module, details: Details, reconstruction: Tensor, z: Tensor) -> dict[str, float]:
    """Statistics of one training batch, at the latents z; the graph of the ``reconstruction`` loss is kept."""
    quantizer, tokens = model.quantizer, TokenSums(model.quantizer.codebook_size)
    tokens.add(details)
    commitment = quantizer.gamma * details.commitment_loss
    options = {"retain_graph": True, "materialize_grads": True}
    at_z, at_z_q = torch.autograd.grad(reconstruction, (z, details.z_q), allow_unused=True, **options)
    (commitment_at_z,) = torch.autograd.grad(commitment, z, **options)
    q = details.q if quantizer.code_dim == quantizer.dim else details.z_q  # of codes behind a projection: its value
    encoder, decoder = (sum(w.detach().double().square().sum().item() for w in end) for end in model.ends)
    return {
        **tokens.over_ranks().metrics(),
        **gradient_norms(at_z, commitment_at_z),
        "within_share": within_cell_share(at_z, details.indices, quantizer.codebook_size),
        # the sums of <dL_rec/dz, z> and <dL_rec/dz_q, q>, which the balance law compares
        "z_product": mean_over_ranks((at_z * z).double().sum()).item(),
        "q_product": mean_over_ranks((at_z_q * q.view_as(at_z_q)).double().sum()).item(),
        "encoder_squared": encoder,  # squared norms of the linear maps beside the quantiser
        "decoder_squared": decoder,
    }
