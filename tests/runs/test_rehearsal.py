"""The step that is rehearsed: what cannot be trained, or would not mean what it says, is refused before."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rotvq.runs.rehearsal import rehearse
from rotvq.training.config import Config

SMALL = {"data": "fashion-mnist-mini", "codebook_size": 16, "steps": 3}


def test_every_kind_of_run_is_rehearsed_once(monkeypatch):
    seen = []
    monkeypatch.setattr("rotvq.runs.rehearsal._first_step", lambda config, device: seen.append((config, device)))
    configs = [Config(gamma=gamma, seed=seed) for gamma in (1, 2) for seed in (4, 5)]
    rehearse(configs, "cuda")
    assert [(config.gamma, device) for config, device in seen] == [(1, "cuda"), (2, "cuda")]


@pytest.mark.parametrize(
    "changes", [{}, {"init": "kmeans"}, {"pretrain_steps": 9, "init": "latents"}, {"gain": "learned"}]
)
def test_what_can_be_trained_passes(changes):
    rehearse([Config(**SMALL | changes)])


@pytest.mark.parametrize(
    "shape, changes, words",
    [
        ((400, 30, 30), {}, "model 'conv' gives 1 x 28 x 28 for data of 1 x 30 x 30: take another size"),
        ((400, 8, 10, 3), {}, "model 'conv' gives 3 x 8 x 8 for data of 3 x 8 x 10"),
        ((400, 6), {}, "the data are vectors, which model 'mlp' takes"),
        ((400, 1, 16, 1), {}, "model 'conv' does not take 32 x 1 x 1 x 16 a batch"),
        ((400, 6), {"model": "mlp", "norm": "batch", "batch": 1}, "model 'mlp' does not take 1 x 6 x 1 x 1 a batch"),
        ((400, 8, 8), {"codebook_size": 10**12}, "a codebook_size of 1000000000000 in 32 dimensions takes 476,837 GiB"),
        ((400, 8, 8), {"dim": 10**12}, "a codebook_size of 16 in 1000000000000 dimensions takes"),
        ((400, 8, 8), {"project_to": 10**12}, "a codebook_size of 16 in 1000000000000 dimensions takes"),
        ((400, 8, 8), {"quantizer": "fsq", "codebook_size": 10**12}, "dimensions takes"),
        ((30, 8, 8), {}, "batch is 32: the training split has 24 images"),
        ((400, 6), {"model": "mlp", "codebook_size": 512, "init": "kmeans"}, "cannot be trained: .*320.*512"),
        ((400, 16, 16), {"model": "residual_f4", "norm": "batch"}, "takes 'none' or 'latent'"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_its_fields(shape, changes, words, tmp_path):
    path = tmp_path / "own.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    config = Config(**SMALL | {"data": f"arrays:{path}", "seed": 3} | changes)
    with pytest.raises(ValueError, match=words) as refused:
        rehearse([config])
    assert str(refused.value).startswith(f"a run with data arrays:{path}") and "seed 3" in str(refused.value)


def test_data_that_fits_passes(tmp_path):
    path = tmp_path / "own.npz"
    draw = np.random.default_rng(0)
    np.savez(path, train=draw.normal(size=(64, 6)), test=draw.normal(size=(5, 6)))
    rehearse([Config(**SMALL | {"data": f"arrays:{path}", "model": "mlp", "init": "kmeans"})])


# estimators of one's own that are modules


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A Config with an estimator whose forward is this; what it sets in torch is undone."""
    monkeypatch.chdir(tmp_path)
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()

    def config(body, made="pass", before="", **changes):
        lines = [
            "import torch",
            before,
            "class E(torch.nn.Module):",
            *("    def __init__(self):", "        super().__init__()", f"        {made}"),
            *("    def forward(self, z, q):", f"        {body}"),
        ]
        name = f"own_{abs(hash((body, made, before)))}.py"
        Path(name).write_text("\n".join(lines))
        return Config(**SMALL | {"estimator": f"{name}:E"} | changes)

    yield config
    torch.set_default_dtype(dtype)
    torch.set_default_device(None)
    torch.set_num_threads(threads)


THROUGH = "return z + (q - z).detach()"


