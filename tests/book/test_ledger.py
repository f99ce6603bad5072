"""The ledger: its rules, its runner, and every row against its evidence."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

import pytest
import torch
from conftest import BOOK, ROOT

from book import statements
from book.all_statements import all_statements
from book.ledger import __main__ as command
from book.ledger import claims, mentions
from book.ledger.grammar import parse_evidence
from book.ledger.page import UNQUOTED, rows_as_html
from book.statements import STATEMENTS, Evidence, Finding, Law
from rotvq.quantizers.estimators import ESTIMATORS
from rotvq.runs.grids import stores_folder

ROWS = claims.load()
ROW = claims.Claim("A-001", "here", "q is near z", "theorem", "true", "so it is", "01", evidence="nearest_code")


@pytest.fixture(scope="module")
def without_records(tmp_path_factory):
    """without_records(row) -> its outcome; a statement that several rows name is run once."""
    folder, known = tmp_path_factory.mktemp("none"), {}
    return lambda row: claims.check(row, folder, known)


@pytest.mark.parametrize("row", [row for row in ROWS if row.evidence], ids=lambda row: row.id)
def test_verdicts_agree_with_their_evidence(row, without_records):
    outcome = without_records(row)
    assert outcome.status != "disagrees", f"{row.id} says {row.verdict}, found {outcome.finding}"
    assert typed_numbers(outcome) == []


@pytest.mark.parametrize("row", [row for row in ROWS if row.on_records], ids=lambda row: row.id)
def test_rows_that_rest_on_records_agree_with_those_that_are_committed(row):
    outcome = claims.check(row, stores_folder())
    assert outcome.status != "disagrees", f"{row.id} says {row.verdict}, found {outcome.finding}"
    assert typed_numbers(outcome) == []


SETTING = r"(?<!= )(?<![\w.(-])"  # "gamma = 0.25" and the coordinates of a point are given, not found
DECIMAL = re.compile(SETTING + r"-?\d+\.\d+(?!\d|\.\d|e)")


def typed_numbers(outcome):
    """Numbers of two digits or more that a reason or a correction types, and that the evidence finds."""
    assert "{{" not in outcome.reason + outcome.corrected
    found = [n for one in outcome.findings if one for n in one.numbers.values() if not isinstance(n, str)]
    typed = DECIMAL.findall(claims.NUMBER.sub("", f"{outcome.claim.reason} {outcome.claim.corrected}"))
    telling = [text for text in typed if len(text.replace(".", "").lstrip("-0")) > 1]
    return [text for text in telling if any(f"{n:.{len(text.partition('.')[2])}f}" == text for n in found)]


def test_typed_numbers_are_found():
    claim = dataclasses.replace(ROW, reason="It is 0.57, at gamma = 0.25, {{ratio:.2f}} of 0.5.")
    finding = Finding(True, numbers={"ratio": 0.5733, "other": 0.25, "third": 0.5})
    outcome = claims.Outcome(claim, "agrees", (finding,), 0.0)
    assert typed_numbers(outcome) == ["0.57"]
    assert outcome.reason == "It is 0.57, at gamma = 0.25, 0.57 of 0.5."


def test_a_number_that_evidence_does_not_find_is_an_error():
    outcome = claims.Outcome(dataclasses.replace(ROW, reason="{{gap:.1f}} apart."), "agrees", (Finding(True),), 0.0)
    with pytest.raises(KeyError, match="gap"):
        _ = outcome.reason


def test_every_piece_of_evidence_is_used():
    """Evidence for no row would be dead code; what reads records is for rows that still await them."""
    used = {call.name for row in ROWS for call in row.calls}
    spare = {name: one for name, one in all_statements().items() if one.kind == "evidence" and name not in used}
    assert [name for name, one in spare.items() if not one.reads_records] == []


NAN = [("gain_of_the_pull_back", "q over z"), ("inner_products",), ("gradient_angle", "plane"), ("kept_relations",)]


@pytest.mark.parametrize("name, words", [(name, words) for name, *words in NAN], ids=[name for name, *_ in NAN])
def test_a_pull_back_of_nan_proves_nothing(name, words, monkeypatch):
    """Python's max loses a nan that comes second."""
    statement, nan = all_statements()[name], torch.full((), torch.nan)
    sound = statement.check(*words)
    assert sound.claim or sound.fix
    broken = type("Broken", (), {"pull_back": lambda self, z, q, g, **options: g * nan})()
    monkeypatch.setitem(ESTIMATORS, "rotation", broken)
    finding = statement.check(*words)
    assert not finding.claim and not finding.fix


