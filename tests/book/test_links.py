"""Every page of the built book is complete in itself: what it links to, and what it loads, is there."""

import html.parser
import pathlib
import urllib.parse

import pytest
from conftest import CODE_PAGES, HTML, PAGES, built


class Page(html.parser.HTMLParser):
    """The ids of a page, the addresses it links to and the addresses it loads."""

    def __init__(self, path: pathlib.Path):
        super().__init__()
        self.ids, self.links, self.loads = set(), [], []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        a = {k: v or "" for k, v in attributes}
        self.ids.update({a.get("id"), a.get("name") if tag == "a" else None} - {None})
        if tag == "a" and a.get("href"):
            self.links.append(a["href"])
        if tag == "link" and a.get("rel") not in ("canonical", "next", "prev", "search", "index", "author"):
            self.loads.append(a["href"])
        if tag in ("script", "img", "iframe", "source", "video", "audio") and a.get("src"):
            self.loads.append(a["src"])


@pytest.fixture(scope="module")
def pages():
    built()
    return {path.resolve(): Page(path) for path in HTML.rglob("*.html") if "_static" not in path.parts}


@pytest.mark.parametrize("name", [*PAGES, *CODE_PAGES])
def test_links_and_anchors_resolve(pages, name):
    path = (HTML / name).resolve()
    for url in pages[path].links:
        target = urllib.parse.urlsplit(url)
        if target.scheme:
            assert target.scheme in ("https", "http", "mailto", "data"), url
            continue
        there = (path.parent / urllib.parse.unquote(target.path)).resolve() if target.path else path
        assert there.is_file(), f"{name} links to {url}, which is not there"
        if target.fragment and there in pages:
            assert urllib.parse.unquote(target.fragment) in pages[there].ids, f"{name}: no anchor {url}"


@pytest.mark.parametrize("name", [*PAGES, *CODE_PAGES])
def test_nothing_is_loaded_from_elsewhere(pages, name):
    path = (HTML / name).resolve()
    for url in pages[path].loads:
        target = urllib.parse.urlsplit(url)
        assert target.scheme in ("", "data") and not target.netloc, f"{name} loads {url}"
        if not target.scheme:
            assert (path.parent / urllib.parse.unquote(target.path)).is_file(), f"{name}: no {url}"


@pytest.mark.parametrize("name", [name for name in PAGES if name.startswith("notebooks/")])
def test_a_chapter_hides_code_behind_one_link(pages, name):
    text = (HTML / name).read_text("utf-8")
    assert "Show code cell" not in text
    code = name.replace("notebooks/", "../code/")
    assert [url for url in pages[(HTML / name).resolve()].links if "/code/" in url] == [code]
