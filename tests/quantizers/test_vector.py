"""VectorQuantizer: what a call answers, and what training does to its state."""

import itertools
import warnings

import pytest
import torch
from bad_rows import assert_spoils_no_other
from torch import nn

from rotvq import ESTIMATORS, Estimator, VectorQuantizer
from rotvq.quantizers.blockwise import BLOCK
from rotvq.quantizers.codebook import PENALTIES
from rotvq.quantizers.losses import weighted_losses
from rotvq.quantizers.updates import REVIVALS

OLD_WARNING = "ignore:.*should not be instantiated:DeprecationWarning"  # raised by torch.compile itself


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def latents(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def quantizer(dim=4, size=12, seed=5, **options):
    return VectorQuantizer(dim, size, **{"init": "normal", "generator": generator(seed), **options})


def step(vq, z, lr=0.1):
    """One training call, its backward pass, one SGD step on the codes."""
    z = z.detach().requires_grad_()
    out = vq(z)
    (out.z_q.sin().sum() + out.loss).backward()
    with torch.no_grad():
        for parameter in vq.parameters():
            if parameter.grad is not None:
                parameter -= lr * parameter.grad
                parameter.grad = None
    return out, z.grad


LEARNERS = [
    {"update": update, "revival": revival, "lookup": lookup, "init": init}
    for update, revival, lookup, init in itertools.product(
        ("gradient", "ema"), ("none", "threshold"), ("euclidean", "cosine", "normalised"), ("normal", "latents")
    )
] + [{"form": "affine"}, {"form": "linear"}, {"estimator": "ste", "heads": 2, "dim": 2}]


@pytest.mark.parametrize("options", LEARNERS, ids=lambda o: "-".join(map(str, o.values())))
def test_after_every_call_codes_of_indices_are_z_q(options):
    """Bit for bit, also while codes move by gradient, by EMA or by revival."""
    vq = quantizer(**options, initial_count=0.0)
    codes = []
    for seed in range(4):
        with torch.no_grad():
            z_q, indices, _ = vq(latents(3, 5, 4, seed=seed))
            assert torch.equal(vq.codes[indices].reshape(z_q.shape), z_q)
            assert torch.equal(vq.codebook.codes[indices].reshape(z_q.shape), z_q)
            assert torch.equal(vq.decode(indices), z_q)
        codes.append(vq.codes.detach().clone())
        step(vq, latents(3, 5, 4, seed=seed + 10))
    assert not torch.equal(codes[0], codes[-1])


def test_evaluation_changes_nothing_and_passes_gradients():
    vq = quantizer(update="ema", revival="threshold", centre="latents")
    step(vq, latents(20, 4))
    vq.eval()
    before = {name: value.clone() for name, value in vq.state_dict().items()}
    z = latents(20, 4).requires_grad_()
    z_q, indices, loss = vq(z)
    assert all(torch.equal(value, before[name]) for name, value in vq.state_dict().items())
    assert torch.equal(indices, vq.encode(z))
    (z_q.sum() + loss).backward()
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize("shape", ((0, 4), (3, 0, 4), (1, 4), (7, 4), (2, 3, 4), (2, 2, 3, 4)))
@pytest.mark.parametrize("size", (1, 12))
def test_every_shape_and_size(shape, size):
    vq = quantizer(size=size, update="ema", revival="threshold")
    for _ in range(2):
        out, gradient = step(vq, latents(*shape))
    assert out.z_q.shape == gradient.shape == shape and out.indices.shape == shape[:-1]
    assert out.indices.dtype == torch.int64 and out.loss.shape == ()
    details = vq(latents(*shape), details=True)
    assert all(value.isfinite().all() for value in (*details, gradient, *vq.state_dict().values()))


def test_one_dimension():
    z = latents(50, 1).requires_grad_()
    (g,) = torch.autograd.grad(quantizer(dim=1)(z).z_q.sum(), z)
    assert (g == 1).all()  # STE, unless another estimator is asked for
    vq = quantizer(dim=1, estimator="rotation")
    z = latents(50, 1).requires_grad_()
    out = vq(z)
    assert torch.equal(out.indices, (z.detach() - vq.codes.detach().t()).abs().argmin(-1))
    (g,) = torch.autograd.grad(out.z_q.sum(), z)
    torch.testing.assert_close(g, out.z_q.detach() / z.detach())  # d = 1: G = q/z, also where the signs differ


EXTREME = {"zero": 0.0, "1e-30": 1e-30, "1e30": 1e30, "1e-42": 1e-42}


@pytest.mark.parametrize("scale", EXTREME)
@pytest.mark.parametrize("lookup", ("euclidean", "cosine", "normalised"))
def test_extreme_latents_among_ordinary_ones(lookup, scale):
    vq = quantizer(lookup=lookup, update="gradient")
    z = latents(10, 4)
    plain = vq(z)
    z[3] *= EXTREME[scale]
    z.requires_grad_()
    out = vq(z)
    rest = [i for i in range(10) if i != 3]
    assert torch.equal(out.z_q[rest], plain.z_q[rest])
    out.z_q.sum().backward()
    assert z.grad.isfinite().all()
    assert torch.equal(vq.codes[out.indices], out.z_q)


@pytest.mark.parametrize("dtype", (torch.float64, torch.bfloat16, torch.float16))
@pytest.mark.parametrize("update", ("gradient", "ema"))
def test_dtypes(dtype, update):
    vq = quantizer(update=update).to(dtype)
    z = latents(50, 4).to(dtype).requires_grad_()
    out = vq(z)
    assert out.z_q.dtype == dtype and torch.equal(out.z_q, vq.codes[out.indices].to(dtype))
    assert out.loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    (out.z_q.float().sum() + out.loss).backward()
    assert z.grad.dtype == dtype and z.grad.isfinite().all()
    vq(z.detach())


@pytest.mark.parametrize("dtype", (torch.float64, torch.bfloat16, torch.float16, None))
@pytest.mark.parametrize("options", LEARNERS, ids=lambda o: "-".join(map(str, o.values())))
def test_decoded_in_the_dtype_that_the_module_was_cast_to(options, dtype):
    vq = quantizer(**options)
    vq = vq if dtype is None else vq.to(dtype)
    x = latents(50, 4).to(dtype or torch.float32)
    out, decoded = vq(x), vq.decode(vq.encode(x))
    assert decoded.dtype == out.z_q.dtype == x.dtype
    assert torch.equal(vq.decode(out.indices), out.z_q)


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16, torch.float32))
def test_normalised_latents_of_half_precision(dtype):
    """Their directions are those of the same numbers in float64."""
    codes, x = nn.functional.normalize(latents(512, 8), dim=-1), latents(2000, 8, seed=1).to(dtype)
    directions = nn.functional.normalize(x.double(), dim=-1)
    best = (directions @ codes.double().t()).topk(2, -1)
    clear = best.values[:, 0] - best.values[:, 1] > 1e-6
    vq = VectorQuantizer(8, 512, lookup="normalised", init=codes, update="ema", decay=0.0, initial_count=0.0)
    indices = vq(x).indices
    assert clear.sum() > 1900 and torch.equal(indices[clear], best.indices[clear, 0])
    vq(x)  # moves the codes
    want = torch.zeros(512, 8, dtype=torch.float64).index_add_(0, indices, directions)
    used = indices.unique()
    torch.testing.assert_close(vq.codes[used].double(), nn.functional.normalize(want, dim=-1)[used], rtol=0, atol=1e-6)


