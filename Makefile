# make run        installs, then makes phantom videos into a scored model and a report in demo/
# make test       installs, then runs the tests; test-fast leaves out those over ten seconds
# make drill      the long forms of the tests that kill, cut or starve, which `make test` has in short
# make check      ruff, mypy, import-linter, the documentation built strictly
# make fmt        formats, and repairs what ruff can
# make docs       writes the documentation into site/
# make bench      benchmarks that need no data; BENCH="kmeans shards" chooses
# make lock       resolves the dependencies of pyproject.toml again
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
DEMO ?= demo
BENCH ?= kmeans sample shards embed
TEST_WORKERS ?= 2

.PHONY: install install-dev run test test-fast drill check fmt docs bench lock

install: .venv/installed
install-dev: .venv/installed-dev

# The locks hold exact versions and hashes; uv only installs them, much faster than pip does.
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"EndoForge needs Python 3.11 or newer, this is {sys.version.split()[0]}; set PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	UV_COMPILE_BYTECODE_TIMEOUT=600 $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

# What tests, checks and documentation need beside it.
.venv/installed-dev: .venv/installed requirements-dev.lock
	UV_COMPILE_BYTECODE_TIMEOUT=600 $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes --python $(BIN)/python -r requirements-dev.lock
	touch $@

run: install
	$(BIN)/endoforge demo --out $(DEMO)

# Tests start hundreds of processes, which would each compile EndoForge's files anew. With three workers on two cores some tests of signals and
# limits come too late; tests/conftest.py keeps long files from the end, so that both workers end together.
test test-fast: export PYTHONDONTWRITEBYTECODE =
test: install-dev
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

test-fast: install-dev
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow and not drill"

drill: export PYTHONDONTWRITEBYTECODE =
drill: install-dev
	$(BIN)/python -m pytest -m drill

check: install-dev docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: install-dev
	for name in $(BENCH); do $(BIN)/python tests/benchmarks/bench_$$name.py || exit 1; done

# After a change of the dependencies in pyproject.toml: versions stay where they can; delete a lock to have all the newest.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
lock: install
	$(LOCK) --extra cpu pyproject.toml --output-file requirements.lock
	$(LOCK) --group pyproject.toml:dev --constraint requirements.lock --output-file requirements-dev.lock
