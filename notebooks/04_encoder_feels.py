# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (the-field)=
# # What the encoder feels
#
# ```{admonition} In short
# :class: tip
# The rotation changes the field of straight-through by the relative error, $|q-z|/|z|$. It knows the origin and not the
# faces of the cells. Near a code, and for a gradient along it, the cloud of latents widens if the update points
# outwards, and lengthens if it points inwards.
# ```
#
# Fix a codebook and a gradient. Each latent $z$ then receives a vector, and the estimator is a vector field: constant
# for straight-through, and for the rotation
# ```{math}
# :label: eq-field
# F(z)=G(z,q)^\top g,\qquad q=\mathrm{VQ}(z),\quad G=rR .
# ```
# Much has been said about this field: that it pushes latents over the boundaries of their cells, that it pushes some
# apart and pulls others together, that it changes smoothly where straight-through jumps. This chapter computes it,
# inside the cells and across their faces. What the place of the origin has to do with it is in {doc}`46_origin`.
# Notation is that of {ref}`the-rotation`. Arrows show the step $-F$.

# %% tags=["parameters"]
codes_shown: int = 16  # codes in the pictures of fields
seed: int = 0

# %% tags=["hide-input"]
from rotvq.page import parameters

parameters.check(globals(), codes_shown=(3, 100))

# %% tags=["hide-input"]
import math

import matplotlib.pyplot as plt
import pandas as pd
import torch

from book import algebra
from book.statements import show
from book.theory import encoder_feels
from rotvq import ESTIMATORS, nearest
from rotvq.page.figures import ARMS, INK, MUTED, Figure, glue, style

plt.rcParams.update(style())
torch.set_num_threads(1)
draw = torch.Generator().manual_seed(seed)
pull_back = ESTIMATORS["rotation"].pull_back


def vector(*entries):
    return torch.tensor([entries], dtype=torch.float64)


def edges(ax, codes, span, color=MUTED):
    """The faces of the cells: of each bisector, the part that all other half-spaces leave."""
    for j in range(len(codes)):
        for k in range(j):
            normal = codes[j] - codes[k]
            along = torch.stack([-normal[1], normal[0]])
            rise = (codes - codes[k]) @ along  # for the other codes: rise t <= room
            room = (codes.square().sum(1) - codes[k].square().sum()) / 2 - (codes - codes[k]) @ (
                codes[j] + codes[k]
            ) / 2
            bound = room / torch.where(rise == 0, 1.0, rise)
            low = torch.where(rise < 0, bound, -9.0).max().clamp_min(-9 / along.norm())
            high = torch.where(rise > 0, bound, 9.0).min().clamp_max(9 / along.norm())
            if low < high and (room[rise == 0] >= -1e-9).all():
                ends = (codes[j] + codes[k]) / 2 + torch.stack([low, high])[:, None] * along
                ax.plot(*ends.T, color=color, lw=0.7)


# %% [markdown]
# ## The picture
#
# {numref}`fig-fields` repeats the paper's Figures 2 and 14: the gradient of two functions of the plane, and what a
# latent feels of it when the function sees the nearest of 16 codes.

# %% tags=["hide-input"]
span = (-2.2, 2.2)
codes = (torch.rand(codes_shown, 2, generator=draw, dtype=torch.float64) - 0.5) * 4
ticks = torch.linspace(-2, 2, 13, dtype=torch.float64)
points = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(-1, 2)
landscapes = {
    "$x^2+y^2$": lambda p: p.square().sum(-1),
    "$\\log|x/2+\\tanh y|$": lambda p: (p[..., 0] / 2 + p[..., 1].tanh()).abs().log(),
}


def slope(function, at):
    at = at.clone().requires_grad_()
    return torch.autograd.grad(function(at).sum(), at)[0]


figs = []
for title, function in landscapes.items():
    q = codes[nearest(points, codes)]
    felt = {
        "exact, at $z$": slope(function, points),
        "STE": slope(function, q),
        "rotation": pull_back(points, q, slope(function, q)),
    }
    for name, field in felt.items():
        fig, ax = plt.subplots(figsize=(3.1, 3.2))
        colour = {"STE": ARMS["ste"].color, "rotation": ARMS["rotation"].color}.get(name, INK)
        if name != "exact, at $z$":
            edges(ax, codes, span)
            ax.plot(*codes.T, ".", color=MUTED, markersize=5)
        length = algebra.norm(field)
        arrow = -field / length * (length / (1 + length))  # long arrows are shortened
        ax.quiver(*points.T, *arrow.T, color=colour, angles="xy", scale_units="xy", scale=3.4, width=0.006)
        ax.set(title=f"{title}, {name}", aspect="equal", xlim=span, ylim=span)
        ax.grid(False)
        figs.append(fig)
