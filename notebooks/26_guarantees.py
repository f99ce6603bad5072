# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (nb-guarantees)=
# # What can be guaranteed
#
# ```{admonition} In short
# :class: tip
# A turn that is cut off at a distance $\kappa$ below 1 from straight-through never makes an obtuse angle with the
# decoder's step $-g$. A small enough step then lowers the loss without quantiser $f$ wherever $|\nabla f(z)|$ is above
# $\frac{1+\kappa}{1-\kappa}h_{\max}|q-z|$. For every rule there is a case in which one step of it ends worse than STE's
# or the rotation's. "The rotation raises the usage of codes" is no law: it can trap latents as well as free them.
# ```
#
# ```{glue:figure} paths
# :name: fig-paths
#
# The rotation runs in circles for ever, the capped turn goes down: the example of {prf:ref}`prop-circle`, a linear loss
# that falls downwards, and $r=1$.
# ```
#
# Symbols: $z$ a latent, $q$ its code, $e=q-z$, $g=\partial L_{\rm rec}/\partial z_q$; $G_\mu$ the rotation trick about
# a centre $\mu$, with $r=|q-\mu|/|z-\mu|$. The running pair is $z=(1,0)$, $q=(0.8,0.6)$ with $|e|^2=0.4$. Arrows show
# the step the encoder takes, $-G^\top g$.

# %% tags=["parameters"]
cap: float = 0.5  # of the capped turn
steps: int = 300  # of the two latents in the pictures

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("26_guarantees", globals(), cap=(0.01, 0.99), steps=(50, 100_000))

# %% tags=["hide-input"]
import math

import matplotlib.pyplot as plt
import torch

from book.algebra import dot, nearest, norm, normal, polar, pull_back, vector
from book.statements import show
from book.theory import guarantees
from rotvq import ESTIMATORS
from rotvq.page.figures import ARMS, INK, MUTED

ROTATION, STE = ARMS["rotation"], ARMS["ste"]
CAPPED = ARMS["interpolated"]
zero = torch.zeros(2, dtype=torch.float64)

# %% [markdown]
# ## A turn with a cap
#
# The rotation changes a gradient by up to $\|G_\mu-I\|=|e|/|z-\mu|$, relatively. If the error is longer than the way to
# the centre, that is above 1. Then a step can go uphill, and {prf:ref}`prop-circle` shows a latent that runs in circles
# for ever. The cure is to turn less where the turn is too strong:
#
# $$ G_t=I+t\,(G_\mu-I),\qquad t=\min\Big(1,\;\kappa\,\frac{|z-\mu|}{|q-z|}\Big),\qquad 0<\kappa<1 . $$ (eq-capped)

# %% tags=["hide-input"]
codes, slope = vector(1, 0, -4, 0).view(2, 2), vector(0, 1)[None]
paths = {}
for name, limit in (("rotation", None), ("capped", cap), ("ste", 0.0)):
    x, path = polar(115.0)[None], []
    for _ in range(steps):
        path.append(x)
        q = codes[nearest(x, codes)]
        t = 1.0 if limit is None else guarantees.capped_weight(x, q, zero, max(limit, 1e-9))
        x = x - 0.02 * guarantees.mixed(x, q, slope, zero, t)
    paths[name] = torch.cat(path)
heights = {name: path[:, 1] for name, path in paths.items()}
assert heights["rotation"].diff().max() > 0.005  # uphill at times
assert heights["capped"].diff().max() < 0  # never
fig, ax = plt.subplots(figsize=(4.4, 3.6))
labels = {"rotation": "rotation", "capped": f"capped at {cap:g}", "ste": "STE"}
for name, look in (("rotation", ROTATION), ("capped", CAPPED), ("ste", STE)):
    inside = paths[name][paths[name][:, 1] > -2.2]
    ax.plot(*inside.T, linestyle=look.linestyle, color=look.color, label=labels[name])
