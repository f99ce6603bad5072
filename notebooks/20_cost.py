# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (cost)=
# # What it costs
#
# ```{admonition} In short
# :class: tip
# A training step of a small network takes at most {glue:text}`share-most:.0f` % longer with the rotation than with STE.
# On a CPU `rotvq` with the rotation is faster than vector-quantize-pytorch with it at all
# {glue:text}`compared` sizes where both ran, at least {glue:text}`gain-least:.0f` times. On a GPU the library is faster
# with few codes, and `rotvq` with many.
# ```
#
# ```{glue:figure} fig-step
# :name: fig-cost-step
#
# `rotvq` is faster than the other quantisers at every size; lower is faster. Time of a step, forward and backward, at
# N = {glue:text}`n` latents, as a multiple of the floor. Bands are quartiles.
# ```
#
# The *floor* is what a step would cost if nothing but the arithmetic were left. All other times are multiples of it.
# The same notebook runs on a GPU, with a store of its own:
# `papermill notebooks/20_cost.ipynb out.ipynb -y '{device: cuda, dtype: bfloat16, bandwidth: 4800, records: gpu}'`.
# What one call on an H100 measured is [below](cost-on-a-gpu).

# %% tags=["parameters"]
profile: str = "standard"  # smoke: tiny cases, in seconds; standard: the stored records; full: four times the turns
device: str = "cpu"
dtype: str = "float32"  # of latents, gradients and codes; bfloat16 on a GPU
bandwidth: float = 0.0  # of the memory, GB/s: adds the time that reading and writing alone take; 0: leave it out
records: str = ""  # folder of the records; empty: the committed ones

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page(
    "20_cost",
    globals(),
    dtype=("float32",) if device == "cpu" else ("float32", "bfloat16"),
    bandwidth=(0, 1e6),
)

# %% tags=["hide-input"]
import os
import resource
import statistics
import time
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython.display import Markdown, display

from book.bench import gpu_report
from book.bench import step as step_bench
from book.bench.gpu_report import short
from book.bench.timing import ratio
from rotvq.page.figures import INK, MUTED, Arm, glue, used
from rotvq.quantizers import lookup
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.quantizers.lookup import FUSED_DIMS
from rotvq.runs import provenance
from rotvq.runs.grids import FULL, stores_folder

LOOK = {
    "floor": Arm("floor", "#7c8288", ":", "x"),
    "product": Arm("product alone", "#7c8288", "--", "h"),
    "rotvq": Arm("rotvq, rotation", "#2a7ad2", "-", "s"),
    "rotvq_compiled": Arm("rotvq, compiled", "#128f96", "-.", "D"),
    "rotvq_ema": Arm("rotvq, EMA", "#7a6ede", ":", "p"),
    "library": Arm("vqp, rotation", "#d0620f", "--", "o"),
    "library_ste": Arm("vqp, STE", "#b3684f", ":", "v"),
    "paper": Arm("paper's operator", "#97792c", "-.", "P"),
    "matrix": Arm("d × d matrix", "#bd5298", ":", "X"),
    "taming": Arm("taming, STE", "#3f8f3c", "--", "^"),
    "ste": Arm("rotvq, STE", "#c84f72", "--", "v"),
    "textbook": Arm("textbook STE", "#7c8288", ":", "x"),
    "tiles": Arm("tiles", "#2a7ad2", "-", "s"),
    "faiss": Arm("FAISS", "#d0620f", "--", "o"),
    "plain": Arm("one product", "#3f8f3c", "-.", "^"),
    "step": Arm("step, tiles", "#128f96", ":", "D"),
    "step_faiss": Arm("step, FAISS", "#c84f72", ":", "v"),
}

# %% [markdown]
# ## How it is measured
#
# **Floor.** A short C++ kernel that only this page compiles. It does one matrix product with the argmax inside it,
# gathers the chosen codes, and reads and writes the gradients once. It has no losses and no statistics, and its
# gradient is a copy.
#
# **Others.** vector-quantize-pytorch ("vqp") as it comes, with and without the rotation. The paper's operator
# {cite}`fifty2025rotation`, the $d \times d$ form of the rotation, and the quantiser of VQGAN
# {cite}`esser2021taming` are on no registry. They are written anew from their descriptions, in `book/bench/peers`, and
# may differ from the originals.
#
# **Turns.** All quantisers of a case take turns in one process, each time with another one first. A ratio is formed
# within a turn. The tables show the median, with the quartiles in parentheses. Before that each one runs once.
#
# **Clock.** On one thread, processor time. On two, time on the wall. On a GPU, time between device events.
#
# **Memory.** The peak of what torch's allocator hands out during a step, above what was there before. What is returned
# counts. If a batch would take more than 4 GB, as predicted from two shorter ones, it is not run.

# %% tags=["hide-input"]
cases = step_bench.cases(profile, device, dtype)
folder = Path(records) if records else stores_folder() / "20_cost"
found = {case: step_bench.record(case, folder, *step_bench.ROUNDS[profile]) for case in cases}
used(case.id for case in found)


def rows():
    """One row for each arm of each case."""
    for case, record in found.items():
        times, sizes, absent = (record["result"][name] for name in ("seconds", "bytes", "absent"))
        base = next(iter(times))
        for arm in case.arms:
            row = {"kind": case.kind, "N": case.n, "d": case.d, "K": case.k, "threads": case.threads, "arm": arm}
            row |= {"base": base, "absent": absent.get(arm, "")}
            row |= {"ratio": ratio(times, arm, base) if arm in times else None}
            yield row | {"ms": 1e3 * statistics.median(times[arm]) if arm in times else None, "bytes": sizes.get(arm)}


every = pd.DataFrame(rows())
step = every[(every.kind == "step") & (every.threads == 1)]


def table(frame, value, arms, size=("K", "N", "d")):
    """A row for each size, a column for each arm."""
    size = list(size)
    index = frame[size].drop_duplicates().sort_values(size)

    def column(arm):
        return [value(frame[(frame[size] == key).all(axis=1) & (frame.arm == arm)]) for key in index.to_numpy()]

    names = ["/".join(map(short, key)) if len(size) > 1 else key[0] for key in index.to_numpy()]
    where = pd.Index(names, name="/".join(size))
    return pd.DataFrame({LOOK[arm].label: column(arm) for arm in arms}, index=where)


def three_digits(x):
    if x >= 100:
        return f"{x:.0f}"
    return f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def as_ratio(rows):
    """The ratio to the first arm, or why there is none."""
    if rows.empty:
        return ""
    if rows.absent.iloc[0]:
        return rows.absent.iloc[0].partition(":")[0]
    mid, low, high = map(three_digits, rows.ratio.iloc[0])
    return f"{mid} ({low}–{high})"


