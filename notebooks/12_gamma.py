# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (gamma)=
# # Retuning the commitment weight
#
# ```{admonition} In short
# :class: tip
# A commitment weight of its own for each narrows the rotation's lead from short codes and turns no sign. Neither does a
# learning rate of its own. From k-means codes the two want opposite weights, STE a large one and the rotation a small
# one.
# ```
#
# ```{glue:figure} fig-confirm
# :name: fig-gamma-confirm
#
# With a $\gamma$ of its own for each, the rotation still leads from uniform codes and STE from k-means codes, on fresh
# seeds too. Ratio of test MSE on the seeds that chose $\gamma$, and on the fresh ones; left of 1 the rotation is
# better.
# ```
#
# The article asks whether the rotation only needs another $\gamma$ {cite}`su2024rotation`. The rotation multiplies the
# reconstruction gradient by $r$, so it changes the balance between reconstruction and commitment. A comparison at one
# $\gamma$, one learning rate and one optimiser may compare tuning, not estimators.

# %% tags=["parameters"]
from typing import Optional

profile: str = "standard"  # smoke: tests a part, in seconds; standard: the committed records; full: a GPU
steps: Optional[int] = None  # of each run; None: as the profile says
seeds: Optional[int] = None  # 0, 1, ...; None: as the profile says
gammas: Optional[list[float]] = None  # 3 to 16 commitment weights; with a list no other sweep runs; None: the chapter's
rates: Optional[list[float]] = None  # 3 to 16 learning rates; with both lists both sweeps run; None: the chapter's
data: str = ""  # an image set, or one of your own, such as imagefolder:PATH@64; empty: as the profile says
engine: str = ""  # trains missing runs: serial, processes:2, ray:0.25; empty: serial, but none of the chapter's plan
device: str = "cpu"
cap: Optional[float] = None  # core-hours that missing runs may take; None: the chapter's own
records: str = ""  # folder of runs; empty: the committed ones, and new ones go to data/records/12_gamma

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("12_gamma", globals())

# %% tags=["hide-input"]
import math

import pandas as pd
import torch

from book.chapters import drawings, tables
from book.chapters.hypotheses import higher, judge, lower, nearer, outcome, within
from book.chapters.settings import SWEEPS, at_own, choice, sweep, whole
from rotvq.analysis.stats import ratio
from rotvq.analysis.study import Study
from rotvq.analysis.wording import includes_one, ratio_text, ratio_with_n, separated
from rotvq.runs.grids import CONFIRM, FEW, MAIN, PAIR, Block, vary
from rotvq.training.config import Config
from rotvq.training.images import load
from rotvq.training.train import build_model

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** Network, data, batches and metrics are those of {doc}`10_ste_vs_rotation`: Fashion-MNIST, 512
# codes of dimension 32, $\beta = 1$, $\gamma = 0.25$, Adam at $10^{-3}$, batches of 32, 2,000 steps. One seed gives
# every arm the same weights and batches. The primary metric is test MSE at the last stop, as a ratio.
#
# **Arms.** {STE, rotation} from uniform and from k-means, seeds 0 to 2, with $\gamma$ in {0.01, 0.05, 0.25, 1, 5};
# with the learning rate in {0.0001, 0.0003, 0.001, 0.003, 0.01}; and with plain SGD at rates 0.1, 0.3 and 1.
#
# **Choice.** Each arm takes the value with the lowest mean *validation* MSE over the seeds; what is reported is test
# MSE.
#
# **Primary comparisons**, rotation / STE, four: each at its own $\gamma$ from uniform; from k-means; each at its own
# learning rate from uniform; from k-means. With three seeds they are intervals without a verdict.
#
# **Hypotheses**, written before the records:
#
# 1. *The best $\gamma$ moves with $r$.* From uniform codes ($r \ll 1$) STE wants a larger $\gamma$ than the rotation;
#    from k-means codes the rotation wants at least as large a $\gamma$ as STE.
# 2. *Retuning narrows the gap and does not close it.* From uniform the ratio at each arm's own $\gamma$ is nearer to 1
#    than at 0.25, and still below 1.
# 3. *Shorter latents at every $\gamma$.* The rotation ends with smaller $E|z|^2$ than STE for every $\gamma$ and both
#    starts; without weight decay the solvable model of {doc}`06_collapse` has no threshold in $\gamma$.
# 4. *The sign does not hang on the learning rate.* At 0.0003, 0.001 and 0.003 the ratio is below 1 from uniform and
#    above 1 from k-means.
# 5. *SGD.* Adam divides by the size of a gradient, SGD does not. From uniform the rotation gains less under SGD, at
#    each arm's best rate of the three, than under Adam.

