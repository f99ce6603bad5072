# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (wider)=
# # Other networks, dimensions and codebooks
#
# ```{admonition} In short
# :class: tip
# From uniform codes and after a warm-up the signs of the main comparison hold elsewhere; from k-means codes three of
# four comparisons are not told apart. From uniform codes the rotation has the lower error with GroupNorm, in a network
# eight times as large, with 8,192 codes and in three dimensions. After the warm-up it has the higher one in either
# network. On the unit sphere the two estimators are within 10 % of each other. The reconstructions look as the errors
# say.
# ```
#
# ```{glue:figure} fig-shapes
# :name: fig-shapes
#
# From uniform codes the rotation is better in every network and size, after the warm-up it is worse in either network.
# Ratio of test MSE against STE at the last stop, on a logarithmic axis: each point a pair of
# runs with the same seed, the diamond their geometric mean, the bar its 95 % interval. Left of 1 the error is lower.
# ```
#
# The main comparison rests on one small network without normalisation, and on one measure. Here it is repeated with
# GroupNorm, with a residual network eight times as large, in three dimensions, with 8,192 codes, and with normalised
# codes. Do the reconstructions look as the errors say? And how soon do the codes come into use from a start that does
# not fit?

# %% tags=["parameters"]
from typing import Optional

profile: str = "standard"  # smoke: tests a part, in seconds; standard: the committed records; full: a GPU
steps: Optional[int] = None  # of each run; pretrain_steps stay as they are; None: as the profile says
seeds: Optional[int] = None  # 0, 1, ...; None: as the profile says
data: str = ""  # an image set, or one of your own, such as imagefolder:PATH@64; empty: as the profile says
engine: str = ""  # trains missing runs: serial, processes:2, ray:0.25; empty: serial, but none of the chapter's plan
device: str = "cpu"
cap: Optional[float] = None  # core-hours that missing runs may take; None: the chapter's own
records: str = ""  # folder of runs; empty: the committed ones, and new ones go beside them, to 42_wider

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("42_wider", globals())

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from book.chapters import drawings, tables
from book.chapters.hypotheses import above, below, higher, judge, listed, lower, outcome, within
from book.systems import runs as systems
from book.systems import sequences
from rotvq.analysis.stats import paired, ratio
from rotvq.analysis.wording import includes_one, ratio_text
from rotvq.runs.grids import MAIN, WARM

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** Network, data, batches and metrics are those of {doc}`10_ste_vs_rotation` unless an arm says
# otherwise: Fashion-MNIST, 512 codes of dimension 32, $\beta = 1$, $\gamma = 0.25$ on standardised pixels, Adam at
# $10^{-3}$, batches of 32, 2,000 steps. One seed gives every arm the same weights and batches. The primary metric is
# test MSE at the last stop, as a ratio.
#
# **Arms.** STE and the rotation with GroupNorm between the convolutions, and with a residual network of 156 thousand
# weights in place of 19 thousand, from uniform, from k-means and after the warm-up, seeds 0 to 2; with $d = 3$ and
# with $K = 8192$, from uniform and from k-means, seeds 0 to 2; with normalised latents and codes at $d = 8$ and 32
# from k-means, with the gradient and with EMA 0.8 from counts 0, fresh seeds 100 to 109; and STE with $\gamma = 0.05$,
# 1 and 5 after the warm-up, seeds 0 to 2.
#
# **Primary comparisons**, rotation / STE, six: normalised with the gradient at $d = 8$ and 32; normalised with EMA at
# $d = 8$ and 32; the residual network from uniform and from k-means.
#
# **Hypotheses**, written before the records:
#
# 1. *A larger network keeps the signs.* With the residual network and with GroupNorm rotation / STE is below 1 from
#    uniform and above 1 from k-means.
# 2. *GroupNorm does not prevent the collapse.* After the warm-up with GroupNorm rotation / STE is above 1.
# 3. *On a sphere, no difference.* With normalised latents and codes rotation / STE is within 5 % of 1 in all four
#    cells.
# 4. *Many codes keep the sign.* With 8,192 codes rotation / STE is below 1 from uniform.
# 5. *Three dimensions leave little.* At $d = 3$ rotation / STE is within 20 % of 1 from both starts.
# 6. *After the warm-up commitment hardly matters.* STE's error changes by less than 20 % over the three values of
#    $\gamma$.
#
# **Confirmation**: the normalised cells are on fresh seeds alone; nothing is chosen before.
#
# **How it looks.** The Fréchet distance of the reconstructed test images from the test images, in the features of the
# classifier of {doc}`31_vqgan` and of the same network untrained, and the share of reconstructions whose class the
# classifier names: of the runs of {doc}`37_sequences`, fresh seeds 100 to 109, from uniform and from k-means.
#
# 7. *Looks follow errors.* Rotation / STE in either Fréchet distance is below 1 from uniform and above 1 from k-means,
#    and the rotation's reconstructions are named more often from uniform, less often from k-means.
#
# **Recovery.** The area under the use of the codes {cite}`tang2026stablevq`: the share of the codes that a batch
# chooses, averaged over the 2,000 steps and over four starts, normal codes of scale 0.01, 0.1, 1 and 10. Arms, seeds 0
# to 2: STE, rotation, dynamic STE, Region VQ, STE with codes × 10, Region VQ with codes × 10, and all parts of StableVQ
# with codes × 10.
#
# 8. *The area says what the end does not.* By area StableVQ is first of the seven arms.
# 9. *A rate of the codes' own is most of it.* STE with codes × 10 has more than half of StableVQ's lead over STE.
# 10. *The rotation recovers sooner than STE*: its area is the larger one.

