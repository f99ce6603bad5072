# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (photographs)=
# # A second data set: photographs in colour
#
# ```{admonition} In short
# :class: tip
# The signs of Fashion-MNIST hold on photographs in colour: from short codes the rotation has the lower test error, from
# k-means codes STE, on fresh seeds too. The sizes of the effects are others.
# ```
#
# ```{glue:figure} fig-primary
# :name: fig-photographs-primary
#
# The rotation is ahead from uniform codes and behind from k-means codes, in all ten fresh pairs. Ratio of test MSE,
# rotation / STE, at the last stop, on a logarithmic axis: each point a pair of runs with the same seed, the diamond
# their geometric mean, the bar its 95 % interval. Left of 1 the rotation is better.
# ```
#
# Fashion-MNIST is grey, centred and small. The same comparisons on 32 × 32 colour crops of ten photographs, leaving
# two photographs out for testing, say how far the signs of {doc}`10_ste_vs_rotation` travel.

# %% tags=["parameters"]
from typing import Optional

profile: str = "standard"  # smoke: tests a part, in seconds; standard: the committed records; full: a GPU
steps: Optional[int] = None  # of each run; pretrain_steps stay as they are; None: as the profile says
seeds: Optional[int] = None  # 0, 1, ...; None: as the profile says
live_steps: int = 500  # of the two runs trained on this page for a look at images
engine: str = ""  # trains missing runs: serial, processes:2, ray:0.25; empty: serial, but none of the chapter's plan
device: str = "cpu"
cap: Optional[float] = None  # core-hours that missing runs may take; None: the chapter's own
records: str = ""  # folder of runs; empty: the committed ones, and new ones go to data/records/18_photographs

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("18_photographs", globals())

# %% tags=["hide-input"]
import math

import numpy as np
import pandas as pd

from book.chapters import drawings, tables
from book.chapters.hypotheses import higher, listed, lower, outcome
from book.chapters.live import show_reconstructions
from book.chapters.rounding import before_rounding_changed
from rotvq.analysis import stats
from rotvq.analysis.wording import includes_one, ratio_text
from rotvq.runs.grids import CONFIRM, MAIN, PAIR, WARM, Block
from rotvq.training.images import FOLDS

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** Network, batches and metrics are those of {doc}`10_ste_vs_rotation`: 512 codes of dimension 32,
# $\beta = 1$, $\gamma = 0.25$, Adam at $10^{-3}$, batches of 32, 2,000 steps. One seed gives every arm the same
# weights and batches. The primary metric is test MSE at the last stop, as a ratio.
#
# **Data.** 12,288 training crops of eight photographs, 768 of the two that are left out; fold = seed mod 5, so five
# seeds test on each pair once and ten seeds twice. Intervals cover seeds and these photographs, not images at large.
#
# **Arms.** {STE, rotation} from uniform, from k-means and after the warm-up, seeds 0 to 4.
#
# **Primary comparisons** and **confirmation**, rotation / STE on seeds 100 to 109, two: from uniform; from k-means.
#
# **Hypotheses**, written before the records:
#
# 1. *The signs travel.* The ratio is below 1 from uniform, above 1 from k-means and above 1 after the warm-up.
# 2. *The sizes do not.* From uniform the interval of the ratio does not contain the mean found on Fashion-MNIST.
# 3. *Folds matter more than estimators.* The spread of test MSE between folds is larger than the effect of the
#    estimator from k-means.

# %%
GREY = [Block(PAIR, MAIN | WARM), Block(PAIR, MAIN, CONFIRM)]
runs = page.load(also=GREY)
study, fashion = page.study("explore", "confirm"), page.study(*GREY)
page.say("own-coverage", study.coverage)
tables.plan(study)

# %% [markdown]
# Of its own runs this page shows {glue:text}`own-coverage`; with those of {doc}`10_ste_vs_rotation` that it compares
# with, {glue:text}`coverage`. $\gamma$ weighs losses on standardised pixels ({ref}`unit-of-gamma`). Each seed tests on
# one pair of photographs, the fold of that seed:

# %% tags=["hide-input"]
pictures = [" and ".join(path.split("/")[-1].split(".")[0].replace("_", " ") for path in pair) for pair in FOLDS]
seeds = [f"{k} and {100 + k}, {105 + k}" for k in range(5)]
pd.DataFrame({"tested on": pictures, "seeds": seeds}, index=pd.RangeIndex(5, name="fold"))

# %% [markdown]
# ## Test error
#
# Means over the seeds that explore, and the ratio rotation / STE on both sets of seeds:

# %%
explored, confirmed = (study.pairs(against="STE", fresh=fresh) for fresh in (False, True))
page.show("fig-primary", drawings.dots(study, against="STE"))
tables.comparisons(study, against="STE")

