# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (transformer-keys)=
# # Quantised keys of a transformer: does their gradient matter?
#
# ```{admonition} In short
# :class: tip
# No: keys that get no gradient from the attention at all end at {glue:text}`zero-against-ste:.3f` times the bits per
# character that STE has, which is a little better, and the rotation, $R$ and $r I$ end where STE does. But in this
# small model the keys themselves hardly matter: one code for all of them, so that attention knows places and no
# content, takes no more bits than 32. What a gradient could gain where keys matter, it does not show.
# ```
#
# ```{glue:figure} fig-bits
# :name: fig-transformer-bits
#
# Every ratio is within 2 % of 1: no gradient, STE and the rotation end with nearly the same bits. Ratio of bits per
# character on the test plays, on a logarithmic axis: each point a pair of runs with the same seed, the diamond their
# geometric mean, the bar its 95 % interval. Left of 1 the first of the two is better.
# ```
#
# Where keys are codes, attention takes time linear in the length of a text {cite}`lingle2024transformervq`. The
# published model trains its keys by the straight-through gradient. Would the rotation train them better, and would no
# gradient at all train them worse?

# %% tags=["parameters"]
from typing import Optional

profile: str = "standard"  # smoke: 6 steps, in seconds; standard: the committed records
seeds: Optional[int] = None  # 0, 1, ...; None: as the chapter says
engine: str = ""  # trains missing runs: serial, processes:2; empty: serial, but none of the chapter's plan
device: str = "cpu"  # where missing runs are trained: cpu, cuda, cuda:1
cap: Optional[float] = None  # core-hours that missing runs may take; None: 1
records: str = ""  # folder of runs; empty: the committed ones, and new ones go to data/records/32_transformer_keys

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("32_transformer_keys", globals(), profile=("smoke", "standard"))

# %% tags=["hide-input"]
import math
import statistics

import matplotlib.pyplot as plt
import pandas as pd
import torch

from book.chapters import drawings
from book.chapters.hypotheses import above, judge, listed, lower, outcome, within
from book.systems import attention_cost, plays, runs, transformer
from book.systems.page import load
from book.systems.transformer import ARMS, GAMMAS, LATER, SIZES
from rotvq import ESTIMATORS
from rotvq.analysis.wording import ratio_text
from rotvq.page.figures import WIDTH, used
from rotvq.page.figures import arms as styles

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** A causal model of characters: two layers of gated attention with one head, width 96, values of 192
# numbers, queries and keys of 32, normalised without a gain; a vector for each distance up to 32. 24 plays of
# Shakespeare, two of them for the test; Adam at 0.004, batches of 8 texts of 256 characters, 400 steps. 32 codes a
# layer start at k-means on the first batch's keys and follow by EMA of decay 0.99. The commitment loss, a sum over the
# numbers of a key, weighs $10^{-4}$: decay and weight are those of the paper. One seed gives every arm the same
# weights, batches and draws of codes. The primary metric is bits per character of the test plays after the last step,
# as a ratio.
#
# **Arms.** Keys that are not quantised, *full*; quantised ones with no gradient from the attention, *zero*, with STE,
# with the rotation and with $r I$, seeds 0 to 2. To see what the setting can show, seeds 0 to 2: one code alone, so
# that no key says anything; gradients to all keys and not to those of two blocks (see below), STE and rotation;
# commitment weights 0 and 1, 8 and 128 codes, zero and STE; codes that start at normal vectors, as the paper's
# do, zero, STE and rotation; FSQ with 8 times 4 levels. Time and memory of one layer's attention, forward alone, at
# 1,024 to 65,536 characters.
#
# **Primary comparisons**, six: zero, rotation and $r I$ against STE; STE and zero against full; rotation against zero.
# **Confirmation**: these are decided by seeds 100 to 109.
#
# **Hypotheses**, written before the records. A pilot of another model had 3.53 bits for every arm after 400 steps. Of
# this model no arm but STE was run, to choose width, steps and rate so that it learns; the last of these runs came
# after this list and speaks against hypothesis 9, which stays as it was.
#
# 1. *No gradient is as good as any.* Zero is within 1 % of STE.
# 2. *The estimators do not differ.* Keys have one length, so the rotation differs from STE by a turn and a factor that
#    is nearly the same for all keys, which Adam takes out. Rotation and $r I$ are within 1 % of STE.
# 3. *Quantising costs little.* STE and zero are within 3 % of full.
# 4. *But keys do matter.* With one code the bits are higher than with 32, both without a gradient.
# 5. *Nor does the reach of the gradient matter.* With gradients to all keys STE and the rotation are within 1 % of
#    themselves with gradients to the keys of two blocks.
# 6. *Nor the commitment.* At weights 0 and 1 zero is within 1 % of STE.
# 7. *More codes, fewer bits.* With 8 codes the bits are higher than with 32, with 128 no higher.
# 8. *FSQ is behind.* Its bits are higher than STE's.
# 9. *A code is the mean of keys of one length.* So $|k - e|^2 / |k|^2 = 1 - r^2$ in the mean: the two sides are within
#    5 % of one another, for STE.
# 10. *The time is linear.* A character takes at most 1.5 times as long at 65,536 as at 1,024; there the quadratic way
#     takes more than 10 times as long.

