"""The text of a page: punctuation stays with its formula, a minus is one, and what a page shows is meant to be seen."""

import re

import matplotlib.pyplot as plt
import nbformat
import pytest
from conftest import HTML, PAGES, built
from docutils import nodes
from samples import drawn
from sphinx import addnodes

from book.press import paths
from book.press.typography import keep_together, set_page, set_text, with_columns
from rotvq.page.figures import Figure

EXECUTED = sorted(paths.PAGES.glob("*.ipynb"))


def line(*parts):
    """A paragraph of text and, where a part stands between dollars, of formulas."""
    found = nodes.paragraph()
    for part in parts:
        found += nodes.math("", part[1:-1]) if part.startswith("$") else nodes.Text(part)
    return found


def kept(paragraph):
    return [part.astext() for part in paragraph.findall(nodes.inline) if "rv-kept" in part["classes"]]


@pytest.mark.parametrize(
    "parts, together",
    [
        (["With ", "$q$", ". Next"], ["q."]),
        (["Codes (", "$q$", ") and ", "$z$", ", too"], ["(q)", "z,"]),
        (["At ", "$q$", " there"], []),
        (["$q$", ""], []),
        (["For ", r"$\frac{1+\kappa}{1-\kappa}h$", "."], [r"\frac{1+\kappa}{1-\kappa}h."]),  # no place to break it
        (["For ", r"$\alpha = \beta + \gamma + \delta$", "."], []),  # a phone has to break it
        (["For ", r"$\wrong{with a long text}$", "."], []),
    ],
)
def test_punctuation_stays_with_its_formula(parts, together):
    paragraph = line(*parts)
    text = paragraph.astext()
    for formula in list(paragraph.findall(nodes.math)):
        keep_together(formula)
    assert kept(paragraph) == together and paragraph.astext() == text


@pytest.mark.parametrize("text", ["seeds 100-109", "2026-11-28", "5e-16", "A-031", "k-means", "a - 1", "--f 8"])
def test_only_a_hyphen_before_a_number_is_a_minus(text):
    assert set_text(text) == text


def test_code_is_left_as_it_is():
    document = nodes.document(None, None)
    signature = addnodes.desc_signature("", "", nodes.inline("", "index=-1"))
    document += [nodes.paragraph("", "", nodes.literal("", "-1"), nodes.Text(" is -1 %")), signature]
    set_page(None, document, "page")
    assert document.astext().split("\n\n") == ["-1 is −1\u00a0%", "index=-1"]


def test_a_panel_that_is_drawn_wide_has_a_column_of_its_own_sooner():
    columns = []
    for width in (3.0, 4.6):
        fig, ax = plt.subplots(figsize=(width, 2))
        html = Figure([drawn(), fig], alt="a")._repr_mimebundle_(exclude=["image/png"])["text/html"]
        columns.append(int(re.search(r"--rv-column: (\d+)pt", with_columns(html))[1]))
    assert 0 < columns[0] < columns[1]


# what a page shows


@pytest.mark.parametrize("path", EXECUTED, ids=lambda path: path.stem)
def test_what_a_page_shows_is_meant_to_be_seen(path):
    """No value of a cell whose code is hidden, no table without a row, no number that is none."""
    wrong = []
    for cell in nbformat.read(path, 4).cells:
        hidden = "remove-input" in cell.metadata.get("tags", [])
        for output in cell.get("outputs", []):
            table = output.get("data", {}).get("text/html")
            if hidden and output.output_type == "execute_result" and not table:
                wrong.append(output.data["text/plain"][:60])
            if table and ("<td>NaN</td>" in table or "<thead" in table and table.count("<tr") < 2):
                wrong.append(table[:60])
    assert not wrong


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("notebooks/")] or [""])
def test_every_heading_has_something_below_it(name):
    built()
    assert not re.findall(r"</h\d>\s*</section>", (HTML / name).read_text("utf-8"))
