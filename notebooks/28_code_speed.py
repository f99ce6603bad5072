# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (code-speed)=
# # How fast the codes follow, and how long one trains
#
# ```{admonition} In short
# :class: tip
# After 32,000 steps at a constant rate STE has less test error than the rotation from every start, whether the
# gradient, EMA or EMA with revival moves the codes. The lead of the rotation from short codes is a delay: it has
# {glue:text}`delay-2000:.2f` times the error of STE after 2,000 steps, and {glue:text}`delay-32000:.2f` times after
# 32,000; under a cosine decay of the rate it is still ahead there, at {glue:text}`cosine-fresh:.2f` times. A rotation
# that fades is still ahead from short codes at a constant rate, too: {glue:text}`fading-fresh:.2f` times the error of
# STE at the end.
# ```
#
# ```{glue:figure} fig-ends
# :name: fig-ends
#
# The longer one trains, the further STE is ahead; where the rotation leads at first, it ends behind. Ratio of test MSE,
# rotation / STE, at every stop, by start and by what moves the codes, three seeds: below 1, in blue, the rotation is
# better; in brackets where the interval contains 1.
# ```
#
# In chapter 10 the codes share the network's learning rate, so a coordinate of a code moves by at most a thousandth a
# step, and training stops after little more than an epoch. Does the sign of the comparison belong to the estimators,
# or to slow codes and a short run?

# %% tags=["parameters"]
from typing import Optional

profile: str = "standard"  # smoke: tests a part, in seconds; standard: the committed records; full: a GPU
steps: Optional[int] = None  # of each run; pretrain_steps stay as they are; None: as the profile says
seeds: Optional[int] = None  # 0, 1, ...; None: as the profile says
data: str = ""  # an image set, or one of your own, such as imagefolder:PATH@64; empty: as the profile says
engine: str = ""  # trains missing runs: serial, processes:2, ray:0.25; empty: serial, but none of the chapter's plan
device: str = "cpu"
cap: Optional[float] = None  # core-hours that missing runs may take; None: the chapter's own
records: str = ""  # folder of runs; empty: the committed ones, and new ones go to data/records/28_code_speed

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("28_code_speed", globals())

# %% tags=["hide-input"]
import math
from itertools import pairwise

from book.chapters import drawings, tables
from book.chapters.hypotheses import above, below, higher, judge, listed, lower, nearer, outcome
from rotvq.analysis.wording import includes_one, separated
from rotvq.runs.grids import FADING, MAIN, PAIR, REVIVED_EMA, UPDATES, WARM, Block

# %% [markdown]
# ## What was fixed beforehand
#
# **Common ground.** Network, data, batches and metrics are those of {doc}`10_ste_vs_rotation` unless an arm says
# otherwise: Fashion-MNIST, 512 codes of dimension 32, $\beta = 1$, $\gamma = 0.25$ on standardised pixels, Adam at
# $10^{-3}$, batches of 32, 2,000 steps. One seed gives every arm the same weights and batches. The primary metric is
# test MSE at the last stop, as a ratio.
#
# **Arms.** STE and the rotation with the codes' learning rate at 1, 3, 10 and 30 times the network's, from uniform,
# from k-means and after the warm-up, seeds 0 to 4. STE and the rotation for 32,000 steps, some 19 epochs, with codes
# moved by the gradient, by EMA 0.8 from counts 0, and by EMA 0.99 with revival, from the same three starts, seeds 0 to
# 2; with the gradient also under cosine decay of the rate, from uniform and from k-means.
#
# **Primary comparisons**, rotation / STE, six: codes × 10 from uniform, from k-means and after the warm-up, on fresh
# seeds 100 to 109; 32,000 steps with the gradient from uniform, on fresh seeds 100 to 109; 32,000 steps from k-means
# with the gradient; 32,000 steps from k-means with EMA and revival.
#
# **Hypotheses**, written before the records:
#
# 1. *The lead belongs to slow codes.* From uniform, rotation / STE is nearer to 1 with codes × 30 than with codes × 1,
#    over the same seeds.
# 2. *Codes that follow do not collapse.* After the warm-up, rotation / STE is below 3 with codes × 10, where it is
#    above 8 with codes × 1.
# 3. *Fast codes favour STE.* With codes × 30 rotation / STE is above 1 from k-means and after the warm-up.
# 4. *A delay.* From uniform with the gradient, rotation / STE at 32,000 steps is above 0.9.
# 5. *The strong update favours STE.* With EMA and revival, rotation / STE at 32,000 steps is above 1 from all three
#    starts.
# 6. *Decay changes no sign.* From uniform and from k-means, the cosine schedule leaves rotation / STE at 32,000 steps
#    on the side of 1 where the constant rate has it.
#
# **Confirmation.** Two things on fresh seeds 100 to 109: codes × 10 from the three starts, and 32,000 steps with the
# gradient from uniform. Nothing is chosen in between.

