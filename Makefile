# `make run` and `make test` make what they need, the virtual environment included.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test slow bench docs format clean

run: $(READY)
	$(BIN)/emotiwave run --encoder bilstm --fusion concat

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto

# What takes minutes: the built wheel in a fresh environment, the whole check of a real package, processes that are killed.
slow: $(READY)
	$(BIN)/pytest -m slow

# A table and a JSON of how fast all of it is, against named baselines in the same run:
# make bench ARGS="--videos 3292 --device cuda --only epoch". `--help` says what else.
bench: $(READY)
	PYTHONPATH=benchmarks $(BIN)/python -m speed $(ARGS)

# docs/reference.md, from the commands and parts themselves. The tests hold it against them.
docs: $(READY)
	$(BIN)/python docs/reference.py > docs/reference.md.part && mv docs/reference.md.part docs/reference.md

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