# %% [markdown]
# **Fixed later**, when all the records above were there, and before the records of these: $R$ alone, the rotation
# without its scale, on seeds 0 to 2, and on seeds 100 to 109, which decide.
#
# 11. *Nor does the scale matter.* $R$ is within 1 % of STE, and of the rotation.
# 12. *The turn widens the angle.* The angle between a key and its code is larger with $R$ than with STE, as it is with
#     the rotation.

# %%
shown = load(page, transformer.EXPERIMENT)
timed = attention_cost.EXPERIMENT.cases(profile)
if profile == "smoke" or engine:
    list(runs.run(attention_cost.EXPERIMENT, timed, folder=records))
cost = runs.table(attention_cost.EXPERIMENT, timed, records)
page.say("timings", len(cost))
used(runs.case_id(case) for case in timed if runs.record(attention_cost.EXPERIMENT, case, records))

# %% [markdown]
# This page shows {glue:text}`coverage`.
#
# ## Linear time by quantised keys
#
# A query weighs each value before it by $\exp(\langle q_i, \hat k_j\rangle + b_{ij})$, where $\hat k_j$ is the code
# nearest to the key and $b_{ij}$ depends on the distance up to $L = 32$ characters, and is 0 beyond. All far keys of
# one code have one weight. So it is enough to know how many there are, and the sum of their values:
#
# ```python
# counts, sums = member.sum(2), member.transpose(-1, -2) @ v  # by block of L characters, and by code
# counts, sums = (pad(x, two blocks)[:, :-2].cumsum(1) for x in (counts, sums))
# old = q @ codes.t() + counts.log()[:, :, None]  # all blocks but this one and the one before it
# recent = q @ k.transpose(-1, -2) + positions(q, near, block, 2 * block)  # these two, key by key
# weights = cat([old, recent], -1).softmax(-1)
# seen = weights[..., :S] @ (sums / counts) + weights[..., S:] @ v
# ```
#
# The block of a query and the one before it are attended to key by key. That this is the quadratic attention with
# quantised keys, in value and in the gradients, is checked here in double precision:


# %%
def agreement(length: int = 160, block: int = 16) -> pd.DataFrame:
    """The largest difference between linear and quadratic attention, of values and of gradients, over their scale."""
    noise = torch.Generator().manual_seed(0)
    shapes = {"queries": (2, length, 8), "keys": (2, length, 8), "values": (2, length, 12), "near": (block + 1, 8)}
    given = {name: torch.randn(shape, generator=noise, dtype=torch.float64) for name, shape in shapes.items()}
    q, k, v, near = (x.requires_grad_() for x in given.values())
    codes = torch.randn(6, 8, generator=noise, dtype=torch.float64)
    indices = torch.cdist(k, codes.expand(2, 6, 8)).argmin(-1)
    quantised = ESTIMATORS["rotation"](k, codes[indices])
    ways = {
        "linear": transformer.linear(q, quantised, v, near, codes, indices, block),
        "two blocks": transformer.quadratic(q, quantised, v, near, block),
        "all keys": transformer.quadratic(q, quantised, v, near),
    }
    at = torch.randn(2, length, 12, generator=noise, dtype=torch.float64)
    found = {way: [y, *torch.autograd.grad(y, (q, k, v, near), at, retain_graph=True)] for way, y in ways.items()}
    names = ("value", *(f"gradient of {name}" for name in given))
    return pd.DataFrame(
        {
            way: [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(found["linear"], found[way])]
            for way in ("two blocks", "all keys")
        },
        index=names,
    )


equal = agreement()
assert equal["two blocks"].max() < 1e-12
assert (equal["all keys"] < 1e-12).tolist() == [True, True, False, True, True]
equal

# %% [markdown]
# The one exception is the gradient of the keys. A key that has been summed up by its code is no longer there, so
# only the queries of its own block and the next send it a gradient. The quadratic way can do the same (*two blocks*),
# and then nothing differs. Or every later query can send one (*all keys*).
#
# **What the estimators differ in here.** The keys are normalised without a gain, so $|k| = d^{1/4}$ for all. A code is
# the mean of its keys, which lies inside their sphere, so $r = |e|/|k| < 1$. And the normalisation passes no gradient
# along $k$: of STE's $g$ what is across $k$ arrives, of the rotation's what is across $e$, turned and times $r$.
#
# ## The data, and what counts as working
#
# The training plays have {glue:text}`characters-train` characters, the test plays {glue:text}`characters-test`.
# They are in the public domain. `data/shakespeare/README.md` is their card, and says how to train on all plays. A table
# of counts predicts the test plays with {glue:text}`counts-2:.2f` bits per character from one character before,
# {glue:text}`counts-3:.2f` from two and {glue:text}`counts-4:.2f` from three. A model that attends to anything has to
# be below the first of these.

# %% tags=["hide-input"]
texts = {name: plays.split(name) for name in plays.SPLITS}
page.say("characters", {name: f"{len(text):,}" for name, text in texts.items()})
part = texts["train"][: 20_000 if profile == "smoke" else None]
counts = {str(order): plays.ngram_bits(order, part, texts["test"]) for order in (2, 3, 4)}
page.say("counts", counts)

# %% [markdown]
# ## Does the gradient matter?
#
# Bits per character: the six primary comparisons, and the two of $R$ that were fixed later, on fresh seeds and on
# those that explore:

# %%
PRIMARY = (
    ("zero", "STE"),
    ("rotation", "STE"),
    ("rI", "STE"),
    ("STE", "full"),
    ("zero", "full"),
    ("rotation", "zero"),
)
COMMON = {"gamma": 1e-4, "codes": 32, "init": "kmeans", "reach": "window"}
if profile == "smoke":
    COMMON |= {name: transformer.EXPERIMENT.smoke[name] for name in COMMON.keys() & transformer.EXPERIMENT.smoke}


def compared(arm: dict, against: dict, fresh: bool = False, metric: str = "bits"):
    """The ratio of two arms, which differ from the common settings in these fields; None where it was not run."""
    return shown.pair(metric, COMMON | arm, COMMON | against, fresh)


def mean(metric: str, **fields) -> float | None:
    """The mean over the seeds that explore."""
    return shown.mean(metric, COMMON | fields, False) if metric in shown.rows() else None


