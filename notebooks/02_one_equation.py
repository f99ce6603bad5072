# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (one-equation)=
# # One equation
#
# ```{admonition} In short
# :class: tip
# An estimator is a matrix $G$ whose transpose carries the decoder's gradient to the encoder. The value is the code,
# whatever $G$ is: that is the one equation, $z_q=\mathrm{sg}[G]\,z+\mathrm{sg}[q-Gz]$. One family holds all estimators:
# a turn, a scale, a projection, a mix and a centre. Only the rotation and the reflection carry $z$ to $q$, and much of
# this book follows from their property $Gz=q$.
# ```
#
# ```{glue:figure} fan
# :name: fig-fan
#
# One step at $q$ becomes ten at $z$: $-g$, which would lower the loss, and the steps $-G^\top g$ that ten members of
# {eq}`eq-family` make of it.
# ```
#
# Straight-through takes the identity for a derivative that is zero. If one may choose, why the identity? This chapter
# writes down everything one may choose, shows what each choice does to the gradient, and lists the members of the
# family that this book compares.

# %% tags=["parameters"]
seed: int = 0
degrees: float = 50.0  # the angle between z and q in the picture
ratio: float = 1.6  # |q|/|z| in the picture

# %% tags=["hide-input"]
from rotvq.page import parameters

parameters.check(globals(), degrees=(1, 179), ratio=(0.05, 3))

# %% tags=["hide-input"]
import math

import matplotlib.pyplot as plt
import pandas as pd
import torch

from book import algebra
from book.statements import show
from book.theory import one_equation
from rotvq import ESTIMATORS, Estimator, rotate
from rotvq.page.figures import ARMS, INK, MUTED, Figure, glue, style

plt.rcParams.update(style())
torch.set_num_threads(1)
draw = torch.Generator().manual_seed(seed)

# %% [markdown]
# ## Any matrix will do
#
# ````{prf:theorem} One equation
# :label: thm-one-equation
# Let $G$ be any $d\times d$ matrix, which may depend on $z$ and $q$, and
# ```{math}
# :label: eq-one
# z_q=\mathrm{sg}[G]\,z+\mathrm{sg}[\,q-Gz\,].
# ```
# The value of $z_q$ is $q$. If $g=\partial L/\partial z_q$ arrives at $z_q$, then $z$ receives
# ```{math}
# :label: eq-pull-back
# \frac{\partial L}{\partial z}=G^\top g,
# ```
# and $q$ and everything that $G$ was computed from receive nothing.
# <claim:B-004> <claim:A-022> <claim:A-024> <claim:A-085>
# ````
#
# ````{prf:proof}
# Forwards, $Gz+q-Gz=q$. Backwards, both brackets are constants, so $z_q$ is an affine function of $z$ with the matrix
# $G$: for a small change $\delta z$, $\delta z_q=G\,\delta z$. Then
# $\delta L=\langle g,G\,\delta z\rangle=\langle G^\top g,\delta z\rangle$.
# ````
#
# So an estimator *is* its pull-back $g\mapsto G^\top g$. Neither the value nor the cost of the forward pass depends on
# the choice. $G=I$ is STE, and $G=0$ is the exact derivative almost everywhere ({prf:ref}`prop-flat`). The
# rotation trick is another member, beside STE; it is the family that generalises STE <claim:A-056>. The family
# restricts nothing: some $G$ turns $g$ into any vector one likes <claim:A-086>. In code one returns $q$ itself and
# attaches the pull-back by hand; $q$ alone would hand nothing to the encoder <claim:A-102>.

# %%
show(one_equation.value, one_equation.transpose, one_equation.codes_untouched)

# %% [markdown]
# The right-hand side of `transpose` is written out from the definition of each member, matrix by matrix
# (`one_equation.definition`); the left-hand side is what automatic differentiation brings through the package's O(d)
# code.
#
# ### What "defines $\partial q/\partial z$" means
#
# One says that {eq}`eq-one` *defines* $\partial q/\partial z=G$. It defines a linear map for the backward pass at this
# one $z$, nothing more. $G(z)$ need not be the derivative of any function of $z$. Take the rotation of the next chapter
# and a fixed $q$. In the plane, with vectors as complex numbers, $G$ multiplies by $q/z$, and that is the derivative of
# $q\log z$. From three dimensions on $G$ is the derivative of nothing, as {ref}`the-field` proves. Only products
# $G^\top g$ are ever taken.
#
# ### The transpose
#
# $\delta z_q=G\,\delta z$ goes forwards; gradients go backwards, and for them {eq}`eq-pull-back` has the transpose on
# the side of $z_q$.
#
# ````{prf:proposition} Transpose, not inverse
# :label: prop-transpose
# Let $G=rR$ with $R$ orthogonal and $r>0$. Then $G\,(G^\top g)=r^2g$. So solving $g=Gx$ for $x$ gives
# $x=G^\top g/r^2$: the right direction, and a length that is wrong by the factor $1/r^2$. <claim:B-005>
# ````
#
# ````{prf:proof}
# $GG^\top=r^2RR^\top=r^2I$. So $x=G^\top g/r^2$ solves $g=Gx$, and no other $x$ does, since $G$ is invertible.
# ````

