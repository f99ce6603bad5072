"""Figures: one SVG that follows the page, arms that can be told apart, and glue that Sphinx reads."""

import base64
import io
import re

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from samples import contrast, drawn

from book.press import processes
from rotvq.page import figures
from rotvq.page.figures import ARMS, CSS, OF_A_PAGE, Figure
from rotvq.quantizers.estimators import ESTIMATORS

matplotlib.use("agg")


def test_every_estimator_has_an_arm():
    assert set(ARMS) == set(ESTIMATORS) and figures.FIXED.items() <= ARMS.items()


def test_a_new_estimator_gets_a_style_of_its_own():
    """Without an edit of this module, unlike every fixed one and the first spare ones, which arms of a study take."""
    new = figures.every_arm([*ESTIMATORS, "brand_new", "newer"])
    assert {name: new[name] for name in ESTIMATORS} == ARMS and new["brand_new"].label == "brand new"
    study = {label: arm for label, arm in figures.arms(MANY).items() if label not in ("arm 0", "rotation")}
    every = [*new.values(), *study.values()]
    assert len({(str(arm.linestyle), arm.marker) for arm in every}) == len(every)
    for name in ("brand_new", "newer"):
        assert contrast(new[name].color, "#ffffff") >= 3 and contrast(new[name].color, "#121212") >= 3


@pytest.mark.parametrize("name", ["brake.py:Brake", "my_package.my_module:Name", "/a/b.py:Brake#0123456789abcdef"])
def test_an_estimator_of_ones_own_is_called_by_its_path(name):
    assert ARMS[name].label == figures.label(name) == name and name not in ARMS
    with pytest.raises(KeyError):
        ARMS[name.partition(":")[0]]


@pytest.mark.parametrize("name", ARMS)
def test_arms_can_be_seen_on_both_pages(name):
    """WCAG 2.1 asks for 3 of graphics. #121212 is the theme's dark page, and a light card is at least as light."""
    assert contrast(ARMS[name].color, "#ffffff") >= 3 and contrast(ARMS[name].color, "#121212") >= 3


@pytest.mark.parametrize("name", ARMS)
def test_arms_differ_by_more_than_colour(name):
    others = [(arm.linestyle, arm.marker) for other, arm in ARMS.items() if other != name]
    assert (ARMS[name].linestyle, ARMS[name].marker) not in others


MANY = {f"arm {n}": {"estimator": "ste", "gamma": float(n)} for n in range(20)} | {
    "rotation": {"estimator": "rotation"}
}


def test_arms_of_a_study_look_the_same_whatever_is_drawn_with_them():
    drawn = figures.arms(MANY)
    assert drawn["arm 0"] == ARMS["ste"]._replace(label="arm 0") and drawn["rotation"] == ARMS["rotation"]
    assert figures.arms(MANY) == drawn and figures.arms({**MANY, "later": {"gamma": 7.0}}).items() >= drawn.items()


def test_arms_of_a_study_can_be_told_apart_and_seen():
    drawn = [*ARMS.values(), *(arm for label, arm in figures.arms(MANY).items() if label not in ("arm 0", "rotation"))]
    assert len({(str(arm.linestyle), arm.marker) for arm in drawn}) == len(drawn)
    for color in figures.SPARE["colors"]:
        assert contrast(color, "#ffffff") >= 3 and contrast(color, "#121212") >= 3


