"""What moves the codes and how good they are: the two auxiliary losses, EMA, centroids, finer codebooks."""

from __future__ import annotations

import itertools
import math
from functools import cache

import torch

from book.algebra import (
    angle_in_degrees,
    close,
    distances,
    largest,
    nearest,
    norm,
    normal,
    pull_back,
    unit,
    vector,
)
from book.ledger.evidence.autograd import commitment
from book.ledger.evidence.samples import quantised
from book.statements import Finding, evidence
from rotvq.quantizers.methods.simvq import simvq
from rotvq.quantizers.vector import VectorQuantizer


def codebook_loss(code, mine):
    """The mean of |q - z|^2 over the latents of a code."""
    return (code - mine).square().sum(1).mean()


@evidence
def codebook_loss_centres():
    """With the assignments held, the codebook loss is least at the mean of the latents of each cell."""
    codes, z, _ = quantised()
    k, worst = nearest(z, codes), 0.0
    for i in range(len(codes)):
        code = codes[i].clone().requires_grad_()
        mean = z[k == i].mean(0)
        (grad,) = torch.autograd.grad(codebook_loss(code, z[k == i]), code)
        worst = largest(worst, (grad - 2 * (codes[i] - mean)).abs().max())
    return Finding.of(worst < 1e-10, largest_error_of_gradient=worst)


@evidence
def commitment_pulls():
    """The commitment term alone moves z straight towards its code."""
    codes, z, q = quantised()
    z = z.requires_grad_()
    (grad,) = torch.autograd.grad(commitment(z, q), z)
    turned = angle_in_degrees(-grad, q - z.detach()).max()
    return Finding.of(turned < 1e-5, largest_angle_to_the_code_in_degrees=turned)


LOW, HIGH = 2, 256  # dimensions in which codes are fitted to normal latents


def means(z, k, codes):
    """The mean of the latents of each code."""
    counts = torch.bincount(k, minlength=len(codes)).clamp_min(1)[:, None]
    return torch.zeros_like(codes).index_add_(0, k, z) / counts


@evidence
@cache
def centroid_codes():
    """Codes at the centroids are shorter than the latents: E|q|^2 = E|z|^2 - E|z - q|^2. In d = 256 r is about 0.2.

    Of two codes there it is below 0.1.
    """

    def fit(d, K, N=4096):
        z = normal(N, d, seed=5)
        codes = z[:K].clone()
        for _ in range(6):
            k = torch.addmm(codes.square().sum(1), z, codes.T, alpha=-2).argmin(1)
            codes = means(z, k, codes)
        q = codes[k]
        r2 = q.square().sum() / z.square().sum()
        gap = abs(r2 + (z - q).square().sum() / z.square().sum() - 1)
        return math.sqrt(r2), float(gap), float(angle_in_degrees(z, q).mean())

    (low, gap, narrow), (high, _, wide), (few, _, _) = fit(LOW, 64), fit(HIGH, 64), fit(HIGH, 2)
    return Finding.of(
        min(high, few) > 0.1,
        gap < 1e-10 and few < high < low < 1,
        r_in_d_2=low,
        r_in_d_256=high,
        r_of_two_codes_in_d_256=few,
        angle_in_d_2=narrow,
        angle_in_d_256=wide,
        defect_of_the_identity=gap,
    )


@evidence
def codes_are_close_in_angle():
    """Codes fitted to isotropic latents are far from them in angle once d is large."""
    low, high = (centroid_codes().numbers[f"angle_in_d_{d}"] for d in (2, 256))
    return Finding.of(high < 45, low < 20, mean_angle_in_d_2=low, mean_angle_in_d_256=high)


def batch(t):
    """The number of latents of a cell and their mean: by turns 9 at 1 and one at 3."""
    return (1, 3.0) if t % 2 else (9, 1.0)


@evidence
def ema_form():
    """The published EMA averages counts and sums apart; averaging cell means gives other codes when counts vary."""
    beta, N, m, mean_form = 0.9, vector(1.0), vector(0.0), vector(0.0)
    for t in range(200):
        n, x = batch(t)
        N, m = beta * N + (1 - beta) * n, beta * m + (1 - beta) * n * x
        mean_form = beta * mean_form + (1 - beta) * x
    gap = float(mean_form - m / N)
    return Finding.of(
        abs(gap) < 0.05,
        abs(float(m / N) - 1.2) < 0.2,
        code_of_the_published_form=m / N,
        code_of_the_articles_form=mean_form,
        true_mean=1.2,
    )


def ema(code, mine, decay):
    """A code after an EMA update with the mean of its latents."""
    return decay * code + (1 - decay) * mine.mean(0)


@evidence
def ema_step_is_a_gradient_step():
    """e <- beta e + (1 - beta) mean is one SGD step on w sum |q - sg z|^2, of size (1 - beta) / (2 n w) for the code.

    The weight w of the loss is not in what it gives.
    """
    codes, z, _ = quantised()
    k, beta, worst = nearest(z, codes), 0.9, 0.0
    for i, weight in itertools.product(range(len(codes)), (0.25, 1.0, 4.0)):
        mine, code = z[k == i], codes[i].clone().requires_grad_()
        (grad,) = torch.autograd.grad(weight * (code - mine).square().sum(), code)
        step = codes[i] - (1 - beta) / (2 * len(mine) * weight) * grad
        worst = largest(worst, (step - ema(codes[i], mine, beta)).abs().max())
    return Finding.of(worst < 1e-10, largest_difference=worst)


