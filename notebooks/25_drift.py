# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (nb-drift)=
# # Why the codebook collapses after a warm-up
#
# ```{admonition} In short
# :class: tip
# After a warm-up the rotation pushes every latent in nearly the same direction, towards the centre that it turns about.
# Codes do not feel it, and where they follow too slowly the latents leave most of them behind: a
# {term}`codebook collapse`. The formula for the mean push is within {glue:text}`worst` % of the measured one before the
# first step with the quantiser. About the mean code less than {glue:text}`weaker` of it is left, and outwards.
# <claim:B-079> <claim:B-080>
# ```
#
# ```{glue:figure} training
# :name: fig-drift-training
#
# Under the rotation, and under its turn alone, the latents leave and the codes stay. The gain alone, STE, and the
# rotation about the mean code keep them together. A warmed-up network, trained on.
# ```
#
# *Codebook collapse* (few codes in use) and {term}`shrinking latents` (norms that go to zero) are two things, with
# different causes. {ref}`nb-collapse` is about the second: its threshold exists with weight decay alone. This chapter
# explains the first where it is dramatic in this book: when codes start from k-means after the autoencoder was trained
# a little, without weight decay ({ref}`ste-vs-rotation`).
#
# Symbols: $z$ a latent, $q$ its code, $e=q-z$, $D=\mathbb E|e|^2$, $g=\partial L_{\rm rec}/\partial z_q$, $\mu$ the
# centre of the rotation, $r=|q-\mu|/|z-\mu|$. Where no centre is named it is the origin. $h$ is the curvature of the
# loss: if the decoder has the gradient $\bar g$ at the latent itself, then near it $g=\bar g+he$. Arrows show the step
# the encoder takes, $-G^\top g$.

# %% tags=["parameters"]
networks: int = 2  # that are warmed up and measured
pretrain: int = 500  # steps of the warm-up
images: int = 192  # Fashion-MNIST images on which the push is measured
slide_steps: int = 100  # steps of training after it
race_steps: int = 200  # steps of the simulation

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page(
    "25_drift",
    globals(),
    networks=(1, 20),
    pretrain=(1, 100_000),
    images=(32, 5000),
    slide_steps=(20, 100_000),
    race_steps=(50, 100_000),
)

# %% tags=["hide-input"]
import math

import matplotlib.pyplot as plt
import pandas as pd
import torch

from book.algebra import apply, dot, nearest, norm, normal, pull_back, vector
from book.statements import show
from book.theory import drift
from rotvq.page.figures import ARMS, INK, MUTED, glue
from rotvq.runs.grids import CHAPTERS

PAD = [{"selector": "th, td", "props": "padding: 0.1em 0.7em"}]
ROTATION, STE = ARMS["rotation"], ARMS["ste"]


def table(rows, precision=3):
    return pd.DataFrame(rows).style.format(precision=precision).hide(axis="index").set_table_styles(PAD)


# %% [markdown]
# ## One latent, and the part of $g$ that points along its error
#
# After a warm-up the decoder fits the latents. Then nearly all of $g$ comes from the error itself, $g\approx he$. What
# arrives at the encoder of such a gradient?

# %% tags=["hide-input"]
z = vector(1, 0)[None]
around = torch.linspace(0, 2 * math.pi, 25, dtype=torch.float64)[:-1]
ring = 0.4**0.5 * torch.stack([around.cos(), around.sin()], -1)
here, there = z.expand_as(ring), z + ring
steps = {name: -pull_back(name, here, there, ring) for name in ("ste", "rotation")}
shift = steps["rotation"] - steps["ste"]
assert torch.allclose(shift, vector(-0.4, 0).expand_as(shift))
fig, ax = plt.subplots(figsize=(4.4, 3.4))
ax.plot(*there.T, "s", color=MUTED, markersize=4, label="possible codes $q$")
for name, step in steps.items():
    arm = ARMS[name]
    ends = here + 0.8 * step
    ax.quiver(*here.T, *(0.8 * step).T, color=arm.color, angles="xy", scale_units="xy", scale=1, width=0.004, alpha=0.5)
    ax.plot(*torch.cat([ends, ends[:1]]).T, arm.linestyle, color=arm.color, label=f"steps under {arm.label}")
ax.plot(*z.T, "o", color=INK, markersize=5)
ax.plot(0, 0, "+", color=INK, markersize=9)
leader = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.8}  # its label has to stand clear of the arrows
ax.annotate("$z$", z[0], xytext=(1.74, 0.66), arrowprops=leader)
ax.annotate("0", (0, 0), xytext=(4, 6), textcoords="offset points")
ax.set(aspect="equal", xlim=(-0.45, 1.9), ylim=(-0.75, 1.25), xticks=[0, 1], yticks=[0])  # room for the legend
ax.legend(loc="upper left", fontsize=8)
page.show(
    "ring",
    fig,
    "A latent z at one, the origin at zero, and codes on a ring about z. The steps under STE end on a circle about z. "
    "Those under the rotation end on a circle of the same size that is shifted towards the origin.",
)

