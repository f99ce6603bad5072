# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (missing-derivative)=
# # Quantisation and the missing derivative
#
# ```{admonition} In short
# :class: tip
# The quantiser has a derivative almost everywhere, and it is zero: all of its effect is in the jumps between cells. The
# reconstruction loss reaches the encoder and never the codes, which learn from a loss of their own. Straight-through
# hands the decoder's gradient on unchanged. On the line, with a quadratic loss and uniform noise one cell wide, its
# mean is the gradient of the autoencoder without quantiser.
# ```
#
# ```{glue:figure} steps
# :name: fig-steps
#
# The quantised loss has {glue:text}`jumps` jumps and no slope: $L(q)=\frac12|q-y|^2$ along a line through a codebook,
# where the star $y$ is the target.
# <claim:A-078> <claim:A-080>
# ```
#
# A vector quantiser replaces a latent by the nearest of $K$ codes {cite}`gray1984vector`. A VQ-VAE puts one between an
# encoder and a decoder and trains all three {cite}`vandenoord2017vqvae`. The obstacle is said to be that the quantiser
# has no derivative. It has one almost everywhere, and it is zero. This chapter says what that means, who learns from
# which term of the loss, and how good the usual substitute is.
#
# Three texts are discussed throughout. *The paper* proposed the rotation trick {cite}`fifty2025rotation`. *The article*
# is a blog post on the paper {cite}`su2024rotation`. *The derivation* is a long text of definitions, propositions and
# proofs that is appended to the article.
#
# Symbols, for the whole book: $z\in\mathbb R^d$ is the encoder's output, $q$ its code, $z_q$ what the decoder sees,
# $g=\partial L/\partial z_q$ the gradient that the decoder sends back. Gradients are columns. $\mathrm{sg}[\cdot]$ is
# stop-gradient: the identity forwards, a constant backwards. An *estimator* is a rule that turns $g$ into what $z$
# receives, $G^\top g$ with a matrix $G$. The next chapter has a list of them; the *rotation* is the paper's, and
# {ref}`the-rotation` builds it. Arrows in figures show steps: what moves goes *against* the gradient, by $-g$ or
# $-G^\top g$. A proof of five lines or more is folded.
#
# Two examples run through all chapters of theory. *The pair* is the latent $z=(1,0)$ with the code $q=(0.8,0.6)$. Both
# have the length $1$, the angle between them is $36.9°$, and $e=q-z=(-0.2,0.6)$ has $|e|^2=0.4$. *The line* has the
# codes $-1$ and $1$ and one face between them, at $0$.
#
# A mark like <claim:A-077> leads to the row of the ledger that says who claims this, and what checks it: {ref}`claims`.

# %% tags=["parameters"]
K: int = 12  # codes in the pictures
seed: int = 0
curvature: float = 1.0  # h of the quadratic loss h (q - y)^2 / 2

# %% tags=["hide-input"]
from rotvq.page import parameters

parameters.check(globals(), K=(3, 200), curvature=(0.01, 100))

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import pandas as pd
import torch

from book.statements import show
from book.theory import missing_derivative, one_equation
from rotvq import ESTIMATORS, VectorQuantizer, nearest, rotate, straight_through
from rotvq.page.figures import ARMS, INK, MUTED, PAPER, Figure, glue, style

plt.rcParams.update(style())
torch.set_num_threads(1)
draw = torch.Generator().manual_seed(seed)

