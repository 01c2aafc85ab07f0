# What people do daily. `make help` lists it. Needs Python 3.11 or 3.12 and nothing else; everything is installed into .venv.

SHELL := /bin/bash
# The first interpreter that runs and has the right version; `make PYTHON=/path/to/python …` chooses another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' >/dev/null 2>&1 && { echo $$p; break; }; done)
VENV ?= .venv
N ?= 100000
RESTARTS ?= 100
# Tests run in so many processes; 0: in one, where a debugger works.
WORKERS ?= 2
# With podman: make image ENGINE=podman IMAGE_OPTIONS='--format docker' (its own format has no health check).
ENGINE ?= docker
BIN := $(VENV)/bin
PYTEST = $(BIN)/python -m pytest -n $(WORKERS)
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' neptune_flow/__init__.py)

.DEFAULT_GOAL := help
.PHONY: help demo servers lint types fast-test test format image deploy-test simulate chaos fuzz bench bench-fairness bench-live clean

help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-16s%s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

##@ Try it

demo: $(VENV)/.run ## The whole job on this machine, half a minute: Kafka, catalog and storage inside Python
	@$(BIN)/python -m neptune_flow.demo $(DEMO_OPTIONS)

servers: $(VENV)/.dev ## Kafka, object storage and REST catalog in the foreground; prints the settings to use them
	@$(BIN)/python -m tests.services.servers prepare
	@$(BIN)/python -m tests.services.servers up

##@ Change it

lint: $(VENV)/.dev ## Style and common mistakes
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev ## Types, strictly
	@$(BIN)/mypy

fast-test: $(VENV)/.dev ## The tests that need no server
	@$(PYTEST) -m "not services" $(TEST_OPTIONS)

test: $(VENV)/.dev ## All tests, with real Kafka, object storage and Iceberg REST catalog as plain processes
	@$(BIN)/python -m tests.services.servers prepare
	@$(BIN)/python -m tests.web prepare
	@$(BIN)/python -m tests.image prepare
	@$(BIN)/python -m tests.k8s prepare
	@$(PYTEST) $(TEST_OPTIONS)

format: $(VENV)/.dev ## Rewrite the code in the project's format
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

##@ Ship it

image: ## The container image, as neptune:VERSION and neptune
	$(ENGINE) build $(IMAGE_OPTIONS) --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) -t neptune:$(VERSION) -t neptune .

deploy-test: $(VENV)/.dev ## Image, compose file and Kubernetes manifests alone, as make test does
	@$(BIN)/python -m tests.services.servers prepare
	@$(BIN)/python -m tests.image prepare
	@$(BIN)/python -m tests.k8s prepare
	@$(PYTEST) tests/image tests/compose tests/k8s tests/services/test_image.py $(TEST_OPTIONS)

##@ Prove it for longer, and measure it

simulate: $(VENV)/.dev ## More histories of the simulated world: make simulate N=200000
	@$(BIN)/python -m tests.simulation $(N) $(SIMULATE_OPTIONS)

chaos: $(VENV)/.dev ## Real faults on real servers, counted: make chaos RESTARTS=1000
	@$(BIN)/python -m tests.services.servers prepare
	@$(BIN)/python -m tests.chaos --restarts $(RESTARTS) $(CHAOS_OPTIONS)

fuzz: $(VENV)/.dev ## Fuzzed messages through a real Neptune, each compared: make fuzz N=1000000
	@$(BIN)/python -m tests.services.servers prepare
	@$(BIN)/python -m tests.fuzz $(N) $(FUZZ_OPTIONS)

bench: $(VENV)/.dev ## Throughput on real Kafka and S3 (docs/performance.md)
	@$(BIN)/python -m tests.services.servers prepare
	@$(BIN)/python -m bench.compare $(BENCH_OPTIONS)

bench-fairness: $(VENV)/.dev ## 16 writers on one table: does each get its turn (docs/performance.md)
	@$(BIN)/python -m tests.services.servers prepare
	@$(BIN)/python -m bench.fairness $(BENCH_OPTIONS)

bench-live: $(VENV)/.dev ## Freshness, idleness, restart, catch-up, soak: BENCH_OPTIONS names one (docs/performance.md)
	@$(BIN)/python -m tests.services.servers prepare
	@$(BIN)/python -m bench.live $(BENCH_OPTIONS)

##@ Other

clean: ## Remove what make made
	rm -rf $(VENV) demo-data .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Neptune needs Python 3.11 or 3.12; none was found. Set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt | $(VENV)/bin/python
	@echo "installing requirements.txt"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	@echo "installing requirements-dev.txt"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/.run
