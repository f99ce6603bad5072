# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (training-loop)=
# # In a real training loop
#
# ```{admonition} In short
# :class: tip
# In most loops you write nothing: mixed precision, checkpointing and DDP work as they are. You write one line for
# gradient accumulation, FSDP2, frozen codes and export. The state of a quantiser with {glue:text}`codes` codes of
# dimension {glue:text}`dimension` is {glue:text}`state:.0f` KiB, and a training call of several processes sends
# {glue:text}`sent:.0f` KiB.
# ```
#
# Each row of the table has a section with the lines and an assertion. The page runs them all.
#
# | situation | what to write | what it costs |
# |---|---|---|
# | [Mixed precision](#loop-precision) | nothing | statistics and EMA codes stay float32: {glue:text}`state:.0f` KiB |
# | [Gradient accumulation](#loop-accumulation) | `vq.follow(optimizer)` | nothing |
# | [One codebook, several calls](#loop-levels) | nothing | nothing |
# | [Checkpointing](#loop-checkpoint) | nothing | {glue:text}`again` lookups a step, not {glue:text}`once` |
# | [DDP](#loop-ranks) | nothing | {glue:text}`sent:.0f` KiB a training call, and DDP's copy of the buffers |
# | [FSDP2](#loop-ranks) | `process_group="world"` | {glue:text}`sent:.0f` KiB a training call |
# | [A moving average of the model](#loop-average) | `AveragedModel(model, ...)` | the state once more |
# | [Frozen codes](#loop-frozen) | `vq.frozen = True` | less than training: it counts, and sums nothing |
# | [Resuming](#loop-resume) | the state dict, and `follow` again | {glue:text}`state:.0f` KiB in the file |
# | [Compiling](#loop-compile) | `torch.compile(model)` | the time to compile |
# | [Export](#loop-export) and [ONNX](#loop-onnx) | `engine="plain"` | all scores held: {glue:text}`scores:.0f` KiB |
#
# The numbers are of one quantiser with $K$ = {glue:text}`codes` codes of dimension $d$ = {glue:text}`dimension`, and of
# batches of {glue:text}`tokens` tokens.

# %% tags=["parameters"]
dim: int = 32  # of a latent
codebook_size: int = 256
seed: int = 0

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("27_training_loop", globals(), dim=(2, 128), codebook_size=(4, 512))

# %% tags=["hide-input"]
import contextlib
import copy
import importlib.util
import io
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from book.bench import gpu_report
from rotvq import VectorQuantizer, recommended
from rotvq.runs.grids import stores_folder

tokens = 4 * codebook_size  # of a batch
KIB = 1024


def size(tensors) -> int:
    """Bytes of some tensors."""
    return sum(x.numel() * x.element_size() for x in tensors)


