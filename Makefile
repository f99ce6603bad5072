# Two commands: `make book` and `make test`. Each sets up what it needs; a second call does only what changed.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: help setup book test notebooks clean
export OMP_NUM_THREADS := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export RAY_USAGE_STATS_ENABLED := 0

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# the pins, from the only place where they stand
pins = sed -n 's/^ *- \([A-Za-z0-9_.-]*==[^ ]*\).*/\1/p' environment.yml

help:            ## this list
	@sed -n 's/^\([a-z]*\):.*##/make \1\t/p' Makefile

setup: $(VENV)/installed   ## the environment, in .venv

$(VENV)/installed: environment.yml pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rotvq needs Python 3.11 or newer, this is %d.%d: try make PYTHON=python3.12" % sys.version_info[:2])'
	@test -x $(BIN)/python || { echo "== new environment: $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "== torch"; start=$$SECONDS; $(BIN)/python -m pip install -q $$($(pins) | grep '^torch=='); echo "   $$((SECONDS - start)) s"
	@echo "== the other pins"; start=$$SECONDS; $(BIN)/python -m pip install -q $$($(pins)); echo "   $$((SECONDS - start)) s"
	@echo "== rotvq"; $(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

book: setup      ## run the notebooks, render _build/html/index.html
	@$(BIN)/python -m rotvq book all

notebooks: setup ## write notebooks/*.ipynb from notebooks/*.py
	@$(BIN)/python -m rotvq book pair

test: setup      ## lint, floors, pairs, every test, and the built book in a browser
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python -m rotvq book pair --check
	@$(BIN)/python -m rotvq book all
	@files=$$(ls tests/*.test.js 2>/dev/null || true); \
	  if [ -z "$$files" ]; then :; elif command -v node >/dev/null; then node --test $$files; \
	  else echo "== no node here: the tests of the book's scripts are skipped"; fi
	$(BIN)/python -m pytest -n 2 --dist worksteal

clean:           ## remove what was built (not the environment, not the records)
	rm -rf _build book/notebooks book/generated dist
