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
# **Use STE, and let the codes follow their latents.** Where codes follow, by a fast average, by revival or by a high
# learning rate of their own, STE has the lower error from every start that was tried, and the lowest errors of all. The
# rotation trick is for codes that cannot follow *and* start far shorter than the latents. After a warm-up without
# quantiser it collapses, unless the codes follow.
#
# ```python
# from rotvq import recommended
#
# vq = recommended(dim, codebook_size)  # STE, a fast EMA, k-means on the first batch, unused codes revived
# z_q, indices, loss = vq(latents)      # add loss to yours
# ```

# %% tags=["parameters"]
profile: str = "standard"  # smoke: chapter 10 alone, in seconds; standard: the committed records; full: a GPU
engine: str = ""  # where missing runs are trained: serial, processes:2, ray:0.25; empty: serial, or not at all
device: str = "cpu"
cap: float | None = None  # core-hours that missing runs may take; None: the chapter's own
records: str = ""  # folder of the run records; empty: the committed ones

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("45_guide", globals())

# %% tags=["hide-input"]
import math

import torch

from book.chapters.recommend import STE, Levels, Table, known
from book.chapters.settings import COLUMNS, HOME, PLAIN, SETTINGS
from rotvq import VectorQuantizer
from rotvq.runs.grids import CHAPTERS, PAIR, Block

# %% [markdown]
# ## What do you know of your model?
#
# Find your row by how the codes move, and your column by how they start. Each cell compares test MSE under the rotation
# with that under STE; below 1 the rotation is better.

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
cells = {(way, start): COLUMNS[start] | SETTINGS[way][0] for way in WAYS for start in COLUMNS}
others = [block for chapter in CHAPTERS.values() for block in chapter.blocks.values()]
runs = page.load(HOME, also=others if profile != "smoke" else [])
study = page.study(Block(PAIR, {", ".join(key): fields for key, fields in cells.items()}))
entries = {key: known(study, ", ".join(key)) for key in cells}
rows = {said: {STARTED[start]: entries[way, start] for start in COLUMNS} for way, said in WAYS.items()}
rows = {said: {start: entry for start, entry in row.items() if entry.pair} for said, row in rows.items()}
compared = Table(list(STARTED.values()), rows, {said: SETTINGS[way][1] for way, said in WAYS.items()})
page.say("sign", {key: entry.pair for key, entry in entries.items()})
page.say("compared", compared)
compared

# %% [markdown]
# Ratios say which of two is better, not what is good. Mean test MSE in thousandths, STE / rotation, the lowest of each
# column in bold. `recommended` is the last row, fitted by k-means: {glue:text}`above:.2f` times the lowest error
# without a warm-up.

# %% tags=["hide-input"]
levels = Levels(study, WAYS, STARTED)
cold = [mean for (_, start, _), mean in levels.means.items() if start != WARMED]
above = levels.means.get(("EMA 0.9 and revival", FITTED, "STE"), math.nan) / min(cold)
page.say("above", above)
page.say("levels", levels)
levels

# %% [markdown]
# ## How do your codes move?
#
# Look at what updates the codebook. If it is an exponential moving average, the decay decides: 0.8 follows within five
# steps, 0.99 within a hundred. If it is your optimizer, codes and network share one learning rate unless you say
# otherwise. Saying otherwise takes two lines:

# %%
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
# Measure $r_0$, the mean length of a code over that of its latent, before the first step:

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
page.say("start", {start: f"{value:.2g}" for start, value in at_start.items()})

# %% [markdown]
# Here it is {glue:text}`r0`. In the runs above it was {glue:text}`start-uniform-1-k` with codes uniform in $\pm 1/K$,
# as in taming-transformers and its descendants, {glue:text}`start-k-means` with k-means and
# {glue:text}`start-k-means-after-warm-up` with k-means after a warm-up. Far below 1 the codes are short, near 1 they
# are fitted. Far above 1 they are long, which is the worst start for the rotation ({doc}`11_initialisation`).
#
# ## What this rests on
#
# One small VQ-VAE on Fashion-MNIST, 2,000 steps, three or more seeds a cell; {doc}`19_synthesis` has every other
# setting and the objections. With codes that move slowly the lead of the rotation from short codes shrinks as training
# goes on ({doc}`10_ste_vs_rotation`). Other systems, from {doc}`30_residual_codec` on, have chapters whose runs are
# still to be made.


# %% tags=["hide-input"]
@page.holds
def the_guide():
    words = {key: entry.word for key, entry in entries.items() if entry.pair}
    following = [way for way in WAYS if way == "codes × 30" or way.endswith(("EMA 0.8, counts from 0", "revival"))]
    ran = [(way, start) for way in following for start in COLUMNS if (way, start) in words]
    yield "Where codes follow, STE has the lower error from every start.", *(words[key] == STE for key in ran)
    yield "The lowest errors of all are STE's.", {arm for _, arm in levels.lowest().values()} == {"STE"}
    slow = [key for key, word in words.items() if word == "use the rotation"]
    yield "The rotation is for short codes that cannot follow.", {start for _, start in slow} == {SHORT}
    yield "After a warm-up it collapses.", entries[PLAIN, WARMED].pair.low > 5
    yield "Unless the codes follow.", *(entries[way, WARMED].pair.high < 2 for way in following[:2])
    yield "Three or more seeds a cell.", *(entry.pair.n >= 3 for entry in entries.values() if entry.pair)
    yield "`recommended` is near the lowest error.", above < 1.05
    yield "Fitted codes are near 1, short ones far below.", at_start[SHORT] < 0.05, 0.5 < at_start[FITTED] < 1.5
