# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (expression-trees)=
# # Symbols by gradient: formulas where every tree is known
#
# ```{admonition} In short
# :class: tip
# No: a slope through a nearest-code choice finds no more than chance. STE finds the formula from
# {glue:text}`found-STE:.1f` % of its starts and the rotation from {glue:text}`found-rotation:.1f` %; as many trees at
# random found it from {glue:text}`found-random:.1f` %, and none of the differences shows. Changing one symbol at a
# time, and keeping what is no worse, finds {glue:text}`found-climb:.1f` % without any slope.
# ```
#
# ```{glue:figure} fig-found
# :name: fig-symbols-found
#
# No slope shows more finds than trees at random, and changing one symbol at a time finds more. Starts that found their
# target, mean over the targets of the grammar and over seeds 100 to 109. The broad line is the exact chance of a random
# search, from the count of trees.
# ```
#
# The source article names symbolic regression as a use of the trick: a formula is a tree, every node of it chooses a
# symbol, and the choice of a symbol is the choice of a code. Gradient methods for formulas exist
# {cite}`sahoo2018learning`, and so do methods that only look at how well a formula does {cite}`petersen2021deep`. Here
# the grammar is so small that all its trees are known. Does the slope, passed through a nearest-code choice, find a
# formula sooner than drawing trees at random?

# %% tags=["parameters"]
from typing import Optional

profile: str = "standard"  # smoke: trees of depth 2 and 4 steps, in seconds; standard: the committed records
seeds: Optional[int] = None  # 0, 1, ...; None: as the chapter says
engine: str = ""  # trains missing runs: serial, processes:2; empty: serial, but none of the chapter's plan
cap: Optional[float] = None  # core-hours that missing runs may take; None: 1
records: str = ""  # folder of runs; empty: the committed ones, and new ones go to data/records/35_symbols

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("35_symbols", globals(), profile=("smoke", "standard"))

# %% tags=["hide-input"]
import math
import statistics

import matplotlib.pyplot as plt
import pandas as pd
import torch
from scipy.stats import chisquare, spearmanr

from book.chapters import drawings
from book.chapters.hypotheses import above, below, listed, near, outcome
from book.systems import expressions, symbols
from book.systems.expressions import OPERATORS, TARGETS
from book.systems.page import load
from book.systems.symbols import ARMS, BLIND, GAMMAS, LENGTHS, NOISES, RATES, SGD, UNEQUAL, WIDTHS, Case
from rotvq.analysis.stats import paired
from rotvq.analysis.wording import ratio_text
from rotvq.page.figures import MUTED, WIDTH
from rotvq.page.figures import arms as styles

