"""Speech as log-mel frames, and back to sound: telephone prompts of two voices in two languages.

A sound of 8 kHz becomes frames of 32 levels in decibels, 80 a second; :func:`mel_inverse` and :func:`griffin_lim` make
a sound of frames again. What ships is the frames of the recordings, in bytes, and a few recordings to listen to.
``python -m book.systems.speech ENGLISH FRENCH`` makes these files from two folders of recordings: see
data/speech/README.md.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import sys
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from book.systems import shipped
from rotvq.training.files import write_atomically

RATE, HOP, WINDOW, FFT, BANDS = 8000, 100, 400, 512, 32  # samples a second; samples; samples; samples; bands
FLOOR, STEP = -50.0, 0.5  # decibels: of silence, and what one step of a byte stands for
SHIPPED = ("english", "french")
NOT_SPEECH = ("silence/", "2tone", "beep", "monkeys")  # parts of the names of recordings that are left out
FRENCH_FRAMES = 240 * RATE // HOP  # four minutes of French ship
CLIP = "cannot-complete-as-dialed"  # of the test split; in both languages it ships as it is, to listen to


# --- Sound and frames ----------------------------------------------------------------------------------------------


@cache
def mel_bank() -> Tensor:
    """Triangles that overlap by half, equally wide in mel, (BANDS, FFT // 2 + 1); each sums to 1.

    Mel is 2595 log10(1 + f / 700) for a frequency f in Hz.
    """
    mel = 2595 * torch.log10(1 + torch.linspace(0, RATE / 2, FFT // 2 + 1) / 700)
    low, centre, high = torch.linspace(0, float(mel[-1]), BANDS + 2).unfold(0, 3, 1).unsqueeze(-1).unbind(1)
    bank = torch.minimum((mel - low) / (centre - low), (high - mel) / (high - centre)).clamp_min(0)
    return bank / bank.sum(1, keepdim=True)


def spectrum(sound: Tensor) -> Tensor:
    """The short-time Fourier transform of a sound (n,), complex, (FFT // 2 + 1, 1 + n // HOP)."""
    return torch.stft(sound, FFT, HOP, WINDOW, torch.hann_window(WINDOW), return_complex=True)


def log_mel(sound: Tensor) -> Tensor:
    """Frames of a sound (n,) in [-1, 1]: the mean magnitude in each band in decibels, (1 + n // HOP, BANDS)."""
    magnitudes = mel_bank() @ spectrum(sound).abs()
    return (20 * magnitudes.clamp_min(1e-9).log10()).clamp_min(FLOOR).T


def mel_inverse(frames: Tensor, steps: int = 100) -> Tensor:
    r"""Magnitudes S (FFT // 2 + 1, n) with ``mel_bank() @ S`` near that of the frames (n, BANDS).

    .. math:: S \leftarrow S \cdot \frac{B^\top M}{B^\top B S}

    keeps S positive and lowers the squared error (Lee and Seung, "Algorithms for Non-negative Matrix Factorization",
    2000).
    """
    bank, mel = mel_bank(), 10 ** (frames.T / 20)
    magnitudes = torch.ones(bank.shape[1], mel.shape[1])
    for _ in range(steps):
        magnitudes = magnitudes * (bank.T @ mel) / (bank.T @ (bank @ magnitudes)).clamp_min(1e-9)
    return magnitudes


def griffin_lim(magnitudes: Tensor, steps: int = 60, momentum: float = 0.99, seed: int = 0) -> Tensor:
    """A sound ((n - 1) * HOP,) whose spectrum has about these magnitudes (FFT // 2 + 1, n).

    From random phases: take the sound, keep the phases of its spectrum, put the magnitudes back, and again (Griffin and
    Lim, "Signal estimation from modified short-time Fourier transform", 1984). With ``momentum`` a step goes further
    in the direction of the last one (Perraudin, Balazs and Sondergaard, "A fast Griffin-Lim algorithm", 2013).
    """
    angles = 2 * torch.pi * torch.rand(magnitudes.shape, generator=torch.Generator().manual_seed(seed))
    phases, last = torch.polar(torch.ones_like(angles), angles), 0.0
    for _ in range(steps):
        found = spectrum(_sound(magnitudes * phases))
        ahead = found + momentum * (found - last)
        phases, last = ahead / ahead.abs().clamp_min(1e-9), found
    return _sound(magnitudes * phases)


def _sound(transform: Tensor) -> Tensor:
    return torch.istft(transform, FFT, HOP, WINDOW, torch.hann_window(WINDOW))


def read_wav(file: Path | io.BytesIO) -> Tensor:
    """A sound (n,) in [-1, 1) of a file with one channel of 16 bits and RATE; ValueError on any other."""
    with wave.open(file if isinstance(file, io.BytesIO) else str(file)) as opened:
        given = opened.getnchannels(), opened.getsampwidth(), opened.getframerate()
        if given != (1, 2, RATE):
            raise ValueError(f"{file} has channels, bytes and rate {given}, not {(1, 2, RATE)}")
        samples = np.frombuffer(opened.readframes(opened.getnframes()), "<i2")
    return torch.from_numpy(samples.astype(np.float32) / 2**15)


def wav_bytes(sound: Tensor) -> bytes:
    """A WAV file, one channel of 16 bits, of a sound (n,); what is beyond [-1, 1) is cut off."""
    samples = (sound * 2**15).round().clamp(-(2**15), 2**15 - 1).to(torch.int16)
    out = io.BytesIO()
    with wave.open(out, "wb") as opened:
        opened.setparams((1, 2, RATE, len(samples), "NONE", ""))
        opened.writeframes(samples.numpy().astype("<i2").tobytes())
    return out.getvalue()


def to_bytes(frames: Tensor) -> Tensor:
    """Frames in decibels as uint8, in steps of STEP from FLOOR."""
    return ((frames - FLOOR) / STEP).round().clamp(0, 255).to(torch.uint8)


def from_bytes(steps: Tensor) -> Tensor:
    return steps.float() * STEP + FLOOR


# --- Recordings ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recordings:
    """The frames of recordings, one after another.

    Args:
        frames: in decibels, (n, BANDS).
        lengths: of each recording by its name, in frames; they add up to n.
    """

    frames: Tensor
    lengths: dict[str, int]

    def split(self, name: str) -> Recordings:
        """The recordings of a split; of each recording its name decides, whatever the others."""
        parts = zip(self.lengths, self.frames.split(list(self.lengths.values())))
        chosen = {recording: part for recording, part in parts if split_of(recording) == name}
        return joined(chosen)

    def starts(self, length: int, every: int) -> Tensor:
        """Where patches of ``length`` frames begin, one ``every`` so many frames, none across two recordings."""
        found, first = [], 0
        for frames in self.lengths.values():
            found.append(torch.arange(first, first + frames - length + 1, every))
            first += frames
        return torch.cat(found)


def joined(parts: dict[str, Tensor]) -> Recordings:
    """Recordings from the frames (n_i, BANDS) of each, by name."""
    return Recordings(torch.cat(list(parts.values())), {name: len(part) for name, part in parts.items()})


def split_of(recording: str) -> str:
    """Of a recording's name: three twentieths are "test", two "validation", the others "train"."""
    place = int(hashlib.sha256(recording.encode()).hexdigest(), 16) % 20
    if place < 3:
        return "test"
    return "validation" if place < 5 else "train"


@cache
def load(source: str) -> Recordings:
    """The recordings that ship under a name of :data:`SHIPPED`, or all that are in a folder.

    >>> load("french").frames.shape
    torch.Size([18972, 32])
    """
    if source not in SHIPPED:
        return joined(dict(read_folder(Path(source))))
    steps = np.load(io.BytesIO(lzma.decompress(shipped.read(f"speech/{source}.npy.xz"))))
    lines = shipped.read(f"speech/{source}.csv").decode().splitlines()[1:]
    lengths = {name: int(frames) for name, frames in (line.split(",") for line in lines)}
    return Recordings(from_bytes(torch.from_numpy(steps).T.contiguous()), lengths)


def read_folder(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Name and frames of each recording of speech in a folder and those below it, in the order of the names."""
    for path in sorted(folder.rglob("*.wav")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if not any(part in name for part in NOT_SPEECH):
            yield name, from_bytes(to_bytes(log_mel(read_wav(path))))


def clip(language: str) -> Tensor:
    """The recording :data:`CLIP` in a language of :data:`SHIPPED`, as a sound."""
    return read_wav(io.BytesIO(shipped.read(f"speech/{language}-{CLIP}.wav")))


def make(english: Path, french: Path, out: Path) -> None:
    """Write what ships, but for its README and LICENSE: of French the first minutes, in the order of their digests."""
    for language, folder in (("english", english), ("french", french)):
        parts = dict(read_folder(folder))
        if language == "french":
            order = sorted(parts, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
            until = np.cumsum([len(parts[name]) for name in order]).searchsorted(FRENCH_FRAMES)
            parts = {name: parts[name] for name in sorted(order[:until])}
        recordings, array = joined(parts), io.BytesIO()
        np.save(array, to_bytes(recordings.frames).T.contiguous().numpy())
        write_atomically(out / f"{language}.npy.xz", lzma.compress(array.getvalue(), preset=9 | lzma.PRESET_EXTREME))
        lines = [f"{name},{frames}" for name, frames in recordings.lengths.items()]
        write_atomically(out / f"{language}.csv", "\n".join(["name,frames", *lines]) + "\n")
        write_atomically(out / f"{language}-{CLIP}.wav", (folder / f"{CLIP}.wav").read_bytes())


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]), shipped.files.CHECKOUT / "data" / "speech")
