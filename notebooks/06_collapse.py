# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (nb-collapse)=
# # When the latents shrink
#
# ```{admonition} In short
# :class: tip
# In a linear, symmetric model the lengths of latents and codes can go to zero while the picture stays. Without weight
# decay STE can rest. Under the rotation latents and codes vanish like $T^{-1/4}$ with the time $T$, if codes are
# centroids, and the decoder grows. Where the decoder's weights decay, latents, codes and decoder vanish above a
# commitment weight, which is lower for the rotation. As long as the scale of the latents stays positive, neither the
# start of the codes nor $\beta$ moves that weight.
# ```
#
# ```{glue:figure} phase
# :name: fig-phase
#
# Between the two thresholds latents stay under STE and vanish under the rotation: two codes on the line. Lines are the
# thresholds, dashed for STE.
# ```
#
# The author of the article put the rotation trick into a VQ-VAE of his own that worked. The reconstruction loss went up
# and the codebook loss went down {cite}`su2024rotation` <claim:A-036>. He explained it so <claim:A-041>: at the start
# the codes were much shorter than the latents, so $r=|q|/|z|\ll1$; the rotation multiplies the reconstruction gradient
# by $r$; the encoder then feels the commitment loss only; and that loss alone drives $z$ and $q$ to zero. His remedies
# were to retune $\gamma$ and to start the codes by k-means.
#
# He was right to suspect the scale. This chapter solves a model in which every part of the argument can be checked.
# Some parts stand. One does not stand here: as long as the scale of the latents stays positive, how the codes start
# does not decide whether they vanish. With a decoder of two layers it can decide <claim:A-116>.
#
# Two things are called collapse, and they have different causes. This chapter is about {term}`shrinking latents`: the
# lengths of latents and codes go to zero. A {term}`codebook collapse`, few codes that remain in use, is what the
# experiments of this book measure, most of them without weight decay. This chapter does not explain it; {ref}`nb-drift`
# does.

# %% tags=["parameters"]
decay_W: float = 0.5  # weight decay of the decoder
codes: int = 8  # codes on the circle
grid: int = 15  # points along each side of the phase diagram
steps: int = 130  # of gradient descent on the network

# %% tags=["hide-input"]
from rotvq.page import parameters

parameters.check(globals(), decay_W=(0.4, 0.5), codes=(3, 64), grid=(4, 60), steps=(130, 10_000))

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from book.statements import show
from book.theory import collapse
from rotvq import nearest
from rotvq.page.figures import ARMS, MUTED, Figure, glue, style
from rotvq.quantizers.estimators import estimator

plt.rcParams.update(style())
torch.set_num_threads(1)


def table(rows, **formats):
    """Rows of a dict each, with four decimals."""
    style = pd.DataFrame(rows).style.format(lambda value: f"{value:z.4f}" if isinstance(value, float) else value)
    for column, form in formats.items():
        style = style.format(form, subset=[column])
    return style.hide(axis="index").set_table_styles([{"selector": "th, td", "props": "padding: 0.1em 0.7em"}])


# %% [markdown]
# ## A model that can be solved
#
# Encoder and decoder are matrices, $z=Ex$ and $\hat x=Wz_q$, and the loss is
#
# $$ \mathbb E|x-Wz_q|^2+\beta\,\mathbb E|q-\mathrm{sg}\,z|^2+\gamma\,\mathbb E|z-\mathrm{sg}\,q|^2+\lambda_W|W|^2 . $$
#
# The data have $\mathbb E xx^\top=I$ in $\mathbb R^d$. The codes are $q_k=t\,c_k$, where $c_1,\dots,c_K$ are the
# centroids of their own Voronoi cells. Finally there is a symmetry: a finite group of orthogonal matrices that leaves
# the distribution of $x$ alone, takes every $c_k$ to every other, and commutes with no matrices but the multiples of
# $I$: a matrix $M$ that treats all of the data alike, $UMU^\top=M$ for every $U$ of the group, can only scale. Two
# examples suffice: normal data on the line with two codes (the group is $\pm1$), and in the plane with $K\ge3$ codes
# on a circle (the symmetries of a regular polygon).
#
# Write $c(x)$ for the centroid of the cell of $x$, and
#
# $$ \rho=\mathbb E|c|^2/d\in(0,1) $$
#
# for the share of the variance that the codes keep: $2/\pi$ on the line, $\tfrac\pi4\operatorname{sinc}^2\tfrac\pi K$
# in the plane, with $\operatorname{sinc}x=\frac{\sin x}x$. In this chapter $t$ is the size of the codes and not the
# share of a mix, $T$ is the time, and a prime is the derivative by it.
#
# ```{prf:proposition} The model closes
# :label: prop-closed
#
# Let each code have its own rate, $\beta/p_k$ with $p_k$ the share of its latents, and let all other weights move at
# minus the gradients that training reports. From $E=sI$, $q_k=t\,c_k$, $W=wI$ with $s,t,w>0$ this flow stays of this
# form, and with $u=t/s$
#
# $$ s' &= 2w\,\big(A(u)-wt\,B(u)\big)-2\gamma(s-\rho t),\\
#    t' &= 2\beta(s-t),\qquad w' = 2\rho t\,(1-wt)-2\lambda_W w, $$ (eq-model)
#
# where $A(u)=\mathbb E\langle x,Gx\rangle/d$ and $B(u)=\mathbb E\langle c,Gx\rangle/d$ with $G=G(x,u\,c)$. (In the loss
# as printed a code moves at the rate $p_k\beta$, so its $\beta$ is $K$ times the model's; EMA is the limit of large
# $\beta$.) <claim:B-034>
# ```
#
# ````{dropdown} Proof
# The nearest of the codes $tc_k$ to $sx$ is the one with the largest $\langle x,c_k\rangle$, since all $|c_k|$ are
# equal. So the cells do not depend on $s$ and $t$, and $c$ is the centroid:
# $\mathbb E\langle x,c\rangle=\mathbb E|c|^2=\rho d$. The gradient at $q$ is $g=2w(wtc-x)$ and that of $E$ is
# $\mathbb E[G^\top g\,x^\top]+2\gamma\,\mathbb E[(sx-tc)x^\top]$.
#
# Let $U$ be in the group. $x$ and $Ux$ have the same distribution, and with $x$ the vectors $c$ and $g$ turn by $U$ and
# $G$ becomes $UGU^\top$. So each of these means $M$ has $UMU^\top=M$: it commutes with the group and is a multiple of
# $I$, by its trace over $d$. For the first, $G$ does not change when $z$ and $q$ are scaled together, so it is
# $G(x,uc)$, and the trace is $\mathbb E\langle g,Gx\rangle=2w(wt\,B-A)\,d$. For the second it is
# $2\gamma(s-\rho t)\,d$. Hence $s'$.
#
# Likewise $\mathbb E[qq^\top]=\rho t^2I$ and $\mathbb E[xq^\top]=\rho tI$, so the gradient of $W$ is
# $2(\rho wt^2-\rho t+\lambda_W w)I$. The mean of the latents of cell $k$ is $s\,c_k$, so the codebook loss moves $q_k$
# along $s\,c_k-q_k=(s-t)\,c_k$, the same for each $k$.
# ````
#
# So all that an estimator does is in two functions of one number:
#
# | estimator | $A(u)$ | $B(u)$ | $A(1)$ |
# |---|---|---|---|
# | STE | $1$ | $\rho$ | $1$ |
# | rotation, reflection | $\rho u$ | $\rho u$ | $\rho$ |
# | rotation only | $\rho_R$ | $\rho_r$ | $\rho_R$ |
# | scale only | $\rho_r u$ | $\rho_{rr} u$ | $\rho_r$ |
# | radial-free, zero | $0$ | $0$ | $0$ |
#
# with $\rho_R=\mathbb E|x|\langle x,c/|c|\rangle/d$, $\rho_r=\mathbb E|x||c|/d$ and
# $\rho_{rr}=\mathbb E\langle x,c\rangle|c|/(|x|d)$.
#
# The row of the rotation is the balance law of {prf:ref}`thm-balance`: $Gx=uc$.