# %% [markdown]
# **Added when the sweep of $\gamma$ had been seen.** STE chose 5 from both starts and the rotation 0.01 from k-means
# codes: ends of the sweep. So 0.002, 25 and 125 are added for both arms, on the same seeds. The sweep of the rate gets
# seeds 3 and 4. **Confirmation**, fixed before its runs: each arm at the $\gamma$ that validation chooses on seeds 0
# to 2 from all eight values, on seeds 100 to 109. Two primary comparisons, rotation / STE, Holm over them: from
# uniform, expected below 1; from k-means, expected above 1.

# %%
LISTS = {"γ": gammas, "rate": rates, "SGD rate": None}
run = [name for name, own in LISTS.items() if own] or list(LISTS)  # with a list of yours, nothing else
tenth = Block(PAIR, MAIN, FEW if gammas or rates else CONFIRM)  # of chapter 10, at γ = 0.25; its confirmation
if gammas or rates:
    left_out = (block for name, block in {"γ": "gamma", "rate": "rate", "SGD rate": "sgd"}.items() if name not in run)
    page.drop("wider", "confirm uniform", "confirm k-means", *left_out)
if gammas:
    page.change("gamma", arms=vary(PAIR, "{}, γ = {:g}", gamma=sorted(gammas)))
if rates:
    page.change("rate", arms=vary(PAIR, "{}, rate {:g}", lr=sorted(rates)))
runs = page.load(also=[tenth])
VALUES = {name: sorted(own or SWEEPS[name][1]) for name, own in LISTS.items()}
COMMON = {"γ": "γ = 0.25", "rate": "rate = 0.001"}  # the values of chapter 10
sweeps = {(name, start): sweep(page, name, start, VALUES[name], run=name in run) for name in SWEEPS for start in MAIN}
pd.concat({place: tables.plan(study).loc["cell"] for place, study in sweeps.items()})

# %% [markdown]
# Each row is two runs a seed, one of STE and one of the rotation. This page shows {glue:text}`coverage`. The runs at
# $\gamma = 0.25$ and at rate 0.001 are those of {doc}`10_ste_vs_rotation`, on the seeds of the sweep; those of its
# confirmation are read too.
#
# (unit-of-gamma)=
# ## The unit of the commitment weight
#
# The networks of these chapters see standardised pixels, with mean 0 and variance 1 over the training images. Both
# losses are means over elements: over pixels, and over the numbers of the latents. $\gamma$ weighs the second against
# the first, and so does $\beta$. Counted otherwise, the same training has another number. On Fashion-MNIST, whose
# pixels have the standard deviation {glue:text}`pixel-std:.2f` on $[0, 1]$, $0.25$ is:

# %% tags=["hide-input"]
common_gamma = Config().gamma
images, model = load("fashion-mnist"), build_model(Config(), channels=1)
x = images.normalise(images.train[:4])
with torch.no_grad():
    z = model.encode(x)
    decoded = model.decode(z)
