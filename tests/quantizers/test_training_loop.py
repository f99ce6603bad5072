"""Quantisers in real training loops: half precision, checkpointing, copies, freezing, accumulation, export. By kind."""

import copy
import inspect
import io
import multiprocessing
import pickle
import re
import warnings
from collections import deque
from functools import partial

import pytest
import torch
from states import assert_same, state
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from rotvq import ResidualVectorQuantizer, VectorQuantizer, recommended, straight_through
from rotvq.quantizers import operators, updates
from rotvq.quantizers.base import Quantized
from rotvq.quantizers.codebook import PENALTIES
from rotvq.quantizers.grouped import Grouped
from rotvq.quantizers.learned_gain import LearnedGain
from rotvq.quantizers.methods.fsq import FSQ
from rotvq.quantizers.methods.lfq import LFQ
from rotvq.quantizers.methods.sf_diveq import SFDiVeQ
from rotvq.quantizers.options import IDLE as RULES
from rotvq.quantizers.options import THEIRS
from rotvq.quantizers.projected import Projected, Summed
from rotvq.quantizers.registry import METHODS

DIM, SIZE = 4, 16
ONE_PASS = [name for name, method in METHODS.items() if not method.second_pass]
STATES = {  # options of VectorQuantizer that keep state from call to call
    "ema": {"update": "ema", "decay": 0.8},
    "ema from k-means": {"update": "ema", "init": "kmeans"},
    "ema and revival": {"update": "ema", "revival": "threshold", "initial_count": 0.0, "decay": 0.5},
    "revival": {"revival": "count", "revival_at": 3.0, "decay": 0.5},
    "unused": {"update": "ema", "revival": "unused", "revival_at": 2},
    "warm-up": {"warmup": 5},
    "about the latents": {"centre": "latents"},
    "sampled": {"temperature": 0.3},
    "projected": {"update": "ema", "project_to": 2},
    "normalised": {"update": "ema", "lookup": "normalised", "heads": 2, "dim": 2},
}
QUANTISERS = {**{name: {"method": name} for name in ONE_PASS}, **{f"vq, {name}": STATES[name] for name in STATES}}


def build(method="vq", dim=DIM, seed=0, **options):
    torch.manual_seed(seed)
    if method == "fsq":
        return METHODS[method](dim, SIZE, **options)
    generator = {} if method in ("lfq", "bsq") else {"generator": torch.Generator().manual_seed(seed)}
    init = {"init": "normal"} if generator else {}
    return METHODS[method](dim, SIZE, **{**init, **generator, **options})


