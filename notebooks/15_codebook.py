# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (codebook)=
# # How the codes move
#
# Gradient or EMA, few codes or many, free or normalised: the codebook is what released implementations differ in most.
# The paper's VQ-VAE runs use EMA with decay 0.8 and counts that start at 0 {cite}`fifty2025rotation`; the next version
# of the library it builds on starts them at 1.

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
# **Arms.** {STE, rotation} with EMA of decay 0.99 and initial counts 1, decay 0.99 and counts 0, decay 0.8 and counts
# 0, from uniform, from k-means and after the warm-up, seeds 0 to 4; with the gradient and $K = 64$, $K = 2048$, $d =
# 8$; with normalised latents and codes; the last four from uniform and from k-means, seeds 0 to 2.
#
# **Primary comparisons**, rotation / STE, six: EMA 0.99 from counts 1, from uniform, from k-means and after the
# warm-up; EMA 0.8 from counts 0, from uniform; $K = 2048$ from k-means; $d = 8$ from k-means.
#
# **Hypotheses**, written before the records:
#
# 1. *Codes that follow do not collapse.* With EMA the rotation is within 10 % of STE after the warm-up, where it
#    collapses with the gradient.
# 2. *Counts from 0 undo the start.* A code's first batch moves it onto its latents, so with counts from 0 the start at
#    uniform $\pm 1/K$ is forgotten at once: rotation / STE is nearer to 1 than with the gradient.
# 3. *One line changes usage.* From uniform, usage at the last stop differs by a factor of 2 or more between counts 0
#    and counts 1, for STE, at decay 0.99.
# 4. *Size does not change the sign.* With $K = 64$ and with $K = 2048$ rotation / STE is below 1 from uniform and
#    above 1 from k-means.
# 5. *Small d, more turn.* From k-means the effect is larger at $d = 8$ than at $d = 32$: a turn in one plane moves a
#    larger part of a gradient ({doc}`03_rotation`).
# 6. *Normalised, no difference.* With latents and codes on the sphere rotation / STE is within 5 % of 1 from k-means.

# %%
runs = report.gather("15_codebook", profile, records=records, engine=engine, device=device,
                     steps=steps, seeds=seeds)  # fmt: skip
report.cost(runs)