(std,), pixels, numbers = images.std, x[0].numel(), z[0].numel()
standardised = (decoded - x).square().mean()
plain = (images.denormalise(decoded) - images.denormalise(x)).square().mean()
assert math.isclose(plain, std**2 * standardised, rel_tol=1e-4)  # so the whole loss is multiplied by that
UNITS = {
    "as here: standardised pixels, means over elements": 1.0,
    "pixels in [0, 1], means over elements": std**2,
    "standardised pixels; the commitment summed over the numbers of a latent": 1 / Config().dim,
    "standardised pixels; both losses summed over an image": pixels / numbers,
}
page.say("", {"pixel-std": std, "gamma-plain": common_gamma / std**2, "gamma-there": common_gamma * std**2})
pd.DataFrame(
    {
        "γ = 0.25 of this book is there": {unit: f"{common_gamma * times:.2g}" for unit, times in UNITS.items()},
        "γ = 0.25 there is here": {unit: f"{common_gamma / times:.2g}" for unit, times in UNITS.items()},
    }
)

# %% [markdown]
# So the same $0.25$ on pixels in $[0, 1]$ is another setting, {glue:text}`gamma-plain:.1f` here.
# {numref}`fig-gamma-sweep` has both axes.
#
# ## Each arm at its own value
#
# Test MSE, rotation / STE, on the seeds that explore: at the common value of {doc}`10_ste_vs_rotation`, and with each
# arm at its own value, chosen on the 5,000 validation images.

# %%
taken = {place: choice(study, "validation_mse") for place, study in sweeps.items()}
own = {place: at_own(study, "validation_mse") for place, study in sweeps.items()}

# %% tags=["hide-input"]
common = {
    (name, start): study.pair("rotation", COMMON[name], against="STE") if name in COMMON else None
    for (name, start), study in sweeps.items()
}
rows, ends = {}, {}
for place, study in sweeps.items():
    best, run = taken[place], whole(study)
    rows[place] = {"at the common value": ratio_with_n(common[place])}
    if own[place]:
        ends[place] = [arm for arm in PAIR if best[arm] in (run[0], run[-1])]
        rows[place] |= {
            "each at its own": ratio_with_n(own[place]),
            **{f"{arm}: value, test MSE": f"{best[arm]}: {study.mean(arm, best[arm], 'test_mse'):.5f}" for arm in PAIR},
            "at an end": " and ".join(ends[place]) or "neither",
        }
    rows[place]["values run"] = f"{len(run)} of {len(study.cells)}" + ": no choice" * (not own[place])
said = [f"{name}, {start}: {' and '.join(found)}" for (name, start), found in ends.items() if found]
page.say("ends", "; ".join(said) or "nowhere")
pd.DataFrame.from_dict(rows, "index").fillna("")

# %% [markdown]
# Where a value lies at an end of its sweep, the best one may lie outside, and that arm is not fully tuned. That is so
# here: {glue:text}`ends`. The sweep of $\gamma$ was widened when it had been seen, once: the five planned values ended
# at 0.01 and 5. Among all eight the rotation from k-means codes again takes the least.
#
# ## The confirmation
#
# Each arm at the $\gamma$ of the table above, on fresh seeds: the two primary comparisons, rotation / STE, with Holm's
# correction over both. In short: {glue:text}`verdicts`.

# %%
expected = {("rotation", "uniform 1/K"): "lower", ("rotation", "k-means"): "higher"}
chosen_blocks = [
    Block({arm: PAIR[arm] | sweeps["γ", start].cells[cell] for arm, cell in taken["γ", start].items()}, {start: {}})
    for start in MAIN
    if taken["γ", start]
]
final = page.study(*(chosen_blocks or [tenth]))
verdicts = tables.verdicts(final, expected, against="STE")
verdicts