# %% [markdown]
# ```{glue:figure} ring
# :name: fig-ring
#
# The rotation adds the same shift, towards the origin, to each step of STE. STE's steps point away from the code,
# equally in all directions, and cancel. The latent $z=(1,0)$, codes at one distance from it in all directions, and the
# steps $-G^\top g$ for $g=e$ (drawn at $0.8$ of their length).
# ```
#
# ```{prf:theorem} The push
# :label: thm-push
#
# For the rotation about $0$, and every $z\ne0$ and $q$,
#
# $$ (G^\top-I)\,e=\frac{|e|^2}{|z|^2}\,z . $$ (eq-push)
#
# <claim:B-068>
# ```
#
# ````{prf:proof}
# $e$ lies in the plane of $z$ and $q$. There, with vectors as complex numbers and a star for the conjugate, $G^\top$ is
# the multiplication by $(q/z)^*$. So $(G^\top-I)e=((q-z)/z)^*e=e^*e/z^*=|e|^2/z^*=|e|^2z/|z|^2$.
# ````
#
# No approximation, no average, in every dimension. For $z=(1,0)$ and $q=(0.8,0.6)$ the push is $(0.4,0)$.
#
# Along $z$ this is nothing special about rotations. It is the balance law, pair by pair.
#
# ```{prf:proposition} The price of the balance
# :label: prop-price
#
# For every $G$ with $Gz=q$ and every $g$, $\;\langle(G^\top-I)g,z\rangle=\langle g,e\rangle$.
#
# <claim:B-068>
# ```
#
# ````{prf:proof}
# $\langle G^\top g,z\rangle=\langle g,Gz\rangle=\langle g,q\rangle$.
# ````
#
# $\mathbb E\langle g,e\rangle$ is what STE adds to the length of the latents, against the true derivative, and what it
# is worth was the subject of {prf:ref}`prop-cost`. An estimator with $Gz=q$ takes it away again, and to do so it has to
# push inwards every latent with $\langle g,e\rangle>0$.

# %%
show(drift.push_of_own_error, drift.radial_push)

# %% [markdown]
# ### Which part does it, the turn or the gain?
#
# $G=rR$ turns by $R$ and scales by $r=|q|/|z|$.
#
# ```{prf:proposition} Shares
# :label: prop-shares
#
# Along $z/|z|$, with $c=\cos\theta$, the turn alone adds $(1-c)(|q|+|z|)$ to the gradient $e$, the gain alone
# $(r-1)(rc-1)|z|$. For short isotropic errors in $d$ dimensions these are the shares $\frac{d-1}d$ and $\frac1d$ of
# the whole.
#
# <claim:B-069>
# ```
#
# ````{dropdown} Proof
# $R^\top q=|q|a$ and $R^\top z=|z|(2ca-b)$ with $a=z/|z|$, $b=q/|q|$, so
# $\langle R^\top e,a\rangle=|q|-2c|z|+c|z|=|q|-c|z|$, less $\langle e,a\rangle=c|q|-|z|$. The gain adds $(r-1)$ times
# $\langle e,a\rangle=(rc-1)|z|$.
#
# For short $e$ with the part $e_\parallel$ along $z$ and $e_\perp$ across, $1-c\approx|e_\perp|^2/(2|z|^2)$, so the
# turn adds $|e_\perp|^2/|z|$ and the gain $e_\parallel^2/|z|$. For isotropic $e$ these are $\frac{d-1}d$ and $\frac1d$
# of $|e|^2/|z|$.
# ````
#
# So in 32 dimensions it is the turn that pushes. For $z=(1,0)$, $q=(0.8,0.6)$ it is the turn alone, since $r=1$.

# %%
show(drift.shares_of_turn_and_gain, drift.isotropic_shares)

# %% [markdown]
# ## Many latents
#
# ```{prf:theorem} The drift
# :label: thm-drift
#
# Let every code be the mean of its latents. Let $g=\bar g+he$, with a curvature $h$ that is the same in all directions,
# where the gradient without quantiser, $\bar g$, is the same for all latents of a cell. Then the rotation about $\mu$
# adds to STE's mean gradient
#
# $$ \mathbb E\big[(G_\mu^\top-I)g\big]\;\approx\;h\,\mathbb E\Big[|e|^2\,\frac{z-\mu}{|z-\mu|^2}\Big] , $$ (eq-drift)
#
# and the two sides differ by a vector that is no longer than
#
# $$ \mathbb E\Big[|\bar g|\,|e|^2\Big(\frac1{|z-\mu|\,|q-\mu|}+\frac1{2\,|z-\mu|^2}\Big)\Big] . $$ (eq-left-out)
#
# So where $|\bar g|\ll h\,|q-\mu|$ and $|\bar g|\ll h\,|z-\mu|$ it is small against the push of a latent,
# $h|e|^2/|z-\mu|$.
#
# <claim:B-070>
# ```
#
# ````{dropdown} Proof
# The part $he$ is {prf:ref}`thm-push` about $\mu$, and exact. For the rest put $\mu=0$. By {eq}`eq-expansion`,
#
# $$ (G^\top-I)\bar g=M_z(e)\,\bar g+r(1-\cos\theta)\,\Pi_\perp\bar g,\qquad
#    M_z(e)=\frac{ze^\top-ez^\top+\langle z,e\rangle I}{|z|^2} . $$
#
# The last term is at most $|\bar g||e|^2/(2|z|^2)$ long. The first we compare with $M_q(e)\,\bar g$, which has $q$ in
# place of $z$. In a cell $q$ and $\bar g$ are fixed and $\mathbb E\,e=0$, so $M_q(e)\,\bar g$ has mean zero. On the
# plane of $z$ and $q$, as complex numbers, $M_z(e)$ and $M_q(e)$ multiply by the conjugates of $e/z$ and $e/q$; off it
# by the real parts of these. And $\frac ez-\frac eq=\frac{e\,(q-z)}{zq}=\frac{e^2}{zq}$. So
# $\|M_z(e)-M_q(e)\|=|e|^2/(|z||q|)$.
# ````
#
# Both conditions are needed. Let all latents of a cell have one target, so that $g$ is the same for all of them. Then
# $\bar g=g-he$ depends on $e$, and on average the rotation adds nothing along $z$: this is the last row of the table in
# {ref}`nb-bias`. With the target at the centroid code itself, $g=0$, it adds nothing at all, where {eq}`eq-drift` would
# have $hD/|q|$. (For isotropic errors the part that is left out is, to leading order, $-\frac{d-2}d$ along $q$ and
# $-\frac{d-2}{2d}$ across, times $D\bar g/|q|^2$: the law `centroid_cells` has it.)
#
# Far from the centre all latents are pushed in nearly the same direction, each by a length that is proportional to its
# own $|e|^2$. For two latents $z$ and $w$ the vectors $z/|z|^2$ and $w/|w|^2$ in {eq}`eq-drift` differ by
# $\big|\frac z{|z|^2}-\frac w{|w|^2}\big|=\frac{|z-w|}{|z||w|}$ (both squares are
# $\frac1{|z|^2}+\frac1{|w|^2}-\frac{2\langle z,w\rangle}{|z|^2|w|^2}$), which is small against $\frac1{|z|}$ if
# $|z-w|\ll|w|$. So the latents slide together, and the reconstruction loss does not hold them: a shift of everything is
# what the encoder's last bias does with no effort. And it is what STE gets right ({prf:ref}`prop-exact`), while the
# rotation errs by just this push.
#
# About a centre in the middle of the cloud the same pushes point in all directions.