inside = nearest(points, codes)
same = (inside[:, None] == inside) & ~torch.eye(len(points), dtype=torch.bool)
ste_field = slope(landscapes["$x^2+y^2$"], codes[inside])
rotation_field = pull_back(points, codes[inside], ste_field)
assert (ste_field[:, None] - ste_field)[same].abs().max() == 0
assert (rotation_field[:, None] - rotation_field)[same].abs().max() > 0.1
glue(
    "fields",
    Figure(
        figs,
        alt=(
            "Downhill arrows of two functions. The exact field varies everywhere. Under straight-through the "
            "arrows of a cell are all equal. Under the rotation they fan out within each cell, most of all near "
            "the origin."
        ),
    ),
)

# %% [markdown]
# ```{glue:figure} fields
# :name: fig-fields
#
# Straight-through moves all latents of a cell alike, the rotation turns and scales the step of each: the update $-F$
# for two functions of the plane, after the paper's Figures 2 and 14. Arrows longer than about 1 are shortened. The
# places of the codes and the scale of the arrows are our guesses; the functions and the number of codes are the
# paper's.
# ```
#
# For $x^2+y^2$ the gradient at a code is $2q$, and {eq}`eq-complex` will give $F=2|q|^2z/|z|^2$: radial everywhere,
# like the exact field $2z$. With straight-through every latent of a cell moves parallel to its code.
#
# {numref}`fig-play-field` lets the points move, under any estimator, with the same $g$ everywhere or with that of the
# loss $|q-y|^2/2$ for a target $y$.
#
# ```{figure} ../figures/field.svg
# :name: fig-play-field
# :class: rotvq-field
# :alt: Six cells, filled with small arrows that show the field, and two hundred points that have moved along it.
#
# Do points in one cell stay as they are, crowd together or spread? Every point moves by $-F(z)$, and the small arrows
# are steps $-F$, too. Codes, the centre (the thick ring), the step $-g$ and $y$ can be dragged. <claim:B-019>
# <claim:B-024>
# ```
#
# - Drag the centre out of the picture's middle: what do the points pile up at now?
# - With the same $g$ everywhere, straight-through moves all points alike. The rotation's field is, in each cell, that
#   of a source or sink and a vortex at the centre: a sink where $\langle g,q\rangle>0$. Its speed is $|g||q|/|z|$ (the
#   picture shows no more than 8), all lengths from the centre.
# - Under the quadratic loss, points gather where the fields of two cells meet head-on, and under the rotation also at
#   the centre, if the cell that contains it has $\langle g,q\rangle>0$.
#
# ## How far from straight-through
#
# ````{prf:theorem} Distance from straight-through
# :label: thm-distance
# ```{math}
# :label: eq-distance
# \begin{aligned}
# \|G-I\|_2&=\frac{|q-z|}{|z|},\\
# \|G-I\|_F^2&=2\,\frac{|q-z|^2}{|z|^2}+(d-2)(r-1)^2\quad(d\ge2).
# \end{aligned}
# ```
# So $|G^\top g-g|\le|g|\,|q-z|/|z|$: the rotation differs from straight-through by the *relative* error at most.
# <claim:B-017> <claim:A-046>
# ````
#
# ````{dropdown} Proof
# Read $S=\mathrm{span}(z,q)$ as the complex plane, with the turn from $z$ to $q$ counterclockwise; a star is then the
# complex conjugate. (If $z$ and $q$ lie on one line, take any plane through it, at $\theta=\pi$ the one that $R$
# turns.) $G$ acts on it as multiplication by $re^{i\theta}=q/z$, and $G-I$ as multiplication by $q/z-1$, which
# stretches every vector by $|q-z|/|z|$. On $S^\perp$, $G-I$ is $r-1$, and $|r-1|=\big||q|-|z|\big|/|z|\le|q-z|/|z|$. So
# the singular values of $G-I$ are $|q-z|/|z|$, twice, and $|r-1|$, $d-2$ times. The first is the largest, and the sum
# of their squares is the second line.
# ````
#
# ````{prf:theorem} An exact expansion
# :label: thm-expansion
# With $\Pi_\perp$ the projector on $S^\perp$,
# ```{math}
# :label: eq-expansion
# \begin{aligned}
# G&=\frac{\langle z,q\rangle I+qz^\top-zq^\top}{|z|^2}+r(1-\cos\theta)\,\Pi_\perp,\\
# 0&\le r(1-\cos\theta)\le\frac{|q-z|^2}{2|z|^2}.
# \end{aligned}
# ```
# <claim:B-018>
# ````
#
# ````{prf:proof}
# On $S$ the first term is multiplication by $qz^*/|z|^2=q/z$: the real part of $qz^*$ is $\langle z,q\rangle$,
# and $qz^\top-zq^\top$ is its imaginary part $|z||q|\sin\theta$ times the quarter turn, by the computation for
# {eq}`eq-series`. On $S^\perp$ the first term is $\langle z,q\rangle/|z|^2=r\cos\theta$, and $G$ is $r$. The bound is
# the law of cosines, $|q-z|^2/|z|^2=(1-r)^2+2r(1-\cos\theta)$.
# ````
#
# With $e=q-z$, {eq}`eq-expansion` reads
# $G^\top=I+\big(ze^\top-ez^\top+\langle z,e\rangle I\big)/|z|^2+O(|e|^2/|z|^2)$: the first-order expansion is exact
# on $S$, and off $S$ its error is at most $|e|^2/(2|z|^2)$. A small error also makes a small angle:
# $\sin\theta\le|q-z|/\max(|z|,|q|)$, since $|z|\sin\theta$ is the distance of $z$ from the line through $0$ and $q$,
# and $|q|\sin\theta$ that of $q$ from the line through $0$ and $z$. Equality holds where $q-z$ is orthogonal to $z$ or
# to $q$.

