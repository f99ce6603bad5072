"""ResidualVectorQuantizer: each level quantises what the levels before it left over."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rotvq.quantizers.base import Details, Quantized, Quantizer, one_of
from rotvq.quantizers.distributed import broadcast
from rotvq.quantizers.estimators import Estimator, default_estimator
from rotvq.quantizers.estimators import estimator as find_estimator
from rotvq.quantizers.grouped import Several, as_one_step
from rotvq.quantizers.lookup import in_parts, working_memory
from rotvq.quantizers.methods.qinco import QINCo
from rotvq.quantizers.operators import Noise, device_with_values, seed_of, uniform, wide, write
from rotvq.quantizers.options import names_ours, refuse_idle
from rotvq.quantizers.registry import METHODS, Method
from rotvq.quantizers.vector import VectorQuantizer


class Wiring(NamedTuple):
    """How the gradient runs through a cascade."""

    detached: bool  #: what is left over passes its gradient to the latents alone, and not through the levels
    one_estimator: bool  #: one estimator leads from the latents to the sum, and the levels have none


#: with t_i what level i gives, the next level is given x_i - t_i, or x_i - sg[t_i]; the decoder sees the sum of the t_i
WIRINGS = {
    "graph": Wiring(detached=False, one_estimator=False),
    "detach": Wiring(detached=True, one_estimator=False),
    "once": Wiring(detached=True, one_estimator=True),
}
#: what a level may be: every quantiser, and one that is nothing but a level
LEVELS = {
    **METHODS,
    "qinco": Method(QINCo, "huijben2024qinco", "the codes, by a network of what is decoded", "$NK(d^2 + Ldh)$"),
}
OF_A_LEVEL = ("warmup", "centre", "gain")  # what the estimator of a level depends on, and that of the sum cannot


class ResidualDetails(NamedTuple):
    """What a call returns with ``details=True``."""

    z_q: Tensor  #: as in :class:`.Quantized`
    indices: Tensor  #: as in :class:`.Quantized`, with an axis for the levels at the end
    loss: Tensor  #: as in :class:`.Quantized`
    levels: tuple[Details, ...]  #: of each level; its z is what it was given


class ResidualVectorQuantizer(Several):
    r"""A cascade: level i quantises :math:`x_i`, what the levels before it left over of the latents.

    .. math:: q_i = Q_i(x_i), \qquad x_1 = z, \qquad x_{i+1} = x_i - q_i, \qquad z_q = \sum_i q_i, \qquad L = \sum_i L_i

    The value does not depend on the wiring, the gradient does. With :math:`G_i` from x_i to q_i and G from z to z_q,
    what flows back is the transpose of :math:`I - (I - G_D) \cdots (I - G_1)` for "graph", of :math:`\sum_i G_i` for
    "detach", which is about D times as large, and of G for "once". It is called as every quantiser; indices have one
    more axis, for the levels, -1 where a level is not used. Source: Zeghidour et al., "SoundStream", 2021 (arXiv
    2107.03312), algorithm 1.

    Args:
        dim: of a latent.
        codebook_size: number of codes of a level.
        levels: their number, D.
        wiring: a key of :data:`WIRINGS`.
        estimator: as for :class:`.VectorQuantizer`; None: as there, or what the method brings.
        method: a key of :data:`.METHODS`, or "qinco": see :class:`.QINCo`.
        shared: whether one codebook serves all levels.
        dropout: the share of samples of which only the first levels are used, drawn anew in every training call but the
            first; their number is drawn evenly from ``least_levels`` to all. The same on every rank.
        least_levels: used of every sample.
        multiple_of: the number of levels used is rounded up to a multiple of this.
        beam: how many sums of codes, those nearest to the latent, :meth:`encode` and a call in evaluation mode keep
            from level to level; may be set later. A latent is given the codes of beam 1 where these are nearer, so that
            no beam has a larger error. It takes about ``beam`` times as long.
        generator: of the first codes and the seeds of the levels; None: torch's global one.
        options: of the levels, as for their method. A list gives one value a level, also of codebook_size, estimator
            and method; anything else is for all of them.

    Raises:
        ValueError: on unknown names, numbers out of range, and options that exclude each other.

    >>> vq = ResidualVectorQuantizer(dim=8, codebook_size=16, levels=3)
    >>> z_q, indices, loss = vq(torch.randn(2, 5, 8))
    >>> z_q.shape, indices.shape, torch.equal(vq.decode(indices), z_q)
    (torch.Size([2, 5, 8]), torch.Size([2, 5, 3]), True)
    """

    @names_ours
    def __init__(
        self,
        dim: int,
        codebook_size: int | list[int],
        levels: int,
        wiring: str = "graph",
        estimator: str | Estimator | nn.Module | list | None = None,
        *,
        method: str | list[str] = "vq",
        shared: bool = False,
        dropout: float = 0.0,
        least_levels: int = 1,
        multiple_of: int = 1,
        beam: int = 1,
        generator: torch.Generator | None = None,
        **options: Any,
    ):
        one_of("wiring", wiring, WIRINGS)
        whole = {"levels": levels, "least_levels": least_levels, "multiple_of": multiple_of, "beam": beam}
        for name, number in whole.items():
            if not isinstance(number, Integral):
                raise ValueError(f"{name} is {number!r}: it must be a whole number")
        if not 1 <= least_levels <= levels or multiple_of < 1:
            given = f"levels is {levels}, least_levels {least_levels}, multiple_of {multiple_of}"
            raise ValueError(f"{given}: needed are 1 <= least_levels <= levels and 1 <= multiple_of")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout is {dropout}: it must be in [0, 1]")
        least_used = math.ceil(least_levels / multiple_of) * multiple_of
        methods = [method] if isinstance(method, str) else method
        shares = dropout or any(one not in LEVELS or "process_group" not in LEVELS[one].fixed for one in methods)
        refuse_idle("cascade", {"process_group": None, **options, **locals()})
        of_the_sum = None
        if WIRINGS[wiring].one_estimator:
            of_the_sum, estimator = _estimator_of_the_sum(dim, estimator, method, options), "zero"
        options |= {"codebook_size": codebook_size, "method": method, "estimator": estimator}
        one_a_level = _values_of_levels(options, 1 if shared else levels)
        seed = int(
            torch.randint(2**31, (), generator=generator, device=device_with_values())
        )  # levels that drew alike would go wrong alike
        super().__init__(_make_level(dim, seed + level, **values) for level, values in enumerate(one_a_level))
        self.levels, self.wiring, self.shared, self.estimator = levels, wiring, shared, of_the_sum
        self.dropout, self.least_levels, self.multiple_of = dropout, least_levels, multiple_of
        self.dim, self.heads = dim, self.layers[0].heads
        self.beam = beam
        can_search = self.heads == 1 and all(isinstance(level, VectorQuantizer | QINCo) for level in self.layers)
        if beam < 1 or (beam > 1 and not can_search):
            raise ValueError(f"beam is {beam}: it must be 1, or more for one head and levels with a list of codes")
        self.noise = Noise() if dropout else None
        self.register_buffer("seed", torch.tensor(seed_of(generator) * 1_000_003) if dropout else None)
        if dropout:
            broadcast(self.seed, options.get("process_group"))

    @property
    def codes(self) -> list[Tensor]:
        """What each level can give, (codebook_size, code_dim)."""
        return [level.codes for level in self._cascade()]

    def quantise(self, x: Tensor, mask: Tensor | None, details: bool) -> Quantized | ResidualDetails:
        wiring, given = WIRINGS[self.wiring], x
        x = x.to(torch.promote_types(x.dtype, torch.float32))  # what is left over is a small difference
        if mask is not None:
            tokens = x.select(self.channels, 0).shape
            if mask.dtype != torch.bool or mask.shape != tokens:
                raise ValueError(f"the mask is {mask.dtype} {tuple(mask.shape)}, not bool {tuple(tokens)}")
            x = self._where(mask, x, 0.0)
        left_over, z_q, outs, drops = x, torch.zeros_like(x), [], self.training and self.dropout > 0
        taken = [None] * self.levels if self.training or self.beam == 1 else self.encode(x).unbind(-1)
        with as_one_step(self.layers[0], given) if self.shared else nullcontext():
            for level, used, indices in zip(self._cascade(), self._used(x, mask), taken):
                with told(level, z_q.detach(), indices), unless_unused(level, drops):
                    out = level(left_over, used, details)
                part = out.z_q if used is None else self._where(used, out.z_q, 0.0)
                left_over, z_q = left_over - (part.detach() if wiring.detached else part), z_q + part
                outs.append(out)
        if wiring.one_estimator:
            z_q = self._estimate(x, z_q)
        z_q = z_q.to(given.dtype)
        z_q = z_q if mask is None else self._where(mask, z_q, given)
        indices, loss = torch.stack([out.indices for out in outs], -1), sum(out.loss for out in outs)
        return ResidualDetails(z_q, indices, loss, tuple(outs)) if details else Quantized(z_q, indices, loss)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Indices alone, without gradient, for x as in :meth:`forward`."""
        x = left_over = x.to(torch.promote_types(x.dtype, torch.float32))
        so_far, indices = torch.zeros_like(x), []
        for level in self._cascade():
            with told(level, so_far):
                indices.append(level.encode(left_over))
            part = decoded(level, indices[-1], so_far)
            left_over, so_far = left_over - part, so_far + part
        greedy = torch.stack(indices, -1)
        if self.beam == 1:
            return greedy
        rows = x.movedim(self.channels, -1)
        size = max(1, working_memory(x.device) // (16 * self.beam**2 * self.dim))
        found = [beam_search(self._cascade(), some, self.beam) for some in in_parts(rows.reshape(-1, self.dim), size)]
        found = torch.cat(found).reshape(greedy.shape)
        errors = [(x - self.decode(indices)).square().sum(self.channels) for indices in (found, greedy)]
        return torch.where((errors[0] < errors[1]).unsqueeze(-1), found, greedy)

    def decode(self, indices: Tensor) -> Tensor:
        """The latents that indices (..., n) of the first n levels stand for; -1 stands for a level that is not used."""
        if not 1 <= indices.shape[-1] <= self.levels:
            raise ValueError(f"the indices are of {indices.shape[-1]} levels, not of 1 to {self.levels}")
        so_far = None
        for level, index in zip(self._cascade(), indices.unbind(-1)):
            part = wide(decoded(level, index, so_far))
            so_far = part if so_far is None else so_far + part
        of_no_code = level.decode(indices.new_zeros(0))  # a QINCo level computes in float32
        return so_far.to(of_no_code.dtype)

    indices_to_codes = decode

    def _cascade(self) -> list[Quantizer]:
        """The quantiser of each level."""
        return list(self.layers) * self.levels if self.shared else list(self.layers)

    def _where(self, mask: Tensor, x: Tensor, other: Tensor | float) -> Tensor:
        """``x`` at the tokens that ``mask`` keeps, else ``other``."""
        return torch.where(mask.unsqueeze(self.channels), x, other)

    def _used(self, x: Tensor, mask: Tensor | None) -> list[Tensor | None]:
        """Of each level, for which tokens it is used; None: for all."""
        if not (self.training and self.dropout):
            return [mask] * self.levels
        tokens = x.select(self.channels, 0).shape
        call = self.noise.begin_call()
        draw = uniform(x.detach().new_empty(tokens[:1]), 0, call + self.seed)
        some = self.least_levels + (draw / self.dropout * (self.levels - self.least_levels + 1)).floor()  # or all
        some = (some / self.multiple_of).ceil() * self.multiple_of
        levels = torch.where(call > 0, some, self.levels)  # codes that wait for latents start in the first call
        levels = levels.reshape(*levels.shape, *[1] * (len(tokens) - 1)).expand(tokens)
        used = [levels > level for level in range(self.levels)]
        return used if mask is None else [mask & one for one in used]

    def _estimate(self, x: Tensor, total: Tensor) -> Tensor:
        """The one estimator from the latents to the sum; what is behind the estimators of the levels still learns."""
        shape = self.heads, self.dim
        z, q = (y.movedim(self.channels, -1).unflatten(-1, shape) for y in (x, total.detach()))
        z_q = self.estimator(z, q).flatten(-2).movedim(-1, self.channels)
        return z_q + (total - total.detach())

    def extra_repr(self) -> str:
        return f"levels={self.levels}, wiring={self.wiring}, shared={self.shared}, dropout={self.dropout}"


def decoded(level: Quantizer, indices: Tensor, so_far: Tensor | None) -> Tensor:
    """What ``indices`` of a level stand for once the levels before it have given ``so_far``."""
    return level.decode_after(indices, so_far) if isinstance(level, QINCo) else level.decode(indices)


def beam_search(levels: list[Quantizer], x: Tensor, beam: int) -> Tensor:
    """Indices (N, levels) for latents x (N, dim), keeping after each level the ``beam`` sums of codes nearest to x.

    Those can only be sums of ones that were kept and their ``beam`` nearest codes. With a beam of all sums before the
    last level the search is exhaustive.
    """
    so_far, paths = torch.zeros_like(x).unsqueeze(1), x.new_zeros(x.shape[0], 1, 0, dtype=torch.int64)
    for level in levels:
        before, count = so_far.flatten(0, 1), min(beam, level.codebook_size)
        shape = x.shape[0], so_far.shape[1] * count  # len(x) would be a constant to torch.export
        with told(level, before):
            indices = level.nearest_codes((x.unsqueeze(1) - so_far).flatten(0, 1), count).flatten()
        sums = before.repeat_interleave(count, 0)
        sums = (sums + decoded(level, indices, sums)).reshape(*shape, x.shape[1])
        longer = torch.cat([paths.repeat_interleave(count, 1), indices.reshape(*shape, 1)], -1)
        errors = (x.unsqueeze(1) - sums).square().sum(-1)
        best = errors.topk(min(beam, errors.shape[1]), largest=False).indices.unsqueeze(-1)
        so_far, paths = (rows.gather(1, best.expand(-1, -1, rows.shape[-1])) for rows in (sums, longer))
    return paths[:, 0]


@contextmanager
def told(level: Quantizer, so_far: Tensor, indices: Tensor | None = None) -> Iterator[None]:
    """In here a level of QINCo knows what has been decoded, and any level takes ``indices``, if given, for nearest."""
    looks_back, takes = isinstance(level, QINCo), indices is not None
    if looks_back:
        level.so_far = so_far
    if takes:
        level.assign = lambda z, codes: indices.reshape(z.shape[:-1])  # all else of a call is as ever
    try:
        yield
    finally:
        if looks_back:
            level.so_far = None
        if takes:
            del level.assign


@contextmanager
def unless_unused(level: Quantizer, drops: bool) -> Iterator[None]:
    """In here, a call of which dropout leaves the level no latent at all, on any rank, is no step to its counts."""
    if not (drops and isinstance(level, VectorQuantizer)):
        yield
        return
    counts = [getattr(level.statistics, name) for name in ("calls", "step_ended", "running", "idle")]
    before = [count.clone() for count in counts]
    yield
    is_used = (level.statistics.idle == 0).any()  # some code, in this step: counts are those of all ranks
    for count, old in zip(counts, before):
        write(count, torch.where(is_used, count, old))


def _values_of_levels(options: Mapping[str, Any], levels: int) -> list[dict[str, Any]]:
    """The options of each level: of a list, its value."""
    for name, value in options.items():
        if isinstance(value, list) and len(value) != levels:
            raise ValueError(f"{name} is a list of {len(value)} values, and there are {levels} codebooks")
    pick = lambda value, level: value[level] if isinstance(value, list) else value  # noqa: E731
    return [{name: pick(value, level) for name, value in options.items()} for level in range(levels)]


def _make_level(dim: int, seed: int, codebook_size: int, method: str, estimator: Any, **options: Any) -> Quantizer:
    """The quantiser of one level."""
    one_of("method", method, LEVELS)
    if LEVELS[method].second_pass or "second_pass" in options:
        raise ValueError("a level of a cascade has no objective, and can have no second pass")
    own = {"estimator": estimator, "generator": torch.Generator().manual_seed(seed)}
    if estimator is None:
        del own["estimator"]
    if "generator" in LEVELS[method].fixed:
        del own["generator"]
    if "process_group" in LEVELS[method].fixed:
        options.pop("process_group", None)  # it is that of dropout, or of other levels
    return LEVELS[method](dim, codebook_size, **own, **options)


def _estimator_of_the_sum(dim: int, estimator: Any, method: str | list[str], options: dict[str, Any]) -> Estimator:
    """The estimator of wiring "once", with its options, which are taken out of those of the levels."""
    name = default_estimator(dim) if estimator is None else estimator
    if not isinstance(name, str | Estimator):
        raise ValueError(f"wiring 'once' has one estimator, a name or an Estimator, not {name!r}")
    for one in method if isinstance(method, list) else [method]:
        if one in METHODS and "estimator" in METHODS[one].fixed:
            raise ValueError(f"wiring 'once' has one estimator, of the sum; method {one!r} brings one for each level")
    for option in OF_A_LEVEL:
        if option in options:
            raise ValueError(f"wiring 'once' has one estimator, of the sum; {option} belongs to that of a level")
    given = {"clip": options.pop("clip", None), "mix": options.pop("mix", None)}
    member = find_estimator(name, **given)
    refuse_idle("estimator", {**given, "estimator": member})
    return member
