"""Dynamic STE: a gain that falls with the distance to the code (Tang et al. 2026)."""

import torch
from torch import Tensor, nn


class DynamicGain(nn.Module):
    r"""The gain :math:`w = d^*_k / |z - e_k|^2`, :math:`d^*_k` the least squared distance of a latent to its code k.

    Tang et al., "StableVQ", 2026 (arXiv 2609.26774), eq. 4. The best latent of each code keeps its gradient, the others
    lose theirs with their distance. The least is taken over the latents of the batch that chose the code (to the letter
    eq. 4 takes all latents of the batch). A latent that is its code has weight 1 (the paper names no guard there).

    >>> z, q = torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1)
    >>> DynamicGain(codebook_size=1)(z, q, torch.tensor([0, 0]), None).tolist()
    [[1.0], [0.25]]
    """

    def __init__(self, codebook_size: int):
        super().__init__()
        self.codebook_size = codebook_size

    def forward(self, z: Tensor, q: Tensor, indices: Tensor, mask: Tensor | None) -> Tensor:
        """The weights (..., 1) of latents z (..., d), codes q, indices (...); padding and NaN are no best."""
        distance = (z - q).to(torch.promote_types(z.dtype, torch.float32)).square().sum(-1)
        counts = distance.isfinite() if mask is None else distance.isfinite() & mask
        counted = torch.where(counts, distance, torch.inf)
        least = distance.new_full((self.codebook_size,), torch.inf)
        least = least.scatter_reduce(0, indices.flatten(), counted.flatten(), "amin")[indices]
        return torch.where(distance > least, least / distance, 1.0).unsqueeze(-1)
