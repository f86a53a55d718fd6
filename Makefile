# One virtual environment, made on first use; `make PYTHON=python3.12 ...` picks the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test test-all fuzz bench speed gpu lint clean

help:
	@echo "make demo      bake scenes/seal.xml at preview size, render it, compare it with volpath: out/demo (about 10 minutes)"
	@echo "make test      the tests, without the slow ones; WORKERS=2 at a time"
	@echo "make test-all  all tests"
	@echo "make fuzz      hostile asset files: FILES=2000 SEED=0 (about a minute)"
	@echo "make bench     the paper's tables: SCALE=tiny ASSETS=seal,candle,... JOBS=2; goes on where it was stopped; out/paper_SCALE"
	@echo "make speed     speed of the path sampler (the other benchmarks want an asset)"
	@echo "make gpu       on a machine with an NVIDIA GPU: its tests, and the speed of kernels, bakes and renders; RESULTS=out/gpu"
	@echo "make lint      ruff"

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "Python 3.10 or newer is needed, $(PYTHON) is not: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv (Debian, Ubuntu)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

demo: $(READY)
	$(BIN)/python -m mi_neural_asset demo --out out/demo

WORKERS ?= 2
test: $(READY)
	$(BIN)/python -m pytest -m "not slow" --numprocesses $(WORKERS) --dist worksteal

test-all: $(READY)
	$(BIN)/python -m pytest

FILES ?= 2000
SEED ?= 0
fuzz: $(READY)
	PYTHONPATH=tests $(BIN)/python -m fuzz --files $(FILES) --seed $(SEED)

SCALE ?= tiny
JOBS ?= 1
ASSETS ?= candle,milk,cat,seal,dragon,bunny,curl_hair,hair,fabric,teaset
bench: $(READY)
	$(BIN)/python benchmarks/paper.py --scale $(SCALE) --assets $(ASSETS) --jobs $(JOBS) --docs docs/paper_tables.md
	$(BIN)/python -m mi_neural_asset report out/paper_$(SCALE)

speed: $(READY)
	$(BIN)/python benchmarks/sampler_speed.py

RESULTS ?= out/gpu
ASSET ?= out/demo/seal.pt
gpu: $(READY)
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python benchmarks/kernels.py --device cuda --json $(RESULTS)/kernels_gpu.json
	$(BIN)/python benchmarks/bake_speed.py --device cuda --json $(RESULTS)/bake_speed_gpu.json
	test -f $(ASSET) || { mkdir -p $(dir $(ASSET)); $(BIN)/mi-neural-asset bake scenes/seal.xml --only seal --up-axis z --minutes 2 -o $(ASSET); }
	$(BIN)/python benchmarks/render_speed.py $(ASSET) --device cuda --json $(RESULTS)/render_speed_gpu.json

lint: $(READY)
	$(BIN)/python -m ruff check .

clean:
	rm -rf $(VENV) out build dist