EVERY = ARMS | LATER
BOTH = (*PRIMARY, ("R", "STE"), ("R", "rotation"))
decided = {f"{arm} / {against}": compared(EVERY[arm], EVERY[against], True) for arm, against in BOTH}
explored = {f"{arm} / {against}": compared(EVERY[arm], EVERY[against]) for arm, against in BOTH}
primary = {f"{arm} / {against}": decided[f"{arm} / {against}"] for arm, against in PRIMARY}
page.say("confirmed", primary)
angles = {arm: compared(EVERY[arm], EVERY["STE"], True, "theta") for arm in ("R", "rotation")}
page.say("angle", {arm: getattr(pair, "mean", math.nan) for arm, pair in angles.items()})
page.say("zero-against-ste", getattr(primary["zero / STE"], "mean", math.nan))
pd.DataFrame(
    {
        "seeds 100–109": {name: ratio_text(pair) for name, pair in decided.items()},
        "seeds 0–2": {name: ratio_text(pair) for name, pair in explored.items()},
    }
)

# %% tags=["hide-input"]
drawn = styles(EVERY)
rows = [
    (f"{name}{phase}", pair, drawn[name.partition(" /")[0]])
    for name in decided
    for phase, pair in ((", seeds 100–109", decided[name]), ("", explored[name]))
    if pair
]
page.show("fig-bits", drawings.ratios({"": rows}, "Bits per character of the test plays, a ratio of two arms", "ratio"))


@page.holds
def what_the_gradient_does():
    yield "Without a gradient the bits are a little lower than with STE.", lower(primary["zero / STE"])
    same = within(0.01)
    yield "The rotation and rI end where STE does.", same(primary["rotation / STE"]), same(primary["rI / STE"])
    yield "R alone, too.", same(decided["R / STE"]), same(decided["R / rotation"])
    yield "With R and with the rotation the angle is larger than with STE.", *map(above(1), angles.values())
    costs = map(within(0.02), (primary["STE / full"], primary["zero / full"]))
    yield "Keys that are codes cost less than 2 %.", *costs
    yield "Every ratio is within 2 % of 1.", *map(within(0.02), decided.values())


# %% [markdown]
# {numref}`fig-transformer-bits`, at the top of this page, has every pair of runs. Neither part of the rotation moves
# the bits. What the turn moves is the codes: the angle between a key and its code is {glue:text}`angle-r:.2f` times
# that of STE with $R$, and {glue:text}`angle-rotation:.2f` times with the rotation.
#
# ### Every arm
#
# Means over seeds 0 to 2: bits at the three stops, on the validation plays, and what became of the keys: perplexity of
# the codes in use, $|k - e|^2 / |k|^2$, $r$ with its standard deviation over keys, and the angle, on a quarter of the
# test texts.

# %%
MEASURES = {
    "bits_at_1": "bits, step 100",
    "bits_at_2": "step 200",
    "bits": "step 400",
    "validation_bits": "validation",
    "perplexity": "perplexity",
    "error": "error",
    "r": "r",
    "r_spread": "sd of r",
    "theta": "angle, degrees",
}
OTHERS = (
    {"one code, zero": {"codes": 1} | ARMS["zero"]}
    | {f"all keys, {arm}": {"reach": "all"} | ARMS[arm] for arm in ("STE", "rotation")}
    | {f"γ = {name}, {arm}": fields | ARMS[arm] for name, fields in GAMMAS.items() for arm in ("zero", "STE")}
    | {f"normal start, {arm}": {"init": "normal"} | ARMS[arm] for arm in ("zero", "STE", "rotation")}
    | {f"{name} codes, {arm}": fields | ARMS[arm] for name, fields in SIZES.items() for arm in ("zero", "STE")}
    | {"FSQ": {"estimator": "fsq"}}
)


def levels(arms: dict[str, dict]) -> pd.DataFrame:
    """A row an arm, a column a measure."""
    found = {name: [mean(metric, **fields) for metric in MEASURES] for name, fields in arms.items()}
    said = {name: ["" if value is None else f"{value:.3f}" for value in values] for name, values in found.items()}
    return pd.DataFrame.from_dict(said, "index", columns=list(MEASURES.values())).replace("nan", "")


