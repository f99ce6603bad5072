# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (why-it-collapses)=
# # Why the codebook collapses under the rotation after a warm-up
#
# ```{admonition} In short
# :class: tip
# Because all latents are pushed the same way, and the codes are too slow to follow. After a warm-up the
# {term}`codebook collapses <codebook collapse>` in {glue:text}`fell-rotation` runs of the rotation, and in none with
# codes that learn ten times as fast, with codes that follow by EMA, or with the rotation about the mean code. With
# stronger or weaker commitment, with a ramp of the rate or without the factor $r$, nine or ten of ten collapse.
# ```
#
# ```{glue:figure} fig-every
# :name: fig-collapse-every-run
#
# Fast codes, EMA and another centre end the collapse; commitment, a ramp and $R$ alone do not. Test perplexity and test
# MSE of every run after the warm-up: a collapsed run has a perplexity below 10.
# ```
#
# Under STE the codebook never collapses, and the error is the lowest of all.
#
# An outcome of two kinds has no effect size: this page counts. The theory of the drift ({doc}`25_drift`) names what
# should decide: a push along the common mean, and codes too slow to follow it.

# %% tags=["parameters"]
from typing import Optional

profile: str = "standard"  # smoke: tests a part, in seconds; standard: the committed records; full: a GPU
steps: Optional[int] = None  # of each run; pretrain_steps stay as they are; None: as the profile says
seeds: Optional[int] = None  # 0, 1, ...; None: as the profile says
data: str = ""  # an image set, or one of your own, such as imagefolder:PATH@64; empty: as the profile says
engine: str = ""  # trains missing runs: serial, processes:2, ray:0.25; empty: serial, but none of the chapter's plan
device: str = "cpu"
cap: Optional[float] = None  # core-hours that missing runs may take; None: the chapter's own
records: str = ""  # folder of runs; empty: the committed ones, and new ones go to data/records/41_collapse

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("41_collapse", globals())

# %% tags=["hide-input"]
import pandas as pd

from book.chapters import drawings, tables
from book.chapters.hypotheses import outcome
from rotvq.analysis.stats import sign_test
from rotvq.runs.grids import WARM

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** Network, data, batches and metrics are those of {doc}`10_ste_vs_rotation` unless an arm says
# otherwise: Fashion-MNIST, 512 codes of dimension 32, $\beta = 1$, $\gamma = 0.25$ on standardised pixels, Adam at
# $10^{-3}$, batches of 32, 2,000 steps. One seed gives every arm the same weights and batches. The primary metric is
# test MSE at the last stop, as a ratio.
#
# **Arms**, after the warm-up of 500 steps and k-means, fresh seeds 100 to 109: the rotation; with codes × 10; with
# $\gamma = 0.05$, 1 and 5; with a rate that ramps up over the first 300 steps; with EMA 0.8 from counts 0; about the
# mean code; $R$ alone, without the factor $r$; STE. *Collapsed* means a test perplexity below 10 at the last stop, *at
# one code* one below 1.1. The rotation and STE are those of {doc}`10_ste_vs_rotation`, so their counts were known: all
# 10 runs of the rotation collapsed, 5 of them to one code, and no run of STE. Known, too, was the exploration of
# {doc}`28_code_speed`, where codes × 10 do not collapse.
#
# **Primary comparisons** are counts of collapsed runs against those of the rotation over the same seeds, by an exact
# sign test of the pairs that differ, six: codes × 10; $\gamma = 5$; the ramp; EMA 0.8; about the mean code; $R$.
#
# **Hypotheses**, written before the records:
#
# 1. *Two outcomes.* No run of any arm ends with a test perplexity between 10 and 30.
# 2. *Codes that follow do not collapse.* With codes × 10 and with EMA 0.8 no run collapses.
# 3. *Without the common mean, no collapse.* About the mean code no run collapses.
# 4. *Commitment and patience do not help.* With $\gamma = 0.05$, 1 and 5 and with the ramp at least five runs of ten
#    collapse each.
# 5. *The factor is what collapses.* With $R$ alone fewer runs collapse than with the rotation.
# 6. *The push comes first.* From the first batch to step 50 the norm of the mean latent falls by more than a tenth in
#    every run of the rotation and in none about the mean code. At step 100 the mean angle between latents and codes is
#    above 90° in every run that will collapse, in whatever arm, and below 90° in every other.
#
# **Confirmation**: all runs are on fresh seeds; nothing is chosen before.

# %%
runs = page.load()
remedies = page.study("remedies")
tables.plan(remedies)

# %% [markdown]
# This page shows {glue:text}`coverage`.
#
# ## Who collapses

# %%
(warmed,) = WARM
arms = [arm for arm, _ in remedies.members]
perplexity = {arm: remedies.values(arm, warmed, "test_perplexity", fresh=True) for arm in arms}
collapsed = {arm: values < 10 for arm, values in perplexity.items()}  # by seed
mse = {arm: remedies.values(arm, warmed, "test_mse", fresh=True) for arm in arms}
against = collapsed.get("rotation", pd.Series(dtype=bool))
signs = {arm: sign_test(*fell.astype(int).align(against.astype(int), join="inner")) for arm, fell in collapsed.items()}
pd.DataFrame(
    {
        "collapsed": [f"{fell.sum()} of {len(fell)}" for fell in collapsed.values()],
        "at one code": [f"{(values < 1.1).sum()}" for values in perplexity.values()],
        "fewer than with rotation, p": [f"{signs[arm].p:.3g}" if arm != "rotation" else "" for arm in arms],
        "least and most perplexity": [f"{values.min():.1f} to {values.max():.0f}" for values in perplexity.values()],
        "test MSE": [f"{values.min():.4f} to {values.max():.4f}" for values in mse.values()],
    },
    arms,
)

