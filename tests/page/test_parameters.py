"""The check cell: what it takes, and the sentence with which it refuses."""

import pytest

from rotvq.page.parameters import check

TYPES = {"n": int, "x": float, "name": str, "quick": bool, "gammas": list[float], "seeds": int | None}
GOOD = {"n": 3, "x": 0.5, "name": "ste", "quick": False, "gammas": [0.1, 1], "seeds": None}
ALLOWED = {"n": (1, 10), "x": (0, None), "name": ["ste", "rotation"], "gammas": (0, 10), "seeds": (1, None)}


def given(**changes):
    return {"__annotations__": TYPES, **GOOD, **changes}


@pytest.mark.parametrize("changes", [{}, {"n": 1}, {"n": 10}, {"x": 1}, {"gammas": [0]}, {"seeds": 5}, {"TOP": 3}])
def test_takes(changes):
    assert check(given(**changes), **ALLOWED) is None


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"quick": "false"}, "quick = 'false' is str, and must be bool"),
        ({"quick": 0}, "quick = 0 is int, and must be bool"),
        ({"n": True}, "n = True is bool, and must be int"),
        ({"n": 3.0}, "n = 3.0 is float, and must be int"),
        ({"n": 0}, "n = 0 must be at least 1 and at most 10"),
        ({"n": 11}, "n = 11 must be at least 1 and at most 10"),
        ({"x": "1e-3"}, "x = '1e-3' is str, and must be float"),
        ({"x": float("nan")}, "x = nan must be at least 0"),
        ({"name": "stee"}, "name = 'stee' must be one of ste, rotation"),
        ({"gammas": 0.1}, "gammas = 0.1 is float, and must be list"),
        ({"gammas": [0.1, "1"]}, "gammas = .* must be list"),
        ({"gammas": [0.1, -1.0]}, "gammas = -1.0 must be at least 0"),
        ({"gammas": []}, "gammas is empty"),
        ({"seeds": 0}, "seeds = 0 must be at least 1"),
        ({"seeds": 1.5}, "seeds = 1.5 is float"),
        ({"gama": 0.1}, "gama is not a parameter of this notebook, which has n, x, name"),
    ],
)
def test_refuses(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        check(given(**changes), **ALLOWED)


def test_all_faults_are_named_at_once():
    with pytest.raises(ValueError, match="n = 0.*name = 'x'"):
        check(given(n=0, name="x"), **ALLOWED)


def test_a_range_for_no_parameter_is_an_error_of_the_notebook():
    with pytest.raises(TypeError, match="steps"):
        check(given(), steps=(1, 2))


def test_annotations_may_be_strings():
    values = {"__annotations__": {"n": "int", "gammas": "list[float]"}, "n": 1, "gammas": [1]}
    check(values)
    with pytest.raises(ValueError, match="n = '1'"):
        check({**values, "n": "1"})
