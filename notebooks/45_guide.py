# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (guide)=
# # Which estimator for my model?
#
# ```{admonition} In short
# :class: tip
# Let the codes follow their latents, and use STE: the rotation trick in its place makes the test error
# {glue:text}`least:.2f` to {glue:text}`most:.2f` times as large, whatever the start. Use the rotation only if the
# codes cannot follow *and* start far shorter than the latents *and* training is short: its error is
# {glue:text}`ratio-slow-short:.2f` times that of STE after 2,000 steps, and
# {glue:text}`/notebooks/28_code_speed.ipynb::delay-32000:.2f` times after 32,000 at a constant rate. Otherwise, if
# they cannot follow, use the fading rotation (code below). After 2,000 steps its error was above that of STE from no
# start. After 32,000 it is {glue:text}`/notebooks/28_code_speed.ipynb::fading-fresh:.2f` times that of STE from short
# codes.
# ```
#
# ```python
# from rotvq import recommended
#
# # STE, a fast EMA, k-means on the first batch, unused codes revived
# # latents of shape (..., dim); for (batch, dim, height, width) add channel_first=True
# vq = recommended(dim, codebook_size)
# z_q, indices, loss = vq(latents)  # add loss to yours
# ```
#
# In a checkout of this book `pip install .` installs it; it needs torch and numpy.
#
# ```{glue:figure} fig-signs
# :name: fig-guide-signs
#
# STE is ahead (orange) wherever codes follow, and from every start but short codes (blue). Ratio of test MSE,
# rotation / STE, by how the codes move and how they start; in brackets where the interval contains 1.
# ```

# %% tags=["parameters"]
from typing import Optional

profile: str = "standard"  # smoke: chapter 10 alone, in seconds; standard: the committed records; full: a GPU
engine: str = ""  # trains missing runs: serial, processes:2, ray:0.25; empty: serial, but none of the chapter's plan
device: str = "cpu"
cap: Optional[float] = None  # core-hours that missing runs may take; None: the chapter's own
records: str = ""  # folder of runs; empty: the committed ones, and new ones go to data/records

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("45_guide", globals())

# %% tags=["hide-input"]
import math

from book.chapters import drawings
from book.chapters.recommend import EITHER, ROTATION, STE, Entry, Levels, Table, known
from book.chapters.settings import COLUMNS, HOME, PLAIN, SETTINGS, STARTS
from rotvq.runs.grids import CHAPTERS, PAIR, Block, kmeans

# %% [markdown]
# ## What to do
#
# Go down to the first line that fits.
#
# Codes *follow* if an EMA of decay 0.8 moves them, an EMA that revives unused codes, or an optimizer at 30 times the
# network's learning rate. They *cannot follow* at 3 times that rate or less, or by an EMA of decay 0.99 without
# revival. Codes are *short* if their mean length is below half that of their latents, as uniform in
# $\pm1/K$ is, *fitted* if k-means places them
# on latents, of the untrained encoder or after a *warm-up* without quantiser.
#
# The numbers are ratios of test errors, rotation / STE: above 1 STE is better.
#
# ```{list-table}
# :header-rows: 1
#
# * - what to do
#   - short
#   - fitted
#   - after a warm-up
# * - **If you start a new model,** copy the lines above.
#   -
#   - {glue:text}`ratio-average-fitted:.2f`
#   -
# * - **If an EMA moves your codes,** set its decay to 0.9, revive unused codes, and use STE.
#   - {glue:text}`ratio-average-short:.2f`
#   - {glue:text}`ratio-average-fitted:.2f`
#   - {glue:text}`ratio-average-warmed:.2f`
# * - **If your optimizer moves your codes,** give them 30 times the network's learning rate ({ref}`below <code-rate>`),
#     and use STE.
#   - {glue:text}`ratio-fast-short:.2f`
#   - {glue:text}`ratio-fast-fitted:.2f`
#   - {glue:text}`ratio-fast-warmed:.2f`
# * - **If you can change neither, the codes start far shorter than the latents, and training is short,** use the
#     rotation.
#   - {glue:text}`ratio-slow-short:.2f`
#   -
#   -
# * - **If you can change neither, and training is long, or they start otherwise or you do not know how,** let the
#     rotation fade, as below. The numbers are *fading / STE*, after 2,000 steps:
#   - {glue:text}`/notebooks/39_frontier.ipynb::fading-uniform-1-k:.2f`
#   - {glue:text}`/notebooks/39_frontier.ipynb::fading-k-means:.2f`
#   - {glue:text}`/notebooks/39_frontier.ipynb::fading-k-means-after-warm-up:.2f`
# * - **Do not use the plain rotation** where fitted codes cannot follow.
#   -
#   - {glue:text}`ratio-slow-fitted:.2f`
#   - {glue:text}`ratio-slow-warmed:.1f`
# ```
#
# The rotation that fades is
#
# ```python
# from rotvq import VectorQuantizer
#
# vq = VectorQuantizer(dim, codebook_size, estimator="fading", centre="codebook")
# ```
#
# It turns about the mean code, and only while the codes fit badly. It was compared over 2,000 steps
# ({doc}`39_frontier`), and over 32,000 from short codes and from k-means ({doc}`28_code_speed`). The last number of
# the table is a {term}`codebook collapse`: after a warm-up slow codes lose their latents under the rotation
# ({doc}`25_drift`).
#
# **An exception is known.** In a small VQ-GAN slow codes gain from the rotation also where k-means has fitted them: it
# has {glue:text}`/notebooks/31_vqgan.ipynb::mse-k-means:.2f` times the error of STE. Where its codes follow STE has a
# lower error still, and no difference between the two shows ({doc}`31_vqgan`).
#
# ## Every setting that was compared
#
# Your row is how the codes move. Your column is how they start. The cell says what to use, the ratio rotation / STE of
# test MSE with its 95 % interval, and the number $n$ of pairs of runs. *Confirmed* cells have ten fresh seeds,
# *explored* ones three to five.

