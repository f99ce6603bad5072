"""Train one Config; deterministic on a given machine. Nothing is written but a resume point."""

import math
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rotvq.quantizers import distributed
from rotvq.quantizers.estimators import estimator
from rotvq.training import ablations, files, images, metrics, own, starts
from rotvq.training.config import Config
from rotvq.training.models import VQVAE
from rotvq.training.optimizers import make_optimizer, set_learning_rates
from rotvq.training.seeds import derived_seed, generator

FIRST_LOSSES = 20  # training losses kept from the start: what a run elsewhere is compared with
TRACE_POINTS = 40  # in the trace of batch statistics, kept to six digits
FIRST_EVALUATION = 500  # steps
SAVE_SECONDS = 60.0  # from one resume point to the next
DEVICE_BYTES = 8 << 30  # larger training sets stay in main memory
NOTED = ("step", "diverged_at", "evaluations", "trace", "first_losses")  # by a Run, for its result
RECONSTRUCTION = {  # loss of normalised pixels, under each loss convention
    "mean": lambda squares: squares.mean(),
    "token": lambda squares: squares.mean(),
    "image": lambda squares: squares.flatten(1).sum(1).mean(),
}


def fit(
    config: Config,
    *,
    device: str = "cpu",
    threads: int = 1,
    progress: bool = False,
    resume: Path | None = None,
    code: str = "",
) -> tuple[nn.Module, dict]:
    """Train the model of ``config``; return it with its result.

    Args:
        config: all that determines the result. One that :meth:`.Config.check` refuses raises ValueError at once.
        device: "cpu", "cuda", "cuda:1", ...
        threads: of torch, in this process.
        progress: whether to show a bar.
        resume: a file from which a run that was killed goes on, written about once a minute, and on Ctrl-C or SIGTERM.
            The result is that of the uninterrupted run, bit for bit on a CPU.
        code: what the code is called that trains, such as its digest: a resume point that other code left is refused.

    Returns:
        The model and its result. ``curve.stops`` are the metrics on the test split at steps 500, 1000, 2000, 4000, ...
        and the last; ``final`` those at the last step and on the validation split; ``curve.trace`` statistics of some
        40 training batches, the first among them; ``curve.first`` the first 20 losses. Where a loss or metric becomes
        NaN or inf training ends, and ``final`` holds only ``diverged_at``, the step at which that was seen.

    >>> model, result = fit(Config(data="fashion-mnist-mini", codebook_size=16, steps=3))
    >>> model.quantizer.codes.shape, len(result["curve"]["first"])
    (torch.Size([16, 32]), 3)
    """
    config.check()
    torch.set_num_threads(threads)
    run = Run.from_config(config, device, resume, code)
    total, done = config.pretrain_steps + config.steps, config.pretrain_steps + run.step
    bar = tqdm(total=total, initial=done, unit="step", disable=not progress, leave=False)
    with bar, files.holding_interrupts(resume is not None) as interrupts:
        while run.step < 0:
            run.pretrain_step()
            run.save_if_due(interrupts)
            bar.update()
        if run.step == 0:
            run.start_codes()
        while run.step < config.steps and run.diverged_at is None:
            run.train_step()
            run.save_if_due(interrupts)
            bar.update()
    return run.model, run.result()


def train(config: Config, **options) -> dict:
    """The result of :func:`fit`, which takes the same options, without the model: what a record holds.

    >>> result = train(Config(data="fashion-mnist-mini", codebook_size=16, steps=3))
    >>> list(result), result["final"]["step"]
    (['final', 'curve'], 3)
    """
    return fit(config, **options)[1]


