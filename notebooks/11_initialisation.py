# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (initialisation)=
# # Initialisation
#
# What does the start of the codebook decide? Three things change together when codes start short: the ratio of norms
# $r_0 = |q|/|z|$, the fit of the codes to the latents, and the absolute scale on which commitment acts. This chapter
# moves them one at a time.

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
# **Arms and cells.** {STE, rotation} from uniform $\pm 1/K$, normal, k-means with its codes multiplied by 0.01, 0.1,
# 0.3, 1, 3 and 10, and k-means after 500 steps as a plain autoencoder: seeds 0 to 4. The same two with *revival* (a
# code unused for 100 steps becomes a latent) from uniform, k-means, k-means × 10 and after the warm-up: seeds 0 to 4.
# The rotation *about another point*, 1, 3 and 10 root-mean-square norms of $z$ away from the origin, from uniform and
# from k-means × 10, seeds 0 to 2: codes, cells and losses stay, $r$ and the angle change. $z$ and codes *scaled
# together* by 0.1 and 10 from k-means, seeds 0 to 2: $r$ and the angle stay, lengths change.
#
# **Primary comparisons**, rotation / STE, six: from normal; from k-means × 0.3; from k-means × 3; with revival from
# uniform; with revival from k-means × 10; with revival after the warm-up.
#
# **Hypotheses**, written before the records, after the exploration of {doc}`10_ste_vs_rotation` had been seen:
#
# 1. *The sign follows $r_0$.* The ratio is below 1 where $r_0 < 0.5$ and above 1 where $r_0 > 1$; it crosses 1 between
#    k-means × 0.1 and k-means × 1.
# 2. *It is $r_0$, not the fit.* About a point far away $r$ is near 1 and the angle near 0 whatever the codes. At 10
#    norms the rotation is within 10 % of STE in test MSE, from uniform and from k-means × 10.
# 3. *Scale alone does little.* With $z$ and codes scaled together the ratio rotation / STE stays above 1, as from
#    k-means.
# 4. *Part of it is reach.* With revival STE from uniform improves, and the ratio rotation / STE there is closer to 1
#    than without.
# 5. *Revival does not save long codes.* From k-means × 10 the rotation stays worse than STE with revival on.

# %%
runs = report.gather("11_initialisation", profile, records=records, engine=engine, device=device,
                     steps=steps, seeds=seeds)  # fmt: skip
report.cost(runs)