# %% tags=["hide-input"]
WAYS = {  # how the codes move, as SETTINGS name it
    PLAIN: "by the gradient, at the network's learning rate",
    "codes × 3": "by the gradient, at 3 times that rate",
    "codes × 10": "at 10 times that rate",
    "codes × 30": "at 30 times that rate",
    "EMA 0.99, counts from 1": "EMA, decay 0.99",
    "EMA 0.8, counts from 0": "EMA, decay 0.8",
    "EMA and revival": "EMA, decay 0.99, unused codes revived",
    "EMA 0.9 and revival": "EMA, decay 0.9, unused codes revived",
}
SHORT, FITTED, WARMED = COLUMNS
STARTED = {SHORT: "far shorter than latents", FITTED: "fitted by k-means", WARMED: "fitted after a warm-up"}
SCALED = ("k-means × 0.3", "k-means × 10")  # fitted codes, then made shorter or longer
LENGTHS = [start for start in STARTS if start.startswith("k-means × ") and start in kmeans(0.01, 0.1, 0.3, 3, 10)]
cells = {(way, start): COLUMNS[start] | SETTINGS[way][0] for way in WAYS for start in COLUMNS}
others = [block for chapter in CHAPTERS.values() for block in chapter.blocks.values()]
runs = page.load(HOME, also=others if profile != "smoke" else [])
named = {", ".join(key): fields for key, fields in cells.items()}
study = page.study(Block(PAIR, named | {start: STARTS[start][0] for start in LENGTHS}))
entries = {key: known(study, ", ".join(key)) for key in cells}
others_start = {start: known(study, start) for start in LENGTHS}
rows = {said: {STARTED[start]: entries[way, start] for start in COLUMNS} for way, said in WAYS.items()}
rows = {said: {start: entry for start, entry in row.items() if entry.pair} for said, row in rows.items()}
compared = Table(list(STARTED.values()), rows, {said: SETTINGS[way][1] for way, said in WAYS.items()})
page.say("sign", {key: entry.pair for key, entry in entries.items()})
page.say("compared", compared)
brief = dict(zip(STARTED.values(), ("short", "fitted", "after a warm-up")))  # as the table above has them
signs = {said: {brief[start]: entry.pair for start, entry in row.items()} for said, row in rows.items()}
page.show("fig-signs", drawings.maps({"": signs}, "Test MSE, rotation / STE", "how the codes start"))
compared

# %% [markdown]
# A ratio says which of two is better. It does not say how low the error is, so here are the errors: mean test MSE in
# thousandths over the seeds that explore, STE / rotation, the lowest of each column in bold. A ratio confirmed above
# is of other seeds. Where codes follow, STE has at most {glue:text}`highest-ste:.1f`, from every start. The rotation
# has at least {glue:text}`lowest-rotation:.1f`, in every row. `recommended` is the last row, fitted by k-means:
# {glue:text}`recommended:.2f`, and without a warm-up nothing in it is lower. The lowest of all is STE at 10 times the
# network's rate after one, {glue:text}`lowest:.2f`.