# %% [markdown]
# {numref}`fig-photographs-primary`, at the top of this page, has every pair of runs.
#
# The sentences about results are about the committed records; each has an assertion behind it in a cell below it.
#
# **The signs of the seeds that explore are those of Fashion-MNIST.** From uniform codes the rotation is ahead. From
# k-means codes it is behind, and after the warm-up further in the mean. Each of these seeds tests on other photographs.


# %% tags=["hide-input"]
@page.holds
def the_seeds_that_explore():
    short, fitted, warm = (explored["rotation", cell] for cell in study.cells)
    yield "From uniform codes the rotation is ahead in every pair.", lower(short), max(short.differences) < 1
    behind = min(fitted.differences + warm.differences) > 1
    yield "From k-means and after the warm-up it is behind in every pair.", behind, higher(fitted), higher(warm)
    yield "After the warm-up further in the mean.", fitted.mean < warm.mean


# %% [markdown]
# ### The confirmation
#
# Ten fresh seeds, two a fold. The p-value is that of the exact sign-flip test; Holm's correction is over these two.

# %%
expected = {("rotation", "uniform 1/K"): "lower", ("rotation", "k-means"): "higher"}
verdicts = tables.verdicts(study, expected, against="STE")
verdicts

# %% tags=["hide-input"]
fresh = {cell: confirmed.get(("rotation", cell)) for cell in MAIN}


def by_fold(cell: str):
    """The ratio on fresh seeds with one value a fold, the geometric mean of its two seeds."""
    rotation, ste = (study.values(arm, cell, "test_mse", fresh=True) for arm in ("rotation", "STE"))
    logs = np.log(rotation / ste).dropna()
    means = np.exp(logs.groupby(logs.index % 5).mean()).tolist()
    return stats.ratio(means, [1.0] * len(means)) if means else None


folds = {cell: by_fold(cell) for cell in MAIN}
before = before_rounding_changed(study, "k-means")
page.say("before-p", f"{before.p:.3f}" if before else "not run")
rows = {"ten pairs": fresh, "a value a fold": folds, "ten pairs, before the rounding changed": {"k-means": before}}
columns = {f"from {cell}": [ratio_text(found.get(cell)) for found in rows.values()] for cell in MAIN}
pd.DataFrame(columns, list(rows))

# %% [markdown]
# **Both came out as expected.** From uniform the rotation is better in all ten pairs. From k-means it is worse in all
# ten. How sure that looks hangs on more than the seeds: before a change of the code that altered the rounding of the
# rotation and nothing else, the same ten pairs had an uncorrected p of {glue:text}`before-p` ({doc}`19_synthesis`,
# objection 23).
#
# The test counts ten pairs as independent, but two seeds share the photographs of a fold. With one value a fold, the
# geometric mean of its two seeds, the ratio is on its side of 1 in all five folds, from either start. Five values
# cannot reach $p < 0.05$ in an exact test.


# %% tags=["hide-input"]
@page.holds
def the_confirmation():
    short, fitted = fresh.values()
    yield "Both came out as expected.", verdicts.verdict.tolist() == ["as expected"] * 2
    yield "From uniform the rotation is better in all ten pairs.", short.n == 10, max(short.differences) < 1
    yield "From k-means it is worse in all ten.", fitted.n == 10, min(fitted.differences) > 1
    yield "How sure that looks hangs on more than the seeds.", before.p > 5 * fitted.p
    short, fitted = folds.values()
    yield "With one value a fold each ratio is on its side of 1.", lower(short), higher(fitted)
    yield "It is in all five folds.", short.n == fitted.n == 5, max(short.differences) < 1 < min(fitted.differences)


# %% [markdown]
# ### The same on Fashion-MNIST
#
# The runs of {doc}`10_ste_vs_rotation`, with the same code, the same steps and the same seeds:

# %%
grey_explored, grey_confirmed = (fashion.pairs(against="STE", fresh=fresh) for fresh in (False, True))
tables.comparisons(fashion, against="STE")

# %% [markdown]
# **What the photographs confirm** is the sign, from uniform and from k-means. **What they do not** is a size. After the
# warm-up there are no seeds that confirm here. The gap is narrower than on Fashion-MNIST in the mean, with intervals
# that overlap. From k-means the sizes on fresh seeds are not told apart. From uniform the lead is larger here in the
# mean, and the intervals of the fresh seeds just meet.