ax.plot(*codes[0], "s", color=INK)
ax.plot(0, 0, "+", color=INK, markersize=9)
ax.annotate("$q$", codes[0], xytext=(6, 4), textcoords="offset points")
ax.annotate("", (-1.6, -0.6), (-1.6, 0.4), arrowprops={"arrowstyle": "->", "color": MUTED})
ax.annotate("downhill", (-1.9, 0.5), color=MUTED, fontsize=8)
ax.set(aspect="equal", xlim=(-2, 2), xticks=[], yticks=[])
ax.legend(loc="lower right")
page.show(
    "paths",
    fig,
    "Paths of one latent under a constant slope. Under STE it goes straight down. Under the rotation it runs around "
    "the origin. With the cap it bends a little and goes down all the same.",
)

# %% [markdown]
# ````{prf:theorem} The capped turn
# :label: thm-capped
#
# Let $f$ be the loss without quantiser, whose gradient has the Lipschitz constant $h_{\max}$, $u=G_t^\top\nabla f(q)$
# with {eq}`eq-capped`, and $0<\eta\le1/h_{\max}$. Let no latent lie at $\mu$.
#
# 1. $\|G_t-I\|=\min(\kappa,|e|/|z-\mu|)$, so $\langle g,G_t^\top g\rangle\ge(1-\kappa)|g|^2$: the step makes no obtuse
#    angle with $-g$, the step at $q$.
# 2. $|u-\nabla f(z)|\le(1+\kappa)h_{\max}|e|+\kappa|\nabla f(z)|$.
# 3. The step $z-\eta u$ does not raise $f$, as long as
#    $|\nabla f(z)|\ge\dfrac{1+\kappa}{1-\kappa}\,h_{\max}\,|q-z|$.
# 4. Over $T$ such steps from $z_0$ on, whatever code $q_i$ the latent has at $z_i$,
#
# $$ \frac1T\sum_{i<T}|\nabla f(z_i)|^2\le\frac{2\big(f(z_0)-\inf f\big)}{(1-\kappa)\,\eta\,T}
#    +\Big(\frac{1+\kappa}{1-\kappa}\Big)^2h_{\max}^2\,\frac1T\sum_{i<T}|q_i-z_i|^2 . $$
#
# <claim:B-072>
# ````
#
# ````{dropdown} Proof
# *1.* $\|G_t-I\|=t\,\|G_\mu-I\|=t|e|/|z-\mu|$.
#
# *2.* $u-\nabla f(z)=G_t^\top(\nabla f(q)-\nabla f(z))+(G_t^\top-I)\nabla f(z)$, with $\|G_t\|\le1+\kappa$ and
# $|\nabla f(q)-\nabla f(z)|\le h_{\max}|e|$.
#
# *3.* For $\eta\le1/h_{\max}$ and any $u$, $f(z-\eta u)\le f(z)-\frac\eta2|\nabla f(z)|^2+\frac\eta2|u-\nabla f(z)|^2$.
# The last term is at most the one before it if $(1+\kappa)h_{\max}|e|+\kappa|\nabla f|\le|\nabla f|$.
#
# *4.* By Young's inequality $(a+b)^2\le\frac{a^2}{1-\kappa}+\frac{b^2}\kappa$, so
# $|u-\nabla f|^2\le\frac{(1+\kappa)^2}{1-\kappa}h_{\max}^2|e|^2+\kappa|\nabla f|^2$. Insert this into the inequality of
# part 3 and sum over the steps.
# ````
#
# For $\kappa\to0$ these are the constants of STE. For the rotation itself there is no such statement without conditions
# on where the path goes ({prf:ref}`prop-circle`).
#
# What does the cap cost? $\langle g,q-\mu\rangle-\langle G_t^\top g,z-\mu\rangle=(1-t)\langle g,e\rangle$: of the
# balance law, its share $1-t$, and only for the latents that it caps, those with $|e|>\kappa|z-\mu|$.

# %%
show(guarantees.cap_holds, guarantees.never_uphill, guarantees.capped_gradient_error, guarantees.cost_of_mixing)

# %%
show(guarantees.capped_descent, guarantees.capped_average)

