"""SimVQ: fixed codes behind one learned map (Zhu et al. 2025)."""

from torch import Tensor

from rotvq.quantizers.vector import VectorQuantizer


def simvq(dim: int, codebook_size: int, init: str | Tensor = "normal", **options) -> VectorQuantizer:
    """A VectorQuantizer with the codes ``C W``: C (codebook_size, dim) fixed at ``init``, W (dim, dim) learned.

    Zhu et al., "Addressing Representation Collapse in Vector Quantized Models with One Linear Layer", ICCV 2025
    (arXiv 2411.02038). A gradient to one code moves all of them. W, the form "linear", starts at the identity.

    >>> simvq(dim=2, codebook_size=4).codebook.form
    Linear()
    """
    return VectorQuantizer(dim, codebook_size, init=init, form="linear", **options)
