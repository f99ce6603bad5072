# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (nb-residual)=
# # Residual quantisers
#
# ```{admonition} In short
# :class: tip
# Software passes the gradient through a cascade of quantisers in three ways, all of them called residual vector
# quantisation. *Graph* and *once* keep the balance law. *Detach* does not: at {glue:text}`levels` levels it multiplies
# the reconstruction gradient by {glue:text}`levels` under STE, and by {glue:text}`times:.1f` under the rotation with
# codes by k-means. In *graph* and *once* the rotation comes nearer to STE with every level that lowers the error.
# <claim:B-049>
# ```
#
# A residual quantiser takes the nearest code, subtracts it, takes the nearest code of a second codebook to what is left
# over, and so on {cite}`zeghidour2021soundstream`. Codecs of speech and music are built on it. There are *three* ways
# in which software passes the gradient through such a cascade. All three are called residual vector quantisation, RVQ,
# and they compute the same value. What the encoder receives differs:
#
# - *graph*: what is left over passes its gradient through the levels. Under the straight-through estimator the
#   commitment of every level but the first is lost.
# - *detach*: it passes it past them. Under STE the reconstruction gradient arrives $N$ times, where $N$ is the number
#   of levels. That is the same as dividing the commitment weight $\gamma$ by $N$ and multiplying the encoder's whole
#   gradient by $N$. Under the rotation each level multiplies what it passes on by the length of its code over the
#   length of what it was given.
# - *once*: one estimator leads from the latent to the sum of the codes. It is the single quantiser of the other
#   chapters, with a finer codebook.
#
# The rotation trick keeps $Gz=q$, and with it the balance law of {ref}`nb-balance`, in *graph* and in *once* but not in
# *detach*. In these two it comes nearer to STE as the error of the cascade falls. For the worst gradient it does so
# equally fast in both: the distance is exactly the relative error of the whole cascade.

# %% tags=["parameters"]
dim: int = 32  # of the latents
codebook_size: int = 128  # codes of a level
levels: int = 8  # of the deepest cascade
latents: int = 8192  # normal latents from which the codes are made
seed: int = 0  # of the latents

# %% tags=["hide-input"]
from rotvq.page import parameters

parameters.check(globals(), dim=(8, 256), codebook_size=(2, 4096), levels=(4, 16), latents=(16, 10**6))

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
import torch

from book.algebra import frobenius_norm, identity, norm, spectral_norm
from book.statements import show
from book.theory import residual
from book.theory.one_equation import definition
from rotvq.page.figures import ARMS, INK, MUTED, WIDTH, Figure, glue, spare, style
from rotvq.quantizers.residual import ResidualVectorQuantizer

plt.rcParams.update(style())
torch.set_num_threads(1)

# %% [markdown]
# ## Three wirings
#
# Level $i$ is given $x_i$, with $x_1=z$. It takes the code $q_i$ and leaves $x_{i+1}=x_i-q_i$ to the next one. The
# decoder sees $z_q=q_1+\dots+q_N$. Let $t_i$ be what the estimator of level $i$ gives: it has the value $q_i$, and
# passes $G_i^\top g$ to $x_i$ when $g$ arrives at it. With $\mathrm{sg}$ for "stop gradient" the wirings are
#
# | wiring | what is left over | what the decoder sees |
# |---|---|---|
# | graph | $x_{i+1}=x_i-t_i$ | $\sum_i t_i$ |
# | detach | $x_{i+1}=x_i-\mathrm{sg}[t_i]$ | $\sum_i t_i$ |
# | once | $x_{i+1}=x_i-\mathrm{sg}[q_i]$ | the estimator's value from $z$ to $\sum_i q_i$ |
#
# In statements about the rotation no $x_i$ is $0$, and no $q_i$ is a negative multiple of $x_i$, where $R$ is not
# defined. An $x_i$ that is $0$ has a paragraph of its own.

# %% tags=["hide-input"]
STYLES = {wiring: spare(wiring, number) for number, wiring in enumerate(("graph", "detach", "once"))}
FLOWS = {  # whether the gradient flows from x_i to t_i, from t_i to what is left over, and from t_i to the sum
    "graph": (True, True, True),
    "detach": (True, False, True),
    "once": (False, False, False),
}


