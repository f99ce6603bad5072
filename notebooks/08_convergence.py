# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (nb-convergence)=
# # Convergence
#
# ```{admonition} In short
# :class: tip
# STE and the rotation descend the loss of the autoencoder *without* quantiser, down to a floor that the quantisation
# error sets. The rotation needs a bound on the relative error for it, and pays a factor. Rates without a floor are
# false: a latent can hover at a face, or run around the origin for ever.
# ```
#
# ```{glue:figure} circle
# :name: fig-circle
#
# The latent circles, and the un-quantised loss rises as often as it falls. With small steps in place of the flow there
# are about {glue:text}`turns:.0f` turns, and $r$ stays above {glue:text}`ratio:.3f`. <claim:A-163>
# ```
#
# The article states rates of convergence for STE and for the rotation trick, in its part 12 {cite}`su2024rotation`.
# They are false as they stand, and this chapter gives small counterexamples. First it proves what does hold. Both
# methods descend the loss of the autoencoder *without* quantiser, up to a floor that the quantisation error sets. They
# do not descend the loss that one would like to minimise, that of the quantised autoencoder <claim:A-159>: its
# derivative in the encoder is $0$ almost everywhere.

# %% tags=["parameters"]
steps: int = 1000  # of online k-means
seeds: int = 5  # starting points

# %% tags=["hide-input"]
from rotvq.page import parameters

parameters.check(globals(), steps=(500, 10**6), seeds=(2, 50))

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from book.statements import show
from book.theory import convergence
from rotvq import ESTIMATORS, nearest
from rotvq.page.figures import ARMS, MUTED, Figure, glue
from rotvq.page.figures import style as figure_style

plt.rcParams.update(figure_style())
torch.set_num_threads(1)

# %% [markdown]
# ## What is true
#
# Let $f$ be the loss as a function of what the decoder sees, $h_{\max}$-smooth (its gradient has Lipschitz constant
# $h_{\max}$) and bounded below by $f^*$. The latent moves by $z_{t+1}=z_t-\eta u_t$ with $u_t=G^\top\nabla f(q_t)$,
# where $q_t$ is the code of $z_t$.
#
# ```{prf:theorem} Descent to a floor
# :label: thm-floor
#
# For $\eta\le1/h_{\max}$ and any directions $u_t$
#
# $$ \frac1T\sum_{t<T}|\nabla f(z_t)|^2\;\le\;\frac{2(f(z_0)-f^*)}{\eta T}
#    +\frac1T\sum_{t<T}|u_t-\nabla f(z_t)|^2, $$ (eq-floor)
#
# and the error of the direction is
#
# $$ \begin{aligned}
#    |u-\nabla f(z)|&\le h_{\max}\,|q-z| && \text{(STE)},\\
#    |u-\nabla f(z)|&\le\Big(h_{\max}+\frac{|\nabla f(q)|}{|z|}\Big)|q-z| && \text{(rotation)}.
#    \end{aligned} $$ (eq-direction)
#
# <claim:B-046>
# ```
#
# ````{dropdown} Proof
# Smoothness gives $f(z-\eta u)\le f(z)-\eta\langle\nabla f,u\rangle+\frac{h_{\max}\eta^2}2|u|^2$. With
# $h_{\max}\eta\le1$ this is at most $f(z)-\eta\langle\nabla f,u\rangle+\frac\eta2|u|^2$, and the last two terms are
# $\frac\eta2|u-\nabla f|^2-\frac\eta2|\nabla f|^2$. Sum over $t$: the values of $f$ telescope to
# $f(z_T)-f(z_0)\ge f^*-f(z_0)$. Multiply by $\frac2{\eta T}$. For STE $u=\nabla f(q)$, and the bound is the Lipschitz
# condition. For the rotation add $|G^\top\nabla f(q)-\nabla f(q)|\le\|G-I\|\,|\nabla f(q)|$ with $\|G-I\|=|q-z|/|z|$
# ({prf:ref}`thm-distance`).
# ````
#
# The rotation's second term does not vanish where $\nabla f(q)$ is large. But it can be moved to the other side.
#
# ```{prf:corollary} A floor without the gradient
# :label: cor-relative-floor
#
# If $|q_t-z_t|\le\kappa|z_t|$ along the way with some $0<\kappa<1$, then for the rotation and $\eta\le1/h_{\max}$
#
# $$ \frac1T\sum_{t<T}|\nabla f(z_t)|^2\le\frac{2(f(z_0)-f^*)}{(1-\kappa)\,\eta T}
#    +\Big(\frac{1+\kappa}{1-\kappa}\Big)^2h_{\max}^2\,\frac1T\sum_{t<T}|q_t-z_t|^2 . $$
#
# <claim:B-047>
# ```
#
# ```{prf:proof}
# $u-\nabla f(z)=G^\top\big(\nabla f(q)-\nabla f(z)\big)+(G^\top-I)\nabla f(z)$. The first part is at most
# $rh_{\max}|q-z|$ with $r=|q|/|z|\le1+\kappa$, the second at most $\kappa|\nabla f(z)|$. Square with Young's inequality
# $(a+b)^2\le\frac{a^2}{1-\kappa}+\frac{b^2}\kappa$, insert into {eq}`eq-floor`, and take $\kappa$ times the mean of
# $|\nabla f(z_t)|^2$ to the left.
# ```
#
# So as long as the *relative* error stays below a bound, the rotation has a floor of the same kind as STE. Near the
# origin there is no such bound, and the next sections show that something is lost there. Upper bounds on $|z|$ and
# $|q|$, which the article asks for, do not give one: a lower bound on $|z|$ is needed <claim:A-161>.
#
# For a network with weights $\vartheta$ the same proof gives the same statement for
# $F(\vartheta)=\mathbb E\,f_x(z_\vartheta(x))$, where the error of the direction is
# $|\mathbb E[J^\top(u-\nabla f)]|\le\mathbb E\big[\|J\|\,|u-\nabla f|\big]$ with the Jacobian $J$ of the encoder.