levels(EVERY)

# %% [markdown]
# ## What the setting can show
#
# The same of the controls. With one code every key says the same, and a layer knows of a character only how far away it
# is: the distance between that and *full* is all that keys could gain here. There is nothing: on three seeds one code
# takes a little fewer. More codes, fewer codes, another weight of the commitment, another start, keys of the window
# quantised, too, and FSQ move the bits by a few per cent at most.

# %%
levels(OTHERS)


# %% tags=["hide-input"]
@page.holds
def what_the_setting_can_show():
    one = {"codes": 1} | ARMS["zero"]
    against_32, against_full = compared(one, ARMS["zero"]), compared(one, ARMS["full"])
    yield "One code takes no more bits than 32.", not above(1)(against_32), within(0.02)(against_32)
    yield "It takes a little fewer than keys not quantised.", lower(against_full), within(0.02)(against_full)
    ste = mean("bits", **ARMS["STE"])
    few = [abs(math.log(mean("bits", **fields) / ste)) < 0.03 for fields in OTHERS.values()]
    yield "No control moves the bits by more than a few per cent.", *few


# %% [markdown]
# ## Time and memory
#
# One layer's attention, forward alone, one text on one thread, $d = 32$, values of 192 numbers, $S = 32$, $L = 128$.
# The keys are noise, and the lookup of their codes is part of the linear way. The quadratic way is measured twice: as
# one matrix of all weights, and some rows at a time, which needs no such matrix. Median milliseconds and megabytes:

# %%
WAYS = {"linear": ARMS["rotation"], "rows": ARMS["STE"], "matrix": ARMS["zero"]}  # each drawn as this arm is


def of_lengths(way: str) -> pd.DataFrame:
    """Median milliseconds and megabytes of one way, by length."""
    found = cost[cost.way == way].sort_values("length") if len(cost) else pd.DataFrame(columns=["length"])
    numbers = [(1e3 * statistics.median(one.seconds), one.bytes / 1e6) for one in found.itertuples()]
    return pd.DataFrame(numbers, index=found.length, columns=["ms", "MB"])


by_way = {way: of_lengths(way) for way in WAYS}
pd.concat(by_way, axis=1).map("{:,.1f}".format).replace("nan", "")

# %% tags=["hide-input"]
figs = []
for unit, label in {"ms": "milliseconds", "MB": "megabytes"}.items():
    fig, ax = plt.subplots(figsize=(0.75 * WIDTH, 0.6 * WIDTH))
    for way, arm in styles(WAYS).items():
        if len(by_way[way]):
            ax.loglog(by_way[way].index, by_way[way][unit], label=way, **arm.line)
            ax.legend()
    ax.set(xlabel="characters", ylabel=label)
    figs.append(fig)
page.show("fig-lengths", figs, "Milliseconds and megabytes of one layer's attention against the length, three ways.")


@page.holds
def what_the_linear_way_saves():
    spared = (by_way["linear"] / by_way["rows"]).sort_index()
    yield "At the greatest length it takes less than a hundredth of it.", bool(spared.ms.iloc[-1] < 0.01)
    yield "And about half of the memory.", bool(0.4 < spared.MB.iloc[-1] < 0.6)


# %% [markdown]
# ```{glue:figure} fig-lengths
# :name: fig-transformer-lengths
#
# At the greatest length the linear way takes less than a hundredth of the time, and about half of the memory. Time and
# memory of one layer's attention, forward, against the length of the text, on logarithmic axes.
# ```
#
# ## What became of the hypotheses


# %%
def became(parts: dict) -> tuple[str, str]:
    """What was measured, and the outcome, of (a comparison, the rule that it is held to) by name."""
    judged = [None if pair is None else (pair, rule) for pair, rule in parts.values()]
    return listed({name: pair for name, (pair, _) in parts.items()}), outcome(judged, lambda part: part[1](part[0]))


