# Two commands do everything on a fresh machine:
#   make demo   makes a virtual environment, installs, runs the main job on an embedded default
#   make test   the same, and runs the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-lowest lint types docs sbom dist test-dist image clean

demo: $(VENV)/.demo
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

$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	touch $@

# What the demo needs, which is less than what the tests need.
$(VENV)/.demo: $(VENV)/.torch pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[calibrate,report,explain]'
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# A few rooms on the lowest versions that pyproject.toml names; torch is a CPU build where pip is told of one.
test-lowest:
	$(PYTHON) -m venv .lowest-venv
	.lowest-venv/bin/pip install --quiet --constraint constraints-lowest.txt torch
	.lowest-venv/bin/pip install --quiet --constraint constraints-lowest.txt --editable '.[all]' pytest hypothesis
	OMP_NUM_THREADS=1 .lowest-venv/bin/python -m pytest -m "not slow" -p no:cacheprovider $(LOWEST)

LOWEST := tests/core tests/verdict tests/heads tests/storage tests/artifacts tests/features tests/interventions \
	tests/fitting tests/runtime tests/export/test_fused_graph.py

# Wheel and source distribution, in dist/; test-dist installs the wheel in an empty environment and uses it.
dist: $(VENV)/.installed
	rm -rf dist
	$(BIN)/python -m build --outdir dist .

test-dist: $(VENV)/.installed
	CE_DETECT_OPT_IN=1 $(BIN)/python -m pytest tests/packaging/test_distribution.py

# The server as an image.
image:
	docker build --tag ce-detect .

clean:
	rm -rf $(VENV) .ci-venv .lowest-venv site dist
