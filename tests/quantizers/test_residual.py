"""Residual and grouped quantisers: what a call answers, what training does, and how they are wired.

The Jacobians of the wirings are laws of chapter 9: see tests/book/test_laws_residual.py.
"""

import copy
import itertools
import pickle
from pathlib import Path

import pytest
import torch
from forks import run_in_ranks
from torch import nn
from torch.utils.checkpoint import checkpoint

from rotvq import VectorQuantizer
from rotvq.quantizers.grouped import Grouped
from rotvq.quantizers.kmeans import kmeans
from rotvq.quantizers.methods.nsvq import NSVQ
from rotvq.quantizers.residual import WIRINGS, ResidualVectorQuantizer, beam_search

OLD_WARNING = "ignore:.*should not be instantiated:DeprecationWarning"  # raised by torch.compile itself


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def latents(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def cascade(dim=4, size=12, levels=3, wiring="graph", **options):
    options = {"init": "normal", "generator": generator(5), **options}
    return ResidualVectorQuantizer(dim, size, levels, wiring, **options)


def step(vq, x, mask=None, lr=0.1):
    """One training call, its backward pass, one step of SGD on what is learned."""
    x = x.detach().requires_grad_()
    out = vq(x, mask)
    (out.z_q.sin().sum() + out.loss).backward()
    with torch.no_grad():
        for parameter in vq.parameters():
            if parameter.grad is not None:
                parameter -= lr * parameter.grad
                parameter.grad = None
    return out, x.grad


def states_equal(one, other):
    assert one.keys() == other.keys()
    return [key for key, value in one.items() if not torch.equal(value, other[key])] == []


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("heads", (1, 2))
def test_of_one_dimension_the_gradient_passes_straight_through(wiring, heads):
    vq = cascade(1, levels=1, wiring=wiring, heads=heads)
    x = torch.cat([latents(20, heads), latents(20, heads) / 1000]).requires_grad_()
    vq(x).z_q.sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("options", ({}, {"dropout": 0.5}, {"method": "qinco", "width": 8}, {"method": "fsq"}), ids=str)
def test_built_on_the_device_meta(options):
    build = lambda: ResidualVectorQuantizer(4, 12, 3, **options)  # noqa: E731
    here, x = build(), latents(30, 4)
    with torch.device("meta"):
        there = build()
    there = there.to_empty(device="cpu")
    there.load_state_dict(here.state_dict())
    assert torch.equal(there.eval()(x).z_q, here.eval()(x).z_q)


LEARNERS = {
    "gradient": {},
    "ema, revival": {"update": "ema", "revival": "threshold", "initial_count": 0.0},
    "k-means": {"init": "kmeans", "update": "ema"},
    "latents": {"init": "latents"},
    "shared": {"shared": True, "update": "ema", "initial_count": 0.0},
    "shared, gradient": {"shared": True},
    "heads": {"heads": 2, "dim": 2},
    "channels first": {"channel_first": True},
    "projected": {"project_to": 2, "lookup": "cosine"},
    "sizes and estimators": {"size": [12, 5, 3], "estimator": ["ste", "rotation", "clipped"]},
    "dropout": {"dropout": 0.7, "update": "ema"},
    "drawn codes": {"temperature": 0.5},
    "simvq": {"method": "simvq"},
    "two methods": {"method": ["vq", "simvq", "vq"]},
    "qinco": {"method": "qinco", "width": 8},
    "qinco behind vq": {"method": ["vq", "qinco", "qinco"], "init": "kmeans", "beam": 3},
    "qinco, shared": {"method": "qinco", "width": 8, "shared": True, "channel_first": True},
    "beam": {"beam": 4, "update": "ema", "channel_first": True},
}
WIRED = [(name, wiring) for name in LEARNERS for wiring in WIRINGS]
WIRED.remove(("sizes and estimators", "once"))  # has one estimator


@pytest.mark.parametrize("name, wiring", WIRED)
def test_the_value_is_the_sum_of_the_codes(name, wiring):
    """Bit for bit, while codes move by gradient, by EMA, by revival; and the codes do move."""
    vq = cascade(wiring=wiring, **LEARNERS[name])
    shape = (6, 4, 5) if vq.channel_first else (6, 5, 4)
    before = None
    for seed in range(4):
        out, gradient = step(vq, latents(*shape, seed=seed))
        codes = [level.codes.detach().clone() for level in vq.layers]
        with torch.no_grad():
            z_q, indices, _ = vq(latents(*shape, seed=seed + 10))
            assert torch.equal(vq.decode(indices), z_q) and torch.equal(vq.indices_to_codes(indices), z_q)
        assert out.z_q.shape == shape and gradient.isfinite().all() and gradient.abs().sum() > 0
        assert out.indices.shape == ((6, 5, 2, 3) if vq.heads == 2 else (6, 5, 3)) and out.loss.shape == ()
        before = codes if before is None else before
    assert all(not torch.equal(old, new) for old, new in zip(before, codes))
    vq.eval()
    x, state = latents(*shape, seed=99), {key: value.clone() for key, value in vq.state_dict().items()}
    z_q, indices, _ = vq(x)
    assert torch.equal(vq.encode(x), indices) and torch.equal(vq.decode(indices), z_q)
    assert (indices >= 0).all() and states_equal(vq.state_dict(), state)


def test_levels_quantise_what_is_left_over():
    """By hand; each level more leaves less over, and the first n levels of the indices are those of n levels."""
    vq = cascade(levels=4, init="kmeans").eval()
    with pytest.raises(RuntimeError, match="'kmeans' awaits latents"):
        vq(latents(100, 4))
    vq.train()
    x = latents(100, 4)
    vq(x)
    z_q, indices, loss = vq.eval()(x)
    rest, total = x, torch.zeros_like(x)
    errors, losses = [], []
    for level, index in zip(vq.layers, indices.unbind(-1)):
        assert torch.equal(index, (rest[:, None] - level.codes).square().sum(-1).argmin(-1))
        q = level.codes[index].detach()
        losses.append(1.25 * (rest - q).square().mean())
        rest, total = rest - q, total + q
        errors.append(rest.square().mean().item())
        torch.testing.assert_close(vq.decode(indices[..., : len(errors)]), total, msg="decode of the first levels")
    torch.testing.assert_close(loss, sum(losses))
    torch.testing.assert_close(z_q.detach(), total)
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.1 * errors[0]


def test_codes_start_level_by_level():
    """The k-means of each level is that of what the levels before it left over of the first batch."""
    x = latents(200, 4)
    vq = cascade(init="kmeans", update="ema")
    vq(x)
    rest = x
    for level in vq.layers:
        started = kmeans(rest, 12, generator(level.codebook.generator.initial_seed()))
        torch.testing.assert_close(level.codes, started)
        rest = rest - started[(rest[:, None] - started).square().sum(-1).argmin(-1)]
    torch.manual_seed(3)
    first = cascade(generator=None)
    second = cascade(generator=None)
    torch.manual_seed(3)
    assert states_equal(first.state_dict(), cascade(generator=None).state_dict())
    assert not states_equal(first.state_dict(), second.state_dict())
    assert not torch.equal(*[level.codes for level in first.layers[:2]])


@pytest.mark.parametrize("estimator", ("ste", "rotation"))
@pytest.mark.parametrize("wiring, share", [("detach", 0.0), ("graph", 1.0)])
def test_against_vector_quantize_pytorch(wiring, share, estimator):
    """Values, indices, gradients and losses of theirs, whose ``quant_grad_frac`` leads from detach to graph."""
    vqp = pytest.importorskip("vector_quantize_pytorch")
    options = {"rotation_trick": estimator == "rotation", "kmeans_init": False, "quant_grad_frac": share}
    theirs = vqp.ResidualVQ(dim=8, num_quantizers=3, codebook_size=16, **options)
    codes = [latents(16, 8, seed=level) / 2**level for level in range(3)]
    for layer, code in zip(theirs.layers, codes):
        layer._codebook.embed.data.copy_(code)
    ours = cascade(8, 16, wiring=wiring, estimator=estimator, init=codes, beta=0.0, gamma=1.0)
    x, y = (latents(4, 20, 8, seed=7).requires_grad_() for _ in range(2))
    z_q, indices, loss = ours(x)
    z_q_theirs, indices_theirs, losses = theirs(y, freeze_codebook=True)
    assert torch.equal(indices, indices_theirs)
    torch.testing.assert_close(z_q, z_q_theirs)
    torch.testing.assert_close(loss, losses.sum())
    g = latents(4, 20, 8, seed=8)
    for weight in (0.0, 3.0):
        (mine,) = torch.autograd.grad((z_q * g).sum() + weight * loss, x, retain_graph=True)
        (other,) = torch.autograd.grad((z_q_theirs * g).sum() + weight * losses.sum(), y, retain_graph=True)
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_layouts_give_one_gradient(wiring):
    """Channels first and heads: the numbers of the plain layout."""
    x, g = latents(3, 5, 8), latents(3, 5, 8, seed=1)
    plain, first = (cascade(8, wiring=wiring, channel_first=first) for first in (False, True))
    heads, rows = (cascade(4, wiring=wiring, heads=heads) for heads in (2, 1))
    for one, other, there, back in (
        (plain, first, lambda y: y.movedim(-1, 1), lambda y: y.movedim(1, -1)),
        (heads, rows, lambda y: y.unflatten(-1, (2, 4)), lambda y: y.flatten(-2)),
    ):
        y, y_other = x.clone().requires_grad_(), there(x).clone().requires_grad_()
        out, out_other = one(y), other(y_other)
        ((out.z_q * g).sum() + out.loss).backward()
        ((out_other.z_q * there(g)).sum() + out_other.loss).backward()
        assert torch.equal(out.z_q, back(out_other.z_q)) and torch.equal(out.indices, out_other.indices)
        torch.testing.assert_close(y.grad, back(y_other.grad))
        torch.testing.assert_close(out.loss, out_other.loss)


MASKED = {
    "gradient": {},
    "detach": {"wiring": "detach"},
    "once": {"wiring": "once"},
    "ema, revival": {"update": "ema", "revival": "threshold", "initial_count": 0.0},
    "shared": {"shared": True, "update": "ema"},
    "k-means": {"init": "kmeans", "size": 6},
    "token": {"convention": "token"},
    "channels first": {"channel_first": True},
    "heads": {"heads": 2, "dim": 2},
    "qinco": {"method": "qinco", "init": "kmeans", "size": 6},
    "qinco, channels first": {"method": "qinco", "channel_first": True},
}


@pytest.mark.parametrize("name", MASKED)
def test_a_masked_run_is_the_run_on_the_tokens_that_are_kept(name):
    """Values, losses, gradients and state, whatever the padding holds."""
    masked = cascade(**MASKED[name])
    plain = copy.deepcopy(masked)
    mask = torch.rand(3, 7, generator=generator(1)) > 0.4
    to, back = (-1, 1) if masked.channel_first else (1, 1)
    for seed in range(3):
        x = latents(3, 7, 4, seed=seed)
        x[~mask] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e30])
        x = x.movedim(to, back).requires_grad_()
        kept = x.movedim(back, to)[mask].detach().requires_grad_()
        out, want = masked(x, mask), plain(kept)
        assert (out.indices[~mask] == -1).all() and torch.equal(out.indices[mask], want.indices)
        rows = out.z_q.movedim(back, to)
        rounding = 1e-6 if "qinco" in name else 0  # of matrix products of another shape
        torch.testing.assert_close(rows[mask], want.z_q, rtol=rounding, atol=rounding)
        torch.testing.assert_close(rows[~mask], x.movedim(back, to)[~mask], rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(out.loss, want.loss, rtol=1e-6, atol=0)
        (rows[mask].sin().sum() + out.loss).backward()
        (want.z_q.sin().sum() + want.loss).backward()
        torch.testing.assert_close(x.grad.movedim(back, to)[mask], kept.grad)
        assert x.grad.movedim(back, to)[~mask].eq(0).all()
        assert masked.decode(out.indices).isfinite().all()
        assert masked.decode(out.indices).movedim(back, to)[~mask].eq(0).all()
        for (key, value), other in zip(masked.state_dict().items(), plain.state_dict().values()):
            torch.testing.assert_close(value, other, msg=key)


def levels_used(indices):
    """Of each sample, how many levels; they are the first ones, for all its tokens."""
    used = indices >= 0
    assert torch.equal(used, used[:, :1].expand_as(used))
    assert torch.equal(used, used.cummin(-1).values)
    return used[:, 0].sum(-1)


@pytest.mark.parametrize(
    "options, want",
    [
        ({"dropout": 1.0}, {1: 1 / 6, 2: 1 / 6, 3: 1 / 6, 4: 1 / 6, 5: 1 / 6, 6: 1 / 6}),
        ({"dropout": 0.5}, {1: 1 / 12, 2: 1 / 12, 3: 1 / 12, 4: 1 / 12, 5: 1 / 12, 6: 7 / 12}),
        ({"dropout": 1.0, "least_levels": 4}, {4: 1 / 3, 5: 1 / 3, 6: 1 / 3}),
        ({"dropout": 1.0, "multiple_of": 4}, {4: 2 / 3, 6: 1 / 3}),
        ({"dropout": 1.0, "multiple_of": 2}, {2: 1 / 3, 4: 1 / 3, 6: 1 / 3}),
    ],
    ids=str,
)
def test_dropout_uses_the_first_levels(options, want):
    vq = cascade(levels=6, **options)
    x = latents(600, 2, 4)
    assert set(levels_used(vq(x).indices).tolist()) == {6}  # codes that wait for latents start with all of them
    draws = []
    for _ in range(5):
        z_q, indices, _ = vq(x)
        assert torch.equal(vq.decode(indices), z_q)
        draws.append(levels_used(indices))
    assert not torch.equal(draws[0], draws[1])
    numbers = torch.cat(draws)
    assert set(numbers.tolist()) == set(want)
    for number, share in want.items():  # 3,000 samples: five standard deviations are below 0.046
        assert (numbers == number).float().mean().item() == pytest.approx(share, abs=0.046)
    assert set(levels_used(vq.eval()(x).indices).tolist()) == {6}


def test_dropped_levels_cost_and_count_nothing():
    vq = cascade(dropout=1.0, update="ema")
    x = latents(40, 3, 4)
    vq(x)
    out = vq(x.requires_grad_(), details=True)
    used = levels_used(out.indices)
    for level, details in enumerate(out.levels):
        kept = used > level
        rest = details.z[kept]
        torch.testing.assert_close(details.loss, 0.25 * (rest - details.q[kept]).square().mean())
        counts = torch.bincount(out.indices[kept][..., level].flatten(), minlength=12).float()
        torch.testing.assert_close(vq.layers[level].statistics.counts, counts)
    out.z_q.sum().backward()
    assert x.grad.isfinite().all()


def test_a_level_that_dropout_leaves_out_of_a_step_is_left_alone():
    """Its statistics are those of a quantiser that was called in the other steps only."""
    vq = cascade(dropout=1.0, update="ema", decay=0.8, initial_count=0.0, revival="unused", revival_at=3)
    alone, ran = copy.deepcopy(list(vq.layers)), torch.zeros(3, dtype=torch.int64)
    for seed in range(12):
        before = vq.state_dict(keep_vars=False)
        before = {key: value.clone() for key, value in before.items()}
        out = vq(latents(1, 30, 4, seed=seed).requires_grad_(), details=True)
        out.z_q.sum().backward()
        for number, (level, other, details) in enumerate(zip(vq.layers, alone, out.levels)):
            names = ("calls", "step_ended", "running", "idle")
            if (details.indices < 0).all():
                for name in names:
                    assert torch.equal(getattr(level.statistics, name), before[f"layers.{number}.statistics.{name}"])
                continue
            ran[number] += 1
            other(details.z.detach().requires_grad_()).z_q.sum().backward()
            assert states_equal(level.state_dict(), other.state_dict())
    assert ran[0] == 12 > ran[1] > ran[2] > 2 and torch.equal(ran, torch.stack([x.statistics.calls for x in vq.layers]))


def test_dropout_of_masked_tokens():
    vq, mask = cascade(dropout=1.0), torch.rand(40, 3, generator=generator(2)) > 0.5
    x = latents(40, 3, 4)
    x[~mask] = torch.nan
    for call in range(2):
        out, gradient = step(vq, x, mask)
        assert torch.equal(out.indices >= 0, mask.unsqueeze(-1) & (out.indices >= 0).any(1, keepdim=True))
        assert ((out.indices[mask] >= 0).all(0) == torch.tensor([True, call == 0, call == 0])).all()
        assert torch.equal(vq.decode(out.indices)[~mask], torch.zeros_like(x[~mask]))
        assert gradient[mask].isfinite().all() and gradient[mask].abs().sum() > 0


def test_dropout_draws_alike_on_every_rank_and_in_a_run_that_is_continued():
    """Whatever the generators of the ranks are: the seed travels with the buffers, as DDP broadcasts them."""
    x = latents(50, 2, 4)
    first, second = cascade(dropout=1.0), cascade(dropout=1.0, generator=generator(77))
    first(x)
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        assert torch.equal(first(x).indices, second(x).indices)
    other = cascade(dropout=1.0, generator=generator(6))
    other.load_state_dict(first.state_dict() | {"seed": other.seed})
    assert not torch.equal(levels_used(first(x).indices), levels_used(other(x).indices))


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("name", ["ema, revival", "shared", "dropout", "drawn codes", "projected", "k-means", "qinco"])
def test_checkpointing_changes_neither_gradient_nor_state(name, wiring):
    plain = cascade(wiring=wiring, **LEARNERS[name])
    saving = copy.deepcopy(plain)
    for seed in range(3):
        gradients = []
        for vq, call in ((plain, plain), (saving, lambda x: checkpoint(saving, x, use_reentrant=False))):
            x = latents(8, 5, 4, seed=seed).requires_grad_()
            torch.manual_seed(0)
            out = call(x)
            (out.z_q.sin().sum() + out.loss).backward()
            gradients.append(x.grad)
            assert vq.training
        assert torch.equal(*gradients)
        assert states_equal(plain.state_dict(), saving.state_dict())


IN_FRONT = {"nothing": {}, "dropout": {"dropout": 0.7}, "maps": {"project_to": 2}, "heads": {"heads": 2, "dim": 2}}


@pytest.mark.parametrize("name", IN_FRONT)
def test_levels_that_share_codes_are_one_step_in_a_reentrant_checkpoint(name):
    """Its first run has no gradient, and what is in front of a level hides that the latents have one."""
    states = []
    for call in (lambda vq, x: vq(x), lambda vq, x: checkpoint(vq, x, use_reentrant=True)):
        torch.manual_seed(0)
        vq = cascade(shared=True, update="ema", decay=0.5, **IN_FRONT[name])
        for seed in range(3):
            torch.manual_seed(seed)
            outs = [call(vq, latents(30, 4, seed=10 * seed + one).requires_grad_()) for one in range(2)]
            sum(z_q.sin().sum() + loss for z_q, _, loss in outs).backward()
        assert vq.layers[0].statistics.calls == 3
        states.append(vq.state_dict())
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, msg=key)


