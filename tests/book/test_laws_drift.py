"""Laws of chapter 25: every law holds, each has a mutation with which it fails; the race; the network."""

from __future__ import annotations

import pytest
import torch
from law_mutations import Mutation, assert_holds, assert_turned, parameters, row

from book import algebra
from book.statements import STATEMENTS, Law
from book.theory import conserved, drift

SOUND_PUSH_OF_ERROR = drift.push_of_error
SOUND_PUSH = drift.leading_push
NAMES = [name for name, one in STATEMENTS.items() if isinstance(one, Law) and one.chapter == drift.CHAPTER]


def push_without_square(z, q, curvature, centre=0.0):
    away = z.double() - centre
    return (curvature * algebra.dot(q - z, q - z) * away / algebra.norm(away)).mean(0)


MUTATIONS = {
    drift.push_of_own_error: [row("rotation", "reflection"), row("rotation", "rotation_only")],
    drift.radial_push: [row("rotation", "scale_only"), row("reflection", "no_gain")],
    drift.shares_of_turn_and_gain: [row("rotation_only", "rotation"), row("scale_only", "ste")],
    drift.gain_past_one: [row("rotation", "ste")],
    drift.isotropic_shares: [row("rotation_only", "rotation"), row("scale_only", "rotation")],
    drift.drift_of_cells: [
        Mutation(drift, "without_quantiser", lambda f, e, h: f - h * e),  # one target for all latents of a cell
        Mutation(drift, "centred", lambda e: e),  # codes that are not centroids
        Mutation(drift, "leading_push", lambda z, q, h, centre: SOUND_PUSH(z, q, h)),  # about 0, not the centre
        row("rotation", "rotation_only"),
    ],
    drift.centroid_cells: [row("rotation", "rotation_only"), row("rotation", "scale_only")],
    drift.push_is_a_potential: [Mutation(drift, "leading_push", push_without_square)],
    drift.alike_for_all: [
        row("rotation", "ste"),
        row("rotation", "rotation_only"),
        Mutation(drift, "push_of_error", lambda z, e, centre: algebra.unit(z - centre)),  # alike at every distance
        Mutation(drift, "push_of_error", lambda z, e, centre: SOUND_PUSH_OF_ERROR(z, e, 0 * centre)),
    ],
    drift.cancels_about_the_middle: [
        Mutation(drift, "leading_push", lambda z, q, h, centre=0.0: SOUND_PUSH(z, q, h)),  # about 0
    ],
    drift.lag_at_balance: [Mutation(conserved.Network, "e", property(lambda self: self.z - self.q))],
    drift.lag_alone_adds_nothing: [row("rotation", "rotation_only"), row("reflection", "no_gain")],
    drift.held_or_lost: [
        Mutation(drift, "balanced_lag", lambda distance, push, growth, gamma: push / (2 * gamma * distance)),
    ],
    drift.mean_latent_runs_away: [
        row("rotation", "ste"),
        row("rotation", "reflection"),
        row("rotation", "rotation_only"),
        row("rotation", "scale_only"),
    ],
}


@pytest.mark.parametrize("name", NAMES)
def test_law(name):
    assert_holds(name)


def test_every_law_has_a_mutation():
    assert [law.__name__ for law in MUTATIONS] == NAMES


@pytest.mark.parametrize("name, mutation", parameters(MUTATIONS))
def test_a_mutation_turns_it(name, mutation, monkeypatch):
    assert_turned(name, mutation, monkeypatch)


# the race


def start(d: int = 8, codes: int = 64, distance: float = 4.0) -> tuple[torch.Tensor, torch.Tensor]:
    """A normal cloud of 800 latents at a distance from the origin, and codes at the means of their cells."""
    z = algebra.normal(800, d, seed=0)
    z[:, 0] += distance
    means = z[:codes].clone()
    for _ in range(20):
        index = algebra.nearest(z, means)
        means = torch.stack([z[index == k].mean(0) for k in range(codes)])
    return z, means


@pytest.fixture(scope="module")
def cloud():
    return start()


