# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (codebook)=
# # How the codes move
#
# Gradient or EMA, few codes or many, free or normalised: the codebook is what released implementations differ in most.
# The paper's VQ-VAE runs use EMA with decay 0.8 and counts that start at 0 {cite}`fifty2025rotation`; the next version
# of the library it builds on starts them at 1.

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
import matplotlib.pyplot as plt
import pandas as pd

from rotvq import plots, report, stats
from rotvq.chapters import MAIN, PAIR, WARM, Block
from rotvq.comparisons import close, counted, expects, nearer, outcome, times, within
from rotvq.figures import glue, style
from rotvq.study import Study

plt.rcParams.update(style())

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** Network, data, batches and metrics are those of {doc}`10_ste_vs_rotation`: Fashion-MNIST, 512
# codes of dimension 32, $\beta = 1$, $\gamma = 0.25$, Adam at $10^{-3}$, batches of 32, 2,000 steps. One seed gives
# every arm the same weights and batches. The primary metric is test MSE at the last stop, as a ratio.
#
# **Arms.** {STE, rotation} with EMA of decay 0.99 and initial counts 1, decay 0.99 and counts 0, decay 0.8 and counts
# 0, from uniform, from k-means and after the warm-up, seeds 0 to 4; with the gradient and $K = 64$, $K = 2048$, $d =
# 8$; with normalised latents and codes; the last four from uniform and from k-means, seeds 0 to 2.
#
# **Primary comparisons**, rotation / STE, six: EMA 0.99 from counts 1, from uniform, from k-means and after the
# warm-up; EMA 0.8 from counts 0, from uniform; $K = 2048$ from k-means; $d = 8$ from k-means.
#
# **Hypotheses**, written before the records:
#
# 1. *Codes that follow do not collapse.* With EMA the rotation is within 10 % of STE after the warm-up, where it
#    collapses with the gradient.
# 2. *Counts from 0 undo the start.* A code's first batch moves it onto its latents, so with counts from 0 the start at
#    uniform $\pm 1/K$ is forgotten at once: rotation / STE is nearer to 1 than with the gradient.
# 3. *One line changes usage.* From uniform, usage at the last stop differs by a factor of 2 or more between counts 0
#    and counts 1, for STE, at decay 0.99.
# 4. *Size does not change the sign.* With $K = 64$ and with $K = 2048$ rotation / STE is below 1 from uniform and
#    above 1 from k-means.
# 5. *Small d, more turn.* From k-means the effect is larger at $d = 8$ than at $d = 32$: a turn in one plane moves a
#    larger part of a gradient ({doc}`03_rotation`).
# 6. *Normalised, no difference.* With latents and codes on the sphere rotation / STE is within 5 % of 1 from k-means.

# %%
runs = report.gather("15_codebook", profile, records=records, engine=engine, device=device,
                     steps=steps, seeds=seeds, also=[Block(PAIR, MAIN | WARM)])  # fmt: skip
updates = {
    "gradient": {},
    "EMA 0.99 from 1": {"update": "ema", "decay": 0.99, "initial_count": 1.0},
    "EMA 0.99 from 0": {"update": "ema", "decay": 0.99, "initial_count": 0.0},
    "EMA 0.8 from 0": {"update": "ema", "decay": 0.8, "initial_count": 0.0},
}
forms = {"K = 64": {"codebook_size": 64}, "K = 2048": {"codebook_size": 2048}, "d = 8": {"dim": 8},
         "normalised": {"lookup": "normalised"}}  # fmt: skip
both = {f"{name}, {start}": arm | place for start, place in (MAIN | WARM).items() for name, arm in PAIR.items()}


def crossed(ways, starts) -> dict:
    """A cell for every way and every start."""
    return {f"{way}, {start}": fields | place for start, place in starts.items() for way, fields in ways.items()}


moves = Study(runs, Block(PAIR, crossed(updates, MAIN | WARM)))  # how the codes move, at K = 512 and d = 32
shapes = Study(runs, Block(PAIR, crossed({"K = 512, d = 32": {}} | forms, MAIN)))  # moved by the gradient
report.cost(runs)
Study(runs, Block(updates | forms, both)).plan()

# %% [markdown]
# This page shows {glue:text}`coverage`. The rows *gradient* are the runs of {doc}`10_ste_vs_rotation`, at $K = 512$ and
# $d = 32$. The sizes and the normalised arms are moved by the gradient, too. EMA rows name the decay and the count with
# which each code starts.
#
# ## How the codes move
#
# Test MSE, and the ratio rotation / STE:

# %% tags=["hide-input"]
moved, shaped = moves.pairs(against="STE"), shapes.pairs(against="STE")
report.glue_all("move", {cell: pair for (_, cell), pair in moved.items()})
report.glue_all("shape", {cell: pair for (_, cell), pair in shaped.items()})
moves.table(against="STE")

# %% tags=["hide-input"]
glue("fig-moves", plots.dots(moves, against="STE"))
glue("fig-stops", plots.effect_map(moves, against="STE", rows="cell", columns="step", xlabel="step"))

# %% [markdown]
# ```{glue:figure} fig-moves
# :name: fig-codebook-moves
#
# Ratio of test MSE, rotation / STE, at the last stop, on a logarithmic axis: each point a pair of runs with the same
# seed, the diamond their geometric mean, the bar its 95 % interval. Left of 1 the rotation is better.
# ```
#
# ```{glue:figure} fig-stops
# :name: fig-codebook-stops
#
# The same ratios at every stop; in brackets where the interval holds 1.
# ```
#
# ## Counts from 0 or from 1
#
# One line of code decides with what weight a code's start counts against its first batch. The ratios are counts from
# 0 / counts from 1, at decay 0.99, for either estimator, on test images at the last stop. Usage is the share of the
# codes that some latent chose, perplexity the number of codes that equal use would need.

# %% tags=["hide-input"]
counts = Study(runs, Block({way: updates[way] for way in ("EMA 0.99 from 1", "EMA 0.99 from 0")}, both))
lines = Study(runs, Block(updates, both))
report.glue_all("used", counts.pairs("test_usage", against="EMA 0.99 from 1"))
report.glue_all("level", {key: f"{100 * lines.mean(*key, 'test_usage'):.1f} %" for key in lines.members})
counts.ratios(["test_mse", "test_usage", "test_perplexity"], against="EMA 0.99 from 1")

# %% tags=["hide-input"]
glue("fig-counts", plots.curves(lines, ["perplexity", "q_norm"], cells=["STE, uniform 1/K", "rotation, uniform 1/K"]))

# %% [markdown]
# ```{glue:figure} fig-counts
# :name: fig-codebook-counts
#
# Perplexity of the codes that a batch uses, and the mean norm of these codes, from uniform, by the way the codes move.
# ```
#
# ## The collapse after the warm-up
#
# With the gradient, the rotation falls to a few codes once the autoencoder has been trained without a quantiser
# ({doc}`10_ste_vs_rotation`). The same start with codes that follow their latents by EMA:

# %% tags=["hide-input"]
after = [f"{update}, k-means after warm-up" for update in ("gradient", "EMA 0.99 from 1")]
inside = ["perplexity", "r", "theta_deg", "z_norm", "q_norm", "gradient_ratio"]
glue("fig-after", plots.curves(moves, inside, cells=after))

# %% [markdown]
# ```{glue:figure} fig-after
# :name: fig-codebook-after
#
# Six numbers of the training batches after the warm-up: codes moved by the gradient, and by EMA.
# ```
#
# ## Sizes, and normalised codes

# %% tags=["hide-input"]
glue("fig-shapes", plots.dots(shapes, against="STE"))
shapes.table(against="STE")

# %% [markdown]
# ```{glue:figure} fig-shapes
# :name: fig-codebook-shapes
#
# Ratio of test MSE, rotation / STE, by the size of the codebook, its dimension, and for normalised latents and codes.
# ```
#
# ## The primary comparisons
#
# Up to five pairs cannot reach $p < 0.05$ in an exact two-sided test, three cannot reach 0.2, so there is no verdict.
# The hypotheses name margins: the last column says whether the whole interval lies within 10 % of 1, up or down by
# that factor, or outside of it.

# %% tags=["hide-input"]
every = Study(runs, Block(PAIR, crossed(updates, MAIN | WARM)), Block(PAIR, crossed(forms, MAIN)))
primary = ["EMA 0.99 from 1, uniform 1/K", "EMA 0.99 from 1, k-means", "EMA 0.99 from 1, k-means after warm-up",
           "EMA 0.8 from 0, uniform 1/K", "K = 2048, k-means", "d = 8, k-means"]  # fmt: skip
