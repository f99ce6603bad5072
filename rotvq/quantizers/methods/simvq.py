"""SimVQ: fixed codes behind one learned map (Zhu et al. 2025)."""

from __future__ import annotations

from rotvq.quantizers.vector import VectorQuantizer


def simvq(dim: int, codebook_size: int, **options) -> VectorQuantizer:
    """A VectorQuantizer whose codes are ``W w``: w fixed normal vectors, W learned."""
    return VectorQuantizer(dim, codebook_size, form="linear", **{"init": "normal"} | options)
