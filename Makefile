# Every target sets up what it needs by itself. The two to know: make demo, make test.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PYTEST := $(BIN)/python -m pytest
ON_TWO_CORES := -n 2 --dist loadfile
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo demo-canary verifiers test test-unit test-slow test-full check format up down bench clean lock help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml requirements/bootstrap.txt requirements/dev.txt
	@echo "Setting up .venv ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/bootstrap.txt
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --exact --require-hashes -r requirements/bootstrap.txt -r requirements/dev.txt
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## train, register, promote and verify a model on real data, telling the story
	@$(BIN)/python -m examples.rainfall.demo

test: check  ## the checks and every test that is not slow
	$(PYTEST) $(ON_TWO_CORES) -m "not slow and not full and not benchmark" tests

demo-canary: $(READY)  ## a rollout on real requests: a healthy challenger, and one with a regression
	@$(BIN)/python -m examples.rainfall.demo_canary

verifiers:  ## install the tools of other people that tests/interop asks for a second opinion
	scripts/install-verifiers.sh

test-unit: $(READY)  ## only the pure, fast tests
	$(PYTEST) tests/unit

test-slow: $(READY)  ## what is longer than a sample; CI runs it after make test
	$(PYTEST) $(ON_TWO_CORES) -m "slow and not full and not benchmark" tests
	scripts/on-debian-postgres.sh $(PYTEST) -m "not slow and not full and not benchmark" tests/migration tests/faults/test_lost_database.py \
	  tests/integration/test_promoting.py tests/integration/test_tampering.py tests/integration/test_rewritten_history.py tests/integration/test_cli_story.py
	scripts/with-prometheus.sh $(PYTEST) -m slow tests/integration/test_signals_prometheus.py

test-full: $(READY)  ## what is too long for CI; by hand, before a release
	$(PYTEST) -m "full" tests
	scripts/fuzz.sh 30

check: $(READY)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## rewrite to the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

up: $(READY)  ## start the embedded Postgres and the local Prefect server, or reuse them
	@$(BIN)/aiinfra up

down:  ## stop both
	@test ! -x $(BIN)/aiinfra || $(BIN)/aiinfra down

bench: $(READY)  ## the measurements, printed as ratios
	$(PYTEST) -m benchmark tests/benchmarks -s

clean: down  ## stop the servers and remove what this folder built (not the state in AI_INFRA_HOME)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build

lock: $(READY)  ## resolve the dependencies anew
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --all-extras --group dev pyproject.toml -o requirements/dev.txt --upgrade
	echo "uv==$$($(BIN)/uv --version | cut -d' ' -f2)" | $(BIN)/uv pip compile -q --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header - -o requirements/bootstrap.txt