class Lookups(TorchDispatchMode):
    """Counts the lookups that run inside."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function._schema.name.startswith("rotvq::nearest")
        return function(*args, **(kwargs or {}))


# %% [markdown]
# The model of this page, its loss, and some batches:


# %%
class Model(nn.Module):
    def __init__(self, vq):
        super().__init__()
        self.encoder = nn.Linear(dim, dim)
        self.vq = vq
        self.decoder = nn.Linear(dim, dim)

    def forward(self, x):
        z_q, indices, vq_loss = self.vq(self.encoder(x))
        return F.mse_loss(self.decoder(z_q).float(), x) + vq_loss


def make():
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    model = Model(recommended(dim, codebook_size, generator=draw))
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3)


def train(model, optimizer, batches):
    for x in batches:
        optimizer.zero_grad()
        model(x).backward()
        optimizer.step()


def same(first, second):
    """Whether all parameters and buffers are equal, bit for bit."""
    first, second = first.state_dict(), second.state_dict()
    equal = [torch.equal(first[key], second[key]) for key in first]
    return first.keys() == second.keys() and all(equal)


draw = torch.Generator().manual_seed(seed)
batches = torch.randn(4, tokens, dim, generator=draw)

# %% [markdown]
# **What a step is.** With EMA the codes move once a step, at the start of the next one. So the codes that you were
# handed are those in the codebook. A step is all training calls until a backward pass has gone through one of them. A
# call without gradient is a step of its own.
#
# That rule has to see the backward pass. It does not see it, or sees it too early, in the loops below. There write
# `vq.follow(optimizer)`: the optimiser's step ends the step.
#
# - Latents without gradient: a frozen encoder, or a teacher under `no_grad` that shares the codebook. Each call would
#   be a step, and the second call would move the codes of the first.
# - A loss that does not reach the latents: it is taken of `z_q.detach()`, or `autograd.grad` stops at the decoder. The
#   codes would wait for ever, and after 1,000 such calls the quantiser says so.
# - A reentrant checkpoint round a block that calls the quantiser several times. Its first run has no gradient.
# - A pipeline, where batch B is still to go back when batch A has gone back and batch C comes. The checkpointed part of
#   B would be run again with other codes.

# %%
model, optimizer = make()
train(model, optimizer, batches[:2])
z = model.encoder(batches[2])
z_q, indices, _ = model.vq(z)
assert torch.equal(model.vq.decode(indices), z_q)
assert model.vq.statistics.calls == 3  # steps

# %% [markdown]
# (loop-precision)=
# ## Mixed precision
#
# `autocast`, a `GradScaler`, a model cast to bfloat16: the quantiser returns the dtype that it is given. Inside,
# distances are ranked in float32, and the loss is float32. Statistics and EMA codes are buffers that stay float32,
# since in bfloat16 a count would stop at 256. Codes that a gradient moves are a parameter, and are cast as any other.

# %%
model, optimizer = make()
scaler = torch.amp.GradScaler("cpu", init_scale=256.0)  # "cuda" on a GPU
for x in batches:
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(x)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()

half = copy.deepcopy(model).bfloat16()
z = half.encoder(batches[0].bfloat16())
z_q, indices, vq_loss = half.vq(z)
assert z_q.dtype == torch.bfloat16 and vq_loss.dtype == torch.float32
assert torch.equal(z_q, half.vq.codes[indices].bfloat16())
floats = [x for x in half.vq.state_dict().values() if x.is_floating_point()]
assert all(x.dtype == torch.float32 for x in floats)

two = torch.eye(2, dim)
vq = VectorQuantizer(dim, 2, init=two, update="ema", decay=0.5).bfloat16()
for _ in range(20):
    vq(two[:1].repeat(4000, 1).bfloat16())
assert abs(vq.statistics.running[0] - 4000) < 1

# %% tags=["hide-input"]
page.say("state", size(model.vq.state_dict().values()) / KIB)
page.say("", {"codes": codebook_size, "dimension": dim, "tokens": f"{tokens:,}"})
tried = [result["passed"] for result in gpu_report.device_tests(stores_folder() / "gpu").values()]
page.say(
    "gpu",
    {"passed": sum(map(bool, tried)), "tested": len(tried)} if tried else dict.fromkeys(("passed", "tested"), "none"),
)

# %% [markdown]
# If float16 overflows, the quantiser refuses NaN and inf among its latents with an error. With `check=False` they pass,
# count in no statistic and in the gradient of no other latent, and the scaler skips the step. On a GPU that also saves
# a wait a call. They do spoil the gradient of linear maps that they go through (`project_to`, `Projected`, FSQ, LFQ,
# Gumbel-softmax) and of codes that learn through what the decoder sees (NSVQ, DiVeQ, SF-DiVeQ, `gumbel_soft`), even
# where the loss is taken of other latents. So without a scaler mask them.
#
# (loop-accumulation)=
# ## Gradient accumulation
#
# Each backward pass ends a step, so the codes would move with every micro-batch. After `follow` the optimiser's step
# ends it, and the codes are those of the whole batch.

# %%
model, optimizer = make()
whole, whole_optimizer = make()
for each, its_optimizer in ((model, optimizer), (whole, whole_optimizer)):
    train(each, its_optimizer, batches[:1])

model.vq.follow(optimizer)
optimizer.zero_grad()
seen = []
for micro_batch in batches[1].chunk(4):
    (model(micro_batch) / 4).backward()
    seen.append(model.vq.codes.clone())
optimizer.step()
assert all(torch.equal(codes, seen[0]) for codes in seen)

train(whole, whole_optimizer, batches[1:2])
for each in (model, whole):
    each.vq(batches[2])  # takes the step
assert_close(model.vq.codes, whole.vq.codes)
assert not torch.equal(model.vq.codes, seen[0])

# %% [markdown]
# If a GradScaler skips a step, it does not end. Call `follow` again for a copy, and after loading a checkpoint. The
# running mean of `centre="latents"` is taken of the first call of a step, here of the first micro-batch.
#
# (loop-levels)=
# ## One codebook, several calls
#
# If a model quantises at several scales with one codebook, all calls up to the backward pass see the same codes, are
# counted together, and move the codes once.

# %%
model, optimizer = make()
train(model, optimizer, batches[:1])
steps = model.vq.statistics.calls.item()

z = model.encoder(batches[1])
fine, coarse = model.vq(z), model.vq(z.unflatten(0, (-1, 2)).mean(1))
# the second call moved nothing
assert torch.equal(model.vq.decode(fine.indices), fine.z_q)
(fine.z_q.sum() + coarse.z_q.sum() + fine.loss + coarse.loss).backward()
assert model.vq.statistics.calls == steps + 1

# %% [markdown]
# (loop-checkpoint)=
# ## Checkpointing
#
# `torch.utils.checkpoint` runs the forward pass once more inside the backward pass. That second run finds the codes of
# the first, and writes nothing. So gradients and state are those without a checkpoint, for both kinds of it.

# %%
ways = {
    "plain": lambda vq, z: vq(z),
    "again": lambda vq, z: checkpoint(vq, z, use_reentrant=False),
    "reentrant": lambda vq, z: checkpoint(vq, z, use_reentrant=True),
}
lookups, done = {}, {}
for way, call in ways.items():
    model_of_its_own = copy.deepcopy(model)
    encoder, vq = model_of_its_own.encoder, model_of_its_own.vq
    with Lookups() as counted:
        z_q, _, vq_loss = call(vq, encoder(batches[1]))
        (z_q.square().mean() + vq_loss).backward()
    lookups[way], done[way] = counted.count, model_of_its_own
    assert same(model_of_its_own, done["plain"])
    expected = done["plain"].encoder.weight.grad
    assert torch.equal(encoder.weight.grad, expected)

# %% tags=["hide-input"]
kept = {}


def keep(x):
    kept[x.data_ptr()] = size([x])
    return x


with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
    model.vq(batches[1].clone().requires_grad_())
page.say("", {"once": lookups["plain"], "again": lookups["again"]})
page.say("kept", sum(kept.values()) / KIB)
page.say("batch", size([batches[1]]) / KIB)

# %% [markdown]
# Better put the checkpoint round the encoder alone. Of a batch of {glue:text}`batch:.0f` KiB a quantiser keeps
# {glue:text}`kept:.0f` KiB for its backward pass. The checkpoint saves that and pays with a second lookup.
#
# Methods that draw numbers (`temperature`, NSVQ, DiVeQ, Gumbel-softmax) draw the same ones again. They need torch's
# random state, which a checkpoint restores by default. If it does not, that is an error. Two calls that start from one
# random state, as after the same `manual_seed` in `fork_rng`, cannot be told apart: the first is run again with the
# numbers of the second. With `torch.compile`, put the checkpoint round what is compiled.

# %%
drawn = {"init": "latents", "temperature": 0.5}
sampled = recommended(dim, codebook_size, **drawn)
sampled(batches[0])
z = batches[1].clone().requires_grad_()
forgetful = {"use_reentrant": False, "preserve_rng_state": False}
z_q, _, vq_loss = checkpoint(sampled, z, **forgetful)
try:
    (z_q.sum() + vq_loss).backward()
except RuntimeError as error:
    print(error)
else:
    raise AssertionError("a second draw went unnoticed")

# %% [markdown]
# (loop-ranks)=
# ## Several processes: DDP and FSDP2
#
# `process_group` says which ranks count together.
#
# - By default they are those of the DistributedDataParallel whose forward pass is running. A constructor, a validation
#   on rank 0, or a model that each rank trains for itself sends nothing and waits for nobody.
# - With a group, or `"world"`, all its ranks have to make every training call together. FSDP2 needs this: without it
#   EMA codes are refused there, since each rank's would go their own way.
# - A copy of a module has its group. A file has `"world"`, but no other group: set `vq.process_group` after loading.
#
# FSDP2 shards parameters alone. EMA codes are a buffer, so every rank holds them. Here two processes train by DDP and
# by FSDP2, as `torchrun` starts them:

# %%
SCRIPT = """
import json, sys
import torch
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from rotvq import recommended

