# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (discrete-actions)=
# # Discrete actions: bias and variance where the truth is known
#
# ```{admonition} In short
# :class: tip
# Both estimators are far from the true gradient: after a tenth of the steps the cosine with it is
# {glue:text}`cosine-ste:.2f` for STE and {glue:text}`cosine-rotation:.2f` for the rotation. With codes of unequal
# lengths and rippled values the rotation ends with {glue:text}`regret-rotation:.2f` times the regret of STE, and
# REINFORCE, which has no bias, with {glue:text}`regret-reinforce:.2f` times; with codes of equal length nothing shows.
# In a control task with smooth costs REINFORCE is behind: it costs {glue:text}`cost-reinforce:.1f` times
# as much as STE, and the rotation 2 % less. The rotation never swings up gymnasium's pendulum. STE does in
# {glue:text}`swung-ste-line` runs with torques as codes, where the rotation costs {glue:text}`swing-line:.1f` times as
# much.
# ```
#
# ```{glue:figure} fig-regret
# :name: fig-action-regret
#
# With unequal codes and rippled values the rotation has less regret than STE, and REINFORCE by far the least. Regret
# relative to STE, seeds 100 to 109, on a logarithmic axis: each point a pair of runs with the same seed, the diamond
# their geometric mean, the bar its 95 % interval. Left of 1 the arm is better.
# ```
#
# A policy may have a discrete action in the form of a code: it puts out a point, and the nearest code is played
# {cite}`dulacarnold2015large`; the codes may themselves be learned by a VQ-VAE {cite}`luo2023saq`. In a bandit with
# known values the gradient that every estimator is after can be written down. How far are they from it, in the mean and
# in a single draw, and does it matter for what they learn?

# %% tags=["parameters"]
from typing import Optional

profile: str = "standard"  # smoke: 20 steps, in seconds; standard: the committed records
seeds: Optional[int] = None  # 0, 1, ...; None: as the chapter says
engine: str = ""  # trains missing runs: serial, processes:2; empty: serial, but none of the chapter's plan
cap: Optional[float] = None  # core-hours that missing runs may take; None: 1
records: str = ""  # folder of runs; empty: the committed ones, and new ones go to data/records/34_discrete_actions

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("34_discrete_actions", globals(), profile=("smoke", "standard"))

# %% tags=["hide-input"]
import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import pandas as pd
import torch

from book.chapters import drawings
from book.chapters.hypotheses import above, below, higher, listed, outcome, within
from book.systems import actions, bandit, control, pendulum
from book.systems.bandit import ARMS, FAMILY, GAMMAS, MEASURED, NORMS, VALUES
from book.systems.page import load
from rotvq.analysis.wording import includes_one, ratio_text
from rotvq.page.figures import INK, MUTED, WIDTH
from rotvq.page.figures import arms as styles
from rotvq.runs.grids import FRESH

