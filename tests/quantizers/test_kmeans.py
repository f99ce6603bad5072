"""K-means: as good as scikit-learn's on data of every kind, and right where data are awkward."""

import math
import statistics
import warnings

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from book.bench.timing import peak_bytes
from rotvq.quantizers import kmeans as module
from rotvq.quantizers.kmeans import kmeans


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape):
    return torch.randn(shape, generator=seeded(sum(shape)))


def clusters(count, n, d, std):
    which = torch.randint(count, (n,), generator=seeded(1))
    return normal(count, d)[which] + std * normal(n, d)


def inertia(latents, centres):
    distances = torch.cdist(latents.double(), centres.double())
    return float(distances.amin(-1).square().sum())


def scikit_learn(latents, codebook_size, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct latents than codes
        fit = KMeans(codebook_size, n_init=1, max_iter=100, random_state=seed).fit(latents.double().numpy())
    return torch.from_numpy(fit.cluster_centers_)


DATA = {  # latents, K
    "normal": lambda: (normal(2000, 32), 64),
    "plane": lambda: (normal(2000, 2), 50),
    "line": lambda: (normal(2000, 1), 20),
    "clusters": lambda: (clusters(100, 3000, 8, 0.3), 100),
    "clusters far apart": lambda: (clusters(8, 2000, 8, 0.01), 8),
    "heavy tails": lambda: (normal(3000, 8) / normal(3000, 2).square().mean(-1, keepdim=True).sqrt(), 50),
    "a few far away": lambda: (torch.cat([normal(2000, 8), normal(20, 8) + 1e4]), 50),
    "few values": lambda: (normal(3000, 4).round(), 40),
    "hardly more latents than codes": lambda: (normal(300, 16), 200),
    "far from the origin": lambda: (normal(2000, 8) * 0.1 + 1000, 32),
    "tiny": lambda: (normal(2000, 8) * 1e-30, 32),
    "huge": lambda: (normal(2000, 8) * 1e30, 32),
}


@pytest.mark.parametrize("name", DATA)
def test_as_good_as_scikit_learn(name):
    """Mean inertia of eight starts each, up to 1 % and two standard errors of the difference."""
    latents, codebook_size = DATA[name]()
    ours = [inertia(latents, kmeans(latents, codebook_size, seeded(seed))) for seed in range(8)]
    theirs = [inertia(latents, scikit_learn(latents, codebook_size, seed)) for seed in range(8)]
    error = math.sqrt((statistics.variance(ours) + statistics.variance(theirs)) / 8)
    assert 0 < statistics.mean(ours) <= 1.01 * statistics.mean(theirs) + 2 * error


def test_better_than_scikit_learn_on_a_grid():
    """Ties that always go to the same code would hold codes where they are: 3 % worse, not 5 % better."""
    latents = torch.randint(4, (2000, 3), generator=seeded()).float()
    ours = [inertia(latents, kmeans(latents, 32, seeded(seed))) for seed in range(16)]
    theirs = [inertia(latents, scikit_learn(latents, 32, seed)) for seed in range(16)]
    assert statistics.mean(ours) < 0.98 * statistics.mean(theirs)


def test_it_ends_where_lloyd_ends():
    """Codes are the means of the latents that choose them, nearly: clusters far apart, so exactly."""
    latents = clusters(8, 500, 3, 1e-3)
    centres = kmeans(latents, 8, seeded())
    chosen = torch.cdist(latents, centres).argmin(-1)
    means = torch.stack([latents[chosen == k].mean(0) for k in range(8)])
    torch.testing.assert_close(centres, means, rtol=0, atol=1e-6)
    assert chosen.bincount().count_nonzero() == 8


@pytest.mark.parametrize("codebook_size", (1, 2, 7))
def test_as_many_latents_as_codes(codebook_size):
    latents = normal(codebook_size, 3)
    centres = kmeans(latents, codebook_size, seeded())
    assert inertia(latents, centres) < 1e-12
    torch.testing.assert_close(kmeans(latents, 1), latents.mean(0, keepdim=True))


@pytest.mark.parametrize("distinct", (1, 2, 5))
def test_fewer_distinct_latents_than_codes(distinct):
    values = normal(distinct, 3)
    centres = kmeans(values.repeat(20, 1), 8, seeded())
    assert centres.isfinite().all() and inertia(values, centres) < 1e-12


@pytest.mark.parametrize("lost", (1, 3))
def test_codes_without_latents_are_placed_anew(lost, monkeypatch):
    """From a start with copies of one code, at which clusters are missing, every cluster is found."""
    latents = clusters(8, 500, 3, 1e-3)
    found = kmeans(latents, 8, seeded())
    start = torch.cat([found[lost:], found[-1:].repeat(lost, 1)])
    mean = latents.double().mean(0).float()
    scale = torch.ldexp(torch.tensor(1.0), torch.frexp((latents - mean).abs().amax()).exponent)
    further, starts = module._further_codes, [(start - mean) / scale]
    monkeypatch.setattr(module, "_further_codes", lambda *rest: starts.pop() if starts else further(*rest))
    mended = kmeans(latents, 8, seeded())
    torch.testing.assert_close(mended[:-lost], found[lost:], rtol=0, atol=1e-5)
    assert not starts and inertia(latents, mended) < 0.01


@pytest.mark.parametrize("bad", (torch.nan, torch.inf, -torch.inf))
def test_what_is_not_finite_does_not_count(bad):
    latents = normal(400, 4)
    spoilt = latents.repeat_interleave(2, 0)
    spoilt[1::2, 2] = bad
    assert torch.equal(kmeans(spoilt, 16, seeded()), kmeans(latents, 16, seeded()))
    with pytest.raises(ValueError, match="k-means of 401 codes needs 401 finite latents, not 400"):
        kmeans(spoilt, 401)


def test_the_generator_decides():
    latents = normal(500, 4)
    first, again, other = (kmeans(latents, 16, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.manual_seed(3)
    first = kmeans(latents, 16)
    assert not torch.equal(first, kmeans(latents, 16))
    torch.manual_seed(3)
    assert torch.equal(first, kmeans(latents, 16))


def test_rounds():
    latents = normal(2000, 4)
    found = [inertia(latents, kmeans(latents, 32, seeded(), rounds)) for rounds in (0, 1, 2, 5, 100)]
    assert found == sorted(found, reverse=True) and found[0] > found[-1]
    assert any((kmeans(latents, 32, seeded(), 0)[0] - latents).abs().amax(-1) < 1e-6)  # the start: latents


@pytest.mark.parametrize("dtype", (torch.float64, torch.float32, torch.bfloat16, torch.float16))
def test_dtypes_and_autocast(dtype):
    """Half precision is widened: the centres are those of the same latents in float32."""
    latents = normal(2000, 8).to(dtype)
    centres = kmeans(latents, 32, seeded())
    assert centres.dtype == torch.promote_types(dtype, torch.float32)
    assert torch.equal(centres, kmeans(latents.to(centres.dtype), 32, seeded()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(kmeans(latents, 32, seeded()), centres)


def test_means_keep_their_digits():
    """A million latents choose one code: sums in float32 of what is not centred would be off by more."""
    latents = torch.rand(1_000_000, 1, generator=seeded()) * 1e-3 + 100
    centre = kmeans(latents, 1)
    torch.testing.assert_close(centre.double(), latents.double().mean(0, keepdim=True), rtol=1e-7, atol=0)


def test_no_gradient_and_no_change_of_the_latents():
    latents = normal(100, 3).requires_grad_()
    before = latents.detach().clone()
    assert not kmeans(latents, 4).requires_grad and torch.equal(latents, before)


def test_memory_is_far_below_the_matrix_of_distances():
    latents = normal(40_000, 2)
    assert peak_bytes(lambda: kmeans(latents, 512, seeded(), 3)) < 20e6  # 40,000 x 512 numbers have 82 MB
