"""Every law on random inputs of every kind, and every law's ability to fail."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from book.theory import encoder_feels, laws, one_equation, rotation
from rotvq.quantizers.estimators import ESTIMATORS, Estimator

LAWS = {name: law for name, law in laws.every().items() if law.chapter <= 4}


@pytest.mark.parametrize("name", LAWS)
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_law(name, data):
    # The tolerances are the laws' own: 200 roundings, of which the worst of 5,000 drawn inputs uses 41. A sum of 64
    # products has a rounding error of at most 64, usually of 8.
    law = LAWS[name]
    law.check(
        d=data.draw(st.sampled_from(law.dims), "d"),
        n=data.draw(st.integers(1, 8), "n"),
        dtype=data.draw(st.sampled_from(law.dtypes), "dtype"),
        kind=data.draw(st.sampled_from(law.kinds), "kind"),
        seed=data.draw(st.integers(0, 2**32 - 1), "seed"),
    )


class Wrong(Estimator):
    """The rotation with another pull-back."""

    def pull_back(self, z, q, g, *, centre=None, mix=None, gain=None):
        R = laws.rotation(z, q)
        r = laws.norm(q) / laws.norm(z)
        return self.wrong(z, q, g, R, r).to(g.dtype)


def wrong(pull_back) -> Estimator:
    return type("Wrong", (Wrong,), {"wrong": staticmethod(pull_back)})("rotation")


MUTANTS = {
    "not transposed": wrong(lambda z, q, g, R, r: r * laws.apply(R, g)),
    "inverse": wrong(lambda z, q, g, R, r: laws.apply(R.mT, g) / r),
    "no scale": wrong(lambda z, q, g, R, r: laws.apply(R.mT, g)),
    "scale alone": wrong(lambda z, q, g, R, r: r * g),
    "radial part lost": ESTIMATORS["radial_free"],
    "mirrored": ESTIMATORS["reflection"],
    "article's matrix": wrong(
        lambda z, q, g, R, r: r * (g - laws.dot(z, g) / laws.dot(z, z) * z + laws.dot(q, g) / laws.dot(q, q) * q)
    ),
    "straight through": ESTIMATORS["ste"],
    "off by 1e-9": wrong(lambda z, q, g, R, r: (1 + 1e-9) * r * laws.apply(R.mT, g) + 1e-9 * r * laws.norm(g)),
}
CAUGHT = {  # mutant -> laws that must see it; together they are every law about the package's rotation
    "not transposed": "transpose carries product angle_kept plane_field complex_quotient derivative_at_code expansion",
    "inverse": "transpose norm_ratio product conformal inverse_is_not_transpose homogeneous distance change difference",
    "no scale": "transpose norm_ratio conformal homogeneous distance_frobenius jump outward_push",
    "scale alone": "transpose angle_kept half_angle carries product orthogonal mean_cosine half_turn_limit",
    "radial part lost": "norm_ratio product carries conformal distance",
    "mirrored": "transpose spectrum half_angle distance expansion complex_quotient",
    "article's matrix": "transpose norm_ratio angle_kept conformal orthogonal",
    "straight through": "transpose product carries norm_ratio outward_push centred zero_vectors jump",
    "off by 1e-9": "transpose norm_ratio product carries conformal expansion distance equivariant",
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_rotation_is_caught(mutant, monkeypatch):
    monkeypatch.setitem(ESTIMATORS, "rotation", MUTANTS[mutant])
    monkeypatch.setitem(ESTIMATORS, "rotation_only", MUTANTS[mutant])
    for name in CAUGHT[mutant].split():
        with pytest.raises(AssertionError, match=name):
            for d in LAWS[name].dims[-2:]:
                LAWS[name].check(d)


def bad_rotation(z, q):
    a, b = laws.unit(z), laws.unit(q)
    return rotation.identity(z) - laws.outer(a, a) + laws.outer(b, b)


DEFINITIONS = {  # a definition replaced -> laws, which test mathematics and not the package, that must fail
    ("rotation", bad_rotation): "two_reflections textbook_form smallest not_unique composes_in_the_plane",
    ("plane", lambda z, q: 0.5 * laws.outer(laws.unit(z), laws.unit(z))): "half_angle spectrum",
    ("reflection", bad_rotation): "mirror_is_nearer",
    ("angle", lambda x, y: laws.angle(x, y) * 0.9): "article_form",
}


@pytest.mark.parametrize("change", DEFINITIONS, ids=lambda change: change[0])
def test_a_wrong_definition_is_caught(change, monkeypatch):
    monkeypatch.setattr(rotation, *change)
    for name in DEFINITIONS[change].split():
        with pytest.raises(AssertionError, match=name):
            for d in LAWS[name].dims[-2:]:
                LAWS[name].check(d)


def test_other_wrongs_are_caught(monkeypatch):
    from book.theory import missing_derivative

    def fails(name, **changes):
        with monkeypatch.context() as patch:
            for attribute, value in changes.items():
                patch.setattr(missing_derivative, attribute, value)
            with pytest.raises(AssertionError, match=name):
                LAWS[name].check(LAWS[name].dims[-1], n=40)

    def second(z, codes):
        return missing_derivative.distances(z, codes).argsort(-1)[..., 1]

    fails("half_spaces", nearest=second)
    fails("convex", nearest=lambda z, codes: torch.arange(len(z)) % 2)
    fails("locally_constant", margin=lambda z, codes: 100.0)
    fails("ema_is_sgd", ema_codes=lambda codes, running, counts, sums, decay: decay * codes + (1 - decay) * sums)
    fails("who_gets_what", straight_through=lambda z, q: 2 * z + (q - 2 * z).detach())
    monkeypatch.setitem(ESTIMATORS, "ste", type("Leaky", (), {"__call__": lambda self, z, q: q + 0 * z})())
    for name in ("codes_untouched",):
        with pytest.raises(AssertionError, match=name):
            LAWS[name].check(3)


def test_a_law_says_where_it_failed():
    @laws.law(chapter=99)
    def never(z):
        "1 = 2."
        return {"one": (torch.ones(1), 2 * torch.ones(1))}

    found = laws.LAWS.pop("never")
    with pytest.raises(AssertionError, match=r"never one: error 5.0e-01 > 4.4e-14 at d = 3, n = 2, .*, close, seed 7"):
        found.check(3, n=2, kind="close", seed=7)


def test_nan_is_no_agreement():
    @laws.law(chapter=99)
    def undefined(z):
        "0/0 = 1."
        return torch.full((2,), torch.nan), torch.ones(2)

    with pytest.raises(AssertionError, match="undefined"):
        laws.LAWS.pop("undefined").check(3)


def test_names_are_unique_and_stated():
    def value(z):
        "Another law of this name."

    value.__module__ = "elsewhere"
    with pytest.raises(ValueError, match="two laws are called 'value'"):
        laws.law(chapter=1)(value)
    value.__name__, value.__doc__ = "silent", None
    with pytest.raises(ValueError, match="its docstring is the statement"):
        laws.law(chapter=1)(value)


def test_show_gives_source_and_errors():
    report = laws.show("norm_ratio", "complex_quotient", seeds=1)
    assert "def norm_ratio(z, q, g, member):" in report.source and "def complex_quotient(z, q, g):" in report.source
    head, first, second = (line.split() for line in report.table.splitlines())
    assert "".join(head) == "d=1d=2d=3d=8d=64allowed"
    assert first[0] == "norm_ratio" and all(float(e) <= 4e-14 for e in first[1:-1])
    assert second[1] == "-" and float(second[2]) <= 4e-14
    assert report.source in report._repr_markdown_()


def test_the_inputs_are_what_they_say():
    given = laws.inputs(8, 50, torch.float64, "close", 3)
    assert (laws.angle(given["z"], given["q"]) < 1e-3).all()
    assert (laws.angle(*(laws.inputs(8, 50, torch.float64, "opposite", 3)[x] for x in "zq")) > 3.1).all()
    torch.testing.assert_close(given["U"] @ given["U"].T, torch.eye(8, dtype=torch.float64))  # 1e-7, for sums of 8
    assert one_equation.definition("zero", given["z"], given["q"]).abs().max() == 0
    assert encoder_feels.derivative(given["z"], given["q"], given["g"]).shape == (50, 8, 8)