# %% tags=["hide-input"]
confirmed = {start: final.pair("rotation", start, against="STE", fresh=True) for start in MAIN}
before = {start: page.study(tenth).pair("rotation", start, against="STE", fresh=True) for start in MAIN}
best_of_each = final.pair("rotation", "uniform 1/K", against=("STE", "k-means"), fresh=True)
page.say("verdicts", "; ".join(f"{start}: {word}" for (_, start), word in zip(expected, verdicts.verdict)))
page.say("best-of-each", ratio_text(best_of_each) or "not run")
page.show("fig-confirm", drawings.dots(final, against="STE"))
pd.DataFrame(
    {
        f"rotation / STE, from {start}": {
            "γ = 0.25 for both": ratio_text(before[start]),
            "each at its own γ": ratio_text(confirmed[start]),
        }
        for start in MAIN
    }
)

# %% [markdown]
# {numref}`fig-gamma-confirm`, at the top of this page, has every pair of runs.
#
# **Both came out as expected.** From uniform codes retuning narrows the gap and does not close it. From k-means codes
# the sign stays, as far down as $\gamma$ was tried for the rotation. The table compares on the same fresh seeds.
#
# **Across the starts the two are close.** No plan names this comparison. On validation images the rotation does better
# from uniform codes, STE from k-means codes. Each from there, at its own $\gamma$ and on the fresh seeds, the rotation
# has {glue:text}`best-of-each` times the error of STE.


# %% tags=["hide-input"]
@page.holds
def the_confirmation():
    planned = {key: {config.seed for config in found} for key, found in final.planned.items()}
    whole = len(planned) == 4 and all(found.issuperset(CONFIRM) for found in planned.values())
    yield "The confirmation is at the γ that is chosen here.", whole
    values = [taken["γ", start][arm] for start in MAIN for arm in PAIR]
    yield "The γ chosen are 5 and 0.05, 5 and 0.002.", values == ["γ = 5", "γ = 0.05", "γ = 5", "γ = 0.002"]
    yield "Both came out as expected.", verdicts.verdict.tolist() == ["as expected"] * 2
    narrows = nearer((confirmed["uniform 1/K"], before["uniform 1/K"]))
    yield "From uniform codes retuning narrows the gap and does not close it.", narrows
    yield "From k-means codes the sign stays.", higher(before["k-means"]) and higher(confirmed["k-means"])
    close = within(0.1)(best_of_each) and includes_one(best_of_each)
    yield "Across the starts the two are close.", close
    suits = {arm: start for arm, (_, start) in final.best("validation_mse").items()}
    better = suits == {"STE": "k-means", "rotation": "uniform 1/K"}
    yield "The rotation does better from uniform, STE from k-means.", better


# %% [markdown]
# ## The commitment weight
#
# The ratio of test MSE, rotation / STE, at the same $\gamma$, on the seeds that explore:


# %%
def at_equal(name: str, metric: str = "test_mse") -> dict:
    """The ratio at the last stop, by start and value."""
    return {
        (start, x): sweeps[name, start].pair("rotation", f"{name} = {x:g}", metric, against="STE")
        for start in MAIN
        for x in VALUES[name]
    }


def listed(found: dict) -> pd.DataFrame:
    """The same as a table, a row a value."""
    columns = {f"from {start}": {} for start, _ in found}
    for (start, x), pair in found.items():
        columns[f"from {start}"][f"{x:g}"] = ratio_text(pair)
    return pd.DataFrame(columns)


by_gamma = at_equal("γ")
listed(by_gamma)

# %% tags=["hide-input"]
by_start, chosen = (
    {name: {start: found[name, start] for start in MAIN} for name in SWEEPS} for found in (sweeps, taken)
)
on_plain = ("γ on pixels in [0, 1]", std**2)
page.show("fig-gamma", drawings.sweep(by_start["γ"], "γ on standardised pixels", chosen["γ"], also=on_plain))
page.show("fig-gamma-stops", drawings.effect_map(by_start["γ"], against="STE", rows="cell", columns="step"))
flat = [sweeps["γ", "uniform 1/K"].mean("rotation", f"γ = {x:g}", "test_mse") for x in (0.01, 0.05, 0.25, 1.0, 5.0)]
page.say("flat", max(flat) / min(flat))

