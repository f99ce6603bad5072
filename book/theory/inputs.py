"""What a law can ask for by name: random vectors and pairs (z, q) of every kind, from one seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from book.algebra import norm

#: q from z, a vector e of length about 1, and a size s between 0.1 and 10
PAIRS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "generic": lambda z, e, s: s * norm(z) * e,
    "close": lambda z, e, s: z + 1e-4 * norm(z) * e,
    "opposite": lambda z, e, s: -s * z + 1e-3 * s * norm(z) * e,
    "parallel": lambda z, e, s: s * z,
    "lopsided": lambda z, e, s: 1e6 * s * norm(z) * e,
}
GENERIC = ("generic",)  # for laws that draw what they need and ask nothing of the pair


def draw_inputs(d: int, n: int, dtype: torch.dtype, kind: str, seed: int) -> dict[str, Any]:
    """All inputs of a law.

    Args:
        d: The dimension.
        n: The number of vectors.
        dtype: The precision in which they are handed out.
        kind: How q stands to z, a key of :data:`PAIRS`.
        seed: Of all that is drawn.

    Returns:
        ``z, q, g, h``: vectors (n, d), where |z| is between 0.1 and 10 times that of a normal vector.
        ``mu``: a point (d,). ``U``: a random orthogonal matrix (d, d). ``t``: a float in (0.1, 0.9).
        ``draw(*shape)``: more normal numbers. ``generator``: what they come from. ``n, d, dtype``: as given.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    z, g, h, e = draw(4, n, d)
    size_of_z, size_of_q = 10 ** (2 * uniform(2, n, 1) - 1)
    z = size_of_z * z.double()
    q = PAIRS[kind](z, e.double() / d**0.5, size_of_q)
    U, upper = torch.linalg.qr(draw(d, d).double())
    U = U * upper.diagonal().sign()  # uniformly distributed
    t = float(0.1 + 0.8 * uniform())
    return {
        "z": z.to(dtype),
        "q": q.to(dtype),
        "g": g,
        "h": h,
        "mu": draw(d),
        "U": U.to(dtype),
        "t": t,
        "draw": draw,
        "generator": generator,
        "n": n,
        "d": d,
        "dtype": dtype,
    }