def test_figure_follows_the_page():
    bundle = Figure(drawn(), alt='Two "seeds" & their mean')._repr_mimebundle_()
    text = bundle["text/html"]
    assert not any(placeholder in text for placeholder in CSS)
    assert "var(--pst-color-text-base, currentColor)" in text
    assert 'role="img" aria-label="Two &quot;seeds&quot; &amp; their mean"' in text
    assert ">step</text>" in text, "text stays text"
    assert not re.search(r'<g id="', text), "an id may stand only once on a page"
    png = plt.imread(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert png[0, 0, :3].min() == 1.0, "the PNG has a white page of its own"
    assert not plt.get_fignums()


def test_the_same_figure_gives_the_same_bytes():
    assert Figure(drawn(), alt="a")._repr_mimebundle_() == Figure(drawn(), alt="a")._repr_mimebundle_()


def test_several_figures_are_one_picture():
    one, two = (Figure([drawn() for _ in range(n)], alt="a")._repr_mimebundle_() for n in (1, 2))
    assert two["text/html"].count("<svg") == 2 and two["text/html"].count("role=") == 1
    width = [plt.imread(io.BytesIO(base64.b64decode(b["image/png"]))).shape[1] for b in (one, two)]
    assert width[1] == 2 * width[0]


def test_a_figure_needs_words():
    with pytest.raises(ValueError, match="alt is empty"):
        Figure(drawn(), alt=" ")


@pytest.mark.parametrize("value", [0.5, 3])
def test_glue_writes_what_myst_nb_writes(value, monkeypatch):
    from myst_nb.ext.glue import glue

    ours, theirs = [], []
    monkeypatch.setattr(figures, "display", lambda data, **more: ours.append((data, more)))
    monkeypatch.setattr("myst_nb.ext.glue.ipy_display", lambda data, **more: theirs.append((data, more)))
    figures.glue("name", value)
    glue("name", value, display=False)
    assert ours[:1] == theirs


@pytest.mark.parametrize(
    "value, kind, shown", [(0.5, "text/plain", "name: 0.5"), ("some words", "text/plain", "name: some words")]
)
def test_a_glued_value_can_be_read_in_the_notebook_itself(value, kind, shown, monkeypatch):
    said = []
    monkeypatch.setattr(figures, "display", lambda data, **_: said.append(data))
    figures.glue("name", value)
    assert said[1] == {kind: shown}


def test_a_glued_figure_and_a_glued_table_can_be_seen_in_the_notebook_itself(monkeypatch):
    said = []
    monkeypatch.setattr(figures, "display", lambda data, **_: said.append(data))
    figures.glue("one", Figure(drawn(), alt="a line"))
    figures.glue("other", pd.DataFrame({"a": [1]}))
    records, opened = said[::2], said[1::2]
    assert [set(one) for one in opened] == [{"text/plain", "image/png"}, {"text/plain", "text/html"}]
    assert not any("image/png" in kind for one in records for kind in one), "the book shows the HTML"


def test_of_a_page_nothing_is_kept_for_those_who_open_the_notebook(monkeypatch, tmp_path):
    said, drawn_again = [], []
    monkeypatch.setenv(OF_A_PAGE, "1")
    monkeypatch.setattr(figures, "display", lambda data, **_: said.append(data))
    monkeypatch.setattr(figures, "_png", drawn_again.append)
    figures.glue("one", Figure(drawn(), alt="a line"))
    figures.glue("other", 0.5)
    assert len(said) == 2 and all(kind.startswith("application/papermill.record/") for one in said for kind in one)
    assert drawn_again == []
    assert OF_A_PAGE in processes.variables(tmp_path)


@pytest.mark.parametrize("value", [np.float64(0.5), np.array(0.5), torch.tensor(0.5)])
def test_glue_writes_numbers_that_can_be_formatted(value, monkeypatch):
    said = []
    monkeypatch.setattr(figures, "display", lambda data, **_: said.append(data))
    figures.glue("name", value)
    assert said[0] == {"application/papermill.record/text/plain": "0.5"}


@pytest.mark.parametrize("words", ["2.0 to 3.1 %", "2,000", "100", "0–4", "(1, 2)", "None"])
def test_glue_writes_words_that_the_page_shows_as_they_are(words, monkeypatch):
    from myst_nb.core.variables import format_plain_text

    said = []
    monkeypatch.setattr(figures, "display", lambda data, **_: said.append(data))
    figures.glue("name", words)
    assert format_plain_text(said[0]["application/papermill.record/text/plain"], "") == words


def test_strips_are_a_panel_a_row():
    rows = {"test images": torch.zeros(3, 1, 4, 4), "in colour": torch.ones(3, 3, 4, 4)}
    html = figures.strips(rows, "Two rows.")._repr_mimebundle_()["text/html"]
    assert html.count("<svg") == 2 and 'class="rv-figure rv-stacked"' in html