# %% tags=["hide-input"]
spread = 0.6 * normal(45, 2, seed=5)
cloud = torch.cat([spread, -spread]) + vector(3.0, 0.5)  # symmetric about its middle
figs = []
for title, centre in (("about the origin", vector(0, 0)), ("about the middle", cloud.mean(0))):
    away = cloud - centre
    push = -away / dot(away, away)
    mean = push.mean(0)
    shown = push * (1.2 / norm(push)).clamp_max(1)
    fig, ax = plt.subplots(figsize=(3.6, 2.3))
    ax.quiver(*cloud.T, *shown.T, color=ROTATION.color, angles="xy", scale_units="xy", scale=1, width=0.006)
    ax.quiver(*cloud.mean(0), *(3 * mean), color=INK, angles="xy", scale_units="xy", scale=1, width=0.016)
    ax.plot(*centre, "+", color=INK, markersize=11, markeredgewidth=2)
    ax.set(title=title, xlim=(-0.4, 5), ylim=(-1.5, 2.5), aspect="equal", xticks=[], yticks=[])
    figs.append(fig)
page.show(
    "cloud",
    figs,
    "A cloud of latents with the steps that the push makes them take. About a far origin all arrows point one way, "
    "to it. About the middle of the cloud they point to the middle from all sides, and cancel.",
)

# %% [markdown]
# ```{glue:figure} cloud
# :name: fig-drift-cloud
#
# Far from the centre (cross) all latents are pushed alike; about the middle of the cloud the pushes cancel. The step of
# each latent from the push alone, for equal $|e|$ (the longest are cut); thick, three times their mean.
# ```
#
# ```{prf:proposition} No drift about the middle
# :label: prop-middle
#
# The right side of {eq}`eq-drift` is minus the gradient, in $\mu$, of $h\,\mathbb E\big[|e|^2\ln|z-\mu|\big]$. It
# vanishes where a cloud and its errors are symmetric about $\mu$.
#
# <claim:B-070>
# ```
#
# ````{prf:proof}
# $\nabla_\mu\ln|z-\mu|=-(z-\mu)/|z-\mu|^2$. Under a point reflection in $\mu$ the potential is unchanged.
# ````

# %%
show(
    drift.drift_of_cells,
    drift.centroid_cells,
    drift.alike_for_all,
    drift.push_is_a_potential,
    drift.cancels_about_the_middle,
)

# %% [markdown]
# ## In the network, before the first step
#
# The prediction can be had without a training step with the quantiser: take the network after its warm-up, place the
# codes by k-means, and look up each latent. {eq}`eq-drift` needs the latents, the codes, and $h$, which the decoder
# tells: $h=\mathbb E\langle g-\bar g,e\rangle/D$, with $\bar g$ the gradient where it sees $z$ in place of $q$. Compare
# with $\mathbb E[G^\top g-g]$ from the estimator itself. Components along the mean latent, in units of the mean $|g|$:

# %%
warmed = [drift.warmed_up(seed, pretrain) for seed in range(networks)]
measured = {f"seed {seed}": drift.first_step(*one, images) for seed, one in enumerate(warmed)}
photographed = drift.warmed_up(0, pretrain, data="photographs")
measured["photographs"] = drift.first_step(*photographed, images)
rows = [
    {
        "network": name,
        "E g": one.ste,
        "rotation adds": one.measured,
        "formula": one.predicted,
        "error of the formula": f"{one.relative_error:+.1%}",
        "turn alone": one.turn,
        "gain alone": one.gain,
        "about the mean code": one.about_codes,
        "h": one.curvature,
        "D": one.distortion,
        "|mean z|": one.distance,
        "E⟨ḡ,e⟩ / hD": one.left_over,
        "spread of |e|²": one.spread,
    }
    for name, one in measured.items()
]
untrained = drift.first_step(*drift.warmed_up(0, pretrain_steps=0), images)
found = list(measured.values())
nets = dict(zip(measured, [*warmed, photographed]))
batches = {
    name: [drift.first_step(*one, images, start) for start in range(0, len(one[1].train) - images + 1, images)[:6]]
    for name, one in nets.items()
}
between = {name: torch.tensor([one.measured for one in several]) for name, several in batches.items()}
for row in rows:
    row["± between batches"] = float(between[row["network"]].std()) if len(between[row["network"]]) > 1 else math.nan
