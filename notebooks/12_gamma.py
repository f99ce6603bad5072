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
# The article asks whether the rotation only needs another $\gamma$ {cite}`su2024rotation`. The rotation multiplies the
# reconstruction gradient by $r$, so it changes the balance between reconstruction and commitment. A comparison at one
# $\gamma$, one learning rate and one optimiser may compare tuning, not estimators.

# %% tags=["parameters"]
profile: str = "standard"  # smoke: 10 steps, in seconds; standard: the committed records; full: a GPU
steps: int | None = None  # of each run; None: as the profile says
seeds: int | None = None  # 0, 1, ...; None: as the profile says
engine: str = ""  # where missing runs are trained: serial, processes:2, ray:0.25; empty: serial, or not at all
device: str = "cpu"
records: str = ""  # folder of the run records; empty: the committed ones

# %% tags=["hide-input"]
from rotvq.page import parameters
from rotvq.runs.grids import PROFILES

parameters.check(globals(), profile=PROFILES, steps=(1, None), seeds=(2, None))

# %% tags=["hide-input"]
import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import NullLocator

from rotvq.analysis.stats import ratio
from rotvq.analysis.study import Runs, Study
from rotvq.analysis.wording import close, expects, nearer, outcome, ratio_with_n, separated, title
from rotvq.page import page, plots
from rotvq.page.figures import Figure, arms, glue, style
from rotvq.runs.grids import CONFIRM, MAIN, PAIR, Block

plt.rcParams.update(style())

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
tenth = Block(PAIR, MAIN, CONFIRM)  # chapter 10's confirmation, at γ = 0.25
runs = page.load_or_train(
    "12_gamma", profile, records=records, engine=engine, device=device, steps=steps, seeds=seeds, also=[tenth]
)
page.glue_cost(runs)
GRIDS = {  # what is varied: its field, the values, what is set beside it
    "γ": ("gamma", (0.002, 0.01, 0.05, 0.25, 1.0, 5.0, 25.0, 125.0), {}),
    "rate": ("lr", (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), {}),
    "SGD rate": ("lr", (0.1, 0.3, 1.0), {"optimizer": "sgd"}),
}
COMMON = {"γ": "γ = 0.25", "rate": "rate = 0.001"}  # the values of chapter 10


def explored(block: Block) -> Study:
    """A sweep, on the seeds at which the whole of it was planned."""
    planned = [{config.seed for config in found} for found in Study(runs, block).planned.values() if found]
    kept = [config for config in runs.planned if config.seed in set.intersection(*planned)]
    return Study(Runs(kept, runs.records, runs.published, runs.expand), block)


sweeps = {
    (name, start): explored(Block(PAIR, {f"{name} = {x:g}": {field: x} for x in values}, base=fields | beside))
    for name, (field, values, beside) in GRIDS.items()
    for start, fields in MAIN.items()
}
pd.concat({place: study.plan().loc["cell"] for place, study in sweeps.items()})

# %% [markdown]
# Each row is two runs a seed, one of STE and one of the rotation. This page shows {glue:text}`coverage`. The runs at
# $\gamma = 0.25$ and at rate 0.001 are those of {doc}`10_ste_vs_rotation`, on the seeds of the sweep; those of its
# confirmation are read too.
#
# ## Each arm at its own value
#
# Test MSE, rotation / STE, on the seeds that explore: at the common value of {doc}`10_ste_vs_rotation`, and with each
# arm at its own value, chosen on the 5,000 validation images.