def latents(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def backward(quantiser, z, **more):
    """A training call and its backward pass: what came out, and the gradients of latents and parameters."""
    z = z.detach().requires_grad_()
    out = quantiser(z, **more)
    loss = out.z_q.float().sin().sum() + out.loss
    gradients = torch.autograd.grad(loss, [z, *quantiser.parameters()], allow_unused=True)
    return out, [torch.zeros(()) if gradient is None else gradient for gradient in gradients]


# K1: statistics in at least float32, whatever the dtype

CASTS = {
    "bfloat16": lambda vq: vq.bfloat16(),
    "half": lambda vq: vq.half(),
    "to": lambda vq: vq.to(device="cpu", dtype=torch.bfloat16),
    "inside a model": lambda vq: nn.ModuleList([vq]).half()[0],
    "and back": lambda vq: vq.half().float().bfloat16(),
}


@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize(
    "options",
    [{"update": "ema"}, {"update": "ema", "centre": "latents"}, {"revival": "unused"}, {"update": "ema", "heads": 2}],
    ids=str,
)
def test_statistics_of_a_half_precision_model_are_those_of_float32(cast, options):
    """4,000 tokens on one code: bfloat16 stops counting at 256, float16 at 2,048."""
    codes = torch.eye(DIM)
    half, full = (VectorQuantizer(DIM, DIM, init=codes, **options) for _ in range(2))
    CASTS[cast](half)
    dtype = torch.float16 if cast in ("half", "inside a model") else torch.bfloat16
    for seed in range(3):
        z = (latents(4000, DIM * half.heads, seed=seed) / 8 + codes[0].repeat(half.heads)).to(dtype)
        half(z), full(z.float())
    ours, wanted = state(half), state(full)
    if "revival" in options:  # the codes are the model's parameter, which it asked to be narrow
        assert ours.pop("codebook.weight").dtype == dtype and wanted.pop("codebook.weight") is not None
    assert_same(wanted, ours)
    assert half.statistics.running.max() > 100


def test_state_starts_wide_where_the_default_dtype_is_narrow():
    torch.set_default_dtype(torch.bfloat16)
    try:
        vq = VectorQuantizer(DIM, SIZE, update="ema", centre="latents")
    finally:
        torch.set_default_dtype(torch.float32)
    assert {value.dtype for value in vq.state_dict().values() if value.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("assign", (False, True))
def test_a_checkpoint_in_half_precision_leaves_the_state_wide(assign):
    vq, other = (build(update="ema") for _ in range(2))
    narrow = {key: value.half() if value.is_floating_point() else value for key, value in vq.state_dict().items()}
    other.load_state_dict(narrow, assign=assign)
    assert {value.dtype for value in other.state_dict().values() if value.is_floating_point()} == {torch.float32}
    for _ in range(5):
        other(torch.ones(3000, DIM))
    assert other.statistics.running.max() > 100


@pytest.mark.parametrize("name", [name for name in ONE_PASS if name not in ("lfq", "bsq")])
def test_gradients_of_many_tokens_are_summed_in_float32(name):
    full = build(name)
    half = copy.deepcopy(full).bfloat16()
    full.load_state_dict(
        {key: value.to(dict(full.state_dict())[key].dtype) for key, value in half.state_dict().items()}
    )
    z = (latents(1, DIM) + latents(6000, DIM, seed=1) / 100).bfloat16()
    (_, ours), (_, wanted) = backward(half, z), backward(full, z.float())
    for mine, theirs in zip(ours[1:], wanted[1:]):
        scale = theirs.abs().max().item()
        torch.testing.assert_close(mine.float(), theirs, rtol=0.05, atol=0.05 * scale + 1e-6)


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_in_half_precision(name):
    codes = latents(300, 8)
    wanted = PENALTIES[name](codes.bfloat16().double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(PENALTIES[name](codes.bfloat16()).double(), wanted, rtol=1e-4, atol=1e-7)


def test_a_learned_gain_keeps_its_sums():
    gain = LearnedGain(0.1).half()
    assert gain.seen.dtype == torch.float64


# K2: what no gradient moves is a buffer


@pytest.mark.parametrize("options", ({"update": "ema"}, {"update": "ema", "lookup": "normalised"}), ids=str)
def test_codes_that_no_gradient_moves_are_a_buffer_under_the_same_key(options):
    vq = build(**options)
    assert "codebook.weight" in vq.state_dict() and not list(vq.parameters())
    vq.requires_grad_(False).requires_grad_(True)
    model = nn.Sequential(nn.Linear(DIM, DIM), vq)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    before = vq.codes.clone()
    model(latents(30, DIM))[0].sum().backward()
    optimizer.step()
    assert torch.equal(vq.codes, before)


def test_fixed_codes_of_simvq_are_a_buffer():
    vq = METHODS["simvq"](DIM, SIZE)
    assert [name for name, _ in vq.named_parameters()] == ["codebook.form.map"]
    assert "codebook.weight" in vq.state_dict()


# K3: a forward pass that runs twice


@pytest.mark.parametrize("reentrant", (False, True), ids=("non-reentrant", "reentrant"))
@pytest.mark.parametrize("name", QUANTISERS)
def test_checkpointing_changes_neither_gradient_nor_state(name, reentrant):
    plain, again = build(**QUANTISERS[name]), build(**QUANTISERS[name])
    for seed in range(4):
        z = latents(40, DIM, seed=seed)
        out, wanted = backward(plain, z)
        z = z.requires_grad_()
        z_q, indices, loss = checkpoint(again, z, use_reentrant=reentrant)
        (z_q.sin().sum() + loss).backward()
        assert torch.equal(indices, out.indices) and torch.equal(z_q, out.z_q)
        ours = [z.grad, *(torch.zeros(()) if p.grad is None else p.grad for p in again.parameters())]
        for mine, theirs in zip(ours, wanted):
            assert torch.equal(mine, theirs)
        again.zero_grad()
        assert_same(state(plain), state(again))


WITHOUT_EMA = ["nsvq", "gumbel", "sf_diveq", "region", "stablevq"]


@pytest.mark.parametrize(
    ("name", "reentrant"),
    [*((name, way) for name in WITHOUT_EMA for way in (False, True)), *((f"vq, {name}", False) for name in STATES)],
)
def test_checkpointing_a_quantiser_that_is_called_twice(name, reentrant):
    """Each call in a region of its own: they run again in the opposite order."""
    gradients = []
    for run in (lambda vq, z: vq(z), lambda vq, z: checkpoint(vq, z, use_reentrant=reentrant)):
        vq = build(**QUANTISERS[name])
        for seed in range(3):
            z = latents(40, DIM, seed=seed).requires_grad_()
            first, second = run(vq, z), run(vq, z.cos())
            (first[0].sin().sum() + second[0].cos().sum() + first[2] + second[2]).backward()
        gradients.append(([z.grad, *(p.grad for p in vq.parameters())], state(vq)))
    for ours, wanted in zip(gradients[1][0], gradients[0][0]):
        torch.testing.assert_close(ours, wanted)
    assert_same(gradients[0][1], gradients[1][1])


def test_drawing_quantisers_ask_for_the_random_state():
    z, quantiser = latents(10, DIM).requires_grad_(), build("nsvq")
    torch.manual_seed(987_654_321)
    z_q, _, loss = checkpoint(quantiser, z, use_reentrant=False, preserve_rng_state=False)
    with pytest.raises(RuntimeError, match="preserve_rng_state=True"):
        (z_q.sum() + loss).backward()


def test_a_rerun_after_too_many_calls_is_refused(monkeypatch):
    monkeypatch.setattr(operators, "_kept", deque(maxlen=1))
    vq, z = build("region"), latents(40, DIM).requires_grad_()
    first, _ = (checkpoint(vq, part, use_reentrant=False) for part in (z, z.cos()))
    with pytest.raises(RuntimeError, match="put the checkpoint round the encoder alone"):
        first[2].backward()


COMPILED = ["vq, ema", "vq, revival", "vq, about the latents", "vq, warm-up", "nsvq", "gumbel", "region"]
BACKENDS = dict.fromkeys(COMPILED, "aot_eager")  # it traces and differentiates as the default does, and needs no C++
BACKENDS |= {"vq, ema": "inductor", "nsvq": "inductor"}  # one that counts and one that draws
NO_WARNINGS = pytest.mark.filterwarnings("ignore")  # of the compiler


@NO_WARNINGS
@pytest.mark.parametrize("name", COMPILED)
def test_checkpointing_compiled_code(name):
    plain, again = build(**QUANTISERS[name]), build(**QUANTISERS[name])
    compiled = torch.compile(again, backend=BACKENDS[name])
    for seed in range(3):
        z = latents(40, DIM, seed=seed)
        _, wanted = backward(plain, z)
        z = z.requires_grad_()
        z_q, _, loss = checkpoint(compiled, z, use_reentrant=False)
        (z_q.sin().sum() + loss).backward()
        torch.testing.assert_close(z.grad, wanted[0], rtol=1e-5, atol=1e-6)
        assert_same(state(plain), state(again), rtol=1e-5, atol=1e-6)


@NO_WARNINGS
@pytest.mark.parametrize("name", COMPILED)
def test_compiling_a_checkpoint(name):
    """Right, or refused: there the compiler runs a drawing call again without its random state."""
    plain, again = build(**QUANTISERS[name]), build(**QUANTISERS[name])
    compiled = torch.compile(lambda z: checkpoint(again, z, use_reentrant=False), backend=BACKENDS[name])
    for seed in range(3):
        torch.manual_seed(123_456_789 + seed)
        z = latents(40, DIM, seed=seed)
        _, wanted = backward(plain, z)
        z = z.requires_grad_()
        z_q, _, loss = compiled(z)
        if name in ("nsvq", "gumbel"):
            with pytest.raises(RuntimeError, match="around what it compiled"):
                (z_q.sin().sum() + loss).backward()
            return
        (z_q.sin().sum() + loss).backward()
        torch.testing.assert_close(z.grad, wanted[0], rtol=1e-5, atol=1e-6)
        assert_same(state(plain), state(again), rtol=1e-5, atol=1e-6)


def test_a_quantiser_built_on_the_meta_device():
    with torch.device("meta"):
        empty = VectorQuantizer(DIM, SIZE, update="ema", init="kmeans")
    trained = build(update="ema", init="kmeans")
    trained(latents(50, DIM))
    loaded = empty.to_empty(device="cpu")
    loaded.load_state_dict(trained.state_dict())
    assert torch.equal(loaded.eval()(latents(9, DIM)).z_q, trained.eval()(latents(9, DIM)).z_q)


# K4: copying and sending


def sent(quantiser, z, queue):
    queue.put(quantiser(z).z_q.detach().clone().numpy())


@pytest.mark.parametrize("name", QUANTISERS)
def test_quantisers_pickle_and_copy(name):
    quantiser = build(**QUANTISERS[name])
    backward(quantiser, latents(40, DIM))
    file = io.BytesIO()
    torch.save(quantiser, file)
    file.seek(0)
    copies = copy.deepcopy(quantiser), pickle.loads(pickle.dumps(quantiser)), torch.load(file, weights_only=False)
    wanted = backward(quantiser, latents(40, DIM, seed=1))
    for other in copies:
        assert torch.equal(backward(other, latents(40, DIM, seed=1))[0].z_q, wanted[0].z_q)
        assert_same(state(quantiser), state(other))


def test_a_copy_of_codes_that_are_no_leaf():
    init = latents(SIZE, DIM).requires_grad_() * 2
    vq = copy.deepcopy(VectorQuantizer(DIM, SIZE, init=init))
    assert torch.equal(vq.codes, init) and torch.equal(pickle.loads(pickle.dumps(vq)).codes, init)


def test_a_quantiser_is_sent_to_a_spawned_process():
    vq, z = build(init="kmeans", update="ema").eval(), latents(5, DIM)
    vq.train()(latents(50, DIM))
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=sent, args=(vq.eval(), z, queue))
    process.start()
    received = torch.from_numpy(queue.get(timeout=300))
    process.join()
    assert torch.equal(received, vq(z).z_q.detach())


# K5: state that decides is in the state dict


def test_an_averaged_model_of_codes_that_start_later():
    model = nn.Sequential(nn.Linear(DIM, DIM), build(init="kmeans", update="ema"))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    model(latents(60, DIM))
    average.update_parameters(model)
    average.eval()
    assert torch.equal(average.module[1].codes, model[1].codes)
    model.eval()
    assert torch.equal(average(latents(9, DIM)).z_q, model(latents(9, DIM)).z_q)


@pytest.mark.parametrize("options", STATES.values(), ids=STATES)
def test_an_averaged_model_that_averages_buffers_too(options):
    model = build(**options)
    average = AveragedModel(model, use_buffers=True)
    kept = []
    for seed in range(3):
        z = latents(60, DIM, seed=seed).requires_grad_()
        loss_of(model(z)).backward()
        average.update_parameters(model)
        kept.append(model.codebook.weight.detach().clone())
    torch.testing.assert_close(average.module.codebook.weight.detach(), torch.stack(kept).mean(0))
    assert len(average.module.eval()(latents(9, DIM)).indices) == 9


@pytest.mark.parametrize("copy_data", (lambda old, new: old.copy_(new), lambda old, new: old.data.copy_(new.data)))
@pytest.mark.parametrize("init", ("kmeans", "latents"))
def test_a_copy_made_by_hand(copy_data, init):
    vq = build(init=init)
    other = copy.deepcopy(vq)
    vq(latents(60, DIM))
    with torch.no_grad():
        for mine, theirs in zip([*other.parameters(), *other.buffers()], [*vq.parameters(), *vq.buffers()]):
            copy_data(mine, theirs)
    assert torch.equal(other.eval()(latents(9, DIM)).z_q, vq.eval()(latents(9, DIM)).z_q)
    other.train()(latents(60, DIM, seed=3))
    assert torch.equal(other.codes, vq.codes)  # k-means does not run again


def test_functional_call_reads_the_state_that_it_is_given():
    vq = build(init="kmeans")
    fresh = {key: value.clone() for key, value in vq.state_dict().items()}
    vq(latents(60, DIM))
    started = state(vq)
    other = build(init="kmeans").eval()
    z = latents(9, DIM)
    wanted = vq.eval()(z).z_q
    assert torch.equal(functional_call(other, started, z).z_q, wanted)
    assert torch.equal(functional_call(vq, started, z).z_q, wanted)
    with pytest.raises(RuntimeError, match="awaits latents"):
        functional_call(vq.eval(), fresh, z)
    with pytest.raises(RuntimeError, match="awaits latents"):
        other(z)


@pytest.mark.parametrize("assign", (False, True))
def test_loaded_codes_stay_at_the_first_call(assign):
    vq, other = build(init="kmeans", update="ema"), build(init="kmeans", update="ema")
    vq(latents(60, DIM))
    other.load_state_dict(vq.state_dict(), assign=assign)
    other(latents(60, DIM, seed=1))
    vq(latents(60, DIM, seed=1))
    assert torch.equal(other.codes, vq.codes)
    other.load_state_dict(build(init="kmeans", update="ema").state_dict())
    with pytest.raises(RuntimeError, match="awaits latents"):
        other.eval()(latents(3, DIM))


# K7: freezing

LEARNERS = [
    {"update": "gradient"},
    {"update": "ema"},
    {"update": "ema", "revival": "threshold", "initial_count": 0.0},
    {"form": "affine"},
    {"estimator": "rotation", "project_to": 2},
    *({"method": name} for name in ONE_PASS if name not in ("vq", "lfq", "bsq")),
]


@pytest.mark.parametrize("options", LEARNERS, ids=str)
@pytest.mark.parametrize("how", ("at once", "later"))
def test_frozen_codes_stay_in_training_mode(options, how):
    """With an optimiser that decays weights, has momentum, and leaves zeros as gradients."""
    quantiser = build(**options, frozen=how == "at once")
    encoder = nn.Linear(DIM, DIM)
    model = nn.Sequential(encoder, quantiser)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)

    def train(steps):
        for seed in range(steps):
            optimizer.zero_grad(set_to_none=False)
            z_q, _, loss = model(latents(50, DIM, seed=seed))
            (z_q.square().mean() + loss).backward()
            optimizer.step()

    if how == "later":
        train(3)
        quantiser.frozen = True
    before, weight = quantiser.codes.detach().clone(), encoder.weight.detach().clone()
    model.train()
    model.requires_grad_(True)
    train(4)
    assert torch.equal(quantiser.codes, before) and not torch.equal(encoder.weight, weight)
    quantiser.frozen = False
    train(4)
    assert not torch.equal(quantiser.codes, before)


def test_a_move_that_was_left_pending_is_not_taken_after_thawing():
    """Counts go on while codes are frozen; by them it would throw a code of latents (1, 0) to (32, 0)."""
    vq = VectorQuantizer(2, 2, "ste", update="ema", init=torch.tensor([[0.0, 0.0], [10.0, 10.0]]), decay=0.5)
    near, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[10.0, 10.0]])
    vq(near)
    vq.frozen = True
    for _ in range(6):
        vq(far)
    vq.frozen = False
    vq(far)
    assert vq.codes.tolist() == [[0.0, 0.0], [10.0, 10.0]]
    vq(near), vq(far)
    assert 0 < vq.codes[0, 0] <= 1  # what was counted since is taken as ever


