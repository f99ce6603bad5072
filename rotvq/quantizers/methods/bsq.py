"""BSQ: binary spherical quantisation (Zhao et al. 2025)."""

from rotvq.quantizers.methods.lfq import LFQ


def bsq(
    dim: int,
    codebook_size: int,
    *,
    entropy_temperature: float = 1.0,
    group: int | None = 1,
    gamma: float = 0.0,
    **options,
) -> LFQ:
    r"""An :class:`.LFQ` on the unit sphere of ``L = log2 K`` dimensions.

    .. math:: u = \frac{z}{|z|}, \qquad q = \frac{\mathrm{sign}(u)}{\sqrt L}, \qquad
              |u - q|^2 = 2 - \frac{2}{\sqrt L} \sum_i |u_i| \le 2 - \frac{2}{\sqrt L}

    Zhao, Xiong and Krähenbühl, "Image and Video Tokenization with Binary Spherical Quantization", ICLR 2025 (arXiv
    2406.07548). The error has a bound, so no commitment loss is needed. The entropy of the mean counts each digit by
    itself, which bounds it from above; groups of several digits come nearer to it. Their code writes the temperature as
    its inverse, and divides the entropies by that.

    >>> import torch
    >>> bsq(dim=4, codebook_size=16)(torch.tensor([[3.0, -1.0, 0.0, 2.0]]))[:2]
    (tensor([[ 0.5000, -0.5000, -0.5000,  0.5000]]), tensor([9]))
    """
    options |= {"entropy_temperature": entropy_temperature, "group": group, "gamma": gamma}
    return LFQ(dim, codebook_size, spherical=True, **options)
