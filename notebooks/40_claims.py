# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (claims)=
# # Every claim, checked
#
# The article this book starts from {cite}`su2024rotation`, the derivation appended to it, and the paper
# {cite}`fifty2025rotation` make {glue:text}`claims-theirs` claims that can be checked. Here they are, in order and in
# our words, and after them {glue:text}`claims-own` theorems of this book, held to the same rule. Each has a verdict,
# the reason, and the evidence. Evidence is a function that this page has just run; its numbers stand in the row, part
# by part where it has several. `python -m book.ledger` runs it again, and `python -m book.ledger --mutate` breaks what
# it is about and says of each row whether its evidence turns. An open row shows the source's own words, in short. Each
# row links to the places in the chapters that name it, and they link back.
#
# One rule for each verdict, for the article as for the paper. A row judges the sentence that it quotes, with its
# conditions. A sentence with "can" or "may" is settled by one case; any other speaks of all cases, and one settled
# against it is enough.
#
# - **True**: proved, in exact arithmetic and where its own terms are defined (<a href="#A-013">A-013</a>). What is said
#   of a table or a text is so there.
# - **True with a fix**: a condition, a side or a factor is missing, which the row gives (<a href="#A-046">A-046</a>).
# - **False**: there is a counterexample, and no small mending (<a href="#A-023">A-023</a>).
# - **Ill-posed**: it does not say enough to be true or false (<a href="#A-143">A-143</a>).
# - **Supported** and **contradicted**: runs settle it. One setting against a claim about all contradicts it (<a
#   href="#A-210">A-210</a>). What was seen in a model that is not published is supported where it occurs here (<a
#   href="#A-045">A-045</a>).
# - **Undecided**: the runs leave it open, or are too few (<a href="#A-156">A-156</a>).
# - **Not testable**: a task, a matter of reading, or out of reach; the row says which (<a href="#A-187">A-187</a>).
#
# The runs are of a small network. Ten pairs of runs on fresh seeds settle a row, or five on the seeds that explore.
# Three leave it undecided, however well they agree.

# %% tags=["parameters"]
rows: list[str] = ["A", "P", "B"]  # beginnings of the ids to check: A is the article, P the paper, B this book
records: str = ""  # folder with the records of every chapter; empty: the committed ones

# %% tags=["hide-input"]
from book.ledger import claims
from rotvq.page import parameters

parameters.check(globals(), rows=parameters.beginnings(claim.id for claim in claims.load()), records=parameters.folder)

# %% tags=["hide-input"]
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import HTML, display

from book.algebra import polar, pull_back, rotation
from book.ledger.evidence import collapse as model
from book.ledger.mentions import chapter_pages, find_mentions
from book.ledger.page import rows_as_html
from book.statements import find
from rotvq.page.figures import ARMS, INK, Figure, glue, style
from rotvq.runs.grids import stores_folder

plt.rcParams.update(style())
torch.set_num_threads(1)

folder = Path(records) if records else stores_folder()
chosen = [claim for claim in claims.load() if claim.id.startswith(tuple(rows))]
outcomes = list(claims.check_all(chosen, folder))
wrong = [o.claim.id for o in outcomes if o.status == "disagrees"]
assert not wrong, f"verdict and evidence disagree: {wrong}"
own = sum(o.claim.source == "book" for o in outcomes)
glue("claims-theirs", len(outcomes) - own)
glue("claims-own", own)

counts = Counter((o.claim.verdict, o.claim.source) for o in outcomes)
table = pd.DataFrame({s: [counts[v, s] for v in claims.VERDICTS] for s in claims.SOURCES.values()}, claims.VERDICTS)
table.loc["all"] = table.sum()
glue("claims-counts", table)
waiting = sum(bool(o.claim.awaits) for o in outcomes)
glue("claims-waiting", waiting)