# %% tags=["hide-input"]
taken, own, common, rows = {}, {}, {}, {}
for (name, start), study in sweeps.items():
    whole = [
        cell
        for cell in study.cells
        if all(study.planned.get((arm, cell)) == study.members.get((arm, cell), []) != [] for arm in PAIR)
    ]
    common[name, start] = study.pair("rotation", COMMON[name], against="STE") if name in COMMON else None
    rows[name, start] = {"at the common value": ratio_with_n(common[name, start])}
    valid = {arm: {cell: study.values(arm, cell, "validation_mse") for cell in whole} for arm in PAIR}
    means = {arm: {cell: v.mean() for cell, v in found.items() if v.notna().all()} for arm, found in valid.items()}
    if len(whole) < 3 or not all(means.values()):
        rows[name, start]["values run"] = f"{len(whole)} of {len(study.cells)}: no choice"
        continue
    best = taken[name, start] = {arm: min(found, key=found.get) for arm, found in means.items()}
    own[name, start] = study.pair("rotation", best["rotation"], against=("STE", best["STE"]))
    ends = [arm for arm in PAIR if best[arm] in (whole[0], whole[-1])]
    rows[name, start] |= {
        "each at its own": ratio_with_n(own[name, start]),
        **{f"{arm}: value, test MSE": f"{best[arm]}: {study.mean(arm, best[arm], 'test_mse'):.5f}" for arm in PAIR},
        "at an end": " and ".join(ends) or "neither",
        "values run": f"{len(whole)} of {len(study.cells)}",
    }
glue(
    "ends",
    "; ".join(
        f"{name}, {start}: {row['at an end']}"
        for (name, start), row in rows.items()
        if row.get("at an end", "neither") != "neither"
    )
    or "nowhere",
)
page.glue_all("own", {place: own.get(place) for place in sweeps})
page.glue_all("common", common)
page.glue_all("takes", {(arm, *place): taken.get(place, {}).get(arm) for place in sweeps for arm in PAIR})
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

# %% tags=["hide-input"]
at_own = [
    Block({arm: PAIR[arm] | sweeps["γ", start].cells[best[arm]]}, {start: {}})
    for start in MAIN
    if (best := taken.get(("γ", start)))
    for arm in PAIR
]
final = Study(runs, *at_own)
expected = {("rotation", "uniform 1/K"): "lower", ("rotation", "k-means"): "higher"}
confirmed = {start: final.pair("rotation", start, against="STE", fresh=True) for start in MAIN}
verdicts = final.verdicts(expected, against="STE")
before = {start: Study(runs, tenth).pair("rotation", start, against="STE", fresh=True) for start in MAIN}
best_of_each = final.pair("rotation", "uniform 1/K", against=("STE", "k-means"), fresh=True)
page.glue_all("confirmed", confirmed)
page.glue_all("before", before)
glue("verdicts", "; ".join(f"{start}: {word}" for (_, start), word in zip(expected, verdicts.verdict)))
page.glue_all("best", {"of-each": best_of_each})
glue("fig-confirm", plots.dots(final, against="STE"))
verdicts

# %% [markdown]
# ```{glue:figure} fig-confirm
# :name: fig-gamma-confirm
#
# Each arm at its own $\gamma$: the seeds that chose it, and the fresh ones.
# ```
#
# **Both came out as expected.** With each arm at its own $\gamma$ the rotation changes test MSE, against STE, by
# {glue:text}`confirmed-uniform-1-k` from uniform codes and by {glue:text}`confirmed-k-means` from k-means codes. At
# $\gamma = 0.25$ the same seeds gave {glue:text}`before-uniform-1-k` and {glue:text}`before-k-means`
# ({doc}`10_ste_vs_rotation`). From uniform codes retuning narrows the gap and does not close it. From k-means codes the
# sign stays, as far down as $\gamma$ was tried for the rotation.
#
# **Across the starts the two are close.** No plan names this comparison. On validation images the rotation does better
# from uniform codes, STE from k-means codes. Each from there and at its own $\gamma$, on the fresh seeds, the rotation
# changes test MSE against STE by {glue:text}`best-of-each`.