# %%
show(
    encoder_feels.distance,
    encoder_feels.distance_frobenius,
    encoder_feels.change,
    encoder_feels.expansion,
    encoder_feels.sine_bound,
)

# %% [markdown]
# ### The boundary has no say
#
# The article reports, and doubts, the explanation that $G$ is near $I$ deep inside a cell and far from $I$ near its
# boundary, where latents "fly about" and so reach new codes {cite}`su2024rotation` <claim:A-047> <claim:A-049>. Near a
# boundary there is a second code at nearly the same distance, that much is true <claim:A-141>. But {eq}`eq-distance`
# knows of no boundary. Three pairs of codes:

# %% tags=["hide-input"]
cases = {
    "on the boundary, far from the origin": ((10, 0.1), (10, -0.1), (10.0, 0.0)),
    "on the boundary, codes on one ray": ((1, 0), (3, 0), (2.0, 0.0)),
    "deep inside, near the origin": ((0.1, 0), (100, 0), (0.0, 1.0)),
}
rows = {}
for name, (e1, e2, point) in cases.items():
    e1, e2, z = vector(*e1), vector(*e2), vector(*point)
    q = e1 if algebra.norm(z - e1) <= algebra.norm(z - e2) else e2
    to_face = abs((algebra.norm(z - e1) ** 2 - algebra.norm(z - e2) ** 2) / (2 * algebra.norm(e1 - e2))).item()
    rows[name] = {
        "distance to the face": f"{to_face:.1f}",
        "theta": f"{math.degrees(algebra.angle(z, q).item()):.1f}°",
        "|G - I|": f"{algebra.spectral_norm(algebra.jacobian('rotation', z, q) - torch.eye(2)).item():.2f}",
        "|R - I|": f"{algebra.spectral_norm(algebra.rotation(z, q) - torch.eye(2)).item():.2f}",
    }
table = pd.DataFrame(rows).T
assert (
    table["|R - I|"].iloc[1] == "0.00" and table["theta"].iloc[2] == "90.0°" and float(table["|G - I|"].iloc[0]) < 0.02
)
assert float(table["distance to the face"].iloc[2]) > 49
table

# %% [markdown]
# On a boundary $G$ can be the identity to two digits, or no turn at all; far from every boundary it can turn by 90°.
# What counts is the error *relative to* $|z|$, and so the place of the origin. A turn by 90° or more needs
# $\langle z,q\rangle\le0$, hence $|q-z|^2\ge|z|^2+|q|^2$: an error as large as the vectors <claim:P-048>. Even then the
# gradients at $z$ and at $q$ need not point apart. By {eq}`eq-half-angle`,
# $\langle G^\top g,g\rangle=r|g|^2\big(1-(1-\cos\theta)|\Pi g|^2/|g|^2\big)$ is negative only if enough of $g$ lies in
# $S$ <claim:P-047>.
#
# ## Inside a cell
#
# Let the code and $g$ be fixed, as they are for a linear loss.
#
# ````{prf:theorem} The field in the plane
# :label: thm-plane-field
# For $d=2$, with vectors as complex numbers and a star for the conjugate,
# ```{math}
# :label: eq-complex
# F(z)=g\left(\frac qz\right)^*,\qquad
# |F(z)-F(z')|=|g|\,|q|\,\frac{|z-z'|}{|z|\,|z'|},
# ```
# and $F$ has neither divergence nor curl. <claim:B-019> <claim:A-201>
# ````
#
# ````{prf:proof}
# $G$ is multiplication by $q/z$, and the transpose of a multiplication is multiplication by the conjugate. So
# $F^*=F_1-iF_2=g^*q/z$, which is analytic away from $0$. Its Cauchy–Riemann equations are
# $\partial_1F_1=-\partial_2F_2$ and $\partial_2F_1=\partial_1F_2$: no divergence and no curl. The second formula is
# $1/z-1/z'=(z'-z)/(zz')$.
# ````

