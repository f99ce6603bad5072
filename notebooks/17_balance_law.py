# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (balance-in-networks)=
# # The balance law in networks
#
# {doc}`05_balance_law` proves that under the rotation the reconstruction loss cannot defend the length of the latents,
# and says what follows at a stationary point. Do networks in training, with Adam and finite steps, behave as it says?

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
# **Arms.** {STE, rotation} with EMA codes (decay 0.99, counts from 1) from k-means, 4,000 steps, with weight decay (as
# a penalty, through Adam) 0, $10^{-4}$ and $10^{-3}$ on encoder and decoder; seeds 0 to 2.
#
# **What is compared.** In some 40 batches of each run: the sums $\langle\partial L_{rec}/\partial z, z\rangle$ and
# $\langle\partial L_{rec}/\partial z_q, q\rangle$; the squared norms of the encoder's last linear map $(E, b)$ and of
# the decoder's first, $W$. With losses averaged over elements and decay $\lambda$ on both sides the stationary law
# reads $2\gamma\,\mathbb E\langle z, z - q\rangle/d = \lambda(|W|^2 - |(E, b)|^2)$; with codes at the means of their
# cells $\mathbb E\langle z, z-q\rangle = \mathbb E|z-q|^2$.
#
# **Primary comparisons**, rotation / STE, four: absolute and relative quantisation error on the test images, at decay
# 0 and at $10^{-3}$.
#
# **Hypotheses**, written before the records:
#
# 1. *The identity holds in every batch.* Under the rotation the two sums agree to $10^{-3}$ of their size; under STE
#    they do not.
# 2. *The latents shrink.* Without decay $E|z|^2$ falls under the rotation from the first quarter of training to the
#    last; the decoder's $|W|^2$ rises more than under STE.
# 3. *Decay stops it.* At step 4,000 and $\lambda = 10^{-3}$ the two sides of the stationary law are within a factor of
#    2 under the rotation.
# 4. *Absolute praises, relative does not.* The absolute error is lower under the rotation at every decay; the relative
#    error is not.

# %%
runs = report.gather("17_balance_law", profile, records=records, engine=engine, device=device,
                     steps=steps, seeds=seeds)  # fmt: skip
report.cost(runs)
