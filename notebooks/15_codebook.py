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
# ```{admonition} In short
# :class: tip
# How the codes move decides about STE, and hardly about the rotation. From short codes the rotation is ahead where they
# move by the gradient, and behind where they follow by EMA with decay 0.8. EMA softens the {term}`codebook collapse`
# after a warm-up and does not prevent it.
# ```
#
# ```{glue:figure} fig-moves
# :name: fig-codebook-moves
#
# From uniform codes the rotation is ahead with slow codes and behind with EMA 0.8; from fitted codes it is behind
# throughout. Ratio of test MSE, rotation / STE, at the last stop, on a logarithmic axis: each point a pair of runs with
# the same seed, the diamond their geometric mean, the bar its 95 % interval. Left of 1 the rotation is better.
# ```
#
# Gradient or EMA, few codes or many, free or normalised: the codebook is what released implementations differ in most.
# The paper's VQ-VAE runs use EMA with decay 0.8 and counts that start at 0 {cite}`fifty2025rotation`; the next version
# of the library it builds on starts them at 1.

# %% tags=["parameters"]
from typing import Optional

profile: str = "standard"  # smoke: tests a part, in seconds; standard: the committed records; full: a GPU
steps: Optional[int] = None  # of each run; pretrain_steps stay as they are; None: as the profile says
seeds: Optional[int] = None  # 0, 1, ...; None: as the profile says
codebook_sizes: Optional[list[int]] = None  # K, beside 512 and the other runs; None: as the chapter says
dims: Optional[list[int]] = None  # d, beside 32 and the other runs; None: as the chapter says
gamma: Optional[float] = None  # weight of the commitment loss; None: as the profile says
data: str = ""  # an image set, or one of your own, such as imagefolder:PATH@64; empty: as the profile says
engine: str = ""  # trains missing runs: serial, processes:2, ray:0.25; empty: serial, but none of the chapter's plan
device: str = "cpu"
cap: Optional[float] = None  # core-hours that missing runs may take; None: the chapter's own
records: str = ""  # folder of runs; empty: the committed ones, and new ones go to data/records/15_codebook

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("15_codebook", globals())

# %% tags=["hide-input"]
import pandas as pd

from book.chapters import drawings, tables
from book.chapters.hypotheses import higher, judge, listed, lower, nearer, outcome, within
from rotvq.analysis import stats
from rotvq.analysis.wording import includes_one, ratio_with_n, title
from rotvq.runs.grids import MAIN, PAIR, WARM, Block, vary

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
sizes, depths = codebook_sizes or [64, 2048], dims or [8]
if codebook_sizes or dims:
    cells = vary(MAIN, "{}, K = {}, d = {}", codebook_size=sizes, dim=32)
    page.change("sizes", cells=cells | vary(MAIN, "{}, K = {}, d = {}", codebook_size=512, dim=depths))
runs = page.load(also=[Block(PAIR, MAIN | WARM)])
updates = {
    "gradient": {},
    "EMA 0.99 from 1": {"update": "ema", "decay": 0.99, "initial_count": 1.0},
    "EMA 0.99 from 0": {"update": "ema", "decay": 0.99, "initial_count": 0.0},
    "EMA 0.8 from 0": {"update": "ema", "decay": 0.8, "initial_count": 0.0},
}
forms = {
    **{f"K = {size}": {"codebook_size": size} for size in sizes},
    **{f"d = {dim}": {"dim": dim} for dim in depths},
    "normalised": {"lookup": "normalised"},
}


def crossed(ways: dict, starts: dict) -> dict:
    """A cell for every way and every start."""
    return {f"{way}, {start}": fields | place for start, place in starts.items() for way, fields in ways.items()}


uniform, fitted, warmed = MAIN | WARM
moves = page.study(Block(PAIR, crossed(updates, MAIN | WARM)))  # how the codes move, at K = 512 and d = 32
shapes = page.study(Block(PAIR, crossed({"K = 512, d = 32": {}} | forms, MAIN)))  # moved by the gradient
tables.plan(page.study(Block(updates | forms, crossed(PAIR, MAIN | WARM))))

