# Everything runs from .venv, which `make install` makes from requirements.lock.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python

.PHONY: help install check lint types imports test test-unit demo bench bench-peers bench-page bench-calls lock clean

help:  ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/.installed: requirements.lock pyproject.toml tools/install.sh
	@bash tools/install.sh

install: .venv/.installed  ## Make .venv with the command alonzo

lint: install
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

types: install
	.venv/bin/mypy

imports: install
	.venv/bin/lint-imports

check: lint types imports test  ## What CI runs: format, lint, types, layering, tests

test: install  ## Run every test
	$(PY) -m pytest

test-unit: install  ## Run the tests that are not slow
	$(PY) -m pytest -m "not slow"

demo: install  ## A picture put into a bucket becomes a thumbnail
	.venv/bin/alonzo demo

bench: install  ## Measure every promised figure
	$(PY) -m benchmarks

bench-peers: install  ## Measure beside other programs; writes docs/performance.md (ARGS=--quick to try)
	$(PY) -m benchmarks.peers $(ARGS)

bench-page: install  ## Write docs/performance.md anew from the kept figures
	$(PY) -m benchmarks.peers --page

bench-calls: install  ## Store how many calls a warm Invoke makes; a test guards it
	$(PY) -m benchmarks.calls --write

lock: install  ## Resolve the dependencies anew into requirements.lock
	@$(PY) -m uv --version >/dev/null 2>&1 || $(PY) -m pip install --quiet uv
	$(PY) -m uv pip compile pyproject.toml --group dev --universal --generate-hashes --no-header \
		--no-annotate --no-emit-index-url -o requirements.lock

clean:
	rm -rf .venv .cache
