# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (all-estimators)=
# # All estimators
#
# ```{admonition} In short
# :class: tip
# An estimator says what the latent receives when the decoder sends a gradient $g$ to its code: the pull-back
# $G^\top g$. Only STE and the bare rotation keep the length of $g$. The rotations and the reflection keep the angle:
# $G^\top g$ makes the angle with $z$ that $g$ makes with $q$. The rotation takes {glue:text}`cost` inner products a
# vector for it, and STE none.
# ```
#
# ```{glue:figure} fields
# :name: fig-estimator-fields
#
# STE moves all latents of a cell by the same step; what turns moves each by an angle of its own. A thin arrow is the
# step of one latent, $-G^\top g$, and the thick arrow is the step $-g$ at the code. One square cell, one $g$, the same
# scale in all panels; the cross is the origin.
# ```
#
# This page lists every estimator that the module has, and the [rivals](#all-rivals): quantisers that change more than
# the pull-back. Tables and pictures are made from `rotvq.ESTIMATORS` and `METHODS`, so they cannot fall behind the
# code. {doc}`02_one_equation` derives the family.

# %% tags=["parameters"]
dim: int = 8  # the dimension in which the properties are tried
angle: float = 75.0  # degrees from q to the direction in which a step moves the code's side, in the pictures
seed: int = 0

# %% tags=["hide-input"]
from rotvq.page import Page

page = Page("21_estimators", globals(), dim=(2, 4096), angle=(-180, 180))

# %% tags=["hide-input"]
import math

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

from book.theory.rival_facts import facts
from rotvq import CLIPS, ESTIMATORS, Estimator, VectorQuantizer
from rotvq.page.figures import ARMS, INK, MUTED
from rotvq.quantizers.registry import METHODS

draw = torch.Generator().manual_seed(seed)

# %% [markdown]
# ## The table
#
# With $a=z/|z|$, $b=q/|q|$ and $r=|q|/|z|$, $R$ is the smallest rotation that takes $a$ to $b$, $H$ the reflection
# that does, and $P=I-aa^\top$ removes the part along $z$. *Cost* is the number of inner products that a pull-back takes
# per vector, norms among them. *Keeps* is what each entry kept when it was tried on random vectors:
#
# length
# : $|G^\top g|=|g|$
#
# direction
# : $G^\top g$ is parallel to $g$
#
# angles
# : two gradients at one $z$ make the same angle with each other as at $q$
#
# angle to q
# : $G^\top g$ makes the angle with $z$ that $g$ makes with $q$
#
# norm of z
# : $\langle G^\top g,z\rangle=0$: a small step leaves $|z|$ as it is
#
# limit
# : where $z$ tends to $q$, $G^\top g$ tends to $g$

# %% tags=["hide-input"]
z, q, g, h = torch.randn(4, 64, dim, generator=draw, dtype=torch.float64)
q = 0.7 * q
near = q + 1e-9 * z  # almost q, from any side


def cos(x, y):
    return (x * y).sum(-1) / x.norm(dim=-1) / y.norm(dim=-1)


def same(x, y):
    return torch.allclose(x, y, rtol=1e-7, atol=1e-7)  # float64 leaves 1e-13; what differs, differs by 1e-2


def keeps(member: Estimator) -> list[str]:
    """The properties of a member that hold on all of the vectors above."""
    G_g, G_h = member.pull_back(z, q, g), member.pull_back(z, q, h)
    found = {
        "length": same(G_g.norm(dim=-1), g.norm(dim=-1)),
        "direction": same(cos(G_g, g), torch.ones(64, dtype=z.dtype)),
        "angles": same(cos(G_g, G_h), cos(g, h)),
        "angle to q": same(cos(G_g, z), cos(g, q)),
        "norm of z": same((G_g * z).sum(-1), torch.zeros(64, dtype=z.dtype)),
        "limit": same(member.pull_back(near, q, g), g),
    }
    return [name for name, holds in found.items() if holds]


kept = {name: keeps(member) for name, member in ESTIMATORS.items()}
rows = ["| name | $G^\\top g$ | source | cost | keeps |", "|---|---|---|---|---|"]
for name, member in ESTIMATORS.items():
    source = f"{{cite}}`{member.source}`" if member.source != "control" else "control"
    formula = member.formula.replace("|", r"\vert ")  # a bar would end the cell
    rows.append(f"| `{name}` | ${formula}$ | {source} | {member.cost} | {', '.join(kept[name])} |")

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
display(Markdown("\n".join(rows)))

# %% tags=["remove-cell"]
for name in ("rotation", "rotation_only", "clipped", "mean_rotation"):  # the sentences below
    assert {"angles", "angle to q"} <= set(kept[name])
