"""Every law on random inputs of every kind, and every law's ability to fail."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import re

import pytest
import torch
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from book import algebra, statements
from book.all_statements import all_statements
from book.ledger import claims
from book.statements import Law, law
from book.theory import encoder_feels, inputs, one_equation, rotation
from rotvq.quantizers.estimators import ESTIMATORS, Estimator

NOTEBOOKS = ROOT / "notebooks"
EVERY = {name: one for name, one in all_statements().items() if isinstance(one, Law)}
LAWS = {name: one for name, one in EVERY.items() if one.chapter <= 4 or one.chapter == 46}


@pytest.mark.parametrize("name", LAWS)
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_law(name, data):
    # The tolerances are the laws' own: 200 roundings, of which the worst of 5,000 drawn inputs uses 41. A sum of 64
    # products has a rounding error of at most 64, usually of 8.
    one = LAWS[name]
    one.require(
        dims=[data.draw(st.sampled_from(one.dims), "d")],
        n=data.draw(st.integers(1, 8), "n"),
        dtype=data.draw(st.sampled_from(one.dtypes), "dtype"),
        kinds=[data.draw(st.sampled_from(one.kinds), "kind")],
        seeds=[data.draw(st.integers(0, 2**32 - 1), "seed")],
    )


@pytest.mark.parametrize("member", ESTIMATORS)
def test_every_law_about_estimators_holds_of_each(member):
    """Of a new one, too: each law that takes a member and names none."""
    about_all = [one for one in LAWS.values() if "member" in one.arguments and one.members == tuple(ESTIMATORS)]
    assert LAWS["transpose"] in about_all
    for one in about_all:
        dataclasses.replace(one, members=(member,)).require()


FILES = sorted({(one.chapter, one.function.__module__.rpartition(".")[2]) for one in EVERY.values()})


@pytest.mark.parametrize("chapter, file", FILES)
def test_laws_stand_in_the_file_of_their_chapter(chapter, file):
    """Which is named as its notebook."""
    assert (NOTEBOOKS / f"{chapter:02d}_{file}.py").is_file()


def test_every_law_is_shown_or_named():
    """On the page of its chapter by name, or as the evidence of a row."""
    named = "".join(path.read_text("utf-8") for path in [ROOT / "book" / "claims.yml", *NOTEBOOKS.glob("*.py")])
    assert [name for name in EVERY if not re.search(rf"\b{name}\b", named)] == []


# the family by hand, each member written out: what its row has to say
BY_HAND = {
    "ste": lambda eye, r, R, H, P: eye,
    "rotation": lambda eye, r, R, H, P: r * R,
    "rotation_only": lambda eye, r, R, H, P: R,
    "scale_only": lambda eye, r, R, H, P: r * eye,
    "clipped": lambda eye, r, R, H, P: r.clamp(0.5, 2) * R,
    "no_gain": lambda eye, r, R, H, P: r.clamp(max=1) * R,
    "interpolated": lambda eye, r, R, H, P: 0.5 * eye + 0.5 * r * R,
    "fading_length": lambda eye, r, R, H, P: torch.where(r < 1, r * eye + (1 - r) * r * R, eye),
    "reflection": lambda eye, r, R, H, P: r * H,
    "radial_free": lambda eye, r, R, H, P: r * R @ P,
    "radial_free_scale": lambda eye, r, R, H, P: r * P,
    "mean_rotation": lambda eye, r, R, H, P: r.mean() * R,
    "mean_scale": lambda eye, r, R, H, P: r.mean() * eye,
    "constant": lambda eye, r, R, H, P: 0.5 * eye,
    "zero": lambda eye, r, R, H, P: 0 * eye,
}


@pytest.mark.parametrize("member", BY_HAND)
def test_a_row_says_what_its_name_says(member):
    z, q = (inputs.draw_inputs(5, 9, torch.float64, "generic", 0)[name] for name in "zq")
    eye, r = algebra.identity(z), (algebra.norm(q) / algebra.norm(z))[..., None]
    P = eye - algebra.outer(algebra.unit(z), algebra.unit(z))
    G = BY_HAND[member](eye, r, algebra.rotation(z, q), algebra.reflection(z, q), P)
    torch.testing.assert_close(one_equation.definition(member, z, q), G.expand(9, 5, 5))


@pytest.mark.parametrize("distance", (0.1, 3.0))
def test_fades_of_a_distance(distance):
    """A latent and a code at a given distance: t is what remains of 1 within the bound."""
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    q = z + distance * torch.tensor([[0.6, 0.8], [0.0, 1.0]], dtype=torch.float64)
    eye, rotation = one_equation.definition("ste", z, q), one_equation.definition("rotation", z, q)
    for name, t in {"capped": min(1, 1 / (2 * distance)), "fading": min(1, distance)}.items():
        torch.testing.assert_close(one_equation.definition(name, z, q), (1 - t) * eye + t * rotation)


def test_a_new_row_needs_no_edit(monkeypatch):
    row = Estimator("reflection", clip=(0.2, 3.0), radial=False, pooled=True, mix=0.3)
    monkeypatch.setitem(ESTIMATORS, "new", row)
    dataclasses.replace(LAWS["transpose"], members=("new",)).require()


class Wrong(Estimator):
    """The rotation with another pull-back."""

    def pull_back(self, z, q, g, *, centre=None, mix=None, gain=None):
        R = algebra.rotation(z, q)
        r = algebra.norm(q) / algebra.norm(z)
        return self.wrong(z, q, g, R, r).to(g.dtype)


def wrong(pull_back) -> Estimator:
    return type("Wrong", (Wrong,), {"wrong": staticmethod(pull_back)})("rotation")


def instead(member: str) -> Estimator:
    """The rotation's row with the pull-back of another member."""
    return wrong(lambda z, q, g, R, r: SOUND[member].pull_back(z, q, g))