def test_autocast_chooses_the_same_codes():
    """z is bfloat16 then; codes, products and losses stay in float32."""
    vq, encoder = quantizer(form="linear"), nn.Linear(6, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = encoder(latents(200, 6))
        out = vq(z)
        assert z.dtype == torch.bfloat16
        assert torch.equal(out.z_q, vq.codes[out.indices].bfloat16()) and out.z_q.dtype == torch.bfloat16
        (out.z_q.square().mean() + out.loss).backward()
    plain = vq.eval()(z.detach())
    assert torch.equal(plain.indices, out.indices) and plain.loss.item() == out.loss.item()
    assert encoder.weight.grad.isfinite().all() and vq.codebook.form.map.grad.abs().sum() > 0


@pytest.mark.parametrize("memory_format", (torch.contiguous_format, torch.channels_last))
def test_channel_first(memory_format):
    vq, last = quantizer(channel_first=True), quantizer()
    x = latents(3, 4, 5, 6).contiguous(memory_format=memory_format)
    out, want = vq(x, details=True), last(x.movedim(1, -1), details=True)
    assert torch.equal(out.z_q, want.z_q.movedim(-1, 1))
    assert out.z_q.is_contiguous(memory_format=memory_format)
    assert torch.equal(out.indices, want.indices) and out.indices.shape == (3, 5, 6)
    assert out.loss == want.loss
    assert torch.equal(vq.decode(out.indices), out.z_q) and torch.equal(vq.indices_to_codes(out.indices), out.z_q)
    assert torch.equal(vq.encode(x), out.indices)
    strided = latents(3, 6, 5, 4).transpose(1, 3)
    assert not strided.is_contiguous()
    assert torch.equal(vq(strided).indices, vq(strided.contiguous()).indices)


def test_heads_are_more_tokens_of_the_same_codebook():
    vq, one = quantizer(heads=3, update="ema"), quantizer(update="ema")
    x = latents(2, 5, 12)
    out, want = vq(x), one(x.reshape(2, 5, 3, 4))
    assert torch.equal(out.z_q, want.z_q.flatten(-2)) and torch.equal(out.indices, want.indices)
    assert out.indices.shape == (2, 5, 3) and out.loss == want.loss
    assert torch.equal(vq.decode(out.indices), out.z_q) and torch.equal(vq.encode(x), out.indices)
    both = quantizer(heads=3, channel_first=True)
    y = latents(2, 12, 5)
    assert torch.equal(both.decode(both(y).indices), both(y).z_q)


MASKED = {
    "gradient": {},
    "ema, revival": {"update": "ema", "revival": "threshold", "initial_count": 0.0},
    "token": {"convention": "token"},
    "normalised": {"lookup": "normalised"},
    "about the latents": {"centre": "latents"},
    "a mean over the call": {"estimator": "mean_rotation"},
    "a fade over the call": {"estimator": "fading", "centre": "codebook", "gain": lambda z, q, i, mask: 2 + q[..., :1]},
    "k-means": {"init": "latents"},
    "two heads": {"heads": 2, "dim": 2},
    "channels first": {"channel_first": True},
}


@pytest.mark.parametrize("name", MASKED)
def test_a_masked_run_is_the_run_on_the_tokens_that_are_kept(name):
    """Losses, gradients, codes and statistics; whatever the padding holds."""
    options = MASKED[name]
    masked, plain = quantizer(**options), quantizer(**options)
    mask = torch.rand(3, 7, generator=generator(1)) > 0.4
    to, back = (-1, 1) if options.get("channel_first") else (1, 1)
    for seed in range(3):
        x = latents(3, 7, 4, seed=seed)
        x[~mask] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e30])
        x = x.movedim(to, back).requires_grad_()
        kept = x.movedim(back, to)[mask].detach().requires_grad_()
        out, want = masked(x, mask), plain(kept)
        assert (out.indices[~mask] == -1).all() and torch.equal(out.indices[mask], want.indices)
        rows = out.z_q.movedim(back, to)
        assert torch.equal(rows[mask], want.z_q)
        torch.testing.assert_close(rows[~mask], x.movedim(back, to)[~mask], rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(out.loss, want.loss, rtol=1e-6, atol=0)
        (rows[mask].sin().sum() + out.loss).backward()
        (want.z_q.sin().sum() + want.loss).backward()
        torch.testing.assert_close(x.grad.movedim(back, to)[mask], kept.grad)
        assert x.grad.movedim(back, to)[~mask].eq(0).all()
        assert masked.decode(out.indices).isfinite().all()
        for (key, value), other in zip(masked.state_dict().items(), plain.state_dict().values()):
            torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-6, msg=key)
    details = masked(x, mask, details=True)
    assert all(value.isfinite().all() for value in (details.z, details.q, details.r, details.theta))
    none = masked(x.detach(), torch.zeros_like(mask))
    assert none.loss == 0 and (none.indices == -1).all()