def draw_wiring(ax, wiring: str) -> None:
    """Three levels: what they are given above, what they give below, the sum to the right."""
    color, (inward, onward, outward) = STYLES[wiring].color, FLOWS[wiring]
    given, taken, end = [(2 * i, 1.0) for i in range(3)], [(2 * i + 0.85, 0.0) for i in range(3)], (6.5, -0.8)
    for i, (x, t) in enumerate(zip(given, taken)):
        ax.text(*x, f"$x_{i + 1}$" if i else "$z$", ha="center", va="center")
        ax.text(*t, f"$t_{i + 1}$", ha="center", va="center")
        arrows = [(x, t, inward), (t, end, outward)]
        arrows += [(x, given[i + 1], True), (t, given[i + 1], onward)] if i < 2 else []
        for start, stop, flows in arrows:
            look = {"color": color, "lw": 1.6} if flows else {"color": MUTED, "lw": 1.0, "ls": (0, (2, 2))}
            ax.annotate("", stop, start, arrowprops={"arrowstyle": "->", "shrinkA": 8, "shrinkB": 8, **look})
    if wiring == "once":
        bent = {"arrowstyle": "->", "color": color, "lw": 1.6, "shrinkA": 8, "shrinkB": 8}
        ax.annotate("", end, given[0], arrowprops={**bent, "connectionstyle": "arc3,rad=-0.35"})
    ax.text(*end, "$z_q$", ha="center", va="center")
    ax.set(xlim=(-0.4, 6.9), ylim=(-1.0, 1.7 if wiring == "once" else 1.3), title=wiring)
    ax.axis("off")


fig, axes = plt.subplots(3, 1, figsize=(WIDTH, 4.8), layout="constrained")
for ax, wiring in zip(axes, FLOWS):
    draw_wiring(ax, wiring)
alt = """Three diagrams of a cascade of three levels. In graph every arrow carries gradient. In detach the arrows from
what a level gives to what is left over do not. In once none of the levels' arrows do, and one arrow leads from the
latent to the sum."""
glue("wired", Figure(fig, alt))

# %% [markdown]
# ```{glue:figure} wired
# :name: fig-wired
#
# The wirings have equal values and different gradients: values flow along all arrows, gradients back along the solid
# ones alone. A commitment loss is taken at each of $z,x_2,x_3$.
# ```
#
# The running pair as a first level, with a second code:

# %% tags=["hide-input"]
pair = {"z": (1.0, 0.0), "q_1": (0.8, 0.6), "q_2": (0.2, -0.5)}
pair["x_2"] = tuple(a - b for a, b in zip(pair["z"], pair["q_1"]))
pair["z_q"] = tuple(a + b for a, b in zip(pair["q_1"], pair["q_2"]))
fig, ax = plt.subplots(figsize=(4.2, 3.2))
ROTATED, PLAIN = {"color": ARMS["rotation"].color}, {"color": INK}
for name, start, look in (
    ("z", (0.0, 0.0), PLAIN),
    ("q_1", (0.0, 0.0), ROTATED),
    ("x_2", pair["q_1"], PLAIN),
    ("q_2", pair["q_1"], ROTATED),
):
    (x, y), (dx, dy) = start, pair[name]
    ax.annotate("", (x + dx, y + dy), start, arrowprops={"arrowstyle": "->", "linewidth": 1.5, **look})
places = {"$z$": (1.03, -0.08), "$q_1$": (0.76, 0.66), "$x_2$": (0.74, 0.25), "$q_2$": (0.98, 0.35)}
for label, place in (places | {"$z_q=q_1+q_2$": (1.05, 0.1), "0": (-0.07, -0.02)}).items():
    ax.text(*place, label)
ax.plot(*pair["z_q"], "o", color=ROTATED["color"], markersize=5)
ax.set(aspect="equal", xlim=(-0.15, 1.45), ylim=(-0.2, 0.85))
ax.axis("off")
alt = """From 0 arrows lead to the latent z and to its code q1. From q1 an arrow x2 leads on to z, and the code q2,
nearly the same arrow, leads to the sum of both codes, close to z."""
glue("pair", Figure(fig, alt))

