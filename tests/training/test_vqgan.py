"""The networks of the paper's Table 1: their shapes and sizes, and that they train."""

from functools import partial

import pytest
import torch
from few_images import FEW
from samples import PROJECTIONS, PUBLISHED

from rotvq import VectorQuantizer
from rotvq.training import vqgan
from rotvq.training.config import Config
from rotvq.training.models import MODELS
from rotvq.training.train import build_model, train

DIM, SIDE = {"f16": 32, "f4": 3}, {"f16": 16, "f4": 64}


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_shapes_are_those_published(name):
    with torch.device("meta"):  # no memory, no arithmetic
        encoder, decoder = getattr(vqgan, name)(3, DIM[name], 128, "none")
        z = encoder(torch.empty(2, 3, 256, 256))
        x = decoder(z)
    assert z.shape == (2, DIM[name], SIDE[name], SIDE[name]) and x.shape == (2, 3, 256, 256)
    for network, published, projection in zip((encoder, decoder), PUBLISHED[name], PROJECTIONS[name]):
        assert parameters(network) == published + projection


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_codes_stand_between_two_linear_maps(name):
    """As the balance law asks: no norm and no nonlinearity between the last weights and z, or z_q and the first."""
    encoder, decoder = getattr(vqgan, name)(3, DIM[name], 32, "none")
    assert isinstance(encoder[-1], torch.nn.Conv2d) and isinstance(decoder[0], torch.nn.Conv2d)
    assert encoder[-1].out_channels == decoder[0].in_channels == DIM[name]


def test_attention_is_softmax_of_scaled_products():
    attention = vqgan.AttentionBlock(8).double()
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    q, k, v = attention.qkv(x).flatten(2).chunk(3, dim=1)
    weights = (torch.einsum("bci,bcj->bij", q, k) / 8**0.5).softmax(-1)
    expected = x + attention.out(torch.einsum("bij,bcj->bci", weights, v).unflatten(-1, (3, 5)))
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize("norm", ["none", "latent"])
@pytest.mark.parametrize("name", ["residual_f16", "residual_f4"])
def test_a_narrow_one_goes_forward_and_back(name, norm):
    torch.manual_seed(0)
    model = MODELS[name](3, VectorQuantizer(8, 16), width=16, norm=norm)
    x = torch.rand(2, 3, 32, 48)
    reconstruction, quantized = model(x)
    factor = int(name.removeprefix("residual_f"))
    assert reconstruction.shape == x.shape and quantized.indices.shape == (2, 32 // factor, 48 // factor)
    ((reconstruction - x).square().mean() + quantized.loss).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all(p.grad.abs().sum() > 0 for p in [*model.encoder.parameters()][:2])
    length = model.encode(x).norm(dim=-1)
    assert torch.allclose(length, torch.full_like(length, 8**0.5), rtol=1e-3) == (norm == "latent")


def test_what_saves_memory_changes_no_value(monkeypatch):
    """A batch cut in parts without gradients, and GroupNorm computed again for the gradient."""
    torch.manual_seed(0)
    encoder, _ = vqgan.f4(3, 4, 16, "none")
    x = torch.rand(5, 3, 16, 16)
    whole = encoder(x)
    monkeypatch.setattr(vqgan, "AT_ONCE", 2)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), whole)
    gradients = torch.autograd.grad(whole.square().sum(), list(encoder.parameters()))
    monkeypatch.setattr(vqgan, "checkpoint", lambda f, x, **options: f(x))
    kept = torch.autograd.grad(encoder(x).square().sum(), list(encoder.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(gradients, kept))


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_another_norm_is_refused(norm):
    with pytest.raises(ValueError, match=f"norm is '{norm}': .* 'none' or 'latent'"):
        MODELS["residual_f4"](3, VectorQuantizer(8, 16), width=16, norm=norm)


def test_a_narrow_one_learns(monkeypatch):
    """Through the same training loop as every other model; the width is no part of a Config."""
    narrow = partial(MODELS["residual_f4"], width=8)
    monkeypatch.setitem(MODELS, "residual_f4", narrow)
    config = Config(data=FEW, model="residual_f4", dim=4, codebook_size=16, batch=8, steps=20)
    first = train(config)["curve"]["first"]
    assert parameters(build_model(config, 1)) < 300_000
    assert first[-1] < 0.7 * first[0]
