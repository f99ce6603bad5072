"""A chapter has one number: that of its file, on its page, in the sidebar, in its figures, and on the command line."""

import html
import re

import pytest
from conftest import HTML, PAGES, ROOT, built

from rotvq.runs import grids

NUMBERS = {script.stem: int(script.stem[:2]) for script in (ROOT / "notebooks").glob("[0-9][0-9]_*.py")}


def text_of(fragment: str) -> str:
    """A piece of HTML without its tags."""
    return " ".join(html.unescape(re.sub("<[^>]*>", "", fragment)).split())


def article(name: str) -> str:
    text = (HTML / name).read_text("utf-8")
    return text[text.index("<article") : text.index("</article>")]


@pytest.mark.parametrize("name", NUMBERS)
def test_the_page_has_the_number_of_its_file(name):
    built()
    page, number = article(f"notebooks/{name}.html"), NUMBERS[name]
    assert text_of(re.search("<h1>(.*?)</h1>", page, re.S)[1]).startswith(f"{number}. ")
    sections = [text_of(title) for title in re.findall("<h2>(.*?)</h2>", page, re.S)]
    assert all(title.startswith(f"{number}.{i}. ") for i, title in enumerate(sections, 1))
    index = (HTML / "index.html").read_text("utf-8")
    entry = re.search(rf'toctree-l1"><a class="reference internal" href="notebooks/{name}.html">(.*?)</a>', index, re.S)
    assert text_of(entry[1]).startswith(f"{number}. ")


@pytest.mark.parametrize("name", NUMBERS)
def test_its_title_has_no_mathematics(name):
    """It stands in the sidebar of every page."""
    text = (ROOT / "notebooks" / f"{name}.py").read_text("utf-8")
    assert "$" not in re.search(r"^# # (.+)$", text, re.M)[1]


@pytest.mark.parametrize("name", NUMBERS)
def test_its_figures_and_theorems_begin_with_that_number(name):
    built()
    numbers = re.findall('class="caption-number">(.*?)</span>', article(f"notebooks/{name}.html"))
    counted = [text_of(number) for number in numbers]
    assert all(re.fullmatch(rf"[A-Z]\w+\.? {NUMBERS[name]}\.\d+", number) for number in counted), counted
    figures = [number for number in counted if number.startswith("Fig. ")]
    assert figures == [f"Fig. {NUMBERS[name]}.{i}" for i in range(1, len(figures) + 1)]


@pytest.mark.parametrize("name", [name for name in PAGES if not name.startswith("notebooks/")])
def test_prose_has_no_number(name):
    assert "section-number" not in re.search("<h1>(.*?)</h1>", article(name), re.S)[1]


@pytest.mark.parametrize("chapter", grids.CHAPTERS)
def test_the_command_line_calls_it_by_that_number(chapter):
    assert chapter in NUMBERS and grids.find_chapter(str(NUMBERS[chapter])) == chapter
