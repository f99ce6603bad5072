# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (the-rotation)=
# # The rotation
#
# ```{admonition} In short
# :class: tip
# The rotation trick turns by the smallest rotation that takes $z$ to $q$, and stretches by $r=|q|/|z|$. In every
# dimension the angle that a gradient has to $q$ becomes its angle to $z$. In many dimensions a gradient that does not
# know $z$ and $q$ hardly turns: what is left for it is the factor $r$.
# ```
#
# ```{glue:figure} turns
# :name: fig-turns
#
# In many dimensions a gradient hardly turns: of uniform direction, with $z$ and $q$ {glue:text}`theta_shown:.0f`°
# apart, it turns by {glue:text}`middle_turn:.1f`° in the mean in {glue:text}`middle_dim` dimensions and by
# {glue:text}`last_turn:.1f`° in {glue:text}`last_dim`. <claim:A-031> <claim:B-015>
# ```
#
# The rotation trick {cite}`fifty2025rotation` takes for $G$ the map that really does carry $z$ to $q$: turn, then
# stretch. Many maps do. This chapter builds the one it uses, says in which sense it is the smallest, computes it
# safely, and separates what it keeps from what it is often said to keep.
#
# Throughout this chapter $z,q\ne0$, $a=z/|z|$, $b=q/|q|$, $r=|q|/|z|$, $\theta\in[0,\pi]$ is the angle between $z$ and
# $q$, $c=\cos\theta=\langle a,b\rangle$ <claim:A-088>, and $H_u=I-2uu^\top$ is the reflection that reverses a unit
# vector $u$.

# %% tags=["parameters"]
degrees: float = 60.0  # the angle between z and q, in the pictures
dims: list[int] = [2, 3, 4, 8, 16, 32, 64, 128, 256]
samples: int = 4000
seed: int = 0

# %% tags=["hide-input"]
from rotvq.page import parameters

parameters.check(globals(), degrees=(1, 179), dims=(2, 4096), samples=(100, 10**6))

# %% tags=["hide-input"]
import math
import time

import matplotlib.pyplot as plt
import torch

from book import algebra
from book.statements import show
from book.theory import rotation
from rotvq import ESTIMATORS
from rotvq.page.figures import ARMS, INK, MUTED, Figure, glue, style

plt.rcParams.update(style())
torch.set_num_threads(1)
draw = torch.Generator().manual_seed(seed)
dims = sorted(dims)

# %% [markdown]
# ## Two reflections
#
# Two mirrors in a row turn by twice the angle between them <claim:P-054>. So the turn from $a$ to $b$ needs two mirrors
# half of $\theta$ apart, and the bisector supplies one of them.
#
# ````{prf:definition} The rotation from z to q
# :label: def-rotation
# For $\theta<\pi$, with the unit bisector $m=(a+b)/|a+b|$,
# ```{math}
# :label: eq-rotation
# R=I+2\,ba^\top-2\,mm^\top .
# ```
# <claim:A-026> <claim:A-027> <claim:P-019>
# ````
#
# Since $|a+b|^2=2(1+c)$, the last term is $(a+b)(a+b)^\top/(1+c)$, which is how it is often written. (The appendix of
# the paper once prints the formula with $z$ and $q$ in place of their directions, where it holds for unit vectors only
# <claim:P-056>.)
#
# ````{prf:theorem} Two reflections
# :label: thm-two-reflections
# ```{math}
# :label: eq-two-reflections
# R=H_mH_a=H_bH_m .
# ```
# Hence $R^\top R=I$, $\det R=1$, $Ra=b$, $R^\top b=a$ and $Rb=2cb-a$.
# <claim:B-009> <claim:A-089> <claim:A-093> <claim:A-094> <claim:A-095> <claim:P-018> <claim:P-055>
# ````
#
# ````{dropdown} Proof
# $\langle m,a\rangle=\frac12|a+b|$, since $\langle a+b,a\rangle=1+c=\frac12|a+b|^2$. So
# $H_ma=a-2\langle m,a\rangle m=a-(a+b)=-b$. Then
# $H_mH_a=H_m-2(H_ma)a^\top=I-2mm^\top+2ba^\top=R$. By symmetry $H_mb=-a$, and
# $H_bH_m=H_m-2b(H_mb)^\top=R$. Reflections are orthogonal with determinant $-1$, so $R$ is orthogonal with determinant
# $1$. $Ra=H_m(-a)=b$, so $R^\top b=a$. Last, $Rb=H_bH_mb=-H_ba=-a+2cb$.
# ````

