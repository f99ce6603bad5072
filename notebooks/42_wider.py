# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (wider)=
# # Other networks, dimensions and codebooks
#
# The main comparison rests on one small network without normalisation. Here it is repeated with GroupNorm, with a
# residual network eight times as large, in three dimensions, with 8,192 codes, and with normalised codes.

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

page = Page("42_wider", globals())

# %% tags=["hide-input"]
from book.chapters import drawings, tables

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** Network, data, batches and metrics are those of {doc}`10_ste_vs_rotation` unless an arm says
# otherwise: Fashion-MNIST, 512 codes of dimension 32, $\beta = 1$, $\gamma = 0.25$ on standardised pixels, Adam at
# $10^{-3}$, batches of 32, 2,000 steps. One seed gives every arm the same weights and batches. The primary metric is
# test MSE at the last stop, as a ratio.
#
# **Arms.** STE and the rotation with GroupNorm between the convolutions, and with a residual network of 156 thousand
# weights in place of 19 thousand, from uniform, from k-means and after the warm-up, seeds 0 to 2; with $d = 3$ and
# with $K = 8192$, from uniform and from k-means, seeds 0 to 2; with normalised latents and codes at $d = 8$ and 32
# from k-means, with the gradient and with EMA 0.8 from counts 0, fresh seeds 100 to 109; and STE with $\gamma = 0.05$,
# 1 and 5 after the warm-up, seeds 0 to 2.
#
# **Primary comparisons**, rotation / STE, six: normalised with the gradient at $d = 8$ and 32; normalised with EMA at
# $d = 8$ and 32; the residual network from uniform and from k-means.
#
# **Hypotheses**, written before the records:
#
# 1. *A larger network keeps the signs.* With the residual network and with GroupNorm rotation / STE is below 1 from
#    uniform and above 1 from k-means.
# 2. *GroupNorm does not prevent the collapse.* After the warm-up with GroupNorm rotation / STE is above 1.
# 3. *On a sphere, no difference.* With normalised latents and codes rotation / STE is within 5 % of 1 in all four
#    cells.
# 4. *Many codes keep the sign.* With 8,192 codes rotation / STE is below 1 from uniform.
# 5. *Three dimensions leave little.* At $d = 3$ rotation / STE is within 20 % of 1 from both starts.
# 6. *After the warm-up commitment hardly matters.* STE's error changes by less than 20 % over the three values of
#    $\gamma$.
#
# **Confirmation**: the normalised cells are on fresh seeds alone; nothing is chosen before.

# %%
runs = page.load()
shapes = page.study("GroupNorm", "residual", "three", "many")
normalised = page.study("normalised")
normalised_ema = page.study("normalised, EMA")
commitment = page.study("γ")
tables.plan(shapes)

# %% [markdown]
# This page shows {glue:text}`coverage`.
#
# ## Networks and sizes

# %%
tables.comparisons(shapes, against="STE")

# %% tags=["hide-input"]
page.show("fig-shapes", drawings.dots(shapes, against="STE"))

# %% [markdown]
# ```{glue:figure} fig-shapes
# :name: fig-shapes
#
# Ratio of test MSE against STE at the last stop, on a logarithmic axis: each point a pair of runs with the same
# seed, the diamond their geometric mean, the bar its 95 % interval. Left of 1 the error is lower.
# ```
#
# ## Normalised codes

# %%
tables.levels(normalised, ["test_mse", "test_usage", "test_perplexity"])

# %% [markdown]
# ## Normalised codes by EMA

# %%
tables.levels(normalised_ema, ["test_mse", "test_usage", "test_perplexity"])

# %% [markdown]
# ## Commitment after the warm-up

# %%
tables.levels(commitment, ["test_mse", "test_usage", "test_perplexity"])


# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost` {glue:text}`full`
