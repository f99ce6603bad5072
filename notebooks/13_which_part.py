# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (which-part)=
# # Which part does the work
#
# The rotation trick changes the gradient in three ways: it scales it by $r$, it turns it, and it does both per vector.
# Each change can be made alone. This chapter names rival explanations of {doc}`10_ste_vs_rotation`, says what each
# predicts, and runs the arms that tell them apart.

# %% tags=["parameters"]
profile: str = "standard"  # smoke: 10 steps, in seconds; standard: the committed records; full: a GPU
steps: int | None = None  # of each run; None: as the profile says
seeds: int | None = None  # 0, 1, ...; None: as the profile says
engine: str = ""  # where missing runs are trained: serial, processes:2, ray:0.25; empty: serial, or not at all
device: str = "cpu"
records: str = ""  # folder of the run records; empty: the committed ones

# %% tags=["hide-input"]
from rotvq import parameters
from rotvq.chapters import PROFILES

parameters.check(globals(), profile=PROFILES, steps=(1, None), seeds=(2, None))

# %% tags=["hide-input"]
from dataclasses import replace

import matplotlib.pyplot as plt
import pandas as pd

from rotvq import plots, report
from rotvq.chapters import CHAPTERS, MAIN
from rotvq.comparisons import close, counted, times
from rotvq.figures import ARMS, WIDTH, Figure, glue, style
from rotvq.study import Study

plt.rcParams.update(style())

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** Network, data, batches and metrics are those of {doc}`10_ste_vs_rotation`: Fashion-MNIST, 512
# codes of dimension 32, $\beta = 1$, $\gamma = 0.25$, Adam at $10^{-3}$, batches of 32, 2,000 steps. One seed gives
# every arm the same weights and batches. The primary metric is test MSE at the last stop, as a ratio.
#
# **Arms.** STE; $rI$; $R$; $rR$ (the rotation); $\bar r I$ and $\bar r R$, with the batch mean of $r$; STE with
# commitment weight $\gamma/\bar r$, $\bar r$ from its own batch; $\mathrm{clip}(r, 0.5, 2) R$; $P r R$, without the
# radial part; $r P$; $\frac12 I + \frac12 rR$; $rH$ with the reflection; zero. All from uniform and from k-means,
# seeds 0 to 4; five of them also after the warm-up; STE and the rotation also with $|z|$ fixed by a LayerNorm.
#
# **Rival mechanisms**, and what each predicts:
#
# | mechanism | predicts |
# |---|---|
# | *gain*: $r$ weighs reconstruction | $rI$, $\bar r I$ and STE with $\gamma/\bar r$ act as the rotation, $R$ as STE |
# | *turn*: the direction of the gradient | $R$ acts as the rotation, $rI$ as STE |
# | *per vector*: $r$ differs between the latents of a batch | $\bar r R$ acts as STE, not as the rotation |
# | *radial*: the part of the gradient along $z$ | $P r R$ differs from the rotation |
# | *norm*: the latents' length is free | with $\vert z\vert$ fixed the rotation and STE agree |
#
# **Primary comparisons**, against STE, six: $rI$ and $R$ from uniform, from k-means, and after the warm-up.
# **Confirmation** on seeds 100 to 109, six: $rI$, $R$ and STE with $\gamma/\bar r$ against STE, from uniform and from
# k-means.
#
# **Hypotheses**, written before the records. One run of 500 steps after the warm-up, kept nowhere, had been seen:
# there $R$ and the clipped rotation collapsed, $rI$ did not.
#
# 1. *From short codes it is the gain.* From uniform $rI$ is within 10 % of the rotation in test MSE, and $R$ is no
#    better than STE.
# 2. *From fitted codes it is the turn.* From k-means and after the warm-up $R$ is worse than STE; $rI$ is within 10 %
#    of STE.
# 3. *A gain is a commitment weight.* From uniform STE with $\gamma/\bar r$ is within 10 % of $\bar r I$.
# 4. *Per vector or not is no matter.* $\bar r R$ is within 10 % of the rotation, from uniform and from k-means.
# 5. *Fixed length.* With $|z|$ fixed, rotation / STE is nearer to 1 than without, from uniform and from k-means.
# 6. *Variance within cells.* In the first batch the share of the gradient's variance within cells is larger under the
#    rotation than under STE.

# %%
runs = report.gather("13_which_part", profile, records=records, engine=engine, device=device,
                     steps=steps, seeds=seeds)  # fmt: skip
blocks = CHAPTERS["13_which_part"].blocks
study = Study(runs, blocks["ladder"], blocks["warm"], blocks["confirm"])
fixed = Study(runs, blocks["clamped"])
report.cost(runs)
study.plan()

# %% [markdown]
# This page shows {glue:text}`coverage`; among them are those with $|z|$ fixed. The first batch says what each start
# means, before a step is taken:

# %% tags=["hide-input"]
study.levels(["r", "theta_deg", "z_norm", "q_norm", "usage"], arms=["STE"], at=1)

# %% [markdown]
# ## All arms
#
# Test MSE at step {glue:text}`steps`, relative to STE from the same start:

# %% tags=["hide-input"]
report.glue_all("change", study.pairs(against="STE"))
for name in ("ladder", "warm"):
    for cell, fields in blocks[name].cells.items():
        one = Study(runs, replace(blocks[name], cells={cell: fields}))
        glue(f"fig-dots-{report.slug(cell)}", plots.dots(one, against="STE"))
plots.effect_map(study, against="STE", rows="arm", columns="cell", xlabel="start")

# %% [markdown]
# Means over seeds {glue:text}`explored`: blue is better than STE, orange worse; in brackets where the interval holds 1.
# After the warm-up only some arms were run. The same with every pair of runs a point:
#
# ```{glue:figure} fig-dots-uniform-1-k
# :name: fig-which-part-uniform
#
# From uniform codes.
# ```
#
# ```{glue:figure} fig-dots-k-means
# :name: fig-which-part-kmeans
#
# From k-means codes.
# ```
#
# ```{glue:figure} fig-dots-k-means-after-warm-up
# :name: fig-which-part-warm
#
# From k-means codes after the warm-up.
# ```

# %% [markdown]
# ## Gain and turn, apart and together
#
# STE, $rI$, $R$ and $rR$ are a two-by-two design: the gain on or off, the turn on or off. So each has two effects, one
# without the other part and one with it.

# %% tags=["hide-input"]
EFFECTS = {
    "gain alone: r I / STE": ("r I", "STE"),
    "gain, with the turn: rotation / R": ("rotation", "R"),
    "turn alone: R / STE": ("R", "STE"),
    "turn, with the gain: rotation / r I": ("rotation", "r I"),
}


def seen(arm, like, cell, metric="test_mse", of=study, **where):
    """The ratio of two arms in a cell, on the seeds that explore or those that confirm, whichever are more."""
    both = [of.pair(arm, cell, metric, against=like, fresh=fresh, **where) for fresh in (False, True)]
    return max((pair for pair in both if pair), key=lambda pair: pair.n, default=None)


effects = {(name, cell): seen(*arms, cell) for name, arms in EFFECTS.items() for cell in study.cells}
report.glue_all("effect", effects)
figs = []
for cell in study.cells:
    rows = [(name, pair, ARMS["scale_only" if "gain" in name.split()[0] else "rotation_only"])
            for name in EFFECTS if (pair := effects[name, cell])]  # fmt: skip
    if rows:
        fig, ax = plt.subplots(figsize=(WIDTH, 2.4), layout="constrained")
        plots.paired_ratios(ax, rows)
        ax.set(title=cell, xlabel="test MSE, ratio")
        figs.append(fig)
said = [f"{name}, {cell}: {times(pair)}" for (name, cell), pair in effects.items() if pair]
glue("fig-effects", Figure(figs, alt="Effects of gain and turn on test MSE. " + "; ".join(said) + "."))

# %% [markdown]
# ```{glue:figure} fig-effects
# :name: fig-which-part-effects
#
# The effect of the gain $r$, with and without the turn, and of the turn $R$, with and without the gain; on the seeds
# that confirm where there are such, else on those that explore.
# ```

# %% [markdown]
# ## Inside
#
# The ratio $r$, the reconstruction gradient at the encoder's output relative to the commitment gradient, and the
# perplexity of the codes that a batch uses, over training:

# %% tags=["hide-input"]
FIVE = ["STE", "r I", "R", "rotation", "STE, γ / mean(r)"]
weighed = runs.trace.id.isin({config.id for config in runs.shown if config.gamma_rule == "over_r"})
runs.trace.loc[weighed, "gradient_ratio"] *= runs.trace.loc[weighed, "r"]  # recorded at γ; what acts is γ / mean(r)
glue("fig-inside", plots.curves(study, ["r", "gradient_ratio", "perplexity"], cells=list(MAIN), arms_shown=FIVE))
glue("fig-stops", plots.curves(study, arms_shown=FIVE))
inside = ["test_perplexity", "test_usage", "test_relative_error", "test_z_norm", "test_r", "test_theta_deg"]
study.levels(inside, arms=[*FIVE, "zero"])

# %% [markdown]
# ```{glue:figure} fig-inside
# :name: fig-which-part-inside
#
# Five arms from two starts. Thin lines are seeds.
# ```
#
# ```{glue:figure} fig-stops
# :name: fig-which-part-stops
#
# Test MSE at the stops.
# ```

# %% [markdown]
# ## Variance within cells
#
# It is said that STE gives all latents of a cell one gradient, and the rotation gives them different ones. In the first
# batch all arms have the same weights, so their gradients differ by the estimator alone. The share of
# $E|\nabla_z|^2$ that is variance among the latents of one code:

# %% tags=["hide-input"]
first = {(arm, cell): seen(arm, "STE", cell, "within_share", at=1) for arm in FIVE[1:4] for cell in study.cells}
report.glue_all("within", first)
report.glue_all("share", {(arm, cell): study.mean(arm, cell, "within_share", at=1) for arm, cell in study.members})
study.ratios(["within_share"], against="STE", at=1)

# %% [markdown]
# ## Length fixed
#
# With a LayerNorm at the encoder's end all latents have one length. Rotation / STE, without and with it:

# %% tags=["hide-input"]
free = {cell: seen("rotation", "STE", cell) for cell in fixed.cells}
held = {cell: seen("rotation, |z| fixed", "STE, |z| fixed", cell, of=fixed) for cell in fixed.cells}
report.glue_all("fixed", held)
pd.DataFrame({"|z| free": map(counted, free.values()), "|z| fixed": map(counted, held.values())}, list(fixed.cells))

# %% [markdown]
# ## The confirmation
#
# Ten fresh seeds. What is expected was fixed after the exploration from uniform and from k-means codes, and before the
# records of these seeds: all six lower than STE. For $R$ that is the opposite of hypotheses 1 and 2. For $rI$ and for
# STE with $\gamma/\bar r$ from k-means it is no more than the sign of a mean whose interval holds 1.

# %% tags=["hide-input"]
named = {(arm, cell): "lower" for cell in MAIN for arm in ("r I", "R", "STE, γ / mean(r)")}
report.glue_all("confirmed", study.pairs(against="STE", fresh=True))
study.verdicts(named, against="STE")

# %% [markdown]
# ## The mechanisms
#
# Each prediction that was fixed beforehand, start by start: the ratio of test MSE of its two arms, on whichever set of
# seeds has more pairs. *acts as* means within 10 % with the whole interval, *differs from* means outside with the whole
# interval; where the interval crosses that line the prediction is *open*. A mechanism *fits* a start where all its
# predictions held there, and *fails* where one of them is wrong.

# %% tags=["hide-input"]
ALIKE = 0.10
ACTS, DIFFERS = "acts as", "differs from"
PREDICTIONS = {
    "gain": [("r I", ACTS, "rotation"), ("mean(r) I", ACTS, "rotation"), ("STE, γ / mean(r)", ACTS, "rotation"),
             ("R", ACTS, "STE")],
    "turn": [("R", ACTS, "rotation"), ("r I", ACTS, "STE")],
    "per vector": [("mean(r) R", ACTS, "STE"), ("mean(r) R", DIFFERS, "rotation")],
    "radial": [("P r R", DIFFERS, "rotation")],
    "norm": [("rotation, |z| fixed", ACTS, "STE, |z| fixed")],
}  # fmt: skip
WORDS = {(ACTS, "yes"): "held", (ACTS, "no"): "wrong", (DIFFERS, "yes"): "wrong", (DIFFERS, "no"): "held"}


def judged(pair, verb):
    """held, wrong or open: whether two arms are within `ALIKE` of each other, or are not, as predicted."""
    return WORDS.get((verb, close(pair, ALIKE)), "open") if pair else ""


table, verdicts = {}, {}
for mechanism, predictions in PREDICTIONS.items():
    found = {}
    for arm, verb, like in predictions:
        of = fixed if arm in fixed.arms else study
        found[arm, verb, like] = {cell: seen(arm, like, cell, of=of) for cell in study.cells}
        row = {cell: f"{times(pair)}: {judged(pair, verb)}" for cell, pair in found[arm, verb, like].items() if pair}
        table[mechanism, f"{arm} {verb} {like}"] = row
    for cell in study.cells:
        words = {judged(pairs[cell], verb) for (_, verb, _), pairs in found.items()} - {""}
        verdicts[mechanism, cell] = "fails" if "wrong" in words else "open" if "open" in words else "fits" * bool(words)
    table[mechanism, "verdict"] = {cell: verdicts[mechanism, cell] for cell in study.cells}
report.glue_all("verdict", verdicts)
pd.DataFrame.from_dict(table, "index").reindex(columns=list(study.cells)).fillna("")

# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`coverage`: {glue:text}`core-hours:.2f` core-hours of one CPU thread each,
# {glue:text}`seconds-per-run:.0f` seconds a run on a machine that did other work meanwhile, so an upper bound. Its
# records are {glue:text}`status`; an unverified one was made before the code last changed. Of the runs
# {glue:text}`diverged` diverged. They show a network of some 20 thousand weights on 28 × 28 grey images, 2,000 steps,
# one learning rate, Adam, one commitment weight and a codebook moved by the gradient. The intervals cover seeds, not
# data sets. The `full` profile, ten seeds and 30,000 steps at batch 128 on a GPU, is the same notebook with
# `profile: full`; it has not been run.
