"""Export: any number of tokens, plain operations that need no rotvq to load, ONNX."""

import functools
import subprocess
import sys

import pytest
import torch
from torch import nn

from rotvq import ResidualVectorQuantizer, recommended
from rotvq.quantizers.registry import METHODS

DIM, SIZE = 4, 16
OPTIONS = {
    "plain": {},
    "channels first": {"channel_first": True},
    "heads": {"heads": 2, "dim": 2},
    "normalised": {"lookup": "normalised"},
    "cosine": {"lookup": "cosine"},
    "ema": {"update": "ema", "revival": "unused"},
    "projected": {"project_to": 2},
    "about the codes": {"centre": "codebook"},
    "simvq": {"method": "simvq"},
    "nsvq": {"method": "nsvq"},
    "fsq": {"method": "fsq"},
    "gumbel": {"method": "gumbel"},
}
CASCADES = {  # with a beam, whose sums are as many as there are tokens
    "beam": functools.partial(ResidualVectorQuantizer, levels=3, beam=2, engine="plain"),
    "shared": functools.partial(ResidualVectorQuantizer, levels=3, shared=True, engine="plain"),
    "qinco": functools.partial(ResidualVectorQuantizer, levels=2, beam=3, method="qinco", width=8),
}
OPTIONS |= {"sf_diveq": {"method": "sf_diveq"}, **{name: {"method": name} for name in CASCADES}}
STREAMED = {"streamed": {"engine": "tiles"}}
OLD_PARTS = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # that torch uses


def build(method="vq", dim=DIM, **options):
    torch.manual_seed(0)
    if method in CASCADES:
        return CASCADES[method](dim, SIZE, init="normal", **options).eval()
    engine = {} if method in ("fsq", "gumbel") else {"engine": "plain"}
    return METHODS[method](dim, SIZE, **{**engine, **options}).eval()


def latents(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(options):
    return (
        (latents(3, DIM, 5, 6), latents(7, DIM, 5, 6))
        if "channel_first" in options
        else (latents(3, 5, DIM), latents(7, 5, DIM))
    )


class Call(nn.Module):
    """All that a call gives, as a tuple of tensors."""

    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer

    def forward(self, x):
        z_q, indices, loss = self.quantizer(x)
        return z_q, indices, loss, self.quantizer.decode(self.quantizer.encode(x))


@functools.cache
def exported(name):
    """A call, what it is exported to for any batch, and a batch of another size."""
    options = {**OPTIONS, **STREAMED}[name]
    first, second = inputs(options)
    module = Call(build(**options))
    program = torch.export.export(module, (first,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    return module, program, second


@OLD_PARTS
@pytest.mark.parametrize("name", OPTIONS)
def test_the_whole_quantiser_exports_for_any_batch(name):
    module, program, other = exported(name)
    for mine, wanted in zip(program.module()(other), module(other)):
        torch.testing.assert_close(mine, wanted)
    assert "rotvq" not in str(program.graph)


def trained():
    vq = recommended(DIM, SIZE, engine="plain")
    vq(latents(50, DIM))
    return vq.eval()


def loaded():
    vq = recommended(DIM, SIZE, engine="plain")
    vq.load_state_dict(trained().state_dict())
    return vq.eval()


def copied():
    """By hand, so that nothing has looked at whether the codes have started."""
    vq = recommended(DIM, SIZE, engine="plain")
    for key, value in trained().state_dict().items():
        vq.state_dict()[key].copy_(value)
    return vq.eval()


@OLD_PARTS
def test_codes_that_were_copied_compile():
    vq, (first, _) = copied(), inputs({})
    compiled = torch.compile(vq, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(first)[1], vq(first)[1])


@OLD_PARTS
@pytest.mark.parametrize("make", (trained, loaded))
def test_codes_that_started_from_latents_export_and_compile(make):
    vq, (first, second) = make(), inputs({})
    program = torch.export.export(vq, (first,))
    assert torch.equal(program.module()(first)[1], vq(first)[1])
    compiled = torch.compile(vq, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(second)[1], vq(second)[1])


@OLD_PARTS
def test_the_streamed_lookup_exports_for_any_batch_too():
    module, program, other = exported("streamed")
    assert torch.equal(program.module()(other)[1], module(other)[1])
    assert "rotvq.nearest" in str(program.graph)


@OLD_PARTS
def test_an_exported_file_loads_without_rotvq(tmp_path):
    module, program, other = exported("channels first")
    torch.export.save(program, tmp_path / "vq.pt2")
    torch.save((other, module(other)[1]), tmp_path / "wanted.pt")
    script = (
        "import sys, torch; folder = sys.argv[1]\n"
        "module = torch.export.load(folder + '/vq.pt2').module()\n"
        "x, wanted = torch.load(folder + '/wanted.pt')\n"
        "assert torch.equal(module(x)[1], wanted) and 'rotvq' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(tmp_path)], check=True, cwd=tmp_path)


@OLD_PARTS
@pytest.mark.filterwarnings("ignore")  # of the exporter
@pytest.mark.parametrize("name", OPTIONS)
def test_onnx_gives_the_same_indices(name, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    module, program, other = exported(name)
    path = tmp_path / "vq.onnx"
    torch.onnx.export(program, f=path, dynamo=True, verbose=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    for mine, wanted in zip(session.run(None, {entry.name: other.numpy()}), module(other)):
        torch.testing.assert_close(torch.from_numpy(mine), wanted, rtol=1e-5, atol=1e-6)
