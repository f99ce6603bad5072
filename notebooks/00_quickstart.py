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
# ```{admonition} In short
# :class: tip
# The straight-through estimator copies the gradient through a quantiser, the rotation trick turns and scales it. Which
# of the two trains better depends on how the codes start. From codes far shorter than the latents the rotation has the
# lower test error here, and after a warm-up without quantiser STE has it.
# ```
#
# ```{glue:figure} reconstructions
# :name: fig-quickstart-reconstructions
#
# From short codes the rotation gives back the better pictures, after a warm-up STE does: there the codebook has
# collapsed under the rotation. Eight test images, and what comes back of them after {glue:text}`steps` steps.
# ```
#
# Vector quantisation replaces a vector $z$ by the nearest of $K$ codes. The value is a step function of $z$: its
# derivative is zero wherever it exists. So training needs somebody to decide what flows back. This page shows two
# ways, on one vector, on one gradient and on a small network. It takes a minute to run.

# %% tags=["parameters"]
estimators: list[str] = ["ste", "rotation"]  # any of rotvq.ESTIMATORS
steps: int = 400  # training steps of the small network, about 10 ms each on one core
gamma: float = 0.25  # weight of the commitment loss
init: str = "uniform"  # how the codes start, without a warm-up
warm_up: int = 200  # steps without a quantiser in the second start, which is k-means after them
seed: int = 0
device: str = "cpu"

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("00_quickstart", globals(), steps=(20, 100_000), warm_up=(0, 100_000))

# %% tags=["hide-input"]
from dataclasses import replace

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
# A decoder sends a gradient $g$ to $z_q$. What should arrive at $z$? The {term}`straight-through estimator` says: $g$.
# The {term}`rotation trick` says: $g$, turned by the angle from $q$ back to $z$ and scaled by $|q|/|z|$. Both give the
# same $z_q$.

# %%
z = torch.tensor([1.0, 1.5], requires_grad=True)
q = codes[nearest(z, codes)]
g = torch.tensor([0.8, -0.3])

felt = {}
for name, estimate in {"ste": straight_through, "rotation": rotate}.items():
    z_q = estimate(z, q)
    (felt[name],) = torch.autograd.grad(z_q, z, g)
    print(f"{name:9} value {z_q.detach().numpy()}  gradient {felt[name].numpy().round(3)}")

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
# The same choice in a VQ-VAE {cite}`vandenoord2017vqvae` on Fashion-MNIST: one field of the configuration. Each choice
# is trained from two starts of the codebook. The four networks share weights and batches, because they share the seed.

# %%
data = load("fashion-mnist-mini")  # 2,000 training images; "fashion-mnist" has all of them
starts = {f"{init} codes": {"init": init}, "k-means after a warm-up": {"init": "kmeans", "pretrain_steps": warm_up}}
common = Config(data=data.name, steps=steps, gamma=gamma, init_latents=2048, seed=seed)
models, finals = {}, {}
for start, fields in starts.items():
    for name in estimators:
        config = replace(common, estimator=name, **fields)
        models[start, name], result = fit(config, device=device)
        final = finals[start, name] = result["final"]
        mse, usage, ratio = (final[f"test_{metric}"] for metric in ("mse", "usage", "r"))
        print(f"{start:23} {name:8} test MSE {mse:.4f}, usage {usage:4.0%}, |q|/|z| {ratio:.2f}")

# %% tags=["hide-input"]
x = data.test[:8]
rows = {"test images": x.float() / 255}
for (start, name), model in models.items():
    with torch.no_grad():
        seen = model.eval()(data.normalise(x).to(device))[0].cpu()
    title = f"{ARMS[name].label}, {start}: test MSE {finals[start, name]['test_mse']:.4f}"
    rows[title] = data.denormalise(seen).clamp(0, 1)
alt = "Eight test images of clothes and, below them, their reconstructions under each estimator, from two starts."
page.show("reconstructions", strips(rows, alt))
page.say("steps", steps)
short, warmed = starts
page.say("mse", {key: f"{final['test_mse']:.4f}" for key, final in finals.items()})
if estimators == ["ste", "rotation"] and (init, gamma) == ("uniform", 0.25) and steps >= 400 and warm_up == 200:
    error = {key: final["test_mse"] for key, final in finals.items()}
    assert error[short, "rotation"] < error[short, "ste"]  # from short codes the rotation has the lower error
    assert error[warmed, "ste"] < error[warmed, "rotation"]  # after a warm-up STE has it
    assert finals[warmed, "rotation"]["test_perplexity"] < 10  # there the codebook collapses under the rotation

# %% [markdown]
# The start turns the sign: {numref}`fig-quickstart-reconstructions` shows it. That is one seed and
# {glue:text}`steps` steps; {ref}`ste-vs-rotation` asks with more seeds, starts and stopping times, and {doc}`45_guide`
# says what to use.
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
