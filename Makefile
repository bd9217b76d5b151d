# `make run` and `make test` make what they need, the virtual environment included.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One more than there are processors: some tests wait for processes that they start.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# Compiled modules are kept, whatever the shell says: else each process of the tests compiles them anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test types short full slow stress fuzz bench gpu docs audit format clean

run: $(READY)
	$(BIN)/emotiwave run --encoder bilstm --fusion concat

# Three tiers of tests, and a battery. `make test`, the one to run after each change, takes two minutes on two cores: every
# room and every command, with its main laws and its main refusals. Without its cache mypy takes 20 seconds on one of them.
test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory --jobs 2 types short

types: $(READY)
	$(BIN)/mypy

short: $(READY)
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

# What takes seconds each and is a further example of what `make test` tries: all levels, kinds and forms of a law, processes
# that are killed at more places, commands of the guides. It runs before every change is taken, as `make test` does.
full: $(READY)
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m "full and not slow and not stress"

# What takes minutes: the built wheel and packages in a fresh environment, every part with every other and with all its
# examples, killed processes; and every law with generated examples, with all of them.
slow: $(READY)
	$(BIN)/pytest -n auto --dist worksteal -m "slow or hypothesis" --all-examples

# The long half of the battery of docs/reliability.md: kills, full disks, damaged files, two processes in one place. It
# needs the fuzzer atheris where that has a wheel, and up to an hour.
stress: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,stress]"
	$(BIN)/pytest -n auto --dist worksteal -m stress

# Each reader of files for a minute by a coverage-guided fuzzer, from whole files and tests/corpus; what is found stays in
# build/fuzz. `make fuzz TARGET=csd SECONDS=600` tries one for longer, and tests/helpers/fuzz.py says which there are.
TARGET ?= all
SECONDS ?= 60
fuzz: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,stress]"
	mkdir -p build/fuzz
	cd build/fuzz && PYTHONPATH=$(CURDIR)/tests/helpers $(CURDIR)/$(BIN)/python $(CURDIR)/tests/helpers/fuzz.py $(TARGET) --seconds $(SECONDS)

# A table and a JSON of how fast all of it is, against named baselines in the same run:
# make bench ARGS="--videos 3292 --device cuda --only epoch". `--help` says what else.
bench: $(READY)
	PYTHONPATH=benchmarks $(BIN)/python -m speed $(ARGS)

# On a GPU, in less than nine minutes: the laws that are about one, and the groups of `bench` that it moves, as a table and
# a JSON. Without a GPU it says so, and leaves with an error.
gpu: $(READY)
	PYTHONPATH=benchmarks $(BIN)/python -m speed.gpu $(ARGS)

# docs/reference.md from the commands and parts themselves, docs/licences.md from the packages. The tests hold them to it.
docs: $(READY)
	$(BIN)/python docs/reference.py > docs/reference.md.part && mv docs/reference.md.part docs/reference.md
	$(BIN)/python docs/licences.py > docs/licences.md.part && mv docs/licences.md.part docs/licences.md

# Known holes in the pinned packages. It asks PyPI's advisories, so it is no part of the tests.
audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# torch first: without it, pip may choose another build of it than the one that is pinned.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@