# %% tags=["hide-input"]
turn = math.radians(degrees)
a = torch.tensor([math.cos(0.35), math.sin(0.35)])
b = torch.tensor([math.cos(0.35 + turn), math.sin(0.35 + turn)])
m = (a + b) / (a + b).norm()
step = torch.tensor([math.cos(0.7 + turn), math.sin(0.7 + turn)]) * 0.65  # -g
first = step - 2 * (m @ step) * m
second = first - 2 * (a @ first) * a
G = ESTIMATORS["rotation_only"].pull_back(a, b, step)
assert torch.allclose(second, G, atol=1e-6)

fig, ax = plt.subplots(figsize=(4.4, 4.2))
ax.add_patch(plt.Circle((0, 0), 1, fill=False, color=MUTED, lw=0.8))
for vector, word, colour in ((a, "$a$", INK), (b, "$b$", INK), (m, "$m$", MUTED)):
    ax.annotate("", vector.tolist(), (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.2})
    ax.annotate(word, (1.08 * vector).tolist(), ha="center", va="center")
for normal, word, name in ((m, "mirror of $H_m$", "scale_only"), (a, "mirror of $H_a$", "rotation_only")):
    side = 1.25 * torch.tensor([-normal[1], normal[0]])
    ax.plot(
        [-side[0], side[0]],
        [-side[1], side[1]],
        color=ARMS[name].color,
        linestyle=ARMS[name].linestyle,
        lw=1,
        label=word,
    )
for vector, word, colour in (
    (step, "$-g$", ARMS["ste"].color),
    (first, "$-H_mg$", ARMS["scale_only"].color),
    (second, "$-R^\\top g$", ARMS["rotation"].color),
):
    ax.annotate("", vector.tolist(), (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2})
    clockwise = torch.stack([vector[1], -vector[0]])
    ax.annotate(word, (1.25 * vector + 0.15 * clockwise).tolist(), ha="center", va="center")
ax.set(xlim=(-1.35, 1.35), ylim=(-1.3, 1.3), aspect="equal")
ax.legend(loc="lower left", fontsize=8)
ax.grid(False)
glue(
    "mirrors",
    Figure(
        fig,
        alt=(
            "Unit vectors a and b and their bisector m. The step minus g is reflected in the mirror of H_m and then "
            "in the mirror of H_a; the result is the step turned clockwise by the angle between a and b."
        ),
    ),
)

# %% [markdown]
# ```{glue:figure} mirrors
# :name: fig-mirrors
#
# Two mirrors turn by $-\theta$: first the one orthogonal to $m$, then the one orthogonal to $a$, $R^\top g=H_aH_mg$.
# Drawn is what becomes of the step $-g$ in the plane.
# ```

# %%
show(rotation.two_reflections, rotation.orthogonal)

# %% [markdown]
# For the pair $m=(3,1)/\sqrt{10}$ and $R=\begin{pmatrix}0.8&-0.6\\0.6&0.8\end{pmatrix}$.
#
# The left-hand sides are of two kinds. `rotation` is the definition of a rotation in a plane, written without
# {eq}`eq-rotation`. `jacobian` is the matrix that the package's code applies.
#
# ````{prf:proposition} Eigenstructure
# :label: prop-spectrum
# Let $\theta<\pi$. On $S=\mathrm{span}(z,q)$, $R$ is the rotation by $\theta$ that takes $a$ to $b$. On $S^\perp$ it is
# the identity. Its eigenvalues are $e^{\pm i\theta}$ and $d-2$ times $1$ (for $d\ge2$), so
# $\operatorname{tr}R=d-2+2\cos\theta$. With $\Omega=ba^\top-ab^\top$,
# ```{math}
# :label: eq-series
# R=I+\Omega+\frac{\Omega^2}{1+c}.
# ```
# <claim:B-010>
# ````
#
# ````{dropdown} Proof
# If $\theta=0$, $b=a=m$ and $R=I$. Let $\theta>0$, so that $S$ is a plane. $a$ and $m$ lie in $S$, so both reflections
# fix $S^\perp$ and map $S$ to itself. On $S$ the product of two reflections is a rotation, and it takes $a$ to $b$. A
# rotation of the plane by $\theta$ has the eigenvalues $e^{\pm i\theta}$.
#
# For {eq}`eq-series`, let $u\in S$ be the unit vector orthogonal to $a$ with $b=ca+su$, $s=\sin\theta$. Then
# $\Omega=s(ua^\top-au^\top)$ is $s$ times the quarter turn of $S$ that takes $a$ to $u$. Two quarter turns are a half
# turn, so $\Omega^2=-s^2\Pi$ with the projector $\Pi$ on $S$. Since $s^2/(1+c)=1-c$, the right-hand side is $c$ times
# the identity plus $s$ times the quarter turn on $S$, and $I$ on $S^\perp$. That is the turn by $\theta$.
# ````

# %%
show(rotation.spectrum, rotation.textbook_form)

