"""Every quantiser by name, behind one call: ``METHODS[name](dim, codebook_size, **options)(x) -> Quantized``."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rotvq.quantizers.base import Quantizer
from rotvq.quantizers.methods.bsq import bsq
from rotvq.quantizers.methods.diveq import DiVeQ
from rotvq.quantizers.methods.dynamic_ste import DynamicGain
from rotvq.quantizers.methods.fsq import FSQ
from rotvq.quantizers.methods.gumbel import GumbelSoftmax
from rotvq.quantizers.methods.lfq import LFQ
from rotvq.quantizers.methods.noise import ErrorSubstitution
from rotvq.quantizers.methods.nsvq import NSVQ
from rotvq.quantizers.methods.region import RegionVQ, stablevq
from rotvq.quantizers.methods.second_pass import exact, hessian
from rotvq.quantizers.methods.sf_diveq import SFDiVeQ
from rotvq.quantizers.methods.simvq import simvq
from rotvq.quantizers.operators import seed_of
from rotvq.quantizers.options import names_ours
from rotvq.quantizers.vector import VectorQuantizer


@dataclass(frozen=True)
class Method:
    """How to make a quantiser, and what a table says of it.

    Args:
        make: called as ``make(dim, codebook_size, **options)``.
        source: a key of the bibliography.
        replaces: the part of :class:`.VectorQuantizer` in whose place it stands.
        cost: of a training step of N latents in d dimensions with K codes, to leading order, in LaTeX.
        fixed: options that belong to the method.
        second_pass: whether training calls need an ``objective``.

    >>> import torch
    >>> METHODS["nsvq"](4, 16)(torch.zeros(3, 4)).z_q.shape
    torch.Size([3, 4])
    >>> METHODS["nsvq"](4, 16, gamma=0.25)
    Traceback (most recent call last):
    ValueError: gamma is part of this method: leave out estimator, clip, mix, warmup, centre, beta, gamma, update
    """

    make: Callable[..., Quantizer]
    source: str
    replaces: str
    cost: str
    fixed: tuple[str, ...] = ()
    second_pass: bool = False

    @names_ours
    def __call__(self, dim: int, codebook_size: int, **options) -> Quantizer:
        """The quantiser; ValueError where an option is given that the method fixes."""
        for name in options:
            if name in self.fixed:
                raise ValueError(f"{name} is part of this method: leave out {', '.join(self.fixed)}")
        return self.make(dim, codebook_size, **options)


def _with_dynamic_gain(dim: int, codebook_size: int, **options) -> VectorQuantizer:
    return VectorQuantizer(dim, codebook_size, "ste", gain=DynamicGain(codebook_size), **options)


def _noisy(estimator: Callable[[int], ErrorSubstitution]) -> Callable[..., VectorQuantizer]:
    """Makes a VectorQuantizer without the two losses, since its codes learn through the estimator."""

    def make(dim: int, codebook_size: int, generator=None, **options) -> VectorQuantizer:
        member = estimator(seed_of(generator))
        return VectorQuantizer(dim, codebook_size, member, beta=0.0, gamma=0.0, generator=generator, **options)

    return make


_ESTIMATOR = ("estimator", "clip", "mix", "warmup")
_SECOND_PASS = (*_ESTIMATOR, "second_pass")
_NOISY = (*_ESTIMATOR, "centre", "beta", "gamma", "update")
_BY_LOSS = ("update", "initial_count", "revival", "revival_at")
_ALL = (
    *(*_ESTIMATOR, "centre", "lookup", "temperature", "engine", "update", "decay", "initial_count"),
    *("revival", "revival_at", "beta", "gamma"),
)
_SIGNS = (*(name for name in _ALL if name != "gamma"), "init", "init_scale", "generator", "project_to", "process_group")
#: every quantiser by name
METHODS: dict[str, Method] = {
    "vq": Method(VectorQuantizer, "vandenoord2017vqvae", "nothing", "$NKd$"),
    "simvq": Method(simvq, "zhu2025simvq", "the codes, by one learned map of fixed ones", "$NKd + Kd^2$",
                    ("form", "update", "decay", "initial_count", "revival")),
    "dynamic": Method(_with_dynamic_gain, "tang2026stablevq", "the gain of STE", "$NKd$", (*_ESTIMATOR, "gain")),
    "region": Method(RegionVQ, "tang2026stablevq", "the codebook loss", "$NKd + K^2d$", _BY_LOSS),
    "stablevq": Method(stablevq, "tang2026stablevq", "gain, codebook loss and codes", "$NKd + K^2d$",
                       (*_ESTIMATOR, "gain", "form", *_BY_LOSS)),
    "nsvq": Method(_noisy(NSVQ), "vali2022nsvq", "estimator and losses", "$NKd$, $Nd$ normal numbers", _NOISY),
    "diveq": Method(_noisy(DiVeQ), "vali2026diveq", "estimator and losses", "$NKd$, $Nd$ normal numbers", _NOISY),
    "diveq_detach": Method(_noisy(partial(DiVeQ, deviation=0.0)), "vali2026diveq",
                           "estimator and losses", "$NKd$", _NOISY),
    "sf_diveq": Method(SFDiVeQ, "vali2026diveq", "lookup, estimator and losses", "$NKd$, $2Nd$ normal numbers",
                       tuple(name for name in _ALL if name != "engine")),
    "gumbel": Method(GumbelSoftmax, "jang2017categorical", "lookup, estimator and losses",
                     "$2NKd$, $NK$ uniform numbers, the whole matrix", _ALL),
    "gumbel_soft": Method(partial(GumbelSoftmax, hard=False), "jang2017categorical", "lookup, estimator and losses",
                          "$2NKd$, $NK$ uniform numbers, the whole matrix", (*_ALL, "hard")),
    "fsq": Method(FSQ, "mentzer2024fsq", "codebook, lookup, estimator and losses", "$Nd\\log K$",
                  (*_ALL, "init", "init_scale", "generator", "project_to", "process_group")),
    "lfq": Method(LFQ, "yu2024lfq", "codebook, lookup, estimator and codebook loss", "$Nd\\log K + NK$", _SIGNS),
    "bsq": Method(bsq, "zhao2025bsq", "codebook, lookup, estimator and codebook loss", "$Nd\\log K$", _SIGNS),
    "exact": Method(partial(VectorQuantizer, estimator="zero", second_pass=exact), "fifty2025rotation",
                    "the estimator", "$NKd$, the decoder twice", _SECOND_PASS, True),
    "hessian": Method(partial(VectorQuantizer, estimator="ste", second_pass=hessian), "fifty2025rotation",
                      "the estimator", "$NKd$, the decoder twice, a Hessian-vector product", _SECOND_PASS, True),
}  # fmt: skip