assert {name for name, what in kept.items() if "length" in what} == {"ste", "rotation_only"}
assert "angle to q" in kept["reflection"] and "limit" not in kept["reflection"]
assert all("angle to q" not in kept[name] for name in ("ste", "scale_only", "interpolated"))
assert {name for name, what in kept.items() if "norm of z" in what} == {
    "radial_free",
    "radial_free_scale",
    "zero",
}
assert min(ESTIMATORS, key=lambda name: ESTIMATORS[name].cost) == "ste" and ESTIMATORS["rotation"].cost == 5
page.say("cost", ESTIMATORS["rotation"].cost)

# %% [markdown]
# The reflection has the angle, too, but no limit at $z=q$. {doc}`20_cost` has the cost in milliseconds.
#
# ## The pictures

# %% tags=["hide-input"]
code = torch.tensor([1.4, 1.0], dtype=torch.float64)
side = torch.linspace(-0.75, 0.75, 4, dtype=torch.float64)
field = code + torch.cartesian_prod(side, side)  # 16 latents of the cell
turned = math.atan2(code[1], code[0]) + math.radians(angle)
step = torch.tensor([math.cos(turned), math.sin(turned)], dtype=torch.float64)  # -g


def panel(title: str, member: Estimator, color: str, centre=None, **inside):
    """The field of one member over the cell, as a matplotlib figure."""
    moved = member.pull_back(field, code.expand_as(field), step.expand_as(field), centre=centre, **inside)
    fig = plt.figure(figsize=(1.35, 1.46))
    ax = fig.add_axes((0, 0, 1, 0.89))
    arrows = {"angles": "xy", "scale_units": "xy", "scale": 2.1}
    ax.quiver(*field.T, *moved.T, color=color, width=0.016, headwidth=3.5, headlength=4, headaxislength=4, **arrows)
    ax.quiver(*code, *step, color=INK, width=0.03, headwidth=3, headlength=3, headaxislength=3, zorder=3, **arrows)
    ax.plot(*code, "o", color=INK, markersize=4)
    ax.plot(*((0, 0) if centre is None else centre), "+", color=INK, markersize=7)
    ax.add_patch(plt.Rectangle((code - 1).tolist(), 2, 2, fill=False, edgecolor=MUTED, linewidth=0.8, linestyle=":"))
    ax.set(xlim=(-0.2, 2.55), ylim=(-0.35, 2.4), xticks=[], yticks=[])
    ax.set_title(title, pad=3)
    ax.spines[:].set(visible=True, color=MUTED, linewidth=0.6)
    return fig


figs = [panel(ARMS[name].label, member, ARMS[name].color) for name, member in ESTIMATORS.items()]
alt = """Gradient fields of all members over one cell. STE: equal parallel arrows. Rotations: arrows that turn about the
origin with z. With the scale r: longer towards the origin. Radial-free: arrows at right angles to z. Zero: none."""
page.show("fields", figs, alt)

# %% [markdown]
# They are in {numref}`fig-estimator-fields`.
#
# ## Options that every member has
#
# | option | what it does |
# |---|---|
# | `clip` | bounds $r$ by a range, or by the name of one |
# | `centre` | replaces $z$ and $q$ by $z-\mu$ and $q-\mu$, such as the mean code or the running mean of the latents |
# | `mix` | is the share $t$ against STE; `warmup` lets it grow from 0 |
# | `gain` | is one more factor for each code, or a function that gives one for each vector |

# %%
codes = torch.cartesian_prod(torch.tensor([-0.6, 1.4]), torch.tensor([-1.0, 1.0]))
latents = 1.4 * torch.randn(200, 2, generator=draw)
gain = torch.tensor([0.5, 1.0, 1.0, 2.0])
rotation = ESTIMATORS["rotation"]


def felt(**options):
    """What latents receive from a quantiser with these options when every code is sent (1, 0)."""
    x = latents.clone().requires_grad_()
    vq = VectorQuantizer(2, 4, **{"estimator": "rotation", "init": codes, **options})
    z_q, indices, _ = vq(x)
    (found,) = torch.autograd.grad(z_q[..., 0].sum(), x)
    return found, codes[indices], indices


ones = torch.tensor([[1.0, 0.0]]).expand(200, 2)
for name, (low, high) in CLIPS.items():
    found, chosen, _ = felt(clip=name)
    r = chosen.norm(dim=-1) / latents.norm(dim=-1)
    torch.testing.assert_close(found.norm(dim=-1), r.clamp(low, high))

found, chosen, _ = felt(centre="codebook")
torch.testing.assert_close(found, rotation.pull_back(latents, chosen, ones, centre=codes.mean(0)))

found, chosen, _ = felt(mix=0.25)
torch.testing.assert_close(found, 0.75 * ones + 0.25 * rotation.pull_back(latents, chosen, ones))

found, _, _ = felt(warmup=1000)  # the first of 1000 calls is plain STE
assert torch.equal(found, ones)

found, chosen, indices = felt(gain=gain)
torch.testing.assert_close(found, gain[indices, None] * rotation.pull_back(latents, chosen, ones))