def error_of(z, q):
    """The quantisation error as the paper reports it: the mean of |z - q|^2."""
    return (z - q).square().sum(1).mean()


def finer_codebooks() -> Finding:
    """A further code never raises the error of fixed latents; but halving the latents quarters it at no gain at all."""
    codes, z, q = quantised()
    more = torch.cat([codes, normal(5, 3, seed=9)])
    error, finer = error_of(z, q), error_of(z, more[nearest(z, more)])
    half = error_of(z / 2, codes[nearest(z / 2, codes / 2)] / 2)
    relative = half / (z / 2).square().sum(1).mean() - error / z.square().sum(1).mean()
    return Finding.of(
        finer <= error,
        finer <= error and abs(half / error - 0.25) < 1e-12 and abs(relative) < 1e-12,
        error=error,
        error_with_5_more_codes=finer,
        error_after_halving_the_scale=half,
    )


CROWDED = 0.1  # the spread of another codebook, around the mean of the latents


@evidence
def more_codes_in_use():
    """Codes that are added to a codebook never raise the error of fixed latents; another codebook with more may."""
    codes, z, q = quantised()
    more, other = torch.cat([codes, normal(5, 3, seed=9)]), CROWDED * normal(2 * len(codes), 3, seed=9)
    error, finer, larger = ((z - c[nearest(z, c)]).square().sum(1).mean() for c in (codes, more, other))
    used, most = (len(nearest(z, c).unique()) for c in (codes, other))
    least = distances(z, more).min(1).values.square().mean()
    return Finding.of(
        used >= most or larger < error,
        finer <= error and close(finer, least),
        error=error,
        error_with_5_more_codes=finer,
        codes_in_use=used,
        codes_in_use_of_the_other=most,
        error_of_the_other=larger,
    )


SPREAD = 5.0  # of latents whose lengths the codes ignore


@evidence
def codes_of_one_length():
    """Codes held to the length 1/E(1/|z|) have E|q|/|z| = 1; held to a length that ignores |z| they do not."""
    z, codes = SPREAD * normal(500, 8, seed=1), unit(normal(16, 8, seed=2))
    q = codes[nearest(z, codes)]
    ratio = float((norm(q) / norm(z)).mean())
    matched = codes / (1 / norm(z)).mean()
    right = float((norm(matched[nearest(z, matched)]) / norm(z)).mean())
    return Finding.of(
        abs(ratio - 1) < 0.1, abs(right - 1) < 1e-9, mean_ratio_at_length_1=ratio, at_length_1_over_E_1_over_z=right
    )


@evidence
def error_and_information():
    """The absolute error says little: it is quartered by halving the scale, while the relative error stays."""
    f = finer_codebooks()
    unchanged = abs(f.numbers["error_after_halving_the_scale"] / f.numbers["error"] - 0.25) < 1e-12
    return Finding.of(not unchanged, f.fix, **f.numbers)


@evidence
def less_error_more_information():
    """Halving the scale lowers |z - q|^2 and says no more. Nor has the smaller relative error the more bits.

    A number that is uniform on [-1, 1]: two codes in the middles of its halves, and eight close together.
    """
    halved, z, told = error_and_information(), torch.linspace(-1, 1, 20_001, dtype=torch.float64)[:, None], {}
    for name, codes in {"two": vector(-0.5, 0.5), "eight": torch.linspace(-0.3, 0.3, 8, dtype=torch.float64)}.items():
        k = nearest(z, codes[:, None])
        share = torch.bincount(k).double() / len(z)
        told[name] = (
            (z[:, 0] - codes[k]).square().mean() / z.var(),
            -torch.special.xlogy(share, share).sum() / math.log(2),
        )
    (error, bits), (larger, more) = told.values()
    against = not halved.claim and error < larger and bits < more
    return Finding.of(
        not against,
        None,
        relative_error_of_two_codes=error,
        of_eight=larger,
        bits_of_two_codes=bits,
        bits_of_eight=more,
    )


@evidence
def mix_is_raised():
    """With a warm-up of four steps latents receive STE's gradient at first and the full trick's from the fifth on."""
    codes, z, _ = quantised(n=20)
    vq = VectorQuantizer(3, len(codes), "rotation", warmup=4, init=codes.float(), update="ema", frozen=True)
    z, g, worst = z.float(), normal(20, 3, seed=3).float(), 0.0
    full = pull_back("rotation", z, codes[nearest(z, codes)].float(), g)
    for share in (0, 0.25, 0.5, 0.75, 1, 1):
        latents = z.clone().requires_grad_()
        (received,) = torch.autograd.grad((g * vq(latents).z_q).sum(), latents)
        worst = largest(worst, norm(received - (1 - share) * g - share * full).max())
    return Finding.of(worst < 1e-5, largest_difference=worst)


@evidence
def simvq_shares_one_map():
    """SimVQ's codes are fixed vectors times one learned matrix, so a gradient to one code moves all of them."""
    start = normal(6, 3, seed=1).float()
    book = simvq(3, 6, init=start).codebook
    learned = [tuple(one.shape) for one in book.parameters() if one.requires_grad]
    before = book.form(start)
    grads = torch.autograd.grad(before[0].sum(), list(book.form.parameters())) if learned == [(3, 3)] else ()
    with torch.no_grad():
        for one, grad in zip(book.form.parameters(), grads, strict=True):
            one -= 0.1 * grad
    moved = (book.form(start) - before).detach().abs().amax(1)
    return Finding.of(
        learned == [(3, 3)] and moved.min() > 1e-4, learned_matrices=len(learned), least_move_of_a_code=moved.min()
    )
