"""Cascades, groups and projections in the loops of test_training_loop.py: values, not finiteness."""

import copy
import io
import pickle
import warnings
from functools import partial

import pytest
import torch
from states import assert_same, state
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from rotvq import Grouped, ResidualVectorQuantizer, VectorQuantizer
from rotvq.quantizers.projected import Projected, Summed
from rotvq.quantizers.registry import METHODS

DIM, SIZE = 4, 16


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def latents(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def cascade(levels=3, seed=0, dim=DIM, **options):
    return ResidualVectorQuantizer(dim, SIZE, levels, generator=generator(seed), **{"init": "normal", **options})


COMPOSED = {
    "a cascade that starts at k-means": lambda **more: cascade(
        init="kmeans", update="ema", revival="unused", revival_at=2, **more
    ),
    "a shared cascade": lambda **more: cascade(wiring="detach", shared=True, update="ema", decay=0.5, **more),
    "a cascade of networks": lambda **more: cascade(method="qinco", width=8, blocks=1, init="kmeans", **more),
    "a cascade of signs": lambda **more: ResidualVectorQuantizer(DIM, SIZE, 3, method="bsq", **more),
    "groups of cascades": lambda **more: Grouped(cascade(2, seed, 2, update="ema", **more) for seed in range(2)),
    "groups between maps": lambda **more: Projected(
        Grouped(METHODS["region"](2, SIZE, window=1, generator=generator(seed), **more) for seed in range(2)), DIM
    ),
    "cascades side by side": lambda **more: Summed(cascade(n, n, wiring="once", **more) for n in (1, 2)),
}
DRAWN = {
    "a cascade that draws and drops": lambda: cascade(4, temperature=0.3, dropout=0.7, update="ema"),
    "groups that draw": lambda: Grouped(cascade(2, seed, 2, temperature=0.3) for seed in range(2)),
    "noise, side by side": lambda: Summed(cascade(n, n, wiring="detach", method=["diveq"] * n) for n in (1, 2)),
}
EVERY = {**COMPOSED, **DRAWN}


def build(name, **more):
    torch.manual_seed(3)
    return EVERY[name](**more)


# K3: a forward pass that runs twice


def twice_inside(vq, z):
    inner = partial(checkpoint, vq, use_reentrant=False)
    return checkpoint(lambda x: inner(x.clone()), z, use_reentrant=False)


def where_it_pays(vq, z):
    contexts = partial(create_selective_checkpoint_contexts, lambda *_, **__: CheckpointPolicy.PREFER_RECOMPUTE)
    return checkpoint(vq, z, use_reentrant=False, context_fn=contexts)


WAYS = {"nested": twice_inside, "selective": where_it_pays, "reentrant": partial(checkpoint, use_reentrant=True)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", EVERY)
def test_a_checkpoint_of_another_kind_changes_neither_gradient_nor_state(name, way):
    plain, saving, gradients = build(name), build(name), []
    for vq, call in ((plain, plain), (saving, partial(WAYS[way], saving))):
        torch.manual_seed(0)
        for seed in range(3):
            z = latents(40, DIM, seed=seed).requires_grad_()
            out = call(z)
            (out[0].sin().sum() + out[2]).backward()
        gradients.append([z.grad, *(p.grad for p in vq.parameters() if p.grad is not None)])
    for ours, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, wanted)
    assert_same(state(saving), state(plain), rtol=1e-6, atol=1e-6)


# K4: copying and sending


def saved_and_loaded(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "pickled": lambda module: pickle.loads(pickle.dumps(module)),
    "saved": saved_and_loaded,
    "by way of float64": lambda module: copy.deepcopy(module).double().float(),
    "in shared memory": lambda module: copy.deepcopy(module).share_memory(),
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("name", EVERY)
def test_a_copy_of_one_that_was_trained_goes_on_alike(name, way):
    vq = build(name)
    out = vq(latents(60, DIM).requires_grad_())
    (out[0].sum() + out[2]).backward()
    vq(latents(60, DIM, seed=1))
    copied = COPIES[way](vq)
    for seed in range(3):
        outs = []
        for each in (vq, copied):
            torch.manual_seed(9)
            outs.append(each(latents(50, DIM, seed=10 + seed)))
        assert torch.equal(outs[0][0], outs[1][0]) and torch.equal(outs[0][1], outs[1][1])
    assert_same(state(copied), state(vq))


# K5: what decides behaviour is in the state dict


@pytest.mark.parametrize("name", ["a cascade that starts at k-means", "a shared cascade", "a cascade of networks"])
def test_functional_call_reads_and_writes_the_state_that_it_is_given(name):
    vq, trained = build(name), build(name)
    for seed in range(2):
        trained(latents(80, DIM, seed=seed))
    lent = state(trained)
    x = latents(80, DIM, seed=5)
    vq.eval(), trained.eval()
    assert torch.equal(functional_call(vq, lent, (x,))[0], trained(x)[0])
    vq.train(), trained.train()
    before = state(vq)
    assert torch.equal(functional_call(vq, lent, (x,))[1], trained(x)[1])
    assert_same(state(vq), before)
    assert_same(lent, state(trained))


DRAWS = {"drawn codes": {"temperature": 0.3}, "revival": {"revival": "unused", "revival_at": 1, "update": "ema"}}


@pytest.mark.parametrize("draws", DRAWS)
def test_a_run_is_continued_by_a_cascade_that_was_built_alike(draws):
    """Chapter 27: the seeds of the levels are no part of the state, and come from torch's random state."""

    def built(seed):
        torch.manual_seed(seed)
        return ResidualVectorQuantizer(DIM, 4 * SIZE, 2, init="normal", **DRAWS[draws])

    first, alike, other = built(1), built(1), built(2)
    for seed in range(3):
        first(latents(40, DIM, seed=seed))
    for later in (alike, other):
        later.load_state_dict(first.state_dict())
    found = []
    for vq in (first, alike, other):
        torch.manual_seed(0)
        found.append(torch.stack([vq(latents(40, DIM, seed=seed)).indices for seed in range(5, 8)]))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


# K9: export


class Masked(nn.Module):
    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer

    def forward(self, x, mask):
        return self.quantizer(x, mask=mask)[:2]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's export uses old parts
@pytest.mark.parametrize("name", ["a shared cascade", "groups of cascades", "cascades side by side"])
def test_masked_sequences_of_any_number_and_length_export(name):
    masked = Masked(build(name, engine="plain")).eval()
    batch, length = (torch.export.Dim(name, min=2, max=99) for name in ("batch", "length"))
    shapes = {"x": {0: batch, 1: length}, "mask": {0: batch, 1: length}}
    program = torch.export.export(masked, (latents(3, 6, DIM), latents(3, 6) > 0), dynamic_shapes=shapes).module()
    for size in ((2, 2), (5, 9)):
        given = latents(*size, DIM, seed=1), latents(*size, seed=2) > 0
        (z_q, indices), (wanted, wanted_indices) = program(*given), masked(*given)
        assert torch.equal(indices, wanted_indices) and (indices[~given[1]] == -1).all()
        torch.testing.assert_close(z_q, wanted)


# K10: what is not finite is not counted


@pytest.mark.parametrize("name", COMPOSED)
def test_latents_that_are_not_finite_leave_no_trace(name):
    x = latents(50, DIM)
    bad = x.clone()
    bad[[3, 7]], bad[11], bad[20] = torch.nan, torch.inf, 1e38
    kept = torch.ones(50, dtype=torch.bool)
    kept[[3, 7, 11, 20]] = False
    with_bad, without = build(name, check=False), build(name, check=False)
    for _ in range(2):
        out, wanted = with_bad(bad), without(x[kept])
        assert torch.equal(out[1][kept], wanted[1])
        torch.testing.assert_close(out[0][kept], wanted[0])
    if name != "a cascade that starts at k-means":  # its revived codes are drawn from all of the batch
        assert_same(state(with_bad), state(without), rtol=1e-5, atol=1e-6)
    assert all(value.isfinite().all() for value in with_bad.state_dict().values())


# K12: one codebook, several callers


def test_three_calls_of_a_step_by_hand():
    """In float64: all see the codes of the step before, are counted together, and move them once."""
    codes, running, pending = latents(6, 3, seed=4).double(), torch.full((6,), 2.0).double(), None
    vq = VectorQuantizer(3, 6, "rotation", update="ema", init=codes.float(), decay=0.7, initial_count=2.0)
    for step in range(3):
        if pending is not None:
            counts, sums = pending
            codes = codes + torch.where(counts > 0, 0.3 / running, 0.0)[:, None] * (sums - counts[:, None] * codes)
        counts, sums, loss = torch.zeros(6).double(), torch.zeros(6, 3).double(), 0.0
        for call in range(3):
            x = latents(20 + 5 * call, 3, seed=10 * step + call).requires_grad_()
            z = x.detach().double()
            nearest = torch.cdist(z, codes).argmin(-1)
            out = vq(x)
            assert torch.equal(out.indices, nearest)
            torch.testing.assert_close(out.z_q.detach().double(), codes[nearest], rtol=1e-5, atol=1e-5)
            wanted = 0.25 * (z - codes[nearest]).square().mean()
            torch.testing.assert_close(out.loss.detach().double(), wanted, rtol=1e-5, atol=1e-6)
            counts, sums = counts + torch.bincount(nearest, minlength=6), sums.index_add(0, nearest, z)
            loss = loss + out.z_q.sum() + out.loss
        loss.backward()
        running, pending = 0.7 * running + 0.3 * counts, (counts, sums)
        torch.testing.assert_close(vq.statistics.running.double(), running, rtol=1e-5, atol=1e-6)


# K14: what comes back

FORMATS = {(2, DIM, 3, 5): torch.channels_last, (2, DIM, 3, 2, 5): torch.channels_last_3d}


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16, torch.float64))
@pytest.mark.parametrize(
    "made",
    [
        lambda: cascade(2, wiring="once", channel_first=True),
        lambda: Grouped(VectorQuantizer(2, SIZE, channel_first=True) for _ in range(2)),
        lambda: Projected(VectorQuantizer(3, SIZE, channel_first=True), DIM),
        lambda: METHODS["lfq"](DIM, SIZE, channel_first=True),
    ],
    ids=("cascade", "groups", "projected", "lfq"),
)
def test_dtype_and_memory_format_of_the_input_come_back(made, dtype):
    vq = made()
    for shape, memory_format in FORMATS.items():
        x = latents(*shape).to(dtype)
        there, last = vq.eval()(x), vq(x.contiguous(memory_format=memory_format))
        assert there.z_q.dtype == last.z_q.dtype == dtype and there.z_q.is_contiguous()
        assert last.z_q.is_contiguous(memory_format=memory_format) and torch.equal(there.z_q, last.z_q)
        in_float32 = vq(x.float())
        assert torch.equal(in_float32.z_q.to(dtype), there.z_q) or dtype == torch.float64


# empty batches


@pytest.mark.parametrize("name", EVERY)
def test_an_empty_batch_and_one_that_is_masked_out_pass_the_gradient_and_spoil_nothing(name):
    vq = build(name)
    vq(latents(60, DIM)), vq(latents(60, DIM, seed=1))
    mask = torch.zeros(6, dtype=torch.bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in ((torch.zeros(0, DIM, requires_grad=True),), (latents(6, DIM).requires_grad_(), mask)):
            out = vq(*given)
            (out[0].sum() + out[2]).backward()
            assert out[2].abs() < 1e-30 and torch.equal(out[0], given[0])
            assert torch.equal(given[0].grad, torch.ones_like(given[0])) and (out[1] == -1).all()
    assert all(value.isfinite().all() for value in vq.state_dict().values())
