# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (nb-conserved)=
# # What an estimator conserves
#
# ```{admonition} In short
# :class: tip
# Along a common shift of latents and codes STE is exact, along a common stretching the rotation, and no estimator that
# looks at one pair $(z,q)$ at a time is exact along both. Each exactness is worth a conservation law of training: one
# says who pays for the quantisation error, the other whether the latents drift. In this book's network both sides of
# each law agree to a relative {glue:text}`worst`. <claim:B-065>
# ```
#
# ```{glue:figure} frontier
# :name: fig-frontier
#
# No estimator lies in the shaded triangle, so none is exact along both; left and down is better. The mixes of STE with
# the rotation lie on its slanted edge: by this measure nothing is better than they are. For $z=(1,0)$ and
# $q=(0.8,0.6)$.
# ```
#
# Symbols as before. $z$ is a latent, $q$ its code, $e=q-z$, and $g=\partial L_{\rm rec}/\partial z_q$. An estimator
# hands $u=G^\top g$ to the encoder. $\mathbb E$ is the mean over all latents, and $g$ is scaled so that a change
# $\delta z_q$ changes the loss by $\mathbb E\langle g,\delta z_q\rangle$. $\mu$ is a centre, a point of the latent
# space; $G_\mu$ is the rotation trick about it, $G_\mu(z-\mu)=q-\mu$. Arrows in figures show the step that the encoder
# takes, $-G^\top g$.
#
# The pair is that of all chapters of theory: $z=(1,0)$ and $q=(0.8,0.6)$. They have the same length, so $r=|q|/|z|=1$;
# the angle is $36.9°$, and $|e|^2=0.4$.

# %% tags=["parameters"]
steps: int = 400  # of gradient descent on the small network
rate: float = 0.01  # and their size
images: int = 16  # Fashion-MNIST images of the conv network
seed: int = 0

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("24_conserved", globals(), steps=(20, 100_000), rate=(0, 1), images=(4, 5000))
is_published = (steps, rate, images, seed) == (400, 0.01, 16, 0)

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from book.algebra import apply, dot, identity, jacobian, normal, pull_back, vector
from book.statements import show
from book.theory import conserved
from rotvq import VectorQuantizer
from rotvq.page.figures import ARMS, INK, MUTED, glue
from rotvq.training.images import load
from rotvq.training.models import VQVAE

PAD = [{"selector": "th, td", "props": "padding: 0.1em 0.7em"}]
z, q, g = vector(1, 0)[None], vector(0.8, 0.6)[None], vector(0, 1)[None]


def table(rows, precision=3):
    return pd.DataFrame(rows).style.format(precision=precision).hide(axis="index").set_table_styles(PAD)


# %% [markdown]
# ## Motions that change no assignment
#
# A latent goes to its nearest code. If all latents *and* all codes move together by a similarity, all distances change
# by one factor, and the nearest code stays the nearest.

# %% tags=["hide-input"]
cloud = 0.35 * normal(60, 2, seed=3) + vector(1.2, 0.6)
codes = vector(0.8, 0.6, 1.7, 0.9, 1.2, 0.1).view(3, 2)
owner = conserved.nearest(cloud, codes)
still, turn = torch.zeros(2, 2, dtype=torch.float64), vector(0, -1, 1, 0).view(2, 2)
fields = {
    "shift": conserved.Motion(still, vector(0.5, 0.3), vector(0, 0)),
    "stretch": conserved.Motion(0.4 * torch.eye(2, dtype=torch.float64), vector(0, 0), vector(0, 0)),
    "turn": conserved.Motion(0.4 * turn, vector(0, 0), vector(0, 0)),
}
figs = []
for name, field in fields.items():
    fig, ax = plt.subplots(figsize=(2.5, 2.3))
    for k, color in enumerate(("#2a7ad2", "#d0620f", "#3f8f3c")):
        own = cloud[owner == k]
        drawn = {"angles": "xy", "scale_units": "xy", "scale": 2}
        ax.quiver(*own.T, *field.at(own).T, color=color, alpha=0.6, width=0.008, **drawn)
        ax.plot(*codes[k], "s", color=color, markersize=7, markeredgecolor=INK)
        ax.quiver(*codes[k], *field.at(codes[k : k + 1])[0], color=INK, width=0.012, **drawn)
    ax.plot(0, 0, "+", color=MUTED, markersize=9)
    ax.set(title=name, xlim=(-0.2, 2.6), ylim=(-0.6, 2.0), aspect="equal", xticks=[], yticks=[])
    figs.append(fig)
page.show(
    "motions",
    figs,
    "Three pictures of sixty latents in three colours, each with the square of its code. Arrows show all moving "
    "together: by a common shift, away from the origin, and around it.",
)

