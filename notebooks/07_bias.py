# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (nb-bias)=
# # Bias
#
# ```{admonition} In short
# :class: tip
# The derivative of the quantised loss is zero almost everywhere, so bias needs another gradient to be compared with:
# that of the expected loss. Against it neither estimator is less biased everywhere. What the rotation adds to STE has
# two parts of the same order in the error. One is a force towards the origin. The other goes with the gradient without
# quantiser, $\bar g$: it is smaller only where $|\bar g|\ll h|z|$, $h$ the curvature of the loss, and can turn the
# sign. If a cell has one target for all its latents, the two cancel along $z$.
# ```
#
# ```{glue:figure} map
# :name: fig-bias-map
#
# Neither is less biased everywhere: squares where the rotation has the smaller bias at $\bar z$, circles where STE has.
# Offset 0.
# ```
#
# Every estimator of this book is called biased. Biased against what? The loss as a function of $z$ is piecewise
# constant, so its derivative is zero wherever it exists. The article defines the bias as the distance from this
# derivative, and asks that an estimator approximate it {cite}`su2024rotation`. That goal has a winner nobody wants.
#
# ```{prf:observation} The best approximation of zero
# :label: obs-zero
#
# The article's bias is the mean distance from the derivative that exists almost everywhere, $\mathbb E|G^\top g|$. It
# is least, namely zero, for $G=0$, which trains no encoder. <claim:A-063> <claim:A-082>
# ```
#
# A gradient worth estimating appears as soon as $z$ is random: through noise, through *dither*, which is noise that one
# adds before the lookup, or through the scatter of data that an encoder cannot tell apart. This chapter compares STE
# and rotation with that gradient, in closed form where there is one. From here on bias is a vector, the error of the
# mean.
#
# ```{prf:definition} The gradient of the expected loss
# :label: def-expected
#
# For a random $\varepsilon$ with a density let $\bar L(\bar z)=\mathbb E\,L(\mathrm{VQ}(\bar z+\varepsilon))$. The bias
# of an estimator at $\bar z$ is $\mathbb E[G^\top g]-\nabla\bar L(\bar z)$ with $z=\bar z+\varepsilon$ and
# $g=\nabla L(\mathrm{VQ}(z))$. <claim:A-106>
# ```
#
# The jumps at the cell boundaries, which the derivative ignores, are all there is in $\nabla\bar L$.

# %% tags=["parameters"]
y: float = 2.2  # the target on the line
samples: int = 4000  # Monte Carlo draws at each point
seed: int = 0
grid: int = 24  # points along each side of the map, and of its quadrature

# %% tags=["hide-input"]
from rotvq.page import parameters

parameters.check(globals(), y=(-10, 10), samples=(100, 10**6), grid=(8, 60))

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from book.statements import show
from book.theory import bias
from rotvq import ESTIMATORS
from rotvq.page.figures import ARMS, INK, Figure, glue, style

plt.rcParams.update(style())
torch.set_num_threads(1)


def table(rows, precision=3):
    style = pd.DataFrame(rows).style.format(precision=precision).hide(axis="index")
    return style.set_table_styles([{"selector": "th, td", "props": "padding: 0.1em 0.7em"}])