# %% [markdown]
# ```{glue:figure} claims-counts
# :name: tab-claims
# Claims by verdict and source. {glue:text}`claims-waiting` of them wait for experiments, in whole or in part.
# ```
#
# (ten-errors)=
# ## Ten errors that matter
#
# The derivation appended to the article looks complete: axioms, theorems, proofs. Most of its definitions are sound
# and its formula for $R$ is right. These are the errors that would mislead someone who builds on it, with what holds
# instead.

# %% tags=["hide-input"]
finding = {
    name: find(name).check()
    for name in (
        "authors_equation",
        "alternative_formula",
        "reconstruction_reaches_codebook",
        "ste_variance",
        "boundary_has_no_say",
        "sufficient_conditions",
        "usage_bound",
        "ste_rate",
        "rotation_rate",
        "isotropic_crossings",
        "auxiliary_terms_alone",
        "small_codes",
        "retune_gamma",
        "centroid_codes",
    )
}
finding["angle"] = find("gradient_angle").check("any")
finding["jump"] = find("crosses_smoothly").check("rotation is gradual")
for key, (name, number) in {
    "r2": ("authors_equation", "ratio"),
    "length": ("alternative_formula", "image_length"),
    "code": ("reconstruction_reaches_codebook", "largest_gradient_to_a_code"),
    "phi": ("angle", "mean_for_theta_60_in_d_64"),
    "gap": ("ste_variance", "variance_of_two_samples"),
    "near": ("boundary_has_no_say", "boundary_point_distance_from_I"),
    "inside": ("boundary_has_no_say", "interior_angle"),
    "jump": ("jump", "jump_of_rotation"),
    "jump-ste": ("jump", "jump_of_STE"),
    "recovers": ("sufficient_conditions", "final_s_where_conditions_hold"),
    "usage": ("usage_bound", "lowest_usage"),
    "hover": ("ste_rate", "mean_squared_gradient"),
    "hover-bound": ("ste_rate", "bound"),
    "orbit": ("rotation_rate", "mean_squared_gradient"),
    "orbit-bound": ("rotation_rate", "bound"),
    "factor": ("isotropic_crossings", "factor_claimed"),
    "ratio": ("isotropic_crossings", "ratio"),
    "meet": ("auxiliary_terms_alone", "free_embeddings_meet_at"),
    "dominates": ("small_codes", "commitment_over_reconstruction_gradient"),
    "r256": ("centroid_codes", "r_in_d_256"),
    "threshold": ("retune_gamma", "threshold_rotation"),
    "threshold-ste": ("retune_gamma", "threshold_STE"),
}.items():
    glue(f"claims-{key}", finding[name].numbers[number])

# %% [markdown]
# **1. The transpose** (<a href="#A-023">A-023</a>). The article writes $\partial L/\partial z_q = G\,\partial
# L/\partial z$. Autograd gives $\partial L/\partial z = G^\top \partial L/\partial z_q$. In an example the two differ
# by a factor of {glue:text}`claims-r2:.1f`, which is $r^2$. So the encoder's gradient is $|q|/|z|$ times $g$, and
# not $|z|/|q|$ times (<a href="#A-032">A-032</a>).
#
# **2. The angle** (<a href="#A-031">A-031</a>). The gradient is said to turn by the angle $\theta$ between $z$ and
# $q$. Only its part in the plane of $z$ and $q$ turns: $\sin(\varphi/2) = \sin(\theta/2)\,|Pg|/|g|$. For random $g$
# in 64 dimensions and $\theta = 60°$ the mean turn is {glue:text}`claims-phi:.1f`°. What is kept in every dimension
# is $\langle G^\top g, z\rangle = \langle g, q\rangle$.
#
# **3. A formula that is no rotation** (<a href="#A-090">A-090</a>). $I + (b-a)a^\top + b(b-a)^\top$ is offered as
# equivalent to $R$. It is $I - aa^\top + bb^\top$. At 60° it takes the unit vector $a$ to a vector of length
# {glue:text}`claims-length:.1f`.