def test_the_estimator_goes_on_while_codes_are_frozen():
    """Its warm-up counts steps, and its centre follows the latents, as if the codes moved."""
    frozen, free = (build(warmup=4, centre="latents", update="ema", frozen=frozen) for frozen in (True, False))
    for seed in range(3):
        backward(frozen, latents(30, DIM, seed=seed)), backward(free, latents(30, DIM, seed=seed))
    for key in ("statistics.calls", "statistics.latent_mean"):
        assert torch.equal(frozen.state_dict()[key], free.state_dict()[key])
    assert frozen.statistics.calls == 3 and frozen.statistics.counts.sum() == 0 < free.statistics.counts.sum()


@pytest.mark.parametrize("options", ({}, {"form": "affine"}, {"method": "simvq"}, {"method": "gumbel"}), ids=str)
def test_frozen_alone_decides_whether_codes_learn(options):
    """``requires_grad_`` before it does not, and after it does."""
    quantiser = build(**options)

    def learns():
        return {p.requires_grad for p in quantiser.codebook.parameters()}

    quantiser.requires_grad_(False)
    quantiser.frozen = False
    assert learns() == {True}
    quantiser.frozen = True
    assert learns() == {False}
    quantiser.frozen = False
    quantiser.requires_grad_(False)
    assert learns() == {False} and not quantiser.frozen