def test_all_sources_are_covered():
    counts = Counter(row.source for row in ROWS)
    assert counts["article"] > 200 and counts["paper"] > 60 and counts["book"] > 40


def test_no_claim_stands_twice():
    seen = Counter((row.source, row.claim, row.place) for row in ROWS)
    assert [row for row, n in seen.items() if n > 1] == []


def test_rows_are_sentences():
    """Claim, reason and correction are plain sentences of English and mathematics; each row gives its reason."""
    texts = [(row.id, text) for row in ROWS for text in (row.claim, row.reason, row.corrected) if text]
    assert [x for x in texts if x[1][-1] not in ".)" or re.search(r"[^\x00-\x7fé]|  ", x[1])] == []
    assert [row.id for row in ROWS if not row.reason or row.claim == row.corrected] == []


BROKEN = {
    "a number of a statement that its evidence does not have": {"reason": "It is {{2.ratio}}."},
    "id": {"id": "C-001"},
    "kind": {"kind": "hunch"},
    "verdict": {"verdict": "maybe"},
    "chapter": {"chapter": "99"},
    "awaits": {"awaits": ("03",)},
    "corrected": {"verdict": "true with a fix"},
    "no such statement": {"evidence": "nonsense"},
    "without evidence": {"evidence": "", "verdict": "true"},
    "not testable' and has evidence": {"verdict": "not testable"},
    "evidence is a name": {"evidence": "value and (transpose)"},
    "parts are missing": {"evidence": "value and transpose", "verdict": "false"},
    "some of its statements": {"evidence": "value and transpose", "parts": ("true",)},
    "each is one of": {"evidence": "value and transpose", "parts": ("true", "no")},
    "do not give its verdict": {"evidence": "value and transpose", "verdict": "false", "parts": ("true", "true")},
}


@pytest.mark.parametrize("message, change", BROKEN.items(), ids=BROKEN)
def test_broken_rows_are_refused(message, change):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(ROW, **change).validate()


def test_chapters_and_experiments_are_those_of_the_book():
    assert {"01", "09", "10", "20", "40"} <= set(claims.chapters()) and "99" not in claims.chapters()
    assert {"10", "18"} <= set(claims.experiments()) <= set(claims.chapters()) and "03" not in claims.experiments()


BARE = "- {{id: {}, place: p, claim: c., kind: theorem, verdict: not testable, reason: r., chapter: 01}}"


@pytest.mark.parametrize("ids", [("A-003", "A-002"), ("A-001", "A-001")])
def test_ids_stand_in_order(ids, tmp_path):
    (tmp_path / "rows.yml").write_text("\n".join(map(BARE.format, ids)))
    with pytest.raises(ValueError, match="in order"):
        claims.load(tmp_path / "rows.yml")


def test_ids_may_have_gaps(tmp_path):
    (tmp_path / "rows.yml").write_text("\n".join(map(BARE.format, ("A-001", "A-005", "P-002"))))
    assert [row.id for row in claims.load(tmp_path / "rows.yml")] == ["A-001", "A-005", "P-002"]


def test_unknown_columns_are_refused(tmp_path):
    (tmp_path / "rows.yml").write_text("- {id: A-001, colour: red}")
    with pytest.raises(ValueError, match="colour"):
        claims.load(tmp_path / "rows.yml")


