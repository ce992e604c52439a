# `make` without a target lists the targets. It needs only make and Python; everything else is
# installed into .venv, once.

VENV    := .venv
CLIENTS := .clients
MUTANTS := .mutants
DEPLOY  := .deploy
RAY     := .ray
RUN     := $(VENV)/bin/python
EXAMPLE := model/my_best_model.keras
SHAPES  := model/shapes/shapes.keras
MODEL   := $(EXAMPLE)
# The first of these with a supported version is used. TensorFlow 2.21 has no build for Python 3.14.
PYTHON  := python3 python3.13 python3.12 python3.11
FITS    := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
# Twice quiet: print errors only.
INSTALL := -m pip install -qq --no-input --disable-pip-version-check --require-hashes
PIP     := $(RUN) $(INSTALL)

# Else each of some hundred processes in the tests compiles all modules anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve serve-images setup engines clients test deploy-test browser-test check coverage mutation torture torture-full fuzz spec load lock image image-test ray clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  ARGS="..." adds arguments to the command: make serve ARGS="--http.port 9000"'

serve: $(VENV)/server.stamp $(filter $(EXAMPLE),$(MODEL))  ## serve the example model (or MODEL=file) on 127.0.0.1:8888
	@exec $(RUN) -m server "$(MODEL)" $(ARGS)

serve-images: $(VENV)/server.stamp $(SHAPES)  ## serve a classifier of pictures; model/shapes/pictures has some to try
	@exec $(RUN) -m server --config model/shapes.yaml $(ARGS)

setup: $(VENV)/dev.stamp $(EXAMPLE)  ## install the locked dependencies into .venv, train the example model

engines: $(VENV)/engines.stamp  ## install further engines (OpenVINO) for `model.engine` into .venv

clients: $(CLIENTS)/clients.stamp  ## install third-party clients for the tests into .clients

ray: $(RAY)/ray.stamp  ## install Ray Serve and what serves into .ray

# Four processes: many tests wait for a server to start, and use no CPU meanwhile. The tests of a
# file stay in one process, so that the servers they share are started once.
test: setup clients  ## run all tests except the long ones and those in a browser
	@$(RUN) -m pytest --ignore tests/browser --numprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup  ## check formatting, lint, types, and that openapi.json is up to date
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(VENV)/bin/hadolint Dockerfile
	$(RUN) scripts/export_openapi.py --check
	$(RUN) scripts/export_values_schema.py --check

coverage: setup clients  ## measure which lines and branches `make test` covers, including the servers it starts
	@rm -rf .coverage
	@$(RUN) -m coverage run -m pytest --numprocesses 2 --dist worksteal $(ARGS)
	@$(RUN) -m coverage combine --quiet
	@$(RUN) -m coverage report

mutation: setup $(MUTANTS)/mutation.stamp  ## mutate the batching code and list the mutations that no test detects (an hour)
	@rm -rf $(MUTANTS)/tree && mkdir $(MUTANTS)/tree && cp -R server model tests pyproject.toml $(MUTANTS)/tree
	@cd $(MUTANTS)/tree && rm -f ../found.sqlite && \
		../venv/bin/cosmic-ray init ../../scripts/mutation.toml ../found.sqlite && \
		../venv/bin/cr-filter-operators ../found.sqlite ../../scripts/mutation.toml && \
		../venv/bin/cosmic-ray exec ../../scripts/mutation.toml ../found.sqlite && \
		../venv/bin/cr-report --show-diff --surviving-only ../found.sqlite

# CRD_SCHEMAS names the folder with the definitions of custom resources: docs/kubernetes.md.
deploy-test: setup $(DEPLOY)/deploy.stamp  ## render and check the files for Kubernetes in deploy/
	@$(RUN) -m pytest tests/deploy $(ARGS)

browser-test: setup  ## test the live page in Chromium, after installing it if missing (Debian, Ubuntu)
	@command -v chromium >/dev/null || { sudo apt-get update -qq && sudo apt-get install -y -qq chromium; } \
		|| { echo 'chromium is not installed: apt-get install chromium' >&2; exit 2; }
	@$(RUN) -m pytest tests/browser $(ARGS)

# Process tests run one at a time, because they measure under load. Exit code 5: ARGS selected none.
torture: setup  ## run the long tests
	@$(RUN) -m pytest -m torture tests/process $(ARGS) || [ $$? -eq 5 ]
	@$(RUN) -m pytest -m torture --ignore tests/process --numprocesses 2 --dist worksteal $(ARGS) \
		|| [ $$? -eq 5 ]

torture-full: setup fuzz  ## run the very long tests: fuzzing, shutdowns of the real model
	@$(RUN) -m pytest -m torture_full $(ARGS)

RUNS := 100000
fuzz: $(VENV)/fuzz.stamp  ## fuzz every decoder with RUNS inputs each (Python 3.11 to 3.13)
	@for target in native tfserving v2 v2_binary npy head form picture; do \
		$(RUN) scripts/fuzz.py $$target --runs $(RUNS) || exit 1; \
	done