# %% [markdown]
# **Many codes of the same length**, written after all of these and before its records: with $K = 8192$ from uniform,
# codes × 16, so that they are as long as 512 are, seeds 0 to 2.
#
# 11. *Nor does their number change the sign.* Rotation / STE is below 1.

# %%
runs = page.load()
shapes = page.study("GroupNorm", "residual", "three", "many")
normalised = page.study("normalised")
normalised_ema = page.study("normalised, EMA")
long = page.study("many, as long as 512")
commitment = page.study("γ")
recovery = page.study("recovery")
tables.plan(shapes)

# %% [markdown]
# This page shows {glue:text}`coverage`.
#
# ## Networks and sizes

# %%
tables.comparisons(shapes, against="STE")


# %% tags=["hide-input"]
def on_sphere(study, dim: int, name: str):
    return study.pair(f"rotation, {name}", f"k-means, d = {dim}", against=f"STE, {name}", fresh=True)


spheres = {
    f"{name}, d = {dim}": on_sphere(study, dim, name)
    for study, name in ((normalised, "normalised"), (normalised_ema, "normalised, EMA 0.8"))
    for dim in (8, 32)
}
by_ema = tables.comparisons(normalised_ema, against="STE, normalised, EMA 0.8")
as_long = long.pair("rotation", *long.cells, against="STE")
at_start = {start: shapes.mean("STE", f"{start}, K = 8192", "r", at=1) for start in MAIN}
page.say("r0", {start: f"{ratio:.1g}" for start, ratio in at_start.items()})
page.say("r0-as-long", f"{long.mean('STE', *long.cells, 'r', at=1):.1g}")
page.say("as-long", as_long.mean if as_long else float("nan"))
page.show("fig-shapes", drawings.dots(shapes, against="STE"))


