"""The field of pulled-back gradients inside a cell and at its boundary."""

from __future__ import annotations

import torch

from book.algebra import (
    angle,
    angle_in_degrees,
    distances,
    largest,
    nearest,
    norm,
    normal,
    polar,
    pull_back,
    rotation,
    vector,
)
from book.ledger.evidence.samples import distance_to_identity
from book.statements import Finding, evidence
from rotvq.quantizers.estimators import ESTIMATORS


@evidence
def distance_from_identity():
    """|G - I|_2 = |q - z| / |z| exactly: small where the error is small against |z|, not where it is small."""
    law = 0.0
    for d in (2, 3, 8):
        for seed in range(20):
            z, q = normal(2, d, seed=seed)
            law = largest(law, abs(distance_to_identity(z, q) - norm(q - z) / norm(z)))
    z, q = vector(1e-3, 0), vector(0, 1e-3)
    return Finding.of(
        distance_to_identity(z, q) < 0.1,
        law < 1e-10,
        error_of_the_law=law,
        close_pair_error=norm(q - z),
        close_pair_distance_from_I=distance_to_identity(z, q),
    )


@evidence
def boundary_has_no_say():
    """A boundary point with G almost I, one with R = I; a point at 90 degrees to its code, far from every boundary."""
    near = distance_to_identity(vector(10.0, 0), vector(10.0, 0.1))  # codes (10, +-0.1), boundary y = 0
    radial = torch.linalg.matrix_norm(rotation(vector(2.0, 0), vector(1.0, 0)) - torch.eye(2))  # codes (1, 0), (3, 0)
    z, codes = vector(0, 1.0), torch.stack([vector(0.1, 0), vector(100.0, 0)])
    q, other = codes[nearest(z, codes)], codes[1]
    to_boundary = (norm(z - other) ** 2 - norm(z - q) ** 2) / (2 * norm(q - other)) if q is not other else 0.0
    far = distance_to_identity(z, q)
    return Finding.of(
        near > 0.5 and radial > 0.5,
        near < 0.1 and to_boundary > 10 and far > 1,
        boundary_point_distance_from_I=near,
        boundary_point_R_minus_I=radial,
        interior_angle=angle_in_degrees(z, q),
        interior_distance_from_I=far,
        interior_distance_to_boundary=to_boundary,
    )


@evidence
def explanation_is_not_solid():
    """The reading by cell boundaries ties |G - I| to them; the counterexamples show that they are unrelated."""
    return Finding.of(boundary_has_no_say().fix, **boundary_has_no_say().numbers)


@evidence
def depends_on_position():
    """For one gradient g at the code, STE gives all latents of a cell the same vector, rotation does not."""
    q, g = vector(1.0, 0), vector(0.3, -1)
    z = vector(1.0, 0.3), vector(0.8, -0.2)
    ste, rot = (norm(pull_back(n, z[0], q, g) - pull_back(n, z[1], q, g)) for n in ("ste", "rotation"))
    inner, outer = (pull_back("rotation_only", vector(x, 0), q, g) for x in (0.5, 2.0))
    same_line = norm(inner - outer)
    return Finding.of(
        ste == 0 and rot > 0.1,
        difference_under_STE=ste,
        difference_under_rotation=rot,
        difference_of_R_along_a_ray=same_line,
    )


IMAGES = (3, 4)  # the seeds of two images


def gradients_of_two_images() -> list[torch.Tensor]:
    """What two images that use the same two codes send back to the first of them."""
    W, codes = normal(4, 6, seed=1), normal(2, 2, seed=2)
    grads = []
    for seed in IMAGES:
        x = normal(6, seed=seed)
        z_q = codes.clone().requires_grad_()  # the same two codes in both images
        (g,) = torch.autograd.grad((torch.tanh(z_q.flatten()) @ W - x).square().sum(), z_q)
        grads.append(g[0])
    return grads