# %% [markdown]
# ```{glue:figure} motions
# :name: fig-motions
#
# If latents and codes (squares) move together, every latent keeps its code (colour). Arrows are velocities, no
# gradients. The cross is the centre of stretch and turn.
# ```
#
# Write such a motion as a velocity field with a centre $\mu$:
#
# $$ X(x)=A\,(x-\mu)+v,\qquad A=\alpha I+\Omega,\quad\Omega^\top=-\Omega . $$ (eq-motion)
#
# $v$ shifts, $\alpha$ stretches, $\Omega$ turns.
#
# ```{prf:proposition} Similarities keep assignments
# :label: prop-similar
#
# If latents and codes follow $X$ for some time, every latent keeps its code. Of all velocity fields $A(x-\mu)+v$, with
# any matrix $A$, these are the only ones that do so for all latents and codes.
#
# <claim:B-060>
# ```
#
# ````{dropdown} Proof
# After a time $\tau$ every point has moved by a map $x\mapsto sUx+w$ with $s>0$ and $U$ orthogonal, since
# $\exp(\tau(\alpha I+\Omega))=e^{\alpha\tau}\exp(\tau\Omega)$. All distances are multiplied by $s$.
#
# Conversely let a linear map $B$ keep all assignments. If $|Bx|<|By|$ for two vectors with $|x|=|y|$, then the codes
# $x$ and $cy$ with $c<1$ close to $1$ exchange their roles for the latent $0$: before, $cy$ is nearer, afterwards $Bx$
# is. So $|Bx|$ depends on $|x|$ alone, and $B$ is a multiple of an orthogonal map. A field with any matrix $A$ moves
# points by $B=\exp(\tau A)$ and a shift. If it keeps all assignments for some time, $B^\top B=s^2I$ for all small
# $\tau$, with $s$ depending on $\tau$. The derivative at $\tau=0$ says that $A+A^\top$ is a multiple of $I$, so
# $A=\alpha I+\Omega$.
# ````

# %%
show(conserved.similarities_keep_assignments, conserved.only_similarities_do)

# %% [markdown]
# ## The true derivative, and what is reported
#
# The loss as a function of the latents alone jumps at every face of a cell, and is constant between the jumps. Its
# derivative says nothing. But if the codes move along, no latent crosses a face. Then the decoder's inputs move by
# $X(q)$, and the loss changes smoothly.
#
# ```{prf:theorem} Report and truth
# :label: thm-report
#
# Let the encoder end in a linear layer $z=E\xi+b$, where $\xi$ is what that layer is given, and let the decoder be
# fixed. When latents and codes move with $X$,
# the loss has the derivative $\mathbb E\langle g,X(q)\rangle$. The encoder makes its part of this motion when $E$ moves
# with the velocity $AE$ and $b$ with $A(b-\mu)+v$, and along it the estimator reports
# $\mathbb E\langle g,G\,X(z)\rangle$. So it errs by
#
# $$ \mathbb E\langle g,\;G\,X(z)-X(q)\rangle. $$ (eq-report)
#
# <claim:B-061>
# ```
#
# ````{prf:proof}
# By {prf:ref}`prop-similar` no assignment changes, so $z_q=q$ moves with the velocity $X(q)$: that is the derivative.
# With these velocities of $E$ and $b$, $z$ moves with $AE\xi+A(b-\mu)+v=X(z)$. The gradient that arrives at $z$ is
# $G^\top g$, so backpropagation finds $\mathbb E\langle G^\top g,X(z)\rangle$.
# ````
#
# The theorem assumes that the codes follow. {ref}`The next chapter <nb-drift>` is about codes that are late.

# %%
show(conserved.true_derivative, conserved.reported_error)

# %% [markdown]
# For the pair of this chapter and a gradient $g=(0,1)$, which asks the decoder's input to move down, this is what each
# estimator says about three motions.

# %%
G = {name: jacobian(name, z, q) for name in ("ste", "rotation", "rotation_only", "reflection")}
motions = {
    "shift to the right": conserved.Motion(still, vector(1, 0), vector(0, 0)),
    "stretch about 0": conserved.Motion(torch.eye(2, dtype=torch.float64), vector(0, 0), vector(0, 0)),
    "turn about 0": conserved.Motion(turn, vector(0, 0), vector(0, 0)),
}
rows = []
for name, motion in motions.items():
    said = {ARMS[member].label: float(dot(g, apply(matrix, motion.at(z)))) for member, matrix in G.items()}
    rows.append({"motion": name, "truth": float(dot(g, motion.at(q))), **said})
shift, stretch, around = rows
assert abs(shift["truth"] - shift["STE"]) < 1e-12 < abs(shift["truth"] - shift["rotation"])
assert abs(stretch["truth"] - stretch["rotation"]) < 1e-12 < abs(stretch["truth"] - stretch["STE"])
assert abs(around["truth"] - around["rotation"]) < 1e-12 < abs(around["truth"] - around["STE"])
table(rows)

