# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (balance-in-networks)=
# # The balance law in networks
#
# ```{admonition} In short
# :class: tip
# In training, too, the absolute quantisation error falls under the rotation while the relative error and the
# reconstruction get worse. With Adam and without weight decay the latents' size falls under the rotation and rises
# under STE. Weight decay narrows the gap and does not close it.
# ```
#
# ```{glue:figure} fig-errors
# :name: fig-balance-errors
#
# Under the rotation the absolute error is lower, while the relative error and test MSE are higher. Ratio rotation / STE
# by weight decay: each point a pair of runs with the same seed, the diamond their geometric mean, the bar its 95 %
# interval. Left of 1 is lower.
# ```
#
# {doc}`05_balance_law` proves that under the rotation the reconstruction loss cannot defend the length of the latents,
# and says what follows at a stationary point. Do networks in training, with Adam and finite steps, behave as it says?

# %% tags=["parameters"]
from typing import Optional

profile: str = "standard"  # smoke: tests a part, in seconds; standard: the committed records; full: a GPU
steps: Optional[int] = None  # of each run; None: as the profile says
seeds: Optional[int] = None  # 0, 1, ...; None: as the profile says
decays: list[float] = [0.0, 1e-4, 1e-3]  # weights of the weight decay, the first and the last of which are compared
gamma: Optional[float] = None  # weight of the commitment loss; None: as the profile says
data: str = ""  # an image set, or one of your own, such as imagefolder:PATH@64; empty: as the profile says
live_steps: int = 300  # of the two runs trained on this page to check the factors of the law
engine: str = ""  # trains missing runs: serial, processes:2, ray:0.25; empty: serial, but none of the chapter's plan
device: str = "cpu"
cap: Optional[float] = None  # core-hours that missing runs may take; None: the chapter's own
records: str = ""  # folder of runs; empty: the committed ones, and new ones go to data/records/17_balance_law

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("17_balance_law", globals())

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from book.chapters import drawings, tables
from book.chapters.hypotheses import above, higher, judge, lower, outcome
from book.chapters.live import balance_factors
from rotvq.analysis.stats import paired, ratio
from rotvq.analysis.wording import includes_one, ratio_with_n, title
from rotvq.page.figures import ARMS
from rotvq.runs.grids import PAIR, Block, vary

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** Network, data, batches and metrics are those of {doc}`10_ste_vs_rotation`: Fashion-MNIST, 512
# codes of dimension 32, $\beta = 1$, $\gamma = 0.25$, Adam at $10^{-3}$, batches of 32, 2,000 steps. One seed gives
# every arm the same weights and batches. The primary metric is test MSE at the last stop, as a ratio.
#
# **Arms.** {STE, rotation} with EMA codes (decay 0.99, counts from 1) from k-means, 4,000 steps, with weight decay (as
# a penalty, through Adam) 0, $10^{-4}$ and $10^{-3}$ on encoder and decoder; seeds 0 to 2.
#
# **What is compared.** In some 40 batches of each run: the sums $\langle\partial L_{rec}/\partial z, z\rangle$ and
# $\langle\partial L_{rec}/\partial z_q, q\rangle$; the squared norms of the encoder's last linear map $(E, b)$ and of
# the decoder's first, $W$. With losses averaged over elements and decay $\lambda$ on both sides the stationary law
# reads $2\gamma\,\mathbb E\langle z, z - q\rangle/d = \lambda(|W|^2 - |(E, b)|^2)$; with codes at the means of their
# cells $\mathbb E\langle z, z-q\rangle = \mathbb E|z-q|^2$.
#
# **Primary comparisons**, rotation / STE, four: absolute and relative quantisation error on the test images, at decay
# 0 and at $10^{-3}$.
#
# **Hypotheses**, written before the records:
#
# 1. *The identity holds in every batch.* Under the rotation the two sums agree to $10^{-3}$ of their size; under STE
#    they do not.
# 2. *The latents shrink.* Without decay $E|z|^2$ falls under the rotation from the first quarter of training to the
#    last; the decoder's $|W|^2$ rises more than under STE.
# 3. *Decay stops it.* At step 4,000 and $\lambda = 10^{-3}$ the two sides of the stationary law are within a factor of
#    2 under the rotation.
# 4. *Absolute praises, relative does not.* The absolute error is lower under the rotation at every decay; the relative
#    error is not.

