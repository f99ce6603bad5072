"""What a page says of itself, and what a hosted site needs: heads, feet, launch buttons, sitemap, card, changes."""

import html
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from datetime import datetime

import pytest
import yaml
from conftest import CHROMIUM, CODE_PAGES, HTML, PAGES, ROOT, built
from docutils import nodes
from pybtex.database import parse_string
from small_book import settings

from book.press import build, hosted, page_foot, page_head, pair
from book.press.edition import Cited, Edition, bibtex, edition
from book.press.whole import contents

ADDRESS = "https://github.com/owner/rotvq"
EDITION = Edition("9.8.7", "commit abc of 2026-01-02", edition().time.replace(year=2026))
CHAPTERS = [page for part in contents() for page in part.pages if page.startswith("notebooks/")]


def head_of(page: str) -> dict[str, str]:
    """The tags of a page's head by name or property."""
    found = re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)"', page)
    return {name: html.unescape(content) for name, content in found}


def document(*children: nodes.Node) -> nodes.document:
    page = nodes.document(None, None)
    page += nodes.section("", nodes.title("", "A page"), *children)
    return page


def box(title: str, *children: nodes.Node) -> nodes.admonition:
    return nodes.admonition("", nodes.title("", title), nodes.paragraph("", "", *children))


def words(*texts: str) -> nodes.paragraph:
    return nodes.paragraph("", "", *map(nodes.Text, texts))


# descriptions


def test_the_description_is_the_box_and_else_the_first_paragraph():
    first = words("The first paragraph.")
    assert page_head.description(document(first)) == "The first paragraph."
    short = box("In short", nodes.Text("A length "), nodes.math("", r"r_0 = |q|/|z| \le 1"), nodes.Text(" is short."))
    assert page_head.description(document(first, short)) == "A length r_0 = |q|/|z| ≤ 1 is short."
    assert page_head.description(document(first, box("Note", nodes.Text("Aside.")))) == "The first paragraph."
    assert page_head.description(document(nodes.paragraph("", "", nodes.raw("", "<a>", format="html")))) == ""


def test_the_description_has_whole_sentences_without_numbers_of_sources():
    cited = nodes.inline("", "[2]", classes=["bibtex-citation"])
    found = page_head.description(document(nodes.paragraph("", "", nodes.Text("As said "), cited, nodes.Text("."))))
    assert found == "As said."
    sentence = "Nine words stand in this sentence, as one counts. "
    cut = page_head.shortened(sentence * 9)
    assert cut == (sentence * 4).strip() and len(cut) <= page_head.LONGEST
    long = page_head.shortened("word " * 90)
    assert long.endswith("word…") and len(long) <= page_head.LONGEST


@pytest.mark.parametrize(
    "formula, text",
    [
        (r"\theta\in[0,\pi]", "θ∈[0,π]"),
        (r"\partial L/\partial z", "∂L/∂z"),
        (r"\mathrm{sg}[G]", "sg[G]"),
        ("z^2", "z^2"),
    ],
)
def test_formulas_as_text(formula, text):
    assert page_head.plain(formula) == text


# where the book is


@pytest.mark.parametrize(
    "url, base, found",
    [
        ("", "", ""),
        (ADDRESS, "", "https://owner.github.io/rotvq/"),
        ("https://github.com/Owner/owner.github.io", "", "https://owner.github.io/"),
        ("https://gitlab.com/owner/rotvq", "", ""),
        (ADDRESS, "https://book.example/rotvq", "https://book.example/rotvq/"),
        ("", "https://book.example/", "https://book.example/"),
    ],
)
def test_where_the_site_is(url, base, found):
    config = settings(url)
    config["html"]["baseurl"] = base
    assert hosted.address(config) == found
    assert build.with_buttons(config)["html"]["baseurl"] == found


@pytest.mark.parametrize("url", [f"{ADDRESS}.git", f"{ADDRESS}/", "git@github.com:owner/rotvq", "owner/rotvq"])
def test_an_address_in_another_form_is_refused(url):
    with pytest.raises(SystemExit, match="should be like https://github.com/OWNER/rotvq"):
        build.with_buttons(settings(url))


def test_the_clone_line_and_the_way_to_report_follow_the_setting(monkeypatch):
    monkeypatch.setattr(hosted, "read_settings", lambda: settings(""))
    assert "git clone" not in hosted.clone() and "http" not in hosted.feedback()
    monkeypatch.setattr(hosted, "read_settings", lambda: settings(ADDRESS))
    assert f"git clone {ADDRESS}\ncd rotvq\n" in hosted.clone()
    assert f"({ADDRESS}/issues/new)" in hosted.feedback()


def test_the_citation_file_names_the_same_repository():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert cited.get("repository-code", "") == pair.repository()
    assert cited["version"] == edition().version


# a small book under a made-up address


@pytest.fixture
def small(small_site):
    return small_site(ADDRESS)


def test_a_hosted_page_says_what_it_is_and_where(small):
    page = (small / "notebooks" / "10_other.html").read_text()
    head = head_of(page)
    assert head["og:title"] == "A page" and head["og:site_name"] == "rotvq"
    assert head["og:url"] == "https://owner.github.io/rotvq/notebooks/10_other.html"
    assert '<link rel="icon" href="../_static/favicon.svg"/>' in page
    assert "<title>10. A page &#8212; rotvq</title>" in page
    assert "<title>A book</title>" in (small / "index.html").read_text()


