"""Projected and Summed: values, masks, layouts and gradients against the same written out."""

import pytest
import torch
from torch.nn import functional as F

from rotvq import VectorQuantizer
from rotvq.quantizers.grouped import Grouped
from rotvq.quantizers.projected import Projected, Summed
from rotvq.quantizers.residual import ResidualVectorQuantizer

DIM, INNER, SIZE = 6, 4, 12


def latents(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


INSIDE = {
    "one": lambda **more: VectorQuantizer(INNER, SIZE, init="normal", **more),
    "heads": lambda **more: VectorQuantizer(INNER // 2, SIZE, heads=2, init="normal", **more),
    "cascade": lambda **more: ResidualVectorQuantizer(INNER, SIZE, 3, init="normal", **more),
    "groups": lambda **more: Grouped(VectorQuantizer(INNER // 2, SIZE, init="normal", **more) for _ in range(2)),
}
AXES = {"one": (), "heads": (2,), "cascade": (3,), "groups": (2,)}


@pytest.mark.parametrize("bias", (True, False))
@pytest.mark.parametrize("name", INSIDE)
def test_a_map_before_and_one_behind(name, bias):
    torch.manual_seed(0)
    vq = Projected(INSIDE[name](), DIM, bias=bias)
    x, g = latents(3, 5, DIM).requires_grad_(), latents(3, 5, DIM, seed=1)
    out = vq(x)
    inside = vq.layers[0](F.linear(x, vq.reduce.weight, vq.reduce.bias))
    want = F.linear(inside.z_q, vq.expand.weight, vq.expand.bias)
    assert torch.equal(out.z_q, want) and torch.equal(out.indices, inside.indices)
    assert out.indices.shape == (3, 5, *AXES[name])
    assert torch.equal(out.loss, inside.loss) and (vq.expand.bias is None) != bias
    slopes = [torch.autograd.grad((z_q * g).sum() + loss, x)[0] for z_q, _, loss in (out, (want, None, inside.loss))]
    torch.testing.assert_close(*slopes)
    torch.testing.assert_close(vq.decode(out.indices), out.z_q)
    assert torch.equal(vq.encode(x), out.indices)


@pytest.mark.parametrize(
    "shape", ((3, DIM, 5), (3, DIM, 5, 7), (3, DIM, 2, 5, 7)), ids=lambda shape: f"{len(shape)} axes"
)
@pytest.mark.parametrize("last", (False, True))
@pytest.mark.parametrize("name", ("projected", "groups", "groups of cascades", "once", "summed"))
def test_memory_format_of_the_input(name, last, shape):
    torch.manual_seed(0)
    first = {"channel_first": True}
    cascade = lambda dim, **more: ResidualVectorQuantizer(dim, SIZE, 2, init="normal", **first, **more)  # noqa: E731
    vq = {
        "projected": lambda: Projected(INSIDE["one"](**first), DIM),
        "groups": lambda: Grouped(VectorQuantizer(DIM // 2, SIZE, init="normal", **first) for _ in range(2)),
        "groups of cascades": lambda: Grouped(cascade(DIM // 2) for _ in range(2)),
        "once": lambda: cascade(DIM, wiring="once"),
        "summed": lambda: Summed([cascade(DIM), cascade(DIM)]),
    }[name]()
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    memory_format = formats.get(len(shape), torch.contiguous_format) if last else torch.contiguous_format
    x = latents(*shape)
    out, want = vq(x.contiguous(memory_format=memory_format)), vq(x)
    assert torch.equal(out.z_q, want.z_q) and torch.equal(out.indices, want.indices)
    assert out.z_q.is_contiguous(memory_format=memory_format)
    assert vq.decode(out.indices).is_contiguous()


@pytest.mark.parametrize("name", INSIDE)
def test_channels_first_and_masked(name):
    torch.manual_seed(0)
    last, first = Projected(INSIDE[name](), DIM), Projected(INSIDE[name](channel_first=True), DIM)
    first.load_state_dict(last.state_dict())
    x, mask = latents(3, 5, DIM), torch.arange(5).expand(3, 5) < torch.tensor([[5], [3], [1]])
    x[~mask] = torch.nan
    (z_q, indices, loss), other = last(x, mask), first(x.movedim(-1, 1), mask)
    torch.testing.assert_close(other.z_q.movedim(1, -1), z_q, equal_nan=True)
    assert torch.equal(other.indices, indices)
    torch.testing.assert_close(other.loss, loss)
    assert (indices[~mask] == -1).all() and z_q[~mask].isnan().all()
    kept = last(x[mask])
    torch.testing.assert_close((z_q[mask], loss), (kept.z_q, kept.loss))


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float64))
def test_dtype_of_the_input(dtype):
    vq = Projected(INSIDE["cascade"](), DIM)
    assert vq(latents(3, 5, DIM).to(dtype)).z_q.dtype == dtype


def test_one_switch_freezes_and_groups_may_be_projected():
    vq = Grouped(Projected(INSIDE["cascade"](update="ema"), DIM) for _ in range(2))
    before = {key: value.clone() for key, value in vq.state_dict().items() if "weight" in key}
    vq.frozen = True
    for seed in range(3):
        out = vq(latents(3, 5, 2 * DIM, seed=seed))
    assert out.indices.shape == (3, 5, 2, 3)
    assert vq.frozen and all(torch.equal(value, vq.state_dict()[key]) for key, value in before.items())


def test_side_by_side():
    torch.manual_seed(0)
    one, two = (ResidualVectorQuantizer(DIM, SIZE, n, init="normal") for n in (1, 2))
    vq, x, mask = Summed([one, two]).eval(), latents(3, 5, DIM), torch.arange(15).reshape(3, 5) > 6
    out, parts = vq(x), (one(x), two(x))
    assert torch.equal(out.z_q, parts[0].z_q + parts[1].z_q) and torch.equal(out.loss, parts[0].loss + parts[1].loss)
    assert torch.equal(out.indices, torch.cat([part.indices for part in parts], -1))
    assert torch.equal(vq.encode(x), out.indices)
    torch.testing.assert_close(vq.decode(out.indices), out.z_q)
    masked = vq(x, mask)
    assert torch.equal(masked.z_q[mask], out.z_q[mask]) and torch.equal(masked.z_q[~mask], x[~mask])
    assert (masked.indices[~mask] == -1).all()
    assert len(vq(x, details=True).groups) == 2


@pytest.mark.parametrize("name", INSIDE)
def test_exported_with_shapes_that_vary(name):
    vq, x, other = Projected(INSIDE[name](), DIM).eval(), latents(8, 5, DIM), latents(3, 9, DIM, seed=1)
    varying = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(vq, (x,), dynamic_shapes=varying).module()
    torch.testing.assert_close(exported(other), tuple(vq(other)))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # raised by torch.compile itself
def test_compiled_without_a_graph_break():
    torch.compiler.reset()
    vq = Projected(INSIDE["cascade"](), DIM)
    x = latents(3, 5, DIM)
    compiled = torch.compile(vq, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), vq(x))