# %% [markdown]
# **Fixed later**, when the records to the end were there, and before those of these:
#
# 7. *Fading is a delay as well.* From uniform and from k-means with the gradient, the fading rotation about the mean
#    code / STE at 32,000 steps is above 0.9, seeds 0 to 2.
# 8. *The strong update, on fresh seeds.* With EMA and revival, rotation / STE at 32,000 steps from k-means is above 1,
#    on seeds 100 to 109.
# 9. *A delay under decay.* From uniform with the gradient under cosine decay, rotation / STE at 32,000 steps is above
#    0.9, on seeds 100 to 109.
#
# **Fixed after the records of 7**, and before those of this:
#
# 10. *Fading stays ahead.* From uniform with the gradient, the fading rotation / STE at 32,000 steps is below 1, on
#     seeds 100 to 109.

# %%
runs = page.load()
speed = page.study("speed", "confirm")
ends = page.study("end, gradient", "confirm end")
decays = page.study("decay", "confirm decay")
tables.plan(speed)

# %% [markdown]
# This page shows {glue:text}`coverage`.
#
# **Confirmation**, fixed before its records: codes × 10 from the three starts, and 32,000 steps with the gradient from
# uniform, on seeds 100 to 109.
#
# ## The speed of the codes

# %%
RATES = (1.0, 3.0, 10.0, 30.0)
speeds = page.study(
    Block(
        PAIR,
        {
            f"codes × {rate:g}, {start}": {"code_lr": rate} | place
            for start, place in (MAIN | WARM).items()
            for rate in RATES
        },
    )
)


def at_rate(rate: float, start: str, fresh: bool = False):
    """Rotation / STE with the codes' rate at so many times the network's."""
    return speeds.pair("rotation", f"codes × {rate:g}, {start}", against="STE", fresh=fresh)


tables.comparisons(speeds, against="STE")

# %% tags=["hide-input"]
by_rate = {start: {rate: at_rate(rate, start) for rate in RATES} for start in MAIN | WARM}
page.say("rate", {(rate, start): pair for start, row in by_rate.items() for rate, pair in row.items()})
page.show("fig-speed", drawings.along(by_rate, "codes' rate over the network's", "Test MSE, rotation / STE"))

# %% [markdown]
# ```{glue:figure} fig-speed
# :name: fig-speed
#
# The lead of the rotation from short codes shrinks as the codes learn faster, and is lost at 30 times the network's
# rate. Ratio of test MSE, rotation / STE, by how fast the codes can follow, on the seeds that explore, with 95 %
# intervals. Below 1 the rotation is better.
# ```
#
# ### What came out
#
# **With codes that follow, the rotation is behind from every start.** From short codes the ratio is
# {glue:text}`short-1:.2f` at the network's rate. It rises with the rate, over {glue:text}`short-3:.2f` and
# {glue:text}`short-10:.2f`, to {glue:text}`short-30:.2f` at 30 times that. From fitted codes the rotation is behind at
# every rate.
#
# **It is STE that gains.** From short codes the error of STE halves, from {glue:text}`mse-1-ste:.4f` to
# {glue:text}`mse-30-ste:.4f`. That of the rotation rises a little: {glue:text}`mse-1-rotation:.4f` and
# {glue:text}`mse-30-rotation:.4f`. So the lead in chapter 10 was a remedy for codes that cannot follow, and a rate of
# their own is the better one.
#
# **The {term}`codebook collapse` after a warm-up belongs to slow codes.** There the ratio falls from
# {glue:text}`warm-1:.1f` at the network's rate to {glue:text}`warm-30:.1f` at 30 times that. At 3 times the rate every
# run of the rotation still ends at a perplexity below 10, at 10 and 30 times none does. Even then the rotation uses
# less than half of the codes.


# %% tags=["hide-input"]
def mse(arm: str, rate: float, start: str) -> float:
    """Mean test MSE on the seeds that explore."""
    return speeds.mean(arm, f"codes × {rate:g}, {start}", "test_mse")


