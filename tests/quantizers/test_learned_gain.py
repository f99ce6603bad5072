"""The learnable scale: what it converges to is known where the smoothed loss is."""

import math

import pytest
import torch

from rotvq import VectorQuantizer
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.quantizers.learned_gain import LearnedGain


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("sigma", (0.3, 1.0))
def test_two_codes_on_a_line(sigma):
    """Codes -1 and 1, z ~ N(0, s^2), L = c q: the smoothed slope at z is 2 c phi(z/sigma)/sigma, STE says c.

    So the best gain is E[2 phi(z/sigma)/sigma] = 2 / sqrt(2 pi (s^2 + sigma^2)), whatever c.
    """
    s, c = 0.7, -3.0
    vq = VectorQuantizer(1, 2, init=torch.tensor([[-1.0], [1.0]])).eval()
    gain = LearnedGain(sigma, decay=1.0)
    z = s * torch.randn(4000, 1, generator=generator())
    # one latent a loss: each is its own equation, and the sums are over all of them
    for seed in range(5):
        directions = torch.randn(4000, 1, generator=generator(seed + 1))
        gain.observe(lambda moved: c * vq(moved).z_q.flatten(), z, torch.full((4000, 1), c), directions)
    # 20,000 samples whose relative spread is near 1: 5 standard errors are 4 %
    assert gain().item() == pytest.approx(2 / math.sqrt(2 * math.pi * (s**2 + sigma**2)), rel=0.04)


def test_gain_is_exact_for_a_linear_loss_of_latents():
    """Without a quantiser the slope is <c, u>: a pull-back k c has the best gain 1/k."""
    c = torch.randn(6, 3, generator=generator())
    for k in (0.5, 2.0, 4.0):
        gain = LearnedGain(0.1)
        directions = torch.randn(5, 6, 3, generator=generator(1))
        gain.observe(lambda z: (z * c).flatten(1).sum(1), torch.zeros(6, 3), k * c, directions)
        assert gain().item() == pytest.approx(1 / k, rel=1e-4)


def test_it_undoes_a_wrong_scale_of_the_estimator():
    """Gains for scale_only with codes of half the norm follow the STE's by the factor 1/r of the pull-backs."""
    lattice = torch.arange(-8.0, 9)[:, None]
    vq = VectorQuantizer(1, 17, init=lattice).eval()
    z = 3 * torch.randn(3000, 1, generator=generator())
    q = vq(z).z_q.detach()
    gains = {}
    for name, factor in (("ste", 1.0), ("constant", 0.5)):
        gain = LearnedGain(0.5, decay=1.0)
        pull = ESTIMATORS[name].pull_back(z, q, torch.ones(3000, 1))
        for seed in range(5):
            directions = torch.randn(3000, 1, generator=generator(seed))
            gain.observe(lambda moved: vq(moved).z_q.flatten(), z, pull, directions)
        gains[name] = gain().item() * factor
    assert gains["ste"] == pytest.approx(gains["constant"], rel=1e-5)
    # a lattice has slope 1 on average; 15,000 samples of relative spread near 1
    assert gains["ste"] == pytest.approx(1, abs=0.05)


def test_limits_and_errors():
    gain = LearnedGain(0.1, limit=2.0)
    assert gain() == 1
    directions = torch.ones(2, 1, 1)
    gain.observe(lambda z: 9 * z.flatten(1).sum(1), torch.zeros(1, 1), torch.ones(1, 1), directions)
    assert gain() == 2
    opposite = LearnedGain(0.1)
    opposite.observe(lambda z: -z.flatten(1).sum(1), torch.zeros(1, 1), torch.ones(1, 1), directions)
    assert opposite() == 0
    for sigma, decay in ((0.0, 0.9), (1.0, 0.0), (1.0, 1.5)):
        with pytest.raises(ValueError, match="needed are sigma > 0"):
            LearnedGain(sigma, decay)


def test_the_gain_reaches_the_quantiser():
    vq = VectorQuantizer(2, 3, "ste", gain=torch.ones(3), init="normal", generator=generator(), gamma=0.0)
    vq.gain.fill_(0.25)
    z = torch.randn(5, 2, requires_grad=True)
    vq(z).z_q.sum().backward()
    assert z.grad.eq(0.25).all()


@pytest.mark.parametrize("bad", (torch.nan, torch.inf))
def test_a_loss_that_is_not_finite_is_left_out(bad):
    """One such evaluation would be in the running sums for ever."""
    c, directions = torch.randn(6, 3, generator=generator()), torch.randn(5, 6, 3, generator=generator(1))
    gain = LearnedGain(0.1)
    gain.observe(lambda z: (c * z).sum((-1, -2)).index_fill(0, torch.tensor(2), bad), torch.zeros(6, 3), c, directions)
    assert gain().item() == pytest.approx(1, rel=1e-4)
