"""The book as one file: its pages on one page, printed by Chromium; a zip of the site; checksums."""

import hashlib
import os
import re
import shutil
import zipfile
from datetime import UTC, datetime

import pytest
from conftest import BOOK, CHROMIUM

from book.press import browser, download, paths, pdf, whole
from book.press.edition import Edition
from book.press.mathematics import typeset

EDITION = Edition("9.8.7", "commit abc of 2026-01-02", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
HEAD = (
    '<html><head><link rel="stylesheet" href="_static/vendor/katex/katex.min.css"/></head><body><h1>Not this one</h1>'
)
TITLE = '<h1>{}<a class="headerlink" href="#top">#</a></h1>'
BODIES = {
    "index": '<p><a href="notebooks/10_ste.html#top">ten</a> <a href="notebooks/10_ste.html">whole</a>'
    ' <a href="https://elsewhere.example/">away</a></p>',
    "notebooks/10_ste": '<h2 id="part">A section</h2><p id="top"><a href="../index.html">back</a> <a href="#part">'
    'here</a> <span class="math">'
    + typeset("x^2")
    + '</span></p><p><a href="../code/10_ste.html">Code of this page</a></p>'
    '<svg viewBox="0 0 9 9"><defs><path id="p" d="M0 0h9"></path></defs><g clip-path="url(#p)">'
    '<use xlink:href="#p"></use></g></svg><img src="../_images/x.png" alt="x"/>'
    "<details><summary>Proof</summary><p>It is closed on the screen.</p></details>",
}
PARTS = [whole.Part("", ["index"]), whole.Part("Experiments", ["notebooks/10_ste"])]


def page_of(name: str) -> str:
    title = TITLE.format({"index": "A book", "notebooks/10_ste": "10. STE"}[name])
    return f'{HEAD}<article class="bd-article">{title}{BODIES[name]}</article></body></html>'


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The folder of a built site of two pages, where the press looks for it."""
    folder = tmp_path / "html"
    for name in BODIES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.html").write_text(page_of(name))
    shutil.copytree(BOOK / "assets" / "vendor", folder / "_static" / "vendor")
    monkeypatch.setattr(paths, "SITE", folder)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "DOWNLOAD", tmp_path / "download")
    monkeypatch.setattr(pdf, "WHOLE", tmp_path / "whole.html")
    return folder


PAGES = frozenset(BODIES)


@pytest.mark.parametrize(
    "address, found",
    [
        ("https://a.b/c", "https://a.b/c"),
        ("data:image/png;base64,AA", "data:image/png;base64,AA"),
        ("#part", "#10_ste--part"),
        ("../index.html", "#index"),
        ("../index.html#top", "#index--top"),
        ("10_ste.html#x", "#10_ste--x"),
        ("../_images/x.png", "html/_images/x.png"),
        ("../code/10_ste.html", None),
    ],
)
def test_addresses_lead_to_places_on_the_one_page(address, found):
    assert whole.new_address(address, "notebooks/10_ste", PAGES, "html", "") == found


def test_what_is_not_in_print_is_linked_where_the_site_is_hosted():
    found = whole.new_address("../code/10_ste.html", "notebooks/10_ste", PAGES, "html", "https://a.b/")
    assert found == "https://a.b/code/10_ste.html"


def test_ids_are_told_apart_and_headings_are_one_rank_lower():
    text = whole.article(page_of("notebooks/10_ste"), "notebooks/10_ste", PAGES, "html")
    assert 'id="10_ste"' in text and 'id="10_ste--part"' in text and 'id="part"' not in text
    assert "url(#10_ste--p)" in text and 'xlink:href="#10_ste--p"' in text
    assert "<h3 " in text and "<h2>10. STE" in text and "<h1" not in text
    assert "Not this one" not in text


def test_every_link_of_the_one_page_has_its_place(site):
    text = whole.one_page(site, PARTS, whole.Html(""), "", "html")
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    links = set(re.findall(r'href="#([^"]+)"', text)) - {"index--top"}  # the small page has no such place
    assert {"index", "10_ste", "10_ste--top", "10_ste--part"} <= links <= set(ids)


def test_the_parts_are_those_of_the_table_of_contents():
    parts = whole.contents()
    assert parts[0] == whole.Part("", ["index"])
    assert all(part.title for part in parts[1:])
    names = [whole.name(page) for part in parts for page in part.pages]
    assert len(names) == len(set(names)) > 40, "two pages of one name would share their ids"


@pytest.mark.skipif(not CHROMIUM, reason="no browser here")
def test_the_pdf_is_tagged_has_an_outline_and_its_links_work(site):
    found = pdf.printed(EDITION, parts=PARTS)
    assert found.startswith(b"%PDF-")
    assert b"/MarkInfo" in found and b"/StructTreeRoot" in found and b"/Lang (en)" in found
    outline = re.findall(rb"/Title \(([^)]*)\)", found[found.index(b"/Outlines") :] + found)
    titles = {title.decode("latin-1") for title in outline}
    assert {"A book", "Experiments", "10. STE", "A section"} <= titles, titles
    places = set(re.findall(rb"/Dest /(\S+)", found))
    assert {b"index", b"10_ste", b"10_ste--top", b"10_ste--part"} <= places
    assert set(re.findall(rb"/URI \(([^)]*)\)", found)) == {b"https://elsewhere.example/"}
    assert found.count(b"/Type /Page\n") == 5, "cover, contents, first page, part, chapter"
    assert not pdf.WHOLE.exists()


@pytest.mark.skipif(not CHROMIUM, reason="no browser here")
def test_print_opens_what_is_closed_and_waits_for_fonts(site):
    pdf.WHOLE.write_text(whole.one_page(site, PARTS, whole.Html(""), pdf.STYLE.read_text(), "html"))
    wide = "<table id=wide><tr>" + "<td>unbreakablecell</td>" * 40 + "</tr></table>"
    long = "<details><table>" + "<tr><td>1</td></tr>" * (pdf.LONGEST_TABLE + 1) + "</table></details>"
    with browser.browser() as chromium:
        page = browser.tab(chromium, pdf.WIDTH, 800)
        page.goto(pdf.WHOLE.as_uri())
        page.locator("#index").evaluate("(e, html) => e.insertAdjacentHTML('beforeend', html)", wide + long)
        pdf.print_page(page)
        assert page.locator("details:not([open])").count() == 0
        assert page.evaluate("() => [...document.fonts].some((e) => e.status === 'loaded')"), "the fonts of mathematics"
        assert not page.locator("text=Code of this page").is_visible(), "it leads nowhere in print"
        assert page.locator("#wide").evaluate("e => e.getBoundingClientRect().width") <= pdf.WIDTH + 1
        assert page.locator(f"text=A table of {pdf.LONGEST_TABLE} rows").count() == 1


@pytest.mark.skipif(not CHROMIUM, reason="no browser here")
@pytest.mark.parametrize("outer", ["width: 1600px", ""])
def test_what_is_too_wide_within_what_is_too_wide_shrinks_once(outer):
    inner = "<svg id=inner width=1600 height=100></svg>"
    with browser.browser() as chromium:
        page = browser.tab(chromium, pdf.WIDTH, 800)
        page.set_content(f"<figure class=rv-figure style='margin: 0; {outer}'>{inner}</figure>")
        page.evaluate(pdf.PREPARE, [pdf.WIDTH, pdf.LONGEST_TABLE])
        width = page.locator("#inner").evaluate("e => e.getBoundingClientRect().width")
        room = page.locator("body").evaluate("e => e.clientWidth")
    assert width == pytest.approx(room, rel=0.03)


def test_the_time_of_a_pdf_is_that_of_the_commit():
    before = b"<< /CreationDate (D:20300101000000+00'00')\n/ModDate (D:20300101000000+00'00') >>"
    after = pdf.with_time(before, EDITION.time)
    assert after.count(b"(D:20260102030405+00'00')") == 2 and len(after) == len(before)
    with pytest.raises(ValueError, match="unknown form"):
        pdf.with_time(b"/ModDate (D:2030)", EDITION.time)


@pytest.mark.skipif(not CHROMIUM, reason="no browser here")
def test_the_same_site_gives_the_same_pdf(site):
    assert pdf.printed(EDITION, parts=PARTS) == pdf.printed(EDITION, parts=PARTS)


def test_without_chromium_a_sentence_says_what_to_install(site, monkeypatch):
    monkeypatch.setattr(download, "edition", lambda: EDITION)
    monkeypatch.setattr(browser.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="no Chromium here .* install it"):
        download.write_pdf()


@pytest.mark.parametrize("write", [download.write_pdf, download.write_zip])
def test_without_a_built_book_a_sentence_says_what_to_do(site, write):
    (site / "index.html").unlink()
    with pytest.raises(SystemExit, match="run `make book` first"):
        write()


def test_a_page_that_was_not_built_is_named(site):
    with pytest.raises(SystemExit, match="no built page later"):
        whole.one_page(site, [*PARTS, whole.Part("More", ["later"])], whole.Html(""), "", "html")


def test_equal_files_give_an_equal_zip(site, monkeypatch):
    monkeypatch.setattr(download, "edition", lambda: EDITION)
    download.write_zip()
    target = paths.DOWNLOAD / "rotvq-9.8.7.zip"
    first = target.read_bytes()
    for path in site.rglob("*"):
        os.utime(path, (1e9, 1e9))
    (site / "index.html").chmod(0o600)
    download.write_zip()
    assert target.read_bytes() == first
    with zipfile.ZipFile(target) as archive:
        files = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
        assert {entry.removeprefix("rotvq-9.8.7/") for entry in archive.namelist()} == files
        assert {entry.date_time for entry in archive.infolist()} == {(2026, 1, 2, 3, 4, 4)}  # a zip counts in twos
        assert archive.read("rotvq-9.8.7/index.html") == (site / "index.html").read_bytes()
    (site / "index.html").write_text("another")
    download.write_zip()
    assert target.read_bytes() != first


def test_checksums_lie_beside_the_files(site, monkeypatch):
    monkeypatch.setattr(download, "edition", lambda: EDITION)
    paths.DOWNLOAD.mkdir()
    (paths.DOWNLOAD / "rotvq-9.8.7.pdf").write_bytes(b"pdf")
    download.write_zip()
    lines = (paths.DOWNLOAD / download.SUMS).read_text().splitlines()
    found = dict(reversed(line.split("  ")) for line in lines)
    assert (
        set(found)
        == {"rotvq-9.8.7.pdf", "rotvq-9.8.7.zip"}
        == {p.name for p in paths.DOWNLOAD.iterdir()} - {download.SUMS}
    )
    assert found["rotvq-9.8.7.pdf"] == hashlib.sha256(b"pdf").hexdigest()
