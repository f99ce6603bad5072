"""The residual codec: what its wirings share and where they differ, what its levels give, its grid."""

import json
from dataclasses import replace

import pytest
import torch

from book.systems import codec
from book.systems.codec import EXPERIMENT, WIRED, Case, Codec

SMALL = Case(levels=3, dim=8, width=32, codebook_size=16, batch=64, steps=60)


@pytest.fixture(scope="module")
def patches():
    return codec.all_patches(codec.speech.load("french"))[:512]


@pytest.fixture(scope="module")
def trained():
    return codec.fit(SMALL)


def gradients(case: Case, patches: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Value, loss, and the gradients of decoder and encoder, of a codec whose codes have started."""
    made = Codec(case, -20.0, 15.0)
    made(patches)
    out = made.eval()(patches)
    out.loss.backward()
    sides = (torch.cat([p.grad.flatten() for p in part.parameters()]) for part in (made.decoder, made.encoder))
    return out.patches, out.loss, *sides


@pytest.mark.parametrize("estimator", ("ste", "rotation", "scale_only"))
def test_wirings_have_equal_values_and_different_gradients(estimator, patches):
    arms = [replace(SMALL, estimator=estimator, equalised=False, **fields) for fields in WIRED.values()]
    graph, detach, once = (gradients(arm, patches) for arm in arms)
    for other in (detach, once):
        for ours, theirs in zip(graph[:3], other[:3]):  # what is decoded, the loss, the decoder's gradient
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for one, other in ((graph, detach), (graph, once), (detach, once)):
        assert (one[3] - other[3]).norm() > 1e-3 * one[3].norm()


def test_equalised_detach_is_once_times_the_levels_under_ste(patches):
    detach, once = (gradients(replace(SMALL, wiring=wiring), patches)[3] for wiring in ("detach", "once"))
    torch.testing.assert_close(detach, SMALL.levels * once, rtol=1e-4, atol=1e-6)
    rotated, turned = (
        gradients(replace(SMALL, estimator="rotation", wiring=wiring), patches)[3] for wiring in ("detach", "once")
    )
    assert (rotated / SMALL.levels - turned).norm() > 0.01 * turned.norm()


def test_error_falls_with_the_levels_on_a_trained_codec(trained):
    patches = codec.all_patches(codec.speech.load("english").split("validation"))
    errors = [float((trained.coded(patches, level) - patches).square().mean()) for level in (1, 2, 3)]
    assert errors[0] > errors[1] > errors[2] == pytest.approx(codec.error(trained, patches))
    measured = codec.levels_of(trained, patches)
    assert measured["mse_after"] == pytest.approx(errors, rel=1e-5)
    variance = float((patches - patches.mean(0)).square().mean())
    assert errors[2] < 0.5 * variance, "it codes"
    assert all(0 < bits <= 4 and 0 < used <= 1 for bits, used in zip(measured["bits"], measured["usage"]))


def test_bits_of_one_code_are_none_and_of_equal_use_are_all(trained, patches, monkeypatch):
    even = torch.arange(16).repeat(32)[:, None].expand(-1, 3).contiguous()
    for indices, bits in ((torch.zeros_like(even), 0.0), (even, 4.0)):
        monkeypatch.setattr(trained.vq, "encode", lambda z, indices=indices: indices)
        assert codec.levels_of(trained, patches)["bits"] == pytest.approx([bits] * 3, abs=1e-5)


def test_only_an_estimator_that_is_not_ste_changes_the_gradient(patches):
    change = {}
    for estimator in ("ste", "rotation"):
        for wiring in WIRED:
            made = Codec(replace(SMALL, estimator=estimator, wiring=wiring), -20.0, 15.0)
            made(patches)
            change[estimator, wiring] = codec.change_of_gradient(made.eval(), patches)["gradient_change"]
            z = made.encode(patches).detach()
            worst = float(((z - made.vq.decode(made.vq.encode(z))).norm(dim=-1) / z.norm(dim=-1)).max())
            if estimator == "rotation" and wiring != "detach":
                assert 1e-3 < change[estimator, wiring] <= worst, "the law of the chapter on residual quantisers"
    assert all(change["ste", wiring] < 1e-6 for wiring in WIRED)


def test_arms_of_a_seed_share_weights_codes_and_order(monkeypatch):
    seen = []
    monkeypatch.setattr(codec, "patches_of", lambda recordings, starts: (seen.append(starts), torch.randn(64, 128))[1])
    small = replace(SMALL, steps=2)
    made = [codec.fit(replace(small, lr=0.0, estimator=estimator)) for estimator in ("ste", "rotation")]
    assert torch.equal(torch.stack(seen[:2]), torch.stack(seen[2:]))
    for ours, theirs in zip(made[0].encoder.parameters(), made[1].encoder.parameters()):
        assert torch.equal(ours, theirs)


def test_a_run_is_repeatable_and_fits_json():
    small = replace(SMALL, steps=3)
    first = codec.train(small)
    assert codec.train(small) == first and json.loads(json.dumps(first, allow_nan=False)) == first
    assert len(first["bits"]) == len(first["mse_after"]) == 3 and list(first["curve"]) == ["1", "2", "3"]
    assert codec.train(replace(small, seed=1)) != first
    assert set(codec.train(replace(small, wiring="none"))) == {"test_mse", "validation_mse", "french_mse", "curve"}


def test_the_grid():
    cases = EXPERIMENT.cases()
    assert len(cases) == len(set(cases)) == sum(map(len, EXPERIMENT.blocks.values()))
    fresh = [case for case in cases if case.seed >= 100]
    assert len(fresh) == 110 and all(case.levels == 8 for case in fresh)
    assert len(cases) * EXPERIMENT.seconds / 3600 < 1.1
    assert len(EXPERIMENT.cases("smoke")) < 50
