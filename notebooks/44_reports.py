# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (reports)=
# # What others report
#
# ```{admonition} In short
# :class: tip
# Some say that the rotation trick fills the codebook, others that it ruined their model, and both can be right. Of
# {glue:text}`all` public comparisons, {glue:text}`placed` can be set beside a setting of this book:
# {glue:text}`agrees` agree with it and {glue:text}`disagrees` disagree. {glue:text}`depends` more are right from one
# start and wrong from another, and do not say from which they started.
# ```
#
# ```{glue:figure} fig-fits
# :name: fig-reports-fits
#
# More reports agree with this book than disagree. Public comparisons of the rotation with STE, by how they fit.
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

page = Page("44_reports", globals())

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
from IPython.display import Markdown, display

from book.chapters import reports
from book.chapters.settings import HOME
from book.ledger.evidence.paper import TABLES
from rotvq.page.figures import ARMS
from rotvq.quantizers.registry import METHODS
from rotvq.runs.grids import CHAPTERS

# %% tags=["hide-input"]
runs = page.load(HOME, also=reports.BLOCKS if profile != "smoke" else [])
placed = reports.place_all(runs)
open_ended = [one for one in placed if reports.NOT_GIVEN in (one.report.update, one.report.start)]
opposed = reports.opposed(placed)
residual = [one for one in reports.REPORTS if reports.RESIDUAL in one.setting]
page.say("", reports.counts(placed))
page.say("", {"open-ended": len(open_ended), "opposed": len(opposed), "residual": len(residual)})
page.say("opposed-which", "; ".join(opposed) or "none")
fits = {word: count for word, count in reports.counts(placed).items() if word in reports.WORDS and count}
fits["without a cell here"] = reports.counts(placed)["left"]
fig, ax = plt.subplots(figsize=(4.2, 0.36 * len(fits) + 0.5))
ax.barh(list(fits), list(fits.values()), height=0.6, color=ARMS["rotation"].color)
ax.invert_yaxis()
ax.set(xlabel="public comparisons")
ax.grid(axis="y", visible=False)
page.show("fig-fits", fig, "Bars: " + "; ".join(f"{word}: {count}" for word, count in fits.items()) + ".")

# %% [markdown]
# {glue:text}`not-settled` reports are not settled here. The other {glue:text}`left` ran something that no grid of this
# book has. What is the disagreement about?
#
# 1. *What is not said.* {glue:text}`open-ended` reports do not say how their codes start. Here each of them is right
#    from one start and wrong from another.
# 2. *What is measured.* In {glue:text}`opposed` settings errors are reported both to rise and to fall under the
#    rotation ({glue:text}`opposed-which`). In one of them both reports are by the same authors: they measure PSNR in
#    one task and FID in the other. The paper's first row has a higher loss and a better r-FID in the same runs.
# 3. *What is not the same here.* {glue:text}`residual` of the {glue:text}`left` reports without a cell are of residual
#    quantisers, in wirings that they do not name. {doc}`30_residual_codec` has a cascade in three wirings: there the
#    sign is the same in all, and the size is not.
#
# ## Reports with a cell here
#
# ```{admonition} One rule for every row
# :class: note
# A report is compared with this book in every setting that it may have been run in. A setting is how the codes move,
# how they are looked up, and how they start.
#
# - If a report gives its start, that start is taken. **If it does not, it is compared from all three main starts**:
#   uniform $\pm 1/K$, k-means, and k-means after a warm-up.
# - If it does not give its update, it is compared with the gradient, EMA 0.99 and EMA 0.8.
# - If this book has no cell for its update, its lookup or its residual cascade, nothing is compared.
#
# In one setting a report of a rise or a fall *agrees* or *disagrees* if the whole interval of the ratio is on one side
# of 1. A report of no effect *agrees* if the whole interval is within 5 % of 1, and *disagrees* if all of it is
# outside. Else it is *not settled*. If that is not the same in all of its settings, it *depends*. The ratio is that of
# test MSE, or of what the row names. Images, networks and further losses differ in every row, so a sign that agrees
# does not prove the reason.
# ```

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
display(Markdown(reports.compared(placed)))

# %% [markdown]
# By r-FID, or r-FVD, the rotation is better in every row of the paper, whatever its loss does. Not all reports are
# independent: the account behind issue 167 has the name of DiVeQ's first author. DiVeQ's codes start uniform in
# $(0, 1/K)$, as in its released code; here they start in $\pm 1/K$. Few reports say how many seeds they rest on.
#
# ## Reports without one

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
display(Markdown(reports.left_out()))


