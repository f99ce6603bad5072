# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (which-part)=
# # Which part does the work
#
# The rotation trick changes the gradient in three ways: it scales it by $r$, it turns it, and it does both per vector.
# Each change can be made alone. This chapter names rival explanations of {doc}`10_ste_vs_rotation`, says what each
# predicts, and runs the arms that tell them apart.

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

from rotvq import report
from rotvq.figures import style

plt.rcParams.update(style())

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** Network, data, batches and metrics are those of {doc}`10_ste_vs_rotation`: Fashion-MNIST, 512
# codes of dimension 32, $\beta = 1$, $\gamma = 0.25$, Adam at $10^{-3}$, batches of 32, 2,000 steps. One seed gives
# every arm the same weights and batches. The primary metric is test MSE at the last stop, as a ratio.
#
# **Arms.** STE; $rI$; $R$; $rR$ (the rotation); $\bar r I$ and $\bar r R$, with the batch mean of $r$; STE with
# commitment weight $\gamma/\bar r$, $\bar r$ from its own batch; $\mathrm{clip}(r, 0.5, 2) R$; $P r R$, without the
# radial part; $r P$; $\frac12 I + \frac12 rR$; $rH$ with the reflection; zero. All from uniform and from k-means,
# seeds 0 to 4; five of them also after the warm-up; STE and the rotation also with $|z|$ fixed by a LayerNorm.
#
# **Rival mechanisms**, and what each predicts:
#
# | mechanism | predicts |
# |---|---|
# | *gain*: $r$ weighs reconstruction | $rI$, $\bar r I$ and STE with $\gamma/\bar r$ act as the rotation, $R$ as STE |
# | *turn*: the direction of the gradient | $R$ acts as the rotation, $rI$ as STE |
# | *per vector*: $r$ differs between the latents of a batch | $\bar r R$ acts as STE, not as the rotation |
# | *radial*: the part of the gradient along $z$ | $P r R$ differs from the rotation |
# | *norm*: the latents' length is free | with $\vert z\vert$ fixed the rotation and STE agree |
#
# **Primary comparisons**, against STE, six: $rI$ and $R$ from uniform, from k-means, and after the warm-up.
# **Confirmation** on seeds 100 to 109, six: $rI$, $R$ and STE with $\gamma/\bar r$ against STE, from uniform and from
# k-means.
#
# **Hypotheses**, written before the records. One run of 500 steps after the warm-up, kept nowhere, had been seen:
# there $R$ and the clipped rotation collapsed, $rI$ did not.
#
# 1. *From short codes it is the gain.* From uniform $rI$ is within 10 % of the rotation in test MSE, and $R$ is no
#    better than STE.
# 2. *From fitted codes it is the turn.* From k-means and after the warm-up $R$ is worse than STE; $rI$ is within 10 %
#    of STE.
# 3. *A gain is a commitment weight.* From uniform STE with $\gamma/\bar r$ is within 10 % of $\bar r I$.
# 4. *Per vector or not is no matter.* $\bar r R$ is within 10 % of the rotation, from uniform and from k-means.
# 5. *Fixed length.* With $|z|$ fixed, rotation / STE is nearer to 1 than without, from uniform and from k-means.
# 6. *Variance within cells.* In the first batch the share of the gradient's variance within cells is larger under the
#    rotation than under STE.

# %%
runs = report.gather("13_which_part", profile, records=records, engine=engine, device=device,
                     steps=steps, seeds=seeds)  # fmt: skip
report.cost(runs)
