"""Training: the same Config gives the same result, arms share what they should, and the loss conventions agree."""

import json

import pytest
import torch
from few_images import FEW

from rotvq.training import images
from rotvq.training.config import Config
from rotvq.training.images import batches
from rotvq.training.optimizers import make_optimizer
from rotvq.training.seeds import generator
from rotvq.training.train import build_model, fit, is_evaluation_step, train

TINY = {"data": FEW, "codebook_size": 16, "dim": 8, "batch": 8, "init_latents": 256, "steps": 4}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("fields", [{}, {"init": "kmeans", "update": "ema", "revival": "unused"}], ids=["plain", "all"])
def test_the_same_config_gives_the_same_result(fields):
    config = Config(**TINY, **fields)
    torch.manual_seed(1)
    once = train(config)
    torch.manual_seed(2)  # the state of the global generator is no part of a run
    torch.rand(3)
    assert train(config) == once
    assert json.loads(json.dumps(once, allow_nan=False)) == once
    assert once["final"]["diverged_at"] is None and len(once["curve"]["first"]) == config.steps
    assert train(Config(**TINY, **fields, seed=1)) != once


def test_arms_share_weights_batches_and_codes(monkeypatch):
    """An arm that draws more numbers (k-means, revival, noise) still sees the batches of one that draws fewer."""
    seen, normalise = {}, images.Images.normalise
    for name, fields in {"plain": {}, "greedy": {"init": "kmeans", "revival": "unused", "estimator": "ste"}}.items():
        rows = seen.setdefault(name, [])

        def spy(self, pixels, rows=rows):
            if len(pixels) == TINY["batch"]:
                rows.append(pixels.clone())
            return normalise(self, pixels)

        monkeypatch.setattr(images.Images, "normalise", spy)
        train(Config(**TINY, **fields))
        monkeypatch.setattr(images.Images, "normalise", normalise)
    assert len(seen["plain"]) == TINY["steps"]
    assert all(torch.equal(a, b) for a, b in zip(seen["plain"], seen["greedy"], strict=True))

    one, other = (build_model(Config(**TINY, estimator=name), 1) for name in ("ste", "rotation"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_batches_are_epochs_without_a_short_one():
    stream = batches(10, 4, generator(0, "order"))
    epoch = torch.cat([next(stream), next(stream)])
    assert len(epoch.unique()) == 8
    assert not torch.equal(next(stream), epoch[:4])
    with pytest.raises(ValueError, match="batch is 11: the training split has 10 images"):
        next(batches(10, 11, generator(0, "order")))


@pytest.mark.parametrize(
    "convention, gamma, beta, lr", [("token", 1 / 8, 1 / 8, 1), ("image", 784 / 392, 784 / 392, 1 / 784)]
)
def test_the_loss_conventions_are_one_run_after_rescaling(convention, gamma, beta, lr):
    """d = 8, 49 tokens and 784 pixels an image. Sums differ in order only, so SGD agrees to float32 rounding.

    "mean" against "token": the quantiser's losses are d times as large. Against "image": the reconstruction loss is 784
    times and the quantiser's 49 d = 392 times as large; so gamma times 784/392, and all of it at a rate 1/784.
    """
    common = {**TINY, "optimizer": "sgd", "estimator": "rotation", "init": "normal"}
    mean, _ = fit(Config(**common, lr=0.2, gamma=0.5, beta=0.7))
    other, _ = fit(Config(**common, lr=0.2 * lr, gamma=0.5 * gamma, beta=0.7 * beta, convention=convention))
    start = build_model(Config(**common), 1)
    for (name, a), b, c in zip(mean.named_parameters(), other.parameters(), start.parameters(), strict=True):
        moved = (a - c).abs().max()
        assert moved > 0, name
        assert (a - b).abs().max() <= 1e-3 * moved, name


def test_a_diverged_run_says_where():
    result = train(Config(**{**TINY, "steps": 12}, optimizer="sgd", lr=1e12))
    assert 1 <= result["final"]["diverged_at"] <= 12
    assert set(result["final"]) == {"diverged_at"}
    json.dumps(result, allow_nan=False)


def test_codes_do_not_decay():
    config = Config(**TINY, weight_decay=0.1, optimizer="adamw")
    model = build_model(config, 1)
    groups = make_optimizer(config.optimizer, model, config.lr, config.weight_decay).param_groups
    decayed = {id(p) for g in groups if g["weight_decay"] for p in g["params"]}
    assert id(model.quantizer.codebook.weight) not in decayed
    assert sum(len(g["params"]) for g in groups) == sum(p.requires_grad for p in model.parameters())


def test_a_plain_autoencoder_first():
    """With pretrain_steps the encoder has moved before the codes start; the codes have not."""
    early, late = (fit(Config(**{**TINY, "steps": 0}, pretrain_steps=n))[0] for n in (0, 3))
    assert torch.equal(early.quantizer.codebook.weight, late.quantizer.codebook.weight)
    assert not torch.equal(early.encoder[0].weight, late.encoder[0].weight)


def test_evaluations_are_at_doublings_of_500_steps():
    assert [step for step in range(10_000) if is_evaluation_step(step)] == [500, 1000, 2000, 4000, 8000]


def test_a_bad_config_is_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(images, "load", lambda *_: pytest.fail("the data was read"))
    with pytest.raises(ValueError, match="unknown estimator 'spin': one of ste, rotation"):
        train(Config(estimator="spin"))


def test_the_residual_network_is_eight_times_as_large():
    def weights(model: str) -> int:
        built = build_model(Config(model=model), channels=1)
        return sum(p.numel() for name, p in built.named_parameters() if not name.startswith("quantizer."))

    assert weights("residual") / weights("conv") == pytest.approx(8, rel=0.05)