# %% [markdown]
# ```{glue:figure} pair
# :name: fig-cascade-pair
#
# The second code makes good most of what the first leaves over: $z_q=(1,0.1)$ for $z=(1,0)$, $q_1=(0.8,0.6)$,
# $q_2=(0.2,-0.5)$. Each level has an estimator for its own arrow; *once* has one for $z$ and $z_q$.
# ```
#
# ```{prf:theorem} What flows back through a cascade
# :label: thm-wirings
#
# In all three wirings $z_q$ is the sum of the codes. The gradient that reaches $z$ is $J^\top g$ with
#
# $$ \begin{aligned}
#    J_{\rm graph}&=I-(I-G_N)\cdots(I-G_1),\\
#    J_{\rm detach}&=\sum_i G_i,\qquad J_{\rm once}=G,
#    \end{aligned} $$ (eq-wirings)
#
# where $G$ is the estimator's matrix for the pair $(z,z_q)$. <claim:B-048>
# ```
#
# ```{prf:proof}
# $G_i$ is detached, so $dt_i=G_i\,dx_i$. In *graph* $dx_{i+1}=dx_i-dt_i=(I-G_i)\,dx_i$, and the sum of the $t_i$ is
# $z-x_{N+1}$. In *detach* $dx_i=dz$ for every $i$. *Once* is the definition of an estimator.
# ```

# %%
show(residual.wirings)

# %% [markdown]
# For STE all $G_i$ are $I$. Then $J$ is $I$, $N\cdot I$ and $I$.
#
# ```{prf:corollary} Detach divides the commitment
# :label: cor-divides
#
# Under STE the gradient that reaches $z$ in *detach* at commitment weight $\gamma$ is $N$ times the gradient that
# reaches it in *once* at $\gamma/N$. <claim:B-049>
# ```
#
# ```{prf:proof}
# The commitment of level $i$ is $\gamma|x_i-\mathrm{sg}\,q_i|^2$. In both wirings $dx_i=dz$, so together they give
# $2\gamma\sum_i x_{i+1}$. The first gradient is $Ng+2\gamma\sum_i x_{i+1}$, the second
# $g+2\frac\gamma N\sum_i x_{i+1}$.
# ```
#
# An optimiser such as Adam does not see a factor on the whole gradient. To it, *detach* is *once* with a $\gamma$ that
# is $N$ times smaller, as far as the encoder is concerned. So a $\gamma$ that was found in one wiring means something
# else in another.

# %%
show(residual.times_levels)

# %% [markdown]
# ## Who uses which
#
# Read in the sources, at the commits that are named.
#
# | software | wiring | read in | at |
# |---|---|---|---|
# | EnCodec {cite}`defossez2023encodec` | graph | `encodec/quantization/core_vq.py` | 0e2d0ae |
# | SpeechTokenizer {cite}`zhang2024speechtokenizer` | graph | `speechtokenizer/quantization/core_vq.py` | 30c96fb |
# | DAC {cite}`kumar2023dac` | graph, with maps | `dac/nn/quantize.py` | c7cfc5d |
# | RQ-VAE-Recommender {cite}`botta2024rqvae` | graph | `modules/rqvae.py` | 0e4ae0c |
# | vector-quantize-pytorch {cite}`wang2020vqp` | detach by default | `residual_vq.py` | 0d7d1aa |
# | MoMask {cite}`guo2024momask` | detach | `models/vq/residual_vq.py` | 94a6636 |
# | VQ-BeT {cite}`lee2024vqbet` | detach | `vector_quantize_pytorch/residual_vq.py`, a copy | 09d4851 |
# | LeRobot's VQ-BeT | detach | `lerobot/policies/vqbet/vqbet_utils.py` | 7427f31 |
# | Cosmos tokenizer {cite}`nvidia2024cosmos` | detach, of FSQ | `cosmos_tokenizer/modules/quantizers.py` | 3584ae7 |
# | ESPnet {cite}`shi2024espnetcodec` | detach | pull request 6268, not the file | 2025-10-20 |
# | AudioCraft {cite}`copet2023musicgen` | once | `audiocraft/quantization/core_vq.py` | 896ec7c |
# | Moshi, Mimi {cite}`defossez2024moshi` | once | `moshi/moshi/quantization/core_vq.py` | e6a55d2 |
# | RQ-VAE {cite}`lee2022rqvae` | once | `rqvae/models/rqvae/quantizations.py` | c3de514 |
#
# Three of them changed. AudioCraft was *graph* until a commit of 2023-12-11, "fix commitment loss", whose code points
# to [an issue of EnCodec](https://github.com/facebookresearch/encodec/issues/25): deep levels receive no gradient from
# their commitments. ESPnet was *graph* until the pull request; the file as it is now we could not read.
# RQ-VAE-Recommender was *detach* from 2024-12-15 to 2025-01-08 and is *graph* again.
# [A thread there](https://github.com/EdoardoBotta/RQ-VAE-Recommender/issues/67) names both, the commitments that are
# lost in the one and the factor $N$ that the other brings. In vector-quantize-pytorch `quant_grad_frac` leads from
# *detach* to *graph*, and `diveq=True` is *once* with the estimator of that name.
#
# The package of this book has all three, and agrees with vector-quantize-pytorch in values and gradients for *graph*
# and *detach*, under STE and under the rotation.
#
# ## The balance law of a cascade
#
# ```{prf:theorem} Which wirings are balanced
# :label: thm-cascade-balance
#
# Let each level carry what it is given to its code, $G_ix_i=q_i$, as the rotation and the reflection do; in *once* let
# the one $G$ carry $z$ to $z_q$. Then
#
# $$ J_{\rm graph}\,z=J_{\rm once}\,z=z_q, $$
#
# and {prf:ref}`thm-balance` holds for the cascade as for one quantiser:
# $\langle(E,b),\partial L_{\rm rec}\rangle=\langle W,\partial_WL_{\rm rec}\rangle$. In *detach* the two sides differ by
# $\mathbb E\langle g,\sum_iG_iz-z_q\rangle$. <claim:B-050>
# ```
#
# ```{prf:proof}
# $(I-G_i)x_i=x_i-q_i=x_{i+1}$. So the product of {eq}`eq-wirings` takes $z$ to $x_2$, then to $x_3$, and at last to
# $x_{N+1}$, and $J_{\rm graph}\,z=z-x_{N+1}=z_q$. For *once* it is the assumption. The proof of
# {prf:ref}`thm-balance` uses of $G$ only that it is detached: read $J$ for it.
# ```
#
# So in *graph* and in *once* the rotation knows the exact derivative of the loss when latents and all codebooks grow
# together ({prf:ref}`prop-symmetry`), and does not resist shrinking that the decoder compensates. Under STE the two
# sides of the law differ there by $\mathbb E\langle g,z-z_q\rangle$, the error of the whole cascade, which gets small
# with depth. In *detach* they differ by $\mathbb E\langle g,Nz-z_q\rangle$, which does not.