def as_megabytes(rows):
    return "" if rows.empty else rows.absent.iloc[0] or f"{rows.bytes.iloc[0] / 1e6:,.1f}"


def of(frame, arm, **size):
    """The row of an arm at a size, or None where it was not run."""
    match = frame[(frame.arm == arm) & frame.ratio.notna()]
    for name, number in size.items():
        match = match[match[name] == number]
    return None if match.empty else match.iloc[0]


def against(case, arm, base):
    """Ratio of the times of two arms of a case, turn by turn, or None."""
    times = found[case]["result"]["seconds"]
    return ratio(times, arm, base) if arm in times and base in times else None


made = [record["provenance"] for record in found.values()]
loads = [load for p in made for load in p["load"]]
page.say("machine", ", ".join(sorted({p["device"] for p in made})))
page.say("torch", ", ".join(sorted({p["torch"] for p in made})))
page.say("minutes", sum(p["seconds"] for p in made) / 60)
page.say("cases", len(found))
commits = sorted({(p["commit"] or "none")[:7] + " with changes" * bool(p["dirty"]) for p in made})
page.say("commits", ", ".join(commits))
same = {p["digest"] for p in made} == {provenance.code()["digest"]}
page.say("code", "the code of this book" if same else "older code than that of this book")
page.say("idle", "idle" if max(loads) < 1.5 else "not idle: other work shared its caches and its memory")
page.say("load", f"{min(loads):.1f} to {max(loads):.1f}")
bare = "the bare matrix product, for want of a compiler or on a GPU"
page.say("floor-is", "the C++ kernel" if set(step.base) == {"floor"} else bare)

# %% [markdown]
# **Here.** {glue:text}`machine`; torch {glue:text}`torch`; {glue:text}`cases` cases in
# {glue:text}`minutes:.0f` minutes. The machine was {glue:text}`idle`, with a load average of {glue:text}`load`. The
# floor is {glue:text}`floor-is`. Measured at commit {glue:text}`commits`, {glue:text}`code`.
#
# ## A step, as a multiple of the floor
#
# On one thread. `rotvq` is `VectorQuantizer` with the rotation and a codebook trained by its loss. "EMA" is the same
# with codes that follow the latents, as those of vector-quantize-pytorch do.

# %% tags=["hide-input"]
own = table(step, as_ratio, ["product", "rotvq", "rotvq_compiled", "rotvq_ema"])
kernel = table(step, lambda rows: "" if rows.empty or rows.ms.isna().all() else rows.iloc[0], ["floor"])["floor"]
floors = pd.DataFrame(
    {
        "floor, ms": ["" if isinstance(row, str) else f"{row.ms:,.1f}" for row in kernel],
        "GFLOP/s": ["" if isinstance(row, str) else f"{2e-6 * row.N * row.d * row.K / row.ms:.0f}" for row in kernel],
    },
    index=kernel.index,
)
glue("cost-own", pd.concat([floors, own], axis=1))
glue("cost-others", table(step, as_ratio, ["rotvq", "library", "library_ste", "paper", "matrix", "taming"]))

# %% tags=["hide-input"]
n = 16384 if 16384 in set(step.N) else int(step.N.max())
figs = []
for k in sorted(k for k in set(step.K) if k <= 8192):
    fig, ax = plt.subplots(figsize=(3.6, 3.0))
    for arm in ("library", "paper", "taming", "rotvq", "rotvq_compiled", "product"):
        line = step[(step.arm == arm) & (step.K == k) & (step.N == n) & step.ratio.notna()].sort_values("d")
        if len(line):
            low, mid, high = zip(*((r.low, r.median, r.high) for r in line.ratio))
            ax.fill_between(line.d, low, high, color=LOOK[arm].color, alpha=0.2, linewidth=0)
            ax.plot(line.d, mid, label=LOOK[arm].label, **LOOK[arm].line)
    dims = sorted(set(step[step.N == n].d))
    ax.set(
        xscale="log", yscale="log", xlabel="dimension d", ylabel="time / floor (lower is faster)", title=f"K = {k:,}"
    )
    ax.set_xticks(dims, [str(d) for d in dims], minor=False)
    ax.minorticks_off()
    figs.append(fig)
low, high = figs[0].axes[0].get_ylim()
figs[0].axes[0].set_ylim(low, high * (high / low) ** 0.45)  # room for the legend
figs[0].axes[0].legend(fontsize=8, loc="upper right", ncols=2, columnspacing=1.0)
alt = (
    "Time of a step as a multiple of the floor against the dimension of the latents, for each quantiser, "
    "on logarithmic axes; one panel for each size of the codebook."
)
page.show("fig-step", figs, alt)
page.say("n", f"{n:,}")

pairs = [(case, against(case, "library", "rotvq")) for case in found if case.kind == "step"]
pairs = [(case, pair) for case, pair in pairs if pair]
page.say("compared", len(pairs))
committed = profile == "standard" and device == "cpu" and not records
if committed:
    assert all(pair.low > 1 for _, pair in pairs)  # faster than the library at all sizes
    others = [against(case, arm, "rotvq") for case, _ in pairs for arm in ("library", "paper", "taming")]
    assert all(pair.median > 1 for pair in others if pair)  # the caption: than each of the others
page.say("gain-least", min(pair.median for _, pair in pairs))
page.say("gain-most", max(pair.median for _, pair in pairs))
alike = [against(case, "library", "rotvq_ema") for case in found if case.kind == "step"]
page.say("alike-least", min(pair.median for pair in alike if pair))
page.say("alike-most", max(pair.median for pair in alike if pair))
mid = next((c for c in found if (c.kind, c.n, c.k, c.threads) == ("step", 4096, 8192, 1)), next(iter(pairs))[0])
tensors = [torch.randn(rows, mid.d, device=device).to(getattr(torch, dtype)) for rows in (mid.n, mid.n, mid.k)]


def by_the_system(arm):
    """The share of the processor time of a call that the operating system takes."""
    call = step_bench.ARMS["step"][arm](mid, *tensors)
    call()
    before, _, after = os.times(), call(), os.times()
    user, system = after.user - before.user, after.system - before.system
    return system / max(user + system, 1e-9)