def test_a_frozen_codebook_does_not_start():
    with pytest.raises(RuntimeError, match="awaits latents"):
        build(init="kmeans", frozen=True)(latents(60, DIM))


# K9: shapes and export: see also test_export.py

# K10: what is not finite is not counted

BAD = (float("nan"), float("inf"), -float("inf"))


@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize("name", STATES)
def test_latents_that_are_not_finite_are_not_counted(name, bad):
    """The state is that of a batch without them."""
    options = {**STATES[name], "check": False}
    with_bad, without = build(**options), build(**options)
    for seed in range(4):
        z = latents(60, DIM, seed=seed)
        spoilt = torch.cat([z[:20], torch.full((3, DIM), bad), z[20:]])
        if seed % 2 and "heads" not in options:
            spoilt[21, 1:] = 0.0
        with torch.no_grad():
            out, wanted = with_bad(spoilt), without(z)
        kept = torch.cat([out.indices[:20], out.indices[23:]])
        if "temperature" not in options:  # another number of draws
            assert torch.equal(kept, wanted.indices)
            assert_same(state(without), state(with_bad), rtol=1e-6, atol=1e-7)
    assert all(value.isfinite().all() for value in with_bad.state_dict().values())
    if "temperature" not in options:
        assert with_bad(spoilt, details=True).usage == without(z, details=True).usage


# K11 and K15: options

IDLE = {
    "penalties would do nothing": {"update": "ema", "penalties": {"norm": 1.0}},
    "beta would do nothing": {"update": "ema", "beta": 1.0},
    "warmup would do nothing": {"estimator": "ste", "warmup": 10},
    "mix would do nothing": {"estimator": "ste", "mix": 0.5},
    "gain would do nothing": {"estimator": "zero", "gain": torch.ones(SIZE)},
    "warmup would do nothing: G is I": {"mix": 0.0, "warmup": 10},
    "centre would do nothing": {"estimator": "constant", "centre": "latents"},
    "revival_at would do nothing": {"revival_at": 3.0},
    "init_scale would do nothing": {"lookup": "normalised", "init_scale": 2.0},
    "decay is 1.0: it must be in .*: frozen": {"decay": 1.0},
    "temperature is -1.0": {"temperature": -1.0},
    "unknown engine 'magic'": {"engine": "magic"},
}


@pytest.mark.parametrize("message", IDLE)
def test_options_that_would_do_nothing_are_refused(message):
    with pytest.raises(ValueError, match=message):
        VectorQuantizer(DIM, SIZE, **IDLE[message])


def cascade(levels=3, **options):
    return ResidualVectorQuantizer(DIM, SIZE, levels, **options)


