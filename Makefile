# Everything runs in .venv, which the first target that needs it creates.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test check smoke format demo-models clean

demo: $(STAMP)  ## evaluate the bundled models and write a report
	$(BIN)/crucibench demo

test: $(DEV)  ## the test suite
	$(BIN)/python -m pytest --cov --cov-report=term

check: $(DEV)  ## lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

smoke: $(DEV)  ## build the wheel, install it in a clean environment, evaluate from another folder
	BIN=$(abspath $(BIN)) PYTHON=$(PYTHON) bash tests/smoke.sh

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo-models: $(DEV)  ## train the bundled models again
	$(BIN)/python examples/train_demo_models.py

clean:
	rm -rf $(VENV) dist

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e .
	touch $@

$(DEV): $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@ $(STAMP)