@pytest.mark.parametrize("needs_gradient", (True, False))
def test_a_shared_codebook_moves_once_a_step(needs_gradient):
    """By the latents of all levels together; whether or not a backward pass says where the step ends."""
    vq = cascade(shared=True, update="ema", decay=0.9, initial_count=1.0)
    book = vq.layers[0]
    counts, sums = torch.zeros(12), torch.zeros(12, 4)
    codes, running = book.codes.clone(), torch.ones(12)
    for seed in range(3):
        x = latents(30, 4, seed=seed).requires_grad_(needs_gradient)
        running_now = running
        moved = codes + torch.where(counts > 0, 0.1 / running_now, 0.0)[:, None] * (sums - counts[:, None] * codes)
        out = vq(x, details=True)
        codes = moved
        torch.testing.assert_close(book.codes, codes)
        assert torch.equal(vq.decode(out.indices), out.z_q.detach())
        counts = torch.bincount(out.indices.flatten(), minlength=12).float()
        rows = torch.cat([level.z.detach() for level in out.levels])
        sums = torch.zeros(12, 4).index_add_(0, out.indices.t().flatten(), rows)
        running = 0.9 * running + 0.1 * counts
        if needs_gradient:
            out.z_q.sum().backward()
    assert int(book.statistics.calls) == 3