page.say("mid", f"N = {mid.n:,}, d = {mid.d}, K = {mid.k:,}")
page.say("system-theirs", by_the_system("library"))
page.say("system-ours", by_the_system("rotvq"))
large = max((case for case in found if case.kind == "step"), key=lambda case: case.n * case.k)
page.say("large", f"N = {large.n:,}, K = {large.k:,}, d = {large.d}")
whole = of(step, "rotvq", N=large.n, d=large.d, K=large.k)
page.say("large-seconds", whole.ms / 1e3)
page.say("large-mb", whole.bytes / 1e6)
page.say("large-matrix", 4 * large.n * large.k / 1e9)

# %% [markdown]
# vector-quantize-pytorch with the rotation takes {glue:text}`gain-least:.1f` to {glue:text}`gain-most:.0f` times as
# long as `rotvq`. As it comes its codes move by EMA. With EMA in both it takes {glue:text}`alike-least:.1f` to
# {glue:text}`alike-most:.0f` times as long.
#
# Much of that is memory. A quantiser that writes whole matrices asks the system for fresh pages in every call. At
# {glue:text}`mid` the system takes {glue:text}`system-theirs:.0%` of their processor time and
# {glue:text}`system-ours:.0%` of ours.
#
# The lookup never holds the whole matrix of distances. At {glue:text}`large` that matrix would take
# {glue:text}`large-matrix:.1f` GB. The step takes {glue:text}`large-seconds:.1f` s and {glue:text}`large-mb:.0f` MB.
#
# In the tables k is 1,024.
#
# ````{dropdown} A step of rotvq at every size, as a multiple of the floor
# ```{glue:any} cost-own
# ```
# ````
#
# ````{dropdown} The others at every size, as a multiple of the floor
# ```{glue:any} cost-others
# ```
# ````
#
# ## Memory of a step
#
# %% tags=["hide-input"]
sized = table(step, as_megabytes, ["floor", "rotvq", "rotvq_compiled", "library", "paper", "matrix", "taming"])
glue("cost-memory", sized)
extra = step[(step.arm == "rotvq") & step.bytes.notna()]
above = (extra.bytes - 4 * extra.N * extra.d) / 2**20
sizes = [record["result"]["bytes"] for case, record in found.items() if case.kind == "step" and case.threads == 1]
less = [size["library"] / size["rotvq"] for size in sizes if "library" in size]
page.say("above", above.max())
page.say("above-usual", above[extra.K <= 8192].max())
most = extra.loc[above.idxmax()]
page.say("above-where", "N = {N:,}, d = {d}, K = {K:,}".format(**most))
returned = (4 * (most.N + most.K) * most.d + 8 * most.N) / 2**20
assert profile == "smoke" or returned > 64  # more than the goal allows: the text says that nothing can meet it
page.say("returned", returned)
page.say("less-least", min(less))
page.say("less-most", max(less))

# %% [markdown]
# vector-quantize-pytorch needs {glue:text}`less-least:.1f` to {glue:text}`less-most:.0f` times as much. Up to
# K = 8,192 `rotvq` takes at most {glue:text}`above-usual:.0f` MiB beyond the size of the latents, and at the largest
# size {glue:text}`above:.0f` MiB ({glue:text}`above-where`). The gradient of the codes and what is returned count.
#
# ````{dropdown} Megabytes above the inputs at every size; what does not fit, as predicted
# ```{glue:any} cost-memory
# ```
# ````
#
# ## The estimator alone
#
# The codes are looked up before. What is left is $z, q \mapsto z_q$ and its backward pass, on about
# {glue:text}`numbers:.1f` million numbers, as a multiple of the textbook line `z + (q - z).detach()`.

# %% tags=["hide-input"]
alone = every[every.kind == "estimator"]
table(alone, as_ratio, ["ste", "rotvq", "rotvq_compiled", "library", "paper", "matrix"], ("d",))

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(4.1, 3.2))
for arm in ("matrix", "paper", "library", "rotvq", "rotvq_compiled", "ste"):
    line = alone[(alone.arm == arm) & alone.ratio.notna()].sort_values("d")
    low, mid, high = zip(*((r.low, r.median, r.high) for r in line.ratio)) if len(line) else ((), (), ())
    ax.fill_between(line.d, low, high, color=LOOK[arm].color, alpha=0.2, linewidth=0)
    ax.plot(line.d, mid, label=LOOK[arm].label, **LOOK[arm].line)
ax.set(xscale="log", yscale="log", xlabel="dimension d", ylabel="time / textbook STE (lower is faster)")
dims = sorted(set(alone.d))
ax.set_xticks(dims, [str(d) for d in dims], minor=False)
ax.minorticks_off()
ax.legend(fontsize=8, ncols=2)
alt = (
    "Time of the estimator alone, forward and backward, as a multiple of the textbook straight-through "
    "estimator, against the dimension, for the rotation in four implementations and for a straight- "
    "through estimator that returns the code itself."
)
page.show("fig-alone", fig, alt)
page.say("numbers", (alone.N * alone.d).max() / 1e6)
mine = [r.median for r in alone[alone.arm == "rotvq"].sort_values("d").ratio]
page.say("alone-least", min(mine))
page.say("alone-most", max(mine))
assert not committed or mine[-1] <= mine[0]  # it does not grow with the dimension
fused = [r.median for r in alone[(alone.arm == "rotvq_compiled") & alone.ratio.notna()].ratio]
page.say("alone-compiled", f"{min(fused):.1f} to {max(fused):.1f}" if fused else "not measured in this profile")

# %% [markdown]
# ```{glue:figure} fig-alone
# :name: fig-cost-alone
#
# The cost of the rotation in `rotvq` does not grow with the dimension; lower is faster. Time of the estimator alone,
# as a multiple of the textbook line. Bands are quartiles.
# ```
#
# Alone, the rotation of `rotvq` takes {glue:text}`alone-least:.1f` to {glue:text}`alone-most:.1f` times as long as that
# line, whatever $d$: its work is linear in $d$. Compiled: {glue:text}`alone-compiled`. The fast formula fails near half
# turns, so on a CPU the values are checked first. On a GPU the check would make the device wait, so every latent gets
# the two reflections.
#
# ## In a training step
#
# What matters is a whole step: encoder, quantiser, decoder and optimiser of the network of this book, batches of 32
# images, 512 codes. The article expects 5 to 10 % more for the rotation at $d = 256$ and 15 to 20 % at $d = 1024$
# {cite}`su2024rotation`.