# %% [markdown]
# This page shows {glue:text}`coverage`. The rows *gradient* are the runs of {doc}`10_ste_vs_rotation`, at $K = 512$ and
# $d = 32$. The sizes and the normalised arms are moved by the gradient, too. EMA rows name the decay and the count with
# which each code starts. $\gamma$ weighs losses on standardised pixels ({ref}`unit-of-gamma`).
#
# ## How the codes move
#
# Test MSE, and the ratio rotation / STE:

# %%
moved = moves.pairs(against="STE")
tables.comparisons(moves, against="STE")

# %% tags=["hide-input"]
page.show("fig-moves", drawings.dots(moves, against="STE"))
page.show("fig-stops", drawings.effect_map(moves, against="STE", rows="cell", columns="step"))

# %% [markdown]
# {numref}`fig-codebook-moves`, at the top of this page, has every pair of runs.
#
# ```{glue:figure} fig-stops
# :name: fig-codebook-stops
#
# With EMA 0.8 the lead from uniform codes is gone at the last stop. The same ratios at every stop; below 1, in blue,
# the rotation is better. In brackets where the interval contains 1.
# ```
#
# ### What came out
#
# The sentences from here on are about the committed records; each has an assertion behind it in the cell below.
#
# **The way the codes move decides about STE, and hardly about the rotation.** From uniform the rotation ends within
# some five percent of the same error, whichever of the four moves its codes. STE with the gradient ends at nearly twice
# the error that it has with EMA of decay 0.8.
#
# **So the sign turns.** From uniform codes moved by the gradient the rotation is far ahead. With EMA 0.99 its lead is
# smaller. With decay 0.8 from counts 0, the settings of the paper's VQ-VAE, it is behind at the last stop. From k-means
# and after the warm-up it is behind under every update.


# %% tags=["hide-input"]
@page.holds
def what_came_out():
    ends = {arm: [moves.mean(arm, f"{way}, uniform 1/K", "test_mse") for way in updates] for arm in PAIR}
    ste, rotation = ends.values()
    yield "From uniform the rotation ends within some five percent.", max(rotation) < 1.06 * min(rotation)
    yield (
        "STE with the gradient ends at nearly twice the error of decay 0.8.",
        max(ste) == ste[0],
        1.9 < ste[0] / ste[-1] < 2,
    )
    gradient, *slow, fast = (moved["rotation", f"{way}, uniform 1/K"] for way in updates)
    yield "With the gradient the rotation is far ahead.", max(gradient.differences) < 0.8
    yield "With EMA 0.99 its lead is smaller.", *(gradient.high < pair.low and lower(pair) for pair in slow)
    yield "With decay 0.8 from counts 0 it is behind.", higher(fast)
    rest = [moved["rotation", f"{way}, {start}"].low > 1 for way in updates for start in (fitted, warmed)]
    yield "From k-means and after the warm-up it is behind under every update.", *rest


# %% [markdown]
# ## Usage, and counts from 0 or from 1
#
# One line of code decides with what weight a code's start counts against its first batch. From uniform, by the way the
# codes move: test MSE, the share of the codes that some latent chose, and perplexity, the number of codes that equal
# use would need.

# %%
lines = page.study(Block(updates, crossed(PAIR, {uniform: MAIN[uniform]})))
page.show("fig-counts", drawings.curves(lines, ["perplexity", "q_norm"]))
tables.levels(lines, ["test_mse", "test_usage", "test_perplexity"])

# %% [markdown]
# ```{glue:figure} fig-counts
# :name: fig-codebook-counts
#
# Under STE more codes come into use with a faster average, under the rotation nearly all are in use each time.
# Perplexity of the codes that a batch uses, and the mean norm of these codes, from uniform, by the way the codes move.
# ```
#
# At decay 0.99 five pairs do not separate what STE uses from counts 0 and from counts 1. With decay 0.8 it uses most of
# its codes, so what raises usage is the decay. The rotation uses more than nine tenths of the codes each time.
#
# ## The collapse after the warm-up
#
# With the gradient, the rotation falls to a few codes once the autoencoder has been trained without a quantiser
# ({doc}`10_ste_vs_rotation`). The same start with codes that follow their latents by EMA:

# %%
fell = page.study(Block(updates, {name: arm | WARM[warmed] for name, arm in PAIR.items()}))
inside = ["perplexity", "r", "theta_deg", "z_norm", "q_norm", "gradient_ratio"]
trace = {way: {name: fell.curve(way, "rotation", name).mean() for name in inside} for way, _ in fell.members}
emas = [way for way in trace if way != "gradient"]
page.say("most-r", max((trace[way]["r"].max() for way in emas), default=0))
left = {way: 512 * fell.mean(way, "rotation", "test_usage") for way in updates}
page.say("left", {"gradient": left["gradient"]})
page.say("most-left", max(left[way] for way in updates if way != "gradient"))

# %% tags=["hide-input"]
after = [f"{update}, {warmed}" for update in ("gradient", "EMA 0.99 from 1")]
page.show("fig-after", drawings.curves(moves, inside, cells=after))
levels = tables.levels(fell, ["test_mse", "test_usage", "test_perplexity"])
for name in ("r", "theta_deg"):
    levels[f"most, {title(name)}"] = [f"{fell.curve(*key, name).mean().max():.3g}" for key in fell.members]
levels

# %% [markdown]
# ```{glue:figure} fig-after
# :name: fig-codebook-after
#
# With the gradient latents turn away from their codes while $r$ grows; with EMA neither happens. Six numbers of the
# training batches after the warm-up: codes moved by the gradient, and by EMA.
# ```
#
# EMA softens the codebook collapse and does not prevent it. With the gradient the codes stay behind: latents come to
# point away from their codes, at mean angles beyond 90°, and shrink while $r$ grows far above 1. With no EMA does
# either happen: the mean angle stays below 45° and $r$ never exceeds {glue:text}`most-r:.2f` in the mean. And yet usage
# falls. Of 512 codes {glue:text}`left-gradient:.0f` are in use at the end with the gradient, and at most
# {glue:text}`most-left:.0f` with an EMA. So codes that cannot follow, and an $r$ that grows, belong to the worst of the
# collapse, but usage falls without either. What makes it fall is not separated by the arms of this page.


# %% tags=["hide-input"]
@page.holds
def the_collapse_after_the_warm_up():
    turned = trace["gradient"]["theta_deg"].max() > 120 and trace["gradient"]["r"].max() > 5
    yield "With the gradient latents point away from their codes, while r grows.", turned
    calm = [trace[way]["theta_deg"].max() < 45 and trace[way]["r"].max() < 1.1 for way in emas]
    yield "With no EMA does either happen.", len(emas) == 3, *calm
    yield (
        "And yet usage falls, with the gradient most.",
        min(left.values()) == left["gradient"],
        max(left.values()) < 360,
    )
    used = [lines.mean(way, f"rotation, {uniform}", "test_usage") > 0.9 for way in updates]
    yield "From uniform the rotation uses more than nine tenths of the codes each time.", *used
    counts = lines.pair("EMA 0.99 from 0", f"STE, {uniform}", "test_usage", against="EMA 0.99 from 1")
    yield "At decay 0.99 five pairs do not separate the counts.", counts.n == 5, includes_one(counts)
    decay = lines.pair("EMA 0.8 from 0", f"STE, {uniform}", "test_usage", against="EMA 0.99 from 0")
    yield "The decay raises what STE uses.", higher(decay)
    yield "With decay 0.8 it uses most codes.", lines.mean("EMA 0.8 from 0", f"STE, {uniform}", "test_usage") > 0.5


# %% [markdown]
# ## Sizes, and normalised codes

# %%
shaped = shapes.pairs(against="STE")

# %% tags=["hide-input"]
page.show("fig-shapes", drawings.dots(shapes, against="STE"))
sizes = tables.levels(shapes, ["test_mse", "test_usage", "test_perplexity"])
sizes.insert(0, "|q| / |z| at the start", [f"{shapes.mean(*key, 'r', at=1):.3g}" for key in shapes.members])
sizes["test MSE, rotation / STE"] = [ratio_with_n(shaped.get(key)) for key in shapes.members]
sizes