def test_non_finite_latents_are_named():
    vq = quantizer()
    for bad in (torch.nan, torch.inf, -torch.inf):
        z = latents(3, 4)
        z[1, 2] = bad
        with pytest.raises(ValueError, match="NaN or inf"):
            vq(z)
        quantizer(check=False)(z)
    large = torch.full((400, 4), 3e38)  # the sum overflows, the latents do not
    assert vq(large).z_q.isfinite().all()


@pytest.mark.parametrize("bad", (torch.nan, torch.inf, -torch.inf))
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_row_that_is_not_finite_spoils_no_other(name, bad):
    assert_spoils_no_other(quantizer(estimator=name, check=False), latents(30, 4), bad)


@pytest.mark.parametrize("large", (3e38, 1e38, 1e31, torch.inf))
@pytest.mark.parametrize("heads", (1, 2))
def test_latents_whose_sums_overflow_are_left_out(large, heads):
    options = {"heads": heads, "update": "ema", "centre": "latents", "check": False}
    first, mask = latents(40, 4 * heads), torch.arange(40) != 7
    first[~mask] = large * latents(1, 4 * heads).sign()
    vq, other = quantizer(**options), quantizer(**options)
    for one, kept in ((vq, None), (other, mask)):
        one(first, kept)
        one(latents(40, 4 * heads, seed=1))
    assert vq.codes.isfinite().all()
    for key, value in vq.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[key])


LOSSES = {"mean": 5 * 7 * 4, "token": 5 * 7, "image": 5}


@pytest.mark.parametrize("convention", LOSSES)
@pytest.mark.parametrize("update", ("gradient", "ema"))
def test_losses_are_their_definition(convention, update):
    beta = 0.7 if update == "gradient" else 0.0
    vq = quantizer(convention=convention, beta=beta, gamma=0.3, update=update)
    z = latents(5, 7, 4).requires_grad_()
    out = vq(z, details=True)
    q = vq.codes[out.indices]
    codebook = (q - z.detach()).square().sum() / LOSSES[convention]
    commitment = (z - q.detach()).square().sum() / LOSSES[convention]
    torch.testing.assert_close(out.loss, beta * codebook + 0.3 * commitment)
    torch.testing.assert_close(out.codebook_loss, codebook)
    torch.testing.assert_close(out.commitment_loss, commitment)
    wanted = torch.autograd.grad(beta * codebook + 0.3 * commitment, z, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(out.loss, z, retain_graph=True), wanted)
    assert torch.autograd.grad(out.codebook_loss, z, allow_unused=True, retain_graph=True)[0].eq(0).all()
    if update == "gradient":
        (wanted,) = torch.autograd.grad(0.7 * codebook, vq.codebook.weight, retain_graph=True)
        torch.testing.assert_close(torch.autograd.grad(out.loss, vq.codebook.weight)[0], wanted)


