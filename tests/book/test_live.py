"""A look at images: every arm is trained, and shown in grey and in colour."""

from book.chapters.live import show_reconstructions

STE, ZERO = {"estimator": "ste"}, {"estimator": "zero"}


def test_reconstructions_trains_every_arm():
    figure, errors = show_reconstructions({"STE": STE, "zero": ZERO}, steps=1, codebook_size=16)
    assert list(errors) == ["STE", "zero"] and all(0 < error < 1 for error in errors.values())
    assert figure._repr_mimebundle_()["text/html"].count("<svg") == 3


def test_reconstructions_takes_images_in_colour():
    figure, _ = show_reconstructions({"STE": STE}, steps=1, codebook_size=16, source="photographs")
    assert figure._repr_mimebundle_()["text/html"].count("<svg") == 2