# %% tags=["hide-input"]
FAST, AVERAGE = "codes × 30", "EMA 0.9 and revival"
FOLLOWING = (FAST, "EMA 0.8, counts from 0", "EMA and revival", AVERAGE)
LAGGING = (PLAIN, "codes × 3", "EMA 0.99, counts from 1")  # they cannot follow


def ratio(entry: Entry) -> float:
    """The mean ratio of a comparison; NaN where it was not run."""
    return entry.pair.mean if entry.pair else math.nan


levels = Levels(study, WAYS, STARTED)
cold = {key: mean for key, mean in levels.means.items() if key[1] != WARMED}
of_ste = [mean for (way, _, arm), mean in levels.means.items() if arm == "STE" and way in FOLLOWING]
of_rotation = [mean for (_, _, arm), mean in levels.means.items() if arm == "rotation"]
page.say("", {"highest-ste": max(of_ste, default=math.nan), "lowest-rotation": min(of_rotation, default=math.nan)})
behind = {key: ratio(entry) for key, entry in entries.items() if key[0] in FOLLOWING and entry.pair}
page.say("", {"least": min(behind.values(), default=math.nan), "most": max(behind.values(), default=math.nan)})
for name, way in {"slow": PLAIN, "fast": FAST, "average": AVERAGE}.items():
    starts = {"short": SHORT, "fitted": FITTED, "warmed": WARMED}
    page.say(f"ratio-{name}", {word: ratio(entries[way, start]) for word, start in starts.items()})
as_recommended = levels.means.get((AVERAGE, FITTED, "STE"), math.nan)
page.say("", {"recommended": as_recommended, "lowest": min(levels.means.values())})
page.say("levels", levels)
levels

# %% [markdown]
# (code-rate)=
# ## How do your codes move?
#
# Look at what updates the codebook. If it is an exponential moving average, read its decay: with 0.8 a code follows
# within five steps, with 0.99 within a hundred. If it is your optimizer, codes and network share one learning rate,
# unless you give the codes a rate of their own:

# %%
import torch

from rotvq import VectorQuantizer

torch.manual_seed(0)
encoder, decoder = torch.nn.Linear(32, 16), torch.nn.Linear(16, 32)
vq = VectorQuantizer(16, 64, estimator="ste", init="kmeans")
groups = [
    {"params": [*encoder.parameters(), *decoder.parameters()], "lr": 1e-3},
    {"params": vq.parameters(), "lr": 3e-2},  # the codes, 30 times as fast
]
optimizer = torch.optim.Adam(groups)

# %% [markdown]
# ## How do your codes start?
#
# Measure $r_0$ before the first step. It is the mean length of a code over that of its latent:

# %%
images = torch.randn(256, 32)
with torch.no_grad():
    z = encoder(images)
    q = vq(z).z_q
    r0 = (q.norm(dim=-1) / z.norm(dim=-1)).mean()

# %% tags=["hide-input"]
assert 0.3 < r0 < 1.1, "codes fitted by k-means have nearly the length of their latents"
page.say("r0", f"{float(r0):.2f}")
at_start = {start: study.mean("STE", f"{PLAIN}, {start}", "r", at=1) for start in COLUMNS}
at_start |= {start: study.mean("STE", start, "r", at=1) for start in LENGTHS}
page.say("start", {start: f"{value:.2g}" for start, value in at_start.items()})
MOVES = {
    PLAIN: "codes move by the gradient, at the network's rate",
    FAST: "at 30 times that rate",
    AVERAGE: "by an EMA of decay 0.9, and are revived",
}
slow_codes = {start: entries[PLAIN, start] for start in COLUMNS} | others_start
by_start = {way: {start: entries[way, start] for start in COLUMNS} for way in MOVES} | {PLAIN: slow_codes}
by_length = {
    MOVES[way]: {start: (at_start[start], entry.pair) for start, entry in row.items()} for way, row in by_start.items()
}
page.show("fig-front", drawings.by_length(by_length, WARMED, (MOVES[AVERAGE], FITTED)))
page.say("ratio", {start: ratio(entry) for start, entry in others_start.items()})

