# What is done to this repository, one word each. The environment in .venv is made when it is first needed.

# the newest Python 3.11+ on the PATH that runs, whatever `python3` is
FIND_PYTHON = for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
  "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; \
  done
BIN = .venv/bin
DEMO = examples/wordcount

.DEFAULT_GOAL := help
.PHONY: help demo test lint manifests verify bench chaos

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/make \1	\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: .venv/made  ## count the words of Python's standard library, with live progress
	@$(BIN)/python $(DEMO)/prepare.py
	@$(BIN)/gristmill run $(DEMO)/job.yaml --state .gristmill/demo --fresh
	@echo "the most frequent words:"
	@$(BIN)/gristmill results --state .gristmill/demo | $(BIN)/python $(DEMO)/top.py

test: .venv/made  ## unit, protocol and local tests, and a sample of the faults
	$(BIN)/pytest -n auto -m "not chaos"

lint: .venv/made  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

manifests: .venv/made  ## generate crds/ from the models
	$(BIN)/python -m gristmill.api.crd > crds/gristmill.dev_chunkjobs.yaml

verify: .venv/made  ## see that what is generated is checked in
	$(BIN)/python -m gristmill.api.crd | diff -u crds/gristmill.dev_chunkjobs.yaml -

bench: .venv-bench/made  ## measure against peers
	.venv-bench/bin/python -m benchmarks

chaos: .venv/made  ## kill, stop, cut and fill, and see that nothing is lost (docs/faults.md)
	@seed="$${GRISTMILL_CHAOS_SEED:-$$(date +%s)}"; \
	  echo "the same again: GRISTMILL_CHAOS_SEED=$$seed make chaos"; \
	  GRISTMILL_CHAOS_SEED="$$seed" $(BIN)/pytest -n 4 tests/chaos

.venv/made .venv-bench/made: pyproject.toml
	@test -x $(@D)/bin/python || { \
	  python="$$($(FIND_PYTHON))"; test -n "$$python" || { echo "error: Python 3.11 or later is needed" >&2; exit 1; }; \
	  echo "making $(@D) with $$("$$python" --version)"; "$$python" -m venv $(@D); }
	@$(@D)/bin/pip install -q --disable-pip-version-check -e '.[$(if $(findstring bench,$@),bench,dev)]'
	@touch $@