# %% tags=["hide-input"]
trained = [case for case in found if case.kind == "training"]
overhead = pd.DataFrame(
    {
        "rotvq: rotation / STE": [against(case, "rotvq", "ste") for case in trained],
        "bare: rotation / STE": [against(case, "bare", "ste") for case in trained],
        "vqp: rotation / STE": [against(case, "library", "library_ste") for case in trained],
        "rotation: rotvq / vqp": [against(case, "rotvq", "library") for case in trained],
    },
    index=pd.Index([case.d for case in trained], name="d"),
)
for place, d in zip(("first", "middle", "last"), (overhead.index[0], overhead.index[-2], overhead.index[-1])):
    share = overhead.loc[d, "rotvq: rotation / STE"]
    page.say(f"d-{place}", int(d))
    page.say(f"more-{place}", f"{100 * (share.median - 1):+.1f} %")
shares = [100 * (share.median - 1) for share in overhead["rotvq: rotation / STE"].dropna()]
page.say("share-most", max(shares))
expected = {256: (1.05, 1.10), 1024: (1.15, 1.20)}
verdicts = []
for d in overhead.index.intersection(expected):
    share, (low, high) = overhead.loc[d, "rotvq: rotation / STE"].median, expected[d]
    place = "inside"
    if not low <= share <= high:
        place = "below" if share < low else "above"
    verdicts.append(f"at d = {d} it is {place} that range")
below = overhead["bare: rotation / STE"].dropna().map(lambda share: share.high < 1)
page.say(
    "resolved",
    f" At d = {below.idxmax()} it comes out below STE, which does less: differences of that size between "
    "two networks are not resolved here."
    if below.any()
    else "",
)
page.say("article", " and ".join(verdicts) or "not measured in this profile")
largest = max(trained, key=lambda case: case.d)
train = step_bench.ARMS["training"]["rotvq"](largest, *step_bench.inputs(largest, largest.n))


