"""The push that the rotation adds, measured in a small network before its first step after a warm-up."""

from __future__ import annotations

from functools import cache

import torch

from book.statements import Finding, evidence
from book.theory import drift

SEEDS = (0, 1)
NETWORK = {"pretrain_steps": 200, "data": "fashion-mnist-mini", "codebook_size": 128, "init_latents": 2048}
IMAGES = 96  # on which the push is measured


@cache
def networks() -> tuple:
    """A network and its data for each seed, in the 32 dimensions of the book's, with fewer images and codes."""
    return tuple(drift.warmed_up(seed, **NETWORK) for seed in SEEDS)


@cache
def _first_steps() -> tuple[drift.FirstStep, ...]:
    """The measurement in each network."""
    return tuple(drift.first_step(*network, IMAGES) for network in networks())


@evidence
def first_push_as_predicted():
    """Along the mean latent the formula is within a tenth of what the rotation adds to STE's mean gradient."""
    steps = _first_steps()
    errors = [abs(step.relative_error) for step in steps]
    return Finding.of(
        max(errors) < 0.1,
        least_measured=min(step.measured for step in steps),
        largest_relative_error=max(errors),
        networks=len(steps),
    )


@evidence
def batch_matters_little():
    """Between disjoint batches the measured push has a standard deviation below a fifth of its mean."""
    starts = range(0, 6 * IMAGES, IMAGES)
    pushes = [torch.tensor([drift.first_step(*one, IMAGES, start).measured for start in starts]) for one in networks()]
    spreads = [float(push.std() / push.mean()) for push in pushes]
    return Finding.of(0 < max(spreads) < 0.2, largest_relative_spread=max(spreads), batches=len(starts))


@evidence
def mean_gradient_is_small():
    """Along the mean latent STE's mean gradient is less than half of what the rotation adds to it."""
    beside = [abs(step.ste) / step.measured for step in _first_steps()]
    return Finding.of(max(beside) < 0.5, largest_mean_gradient_over_push=max(beside), networks=len(beside))


@evidence
def first_push_is_the_turns():
    """The gain alone has under a tenth of the push of the turn alone."""
    gains = [abs(step.gain) / step.turn for step in _first_steps()]
    return Finding.of(max(gains) < 0.1, largest_gain_over_turn=max(gains), networks=len(gains))


@evidence
def outwards_about_the_mean_code():
    """About the mean code the rotation adds under 0.6 of its push about the origin, with the other sign."""
    shares = [step.about_codes / step.measured for step in _first_steps()]
    return Finding.of(
        all(-0.6 < share < 0 for share in shares), furthest_about_mean_code=min(shares), networks=len(shares)
    )


@evidence
def push_is_small_and_shared():
    """The push is under a fifth of the mean length of g, and inwards for more than three quarters of the latents."""
    sizes, alike = zip(*((step.measured, step.alike) for step in _first_steps()))
    return Finding.of(
        max(sizes) < 0.2 and min(alike) > 0.75,
        largest_push_over_mean_length_of_g=max(sizes),
        least_share_pushed_inwards=min(alike),
        networks=len(sizes),
    )


@cache
def untrained() -> tuple:
    """The same networks without a warm-up."""
    return tuple(drift.warmed_up(seed, **NETWORK | {"pretrain_steps": 0}) for seed in SEEDS)


@evidence
def untrained_push_is_small():
    """Without a warm-up the push and the formula are both under a fifth of the push after one, and they disagree."""
    least = min(step.measured for step in _first_steps())
    steps = [drift.first_step(*network, IMAGES) for network in untrained()]
    sizes = [max(abs(step.measured), abs(step.predicted)) / least for step in steps]
    errors = [abs(step.relative_error) for step in steps]
    return Finding.of(
        max(sizes) < 0.2 and min(errors) > 0.5,
        largest_over_push_after_warm_up=max(sizes),
        least_relative_error=min(errors),
        networks=len(steps),
    )


SLID = (0.4, 0.7, 1.0, 1.5, 2.0)  # how far the latents are moved towards the origin


@evidence
def push_exceeds_the_commitment():
    """About the origin the push is above the commitment's pull at every distance; about the mean code it is below 0."""
    origin, codes = (
        [drift.push_and_commitment(*network, SLID, about, count=IMAGES) for network in networks()]
        for about in ("origin", "codes")
    )
    least = min(push / pull for one in origin for push, pull in zip(one.push, one.commitment))
    most = max(push for one in codes for push in one.push)
    return Finding.of(least > 1 and most < 0, least_push_over_pull=least, most_about_the_mean_code=most)


LONGER = 8.0  # times the commitment weight
EARLY, LATE = 120, 300  # steps of training
EVERY = 60  # steps from one row to the next


@cache
def _slides(factor: float, steps: int) -> list[dict[int, dict[str, float]]]:
    """Rows by step of each network that is trained on, at so many times its own commitment weight."""
    slides = [
        drift.slide(*network, "rotation", gamma=factor * network[0].quantizer.gamma, steps=steps, every=EVERY)
        for network in networks()
    ]
    return [{row["step"]: row for row in rows} for rows in slides]


@evidence
def commitment_only_delays():
    """With 8 times the commitment weight over ten times the codes are in use after 120 steps, and the latents go on."""
    own, larger = _slides(1.0, EARLY), _slides(LONGER, LATE)
    kept = [b[EARLY]["usage"] / a[EARLY]["usage"] for a, b in zip(own, larger)]
    moved = [rows[0]["latent"] - rows[LATE]["latent"] for rows in larger]
    lost = [rows[LATE]["usage"] / rows[0]["usage"] for rows in larger]
    return Finding.of(
        min(kept) > 10 and min(moved) > 1 and max(lost) < 0.6,
        least_codes_in_use_over_those_at_its_own_weight=min(kept),
        least_way_inwards=min(moved),
        most_of_the_codes_left=max(lost),
    )