# %% tags=["hide-input"]
if runs.published:
    planned = {key: {config.seed for config in found} for key, found in final.planned.items()}
    assert len(planned) == 4 and all(found.issuperset(CONFIRM) for found in planned.values())  # at the γ chosen here
    assert [taken["γ", start][arm] for start in MAIN for arm in PAIR] == ["γ = 5", "γ = 0.05", "γ = 5", "γ = 0.002"]
    assert verdicts.verdict.tolist() == ["as expected"] * 2
    assert nearer((confirmed["uniform 1/K"], before["uniform 1/K"]))
    assert separated(before["k-means"]) == separated(confirmed["k-means"]) == "higher"
    assert close(best_of_each, 0.1) == "yes" and separated(best_of_each) == "not separated"
    suits = {arm: start for arm, (_, start) in reversed(final.best("validation_mse").items())}
    assert suits == {"STE": "k-means", "rotation": "uniform 1/K"}


# %% tags=["hide-input"]
def sweep(name: str, metric: str = "test_mse") -> Figure:
    """A metric against what is varied, a panel a start; a ring where validation chose."""
    figs, (_, values, _) = [], GRIDS[name]
    for start in MAIN:
        study, (fig, ax) = sweeps[name, start], plt.subplots(figsize=plots.PANEL)
        for arm, drawn in arms(PAIR).items():
            found = pd.DataFrame({x: study.values(arm, f"{name} = {x:g}", metric) for x in values}).dropna(how="all")
            plots.seeds(ax, values, found if len(found) else [[math.nan] * len(values)], drawn)
            if len(found):
                ax.set_yscale("log")
                plots.log_ticks(ax.yaxis)
            if best := taken.get((name, start)):
                mean = study.mean(arm, best[arm], metric)
                ax.plot(float(best[arm].split(" = ")[1]), mean, "o", ms=11, mfc="none", color=drawn.color)
        ax.set(xscale="log", xlabel=name, title=f"{start}: {title(metric)}" + ", not run" * (ax.get_yscale() != "log"))
        ax.set_xticks(values, [f"{x:g}" for x in values], size=7.5 if len(values) > 3 else None)
        ax.xaxis.set_minor_locator(NullLocator())
        figs.append(fig)
    figs[0].axes[0].legend()
    return Figure(figs, f"{title(metric)} against {name} from {' and from '.join(MAIN)}, for STE and the rotation.")


def stops(name: str) -> Figure:
    """Maps of test MSE, rotation / STE at the same value, a row each, at every stop; a panel a start."""
    figs, said = [], []
    for start in MAIN:
        study = sweeps[name, start]
        pairs = {
            cell: {f"{step:,}": study.pair("rotation", cell, against="STE", at=step) for step in study.steps}
            for cell in study.cells
        }
        fig, ax = plt.subplots(figsize=(plots.PANEL[0] + 1, 0.8 + 0.34 * len(pairs)))
        plots.heatmap(ax, pairs)
        ax.set(xlabel="step", title=start)
        figs.append(fig)
        said += [
            f"{start}, {cell}, step {step}: {pair.mean:.2f}"
            for cell, row in pairs.items()
            for step, pair in row.items()
            if pair
        ]
    return Figure(figs, f"Test MSE, rotation / STE at equal {name}. " + "; ".join(said) + ".")


def at_end(name: str, metric: str = "test_mse") -> dict:
    """rotation / STE at the same value, at the last stop, by start and value."""
    return {
        (start, x): sweeps[name, start].pair("rotation", f"{name} = {x:g}", metric, against="STE")
        for start in MAIN
        for x in GRIDS[name][1]
    }


by_gamma = at_end("γ")
page.glue_all("at", {(start, f"{x:g}"): pair for (start, x), pair in by_gamma.items()})
flat = [sweeps["γ", "uniform 1/K"].mean("rotation", f"γ = {x:g}", "test_mse") for x in (0.01, 0.05, 0.25, 1.0, 5.0)]
glue("flat", 100 * (max(flat) / min(flat) - 1))
glue("fig-gamma", sweep("γ"))
glue("fig-gamma-stops", stops("γ"))

