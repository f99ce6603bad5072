"""What a piece of evidence is, and the few tools that all of them share.

An evidence function tests one claim of the ledger and returns a :class:`Finding`. It is registered by its name, takes
the words that the ledger gives in brackets, computes in float64 and draws from its own seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rotvq.quantizers.estimators import ESTIMATORS


@dataclass(frozen=True)
class Finding:
    """``claim``: does the claim hold as it stands; None where it does not say enough to be settled.

    ``fix``: does the corrected statement hold; None where there is none to test. ``numbers``: what the ledger prints.
    """

    claim: bool | None
    fix: bool | None = None
    numbers: dict[str, float | int | str] = field(default_factory=dict)


EVIDENCE: dict[str, Callable[..., Finding | None]] = {}


def evidence(function: Callable[..., Finding | None]) -> Callable[..., Finding | None]:
    """Register a function under its name."""
    if function.__name__ in EVIDENCE:
        raise ValueError(f"two pieces of evidence are called {function.__name__!r}")
    EVIDENCE[function.__name__] = function
    return function


def found(claim, fix=None, **numbers) -> Finding:
    """A finding of plain Python values from tensors, numpy scalars and the like."""

    def plain(x):
        return x if isinstance(x, str | int) else float(x)

    whether = (None if x is None else bool(x) for x in (claim, fix))
    return Finding(*whether, {k: plain(v) for k, v in numbers.items()})


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64 from their own generator."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def vector(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def polar(degrees: float, length: float = 1.0) -> Tensor:
    """A vector of the plane."""
    return length * vector(math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))


def norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1)


def angle(u: Tensor, v: Tensor) -> Tensor:
    """The angle between u and v in degrees, accurate at both ends."""
    u, v = u / norm(u)[..., None], v / norm(v)[..., None]
    return 2 * torch.rad2deg(torch.atan2(norm(u - v), norm(u + v)))


def turn(z: Tensor, q: Tensor) -> Tensor:
    """The dense rotation ``R = I + 2 b a^T - (a + b)(a + b)^T / (1 + <a, b>)`` of two vectors of R^d."""
    a, b = z / norm(z), q / norm(q)
    s = a + b
    return torch.eye(len(z), dtype=z.dtype) + 2 * torch.outer(b, a) - torch.outer(s, s) / (1 + a @ b)


def gradient_map(z: Tensor, q: Tensor) -> Tensor:
    """The dense ``G = |q|/|z| R``."""
    return norm(q) / norm(z) * turn(z, q)


def pull_back(name: str, z: Tensor, q: Tensor, g: Tensor) -> Tensor:
    """``G^T g`` of a member of the family, as the package computes it."""
    return ESTIMATORS[name].pull_back(z, q, g)


def nearest(z: Tensor, codes: Tensor) -> Tensor:
    """Indices of the nearest codes, written out as the definition says."""
    return (z[..., None, :] - codes).square().sum(-1).argmin(-1)


def close(x: Tensor, y: Tensor, tolerance: float = 1e-10) -> bool:
    """Equal up to ``tolerance`` times the largest entry: some 1e5 roundings of float64."""
    return bool((x - y).abs().max() <= tolerance * max(1.0, float(y.abs().max())))


def triples(*dims: int, each: int = 20):
    """Triples (z, q, g) of standard normal vectors in the given dimensions."""
    for d in dims:
        for seed in range(each):
            yield normal(3, d, seed=seed).unbind()


def cells(d: int = 3, K: int = 7, n: int = 4000) -> tuple[Tensor, Tensor, Tensor]:
    """K normal codes, n wider normal latents, and the code of each."""
    codes, z = normal(K, d, seed=1), 1.5 * normal(n, d, seed=2)
    return codes, z, codes[nearest(z, codes)]


def spectral(z: Tensor, q: Tensor) -> float:
    """The distance of G from the identity in the spectral norm."""
    return float(torch.linalg.matrix_norm(gradient_map(z, q) - torch.eye(len(z)), 2))