def warm_runs(rate: float, metric: str) -> list[float]:
    """Of every run of the rotation after the warm-up, seeds that explore and fresh ones."""
    cell = f"codes × {rate:g}, {warmed}"
    return [x for fresh in (False, True) for x in speeds.values("rotation", cell, metric, fresh=fresh)]


uniform, fitted, warmed = MAIN | WARM
page.say("mse", {(rate, arm): mse(arm, rate, uniform) for rate in RATES for arm in PAIR})
for name, start in (("short", uniform), ("warm", warmed)):
    page.say(name, {rate: getattr(by_rate[start][rate], "mean", math.nan) for rate in RATES})


@page.holds
def the_speed_of_the_codes():
    lead = [by_rate[uniform][rate] for rate in RATES]
    yield "The lead from short codes shrinks with every rate.", all(a.mean < b.mean for a, b in pairwise(lead))
    yield "It leads at the network's rate and is behind at 30 times that.", lower(lead[0]), higher(lead[-1])
    behind = [higher(by_rate[start][rate]) for start in (fitted, warmed) for rate in RATES]
    yield "From fitted codes it is behind at every rate.", *behind
    yield "The error of STE halves.", mse("STE", 30.0, uniform) < 0.55 * mse("STE", 1.0, uniform)
    turned = mse("rotation", 30.0, uniform) / mse("rotation", 1.0, uniform)
    yield "That of the rotation rises a little.", 1 < turned < 1.2
    best = min(mse("rotation", rate, uniform) for rate in RATES)
    yield "A rate of their own is the better remedy.", mse("STE", 30.0, uniform) < best
    falls = [by_rate[warmed][rate].mean for rate in RATES]
    yield "After the warm-up the ratio falls with the rate.", falls == sorted(falls, reverse=True)
    ends_at = {rate: warm_runs(rate, "test_perplexity") for rate in RATES}
    yield "At 3 times the rate every run still collapses.", max(ends_at[3.0]) < 10
    yield "At 10 and 30 times none does.", min(ends_at[10.0]) > 10, min(ends_at[30.0]) > 10
    yield "Even then it uses less than half of the codes.", max(warm_runs(30.0, "test_usage")) < 0.5


# %% [markdown]
# **Ten fresh seeds agree.** With codes at ten times the network's rate the lead from short codes is gone: the ratio is
# {glue:text}`fresh-short:.2f`. From k-means it is {glue:text}`fresh-fitted:.2f`, after the warm-up
# {glue:text}`fresh-warm:.2f`. The table sets them against the signs that {doc}`10_ste_vs_rotation` and
# {doc}`16_rivals` found. Holm's correction is over the six primary comparisons, of which 32,000 steps from k-means with
# the gradient have no fresh seeds.

# %%
FAST, LONG = {"code_lr": 10.0}, {"steps": 32_000}
PRIMARY = {
    "codes × 10, uniform 1/K": (MAIN["uniform 1/K"] | FAST, "lower"),
    "codes × 10, k-means": (MAIN["k-means"] | FAST, "higher"),
    "codes × 10, k-means after warm-up": (WARM["k-means after warm-up"] | FAST, "higher"),
    "32,000 steps, uniform 1/K": (MAIN["uniform 1/K"] | LONG, "lower"),
    "32,000 steps, k-means": (MAIN["k-means"] | LONG, "higher"),
    "32,000 steps, k-means, EMA, revival": (MAIN["k-means"] | LONG | REVIVED_EMA, "higher"),
}
primary = page.study(Block(PAIR, {name: fields for name, (fields, _) in PRIMARY.items()}))
tables.verdicts(primary, {("rotation", name): expected for name, (_, expected) in PRIMARY.items()}, against="STE")

# %% tags=["hide-input"]
confirmed = {start: at_rate(10.0, start, fresh=True) for start in MAIN | WARM}
for name, start in (("short", uniform), ("fitted", fitted), ("warm", warmed)):
    page.say("fresh", {name: getattr(confirmed[start], "mean", math.nan)})


@page.holds
def fresh_seeds_agree():
    yield "The lead from short codes is gone.", includes_one(confirmed[uniform])
    yield "From k-means and after the warm-up it is behind.", *(higher(confirmed[start]) for start in (fitted, warmed))