# %% [markdown]
# ## What was fixed beforehand
#
# **The bandit.** 64 contexts of 8 normal numbers. A policy of one hidden layer takes a context to a point z in the
# plane, and the nearest of 32 codes to $y = z + 0.3\,\varepsilon$ is played, with normal $\varepsilon$. Codes lie in
# random directions; their lengths are log-normal with 1/2 as the standard deviation of the logarithm (*unequal*), or
# all 1 (*equal*). The value of an action e is $-\frac12|e - t(x)|^2$ with a target that depends on the context
# (*smooth*), or the same plus eight cosines of amplitude 0.1 and wavelength 1 (*ripples*), as long as codes lie apart.
# A step plays once in every context; 1,000 steps of Adam at 0.003. One seed gives every arm the same problem, weights
# and normal draws. Primary metric: the regret of the nearest code of z, without noise, in the mean over the last
# quarter of twenty evaluations, in units of the regret of a code taken at random.
#
# **What each estimator is given.** All have the same number of plays. STE, rotation, $R$, $r I$ and Gumbel
# straight-through {cite}`jang2017categorical` are given the slope of the value at the code played. This is more than
# an environment tells: REINFORCE {cite}`williams1992simple` is given the value of the play, one number, and its
# baseline is a running mean of each context. So, with ripples, STE, rotation and Gumbel are also run with the slope of
# a *critic*, a network that has seen the values of plays alone. *Plain* plays y itself while it learns, and codes in
# the test. *Exact* ascends the true gradient, and needs all values.
#
# **Also varied**, with seeds 0 to 2: rates 0.001 and 0.01; a commitment loss (a sum over two numbers, a mean over
# plays) of weight 0.1 and 1; all codes, targets and first points moved away from the origin by 4; noise 0.1 and 1;
# temperature 0.3 and 3; eight dimensions with 64 codes.
#
# **The control task.** A mass of one push to a goal through a swirling wind in 30 steps, see `book/systems/control.py`;
# 16 thrusts, eight directions of length 1 and 1/4. 100 updates through the known model on 32 new episodes each, Adam at
# 0.01, noise 0.2. *Continuous* has any thrust up to length 1, the upper bound; *snapped* is trained so and tested with
# codes; codes at random are the lower bound. Also, seeds 0 to 2: rates 0.003 and 0.03, and a 17th code, no thrust.
#
# **Primary comparisons**, six: rotation / STE in regret for each of unequal and equal lengths, smooth and with ripples;
# REINFORCE / STE in regret, unequal with ripples; rotation / STE in cost of a control episode. **Confirmation**: these,
# and what hypotheses 1 to 7 and 12 say, are decided by seeds 100 to 109.
#
# **Hypotheses**, written before the records. Pilots with seed 0 and 400 steps had run all arms in the four cells, and
# 100 updates of *continuous* and *snapped*; hypotheses that only repeat what they showed are marked (p).
#
# 1. *REINFORCE has no bias, the family has one* (p). On the path of *exact*, REINFORCE's bias is below a tenth of the
#    gradient after a tenth of the steps; that of STE, rotation, $R$ and $r I$ is above a half.
# 2. *Turning does not change the noise.* $|R^\top g| = |g|$, so second moments are equal draw by draw. Before the first
#    step, $R$ / STE and rotation / $r I$ are within 10 % in the standard deviation of a draw.
# 3. *REINFORCE has the larger noise* (p). Before the first step, more than twice STE's.
# 4. *Cosines fall as the policy gets good* (p). On the path of *exact* those of STE and of the rotation are lower at
#    the end than before the first step, by 0.5 at least.
# 5. *Unequal lengths favour the rotation* (p). Rotation / STE is below 1 in regret, smooth and with ripples. *Equal
#    ones do not.* It is above 0.9, smooth and with ripples.
# 6. *Bias costs more than noise* (p). REINFORCE / STE is below 1, unequal with ripples, though it is told less.
# 7. *It is the scale.* $r$ falls as z runs outwards, and brakes it; STE is not braked. $r I$ / STE is below 1 with
#    unequal lengths, smooth and with ripples.
# 8. *A commitment loss brakes as well.* With weight 1, unequal with ripples, rotation / STE is within 15 % in regret,
#    and STE has less regret than without.
# 9. *Far from the origin the rotation is STE.* Moved by 4, rotation / STE is within 15 %.
# 10. *A critic is the better slope.* It knows values at codes alone, so its slope is more like a chord. STE with a
#     critic / STE with the true slope is below 1, with ripples.
# 11. *More dimensions change nothing.* In eight, unequal, rotation / STE is below 1.
# 12. *Control asks less.* Rotation / STE is within 10 % in cost, STE closes more than 90 % of the gap between random
#     and continuous, and REINFORCE / STE is above 1. *Codes in training gain nothing.* STE / snapped is above 0.95.
# 13. *A code of length 0 stops the rotation.* There $r = 0$: with no thrust among the codes, rotation / STE is above 1.

# %% [markdown]
# **Fixed later**, when the records of the above were there, and before those of these: a task that is not our own,
# Pendulum-v1 of gymnasium {cite}`towers2024gymnasium`. A pendulum is to stand up and stay there, by a torque in
# $[-2, 2]$ that is too weak to lift it without a swing. `book/systems/pendulum.py` has its step, so that a slope passes
# through it; a test holds it to gymnasium's own.
#
# Its action is one number, and in one dimension an estimator has nothing to turn: code and point have one sign, so
# $R = 1$, and the rotation is $r I$. So there are two sets of 16 codes. On the *line* they are torques evenly from −2
# to 2, and STE and rotation are run. On the *arc* they are points evenly on a half circle, all of length 1, and the
# torque is twice the second number; here $R$ turns, and all arms are run.
#
# 200 updates on 128 new episodes each, whose first 60 steps are trained through; Adam at 0.01, noise 0.2. z passes a
# tanh, and the gradient is cut to the norm 1, since slopes grow along an unstable motion. A test episode has 200 steps,
# as gymnasium's has; its cost is minus gymnasium's return. A run has *swung up* where a test episode costs less than
# 300 in the mean.
#
# No primary comparison is added: what follows is descriptive, on seeds 100 to 109. Horizon, batch, clipping and the
# tanh were sought with seed 0. Without the tanh *continuous* swung up on the line; on the arc STE, rotation and
# REINFORCE did not, and STE's gradients overflowed. With it, on the line STE swung up and the rotation did not, and on
# the arc STE came to 354. What only repeats these pilots is marked (p).
#
# 14. *STE swings the pendulum up.* In at least eight of ten seeds, on the line (p) and on the arc.
# 15. *On the line the scale costs.* r is large where z is near 0 and the code is not. Rotation / STE is above 1 in
#     cost, on the line (p).
# 16. *On the arc the rotation costs no more than STE.* Codes have one length there. Rotation / STE is within 25 %.
# 17. *Values alone are too few.* REINFORCE / STE is above 2 on the arc (p).
# 18. *Codes cost little.* STE / continuous is below 1.25 on the arc. *And training with them gains nothing.* STE /
#     snapped is above 0.95.