dim, codebook_size, seed = json.loads(sys.argv[1])
batches = torch.load("batches.pt")
distributed.init_process_group("gloo")  # "nccl" on GPUs
rank, ranks = distributed.get_rank(), distributed.get_world_size()

def make(**options):
    torch.manual_seed(seed)
    start = torch.Generator().manual_seed(seed + rank)  # rank 0's counts
    vq = recommended(dim, codebook_size, generator=start, **options)
    return nn.Sequential(nn.Linear(dim, dim), vq)

def train(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x in batches:
        optimizer.zero_grad()
        z_q, _, vq_loss = model(x.chunk(ranks)[rank])  # its own part
        (z_q.square().mean() + vq_loss).backward()
        optimizer.step()

ddp = DistributedDataParallel(make())
train(ddp)

fsdp = make(process_group="world")
fully_shard(fsdp)
train(fsdp)

sent = []  # bytes, in one more training call of each

def counting(collective):
    def call(x, *args, **options):
        sent.append(x.numel() * x.element_size())
        return collective(x, *args, **options)
    return call

distributed.all_reduce = counting(distributed.all_reduce)
distributed.broadcast = counting(distributed.broadcast)
part = batches[0].chunk(ranks)[rank]
fsdp[1](part)
ddp.module[1](part)  # outside DDP's forward pass: sends nothing

codes = {"ddp": ddp.module[1].codes, "fsdp": fsdp[1].codes}
torch.save({**codes, "sent": sent}, f"rank{rank}.pt")
distributed.destroy_process_group()
"""

# %%
ranks = 2
torchrun = [sys.executable, "-m", "torch.distributed.run"]
with tempfile.TemporaryDirectory() as folder:
    torch.save(batches, Path(folder, "batches.pt"))
    Path(folder, "train.py").write_text(SCRIPT)
    subprocess.run(
        [
            *torchrun,
            "--standalone",
            f"--nproc-per-node={ranks}",
            "train.py",
            json.dumps([dim, codebook_size, seed]),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    files = [Path(folder, f"rank{rank}.pt") for rank in range(ranks)]
    found = [torch.load(file) for file in files]

# the same in one process, on whole batches
torch.manual_seed(seed)
start = torch.Generator().manual_seed(seed)
vq = recommended(dim, codebook_size, generator=start)
alone = nn.Sequential(nn.Linear(dim, dim), vq)
optimizer = torch.optim.SGD(alone.parameters(), lr=0.1)
for x in batches:
    optimizer.zero_grad()
    z_q, _, vq_loss = alone(x)
    (z_q.square().mean() + vq_loss).backward()
    optimizer.step()
vq(batches[0])

for way in ("ddp", "fsdp"):
    codes, codes_of_the_other = (rank[way] for rank in found)
    assert torch.equal(codes, codes_of_the_other)
    # sums in another order
    assert_close(codes, vq.codes, rtol=1e-4, atol=1e-5)

# %% tags=["hide-input"]
numbers = codebook_size * (dim + 1)
counted = sum(found[0]["sent"])
assert counted == 2 * 4 * numbers + 8 * ranks  # the last: latents of each rank
page.say("sent", counted / KIB)
page.say("numbers", f"{numbers:,}")
page.say("buffers", size(vq.buffers()) / KIB)

# %% [markdown]
# | what | numbers | when |
# |---|---|---|
# | counts and sums of EMA codes | $K(d+1)$ | every training call |
# | revival: a draw and a latent for each code | $K(d+1)$ | every training call, whether a code is dead or not |
# | counts, of codes that a gradient moves | $K$ | every training call |
# | latents for k-means | all of the first batch | once |
#
# Here $K(d+1)$ is {glue:text}`numbers`, and a training call of `recommended` exchanges {glue:text}`sent:.0f` KiB, as
# counted by the script. Inside `no_sync()` the quantiser still exchanges them, with each micro-batch.
#
# DDP by itself also sends the buffers of rank 0 to all at every forward pass, {glue:text}`buffers:.0f` KiB of them for
# this quantiser. They are equal anyway, so leave that out: `DistributedDataParallel(model,
# forward_sync_buffers=False)`, in older torch `broadcast_buffers`.
#
# If FSDP2 shards codes that a gradient moves, their revival is refused, and so is their start from latents: what is
# written to them would be lost. With EMA both work. Or start the codes before they are sharded:
#
# ```python
# with torch.no_grad():
#     model(batch)  # in training mode, on every rank, with process_group="world"
# fully_shard(model)
# ```
#
# (loop-average)=
# ## A moving average of the model
#
# EMA codes are averages already. torch's `AveragedModel` copies buffers as they are, so the average has the codes of
# the model. It averages codes that a gradient moves, as any parameter. If your own loop walks over `parameters()`, copy
# `buffers()`, too: EMA codes are there.

# %%
model, optimizer = make()
average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
average.eval()
for x in batches:
    train(model, optimizer, [x])
    average.update_parameters(model)
assert torch.equal(average.module.vq.codes, model.vq.codes)
assert not torch.equal(average.module.encoder.weight, model.encoder.weight)

# %% [markdown]
# (loop-frozen)=
# ## Frozen codes
#
# For finetuning, set `frozen`. It holds in training mode, for every update, for revival, and for an optimiser that
# decays weights. `eval()` does not: the next `model.train()` takes it back. `requires_grad_(False)` does not: EMA needs
# no gradient. Setting `frozen`, to whatever value, also sets `requires_grad` of all that the codes are made of: a
# `requires_grad_(False)` before it is undone by `frozen = False`, one after it stays. The commitment loss goes on.
# `ResidualVectorQuantizer` and `Grouped` have it for all levels.
#
# What stays is `vq.codes`. The linear maps round the codes, of `project_to`, `Projected` and LFQ, learn on, and with
# them what `decode` gives; `vq.requires_grad_(False)` stops them. DDP looks once at what learns: if you set `frozen`
# after wrapping, wrap the model again. With codes that a gradient moves a warning says so.

# %%
model.vq.frozen = True  # or recommended(..., frozen=True)
codes, encoder = model.vq.codes.clone(), model.encoder.weight.clone()
train(model.train(), optimizer, batches)
assert torch.equal(model.vq.codes, codes)
assert not torch.equal(model.encoder.weight, encoder)

model.vq.frozen = False
train(model, optimizer, batches[:2])
assert not torch.equal(model.vq.codes, codes)

# %% [markdown]
# (loop-resume)=
# ## Resuming
#
# A run that was stopped goes on bit for bit. The state dict has the codes, whether they have started, what the last
# step counted and has not yet moved, and the number of random draws. It does not have the seed of the draws, which is
# that of `generator`: build the quantiser as before. A `ResidualVectorQuantizer` without a `generator` takes seeds from
# torch's global random state, so build it after the same `manual_seed`.

# %%
model, optimizer = make()
train(model, optimizer, batches[:2])
file = io.BytesIO()  # or a path
saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
torch.save(saved, file)
train(model, optimizer, batches[2:])

file.seek(0)
saved = torch.load(file, weights_only=True)
resumed, resumed_optimizer = make()
resumed.load_state_dict(saved["model"])
resumed_optimizer.load_state_dict(saved["optimizer"])
train(resumed, resumed_optimizer, batches[2:])
assert same(resumed, model)

state = model.vq.state_dict()
rows = {key: (str(tuple(x.shape)), str(x.dtype)) for key, x in state.items()}
pd.DataFrame.from_dict(rows, "index", columns=["shape", "dtype"])

# %% [markdown]
# Modules also pickle and deep-copy. After loading, call `follow` again if you use it.
#
# (loop-compile)=
# ## Compiling
#
# `torch.compile(model, fullgraph=True)` finds no graph break. If codes start from latents, train one batch first. If
# you call a quantiser several times a step, let it follow the optimiser: when compiled, each call is a step of its own
# otherwise, but for the levels of a `ResidualVectorQuantizer`. The check for NaN is off.
#
# `torch.func.vmap` trains several quantisers at once, from the states that `stack_module_state` stacks. Their codes
# have to have started, and one state for all of them is an error of torch's. The check is off there, too.

# %%
model, optimizer = make()
train(model, optimizer, batches[:1])
model.vq.follow(optimizer)  # for a codebook that is called several times
eager, eager_optimizer = make()
train(eager, eager_optimizer, batches[:1])

quick = "aot_eager"  # leave it out for speed
compiled = torch.compile(model, fullgraph=True, backend=quick)
train(compiled, optimizer, batches[1:])
train(eager, eager_optimizer, batches[1:])
assert_close(model.vq.codes, eager.vq.codes)
assert_close(model.encoder.weight, eager.encoder.weight)

# %% [markdown]
# This example's backend makes no machine code, to be quick. The tests also compile by Inductor.
#
# (loop-export)=
# ## Export
#
# The lookup is an operator of `rotvq`, and a file with it needs `import rotvq` to load. With `engine="plain"` it is one
# matrix product and an argmax of torch's own. It forms all $N\times K$ scores: {glue:text}`scores:.0f` KiB for a batch
# of this page. The batch may have any size.


# %%
class Tokens(nn.Module):
    def __init__(self, encoder, vq):
        super().__init__()
        self.encoder, self.vq = encoder, vq

    def forward(self, x):
        z_q, indices, _ = self.vq(self.encoder(x))
        return z_q, indices


codes = model.vq.codes
plain = VectorQuantizer(dim, codebook_size, init=codes, engine="plain")
tokenizer = Tokens(model.encoder, plain).eval()
any_batch = {"x": {0: torch.export.Dim("batch")}}
example = (batches[0],)
program = torch.export.export(tokenizer, example, dynamic_shapes=any_batch)

for n in (2, 7, tokens):
    x = batches[1, :n]
    z_q, indices = program.module()(x)
    assert torch.equal(indices, model.vq.encode(model.encoder(x)))
    assert torch.equal(z_q, codes[indices])
assert not any("rotvq" in str(node.target) for node in program.graph.nodes)

# %% tags=["hide-input"]
page.say("scores", 4 * tokens * codebook_size / KIB)

# %% [markdown]
# (loop-onnx)=
# ### ONNX
#
# The same module by `torch.onnx.export` (`onnx` and `onnxscript` installed), run by `onnxruntime`.

# %%
needed = ("onnx", "onnxscript", "onnxruntime")
missing = [name for name in needed if not importlib.util.find_spec(name)]
if missing:
    print(f"not run: {', '.join(missing)} not installed")
else:
    import onnxruntime

    logging.disable(logging.WARNING)  # of packages that nothing here needs
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = str(Path(folder, "tokenizer.onnx"))
        with contextlib.redirect_stdout(io.StringIO()):
            options = {"input_names": ["x"], "dynamic_shapes": any_batch}
            torch.onnx.export(tokenizer, example, path, dynamo=True, **options)
        session = onnxruntime.InferenceSession(path)
        for n in (2, 7, tokens):
            x = batches[1, :n]
            z_q, indices = map(torch.from_numpy, session.run(None, {"x": x.numpy()}))
            assert_close(z_q, codes[indices])
            agree = (indices == tokenizer(x)[1]).float().mean()
            assert agree > 0.99  # another product may break a near tie otherwise
    logging.disable(logging.NOTSET)
    print("the indices are those of torch")

# %% [markdown]
# ## What this page does not show
#
# No cell of it ran on a GPU. On one, {glue:text}`gpu-passed` of {glue:text}`gpu-tested` device tests of the quantisers
# pass, in mixed precision, compiled and as a CUDA graph ({ref}`cost-on-a-gpu`). Accumulation, checkpointing, DDP, FSDP2
# and export were tried on CPUs alone. {doc}`20_cost` has times, {doc}`23_scale` one training on several machines, and
# {doc}`22_use_it` what each argument means.
