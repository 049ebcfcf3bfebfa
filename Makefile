# make demo | make test | make lint | make clean
#
#   PYTHON=...  the Python that makes the environment (3.10 to 3.12; default python3)
#   ARGS=...    further arguments for the demo or for pytest: make test ARGS="-k metrics"

PYTHON ?= python3
ARGS :=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo test lint clean
.DELETE_ON_ERROR:

help:
	@echo "make demo   set up $(VENV) and run scripts/demo.py"
	@echo "make test   set up $(VENV) and run the tests"
	@echo "make lint   set up $(VENV) and run ruff and mypy"
	@echo "make clean  remove $(VENV), caches and build output"

# torch comes first and by its exact pin: with an open range pip may choose a newer CUDA build,
# gigabytes large, over a CPU build that is at hand.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 12) else "sacb-bundle needs Python 3.10, 3.11 or 3.12, but $(PYTHON) is Python %d.%d: name another one with make PYTHON=..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch==2.13.0
	$(PIP) install -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(STAMP)
	$(BIN)/python scripts/demo.py $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