# %% [markdown]
# Here it is {glue:text}`r0`. If yours is below 0.5, your codes are short. If it is near 1, they have the length of
# their latents. If it is far above 1, they are long: use STE, and make them shorter. For codes that move slowly:
#
# ```{list-table}
# :header-rows: 1
#
# * - how the codes start
#   - $r_0$
#   - test MSE, rotation / STE
# * - uniform in $\pm 1/K$, as in taming-transformers and its descendants
#   - {glue:text}`start-uniform-1-k`
#   - {glue:text}`ratio-slow-short:.2f`
# * - k-means, then all codes times 0.3
#   - {glue:text}`start-k-means-0.3`
#   - {glue:text}`ratio-k-means-0.3:.2f`
# * - k-means
#   - {glue:text}`start-k-means`
#   - {glue:text}`ratio-slow-fitted:.2f`
# * - k-means after a warm-up without quantiser
#   - {glue:text}`start-k-means-after-warm-up`
#   - {glue:text}`ratio-slow-warmed:.1f`
# * - k-means, then all codes times 10
#   - {glue:text}`start-k-means-10`
#   - {glue:text}`ratio-k-means-10:.1f`
# ```
#
# $r_0$ is not all: the two rows near 1 differ by the warm-up alone.
#
# ## What this rests on
#
# The runs are of one small VQ-VAE on Fashion-MNIST: 2,000 steps, three or more seeds a cell. {doc}`19_synthesis` has
# every other setting, and the objections. The longer one trains, the more there is for STE: after 32,000 steps at a
# constant rate it is ahead of the rotation from every start, by the three updates that were trained so long, and
# under a cosine decay a little of the rotation's lead from short codes is left ({doc}`28_code_speed`). Other systems
# have chapters of their own, from {doc}`30_residual_codec` on; {doc}`19_synthesis` has what came out in one table.


# %% tags=["hide-input"]
@page.holds
def the_guide():
    words = {key: entry.word for key, entry in entries.items() if entry.pair}
    yield "Where codes follow, STE has the lower error from every start.", {words[key] for key in behind} == {STE}
    yield "The lowest errors of all are STE's.", {arm for _, arm in levels.lowest().values()} == {"STE"}
    yield "Where codes follow, STE is below the rotation at its best, in any row.", max(of_ste) < min(of_rotation)
    slow = [key for key, word in words.items() if word == ROTATION]
    yield "The rotation is for short codes that cannot follow.", {start for _, start in slow} == {SHORT}
    yield "They are those that cannot follow.", {way for way, _ in slow} == set(LAGGING)
    yield "At 10 times the rate neither is ahead from short codes.", words["codes × 10", SHORT] == EITHER
    for way, faster in ((PLAIN, FAST), ("EMA 0.99, counts from 1", AVERAGE)):
        gains = [levels.means[faster, start, "STE"] < levels.means[way, start, "STE"] for start in COLUMNS]
        yield f"STE gains from {faster}, from every start.", *gains
    yield "Slow and short: use the rotation.", words[PLAIN, SHORT] == ROTATION
    yield "Slow and fitted: use STE.", words[PLAIN, FITTED] == STE, words[PLAIN, WARMED] == STE
    perplexity = study.values("rotation", f"{PLAIN}, {WARMED}", "test_perplexity")
    yield "After a warm-up the codebook collapses under the rotation.", max(perplexity) < 10
    yield "Three or more seeds a cell.", *(entry.pair.n >= 3 for entry in entries.values() if entry.pair)
    yield "Nothing is lower without a warm-up than `recommended`.", as_recommended == min(cold.values())
    lowest = min(levels.means, key=levels.means.get)
    yield "The lowest of all is STE at 10 times the rate after a warm-up.", lowest == ("codes × 10", WARMED, "STE")
    yield "Short codes are far below 1.", at_start[SHORT] < 0.05, at_start["k-means × 0.3"] < 0.5
    yield "Fitted codes are near 1.", abs(at_start[FITTED] - 1) < 0.1, abs(at_start[WARMED] - 1) < 0.1
    scaled = {start: others_start[start].word for start in SCALED}
    yield "Codes times 0.3: the rotation. Times 10: STE.", scaled == {SCALED[0]: ROTATION, SCALED[1]: STE}
    yield "Long codes are far above 1.", at_start["k-means × 10"] > 5
    shorter = [entry.word for start, entry in slow_codes.items() if at_start[start] < 0.5]
    others_slow = [entry.word for start, entry in slow_codes.items() if at_start[start] > 0.9]
    yield "The rotation is ahead of slow codes that start shorter, and of no others.", set(shorter) == {ROTATION}
    yield "STE is ahead of the others.", set(others_slow) == {STE}, len(shorter) + len(others_slow) == len(slow_codes)
    (way, start, arm) = min(cold, key=cold.get)
    yield "The star is at the lowest error without a warm-up.", (way, start, arm) == (AVERAGE, FITTED, "STE")
