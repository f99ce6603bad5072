"""Codebook: how codes start, their forms, and the penalties on them."""

import pytest
import torch

from rotvq import Codebook
from rotvq.quantizers.codebook import FORMS, FROM_LATENTS, INITS, PENALTIES
from rotvq.quantizers.geometry import unit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def latents(n=400, d=3):
    return torch.randn(n, d, generator=generator(9)) + 5


@pytest.mark.parametrize("init", INITS)
def test_starts_as_its_generator_says(init):
    books = [Codebook(20, 3, init, generator=generator(seed)) for seed in (1, 1, 2)]
    for book in books:
        assert book.ready == (init not in FROM_LATENTS) == bool(book.started)
        if not book.ready:
            book.start(latents())
        assert book.ready and book.started
    assert torch.equal(books[0].codes, books[1].codes)
    assert not torch.equal(books[0].codes, books[2].codes)


def test_the_laws_of_each_init():
    uniform = Codebook(4096, 8, "uniform", generator=generator()).codes.detach()
    assert uniform.abs().max() <= 1 / 4096
    # norms near sqrt(d/3)/K: the mean square of 32,768 numbers, within 1 %
    assert (uniform * 4096).square().mean().item() == pytest.approx(1 / 3, rel=0.01)
    normal = Codebook(4096, 8, "normal", generator=generator()).codes.detach()
    assert normal.square().sum(-1).mean().item() == pytest.approx(1, rel=0.02)
    drawn = Codebook(50, 3, "latents", generator=generator())
    drawn.start(latents())
    rows = {tuple(row) for row in latents().tolist()}
    assert {tuple(row) for row in drawn.codes.tolist()} <= rows and len(drawn.codes.unique(dim=0)) == 50
    few = Codebook(50, 3, "latents", generator=generator())
    few.start(latents(20))  # fewer latents than codes: repeated, all of them used
    assert len(few.codes.unique(dim=0)) == 20


def test_kmeans_is_a_fixed_point_of_lloyd():
    book = Codebook(8, 3, "kmeans", generator=generator())
    book.start(latents())
    nearest = torch.cdist(latents(), book.codes).argmin(-1)
    means = torch.stack([latents()[nearest == k].mean(0) for k in range(8)])
    # scikit-learn stops at the latest when no label changes; float32 codes of norm 9
    torch.testing.assert_close(book.codes.detach(), means, rtol=1e-5, atol=1e-5)


def test_given_vectors_and_scale():
    given = torch.randn(6, 3)
    assert torch.equal(Codebook(6, 3, given).codes, given)
    assert torch.equal(Codebook(6, 3, given, init_scale=2.0).codes, 2 * given)
    assert Codebook(6, 3, given.double()).codes.dtype == torch.float32
    book = Codebook(50, 3, "latents", init_scale=0.1, generator=generator())
    book.start(latents())
    assert book.codes.norm(dim=-1).mean().item() == pytest.approx(0.1 * latents().norm(dim=-1).mean().item(), rel=0.1)


@pytest.mark.parametrize("form", FORMS)
def test_forms_start_as_init_says(form):
    given = torch.randn(6, 3)
    book = Codebook(6, 3, given, form=form)
    torch.testing.assert_close(book.codes, unit(given) if form == "sphere" else given)
    lazy = Codebook(6, 3, "latents", form=form, generator=generator())
    lazy.start(latents(6))
    want = unit(latents(6)) if form == "sphere" else latents(6)
    torch.testing.assert_close(lazy.codes.sort(0).values, want.sort(0).values)


# which codes move when the loss pulls at code 0 alone
MOVED = {"free": {0}, "sphere": {0}, "affine": {0, 1, 2, 3}, "linear": {0, 1, 2, 3}}


@pytest.mark.parametrize("form", FORMS)
def test_which_codes_one_gradient_moves(form):
    book = Codebook(4, 3, "normal", form=form, generator=generator())
    before = book.codes.detach().clone()
    book.codes[0].sum().backward()
    with torch.no_grad():
        for parameter in book.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    moved = {k for k in range(4) if not torch.equal(book.codes[k], before[k])}
    assert moved == MOVED[form]
    assert form != "sphere" or torch.allclose(book.codes.norm(dim=-1), torch.ones(4))


def test_start_forgets_what_an_affine_form_learned():
    book = Codebook(4, 3, "latents", form="affine", generator=generator())
    with torch.no_grad():
        book.form.scale.fill_(7)
    book.start(latents(4))
    torch.testing.assert_close(book.codes.sort(0).values, latents(4).sort(0).values)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_learned_where_that_is_said(form):
    assert not any(p.requires_grad for p in Codebook(4, 3, form=form, learned=False).parameters())
    assert any(p.requires_grad for p in Codebook(4, 3, form=form).parameters())


def test_orthogonal_penalty():
    """0 for orthogonal codes, 1 - 1/K for parallel ones, and the mean over all pairs of cos^2 less 1/K."""
    penalty = PENALTIES["orthogonal"]
    assert penalty(3 * torch.eye(5)).item() == pytest.approx(0, abs=1e-7)
    assert penalty(torch.ones(4, 3) * torch.tensor([[1.0], [-2], [3], [4]])).item() == pytest.approx(3 / 4, abs=1e-6)
    codes = torch.randn(30, 7, dtype=torch.float64, requires_grad=True)
    cosines = unit(codes) @ unit(codes).t()
    torch.testing.assert_close(penalty(codes), (cosines.square().sum() / 30**2 - 1 / 30))
    # along itself no code feels anything: the penalty is about directions
    (gradient,) = torch.autograd.grad(penalty(codes), codes)
    assert (gradient * codes).sum(-1).abs().max() < 1e-12


def test_norm_penalty():
    codes = torch.randn(30, 7, requires_grad=True)
    penalty = PENALTIES["norm"](codes)
    assert penalty.item() == pytest.approx(codes.square().sum().item() / 30)
    penalty.backward()
    torch.testing.assert_close(codes.grad, 2 * codes / 30)


ERRORS = {
    "both must be at least 1": lambda: Codebook(0, 3),
    "unknown init 'zeros': one of uniform": lambda: Codebook(4, 3, "zeros"),
    "unknown form 'round': one of free": lambda: Codebook(4, 3, form="round"),
    r"shape \(4, 2\), not \(4, 3\)": lambda: Codebook(4, 3, torch.ones(4, 2)),
    "must be positive": lambda: Codebook(4, 3, init_scale=0.0),
    "needs 4 latents or more, not 3": lambda: Codebook(4, 3, "kmeans").start(latents(3)),
    "needs 1 latents or more, not 0": lambda: Codebook(4, 3, "latents").start(latents(0)),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_allowed(message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message]()


def test_state_dict_round_trip_also_before_the_start():
    for started in (False, True):
        book = Codebook(20, 3, "latents", generator=generator())
        if started:
            book.start(latents())
        other = Codebook(20, 3, "latents", generator=generator(4))
        other.load_state_dict(book.state_dict())
        assert other.ready == started and torch.equal(other.weight, book.weight)
    assert torch.equal(other.codes, book.codes)