# %%
show(residual.cascade_balanced)

# %% [markdown]
# A residual that is exactly zero is ordinary here: a latent may be a code, or padding. The package then takes $G_i=I$,
# as stated in {ref}`the-rotation`. If the next codebook has a code $0$ it takes that one, $q_i=x_i=0$, so $z_q=z$ and
# $J=I$: all of the above holds. If it has none, the level must spoil what was perfect, and no matrix takes $x_i=0$ to
# $q_i$. Then *graph* hands on $g$ itself and misses the balance by $\langle g,z_q-z\rangle$; *once* still has it.

# %%
show(residual.nothing_left_over)

# %% [markdown]
# ## How far from straight-through
#
# ```{prf:theorem} The distance is the relative error
# :label: thm-cascade-distance
#
# Under the rotation trick, in the spectral norm,
#
# $$ \|J_{\rm graph}-I\|=\|J_{\rm once}-I\|=\frac{|z-z_q|}{|z|}. $$ (eq-cascade-distance)
#
# In both wirings a gradient along what is left over, $x_{N+1}=z-z_q$, changes by just this share of its length:
# $|J^\top x_{N+1}-x_{N+1}|=|x_{N+1}|^2/|z|$. <claim:B-051>
# ```
#
# ```{prf:proof}
# For *once* this is {prf:ref}`thm-distance` for the pair $(z,z_q)$: in their plane $G-I$ stretches all vectors alike,
# and $x_{N+1}$ lies in it. In *graph* the same theorem gives $\|I-G_i\|=|x_{i+1}|/|x_i|$ for each level. So the norm of
# the product is at most $|x_{N+1}|/|z|$: the other lengths cancel. And it is no less, since the product $A$ takes $z$
# to $x_{N+1}$. For the gradient: $|A^\top x_{N+1}|\,|z|\ge\langle A^\top x_{N+1},z\rangle=|x_{N+1}|^2$.
# ```
#
# Two directions must be told apart. Of all *moves* of $z$, the one along $z$ is changed most:
# $J_{\rm graph}z-z=-x_{N+1}$. Of all *gradients*, $J_{\rm graph}^\top$ changes one along $x_{N+1}$ most, what the
# cascade leaves over, by $|x_{N+1}|/|z|$ of its length; one along $z$ it may change by less. For the worst gradient the
# rotation of a deep cascade is as near to STE as that of a single quantiser of the same error, in either of the two
# wirings. There is no second way in which depth helps. But a gradient in many dimensions mostly points elsewhere.
#
# ```{prf:proposition} Blind directions
# :label: prop-blind-cascade
#
# To a gradient $g$ that is orthogonal to $z$ and to all codes that it took, the rotation does in all three wirings what
# a number does. With $r_i=|q_i|/|x_i|$ it is
#
# $$ \begin{aligned}
#    J_{\rm graph}^\top g&=\Big(1-\prod_i(1-r_i)\Big)g,\\
#    J_{\rm detach}^\top g&=\Big(\sum_ir_i\Big)g,\qquad J_{\rm once}^\top g=\frac{|z_q|}{|z|}\,g.
#    \end{aligned} $$ (eq-blind-cascade)
#
# <claim:B-052>
# ```
#
# ```{prf:proof}
# $x_i$ and $q_i$ are in the span of $z$ and the codes. On what is orthogonal to both of them $R_i$ is the identity and
# $G_i=r_iI$. The same holds for $(z,z_q)$.
# ```
#
# ```{prf:proposition} There, graph is nearer than once
# :label: prop-graph-nearer
#
# If $q_1,\dots,q_N$ and $x_{N+1}$ are pairwise orthogonal, then $0\le\prod_i(1-r_i)\le1-|z_q|/|z|$. <claim:B-053>
# ```
#
# ```{prf:proof}
# Let $u_i=|x_{i+1}|^2/|x_i|^2$ and $f(u)=1-\sqrt{1-u}$. By Pythagoras $r_i=\sqrt{1-u_i}$ and
# $|z_q|/|z|=\sqrt{1-u_1\cdots u_N}$, so $f(u)f(v)\le f(uv)$ for $u,v\in[0,1]$ is enough. Let $a=\sqrt{1-u}$,
# $b=\sqrt{1-v}$ and $c=\sqrt{1-uv}$. Since $f(u)=u/(1+a)$, it says that $c\le a+b+ab$, and
# $c^2=1-(1-a^2)(1-b^2)=a^2+b^2-a^2b^2\le(a+b+ab)^2$.
# ```