# %% [markdown]
# ## Cells
#
# ````{prf:definition} Vector quantiser
# :label: def-quantiser
# For codes $q_1,\dots,q_K\in\mathbb R^d$, $\mathrm{VQ}(z)=q_{k(z)}$, where $k(z)$ is the lowest index among those that
# minimise $|z-q_k|$. The *cell* of $q_k$ is $V_k=\{z: |z-q_k|\le|z-q_j|\text{ for all }j\}$.
# <claim:A-009> <claim:A-071> <claim:A-073>
# ````
#
# The lowest index settles ties, so $\mathrm{VQ}$ is a map. The cells are closed and share their faces; on a face, $z$
# lies in several cells and has one code.
#
# With $q=\mathrm{VQ}(z)$ and $e=q-z$, the book has three names. The *error* $|e|=|z-q|$ is the distance to the nearest
# code, and $0$ exactly at the codes <claim:A-072>. The *quantisation error* is its square $|z-q|^2$, or the mean of
# that over latents, $D=\mathbb E|z-q|^2$: a codebook is judged by it <claim:A-105>. The *relative error* is
# $|z-q|/|z|$. One more code cannot increase $D$, since no latent has to use that code <claim:A-174>.
#
# ````{prf:proposition} Cells are convex polyhedra
# :label: prop-cells
# $V_k$ is the intersection of the $K-1$ half-spaces
# ```{math}
# :label: eq-half-space
# \langle z, q_j-q_k\rangle \le \tfrac12\left(|q_j|^2-|q_k|^2\right), \qquad j\ne k .
# ```
# So the cells are convex. Together they cover $\mathbb R^d$. If the codes are distinct, two cells share boundary
# points only. <claim:A-074> <claim:A-075> <claim:A-076>
# ````
#
# ````{dropdown} Proof
# $|z-q_k|^2-|z-q_j|^2 = 2\langle z,q_j-q_k\rangle + |q_k|^2-|q_j|^2$: the square $|z|^2$ cancels, and what remains is
# affine in $z$. So $|z-q_k|\le|z-q_j|$ is {eq}`eq-half-space`. A half-space is convex, and so is an intersection of
# convex sets. Some code is nearest to each $z$, so the cells cover. If $q_j\ne q_k$, equality in {eq}`eq-half-space`
# defines a hyperplane, and a common point of $V_j$ and $V_k$ lies on it. As near to this point as one likes there are
# points on either side, so it is a boundary point of both cells.
# ````

# %%
show(missing_derivative.half_spaces, missing_derivative.convex)

# %% [markdown]
# The table gives the worst error over random inputs in five dimensions, in float64, beside the error allowed. The same
# functions are run by the tests of the package, in float64 and float32 and on inputs chosen to be awkward.

# %% tags=["hide-input"]
z1, z2, here, there = torch.tensor([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.5, 0.0]])
middle = (z1 + z2) / 2
chain = 0.5 * (z1 - there).norm() + 0.5 * (z2 - there).norm()
assert chain > (middle - there).norm()  # the bound is above what it should be below
glue("chain", chain.item())
glue("true_distance", (middle - there).norm().item())

# %% [markdown]
# ```{admonition} A proof that does not close
# :class: caution
# The derivation proves convexity by the triangle inequality: $|z_t-q_i|\le t|z_1-q_j|+(1-t)|z_2-q_j|$ for
# $z_t=tz_1+(1-t)z_2$. That is true, and not what is needed, which is $|z_t-q_i|\le|z_t-q_j|$: the triangle inequality
# puts the bound *above* $|z_t-q_j|$. For $z_1=(0,1)$, $z_2=(0,-1)$, $t=\frac12$ and $q_j=(-1.5,0)$ it is
# {glue:text}`chain:.3f` where {glue:text}`true_distance:.3f` is required. That $f\le g$ on two points, for convex $f$
# and $g$, says nothing about the points between. Squares save the argument, since their difference is affine.
# <claim:A-077>
# ```
#
# ## The derivative is zero
#
# ````{prf:proposition} Flat almost everywhere
# :label: prop-flat
# Let the codes be distinct. If $z$ lies inside the cell $V_k$, at the distance $\delta>0$ from its faces, then
# $\mathrm{VQ}(z+v)=q_k$ for all $|v|<\delta$, so the derivative of $\mathrm{VQ}$ at $z$ is $0$. The faces
# have measure $0$, and there $\mathrm{VQ}$ is discontinuous. The distance is
# ```{math}
# :label: eq-margin
# \delta=\min_{j\ne k}\frac{|z-q_j|^2-|z-q_k|^2}{2\,|q_j-q_k|}.
# ```
# <claim:B-001> <claim:A-078> <claim:A-080> <claim:A-081>
# ````
#
# ````{dropdown} Proof
# By {prf:ref}`prop-cells` the cell is the intersection of half-spaces with the normals $q_j-q_k$, and {eq}`eq-margin`
# is the distance of $z$ to the nearest of their hyperplanes. That one bounds the cell: the foot of the perpendicular on
# it is no further from $z$ than any other hyperplane, so it lies in all half-spaces. The open ball of that radius stays
# in the cell, where $\mathrm{VQ}$ is constant. The faces lie in finitely many hyperplanes, which have measure $0$.
# Last, let $z$ lie in $V_j$ and in $V_k$. The cell $V_j$ is convex and holds a ball about $q_j$, so the segment from
# $z$ to $q_j$, without $z$, runs in its interior. There $\mathrm{VQ}=q_j$, as near to $z$ as one likes; in the same way
# it is $q_k$ elsewhere near $z$.
# ````