# %% [markdown]
# ```{glue:figure} fig-gamma
# :name: fig-gamma-sweep
#
# From k-means codes STE is best at a large $\gamma$ and the rotation at the smallest. Test MSE over the whole sweep, on
# the seeds that explore; lower is better. Thin lines are seeds, thick ones their means; a ring marks the value that
# validation chose. The axis on top has the same $\gamma$ for losses on pixels in $[0, 1]$.
# ```
#
# ```{glue:figure} fig-gamma-stops
# :name: fig-gamma-stops
#
# From uniform codes the rotation leads at every $\gamma$, from k-means codes at small ones alone. Ratio of test MSE,
# rotation / STE, at the same $\gamma$, as training goes on; below 1, in blue, the rotation is better. In brackets where
# the interval contains 1.
# ```
#
# **At the same $\gamma$ the sign hangs on the start, and from k-means codes on $\gamma$.** From uniform codes the
# rotation has the lower error at every $\gamma$. From k-means codes it has the lower error at 0.002, 0.01 and 0.05, and
# the higher from 0.25 on. So from k-means codes one $\gamma$ for both decides who wins. This was not predicted.
#
# **From k-means codes the two want opposite things.** STE is best at 5 from both starts, and worse on either side. From
# k-means codes the rotation is best at the least $\gamma$, worst near 1 and 5, and better again at 25. From uniform
# codes it hardly moves: no two of its means from 0.01 to 5 differ by more than a factor of {glue:text}`flat:.2f`.
#
# What else differs at the same $\gamma$, rotation / STE at the last stop:

# %% tags=["hide-input"]
inside = ["test_z_squared", "test_quantisation_error", "test_relative_error", "test_perplexity"]
pd.concat({start: tables.ratios(sweeps["γ", start], inside, against="STE") for start in MAIN})


# %% tags=["hide-input"]
@page.holds
def the_commitment_weight():
    values = SWEEPS["γ"][1]
    yield "From uniform codes the rotation is lower at every γ.", all(lower(by_gamma["uniform 1/K", x]) for x in values)
    won, lost = ([x for x in values if holds(by_gamma["k-means", x])] for holds in (lower, higher))
    yield "From k-means codes it is lower at 0.002, 0.01 and 0.05, and higher from 0.25 on.", won + lost == list(values)
    yield "One γ for both decides who wins.", len(won) == 3
    course = {
        (arm, start): [sweeps["γ", start].mean(arm, f"γ = {x:g}", "test_mse") for x in values]
        for arm in PAIR
        for start in MAIN
    }
    for start in MAIN:
        down, up = course["STE", start][:6], course["STE", start][5:]
        best = down == sorted(down, reverse=True) and up == sorted(up)
        yield f"From {start} STE is best at 5, and worse on either side.", best
    bent = course["rotation", "k-means"]
    worst = sorted(bent)[-2:] == sorted(bent[4:6])
    yield "From k-means codes the rotation is best at the least γ, worst near 1 and 5.", bent[0] == min(bent) and worst
    yield "It is better again at 25.", bent[6] < min(bent[4:6])
    retuned = sweeps["γ", "k-means"].pair("rotation", "γ = 0.01", against=("rotation", "γ = 0.25"))
    yield "From k-means codes the rotation gains at 0.01 (chapter 14 refers to it).", lower(retuned)
    lengths = at_equal("γ", "test_z_squared").values()
    yield "The rotation ends with shorter latents at every γ.", *map(lower, lengths)


# %% [markdown]
# ## The learning rate
#
# Adam's rate at $\gamma = 0.25$, seeds 0 to 4. From uniform codes this page shows {glue:text}`ran-rate-uniform-1-k`,
# from k-means codes {glue:text}`ran-rate-k-means`. The ratio of test MSE, rotation / STE, at the same rate:

# %%
by_rate = at_equal("rate")
listed(by_rate)

