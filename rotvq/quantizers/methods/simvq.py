"""SimVQ: fixed codes behind one learned map (Zhu et al. 2025)."""

from __future__ import annotations

from torch import Tensor

from rotvq.quantizers.vector import VectorQuantizer


def simvq(dim: int, codebook_size: int, init: str | Tensor = "normal", **options) -> VectorQuantizer:
    """A VectorQuantizer with the codes ``C W``: C (codebook_size, dim) fixed, W (dim, dim) learned.

    Zhu et al., "Addressing Representation Collapse in Vector Quantized Models with One Linear Layer", ICCV 2025
    (arXiv 2411.02038). A gradient to one code moves all of them. Here W is :class:`.Linear`, which starts at the
    identity, so the first codes are those of ``init``; it goes with any estimator.

    Args:
        dim: of a latent.
        codebook_size: number of codes.
        init: C, as in :class:`.VectorQuantizer`.
        options: any other of its options but ``form``.
    """
    return VectorQuantizer(dim, codebook_size, init=init, form="linear", **options)