# %%
show(one_equation.inverse_is_not_transpose)

# %% [markdown]
# ```{admonition} An equation the wrong way round
# :class: caution
# The article {cite}`su2024rotation` derives from {eq}`eq-one` that $\partial L/\partial z_q=G\,\partial L/\partial z$,
# and its chain rule $\partial L/\partial z=(\partial q/\partial z)\,\partial L/\partial q$ lacks the transpose. With
# $|q|=|z|/10$ at the start of a training run, which is what its author describes, the equation as written would make
# the encoder's gradient ten times longer than $g$; it is ten times shorter. The discussion in the article uses the
# correct scale. The appended derivation has $G^\top g$, right, and once
# $\nabla z_q=G^\top\nabla z$, with the two sides exchanged. <claim:A-023> <claim:A-018> <claim:A-069>
# ```
#
# ## The family
#
# All estimators of this book are one composition. Let $\mu$ be a centre, $0$ if none is named, and write $z$ and $q$
# for $z-\mu$ and $q-\mu$ in this section. With $a=z/|z|$, $b=q/|q|$ and $r=|q|/|z|$,
# ```{math}
# :label: eq-family
# G^\top g=(1-t)\,g+t\;\mathrm{clip}(r)\;P\,U^\top g
# ```
# with a turn $U\in\{I,R,H\}$ and a projection $P\in\{I,\,I-aa^\top\}$. *Turn*: $R$ is the smallest rotation that takes
# $a$ to $b$, built in the next chapter. $H=I-2uu^\top$ with $u=(a-b)/|a-b|$ is the reflection that does. *Scale*:
# $\mathrm{clip}(r)$ is $r$ moved into an interval, if it lies outside; an interval of one point makes it a constant;
# `mean_scale` and `mean_rotation` take the mean of $r$ over the batch. *Projection*: $P$ removes the part of the
# gradient along $z$. *Mix*: $t$ blends with STE. It is a number, or it depends on the latents: a fade makes it smaller
# as codes fit, and {ref}`nb-guarantees` has two of them. *Centre*: $\mu$, an argument of every member.
#
# {numref}`fig-play-codebook` has eight members to try: drag $z$, a code, the centre or the tip of the step $-g$, or
# mark one with Tab and use the arrow keys.
#
# ```{figure} ../figures/codebook.svg
# :name: fig-play-codebook
# :class: rotvq-codebook
# :alt: Six codes and their cells, a latent z in one of them, the step minus g at its code, and what z makes of it.
#
# Which way does each estimator tell $z$ to go? Arrows are steps: $-g$ at $q$, $-G^\top g$ at $z$. The list gives the
# length of each as a multiple of $|g|$ and its angle to $-g$. The clipped estimator keeps $r$ between ½ and 2.
# ```
#
# - Move $z$ along its ray from the origin, inside its cell: the rotation's arrow keeps its direction and changes its
#   length. Carry $z$ to the origin: it grows without bound, and the clipped one does not.
# - Drag $z$ onto $q$: straight-through and the rotation agree there.
# - Move $z$ across a wall: the rotation's arrow jumps, that of straight-through does not.
# - Drag the centre far away: the rotation becomes straight-through. Drag it onto $z$: what becomes of $r$?
#
# Here is the whole list, from `rotvq.ESTIMATORS`, with what each keeps, found by trial on random vectors in
# $\mathbb R^8$.

# %% tags=["hide-input"]
z, q, g = (x.double() for x in torch.randn(3, 200, 8, generator=draw))
q, g = (z + q) / 2, g / algebra.norm(g)  # nearer than the spread of z, so that what fades has faded a little


def holds(left, right):
    return "yes" if torch.allclose(left, right, rtol=1e-9, atol=1e-9) else ""


