# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (your-experiment)=
# # Your experiment
#
# ```{admonition} In short
# :class: tip
# This page trains the arms that you name, under the conditions that you name, on your data, and compares them seed by
# seed as the chapters do. As it stands it is an example: the ratio to {glue:text}`first` is
# {glue:text}`ratio-least:.2f` to {glue:text}`ratio-most:.2f` for the other arms. Nothing of the package is edited for
# it.
# ```
#
# ```{glue:figure} fig-ratios
# :name: fig-your-ratios
#
# Left of 1 an arm is better than {glue:text}`first`. Ratio of test MSE: each point a pair of runs with the same seed,
# the diamond their geometric mean, the bar its 95 % interval.
# ```
#
# The example asks: does the commitment weight decide between STE and the rotation? Give it other values by `-y`, or, if
# there are several, in a file:
#
# ```yaml
# # mine.yaml
# arms:
#   STE: {estimator: ste}
#   clipped: {estimator: clipped, clip: [0.5, 2.0]}
#   rotation: {estimator: rotation, lr: [1.0e-3, 3.0e-3]}
# cells:
#   gradient: {}
#   EMA: {update: ema, revival: unused}
# common: {init: kmeans, codebook_size: 256}
# data: imagefolder:pictures@64
# steps: 1000
# seeds: 5
# engine: processes:2
# cap: 3.0
# records: my_runs
# ```
#
# ```sh
# CHECKOUT=path/to/rotvq
# $CHECKOUT/.venv/bin/papermill $CHECKOUT/notebooks/29_your_experiment.ipynb mine.ipynb -f mine.yaml
# ```
#
# Call it from your own folder: `pictures`, `my_runs` and files of your own are looked for there.
#
# **Arms** are compared, **cells** are the conditions, and `common` is set in all runs. Each gives fields of
# {class}`~rotvq.training.config.Config` by name. If a field has a list, there is an arm, or a cell, for each value:
# above there are four arms. An arm overrides its cell, and a cell overrides `common`. In YAML `1e-3` is text, write
# `1.0e-3`; and of two arms with one name it keeps the last.
#
# **Data** is one of
#
# - `fashion-mnist`, `fashion-mnist-mini` (2,000 of its images), `photographs`, `cifar10`;
# - `imagefolder:PATH@64`, images scaled until the shorter side is 64, of which the middle 64 × 64 is taken; `@native`
#   for their own size, which all must have; without either 256 × 256. With `train/<class>/` and `val/<class>/` below,
#   `val/` is the test set. Without, every tenth image is tested on, and the one before it validates;
# - `arrays:PATH.npy`, images (N, H, W) or (N, H, W, C), bytes or floats, split in the same way; `arrays:PATH.npz`
#   with arrays `train` and `test`, and `validation` if you like, has its own split;
# - the same with vectors (N, d), and `common: {model: mlp}`. The test MSE is then in the units of your data.
#
# The model `conv` halves height and width twice, so both must be multiples of four.
#
# **Your own estimator, method or model** is named by `module:Name` or `file.py:Name`, in place of a name of the book.
#
# **What it costs** is estimated before anything is trained, and refused above the cap. A run that has a record is not
# trained again. Stop it when you like, and call it again.

# %% tags=["parameters"]
arms: dict[str, dict] = {  # what is compared: fields of Config by name; the others are compared with the first
    "STE": {"estimator": "ste", "gamma": [0.25, 1.0]},
    "rotation": {"estimator": "rotation", "gamma": [0.25, 1.0]},
}
cells: dict[str, dict] = {"uniform": {"init": "uniform"}, "k-means": {"init": "kmeans"}}  # the conditions
common: dict = {}  # fields of all runs that neither sets
data: str = "fashion-mnist"
steps: int = 2000
seeds: int = 3  # so many, from 0
engine: str = ""  # where missing runs are trained: serial, processes:2, ray:0.25, shard:0/4; empty: serial
device: str = "cpu"
cap: float = 0.5  # core-hours that missing runs may take
records: str = ""  # folder of runs; empty: the chapters' are read, and new ones go beside them, to 29_your_experiment

# %% tags=["hide-input"]
from rotvq.page import Page
from rotvq.page.experiment import block

page = Page("29_your_experiment", globals())
page.blocks["own"] = block(arms, cells, seeds, **{"data": data, "steps": steps} | common)

# %% tags=["hide-input"]
import math

from book.chapters import drawings, tables

# %% [markdown]
# ## What is compared

# %%
runs = page.load(data=None, steps=None, seeds=None)  # the block has them
study = page.study("own")
first = next(iter(study.arms))
page.say("first", first)
tables.plan(study)

# %% [markdown]
# One seed gives every arm the same weights and batches and, if codes start from latents, the same first codes. So arms
# are compared seed by seed, each with {glue:text}`first`.
#
# ## Test error
#
# Means, and ratios with their 95 % intervals over the seeds. Below 1 an arm has the lower error. An interval covers
# seeds alone, not other data, and not the luck of the best of many arms. For a claim, write down what you expect
# beforehand, and use ten seeds: with five, no exact two-sided test of a ratio can reach $p < 0.05$.

# %%
means = [pair.mean for pair in study.pairs("test_mse", against=first).values() if pair and pair.n]
page.say("ratio", {"least": min(means, default=math.nan), "most": max(means, default=math.nan)})
page.show("fig-ratios", drawings.dots(study, against=first))
tables.comparisons(study, against=first)

# %% [markdown]
# ## Over training

# %% tags=["hide-input"]
page.show("fig-curves", drawings.curves(study, ["test_mse", "r", "perplexity"]))

# %% [markdown]
# ```{glue:figure} fig-curves
# :name: fig-your-curves
#
# Each arm over training; a lower test MSE is better. Test MSE at the stops, and $|q|/|z|$ and perplexity of the
# training batches. Thin lines are seeds, thick ones their means.
# ```
#
# ## Inside the quantiser
#
# Ratios to {glue:text}`first` at the end. The absolute error $|z-q|^2$ shrinks with the latents; the relative one does
# not ({doc}`05_balance_law`).

# %% tags=["hide-input"]
inside = ["test_z_squared", "test_quantisation_error", "test_relative_error", "test_perplexity"]
tables.ratios(study, inside, against=first)

# %% [markdown]
# ## What it cost
#
# The page shows {glue:text}`cost` Means by arm:

# %% tags=["hide-input"]
tables.levels(study, ["test_mse", "test_usage", "test_perplexity", "seconds"])
