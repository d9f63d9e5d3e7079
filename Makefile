# make demo, make demo-train, make test, make test-fast: each sets up .venv first, and only once. TORCH_INDEX=… points pip at other builds of PyTorch.
PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO_RUN := out/digits-pixel

.PHONY: demo demo-train test test-fast test-package test-notebooks lint notebooks clean

demo: $(VENV)/.installed
	$(BIN)/minidiff generate --model digits --grid 4 --out out/digits.png --strip out/denoising.png \
		"a small red seven on a navy background" "a large yellow 3 on black" "a medium green zero on a white background" \
		"blue 5, large, white background" "a pink eight" "a small orange two on a teal background" "cyan 9, maroon background" "the digit 4"
	$(BIN)/minidiff generate --model emoji --grid 4 --out out/emoji.png \
		"grinning face" "red heart" "sailboat" "hot beverage" "red cat" "purple elephant" "yellow pig" "green whale"

demo-train: $(VENV)/.installed
	$(BIN)/minidiff train digits-pixel --out $(DEMO_RUN) --resume
	$(BIN)/minidiff generate --model $(DEMO_RUN) --out out/samples.png --strip out/denoising.png --gif out/denoising.gif

# side by side, one core each; threads that wait must not spin, or each would slow the other down
test: lint
	TQDM_DISABLE=1 OMP_WAIT_POLICY=passive $(MAKE) --no-print-directory -j2 test-package test-notebooks

# for every commit: the fast tests on all cores, without the comparisons with other implementations
test-fast: $(VENV)/.installed-dev
	TQDM_DISABLE=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -m "not slow" --ignore tests/parity --numprocesses auto --dist worksteal --quiet

test-package:
	$(BIN)/python -m pytest

test-notebooks:
	$(BIN)/python -m pytest -o addopts= --nbval --nbval-current-env --nbval-cell-timeout=300 notebooks

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

notebooks: $(VENV)/.installed-dev
	TQDM_DISABLE=1 $(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False notebooks/*.ipynb

clean:
	rm -rf $(VENV) out

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "minidiff needs Python 3.11 to 3.13; choose one with PYTHON=, for example: make demo PYTHON=python3.12"; exit 1; }
	@echo "setting up $(VENV): about 270 MB to download with a CPU build of PyTorch (370 MB for make test), several GB with a CUDA build"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(PIP) --index-url $(TORCH_INDEX) torch)
	$(PIP) torch
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e '.[dev,parity]'
	touch $@