def scale_of(member):
    """The factor of the turn, as the table shows it."""
    low, high = member.clip
    if member.pooled:
        return "mean r"
    if low == high:
        return f"{low:g}"
    return "r" if high == math.inf else f"r in [{low:g}, {high:g}]"


rows = {}
for name, member in ESTIMATORS.items():
    G, found = algebra.jacobian(name, z, q), member.pull_back(z, q, g)
    rows[name] = {
        "turn": {"identity": "I", "rotation": "R", "reflection": "H"}[member.turn],
        "scale": scale_of(member),
        "P": "" if member.radial else "I - aa'",
        "t": f"{member.mix:g}" if member.fade == "none" else f"by {member.fade}",
        "Gz = q": holds(algebra.apply(G, z), q),
        "<G'g,z> = <g,q>": holds(algebra.dot(found, z), algebra.dot(g, q)),
        "|G'g| = |g|": holds(algebra.norm(found), algebra.norm(g)),
        "|G'g| = r|g|": holds(algebra.norm(found), algebra.norm(q) / algebra.norm(z) * algebra.norm(g)),
    }
table = pd.DataFrame(rows).T
carry = set(table.index[table["Gz = q"] == "yes"])
assert carry == {"rotation", "reflection"} == set(table.index[table["<G'g,z> = <g,q>"] == "yes"])
assert set(table.index[table["|G'g| = |g|"] == "yes"]) == {"ste", "rotation_only"}
assert set(table.index[table["|G'g| = r|g|"] == "yes"]) == {"rotation", "reflection", "scale_only"}
table

# %% [markdown]
# In this table a prime stands for the transpose. `Gz = q` and `<G'g,z> = <g,q>` are the same property, since
# $\langle G^\top g,z\rangle=\langle g,Gz\rangle$. Only the rotation and the reflection have it. The chapter
# {ref}`the-rotation` says what follows from it.
#
# `rotation` is the paper's estimator {cite}`fifty2025rotation`, in whose own family every $G$ is a multiple of $R$
# <claim:P-067>. `rotation_only` and `reflection` are its ablations; the former keeps the length of the gradient
# <claim:A-154> <claim:P-061>, whatever the norms <claim:A-261>. `clipped`, `interpolated` and `constant` are proposals
# of the article: clipping keeps the gain within its bounds <claim:A-157>, and the mix runs from STE to the full trick
# <claim:A-155>. `scale_only`, `mean_scale` and `mean_rotation` are controls that separate the turn from the scale; the
# paper has no arm with $G=rI$. `no_gain`, with $\min(r,1)$, never lengthens a gradient ({ref}`nb-guarantees`).
#
# Which $G$ is good? The derivation asks that $G$ keep $g$ near its direction, have a moderate size, and mirror the move
# from $z$ to $q$. At large angles the first and the third exclude each other <claim:A-087>.

# %% tags=["hide-input"]
turn = math.radians(degrees)
z = torch.tensor([1.0, 0.0])
q = ratio * torch.tensor([math.cos(turn), math.sin(turn)])
g = torch.tensor([-0.5, -1.1])
origin, far = algebra.polar(0), algebra.polar(120)  # the first and the third demand exclude each other here
assert ESTIMATORS["rotation"].pull_back(origin, far, far) @ far < 0
shown = [
    "ste",
    "rotation",
    "rotation_only",
    "scale_only",
    "clipped",
    "interpolated",
    "reflection",
    "radial_free",
    "radial_free_scale",
    "constant",
]

figs = []
for part in (shown[:5], shown[5:]):
    fig, ax = plt.subplots(figsize=(4.2, 3.7))
    ax.plot(0, 0, "+", color=INK)
    for point, word in ((z, "$z$"), (q, "$q$")):
        ax.plot([0, point[0]], [0, point[1]], color=MUTED, lw=1)
        ax.plot(*point, "o", color=INK, markersize=4)
        ax.annotate(word, point.tolist(), xytext=(4, -10), textcoords="offset points")
    ax.annotate("", (q - g).tolist(), q.tolist(), arrowprops={"arrowstyle": "-|>", "color": MUTED, "lw": 1.5})
    ax.annotate("$-g$", (q - g).tolist(), xytext=(3, -2), textcoords="offset points")
    for name in part:
        end = z - ESTIMATORS[name].pull_back(z, q, g)
        ax.plot([z[0], end[0]], [z[1], end[1]], color=ARMS[name].color, linestyle=ARMS[name].linestyle)
        ax.plot(*end, ARMS[name].marker, color=ARMS[name].color, label=ARMS[name].label, markersize=6)
    ax.set(xlim=(-0.4, 4.2), ylim=(-1.0, 2.7), aspect="equal")
    ax.legend(loc="upper right", fontsize=8)
    figs.append(fig)