# %% tags=["hide-input"]
@page.holds
def what_it_is_about():
    found = [set(one.fits.values()) for one in open_ended]
    yield (
        "What leaves its start open is right from one and wrong from another.",
        *({reports.AGREES, reports.DISAGREES} <= fit for fit in found),
    )
    counted = reports.counts(placed)
    yield "More agree than disagree.", counted[reports.AGREES] > counted[reports.DISAGREES]
    yield "What depends leaves its start open.", [one for one in placed if one.word == reports.DEPENDS] == open_ended
    authors = [{one.report.source for one in placed if [*one.entries] == [cell]} for cell in opposed]
    yield (
        "In one of the settings with both signs the reports are by the same authors.",
        sum(len(found) == 1 for found in authors) == 1,
    )
    (ste, rotation) = TABLES["1 Euclid 1024"]
    yield "The paper's first row has a higher loss and a better r-FID.", rotation[2] > ste[2], rotation[3] < ste[3]
    better = [ours[3] < theirs[3] for theirs, ours in TABLES.values()]
    yield "By r-FID, or r-FVD, the rotation is better in every row of the paper.", all(better)


# %% [markdown]
# ## Rivals that are cited and not raced
#
# {doc}`16_rivals` is a race. These have no row in it. What each does, and how it differs:
#
# *The gradient of the encoder*
#
# - **GRIT-VQ** {cite}`you2026grit` moves the latent along $q-z$ by a step whose length is set apart from the error, and
#   moves all codes through one shared transform. The first is an estimator, as in this book; the second is not.
# - **ReinMax** {cite}`liu2023reinmax` is accurate to second order for a categorical variable that is *sampled*. Here
#   the nearest code is taken.
# - **IBQ** {cite}`shi2024ibq` puts the straight-through estimator on the one-hot choice among all codes, so every code
#   gets a gradient, also those not chosen.
# - **Pushing toward the vertices** {cite}`morita2025simplex` and **LGQ** {cite}`altun2026lgq` decode mixtures of codes
#   while they train, and draw them to single codes by a penalty, or by a temperature. Here a code is decoded from the
#   first step.
#
# *Which code is taken, and how codes move*
#
# - **OptVQ** {cite}`zhang2024optvq` assigns latents to codes by optimal transport, which spreads them over all codes,
#   in place of the nearest code.
# - **Wasserstein-VQ** {cite}`fang2025wasserstein` adds a loss: the Wasserstein distance between the distributions of
#   latents and codes.
# - **FVQ** {cite}`chang2025fvq` learns all codes through a network, as SimVQ does through one matrix.
# - **VQGAN-LC** {cite}`zhu2024vqganlc` takes features of a pretrained encoder as codes, and learns only the projection
#   that brings them to the latents.
# - **NSVQ** and **TransVQ** {cite}`lu2026stationarity` make codes that are not chosen follow the drift of the encoder,
#   by a kernel, or by a small transformer that moves all codes. A sequel freezes the encoder in stages
#   {cite}`lu2026nsvq`. Neither is the NSVQ of {doc}`16_rivals` {cite}`vali2022nsvq`. {doc}`25_drift` has the drift.
# - **GM-VQ** {cite}`yan2024gmvq` makes the codes the means of a Gaussian mixture with variances that are learned, and
#   maximises a variational bound.
#
# *When quantisation begins*
#
# - **Continuous first** {cite}`zhao2026continuous` and **deferred quantisation** {cite}`zhao2026early` train an
#   autoencoder before there are codes. That is the start *k-means after warm-up* of this book, in both arms: a start,
#   not a rival ({doc}`11_initialisation`).
#
# *No codebook*
#
# - **LFQ** {cite}`yu2024lfq` and **BSQ** {cite}`zhao2025bsq` take the signs of the coordinates. The package has both;
#   they have no codes that the rotation could turn to, and no run.


# %% tags=["hide-input"]
@page.holds
def rivals():
    blocks = [block for chapter in CHAPTERS.values() for block in chapter.blocks.values()]
    raced = {fields.get("quantizer") for block in blocks for fields in block.arms.values()}
    yield "The package has LFQ and BSQ, and no run of them.", {"lfq", "bsq"} <= set(METHODS), not {"lfq", "bsq"} & raced


# %% [markdown]
# ## What it cost
#
# Nothing of its own. This page reads {glue:text}`coverage` of four chapters.