# %% [markdown]
# ### A formula that is not a rotation
#
# The source article's derivation {cite}`su2024rotation` gives a second formula and calls it equivalent.
#
# ````{prf:proposition} The other formula
# :label: prop-other-formula
# $M=I+(b-a)a^\top+b(b-a)^\top$ equals $I-aa^\top+bb^\top$. It is symmetric, $Ma=cb$, and its eigenvalues are
# $1-\sin\theta$, $1+\sin\theta$ and $1$. It is a rotation only if $\sin\theta=0$, and equals $R$ only if $\theta=0$.
# <claim:B-011> <claim:A-090> <claim:A-091>
# ````
#
# ````{prf:proof}
# $ba^\top$ and $-ba^\top$ cancel, which leaves $I-aa^\top+bb^\top$. $Ma=a-a+cb$. On $S^\perp$ it is $I$. On $S$ the
# symmetric $N=bb^\top-aa^\top$ has the trace $0$, so its eigenvalues are $\pm\lambda$, and
# $2\lambda^2=\operatorname{tr}N^2=2-2c^2=2\sin^2\theta$. The eigenvalues of a rotation have modulus $1$, so
# $\sin\theta=0$. At $\theta=\pi$, $M=I$ does not take $a$ to $b=-a$.
# ````

# %%
show(rotation.article_form)

# %% [markdown]
# ```{admonition} Theorem 4.1 of the derivation
# :class: caution
# Its first formula is $M$, its second is {eq}`eq-rotation`. They agree at $\theta=0$ only. The derivation verifies
# $Ra=b$ for the second one, and leaves out orthogonality as involved, for which it would use the Sherman–Morrison
# formula. {prf:ref}`thm-two-reflections` needs one line and no inverse. <claim:A-090> <claim:A-091> <claim:A-092>
# ```
#
# ## The smallest rotation
#
# From $d=3$ on many rotations take $z$ to $q$ <claim:A-065>. Every rotation of $\mathbb R^d$ turns some mutually
# orthogonal planes by angles $\theta_i\in(0,\pi]$ and fixes what is orthogonal to them all. (This is the normal form of
# an orthogonal matrix of determinant $1$.) We measure its size by its distance from $I$, in the spectral norm
# $\|\cdot\|_2$, the largest stretch, or the Frobenius norm $\|\cdot\|_F$, the root of the sum of squares.
#
# ````{prf:theorem} Minimality
# :label: thm-minimal
# Let $U$ be a rotation with $Ua=b$, and $\theta<\pi$.
#
# (i) $\|U-I\|_2\ge2\sin\frac\theta2=\|R-I\|_2$. For $d\ge4$ and $\theta>0$ others attain it, too.
#
# (ii) $\|U-I\|_F\ge2\sqrt2\sin\frac\theta2=\|R-I\|_F$. More exactly,
# ```{math}
# :label: eq-alone
# \|U-I\|_F^2\;\ge\;\|R-I\|_F^2+\cos^2\tfrac\theta2\;\|U-R\|_F^2 ,
# ```
# so equality holds for $U=R$ only. <claim:B-012> <claim:A-096> <claim:A-171>
# ````
#
# ````{dropdown} Proof
# On a plane turned by $\theta_i$, $U-I$ stretches every vector by $2\sin\frac{\theta_i}2$. So with $a_i$ the part of
# $a$ in the $i$-th plane,
# ```{math}
# 4\sin^2\tfrac\theta2=|b-a|^2=|Ua-a|^2=\sum_i4\sin^2\tfrac{\theta_i}2\,|a_i|^2 .
# ```
# If $\theta=0$, $R=I$, and both parts are clear. Let $\theta>0$. The planes are orthogonal, so $\sum|a_i|^2\le1$. If
# all $\theta_i$ were less than $\theta$, the right-hand side would be too small. So some $\theta_i\ge\theta$.
#
# (i) $\|U-I\|_2=\max_i2\sin\frac{\theta_i}2\ge2\sin\frac\theta2$. For $R$ there is one plane and $\theta_1=\theta$. If
# $d\ge4$, follow $R$ by a turn of a plane in $S^\perp$ by an angle up to $\theta$.
#
# (ii) Write $U=RV$. $V=R^\top U$ is a rotation that fixes $a$. For orthogonal matrices
# $\|U-I\|_F^2=2d-2\operatorname{tr}U$ and $\|U-R\|_F^2=2d-2\operatorname{tr}V$. Let $u\in S$ be the unit vector
# orthogonal to $a$ with $b=ca+su$, $s=\sin\theta$, and let $x=1-\langle u,Vu\rangle\ge0$. Let $y$ be $d-2$ less the
# trace of $V$ on $S^\perp$. So $\|U-R\|_F^2=2(x+y)$.
#
# Now $\operatorname{tr}RV$ is the sum of $\langle R^\top v,Vv\rangle$ over an orthonormal basis: $a$, $u$ and vectors
# $v$ off $S$. First, $R^\top a=ca-su$ and $Va=a$, which gives $c$. Next, $R^\top u=sa+cu$. $V$ is orthogonal and fixes
# $a$, so $Vu\perp a$, and this gives $c\langle u,Vu\rangle=c(1-x)$. Off $S$, $R^\top v=v$, which gives $d-2-y$. So
# $\operatorname{tr}RV=c+c(1-x)+(d-2-y)$, and $\|U-I\|_F^2-\|R-I\|_F^2=2(cx+y)$.
#
# If $V$ turns its planes by $\varphi_i$ and $u_i$ is the part of $u$ in the $i$-th, then
# $x=\sum(1-\cos\varphi_i)|u_i|^2$, while $x+y=d-1-(\operatorname{tr}V-1)=2\sum(1-\cos\varphi_i)\ge2x$. So $y\ge x$.
# Hence $2(cx+y)-(1+c)(x+y)=(1-c)(y-x)\ge0$, and $\frac{1+c}2=\cos^2\frac\theta2$.
# ````
#
# By the argument of (i), $R$ is also nearest to $I$ in the geodesic distance, which is proportional to
# $\sqrt{\sum\theta_i^2}$.

