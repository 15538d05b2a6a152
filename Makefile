# The few commands of a newcomer. Each installs what it needs into .venv; nothing else is touched,
# but for Debian packages of local servers where this user may install them.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
HOIST := $(BIN)/hoist
# A worker for each core: the tests keep one busy. -n 0 among PYTEST_OPTIONS: all in one process.
PYTEST_WORKERS ?= -n logical --maxprocesses 4
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test check bench fuzz clean

help:
	@echo "make demo    make checkpoints, publish them to a directory and a bucket, time the switch between them; a page of it: hoist-demo-report.html"
	@echo "make test    the whole test suite, with the local servers that can be had (PYTEST_OPTIONS='-n 1 -k mount')"
	@echo "make check   ruff and mypy --strict"
	@echo "make bench   Hoist beside its peers and the raw limits, with records and tables under benchmarks/"
	@echo "make fuzz    coverage-guided fuzzing of every parser (TARGET=all SECONDS=60 each)"
	@echo "make clean   remove the virtual environment and what the tools left"

demo: $(VENV)/.demo
	@$(HOIST) demo

test: $(VENV)/.test
	@scripts/install-servers.sh
	$(BIN)/python -m pytest $(PYTEST_WORKERS) $(PYTEST_OPTIONS)

check: $(VENV)/.test
	$(BIN)/ruff check src tests examples
	$(BIN)/ruff format --check src tests examples
	$(BIN)/mypy
	@# Each example is a program of its own, and each has a handler.py.
	for example in examples/*/; do $(BIN)/mypy $$example || exit 1; done

bench: $(VENV)/.bench
	@scripts/install-servers.sh
	scripts/bench.sh $(HOIST)

fuzz: $(VENV)/.test
	@$(PIP_INSTALL) 'atheris>=3.0'
	PYTHON=$(BIN)/python scripts/fuzz.sh $(or $(TARGET),all) $(or $(SECONDS),60)

clean:
	rm -rf $(VENV) .fuzz .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@scripts/make-venv.sh $(PYTHON) $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing Hoist, torch and the demo's S3 server into $(VENV) (once; a few minutes)"
	@$(PIP_INSTALL) --editable '.[torch,bench,plot]'
	@touch $@

$(VENV)/.bench: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing Hoist, torch and the peers it is measured with into $(VENV) (once; a few minutes)"
	@$(PIP_INSTALL) --editable '.[torch,bench,peers]' || { \
	  echo "not every peer can be installed here: those that cannot are left out, and named in the tables"; \
	  $(PIP_INSTALL) --editable '.[torch,bench]'; }
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing Hoist and its test tools into $(VENV) (once; a few minutes)"
	@$(PIP_INSTALL) --editable '.[torch,bench,plot,test,check]'
	@touch $@