# %% [markdown]
# ## The commitment weight
#
# ```{glue:figure} fig-gamma
# :name: fig-gamma-sweep
#
# The whole sweep, on the seeds that explore. Thin lines are seeds, thick ones their means; a ring marks the value that
# validation chose.
# ```
#
# ```{glue:figure} fig-gamma-stops
# :name: fig-gamma-stops
#
# Ratio of test MSE, rotation / STE, at the same $\gamma$, as training goes on; in brackets where the interval holds 1.
# ```
#
# **At the same $\gamma$ the sign hangs on the start, and from k-means codes on $\gamma$.** From uniform codes the
# rotation has the lower error at every $\gamma$, from {glue:text}`at-uniform-1-k-0.002` at 0.002 to
# {glue:text}`at-uniform-1-k-125` at 125. From k-means codes it has the lower error at 0.002
# ({glue:text}`at-k-means-0.002`), 0.01 ({glue:text}`at-k-means-0.01`) and 0.05 ({glue:text}`at-k-means-0.05`), and the
# higher at 0.25 ({glue:text}`at-k-means-0.25`), 1 ({glue:text}`at-k-means-1`), 5 ({glue:text}`at-k-means-5`), 25
# ({glue:text}`at-k-means-25`) and 125 ({glue:text}`at-k-means-125`). So from k-means codes one $\gamma$ for both
# decides who wins. This was not predicted.
#
# **From k-means codes the two want opposite things.** STE is best at 5 from both starts, and worse on either side. From
# k-means codes the rotation is best at the least $\gamma$, worst near 1 and 5, and better again at 25. From uniform
# codes it hardly moves: no two of its means from 0.01 to 5 differ by more than {glue:text}`flat:.0f` %.
#
# What else differs at the same $\gamma$, rotation / STE at the last stop:

# %% tags=["hide-input"]
inside = ["test_z_squared", "test_quantisation_error", "test_relative_error", "test_perplexity"]
pd.concat({start: sweeps["γ", start].ratios(inside, against="STE") for start in MAIN})

# %% tags=["hide-input"]
if runs.published and all(by_gamma.values()):
    word = {key: separated(pair) for key, pair in by_gamma.items()}
    assert all(word["uniform 1/K", x] == "lower" for x in GRIDS["γ"][1])
    assert [x for x in GRIDS["γ"][1] if word["k-means", x] == "lower"] == [0.002, 0.01, 0.05]
    assert [x for x in GRIDS["γ"][1] if word["k-means", x] == "higher"] == [0.25, 1.0, 5.0, 25.0, 125.0]
    course = {
        key: [sweeps["γ", key[1]].mean(key[0], f"γ = {x:g}", "test_mse") for x in GRIDS["γ"][1]]
        for key in final.members
    }
    for start in MAIN:  # STE: down to 5, then up
        down, up = course["STE", start][:6], course["STE", start][5:]
        assert down == sorted(down, reverse=True) and up == sorted(up)
    bent = course["rotation", "k-means"]
    assert bent[0] == min(bent) and sorted(bent)[-2:] == sorted(bent[4:6]) and bent[6] < min(bent[4:6])
    retuned = sweeps["γ", "k-means"].pair("rotation", "γ = 0.01", against=("rotation", "γ = 0.25"))
    assert separated(retuned) == "lower"  # chapter 14 refers to it
    lengths = at_end("γ", "test_z_squared")
    assert all(separated(lengths[start, x]) == "lower" for start in MAIN for x in GRIDS["γ"][1])

# %% [markdown]
# ## The learning rate
#
# Adam's rate at $\gamma = 0.25$, seeds 0 to 4. From uniform codes this page shows {glue:text}`ran-rate-uniform-1-k`,
# from k-means codes {glue:text}`ran-rate-k-means`.

