r"""A character model whose attention quantises its keys, and so takes linear time (Lingle 2023, arXiv 2309.16354).

A query at place i weighs the values of all places j up to its own:

.. math:: w_{ij} \propto \exp(\langle q_i, \hat k_j\rangle + b_{ij}), \qquad b_{ij} = \langle q_i, r_{i-j}\rangle
          \text{ for } i - j \le L, \text{ else } 0,

where :math:`\hat k_j` is the code nearest to the key, one of S. :func:`quadratic` is this equation. All keys of a code
have one weight where b is 0, so :func:`linear` keeps for each code how many keys it has and the sum of their values,
block by block of L places; only its own block and the one before it are attended to key by key. Both give the same.

The gradient that a key receives comes from an estimator. In :func:`linear` it comes from the queries of the key's own
block and the next: what was summed up by code has no key any more. :func:`quadratic` can do both, see ``reach``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from book.systems import plays, runs
from rotvq import VectorQuantizer
from rotvq.quantizers.base import Quantizer
from rotvq.quantizers.geometry import geometry
from rotvq.quantizers.methods.fsq import FSQ
from rotvq.training.seeds import derived_seed, generator

STOPS = (0.25, 0.5, 1.0)  # shares of the steps after which the test plays are read
GRID = (8, 4)  # levels of FSQ: 32 codes


@dataclass(frozen=True)
class Case:
    """One run.

    Args:
        estimator: a key of :data:`rotvq.ESTIMATORS`, with codes moved by EMA of decay 0.99, as in the paper; "fsq": a
            grid of 8 times 4 levels between two linear maps; "full": keys are not quantised, attention is quadratic.
        gamma: weight of the commitment loss, a sum over the numbers of a key, a mean over keys.
        codes: S, of each layer.
        init: of the codes: "kmeans" on the keys of the first batch, or "normal", which is far from them.
        reach: from which queries a key receives its gradient: "window", as :func:`linear`, or "all".
        rate: of Adam.
        width: of a layer; values are twice as wide.
        key: numbers of a key and of a query, d.
        layers: how many.
        block: L.
        length: characters of a text in training and in the test.
        batch: texts of a step.
        steps: of Adam.
        tested: texts of the held-out plays that are read at each stop.
        seed: of weights, order and codes.
    """

    estimator: str = "ste"
    gamma: float = 1e-4
    codes: int = 32
    init: str = "kmeans"
    reach: str = "window"
    rate: float = 4e-3
    width: int = 96
    key: int = 32
    layers: int = 2
    block: int = 32
    length: int = 256
    batch: int = 8
    steps: int = 400
    tested: int = 128
    seed: int = 0


def distances(rows: int, columns: int, last: int) -> Tensor:
    """How far a query is behind a key, int64 (rows, columns), when the last of both stand at one place."""
    ahead = torch.arange(rows)[:, None] - torch.arange(columns) + columns - rows
    return ahead.clamp(-1, last)


def positions(q: Tensor, near: Tensor, rows: int, columns: int) -> Tensor:
    """``b`` of the last ``columns`` keys, -inf of those that are yet to come: (..., rows, columns).

    Args:
        q: queries, (..., rows, d).
        near: ``r``, (L + 1, d): a vector for each distance from 0 to L.
        rows: how many queries.
        columns: how many keys; the last of them stands where the last query does.
    """
    scores = q @ near.t()
    beyond, to_come = scores.new_zeros(*scores.shape[:-1], 1), scores.new_full((*scores.shape[:-1], 1), -math.inf)
    place = distances(rows, columns, len(near)).to(q.device)  # -1: to come, len(near): beyond L
    return torch.cat([scores, beyond, to_come], -1).gather(-1, (place % (len(near) + 2)).expand(*q.shape[:-1], -1))


def quadratic(q: Tensor, k: Tensor, v: Tensor, near: Tensor, block: int | None = None) -> Tensor:
    """The equation as it stands, every query with every key before it: (B, T, d_v).

    Args:
        q: queries, (B, T, d).
        k: keys, (B, T, d), quantised or not.
        v: values, (B, T, d_v).
        near: ``r``, (L + 1, d).
        block: L, to send gradients to the keys of a query's own block and the one before it alone; None: to all.
    """
    scores = q @ k.transpose(-1, -2)
    if block:
        number = torch.arange(q.shape[1], device=q.device) // block
        old = number[:, None] - number > 1
        scores = torch.where(old, q @ k.detach().transpose(-1, -2), scores)
    return (scores + positions(q, near, q.shape[1], k.shape[1])).softmax(-1) @ v


def linear(q: Tensor, k: Tensor, v: Tensor, near: Tensor, codes: Tensor, indices: Tensor, block: int) -> Tensor:
    """The same in time and memory linear in T: (B, T, d_v), of T that blocks divide.

    Args:
        q: queries, (B, T, d).
        k: quantised keys, ``codes[indices]`` with the gradient of an estimator, (B, T, d).
        v: values, (B, T, d_v).
        near: ``r``, (L + 1, d).
        codes: (S, d).
        indices: of the keys, (B, T).
        block: L.
    """
    q, k, v, indices = (x.unflatten(1, (-1, block)) for x in (q, k, v, indices))  # (B, T/L, L, ...)
    # all blocks but this one and the one before it, summed up by code
    member = functional.one_hot(indices, len(codes)).to(v.dtype)
    counts, sums = member.sum(2), member.transpose(-1, -2) @ v  # of each block: (B, T/L, S), (B, T/L, S, d_v)
    counts, sums = (functional.pad(x, (0, 0) * (x.ndim - 2) + (2, 0))[:, :-2].cumsum(1) for x in (counts, sums))
    old = q @ codes.t() + counts.log()[:, :, None]
    # this block and the one before it, key by key
    k, v = (torch.cat([functional.pad(x, (0, 0, 0, 0, 1, 0))[:, :-1], x], 2) for x in (k, v))
    recent = q @ k.transpose(-1, -2) + positions(q, near, block, 2 * block)
    recent[:, 0, :, :block] = -math.inf  # before the first block there is none
    weights = torch.cat([old, recent], -1).softmax(-1)
    means = sums / counts.clamp_min(1)[..., None]
    seen = weights[..., : len(codes)] @ means + weights[..., len(codes) :] @ v
    return seen.flatten(1, 2)


def quantizer(case: Case) -> Quantizer:
    """What quantises the keys of one layer."""
    if case.estimator == "fsq":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(case.seed, "codebook"))
            return FSQ(case.key, math.prod(GRID), sizes=GRID)
    return VectorQuantizer(
        case.key,
        case.codes,
        case.estimator,
        init=case.init,
        update="ema",
        gamma=case.gamma,
        convention="token",
        generator=generator(case.seed, "codebook"),
    )


class Layer(nn.Module):
    """Gated attention of one head (Hua et al. 2022, arXiv 2202.10447): ``x + W_o (g * attention(q, k, v))``."""

    def __init__(self, case: Case, weights: torch.Generator):
        super().__init__()
        self.case, self.wide = case, 2 * case.width
        self.norm = nn.LayerNorm(case.width)
        self.project = nn.Linear(case.width, 2 * case.key + 2 * self.wide, bias=False)
        self.out = nn.Linear(self.wide, case.width, bias=False)
        self.near = nn.Parameter(torch.zeros(case.block + 1, case.key))
        for layer in (self.project, self.out):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=weights)
        self.quantizer = None if case.estimator == "full" else quantizer(case)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, width) -> the same and the commitment loss."""
        q, k, v, gate = self.project(self.norm(x)).split([self.case.key] * 2 + [self.wide] * 2, -1)
        # normalised without a gain, so that every key has the length d^(1/4), and no score passes d^(1/2)
        q, k = (functional.layer_norm(y, y.shape[-1:]) * self.case.key**-0.25 for y in (q, k))
        v, loss = functional.silu(v), x.new_zeros(())
        if self.quantizer is None:
            seen = quadratic(q, k, v, self.near)
        else:
            quantised, indices, loss = self.quantizer(k)
            if self.case.reach == "all":
                seen = quadratic(q, quantised, v, self.near)
            else:
                codes = self.quantizer.decode(torch.arange(self.quantizer.codebook_size, device=x.device))
                seen = linear(q, quantised, v, self.near, codes, indices, self.case.block)
        return x + self.out(seen * functional.silu(gate)), loss