@evidence
def same_cell_same_gradient():
    """Two latents of one cell in two images: g differs, because the loss depends on the image and its other latents."""
    one, other = gradients_of_two_images()
    gap = norm(one - other)
    f = depends_on_position()
    return Finding.of(
        gap == 0,
        gap > 0 and f.claim,
        gap_between_images=gap,
        gap_inside_a_cell_for_one_g=f.numbers["difference_under_STE"],
    )


@evidence
def ste_variance():
    """Within a cell the STE gradient varies with the image: its variance is that of g, not 0.

    The correction: for one g it is the same in the whole cell.
    """
    numbers = same_cell_same_gradient().numbers
    gap, inside = numbers["gap_between_images"], numbers["gap_inside_a_cell_for_one_g"]
    return Finding.of(
        gap == 0,
        inside == 0,
        gap_between_images=gap,
        variance_of_two_samples=(gap / 2) ** 2,
        gap_inside_a_cell_for_one_g=inside,
    )


@evidence
def field_difference():
    """In the plane |F(z1) - F(z2)| = |g||q||z1 - z2| / (|z1||z2|): the factor is no constant."""
    q, g, law, factors = vector(1.0, 0), vector(0.3, -1), 0.0, []
    for scale in (0.6, 1.4):
        z1, z2 = scale * polar(5), scale * polar(25)
        gap = norm(pull_back("rotation", z1, q, g) - pull_back("rotation", z2, q, g))
        law = largest(law, abs(gap - norm(g) * norm(q) * norm(z1 - z2) / (norm(z1) * norm(z2))))
        factors.append(float(gap / norm(z1 - z2)))
    return Finding.of(
        abs(factors[0] - factors[1]) < 1e-6,
        law < 1e-12,
        factor_near_the_origin=factors[0],
        factor_farther_out=factors[1],
        error_of_the_law=law,
    )


ON_A_RAY = (1.0, 3.0)  # two codes on the first axis


@evidence
def boundary_push(which):
    """Codes (1, 0) and (3, 0), boundary at (2, 0): the gain on either side of it, and how fast the field changes."""
    g, h, middle = vector(1.0, 0), vector(0, 1e-6), vector(sum(ON_A_RAY) / 2, 0)
    low, high = (norm(pull_back("rotation", middle, vector(x, 0), g)) for x in ON_A_RAY)
    q = vector(ON_A_RAY[0], 0)

    def rate(z):  # of change of the field across the ray, for the first code
        return norm(pull_back("rotation", z + h, q, g) - pull_back("rotation", z - h, q, g)) / norm(2 * h)

    code, boundary = rate(q), rate(middle)
    claim = {"stronger": low > 1 and high > 1, "changes faster": boundary > code}[which]
    return Finding.of(
        claim,
        None,
        gain_on_the_inner_side=low,
        gain_on_the_outer_side=high,
        rate_of_change_at_the_code=code,
        rate_of_change_at_the_boundary=boundary,
    )


@evidence
def crosses_smoothly(which):
    """Linear loss, codes (1, 0) and (0, 1), at (1, 1): the STE field is constant, the rotation field jumps by |g|."""
    z, g = vector(1.0, 1), vector(0.6, -0.8)
    jumps = {
        n: float(norm(pull_back(n, z, vector(1.0, 0), g) - pull_back(n, z, vector(0, 1.0), g)))
        for n in ("ste", "rotation")
    }
    claim, fix = {
        "rotation is gradual": (jumps["rotation"] < 1e-9, abs(jumps["rotation"] - 1) < 1e-12),
        "STE jumps": (jumps["ste"] > 0, jumps["ste"] == 0),
    }[which]
    return Finding.of(claim, fix, jump_of_STE=jumps["ste"], jump_of_rotation=jumps["rotation"])


