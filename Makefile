# The commands of this repository. They need Python >= 3.11 and install everything else into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STORE ?= store
SHELL := /bin/bash
# Images of containers often set it; then each run compiles the tests and this package anew, for 10 seconds a process.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo study-small quick test heavy-test faults gpu-test slurm-test families fuzz check audit format docs lock clean

help:
	@echo "make demo        set up, run grid/quickstart.yaml, show its result table and page"
	@echo "make study-small  run a slice of the study on CPU cores; of another base folder: STUDY_BASE=bases/mine"
	@echo "make quick       run the tests that need neither a cluster nor minutes; of a part: make quick ARGS=tests/plan"
	@echo "make test        run the test suite with its coverage"
	@echo "make heavy-test  run the slowest tests, which make test leaves out"
	@echo "make faults      flip bits, and strike real Ray clusters with 500 faults (docs/reliability.md); takes an hour or"
	@echo "                 more, goes on where it was interrupted; of another seed: make faults SEED=2 FAULTS=50"
	@echo "make gpu-test    run the tests that need a CUDA device (install torch for CUDA first)"
	@echo "make slurm-test  test the Slurm script on a Slurm of two local nodes (apt-get install slurm-wlm; as root)"
	@echo "make fuzz        try 10,000 changed inputs at every border, in a process for each core (JOBS=1: in one);"
	@echo "                 of other seeds: make fuzz SEED=20 COUNT=500"
	@echo "make families    judge every family of models that transformers has; the table of docs/families.md"
	@echo "make check       ruff, mypy, import rules, spelling"
	@echo "make audit       known vulnerabilities and licences of the dependencies; needs PyPI"
	@echo "make format      format the code with ruff"
	@echo "make docs        build the documentation to site/; fails on a broken link"
	@echo "make lock        pin the dependencies of pyproject.toml anew; UPGRADE=--upgrade takes the newest versions"
	@echo "make clean       remove the virtual environment and the built site (never a store)"

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

STUDY_BASE ?= bases/gemma-3-270m

study-small: setup
	@test -f "$(STUDY_BASE)/config.json" || { \
		echo "$(STUDY_BASE) is no base folder: make one with xlharm base import (docs/bases.md), and name it: STUDY_BASE=FOLDER"; \
		exit 2; }
	$(BIN)/xlharm run grid/study-small.yaml -s base="$(STUDY_BASE)" --store $(STORE)

# three tests at a time, because those of clusters wait most of the time; the longest first; a cluster's never beside
# another cluster's (tests/conftest.py)
SIDE_BY_SIDE := -n 3 --dist loadscope --no-loadscope-reorder

# one process runs the files that load models, the other the rest (tests/conftest.py)
quick: setup
	$(BIN)/python -m pytest -n 2 --dist each --halves -o console_output_style=classic -m \
		'not cluster and not gpu and not heavy and not slow and not slurm' $(ARGS)

test: setup
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) --cov --cov-report=

heavy-test: setup
	$(BIN)/python -m pytest -m heavy

FAULTS ?= 500

faults: setup
	XLHARM_SEED=$(SEED) $(BIN)/python -m pytest -m heavy tests/faults -rs -s
	$(BIN)/python -m tests.faults.campaign --count $(FAULTS) --seed $(SEED) --out faults-$(SEED).jsonl

gpu-test: setup
	$(BIN)/python -m pytest -m gpu -rs

slurm-test: setup
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m pytest -m slurm tests/cluster -rs

COUNT ?= 10000
SEED ?= 1
JOBS ?= $(shell nproc)

fuzz: setup
	$(BIN)/python -m tests.fuzz.borders --count $(COUNT) --seed $(SEED) --jobs $(JOBS)

families: setup
	$(BIN)/python -m tests.families.matrix $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src docs grid cluster recipes README.md

# The tools are in an environment of their own: they are no part of what they look at.
$(VENV)/audit/ready:
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet pip-audit pip-licenses
	@touch $@

audit: setup $(VENV)/audit/ready
	$(VENV)/audit/bin/pip-licenses --python $(BIN)/python --order=license
	$(VENV)/audit/bin/pip-audit --strict --disable-pip --no-deps --requirement requirements.lock

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "open site/index.html"

# Both files hold the same versions; requirements.lock has the hashes of all their files, too. torch is in neither's
# hashes: its CPU and CUDA builds are different files with different dependencies. Its version stays as it is.
lock: setup
	grep '^torch==' constraints.txt > $(VENV)/torch.txt
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --extra dev \
		--constraint $(VENV)/torch.txt --unsafe-package torch --unsafe-package xlharm --unsafe-package pip \
		--unsafe-package setuptools --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--annotation-style line --output-file requirements.lock $(UPGRADE) pyproject.toml
	{ echo "# Versions that were tested together, as in requirements.lock. \`make lock\` writes both files."; \
	  { sed -nE 's/^([A-Za-z0-9._-]+==[^ \\]+).*/\1/p' requirements.lock; cat $(VENV)/torch.txt; } | LC_ALL=C sort -f; \
	} > $(VENV)/constraints.txt
	mv $(VENV)/constraints.txt constraints.txt

clean:
	rm -rf $(VENV) site
