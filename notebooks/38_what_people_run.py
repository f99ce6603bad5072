# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (what-people-run)=
# # What people run
#
# ```{admonition} In short
# :class: tip
# The setting that this book recommends has the lowest test error of the nine, EnCodec's is next with
# {glue:text}`ratio-encodec:.2f` times as much, and taming's is last with {glue:text}`ratio-taming:.2f` times. With the
# library's default the switch to the rotation matters little: the error is {glue:text}`switch-plain:.2f` times that of
# STE. Where the library replaces dead codes it is {glue:text}`switch-replaced:.2f` times: STE gains by that, and the
# rotation loses.
# ```
#
# ```{glue:figure} fig-settings
# :name: fig-what-people-run
#
# No setting that libraries and papers ship comes to the recommended one (1). Ratio of test MSE to it, on a logarithmic
# axis: each point a pair of runs with the same seed, the diamond their geometric mean, the bar its 95 % interval. Left
# is better.
# ```
#
# Nobody runs the defaults of this book. Eight settings that libraries and papers ship, with their own update, start
# and weights, on one network and one data set: which is best here, and does the switch for the rotation matter in
# them?

# %% tags=["parameters"]
from typing import Optional

profile: str = "standard"  # smoke: tests a part, in seconds; standard: the committed records; full: a GPU
steps: Optional[int] = None  # of each run; None: as the profile says
seeds: Optional[int] = None  # 0, 1, ...; None: as the profile says
data: str = ""  # an image set, or one of your own, such as imagefolder:PATH@64; empty: as the profile says
engine: str = ""  # trains missing runs: serial, processes:2, ray:0.25; empty: serial, but none of the chapter's plan
device: str = "cpu"
cap: Optional[float] = None  # core-hours that missing runs may take; None: the chapter's own
records: str = ""  # folder of runs; empty: the committed ones, and new ones go beside them, to 38_what_people_run

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("38_what_people_run", globals())

# %% tags=["hide-input"]
import math

import pandas as pd

from book.chapters import drawings, tables
from book.chapters.hypotheses import above, higher, judge, lower, outcome, within
from rotvq.runs.settings import SETTINGS

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** Network, data, batches and metrics are those of {doc}`10_ste_vs_rotation` unless an arm says
# otherwise: Fashion-MNIST, 512 codes of dimension 32, $\beta = 1$, $\gamma = 0.25$ on standardised pixels, Adam at
# $10^{-3}$, batches of 32, 2,000 steps. One seed gives every arm the same weights and batches. The primary metric is
# test MSE at the last stop, as a ratio.
#
# **Arms**, fresh seeds 100 to 109: the settings of `rotvq.runs.settings`, each with its source:
# vector-quantize-pytorch with the rotation and without, with its replacement of dead codes and without;
# taming-transformers; LlamaGen; DAC; EnCodec. And the setting that this book recommends. What belongs to their data
# and networks is left at the defaults of this book. Their weights of the losses were chosen for pixels of another
# scale: on standardised pixels, whose standard deviation is 0.35 of the range, the same number weighs commitment less
# against reconstruction.
#
# **Primary comparisons**, five: library / library, STE; library, dead codes at 2 / library, STE, dead codes at 2;
# library, STE, dead codes at 2 / library, STE; taming / recommended; EnCodec / recommended.
#
# **Hypotheses**, written before the records:
#
# 1. *The switch matters little.* With the library's update the rotation is within 10 % of STE, without and with
#    replacement of dead codes.
# 2. *Replacing dead codes matters more.* With STE the library's error falls by more than 10 % once codes below a count
#    of 2 are replaced.
# 3. *The best is an EMA with replacement.* The lowest mean error of all is that of EnCodec or of the recommended
#    setting.
# 4. *The worst is the oldest.* The highest mean error of all is that of taming.
# 5. *Eight dimensions cost.* LlamaGen and DAC have a higher error than the recommended setting.
#
# **Confirmation**: all runs are on fresh seeds, and no setting is tuned.

# %%
runs = page.load()
settings = page.study("settings")
tables.plan(settings)

# %% [markdown]
# This page shows {glue:text}`coverage`.
#
# ## The settings, side by side

# %%
tables.levels(settings, ["test_mse", "test_usage", "test_perplexity"], fresh=True)

# %% [markdown]
# Where each stands, and what a run here leaves out of it:

# %%
pd.DataFrame({name: {"source": setting.source, "note": setting.note} for name, setting in SETTINGS.items()}).T

# %% [markdown]
# Each against the recommended setting is {numref}`fig-what-people-run`.

# %% tags=["hide-input"]
page.show("fig-settings", drawings.dots(settings, against="recommended"))

# %% [markdown]
# ## The hypotheses


# %% tags=["hide-input"]
def against(arm: str, other: str):
    """The ratio of test MSE of two settings over fresh seeds."""
    return settings.pair(arm, "as published", against=other, fresh=True)


PUBLISHED = "as published"
REPLACED = "library, STE, dead codes at 2"
errors = {arm: settings.mean(arm, PUBLISHED, "test_mse", fresh=True) for arm, _ in settings.members}
complete = len(errors) == len(settings.arms)
ranked = sorted(errors, key=errors.get)
switch = {
    "plain": against("library", "library, STE"),
    "replaced": against("library, dead codes at 2", REPLACED),
}
to_recommended = {arm: against(arm, "recommended") for arm in settings.arms if arm != "recommended"}
page.say("switch", {name: pair.mean if pair else math.nan for name, pair in switch.items()})
page.say("ratio", {arm: pair.mean if pair else math.nan for arm, pair in to_recommended.items()})


@page.holds
def what_is_best():
    yield "Every other setting has more error than the recommended one.", *map(higher, to_recommended.values())
    yield "Of the nine it has the lowest mean, EnCodec the next, taming the highest.", len(ranked) == 9, complete
    yield "So they are ranked.", (ranked[0], ranked[1], ranked[-1]) == ("recommended", "EnCodec", "taming")
    yield "As it is, the switch matters little.", within(0.1)(switch["plain"])
    yield "Where dead codes are replaced the rotation is behind.", higher(switch["replaced"])
    gains = [against(REPLACED, "library, STE"), against("library, dead codes at 2", "library")]
    yield "STE gains by that, and the rotation loses.", lower(gains[0]), higher(gains[1])


page.hypotheses(
    {
        "1. The switch matters little.": judge(
            {
                "as it is": switch["plain"],
                "dead codes replaced": switch["replaced"],
            },
            within(0.1),
        ),
        "2. Replacing dead codes matters more.": judge(against("library, STE", REPLACED), above(1 / 0.9)),
        "3. The best is an EMA with replacement.": (
            ranked[0] if complete else "",
            outcome([ranked[0] in ("EnCodec", "recommended") if complete else None]),
        ),
        "4. The worst is the oldest.": (
            ranked[-1] if complete else "",
            outcome([ranked[-1] == "taming" if complete else None]),
        ),
        "5. Eight dimensions cost.": judge({arm: against(arm, "recommended") for arm in ("LlamaGen", "DAC")}, higher),
    }
)

# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost` {glue:text}`full`
