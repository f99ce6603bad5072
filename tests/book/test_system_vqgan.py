"""The VQ-GAN: its losses, what the adaptive weight sees, what arms of one seed share, and its grid."""

import json
from dataclasses import replace

import pytest
import torch

from book.systems import classifier, runs, vqgan
from book.systems.vqgan import EXPERIMENT, Case, Trainer
from rotvq.training.config import Config

SMALL = replace(Case(), **vqgan.SMOKE)
PLAYING = replace(SMALL, adversarial_from=0)


def vector(parameters) -> torch.Tensor:
    return torch.cat([p.flatten() for p in parameters])


def test_a_case_is_a_run_of_chapter_10_with_other_losses():
    case = Case(estimator="scale_only", init="kmeans", update="ema", revival="unused", seed=7)
    changed = {"estimator": "scale_only", "init": "kmeans", "update": "ema", "revival": "unused", "seed": 7}
    assert case.config == Config(**changed, steps=case.steps)


def test_arms_of_one_seed_share_all_but_the_gradient_before_the_quantiser():
    found = {}
    for name, arm in vqgan.ESTIMATORS.items():
        trainer = Trainer.from_case(replace(PLAYING, **arm))
        start = vector(trainer.run.model.parameters()), vector(trainer.critic.parameters())
        trainer.step()
        model = trainer.run.model
        sides = (vector(p.grad for p in part.parameters()) for part in (model.decoder, model.encoder))
        found[name] = (*start, *sides, trainer.noted[0]["adaptive"])
    ste = found.pop("STE")
    for weights, critic, decoder, encoder, adaptive in found.values():
        assert torch.equal(weights, ste[0]) and torch.equal(critic, ste[1]) and torch.equal(decoder, ste[2])
        assert adaptive == ste[4] and not torch.allclose(encoder, ste[3])
    other = Trainer.from_case(replace(PLAYING, seed=1))
    assert not torch.equal(vector(other.critic.parameters()), ste[1])


def test_a_step_descends_the_whole_loss():
    """The gradients that a step leaves are those of one loss with the adaptive weight as a constant."""
    trainer, again = Trainer.from_case(PLAYING), Trainer.from_case(PLAYING)
    trainer.step()
    x, model = again.run.next_batch(), again.run.model
    y, quantized = model(x)
    pixels = again.run.data.denormalise
    error = (y - x).abs().mean() + vqgan.perceptual_loss(classifier.load("loss"), pixels(y), pixels(x))
    game = -again.critic(y).mean()
    last = model.decoder[-1].weight
    norms = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (error, game)]
    adaptive = (norms[0] / (norms[1] + vqgan.EPS)).item()
    assert trainer.noted[0]["adaptive"] == pytest.approx(adaptive, rel=1e-4)
    (error + PLAYING.adversarial * adaptive * game + quantized.loss).backward()
    for ours, plain in zip(trainer.run.model.parameters(), model.parameters()):
        torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-3, atol=1e-5)


def test_the_discriminator_waits_and_then_moves():
    trainer = Trainer.from_case(SMALL)
    before = vector(trainer.critic.parameters()).clone()
    for _ in range(SMALL.adversarial_from):
        trainer.step()
    assert torch.equal(vector(trainer.critic.parameters()), before) and "adaptive" not in trainer.noted[-1]
    trainer.step()
    assert not torch.equal(vector(trainer.critic.parameters()), before) and trainer.noted[-1]["adaptive"] > 0


def test_without_an_adversarial_weight_there_is_no_discriminator():
    trainer = Trainer.from_case(replace(PLAYING, adversarial=0.0))
    trainer.step()
    assert list(trainer.noted[0]) == ["loss"]


def test_the_hinge_is_0_where_all_are_told_apart_and_1_where_none_says_anything():
    right, nothing = torch.full((4,), 1.5), torch.zeros(4)
    assert vqgan.hinge(right, -right) == 0 and vqgan.hinge(nothing, nothing) == 1
    assert vqgan.hinge(-right, right) == 2.5


def test_the_discriminator_learns_to_tell_two_sets_apart():
    trainer = Trainer.from_case(PLAYING)
    x = trainer.run.next_batch()
    shares = [trainer.criticise(x, torch.zeros_like(x))["told_apart"] for _ in range(30)]
    assert shares[-1] > 0.95 > shares[0]


def test_the_perceptual_loss_is_0_for_equal_images_and_counts_each_stage_relative_to_its_size():
    network, a = classifier.load("loss"), torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert vqgan.perceptual_loss(network, a, a) == 0
    black = network.stages(torch.zeros_like(a))
    goals = network.stages(a)
    want = sum(((f - g) ** 2).mean() / (g**2).mean() for f, g in zip(black, goals))
    torch.testing.assert_close(vqgan.perceptual_loss(network, torch.zeros_like(a), a), want)


def test_pictures_survive_a_record():
    pixels = torch.rand(3, 1, 28, 28)
    assert torch.equal(vqgan.unpack(vqgan.pack(pixels)), (255 * pixels).round().byte())


def test_a_run_is_deterministic_and_fits_a_record():
    one, two = (vqgan.train(replace(SMALL, init="kmeans", estimator="rotation", stops=3)) for _ in range(2))
    assert one == two and json.loads(json.dumps(one, allow_nan=False)) == one
    assert [stop["step"] for stop in one["stops"]] == [2, 4, 6]
    assert one["stops"][-1].items() <= one.items()
    assert vqgan.unpack(one["pictures"]).shape == (vqgan.PICTURES, 1, 28, 28)


def test_the_grid():
    assert runs.find("31") is EXPERIMENT
    confirm = EXPERIMENT.cases("standard", "confirm")
    assert {(case.estimator, case.init) for case in confirm} == {
        (estimator, init) for estimator in ("ste", "rotation") for init in ("uniform", "kmeans")
    }
    assert {case.seed for case in confirm} == set(range(100, 110)) and len(confirm) == 40
    assert all((case.update, case.perceptual, case.adversarial) == ("gradient", 1.0, 0.2) for case in confirm)
    assert len(EXPERIMENT.cases("standard", "arms", "EMA, revival")) == 4 * 2 * 2 * 3
    assert len(EXPERIMENT.cases()) == 40 + 48 + 2 * 3  # of the losses, the whole one is an arm