glue(
    "fan",
    Figure(
        figs,
        alt=(
            "A latent z, its code q with the step minus g at q, and at z the step that each of ten estimators "
            "makes of it: copies of it, turned, scaled, reflected, or without the part along z."
        ),
    ),
)

# %% [markdown]
# {numref}`fig-fan`, at the top of this page, has the steps of ten members.
#
# A new member is one line: the rotation at half strength whose scale never exceeds one, say.

# %%
gentle = Estimator("rotation", clip=(0.0, 1.0), mix=0.5)
gentle.pull_back(z, q, g)

# %%
show(one_equation.mixture)

# %% [markdown]
# ## What sg[G] protects
#
# Two stop-gradients in {eq}`eq-one` look like bookkeeping. Both matter.
#
# ````{prf:proposition} Nothing inside sg is learned
# :label: prop-constants
# Let $G$ depend on parameters $\lambda$: a scale, a mix, a network. Under {eq}`eq-one`
# $\partial L/\partial\lambda=0$. <claim:B-006>
# ````
#
# ````{prf:proof}
# $\lambda$ enters $z_q$ through $\mathrm{sg}[\cdot]$ alone.
# ````
#
# ````{prf:proposition} Without sg on G
# :label: prop-without-sg
# Let $G$ be a differentiable function of $z$ and $q$ with $G(z,q)z=q$. In $z_q=G(z,q)\,z$, without stop-gradient, $z$
# receives $0$ and $q$ receives all of $g$. <claim:B-007> <claim:A-030>
# ````
#
# ````{prf:proof}
# As a function of $z$ and $q$, $G(z,q)z$ is identically $q$. Its derivative by $z$ is $0$ and by $q$ it is $I$.
# ````

# %%
show(one_equation.constants_inside, one_equation.stop_gradient_matters)

# %% [markdown]
# ```{admonition} Three proposals that cannot be trained as written
# :class: caution
# The derivation suggests to learn the mix $\lambda$, a scale $r_i$ for each code, or a network $G=f(z,q;\vartheta)$ end
# to end. By {prf:ref}`prop-constants` their gradients are zero, identically. And taking them out of $\mathrm{sg}$
# changes the value's dependence on them not at all: $z_q=q$ whatever $G$ is, so the loss does not depend on
# $\lambda$. They can be learned by another rule, for instance from the loss after the step. <claim:A-214>
# <claim:A-245> <claim:A-246> The paper makes the opposite remark, that the derivative of $f(e)\,e$ cannot be computed.
# By {prf:ref}`prop-without-sg` it is $0$. <claim:P-057>
# ```
#
# ### A stop-gradient in the wrong place
#
# The same proposition explains a difference in the paper's released code {cite}`fifty2024code`. Two of its files apply
# the detached rotation to $z/|z|$ without detaching $|z|$.
#
# ````{prf:proposition} The radial-free variant
# :label: prop-radial-free
# $z_q=\mathrm{sg}\big[|q|R\big]\,\dfrac{z}{|z|}$ has the value $q$ and the pull-back $r\,P\,R^\top g$ with
# $P=I-aa^\top$. So $\langle\partial L/\partial z,z\rangle=0$: a latent that follows its own gradient keeps its norm to
# first order. <claim:B-008> <claim:P-076>
# ````
#
# ````{prf:proof}
# By the quotient rule the derivative of $z/|z|$ is $I/|z|-zz^\top/|z|^3=P/|z|$. So $G=\frac{|q|}{|z|}RP$, whose
# transpose is $rPR^\top$. What $P$ hands back is orthogonal to $z$: $\langle Px,z\rangle=\langle x,Pz\rangle=0$.
# ````

# %%
show(one_equation.released_code, one_equation.radial_free)