# %% [markdown]
# ## To the end
#
# **After 32,000 steps STE is ahead in all nine cells**, three starts by three ways to move the codes
# ({numref}`fig-ends`, at the top). In most of them it is ahead from 2,000 steps on. From there the ratio rises further,
# but for codes that collapsed after a warm-up with the gradient, and recover in part. From short codes with the
# gradient the sign turns between {glue:text}`turns-gradient` steps.

# %% tags=["hide-input"]
ways = {
    way: page.study(Block(PAIR, {start: place | fields | LONG for start, place in (MAIN | WARM).items()}))
    for way, fields in UPDATES.items()
}
everywhere = page.study(
    Block(
        PAIR,
        {
            f"{start}, {way}": place | fields | LONG
            for way, fields in UPDATES.items()
            for start, place in (MAIN | WARM).items()
        },
    )
)
page.show("fig-ends", drawings.effect_map(everywhere, against="STE", rows="cell", columns="step"))

# %%
tables.comparisons(everywhere, against="STE")

# %% [markdown]
# The error each ends at, and the codes it uses then:

# %%
tables.levels(everywhere, ["test_mse", "test_usage", "test_perplexity"])

# %% [markdown]
# **The lead from short codes is a delay.** The ratio rotation / STE rises from {glue:text}`delay-500:.2f` at 500 steps
# over {glue:text}`delay-8000:.2f` at 8,000 to {glue:text}`delay-32000:.2f` at 32,000, on ten fresh seeds, on all of
# which the rotation is behind at the end. STE goes on learning, and the rotation stops: it has
# {glue:text}`stopped-8000:.4f` after 8,000 steps and {glue:text}`stopped-32000:.4f` after 32,000. It is not for want of
# codes: the rotation uses {glue:text}`used-rotation:.0f` % of them, STE {glue:text}`used-ste:.0f` %.
#
# **With EMA and revival neither the start nor the use of the codes is left to explain it.** The errors of STE from the
# three starts lie within {glue:text}`spread-ste:.0f` % of each other, those of the rotation within
# {glue:text}`spread-rotation:.0f` %. Both use all codes, the rotation at a higher perplexity. Still it ends at
# {glue:text}`strong-fresh:.2f` times the error of STE from k-means, on {glue:text}`strong-seeds` fresh seeds.
#
# **Fading keeps a lead where codes cannot follow.** The fading rotation about the mean code ({doc}`39_frontier`) turns
# only while codes fit badly. Moved by the gradient from short codes, it ends at {glue:text}`fading-fresh:.2f` times the
# error of STE, on {glue:text}`fading-seeds` fresh seeds. From k-means it ends at {glue:text}`fading-k-means:.2f` times,
# and three seeds leave it open. From either start it ends below the plain rotation. Its lead shrinks as well, the more
# slowly the longer one trains. STE whose codes follow needs none of it: with EMA and revival it ends lower,
# at {glue:text}`low-following:.4f`, where fading has {glue:text}`low-uniform-1-k:.4f` from short codes and
# {glue:text}`low-k-means:.4f` from k-means.

# %%
fadings = page.study(Block(PAIR | FADING, {start: place | LONG for start, place in MAIN.items()}))
tables.comparisons(fadings, against="STE")

# %% [markdown]
# ```{glue:figure} fig-fading
# :name: fig-fading
#
# From short codes the plain rotation ends behind STE, and the fading one ahead. Test MSE relative to STE by how long
# was trained, codes moved by the gradient, three seeds with 95 % intervals: below 1 STE has the higher error.
# ```

# %% [markdown]
# ### Under cosine decay
#
# **Under decay a little of the lead from short codes is left.** The rate falls to 0 along a cosine, and codes that move
# at that rate cover less ground: STE ends higher than at the constant rate, the rotation lower. On
# {glue:text}`cosine-seeds` fresh seeds the rotation ends at {glue:text}`cosine-fresh:.2f` times the error of STE. From
# k-means it ends at {glue:text}`cosine-k-means:.2f` times, three seeds.

# %%
tables.levels(decays, ["test_mse", "test_usage", "test_perplexity"])