def test_loss_has_right_second_derivatives():
    z, q = (torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    # beta = gamma: then the value's own derivatives are the gradients, and finite differences can check them
    assert torch.autograd.gradgradcheck(lambda z, q: weighted_losses(z, q, 0.5, 0.5), (z, q))


def test_a_step_has_right_second_derivatives():
    """In the latents and in the codes, by finite differences; a mask leaves its tokens out of both."""
    vq = VectorQuantizer(2, 3, "ste", beta=0.5, gamma=0.5).double()
    z, codes = latents(6, 2).double().requires_grad_(), (3 * torch.eye(3, 2)).double().requires_grad_()
    mask = torch.tensor([True, True, False, True, True, True])

    def loss(z, codes):
        return torch.func.functional_call(vq, {"codebook.weight": codes}, (z, mask)).loss

    assert torch.autograd.gradgradcheck(loss, (z, codes))
    gradients = torch.autograd.grad(loss(z, codes), (z, codes), create_graph=True)
    assert gradients[0][2].eq(0).all() and all(gradient.requires_grad for gradient in gradients)


@pytest.mark.parametrize("update", ("gradient", "ema"))
def test_two_calls_before_one_backward_pass(update):
    """A step of its own, the second revives codes; the gradients are those of two calls with a backward pass each."""
    both, each = (quantizer(size=40, update=update, decay=0.0, revival="threshold") for _ in range(2))
    z = latents(20, 4).requires_grad_()
    first, codes = both(z), both.codes.detach().clone()
    both.statistics.end_step()
    second = both(z)
    assert not torch.equal(both.codes, codes)
    (first.z_q.sum() + first.loss + second.z_q.sum() + second.loss).backward()
    apart = []
    for _ in range(2):
        latent = z.detach().requires_grad_()
        out = each(latent)
        (out.z_q.sum() + out.loss).backward()
        apart.append(latent.grad)
    torch.testing.assert_close(z.grad, sum(apart))


@pytest.mark.parametrize("pooled", (False, True))
def test_the_gradient_that_arrives_is_left_as_it_is(pooled):
    """Also where a member returns it as its own pull-back, and the losses are added in place, block by block."""
    vq = quantizer(dim=16, estimator=Estimator("identity", (1.0, 1.0), pooled=pooled))
    z, g = latents(3 * BLOCK // 16, 16).requires_grad_(), latents(3 * BLOCK // 16, 16, seed=1)
    out, before = vq(z), g.clone()
    torch.autograd.backward([out.z_q, out.loss], [g, None])
    assert torch.equal(g, before)
    q = vq.codes.detach()[out.indices]
    torch.testing.assert_close(z.grad, g + 2 * 0.25 * (z.detach() - q) / z.numel())


def test_three_conventions_are_one_run():
    """Dividing by tokens or by images instead of numbers multiplies the losses: beta, gamma and lr take that back."""
    images, tokens, dim, pixels = 6, 9, 4, 11
    runs = []
    for convention, factor in (("mean", 1), ("token", dim), ("image", tokens * dim)):
        torch.manual_seed(0)
        encoder, decoder = nn.Linear(5, dim), nn.Linear(dim, 5)
        scale = {"mean": 1.0, "token": 1.0, "image": float(pixels)}[convention]  # image: the other loss is summed too
        vq = quantizer(convention=convention, beta=1.0 * scale / factor, gamma=0.25 * scale / factor)
        parameters = [*encoder.parameters(), *decoder.parameters(), *vq.parameters()]
        optimiser = torch.optim.SGD(parameters, lr=0.5 / scale)
        for seed in range(5):
            x = latents(images, tokens, 5, seed=seed)
            z_q, _, loss = vq(encoder(x))
            optimiser.zero_grad()
            (scale * (decoder(z_q) - x).square().mean() + loss).backward()
            optimiser.step()
        runs.append([p.detach() for p in parameters])
    for other in runs[1:]:  # five steps of float32 in another order of multiplication
        torch.testing.assert_close(other, runs[0], rtol=1e-5, atol=1e-6)


def test_adding_to_the_loss_disturbs_nothing():
    vq = quantizer().eval()
    z = latents(9, 4)
    with torch.no_grad():
        loss = vq(z).loss
        first = loss.item()
        loss += 7
        assert vq(z).loss.item() == first


def test_frozen_features_still_train_a_projection_before_the_quantiser():
    vq, projection = quantizer(), nn.Linear(6, 4)
    out = vq(projection(latents(20, 6)))
    (out.z_q.sum() + out.loss).backward()
    assert projection.weight.grad.abs().sum() > 0
    still = vq(latents(20, 4))  # nothing before it learns: only the codebook loss has a gradient
    assert not still.z_q.requires_grad and still.loss.requires_grad


@pytest.mark.parametrize("initial_count", (0.0, 1.0, 5.0))
def test_ema_is_the_ratio_of_running_sum_and_running_count(initial_count):
    vq = quantizer(update="ema", decay=0.8, initial_count=initial_count).double()
    count = torch.full((12,), initial_count, dtype=torch.float64)
    total = vq.codes * initial_count
    codes = vq.codes.clone()
    for seed in range(6):
        z = latents(9, 4, seed=seed).double()  # fewer latents than codes: some stay unused
        torch.testing.assert_close(vq.codes, codes, rtol=1e-12, atol=1e-12)
        indices = vq(z).indices
        one_hot = nn.functional.one_hot(indices, 12).double()
        count = 0.8 * count + 0.2 * one_hot.sum(0)
        total = 0.8 * total + 0.2 * one_hot.t() @ z
        used = one_hot.sum(0) > 0
        codes = torch.where(used[:, None], total / count[:, None], vq.codes.clone())
        total = torch.where(used[:, None], total, codes * count[:, None])  # an unused code stays where it is
        vq.statistics.move_codes(vq.codebook.weight, z, None, 0, None, torch.tensor(True))
    assert (vq.statistics.running - count).abs().max() < 1e-12
    if initial_count == 0:
        assert not torch.isnan(vq.codes).any()


def test_initial_count_zero_jumps_to_the_first_mean():
    vq = quantizer(update="ema", initial_count=0.0)
    z = latents(50, 4)
    indices = vq(z).indices
    vq(z)  # takes the step that was due
    for k in indices.unique():
        torch.testing.assert_close(vq.codes[k], z[indices == k].mean(0))


def test_revival_of_unused_codes():
    vq = quantizer(size=30, revival="unused")
    z = latents(8, 4)
    with torch.no_grad():
        for _ in range(int(REVIVALS["unused"][1])):
            indices = vq(z).indices
        alive = torch.zeros(30, dtype=bool).scatter_(0, indices, True)
        before = vq.codes.clone()
        assert (vq.statistics.idle[~alive] == int(REVIVALS["unused"][1])).all() and (
            vq.statistics.idle[alive] == 0
        ).all()
        fresh = latents(64, 4, seed=3)
        vq(fresh)
    assert torch.equal(vq.codes[alive], before[alive])
    rows = {tuple(row) for row in fresh.tolist()}
    revived = {tuple(row) for row in vq.codes[~alive].tolist()}
    assert revived <= rows and len(revived) == (~alive).sum()  # latents of that batch, all different
    assert (vq.statistics.idle[~alive] <= 1).all()


@pytest.mark.parametrize("decay", (0.0, 0.8, 0.99))
@pytest.mark.parametrize("initial_count", (0.0, 1.0, 5.0))
@pytest.mark.parametrize("update", ("gradient", "ema"))
def test_revival_by_count_replaces_what_has_too_few_latents_a_step(decay, initial_count, update):
    counts = {"update": update, "decay": decay, "initial_count": initial_count}
    vq = quantizer(size=3, revival="count", revival_at=1.5, **counts)
    vq.codebook.weight.data.copy_(3 * torch.eye(3, 4))
    rows = 3 * torch.eye(3, 4).repeat_interleave(torch.tensor([5, 2, 1]), 0)  # latents a step of each code
    with torch.no_grad():
        first = vq(rows)
        assert torch.equal(first.z_q, rows)  # before a step has been counted, no code is dead
        torch.testing.assert_close(vq.statistics.latents_a_step(), torch.tensor([5.0, 2.0, 1.0]), rtol=1e-4, atol=0)
        vq(rows)
    assert torch.equal(vq.codes[:2], 3 * torch.eye(3, 4)[:2])
    assert vq.codes[2].tolist() in rows.tolist()  # it had one latent, which are too few


def test_a_code_revived_by_count_lives_while_it_is_used_enough():
    vq = quantizer(size=2, revival="count", decay=0.99)
    vq.codebook.weight.data.copy_(torch.tensor([[1.0, 0, 0, 0], [9.0, 0, 0, 0]]))
    vq(torch.tensor([[1.0, 0, 0, 0]] * 6))
    both = torch.tensor([[1.0, 0, 0, 0]] * 3 + [[5.0, 0, 0, 0]] * 3)
    vq(both)
    second = vq.codes[1].clone()
    assert second.tolist() in both.tolist()
    vq.codebook.weight.data[1] = torch.tensor([5.0, 0, 0, 0])
    for _ in range(50):  # three latents a step are more than two
        vq(both)
    assert vq.codes.tolist() == [[1.0, 0, 0, 0], [5.0, 0, 0, 0]]


@pytest.mark.parametrize(("first", "given"), ((6, 3.0), (2, 1.5)))  # the average of two codes is 3, or 1
def test_a_code_revived_by_count_counts_as_an_average_one_and_no_less_than_the_bound(first, given):
    vq = quantizer(size=2, revival="count", revival_at=1.5, decay=0.99)
    vq.codebook.weight.data.copy_(torch.tensor([[1.0, 0, 0, 0], [9.0, 0, 0, 0]]))
    vq(torch.tensor([[1.0, 0, 0, 0]] * first))
    chosen = vq(torch.tensor([[5.0, 0, 0, 0]] * 4)).indices  # it revives the second, which then has all four
    assert chosen.tolist() == [1] * 4
    wanted = (0.99 * given + 4) / 1.99  # the mean of two steps, the later one weighing more
    assert vq.statistics.latents_a_step()[1].item() == pytest.approx(wanted, rel=1e-4)


def test_revival_under_a_threshold_and_its_seed():
    chosen = []
    for seed in (1, 1, 2):
        vq = quantizer(size=30, revival="threshold", initial_count=0.0, update="ema", generator=generator(seed))
        vq.codebook.weight.copy_(latents(30, 4, seed=8))
        with torch.no_grad():
            indices = vq(latents(64, 4)).indices
            dead = torch.ones(30, dtype=bool).scatter_(0, indices, False)
            assert dead.any()
            vq(latents(64, 4, seed=1))
        rows = {tuple(row) for row in latents(64, 4, seed=1).tolist()}
        assert {tuple(row) for row in vq.codes[dead].tolist()} <= rows
        assert (vq.statistics.running[dead] > 0).all()
        chosen.append(vq.codes[dead].clone())
    assert torch.equal(chosen[0], chosen[1]) and not torch.equal(chosen[0], chosen[2])
    rare = quantizer(size=30, revival="none", initial_count=0.0)
    before = rare.codes.clone()
    for seed in range(3):
        rare(latents(4, 4, seed=seed))
    assert torch.equal(rare.codes, before)


def test_more_dead_codes_than_latents():
    vq = quantizer(size=30, revival="unused")
    vq.statistics.idle.fill_(int(REVIVALS["unused"][1]))
    z = latents(5, 4)
    vq(z)
    assert {tuple(row) for row in vq.codes.tolist()} == {tuple(row) for row in z.tolist()}


def test_gradients_can_be_accumulated_over_calls_that_revive():
    for options in ({"update": "ema"}, {"update": "gradient"}, {"lookup": "normalised"}):
        vq, encoder = quantizer(revival="threshold", initial_count=0.0, **options), nn.Linear(4, 4)
        losses = []
        for seed in range(3):
            out = vq(encoder(latents(9, 4, seed=seed)))
            losses.append(out.z_q.sum() + out.loss)
        sum(losses).backward()
        assert encoder.weight.grad.isfinite().all()


def test_warm_up_mixes_in_the_estimator_linearly():
    vq, z = quantizer(warmup=4, beta=0.0, gamma=0.0), latents(6, 4)
    for call in range(7):
        x = z.clone().requires_grad_()
        z_q, indices, _ = vq(x)
        z_q.sum().backward()
        t = min(call / 4, 1.0)
        want = ESTIMATORS["rotation"].pull_back(z, vq.codes[indices].detach(), torch.ones(6, 4), mix=t)
        torch.testing.assert_close(x.grad, want)


def test_centres_and_gain():
    z = latents(6, 4) + 3
    gain = torch.linspace(0.5, 2, 12)
    mean = quantizer(centre="latents", decay=0.5)
    mean(z - 1)
    for vq, context in (
        (quantizer(centre="codebook"), lambda vq, i: {"centre": vq.codes.detach().mean(0)}),
        (mean, lambda vq, i: {"centre": z.mean(0) - 0.5}),  # of means z - 1 and z with decay 1/2
        (quantizer(gain=gain), lambda vq, i: {"gain": gain[i][:, None]}),
        (quantizer(gain=lambda z, q, i, mask: 3 + i[..., None]), lambda vq, i: {"gain": 3 + i[:, None]}),
    ):
        x = z.clone().requires_grad_()
        z_q, indices, _ = vq(x)
        z_q.sum().backward()
        q, g = vq.codes[indices].detach(), torch.ones(6, 4)
        torch.testing.assert_close(x.grad, ESTIMATORS["rotation"].pull_back(z, q, g, **context(vq, indices)))


def test_penalties_are_added_and_reach_the_codes():
    plain, vq = quantizer(), quantizer(penalties={"orthogonal": 2.0, "norm": 0.5})
    z = latents(6, 4)
    extra = 2 * PENALTIES["orthogonal"](vq.codes) + 0.5 * PENALTIES["norm"](vq.codes)
    torch.testing.assert_close(vq(z).loss, plain(z).loss + extra)
    vq(z).loss.backward()
    unused = torch.ones(12, dtype=bool).scatter_(0, vq(z).indices, False)
    assert vq.codebook.weight.grad[unused].abs().sum() > 0


def test_details():
    vq = quantizer()
    z = latents(2, 30, 4)
    out = vq(z, details=True)
    q = vq.codes[out.indices].detach()
    torch.testing.assert_close(out.r, (q.norm(dim=-1) / z.norm(dim=-1)).flatten())
    cosine = nn.functional.cosine_similarity(z, q, dim=-1).flatten()
    torch.testing.assert_close(out.theta.cos(), cosine, rtol=1e-5, atol=1e-6)
    share = torch.bincount(out.indices.flatten(), minlength=12) / 60
    assert out.usage.item() == pytest.approx((share > 0).double().mean().item())
    assert out.perplexity.item() == pytest.approx((-share * share.clamp_min(1e-9).log()).sum().exp().item(), rel=1e-5)
    assert torch.equal(out.z, z) and torch.equal(out.q, q)
    assert out[:3] == tuple(out)[:3] and out._fields[:3] == ("z_q", "indices", "loss")


def test_a_lazy_codebook_starts_in_training_only():
    vq = quantizer(init="kmeans").eval()
    with pytest.raises(RuntimeError, match="'kmeans' awaits latents"):
        vq(latents(40, 4))
    vq.train()
    z = latents(40, 4)
    assert vq(z).loss < quantizer()(z).loss
    assert vq.codebook.ready


@pytest.mark.parametrize("init", ("normal", "latents"))
@pytest.mark.parametrize("calls", (0, 3))
def test_a_run_continues_from_its_state_dict(init, calls):
    options = {"update": "ema", "revival": "threshold", "initial_count": 0.0, "centre": "latents", "warmup": 9}
    options["init"] = init
    first, second = quantizer(**options), quantizer(**options)
    for seed in range(calls):
        step(first, latents(9, 4, seed=seed))
    second.load_state_dict(first.state_dict())
    second.codebook.generator.set_state(first.codebook.generator.get_state())
    for seed in range(calls, calls + 3):
        (a, grad_a), (b, grad_b) = (step(vq, latents(9, 4, seed=seed)) for vq in (first, second))
        assert torch.equal(a.z_q, b.z_q) and torch.equal(grad_a, grad_b) and a.loss == b.loss
    for (name, value), other in zip(first.state_dict().items(), second.state_dict().values()):
        assert torch.equal(value, other), name
    assert first.state_dict()._metadata[""]["version"] == 2


def test_a_state_dict_of_version_0_1_0_loads():
    vq, other = (quantizer(update="ema", seed=seed) for seed in (0, 1))
    vq(latents(30, 4))
    old = vq.state_dict()
    del old["statistics.step_ended"]
    with pytest.raises(RuntimeError, match="step_ended"):
        other.load_state_dict(old)
    for metadata in old._metadata.values():
        metadata["version"] = 1
    other.load_state_dict(old)
    assert torch.equal(other(latents(30, 4, seed=1)).z_q, vq(latents(30, 4, seed=1)).z_q)
    assert torch.equal(other.codes, vq.codes)


def test_state_dicts_of_other_layouts_load():
    """taming's VectorQuantizer2 keeps `embedding.weight`; its forward is argmin, lookup, two means of squares."""
    embedding = latents(12, 4, seed=7)
    vq = quantizer(channel_first=True, estimator="ste", init="kmeans")
    assert vq.load_state_dict({"embedding.weight": embedding}).missing_keys == []
    z = latents(2, 4, 5, 5)
    rows = z.movedim(1, -1).reshape(-1, 4)
    distances = rows.square().sum(1, keepdim=True) + embedding.square().sum(1) - 2 * rows @ embedding.t()
    q = embedding[distances.argmin(1)]
    out = vq.eval()(z)
    assert torch.equal(out.z_q.movedim(1, -1).reshape(-1, 4), q)
    torch.testing.assert_close(out.loss, (q - rows).square().mean() + 0.25 * (rows - q).square().mean())
    model = nn.ModuleDict({"quantize": quantizer()})
    theirs = {
        "embed": embedding[None],
        "initted": torch.tensor([True]),
        "cluster_size": torch.arange(12.0)[None],
        "embed_avg": embedding[None],
    }
    model.load_state_dict({f"quantize._codebook.{key}": value for key, value in theirs.items()})
    assert torch.equal(model["quantize"].codes, embedding)
    assert torch.equal(model["quantize"].statistics.running, torch.arange(12.0))
    with pytest.raises(RuntimeError, match="size mismatch"):
        quantizer().load_state_dict({"embedding.weight": latents(12, 5)})


COMPILED = {
    "rotation": {},
    "all at once": {
        "update": "ema",
        "revival": "threshold",
        "initial_count": 0.0,
        "centre": "latents",
        "warmup": 2,
        "lookup": "normalised",
        "heads": 2,
        "dim": 2,
    },
    "simvq": {"form": "linear", "centre": "codebook", "penalties": {"orthogonal": 0.1}},
    "codes that move": {"update": "ema", "centre": "codebook"},
    "drawn codes": {"temperature": 0.5},
}


@pytest.mark.filterwarnings(OLD_WARNING)
@pytest.mark.parametrize("name", COMPILED)
def test_train_step_compiles_without_a_graph_break(name):
    """The same outputs, gradients and state as eagerly, for three steps."""
    torch.compiler.reset()
    mask = torch.rand(3, 5, generator=generator()) > 0.3
    both = [quantizer(**COMPILED[name]) for _ in range(2)]

    def train_step(vq, x):
        out = vq(x, mask if name == "all at once" else None)
        return out.z_q.sin().sum() + out.loss, out

    compiled = torch.compile(lambda x: train_step(both[1], x), fullgraph=True, backend="aot_eager")
    for seed in range(3):
        x, y = (latents(3, 5, 4, seed=seed).requires_grad_() for _ in range(2))
        (loss, out), (other_loss, other) = train_step(both[0], x), compiled(y)
        loss.backward()
        other_loss.backward()
        assert torch.equal(out.indices, other.indices) and torch.equal(out.z_q, other.z_q)
        torch.testing.assert_close(y.grad, x.grad)
        for (key, value), there in zip(both[0].state_dict().items(), both[1].state_dict().values()):
            torch.testing.assert_close(value, there, msg=key)


class Encode(nn.Module):
    def __init__(self, vq):
        super().__init__()
        self.vq = vq

    def forward(self, x):
        return self.vq.encode(x)


class Decode(Encode):
    def forward(self, indices):
        return self.vq.decode(indices)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's export uses old parts
@pytest.mark.parametrize("options", ({}, {"heads": 2, "dim": 2, "lookup": "normalised"}), ids=("plain", "heads"))
def test_encode_and_decode_export(options):
    vq = quantizer(channel_first=True, **options).eval()
    x = latents(3, 4, 5, 6)
    z_q, indices, _ = vq(x)
    dynamic = ({0: torch.export.Dim("batch")},)
    encode = torch.export.export(Encode(vq), (x,), dynamic_shapes=dynamic).module()
    decode = torch.export.export(Decode(vq), (indices,), dynamic_shapes=dynamic).module()
    assert torch.equal(encode(torch.cat([x, x])), torch.cat([indices, indices]))
    assert torch.equal(decode(indices), z_q)
    whole = torch.export.export(vq, (x,)).module()
    assert torch.equal(whole(x)[0], z_q)


@pytest.mark.parametrize("call", (lambda vq, z: vq(z).z_q, lambda vq, z: vq(z).loss), ids=("z_q", "loss"))
def test_functional_transforms_in_evaluation(call):
    """Per-sample gradients with torch.func: grad, without vmap over the lookup."""
    vq = quantizer().eval()
    z = latents(5, 4)
    got = torch.func.grad(lambda z: call(vq, z).sum())(z)
    x = z.clone().requires_grad_()
    call(vq, x).sum().backward()
    torch.testing.assert_close(got, x.grad)


ERRORS = {
    "unknown estimator 'spin'": lambda: quantizer(estimator="spin"),
    "unknown centre 'middle': one of origin": lambda: quantizer(centre="middle"),
    "unknown lookup": lambda: quantizer(lookup="manhattan"),
    "unknown update": lambda: quantizer(update="magic"),
    "unknown revival": lambda: quantizer(revival="prayer"),
    "unknown convention": lambda: quantizer(convention="sum"),
    "unknown penalty": lambda: quantizer(penalties={"size": 1.0}),
    r"decay is 1.0: it must be in \[0, 1\)": lambda: quantizer(decay=1.0),
    "neither may be negative": lambda: quantizer(gamma=-1.0),
    "warmup is -1": lambda: quantizer(warmup=-1),
    "all must be at least 1": lambda: quantizer(dim=0),
    "form 'linear' needs update 'gradient'": lambda: quantizer(form="linear", update="ema"),
    "inside sg": lambda: quantizer(gain=nn.Parameter(torch.ones(12))),
    "go with an Estimator": lambda: quantizer(estimator=nn.Identity(), mix=0.5),
    "has 5 channels, not heads": lambda: quantizer()(latents(3, 5)),
    "the mask is torch.float32": lambda: quantizer()(latents(3, 4), torch.ones(3)),
    r"the mask is torch.bool \(2,\)": lambda: quantizer()(latents(3, 4), torch.ones(2, dtype=bool)),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_allowed(message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message]()


def test_no_warning_is_raised():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(quantizer(init="kmeans", revival="unused"), latents(40, 4))