# claim and fix found, verdict -> does the verdict stand?
STANDS = [
    (True, None, "true", True),
    (True, None, "supported", True),
    (True, None, "false", False),
    (True, False, "true", False),
    (False, None, "false", True),
    (False, None, "true", False),
    (False, True, "true with a fix", True),
    (False, None, "true with a fix", False),
    (False, False, "true with a fix", False),
    (True, True, "true with a fix", False),
    (False, True, "contradicted", True),
    (None, None, "ill-posed", True),
    (None, True, "undecided", True),
    (False, None, "ill-posed", False),
]


@pytest.mark.parametrize("claim, fix, verdict, stands", STANDS)
def test_check(claim, fix, verdict, stands, monkeypatch, tmp_path):
    monkeypatch.setitem(STATEMENTS, "stub", Evidence(lambda: Finding(claim, fix)))
    outcome = claims.check(dataclasses.replace(ROW, evidence="stub", verdict=verdict, corrected="c"), tmp_path)
    assert outcome.status == ("agrees" if stands else "disagrees")


def test_arguments_reach_the_evidence(monkeypatch, tmp_path):
    def stub(a, b, records):
        return Finding.of(True, a=a, b=b, records=str(records))

    monkeypatch.setitem(STATEMENTS, "stub", Evidence(stub))
    outcome = claims.check(dataclasses.replace(ROW, evidence="stub(q over z, 0.5)"), tmp_path)
    assert outcome.finding.numbers == {"a": "q over z", "b": "0.5", "records": str(tmp_path)}


def test_a_law_is_tried_on_many_draws(monkeypatch, tmp_path):
    """One with a single dimension and kind of pair, too; on each statement of several rows once."""
    drawn = []

    def stub(t):
        """1 = 1."""
        drawn.append(t)
        return torch.ones(1), torch.ones(1)

    for name, dims, kinds in (("one", (1,), ("generic",)), ("many", (1, 2, 3, 8, 64), ("generic", "close"))):
        drawn.clear()
        monkeypatch.setitem(STATEMENTS, name, Law(stub, 6, dims=dims, kinds=kinds))
        row = dataclasses.replace(ROW, evidence=name)
        assert [one.status for one in claims.check_all([row, row], tmp_path)] == ["agrees"] * 2
        assert len(drawn) == max(claims.LEAST_DRAWS, len(dims) * len(kinds))
    assert len(set(drawn)) > 1


def test_a_law_of_every_estimator_is_tried_in_its_lowest_and_highest_dimension():
    assert claims.draws(all_statements()["transpose"]) == {"dims": (1, 64)}
    assert claims.draws(all_statements()["wirings"]) == {"dims": (8,)}  # it names two
    assert claims.draws(all_statements()["nearest_code"]) == {}


def test_missing_records_are_awaited(tmp_path):
    row = dataclasses.replace(ROW, evidence="lower(test_mse, rotation / ste)", verdict="undecided", awaits=("10",))
    assert claims.check(row, tmp_path).status == "awaits" and row.on_records
    planned = dataclasses.replace(row, evidence="")
    assert claims.check(planned, tmp_path).status == "awaits"
    assert claims.check(dataclasses.replace(planned, awaits=()), tmp_path).status == "open"


TRUE, FALSE, OPEN = (Finding(claim, claim, {"n": 1}) for claim in (True, False, None))
COMBINED = [([TRUE, TRUE], True), ([TRUE, FALSE], False), ([TRUE, OPEN], None), ([FALSE, OPEN], False)]


@pytest.mark.parametrize("findings, claim", COMBINED)
def test_join(findings, claim):
    both = claims.join(findings)
    assert (both.claim, both.fix, list(both.numbers)) == (claim, claim, ["1_n", "2_n"])
    assert claims.join([]) is None and claims.join([TRUE, None]) is None


def test_each_part_is_asserted_by_itself(monkeypatch, tmp_path):
    """A claim that one part settles says what the other one gives, and disagrees where it does not."""
    monkeypatch.setitem(STATEMENTS, "no", Evidence(lambda: Finding(False)))
    for name, favourable, stands in (("right", True, "agrees"), ("wrong", False, "disagrees")):
        monkeypatch.setitem(STATEMENTS, name, Evidence(lambda found=favourable: Finding(found)))
        row = dataclasses.replace(ROW, verdict="false", evidence=f"{name} and no", parts=("true", "false"))
        assert claims.check(row, tmp_path).status == stands