# %% tags=["hide-input"]
STOPS = (500, 1000, 2000, 4000, 8000, 16_000, 32_000)
to_the_end = {
    way: {
        start: {stop: study.pair("rotation", start, against="STE", at=stop) for stop in STOPS} for start in MAIN | WARM
    }
    for way, study in ways.items()
}
by_gradient, by_average, revived = to_the_end.values()
last = {way: {start: row[STOPS[-1]] for start, row in found.items()} for way, found in to_the_end.items()}
fresh_ends = {stop: ends.pair("rotation", uniform, against="STE", at=stop, fresh=True) for stop in STOPS}
strong_fresh = ways["EMA, revival"].pair("rotation", fitted, against="STE", fresh=True)
faded_fresh = fadings.pair(*FADING, uniform, against="STE", fresh=True)
cosine_fresh = decays.pair("rotation, cosine", uniform, against="STE, cosine", fresh=True)
faded = {start: fadings.pair(*FADING, start, against="STE") for start in MAIN}
cosine = {start: decays.pair("rotation, cosine", start, against="STE, cosine") for start in MAIN}


def turns(row: dict) -> str:
    """Between which stops the ratio passes 1."""
    found = [f"{a:,} and {b:,}" for a, b in pairwise(STOPS) if row[a] and row[b] and row[a].mean < 1 <= row[b].mean]
    return ", ".join(found) or "no two"


def error_at_end(arm: str, start: str, way: str) -> float:
    """Mean test MSE on the seeds that explore."""
    return ways[way].mean(arm, start, "test_mse")


def spread(arm: str) -> float:
    """By how much the errors from the three starts differ at the end, with EMA and revival."""
    errors = [error_at_end(arm, start, "EMA, revival") for start in MAIN | WARM]
    return max(errors) / min(errors) - 1


def mean_of(pairs: dict) -> dict[str, float]:
    return {name: pair.mean if pair else math.nan for name, pair in pairs.items()}


page.say("long", mean_of(last["gradient"]))
page.say("delay", mean_of(fresh_ends))
page.say("stopped", {stop: ends.mean("rotation", uniform, "test_mse", at=stop, fresh=True) for stop in STOPS})
page.say("used", {arm: 100 * ends.mean(arm, uniform, "test_usage", fresh=True) for arm in PAIR})
page.say("strong", mean_of(last["EMA, revival"]))
page.say("cosine", mean_of(cosine))
page.say("fading", mean_of(faded))
for name, fresh in {"strong": strong_fresh, "fading": faded_fresh, "cosine": cosine_fresh}.items():
    page.say(name, mean_of({"fresh": fresh}) | {"seeds": fresh.n if fresh else 0})
page.say("low", {start: fadings.mean(*FADING, start, "test_mse") for start in MAIN})
page.say("low", {"following": error_at_end("STE", fitted, "EMA, revival")})
over_time = {
    f"{arm.removesuffix(' about the mean code')}, {start}": {
        stop: fadings.pair(arm, start, against="STE", at=stop) for stop in STOPS
    }
    for arm in ("rotation", *FADING)
    for start in MAIN
}
page.show("fig-fading", drawings.along(over_time, "steps trained", "Test MSE relative to STE"))
page.say("turns", {"gradient": turns(fresh_ends)})
page.say("spread", {arm: 100 * spread(arm) for arm in PAIR})


@page.holds
def the_end():
    yield "STE is ahead in all nine cells.", *(higher(pair) for row in last.values() for pair in row.values())
    early = [row[2000] for found in to_the_end.values() for row in found.values()]
    yield "In most it is ahead from 2,000 steps on.", sum(higher(pair) is True for pair in early) > len(early) / 2
    rises = {
        (way, start): row[32_000].mean > row[2000].mean
        for way, found in to_the_end.items()
        for start, row in found.items()
    }
    yield (
        "From there the ratio goes on rising, but after a collapse.",
        [key for key, rose in rises.items() if not rose] == [("gradient", warmed)],
    )
    for rises in (list(fresh_ends.values()), list(by_gradient[uniform].values())):
        yield "From short codes the ratio rises all the way.", all(a.mean < b.mean for a, b in pairwise(rises))
        yield "It leads at first and is behind at the end.", lower(rises[2]), higher(rises[-1])
    at_last = fresh_ends[32_000]
    yield "It is behind on all ten fresh seeds.", at_last.n == 10, at_last.signs.losses == 10
    late = [
        ends.mean(arm, uniform, "test_mse", at=8000, fresh=True) / ends.mean(arm, uniform, "test_mse", fresh=True)
        for arm in PAIR
    ]
    yield "STE goes on learning, the rotation stops.", late[0] > 1.25, abs(late[1] - 1) < 0.05
    usage = {arm: ends.values(arm, uniform, "test_usage", fresh=True) for arm in PAIR}
    yield "The rotation uses more of the codes.", min(usage["rotation"]) > max(usage["STE"])


