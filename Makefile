# Everything starts from a machine with Python >= 3.11 and make: each target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: setup format check test test-all test-weights demo docs clean

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	@echo "setting up $(VENV): torch, PyAV, transformers and the test tools; a minute or two"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tubelet needs Python 3.11 or newer")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: install it (Debian: apt-get install python3-venv)"; exit 1; }
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

format: setup
	$(BIN)/ruff format src tests benchmarks docs
	$(BIN)/ruff check --fix src tests benchmarks docs

check: setup
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/mypy

test: setup
	$(PYTEST) -m "not slow"

test-all: setup
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[slow-tests]'
	REQUIRE_DATA=$(REQUIRE_DATA) $(PYTEST)

test-weights: setup
	WEIGHTS=$(WEIGHTS) $(BIN)/python -m pytest -q -s -p no:cacheprovider tests/weights/test_real.py -k "real"

demo: setup
	$(BIN)/tubelet demo --out $(DEMO)

docs: setup
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