# %%
task = load(page, control.EXPERIMENT, "control", then=bandit.EXPERIMENT)
shown = load(page, bandit.EXPERIMENT)

# %% [markdown]
# This page shows {glue:text}`coverage` of the bandit, and of the control tasks {glue:text}`control-coverage`.
#
# ## The gradient itself
#
# A policy that plays code k with probability $p_k(z)$ expects $\bar V(z) = \sum_k p_k(z) V_k$. Where the nearest code
# of $z + \sigma\varepsilon$ is played, moving z pushes probability through the faces of the cells, and nothing else
# changes:
#
# $$ \nabla\bar V(z) = \sum_{\text{faces } kl} (V_l - V_k)\, n_{kl}\, \frac{e^{-h^2/2\sigma^2}}{\sigma\sqrt{2\pi}}
#    \Big[\Phi\Big(\frac{b - s}\sigma\Big) - \Phi\Big(\frac{a - s}\sigma\Big)\Big] $$ (eq-faces)
#
# in the plane, where a face is a segment from a to b on a line at distance h from z, s is the foot of z on it, and
# $n_{kl}$ points from code k to code l. Only *differences of values between neighbours* are in it. The slope at a code,
# which STE and the rotation turn into a gradient, is not.
#
# Gumbel straight-through draws its code from the softmax of $-|z - e_k|^2 / 2s^2$, here with $s = \sigma$. This is
# another policy with another gradient, $\mathrm{Cov}_p(e, V)/s^2$, and against that one it is judged. It too is of the
# form $G^\top g$:
#
# $$ G = \frac{\mathrm{Cov}_y(e)}{\tau s^2}, \qquad
#    y = \mathrm{softmax}\Big(\frac{\text{logits} + \text{noise}}\tau\Big), $$
#
# one symmetric matrix a draw. A step of the bandit for any arm is
#
# ```python
# z = policy(contexts)
# y = z + sigma * noise
# k = play(y, codes)
# uphill = ESTIMATORS[name].pull_back(y, codes[k], slope[k])  # or (value - baseline) * noise / sigma
# z.backward(-uphill / len(z))
# ```
#
# The field of {eq}`eq-faces` for one context of a problem with 12 codes, and the means of three estimates of it:

# %% tags=["hide-input"]
pictured = bandit.Problem(bandit.Case(codes=12, ripple=0.1, seed=1))
side = torch.linspace(-1.9, 1.9, 9 if profile == "smoke" else 15)
points = torch.cartesian_prod(side, side)
one = pictured.repeat(0, len(points))
plays = bandit.Plays(one, points, 400, torch.Generator().manual_seed(0), antithetic=True)
fields = {"exact": bandit.truth(one, points, torch.Generator())[0]}
fields |= {
    name: plays.estimate(estimator, baseline=plays.values.mean(1)).mean(1)
    for name, estimator in (("REINFORCE", "reinforce"), ("STE", "ste"), ("rotation", "rotation"))
}
cells = actions.play(torch.cartesian_prod(*[torch.linspace(-2, 2, 160)] * 2), pictured.codes).view(160, 160).t()
drawn_styles, figs = styles(ARMS), []
for name, field in fields.items():
    fig, ax = plt.subplots(figsize=(0.62 * WIDTH, 0.62 * WIDTH))
    for k in range(len(pictured.codes)):  # the faces, as lines between cells
        ax.contour(*[torch.linspace(-2, 2, 160)] * 2, (cells == k).float(), [0.5], colors=MUTED, linewidths=0.5)
    ax.scatter(*pictured.codes.t(), 30 * (one.values[0] - one.values[0].min()) + 4, color=INK)
    color = INK if name == "exact" else drawn_styles[name].color
    length = field.norm(dim=-1, keepdim=True)
    ax.quiver(*points.t(), *(field / (length + length.mean())).t(), color=color, scale=14, width=0.006)
    ax.set(xlim=(-2, 2), ylim=(-2, 2), title=name, aspect="equal")
    figs.append(fig)
words = (
    "Arrows at a lattice of points: the exact gradient, and the means of REINFORCE, STE and rotation. REINFORCE's are "
    "those of the exact gradient; STE's and the rotation's are long also where the exact gradient vanishes."
)
page.show("fig-fields", figs, words)
cosine = {
    name: torch.cosine_similarity(field.flatten(), fields["exact"].flatten(), 0).item()
    for name, field in fields.items()
}
lengths = {name: field.norm(dim=-1) for name, field in fields.items()}
nowhere = lengths["exact"] < 0.01 * lengths["exact"].max()
page.say("nowhere", f"{100 * nowhere.double().mean():.0f} %")
assert cosine["REINFORCE"] > 0.95 > max(cosine["STE"], cosine["rotation"])
assert nowhere.any() and all(lengths[name][nowhere].mean() > 0.7 * lengths[name].mean() for name in ("STE", "rotation"))

