# `make` alone tells what there is. A fresh machine needs python3 (3.11 or newer, with venv) and make;
# `make matrix` needs npm, too.

PYTHON ?= python3
WORKERS ?= 3
BIN := .venv/bin
SOURCES := $(wildcard alembic_enterprise tests sample_project bench)

# The tests start programs by the hundred; each would compile its modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install test system demo check format matrix prepare bench clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/installed ## make .venv with everything in it; the other targets do so when needed

test: install ## run the tests (WORKERS=3, ARGS="-k name")
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

# In groups of one, each process begins with one test: those that wait for cron wait together.
system: install ## run the tests that need programs of Debian, which .ci/packages installs
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup tests/system $(ARGS)

demo: install ## tell the story of the sample project, on a PostgreSQL of its own
	$(BIN)/python sample_project/demo.py

check: install ## lint, check format, types, imports and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/basedpyright $(SOURCES)
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/codespell

format: install ## format and apply the safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

matrix: install ## run the tests on PostgreSQL 14 to 17, with old and new dependencies (ROWS="14 17")
	$(BIN)/python tests/matrix.py $(ROWS)

prepare: install ## fetch what `make matrix` needs
	$(BIN)/python tests/matrix.py --prepare

bench: install ## run the benchmarks; each prints ratios
	@for script in bench/[a-z]*.py; do echo "--- $$script"; $(BIN)/python "$$script" || exit 1; done

clean: ## remove all that make made
	rm -rf .venv .matrix .postgres .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.13 ...")'
	$(PYTHON) -m venv --clear .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[embedded,dev]'
	@touch $@
