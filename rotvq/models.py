"""VQ-VAEs. The encoder ends in a linear map and the decoder begins with one, as the balance law asks."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from rotvq.interface import Quantized, Quantizer

NORMS = {
    "none": lambda channels: nn.Identity(),
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(4, channels),
    "latent": lambda channels: nn.Identity(),  # see VQVAE: a LayerNorm without parameters on z itself
}


class VQVAE(nn.Module):
    """Two strided convolutions down, a quantiser on the vectors of the coarse grid, two transposed ones up.

    28 x 28 images become a 7 x 7 grid of ``dim``-vectors, 32 x 32 images an 8 x 8 one; about 21 thousand parameters
    beside the codes for dim = 32. norm: "none"; "batch" or "group" between the convolutions; "latent" fixes the norm
    of z to sqrt(dim).

    >>> import torch
    >>> from rotvq import VectorQuantizer
    >>> model = VQVAE(channels=1, quantizer=VectorQuantizer(dim=8, codebook_size=16))
    >>> reconstruction, quantized = model(torch.zeros(2, 1, 28, 28))
    >>> reconstruction.shape, quantized.indices.shape
    (torch.Size([2, 1, 28, 28]), torch.Size([2, 7, 7]))
    """

    def __init__(self, channels: int, quantizer: Quantizer, width: int = 16, norm: str = "none"):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"unknown norm {norm!r}: one of {', '.join(NORMS)}")
        dim = quantizer.dim
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, 1), NORMS[norm](width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, 2, 1), NORMS[norm](2 * width), nn.ReLU(),
            nn.Conv2d(2 * width, dim, 1),
        )
        self.latent_norm = nn.LayerNorm(dim, elementwise_affine=False) if norm == "latent" else nn.Identity()
        self.quantizer = quantizer
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, 2 * width, 1), NORMS[norm](2 * width), nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1), NORMS[norm](width), nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, 2, 1),
        )

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to latents (B, H/4, W/4, dim)."""
        return self.latent_norm(self.encoder(x).movedim(1, -1))

    def decode(self, z_q: Tensor) -> Tensor:
        """Latents (B, h, w, dim) to images (B, C, 4h, 4w)."""
        return self.decoder(z_q.movedim(-1, 1))

    def forward(self, x: Tensor, objective: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Quantized]:
        """The reconstruction and what the quantiser answered.

        objective: the reconstruction loss as a function of the reconstruction alone, for quantisers that look at it
        (:class:`rotvq.rivals.SecondPass`).
        """
        given = {} if objective is None else {"objective": lambda z_q: objective(self.decode(z_q))}
        quantized = self.quantizer(self.encode(x), **given)
        return self.decode(quantized.z_q), quantized


MODELS = {"conv": VQVAE}