def no_higher(pair) -> bool | None:
    """Whether a ratio is below 1 or not told from it; false where it is above."""
    return None if pair.diverged else not above(1)(pair)


def ms_each(way: str, length: int) -> float | None:
    """Milliseconds a character."""
    return by_way[way].ms[length] / length if length in by_way[way].index else None


def over(a: float | None, b: float | None) -> float | None:
    """a / b, None where one was not measured."""
    return None if None in (a, b) else a / b


def number(found: float | None, holds: bool | None) -> tuple[str, str]:
    """A number and what it says, as a row of the table."""
    return ("", outcome([])) if found is None else (f"{found:.3g}", outcome([holds]))


zero, ste = ARMS["zero"], ARMS["STE"]
error, r, spread = (mean(metric, **ste) for metric in ("error", "r", "r_spread"))
sides = None if error is None else error / (1 - r**2 - spread**2)
slower, faster = (
    over(ms_each("linear", 65536), ms_each("linear", 1024)),
    over(ms_each("rows", 65536), ms_each("linear", 65536)),
)
linear_time = [None if None in (slower, faster) else slower <= 1.5 and faster > 10]
page.hypotheses(
    {
        "1 no gradient is as good as any": judge(primary["zero / STE"], within(0.01)),
        "2 the estimators do not differ": judge(
            {name: primary[name] for name in ("rotation / STE", "rI / STE")}, within(0.01)
        ),
        "3 quantising costs little": judge(
            {name: primary[name] for name in ("STE / full", "zero / full")}, within(0.03)
        ),
        "4 but keys do matter": judge(compared({"codes": 1} | zero, zero), above(1)),
        "5 nor does the reach matter": judge(
            {arm: compared({"reach": "all"} | ARMS[arm], ARMS[arm]) for arm in ("STE", "rotation")}, within(0.01)
        ),
        "6 nor the commitment": judge(
            {f"γ = {name}": compared(fields | zero, fields | ste) for name, fields in GAMMAS.items()}, within(0.01)
        ),
        "7 more codes, fewer bits": became(
            {
                f"{name} codes, {arm}": (compared(fields | ARMS[arm], ARMS[arm]), rule)
                for (name, fields), rule in zip(SIZES.items(), (above(1), no_higher))
                for arm in ("zero", "STE")
            }
        ),
        "8 FSQ is behind": judge(compared({"estimator": "fsq"}, ste), above(1)),
        "9 a code is a mean of keys of one length": number(sides, None if sides is None else 0.95 <= sides <= 1.05),
        "10 the time is linear": (
            "" if None in linear_time else f"{slower:.2f} times at 64 times the length; rows {faster:.0f} times linear",
            outcome(linear_time),
        ),
        "11 nor does the scale matter": judge(
            {name: decided[name] for name in ("R / STE", "R / rotation")}, within(0.01)
        ),
        "12 the turn widens the angle": judge(angles["R"], above(1)),
    }
)

# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost`
#
# Two layers, {glue:text}`weights` weights and {glue:text}`seen:.1f` million characters of training are no
# Transformer-VQ: that has 24 layers of twice this kind, 512 codes of dimension 128, blocks of 512 and texts of 8,192
# {cite}`lingle2024transformervq`. Texts of 256 characters ask little of far keys. One rate was tried for all arms, that
# at which the first run of STE learned well. Keys that are not normalised, rotary positions and several heads were
# not tried.
#
# **On one GPU**, `device: cuda`, it is the same system with other fields of its case:
# `Case(width=512, key=128, codes=512, layers=8, block=256, length=4096, batch=32, steps=20000)`. It has not been run
# there.

# %% tags=["hide-input"]
case = transformer.Case()
page.say("weights", f"{sum(weight.numel() for weight in transformer.Model(case).parameters()):,}")
page.say("seen", case.steps * case.batch * case.length / 1e6)