# %%
show(convergence.biased_descent)

# %%
show(convergence.gradient_error, convergence.relative_gradient_error, convergence.relative_floor)

# %% [markdown]
# The floor is real. With codes at $0$ and $\Delta$ on the line and $f(z)=\frac12(z-y)^2$ for a small $y>0$, STE brings
# $z$ to the boundary $\Delta/2$ from either side, and keeps it there. At the boundary $|\nabla f|^2=(\Delta/2-y)^2$,
# and the floor that {eq}`eq-floor` and {eq}`eq-direction` allow, $h_{\max}^2|q-z|^2$, is $\Delta^2/4$: for $y\to0$ they
# agree. So STE's floor cannot be lowered.
#
# How does the floor fall with the spacing of the codes? Square lattices in the plane, $f(z)=\frac12|z-y|^2$, two
# hundred latents for each of several targets near $(3,2)$:


# %%
def floor(name: str, spacing: float, centre=(3.0, 2.0)):
    """Mean |grad f(z)|^2 and |q - z|^2 over the second half of a run, for each target; also the largest |q - z|/|z|."""
    generator = torch.Generator().manual_seed(0)
    aim = torch.tensor(centre).double() + torch.rand(seeds, 1, 2, generator=generator, dtype=torch.float64)
    z = aim + torch.randn(seeds, 200, 2, generator=generator, dtype=torch.float64)
    eta, total, count, far = 0.02, 0.0, 0, 0.0
    for step in range(400):
        q = (z / spacing).round() * spacing
        if step >= 200:
            square = torch.stack([(z - aim).square().sum(-1).mean(-1), (q - z).square().sum(-1).mean(-1)])
            total, count = total + square, count + 1
            far = max(far, float(((q - z).norm(dim=-1) / z.norm(dim=-1)).max()))
        z = z - eta * ESTIMATORS[name].pull_back(z, q, q - aim)
    return *(total / count).numpy(), far


spacings = (1.0, 0.5, 0.25, 0.125)
floors = {name: [floor(name, spacing) for spacing in spacings] for name in ("ste", "rotation")}
rows = []
for i, spacing in enumerate(spacings):
    (ste, error, _), (rot, rot_error, kappa) = floors["ste"][i], floors["rotation"][i]
    bound = ((1 + kappa) / (1 - kappa)) ** 2 * rot_error  # the start has been forgotten
    assert (ste <= 1.05 * error).all() and (rot <= 1.05 * bound).all()
    rows.append(
        {
            "Δ": spacing,
            "floor, STE": ste.mean(),
            "its bound": error.mean(),
            "floor, rotation": rot.mean(),
            "its bound ": bound.mean(),
            "κ": kappa,
        }
    )
slopes = {n: np.polyfit(np.log(spacings), np.log([f[0].mean() for f in found]), 1)[0] for n, found in floors.items()}
assert all(1.5 < slope < 2.5 for slope in slopes.values())
for name, slope in slopes.items():
    glue(f"slope_{name}", float(slope))
style = pd.DataFrame(rows).style.format(precision=4).hide(axis="index")
style.set_table_styles([{"selector": "th, td", "props": "padding: 0.1em 0.7em"}])

