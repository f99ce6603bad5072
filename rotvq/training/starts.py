"""How the codes of a recorded run start where that is not left to the quantiser."""

import torch
from torch import Tensor


def kmeans(latents: Tensor, codebook_size: int, generator: torch.Generator | None) -> Tensor:
    """Lloyd's k-means of scikit-learn (greedy k-means++, one start, at most 100 rounds): codes (codebook_size, dim).

    Recorded runs started from it before the quantiser had a k-means of its own, `rotvq.quantizers.kmeans`; another one
    finds other codes, and no recorded number would be reproduced.
    """
    from sklearn.cluster import KMeans

    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    fit = KMeans(codebook_size, n_init=1, max_iter=100, random_state=seed).fit(latents.cpu().double().numpy())
    return torch.from_numpy(fit.cluster_centers_)