# %% tags=["hide-input"]
@page.holds
def the_same_on_fashion_mnist():
    there, here = grey_confirmed["rotation", "k-means"], fresh["k-means"]
    apart = there.low < here.mean < here.high and here.low < there.mean < here.high
    yield "On fresh seeds the sizes from k-means are not told apart.", apart
    lead, here = grey_confirmed["rotation", "uniform 1/K"], fresh["uniform 1/K"]
    meet = here.mean < lead.low < here.high < lead.mean
    yield "From uniform the lead is larger here, and the intervals just meet.", meet
    wide, narrow = (found["rotation", "k-means after warm-up"] for found in (grey_explored, explored))
    overlap = narrow.mean < wide.low < narrow.high < wide.mean
    yield "After the warm-up the gap is narrower, with intervals that overlap.", overlap


# %% [markdown]
# ## Fold by fold
#
# Test MSE of every run, by the photographs that it is tested on. A line joins STE and rotation of one seed.


# %%
def mse(cell: str, arm: str) -> pd.Series:
    """Test MSE by seed, those that explore before those that confirm."""
    return pd.concat([study.values(arm, cell, "test_mse", fresh=fresh) for fresh in (False, True)])


by_seed = {cell: pd.DataFrame({arm: mse(cell, arm) for arm in PAIR}).dropna() for cell in study.cells}

# %% tags=["hide-input"]
table = {
    cell: {
        f"{k}: {picture}": ", ".join(f"{x:.2f}" for x in (found["rotation"] / found["STE"])[found.index % 5 == k])
        for k, picture in enumerate(pictures)
    }
    for cell, found in by_seed.items()
    if len(found)
}
table = pd.DataFrame(table)
alt = f"Test MSE of STE and rotation by fold. Ratios by fold: {table.to_dict()}."
page.show("fig-folds", drawings.fold_by_fold(by_seed, pictures, alt))
table

# %% [markdown]
# ```{glue:figure} fig-folds
# :name: fig-photographs-folds
#
# The error goes with the photographs: test MSE, on a logarithmic axis, of every run by fold; from left to right the
# seed that explores and those that confirm. Lower is better. The table has the ratio rotation / STE of each of these
# pairs, in the same order.
# ```
#
# ## What happens inside

# %%
inside = ["test_z_squared", "test_quantisation_error", "test_relative_error", "test_usage", "test_perplexity"]
page.show("fig-inside", drawings.curves(study, ["test_mse", "r", "theta_deg", "perplexity", "relative_error"]))
tables.ratios(study, inside, against="STE")

# %% [markdown]
# ```{glue:figure} fig-inside
# :name: fig-photographs-inside
#
# Usage goes with the test error: test MSE at the stops, and four numbers of the training batches. Thin lines are seeds,
# here also folds.
# ```
#
# Usage goes with the test error: the rotation uses more codes from uniform, fewer from the other two starts. The
# latents of the rotation are shorter from every start. Its absolute quantisation error is lower in the mean from every
# start, after the warm-up not separated. Its relative error is lower from uniform and higher from the other two. Why is
# not tested on photographs: no control was run here.


# %% tags=["hide-input"]
@page.holds
def inside_the_quantiser():
    length, absolute, relative, usage, _ = ([*study.pairs(metric, against="STE").values()] for metric in inside)
    yield "The latents of the rotation are shorter from every start.", *map(lower, length)
    yield "Its absolute error is lower from uniform and k-means.", *map(lower, absolute[:2])
    yield "After the warm-up it is lower in the mean, not separated.", absolute[2].mean < 1, includes_one(absolute[2])
    yield "Its relative error is lower from uniform, higher else.", lower(relative[0]), *map(higher, relative[1:])
    yield "Usage goes with the test error.", higher(usage[0]), *map(lower, usage[1:])


# %% [markdown]
# ## A look at images
#
# Two runs trained while this page was made, {glue:text}`live-steps` steps from uniform codes, tested on fold 0.
# One seed and a part of the steps: an illustration, and no result.

# %% tags=["hide-input"]
page.say("live-steps", live_steps)
images, errors = show_reconstructions(PAIR, steps=live_steps, device=device, source="photographs", init="uniform")
page.show("fig-images", images)


@page.holds
def what_comes_back():
    yield "The rotation gives back more of each crop.", live_steps < 500 or errors["rotation"] < 0.7 * errors["STE"]


# %% [markdown]
# ```{glue:figure} fig-images
# :name: fig-photographs-images
#
# From uniform codes the rotation gives back more of each crop. Eight test crops, and what comes back of them, with the
# test MSE of each run: one seed and a few hundred steps.
# ```
#
# ## The hypotheses
#
# Each in turn, from its intervals. *Not settled* means that an interval leaves it open. The spread between folds is the
# standard deviation, over the five folds, of the mean $\log$ MSE of STE from k-means; both it and the effect of the
# estimator are given as factors.

# %% tags=["hide-input"]
SIDES = {"uniform 1/K": lower, "k-means": higher, "k-means after warm-up": higher}