# %% [markdown]
# ```{glue:figure} fig-fields
# :name: fig-action-fields
#
# REINFORCE points as the exact gradient does; STE and the rotation push on where it vanishes. One context: 12 codes,
# the larger the better, their cells, and gradients of the value (arrows; long ones shortened). Exact, and the mean over
# 400 draws of three estimates.
# ```
#
# Far from all faces, at {glue:text}`nowhere` of these points, the exact gradient is below a hundredth of its largest:
# one code is played whatever z does there. The slope at that code knows nothing of this, and STE and the rotation go on
# pushing.
#
# ## Bias and noise at the first step
#
# Before the first step all arms stand at one point. There, for seed 0 with unequal lengths and ripples, from
# {glue:text}`draws` plays in each context: the cosine of an estimator's mean with the gradient that it estimates, of
# all 64 points z and of the weights of the policy; its length along the gradient, 1 being right (gain); its distance
# from it (bias) and the standard deviation of one draw (noise), both over the length of the gradient; and the latter
# over the gain, which is what is left of it for an optimiser that takes scales out:

# %%
case = bandit.Case(**{"ripple": 0.1, "draws": 4096} | (bandit.SMOKE if profile == "smoke" else {}))
problem, net = bandit.Problem(case), bandit.policy(case)
page.say("draws", f"{case.draws:,}")
NAMES = {fields["estimator"]: name for name, fields in ARMS.items()}
first = pd.DataFrame(bandit.measure(problem, net, torch.Generator().manual_seed(0))).T
first["noise / gain"] = first.noise / first.gain
several = bandit.Plays(problem, net(problem.contexts), 64, torch.Generator().manual_seed(0))
squares = {name: several.estimate(name).square().sum() for name in FAMILY}
assert torch.isclose(squares["rotation_only"], squares["ste"], rtol=1e-3)
assert torch.isclose(squares["rotation"], squares["scale_only"], rtol=1e-3)
assert first.bias["reinforce"] < 4 * first.error["reinforce"]
first.drop(columns="error").rename(index=NAMES, columns={"cosine_weights": "cosine of weights"}).map("{:.2f}".format)

# %% [markdown]
# **A turn cannot lower the variance.** $R$ is orthogonal, so in every draw $|R^\top g| = |g|$ and
# $|r R^\top g| = |r g|$: second moments of $R$ are those of STE and second moments of the rotation those of $r I$,
# which the cell above checks. A mean square error is a second moment, minus twice the product of mean and truth, plus
# a constant. So what a turn can change is the mean alone.
#
# ## Bias and noise while learning
#
# The same along the path of *exact*, unequal lengths with ripples, where all are judged at the same points; means over
# seeds 100 to 109. A cell is empty where the mean of some seed's draws is not twice as long as its standard error:

# %%
CELLS = {f"{norms}, {values}": NORMS[norms] | VALUES[values] for norms in NORMS for values in VALUES}
BASE = {
    name: getattr(bandit.Case(), name) for name in ("given", "shift", "gamma", "noise", "temperature", "dim", "rate")
}
ROUGH = CELLS["unequal, ripples"]


def measured_at(arm: str, cell: dict, fresh: bool) -> pd.DataFrame:
    """A row a seed, a stop and an estimator: what :func:`.bandit.measure` said along the path of an arm."""
    wanted = BASE | cell | dict(ARMS[arm])
    return pd.DataFrame(
        [
            {"seed": record["config"]["seed"], "stop": stop["step"], "estimator": name, "z": stop["z"], **numbers}
            for record in shown.records
            if wanted.items() <= record["config"].items() and (record["config"]["seed"] >= FRESH) is fresh
            for stop in record["result"]["stops"]
            for name, numbers in stop["estimators"].items()
        ]
    )


path = measured_at("exact", ROUGH, True)
if len(path):
    length = (path.bias**2 + 2 * path.gain - 1).clip(lower=0) ** 0.5  # of the mean over that of the gradient
    path.loc[path.error > length / 2, ["cosine", "bias"]] = math.nan  # too few draws to tell the mean from 0


def over_stops(metric: str) -> pd.DataFrame:
    """Means over the seeds: a row an estimator, a column a stop; empty where a seed's mean is lost in its noise."""
    if path.empty:
        return pd.DataFrame()
    found = path.groupby(["estimator", "stop"])[metric].agg(lambda values: values.mean(skipna=False)).unstack()
    return found.loc[list(MEASURED)].rename(index=NAMES, columns=lambda step: f"step {step:,}")


METRICS = ("cosine", "bias", "noise")
pd.concat({metric: over_stops(metric) for metric in METRICS}, axis=1).map("{:.2f}".format).replace("nan", "")