# %% tags=["hide-input"]
rated = Block(
    PAIR,
    {
        f"{start}, {cell}": fields
        for (name, start), study in sweeps.items()
        if name == "rate"
        for cell, fields in study.cells.items()
    },
)
across = Study(sweeps["rate", "uniform 1/K"].runs, rated)
suited = {arm: cell for arm, (_, cell) in across.best("validation_mse").items()}
fastest = across.pair("rotation", suited.get("rotation", ""), against=("STE", suited.get("STE", "")))
page.glue_all("suited", {"rates": fastest, **suited})
page.glue_all("ran", {place: study.coverage for place, study in sweeps.items()})
by_rate = at_end("rate")
by_sgd = at_end("SGD rate")
page.glue_all("rate", {(start, f"{x:g}"): pair for (start, x), pair in by_rate.items()})
page.glue_all("sgd", {(start, f"{x:g}"): pair for (start, x), pair in by_sgd.items()})
glue("fig-rate", sweep("rate"))
glue("fig-rate-stops", stops("rate"))
glue("fig-sgd", sweep("SGD rate"))

# %% [markdown]
# ```{glue:figure} fig-rate
# :name: fig-rate-sweep
#
# The learning rate of Adam, at $\gamma = 0.25$.
# ```
#
# ```{glue:figure} fig-rate-stops
# :name: fig-rate-stops
#
# Ratio of test MSE, rotation / STE, at the same rate, as training goes on.
# ```
#
# **From uniform codes the sign holds over a factor of thirty.** The rotation has the lower test MSE at 0.0001
# ({glue:text}`rate-uniform-1-k-0.0001`), 0.0003 ({glue:text}`rate-uniform-1-k-0.0003`), 0.001
# ({glue:text}`rate-uniform-1-k-0.001`) and 0.003 ({glue:text}`rate-uniform-1-k-0.003`). At 0.01 the interval holds 1
# ({glue:text}`rate-uniform-1-k-0.01`).
#
# **From k-means codes the rotation never wins.** It has the higher test MSE at 0.001 ({glue:text}`rate-k-means-0.001`)
# and 0.01 ({glue:text}`rate-k-means-0.01`). The interval holds 1 at 0.0001 ({glue:text}`rate-k-means-0.0001`), 0.0003
# ({glue:text}`rate-k-means-0.0003`) and 0.003 ({glue:text}`rate-k-means-0.003`). The mean ratio is below 1 at the
# two least rates and rises from the second on.
#
# **Each at its own.** From both starts STE takes 0.01, the largest rate that was run, and so does the rotation from
# k-means codes; from uniform codes the rotation takes 0.003. The ratio is then {glue:text}`own-rate-uniform-1-k` from
# uniform codes, after {glue:text}`common-rate-uniform-1-k` at 0.001, and {glue:text}`own-rate-k-means` from k-means
# codes, after {glue:text}`common-rate-k-means`. So most of the rotation's lead from uniform codes goes when each has
# its own rate. STE still improves at the end of the sweep. Whether any of the lead is left at its best rate, this page
# does not show. What is left here is not confirmed on fresh seeds.
#
# **Across the starts** the best is again the rotation from uniform codes and STE from k-means codes. At these rates the
# rotation changes test MSE against STE by {glue:text}`suited-rates`, and STE has the lower mean.
#
# In 2,000 steps a larger rate is also a longer way, and nothing here separates the two.

# %% tags=["hide-input"]
if runs.published and all(by_rate.values()):
    word = {key: separated(pair) for key, pair in by_rate.items()}
    assert [word["uniform 1/K", x] for x in GRIDS["rate"][1]] == ["lower"] * 4 + ["not separated"]
    assert [x for x in GRIDS["rate"][1] if word["k-means", x] == "higher"] == [1e-3, 1e-2]
    assert "lower" not in (word["k-means", x] for x in GRIDS["rate"][1])
    rising = [by_rate["k-means", x].mean for x in GRIDS["rate"][1]]
    assert rising[1:] == sorted(rising[1:]) and max(rising[:2]) < 1 < rising[2]
    assert taken["rate", "uniform 1/K"] == {"STE": "rate = 0.01", "rotation": "rate = 0.003"}
    assert taken["rate", "k-means"] == {"STE": "rate = 0.01", "rotation": "rate = 0.01"}
    assert separated(own["rate", "uniform 1/K"]) == "lower" and separated(own["rate", "k-means"]) == "higher"
    assert math.log(own["rate", "uniform 1/K"].mean) > 0.5 * math.log(common["rate", "uniform 1/K"].mean)  # most of it
    for start in MAIN:
        last = sweeps["rate", start].pair("STE", "rate = 0.01", against=("STE", "rate = 0.003"))
        assert separated(last) == "lower"  # still improves
    assert suited == {"STE": "k-means, rate = 0.01", "rotation": "uniform 1/K, rate = 0.003"}
    assert separated(fastest) == "not separated" and fastest.mean > 1