worst = max(abs(one.relative_error) for one in found)
if (pretrain, images) == (500, 192):
    assert worst < 0.1
    assert all(-0.6 * one.measured < one.about_codes < 0 and one.gain < 0.1 * one.turn for one in found)
    assert all(abs(one.ste) < 0.5 * one.measured for one in found)
    assert all(one.measured < 0.2 and one.alike > 0.75 for one in found)
    assert max(abs(untrained.measured), abs(untrained.predicted)) < 0.2 * min(one.measured for one in found)
    assert all(abs(one.relative_error) < 0.15 for several in batches.values() for one in several)
    assert all(values.std() < 0.2 * values.mean() for values in between.values())
glue("worst", f"{100 * worst:.1f}")
weaker = math.ceil(10 * max(abs(one.about_codes) / one.measured for one in found)) / 10
glue("weaker", f"{weaker:.1f}")
glue("share", 100 * sum(one.measured for one in found) / len(found))
glue("networks", len(found))
glue("warmed", networks)
glue("alike", 100 * sum(one.alike for one in found) / len(found))
glue("batches", max(map(len, batches.values())))
glue("between", f"{100 * max(float(values.std() / values.mean()) for values in between.values()):.1f}")
glue("worst_batch", f"{100 * max(abs(one.relative_error) for several in batches.values() for one in several):.1f}")
glue("untrained_measured", untrained.measured)
glue("untrained_predicted", untrained.predicted)
table(rows)

# %% [markdown]
# ```{prf:observation} The first push, measured
# :label: obs-first-push
#
# The formula is within {glue:text}`worst` % of the measured push in all {glue:text}`networks` networks <claim:B-079>.
# It is the turn. The gain has less than a tenth of it. About the mean code the push along the mean latent is less than
# {glue:text}`weaker` of that about the origin, and has the other sign. <claim:B-080>
# ```
#
# The batch matters little. Between up to {glue:text}`batches` disjoint batches of a network's images the measured push
# has a standard deviation of at most {glue:text}`between` % of its mean (the column ±), and the formula is within
# {glue:text}`worst_batch` % in all of them. <claim:B-079>
#
# How much of this agreement is a test? $h$ is measured so that $hD=\mathbb E\langle g-\bar g,e\rangle$, and by
# {prf:ref}`prop-price` $\mathbb E\langle(G^\top-I)g,z\rangle=\mathbb E\langle g,e\rangle$. So weighted with $z$ the two
# sides agree up to $\mathbb E\langle\bar g,e\rangle$, which is in the table as a share of $hD$. What is tested is that
# this share is small, that one number $h$ does for a matrix, and that the latents share a direction. The length of the
# push varies between latents as $|e|^2$ does: its spread (standard deviation over mean) is in the table.
#
# Without a warm-up the condition $|\bar g|\ll h\,|z-\mu|$ fails: an untrained decoder has a gradient without quantiser
# and hardly any curvature.
#
# ```{prf:observation} Without a warm-up
# :label: obs-untrained
#
# In an untrained network the rotation adds {glue:text}`untrained_measured:.3f`, the formula says
# {glue:text}`untrained_predicted:.3f`, and neither matters. <claim:B-082>
# ```
#
# ```{prf:observation} Small and shared
# :label: obs-shared
#
# After a warm-up the push is only {glue:text}`share:.0f` % of the mean $|g|$. But it is inwards for
# {glue:text}`alike:.0f` % of the latents, while the rest of $g$ points everywhere: $\mathbb E\,g$ is near zero.
# <claim:B-083>
# ```
#
# Adam divides each gradient by its usual size, so what is always the same counts for more.
#
# ## The race
#
# What holds the latents? Not the reconstruction loss: while latents slide and keep their codes, the decoder sees what
# it saw before. The commitment loss does, and it pulls them to codes that are free to follow.
#
# {numref}`fig-play-drift` is the race of the latents and their codes in the plane, to be moved. (There the turn and the
# gain have half of the push each.)
#
# ```{figure} ../figures/drift.svg
# :name: fig-play-drift
# :class: rotvq-drift
# :alt: A cloud of latents over its nine codes, the centre of the rotation, and an arrow towards it.
#
# Which codes are left behind when all latents slide? The arrow at the mean latent is the step that the push alone
# makes, so it points inwards. The centre can be dragged, and so can codes. <claim:B-068>
# <claim:B-071>
# ```
#
# - Guess first: how many of the nine codes will be in use in the end? Then press Play.
# - Reset, and let the codes follow at once: all come along, and the push ends at the centre.
# - Reset, and drag the centre away from the cloud, or into its middle: what happens to the arrow?
# - Reset, and choose the mean code, or a larger $\gamma$.
#
# ```{prf:proposition} The lag
# :label: prop-lag
#
# Where the encoder's last bias does not decay and rests, $\mathbb E[q-z]=\mathbb E[G^\top g]/(2\gamma)$.
#
# <claim:B-071>
# ```
#
# ````{prf:proof}
# $b'=-\mathbb E[G^\top g]-2\gamma\,\mathbb E[z-q]$.
# ````
#
# With $\mathbb E\,g=0$, which the decoder's first bias sees to, the lag is the push over $2\gamma$, and it points away
# from the centre: codes stand further out than their latents. (With losses that are means over coordinates, as in this
# book's runs, read $\gamma/d$ for $\gamma$.)
#
# A lag alone does not raise $\mathbb E\langle g,e\rangle$: as long as no latent changes its code, it changes by the
# inner product of $\mathbb E\,g$ with the lag, and $\mathbb E\,g=0$. (The push is that over $|\bar z|$, and grows as
# the latents come nearer to the centre.) It grows because latents do change: those of outer codes fall to inner ones,
# and fewer codes serve all of them.

# %%
show(drift.lag_at_balance, drift.lag_alone_adds_nothing)

# %% [markdown]
# So push and commitment can be compared beforehand. Slide all latents of the warmed-up network inwards, leave the codes
# where they are, look up anew, and measure both. Where the curve of the push lies above that of the commitment, the
# latents go on.

