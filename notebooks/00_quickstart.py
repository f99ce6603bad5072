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
# Vector quantisation replaces a vector $z$ by the nearest of $K$ codes. The value is a step function of $z$: its
# derivative is zero wherever it exists. So training needs somebody to decide what flows back. This page shows two
# answers, on one vector, on one gradient and on a small network. It takes a minute to run.

# %% tags=["parameters"]
estimators: list[str] = ["ste", "rotation"]  # any of rotvq.ESTIMATORS
steps: int = 400  # training steps of the small network, about 10 ms each on one core
gamma: float = 0.25  # weight of the commitment loss
init: str = "kmeans"  # how the codes start
seed: int = 0
device: str = "cpu"

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("00_quickstart", globals(), steps=(20, 100_000))

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import torch

from rotvq import VectorQuantizer, nearest, rotate, straight_through
from rotvq.page.figures import ARMS, strips
from rotvq.training.config import Config
from rotvq.training.images import load
from rotvq.training.train import fit

_ = torch.manual_seed(seed)

# %% [markdown]
# ## Quantise
#
# Six codes in the plane and a few latents. `VectorQuantizer` finds the nearest code, hands it on as `z_q`, and returns
# the losses that pull codes and latents together.

# %%
codes = torch.tensor([[1.6, 0.5], [0.4, 1.9], [-1.5, 1.2], [-1.9, -0.7], [-0.3, -1.7], [1.7, -1.4]])
vq = VectorQuantizer(dim=2, codebook_size=6, init=codes, estimator="rotation")
z = 1.5 * torch.randn(200, 2)
z_q, indices, loss = vq(z)

assert torch.equal(z_q, codes[indices])  # the value is the code, bit for bit
print(f"{len(indices.unique())} of {len(codes)} codes used, loss {loss.item():.3f}")

# %% [markdown]
# ## Look at a gradient
#
# A decoder sends a gradient $g$ to $z_q$. What should $z$ hear? The {term}`straight-through estimator` says: $g$. The
# {term}`rotation trick` says: $g$, turned by the angle from $q$ back to $z$ and scaled by $|q|/|z|$. Both give the same
# $z_q$.

# %%
z = torch.tensor([1.0, 1.5], requires_grad=True)
q = codes[nearest(z, codes)]
g = torch.tensor([0.8, -0.3])

felt = {}
for name, estimate in {"ste": straight_through, "rotation": rotate}.items():
    z_q = estimate(z, q)
    (felt[name],) = torch.autograd.grad(z_q, z, g)
    print(f"{name:9} value {z_q.tolist()}  gradient {[round(x, 3) for x in felt[name].tolist()]}")

# %% tags=["hide-input"]
r = (q.norm() / z.detach().norm()).item()
assert torch.isclose(felt["rotation"].norm(), r * g.norm())  # the length changes by |q|/|z|
assert torch.equal(felt["ste"], g)

fig, ax = plt.subplots(figsize=(4.2, 4.2))
ax.plot(*codes.T, "o", color=ARMS["constant"].color, markersize=7, label="codes")
for name, tail, vector, colour in [
    ("$g$ at $q$", q, g, "#7f7e7d"),
    ("STE", z.detach(), felt["ste"], ARMS["ste"].color),
    ("rotation", z.detach(), felt["rotation"], ARMS["rotation"].color),
]:
    ax.annotate("", (tail + vector).tolist(), tail.tolist(), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2})
    ax.plot([], [], color=colour, lw=2, label=name)
ax.plot([0, z[0].item()], [0, z[1].item()], ":", color="#7f7e7d", lw=1)
ax.plot([0, q[0].item()], [0, q[1].item()], ":", color="#7f7e7d", lw=1)
ax.annotate("$z$", z.tolist(), xytext=(-14, 2), textcoords="offset points")
ax.annotate("$q$", q.tolist(), xytext=(-6, 8), textcoords="offset points")
ax.set(xlim=(-2.4, 2.4), ylim=(-2.2, 2.6), aspect="equal")
ax.legend(loc="lower left")
alt = """Six codes in the plane, a latent z and its nearest code q; the gradient g at q, and what reaches z: under the
straight-through estimator a copy of g, under the rotation g turned and scaled."""
page.show("gradient", fig, alt)
page.say("r", r)
page.say("turn", torch.rad2deg(torch.arccos(torch.cosine_similarity(felt["rotation"], g, dim=0))).item())

# %% [markdown]
# ```{glue:figure} gradient
# :name: fig-quickstart-gradient
#
# One latent, one code, one gradient. STE copies $g$. The rotation turns it by {glue:text}`turn:.1f`° and multiplies its
# length by $|q|/|z|$ = {glue:text}`r:.2f`.
# ```
#
# ## Train a small network
#
# The same choice in a VQ-VAE {cite}`vandenoord2017vqvae` on Fashion-MNIST: one field of the configuration. The arms
# share weights, batches and initial codes, because they share the seed.

# %%
data = load("fashion-mnist-mini")  # 2,000 training images; "fashion-mnist" has all of them
models, results = {}, {}
for name in estimators:
    config = Config(data=data.name, estimator=name, steps=steps, gamma=gamma, init=init, init_latents=2048, seed=seed)
    models[name], results[name] = fit(config, device=device)
    final = results[name]["final"]
    mse, usage, ratio = (final[f"test_{metric}"] for metric in ("mse", "usage", "r"))
    print(f"{name:14} test MSE {mse:.4f}   codes used {usage:.0%}   |q|/|z| {ratio:.2f}")

# %% tags=["hide-input"]
x = data.test[:8]
rows = {"test images": x.float() / 255}
for name, model in models.items():
    with torch.no_grad():
        seen = model.eval()(data.normalise(x).to(device))[0].cpu()
    rows[ARMS[name].label] = data.denormalise(seen).clamp(0, 1)
alt = "Eight test images of clothes and, below them, their blurred reconstructions under each estimator."
page.show("reconstructions", strips(rows, alt))
page.say("steps", steps)
page.say("first", results[estimators[0]]["final"]["test_mse"])
page.say("last", results[estimators[-1]]["final"]["test_mse"])
page.say("names", " and ".join(ARMS[name].label for name in estimators))

# %% [markdown]
# ```{glue:figure} reconstructions
# :name: fig-quickstart-reconstructions
#
# Test images and their reconstructions after {glue:text}`steps` steps.
# ```
#
# Test MSE here is {glue:text}`first:.4f` for the first and {glue:text}`last:.4f` for the last of
# {glue:text}`names`. That is one seed and {glue:text}`steps` steps. It decides nothing: {ref}`ste-vs-rotation` asks
# the question with seeds, starts and stopping times.
#
# ## Where next
#
# The derivation begins with {doc}`01_missing_derivative`. To use `rotate` in a model of your own, one line
# replaces `z + (q - z).detach()`:
#
# ```python
# from rotvq import rotate
# z_q = rotate(z, q)
# ```