# %%
show(rotation.smallest, rotation.not_unique)

# %% [markdown]
# A rotation, but is it the nearest *orthogonal* map? The reflection between $a$ and $b$ does the same job with one
# mirror in place of two.
#
# ````{prf:proposition} The mirror is nearer, past a right angle
# :label: prop-mirror
# Let $\theta>0$. $H=H_u$ with $u=(a-b)/|a-b|$ takes $a$ to $b$, and $\|H-I\|_F=\|H-I\|_2=2$. So in the Frobenius norm
# the mirror is nearer to $I$ than $R$ exactly if $\theta>90°$. In the spectral norm it never is. <claim:B-013>
# ````
#
# ````{prf:proof}
# $a-b$ is reversed and $a+b$ kept, so $a=\frac12(a+b)+\frac12(a-b)$ goes to $b$. $H-I=-2uu^\top$ has both norms $2$.
# $\|R-I\|_F=2\sqrt2\sin\frac\theta2>2$ means $\sin\frac\theta2>\sin45°$. $\|R-I\|_2=2\sin\frac\theta2\le2$.
# ````

# %%
show(rotation.mirror_is_nearer)

# %% [markdown]
# $R^\top$ and $H^\top$ agree on gradients along $q$, which both take to the direction of $z$ <claim:P-058>. Across $q$,
# that is on vectors orthogonal to $q$, they differ, but only in $S$. Off $S$ both keep a vector. So in the plane every
# vector across $q$ is treated differently by the two; in $d$ dimensions it is one direction out of $d-1$ <claim:P-059>.


# %% [markdown]
# ## What the gradient keeps
#
# Now $G=rR$. It takes $z$ to $q$ <claim:A-025> <claim:A-028> <claim:P-017>. From {eq}`eq-rotation`, the pull-back costs
# two inner products, given $a$, $b$ and $m$, and no matrix <claim:A-103>:
# ```{math}
# :label: eq-closed-form
# G^\top g=r\left(g+2a\langle b,g\rangle-2m\langle m,g\rangle\right).
# ```
#
# ````{prf:theorem} What is kept, in every dimension
# :label: thm-kept
# ```{math}
# :label: eq-kept
# \begin{aligned}
# \langle G^\top g,z\rangle&=\langle g,q\rangle, & |G^\top g|&=r\,|g|,\\
# \angle(G^\top g,z)&=\angle(g,q), & \langle G^\top g,G^\top g'\rangle&=r^2\langle g,g'\rangle .
# \end{aligned}
# ```
# <claim:B-014> <claim:A-098> <claim:A-099> <claim:P-004>
# ````
#
# ````{prf:proof}
# $\langle G^\top g,z\rangle=\langle g,Gz\rangle$ and $Gz=r|z|Ra=|q|b=q$. $GG^\top=r^2I$ gives the last identity, and
# the second with $g'=g$. The cosines agree: $\langle G^\top g,z\rangle/(r|g||z|)=\langle g,q\rangle/(|g||q|)$.
# ````
#
# The same holds for the reflection $G=rH$, with the same proof: nothing in it needs a rotation.

# %%
show(rotation.carries, rotation.product, rotation.norm_ratio, rotation.angle_kept, rotation.conformal)

