# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (use-it)=
# # Use it in your model
#
# ```{admonition} In short
# :class: tip
# Use `recommended(dim, codebook_size)`: the *straight-through* estimator, with codes that follow by a fast EMA, start
# from k-means on the first batch, and are revived when unused. With the rotation in place of STE its test error is
# {glue:text}`beside-rotation:.2f` times as large. Of {glue:text}`settings` settings that cost the same at the
# same learning rate, only *dynamic STE* in place of STE is measurably lower without a warm-up, by
# {glue:text}`dynamic:.0f` %.
# ```
#
# ```{glue:figure} fig-evidence
# :name: fig-use-evidence
#
# Without a warm-up only dynamic STE is measurably below `recommended` (1); left is better. Blue: the rotation, orange:
# STE. Test MSE relative to it with the same seed: a point a pair of runs, a diamond their mean, a bar its 95 %
# interval.
# ```
#
# Or keep your quantiser and [change the one line](two-lines) that passes the gradient. Every example on this page runs,
# and what it claims is asserted. {doc}`27_training_loop` has mixed precision, several processes, freezing and export.

# %% tags=["parameters"]
dim: int = 16  # of a latent
codebook_size: int = 64
seed: int = 0

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("22_use_it", globals(), dim=(4, 256), codebook_size=(16, 1024))

# %% tags=["hide-input"]
import math
from dataclasses import replace

import pandas as pd
import torch
from IPython.display import Markdown, display
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from book.chapters import drawings
from book.chapters.hypotheses import higher, lower, within
from rotvq import ESTIMATORS, Grouped, ResidualVectorQuantizer, VectorQuantizer, nearest, recommended, rotate
from rotvq.analysis import stats
from rotvq.analysis.wording import ratio_text, ratio_with_n
from rotvq.page.figures import ARMS
from rotvq.quantizers.base import CONVENTIONS
from rotvq.quantizers.recommended import RECOMMENDED
from rotvq.runs.grids import CHAPTERS, FRESH, MAIN, PAIR, WARM, Block
from rotvq.training.config import Config

_ = torch.manual_seed(seed)
codes = torch.randn(codebook_size, dim)
sequence = torch.randn(4, 10, dim)  # (B, N, D)
images = torch.randn(4, dim, 6, 6)  # (B, C, H, W)

# %% [markdown]
# ## Start with this

# %%
vq = recommended(dim, codebook_size)
latents = torch.randn(8, codebook_size, dim)  # of the first batch: at least K
z_q, indices, loss = vq(latents)  # add loss to yours
assert torch.equal(z_q, vq.codes[indices])

# %% [markdown]
# Any option of `VectorQuantizer` replaces one of these, as in `recommended(dim, K, lookup="normalised")`. If the first
# batch has fewer latents, pass `init="latents"`. The numbers of {numref}`fig-use-evidence`, test MSE relative to it
# with the same seed:

# %% tags=["hide-input"]
ema, frontier = CHAPTERS["15_codebook"].blocks["ema"].arms, CHAPTERS["39_frontier"].blocks
runs = page.load(also=[block for chapter in CHAPTERS.values() for block in chapter.blocks.values()])
FAST_CODES = {"STE, codes × 30": {"estimator": "ste", "code_lr": 30.0}}
arms = PAIR | ema | FAST_CODES
for block in ("baselines", "confirm", "confirm, dynamic STE"):
    arms |= frontier[block].arms
study = page.study(Block(arms, MAIN | WARM))
BEST = ("STE, EMA 0.9, revival", "k-means")
WARMED = "k-means after warm-up"
TRIED = {  # what is written, and the arm and cell that ran it
    "recommended, as it is": BEST,
    "with estimator='rotation'": ("rotation, EMA 0.9, revival", "k-means"),
    "with gain=DynamicGain(codebook_size)": ("dynamic STE, EMA 0.9, revival", "k-means"),
    "with init='uniform'": ("STE, EMA 0.9, revival", "uniform 1/K"),
    "with decay=0.99, initial_count=1": ("STE, EMA, revival", "k-means"),
    "with decay=0.8": ("STE, EMA 0.8, revival", "k-means"),
    "with revival='none', decay=0.8": ("STE, EMA 0.8 from 0", "k-means"),
    "with update='gradient', codes at 30 times the network's rate": ("STE, codes × 30, revival", "k-means"),
    "the same with revival='none'": ("STE, codes × 30", "k-means"),
    "after 500 steps without a quantiser": ("STE, EMA 0.9, revival", WARMED),
    "after 500 steps without a quantiser, codes at 30 times the rate": ("STE, codes × 30, revival", WARMED),
    "VectorQuantizer's defaults: rotation, uniform codes, gradient": ("rotation", "uniform 1/K"),
    "its defaults with estimator='ste'": ("STE", "uniform 1/K"),
    "its defaults with estimator='ste', init='kmeans'": ("STE", "k-means"),
    "its defaults with init='kmeans'": ("rotation", "k-means"),
}
assert study.arms[BEST[0]] | study.cells[BEST[1]] == RECOMMENDED
found = {}
for what, key in TRIED.items():
    fresh = study.pair(*key, against=BEST, fresh=True)
    found[what] = fresh, study.pair(*key, against=BEST)
