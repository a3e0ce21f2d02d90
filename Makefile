# SPDX-License-Identifier: Apache-2.0
# One command each. Tools come from the virtual environment that the first command makes in the clone.
SHELL := /bin/sh
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export LC_ALL := C.UTF-8
.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint unit filesystem matrix faults scenarios bench bench-full lock collection release-check clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: .venv/ready ## watch a first run, a new container and a restart, in a scratch directory
	@python tests/demo.py

test: ## before a commit: linters, unit and file-system tests, some faults, three scenarios
	@tests/run

test-all: ## everything: the same, the faults by a larger sample, every scenario, other Ansibles, the ways to get cm_persist
	@tests/run all

lint: .venv/ready ## ruff, yamllint, ansible-lint (production), shellcheck
	@tests/lint

unit: .venv/ready ## the plans, without Ansible, root or disk
	@python -m pytest tests/unit

filesystem: .venv/ready ## the effects, on real file systems; as root all of them
	@python -m pytest tests/filesystem

matrix: .venv/ready ## each supported release of Ansible and Python, and the table in the README
	@python -m pytest -q tests/matrix --publish-matrix

faults: .venv/ready ## kills, errors, full disks, power losses, races: every point, and the table in tests/faults/README.md
	@tests/setup-host && python -m pytest -q tests/faults --full --publish table

scenarios: .venv/ready ## every molecule scenario, on real systemd containers
	@tests/setup-host && tests/scenarios

bench: .venv/ready ## speed, each row against its peer and its goal (as root); README shows the result
	@benchmarks/setup && python benchmarks/run.py

bench-full: .venv/ready ## the same with more rounds, and with a million files
	@benchmarks/setup && python benchmarks/run.py --full

lock: .venv/ready ## renew the lists of Python packages, with their hashes
	@release/lock

collection: .venv/ready ## the Ansible collection, into dist/
	@release/collection dist

release-check: .venv/ready ## build all that a release has, and try each part in a clean container (as root)
	@tests/setup-host && release/check

clean: ## remove the virtual environment and all caches
	@rm -rf .venv dist .cache .ansible .pytest_cache .ruff_cache .hypothesis

.venv/ready: requirements-dev.txt tests/fetch-collections
	@$(PYTHON) -m venv .venv || { echo "make: $(PYTHON) -m venv .venv failed, see above; it needs Python 3.11 or later with venv (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "Installing the tools of requirements-dev.txt into .venv"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@tests/fetch-collections
	@touch $@
