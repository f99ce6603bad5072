"""The samples that several pieces of evidence are tried on."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from book.algebra import gradient_map, identity, nearest, normal, spectral_norm, vector


def pairs(*dims: int, each: int = 20) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs (z, q) of normal vectors in the given dimensions, q three times as long."""
    for d in dims:
        for seed in range(each):
            z, q = normal(2, d, seed=seed) * vector(1.0, 3.0)[:, None]
            yield z, q


def triples(*dims: int, each: int = 20) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Triples (z, q, g) of standard normal vectors in the given dimensions."""
    for d in dims:
        for seed in range(each):
            z, q, g = normal(3, d, seed=seed)
            yield z, q, g


def lookup(z: Tensor, codes: Tensor) -> Tensor:
    """VQ as a function: the nearest code of each latent."""
    return codes[nearest(z, codes)]


def quantised(d: int = 3, K: int = 7, n: int = 4000) -> tuple[Tensor, Tensor, Tensor]:
    """K normal codes (K, d), n wider normal latents (n, d), and the nearest code of each (n, d)."""
    codes, z = normal(K, d, seed=1), 1.5 * normal(n, d, seed=2)
    return codes, z, codes[nearest(z, codes)]


def distance_to_identity(z: Tensor, q: Tensor) -> float:
    """``|G - I|`` in the spectral norm, for one pair."""
    return float(spectral_norm(gradient_map(z, q) - identity(z)))
