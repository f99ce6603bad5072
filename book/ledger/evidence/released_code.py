"""The paper's released code (cfifty/rotation_trick, commit 9910492) as formulas: what it starts from and computes."""

from __future__ import annotations

import math

import torch

from book.algebra import close, norm, normal, pull_back, rotation, unit, vector
from book.statements import Finding, evidence


def halvings(levels):
    """How often an encoder with so many levels halves the image: between any two of them."""
    return levels - 1


@evidence
def latent_shape(resolution, blocks, claimed, real):
    """An encoder with n levels halves the image n - 1 times."""
    side = int(resolution) // 2 ** halvings(int(blocks))
    return Finding.of(side == int(claimed), side == int(real), side=side)


def patches(resolution, side):
    """How many patches of a side an image holds, one beside the other."""
    return torch.empty(resolution).unfold(0, side, side).shape[0]


@evidence
def patch_grid(resolution, patch, claimed, real):
    """A transformer has as many tokens a side as patches fit into the image."""
    side = patches(int(resolution), int(patch))
    return Finding.of(side == int(claimed), side == int(real), side=side)


# what the released code starts its codebooks with: whether by k-means, and the law of the codes without
STARTS = {
    "VQ-VAE, Euclid": (False, "kaiming uniform"),
    "VQ-VAE, cosine": (False, "kaiming uniform, of length 1, as the latents"),
    "VQGAN": (False, "uniform in +-1/K"),
}


@evidence
def official_initialisation(which):
    """Released defaults: no k-means; Kaiming-uniform codes, of rms norm sqrt(2/K), and U(-1/K, 1/K) in the VQGANs.

    With cosine lookup codes and latents have length 1.
    """
    K, d = 1024, 32
    codes = torch.nn.init.kaiming_uniform_(torch.empty(1, K, d), generator=torch.Generator().manual_seed(0))[0]
    latents = normal(4096, d)
    size, normalised = (float(norm(one).square().mean().sqrt()) for one in (codes, unit(codes)))
    r0, with_cosine = size / float(norm(latents).square().mean().sqrt()), normalised / float(norm(unit(latents)).mean())
    by_kmeans = any(kmeans for kmeans, _ in STARTS.values())
    claim = {"by k-means": by_kmeans, "as long as the latents": by_kmeans or min(r0, with_cosine) > 0.3}[which]
    return Finding.of(
        claim,
        not by_kmeans and abs(size / math.sqrt(2 / K) - 1) < 0.05 and r0 < 0.1 and abs(with_cosine - 1) < 1e-6,
        rms_norm_of_a_code=size,
        r0_for_normal_latents=r0,
        r0_with_cosine_lookup=with_cosine,
        rms_norm_in_the_32x32x4_VQGAN=math.sqrt(4 / 3) / 16384,
    )


def _released(z, q, g, scaled=True):
    """The VQGAN file's rule: a detached R applied to an undetached z/|z|, times a detached |q| where ``scaled``."""
    z = z.clone().requires_grad_()
    out = rotation(z.detach(), q) @ (z / norm(z)) * (norm(q) if scaled else 1.0)
    return torch.autograd.grad((g * out).sum(), z)[0]


@evidence
def released_backward(which):
    """Backward passes of the released files: the radial part of the gradient is removed where z/|z| is not detached."""
    z, q, g = normal(3, 6, seed=4).unbind()
    P = torch.eye(6) - torch.outer(z, z) / (z @ z)
    full, plain = pull_back("rotation", z, q, g), pull_back("rotation_only", z, q, g)
    vqgan, ablated = _released(z, q, g), _released(z, q, g, scaled=False)
    radial = abs(vqgan @ z)
    claim, fix = {
        "implements r R": (close(vqgan, full), close(vqgan, P @ full) and radial < 1e-12),
        "ablation is R": (close(ablated, plain), close(ablated, P @ plain / norm(z))),
        "ViT is r R": (
            close(_released(z, q / norm(q), g), pull_back("rotation", z, q / norm(q), g)),
            close(_released(z, q / norm(q), g), P @ plain / norm(z)),
        ),
    }[which]
    return Finding.of(
        claim,
        fix,
        gap_from_r_R=norm(vqgan - full),
        radial_part=radial,
        gap_of_the_ablation_from_R=norm(ablated - plain),
    )


def bisector(z, q):
    """The unit vector between the directions of z and q, as the released VQ-VAE computes it."""
    s = z / (norm(z) + 1e-6) + q / (norm(q) + 1e-6)
    return s / norm(s)


@evidence
def released_code_degenerate():
    """(a + b)/|a + b| is 0/0 at q = -z; the package's rule is finite there."""
    z, g = normal(2, 5, seed=1).unbind()
    ours = pull_back("rotation", z, -z, g)
    return Finding.of(
        bool(bisector(z, -z).isfinite().all()),
        bool(ours.isfinite().all()) and abs(norm(ours) - norm(g)) < 1e-9,
        our_norm_over_g=norm(ours) / norm(g),
    )


def to_bytes(pixels):
    """Pixels in [0, 1] as eight bits, as the released script casts them."""
    return (pixels * 255).to(torch.int64).to(torch.uint8)


@evidence
def released_fid_cast():
    """A pixel of value 1.02 becomes 260 and, cast to eight bits without clipping, 4."""
    pixels = vector(0.5, 1.02)
    cast, clipped = to_bytes(pixels), to_bytes(pixels.clamp(0, 1))
    faithful = [bool((x.double() - 255 * pixels.clamp(0, 1)).abs().max() < 1) for x in (cast, clipped)]
    return Finding.of(*faithful, before=1.02 * 255, after=int(cast[1]))
