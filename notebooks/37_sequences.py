# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (sequences)=
# # Sequences of codes: what a better codebook is for
#
# ```{admonition} In short
# :class: tip
# What an estimator gains in reconstruction survives to generation, and so does what it loses. From uniform codes the
# samples of a prior lie {glue:text}`samples-uniform:.2f` times as far from the test images under the rotation as
# under STE, from k-means codes {glue:text}`samples-k-means:.2f` times. With the codes of a VQ-GAN, where the rotation
# gains in reconstruction from k-means as well, they lie {glue:text}`gan-sample_frechet_classifier:.2f` times as far
# in a classifier's features. Of all arms of the VQ-VAE the recommended setting has the lowest error, the fewest bits
# and the nearest samples.
# ```
#
# ```{glue:figure} fig-survives
# :name: fig-sequences-survives
#
# From uniform codes the rotation has the lower error, fewer bits an image and the nearer samples; from k-means codes it
# is the other way round, but for those of a VQ-GAN. Ratio rotation / STE, on a logarithmic axis: each point a pair of
# runs with the same seed, the diamond their geometric mean, the bar its 95 % interval. Left of 1 the rotation is
# better, but for the bits of codes, which buy those of pixels.
# ```
#
# A VQ-VAE is trained so that another model may be: a prior over its codes, which compresses images, or makes new ones
# {cite}`vandenoord2017vqvae,esser2021taming`. The paper reports reconstructions and makes no claim about either
# {cite}`fifty2025rotation`. Where an estimator gains in reconstruction, does the gain survive to generation?

# %% tags=["parameters"]
from typing import Optional

profile: str = "standard"  # smoke: 4 steps, in seconds; standard: the committed records
steps: Optional[int] = None  # of each VQ-VAE; None: as the profile says
prior_steps: Optional[int] = None  # of each prior; None: as the profile says
seeds: Optional[int] = None  # 0, 1, ...; None: as the chapter says
engine: str = ""  # trains missing runs: serial, processes:2; empty: serial, but none of the chapter's plan
device: str = "cpu"  # where missing runs are trained: cpu, cuda, cuda:1
cap: Optional[float] = None  # core-hours that missing runs may take; None: 1
records: str = ""  # folder of runs; empty: the committed ones, and new ones go to data/records/37_sequences

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("37_sequences", globals(), profile=("smoke", "standard"), prior_steps=(2, 1_000_000))

# %% tags=["hide-input"]
import itertools
import math
from collections.abc import Iterable

import matplotlib.pyplot as plt
import pandas as pd
import torch

