"""HTML: text and attributes are escaped once, elements inside elements not again."""

import html.parser

import pytest

from rotvq.page.html import Html, tag


@pytest.mark.parametrize("text", ["a < b & c", 'say "no"', "<script>alert(1)</script>", "it's", "&lt;"])
def test_a_parser_reads_the_text_and_attributes_that_were_written(text):
    class Reader(html.parser.HTMLParser):
        seen, attributes = "", []

        def handle_data(self, data):
            self.seen += data

        def handle_starttag(self, name, attributes):
            self.attributes = [*self.attributes, (name, dict(attributes))]

    reader = Reader()
    reader.feed(tag("p", text, tag("b", text), title=text))
    assert reader.seen == 2 * text
    assert reader.attributes == [("p", {"title": text}), ("b", {})]


def test_names_of_attributes():
    written = tag("td", class_="a", data_kind="b", aria_label="c", style=None)
    assert written == '<td class="a" data-kind="b" aria-label="c"></td>'


def test_elements_are_not_escaped_and_void_ones_do_not_end():
    assert tag("p", tag("br"), Html("<i>x</i>")) == "<p><br><i>x</i></p>"