# %% tags=["hide-input"]
figs = []
for metric in ("cosine", "noise"):
    fig, ax = plt.subplots(figsize=(0.75 * WIDTH, 0.6 * WIDTH))
    for estimator in MEASURED if len(path) else ():
        found = over_stops(metric).loc[NAMES[estimator]].set_axis(sorted(set(path.stop)))
        ax.plot(found.index, found, **drawn_styles[NAMES[estimator]].line, label=NAMES[estimator])
    ax.set(xlabel="step of exact", ylabel=metric)
    if metric == "noise":
        ax.set_yscale("log")
    figs.append(fig)
if len(path):
    figs[0].axes[0].legend(fontsize=7)
page.show(
    "fig-path",
    figs if len(path) else drawings.ratios({}, "", ""),
    "Cosine and noise of every estimator at four stops of the policy that the exact gradient trains.",
)

# %% [markdown]
# ```{glue:figure} fig-path
# :name: fig-action-path
#
# Within a tenth of the steps the cosine of STE and of the rotation falls to near 0. Cosine with the exact gradient, and
# standard deviation of one draw over its length, along the path of *exact*.
# ```
#
# ## What they learn
#
# The primary comparisons of the bandit on fresh seeds, and beside them the seeds that explore:


# %%
def compared(arm: str, against: str, cell: dict, fresh: bool = False, metric: str = "regret", **other):
    """The ratio of two arms in a cell; ``other`` changes fields of the arm alone. None where it was not run."""
    fields = BASE | cell
    return shown.pair(metric, fields | dict(ARMS[arm]) | other, fields | dict(ARMS[against]), fresh)


primary = {f"rotation / STE, {cell}": compared("rotation", "STE", fields, True) for cell, fields in CELLS.items()}
primary["REINFORCE / STE, unequal, ripples"] = compared("REINFORCE", "STE", ROUGH, True)
explored = {f"rotation / STE, {cell}": compared("rotation", "STE", fields) for cell, fields in CELLS.items()}
explored["REINFORCE / STE, unequal, ripples"] = compared("REINFORCE", "STE", ROUGH)
page.say("confirmed", primary)
for arm in ("rotation", "REINFORCE"):
    page.say(f"regret-{arm.lower()}", getattr(primary[f"{arm} / STE, unequal, ripples"], "mean", math.nan))
pd.DataFrame(
    {
        "seeds 100–109": {name: ratio_text(pair) for name, pair in primary.items()},
        "seeds 0–2": {name: ratio_text(pair) for name, pair in explored.items()},
    }
)

# %% tags=["hide-input"]
against_ste = [name for name in bandit.CONFIRMED if name != "STE"]
panels = {
    cell: [(name, pair, drawn_styles[name]) for name in against_ste if (pair := compared(name, "STE", fields, True))]
    for cell, fields in CELLS.items()
}
page.show("fig-regret", drawings.ratios(panels, "Regret, a ratio to STE", "regret, arm / STE"))

# %% [markdown]
# {numref}`fig-action-regret`, at the top of this page, has every pair of runs.
#
# ### Every arm
#
# Regret of every arm and cell, means over seeds 0 to 2; 1 is a code at random, 0 the best in every context:


# %%
def said(value: float | None) -> str:
    """A number for a table, empty where there is none."""
    return "" if value is None or pd.isna(value) else f"{value:.3f}"


def levels(metric: str = "regret", **other) -> pd.DataFrame:
    """A row an arm, a column a cell."""
    return pd.DataFrame(
        {
            cell: {
                name: said(shown.mean(metric, BASE | fields | dict(arm) | other, False)) for name, arm in ARMS.items()
            }
            for cell, fields in CELLS.items()
        }
    )


levels()