# %%
show(encoder_feels.complex_quotient, encoder_feels.difference, encoder_feels.plane_field)

# %% [markdown]
# So in one cell the field is smooth except at the origin and, from three dimensions on, on the ray opposite to $q$
# <claim:A-205>. One cell contains the origin: cells are convex, so the cell of $q$ meets that ray only if the origin
# lies in it. In all other cells the field is smooth throughout. In the plane it varies as $1/|z|$ does, in more
# dimensions also faster the nearer $\theta$ is to a half turn ({prf:ref}`thm-curl`). A face plays no part in this.
# Along a ray the direction of $F$ is fixed and its length falls as $1/|z|$, in every dimension: $F(tz)=F(z)/t$.
#
# ````{prf:proposition} Opposite to the code
# :label: prop-opposite
# Let $d\ge3$, let $u$ and $w$ be orthogonal to $q$ and to each other, and $g=u$. As $z\to-sq$ along $u$, $F\to-u/s$. As
# $z\to-sq$ along $w$, $F\to u/s$. <claim:B-059>
# ````
#
# ````{prf:proof}
# $r=1/s$, and by {prf:ref}`prop-ends` $R\to I-2aa^\top-2vv^\top$ along a unit vector $v\perp a$. For $v=u$ this takes
# $u$ to $-u$, for $v=w$ to $u$.
# ````

# %%
show(encoder_feels.breaks_opposite_the_code)

# %% [markdown]
#
# ````{prf:theorem} The field at a code
# :label: thm-derivative
# At $z=q$, with $g'=g-\langle g,b\rangle b$, the derivative of {eq}`eq-field` for fixed $q$ and $g$ is
# ```{math}
# :label: eq-derivative
# \begin{aligned}
# J&=\frac1{|q|}\Big(\langle g,b\rangle\,(I-2bb^\top)-g'b^\top-b\,g'^\top\Big),\\
# \operatorname{div}F&=\operatorname{tr}J=(d-2)\,\frac{\langle g,b\rangle}{|q|}.
# \end{aligned}
# ```
# <claim:B-020>
# ````
#
# ````{dropdown} Proof
# Put $z=q+v$ and use {eq}`eq-expansion` with $e=-v$, whose last term is of second order:
# $F=g+\big(-zv^\top g+v\langle z,g\rangle-\langle z,v\rangle g\big)/|z|^2+O(|v|^2)$. The bracket is of first order, so
# $z$ may be replaced by $q=|q|b$ in it: $|q|\,Jv=-b\langle g,v\rangle+\langle g,b\rangle v-\langle b,v\rangle g$.
# Insert $g=\langle g,b\rangle b+g'$. The trace of $I-2bb^\top$ is $d-2$, and those of $g'b^\top$ and $bg'^\top$ are
# $\langle g',b\rangle=0$.
# ````

# %%
show(encoder_feels.derivative_at_code, encoder_feels.homogeneous)

