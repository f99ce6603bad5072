"""The residual encoder and decoder of VQGAN (Esser et al. 2021), which Fifty et al. (2025) train for their Table 1.

Widths, depths and shapes are those of the published code, so the numbers of parameters are too. Three things save
memory and change no value: attention never holds its matrix of weights where the device can do without, GroupNorm and
swish are computed again on the way back, and without gradients the networks take a few images at a time.
"""

import math
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

AT_ONCE = 32  # images, where no gradient is wanted


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups, as published; fewer where a narrow network has too few channels for them."""
    return nn.GroupNorm(math.gcd(32, channels), channels, eps=1e-6)


class NormSwish(nn.Sequential):
    """GroupNorm and swish. Only their input is kept for the backward pass, which computes the rest again."""

    def __init__(self, channels: int):
        super().__init__(group_norm(channels), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(super().forward, x, use_reentrant=False, preserve_rng_state=False)


class ResidualBlock(nn.Module):
    """``skip(x) + branch(x)`` of (B, channels, H, W), with a 1 x 1 convolution for skip where the width changes."""

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.branch = nn.Sequential(
            *(NormSwish(channels), nn.Conv2d(channels, out, 3, padding=1)),
            *(NormSwish(out), nn.Conv2d(out, out, 3, padding=1)),
        )
        self.skip = nn.Identity() if out == channels else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.branch(x)


class AttentionBlock(nn.Module):
    """``x + attention(x)``: every position looks at every other one, with one head as wide as x."""

    def __init__(self, channels: int):
        super().__init__()
        self.qkv = nn.Sequential(group_norm(channels), nn.Conv2d(channels, 3 * channels, 1))
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).flatten(2).mT.chunk(3, dim=-1)
        return x + self.out(F.scaled_dot_product_attention(q, k, v).mT.reshape(x.shape))


class PerImage(nn.Sequential):
    """Layers of which none mixes images, so that a large batch without gradients may be cut."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or len(x) <= AT_ONCE:
            return super().forward(x)
        return torch.cat([super(PerImage, self).forward(part) for part in x.split(AT_ONCE)])


def _level(channels: int, out: int, depth: int, attend: bool = False) -> list[nn.Module]:
    """``depth`` residual blocks at one resolution, each with attention after it if asked for."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers.append(ResidualBlock(channels, out))
        if attend:
            layers.append(AttentionBlock(out))
        channels = out
    return layers


def _middle(channels: int) -> list[nn.Module]:
    return [ResidualBlock(channels, channels), AttentionBlock(channels), ResidualBlock(channels, channels)]


def networks(
    channels: int, dim: int, width: int, norm: str, *, multipliers: tuple[int, ...], attend: bool, between: int | None
) -> tuple[PerImage, PerImage]:
    """Encoder and decoder with a level for each multiplier: (B, channels, H, W) to (B, dim, H/f, W/f) and back.

    Level i has ``width * multipliers[i]`` channels and half the side of level i - 1, so f = 2^(levels - 1), which must
    divide H and W. The encoder has two residual blocks a level, the decoder three. There is attention between the
    coarsest level and the latents and, with ``attend``, after each block of that level. Two 1 x 1 convolutions map
    ``between`` times ``width`` channels to dim and back; where ``between`` is None the 3 x 3 convolutions there have
    dim channels. As the networks have their own GroupNorm, a norm but "none" and "latent" raises ValueError.

    >>> encoder, decoder = networks(3, 8, 16, "none", multipliers=(1, 2, 4), attend=False, between=None)
    >>> z = encoder(torch.zeros(2, 3, 32, 48))
    >>> z.shape, decoder(z).shape
    (torch.Size([2, 8, 8, 12]), torch.Size([2, 3, 32, 48]))
    """
    if norm not in ("none", "latent"):
        raise ValueError(f"norm is {norm!r}: a residual network has its own GroupNorm and takes 'none' or 'latent'")
    widths = [width * multiplier for multiplier in multipliers]
    steps = list(pairwise(widths))  # (finer, coarser)
    coarsest = widths[-1]
    ends = dim if between is None else between * width
    down: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), *_level(width, widths[0], 2)]
    for i, (finer, coarser) in enumerate(steps, start=1):
        down += [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(finer, finer, 3, stride=2)]
        down += _level(finer, coarser, 2, attend=attend and i == len(steps))
    down += [*_middle(coarsest), NormSwish(coarsest), nn.Conv2d(coarsest, ends, 3, padding=1)]
    up: list[nn.Module] = [nn.Conv2d(ends, coarsest, 3, padding=1), *_middle(coarsest)]
    up += _level(coarsest, coarsest, 3, attend=attend)
    for finer, coarser in reversed(steps):
        up += [nn.Upsample(scale_factor=2), nn.Conv2d(coarser, coarser, 3, padding=1), *_level(coarser, finer, 3)]
    up += [NormSwish(widths[0]), nn.Conv2d(widths[0], channels, 3, padding=1)]
    if between is not None:
        down.append(nn.Conv2d(ends, dim, 1))
        up.insert(0, nn.Conv2d(dim, ends, 1))
    return PerImage(*down), PerImage(*up)


#: Table 1 with d = 32 and K = 1024: 256 x 256 images become 16 x 16 latents; 71.7 million parameters at width 128
f16 = partial(networks, multipliers=(1, 1, 2, 2, 4), attend=True, between=2)
#: Table 1 with d = 3 and K = 8192: 256 x 256 images become 64 x 64 latents; 55.3 million parameters at width 128
f4 = partial(networks, multipliers=(1, 2, 4), attend=False, between=None)