GAIN = torch.ones(SIZE)
#: what is made, with options of which the first would do nothing or cannot be; and with options that are right
REFUSED = {
    VectorQuantizer: (
        *({"centre": "codebook", "mix": 0}, {"gain": GAIN, "mix": 0}, {"clip": (0.5, 2), "mix": 0}),
        *({"centre": "codebook", "clip": (0, 0)}, {"gain": GAIN, "clip": (0, 0)}, {"centre": "latents", "mix": 0.0}),
        *({"penalties": {"norm": 1.0}, "lookup": "normalised"}, {"penalties": {"norm": 1.0}, "form": "sphere"}),
        *({"memory": -1}, {"memory": 0}, {"penalties": {"norm": -1.0}}, {"project_to": 0}, {"project_to": 2.5}),
        *({"revival_at": 0, "revival": name} for name in ("count", "threshold", "unused")),
        *({"revival_at": 2.0, "revival": "threshold"}, {"init": [[0.0]]}, {"init": GAIN.numpy()}),
    ),
    cascade: (
        *({"least_levels": 2}, {"multiple_of": 2}, {"dropout": 0.5, "levels": 1}, {"dropout": 0.5, "least_levels": 3}),
        *({"dropout": 0.5, "multiple_of": 3}, {"dropout": 0.5, "multiple_of": 2, "least_levels": 3, "levels": 4}),
        *({"mix": 0.5, "estimator": "ste", "wiring": "once"}, {"clip": (0.5, 2), "mix": 0, "wiring": "once"}),
        *({"process_group": "world", "method": name} for name in ("fsq", "lfq", "bsq")),
        *({"beam": 2.5}, {"levels": 3.0}, {"least_levels": 1.5, "dropout": 0.5}),
    ),
    FSQ: ({"process_group": "world"}, {"project_to": 2}),
    METHODS["lfq"]: (
        *({"entropy_temperature": 0.5, "entropy_weight": 0}, {"diversity": 0.5, "entropy_weight": 0}),
        *({"group": 2, "entropy_weight": 0}, {"group": 2, "diversity": 0}, {"group": 5}, {"process_group": "world"}),
        {"frozen": True},
    ),
    METHODS["bsq"]: ({"group": 2, "entropy_weight": 0}, {"group": 5}, {"frozen": True}),
    METHODS["gumbel"]: ({"anneal": -5}, {"kl_weight": -1}),
    SFDiVeQ: ({"deviation": -1.0}, {"memory": -1}),
}
RIGHT = {
    VectorQuantizer: (
        *({"centre": "codebook", "mix": 0.5}, {"gain": GAIN, "clip": (0, 1)}, {"mix": 0}, {"clip": (0, 0)}),
        *({"penalties": {"orthogonal": 1.0}, "lookup": "normalised"}, {"penalties": {"norm": 0.0}}),
        *({"clip": (0.5, 2), "estimator": "ste"}, {"memory": 1 << 20}, {"project_to": 2}, {"memory": None}),
        *({"revival_at": 1.0, "revival": "threshold"}, {"revival_at": 1, "revival": "unused"}),
    ),
    cascade: (
        *({"dropout": 0.5, "least_levels": 2}, {"dropout": 0.5, "multiple_of": 2}, {"mix": 0.5, "wiring": "once"}),
        *({"process_group": "world"}, {"process_group": "world", "method": "fsq", "dropout": 0.5}),
        {"process_group": "world", "method": ["vq", "fsq", "lfq"]},
    ),
    METHODS["lfq"]: ({"entropy_weight": 0}, {"group": 4}, {"diversity": 0}, {"entropy_temperature": 0.5}),
    METHODS["bsq"]: ({"entropy_weight": 0}, {"group": None, "diversity": 2.0}),
}


def in_words(one):
    """An id that is the same in every process: no address of a function."""
    return getattr(getattr(one, "make", one), "__name__", str(one))


def made(make, options):
    return make(**({} if make is cascade else {"dim": DIM, "codebook_size": SIZE}), **options)


@pytest.mark.parametrize("make, options", [(make, one) for make in REFUSED for one in REFUSED[make]], ids=in_words)
def test_the_option_that_does_nothing_or_cannot_be_is_named(make, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}.*(would do nothing|is |must be)"):
        made(make, options)


@pytest.mark.parametrize("make, options", [(make, one) for make in RIGHT for one in RIGHT[make]], ids=in_words)
def test_options_that_do_something_are_taken(make, options):
    assert made(make, options)(latents(3, DIM)).z_q.shape == (3, DIM)


def test_every_rule_is_tried():
    tried = {
        name for group in (REFUSED, {None: IDLE.values()}) for sets in group.values() for one in sets for name in one
    }
    assert {rule[0] for rules in RULES.values() for rule in rules} <= tried


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("method", ("vq", "fsq", "gumbel", "nsvq", "sf_diveq", "simvq"))
def test_an_option_of_another_library_is_answered_with_ours(name, method):
    if name == "normalise" and method in ("fsq", "gumbel", "sf_diveq"):
        return  # there it is ours, too
    with pytest.raises(TypeError) as error:
        METHODS[method](DIM, SIZE, **{name: 1})
    assert name in str(error.value) and THEIRS[name] in str(error.value)


MISSING = {  # calls without an argument that has to be given, under the name of another library
    "one": (lambda **sizes: VectorQuantizer(**sizes), {"dim": DIM, "n_embed": SIZE}),
    "both": (lambda **sizes: VectorQuantizer(**sizes), {"num_embeddings": SIZE, "embedding_dim": DIM}),
    "by name": (METHODS["vq"], {"dim": DIM, "n_e": SIZE}),
    "cascade": (partial(ResidualVectorQuantizer, DIM, SIZE), {"num_quantizers": 3}),
    "recommended": (recommended, {"e_dim": DIM, "codebook_size": SIZE}),
    "lfq": (LFQ, {"input_dim": DIM, "codebook_size": SIZE}),
    "fsq": (FSQ, {"levels": [8, 5, 5]}),
    "projected": (partial(Projected, VectorQuantizer(DIM, SIZE)), {"codebook_dim": DIM}),
    "T2M-GPT": (lambda **sizes: VectorQuantizer(**sizes), {"nb_code": SIZE, "code_dim": DIM}),
    "Transformer-VQ": (lambda **sizes: VectorQuantizer(**sizes), {"n_code": SIZE, "d_k": DIM}),
}


@pytest.mark.parametrize("name", MISSING)
def test_another_name_of_a_size_is_answered_with_ours(name):
    make, sizes = MISSING[name]
    theirs = next(size for size in sizes if size in THEIRS)
    with pytest.raises(TypeError, match=re.escape(f"unknown option '{theirs}': here it is {THEIRS[theirs]}")):
        make(**sizes)


def test_an_argument_that_is_missing_under_any_name_is_named_by_python():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'codebook_size'"):
        VectorQuantizer(DIM)


