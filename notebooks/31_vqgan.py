# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (vqgan)=
# # VQ-GAN: a gain in the distance where the loss has none?
#
# ```{admonition} In short
# :class: tip
# The distance gains where the error of the pixels gains, and with this loss both gain at either start. The rotation has
# {glue:text}`mse-uniform:.2f` times STE's error and {glue:text}`frechet-uniform:.2f` times its Fréchet distance in a
# classifier's features from uniform codes, and {glue:text}`mse-k-means:.2f` and {glue:text}`frechet-k-means:.2f` times
# from k-means. A gain in the distance alone, as the paper reports, was not seen: no start left the error without a
# gain. Where codes follow, by EMA with revival, STE has little more than half the error from either start, and no
# difference between the two shows on three seeds.
# ```
#
# ```{glue:figure} fig-distances
# :name: fig-vqgan-distances
#
# The rotation lowers the error of the pixels and the Fréchet distance in a classifier's features together, on fresh
# seeds. Ratio rotation / STE at the last step, on a logarithmic axis, by measure: each point a pair of runs with the
# same seed, the diamond their geometric mean, the bar its 95 % interval. Left of 1 the rotation is better.
# ```
#
# The paper reports a better r-FID in all eleven of its settings, also where its validation loss does not fall
# {cite}`fifty2025rotation`. This book's losses gain from the rotation at some starts and lose at others
# ({doc}`10_ste_vs_rotation`). Does a VQ-GAN gain in Fréchet distance where the error of its pixels gains nothing?

# %% tags=["parameters"]
from typing import Optional

profile: str = "standard"  # smoke: 6 steps, in seconds; standard: the committed records
steps: Optional[int] = None  # of each run; None: as the profile says
seeds: Optional[int] = None  # 0, 1, ...; None: as the chapter says
engine: str = ""  # trains missing runs: serial, processes:2; empty: serial, but none of the chapter's plan
device: str = "cpu"  # where missing runs are trained: cpu, cuda, cuda:1
cap: Optional[float] = None  # core-hours that missing runs may take; None: 1
records: str = ""  # folder of runs; empty: the committed ones, and new ones go to data/records/31_vqgan

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("31_vqgan", globals(), profile=("smoke", "standard"))

# %% tags=["hide-input"]
import math
from dataclasses import replace

import pandas as pd
import torch
from torch.nn import functional as F

from book.chapters import drawings
from book.chapters.hypotheses import above, below, listed, outcome, within
from book.systems import classifier, vqgan
from book.systems.page import load
from book.systems.runs import pair
from book.systems.vqgan import ESTIMATORS, LOSSES, STARTS, UPDATES
from rotvq.analysis.wording import ratio_text
from rotvq.page.figures import arms as styles
from rotvq.page.figures import strips
from rotvq.runs.grids import FRESH
from rotvq.training import images

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** Network, data and order of {doc}`10_ste_vs_rotation`: Fashion-MNIST, 512 codes of dimension 32,
# $\beta = 1$, $\gamma = 0.25$, batches of 32, rate $10^{-3}$; Adam with momenta 0.5 and 0.9, as VQGAN has it
# {cite}`esser2021taming`; 1,500 steps, the discriminator from step 500 on. The weight on top of the adaptive one was
# chosen by three runs of the rotation from k-means, seed 0, with 0, 0.2 and the released 0.8: it is 0.2. One seed gives
# every arm the same weights, discriminator and batches. Measures, on the 10,000 test images and reported apart: MSE of
# the pixels; the Fréchet distance {cite}`heusel2017fid` in the features of a classifier that no model is trained on,
# and in the features of the same network before its first training step; the classifier's accuracy on reconstructions.
#
# **Arms.** STE, $R$, $r I$ and the rotation, from uniform and from k-means, moved by the gradient and by EMA with
# revival, seeds 0 to 2. To see that each loss does its work: the absolute error alone, with the perceptual loss, and
# with the adversarial loss as well, for STE, EMA with revival from k-means, seeds 0 to 2. Evaluations at steps 500,
# 1,000 and 1,500.
#
# **Primary comparisons**, rotation / STE, six: from uniform and from k-means, with codes moved by the gradient, each
# in MSE, in the classifier's Fréchet distance and in that of random features. **Confirmation**: these six are decided
# by seeds 100 to 109.
#
# **Hypotheses**, written before the records:
#
# 1. *Where the loss gains, so does the distance.* From uniform the rotation is below STE in all three.
# 2. *Where the loss gains nothing, the distance gains nothing.* From k-means the rotation is below STE in none of the
#    three.
# 3. *The two distances agree.* In each cell of the arms, rotation / STE lies on the same side of 1 in the classifier's
#    features and in random ones, or an interval holds 1.
# 4. *With EMA and revival, no difference.* Rotation / STE is within 10 % of 1 in both distances, from uniform and from
#    k-means.
# 5. *It is the scale.* With the gradient from uniform, $r I$ is within 10 % of the rotation in both distances, and $R$
#    is not.
# 6. *The losses do what they are for.* The perceptual loss lowers both distances against the absolute error alone. The
#    adversarial loss lowers that of random features further, and raises the MSE.