def test_every_claim_of_the_article_is_quoted():
    """In its own Chinese; the paper in its own English, but for what its code does or we read in its tables."""
    assert [row.id for row in ROWS if row.source == "article" and not row.quote] == []
    paper = [row for row in ROWS if row.source == "paper"]
    assert [row.id for row in paper if bool(row.quote) is row.place.startswith(tuple(UNQUOTED))] == []
    assert [row.id for row in ROWS if len(row.quote) > 200] == []


def test_evidence_joined_by_and_has_to_hold_together(tmp_path):
    row = dataclasses.replace(ROW, evidence="cited(fifty2025rotation, Fifty, 2025) and value and sizes_of_the_table")
    assert row.calls == [("cited", ("fifty2025rotation", "Fifty", "2025")), ("value", ()), ("sizes_of_the_table", ())]
    outcome = claims.check(row, tmp_path)
    assert outcome.status == "agrees" and not row.on_records
    assert set(outcome.finding.numbers) >= {"1_year", "2_largest_error", "3_largest_error"}


CALLS = {
    "value": [("value", ())],
    "ste_bias(comes from VQ(z) not z)": [("ste_bias", ("comes from VQ(z) not z",))],
    "titled(key, Up and down) and value": [("titled", ("key", "Up and down")), ("value", ())],
    "lower(test_mse, a / b, x=1 | y=2)": [("lower", ("test_mse", "a / b", "x=1 | y=2"))],
}


@pytest.mark.parametrize("text", CALLS)
def test_evidence_is_parsed(text):
    assert parse_evidence(text) == CALLS[text]


@pytest.mark.parametrize("text", ["value()", "value and (transpose)", "value, transpose", "value(a", "value) and (b"])
def test_evidence_that_is_written_otherwise_is_refused(text):
    with pytest.raises(ValueError, match="evidence is a name"):
        parse_evidence(text)


def test_names_of_evidence_are_taken_once():
    with pytest.raises(ValueError, match="nearest_code"):
        statements.evidence(statements.find("nearest_code").function)


def test_command(capsys):
    assert command.main(["A-001", "A-003"]) == 0
    out = capsys.readouterr().out
    assert "A-001  agrees" in out and "1 agrees; 0 disagrees; 0 awaits; 0 open; 1 untestable; 2 rows" in out


def test_command_fails_on_disagreement(capsys, monkeypatch):
    wrong = dataclasses.replace(ROWS[0], evidence="cited(fifty2025rotation, Bai, 2024)")
    monkeypatch.setattr(claims, "load", lambda: (wrong,))
    assert command.main(["--quiet"]) == 1
    assert "A-001  disagrees" in capsys.readouterr().out


def test_command_lists_what_awaits_an_experiment(capsys, monkeypatch):
    waits = dataclasses.replace(ROW, evidence="", verdict="undecided", awaits=("10", "13"))
    monkeypatch.setattr(claims, "load", lambda: (ROW, waits))
    assert command.main([]) == 0
    assert re.search("awaits experiment 10: A-001\nawaits experiment 13: A-001\n", capsys.readouterr().out)


def test_unknown_rows_are_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["Z"])
    assert "no row begins with Z" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, shown",
    [("gain_at_r_0_1", "gain at r 0.1"), ("pi_minus_1e_3", "pi minus 1e-3"), ("angle_in_d_256", "angle in d 256")],
)
def test_words(name, shown):
    assert statements.name_in_words(name) == shown


# the page


NOTEBOOKS = ROOT / "notebooks"
PAGES_OF_THEORY = [path for name in ("0[1-9]_*.py", "2[456]_*.py", "46_*.py") for path in NOTEBOOKS.glob(name)]
THEORY = {path.name[:2]: list(mentions.page_blocks(path.read_text("utf-8"))) for path in PAGES_OF_THEORY}
MATHEMATICS = ("theorem", "definition", "proof", "numeric")