from book.chapters import drawings
from book.chapters.hypotheses import above, below, judge, listed, nearer, outcome, within
from book.systems import classifier, runs, sequences, vqgan
from book.systems.page import load
from book.systems.prior import Prior
from book.systems.sequences import ARMS, BEST, FOLLOWING, GAN, PAIR, STARTS
from rotvq.analysis.stats import ratio
from rotvq.analysis.wording import ratio_text
from rotvq.page.figures import MUTED, WIDTH, strips
from rotvq.page.figures import arms as styles
from rotvq.training import images

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** The VQ-VAE, the data and their order are those of {doc}`10_ste_vs_rotation`: Fashion-MNIST, 512
# codes of dimension 32, $\beta = 1$, $\gamma = 0.25$, Adam at $10^{-3}$, 2,000 batches of 32. An image becomes 49
# codes, row by row. The prior is a causal transformer of two blocks of width 64 with four heads, trained by Adam for
# 500 batches of 32 images, each seen once, at a rate that falls from $2\cdot10^{-2}$ linearly to 0. One seed gives
# every arm the same weights, batches and draws.
#
# **Bits.** A test image is written without loss: its codes by the prior, then its pixels given their reconstruction.
# For the pixels there is a table: at each of 64 levels of the reconstructed pixel, the shares of the 256 values,
# counted on the validation images. Bits are means over the first 2,000 test images. What the networks and the table
# cost themselves is not counted; their sizes are the same in every arm.
#
# **Distances.** The Fréchet distance {cite}`heusel2017fid` of 2,000 images from the test images, in the features of the
# classifier of {doc}`31_vqgan` and in those of the same network untrained, divided by the variance of the test images'
# features. Of *samples*: sequences drawn from the prior, decoded. Of *reconstructions* of validation images: what a
# perfect prior would draw. Of draws from *independent places*, each from the shares of the codes at its place.
#
# **Arms.** STE, rotation and $r I$, codes moved by the gradient, from uniform and from k-means; and *recommended*, STE
# from k-means with EMA of decay 0.9, counts from 0, and revival. All on seeds 100 to 109, which decide; nothing is
# explored.
#
# **Primary comparisons**, rotation / STE, six: from uniform and from k-means, each in total bits and in the two
# distances of samples.
#
# **Hypotheses**, written before the records. Known by then: the errors and perplexities of chapter 10, by which the
# rotation has the lower error from uniform, the higher one from k-means, and uses more codes from either; and a pilot
# of STE from k-means with EMA of decay 0.99 and revival, 250 steps, seed 0. After 150 batches its prior at a rate of
# $10^{-2}$ took 181 bits of 300 test images, against 294 of independent places, and its samples lay at 0.15, against
# 0.38 of independent places and 0.05 of reconstructions, in the classifier's features. The rate of the prior was chosen
# by a second pilot, of *recommended* for 500 steps with seed 0, on 1,000 validation images: after 500 batches 177.0
# bits at a rate of $10^{-2}$, 171.9 at $2\cdot10^{-2}$, 171.0 at $3\cdot10^{-2}$, 286.8 at $10^{-1}$. Of the two that
# are level the smaller one is taken, in all arms.
#
# 1. *The errors are those of chapter 10.* Rotation / STE is below 1 in test MSE from uniform, above 1 from k-means.
# 2. *A richer code costs more.* Rotation / STE is above 1 in bits of the codes, from either start.
# 3. *It pays for itself.* In total bits, rotation / STE is below 1 from uniform, and above 1 from k-means.
# 4. *The gain survives to generation.* From uniform, rotation / STE is below 1 in the distance of samples, in either
#    set of features. *So does the loss.* From k-means it is above 1.
# 5. *But less of it.* From uniform, rotation / STE is nearer to 1 in the distance of samples than in that of
#    reconstructions, in either set of features: more codes are harder to predict.
# 6. *The best codebook is the best for both.* Recommended / rotation from uniform is below 1 in total bits and in the
#    distance of samples, in either set of features.
# 7. *The scale alone changes nothing.* $r I$ / STE is within 2 % of 1 in total bits, from either start.
# 8. *Context is half of it.* The distance of samples is below half that of independent places in the classifier's
#    features, in every arm.
# 9. *A richer code asks for a longer training.* From uniform, the distance of samples falls by a larger factor under
#    the rotation than under STE in the second half of the prior's training, in the classifier's features.

# %% [markdown]
# **Fixed later**, when all the records above were there, and before the records of these: the same prior over the codes
# of {doc}`31_vqgan`, whose runs of 1,500 steps are trained again here, from k-means. With codes moved by the gradient
# STE and the rotation, seeds 100 to 109, which decide; with EMA and revival the two, seeds 0 to 2. Primary comparisons,
# rotation / STE with the gradient, three: total bits and the two distances of samples. Known by then: the errors,
# distances and perplexities of chapter 31, by which from k-means with the gradient the rotation has the lower error,
# the nearer reconstructions in the classifier's features and no others in random ones, and uses more codes. No prior
# had seen these codes.
#
# 10. *The gain survives here, too.* Rotation / STE is below 1 in the distance of samples in the classifier's features.
# 11. *And nothing comes of nothing.* In random features its interval holds 1.
# 12. *It pays for itself.* Rotation / STE is above 1 in bits of the codes and below 1 in total bits.
# 13. *Where codes follow, nothing shows.* With EMA and revival rotation / STE is within 10 % of 1 in total bits and in
#     the distance of samples in the classifier's features.
# 14. *A sharper loss is not a better code.* Under STE from k-means with the gradient VQ-GAN / VQ-VAE is above 1 in
#     total bits and in the distance of samples, in either set of features.