# %%
show(collapse.model_is_closed)

# %% [markdown]
# ## A decoder that does not move
#
# ```{prf:proposition} Frozen decoder
# :label: prop-frozen
#
# With $w>0$ fixed and $\beta,\gamma>0$ there is one stationary state with $s=t>0$:
#
# $$ s_{\rm STE}=\frac{w}{w^2\rho+\gamma(1-\rho)},\qquad s_{\rm rot}=\rho\,s_{\rm STE}. $$
#
# The best value for the reconstruction is $s=1/w$. STE overshoots it exactly if $\gamma<w^2$. The rotation always
# falls short. <claim:B-035>
# ```
#
# ```{prf:proof}
# $t'=0$ gives $t=s$. Then $w(1-w\rho s)=\gamma(1-\rho)s$ for STE and $w\rho(1-ws)=\gamma(1-\rho)s$ for the rotation.
# Where $q=sc$ the reconstruction loss is $1-\rho+\rho(1-ws)^2$ per dimension, least at $ws=1$. $ws_{\rm STE}>1$ says
# $w^2>w^2\rho+\gamma(1-\rho)$, that is $w^2>\gamma$. And $ws_{\rm rot}=w^2\rho/(w^2\rho+\gamma(1-\rho))<1$.
# ```
#
# So a decoder that stays, or that learns slowly, protects the latents: neither estimator takes them to zero. Already
# here the two have different stationary points, by the factor $\rho$.
#
# ## A decoder that follows
#
# First without weight decay.
#
# ```{prf:theorem} No weight decay
# :label: thm-no-decay
#
# Let $\lambda_W=0$ and $\gamma>0$.
#
# 1. Under STE the state $s=t=\gamma^{-1/2}$, $w=\gamma^{1/2}$ is stationary, and stable for every $\beta$.
# 2. Under the rotation there is no stationary state with $s>0$. If the codes are always centroids ($t=s$, the limit
#    of large $\beta$), then from every start $s\to0$ and $w\to\infty$ with $ws\to1$, so the reconstruction becomes as
#    good as the codes allow, and
#
# $$ s(T)\;\simeq\;\big(8\gamma(1-\rho)\,T\big)^{-1/4}. $$ (eq-quartic)
#
# 3. Under the rotation with finite $\beta$, $w$ is unbounded along every solution that exists for all time.
#
# <claim:B-036> <claim:B-037>
# ```
#
# ````{dropdown} Proof
# *Part 1.* Insert. For stability linearise at $t=s$, $ws=1$, $w^2=\gamma$:
#
# $$ \begin{pmatrix}\delta s\\\delta t\\\delta w\end{pmatrix}'=
#    \begin{pmatrix}-2\gamma&0&2-4\rho\\2\beta&-2\beta&0\\0&-2\rho&-2\rho/\gamma\end{pmatrix}
#    \begin{pmatrix}\delta s\\\delta t\\\delta w\end{pmatrix}. $$
#
# The characteristic polynomial is
# $(\chi+2\gamma)(\chi+2\beta)(\chi+2\rho/\gamma)+8\beta\rho(1-2\rho)=\chi^3+a_2\chi^2+a_1\chi+a_0$.
# Its coefficients are positive, as $a_0=8\beta\rho+8\beta\rho(1-2\rho)=16\beta\rho(1-\rho)>0$. The product $a_1a_2$
# contains three times $2\gamma\cdot2\beta\cdot2\rho/\gamma=8\beta\rho$ among other positive terms, so
# $a_1a_2>24\beta\rho>a_0$. By the criterion of Routh and Hurwitz, which for a cubic asks for just this, all roots have
# negative real part.
#
# *Part 2.* At a stationary state $w'=0$ says $wt=1$, and then $s'=-2\gamma(s-\rho t)$ with $t=s$ is negative: there is
# none. Let $t=s$ and $y=ws$. Then $s'=2\rho w(1-y)-2\gamma(1-\rho)s$ and $w'=2\rho s(1-y)$. The solution exists for all
# time: where $y\ge1$ neither $s$ nor $w$ grows, and where $y<1$, $s'\le2\rho w$ and $w'\le2\rho s$. At $s=0$,
# $s'=2\rho w>0$, so $s$ stays positive. Where $y\ge1$, $y'=2\rho(1-y)(s^2+w^2)-2\gamma(1-\rho)y\le-2\gamma(1-\rho)$, so
# $y<1$ after a finite time and for ever. From then on $w$ grows.
#
# It grows without bound. For the difference $X=w^2-s^2$ has $X'=4\gamma(1-\rho)s^2$. If $w$ had a finite limit, $s<1/w$
# would be bounded, $X$ too, so $\int s^2\,dT<\infty$, and $s\to0$ since $s'$ is bounded. But for small $s$ and $w$ near
# a positive limit $s'>0$: a contradiction. So $w\to\infty$ and $s<1/w\to0$.
#
# In $y'$ the factor $s^2+w^2$ grows without bound and the last term is at least $-2\gamma(1-\rho)$, so $y\to1$. Hence
# $w\simeq1/s$ and $X\simeq w^2\simeq s^{-2}$, where $\simeq$ says that the quotient tends to one. So
# $X'\simeq4\gamma(1-\rho)/X$, that is $(X^2)'\to8\gamma(1-\rho)$. Then $X^2\simeq8\gamma(1-\rho)T$, and
# $s\simeq X^{-1/2}$.
#
# *Part 3.* From {eq}`eq-model`, with the terms $2\rho wt(1-wt)$ of $ss'$ and $ww'$ cancelling,
#
# $$ \tfrac{d}{dT}\big(s^2+\tfrac{\gamma\rho}\beta t^2-w^2\big)
#    =-4\gamma\big[(s-\rho t)^2+\rho(1-\rho)t^2\big]\le0. $$ (eq-no-way-back)
#
# The bracket is $\mathbb E|z-q|^2/d$, and this is the scale law of {prf:ref}`cor-three-laws` in the model. Suppose that
# $w$ is bounded. Then $s^2+\frac{\gamma\rho}\beta t^2\le w^2+\text{const}$ is bounded, and the bracket is integrable
# over time. It is a positive definite form, so $s^2+t^2\le C\cdot$bracket is integrable, too. Its derivative is
# bounded: $ss'=2\rho wt(1-wt)-2\gamma s(s-\rho t)$ and $tt'=2\beta t(s-t)$ are. (That of $st$ need not be, as $s'$ has
# the factor $1/s$.) So $s^2+t^2\to0$. Then $wt\to0$, so $w'>0$ from some time on, and $w$ stays above some $w_0>0$. As
# soon as $wt\le\tfrac12$ and $s,t<w_0\rho/(2\gamma)$, the smaller of $s$ and $t$ cannot fall: if it is $s$, $s'\ge
# w_0\rho\,t/s-2\gamma s>0$; if it is $t$, $t'=2\beta(s-t)\ge0$. So they do not both tend to zero: a contradiction.
# ````
#
# The theorem says "exists for all time", because the model can end: where $s$ reaches zero, $r=|q|/|z|$ is infinite.
# That happens when the decoder is far too large for the codes, $wt\gg1$.
#
# Three runs of {eq}`eq-model` with the rotation and one with STE, from different starts:

# %% tags=["hide-input"]
line, line_codes = collapse.line()
plane, plane_codes = collapse.circle(codes)
line_c, plane_c = line_codes[nearest(line, line_codes)], plane_codes[nearest(plane, plane_codes)]
half = collapse.Cells.of(line, line_c)  # the model of the line, with the shares of these very points
times = np.logspace(-1, 5, 120)
slow = [
    (beta, collapse.flow("rotation", (1, r0, 1), times, half, gamma=1.0, beta=beta))
    for beta, r0 in ((0.1, 1.0), (0.1, 0.05), (10.0, 0.05))
]
law = (8 * (1 - half.rho) * times) ** -0.25
ratios = [path[0, -1] / law[-1] for _, path in slow]
assert max(abs(r - 1) for r in ratios) < 1e-3
assert all(abs(path[1, -1] * path[2, -1] - 1) < 1e-3 for _, path in slow)  # wt -> 1
kept = collapse.flow("ste", (1, 0.05, 1), times, half, gamma=1.0)
assert np.allclose(kept[:, -1], 1, atol=1e-6)
glue("quartic", float(max(abs(r - 1) for r in ratios)))

fig, ax = plt.subplots()
for beta, path in slow:
    ax.loglog(
        times, path[0], color=ARMS["rotation"].color, linewidth=1, alpha=0.8, label="rotation" if beta > 1 else None
    )
ax.loglog(times, kept[0], label="STE", color=ARMS["ste"].color, linestyle="--")
ax.loglog(times[60:], law[60:] * 1.25, ":", color=MUTED, label="slope −1/4")
ax.set(xlabel="time", ylabel="$s$")
ax.legend()
alt = """The scale s of the latents against time, logarithmic. Three rotation runs dip differently and then fall along
one line of slope minus a quarter; the STE run settles at one."""
glue("quartic-figure", Figure(fig, alt))

# %% [markdown]
# ```{glue:figure} quartic-figure
# :name: fig-quartic
#
# Without weight decay the latents shrink to zero under the rotation, whatever $\beta$ and $r_0$, and come to rest under
# STE. $\gamma=1$, two values of $\beta$ and two of $r_0$.
# ```
#
# At the end of {numref}`fig-quartic` all three rotation runs agree with {eq}`eq-quartic` to a relative
# {glue:text}`quartic:.0e`, whatever $\beta$ and $r_0$ <claim:B-036>. All latents vanish, and the reconstruction does
# not suffer: this is the escape of {prf:ref}`cor-dichotomy`, slowed down to a fourth root.
#
# For finite $\beta$ the rate {eq}`eq-quartic` is what we compute, not what we prove.
#
# ## Weight decay closes the escape
#
# Now the decoder may not grow for free, and there is a threshold. First to be moved, then proved:
#
# ```{figure} ../figures/collapse.svg
# :name: fig-play-collapse
# :class: rotvq-collapse
# :alt: s, t and w against time: under STE they settle, under the rotation they decay. Below, the two thresholds.
#
# Which commitment weight makes the latents vanish? $\gamma$, $\lambda_W$, $r_0$, $\beta$ and $\rho$ can be moved; $s$,
# $t$ and $w$ start at $1$, $r_0$ and $1$. Between the two thresholds the latents vanish under the rotation and stay
# under STE. A triangle at the right marks the value at which $s$ settles. <claim:B-038> <claim:B-039>
# ```
#
# Change $\beta$ or $r_0$ in {numref}`fig-play-collapse`: the way changes, the end does not. A small $r_0$ and a small
# $\beta$ with a $\gamma$ below the threshold make all three shrink first and come back: see
# {ref}`the-way-there`.
#
# ```{prf:theorem} The threshold
# :label: thm-threshold
#
# Let $\lambda_W>0$, $\gamma>0$, $\beta>0$. Let $A\ge0$ be continuous and nondecreasing and $0\le B\le CA$ with a
# constant $C$, as for all estimators of the table and for the rotation with a clipped $r$.
#
# 1. If $\lambda_W\gamma(1-\rho)>A(1)\,\rho$, then $(s,t,w)\to0$ exponentially along every solution that stays positive.
# 2. If $\lambda_W\gamma(1-\rho)<A(1)\,\rho$, then no solution that stays positive tends to $0$, and there is exactly
#    one stationary state with $s,t,w>0$.
# 3. If the two are equal, there is no stationary state with $s,t,w>0$.
#
# So, but for equality and as long as the state stays positive, whether it tends to zero depends neither on the start,
# $r_0=|q_0|/|z_0|$ or anything else, nor on $\beta$. <claim:B-038> <claim:A-134>
# ```
#
# ````{dropdown} Proof
# Drop the terms of higher order from {eq}`eq-model`. What is left,
#
# $$ F(s,t,w)=\big(2wA(t/s)-2\gamma(s-\rho t),\;2\beta(s-t),\;2\rho t-2\lambda_W w\big), $$
#
# is homogeneous of degree one and *cooperative*: each component grows, or stays, when one of the *other* variables
# grows. This holds because $A$ is nowhere negative and nowhere decreasing. The dropped terms $-2w^2tB$ and
# $-2\rho wt^2$ are not positive, since $B\ge0$.
#
# *Above the threshold.* Choose $v=(1,\,1+\delta,\,(1+2\delta)\rho/\lambda_W)$ with a small $\delta>0$. The second and
# third components of $F(v)$ are $-2\beta\delta$ and $-2\rho\delta$. The first tends to
# $2\rho A(1)/\lambda_W-2\gamma(1-\rho)<0$ as $\delta\to0$, since $A$ is continuous. So $F(v)\le-\varepsilon v$ for some
# $\delta,\varepsilon>0$. Let $V$ be the largest of the quotients $s/v_1$, $t/v_2$ and $w/v_3$, say the $i$-th. No
# component of the state is above that of $Vv$, and the $i$-th is equal. So by cooperation it grows at the rate
# $F_i(Vv)=VF_i(v)\le-\varepsilon Vv_i$ at most, and $V'\le-\varepsilon V$ (where two quotients change places as the
# largest, for the derivative from the right). $V$ decays exponentially.
#
# *Below.* Fix a small $\eta>0$. While $wt\le\eta$, the actual right-hand side is at least $F^\eta$, which is $F$ with
# $(1-\eta C)A$ for $A$ and $(1-\eta)\rho$ for $\rho$ in the last component. It is cooperative, too. With
# $v=(1,\,1-\delta,\,(1-2\delta)\rho/\lambda_W)$ and small $\delta$, then small $\eta$, $F^\eta(v)\ge\varepsilon v$, by
# the same computation with all signs reversed. Now let $V$ be the smallest of the three quotients. In the same way
# $V'\ge\varepsilon V$, as long as $wt\le\eta$. But $wt\ge V^2v_2v_3$, so $wt$ exceeds $\eta$ in finite time. A solution
# that tends to zero would have $wt\le\eta$ from some time on: a contradiction.
#
# *The stationary state.* $t'=0$ gives $t=s$, so $u=1$. With $y=ws$ and $\zeta=w/s$ the other two say
# $\zeta(A-yB)=\gamma(1-\rho)$ and $\rho(1-y)=\lambda_W\zeta$. Both factors must be positive, and their product is
#
# $$ (1-y)\,(A-yB)=\lambda_W\gamma(1-\rho)/\rho . $$ (eq-stationary)
#
# As $y$ grows from $0$, the first factor falls, and the second does not grow, until one of them is $0$. So the left
# side falls from $A(1)$ to $0$, and there is exactly one solution $y>0$ below the threshold, and none at it or
# above. $y$ and $\zeta$ give $s=\sqrt{y/\zeta}$ and $w=\zeta s$.
# ````
#
# The usual proof of such a statement goes through the nonlinear Perron–Frobenius theorem. The two vectors $v$ replace
# it.
#
# "Stays positive" is a condition. The model ends where $s$ falls to zero. A decoder that is far too large brings it
# there at once, under both estimators, but under STE not where the codes follow fast. Codes that start too long bring
# it there under the rotation alone, unless they follow fast. The time at which $s$ is zero, with $\gamma=1$:


# %% tags=["hide-input"]
def time_to_zero(name, state, beta, step=5e-4, most=1.0):
    """When s falls to zero, gamma = 1; None where it does not in the time given."""
    state = np.array(state)
    for taken in range(round(most / step)):
        state = state + step * collapse.rates(name, state, half, gamma=1.0, decay_W=decay_W, beta=beta)
        if state[0] <= 0:
            return step * (taken + 1)
    return None