# %% [markdown]
# ## A turn that fades
#
# The cap looks at one latent. One weight for all can look at how well the codes fit:
#
# $$ t=\min\Big(1,\sqrt{\mathbb E|z-q|^2/\operatorname{Var}z}\Big),\qquad \mu=\text{the mean code}. $$ (eq-fading)
#
# ```{prf:proposition} Of second order
# :label: prop-fading
#
# Let $\mathbb E|z-q|^2\le\operatorname{Var}z$, as it is for centroid codes, and let no latent lie at $\mu$. Measure the
# distance from STE by $\mathbb E\big[\|G_t-I\|^2|z-\mu|^2\big]$. It is $t^2\,\mathbb E|z-q|^2=t^4\operatorname{Var}z$
# for the fading turn, and $\mathbb E|z-q|^2=t^2\operatorname{Var}z$ for the rotation itself.
#
# <claim:B-073>
# ```
#
# ````{prf:proof}
# $\|G_t-I\||z-\mu|=t|e|$ for every latent. Centroids leave at most the variance of $z$ as their error: it is the sum of
# the variance within cells, which is $\mathbb E|z-q|^2$, and that between them.
# ````
#
# So with $t$ the root of the relative quantisation error, the rotation approaches STE like $t$ as the codes fit better,
# and the fading turn like $t^2$. At the start, when codes fit badly, it is the rotation. It has no guarantee for a
# single latent, which may be near the centre: the two weights can be combined.

# %%
show(guarantees.fading_is_of_second_order)

# %% [markdown]
# ## Centres that move along
#
# ```{prf:proposition} What a similarity does
# :label: prop-moves-along
#
# Let latents, codes and the centre all move by one similarity $x\mapsto sUx+v$, with $s>0$ and $U$ orthogonal. Then $t$
# of {eq}`eq-capped` and of {eq}`eq-fading` stay as they are, and $G_t^\top$ becomes $UG_t^\top U^\top$. The mean code
# and the mean latent are centres that move so. The origin is not, under shifts.
#
# <claim:B-073>
# ```
#
# ````{prf:proof}
# Both weights are ratios of lengths that are all multiplied by $s$. $G_\mu$ depends on $z-\mu$ and $q-\mu$, which
# become $sU(z-\mu)$ and $sU(q-\mu)$, and $R(Ua,Ub)=UR(a,b)U^\top$.
# ````
#
# An untrained encoder puts its latents anywhere. An estimator of this kind does not depend on where, and neither does
# STE.
#
# ```{prf:proposition} No gain past one
# :label: prop-no-gain
#
# $\min(r,1)R$ about $\mu$ never lengthens a gradient. Its distance from STE is $|q-z|/|z-\mu|$ where $r\le1$, and
# $2\sin\frac\theta2\le|q-z|/|z-\mu|$ where $r>1$, with $\theta$ the angle at $\mu$.
#
# <claim:B-073>
# ```
#
# ````{prf:proof}
# $\|\min(r,1)R\|\le1$. In the plane of $z-\mu$ and $q-\mu$ the map $sR-I$ stretches by $|se^{i\theta}-1|$ and off it by
# $|s-1|$, which is less. For $s=r$ this is $|q-z|/|z-\mu|$. For $s=1$ it is $2\sin\frac\theta2$, and
# $|re^{i\theta}-1|^2=(r-1)^2+4r\sin^2\frac\theta2\ge4\sin^2\frac\theta2$ if $r\ge1$.
# ````
#
# It gives up $Gz=q$ where $r>1$, and with it the balance law.

# %%
show(guarantees.moves_along, guarantees.no_gain_past_one)

# %% [markdown]
# ### As members of the family
#
# $\min(r,1)R$ is the member `no_gain` of {eq}`eq-family`: a clip. In the other two $t$ is computed: `fading` is
# {eq}`eq-fading`, for the latents of one call, and `capped` is {eq}`eq-capped` with $\kappa=\frac12$. The centre is an
# argument of all members.

