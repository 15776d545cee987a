# Every target sets up what it needs by itself and can be repeated.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.installed

.PHONY: help quickstart test test-all lint format bench gpu-check results-table config-keys code-tour clean

help:
	@echo "make quickstart  train a small DyHead detector, score it and draw its detections"
	@echo "make test        run the fast tests        make test-all  run the slow ones too"
	@echo "make faults      try all faults of docs/reliability.md and rewrite its table (half an hour)"
	@echo "make lint        check style, docstrings and types    make format  reformat the code"
	@echo "make structure   count how the code is laid out: files, imports, calls, comments"
	@echo "make bench       measure speed and memory (10 minutes) into benchmarks/results/"
	@echo "make gpu-check   on a GPU: prove that it works and measure it (8 minutes), see docs/gpu.md"
	@echo "make results-table  rewrite the tables of results from the headers of configs/"
	@echo "make config-keys  rewrite docs/config_keys.md from the comments beside the config keys"
	@echo "make code-tour   redraw docs/images/code_tour.png, the data's way through the code"
	@echo "make docs        build the documents as a site, build/docs/index.html"
	@echo "make clean       remove the virtual environment and all outputs"

$(SETUP): setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

quickstart: $(SETUP)
	$(BIN)/python train_net.py --config configs/quickstart.yaml

# Processes share the test files; each has one thread, so that they do not wait for each other.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test: $(SETUP)
	$(PYTEST)

test-all: $(SETUP)
	$(PYTEST) -m ""

# As python tools/fault_table.py; ARGS="-k disk" tries some of them; ARGS="-n 2": two at once
.PHONY: faults
faults: $(SETUP)
	OMP_NUM_THREADS=1 $(BIN)/python tools/fault_table.py --write $(ARGS)

.PHONY: structure
structure: $(SETUP)
	$(BIN)/python tools/count_structure.py

lint: $(SETUP)
	$(BIN)/python tools/check_docstrings.py
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror dyhead/ops/cpp/*.cpp dyhead/ops/cpp/*.h
	$(BIN)/mypy

format: $(SETUP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i dyhead/ops/cpp/*.cpp dyhead/ops/cpp/*.h

results-table: $(SETUP)
	$(BIN)/python tools/results_table.py

config-keys: $(SETUP)
	$(BIN)/dyhead configs reference > $(VENV)/config_keys.md
	mv $(VENV)/config_keys.md docs/config_keys.md

code-tour: $(SETUP)
	$(BIN)/python tools/draw_code_tour.py

# On a GPU: make bench DEVICE=cuda
DEVICE ?= cpu
THREADS ?= 2
BENCH = --device $(DEVICE) --threads $(THREADS) --output benchmarks/results/$(DEVICE)

bench: $(SETUP)
	$(BIN)/python benchmarks/bm_deform_conv.py $(BENCH)/deform_conv.json
	$(BIN)/python benchmarks/bm_block.py $(BENCH)/block.json
	$(BIN)/python benchmarks/bm_block.py --size 256 256 $(BENCH)/block_256.json
	$(BIN)/python benchmarks/bm_block.py --growth $(BENCH)/growth.json
	$(BIN)/python benchmarks/bm_model.py $(BENCH)/model.json
	$(BIN)/python benchmarks/bm_loader.py $(BENCH)/loader.json
	$(BIN)/python benchmarks/report.py

# As python tools/gpu_check.py with the virtual environment's PyTorch; ARGS="--device cpu" and others
gpu-check: $(SETUP)
	$(BIN)/python tools/gpu_check.py $(ARGS)

# Nothing is fetched but the packages of the extra "docs", once
$(VENV)/.docs: $(SETUP)
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

.PHONY: docs
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs
	@echo "build/docs/index.html"

clean:
	rm -rf $(VENV) output build/docs