# %% tags=["hide-input"]
@page.holds
def networks_and_sizes():
    found = shapes.pairs(against="STE")
    from_uniform = [found["rotation", cell] for cell in shapes.cells if cell.startswith("uniform")]
    yield "There are four networks and sizes.", len(from_uniform) == 4
    yield "From uniform codes the rotation is better in each.", *map(lower, from_uniform)
    late = [found["rotation", f"{start}, {kind}"] for kind in ("GroupNorm", "residual net") for start in WARM]
    yield "After the warm-up it is worse in either network.", len(late) == 2, *map(higher, late)
    yield "From k-means codes it is worse with GroupNorm.", higher(found["rotation", "k-means, GroupNorm"])
    open_ones = [found["rotation", f"k-means, {kind}"] for kind in ("residual net", "d = 3", "K = 8192")]
    yield "From k-means codes the others are not told apart.", *map(includes_one, open_ones)
    yield "In the residual network the mean is far above 1.", open_ones[0].mean > 1.5
    yield "With 8,192 codes uniform ones start short, those of k-means do not.", at_start["uniform 1/K"] < 0.001
    yield "As long as 512 they are behind the rotation, too.", lower(as_long)
    yield "They have nearly the length of their latents.", abs(at_start["k-means"] - 1) < 0.15


# %% [markdown]
# From k-means codes the rotation has the higher error with GroupNorm. In the other three the two are not told apart on
# three seeds, though in the residual network its mean is far above that of STE.
#
# Uniform codes in $\pm1/K$ are 16 times as short with 8,192 of them as with 512: they start at an $r_0$ of
# {glue:text}`r0-uniform-1-k`, so the number of codes and their length change together. Made 16 times as long they
# start at {glue:text}`r0-as-long`, as 512 do, and the rotation is ahead all the same: {glue:text}`as-long:.2f` times
# the error of STE, three seeds. From k-means codes $r_0$ is {glue:text}`r0-k-means`, as it is with 512.
#
# ## Normalised codes
#
# On the unit sphere, where lengths are gone, little is left of the difference. With codes moved by the gradient and
# $d = 32$ the rotation has a slightly higher error.

# %%
pd.concat([tables.comparisons(normalised, against="STE, normalised"), by_ema]).fillna("")

# %%
inside = ["test_usage", "test_perplexity"]
pd.concat([tables.levels(one, inside, fresh=True) for one in (normalised, normalised_ema)])

# %% [markdown]
# ## Commitment after the warm-up
#
# STE after the warm-up has its highest error at the smallest of three weights, and keeps most codes in use at each.

# %%
tables.levels(commitment, ["test_mse", "test_usage", "test_perplexity"])


# %% tags=["hide-input"]
@page.holds
def spheres_and_commitment():
    yield "There are ten pairs.", *(pair.n == 10 for pair in spheres.values())
    yield "On the unit sphere the two are within 10 %.", *map(within(0.1), spheres.values())
    yield (
        "With the gradient and d = 32 the rotation has a slightly higher error.",
        higher(spheres["normalised, d = 32"]),
    )
    weak, *others = (commitment.mean(arm, *WARM, "test_mse") for arm in commitment.arms)
    yield "STE has its highest error at the smallest weight.", all(weak > other for other in others)
    use = [commitment.mean(arm, *WARM, "test_usage") for arm in commitment.arms]
    yield "It keeps most codes in use.", *(used > 0.5 for used in use)


# %% [markdown]
# ## How it looks
#
# As the errors say: in either Fréchet distance the rotation is nearer to the test images from uniform codes, and
# further from them from k-means codes. The classifier names more of its reconstructions from uniform, fewer from
# k-means.
#
# Rotation / STE over fresh seeds; for the share of named reconstructions the difference in percentage points.

# %%
LOOKS = {
    "test_mse": "test MSE",
    "test_frechet_classifier": "Fréchet, classifier",
    "test_frechet_random": "Fréchet, untrained",
}
of_sequences = sequences.EXPERIMENT
of_chapter_10 = [case for case in of_sequences.cases() if case.tokeniser == "vqvae"]
judged_runs = [found for case in of_chapter_10 if (found := systems.record(of_sequences, case))]
seen = pd.DataFrame([{**record["config"], **record["result"]} for record in judged_runs])


def looks(start: str, metric: str):
    """Rotation / STE in a measure of the reconstructions, from one start."""
    rotation, ste = (sequences.ARMS[arm] | sequences.STARTS[start] for arm in ("rotation", "STE"))
    return systems.pair(seen, metric, rotation, ste)