# %%
cloud, book, arrives = normal(200, 4, seed=1) + 2, normal(12, 4, seed=2) + 2, normal(200, 4, seed=3)
chosen, centre = book[nearest(cloud, book)], book.mean(0)
weights = {
    "fading": guarantees.fading_weight(cloud, chosen),
    "capped": guarantees.capped_weight(cloud, chosen, centre, 0.5),
}
for name, weight in weights.items():
    felt = ESTIMATORS[name].pull_back(cloud, chosen, arrives, centre=centre)
    assert torch.allclose(felt, guarantees.mixed(cloud, chosen, arrives, centre, weight))

# %% [markdown]
# ## What cannot be had
#
# The experiments of this book find STE better from some starts and the rotation from others. One would like a rule that
# is never worse than the better of the two.
#
# ```{prf:theorem} No rule is never worse
# :label: thm-never
#
# Take any rule that makes a step from $z$, $q$ and $g$, and from whatever it has seen before, as long as that does not
# tell it the other code or the loss there. Let the steps of STE and of the rotation not be along $e$, so that $z$, $q$
# and the end of a step make a triangle. If the rule differs from one of them, there are a codebook of two, $q$ and
# another code, and a loss with this $g$ at $q$ for which one step of the rule ends with a higher loss than one step of
# that one.
#
# <claim:B-074>
# ```
#
# ````{dropdown} Proof
# Let $P$ be where the rule goes and $P'$ where the other goes, $P\ne P'$. Suppose first that $P'$ is not in the
# triangle of $z,q,P$. Then a hyperplane separates $P'$ strictly from the triangle. Let the second code be the mirror
# image of $q$ in it. The cell of $q$ is its near side, so $z$ and $P$ choose $q$ and $P'$ the second code. Give the
# second code the lower loss: there is a smooth loss with given values at two points and a given gradient at one.
#
# Otherwise $P$ is not in the triangle of $z,q,P'$: if both triangles contained the third corner of the other they would
# be equal, and since $z,q,P'$ do not lie on a line, $P=P'$. So a hyperplane has $P$ alone on its far side. Give the
# second code the higher loss.
# ````
#
# This is about one step and one latent, which is enough for "never". It does not say that no rule is better on average,
# or on the problems that occur. That is for experiments.

# %%
show(guarantees.no_rule_is_never_worse)

# %% [markdown]
# ## Usage: a trap
#
# The paper reports that the rotation raises the share of codes in use. Is there a law behind it? The length of a latent
# has one: where $G(z-\mu)=q-\mu$, the flow $z'=-G^\top g$ with fixed $g$ has
# $\frac d{dt}|z-\mu|^2=-2\langle g,q-\mu\rangle$. It can be read in either direction.

# %% tags=["hide-input"]
centre, start, g = zero, vector(0.62, 0.45)[None], vector(0.7, -0.5)[None]
codes = torch.stack([vector(0.3, 0.0), *(polar(angle, 2.0) for angle in (0, 72, 144, 216, 288))])
paths = {}
for name in ("rotation", "ste"):
    x, path = start, []
    for _ in range(steps):
        path.append(x)
        felt = pull_back(name, x, codes[nearest(x, codes)], g)
        x = x - 0.01 * norm(x).clamp_max(1) * felt / norm(felt)
    paths[name] = torch.cat(path)
side = torch.linspace(-2.3, 2.3, 240, dtype=torch.float64)
plane = torch.cartesian_prod(side, side)
squares = (plane[:, None] - codes).square().sum(-1)
nearer = (squares[:, 0] - squares[:, 1:].amin(1)).view(240, 240).T  # to the first code than to all others: below 0
assert (nearest(paths["rotation"], codes) == 0).all()
if steps >= 300:
    assert (nearest(paths["ste"], codes) > 0).any()
