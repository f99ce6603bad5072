# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ste-vs-rotation)=
# # STE against rotation
#
# Who wins, by how much, and where? The paper reports gains from codes that start far shorter than the latents
# {cite}`fifty2025rotation`. The article this book starts from reports a loss, from the same kind of start
# {cite}`su2024rotation`. Most other reports rest on one seed and one initialisation. So the ratio of norms at the
# start, $r_0 = |q|/|z|$, is a factor here, beside the time at which training stops.
#
# ```{admonition} An exploration
# :class: important
# Five seeds, one small network, one data set, one learning rate, no tuning. Five pairs cannot reach $p < 0.05$ in an
# exact two-sided test. Read the intervals, and read no verdict. The grid that may claim something uses ten fresh seeds
# and runs once the quantiser is final.
# ```

# %% tags=["parameters"]
profile: str = "standard"  # smoke: 20 steps, in seconds; standard: the committed records; full: a GPU
estimators: list[str] = ["ste", "rotation"]  # the first is what the others are compared with
steps: int | None = None  # of each run; None: as the profile says
seeds: int | None = None  # 0, 1, ...; None: as the profile says
gamma: float = 0.25  # weight of the commitment loss
live_steps: int = 300  # of the two runs trained on this page for a look at images
engine: str = "serial"  # where missing runs are trained: serial, processes:2, ray:0.25
device: str = "cpu"
records: str = ""  # folder of the run records; empty: the committed ones

# %% tags=["hide-input"]
from rotvq import ESTIMATORS, parameters
from rotvq.chapters import PROFILES

parameters.check(globals(), profile=PROFILES, estimators=ESTIMATORS, steps=(1, None), seeds=(2, None), gamma=(0, None),
                 live_steps=(1, None))  # fmt: skip

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
import torch

from rotvq import comparisons, grid, images
from rotvq.chapters import CHAPTERS, store
from rotvq.config import Config
from rotvq.figures import ARMS, Figure, glue, paired_dots, style, used
from rotvq.figures import seeds as draw_seeds
from rotvq.train import fit

plt.rcParams.update(style())
torch.set_num_threads(1)

# %% [markdown]
# ## What was fixed beforehand
#
# **Arms.** {STE, rotation}, crossed with six ways to start the codebook: uniform in $\pm 1/K$; k-means on the latents
# of the untrained encoder, its codes multiplied by 0.01, 0.1, 1 and 10; k-means after 500 steps as a plain
# autoencoder. The k-means is scikit-learn's, on 8,192 latents of training images.
#
# **Model.** Two strided convolutions down to a 7 × 7 grid of 32-vectors, two up again; 512 codes, moved by the
# gradient of the codebook loss ($\beta = 1$); commitment weight $\gamma = 0.25$; losses averaged over elements. Adam at
# $10^{-3}$, batches of 32, Fashion-MNIST {cite}`xiao2017fashion`, 2,000 steps with looks at 500 and 1,000.
#
# **Pairing.** One seed gives both arms the same weights, batches and, where k-means is used, codes.
#
# **Primary metric.** Test MSE at the last stop, on pixels in $[0, 1]$, as a ratio rotation / STE, one for each of the
# six starts. Everything else is descriptive.
#
# **Hypotheses**, written before the records:
#
# 1. *Short codes delay.* With $r_0 \ll 1$ the rotation sends the encoder a gradient $r$ times as long. It should be
#    worse early, and less so, or no longer, at the last stop.
# 2. *Fitted codes do not matter.* With k-means codes, $r$ is near 1 and the angle is small: the two should be close.
# 3. *Relative error.* The rotation should end with shorter latents, a lower absolute quantisation error, and a higher
#    relative one, as the balance law has it.
# 4. *Long codes.* With $r_0 = 10$ the rotation multiplies the gradient by ten. Adam hides a constant factor on the
#    reconstruction gradient, but not its ratio to the commitment gradient.

# %%
changes = {"steps": steps, "seed": None if seeds is None else range(seeds), "gamma": gamma}
configs = CHAPTERS["10_ste_vs_rotation"].configs(
    profile, estimator=estimators, **{name: value for name, value in changes.items() if value is not None}
)
runs = store("10_ste_vs_rotation", records or None)
for config, outcome in grid.run(configs, runs, engine, device=device):
    if isinstance(outcome, grid.Failure):
        raise RuntimeError(f"run {config.id} failed: {outcome}")