# %% [markdown]
# ## Without Adam
#
# Plain SGD, no momentum, moves encoder, decoder and codes at one rate. This page shows
# {glue:text}`ran-sgd-rate-uniform-1-k` from uniform codes and {glue:text}`ran-sgd-rate-k-means` from k-means codes.
#
# ```{glue:figure} fig-sgd
# :name: fig-sgd-sweep
#
# The learning rate of SGD, at $\gamma = 0.25$.
# ```
#
# Each at its own rate, the ratio is {glue:text}`own-sgd-rate-uniform-1-k` from uniform codes and
# {glue:text}`own-sgd-rate-k-means` from k-means codes; both intervals hold 1. STE takes the least of the three rates
# from both starts, the rotation from k-means codes, so most of these choices lie at an end. At rate 1 the means are the
# highest, and one run of the rotation diverged. Every mean is more than twice the best of the same arm under Adam, so
# these runs have not got far in 2,000 steps.
#
# %% tags=["hide-input"]
if runs.published and all(by_sgd.values()):
    assert [separated(own["SGD rate", start]) for start in MAIN] == ["not separated"] * 2
    lost = [
        (arm, cell)
        for start in MAIN
        for (arm, cell) in sweeps["SGD rate", start].members
        for mse in sweeps["SGD rate", start].values(arm, cell, "test_mse")
        if math.isnan(mse)
    ]
    assert lost == [("rotation", "SGD rate = 1")]
    took = [taken["SGD rate", start][arm].split(" = ")[1] for start in MAIN for arm in PAIR]
    assert took == ["0.1", "0.3", "0.1", "0.1"]
    for start in MAIN:
        by_sgd_mean = {
            (arm, x): sweeps["SGD rate", start].mean(arm, f"SGD rate = {x:g}", "test_mse")
            for arm in PAIR
            for x in GRIDS["SGD rate"][1]
        }
        slow = [mean for (_, x), mean in by_sgd_mean.items() if x < 1]
        assert min(mean for (_, x), mean in by_sgd_mean.items() if x == 1) > max(slow)
        best_adam = {arm: sweeps["rate", start].mean(arm, taken["rate", start][arm], "test_mse") for arm in PAIR}
        assert all(mean > 2 * best_adam[arm] for (arm, _), mean in by_sgd_mean.items())

# %% [markdown]
# ## Inside, at each arm's own $\gamma$

# %% tags=["hide-input"]
for start in MAIN:
    study = sweeps["γ", start]
    if chosen := taken.get(("γ", start)):
        values = {(arm, cell): study.cells[cell] for arm in PAIR for cell in dict.fromkeys((COMMON["γ"], chosen[arm]))}
        both = Block({f"{arm}, {cell}": PAIR[arm] | f for (arm, cell), f in values.items()}, {start: {}})
        study = Study(study.runs, both)
    glue(f"fig-inside-{page.slug(start)}", plots.curves(study, ["r", "z_norm", "perplexity"]))

# %% [markdown]
# ```{glue:figure} fig-inside-uniform-1-k
# :name: fig-gamma-inside-uniform
#
# From uniform codes: at $\gamma = 0.25$ and at the $\gamma$ that each arm takes.
# ```
#
# ```{glue:figure} fig-inside-k-means
# :name: fig-gamma-inside-k-means
#
# The same from k-means codes.
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
def value(arm: str, start: str) -> float | None:
    """The γ that an arm takes."""
    best = taken.get(("γ", start))
    return best and sweeps["γ", start].cells[best[arm]]["gamma"]


