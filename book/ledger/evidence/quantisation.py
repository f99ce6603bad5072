"""Nearest codes, their cells, the derivative of the lookup, and soft assignments."""

from __future__ import annotations

import math

import torch

from book.algebra import close, distances, nearest, norm, normal, rotation, unit, vector
from book.ledger.evidence.samples import lookup, quantised
from book.statements import Finding, evidence
from rotvq.quantizers.estimators import straight_through

CODES = vector(-1.0, 1.0)[:, None]  # two codes on a line; the boundary is at 0


@evidence
def nearest_code():
    """q is the nearest of the K codes, so z_q takes at most K values and can be stored as its index."""
    codes, z, q = quantised()
    beaten = (distances(z, codes) < norm(z - q) - 1e-12).any()
    values = len(torch.unique(q, dim=0))
    return Finding.of(not beaten and values <= len(codes), values_taken=values, codes=len(codes))


@evidence
def ties():
    """On a face two codes are nearest: the closed cells overlap and the lookup has to pick one."""
    first, second = distances(vector(0.0), CODES)
    picked = float(CODES[nearest(vector(0.0), CODES), 0])
    return Finding.of(first != second, picked == -1.0, distance_to_each_code=first, code_picked=picked)


@evidence
def quantisation_error():
    """The distance to q is the smallest distance, at least 0, and 0 exactly at a code."""
    codes, z, q = quantised()
    error = norm(z - q)
    at_codes = norm(codes - codes[nearest(codes, codes)]).max()
    ok = torch.equal(error, distances(z, codes).min(1, keepdim=True).values) and (error > 0).all() and at_codes == 0
    return Finding.of(ok, smallest_error_off_the_codes=error.min(), error_at_the_codes=at_codes)


@evidence
def cells_cover():
    """Every point has a nearest code, so the closed cells cover the space."""
    codes, z, q = quantised()
    inside = (norm(z - q) <= distances(z, codes) + 1e-12).all()
    return Finding.of(inside, points=len(z))


@evidence
def cells_disjoint():
    """Of distinct codes one alone is nearest to each of many points, so no two cells share an interior.

    Two of the codes lie on a diagonal: with distances in the 1-norm their cells share whole quadrants.
    """
    codes, z = torch.tensor([[0.0, 0], [1, 1], [-4, -4]]).double(), 2 * normal(4000, 2, seed=2)
    first, second = distances(z, codes).sort(1).values.T[:2]
    shared = (second - first < 1e-9).double().mean()
    return Finding.of(shared == 0, share_of_points_in_two_cells=shared, least_gap=(second - first).min())