# %% [markdown]
# Shifted to the right, the loss does not change, since $g$ points up. STE reports that, the rotation does not.
# Stretched, the loss rises at the rate $\langle g,q\rangle=0.6$. STE looks at $z$ and reports $0$. (Here $r=1$, so the
# rotation and the rotation without its gain are the same.)
#
# ## Who is exact for what
#
# ```{prf:proposition} One exactness each
# :label: prop-exact
#
# Whatever the gradients $g$ are,
#
# 1. STE is exact along shifts. Any other estimator errs by $\langle\mathbb E[G^\top g-g],v\rangle$.
# 2. An estimator with $G(z-\mu)=q-\mu$, such as $G_\mu$ or the reflection about $\mu$ where no latent lies at $\mu$, is
#    exact along stretching about $\mu$.
# 3. In the plane $G_\mu$ is exact along turns about $\mu$, likewise.
# 4. In more dimensions it is not: along a turn $\Omega$ about $\mu$ it errs by
#
# $$ \mathbb E\big\langle\Pi_\perp g,\;\Omega\big(r(z-\mu)-(q-\mu)\big)\big\rangle,
#    \qquad r=|q-\mu|/|z-\mu| , $$ (eq-turn-error)
#
# where $\Pi_\perp$ projects off the plane of $z-\mu$ and $q-\mu$. STE errs by $-\mathbb E\langle g,\Omega e\rangle$.
#
# <claim:B-062>
# ```
#
# ````{dropdown} Proof
# Put $\mu=0$ in parts 2 to 4. *1.* For $X=v$, {eq}`eq-report` is $\mathbb E\langle g,Gv-v\rangle$. *2.* For $X(x)=x$ it
# is $\mathbb E\langle g,Gz-q\rangle$. *3.* For $X(x)=\Omega x$ it is
# $\mathbb E\langle g,G\Omega z-\Omega Gz\rangle$. In the plane $\Omega$ and $G=rR$ are both multiplications by complex
# numbers, and these commute.
#
# *4.* Split $\Omega z=s+n$ into its part $s$ in the plane $S$ of $z$ and $q$ and its part $n=\Pi_\perp\Omega z$ off it,
# and likewise $\Omega q=s'+n'$. Within $S$, $\Omega$ acts as a multiple of the turn by $90°$, which commutes with $G$,
# so $Gs=s'$. Off $S$, $G$ multiplies by $r$. So $G\Omega z-\Omega q=rn-n'=\Pi_\perp\Omega(rz-q)$. For STE
# $\Omega z-\Omega q=-\Omega e$.
# ````
#
# The last part is not empty: if $u$ is a unit vector off the plane, $a=z/|z|$, $g=u$ and $\Omega=ua^\top-au^\top$,
# the rotation errs by $|q|(1-\cos\theta)$, for every $\theta>0$.
#
# Parts 2 and 3 are about one instant. A centre that moves, such as the mean code or the mean latent, makes them true at
# each time about the point where it then is. Along stretching about another point the estimator errs as along the shift
# from there to the centre.

# %%
show(conserved.exact_for_translations, conserved.exact_for_dilations)

# %%
show(conserved.exact_for_turns_of_the_plane, conserved.error_along_turns, conserved.inexact_from_three_dimensions_on)

# %% [markdown]
# ## No estimator is exact for both
#
# ```{prf:theorem} The trade-off
# :label: thm-trade-off
#
# For every matrix $G$
#
# $$ \|G-I\|\,|z-\mu|\;+\;\big|G(z-\mu)-(q-\mu)\big|\;\ge\;|q-z| . $$ (eq-trade-off)
#
# Here $\|\cdot\|$ is the largest factor by which a matrix stretches a vector (the spectral norm). With $|g|=1$ the
# first term bounds the error along a shift by $|v|=|z-\mu|$, the second the error along stretching about $\mu$ at the
# rate $\alpha=1$. So no rule $G$ for single pairs is exact for both whatever the gradients are, unless $q=z$. The mixes
# $(1-t)I+tG_\mu$ of STE and rotation attain equality for every $0\le t\le1$.
#
# <claim:B-063>
# ```
#
# ````{prf:proof}
# $q-z=\big(q-\mu-G(z-\mu)\big)+(G-I)(z-\mu)$, and the triangle inequality. A mix has
# $\|(1-t)I+tG_\mu-I\|=t\,|q-z|/|z-\mu|$, since $\|G_\mu-I\|=|q-z|/|z-\mu|$ by {prf:ref}`thm-distance`, and
# $G(z-\mu)-(q-\mu)=-(1-t)e$. The sum is $|e|$.
# ````


# %% tags=["hide-input"]
def both_errors(matrix):
    away = torch.linalg.matrix_norm(matrix - identity(z), 2) * z.norm()
    return float(away), float((apply(matrix, z) - q).norm())


