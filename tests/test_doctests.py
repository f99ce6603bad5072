"""Every public object has an example that runs, and stands in the API reference."""

import doctest
import importlib
import re

import pytest
from conftest import ROOT

import rotvq

API = (ROOT / "book" / "api.md").read_text("utf-8")
# each automodule of the page, with the members that it lists
LISTED = {
    module: [name for names in re.findall(r":members: (.*)", body) for name in re.split(r",\s*", names.strip())]
    for module, body in re.findall(r"\.\. automodule:: (\S+)\n((?:   .*\n)*)", API)
}
MODULES = [importlib.import_module(name) for name in LISTED]
CONSTANTS = {name for name in dir(rotvq) if name.isupper()}  # dicts: what they hold is on the page "All estimators"


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_examples_say_what_happens(module):
    failed, tried = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    assert tried > 0 and failed == 0
