"""One run: a Config becomes a result, the same on the same machine. Nothing is written but a resume point."""

from __future__ import annotations

import itertools
import math
import os
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rotvq.quantizers import distributed
from rotvq.quantizers.registry import METHODS
from rotvq.training import ablations, images, metrics
from rotvq.training.config import Config
from rotvq.training.seeds import generator
from rotvq.training.start import batches, build, optimizer, start_codes

FIRST = 20  # training losses kept from the start: what a run elsewhere is compared with
TRACE = 40  # points in the trace of batch statistics, kept to six digits
SAVE = 60.0  # seconds from one resume point to the next
ON_DEVICE = 8 << 30  # bytes: larger training sets stay in main memory
RECONSTRUCTION = {  # of normalised pixels, under each loss convention
    "mean": lambda squares: squares.mean(),
    "token": lambda squares: squares.mean(),
    "image": lambda squares: squares.flatten(1).sum(1).mean(),
}


class Training:
    """A run on its way: model, optimiser, the steps taken, and what was noted of them.

    ``at`` counts steps; below 0 the model is a plain autoencoder, for ``pretrain_steps`` steps. Under torch.distributed
    each rank takes an equal share of every batch, and gradients, statistics and metrics are those of the whole batch.
    """

    def __init__(self, config: Config, device: str):
        rank, size = distributed.world()
        if config.batch % size:
            raise ValueError(f"batch is {config.batch}: {size} ranks cannot share it equally")
        if size > 1 and config.norm == "batch":
            raise ValueError("norm 'batch' would keep other statistics on each rank: use 'group'")
        self.config, self.device = config, device
        self.data = images.load(config.data, config.seed)
        self.train = self.data.train.to(device if self.data.train.numel() <= ON_DEVICE else "cpu")
        self.model = build(config, self.data.train.shape[1]).to(device)
        self.optimiser = optimizer(config, self.model)
        self.gain = None
        if config.gain == "learned":
            self.gain = ablations.GainFit(self.model.quantizer, generator(config.seed, "noise").initial_seed())
        self.at, self.diverged_at = -config.pretrain_steps, None
        self.stops, self.trace, self.first = [], [], []
        self.order, self.share = self._batches(), slice(rank * config.batch // size, (rank + 1) * config.batch // size)

    def _batches(self):
        return batches(len(self.data.train), self.config.batch, generator(self.config.seed, "order"))

    def next_batch(self) -> Tensor:
        chosen = next(self.order)[self.share].to(self.train.device)
        pixels = self.train[chosen].to(self.device)
        return self.data.normalise(pixels).contiguous(memory_format=torch.channels_last)

    def reconstruction(self, x: Tensor, z_q: Tensor) -> Tensor:
        return RECONSTRUCTION[self.config.convention]((self.model.decode(z_q) - x).square())

    def update(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        loss.backward()
        distributed.average_gradients(p for group in self.optimiser.param_groups for p in group["params"])
        self.optimiser.step()
        self.at += 1

    def warm(self) -> None:
        """One step of the plain autoencoder: there are no codes yet."""
        x = self.next_batch()
        self.update(self.reconstruction(x, self.model.encode(x)))

    def begin(self) -> None:
        """The codes start, and the optimiser anew."""
        start_codes(self.config, self.model, self.data, self.device)
        self.optimiser = optimizer(self.config, self.model)

    def step(self) -> None:
        """One step, with what is noted of it. A loss or metric that is NaN or inf sets ``diverged_at``."""
        config, at = self.config, self.at + 1
        traced = at % max(1, config.steps // TRACE) == 0 or at == 1
        per_r, fitted = config.gamma_rule == "over_r", bool(self.gain) and at % ablations.OBSERVE == 1
        x = self.next_batch()
        z = self.model.encode(x)

        def objective(z_q: Tensor) -> Tensor:
            return self.reconstruction(x, z_q)

        second = {"objective": objective} if METHODS[config.quantizer].second_pass else {}
        quantized = self.model.quantizer(z, details=traced or per_r or fitted, **second)
        reconstruction = objective(quantized.z_q)
        loss = reconstruction + (ablations.weighted_loss(self.model.quantizer, quantized) if per_r else quantized.loss)
        if fitted:
            (at_q,) = torch.autograd.grad(reconstruction, quantized.z_q, retain_graph=True)
            self.gain.observe(objective, quantized, at_q, at)
        if at <= FIRST:
            self.first.append(distributed.mean_over_ranks(loss).item())
        if traced:
            row = {
                "loss": distributed.mean_over_ranks(loss).item(),
                "reconstruction": distributed.mean_over_ranks(reconstruction).item(),
            }
            row |= metrics.trace(self.model, quantized, reconstruction, z)
            if self._diverged(row, at):
                return
            self.trace.append({"step": at, **{name: float(f"{value:.6g}") for name, value in row.items()}})
        self.update(loss)
        if at == config.steps or (at % 500 == 0 and (at // 500).bit_count() == 1):
            row = {"step": at, **self.measured("test")}
            if not self._diverged(row, at):
                self.stops.append(row)

    def _diverged(self, row: dict, at: int) -> bool:
        self.diverged_at = None if all(map(math.isfinite, row.values())) else at
        return self.diverged_at is not None

    def measured(self, split: str) -> dict:
        found = metrics.evaluate(self.model, getattr(self.data, split), self.data)
        return {f"{split}_{name}": value for name, value in found.items()}

    def result(self) -> dict:
        final = {"diverged_at": self.diverged_at}
        if self.diverged_at is None:
            last = self.stops[-1] if self.stops else {"step": 0, **self.measured("test")}
            final |= last | self.measured("validation")
        first = list(filter(math.isfinite, self.first))
        return {"final": final, "curve": {"stops": self.stops, "trace": self.trace, "first": first}}

    def save(self, path: Path) -> None:
        """Write the resume point, whole or not at all; only the first rank does."""
        if distributed.world()[0]:
            return
        noted = {name: getattr(self, name) for name in ("at", "stops", "trace", "first")}
        state = {
            "id": self.config.id,
            "noted": noted,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "gain": self.gain and self.gain.state(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        torch.save(state, temporary)
        os.replace(temporary, path)

    def load(self, path: Path) -> None:
        """Go on from a resume point. ValueError where it is another run's."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["id"] != self.config.id:
            raise ValueError(f"{path} is the resume point of run {state['id']}, not of {self.config.id}: delete it")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        for name, value in state["noted"].items():
            setattr(self, name, value)
        if self.gain:
            self.gain.restore(state["gain"])
        self.order = itertools.islice(self._batches(), self.at + self.config.pretrain_steps, None)


def fit(
    config: Config, *, device: str = "cpu", threads: int = 1, progress: bool = False, resume: Path | None = None
) -> tuple[nn.Module, dict]:
    """Train the model of ``config``; return it with its result.

    result: ``curve.stops``, the metrics on the test split at steps 500, 1000, 2000, 4000 ... and the last; ``final``,
    those at the last step and on the validation split; ``curve.trace``, statistics of some 40 training batches, the
    first among them; ``curve.first``, the first 20 losses. Where a loss or metric becomes NaN or inf training ends and
    ``final`` holds only ``diverged_at``, the step at which that was seen.

    resume: a file from which a run that was killed goes on, written about once a minute. The result is that of the
    uninterrupted run, bit for bit on a CPU.
    Raises ValueError for a config that :meth:`.Config.check` refuses, before any work.

    >>> model, result = fit(Config(data="fashion-mnist-mini", codebook_size=16, steps=3))
    >>> model.quantizer.codes.shape, len(result["curve"]["first"])
    (torch.Size([16, 32]), 3)
    """
    config.check()
    torch.set_num_threads(threads)
    run = Training(config, device)
    if resume and resume.exists():
        run.load(resume)
    saved, before = time.monotonic(), config.pretrain_steps
    total, done = before + config.steps, before + run.at
    with tqdm(total=total, initial=done, unit="step", disable=not progress, leave=False) as bar:
        while True:
            if run.at == 0:
                run.begin()
            if run.at >= config.steps or run.diverged_at is not None:
                return run.model, run.result()
            run.warm() if run.at < 0 else run.step()
            bar.update()
            if resume and time.monotonic() - saved > SAVE:
                run.save(resume)
                saved = time.monotonic()


def train(config: Config, **options) -> dict:
    """The result of :func:`fit` without the model: what a record holds.

    >>> result = train(Config(data="fashion-mnist-mini", codebook_size=16, steps=3))
    >>> list(result), result["final"]["step"]
    (['final', 'curve'], 3)
    """
    return fit(config, **options)[1]