# %%
changes = {"steps": steps, "prior_steps": prior_steps}
shown = load(page, sequences.EXPERIMENT, **{name: value for name, value in changes.items() if value is not None})

# %% [markdown]
# This page shows {glue:text}`coverage`. $\gamma$ weighs losses on standardised pixels ({ref}`unit-of-gamma`).
#
# ## The system
#
# With $s$ the codes of an image $x$ and $y$ its reconstruction, the image takes
#
# $$ L(x) = \underbrace{\textstyle\sum_{i=1}^{49} -\log_2 p(s_i \mid s_1 \dots s_{i-1})}_{\text{codes}}
#    + \underbrace{\textstyle\sum_j -\log_2 p(x_j \mid y_j)}_{\text{pixels}} $$
#
# bits, to within the two that an arithmetic coder may add. A codebook of one code would leave the first sum at 0 and
# all the work to the second; one that knows every image would do the opposite. Only the sum compares codebooks.
#
# ```python
# codes = encode(vq_vae, images)                       # (N, 49)
# loss = cross_entropy(prior(codes), codes)            # the logits of each place come from those before it
# new_images = decode(vq_vae, prior.sample(2000))      # code by code
# ```
#
# **The prior is a distribution.** The probabilities of all sequences add up to 1, which they do only if no logit sees
# the code that it predicts, or a later one. Before the first step all codes are equally likely:

# %%
small = Prior(codebook_size=4, places=5, width=8, layers=2, heads=2)
every = torch.tensor(list(itertools.product(range(4), repeat=5)))
assert torch.allclose(small.bits(every), torch.tensor(5 * math.log2(4)))
torch.nn.init.normal_(small.head.weight, generator=torch.Generator().manual_seed(0))
total = (-small.bits(every).double()).exp2().sum().item()
assert abs(total - 1) < 1e-5 and small.bits(every).std() > 0.1
case = shown.cases[0]
uniform_bits = 49 * math.log2(case.codebook_size)
page.say("uniform-bits", f"{uniform_bits:.0f}")

# %% [markdown]
# An image takes {glue:text}`uniform-bits` bits by such a prior.
#
# **How near can a set of samples come?** As near as other originals do, as many of them:

# %%
data = images.load(case.data)
originals = classifier.distances(classifier.scaled(data.validation[: case.judged]), data)
pd.DataFrame({"originals": originals}).T.set_axis(["Fréchet, classifier", "Fréchet, random features"], axis=1)

# %% [markdown]
# ## Does a better code make a shorter description?
#
# Bits of an image, means over runs. *Online* are those of training images before the prior learned from them, in the
# first and in the last quarter of its training:

# %%
PLACES = {f"{arm}, {start}": ARMS[arm] | STARTS[start] for start in STARTS for arm in ARMS} | BEST
PLACES = {place: {"tokeniser": "vqvae"} | fields for place, fields in PLACES.items()}
OF_GAN = {"tokeniser": GAN.tokeniser, "init": GAN.init}
OF_GAN = {f"{arm}, VQ-GAN": OF_GAN | fields for arm, fields in (PAIR | FOLLOWING).items()}
rows = shown.rows()
if len(rows):
    rows["online_first"], rows["online_last"] = rows.online.str[0], rows.online.str[-1]
    rows["late"] = rows.sample_frechet_classifier / rows.stops.str[0].str["frechet_classifier"]


def of(place: str) -> pd.DataFrame:
    """The rows of an arm, by their seeds."""
    fields = (PLACES | OF_GAN)[place]
    chosen = rows[(rows[list(fields)] == pd.Series(fields)).all(axis=1)] if len(rows) else rows
    return chosen.sort_values("seed") if len(chosen) else chosen