# %% [markdown]
# Away from the code the same two quantities have closed forms, too.
#
# ````{prf:theorem} Divergence and curl
# :label: thm-curl
# Let $d\ge2$ and $0<\theta<\pi$. Let $p$ be the part of $g$ off $S$, $m$ the bisector of $a$ and $b$, and $u\in S$ the
# unit vector orthogonal to $a$ on the side of $b$. The derivative $J$ of {eq}`eq-field` for fixed $q$ and $g$ has
# ```{math}
# :label: eq-curl
# \begin{aligned}
# \operatorname{div}F&=(d-2)\,\frac{\langle F,m\rangle}{|z|\cos\frac\theta2},\\
# J-J^\top&=\frac r{|z|}\tan\frac\theta2\,\big(pu^\top-up^\top\big).
# \end{aligned}
# ```
# So where $g$ has a part off $S$, the field is locally the gradient of no function. <claim:B-021> <claim:A-204>
# ````
#
# ````{dropdown} Proof
# *A move within the plane.* Let $v\in S$. $S$ stays, and on it {prf:ref}`thm-plane-field` holds: that block of $J$ is
# symmetric with trace $0$. Off $S$, $F$ is $rp$, which changes by $-\frac r{|z|}p\,\langle a,v\rangle$, since
# $r=|q|/|z|$.
#
# *A move out of it.* Let $v\in S^\perp$. It is orthogonal to $z$ and to $q$, so to first order $|z|$ and
# $\langle z,q\rangle$ stay, and with them $\theta$. So to first order $z$ moves by a rotation that fixes $q$. Let $k$
# be the quarter turn of $b$ in $S$ away from $a$, so that $\langle q,k\rangle=0$ and
# $\langle z,k\rangle=-|z|\sin\theta$. With $\delta=-v/(|z|\sin\theta)$ the antisymmetric
# $\Omega=\delta k^\top-k\delta^\top$ has $\Omega z=v$ and $\Omega q=0$. So $U=e^{t\Omega}$ are rotations that fix $q$
# and move $z$ with the velocity $v$. As $G(Uz,Uq)=UG(z,q)U^\top$ and $Uq=q$, the field at $Uz$ is $UG^\top U^\top g$.
# Its derivative at $t=0$ is
# ```{math}
# \begin{aligned}
# Jv&=\Omega F-G^\top\Omega g\\
# &=\langle Gk-rk,g\rangle\,\delta+\langle p,\delta\rangle\,(G^\top k-rk),
# \end{aligned}
# ```
# where we used $G\delta=G^\top\delta=r\delta$ and $\langle\delta,g\rangle=\langle\delta,p\rangle$. A turn by $\theta$
# moves $k$ along a chord of length $2\sin\frac\theta2$: $Rk-k=-2\sin\frac\theta2Rm$ and
# $R^\top k-k=2\sin\frac\theta2\,m$. With $\sin\theta=2\sin\frac\theta2\cos\frac\theta2$ the first term is
# $\frac r{|z|}\langle Rm,g\rangle v/\cos\frac\theta2$ and the second
# $-\frac r{|z|}\,m\,\langle p,v\rangle/\cos\frac\theta2$.
#
# *Together.* The first term is a multiple of the identity of $S^\perp$, which has $d-2$ dimensions. The blocks between
# $S$ and $S^\perp$ have no trace. So the divergence is $(d-2)\frac r{|z|}\langle Rm,g\rangle/\cos\frac\theta2$, and
# $r\langle Rm,g\rangle=\langle m,F\rangle$. Only the blocks between $S$ and $S^\perp$ are not symmetric. They are
# $-\frac r{|z|}pa^\top$ and $-\frac r{|z|}mp^\top/\cos\frac\theta2$. So
# $J-J^\top=\frac r{|z|}(pw^\top-wp^\top)$ with $w=m/\cos\frac\theta2-a$, which is $\tan\frac\theta2\,u$ since
# $m=\cos\frac\theta2\,a+\sin\frac\theta2\,u$.
# ````

# %%
show(encoder_feels.divergence_and_curl)

# %% tags=["hide-input"]
z, q, g = vector(1.0, 0.0, 0.0), vector(0.8, 0.6, 0.0), vector(0.0, 0.0, 1.0)
J = encoder_feels.derivative(z, q, g)[0]
curl = algebra.norm(vector(J[2, 1] - J[1, 2], J[0, 2] - J[2, 0], J[1, 0] - J[0, 1])).item()
assert abs(curl - math.tan(algebra.angle(z, q).item() / 2)) < 1e-6
glue("curl", curl)