final, stops, trace = runs.load(configs), runs.stops(configs), runs.trace(configs)
used(runs.get(config) for config in configs)


def label(row) -> str:
    """The name of a start of the codebook."""
    name = {"uniform": "uniform 1/K", "kmeans": "k-means"}.get(row["init"], row["init"])
    name += f" × {row['init_scale']:g}" if row["init_scale"] != 1 else ""
    return name + (" after warm-up" if row["pretrain_steps"] else "")


cells = {label(c.as_dict()): {k: c.as_dict()[k] for k in ("init", "init_scale", "pretrain_steps")} for c in configs}
base, arm = estimators[0], estimators[-1]

# %% [markdown]
# The first batch shows what each start means, before a step is taken:

# %% tags=["hide-input"]
first = trace[trace.step == 1]
start = pd.DataFrame(
    {
        name: comparisons.runs(first, **where)[["r", "theta_deg", "q_norm", "z_norm", "usage"]].mean()
        for name, where in cells.items()
    }
).T
start.columns = ["r₀", "angle, degrees", "|q|", "|z|", "share of codes used"]
start.index.name = "start"
start.round(3)

# %% [markdown]
# ## Test error

# %% tags=["hide-input"]
primary = comparisons.table(final, "test_mse", cells, {"estimator": arm}, {"estimator": base})
pairs = {name: comparisons.ratio(final, "test_mse", {"estimator": arm}, {"estimator": base}, **where) for name, where in cells.items()}
shown = primary.rename(columns={"against": ARMS[base].label, "arm": ARMS[arm].label})
shown.style.format(
    {ARMS[base].label: "{:.5f}", ARMS[arm].label: "{:.5f}", "change %": "{:+.1f}", "low": "{:+.1f}", "high": "{:+.1f}",
     "p": "{:.3f}", "Holm p": "{:.3f}"}
).set_caption(f"Test MSE at step {final.step.max():,.0f}")

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(4.6, 3.2))
rows = [(name, [100 * (d - 1) for d in p.differences], (100 * (p.low - 1), 100 * (p.high - 1))) for name, p in pairs.items()]
paired_dots(ax, rows)
ax.set_xlabel(f"test MSE, {ARMS[arm].label} against {ARMS[base].label}, %")
glue("fig-primary", Figure(fig, alt="For each start of the codebook, the change of test error from the straight-through estimator to the rotation: one dot a seed, the mean, and its 95 % interval."))

by_stop = {
    at: {name: comparisons.ratio(stops[stops.step == at], "test_mse", {"estimator": arm}, {"estimator": base}, **where) for name, where in cells.items()}
    for at in sorted(stops.step.unique())
}
figs = []
for name, where in cells.items():
    fig, ax = plt.subplots(figsize=(3.0, 2.3))
    for estimator in estimators:
        curve = comparisons.runs(stops, **where, estimator=estimator).pivot(index="seed", columns="step", values="test_mse")
        draw_seeds(ax, curve.columns.tolist(), curve.to_numpy(), estimator)
    ax.set(title=name, xlabel="step", ylabel="test MSE", yscale="log", xscale="log")
    ax.set_xticks(curve.columns.tolist(), [f"{s:,}" for s in curve.columns], minor=False)
    ax.minorticks_off()
    figs.append(fig)
figs[0].axes[0].legend()
glue("fig-stops", Figure(figs, alt="Test error at the three stops for each start of the codebook; thin lines are seeds, thick lines their means."))

for number, (name, pair) in enumerate(pairs.items()):
    glue(f"change-{number}", comparisons.phrase(pair))
    glue(f"early-{number}", comparisons.phrase(by_stop[min(by_stop)][name]))
glue("separated", ", ".join(f"{name} ({comparisons.separated(p)})" for name, p in pairs.items()))
glue("lower", sum(comparisons.separated(p) == "lower" for p in pairs.values()))
glue("higher", sum(comparisons.separated(p) == "higher" for p in pairs.values()))
glue("cells", len(cells))
glue("profile", profile)
glue("steps", int(final.step.max()))
glue("seeds", int(final.seed.nunique()))

# %% [markdown]
# RESULTS-PLACEHOLDER