# %%
show(residual.distance_of_a_cascade)

# %%
show(residual.blind_directions)

# %%
show(residual.graph_is_nearer)

# %% [markdown]
# Trained codes are orthogonal to what they leave over on average, in each cell ({ref}`nb-balance`). How much of this is
# seen in practice? Normal latents, each level's codes by k-means on what the levels before it left over, and latents
# that k-means has not seen:

# %%
generator = torch.Generator().manual_seed(seed)
vq = ResidualVectorQuantizer(dim, codebook_size, levels, init="kmeans", generator=generator)
vq(torch.randn(latents, dim, generator=generator))  # codes start level by level
z = torch.randn(128, dim, generator=generator, dtype=torch.float64)
details = vq.double().eval()(z, details=True)


def size_of(matrix: torch.Tensor) -> float:
    """Of a random direction's image, the root mean square length over directions and latents."""
    return float((frobenius_norm(matrix).square().mean() / dim).sqrt())


def root_mean_square(numbers: torch.Tensor) -> float:
    return float(numbers.square().mean().sqrt())


rows, eye = [], identity(z)
product, total, added = eye.expand(len(z), -1, -1), torch.zeros_like(z), torch.zeros(len(z), dim, dim).double()
shrinks = torch.ones(len(z), 1).double()
for depth, level in enumerate(details.levels, 1):
    x, q = level.z.detach(), level.q.detach()
    G = definition("rotation", x, q)
    product, added, total = (eye - G) @ product, added + G, total + q
    shrinks = shrinks * (1 - norm(q) / norm(x))
    once = definition("rotation", z, total)
    rows.append(
        {
            "levels": depth,
            "error": root_mean_square(norm(z - total) / norm(z)),
            "graph": size_of(product),
            "once": size_of(once - eye),
            "detach/N": size_of(added / depth - eye),
            "graph, blind": root_mean_square(shrinks),
            "once, blind": root_mean_square(1 - norm(total) / norm(z)),
            "detach": size_of(added),
        }
    )
    worst = [spectral_norm(product), spectral_norm(once - eye)]
    assert all(torch.allclose(one, norm(z - total) / norm(z), rtol=1e-9) for one in worst)
