# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (scale)=
# # One core to a cluster
#
# ```{admonition} In short
# :class: tip
# On one core a training step of this book takes {glue:text}`x-library:.1f` times as long in a plain loop with
# vector-quantize-pytorch, and most of that is the quantiser. Several small runs share a machine better than one run
# shares several threads: two at once get {glue:text}`two-runs` times as much done, one on two threads
# {glue:text}`two-threads` times. The paper's own setting would take {glue:text}`hours-16:.1f` and
# {glue:text}`hours-4:.1f` hours a run on {glue:text}`cards` cards, by an estimate.
# ```
#
# ```{glue:figure} fig-throughput
# :name: fig-scale-throughput
#
# Our loops (blue) finish more runs in a core-hour than those with vector-quantize-pytorch (orange, hatched); longer is
# better. Runs of {glue:text}`steps` training steps, evaluations left out. Grey: quartiles.
# ```
#
# A run is a `Config`. The same `Config` trains on one core, on all cores, on a GPU, as a job array, or on several GPUs
# at once, and gives the same result up to the order of sums. Times on a CPU were measured on this book's machine. On a
# GPU, small runs that share one card were.

# %% tags=["parameters"]
profile: str = "standard"  # smoke: a few steps of each loop; standard
device: str = "cpu"  # where the small run is timed
records: str = ""  # folder of the times; a new folder: measure now
ways: list[str] = ["serial", "processes:2", "shard"]  # engines; also ray:0
ranks: int = 2  # processes that share one training here
cards: int = 8  # of the estimate
utilisation: float = 0.5  # of the estimate: an assumption

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page(
    "23_scale",
    globals(),
    profile=("smoke", "standard"),
    ways=("serial", "processes:2", "shard", "ray:0"),
    ranks=(1, 8),
    cards=(1, 256),
    utilisation=(0.01, 1.0),
)

# %% tags=["hide-input"]
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from book.bench import gpu_report, paper_runs, sizing
from book.bench import run as run_bench
from book.bench.timing import ratio
from rotvq.__main__ import main
from rotvq.page.figures import MUTED, used
from rotvq.runs import scheduler
from rotvq.runs.grids import expand as configs_of
from rotvq.runs.grids import stores_folder
from rotvq.runs.records import Records
from rotvq.training.config import FIELDS, Config
from rotvq.training.train import train

# %% [markdown]
# ## One core
#
# The standard small run is the one that the experiments of this book train thousands of times: the convolutional
# VQ-VAE on Fashion-MNIST, 512 codes of dimension 32, the rotation, batches of 32, Adam.
#
# Ten loops train it. Ours, that of `train`, does three things: it keeps the images in memory as bytes, lays tensors out
# with channels last, and lets one kernel do Adam's step. The plain loop does none of this: a `DataLoader` collates
# normalised floats. The other loops take one of the three away, or add one thing.

# %% tags=["hide-input"]
case = run_bench.loop_case(profile, device)
folder = Path(records) if records else stores_folder() / "23_scale"
turns = {"rounds": 2, "budget": 0.0} if profile == "smoke" else {}  # else those of a measurement
record = run_bench.record(case, folder, **turns)
committed = profile == "standard" and device == "cpu" and not records
made, result = record["provenance"], record["result"]
times = result["seconds"]