spec: setup  ## regenerate openapi/openapi.json and deploy/helm/values.schema.json
	@$(RUN) scripts/export_openapi.py
	@$(RUN) scripts/export_values_schema.py

load: $(VENV)/dev.stamp  ## load-test a running server
	@$(RUN) scripts/load_test.py $(ARGS)

# dev.txt comes first and constrains the files that are installed into the same venv, and the image;
# clients.txt, deploy.txt and mutation.txt have their own venvs.
lock: $(VENV)/dev.stamp  ## resolve and lock the dependencies; ARGS=--upgrade for newer versions
	@for name in dev server model engines fuzz image slim ray clients deploy mutation; do \
		(cd requirements && ../$(RUN) -m uv pip compile --quiet --universal --python-version 3.11 \
			--generate-hashes --no-emit-index-url --no-annotate \
			--custom-compile-command "make lock" $(ARGS) \
			$$(case $$name in dev|clients|deploy|mutation) ;; *) echo --constraint dev.txt;; esac) \
			$$(case $$name in image) echo --override image-overrides.txt;; esac) --output-file $$name.txt $$name.in) \
		|| exit 1; \
	done

image:  ## build the container image with docker, podman or buildah; ARGS="--target slim" for the small one
	@python3 scripts/image.py $(ARGS)

image-test: setup  ## build both container images and run them
	@python3 scripts/image.py $(ARGS)
	@python3 scripts/image.py --target slim $(ARGS)
	@$(RUN) -m pytest -m torture tests/process/test_image.py

clean:  ## remove .venv, .clients, .deploy, .mutants, .ray, the example models and caches
	rm -rf $(VENV) $(CLIENTS) $(DEPLOY) $(MUTANTS) $(RAY) $(EXAMPLE) $(dir $(SHAPES)) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/pip:
	@for python in $(PYTHON); do \
		if "$$python" -c '$(FITS)' 2>/dev/null; then \
			echo "creating $(VENV) with $$("$$python" --version) ..." && exec "$$python" -m venv $(VENV); \
		fi; \
	done; \
	echo 'Python 3.11, 3.12 or 3.13 with the venv module is required. Not found among:' >&2; \
	for python in $(PYTHON); do \
		echo "  $$python: $$("$$python" --version 2>&1 | tail -n 1)" >&2; \
	done; \
	echo 'Install one (Debian and Ubuntu also need the package python3-venv), or name its path:' >&2; \
	echo 'make PYTHON=/path/to/python3.11' >&2; \
	exit 1

$(VENV)/server.stamp: requirements/server.txt | $(VENV)/bin/pip
	@echo 'installing the locked dependencies with TensorFlow; this takes a few minutes ...'
	@$(PIP) -r $<
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/server.stamp
	@echo 'installing the development tools ...'
	@$(PIP) -r $<
	@touch $@

$(VENV)/engines.stamp: requirements/engines.txt $(VENV)/server.stamp
	@$(PIP) -r $<
	@touch $@

$(VENV)/fuzz.stamp: requirements/fuzz.txt $(VENV)/dev.stamp
	@$(PIP) -r $<
	@touch $@

# They have their own venv, because they pin versions that conflict with TensorFlow's.
$(CLIENTS)/clients.stamp: requirements/clients.txt | $(VENV)/bin/pip
	@echo 'installing third-party clients for the tests ...'
	@$(RUN) -m venv --clear $(CLIENTS)
	@$(CLIENTS)/bin/python $(INSTALL) -r $<
	@touch $@

$(DEPLOY)/deploy.stamp: requirements/deploy.txt | $(VENV)/bin/pip
	@echo 'installing what checks the files in deploy/ ...'
	@$(RUN) -m venv --clear $(DEPLOY)
	@$(DEPLOY)/bin/python $(INSTALL) -r $<
	@touch $@

$(RAY)/ray.stamp: requirements/ray.txt | $(VENV)/bin/pip
	@echo 'installing Ray Serve and TensorFlow; this takes a few minutes ...'
	@$(RUN) -m venv --clear $(RAY)
	@$(RAY)/bin/python $(INSTALL) -r $<
	@touch $@

$(MUTANTS)/mutation.stamp: requirements/mutation.txt | $(VENV)/bin/pip
	@$(RUN) -m venv --clear $(MUTANTS)/venv
	@$(MUTANTS)/venv/bin/python $(INSTALL) -r $<
	@touch $@

$(EXAMPLE): | $(VENV)/server.stamp
	@echo 'training the example model ...'
	@$(RUN) -m model.train --out $@

$(SHAPES): model/train_shapes.py | $(VENV)/server.stamp
	@echo 'drawing pictures, and training a classifier of them ...'
	@$(RUN) -m model.train_shapes --out $(@D)