# %% [markdown]
# ## What was fixed beforehand
#
# **The grammar.** Full binary trees of depth 3: seven inner nodes with one of six operators (left branch, sum,
# difference, product, sine and cosine of the left branch), eight leaves with one of three inputs: 1, $x$ and $x^2$ for
# a target of one variable, 1, $x$ and $y$ for one of two. No constants are fitted. The targets are the twelve of Nguyen
# {cite}`uy2011semantically`, at 20 points drawn uniformly in their usual domains {cite}`petersen2021deep`. The *error*
# of a tree is its mean square error over the variance of the target; below $10^{-16}$ the tree *is* the target.
#
# **The search.** Every node has a point z in as many dimensions as it has symbols, and the nearest axis to
# $z + \sigma\varepsilon$ is its symbol. z starts in a random direction with the length 1, $\sigma = 0.1$; the slope is
# that of $\log(1 + \text{error})$ in the weights of all symbols of all nodes. 32 starts a target, 300 steps of Adam at
# 0.03, one tree a step and start. Arms: STE, rotation, $R$, $r I$; *Gumbel*, straight-through with a softmax of width
# 0.6 and temperature 1 {cite}`jang2017categorical`. Beside them, with as many trees and no slope: *random*, which draws
# each tree anew, and *climb*, which draws one node anew and keeps the tree if it is no worse. One seed gives every arm
# the same starts; all but Gumbel look at the same first trees.
#
# **Measured.** *Found*: of the starts that sought a target of the grammar, the per cent that looked at a tree that is
# equal to it, mean over these targets. *Error*: of targets that are not in the grammar, the least error that a start
# saw over the least of any tree, geometric mean. Trees looked at for one recovery.
#
# **Also varied**, with seeds 0 to 2: rates 0.003, 0.01, 0.1 and 0.3; $\sigma$ 0 and 0.3, Gumbel's width 0.3 and 1;
# axes of unequal, log-normal lengths; a commitment loss (a sum over numbers and nodes) of weight 0.1 and 1; gradient
# descent without Adam at 0.1 and 1.
#
# **Primary comparisons**, six, differences in *found*: rotation − STE from the lengths 1/4, 1 and 4 of z, where r is 4,
# 1 and 1/4; Gumbel − STE, STE − climb and STE − random from the length 1. **Confirmation**: these, and hypotheses 1 to
# 8, are decided by seeds 100 to 109.
#
# **Hypotheses**, written before the records. Pilots with seed 0, 8 or 16 starts and 150 or 200 steps had run all arms
# at the rate 0.1, STE and rotation at three more rates, STE and Gumbel at two more $\sigma$. Of 128 starts that sought
# a target of the grammar STE found 1 or 2 whatever its rate and $\sigma$, the rotation 2 to 6, climb 4, random none
# where 1.7 were to be expected; |z| of STE ended above that of the rotation. What only repeats this is marked (p). The
# counts of trees were known.
#
# 1. *STE finds less than chance* (p). STE − random is below 0: a start looks at the same trees again and again.
# 2. *Blind climbing is better* (p). STE − climb is below 0.
# 3. *The rotation finds more than STE* (p) from the lengths 1/4 and 1. *From 4 it does not*: with points so far out
#    both turn slowly, and the difference is within 1 per cent of the starts.
# 4. *Gumbel finds more than STE.* It chooses at random, and does not stop to.
# 5. *It is the turn.* From the length 1, $R$ − rotation and $r I$ − STE are within 1 per cent: Adam takes the scale
#    out.
# 6. *STE stops looking.* At the end |z| is more than 1.5 times the rotation's (p), and it has looked at fewer
#    different trees.
# 7. *What is often in the grammar is often found.* Over the targets of the grammar, *found* of STE and of the rotation
#    has a rank correlation above 0.5 with the count of trees.
# 8. *Errors say the same.* From the length 1, rotation / STE and climb / STE are below 1 in error. *Random is as
#    counted*: its interval of *found* contains the exact chance.
# 9. *A commitment loss keeps STE looking.* With weight 1 it finds more than without.
# 10. *More noise finds more.* STE with $\sigma = 0.3$ − STE is above 0.
# 11. *Unequal axes favour the rotation.* There rotation / STE is below 1 in error.

# %%
shown = load(page, symbols.EXPERIMENT)

# %% [markdown]
# This page shows {glue:text}`coverage`.
#
# ## Every tree of the grammar
#
# A tree of depth 3 is an operator of two functions of depth 2, of which there are few: equal ones are merged and their
# trees counted. So all pairs of them are all trees. By target: how many trees are equal to it, in how many ways it is
# an operator of two functions of depth 2, the chance that a random search with as many trees as a start has meets one
# of them, the least error, the least error of trees that are not equal, and a shortest tree with the least error.

# %%
depth = symbols.SMOKE["depth"] if profile == "smoke" else Case().depth
steps = symbols.SMOKE["steps"] if profile == "smoke" else Case().steps
truths = {name: expressions.truth(target, depth) for name, target in TARGETS.items()}
inside = [name for name, truth in truths.items() if truth.trees]
outside = [name for name in truths if name not in inside]
page.say("trees", f"{expressions.all_trees(depth):,}")
page.say("inside", len(inside))
below_it = {
    names: len(expressions.functions(expressions.sample(target)[0], names, depth - 1).trees)
    for names, target in {target.leaves: target for target in TARGETS.values()}.items()
}
page.say("functions", " and ".join(map(str, below_it.values())))
assert all(truth.next_least > 1e8 * expressions.EXACT for truth in truths.values())  # equal or far from it
pd.DataFrame(
    {
        f"{name}: {TARGETS[name].text}": {
            "trees": f"{truth.trees:,}",
            "ways": truth.ways,
            "chance": f"{100 * truth.chance(steps):.2g} %" if truth.trees else "",
            "least error": f"{truth.least:.2g}",
            "next": f"{truth.next_least:.2g}",
            "a shortest tree": truth.text,
        }
        for name, truth in truths.items()
    }
).T

