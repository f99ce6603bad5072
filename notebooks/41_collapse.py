# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (why-it-collapses)=
# # Why the rotation collapses after a warm-up
#
# After a warm-up some runs of the rotation end at one code and the others do well ({doc}`10_ste_vs_rotation`). An
# outcome of two kinds has no effect size: this page counts. The theory of the drift ({doc}`25_drift`) names what
# should decide: a push along the common mean, and codes too slow to follow.

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

page = Page("41_collapse", globals())

# %% tags=["hide-input"]
from book.chapters import tables

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
# mean code; $R$ alone, without the factor $r$; STE. The rotation and STE are those of {doc}`10_ste_vs_rotation`, so
# their counts were known: 5 of 10 runs of the rotation collapsed, and no run of STE. *Collapsed* means a test
# perplexity below 2 at the last stop.
#
# **Primary comparisons** are counts of collapsed runs against those of the rotation over the same seeds, by an exact
# sign test of the pairs that differ, six: codes × 10; $\gamma = 5$; the ramp; EMA 0.8; about the mean code; $R$.
#
# **Hypotheses**, written before the records:
#
# 1. *Two outcomes.* No run of any arm ends with a test perplexity between 2 and 10.
# 2. *Codes that follow do not collapse.* With codes × 10 and with EMA 0.8 no run collapses.
# 3. *Without the common mean, no collapse.* About the mean code no run collapses.
# 4. *Commitment and patience do not help.* With $\gamma = 0.05$, 1 and 5 and with the ramp at least two runs of ten
#    collapse each.
# 5. *The factor is what collapses.* With $R$ alone fewer runs collapse than with the rotation.
# 6. *The push comes first.* In the first traced batch of training the norm of the mean latent falls with the rotation
#    and not about the mean code, and within each arm the runs that collapse are those in which the mean latent has
#    turned against the mean code by step 100.
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
tables.levels(remedies, ["test_mse", "test_usage", "test_perplexity"])


# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost` {glue:text}`full`
