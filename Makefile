# Targets for Linux and macOS; docs/install.md has the same steps as plain pip commands for Windows.
# `make PYTHON=python3.12 demo` chooses another interpreter for the environment.

# An empty environment has no PATH; programs are found all the same.
PATH ?= /usr/local/bin:/usr/bin:/bin
export PATH

PYTHON = python3
BIN = .venv/bin
STAMP = .venv/.installed

.PHONY: help demo test soak lint bench benchmarks clean

help:
	@echo "make demo    install into .venv, then train and upscale on sample photographs: runs/demo/report.html"
	@echo "make test    every test but the slow ones"
	@echo "make soak    the slow tests"
	@echo "make lint    ruff (rules and format) and pyright"
	@echo "make bench   every benchmark: each prints its ratio to a peer measured in the same run"
	@echo "make benchmarks   published generators side by side: tables and pictures of docs/benchmarks.md, section Quality"
	@echo "make clean   remove caches and build outputs; keeps .venv, runs/ and photographs"

# `pip install` again whenever a dependency or a pinned version has changed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Gram-GAN needs Python 3.11 or newer; give one: make PYTHON=python3.12 TARGET")'
	@echo "Installing into .venv; the first time this takes a minute or two."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,samples,faiss,openvino,onnx,geo,medical,microscopy]'
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/gramgan demo

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow"

soak: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Without the study and the ablation of texture databases, which take hours and have commands of their own.
bench: $(STAMP)
	@set -e; for name in train_step feeding degradation texture_search texture_database upscale seams; do \
		echo "== $$name"; $(BIN)/python "benchmarks/$$name.py"; done

# Fetches the peers' weights from the package index; some ten minutes on two cores.
benchmarks: $(STAMP)
	$(BIN)/python benchmarks/peers.py --page docs/benchmarks.md

clean:
	rm -rf build dist .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o -type d -name __pycache__ -exec rm -rf {} +