def test_its_foot_says_the_edition_how_to_cite_it_and_where_to_report(small):
    page = (small / "notebooks" / "10_other.html").read_text()
    assert f"Version {edition().version}, " in page and "Cite this page" in page
    (link,) = re.findall(rf'href="({ADDRESS}/issues/new[^"]*)"', page)
    assert "title=Error+in%3A+A+page" in html.unescape(link)
    assert "url = {https://owner.github.io/rotvq/notebooks/10_other.html}" in page
    links = re.findall(r'href="https://owner.github.io/rotvq/download/([^"]*)"', page)
    assert links == [f"rotvq-{edition().version}.pdf", f"rotvq-{edition().version}.zip"]
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text())["jobs"]["build"]["steps"]
    runs = [step.get("run") for step in steps]
    assert {"make pdf zip", "mv _build/download _build/html/download"} <= set(runs), (
        "what the foot links to is published"
    )
    assert "Cite this page" not in (small / "code" / "10_other.html").read_text()


def test_the_sitemap_has_every_page_of_the_book(small):
    root = ElementTree.parse(small / "sitemap.xml").getroot()
    found = {entry.text for entry in root.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")}
    names = {"index", "prose", "notebooks/03_page", "notebooks/10_other"}
    assert found == {f"https://owner.github.io/rotvq/{name}.html" for name in names}


def test_the_page_for_lost_readers_works_at_any_depth(small):
    page = (small / "404.html").read_text()
    base = page.index('<base href="https://owner.github.io/rotvq/">')
    assert base < page.index("href=", base + 10) and base < page.index("src="), "what comes before it is not found"
    assert 'href="https://owner.github.io/rotvq/index.html"' in page


@pytest.mark.skipif(not CHROMIUM, reason="no browser here")
def test_the_card_is_drawn_and_named(small):
    from PIL import Image

    with Image.open(small / "_static" / "card.png") as card:
        assert card.size == hosted.CARD_SIZE
    head = head_of((small / "index.html").read_text())
    assert head["og:image"] == "https://owner.github.io/rotvq/_static/card.png"


def test_launch_buttons_open_what_is_in_the_repository(small):
    """Those of the small book have the right form; with the names of the chapters they lead to files that git has."""
    page = (small / "notebooks" / "10_other.html").read_text()
    colab = re.findall(r'href="(https://colab[^"]*)"', page)
    binder = re.findall(r'href="(https://mybinder[^"]*)"', page)
    assert colab == ["https://colab.research.google.com/github/owner/rotvq/blob/main/notebooks/10_other.ipynb"]
    assert binder == ["https://mybinder.org/v2/gh/owner/rotvq/main?urlpath=lab/tree/notebooks/10_other.ipynb"]
    tracked = subprocess.run(
        ["git", "ls-files", "notebooks", "environment.yml"], cwd=ROOT, capture_output=True, text=True
    )
    files = set(tracked.stdout.split())
    assert "environment.yml" in files, "Binder installs from it"
    assert not {f"{chapter}.ipynb" for chapter in CHAPTERS} - files


# citing


@pytest.mark.parametrize("title, kind", [("A book", "misc"), ("A page", "incollection")])
def test_the_entry_to_cite_is_one_that_bibtex_reads(title, kind):
    text = bibtex(Cited("10_other", title, "A book", "https://a.b/10.html"), EDITION)
    (entry,) = parse_string(text, "bibtex").entries.values()
    assert entry.type == kind and entry.fields["title"] == title and entry.fields["year"] == "2026"
    assert entry.fields["url"] == "https://a.b/10.html" and "9.8.7" in entry.fields["note"]
    assert [str(person) for person in entry.persons["author"]] == ["{the rotvq authors}"]


def test_without_a_repository_the_foot_links_to_none():
    found = page_foot.foot(EDITION, Cited("x", "A page", "A book", ""), "", "", "")
    assert "http" not in found and "href" not in found and "9.8.7" in found


# the built book


@pytest.mark.parametrize("name", PAGES)
def test_every_page_describes_itself(name):
    page = (HTML / name).read_text("utf-8")
    description = head_of(page)["description"]
    assert 20 <= len(description) <= page_head.LONGEST
    assert not re.search(r"[\\$<>{}]", description), description
    assert len(re.findall("<summary>(?:Cite this page|引用本页)</summary>", page)) == 1


def test_titles_and_descriptions_differ_from_page_to_page():
    built()
    texts = [(HTML / name).read_text("utf-8") for name in [*PAGES, *CODE_PAGES]]
    titles = [re.search("<title>(.*?)</title>", text)[1] for text in texts]
    descriptions = [head_of(text)["description"] for text in texts[: len(PAGES)]]
    assert len(set(titles)) == len(titles) and len(set(descriptions)) == len(descriptions)


def test_the_site_has_an_icon_and_the_sitemap_of_its_host():
    built()
    assert (HTML / "_static" / "favicon.svg").is_file()
    assert (HTML / "sitemap.xml").exists() == bool(hosted.address(hosted.read_settings()))


def test_what_changed_is_listed_newest_first():
    text = (ROOT / "book" / "changes.md").read_text("utf-8")
    days = re.findall(r"^## (\d+ \w+ \d{4})$", text, re.M)
    times = [datetime.strptime(day, "%d %B %Y") for day in days]
    assert len(times) > 1 and times == sorted(times, reverse=True)