# %% [markdown]
# There are {glue:text}`trees` trees, made of {glue:text}`functions` different functions of one level less, in one and
# in two variables. {glue:text}`inside` of the twelve targets are in the grammar. An error below $10^{-16}$ is rounding:
# the nearest tree that is not equal is a hundred million times as far away at least, which the cell above checks.
#
# ## What the slope knows of a symbol
#
# With a weight for each symbol, a node is the weighted sum of what all its symbols would give, so the loss is smooth
# and the slope tells of every symbol, chosen or not. A step of any arm with a gradient is
#
# ```python
# y = z + sigma * noise
# q = codes[play(y, codes)]                                 # an axis: one symbol
# loss = log(1 + error(evaluate(q), target))
# g = grad(loss, q)                                         # what a little more of each symbol would do
# z.grad = ESTIMATORS[name].pull_back(y, q, g)
# ```
#
# With axes of one length the choice hangs on the direction of z alone. $R^\top q$ points along z
# ({prf:ref}`def-rotation`), so by the rotation the slope in the chosen symbol itself lengthens or shortens z and leaves
# the choice as it is. STE passes it to one coordinate, where it counts for or against the choice.
#
# But a *little more* of a symbol is not what a search can have. It swaps one symbol for another, a step of length
# $\sqrt2$. Of random trees, and all swaps of one symbol in each: how often the swap of which the slope expects most
# lowers the loss, how often a swap at random does, how many trees have such a swap at all, and the rank correlation of
# what the slope expects with what the swap does, over swaps that change anything:

# %%
some = symbols.Random(Case(depth=depth, starts=4 if profile == "smoke" else 50)).propose()
swaps = symbols.swaps(some)
steepest = swaps.real.gather(-1, swaps.expected.argmin(-1, keepdim=True))[..., 0]
lowers = swaps.real < -1e-12
known = pd.DataFrame(
    {
        f"{name}: {target.text}": {
            "the steepest lowers": (steepest[i] < -1e-12).double().mean().item(),
            "one at random": lowers[i].double().mean().item(),
            "any": lowers[i].any(-1).double().mean().item(),
            "rank correlation": spearmanr(
                *(part[i][swaps.real[i].abs() > 1e-12] for part in (swaps.expected, swaps.real))
            ).statistic,
        }
        for i, (name, target) in enumerate(TARGETS.items())
    }
).T
means = known.mean()
page.say("steepest", f"{100 * means['the steepest lowers']:.0f} %")
page.say("at-random", f"{100 * means['one at random']:.0f} %")
page.say("any-swap", f"{100 * means['any']:.0f} %")
assert profile == "smoke" or means["one at random"] < means["the steepest lowers"] < means["any"]
known.map("{:.2f}".format)

# %% [markdown]
# In the mean, the swap that looks best by the slope lowers the loss in {glue:text}`steepest` of the trees, one at
# random in {glue:text}`at-random`, and {glue:text}`any-swap` of the trees have one that does. So the slope knows
# something, and is often wrong about the step that counts.
#
# ## Who finds the target
#
# Per cent of starts that found it, differences of two arms; the six primary comparisons on fresh seeds, and beside them
# the seeds that explore:

# %%
EVERY = ARMS | BLIND
BASE = {name: getattr(Case(), name) for name in ("length", "lengths", "optimizer", "rate", "gamma")}
for record in shown.records:  # so that these are metrics of a run
    result = record["result"]
    of = result["targets"]
    assert all(of[name]["error"] > truths[name].least * (1 - 1e-9) for name in outside)  # none beats the nearest tree
    result["found"] = 100 * statistics.fmean(of[name]["found"] for name in inside) if inside else 0.0
    result["regret"] = statistics.geometric_mean(of[name]["error"] / truths[name].least for name in outside)


def fields_of(arm: str, **other) -> dict:
    """The fields of an arm, with changes."""
    return BASE | dict(EVERY[arm]) | other


def chosen(arm: str, fresh: bool | None = True, **other) -> list[dict]:
    """The records of an arm in the order of their seeds."""
    wanted = fields_of(arm, **other).items()
    found = [one for one in shown.records if wanted <= one["config"].items()]
    found = [one for one in found if fresh in (None, one["config"]["seed"] >= 100)]
    return sorted(found, key=lambda one: one["config"]["seed"])


def by_seed(metric: str, arm: str, fresh: bool = True, **other) -> dict[int, float]:
    """A metric of an arm by seed."""
    return {one["config"]["seed"]: one["result"][metric] for one in chosen(arm, fresh, **other)}


def difference(one: dict[int, float], other: dict[int, float]):
    """The paired difference over the seeds that both have; None where there are none."""
    seeds_of = sorted(one.keys() & other.keys())
    return paired([one[seed] for seed in seeds_of], [other[seed] for seed in seeds_of]) if seeds_of else None


def apart(arm: str, against: str, fresh: bool = True, length: float = 1.0):
    """The difference in *found* of two arms that start at one length; blind ones start at 1."""
    lengths_of = [length if name in ARMS else Case().length for name in (arm, against)]
    return difference(*(by_seed("found", name, fresh, length=at) for name, at in zip((arm, against), lengths_of)))


PRIMARY = {f"rotation − STE, |z| = {name}": ("rotation", "STE", at["length"]) for name, at in LENGTHS.items()}
PRIMARY |= {f"{a} − {b}": (a, b, 1.0) for a, b in (("Gumbel", "STE"), ("STE", "climb"), ("STE", "random"))}
primary, explored = (
    {name: apart(arm, against, fresh, at) for name, (arm, against, at) in PRIMARY.items()} for fresh in (True, False)
)
pd.DataFrame(
    {
        "seeds 100–109": {name: ratio_text(pair) for name, pair in primary.items()},
        "seeds 0–2": {name: ratio_text(pair) for name, pair in explored.items()},
    }
)

