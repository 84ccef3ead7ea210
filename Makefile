# make run    installs, then makes phantom videos into a scored model and a report in demo/
# make test   installs, then runs the tests
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
DEMO ?= demo

.PHONY: install run test check lock

install: .venv/installed

# The lock holds exact versions; uv only installs them, much faster than pip does.
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"EndoForge needs Python 3.11 or newer, this is {sys.version.split()[0]}; set PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	UV_COMPILE_BYTECODE_TIMEOUT=600 $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

run: install
	$(BIN)/endoforge demo --out $(DEMO)

# Tests start hundreds of processes, which would each compile EndoForge's files anew. In the order of the folders the quick files come last,
# so that both workers end together.
test: export PYTHONDONTWRITEBYTECODE =
test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# After a change of the dependencies in pyproject.toml.
lock: install
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra cpu --extra dev pyproject.toml --output-file requirements.lock
