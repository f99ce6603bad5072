"""Speech: frames and back to sound, the recordings that ship, their splits."""

import io
import math
import wave

import pytest
import torch

from book.systems import shipped, speech
from book.systems.speech import BANDS, FLOOR, HOP, RATE, STEP
from rotvq.training.files import DataError


def tone(hertz: float, seconds: float = 0.5, size: float = 0.5) -> torch.Tensor:
    return size * torch.sin(2 * math.pi * hertz * torch.arange(int(seconds * RATE)) / RATE)


@pytest.mark.parametrize("hertz", (300.0, 1000.0, 2500.0))
def test_a_tone_is_loudest_in_its_band_and_comes_back(hertz):
    frames = speech.log_mel(tone(hertz))
    assert frames.shape == (1 + RATE // 2 // HOP, BANDS)
    inside = frames[4:-4]  # whole windows
    loudest = speech.mel_bank()[:, round(hertz / RATE * speech.FFT)].argmax()
    assert (inside.argmax(1) == loudest).all()
    magnitudes = speech.mel_inverse(frames)[:, 4:-4]
    peak = magnitudes.sum(1).argmax() * RATE / speech.FFT
    assert abs(peak - hertz) < 0.12 * hertz, "in the band of the tone, which is as wide as that"
    again = 20 * (speech.mel_bank() @ magnitudes).log10().T
    assert (again - inside)[inside > FLOOR + 30].abs().max() < 1.0, "the levels are those of the frames"


def test_louder_by_a_factor_is_higher_by_decibels():
    loud, soft = (speech.log_mel(tone(1000.0, size=size)).max() for size in (0.5, 0.05))
    assert float(loud - soft) == pytest.approx(20.0, abs=1e-3)
    assert (speech.log_mel(torch.zeros(RATE)) == FLOOR).all()


def test_griffin_lim_reduces_the_spectral_error():
    sound = speech.clip("english")
    wanted = speech.spectrum(sound).abs()

    def apart(steps: int) -> float:
        found = speech.spectrum(speech.griffin_lim(wanted, steps)).abs()
        return float((found - wanted).norm() / wanted.norm())

    errors = [apart(steps) for steps in (0, 5, 30)]
    assert errors[0] > 2 * errors[1] > 2 * errors[2] and errors[2] < 0.15


def test_a_decoded_clip_has_the_frames_that_it_was_made_of():
    frames = speech.log_mel(speech.clip("french"))
    again = speech.log_mel(speech.griffin_lim(speech.mel_inverse(frames), 30))
    error = (again - frames[: len(again)]).square().mean().sqrt()
    other = (frames - frames.mean(0)).square().mean().sqrt()
    assert error < 0.25 * other


def test_a_wav_file_comes_back():
    sound = torch.tensor([0.0, 0.5, -1.0, 1 - 2**-15, 2.0])
    again = speech.read_wav(io.BytesIO(speech.wav_bytes(sound)))
    assert torch.equal(again, sound.clamp(-1, 1 - 2**-15))
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
    with pytest.raises(ValueError, match="channels"):
        speech.read_wav(io.BytesIO(out.getvalue()))


def test_bytes_are_frames_to_half_a_step():
    frames = torch.linspace(FLOOR, 70, 1000)
    assert (speech.from_bytes(speech.to_bytes(frames)) - frames).abs().max() <= STEP / 2 + 1e-4


def test_what_ships_is_whole_and_split_by_name():
    english = speech.load("english")
    assert len(english.lengths) == 552 and sum(english.lengths.values()) == len(english.frames) == 116_571
    splits = {name: english.split(name) for name in ("train", "validation", "test")}
    assert sum(len(part.frames) for part in splits.values()) == len(english.frames)
    assert not set(splits["train"].lengths) & set(splits["test"].lengths)
    shares = [len(part.lengths) / 552 for part in splits.values()]
    assert shares == pytest.approx([0.75, 0.1, 0.15], abs=0.03)
    assert speech.split_of(speech.CLIP) == "test", "what one listens to was not trained on"
    frames = speech.log_mel(speech.clip("english"))
    first = dict(zip(english.lengths, english.frames.split(list(english.lengths.values()))))[speech.CLIP]
    assert (speech.from_bytes(speech.to_bytes(frames)) - first).abs().max() <= STEP, "the frames are of the sound"


def test_patches_stay_within_a_recording():
    made = speech.joined({"a": torch.zeros(5, BANDS), "b": torch.ones(3, BANDS)})
    assert made.starts(3, every=1).tolist() == [0, 1, 2, 5] and made.starts(3, every=3).tolist() == [0, 5]


def test_a_folder_is_read_as_the_package_is(tmp_path):
    for name in ("digits/1", "silence/1", "beep", "hello"):
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(speech.wav_bytes(tone(500.0)))
    assert list(speech.load(str(tmp_path)).lengths) == ["digits/1", "hello"]


def test_an_altered_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "speech").mkdir()
    (tmp_path / "speech" / "french.csv").write_bytes(shipped.read("speech/french.csv") + b"more,1\n")
    monkeypatch.setenv("ROTVQ_DATA", str(tmp_path))
    with pytest.raises(DataError, match="altered"):
        shipped.read("speech/french.csv")


def test_the_licence_ships_with_the_names_of_the_voices():
    text = (shipped.files.CHECKOUT / "data" / "speech" / "LICENSE").read_text("utf-8")
    assert all(words in text for words in ("ShareAlike", "Allison Smith", "June Wallack"))
