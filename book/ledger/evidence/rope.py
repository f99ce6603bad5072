"""Rotary position embeddings and the rotation of the trick, side by side."""

from __future__ import annotations

import math

import torch

from book.algebra import normal, polar, rotation, vector
from book.statements import Finding, evidence


def position_angle(m, plane):
    """The angle by which RoPE turns a plane at position m."""
    return m * 0.7**plane


@evidence
def rope():
    """RoPE turns d/2 fixed planes by angles that depend on the position alone, so scores depend on m - n."""

    def R(m, d=4):
        blocks = []
        for i in range(d // 2):
            t = position_angle(m, i)
            blocks.append(torch.tensor([[math.cos(t), -math.sin(t)], [math.sin(t), math.cos(t)]], dtype=torch.float64))
        return torch.block_diag(*blocks)

    x, y = normal(2, 4, seed=3)
    shift = abs((R(3) @ x) @ (R(5) @ y) - (R(10) @ x) @ (R(12) @ y))
    group = (R(2) @ R(3) - R(5)).abs().max()
    return Finding.of(
        shift < 1e-12 and group < 1e-12, change_of_score_under_a_shift=shift, defect_of_the_group_law=group
    )


@evidence
def turned_planes():
    """RoPE turns every plane of a fixed splitting; R turns one plane and fixes the other d - 2 directions."""
    d = 8
    z, q = normal(2, d, seed=4)
    fixed = int((torch.linalg.svdvals(rotation(z, q) - torch.eye(d)) < 1e-10).sum())
    return Finding.of(None, fixed == d - 2, d=d, directions_fixed_by_R=fixed, directions_fixed_by_RoPE=0)


@evidence
def depends_on_content():
    """RoPE's matrix is the same for every vector at a position; R is not the same for two latents of one cell."""
    q = vector(1.0, 0)
    gap = (rotation(vector(1.0, 0.2), q) - rotation(vector(1.0, -0.2), q)).abs().max()
    return Finding.of(gap > 0.1, change_of_R_between_two_latents=gap)


@evidence
def no_group_law():
    """Maps of positions compose. R_vw R_uv = R_uw fails from d = 3 on: the octant's holonomy is 90 degrees."""
    u, v, w = torch.eye(3, dtype=torch.float64)
    loop = rotation(w, u) @ rotation(v, w) @ rotation(u, v)
    holonomy = torch.rad2deg(torch.arccos((torch.trace(loop) - 1) / 2))
    plane = rotation(polar(50), polar(90)) @ rotation(polar(0), polar(50)) - rotation(polar(0), polar(90))
    return Finding.of(holonomy < 1e-6, plane.abs().max() < 1e-12, turn_after_an_octant_loop=holonomy)


@evidence
def one_rotation_for_all():
    """Two latents have two rotations: nothing is shared."""
    f = depends_on_content()
    return Finding.of(not f.claim, **f.numbers)