# %% [markdown]
# In a network latents share weights, and the gradients of others can lengthen a latent. What is kept there is the size
# of the encoder's last layer: {ref}`nb-balance`.
#
# The paper's formula is `rotation`; `radial_free` is what these files compute <claim:P-076> <claim:P-077>. They are
# different estimators, and the book runs both. The arm of the paper's Table 7 without $|q|$ is neither: its pull-back
# is $PR^\top g/|z|$ <claim:P-078>.
#
# ## The encoder's whole gradient
#
# Let $J=\partial z/\partial\vartheta$ be the Jacobian of the encoder with parameters $\vartheta$. From {eq}`eq-who` and
# {eq}`eq-pull-back`,
# ```{math}
# :label: eq-encoder
# \frac{\partial L}{\partial\vartheta}=\sum_z J^\top\left(G^\top g+2\gamma\,(z-q)\right),\qquad
# \frac{\partial L}{\partial q_k}=\sum_{z:\,k(z)=k}2\beta\,(q_k-z).
# ```
# The estimator changes one term of one line <claim:A-130> <claim:A-131>. The value, the decoder's gradient and the
# codes' do not notice <claim:P-003> <claim:A-070> <claim:A-133>. The commitment loss does not pass
# through $G$. So if $G$ shrinks $g$, the balance with the commitment term shifts, which is as if $\gamma$ had grown.
# Much of what follows in this book comes from this sentence.
#
# For the rotation the factor is $r=|q|/|z|$, one for each latent <claim:A-153>, and its $G=rR$ is a rotation only where
# $r=1$ <claim:A-123>. With $|z|=10$ and $|q|=1$ the encoder
# receives a tenth of $g$ <claim:A-215>, with $|z|=1$ and $|q|=5$ five times $g$ <claim:A-216>, and next to nothing
# where $q$ is near $0$ <claim:P-063> <claim:A-038>. This is not quite an effective learning rate $r\eta$. It scales the
# reconstruction part alone, and Adam divides a constant factor out <claim:A-151> <claim:A-217>.

# %% tags=["hide-input"]
z, q, g = torch.randn(3, 64, 3, generator=draw)
weight = torch.randn(3, 3, generator=draw, requires_grad=True)
latent = z @ weight
((rotate(latent, q) * g).sum() + 0.25 * (latent - q).square().sum()).backward()
by_hand = z.T @ (ESTIMATORS["rotation"].pull_back(latent, q, g) + 2 * 0.25 * (latent - q))
assert torch.allclose(weight.grad, by_hand, rtol=1e-4, atol=1e-4)

# %% [markdown]
# ## What to keep
#
# - An estimator is its pull-back $g\mapsto G^\top g$. The value is $q$, whatever $G$ is.
# - All members are a turn, a scale, a projection, a mix and a centre. $Gz=q$ says the same as
#   $\langle G^\top g,z\rangle=\langle g,q\rangle$, and only the rotation and the reflection have it.
# - Nothing inside $\mathrm{sg}$ is learned. Without $\mathrm{sg}$ on $G$ the encoder receives nothing.
#
# ## Exercises
#
# **1.** Take $z=(1,0)$, $q=(0.8,0.6)$ and $g=(0,1)$. What do the rotation, the reflection and the radial-free rotation
# hand to $z$?
#
# ```{dropdown} Solution
# $r=1$. The rotation turns $g$ back by the angle from $z$ to $q$: $(0.6,0.8)$. The reflection exchanges $z$ and $q$ and
# takes $g$ to $(0.6,-0.8)$. The radial-free one drops what of $(0.6,0.8)$ lies along $z$: $(0,0.8)$.
# ```

# %% tags=["hide-input"]
pair = [torch.tensor([x], dtype=torch.float64) for x in ([1.0, 0.0], [0.8, 0.6], [0.0, 1.0])]
for name, answer in {"rotation": (0.6, 0.8), "reflection": (0.6, -0.8), "radial_free": (0.0, 0.8)}.items():
    assert torch.allclose(ESTIMATORS[name].pull_back(*pair), torch.tensor([answer]).double())

# %% [markdown]
# **2.** Which $G$ makes a descent step on the encoder *raise* the loss as fast as STE lowers it? Does the value change?
#
# ```{dropdown} Solution
# $G=-I$: then $G^\top g=-g$. The value is $q$, as for every $G$.
# ```

# %% tags=["hide-input"]
z, q = torch.randn(2, 5, 3, generator=draw)
assert torch.allclose(-z + (q + z), q, atol=1e-6)

# %% [markdown]
# **3.** The pair again, with $g=(0,1)$: what does the even mix of STE and rotation hand to $z$, and how long is it?
#
# ```{dropdown} Solution
# $\frac12(0,1)+\frac12(0.6,0.8)=(0.3,0.9)$, of length $\sqrt{0.9}\approx0.95$: a mean of two directions is shorter than
# either.
# ```

# %% tags=["hide-input"]
mixed = ESTIMATORS["interpolated"].pull_back(*pair)
assert torch.allclose(mixed, torch.tensor([[0.3, 0.9]]).double())
