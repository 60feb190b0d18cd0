# `make run` and `make test` need Python 3.11 or 3.12 and nothing else.
.DEFAULT_GOAL := help
.PHONY: help install run test test-pgbouncer lint format schema lock clean

# The first one that runs and is not too old: a name on the PATH may be a shim with nothing behind it.
PYTHON ?= $(shell for name in python3.11 python3.12 python3 python3.13; do "$$name" -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && { command -v "$$name"; break; }; done)
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
BIN := .venv/bin
INSTALLED := .venv/installed
PROCESSES ?= auto

help:
	@echo "make run      everything on this machine: http://localhost:8000 (PORT=... for another)"
	@echo "make test     all tests (ARGS='-k word' goes to pytest)"
	@echo "make test-pgbouncer  the same through PgBouncer, which must be installed"
	@echo "make lint     formatting, types, layers, migrations, templates, API schema, tables"
	@echo "make format   mend what can be mended by a machine"
	@echo "make schema   write docs/openapi.yaml and docs/schema.md anew"
	@echo "make lock     compile the requirements anew from pyproject.toml"

install: $(INSTALLED)

$(INSTALLED): requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed and none was found that runs: install it, or say PYTHON=/path/to/python." >&2; exit 1; }
	@"$(PYTHON)" -c '' 2>/dev/null || { echo "$(PYTHON) does not run: say PYTHON=/path/to/python3.11." >&2; exit 1; }
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' || { echo "$(PYTHON) is older than 3.11: say PYTHON=/path/to/python3.11." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks venv: install it (Debian and Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	@# One whose making was interrupted is no environment yet, or has no pip that runs.
	@{ $(BIN)/python -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)' && $(BIN)/python -m pip --version; } >/dev/null 2>&1 || { echo "Making .venv with $(PYTHON)"; "$(PYTHON)" -m venv --clear .venv; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.txt
	@touch $@

run: install
	@exec $(BIN)/python manage.py run

test: install
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) $(ARGS)

test-pgbouncer: export TEST_PGBOUNCER := 1
test-pgbouncer: test

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
	$(BIN)/python manage.py describe_schema | diff docs/schema.md -

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	-git ls-files '*.py' | xargs $(BIN)/django-upgrade --target-version 5.2
	-$(BIN)/djlint --reformat --quiet .

schema: install
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml
	$(BIN)/python manage.py describe_schema --output docs/schema.md

lock: install
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header pyproject.toml --output-file requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header pyproject.toml --extra embedded --extra dev --constraint requirements.txt --output-file requirements-dev.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