@page.holds
def the_end_with_revival():
    cells = [(arm, start) for arm in PAIR for start in MAIN | WARM]
    usage = {cell: ways["EMA, revival"].values(*cell, "test_usage") for cell in cells}
    yield "Both use all codes.", *(min(values) > 0.99 for values in usage.values())
    perplexity = {cell: ways["EMA, revival"].mean(*cell, "test_perplexity") for cell in cells}
    yield (
        "The rotation at a higher perplexity.",
        *(perplexity["rotation", start] > perplexity["STE", start] for start in MAIN | WARM),
    )
    yield "On fresh seeds the rotation is behind from k-means.", higher(strong_fresh)
    yield "The start decides little by then.", spread("STE") < 0.1, spread("rotation") < 0.1


@page.holds
def fading():
    yield "From short codes it ends ahead of STE.", lower(faded[uniform])
    yield "On fresh seeds, too.", lower(faded_fresh)
    yield "From k-means three seeds leave it open.", includes_one(faded[fitted])
    ended = {arm: {start: fadings.mean(arm, start, "test_mse") for start in MAIN} for arm in PAIR | FADING}
    (faded_to,) = (ended[arm] for arm in FADING)
    yield "It ends below the plain rotation.", *(faded_to[start] < ended["rotation"][start] for start in MAIN)
    for start in MAIN:
        row = [pair.mean for pair in over_time[f"fading, {start}"].values()]
        steps_up = [math.log(b / a) for a, b in pairwise(row)]
        yield "Its lead shrinks, more and more slowly.", min(steps_up) > 0, steps_up[-1] < min(steps_up[:-1])
    follows = error_at_end("STE", fitted, "EMA, revival")
    yield "STE whose codes follow ends lower.", *(follows < error for error in faded_to.values())


@page.holds
def under_decay():
    yield "From short codes a little of the lead is left.", lower(cosine_fresh), 0.9 < cosine_fresh.mean
    yield "From k-means STE is ahead.", higher(cosine[fitted])
    for start in MAIN:
        ends_at = {arm: decays.mean(f"{arm}, cosine", start, "test_mse") for arm in PAIR}
        changes = [ends_at[arm] / error_at_end(arm, start, "gradient") for arm in PAIR]
        yield f"From {start} STE ends higher by it, the rotation lower.", changes[0] > 1 > changes[1]


# %% [markdown]
# ## The hypotheses


# %%
def each_by_its_rule(*parts):
    """What became of a hypothesis whose parts are pairs, each with a rule of its own."""
    return outcome([pair and (pair, rule) for pair, rule in parts], lambda part: part[1](part[0]))


def same_side(two):
    """Whether two ratios are on the same side of 1; open where an interval holds it."""
    return None if any(map(includes_one, two)) else len({separated(pair) for pair in two}) == 1


slow, fast, fastest = ({start: at_rate(rate, start) for start in MAIN | WARM} for rate in (1.0, 10.0, 30.0))
constant = {start: last["gradient"][start] for start in MAIN}
sides = [pair and other and (pair, other) for pair, other in zip(constant.values(), cosine.values())]
page.hypotheses(
    {
        "1. The lead belongs to slow codes.": (
            listed({"codes × 30": fastest[uniform], "codes × 1": slow[uniform]}),
            outcome([fastest[uniform] and slow[uniform] and (fastest[uniform], slow[uniform])], nearer),
        ),
        "2. Codes that follow do not collapse.": (
            listed({"codes × 10": fast[warmed], "codes × 1": slow[warmed]}),
            each_by_its_rule((fast[warmed], below(3)), (slow[warmed], above(8))),
        ),
        "3. Fast codes favour STE.": judge({start: fastest[start] for start in (fitted, warmed)}, higher),
        "4. A delay.": judge(constant[uniform], above(0.9)),
        "5. The strong update favours STE.": judge(last["EMA, revival"], higher),
        "6. Decay changes no sign.": (listed(cosine), outcome(sides, same_side)),
        "7. Fading is a delay as well.": judge(faded, above(0.9)),
        "8. The strong update, on fresh seeds.": judge(strong_fresh, higher),
        "9. A delay under decay.": judge(cosine_fresh, above(0.9)),
        "10. Fading stays ahead.": judge(faded_fresh, lower),
    }
)


# %% [markdown]
# ## What it cost, and what it does not show
#
# The page shows {glue:text}`cost` {glue:text}`full`