expected = {("rotation", cell): "higher" for cell in primary}
verdicts = every.verdicts(expected, against="STE").drop(columns=["expected", "verdict"])
found = [every.pair(*key, against="STE") for key in expected]
verdicts["within 10 %"] = [close(pair, 0.10) if pair else "not run" for pair in found]
verdicts

# %% [markdown]
# ## The hypotheses
#
# Each in turn, from its intervals. *Not settled* means that an interval leaves it open. Nearer to 1 is meant in the
# logarithm of the ratio, and paired by seed.

# %% tags=["hide-input"]
uniform, fitted, warmed = MAIN | WARM
emas = list(updates)[1:]


def effect(cell: str, seeds=None):
    """Test MSE, rotation / STE, over these seeds."""
    both = pd.concat([every.values(arm, cell, "test_mse") for arm in ("rotation", "STE")], axis=1, join="inner")
    both = both[both.index.isin(both.index if seeds is None else seeds)]
    return stats.ratio(*both.to_numpy().T.tolist()) if len(both) else None


def listed(pairs) -> str:
    return "; ".join(f"{name} {times(pair)}" for name, pair in pairs.items() if pair)


def signed(two) -> bool | None:
    """Whether a ratio is on the side of 1 on which it was expected."""
    return expects(two[1])(two[0])


collapse = every.pair("rotation", f"gradient, {warmed}", against="STE")
after_ema = {update: every.pair("rotation", f"{update}, {warmed}", against="STE") for update in emas}
plain = every.pair("rotation", f"gradient, {uniform}", against="STE")
forgotten = {update: every.pair("rotation", f"{update}, {uniform}", against="STE") for update in emas[1:]}
usage = counts.pair("EMA 0.99 from 0", f"STE, {uniform}", "test_usage", against="EMA 0.99 from 1")
side = {uniform: "lower", fitted: "higher"}
signs = {f"{size}, {start}": every.pair("rotation", f"{size}, {start}", against="STE")
         for size in ("K = 64", "K = 2048") for start in side}  # fmt: skip
small = effect(f"d = 8, {fitted}")
large = effect(f"gradient, {fitted}", every.values("STE", f"d = 8, {fitted}", "test_mse").index)
sphere = every.pair("rotation", f"normalised, {fitted}", against="STE")
judged = {
    "1. after the warm-up, gradient: the rotation is higher": (
        counted(collapse), outcome([collapse], expects("higher"))),
    "1. after the warm-up, EMA: within 10 % of STE": (listed(after_ema), outcome(after_ema.values(), within(0.10))),
    "2. uniform, counts from 0: nearer to 1 than with the gradient": (
        listed(forgotten | {"gradient": plain}),
        outcome([pair and plain and (pair, plain) for pair in forgotten.values()], nearer)),
    "3. uniform, STE, EMA 0.99: usage from 0 and from 1 differs by a factor of 2": (
        counted(usage), outcome([usage], lambda pair: {True: False, False: True}.get(within(1.0)(pair)))),
    "4. both sizes: below 1 from uniform, above 1 from k-means": (
        listed(signs), outcome([pair and (pair, side[cell.split(", ")[1]]) for cell, pair in signs.items()], signed)),
    "5. k-means: farther from 1 at d = 8 than at d = 32, same seeds": (
        listed({"d = 8": small, "d = 32": large}), outcome([small and large and (large, small)], nearer)),
    "6. k-means, normalised: within 5 % of 1": (counted(sphere), outcome([sphere], within(0.05))),
}  # fmt: skip
pd.DataFrame.from_dict(judged, "index", columns=["measured", "outcome"])

# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`coverage`: {glue:text}`core-hours:.2f` core-hours of one CPU thread each,
# {glue:text}`seconds-per-run:.0f` seconds a run, the thirty runs of {doc}`10_ste_vs_rotation` included. Its records are
# {glue:text}`status`; an unverified one was made before the code last changed. Of the runs {glue:text}`diverged`
# diverged. They show a network of some 20 thousand weights on 28 × 28 grey images, one learning rate, one commitment
# weight, 2,000 steps, five seeds for the updates and three for the sizes. Decay and count were not crossed: decay 0.8
# was run with counts from 0 alone. Revival of dead codes is a matter of {doc}`16_rivals`. The `full` profile, ten seeds
# and 30,000 steps at batch 128 on a GPU, is the same notebook with `profile: full`; it has not been run.
