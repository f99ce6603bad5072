"""Ablations change what they say, and nothing else."""

import math

import pytest
import torch
from few_images import FEW

from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.quantizers.geometry import geometry
from rotvq.training import ablations, images
from rotvq.training.config import Config
from rotvq.training.train import Run, build_model, fit

TINY = {"data": FEW, "codebook_size": 16, "dim": 8, "batch": 8, "init_latents": 256, "steps": 4}


def first_call(**fields):
    """Details of the first batch, and the gradient of the reconstruction loss at z and at z_q."""
    run = Run.from_config(Config(**TINY | fields))
    run.start_codes()
    x = run.next_batch()
    z = run.model.encode(x)
    details = run.model.quantizer(z, details=True)
    return details, torch.autograd.grad(run.reconstruction(x, details.z_q), (z, details.z_q))


def test_scaled_latents_keep_the_geometry_and_the_reconstruction():
    (plain, (at_z, _)), (scaled, (scaled_at_z, _)) = (first_call(init="kmeans", latent_scale=s) for s in (1.0, 8.0))
    assert torch.equal(plain.indices, scaled.indices)
    torch.testing.assert_close(scaled.z, 8 * plain.z)
    torch.testing.assert_close(scaled.r, plain.r, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(scaled.theta, plain.theta, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(scaled_at_z, at_z / 8, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("offset", [0.5, 3.0])
def test_a_moved_centre_changes_the_gradient_alone(offset):
    (plain, (at_z, _)), (moved, (moved_at_z, g)) = (first_call(init="normal", centre_offset=o) for o in (0.0, offset))
    assert torch.equal(plain.z_q, moved.z_q) and torch.equal(plain.loss, moved.loss)
    centre = offset * plain.z.square().mean().sqrt()
    want = ESTIMATORS["rotation"].pull_back(plain.z - centre, plain.q - centre, g)
    torch.testing.assert_close(moved_at_z, want.detach(), rtol=1e-4, atol=1e-9)
    assert not torch.allclose(moved_at_z, at_z)


def test_a_centre_far_away_is_straight_through():
    _, (at_z, g) = first_call(init="normal", centre_offset=1e5)
    torch.testing.assert_close(at_z, g, rtol=1e-3, atol=1e-9)


def test_gamma_over_r_has_the_gradient_ratio_of_a_mean_scale():
    """(STE, gamma / mean r) is (mean scale, gamma) divided by mean r: at the same z, q and g."""
    details, (at_z, g) = first_call(estimator="mean_scale", init="normal")
    torch.testing.assert_close(at_z, g * details.r.mean(), rtol=1e-4, atol=1e-9)
    run = Run.from_config(Config(**TINY, estimator="ste", init="normal", gamma_rule="over_r"))
    run.start_codes()
    z = run.model.encode(run.next_batch())
    details = run.model.quantizer(z, details=True)
    loss = ablations.loss_with_gamma_over_r(run.model.quantizer, details)
    (weighed,) = torch.autograd.grad(loss, z, retain_graph=True)
    (plain,) = torch.autograd.grad(details.commitment_loss, z)
    torch.testing.assert_close(weighed, plain * 0.25 / details.r.mean())


def test_a_learned_gain_moves_from_one_and_stays_a_number():
    model, result = fit(Config(**TINY | {"steps": 11}, gain="learned", init="kmeans"))
    gain = model.quantizer.gain
    assert len(set(gain.tolist())) == 1 and gain[0] != 1 and math.isfinite(gain[0])
    assert result["final"]["diverged_at"] is None


@pytest.mark.parametrize(
    "fields, complaint",
    [
        ({"quantizer": "fsq", "gamma": 1.0}, "gamma is 1.0: quantizer 'fsq' has its own"),
        ({"quantizer": "simvq", "update": "ema"}, "update is 'ema': quantizer 'simvq' has its own"),
        ({"quantizer": "simvq", "gain": "learned"}, "gain is an ablation of quantizer 'vq'"),
        ({"centre_offset": 1.0, "centre": "codebook"}, "centre_offset is 1.0: it needs centre 'origin'"),
        ({"centre_offset": 1.0, "warmup": 5}, "it needs centre 'origin', no warmup and no gain"),
        ({"latent_scale": 2.0, "norm": "latent"}, "norm 'latent' would undo it"),
        ({"latent_scale": 0.0}, "latent_scale is 0.0: it must be positive"),
        ({"quantizer": "voronoi"}, "unknown quantizer 'voronoi': one of vq, "),
        ({"gamma_rule": "by_r"}, "unknown gamma_rule 'by_r': one of constant, over_r"),
    ],
)
def test_what_does_not_go_together_is_refused(fields, complaint):
    with pytest.raises(ValueError, match=complaint):
        Config(**fields).check()


@pytest.mark.parametrize(
    "quantizer",
    [
        "simvq",
        "dynamic",
        "nsvq",
        "diveq",
        "diveq_detach",
        "sf_diveq",
        "gumbel",
        "gumbel_soft",
        "fsq",
        "exact",
        "hessian",
    ],
)
def test_every_rival_trains(quantizer):
    result = fit(Config(**TINY, quantizer=quantizer))[1]
    assert result["final"]["diverged_at"] is None and result["final"]["test_mse"] > 0
    assert {"within_share", "z_product", "q_product"} < set(result["curve"]["trace"][0])


def test_a_rival_keeps_the_weights_of_the_networks():
    channels = images.load(TINY["data"]).train.shape[1]
    plain, other = (build_model(Config(**TINY, quantizer=name), channels) for name in ("vq", "exact"))
    assert torch.equal(plain.encoder[0].weight, other.encoder[0].weight)
    details, _ = first_call()
    r, _ = geometry(details.z.detach().flatten(0, -2), details.q.detach().flatten(0, -2))
    assert torch.equal(r, details.r)