# %% [markdown]
# ## On a lattice
#
# Let the codes be the multiples of $\Delta$ on the line and the dither uniform on $[-\Delta/2,\Delta/2]$. Write
# $\bar z=(k+p)\Delta$ with $0<p<1$. Then $q$ is $k\Delta$ with probability $1-p$ and $(k+1)\Delta$ with probability
# $p$.
#
# ```{prf:proposition} Chord, interpolation, logarithm
# :label: prop-lattice
#
# Write $q_0=k\Delta$, $q_1=(k+1)\Delta$, $g_i=L'(q_i)$.
#
# 1. $\bar L$ is the piecewise linear interpolation of $L$ between the codes. So
#    $\bar L'(\bar z)=(L(q_1)-L(q_0))/\Delta$, the slope of a chord.
# 2. STE gives the interpolation of $L'$: $(1-p)g_0+p\,g_1$.
# 3. For $\bar z>\Delta/2$ the rotation gives
#
# $$ \frac1\Delta\Big[q_0g_0\ln\frac{(k+\frac12)\Delta}{\bar z-\frac\Delta2}
#    +q_1g_1\ln\frac{\bar z+\frac\Delta2}{(k+\frac12)\Delta}\Big]. $$ (eq-log)
#
# For a quadratic loss with second derivative $h$ the bias of STE is $h\Delta(p-\frac12)$: zero on average, from one
# code to the next and over each cell, and zero everywhere for a linear loss. For a smooth loss its average is
# $\frac{\Delta^2}{12}L'''+O(\Delta^4)$ from one code to the next, the error of the trapezoidal rule, and
# $-\frac{\Delta^2}{24}L'''+O(\Delta^4)$ over a cell. The rotation is biased even for a linear loss.
# <claim:B-043> <claim:A-107> <claim:A-108>
# ```
#
# ````{dropdown} Proof
# *Part 1.* $\bar L=(1-p)L(q_0)+pL(q_1)$, and $p$ grows with $\bar z$ at the rate $1/\Delta$. *Part 2.* Take the mean of
# $L'(q)$. *Part 3.* $z$ is uniform on $[\bar z-\frac\Delta2,\bar z+\frac\Delta2]$, where it is positive, and passes
# from $q_0$ to $q_1$ at $(k+\frac12)\Delta$. On the positive line $G=q/z$, and $\int q\,dz/z$ over the two parts gives
# the logarithms.
#
# For quadratic $L$, $(1-p)g_0+pg_1=h(\bar z-y)$, while the chord has slope $h((k+\frac12)\Delta-y)$. The average over
# $p$ of STE is $\frac12(g_0+g_1)$, the trapezoidal rule for $\int L'=L(q_1)-L(q_0)$, divided by $\Delta$. Over the cell
# of $q_0$, with $q_{-1}=q_0-\Delta$, STE has on average
# $\frac18g_{-1}+\frac34g_0+\frac18g_1=L'+\frac{\Delta^2}8L'''+\dots$, and $\bar L$ rises by
# $\frac12(L(q_1)-L(q_{-1}))$, at the mean rate $L'+\frac{\Delta^2}6L'''+\dots$. For a linear loss $g_0=g_1=1$, and
# {eq}`eq-log` is not $1$: see the number below.
# ````
#
# So for a quadratic loss STE estimates $h(\bar z-y)$, exactly the gradient of the autoencoder *without* quantiser.

