"""Every public object stands in the API reference, and has an example that runs."""

import doctest
import importlib
import re
import tempfile

import pytest
from conftest import ROOT

import rotvq

API = (ROOT / "book" / "api.md").read_text("utf-8")
NAMED = set(re.findall(r"auto(?:function|class|data):: (\S+)", API))
for module, members in re.findall(r"automodule:: (\S+)\n   :members: (.*)", API):
    NAMED |= {f"{module}.{name}" for name in members.split(", ")}
MODULES = sorted({name.rpartition(".")[0] for name in NAMED})
WITHOUT = {  # a base class, and two results that the examples of the functions that return them show
    "rotvq.quantizers.base.Quantizer",
    "rotvq.analysis.stats.Paired",
    "rotvq.analysis.stats.Signs",
}


def found(name: str):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("module", MODULES)
def test_examples_say_what_happens(module, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    failed, _ = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert failed == 0


@pytest.mark.parametrize("name", sorted(NAMED))
def test_every_public_object_has_an_example(name):
    assert not callable(found(name)) or name in WITHOUT or ">>> " in found(name).__doc__


def test_all_that_is_exported_is_in_the_reference():
    assert set(map(id, map(found, NAMED))) >= {id(getattr(rotvq, name)) for name in rotvq.__all__}


@pytest.mark.parametrize("module", ("rivals", "alternatives", "meta"))
def test_nothing_public_is_left_out(module):
    home = f"rotvq.{module}"
    own = [value for value in vars(importlib.import_module(home)).values() if getattr(value, "__module__", "") == home]
    names = {value.__name__ for value in own if callable(value) and value.__name__[0] != "_"}
    assert names and {f"{home}.{name}" for name in names} <= NAMED


def test_an_example_that_is_wrong_fails():
    def wrong():
        """
        >>> 1 + 1
        3
        """

    runner = doctest.DocTestRunner(verbose=False)
    (example,) = doctest.DocTestFinder().find(wrong, "wrong", globs={})
    assert runner.run(example, out=lambda text: None).failed == 1