# %%
show(missing_derivative.locally_constant)

# %% [markdown]
# ```{admonition} Almost everywhere, or almost nowhere
# :class: caution
# The derivation says that $\mathrm{VQ}$, being discontinuous on the faces, is differentiable almost nowhere, and the
# paper that $\partial q/\partial z$ cannot be computed. It is differentiable almost everywhere and easy to compute: it
# is $0$. <claim:A-079> <claim:A-012> <claim:A-019> <claim:P-011>
# ```
#
# This is worse than a missing derivative. The chain rule is exact, and it says that no small change of the encoder
# changes the loss. {numref}`fig-steps`, at the top of this page, shows why that is true and of no use: along a line
# through the codebook the loss is a staircase.

# %% tags=["hide-input"]
codes = torch.randn(K, 2, generator=draw)
target = torch.tensor([0.3, 0.4])
grid = torch.stack(torch.meshgrid(*2 * [torch.linspace(-2.6, 2.6, 300)], indexing="xy"), -1)

line = torch.stack([torch.linspace(-2.5, 2.5, 1200), torch.full((1200,), 0.25)], -1)
q = codes[nearest(line, codes)]
loss, unquantised = ((x - target).square().sum(-1) / 2 for x in (q, line))
slope = (loss[1:] - loss[:-1]).abs()
assert (slope > 0).sum() <= K  # flat but for the jumps
kinks = nearest(line, codes).diff().ne(0).sum().item()
glue("jumps", kinks)

map_, ax = plt.subplots(figsize=(4.2, 4.0))
squares = (grid[..., None, :] - codes).square().sum(-1)
for k in range(K):  # faces: as far from this code as from the nearest other
    nearer = squares[..., k] - squares[..., torch.arange(K) != k].amin(-1)
    if nearer.min() < 0:  # some of its cell is in the picture
        ax.contour(grid[..., 0], grid[..., 1], nearer, levels=[0], colors=MUTED, linewidths=0.8)
