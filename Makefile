# Everything runs in .venv, which the first target that needs it creates.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

VISION := .venv-vision

.PHONY: demo test test-all vision coverage check smoke docs format demo-models reference release-check clean

demo: $(STAMP)  ## evaluate the bundled models and write a report
	$(BIN)/crucibench demo

# A test run starts the same modules hundreds of times: they are compiled once, whatever is set.
unexport PYTHONDONTWRITEBYTECODE

# A process for each core, and a thread for each process: libraries that start a thread for each core
# in each of them only wait for one another.
PYTEST := python -m pytest -n logical --dist loadfile --no-loadscope-reorder

test: $(DEV)  ## the test suite, a process for each core
	OMP_NUM_THREADS=1 $(BIN)/$(PYTEST)

test-all: $(DEV)  ## the same and the second tier: long simulations, soaks, browser sweeps
	OMP_NUM_THREADS=1 $(BIN)/$(PYTEST) -m ""

# Torchvision's wheels fit a torch of one kind alone, and must not get in the way of transformers
# where they don't: so they stand in an environment of their own, on top of $(VENV).
vision: $(VISION)/.installed  ## the tests of torchvision's and timm's models
	OMP_NUM_THREADS=1 $(VISION)/bin/$(PYTEST) \
	  tests/adapters/test_torchvision_zoo.py tests/adapters/test_timm_zoo.py \
	  tests/adapters/hf/test_transformers_images.py tests/test_docs_adapters.py

coverage: $(DEV)  ## the test suite, with the lines that no test runs
	$(BIN)/python -m pytest --cov --cov-report=term

check: $(DEV)  ## lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

smoke: $(DEV)  ## build the wheel, install it in a clean environment, evaluate from another folder
	BIN=$(abspath $(BIN)) PYTHON=$(PYTHON) bash tests/smoke.sh

docs: $(DEV)  ## the documentation as a site, in site/
	$(BIN)/mkdocs build --strict

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo-models: $(DEV)  ## train the bundled models again
	$(BIN)/python examples/train_demo_models.py
	$(BIN)/python examples/train_demo_texts.py

reference: $(DEV)  ## the boards' site, cards and bundles, in results/reference, and the pictures of docs
	$(BIN)/python examples/publish_reference.py --demo

release-check: $(DEV)  ## which pages of evidence speak of code that has changed since; CI does not run it
	$(BIN)/python benchmarks/release_check.py

clean:
	rm -rf $(VENV) $(VISION) dist site

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[text]'
	touch $@

$(DEV): $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@ $(STAMP)

$(VISION)/.installed: $(DEV) constraints.txt tests/vision/sitecustomize.py
	$(PYTHON) -m venv --clear $(VISION)
	$(BIN)/python tests/vision/layer.py $(VISION)
	$(VISION)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps \
	  -c constraints.txt torchvision timm \
	  || { echo "make vision: torchvision and timm can't be installed; is there a network?" >&2; exit 1; }
	touch $@
