"""Metrics against a direct computation in NumPy on all tokens at once, and on inputs with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from rotvq.quantizers.base import Details
from rotvq.quantizers.geometry import geometry
from rotvq.quantizers.vector import VectorQuantizer
from rotvq.training import metrics
from rotvq.training.images import Images

K, D = 16, 4


class FakeQuantizer:
    """Code = sign pattern of the latent, times one half; a function of the latent alone, so batches do not matter."""

    codebook_size = K

    def __call__(self, z, details=False):
        assert details
        q = 0.5 * torch.sign(z)
        indices = ((z > 0) * 2 ** torch.arange(D)).sum(-1)
        r, theta = geometry(z.flatten(0, -2), q.flatten(0, -2))
        return Details(q, indices, z.sum(), z, q, z.sum(), z.sum(), r, theta, r.mean(), r.mean())


class FakeModel(nn.Module):
    """The latent of a pixel is four fixed affine functions of it; the decoder sums the code."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -0.5, 0.3, 0.7]))
        self.shift = torch.tensor([0.1, 0.2, -0.3, 0.4])
        self.quantizer = FakeQuantizer()
        self.modes = []

    def encode(self, x):
        self.modes.append((self.training, torch.is_grad_enabled()))
        return x.movedim(1, -1) * self.weight + self.shift

    def decode(self, z_q):
        return z_q.sum(-1).unsqueeze(1)