# %%
slid = [0.0, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0]
curves = {about: [drift.push_and_commitment(*one, slid, about) for one in warmed] for about in ("origin", "codes")}
least = [min(push / hold for push, hold in list(zip(one.push, one.commitment))[2:]) for one in curves["origin"]]
if (pretrain, networks) == (500, 2):
    assert min(least) > 1  # no balance about the origin, in any network
    assert all(max(one.push) < 0.002 for one in curves["codes"])  # nothing drives them about the mean code
glue("least", float(min(least)))

# %% tags=["hide-input"]
fig, ax = plt.subplots()
for number, (origin, codes) in enumerate(zip(curves["origin"], curves["codes"])):
    label = (lambda text: text) if number == 0 else (lambda text: None)
    ax.plot(slid, origin.push, "-s", color=ROTATION.color, alpha=0.8, label=label("push, about the origin"))
    hollow = {"color": ROTATION.color, "markerfacecolor": "none"}
    ax.plot(slid, codes.push, ":s", label=label("push, about the mean code"), **hollow)
    ax.plot(slid, origin.commitment, "--o", color=INK, alpha=0.8, label=label("commitment"))
ax.set(xlabel="distance slid towards the origin", ylabel="mean force on a latent", ylim=(-0.01, 0.06))
ax.legend(loc="upper left")
page.show(
    "balance",
    fig,
    "Mean force on a latent against the distance that all latents have slid. The push about the origin rises from 0.01 "
    "and stays above the commitment's pull everywhere. The push about the mean code is slightly below zero.",
)

# %% [markdown]
# ```{glue:figure} balance
# :name: fig-balance
#
# About the origin the push exceeds the pull of the commitment at every distance shown, so the latents go on.
# {glue:text}`warmed` networks after their warm-up, nothing trained since, at the book's usual commitment weight.
# <claim:B-084>
# ```
#
# ```{prf:observation} No balance about the origin
# :label: obs-balance
#
# About the origin there is no balance at any distance shown: from a slid distance of $0.4$ on the push is at least
# {glue:text}`least:.1f` times the pull. About the mean code there is nothing to balance. <claim:B-084>
# ```
#
# This is a prediction: about the origin the latents leave their codes.
#
# The smallest model of this: a cloud at the distance $|\bar z|$ from the centre, whose latents lag behind their codes
# by $\ell$. By {prf:ref}`prop-price` the push is $\mathbb E\langle g,e\rangle/|\bar z|$. Let
# $\mathbb E\langle g,e\rangle=p+k\ell$, where $p=hD$ is its value at the start, and $k$ says by how much it grows with
# the lag.
#
# ```{prf:proposition} Held or lost
# :label: prop-held
#
# Let the cloud be pushed by $(p+k\ell)/|\bar z|$, and pulled back by $2\gamma\ell$, with $p,k,|\bar z|,\gamma>0$. If
# $|\bar z|>k/(2\gamma)$ there is one lag at which it rests, $\ell=p/(2\gamma|\bar z|-k)$, and it is stable. Otherwise
# the lag grows without bound from every $\ell\ge0$.
#
# <claim:B-071>
# ```
#
# ````{prf:proof}
# The rate of the lag is
# $\frac{p+k\ell}{|\bar z|}-2\gamma\ell=\frac p{|\bar z|}-\big(2\gamma-\frac k{|\bar z|}\big)\ell$.
# ````
#
# The model keeps $|\bar z|$ fixed. Let it move, and two things follow. A larger $\gamma$ holds the cloud at first. But
# while the cloud rests at its lag, slow codes move towards their latents, inwards; the cloud goes on by as much, so
# $|\bar z|$ falls, and at some time it is below $k/(2\gamma)$: as long as codes are slow, a larger $\gamma$ only
# delays. And a large distance from the centre protects, so shifting the centre far away, as STE does to infinity, is
# one of the cures.

# %%
show(drift.held_or_lost)

# %% [markdown]
# ### A simulation
#
# The least that shows the race: latents that can only move as one, a decoder that is fixed but for its bias, and codes
# that follow the means of their latents at a rate of their own. Normal latents in 8 dimensions at distance 4, 64 codes.

# %% tags=["hide-input"]
latents = normal(800, 8, seed=0) + torch.eye(8, dtype=torch.float64)[0] * 4
codes = latents[:64].clone()
for _ in range(20):
    index = nearest(latents, codes)
    codes = torch.stack([latents[index == k].mean(0) for k in range(64)])
follow = {"codes stand still": 0.0, "slow codes": 0.02, "faster codes": 0.1, "fast codes": 1.0}
fixed = {"gamma": 0.05, "rate": 0.1, "steps": race_steps}
runs = {name: drift.race(latents, codes, follow=speed, **fixed) for name, speed in follow.items()}
runs["about the mean code"] = drift.race(latents, codes, about="codes", follow=0.02, **fixed)
runs["STE"] = drift.race(latents, codes, member="ste", follow=0.02, **fixed)
end = {name: run.usage[-1].item() for name, run in runs.items()}
if race_steps == 200:
    assert end["codes stand still"] < end["slow codes"] < end["faster codes"] < end["fast codes"] == 1
    assert end["STE"] == end["about the mean code"] == 1
    assert abs(runs["about the mean code"].latent[-1, 0] - 4) < 0.2 and runs["fast codes"].latent[-1, 0] < 0.3
