# make demo: the runbook on thirteen hosts on this machine.  make test: everything that has to hold.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The tests start our commands a thousand times: bytecode is kept, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
install = { apt-get install -yq --no-install-recommends $(1) || { apt-get update -q && apt-get install -yq --no-install-recommends $(1); }; } >/dev/null || \
  { echo '$(1) is missing here and could not be installed: apt-get install $(1)' >&2; exit 1; }
# Of Debian's package prometheus only promtool: the package would start a server.
define promtool
  cd $(VENV) && { apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; }; } >/dev/null 2>&1 && \
  dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x -C bin --strip-components=3 ./usr/bin/promtool && rm prometheus_*.deb || \
  { echo 'promtool is missing here, and its package could not be downloaded: apt-get download prometheus' >&2; exit 1; }
endef

.PHONY: help setup demo test test-long test-nfs-kernel unit unit-each lint lab-cache lab-test docs bench lock clean

help: ## these lines
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 17

setup: $(VENV)/.ready ## Fabric and all else in .venv, from the hash lock

# A venv holds its own path in many places: one that came with a copy of a checkout is made anew.
ifneq ($(shell cat $(VENV)/.ready 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/.ready
new_venv := rm -rf $(VENV)
endif

$(VENV)/.ready: requirements.txt Makefile runbook/cli/launcher
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(call install,python3-venv)
	@$(new_venv)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements.txt
	@for program in fab inv; do install -m 0755 runbook/cli/launcher $(BIN)/$$program; done
	@pwd -P >$@

$(VENV)/.dev: $(VENV)/.ready requirements-dev.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt
	@command -v shellcheck >/dev/null || $(call install,shellcheck)
	@command -v rsync >/dev/null || $(call install,rsync)
	@command -v chromedriver >/dev/null || $(call install,chromium chromium-driver)
	@[[ -x $(BIN)/promtool ]] || $(promtool)
	@touch $@

demo: $(VENV)/.ready ## thirteen lab hosts, and all sections on them (AGAIN=1: as the last demo left them)
ifeq ($(AGAIN),1)
	@$(BIN)/inv lab.restore demo
else
	@$(BIN)/python -m lab.demo offer
	@$(BIN)/inv lab.up
	@$(BIN)/inv lab.exec -- inv cluster.deploy --accept-host-keys --yes --update
	@$(BIN)/python -m lab.demo keep
endif
	@$(BIN)/inv lab.exec -- inv cluster.status --wait 300
	@$(BIN)/python -m lab.demo farewell

# Two labs at once, file by file; what became of each test is in .tests.
LABS ?= 2
labs = -v -n $(LABS) --dist loadfile --no-loadscope-reorder --ledger .tests/$(1).jsonl
of_section = $(or $(wildcard tests/lab/test_$(subst -,_,$(1))*.py),\
  $(if $(filter base hostnames hosts ssh,$(1)),tests/lab/test_section_one.py),\
  $(if $(filter python-build systemd,$(1)),tests/lab/test_airflow.py),\
  $(error there is no section $(1)))

test: $(VENV)/.dev ## all of it, from nothing; SECTION=postgres: lint, unit tests, and that section's on a lab
ifdef SECTION
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint unit
	$(BIN)/pytest $(call labs,section) -m 'not long' $(call of_section,$(SECTION))
else
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target PYTHONS=3.9 lint unit-each lab-cache
	@$(MAKE) --no-print-directory lab-test
endif

lint: $(VENV)/.dev ## ruff, mypy, import contracts, shellcheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	shellcheck -x $$(git ls-files -co --exclude-standard | xargs -r grep -lE '^#!.*\b(ba)?sh$$|^# shellcheck shell=' -- )

unit: $(VENV)/.dev ## no root, seconds
	$(BIN)/pytest -q -n 2 tests/unit

PYTHONS ?= 3.9 3.10 3.11 3.12 3.13
unit-each: $(VENV)/.dev ## the same on every Python from 3.9 to 3.13 that the machine has
	@tests/unit/on-each-python $(VENV) $(PYTHONS)

lab-cache: $(VENV)/.dev
	@$(BIN)/inv lab.build

lab-test: $(VENV)/.dev ## on real hosts, in two labs; needs root
	$(BIN)/pytest $(call labs,lab) -m 'not long' tests/lab

test-long: $(VENV)/.dev ## what takes longer than CI should; goes on where it was cut off; leaves docs/test-long.md
	@$(MAKE) --no-print-directory unit-each
	-$(BIN)/pytest $(call labs,long) --resume -m 'long and not alone' tests/lab
	-$(BIN)/pytest -v --ledger .tests/long.jsonl --resume -m 'long and alone' tests/lab
	$(BIN)/python tests/report.py .tests/long.jsonl >docs/test-long.md

test-nfs-kernel: $(VENV)/.dev ## the share with NFS in the kernel, on three virtual machines; needs root
	$(BIN)/pytest -v --ledger .tests/nfs-kernel.jsonl tests/nfs_kernel

docs: $(VENV)/.ready ## write the pages that are made from the code
	@$(BIN)/python -m tools.docs

bench: $(VENV)/.ready ## a run that changes nothing, against ssh, pyinfra and Ansible
	$(BIN)/python tests/bench/bench.py

lock: $(VENV)/.dev ## renew both hash locks from pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.9 --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.9 --generate-hashes --no-emit-index-url --no-header --no-annotate --group dev pyproject.toml -o requirements-dev.txt

clean: ## remove what make made here
	rm -rf $(VENV) $(VENV)-3.* .mypy_cache .ruff_cache .pytest_cache .tests
