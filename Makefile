# make demo: install the program, write a demo data set, run the app on it, compare with the known truth
# make install: install the program and all that tests and documents need
# make test: install, lint, type-check, run all tests
# make docs: build the site of the documents in build/docs
# make dist: wheel and sdist in dist/; make test-wheels: install them in clean environments, run them
# make image: build the image; make test-container: run it as strictly as a hospital does
# make test-kills: the program killed in each of its steps
# make test-slurm: the recipes of docs/howto/cluster.md on a Slurm of one node (needs root, slurm-wlm, munge)
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin
ENGINE ?= docker
IMAGE ?= synthsr
PROGRAM := $(VENV)/.program
INSTALLED := $(VENV)/.installed
# PIP_OPTIONS: options of pip, such as --extra-index-url of CPU builds of PyTorch
PIP_INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt $(PIP_OPTIONS) --editable

.PHONY: demo test lint docs install clean dist test-wheels image test-container test-kills test-slurm

install: $(INSTALLED)

$(PROGRAM): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) .
	touch $@

$(INSTALLED): $(PROGRAM)
	$(PIP_INSTALL) '.[test,docs]'
	touch $@

demo: $(PROGRAM)
	$(BIN)/synthsr demo make $(DEMO)
	$(BIN)/bids_synthsr $(DEMO)/bids $(DEMO)/out participant --work-dir $(DEMO)/work
	$(BIN)/synthsr demo compare $(DEMO) $(DEMO)/out

lint: $(INSTALLED) docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy bids_synthsr workflows benchmarks docker lab docs

# -W: a warning, such as a dead link, ends it
docs: $(INSTALLED)
	$(BIN)/python -m sphinx -W --keep-going --quiet docs build/docs

test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope

dist: $(INSTALLED)
	$(BIN)/python -m build --outdir dist .

# WHEEL_OPTIONS: options of pip, such as --extra-index-url of CPU builds of PyTorch
test-wheels: $(INSTALLED)
	$(BIN)/python -m pytest system_tests/test_wheels.py

# BUILD_OPTIONS: --build-arg BASE_IMAGE=..., TORCH_INDEX=..., mounts of local packages
image:
	$(ENGINE) build --build-arg VERSION=$$(sed -n "s/__version__ = '\(.*\)'/\1/p" bids_synthsr/__init__.py) \
		--build-arg REVISION=$$(git rev-parse HEAD) $(BUILD_OPTIONS) --tag $(IMAGE) .

test-container: $(INSTALLED)
	ENGINE=$(ENGINE) IMAGE=$(IMAGE) $(BIN)/python -m pytest system_tests/test_container.py

test-kills: $(INSTALLED)
	$(BIN)/python -m pytest system_tests/test_kills.py

test-slurm: $(INSTALLED)
	$(BIN)/python -m pytest system_tests/test_slurm.py

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