@evidence
def field_inside_a_cell():
    """For fixed g and q the field is continuous in z away from 0 and from the ray opposite to q, where it breaks."""
    q, g = vector(1.0, 0, 0), vector(0.2, -1, 0.4)

    def change(z, step):
        return float(norm(pull_back("rotation", z + step, q, g) - pull_back("rotation", z - step, q, g)))

    usual = [change(vector(0.9, 0.3, -0.2), torch.full((3,), h).double()) for h in (1e-3, 1e-6)]
    up, aside = vector(0, 1e-6, 0), vector(0, 0, 1e-6)
    opposite = vector(-0.5, 0, 0)
    break_ = float(norm(pull_back("rotation", opposite + up, q, g) - pull_back("rotation", opposite + aside, q, g)))
    return Finding.of(
        break_ < 1e-3,
        usual[1] < 1e-5 < usual[0] and break_ > 1,
        change_for_a_step_of_1e_3=usual[0],
        change_for_a_step_of_1e_6=usual[1],
        change_opposite_to_q=break_,
    )


@evidence
def field_is_a_gradient():
    """In d = 3 the field of a fixed g has curl: it is the gradient of no function. In the plane it has none."""
    curls = {}
    for q, g, z in (
        (vector(1.0, 0), vector(0.2, -1), vector(0.9, 0.5)),
        (vector(1.0, 0, 0), vector(0.2, -1, 0.4), vector(0.9, 0.5, -0.3)),
    ):
        J = torch.stack(
            [
                (pull_back("rotation", z + h, q, g) - pull_back("rotation", z - h, q, g)) / 2e-6
                for h in 1e-6 * torch.eye(len(z), dtype=z.dtype)
            ],
            1,
        )
        curls[len(z)] = float((J - J.T).abs().max())
    return Finding.of(curls[3] < 1e-6, curls[2] < 1e-6 and curls[3] > 1e-2, curl_in_d_2=curls[2], curl_in_d_3=curls[3])


