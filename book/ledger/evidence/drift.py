"""The push that the rotation adds, measured in a small network before its first step after a warm-up."""

from __future__ import annotations

from functools import cache

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