@pytest.mark.parametrize(
    "body, made",
    [
        (THROUGH, "pass"),
        ("return q + 0 * z", "pass"),
        ("return q", "pass"),  # a gradient to the codes alone
        ("a = self.a * z; return a + (q - a).detach()", "self.a = torch.nn.Parameter(torch.ones(()))"),
        ("self.n += 1; a = z / self.n; return a + (q - a).detach()", "self.n = 0"),
        (
            "a = torch.rand((), generator=self.g) * z; return a + (q - a).detach()",
            "self.g = torch.Generator().manual_seed(1)",
        ),
    ],
)
def test_a_module_that_gives_the_codes_passes(own, body, made):
    rehearse([own(body, made)])


@pytest.mark.parametrize(
    "body, made, words",
    [
        ("return z", "pass", "another value than q in training"),
        ("return z + (q - z).detach() if self.training else z", "pass", "another value than q in evaluation"),
        (f"{THROUGH}.flip(0)", "pass", "another value than q"),
        (f"{THROUGH} * float('nan')", "pass", "another value than q"),
        ("return z if z.numel() > 1000 else z + (q - z).detach()", "pass", "another value than q"),
        ("z.mul_(0.5); " + THROUGH, "pass", "changes z or q in place"),
        ("q.data.add_(1.0); " + THROUGH, "pass", "changes z or q in place"),
        (
            "return (z + (q - z).detach()).double()",
            "pass",
            r"gives \(32, 7, 7, 32\) torch.float64 for z and q of .* torch.float32",
        ),
        ("return (z + (q - z).detach()).half()", "pass", "torch.float16"),
        ("return q.detach()", "pass", "gives no gradient to z or q"),
        ("return q.detach().numpy()", "pass", "'numpy.ndarray' object has no attribute"),
        ("a = torch.rand(()) * z; return a + (q - a).detach()", "pass", "draws random numbers"),
        ("a = self.a(z); return a + (q - a).detach()", "self.a = torch.nn.Linear(32, 32)", "draws random numbers|32"),
        (
            "torch.set_default_dtype(torch.float64); " + THROUGH,
            "pass",
            "set_default_dtype was called with torch.float64",
        ),
        ("assert torch.is_grad_enabled(), 'no'; " + THROUGH, "pass", "cannot be trained: no"),
        ("torch.set_num_threads(2); " + THROUGH, "pass", "set_num_threads was called with 2"),
        (THROUGH, "torch.set_num_threads(2)", "set_num_threads was called with 2"),
        ("torch.set_default_device('meta'); " + THROUGH, "pass", "set_default_device was called with meta"),
        ("torch.set_grad_enabled(False); " + THROUGH, "pass", "gives no gradient to z or q"),
        ("import sys; sys.exit(3)", "pass", r"cannot be trained: SystemExit\(3\)"),
        ("raise SystemExit", "pass", r"cannot be trained: SystemExit\(\)"),
        (THROUGH, "import sys; sys.exit('bye')", r"cannot be trained: SystemExit\('bye'\)"),
    ],
)
def test_a_module_that_does_something_else_is_refused_before_training(own, body, made, words):
    with pytest.raises(ValueError, match=words):
        rehearse([own(body, made)])
    assert torch.is_grad_enabled()


def test_a_file_that_changes_the_default_of_every_run_is_refused(own):
    with pytest.raises(ValueError, match="set_default_dtype was called with torch.float64"):
        rehearse([own(THROUGH, before="torch.set_default_dtype(torch.float64)").check()])


@pytest.mark.parametrize("call", ["set_num_threads(2)", "set_default_device('meta')"])
def test_what_the_check_has_set_already_is_refused(own, call):
    with pytest.raises(ValueError, match="torch.set_.* was called with"):
        rehearse([own(f"torch.{call}; {THROUGH}").check()])


def test_a_rehearsal_leaves_the_number_of_threads(own):
    torch.set_num_threads(2)
    rehearse([own(THROUGH)])
    assert torch.get_num_threads() == 2


def test_the_value_may_differ_by_roundings(own):
    rehearse([own("return 1e-6 * z.detach() + z + (q - z).detach()")])
    with pytest.raises(ValueError, match="another value"):
        rehearse([own("return 1e-3 * z.detach() + z + (q - z).detach()")])


def test_what_fails_in_evaluation_alone_is_refused_too(own):
    lines = ["from rotvq import VectorQuantizer", "class Q(VectorQuantizer):", "    def quantise(self, z, mask):"]
    lines += ["        assert self.training, 'no evaluation'", "        return super().quantise(z, mask)"]
    Path("own_q.py").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="quantizer own_q.py:Q#.* cannot be trained: no evaluation"):
        rehearse([Config(**SMALL | {"quantizer": "own_q.py:Q"})])