def test_rows_that_pages_name_exist():
    """A page names a row as <claim:A-031> or by a link to its anchor."""
    ids, named = {row.id for row in ROWS}, {}
    for page in [*BOOK.glob("*.md"), *NOTEBOOKS.glob("*.py")]:
        for row in re.findall(r"(?:#|claim:)([A-Z]-\d+)", page.read_text("utf-8")):
            named.setdefault(row, page.name)
    assert {row: page for row, page in named.items() if row not in ids} == {}


@pytest.mark.parametrize("chapter", sorted(THEORY))
def test_every_theorem_names_a_row_of_its_chapter(chapter):
    mine = {row.id for row in ROWS if row.chapter == chapter}
    stated = [block for block in THEORY[chapter] if block.is_theorem]
    assert len(stated) >= (2 if chapter == "46" else 5)
    assert [block.anchor for block in stated if not mine & set(block.claims)] == []


@pytest.mark.parametrize("chapter", sorted(THEORY))
def test_every_computed_number_names_a_row(chapter):
    """A number glued into a sentence, a caption or a remark: the block says which claim it is about."""
    assert [block.text for block in THEORY[chapter] if "{glue:text}" in block.text and not block.claims] == []


OF_THEORY = [row for row in ROWS if row.chapter in THEORY and (row.kind in MATHEMATICS or row.source == "book")]


@pytest.mark.parametrize("row", OF_THEORY, ids=lambda row: row.id)
def test_every_row_of_mathematics_is_named_in_its_chapter(row):
    assert row.id in {name for block in THEORY[row.chapter] for name in block.claims}


@pytest.mark.parametrize("row", [row for row in ROWS if row.source == "book"], ids=lambda row: row.id)
def test_rows_of_the_book_are_its_theorems(row):
    """The place of such a row is the title of the theorem that names it."""
    naming = [block for block in THEORY.get(row.chapter, []) if block.is_theorem and row.id in block.claims]
    assert row.place in {block.title for block in naming}


SOURCE = """# ---
# %% [markdown]
# (top)=
# # A *title*
#
# Text <claim:A-001>,
# two lines.
#
# ````{prf:theorem} Its name
# :label: thm-x
# Let
# ```{math}
# :label: eq-x
# 1 = 1
# ```
# Claims: <claim:A-002> <claim:B-001> <claim:A-002>
# ````
# ````{prf:proof}
# Clear.
# ````
# %% tags=["hide-input"]
x = 1  # claim:P-001
# %% [markdown]
# ```{figure} x.svg
# :name: fig-x
# {glue:text}`y`
# ```
# After it.
#
#
# ### What sg[G] does
#
# The end.
"""


def test_blocks():
    found = [block for block in mentions.page_blocks(SOURCE) if block.text.strip()]
    top, text, theorem, proof, code, figure, after, _, end = found
    assert (top.kind, top.anchor, top.title) == ("text", "top", "A *title*")
    assert (text.anchor, text.claims) == ("top", ("A-001",))
    assert (theorem.is_theorem, theorem.anchor, theorem.title) == (True, "thm-x", "Its name")
    assert theorem.claims == ("A-002", "B-001") and "1 = 1" in theorem.text
    assert (proof.is_theorem, proof.anchor) == (False, "thm-x")
    assert (code.kind, code.anchor, code.claims) == ("code", "thm-x", ("P-001",))
    assert (figure.kind, figure.anchor, figure.title) == ("figure", "fig-x", "figure: Its name")
    assert (after.anchor, after.title) == ("thm-x", "Its name")
    assert (end.anchor, end.title) == ("what-sg-g-does", "What sg[G] does")


def test_mentions(tmp_path):
    (tmp_path / "03_y.py").write_text(SOURCE)
    found = mentions.find_mentions({"03": "03_y.html", "04": "04_z.html"}, tmp_path)
    assert found["B-001"] == [("03", "03_y.html#thm-x", "Its name")]
    assert found["A-001"] == [("03", "03_y.html#top", "A *title*")]