def count(pairs: dict) -> str:
    """'8 of 10 lower, 1 higher'."""
    words = [separated(pair) for pair in pairs.values() if pair]
    return ", ".join(f"{words.count(word)} {word}" for word in ("lower", "higher", "not separated") if word in words)


def by_seed(name: str) -> pd.Series:
    """rotation / STE from uniform codes, each at its own value, by seed."""
    study, best = sweeps[name, "uniform 1/K"], taken.get((name, "uniform 1/K"), {})
    a, b = (study.values(arm, best.get(arm, ""), "test_mse") for arm in ("rotation", "STE"))
    return a / b


uniform, fitted = MAIN
g = {(arm, start): value(arm, start) for arm in PAIR for start in MAIN}
wants = {start: None if g["STE", start] is None else f"{g['STE', start]:g}, {g['rotation', start]:g}" for start in MAIN}
own_gamma, at_common = own.get(("γ", uniform)), common["γ", uniform]
shorter = at_end("γ", "test_z_squared")
middle = {start: {x: by_rate[start, x] for x in (3e-4, 1e-3, 3e-3)} for start in MAIN}
optimisers = pd.concat({name: by_seed(name) for name in ("SGD rate", "rate")}, axis=1, join="inner").dropna()
gain = ratio(*(optimisers[column].tolist() for column in optimisers)) if len(optimisers) else None
judged = {
    "1. uniform: STE takes a larger γ": (
        wants[uniform],
        outcome([wants[uniform] and g["STE", uniform] > g["rotation", uniform]]),
    ),
    "1. k-means: the rotation takes at least as large a γ": (
        wants[fitted],
        outcome([wants[fitted] and g["rotation", fitted] >= g["STE", fitted]]),
    ),
    "2. uniform: nearer to 1 at each arm's own γ": (
        own_gamma and f"{own_gamma.mean:.2f} against {at_common.mean:.2f}",
        outcome([own_gamma and at_common and (own_gamma, at_common)], nearer),
    ),
    "2. the same on the fresh seeds": (
        confirmed[uniform] and before[uniform] and f"{confirmed[uniform].mean:.2f} against {before[uniform].mean:.2f}",
        outcome([confirmed[uniform] and before[uniform] and (confirmed[uniform], before[uniform])], nearer),
    ),
    "2. uniform: still below 1": (ratio_with_n(own_gamma), outcome([own_gamma], expects("lower"))),
    "3. smaller E|z|², all γ and starts": (count(shorter), outcome(shorter.values(), expects("lower"))),
    "4. uniform: below 1 at three rates": (count(middle[uniform]), outcome(middle[uniform].values(), expects("lower"))),
    "4. k-means: above 1 at three rates": (count(middle[fitted]), outcome(middle[fitted].values(), expects("higher"))),
    "5. uniform: gains less under SGD": (
        gain and f"SGD / Adam: {ratio_with_n(gain)}",
        outcome([gain], expects("higher")),
    ),
}
pd.DataFrame.from_dict(judged, "index", columns=["measured", "outcome"]).fillna("")

# %% [markdown]
# A sceptic would say: few seeds, short runs, and choices at an end of what was run. An arm whose choice lies there may
# improve with the next value, so the ratios at each arm's own value, and their signs, are of this grid. What does not
# hang on a choice is the comparison at equal values.
#
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`coverage`: {glue:text}`core-hours:.2f` core-hours of one CPU thread each,
# {glue:text}`seconds-per-run:.0f` seconds a run on a machine that did other work meanwhile, so an upper bound. Its
# records are {glue:text}`status`; an unverified one was made before the code last changed. Of the runs
# {glue:text}`diverged` diverged. One small network, one data set, 2,000 steps; three seeds or five, but for the
# confirmation. $\gamma$ and the rate were varied one at a time: the best pair of both was not looked for, and neither
# was $\beta$. The sweeps choose and report on the same runs, on other images; the confirmation does not. The `full`
# profile, ten seeds and 30,000 steps at batch 128 on a GPU, is the same notebook with `profile: full`; it has not been
# run.