LABELS = {
    "library": "v-q-pytorch, plain loop",
    "library_gradient": "v-q-pytorch, learned codes, plain loop",
    "library_here": "v-q-pytorch, our loop",
    "plain": "ours, plain loop",
    "contiguous": "ours, without channels last",
    "loader": "ours, with a DataLoader",
    "unfused": "ours, without fused Adam",
    "rotvq": "ours",
    "compiled": "ours, compiled",
    "bfloat16": "ours, bfloat16",
}
order = [name for name in LABELS if name in times]
relative = {name: ratio(times, name, "rotvq") for name in order}
step = {name: statistics.median(times[name]) / case.block for name in order}
per_hour = {name: 3600 / (case.steps * step["rotvq"] * relative[name].median) for name in order}
table = pd.DataFrame(
    {
        "time / ours": [str(relative[name]) for name in order],
        "ms a step": [f"{1e3 * step[name]:.2f}" for name in order],
        "runs per core-hour": [f"{per_hour[name]:.0f}" for name in order],
    },
    index=[LABELS[name] for name in order],
)
idle, whole = max(made["load"]) < 1.5, statistics.median(result["run"])
page.say("x", {name: relative[name].median for name in order})
page.say("", {"rounds": len(times["rotvq"]), "block": case.block, "steps": f"{case.steps:,}"})
page.say("", {"machine": made["device"], "cores": made["cores"], "torch": made["torch"]})
page.say("load", " and ".join(f"{load:.1f}" for load in made["load"]))
page.say("idle", "It was idle" if idle else "It was not idle: other work shared its cores and caches")
page.say("", {"whole": whole, "whole-per-hour": 3600 / whole})
page.say("measuring", 100 * (1 - case.steps * step["rotvq"] / whole))
table

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(4.6, 0.45 * len(order) + 0.5))
for height, name in enumerate(reversed(order)):
    low, high = (per_hour["rotvq"] / getattr(relative[name], end) for end in ("high", "low"))
    ours = not name.startswith("library")
    ax.barh(
        height,
        per_hour[name],
        height=0.4,
        color="#2a7ad2" if ours else "#d0620f",
        hatch="" if ours else "//",
        edgecolor=MUTED,
        linewidth=0.6,
    )
    ax.text(0, height + 0.24, LABELS[name], va="bottom", fontsize=9)
    ax.plot([low, high], [height, height], color=MUTED, linewidth=3, solid_capstyle="butt")
ax.axvline(per_hour["rotvq"], color=MUTED, linewidth=1)
ax.set(xlabel="runs per core-hour (better →)", yticks=[], ylim=(-0.4, len(order) - 0.2))
ax.grid(axis="y", visible=False)
alt = (
    "Bars: how many training runs one core completes in an hour with each loop. The loops with vector-quantize-pytorch "
    "are the slowest; the plain loop is the slowest of ours."
)
page.show("fig-throughput", fig, alt)

# %% [markdown]
# **How it was measured.** All loops ran in one process on one thread, in blocks of {glue:text}`block` steps, for
# {glue:text}`rounds` turns, each with another loop first. A ratio is formed within a turn; shown are median and
# quartiles of processor time. Machine: {glue:text}`machine`, {glue:text}`cores` cores, torch {glue:text}`torch`.
# {glue:text}`idle`; its load average was {glue:text}`load` before and after.

# %% tags=["hide-input"]
if committed:
    x = {name: relative[name] for name in order}
    assert x["library"].low > 1.5 and x["library_gradient"].low > 1.5  # the goal
    assert abs(x["library"].median - x["library_gradient"].median) < 0.2
    assert x["library_here"].low > x["plain"].high  # the quantiser is the larger part
    assert x["plain"].low > 1.05  # 5 %, from which a speed-up was to be taken
    assert max(x[name].median for name in ("contiguous", "loader", "unfused")) < 1.05
    assert x["plain"].median == max(v.median for name, v in x.items() if not name.startswith("library"))
    assert min(x["compiled"].median, x["bfloat16"].median) > 1  # no gain
compiled = "compiled" in times
page.say("compile-seconds", f"{result['first']['compiled']:.0f}" if compiled else "an unmeasured number of")
page.say("x-compiled-text", f"{relative['compiled'].median:.2f}" if compiled else "an unmeasured number of")

# %% [markdown]
# **Most of the gain is the quantiser.** With vector-quantize-pytorch in the plain loop a step takes
# {glue:text}`x-library:.2f` times as long. With learned codes in place of EMA it takes
# {glue:text}`x-library_gradient:.2f` times. In our loop it still takes {glue:text}`x-library_here:.2f` times as long,
# while our quantiser in the plain loop takes {glue:text}`x-plain:.2f`. So if you swap the quantiser alone, you gain
# most of it ({doc}`22_use_it`).
#
# **The three changes of the loop matter together.** One by one they bring less than 5 %: without channels last a step
# takes {glue:text}`x-contiguous:.2f` times as long, with a DataLoader {glue:text}`x-loader:.2f`, without fused Adam
# {glue:text}`x-unfused:.2f`.
#
# **`torch.compile` and bfloat16 bring nothing on this CPU.** Compiled, a step takes {glue:text}`x-compiled-text` times
# as long, after a first block of {glue:text}`compile-seconds` seconds. In bfloat16 it takes
# {glue:text}`x-bfloat16:.2f` times as long, and results change.
#
# **A whole run** also evaluates, and notes statistics of 40 batches. It takes {glue:text}`whole:.1f` s of processor
# time, {glue:text}`measuring:.0f` % of it for that: {glue:text}`whole-per-hour:.0f` runs per core-hour.
#
# ### Several runs at once
#
# The runs of a row begin together, in processes of their own. The clock is the one on the wall.

