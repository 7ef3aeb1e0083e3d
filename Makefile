# Targets for Linux and macOS; docs/how-to/install.md has the same steps as plain pip commands for Windows.
# `make PYTHON=python3.12 demo` chooses another interpreter for the environment.

# An empty environment has no PATH; programs are found all the same.
PATH ?= /usr/local/bin:/usr/bin:/bin
export PATH

PYTHON = python3
BIN = .venv/bin
STAMP = .venv/.installed

.PHONY: help demo studio test first-half second-half studio-test soak lint lock docs bench benchmarks clean

help:
	@echo "make demo    install into .venv, then upscale and train on sample photographs: runs/demo/report.html"
	@echo "make studio  a page in the browser for all of it; FOLDER=... is what it may read and write"
	@echo "make test    every test but the slow ones"
	@echo "make soak    the slow tests"
	@echo "make studio-test   the page in Chromium, which has to be installed"
	@echo "make lint    ruff (rules and format) and pyright"
	@echo "make docs    the documentation site, build/site/index.html; a broken link or an undocumented option is an error"
	@echo "make lock    requirements.lock and the lists of containers/ anew: constraints.txt with hashes"
	@echo "make bench   every benchmark: each prints its ratio to a peer measured in the same run"
	@echo "make benchmarks   published generators side by side, and what each loss is worth: tables and pictures of the docs; hours"
	@echo "make clean   remove caches and build outputs; keeps .venv, runs/ and photographs"

EXTRAS = dev,samples,faiss,openvino,onnx,geo,medical,microscopy,studio,cluster
DOCS = .venv/.installed-docs

# `pip install` again whenever a dependency or a pinned version has changed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Gram-GAN needs Python 3.11 or newer; give one: make PYTHON=python3.12 TARGET")'
	@echo "Installing into .venv; the first time this takes a minute or two."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@# Without what it asks for: torchvision, which no generator needs (see networks/foreign.py).
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps spandrel einops
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/gramgan demo

FOLDER = .
studio: $(STAMP)
	$(BIN)/gramgan studio --folder "$(FOLDER)"

# Two halves side by side, of one thread each, since most tests use one core. The first is shown when both have ended.
HALF = tests/cli tests/collect tests/condition tests/data tests/degradation tests/evaluation tests/metrics tests/networks tests/prepare tests/reports tests/scientific tests/training
SHOWN_LATER = .pytest_cache/first-half.log
test: $(STAMP)
	@mkdir -p $(dir $(SHOWN_LATER))
	@$(MAKE) --no-print-directory --jobs=2 first-half second-half; status=$$?; cat $(SHOWN_LATER); exit $$status

first-half:
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not browser" $(HALF) >$(SHOWN_LATER) 2>&1

second-half:
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not browser" tests $(HALF:%=--ignore=%)

studio-test: $(STAMP)
	$(BIN)/python -m pytest -s -m browser tests/studio

soak: $(STAMP)
	$(BIN)/python -m pytest -m slow

# Linux on x86-64 with Python 3.11, without the tools of `make docs`. The environment above is made from constraints.txt,
# since hashes would refuse every other platform and every build of torch but the one with CUDA, of several GB. The images of
# containers/ have no tools of developers, and each its own build of torch.
LOCKED = $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate --python-platform linux --python-version 3.11
IN_IMAGES = samples faiss openvino geo medical microscopy studio spandrel cluster kubernetes
lock: $(STAMP)
	$(LOCKED) --extra $(EXTRAS) --extra spandrel --no-emit-package torchvision --constraint constraints.txt pyproject.toml --output-file requirements.lock
	printf 'hatchling\nuv\n' | $(LOCKED) $(IN_IMAGES:%=--extra %) --excludes containers/apart.txt --constraint requirements.lock \
		pyproject.toml - --output-file containers/requirements.lock
	echo torch | $(LOCKED) --constraint requirements.lock - --output-file containers/torch-cuda.lock
	echo torch | $(LOCKED) --constraint requirements.lock --torch-backend cpu - --output-file containers/torch-cpu.lock

$(DOCS): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $(DOCS)

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(DOCS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Without the study and the ablation of texture databases, which take hours and have commands of their own.
bench: $(STAMP)
	@set -e; for name in train_step feeding degradation texture_search texture_database upscale seams; do \
		echo "== $$name"; $(BIN)/python "benchmarks/$$name.py"; done

# The peers take ten minutes on two cores and their weights come from the package index; gramgan-x4-psnr, which is not in the
# package, is trained for them in a quarter of an hour. The ablation trains nine generators, hours without a GPU. Both trainings go
# on where they were stopped.
benchmarks: $(STAMP)
	$(BIN)/python studies/small_models.py --only psnr
	$(BIN)/python studies/peers.py --page docs/explanation/benchmarks.md --model gramgan-x4 --model gramgan-x4-lite \
		--model gramgan-x4-lite-psnr --model runs/small-models/gramgan-x4-psnr.safetensors
	$(BIN)/python studies/ablation.py run --seeds 0 1
	$(BIN)/python studies/ablation.py table --seeds 0 1 --page docs/explanation/ablation.md

clean:
	rm -rf build dist .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o -type d -name __pycache__ -exec rm -rf {} +
