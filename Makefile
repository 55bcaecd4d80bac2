# Everything a newcomer needs: `make demo` shows it, `make test` proves it.
# PYTHON: any Python 3.10 or newer. The environment is made once, in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

# Real photographs for the tests that want them; without the folder those tests are skipped.
ifneq ($(wildcard ../shared/data),)
export VTONLAB_REAL_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help install test test-slow lint demo clean

help:
	@echo "make install    create .venv with everything"
	@echo "make demo       train, test and report on synthetic people (about 7 minutes on 2 cores)"
	@echo "make test       the test suite without the slow marks"
	@echo "make test-slow  the slow marks alone"
	@echo "make lint       ruff check and format"

install: $(READY)

# The lock holds the exact set the tests last passed with; some of it needs Python 3.11.
$(READY): setup.py $(wildcard requirements/*.txt)
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 10)' 2>/dev/null || \
		{ echo "error: vtonlab needs Python 3.10 or newer: make PYTHON=/path/to/python3 ..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		set -x; $(BIN)/python -m pip install --quiet -c requirements/lock.txt -e '.[tests]'; \
	else \
		set -x; $(BIN)/python -m pip install --quiet -e '.[tests]'; \
	fi
	touch $(READY)

test: $(READY)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(ARGS)

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

demo: $(READY)
	$(BIN)/python tools/demo.py $(ARGS)

clean:
	rm -rf work_dirs build dist *.egg-info .pytest_cache .ruff_cache
