# Needs Python 3.11 or newer and make; sets up .venv by itself, from the versions in requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DELETE_ON_ERROR:
.PHONY: demo test test-fast check gpu dist try-wheel lock clean

demo: $(VENV)/.installed
	$(BIN)/paceline study run examples/demo.yaml

test: $(VENV)/.developed
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov=paceline --cov-report=term:skip-covered --cov-fail-under=90

test-fast: $(VENV)/.developed
	$(BIN)/python -m pytest -n 2 -m fast

check: $(VENV)/.developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

gpu: $(VENV)/.developed
	$(BIN)/python benchmarks/gpu.py

dist: $(VENV)/.developed
	$(BIN)/python -m build

try-wheel: dist
	scripts/try_wheel.sh "$$(ls -t dist/*.whl | head -1)" $(EXTRAS)

lock: $(BIN)/python
	$(BIN)/python scripts/lock.py > requirements.new
	mv requirements.new requirements.lock

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade "pip>=25.1"

$(VENV)/.installed: pyproject.toml requirements.lock | $(BIN)/python
	$(INSTALL) -c requirements.lock -e '.[quant]'
	touch $@

$(VENV)/.developed: $(VENV)/.installed
	$(INSTALL) -c requirements.lock --group dev
	touch $@

clean:
	rm -rf $(VENV) dist runs