# %%
runs = load(page, vqgan.EXPERIMENT, **({} if steps is None else {"steps": steps}))

# %% [markdown]
# This page shows {glue:text}`coverage`. $\gamma$ weighs the commitment, a mean of squares, against the mean absolute
# error of standardised pixels.
#
# ## The system
#
# The gradient reaches encoder and codes through the reconstruction $y$, so all three losses meet there. The
# discriminator's share is weighted by the ratio of two gradient norms at the decoder's last layer, as VQGAN does:
#
# ```python
# at_y = grad(absolute_error + perceptual_loss, y)
# adversarial = grad(-discriminator(y).mean(), y)
# adaptive = norm(grad(y, last_layer, at_y)) / (norm(grad(y, last_layer, adversarial)) + 1e-4)
# at_y = at_y + 0.2 * adaptive * adversarial
# backward((y, quantized.loss), (at_y, None))
# ```
#
# **The adaptive weight does not see G.** The decoder's last layer lies behind the quantiser, and whatever the
# estimator, the gradient there is the same. So it neither rewards nor punishes an estimator on a given step, and it
# cannot make up for a G that shrinks or stretches what the encoder receives. In the first step of the discriminator,
# from the same weights:

# %%
small = replace(vqgan.Case(), **(vqgan.SMOKE | {"adversarial_from": 0}))


def first_step(arm: dict) -> dict[str, float]:
    """The adaptive weight in a first step with a discriminator, and the norm of the encoder's gradient there."""
    trainer = vqgan.Trainer.from_case(replace(small, **arm))
    trainer.step()
    squares = sum(p.grad.square().sum() for p in trainer.run.model.encoder.parameters())
    return {"adaptive weight": trainer.noted[0]["adaptive"], "|gradient of the encoder|": squares.sqrt().item()}


first = pd.DataFrame({name: first_step(arm) for name, arm in ESTIMATORS.items()}).T
assert list(first.nunique()) == [1, len(ESTIMATORS)]
first

# %% [markdown]
# ## What the measures see
#
# A classifier was trained on the 55,000 training images; it names {glue:text}`accuracy-judge` of the test images right.
# The perceptual loss has another one, narrower and from another seed ({glue:text}`accuracy-loss`), so that no model is
# trained on its judge. Random features are those of the judge's network before its first step: they know neither
# labels nor a loss. Both distances are divided by the variance of the test images' features, where one constant image
# is at least 1 away. What they say of images that no model made:

# %%
METRICS = {
    "test_mse": "MSE",
    "frechet_classifier": "Fréchet, classifier",
    "frechet_random": "Fréchet, random features",
}
data = images.load("fashion-mnist" if profile == "standard" else "fashion-mnist-mini")
test, labels = classifier.scaled(data.test), classifier.labels("test", data)
shares = {name: classifier.accuracy(classifier.load(name), test, labels) for name in classifier.NETWORKS}
page.say("accuracy", {name: f"{100 * share:.1f} %" for name, share in shares.items()})
coarse = F.interpolate(F.avg_pool2d(test, 2), scale_factor=2, mode="bilinear")
error = (coarse - test).square().mean()
noisy = test + error.sqrt() * torch.randn(test.shape, generator=torch.Generator().manual_seed(0))
sets = {
    "half the resolution": coarse,
    "noise of that variance": noisy,
    "other originals": data.validation.float() / 255,
}
scale = pd.DataFrame({name: classifier.distances(pixels.clamp(0, 1), data) for name, pixels in sets.items()}).T
page.say("floor", {name: f"{value:.4f}" for name, value in scale.loc["other originals"].items()})
scale.rename(columns=METRICS)

# %% [markdown]
# Two sets of originals, the validation and the test images, lie {glue:text}`floor-frechet_classifier` and
# {glue:text}`floor-frechet_random` apart. That is the floor: distances near it are not told from none.
#
# ## Does the distance gain where the loss does not?
#
# Rotation / STE with codes moved by the gradient, the six primary comparisons on fresh seeds:

# %%
DISTANCES = list(METRICS)[1:]
STE, ROTATION = vqgan.PAIR.values()
WHOLE = LOSSES["L1, perceptual, adversarial"]
CELLS = {f"{way}, {start}": UPDATES[way] | STARTS[start] | WHOLE for way in UPDATES for start in STARTS}


def compared(metric: str, cell: str, arm: str = "rotation", against: str = "STE", fresh: bool = False):
    """The ratio of two estimators in a cell, None where it was not run."""
    fields, others = (ESTIMATORS[name] | CELLS[cell] for name in (arm, against))
    return runs.pair(metric, fields, others, fresh)


primary = {(cell, metric): compared(metric, cell, fresh=True) for cell in list(CELLS)[:2] for metric in METRICS}
page.say("confirmed", primary)
for start, cell in zip(STARTS, CELLS):
    for name, metric in {"mse": "test_mse", "frechet": "frechet_classifier"}.items():
        page.say(f"{name}-{start}", getattr(primary[cell, metric], "mean", math.nan))
pd.DataFrame(
    {METRICS[metric]: {cell: ratio_text(primary[cell, metric]) for cell in list(CELLS)[:2]} for metric in METRICS}
)

# %% tags=["hide-input"]
drawn = styles(ESTIMATORS)
rows = {name: [] for name in METRICS.values()}
for metric, name in METRICS.items():
    for cell in CELLS:
        found = {"": compared(metric, cell), ", seeds 100–109": compared(metric, cell, fresh=True)}
        rows[name] += [(cell + phase, pair, drawn["rotation"]) for phase, pair in found.items() if pair]
page.show("fig-distances", drawings.ratios(rows, "rotation against STE", "rotation / STE"))


@page.holds
def where_the_distance_gains():
    uniform, fitted = ([primary[cell, metric] for metric in METRICS] for cell in list(CELLS)[:2])
    yield "From uniform codes all three gain.", *map(below(1), uniform)
    yield "From k-means the error and the classifier's distance gain.", *map(below(1), fitted[:2])
    yield "In random features nothing shows there.", fitted[2].low < 1 < fitted[2].high


# %% [markdown]
# {numref}`fig-vqgan-distances`, at the top of this page, has every pair of runs. In random features nothing shows from
# k-means codes, and nothing shows in any measure where codes move by EMA with revival.


# %% tags=["hide-input"]
@page.holds
def where_codes_follow():
    slow, follow = list(CELLS)[:2], list(CELLS)[2:]
    found = [compared(metric, cell) for cell in follow for metric in METRICS]
    yield "No difference shows where codes follow.", *(pair.n == 3 and pair.low < 1 < pair.high for pair in found)
    error = {cell: runs.mean("test_mse", STE | CELLS[cell], fresh=False) for cell in CELLS}
    share = [error[fast] / error[one] for fast, one in zip(follow, slow)]
    yield "STE has little more than half the error there.", *(0.4 < one < 0.6 for one in share)


# %% [markdown]
# {numref}`fig-vqgan-pictures` shows what comes back.
#
# ## Every arm
#
# Means over seeds 0 to 2, each measure in a column of its own:

# %%
LEVELS = METRICS | {"accuracy": "accuracy", "test_perplexity": "perplexity", "train_told_apart": "patches told apart"}


def levels(arms: dict[str, dict]) -> pd.DataFrame:
    """A row an arm, a column a measure: means over the seeds that explore."""
    found = {name: [runs.mean(metric, fields, fresh=False) for metric in LEVELS] for name, fields in arms.items()}
    said = {name: ["" if pd.isna(value) else f"{value:.3g}" for value in values] for name, values in found.items()}
    return pd.DataFrame.from_dict(said, "index", columns=list(LEVELS.values()))


levels({f"{arm}, {cell}": ESTIMATORS[arm] | fields for cell, fields in CELLS.items() for arm in ESTIMATORS})

# %% [markdown]
# ### At every stop
#
# Rotation / STE at the three evaluations, the first before the discriminator starts, seeds 0 to 2:

# %%
at_stops = pd.DataFrame(
    [one["config"] | stop for one in runs.records if one["config"]["seed"] < FRESH for stop in one["result"]["stops"]]
)
table = {}
for step, rows in at_stops.groupby("step") if len(at_stops) else ():
    table[f"step {step:,}"] = {
        (cell, name): ratio_text(pair(rows, metric, ROTATION | fields, STE | fields))
        for cell, fields in CELLS.items()
        for metric, name in METRICS.items()
    }
pd.DataFrame(table)

# %% [markdown]
# ### What comes back