# %% tags=["hide-input"]
figs = []
for cell, fields in CELLS.items():
    fig, ax = plt.subplots(figsize=(0.75 * WIDTH, 0.6 * WIDTH))
    for name, arm in ARMS.items():
        wanted = BASE | fields | dict(arm)
        runs_of = [r for r in shown.records if wanted.items() <= r["config"].items() and r["config"]["seed"] < FRESH]
        if runs_of:
            curve = torch.tensor([r["result"]["curve"] for r in runs_of]).mean(0)
            steps = torch.arange(1, len(curve) + 1) * max(1, runs_of[0]["config"]["steps"] // bandit.CURVE)
            ax.semilogy(steps, curve.clamp_min(bandit.LEAST), **drawn_styles[name].line | {"marker": None}, label=name)
    ax.set(xlabel="step", ylabel="regret", title=cell)
    figs.append(fig)
page.show(
    "fig-curves",
    drawings.with_legend(figs, list(drawn_styles.values())) if figs[0].axes[0].lines else drawings.ratios({}, "", ""),
    "Regret over the steps for every arm, in four cells: unequal and equal lengths, smooth and ripples.",
)

# %% [markdown]
# ```{glue:figure} fig-curves
# :name: fig-action-curves
#
# With unequal lengths and ripples REINFORCE ends below STE and the rotation. Regret over the steps, means over seeds 0
# to 2; lower is better.
# ```
#
# Where the points end: mean $|z|$ at the last step, beside codes of mean length about 1:

# %%
for record in shown.records:  # so that it is a metric of a run
    record["result"]["z"] = record["result"]["stops"][-1]["z"]
levels("z")

# %% [markdown]
# ## What was varied
#
# Regret with unequal lengths and ripples, means over seeds 0 to 2, but for the eight dimensions, of which both lengths
# are shown:

# %%
VARIED = (
    {"as above": {}}
    | {f"rate {name}": fields for name, fields in bandit.RATES.items()}
    | {"a critic's slope": {"given": "value"}}
    | {f"commitment {name}": fields for name, fields in GAMMAS.items()}
    | {"moved by 4": {"shift": 4.0}}
    | {f"noise {name}": fields for name, fields in bandit.NOISES.items()}
    | {f"temperature {name}": fields for name, fields in bandit.TEMPERATURES.items()}
    | {f"eight dimensions, {norms}": {"dim": 8} | NORMS[norms] for norms in NORMS}
)
pd.DataFrame(
    {
        name: {
            label: said(shown.mean("regret", BASE | ROUGH | dict(arm) | fields, False))
            for label, fields in VARIED.items()
        }
        for name, arm in ARMS.items()
    }
)

# %% [markdown]
# ## A control task of our own
#
# Mean cost of a test episode, and the share of the gap between random codes and continuous thrusts that an arm closes,
# on fresh seeds; the primary comparison is rotation / STE:

# %%
THRUST = {"task": "wind", "off": False, "rate": control.Task().rate}


def costs(arm: str, fresh: bool = True, metric: str = "cost", **other) -> float | None:
    """The mean of a metric of a control task, the wind where nothing else is said."""
    return task.mean(metric, THRUST | dict(control.ARMS[arm]) | other, fresh)


def cost_pair(arm: str, against: str, fresh: bool = True, **other):
    """The ratio of two arms in cost, None where it was not run."""
    return task.pair("cost", *(THRUST | dict(control.ARMS[name]) | other for name in (arm, against)), fresh)


def share(arm: str) -> float | None:
    """Of the gap between random and continuous, what an arm closes."""
    cost, least, most = costs(arm), costs("continuous"), costs(arm, metric="random")
    return None if None in (cost, least, most) else (most - cost) / (most - least)


control_primary = cost_pair("rotation", "STE")
page.say("control-confirmed", control_primary)
rows = {
    name: [said(costs(name)), said(share(name)), "" if name == "STE" else ratio_text(cost_pair(name, "STE"))]
    for name in control.ARMS
}
rows["random"] = [said(costs("STE", metric="random")), said(None if costs("STE") is None else 0.0), ""]
pd.DataFrame.from_dict(rows, "index", columns=["cost", "share of the gap", "ratio to STE"])

# %% [markdown]
# Means over seeds 0 to 2 at other rates, and with no thrust among the codes:

# %%
others = {f"rate {name}": fields for name, fields in control.RATES.items()} | {"no thrust": {"off": True}}
pd.DataFrame(
    {label: {name: said(costs(name, False, **fields)) for name in control.ARMS} for label, fields in others.items()}
)

# %% [markdown]
# ## gymnasium's pendulum
#
# **The rotation never swings it up, and STE mostly does**: in {glue:text}`swung-ste-line` runs on the line and in
# {glue:text}`swung-ste-arc` on the arc. The rotation costs {glue:text}`swing-line:.1f` times as much as STE on the
# line and {glue:text}`swing-arc:.1f` times on the arc, where no code has another length than the others. There $R$
# alone and $r I$ cost about as much as the rotation, so either alone is enough. No difference shows between STE and a
# policy whose torque is any number, and ten seeds would not tell a cost almost twice as high. No arm has a rate of
# its own, and the rest was sought with seed 0, where STE swung up on the line and the rotation did not.
#
# Mean cost of a test episode, which is minus gymnasium's return, and the ratio to STE, on fresh seeds; less is better:

# %% tags=["hide-input"]
PENDULUMS = {"arc": control.SWING, "line": control.LINE}
UPRIGHT = 300.0  # what a test episode costs at most in the mean where a run has swung up


def swung(arm: str, case: control.Task) -> pd.Series:
    """Of every fresh run, by its seed, whether it swung up."""
    rows = task.rows(True)
    if rows.empty:
        return pd.Series(dtype=bool)
    fields = {"task": case.task} | dict(control.ARMS[arm])
    chosen = rows[(rows[list(fields)] == pd.Series(fields)).all(axis=1)].set_index("seed")
    return chosen.cost < UPRIGHT


def swing_pair(arm: str, against: str = "STE", place: str = "arc"):
    """The ratio of two arms in the cost of the pendulum; None where it was not run."""
    return cost_pair(arm, against, task=PENDULUMS[place].task)


def swing_row(arm: str, case: control.Task) -> list[str]:
    """The cost, how many runs swung up, and the ratio to STE."""
    up, cost = swung(arm, case), costs(arm, task=case.task)
    pair = None if arm == "STE" else cost_pair(arm, "STE", task=case.task)
    return ["" if cost is None else f"{cost:.0f}", f"{up.sum()} of {len(up)}" if len(up) else "", ratio_text(pair)]


rows = {
    (place, arm): swing_row(arm, case)
    for place, case in PENDULUMS.items()
    for arm in control.ARMS
    if costs(arm, task=case.task) is not None
}
page.say(
    "swung",
    {
        f"{arm} {place}": swing_row(arm, case)[1] or "not run"
        for arm in ("STE", "rotation")
        for place, case in PENDULUMS.items()
    },
)
swing = {place: swing_pair("rotation", place=place) for place in PENDULUMS}
page.say("swing", {place: pair.mean if pair else math.nan for place, pair in swing.items()})
at_random = costs("STE", metric="random", task=control.SWING.task)
rows["arc", "random"] = ["" if at_random is None else f"{at_random:.0f}", "", ""]
pd.DataFrame.from_dict(rows, "index", columns=["cost", "swung up", "ratio to STE"])

# %% tags=["hide-input"]
panels = {
    place: [(arm, pair, drawn_styles[arm]) for arm in against_ste if (pair := swing_pair(arm, place=place))]
    for place in PENDULUMS
}
page.show("fig-swing", drawings.ratios(panels, "Cost of the pendulum, a ratio to STE", "cost, arm / STE"))


@page.holds
def the_pendulum():
    for place, case in PENDULUMS.items():
        never = swung("rotation", case)
        yield f"On the {place} the rotation never swings it up.", len(never) == 10, not never.any()
        yield "STE mostly does.", swung("STE", case).mean() > 0.5
        yield "The rotation costs more.", higher(swing[place])
    for arm in ("R", "r I"):
        yield f"So does {arm}, about as much.", higher(swing_pair(arm)), includes_one(swing_pair("rotation", arm))
    against_any = swing_pair("STE", "continuous")
    yield "No difference shows from any torque.", includes_one(against_any), 1.5 < against_any.high < 2.2
    lengths = pendulum.arc().norm(dim=1)
    yield "Codes on the arc have one length.", float(lengths.max() - lengths.min()) < 1e-6


# %% [markdown]
# ```{glue:figure} fig-swing
# :name: fig-action-swing
#
# On the pendulum all other estimators cost more than STE. Cost relative to STE, on a logarithmic axis:
# each point a pair of runs with the same seed, the diamond their geometric mean, the bar its 95 % interval. Left of 1
# the arm is better.
# ```
#
# ## What became of the hypotheses


# %%
def became(parts: dict) -> tuple[str, str]:
    """What was measured, and the outcome, of (a comparison, the rule that it is held to) by name."""
    judged = [None if pair is None else (pair, rule) for pair, rule in parts.values()]
    return listed({name: pair for name, (pair, _) in parts.items()}), outcome(judged, lambda part: part[1](part[0]))


def at(metric: str, estimator: str, stop: int) -> float | None:
    """The mean over the seeds, at one of the stops of the path."""
    if path.empty:
        return None
    chosen = path[(path.estimator == estimator) & (path.stop == sorted(path.stop.unique())[stop])]
    return chosen[metric].mean()


def numbers(values: dict[str, float | None], holds: Callable[[str, float], bool]) -> tuple[str, str]:
    """Numbers by name and what they say by a rule, as a row of the table."""
    if None in values.values():
        return "", outcome([])
    said_of = [holds(name, value) for name, value in values.items()]
    return "; ".join(f"{name} {value:.2f}" for name, value in values.items()), outcome(said_of)


def over(a: float | None, b: float | None) -> float | None:
    """a / b, None where one was not measured."""
    return None if None in (a, b) else a / b


biases = {NAMES[name]: at("bias", name, 1) for name in ("reinforce", *FAMILY)}
noises = {
    "R / STE": over(at("noise", "rotation_only", 0), at("noise", "ste", 0)),
    "rotation / r I": over(at("noise", "rotation", 0), at("noise", "scale_only", 0)),
}
louder = {"REINFORCE / STE": over(at("noise", "reinforce", 0), at("noise", "ste", 0))}
falls = {
    NAMES[name]: None if path.empty else at("cosine", name, 0) - at("cosine", name, 3) for name in ("ste", "rotation")
}
unequal, equal = ([cell for cell in CELLS if cell.startswith(f"{norms},")] for norms in NORMS)
committed, moved = GAMMAS["1"], {"shift": 4.0}
for estimator in ("ste", "rotation"):
    cosine_there = at("cosine", estimator, 1)
    page.say(f"cosine-{estimator}", math.nan if cosine_there is None else cosine_there)
page.say("cost-reinforce", getattr(cost_pair("REINFORCE", "STE"), "mean", math.nan))


@page.holds
def what_bias_costs():
    far = (at("cosine", estimator, 1) < 0.2 for estimator in ("ste", "rotation"))
    yield "Both estimators are far from the true gradient.", *far
    turned = {cell: primary[f"rotation / STE, {cell}"] for cell in CELLS}
    yield "With unequal lengths and ripples the rotation ends with less regret.", below(1)(turned["unequal, ripples"])
    yield "With equal lengths nothing shows.", *(turned[cell].low < 1 < turned[cell].high for cell in equal)
    yield "REINFORCE has no bias that shows.", at("bias", "reinforce", 1) < 0.1
    yield "REINFORCE has less regret still.", below(1)(compared("REINFORCE", "rotation", ROUGH, True))
    costs_more, costs_less = cost_pair("REINFORCE", "STE"), control_primary
    yield "In control it costs more, and the rotation less.", above(1)(costs_more), below(1)(costs_less)
    yield "By 2 %.", round(100 * (1 - control_primary.mean)) == 2


upright = {
    place: swung("STE", case).mean() if costs("STE", task=case.task) else None for place, case in PENDULUMS.items()
}
control_parts = became(
    {
        "rotation / STE": (control_primary, within(0.1)),
        "REINFORCE / STE": (cost_pair("REINFORCE", "STE"), above(1)),
        "STE / snapped": (cost_pair("STE", "snapped"), above(0.95)),
    }
)
page.hypotheses(
    {
        "1 REINFORCE has no bias, the family has": numbers(
            biases, lambda name, value: value < 0.1 if name == "REINFORCE" else value > 0.5
        ),
        "2 turning does not change the noise": numbers(noises, lambda _, value: 1 / 1.1 <= value <= 1.1),
        "3 REINFORCE has the larger noise": numbers(louder, lambda _, value: value > 2),
        "4 cosines fall": numbers(falls, lambda _, value: value >= 0.5),
        "5 unequal lengths favour the rotation": became(
            {cell: (primary[f"rotation / STE, {cell}"], below(1)) for cell in unequal}
        ),
        "5 equal ones do not": became({cell: (primary[f"rotation / STE, {cell}"], above(0.9)) for cell in equal}),
        "6 bias costs more than noise": became(
            {"REINFORCE / STE": (primary["REINFORCE / STE, unequal, ripples"], below(1))}
        ),
        "7 it is the scale": became({cell: (compared("r I", "STE", CELLS[cell], True), below(1)) for cell in unequal}),
        "8 commitment brakes as well": became(
            {
                "rotation / STE": (compared("rotation", "STE", ROUGH | committed), within(0.15)),
                "STE with / without": (compared("STE", "STE", ROUGH, **committed), below(1)),
            }
        ),
        "9 far away the rotation is STE": became(
            {"rotation / STE": (compared("rotation", "STE", ROUGH | moved), within(0.15))}
        ),
        "10 a critic is the better slope": became(
            {"critic / true slope": (compared("STE", "STE", ROUGH, given="value"), below(1))}
        ),
        "11 more dimensions change nothing": became(
            {"rotation / STE": (compared("rotation", "STE", ROUGH | {"dim": 8}), below(1))}
        ),
        "12 control asks less": control_parts,
        "12 STE closes 90 % of the gap": numbers({"STE": share("STE")}, lambda _, value: value > 0.9),
        "13 a code of length 0 stops the rotation": became(
            {"rotation / STE": (cost_pair("rotation", "STE", False, off=True), above(1))}
        ),
        "14 STE swings the pendulum up": numbers(upright, lambda _, value: value >= 0.8),
        "15 on the line the scale costs": became({"rotation / STE": (swing_pair("rotation", place="line"), above(1))}),
        "16 on the arc the rotation costs no more": became({"rotation / STE": (swing_pair("rotation"), within(0.25))}),
        "17 values alone are too few": became({"REINFORCE / STE": (swing_pair("REINFORCE"), above(2))}),
        "18 codes cost little": became({"STE / continuous": (swing_pair("STE", "continuous"), below(1.25))}),
        "18 training with them gains nothing": became({"STE / snapped": (swing_pair("STE", "snapped"), above(0.95))}),
    }
)

# %% [markdown]
# ## What it cost, and what it does not show
#
# The bandit: {glue:text}`cost`
# The control tasks: {glue:text}`control-cost`
#
# Codes are given and stay where they are; in a VQ-VAE they follow. Values are smooth in the action's vector, and that
# vector is known: without it only REINFORCE is left. 64 contexts are all there are, so nothing is said of new ones.
# Both control tasks have a known model, so that a slope can pass through it; of gymnasium's tasks only the pendulum was
# run, whose action is one number: the arc is ours. Nothing was measured there against the exact gradient, which has no
# such formula. A policy with a softmax over all codes and its own REINFORCE was not run.
#
# **On one GPU** the same system takes other fields of its case:
# `Case(codes=4096, dim=32, contexts=8192, width=1024, steps=100000)`, judged by draws as in eight dimensions. Problems
# as small as those here would not fill it, so this page has no parameter `device`. The larger case needs one first, and
# has not been run.