def means(columns: dict[str, str], digits: int, places: Iterable[str] = PLACES) -> pd.DataFrame:
    """A row an arm, a column a metric: means over its runs."""
    found = {place: dict.fromkeys(columns.values(), "") for place in places}
    for place in places:
        if len(chosen := of(place)):
            found[place] = {title: f"{chosen[name].mean():.{digits}f}" for name, title in columns.items()}
    return pd.DataFrame(found).T


BITS = {
    "places_bits": "codes, independent places",
    "online_first": "codes, online, first quarter",
    "online_last": "codes, online, last quarter",
    "index_bits": "codes, prior",
    "pixel_bits": "pixels",
    "total_bits": "total",
}
means(BITS, digits=0)

# %% tags=["hide-input"]
drawn = styles(PLACES | OF_GAN)
fig, ax = plt.subplots(figsize=(WIDTH, 0.72 * WIDTH), layout="constrained")
for place in PLACES:
    if len(chosen := of(place)):
        style = drawn[place]
        ax.plot(chosen.index_bits, chosen.pixel_bits, style.marker, color=style.color, label=place, alpha=0.7)
if len(rows):
    dots = rows[rows.tokeniser == "vqvae"]
    low, high = dots.index_bits.min(), dots.index_bits.max()
    for one in torch.linspace(dots.total_bits.min(), dots.total_bits.max(), 4).tolist():
        ax.plot([low, high], [one - low, one - high], color=MUTED, linewidth=0.8, zorder=0)
    fig.legend(loc="outside upper center", ncols=3, fontsize=8)
ax.set(xlabel="bits of the codes", ylabel="bits of the pixels")
words = "; ".join(f"{place}: {of(place).total_bits.mean():.0f}" for place in PLACES if len(of(place)))
page.show("fig-bits", fig, f"Bits of pixels against bits of codes, a dot a run. Total bits: {words or 'no run yet'}.")

# %% [markdown]
# ```{glue:figure} fig-bits
# :name: fig-sequences-bits
#
# Bits that the codes cost are saved more than once in the pixels: the arm with the fewest bits in all is among those
# with the most for codes. Bits of the pixels of a test image against bits of its codes, a dot a run. Along a grey line
# the total is the same.
# ```
#
# ## Does the gain survive to generation?
#
# Rotation / STE: in the error, in what an image takes, and in the distances of reconstructions and of samples. Total
# bits and samples are the six primary comparisons.

# %%
FEATURES = {"classifier": "classifier", "random": "random features"}
METRICS = {
    "test_mse": "MSE",
    "index_bits": "bits of codes",
    "pixel_bits": "bits of pixels",
    "total_bits": "total bits",
    **{f"recon_frechet_{name}": f"reconstructions, {title}" for name, title in FEATURES.items()},
    **{f"sample_frechet_{name}": f"samples, {title}" for name, title in FEATURES.items()},
}
SAMPLES = [f"sample_frechet_{name}" for name in FEATURES]
PRIMARY = ["total_bits", *SAMPLES]


def compared(metric: str, arm: str, against: str):
    """The ratio of a metric in two arms, None where it was not run."""
    return runs.pair(rows, metric, *((PLACES | OF_GAN)[place] for place in (arm, against)))


def rotation(metric: str, start: str):
    """Rotation / STE from one start, or with the codes of the VQ-GAN."""
    return compared(metric, f"rotation, {start}", f"STE, {start}")


primary = {(start, metric): rotation(metric, start) for start in STARTS for metric in PRIMARY}
page.say("primary", primary)
pd.DataFrame(
    {start: {title: ratio_text(rotation(metric, start)) for metric, title in METRICS.items()} for start in STARTS}
)