total = float((q - z).norm())
fig, ax = plt.subplots()
ax.fill_between([0, total], [total, 0], color=MUTED, alpha=0.15, linewidth=0)
ax.plot([0, total], [total, 0], color=MUTED, linewidth=1)
shown = ("ste", "rotation", "interpolated", "reflection", "radial_free", "zero")
for name in shown:
    arm, (x, y) = ARMS[name], both_errors(jacobian(name, z, q))
    ax.plot(x, y, arm.marker, color=arm.color, markersize=6, label=arm.label)
    assert x + y >= total - 1e-12
ax.set(xlabel="error along shifts, $\\|G-I\\|\\,|z|$", ylabel="error along stretching, $|Gz-q|$", ylim=(-0.05, 1.1))
ax.legend(loc="center right")
page.show(
    "frontier",
    fig,
    "Error along stretching against error along shifts for six estimators at the running example. STE, the mix and the "
    "rotation lie on a falling line; nothing lies below it; reflection, radial-free and zero lie above.",
)

# %% [markdown]
# The rotation is also the smallest change that is exact along stretching, though not the only one.

# %%
show(conserved.trade_off, conserved.least_change)

# %% [markdown]
# The theorem speaks of rules that look at one pair at a time. A batch knows more, and what it knows is enough.
#
# ```{prf:proposition} A batch can
# :label: prop-batch
#
# Let $\bar z$ be the mean latent. (i) If no latent lies at $\bar z$,
# $u=G_{\bar z}^\top g+\mathbb E[g-G_{\bar z}^\top g]$ is exact along shifts and along stretching about every centre.
# (ii) If the differences $z-\bar z$ span at least $d-1$ dimensions and are not all $0$, there is exactly one
# $A=\alpha I+\Omega$ for which $u=g+A(z-\bar z)$ is exact along all motions {eq}`eq-motion`, and among all exact $u$
# this is the one nearest to $g$ in the mean square.
#
# <claim:B-064>
# ```
#
# ````{dropdown} Proof
# (i) The correction is a constant vector $c$. It makes $\mathbb E\,u=\mathbb E\,g$: shifts are exact. Along stretching
# about $\bar z$ it adds $\langle c,\mathbb E[z-\bar z]\rangle=0$, so the exactness of $G_{\bar z}$ stays. Stretching
# about another point is stretching about $\bar z$ and a shift.
#
# (ii) The fields $A(z-\bar z)$ form a linear space of functions of the latents, and
# $\mathbb E\langle\cdot,\cdot\rangle$ is an inner product on it, as every $A\ne0$ moves some $z-\bar z$. For
# $\alpha\ne0$ it moves every vector but $0$, since $|Ax|^2=\alpha^2|x|^2+|\Omega x|^2$. For $\alpha=0$ it is
# $\Omega\ne0$, whose rank is even and so at least $2$: what it takes to $0$ has at most $d-2$ dimensions. Exactness
# asks that $\mathbb E\langle u-g,A'(z-\bar z)\rangle=\mathbb E\langle g,A'e\rangle$ for all $A'$, a linear functional,
# so there is exactly one solution of the form $u-g=A(z-\bar z)$. Any other exact $u$ differs from it by something
# orthogonal to this space, and so is further from $g$. Shifts are exact since $\mathbb E[z-\bar z]=0$.
# ````
#
# Whether these corrections help in training is a question for experiments. This book has not run them, nor latents that
# are centred and scaled by the mean and the spread of their batch before the lookup.

# %%
show(conserved.a_batch_can)

