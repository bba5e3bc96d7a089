# The commands of this repository. `make demo` and `make test` need Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STORE ?= store
SHELL := /bin/bash

.PHONY: help setup demo quick test heavy-test gpu-test slurm-test check format clean

help:
	@echo "make demo    set up, run grid/quickstart.yaml, show its result table and page"
	@echo "make quick   tests that need neither a cluster nor minutes; of a part: make quick ARGS=tests/plan"
	@echo "make test    the test suite, with its coverage"
	@echo "make heavy-test  the slowest tests, which make test leaves out"
	@echo "make gpu-test    what needs a CUDA device (install torch for CUDA first)"
	@echo "make slurm-test  the Slurm script on a real Slurm of two local nodes (apt-get install slurm-wlm; as root)"
	@echo "make check   ruff, mypy, import rules, spelling"
	@echo "make format  let ruff format the code"
	@echo "make clean   remove the virtual environment (never a store)"

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "xlharm needs Python 3.11 or newer; set PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(VENV)/ready

demo: setup
	$(BIN)/xlharm run grid/quickstart.yaml --store $(STORE) --report xlharm-report.html

# two tests at a time, the longest first; a cluster's never beside another cluster's (tests/conftest.py)
SIDE_BY_SIDE := -n 2 --dist loadgroup --no-loadscope-reorder

quick: setup
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'not cluster and not gpu and not heavy and not slow and not slurm' $(ARGS)

test: setup
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) --cov --cov-report=

heavy-test: setup
	$(BIN)/python -m pytest -m heavy

gpu-test: setup
	$(BIN)/python -m pytest -m gpu -rs

slurm-test: setup
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m pytest -m slurm tests/cluster -rs

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src docs grid cluster recipes README.md

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)