# %% [markdown]
# The floor of the mean squared gradient falls like $\Delta^{2}$: the fitted exponents are {glue:text}`slope_ste:.2f`
# for STE and {glue:text}`slope_rotation:.2f` for the rotation. No run exceeds its bound. <claim:B-046> <claim:B-047>
#
# ## The article's rates
#
# The article assumes that $L$ is Lipschitz with constant $\Lambda$ and that $z$ and the codes are bounded. It then
# states for STE
#
# $$ \mathbb E|\nabla L|^2\le\frac{2(L_0-L^*)}{\eta T}+\eta\Lambda^2, $$ (eq-article-rate)
#
# with factors $\tau_{\min}^{-2}$ and $\tau_{\max}^2$ for the rotation with $r\in[\tau_{\min},\tau_{\max}]$, and
# concludes that for $r=1$ both converge alike (its Theorems 12.1 and 12.2 and Corollary 12.1). It does not say where
# $\nabla L$ is taken.
#
# Two things are missing from {eq}`eq-article-rate`. One is smoothness: without any quantiser, gradient descent on
# $|z|$ has $|\nabla L|=1$ at every step. The other is the floor. And the assumption itself fails: as a function of $z$
# the quantised loss jumps at the faces, so it is not Lipschitz <claim:A-160>.
#
# ```{prf:proposition} STE at a boundary
# :label: prop-hover
#
# On the line, with the codes $\pm1$, let $L(q)=\frac12(q-y)^2$ with $|y|<1$. Under STE, from every start and for
# every $\eta$, the mean of $g_t^2$ tends to $1-y^2$, and for small $\eta$ the latent ends near $0$, where the
# un-quantised loss has the squared gradient $y^2$. <claim:A-162>
# ```
#
# ```{prf:proof}
# $g=q-y$ has the sign of $z$ and $1-|y|\le|g|<2$. So every step moves $z$ by less than $2\eta$ towards the boundary $0$
# or across it. It comes to $|z|<2\eta$ and stays there. Then $\eta\sum g_t=z_0-z_T$ is bounded, and the mean of $g_t$
# tends to $0$. From $q=g+y$ and $q^2=1$, $g^2=1-2yg-y^2$. Take the mean.
# ```
#
# Read $\nabla L$ as the gradient at the code: its mean square is $1-y^2$ for ever. Read it as the gradient of the
# un-quantised loss: $y^2$ for ever. The right-hand side of {eq}`eq-article-rate` is as small as one likes. Only if
# $\nabla L$ is the derivative of $L(\mathrm{VQ}(z))$, which is zero almost everywhere, does the inequality hold, and
# then it says nothing.

# %%
y, eta, count = 0.4, 0.01, 25_000
z, squares, outer = 1.5, [], []
for _ in range(count):
    g = (1.0 if z >= 0 else -1.0) - y
    squares.append(g * g)
    outer.append((z - y) ** 2)
    z -= eta * g
