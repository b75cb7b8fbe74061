# `make help` lists the targets. PYTHON=… chooses an interpreter; the default is the newest of 3.13, 3.12 and 3.11.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

venv := .venv
bin := $(venv)/bin
parallel := -n $$(( $$(nproc) + 1 )) --maxprocesses 5 --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help run verify bench test test-all matrix load soak fuzz lint types mutants proto check clean venv venv-dev

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: venv  ## Set up and start everything: PostgreSQL, Redis, api, scheduler, workers (ARGS="--port 9000")
	@exec $(bin)/python manage.py up $(ARGS)

verify: venv  ## Test the running stack of `make run` end to end, from another terminal (ARGS="--destructive")
	@$(bin)/python manage.py callboard verify $(ARGS)

bench: venv-dev  ## Measure speed and cost beside plain Dramatiq (ARGS="--only drain --repeats 5")
	@$(bin)/python -m benchmarks $(ARGS)

test: venv-dev  ## Run the fast tests, on a private PostgreSQL and Redis (ARGS="-k name")
	@$(bin)/python -m pytest -m "not slow" $(parallel) $(ARGS)

test-all: venv-dev mutants  ## Run all tests, including those that start whole stacks, and remove each guard once
	@$(bin)/python -m pytest $(parallel) $(ARGS)

matrix: venv-dev  ## Test another project with Callboard in it, on Python 3.11 to 3.13 and Django 5.2 to 6.1
	@sh tests/matrix.sh

load: venv-dev  ## Submit to the stack of `make run` from many clients; page on :8089 (ARGS="--headless --users 20")
	@$(bin)/locust -f tests/load/locustfile.py $(ARGS)

soak: venv-dev  ## Inject random faults under load and check the guarantees (MINUTES=30 SEED=7)
	@$(bin)/python -m tests.soak --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

fuzz: venv-dev  ## Attack the REST API by its own description (MINUTES=30 SEED=7)
	@SCHEMATHESIS_MINUTES=$(or $(MINUTES),10) SCHEMATHESIS_SEED=$(or $(SEED),1) \
		$(bin)/python -m pytest tests/acceptance/test_schemathesis.py $(ARGS)

lint: venv-dev  ## Check style and layers
	@$(bin)/ruff check .
	@$(bin)/ruff format --check .
	@$(bin)/lint-imports --no-logo

types: venv-dev  ## Check types
	@$(bin)/mypy

mutants: venv-dev  ## Remove one guard at a time; its test must fail
	@$(bin)/python -m tests.mutants

proto: venv-dev  ## Write tasks/rpc/generated from the .proto files
	@$(bin)/python -m tasks.rpc.generate

check: lint types  ## Check all but the tests: style, layers, types, migrations, docs/openapi.yaml, gRPC
	@$(bin)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	@$(bin)/python manage.py openapi --check
	@$(bin)/python -m tasks.rpc.generate --check

clean:  ## Remove the virtual environment and caches; keep the data in var/
	@rm -rf $(venv) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	@sh scheduler_site/venv.sh $(venv) requirements.txt requirements-embedded.txt

venv-dev:
	@sh scheduler_site/venv.sh $(venv) requirements-dev.txt requirements.txt requirements-embedded.txt