def test_frozen_codes_stay():
    updates = ({"update": update} for update in ("gradient", "ema"))
    for options in (*updates, {"shared": True}, {"method": "nsvq"}, {"method": "qinco"}):
        vq = cascade(**options)
        assert not vq.frozen
        vq.frozen = True
        assert vq.frozen and all(level.frozen for level in vq.layers)
        codes = [code.detach().clone() for code in vq.codes]
        for seed in range(3):
            step(vq, latents(20, 4, seed=seed))
        assert all(torch.equal(old, new) for old, new in zip(codes, vq.codes))
        vq.frozen = False
        for seed in range(3):
            step(vq, latents(20, 4, seed=seed))
        assert not any(torch.equal(old, new) for old, new in zip(codes, vq.codes))
    assert cascade(frozen=True).frozen


def test_codes_may_wait_for_the_optimiser():
    vq, encoder = cascade(update="ema"), nn.Linear(4, 4)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    vq.follow(optimizer)
    start = [code.clone() for code in vq.codes]
    for _ in range(3):
        vq(encoder(latents(20, 4))).z_q.sum().backward()
        assert all(torch.equal(old, new) for old, new in zip(start, vq.codes))
    optimizer.step()
    vq(encoder(latents(20, 4)))
    assert not any(torch.equal(old, new) for old, new in zip(start, vq.codes))