# %% [markdown]
# ```{glue:figure} fig-shapes
# :name: fig-codebook-shapes
#
# From uniform codes the rotation is ahead with 2,048 codes and in 8 dimensions; every other interval contains 1. Ratio
# of test MSE, rotation / STE, by the size of the codebook, its dimension, and for normalised latents and codes; left of
# 1 the rotation is better.
# ```
#
# Three pairs a row. From uniform the rotation is ahead with 2,048 codes and in 8 dimensions. Every other interval of
# the sizes and of the normalised codes contains 1. The table shows what else changes: from uniform $\pm 1/K$ the size
# of the codebook sets the ratio of the norms at the start, too. In 8 dimensions from k-means the rotation uses most of
# its codes, where in 32 it uses few.


# %% tags=["hide-input"]
@page.holds
def sizes_and_normalised_codes():
    words = {cell: pair for (_, cell), pair in shaped.items() if "32" not in cell}
    ahead = [cell for cell, pair in words.items() if lower(pair)]
    larger = ahead == [f"K = 2048, {uniform}", f"d = 8, {uniform}"]
    yield "From uniform it is ahead with 2,048 codes and in 8 dimensions.", larger
    yield "Every other interval contains 1.", *(includes_one(pair) for cell, pair in words.items() if cell not in ahead)
    small, large = (shapes.mean("rotation", f"{form}, {fitted}", "test_usage") for form in ("d = 8", "K = 512, d = 32"))
    yield "From k-means the rotation uses most of its codes in 8 dimensions, few in 32.", small > 0.8, large < 0.2


# %% [markdown]
# ## The primary comparisons
#
# Five pairs cannot reach $p < 0.05$ in an exact two-sided test, three cannot reach 0.2, so there is no verdict.
# The hypotheses name margins: the last column says whether the whole interval lies within 10 % of 1, up or down by
# that factor, or outside of it.

# %%
every = page.study(Block(PAIR, crossed(updates, MAIN | WARM)), Block(PAIR, crossed(forms, MAIN)))
primary = [f"EMA 0.99 from 1, {start}" for start in MAIN | WARM]
primary += [f"EMA 0.8 from 0, {uniform}", f"K = 2048, {fitted}", f"d = 8, {fitted}"]

# %% tags=["hide-input"]
expected = {("rotation", cell): "higher" for cell in primary}
verdicts = tables.verdicts(every, expected, against="STE").drop(columns=["expected", "verdict"])
words = {True: "yes", False: "no", None: "open"}
found = [every.pair(*key, against="STE") for key in expected]
verdicts["within 10 %"] = [words[within(0.10)(pair)] if pair else "not run" for pair in found]
verdicts

# %% [markdown]
# ## The hypotheses
#
# Each in turn, from its intervals. *Not settled* means that an interval leaves it open. Nearer to 1 is meant in the
# logarithm of the ratio, and paired by seed.


# %% tags=["hide-input"]
def same_seeds(cell: str, other: str):
    """Test MSE, rotation / STE, in a cell, over the seeds that were run in another."""
    mse = [every.values(arm, at, "test_mse") for at in (cell, other) for arm in ("rotation", "STE")]
    both = pd.concat(mse, axis=1, join="inner")
    return stats.ratio(both.iloc[:, 0].tolist(), both.iloc[:, 1].tolist()) if len(both) else None


def nearer_to_one(pairs: dict) -> tuple[str, str]:
    """Whether the first of two ratios is nearer to 1 than the second."""
    return listed(pairs), outcome([tuple(pairs.values()) if all(pairs.values()) else None], nearer)


def beyond_factor_2(pair) -> bool | None:
    inside = within(1.0)(pair)
    return None if inside is None else not inside


