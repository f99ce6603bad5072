r"""Lloyd's k-means in torch, streamed: codes become the means of the latents that chose them, until little is saved.

What is saved is inertia, :math:`\sum_i |z_i - e_{k(i)}|^2`. The start is greedy k-means++ (Arthur and Vassilvitskii,
"k-means++: the advantages of careful seeding", SODA 2007, sections 2.2 and 5).
"""

import math

import torch
from torch import Tensor

from rotvq.quantizers.lookup import nearest, working_memory

ROUNDS = 100  # at most
LEAST_SAVING = 1e-4  # share of the inertia that a round must save for another to follow
JITTER = 16  # roundings of a typical entry: latents on a grid choose at random among codes at the same distance


def _standardised(latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Latents about their mean over a power of two, so that squares keep their digits; the mean; the divisor."""
    mean = latents.mean(0, dtype=torch.float64).to(latents.dtype)
    latents = latents - mean
    top = latents.abs().amax()
    scale = torch.ldexp(torch.ones_like(top), torch.frexp(top).exponent)
    return latents / scale, mean, scale


def _further_codes(latents: Tensor, distances: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Greedy k-means++: of some latents, drawn by their squared distances (N,) to the codes so far, that saving most.

    It takes ``O(log K)`` draws for each of ``count`` codes, as scikit-learn does.
    """
    device = None if generator is None else generator.device
    trials = 2 + int(math.log(count))
    draws = torch.rand(count, trials, dtype=torch.float64, generator=generator, device=device).to(latents.device)
    squares = latents.square().sum(-1, keepdim=True)
    one = torch.ones_like(squares)
    rows = torch.cat([latents, squares, one], 1)  # products with (-2c, 1, |c|^2) are squared distances to c
    chosen = []
    for draw in draws:
        reached = distances.cumsum(0, dtype=torch.float64)
        candidates = torch.searchsorted(reached, draw * reached[-1], right=True).clamp_max_(len(latents) - 1)
        columns = torch.cat([-2 * latents[candidates], one[candidates], squares[candidates]], 1)
        with_candidate = torch.minimum(columns @ rows.t(), distances)  # (trials, latents)
        best = with_candidate.sum(-1).argmin(keepdim=True)
        distances = with_candidate[best].squeeze(0).clamp_min_(0)
        chosen.append(latents[candidates[best]])
    return torch.cat(chosen)


def _moves(latents: Tensor, codes: Tensor, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Counts (K,), sums of the differences ``z - e`` (K, d), and the squared distance of each latent (N,)."""
    counts = torch.bincount(indices, minlength=len(codes))
    sums, distances = torch.zeros_like(codes), []
    rows = max(1, working_memory(codes.device) // (4 * codes.dtype.itemsize * codes.shape[1]))
    for part, choices in zip(latents.split(rows), indices.split(rows)):
        differences = part - codes[choices]
        sums.index_add_(0, choices, differences)
        distances.append(differences.square().sum(-1))
    return counts, sums, torch.cat(distances)


@torch.no_grad()
def kmeans(
    latents: Tensor, codebook_size: int, generator: torch.Generator | None = None, rounds: int = ROUNDS
) -> Tensor:
    """Centres of k-means, (K, d), on the latents' device and in at least float32.

    A code without latents starts anew. The same generator gives the same centres; on a GPU only if
    ``torch.use_deterministic_algorithms`` fixes the order of sums.

    Args:
        latents: (N, d). Rows with NaN or infinity do not count.
        codebook_size: number of centres, K.
        generator: of the starts; None: torch's global one.
        rounds: of assignments and means, at most.

    Returns:
        The centres. Beyond copies of the latents this takes O(N log K) numbers, never N x K.

    Raises:
        ValueError: fewer than K latents are finite.

    >>> kmeans(torch.tensor([[0.0], [1.0], [10.0], [12.0]]), 2).sort(0).values.tolist()
    [[0.5], [11.0]]
    """
    latents = latents.to(torch.promote_types(latents.dtype, torch.float32))
    latents = latents[latents.isfinite().all(-1)]
    if len(latents) < codebook_size:
        raise ValueError(f"k-means of {codebook_size} codes needs {codebook_size} finite latents, not {len(latents)}")
    latents, mean, scale = _standardised(latents)
    device = None if generator is None else generator.device
    noise = torch.rand(latents.shape, generator=generator, device=device).to(latents) - 0.5
    jittered = latents + JITTER * torch.finfo(latents.dtype).eps * latents.abs().median() * noise
    nowhere = latents.new_full((len(latents),), 4.0 * latents.shape[1])  # no distance is larger
    inertia = math.inf
    with torch.autocast(latents.device.type, enabled=False):
        codes = _further_codes(latents, nowhere, codebook_size, generator)
        for _ in range(rounds):
            counts, sums, distances = _moves(latents, codes, nearest(jittered, codes))
            codes = codes + sums / counts.clamp_min(1)[:, None]
            empty = counts == 0
            if empty.any():
                codes[empty] = _further_codes(latents, distances, int(empty.sum()), generator)
            before, inertia = inertia, float(distances.sum(dtype=torch.float64))
            if before - inertia <= LEAST_SAVING * inertia:
                break
    return codes * scale + mean