# %% tags=["hide-input"]
mu, blue = torch.tensor([0.1, 2.2], dtype=torch.float64), ARMS["rotation"].color
figs = [panel(name, Estimator("rotation", clip=clip), ARMS["clipped"].color) for name, clip in CLIPS.items()]
figs.append(panel("centre at the cross", rotation, blue, centre=mu))
figs.append(panel("mix t = 0.25", rotation, ARMS["interpolated"].color, mix=0.25))
figs.append(panel("gain 0.5", rotation, blue, gain=torch.full((16, 1), 0.5, dtype=torch.float64)))
alt = """The rotation with each option: three clips, which even out the arrows near the origin more or less; turning
about another point than the origin; a mix, nearly parallel; and a gain, half as long."""
page.show("options", figs, alt)
page.say("clips", "; ".join(f"{name} [{low:g}, {high:g}]" for name, (low, high) in CLIPS.items()))

# %% [markdown]
# ```{glue:figure} options
# :name: fig-options
#
# A clip evens out the lengths, a centre moves the point about which arrows turn, a mix makes them more parallel: the
# rotation with one option at a time. The clips by name are {glue:text}`clips`.
# ```
#
# ## A new member
#
# It takes one line. This one turns like the rotation, and may shorten $g$ but never lengthen it. Give it to a
# quantiser, or put it into the registry: then configurations, grids and this page know its name.

# %%
brake = Estimator("rotation", clip=(0.0, 1.0), formula=r"\min(r, 1) R^\top g", source="this page")

vq = VectorQuantizer(dim=2, codebook_size=4, estimator=brake)
found, chosen, _ = felt(estimator=brake)
r = chosen.norm(dim=-1) / latents.norm(dim=-1)
torch.testing.assert_close(found.norm(dim=-1), r.clamp(max=1))

# %% [markdown]
# A pull-back that is no such composition is a module: `VectorQuantizer(estimator=my_module)` calls it as
# `my_module(z, q)`.
#
# ## What cannot be learned
#
# $G$ stands inside a stop-gradient. So a mix, a gain or a centre gets no gradient from the loss. An optimiser would
# leave such a parameter where it is, without a warning.

# %%
x, learned = latents.clone().requires_grad_(), torch.ones(200, 1, requires_grad=True)
t = torch.tensor(0.5, requires_grad=True)
mu = torch.zeros(2, requires_grad=True)
rotation(x, chosen, gain=learned, mix=t, centre=mu).square().sum().backward()

assert x.grad.norm() > 0
assert learned.grad is None and t.grad is None and mu.grad is None

# %% [markdown]
# `VectorQuantizer` therefore refuses a gain that asks for a gradient:

# %%
try:
    VectorQuantizer(2, 4, gain=torch.ones(4, requires_grad=True))
except ValueError as error:
    print(error)
else:
    raise AssertionError("a parameter that can never learn was accepted")

# %% [markdown]
# To learn a scale one needs another objective, for instance how well $G^\top g$ agrees with the gradient of a smoothed
# loss. {mod}`rotvq.quantizers.learned_gain` has that.
#
# (all-rivals)=
# ## Rivals
#
# These change more than the pull-back: the codes, the lookup, the losses, or how often the decoder is run. They are
# called like `VectorQuantizer` and can replace it. *Cost* is the work of a training step of $N$ latents in $d$
# dimensions with $K$ codes, to leading order.

# %%
nsvq = METHODS["nsvq"](dim=8, codebook_size=64)
z_q, indices, loss = nsvq(torch.randn(4, 10, 8, generator=draw))

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
rows = ["| name | source | in place of | cost |", "|---|---|---|---|"]
for name, rival in METHODS.items():
    rows.append(f"| `{name}` | {{cite}}`{rival.source}` | {rival.replaces} | {rival.cost} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# NSVQ replaces the estimator and uses neither loss; `estimator=` raises an error there. `exact` and `hessian` need the
# loss itself, so their training calls take one more argument, the function from latents to the loss:
# {mod}`rotvq.quantizers.methods.second_pass`.
#
# Is each what its source describes? One fact of each is tried here, and the same fact fails for another quantiser.
# Where there is a package, the tests compare value and gradient with it: vector-quantize-pytorch for `vq`, `simvq`,
# `fsq`, `lfq` and `bsq`, `nsvq` and `diveq` for the four that bear their names. The formula of `dynamic` was checked
# against a summary of its paper, those of `lfq` and `bsq` against published code, not against the papers.

# %% tags=["remove-input"] mystnb={"markdown_format": "myst"}
of_rival = facts()
assert of_rival.keys() == METHODS.keys() and all(fact.require() for fact in of_rival.values())
display(Markdown("\n".join(f"`{name}`\n: {of_rival[name].text}\n" for name in METHODS)))

# %% [markdown]
# All compile without a graph break (`torch.compile(..., fullgraph=True)`), but for `hessian` in training: it
# differentiates twice inside the call, which torch does not compile.
