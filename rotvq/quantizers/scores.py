"""What needs all scores of a latent: its k nearest codes, and codes drawn at random. A few latents at a time."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from rotvq.quantizers.geometry import unit
from rotvq.quantizers.lookup import full_float32, in_parts, working_memory
from rotvq.quantizers.operators import Noise


def _euclidean_scores(z: Tensor, codes: Tensor) -> Tensor:
    """``2 <z, e> - |e|^2``, about the mean code, so that a common offset eats no digits."""
    centre = codes.mean(0)
    z, codes = z - centre, codes - centre
    return F.linear(z, 2 * codes, -codes.square().sum(-1))  # -|z - e|^2 but for |z|^2, the same for all codes


def _cosine_scores(z: Tensor, codes: Tensor) -> Tensor:
    return unit(z) @ unit(codes).t()


SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "euclidean": _euclidean_scores,
    "cosine": _cosine_scores,
}  #: (n, K), by metric


def _map_scores(
    function: Callable[[Tensor], Tensor], z: Tensor, codes: Tensor, metric: str, memory: int | None
) -> Tensor:
    """``function`` of the scores (n, K) of some latents at a time; what it returns, in the shape of the latents."""
    wide = torch.promote_types(torch.promote_types(z.dtype, codes.dtype), torch.float32)
    rows, codes = z.reshape(-1, z.shape[-1]).to(wide), codes.to(wide)
    size = max(1, working_memory(z.device, memory) // (4 * wide.itemsize * len(codes)))
    with torch.no_grad(), torch.autocast(z.device.type, enabled=False), full_float32(z.device):
        found = torch.cat([function(SCORES[metric](part, codes)) for part in in_parts(rows, size)])
    return found.reshape(*z.shape[:-1], *found.shape[1:])


def best_codes(z: Tensor, codes: Tensor, metric: str, k: int, memory: int | None) -> Tensor:
    """Indices of the k codes of highest score of latents z (..., d), the highest first: (..., k).

    >>> best_codes(torch.tensor([[0.9, 0.1]]), torch.eye(2), "euclidean", k=2, memory=1 << 20)
    tensor([[0, 1]])
    """
    if not 1 <= k <= len(codes):
        raise ValueError(f"k is {k}: it must be from 1 to {len(codes)}, the number of codes")
    return _map_scores(lambda scores: scores.topk(k).indices, z, codes, metric, memory)


def sampled_codes(
    z: Tensor, codes: Tensor, metric: str, temperature: float, noise: Noise, memory: int | None
) -> Tensor:
    """Indices (...) drawn by ``softmax(scores / temperature)``, as in MoMask (Guo et al. 2024, arXiv 2312.00063)."""

    def draw(scores: Tensor) -> Tensor:
        gumbel = -(-noise.uniform(scores).log()).log()  # the largest of scores with such noise is a draw
        return (scores / temperature + gumbel).argmax(-1)

    return _map_scores(draw, z, codes, metric, memory)