starts = {"decoder too large": (1.0, 1.0, 5.0), "codes too long": (0.5, 3.0, 1.0), "codes short": (0.5, 0.3, 1.0)}
ends = {
    (label, name, beta): time_to_zero(name, state, beta)
    for label, state in starts.items()
    for name in ("ste", "rotation")
    for beta in (1.0, 10.0)
}
reached = {case for case, end in ends.items() if end is not None}
assert reached == {
    ("decoder too large", "ste", 1.0),
    ("decoder too large", "rotation", 1.0),
    ("decoder too large", "rotation", 10.0),
    ("codes too long", "rotation", 1.0),
}
table(
    {"start": f"{label}, (s, t, w) = ({', '.join(f'{x:g}' for x in state)})"}
    | {
        f"{ARMS[name].label}, β = {beta:g}": "not by 1" if (end := ends[label, name, beta]) is None else f"{end:.3f}"
        for name in ("ste", "rotation")
        for beta in (1.0, 10.0)
    }
    for label, state in starts.items()
)


# %% [markdown]
# With $\gamma=1$, below the thresholds of both estimators, only the condition of the theorem fails. <claim:B-038>

# %%
show(collapse.comparison)

# %% [markdown]
# Without continuity it is false. Let $A$ jump from $0$ to a positive value just after $u=1$, and $B=0$. Then $A(1)=0$
# is below every threshold, and yet latents stay: when $s$ falls below $t$, $A$ lifts it again. <claim:B-038>

# %%
show(collapse.continuity_is_needed, collapse.stationary_state)

# %% [markdown]
# ```{prf:corollary} Where the rotation's latents vanish and STE's stay
# :label: cor-window
#
# Along solutions that stay positive latents vanish under the rotation, and do not under STE, if
# $\;\rho^2<\lambda_W\gamma(1-\rho)<\rho$, that is, for $\gamma$ between
#
# $$ \gamma^*_{\rm rot}=\frac{\rho^2}{\lambda_W(1-\rho)}\qquad\text{and}\qquad
#    \gamma^*_{\rm STE}=\frac{\rho}{\lambda_W(1-\rho)}=\frac{\gamma^*_{\rm rot}}{\rho}. $$
#
# For the rotation the stationary state below the threshold is $y=1-\sqrt{\lambda_W\gamma(1-\rho)}/\rho$ and
# $s^2=y\lambda_W/(\rho(1-y))$. <claim:B-039> <claim:A-042>
# ```
#
# ```{prf:proof}
# $A(1)$ is $1$ for STE and $\rho$ for the rotation. For the latter $A=B=\rho$ at $u=1$, and {eq}`eq-stationary` is
# $\rho(1-y)^2=\lambda_W\gamma(1-\rho)/\rho$. Finally $s^2=y/\zeta$ and $\lambda_W\zeta=\rho(1-y)$.
# ```
#
# Each mark of {numref}`fig-phase`, at the top of this page, is a solution of {eq}`eq-model` from $s=w=1$, $t=0.3$,
# followed for a long time. The lines are the two thresholds of {prf:ref}`cor-window`.


# %% tags=["hide-input"]
def march(name, decays, gammas, time=250.0, h=0.03):
    """Runge-Kutta for many pairs at once; the growth rate of the largest of s, t and lambda_W w/rho at the end."""
    x = np.array([1.0, 0.3, 1.0])[:, None] * np.ones(len(decays))
    move = lambda x: collapse.rates(name, x, half, gammas, decays)  # noqa: E731
    sizes = []
    for i in range(round(time / h)):
        k1 = move(x)
        k2 = move(x + h / 2 * k1)
        k3 = move(x + h / 2 * k2)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + move(x + h * k3))
        if i in (round(0.8 * time / h), round(time / h) - 1):
            sizes.append(np.maximum(np.maximum(x[0], x[1]), decays * x[2] / half.rho))
    return np.log(sizes[1] / sizes[0]) / (0.2 * time), sizes[1]


decays, gammas = (a.ravel() for a in np.meshgrid(np.geomspace(0.1, 3, grid), np.geomspace(0.3, 30, grid)))
product = decays * gammas * (1 - half.rho)
gone, edges, decided = {}, {"ste": half.rho, "rotation": half.rho**2}, 0
for name in edges:
    rate, size = march(name, decays, gammas)
    assert np.isfinite(size).all()
    gone[name] = rate < -1e-3
    clear = abs(product / edges[name] - 1) > 0.05  # nearer, little has been decided yet
    assert (gone[name] == (product > edges[name]))[clear].all()
    decided += int(clear.sum())
glue("points", decided)
fig, ax = plt.subplots(figsize=(4.6, 3.6))
kinds = [
    (~gone["rotation"], "both stay", ".", MUTED),
    (gone["rotation"] & ~gone["ste"], "the rotation's vanish", "s", ARMS["rotation"].color),
    (gone["ste"], "both vanish", "x", ARMS["ste"].color),
]
for which, label, marker, color in kinds:
    ax.loglog(decays[which], gammas[which], marker, color=color, label=label, markersize=4)
span = np.array([0.1, 3])
for name, edge in edges.items():
    ax.loglog(span, edge / span / (1 - half.rho), color=ARMS[name].color, linestyle=ARMS[name].linestyle)
ax.set(xlabel="decoder decay $\\lambda_W$", ylabel="commitment weight $\\gamma$", ylim=(0.27, 33))
ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncol=3, columnspacing=0.8, handletextpad=0.2)
alt = """Phase diagram over decay and commitment weight, both logarithmic. Two parallel falling lines separate three
regions: below latents stay under both, between them they vanish under the rotation, above under both."""
glue("phase", Figure(fig, alt))

# %% [markdown]
# All {glue:text}`points` solutions that are not within 5 % of their threshold end as {prf:ref}`thm-threshold` says.
# <claim:B-038> <claim:B-039>
#
# ```{prf:proposition} The stationary state is stable
# :label: prop-stable
#
# For STE and for the rotation all eigenvalues of {eq}`eq-model` at the positive stationary state have negative real
# part, for all $\beta,\gamma,\lambda_W,\rho$. <claim:B-040>
# ```
#
# ````{dropdown} Proof
# Linearise {eq}`eq-model` where $t=s$, $ws=y$, $w=\zeta s$ and $\lambda_W\zeta=\rho(1-y)$. The rows for $t$ and $w$ are
# the same for both: $-2\rho s^2-2\lambda_W=-2\rho/\zeta$ and $2\rho(1-2y)$. For the rotation
# $\gamma(1-\rho)=\zeta\rho(1-y)$, and the matrix is
#
# $$ \begin{pmatrix}-2\gamma(2-\rho)&2\zeta\rho(1-2y)+2\gamma\rho&2\rho(1-2y)\\
#    2\beta&-2\beta&0\\0&2\rho(1-2y)&-2\rho/\zeta\end{pmatrix}. $$
#
# Its characteristic polynomial $\chi^3+a_2\chi^2+a_1\chi+a_0$ has $a_0=32\beta\rho^2y(1-y)$,
# $a_2=2\gamma(2-\rho)+2\beta+2\rho/\zeta$ and
# $a_1=4\beta\gamma(1-\rho)+4\beta\zeta\rho y+4\gamma(2-\rho)\rho/\zeta+4\beta\rho/\zeta$. All are positive. Of the
# product $a_1a_2$ keep four terms. $2\rho/\zeta$ times the first two of $a_1$ gives $8\beta\rho^2(1-y)$ and
# $8\beta\rho^2y$. $2\beta$ times the third and $2\gamma(2-\rho)$ times the fourth give
# $8\beta\rho\gamma(2-\rho)/\zeta$ each, which is at least
# $16\beta\rho^2(1-y)$, since $\gamma/\zeta=\rho(1-y)/(1-\rho)$ and $2-\rho\ge2(1-\rho)$. Together
# $a_1a_2\ge8\beta\rho^2(5-4y)>32\beta\rho^2y(1-y)=a_0$, as $5-4y-4y(1-y)=(2y-2)^2+1>0$.
#
# For STE $\gamma(1-\rho)=\zeta(1-\rho y)$, and the first row is $-2\gamma$, $2\rho(\gamma-w^2)$, $2-4\rho y$. Now
# $a_2=2\gamma+2\beta+2\rho/\zeta$, $a_1=4\beta\gamma(1-\rho)+4\beta\rho w^2+4\gamma\rho/\zeta+4\beta\rho/\zeta$ and
# $a_0=16\beta\rho\,y(1+\rho-2\rho y)=16\beta\rho\,[y(1-\rho)+2\rho y(1-y)]<16\beta\rho$. As $w^2=\zeta y$,
# $2\rho/\zeta$ times the first two of $a_1$ gives $8\beta\rho(1-\rho y)+8\beta\rho^2y=8\beta\rho$. Again $2\beta$
# times the third and $2\gamma$ times the fourth are $8\beta\rho\gamma/\zeta$ each, and
# $\gamma/\zeta=(1-\rho y)/(1-\rho)\ge1$. So $a_1a_2\ge24\beta\rho>a_0$. Routh and Hurwitz do the rest.
# ````

