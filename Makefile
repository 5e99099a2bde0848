# The everyday commands. `make` alone lists them; all a fresh machine needs is Python 3.11 to 3.13 and make.

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
RUN := $(VENV)/bin/python
COMPAT := .venv-compat
SOURCES := nlp_rnn pipelines tests benchmarks
ONLY ?=
REQUESTS ?= 20000

# TensorFlow's C++ start-up notes would bury what the commands have to say.
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help quickstart test test-all lint format bench soak compat clean
.DELETE_ON_ERROR:

help:
	@echo "make quickstart      train, export and ask a tiny model of each family"
	@echo "make test            run the tests"
	@echo "make test-all        run the slow ones too: what others hold of one family or format, of the rest"
	@echo "make lint            check style and types"
	@echo "make format          rewrite the sources in the checked style"
	@echo "make bench [ONLY=x]  run the benchmarks, or the one named x"
	@echo "make soak            ask a model server 20,000 times, or REQUESTS=n, and compare every answer"
	@echo "make compat          run exports in the TensorFlow that the newest TF Serving is built from"
	@echo "make clean           remove the environment and the caches"

# The stamp, not the folder, says that the environment is up to date: a folder
# made by hand or left by a broken install has none, and is completed.
$(STAMP): pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (some minutes the first time)" >&2
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@$(RUN) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.12, after make clean" >&2; exit 1; }
	@$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev]'
	@touch $@

.PHONY: $(VENV)
$(VENV): $(STAMP)

quickstart: $(STAMP)
	$(RUN) pipelines/quickstart.py

# In the order of their names, files of a few long tests do not all come last.
PYTEST := $(RUN) -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test: $(STAMP)
	$(PYTEST)

test-all: $(STAMP)
	$(PYTEST) -m "slow or not slow"

lint: $(STAMP)
	$(RUN) -m ruff check $(wildcard $(SOURCES))
	$(RUN) -m ruff format --check $(wildcard $(SOURCES))
	$(RUN) -m mypy

format: $(STAMP)
	$(RUN) -m ruff check --fix-only --exit-zero $(wildcard $(SOURCES))
	$(RUN) -m ruff format $(wildcard $(SOURCES))

bench: $(STAMP)
	$(RUN) -m benchmarks $(ONLY)

soak: $(STAMP)
	test -d saved_models/quickstart/sentiment || $(RUN) pipelines/quickstart.py
	$(RUN) -m benchmarks.soak --requests $(REQUESTS)

# tensorflow-text asks for a package called tensorflow; the one for CPUs alone is called otherwise.
$(COMPAT)/.installed:
	$(PYTHON) -m venv $(COMPAT)
	$(COMPAT)/bin/python -m pip install --quiet --disable-pip-version-check tensorflow-cpu==2.20.0
	$(COMPAT)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps tensorflow-text==2.20.0
	@touch $@

compat: $(STAMP) $(COMPAT)/.installed
	$(RUN) tests/compat.py $(abspath $(COMPAT))/bin/python

clean:
	rm -rf $(VENV) $(COMPAT) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(wildcard $(SOURCES)) -name __pycache__ -type d -prune -exec rm -rf {} +