# %% tags=["hide-input"]
shared = result["together"]
ways_table = pd.DataFrame(
    {
        "ms for one step": [f"{1e3 * statistics.median(v):.2f}" for v in shared.values()],
        "range": [f"{1e3 * min(v):.2f} to {1e3 * max(v):.2f}" for v in shared.values()],
        "throughput": [f"{statistics.median(shared['1 x 1']) / statistics.median(v):.2f}" for v in shared.values()],
    },
    index=["{} at once, threads: {}".format(*way.split(" x ")) for way in shared],
)
middle = {way: statistics.median(v) for way, v in shared.items()}
page.say("two-runs", f"{middle['1 x 1'] / middle['2 x 1']:.2f}")
page.say("two-threads", f"{middle['1 x 1'] / middle['1 x 2']:.2f}" if "1 x 2" in middle else "not measured")
page.say(
    "priority", " Other work wanted the cores at that time; this one had priority." if committed and not idle else ""
)
if committed:
    assert middle["2 x 1"] < 0.9 * middle["1 x 2"]

gpu = stores_folder() / "gpu"
on_card, limits = gpu_report.sharing(gpu), gpu_report.read(gpu, "card")
of_card = dict.fromkeys(("card", "card-ms", "card-4", "card-16", "card-cores"), gpu_report.NOT_RUN)
if on_card and limits:
    assert on_card[1] > on_card[4] > on_card[16] and on_card[1] > 2 * on_card[16]  # alone it leaves most of it idle
    there = limits[-1]["provenance"]
    of_card |= {"card": there["device"], "card-cores": there["cores"], "card-ms": f"{1e3 * on_card[1]:.1f}"}
    of_card |= {f"card-{runs}": f"{on_card[1] / seconds:.1f}" for runs, seconds in on_card.items() if runs > 1}
page.say("", of_card)
page.say("core-ms", f"{1e3 * middle['1 x 1']:.1f}")
ways_table

# %% [markdown]
# Two runs on one thread each get {glue:text}`two-runs` times as much done as one such run. One run on two threads gets
# {glue:text}`two-threads` times as much done. So every run of this book has one thread.{glue:text}`priority`
#
# **On a GPU** one small run leaves most of the card idle. On one {glue:text}`card` it takes {glue:text}`card-ms` ms a
# step, here on one core {glue:text}`core-ms` ms. Four runs at once get {glue:text}`card-4` times as much done as one,
# sixteen {glue:text}`card-16` times. Each was timed once, by the call of {ref}`cost-on-a-gpu`, on a machine of
# {glue:text}`card-cores` cores.

# %% tags=["hide-input"]
pd.DataFrame(
    {
        "ms for one step": [f"{1e3 * seconds:.2f}" for seconds in on_card.values()],
        "throughput": [f"{on_card[1] / seconds:.2f}" for seconds in on_card.values()],
    },
    index=[f"{runs} at once" for runs in on_card],
) if on_card else gpu_report.NOT_RUN

# %% [markdown]
# For another card, one command times 1, 2, 4, 8 and 16 runs at once. The best row of the table above is then the k of
# `processes:k` or of `ray:1/k`:
#
# ```
# .venv/bin/papermill notebooks/23_scale.ipynb out.ipynb -y '{device: cuda, records: gpu}'
# ```
#
# ## Many runs: engines
#
# A grid trains what has no record. The engine decides where.
#
# | engine | runs go to | for |
# |---|---|---|
# | `serial` | this process, one after the other | a look |
# | `processes:N` | N processes of this machine, which may share a GPU | a workstation |
# | `ray:GPUS` | Ray tasks that ask for that share of a GPU, here or on the cluster at `RAY_ADDRESS` | a Ray cluster |
# | `shard:I/OF` | part I of OF of the grid, in another engine | job arrays |
#
# If a grid is killed, start it again: it trains what is missing. One small grid, by each engine, into a store of its
# own:

# %%
ENGINES = {"shard": ["shard:0/2", "shard:1/2"]}  # two jobs of an array
small = configs_of(
    data="fashion-mnist-mini",
    codebook_size=16,
    steps=5,
    estimator=["ste", "rotation"],
    seed=[0, 1],
)
results = {}
with tempfile.TemporaryDirectory() as stores:
    for way in ways:
        store = Records(Path(stores, way.replace(":", "-")))
        for name in ENGINES.get(way, [way]):
            for _, outcome in scheduler.run(small, store, name, progress=False):
                assert not isinstance(outcome, scheduler.Failure), outcome
        results[way] = [store.get(config)["result"] for config in small]