# %% [markdown]
# The first identity is the most useful one. It says what a step of gradient descent does to the length of a latent,
# and the balance law of a later chapter is that identity, summed over a layer.
#
# ```{admonition} Two ratios
# :class: caution
# The article and its derivation write $\partial L/\partial q$ for what the decoder sends back at the code, our $g$; $q$
# itself receives nothing of it. In these letters $|\partial L/\partial z|:|\partial L/\partial q|$ is $|q|:|z|$. The
# derivation's Theorem 6.2 has this right, its section 3.2 has $|z|:|q|$, and the article itself says that the lengths
# of $\partial L/\partial q$ and $\partial L/\partial z$ stand in the ratio of those of $q$ and $z$, which is the
# reciprocal. If the codes start ten times shorter than the latents, the gradient arrives ten times shorter.
# <claim:A-032> <claim:A-200> <claim:A-098> <claim:A-112>
# ```
#
# ## What it does not keep
#
# It is tempting to add that the gradient turns by $\theta$, as $z$ does. That is so in the plane. In
# {numref}`fig-play-angle` $\theta$ and the number $d$ of dimensions can be moved.
#
# ```{figure} ../figures/angle.svg
# :name: fig-play-angle
# :class: rotvq-angle
# :alt: Left, theta between z and q; right, the smaller turns of gradients; below, their share of theta by dimension.
#
# Arrows are directions: of $z$ and $q$, and of the step $-g$ and what it turns into, $-R^\top g$, for the median
# gradient. How much of the turn from $z$ to $q$ does a gradient without a preferred direction feel? For $d\ge3$ the
# share $|\Pi g|^2/|g|^2$ of such a gradient has the law $\mathrm{Beta}(1,(d-2)/2)$, and {eq}`eq-half-angle` gives that
# of $\varphi$. For $d=2$ the share is $1$: in the plane all of the turn survives; in 64 dimensions half of all
# gradients feel less than 15 % of it. <claim:B-015>
# ```
#
# ````{prf:theorem} How far a gradient turns
# :label: thm-half-angle
# Let $\Pi$ be the projector on $S$ and $\varphi$ the angle between $G^\top g$ and $g$. Then
# ```{math}
# :label: eq-half-angle
# \sin\frac\varphi2=\sin\frac\theta2\;\frac{|\Pi g|}{|g|}.
# ```
# If the direction of $g$ is uniform on the sphere, and $d\ge2$,
# ```{math}
# :label: eq-mean-cosine
# \mathbb E\cos\varphi=\frac{d-2+2\cos\theta}{d}.
# ```
# <claim:B-015> <claim:A-031>
# ````
#
# ````{prf:proof}
# Take $|g|=1$. $R^\top g-g$ has no part in $S^\perp$, and on $S$ it is a turn by $\theta$ less the identity, which
# stretches by $2\sin\frac\theta2$. So $|R^\top g-g|=2\sin\frac\theta2|\Pi g|$. The chord between unit vectors at the
# angle $\varphi$ is $2\sin\frac\varphi2$. For the mean, $\cos\varphi=\langle g,R^\top g\rangle$ and
# $\mathbb E\,gg^\top=I/d$, so $\mathbb E\cos\varphi=\operatorname{tr}R/d$; see {prf:ref}`prop-spectrum`.
# ````

# %%
show(rotation.half_angle, rotation.mean_cosine)

# %% tags=["hide-input"]
spread = {}
for d in dims:
    z = torch.zeros(samples, d, dtype=torch.float64)
    q = z.clone()
    z[:, 0], q[:, 0], q[:, 1] = 1, math.cos(turn), math.sin(turn)
    g = torch.randn(samples, d, generator=draw, dtype=torch.float64)
    phi = torch.rad2deg(algebra.angle(ESTIMATORS["rotation"].pull_back(z, q, g), g)).squeeze(1)
    spread[d] = phi.quantile(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)).tolist() + [phi.mean().item()]
low, mid, high, mean = zip(*spread.values())
law = [math.degrees(math.acos((d - 2 + 2 * math.cos(turn)) / d)) for d in dims]
assert all(x <= degrees + 1e-6 for x in high) and list(mean) == sorted(mean, reverse=True)