# %%
page.change(arms=vary(PAIR, "{}, decay {:g}", weight_decay=decays))
runs = page.load()
block = page.block("decay")
(start,) = block.cells.values()
study = page.study(Block(PAIR, vary({"decay": {}}, "{} {:g}", weight_decay=decays), base=block.base | start))
tables.plan(study)

# %% [markdown]
# This page shows {glue:text}`coverage`. $\gamma$ weighs losses on standardised pixels ({ref}`unit-of-gamma`).
#
# ## The law with its factors
#
# {doc}`05_balance_law` has the law for losses summed over coordinates. The networks are trained on means over elements,
# and the decay enters through Adam. So the factors are derived again, from what `rotvq.training.train` adds up.
#
# - *Reconstruction.* $L_{rec}$ is the mean square over pixels. The records hold
#   $s_z=\sum\langle\partial L_{rec}/\partial z,z\rangle$ and $s_q=\sum\langle\partial L_{rec}/\partial z_q,q\rangle$,
#   over all latents of a batch. Along $(E,b)$ the loss changes by $s_z$, along $W$ by $s_q$.
# - *Commitment.* It is $\gamma$ times the mean of $(z-q)^2$ over all $Nd$ elements, with the gradient
#   $2\gamma(z-q)/(Nd)$. So along $(E,b)$ it changes by $2\gamma\,\mathbb E\langle z,z-q\rangle/d$. $W$ does not feel
#   it.
# - *Decay.* `torch.optim.Adam` adds $\lambda w$ to the gradient of each weight $w$, before it takes any moments: the
#   penalty is $\tfrac\lambda2|w|^2$. Along $(E,b)$ it changes by $\lambda|(E,b)|^2$, along $W$ by $\lambda|W|^2$.
# - *The codebook loss* is not part of the loss under EMA.
#
# Where all gradients vanish, both sums do:
#
# $$ s_z+\tfrac{2\gamma}{d}\mathbb E\langle z,z-q\rangle+\lambda|(E,b)|^2=0,\qquad s_q+\lambda|W|^2=0 . $$ (eq-sides)
#
# Subtract, and with $s_z=s_q$ this is the law as it was fixed beforehand. No factor there is wrong. For STE, for which
# $s_z\ne s_q$, it has one more term:
#
# $$ \tfrac{2\gamma}{d}\,\mathbb E\langle z,z-q\rangle=\lambda\big(|W|^2-|(E,b)|^2\big)+s_q-s_z . $$ (eq-networks)
#
# Two approximations remain. A stationary point is one where all *expected* gradients vanish; Adam with a constant rate
# only hovers about it. And $\mathbb E|z-q|^2$ stands for $\mathbb E\langle z,z-q\rangle$, as if each code were the mean
# of its cell, while EMA codes lag behind.
#
# A short run on this page checks the factors. It compares the products of weights with their gradients, as autograd
# and the decay of Adam give them, with the sums above:

# %%
factors = pd.DataFrame(
    {arm: balance_factors(fields, steps=live_steps, device=device) for arm, fields in PAIR.items()}
).T
assert factors["largest relative error"].max() < 1e-6
page.say("live-steps", f"{live_steps:,}")
factors.map("{:.2g}".format)

# %% [markdown]
# After {glue:text}`live-steps` steps on 2,000 images the second column says how far the codes are from the means of
# their cells, where it would be 1.
#
# ## The identity, batch by batch


# %%
def gap(arm: str, cell: str) -> pd.DataFrame:
    """|s_z - s_q| relative to the larger of the two, in every traced batch: a row a seed, a column a step."""
    z, q = (study.curve(arm, cell, name) for name in ("z_product", "q_product"))
    return (z - q).abs() / np.maximum(z.abs(), q.abs())


gaps = {key: gap(*key) for key in study.members}