# %% tags=["hide-input"]
glue("window", 1 / (1 - collapse.falls_with(512, 32)))

# %%
show(collapse.stable)

# %% [markdown]
# Whether *every* solution below the threshold ends at the stationary state we prove only for centroid codes (below).
# For finite $\beta$ we compute it.
#
# ### How wide is the window
#
# The ends of the window differ by the factor $1/\rho$. A coarse quantiser keeps little, and the window is
# wide. With many codes for few dimensions $\rho$ is near one, both thresholds are far away, and the window is narrow.
# For normal data there is a bound: $K$ codes cannot leave less than the share $K^{-2/d}$ of the variance. As the codes
# are centroids, that share is $1-\rho$, so $1/\rho\ge1/(1-K^{-2/d})$. With 512 codes in 32 dimensions, as many as the
# latents of this book's experiments have, that is {glue:text}`window:.1f`. <claim:B-039> For bounded data with a
# bounded density it is the power of $K$ of the best codes {cite}`gray1984vector`:
#
# ````{prf:proposition} What so many codes leave
# :label: prop-k-codes
#
# Let $q$ be the nearest of $K$ codes in $\mathbb R^d$ to $x$, and $p_k$ the shares of their cells.
#
# 1. For standard normal $x$, $\frac1d\,\mathbb E|x-q|^2\ge K_p^{-2/d}\ge K^{-2/d}$, where $K_p=\prod_kp_k^{-p_k}$ is
#    the perplexity of the codes.
# 2. For $x$ with a density of at most $\varphi_{\max}$, $\mathbb E|x-q|^2\ge\frac d{d+2}\,(v_dK\varphi_{\max})^{-2/d}$,
#    where $v_d$ is the volume of the unit ball.
# 3. For $x$ that is uniform on the cube of side $1$, a grid of $K=m^d$ codes has
#    $\mathbb E|x-q|^2=\frac d{12}K^{-2/d}$. On the line no codes have less.
# 4. For $x$ in the cube of side $1$, whatever its distribution, some $K$ codes have
#    $\mathbb E|x-q|^2\le d\,K^{-2/d}$; in a cube of another side, times its square.
#
# So, by parts 2 and 4, for bounded data with a bounded density the error of the best $K$ codes falls as $K^{-2/d}$, up
# to a factor that does not depend on $K$. <claim:B-087>
# ````
#
# ````{dropdown} Proof
# *Part 1.* Let $D=\mathbb E|x-q|^2$, $\varphi$ the density of $x$, $\varphi_k$ the normal density with the mean $q_k$
# and the variance $D/d$ in each direction, and $\bar\varphi=\sum_kp_k\varphi_k$. As the logarithm is concave,
# $\mathbb E\ln(\bar\varphi/\varphi)\le\ln\mathbb E(\bar\varphi/\varphi)=\ln\int\bar\varphi=0$. And
# $\bar\varphi\ge p_k\varphi_k$ for the $k$ of the cell that $x$ is in. So
#
# $$ -\tfrac d2\ln(2\pi)-\tfrac d2=\mathbb E\ln\varphi\;\ge\;\mathbb E\ln(p_k\varphi_k)
#    =-\ln K_p-\tfrac d2\ln\tfrac{2\pi D}d-\tfrac d2, $$
#
# with $\mathbb E|x|^2=d$ on the left and $\mathbb E|x-q|^2=D$ on the right, which is positive, since $x$ has a density.
# That is $\frac d2\ln\frac Dd\ge-\ln K_p$. By the concavity of the logarithm once more
# $\ln K_p=\mathbb E\ln\frac1{p_k}\le\ln\mathbb E\frac1{p_k}\le\ln K$.
#
# *Part 2.* Points with $|x-q|^2\le\tau$ lie in $K$ balls of the radius $\sqrt\tau$. Their probability is at most
# $\varphi_{\max}Kv_d\tau^{d/2}=(\tau/\tau_0)^{d/2}$ with $\tau_0=(v_dK\varphi_{\max})^{-2/d}$. So
# $\mathbb E|x-q|^2=\int_0^\infty P(|x-q|^2>\tau)\,d\tau\ge\int_0^{\tau_0}\big(1-(\tau/\tau_0)^{d/2}\big)d\tau
# =\frac d{d+2}\tau_0$.
#
# *Part 3.* Let the codes be the centres of $m^d$ equal cubes, which are then the cells. Each coordinate of $x-q$ is
# uniform on $(-\frac1{2m},\frac1{2m})$, with the mean square $\frac1{12m^2}$, and $m^2=K^{2/d}$. On the line $v_d=2$
# and $\varphi_{\max}=1$, and part 2 is $\frac1{12K^2}$.
#
# *Part 4.* Let $m$ be the largest integer with $m^d\le K$, so $K^{1/d}<m+1\le2m$. With a grid of $m^d$ codes every
# coordinate is within $\frac1{2m}$ of that of its code. So $|x-q|^2\le\frac d{4m^2}\le d\,K^{-2/d}$, and the codes that
# are left, wherever they are, raise no distance.
# ````

# %%
show(collapse.share_of_normal_data, collapse.error_of_k_codes)