# %% tags=["hide-input"]
page.say("fell", {arm: f"{fell.sum()} of {len(fell)}" for arm, fell in collapsed.items()})
page.show("fig-every", drawings.every_run(remedies, ["test_perplexity", "test_mse"], fresh=True))

# %% [markdown]
# {numref}`fig-collapse-every-run`, at the top of this page, has every run.
#
# ## What the first hundred steps say
#
# The mean angle between latents and their codes, at the first batches that were traced, of the runs that collapsed and
# of the others; and the length of the mean latent, $|E z|$, against its length in the first batch.

# %%
early = [step for step in remedies.runs.trace.step.unique() if 1 < step <= remedies.last // 20]  # steps 50 and 100
angle = {(arm, step): remedies.values(arm, warmed, "theta_deg", at=step, fresh=True) for arm in arms for step in early}


def length_of_mean(arm: str, step: int) -> pd.Series:
    """|E z| of a traced batch, by seed."""
    squared, variance = (
        remedies.values(arm, warmed, name, at=step, fresh=True) for name in ("z_squared", "z_variance")
    )
    return (squared - variance).clip(lower=0) ** 0.5


shrinking = {(arm, step): length_of_mean(arm, step) / length_of_mean(arm, 1) for arm in arms for step in early}


def of_both_kinds(values: pd.Series, fell: pd.Series, digits: str) -> str:
    """Least to most of the runs that collapsed, and of the others."""
    return " / ".join(
        f"{some.min():{digits}} to {some.max():{digits}}" if len(some) else "-"
        for some in (values[fell], values[~fell])
    )


pd.DataFrame(
    {
        f"{title}, step {step}": [of_both_kinds(values[arm, step], collapsed[arm], digits) for arm in arms]
        for step in early
        for title, values, digits in (
            ("mean angle in degrees", angle, ".0f"),
            ("length of the mean, relative", shrinking, ".2f"),
        )
    },
    arms,
)

# %% [markdown]
# ## The hypotheses


# %% tags=["hide-input"]
def whole(*names: str) -> bool:
    """Whether every planned run of some arms has a record."""
    return all(len(perplexity[arm]) == len(remedies.planned[arm, warmed]) for arm in names)


def counted(names: list[str], holds) -> tuple[str, str]:
    """How many runs of some arms collapsed, and what became of a hypothesis about each of these counts."""
    said = "; ".join(f"{arm} {collapsed[arm].sum()} of {len(collapsed[arm])}" for arm in names)
    return said, outcome([holds(collapsed[arm].sum()) if whole(arm) else None for arm in names])


def separates(fell: pd.Series, degrees: pd.Series) -> bool:
    """Whether the angle at the last early step is above 90 degrees in the runs that collapse, and in no other."""
    return bool((degrees[fell] > 90).all() and (degrees[~fell] < 90).all())


ABOUT, RATIO_FREE = "rotation about the mean code", "R"
GAMMAS, RAMP = [arm for arm in arms if "γ" in arm], [arm for arm in arms if "ramp" in arm]
FOLLOWING = [arm for arm in arms if "× 10" in arm or "EMA" in arm]
between = {arm: values[(values >= 10) & (values <= 30)] for arm, values in perplexity.items()}
late = early[-1] if early else None
fallen = {arm: 1 - shrinking[arm, early[0]] for arm in ("rotation", ABOUT)} if early else {}
comes_first = bool(fallen) and (fallen["rotation"] > 0.1).all() and not (fallen[ABOUT] > 0.1).any()
told = [separates(collapsed[arm], angle[arm, late]) if early and whole(arm) else None for arm in arms]
page.hypotheses(
    {
        "1. Two outcomes.": (
            f"{sum(map(len, between.values()))} runs end between 10 and 30",
            outcome([not len(values) if whole(arm) else None for arm, values in between.items()]),
        ),
        "2. Codes that follow do not collapse.": counted(FOLLOWING, lambda count: bool(count == 0)),
        "3. Without the common mean, no collapse.": counted([ABOUT], lambda count: bool(count == 0)),
        "4. Commitment and patience do not help.": counted(GAMMAS + RAMP, lambda count: bool(count >= 5)),
        "5. The factor is what collapses.": counted(
            [RATIO_FREE], lambda count: bool(count < collapsed["rotation"].sum())
        ),
        "6. The push comes first.": (
            "; ".join(
                f"{arm}: the mean falls by {values.min():.2f} to {values.max():.2f}" for arm, values in fallen.items()
            ),
            outcome([comes_first if whole("rotation", ABOUT) else None]),
        ),
        "6. The angle at step 100 tells who will collapse.": (
            f"{sum(map(bool, told))} of {len(told)} arms" if None not in told else "",
            outcome(told),
        ),
    }
)


@page.holds
def what_prevents_it():
    yield "All runs of the rotation collapse.", collapsed["rotation"].all()
    yield "The push comes first, and not about the mean code.", comes_first
    yield (
        "With codes that follow, or about the mean code, none does.",
        *(not collapsed[arm].any() for arm in (*FOLLOWING, ABOUT)),
    )
    yield "Nothing else helps.", *(collapsed[arm].sum() >= 9 for arm in (*GAMMAS, *RAMP, RATIO_FREE))
    yield "STE never collapses.", not collapsed["STE"].any()
    yield "It has the lowest error.", *(mse["STE"].max() < mse[arm].min() for arm in arms if arm != "STE")


# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost` {glue:text}`full`