# %% [markdown]
# ## What training conserves
#
# Each symmetry gives a gradient flow an identity for its velocities; for shifts and stretching it can be integrated,
# and then a quantity is conserved: Noether's principle in physics {cite}`kunin2021neural,tanaka2021noether`. The
# decoder can undo every motion of its input: when $z_q$ moves with $X$, its first layer $Wz_q+b_W$ stays the same if
# $W$ moves with $-WA$ and $b_W$ with $-W(v-A\mu)$. Here the quantiser cuts the chain, so what is conserved depends on
# the estimator.
#
# Let all weights follow the gradient that training reports, the flow of {prf:ref}`cor-flow`, for the total loss
# $L_{\rm rec}+\beta\,\mathbb E|q-\mathrm{sg}\,z|^2+\gamma\,\mathbb E|z-\mathrm{sg}\,q|^2$ with the decays
# $\lambda_E|(E,b)|^2+\lambda_W|W|^2$, and let $\beta>0$. $C$ is the matrix with the codes as its rows, and the decoder
# begins with $Wz_q+b_W$.
#
# ```{prf:theorem} The matrix law
# :label: thm-matrix
#
# For every estimator, whatever the codes are,
#
# $$ \begin{aligned}
#    &E'E^\top+b'b^\top+\tfrac\gamma\beta C'^\top C-W^\top W'\\
#    &\qquad=\mathbb E\big[g\,q^\top-u\,z^\top\big]-2\gamma\,\mathbb E\big[e\,e^\top\big]\\
#    &\qquad\quad-2\lambda_E(EE^\top+bb^\top)+2\lambda_WW^\top W .
#    \end{aligned} $$ (eq-matrix)
#
# <claim:B-065>
# ```
#
# Left: how the encoder, the codes and the decoder's first layer grow. Right: first what the estimator gets wrong along
# a motion; then what commitment and codebook loss take away, always of the same sign; then what the two decays take.
# Its trace, the scale law of {prf:ref}`cor-three-laws`, is the line to remember.
#
# ````{dropdown} Proof
# Each term on the left is minus a gradient times a weight. With $y$ the whole gradient that arrives at $z$,
# $E'=-\mathbb E[y\xi^\top]-2\lambda_EE$ and $b'=-\mathbb E[y]-2\lambda_Eb$, so
# $E'E^\top+b'b^\top=-\mathbb E[yz^\top]-2\lambda_E(EE^\top+bb^\top)$, and $y=u+2\gamma(z-q)$. The code of cell $k$
# moves with $-2\beta\,\mathbb E[(q-z)1_k]$, where $1_k$ is $1$ for the latents of that cell and $0$ for the others. So
# $\frac\gamma\beta C'^\top C=-2\gamma\,\mathbb E[(q-z)q^\top]$. And $W'=-\mathbb E[\hat gq^\top]-2\lambda_WW$ with
# $\hat g$ the gradient that arrives at $Wz_q+b_W$. Since $W^\top\hat g=g$,
# $W^\top W'=-\mathbb E[gq^\top]-2\lambda_WW^\top W$. Add. The two parts that the commitment and the codebook loss bring
# are $2\gamma\,\mathbb E[ez^\top]-2\gamma\,\mathbb E[eq^\top]=-2\gamma\,\mathbb E[ee^\top]$.
# ````
#
# The weight $\gamma/\beta$ of the codes makes the two losses of the quantiser combine into one square, for codes that
# are centroids or not. The trace of the law belongs to stretching, its antisymmetric part to turning, and a sum over
# the biases gives a law for shifts. As in mechanics, momentum belongs to shifts and torque to turns.
#
# ```{prf:corollary} Three laws
# :label: cor-three-laws
#
# *Scale.* With $Q=\frac12\big(|(E,b)|^2+\frac\gamma\beta\sum_k|q_k|^2-|W|^2\big)$,
#
# $$ Q'=\mathbb E\langle g,q-Gz\rangle-2\gamma\,\mathbb E|z-q|^2-2\lambda_E|(E,b)|^2+2\lambda_W|W|^2 . $$ (eq-scale)
#
# The first term is $0$ for the rotation and $\mathbb E\langle g,e\rangle$ for STE.
#
# *Momentum.* Without decay of the biases
#
# $$ \big(\beta b+\gamma\textstyle\sum_kq_k\big)'=-\beta\,\mathbb E[G^\top g],
#    \qquad W^\top b_W'=-\mathbb E[g] . $$ (eq-momentum)
#
# *Torque.* In the plane the rotation keeps the left side of {eq}`eq-matrix` symmetric.
#
# <claim:B-065>
# ```
#
# ````{prf:proof}
# *Scale:* the trace of {eq}`eq-matrix`; $\mathbb E\langle u,z\rangle=\mathbb E\langle g,Gz\rangle$. *Momentum:*
# $b'=-\mathbb E[u]-2\gamma\,\mathbb E[z-q]$ and $\sum_kq_k'=-2\beta\,\mathbb E[q-z]$; in the sum the two losses cancel.
# *Torque:* as complex numbers, with a star for the conjugate, $gq^*$ and $uz^*=g\,(q/z)^*z^*$ are equal, and the
# antisymmetric part of $gq^\top$ is the imaginary part of $gq^*$.
# ````
#
# The first two can be integrated: they are about the change of a quantity. The third is a relation between velocities,
# and no quantity stands behind it. The scale law contains {prf:ref}`cor-flow` of the chapter on the balance law, and
# needs no centroids.

# %%
show(conserved.matrix_law, conserved.scale_law, conserved.momentum_law, conserved.turning_law)

# %% [markdown]
# ## In networks that train
#
# First in the convolutional VQ-VAE of this book, in double precision. All gradients are autograd's; left and right side
# of each law are formed from different ones.

# %%
data = load("fashion-mnist")
pictures = data.normalise(data.train[:images]).double()
rows, worst = [], 0.0
for name in ("rotation", "ste"):
    torch.manual_seed(seed)
    vq = VectorQuantizer(16, 64, name, init="kmeans", generator=torch.Generator().manual_seed(seed))
    model = VQVAE(1, vq).double()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(11):
        if step in (0, 10):
            rates = conserved.rates_in(model, pictures)
            (left, right), (b_left, b_right) = rates["scale"], rates["momentum"]
            rows.append({"estimator": ARMS[name].label, "step": step, "Q′": float(left), "right side": float(right)})
            rows[-1]["|momentum′|"], rows[-1]["|right side|"] = float(b_left.norm()), float(b_right.norm())
            worst = max(worst, float(abs(left / right - 1)), float((b_left - b_right).norm() / b_right.norm()))
        reconstruction, quantised = model(pictures)
        optimiser.zero_grad()
        ((reconstruction - pictures).square().mean() + quantised.loss).backward()
        optimiser.step()