@evidence
def isotropic_crossings(which="by the factor"):
    """R^T g has the law of g if g is isotropic: the chance to leave the cell is unchanged, not 1 + |R - I|_F larger."""
    codes = torch.stack([polar(t) for t in (0, 90, 180, 270)])
    z = vector(0.6, 0.45)
    q = codes[nearest(z, codes)]
    g, n = normal(400_000, 2, seed=1), 400_000

    def leaves(u):
        return (nearest(z - 0.3 * u, codes) != nearest(z, codes)).double().mean()

    ste, rot = (
        leaves(g[: n // 2]),
        leaves(ESTIMATORS["rotation_only"].pull_back(z.expand(n // 2, 2), q.expand(n // 2, 2), g[n // 2 :])),
    )
    factor = 1 + torch.linalg.matrix_norm(rotation(z, q) - torch.eye(2))
    claim = {"by the factor": abs(rot / ste - factor) < 0.1, "more": rot / ste > 1.02}[which]
    return Finding.of(
        claim,
        abs(rot / ste - 1) < 0.02,
        chance_under_STE=ste,
        chance_under_R=rot,
        ratio=rot / ste,
        factor_claimed=factor,
    )


def length_of_steps(x):
    """The size of the normal steps of a latent at x, the same everywhere."""
    return 0.4


@evidence
def jump_probability():
    """exp(-|z - e|/sigma) is largest at the code itself; the chance to leave the cell is least there."""
    codes, g = vector(0.0, 2.0)[:, None], normal(100_000, 1, seed=1)
    after = [vector(x) + length_of_steps(x) * g for x in (0.0, 0.5, 0.9)]
    chances = [float((nearest(z, codes) == 1).double().mean()) for z in after]
    return Finding.of(
        chances[0] > chances[1] > chances[2],
        chances[0] < chances[1] < chances[2],
        chance_at_the_code=chances[0],
        chance_half_way=chances[1],
        chance_near_the_boundary=chances[2],
    )


@evidence
def turned_into_the_next_cell():
    """Near a face one gradient crosses it as the rotation hands it on, and moves along it under STE."""
    codes, z, g = torch.stack([polar(0), polar(90)]), vector(0.6, 0.5), vector(-0.2, -0.2)
    k = int(nearest(z, codes))
    after = {name: int(nearest(z - pull_back(name, z, codes[k], g), codes)) for name in ("ste", "rotation")}
    gap = distances(z, codes)
    return Finding.of(
        after == {"ste": k, "rotation": 1 - k},
        distance_to_own_code=gap[k],
        distance_to_the_other=gap[1 - k],
        code_after_STE=after["ste"],
        code_after_rotation=after["rotation"],
    )


@evidence
def usage_can_rise():
    """Two latents of one cell, one of them beside its face: the turn takes that one out of it, which STE does not.

    Another gradient, with the latents in two cells, has it the other way round.
    """
    codes, z = torch.stack([polar(0), polar(90)]), torch.stack([vector(1.2, 0.1), vector(0.6, 0.5)])
    other = torch.stack([z[0], vector(0.5, 0.6)])  # beside the same face, in the other cell

    def used(name, z, g):
        k = nearest(z, codes)
        return len(nearest(z - pull_back(name, z, codes[k], g.expand(2, 2)), codes).unique())

    up = {name: used(name, z, vector(-0.2, -0.2)) for name in ("ste", "rotation")}
    down = {name: used(name, other, vector(-0.2, -0.2)) for name in ("ste", "rotation")}
    return Finding.of(
        up == {"ste": 1, "rotation": 2},
        codes_in_use_under_STE=up["ste"],
        under_the_rotation=up["rotation"],
        otherwise_under_STE=down["ste"],
        otherwise_under_the_rotation=down["rotation"],
    )


@evidence
def aims_at_the_target():
    """Alignment with the gradient at z itself, z - y for a quadratic loss: turning g does not improve it."""
    codes, z, y = 0.7 * normal(16, 2, seed=1), normal(4000, 2, seed=2), normal(4000, 2, seed=3)
    q = codes[nearest(z, codes)]
    ste, rot = (float(angle(pull_back(name, z, q, q - y), z - y).cos().mean()) for name in ("ste", "rotation"))
    return Finding.of(None, rot < ste, mean_cosine_STE=ste, mean_cosine_rotation=rot)


@evidence
def best_mix_hangs_on_the_target():
    """The mix nearest to the gradient at z: all of the rotation for a target at the origin, none for one far away."""
    z, q = polar(0), polar(60)

    def best(target):
        mixes = (0.0, 0.5, 1.0)
        mixed = [ESTIMATORS["rotation"].pull_back(z, q, q - target, mix=mix) for mix in mixes]
        return mixes[int(torch.stack([angle(one, z - target) for one in mixed]).argmin())]

    near, far = best(vector(0, 0)), best(100 * polar(150))
    return Finding.of(None, near > far, best_mix_at_the_origin=near, best_mix_far_away=far)


@evidence
def figure_alignment():
    """The pulled-back gradient is not aligned with q - z: turn g and it turns with it."""
    z, q = vector(1.0, 0), vector(1.0, 1.0)
    angles = [float(angle_in_degrees(pull_back("rotation", z, q, polar(t)), q - z)) for t in (0, 60, 120, 180)]
    return Finding.of(
        max(angles) < 10, max(angles) - min(angles) > 90, smallest_angle=min(angles), largest_angle=max(angles)
    )


DEAD = (0.0, 1.0)  # a code that no latent has


@evidence
def dead_code_wakes():
    """The rotation takes a latent along a circle to a code that no latent had; STE takes it to another such code."""
    codes = torch.stack([polar(0), vector(*DEAD), vector(1.0, -4.0)])
    reached = {}
    for name in ("rotation", "ste"):
        z, g = polar(1), vector(0, -1.0) if name == "rotation" else vector(0, 1.0)
        for _ in range(400):
            k = int(nearest(z, codes))
            if k:
                break
            z = z - 0.01 * pull_back(name, z, codes[k], g)
        reached[name] = k
    return Finding.of(reached == {"rotation": 1, "ste": 2}, code_reached=reached["rotation"], by_STE=reached["ste"])