# %% tags=["hide-input"]
panels = {
    start: [
        (title, found, drawn[f"rotation, {start}"])
        for metric, title in METRICS.items()
        if (found := rotation(metric, start))
    ]
    for start in (*STARTS, "VQ-GAN")
}
page.show("fig-survives", drawings.ratios(panels, "rotation against STE", "rotation / STE"))
page.say("samples", {start: found.mean if (found := primary[start, SAMPLES[0]]) else math.nan for start in STARTS})

# %% [markdown]
# ### Every arm
#
# Means over runs: the error, the perplexity of the codes of test images and of samples, and the distances.

# %%
LEVELS = {
    "test_mse": "MSE",
    "test_perplexity": "perplexity",
    "sample_perplexity": "of samples",
    "recon_frechet_classifier": "reconstructions, classifier",
    "sample_frechet_classifier": "samples",
    "places_frechet_classifier": "independent places",
    "recon_frechet_random": "reconstructions, random features",
    "sample_frechet_random": "samples, random features",
    "places_frechet_random": "independent places, random features",
}
means(LEVELS, digits=4)

# %% [markdown]
# Against STE with codes moved by the gradient, from the same start:

# %%
OTHERS = {f"{arm}, {start}": f"STE, {start}" for start in STARTS for arm in ARMS if arm != "STE"}
OTHERS |= {"recommended": "STE, k-means"}
pd.DataFrame(
    {
        title: {arm: ratio_text(compared(metric, arm, against)) for arm, against in OTHERS.items()}
        for metric, title in METRICS.items()
        if metric in PRIMARY
    }
)

# %% [markdown]
# From uniform codes the rotation spends more bits on codes and saves more on pixels. From k-means codes its codes have
# a lower perplexity in the mean, and most of what it lost in reconstruction is lost in the samples, too. In the bits of
# an image all this is a few per cent, since most of them are pixels.


