# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (photographs)=
# # A second data set: photographs in colour
#
# Fashion-MNIST is grey, centred and small. The same comparisons on 32 × 32 colour crops of ten photographs, leaving
# two photographs out for testing, say how far the signs of {doc}`10_ste_vs_rotation` travel.

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
# **Common ground.** Network, batches and metrics are those of {doc}`10_ste_vs_rotation`: 512 codes of dimension 32,
# $\beta = 1$, $\gamma = 0.25$, Adam at $10^{-3}$, batches of 32, 2,000 steps. One seed gives every arm the same
# weights and batches. The primary metric is test MSE at the last stop, as a ratio.
#
# **Data.** 12,288 training crops of eight photographs, 768 of the two that are left out; fold = seed mod 5, so five
# seeds test on each pair once and ten seeds twice. Intervals cover seeds and these photographs, not images at large.
#
# **Arms.** {STE, rotation} from uniform, from k-means and after the warm-up, seeds 0 to 4.
#
# **Primary comparisons** and **confirmation**, rotation / STE on seeds 100 to 109, two: from uniform; from k-means.
#
# **Hypotheses**, written before the records:
#
# 1. *The signs travel.* The ratio is below 1 from uniform, above 1 from k-means and above 1 after the warm-up.
# 2. *The sizes do not.* From uniform the interval of the ratio does not contain the mean found on Fashion-MNIST.
# 3. *Folds matter more than estimators.* The spread of test MSE between folds is larger than the effect of the
#    estimator from k-means.

# %%
runs = report.gather("18_photographs", profile, records=records, engine=engine, device=device,
                     steps=steps, seeds=seeds)  # fmt: skip
report.cost(runs)