# %% [markdown]
# ## It is the loss that wants zero
#
# Why do latents vanish earlier under the rotation? Not because it is a worse gradient.
#
# ```{prf:theorem} With centroid codes the rotation descends the loss
# :label: thm-descent
#
# With $t=s$ the rotation's flow is the gradient flow of
#
# $$ \Phi(s,w)=\rho(1-ws)^2+\gamma(1-\rho)s^2+\lambda_W w^2, $$
#
# which is the whole loss, $\mathbb E|x-Wq|^2+\gamma\,\mathbb E|z-q|^2+\lambda_W|W|^2$ per dimension (the codebook loss
# has done its work), up to the constant $1-\rho$. For $\lambda_W,\gamma>0$ every solution from $s,w>0$ converges: to
# the positive stationary state below the threshold, to zero at it and above. That is the global minimum of $\Phi$ over
# $s,w\ge0$. <claim:B-041>
# ```
#
# ````{dropdown} Proof
# With $t=s$, $\mathbb E|x-Wq|^2/d=1-2\rho ws+\rho w^2s^2$ and $\mathbb E|z-q|^2/d=(1-\rho)s^2$. Differentiate $\Phi$
# and compare with {eq}`eq-model`: $s'=-\partial_s\Phi$ and $w'=-\partial_w\Phi$.
#
# *Convergence.* $\Phi$ falls along solutions, and $\gamma(1-\rho)s^2+\lambda_W w^2\le\Phi$ keeps them bounded. The
# quadrant $s,w\ge0$ stays invariant: $s'=2\rho w>0$ at $s=0$ and $w'=2\rho s>0$ at $w=0$. Its critical points are zero
# and, below the threshold, the one positive state of {prf:ref}`thm-threshold`. The limit points of a bounded solution
# of a gradient flow are critical, and they form a connected set. Here that is a single point, so the solution
# converges. At the threshold and above, the point is zero.
#
# Below the threshold it is not zero. The second derivatives of $\Phi$ at zero have the determinant
# $4(\lambda_W\gamma(1-\rho)-\rho^2)<0$, so one eigenvalue is negative, $-\chi$. Their mixed entry is $-2\rho<0$, so
# its eigenvector $v$ has entries of one sign, positive say. So $v_1s+v_2w$ grows near zero: its derivative is $\chi$
# times itself, up to third order, and in the quadrant it is at least a positive multiple of $s+w$. The solution does
# not tend to zero, and the limit is the positive state.
#
# *Minimum.* $\Phi\ge\rho(1-y)^2+2\sqrt{\lambda_W\gamma(1-\rho)}\,y$ with $y=ws$, by the inequality of arithmetic and
# geometric means, with equality for suitable $s,w$. The right side is least over $y\ge0$ at
# $y=\max(0,\,1-\sqrt{\lambda_W\gamma(1-\rho)}/\rho)$.
# ````
#
# So here the rotation trick does exactly what gradient descent should do. The loss itself prefers zero latents beyond
# $\gamma^*_{\rm rot}$: commitment and decay together cost more than the reconstruction is worth. STE does not follow
# the loss. It carries the radial error of {prf:ref}`prop-cost`, and this error keeps the latents alive up to
# $\gamma^*_{\rm STE}$. That latents vanish is a fault of the objective, which the rotation obeys and STE does not.

# %%
show(collapse.loss_descent)

# %% [markdown]
# ## In the network itself
#
# The model is a set of three equations. Here is the network: matrices, every latent sent to its nearest code anew,
# gradients by autograd, plain gradient descent. It starts from $s=w=0.8$, $t=0.3$ at half the threshold of each
# estimator.

# %%
rows = []
sets = {"line, 2 codes": (line, line_c, line_codes), f"plane, {codes} codes": (plane, plane_c, plane_codes)}
for where, (x, c, start) in sets.items():
    cells = collapse.Cells.of(x, c)
    for name in ("ste", "rotation"):
        gamma = 0.5 * collapse.threshold(collapse.push(name, x, c)[0], cells.rho, decay_W)
        lr = min(0.2, 0.6 / gamma)
        path = collapse.descend(name, x, start, (0.8, 0.3, 0.8), steps, lr, gamma=gamma, decay_W=decay_W)
        trained = path[:, -1]
        theory = collapse.fixed_point(name, cells, gamma, decay_W)
        error = abs(trained - theory).max()
        moving = abs(trained - path[:, -10]).max() > 0.02 * error  # after too few steps for these weights
        assert moving or error < 1e-3
        rows.append(
            {
                "data": where,
                "estimator": ARMS[name].label,
                "γ": gamma,
                "s": trained[0],
                "s, theory": theory[0],
                "w": trained[2],
                "w, theory": theory[2],
                "largest error": error,
            }
        )
worst = max(row["largest error"] for row in rows)
glue("network-error", float(worst))
table(rows, **{"largest error": "{:.0e}"})

# %% [markdown]
# The largest error is {glue:text}`network-error:.0e` <claim:B-038>. In between the two thresholds, at
# $\gamma=1.25\,\gamma^*_{\rm rot}$ on the line <claim:B-039>:

# %%
edge = {name: collapse.threshold(A, half.rho, decay_W) for name, A in (("rotation", half.rho), ("ste", 1.0))}
between = 1.25 * edge["rotation"]
assert between < edge["ste"]
start = (0.8, 0.8, 0.8)
paths = {n: collapse.descend(n, line, line_codes, start, 2 * steps, 0.15, gamma=between, decay_W=decay_W) for n in edge}
rows = [
    {"estimator": ARMS[n].label, "s halfway": p[0, steps], "s at the end": p[0, -1], "w at the end": p[2, -1]}
    for n, p in paths.items()
]
if (decay_W, steps) == (0.5, 130):  # what the text says of these values
    assert paths["rotation"][0, -1] < 0.5 * paths["rotation"][0, steps] and paths["rotation"][0, -1] < 0.05
    assert abs(paths["ste"][0, -1] - paths["ste"][0, steps]) < 0.01 and paths["ste"][0, -1] > 0.2
table(rows)

# %% [markdown]
# (the-way-there)=
# ## The way there
#
# If the start does not decide the end, what does it decide? The way. With small codes ($r_0\ll1$) and slow codes
# ($\beta\ll\gamma$) the commitment loss first shrinks $z$ towards the codes. How far it shrinks does depend on the
# estimator.
#
# ```{prf:observation} The dip
# :label: obs-dip
#
# Let the decoder be frozen, $s_0=1$, and $r_0$ and $\beta/\gamma$ small. Then
#
# $$ \min s_{\rm rot}\simeq\sqrt{w\rho\,(r_0+\beta/\gamma)/\gamma},\qquad \min s_{\rm STE}\simeq\min(1,w/\gamma). $$
#
# <claim:B-042>
# ```
#
# The reason: at first $s\simeq e^{-2\gamma T}$, so $t$ grows from $r_0$ to $r_0+2\beta\int s\,dT=r_0+\beta/\gamma$
# and then waits. $s$ falls until the push holds the pull. For the rotation that is $2w\rho t/s=2\gamma s$, for STE
# $2w=2\gamma s$. This is an estimate of the leading order and no theorem; the table compares it with the equations.

# %%
rows = []
for r0, beta in ((0.1, 0.1), (0.01, 0.01), (0.001, 0.001), (1e-4, 1e-4)):
    path_times = np.concatenate([[0], np.geomspace(1e-3, 30 / beta, 600)])
    settings = {"gamma": 3.0, "beta": beta, "frozen": True}
    found = {n: collapse.flow(n, (1, r0, 1), path_times, half, **settings)[0].min() for n in edge}
    estimate = np.sqrt(half.rho * (r0 + beta / 3) / 3)
    rows.append(
        {
            "r₀": r0,
            "β": beta,
            "min s, rotation": found["rotation"],
            "estimate": estimate,
            "min s, STE": found["ste"],
            "estimate ": 1 / 3,
        }
    )
quotients = [row["min s, rotation"] / row["estimate"] for row in rows]
assert all(abs(b - 1) < abs(a - 1) for a, b in zip(quotients, quotients[1:])) and abs(quotients[-1] - 1) < 0.02
assert abs(rows[-1]["min s, STE"] * 3 - 1) < 0.01
table(rows, **{"r₀": "{:g}", "β": "{:g}"})

# %% [markdown]
# So a dip that is much deeper under the rotation than under STE needs
# $r_0+\beta/\gamma\ll\frac{\gamma}{w\rho}\min(1,w/\gamma)^2$. That is the situation the author describes. Below the
# threshold the dip is a delay. Above it, it is the beginning of the end.

# %% tags=["hide-input"]
times = np.linspace(0, 60, 400)
fig, ax = plt.subplots()
delays = {}
for r0, alpha in ((1.0, 0.5), (0.1, 0.75), (0.001, 1.0)):
    for factor, linestyle in ((0.6, "-"), (1.25, ":")):
        path = collapse.flow(
            "rotation", (1, r0, 1), times, half, gamma=factor * edge["rotation"], decay_W=decay_W, beta=0.05
        )
        ax.semilogy(times, path[0], linestyle, color=ARMS["rotation"].color, alpha=alpha)
        if factor < 1:
            delays[r0] = path[0].min()
