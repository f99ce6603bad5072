# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (code-speed)=
# # How fast the codes follow, and how long one trains
#
# In chapter 10 the codes share the network's learning rate, so a coordinate of a code moves by at most a thousandth a
# step, and training stops after little more than an epoch. Does the sign of the comparison belong to the estimators,
# or to slow codes and a short run?

# %% tags=["parameters"]
profile: str = "standard"  # smoke: 10 steps, in seconds; standard: the committed records; full: a GPU
steps: int | None = None  # of each run; None: as the profile says
seeds: int | None = None  # 0, 1, ...; None: as the profile says
data: str = ""  # an image set, or one of your own, such as imagefolder:PATH@64; empty: as the profile says
engine: str = ""  # where missing runs are trained: serial, processes:2, ray:0.25; empty: serial, or not at all
device: str = "cpu"
cap: float | None = None  # core-hours that missing runs may take; None: the chapter's own
records: str = ""  # folder of the run records; empty: the committed ones

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("28_code_speed", globals())

# %% tags=["hide-input"]
from book.chapters import drawings, tables
from book.chapters.hypotheses import above, below, higher, judge, listed, nearer, outcome
from rotvq.analysis.wording import includes_one, separated
from rotvq.runs.grids import MAIN, PAIR, WARM, Block

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** Network, data, batches and metrics are those of {doc}`10_ste_vs_rotation` unless an arm says
# otherwise: Fashion-MNIST, 512 codes of dimension 32, $\beta = 1$, $\gamma = 0.25$ on standardised pixels, Adam at
# $10^{-3}$, batches of 32, 2,000 steps. One seed gives every arm the same weights and batches. The primary metric is
# test MSE at the last stop, as a ratio.
#
# **Arms.** STE and the rotation with the codes' learning rate at 1, 3, 10 and 30 times the network's, from uniform,
# from k-means and after the warm-up, seeds 0 to 4. STE and the rotation for 32,000 steps, some 19 epochs, with codes
# moved by the gradient, by EMA 0.8 from counts 0, and by EMA 0.99 with revival, from the same three starts, seeds 0 to
# 2; with the gradient also under cosine decay of the rate, from uniform and from k-means.
#
# **Primary comparisons**, rotation / STE, six: codes × 10 from uniform, from k-means and after the warm-up, on fresh
# seeds 100 to 109; 32,000 steps with the gradient from uniform, on fresh seeds 100 to 109; 32,000 steps from k-means
# with the gradient; 32,000 steps from k-means with EMA and revival.
#
# **Hypotheses**, written before the records:
#
# 1. *The lead belongs to slow codes.* From uniform, rotation / STE is nearer to 1 with codes × 30 than with codes × 1,
#    over the same seeds.
# 2. *Codes that follow do not collapse.* After the warm-up, rotation / STE is below 3 with codes × 10, where it is
#    above 8 with codes × 1.
# 3. *Fast codes favour STE.* With codes × 30 rotation / STE is above 1 from k-means and after the warm-up.
# 4. *A delay.* From uniform with the gradient, rotation / STE at 32,000 steps is above 0.9.
# 5. *The strong update favours STE.* With EMA and revival, rotation / STE at 32,000 steps is above 1 from all three
#    starts.
# 6. *Decay changes no sign.* From uniform and from k-means, the cosine schedule leaves rotation / STE at 32,000 steps
#    on the side of 1 where the constant rate has it.
#
# **Confirmation.** Two things on fresh seeds 100 to 109: codes × 10 from the three starts, and 32,000 steps with the
# gradient from uniform. Nothing is chosen in between.

# %%
runs = page.load()
speed = page.study("speed", "confirm")
ends = page.study("end, gradient", "confirm end")
other_ends = page.study("end, EMA")
decays = page.study("decay")
tables.plan(speed)

# %% [markdown]
# This page shows {glue:text}`coverage`.
#
# **Confirmation**, fixed before its records: codes × 10 from the three starts, and 32,000 steps with the gradient from
# uniform, on seeds 100 to 109.
#
# ## The speed of the codes

