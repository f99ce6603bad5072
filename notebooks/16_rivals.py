# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (rivals)=
# # Rivals
#
# What else would a user pick? This chapter puts the estimators of the family next to quantisers that avoid the
# problem, and next to the plain remedy that practitioners use: the straight-through estimator with EMA codes, k-means
# and revival.

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
# **Arms**, seeds 0 to 4, from uniform and from k-means: SimVQ with STE and with the rotation (its own start: normal
# codes under a learned linear map); FSQ with 8 × 8 × 8 levels (no codes to start); Gumbel-softmax, straight-through;
# NSVQ; DiVeQ and its segment form; dynamic STE; the exact gradient by a second pass; the Hessian correction; STE and
# the rotation with EMA codes and revival. STE and the rotation alone are those of {doc}`10_ste_vs_rotation`. Every arm
# takes its own paper's settings where that names them and the common rate otherwise: none was tuned here.
#
# **Primary comparisons**, against STE with EMA, revival and k-means, six: FSQ; SimVQ with STE; NSVQ; DiVeQ;
# Gumbel-softmax; the rotation with EMA, revival and k-means.
#
# **Hypotheses**, written before the records:
#
# 1. *The plain remedy is hard to beat.* No rival is lower than STE with EMA, revival and k-means by more than 5 %.
# 2. *The rotation adds nothing to it.* The rotation with EMA, revival and k-means is within 5 % of STE with them.
# 3. *FSQ is safe.* From the default settings of a user, uniform codes and no revival, FSQ beats STE.
# 4. *SimVQ does not need the rotation.* With it and without it SimVQ is within 10 %.
# 5. *A truer gradient is no better.* The exact gradient and the Hessian correction do not beat STE from k-means.
# 6. *The codes of DiVeQ and NSVQ get used.* From uniform both use more than twice as many codes as STE.

# %%
runs = report.gather("16_rivals", profile, records=records, engine=engine, device=device,
                     steps=steps, seeds=seeds)  # fmt: skip
report.cost(runs)
