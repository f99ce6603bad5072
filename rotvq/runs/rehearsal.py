"""Rehearsal: one step of each kind of run, so that what cannot be trained is refused before anything is trained."""

import math
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from rotvq.quantizers.codebook import FROM_LATENTS
from rotvq.training import metrics, own
from rotvq.training.config import Config
from rotvq.training.train import Run

SEEN = 32  # images of the test split that are evaluated
COUNTED_ON = {  # what a run takes for granted in its process: by what would set it
    "torch.set_default_dtype": (torch.get_default_dtype, torch.float32),
    "torch.set_default_device": (torch.get_default_device, torch.device("cpu")),
    "torch.set_num_threads": (torch.get_num_threads, 1),
}
TOLERANCE = 1e-4  # of a value against its code, relative to the largest entry: some hundred roundings of float32


def rehearse(configs: Iterable[Config], device: str = "cpu") -> None:
    """Take one step of each kind of run, and evaluate it on a few images.

    Runs that differ in their seeds alone are one kind.

    Raises:
        ValueError: Names the fields of a run that fails, and why it does.

    >>> rehearse([Config(data="fashion-mnist-mini", batch=3000)])
    Traceback (most recent call last):
    ValueError: a run with data fashion-mnist-mini, batch 3000 cannot be trained: batch is 3000: the training split \
has 2000 images
    """
    for config in {replace(config, seed=0): config for config in configs}.values():
        try:
            with warnings.catch_warnings(), torch.enable_grad(), _as_in_a_run():
                warnings.simplefilter("ignore")  # the run itself will say it
                _first_step(config, device)
        except (Exception, SystemExit) as error:  # whatever it is: the sentence says which run and why
            said = ", ".join(f"{name} {value}" for name, value in config.changed.items())
            reason, *_ = str(error).splitlines() if isinstance(error, Exception) and str(error) else [repr(error)]
            raise ValueError(f"a run with {said or 'the defaults'} cannot be trained: {reason}") from error


@contextmanager
def _as_in_a_run() -> Iterator[None]:
    """ValueError where code of one's own sets what every run of this process counts on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        left = {name: read() for name, (read, _) in COUNTED_ON.items()}
        torch.set_num_threads(threads)
        if changed := [name for name, (_, asked) in COUNTED_ON.items() if left[name] != asked]:
            said = f"{changed[0]} was called with {left[changed[0]]}"
            raise ValueError(f"{said}: leave it out, and start another process")


def _first_step(config: Config, device: str) -> None:
    size, dim = config.codebook_size, config.project_to or config.dim
    needed, have = 16 * size * dim, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > have:  # codes, their gradient and two moments
        said = f"{needed / 2**30:,.0f} GiB, and this machine has {have / 2**30:,.0f}"
        raise ValueError(f"a codebook_size of {size} in {dim} dimensions takes {said}")
    few = {"steps": 2, "pretrain_steps": min(config.pretrain_steps, 1), "init_latents": min(config.init_latents, size)}
    run = Run.from_config(replace(config, **few), device)
    x = run.next_batch()
    if x.shape[2:] == (1, 1) and config.model == "conv":
        raise ValueError("the data are vectors, which model 'mlp' takes: --model mlp, or in common of notebook 29")
    shape = " x ".join(map(str, x.shape[1:]))
    try:
        z = run.model.encode(x)
        seen = " x ".join(map(str, run.model.decode(z).shape[1:]))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"model {config.model!r} does not take {len(x)} x {shape} a batch ({error})") from error
    if seen != shape:
        raise ValueError(f"model {config.model!r} gives {seen} for data of {shape}: take another size")
    latents = len(run.pixels) * math.prod(z.shape[1:-1])
    if config.init in FROM_LATENTS and latents < size:
        raise ValueError(f"the training split gives {latents} latents, and init {config.init!r} needs {size}")
    if isinstance(own.estimator(config.estimator), nn.Module):
        _check_module(config.estimator, z.detach())
    if run.step < 0:
        run.pretrain_step()
    run.start_codes()
    run.train_step()
    metrics.evaluate(run.model, run.data.test[:SEEN], run.data)


def _check_module(name: str, z: Tensor) -> None:
    """ValueError where an estimator that is a module does not give the codes, or gives something else each time."""
    q = 0.5 * z.flip(0)  # as far from z as codes are
    (value, slope), again = (_called(name, z, q) for _ in range(2))
    with torch.no_grad():
        evaluated = own.estimator(name).eval()(z.clone(), q.clone())
    for mode, given in {"training": value, "evaluation": evaluated}.items():
        if (given.dtype, given.shape) != (q.dtype, q.shape):
            found, asked = (f"{tuple(x.shape)} {x.dtype}" for x in (given, q))
            raise ValueError(f"estimator {name!r} gives {found} for z and q of {asked}")
        if not (given - q).abs().max() <= TOLERANCE * torch.maximum(z.abs().max(), q.abs().max()):
            raise ValueError(f"estimator {name!r} gives another value than q in {mode}: z + (q - z).detach() gives q")
    if not (torch.equal(value, again[0]) and torch.equal(slope, again[1])):
        said = "draws random numbers without a generator that it seeds, or keeps something outside of itself"
        raise ValueError(f"estimator {name!r} {said}: made and called again it gives something else")


def _called(name: str, z: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """The value of a new estimator at z and q, and the slope of its sum at z."""
    member = own.estimator(name)
    z_in, q_in = (x.clone().requires_grad_().clone() for x in (z, q))
    z_q = member(z_in, q_in)
    if not (torch.equal(z_in, z) and torch.equal(q_in, q)):
        raise ValueError(f"estimator {name!r} changes z or q in place: take a copy, as by z.clone()")
    if not z_q.requires_grad:
        raise ValueError(f"estimator {name!r} gives no gradient to z or q, as in z + (q - z).detach()")
    (slope,) = torch.autograd.grad(z_q.sum(), z_in, materialize_grads=True)
    return z_q.detach(), slope
