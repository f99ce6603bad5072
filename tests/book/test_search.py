"""The search of the book: what stands first answers, whatever people call a thing."""

import pytest
from conftest import HTML, built
from docutils import nodes
from sphinx import addnodes

from book.press.search_words import Entry, SearchEnglishAndChinese, glossary, synonyms

FIRST = 3  # results that one looks at
ANSWERS = {  # what people type: pages that have to stand first
    "quantization": ["01_missing_derivative", "22_use_it"],
    "vector quantization": ["01_missing_derivative", "22_use_it"],
    "reset": ["22_use_it", "11_initialisation"],
    "codebook reset": ["22_use_it", "11_initialisation"],
    "random restart": ["22_use_it", "11_initialisation"],
    "dead codes": ["22_use_it", "11_initialisation"],
    "unused codes": ["22_use_it", "11_initialisation"],
    "codebook collapse": ["25_drift", "41_collapse"],
    "index collapse": ["25_drift", "41_collapse"],
    "straight-through": ["01_missing_derivative", "10_ste_vs_rotation"],
    "straight through estimator": ["01_missing_derivative", "10_ste_vs_rotation"],
    "STE": ["01_missing_derivative", "10_ste_vs_rotation"],
    "commitment": ["12_gamma"],
    "commitment loss": ["12_gamma"],
    "commitment cost": ["12_gamma"],
    "EMA": ["15_codebook", "39_frontier"],
    "exponential moving average": ["15_codebook", "39_frontier"],
    "rotation trick": ["03_rotation", "10_ste_vs_rotation"],
    "initialization": ["11_initialisation"],
    "codebook utilization": ["15_codebook"],
    "RVQ": ["09_residual"],
    "residual vector quantization": ["09_residual"],
    "warmup": ["11_initialisation", "25_drift"],
    "learning rate": ["28_code_speed"],
    "decay": ["15_codebook", "39_frontier"],
    "beta": ["12_gamma"],
    "k-means": ["11_initialisation"],
    "perplexity": ["15_codebook"],
    "vqgan": ["31_vqgan"],
}


def first(chromium, phrase):
    """The addresses of the first results, as a reader sees them."""
    page = chromium.new_page()
    page.goto(f"{(HTML / 'search.html').as_uri()}?q={phrase.replace(' ', '+')}")
    page.wait_for_function("() => document.querySelector('#search-results .search-summary').innerText.trim()")
    links = page.locator("#search-results ul.search li > a").evaluate_all("es => es.map((e) => e.getAttribute('href'))")
    page.close()
    return links[:FIRST]


@pytest.mark.parametrize("phrase", ANSWERS)
def test_what_answers_stands_first(chromium, phrase):
    built()
    found = first(chromium, phrase)
    pages = [link.partition("#")[0].partition("?")[0].removesuffix(".html") for link in found]
    missing = {f"notebooks/{name}" for name in ANSWERS[phrase]} - set(pages)
    assert not missing, found
    assert "notation" in pages, "the entry of the glossary"


def test_a_field_that_is_called_like_a_word_comes_after_the_pages(chromium):
    """A reader who types a word wants a chapter; who types a name of code wants its entry."""
    built()
    assert not [link for link in first(chromium, "centre") if link.startswith("api.html#")]
    assert first(chromium, "initial_count")[0].startswith("api.html#")


def test_what_the_glossary_does_not_have_is_searched_for_as_before(chromium):
    built()
    assert first(chromium, "papermill") and first(chromium, "xyzzy") == []
    assert not [link for link in first(chromium, "papermill") if link.startswith("notation")]


@pytest.mark.parametrize(
    "definition, found",
    [
        ("A vector. Also codeword, entry.", ["codeword", "entry"]),
        ("Few remain. Also unused or dormant code, a.b.", ["unused", "dormant code", "a"]),
        (r"A weight; also cost, and $\beta$ in papers.", ["cost"]),
        (r"Also \beta or gamma.", ["gamma"]),
        ("An alsoran, no list.", []),
    ],
)
def test_synonyms_stand_after_also(definition, found):
    assert synonyms(definition) == found


def item(terms, *definition):
    named = [nodes.term("", "", nodes.Text(term), addnodes.index(entries=[]), ids=[f"term-{term}"]) for term in terms]
    return nodes.definition_list_item("", *named, nodes.definition("", nodes.paragraph("", "", *definition)))


def link(target):
    return addnodes.pending_xref("", reftype="doc", reftarget=target)


def test_an_entry_has_its_terms_its_synonyms_and_the_pages_it_names():
    definition = [nodes.Text("Also c-d."), link("../two"), link("one"), link("one")]
    listed = nodes.definition_list("", item(["b", "B"], *definition))
    other = nodes.definition_list("", item(["x"], nodes.Text("No term of a glossary.")))
    document = nodes.document(None, None)
    document += [addnodes.glossary("", listed), other]
    (entry,) = glossary("part/page", document)
    assert entry == Entry(["b", "B", "c-d", "cd"], ["two", "part/one"], "part/page", "#term-b")


def test_without_a_glossary_nothing_is_put_first():
    some = [Entry(["b"], [], "p", "").script()]
    assert "_performSearch" not in SearchEnglishAndChinese({"glossary": []}).js_splitter_code
    assert "_performSearch" in SearchEnglishAndChinese({"glossary": some}).js_splitter_code
