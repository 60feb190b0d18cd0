# `make run` and `make test` need Python 3.11 or 3.12 and nothing else.
.DEFAULT_GOAL := help
.PHONY: help install run test lint format schema lock clean

# The embedded services' wheels exist for these; the first one that is installed is used.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3 python3.13,$(shell command -v $(name) 2>/dev/null)))
BIN := .venv/bin
INSTALLED := .venv/installed
PROCESSES ?= auto

help:
	@echo "make run      everything on this machine: http://localhost:8000 (PORT=... for another)"
	@echo "make test     all tests (ARGS='-k word' goes to pytest)"
	@echo "make lint     formatting, types, layers, migrations, templates, API schema"
	@echo "make format   mend what can be mended by a machine"
	@echo "make schema   write docs/openapi.yaml anew"
	@echo "make lock     compile the requirements anew from pyproject.toml"

install: $(INSTALLED)

$(INSTALLED): requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed and was not found: install it, or say PYTHON=/path/to/python." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: say PYTHON=/path/to/python3.11." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks venv: install it (Debian and Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.txt
	@touch $@

run: install
	@exec $(BIN)/python manage.py run

test: install
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) $(ARGS)

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy .
	$(BIN)/djlint --check --lint --quiet .
	@# It also asks the database, which on a fresh machine is not set up yet, and warns.
	$(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check
	$(BIN)/python manage.py spectacular --validate --fail-on-warn | diff docs/openapi.yaml -

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	-git ls-files '*.py' | xargs $(BIN)/django-upgrade --target-version 5.2
	-$(BIN)/djlint --reformat --quiet .

schema: install
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml

lock: install
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header pyproject.toml --output-file requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header pyproject.toml --extra embedded --extra dev --constraint requirements.txt --output-file requirements-dev.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
