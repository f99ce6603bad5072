"""Against other implementations, forward and backward, wherever both have an option.

Their known deviations are kept away from: latents are of ordinary size and no angle is near a half turn (there their
rotation is off by design, see test_estimators.py). Theirs computes cdist with an epsilon, so no two codes nearly tie.
"""

import math

import pytest
import torch
from torch import nn

from rotvq import VectorQuantizer
from rotvq.quantizers.codebook import PENALTIES
from rotvq.quantizers.methods.diveq import DiVeQ
from rotvq.quantizers.methods.fsq import FSQ
from rotvq.quantizers.methods.nsvq import NSVQ
from rotvq.quantizers.methods.sf_diveq import SFDiVeQ
from rotvq.quantizers.registry import METHODS

DIM, SIZE = 8, 20


@pytest.fixture(scope="module")
def vqp():
    return pytest.importorskip("vector_quantize_pytorch")


def latents(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CODES = latents(SIZE, DIM, seed=50)


def both(ours, theirs, x, *rest):
    """Outputs and gradients in the input of two modules, for the same loss of z_q alone."""
    results = []
    for module in (ours, theirs):
        x = x.detach().clone().requires_grad_()
        out = module(x, *rest)
        out[0].sin().sum().backward()
        results.append((out, x.grad))
    return results


def theirs(vqp, **options):
    """Their module with our codes, without its EMA step, which would move them within the call."""
    options = {"learnable_codebook": True, "ema_update": False, **options}
    module = vqp.VectorQuantize(dim=DIM, codebook_size=SIZE, **options)
    with torch.no_grad():
        module._codebook.embed.copy_(CODES)
    return module


@pytest.mark.parametrize("name", ("rotation", "ste"))
def test_estimators(vqp, name):
    x = latents(3, 40, DIM)
    mine, other = both(VectorQuantizer(DIM, SIZE, name, init=CODES), theirs(vqp, rotation_trick=name == "rotation"), x)
    assert torch.equal(mine[0][1], other[0][1])
    # their value is z + (q - z) or rR z: equal to q up to some roundings; ours is q
    torch.testing.assert_close(mine[0][0], other[0][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine[1], other[1], rtol=1e-4, atol=1e-5)


def test_losses(vqp):
    """Their learnable codebook has one mean of squares that pulls z and q alike: ours with beta = gamma, halved."""
    ours, other = VectorQuantizer(DIM, SIZE, init=CODES, beta=1.0, gamma=1.0), theirs(vqp)
    grads = []
    for module in (ours, other):
        x = latents(3, 40, DIM).requires_grad_()
        loss = module(x)[2]
        loss.sum().backward()
        parameter = ours.codebook.weight if module is ours else other._codebook.embed
        grads.append((loss.item() / (2 if module is ours else 1), x.grad, parameter.grad.reshape(SIZE, DIM)))
    assert grads[0][0] == pytest.approx(grads[1][0], rel=1e-5)
    torch.testing.assert_close(grads[0][1:], grads[1][1:], rtol=1e-4, atol=1e-6)


def test_commitment_alone(vqp):
    ours = VectorQuantizer(DIM, SIZE, init=CODES, update="ema", gamma=0.7)
    other = vqp.VectorQuantize(dim=DIM, codebook_size=SIZE, commitment_weight=0.7)
    other._codebook.embed.data.copy_(CODES)
    x = latents(3, 40, DIM)
    assert ours(x).loss.item() == pytest.approx(other(x)[2].item(), rel=1e-5)


@pytest.mark.parametrize("decay", (0.8, 0.99))
def test_ema(vqp, decay):
    """Three steps; their counts are smoothed by 1e-5 K, and an unused code of theirs shrinks: compare the used ones."""
    ours = VectorQuantizer(DIM, SIZE, init=CODES, update="ema", decay=decay, initial_count=1.0)
    other = vqp.VectorQuantize(dim=DIM, codebook_size=SIZE, decay=decay)
    other._codebook.embed.data.copy_(CODES)
    other._codebook.embed_avg.copy_(CODES)
    always = torch.ones(SIZE, dtype=bool)
    for seed in range(3):
        x = latents(30, 40, DIM, seed=seed)
        indices = ours(x).indices
        assert torch.equal(indices, other(x)[1])
        always &= torch.bincount(indices.flatten(), minlength=SIZE) > 0
    ours.statistics.move_codes(ours.codebook.weight, x.reshape(-1, DIM), None, 0, None, torch.tensor(True))
    assert always.sum() > SIZE / 2
    torch.testing.assert_close(ours.codes[always], other.codebook[always], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours.statistics.running, other._codebook.cluster_size[0])


def test_cosine(vqp):
    """Their cosine mode puts latents and codes on the sphere: our lookup "normalised"."""
    other = vqp.VectorQuantize(dim=DIM, codebook_size=SIZE, use_cosine_sim=True, rotation_trick=True)
    codes = other._codebook.embed[0].clone()
    other.freeze_codebook = True
    mine, their = both(VectorQuantizer(DIM, SIZE, init=codes, lookup="normalised"), other, latents(3, 40, DIM))
    assert torch.equal(mine[0][1], their[0][1])
    torch.testing.assert_close(mine[0][0], their[0][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine[1], their[1], rtol=1e-4, atol=1e-5)


def test_mask(vqp):
    mask = torch.rand(3, 40, generator=torch.Generator().manual_seed(1)) > 0.4
    ours = VectorQuantizer(DIM, SIZE, init=CODES, update="ema", gamma=1.0, decay=0.8)
    other = vqp.VectorQuantize(dim=DIM, codebook_size=SIZE, return_zeros_for_masked_padding=False)
    other._codebook.embed.data.copy_(CODES)
    other._codebook.embed_avg.copy_(CODES)
    x = latents(3, 40, DIM)
    mine, their = ours(x, mask), other(x, mask=mask)
    assert torch.equal(mine.indices, their[1])
    assert mine.loss.item() == pytest.approx(their[2].item(), rel=1e-5)
    other(x, mask=mask), ours(x, mask)
    torch.testing.assert_close(ours.statistics.running, other._codebook.cluster_size[0])


def test_heads(vqp):
    other = vqp.VectorQuantize(dim=2 * DIM, codebook_dim=DIM, codebook_size=SIZE, heads=2, freeze_codebook=True)
    other._codebook.embed.data.copy_(CODES)
    mine, their = both(VectorQuantizer(DIM, SIZE, init=CODES, heads=2), other, latents(3, 40, 2 * DIM))
    assert torch.equal(mine[0][1], their[0][1])
    torch.testing.assert_close(mine[0][0], their[0][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine[1], their[1], rtol=1e-4, atol=1e-5)


def test_images(vqp):
    other = theirs(vqp, accept_image_fmap=True)
    mine, their = both(VectorQuantizer(DIM, SIZE, init=CODES, channel_first=True), other, latents(2, DIM, 5, 6))
    assert torch.equal(mine[0][1], their[0][1])
    torch.testing.assert_close(mine[0][0], their[0][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine[1], their[1], rtol=1e-4, atol=1e-5)


def test_orthogonal_penalty(vqp):
    from vector_quantize_pytorch.vector_quantize_pytorch import orthogonal_loss_fn

    torch.testing.assert_close(PENALTIES["orthogonal"](CODES), orthogonal_loss_fn(CODES[None]))


@pytest.mark.parametrize("rotation", (True, False))
def test_simvq(vqp, rotation):
    other = vqp.SimVQ(DIM, SIZE, rotation_trick=rotation)
    ours = METHODS["simvq"](DIM, SIZE, estimator="rotation" if rotation else "ste", init=other.frozen_codebook)
    with torch.no_grad():
        ours.codebook.form.map.copy_(other.code_transform.weight)
    grads = []
    for module, weight in ((ours, ours.codebook.form.map), (other, other.code_transform.weight)):
        x = latents(3, 40, DIM).requires_grad_()
        z_q, indices, loss = module(x)
        (z_q.sin().sum() + loss).backward()
        grads.append((indices, z_q, loss, x.grad, weight.grad))
    assert torch.equal(grads[0][0], grads[1][0])
    torch.testing.assert_close(grads[0][1:4], grads[1][1:4], rtol=1e-4, atol=1e-5)
    if not rotation:  # theirs sends no reconstruction gradient to the codes with STE; with the trick neither
        torch.testing.assert_close(grads[0][4], grads[1][4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("symmetric", (False, True))
@pytest.mark.parametrize("bound", ("tanh", "clamp"))
@pytest.mark.parametrize("sizes", ((8, 5, 5), (5, 3), (8, 6, 5, 4)))
def test_fsq(vqp, sizes, bound, symmetric):
    ours = FSQ(DIM, math.prod(sizes), sizes=sizes, symmetric=symmetric, bound=bound)
    other = vqp.FSQ(list(sizes), dim=DIM, preserve_symmetry=symmetric, bound_hard_clamp=bound == "clamp")
    with torch.no_grad():
        for name in ("project_in", "project_out"):
            getattr(ours, name).load_state_dict(getattr(other, name).state_dict())
    grads = []
    for module in (ours, other):
        x = latents(3, 40, DIM).requires_grad_()
        out = module(x)
        out[0].sin().sum().backward()
        grads.append((out[1].long(), out[0], x.grad))
    assert torch.equal(grads[0][0], grads[1][0])
    torch.testing.assert_close(grads[0][1:], grads[1][1:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.decode(grads[0][0]), other.indices_to_codes(grads[0][0]), rtol=1e-4, atol=1e-5)


def authors(package, name, **options):
    """A module of NSVQ's and DiVeQ's authors with our codes."""
    module = getattr(pytest.importorskip(package), name)(SIZE, DIM, allow_warning=False, **options)
    with torch.no_grad():
        module.codebook.copy_(CODES)
    return module


AUTHORS = {
    "nsvq": ("nsvq", "NSVQ", {"codebook_reset": False}, lambda: NSVQ(seed=4)),
    "diveq": ("diveq", "DIVEQ", {"codebook_reset": False, "noise_var": 0.05}, lambda: DiVeQ(4, 0.05)),
    "diveq, detached": ("diveq", "DIVEQDetach", {"codebook_reset": False}, lambda: DiVeQ(4, 0.0)),
}


@pytest.mark.parametrize("name", AUTHORS)
def test_noise_of_the_authors_packages(name, monkeypatch):
    """The same noise for both; what they call the variance of DiVeQ is used as a standard deviation."""
    package, kind, options, make = AUTHORS[name]
    other, substitute = authors(package, kind, **options), make()
    ours = VectorQuantizer(DIM, SIZE, make(), init=CODES, beta=0.0, gamma=0.0)
    noise = substitute.noise.normal(torch.empty(60, DIM))
    monkeypatch.setattr(torch.distributions.Normal, "sample", lambda self, shape: self.scale * noise)
    grads = []
    for module, codes in ((ours, ours.codebook.weight), (other, other.codebook)):
        z = latents(60, DIM).requires_grad_()
        z_q, indices, _ = module(z)
        z_q.sin().sum().backward()
        grads.append((indices, z_q, z.grad, codes.grad))
    assert torch.equal(grads[0][0], grads[1][0])
    torch.testing.assert_close(grads[0][1:], grads[1][1:], rtol=1e-4, atol=1e-5)


def test_segments_of_the_authors_package(monkeypatch):
    other = authors("diveq", "SFDIVEQ", skip_iters=0, avg_iters=0, noise_var=0.05)
    ours = SFDiVeQ(DIM, SIZE, init=CODES, deviation=0.05)
    copy = SFDiVeQ(DIM, SIZE, init=CODES).noise
    t = copy.uniform(torch.empty(SIZE - 1, 1))
    draws = [copy.normal(torch.empty(60, DIM)) for _ in range(2)]
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: t)
    monkeypatch.setattr(torch.distributions.Normal, "sample", lambda self, shape: self.scale * draws.pop(0))
    z = latents(60, DIM).requires_grad_()
    z_q, indices, _ = other(z)
    z_q.sin().sum().backward()
    monkeypatch.undo()
    x = latents(60, DIM).requires_grad_()
    out = ours(x)
    out.z_q.sin().sum().backward()
    assert torch.equal(out.indices, indices)
    torch.testing.assert_close(out.z_q, z_q, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(x.grad, z.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.codebook.weight.grad, other.codebook.grad, rtol=1e-4, atol=1e-5)
    # evaluation: theirs moves the nearest code inwards by one at either end of the curve; compare the others
    theirs, nearest, _ = other.inference(z.detach())
    inner = (nearest > 0) & (nearest < SIZE - 1)
    torch.testing.assert_close(ours.eval()(z.detach()).z_q[inner], theirs[inner], rtol=1e-4, atol=1e-5)


def test_state_dict_of_theirs_loads_and_gives_the_same_forward(vqp):
    other = vqp.VectorQuantize(dim=DIM, codebook_size=SIZE).eval()
    ours = VectorQuantizer(DIM, SIZE, init="kmeans")
    ours.load_state_dict(other.state_dict())
    x = latents(3, 40, DIM)
    mine, their = ours.eval()(x), other(x)
    assert torch.equal(mine.indices, their[1]) and torch.equal(mine.z_q, their[0])
    assert nn.Module.state_dict(ours).keys() == VectorQuantizer(DIM, SIZE).state_dict().keys()
