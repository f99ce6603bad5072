"""Estimators: exact values, degenerate inputs, dtypes, compilation and errors. Their laws are in test_laws.py."""

import math
import shutil

import pytest
import torch
from conftest import ROOT
from torch import nn

from rotvq import VectorQuantizer, rotate, straight_through
from rotvq.quantizers.blockwise import BLOCK
from rotvq.quantizers.estimators import CLIPS, ESTIMATORS, FADES, Estimator, estimator
from rotvq.quantizers.geometry import R_MAX, geometry

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
OLD_WARNING = "ignore:.*should not be instantiated:DeprecationWarning"  # raised by torch.compile itself


def pair(*shape, dtype=torch.float32, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    z, q, g = (torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(3))
    return [x.to(dtype) for x in (z * scale, q * scale, g)]


def pulled(member, z, q, g, **context):
    """The gradient as autograd gives it."""
    z = z.detach().requires_grad_()
    (member(z, q, **context) * g).sum().backward()
    return z.grad


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_value_is_q_bit_for_bit(name, dtype):
    for scale in (1.0, 1e-4, 1e3):
        z, q, _ = pair(50, 7, dtype=dtype, scale=scale)
        q[0, 0] = -0.0
        out = ESTIMATORS[name](z.requires_grad_(), q, mix=0.3, centre=torch.ones(7, dtype=dtype))
        assert out.dtype == dtype and torch.equal(out, q)
        assert torch.equal(out.signbit(), q.signbit())  # 0.0 == -0.0, so equal() alone would not see it
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = nn.Linear(7, 7)(torch.randn(50, 7))
        q = torch.randn(50, 7)
        assert z.dtype == torch.bfloat16
        assert torch.equal(ESTIMATORS[name](z, q), q)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_gradient_in_half_precision_is_the_rounded_float32_one(name, dtype):
    z, q, g = pair(40, 9, dtype=dtype)
    got = pulled(ESTIMATORS[name], z, q, g)
    want = ESTIMATORS[name].pull_back(z.double(), q.double(), g.double())
    assert got.dtype == dtype
    # computed in float32 at least: some 100 roundings of 1.2e-7, then one rounding to the dtype of g
    bound = torch.finfo(dtype).eps + (1e-5 if dtype != torch.float64 else 1e-13)
    assert (got - want).abs().amax() <= bound * want.abs().amax()


def unit_pair(d):
    z, q, g = pair(1, d, dtype=torch.float64, seed=3)
    return z / z.norm(), q / q.norm(), g


# z, q -> what G^T g is for the rotation r R, from the limit that the docstrings state; None: only finite
z1, q1, g1 = unit_pair(5)
DEGENERATE = {
    "z = 0: G = I": (0 * z1, q1, g1),
    "z = q = 0: G = I": (0 * z1, 0 * z1, g1),
    "q = 0: G = 0": (z1, 0 * z1, 0 * g1),
    "equal: G = I": (z1, z1, g1),
    "parallel: G = r I": (z1, 3 * z1, 3 * g1),
    "tiny and equal": (z1 * 1e-30, z1 * 1e-30, g1),
    "huge and equal": (z1 * 1e30, z1 * 1e30, g1),
    "huge against tiny": (z1 * 1e-25, z1 * 1e25, g1 * R_MAX),
    "tiny against huge": (z1 * 1e30, z1 * 1e-30, 0 * g1),
    "subnormal": (z1 * 1e-42, q1 * 1e-42, None),
    "norm of z 1e-7": (z1 * 1e-7, q1, None),
    "antiparallel, huge": (z1 * 1e30, z1 * -1e30, None),
}


@pytest.mark.parametrize("dtype", (torch.float64, torch.float32))
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_inputs_give_the_stated_limit(case, dtype):
    z, q, want = (None if x is None else x.to(dtype) for x in DEGENERATE[case])
    got = pulled(ESTIMATORS["rotation"], z, q, g1.to(dtype))
    # a few roundings of vectors of unit size; r is capped at 2^63 exactly
    assert torch.isfinite(got).all()
    if want is not None:
        assert (got - want).abs().max() <= 20 * torch.finfo(dtype).eps * max(1, want.abs().max())
    for name, member in ESTIMATORS.items():
        assert torch.isfinite(pulled(member, z, q, g1.to(dtype))).all(), name
        assert torch.equal(member(z, q), q)
    assert all(torch.isfinite(x).all() for x in geometry(z, q))


@pytest.mark.parametrize("scale", (1e-30, 1e-7, 1.0, 1e7, 1e30))
@pytest.mark.parametrize("name", ESTIMATORS)
def test_scale_of_both_does_not_matter(name, scale):
    z, q, g = pair(20, 6)
    member = ESTIMATORS[name]
    # z and q times a power of two near `scale`: exact, so that only the algorithm can make a difference
    factor = 2.0 ** round(math.log2(scale))
    torch.testing.assert_close(member.pull_back(z * factor, q * factor, g), member.pull_back(z, q, g))


@pytest.mark.parametrize("d", (1, 2, 3, 8, 256))
@pytest.mark.parametrize("dtype", (torch.float64, torch.float32))
def test_half_turn_takes_z_to_q_and_keeps_norms(d, dtype):
    z, _, g = pair(30, d, dtype=dtype)
    back = pulled(ESTIMATORS["rotation"], z, -2 * z, g)
    # <G^T g, z> = <g, Gz> = <g, q> with q = -2z, and |G^T g| = 2 |g|; some d roundings each
    tolerance = 30 * torch.finfo(dtype).eps
    scale = 2 * z.norm(dim=-1) * g.norm(dim=-1)
    assert ((back * z).sum(-1) + 2 * (g * z).sum(-1)).abs().max() <= tolerance * scale.max()
    assert (back.norm(dim=-1) / (2 * g.norm(dim=-1)) - 1).abs().max() <= tolerance


@pytest.mark.parametrize("d", (2, 3, 8, 32, 256))
@pytest.mark.parametrize("delta", (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7))
def test_near_antiparallel_in_float32(d, delta):
    """Norm to 1e-6 and direction to 8 eps / (pi - theta), the conditioning of the problem, against float64."""
    z, u, g = pair(500, d, dtype=torch.float64)
    z = z / z.norm(dim=-1, keepdim=True)
    u = u - (u * z).sum(-1, keepdim=True) * z
    q = -math.cos(delta) * z + math.sin(delta) * u / u.norm(dim=-1, keepdim=True)
    z, q, g = (z * 3).float(), (q * 0.7).float(), g.float()
    member = ESTIMATORS["rotation_only"]
    got, want = pulled(member, z, q, g).double(), member.pull_back(z.double(), q.double(), g.double())
    assert (got.norm(dim=-1) / g.double().norm(dim=-1) - 1).abs().max() <= 1e-6
    gap = math.pi - geometry(z.double(), q.double())[1]  # of the rounded vectors, which is what R is defined by
    error = (got - want).norm(dim=-1) / want.norm(dim=-1)
    assert (error * gap).max() <= 8 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("shape", ((0, 4), (3, 0, 4), (4,), (2, 3, 4), (2, 2, 2, 1)))
def test_every_shape(shape):
    z, q, g = pair(*shape)
    for member in ESTIMATORS.values():
        assert pulled(member, z, q, g).shape == shape
    if 0 not in shape:
        rows = [x.reshape(-1, shape[-1]) for x in (z, q, g)]
        assert torch.equal(
            pulled(ESTIMATORS["rotation"], z, q, g).reshape(-1, shape[-1]), pulled(ESTIMATORS["rotation"], *rows)
        )


def test_strides_do_not_matter():
    z, q, g = pair(5, 6, 7)
    moved = [x.movedim(1, -1).contiguous().movedim(-1, 1) for x in (z, q, g)]
    assert not moved[0].is_contiguous()
    torch.testing.assert_close(pulled(ESTIMATORS["rotation"], *moved), pulled(ESTIMATORS["rotation"], z, q, g))


@pytest.mark.parametrize("context", ({}, {"mix": 0.3}, {"centre": 1}, {"gain": 1}), ids=str)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_chunks_do_not_change_the_gradient(name, context):
    rows = 3 * BLOCK // 16 + 5
    z, q, g = pair(rows, 16)
    context = {
        "mix": {"mix": 0.3},
        "centre": {"centre": torch.ones(16)},
        "gain": {"gain": torch.linspace(0.5, 2, rows)[:, None]},
    }.get(*context or [None], {})
    member = ESTIMATORS[name]
    with torch.no_grad():
        chunked = member.pull_back(z, q, g, **context)
    with torch.enable_grad():  # one piece, as for a second derivative
        whole = member.pull_back(z, q, g, **context)
    torch.testing.assert_close(chunked, whole, rtol=1e-6, atol=1e-6)  # a mean over rows may be summed in another order


def test_nothing_inside_the_stop_gradient_gets_a_gradient():
    z, q, g = pair(6, 4)
    inside = {"mix": torch.tensor(0.5), "centre": torch.ones(4), "gain": torch.ones(6, 1)}
    for tensor in (q, *inside.values()):
        tensor.requires_grad_()
    z.requires_grad_()
    (ESTIMATORS["rotation"](z, q, **inside) * g).sum().backward()
    assert z.grad.abs().sum() > 0
    assert q.grad is None and all(tensor.grad is None for tensor in inside.values())


MEMBERS = {
    **{name: member for name, member in ESTIMATORS.items() if member.has_short_form},
    "all of it": Estimator("rotation", (0.5, 2.0), radial=False, mix=0.3),
}


@pytest.mark.parametrize("gained", (False, True))
@pytest.mark.parametrize("name", MEMBERS)
def test_short_form_is_the_equation(name, gained):
    """Five inner products against the composition, at every angle and at norms that are and are not ordinary."""
    z, u, g = pair(400, 6, dtype=torch.float64)
    u = u - (u * z).sum(-1, keepdim=True) / z.square().sum(-1, keepdim=True) * z
    z, u = (x / x.norm(dim=-1, keepdim=True) for x in (z, u))
    angle = torch.linspace(0, math.pi, 400, dtype=torch.float64)[:, None]
    size = 10.0 ** torch.linspace(-9, 9, 19, dtype=torch.float64).repeat(22)[:400, None]
    z, q = z * size, (angle.cos() * z + angle.sin() * u) * size.flip(0)
    member, gain = MEMBERS[name], torch.rand(400, 1, dtype=torch.float64) if gained else None
    short = member._short_form(g, z, q, gain, member.mix)
    want = member._composition(g, z, q, gain, member.mix)
    assert member.has_short_form and (short != want).any()  # it is another computation
    assert ((short - want).norm(dim=-1) <= 1e-14 * (want.norm(dim=-1) + g.norm(dim=-1))).all()
    odd = ((angle > 2.1) | (size < 9e-7) | (size > 1.1e6) | (size.flip(0) < 9e-7) | (size.flip(0) > 1.1e6))[:, 0]
    assert torch.equal(short[odd], want[odd])


def test_several_gradients_at_once():
    z, q, _ = pair(3, 4)
    z_q = rotate(z.requires_grad_(), q)
    basis = torch.eye(12).reshape(12, 3, 4)
    (many,) = torch.autograd.grad(z_q, z, basis, is_grads_batched=True, retain_graph=True)
    torch.testing.assert_close(many, torch.stack([torch.autograd.grad(z_q, z, e, retain_graph=True)[0] for e in basis]))


def test_mix_centre_and_gain_are_what_they_say():
    z, q, g = pair(9, 5, dtype=torch.float64)
    rotation = ESTIMATORS["rotation"]
    full = rotation.pull_back(z, q, g)
    close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)  # noqa: E731
    close(rotation.pull_back(z, q, g, mix=torch.tensor(0.25)), 0.75 * g + 0.25 * full)
    close(rotation.pull_back(z, q, g, mix=0.0), g)
    mu = torch.full((5,), 10.0, dtype=torch.float64)
    close(rotation.pull_back(z + mu, q + mu, g, centre=mu), full)
    gain = torch.rand(9, 1, dtype=torch.float64)
    close(rotation.pull_back(z, q, g, gain=gain), gain * full)
    close(ESTIMATORS["mean_scale"].pull_back(z, q, g), g * (q.norm(dim=-1) / z.norm(dim=-1)).mean())
    for clip in CLIPS.values():
        r = (q.norm(dim=-1, keepdim=True) / z.norm(dim=-1, keepdim=True)).clamp(*clip)
        close(estimator("scale_only", clip).pull_back(z, q, g), r * g)
        close(estimator("clipped", clip).pull_back(z, q, g), r * ESTIMATORS["rotation_only"].pull_back(z, q, g))


