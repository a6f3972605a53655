# Needs Python 3.11 or newer and make; sets up .venv by itself, from the files that requirements.lock names by hash.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := $(INSTALL) --require-hashes --no-build-isolation -c requirements.lock

.DELETE_ON_ERROR:
.PHONY: demo test test-fast check audit gpu docs dist sbom try-wheel lock clean

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
	$(BIN)/paceline bench --out benchmarks/results

docs: $(VENV)/.developed
	$(BIN)/mkdocs build

audit: $(VENV)/.developed
	$(BIN)/python scripts/audit.py

dist: sbom
	$(BIN)/python -m build --no-isolation

sbom: $(VENV)/.developed
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o dist/paceline.cdx.json $(VENV)

try-wheel: dist
	scripts/try_wheel.sh "$$(ls -t dist/*.whl | head -1)" $(EXTRAS)

lock: $(BIN)/python
	scripts/begin_environment.sh $(BIN)/python
	$(LOCKED) pip-tools
	$(BIN)/python scripts/lock.py > requirements.new
	mv requirements.new requirements.lock

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# All but this folder itself is checked by its hash.
$(VENV)/.installed: pyproject.toml requirements.lock | $(BIN)/python
	scripts/begin_environment.sh $(BIN)/python
	$(BIN)/python scripts/wanted.py quant > $(VENV)/wanted.txt
	$(LOCKED) -r $(VENV)/wanted.txt
	$(INSTALL) --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.developed: $(VENV)/.installed
	$(LOCKED) --group dev
	touch $@

clean:
	rm -rf $(VENV) dist runs