# %% tags=["hide-input"]
NUMBERS = {"agree": lambda gaps: 100 * np.mean(gaps <= 1e-3), "median": np.median, "most": np.max}
page.show("fig-identity", drawings.batch_differences(gaps, study))
batches = {
    arm: np.concatenate([found.to_numpy().ravel() for key, found in gaps.items() if key[0] == arm] or [[]])
    for arm in PAIR
}
said = {
    arm: {name: f"{number(values):.3g}" if len(values) else "–" for name, number in NUMBERS.items()}
    for arm, values in batches.items()
}
page.say("gap", {(arm, "agree"): numbers["agree"] for arm, numbers in said.items()})
columns = {"agree": "agree to 0.001, %", "median": "median difference", "most": "largest difference"}
counted = pd.DataFrame({"batches": {arm: f"{len(values):,}" for arm, values in batches.items()}})
counted.join(pd.DataFrame(said).T.rename(columns=columns))

# %% [markdown]
# ```{glue:figure} fig-identity
# :name: fig-balance-identity
#
# The two sums agree to $10^{-3}$ (grey line) in {glue:text}`gap-rotation-agree` % of batches under the rotation, and in
# {glue:text}`gap-ste-agree` % under STE. $|s_z-s_q|$ relative to the larger of the two: a point a batch of a run. Sums
# that agree in all six digits of the records are drawn at $10^{-7}$.
# ```
#
# ## What the norms do


# %%
def quarter(curve: pd.DataFrame, which: int) -> pd.Series:
    """The mean by seed over the traced batches of a quarter of training, 1 to 4."""
    share = 4 * curve.columns / curve.columns.max()
    return curve.loc[:, (which - 1 < share) & (share <= which)].mean(axis=1)


squares = {key: study.curve(*key, "z_squared") for key in study.members}
size = {key: ratio(quarter(z, 4).tolist(), quarter(z, 1).tolist()) for key, z in squares.items()}

# %% tags=["hide-input"]
shown = [cell for cell in study.cells if cell != "decay 0.0001"]
traced = ["z_norm", "encoder_squared", "decoder_squared", "relative_error"]
page.show("fig-norms", drawings.curves(study, traced, cells=shown))
rows = {}
for arm, cell in study.members:
    encoder, decoder = (study.curve(arm, cell, name).mean() for name in ("encoder_squared", "decoder_squared"))
    rows[cell, arm] = {
        "E|z|², first quarter": f"{quarter(squares[arm, cell], 1).mean():.3g}",
        "last / first quarter": ratio_with_n(size[arm, cell]),
        "|(E, b)|², start to end": f"{encoder.iloc[0]:.3g} to {encoder.iloc[-1]:.3g}",
        "|W|², start to end": f"{decoder.iloc[0]:.3g} to {decoder.iloc[-1]:.3g}",
    }
pd.DataFrame.from_dict(rows, "index")

# %% [markdown]
# ```{glue:figure} fig-norms
# :name: fig-balance-norms
#
# Without decay the latents shrink under the rotation and grow under STE. Without decay, and with the strongest: norms
# beside the quantiser, and the relative error. Thin lines are seeds.
# ```
#
# Without decay $\mathbb E|z|^2$ falls from the first quarter to the last under the rotation, and rises under STE. With
# the strongest decay it no longer falls in the mean under the rotation, and the interval contains 1.
#
# ### Adam is not a gradient flow
#
# {eq}`eq-flow` says how $|(E,b)|^2-|W|^2$ moves along the gradient. Adam divides each coordinate by the size of its own
# gradients, so the products of weights and *steps* are not those of weights and *gradients*, and the equation does not
# carry over. What carries over does not ask for the optimiser: the identity in a batch, and the stationary point. The
# table integrates {eq}`eq-flow` over the traced batches, with the time that passes in a step equal to the learning
# rate, and sets beside it what Adam did. Two things set them apart. Adam rescales the decay too: a coupled penalty goes
# through the same moments as the loss, so the law's stationary points carry over and the flow towards them does not.
# And Adam's steps have noise, of which the law has no term.

# %% tags=["hide-input"]
rows, same, went = {}, {}, {}
for (arm, cell), found in study.members.items():
    names = ("encoder_squared", "decoder_squared", "z_product", "q_product", "quantisation_error")
    first, last, z, q, error = (study.curve(arm, cell, name) for name in names)
    decay, imbalance = study.cells[cell]["weight_decay"], first - last
    slope = 2 * (q - z - 2 * found[0].gamma * error / found[0].dim - decay * imbalance)
    flow = np.trapezoid(slope, found[0].lr * slope.columns, axis=1).mean()
    did = (imbalance.iloc[:, -1] - imbalance.iloc[:, 0]).mean()
    agree = np.sign(slope.iloc[:, :-1].to_numpy()) == np.sign(imbalance.diff(axis=1).iloc[:, 1:].to_numpy())
    same[arm, cell], went[arm, cell] = agree.mean(), did / flow
    words = {"gradient flow": f"{flow:.2g}", "Adam": f"{did:.2g}"}
    rows[cell, arm] = words | {"steps in the same direction": f"{agree.mean():.0%}"}