fig, ax = plt.subplots()
ax.fill_between(dims, low, high, color=ARMS["rotation"].color, alpha=0.2, linewidth=0, label="5 to 95 % of gradients")
ax.plot(dims, mid, "s-", color=ARMS["rotation"].color, label="median of $\\varphi$")
ax.plot(dims, law, ":", color=INK, label="arc cosine of the mean cosine")
ax.axhline(degrees, color=ARMS["ste"].color, linestyle="--", lw=1.2, label="$\\theta$")
ax.set(xscale="log", xlabel="dimension $d$", ylabel="degrees turned", ylim=(0, 1.6 * degrees))
ax.set_xticks(dims[::2], dims[::2])
ax.minorticks_off()
ax.legend(loc="upper right")
glue(
    "turns",
    Figure(
        fig,
        alt=(
            "The angle by which a random gradient turns, against the dimension: all of theta in two dimensions, "
            "falling like one over the square root of d."
        ),
    ),
)
glue("theta_shown", degrees)
glue("last_dim", dims[-1])
glue("last_turn", mean[-1])
middle = 64 if 64 in spread else dims[len(dims) // 2]
glue("middle_dim", middle)
glue("middle_turn", spread[middle][3])

# %% [markdown]
# {numref}`fig-turns`, at the top of this page, has the turn over the dimension.
#
# In the plane every gradient lies in $S$ and turns by $\theta$. In high dimension a gradient that knows nothing of $z$
# and $q$ has little to do with $S$ and hardly turns. There the trick is STE times the number $r$, unless the decoder's
# gradients concentrate on $S$. Whether they do is a question for a trained network. {eq}`eq-half-angle` says what to
# measure: $|\Pi g|/|g|$.
#
# ```{admonition} Theorem 4.2 of the derivation
# :class: caution
# It claims $\angle(G^\top g,g)=\theta$ because a rotation turns every vector by its angle. A rotation of $\mathbb R^3$
# already leaves its axis alone. The article itself says the same of $\partial L/\partial q$ and
# $\partial L/\partial z$. The paper's own statement is the third identity of {eq}`eq-kept`, and it is right.
# <claim:A-097> <claim:A-031> <claim:P-004>
# ```
#
# ## At the ends
#
# ````{prf:proposition} Half turns and zero vectors
# :label: prop-ends
# (i) As $\theta\to0$, $R\to I$. (ii) As $\theta\to\pi$ along the unit direction $u\perp a$, that is
# $b=-\cos\varepsilon\,a+\sin\varepsilon\,u$ with $\varepsilon\to0$, $R\to I-2aa^\top-2uu^\top$. The limit depends on
# $u$, so for $d\ge3$ there is none. (iii) $r\to\infty$ as $z\to0$, and $G\to0$ as $q\to0$.
# <claim:B-016> <claim:A-026> <claim:P-079>
# ````
#
# ````{prf:proof}
# (i) $\|R-I\|_2=2\sin\frac\theta2$. (iii) $\|G\|_2=r=|q|/|z|$. (ii) The plane of the turn is $\mathrm{span}(a,u)$ for
# every $\varepsilon$, and the angle tends to $\pi$. A half turn is $-I$ on this plane and $I$ off it. For $d=2$ the
# plane is everything, and $R\to-I$ for both directions $\pm u$.
# ````

# %%
show(rotation.half_turn_limit, rotation.zero_vectors, rotation.equivariant)

# %% [markdown]
# The package takes one of the limits at $q=-z$, the identity at $z=0$, and $G=0$ at $q=0$: always finite, always with
# the value $q$. The released code divides $0$ by $0$ at $q=-z$ <claim:P-079>.
#
# ### In float32
#
# Near antiparallel vectors the two forms of {eq}`eq-rotation` part ways. The one with $1+c$ divides by a difference of
# nearly equal numbers. The two reflections with a normalised $m$ are orthogonal whatever $m$ is, and so keep the norm.

# %% tags=["hide-input"]
gaps = torch.logspace(-6, 0, 25, dtype=torch.float64)
d, pairs = 16, 200
norm_error, turn_error = {}, {}
for gap in gaps.tolist():
    a64 = algebra.unit(torch.randn(pairs, d, generator=draw, dtype=torch.float64))
    u = torch.randn(pairs, d, generator=draw, dtype=torch.float64)
    u = algebra.unit(u - algebra.dot(a64, u) * a64)
    z32 = a64.float()
    q32 = (-math.cos(gap) * a64 + math.sin(gap) * u).float()
    g32 = torch.randn(pairs, d, generator=draw)
    exact = algebra.apply(algebra.rotation(z32, q32).mT, g32)
    ours = ESTIMATORS["rotation_only"].pull_back(z32, q32, g32)
    a32, b32 = z32 / z32.norm(dim=1, keepdim=True), q32 / q32.norm(dim=1, keepdim=True)
    dot = lambda x, y: (x * y).sum(1, keepdim=True)  # noqa: E731
    textbook = g32 + 2 * a32 * dot(b32, g32) - (a32 + b32) * dot(a32 + b32, g32) / (1 + dot(a32, b32))
    for name, found in (("reflections", ours), ("textbook", textbook)):
        norm_error.setdefault(name, []).append(
            ((algebra.norm(found) / algebra.norm(g32) - 1).abs()).nan_to_num(nan=1e3, posinf=1e3).max().item()
        )
        turn_error.setdefault(name, []).append(
            (algebra.norm(found - exact) / algebra.norm(g32)).nan_to_num(nan=1e3, posinf=1e3).max().item()
        )
assert max(norm_error["reflections"]) < 2e-6  # some ten roundings of float32
assert norm_error["textbook"][8] > 100 * norm_error["reflections"][8]

figs = []
for title, errors in (("relative error of the norm", norm_error), ("relative error of the vector", turn_error)):
    fig, ax = plt.subplots(figsize=(4.2, 3.0))
    ax.loglog(
        gaps, [min(e, 1e3) for e in errors["textbook"]], "--", color=ARMS["ste"].color, label="with $1+\\cos\\theta$"
    )
    ax.loglog(gaps, errors["reflections"], "-", color=ARMS["rotation"].color, label="two reflections")
    ax.loglog(gaps, 8 * 2**-23 / gaps, ":", color=MUTED, label="$8\\epsilon/(\\pi-\\theta)$")
    ax.set(title=title, xlabel="$\\pi-\\theta$", ylim=(1e-8, 2e3))
    ax.legend(fontsize=8)
    figs.append(fig)
glue(
    "float32",
    Figure(
        figs,
        alt=(
            "Errors in float32 against the distance of theta from a half turn. The textbook form loses the norm "
            "entirely below 1e-3; two reflections keep it to 1e-6 everywhere, and the direction as well as the "
            "rounding of z and q allows."
        ),
    ),
)
place = int((gaps - 1e-3).abs().argmin())
glue("textbook_norm", f"{norm_error['textbook'][place]:.0e}")
glue("reflection_norm", f"{max(norm_error['reflections']):.0e}")

# %% [markdown]
# ```{glue:figure} float32
# :name: fig-float32
#
# Two reflections never lose the norm by more than {glue:text}`reflection_norm`; the form with $1+\cos\theta$ has lost
# it by {glue:text}`textbook_norm` at $\pi-\theta=10^{-3}$. The pull-back near a half turn, in float32, against float64.
# The dotted line is what the rounding of $a$ and $b$ alone does to the direction of $m$. <claim:A-101>
# ```
#
# ### What it costs
#
# Put $m=(a+b)/|a+b|$ and $|a+b|^2=2(1+\cos\theta)$ into {eq}`eq-closed-form`:
# ```{math}
# :label: eq-five
# R^\top g=g+\bigl(2\langle b,g\rangle-\sigma\bigr)a-\sigma\,b,\qquad
# \sigma=\frac{\langle a,g\rangle+\langle b,g\rangle}{1+\cos\theta}.
# ```
# The pull-back is a sum of $g$, $z$ and $q$, and five inner products give its coefficients: $|z|^2$, $|q|^2$,
# $\langle z,q\rangle$, $\langle z,g\rangle$ and $\langle q,g\rangle$. An error of $\cos\theta$ enters $\sigma/|g|$ with
# the factor $|a+b|/(1+\cos\theta)^2$ at most, and up to $\theta=120°$ that is no more than 4. There, and where norms
# are ordinary, the package takes this form on a CPU, compiled or not. All other latents get the two reflections.

# %%
show(rotation.five_inner_products)

# %% [markdown]
# Both take a few passes over vectors of length $d$. The matrix takes $d^2$ numbers for each latent.

# %% tags=["hide-input"]
n, d = 256, 256
z, q, g = torch.randn(3, n, d, generator=draw)


def seconds(function, repeats=5):
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


eye = torch.eye(d)


def dense():
    a, b = z / z.norm(dim=1, keepdim=True), q / q.norm(dim=1, keepdim=True)
    m = (a + b) / (a + b).norm(dim=1, keepdim=True)
    R = eye + 2 * b[:, :, None] * a[:, None] - 2 * m[:, :, None] * m[:, None]
    return (q.norm(dim=1) / z.norm(dim=1))[:, None] * (R.mT @ g[:, :, None])[..., 0]


assert torch.allclose(dense(), ESTIMATORS["rotation"].pull_back(z, q, g), rtol=1e-3, atol=1e-4)
speedup = seconds(dense) / seconds(lambda: ESTIMATORS["rotation"].pull_back(z, q, g))
assert speedup > 3
glue("speedup", f"{float(f'{speedup:.1g}'):.0f}")
glue("cost_dim", d)

# %% [markdown]
# Here, at $d$ = {glue:text}`cost_dim`, the closed form is about {glue:text}`speedup` times faster than the matrix. The
# derivation's table of defects charges the trick $O(d^2)$ for the matrix product; its own Algorithm 5.1 is $O(d)$.
# <claim:A-029> <claim:A-104> <claim:A-224> <claim:P-020>
#
# ## Rotary embeddings
#
# Rotary position embeddings rotate queries and keys, too {cite}`su2021roformer`. At position $n$ a rotation $R_n$
# turns the $i$-th pair of coordinates by $n\omega_i$, so that $\langle R_nx,R_ky\rangle=\langle x,R_{k-n}y\rangle$
# depends on positions by their difference <claim:A-179>. What makes this work is that these rotations commute: they
# compose by adding angles, and the angle depends on the position, not on the content <claim:A-180>. The rotation of
# this chapter is chosen by content <claim:A-181>. It acts in one plane that depends on $z$ and $q$, is never seen by
# the forward pass, and composes only where there is but one plane <claim:A-178>.

# %%
show(rotation.composes_in_the_plane)

# %% tags=["hide-input"]
u, v, w = torch.eye(3, dtype=torch.float64)[:, None]
around = algebra.rotation(w, u) @ algebra.rotation(v, w) @ algebra.rotation(u, v)
defect = torch.rad2deg(torch.arccos(((around.diagonal(0, -2, -1).sum() - 1) / 2).clamp(-1, 1))).item()
assert abs(defect - 90) < 1e-6
glue("holonomy", defect)

# %% [markdown]
# In $\mathbb R^3$, going around the triangle of the three coordinate axes by smallest rotations comes back turned by
# {glue:text}`holonomy:.0f`°, the area of that spherical triangle. So the article's conjecture, that the trick is a
# position encoding adapted to content, has the name of an operation in its favour and no more <claim:A-182>. The frame
# of spherical coordinates turns by a rotation from point to point, as the paper remarks <claim:P-082>. That it is this
# rotation is true in the plane alone <claim:P-072>.
#
# The rotation is understood. What does it do to an encoder? See {ref}`the-field`.

# %% [markdown]
# ## What to keep
#
# - $R$ is two reflections, and the smallest rotation that takes the direction of $z$ to that of $q$.
# - $G=rR$ keeps $\langle G^\top g,z\rangle=\langle g,q\rangle$, turns angles to $q$ into angles to $z$, and keeps
#   lengths up to the factor $r$, in every dimension.
# - Only in the plane does a gradient turn by $\theta$. In $d$ dimensions the mean cosine of its turn is
#   $(d-2+2\cos\theta)/d$, which is near $1$.
#
# ## Exercises
#
# **1.** In time $t$ a latent follows $z'=-G^\top g$ under the rotation, with $q$ and $g$ fixed. How does $|z|^2$
# change?
#
# ```{dropdown} Solution
# $\frac d{dt}|z|^2=2\langle z,z'\rangle=-2\langle G^\top g,z\rangle=-2\langle g,q\rangle$, by {eq}`eq-kept`: at a
# constant rate, wherever $z$ is, until it reaches $0$.
# ```

# %% tags=["hide-input"]
z, q, g = torch.randn(3, 1, 5, generator=draw, dtype=torch.float64)
step = 1e-6
moved = z - step * ESTIMATORS["rotation"].pull_back(z, q, g)
rate = (moved.square().sum() - z.square().sum()) / step
assert abs(rate + 2 * (g * q).sum()) < 1e-4

# %% [markdown]
# **2.** In $64$ dimensions $z$ and $q$ are $60°$ apart. What is the mean cosine of the angle by which a gradient of
# uniform direction turns?
#
# ```{dropdown} Solution
# $(64-2+2\cdot\frac12)/64=63/64\approx0.984$, by {eq}`eq-mean-cosine`.
# ```

# %% tags=["hide-input"]
z, q = torch.zeros(2, 1, 64, dtype=torch.float64)
z[0, 0], q[0, 0], q[0, 1] = 1, 0.5, 0.75**0.5
turned = algebra.jacobian("rotation_only", z, q)[0]
assert abs(turned.trace() / 64 - 63 / 64) < 1e-12

# %% [markdown]
# **3.** Find $m$ and $R$ for the pair. Where does the other formula, $M$ of {prf:ref}`prop-other-formula`, take $z$?
#
# ```{dropdown} Solution
# $a+b=(1.8,0.6)$, so $m=(3,1)/\sqrt{10}$ and $R=I+2ba^\top-2mm^\top=\begin{pmatrix}0.8&-0.6\\0.6&0.8\end{pmatrix}$.
# $Mz=cb=0.8\,(0.8,0.6)=(0.64,0.48)$, which has the right direction and the length $0.8$.
# ```

# %% tags=["hide-input"]
z, q = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=torch.float64)
m = torch.tensor([3.0, 1.0], dtype=torch.float64) / 10**0.5
R = torch.eye(2, dtype=torch.float64) + 2 * torch.outer(q, z) - 2 * torch.outer(m, m)
assert torch.allclose(R, torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64))
assert torch.allclose(R, algebra.rotation(z[None], q[None])[0])
M = torch.eye(2, dtype=torch.float64) - torch.outer(z, z) + torch.outer(q, q)
assert torch.allclose(M @ z, torch.tensor([0.64, 0.48], dtype=torch.float64))