found = pd.DataFrame(rows).set_index("levels")

first, last = found.iloc[0], found.iloc[-1]
for key, value in {"levels": levels, "first": first.graph, "error": last.error, "times": last.detach}.items():
    glue(key, value)
for wiring in ("graph", "once", "detach/N"):
    glue(f"last_{wiring[:6]}", last[wiring])
for wiring in ("graph", "once"):
    glue(f"blind_{wiring}", last[f"{wiring}, blind"])
if (dim, codebook_size, levels, latents) == (32, 128, 8, 8192):  # what the text says of these values
    assert (found.graph[1:] < found.once[1:]).all() and (found["graph, blind"][1:] < found["once, blind"][1:]).all()
    assert last.graph < 0.2 * first.graph and last.once < 0.4 * first.once and last["detach/N"] > 0.9 * first.graph
    assert last["graph, blind"] < 0.15 * last["once, blind"] and last["graph, blind"] < 0.2 * last.graph
    assert 0.4 * levels < last.detach < levels
    of_blind = (dim - levels - 1) / dim * last["graph, blind"] ** 2
    assert of_blind < 0.05 * last.graph**2
shown = found.style.format("{:.3f}").set_table_styles([{"selector": "th, td", "props": "padding: 0.1em 0.5em"}])
shown.format_index("{:d}")

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(WIDTH, 3.4))
depths = found.index
ax.semilogy(depths, found.error, color=INK, marker="x", label="worst gradient: graph, once")
for wiring, column in (("detach", "detach/N"), ("once", "once"), ("graph", "graph")):
    arm = STYLES[wiring]
    ax.semilogy(depths, found[column], color=arm.color, marker="o", label=f"mean: {column}")
    if wiring != "detach":
        ax.semilogy(depths, found[f"{column}, blind"], color=arm.color, linestyle="--", label=f"blind: {column}")
ax.set(xlabel="levels", ylabel="distance from $I$", xticks=depths, ylim=(found.min().min() / 5, 1.5))
ax.legend(fontsize=8, loc="lower left")
alt = """Distance of J from the identity against the number of levels, logarithmic. Highest, that of the worst
gradient, the same for graph and once, falls slowly. The mean over directions falls faster for graph than for once, and
not at all for detach over N. On blind directions graph falls fastest, in a straight line."""
glue("distance", Figure(fig, alt))

# %% [markdown]
# ```{glue:figure} distance
# :name: fig-cascade-distance
#
# On blind directions *graph* comes far closer to STE with more levels than *once*: how far the rotation is from STE in
# a cascade. *Worst gradient*: the spectral norm, equal to the relative error. *Mean*: how much a gradient of random
# direction changes. *Blind*: the same for directions orthogonal to the latent and its codes. <claim:B-051>
# <claim:B-052>
# ```
#
# At one level the three wirings are one, and a random gradient changes by {glue:text}`first:.2f` of its length. At
# {glue:text}`levels` levels it changes by {glue:text}`last_graph:.2f` in *graph* and by {glue:text}`last_once:.2f` in
# *once*. In *detach*, divided by $N$, it still changes by {glue:text}`last_detach:.2f`; undivided, $J$ multiplies it by
# {glue:text}`times:.1f` <claim:B-052>. On blind directions *graph* is at {glue:text}`blind_graph:.4f`, where *once* is
# at {glue:text}`blind_once:.3f` <claim:B-053>. That is a product of one factor a level. The mean over all directions
# falls more slowly. Nearly all that remains of it is in the span of $z$ and its codes, where for the worst gradient
# *graph* is at {glue:text}`error:.2f` like *once* <claim:B-051>.
#
# ## The commitments of deep levels
#
# ```{prf:theorem} What commitment reaches the encoder
# :label: thm-deep-commitment
#
# From $|x_i-\mathrm{sg}\,q_i|^2$ the latent receives $2C_i^\top x_{i+1}$ with
#
# $$ C_i=(I-G_{i-1})\cdots(I-G_1)\ \text{ (graph)},\qquad C_i=I\ \text{ (detach, once)}. $$
#
# In *graph* under STE $C_i=0$ for every $i>1$. Under the rotation $\|C_i\|=|x_i|/|z|$ and $C_iz=x_i$. <claim:B-054>
# ```
#
# ```{prf:proof}
# $C_i$ is $\partial x_i/\partial z$, as in the proof of {prf:ref}`thm-wirings`. Under STE its factors are zero. Under
# the rotation the norm is that of the product of $i-1$ levels in the proof of {prf:ref}`thm-cascade-distance`, and the
# last equation is $(I-G_j)x_j=x_{j+1}$, from one level to the next.
# ```

