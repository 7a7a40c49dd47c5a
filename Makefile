# `make setup` once; the other targets call it. Another interpreter: `make setup PYTHON=python3.12`.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3; do \
  $$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' >/dev/null 2>&1 && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check
INPUTS := $(wildcard requirements/*.txt) setup.py tools/build_detectron2.py

.PHONY: setup demo compare study bench docs test lint clean

setup: $(READY)

$(READY): $(INPUTS)
	@test -n "$(PYTHON)" || { echo "error: Python 3.10, 3.11 or 3.12 is needed; name it with PYTHON=..." >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing torch and the other pinned packages (a few minutes and about 6 GB the first time) ..."
	$(PIP) install --quiet -c requirements/constraints.txt setuptools wheel torch torchvision
	$(BIN)/python tools/build_detectron2.py
	$(PIP) install --quiet -c requirements/constraints.txt -r requirements/detectron2-runtime.txt
	$(PIP) install --quiet -c requirements/constraints.txt --no-deps -r requirements/oracles.txt
	$(PIP) install --quiet -c requirements/constraints.txt --no-build-isolation -e '.[dev,classify,sweep,export]'
	$(BIN)/python -m lth_det.env
	touch $(READY)

demo: $(READY)
	$(BIN)/python tools/train_net.py --config-file configs/mask_rcnn_imp.yaml --resume

# Tickets of other tasks against the detector's own, random ones and RST: under an hour on 2 cores, resumable.
compare: $(READY)
	$(BIN)/python tools/compare_tickets.py --config-file configs/compare/shapes.yaml

# The study of docs/study: every question of the papers on small detectors. Hours on 2 cores; resumable.
study: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tools/run_study.py --config-file configs/study/study.yaml

# All benchmarks: fills the tables of benchmarks/README.md and docs/scaling.md. 12 to 23 minutes on 2 idle cores.
bench: $(READY)
	$(BIN)/python benchmarks/run_all.py

# The API reference: build/api/index.html.
docs: $(READY)
	$(BIN)/python tools/build_api.py

# Two processes with one thread each: small detectors gain nothing from a second thread.
test: $(READY) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build *.egg-info