@pytest.fixture
def data():
    train = torch.randint(0, 256, (60, 1, 5, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Images("fake", train, train[:10], train[10:], (0.4,), (0.25,), "")


def direct(model, pixels, data, usage_tokens):
    """Every metric from its definition, in float64, without a loop over batches."""
    x = pixels.numpy() / 255.0
    latents = (x - 0.4) / 0.25
    z = latents[:, 0, :, :, None] * np.array([1.0, -0.5, 0.3, 0.7]) + np.array([0.1, 0.2, -0.3, 0.4])
    q = 0.5 * np.sign(z)
    y = q.sum(-1)[:, None] * 0.25 + 0.4
    z, q = z.reshape(-1, D), q.reshape(-1, D)
    norm_z, norm_q = np.linalg.norm(z, axis=1), np.linalg.norm(q, axis=1)
    cosine = (z * q).sum(1) / (norm_z * norm_q)
    chosen = np.bincount(((z > 0) @ 2 ** np.arange(D))[:usage_tokens], minlength=K)
    share = chosen[chosen > 0] / chosen.sum()
    mse = ((y - x) ** 2).mean()
    return {
        "mse": mse,
        "psnr": 10 * math.log10(1 / mse),
        "quantisation_error": ((z - q) ** 2).sum(1).mean(),
        "relative_error": ((z - q) ** 2).sum(1).mean() / z.var(0).sum(),
        "z_variance": z.var(0).sum(),
        "z_squared": (z**2).sum(1).mean(),
        "z_norm": norm_z.mean(),
        "q_norm": norm_q.mean(),
        "r": (norm_q / norm_z).mean(),
        "theta_deg": np.degrees(np.arccos(cosine)).mean(),
        "usage": (chosen > 0).mean(),
        "perplexity": math.exp(-(share * np.log(share)).sum()),
        "usage_tokens": chosen.sum(),
    }


@pytest.mark.parametrize("batch", [1, 7, 50, 500])
@pytest.mark.parametrize("usage_tokens", [49_000, 100])
def test_evaluate_is_the_definition_whatever_the_batch(batch, usage_tokens, data, monkeypatch):
    monkeypatch.setattr(metrics, "USAGE_TOKENS", usage_tokens)
    model = FakeModel()
    found = metrics.evaluate(model, data.test, data, batch)
    expected = direct(model, data.test, data, usage_tokens)
    assert found.keys() == expected.keys()
    # The model works in float32 (relative error 6e-8 an operation, some ten operations); the sums are float64.
    assert found == pytest.approx(expected, rel=2e-6)
    assert found["usage_tokens"] == min(usage_tokens, 50 * 30)


def test_evaluate_is_deterministic_and_the_batch_changes_rounding_only(data):
    model = FakeModel()
    first = metrics.evaluate(model, data.test, data, 50)
    assert metrics.evaluate(model, data.test, data, 50) == first
    # The same float32 values, summed in float64 in another order.
    assert metrics.evaluate(model, data.test, data, 7) == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_runs_in_evaluation_mode_without_gradients_and_restores_the_mode(training, data):
    model = FakeModel().train(training)
    metrics.evaluate(model, data.test, data)
    assert model.modes == [(False, False)] and model.training is training and torch.is_grad_enabled()

    model.decode = lambda z_q: 1 / 0
    with pytest.raises(ZeroDivisionError):
        metrics.evaluate(model, data.test, data)
    assert model.training is training


def test_a_perfect_model_has_finite_psnr(data):
    class Perfect(FakeModel):
        def encode(self, x):
            self.x = x
            return super().encode(x)

        def decode(self, z_q):
            return self.x

    found = metrics.evaluate(Perfect(), data.test, data)
    assert found["mse"] < 1e-14 and 140 < found["psnr"] < 400  # float32 rounding of a pixel: (1e-7)^2


def details(z, q, indices):
    r, theta = geometry(z, q)
    zero = z.new_zeros(())
    return Details(q, indices, zero, z, q, zero, zero, r, theta, zero, zero)


def token_metrics(details):
    tokens = metrics.TokenSums(K)
    tokens.add(details)
    return tokens.metrics()


# z, q, expected: vectors whose r and theta can be read off.
KNOWN = {
    "right angle": ([[2.0, 0.0]], [[0.0, 1.0]], {"r": 0.5, "theta_deg": 90, "quantisation_error": 5, "z_squared": 4}),
    "opposite": ([[1.0, 0.0]], [[-3.0, 0.0]], {"r": 3, "theta_deg": 180, "quantisation_error": 16}),
    "equal": ([[3.0, 4.0]], [[3.0, 4.0]], {"r": 1, "theta_deg": 0, "quantisation_error": 0, "relative_error": 0}),
    "two tokens": (
        [[1.0, 0.0], [3.0, 0.0]],
        [[1.0, 0.0], [1.0, 0.0]],
        {"r": 2 / 3, "z_norm": 2, "q_norm": 1, "z_variance": 1, "relative_error": 2},
    ),
    "z = 0": ([[0.0, 0.0]], [[1.0, 0.0]], {"r": 1, "theta_deg": 0, "z_norm": 0, "quantisation_error": 1}),
    "q = 0": ([[1.0, 0.0]], [[0.0, 0.0]], {"r": 0, "theta_deg": 0, "q_norm": 0}),
    "tiny": ([[1e-30, 0.0]], [[0.0, 2e-30]], {"r": 2, "theta_deg": 90, "z_norm": 1e-30}),
    "small angle": ([[1.0, 0.0]], [[1.0, 1e-6]], {"theta_deg": math.degrees(1e-6)}),
}


@pytest.mark.parametrize("z, q, expected", KNOWN.values(), ids=KNOWN)
def test_known_geometry(z, q, expected):
    z, q = torch.tensor(z), torch.tensor(q)
    found = token_metrics(details(z, q, torch.zeros(len(z), dtype=torch.int64)))
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize(
    "indices, usage, perplexity",
    [
        ([0, 0, 0, 0], 1 / 16, 1),
        ([0, 1, 2, 3], 4 / 16, 4),
        (list(range(16)), 1, 16),
        ([5, 5, 5, 9], 2 / 16, math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))),
    ],
)
def test_usage_and_perplexity_of_known_counts(indices, usage, perplexity):
    z = torch.ones(len(indices), D)
    found = token_metrics(details(z, z, torch.tensor(indices)))
    assert found["usage"] == usage and found["perplexity"] == pytest.approx(perplexity, rel=1e-12)


def test_usage_counts_the_first_tokens_and_no_more(monkeypatch):
    monkeypatch.setattr(metrics, "USAGE_TOKENS", 10)
    tokens = metrics.TokenSums(K)
    for code in (0, 1, 2):
        tokens.add(details(torch.ones(6, D), torch.ones(6, D), torch.full((6,), code)))
    assert tokens.code_counts.tolist()[:3] == [6, 4, 0] and tokens.metrics()["usage_tokens"] == 10
    assert tokens.count == 18  # the other means take all tokens


