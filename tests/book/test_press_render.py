"""A small book rendered under the real settings: numbers of chapters, hidden code, and buttons."""

import html
import re

import pytest
from small_book import settings

from book.press import build, reading_time


@pytest.fixture(params=["", "https://github.com/owner/rotvq"])
def site(request, small_site):
    """Its folder and the address of the repository: none, as long as the setting is empty, or one."""
    return small_site(request.param), request.param


def text_of(fragment: str) -> str:
    """A piece of HTML without its tags."""
    return " ".join(html.unescape(re.sub("<[^>]*>", "", fragment)).split())


def titles_of(page: str) -> list[str]:
    """The titles of a page and its sections, as a reader sees them."""
    return [text_of(title).rstrip("#") for title in re.findall("<h[12]>(.*?)</h[12]>", page, re.S)]


def test_buttons_only_where_they_lead_somewhere():
    filled = settings("https://github.com/owner/rotvq")
    assert build.with_buttons(settings("")) == settings("")
    assert {"binderhub_url", "colab_url"} <= set(build.with_buttons(filled)["launch_buttons"])


def test_launch_buttons_open_the_notebook_of_the_repository(site):
    folder, url = site
    page = (folder / "notebooks" / "10_other.html").read_text()
    opened = "https://colab.research.google.com/github/owner/rotvq/blob/main/notebooks/10_other.ipynb"
    assert (opened in page) == bool(url)
    assert ("mybinder.org" in page) == bool(url)


@pytest.mark.parametrize("name, number", [("03_page", 3), ("10_other", 10)])
def test_a_chapter_has_the_number_of_its_file(site, name, number):
    page = (site[0] / "notebooks" / f"{name}.html").read_text()
    titles = titles_of(page)
    assert f"{number}. A page" in titles and any(title.startswith(f"{number}.1. Over") for title in titles)
    entry = re.search(rf'<a class="(?:current )?reference internal" href="(?:#|{name}.html)">(.*?)</a>', page)[1]
    assert text_of(entry) == f"{number}. A page"
    captions = [text_of(caption) for caption in re.findall('class="caption-number">(.*?)</span>', page)]
    assert captions == [f"Theorem {number}.1", f"Fig. {number}.1"]


def test_references_say_those_numbers_and_prose_has_none(site):
    index = (site[0] / "index.html").read_text()
    assert "Fig. 10.1" in index and "Theorem 3.1" in index
    assert {"Prose", "Its section"} <= set(titles_of((site[0] / "prose.html").read_text()))


def test_hidden_code_leaves_a_link_and_its_output(site):
    page = (site[0] / "notebooks" / "10_other.html").read_text()
    body = page[page.index("<article") : page.index("</article>")]
    assert "plumbing" not in body and "Show code" not in body and "git clone" not in body
    assert "drawn by it" in body and "idea" in body
    assert re.findall(r'href="([^"]*)">Code of this page', body) == ["../code/10_other.html"]


def test_the_page_of_code_has_every_cell_and_leads_back(site):
    page = (site[0] / "code" / "10_other.html").read_text()
    body = page[page.index("<article") : page.index("</article>")]
    assert "plumbing" in body and "idea" in body and "git clone" not in body
    assert "<h1>Code of chapter 10</h1>" in body and "<h2>Over r_0 &amp; time</h2>" in body
    assert 'href="../notebooks/10_other.html">A page</a>' in body
    assert "plumbing" not in (site[0] / "searchindex.js").read_text()


def test_formulas_that_code_has_marked_are_typeset_and_the_minutes_are_those_of_the_theory(small_site):
    page = (small_site("") / "prose.html").read_text()
    said = re.search("<p>In .*?</p>", page, re.S)[0]
    assert 'class="katex"' in said and 'class="tex"' not in said
    assert text_of(said).startswith(f"In {reading_time.minutes(reading_time.theory())} minutes")