fig, ax = plt.subplots(figsize=(4.2, 3.8))
ax.contour(side, side, nearer, levels=[0], colors=[MUTED], linewidths=1)
angles = torch.linspace(0, 2 * math.pi, 80)
circle = float(norm(start)) * torch.stack([angles.cos(), angles.sin()])
ax.plot(*circle, ":", color=MUTED, linewidth=1)
for name in ("rotation", "ste"):
    ax.plot(*paths[name].T, ARMS[name].linestyle, color=ARMS[name].color, label=ARMS[name].label)
ax.plot(*codes.T, "s", color=INK)
ax.plot(*start.T, "o", color=INK, markersize=5)
ax.set(aspect="equal", xticks=[], yticks=[])
ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncol=2)
page.show(
    "trap",
    fig,
    "A bounded cell around the origin and the circle through a latent in it. Under STE the latent leaves the cell on a "
    "straight line. Under the rotation it spirals to the origin inside the circle.",
)

# %% [markdown]
# ```{glue:figure} trap
# :name: fig-trap
#
# The rotation keeps the latent in its cell, STE leads it out: one latent, one fixed gradient. The dotted circle about
# the centre lies in the cell. A step is $0.01$ long, and a hundredth of the distance from the centre where that is less
# than $1$.
# ```
#
# ```{prf:theorem} The trap
# :label: thm-trap
#
# Let the ball about $\mu$ through $z$ lie in the cell of $q$, and let $\langle g,q-\mu\rangle\ge0$. Let the latent
# follow the flow $z'=-G^\top g$ with fixed $g$. Under every estimator with $G(z-\mu)=q-\mu$ it stays in the cell as
# long as the flow exists. If $\langle g,q-\mu\rangle>0$ the flow ends after the time
# $|z-\mu|^2/(2\langle g,q-\mu\rangle)$ at the latest: if it has not ended before, the latent is then at $\mu$. STE
# leaves every bounded cell if $g\ne0$.
#
# <claim:B-075>
# ```
#
# ````{prf:proof}
# $\frac d{dt}|z-\mu|^2=-2\langle g,q-\mu\rangle\le0$, so the latent stays in the ball, and in the cell. At the named
# time the square would be $0$. STE moves along the ray $z-tg$, and no ray is bounded.
# ````
#
# This is about the flow. With steps it can be otherwise: if $q\ne\mu$, the rotation's
# $|G^\top g|=|g||q-\mu|/|z-\mu|$ has no bound near $\mu$. So there a step of any fixed size leads out of every bounded
# cell, whatever $g\ne0$ is. The steps in {numref}`fig-trap` are cut short there.
#
# So with the same $g$ the rotation can keep a latent from the codes that STE would bring it to. Nor does it always
# lower usage: where $\langle g,q-\mu\rangle<0$ it drives latents outwards, where the codes are. What holds is this:
# relative to STE the rotation moves a latent towards its centre where $\langle g,e\rangle>0$, and away from it where
# $\langle g,e\rangle<0$ ({prf:ref}`prop-price`). Where quantising costs and the loss is convex, the mean of
# $\langle g,e\rangle$ is above $0$ ({prf:ref}`prop-cost`), so there the way towards the centre prevails. If the codes
# lie there, they come into use. If they lie outside, they fall out of use.
#
# ```{prf:proposition} Revival
# :label: prop-revival
#
# Putting a code that no latent uses anywhere else does not raise $\mathbb E\min_k|z-q_k|^2$. Putting it on a latent
# lowers it by that latent's share of the error, at least.
#
# <claim:B-076>
# ```
#
# ````{prf:proof}
# All codes that were nearest to some latent are still there.
# ````
#
# It is about the data on which the code was unused. On others it may have been the nearest. And it does nothing about a
# push: revival gives latents that slide new codes to slide away from, which wins the race only if it is quick.

# %%
show(guarantees.trap, guarantees.long_steps_leave, guarantees.ste_leaves, guarantees.revival_is_safe)