# %% tags=["hide-input"]
rated = Block(
    PAIR,
    {f"{start}, {cell}": fields for start in MAIN for cell, fields in sweeps["rate", start].cells.items()},
)
across = Study(sweeps["rate", "uniform 1/K"].runs, rated)
suited = {arm: cell for arm, (_, cell) in across.best("validation_mse").items()}
fastest = across.pair("rotation", suited.get("rotation", ""), against=("STE", suited.get("STE", "")))
page.say("fastest", ratio_text(fastest) or "not run")
page.say("ran", {place: study.coverage for place, study in sweeps.items()})
page.show("fig-rate", drawings.sweep(by_start["rate"], "rate", chosen["rate"]))
page.show("fig-rate-stops", drawings.effect_map(by_start["rate"], against="STE", rows="cell", columns="step"))
page.show("fig-sgd", drawings.sweep(by_start["SGD rate"], "SGD rate", chosen["SGD rate"]))

# %% [markdown]
# ```{glue:figure} fig-rate
# :name: fig-rate-sweep
#
# From uniform codes the rotation has the lower error at all but the largest rate, from k-means codes it never wins.
# Test MSE by the learning rate of Adam, at $\gamma = 0.25$; lower is better.
# ```
#
# ```{glue:figure} fig-rate-stops
# :name: fig-rate-stops
#
# At the largest rate the lead from uniform codes is no longer separated. Ratio of test MSE, rotation / STE, at the same
# rate, as training goes on; below 1, in blue, the rotation is better.
# ```
#
# **From uniform codes the sign holds over a factor of thirty.** The rotation has the lower test MSE from 0.0001 to
# 0.003. At 0.01 the interval contains 1.
#
# **From k-means codes the rotation never wins.** It has the higher test MSE at 0.001 and 0.01. At 0.0001, 0.0003 and
# 0.003 the interval contains 1. The mean ratio is below 1 at the two least rates and rises from the second on.
#
# **Each at its own.** From both starts STE takes 0.01, the largest rate that was run, and so does the rotation from
# k-means codes; from uniform codes the rotation takes 0.003. The signs stay, but most of the rotation's lead from
# uniform codes goes. STE still improves at the end of the sweep. Whether any of the lead is left at its best rate, this
# page does not show. What is left here is not confirmed on fresh seeds.
#
# **Across the starts** the best is again the rotation from uniform codes and STE from k-means codes. At these rates
# rotation / STE is {glue:text}`fastest`, so STE has the lower mean and the two are not separated.
#
# In 2,000 steps a larger rate is also a longer way, and nothing here separates the two.


# %% tags=["hide-input"]
@page.holds
def the_learning_rate():
    values = SWEEPS["rate"][1]
    uniform, fitted = ([by_rate[start, x] for x in values] for start in MAIN)
    yield "From uniform the rotation is lower up to 0.003.", all(map(lower, uniform[:4]))
    yield "At 0.01 the interval contains 1.", includes_one(uniform[4])
    said = [separated(pair) for pair in fitted]
    words = [*["not separated"] * 2, "higher", "not separated", "higher"]
    yield "From k-means it is higher at 0.001 and 0.01, and else the interval contains 1: it never wins.", said == words
    rising = [pair.mean for pair in fitted]
    yield "The mean ratio rises from the second rate on.", rising[1:] == sorted(rising[1:])
    yield "It is below 1 at the two least rates.", max(rising[:2]) < 1 < rising[2]
    takes = {"STE": "rate = 0.01", "rotation": "rate = 0.003"}, {"STE": "rate = 0.01", "rotation": "rate = 0.01"}
    yield "STE takes 0.01, the rotation 0.003 and 0.01.", tuple(taken["rate", start] for start in MAIN) == takes
    mine, theirs = own["rate", "uniform 1/K"], common["rate", "uniform 1/K"]
    yield "Each at its own rate, the sign stays.", lower(mine) and higher(own["rate", "k-means"])
    yield "Most of the lead from uniform codes goes.", math.log(mine.mean) > 0.5 * math.log(theirs.mean)
    last = [sweeps["rate", start].pair("STE", "rate = 0.01", against=("STE", "rate = 0.003")) for start in MAIN]
    yield "STE still improves at the end of the sweep.", all(map(lower, last))
    best = {"STE": "k-means, rate = 0.01", "rotation": "uniform 1/K, rate = 0.003"}
    yield "Across the starts the best is the rotation from uniform codes and STE from k-means codes.", suited == best
    yield "There STE has the lower mean, and they are not separated.", includes_one(fastest) and fastest.mean > 1


