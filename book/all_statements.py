"""All statements of the book, wherever they stand: what the ledger and the tests ask for.

A page imports the chapter whose laws it shows; only what needs every statement needs this module.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from book.statements import STATEMENTS, Statement

PACKAGES = ("book.theory", "book.ledger.evidence")  # every module in them is imported, so a new one needs no entry


@cache
def all_statements() -> dict[str, Statement]:
    """Laws, facts and evidence by name."""
    for package in map(importlib.import_module, PACKAGES):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    return STATEMENTS