# %% [markdown]
# ## Geometry: what the rotation transports
#
# *This section needs some differential geometry. Nothing later uses it.* The paper calls its estimator a transport of
# gradients. It is one, in the strict sense. A *metric* says how long a short step is, depending on the place.
# *Levi-Civita transport* carries a vector along a path without turning or stretching it, as the metric measures. A
# *geodesic* is a shortest path.
#
# ```{prf:theorem} Levi-Civita transport
# :label: thm-transport
#
# In the metric $|dz|^2/|z|^2$ on $\mathbb R^d\setminus\{0\}$, $G=rR$ is the Levi-Civita transport from $z$ to $q$ along
# the shortest path, a logarithmic spiral, if $q$ is not a negative multiple of $z$. Every other path from $z$ to $q$ in
# their plane gives the same, however often it winds about $0$.
#
# <claim:B-077>
# ```
#
# ````{dropdown} Proof
# With $\ln|z|$ and $z/|z|$ as coordinates the metric is that of the cylinder $\mathbb R\times S^{d-1}$, a line times
# the unit sphere. Its geodesics change the first evenly and follow a great circle in the second: logarithmic spirals.
# For a metric $e^{2\varphi}|dx|^2$, here with $\varphi=-\ln|x|$, transport of $v$ along a path $x(t)$ reads
# $v'=-\langle\nabla\varphi,x'\rangle v-\langle\nabla\varphi,v\rangle x'+\langle x',v\rangle\nabla\varphi$. The law
# `transport_equation` compares it with the derivatives of the metric. With $\nabla\varphi=-x/|x|^2$:
#
# $$ v'=\frac{\langle x,x'\rangle v+\langle x,v\rangle x'-\langle x',v\rangle x}{|x|^2} . $$ (eq-transport)
#
# Let the path lie in a plane through $0$. For $v$ in the plane the right side is, in complex numbers, $(x'/x)v$, since
# $\langle x,x'\rangle v+\langle x,v\rangle x'-\langle x',v\rangle x=x^*x'v$ there, with a star for the conjugate. So
# $v/x$ is constant, and $v$ is multiplied by $q/z$ in all. For $v$ orthogonal to the plane it is
# $\langle x,x'\rangle v/|x|^2=(\ln|x|)'v$, so $v$ is multiplied by $|q|/|z|$. Together this is $rR$.
# ````
#
# Compare {eq}`eq-transport` for a short step $x'=e$ with {eq}`eq-expansion`: $G$ is the identity and this generator.
# The pull-back $G^\top$ is $r^2$ times the transport back. In the plane the cylinder is flat, and the transport does
# not depend on the path. From three dimensions on it is curved, which is why rotations do not compose there.
#
# On the sphere, with latents normalised before the lookup, the same fact reads as follows.
#
# ```{prf:proposition} Normalised latents
# :label: prop-sphere
#
# With $P_a=I-aa^\top$ for $a=z/|z|$ and $P_b$ for $b=q/|q|$: $P_aR^\top=R^\top P_b$. Let $a$ be quantised in place of
# $z$, and let $|q|=1$. What is left of a gradient behind the normalisation is its part orthogonal to $a$, over $|z|$.
# So $|z|$ times what the rotation hands to $z$ is the part of $g$ that is tangent to the sphere at $q$, turned, and of
# the same length; the radial part is dropped. $|z|$ times what STE hands on is $P_ag$, and for a radial $g=b$ that has
# the length $\sin\theta$.
#
# <claim:B-077>
# ```
#
# ````{prf:proof}
# $R^\top b=a$, so $R^\top P_b=R^\top-ab^\top=R^\top-aa^\top R^\top$. The derivative of $z/|z|$ is $P_a/|z|$.
# $|P_ab|=\sin\theta$.
# ````

# %%
show(guarantees.levi_civita, guarantees.transport_equation, guarantees.sphere)