# %% [markdown]
# For $z=(1,0,0)$, $q=(0.8,0.6,0)$ and $g=(0,0,1)$ the curl has the length {glue:text}`curl:.3f`. So the flow
# $dz/dt=-F(z)$ is no gradient flow, although the derivation writes it as $-\nabla L(z)$ <claim:A-204>. (With STE and a
# linear loss it is one, of $\langle g,z\rangle$.) And in high dimension the divergence matters more than anything in
# the plane: it has $d-2$ equal contributions.
#
# ## Push and pull
#
# The paper explains the trick by latents of one cell being pushed apart or pulled together, according to how the
# gradient lies to the code {cite}`fifty2025rotation`. {eq}`eq-derivative` says when and along which directions.
#
# ````{prf:corollary} Push and pull, with signs
# :label: cor-push-pull
# Take $g=\langle g,b\rangle b$ and a step $z\mapsto z-\eta F(z)$ near $z=q$. To first order, separations orthogonal to
# $q$ are multiplied by $1-\eta\langle g,b\rangle/|q|$ and separations along $q$ by $1+\eta\langle g,b\rangle/|q|$.
#
# If $\langle g,q\rangle>0$, so that the update points towards the origin, a cloud of latents near $q$ narrows and
# lengthens. If $\langle g,q\rangle<0$, so that the update points outwards, it widens and shortens. With STE separations
# keep. (The cell itself depends on the codes alone, and stays.) <claim:B-022> <claim:P-022> <claim:P-023> <claim:P-024>
# ````
#
# ````{prf:proof}
# $g'=0$ in {eq}`eq-derivative`, so $J=\langle g,b\rangle(I-2bb^\top)/|q|$, and separations are multiplied by
# $I-\eta J$.
# ````
#
# In the plane one is paid for by the other, as the divergence is zero. A part of $g$ across $q$ brings a shear, the
# terms with $g'$ of {eq}`eq-derivative`. {numref}`fig-push` repeats the paper's Figure 5: one code, a cloud of latents,
# a constant gradient along the code, 25 steps.

# %% tags=["hide-input"]
code = torch.tensor([[1.6, 0.8]], dtype=torch.float64)
axis = algebra.unit(code)
side = torch.stack([-axis[0, 1], axis[0, 0]])[None]
cloud = code + 0.35 * (2 * torch.rand(150, 2, generator=draw, dtype=torch.float64) - 1)
step, repeats = 0.02, 25
figs, factors = [], {}
for title, g in (
    ("update outwards: $\\langle g,q\\rangle<0$", -axis),
    ("update inwards: $\\langle g,q\\rangle>0$", axis),
):
    fig, ax = plt.subplots(figsize=(4.2, 3.4))
    ax.plot(*cloud.T, ".", color=MUTED, markersize=3, label="before")
    for name in ("ste", "rotation"):
        z = cloud.clone()
        for _ in range(repeats):
            z = z - step * ESTIMATORS[name].pull_back(z, code.expand_as(z), g.expand_as(z))
        ax.plot(*z.T, ARMS[name].marker, color=ARMS[name].color, markersize=2.5, alpha=0.8, label=ARMS[name].label)
        spread = [(z @ v.T).std() / (cloud @ v.T).std() for v in (side, axis)]
        factors[title, name] = [s.item() for s in spread]
    ax.plot(*code.T, "*", color=INK, markersize=9)
    ax.plot(0, 0, "+", color=INK)
    ax.set(title=title, aspect="equal", xlim=(-0.2, 2.8), ylim=(-0.2, 1.9))
    ax.legend(loc="upper left", fontsize=8)
    figs.append(fig)
(out_ste, out_rotation, in_ste, in_rotation) = factors.values()
assert out_rotation[0] > 1.05 and out_rotation[1] < 0.95 and in_rotation[0] < 0.95 and in_rotation[1] > 1.05
assert max(abs(x - 1) for x in (*out_ste, *in_ste)) < 1e-9
for name, value in zip(("out_side", "out_along", "in_side", "in_along"), (*out_rotation, *in_rotation)):
    glue(name, value)
glue(
    "push",
    Figure(
        figs,
        alt=(
            "A cloud of latents around a code before and after 25 steps. When the update points outwards the "
            "rotation's cloud is wider across and shorter along the code; when it points inwards it is narrower "
            "and longer. Straight-through only shifts the cloud."
        ),
    ),
)