pairs = {what: fresh or explored for what, (fresh, explored) in found.items()}
evidence = pd.DataFrame(
    {
        "test MSE / recommended": {what: ratio_with_n(pair) for what, pair in pairs.items()},
        "seeds": {what: "fresh" if fresh else "explored" for what, (fresh, _) in found.items()},
    }
)
evidence.loc["recommended, as it is"] = ["1", ""]
IN_FIGURE = {  # in two short lines
    "with gain=DynamicGain(codebook_size)": "with dynamic STE",
    "with update='gradient', codes at 30 times the network's rate": "codes at 30 times the network's rate, revived",
    "the same with revival='none'": "the same without revival",
    "after 500 steps without a quantiser": "recommended, after a warm-up",
    "after 500 steps without a quantiser, codes at 30 times the rate": "after a warm-up, codes at 30 times the rate",
    "VectorQuantizer's defaults: rotation, uniform codes, gradient": "defaults: rotation, uniform, gradient",
    "its defaults with estimator='ste'": "defaults, with 'ste'",
    "its defaults with estimator='ste', init='kmeans'": "defaults, with 'ste' and 'kmeans'",
    "its defaults with init='kmeans'": "defaults, with 'kmeans'",
}
dots = [
    (IN_FIGURE.get(what, what), pair, ARMS["rotation" if "rotation" in key[0] else "ste"])
    for (what, key), pair in zip(TRIED.items(), pairs.values())
]
words = "Test MSE relative to `recommended`, with intervals, of each setting in the table"
figure = drawings.ratios({"": [dot for dot in dots[1:] if dot[1]]}, words, "test MSE / recommended (← better)")
page.show("fig-evidence", figure)
evidence

# %% tags=["hide-input"]
base = next(iter(study.members[BEST]))
SPENT = ("data", "model", "norm", "codebook_size", "dim", "steps", "batch", "optimizer", "lr")
mse = runs.final.set_index("id").test_mse
settings: dict[Config, dict[int, float]] = {}  # what costs the same, of three seeds or more that explore
for config in runs.shown:
    if config.seed < FRESH and all(getattr(config, name) == getattr(base, name) for name in SPENT):
        settings.setdefault(replace(config, seed=0), {})[config.seed] = mse.get(config.id, math.nan)
own = settings[replace(base, seed=0)]
ratios = {}
for config, errors in settings.items():
    common = sorted(errors.keys() & own.keys())
    if len(common) > 2:
        ratios[config] = stats.ratio([errors[s] for s in common], [own[s] for s in common])
others = {config: pair for config, pair in ratios.items() if config != replace(base, seed=0)}
cold_ratios = {config: pair for config, pair in others.items() if config.pretrain_steps == 0}
warmed = {config: pair for config, pair in others.items() if config.pretrain_steps > 0}
kinds = {"cold": cold_ratios, "warm": warmed}
best = {kind: min(some, key=lambda of: some[of].mean) for kind, some in kinds.items() if some}
lowest = {name: others[config] for name, config in best.items()}
page.say("settings", len(others))
page.say("lowest-warm", ratio_text(lowest.get("warm")))
own_rate = pairs["with update='gradient', codes at 30 times the network's rate"]
page.say("own-rate", ratio_text(own_rate))
page.say(
    "beside",
    {
        "rotation": pairs["with estimator='rotation'"].mean,
        "defaults": pairs["VectorQuantizer's defaults: rotation, uniform codes, gradient"].mean,
        "ste-defaults": pairs["its defaults with estimator='ste'"].mean,
    },
)
dynamic = pairs["with gain=DynamicGain(codebook_size)"]
page.say("dynamic", 100 * (1 - dynamic.mean))
page.say("", {"codes": base.codebook_size, "dimension": base.dim, "batch": base.batch, "trained": f"{base.steps:,}"})
page.say("latents", f"{base.init_latents:,}")


