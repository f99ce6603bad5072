"""VQ-VAEs. The encoder ends in a linear map and the decoder begins with one, as the balance law asks."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from rotvq.quantizers.base import Quantized, Quantizer, one_of
from rotvq.training import vqgan

#: the layer after a convolution with so many channels, by name
NORMS = {
    "none": lambda channels: nn.Identity(),
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(4, channels),
    "latent": lambda channels: nn.Identity(),  # VQVAE has a LayerNorm without parameters on z itself
}


def convolutional(channels: int, dim: int, width: int, norm: str) -> tuple[nn.Sequential, nn.Sequential]:
    """Two strided convolutions down, two transposed ones up: (B, channels, H, W) to (B, dim, H/4, W/4) and back.

    There are ``width`` channels at the finer of the two grids between and twice as many at the coarser.

    >>> import torch
    >>> encoder, decoder = convolutional(1, 8, 16, "none")
    >>> z = encoder(torch.zeros(2, 1, 28, 28))
    >>> z.shape, decoder(z).shape
    (torch.Size([2, 8, 7, 7]), torch.Size([2, 1, 28, 28]))
    """
    between = NORMS[norm]
    encoder = nn.Sequential(
        *(nn.Conv2d(channels, width, 4, 2, 1), between(width), nn.ReLU()),
        *(nn.Conv2d(width, 2 * width, 4, 2, 1), between(2 * width), nn.ReLU()),
        nn.Conv2d(2 * width, dim, 1),
    )
    decoder = nn.Sequential(
        *(nn.Conv2d(dim, 2 * width, 1), between(2 * width), nn.ReLU()),
        *(nn.ConvTranspose2d(2 * width, width, 4, 2, 1), between(width), nn.ReLU()),
        nn.ConvTranspose2d(width, channels, 4, 2, 1),
    )
    return encoder, decoder


class ResidualUnit(nn.Module):
    """``x + branch(x)`` of (B, channels, H, W): a 3 x 3 and a 1 x 1 convolution, as in the first VQ-VAE."""

    def __init__(self, channels: int, norm: str):
        super().__init__()
        between = NORMS[norm]
        self.branch = nn.Sequential(
            *(between(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)),
            *(between(channels), nn.ReLU(), nn.Conv2d(channels, channels, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


def residual(channels: int, dim: int, width: int, norm: str) -> tuple[nn.Sequential, nn.Sequential]:
    """As :func:`convolutional`, with two residual blocks on the coarser grid of either side.

    >>> import torch
    >>> encoder, decoder = residual(1, 8, 16, "group")
    >>> z = encoder(torch.zeros(2, 1, 28, 28))
    >>> z.shape, decoder(z).shape
    (torch.Size([2, 8, 7, 7]), torch.Size([2, 1, 28, 28]))
    """
    encoder, decoder = convolutional(channels, dim, width, norm)
    down, to_latents = encoder[:-1], encoder[-1]
    from_latents, up = decoder[:1], decoder[1:]
    before, after = ((ResidualUnit(2 * width, norm) for _ in range(2)) for _ in range(2))
    return nn.Sequential(*down, *before, to_latents), nn.Sequential(*from_latents, *after, *up)


def pointwise(channels: int, dim: int, width: int, norm: str) -> tuple[nn.Sequential, nn.Sequential]:
    """A perceptron with one hidden layer to each place, and another back: for vectors, which are images of one place.

    >>> import torch
    >>> encoder, decoder = pointwise(100, 8, 64, "none")
    >>> z = encoder(torch.zeros(2, 100, 1, 1))
    >>> z.shape, decoder(z).shape
    (torch.Size([2, 8, 1, 1]), torch.Size([2, 100, 1, 1]))
    """
    between = NORMS[norm]
    encoder = nn.Sequential(nn.Conv2d(channels, width, 1), between(width), nn.ReLU(), nn.Conv2d(width, dim, 1))
    decoder = nn.Sequential(nn.Conv2d(dim, width, 1), between(width), nn.ReLU(), nn.Conv2d(width, channels, 1))
    return encoder, decoder


class VQVAE(nn.Module):
    """An encoder, a quantiser on the vectors of its coarse grid, and a decoder.

    Images have so many ``channels``. ``norm`` is a key of :data:`NORMS`; "latent" fixes the norm of z to sqrt(dim).
    ``networks`` makes encoder and decoder from (channels, dim, width, norm). With :func:`convolutional` and dim = 32
    they have about 21 thousand parameters, and 28 x 28 images become a 7 x 7 grid of latents.

    >>> import torch
    >>> from rotvq import VectorQuantizer
    >>> model = VQVAE(channels=1, quantizer=VectorQuantizer(dim=8, codebook_size=16))
    >>> reconstruction, quantized = model(torch.zeros(2, 1, 28, 28))
    >>> reconstruction.shape, quantized.indices.shape
    (torch.Size([2, 1, 28, 28]), torch.Size([2, 7, 7]))
    """

    def __init__(
        self,
        channels: int,
        quantizer: Quantizer,
        width: int = 16,
        norm: str = "none",
        networks: Callable[[int, int, int, str], tuple[nn.Module, nn.Module]] = convolutional,
    ):
        super().__init__()
        one_of("norm", norm, NORMS)
        dim = quantizer.dim
        self.encoder, decoder = networks(channels, dim, width, norm)
        self.latent_norm = nn.LayerNorm(dim, elementwise_affine=False) if norm == "latent" else nn.Identity()
        self.quantizer = quantizer
        self.decoder = decoder  # after the quantiser: weights are listed in the order of the computation

    @property
    def ends(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor]]:
        """The linear maps beside the quantiser, the encoder's last (weight, bias) and the decoder's first (weight,)."""
        last, first = self.encoder[-1], self.decoder[0]
        return (last.weight, last.bias), (first.weight,)

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to latents (B, h, w, dim)."""
        return self.latent_norm(self.encoder(x).movedim(1, -1))

    def decode(self, z_q: Tensor) -> Tensor:
        """Latents (B, h, w, dim) to images (B, C, H, W)."""
        return self.decoder(z_q.movedim(-1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Quantized]:
        """The reconstruction of images (B, C, H, W), and what the quantiser answered."""
        quantized = self.quantizer(self.encode(x))
        return self.decode(quantized.z_q), quantized


#: encoder, quantiser and decoder from (channels, quantizer, norm), by name
MODELS = {
    "conv": VQVAE,
    "mlp": partial(VQVAE, width=256, networks=pointwise),
    "residual": partial(VQVAE, width=26, networks=residual),
    "residual_f16": partial(VQVAE, width=128, networks=vqgan.f16),
    "residual_f4": partial(VQVAE, width=128, networks=vqgan.f4),
}
