# Everything starts here: `make` alone lists the commands.
# The environment lives in .venv; where ./wheelhouse exists it is made from there, without network.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help env demo demo-photos test reliability installed fuzz evidence benchmark lint types format doctor wheelhouse clean distclean

help: ## list these commands
	@echo "Commands (the first one that needs it creates the environment .venv):"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile
	@echo "Another Python: make env PYTHON=python3.12"

env: $(READY) ## create the environment: PyTorch, Detectron2 and the rest, pinned (once, minutes)

# One sentence for a Python that is missing or too old, before any file of the project is read by it.
$(READY): requirements.txt tools/environment.py tools/install_detectron2.py
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Python 3.11 or newer is needed, and '$(PYTHON)' was not found: install one, or name it with 'make env PYTHON=python3.12'." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, and \"$(PYTHON)\" is Python %d.%d: name a newer one with \"make env PYTHON=python3.12\"." % sys.version_info[:2])'
	@$(PYTHON) tools/environment.py create

demo: $(READY) ## train, calibrate, evaluate and predict with a small detector, on drawn images
	@$(PY) -m dynamicdet_d2 demo $(DEMO_ARGS)

demo-photos: $(READY) ## the same on own photographs: make demo-photos DEMO_ARGS="--json FILE --images FOLDER"
	@$(PY) -m dynamicdet_d2 demo-photos $(DEMO_ARGS)

test: $(READY) ## run the tests (one file: make test TESTS=tests/test_doctor.py)
	@$(PY) -m pytest -n auto $(TESTS)

reliability: $(READY) ## kill runs at random and resume them (make reliability RELIABILITY_ARGS="--trials 20")
	@$(PY) -m tests.reliability.campaign $(RELIABILITY_ARGS)

installed: $(READY) ## build the wheel, install it elsewhere, and run the chain there (a minute or two)
	@$(PY) -m tests.reliability.installed $(INSTALLED_ARGS)

evidence: $(READY) ## figures on photographs: hours (make evidence EVIDENCE_ARGS="--data FOLDER"), or minutes with --fast
	@$(PY) -m evidence run $(EVIDENCE_ARGS)

fuzz: $(READY) ## malformed calibrations, data sets, configs and images, for FUZZ_MINUTES (60)
	@$(PY) -m tests.reliability.fuzzing $(or $(FUZZ_MINUTES),60)

benchmark: $(READY) ## speed beside stock Detectron2 (15 minutes; make benchmark BENCHMARK_ARGS="--rounds 3")
	@$(PY) -m benchmarks.speed $(BENCHMARK_ARGS)

lint: $(READY) ## check style and formatting
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(READY) ## check types
	@$(PY) -m mypy

format: $(READY) ## rewrite the files the way `make lint` wants them
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

# Not behind the environment: a check that first downloads gigabytes is no check.
doctor: ## print versions, devices, where Detectron2 came from, and what is missing
	@if [ -x $(PY) ]; then $(PY) -m dynamicdet_d2 doctor; else $(PYTHON) dynamicdet_d2/commands/doctor.py; fi

wheelhouse: $(READY) ## collect every wheel in ./wheelhouse, for a machine without network
	@$(PY) tools/environment.py wheelhouse

clean: ## remove caches and build leftovers (keeps .venv, wheelhouse and outputs)
	@rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis wheelhouse.part
	@find . -name __pycache__ -not -path './$(VENV)/*' -type d -prune -exec rm -rf {} +

distclean: clean ## also remove the environment .venv
	@rm -rf $(VENV)