# %% tags=["hide-input"]
a, b = polar(0), polar(60)
other = torch.eye(2) + torch.outer(b - a, a) + torch.outer(b, b - a)
circle = torch.stack([polar(t) for t in range(361)], 1)
figs = []
for title, matrix, arm in (("rotation", rotation(a, b), "rotation"), ("the alternative", other, "reflection")):
    fig, ax = plt.subplots(figsize=(3, 2.9))
    ax.plot(*circle, ":", color="#7f7e7d", lw=1)
    ax.plot(*(matrix @ circle), color=ARMS[arm].color, linestyle=ARMS[arm].linestyle)
    beside = (8, -4) if arm == "rotation" else (8, 3)
    for tip, label, place in ((a, "$a$", (6, 4)), (b, "$b$", (-4, 8)), (matrix @ a, "image", beside)):
        ax.plot([0, tip[0]], [0, tip[1]], color="#7f7e7d", lw=1)
        ax.plot(*tip, "o", color=ARMS[arm].color if label == "image" else "#7f7e7d")
        ax.annotate(label, tip.tolist(), xytext=place, textcoords="offset points")
    ax.set(xlim=(-2, 2), ylim=(-1.9, 1.9), aspect="equal", title=title)
    figs.append(fig)
glue(
    "claims-formula",
    Figure(
        figs,
        alt=(
            "Two images of the unit circle. Under the rotation it is the unit circle again and a lands on b. "
            "Under the alternative formula it is an ellipse, and a lands half way to b."
        ),
    ),
)

# %% [markdown]
# ```{glue:figure} claims-formula
# :name: fig-claims-formula
# The unit circle (dotted) and its image under the two formulas that the derivation calls equivalent, at 60°.
# ```
#
# **4. Who trains the codebook** (<a href="#A-132">A-132</a>). A proposition gives each code the reconstruction
# gradient. Autograd gives it {glue:text}`claims-code:.0f`. The article's own author has this right (<a
# href="#A-015">A-015</a>).
#
# **5. "The variance of STE is zero"** (<a href="#A-083">A-083</a>). Within a cell $g$ is taken to be fixed. It
# depends on the image and on its other latents: two random images give it a variance of {glue:text}`claims-gap:.1f`
# in our example.
#
# **6. Boundaries** (<a href="#A-047">A-047</a>). $G$ is said to be far from $I$ near the boundary of a cell. Exactly,
# $\|G - I\| = |q - z|/|z|$. There are boundary points with {glue:text}`claims-near:.2f`, and points far inside with
# an angle of {glue:text}`claims-inside:.0f`°. The chance that a step leaves the cell is said to grow by a factor, in
# our example {glue:text}`claims-factor:.1f`. For gradients without a preferred direction the factor is
# {glue:text}`claims-ratio:.2f` (<a href="#A-170">A-170</a>).

# %% tags=["hide-input"]
codes = torch.tensor([[1.6, 0.5], [0.4, 1.9], [-1.5, 1.2], [-1.9, -0.7], [-0.3, -1.7], [1.7, -1.4]]).double()
codes = codes + torch.tensor([2.5, 1.8])
x, y = torch.linspace(-1.5, 6, 401).double(), torch.linspace(-1.5, 5.2, 401).double()
z = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
k = torch.cdist(z.flatten(0, 1), codes).argmin(-1).unflatten(0, z.shape[:2])
distance = (z - codes[k]).norm(dim=-1) / z.norm(dim=-1)
fig, ax = plt.subplots(figsize=(4.2, 4))
lines = ax.contour(x, y, distance.clamp(max=2), levels=[0.1, 0.2, 0.4, 0.8], cmap="viridis", linewidths=1.2)
ax.clabel(lines, fontsize=8, colors=INK)
for i in range(len(codes)):
    ax.contour(x, y, (k == i).double(), levels=[0.5], colors="#7f7e7d", linewidths=1)