def test_presets_and_overrides():
    assert CLIPS == {"conservative": (0.8, 1.2), "medium": (0.5, 2.0), "aggressive": (0.1, 10.0)}
    assert estimator("clipped").clip == CLIPS["medium"]
    assert estimator("rotation", "aggressive").clip == (0.1, 10.0)
    assert estimator("constant", (0.3, 0.3)).pull_back(*pair(2, 3)).equal(0.3 * pair(2, 3)[2])
    assert estimator("rotation", mix=1).mix == 1.0
    assert estimator(Estimator("reflection"), mix=0.5) == Estimator("reflection", mix=0.5)


ERRORS = {
    "unknown estimator 'spin'": lambda: estimator("spin"),
    "one of ste, rotation": lambda: estimator("spin"),
    "unknown clip 'huge'": lambda: estimator("clipped", "huge"),
    "0 <= lo <= hi": lambda: estimator("clipped", (2, 1)),
    "0 <= mix <= 1": lambda: estimator("rotation", mix=1.5),
    "unknown turn 'twist'": lambda: Estimator("twist"),
    "must be equal": lambda: rotate(torch.ones(2, 3), torch.ones(3)),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_allowed(message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message]()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_registry_says_what_a_page_needs(name):
    member = ESTIMATORS[name]
    assert member.formula and member.cost >= 0
    cited = f"{{{member.source}," in (ROOT / "book" / "references.bib").read_text("utf-8")
    assert member.source == "control" or cited


def test_costs_count_inner_products():
    assert ESTIMATORS["ste"].cost == ESTIMATORS["zero"].cost == 0
    assert ESTIMATORS["scale_only"].cost < ESTIMATORS["rotation"].cost < ESTIMATORS["mean_rotation"].cost
    for fade in FADES:
        norms = 2 * (fade != "none")
        assert Estimator("rotation", fade=fade).cost == ESTIMATORS["rotation"].cost + norms
        assert Estimator("reflection", fade=fade).cost == ESTIMATORS["reflection"].cost + norms


@pytest.mark.parametrize("d", [2, 5])
def test_a_fade_makes_a_constant_scale_a_function_of_the_pair(d):
    member = Estimator("identity", (0.5, 0.5), fade="length")
    z, q, g = pair(6, d)
    q = q * z.norm(dim=-1, keepdim=True) / q.norm(dim=-1, keepdim=True) * torch.linspace(0.1, 1.5, 6)[:, None]
    t = (1 - torch.linspace(0.1, 1.5, 6)[:, None]).clamp_min(0)
    assert not member.is_constant and member.cost > 0
    torch.testing.assert_close(member.pull_back(z, q, g), ((1 - t) + 0.5 * t) * g)


def test_two_line_use():
    z, q, g = pair(4, 3)
    assert torch.equal(pulled(lambda z, q: straight_through(z, q), z, q, g), g)
    assert torch.equal(pulled(lambda z, q: rotate(z, q), z, q, g), ESTIMATORS["rotation"].pull_back(z, q, g))


def test_second_derivatives_pass_through_the_constant_G():
    """The Hessian of f(rotate(z, q)) in z is G^T (f'' at q) G: here f'' = diag(w)."""
    z, q, _ = pair(1, 4, dtype=torch.float64)
    w = torch.arange(1.0, 5.0, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(lambda z: (w * rotate(z, q).square()).sum() / 2, z)[0, :, 0]
    G = torch.stack([ESTIMATORS["rotation"].pull_back(z[0], q[0], e) for e in torch.eye(4, dtype=torch.float64)])
    torch.testing.assert_close(hessian, G.t() @ torch.diag(w) @ G, rtol=1e-12, atol=1e-12)


def test_functional_transforms():
    z, q, _ = pair(3, 4)
    jacobians = torch.func.vmap(torch.func.jacrev(rotate))(z, q)
    for i in range(3):
        G = torch.stack([ESTIMATORS["rotation"].pull_back(z[i], q[i], e) for e in torch.eye(4)])
        torch.testing.assert_close(jacobians[i], G)


@pytest.mark.filterwarnings(OLD_WARNING)
@pytest.mark.parametrize("name", ("ste", "rotation", "reflection", "mean_rotation"))
def test_compiles_without_a_graph_break(name):
    torch.compiler.reset()
    z, q, g = pair(5, 6)
    context = {"centre": torch.ones(6), "gain": torch.rand(5, 1), "mix": torch.tensor(0.5)}
    compiled = torch.compile(lambda z, q: ESTIMATORS[name](z, q, **context), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(z.requires_grad_(), q), q)
    torch.testing.assert_close(pulled(compiled, z, q, g), pulled(ESTIMATORS[name], z, q, g, **context))


COMPILER = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler"
)


@COMPILER
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses old parts of torch
@pytest.mark.parametrize("dynamic", (False, True))
@pytest.mark.parametrize("name", ("rotation", "radial_free", "clipped"))
def test_a_compiled_gradient_is_the_eager_one_bit_for_bit(name, dynamic):
    """Also of latents that the short form does not suit, and where the number of latents changes."""
    torch.compiler.reset()
    compiled = torch.compile(ESTIMATORS[name].__call__, fullgraph=True, dynamic=dynamic)
    for rows in (6, 11):
        z, noise, g = pair(rows, 5)
        q = z + 0.3 * noise
        for odd in (q, -z, 0 * z, 1e30 * q, 1e-3 * q - z):
            mixed = torch.cat([odd[:2], q[2:]])
            assert torch.equal(pulled(compiled, z, mixed, g), pulled(ESTIMATORS[name], z, mixed, g))


@COMPILER
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_train_step_compiles_with_the_default_backend():
    torch.manual_seed(0)
    vq, encoder, x = VectorQuantizer(8, 16), nn.Linear(8, 8), torch.randn(64, 8)

    def loss(x):
        z_q, _, extra = vq(encoder(x))
        return z_q.square().mean() + extra

    gradients = []
    for function in (loss, torch.compile(loss, fullgraph=True)):
        encoder.zero_grad()
        vq.zero_grad()
        function(x).backward()
        gradients.append((encoder.weight.grad, vq.codebook.weight.grad))
    torch.testing.assert_close(*gradients)