@pytest.mark.parametrize("estimator", ("ste", "rotation", "rotation_only", "reflection", "clipped", "radial_free"))
@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("zero_code", (True, False))
def test_nothing_left_over_and_codes_that_are_zero(wiring, estimator, zero_code):
    """A latent that is a code leaves exactly 0, which a level without a code 0 spoils and the next one may mend."""
    codes = torch.cat([torch.zeros(int(zero_code), 4), torch.eye(4), -torch.eye(4)])
    vq = cascade(size=len(codes), levels=4, wiring=wiring, estimator=estimator, init=codes)
    x = torch.cat([torch.eye(4), torch.zeros(1, 4), latents(3, 4)]).requires_grad_()
    out = vq(x, details=True)
    left = torch.stack([level.z.detach() for level in out.levels])
    assert (left[1, :4] == 0).all() and torch.equal(vq.decode(out.indices), out.z_q)
    if zero_code:
        assert torch.equal(out.z_q[:5], x[:5]) and (out.indices[:4, 1:] == 0).all()
    for details in out.levels:
        assert all(value.isfinite().all() for value in details)
    (out.z_q.sin().sum() + out.loss).backward()
    assert x.grad.isfinite().all()
    if zero_code and wiring == "graph" and estimator == "rotation":
        one = VectorQuantizer(4, len(codes), "rotation", init=codes, gamma=0.0)
        y = torch.eye(4).requires_grad_()
        one(y).z_q.sin().sum().backward()
        torch.testing.assert_close(x.grad[:4], y.grad)


