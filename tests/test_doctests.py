"""Every public object stands in the API reference, and has an example that runs."""

import doctest
import importlib
import inspect
import pkgutil
import re
import tempfile

import pytest
from conftest import ROOT

import rotvq


def modules(package: str) -> dict[str, str]:
    """The text of every module of a package, by its name."""
    paths = {path.relative_to(ROOT).with_suffix(""): path for path in sorted((ROOT / package).rglob("*.py"))}
    return {".".join(path.parts).removesuffix(".__init__"): paths[path].read_text("utf-8") for path in paths}


API = (ROOT / "book" / "api.md").read_text("utf-8")
NAMED = set(re.findall(r"auto(?:function|class|data):: (\S+)", API))
for module, members in re.findall(r"automodule:: (\S+)\n   :members: (.*)", API):
    NAMED |= {f"{module}.{name}" for name in members.split(", ")}
CODE = modules("rotvq") | modules("book")
WITH_EXAMPLES = [module for module, text in CODE.items() if ">>> " in text]
METHODS = [module for module in CODE if module.startswith("rotvq.quantizers.methods.")]
RESULTS = {  # shown by the examples of the functions that return them
    "rotvq.quantizers.base.Assigned",
    "rotvq.analysis.stats.Paired",
    "rotvq.analysis.stats.Signs",
}


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_say_what_happens(module, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert result.attempted and not result.failed


@pytest.mark.parametrize("name", sorted(NAMED))
def test_every_public_object_has_an_example(name):
    """Every function of the reference, and every class that can be made."""
    value = pkgutil.resolve_name(name)
    assert not callable(value) or inspect.isabstract(value) or name in RESULTS or ">>> " in value.__doc__


def test_all_that_is_exported_is_in_the_reference():
    assert {id(pkgutil.resolve_name(name)) for name in NAMED} >= {id(getattr(rotvq, name)) for name in rotvq.__all__}


@pytest.mark.parametrize("module", METHODS)
def test_every_method_is_in_the_reference(module):
    """Each public class and function that is defined there."""
    defined = [value for value in vars(importlib.import_module(module)).values() if callable(value)]
    own = {value.__name__ for value in defined if value.__module__ == module and not value.__name__.startswith("_")}
    assert {f"{module}.{name}" for name in own} <= NAMED


def test_an_example_that_is_wrong_fails():
    def wrong():
        """Adds.

        >>> 1 + 1
        3
        """

    runner = doctest.DocTestRunner(verbose=False)
    (example,) = doctest.DocTestFinder().find(wrong, "wrong", globs={})
    assert runner.run(example, out=lambda text: None).failed == 1