class Model(nn.Module):
    """Characters to logits of the next ones."""

    def __init__(self, case: Case):
        super().__init__()
        weights = generator(case.seed, "weights")
        self.embedding = nn.Embedding(len(plays.CHARACTERS), case.width)
        self.layers = nn.ModuleList(Layer(case, weights) for _ in range(case.layers))
        self.norm = nn.LayerNorm(case.width)
        self.head = nn.Linear(case.width, len(plays.CHARACTERS))
        nn.init.normal_(self.embedding.weight, generator=weights)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """text int64 (B, T) -> logits (B, T, characters), the sum of the layers' commitment losses."""
        x, total = self.embedding(text), 0.0
        for layer in self.layers:
            x, loss = layer(x)
            total = total + loss
        return self.head(self.norm(x)), total


def train(case: Case, device: str = "cpu") -> dict:
    """Train one case on a device; deterministic on a given machine.

    Returns:
        ``bits`` per character of the test plays after the last step, and at the earlier stops ``bits_at_1`` and so on;
        ``validation_bits``; for keys that are quantised what :func:`keys` says of them, on a quarter of the test texts.
    """
    text = plays.split("train")
    held = {name: windows(case, plays.split(name)).to(device) for name in ("validation", "test")}
    model, order = Model(case).to(device), generator(case.seed, "order")
    optimiser = torch.optim.Adam(model.parameters(), lr=case.rate, betas=(0.9, 0.99))
    stops, result = [round(share * case.steps) for share in STOPS], {}
    for step in range(1, case.steps + 1):
        starts = torch.randint(len(text) - case.length, (case.batch,), generator=order)
        batch = text[starts[:, None] + torch.arange(case.length + 1)].to(device)
        logits, commitment = model(batch[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()) + commitment
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step in stops[:-1]:
            result[f"bits_at_{stops.index(step) + 1}"] = bits(model, held["test"])
    result |= {"bits": bits(model, held["test"]), "validation_bits": bits(model, held["validation"])}
    return result if case.estimator == "full" else result | keys(model, held["test"][::4])


def windows(case: Case, text: Tensor) -> Tensor:
    """Texts of length + 1 from a held-out split, spread evenly over it: (tested, length + 1)."""
    starts = torch.linspace(0, len(text) - case.length - 1, case.tested).long()
    return text[starts[:, None] + torch.arange(case.length + 1)]


@torch.no_grad()
def bits(model: Model, text: Tensor, batch: int = 8) -> float:
    """Bits per character of texts (N, T + 1), over their second halves: each is read with half a text before it."""
    model.eval()
    half = text.shape[1] // 2
    losses = [
        functional.cross_entropy(model(part[:, :-1])[0][:, half:].flatten(0, 1), part[:, 1 + half :].flatten())
        for part in text.split(batch)
    ]
    model.train()
    return torch.stack(losses).mean().item() / math.log(2)


@torch.no_grad()
def keys(model: Model, text: Tensor) -> dict[str, float]:
    """What became of the keys k of texts (N, T + 1), and of their codes e, in the mean over keys and layers.

    Returns:
        ``perplexity`` of the codes in use; ``error`` |k - e|^2 / |k|^2; ``r`` |e| / |k| and its standard deviation
        ``r_spread``; ``theta``, the angle between k and e in degrees.
    """
    seen = []

    def note(quantizer: Quantizer, given: tuple[Tensor], answer: tuple[Tensor, Tensor, Tensor]) -> None:
        k, (quantised, indices, _) = given[0], answer
        share = torch.bincount(indices.flatten()) / indices.numel()
        r, theta = geometry(k, quantised)
        error = (k - quantised).square().sum() / k.square().sum()
        seen.append([torch.special.entr(share).sum().exp(), error, r.mean(), r.std(), theta.rad2deg().mean()])

    handles = [layer.quantizer.register_forward_hook(note) for layer in model.layers]
    model.eval()(text[:, :-1])
    model.train()
    for handle in handles:
        handle.remove()
    means = torch.tensor(seen).mean(0).tolist()
    return dict(zip(("perplexity", "error", "r", "r_spread", "theta"), means, strict=True))


#: fields of the arms, by their names on the page
ARMS = {
    "full": {"estimator": "full"},
    "zero": {"estimator": "zero"},
    "STE": {"estimator": "ste"},
    "rotation": {"estimator": "rotation"},
    "rI": {"estimator": "scale_only"},
}
LATER = {"R": {"estimator": "rotation_only"}}  # as well, fixed once the others had been run
GAMMAS = {"0": {"gamma": 0.0}, "1": {"gamma": 1.0}}
SIZES = {"8": {"codes": 8}, "128": {"codes": 128}}


def arms(*names: str) -> dict[str, dict]:
    """Some of :data:`ARMS`."""
    return {name: ARMS[name] for name in names}


EXPERIMENT = runs.Experiment(
    "32_transformer_keys",
    train,
    {
        "main": runs.crossed(Case(), ARMS, seeds=runs.FEW),
        "confirm": runs.crossed(Case(), ARMS, seeds=runs.CONFIRM),
        "one code": runs.crossed(Case(codes=1), arms("zero")),
        "reach": runs.crossed(Case(reach="all"), arms("STE", "rotation")),
        "commitment": runs.crossed(Case(), GAMMAS, arms("zero", "STE")),
        "start": runs.crossed(Case(init="normal"), arms("zero", "STE", "rotation")),
        "size": runs.crossed(Case(), SIZES, arms("zero", "STE")),
        "fsq": runs.crossed(Case(estimator="fsq")),
        "R alone": runs.crossed(Case(), LATER, seeds=(*runs.FEW, *runs.CONFIRM)),
    },
    smoke={"steps": 6, "batch": 2, "length": 64, "tested": 4, "width": 16, "key": 8, "block": 16, "codes": 8},
    seconds=32.0,
    takes_device=True,
)
