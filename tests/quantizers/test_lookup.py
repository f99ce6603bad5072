"""The lookup: right codes against float64, ties, degenerate inputs, dtypes, bounded memory, compilation and export."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from rotvq import nearest
from rotvq.quantizers import lookup
from rotvq.quantizers.geometry import unit

ENGINES = tuple(name for name in lookup.ENGINES if name != "faiss" or lookup.HAS_FAISS)
every_engine = pytest.mark.parametrize("engine", ENGINES)


def oracle(z, codes):
    """The nearest code in float64, and by how much it is nearer than the second, relative to that distance."""
    z, codes = z.double(), codes.double()
    squares = torch.cat([(part[:, None] - codes).square().sum(-1) for part in z.split(256)])
    first, second = squares.topk(2, largest=False).values.t()
    return squares.argmin(-1), (second - first) / second


PLACES = {
    "scale 1e-5": (1e-5, 0),
    "unit": (1, 0),
    "scale 1e5": (1e5, 0),
    "offset of 100 std": (0.1, 10),
    "offset of 10,000 std": (0.1, 1000),
}
CODEBOOKS = {  # what else lies among the codes
    "all near the latents": lambda codes, scale: codes,
    "most unused, at the origin": lambda codes, scale: torch.cat([codes[:50], codes[50:].sin() * scale / 99]),
    "all at the origin": lambda codes, scale: (codes * 1e6 / scale).sin() * scale / len(codes),
    "some flung far away": lambda codes, scale: torch.cat([torch.full_like(codes[:9], 1e6 * scale), codes[9:]]),
}


@every_engine
@pytest.mark.parametrize("d, K", ((1, 9), (3, 512), (8, 700), (32, 200)))
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("codebook", CODEBOOKS)
def test_indices_are_right(place, codebook, d, K, engine):
    generator = torch.Generator().manual_seed(d)
    scale, offset = PLACES[place]
    z = torch.randn(500, d, generator=generator) * scale + offset
    codes = CODEBOOKS[codebook](torch.randn(K, d, generator=generator) * scale + offset, scale)
    want, lead = oracle(z, codes)
    got = nearest(z, codes, engine=engine)
    # a lead of some roundings of float32 cannot be seen by a computation in float32
    assert not ((got != want) & (lead > 1e-6)).any()
    if engine != "faiss":  # which rounds distances; where all codes are about as near, products tell them apart
        assert (got != want).sum() <= 1


@every_engine
def test_one_far_latent_leaves_the_others_right(engine):
    torch.manual_seed(0)
    z, codes = torch.randn(300, 4), torch.randn(64, 4)
    want, _ = oracle(z, codes)
    for far in (1e10, 1e30):
        z[7] = far * codes[3]
        got = nearest(z, codes, engine=engine)
        assert torch.equal(got[:7], want[:7]) and torch.equal(got[8:], want[8:])
        assert got[7] == (codes.double() @ codes[3].double()).argmax()  # so far away, only directions count


@every_engine
@pytest.mark.parametrize("scale_z", (1e-30, 1.0, 1e30))
@pytest.mark.parametrize("scale_codes", (1e-30, 1.0, 1e30))
def test_extreme_norms(scale_z, scale_codes, engine):
    torch.manual_seed(0)
    z, codes = torch.randn(200, 5) * scale_z, torch.randn(40, 5) * scale_codes
    for metric in ("euclidean", "cosine"):
        want = oracle(unit(z.double()), unit(codes.double()))[0] if metric == "cosine" else oracle(z, codes)[0]
        if scale_z > scale_codes and metric == "euclidean":  # differences of distances are below float64 too
            want = (z.double() @ codes.double().t()).argmax(-1)
        assert torch.equal(nearest(z, codes, metric, engine=engine), want)


@every_engine
def test_subnormal_codes(engine):
    codes = torch.tensor([[0.0, 2e-42], [3e-42, 0.0], [-3e-42, 0.0]])
    z = torch.tensor([[1.0, 0.0], [-1e-42, 0.0], [0.0, 1e-20], [0.0, 0.0]])
    assert nearest(z, codes, engine=engine).tolist() == [1, 2, 0, 0]


@every_engine
@pytest.mark.parametrize("metric", ("euclidean", "cosine"))
@pytest.mark.parametrize("d", (1, 2, 3, 8, 33))
@pytest.mark.parametrize("K", (2, 7, 33, 64, 515, 8200))
def test_copies_of_a_code_go_to_the_lowest_index(K, d, metric, engine):
    """Also where the copies fall into different blocks and tiles."""
    generator = torch.Generator().manual_seed(K + d)
    distinct = torch.randn(max(K // 4, 2), d, generator=generator)
    if metric == "cosine":
        distinct = unit(distinct).unique(dim=0)
    copy_of = torch.randint(len(distinct), (K,), generator=generator)
    first = torch.full((len(distinct),), K).scatter_reduce(0, copy_of, torch.arange(K), "amin")
    got = nearest(torch.randn(300, d, generator=generator), distinct[copy_of], metric, 1 << 20, engine)
    assert torch.equal(got, first[copy_of[got]]) or engine == "plain"  # a product may round copies differently


@every_engine
def test_exact_ties_go_to_the_lowest_index(engine):
    grid = torch.arange(-4.0, 5)[torch.randperm(9, generator=torch.Generator().manual_seed(0))]
    halves = torch.arange(-8.0, 9)[:, None] / 2
    squares = (halves - grid).square()
    for offset in (0.0, 1000.0):  # a grid stays a grid: everything here is exact in float32
        got = nearest(halves + offset, grid[:, None] + offset, engine=engine)
        assert torch.equal(got, squares.argmin(-1))
    assert nearest(torch.zeros(3, 2), torch.ones(5, 2), engine=engine).eq(0).all()
    assert nearest(torch.zeros(3, 2), torch.eye(2), "cosine", engine=engine).eq(0).all()  # cosine 0 with both


@every_engine
@pytest.mark.parametrize("shape", ((0, 3), (3,), (4, 0, 3), (2, 5, 3), (2, 2, 2, 3)))
def test_shapes(shape, engine):
    codes = torch.randn(6, 3)
    got = nearest(torch.randn(shape), codes, engine=engine)
    assert got.shape == shape[:-1] and got.dtype == torch.int64
    assert nearest(torch.randn(shape), codes[:1], engine=engine).eq(0).all()


@every_engine
def test_strides_do_not_matter(engine):
    z, codes = torch.randn(4, 6, 5), torch.randn(6, 9)
    want = nearest(z.movedim(1, -1).contiguous(), codes.t().contiguous(), engine=engine)
    assert torch.equal(nearest(z.movedim(1, -1), codes.t(), engine=engine), want)
    want = nearest(codes.t().contiguous(), codes.t()[1:], engine=engine)
    assert torch.equal(nearest(codes.t(), codes.t()[1:], engine=engine), want)


@every_engine
@pytest.mark.parametrize("dtype", (torch.float64, torch.float32, torch.bfloat16, torch.float16))
def test_dtypes_and_autocast(dtype, engine):
    """Half precision is widened, never computed in: bf16 products choose 1 to 6 % wrong codes."""
    torch.manual_seed(0)
    z, codes = (torch.randn(500, 16).to(dtype), torch.randn(200, 16).to(dtype))
    want, lead = oracle(z, codes)
    plain = nearest(z, codes, engine=engine)
    assert not ((plain != want) & (lead > 1e-6)).any()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nearest(z, codes, engine=engine), plain)
        assert torch.equal(nearest(z, codes.float(), engine=engine), plain)


@every_engine
def test_memory_argument_does_not_change_the_answer(engine):
    torch.manual_seed(0)
    z, codes = torch.randn(700, 6), torch.randn(3000, 6)
    want = nearest(z, codes, engine=engine)
    for memory in (1 << 14, 1 << 19):
        assert torch.equal(nearest(z, codes, memory=memory, engine=engine), want)


@every_engine
@pytest.mark.parametrize("n", (1, 15, 16, 17, 2049))
def test_batches_of_any_size(n, engine):
    """Products are taken of 16 images of latents: what fills the last of them up must not be seen."""
    torch.manual_seed(n)
    z, codes = torch.randn(n, 32), torch.randn(512, 32)
    want, lead = oracle(z, codes)
    for got in (nearest(z, codes, engine=engine), nearest(torch.cat([z, 1e3 * z]), codes, engine=engine)[:n]):
        assert not ((got != want) & (lead > 1e-6)).any()


def test_without_onednn(monkeypatch):
    torch.manual_seed(0)
    z, codes = torch.randn(700, 32), torch.randn(512, 32)
    want, lead = oracle(z, codes)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.nn.functional, "conv2d", None)  # not called: a convolution without oneDNN would be slow
    assert not ((nearest(z, codes) != want) & (lead > 1e-6)).any()


LARGE = """
import resource, torch
torch.set_num_threads(1)
from rotvq import nearest
z, codes = torch.randn(16384, 8), torch.randn(65536, 8)
nearest(z[:2000], codes[:2000])  # the libraries' own buffers
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
indices = nearest(z, codes)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
want = torch.cdist(z[:200].double(), codes.double()).argmin(-1)
assert torch.equal(indices[:200], want)
"""


def test_large_problem_in_little_memory():
    """The matrix of distances would have 4 GiB. Peak resident memory of a process of its own."""
    out = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    assert int(out.stdout) <= 64  # MiB, the default bound


@every_engine
@pytest.mark.parametrize("metric", ("euclidean", "cosine"))
@pytest.mark.parametrize("bad", (torch.nan, torch.inf, -torch.inf, 1e9, -1e30))
def test_what_is_not_finite_or_far_leaves_the_others_right(bad, metric, engine):
    """Also where digits are few: far from the origin, at which an unused code lies."""
    torch.manual_seed(0)
    z, codes = torch.randn(400, 8), torch.randn(100, 8)
    if metric == "euclidean":
        z, codes = z * 0.1 + 1000, codes * 0.1 + 1000
        codes[0] = 0
    want = nearest(z, codes, metric)
    z[::7, 3] = bad
    got = nearest(z, codes, metric, engine=engine)
    assert torch.equal(got[1:7], want[1:7]) and (got == want)[1::7].all()
    assert ((got >= 0) & (got < 100)).all()


@pytest.mark.skipif(not lookup.HAS_FAISS, reason="faiss-cpu is not installed")
class TestFaiss:
    """The engine "faiss" is FAISS where it can be, and "tiles" where FAISS would be wrong or has no kernel."""

    searches = ()

    @pytest.fixture(autouse=True)
    def _watched(self, monkeypatch):
        search, self.searches = lookup._faiss_search, []
        monkeypatch.setattr(lookup, "_faiss_search", lambda z, codes: self.searches.append(len(z)) or search(z, codes))
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")

    @pytest.mark.parametrize(("d", "by_default"), ((8, 1), (16, 1), (17, 0), (32, 0)))
    def test_by_default_it_searches_where_it_is_faster_for_any_codebook(self, d, by_default, monkeypatch):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
        z, codes = torch.randn(300, d), torch.randn(70, d)
        with torch.inference_mode():
            nearest(z, codes)
            assert len(self.searches) == by_default
            nearest(z, codes, engine="faiss")
        assert len(self.searches) == by_default + 1

    def test_where_it_searches(self):
        z, codes = torch.randn(300, 8), torch.randn(70, 8)
        for engine, inference, n in (
            ("faiss", False, 1),
            ("faiss", True, 2),
            ("tiles", True, 2),
            ("plain", True, 2),
            (None, False, 2),
            (None, True, 3),
        ):
            with torch.inference_mode(inference):
                nearest(z, codes, engine=engine)
            with torch.no_grad():
                nearest(z, codes, engine=None)
            assert len(self.searches) == n
        self.searches.clear()
        for metric, case in (
            ("euclidean", (z.double(), codes)),
            ("euclidean", (torch.randn(30, 17), torch.randn(9, 17))),
            ("cosine", (z, torch.cat([codes, torch.zeros(1, 8)]))),  # cosine 0, but a distance as of cosine 1/2
        ):
            assert torch.equal(nearest(*case, metric, engine="faiss"), nearest(*case, metric))
        assert torch.equal(nearest(z, codes, memory=1000, engine="faiss"), nearest(z, codes))
        assert self.searches == []
        nearest(z, codes, memory=32 * 12 * 100, engine="faiss")
        assert self.searches == [100, 100, 100]

    @pytest.mark.parametrize("metric", ("euclidean", "cosine"))
    def test_agrees_with_tiles(self, metric):
        """On random latents no lead is as small as a rounding; those far from the codes are looked up by "tiles"."""
        torch.manual_seed(0)
        for n, d, k in ((3000, 8, 1000), (3000, 3, 65), (500, 16, 4096), (3, 5, 7), (1, 1, 2)):
            z, codes = torch.randn(n, d) * torch.rand(n, 1).pow(-2), torch.randn(k, d)
            assert torch.equal(nearest(z, codes, metric, engine="faiss"), nearest(z, codes, metric))

    def test_a_zero_latent_is_as_near_to_all_codes_by_cosine(self):
        codes = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
        assert nearest(torch.zeros(20, 8), codes, "cosine", engine="faiss").eq(0).all()

    def test_settings_of_faiss_are_left_alone(self, monkeypatch):
        import faiss

        def settings():
            return faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_threshold

        knn, seen, before = faiss.knn, [], settings()
        monkeypatch.setattr(faiss, "knn", lambda *arguments: seen.append(settings()) or knn(*arguments))
        monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
        nearest(torch.randn(3, 4), torch.randn(5, 4), engine="faiss")
        assert seen == [(3, 0)] and settings() == before != seen[0]


def test_without_faiss(monkeypatch):
    monkeypatch.setattr(lookup, "HAS_FAISS", False)
    monkeypatch.setattr(lookup, "_faiss_search", None)
    z, codes = torch.randn(30, 4), torch.randn(9, 4)
    with torch.inference_mode():
        assert torch.equal(nearest(z, codes), nearest(z, codes, engine="tiles"))
    assert torch.equal(torch.ops.rotvq.nearest_faiss(z, codes, "euclidean", 1 << 20), nearest(z, codes))
    with pytest.raises(ValueError, match="engine 'faiss' needs the package faiss-cpu"):
        nearest(z, codes, engine="faiss")


def test_errors():
    with pytest.raises(ValueError, match="unknown engine 'cuda': one of tiles, plain, faiss, or None"):
        nearest(torch.ones(2, 3), torch.ones(4, 3), engine="cuda")
    with pytest.raises(ValueError, match="unknown lookup 'manhattan': one of euclidean, cosine"):
        nearest(torch.ones(2, 3), torch.ones(4, 3), "manhattan")
    for codes in (torch.ones(4, 2), torch.ones(0, 3), torch.ones(3)):
        with pytest.raises(ValueError, match=r"needed are \(K, d\)"):
            nearest(torch.ones(2, 3), codes)


def test_unit_is_finite_and_differentiable_everywhere():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [3e-30, 4e-30], [3e30, 4e30]], requires_grad=True)
    out = unit(x)
    torch.testing.assert_close(out, torch.tensor([[0.6, 0.8], [0, 0], [0.6, 0.8], [0.6, 0.8]]))
    out.sum().backward()
    assert x.grad[[0, 1, 3]].isfinite().all()  # at 1e-30 the gradient is 1e30 times that of row 0: also finite
    torch.testing.assert_close(x.grad[2] * 1e-30, x.grad[0] * 5 / 5)
    points = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit, points)


class Lookup(nn.Module):
    def __init__(self, engine, metric="euclidean"):
        super().__init__()
        self.engine, self.metric = engine, metric

    def forward(self, z, codes):
        return nearest(z, codes, self.metric, engine=self.engine)


@every_engine
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's export uses old parts of torch
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_compiles_and_exports(engine):
    z, codes = torch.randn(4, 7, 5), torch.randn(30, 5)
    want = nearest(z, codes)
    compiled = torch.compile(Lookup(engine), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(z, codes), want)
    compiled = torch.compile(Lookup(None), fullgraph=True, backend="aot_eager")
    with torch.inference_mode():
        assert torch.equal(compiled(z, codes), want)
    batch = torch.export.Dim("batch")
    program = torch.export.export(Lookup(engine), (z, codes), dynamic_shapes=({0: batch}, None))
    assert torch.equal(program.module()(torch.cat([z, z]), codes), torch.cat([want, want]))
    named = {str(node.target) for node in program.graph.nodes if "rotvq" in str(node.target)}
    assert bool(named) == (engine != "plain")  # an operator that only rotvq knows
    if engine != "plain":
        operator = getattr(torch.ops.rotvq, {"tiles": "nearest", "faiss": "nearest_faiss"}[engine])
        torch.library.opcheck(operator.default, (z[0], codes, "euclidean", 1 << 20))


class Operators(TorchDispatchMode):
    """The names of those that are called inside."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names = {*getattr(self, "names", ()), str(function)}
        return function(*args, **(kwargs or {}))