def test_variance_does_not_cancel():
    """Latents of variance 1e-4 about 1e6, in float64: E z^2 - (E z)^2 would have an error of about 1e-4."""
    z = 1e6 + 0.01 * torch.randn(1_000, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tokens = metrics.TokenSums(K)
    for part in z.split(300):
        tokens.add(details(part, part, torch.zeros(len(part), dtype=torch.int64)))
    # float64 spaces numbers near 1e6 by 1e-10, 1e-8 of the deviations.
    assert tokens.metrics()["z_variance"] == pytest.approx(z.numpy().var(0).sum(), rel=1e-7)


def test_a_diverged_model_gives_nan_and_not_an_error(data):
    model = FakeModel()
    model.weight.data.fill_(math.nan)
    model.decode = lambda z_q: z_q[..., :1].movedim(-1, 1) * math.nan
    found = metrics.evaluate(model, data.test, data)
    for name in ("mse", "psnr", "quantisation_error", "relative_error", "z_variance", "z_norm"):
        assert math.isnan(found[name]), name


def test_gradient_norms():
    found = metrics.gradient_norms(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.tensor([0.0, 2.0]))
    assert found == {"reconstruction_gradient": 5.0, "commitment_gradient": 2.0, "gradient_ratio": 2.5}
    assert math.isfinite(metrics.gradient_norms(torch.ones(2), torch.zeros(2))["gradient_ratio"])


def test_within_cells_is_the_variance_that_codes_do_not_explain():
    indices = torch.tensor([0, 0, 1, 1])
    one_a_cell = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    assert metrics.within_cell_share(one_a_cell, indices, 3) == pytest.approx(0, abs=1e-12)
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    assert metrics.within_cell_share(opposite, indices, 3) == pytest.approx(1)
    assert metrics.within_cell_share(torch.tensor([[3.0], [1.0], [0.0], [0.0]]), indices, 3) == pytest.approx(
        1 - 8 / 10
    )


class Linear(torch.nn.Module):
    """The least model that has what a trace asks for: ``ends`` and a quantiser."""

    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer
        self.encoder, self.decoder = torch.nn.Linear(D, D), torch.nn.Linear(D, D, bias=False)
        self.ends = (self.encoder.weight, self.encoder.bias), (self.decoder.weight,)


@pytest.mark.parametrize("estimator", ["ste", "rotation"])
def test_trace_measures_the_gradients_and_leaves_the_step_alone(estimator):
    """With the straight-through estimator they are closed forms: 2 (z_q - x) / n and 2 gamma (z - q) / n."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = Linear(VectorQuantizer(D, K, estimator, gamma=0.5, init="normal", generator=generator))
    x = torch.randn(10, D, generator=generator)

    def loss(traced):
        z = model.encoder(x)
        quantized = model.quantizer(z, details=True)
        reconstruction = (quantized.z_q - x).square().mean()
        found = metrics.trace_row(model, quantized, reconstruction, z) if traced else None
        return reconstruction + quantized.loss, found, quantized

    total, found, quantized = loss(traced=True)
    q, z = quantized.q.detach(), quantized.z.detach()
    g = 2 * (q - x) / x.numel()
    assert found["commitment_gradient"] == pytest.approx((2 * 0.5 * (z - q) / z.numel()).norm().item(), rel=1e-5)
    assert found["q_product"] == pytest.approx((g * q).sum().item(), rel=1e-5)
    if estimator == "ste":
        assert found["reconstruction_gradient"] == pytest.approx(g.norm().item(), rel=1e-5)
        assert found["z_product"] == pytest.approx((g * z).sum().item(), rel=1e-5)
    else:  # <G^T g, z> = <g, Gz> = <g, q>
        assert found["z_product"] == pytest.approx(found["q_product"], rel=1e-4)
    assert found["encoder_squared"] == pytest.approx(sum(p.square().sum().item() for p in model.encoder.parameters()))
    assert found["decoder_squared"] == pytest.approx(model.decoder.weight.square().sum().item())
    assert 0 <= found["within_share"] <= 1
    theta = torch.rad2deg(torch.arccos(torch.cosine_similarity(z, q)))
    assert found["usage_tokens"] == 10 and found["theta_deg"] == pytest.approx(theta.mean().item(), rel=1e-4)

    total.backward()
    with_trace = model.encoder.weight.grad.clone()
    model.zero_grad()
    loss(traced=False)[0].backward()
    assert torch.equal(with_trace, model.encoder.weight.grad)
