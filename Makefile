# `make test` and `make bench` are all it takes, also on a fresh machine: .ci/setup does what is missing.

RIG ?= rigs/virtual.toml
SEED ?= 1
REPORT ?= build/report
python := .venv/bin/python

.PHONY: help test bench setup clean

help:
	@echo "make test                     check style and types, run the unit tests"
	@echo "make bench                    judge a rig and write $(REPORT)/index.html"
	@echo "    RIG=rigs/virtual.toml     which rig"
	@echo "    SEED=1                    which draw of all random events"
	@echo "    SHORT=1                   fewer and shorter trials"
	@echo "make setup                    only install and build what the others need"
	@echo "make clean                    remove everything that was built or installed here"

setup:
	@.ci/setup bench

test:
	@.ci/setup test
	.venv/bin/bench pi image
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy
	$(python) -m pytest

bench:
	@.ci/setup $(if $(shell grep -ls '"emulated"' "$(RIG)"),emulated,bench)
	.venv/bin/bench run --rig "$(RIG)" --seed "$(SEED)" --report "$(REPORT)" $(if $(SHORT),--short)

clean:
	rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find bench ledger reports firmware -name __pycache__ -prune -exec rm -rf {} +
	find bench -name '*.so' -delete