# %% tags=["hide-input"]
drawn = styles(EVERY)
trees_seen = list(range(max(1, steps // symbols.CURVE), steps + 1, max(1, steps // symbols.CURVE)))
fig, ax = plt.subplots(figsize=(WIDTH, 0.75 * WIDTH), layout="constrained")
said = []
for arm in EVERY:
    curves = [[one["result"]["targets"][name]["curve"] for name in inside] for one in chosen(arm)]
    if not curves or not inside:
        continue
    mean_curve = [100 * statistics.fmean(part) for part in zip(*(curve for run in curves for curve in run))]
    ax.plot(trees_seen, mean_curve, **drawn[arm].line | {"marker": None}, label=arm)
    said.append(f"{arm} {mean_curve[-1]:.2g} %")
if inside:
    counted = [100 * statistics.fmean(truths[name].chance(seen) for name in inside) for seen in trees_seen]
    ax.plot(trees_seen, counted, color=MUTED, linewidth=4, alpha=0.4, label="random, exact")
    said.append(f"random search by the count of trees {counted[-1]:.2g} %")
    ax.legend(fontsize=7)
ax.set(xlabel="trees looked at", ylabel="starts that found it, %")
words = "Share of the starts that found their target over the trees looked at. At the end: "
page.show("fig-found", fig, words + ("; ".join(said) or "no run has a record") + ".")

# %% [markdown]
# {numref}`fig-symbols-found`, at the top of this page, has this over the number of trees looked at.
#
# ### By target
#
# Per cent of starts, seeds 100 to 109, beside the exact chance of drawing as many trees at random:


# %%
def of_target(name: str, arm: str, key: str) -> list[float]:
    """A number of a target in every run of an arm on fresh seeds."""
    return [one["result"]["targets"][name][key] for one in chosen(arm)]


def percent(name: str, arm: str) -> str:
    """Starts of an arm that found a target."""
    shares = of_target(name, arm, "found")
    return f"{100 * statistics.fmean(shares):.2g}" if shares else ""


def trees_for_one(name: str, arm: str) -> str:
    """Trees that an arm looked at for one recovery of a target; a dash where there was none."""
    recovered = Case().starts * sum(of_target(name, arm, "found"))
    looked = sum(of_target(name, arm, "looked"))
    if not looked:
        return ""
    return f"{looked / recovered:,.0f}" if recovered else "–"


titles = {name: f"{name}: {TARGETS[name].text}" for name in inside}
pd.DataFrame(
    {
        titles[name]: {"exact chance": f"{100 * truths[name].chance(steps):.2g}"}
        | {arm: percent(name, arm) for arm in EVERY}
        for name in inside
    }
).T

# %% [markdown]
# Trees looked at for one recovery, a start that found nothing counting with all its trees; of a random search also by
# the count:

# %%
pd.DataFrame(
    {
        titles[name]: {"exact": f"{truths[name].of / truths[name].trees:,.0f}"}
        | {arm: trees_for_one(name, arm) for arm in EVERY}
        for name in inside
    }
).T

# %% [markdown]
# ### In the same time
#
# A look with a slope costs more than one without: all six operators of every inner node are computed, and again on the
# way back. By arm, on fresh seeds: seconds of processor time a run; *found*; and what a random search would find, by
# the count of trees, with as many trees, in the time of the arm, and with as many operators computed (here also blind
# arms compute all six, so by the time they look worse than they are):


# %%
def seconds(arm: str) -> float | None:
    """Mean processor time of a run on fresh seeds."""
    times = [one["provenance"]["seconds"] for one in chosen(arm)]
    return statistics.fmean(times) if times else None


def would_find(times: float) -> str:
    """What a random search finds with so many times the trees, in per cent."""
    return (
        f"{100 * statistics.fmean(truths[name].chance(round(steps * times)) for name in inside):.1f}" if inside else ""
    )


rows = {}
for arm in EVERY:
    taken, least_time, met = seconds(arm), seconds("random"), by_seed("found", arm).values()
    rows[arm] = {
        "seconds": f"{taken:.1f}" if taken else "",
        "found": f"{statistics.fmean(met):.1f}" if met else "",
        "random, as many trees": would_find(1),
        "in the time": would_find(taken / least_time) if taken and least_time else "",
        "operators": would_find(2 * len(OPERATORS) if arm in ARMS else 1),
    }
pd.DataFrame(rows).T

# %% [markdown]
# ## How near they come
#
# Targets that are not in the grammar have a tree that is nearest. The least error that a start saw, over that of this
# tree, as a ratio to STE's:


# %%
def ratio_of(arm: str, against: str, fresh: bool = True, **other):
    """The ratio of two arms in error, None where it was not run."""
    lengths_of = [other if name in ARMS else {} for name in (arm, against)]
    return shown.pair("regret", *(fields_of(name, **at) for name, at in zip((arm, against), lengths_of)), fresh)


panels = {
    f"|z| = {name} at the start": [
        (arm, pair, drawn[arm]) for arm in EVERY if arm != "STE" and (pair := ratio_of(arm, "STE", **at))
    ]
    for name, at in LENGTHS.items()
}
page.show("fig-errors", drawings.ratios(panels, "Error, a ratio to STE", "error, arm / STE"))

# %% [markdown]
# ```{glue:figure} fig-errors
# :name: fig-symbols-errors
#
# To targets outside the grammar Gumbel comes nearer than STE, from every length of the start. Error relative to STE,
# seeds 100 to 109, on a logarithmic axis: each point a pair of runs with the same seed, the diamond their geometric
# mean, the bar its 95 % interval. Left of 1 the arm is better. Blind arms start at the length 1 in all panels.
# ```
#
# ## What the searches do
#
# Means over seeds 100 to 109 from each length of z: *found*, in per cent; the error over the least; the share of the
# trees looked at that are different ones; |z| of inner nodes at the end:

# %%
METRICS = {"found": "found, %", "regret": "error / least", "different": "different trees", "z": "|z|"}


def level(metric: str, arm: str, fresh: bool = True, **other) -> str:
    """The mean of a metric of an arm, as text; empty where it was not run."""
    value = shown.mean(metric, fields_of(arm, **other), fresh)
    return "" if value is None else f"{value:.3g}"


pd.DataFrame(
    {
        (f"|z| = {name}", title): {arm: level(metric, arm, **(at if arm in ARMS else {})) for arm in EVERY}
        for name, at in LENGTHS.items()
        for metric, title in METRICS.items()
    }
)

# %% [markdown]
# ## What was varied
#
# *Found* in per cent, and the error over the least, means over seeds 0 to 2; the last row is each arm at the best of
# its five rates:

# %%
VARIED = (
    {"as above": {}}
    | {f"rate {name}": fields for name, fields in RATES.items()}
    | {f"noise {name}": fields for name, fields in (NOISES | WIDTHS).items()}
    | {"unequal axes": UNEQUAL["unequal"]}
    | {f"commitment {name}": fields for name, fields in GAMMAS.items()}
    | {f"without Adam, rate {name}": fields for name, fields in SGD.items()}
)
varied = {
    (title, arm): {row: level(metric, arm, False, **fields) for row, fields in VARIED.items()}
    for metric, title in list(METRICS.items())[:2]
    for arm in ARMS
}
for (title, _), column in varied.items():
    rated = [column[row] for row in column if (row == "as above" or row.startswith("rate")) and column[row]]
    best = max if title == METRICS["found"] else min
    column["best rate"] = best(rated, key=float) if rated else ""
pd.DataFrame(varied)

# %% [markdown]
# ## What became of the hypotheses


# %%
def became(parts: dict) -> tuple[str, str]:
    """What was measured, and the outcome, of (a comparison, the rule that it is held to) by name."""
    judged = [None if pair is None else (pair, rule) for pair, rule in parts.values()]
    return listed({name: pair for name, (pair, _) in parts.items()}), outcome(judged, lambda part: part[1](part[0]))


def ranks(arm: str) -> float | None:
    """The rank correlation of what an arm found with the count of trees, over the targets of the grammar."""
    if len(inside) < 3 or not chosen(arm):
        return None
    shares = [statistics.fmean(of_target(name, arm, "found")) for name in inside]
    if len(set(shares)) == 1:
        return 0.0  # all alike: no order
    return spearmanr(shares, [truths[name].trees for name in inside]).statistic


def correlations(values: dict[str, float | None]) -> tuple[str, str]:
    """Rank correlations by name, and whether they are above 0.5."""
    if None in values.values():
        return "", outcome([])
    return "; ".join(f"{name} {value:.2f}" for name, value in values.items()), outcome(v > 0.5 for v in values.values())


def contains(value: float):
    """Whether an interval contains a number."""
    return lambda pair: pair.low <= value <= pair.high


ends = {name: by_seed("z", name) for name in ("STE", "rotation")}
looks = {name: by_seed("different", name) for name in ("STE", "rotation")}
exact = 100 * statistics.fmean(truths[name].chance(steps) for name in inside) if inside else 0.0
drawn_found = by_seed("found", "random")
longer = shown.pair("z", fields_of("STE"), fields_of("rotation"), True)
page.hypotheses(
    {
        "1 STE finds less than chance": became({"STE − random": (primary["STE − random"], below(0))}),
        "2 climbing is better": became({"STE − climb": (primary["STE − climb"], below(0))}),
        "3 the rotation finds more from ¼ and 1": became(
            {name: (primary[f"rotation − STE, |z| = {name}"], above(0)) for name in ("¼", "1")}
        ),
        "3 and not from 4": became({"4": (primary["rotation − STE, |z| = 4"], near(1))}),
        "4 Gumbel finds more": became({"Gumbel − STE": (primary["Gumbel − STE"], above(0))}),
        "5 it is the turn": became(
            {"R − rotation": (apart("R", "rotation"), near(1)), "r I − STE": (apart("r I", "STE"), near(1))}
        ),
        "6 STE runs out": became({"|z|, STE / rotation": (longer, above(1.5))}),
        "6 and looks at fewer trees": became(
            {"different, STE − rotation": (difference(looks["STE"], looks["rotation"]), below(0))}
        ),
        "7 what is often there is often found": correlations({name: ranks(name) for name in ("STE", "rotation")}),
        "8 errors say the same": became(
            {f"{arm} / STE": (ratio_of(arm, "STE"), below(1)) for arm in ("rotation", "climb")}
        ),
        "8 random is as counted": became(
            {
                f"random, exactly {exact:.2f}": (
                    difference(drawn_found, dict.fromkeys(drawn_found, 0.0)),
                    contains(exact),
                )
            }
        ),
        "9 commitment keeps STE looking": became(
            {"with − without": (difference(*(by_seed("found", "STE", False, gamma=g) for g in (1.0, 0.0))), above(0))}
        ),
        "10 more noise finds more": became(
            {"0.3 − 0.1": (difference(*(by_seed("found", "STE", False, noise=s) for s in (0.3, 0.1))), above(0))}
        ),
        "11 unequal axes favour the rotation": became(
            {"rotation / STE": (ratio_of("rotation", "STE", False, lengths="unequal"), below(1))}
        ),
    }
)

# %% [markdown]
# *Random* found a little more than its exact chance on these ten seeds. Its draws are not to blame: symbols are drawn
# alike often. Of 24,000 trees by the same code, p-values of a chi-square test:

# %%
many = symbols.Random(Case(estimator="random", starts=2000)).propose()
counts = {kind: torch.bincount(one.flatten()).numpy() for kind, one in zip(("operators", "inputs"), many)}
p_values = {kind: chisquare(count).pvalue for kind, count in counts.items()}
assert len(many[0].flatten(0, 1)) == 24_000 and min(p_values.values()) > 0.05
pd.Series(p_values).round(2)

# %% tags=["hide-input"]
for arm in ("STE", "rotation", "random", "climb"):
    page.say(f"found-{arm}", statistics.fmean(by_seed("found", arm).values() or [math.nan]))


@page.holds
def what_a_slope_finds():
    yield "A slope finds no more than chance.", primary["STE − random"].low < 0, apart("rotation", "random").low < 0
    yield (
        "Nor do STE and the rotation differ.",
        *(contains(0)(primary[f"rotation − STE, |z| = {at}"]) for at in LENGTHS),
    )
    yield "Changing one symbol at a time finds more.", below(0)(primary["STE − climb"])
    yield "Than the rotation, too.", below(0)(apart("rotation", "climb"))
    nearer = [ratio_of("Gumbel", "STE", **at) for at in LENGTHS.values()]
    yield "To targets outside the grammar Gumbel comes nearer than STE, from every length.", *map(below(1), nearer)


# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost`
#
# The grammar is small on purpose: with all trees known, luck can be told from search. In a grammar of thirty nodes
# random search finds nothing, and what was measured here need not carry over. Trees have one shape and no constants,
# and a target with noise was not run. Points z are parameters of their own; a network that writes formulas for many
# targets {cite}`petersen2021deep` was not run, nor was an estimator from values alone, which chapter 34 has. Genetic
# programming, with crossover and a population, is more than *climb*.
#
# **On one GPU** the same system takes other fields of its case: `Case(depth=5, starts=4096, steps=10000)`, judged by
# *found* alone, since trees of depth 5 are too many to count this way. Searches as small as those here would not fill
# it, so this page has no parameter `device`. The larger case needs one first, and has not been run.