@page.holds
def start_with_this():
    rotation, _, uniform, slow = list(pairs.values())[1:5]
    defaults, *others_of_it = (pair for what, pair in pairs.items() if "defaults" in what)
    yield "With these, the rotation is worse.", higher(rotation), rotation.n == 10
    yield "Its start hardly matters.", abs(uniform.mean - 1) < 0.05
    yield "A slower average is worse.", higher(slow), slow.n == 10
    yield "On fresh seeds dynamic STE is lower.", lower(dynamic), dynamic.n == 10
    yield "No other setting without a warm-up is measurably lower.", not any(map(lower, cold_ratios.values()))
    yield "Codes at 30 times the network's rate come to the same.", within(0.05)(own_rate)
    as_low = [config for config, pair in cold_ratios.items() if pair.mean < 1]
    yield "Only codes that follow come as low.", all(config.code_lr > 1 or config.decay < 0.99 for config in as_low)
    yield "The lowest of all has a warm-up.", lower(lowest["warm"]), lowest["warm"].mean < lowest["cold"].mean
    yield "There, too, STE is trained on codes that follow.", best["warm"].estimator == "ste", best["warm"].code_lr > 1
    yield "Every one of the defaults is worse, the rotation the least.", *map(higher, (defaults, *others_of_it))
    yield "The rotation is the best of the defaults.", defaults.mean < min(pair.mean for pair in others_of_it)


# %% [markdown]
# *Fresh* are ten seeds on which nothing was chosen; what is asked of them was fixed before they were trained
# ({doc}`39_frontier`). *Explored* are three to five seeds, which settle little.
#
# **Why `VectorQuantizer` has other defaults.** They are the loss of the first VQ-VAE {cite}`vandenoord2017vqvae`, short
# codes that the gradient moves, and nothing with a state. So two quantisers of this book differ in what is written
# out and in nothing else. With codes that start like that the rotation is the better estimator, so it is the default
# of an argument that has to have one. Training is not what they are for: the error is then
# {glue:text}`beside-defaults:.2f` times that of `recommended`.
#
# **If an optimizer moves your codes, give them a learning rate of their own.** Moved by the gradient at 30 times the
# network's rate, with revival, they come to the same: the error over that of `recommended` is {glue:text}`own-rate`
# ({doc}`28_code_speed`).
#
# **If two percent are worth a line,** pass `gain=DynamicGain(codebook_size)`, from
# `rotvq.quantizers.methods.dynamic_ste` {cite}`tang2026stablevq`: it weakens the gradient of latents that are far from
# their code ({doc}`39_frontier`). `recommended` does not have it, since the gain is small, and none shows on
# photographs, or once each has a learning rate of its own.
#
# **If your codes cannot follow, and do not start short or are trained long,** use `estimator="fading"` with
# `centre="codebook"`, whose error was that of STE or less from every start ({doc}`39_frontier`).
#
# **Tune the learning rate of your network.** At 0.003 in place of 0.001 STE with these codes has
# {glue:text}`/notebooks/39_frontier.ipynb::tuned-gain:.0f` % less error, more than any estimator gains
# ({doc}`39_frontier`).
#
# **If you can spend the steps, warm up.** After 500 steps of the autoencoder without its quantiser, which are not
# counted, the lowest ratio is {glue:text}`lowest-warm`.
#
# **If codes start far shorter than the latents, move by the gradient, and are not revived,** as in many descendants of
# VQGAN, the rotation helps. There the error is {glue:text}`beside-ste-defaults:.2f` times that of `recommended` with
# STE, and {glue:text}`beside-defaults:.2f` times with the rotation. {doc}`19_synthesis` has all starts.
#
# **If your pixels are in $[0, 1]$,** `gamma=0.25` is not the weight of these runs, which is on standardised pixels. On
# Fashion-MNIST it is {glue:text}`/notebooks/12_gamma.ipynb::gamma-there:.2f` there: multiply by the variance of your
# pixels ({ref}`unit-of-gamma`).
#
# **What this rests on.** One small network on Fashion-MNIST, {glue:text}`codes` codes of dimension
# {glue:text}`dimension`, {glue:text}`trained` steps at batch {glue:text}`batch`. The runs gave k-means
# {glue:text}`latents` latents, where `recommended` takes the first batch; `vq.codebook.start(latents)` before it gives
# more.
#
# **A codec** takes the same for each level of a cascade ({doc}`30_residual_codec`). `wiring` says how the gradient
# runs: "graph" as in EnCodec and DAC, "detach" as in vector-quantize-pytorch, "once" as in Moshi ({doc}`09_residual`).
# With `beam`, evaluation keeps several sums of codes from level to level: as many bits, never a larger error, about
# `beam` times the work.