# %%
RATES = (1.0, 3.0, 10.0, 30.0)
speeds = page.study(
    Block(
        PAIR,
        {
            f"codes × {rate:g}, {start}": {"code_lr": rate} | place
            for start, place in (MAIN | WARM).items()
            for rate in RATES
        },
    )
)


def at_rate(rate: float, start: str, fresh: bool = False):
    """Rotation / STE with the codes' rate at so many times the network's."""
    return speeds.pair("rotation", f"codes × {rate:g}, {start}", against="STE", fresh=fresh)


tables.comparisons(speeds, against="STE")

# %% tags=["hide-input"]
by_rate = {start: {rate: at_rate(rate, start) for rate in RATES} for start in MAIN | WARM}
page.say("rate", {(rate, start): pair for start, row in by_rate.items() for rate, pair in row.items()})
page.show("fig-speed", drawings.along(by_rate, "codes' rate over the network's", "Test MSE, rotation / STE"))

# %% [markdown]
# ```{glue:figure} fig-speed
# :name: fig-speed
#
# Ratio of test MSE, rotation / STE, by how fast the codes can follow, on the seeds that explore, with 95 % intervals.
# Below 1 the rotation is better.
# ```
#
# ## To the end

# %%
tables.comparisons(ends, against="STE")

# %% tags=["hide-input"]
page.show("fig-ends", drawings.effect_map(ends, against="STE", rows="cell", columns="step"))

# %% [markdown]
# ```{glue:figure} fig-ends
# :name: fig-ends
#
# Ratio of test MSE, rotation / STE, at every stop, with codes moved by the gradient; in brackets where the interval
# holds 1.
# ```
#
# ## Other updates at the end

# %%
tables.levels(other_ends, ["test_mse", "test_usage", "test_perplexity"])

# %% [markdown]
# ## Under cosine decay

# %%
tables.levels(decays, ["test_mse", "test_usage", "test_perplexity"])

# %% [markdown]
# ## The hypotheses

# %%
uniform, fitted, warmed = MAIN | WARM


def at_end(start: str, **fields):
    """Rotation / STE after 32,000 steps on the seeds that explore."""
    cell = {start: (MAIN | WARM)[start] | fields | {"steps": 32_000}}
    return page.study(Block(PAIR, cell)).pair("rotation", start, against="STE")


def each_by_its_rule(*parts):
    """What became of a hypothesis whose parts are pairs, each with a rule of its own."""
    return outcome([pair and (pair, rule) for pair, rule in parts], lambda part: part[1](part[0]))


def same_side(two):
    """Whether two ratios are on the same side of 1; open where an interval holds it."""
    return None if any(map(includes_one, two)) else len({separated(pair) for pair in two}) == 1


slow, fast, fastest = ({start: at_rate(rate, start) for start in MAIN | WARM} for rate in (1.0, 10.0, 30.0))
strong = {start: at_end(start, update="ema", revival="unused") for start in MAIN | WARM}
constant, cosine = ({start: at_end(start, **fields) for start in MAIN} for fields in ({}, {"schedule": "cosine"}))
sides = [pair and other and (pair, other) for pair, other in zip(constant.values(), cosine.values())]
page.hypotheses(
    {
        "1. The lead belongs to slow codes.": (
            listed({"codes × 30": fastest[uniform], "codes × 1": slow[uniform]}),
            outcome([fastest[uniform] and slow[uniform] and (fastest[uniform], slow[uniform])], nearer),
        ),
        "2. Codes that follow do not collapse.": (
            listed({"codes × 10": fast[warmed], "codes × 1": slow[warmed]}),
            each_by_its_rule((fast[warmed], below(3)), (slow[warmed], above(8))),
        ),
        "3. Fast codes favour STE.": judge({start: fastest[start] for start in (fitted, warmed)}, higher),
        "4. A delay.": judge(constant[uniform], above(0.9)),
        "5. The strong update favours STE.": judge(strong, higher),
        "6. Decay changes no sign.": (listed(cosine), outcome(sides, same_side)),
    }
)


# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost` {glue:text}`full`