ax.set(xlabel="time", ylabel="$s$", ylim=(1e-3, 2))
alt = """The scale s against time for three starting ratios, on a logarithmic axis. Below the threshold the three curves
dip to different depths and rise to the same height; above it all three fall."""
glue("delay", Figure(fig, alt))
far = collapse.flow(
    "rotation", (1, 0.001, 1), [2000.0], half, gamma=0.6 * edge["rotation"], decay_W=decay_W, beta=0.05
)[0, -1]
assert abs(far - collapse.fixed_point("rotation", half, 0.6 * edge["rotation"], decay_W)[0]) < 1e-6
assert delays[0.001] < 0.5 * delays[1.0]

# %% [markdown]
# ```{glue:figure} delay
# :name: fig-delay
#
# A short start only delays: below the threshold (solid, $\gamma=0.6\,\gamma^*_{\rm rot}$) $s$ recovers from every
# start, above it (dotted, $1.25\,\gamma^*_{\rm rot}$) it vanishes from every start. $s$ under the rotation from
# $r_0=1$, $0.1$ and $0.001$ (from pale to strong), $\beta=0.05$.
# ```
#
# ### Adam
#
# The stationary states are zeros of the gradient, so they are the same for every optimiser that moves along it, with
# the decay in the loss. What changes is the way: Adam takes steps of equal size whatever the size of the gradient,
# and small codes grow at once. AdamW decays the weights apart from the gradient, and its stationary state is another.

# %%
gamma, start = 0.5 * edge["rotation"], (1.0, 0.02, 1.0)
target = collapse.fixed_point("rotation", half, gamma, decay_W)
rows = []
for optimiser, lr in (("sgd", 0.3), ("adam", 0.05), ("adamw", 0.05)):
    path = collapse.descend(
        "rotation", line, line_codes, start, 3 * steps, lr, gamma=gamma, decay_W=decay_W, beta=0.1, optimizer=optimiser
    )
    rows.append(
        {
            "optimiser": optimiser,
            "least s": path[0].min(),
            "s at the end": path[0, -1],
            "w at the end": path[2, -1],
            "theory s": target[0],
            "theory w": target[2],
        }
    )
found = {row["optimiser"]: row for row in rows}
assert all(abs(found[name]["s at the end"] - target[0]) < 0.01 for name in ("sgd", "adam"))
assert found["adam"]["least s"] > 2 * found["sgd"]["least s"]
assert abs(found["adamw"]["w at the end"] - target[2]) > 0.05
table(rows)

# %% [markdown]
# ## The author's observation, recreated
#
# Weight decay $\lambda_W$, $\gamma=0.8\,\gamma^*_{\rm rot}$, and codes that start at a twentieth of the latents:

# %%
gamma, rows = 0.8 * edge["rotation"], []
for name in ("ste", "rotation"):
    s, t, w = collapse.descend(name, line, line_codes, (1, 0.05, 1), 3 * steps, 0.15, gamma=gamma, decay_W=decay_W)[
        :, -1
    ]
    reconstruction = 1 - 2 * half.rho * w * t + half.rho * (w * t) ** 2
    rows.append(
        {
            "estimator": ARMS[name].label,
            "reconstruction": reconstruction,
            "|q − z|²": s**2 - 2 * half.rho * s * t + half.rho * t**2,
            "E|z|²": s**2,
        }
    )
ste, rot = rows
assert rot["reconstruction"] > 1.2 * ste["reconstruction"] and rot["|q − z|²"] < 0.5 * ste["|q − z|²"]
for key, row in (("ste", ste), ("rot", rot)):
    glue(f"rec_{key}", float(row["reconstruction"]))
    glue(f"err_{key}", float(row["|q − z|²"]))
table(rows)

# %% [markdown]
# The reconstruction loss rises from {glue:text}`rec_ste:.3f` to {glue:text}`rec_rot:.3f` and the codebook loss falls
# from {glue:text}`err_ste:.3f` to {glue:text}`err_rot:.3f`: the symptom, in a model of three numbers <claim:A-036>. Now
# the article's explanation, step by step.
#
# - *Codes much shorter than latents make the reconstruction gradient small.* True: by the factor $r$, exactly
#   <claim:A-038>.
# - *Then the commitment term rules at first.* True of codes short enough, where $r|g|$ is far below $2\gamma|z-q|$
#   <claim:A-039>: this is the dip of {prf:ref}`obs-dip`. It shrinks $z$ as long as $|q|<|z|$, since
#   $\langle z,z-q\rangle\ge|z|(|z|-|q|)$ <claim:A-135>.
# - *The auxiliary terms alone drive $q$ and $z$ to zero.* It depends, see below <claim:A-040>.
# - *Hence the worse result.* Not in this model: from short codes it ends where it ends from fitted ones, as long as it
#   stays positive ({prf:ref}`thm-threshold`). A short training may stop inside the dip, and with a decoder of two
#   layers short codes can end at zero where fitted ones do not <claim:A-041>.
# - *The paper's code starts its codebook by k-means*, which would explain why it fares better. The author says only
#   that this seems so from a quick look. It does not: the released code leaves `kmeans_init` at `False`
#   {cite}`fifty2024code`. Where lengths are free its codes start very short <claim:A-043>.
# - *$\gamma$ needs retuning.* Right, and here is by how much: the threshold is lower by $\rho$ <claim:A-042>.
#
# ```{prf:proposition} The auxiliary terms alone
# :label: prop-auxiliary
#
# Let $\beta|q-\mathrm{sg}\,z|^2+\gamma|z-\mathrm{sg}\,q|^2$ with $\beta,\gamma>0$ be the whole loss.
#
# 1. If each $z$ is a free variable with a code of its own, $\beta z+\gamma q$ is conserved and both end at
#    $(\beta z_0+\gamma q_0)/(\beta+\gamma)$, which is not zero.
# 2. If $z=Ex$ with fixed assignments and every code has latents, all is driven to zero from every start exactly if the
#    scatter of the data within the cells, $\Sigma=\sum_kp_k\operatorname{Cov}(x\mid k)$, is nonsingular.
#
# <claim:A-040>
# ```
#
# ````{dropdown} Proof
# *Part 1.* $z'=-2\gamma(z-q)$ and $q'=2\beta(z-q)$. So $\beta z+\gamma q$ does not move, and $z-q$ decays as
# $e^{-2(\beta+\gamma)T}$.
#
# *Part 2.* With $\bar x_k$ the mean of cell $k$,
# $\mathbb E|z-q|^2=\operatorname{tr}(E\Sigma E^\top)+\sum_kp_k|q_k-E\bar x_k|^2$. Its gradient in $E$, weighted by
# $\gamma$, and in the codes, weighted by $\beta$, is the flow: a gradient flow of a convex quadratic form in a rescaled
# metric, so it converges to a minimiser, and the minimum is zero. If $\Sigma$ is nonsingular, zero requires $E=0$ and
# $q=0$. If $\Sigma v=0$ for some $v\ne0$, then every $E$ whose rows are multiples of $v^\top$, with
# $q_k=E\bar x_k$, is a minimiser, and stays where it starts.
# ````
#
# What remains open: the author reports neither norms nor his weight decay. The symptom fits at least three causes,
# namely shrunken latents with decay (permanent), the dip (while training is short), and a decoder that lags.
# Experiments on images can tell them apart, if they record $\mathbb E|z|^2$.
#
# ## What helps
#
# The threshold of each remedy, from $A(1)=\mathbb E\langle x,Gx\rangle/d$ at $q=c$: {prf:ref}`thm-threshold` covers
# them all. It is evaluated with the package's own estimators.