def named(start: str):
    """Rotation less STE in the share of reconstructions that the classifier names, in percentage points."""
    if seen.empty:
        return None
    shares = {}
    for arm in ("rotation", "STE"):
        fields = sequences.ARMS[arm] | sequences.STARTS[start]
        found = seen[(seen[list(fields)] == pd.Series(fields)).all(axis=1)]
        shares[arm] = 100 * found.set_index("seed").test_accuracy
    rotation, ste = shares["rotation"].align(shares["STE"], join="inner")
    return paired(rotation.tolist(), ste.tolist()) if len(rotation) else None


look = {(start, metric): looks(start, metric) for start in sequences.STARTS for metric in LOOKS}
share = {start: named(start) for start in sequences.STARTS}
rows = {
    title: {start: ratio_text(look[start, metric]) for start in sequences.STARTS} for metric, title in LOOKS.items()
}
rows["named by the classifier"] = {
    start: f"{difference.mean:+.2f} points" if difference else "not run" for start, difference in share.items()
}
pd.DataFrame.from_dict(rows, "index").replace("", "not run")


# %% tags=["hide-input"]
@page.holds
def how_it_looks():
    distances = [metric for metric in LOOKS if metric != "test_mse"]
    yield "From uniform codes the rotation is nearer.", *(lower(look["uniform", metric]) for metric in distances)
    yield "From k-means codes it is further away.", *(higher(look["k-means", metric]) for metric in distances)
    yield (
        "The classifier names more from uniform, fewer from k-means.",
        above(0)(share["uniform"]),
        share["k-means"].high < 0,
    )


# %% [markdown]
# ## How soon the codes come into use
#
# Region VQ with codes that move ten times as fast brings the most codes into use from every start, and has the lowest
# error of the seven arms; StableVQ as a whole comes second. The rotation has a far larger area than STE, all of it from
# short codes: from long ones it uses fewer, and its mean error over the starts is the higher one. `recommended`, which
# starts from k-means, is not among the arms.
#
# The share of the codes that a batch of 1,568 latents chooses, averaged over the steps: means over the seeds, by the
# scale of the normal codes at the start. The last columns are the mean over the four starts, which is the area under
# the use of the codes, and the use and the test MSE at the end, means over the starts.


# %%
def area(arm: str, cell: str) -> pd.Series:
    """The mean over the steps of the share of codes that a batch uses, by seed."""
    used = recovery.curve(arm, cell, "usage")
    if used.empty:
        return pd.Series(dtype=float)
    steps = used.columns.to_numpy(float)
    return pd.Series(np.trapezoid(used.to_numpy(), steps, axis=1) / (steps[-1] - steps[0]), used.index)


areas = {arm: {cell: area(arm, cell) for cell in recovery.cells} for arm in recovery.arms}
total = {arm: pd.DataFrame(row).mean(axis=1) for arm, row in areas.items()}
pd.DataFrame(
    {
        arm: {cell: f"{100 * values.mean():.1f} %" if len(values) else "not run" for cell, values in row.items()}
        | {
            "area": f"{100 * total[arm].mean():.1f} %",
            "at the end": f"{100 * np.mean([recovery.mean(arm, cell, 'test_usage') for cell in row]):.1f} %",
            "test MSE": f"{np.mean([recovery.mean(arm, cell, 'test_mse') for cell in row]):.4f}",
        }
        for arm, row in areas.items()
    }
).T


