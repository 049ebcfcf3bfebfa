# make demo | make test | make test-all | make test-label | make lint | make clean
#
#   PYTHON=...  the Python that makes the environment (3.10 to 3.12; default python3)
#   ARGS=...    further arguments for the demo or for pytest: make test ARGS="-k metrics"
#   JOBS=...    processes that run the tests (default 2), each with one thread

PYTHON ?= python3
ARGS :=
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LABEL_VENV := .venv-label
LABEL_BIN := $(LABEL_VENV)/bin
LABEL_STAMP := $(LABEL_VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo test test-all test-label lint clean
.DELETE_ON_ERROR:

help:
	@echo "make demo   set up $(VENV) and run scripts/demo.py"
	@echo "make test   set up $(VENV) and run the tests that are not slow"
	@echo "make test-all   the same with the slow tests"
	@echo "make test-label   set up $(LABEL_VENV) with MONAI Label (some gigabytes) and test the bundle in its server"
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

# An environment of its own: MONAI Label needs numpy below 2. SAM 2, which it installs, would build CUDA code.
$(LABEL_STAMP): pyproject.toml constraints-label.txt
	$(PYTHON) -m venv $(LABEL_VENV)
	$(LABEL_BIN)/python -m pip --disable-pip-version-check install -c constraints-label.txt torch==2.13.0 setuptools wheel ninja hatchling
	SAM2_BUILD_CUDA=0 $(LABEL_BIN)/python -m pip --disable-pip-version-check install --no-build-isolation \
	  -c constraints-label.txt monailabel==0.8.5 pytest -e .
	@touch $@

demo: $(STAMP)
	$(BIN)/python scripts/demo.py $(ARGS)

# One thread for each process: two that take all cores would wait for each other.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m "not slow" $(ARGS)

test-all: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) $(ARGS)

test-label: $(LABEL_STAMP)
	PYTHONPATH=tests/label/shim $(LABEL_BIN)/python -m pytest tests/label $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(LABEL_VENV) .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