# %%
fine, fine_codes = collapse.line(4000)
wide, wide_codes = collapse.circle(codes, n=60, angles=12)
rows = []
for label, member in {
    "STE": "ste",
    "rotation": "rotation",
    "rotation, r clipped to [0.5, 1.5]": estimator("clipped", clip=(0.5, 1.5)),
    "rotation, r clipped to [0.8, 1.2]": estimator("clipped", clip=(0.8, 1.2)),
    "rotation only": "rotation_only",
    "half STE, half rotation": "interpolated",
    "scale only": "scale_only",
    "radial-free rotation": "radial_free",
}.items():
    row = {"estimator": label}
    for where, (x, c) in {"line": (fine, fine_codes), "plane": (wide, wide_codes)}.items():
        own = c[nearest(x, c)]
        rho, A = collapse.Cells.of(x, own).rho, collapse.push(member, x, own)[0]
        row |= {f"{where}: A(1)": A, f"{where}: γ*/γ* of rotation": A / rho}
    rows.append(row)
remedy = {row["estimator"]: row for row in rows}
for where, (x, c) in {"line": (fine, fine_codes), "plane": (wide, wide_codes)}.items():
    own = c[nearest(x, c)]
    r, weight = own.norm(dim=-1) / x.norm(dim=-1), x.norm(dim=-1) * (x * own).sum(-1) / own.norm(dim=-1)
    change = (r.clamp(0.5, 1.5) - r) * weight / (r * weight).mean()  # of <x, Gx>, in units of its mean
    lowered, raised = float((change * (r > 1.5)).mean()), float((change * (r < 0.5)).mean())
    assert abs(1 + lowered + raised - remedy["rotation, r clipped to [0.5, 1.5]"][f"{where}: γ*/γ* of rotation"]) < 1e-9
    assert -0.1 < lowered < 0 < raised < 0.1
    glue(f"clipped_{where}", 100 * float((change != 0).double().mean()))
    glue(f"lowered_{where}", 100 * lowered)
    glue(f"raised_{where}", 100 * raised)
clipped = remedy["rotation, r clipped to [0.5, 1.5]"]
glue("clip_line", 100 * (clipped["line: γ*/γ* of rotation"] - 1))
glue("clip_plane", 100 * (clipped["plane: γ*/γ* of rotation"] - 1))
assert 1 < clipped["line: γ*/γ* of rotation"] < 1.1 and abs(clipped["plane: γ*/γ* of rotation"] - 1) < 0.05
assert abs(remedy["radial-free rotation"]["plane: A(1)"]) < 1e-12
assert all(
    remedy[name][f"{where}: γ*/γ* of rotation"] > 1
    for name in ("half STE, half rotation", "rotation only")
    for where in ("line", "plane")
)
table(rows)


# %%
def end(gamma, r0=0.3, **weights):
    return collapse.flow("rotation", (1, r0, 1), [5000.0], half, gamma=gamma, decay_W=decay_W, **weights)[0, -1]


above, below = 1.3 * edge["rotation"], 0.9 * edge["rotation"]
lost = {
    "k-means start, r₀ = 1": end(above, r0=1.0),
    "γ below 1/β": end(above, beta=0.5 / above),
    "encoder decay λ_E = 0.5": end(below, decay_E=0.5),
}
saved = {"tiny codes, r₀ = 0.001": end(below, r0=1e-3), "γ above 1/β": end(below, beta=500.0)}
assert max(lost.values()) < 1e-6 and min(saved.values()) > 0.05
factors = [1.3, 1.3, 0.9, 0.9, 0.9]
table([{"case": k, "γ/γ*": f, "s at the end": v} for f, (k, v) in zip(factors, (lost | saved).items())])

# %% [markdown]
# The article's Theorems 8.1 and 8.2 propose remedies. In this model:
#
# - **k-means initialisation** sets $r_0$ to one. It shortens the dip. The threshold stays. <claim:A-136>
# - **$\gamma<1/\beta$** is irrelevant: the threshold has no $\beta$ in it. The table has latents that vanish with
#   $\gamma<1/\beta$ and latents that stay with $\gamma\gg1/\beta$. <claim:A-138>
# - **L2 regularisation** of $z$ or of the weights does not keep latents from shrinking, it makes them shrink: an
#   encoder decay $\lambda_E$ adds to $\gamma(1-\rho)$, and the decoder decay $\lambda_W$ is what makes a threshold in
#   the first place. <claim:A-137>
# - **Clipping** $r$ to $[0.5,1.5]$ moves the threshold by {glue:text}`clip_line:+.1f` % on the line and by
#   {glue:text}`clip_plane:+.1f` % in the plane, although it changes $r$ for {glue:text}`clipped_line:.0f` % and
#   {glue:text}`clipped_plane:.0f` % of the latents. Where it lowers $r$ the latents are short and weigh little in
#   $A(1)=\mathbb E\langle x,Gx\rangle/d$ ({glue:text}`lowered_line:.1f` % on the line). Where it raises $r$ they
#   are long, and gain little ({glue:text}`raised_line:+.1f` %). <claim:A-140>
# - **A smaller $\gamma$** does help <claim:A-139>. So does a mix with STE, or the rotation without its factor $r$.
# - **A hard constraint** on the norm of the latents removes $s$ from the model altogether ({prf:ref}`prop-normalised`)
#   <claim:A-137>. One on the codes brings $\mathbb E[r]$ to $1$ only if their length follows that of the latents
#   <claim:A-118>.
#
# ## Limits
#
# The threshold is a theorem about linear, symmetric networks. {prf:ref}`cor-stationary` is what survives of it in
# general networks. It says nothing about how fast, and images are neither symmetric nor linear. Nor is a vanishing
# scale always harmful, as the case without decay shows: there the reconstruction stays optimal.

# %% [markdown]
# ## What to keep
#
# - All this is in a linear, symmetric model. Without decay STE has a stable state of rest. Under the rotation, if codes
#   are centroids, latents and codes vanish like $T^{-1/4}$, the decoder grows, and the reconstruction does not suffer.
# - With the decay $\lambda_W$ of the decoder latents, codes and decoder vanish above
#   $\gamma^*=A(1)\,\rho/\big(\lambda_W(1-\rho)\big)$. For the rotation that is lower by the factor $\rho$. As long as
#   the state stays positive, neither the start nor $\beta$ moves it.
# - These are {term}`shrinking latents`, and the loss itself wants them. For {term}`codebook collapse` see
#   {ref}`nb-drift`.
#
# ## Exercises
#
# **1.** Normal data on the line, two codes, $\lambda_W=\frac12$. From which $\gamma$ on do the latents vanish under the
# rotation, and from which under STE?
#
# ```{dropdown} Solution
# $\rho=2/\pi$. $\gamma^*_{\rm rot}=\rho^2/(\lambda_W(1-\rho))\approx2.23$ and
# $\gamma^*_{\rm STE}=\gamma^*_{\rm rot}/\rho\approx3.50$.
# ```

# %% tags=["hide-input"]
rho = 2 / np.pi
assert abs(collapse.threshold(rho, rho, 0.5) - 2.23) < 0.01 and abs(collapse.threshold(1.0, rho, 0.5) - 3.50) < 0.01

# %% [markdown]
# **2.** Which estimator has the threshold zero? Why is that no surprise?
#
# ```{dropdown} Solution
# One with $A(1)=0$: the radial-free ones and zero. They pass nothing on that could hold $(E,b)$ against the
# commitment loss.
# ```

# %% tags=["hide-input"]
assert all(collapse.push(name, line, line_c)[0] < 1e-12 for name in ("radial_free", "radial_free_scale", "zero"))

# %% [markdown]
# **3.** The same line, $\lambda_W=\frac12$ and $\gamma=1$, below both thresholds. Where does the rotation settle?
#
# ```{dropdown} Solution
# By {prf:ref}`cor-window` $y=1-\sqrt{\frac12(1-\rho)}/\rho\approx0.330$, $s=\sqrt{y\lambda_W/(\rho(1-y))}\approx0.62$
# and $w=y/s\approx0.53$.
# ```

# %% tags=["hide-input"]
cells = collapse.Cells.of(fine, fine_codes[nearest(fine, fine_codes)])
s, t, w = collapse.fixed_point("rotation", cells, 1.0, 0.5)
assert abs(s - 0.62) < 0.01 and abs(w - 0.53) < 0.01 and s == t