# %% [markdown]
# ## Without Adam
#
# Plain SGD, no momentum, moves encoder, decoder and codes at one rate. This page shows
# {glue:text}`ran-sgd-rate-uniform-1-k` from uniform codes and {glue:text}`ran-sgd-rate-k-means` from k-means codes.
#
# ```{glue:figure} fig-sgd
# :name: fig-sgd-sweep
#
# Under SGD, each at its own rate, the two are not separated. Test MSE by the learning rate of SGD, at $\gamma = 0.25$;
# lower is better.
# ```
#
# Each at its own rate, the two are not separated from either start. STE takes the least of the three rates from both
# starts, the rotation from k-means codes, so most of these choices lie at an end. At rate 1 the means are the highest,
# and one run of the rotation diverged. Every mean is more than twice the best of the same arm under Adam, so these runs
# have not got far in 2,000 steps.


# %% tags=["hide-input"]
@page.holds
def without_adam():
    yield (
        "Each at its own rate, the two are not separated.",
        all(includes_one(own["SGD rate", start]) for start in MAIN),
    )
    took = [taken["SGD rate", start][arm] for start in MAIN for arm in PAIR]
    least = [f"SGD rate = {x}" for x in ("0.1", "0.3", "0.1", "0.1")]
    yield "STE takes the least rate from both starts, the rotation from k-means codes.", took == least
    runs_at = {
        (arm, start, x): sweeps["SGD rate", start].values(arm, f"SGD rate = {x:g}", "test_mse")
        for arm in PAIR
        for start in MAIN
        for x in SWEEPS["SGD rate"][1]
    }
    lost = [(arm, x) for (arm, _, x), found in runs_at.items() for mse in found if math.isnan(mse)]
    yield "One run of the rotation diverged, at rate 1.", lost == [("rotation", 1.0)]
    for start in MAIN:
        means = {(arm, x): mse.mean() for (arm, where, x), mse in runs_at.items() if where == start}
        fast = [mean for (_, x), mean in means.items() if x == 1]
        yield f"From {start} the means at rate 1 are the highest.", sorted(means.values())[-2:] == sorted(fast)
        adam = {arm: sweeps["rate", start].mean(arm, taken["rate", start][arm], "test_mse") for arm in PAIR}
        slow = all(mean > 2 * adam[arm] for (arm, _), mean in means.items())
        yield f"From {start} every mean is more than twice the best of the same arm under Adam.", slow


# %% [markdown]
# ## Inside, at each arm's own $\gamma$


# %%
def inside(start: str) -> Study:
    """Each arm at the common γ and at its own."""
    study, best = sweeps["γ", start], taken["γ", start]
    values = {
        (arm, cell): study.cells[cell]
        for arm in best
        for cell in dict.fromkeys((COMMON["γ"], best[arm]))
        if cell in study.cells
    }
    both = Block({f"{arm}, {cell}": PAIR[arm] | fields for (arm, cell), fields in values.items()}, {start: {}})
    return Study(study.runs, both) if best else study


page.say("fig-inside", {start: drawings.curves(inside(start), ["r", "z_norm", "perplexity"]) for start in MAIN})