pd.DataFrame.from_dict(rows, "index")

# %% [markdown]
# Without decay the two mostly go the same way, and Adam more than a hundred times as far under the rotation. With the
# strongest decay even the direction is often another.
#
# ## The stationary law
#
# Both sides of {eq}`eq-networks` at the last step, and what the reconstruction adds for STE, averaged over the batches
# of the last quarter, since one batch says little. The change of $|W|^2$ says whether the run stands still.

# %% tags=["hide-input"]
rows, quotient = {}, {}
for (arm, cell), found in study.members.items():
    decay, factor = study.cells[cell]["weight_decay"], 2 * found[0].gamma / found[0].dim
    commitment = factor * study.values(arm, cell, "test_quantisation_error")
    first, last = (study.values(arm, cell, name) for name in ("encoder_squared", "decoder_squared"))
    z, q = (quarter(study.curve(arm, cell, name), 4) for name in ("z_product", "q_product"))
    late = study.curve(arm, cell, "decoder_squared")
    drift = late.iloc[:, -1] / late.loc[:, late.columns >= 0.75 * late.columns.max()].iloc[:, 0] - 1
    if decay:
        quotient[arm, cell] = (commitment / (decay * (last - first))).tolist()
    rows[cell, arm] = {
        "2γ E|z − q|² / d": f"{commitment.mean():.2g}",
        "λ (|W|² − |(E, b)|²)": f"{(decay * (last - first)).mean():.2g}",
        "s_q − s_z": f"{(q - z).mean():.2g}",
        "−s_q": f"{-q.mean():.2g}",
        "λ |W|²": f"{decay * last.mean():.2g}",
        "change of |W|², last quarter": f"{drift.mean():+.1%}",
        "first / second column, by seed": ", ".join(f"{x:.2g}" for x in quotient.get((arm, cell), [])),
    }
pd.DataFrame.from_dict(rows, "index")

# %% [markdown]
# At the strongest decay the two sides agree within a factor of 2 under the rotation. Under STE not even the sign is
# right without the term $s_q-s_z$. That is what the law says of the two. But the law is a difference of two conditions,
# and it can hold while neither does exactly. And one decay, one $\gamma$ and three seeds are one point of it, not the
# line.

# %% tags=["hide-input"]
none, *_, strongest = study.cells


@page.holds
def the_law():
    sides = [0.5 <= x <= 2 for x in quotient["rotation", strongest]]
    yield "At the strongest decay the two sides agree under the rotation within a factor of 2.", *sides
    yield "Under STE not even the sign is right.", max(quotient["STE", strongest]) < 0
    yield (
        "Without decay E|z|² falls under the rotation and rises under STE.",
        lower(size["rotation", none]),
        higher(size["STE", none]),
    )
    most = size["rotation", strongest]
    yield "With the strongest decay it no longer falls in the mean.", includes_one(most), most.mean > 1
    yield "Without decay gradient flow and Adam mostly go the same way.", *(same[arm, none] > 0.9 for arm in PAIR)
    yield "Adam goes more than a hundred times as far under the rotation.", went["rotation", none] > 100
    yield "With the strongest decay even the direction is often another.", *(same[a, strongest] < 0.75 for a in PAIR)


# %% [markdown]
# ## Absolute and relative error
#
# The four primary comparisons, rotation / STE on the test images at step {glue:text}`short`:

# %%
metrics = ("test_quantisation_error", "test_relative_error", "test_mse")
absolute, relative, mse = (study.pairs(metric, against="STE") for metric in metrics)

# %% tags=["hide-input"]
page.say("short", f"{study.last:,}")
primary = {
    (f"decay {decay}", title(metric)): ratio_with_n(found.get(("rotation", f"decay {decay}"))) or "not run"
    for decay in ("0", "0.001")
    for metric, found in zip(metrics, (absolute, relative))
}
pd.DataFrame({"rotation / STE": primary})