def signs(pairs: dict, *cells: str) -> tuple[str, str]:
    """Whether the ratios lie on the expected side of 1."""
    found = {cell: pairs.get(("rotation", cell)) for cell in cells}
    parts = [pair and (SIDES[cell], pair) for cell, pair in found.items()]
    return listed(found), outcome(parts, lambda two: two[0](two[1]))


def size(pairs: dict, grey: dict) -> tuple[str, str]:
    """Whether the mean of Fashion-MNIST lies outside the interval of the photographs, from uniform."""
    here, there = (found.get(("rotation", "uniform 1/K")) for found in (pairs, grey))
    said = f"{ratio_text(here)} here, {there.mean:.3g} there" if here and there else ""
    return said, outcome([here and there and not here.low <= there.mean <= here.high])


def spread(fresh: bool) -> tuple[str, str]:
    """Whether the folds of STE differ by more than the estimators do, from k-means."""
    pair = study.pair("rotation", "k-means", against="STE", fresh=fresh)
    logs = np.log(study.values("STE", "k-means", "test_mse", fresh=fresh))
    means = logs.groupby(logs.index % 5).mean()
    if pair is None or len(means) < 5:
        return "", "not run"
    between, effect = np.exp(means.std()), np.exp(abs(np.log(pair.mean)))
    return f"folds {between:.3g} times, estimators {effect:.3g} times", outcome([bool(between > effect)])


rows = {
    "1. the signs from uniform and k-means, seeds that explore": signs(explored, *MAIN),
    "1. the sign after the warm-up, seeds that explore": signs(explored, *WARM),
    "1. the signs from uniform and k-means, seeds that confirm": signs(confirmed, *MAIN),
    "2. another size from uniform, seeds that explore": size(explored, grey_explored),
    "2. another size from uniform, seeds that confirm": size(confirmed, grey_confirmed),
    "3. folds matter more than estimators, seeds that explore": spread(False),
    "3. folds matter more than estimators, seeds that confirm": spread(True),
}
judged = page.hypotheses(rows)
judged

# %% [markdown]
# **Hypothesis 1 held**: on both sets of seeds from uniform and from k-means; after the warm-up it was only explored.
#
# **Hypothesis 2: the two sets of seeds disagree.** On the seeds that explore the interval from uniform holds the mean
# of Fashion-MNIST; on those that confirm it is narrower and does not. The means of the two sets are close. With one
# value a fold the interval holds it again. It was no primary comparison and stays open.
#
# **Hypothesis 3 held** on both sets, by a hair on the seeds that explore, and as two point values without an interval.
# It says as much about the size of the effect as about the folds.
#
# **A sceptic would say** that on the seeds that explore seed and fold are one. On those that confirm two seeds share a
# fold. The MSE of STE from k-means differs far more between folds than within: the error goes with the photographs. Of
# the ratio rotation / STE this does not show. The table has both as factors, from standard deviations of the logarithm.

# %% tags=["hide-input"]
ste, rotation = (np.log(study.values(arm, "k-means", "test_mse", fresh=True)) for arm in PAIR)
spreads = {}
for name, logs in (("MSE of STE", ste), ("rotation / STE", rotation - ste)):
    groups = logs.groupby(logs.index % 5)
    spreads[name] = {
        "within a fold": math.exp(math.sqrt(groups.var().mean())),
        "between the means of folds": math.exp(groups.mean().std()),
    }


@page.holds
def the_hypotheses():
    words = ["held", "held", "held", "wrong", "held", "held", "held"]
    yield "1 and 3 held; of 2 the two sets of seeds disagree.", judged.outcome.tolist() == words
    wide, narrow = (found["rotation", "uniform 1/K"] for found in (explored, confirmed))
    yield "2. On the seeds that confirm the interval is narrower.", narrow.high - narrow.low < wide.high - wide.low
    yield "2. The means of the two sets are close.", abs(narrow.mean / wide.mean - 1) < 0.05
    mean, fold = grey_confirmed["rotation", "uniform 1/K"].mean, folds["uniform 1/K"]
    yield "2. With one value a fold the interval holds it again.", fold.low < mean < fold.high
    error, of_both = (list(found.values()) for found in spreads.values())
    yield "The error goes with the photographs.", error[0] < 1.1 < 1.5 < error[1]
    yield "Of the ratio this does not show.", of_both[0] > of_both[1]


pd.DataFrame(spreads).T.map("{:.2f}".format)


# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost` Ten photographs are a small sample of images, and crops of one photograph resemble
# one another: an interval over ten seeds here is one over five pairs of photographs, each tested on twice. The runs
# show one small network and one learning rate, tuned for neither estimator. {glue:text}`full`