# %% [markdown]
# ```{glue:figure} push
# :name: fig-push
#
# An outward update widens the cloud across the code and shortens it along the code; an inward one does the reverse.
# Outward, its width is multiplied by {glue:text}`out_side:.2f` and its length by {glue:text}`out_along:.2f`; inward, by
# {glue:text}`in_side:.2f` and {glue:text}`in_along:.2f`. A reproduction of the paper's Figure 5. The step size 0.02,
# the code and the cloud are our guesses; no code for this figure was released. <claim:P-023> <claim:P-024>
# ```
#
# ```{admonition} The sign in the paper
# :class: caution
# The paper says that if "the gradient" and $q$ point the same way, points at a large angle are pushed apart. That is
# so if the word means the update $-g$. For the gradient $g$ itself it is the reverse, by {prf:ref}`cor-push-pull`. In
# both cases it holds for separations across the code; along the code the opposite happens. <claim:P-023> <claim:P-024>
# ```
#
# ### Outwards from the code
#
# What if the gradient is such that it moves latents away from their code?
#
# ````{prf:proposition} The outward push is weaker on the outer side
# :label: prop-outward
# Let the update point away from the code, $-g=h\,(z-q)$ with $h>0$. Then the rotation's update has the component
# $h\,r\cos\theta\,|z-q|$ along $z-q$; straight-through has $h\,|z-q|$. Since $r\cos\theta=\langle q,z\rangle/|z|^2$,
# the factor is less than $1$ exactly where $\langle z,z-q\rangle>0$, and negative for $\theta>90°$. This outer side of
# the code is the outside of the ball that has the segment from $0$ to $q$ as its diameter. <claim:B-023> <claim:A-142>
# ````
#
# ````{prf:proof}
# $z-q\in S$, where $G^\top$ is multiplication by $re^{-i\theta}$, whose real part is $r\cos\theta$. So
# $\langle G^\top(z-q),z-q\rangle=r\cos\theta\,|z-q|^2$. And $\langle q,z\rangle<|z|^2$ says $\langle z,z-q\rangle>0$.
# ````
#
# And if gradients know nothing of directions, their distribution is turned into itself: for isotropic $g$, $R^\top g$
# has the law of $g$. The rotation proper then changes no probability of crossing a face in a step; only the factor
# $r$ does <claim:A-170> <claim:A-185>.

# %%
show(encoder_feels.outward_push)

# %% [markdown]
# ## Across the faces
#
# Across a face $q$ changes at once, and $G$ and $g$ with it.
#
# ````{prf:proposition} The jump
# :label: prop-jump
# For $d=2$ and a linear loss, whose gradient $g$ is the same for all codes, straight-through's field is constant. The
# rotation's jumps by
# ```{math}
# :label: eq-jump
# |F_q(z)-F_{q'}(z)|=|g|\,\frac{|q-q'|}{|z|}
# ```
# at a face between the cells of $q$ and $q'$. <claim:B-024> <claim:A-206> <claim:A-207>
# ````
#
# ````{prf:proof}
# By {eq}`eq-complex` the difference is $g\,((q-q')/z)^*$.
# ````

# %%
show(encoder_feels.jump)

# %% tags=["hide-input"]
z, e1, e2, g = vector(1, 1), vector(1, 0), vector(0, 1), vector(1, 0)
size = algebra.norm(pull_back(z, e1, g) - pull_back(z, e2, g)).item()
assert abs(size - 1) < 1e-9
glue("jump", size)

# %% [markdown]
# At $z=(1,1)$ between the codes $(1,0)$ and $(0,1)$ a unit gradient jumps by {glue:text}`jump:.0f`, its own length
# <claim:A-207>. The derivation has it the other way round: it says that straight-through's flow breaks at the faces and
# the rotation's passes smoothly. Inside a cell the rotation's field does vary continuously, but for the origin and,
# from three dimensions on, the ray opposite to the code <claim:A-205>. And straight-through's jumps where the loss is
# not linear.
#
# {numref}`fig-cells` repeats Figure 4: a fixed codebook, a constant gradient, 25 steps.

# %% tags=["hide-input"]
g = torch.tensor([[-0.6, -0.8]], dtype=torch.float64)
start = codes[0] * 0 + (2 * torch.rand(300, 2, generator=draw, dtype=torch.float64) - 1)
figs = []
for name in ("ste", "rotation"):
    z = start.clone()
    for _ in range(25):
        q = codes[nearest(z, codes)]
        z = z - 0.02 * ESTIMATORS[name].pull_back(z, q, g.expand_as(z))
    fig, ax = plt.subplots(figsize=(4.0, 3.8))
    edges(ax, codes, span)
    ax.plot(*codes.T, "*", color=INK, markersize=7)
    ax.plot(*start.T, ".", color=MUTED, markersize=2.5, label="before")
    ax.plot(*z.T, ARMS[name].marker, color=ARMS[name].color, markersize=2.5, label=f"after, {ARMS[name].label}")
    ax.set(aspect="equal", xlim=span, ylim=span)
    ax.grid(False)
    ax.legend(loc="lower right", fontsize=8)
    figs.append(fig)

books, occupied = 50, {"ste": [], "rotation": []}
for _ in range(books):
    book = (torch.rand(codes_shown, 2, generator=draw, dtype=torch.float64) - 0.5) * 4
    for name in occupied:
        z = start.clone()
        for _ in range(25):
            q = book[nearest(z, book)]
            z = z - 0.02 * ESTIMATORS[name].pull_back(z, q, g.expand_as(z))
        occupied[name].append(nearest(z, book).unique().numel())