def along(x, g):
    """The part of g along x."""
    return algebra.dot(x, g) / algebra.dot(x, x) * x


SOUND = dict(ESTIMATORS)
MUTANTS = {
    "not transposed": wrong(lambda z, q, g, R, r: r * algebra.apply(R, g)),
    "inverse": wrong(lambda z, q, g, R, r: algebra.apply(R.mT, g) / r),
    "no scale": wrong(lambda z, q, g, R, r: algebra.apply(R.mT, g)),
    "scale alone": wrong(lambda z, q, g, R, r: r * g),
    "radial part lost": instead("radial_free"),
    "mirrored": instead("reflection"),
    "article's matrix": wrong(lambda z, q, g, R, r: r * (g - along(z, g) + along(q, g))),
    "straight through": instead("ste"),
    "off by 1e-9": wrong(lambda z, q, g, R, r: (1 + 1e-9) * r * algebra.apply(R.mT, g) + 1e-9 * r * algebra.norm(g)),
    # a wrong row: its pull-back is that of what it says, but it says the wrong thing
    "row: radial part lost": SOUND["radial_free"],
    "row: mirrored": SOUND["reflection"],
    "row: straight through": SOUND["ste"],
}
CAUGHT = {  # mutant -> laws that must see it; together they are every law about the package's rotation
    "not transposed": "transpose carries product angle_kept plane_field complex_quotient derivative_at_code expansion",
    "inverse": "transpose norm_ratio product conformal inverse_is_not_transpose homogeneous distance change difference",
    "no scale": "transpose norm_ratio conformal homogeneous distance_frobenius jump outward_push",
    "scale alone": "transpose angle_kept half_angle carries product orthogonal mean_cosine half_turn_limit",
    "radial part lost": "transpose norm_ratio product carries conformal distance",
    "mirrored": "transpose spectrum half_angle distance expansion complex_quotient",
    "article's matrix": "transpose norm_ratio angle_kept conformal orthogonal",
    "straight through": "transpose product carries norm_ratio outward_push centred zero_vectors jump",
    "off by 1e-9": "transpose norm_ratio product carries conformal expansion distance equivariant",
    "row: radial part lost": "norm_ratio product carries conformal distance",
    "row: mirrored": "spectrum half_angle distance expansion complex_quotient",
    "row: straight through": "product carries norm_ratio outward_push centred zero_vectors jump",
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_rotation_is_caught(mutant, monkeypatch):
    monkeypatch.setitem(ESTIMATORS, "rotation", MUTANTS[mutant])
    monkeypatch.setitem(ESTIMATORS, "rotation_only", MUTANTS[mutant])
    for name in CAUGHT[mutant].split():
        with pytest.raises(AssertionError, match=f"^{name}: "):
            LAWS[name].require(dims=LAWS[name].dims[-2:], kinds=["generic"])


def bad_rotation(z, q):
    a, b = algebra.unit(z), algebra.unit(q)
    return algebra.identity(z) - algebra.outer(a, a) + algebra.outer(b, b)


DEFINITIONS = {  # a definition replaced -> laws, which test mathematics and not the package, that must fail
    ("rotation", bad_rotation): "two_reflections textbook_form smallest not_unique composes_in_the_plane",
    ("projector", lambda z, q: 0.5 * algebra.outer(algebra.unit(z), algebra.unit(z))): "half_angle spectrum",
    ("reflection", bad_rotation): "mirror_is_nearer",
    ("angle", lambda x, y: algebra.angle(x, y) * 0.9): "article_form",
}


@pytest.mark.parametrize("change", DEFINITIONS, ids=lambda change: change[0])
def test_a_wrong_definition_is_caught(change, monkeypatch):
    monkeypatch.setattr(rotation, *change)
    for name in DEFINITIONS[change].split():
        with pytest.raises(AssertionError, match=f"^{name}: "):
            LAWS[name].require(dims=LAWS[name].dims[-2:], kinds=["generic"])


def test_other_wrongs_are_caught(monkeypatch):
    from book.theory import missing_derivative

    def fails(name, **changes):
        with monkeypatch.context() as patch:
            for attribute, value in changes.items():
                patch.setattr(missing_derivative, attribute, value)
            with pytest.raises(AssertionError, match=f"^{name}: "):
                LAWS[name].require(dims=LAWS[name].dims[-1:], kinds=["generic"], n=40)

    def second(z, codes):
        return algebra.distances(z, codes).argsort(-1)[..., 1]

    fails("half_spaces", nearest=second)
    fails("convex", nearest=lambda z, codes: torch.arange(len(z)) % 2)
    fails("locally_constant", nearest=second)
    fails("ema_is_sgd", ema_codes=lambda codes, running, counts, sums, decay: decay * codes + (1 - decay) * sums)
    fails("who_gets_what", straight_through=lambda z, q: 2 * z + (q - 2 * z).detach())
    monkeypatch.setitem(ESTIMATORS, "ste", type("Leaky", (), {"__call__": lambda self, z, q: q + 0 * z})())
    with pytest.raises(AssertionError, match="^codes_untouched: "):
        LAWS["codes_untouched"].require(dims=[3], kinds=["generic"])


def test_a_law_says_where_it_failed():
    def never(z):
        "1 = 2."
        return {"same": (torch.ones(1), torch.ones(1)), "one": (torch.ones(1), 2 * torch.ones(1))}

    never = Law(never, chapter=99)
    at = r"at one d = 3, n = 2, .*, close, seed 7"
    with pytest.raises(AssertionError, match=rf"^never: largest error 0.5; allowed 4.441e-14; {at}$"):
        never.require(dims=[3], kinds=["close"], seeds=[7], n=2)
    finding = never.check(dims=[3])
    assert finding.claim is False and finding.numbers["largest_error"] == 0.5


def test_nan_is_no_agreement():
    def undefined(z, t):
        "0/0 = 1."
        return {"first": (torch.full((2,), torch.nan), torch.ones(2)), "then": (0.0, t)}

    assert Law(undefined, chapter=99).check(dims=[3], seeds=range(2)).claim is False


def test_names_are_unique_and_stated():
    def value(z):
        "Another law of this name."

    with pytest.raises(ValueError, match="two statements are called 'value'"):
        law(chapter=1)(value)
    with pytest.raises(ValueError, match="two statements are called 'value'"):
        statements.evidence(value)
    value.__name__, value.__doc__ = "silent", None
    with pytest.raises(ValueError, match="its docstring is the statement"):
        law(chapter=1)(value)
    with pytest.raises(ValueError, match="there is no statement 'silent'"):
        statements.find("silent")
    with pytest.raises(ValueError, match="unknown rival 'none': one of vq, "):
        statements.fact("none")


def test_every_kind_is_a_statement_with_one_result():
    for name, belongs_to in (
        ("norm_ratio", "chapter 3"),
        ("sizes_of_the_table", "rival fsq"),
        ("chain_rule", "ledger"),
    ):
        one = statements.find(name)
        assert (one.name, one.belongs_to) == (name, belongs_to) and one.text and one.kind in ("law", "fact", "evidence")
        finding = one.check()
        assert isinstance(finding, statements.Finding) and finding.numbers
    with pytest.raises(TypeError):  # only evidence takes words
        statements.find("norm_ratio").check("q over z")


TRUTHS = [([True, True], True, True), ([True, None], None, True), ([False, None], False, None), ([False], False, False)]


@pytest.mark.parametrize("truths, everything, anything", TRUTHS)
def test_all_and_any(truths, everything, anything):
    assert (statements.all_hold(truths), statements.any_holds(truths)) == (everything, anything)


@pytest.mark.parametrize(
    "module", ["book.statements", "book.theory.rival_facts", "book.ledger.grammar", "book.ledger.claims"]
)
def test_examples(module):
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert tried and not failed


def test_show_gives_source_and_errors():
    report = statements.show(rotation.norm_ratio, encoder_feels.complex_quotient, seeds=1)
    assert "def norm_ratio(z, q, g, member):" in report.source and "def complex_quotient(z, q, g):" in report.source
    head, first, second = report.rows
    assert head == ("", "d = 1", "d = 2", "d = 3", "d = 8", "d = 64", "allowed")
    assert first[0] == "norm_ratio" and all(float(e) <= 4e-14 for e in first[1:-1])
    assert second[1] == "-" and float(second[2]) <= 4e-14
    shown = report._repr_markdown_()
    assert report.source in shown and "".join(f"<th>{words}</th>" for words in head) in shown
    assert f"<th><code>norm_<wbr>ratio</code></th><td>{'</td><td>'.join(first[1:])}</td>" in shown
    assert first[0] in repr(report)
    with pytest.raises(ValueError, match="there is no statement 'derivative'"):
        statements.show(encoder_feels.derivative)


def test_the_inputs_are_what_they_say():
    drawn = inputs.draw_inputs(8, 50, torch.float64, "close", 3)
    assert (algebra.angle(drawn["z"], drawn["q"]) < 1e-3).all()
    opposite = inputs.draw_inputs(8, 50, torch.float64, "opposite", 3)
    assert (algebra.angle(opposite["z"], opposite["q"]) > 3.1).all()
    torch.testing.assert_close(drawn["U"] @ drawn["U"].T, torch.eye(8, dtype=torch.float64))  # 1e-7, for sums of 8
    assert one_equation.definition("zero", drawn["z"], drawn["q"]).abs().max() == 0
    assert encoder_feels.derivative(drawn["z"], drawn["q"], drawn["g"]).shape == (50, 8, 8)


def test_a_number_per_vector_keeps_its_axis():
    z, q = algebra.normal(2, 4, 3)
    for words in (
        algebra.norm(z),
        algebra.dot(z, q),
        algebra.angle(z, q),
        algebra.spectral_norm(algebra.rotation(z, q)),
    ):
        assert words.shape == (4, 1)
    assert algebra.rotation(z[0], q[0]).shape == algebra.jacobian("rotation", z[0], q[0]).shape == (3, 3)
    torch.testing.assert_close(algebra.gradient_map(z, q), algebra.jacobian("rotation", z, q))
    assert algebra.angle_in_degrees(algebra.polar(10), algebra.polar(100)).item() == pytest.approx(90)


def test_the_command_checks_laws_by_chapter_and_name(capsys, monkeypatch):
    command = importlib.import_module("book.theory.__main__").main
    assert command(["1", "norm_ratio", "--seeds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    chapter_1 = [name for name, one in EVERY.items() if one.chapter == 1]
    assert {line.split()[2] for line in lines[:-1]} == {*chapter_1, "norm_ratio"}
    assert lines[-1].startswith(f"{len(chapter_1) + 1} of {len(chapter_1) + 1} laws hold")
    with pytest.raises(SystemExit, match="2"):
        command(["no_law"])
    assert "chapters are 1, 2, 3, 4, 5, " in capsys.readouterr().err
    monkeypatch.setitem(ESTIMATORS, "rotation", MUTANTS["no scale"])
    assert command(["norm_ratio"]) == 1 and "FAILS" in capsys.readouterr().out


def test_every_law_is_turned_by_a_mutation(capsys):
    """Of those that a row of the ledger names, test_ledger_mutation.py sees it."""
    named = {call.name for row in claims.load() for call in row.calls}
    others = [name for name in EVERY if name not in named]
    assert others and named & set(EVERY)
    command = importlib.import_module("book.theory.__main__").main
    assert command([*others, "--mutate"]) == 0
    assert f"{len(others)} of {len(others)} laws turn" in capsys.readouterr().out


def test_a_law_that_cannot_fail_stays(capsys, monkeypatch):
    def empty(z):
        "1 = 1."
        return torch.ones(1), torch.ones(1)

    monkeypatch.setitem(statements.STATEMENTS, "empty", Law(empty, chapter=1))
    command = importlib.import_module("book.theory.__main__").main
    assert command(["empty", "--mutate"]) == 1 and "STAYS" in capsys.readouterr().out
