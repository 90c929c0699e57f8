# Two commands do everything on a fresh machine:
#   make demo   makes a virtual environment, installs, runs the main job on an embedded default
#   make test   the same, and runs the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow lint types docs sbom clean

demo: $(VENV)/.installed
	$(BIN)/ce-detect demo

# Two processes of one thread: the models of the tests are so small that several would mostly wait for each other.
test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

# Whole calibrations and exports of every kind: before a release, and after a change of what they run.
test-slow: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.installed
	$(BIN)/mypy

# The site, in site/: strictly, so a broken link is a failure, and without the network once it is installed.
docs: $(VENV)/.docs
	$(BIN)/python -m docs.programs.schemas --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# What a release is made of and was tested with, as CycloneDX; the same packages give the same bytes.
sbom: $(VENV)/.installed
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o dist/ce-detect.cdx.json $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .ci-venv site
