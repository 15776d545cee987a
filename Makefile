# Every target sets up what it needs by itself and can be repeated.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.installed

.PHONY: help quickstart test test-all lint format bench results-table clean

help:
	@echo "make quickstart  train a small DyHead detector, score it and draw its detections"
	@echo "make test        run the fast tests        make test-all  run the slow ones too"
	@echo "make lint        ruff and mypy             make format    reformat the code"
	@echo "make results-table  rewrite the table of results in README.md from the headers of configs/"
	@echo "make clean       remove the virtual environment and all outputs"

$(SETUP): setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

quickstart: $(SETUP)
	$(BIN)/python train_net.py --config configs/quickstart.yaml

test: $(SETUP)
	$(BIN)/python -m pytest

test-all: $(SETUP)
	$(BIN)/python -m pytest -m ""

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(SETUP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

results-table:
	$(PYTHON) tools/results_table.py

bench: $(SETUP)
	$(BIN)/python benchmarks/bm_deform_conv.py

clean:
	rm -rf $(VENV) output