# %% tags=["hide-input"]
@page.holds
def what_recovers():
    first, second = "Region VQ, codes × 10", "StableVQ, codes × 10"
    mean = {arm: {start: values.mean() for start, values in row.items()} for arm, row in areas.items()}
    order = sorted(total, key=lambda arm: -total[arm].mean())
    yield "Region VQ with fast codes is first by area, StableVQ second.", order[:2] == [first, second]
    best = [max(mean, key=lambda arm: mean[arm][start]) == first for start in recovery.cells]
    yield "It is first from every start.", *best
    error = {arm: np.mean([recovery.mean(arm, start, "test_mse") for start in recovery.cells]) for arm in areas}
    yield "It has the lowest error.", min(error, key=error.get) == first
    short, long = ([start for start in recovery.cells if ("0." in start) is is_short] for is_short in (True, False))
    more = {start: mean["rotation"][start] / mean["STE"][start] for start in recovery.cells}
    yield "The rotation's area is far larger, from short codes.", len(short) == 2, *(more[start] > 5 for start in short)
    yield "From long ones it uses fewer.", *(more[start] < 1 for start in long)
    yield "Its mean error is higher than that of STE.", error["rotation"] > error["STE"]


# %% [markdown]
# ## The hypotheses


# %% tags=["hide-input"]
def cell(start: str, kind: str):
    """Rotation / STE in another network or size."""
    return shapes.pair("rotation", f"{start}, {kind}", against="STE")


(warmed,), (uniform, fitted) = WARM, MAIN
networks = {f"{kind}, {start}": cell(start, kind) for kind in ("residual net", "GroupNorm") for start in MAIN}
signs = [pair and (pair, lower if uniform in name else higher) for name, pair in networks.items()]
committed = [commitment.mean(arm, warmed, "test_mse") for arm in commitment.arms]
shown_commitment = len(commitment.members) == len(commitment.arms)
expected = {"uniform": lower, "k-means": higher}
followed = [pair and (pair, expected[start]) for (start, metric), pair in look.items() if metric != "test_mse"] + [
    difference and (difference, sign) for difference, sign in zip(share.values(), (above(0), below(0)))
]
mean_area = {arm: values.mean() for arm, values in total.items()}
recovered = len(recovery.members) == len(recovery.arms) * len(recovery.cells)
stable, rate = "StableVQ, codes × 10", "STE, codes × 10"
lead = {arm: mean_area[arm] - mean_area["STE"] for arm in (stable, rate, "rotation")}


def each_by_its_rule(parts) -> str:
    """What became of a hypothesis whose parts are comparisons, each with a rule of its own."""
    return outcome(parts, lambda part: part[1](part[0]))


page.hypotheses(
    {
        "1. A larger network keeps the signs.": (listed(networks), each_by_its_rule(signs)),
        "2. GroupNorm does not prevent the collapse.": judge(cell(warmed, "GroupNorm"), higher),
        "3. On a sphere, no difference.": judge(spheres, within(0.05)),
        "4. Many codes keep the sign.": judge(cell(uniform, "K = 8192"), lower),
        "5. Three dimensions leave little.": judge({start: cell(start, "d = 3") for start in MAIN}, within(0.2)),
        "6. After the warm-up commitment hardly matters.": (
            f"most / least {max(committed) / min(committed):.2f}" if shown_commitment else "",
            outcome([max(committed) / min(committed) < 1.2 if shown_commitment else None]),
        ),
        "7. Looks follow errors.": (
            listed({f"{LOOKS[metric]}, {start}": pair for (start, metric), pair in look.items()}),
            each_by_its_rule(followed),
        ),
        "8. The area says what the end does not.": (
            ", ".join(sorted(mean_area, key=mean_area.get, reverse=True)[:3]) if recovered else "",
            outcome([max(mean_area, key=mean_area.get) == stable if recovered else None]),
        ),
        "9. A rate of the codes' own is most of it.": (
            f"{lead[rate] / lead[stable]:.2f} of the lead" if recovered else "",
            outcome([lead[rate] > lead[stable] / 2 if recovered else None]),
        ),
        "10. The rotation recovers sooner than STE.": judge(
            ratio(total["rotation"].tolist(), total["STE"].tolist()) if recovered else None, higher
        ),
        "11. Nor does their number change the sign.": judge(as_long, lower),
    }
)

# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost` {glue:text}`full`