for name, counts in occupied.items():
    glue(f"occupied_{name}", sum(counts) / books)
glue("books", books)
difference = torch.tensor(occupied["rotation"], dtype=torch.float64) - torch.tensor(
    occupied["ste"], dtype=torch.float64
)
glue("occupied_difference", difference.mean().item())
glue("occupied_error", (difference.std() / books**0.5).item())
glue(
    "cells",
    Figure(
        figs,
        alt=(
            "A square of latents over sixteen cells after 25 steps with one constant gradient: straight-through "
            "shifts the square as a whole, the rotation deforms it, tearing it at the faces and stretching it "
            "near the origin."
        ),
    ),
)

# %% [markdown]
# ```{glue:figure} cells
# :name: fig-cells
#
# Straight-through translates, the rotation deforms cell by cell: after the paper's Figure 4. Codes, latents, gradient
# and step size are our guesses.
# ```
#
# Does the deformation reach more codes? In this toy, over {glue:text}`books` random codebooks, the latents end in
# {glue:text}`occupied_ste:.2f` cells with straight-through and {glue:text}`occupied_rotation:.2f` with the rotation: a
# difference of {glue:text}`occupied_difference:.2f` with a standard error of {glue:text}`occupied_error:.2f`. A fixed
# codebook and one gradient are no training run. Usage is measured in later chapters. <claim:P-025> <claim:A-048>
#
# ## What to keep
#
# - The field is STE's, changed by the relative error $|q-z|/|z|$. It knows the origin and not the faces.
# - Near a code, and for a gradient along it, a cloud of latents widens or lengthens, as the update points outwards or
#   inwards.
# - At every point $\langle F,z\rangle=\langle g,q\rangle$. That is small print here. Summed over a network it becomes
#   the strongest statement of this book.

# %% [markdown]
# ## Exercises
#
# **1.** One code $q$, a linear loss with the gradient $g=q$. Where does a latent go under $dz/dt=-F(z)$ in the plane,
# and how long does it take?
#
# ```{dropdown} Solution
# $F=g\,(q/z)^*=|q|^2/z^*=|q|^2z/|z|^2$ points along $z$: straight to the origin.
# $\frac d{dt}|z|^2=-2|q|^2$, so it arrives at $t=|z|^2/(2|q|^2)$.
# ```

# %% tags=["hide-input"]
z, q, t, dt = vector(1.0, 0.5), vector(0.8, 0.6), 0.0, 1e-4
while algebra.norm(z) > 0.03:
    z, t = z - dt * pull_back(z, q, q), t + dt
assert abs(t - 1.25 / 2) < 2e-3 and abs((z / algebra.norm(z))[0, 0].item() - 1 / 1.25**0.5) < 1e-6

# %% [markdown]
# **2.** On the line with the codes $\pm1$ let $g=1$ for both. Where do latents go under $dz/dt=-F(z)$, and what happens
# at the face?
#
# ```{dropdown} Solution
# $F=gq/z=1/|z|$: all go left, at the speed $1/|z|$, where STE has the speed $1$. Those on the right reach the face at
# $0$ after the time $z^2/2$, with no bound on the speed, and those on the left slow down for ever. So at the face the
# field is infinite, but it does not jump: it is $1/|z|$ on both sides.
# ```

# %% tags=["hide-input"]
for x in (0.5, -0.5, -2.0):
    assert abs(pull_back(vector(x), vector(math.copysign(1, x)), vector(1.0)).item() - 1 / abs(x)) < 1e-12

# %% [markdown]
# **3.** The pair, with $g=(0,1)$. What is $F(z)$, how far is it from STE's field, and which share of $|g|$ is that?
#
# ```{dropdown} Solution
# $r=1$, and $R^\top$ turns back by $36.9°$: $F=(0.6,0.8)$. $|F-g|=|(0.6,-0.2)|=\sqrt{0.4}$, the relative error
# $|q-z|/|z|$: in the plane {eq}`eq-distance` is an equation for every gradient.
# ```

# %% tags=["hide-input"]
z, q, g = vector(1.0, 0.0), vector(0.8, 0.6), vector(0.0, 1.0)
felt = pull_back(z, q, g)
assert torch.allclose(felt, vector(0.6, 0.8)) and abs(algebra.norm(felt - g).item() - 0.4**0.5) < 1e-12
assert abs(algebra.norm(q - z).item() - 0.4**0.5) < 1e-12