collapse = every.pair("rotation", f"gradient, {warmed}", against="STE")
by_ema = {update: every.pair("rotation", f"{update}, {warmed}", against="STE") for update in list(updates)[1:]}
forgotten = {
    update: {way: same_seeds(f"{way}, {uniform}", f"{update}, {uniform}") for way in (update, "gradient")}
    for update in list(updates)[2:]
}
usage = lines.pair("EMA 0.99 from 0", f"STE, {uniform}", "test_usage", against="EMA 0.99 from 1")
sides = {
    f"{size}, {start}": side for size in ("K = 64", "K = 2048") for start, side in ((uniform, lower), (fitted, higher))
}
signs = {cell: every.pair("rotation", cell, against="STE") for cell in sides}
small, large = (same_seeds(cell, f"d = 8, {fitted}") for cell in (f"d = 8, {fitted}", f"gradient, {fitted}"))
farther = outcome([small and large and (large, small)], nearer)
rows = {
    "1. after the warm-up, gradient: the rotation is higher": judge(collapse, higher),
    **{
        f"1. after the warm-up, {update}: within 10 % of STE": judge(pair, within(0.10))
        for update, pair in by_ema.items()
    },
    **{
        f"2. uniform, {update}: nearer to 1 than with the gradient": nearer_to_one(two)
        for update, two in forgotten.items()
    },
    "3. uniform, STE, EMA 0.99: usage from 0 and from 1 differs by a factor of 2": judge(usage, beyond_factor_2),
    "4. both sizes: below 1 from uniform, above 1 from k-means": (
        listed(signs),
        outcome([pair and (sides[cell], pair) for cell, pair in signs.items()], lambda two: two[0](two[1])),
    ),
    "5. k-means: farther from 1 at d = 8 than at d = 32, same seeds": (
        listed({"d = 8": small, "d = 32": large}),
        farther,
    ),
    "6. k-means, normalised: within 5 % of 1": judge(
        every.pair("rotation", f"normalised, {fitted}", against="STE"), within(0.05)
    ),
}
judged = page.hypotheses(rows)
judged

# %% [markdown]
# **Hypothesis 1 is wrong** for each EMA. The rotation's loss after the warm-up is far smaller than with the gradient,
# and still more than 10 %.
#
# **Hypothesis 2 held**: both EMAs from counts 0 are nearer to 1 than the gradient. But nearer to 1 is not level, and
# with decay 0.8 the ratio passed it.
#
# **Hypothesis 3 is wrong.** What STE uses from counts 0 and from counts 1 is not separated, where a factor of 2 was
# predicted.
#
# **Hypotheses 4, 5 and 6 are not settled** by three pairs. None of their intervals contradicts its sign. In 8
# dimensions from k-means the mean has the other sign than in 32, which nobody predicted and three pairs do not show.
#
# **Not predicted**: that the rotation from uniform ends near one error whatever moves its codes, and that the paper's
# own EMA takes its lead away.
#
# **A sceptic would say** that five seeds, three for sizes and normalised codes, and 2,000 steps are few, and that the
# usage of STE with decay 0.8 was still rising at the end. All true.


# %% tags=["hide-input"]
@page.holds
def the_hypotheses():
    _, *first_two, third, fourth, fifth, sixth = judged.outcome
    yield "1 is wrong for each EMA, 2 held.", first_two == ["wrong"] * 3 + ["held"] * 2
    smaller = [pair.low > 1.1 and pair.high < collapse.low / 2 for pair in by_ema.values()]
    yield "1. The loss is far smaller than with the gradient, and more than 10 %.", *smaller
    yield "3 is wrong: usage is not separated.", third == "wrong", includes_one(usage)
    yield "4, 5 and 6 are not settled.", fourth == fifth == sixth == "not settled"
    contradicted = [cell for cell, pair in signs.items() if sides[cell](pair) is False]
    yield "None of their intervals contradicts its sign.", not contradicted
    yield "In 8 dimensions the mean has the other sign.", small.mean < 1 < large.mean, includes_one(small)
    rising = lines.curve("EMA 0.8 from 0", f"STE, {uniform}", "perplexity").mean()
    yield "The usage of STE with decay 0.8 was still rising at the end.", rising[2000] > rising[1500]


# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost` Thirty of the runs are those of {doc}`10_ste_vs_rotation`.
#
# The runs show a network of some 20 thousand weights on 28 × 28 grey images, one learning rate, one commitment weight
# and 2,000 steps. Decay and count are not crossed: decay 0.8 is planned with counts from 0 alone. Revival of dead codes
# is a matter of {doc}`11_initialisation` and {doc}`16_rivals`. {glue:text}`full`
