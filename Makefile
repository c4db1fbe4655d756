# Each target sets up what it needs: a virtual environment in .venv from constraints.txt, and, for those that use a
# real node, a kubelet and containerd under ~/.cache/kubelet-plugin. Nothing is installed into the system.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help venv build test lint format proto constraints clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z0-9._-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## Make the virtual environment in .venv

$(STAMP): constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r constraints.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

build: $(STAMP) ## Build the wheel and the sdist into dist/
	$(BIN)/python -m build --no-isolation --outdir dist .

test: $(STAMP) ## Run the unit and integration tests
	$(BIN)/python -m pytest

lint: $(STAMP) ## Check format, style, types and floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

proto: $(STAMP) ## Generate the message classes from the .proto files
	$(BIN)/python -m tools.generate_api

constraints: $(STAMP) ## Resolve the newest versions of all dependencies into constraints.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --upgrade --group dev --output-file constraints.txt pyproject.toml

clean: ## Remove what was built here (not the cache in ~/.cache/kubelet-plugin)
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