@pytest.mark.parametrize("dtype", (torch.float64, torch.bfloat16, torch.float16))
@pytest.mark.parametrize("wiring", WIRINGS)
def test_dtypes(wiring, dtype):
    """What is left over is a difference of near numbers: half precision is quantised as its float32 would be."""
    vq, wide = cascade(8, 64, 6, wiring), cascade(8, 64, 6, wiring)
    x = latents(50, 8).to(dtype).requires_grad_()
    out, want = vq(x), wide(x.detach().to(torch.promote_types(dtype, torch.float32)))
    assert out.z_q.dtype == dtype and torch.equal(out.indices, want.indices)
    assert torch.equal(out.z_q, want.z_q.to(dtype))
    (out.z_q.float().sum() + out.loss).backward()
    assert x.grad.dtype == dtype and x.grad.isfinite().all()
    half = cascade(8, 64, 6, wiring).to(dtype)
    z_q, indices, _ = half(x)
    assert z_q.dtype == dtype and torch.equal(half.decode(indices), z_q)


def test_details_of_each_level():
    vq = cascade(8, levels=3)
    x = latents(2, 30, 8)
    out, plain = vq(x, details=True), vq(x)
    assert torch.equal(out.z_q, plain.z_q) and torch.equal(out.indices, plain.indices) and out.loss == plain.loss
    assert torch.equal(out.levels[0].z, x) and len(out.levels) == 3
    for level, after in itertools.pairwise(out.levels):
        torch.testing.assert_close(after.z, level.z - level.q)
    torch.testing.assert_close(sum(level.q for level in out.levels), out.z_q)
    torch.testing.assert_close(sum(level.loss for level in out.levels), out.loss)
    for level, index in zip(out.levels, out.indices.unbind(-1)):
        assert level.usage.item() == pytest.approx(len(index.unique()) / 12)


def test_levels_draw_different_numbers():
    """The seeds of noise and of revival differ from level to level."""
    vq = cascade(method="nsvq", wiring="detach", init=torch.ones(12, 4))
    a, b, c = (level.estimator.noise.normal(torch.empty(5)) for level in vq.layers)
    assert not torch.equal(a, b) and not torch.equal(b, c)
    assert len({level.seed for level in cascade().layers}) == 3


OTHERS = ["nsvq", "diveq", "sf_diveq", "gumbel", "gumbel_soft", "fsq", "dynamic"]


@pytest.mark.parametrize("method", [*OTHERS, ["vq", "nsvq", "fsq"]], ids=str)
@pytest.mark.parametrize("wiring", ("graph", "detach"))
def test_methods_of_the_registry(method, wiring):
    options = {} if "fsq" in method else {"init": "normal"}
    vq = ResidualVectorQuantizer(8, 16, 3, wiring, method=method, generator=generator(1), **options)
    for seed in range(2):
        out, gradient = step(vq, latents(20, 8, seed=seed))
        assert out.z_q.shape == (20, 8) and gradient.isfinite().all() and gradient.abs().sum() > 0
    vq.eval()
    z_q, indices, _ = vq(latents(20, 8))
    assert indices.shape == (20, 3) and torch.equal(vq.encode(latents(20, 8)), indices) == ("sf" not in method)
    if "sf" not in method:
        torch.testing.assert_close(vq.decode(indices), z_q)


def test_one_estimator_of_the_sum_has_its_options():
    x, g = latents(6, 4), latents(6, 4, seed=1)
    vq = cascade(wiring="once", estimator="rotation", clip=(0.9, 1.1), mix=0.5)
    assert (vq.estimator.clip, vq.estimator.mix, vq.layers[0].estimator.clip) == ((0.9, 1.1), 0.5, (0.0, 0.0))
    y = x.clone().requires_grad_()
    out = vq(y)
    (received,) = torch.autograd.grad(out.z_q, y, g)
    torch.testing.assert_close(received, vq.estimator.pull_back(x, out.z_q.detach(), g))


def test_maps_behind_the_estimators_learn_in_every_wiring():
    """``project_to``: the maps into and out of the codes' dimension of each level."""
    for wiring in WIRINGS:
        vq = cascade(wiring=wiring, project_to=2)
        vq(latents(20, 4)).z_q.sin().sum().backward()
        for level in vq.layers:
            assert level.expand.weight.grad.abs().sum() > 0


@pytest.mark.filterwarnings(OLD_WARNING)
def test_train_step_compiles_without_a_graph_break():
    torch.compiler.reset()
    options = {"update": "ema", "dropout": 0.5, "initial_count": 0.0}
    eager, graph = (cascade(wiring="once", **options) for _ in range(2))

    def train_step(vq, x):
        out = vq(x)
        return out.z_q.sin().sum() + out.loss, out

    compiled = torch.compile(lambda x: train_step(graph, x), fullgraph=True, backend="aot_eager")
    for seed in range(3):
        x, y = (latents(3, 5, 4, seed=seed).requires_grad_() for _ in range(2))
        (loss, out), (other_loss, other) = train_step(eager, x), compiled(y)
        loss.backward()
        other_loss.backward()
        assert torch.equal(out.indices, other.indices) and torch.equal(out.z_q, other.z_q)
        torch.testing.assert_close(y.grad, x.grad)
        for vq in (eager, graph):  # a compiler does not show its backward passes
            for level in vq.layers:
                level.statistics.end_step()
        for (key, value), there in zip(eager.state_dict().items(), graph.state_dict().values()):
            torch.testing.assert_close(value, there, msg=key)


def test_copies_and_pickles():
    vq = cascade(dropout=0.5, update="ema", estimator="rotation", wiring="once")
    step(vq, latents(20, 4))
    x = latents(20, 4, seed=3)
    copies = [copy.deepcopy(vq), pickle.loads(pickle.dumps(vq))]
    want = vq(x)
    for other in copies:
        out = other(x)
        assert torch.equal(out.z_q, want.z_q) and states_equal(other.state_dict(), vq.state_dict())