# %%
options = {"levels": 4, "wiring": "graph", **RECOMMENDED}
cascade = ResidualVectorQuantizer(dim, codebook_size, **options)
z_q, indices, loss = cascade(latents)
assert indices.shape == (*latents.shape[:-1], 4)
cascade.eval()
first_two = cascade.encode(latents)[..., :2]  # of the levels
few = cascade.decode(first_two)
nearest_at_each = F.mse_loss(cascade(latents).z_q, latents)
cascade.beam = 4
assert F.mse_loss(cascade(latents).z_q, latents) < nearest_at_each < F.mse_loss(few, latents)

# %% [markdown]
# (two-lines)=
# ## Two lines in your own layer
#
# Your quantiser has a line `z_q = z + (q - z).detach()`. Import `rotate` and write `z_q = rotate(z, q)`. Lookup, losses
# and codes stay as they are.


# %%
def before(z, codes):
    q = codes[torch.cdist(z, codes).argmin(-1)]
    loss = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
    return z + (q - z).detach(), loss


def after(z, codes):
    q = codes[nearest(z, codes)]
    loss = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
    return rotate(z, q), loss


(z_q, loss), (old, old_loss) = after(sequence, codes), before(sequence, codes)
assert_close(z_q, old)
assert_close(loss, old_loss)
assert torch.equal(z_q, codes[nearest(sequence, codes)])  # the codes themselves, bit for bit

# %% [markdown]
# Latents are vectors along the last axis. If channels come first, move them: `rotate(z.movedim(1, -1), q)`. `nearest`
# is optional. It is exact where an offset or a small scale spoils the usual formula, and never holds the whole matrix
# of distances.
#
# ## The module
#
# `VectorQuantizer` is lookup, estimator and both losses. It returns `z_q, indices, loss`, with $z_q$ in the shape,
# dtype and memory format of the input. The {ref}`rivals <all-rivals>` are called in the same way.

# %%
vq = VectorQuantizer(dim, codebook_size, estimator="rotation")
z_q, indices, loss = vq(sequence)
assert z_q.shape == sequence.shape and indices.shape == (4, 10) and loss.ndim == 0

vq = VectorQuantizer(dim, codebook_size, channel_first=True)
z_q, indices, loss = vq(images)
assert z_q.shape == images.shape and indices.shape == (4, 6, 6)
assert z_q.is_contiguous()  # as the images are
channels_last = images.contiguous(memory_format=torch.channels_last)
assert vq(channels_last).z_q.is_contiguous(memory_format=torch.channels_last)

model = nn.ModuleDict({"encoder": nn.Conv2d(3, dim, 4, 4), "vq": vq, "decoder": nn.ConvTranspose2d(dim, 3, 4, 4)})
optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
x = torch.rand(2, 3, 24, 24)
z_q, indices, vq_loss = model["vq"](model["encoder"](x))
loss = F.mse_loss(model["decoder"](z_q), x) + vq_loss
loss.backward()
optimiser.step()
assert all(p.grad is not None for p in model.parameters())

# %% [markdown]
# **Store and restore.** `encode` gives indices alone, `decode` the vectors of indices, in the layout of the input.

# %%
vq.eval()
assert torch.equal(vq.encode(images), vq(images).indices)
assert torch.equal(vq.decode(vq.encode(images)), vq(images).z_q)

# %% [markdown]
# **Masks.** True marks a real token. Padding passes unchanged, gets the index −1, and counts in no loss and no
# statistic. It may even be NaN.