assert worst < 1e-9
glue("worst", f"{worst:.0e}")
table(rows, 9)

# %% [markdown]
# The sides agree to a relative {glue:text}`worst` <claim:B-065>. Second, a small network under plain gradient descent
# with small steps, so that the laws can be summed up over time. Its codes start anywhere and move by their gradient.


# %% tags=["hide-input"]
def small_network() -> conserved.Network:
    """64 latents in three dimensions, 12 codes, no decay; the same at each call."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    net = conserved.Network(draw, 64, 3, codes=12, decayed=False)
    net.gamma, net.beta = 0.3, 1.0
    return net


series = {name: conserved.descend(small_network(), name, steps, rate) for name in ("rotation", "ste")}
time = rate * np.arange(1, steps + 1)
figs = []
fig, ax = plt.subplots(figsize=(4.2, 2.9))
for name, run in series.items():
    arm = ARMS[name]
    change = np.array([float(value - run.quantity[0]) for value in run.quantity[1:]])
    ax.plot(time, change, color=arm.color, linestyle=arm.linestyle, label=f"{arm.label}: $Q-Q_0$")
    paid = np.array([float(square - pay) for square, pay in zip(run.squares, run.paid)])
    ax.plot(time[:: steps // 10], paid[:: steps // 10], arm.marker, color=arm.color, markerfacecolor="none")
    if name == "rotation":
        assert np.abs(change - paid).max() < 1e-9 * np.abs(paid).max()
    elif is_published:
        assert change[-1] > paid[-1]
    assert not is_published or float(run.squares[-1]) < 0.02 * float(run.paid[-1])  # the squares are a small share
ax.set(xlabel="time", ylabel="change of $Q$", title="scale: what the error costs")
ax.legend()
figs.append(fig)
fig, ax = plt.subplots(figsize=(4.2, 2.9))
for name, run in series.items():
    arm = ARMS[name]
    moved = np.array([float((value - run.momentum[0]).norm()) for value in run.momentum[1:]])
    pushed = np.array([float(value.norm()) for value in run.pushed])
    assert np.abs(moved - pushed).max() < 1e-9 * pushed.max()
    ax.plot(time, moved, color=arm.color, linestyle=arm.linestyle, label=arm.label)
    ax.plot(time[:: steps // 10], pushed[:: steps // 10], arm.marker, color=arm.color, markerfacecolor="none")
ax.set(xlabel="time", ylabel="change of $\\beta b+\\gamma\\sum q_k$", title="momentum: how far the pushes carry")
ax.legend()
figs.append(fig)
page.show(
    "laws-over-time",
    figs,
    "Left, the change of Q over time under both estimators, with markers for minus the error summed up: for the "
    "rotation they lie on the line, for STE below it. Right, the change of the momentum, with the pushes summed up on "
    "the lines.",
)

# %% [markdown]
# ```{glue:figure} laws-over-time
# :name: fig-laws-over-time
#
# Summed over training, both laws hold. Left, lines are the change of $Q$. Hollow markers are minus the quantisation
# error, $2\gamma\int\mathbb E|z-q|^2$, plus the squares of the steps, a small share: under the rotation they lie on the
# line, under STE below it by $\int\mathbb E\langle g,e\rangle$. Right, lines are the change of the momentum, markers
# the pushes $\beta\,\mathbb E[G^\top g]$ summed up: on the lines under both.
# ```
#
# ## What follows
#
# ```{prf:corollary} Who pays for the error
# :label: cor-paid
#
# Under the rotation, without decay and with $\gamma>0$,
# $2\gamma\int_0^T\mathbb E|z-q|^2\,dt=Q(0)-Q(T)\le Q(0)+\frac12|W(T)|^2$ as long as the flow exists. So there is no
# stationary point with a positive quantisation error, and either $|W|$ is unbounded or the error has a finite integral.
#
# <claim:B-066>
# ```
#
# ````{prf:proof}
# Integrate {eq}`eq-scale` with its first term $0$. $Q(T)\ge-\frac12|W(T)|^2$. At a stationary point $Q'=0$.
# ````
#
# This is {prf:ref}`cor-dichotomy` without its condition that codes are always centroids: they may be on their way, or
# far behind. The same holds for the steps of gradient descent, up to the squares of the steps.

# %%
show(conserved.error_is_paid_for, conserved.momentum_in_training)

# %% [markdown]
# ```{prf:corollary} Where biases rest
# :label: cor-rest
#
# Let the biases not decay. Where $b_W$ rests, $\mathbb E\,g=0$, and STE leaves $\beta b+\gamma\sum_kq_k$ where it is.
# The rotation moves it by $-\beta\,\mathbb E[(G_\mu^\top-I)g]$. At a stationary point with every used code at rest
# $\mathbb E\,g=0$ and $\mathbb E[G^\top g]=0$, and then
#
# $$ \gamma\,\mathbb E|z-q|^2=\lambda_W|W|^2-\lambda_E|E|^2 $$
#
# under $G_\mu$, whatever the centre $\mu$.
#
# <claim:B-065>
# ```
#
# ````{prf:proof}
# {eq}`eq-momentum` gives all but the last claim: a code in use rests where it is the mean of its latents, so
# $\mathbb E[z-q]=0$, and $b'=0$ says $\mathbb E[u]=0$. For the last, $G_\mu z=q-\mu+G_\mu\mu$, so $\mathbb E\langle
# g,q-G_\mu z\rangle=\langle\mathbb E[g-G_\mu^\top g],\mu\rangle=0$, and {eq}`eq-scale` is left, with $b$ undecayed.
# ````
#
# So a centre changes the way of training and not the law of its stationary points. The way can lead elsewhere all the
# same: the push $\mathbb E[(G_\mu^\top-I)g]$ depends on $\mu$, and {ref}`the next chapter <nb-drift>` shows what it
# does.
#
# And the balance law of {prf:ref}`thm-balance` has a form about $\mu$, with the same proof: where $G(z-\mu)=q-\mu$,
#
# $$ \langle(E,b-\mu),\partial L_{\rm rec}\rangle=\mathbb E\langle g,q-\mu\rangle
#    =\langle W,\partial_WL_{\rm rec}\rangle-\langle W\mu,\partial_{b_W}L_{\rm rec}\rangle . $$
#
# <claim:B-065>

# %%
show(conserved.centre_drops_out, conserved.balance_about_a_centre)

# %% [markdown]
# ### Latents on a face
#
# Under STE latents come to rest on the faces between cells: they are driven across from either side
# ({prf:ref}`prop-hover`). A flow with such jumps is understood in the sense of Filippov: on a face the velocity is a
# weighted mean of the velocities of all assignments that are possible there. On the line with the codes $\pm1$, for
# instance, let STE drive a latent with the code $-1$ to the right and one with the code $1$ to the left. At the face,
# $0$, there are weights with which the two velocities cancel, and the latent rests there.
#
# ```{prf:proposition} Faces change nothing
# :label: prop-filippov
#
# All laws of {prf:ref}`thm-matrix` hold along Filippov solutions, with the right sides averaged in the same way. In the
# scale law of the rotation the average is the value itself. So the rotation has no point of rest on a face either, if
# $\gamma>0$, nothing decays and $\mathbb E|z-q|^2>0$.
#
# <claim:B-067>
# ```
#
# ````{prf:proof}
# The left sides are linear in the velocities, and the law holds for each assignment. A latent on a face is equally far
# from the codes it may take, so $\mathbb E|z-q|^2$ is the same for all of them. $z=0$ is excluded, where $r$ is
# infinite.
# ````

# %%
show(conserved.faces_change_nothing)

# %% [markdown]
# ### EMA, and Adam
#
# *Weight decay* is in the laws already. If the codes decay by $\lambda_C|C|^2$, too, the scale law has
# $-2\frac\gamma\beta\lambda_C|C|^2$ more.
#
# *EMA.* Let $n_k$ be the share of the latents that have the code $q_k$, and $c_k$ its running mean. Codes that follow
# at the rate $\omega$ obey a law of the same form, with $\frac{2\gamma}\omega\sum_kc_k|q_k|^2$ in place of
# $\frac\gamma\beta\sum_k|q_k|^2$ and one more term, $\gamma\sum_k(n_k-c_k)|q_k|^2$ on the right, which vanishes once
# the shares are steady. For in small steps {eq}`eq-ema` is $c_k'=\omega(n_k-c_k)$ and $c_kq_k'=\omega n_k(\bar
# z_k-q_k)$. So half of the new sum changes at the rate $\gamma\sum_k(n_k-c_k)|q_k|^2-2\gamma\,\mathbb E\langle
# e,q\rangle$. The commitment adds $2\gamma\,\mathbb E\langle e,z\rangle$, and together the last two are
# $-2\gamma\,\mathbb E|e|^2$.
#
# *Adam* divides each gradient by a number of its own. Were these numbers $M$ fixed, both laws would hold with
# $\langle E,ME\rangle$ in place of $|E|^2$ and so on, and nothing else changed: each weight $p$ would have
# $Mp'=-\partial_pL$, so half of $\langle p,Mp\rangle$ would change at the rate $-\langle p,\partial_pL\rangle$, as half
# of $|p|^2$ does under the flow.

# %%
show(conserved.ema_law, conserved.frozen_adam)

# %% [markdown]
# Real Adam breaks this in three ways. $M$ changes, which adds $\frac12\langle E,M'E\rangle$ to the rate of
# $\frac12\langle E,ME\rangle$. The step follows a running mean of gradients and not the gradient. And steps are finite.
# With momentum conservation laws are known to be fewer in general {cite}`marcotte2024momentum`. What survives is what
# needs no flow: the identity {eq}`eq-report` at every step, and the stationary points, which are the same zeros of the
# same gradients.

# %%
net = small_network()
start, paid = float(conserved.quantity(net, net.weights)), 0.0
weights = [w.clone().requires_grad_() for w in net.weights]
optimiser = torch.optim.Adam(weights, lr=rate / 4)
for _ in range(steps):
    net.weights = [w.detach() for w in weights]
    for weight, velocity in zip(weights, net.run("rotation")):
        weight.grad = -velocity
    paid += 2 * net.gamma * rate / 4 * float(net.error)
    optimiser.step()
gained = float(conserved.quantity(net, [w.detach() for w in weights])) - start
if is_published:
    assert abs(gained + paid) > 0.1 * paid
glue("adam_gained", gained)
glue("adam_paid", -paid)

# %% [markdown]
# ```{prf:observation} Adam does not keep the law
# :label: obs-adam
#
# For the small network under Adam and the rotation, $Q$ changes by {glue:text}`adam_gained:.2f`, where the flow's law
# would say {glue:text}`adam_paid:.2f`. <claim:B-086>
# ```
#
# ## What to keep
#
# - STE is exact along shifts, the rotation along stretching about its centre, and no rule for single pairs along both.
# - In training the scale law {eq}`eq-scale` says who pays for the quantisation error, the momentum law
#   {eq}`eq-momentum` whether the latents drift.
# - A centre changes the way, not the law of the stationary points.
#
# ## Exercises
#
# **1.** Take $z=(1,0)$, $q=(0.8,0.6)$, $g=(0,1)$ and the centre $\mu=(1,1)$. What is the true derivative along
# stretching about $\mu$, and what do STE, the rotation about $0$ and the rotation about $\mu$ report?
#
# ```{dropdown} Solution
# The truth is $\langle g,q-\mu\rangle=-0.4$. STE reports $\langle g,z-\mu\rangle=-1$. The rotation about $0$ has
# $G^\top g=(0.6,0.8)$ and reports $\langle G^\top g,z-\mu\rangle=-0.8$. The rotation about $\mu$ reports $-0.4$: it is
# exact by {prf:ref}`prop-exact`.
# ```

# %% tags=["hide-input"]
mu = vector(1, 1)
said = [pull_back("ste", z, q, g), pull_back("rotation", z, q, g), pull_back("rotation", z, q, g, centre=mu)]
said = [float(dot(u, z - mu)) for u in said]
assert np.allclose([float(dot(g, q - mu)), *said], [-0.4, -1, -0.8, -0.4])

# %% [markdown]
# **2.** Leave the quantiser out of {prf:ref}`thm-matrix`: $q=z$, no codes, $\gamma=0$, $b=0$. Which matrix does a
# linear autoencoder $\hat x=WEx$ then conserve?
#
# ```{dropdown} Solution
# With $q=z$ and $u=g$ the right side vanishes, so $E'E^\top=W^\top W'$. The left side plus its transpose is the
# derivative of $EE^\top$, the right side plus its transpose that of $W^\top W$. So $EE^\top-W^\top W$ is conserved: the
# balancedness of linear networks {cite}`du2018balanced`.
# ```

# %% tags=["hide-input"]
E, W, x = normal(3, 5, seed=1), normal(5, 3, seed=2), normal(40, 5, seed=3)
grad = 2 * (x @ E.T @ W.T - x) / len(x)
dE, dW = -(W.T @ grad.T @ x), -(grad.T @ x @ E.T)
rate_of = dE @ E.T + E @ dE.T - dW.T @ W - W.T @ dW
assert rate_of.abs().max() < 1e-12 * (dE @ E.T).abs().max() * 10

# %% [markdown]
# **3.** Which mix $(1-t)I+tG_\mu$ has the smallest sum of *squares* of its two errors in {eq}`eq-trade-off`?
#
# ```{dropdown} Solution
# The errors are $t|e|$ and $(1-t)|e|$. The sum of their squares is least at $t=\frac12$, the member `interpolated`.
# ```

# %% tags=["hide-input"]
shares = torch.linspace(0, 1, 101)
squares = [sum(x * x for x in both_errors((1 - t) * identity(z) + t * G["rotation"])) for t in shares.tolist()]
assert abs(float(shares[int(np.argmin(squares))]) - 0.5) < 1e-6

# %% [markdown]
# ## What this does not say
#
# The laws are about few directions: of all the ways in which latents can move, $1+d+\frac{d(d-1)}2$. They say nothing
# about speed, and an estimator that is exact along a motion need not train better. Earlier work has conservation laws
# for networks without a quantiser {cite}`kunin2021neural,tanaka2021noether,marcotte2024momentum`, and codes that follow
# shifts and stretching of the latents {cite}`huh2023straightening`. We found none about an estimator.
