r"""Rivals and baselines behind the call of :class:`.VectorQuantizer`: ``module(x) -> Quantized(z_q, indices, loss)``.

Some replace the estimator (NSVQ, DiVeQ), one the gain (dynamic STE), one the form of the codebook (SimVQ), two look at
the loss itself (exact, Hessian); the others are quantisers of their own, in :mod:`rotvq.quantizers.alternatives`.
:data:`METHODS` names them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from rotvq.quantizers.methods.diveq import DiVeQ
from rotvq.quantizers.methods.dynamic_ste import DynamicGain
from rotvq.quantizers.methods.fsq import FSQ
from rotvq.quantizers.methods.gumbel import GumbelSoftmax
from rotvq.quantizers.methods.nsvq import NSVQ
from rotvq.quantizers.methods.second_pass import SecondPass, exact, hessian
from rotvq.quantizers.methods.sf_diveq import SFDiVeQ
from rotvq.quantizers.methods.simvq import simvq
from rotvq.quantizers.vector import VectorQuantizer


def _seed(options: dict) -> int:
    generator = options.get("generator")
    return 0 if generator is None else generator.initial_seed()


def _vector(estimator: Callable[[int], nn.Module]):
    """A VectorQuantizer with a module for its estimator and without the two losses, from which it would learn twice."""
    return lambda dim, size, **options: VectorQuantizer(
        dim, size, estimator(_seed(options)), beta=0.0, gamma=0.0, **options
    )


_INSIDE = ("estimator", "clip", "mix", "warmup", "centre")
_OWN = (*_INSIDE, "lookup", "update", "decay", "initial_count", "revival", "beta", "gamma")


@dataclass(frozen=True)
class Method:
    """How to make a quantiser: ``rival(dim, codebook_size, **options)``. Options in ``fixed`` belong to the method.

    source: a key of the bibliography. replaces: the part of :class:`.VectorQuantizer` in whose place it stands. cost:
    of a training step of N latents in d dimensions with K codes, to leading order. second_pass: training calls need an
    ``objective``. Raises ValueError where an option is given that the method fixes.

    >>> METHODS["nsvq"](4, 16)(torch.zeros(3, 4)).z_q.shape
    torch.Size([3, 4])
    >>> METHODS["nsvq"](4, 16, gamma=0.25)
    Traceback (most recent call last):
    ...
    ValueError: gamma is part of this method: leave out estimator, clip, mix, warmup, centre, beta, gamma, update
    """

    make: Callable[..., nn.Module]
    source: str
    replaces: str
    cost: str
    fixed: tuple[str, ...] = field(default=())
    second_pass: bool = False

    def __call__(self, dim: int, codebook_size: int, **options) -> nn.Module:
        if given := [name for name in options if name in self.fixed]:
            raise ValueError(f"{given[0]} is part of this method: leave out {', '.join(self.fixed)}")
        return self.make(dim, codebook_size, **options)


#: every quantiser by name; :mod:`book.theory.rival_facts` has one checkable fact of each
METHODS: dict[str, Method] = {
    "vq": Method(VectorQuantizer, "vandenoord2017vqvae", "nothing", "$NKd$"),
    "simvq": Method(simvq, "zhu2025simvq",
                   "the codes, by one learned map of fixed ones", "$NKd + Kd^2$",
                   ("form", "update", "decay", "initial_count", "revival")),
    "dynamic": Method(lambda d, k, **o: VectorQuantizer(d, k, "ste", gain=DynamicGain(k), **o), "tang2026stablevq",
                     "the gain of STE", "$NKd$", ("estimator", "gain", "clip", "mix", "warmup")),
    "nsvq": Method(_vector(NSVQ), "vali2022nsvq", "estimator and losses", "$NKd$, $Nd$ normal numbers",
                  (*_INSIDE, "beta", "gamma", "update")),
    "diveq": Method(_vector(DiVeQ), "vali2026diveq", "estimator and losses", "$NKd$, $Nd$ normal numbers",
                   (*_INSIDE, "beta", "gamma", "update")),
    "diveq_detach": Method(_vector(lambda seed: DiVeQ(seed, 0.0)), "vali2026diveq", "estimator and losses",
                          "$NKd$", (*_INSIDE, "beta", "gamma", "update")),
    "sf_diveq": Method(SFDiVeQ, "vali2026diveq", "lookup, estimator and losses", "$NKd$, $2Nd$ normal numbers", _OWN),
    "gumbel": Method(GumbelSoftmax, "jang2017categorical", "lookup, estimator and losses",
                    "$2NKd$, $NK$ uniform numbers, the whole matrix", _OWN),
    "gumbel_soft": Method(lambda d, k, **o: GumbelSoftmax(d, k, hard=False, **o), "jang2017categorical",
                         "lookup, estimator and losses", "$2NKd$, $NK$ uniform numbers, the whole matrix",
                         (*_OWN, "hard")),
    "fsq": Method(FSQ, "mentzer2024fsq", "codebook, lookup, estimator and losses", "$Nd\\log K$",
                 (*_OWN, "init", "init_scale", "generator")),
    "exact": Method(lambda d, k, **o: SecondPass(VectorQuantizer(d, k, "zero", **o), exact), "fifty2025rotation",
                   "the estimator", "$NKd$, the decoder twice", _INSIDE[:4], True),
    "hessian": Method(lambda d, k, **o: SecondPass(VectorQuantizer(d, k, "ste", **o), hessian), "fifty2025rotation",
                     "the estimator", "$NKd$, the decoder twice, a Hessian-vector product", _INSIDE[:4], True),
}  # fmt: skip