def test_running_counts_are_kept_for_every_update():
    """So that decay and initial_count do something wherever they are given."""
    vq = build(decay=0.75, initial_count=8.0)
    indices = vq(latents(60, DIM)).indices
    counts = torch.bincount(indices, minlength=SIZE)
    assert torch.equal(vq.statistics.running, 6 + counts / 4)


CALLED = {
    "one": lambda: VectorQuantizer(DIM, SIZE),
    "cascade": lambda: ResidualVectorQuantizer(DIM, SIZE, 2),
    "groups": lambda: Grouped([VectorQuantizer(DIM, SIZE)]),
    "projected": lambda: Projected(VectorQuantizer(DIM, SIZE), DIM),
    "summed": lambda: Summed([ResidualVectorQuantizer(DIM, SIZE, 2)]),
}


@pytest.mark.parametrize("made", CALLED)
@pytest.mark.parametrize("name", ("freeze_codebook", "lens", "return_all_codes", "sample_codebook_temp", "topk"))
def test_an_option_of_another_call_is_answered_with_ours(name, made):
    with pytest.raises(TypeError) as error:
        CALLED[made]()(latents(3, DIM), **{name: 1})
    assert THEIRS[name] in str(error.value)


def test_every_option_of_the_peer_has_an_answer():
    """Of its vector quantisers: what is not ours by the same name is in the table."""
    import inspect

    peer = pytest.importorskip("vector_quantize_pytorch")
    ours = {*inspect.signature(VectorQuantizer).parameters, *inspect.signature(ResidualVectorQuantizer).parameters}
    ours |= {"self", "kwargs", "x", "z", "mask", *inspect.signature(LFQ).parameters, *inspect.signature(FSQ).parameters}
    for made in (
        peer.VectorQuantize,
        peer.ResidualVQ,
        peer.GroupedResidualVQ,
        peer.SimVQ,
        peer.ResidualSimVQ,
        peer.FSQ,
    ):
        theirs = {*inspect.signature(made.__init__).parameters, *inspect.signature(made.forward).parameters}
        assert not theirs - ours - THEIRS.keys()


@pytest.mark.parametrize("size", ("4", 4.0, None), ids=str)
def test_sizes_are_whole_numbers(size):
    with pytest.raises(ValueError, match="must be a whole number"):
        VectorQuantizer(size, SIZE)


def test_the_names_of_ours_exist():
    import inspect

    ours = {*inspect.signature(VectorQuantizer).parameters, "follow", "Grouped", "ResidualVectorQuantizer"}
    ours |= {"details", "mask", "decode", *inspect.signature(ResidualVectorQuantizer).parameters}
    ours |= {*inspect.signature(LFQ).parameters, *inspect.signature(FSQ).parameters}
    ours |= {*dir(VectorQuantizer), *Quantized._fields, *METHODS, "Projected", "no option", "anneal"}
    for text in THEIRS.values():
        assert any(name in text for name in ours), text


# K12 and K13: one codebook called several times in a step, and accumulated gradients

MOVING = {name: STATES[name] for name in ("ema", "ema and revival", "unused", "ema from k-means")}


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("calls", (2, 3))
def test_calls_of_one_step_see_one_codebook_and_move_it_once(name, calls):
    """As one call with all the latents does."""
    several, one = build(**MOVING[name]), build(**MOVING[name])
    for seed in range(4):
        parts = latents(calls, 50, DIM, seed=seed).requires_grad_()
        outs = [several(part) for part in parts] if several.codebook.ready else [several(parts)]
        loss = sum(out.z_q.sum() + out.loss for out in outs)
        indices = [out.indices for out in outs]
        for out in outs:
            assert torch.equal(several.decode(out.indices), out.z_q)
        loss.backward()
        z = parts.detach().requires_grad_()
        whole = one(z)
        (whole.z_q.sum() + whole.loss).backward()
        if "revival" not in MOVING[name]:  # revival takes latents of the first call
            assert torch.equal(torch.stack(indices).flatten(), whole.indices.flatten())
            torch.testing.assert_close(several.codes, one.codes, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(several.statistics.calls, one.statistics.calls)


@pytest.mark.parametrize("pieces", (2, 4))
def test_codes_wait_for_the_step_of_an_optimiser(pieces):
    encoder = nn.Linear(DIM, DIM)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    waiting, whole = build(update="ema"), build(update="ema")
    waiting.follow(optimizer)
    whole.follow(optimizer)
    for seed in range(3):
        z = latents(pieces * 20, DIM, seed=seed)
        codes = []
        for part in z.split(20):
            z_q, _, loss = waiting(encoder(part))
            (z_q.sum() + loss).backward()
            codes.append(waiting.codes.clone())
        assert all(torch.equal(codes[0], other) for other in codes)
        whole(encoder(z))
        torch.testing.assert_close(waiting.codes, whole.codes)
        torch.testing.assert_close(waiting.statistics.running, whole.statistics.running)
        optimizer.step()
    assert waiting.statistics.calls == 3


def test_a_copy_is_not_followed():
    vq = build(update="ema")
    vq.follow(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))
    other = copy.deepcopy(vq)
    before = other.codes.clone()
    for seed in range(3):
        backward(other, latents(50, DIM, seed=seed))
    assert not torch.equal(other.codes, before)