# %% tags=["hide-input"]
PICTURED = list(CELLS)[:2]
seen = {"test images": test[: vqgan.PICTURES]}
for record in runs.records:
    for cell in PICTURED:
        for arm in vqgan.PAIR:
            wanted = ESTIMATORS[arm] | CELLS[cell] | {"seed": 0}
            if wanted.items() <= record["config"].items():
                seen[f"{arm}, {cell}"] = vqgan.unpack(record["result"]["pictures"]) / 255
models = ", ".join(list(seen)[1:]) or "no run"
page.show("fig-pictures", strips(seen, f"Eight test images, and what comes back with {models}."))


@page.holds
def what_comes_back():
    off = {arm: (seen[f"{arm}, {PICTURED[0]}"] - seen["test images"]).square().mean() for arm in vqgan.PAIR}
    yield "From uniform codes the rotation gives back the finer pictures.", bool(off["rotation"] < 0.7 * off["STE"])


# %% [markdown]
# ```{glue:figure} fig-pictures
# :name: fig-vqgan-pictures
#
# From uniform codes the rotation gives back the finer pictures. The first eight test images, and what comes back of
# them at the last step, seed 0.
# ```
#
# ## What each loss does
#
# STE, EMA with revival from k-means, means over seeds 0 to 2:

# %%
place = STE | UPDATES["EMA, revival"] | STARTS["k-means"]
levels({loss: place | fields for loss, fields in LOSSES.items()})

# %% [markdown]
# ## What became of the hypotheses


# %%
def became(parts: dict) -> tuple[str, str]:
    """What was measured, and the outcome, of (a comparison, a rule that it is held to) by name."""
    judged = [None if pair is None else (pair, rule) for pair, rule in parts.values()]
    return listed({name: pair for name, (pair, _) in parts.items()}), outcome(judged, lambda part: part[1](part[0]))


def not_(rule):
    """The opposite of a rule; what was open stays so."""
    return lambda pair: None if rule(pair) is None else not rule(pair)


def one_side(two) -> bool:
    """Whether two ratios are not settled on opposite sides of 1."""
    return {below(1)(two[0]), below(1)(two[1])} != {True, False}


def loss_pair(metric: str, loss: str, against: str):
    """The ratio of a metric with one loss to that with another, None where it was not run."""
    return runs.pair(metric, place | LOSSES[loss], place | LOSSES[against], fresh=False)


uniform, fitted, *with_ema = CELLS
sides = [[compared(metric, cell) for metric in DISTANCES] for cell in CELLS]
parts = {
    f"{arm}, {METRICS[metric]}": (compared(metric, uniform, arm, against="rotation"), rule)
    for metric in DISTANCES
    for arm, rule in {"r I": within(0.1), "R": not_(within(0.1))}.items()
}
l1, perceptual, adversarial = LOSSES
judged = page.hypotheses(
    {
        "1 the distance gains with the loss": became({METRICS[m]: (primary[uniform, m], below(1)) for m in METRICS}),
        "2 and not without it": became({METRICS[m]: (primary[fitted, m], above(1)) for m in METRICS}),
        "3 the two distances agree": (
            "",
            outcome([None if None in two else two for two in sides], one_side),
        ),
        "4 with EMA and revival, no difference": became(
            {f"{METRICS[m]}, {cell}": (compared(m, cell), within(0.1)) for m in DISTANCES for cell in with_ema}
        ),
        "5 it is the scale": became(parts),
        "6 the losses do what they are for": became(
            {
                **{f"perceptual, {METRICS[m]}": (loss_pair(m, perceptual, l1), below(1)) for m in DISTANCES},
                "adversarial, random": (loss_pair("frechet_random", adversarial, perceptual), below(1)),
                "adversarial, MSE": (loss_pair("test_mse", adversarial, perceptual), above(1)),
            }
        ),
    }
)
judged

# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost`
#
# A network of some 20 thousand weights and a discriminator of some ten thousand on 28 × 28 grey images for 1,500 steps
# are no VQGAN on ImageNet. The classifier knows ten classes of clothing; FID's knows a thousand of everything. A
# distance in random features is a distance all the same, and no one has compared it with people's eyes here. The
# weight of each loss was chosen once, for all arms.
#
# **More time** is the parameter `steps`: `steps: 30000` takes twenty times the core-hours, and `engine` spreads them
# over processes. Colour images and VQGAN's own networks are beyond this page, whose judge knows 28 × 28 images.
#
# **On one GPU**, `device: cuda`, the same system takes other fields of its case: `Case(codebook_size=8192, batch=128,
# steps=30000, adversarial_from=10000)`. It has not been run there.