def test_ste_stays(cloud):
    run = drift.race(*cloud, member="ste", steps=50)
    # E g = 0 and centroid codes leave no force: sums of 800 numbers of size 1 round to some 1e-15
    torch.testing.assert_close(run.latent[-1], run.latent[0], atol=1e-12, rtol=0)


def test_the_first_push_is_the_leading_order(cloud):
    z, codes = cloud
    q = codes[algebra.nearest(z, codes)]
    outward = algebra.unit(z.mean(0))
    expected = -drift.leading_push(z, q, 1.0) @ outward
    found = drift.race(*cloud, steps=0).push[0]
    assert float(found) == pytest.approx(float(expected), rel=0.1)


def test_slow_codes_lose_the_race_and_fast_codes_come_along(cloud):
    slow, fast = (drift.race(*cloud, follow=follow, gamma=0.05, steps=300) for follow in (0.0, 1.0))
    assert slow.usage[-1] < 0.6 < 0.95 < fast.usage[-1]
    assert fast.latent[-1, 0] < 0.5 and fast.code[-1, 0] < 1  # all have slid to the origin together


def test_about_the_mean_code_the_cloud_stays(cloud):
    run = drift.race(*cloud, about="codes", gamma=0.05, steps=300)
    assert abs(run.latent[-1, 0] - run.latent[0, 0]) < 0.1
    assert run.usage[-1] == 1


# about the mean latent


def distance(z, codes, **options):
    """Of the mean latent from the mean code, which stands still."""
    run = drift.race(z, codes, gamma=0.05, rate=0.01, steps=200, **options)
    return (run.latent - codes.mean(0)).norm(dim=-1)


def test_about_the_mean_latent_the_cloud_runs_away_at_the_rate_that_is_stated():
    half = algebra.normal(200, 8, seed=1)
    z, codes = torch.cat([half, -half]) + 0.5, 0.02 * algebra.normal(16, 8, seed=2)
    away, rate = distance(z, codes, about="latents"), (8 - 2) / 8 - 2 * 0.05
    growth = (away[-1] / away[-101]).log() / (100 * 0.01)
    assert float(growth) == pytest.approx(rate, rel=0.1)
    for other in ({"about": "codes"}, {"about": "origin"}, {"member": "ste"}):
        assert distance(z, codes, **other)[-1] < away[0]


# the network, with a short warm-up


@pytest.fixture(scope="module")
def network():
    return drift.warmed_up(0, pretrain_steps=60, data="fashion-mnist-mini", codebook_size=64, init_latents=2048)


def test_pairs_are_what_they_say(network):
    pairs = drift.pairs_of(*network, count=32)
    model, data = network
    codes = model.quantizer.codes.detach()
    torch.testing.assert_close(pairs.q, codes[algebra.nearest(pairs.z.float(), codes)].double())
    x = data.normalise(data.train[:32])
    z_q = pairs.q.float().unflatten(0, (32, 7, 7))
    grow = torch.ones((), requires_grad=True)
    (slope,) = torch.autograd.grad((model.decode(grow * z_q) - x).square().mean(), grow)
    found = conserved.mean_product(pairs.g, pairs.q)
    assert float(found) == pytest.approx(float(slope), rel=1e-4)  # float32


def test_first_step_adds_up(network):
    step = drift.first_step(*network, count=32)
    assert step.relative_error == step.predicted / step.measured - 1
    assert step.curvature > 0 and step.distortion > 0 and step.distance > 0


def test_sliding_costs_codes(network):
    curves = drift.push_and_commitment(*network, (0.0, 3.0), count=32)
    assert curves.usage[1] < curves.usage[0] and curves.commitment[1] > curves.commitment[0]


def test_slide_leaves_the_network_alone(network):
    before = {name: value.clone() for name, value in network[0].state_dict().items()}
    rows = drift.slide(*network, "ste", steps=4, every=2)
    assert [line["step"] for line in rows] == [0, 2, 4]
    assert all(torch.equal(value, before[name]) for name, value in network[0].state_dict().items())