# %%
show(residual.deep_commitments_are_lost)

# %%
show(residual.deep_commitments_arrive)

# %% [markdown]
# So in *graph* the two estimators do not differ in $G$ alone. Under STE the encoder is told of the first level's error
# only; under the rotation of all of them, damped by at most $|x_i|/|z|$. A comparison of the two in this wiring changes
# two things at once. In *once* it changes one.
#
# ```{prf:corollary} Who pays for the length of the latents in a cascade
# :label: cor-cascade-flow
#
# Let the codes of each level be the means of what it is given, let $L$ contain $\gamma$ times all commitments, and let
# there be no weight decay. Under the flow of {prf:ref}`cor-flow`, in *graph*,
#
# $$ \tfrac12\tfrac d{dt}\big(|(E,b)|^2-|W|^2\big)=-2\gamma\sum_i\mathbb E|x_{i+1}|^2 $$
#
# under the rotation, and under STE
#
# $$ \tfrac12\tfrac d{dt}\big(|(E,b)|^2-|W|^2\big)=\mathbb E\langle g,z_q-z\rangle-2\gamma\,\mathbb E|x_2|^2. $$
#
# <claim:B-055>
# ```
#
# ````{dropdown} Proof
# As {prf:ref}`cor-flow`. The reconstruction loss gives $\mathbb E\langle g,z_q-Jz\rangle$, which is $0$ under the
# rotation. The commitment of level $i$ gives
# $-2\gamma\,\mathbb E\langle C_i^\top x_{i+1},z\rangle=-2\gamma\,\mathbb E\langle x_{i+1},C_iz\rangle$, with $C_iz=x_i$
# under the rotation and $C_iz=0$ for $i>1$ under STE. Last,
# $\mathbb E\langle x_{i+1},x_i\rangle=\mathbb E|x_{i+1}|^2+\mathbb E\langle x_{i+1},q_i\rangle$, and the last term is
# $0$ since $x_i-q_i$ has mean zero in each cell.
# ````

# %%
show(residual.who_pays_in_a_cascade)

# %% [markdown]
# ## Maps between latents and codes
#
# DAC maps what a level is given to 8 dimensions, quantises there, and maps the code back.
#
# ```{prf:proposition} Levels with maps
# :label: prop-cascade-maps
#
# Where level $i$ maps by $P_i$ into the space of its codes and by $O_i$ back, $G_i$ in {eq}`eq-wirings` becomes
# $O_iG_iP_i$, where the inner $G_i$ is that of the pair in the space of the codes. So under STE
# $J_{\rm graph}=I-\prod_i(I-O_iP_i)$. <claim:B-056>
# ```
#
# ```{prf:proof}
# The chain rule: $dt_i=O_iG_iP_i\,dx_i$. Constants of the maps drop out.
# ```
#
# $O_iP_i$ has rank 8 at most, and is not $I$. So in DAC STE does not give the encoder $g$ itself, and the commitments
# of deep levels are not lost there: $C_i=\prod_{j<i}(I-O_jP_j)$. What is said of EnCodec is not true of every cascade
# in *graph*.

# %%
show(residual.projected_levels)

# %% [markdown]
# ## What to do with this
#
# The quantiser of this page takes the wiring as an argument. It takes any estimator and any method of the package for
# its levels, one for all or a list, and it decodes any number of levels from the first on:

# %%
codec = ResidualVectorQuantizer(
    dim=8, codebook_size=64, levels=4, wiring="once", update="ema", init="kmeans", dropout=0.5, generator=generator
)
x = torch.randn(16, 50, 8, generator=generator)
codec(x)  # training: the codes start, and then the number of levels varies from sample to sample
z_q, indices, loss = codec.eval()(x)
fewer = [float((x - codec.decode(indices[..., :n])).square().mean()) for n in (1, 2, 3, 4)]
assert torch.equal(codec.decode(indices), z_q) and fewer == sorted(fewer, reverse=True)
[round(error, 3) for error in fewer]

