# What is done to this repository, one word each. The environment in .venv is made when it is first needed.

# the newest Python 3.11+ on the PATH that runs, whatever `python3` is
FIND_PYTHON = for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
  "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; \
  done
BIN = .venv/bin
DEMO = examples/wordcount
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REGISTRY = ghcr.io/gristmill
OPERATOR = $(REGISTRY)/operator:$(VERSION)
WORKER = $(REGISTRY)/worker:$(VERSION)
VALKEY = $(shell sed -n 's/^  image: \(valkey.*\)/\1/p' charts/gristmill/values.yaml)

.DEFAULT_GOAL := help
.PHONY: help demo test lint manifests verify bench bench-cluster chaos images deploy e2e e2e-faults

help:  ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*##  *\(.*\)/make \1	\2/p' $(MAKEFILE_LIST) | sed 's/[$$][$$]/$$/' | expand -t 18

demo: .venv/made  ## count the words of Python's standard library, with live progress
	@$(BIN)/python $(DEMO)/prepare.py
	@$(BIN)/gristmill run $(DEMO)/job.yaml --state .gristmill/demo --fresh
	@echo "the most frequent words:"
	@$(BIN)/gristmill results --state .gristmill/demo | $(BIN)/python $(DEMO)/top.py

test: .venv/made  ## unit, protocol and local tests, and a sample of the faults
	$(BIN)/pytest -n auto -m "not chaos and not e2e" --ignore tests/e2e

lint: .venv/made  ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

manifests: .venv/made  ## generate crds/ from the models
	$(BIN)/python -m gristmill.api.crd ChunkJob > crds/gristmill.dev_chunkjobs.yaml
	$(BIN)/python -m gristmill.api.crd Cache > crds/gristmill.dev_caches.yaml
	$(BIN)/python -m gristmill.api.crd FileVolume > crds/gristmill.dev_filevolumes.yaml
	cp crds/*.yaml charts/gristmill/files/crds/

verify: .venv/made  ## see that what is generated is checked in
	$(BIN)/python -m gristmill.api.crd ChunkJob | diff -u crds/gristmill.dev_chunkjobs.yaml -
	$(BIN)/python -m gristmill.api.crd Cache | diff -u crds/gristmill.dev_caches.yaml -
	$(BIN)/python -m gristmill.api.crd FileVolume | diff -u crds/gristmill.dev_filevolumes.yaml -
	diff -ru crds charts/gristmill/files/crds

bench: .venv-bench/made  ## measure against peers
	.venv-bench/bin/python -m benchmarks

bench-cluster: .venv-bench/made  ## measure the operator beside plain Jobs, on the cluster of $$KUBECONFIG
	.venv-bench/bin/python -m benchmarks.cluster

chaos: .venv/made  ## kill, stop, cut and fill, and see that nothing is lost (docs/faults.md)
	@seed="$${GRISTMILL_CHAOS_SEED:-$$(date +%s)}"; \
	  echo "the same again: GRISTMILL_CHAOS_SEED=$$seed make chaos"; \
	  GRISTMILL_CHAOS_SEED="$$seed" $(BIN)/pytest -n 4 tests/chaos tests/coordination/test_schedules.py

images:  ## build the images of the operator and of a worker
	docker build -q -t $(OPERATOR) -f operator/Dockerfile .
	docker build -q -t $(WORKER) -f worker-image/Dockerfile .

deploy: images  ## build, load into kind if that is the current context, and install or upgrade with helm
	@context="$$(kubectl config current-context)"; case "$$context" in kind-*) \
	  folder="$$(mktemp -d)"; trap 'rm -r "$$folder"' EXIT; \
	  docker save -o "$$folder/images.tar" $(OPERATOR) $(WORKER) $$(docker image inspect $(VALKEY) >/dev/null 2>&1 && echo $(VALKEY)) && \
	  kind load image-archive "$$folder/images.tar" --name "$${context#kind-}";; \
	esac
	helm upgrade --install gristmill charts/gristmill -n gristmill-system --create-namespace --take-ownership --wait \
	  --set image.repository=$(REGISTRY)/operator,worker.image.repository=$(REGISTRY)/worker \
	  --set podAnnotations.image=$$(docker image inspect -f '{{.Id}}' $(OPERATOR))

e2e: .venv/made .venv-s3/made  ## try everything on the cluster of $KUBECONFIG, where make deploy has been
	$(BIN)/pytest -n 3 -m "not alone and not e2e_faults" tests/e2e
	$(BIN)/pytest -n 3 --dist loadfile -m e2e tests/coordination
	$(BIN)/pytest -m "alone and not e2e_faults" tests/e2e

e2e-faults: .venv/made  ## the faults that take long or need three nodes, on the cluster of $KUBECONFIG
	$(BIN)/pytest -m e2e_faults tests/e2e

# (not all extras go together: see pyproject.toml)
.venv/made: EXTRA = dev
.venv-bench/made: EXTRA = bench
.venv-s3/made: EXTRA = local,cluster,s3
.venv/made .venv-bench/made .venv-s3/made: pyproject.toml
	@test -x $(@D)/bin/python || { \
	  python="$$($(FIND_PYTHON))"; test -n "$$python" || { echo "error: Python 3.11 or later is needed" >&2; exit 1; }; \
	  echo "making $(@D) with $$("$$python" --version)"; "$$python" -m venv $(@D); }
	@$(@D)/bin/pip install -q --disable-pip-version-check -e '.[$(EXTRA)]'
	@touch $@