def test_an_optimiser_step_that_a_scaler_skips_moves_no_codes():
    encoder = nn.Linear(DIM, DIM)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    vq = build(update="ema", check=False)
    vq.follow(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    z_q, _, loss = vq(encoder(latents(20, DIM)))
    scaler.scale(z_q.sum() * float("inf")).backward()
    scaler.step(optimizer)
    scaler.update()
    before = vq.codes.clone()
    vq(encoder(latents(20, DIM)))
    assert torch.equal(vq.codes, before)


def loss_of(out):
    return out[0].square().mean() + out[2]


def twice(encoder, vq, x):
    """What a block gives that calls its quantiser twice."""
    z = encoder(x)
    first = vq(z)
    second = vq(z - first.z_q)
    return first.z_q + second.z_q, second.indices, first.loss + second.loss


def in_a_reentrant_checkpoint(encoder, vq, seed):
    x = latents(60, DIM, seed=seed).requires_grad_()
    loss_of(checkpoint(twice, encoder, vq, x, use_reentrant=True)).backward()


def without(encoder, vq, seed):
    loss_of(twice(encoder, vq, latents(60, DIM, seed=seed))).backward()


def pipeline(run):
    """Forward A, forward B, backward A, forward C, backward B, backward C."""

    def step(encoder, vq, seed):
        losses = []
        for part in range(3):
            losses.append(loss_of(run(vq, encoder(latents(60, DIM, seed=3 * seed + part)))))
            if part:
                losses[part - 1].backward()
        losses[2].backward()

    return step


FOLLOWED = {
    "a block of two calls": (without, in_a_reentrant_checkpoint),
    "a pipeline": (pipeline(lambda vq, z: vq(z)), pipeline(lambda vq, z: checkpoint(vq, z, use_reentrant=False))),
}


@pytest.mark.parametrize("options", ({"update": "ema", "decay": 0.5}, STATES["ema and revival"]), ids=str)
@pytest.mark.parametrize("name", FOLLOWED)
def test_where_the_optimiser_is_followed_a_checkpoint_changes_nothing(name, options):
    done = []
    for step in FOLLOWED[name]:
        vq, encoder = build(**options), nn.Linear(DIM, DIM)
        optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
        vq.follow(optimizer)
        for seed in range(3):
            step(encoder, vq, seed)
            optimizer.step()
        done.append({**state(vq), "gradient": encoder.weight.grad})
    assert done[0]["statistics.calls"] == 3
    assert_same(*done, rtol=1e-5, atol=1e-6)


FIRST_CALLS = {
    "frozen encoder": lambda vq, encoder, x: vq(encoder(x).detach()),
    "teacher": lambda vq, encoder, x: torch.no_grad()(vq)(encoder(x)),
}


@pytest.mark.parametrize("name", FIRST_CALLS)
def test_where_the_optimiser_is_followed_calls_without_gradient_are_of_its_step(name):
    vq, encoder = build(update="ema", decay=0.5), nn.Linear(DIM, DIM)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    vq.follow(optimizer)
    for seed in range(3):
        x, codes = latents(60, DIM, seed=seed), vq.codes.clone()
        first, second = FIRST_CALLS[name](vq, encoder, x), vq(encoder(x.cos()))
        assert torch.equal(vq.decode(first.indices), first.z_q) and torch.equal(vq.decode(second.indices), second.z_q)
        assert seed == 0 or not torch.equal(vq.codes, codes)
        loss_of(second).backward()
        optimizer.step()
    assert vq.statistics.calls == 3


UNREACHED = {
    "detached": lambda z_q, decoder: decoder(z_q.detach()).sum().backward(),
    "of the decoder": lambda z_q, decoder: torch.autograd.grad(decoder(z_q).sum(), list(decoder.parameters())),
}


@pytest.mark.parametrize("name", UNREACHED)
def test_codes_that_wait_for_a_backward_pass_say_so_once(name, monkeypatch):
    monkeypatch.setattr(updates, "LONG_STEP", 4)
    encoder, decoder = nn.Linear(DIM, DIM), nn.Linear(DIM, 1)
    optimizer = torch.optim.SGD(decoder.parameters(), lr=0.1)
    waiting, followed = build(update="ema"), build(update="ema")
    followed.follow(optimizer)
    before = waiting.codes.clone()

    def train(vq, steps):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for seed in range(steps):
                UNREACHED[name](vq(encoder(latents(50, DIM, seed=seed))).z_q, decoder)
                optimizer.step()
        return [str(warning.message) for warning in caught]

    assert not train(waiting, 3)
    (message,) = train(waiting, 9)
    assert "call follow(optimizer)" in message and torch.equal(waiting.codes, before)
    assert not train(followed, 12) and not torch.equal(followed.codes, before)


def test_codes_that_get_a_backward_pass_do_not_warn(monkeypatch):
    monkeypatch.setattr(updates, "LONG_STEP", 4)
    vq = build(update="ema")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(6):
            backward(vq, latents(50, DIM, seed=seed)), vq(latents(50, DIM, seed=seed).requires_grad_())


@NO_WARNINGS
@pytest.mark.parametrize("options", ({}, STATES["ema and revival"], {"wiring": "detach"}), ids=str)
def test_levels_that_share_codes_are_one_step_when_compiled(options):
    done = []
    for compiled in (False, True):
        torch.manual_seed(0)
        vq = ResidualVectorQuantizer(DIM, SIZE, 3, shared=True, **{"update": "ema", "decay": 0.5, **options})
        call = torch.compile(vq, fullgraph=True, backend="aot_eager") if compiled else vq
        for seed in range(3):
            z = latents(60, DIM, seed=seed).requires_grad_()
            out = call(z)
            torch.testing.assert_close(vq.decode(out[1]), out[0])
            loss_of(out).backward()
        done.append({**state(vq), "gradient": z.grad})
    assert_same(*done, rtol=1e-5, atol=1e-6)


@NO_WARNINGS
@pytest.mark.parametrize("name", ("beta", "gamma"))
@pytest.mark.parametrize("shared", (False, True))
def test_weights_that_change_between_calls_of_compiled_code(shared, name):
    vq = ResidualVectorQuantizer(DIM, SIZE, 3, shared=shared) if shared else build()
    once = vq.layers[0] if shared else vq

    def twice(z):
        first, second = vq(z), vq(2 * z)
        return Quantized(first.z_q, second.indices, first.loss + second.loss)

    forward = vq if shared else twice
    compiled = torch.compile(forward, fullgraph=True, backend="aot_eager")
    for weight in torch.linspace(0.1, 1.0, 12).tolist():  # more than torch compiles anew
        setattr(once, name, weight)
        found = []
        for call in (forward, compiled):
            z = latents(60, DIM).requires_grad_()
            out = call(z)
            loss_of(out).backward()
            found.append({"loss": out.loss.detach(), "gradient": z.grad})
        assert_same(*found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("update", ("gradient", "ema"))
def test_evaluation_between_two_calls_of_a_step_moves_no_shared_code(update):
    vq = ResidualVectorQuantizer(DIM, SIZE, 3, shared=True, update=update, init="normal")
    first = vq(latents(60, DIM).requires_grad_())
    codes = vq.codes[0].clone()
    vq.eval()
    with torch.no_grad():
        vq(latents(9, DIM, seed=1))
    vq.train()
    second = vq(latents(60, DIM, seed=2).requires_grad_())  # of the same step: no backward pass has ended it
    assert torch.equal(vq.codes[0], codes)
    loss_of(first).backward()
    loss_of(second).backward()
    vq(latents(60, DIM, seed=3).requires_grad_())
    assert torch.equal(vq.codes[0], codes) == (update == "gradient")


# several models at once, by torch.func.vmap

STACKED = ["vq, ema", "vq, ema and revival", "vq, about the latents", "vq, warm-up", "region", "nsvq"]


@NO_WARNINGS
@pytest.mark.parametrize("check", (False, True))
@pytest.mark.parametrize("name", STACKED)
def test_stacked_models_train_as_each_does(name, check):
    quantisers = [build(**QUANTISERS[name], check=check) for _ in range(3)]  # of one seed, which is no tensor to stack
    for seed, quantiser in enumerate(quantisers):
        quantiser.codebook.weight.data.copy_(latents(SIZE, DIM, seed=10 + seed))
    parameters, buffers = stack_module_state(quantisers)
    base = copy.deepcopy(quantisers[0])

    def loss(parameters, buffers, z):
        out = functional_call(base, (parameters, buffers), z)
        return out.z_q.sin().sum() + out.loss, out.z_q

    for seed in range(3):
        z = latents(3, 40, DIM, seed=seed)
        of_each = grad(loss, argnums=2, has_aux=True)
        gradients, z_q = vmap(of_each, randomness="different")(parameters, buffers, z)
        for number, quantiser in enumerate(quantisers):
            out, wanted = backward(quantiser, z[number])
            torch.testing.assert_close(z_q[number], out.z_q)
            torch.testing.assert_close(gradients[number], wanted[0])
    for number, quantiser in enumerate(quantisers):
        kept = state(quantiser)
        ours = {key: value[number] for key, value in {**parameters, **buffers}.items() if key in kept}
        assert_same(kept, ours, rtol=1e-5, atol=1e-6)


# K14: dtype and memory format of what comes back


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16, torch.float32, torch.float64), ids=str)
@pytest.mark.parametrize("name", QUANTISERS)
def test_the_dtype_of_the_input_comes_back(name, dtype):
    quantiser = build(**QUANTISERS[name])
    z = latents(30, DIM).to(dtype).requires_grad_()
    out = quantiser(z)
    assert out.z_q.dtype == dtype and out.loss.dtype in (torch.float32, torch.float64)
    (out.z_q.float().sum() + out.loss).backward()
    assert z.grad.dtype == dtype and quantiser.encode(z).shape == out.indices.shape
    quantiser.eval()
    plain = quantiser(z.detach())
    reference = quantiser(z.detach().float())
    assert torch.equal(plain.indices, reference.indices)
    rounding = 1e-6 if dtype == torch.float64 else 0.0
    torch.testing.assert_close(plain.z_q, reference.z_q.to(dtype), rtol=rounding, atol=rounding)


FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


@pytest.mark.parametrize("last", (False, True), ids=("contiguous", "channels last"))
@pytest.mark.parametrize("axes", FORMATS)
@pytest.mark.parametrize("method", ONE_PASS)
def test_the_memory_format_of_the_input_comes_back(method, axes, last):
    memory_format = FORMATS[axes] if last else torch.contiguous_format
    x = latents(*(2, DIM, 3, 5, 2)[:axes]).contiguous(memory_format=memory_format)
    out = build(method, channel_first=True).eval()(x)
    assert out.z_q.is_contiguous(memory_format=memory_format) and out.z_q.shape == x.shape
    assert torch.equal(out.z_q, build(method, channel_first=True).eval()(x.contiguous()).z_q)


def test_integers_are_refused():
    with pytest.raises(ValueError, match="torch.int64: it must be floating point"):
        build()(torch.ones(3, DIM, dtype=torch.int64))


# K16: one dimension


@pytest.mark.parametrize("z, q", ((0.001, -1.0), (1e-6, 5.0), (-0.5, 2.0), (3.0, 3.0)))
def test_in_one_dimension_the_default_is_the_straight_through_estimator(z, q):
    z = torch.full((1, 1), z, requires_grad=True)
    for options in ({}, {"project_to": 1}):
        vq = VectorQuantizer(1, 1, init=torch.full((1, 1), q), gamma=0.0, **options)
        assert vq.estimator.turn == "identity"
    (g,) = torch.autograd.grad(VectorQuantizer(1, 1, init=torch.full((1, 1), q))(z).z_q, z)
    assert g == 1
    asked = VectorQuantizer(1, 1, "rotation", init=torch.full((1, 1), q))
    torch.testing.assert_close(torch.autograd.grad(asked(z).z_q, z)[0], torch.full((1, 1), q) / z.detach())


class Copied(torch.nn.Module):
    """The straight-through estimator as somebody's own."""

    def forward(self, z, q):
        return z + (q - z).detach()


@pytest.mark.parametrize("estimator", ["rotation", Copied()], ids=str)
def test_a_backward_pass_ends_the_step_of_the_state_that_was_lent(estimator):
    vq = VectorQuantizer(DIM, SIZE, estimator, update="ema")
    lent = {name: value.clone() for name, value in vq.state_dict().items()}
    z_q, _, loss = torch.func.functional_call(vq, lent, (latents(8, DIM).requires_grad_(),))
    assert lent["statistics.step_ended"] == 0 and vq.statistics.step_ended == 1
    vq.statistics.step_ended.zero_()
    (z_q.sum() + loss).backward()
    assert lent["statistics.step_ended"] == 1 and vq.statistics.step_ended == 0


def test_torch_is_told_the_signatures_of_the_autograd_functions(monkeypatch):
    """At every call it asks for them, and working one out takes longer than most of the functions."""

    def refuse(*arguments, **options):
        raise AssertionError("a signature is worked out in a training call")

    vq, z = VectorQuantizer(DIM, SIZE, update="ema"), latents(8, DIM).requires_grad_()
    vq(z)
    monkeypatch.setattr(inspect, "_signature_from_function", refuse)
    z_q, _, loss = vq(z)
    (z_q.sum() + loss).backward()
    straight_through(z, z_q.detach()).sum().backward()