looks = dict(zip(follow, ("-", "--", "-.", ":")))
figs = []
for what, title in (("latent", "where the latents are"), ("usage", "share of codes in use")):
    fig, ax = plt.subplots(figsize=(4.3, 2.9))
    for name, run in runs.items():
        values = run.latent[:, 0] if what == "latent" else run.usage
        color = {"STE": STE.color, "about the mean code": ARMS["reflection"].color}.get(name, ROTATION.color)
        ax.plot(values, looks.get(name, "-"), color=color, label=name)
    ax.set(title=title, xlabel="step")
    if what == "latent":
        ax.set_ylabel("distance from the origin")
        ax.legend(fontsize=8)
    figs.append(fig)
page.show(
    "race",
    figs,
    "Left, the distance of the cloud from the origin over time: STE and the rotation about the mean code stay at four, "
    "all others slide to the origin. Right, the share of codes in use falls the further the slower the codes, and "
    "stays at one for fast codes, STE and the mean code.",
)

# %% [markdown]
# ```{glue:figure} race
# :name: fig-race
#
# Slow codes are left behind, fast ones come along and stay in use. Blue: the rotation about the origin, with codes that
# follow at different rates. With fast codes the whole picture has moved to the origin, where the pushes cancel.
# ```
#
# ## In training
#
# {numref}`fig-drift-training` has the warmed-up network of seed 0, trained on with Adam and gradient codes.

# %% tags=["hide-input"]
arms = {
    "STE": ("ste", "origin"),
    "gain alone": ("scale_only", "origin"),
    "turn alone": ("rotation_only", "origin"),
    "rotation": ("rotation", "origin"),
    "rotation about the mean code": ("rotation", "codebook"),
}
tracks = {
    name: pd.DataFrame(drift.slide(*warmed[0], member, about, steps=slide_steps, every=5))
    for name, (member, about) in arms.items()
}
if (pretrain, slide_steps) == (500, 100):
    usage = {name: track.usage.iloc[-1] for name, track in tracks.items()}
    assert max(usage["rotation"], usage["turn alone"]) < 0.05
    assert min(usage["STE"], usage["gain alone"], usage["rotation about the mean code"]) > 0.5
    early = {name: track[track.step == 20].latent.item() for name, track in tracks.items()}
    assert abs(early["rotation"] - early["turn alone"]) < 0.3  # the gain has no part in the fall
looks = dict(zip(arms, (STE, ARMS["scale_only"], ARMS["rotation_only"], ROTATION, ARMS["reflection"])))
figs = []
for what, title in (("latent", "mean latent, along where it started"), ("usage", "share of codes a batch uses")):
    fig, ax = plt.subplots(figsize=(4.3, 2.9))
    for name, track in tracks.items():
        look = looks[name]
        ax.plot(track.step, track[what], color=look.color, linestyle=look.linestyle, marker=look.marker, label=name)
    if what == "latent":
        ax.plot(tracks["rotation"].step, tracks["rotation"].code, color=MUTED, label="mean code (rotation)")
        ax.legend(fontsize=7)
    ax.set(title=title, xlabel="step")
    figs.append(fig)
page.show(
    "training",
    figs,
    "Left, the mean latent over a hundred steps: under the rotation and the turn alone it falls from five through zero "
    "within sixty steps while the mean code stays; under STE, the gain alone and the rotation about the mean code it "
    "stays near five. Right, usage falls to nearly nothing for the first two and stays for the others.",
)

# %% [markdown]
# And the reprieve: the same with eight times the usual commitment weight, and for longer.