# every number of every run
assert all(found == results[ways[0]] for found in results.values())
print(f"{len(small)} runs by each of {', '.join(ways)}: equal results")

# %% [markdown]
# On a cluster with Slurm, one command prints the script of a job array, each job a shard. What a job has not
# finished when its time is up is trained by the next `sbatch` of the same script.

# %%
line = "grid 10 --profile full --device cuda --records runs --sbatch 8"
assert main(line.split()) == 0  # python -m rotvq grid 10 ...

# %% [markdown]
# ## One large training
#
# If a training is too large for one card, several share it, with torch's own launcher. The same command on one process,
# or without `torchrun`, gives the same run up to the order of sums:

# %%
shown = Config(
    data="fashion-mnist-mini",
    codebook_size=16,
    dim=8,
    batch=8,
    steps=20,
    update="ema",
    initial_count=0,
)


def folded(line: str) -> str:
    """A command in lines that a shell takes as one, an option on one line."""
    line = re.sub(r"(--[\w-]+) (?!-)", r"\1~", line)
    lines = textwrap.wrap(line, 70, break_on_hyphens=False)
    return " \\\n    ".join(lines).replace("~", " ")


def torchrun(processes: int) -> list[float]:
    """The first losses of the record that this command leaves."""
    line = paper_runs.command(shown, processes, "cpu", "runs")
    launcher = [sys.executable, "-m", "torch.distributed.run"]
    with tempfile.TemporaryDirectory() as here:
        subprocess.run(
            launcher + line.split()[1:],
            cwd=here,
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        (path,) = Path(here, "runs").glob("*.json")  # one, by any number
        return json.loads(path.read_text())["result"]["curve"]["first"]


print(folded(paper_runs.command(shown, ranks, "cpu", "runs")))
pairs = list(zip(train(shown)["curve"]["first"], torchrun(ranks), strict=True))
apart = max(abs(a / b - 1) for a, b in pairs)
assert apart < 1e-4
print(f"{len(pairs)} losses of 1 and {ranks} processes: within {apart:.0e}")

# %% [markdown]
# **What is reduced over ranks.** Every rank takes an equal part of every batch. Gradients are averaged. Codebook
# statistics (counts and sums of the EMA, usage for the revival of dead codes) are summed, so the codes are those of the
# whole batch. Latents for k-means are gathered, and one rank's codes are sent to all. Batch normalisation is refused,
# and so is a batch that ranks cannot share equally.
#
# **What resumption guarantees.** With `--records` a run writes a resume point about once a minute. After a kill the
# same command goes on from it, and at most a minute of work is lost. On a CPU the result is that of the uninterrupted
# run, bit for bit. On a GPU, sums whose order changes leave differences of rounding.
#
# **Data.** `imagefolder:PATH` reads `train/` and `val/` folders with one folder per class. A split too large for memory
# is decoded once into a file of bytes, which all ranks of a machine map.

# %% [markdown]
# ## The paper's Table 1
#
# The networks are here, untrained: `residual_f16` and `residual_f4` have the layers, shapes and numbers of parameters
# of the paper's code {cite}`fifty2024code`, which takes them from VQGAN {cite}`esser2021taming`. This book had one card
# for some minutes, and no ImageNet.

# %%
table_1 = paper_runs.table_1()
columns = {" ".join(key): c.as_dict() for key, c in table_1.items()}
plain = Config().as_dict()
rows = [f for f in FIELDS if any(c[f] != plain[f] for c in columns.values())]
pd.DataFrame(columns).loc[rows].drop("data")

# %% tags=["hide-input"]
page.say("epoch", f"{paper_runs.EPOCH:,}")
page.say("passes", paper_runs.IMAGENET / paper_runs.EPOCH)
page.say("updates-16", f"{table_1['f = 16', 'Euclid'].steps:,}")
page.say("updates-4", f"{table_1['f = 4', 'Euclid'].steps:,}")
for config in table_1.values():  # `imagenet` is the folder of the images
    print(folded(paper_runs.command(config, cards)))

# %% [markdown]
# **Inferred, not stated.** The paper's text gives 32 × 32 × 32 latents for the first network. Its widths, 128 × (1, 1,
# 2, 2, 4), make four halvings, f = 16 and 16 × 16 latents of dimension 32. The released code reshapes to 16 × 16, too,
# though its flag says `--f 8`. The widths 128 × (1, 2, 4) make f = 4 and 64 × 64 latents of dimension 3.
#
# **An epoch** of the released loop ends after about {glue:text}`epoch` images. A pass over ImageNet has
# {glue:text}`passes:.1f` times as many. Counted so, 25 and 20 epochs are {glue:text}`updates-16` and
# {glue:text}`updates-4` steps. Whether Table 1 was made so is not known: the script that comes with the loop asks for
# 100 epochs.
#
# **What differs.** The released code trains under bfloat16 autocast, clips the gradient to norm 1, warms the learning
# rate up over 3,000 updates and halves it on a cosine, and uses $\beta_2 = 0.99$ in AdamW. It adds eight batches of 32
# to one update, so its EMA codebook moves eight times an update; ours moves once for 256 images. Its LayerNorm has
# weights; ours, `norm="latent"`, has none.
#
# ### What it would take: an estimate
#
# No training was run. Counted, on tensors without contents, are parameters, operations, the bytes that the graph keeps
# for the backward pass, and those that kernels read and write. The card is one H100 SXM by its data sheet: 495 TFLOP/s
# dense in TF32, in which torch does convolutions; 67 TFLOP/s in float32, in which it does other products; 3.35 TB/s;
# 80 GB. On one such card, products in float32 were measured at {glue:text}`measured-float32` of the data sheet's rate
# and copies at {glue:text}`measured-bandwidth`.

# %%
card, batch = sizing.H100, paper_runs.BATCH
share = batch // cards
sizes = {n: sizing.size(table_1[n, "Euclid"]) for n in paper_runs.NETWORKS}
memory = pd.DataFrame({n: s.memory(share) for n, s in sizes.items()}) / 1e9
memory.loc["together"] = memory.sum()
whole_batch = [sum(s.memory(batch).values()) / 1e9 for s in sizes.values()]
memory.loc["one card, the whole batch"] = whole_batch
memory.round(2)

# %% tags=["hide-input"]
f16, f4 = sizes.values()
by_name = {"16": f16, "4": f4}
page.say("parameters", {name: (found.encoder + found.decoder) / 1e6 for name, found in by_name.items()})
page.say("kept", {name: found.kept / 1e9 for name, found in by_name.items()})
page.say("tflop", {name: found.flops / 1e12 for name, found in by_name.items()})
page.say("moved", {name: found.moved / 1e9 for name, found in by_name.items()})
page.say("bound", {name: 1e3 * found.bound for name, found in by_name.items()})
page.say("arithmetic", {name: 1e3 * found.flops / card.tf32 for name, found in by_name.items()})
if limits:
    can = limits[-1]["result"]
    of_sheet = {"float32": can["float32"] / card.float32, "bandwidth": can["bytes"] / card.bandwidth}
    of_sheet = {name: f"{share:.0%}" for name, share in of_sheet.items()}
else:
    of_sheet = dict.fromkeys(("float32", "bandwidth"), gpu_report.NOT_RUN)
page.say("measured", of_sheet)
spare = {name: card.memory - sum(found.memory(0).values()) for name, found in by_name.items()}
page.say("fits", {name: int(spare[name] / found.kept) for name, found in by_name.items()})
most = memory.loc["together"].max()
held = "fits" if most < card.memory / 1e9 else "does not fit"
page.say("", {"share": share, "most": most, "cards": cards, "held": held})
if cards == 8:
    assert held == "fits" and memory.loc["one card, the whole batch"].min() > card.memory / 1e9
    assert min(f.bound / (f.flops / card.tf32) for f in sizes.values()) > 1.5  # many kernels wait for memory

# %% [markdown]
# **Memory**, in GB for {glue:text}`share` images on each of {glue:text}`cards` cards. The most, {glue:text}`most:.0f`
# GB, {glue:text}`held` into 80 GB. The whole batch of 256 does not fit on one card: it holds about {glue:text}`fits-16`
# and {glue:text}`fits-4` images, and this code does not accumulate gradients. Weights, gradients and Adam's two moments
# are 4, 4 and 8 bytes a parameter ({glue:text}`parameters-16:.1f` and {glue:text}`parameters-4:.1f` million).
# Activations are {glue:text}`kept-16:.2f` and {glue:text}`kept-4:.2f` GB an image. Workspaces of convolutions and the
# quantiser come on top.
#
# The count can be checked on the CPU: one image through the whole network, forward and backward, under torch's
# profiler.

# %%
full = {"side": 256, "images": 1}
small_one = {"side": 64, "images": 2, "width": 32}
tried = full if profile == "standard" else small_one
peaks = [sizing.record(table_1[n, "Euclid"], folder, **tried) for n in sizes]
measured = pd.DataFrame([found["result"] for found in peaks], sizes) / 1e9
measured["peak / predicted"] = measured.peak / measured.predicted
assert measured["peak / predicted"].between(1, 1.15).all()
measured.round(3)

# %% tags=["hide-input"]
used([record["id"], *(found["id"] for found in peaks)])
page.say("off", 100 * (measured["peak / predicted"].max() - 1))

# %% [markdown]
# In GB. The peak is at most {glue:text}`off:.0f` % above the prediction, which leaves out gradients on their way.

# %% [markdown]
# **Time.** A step takes {glue:text}`tflop-16:.2f` and {glue:text}`tflop-4:.2f` TFLOP an image, forward and backward. In
# TF32 the card would do that in {glue:text}`arithmetic-16:.1f` and {glue:text}`arithmetic-4:.1f` ms. But many kernels
# wait for memory: together they move {glue:text}`moved-16:.1f` and {glue:text}`moved-4:.1f` GB an image. If each kernel
# ran at its rate of arithmetic or of memory, whichever is slower, an image would take {glue:text}`bound-16:.1f` and
# {glue:text}`bound-4:.1f` ms. That is a bound. **Assumed**, from no measurement, is that a training keeps
# {glue:text}`assumed:.0f` % of that pace, whatever the number of cards. Then
#
# $$\text{seconds} = \frac{\text{steps} \times 256 \times \text{bound}}{\text{cards} \times
# \text{utilisation}}.$$

# %%
epochs = {
    "released loop": 1.0,
    "passes over ImageNet": paper_runs.IMAGENET / paper_runs.EPOCH,
}
hours = {}
for network, found in sizes.items():
    images = table_1[network, "Euclid"].steps * batch
    for name, factor in epochs.items():
        one = factor * images * found.bound / utilisation / 3600
        hours[f"{network}, {name}"] = {
            "images, million": factor * images / 1e6,
            "hours, one card": one,
            f"hours, {cards} cards": one / cards,
        }
hours = pd.DataFrame(hours).T
hours.round(1)

# %% tags=["hide-input"]
page.say("assumed", 100 * utilisation)
column = hours[f"hours, {cards} cards"]
page.say("hours-16", column.iloc[0])
page.say("hours-4", column.iloc[2])
page.say("hours-most", column.max())
gradients = 4 * max(found.encoder + found.decoder for found in sizes.values())
second = share * max(found.bound for found in sizes.values()) / utilisation
page.say("reduced", gradients / 1e6)
page.say("reading", paper_runs.BATCH * 3 * 256**2 / 1e6)
page.say("step-seconds", f"{min(share * f.bound / utilisation for f in sizes.values()):.2f}")
page.say("gib", paper_runs.IMAGENET * 3 * 256**2 / 2**30)

# %% [markdown]
# On {glue:text}`cards` cards that is {glue:text}`hours-16:.1f` and {glue:text}`hours-4:.1f` hours a run as the released
# loop counts epochs, up to {glue:text}`hours-most:.0f` as passes over ImageNet. A step takes
# {glue:text}`step-seconds` s or more. In it the cards exchange {glue:text}`reduced:.0f` MB of gradients and read
# {glue:text}`reading:.0f` MB of images from a file of {glue:text}`gib:.0f` GiB, which is little beside the step and not
# in the formula. Nor is the quantiser itself, except for its lookup ({doc}`20_cost` has that).
#
# The column of one card says only how much work there is. Under bfloat16, as in the released setting, arithmetic is
# twice as fast (989 TFLOP/s) and half the bytes move, so it would take about half of that.
#
# ## What this page does not show
#
# Nothing ran on several GPUs or on more than one machine. On one GPU ran our loop, by several processes at once, and
# short runs of the engine `processes` ({ref}`cost-on-a-gpu`); not Ray, `torchrun`, or a network of Table 1. The times
# are those of one small network on one kind of processor and one card. The estimate leaves out kernels that fall short
# of the data sheet and a network between machines. Its utilisation is a guess, a parameter of this page.
