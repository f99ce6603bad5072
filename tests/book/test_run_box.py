"""The box that runs a page: what it says of every notebook; tables and code on a phone and on paper."""

import shlex
import types

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import BOOK, ROOT
from docutils import nodes
from docutils.utils import new_document
from sphinx.highlighting import PygmentsBridge

from book.press import run_box
from book.press.run_box import Parameter, box, command, put_boxes, read_parameters

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MADE = {"parameters": {}, "records": [], "machine": "a machine", "seconds": 3.0}
HIGHLIGHTER = PygmentsBridge("html", "default")
CELL = """\
# not of a parameter
steps: int | None = None  # of each run; None: as the profile says
arms: dict[str, dict] = {  # what is compared
    "STE": {"gamma": 1e-5},
}
seed: int = 0
"""


def test_a_cell_is_read_with_types_defaults_and_comments():
    assert read_parameters(CELL) == [
        Parameter("steps", "int | None", None, "of each run; None: as the profile says"),
        Parameter("arms", "dict[str, dict]", {"STE": {"gamma": 1e-5}}, "what is compared"),
        Parameter("seed", "int", 0, run_box.MEANINGS["seed"]),
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_of_the_book_has_a_meaning_and_a_command_that_gives_it(path):
    cells = [cell for cell in nbformat.read(path, 4).cells if "parameters" in cell.metadata.get("tags", [])]
    for parameter in [one for cell in cells for one in read_parameters(cell.source)]:
        assert parameter.meaning, parameter.name
        *words, given = shlex.split(command(path.stem, {parameter.name: parameter.default}))
        assert yaml.safe_load(given) == {parameter.name: parameter.default}
        assert words[1:] == [f"notebooks/{path.name}", "out.ipynb", "-y"]


def shown(made):
    return BeautifulSoup(box("05_page", read_parameters(CELL), made, HIGHLIGHTER), "html.parser")


def test_the_command_sets_what_is_short_or_what_this_page_changed():
    assert shown(MADE).pre.text.strip().endswith("-y '{steps: null}'")
    changed = shown({**MADE, "parameters": {"steps": 5, "seed": 0}})
    assert changed.pre.text.strip().endswith("-y '{steps: 5}'")
    assert [td.text for td in changed.select("td:nth-child(3)")][0] == "None (on this page 5)"


def test_the_command_of_a_page_that_trains_keeps_its_runs_apart():
    trains = [Parameter(name, "str", "", "words") for name in ("profile", "engine", "records")]
    for parameters, given in ((trains, {"profile": "smoke", "records": "my_runs"}), (trains[1:], {"engine": ""})):
        line = BeautifulSoup(box("05_page", parameters, MADE, HIGHLIGHTER), "html.parser").pre.text.strip()
        assert yaml.safe_load(shlex.split(line)[-1]) == given


def test_the_cost_is_that_of_the_page_and_of_its_records(monkeypatch):
    monkeypatch.setattr(run_box.page_provenance, "committed_records", lambda: {"a": "a.json", "b": "b.json"})
    monkeypatch.setattr(run_box.page_provenance, "read", lambda path: {"provenance": {"seconds": 3600}})
    said = run_box.cost({**MADE, "records": ["a", "b", "not committed"]}, trains=False)
    assert "took 3 s on a machine." in said and "read 2 records" in said and "took 2.0 hours to make" in said


def test_the_box_takes_the_place_of_the_cell_and_the_notebook_can_be_downloaded(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "05_page.ipynb").write_text("the notebook")
    (tmp_path / "notebooks" / "05_page.py").write_text("page = Page('05_page', globals(), steps=(1, 70_000))")
    (tmp_path / "site").mkdir()
    monkeypatch.setattr(run_box, "provenance", lambda page: MADE)
    environment = types.SimpleNamespace(doc2path=lambda page: str(tmp_path / "book" / f"{page}.ipynb"))
    builder = types.SimpleNamespace(highlighter=HIGHLIGHTER)
    app = types.SimpleNamespace(env=environment, builder=builder, srcdir=tmp_path / "book", outdir=tmp_path / "site")
    document = new_document("page")
    for tag, source in (("parameters", CELL), ("injected-parameters", "steps = 5"), ("other", "idea = 1")):
        document += nodes.container("", nodes.literal_block(source, source), classes=["cell", f"tag_{tag}"])
    put_boxes(app, document, "notebooks/05_page")
    first, second = document.children
    assert isinstance(first, run_box.RunBox) and second.astext() == "idea = 1"
    assert "1 to 70,000" in first["html"], "what the notebook itself allows"
    assert "Run this page" in first["html"] and "steps" not in first.astext(), "the search would read it"
    link = BeautifulSoup(first["html"], "html.parser").find("a", download=True)["href"]
    assert (tmp_path / "site" / "notebooks" / link).resolve().read_text() == "the notebook"


ROWS = "".join(f"<tr><th>row {i}</th>{'<td>a long value</td>' * 9}</tr>" for i in range(3))
GROUPED = ROWS.replace("<tr>", '<tr><th rowspan="3">group</th>', 1)
PAGE = """<!doctype html><html lang="en" data-theme="dark"><head><meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="{assets}/rotvq.css"><script defer src="{assets}/scrolls.js"></script>
<style>pre, .pst-scrollable-table-container {{ overflow-x: auto }} .highlight span {{ color: yellow }}</style></head>
<body><div class="bd-content"><article class="bd-article">{run}
<div class="pst-scrollable-table-container" id="wide"><table class="dataframe"><tbody>{rows}</tbody></table></div>
<div class="pst-scrollable-table-container" id="grouped"><table class="dataframe"><tbody>{grouped}</tbody></table></div>
<div class="pst-scrollable-table-container" id="small"><table><tbody><tr><td>1</td></tr></tbody></table></div>
<div class="highlight"><pre id="code"><span>{code}</span></pre></div></article></div></body></html>"""


@pytest.fixture
def page(chromium, tmp_path):
    """Wide tables and code on a phone, under the styles of the book."""
    run = box("05_page", read_parameters(CELL), MADE, HIGHLIGHTER)
    html = PAGE.format(assets=(BOOK / "assets").as_uri(), run=run, rows=ROWS, grouped=GROUPED, code="code " * 40)
    (tmp_path / "page.html").write_text(html, "utf-8")
    context = chromium.new_context(viewport={"width": 320, "height": 700})
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector("#wide[data-more]")
    yield page
    context.close()


def left(page, selector):
    return page.locator(selector).first.bounding_box()["x"]


@pytest.mark.parametrize("table, name", [("#wide", "th"), ("#grouped", "th:not([rowspan])")])
def test_names_of_rows_stay_where_a_table_scrolls(page, table, name):
    assert page.locator(table).get_attribute("data-more") == "right"
    value = left(page, f"{table} td")
    page.locator(table).evaluate("e => { e.scrollLeft = 200 }")
    page.wait_for_selector(f"{table}[data-more='left right']")
    assert left(page, f"{table} td") == value - 200
    assert left(page, f"{table} {name}") == left(page, table)
    page.locator(table).evaluate("e => { e.scrollLeft = e.scrollWidth }")
    page.wait_for_selector(f"{table}[data-more='left']")


def test_only_what_goes_on_is_faded(page):
    masks = "e => getComputedStyle(e).maskImage"
    assert page.locator("#small").get_attribute("data-more") is None
    assert page.locator("#small").evaluate(masks) == "none" != page.locator("#wide").evaluate(masks)
    assert page.locator("#code").evaluate("e => e.scrollWidth <= e.clientWidth"), "code is read whole"
    page.locator(".rv-run").evaluate("e => { e.open = true }")
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_print_is_black_on_white_and_whole(page):
    page.emulate_media(media="print")
    assert not page.locator(".rv-run").is_visible()
    ink, wrap, mask = page.locator("#code").evaluate(
        "e => [getComputedStyle(e.firstChild).color, getComputedStyle(e).whiteSpace, getComputedStyle(e).maskImage]"
    )
    assert (ink, wrap, mask) == ("rgb(0, 0, 0)", "pre-wrap", "none")
    assert page.locator("#code").evaluate("e => e.scrollWidth <= e.clientWidth")


def test_what_a_parameter_may_be_is_read_from_the_notebook():
    source = "from x import y\npage = Page('05', globals(), steps=(1, 9), mode=('a', 'b'), data=find)\n"
    assert run_box.read_allowed(source) == {"steps": (1, 9), "mode": ("a", "b"), "data": None}
    assert run_box.read_allowed("parameters.check(globals(), rows=(0, None))") == {"rows": (0, None)}