@dataclass
class Run:
    """A run on its way: its parts, and what has been noted of its steps.

    Under torch.distributed each rank takes an equal share of every batch, and gradients, statistics and metrics are
    those of the whole batch.
    """

    config: Config
    device: str
    data: images.Images
    pixels: Tensor  #: the training images, on the device if they fit there
    batches: Iterator[Tensor]  #: indices of training images, (batch,)
    model: VQVAE
    optimizer: torch.optim.Optimizer
    gain_learner: ablations.GainLearner | None
    resume: Path | None
    made: list[str]  #: by which code and which torch
    step: int  #: steps taken; below 0 the model is a plain autoencoder
    diverged_at: int | None = None
    evaluations: list[dict] = field(default_factory=list)
    trace: list[dict] = field(default_factory=list)
    first_losses: list[float] = field(default_factory=list)
    saved_at: float = field(default_factory=time.monotonic)

    @classmethod
    def from_config(cls, config: Config, device: str = "cpu", resume: Path | None = None, code: str = "") -> Self:
        """Resolve the parts of a run, and go on from its resume point where there is one."""
        ranks = distributed.world()[1]
        if config.batch % ranks:
            raise ValueError(f"batch is {config.batch}: {ranks} ranks cannot share it equally")
        if ranks > 1 and config.norm == "batch":
            raise ValueError("norm 'batch' would keep other statistics on each rank: use 'group'")
        data = images.load(config.data, config.seed)
        pixels = data.train.to(device) if data.train.numel() <= DEVICE_BYTES else data.train
        batches = images.batches(len(pixels), config.batch, generator(config.seed, "order"))
        model = build_model(config, channels=pixels.shape[1]).to(device)
        optimizer = make_optimizer(config.optimizer, model, config.lr, config.weight_decay, config.code_lr)
        gain_learner = None
        if config.gain == "learned":
            gain_learner = ablations.GainLearner(model.quantizer, derived_seed(config.seed, "noise"))
        made, step = [code, str(torch.__version__)], -config.pretrain_steps
        run = cls(config, device, data, pixels, batches, model, optimizer, gain_learner, resume, made, step)
        if resume is not None and resume.exists():
            run.load(resume)
        return run

    def next_batch(self) -> Tensor:
        """This rank's share of the next batch: normalised images, (batch / ranks, C, H, W)."""
        rank, ranks = distributed.world()
        chosen = next(self.batches).chunk(ranks)[rank]
        pixels = self.pixels[chosen.to(self.pixels.device)].to(self.device)
        return self.data.normalise(pixels).contiguous(memory_format=torch.channels_last)

    def reconstruction(self, x: Tensor, z_q: Tensor) -> Tensor:
        """The reconstruction loss of normalised images (B, C, H, W) from z_q (B, h, w, dim)."""
        squares = (self.model.decode(z_q) - x).square()
        return RECONSTRUCTION[self.config.convention](squares)

    def descend(self, loss: Tensor) -> None:
        """One step of the optimiser, by the mean gradient of the ranks."""
        self.optimizer.zero_grad()
        loss.backward()
        distributed.average_gradients(p for group in self.optimizer.param_groups for p in group["params"])
        self.optimizer.step()
        self.step += 1

    def pretrain_step(self) -> None:
        """One step of the plain autoencoder: there are no codes yet."""
        x = self.next_batch()
        self.descend(self.reconstruction(x, self.model.encode(x)))

    def start_codes(self) -> None:
        """Start the codes if they wait for latents; the optimiser forgets the plain autoencoder."""
        codebook = self.model.quantizer.codebook
        if not codebook.ready:
            codebook.start(self.first_latents(), distributed.WORLD)
        self.optimizer.state.clear()

    @torch.no_grad()
    def first_latents(self) -> Tensor:
        """This rank's share of ``init_latents`` latents, (N, dim), of training images drawn by the codebook's seed."""

        def encode(chosen: Tensor) -> Tensor:
            return self.model.encode(self.data.normalise(self.data.train[chosen]).to(self.device))

        rank, ranks = distributed.world()
        draw, wanted, image_count = generator(self.config.seed, "codebook"), self.config.init_latents, len(self.pixels)
        tokens_per_image = math.prod(encode(torch.tensor([0])).shape[1:-1])
        chosen = torch.randperm(image_count, generator=draw)[: math.ceil(wanted / tokens_per_image)]
        own_images = chosen.tensor_split(ranks)[rank]
        own_latents = torch.cat([encode(part) for part in own_images.split(500)]).flatten(0, -2)
        latents = distributed.gather_rows(own_latents)
        kept = torch.randperm(len(latents), generator=draw)[:wanted]
        return latents[kept].tensor_split(ranks)[rank].to(self.device)

    def train_step(self) -> None:
        """One step, with what is noted of it; a loss or metric that is NaN or inf sets ``diverged_at``."""
        config, step = self.config, self.step + 1
        is_traced = step == 1 or step % max(1, config.steps // TRACE_POINTS) == 0
        learns_gain = self.gain_learner is not None and step % ablations.GAIN_PERIOD == 1
        gamma_over_r = config.gamma_rule == "over_r"
        x = self.next_batch()
        z = self.model.encode(x)

        def objective(z_q: Tensor) -> Tensor:
            return self.reconstruction(x, z_q)

        options = {"objective": objective} if self.model.quantizer.second_pass else {}
        quantized = self.model.quantizer(z, details=is_traced or learns_gain or gamma_over_r, **options)
        reconstruction, quantizer_loss = objective(quantized.z_q), quantized.loss
        if gamma_over_r:
            quantizer_loss = ablations.loss_with_gamma_over_r(self.model.quantizer, quantized)
        loss = reconstruction + quantizer_loss
        if learns_gain:
            (at_z_q,) = torch.autograd.grad(reconstruction, quantized.z_q, retain_graph=True)
            self.gain_learner.observe(objective, quantized, at_z_q, step)
        if step <= FIRST_LOSSES:
            self.first_losses.append(distributed.mean_over_ranks(loss).item())
        if is_traced:
            means = {"loss": loss, "reconstruction": reconstruction}
            row = {name: distributed.mean_over_ranks(value).item() for name, value in means.items()}
            row |= metrics.trace_row(self.model, quantized, reconstruction, z)
            self._note(self.trace, step, {name: float(f"{value:.6g}") for name, value in row.items()})
            if self.diverged_at is not None:
                return
        set_learning_rates(self.optimizer, config.schedule, self.step / config.steps)
        self.descend(loss)
        if step == config.steps or is_evaluation_step(step):
            self._note(self.evaluations, step, self.evaluate("test"))

    def _note(self, rows: list[dict], step: int, row: dict[str, float]) -> None:
        if all(math.isfinite(value) for value in row.values()):
            rows.append({"step": step, **row})
        else:
            self.diverged_at = step

    def evaluate(self, split: str) -> dict[str, float]:
        """The metrics on a split, named after it."""
        values = metrics.evaluate(self.model, getattr(self.data, split), self.data)
        return {f"{split}_{name}": value for name, value in values.items()}

    def result(self) -> dict:
        """What has been noted, as :func:`fit` returns it."""
        final = {"diverged_at": self.diverged_at}
        if self.diverged_at is None:
            last = self.evaluations[-1] if self.evaluations else {"step": 0, **self.evaluate("test")}
            final |= last | self.evaluate("validation")
        first = [loss for loss in self.first_losses if math.isfinite(loss)]
        return {"final": final, "curve": {"stops": self.evaluations, "trace": self.trace, "first": first}}

    def save_if_due(self, interrupts: Sequence[int] = ()) -> None:
        """Write the resume point, if there is to be one and a minute has passed or an interrupt came, which then acts.

        Only the first rank writes.
        """
        if self.resume is None or not (interrupts or time.monotonic() - self.saved_at > SAVE_SECONDS):
            return
        self.saved_at = time.monotonic()
        if distributed.world()[0] == 0:
            state = {"id": self.config.id, "made": self.made, "noted": {name: getattr(self, name) for name in NOTED}}
            state |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
            state["gain"] = self.gain_learner.state_dict() if self.gain_learner else {}
            with files.replacing(self.resume) as temporary:
                torch.save(state, temporary)
        if interrupts:
            signal.raise_signal(interrupts[0])

    def load(self, path: Path) -> None:
        """Go on from a resume point, or raise ValueError if it is another run's or code's, or not whole."""
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            of, made = state["id"], state.get("made")
        except Exception as error:
            raise ValueError(f"{path} is no whole resume point ({error!r}): delete it to start the run anew") from None
        if of != self.config.id:
            raise ValueError(f"{path} is the resume point of run {of}, not of {self.config.id}: delete it")
        if made != self.made:
            raise ValueError(f"{path} was left by other code or another torch: delete it to start the run anew")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.gain_learner:
            self.gain_learner.load_state_dict(state["gain"])
        for name, value in state["noted"].items():
            setattr(self, name, value)
        for _ in range(self.config.pretrain_steps + self.step):
            next(self.batches)


def build_model(config: Config, channels: int) -> VQVAE:
    """The untrained model of a config; its weights depend on the seed and the architecture, never on the estimator."""
    weights, revival = derived_seed(config.seed, "weights"), derived_seed(config.seed, "revival")
    options = {name: getattr(config, name) for name in own.QUANTIZER_FIELDS}
    options["estimator"] = own.estimator(config.estimator)
    if "beta" not in config.changed:
        del options["beta"]  # 1, and none with "ema", which refuses a weight that would do nothing
    if config.init == "kmeans":
        options["init"] = starts.kmeans
    options |= {"check": False, "generator": generator(config.seed, "codebook")}
    options |= {"engine": "tiles", "process_group": distributed.WORLD}
    if config.centre_offset:
        about_origin = estimator(options["estimator"], config.clip, config.mix)
        shifted = ablations.ShiftedCentre(about_origin, config.centre_offset)
        options |= {"estimator": shifted, "clip": None, "mix": None}
    if config.gain == "learned":
        options["gain"] = torch.ones(config.codebook_size)
    method = own.quantizer(config.quantizer)
    for name in method.fixed:
        options.pop(name, None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights)
        quantizer = method(config.dim, config.codebook_size, **options)
        model = own.model(config.model)(channels, quantizer, norm=config.norm)
    quantizer.seed = revival
    if config.latent_scale != 1:
        ablations.scale_latent_space(model, config.latent_scale)
    return model.to(memory_format=torch.channels_last)


def is_evaluation_step(step: int) -> bool:
    """Whether ``step`` is 500, 1000, 2000, 4000, ...: :data:`FIRST_EVALUATION` times a power of two."""
    multiple, rest = divmod(step, FIRST_EVALUATION)
    return rest == 0 and multiple.bit_count() == 1  # powers of two have one binary digit that is 1


def find_device(name: str) -> torch.device:
    """The torch device called ``name``, tried once; ValueError that lists those that are here if it is not."""
    try:
        torch.zeros(1, device=name).item()  # "meta" makes one and holds no number
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError):
        here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise ValueError(f"device {name!r} is not there: one of {', '.join(here)}") from None