# %% [markdown]
# The exact test over three pairs cannot give less than $p=0.25$: these are intervals, without a verdict. All decays,
# and the reconstruction beside them:

# %% tags=["hide-input"]
panels = {
    title(metric): [(cell, pair, ARMS["rotation"]) for (_, cell), pair in found.items()]
    for metric, found in zip(metrics, (absolute, relative, mse))
}
page.show("fig-errors", drawings.ratios(panels, "Errors of the rotation relative to STE", "rotation / STE (← lower)"))
page.show("fig-mse", drawings.curves(study))
tables.ratios(study, [*metrics, "test_z_squared", "test_perplexity"], against="STE")

# %% [markdown]
# ```{glue:figure} fig-mse
# :name: fig-balance-mse
#
# Test MSE is higher under the rotation, too: at the stops. Lower is better.
# ```
#
# {numref}`fig-balance-errors`, at the top of this page, has every pair of runs.
#
# **The absolute error praises the arm that reconstructs worse.** Without decay and with the strongest the rotation has
# the lower absolute error, the higher relative error and the higher test MSE. Decay narrows the gap of the absolute
# error in the mean and does not close it. That the rotation reconstructs worse here was no hypothesis of this page. It
# is one start, k-means, from which it also loses with codes moved by the gradient ({doc}`10_ste_vs_rotation`).


# %% tags=["hide-input"]
@page.holds
def absolute_and_relative():
    ends = [("rotation", none), ("rotation", strongest)]
    yield "The absolute error is lower.", *(lower(absolute[key]) for key in ends)
    yield "The relative error is higher.", *(higher(relative[key]) for key in ends)
    yield "So is test MSE.", *(higher(mse[key]) for key in ends)
    yield (
        "Decay narrows the gap in the mean and does not close it.",
        absolute[ends[0]].mean < absolute[ends[1]].mean < 1,
    )


# %% [markdown]
# ## The hypotheses
#
# Each is judged by its intervals: *wrong* needs an interval on the other side, and where an interval leaves it open a
# hypothesis is *not settled*. Hypotheses 1 and 3 count batches and seeds.


# %% tags=["hide-input"]
def grown(arm: str) -> list[float]:
    """How much |W|² has grown without decay, by seed."""
    curve = study.curve(arm, none, "decoder_squared")
    return (curve.iloc[:, -1] - curve.iloc[:, 0]).tolist() if len(curve) else []


def agreeing(arm: str, parts) -> tuple[str, str]:
    return f"{(batches[arm] <= 1e-3).sum()} of {len(batches[arm])} batches agree", outcome(parts)


def at_every_decay(pairs: dict, rule) -> tuple[str, str]:
    found = [pairs.get(("rotation", cell)) for cell in study.cells]
    return ", ".join(f"{pair.mean:.2g}" for pair in found if pair), outcome(found, rule)


rises = [grown(arm) for arm in ("rotation", "STE")]
more = paired(*rises) if len(rises[0]) == len(rises[1]) > 0 else None
factors_of = quotient.get(("rotation", strongest), [])
rows = {
    "1. rotation: the sums agree to 0.001": agreeing("rotation", batches["rotation"] <= 1e-3),
    "1. STE: they do not": agreeing("STE", batches["STE"] > 1e-3),
    f"2. rotation, {none}: E|z|² falls": judge(size.get(("rotation", none)), lower),
    f"2. {none}: |W|² rises more than under STE": (
        more and f"{more.mean:+.2g} ({more.low:.2g} to {more.high:.2g})",
        outcome([more], above(0)),
    ),
    f"3. rotation, {strongest}: the two sides within a factor of 2": (
        ", ".join(f"{x:.2g}" for x in factors_of),
        outcome(factors_of, lambda x: 0.5 <= x <= 2),
    ),
    "4. absolute error lower at every decay": at_every_decay(absolute, lower),
    "4. relative error lower at no decay": at_every_decay(relative, higher),
}
page.hypotheses(rows)

# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost` Three seeds, one small network, one data set, one start, EMA codes, one $\gamma$. The
# table says how far the norms still move at step {glue:text}`short`. AdamW, which decays the weights apart from the
# gradient, has another law and was not run. {glue:text}`full`
