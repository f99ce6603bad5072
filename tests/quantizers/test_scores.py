"""The k nearest codes, and codes drawn at random."""

import pytest
import torch

from rotvq import VectorQuantizer

DIM, SIZE = 5, 40
OPTIONS = [{}, {"lookup": "cosine"}, {"lookup": "normalised"}, {"heads": 2}, {"project_to": 3}]


def build(seed=0, dim=DIM, size=SIZE, **options):
    torch.manual_seed(seed)
    return VectorQuantizer(dim, size, init="normal", **options)


def latents(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_nearest_codes_are_those_of_the_whole_matrix(options):
    vq = build(**options)
    x = latents(7, 11, DIM * vq.heads)
    z, codes = vq._latents(x), vq.codes.detach()
    if options.get("lookup") == "cosine":
        z, codes = (torch.nn.functional.normalize(v, dim=-1) for v in (z, codes))
    wanted = torch.cdist(z.double().flatten(0, -2), codes.double()).topk(4, largest=False).indices
    found = vq.nearest_codes(x, 4)
    assert torch.equal(found.flatten(0, -2), wanted) and found.shape == (*vq.encode(x).shape, 4)


@pytest.mark.parametrize("offset", (0.0, 100.0))
@pytest.mark.parametrize("seed", range(10))
def test_the_first_is_the_code_of_encode(seed, offset):
    """Also where codes are short, as those of the default start are, and far from the origin."""
    codes = latents(512, 64, seed=seed) / 512 + offset
    vq, x = VectorQuantizer(64, 512, init=codes), 3 * latents(1024, 64, seed=seed + 100) + offset
    assert torch.equal(vq.nearest_codes(x, 1)[..., 0], vq.encode(x))


@pytest.mark.parametrize("k", (0, -1, SIZE + 1))
def test_k_is_a_number_of_codes(k):
    with pytest.raises(ValueError, match=f"k is {k}: it must be from 1 to {SIZE}"):
        build().nearest_codes(latents(3, DIM), k)


@pytest.mark.parametrize("temperature", (0.2, 1.0))
@pytest.mark.parametrize("lookup", ("euclidean", "cosine"))
def test_codes_are_drawn_by_the_softmax_of_scores(lookup, temperature):
    vq = build(size=6, lookup=lookup, temperature=temperature)
    z, codes = latents(1, DIM), vq.codes.detach()
    scores = -(z - codes).square().sum(-1)
    if lookup == "cosine":
        scores = torch.nn.functional.cosine_similarity(z, codes)
    wanted = (scores / temperature).softmax(-1)
    with torch.no_grad():
        counts = torch.bincount(vq(z.expand(40_000, -1)).indices, minlength=6) / 40_000
    assert (counts - wanted).abs().max() < 4 * (wanted * (1 - wanted) / 40_000).sqrt().max()
    assert torch.equal(vq.eval()(z).indices, vq.encode(z))  # drawn in training alone


def test_draws_go_on_and_can_be_repeated():
    first, second = (build(temperature=1.0, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    x = latents(200, DIM)
    with torch.no_grad():
        one, other = first(x).indices, second(x).indices
        assert torch.equal(one, other) and not torch.equal(first(x).indices, one)