@pytest.mark.filterwarnings("ignore")  # torch's, of its own way to trace
def test_who_looks_at_operators_sees_one(monkeypatch):
    """All others are spared torch's way to call it, which costs more than a lookup among few codes."""
    find = partial(nearest, memory=1 << 10)  # some codes at a time
    z, codes = torch.randn(7, 5), torch.randn(300, 5)
    want = find(z, codes)
    with Operators() as seen:
        assert torch.equal(find(z, codes), want)
    assert "rotvq.nearest.default" in seen.names and not any("conv" in name or "max" in name for name in seen.names)
    fake = FakeTensorMode()
    assert find(fake.from_tensor(z), fake.from_tensor(codes)).shape == (7,)
    assert find(z.to("meta"), codes.to("meta")).is_meta
    assert torch.equal(torch.func.vmap(find, in_dims=(0, None))(z.expand(2, 7, 5), codes), want.expand(2, 7))
    assert "rotvq::nearest" in str(torch.jit.trace(lambda z: find(z, codes), z).graph)
    monkeypatch.setattr(lookup, "OPERATORS", dict.fromkeys(lookup.OPERATORS))
    assert torch.equal(find(z, codes), want)


@pytest.mark.parametrize("metric", ("euclidean", "cosine"))
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_plain_becomes_onnx(metric, tmp_path):
    """With any number of latents; the offset and the far latent show that its care for digits came along."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    generator = torch.Generator().manual_seed(0)
    z, codes = torch.randn(2, 50, 5, generator=generator) * 0.1, torch.randn(300, 5, generator=generator) * 0.1
    z, codes = (z, codes) if metric == "cosine" else (z + 10, codes + 10)
    z[0, 0] *= 1e20
    file = tmp_path / "lookup.onnx"
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        Lookup("plain", metric).eval(),
        (z, codes),
        str(file),
        dynamic_shapes=({0: batch}, None),
        dynamo=True,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    for batches in (z, torch.cat([z, z.flip(0), z[:1]])):
        (got,) = session.run(None, dict(zip(names, (batches.numpy(), codes.numpy()))))
        assert torch.equal(torch.from_numpy(got), nearest(batches, codes, metric))


def test_products_on_a_gpu_are_in_float32_whatever_the_user_allows():
    settings = torch.backends.cuda.matmul
    before = settings.fp32_precision
    try:
        for allowed in ("tf32", "ieee"):
            settings.fp32_precision = allowed
            with lookup.full_float32(torch.device("cuda", 1)):
                assert settings.fp32_precision == "ieee"
            assert settings.fp32_precision == allowed
            with lookup.full_float32(torch.device("cpu")):
                assert settings.fp32_precision == allowed
    finally:
        settings.fp32_precision = before


def test_more_memory_on_a_gpu():
    on_cpu, on_gpu = (lookup.working_memory(torch.device(kind)) for kind in ("cpu", "cuda"))
    assert (on_cpu, on_gpu) == (64 << 20, 256 << 20) and lookup.working_memory(torch.device("cuda"), 7) == 7