# %% tags=["hide-input"]
@page.holds
def the_gain_survives():
    better, worse = ([primary[start, metric] for metric in PRIMARY] for start in STARTS)
    yield "There are ten fresh seeds.", *(found.n == 10 for found in (*better, *worse))
    yield "From uniform the gain survives.", *map(below(1), better)
    yield "From k-means so does the loss.", *map(above(1), worse)
    errors = {place: of(place)[["test_mse", "total_bits", *SAMPLES]].mean() for place in PLACES}
    others = [errors[place] for place in errors if place != "recommended"]
    yield "There are ten seeds of the recommended setting.", len(of("recommended")) == 10
    yield (
        "It has the lowest error, the fewest bits and the nearest samples.",
        *((errors["recommended"] < other).all() for other in others),
    )
    codes, pixels = rotation("index_bits", "uniform"), rotation("pixel_bits", "uniform")
    yield "From uniform the rotation spends more bits on codes and saves more on pixels.", above(1)(codes)
    saved = of("STE, uniform").pixel_bits.mean() - of("rotation, uniform").pixel_bits.mean()
    spent = of("rotation, uniform").index_bits.mean() - of("STE, uniform").index_bits.mean()
    yield "It saves more than it spends.", below(1)(pixels), saved > spent > 0
    use = {arm: of(f"{arm}, k-means").test_perplexity.mean() for arm in ("STE", "rotation")}
    yield "From k-means its codes have a lower perplexity in the mean.", use["rotation"] < use["STE"]
    kinds = ("sample", "recon")
    of_both = [[rotation(f"{kind}_frechet_{name}", "k-means").mean for kind in kinds] for name in FEATURES]
    yield "Most of what it lost is lost in the samples.", *(math.log(a) > math.log(b) / 2 > 0 for a, b in of_both)
    few = [abs(math.log(primary[start, "total_bits"].mean)) < 0.05 for start in STARTS]
    yield "In the bits of an image it is a few per cent, most of which are pixels.", *few
    yield "Most bits are pixels.", *(of(place).pixel_bits.mean() > of(place).index_bits.mean() for place in PLACES)
    most = sorted(PLACES, key=lambda place: -of(place).index_bits.mean())[: len(PLACES) // 2]
    yield "The arm with the fewest bits is among those with the most for codes.", "recommended" in most


# %% [markdown]
# ## Codes of a VQ-GAN
#
# The same prior over the codes of {doc}`31_vqgan`, from k-means: with the gradient on seeds 100 to 109, with EMA and
# revival on seeds 0 to 2. The runs are those of that chapter, trained again: each has the same error and the same
# distance of reconstructions, on the test images. The distances below are of validation images. Rotation / STE:

# %%
later = {metric: rotation(metric, "VQ-GAN") for metric in METRICS}
follow = {metric: rotation(metric, "EMA, VQ-GAN") for metric in METRICS}
page.say("gan", {name: found.mean if (found := later[name]) else math.nan for name in METRICS})
pd.DataFrame(
    {
        "by the gradient": {title: ratio_text(later[metric]) for metric, title in METRICS.items()},
        "EMA, revival": {title: ratio_text(follow[metric]) for metric, title in METRICS.items()},
    }
)

# %% tags=["hide-input"]
SAME = {"test_mse": "test_mse", "test_frechet_classifier": "frechet_classifier"}  # here, and in chapter 31


@page.holds
def codes_of_a_gan():
    of_gan = [one for one in shown.records if one["config"]["tokeniser"] == GAN.tokeniser]
    theirs = [runs.record(vqgan.EXPERIMENT, sequences.Case(**one["config"]).gan) for one in of_gan]
    same = [one["result"][a] == other["result"][b] for one, other in zip(of_gan, theirs) for a, b in SAME.items()]
    yield "The runs are those of that chapter, trained again.", *same
    gains = [later[metric] for metric in ("test_mse", "total_bits", SAMPLES[0])]
    yield "From k-means the rotation gains here, and the gain survives.", *map(below(1), gains)
    yield "There are ten fresh seeds.", *(found.n == 10 for found in gains)
    kinds = (later[f"{kind}_frechet_classifier"] for kind in ("recon", "sample"))
    yield "In the samples it is larger than in the reconstructions.", nearer(tuple(kinds))
    yield (
        "Where codes follow it takes fewer bits, by less than 3 %.",
        0.97 < follow["total_bits"].low,
        below(1)(follow["total_bits"]),
    )
    unclear = [follow[metric] for metric in ("test_mse", SAMPLES[0])]
    yield "In error and samples nothing shows.", *(found.low < 1 < found.high for found in unclear)


# %% [markdown]
# From k-means the rotation gains in the error here, and the gain survives: fewer bits in all, and the nearer samples in
# the classifier's features, by more than in reconstructions. Where codes follow, three seeds show fewer bits by less
# than 3 %, and no difference in error and samples. Means over runs:

# %%
means(BITS, 0, OF_GAN)

# %%
means(LEVELS, 4, OF_GAN)

# %% [markdown]
# ## What is drawn

# %% tags=["hide-input"]
seen = {"test images": classifier.scaled(data.test[: sequences.PICTURES])}
for place in PLACES | OF_GAN:
    if len(chosen := of(place)):
        seen[place] = vqgan.unpack(chosen.pictures.dropna().iloc[0]) / 255
drawers = ", ".join(list(seen)[1:]) or "no run"
page.show("fig-drawn", strips(seen, f"Eight test images, and eight samples of each of {drawers}."))

# %% [markdown]
# ```{glue:figure} fig-drawn
# :name: fig-sequences-drawn
#
# Eight samples are too few to rank the arms, which the distances do. Eight test images, and the first eight samples of
# each arm, of the first seed.
# ```
#
# ## What became of the hypotheses


# %%
def became(parts: dict) -> tuple[str, str]:
    """What was measured, and the outcome, of (a comparison, the rule that it is held to) by name."""
    judged = [None if one is None else (one, rule) for one, rule in parts.values()]
    return listed({name: one for name, (one, _) in parts.items()}), outcome(judged, lambda part: part[1](part[0]))


def signs(metrics: list[str]) -> dict:
    """Rotation / STE in some metrics: held to be below 1 from uniform, above 1 from k-means."""
    rules = {"uniform": below(1), "k-means": above(1)}
    return {f"{METRICS[m]}, {start}": (rotation(m, start), rules[start]) for start in STARTS for m in metrics}


def within_runs(place: str, metric: str, against: str):
    """The ratio of two metrics of the same runs, None where there are none."""
    chosen = of(place)
    return ratio(chosen[metric].tolist(), chosen[against].tolist()) if len(chosen) else None


def undecided(one) -> bool:
    """Whether the interval of a ratio holds 1."""
    return one.low <= 1 <= one.high


KINDS = ("sample", "recon")
less = {name: {kind: rotation(f"{kind}_frechet_{name}", "uniform") for kind in KINDS} for name in FEATURES}
page.hypotheses(
    {
        "1 the errors are those of chapter 10": became(signs(["test_mse"])),
        "2 a richer code costs more": judge({start: rotation("index_bits", start) for start in STARTS}, above(1)),
        "3 it pays for itself": became(signs(["total_bits"])),
        "4 the gain survives, and so does the loss": became(signs(SAMPLES)),
        "5 but less of it": (
            listed({METRICS[f"{kind}_frechet_{name}"]: less[name][kind] for name in FEATURES for kind in KINDS}),
            outcome([None if None in two.values() else tuple(two.values()) for two in less.values()], nearer),
        ),
        "6 the best codebook is the best for both": judge(
            {METRICS[m]: compared(m, "recommended", "rotation, uniform") for m in PRIMARY}, below(1)
        ),
        "7 the scale alone changes nothing": judge(
            {start: compared("total_bits", f"r I, {start}", f"STE, {start}") for start in STARTS}, within(0.02)
        ),
        "8 context is half of it": judge(
            {place: within_runs(place, SAMPLES[0], "places_frechet_classifier") for place in PLACES}, below(0.5)
        ),
        "9 a richer code asks for a longer training": judge(rotation("late", "uniform"), below(1)),
        "10 the gain survives with the codes of a VQ-GAN, too": judge(later[SAMPLES[0]], below(1)),
        "11 and nothing comes of nothing": became({METRICS[SAMPLES[1]]: (later[SAMPLES[1]], undecided)}),
        "12 it pays for itself": became(
            {METRICS[m]: (later[m], rule) for m, rule in (("index_bits", above(1)), ("total_bits", below(1)))}
        ),
        "13 where codes follow, nothing shows": judge(
            {METRICS[m]: follow[m] for m in ("total_bits", SAMPLES[0])}, within(0.1)
        ),
        "14 a sharper loss is not a better code": judge(
            {METRICS[m]: compared(m, "STE, VQ-GAN", "STE, k-means") for m in PRIMARY}, above(1)
        ),
    }
)

# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost`
#
# - The prior is small and sees 16,000 images once. A larger one, trained longer, may come nearer to what
#   reconstructions show. `prior_steps: 5000` takes ten times as long for the prior; the online bits say whether it
#   still learns.
# - The classifier knows ten classes of clothing, and the distance compares means and covariances alone: a set of
#   samples may match both and look wrong. The random features know neither labels nor a loss.
# - Most bits are those of pixels, and the table that writes them sees one pixel at a time. A code for pixels that looks
#   at neighbours would take fewer, and would weigh the codes more.
# - One small VQ-VAE trained by a squared error for 2,000 steps, and one small VQ-GAN, from k-means alone, for 1,500;
#   one data set.
# - The ten draws of a comparison share the test images, whose choice no interval covers.
#
# **On one GPU**, `device: cuda`, the same cases take other fields: `Case(codebook_size=8192, steps=32000, batch=128,
# width=512, layers=8, prior_steps=20000)`. It has not been run there.