# %% tags=["hide-input"]
m = torch.linspace(0.55, 4.95, 400, dtype=torch.float64)
target = torch.full_like(m, y)
truth = torch.floor(m) + 0.5 - target
curves = {name: bias.lattice_mean(name, m, target, 1.0) for name in ("ste", "rotation")}
at = torch.linspace(0.63, 4.83, 15, dtype=torch.float64)
dither = torch.rand(samples, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
z = at + dither
q = z.round()
draws = {n: ESTIMATORS[n].pull_back(z[..., None], q[..., None], (q - y)[..., None])[..., 0] for n in curves}
scores = []
for name, felt in draws.items():
    exact, error = bias.lattice_mean(name, at, torch.full_like(at, y), 1.0), felt.std(0) / samples**0.5
    scores.append(((felt.mean(0) - exact) / error).abs().max())
assert max(scores) < 4.5  # 30 draws from about a normal law
glue("score", float(max(scores)))

linear = float(bias.lattice_mean("rotation", torch.tensor([3.2]).double(), torch.tensor([-1e9]).double(), 1.0)[0]) / 1e9
assert abs(linear - 1.00081) < 1e-4
glue("linear", linear)

fig, ax = plt.subplots()
ax.plot(m, truth, ".", color=INK, markersize=1.5, label="gradient of $\\bar L$")
for name, values in curves.items():
    arm = ARMS[name]
    ax.plot(m, values, color=arm.color, linestyle=arm.linestyle, label=arm.label)
    mean, error = draws[name].mean(0), draws[name].std(0) / samples**0.5
    ax.errorbar(at, mean, 2 * error, fmt=arm.marker, color=arm.color, markersize=3, capsize=2, linewidth=1)
ax.set(xlabel="$\\bar z$", ylabel="gradient at $\\bar z$")
ax.legend()
alt = """The gradient of the expected loss is a staircase. STE is the straight line through the middle of its steps. The
rotation follows STE far from zero and departs from it near zero. Monte Carlo points lie on both curves."""
glue("lattice", Figure(fig, alt))

# %% [markdown]
# ```{glue:figure} lattice
# :name: fig-lattice
#
# The simulation agrees with the closed forms: $L(q)=\frac12(q-y)^2$ on the integers. Points are Monte Carlo means with
# two standard errors.
# ```
#
# The simulation agrees with the closed forms: the largest of 30 deviations is {glue:text}`score:.1f` standard errors.
# For a linear loss of slope one the rotation gives {glue:text}`linear:.5f` at $\bar z=3.2$ and not 1. <claim:B-043>
# <claim:A-108>

# %%
show(bias.lattice_bias, bias.average_over_a_cell)

# %% [markdown]
# ## In many dimensions, on average
#
# With a fine quantiser the error $e=q-z$ is small. The gradient at $q$ and the one at $z$ differ by the second
# derivative times $e$, up to second order <claim:P-013>. What an estimator makes of this on average depends on how $e$
# stands to $z$. Dither makes $e$ independent of $z$. Trained codes do not: a centroid is shorter than its latents, and
# $\mathbb E\langle z,e\rangle=-\mathbb E|e|^2$. So compare the rotation with STE first. There one part is the same in
# both cases.
#
# ```{prf:theorem} An inward force
# :label: thm-inward
#
# Let $L(q)=\frac h2|q-y|^2$, let $\bar g=h(z-y)$ be the gradient without quantiser and $g=\bar g+he$. For every $z$ and
# $q$ the rotation adds to STE's gradient
#
# $$ (G^\top-I)\,g=h|e|^2\,\frac z{|z|^2}+(G^\top-I)\,\bar g . $$ (eq-inward)
#
# With $D=\mathbb E|e|^2$ the mean of the last part is, up to terms of fourth order in $e$,
#
# 1. $\frac{d-2}{2d}\frac D{|z|^2}\,P\bar g$ at one $z$, if $e$ is isotropic, with $P=I-zz^\top/|z|^2$;
# 2. $-\frac D{|q|^2}\big(\frac{d-2}d(I-P)+\frac{d-2}{2d}P\big)\bar g$ over the cell of $q$, if $q$ is its centroid, $e$
#    is isotropic given $q$, $y$ follows $z$ so that $\bar g$ is the same in the cell, and $P=I-qq^\top/|q|^2$.
#
# <claim:B-044> <claim:A-111>
# ```
#
# ````{dropdown} Proof
# Split $\mathbb R^d$ into $S=\operatorname{span}\{z,q\}$ and its complement. On $S$, seen as the complex plane, $G$ is
# multiplication by $q/z$, which is linear in $e$. So there $G^\top$ is $I+M(e)$ with
# $M(e)=(ze^\top-ez^\top+\langle z,e\rangle I)/|z|^2$, exactly: this is {eq}`eq-expansion`. On the complement $G$ is
# multiplication by $r$, and $r^2=|z+e|^2/|z|^2=\big(1+\langle z,e\rangle/|z|^2\big)^2+|e_\perp|^2/|z|^2$, where
# $e_\perp$ is the part of $e$ orthogonal to $z$. So $r=1+\langle z,e\rangle/|z|^2+|e_\perp|^2/(2|z|^2)$ up to third
# order. With $\Pi_\perp$ the projection onto the complement,
#
# $$ G^\top=I+M(e)+\frac{|e_\perp|^2}{2|z|^2}\,\Pi_\perp+\text{third order}. $$
#
# $M(e)\,e=|e|^2z/|z|^2$ for every $e$, and $\Pi_\perp e=0$, since $e\in S$; on $S$ nothing was neglected, so
# {eq}`eq-inward` is exact.
#
# *Part 1.* $M(e)\bar g$ is linear in $e$ and has mean zero. The projection $\Pi_\perp$ removes from $P$ the direction
# of $e_\perp$, so $|e_\perp|^2\Pi_\perp=|e_\perp|^2P-e_\perp e_\perp^\top$. By isotropy
# $\mathbb E\,e_\perp e_\perp^\top=\frac DdP$ and $\mathbb E|e_\perp|^2=\frac Dd(d-1)$, so the mean is $\frac Dd(d-2)P$.
# Terms of third order change their sign with $e$ and vanish.
#
# *Part 2.* Now $q$ is fixed and $z=q-e$. The part with $\Pi_\perp$ is as before. But $M(e)$ contains $z$ and is no
# longer odd in $e$. Insert $z=q-e$ and $|z|^{-2}=|q|^{-2}\big(1+2\langle q,e\rangle/|q|^2+\dots\big)$, and use
# $\mathbb E\,ee^\top=\frac DdI$. Let $\bar g_\parallel$ be the part of $\bar g$ along $q$. Of $ze^\top=qe^\top-ee^\top$
# the first term counts with $2\langle q,e\rangle/|q|^2$ and the second as it is: in units of $D/|q|^2$ their means on
# $\bar g$ are $\frac2d\bar g_\parallel$ and $-\frac1d\bar g$. Those of $-ez^\top=-eq^\top+ee^\top$ are the opposite. Of
# $\langle z,e\rangle=\langle q,e\rangle-|e|^2$ they are $\frac2d\bar g$ and $-\bar g$. They add up to
# $-\frac{d-2}d\bar g$, and $\Pi_\perp$ adds $\frac{d-2}{2d}P\bar g$.
# ````
#
# For the pair the first term of {eq}`eq-inward` is $h\,(0.4,0)$.
#
# The first term of {eq}`eq-inward` is $\nabla(hD\ln|z|)$ on average. Descending, it pulls towards the origin, as if the
# loss contained $hD\ln|z|$. Its product with $z$ is $hD$: the part of $\mathbb E\langle g,e\rangle$ by which STE misses
# the balance of {prf:ref}`thm-balance`. {ref}`nb-drift` follows it through training.
#
# The second part of {eq}`eq-inward` is of the order $D|\bar g|/|z|^2$, so it is smaller where $|\bar g|\ll h|z|$. In
# case 2, for $d>2$, a $\bar g$ along $q$ that is longer than $\frac d{d-2}h|q|$ turns the sum outwards.
#
# And who is biased against the loss without quantiser? Along $z$ that depends on the case. Take $\bar g$ there as the
# standard:
#
# | | STE | rotation |
# |---|---|---|
# | $e$ isotropic, independent of $z$ | $0$ | $hD$ |
# | centroid codes, $y$ follows $z$ | $-hD$ | $0$ |
# | centroid codes, one $y$ for the cell | $-hD$ | $-hD$ |
#
# The entries are $\mathbb E\langle G^\top g-\bar g,z\rangle$, to leading order. The last two rows are
# $\mathbb E\langle e,z\rangle=-D$ for STE, times $h$, and $\mathbb E\langle\bar g,e\rangle$ for the rotation. In the
# last row $g$ is the same for the whole cell, so $\mathbb E\langle(G^\top-I)g,z\rangle=\mathbb E\langle g,e\rangle=0$:
# the rotation adds no force along $z$ at all.

# %%
show(bias.inward_bias, bias.radial_bias)

# %%
rows, generator = [], torch.Generator().manual_seed(seed)
for d in (2, 8, 32):
    z = torch.zeros(1, d, dtype=torch.float64)
    z[0, 0], aim = 1.0, torch.zeros(1, d, dtype=torch.float64)
    aim[0, 1] = 1.0
    e = torch.randn(5 * samples, d, generator=generator, dtype=torch.float64) * 0.1 / d**0.5
    e, D = torch.cat([e, -e]), 0.01
    felt = ESTIMATORS["rotation"].pull_back(z.expand_as(e), z + e, z + e - aim) - (z - aim)
    felt = (felt[: len(e) // 2] + felt[len(e) // 2 :]) / 2  # pairs e, -e, so that the draws are independent
    mean, error = felt.mean(0), felt.std(0) / len(felt) ** 0.5
    theory = [D, -(d - 2) / (2 * d) * D]
    for i, part in enumerate(("radial", "tangential")):
        rows.append(
            {
                "d": d,
                "part": part,
                "Monte Carlo": float(mean[i]),
                "standard error": float(error[i]),
                "theory": theory[i],
            }
        )
        assert abs(mean[i] - theory[i]) < 5 * error[i] + 0.03 * D  # fourth order: some D^2
table(rows, precision=5)

# %% [markdown]
# ## At a face
#
# Near a single boundary one can compare directions. Let there be two codes $q_1,q_2$ at distance $\delta$, $n$ the unit
# vector from one to the other, $\tau$ the distance of $\bar z$ from the face between them (positive towards $q_2$), and
# normal dither of size $\sigma$. Write $\Phi$ and $\varphi$ for the normal distribution function and density at
# $\tau/\sigma$.
#
# ```{prf:proposition} Only the normal component is real
# :label: prop-face
#
# For a quadratic loss
#
# $$ \nabla\bar L(\bar z)=\frac{\delta\,\varphi}{\sigma}\;n\,\Big\langle n,\frac{g_1+g_2}2\Big\rangle, \qquad
#    \mathbb E[g]=(1-\Phi)\,g_1+\Phi\,g_2\ \text{ for STE}. $$
#
# <claim:B-045>
# ```
#
# ```{prf:proof}
# $z$ has the code $q_2$ if the normal component of the dither exceeds $-\tau$, which has the probability
# $\Phi(\tau/\sigma)$. So $\bar L=(1-\Phi)L(q_1)+\Phi L(q_2)$ depends on $\bar z$ through $\tau$ only. Now
# $\nabla\tau=n$, the derivative of $\Phi(\tau/\sigma)$ by $\tau$ is $\varphi/\sigma$, and for a quadratic loss
# $L(q_2)-L(q_1)=\langle\frac{g_1+g_2}2,q_2-q_1\rangle$ exactly, with $q_2-q_1=\delta n$.
# ```
#
# The true gradient knows nothing of directions along the face: moving there changes no assignment. STE passes them on
# all the same, and so does the rotation, turned by a few degrees. This is no flaw. When all latents move along the
# face, the codes can follow, and no estimator for fixed codes knows that.

# %%
show(bias.two_codes)

# %% [markdown]
# ## Which is less biased?
#
# Neither. In the plane, with the integer lattice, uniform dither and $L=\frac12|q-y|^2$, the true gradient and STE's
# bias $p-\frac12$ in each coordinate are known. The rotation's mean we compute by quadrature, near the origin and far
# from it. STE does not notice where the origin is. The rotation does.


# %%
def biases(offset: float):
    """|bias| of STE and rotation on a grid of mean latents in (1, 4)^2 + offset; the target is (2.3, 1.8) + offset."""
    side = 1 + 3 * (torch.arange(grid, dtype=torch.float64) + 0.5) / grid
    at = torch.cartesian_prod(side, side) + offset
    nodes = (torch.arange(grid, dtype=torch.float64) + 0.5) / grid - 0.5
    z = at[:, None] + torch.cartesian_prod(nodes, nodes)
    q = (z * 2**20).round().div(2**20).round()  # a point within a rounding of a face lies on it, at every offset
    aim = torch.tensor([2.3, 1.8], dtype=torch.float64) + offset
    truth = torch.floor(at) + 0.5 - aim
    means = {name: ESTIMATORS[name].pull_back(z, q, q - aim).mean(1) for name in ("ste", "rotation")}
    return {name: (mean - truth).norm(dim=-1) for name, mean in means.items()}


rows, maps = [], {}
for offset in (0.0, 3.0, 30.0):
    maps[offset] = biases(offset)
    share = float((maps[offset]["rotation"] < maps[offset]["ste"]).double().mean())
    mean = {name: float(values.mean()) for name, values in maps[offset].items()}
    rows.append(
        {
            "offset": offset,
            "mean |bias|, STE": mean["ste"],
            "mean |bias|, rotation": mean["rotation"],
            "share of points where rotation has less": share,
        }
    )
assert abs(rows[0]["mean |bias|, STE"] - rows[2]["mean |bias|, STE"]) < 1e-9
assert all(0.05 < row["share of points where rotation has less"] < 0.95 for row in rows)
assert abs(rows[2]["mean |bias|, rotation"] / rows[2]["mean |bias|, STE"] - 1) < 0.01
glue("share", 100 * rows[0]["share of points where rotation has less"])
table(rows)

# %% tags=["hide-input"]
better = (maps[0.0]["rotation"] < maps[0.0]["ste"]).reshape(grid, grid).numpy()
side = 1 + 3 * (np.arange(grid) + 0.5) / grid
fig, ax = plt.subplots(figsize=(3.6, 3.4))
for which, name in ((better, "rotation"), (~better, "ste")):
    i, j = np.nonzero(which)
    arm = ARMS[name]
    ax.plot(side[i], side[j], arm.marker, color=arm.color, markersize=2.5, label=f"{arm.label} less")
ax.set(xlabel="$\\bar z_1$", ylabel="$\\bar z_2$", aspect="equal")
ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncol=2)
alt = """A map of the square from one to four in both coordinates, dotted by which estimator has the smaller bias. The
two kinds of dots form patches that differ from cell to cell."""
glue("map", Figure(fig, alt))

# %% [markdown]
# {numref}`fig-bias-map`, at the top of this page, is the map. At offset 0 the rotation has the smaller bias at
# {glue:text}`share:.0f` % of the points, and far from the origin the two agree <claim:A-111>. So neither "the rotation
# is less biased" nor its opposite is true. It depends on the place, on the target, and on where the origin happens to
# lie.
#
# ## The article's statements
#
# - *STE and rotation are biased* (its Theorem 6.1). True of the rotation in general: it is biased even for a linear
#   loss, though a symmetric case can hide it <claim:A-108>. STE is unbiased for a linear loss on a lattice with dither
#   one cell wide, and on average over cells for a quadratic one <claim:A-107> <claim:A-084>. At a face with other noise
#   it is biased even for a linear loss ({prf:ref}`prop-face`).
# - *STE's bias comes from giving the same gradient to all $z$ of a cell* (its Proposition 6.1). No: on a lattice with
#   linear loss it does just that and has no bias <claim:A-110>. What matters is the curvature of the loss over a cell
#   <claim:A-109>.
# - *Within a cell STE has no variance* (its Proposition 2.2). For fixed $g$ that is so. But $g$ depends on the image
#   and on its other latents <claim:A-083>.
# - *For small $|z-q|$ the rotation's bias is close to STE's* (its Proposition 6.2). True if small means small against
#   $|z|$: {eq}`eq-inward` has $D/|z|^2$ in it <claim:A-111>.
# - *$\mathbb E\big||q|/|z|-1\big|$ measures the bias in norm, and is very large if codes are far shorter than latents*
#   (its Definition 6.2 and Proposition 6.3). It does not see the angle, and on the line it is infinite as soon as $z$
#   has a positive density at $0$ and no code lies there <claim:A-114>. For short codes it tends to $1$ wherever it is
#   finite <claim:A-115>.
#
# Bias is not everything. An estimator can be useful because of what its bias does, as STE shows in
# {ref}`the chapter on shrinking latents <nb-collapse>`.

# %% [markdown]
# ## What to keep
#
# - Bias needs something random: the gradient to compare with is that of the expected loss.
# - To STE's gradient the rotation adds $h|e|^2z/|z|^2$, an inward force on descent, and a part of the same order in
#   $e$. That part is smaller only where $|\bar g|\ll h|z|$. With one target for a whole cell it cancels the force.
# - Neither estimator is less biased. It depends on the place, on the target and on the origin.
#
# ## Exercises
#
# **1.** The loss is $L(q)=q$ and the codes are the integers, with uniform dither one cell wide. At $\bar z=3.2$, what
# are the true gradient, STE's mean and the rotation's?
#
# ```{dropdown} Solution
# $1$, $1$, and $3\ln\frac{3.5}{2.7}+4\ln\frac{3.7}{3.5}\approx1.0008$, by {eq}`eq-log`.
# ```

# %% tags=["hide-input"]
assert abs(3 * np.log(3.5 / 2.7) + 4 * np.log(3.7 / 3.5) - linear) < 1e-6

# %% [markdown]
# **2.** Two codes at $(0,0)$ and $(1,0)$, normal dither of size $1$, $\bar z$ on the face, and $L$ adds the two entries
# of $q$. What is true, and what does STE report?
#
# ```{dropdown} Solution
# The true gradient is $\varphi(0)\,(1,0)\approx(0.40,0)$. STE reports $(1,1)$: all of $g$, of which only a part of the
# first entry is real.
# ```

# %% tags=["hide-input"]
codes = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
step, middle = torch.tensor([1e-4, 0.0]).double(), torch.tensor([0.5, 0.3]).double()
total = [bias.over_dither(lambda z, q: q.sum(-1, keepdim=True), middle + s * step, codes, 1.0) for s in (1, -1)]
assert abs(float(total[0] - total[1]) / 2e-4 - 0.3989) < 1e-3

# %% [markdown]
# **3.** The pair, $h=1$ and $\bar g=(1,0)$. What does the rotation add to STE's gradient, term by term of
# {eq}`eq-inward`?
#
# ```{dropdown} Solution
# The first term is $|e|^2z/|z|^2=(0.4,0)$. The second is $(R^\top-I)(1,0)=(-0.2,-0.6)$, since $R^\top$ turns back by
# $36.9°$. Together $(0.2,-0.6)$.
# ```

# %% tags=["hide-input"]
z, q, base = (torch.tensor([x], dtype=torch.float64) for x in ([1.0, 0.0], [0.8, 0.6], [1.0, 0.0]))
arrives = base + q - z
more = ESTIMATORS["rotation"].pull_back(z, q, arrives) - arrives
assert torch.allclose(more, torch.tensor([[0.2, -0.6]], dtype=torch.float64))
