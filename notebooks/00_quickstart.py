# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (quickstart)=
# # Quickstart
#
# A placeholder, to be written: quantise, and look at the gradient {cite}`fifty2025rotation`.

# %% tags=["parameters"]
steps: int = 200  # training steps
estimators: list[str] = ["ste", "rotation"]
gamma: float = 0.25  # weight of the commitment loss
seed: int = 0

# %% tags=["hide-input"]
from rotvq import ESTIMATORS, parameters

parameters.check(globals(), steps=(1, None), estimators=ESTIMATORS, gamma=(0, None), seed=(0, None))

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import torch

from rotvq import VectorQuantizer
from rotvq.figures import ARMS, Figure, glue, paired_dots, seeds, style, used

plt.rcParams.update(style())
torch.set_num_threads(1)

# %% [markdown]
# ## A first look

# %%
z = torch.randn(256, 8, generator=torch.Generator().manual_seed(seed))
losses = {}
for name in estimators:
    x = z.clone().requires_grad_()
    vq = VectorQuantizer(dim=8, codebook_size=16, estimator=name, init=z[:16])
    losses[name] = []
    for _ in range(steps):
        z_q, indices, loss = vq(x)
        error = (z_q - 0.5).square().mean()
        (g,) = torch.autograd.grad(error, x)
        x = (x - 10 * g).detach().requires_grad_()
        losses[name].append(error.item())

# %% tags=["hide-input"]
fig, ax = plt.subplots()
for name in estimators:
    seeds(ax, range(steps), [losses[name]], name)
ax.set(xlabel="step", ylabel="$|z_q - 1/2|^2$")
ax.legend()
fig2, ax = plt.subplots()
paired_dots(ax, [("a", [0.1, 0.2, -0.1], (-0.2, 0.4)), ("b", [0.3, 0.2, 0.4], (0.2, 0.5))])
ax.set_xlabel("difference")
used([])
glue("curves", Figure([fig, fig2], alt="Falling curves of the error for both estimators, and two rows of paired differences"))
glue("steps", steps)
glue("last", losses[estimators[-1]][-1])

# %% [markdown]
# ```{glue:figure} curves
# :name: fig-quickstart
#
# The error over {glue:text}`steps` steps.
# ```
#
# After {glue:text}`steps` steps the error is {glue:text}`last:.3f` ({numref}`fig-quickstart`).
#
# $$ z_q = \operatorname{sg}[G]\,z + \operatorname{sg}[q - G z] $$ (eq-first)
#
# See {eq}`eq-first`.