# %% [markdown]
# ## Heads
#
# A latent can be cut into heads, each of which is quantised by itself. (A residual quantiser codes it by a sum:
# {ref}`nb-residual` says which of its wirings keep the balance law.)
#
# ```{prf:proposition} Heads
# :label: prop-heads
#
# If $G_jz_j=q_j$ for the head $j$, it has a balance law of its own:
# $\langle(E_j,b_j),\partial L_{\rm rec}\rangle=\mathbb E\langle g_j,q_j\rangle$, with the rows $(E_j,b_j)$ of the
# encoder's last layer that make this head.
#
# <claim:B-078>
# ```
#
# ````{prf:proof}
# The proof of {prf:ref}`thm-balance`, with the rows of one head in place of all.
# ````

# %%
show(guarantees.heads)

# %% [markdown]
# ## What to keep
#
# - Capped at $\kappa|z-\mu|/|q-z|$, the turn makes no obtuse angle with the step at $q$, and needs no condition on the
#   path.
# - No rule is never worse than the better of STE and rotation, not even for one step.
# - The rotation moves a latent towards its centre, relative to STE, where $\langle g,e\rangle>0$. Whether that raises
#   usage depends on where the codes lie.
#
# ## Exercises
#
# **1.** For $z=(1,0)$, $q=(0.8,0.6)$ and $\mu=0$: what is $t$ of the capped turn for $\kappa=\frac12$, and by how much
# does the balance law miss for $g=(0,1)$?
#
# ```{dropdown} Solution
# $t=\frac12/\sqrt{0.4}\approx0.79$. The gap is $(1-t)\langle g,e\rangle=0.6\,(1-t)\approx0.126$.
# ```

# %% tags=["hide-input"]
z, q, g = vector(1, 0)[None], vector(0.8, 0.6)[None], vector(0, 1)[None]
t = guarantees.capped_weight(z, q, zero, 0.5)
gap = dot(g, q) - dot(guarantees.mixed(z, q, g, zero, t), z)
assert abs(float(t) - 0.5 / 0.4**0.5) < 1e-12 and abs(float(gap) - 0.6 * (1 - float(t))) < 1e-12

# %% [markdown]
# **2.** Is the constant in part 3 of {prf:ref}`thm-capped` needed? Find, on the line with $\kappa\to0$, a loss, a
# latent and a code with $|\nabla f(z)|<h_{\max}|q-z|$ for which a step of size $1/h_{\max}$ raises $f$.
#
# ```{dropdown} Solution
# $f(x)=\frac12x^2$, $h_{\max}=1$, $z=0.1$, $q=0.3$. STE's step is $-0.3$, to $-0.2$, and $f$ rises from $0.005$ to
# $0.02$. $|\nabla f(z)|=0.1<|q-z|=0.2$.
# ```

# %% tags=["hide-input"]
f = lambda x: 0.5 * x * x  # noqa: E731
assert f(0.1 - 0.3) > f(0.1)

# %% [markdown]
# **3.** A latent at $z=(1,0)$, its code $q=(0.8,0.6)$, and a decoder that always sends $g=(1,0)$. How long does the
# flow of the rotation about $0$ last at most, and which codes besides $q$ must be where for the latent never to change
# its code?
#
# ```{dropdown} Solution
# $|z|^2/(2\langle g,q\rangle)=1/1.6=0.625$, by {prf:ref}`thm-trap`. Every other code must be so far away that the unit
# disc lies in the cell of $q$: no point of the disc may be nearer to it than to $q$.
# ```

# %% tags=["hide-input"]
z, q, g = vector(1, 0)[None], vector(0.8, 0.6)[None], vector(1, 0)[None]
lasts, x, passed = float(dot(z, z) / (2 * dot(g, q))), z.clone(), 0.0
assert abs(lasts - 0.625) < 1e-12
while dot(x, x) > 1e-4 and passed < 1:
    x, passed = x - 1e-4 * pull_back("rotation", x, q, g), passed + 1e-4
assert abs(passed - lasts) < 1e-3 and dot(x, x) <= dot(z, z)

# %% [markdown]
# ## What stays open
#
# Whether the capped or the fading turn trains better than STE and rotation is not decided by any of this. Nor is the
# question of dither: with noise before the lookup every estimator has a true gradient to be compared with
# ({ref}`nb-bias`), and we know no estimator of this family that is unbiased for it.