def test_pages_of_chapters():
    contents = "root: index\n- file: play\n- file: notebooks/06_collapse\n  - file: 20_cost\n- file: 1_not\n"
    assert mentions.chapter_pages(contents) == {"06": "06_collapse.html", "20": "../20_cost.html"}


def test_listing(tmp_path):
    row = dataclasses.replace(
        ROW, claim="|z| < 1 & so on.", corrected="c.", quote="q near z", awaits=("10",), also=("there",)
    )
    out = rows_as_html([claims.check(row, tmp_path)], {"01": "01_x.html"})
    parts = [
        'id="A-001"',
        'data-verdict="true"',
        "|z| &lt; 1 &amp; so on.",
        "What holds",
        '<a href="01_x.html">',
        "article, here; there",
        '<blockquote lang="zh">q near z</blockquote>',
        "nearest_code</code>: holds; values taken 7",
        "awaits experiment 10",
    ]
    assert [part for part in parts if part not in out] == []
    mention = mentions.Mention("01", "01_x.html#thm", "A & B")
    out = rows_as_html([claims.check(row, tmp_path)], {"01": "01_x.html"}, {"A-001": [mention]})
    assert '<a href="01_x.html#thm">chapter 01, A &amp; B</a>' in out and '"01_x.html"' not in out
    assert out.count("<details") == out.count("</details>") == 1
    bare = dataclasses.replace(row, place="Code, a.py", quote="")
    assert UNQUOTED["Code, "] in rows_as_html([claims.check(bare, tmp_path)], {})
    assert not any(words in out for words in UNQUOTED.values())


def test_a_listing_typesets_formulas_links_rows_and_is_found_by_the_names_of_letters(tmp_path):
    row = dataclasses.replace(ROW, claim="G^T g <= lambda_W.", reason="As A-001 has it, and A-999; gamma=0.05 is code.")
    out = rows_as_html([claims.check(row, tmp_path)], {})
    assert "G<sup>T</sup> g ≤ λ<sub>W</sub>." in out and 'data-words="gamma lambda"' in out
    assert 'As <a href="#A-001">A-001</a> has it, and A-999; gamma=0.05 is code.' in out


def test_listing_in_a_browser(chromium, tmp_path):
    """Search and filters hide rows, the count follows, a link opens its row even if it is hidden."""
    rows = [ROWS[0], ROWS[1], next(r for r in ROWS if r.source == "paper")]
    body = rows_as_html([claims.check(row, tmp_path) for row in rows], {})
    script = (BOOK / "assets" / "claims.js").as_uri()
    page = f'<!doctype html><meta charset="utf-8">{body}<script defer src="{script}">'
    (tmp_path / "page.html").write_text(page + "</script>", "utf-8")
    tab = chromium.new_page()
    errors = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto((tmp_path / "page.html").as_uri() + "#A-002")
    shown = lambda: tab.locator("details:visible").evaluate_all("rows => rows.map((row) => row.id)")  # noqa: E731
    assert shown() == ["A-001", "A-002", "P-001"] and tab.locator("#A-002").evaluate("row => row.open")
    tab.get_by_label("source").select_option("paper")
    assert shown() == ["P-001"] and tab.locator("output").inner_text() == "1 of 3 claims"
    tab.evaluate("location.hash = 'A-001'")
    tab.wait_for_selector("#A-001[open]")
    assert shown() == ["A-001", "A-002", "P-001"]
    tab.get_by_role("searchbox").fill("GRAY")
    assert shown() == ["A-002"]
    assert tab.evaluate("location.hash") == "#words=GRAY"  # what was chosen can be sent to others
    tab.reload()
    assert shown() == ["A-002"] and tab.get_by_role("searchbox").input_value() == "GRAY"
    tab.locator("#A-002").evaluate("row => (row.open = true)")
    tab.get_by_role("button", name="Open all").click()
    assert tab.locator("#A-002").evaluate("row => row.open") is False  # it was open, alone: the button closed it
    assert errors == []


def test_the_script_is_small():
    assert (BOOK / "assets" / "claims.js").stat().st_size < 15_000
