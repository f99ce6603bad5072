# Two commands: `make book` and `make test`. Each sets up what it needs; a second call does only what changed.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: help setup book pdf zip test versions notebooks clean
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE  # hundreds of processes import the same modules

PYTHON ?= python3
PYTHONS ?= $(PYTHON)
VENV ?= .venv
BIN := $(VENV)/bin
# a module is compiled when it is first imported, which most never are
PIP := $(BIN)/python -m pip install -q --no-compile
# the pins, from the only place where they stand
pins = sed -n 's/^ *- \([A-Za-z0-9_.-]*==[^ ]*\).*/\1/p' environment.yml

timed = start=$$SECONDS; $(1); echo "setup: $$((SECONDS - start)) s"

help:            ## this list
	@sed -n 's/^\([a-z]*\):.*##/make \1\t/p' Makefile

setup: $(VENV)/installed   ## the environment, in .venv

$(VENV)/pins: environment.yml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rotvq needs Python 3.11 or newer, this is %d.%d: try make PYTHON=python3.12" % sys.version_info[:2])'
	@test -x $(BIN)/python || { echo "setup: a new environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "setup: torch ..."; $(call timed,$(PIP) $$($(pins) | grep '^torch=='))
	@echo "setup: the other pins ..."; $(call timed,$(PIP) $$($(pins)))
	@touch $@

$(VENV)/installed: $(VENV)/pins pyproject.toml
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

book: setup      ## run the notebooks, render _build/html/index.html
	@$(BIN)/python -m book.press all

pdf: book        ## the book as one PDF, in _build/download (needs Chromium)
	@$(BIN)/python -m book.press pdf

zip: book        ## the site as one zip to read offline, in _build/download
	@$(BIN)/python -m book.press zip

notebooks: setup ## write notebooks/*.ipynb from notebooks/*.py
	@$(BIN)/python -m book.press pair

test: setup      ## lint, format, imports, pairs, every test, and the built book in a browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m book.press pair --check
	@$(BIN)/python -m book.press all
	$(BIN)/python -m pytest -n 2 --dist worksteal

versions:        ## the tests of the module, lowest and newest versions: make versions PYTHONS="python3.11 python3.13"
	@for python in $(PYTHONS); do for which in lowest newest; do $$python .ci/versions $$which; done; done

clean:           ## remove what was built (not the environment, not the records)
	rm -rf _build book/notebooks book/generated dist