# %%
mask = torch.arange(10) < torch.tensor([10, 7, 4, 1])[:, None]
padded = sequence.masked_fill(~mask[..., None], float("nan"))
vq = VectorQuantizer(dim, codebook_size, init=codes)
z_q, indices, loss = vq(padded, mask=mask)
assert loss.isfinite() and (indices[~mask] == -1).all()
assert torch.equal(z_q[mask], vq(sequence[mask]).z_q)

# %% [markdown]
# **Heads.** `heads` cuts a vector into equal parts that share one codebook; `dim` is the dimension of a part. `Grouped`
# gives each part a quantiser of its own.

# %%
two = VectorQuantizer(dim, codebook_size, heads=2)
z_q, indices, loss = two(torch.randn(4, 10, 2 * dim))
assert z_q.shape == (4, 10, 2 * dim) and indices.shape == (4, 10, 2)

parts = Grouped(VectorQuantizer(dim, codebook_size) for _ in range(2))
z_q, indices, loss = parts(torch.randn(4, 10, 2 * dim))
assert z_q.shape == (4, 10, 2 * dim) and indices.shape == (4, 10, 2)

# %% [markdown]
# **Low-dimensional codes.** `project_to` looks up in fewer dimensions, between two linear maps, and forms the losses
# there (DAC, ViT-VQGAN, LlamaGen; these with `lookup="normalised"` or `"cosine"`).

# %%
low = VectorQuantizer(dim, codebook_size, project_to=2, lookup="normalised")
z_q, indices, loss = low(sequence)
assert z_q.shape == sequence.shape and low.codes.shape == (codebook_size, 2)

# %% [markdown]
# **Other choices of a code.** `temperature` draws codes at random in training, the nearer the likelier. `nearest_codes`
# gives the $k$ nearest.

# %%
drawn = VectorQuantizer(dim, codebook_size, init=codes, temperature=10.0)
assert not torch.equal(drawn(sequence).indices, drawn.eval()(sequence).indices)
assert torch.equal(drawn.nearest_codes(sequence, k=2)[..., 0], drawn.encode(sequence))

# %% [markdown]
# **Details.** `details=True` adds every intermediate: both losses before their weights, $r=|q|/|z|$, the angle, usage
# and perplexity of this batch.

# %%
details = vq(sequence, details=True)
assert_close(details.loss, vq.beta * details.codebook_loss + vq.gamma * details.commitment_loss)
print(f"r {details.r.mean():.2f}, angle {details.theta.rad2deg().mean():.0f} degrees, usage {details.usage:.0%}")

# %% [markdown]
# ## Which number is the loss?
#
# The loss is $\beta\,|q-\mathrm{sg}[z]|^2+\gamma\,|z-\mathrm{sg}[q]|^2$. `beta` weighs the codebook loss and `gamma`
# the commitment loss, which papers and most code call beta. `convention` says what the sum of squares is divided by.

# %%
squares = (sequence - codes[nearest(sequence, codes)]).square().sum()
divisor = {"mean": sequence.numel(), "token": 4 * 10, "image": 4}
for convention in CONVENTIONS:
    vq = VectorQuantizer(dim, codebook_size, init=codes, convention=convention)
    assert_close(vq(sequence).loss, (vq.beta + vq.gamma) * squares / divisor[convention])

# %% [markdown]
# `"mean"` is `F.mse_loss`. Under `"image"` the squares of one sample are added up, so the same `gamma` weighs $N\cdot
# d$ times as much. Use the convention of your reconstruction loss.
#
# ## When does the codebook move?
#
# With `update="gradient"` the optimiser moves the codes, as any parameter. With `update="ema"` they follow a running
# mean: they are a buffer, and the loss has no codebook term. What a batch moves is moved at the **start of the next
# step**, revival included. So after every call the codes are still those that were handed out. A step is all calls up
# to a backward pass ({doc}`27_training_loop`).

# %%
vq = VectorQuantizer(dim, codebook_size, init=codes, update="ema", decay=0.9)
for _ in range(3):
    z_q, indices, loss = vq(sequence)
    assert torch.equal(vq.codes[indices], z_q)
assert not torch.equal(vq.codes, codes)  # two steps were taken; the third is due
assert vq.beta == 0 and not list(vq.parameters())

