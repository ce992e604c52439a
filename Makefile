# `make` alone lists what there is. Only make and Python are needed to begin with; what else it
# takes goes into .venv, and what is there already is not done again.

VENV    := .venv
CLIENTS := .clients
MUTANTS := .mutants
RUN     := $(VENV)/bin/python
EXAMPLE := model/my_best_model.keras
MODEL   := $(EXAMPLE)
# The first of these that fits is used. TensorFlow 2.21 has no build for Python 3.14.
PYTHON  := python3 python3.13 python3.12 python3.11
FITS    := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
# Twice quiet: errors alone.
INSTALL := -m pip install -qq --no-input --disable-pip-version-check --require-hashes
PIP     := $(RUN) $(INSTALL)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve setup clients test browser-test check coverage mutation torture torture-full fuzz spec load lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  ARGS="..." is handed on, as in: make serve ARGS="--http.port 9000"'

serve: $(VENV)/server.stamp $(filter $(EXAMPLE),$(MODEL))  ## serve the example model, or MODEL=file, on 127.0.0.1:8888
	@exec $(RUN) -m server "$(MODEL)" $(ARGS)

setup: $(VENV)/dev.stamp $(EXAMPLE)  ## only prepare: .venv with the locked dependencies, the example model

clients: $(CLIENTS)/clients.stamp  ## only prepare: .clients with the clients of others that tests ask with

# Three at once: many wait for a process to start, and use no core meanwhile.
test: setup clients  ## all tests but the long ones
	@$(RUN) -m pytest --numprocesses 3 --dist worksteal $(ARGS)

check: setup  ## formatting, lint, types, and whether openapi.json is up to date
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(VENV)/bin/hadolint Dockerfile
	$(RUN) scripts/export_openapi.py --check

coverage: setup clients  ## lines and branches that the tests of `make test` reach, in the servers that they start as well
	@rm -rf .coverage
	@$(RUN) -m coverage run -m pytest --numprocesses 2 --dist worksteal $(ARGS)
	@$(RUN) -m coverage combine --quiet
	@$(RUN) -m coverage report

mutation: setup $(MUTANTS)/mutation.stamp  ## break the core of batching in every small way, and list what no test notices (an hour)
	@rm -rf $(MUTANTS)/tree && mkdir $(MUTANTS)/tree && cp -R server model tests pyproject.toml $(MUTANTS)/tree
	@cd $(MUTANTS)/tree && rm -f ../found.sqlite && \
		../venv/bin/cosmic-ray init ../../scripts/mutation.toml ../found.sqlite && \
		../venv/bin/cr-filter-operators ../found.sqlite ../../scripts/mutation.toml && \
		../venv/bin/cosmic-ray exec ../../scripts/mutation.toml ../found.sqlite && \
		../venv/bin/cr-report --show-diff --surviving-only ../found.sqlite

browser-test: setup  ## the live page in Chromium, which is installed where it is missing (Debian, Ubuntu)
	@command -v chromium >/dev/null || { sudo apt-get update -qq && sudo apt-get install -y -qq chromium; } \
		|| { echo 'chromium is not installed: apt-get install chromium' >&2; exit 2; }
	@$(RUN) -m pytest tests/browser $(ARGS)

# Processes are tested one at a time, as they are watched under load. 5: ARGS chose none of them.
torture: setup  ## the long tests
	@$(RUN) -m pytest -m torture tests/process $(ARGS) || [ $$? -eq 5 ]
	@$(RUN) -m pytest -m torture --ignore tests/process --numprocesses 2 --dist worksteal $(ARGS) \
		|| [ $$? -eq 5 ]

torture-full: setup fuzz  ## the very long ones: fuzzing, drains of the real model
	@$(RUN) -m pytest -m torture_full $(ARGS)

RUNS := 100000
fuzz: $(VENV)/fuzz.stamp  ## fuzz every decoder with RUNS inputs each (Python 3.11 to 3.13)
	@for target in native tfserving v2 v2_binary npy head; do \
		$(RUN) scripts/fuzz.py $$target --runs $(RUNS) || exit 1; \
	done

spec: setup  ## write openapi/openapi.json anew
	@$(RUN) scripts/export_openapi.py

load: $(VENV)/dev.stamp  ## put load on a running server and report
	@$(RUN) scripts/load_test.py $(ARGS)

# dev.txt is made first and constrains what is installed together with it; clients.txt and
# mutation.txt have venvs of their own.
lock: $(VENV)/dev.stamp  ## choose the locked versions anew; ARGS=--upgrade takes newer ones
	@for name in dev server model fuzz clients mutation; do \
		(cd requirements && ../$(RUN) -m uv pip compile --quiet --universal --python-version 3.11 \
			--generate-hashes --no-emit-index-url --no-annotate \
			--custom-compile-command "make lock" $(ARGS) \
			$$(case $$name in dev|clients|mutation) ;; *) echo --constraint dev.txt;; esac) --output-file $$name.txt $$name.in) \
		|| exit 1; \
	done

clean:  ## remove what was made: .venv, .clients, .mutants, the example model, caches
	rm -rf $(VENV) $(CLIENTS) $(MUTANTS) $(EXAMPLE) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/pip:
	@for python in $(PYTHON); do \
		if "$$python" -c '$(FITS)' 2>/dev/null; then \
			echo "making $(VENV) with $$("$$python" --version) ..." && exec "$$python" -m venv $(VENV); \
		fi; \
	done; \
	echo 'Python 3.11, 3.12 or 3.13 with its venv module is needed, and was not found among:' >&2; \
	for python in $(PYTHON); do \
		echo "  $$python: $$("$$python" --version 2>&1 | tail -n 1)" >&2; \
	done; \
	echo 'Install one (on Debian and Ubuntu, venv is a package of its own: python3-venv), or name' >&2; \
	echo 'one: make PYTHON=/path/to/python3.11' >&2; \
	exit 1

$(VENV)/server.stamp: requirements/server.txt | $(VENV)/bin/pip
	@echo 'installing the locked dependencies, TensorFlow among them: a minute or a few ...'
	@$(PIP) -r $<
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/server.stamp
	@echo 'installing the tools to test and check with ...'
	@$(PIP) -r $<
	@touch $@

$(VENV)/fuzz.stamp: requirements/fuzz.txt $(VENV)/dev.stamp
	@$(PIP) -r $<
	@touch $@

# In a venv of their own, since what they pin clashes with what TensorFlow needs.
$(CLIENTS)/clients.stamp: requirements/clients.txt | $(VENV)/bin/pip
	@echo 'installing the clients of others that tests ask with ...'
	@$(RUN) -m venv --clear $(CLIENTS)
	@$(CLIENTS)/bin/python $(INSTALL) -r $<
	@touch $@

$(MUTANTS)/mutation.stamp: requirements/mutation.txt | $(VENV)/bin/pip
	@$(RUN) -m venv --clear $(MUTANTS)/venv
	@$(MUTANTS)/venv/bin/python $(INSTALL) -r $<
	@touch $@

$(EXAMPLE): | $(VENV)/server.stamp
	@echo 'training the example model ...'
	@$(RUN) -m model.train --out $@
