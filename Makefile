# Everything runs from .venv, which is built on demand with python3 -m venv and pip, and again when pyproject.toml changes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test explore bench check kafka soak spark clean browser

help:  ## Say what can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.demo  ## Load a year of real household purchases into a ledger in ./demo-data, and prove it (about 3 minutes)
	@$(BIN)/python -m service.demo

test: $(VENV)/.test browser  ## Run all tests
	@$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder

explore: $(VENV)/.test  ## Try the properties of the ledger on new random histories, again and again until one fails or Ctrl-C
	@while $(BIN)/python -m pytest -m hypothesis --hypothesis-profile=new --numprocesses=2 --dist=loadfile; do :; done

bench: $(VENV)/.bench  ## Measure the figures of the README; JSON results in ./bench-results
	@$(BIN)/python -m benchmarks

check: $(VENV)/.test  ## Lint, formatting and types
	@echo "ruff …"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "mypy --strict ledger …"
	@$(BIN)/mypy

kafka: $(VENV)/.test  ## Run a real Apache Kafka on localhost:9092 (or the next free port) until Ctrl-C; needs Java 17 and Maven
	@$(BIN)/python -m tests.broker

soak: $(VENV)/.test  ## Let 500 faults happen to consumers, relay, Kafka and PostgreSQL, and check that nothing is lost or twice (about half an hour)
	@$(BIN)/python -m tests.soak --faults 500

spark: $(VENV)/.spark  ## Recompute histories on Apache Spark and on DuckDB, and compare; needs Java 17 (a few minutes)
	@$(BIN)/python -m pytest tests/recompute/on_spark.py

clean:  ## Remove what was built, and the demo's data (its server is stopped first)
	@if [ -x $(BIN)/python ] && [ -d demo-data ]; then $(BIN)/python -m service.demo --clean; fi
	@rm -rf $(VENV) demo-data bench-results build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "clean"

# The browser that the tests drive: of the distribution, with the libraries that it needs. Where it cannot be had the
# other tests run all the same, and those in a browser fail.
CHROMIUM := $(or $(LOYALTY_TEST_CHROMIUM),/usr/bin/chromium)
CHROMIUM_PACKAGES := chromium fonts-wqy-microhei
AS_ROOT  := $(if $(filter-out 0,$(shell id -u)),sudo -n)
APT      := $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300

browser:
	@if [ ! -x "$(CHROMIUM)" ] && [ -z "$(LOYALTY_TEST_CHROMIUM)" ]; then \
	    echo "installing Chromium and a Chinese font, to test the web console with (once) …"; \
	    said=$$({ $(APT) update && $(APT) install --yes --no-install-recommends $(CHROMIUM_PACKAGES); } 2>&1) || echo "$$said"; \
	fi
	@[ -x "$(CHROMIUM)" ] || echo "There is no browser $(CHROMIUM), so tests of the web console will fail: install one (Debian, as root: apt-get install $(CHROMIUM_PACKAGES)), or name another Chromium with LOYALTY_TEST_CHROMIUM=/path/to/it"

# One virtual environment, and in it a stamp for each set of extras.
$(VENV)/.base: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH: install Python 3.11 or newer, or: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is needed, for example: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module: install it (Debian and Ubuntu: apt-get install python3-venv)"; exit 1; }
	@echo "building $(VENV) with $$($(PYTHON) --version) …"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo $(VENV)/.test $(VENV)/.spark $(VENV)/.bench: $(VENV)/.base
	@echo "installing what 'make $(patsubst .%,%,$(notdir $@))' needs into $(VENV) (once) …"
	@$(PIP) install --editable '.[$(EXTRAS)]' || { echo "pip could not install the packages above: see its message, and whether a package index is reachable"; exit 1; }
	@touch $@

$(VENV)/.demo: EXTRAS := demo
$(VENV)/.test: EXTRAS := test,demo,audit
$(VENV)/.spark: EXTRAS := test,demo,audit,spark
$(VENV)/.bench: EXTRAS := bench,audit,demo