bound = 2 * (0.5 * (1 + y) ** 2 - 0.5 * (1 - y) ** 2) / (eta * count) + eta * (1 + y) ** 2
assert abs(np.mean(squares) - (1 - y**2)) < 0.01 and np.mean(squares) > 10 * bound
assert np.mean(outer[count // 2 :]) > 5 * bound
for key, value in {"mean_square": np.mean(squares), "bound": bound, "outer": np.mean(outer[count // 2 :])}.items():
    glue(key, float(value))

# %% [markdown]
# With $y=0.4$, $\eta=0.01$ and $T=25\,000$ the mean of $g^2$ is {glue:text}`mean_square:.3f`, that of the
# un-quantised gradient squared {glue:text}`outer:.3f`, and the article's bound is {glue:text}`bound:.3f`. <claim:A-162>
#
# ```{prf:proposition} Ratio one, and round it goes
# :label: prop-circle
#
# In the plane let the codes be $(1,0)$ and $(-4,0)$ and $L(q)=\langle\ell,q\rangle$ with $\ell=(0,1)$. Start the
# latent on the unit circle. Under the flow of the rotation trick it runs around the circle at constant speed for
# ever. $r=1$ throughout, all norms are bounded, $L$ is Lipschitz, and the un-quantised loss $\langle\ell,z\rangle$
# rises as often as it falls. Under STE the un-quantised loss falls at the constant rate $|\ell|^2$.
# <claim:A-163> <claim:A-164> <claim:A-244>
# ```
#
# ```{prf:proof}
# Every point of the unit circle is within $2$ of $(1,0)$ and at least $3$ from $(-4,0)$, so $q=1$ in complex
# notation. By {prf:ref}`thm-plane-field`, $G^\top g=g\,\overline{q/z}=g/\bar z$, and $1/\bar z=z$ on the circle. With
# $g=i$ the flow is $z'=-iz$, a rotation about $0$ that keeps the circle. Under STE $z'=-\ell$, for every code.
# ```
#
# Half of the time the angle between $z$ and $q$ is more than $90°$, and the trick moves $z$ uphill. A ratio of one
# does not help, and so the corollary is false. (STE leaves this code's neighbourhood, as it should for a loss without
# minimum.)

# %% tags=["hide-input"]
eta, count = 1e-3, 50_000
z = complex(np.cos(2.0), np.sin(2.0))
heights, ratios = [], []
for _ in range(count):
    heights.append(z.imag)
    ratios.append(1 / abs(z))
    assert abs(z - 1) < abs(z + 4)
    z -= eta * 1j / z.conjugate()
ratio = min(ratios)
claimed = 2 * (max(heights) - min(heights)) / (eta * count * ratio**2) + eta
z_last = torch.tensor([[np.cos(2.0), np.sin(2.0)]])
one, i = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.0, 1.0]]).double()
felt = ESTIMATORS["rotation"].pull_back(z_last, one, i)
assert torch.allclose(felt, torch.tensor([[-np.sin(2.0), np.cos(2.0)]]))  # i z, as the proof says
assert ratio > 0.97 and claimed < 0.1
assert heights[-1] > min(heights) + 0.1 and max(heights[count // 2 :]) > 0.95
turns = eta * count / (2 * np.pi)
for key, value in {"ratio": ratio, "claimed": claimed, "turns": turns}.items():
    glue(key, float(value))
fig, ax = plt.subplots()
time = eta * np.arange(count)
ax.plot(time[::100], heights[::100], color=ARMS["rotation"].color, label="rotation, $r = 1$")
ax.plot(time[:3000:100], (np.sin(2.0) - time)[:3000:100], color=ARMS["ste"].color, linestyle="--", label="STE")
ax.axhline(0, color=MUTED, linewidth=0.8)
ax.set(xlabel="time", ylabel="un-quantised loss")
ax.legend()
alt = """The un-quantised loss against time: a sine wave that never dies for the rotation, a falling straight line for
STE."""
glue("circle", Figure(fig, alt))

# %% [markdown]
# {numref}`fig-circle`, at the top of this page, has the loss under both.
#
# The mean squared gradient is 1. The article's bound for this run would be {glue:text}`claimed:.3f`. <claim:A-163>
#
# ## The codebook
#
# The article's Theorem 12.3 says that online k-means brings the codes to the *optimal* codebook at a polynomial rate.
# Updating the codes is an online k-means if the steps decrease; with a constant decay it is a moving average, which
# follows the encoder <claim:A-166>. Either finds a stationary codebook at best, which need not be the best one.
#
# ```{prf:proposition} Online k-means can stop at a bad codebook
# :label: prop-kmeans
#
# Let the data be the corners $(\pm2,\pm1)$ of a rectangle, with equal shares, and $K=2$. The codes $(0,\pm1)$ are the
# means of their cells, and their mean squared error is $4$. The best codes, $(\pm2,0)$, have $1$. Online k-means whose
# steps $a_1,a_2,\dots$ of each code are small enough, with $\sum a_t=\infty$ and $\sum a_t^2<\infty$, leads from every
# start near enough to $(0,\pm1)$ back to them, with a probability as near to one as one likes. <claim:A-167>
# ```
#
# ````{dropdown} Proof
# The errors are $2^2$ and $1^2$. Start within $\varepsilon/2$ of $(0,1)$ and $(0,-1)$. As long as the codes are within
# a small $\varepsilon$ of these, their cells contain the two upper and the two lower corners. Then the second
# coordinate of the upper code is pulled to $1$ at every step. Its first coordinate moves by
# $x_t=(1-a_t)x_{t-1}+2a_t\xi_t$ with signs $\xi_t=\pm1$ that are independent and fair. Let $M_t=\sum_{s\le t}a_s\xi_s$.
# Solving for $x_t$ and summing by parts gives $|x_t|\le|x_0|+4\max_{s\le t}|M_s|$. By Kolmogorov's inequality the
# maximum exceeds $\varepsilon/8$ with a probability of at most $64\sum a_t^2/\varepsilon^2$, which is small if the
# steps are. Otherwise the code stays near. Start the same sum at a later time $s$: for all $t>s$,
# $|x_t|\le|x_s|\prod_{s<u\le t}(1-a_u)+4\max_{u\ge s}|M_u-M_s|$. As $t$ grows, the product goes to $0$ for every $s$,
# since $\sum a_t=\infty$. The maximum is small for late $s$, since $M_t$ converges, as $\sum a_t^2<\infty$. So
# $x_t\to0$. The lower code is the same.
# ````

# %%
corners = torch.tensor([[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]])
ends = []
for seed in range(seeds):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.tensor([[0.0, 1.0], [0.0, -1.0]]) + 0.1 * torch.randn(2, 2, generator=generator)
    for t in range(1, steps + 1):
        x = corners[torch.randint(4, (1,), generator=generator)]
        k = nearest(x, codes)
        codes[k] += (x - codes[k]) / (20 + t)  # steps that sum to infinity, and whose squares do not
    ends.append(float((corners - codes[nearest(corners, codes)]).square().sum(-1).mean()))
assert min(ends) > 3.9
glue("kmeans", float(np.mean(ends)))
glue("kmeans_steps", steps)

# %% [markdown]
# Over all seeds the error after {glue:text}`kmeans_steps` steps is {glue:text}`kmeans:.2f` on average, and not 1.
# <claim:A-167>
#
# ## What more is known
#
# - Where codes are always the centroids of their cells, the linear model of {ref}`nb-collapse` converges under the
#   rotation from every start, since it is a true gradient flow ({prf:ref}`thm-descent`). The limit can be zero.
# - The article asks for $\mathbb E[r]\approx1$ as a condition of convergence (its Theorem 6.3). It is neither
#   sufficient, as {prf:ref}`prop-circle` shows with $r=1$, nor necessary: in the model with two codes on the line and
#   normal data $\mathbb E[r]=\mathbb E[|c|/|x|]$ is infinite at every stationary state, and they are stable
#   ({prf:ref}`prop-stable`). <claim:A-117>
# - A *constant* ratio does act as a factor on the learning rate of the reconstruction part. That part of the article's
#   reading is right for steps below $1/h$; with larger ones a smaller ratio can be the faster <claim:A-165>. A ratio
#   that varies need not make training unstable <claim:A-152>.
#
# Nothing here concerns the speed in real networks, and nothing tells which method finds better solutions. That is
# what experiments are for.

# %% [markdown]
# ## What to keep
#
# - STE and the rotation descend the loss *without* quantiser, down to a floor that is set by $|q-z|^2$.
# - The rotation needs in addition that the relative error stays below some $\kappa<1$, and pays the factor
#   $\big(\frac{1+\kappa}{1-\kappa}\big)^2$.
# - Rates without a floor are false: a latent hovers at a face, or runs around the origin for ever.
#
# ## Exercises
#
# **1.** Codes at $0$ and $1$, $f(z)=\frac12(z-0.1)^2$, STE, small steps, and a start at $0.8$. Where does the latent
# end, and what is $|\nabla f|$ there?
#
# ```{dropdown} Solution
# At the boundary $0.5$: above it $g=0.9$ pushes down, below it $g=-0.1$ pushes up. There $|\nabla f|=0.4$, below the
# floor $0.5$.
# ```

# %% tags=["hide-input"]
x = 0.8
for _ in range(5000):
    x -= 1e-3 * ((1.0 if x > 0.5 else 0.0) - 0.1)
assert abs(x - 0.5) < 2e-3

# %% [markdown]
# **2.** Why does {prf:ref}`cor-relative-floor` not forbid what happens in {prf:ref}`prop-circle`?
#
# ```{dropdown} Solution
# On the circle $|q-z|$ goes up to $2$ while $|z|=1$: there is no $\kappa<1$.
# ```

# %% tags=["hide-input"]
turn = np.linspace(0, 2 * np.pi, 100)
assert np.abs(1 - np.exp(1j * turn)).max() > 1

# %% [markdown]
# **3.** What is the relative error of the pair? If a path never has more than that, by which factor may the floor of
# the rotation lie above that of STE in {prf:ref}`cor-relative-floor`?
#
# ```{dropdown} Solution
# $\kappa=|q-z|/|z|=\sqrt{0.4}\approx0.63$, and $\big(\frac{1.63}{0.37}\big)^2\approx20$.
# ```

# %% tags=["hide-input"]
kappa = 0.4**0.5
assert abs(np.hypot(0.8 - 1, 0.6) - kappa) < 1e-12 and abs(((1 + kappa) / (1 - kappa)) ** 2 - 20) < 0.5