def pages():
    """The pages that a training step asks the system for."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    train()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


asked = [pages() for _ in range(8)][2:]
page.say("pages", f"{min(asked):,} to {max(asked):,}")
overhead.map(str)

# %% [markdown]
# For `rotvq`, the rotation adds {glue:text}`more-first` at $d$ = {glue:text}`d-first`, {glue:text}`more-middle` at
# {glue:text}`d-middle` and {glue:text}`more-last` at {glue:text}`d-last`; the table has the quartiles. Against the
# article's expectation: {glue:text}`article`. *Bare* is the sum {eq}`eq-five` for all latents at once, without a check
# for half turns or extreme norms.{glue:text}`resolved`
#
# These steps ran in a process that keeps the memory that it frees. Elsewhere a step may ask the system for fresh pages
# or not: six steps at $d$ = {glue:text}`d-last`, tried while this page was made, asked for {glue:text}`pages` each.
# That can outweigh what is compared.
#
# ## Two threads

# %% tags=["hide-input"]
two = every[(every.kind == "step") & (every.threads == 2)]
halved = [(of(step, "floor", N=row.N, d=row.d, K=row.K), row) for row in two[two.arm == "floor"].itertuples()]
gains = [one.ms / row.ms for one, row in halved if one is not None and row.ms]
page.say("two-gain", f"{min(gains):.1f} to {max(gains):.1f} times as fast as on one" if gains else "not compared")
table(two, as_ratio, ["product", "rotvq", "taming"]) if len(two) else "one thread only on a GPU"

# %% [markdown]
# Time on the wall, as a multiple of the floor on two threads. The floor was {glue:text}`two-gain`. If the second core
# is not free, little is gained.
#
# (lookup-engines)=
# ## The lookup, by engine
#
# There are three ways to find the nearest code:
#
# - `engine="tiles"` is the lookup of the tables above.
# - `"faiss"` calls the fused kernel of the package `faiss-cpu`. It is written for up to 16 dimensions, 32 with AVX-512.
# - `"plain"` is one product and an argmax in torch's own operators. It holds all N × K scores, and any program that
#   reads an exported graph can run it.

# %% tags=["hide-input"]
looked_up = every[every.kind == "lookup"]
glue("cost-lookup", table(looked_up, as_ratio, ["tiles", "faiss", "plain", "step", "step_faiss"]))

# %% tags=["hide-input"]
engines = [case for case in found if case.kind == "lookup"]
beside = {case: against(case, "tiles", "faiss") for case in engines}
fused = {case: pair for case, pair in beside.items() if pair and case.d <= max(FUSED_DIMS.values())}
low = {case: pair for case, pair in fused.items() if case.d <= min(FUSED_DIMS.values())}
gains = [pair.median for pair in low.values()]
page.say("faiss-gain", f"{min(gains):.1f} to {max(gains):.1f} times" if gains else "an unmeasured number of times")
gains = [pair.median for case, pair in fused.items() if case not in low]
page.say("faiss-wide", f"{min(gains):.1f} to {max(gains):.1f} times" if gains else "not measured here")
if committed:
    assert all(pair.low > 1 for pair in low.values())  # up to 16 dimensions it is faster
    assert any(pair.high < 1 for case, pair in fused.items() if case not in low)  # beyond, not always
searched = sum(case.n for case in engines)
differ = {name: sum(found[case]["result"]["differ"].get(name, 0) for case in engines) for name in ("faiss", "plain")}
page.say("searched", f"{searched:,}")
page.say("differ", " and ".join(f"{count:,} by “{name}”" for name, count in differ.items()))

# %% [markdown]
# Up to 16 dimensions FAISS finds the code {glue:text}`faiss-gain` as fast as the tiles do. From there to 32 it is
# {glue:text}`faiss-wide`, so it does not always pay. Of {glue:text}`searched` indices, these differ from those of the
# tiles: {glue:text}`differ`. They may differ where two codes are equally near up to roundings. So by default `rotvq`
# takes FAISS up to 16 dimensions and under `torch.inference_mode()` alone, and the tiles everywhere else. What is
# trained, and how it is evaluated, does not depend on what is installed.
#
# ````{dropdown} Each engine at every size, as a multiple of the floor; the last two are whole steps
# ```{glue:any} cost-lookup
# ```
# ````
#
# ## Goals
#
# The goals were written down before the code was, from measurements of others. Medians, one thread.

# %% tags=["hide-input"]
GOALS = {  # K: (d, eager, compiled), times of the floor
    512: ((256, 1.6, 1.4), (32, 2.4, 2.1), (8, 5.5, 4.5)),
    8192: ((256, 1.42, 1.4), (32, 1.9, 1.7), (8, 3.7, 3.5)),
}
GAIN, SMALLER = {256: 3.5, 32: 8.0, 8: 20.0}, {256: 5.0, 32: 10.0, 8: 10.0}
goals = []
for k, bounds in GOALS.items():
    for d, eager, compiled in bounds:
        for name, arm, bound in (("eager", "rotvq", eager), ("compiled", "rotvq_compiled", compiled)):
            if (row := of(step, arm, N=16384, d=d, K=k)) is not None:
                goals.append((f"time / floor, d = {d}, K = {k:,}, {name}", "at most", bound, row.ratio.median))
for case in found:
    if case.kind == "step" and case.threads == 1 and case.n == 16384 and case.d in GAIN:
        if case.k == 8192 and (pair := against(case, "library", "rotvq")):
            goals.append((f"vqp / rotvq, d = {case.d}, K = {case.k:,}", "at least", GAIN[case.d], pair.median))
        if "library" in (sizes := found[case]["result"]["bytes"]):
            name = f"memory, vqp / rotvq, d = {case.d}, K = {case.k:,}"
            goals.append((name, "at least", SMALLER[case.d], sizes["library"] / sizes["rotvq"]))
goals.append(("memory beyond the latents, MiB", "at most", 64.0, above.max()))
for d, share in overhead["rotvq: rotation / STE"].items():
    goals.append((f"training step, rotation / STE, d = {d}", "at most", 1.02 if d >= 256 else 1.05, share.median))
for case in engines:
    if 4 <= case.d <= 16 and case.k > 64 and (pair := against(case, "faiss", "floor")):
        goals.append((f"lookup by FAISS / floor, d = {case.d}, K = {case.k:,}", "at most", 1.3, pair.median))
goals = pd.DataFrame(goals, columns=["goal", "side", "bound", "measured"]).set_index("goal")
goals["met"] = ["yes" if (m <= b) == (side == "at most") or m == b else "no" for side, b, m in goals.to_numpy()]
page.say("met", int((goals.met == "yes").sum()))
page.say("goals", len(goals))
missed = goals[(goals.met == "no") & goals.index.str.startswith("time / floor")]
worst = (missed.measured / missed.bound).max() if len(missed) else 1.0
page.say(
    "missed",
    f"The worst of those against the floor is missed by a factor of {worst:.2f}."
    if len(missed)
    else "None of those against the floor is missed.",
)
bare = {(d, k): of(step, "product", N=16384, d=d, K=k) for k, bounds in GOALS.items() for d, *_ in bounds}
bounds = {(d, k): eager for k, bounds in GOALS.items() for d, eager, _ in bounds}
slow = [where for where, row in bare.items() if row is not None and row.ratio.median > bounds[where]]
page.say("bare-slow", f"{len(slow)} of {sum(row is not None for row in bare.values())}")
RATE = {(8, 512): 66, (32, 512): 86, (256, 512): 94, (8, 8192): 92, (32, 8192): 108, (256, 8192): 109}  # GFLOP/s
flops = {(d, k): 2e-6 * 16384 * d * k for d, k in bounds}  # of one product, in units that make GFLOP/s of milliseconds
mine = {(d, k): (of(step, "floor", N=16384, d=d, K=k), of(step, "rotvq", N=16384, d=d, K=k)) for d, k in bounds}
mine = {size: both for size, both in mine.items() if all(row is not None for row in both)}
rates = [flops[size] / floor.ms for size, (floor, _) in mine.items()]
page.say("rate-there", f"{min(RATE.values())} to {max(RATE.values())}")
page.say("rate-here", f"{min(rates):.0f} to {max(rates):.0f}" if rates else "not measured in this profile")
allowed = {size: bounds[size] * flops[size] / RATE[size] for size in mine}
page.say("absolute", sum(row.ms < allowed[size] for size, (_, row) in mine.items()))
page.say("bounds", len(mine))
least = overhead["bare: rotation / STE"].dropna()
page.say("bare-met", sum(pair.median <= (1.02 if d >= 256 else 1.05) for d, pair in least.items()))
page.say("trained", len(overhead))
wide = max((c for c in found if (c.kind, c.n, c.threads) == ("step", n, 1)), key=lambda c: (c.d, c.k))
page.say("wide", f"N = {short(wide.n)}, d = {wide.d}, K = {short(wide.k)}")
page.say("product-share", against(wide, "rotvq", "product").median)
page.say("inner", ESTIMATORS["rotation"].cost)
fused = [pair.median for pair in (against(case, "rotvq_compiled", "rotvq") for case in found) if pair]
page.say("compiled-to-eager", f"{min(fused):.2f} to {max(fused):.2f}" if fused else "an unmeasured number of")
few = goals[goals.index.str.startswith("lookup by FAISS") & goals.index.str.endswith("K = 512")]
if committed:
    assert len(few) and (few.met == "no").all()


def of_its_kernel():
    """The share of a lookup by FAISS that its kernel takes, at 512 codes of 8 dimensions."""
    z, codes = torch.randn(16384, 8), torch.randn(512, 8)
    calls = (lambda: lookup.nearest(z, codes, engine="faiss"), lambda: lookup._faiss_search(z, codes))
    times = [[], []]
    for _ in range(15):
        for call, seen in zip(calls, times):
            start = time.process_time()
            call()
            seen.append(time.process_time() - start)
    whole, kernel = map(statistics.median, times)
    return kernel / whole


page.say("kernel-share", f"{of_its_kernel():.0%}" if lookup.HAS_FAISS else "an unmeasured share")
bound = [f"{'≤' if row.side == 'at most' else '≥'} {row.bound:g}" for row in goals.itertuples()]
pd.DataFrame({"bound": bound, "measured": goals.measured.map("{:.2f}".format), "met": goals.met}, index=goals.index)

# %% [markdown]
# {glue:text}`met` of {glue:text}`goals` are met. {glue:text}`missed` Why:
#
# - *The product.* In {glue:text}`bare-slow` of the sizes with a goal against the floor, `torch.mm` alone takes longer
#   than the goal allows a whole step. On this processor it does not use AVX-512. So `rotvq` takes its scores as a
#   convolution of 1 × 1, which torch gives to oneDNN. At {glue:text}`wide` the whole step, backward pass included,
#   takes {glue:text}`product-share:.2f` times as long as that bare product.
# - *The memory.* At {glue:text}`above-where`, what a step returns already takes {glue:text}`returned:.0f` MiB beyond
#   the size of the latents. No implementation can meet the goal there.
# - *The training step.* The pull-back of the rotation takes {glue:text}`inner` inner products a vector and one sum of
#   three vectors; that of STE does nothing. The bare form meets {glue:text}`bare-met` of these {glue:text}`trained`
#   goals.
# - *Compiled.* Lookup and pull-back stay nodes of the graph, so little is left to merge. A compiled step, or estimator
#   alone, takes {glue:text}`compiled-to-eager` times as long as an eager one.
# - *FAISS at 512 codes.* Its kernel takes {glue:text}`kernel-share` of such a lookup at $d$ = 8, as tried while this
#   page was made. The rest shifts and scales the latents, which keeps digits that its own distances would lose.
# - *The floor.* Where the goals were written its kernel did {glue:text}`rate-there` GFLOP/s, and here it does
#   {glue:text}`rate-here`. Reads and writes of memory do not get faster with it. In milliseconds,
#   {glue:text}`absolute` of the {glue:text}`bounds` sizes take less here than the goal allowed there.
#
# ### What a kernel would bring
#
# A step of `rotvq` has three parts: the product, as a convolution; the choice of the largest score; and the rest.

# %% tags=["hide-input"]
stages = {"convolution": "product", "lookup": "choice of the code", "rotvq": "losses, estimator, gradients"}
sizes = sorted({(row.K, row.d) for row in step[(step.N == n) & (step.arm == "lookup")].itertuples() if row.K <= 8192})
reached = pd.DataFrame(
    [[of(step, arm, N=n, d=d, K=k).ratio.median for arm in stages] for k, d in sizes],
    index=[f"K = {k:,}, d = {d}" for k, d in sizes],
    columns=list(stages.values()),
)
parts = reached.diff(axis=1).fillna({"product": reached["product"]})
fig, ax = plt.subplots(figsize=(4.4, 0.42 * len(sizes) + 1.1))
for name, color, hatch in zip(parts, ("#7c8288", "#2a7ad2", "#d0620f"), ("", "//", "..")):
    ax.barh(
        range(len(sizes)),
        parts[name],
        left=reached[name] - parts[name],
        height=0.5,
        color=color,
        hatch=hatch,
        label=name,
        edgecolor=MUTED,
        linewidth=0.6,
    )
allowed = [(height, bounds[d, k]) for height, (k, d) in enumerate(sizes) if (d, k) in bounds]
ax.plot(
    [bound for _, bound in allowed],
    [height for height, _ in allowed],
    "|",
    color=INK,
    markersize=16,
    markeredgewidth=2,
    label="goal",
)
ax.set(xlabel="time / floor (← faster)", yticks=range(len(sizes)), yticklabels=reached.index)
ax.invert_yaxis()
ax.grid(axis="y", visible=False)
ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2)
alt = (
    "Bars: the time of a step as a multiple of the floor, in three parts, the product, the choice of the code and the "
    "rest, for each dimension and size of the codebook; a mark on each shows the goal."
)
page.show("fig-parts", fig, alt)
for short_name, name in zip(("product", "choice", "rest"), parts):
    page.say(f"part-{short_name}", f"{parts[name].min():.2f} to {parts[name].max():.2f}")
without = [reached.iloc[height, -1] - parts.iloc[height, 1] <= bound for height, bound in allowed]
over = [reached.iloc[height, -1] > bound for height, bound in allowed]
if committed:
    chosen = parts.iloc[:, 1] / reached.iloc[:, -1]
    by_size = dict(zip(sizes, chosen))
    assert all(share > 0.4 for (_, d), share in by_size.items() if d <= 8)
    assert all(share < 0.2 for (_, d), share in by_size.items() if d == 256)
page.say("over", f"{sum(over)} of {len(allowed)}")
page.say("without", sum(far and near for far, near in zip(over, without)))

# %% [markdown]
# ```{glue:figure} fig-parts
# :name: fig-cost-parts
#
# Up to 8 dimensions about half of a step goes into choosing the code, at 256 less than a fifth. A step of `rotvq` in
# eager mode at N = {glue:text}`n`; shorter is faster, marks are the goals.
# ```
#
# In floors, the product takes {glue:text}`part-product`, the choice {glue:text}`part-choice`, the rest
# {glue:text}`part-rest`. The floor chooses while the scores are in registers. A kernel that did so would take away the
# second part. In eager mode {glue:text}`over` goals are missed, and such a kernel would meet {glue:text}`without` of
# these. It would also bring a compiler into the installation, so the module leaves it out.

# %% tags=["hide-input"]
if bandwidth:
    width = torch.finfo(getattr(torch, dtype)).bits // 8
    best = step[step.arm.isin(["floor", "rotvq"]) & step.ms.notna()].copy()
    best["roofline, ms"] = width * (4 * best.N + best.K) * best.d / bandwidth / 1e6
    best["time / roofline"] = best.ms / best["roofline, ms"]
    roofline = best[["N", "d", "K", "arm", "ms", "roofline, ms", "time / roofline"]]
    least = "reading z and g, writing z_q and the gradient, and reading the codes once"
    page.say("roofline", f"At {bandwidth:,.0f} GB/s, {least} takes the times above.")
else:
    roofline = None
    page.say("roofline", "The parameter “bandwidth” adds that comparison; it says most on a GPU.")
roofline

# %% [markdown]
# **Roofline.** {glue:text}`roofline`
#
# (cost-on-a-gpu)=
# ## On a GPU

# %% tags=["hide-input"]
gpu = stores_folder() / "gpu"
on_card, tried, shared = gpu_report.costs(gpu), gpu_report.device_tests(gpu), gpu_report.sharing(gpu)
limits, sliced, twins = gpu_report.read(gpu, "card"), gpu_report.read(gpu, "training"), gpu_report.pairs(gpu)
CODES = [512, 8192, 65536]


def on_gpu(kind, where=lambda cost: True):
    """The sizes of a kind that were measured on the card."""
    return [cost for cost in on_card if cost.kind == kind and where(cost)]


def over_ours(arm, costs):
    """The times of an arm, each over that of rotvq."""
    return [cost.ratios[arm].median for cost in costs if arm in cost.ratios]


def span(values, form="{:.2f}"):
    """The least and the most of some values."""
    return " to ".join(map(form.format, (min(values), max(values))))


def of_the_card():
    made, can = limits[-1]["provenance"], limits[-1]["result"]
    rates = f"{can['float32'] / 1e12:.0f} TFLOP/s in float32 and moves {can['bytes'] / 1e12:.1f} TB/s"
    failed = {" ".join(test): result["why"] for test, result in tried.items() if not result["passed"]}
    assert list(failed) == ["hessian compiled"] and "requires_grad_" in failed["hessian compiled"]
    assert shared[1] > shared[4] > shared[16]
    (steps,) = {record["config"]["steps"] for record in sliced}
    return {
        "device": made["device"],
        "torch": made["torch"],
        "cores": made["cores"],
        "commit": (made["commit"] or "none")[:7],
        "rates": rates,
        "passed": len(tried) - len(failed),
        "tested": len(tried),
        "failed": ", ".join(failed),
        "shared-ms": f"{1e3 * shared[1]:.1f}",
        "shared-4": f"{shared[1] / shared[4]:.1f}",
        "shared-16": f"{shared[1] / shared[16]:.1f}",
        "sliced": len(sliced),
        "slice-steps": f"{steps:,}",
        "slice-full": f"{FULL['steps']:,}",
        "twins": len(twins),
        "lower": sum(twin.rotation < twin.ste for twin in twins),
    }


def of_few_codes():
    small = on_gpu("step", lambda cost: cost.k == 512)
    single = [cost for cost in small if cost.dtype == "float32"]
    ms, numbers = [cost.ms for cost in single], [cost.n * cost.d for cost in single]
    assert max(ms) / min(ms) < 1.6 and max(numbers) / min(numbers) > 50 and max(cost.share for cost in small) < 0.05
    others = [value for arm in ("library_ste", "paper", "taming") for value in over_ours(arm, small)]
    assert all(cost.ratios["library"].high < 1 for cost in small) and max(others) < 0.6
    return {
        "flat-ms": span(ms, "{:.1f}"),
        "flat-sizes": f"{max(numbers) / min(numbers):.0f}",
        "small": span(over_ours("library", small)),
        "small-others": span(others),
    }


def of_many_codes():
    some, most = (
        on_gpu("step", lambda cost: (cost.k, "library" in cost.ratios) == (k, True) and cost.n >= 16384)  # noqa: B023
        for k in CODES[1:]
    )
    large = [cost for cost in some if cost.d == 256 or cost.n > 16384]
    level = [cost for cost in some if cost not in large]
    assert all(cost.ratios["library"].low > 1.2 for cost in (*large, *most))
    assert all(0.9 < cost.ratios["library"].median < 1.1 for cost in level)
    lines = {}  # what the library takes, against the number of codes
    for cost in on_gpu("step", lambda cost: cost.n == 16384):
        lines.setdefault((cost.dtype, cost.d), []).append(cost.ratios["library"].median)
    assert all(len(line) == len(CODES) and line == sorted(line) for line in lines.values())
    few = over_ours("library", on_gpu("step", lambda cost: cost.k == 8192 and cost.n == 4096))
    assert max(few) < 1

    def ahead(arm, dtype):
        values = over_ours(arm, on_gpu("step", lambda cost: cost.dtype == dtype))
        faster = sum(value < 1 for value in values)
        assert faster > len(values) / 2  # often, as the text says
        return f"{faster} of {len(values)}"

    return {
        "large": span(over_ours("library", large), "{:.1f}"),
        "larger": span(over_ours("library", most), "{:.1f}"),
        "level": span(over_ours("library", level)),
        "few": span(few),
        "paper": ahead("paper", "float32"),
        "taming": ahead("taming", "float32"),
        "taming-half": ahead("taming", "bfloat16"),
    }


def of_limits():
    fused = over_ours("rotvq_compiled", on_gpu("step"))
    assert fused and max(fused) < 0.8
    reached = {c.k: c.share for c in on_gpu("step", lambda cost: (cost.dtype, cost.d) == ("float32", 256))}
    network = on_gpu("training")
    assert all(cost.ratios[arm].high < 1 for cost in network for arm in ("ste", "library"))
    return {
        "compiled": span(fused),
        **{f"reached-{k}": f"{share:.0%}" for k, share in reached.items()},
        "network-ms": span([cost.ms for cost in network], "{:.1f}"),
        "network-ste": span(over_ours("ste", network)),
        "network-library": span(over_ours("library", network)),
    }


SAID = [
    *(
        "device",
        "torch",
        "cores",
        "commit",
        "rates",
        "passed",
        "tested",
        "failed",
        "shared-ms",
        "shared-4",
        "shared-16",
    ),
    *("sliced", "slice-steps", "slice-full", "twins", "lower", "flat-ms", "flat-sizes", "small", "small-others"),
    *("large", "larger", "level", "few", "paper", "taming", "taming-half", "compiled"),
    *("reached-512", "reached-8192", "reached-65536", "network-ms", "network-ste", "network-library"),
]
was_run = all((on_card, tried, shared, limits, sliced))
made_there = of_the_card() | of_few_codes() | of_many_codes() | of_limits() if was_run else {}
page.say("gpu", dict.fromkeys(SAID, gpu_report.NOT_RUN) | made_there)

# %% [markdown]
# On one {glue:text}`gpu-device`, with torch {glue:text}`gpu-torch`:
#
# - **Right, but for one case.** {glue:text}`gpu-passed` of {glue:text}`gpu-tested` device tests pass, each against
#   float64 on a CPU: in float32, in bfloat16, under autocast, where TF32 is allowed, as a CUDA graph, compiled. What
#   fails: {glue:text}`gpu-failed`, as this torch takes no `requires_grad_` inside a graph.
# - **Few codes: the library is faster.** With 512 codes vector-quantize-pytorch with the rotation takes
#   {glue:text}`gpu-small` of the time of `rotvq`. Its STE, the paper's operator and VQGAN's quantiser take
#   {glue:text}`gpu-small-others`. Calling kernels takes the time, not their work: an eager step of ours takes
#   {glue:text}`gpu-flat-ms` ms at sizes that differ by a factor of {glue:text}`gpu-flat-sizes`.
# - **Many codes: `rotvq` is faster.** At 65,536 codes the library takes {glue:text}`gpu-larger` times as long. At
#   8,192 it takes {glue:text}`gpu-large` times as long with 256 dimensions or 65,536 latents. With 16,384 latents of
#   at most 32 dimensions the two are level, at {glue:text}`gpu-level`, and with 4,096 it takes {glue:text}`gpu-few`.
# - **Holding all distances** is often faster where they fit. In float32 the paper's operator is ahead of ours at
#   {glue:text}`gpu-paper` sizes, and VQGAN's quantiser, which has no rotation, at {glue:text}`gpu-taming`. In bfloat16
#   it is ahead at {glue:text}`gpu-taming-half`; ours ranks in float32.
# - **Compiled**, where that was tried, a step takes {glue:text}`gpu-compiled` of the eager time. No compiled step of
#   the others was timed.
# - **Roofline.** The card does {glue:text}`gpu-rates`, measured. At $d$ = 256 a step reaches
#   {glue:text}`gpu-reached-512` of what that allows with 512 codes, {glue:text}`gpu-reached-8192` with 8,192 and
#   {glue:text}`gpu-reached-65536` with 65,536.
# - **A training step** of this book's network takes {glue:text}`gpu-network-ms` ms. With our STE it takes
#   {glue:text}`gpu-network-ste` of that, with the library's rotation {glue:text}`gpu-network-library`.
# - **Small runs share the card.** One takes {glue:text}`gpu-shared-ms` ms a step. Four at once get
#   {glue:text}`gpu-shared-4` times as much done, sixteen {glue:text}`gpu-shared-16` times. Each was timed once, on a
#   machine of {glue:text}`gpu-cores` cores.
#
# All of it is from `python -m book.bench gpu --out card --minutes 8` at commit {glue:text}`gpu-commit`. It stops at the
# time limit, and the same command goes on from there; it was called twice. What calling kernels takes depends on the
# processor of the machine as much as on the card. Latents and codes are random. What the chapters of experiments
# conclude rests on runs on CPUs.

# %% tags=["hide-input"]
fig_panels = []
styles = {d: LOOK[arm] for d, arm in zip((3, 8, 32, 256), ("paper", "rotvq_compiled", "rotvq", "library"))}
for dtype in gpu_report.DTYPES:
    fig, ax = plt.subplots(figsize=(3.6, 3.0))
    for d, style in styles.items():
        line = on_gpu("step", lambda cost: (cost.dtype, cost.n, cost.d) == (dtype, 16384, d))  # noqa: B023
        if line:
            mid, low, high = zip(*(cost.ratios["library"] for cost in line))
            ax.fill_between([cost.k for cost in line], low, high, color=style.color, alpha=0.2, linewidth=0)
            ax.plot([cost.k for cost in line], mid, label=f"d = {d}", **style.line)
    ax.axhline(1, color=MUTED, linewidth=1)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="codes K",
        ylabel="time / rotvq (above 1 rotvq is faster)",
        title=dtype,
        ylim=(0.6, 8),
    )
    ax.set_xticks(CODES, [f"{k:,}" for k in CODES], minor=False)
    ax.set_yticks([1, 2, 4, 8], ["1", "2", "4", "8"], minor=False)
    ax.minorticks_off()
    fig_panels.append(fig)
if on_card:
    fig_panels[0].axes[0].legend(fontsize=8, loc="upper left")
alt = (
    "Time of a step of vector-quantize-pytorch with the rotation, over that of rotvq, on the GPU, against the number "
    "of codes, for four dimensions; one panel for float32 and one for bfloat16. All lines start below 1 and rise."
)
page.show("fig-gpu", fig_panels, alt)

# %% [markdown]
# ```{glue:figure} fig-gpu
# :name: fig-cost-gpu
#
# The more codes, the further ahead `rotvq` is on the GPU: above 1 it is faster. Time of a step of
# vector-quantize-pytorch with the rotation over that of `rotvq`, 16,384 latents. Bands are quartiles.
# ```
#
# The tables have medians, as multiples of the time of `rotvq` in eager mode.

# %% tags=["hide-input"]
STEP_ARMS = ("rotvq_compiled", "library", "library_ste", "paper", "taming", "product")


def gpu_table(costs, arms):
    """A table of the report in the style of this page, medians alone."""
    head, rows = gpu_report.cost_table(costs, arms, lambda times: f"{times.median:.2f}")
    labels = {arm: look.label for arm, look in LOOK.items()}
    return pd.DataFrame(rows, columns=head).set_index(head[0]).rename(columns=labels)


for kind in gpu_report.DTYPES:
    costs = on_gpu("step", lambda cost, kind=kind: cost.dtype == kind)
    glue(f"cost-gpu-{kind}", gpu_table(costs, STEP_ARMS))

# %% [markdown]
# ````{dropdown} A step in float32 at every size
# ```{glue:any} cost-gpu-float32
# ```
# ````
#
# ````{dropdown} A step in bfloat16 at every size
# ```{glue:any} cost-gpu-bfloat16
# ```
# ````
#
# A training step, 32 images and 512 codes; bfloat16 is autocast:

# %% tags=["hide-input"]
by_dtype = {dtype: lambda cost, dtype=dtype: cost.dtype == dtype for dtype in gpu_report.DTYPES}
TRAINING_ARMS = ("ste", "bare", "library", "library_ste")
pd.concat({dtype: gpu_table(on_gpu("training", where), TRAINING_ARMS) for dtype, where in by_dtype.items()})

# %% [markdown]
# %% tags=["hide-input"]
assert all(set(cost.absent) <= {"matrix"} for cost in on_gpu("estimator"))
ALONE_ARMS = ("ste", "rotvq_compiled", "library", "paper", "matrix")
alone_on_gpu = {dtype: gpu_table(on_gpu("estimator", where), ALONE_ARMS) for dtype, where in by_dtype.items()}
glue("cost-gpu-alone", pd.concat(alone_on_gpu))

# %% [markdown]
# ````{dropdown} The estimator alone, on as many numbers as above
# Where the $d \times d$ matrix has no time, it would take more than half of the card's memory.
#
# ```{glue:any} cost-gpu-alone
# ```
# ````
#
# **Runs of the full profile.** {glue:text}`gpu-sliced` runs of the grids of chapters 10, 13 and 16 were trained on the
# card at the batch of that profile, for {glue:text}`gpu-slice-steps` of its {glue:text}`gpu-slice-full` steps. Of
# {glue:text}`gpu-twins` pairs that differ in the estimator alone, the rotation has the lower test MSE in
# {glue:text}`gpu-lower`. That is a slice, nearly all of one seed, and no verdict.

# %% tags=["hide-input"]
pd.DataFrame(
    [[f"{twin.ste:.5f}", f"{twin.rotation:.5f}", f"{twin.rotation / twin.ste:.2f}"] for twin in twins],
    columns=["STE", "rotation", "rotation / STE"],
    index=pd.MultiIndex.from_tuples(
        [(twin.seed, twin.what) for twin in twins], names=["seed", "apart from the default"]
    ),
) if twins else gpu_report.NOT_RUN

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
display(
    Markdown(
        "\n\n".join(f"````{{dropdown}} {title}, all of it\n{of(gpu)}\n````" for title, of in gpu_report.PARTS.items())
    )
)

# %% [markdown]
# ## What this does not show
#
# One processor and one GPU were measured, each with one version of torch, on random normal latents and codes. Absolute
# times carry the noise of a shared machine; ratios within a turn carry less of it. Where a case is short, the calls
# themselves are a large part of every eager time; on a GPU they are nearly all of it, and they depend on the processor
# beside the card. The training step is that of a small network. A larger encoder makes every percentage here smaller.