# %% [markdown]
# - *Say which wiring you use.* "RVQ with STE" names three methods, and $\gamma$ has another meaning in each.
# - *Moving from one to another, move $\gamma$ too.* From *once* to *detach* it takes $N\gamma$ to get the same
#   direction under STE ({prf:ref}`cor-divides`). From *graph* to either, commitments that were not there before appear.
# - *To compare estimators, use once.* There, STE and rotation differ in one matrix, as in the other chapters of this
#   book. In *graph* they also differ in which commitments arrive.
# - *Do not expect much of the rotation at depth.* What it can change is bounded by the relative error of the whole
#   cascade, and in *graph* it changes far less than that in most directions.
#
# ## What to keep
#
# - Three wirings give one value and three gradients: $J$ is $I-\prod_i(I-G_i)$, $\sum_iG_i$ or one $G$.
# - *Graph* and *once* take $z$ to $z_q$ and keep the balance law. *Detach* does not: under STE it multiplies the
#   reconstruction gradient by $N$.
# - In *graph* and *once* the rotation of a cascade is as far from STE as the relative error of the whole cascade. The
#   worst gradient is one along what is left over.
#
# ## What this does not say
#
# Which wiring gives the better codec. The laws hold at each step and for every network; {doc}`30_residual_codec` trains
# one. There STE in *graph* has the lowest error, and the rotation does not come near it, which these laws do not
# explain: it stays open how much the lost commitments of *graph* matter. That detaching changed nothing in DAC,
# as [one report](https://github.com/descriptinc/descript-audio-codec/issues/107) says, does not settle it: there they
# are not lost.

# %% [markdown]
# ## Exercises
#
# **1.** The pair as a first level: $z=(1,0)$, $q_1=(0.8,0.6)$. The second level has the code $q_2=(0.2,-0.5)$. What are
# $z_q$ and the relative error, and how far is the rotation from STE in *graph*?
#
# ```{dropdown} Solution
# $x_2=(0.2,-0.6)$, $z_q=(1,0.1)$ and $x_3=(0,-0.1)$. The relative error is $0.1$, and by {eq}`eq-cascade-distance` so
# is the distance.
# ```

# %% tags=["hide-input"]
z, first, second = (torch.tensor([x], dtype=torch.float64) for x in ([1.0, 0.0], [0.8, 0.6], [0.2, -0.5]))
left = [eye[:2, :2] - definition("rotation", x, q) for x, q in ((z, first), (z - first, second))]
assert abs(float(spectral_norm(left[1] @ left[0])) - 0.1) < 1e-12
assert abs(float(norm(z - first - second)) - 0.1) < 1e-12

# %% [markdown]
# **2.** A cascade of four levels was trained with STE in *detach* at $\gamma=\frac14$. Which $\gamma$ gives the encoder
# the same direction in *once*? Which in *graph*?
#
# ```{dropdown} Solution
# $\gamma/4=\frac1{16}$ in *once*, by {prf:ref}`cor-divides`. In *graph* there is none: the commitments of the levels
# after the first do not arrive, so what it receives is $g+2\gamma x_2$, and not a multiple of
# $4g+\frac12(x_2+\dots+x_5)$ in general.
# ```

# %% tags=["hide-input"]
g, x2, rest = torch.randn(3, 6, generator=generator, dtype=torch.float64)
assert torch.allclose(4 * g + 2 / 4 * (x2 + rest), 4 * (g + 2 / 16 * (x2 + rest)))
plane = torch.stack([g, x2])  # what graph can give at any gamma
beyond = rest - torch.linalg.lstsq(plane.T, rest[:, None]).solution.T[0] @ plane
assert norm(beyond[None]) > 0.1

# %% [markdown]
# **3.** The pair in *graph* under the rotation, with $\gamma=1$: what does the commitment of the second level send to
# $z$ if it leaves $x_3=(0,-0.1)$ over, and what under STE?
#
# ```{dropdown} Solution
# $2C_2^\top x_3$ with $C_2=I-R=\begin{pmatrix}0.2&0.6\\-0.6&0.2\end{pmatrix}$, so $(0.12,-0.04)$. Under STE $C_2=0$,
# and nothing arrives.
# ```

# %% tags=["hide-input"]
last_left = z - first - second
assert torch.allclose(2 * last_left @ left[0][0], torch.tensor([[0.12, -0.04]], dtype=torch.float64))