saved = VectorQuantizer(dim, codebook_size, update="ema", decay=0.9)
saved.load_state_dict(vq.state_dict())  # the move that is due is saved, too
assert torch.equal(saved(sequence).z_q, vq(sequence).z_q)

# %% [markdown]
# ## From vector-quantize-pytorch
#
# Its defaults are an EMA with decay 0.8 and a commitment weight of 1. A state dict of its `VectorQuantize` loads as it
# is. The cell below loads one into the other and compares, for each pair of arguments: indices, values, loss, the
# gradient to the input, and the codes after a step.

# %%
PAIRS = [  # an argument of theirs, and of ours
    ({}, {}),
    ({"rotation_trick": False}, {"estimator": "ste"}),
    ({"commitment_weight": 0.25}, {"gamma": 0.25}),
    ({"decay": 0.99}, {"decay": 0.99}),
    ({"learnable_codebook": True, "ema_update": False}, {"update": "gradient", "beta": 1.0}),
    ({"use_cosine_sim": True}, {"lookup": "normalised"}),
    ({"accept_image_fmap": True}, {"channel_first": True}),
    ({"heads": 2, "codebook_dim": dim}, {"heads": 2}),
    ({"codebook_dim": max(1, dim // 2)}, {"project_to": max(1, dim // 2)}),
]


def ours(**options):
    return VectorQuantizer(dim, codebook_size, **{"update": "ema", "decay": 0.8, "gamma": 1.0, **options})


def answers(layer, x, g):
    """Everything that one training call says and does."""
    x = x.clone().requires_grad_()
    z_q, indices, loss = layer(x)
    (z_q * g).sum().add(loss).backward()
    return {"z_q": z_q.detach(), "indices": indices, "loss": loss.detach(), "grad": x.grad}


def agree(their_options, our_options):
    heads = their_options.get("heads", 1)
    theirs = VectorQuantize(heads * dim, codebook_size, **their_options)
    mine = ours(**our_options)
    mine.load_state_dict(theirs.state_dict())
    x = images if "accept_image_fmap" in their_options else torch.randn(4, 10, heads * dim)
    g = torch.randn_like(x)
    found, expected = answers(mine, x, g), answers(theirs, x, g)
    expected["loss"] *= (mine.beta + mine.gamma) / theirs.commitment_weight  # see below
    assert_close(found, expected, rtol=1e-4, atol=1e-5)  # their value is q only up to rounding
    if theirs.learnable_codebook:
        assert_close(mine.codebook.weight.grad, theirs._codebook.embed.grad[0], rtol=1e-4, atol=1e-6)
    else:
        mine(x)  # takes the step of the first call
        assert_close(mine.codes, theirs.codebook.detach(), rtol=1e-4, atol=1e-4)  # they smooth their counts by 1e-5


try:
    from vector_quantize_pytorch import ResidualVQ, VectorQuantize
except ImportError:
    tried = "It is not installed here, so only the layout of its state dict was tried."
    state = {"_codebook.embed": codes[None], "_codebook.cluster_size": torch.ones(1, codebook_size)}
    mine = ours()
    mine.load_state_dict({**state, "_codebook.embed_avg": codes[None], "_codebook.initted": torch.tensor(True)})
    assert torch.equal(mine.codes, codes)
else:
    for pair in PAIRS:
        agree(*pair)
    theirs = ResidualVQ(dim=dim, num_quantizers=3, codebook_size=codebook_size).eval()
    mine = ResidualVectorQuantizer(dim, codebook_size, levels=3, wiring="detach", update="ema").eval()
    mine.load_state_dict(theirs.state_dict())
    assert torch.equal(mine(sequence).indices, theirs(sequence)[1])
    tried = f"All {len(PAIRS)} pairs agree, loaded from its state dict."

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
NOTES = [  # arguments without an equal: theirs, ours, and what differs
    ("threshold_ema_dead_code=2", 'revival="count", revival_at=2', "at the next step"),
    ("kmeans_init=True", 'init="kmeans"', "greedy starts; until little is saved, not 10 rounds"),
    ("sample_codebook_temp=t", "temperature=t", "theirs divides the distance by t, ours its square"),
    ("orthogonal_reg_weight=w", 'penalties={"orthogonal": w}', "over all codes"),
    ("affine_param=True", 'form="affine"', "scale and shift are learned, not running statistics"),
    ("separate_codebook_per_head", "Grouped(...)", "a quantiser a head; its state dict loads"),
    ("ResidualVQ", "ResidualVectorQuantizer", 'wiring="detach" is theirs; its state dict loads'),
    ("eval_beam_size=b", "ResidualVectorQuantizer(beam=b)", "a search in evaluation alone; never a larger error"),
    ("implicit_neural_codebook=True", 'method="qinco"', "of a level; another network, its state dict does not load"),
    ("FSQ(preserve_symmetry=True)", "FSQ(symmetric=True)", "equal"),
    ("FSQ(bound_hard_clamp=True)", 'FSQ(bound="clamp")', "equal"),
    ("mask=m", "mask=m", "theirs puts zeros where m is False, ours leaves the input"),
    ("freeze_codebook=True", "frozen=True", "in training, too; may be set later; the loss stays"),
    ("manual_ema_update=True", "vq.follow(optimizer)", "the optimiser's step moves the codes"),
    ("topk=k", "nearest_codes(x, k)", "indices alone"),
    ("get_codes_from_indices(i)", "decode(i)", ""),
    ("return_loss_breakdown=True", "details=True", ""),
    ("sync_codebook=True", 'process_group="world"', "by default the ranks of the DDP that calls"),
]


def written(options):
    return "<br>".join(f"`{name}={value!r}`" for name, value in options.items()) or "defaults"


base = "`update='ema'`<br>`decay=0.8`<br>`gamma=1.0`"
rows = ["| theirs | ours |", "|---|---|"]
rows += [f"| {written(theirs)} | {written(mine) if mine else base}<br>equal |" for theirs, mine in PAIRS]
rows += [f"| `{theirs}` | `{mine}`<br>{note} |" for theirs, mine, note in NOTES]
display(Markdown(f"{tried}\n\n" + "\n".join(rows)))

# %% [markdown]
# Three differences:
#
# - With a learnable codebook its loss reads half as large as ours, and the gradients are equal.
# - In evaluation mode it returns a loss of 0; ours is the same in both modes.
# - Its `straight_through=True` is Gumbel noise with a straight-through gradient, not STE as in this book.
#
# Of its own tests 72 have a counterpart here, and all of them pass through an adapter. But 14 of them pass blind: they
# set an option that has none here (`quant_grad_frac` between 0 and 1, a beam in training), and would not notice. So 58
# say that something agrees.
#
# An option of another library is refused, and the error says what it is here:

# %%
try:
    VectorQuantizer(dim, codebook_size, commitment_weight=1.0)
except TypeError as error:
    print(error)
else:
    raise AssertionError("an unknown option was accepted")

# %% [markdown]
# State dicts of EnCodec and audiocraft, Moshi, DAC and LlamaGen load as well: see {mod}`rotvq.quantizers.foreign`.
#
# ## From taming-transformers
#
# `VectorQuantizer2` {cite}`esser2021taming` keeps its codes in an `nn.Embedding`, takes channels first, and returns
# `z_q, loss, (perplexity, min_encodings, indices)`: mind the order. By default, `legacy=True`, its `beta` multiplies
# the *codebook* loss, and the commitment loss has weight 1. Only with `legacy=False` does it mean what the paper says.
#
# | theirs | ours |
# |---|---|
# | `VectorQuantizer2(n_e, e_dim, beta)` | `VectorQuantizer(e_dim, n_e, "ste", channel_first=True, ...)` |
# | `beta=0.25` (`legacy=True`) | `beta=0.25, gamma=1.0` |
# | `beta=0.25, legacy=False` | `beta=1.0, gamma=0.25` |
# | `sane_index_shape=True` | always so: indices are (B, H, W) |
# | `get_codebook_entry(i, shape)` | `decode(i)` |
# | `remap` | not available |
#
# The *value* of the loss is the same either way, so a log does not tell the two apart. The gradients do.


# %%
def taming(z, weight, beta, legacy):
    """What VectorQuantizer2 computes, from its description: z_q, loss, indices."""
    rows = z.movedim(1, -1)
    indices = (rows.square().sum(-1, keepdim=True) + weight.square().sum(-1) - 2 * rows @ weight.t()).argmin(-1)
    q = weight[indices]
    codebook, commitment = F.mse_loss(q, rows.detach()), F.mse_loss(q.detach(), rows)
    loss = beta * codebook + commitment if legacy else codebook + beta * commitment
    return (rows + (q - rows).detach()).movedim(-1, 1), loss, indices


checkpoint = {"quantize.embedding.weight": codes}  # as it stands in a saved VQGAN
losses = []
for legacy, weights in {True: {"beta": 0.25, "gamma": 1.0}, False: {"beta": 1.0, "gamma": 0.25}}.items():
    vqgan = nn.ModuleDict({"quantize": VectorQuantizer(dim, codebook_size, "ste", channel_first=True, **weights)})
    vqgan.load_state_dict(checkpoint)

    z, weight = images.clone().requires_grad_(), codes.clone().requires_grad_()
    z_q, loss, indices = taming(z, weight, 0.25, legacy)
    (z_q.square().sum() + loss).backward()

    x = images.clone().requires_grad_()
    mine = vqgan["quantize"](x)
    (mine.z_q.square().sum() + mine.loss).backward()

    assert torch.equal(mine.indices, indices)
    assert_close(mine.z_q, z_q)
    assert_close(mine.loss, loss)
    assert_close(x.grad, z.grad)
    assert_close(vqgan["quantize"].codebook.weight.grad, weight.grad)
    losses.append(loss.detach())
assert_close(*losses)  # the swap does not show in the loss

# %% [markdown]
# To go on with the rotation, write `"rotation"` for `"ste"`. If the codes start much shorter than the latents,
# $r=|q|/|z|$ is small, and so is every gradient that the rotation passes ({doc}`10_ste_vs_rotation`).
#
# ## Common mistakes
#
# **The wrong weight.** The commitment weight is `gamma` here. Passing your 0.25 as `beta` slows the codes and leaves
# the commitment at its default.
#
# **Expecting codes to learn from the reconstruction.** No estimator of the family passes anything to $q$: codes learn
# from the codebook loss or by EMA. Forget `loss` in the sum, and with `update="gradient"` they stay where they are.

# %%
vq = VectorQuantizer(dim, codebook_size, init=codes)
x = sequence.clone().requires_grad_()
z_q, _, loss = vq(x)
assert torch.autograd.grad(z_q.sum(), vq.codebook.weight, allow_unused=True, retain_graph=True) == (None,)
assert torch.autograd.grad(loss, vq.codebook.weight)[0].norm() > 0

# %% [markdown]
# **A detached $q$ in the losses.** `rotate` and every `Estimator` detach $q$ themselves. Do not hand them
# `z.detach()`: then nothing reaches the encoder, and nothing complains.
#
# **`loss += reconstruction`.** In-place addition changes the tensor that the quantiser returned. Here each call returns
# a new one. If a library returns a buffer of its own, the next call starts from the sum.

# %%
first = vq(sequence).loss.detach().clone()
_, _, loss = vq(sequence)
loss += 1.0
assert torch.equal(vq(sequence).loss, first)

# %% [markdown]
# **Usage of one batch.** `details.usage` counts the codes of one call. A call of $n$ tokens cannot use more than $n$
# codes, so 10 tokens with 64 codes look like a {term}`codebook collapse`. Count over a fixed number of tokens, the same
# for all that you compare.

# %%
one, many = (vq(torch.randn(n, dim), details=True).usage.item() for n in (10, 10_000))
assert one <= 10 / codebook_size <= 1 and one < many

# %% [markdown]
# **Channels last by default.** An image tensor without `channel_first=True` is refused, unless its width happens to
# be `dim`. Then it is quantised along the wrong axis, without a warning.

# %%
try:
    VectorQuantizer(dim, codebook_size)(torch.randn(4, dim, 6, dim + 1))
except ValueError as error:
    print(error)
else:
    raise AssertionError("a wrong number of channels was accepted")

# %% [markdown]
# **A norm or weight decay on the codes.** The rotation's gradient is $|q|/|z|$ times as long as $g$. Whatever
# shortens the codes shortens the encoder's gradient. Keep codes that a gradient moves out of weight decay,
# as {func}`rotvq.training.train.fit` does. No decay reaches EMA codes.

# %%
x = sequence.clone().requires_grad_()
q = codes[nearest(sequence, codes)]
long, short = (torch.autograd.grad(ESTIMATORS["rotation"](x, s * q).sum(), x)[0] for s in (1.0, 0.1))
assert_close(short, 0.1 * long)