ax.plot(*codes.T, "s", color=ARMS["rotation"].color)
ax.plot(0, 0, "+", color="#7f7e7d", markersize=10)
ax.set(aspect="equal", title="$|G - I|$")
glue(
    "claims-boundary",
    Figure(
        fig,
        alt=(
            "Six cells and the level lines of the distance of G from the identity. The lines cross the walls. The "
            "distance is large around the origin, walls or not, and small along the walls that are far from it."
        ),
    ),
)

# %% [markdown]
# ```{glue:figure} claims-boundary
# :name: fig-claims-boundary
# Level lines of $\|G - I\|$ over six cells (grey walls, squares are codes, the cross is the origin). The walls do not
# matter. The origin does.
# ```
#
# **7. "Gradual across boundaries"** (<a href="#A-207">A-207</a>). The rotation's field is called continuous where
# STE's jumps. With a linear loss it is the other way round: at one wall STE jumps by {glue:text}`claims-jump-ste:.0f`
# and the rotation by {glue:text}`claims-jump:.0f` $|g|$.
#
# **8. When it collapses** (<a href="#A-134">A-134</a>). Short codes, the rotation and $\gamma \gg 1/\beta$ are said
# to force all codes to 0. In the solvable model a run that meets all three recovers, to $s$ =
# {glue:text}`claims-recovers:.2f`; a run with $\gamma < 1/\beta$ and codes of matching length collapses. Neither
# $\beta$ nor the start enters. The next theorem offers k-means codes, an L2 penalty, $\gamma < 1/\beta$ and a clipped
# ratio as remedies. None of them prevents it (<a href="#A-136">A-136</a> to <a href="#A-138">A-138</a>, <a
# href="#A-140">A-140</a>). A smaller $\gamma$ does. The derivation also advises the full trick where codes come from
# k-means. In our runs that is where it loses to STE (<a href="#A-234">A-234</a>), and $R$ alone, which it advises for
# short codes, is worse than the full trick there (<a href="#A-235">A-235</a>).

# %% tags=["hide-input"]
times = np.concatenate([[0.0], np.geomspace(1e-2, 1e5, 400)])
fig, ax = plt.subplots()
for label, arm, setting in (
    (
        "conditions hold:\n$\\gamma=2$, $\\beta=1000$, $r_0=0.01$",
        "rotation",
        {"gamma": 2.0, "beta": 1000.0, "r0": 0.01},
    ),
    ("they fail:\n$\\gamma=3$, $\\beta=0.02$, $r_0=1$", "reflection", {"gamma": 3.0, "beta": 0.02, "r0": 1.0}),
):
    s = model.run(**setting)[0]
    ax.loglog(
        times[1:][s[1:] > 1e-6],
        s[1:][s[1:] > 1e-6],
        color=ARMS[arm].color,
        linestyle="-" if arm == "rotation" else "--",
        label=label,
    )
ax.set(xlabel="time", ylabel="scale $s$ of the latents", ylim=(1e-6, 3))
ax.legend(loc="lower left")
glue(
    "claims-collapse",
    Figure(
        fig,
        alt=(
            "The scale of the latents over time. Where the theorem's conditions hold it dips and recovers; where "
            "they fail it falls without end."
        ),
    ),
)

# %% [markdown]
# ```{glue:figure} claims-collapse
# :name: fig-claims-collapse
# Two runs of the model under rotation. The theorem has them the wrong way round.
# ```
#
# **9. A bound on usage** (<a href="#A-143">A-143</a>). Usage is bounded below by $K/(1 + e^{-x})$ with an undefined
# $x$. For any $x \ge 0$ that is half of the codes. The paper's own rotation runs go down to
# {glue:text}`claims-usage:.1f` percent.
#
# **10. Convergence** (<a href="#A-162">A-162</a>, <a href="#A-163">A-163</a>). Two codes and a quadratic: under STE
# the latent hovers at the wall with a mean squared gradient of {glue:text}`claims-hover:.0f`, where the theorem
# allows {glue:text}`claims-hover-bound:.2f`. One code and a constant gradient: under rotation the latent circles the
# origin for ever, with $r = 1$ throughout and {glue:text}`claims-orbit:.2f` where {glue:text}`claims-orbit-bound:.3f`
# is allowed.

