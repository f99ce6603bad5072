# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (mixtures)=
# # Clipped, mixed, centred
#
# The article proposes remedies: clip $r$, mix the rotation with STE, raise the mix during training, learn the scale,
# use $R$ alone with a cosine lookup {cite}`su2024rotation`. It runs none of them. This chapter does.

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
# **Arms.** $\mathrm{clip}(r)R$ with the article's ranges, conservative (0.8 to 1.2), medium (0.5 to 2) and aggressive
# (0.1 to 10), seeds 0 to 4; $(1-t)I + t\,rR$ with $t$ in {0.25, 0.5, 0.75}; the rotation with $t$ rising from 0 to 1
# over 500 and 1,000 steps, also after the warm-up of the autoencoder; the rotation about the mean code and about the
# running mean latent; STE and the rotation with a learned gain ({doc}`21_estimators`); STE, the rotation and $R$ with
# a cosine lookup. All from uniform and from k-means; seeds 0 to 2 where nothing else is said.
#
# **Primary comparisons**, six: from k-means, against the rotation: clip medium; the mix $t = 0.5$; warm-up 1,000;
# about the mean code; a learned gain. From k-means with a cosine lookup: $R$ / rotation.
#
# **Hypotheses**, written before the records:
#
# 1. *The tighter the clip, the closer to STE.* From uniform the three clips are ordered as their ranges: conservative
#    has the test MSE nearest to STE's, aggressive the nearest to the rotation's.
# 2. *A mix is in between.* The mean test MSE at $t = 0.5$ is between those of STE and of the rotation, from both
#    starts.
# 3. *A warm-up of the mix avoids the collapse.* After the autoencoder's warm-up the rotation with 1,000 steps of
#    rising $t$ beats the plain rotation.
# 4. *The mean code is not far from 0.* About the mean code the rotation is within 10 % of the rotation about 0, from
#    uniform; it is nearer to STE than that from k-means.
# 5. *A learned gain does not pay.* It changes test MSE by less than 5 %.
# 6. *Cosine.* With a cosine lookup $R$ is within 5 % of the rotation, from both starts.

# %%
runs = report.gather("14_mixtures", profile, records=records, engine=engine, device=device,
                     steps=steps, seeds=seeds)  # fmt: skip
report.cost(runs)
