"""Rivals: one call for all, and for each one checkable fact of its source."""

import math

import pytest
import torch
from bad_rows import assert_spoils_no_other
from conftest import ROOT
from torch import nn

from book.theory.rival_facts import facts
from rotvq.quantizers.base import Quantizer
from rotvq.quantizers.codebook import Form
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.quantizers.geometry import unit
from rotvq.quantizers.methods.diveq import DiVeQ
from rotvq.quantizers.methods.dynamic_ste import DynamicGain
from rotvq.quantizers.methods.fsq import FSQ, TABLE_1, Lattice, levels
from rotvq.quantizers.methods.gumbel import GumbelSoftmax
from rotvq.quantizers.methods.noise import ErrorSubstitution, Noise, RandomQuantizer
from rotvq.quantizers.methods.nsvq import NSVQ
from rotvq.quantizers.methods.sf_diveq import SFDiVeQ
from rotvq.quantizers.registry import METHODS


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def latents(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def build(name, dim=4, size=12, **options):
    torch.manual_seed(0)
    size = {"lfq": 8, "bsq": 8}.get(name, size)  # powers of two alone
    if "init" not in METHODS[name].fixed:
        options = {"init": "normal", "generator": generator(5)} | options
    return METHODS[name](dim, size, **options)


def call(vq, x, *rest, **more):
    """Quantisers without a second pass leave the objective alone."""
    return vq(x, *rest, objective=lambda z: z.sin().sum(), **more)


def subclasses(base):
    return {below for one in base.__subclasses__() for below in {one, *subclasses(one)}}


@pytest.mark.parametrize("bad", (torch.nan, torch.inf))
@pytest.mark.parametrize("name", ("simvq", "dynamic", "region", "stablevq", "diveq_detach", "fsq", "lfq", "bsq"))
def test_a_row_that_is_not_finite_spoils_no_other(name, bad):
    assert_spoils_no_other(build(name, size=3, check=False), latents(30, 4), bad)


@pytest.mark.parametrize("name", METHODS)
def test_one_loop_lets_every_method_follow(name):
    """Where no codes wait for the end of a step, that changes nothing."""
    followed, alone = build(name), build(name)
    for vq in (followed, alone):
        optimizer = torch.optim.SGD([x := latents(30, 4).requires_grad_(), *vq.parameters()], lr=0.1)
        if vq is followed:
            vq.follow(optimizer)
        for _ in range(2):
            z_q, _, loss = call(vq, x)
            (z_q.sin().sum() + loss).backward()
            optimizer.step()
    assert all(torch.equal(value, alone.state_dict()[key]) for key, value in followed.state_dict().items())


@pytest.mark.parametrize("name", METHODS)
def test_frozen_codes_stay_and_the_maps_round_them_learn(name):
    vq = build(name, **({} if "project_to" in METHODS[name].fixed else {"project_to": 3}))
    vq.frozen = True
    before = {key: value.clone() for key, value in [("codes", vq.codes), *vq.named_parameters()]}
    optimizer = torch.optim.SGD(vq.parameters(), lr=0.1)
    z_q, _, loss = call(vq, latents(30, 4))
    (z_q.sin().sum() + loss).backward()
    optimizer.step()
    assert torch.equal(vq.codes, before["codes"])
    if name != "fsq":  # of which the map behind the points makes the codes
        assert not torch.equal(vq.expand.weight, before["expand.weight"])


SPOILED = {  # what a row that is not finite does reach, as page 27 says
    **dict.fromkeys(("nsvq", "diveq", "diveq_detach", "sf_diveq"), {"codebook.weight"}),
    "gumbel": {"logits.weight", "logits.bias"},
    "gumbel_soft": {"codebook.weight", "logits.weight", "logits.bias"},
    "fsq": {"project_in.weight", "project_in.bias", "project_out.weight"},
    "lfq": {"reduce.weight"},
    "bsq": {"reduce.weight", "reduce.bias"},
}


@pytest.mark.parametrize("name", METHODS)
def test_parameters_whose_gradient_a_row_that_is_not_finite_spoils(name):
    """Though the loss is taken of the others alone."""
    vq, x = build(name, check=False), latents(30, 4)
    x[5] = torch.nan
    z_q, _, _ = vq(x.requires_grad_(), objective=lambda z: z[6:].sin().sum())
    z_q[6:].sin().sum().backward()
    spoiled = {key for key, one in vq.named_parameters() if one.grad is not None and not one.grad.isfinite().all()}
    assert spoiled == SPOILED.get(name, set())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dim", (4, 3))
def test_built_on_the_device_meta(name, dim):
    """What is loaded into it, or assigned, gives what it gave where it came from."""
    here, x = build(name, dim), latents(30, dim)
    call(here, x)
    with torch.device("meta"):
        emptied, assigned = build(name, dim), build(name, dim)
    emptied = emptied.to_empty(device="cpu")
    emptied.load_state_dict(here.state_dict())
    assigned.load_state_dict(here.state_dict(), assign=True)
    for other in (emptied, assigned):
        for mine, wanted in zip(call(other.eval(), x), call(here.eval(), x)):
            assert torch.equal(mine, wanted)
        assert torch.equal(other.encode(x), here.encode(x))


@pytest.mark.parametrize("base", (Quantizer, RandomQuantizer, ErrorSubstitution, Form))
def test_a_base_class_is_abstract_and_no_method_of_it_is_overridden(base):
    with pytest.raises(TypeError, match="abstract"):
        base(4, 12) if issubclass(base, Quantizer) else base(4)
    final = {
        name
        for name, value in vars(base).items()
        if (callable(value) or isinstance(value, property))
        and not name.startswith("__")
        and not getattr(value, "__isabstractmethod__", False)
        and value is not Quantizer.follow  # it does nothing there
    }
    assert subclasses(base) and not {(one, name) for one in subclasses(base) for name in final & vars(one).keys()}


@pytest.mark.parametrize("name", METHODS)
def test_every_rival_answers_the_same_call(name):
    vq, x = build(name, channel_first=True), latents(3, 4, 5, 6).requires_grad_()
    out = call(vq, x)
    assert out.z_q.shape == x.shape and out.indices.shape == (3, 5, 6) and out.loss.shape == ()
    assert out.indices.min() >= 0 and out.indices.max() < vq.codebook_size
    (out.z_q.sin().sum() + out.loss).backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().sum() > 0 and any(p.grad is not None and p.grad.abs().sum() > 0 for p in vq.parameters())
    details = call(vq, x, details=True)
    assert details.z.shape == (3, 5, 6, vq.code_dim) and details.r.shape == (90,) and details.usage.isfinite()
    torch.autograd.grad(details.commitment_loss, x, materialize_grads=True)  # what the trace of a run asks for
    assert vq.codebook.ready and vq.gamma >= 0 and vq.codes.shape == (vq.codebook_size, vq.code_dim)


@pytest.mark.parametrize("name", METHODS)
def test_evaluation_is_hard_and_deterministic(name):
    vq, x = build(name).eval(), latents(20, 4)
    with torch.no_grad():
        first, second = vq(x), vq(x)
        assert torch.equal(first.z_q, second.z_q)
        assert torch.equal(vq.encode(x), first.indices)
        if name == "sf_diveq":  # points between codes; at least as near as the nearest code
            nearest = vq.codes[first.indices]
            assert ((x - first.z_q).norm(dim=-1) <= (x - nearest).norm(dim=-1) + 1e-6).all()
        else:
            torch.testing.assert_close(vq.codes[first.indices], vq(x, details=True).q)
            torch.testing.assert_close(vq.decode(first.indices), first.z_q)


@pytest.mark.parametrize("name", METHODS)
def test_masked_padding_reaches_nothing(name):
    vq, x = build(name), latents(2, 6, 4)
    mask = torch.tensor([[True] * 4 + [False] * 2] * 2)
    x[~mask] = torch.nan
    x.requires_grad_()
    vq.second_pass = None  # it takes the objective of the whole input
    out = vq(x, mask)
    (out.z_q[mask].sum() + out.loss).backward()
    assert out.loss.isfinite() and (out.indices[~mask] == -1).all()
    assert x.grad[mask].isfinite().all() and x.grad[~mask].eq(0).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in vq.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_a_run_continues_from_its_state_dict(name):
    first, second = build(name), build(name)
    for seed in range(2):
        call(first, latents(9, 4, seed=seed))
    second.load_state_dict(first.state_dict())
    a, b = (call(vq, latents(9, 4, seed=7)) for vq in (first, second))
    assert torch.equal(a.z_q, b.z_q) and torch.equal(a.loss, b.loss)


@pytest.mark.parametrize("name", METHODS)
def test_registry_cites_and_refuses(name):
    rival = METHODS[name]
    assert f"{{{rival.source}," in (ROOT / "book" / "references.bib").read_text("utf-8")
    for option in rival.fixed:
        with pytest.raises(ValueError, match=f"{option} is part of this method"):
            rival(4, 12, **{option: None})


@pytest.mark.parametrize("name", METHODS)
def test_registry_says_what_is_replaced_and_what_it_costs(name):
    rival = METHODS[name]
    assert rival.replaces and "|" not in rival.replaces + rival.cost and rival.cost.count("$") % 2 == 0
    assert facts()[name].text.endswith(".")


OTHERS = {"vq": "nsvq", "gumbel": "gumbel_soft", "gumbel_soft": "gumbel"}  # of which the fact is not true; else "vq"


@pytest.mark.parametrize("name", METHODS)
def test_a_fact_holds_for_its_rival_and_not_for_another(name):
    fact, other = facts()[name], METHODS[OTHERS.get(name, "vq")]
    assert fact.check().claim and not fact.check(make=other).claim


def a_step(vq, run, x):
    x = x.clone().requires_grad_()
    out = call(run, x)
    (out.z_q.sin().sum() + out.loss).backward()
    felt = [p.grad for p in vq.parameters() if p.grad is not None]
    return out.indices, out.z_q.detach(), out.loss.detach(), x.grad, felt


OLD_WARNING = "ignore:.*should not be instantiated:DeprecationWarning"  # raised by torch.compile itself


@pytest.mark.filterwarnings(OLD_WARNING)
@pytest.mark.parametrize("name", [name for name in METHODS if name != "hessian"])
def test_a_rival_compiles_without_a_graph_break(name):
    """The same outputs, gradients and state as eagerly, for three steps."""
    torch.compiler.reset()
    eager, other = build(name), build(name)
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    for seed in range(3):
        x = latents(9, 4, seed=seed)
        torch.testing.assert_close(a_step(other, compiled, x), a_step(eager, eager, x))
    for (key, value), there in zip(eager.state_dict().items(), other.state_dict().values()):
        torch.testing.assert_close(value, there, msg=key)


@pytest.mark.filterwarnings(OLD_WARNING)
def test_the_hessian_correction_does_not_compile():
    """It differentiates inside the call, and twice: torch traces no autograd.grad, and compiles no double backward."""
    torch.compiler.reset()
    vq = build("hessian")
    with pytest.raises(torch._dynamo.exc.Unsupported, match="autograd.grad"):
        call(torch.compile(vq, fullgraph=True, backend="aot_eager"), latents(9, 4))
    assert torch.compile(vq.eval(), fullgraph=True, backend="aot_eager")(latents(9, 4)).z_q.shape == (9, 4)


def test_nsvq_keeps_the_length_of_the_error_and_nothing_of_its_direction():
    """|z_q - z| = |q - z| (their eq. 4); directions are uniform, so the mean cosine with q - z is 0."""
    substitute = NSVQ(seed=3)
    z, q = latents(4000, 5), latents(4000, 5, seed=1)
    z_q = substitute(z, q)
    torch.testing.assert_close((z_q - z).norm(dim=-1), (q - z).norm(dim=-1))
    cosine = nn.functional.cosine_similarity(z_q - z, q - z, dim=-1)
    # variance 1/d each: the mean of 4000 lies within 5 standard errors, 5 / sqrt(4000 * 5)
    assert cosine.mean().abs() < 5 / math.sqrt(4000 * 5)
    assert cosine.var().item() == pytest.approx(1 / 5, rel=0.1)
    assert torch.equal(substitute.eval()(z, q), q)


def test_diveq_without_noise_splits_the_gradient():
    """dL/dz = (I - w w^T) g, dL/dq = w w^T g with w the direction from z to q; the value is q up to rounding."""
    z, q, g = (latents(9, 5, seed=s).double() for s in range(3))
    z.requires_grad_(), q.requires_grad_()
    z_q = DiVeQ(deviation=0.0)(z, q)
    torch.testing.assert_close(z_q, q)
    (z_q * g).sum().backward()
    w = unit((q - z).detach())
    along = (w * g).sum(-1, keepdim=True) * w
    torch.testing.assert_close(z.grad, g - along)
    torch.testing.assert_close(q.grad, along)


def test_diveq_stays_near_the_code_and_at_the_right_distance():
    z, q = latents(500, 5), latents(500, 5, seed=1)
    z_q = DiVeQ(deviation=1e-3)(z, q)
    torch.testing.assert_close((z_q - z).norm(dim=-1), (q - z).norm(dim=-1))
    # the direction is off by |n| s / |q - z|, so the point by about |n| s: |n| < 5 for 5 numbers, almost always
    assert 0 < (z_q - q).norm(dim=-1).max() < 6e-3
    same = z.clone().requires_grad_()
    DiVeQ(deviation=0.0)(same, same.detach()).sum().backward()
    assert same.grad.isfinite().all()


def test_segments_use_every_code_on_a_line():
    """On two collinear codes the curve is a segment: evaluation is the projection onto it."""
    vq = SFDiVeQ(2, 2, init=torch.tensor([[0.0, 0.0], [2.0, 0.0]])).eval()
    points = torch.tensor([[0.5, 3.0], [-1.0, 1.0], [1.7, -2.0], [9.0, 0.0]])
    torch.testing.assert_close(vq(points).z_q, torch.tensor([[0.5, 0.0], [0.0, 0.0], [1.7, 0.0], [2.0, 0.0]]))
    vq.train()
    out = vq(points)
    assert (out.z_q[:, 0] > -1e-2).all() and (out.z_q[:, 0] < 2.01).all() and out.indices.eq(0).all()
    with pytest.raises(ValueError, match="a segment needs 2 codes"):
        SFDiVeQ(2, 1)


def test_segments_reduce_the_error_of_the_codes():
    codes = latents(40, 3, seed=2)
    z = latents(500, 3)
    point, code = SFDiVeQ(3, 40, init=codes).eval()(z).z_q, METHODS["vq"](3, 40, init=codes).eval()(z).z_q
    assert (z - point).square().mean() < (z - code).square().mean()


def test_dynamic_weights_by_hand():
    """Eq. 4: the best latent of a code has weight 1, one twice as far 1/4; one on its code 1, the others of it 0."""
    z = torch.tensor([[1.0, 0.0], [0.0, 2.0], [10.0, 0.0], [13.0, 0.0], [7.0, 7.0]])
    q = torch.tensor([[0.0, 0.0], [0.0, 0.0], [10.0, 0.0], [10.0, 0.0], [7.0, 6.0]])
    indices = torch.tensor([0, 0, 1, 1, 2])
    weight = DynamicGain(4)(z, q, indices, None)
    assert weight.flatten().tolist() == [1.0, 0.25, 1.0, 0.0, 1.0]
    mask = torch.tensor([False, True, True, True, True])
    assert DynamicGain(4)(z, q, indices, mask).flatten()[1] == 1.0  # padding is nobody's best
    vq, x = build("dynamic"), latents(30, 4).requires_grad_()
    out = vq(x, details=True)
    out.z_q.sum().backward()
    want = DynamicGain(12)(x.detach(), out.q.detach(), out.indices, None)
    torch.testing.assert_close(x.grad, want.expand(30, 4))


def test_gumbel_samples_have_the_probabilities_of_the_softmax():
    """The Gumbel-max law: whatever the temperature, code k is drawn with probability softmax(logits)_k."""
    vq = GumbelSoftmax(3, 5, generator=generator(1))
    torch.manual_seed(0)
    z = latents(1, 3).expand(40_000, 3)
    share = vq(z).indices.bincount(minlength=5) / 40_000
    want = vq.logits(z[:1]).softmax(-1)[0].detach()
    # 5 standard errors of a frequency among 40,000 draws
    assert ((share - want).abs() <= 5 * (want * (1 - want) / 40_000).sqrt()).all()


def test_gumbel_temperature_and_loss():
    vq = build("gumbel", anneal=10)
    assert vq.temperature.item() == 1.0
    for _ in range(12):
        out = vq(latents(8, 4))
    assert vq.temperature.item() == pytest.approx(1 / 16)
    assert torch.equal(out.z_q.detach(), vq.codes[out.indices].detach())  # hard: bit for bit
    nn.init.zeros_(vq.logits.weight), nn.init.zeros_(vq.logits.bias)
    assert vq(latents(8, 4)).loss.abs() < 1e-8  # uniform codes: no divergence
    with torch.no_grad():
        vq.logits.bias[3] = 1e3
    assert vq(latents(8, 4)).loss.item() == pytest.approx(5e-4 * math.log(12))  # one code always: log K


def test_soft_gumbel_becomes_hard_when_cold():
    vq = build("gumbel_soft", anneal=0)
    nn.init.normal_(vq.logits.weight, std=1e5, generator=generator())
    out = vq(latents(50, 4), details=True)
    torch.testing.assert_close(out.z_q, out.q, rtol=1e-3, atol=1e-3)


TABLE = {256: 240, 1024: 1000, 4096: 4375, 16384: 15360, 65536: 64000}  # FSQ, table 1: sizes of the grids


def test_fsq_levels():
    assert {size: math.prod(levels(size)) for size in TABLE_1} == TABLE
    assert levels(512) == (8, 8, 8) and levels(2) == (2,) and levels(1) == (1,)
    for size in (9, 60, 100, 777, 2000, 8192):
        sizes = levels(size)
        assert size * 0.5 < math.prod(sizes) <= size and all(5 <= n <= 8 for n in sizes)


def test_fsq_indices_and_grid_are_a_bijection():
    grid = Lattice((5, 4, 3))
    points = grid.points(torch.arange(60))
    assert len(points.unique(dim=0)) == 60 and points.abs().max() == 1
    vq = FSQ(3, 60, sizes=(5, 4, 3))
    level = (points * torch.tensor([2.0, 2.0, 1.0])).round()
    assert torch.equal(vq.codebook.indices(level), torch.arange(60))
    z = latents(4000, 3) * 4
    assert set(vq.encode(z).tolist()) <= set(range(60))


@pytest.mark.parametrize("sizes", ((1,), (2,), (3,), (8, 5, 4)))
def test_fsq_bounds(sizes):
    """Every level can be reached and no other, and 0 is rounded to level 0."""
    vq = FSQ(len(sizes), math.prod(sizes), sizes=sizes)
    vq.project_in = nn.Identity()
    wide = torch.linspace(-20, 20, 2001)[:, None].expand(-1, len(sizes))
    for axis, size in enumerate(sizes):
        reached = vq.round(wide)[1][:, axis].unique().tolist()
        assert reached == list(range(-(size // 2), size - size // 2))
    bounded = vq.round(torch.zeros(1, len(sizes)))[0]
    assert bounded.abs().max() < 1e-6


@pytest.mark.parametrize("bound", ("tanh", "clamp"))
@pytest.mark.parametrize("size", (1, 2, 3, 4, 5, 8))
def test_symmetric_fsq(size, bound):
    """By its formula, level by level: the points are even from -1 to 1, and those of -z are those of z, negated."""
    vq = FSQ(1, size, sizes=(size,), symmetric=True, bound=bound)
    vq.project_in = vq.project_out = nn.Identity()
    z = latents(999, 1, seed=3).double().requires_grad_()
    squashed = torch.tanh(z) if bound == "tanh" else z.clamp(-1, 1)
    counted = (squashed * (size - 1) / 2 + (size - 1) / 2 + 0.5).floor()  # 0 to L - 1
    out = vq(z)
    torch.testing.assert_close(out.z_q, 2 * counted / max(size - 1, 1) - float(size > 1))
    assert torch.equal(out.indices, counted.squeeze(-1).long())
    assert set(out.indices.tolist()) == set(range(size))
    torch.testing.assert_close(vq(-z).z_q, -out.z_q)
    points = vq.codebook.points(torch.arange(size)).squeeze(-1)
    torch.testing.assert_close(points, torch.linspace(-1, 1, size) if size > 1 else torch.zeros(1))
    (received,) = torch.autograd.grad(out.z_q.sum(), z)
    slope = 1 - squashed**2 if bound == "tanh" else (z.abs() < 1).double()
    torch.testing.assert_close(received, slope * float(size > 1))


def test_clamped_fsq_has_levels_of_one_width():
    """All but the outer two; and they are reached."""
    vq = FSQ(1, 8, sizes=(8,), bound="clamp")
    vq.project_in = vq.project_out = nn.Identity()
    z = torch.linspace(-2, 2, 40_001)[:, None]
    out = vq(z)
    lowest = z[torch.searchsorted(out.indices, torch.arange(1, 8))].squeeze(-1)  # of each level but the first
    torch.testing.assert_close(lowest.diff(), torch.full((6,), 2 / (7 * 1.001)), rtol=0, atol=2e-4)
    assert out.z_q.aminmax() == (-1, 0.75) and vq(torch.zeros(1, 1)).z_q == 0


@pytest.mark.parametrize("bound", ("tanh", "clamp"))
@pytest.mark.parametrize("symmetric", (False, True))
def test_what_fsq_gives_is_what_it_decodes(symmetric, bound):
    vq = FSQ(6, 240, sizes=(8, 6, 5), symmetric=symmetric, bound=bound)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        vq.to(dtype)
        x = (3 * latents(200, 6)).to(dtype)
        z_q, indices, _ = vq(x)
        torch.testing.assert_close(vq.decode(indices), z_q)
        assert torch.equal(vq.encode(x), indices) and len(indices.unique()) > 50
    with pytest.raises(ValueError, match="unknown bound 'sigmoid': one of tanh, clamp"):
        FSQ(6, 240, bound="sigmoid")


def quadratic():
    """f(z) = (z - c)^T A (z - c) / 2 summed over tokens, with its gradient."""
    root, c = latents(4, 4, seed=8).double(), latents(4, seed=9).double()
    A = root @ root.t()
    return lambda z: ((z - c) @ A * (z - c)).sum() / 2, lambda z: (z - c) @ A


@pytest.mark.parametrize("name", ("exact", "hessian"))
def test_second_pass_gives_the_gradient_at_z(name):
    """Exact always; the Hessian form on a quadratic, where second order is all there is."""
    value, slope = quadratic()
    vq = build(name, gamma=0.0, beta=0.0).double()
    z = latents(7, 4).double().requires_grad_()
    out = vq(z, objective=value)
    (value(out.z_q) + out.loss).backward()
    torch.testing.assert_close(z.grad, slope(z.detach()), rtol=1e-6, atol=1e-6)
    assert not torch.allclose(slope(out.z_q.detach()), slope(z.detach()))


def test_exact_moves_a_decoder_by_one_part_in_a_million():
    decoder = nn.Linear(4, 3).double()
    vq, z = build("exact").double(), latents(7, 4).double()
    objective = lambda z: decoder(z).square().sum()  # noqa: E731
    out = vq(z, objective=objective)
    (first,) = torch.autograd.grad(objective(out.z_q), decoder.weight, retain_graph=True)
    (second,) = torch.autograd.grad(out.loss, decoder.weight)
    (at_z,) = torch.autograd.grad(objective(z), decoder.weight)
    torch.testing.assert_close(second, 1e-6 * at_z)
    assert second.abs().max() < 1e-5 * first.abs().max()


def test_a_second_pass_keeps_what_is_set_on_the_quantiser():
    """The seed of revival, which a run sets after building, is that of the quantiser itself."""
    chosen = []
    for seed in (1, 1, 2):
        vq = build("exact", size=30, revival="threshold", initial_count=0.0)
        vq.seed = seed
        for call_ in range(2):
            call(vq, latents(64, 4, seed=call_))
        chosen.append(vq.codes.detach().clone())
    assert torch.equal(chosen[0], chosen[1]) and not torch.equal(chosen[0], chosen[2])


def test_hessian_adds_nothing_to_the_loss_and_needs_no_curvature():
    plain, vq, z = build("vq"), build("hessian"), latents(7, 4).requires_grad_()
    out = vq(z, objective=lambda z: z.sum())  # linear: no Hessian at all
    assert out.loss.item() == pytest.approx(plain(z).loss.item())
    with pytest.raises(ValueError, match="needs the objective"):
        vq(z)
    assert vq.eval()(z).z_q.shape == z.shape


@pytest.mark.parametrize("estimator", ("ste", "rotation", "scale_only"))
def test_simvq_moves_all_codes_and_goes_with_any_estimator(estimator):
    vq, z = build("simvq", estimator=estimator), latents(2, 4).requires_grad_()
    out = vq(z)
    before = vq.codes.detach().clone()
    (out.z_q.sum() + out.loss).backward()
    q = before[out.indices]
    want = ESTIMATORS[estimator].pull_back(z.detach(), q, torch.ones(2, 4)) + 0.25 * 2 * (z.detach() - q) / 8
    torch.testing.assert_close(z.grad, want)
    assert vq.codebook.weight.grad is None
    with torch.no_grad():
        vq.codebook.form.map -= vq.codebook.form.map.grad
    assert (vq.codes != before).any(-1).all()  # two latents moved all twelve codes


def test_noise_is_standard_normal_and_depends_on_seed_and_call():
    noise = Noise(seed=1)
    first, second = noise.normal(torch.empty(20_000)), noise.normal(torch.empty(20_000))
    assert not torch.equal(first, second) and torch.equal(Noise(seed=1).normal(torch.empty(20_000)), first)
    assert not torch.equal(Noise(seed=2).normal(torch.empty(20_000)), first)
    assert first.isfinite().all() and abs(first.mean()) < 5 / math.sqrt(20_000)
    assert first.std().item() == pytest.approx(1, rel=0.03)