RANKS = {
    "ema": {"update": "ema", "initial_count": 0.0},
    "shared, k-means": {"shared": True, "update": "ema", "init": "kmeans", "size": 6},
    "dropout": {"update": "ema", "dropout": 0.8},
}
SCRIPT = """
import sys, torch
sys.path.insert(0, {tests!r})
from test_residual import states_of_rank
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
torch.save(states_of_rank(rank), f"{folder}/state{{rank}}.pt")
torch.distributed.destroy_process_group()
"""


def states_of_rank(rank=None):
    """The state after three training calls, case by case; ``rank`` None sees the joint batch."""
    states = {}
    for name, options in RANKS.items():
        group = None if rank is None else "world"
        vq = cascade(generator=generator(rank or 0), process_group=group, **options)  # the first rank decides
        for seed in range(3):
            x = latents(20, 3, 4, seed=seed)
            x = x if rank is None else x.split((12, 8))[rank]
            vq(x.requires_grad_()).z_q.sum().backward()
        states[name] = vq.state_dict()
    return states


def test_two_ranks(tmp_path):
    """They agree bit for bit, and with one process on the joint batch where every sample uses all levels."""
    script = SCRIPT.format(tests=str(Path(__file__).parent), folder=tmp_path)
    assert run_in_ranks(script) == [0, 0]
    first, second = (torch.load(tmp_path / f"state{rank}.pt") for rank in range(2))
    joint = states_of_rank()
    for name in RANKS:
        assert states_equal(first[name], second[name]), name
        for key, value in joint[name].items() if name != "dropout" else ():
            torch.testing.assert_close(first[name][key], value, rtol=1e-5, atol=1e-6, msg=f"{name}: {key}")


# several sums from level to level


def error_of(vq, x, indices):
    return (x - vq.decode(indices)).square().sum(vq.channels)


BEAMS = {
    "vq": {},
    "shared, from k-means": {"shared": True, "init": "kmeans"},
    "cosine": {"lookup": "cosine", "project_to": 3},
    "channels first": {"channel_first": True},
    "qinco": {"method": "qinco", "width": 8},
}


def built(name, beam, levels=3):
    """A cascade that has been trained for a few steps, in evaluation mode."""
    vq = cascade(3, 4, levels, beam=beam, **BEAMS[name])
    torch.manual_seed(0)
    if name == "qinco":
        for parameter in vq.parameters():
            nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        vq(latents(40, 3, 2, seed=9) if vq.channel_first else latents(40, 2, 3, seed=9))
    return vq.eval()


@pytest.mark.parametrize("name", BEAMS)
def test_a_beam_of_all_sums_finds_the_best(name):
    """Of all 64; and a lesser beam never has a larger error than one code a level."""
    x = latents(200, 3, 1, seed=1) if BEAMS[name].get("channel_first") else latents(200, 3, seed=1)
    every = torch.cartesian_prod(*[torch.arange(4)] * 3)  # (64, 3)
    one = built(name, 1)
    greedy = error_of(one, x, one.encode(x))
    sums = one.decode(every.unsqueeze(1)).reshape(64, 3)
    best = (x.reshape(200, 1, 3) - sums).square().sum(-1).amin(1).reshape(greedy.shape)
    torch.testing.assert_close(error_of(vq := built(name, 16), x, vq.encode(x)), best)
    rows = x.reshape(200, 3)
    assert torch.equal(beam_search(one._cascade(), rows, 1), one.encode(x).reshape(200, 3))
    assert (best < 0.99 * greedy).any()
    for beam in (2, 3):
        vq = built(name, beam)
        errors = error_of(vq, x, vq.encode(x))
        assert (errors <= greedy).all() and (errors >= best * (1 - 1e-5)).all()
        assert errors.mean() < 0.99 * greedy.mean()


def test_a_beam_alone_may_be_worse_than_one_code_a_level():
    """Sums that are nearest early may end farther away; those latents are given the codes of beam 1."""
    x, one, vq = latents(3000, 4, seed=2), cascade(size=5, levels=4), cascade(size=5, levels=4, beam=2)
    greedy = error_of(one, x, one.encode(x))
    worse = error_of(vq, x, beam_search(vq._cascade(), x, 2)) > greedy * 1.001
    assert 0 < worse.sum() < 300
    assert torch.equal(vq.encode(x)[worse], one.encode(x)[worse]) and (error_of(vq, x, vq.encode(x)) <= greedy).all()


@pytest.mark.parametrize("wiring", WIRINGS)
def test_a_call_in_evaluation_takes_what_the_beam_found(wiring):
    """Value, loss, gradient and details are those of these codes; training does not search."""
    options = {"wiring": wiring, "estimator": "rotation" if wiring == "once" else "ste", "gamma": 0.3, "beta": 0.5}
    plain, vq = cascade(**options), cascade(**options, beam=5)
    x, mask = latents(30, 4), torch.arange(30) % 5 > 0
    (a, one), (b, other) = (step(each, x, mask, lr=0) for each in (plain, vq))
    assert torch.equal(a.z_q, b.z_q) and torch.equal(a.indices, b.indices) and torch.equal(one, other)
    y = x.clone().requires_grad_()
    out = vq.eval()(y, mask, details=True)
    assert torch.equal(out.indices[mask], vq.encode(x)[mask]) and (out.indices[~mask] == -1).all()
    assert not torch.equal(out.indices, plain.eval()(x, mask).indices)
    rest, losses = x[mask], 0.0
    for level, index, details in zip(vq.layers, out.indices[mask].unbind(-1), out.levels):
        torch.testing.assert_close(details.z[mask], rest)
        assert torch.equal(details.q[mask], level.codes[index])
        rest = rest - level.codes[index].detach()
        losses = losses + 0.8 * rest.square().mean()
    torch.testing.assert_close(out.loss, losses)
    torch.testing.assert_close(out.z_q[mask], vq.decode(out.indices)[mask])
    g = latents(30, 4, seed=1) * mask[:, None]
    (received,) = torch.autograd.grad(out.z_q, y, g)
    want = {"graph": g, "detach": 3 * g, "once": None}[wiring]
    want = vq.estimator.pull_back(x, out.z_q.detach(), g) if want is None else want
    torch.testing.assert_close(received[mask], want[mask])
    assert "assign" not in vars(vq.layers[0])