# %% tags=["hide-input"]
path, z, q, g = [], polar(0), polar(0), polar(90)
for _ in range(300):
    path.append(z)
    z = z - 0.02 * pull_back("rotation", z, q, g)
path = torch.stack(path)
fig, ax = plt.subplots(figsize=(3.4, 3.1))
ax.plot(*path.T, color=ARMS["rotation"].color)
for i in range(0, 300, 60):
    u = -0.5 * pull_back("rotation", path[i], q, g)
    ax.annotate("", (path[i] + u).tolist(), path[i].tolist(), arrowprops={"arrowstyle": "-|>", "color": "#7f7e7d"})
ax.plot(*q, "s", color="#7f7e7d")
ax.annotate("$q$", q.tolist(), xytext=(8, 4), textcoords="offset points")
ax.plot(0, 0, "+", color="#7f7e7d", markersize=10)
ax.set(xlim=(-1.6, 1.6), ylim=(-1.5, 1.5), aspect="equal")
glue(
    "claims-orbit-figure",
    Figure(
        fig,
        alt=(
            "A latent that starts at the code q moves on a circle around the origin; the arrows of its updates "
            "are tangent to the circle and do not shrink."
        ),
    ),
)

# %% [markdown]
# ```{glue:figure} claims-orbit-figure
# :name: fig-claims-orbit
# A latent under the rotation, one code $q$ and a constant gradient at right angles to it. Arrows are updates.
# ```
#
# ## Where the doubts were right
#
# The article's author doubted more than he claimed, and mostly rightly.
#
# - In his own runs the rotation raised the reconstruction loss and lowered $|q-z|^2$. In ours it does both from
#   k-means codes, on fresh seeds too (<a href="#A-036">A-036</a>).
# - How the codes start matters more to the rotation than to STE (<a href="#A-220">A-220</a>), and for the greatest
#   stability STE is the choice (<a href="#A-239">A-239</a>). So says the derivation, and so do the runs.
# - The factor $|q|/|z|$ is the point (<a href="#A-037">A-037</a>). With codes a hundredth of the latents' length
#   the commitment term is {glue:text}`claims-dominates:.0f` times the reconstruction part of the encoder's gradient
#   (<a href="#A-039">A-039</a>).
# - $\gamma$ has to be retuned (<a href="#A-042">A-042</a>). In the model the largest safe $\gamma$ is
#   {glue:text}`claims-threshold:.1f` under rotation and {glue:text}`claims-threshold-ste:.1f` under STE.
# - The origin is special, and nothing in VQ asks for one (<a href="#A-050">A-050</a>).
# - The explanation by boundaries does not explain (<a href="#A-049">A-049</a>).
#
# Three of his guesses fail. In our runs it is not the small start that raises the loss: from short codes the rotation
# lowers it, and from k-means codes, which he expected to be safe, it raises it (<a href="#A-041">A-041</a>). The two
# auxiliary terms alone do not drive free $q$ and $z$ to 0: 3 and 1 meet at {glue:text}`claims-meet:.1f` (<a
# href="#A-040">A-040</a>). And the official code does not start from k-means (<a href="#A-043">A-043</a>).
#
# ## The ledger
#
# Open a row for the reason, the statement that holds, and the numbers. Its id is a link to it.

# %% tags=["hide-input"]
pages = chapter_pages(claims.LEDGER.with_name("_toc.yml").read_text("utf-8"))
mentions = find_mentions(pages, claims.LEDGER.parents[1] / "notebooks")
display(HTML(rows_as_html(outcomes, pages, mentions)))