@evidence
def cells_are_convex():
    """Mixtures of points of a cell stay in it: a cell is an intersection of half-spaces."""
    codes, z, _ = quantised()
    k = nearest(z, codes)
    out = 0
    for i in range(len(codes)):
        mine = z[k == i]
        half = mine[: len(mine) // 2 * 2].reshape(2, -1, z.shape[1])
        t = torch.linspace(0, 1, 11, dtype=z.dtype)[:, None, None]
        out += int((nearest(t * half[0] + (1 - t) * half[1], codes) != i).sum())
    return Finding.of(out == 0, mixtures_that_left_their_cell=out)


E_J = (0.0, 1.2)  # the other code of the counterexample


@evidence
def convexity_proof():
    """The last step bounds |z - e_i| by t|z1 - e_j| + (1 - t)|z2 - e_j|, which exceeds |z - e_j|: nothing follows.

    Both bounds hold at z1 = (-1, 1), z2 = (1, 1), e_j = (0, 1.2) for e_i = (0, 0.1), whose midpoint is nearer to e_j.
    """
    z1, z2, ei, ej = vector(-1.0, 1), vector(1.0, 1), vector(0, 0.1), vector(*E_J)
    mid = (z1 + z2) / 2
    bound = (norm(z1 - ej) + norm(z2 - ej)) / 2
    misled = norm(mid - ei) <= bound and norm(mid - ej) < norm(mid - ei)
    codes, z, _ = quantised()  # the right proof: |z - e_i|^2 - |z - e_j|^2 is affine in z
    squares = distances(z, codes) ** 2
    gaps = squares - squares[:, :1]
    mixed_squares = distances(0.3 * z[:2000] + 0.7 * z[2000:], codes) ** 2
    return Finding.of(
        not misled,
        close(0.3 * gaps[:2000] + 0.7 * gaps[2000:], mixed_squares - mixed_squares[:, :1]),
        distance_to_own_code=norm(mid - ei),
        bound_used=bound,
        distance_to_the_other_code=norm(mid - ej),
    )


@evidence
def vq_derivative(which):
    """VQ is piecewise constant: differentiable with derivative 0 inside cells, discontinuous on the faces between."""
    codes, z, _ = quantised()
    step = 1e-6 * normal(len(z), 3, seed=3)
    moved = (lookup(z + step, codes) != lookup(z, codes)).any(1).double().mean()
    left, right = lookup(vector(-1e-12, 1e-12)[:, None], CODES)
    jump = float(right - left)
    zero_inside, breaks = moved < 1e-3, jump == 2
    claim, fix = {
        "discontinuous on faces": (breaks, None),
        "zero inside": (zero_inside, None),
        "none on faces": (breaks, None),
        "not differentiable almost everywhere": (not zero_inside, zero_inside),
        "not differentiable": (not zero_inside, zero_inside),
    }[which]
    return Finding.of(
        claim, fix, share_of_points_with_a_difference_quotient_other_than_0=moved, jump_at_the_boundary=jump
    )


@evidence
def ste_value():
    """z + (q - z) equals q; in float32 the last bits differ, and z = 1e8 and q = 1 give 0."""
    z, q = normal(2, 1000, seed=1)
    large, one = torch.tensor(1e8), torch.tensor(1.0)
    drift = (z.float() + (q.float() - z.float()) - q.float()).abs().max()
    return Finding.of(
        close(straight_through(z, q), q),
        value_for_z_1e8_and_q_1=large + (one - large),
        drift_for_normal_vectors=drift,
    )


def prior(K):
    """The uniform distribution over K codes."""
    return torch.full((K,), 1 / K, dtype=torch.float64)


@evidence
def kl_is_constant():
    """The KL term of a one-hot posterior against the uniform prior is log K for every code: not 0, but no gradient."""
    K = 1024
    one_hot = torch.eye(K, dtype=torch.float64)
    kl = (torch.special.xlogy(one_hot, one_hot) - torch.special.xlogy(one_hot, prior(K))).sum(1)
    return Finding.of(kl.abs().max() < 1e-12, kl.max() - kl.min() < 1e-12 < kl.min(), K=K, KL=kl.min())


@evidence
def soft_assignment(which):
    """The formula has no Gumbel noise: it is a softmax assignment; as tau falls it tends to q off the faces."""
    codes, z, q = quantised()
    logits = -(z[:, None] - codes).square().sum(-1)
    nearest_first = distances(z, codes).sort(1).values
    clear = (nearest_first[:, 1] - nearest_first[:, 0]) > 0.1  # latents that are not near a face
    limit = norm(torch.softmax(logits / 1e-3, 1) @ codes - q)[clear].max()
    uniform = torch.rand(logits.shape, generator=torch.Generator().manual_seed(1), dtype=z.dtype)
    noisy = torch.softmax(logits - torch.log(-torch.log(uniform)), 1) @ codes
    noise = norm(noisy - torch.softmax(logits, 1) @ codes).mean()
    tie = torch.softmax(-(vector(0.0) - CODES[:, 0]).square() / 1e-9, 0) @ CODES[:, 0]
    claim, fix = {
        "is Gumbel-softmax": (noise < 1e-9, noise > 0.1),
        "limit": (limit < 1e-9, None),
    }[which]
    return Finding.of(claim, fix, largest_gap_at_tau_1e_3=limit, mean_effect_of_the_noise=noise, value_on_the_face=tie)


@evidence
def soft_is_smooth():
    """The soft assignment has a derivative in z; its distance from q depends on tau."""
    codes, z, q = quantised()

    def soft(x, tau):
        return torch.softmax(-(x[:, None] - codes).square().sum(-1) / tau, 1) @ codes

    ok = torch.autograd.gradcheck(lambda x: soft(x, 0.5), z[:5].clone().requires_grad_())
    gaps = [norm(soft(z, tau) - q).mean() for tau in (1.0, 0.1, 0.01)]
    return Finding.of(
        ok and gaps[0] > gaps[1] > gaps[2], gap_at_tau_1=gaps[0], gap_at_tau_0_1=gaps[1], gap_at_tau_0_01=gaps[2]
    )


def by_cosine(z, codes):
    """The index of the code at the smallest angle."""
    return (unit(z) @ unit(codes).T).argmax(1)


@evidence
def lookups_disagree():
    """Nearest by cosine and nearest by distance are two codes for some latents, in two dimensions and in 256."""
    shares = []
    for d in (2, 256):
        codes, z, q = quantised(d, 16, 1000)
        shares.append((codes[by_cosine(z, codes)] != q).any(1).double().mean())
    return Finding.of(min(shares) > 0, share_in_d_2=shares[0], share_in_d_256=shares[1])


E1, E2 = (0.9, 0.1), (2.0, 0.0)  # the codes of the article's example, as printed


@evidence
def lookup_example(which):
    """z = e_x, e1 = (0.9, 0.1), e2 = (2, 0): lengths, distances and cosines, with e1 as printed and normalised."""
    z, e1, e2 = vector(1.0, 0), vector(*E1), vector(*E2)
    on_circle = unit(e1)
    near = max(norm(z - e1), norm(z - on_circle)) < norm(z - e2)
    cosine = on_circle @ z < unit(e2) @ z
    turned = rotation(z, e1 if near else e2) @ z
    claim, fix = {
        "normalised": (abs(norm(e1) - 1) < 1e-9, abs(norm(on_circle) - 1) < 1e-12),
        "distance": (near, None),
        "cosine": (cosine, None),
        "prefers e2": (norm(turned - unit(e2)) < 1e-9, norm(turned - on_circle) < 1e-12),
    }[which]
    return Finding.of(
        claim,
        fix,
        length_of_e1=norm(e1),
        distance_to_e1=norm(z - e1),
        distance_to_e1_normalised=norm(z - on_circle),
        distance_to_e2=norm(z - e2),
        cosine_to_e1=on_circle @ z,
        cosine_to_e2=unit(e2) @ z,
    )


@evidence
def faces_are_equidistant():
    """A point just inside a face has its second code almost as near as its first."""
    codes, z, _ = quantised()
    two = distances(z, codes).sort(1).values[:, :2]
    near = two[:, 1] - two[:, 0] < 0.05
    beyond = (two[near, 1] / two[near, 0]).max()
    return Finding.of(
        near.any() and beyond < 1.1, latents_near_a_face=int(near.sum()), largest_ratio_of_distances=beyond
    )


@evidence
def nothing_to_sample_from():
    """The KL term is the same for every code, so training does not fit the use of the codes to any prior."""
    return Finding.of(kl_is_constant().fix, **kl_is_constant().numbers)


@evidence
def soft_uses_every_code():
    """A soft assignment has a gradient at all K codes, a hard one at the chosen code only."""
    codes, z, _ = quantised()
    codes = codes.requires_grad_()
    soft = torch.softmax(-(z[0] - codes).square().sum(1), 0) @ codes
    reached = int((torch.autograd.grad(soft.sum(), codes)[0].abs().sum(1) > 0).sum())
    return Finding.of(reached == len(codes), codes=len(codes), codes_reached_by_one_latent=reached)


PAIRS = ((0.0, 0.0), (1.0, 1.0))  # data of two numbers each, which are always equal


@evidence
def reconstruction_is_not_generation():
    """Data of two equal tokens are reconstructed exactly; half of the samples with independent tokens are no data."""
    codes = vector(0.0, 1.0)[:, None]
    data = torch.tensor(PAIRS, dtype=torch.float64)
    tokens = nearest(data[..., None], codes)
    error = (codes[tokens].squeeze(-1) - data).square().mean()
    samples = torch.cartesian_prod(*(tokens[:, place].unique() for place in (0, 1)))
    wrong = 1 - (samples[:, None] == tokens).all(-1).any(1).double().mean()
    return Finding.of(error == 0 and wrong == 0, error == 0, reconstruction_error=error, share_of_bad_samples=wrong)


@evidence
def reconstruction_and_generation():
    """The disclaimer is needed: perfect reconstruction goes with bad samples."""
    f = reconstruction_is_not_generation()
    return Finding.of(not f.claim, **f.numbers)


RARE = 1  # how often a rare code is used for 100 tokens of the common one


def bits_a_token(tokens):
    """The entropy of the tokens of a batch."""
    share = torch.bincount(tokens).double() / len(tokens)
    return -torch.special.xlogy(share, share).sum() / math.log(2)


@evidence
def usage_as_capacity():
    """Two batches that use all codes carry the same number of bits a token.

    The correction: at most the logarithm of the number of codes in use, which they reach where all share alike.
    """
    codes = torch.arange(8.0).double()[:, None]
    counts = torch.tensor([100] * 8), torch.tensor([100 * len(codes)] + [RARE] * (len(codes) - 1))
    batches = [nearest(codes.repeat_interleave(count, 0), codes) for count in counts]
    usage = [len(tokens.unique()) / len(codes) for tokens in batches]
    even, uneven = (float(bits_a_token(tokens)) for tokens in batches)
    most = math.log2(len(codes))
    return Finding.of(
        usage == [1, 1] and abs(even - uneven) < 0.1,
        usage == [1, 1] and uneven < even and abs(even - most) < 1e-12,
        usage=usage[0],
        bits_where_all_share_alike=even,
        bits_where_one_has_nearly_all=uneven,
    )