def test_a_beam_is_taken_some_latents_at_a_time(monkeypatch):
    vq, x = cascade(beam=4), latents(50, 4)
    whole = vq.encode(x)
    monkeypatch.setattr("rotvq.quantizers.residual.working_memory", lambda device: 16 * 16 * 4 * 7)
    assert torch.equal(vq.encode(x), whole) and vq.encode(x[:0]).shape == (0, 3)


# codes by a network


def by_hand(level, so_far):
    """The codes of each latent, (N, K, dim), as the docstring has them."""
    A, B, W, U = level.network
    e = level.codebook.codes.expand(len(so_far), -1, -1)
    v = e + e @ A.weight.t() + (so_far @ B.weight.t())[:, None] + A.bias
    return v + torch.relu(v @ U.weight.t() + U.bias) @ W.weight.t() + W.bias


@pytest.mark.parametrize("method", ["vq", "qinco"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_codes_in_half_precision_decode_to_it(method, dtype):
    vq = cascade(method=method).to(dtype).eval()
    x = torch.randn(9, 4, generator=generator(1)).to(dtype)
    indices = vq.encode(x)
    for levels in (1, 3):
        assert vq.decode(indices[..., :levels]).dtype == dtype
    torch.testing.assert_close(vq.decode(indices), vq(x).z_q)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_qinco_by_hand(wiring):
    vq = cascade(levels=3, wiring=wiring, method="qinco", blocks=1, width=7, gamma=0.3, beta=0.5)
    torch.manual_seed(1)
    for parameter in vq.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = latents(50, 4)
    out = vq(x.requires_grad_())
    rest, so_far, losses, tables = x, torch.zeros_like(x), 0.0, []
    for level, index in zip(vq.layers, out.indices.unbind(-1)):
        table = by_hand(level, so_far)
        assert torch.equal((rest[:, None] - table).square().sum(-1).argmin(-1), index)
        q = table[torch.arange(50), index]
        losses = losses + (0.3 * (rest - q.detach()) ** 2 + 0.5 * (rest.detach() - q) ** 2).mean()
        rest, so_far = rest - q.detach(), (so_far + q).detach()
        tables.append(table)
    torch.testing.assert_close(out.z_q, so_far)
    torch.testing.assert_close(vq.decode(out.indices), so_far)
    assert torch.equal(vq.encode(x), out.indices)
    torch.testing.assert_close(vq.decode(out.indices[:, :1]), tables[0][torch.arange(50), out.indices[:, 0]])
    torch.testing.assert_close(out.loss, losses)
    ours, theirs = (torch.autograd.grad(loss, list(vq.parameters()), retain_graph=True) for loss in (out.loss, losses))
    torch.testing.assert_close(ours, theirs)


def test_qinco_starts_as_a_plain_cascade():
    plain, vq = (cascade(init="kmeans", method=method) for method in ("vq", "qinco"))
    x = latents(200, 4)
    for _ in range(2):
        out, want = vq(x), plain(x)
        assert torch.equal(out.indices, want.indices)
        torch.testing.assert_close((out.z_q, out.loss), (want.z_q, want.loss))
    with pytest.raises(RuntimeError, match="'kmeans' awaits latents"):
        cascade(init="kmeans", method="qinco").eval()(x)


def test_a_frozen_network_stays_whatever_an_owner_asks_for():
    vq = cascade(method="qinco", frozen=True).requires_grad_(True)
    x = latents(20, 4).requires_grad_()
    out = vq(x)
    (out.z_q.sum() + out.loss).backward()
    assert x.grad.abs().sum() > 0 and all(parameter.grad is None for parameter in vq.parameters())


def test_qinco_learns_codes_that_depend_on_those_before():
    """Two clusters, each spread along an axis of its own: two plain codes a level cannot hold all four points."""
    points = torch.tensor([[1.0, 0.5], [1.0, -0.5], [-0.5, 0.0], [-1.5, 0.0]])
    errors = {}
    for method in ("vq", "qinco"):
        torch.manual_seed(0)
        vq = cascade(2, 2, levels=2, method=method, init="kmeans", generator=generator(1))
        vq(points)
        optimizer = torch.optim.Adam(vq.parameters(), lr=0.02)
        for _ in range(300):
            optimizer.zero_grad()
            vq(points).loss.backward()
            optimizer.step()
        errors[method] = (vq.eval()(points).z_q - points).square().mean().item()
    assert errors["qinco"] < 1e-3 < 0.02 < errors["vq"]


def test_qinco_decodes_alike_under_autocast_and_in_half_precision():
    vq, x = built("qinco", 2), latents(60, 3)
    indices, z_q = vq.encode(x), vq.decode(vq.encode(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(vq.encode(x), indices) and torch.equal(vq.decode(indices), z_q)
    for dtype in (torch.bfloat16, torch.float16):
        half = copy.deepcopy(vq).to(dtype)
        out = half(x.to(dtype))
        assert out.z_q.dtype == dtype and torch.equal(half.encode(x.to(dtype)), out.indices)
        assert torch.equal(half.decode(out.indices).to(dtype), out.z_q)


@pytest.mark.filterwarnings(OLD_WARNING)
def test_qinco_compiles_without_a_graph_break():
    torch.compiler.reset()
    vq, x = cascade(method="qinco", width=8).eval(), latents(5, 4)
    out, want = torch.compile(vq, fullgraph=True, backend="aot_eager")(x), vq(x)
    assert torch.equal(out.indices, want.indices)
    torch.testing.assert_close(out.z_q, want.z_q)


# groups


def test_groups_of_one_codebook_are_heads():
    """Values, loss under each convention, and gradients; and their indices have the layout of heads."""
    codes, x = latents(12, 4, seed=2), latents(3, 5, 12)
    for convention in ("mean", "token", "image"):
        options = {"init": codes, "convention": convention}
        heads = VectorQuantizer(4, 12, heads=3, **options)
        groups = Grouped(VectorQuantizer(4, 12, **options) for _ in range(3))
        assert torch.equal(groups.decode(groups(x).indices), groups(x).z_q)
        assert torch.equal(groups.encode(x), groups(x).indices)
        (a, grad_a), (b, grad_b) = (step(vq, x) for vq in (heads, groups))
        assert torch.equal(a.z_q, b.z_q) and torch.equal(a.indices, b.indices)
        torch.testing.assert_close(a.loss, b.loss)
        torch.testing.assert_close(grad_a, grad_b)


@pytest.mark.parametrize("channel_first", (False, True))
@pytest.mark.parametrize("inner", ("codebook", "heads", "cascade"))
def test_each_group_is_quantised_by_itself(inner, channel_first):
    make = {
        "codebook": lambda seed: VectorQuantizer(4, 6 + seed, init="normal", channel_first=channel_first),
        "heads": lambda seed: VectorQuantizer(2, 6 + seed, init="normal", channel_first=channel_first, heads=2),
        "cascade": lambda seed: cascade(4, 6 + seed, generator=generator(seed), channel_first=channel_first),
    }[inner]
    groups = Grouped(make(seed) for seed in range(2))
    axis = 1 if channel_first else -1
    x = latents(3, 8, 5, 2) if channel_first else latents(3, 5, 2, 8)
    mask = torch.rand(3, 5, 2, generator=generator(1)) > 0.3
    out = groups(x, mask, details=True)
    trailing = {"codebook": (), "heads": (2,), "cascade": (3,)}[inner]
    assert out.indices.shape == (3, 5, 2, 2, *trailing)
    for group, (layer, part) in enumerate(zip(groups.layers, x.chunk(2, axis))):
        own = layer(part, mask, details=True)
        assert torch.equal(out.z_q.chunk(2, axis)[group], own.z_q)
        assert torch.equal(out.indices[:, :, :, group], own.indices)
        assert torch.equal(out.groups[group].indices, own.indices)
    decoded, kept = groups.decode(out.indices), mask.unsqueeze(axis).expand(out.z_q.shape)
    assert torch.equal(decoded[kept], out.z_q[kept]) and (decoded[~kept] == 0).all()
    groups.frozen = True
    assert groups.frozen and all(layer.frozen for layer in groups.layers)
    twice = Grouped([groups, copy.deepcopy(groups)])
    both = twice(torch.cat([x, x], axis), mask)
    assert all(torch.equal(group, out.indices) for group in both.indices.unbind(3))  # behind the axes of the tokens
    assert torch.equal(both.z_q, torch.cat([out.z_q, out.z_q], axis))
    assert torch.equal(twice.decode(both.indices), torch.cat([decoded, decoded], axis))


ERRORS = {
    "unknown wiring 'loop': one of graph, detach, once": lambda: cascade(wiring="loop"),
    "levels is 0": lambda: cascade(levels=0, least_levels=0),
    "least_levels 4": lambda: cascade(least_levels=4),
    "multiple_of 0": lambda: cascade(multiple_of=0),
    r"dropout is 1.5: it must be in \[0, 1\]": lambda: cascade(dropout=1.5),
    "codebook_size is a list of 2 values, and there are 3": lambda: cascade(size=[4, 4]),
    "estimator is a list of 3 values, and there are 1": lambda: cascade(shared=True, estimator=["ste"] * 3),
    "unknown method 'magic'": lambda: cascade(method="magic"),
    "can have no second pass": lambda: cascade(method="exact"),
    "unknown estimator 'spin'": lambda: cascade(estimator="spin"),
    "'once' has one estimator, a name or an Estimator": lambda: cascade(wiring="once", estimator=["ste"] * 3),
    "not NSVQ": lambda: cascade(wiring="once", estimator=NSVQ()),
    "method 'nsvq' brings one for each level": lambda: cascade(wiring="once", method="nsvq"),
    "warmup belongs to that of a level": lambda: cascade(wiring="once", warmup=5),
    "the indices are of 4 levels, not of 1 to 3": lambda: cascade().decode(torch.zeros(2, 4, dtype=torch.long)),
    "has 5 channels, not heads": lambda: cascade()(latents(3, 5)),
    "the mask is torch.float32": lambda: cascade()(latents(3, 4), torch.ones(3)),
    r"the mask is torch.bool \(2,\)": lambda: cascade()(latents(3, 4), torch.ones(2, dtype=bool)),
    "beam is 0: it must be 1": lambda: cascade(beam=0),
    "beam is 2: it must be 1, or more for one head": lambda: cascade(beam=2, heads=2),
    "and levels with a list of codes": lambda: ResidualVectorQuantizer(4, 12, 3, method="fsq", beam=2),
    "heads and project_to are not for QINCo": lambda: cascade(method="qinco", heads=2),
    "not for QINCo: a token has one code": lambda: cascade(method="qinco", project_to=2),
    "NaN or inf": lambda: cascade()(latents(3, 4) / 0),
    "the input has 5 channels, not 8": lambda: Grouped([cascade(), cascade()])(latents(3, 5)),
    "needed is one": lambda: Grouped([cascade(), cascade(channel_first=True)]),
    "layouts": lambda: Grouped([]),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_allowed(message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message]()


def test_unknown_options_are_refused_by_our_name():
    with pytest.raises(TypeError, match="commitment_weight.*gamma"):
        cascade(commitment_weight=1.0)