ax.plot(*codes.T, "o", color=ARMS["rotation"].color, label="codes")
ax.plot(*line[::40].T, "-", color=INK, lw=1, label="a line of latents")
ax.plot(*target, "*", color=ARMS["ste"].color, markersize=11, label="$y$, where the loss is 0")
ax.set(aspect="equal", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
ax.grid(False)
ax.legend(loc="upper left", fontsize=8, framealpha=0.85, frameon=True, facecolor=PAPER, edgecolor="none")
stairs, ax = plt.subplots(figsize=(4.2, 4.0))
ax.plot(line[:, 0], loss, color=ARMS["rotation"].color, label="$L(\\mathrm{VQ}(z))$")
ax.plot(line[:, 0], unquantised, "--", color=ARMS["ste"].color, label="$L(z)$")
ax.set(xlabel="$z_1$ along the line", ylabel="loss")
ax.legend()
glue(
    "steps",
    Figure(
        [map_, stairs],
        alt=(
            "Left, the cells of a codebook in the plane with a horizontal line across them. Right, along that "
            "line the loss of the quantised latent is a staircase, while the loss of the latent itself is a "
            "smooth parabola."
        ),
    ),
)

# %% [markdown]
# (the-loss)=
# ## The loss, term by term
#
# The VQ-VAE therefore trains with a substitute. With reconstruction loss $L_\text{rec}$, it minimises
# ```{math}
# :label: eq-loss
# L = L_\text{rec}(z_q) + \beta\,|q-\mathrm{sg}[z]|^2 + \gamma\,|z-\mathrm{sg}[q]|^2,
# \qquad z_q = z+\mathrm{sg}[q-z].
# ```
# The last equation is the *straight-through estimator*, STE {cite}`bengio2013estimating`: $z_q$ has the value of $q$
# and the derivative of $z$ <claim:A-013> <claim:A-020>. (The paper prints $z-(q-z)$, whose value is $2z-q$: a slip of
# sign. <claim:P-016>)
#
# ````{prf:proposition} Who receives what
# :label: prop-who
# Under {eq}`eq-loss`, with $g=\partial L_\text{rec}/\partial z_q$,
# ```{math}
# :label: eq-who
# \frac{\partial L}{\partial z} = g+2\gamma(z-q),\qquad
# \frac{\partial L}{\partial q_k} = \sum_{z:\,k(z)=k} 2\beta\,(q_k-z).
# ```
# The sum is over the latents that have the code $q_k$: of a latent on a face the one that it has, though it lies in
# other cells, too. The reconstruction loss reaches the encoder and not the codes. <claim:A-010> <claim:A-014>
# <claim:A-015> <claim:A-132>
# ````
#
# ````{prf:proof}
# In $z_q=z+\mathrm{sg}[q-z]$ only the first $z$ carries a gradient, so $L_\text{rec}$ contributes $g$ to $z$ and
# nothing to $q$. In the codebook term $z$ is a constant and in the commitment term $q$ is. Each code collects the
# contributions of the latents that chose it.
# ````

# %%
show(missing_derivative.who_gets_what)

# %% [markdown]
# The whole picture, computed by automatic differentiation in a small autoencoder. An entry is the norm of the gradient
# that one term of the loss sends to one part of the network.

# %% tags=["hide-input"]
x = torch.randn(64, 5, generator=draw)
weights = {
    name: torch.randn(shape, generator=draw)
    for name, shape in {"encoder": (5, 2), "codes": (K, 2), "decoder": (2, 5)}.items()
}
rows = {}
for title, estimate in {
    "z_q = q": lambda z, q: q,
    "STE": straight_through,
    "rotation": rotate,
}.items():
    part = {name: w.clone().requires_grad_() for name, w in weights.items()}
    z = x @ part["encoder"]
    q = part["codes"][nearest(z, part["codes"])]
    terms = {
        "reconstruction": (estimate(z, q) @ part["decoder"] - x).square().mean(),
        "codebook": (q - z.detach()).square().mean(),
        "commitment": (z - q.detach()).square().mean(),
    }
    for term, value in terms.items():
        grads = torch.autograd.grad(value, list(part.values()), retain_graph=True, allow_unused=True)
        rows[title, term] = [0.0 if g is None else g.norm().item() for g in grads]
table = pd.DataFrame(rows, index=list(weights)).T
table.index.names = ["forward", "term"]

assert (table.loc[["STE", "rotation"], "codes"].xs("reconstruction", level=1) == 0).all()
assert (table.loc[("z_q = q", "reconstruction"), "encoder"] == 0) and (
    table.loc[("z_q = q", "reconstruction"), "codes"] > 0
)
assert (table.xs("codebook", level=1)[["encoder", "decoder"]] == 0).all(axis=None)
assert (table.xs("commitment", level=1)[["codes", "decoder"]] == 0).all(axis=None)
table.map(lambda v: "0" if v == 0 else f"{v:.2f}")

# %% [markdown]
# Three readings. If the decoder is simply given $q$, the reconstruction loss trains the codes and the encoder gets
# nothing from it. With STE or the rotation it is the other way round. The codebook loss reaches the codes alone, the
# commitment loss the encoder alone; neither reaches the decoder <claim:P-010>. The commitment loss moves each latent
# straight towards its code, and so the encoder takes part in the clustering <claim:A-017>.
#
# In {eq}`eq-who` $g$ is handed on as it is, wherever in the cell $z$ lies. So for one and the same $g$ all latents of a
# cell receive the same <claim:P-012>. In training they do not, since $g$ depends on the image and on its other latents
# <claim:A-021>.
#
# ```{admonition} The reconstruction loss does not reach the codes
# :class: caution
# The derivation's Proposition 8.2 gives $\partial L/\partial q_i$ a term $\partial L_\text{rec}/\partial q$. Under
# {eq}`eq-loss` that term is $0$, as the article itself says in its introduction. It also writes
# $\partial L/\partial z=\partial L/\partial q$ for the total loss; by {eq}`eq-who` this holds for the reconstruction
# loss alone. <claim:A-132> <claim:A-015> <claim:A-068>
# ```
#
# ### Names of the weights
#
# Three texts call the same two numbers by different names, and one of them uses $\beta$ for a third thing.
#
# | | this book and its code | the article | the paper |
# |---|---|---|---|
# | weight of the codebook loss | $\beta$ (`beta`) | $\beta$ | $1$ |
# | weight of the commitment loss | $\gamma$ (`gamma`) | $\gamma$ | $\beta$ |
# | decay of the EMA codebook | decay (`decay`) | $\beta$ | decay |
#
# ## How good is straight-through?
#
# STE replaces the true derivative $0$ by $I$. Against the derivative $0$ no estimator is better than handing back
# nothing, and the article's definition of bias, which compares with it, is minimised by $G=0$. The question makes
# sense once the loss is averaged over something, for then its gradient is not zero. The simplest case can be solved:
# one dimension, equidistant codes, and a latent with uniform noise of one cell's width.
#
# ````{prf:proposition} Bias and variance of straight-through
# :label: prop-dither
# Let the codes be $k\Delta$, $k\in\mathbb Z$, let $z=\bar z+u$ with $u$ uniform on $(-\frac\Delta2,\frac\Delta2)$,
# write $\bar z=(k+p)\Delta$ with $0<p<1$, and let $L(q)=\frac h2(q-y)^2$ with a target $y$ and a curvature $h>0$. Then
# ```{math}
# :label: eq-dither
# \frac{d}{d\bar z}\,\mathbb E\,L(\mathrm{VQ}(z)) = h\left((k+\tfrac12)\Delta-y\right),\qquad
# \mathbb E\,g_\text{STE} = h(\bar z-y).
# ```
# The bias is $h\Delta(p-\frac12)$, the variance $h^2\Delta^2p(1-p)$. The mean squared error is
# $\frac14h^2\Delta^2$, at every $\bar z$. <claim:B-002>
# ````
#
# ````{dropdown} Proof
# $z$ has the code $(k+1)\Delta$ if $u>(\frac12-p)\Delta$, which has the probability $p$, and $k\Delta$ otherwise. So
# $\mathbb E L=(1-p)L(k\Delta)+pL((k+1)\Delta)$, whose derivative by $\bar z$ is
# $(L((k+1)\Delta)-L(k\Delta))/\Delta$: the slope of a chord, which for a quadratic is $L'$ at the midpoint. STE hands
# back $L'(q)=h(q-y)$, and $\mathbb E\,q=\bar z$. The difference of the two is the bias. The variance is that of $hq$, a
# two-point distribution. The mean squared error is squared bias plus variance, and $(p-\frac12)^2+p(1-p)=\frac14$.
# ````

# %%
show(missing_derivative.dithered)

# %% tags=["hide-input"]
h, cell_width = curvature, 1.0
p = torch.linspace(0, 1, 41)
noise = torch.rand(20000, generator=draw) - 0.5
felt = h * torch.round(p[:, None] + noise - 1e-9)  # y = 0, k = 0
estimate, spread = felt.mean(1) - h * 0.5, felt.var(1)
assert torch.allclose(estimate, h * (p - 0.5), atol=0.02 * h) and torch.allclose(
    spread, h**2 * p * (1 - p), atol=0.02 * h**2
)
error = ((felt - h * 0.5) ** 2).mean(1)
assert torch.allclose(error, torch.full_like(error, h**2 / 4), rtol=1e-3)

fig, ax = plt.subplots()
ax.plot(p, h**2 * (p - 0.5) ** 2, color=ARMS["ste"].color, label="bias$^2$")
ax.plot(p, h**2 * p * (1 - p), "--", color=ARMS["rotation"].color, label="variance")
ax.plot(p, torch.full_like(p, h**2 / 4), ":", color=INK, label="mean squared error")
ax.plot(p[::4], estimate[::4] ** 2, "o", color=ARMS["ste"].color, markersize=4)
ax.plot(p[::4], spread[::4], "s", color=ARMS["rotation"].color, markersize=4)
ax.set(xlabel="$p$, the place of $\\bar z$ between two codes", ylabel="in units of $\\Delta^2$")
ax.set_ylim(-0.01 * h**2, 0.42 * h**2)
ax.legend(loc="upper center", ncols=2)
glue(
    "dither",
    Figure(
        fig,
        alt=(
            "The squared bias of straight-through is a parabola, largest at the codes and zero halfway; its "
            "variance is the opposite parabola; their sum is constant."
        ),
    ),
)
glue("mse", (error.mean() / h**2).item())
quartic = torch.round(0.5 + noise - 1e-9) ** 3  # L'(q) of L(q) = q^4/4
assert abs(quartic.mean() - 0.5) < 0.02 and abs(quartic.mean() - 0.5**3) > 0.3
glue("quartic_mean", quartic.mean().item())
glue("quartic_slope", 0.5**3)

# %% [markdown]
# ```{glue:figure} dither
# :name: fig-dither
#
# Bias and variance exchange roles between the codes and the midpoints between them, and the mean squared error is
# {glue:text}`mse:.3f` $h^2\Delta^2$ throughout: straight-through under uniform noise. Lines are {eq}`eq-dither`, points
# are samples. <claim:B-002>
# ```
#
# So STE does have a gradient to be faithful to: here its mean is the gradient of the autoencoder *without* quantiser,
# $h(\bar z-y)$. This needs the quadratic loss <claim:B-002>. For $L(q)=\frac14q^4$, $\Delta=1$ and $\bar z=\frac12$ the
# mean of $L'(q)$ is {glue:text}`quartic_mean:.2f`, and $L'(\bar z)$ is {glue:text}`quartic_slope:.3f`. For the
# quadratic loss the bias against the quantised loss averages to zero from one code to the next, and over a cell, and
# vanishes as the cells shrink. {prf:ref}`prop-dither` is one-dimensional; {ref}`nb-bias` goes on from here, with other
# dimensions and estimators.
#
# ```{admonition} Is the variance of STE zero?
# :class: caution
# The derivation's Proposition 2.2 says so, and concludes that STE has no variance and much bias. Within one cell and
# for one loss the gradient is indeed constant. A latent that may fall into either of two cells has the variance
# $h^2\Delta^2p(1-p)$, which at $p=\frac12$ is all of the error. <claim:A-083>
# ```
#
# ### The value, to the last bit
#
# Written as `z + (q - z).detach()`, the value of $z_q$ is $q$ up to rounding only.

# %% tags=["hide-input"]
z = 100 * torch.randn(10000, 8, generator=draw)
q = torch.randn(10000, 8, generator=draw)
written = z + (q - z)
assert not torch.equal(written, q)
assert all(torch.equal(member(z, q), q) for member in ESTIMATORS.values())
glue("value_error", f"{((written - q).norm(dim=1) / q.norm(dim=1)).max().item():.0e}")

# %% [markdown]
# With latents a hundred times longer than the codes, the value misses $q$ by up to {glue:text}`value_error` of its
# length in float32 <claim:A-013>. The estimators of this package return $q$ itself, bit for bit:

# %%
show(one_equation.value)

# %% [markdown]
# ## How the codes move
#
# The codebook loss is that of $k$-means: its gradient {eq}`eq-who` vanishes where each code is the mean of its cell
# <claim:A-011> <claim:A-016>. Many implementations replace it by exponential moving averages, EMA. With $n_k$ latents
# of mean $\bar z_k$ in this batch, a running count $c_k$, a running sum $s_k$ and the rate $\omega$, which is 1 less
# the decay <claim:A-269>,
# ```{math}
# :label: eq-ema
# c_k \leftarrow (1-\omega)\,c_k+\omega\,n_k,\quad s_k\leftarrow(1-\omega)\,s_k+\omega\,n_k\bar z_k,\quad q_k=s_k/c_k .
# ```
#
# ````{prf:proposition} EMA is SGD
# :label: prop-ema
# For a code with $n_k>0$, the step {eq}`eq-ema` is
# ```{math}
# :label: eq-ema-sgd
# q_k\leftarrow q_k-\frac{\omega}{2c_k}\,\frac{\partial}{\partial q_k}\sum_{z:\,k(z)=k}|q_k-z|^2,
# ```
# with the new $c_k$: a gradient step on the codebook loss, each code with its own step size. A code without latents
# stays where it is. <claim:B-003> <claim:A-126>
# ````
#
# ````{prf:proof}
# With primes for the new values and $s_k=c_kq_k$,
# $q_k'=\frac{(1-\omega) c_kq_k+\omega n_k\bar z_k}{c_k'}=q_k+\frac{\omega n_k}{c_k'}(\bar z_k-q_k)$, since
# $(1-\omega) c_k=c_k'-\omega n_k$. The gradient in {eq}`eq-ema-sgd` is $2n_k(q_k-\bar z_k)$. If $n_k=0$ both $s_k$ and
# $c_k$ are multiplied by $1-\omega$, and the ratio stays.
# ````

# %%
show(missing_derivative.ema_is_sgd)

# %% [markdown]
# Where the code is used steadily, $c_k\to n_k$, and the step is $\omega (\bar z_k-q_k)$ whatever $n_k$: EMA is SGD
# preconditioned by the counts. The article's Proposition 7.2 says "approximately equivalent"; it is exact
# <claim:A-126>. (Code that adds a small number to every count, "Laplace smoothing", leaves this: there
# $q_k\ne s_k/c_k$, and a code without latents moves.) The form that its Definition 7.2 gives, with the mean of the cell
# in place of sum and count, is another one <claim:A-125>. The weight $\beta$ drops out because the step size has taken
# its place.
#
# ```{admonition} The same choice in code
# :class: tip
# `VectorQuantizer(dim, codebook_size, estimator="ste", update="gradient", beta=1.0, gamma=0.25)` is {eq}`eq-loss`;
# `update="ema", decay=0.99` is {eq}`eq-ema`. The estimator is the subject of the next chapters: {ref}`one-equation`.
# ```

# %% tags=["hide-input"]
vq = VectorQuantizer(2, K, estimator="ste", init=codes, beta=2.0, gamma=0.5, convention="token")
z = torch.randn(32, 2, generator=draw, requires_grad=True)
out = vq(z, details=True)
out.loss.backward()
assert torch.allclose(
    z.grad, 2 * 0.5 * (z - out.q).detach() / 32, atol=1e-6
)  # the commitment term of eq-who, a mean over tokens

# %% [markdown]
# ## What to keep
#
# - The quantiser has a derivative almost everywhere, and it is zero.
# - The reconstruction loss reaches the encoder through $g$ and never the codes: {eq}`eq-who`.
# - On the line, with a quadratic loss and uniform noise one cell wide, the mean of STE is the gradient of the
#   autoencoder without quantiser. Against the quantised loss it errs by an amount that averages to zero over a cell.
#
# ## Exercises
#
# **1.** On the line with the codes $\pm1$ let $z=0.3$. How far may $z$ move, and which way, before its code changes?
# What does {eq}`eq-margin` say?
#
# ```{dropdown} Solution
# The face is at $0$: to the left by less than $0.3$, to the right as far as it likes. {eq}`eq-margin` is
# $(1.3^2-0.7^2)/(2\cdot2)=0.3$.
# ```

# %% tags=["hide-input"]
line = torch.tensor([[-1.0], [1.0]]).double()
delta, _ = missing_derivative.nearest_face(torch.tensor([[0.3]]).double(), line)
assert abs(delta.item() - 0.3) < 1e-6  # 0.3 in float32

# %% [markdown]
# **2.** A code $q=0$ has the running count $c=10$. The next batch brings $n=5$ latents with the mean $1$, and the decay
# is $0.9$. Where does EMA put the code? Which step of gradient descent is that?
#
# ```{dropdown} Solution
# $c'=0.9\cdot10+0.1\cdot5=9.5$ and $s'=0.1\cdot5=0.5$, so $q'=0.5/9.5\approx0.053$. The gradient of the codebook loss
# is $2\cdot5\,(0-1)=-10$, and the step size $\frac{0.1}{2\cdot9.5}$: the same.
# ```

# %% tags=["hide-input"]
assert abs(0.5 / 9.5 - 10 * 0.1 / (2 * 9.5)) < 1e-12

# %% [markdown]
# **3.** The pair, under STE with $g=(0,1)$, $\beta=1$ and $\gamma=\frac14$. Which gradients do $z$ and $q$ receive from
# the whole loss?
#
# ```{dropdown} Solution
# By {eq}`eq-who` $z$ receives $g+2\gamma(z-q)=(0,1)+\frac12(0.2,-0.6)=(0.1,0.7)$, and $q$ receives
# $2\beta(q-z)=(-0.4,1.2)$.
# ```

# %% tags=["hide-input"]
z, q = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in ([1.0, 0.0], [0.8, 0.6]))
total = straight_through(z, q)[1] + (q - z.detach()).square().sum() + 0.25 * (z - q.detach()).square().sum()
received = torch.autograd.grad(total, (z, q))
assert torch.allclose(torch.cat(received), torch.tensor([0.1, 0.7, -0.4, 1.2], dtype=torch.float64))
