"""The residual encoder and decoder of VQGAN (Esser et al. 2021), which Fifty et al. (2025) train for their Table 1.

Widths, depths and shapes are those of the published code, so the numbers of parameters are too. Three things save
memory and change no value: attention never holds its matrix of weights where the device can do without, GroupNorm and
swish are computed again on the way back, and without gradients the networks take a few images at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

AT_ONCE = 32  # images, where no gradient is wanted


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups, as published; fewer where a narrow network has too few channels for them."""
    return nn.GroupNorm(math.gcd(32, channels), channels, eps=1e-6)


class Swish(nn.Sequential):
    """GroupNorm and swish. Only their input is kept for the backward pass, which computes the rest again."""

    def __init__(self, channels: int):
        super().__init__(group_norm(channels), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(super().forward, x, use_reentrant=False, preserve_rng_state=False)


class Residual(nn.Module):
    """``skip(x) + f(x)``, f being twice GroupNorm, swish, 3 x 3 convolution; skip is 1 x 1 where the width changes.

    >>> Residual(8, 16)(torch.zeros(2, 8, 5, 5)).shape
    torch.Size([2, 16, 5, 5])
    """

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.branch = nn.Sequential(
            Swish(channels),
            nn.Conv2d(channels, out, 3, padding=1),
            Swish(out),
            nn.Conv2d(out, out, 3, padding=1),
        )
        self.skip = nn.Identity() if out == channels else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.branch(x)


class Attention(nn.Module):
    """``x + attention(x)``: every position looks at every other one, with one head as wide as x.

    >>> Attention(8)(torch.zeros(2, 8, 5, 5)).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(self, channels: int):
        super().__init__()
        self.qkv = nn.Sequential(group_norm(channels), nn.Conv2d(channels, 3 * channels, 1))
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).flatten(2).mT.chunk(3, dim=-1)
        return x + self.out(F.scaled_dot_product_attention(q, k, v).mT.reshape(x.shape))


class Network(nn.Sequential):
    """Layers of which none mixes images, so that a large batch without gradients may be cut."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or len(x) <= AT_ONCE:
            return super().forward(x)
        return torch.cat([super(Network, self).forward(part) for part in x.split(AT_ONCE)])


def _level(channels: int, out: int, depth: int, attend: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width in (channels, *(depth - 1) * (out,)):
        layers += [Residual(width, out), *attend * (Attention(out),)]
    return layers


def _middle(channels: int) -> list[nn.Module]:
    return [Residual(channels, channels), Attention(channels), Residual(channels, channels)]


def networks(multipliers: tuple[int, ...], attend: bool, latent: int | None = None) -> Callable:
    """``(channels, dim, width, norm) -> (encoder, decoder)``, with a level for each multiplier.

    Level i has width x multipliers[i] channels and half the side of level i - 1, so that images (B, channels, H, W)
    become latents (B, dim, H/f, W/f) with f = 2^(levels - 1); f must divide H and W. The encoder has two residual
    blocks a level, the decoder three. attend: attention after each block of the coarsest level, besides the one that
    both always have there. latent: two 1 x 1 convolutions map latent x width channels to dim and back; with None the
    encoder's last and the decoder's first map, both 3 x 3, have dim channels themselves.

    The networks have their own GroupNorm: a norm other than "none" and "latent" raises ValueError.

    >>> encoder, decoder = networks((1, 2, 4), attend=False)(3, 8, 16, "none")
    >>> z = encoder(torch.zeros(2, 3, 32, 48))
    >>> z.shape, decoder(z).shape
    (torch.Size([2, 8, 8, 12]), torch.Size([2, 3, 32, 48]))
    """

    def build(channels: int, dim: int, width: int, norm: str) -> tuple[Network, Network]:
        if norm not in ("none", "latent"):
            raise ValueError(f"norm is {norm!r}: a residual network has its own GroupNorm and takes 'none' or 'latent'")
        widths = [width * m for m in multipliers]
        deepest, between = widths[-1], dim if latent is None else latent * width

        down: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        for i, (before, after) in enumerate(zip([width, *widths], widths)):
            if i:
                down += [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(before, before, 3, stride=2)]
            down += _level(before, after, 2, attend and i == len(widths) - 1)
        down += [*_middle(deepest), Swish(deepest), nn.Conv2d(deepest, between, 3, padding=1)]

        up: list[nn.Module] = [nn.Conv2d(between, deepest, 3, padding=1), *_middle(deepest)]
        for i, (before, after) in enumerate(zip([deepest, *widths[::-1]], widths[::-1])):
            if i:
                up += [nn.Upsample(scale_factor=2), nn.Conv2d(before, before, 3, padding=1)]
            up += _level(before, after, 3, attend and i == 0)
        up += [Swish(width), nn.Conv2d(width, channels, 3, padding=1)]

        if latent is not None:
            down, up = [*down, nn.Conv2d(between, dim, 1)], [nn.Conv2d(dim, between, 1), *up]
        return Network(*down), Network(*up)

    return build


#: Table 1 with d = 32 and K = 1024: 256 x 256 images become 16 x 16 latents; 71.7 million parameters at width 128
f16 = networks((1, 1, 2, 2, 4), attend=True, latent=2)
#: Table 1 with d = 3 and K = 8192: 256 x 256 images become 64 x 64 latents; 55.3 million parameters at width 128
f4 = networks((1, 2, 4), attend=False)