# %%
eightfold = 8 * warmed[0][0].quantizer.gamma
held = pd.DataFrame(drift.slide(*warmed[0], "rotation", gamma=eightfold, steps=5 * slide_steps // 2))
middle, last = held[held.step == slide_steps].iloc[0], held.iloc[-1]
if (pretrain, slide_steps) == (500, 100):
    assert middle.usage > 0.2 and last.usage < 0.05
glue("held_middle", middle.usage)
glue("held_last", last.usage)
glue("held_steps", int(last.step))

# %% [markdown]
# ```{prf:observation} The reprieve
# :label: obs-reprieve
#
# With eight times the commitment weight a batch still uses {glue:text}`held_middle:.2f` of the codes after 100 steps.
# After {glue:text}`held_steps` it is {glue:text}`held_last:.3f`. <claim:B-085>
# ```
#
# Committed runs of 2,000 steps from the same start, ordered by how fast the codes follow:

# %%
others = [block for name in ("10_ste_vs_rotation", "13_which_part") for block in CHAPTERS[name].blocks.values()]
final = page.load("15_codebook", also=others).final
final = final[(final.pretrain_steps == 500) & (final.codebook_size == 512) & (final.dim == 32)]
speeds = {
    "gradient": final["update"] == "gradient",
    "EMA 0.99, counts from 1": (final["update"] == "ema") & (final.decay == 0.99) & (final.initial_count == 1),
    "EMA 0.99, counts from 0": (final["update"] == "ema") & (final.decay == 0.99) & (final.initial_count == 0),
    "EMA 0.8, counts from 0": (final["update"] == "ema") & (final.decay == 0.8),
}
rows = []
for name, chosen in speeds.items():
    row = {"codes": name}
    for member in ("ste", "rotation"):
        runs_of = final[chosen & (final.estimator == member)]
        row[f"{ARMS[member].label}: MSE × 10³"] = 1e3 * runs_of.test_mse.mean()
        row[f"{ARMS[member].label}: usage"] = runs_of.test_usage.mean()
        row[f"{ARMS[member].label}: |z|"] = runs_of.test_z_norm.mean()
    rows.append(row)
frame = pd.DataFrame(rows)
if not frame.isna().any(axis=None):
    assert frame["rotation: MSE × 10³"].is_monotonic_decreasing and frame["rotation: usage"].is_monotonic_increasing
    assert frame["STE: MSE × 10³"].max() < frame["rotation: MSE × 10³"].min()
    assert (frame["rotation: |z|"] < 0.3 * frame["STE: |z|"]).all()
table(rows, 2)

# %% [markdown]
# The faster the codes, the lower the error under the rotation and the more codes in use. And where the codes come
# along, the latents end near the origin, many times shorter than under STE: the whole picture has slid there, as in
# {numref}`fig-race`.
#
# ### What $r>1$ does
#
# When latents are inside their codes, $r>1$, and $G^\top-I=r(R^\top-I)+(r-1)I$ multiplies what the turn adds.
#
# ```{prf:proposition} Gain past one
# :label: prop-gain
#
# Along $z/|z|$ the rotation with its gain adds $|z|\,(r-1)(r-\cos\theta)$ more to $e$ than the turn alone: more where
# $r>1$, less where $\cos\theta<r<1$.
#
# <claim:B-069>
# ```
#
# ````{prf:proof}
# By {prf:ref}`prop-shares`, with $c=\cos\theta$,
# $|e|^2/|z|-(1-c)(|q|+|z|)=|z|\big[(r-1)^2+2r(1-c)-(1-c)(1+r)\big]=|z|(r-1)(r-c)$.
# ````
#
# In the fall itself this plays no part: {numref}`fig-drift-training` shows the turn alone falling just as fast, with
# $r$ near one. It decides what comes after. Once one code is left, latents inside it have $r\gg1$, and gradients are
# multiplied by it; the runs with the turn alone recover a few codes and most of the error, those with the gain do not
# ({ref}`which-part`).

# %%
show(drift.gain_past_one)

# %% [markdown]
# ## About the mean latent
#
# The middle of the cloud is the mean latent. Why not turn about that?

# %% tags=["hide-input"]
half = normal(400, 8, seed=1)
cloud = torch.cat([half, -half]) + 0.5
short = 0.1 * normal(64, 8, seed=2)
share, time = (8 - 2) / 8, 0.05 * torch.arange(201)
fixed = {"curvature": 1.0, "gamma": 0.05, "rate": 0.05, "steps": 200}
away = {
    name: (drift.race(cloud, short, **fixed, **options).latent - short.mean(0)).norm(dim=-1)
    for name, options in {
        "about the mean latent": {"about": "latents"},
        "about the mean code": {"about": "codes"},
        "about the origin": {"about": "origin"},
        "STE": {"member": "ste"},
    }.items()
}
stated = share * fixed["curvature"] - 2 * fixed["gamma"]
found = (away["about the mean latent"][-1] / away["about the mean latent"][100]).log() / (time[-1] - time[100])
assert abs(float(found) / stated - 1) < 0.05
assert all(path[-1] < path[0] for name, path in away.items() if name != "about the mean latent")
glue("stated_rate", stated)
glue("found_rate", float(found))
looks = {
    "about the mean latent": (ROTATION.color, "-"),
    "about the mean code": (ARMS["reflection"].color, "-."),
    "about the origin": (ROTATION.color, ":"),
    "STE": (STE.color, STE.linestyle),
}
fig, ax = plt.subplots(figsize=(4.6, 3.2))
for name, path in away.items():
    ax.semilogy(time, path, color=looks[name][0], linestyle=looks[name][1], label=name)
line = away["about the mean latent"][-1] * (stated * (time[80:] - time[-1])).exp()
ax.semilogy(time[80:], 2 * line, color=MUTED, label="slope of the formula")
ax.set(xlabel="time", ylabel="mean latent to mean code")
ax.legend(fontsize=8)
page.show(
    "mean-latent",
    fig,
    "Distance of the mean latent from the mean code against time, logarithmic. About the mean latent it grows along a "
    "straight line, parallel to that of the formula. About the mean code, about the origin and under STE it falls.",
)

# %% [markdown]
# ```{glue:figure} mean-latent
# :name: fig-mean-latent
#
# About the mean latent the cloud runs away from short codes, at the rate of the formula. About the mean code, about the
# origin and under STE it comes to them. Normal latents in 8 dimensions that can only move as one, a decoder of
# curvature 1, and 64 codes a tenth as long that stand still. <claim:B-081>
# ```
#
# ```{prf:proposition} About the mean latent
# :label: prop-mean-latent
#
# Let the rotation turn about the mean latent, $\mu=\bar z$. Write $x=z-\bar z\ne0$, $m=\bar z-q\ne0$ and
# $H_u=I-2uu^\top$ with $u=m/|m|$.
#
# 1. For every latent and every $g$,
#    $\;\langle G_\mu^\top g,m\rangle=\dfrac{|m|^2}{|x|^2}\langle g,H_ux\rangle$.
# 2. Let all latents have one code and $g=g_0-hx$ with one $g_0$. Let the cloud be symmetric about $\bar z$, with
#    $\mathbb E[xx^\top/|x|^2]=I/d$. Then $\mathbb E[G_\mu^\top g]$ has the part $-\frac{d-2}d\,h\,m$ along $m$,
#    whatever $g_0$ is. For $g_0=0$ that is all of it. So if the encoder's last bias alone moves and the latents keep
#    their code,
#
# $$ |m|'=\Big(\frac{d-2}d\,h-2\gamma\Big)\,|m| . $$ (eq-runaway)
#
# 3. With several codes let $\bar m=\bar z-\mathbb E\,q$. Then $\langle\mathbb E[G_\mu^\top g],\bar m\rangle$ differs
#    from the mean of part 1 by $\mathbb E\big[|g||m||q-\mathbb E\,q|/|x|\big]$ at most.
#
# <claim:B-081>
# ```
#
# ````{dropdown} Proof
# *1.* $\mu=\bar z$ makes $q-\mu=-m$. In the plane of $x$ and $m$, as complex numbers with a star for the conjugate, $G$
# multiplies by $-m/x$, so $Gm=-m^2/x=-m^2x^*/|x|^2$. There $H_ux=-(m/m^*)\,x^*$, so $|m|^2H_ux/|x|^2$ is the same. And
# $\langle G^\top g,m\rangle=\langle g,Gm\rangle$.
#
# *2.* $\mathbb E\langle g_0,H_ux\rangle/|x|^2=0$, since the cloud is symmetric.
# $\mathbb E\langle x,H_ux\rangle/|x|^2=1-2\,\mathbb E\langle u,x\rangle^2/|x|^2=1-\frac2d$. For $g_0=0$, $G^\top x$ is
# in the plane $-(m/x)^*x=-m^*x/x^*$: the reflection of $m$ that reverses $x$. Its mean is
# $m-2\,\mathbb E[xx^\top/|x|^2]\,m=(1-\frac2d)\,m$. As for the rate, $b'=-\mathbb E[G^\top g]-2\gamma\,m$. While only
# $b$ moves, $x$, $q$ and so $g$ stay, and $m'=b'$. What of it is orthogonal to $m$ does not change $|m|$.
#
# *3.* $\bar m=m+(q-\mathbb E\,q)$, and $|G^\top g|=|m||g|/|x|$.
# ````
#
# A decoder of curvature $h$ as in {prf:ref}`thm-drift` sends such a $g$ to the latents of a code, with
# $g_0=\bar g-hm$. Its $\mathbb E\langle g,x\rangle=-h\,\mathbb E|x|^2$ is below $0$: it wants the latents further
# apart, and STE's steps spread them. About the mean latent the wish becomes one shift of all of them, away from their
# codes, because they turn about a point that moves along. As $|m|$ grows $r=|m|/|x|$ does, and with it the next step. A
# gradient that all latents have in common turns $m$ and does not lengthen it.
#
# In {numref}`fig-mean-latent` the rate is {glue:text}`found_rate:.3f`, and {eq}`eq-runaway` says
# {glue:text}`stated_rate:.3f`. <claim:B-081> About the mean code nothing feeds itself: $|\mathbb E[G_\mu^\top g]|$ is
# at most $\mathbb E\big[|g||q-\mu|/|z-\mu|\big]$, which is small where codes are short, and falls as the latents leave.
#
# The mean code is a point that moves, too, but with the codes and not with what is pushed.

# %%
show(drift.mean_latent_runs_away)

# %% [markdown]
# ## What to keep
#
# - $(G^\top-I)\,e=|e|^2z/|z|^2$, exactly: of its own error's gradient the rotation makes a push along $z$.
# - Far from the centre that push has nearly the same direction for all latents. Codes do not feel it; they follow, or
#   are left behind.
# - About the mean code the pushes cancel for a symmetric cloud. In the networks here less than half is left, outwards,
#   and the codebook does not collapse.
# - About the mean latent a cloud can run away from short codes.
#
# ## Exercises
#
# **1.** Compute the push of {prf:ref}`thm-push` at $z=(1,0)$, $q=(0.8,0.6)$ about the centre $\mu=(0,1)$, for $g=e$.
#
# ```{dropdown} Solution
# $z-\mu=(1,-1)$ has the square $2$ and $|e|^2=0.4$, so the push is $0.2\,(1,-1)$.
# ```

# %% tags=["hide-input"]
z, q, mu = vector(1, 0)[None], vector(0.8, 0.6)[None], vector(0, 1)
assert torch.allclose(drift.added("rotation", z, q, q - z, mu), vector(0.2, -0.2)[None])

# %% [markdown]
# **2.** The matrix $G=I+ez^\top/|z|^2$ also takes $z$ to $q$. What does it add to $g$, and does it drift?
#
# ```{dropdown} Solution
# $(G^\top-I)g=z\langle e,g\rangle/|z|^2$. For $g=he$ this is $h|e|^2z/|z|^2$, the push of {prf:ref}`thm-push`. So it
# drifts just as much: the push is the price of $Gz=q$, not of turning.
# ```

# %% tags=["hide-input"]
z, q, g = normal(5, 7, seed=1), normal(5, 7, seed=2), normal(5, 7, seed=3)
e = q - z
G = torch.eye(7, dtype=torch.float64) + e[:, :, None] * z[:, None] / dot(z, z)[..., None]
assert torch.allclose(apply(G, z), q)
assert torch.allclose(apply(G.mT, e) - e, dot(e, e) * z / dot(z, z))

# %% [markdown]
# **3.** Let only the rotation's push of $g=he$ act on a latent, $z'=-h|e|^2z/|z|^2$, while its code moves along so that
# $|e|$ stays as it is. Which way does $z$ move, and when does it reach the origin?
#
# ```{dropdown} Solution
# The velocity is along $z$: it moves straight to the origin. $\frac d{dt}|z|^2=-2h|e|^2$, so it arrives after
# $t=|z|^2/(2h|e|^2)$.
# ```

# %% tags=["hide-input"]
x, h, error, t, dt = 1.0, 0.7, 0.4, 0.0, 1e-5
while x > 0.01:
    x -= dt * h * error / x
    t += dt
assert abs(t - 1 / (2 * h * error)) < 1e-3

# %% [markdown]
# ## What this does not say
#
# The prediction is about the start: sign, size and direction of the first push, and whether commitment can hold it. How
# a run ends depends on what happens to $h$, $D$ and the decoder on the way. From short codes, $r\ll1$, the picture is
# another: there the mean code is near the origin, and the rotation's smaller gradients are most of the story
# ({ref}`initialisation`). That an encoder which drifts leaves unused codes behind is known as a cause of low usage
# {cite}`huh2023straightening,lu2026stationarity,lu2026nsvq`; that this estimator makes it drift we have found nowhere.