# %% [markdown]
# ```{glue:figure} fig-inside-uniform-1-k
# :name: fig-gamma-inside-uniform
#
# The rotation has the shorter latents at either $\gamma$: from uniform codes, at $\gamma = 0.25$ and at the $\gamma$
# that each arm takes.
# ```
#
# ```{glue:figure} fig-inside-k-means
# :name: fig-gamma-inside-k-means
#
# The rotation has the shorter latents from k-means codes, too: at $\gamma = 0.25$ and at the $\gamma$ that each arm
# takes.
# ```
#
# At every $\gamma$ and both starts the rotation ends with shorter latents. Whether that is why the two want opposite
# things is not tested here: length and error move together, and no arm separates them.
#
# ## The hypotheses
#
# Each is judged by its intervals: *wrong* needs an interval on the other side, and where an interval leaves it open a
# hypothesis is *not settled*. The choices of hypothesis 1 are means over three seeds and have no interval. All are
# judged on the seeds that explore, but for one row that says so.


# %% tags=["hide-input"]
def nearer_to_one(one, other) -> tuple[str | None, str]:
    both = one and other and (one, other)
    return both and f"{one.mean:.2f} against {other.mean:.2f}", outcome([both], nearer)


def counted(pairs: dict, rule) -> tuple[str, str]:
    """'8 of 10 lower', and the outcome."""
    words = [separated(pair) for pair in pairs.values() if pair]
    said = ", ".join(f"{words.count(word)} {word}" for word in ("lower", "higher", "not separated") if word in words)
    return said, outcome(pairs.values(), rule)


def takes(start: str, holds) -> tuple[str | None, str]:
    """The γ of STE and of the rotation, and whether they stand to one another as expected."""
    if not own["γ", start]:
        return None, "not run"
    both = [sweeps["γ", start].cells[taken["γ", start][arm]]["gamma"] for arm in PAIR]
    return "{:g}, {:g}".format(*both), outcome([holds(*both)])


def by_seed(name: str) -> pd.Series:
    """rotation / STE from uniform codes, each at its own value, by seed."""
    best = taken[name, uniform]
    rotation, ste = (sweeps[name, uniform].values(arm, best.get(arm, ""), "test_mse") for arm in ("rotation", "STE"))
    return rotation / ste


uniform, fitted = MAIN
middle = {start: {x: by_rate.get((start, x)) for x in (3e-4, 1e-3, 3e-3)} for start in MAIN}
optimisers = pd.concat({name: by_seed(name) for name in ("SGD rate", "rate")}, axis=1, join="inner").dropna()
gain = ratio(*(optimisers[column].tolist() for column in optimisers)) if len(optimisers) else None
said, word = judge(gain, higher)
page.hypotheses(
    {
        "1. uniform: STE takes a larger γ": takes(uniform, lambda ste, rotation: ste > rotation),
        "1. k-means: the rotation takes at least as large a γ": takes(fitted, lambda ste, rotation: rotation >= ste),
        "2. uniform: nearer to 1 at each arm's own γ": nearer_to_one(own["γ", uniform], common["γ", uniform]),
        "2. the same on the fresh seeds": nearer_to_one(confirmed[uniform], before[uniform]),
        "2. uniform: still below 1": judge(own["γ", uniform], lower),
        "3. smaller E|z|², all γ and starts": counted(at_equal("γ", "test_z_squared"), lower),
        "4. uniform: below 1 at three rates": counted(middle[uniform], lower),
        "4. k-means: above 1 at three rates": counted(middle[fitted], higher),
        "5. uniform: gains less under SGD": (said and f"SGD / Adam: {said}", word),
    }
)

# %% [markdown]
# A sceptic would say: few seeds, short runs, and choices at an end of what was run. An arm whose choice lies there may
# improve with the next value, so the ratios at each arm's own value, and their signs, are of this grid. What does not
# hang on a choice is the comparison at equal values.
#
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost` One small network, one data set, 2,000 steps; three seeds or five, but for the
# confirmation. $\gamma$ and the rate were varied one at a time: the best pair of both was not looked for, and neither
# was $\beta$. The sweeps choose and report on the same runs, on other images; the confirmation does not.
# {glue:text}`full`
